//! The manager is killed and started again under working peers: numbers only grow, all peers are back, no answer is
//! wrong, and a question that meets the restart is answered.
//!
//! Of the fifty peers six are real programs that serve products and files; the others are light: a line to the manager
//! that answers its pings, and registers again when it breaks. Meanwhile three users work without a pause, each with
//! one command after another: one multiplies, one downloads, one looks. A command that is started while there is no
//! manager is told so and fails; that is not counted. What was started before the kill must end well.

use std::collections::BTreeSet;
use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;

use crate::common::files::bytes;
use crate::common::node::{Network, Node, state};
use crate::common::wire::Wire;
use crate::common::{PATIENCE, assert_is_product, integers, save, until};
use crate::light::{self, Lines, Listener, number, register, sparse};
use crate::table::{Table, percentile, seed};

const REAL: usize = 6;
const LIGHT: usize = 44;

/// How many restarts make a row.
const A_ROW: usize = 20;

/// How soon all peers are to be back: three seconds, and two more for a machine that is busy.
const BACK: f64 = 5.0;

/// What the users have seen.
#[derive(Debug, Default)]
struct Answers {
    commands: usize,
    met_a_restart: usize,
    failed: usize,
    wrong: usize,
}

/// What users and the one that restarts share.
struct Shared {
    over: AtomicBool,
    /// Held for reading while a command is started and gets under way; for writing while there is no manager.
    there: RwLock<()>,
    /// How many restarts there were.
    restarts: Mutex<usize>,
    answers: Mutex<Answers>,
}

pub(crate) fn run(count: usize) -> Table {
    let table = Table::new(
        "restarts,peers,all_back_p50_s,all_back_max_s,numbers_that_did_not_grow,commands,met_a_restart,failed,wrong,seconds",
    );
    table.survive("restarts", || restarts(&table, count));
    table
}

fn restarts(table: &Table, count: usize) {
    const SIZE: usize = 700;
    let options = ["--quantum", "1s", "--replicas", "0"];
    let mut network = Network::start_with_log("info", &options, &[2; REAL]);
    let (a, b) = (sparse(SIZE), integers(SIZE, SIZE, 1));
    save(&a, &network.path("a.npy"));
    save(&b, &network.path("b.npy"));
    let film = bytes(3 << 20, 7);
    fs::write(network.path("peerlab-p0/film"), &film).unwrap();
    let listener = Listener::start();
    let shared = Arc::new(Shared {
        over: AtomicBool::new(false),
        there: RwLock::new(()),
        restarts: Mutex::new(0),
        answers: Mutex::default(),
    });
    let (tell, numbers) = mpsc::channel();
    for n in 0..LIGHT {
        let (shared, manager, own, tell) =
            (Arc::clone(&shared), network.addr, listener.addr(n), tell.clone());
        light::spawn(move || stay(&shared, manager, &format!("light-{n}"), own, &tell));
    }
    all_back(network.addr);
    until("the film is offered", PATIENCE, || {
        (state(network.addr)["files"][0]["file"] == "film").then_some(())
    });
    let mut rng = StdRng::seed_from_u64(seed());
    let (dir, addr) = (network.dir.path().to_path_buf(), network.addr.to_string());
    let command = |name: &str, words: &[&str]| {
        Node::start("peer", &dir, "info", &[&["--manager", &addr, "--name", name], words].concat())
    };
    thread::scope(|scope| {
        scope.spawn(|| {
            work(
                &shared,
                || command("ann", &["multiply", "a.npy", "b.npy", "-o", "c.npy", "--force"]),
                || std::panic::catch_unwind(|| assert_is_product(&dir.join("c.npy"), &a, &b)).is_ok(),
            );
        });
        scope.spawn(|| {
            work(
                &shared,
                || command("bob", &["down", "film", "-o", "into"]),
                || {
                    let right = fs::read(dir.join("into/film")).is_ok_and(|found| found == film);
                    fs::remove_dir_all(dir.join("into")).is_ok() && right
                },
            );
        });
        scope.spawn(|| work(&shared, || command("cleo", &["files"]), || true));
        let done = table.survive("the restarts", || {
            let mut newest = highest(&numbers);
            for from in (0..count).step_by(A_ROW) {
                let now = A_ROW.min(count - from);
                newest = measure(table, &mut network, &shared, &numbers, &mut rng, now, newest);
            }
        });
        shared.over.store(true, Ordering::Relaxed);
        done
    });
}

/// So many restarts, as one row; gives the highest number there ever was.
fn measure(
    table: &Table,
    network: &mut Network,
    shared: &Shared,
    numbers: &mpsc::Receiver<u64>,
    rng: &mut StdRng,
    restarts: usize,
    mut newest: u64,
) -> u64 {
    let (began, mut times, mut shrunk) = (Instant::now(), Vec::new(), 0);
    for _ in 0..restarts {
        thread::sleep(Duration::from_micros(rng.random_range(0..600_000)));
        newest = newest.max(highest(numbers)).max(lease_number(network.addr));
        let there = shared.there.write();
        *shared.restarts.lock() += 1;
        network.restart_manager(&["--quantum", "1s", "--replicas", "0"]);
        drop(there);
        let restarted = Instant::now();
        let peers = all_back(network.addr);
        times.push(restarted.elapsed().as_secs_f64());
        shrunk += peers.iter().filter(|number| **number <= newest).count();
        shrunk += usize::from(lease_number(network.addr) <= newest);
    }
    let answers = std::mem::take(&mut *shared.answers.lock());
    let Answers { commands, met_a_restart, failed, wrong } = answers;
    let longest = percentile(&mut times, 1.0).unwrap_or_default();
    table.row(&[
        &restarts,
        &(REAL + LIGHT),
        &format_args!("{:.2}", percentile(&mut times, 0.5).unwrap_or_default()),
        &format_args!("{longest:.2}"),
        &shrunk,
        &commands,
        &met_a_restart,
        &failed,
        &wrong,
        &format_args!("{:.1}", began.elapsed().as_secs_f64()),
    ]);
    table.promise(longest <= BACK, format_args!("it took {longest:.2} s until all peers were back"));
    table.promise(shrunk == 0, format_args!("{shrunk} numbers were not higher than older ones"));
    table.promise(failed == 0, format_args!("{failed} commands failed that had begun before a restart"));
    table.promise(wrong == 0, format_args!("{wrong} answers were wrong"));
    newest
}

/// The highest of the numbers that light peers were given since the last time.
fn highest(numbers: &mpsc::Receiver<u64>) -> u64 {
    numbers.try_iter().max().unwrap_or(0)
}

/// The number of a lease that is asked for now.
fn lease_number(manager: SocketAddr) -> u64 {
    let mut wire = Wire::connect(manager);
    wire.ask(1);
    wire.hear("leased")["lease"].as_u64().unwrap()
}

/// Waits until every peer is listed, the real ones as leasable; gives their numbers.
fn all_back(manager: SocketAddr) -> BTreeSet<u64> {
    until("all peers are back", PATIENCE, || {
        let state = state(manager);
        let rows = state["peers"].as_array().unwrap().iter();
        let here = |row: &&Value| {
            let name = row["name"].as_str().unwrap();
            name.starts_with("light-") || (name.starts_with('p') && row["leasable"] == true)
        };
        let numbers: BTreeSet<u64> = rows.filter(here).map(|row| row["peer"].as_u64().unwrap()).collect();
        (numbers.len() == REAL + LIGHT).then_some(numbers)
    })
}

/// One command after another. Those that were under way when the manager was killed are counted.
fn work(shared: &Shared, start: impl Fn() -> Node, is_right: impl Fn() -> bool) {
    while !shared.over.load(Ordering::Relaxed) {
        let (mut node, before) = {
            let _there = shared.there.read();
            let mut node = start();
            // Under way: it has said that it is registered, or has ended.
            until("it is under way", PATIENCE, || {
                (node.stderr().contains("registered as number") || node.has_ended()).then_some(())
            });
            (node, *shared.restarts.lock())
        };
        let outcome = node.outcome();
        let met = *shared.restarts.lock() > before;
        let right = outcome.status != Some(0) || is_right();
        let mut answers = shared.answers.lock();
        answers.commands += 1;
        answers.met_a_restart += usize::from(met);
        answers.wrong += usize::from(!right);
        if outcome.status != Some(0) {
            answers.failed += 1;
            eprintln!("failed: {} (met a restart: {met}): {outcome:#?}", node.name);
        }
    }
}

/// A light peer: registers, answers pings, and registers again when the manager is back.
fn stay(shared: &Shared, manager: SocketAddr, name: &str, own: SocketAddr, tell: &mpsc::Sender<u64>) {
    while !shared.over.load(Ordering::Relaxed) {
        let _ = converse(manager, name, own, tell);
        thread::sleep(Duration::from_millis(50));
    }
}

fn converse(
    manager: SocketAddr,
    name: &str,
    own: SocketAddr,
    tell: &mpsc::Sender<u64>,
) -> std::io::Result<()> {
    let mut lines = Lines::connect(manager)?;
    lines.say(&register(name, own, 0))?;
    loop {
        let line = lines.hear()?;
        if line.is_empty() {
            return Ok(());
        }
        if line.starts_with("{\"type\":\"ping\"") {
            lines.say("{\"type\":\"ok\"}\n")?;
        } else if line.starts_with("{\"type\":\"registered\"") {
            let _ = tell.send(number(line, "peer"));
        }
    }
}
