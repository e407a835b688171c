//! The manager: always on, and the only one whose address everybody must know.
//!
//! # The problem
//! Peers come and go. Somebody has to know who is here, tell the others, notice who is gone without a
//! word, and see to it that nobody is promised a slot that somebody else has.
//!
//! # What it owns
//! One table (what it knows: `state`) behind one lock (`desk`), a server that has every conversation
//! (`sessions`), and four threads of its own: `heartbeat`, which asks every peer whether it is there, `broadcast_loop`,
//! which tells everybody the list when it has changed, `replicate_loop`, which asks peers to fetch the copies that are
//! missing, and `exam_loop`, which has each peer examined that was blamed, or is needed and unproven. With `--record`
//! there is a fifth, `record_loop`.
//!
//! # How much the list costs
//! N peers that join one by one would cost N lists of up to N lines to N listeners: a thousand peers, hundreds
//! of millions of lines. So changes are gathered: the first goes out at once, the next no sooner than after
//! [`LIST_PAUSE`], and later the longer the list is, so that it never takes more than [`LIST_RATE`].
//!
//! # What is missing
//! The manager keeps no database; when it dies, its peers come back and tell it everything again. While
//! it is away nobody gets a lease: a central manager is simple, fair, and a single point of failure.

mod board;
mod desk;
pub(crate) mod record;
mod sessions;
mod state;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;

use crate::cli;
use crate::error::Result;
use crate::net::admission::Admission;
use crate::net::limits;
use crate::net::message::{Replicas, encode};
use crate::net::server::{Server, listen};
use crate::thread::{self, Thread};
use board::Board;
use desk::Desk;
use sessions::exam::exam_loop;
use state::Table;

/// The least time between two broadcasts of the list.
pub const LIST_PAUSE: Duration = Duration::from_millis(200);

/// What all lists together may take, in bytes per second.
pub const LIST_RATE: u64 = 64 << 20;

/// In how many parts peers are asked whether they are there, one after another: the answers of thousands at once would
/// keep the manager from all else. A prime number, because every second number may be that of a lease.
const BEATS: u64 = 19;

/// How a manager is to behave, as it is said on its command line.
#[derive(Clone, Debug, Args)]
pub struct Settings {
    /// Where to listen; port 0 takes any free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7000", value_parser = cli::parse_addr)]
    pub listen: SocketAddr,
    /// How long a lease lasts while others wait
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = cli::parse_time)]
    pub quantum: Duration,
    /// How often peers are asked whether they are there
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = cli::parse_time)]
    pub ping: Duration,
    /// How long a peer may stay silent before it is taken off the list
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = cli::parse_time)]
    pub dead_after: Duration,
    /// How many peers are to have each file: all, or a number; 0 keeps no replicas
    #[arg(long, value_name = "N", default_value = "all")]
    pub replicas: Replicas,
    /// Keeps the run in a new file: an HTML page that plays back what the board showed
    #[arg(long, value_name = "FILE")]
    pub record: Option<PathBuf>,
    /// Who may speak to it.
    #[command(flatten)]
    pub admission: Admission,
}

/// A running manager; dropping it stops it, in this order.
pub struct Manager {
    desk: Arc<Desk>,
    server: Server,
    threads: Vec<Thread>,
}

impl Manager {
    /// Starts a manager.
    ///
    /// # Errors
    /// When it cannot listen, or no thread can be started.
    pub fn start(settings: &Settings) -> Result<Self> {
        let Settings { listen: addr, quantum, ping, dead_after, replicas, ref record, ref admission } =
            *settings;
        let secret = &admission.secret;
        let desk = Arc::new(Desk::new(quantum, replicas, dead_after, secret.clone()));
        let here = || Arc::clone(&desk);
        let (served, beats, tells, orders, exams) = (here(), here(), here(), here(), here());
        let board = Board::default();
        let server = Server::start(
            "serve_node",
            listen(addr, admission)?,
            limits::MANAGER_LINE,
            secret.clone(),
            move |connection| sessions::serve_node(&served, &board, connection),
        )?;
        // One that cannot be started ends the others, which hear of it from the desk.
        let mut manager = Self { desk, server, threads: Vec::new() };
        let threads = &mut manager.threads;
        if let Some(path) = record {
            let (file, recorded) = (record::begin(path)?, Arc::clone(&manager.desk));
            threads.push(thread::start("record_loop", move || record::record_loop(&recorded, file))?);
        }
        threads.push(thread::start("heartbeat", move || heartbeat(&beats, ping))?);
        threads.push(thread::start("broadcast_loop", move || broadcast_loop(&tells))?);
        threads.push(thread::start("replicate_loop", move || replicate_loop(&orders))?);
        threads.push(thread::start("exam_loop", move || exam_loop(&exams))?);
        Ok(manager)
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }
}

impl Drop for Manager {
    /// Wakes all that wait at the desk. Then the server ends every conversation, and all threads are joined.
    fn drop(&mut self) {
        self.desk.stop();
    }
}

/// Asks every peer whether it is there, a part of them at each of [`BEATS`], and strikes those that have been silent
/// for too long, or have not given back their slots.
///
/// A manager that was itself stopped, by a signal or by a machine with too much to do, has heard nobody
/// meanwhile. That is its own fault: the time by which it came late is not counted against its peers.
fn heartbeat(desk: &Desk, ping: Duration) {
    let beat_time = ping.div_f64(BEATS as f64);
    let mut looked = Instant::now();
    let mut next = looked;
    for beat in (0..BEATS).cycle() {
        // From beat to beat, however long the work of one takes. Beats that were missed are not made up for: where
        // there is too much to do, all is asked less often, and all of the delay is excused.
        next = (next + beat_time).max(looked);
        if !desk.sleep(next.saturating_duration_since(Instant::now())) {
            return;
        }
        let late = looked.elapsed().saturating_sub(beat_time);
        looked = Instant::now();
        desk.change(|table, now| {
            table.ping(|peer| peer % BEATS == beat);
            table.strike_silent(late, desk.dead_after, now);
        });
    }
}

/// Tells everybody the list when it has changed.
fn broadcast_loop(desk: &Desk) {
    while let Some((list, listeners)) = desk.wait_for_list() {
        let line: Arc<[u8]> = encode(&list).into();
        for listener in &listeners {
            listener.post_line(Arc::clone(&line));
            listener.flush();
        }
        let cost = (line.len() * listeners.len()) as u64;
        let pause = Duration::from_millis(cost * 1000 / LIST_RATE).max(LIST_PAUSE);
        if !desk.sleep(pause) {
            return;
        }
    }
}

/// Orders the copies that are missing after every change, and when an order's time has come. It plans under the
/// table's lock; the orders are posted there and flushed after it. Whatever happens while it plans is planned at once
/// after it: the condition is tested under the lock before the thread sleeps, as in [`desk`].
fn replicate_loop(desk: &Desk) {
    let mut next = None;
    while desk.wait_for_plan(next) {
        next = desk.change(Table::replicate);
    }
}

#[cfg(test)]
#[path = "../../tests/sim/manager.rs"]
pub(crate) mod sim;
