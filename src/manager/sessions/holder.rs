//! The conversation of one that wants slots: it asks, waits, holds, gives back, and may ask again.
//!
//! ```text
//!            lease                     leased                    release, or the end of its time
//!  (resting) -----> (in the queue) -----------> (holding) ------------------------------------> (resting)
//!                    wait, ok                    renew, blame, progress
//! ```
//!
//! Every question has one answer: `lease` is answered by `leased` (after `wait`s) or an error, `renew` by
//! `leased`, or `expired` when it is too late, `release` by `released`; `progress` is kept for the board. `lost`
//! and `expired` are also said unasked, when they happen; they carry the lease's number, so that one said late
//! is not taken for news of the next lease. The end of the connection is a release.
//!
//! One that is not registered may renew, too: a lease is extended only while nobody waits, so it ends a quantum after
//! somebody began to wait at the latest, whichever peer holds it.
//!
//! One thread does all of it, so one that waits is looked after in turns: it is told `wait`, its `ok` is
//! awaited, and then the thread sleeps until its turn, for a second at most. Nobody is told
//! `leased` before the manager has looked whether it is still there.

use std::time::{Duration, Instant};

use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::manager::desk::{Desk, Ticket};
use crate::manager::state::Table;
use crate::manager::state::lease_book::TicketStanding;
use crate::manager::state::roster::Wish;
use crate::net::connection::{Connection, Received};
use crate::net::limits;
use crate::net::message::{
    Credentials, FromManager, LeaseId, NOBODY, PeerCard, PeerId, Progress, ToManager, unexpected,
};
use crate::net::outbox::Outbox;
use crate::share::units::counted;

/// How often one that waits is told where it stands.
const WAIT_NOTICE: Duration = Duration::from_secs(1);

/// How many of the peers in a lease the board names when it is granted.
const NAMED: usize = 8;

/// What comes next in the conversation.
enum Step<'a> {
    /// It has asked for slots.
    Wait(Wish),
    /// They are granted.
    Hold(Ticket<'a>),
    /// It holds nothing; this was its last lease.
    Rest(LeaseId),
    /// It is gone.
    End,
}

/// One that asks for slots, and what this conversation knows of it.
struct Leaseholder<'a> {
    desk: &'a Desk,
    connection: &'a mut Connection,
    line: Outbox,
    /// Its own number, as its last request showed.
    requester: PeerId,
    /// The lease that it held last: its last product may come after that is over.
    held: Option<LeaseId>,
}

/// Serves one that wants slots, beginning with its first request.
///
/// # Errors
/// What it is to be told before its connection is closed.
pub(super) fn serve_holder(
    desk: &Desk,
    connection: &mut Connection,
    who: &Credentials,
    slots: u32,
    avoid: Vec<PeerId>,
) -> Result<()> {
    let line = connection.outbox();
    let mut holder = Leaseholder { desk, connection, line, requester: NOBODY, held: None };
    let mut step = holder.wish(who, slots, avoid)?;
    loop {
        step = match step {
            Step::Wait(wish) => holder.wait(wish)?,
            Step::Hold(ticket) => holder.hold(ticket)?,
            Step::Rest(last) => holder.rest(last)?,
            Step::End => return Ok(()),
        }
    }
}

impl<'a> Leaseholder<'a> {
    /// It asks for slots.
    fn wish(&mut self, who: &Credentials, slots: u32, avoid: Vec<PeerId>) -> Result<Step<'a>> {
        let (no, advice) = match (slots, avoid.len()) {
            (0, _) => ("a lease of 0 slots is none", "ask for 1 or more".into()),
            (_, limits::AVOID..) => ("too many peers to avoid", format!("name fewer than {}", limits::AVOID)),
            _ => {
                self.requester = self.desk.change(|table, _| table.roster.caller(who))?;
                self.connection.is_of(self.requester);
                return Ok(Step::Wait(Wish { requester: self.requester, slots, avoid }));
            }
        };
        Err(Error::new(Code::BadMessage, no).advise(advice))
    }

    /// In the queue: until it is its turn, or it goes away. When it leaves the queue its ticket ends here; kept while
    /// it rests, the ticket would hold up those behind it.
    fn wait(&mut self, wish: Wish) -> Result<Step<'a>> {
        let mut ticket = self.desk.ask(&wish, &self.line, Duration::ZERO);
        let mut pause = Duration::ZERO;
        loop {
            let lease = ticket.as_ref().map_or(0, |ticket| ticket.number);
            let standing = match &ticket {
                Some(ticket) => ticket.wait_for_turn(pause),
                None => TicketStanding::Waiting(
                    self.desk.change(|table, _| table.book.second(&table.roster, &wish)),
                ),
            };
            match standing {
                TicketStanding::Waiting(wait) => {
                    self.line.send(&wait);
                    // All behind it wait, too, so it has less time than a peer that is silent.
                    match self.receive_but_progress(self.desk.dead_after / 2)? {
                        Received::Message(ToManager::Ok(_)) => {}
                        Received::Message(ToManager::Release {}) => {
                            drop(ticket);
                            self.line.send(&FromManager::Released {});
                            return Ok(Step::Rest(lease));
                        }
                        Received::Message(other) => return Err(unexpected(&other, "ok or release")),
                        Received::End => return Ok(Step::End),
                        Received::Silence => {
                            return Err(Error::new(Code::Expired, "a `wait` was not answered")
                                .advise("say `ok` to each, or your place in the queue is given away"));
                        }
                    }
                    pause = WAIT_NOTICE;
                    if ticket.is_none() {
                        ticket = self.desk.ask(&wish, &self.line, WAIT_NOTICE);
                        pause = Duration::ZERO;
                    }
                }
                TicketStanding::Leased { .. } if self.connection.is_gone() => return Ok(Step::End),
                TicketStanding::Leased { .. } => return Ok(ticket.map_or(Step::End, Step::Hold)),
                TicketStanding::Infeasible { leasable } => {
                    self.connection.refuse(&infeasible(leasable));
                    return Ok(Step::Rest(lease));
                }
                TicketStanding::Over => return Ok(Step::Rest(lease)),
            }
        }
    }

    /// What it says next but how far its multiply is, which may come late, when its lease is over.
    fn receive_but_progress(&mut self, within: Duration) -> Result<Received<ToManager>> {
        let end = Instant::now() + within;
        loop {
            match self.connection.receive_by(end)? {
                Received::Message(ToManager::Progress(_)) => {}
                other => return Ok(other),
            }
        }
    }

    /// Holding a lease: until it gives it back, or its time is over.
    fn hold(&mut self, ticket: Ticket<'a>) -> Result<Step<'a>> {
        let lease = ticket.number;
        let Some(mut until) = self.grant(lease) else { return Ok(Step::Rest(lease)) };
        self.held = Some(lease);
        let (did, answer) = loop {
            let left = Duration::from_millis(until.saturating_sub(self.desk.clock.now()));
            match self.connection.receive_by(Instant::now() + left)? {
                // It may have come while the lease was granted.
                Received::Message(ToManager::Ok(_)) => {}
                Received::Message(ToManager::Renew {}) => until = self.renew(lease).unwrap_or(until),
                Received::Message(ToManager::Blame { peer, reason }) => {
                    let blamed = self.desk.change(|table, now| table.blame(lease, peer, &reason, now));
                    blamed.unwrap_or_else(|no| self.connection.refuse(&no));
                }
                Received::Message(ToManager::Progress(progress)) => self.progress(lease, progress),
                Received::Message(ToManager::Release {}) => {
                    break ("gave back its slots", Some(FromManager::Released {}));
                }
                Received::Message(other) => {
                    return Err(unexpected(&other, "renew, release, progress or blame"));
                }
                Received::Silence => {
                    break ("held its slots to the end of their time", Some(FromManager::Expired { lease }));
                }
                Received::End => break ("went away, which gives back its slots", None),
            }
        };
        drop(ticket);
        self.desk.change(|table, now| table.tell_of(self.requester, did, now));
        let Some(answer) = answer else { return Ok(Step::End) };
        self.line.send(&answer);
        Ok(Step::Rest(lease))
    }

    /// Tells the board, and then it, what it has; says when it ends.
    fn grant(&self, lease: LeaseId) -> Option<Millis> {
        self.tell_leased(lease, |table, slots, now| {
            let count: u32 = slots.iter().map(|card| card.slots).sum();
            let did = format!("leased {} ({})", counted(count, "slot"), places(slots));
            table.tell_of(self.requester, &did, now);
        })
    }

    /// Extends the lease if that can be; says when it ends now.
    fn renew(&self, lease: LeaseId) -> Option<Millis> {
        self.desk.change(|table, now| table.book.renew(lease, now));
        self.tell_leased(lease, |_, _, _| {})
    }

    /// Tells it until when it has what. That is posted in the change that looks: of a peer that is gone before, it is
    /// told `lost` before, and the peer is not among these slots; of one that is gone later, it is told later.
    fn tell_leased(
        &self,
        lease: LeaseId,
        tell_board: impl FnOnce(&mut Table, &[PeerCard], Millis),
    ) -> Option<Millis> {
        let told = self.desk.change(|table, now| {
            let TicketStanding::Leased { until, slots } = table.standing(lease, now) else { return None };
            tell_board(table, &slots, now);
            self.line.post(&FromManager::Leased { lease, for_ms: until.saturating_sub(now), slots });
            Some(until)
        });
        self.line.flush();
        told
    }

    /// Holding nothing, after `last`: until it asks again, goes away, or says nothing for
    /// [`limits::REST_TIME`].
    fn rest(&mut self, last: LeaseId) -> Result<Step<'a>> {
        loop {
            match self.connection.receive(Some(limits::REST_TIME))? {
                Received::Message(ToManager::Lease { who, slots, avoid }) => {
                    return self.wish(&who, slots, avoid);
                }
                Received::Message(ToManager::Progress(progress)) if self.held == Some(last) => {
                    self.progress(last, progress);
                }
                Received::Message(ToManager::Ok(_) | ToManager::Progress(_)) => {}
                Received::Message(ToManager::Renew {}) => {
                    self.line.send(&FromManager::Expired { lease: last });
                }
                Received::Message(ToManager::Release {}) => self.line.send(&FromManager::Released {}),
                Received::Message(ToManager::Blame { .. }) => {
                    let why = "only the holder of a lease can blame its peers";
                    self.connection.refuse(&Error::new(Code::Unauthorised, why));
                }
                Received::Message(other) => return Err(unexpected(&other, "lease")),
                Received::End | Received::Silence => return Ok(Step::End),
            }
        }
    }

    fn progress(&self, lease: LeaseId, progress: Progress) {
        self.desk.change(|table, now| table.progress(lease, self.requester, progress, now));
    }
}

fn infeasible(leasable: u32) -> Error {
    let advice = match leasable {
        0 => "start a peer that offers slots: `peer serve`".into(),
        _ => format!("ask for {leasable} at most, or start more peers"),
    };
    Error::new(Code::Infeasible, "more slots asked for than all others own together")
        .advise(advice)
        .with_leasable(leasable)
}

/// Which slots these are, with so many peers by name that one line of the board has room for them.
fn places(slots: &[PeerCard]) -> String {
    let named = slots.iter().take(NAMED).map(|card| format!("{} at {}", card.slots, card.name));
    let more = slots.len().checked_sub(NAMED + 1).map(|rest| format!("and {} more", rest + 1));
    named.chain(more).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};
    use std::net::TcpListener;

    use serde_json::json;

    use super::*;
    use crate::manager::state::roster::Reach;
    use crate::net::message::Replicas;

    #[test]
    fn a_peer_that_is_gone_before_the_lease_is_told_is_lost_before_and_not_among_its_slots() {
        let desk = Desk::new(Duration::from_secs(9), Replicas::All, Duration::from_secs(9), None);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let connect = || Connection::connect(addr, limits::LINE, None).unwrap();
        let mut requester = connect();
        let line = requester.outbox();
        let peers = [1, 2].map(|n| {
            let is =
                json!({"version": 2, "name": format!("p{n}"), "addr": format!("127.0.0.1:{n}"), "slots": 1});
            let peer = desk.admit(serde_json::from_value(is).unwrap(), &connect().outbox()).unwrap();
            desk.change(|table, now| table.tried(peer, Reach::Yes, &Ok(()), now));
            peer
        });
        let holder = Leaseholder {
            desk: &desk,
            connection: &mut requester,
            line: line.clone(),
            requester: NOBODY,
            held: None,
        };
        let wish = Wish { requester: NOBODY, slots: 2, avoid: Vec::new() };
        let ticket = desk.ask(&wish, &line, Duration::ZERO).unwrap();
        assert!(matches!(ticket.wait_for_turn(Duration::ZERO), TicketStanding::Leased { .. }));
        desk.strike(peers[0], "its connection broke");
        holder.grant(ticket.number).unwrap();
        let told = BufReader::new(listener.accept().unwrap().0).lines();
        let mut told = told.map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        assert_eq!(told.next(), Some(FromManager::Lost { lease: ticket.number, peer: peers[0] }));
        let Some(FromManager::Leased { slots, .. }) = told.next() else { panic!("it is leased") };
        assert_eq!(slots.iter().map(|card| card.peer).collect::<Vec<_>>(), peers[1..]);
    }

    #[test]
    fn the_board_names_eight_peers_of_a_wide_lease_and_counts_the_others() {
        let card = |n: u64| {
            serde_json::from_value(
                json!({"peer": n, "name": format!("p{n}"), "addr": "127.0.0.1:9", "slots": 2}),
            )
        };
        let all: Vec<PeerCard> = (1..=17).map(|n| card(n).unwrap()).collect();
        let eight = (1..=8).map(|n| format!("2 at p{n}")).collect::<Vec<_>>().join(", ");
        assert_eq!([&all[..8], &all].map(places), [eight.clone(), format!("{eight}, and 9 more")]);
    }
}
