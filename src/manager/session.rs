//! What each kind of conversation with the manager is answered.
//!
//! The first message says which conversation it is:
//! - `register`: the conversation in which a peer stays known (`serve_peer`). It lasts as long as the
//!   peer does; its end, in any way, is the peer's end.
//! - `lease`: the conversation of one who wants slots ([`holder`](super::holder)). It waits, holds and gives back;
//!   its end, in any way, is a release.
//! - `query`, `update`, `files`, `drop`: who has which file ([`tracker`](super::tracker)).
//! - `state`: a look at the table.
//!
//! A request of HTTP instead of a message gets one answer ([`mirrors`]).
//!
//! Sessions wait, they do not think: what is answered is decided by the roster and the book.

use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use super::events::What;
use super::holder::{Request, serve_holder};
use super::mirrors;
use super::queue::{Desk, Table};
use super::roster::{Candidate, Reach, Roster};
use super::tracker::serve_tracker;
use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::net::connection::{Connection, Received};
use crate::net::http;
use crate::net::limits;
use crate::net::message::{Bound, FromManager, PeerId, Refusal, ToManager, VERSION};
use crate::net::outbox::Outbox;
use crate::share::units::counted;

/// How long connecting back to a peer may take.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// The longest pause before a peer that could not be reached is tried again.
const PROBE_PAUSE: Duration = Duration::from_secs(5);

/// What a session must know of the manager's configuration.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long one that owes an `ok` may take.
    pub dead_after: Duration,
}

/// Serves one connection: reads which conversation it is, and has it.
///
/// # Errors
/// What the other side is to be told before its connection is closed.
pub fn serve_node(desk: &Desk, rules: Rules, connection: &mut Connection) -> Result<()> {
    if http::serve(connection, |request| mirrors::answer(desk, request))? {
        return Ok(());
    }
    let Received::Message(first) = connection.receive(Some(limits::FIRST_MESSAGE_TIME))? else {
        return Ok(());
    };
    match first {
        ToManager::Register { version, name, addr, slots, keeps, bound, up, down } => {
            if version != VERSION {
                return Err(Error::new(
                    Code::Version,
                    format!("this manager speaks version {VERSION} of the protocol, {name} speaks {version}"),
                )
                .advise("run the same release of peerlab on every node"));
            }
            let addr = Roster::spell(addr)?;
            if connection.local().is_ok_and(|local| local == addr) {
                return Err(Error::new(Code::Conflict, format!("{addr} is the address of the manager"))
                    .advise("give the peer's own address with --advertise"));
            }
            serve_peer(desk, connection, Candidate { name, addr, slots, keeps, up, down }, &bound)
        }
        ToManager::Lease { peer, slots } => {
            serve_holder(desk, rules.dead_after, connection, Request { asker: peer, slots })
        }
        ToManager::State {} => serve_state(desk, connection),
        request @ (ToManager::Query { .. }
        | ToManager::Update { .. }
        | ToManager::Files { .. }
        | ToManager::Drop { .. }) => serve_tracker(desk, connection, request),
        other => Err(unexpected(&other, "register, lease, query, update, files, drop or state")),
    }
}

pub(super) fn unexpected(message: &ToManager, expected: &str) -> Error {
    let text = serde_json::to_string(message).unwrap_or_default();
    Error::new(Code::BadMessage, format!("not expected now: {text:.200}"))
        .advise(format!("say {expected} here"))
}

/// Answers `state`, as often as it is asked.
fn serve_state(desk: &Desk, connection: &mut Connection) -> Result<()> {
    loop {
        let state = desk.change(|table, now| table.state(now));
        connection.send(&FromManager::State(Box::new(state)))?;
        match connection.receive(Some(limits::REST_TIME))? {
            Received::Message(ToManager::State {}) => {}
            Received::Message(other) => return Err(unexpected(&other, "state")),
            Received::End | Received::Silence => return Ok(()),
        }
    }
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
        self.desk.change(|table, now| table.strike(self.peer, self.why, now));
    }
}

/// The conversation in which a peer stays known.
fn serve_peer(desk: &Desk, connection: &mut Connection, candidate: Candidate, bound: &[Bound]) -> Result<()> {
    let line = connection.outbox();
    let (addr, slots) = (candidate.addr, candidate.slots);
    let peer = desk.change(|table, now| table.admit(candidate, bound, &line, now))?;
    let registration = Registration { desk, peer, why: "its connection broke" };
    line.flush();
    thread::scope(move |scope| {
        // The peer is struck out when the conversation is over; the probe, which hears of that by `_over`,
        // may take a moment longer.
        let mut registration = registration;
        let (_over, over) = bounded(0);
        if slots > 0 {
            let line = line.clone();
            thread::Builder::new()
                .name("probe".into())
                .spawn_scoped(scope, move || probe(desk, peer, addr, &line, &over))
                .map_err(|e| Error::new(Code::Busy, "no thread to try the address with").because(e))?;
        }
        let ended = stay_known(connection, &mut registration);
        if ended.is_err() {
            // It is struck out now, but still to be told why: whoever tells it closes the connection.
            desk.change(|table, _| table.lines.remove(&peer));
        }
        ended
    })
}

/// What a registered peer says, until it leaves.
fn stay_known(connection: &mut Connection, registration: &mut Registration<'_>) -> Result<()> {
    let (desk, peer) = (registration.desk, registration.peer);
    loop {
        let received = connection.receive(None).inspect_err(|e| {
            if e.code() == Code::BadMessage {
                registration.why = "it broke the protocol";
            }
        })?;
        match received {
            Received::Message(ToManager::Ok { list, downloads }) => {
                let differs = desk.change(|table, now| {
                    table.roster.heard(peer, now);
                    table.replicator.signs(peer, &downloads, &table.catalogue, now);
                    table.roster.fetches(peer, downloads);
                    list.is_some_and(|list| table.catalogue.differs(peer, list))
                });
                if differs {
                    connection.outbox().send(&FromManager::List {});
                }
            }
            Received::Message(ToManager::Unbound { lease }) => desk.change(|table, now| {
                table.book.unbound(&mut table.roster, peer, lease, now);
            }),
            // It remembers what was dropped before this manager began, so the file need not be listed.
            Received::Message(ToManager::Drop { file, id, at }) => {
                let dropped = desk.change(|table, now| table.drop_file(&file, id, at, now));
                if let Err(no) = dropped {
                    connection.outbox().send(&FromManager::Error(Refusal::from(&no)));
                }
            }
            Received::Message(ToManager::Quit {}) => {
                registration.why = "it said quit";
                return Ok(());
            }
            Received::Message(other) => {
                registration.why = "it broke the protocol";
                return Err(unexpected(&other, "ok, unbound, drop or quit"));
            }
            Received::End | Received::Silence => return Ok(()),
        }
    }
}

/// Connects back to a new peer, again and again with growing pauses until it succeeds: a peer that
/// others cannot reach must not be leased, and must be told why.
fn probe(desk: &Desk, peer: PeerId, addr: SocketAddr, line: &Outbox, over: &Receiver<()>) {
    let mut pause = Duration::from_millis(500);
    loop {
        let Err(e) = TcpStream::connect_timeout(&addr, PROBE_TIME) else {
            return desk.change(|table, now| {
                table.roster.tried(peer, Reach::Yes);
                table.replicator.reached();
                table.catalogue.touch_files_of(peer);
                table.book.serve(&mut table.roster, now);
            });
        };
        let why = Error::failed(format!("the manager cannot connect to {addr}, so nobody is sent there"))
            .because(e.to_string())
            .advise("let the port through the firewall, or give the right address with --advertise");
        desk.change(|table, now| {
            table.roster.tried(peer, Reach::No(e.to_string()));
            table.book.capacity_fell(&mut table.roster, now);
            let name = table.roster.name(peer);
            table.tell(now, format!("{name} cannot be leased: {why}"));
        });
        line.send(&FromManager::Error(Refusal::from(&why)));
        if over.recv_timeout(pause) == Err(RecvTimeoutError::Disconnected) {
            return;
        }
        pause = (pause * 2).min(PROBE_PAUSE);
    }
}

impl Table {
    /// Takes a peer into the table, in the place of its former self if there is one.
    fn admit(&mut self, candidate: Candidate, bound: &[Bound], line: &Outbox, now: Millis) -> Result<PeerId> {
        if let Some(former) = self.roster.former_self(&candidate)? {
            self.strike(former, "it came back", now);
        }
        let peer = self.book.next_number();
        let (name, addr, slots) = (candidate.name.clone(), candidate.addr, candidate.slots);
        self.roster.admit(peer, candidate, now);
        self.lines.insert(peer, line.clone());
        line.post(&FromManager::Registered { peer });
        for bound in bound {
            self.book.still_bound(&mut self.roster, peer, bound.lease, bound.slots, now);
        }
        self.tell(now, format!("{name} joined from {addr} with {}", counted(slots, "slot")));
        Ok(peer)
    }

    /// Strikes a peer out of the table and closes its connection, if it is still there.
    pub fn strike(&mut self, peer: PeerId, why: &str, now: Millis) {
        let Some(row) = self.roster.remove(peer) else { return };
        if let Some(line) = self.lines.remove(&peer) {
            line.close();
        }
        self.tell(now, format!("{} left: {why}", row.is.name));
        for file in self.catalogue.leave(peer) {
            self.events.tell_of(now, String::new(), What::Gone, &file, 0);
        }
        self.book.lost(&mut self.roster, peer, now);
    }
}
