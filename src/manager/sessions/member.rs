//! The conversation in which a peer stays known: it registers, is asked whether it is there, and leaves.
//!
//! ```text
//! register                          registered, and from then on peers, ping, bind, unbind, fetch, drop, list
//! ok, unbound, blame, drop          nothing
//! quit, or the connection ends      it leaves the table
//! ```
//!
//! A thread of its own connects back to the peer, again and again until it has shown that it computes.

use std::net::SocketAddr;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use log::debug;

use super::exam::examine;
use crate::error::{Code, Error, Result};
use crate::manager::desk::Desk;
use crate::manager::state::roster::{Reach, spell};
use crate::net::connection::{Connection, Received};
use crate::net::limits;
use crate::net::message::{Candidate, PeerId, ToManager, VERSION, plain, unexpected};
use crate::thread;

/// The longest pause before a peer that could not be reached is tried again.
const PROBE_PAUSE: Duration = Duration::from_secs(5);

/// Why most peers leave that do not say so.
const BROKE: &str = "its connection broke";

/// Where a peer that wants to join listens.
///
/// # Errors
/// When it speaks another version of the protocol, or nobody could connect to it there.
fn address(connection: &Connection, candidate: &Candidate) -> Result<SocketAddr> {
    let Candidate { version, name, addr, .. } = candidate;
    if *version != VERSION {
        let no = format!("this manager speaks version {VERSION} of the protocol, {name} speaks {version}");
        return Err(Error::new(Code::Version, no).advise("run the same release of peerlab on every node"));
    }
    let addr = spell(*addr)?;
    if connection.stream().local_addr().is_ok_and(|local| local == addr) {
        return Err(Error::new(Code::Conflict, format!("{addr} is the address of the manager"))
            .advise("give the peer's own address with --advertise"));
    }
    Ok(addr)
}

/// A row in the table for as long as this lives.
struct Registration<'a> {
    desk: &'a Desk,
    peer: PeerId,
    /// Why it ends.
    why: &'static str,
}

impl Drop for Registration<'_> {
    fn drop(&mut self) {
        self.desk.strike(self.peer, self.why);
    }
}

/// The conversation in which a peer stays known.
pub(super) fn serve_member(desk: &Desk, connection: &mut Connection, mut candidate: Candidate) -> Result<()> {
    let addr = address(connection, &candidate)?;
    candidate.addr = addr;
    let line = connection.outbox();
    let peer = desk.admit(candidate, &line)?;
    connection.stays(peer);
    let mut registration = Registration { desk, peer, why: BROKE };
    std::thread::scope(|scope| {
        // The peer leaves the table when the conversation is over; the probe, which hears of that by `_over`, may take
        // a moment longer.
        let (_over, over) = bounded(0);
        thread::start_scoped(scope, "probe", move || probe(desk, peer, &over))?;
        let ended = stay_known(desk, connection, peer);
        registration.why = match &ended {
            Ok(why) => why,
            Err(e) if e.code() == Code::BadMessage => "it broke the protocol",
            Err(_) => BROKE,
        };
        drop(registration);
        ended.map(|_| line.close())
    })
}

/// What a registered peer says, until it leaves; gives the reason why it does.
fn stay_known(desk: &Desk, connection: &mut Connection, peer: PeerId) -> Result<&'static str> {
    loop {
        match connection.receive(None)? {
            Received::Message(ToManager::Ok(said)) => {
                desk.change(|table, now| table.heard(peer, said, now));
            }
            Received::Message(ToManager::Unbound { lease }) => {
                desk.change(|table, now| table.unbound(peer, lease, now));
            }
            Received::Message(ToManager::Drop { file, id, at, .. }) => {
                let dropped = desk.change(|table, now| table.drop_file(peer, &file, id, at, true, now));
                dropped.unwrap_or_else(|no| connection.refuse(&no));
            }
            Received::Message(ToManager::Blame { peer: whom, reason }) => {
                desk.change(|table, now| table.complain(peer, whom, plain(&reason), now));
            }
            Received::Message(ToManager::Quit {}) => return Ok("it said quit"),
            Received::Message(other) => return Err(unexpected(&other, "ok, unbound, blame, drop or quit")),
            Received::End | Received::Silence => return Ok(BROKE),
        }
    }
}

/// Connects back to a new peer, again and again with growing pauses until it has shown that it computes.
fn probe(desk: &Desk, peer: PeerId, over: &Receiver<()>) {
    let mut pause = Duration::from_millis(500);
    while let Some(exam) = desk.change(|table, _| table.first_exam(peer)) {
        let connected = Connection::connect(exam.addr, limits::LINE, desk.secret.as_ref());
        let reach = connected.as_ref().map_or_else(|e| Reach::No(e.to_string()), |_| Reach::Yes);
        let ask = |mut connection| examine(&mut connection, &exam, limits::FIRST_EXAM_TIME);
        let passed = connected
            .and_then(ask)
            .inspect_err(|e| debug!("{} has not shown that it computes: {e}", exam.addr));
        desk.change(|table, now| table.tried(peer, reach, &passed, now));
        if passed.is_ok() || over.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        pause = (pause * 2).min(PROBE_PAUSE);
    }
}
