//! The conversation in which a peer stays known: it registers, is asked whether it is there, and leaves.
//!
//! ```text
//! register                          registered, and from then on peers, ping, bind, unbind, fetch, drop, list
//! ok, unbound, drop                 nothing
//! quit, or the connection ends      it is struck out of the table
//! ```
//!
//! A thread of its own connects back to the peer, again and again until it succeeds.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};

use crate::error::{Code, Error, Result};
use crate::manager::desk::Desk;
use crate::manager::state::roster::{Candidate, Reach, Roster};
use crate::net::connection::{Connection, Received};
use crate::net::message::{Bound, FromManager, Name, PeerId, Refusal, ToManager, VERSION, unexpected};
use crate::net::outbox::Outbox;
use crate::thread;

/// How long connecting back to a peer may take.
const PROBE_TIME: Duration = Duration::from_secs(1);

/// The longest pause before a peer that could not be reached is tried again.
const PROBE_PAUSE: Duration = Duration::from_secs(5);

/// Where a peer that wants to join listens.
///
/// # Errors
/// When it speaks another version of the protocol, or nobody could connect to it there.
pub(super) fn address(
    connection: &Connection,
    version: u32,
    name: &Name,
    addr: SocketAddr,
) -> Result<SocketAddr> {
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
        self.desk.change(|table, now| table.strike(self.peer, self.why, now));
    }
}

/// The conversation in which a peer stays known.
pub(super) fn serve_peer(
    desk: &Desk,
    connection: &mut Connection,
    candidate: Candidate,
    bound: &[Bound],
) -> Result<()> {
    let line = connection.outbox();
    let (addr, slots) = (candidate.addr, candidate.slots);
    let peer = desk.change(|table, now| table.admit(candidate, bound, &line, now))?;
    let registration = Registration { desk, peer, why: "its connection broke" };
    line.flush();
    std::thread::scope(move |scope| {
        // The peer is struck out when the conversation is over; the probe, which hears of that by `_over`,
        // may take a moment longer.
        let mut registration = registration;
        let (_over, over) = bounded(0);
        if slots > 0 {
            let line = line.clone();
            thread::start_scoped(scope, "probe", move || probe(desk, peer, addr, &line, &over))?;
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
