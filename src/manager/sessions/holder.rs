//! The conversation of one who wants slots: he asks, waits, holds, gives back, and may ask again.
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
//! One thread does all of it, so who waits is looked after in turns: he is told `wait`, his `ok` is
//! awaited, and then the thread sleeps until his turn, for a second at most. Nobody is told
//! `leased` before the manager has looked whether he is still there.

use std::time::{Duration, Instant};

use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::manager::desk::{Desk, Ticket};
use crate::manager::state::lease_book::Standing;
use crate::net::connection::{Connection, Received};
use crate::net::limits;
use crate::net::message::{FromManager, LeaseId, PeerCard, PeerId, Refusal, ToManager, plain, unexpected};
use crate::net::outbox::Outbox;
use crate::share::units::counted;

/// How often one that waits is told where he stands.
const WAIT_NOTICE: Duration = Duration::from_secs(1);

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct Request {
    /// Who asks; 0 for one that is not registered.
    pub asker: PeerId,
    /// For how many slots.
    pub slots: u32,
}

/// What comes after a wait or a lease.
enum After {
    /// The requester may ask again.
    Rest,
    /// The requester is gone.
    Gone,
}

/// How a wait ended.
enum Waited<'a> {
    Granted { ticket: Ticket<'a>, until: Millis, slots: Vec<PeerCard> },
    Not(After),
}

/// How a lease ended.
enum Ending {
    Released,
    Expired,
    WentAway,
}

/// A conversation with one holder.
struct Holder<'a> {
    desk: &'a Desk,
    connection: &'a mut Connection,
    line: Outbox,
    /// How long he may take to say `ok`.
    dead_after: Duration,
    /// When the multiply began that he is at: with the first of the leases that he holds one after another.
    began: Option<Millis>,
}

/// Serves one who wants slots, beginning with his first request.
///
/// # Errors
/// What he is to be told before his connection is closed.
pub fn serve_holder(
    desk: &Desk,
    dead_after: Duration,
    connection: &mut Connection,
    first: Request,
) -> Result<()> {
    let line = connection.outbox();
    let mut holder = Holder { desk, connection, line, dead_after, began: None };
    let mut request = first;
    loop {
        if request.slots == 0 {
            return Err(
                Error::new(Code::BadMessage, "a lease of 0 slots is none").advise("ask for 1 or more")
            );
        }
        let ticket = desk.ask(request.asker, request.slots, &holder.line);
        let lease = ticket.number();
        let after = match holder.wait(ticket)? {
            Waited::Granted { ticket, until, slots } => holder.hold(ticket, request.asker, until, slots)?,
            Waited::Not(after) => after,
        };
        request = match after {
            After::Gone => return Ok(()),
            After::Rest => match holder.rest(lease)? {
                Some(request) => request,
                None => return Ok(()),
            },
        };
    }
}

impl<'a> Holder<'a> {
    /// In the queue: until it is his turn, or he goes away. Whoever leaves the queue leaves his ticket
    /// here; kept while he rests, it would hold up those behind him.
    fn wait(&mut self, ticket: Ticket<'a>) -> Result<Waited<'a>> {
        let mut standing = ticket.standing();
        loop {
            match standing {
                Standing::Waiting { position, asked, free, reason } => {
                    self.line.send(&FromManager::Wait { position, asked, free, reason });
                    match self.receive_but_progress(self.dead_after)? {
                        Received::Message(ToManager::Ok { .. }) => {}
                        Received::Message(ToManager::Release {}) => {
                            drop(ticket);
                            self.line.send(&FromManager::Released {});
                            return Ok(Waited::Not(After::Rest));
                        }
                        Received::Message(other) => return Err(unexpected(&other, "ok or release")),
                        Received::End => return Ok(Waited::Not(After::Gone)),
                        Received::Silence => {
                            return Err(Error::new(Code::Expired, "a `wait` was not answered")
                                .advise("say `ok` to each, or your place in the queue is given away"));
                        }
                    }
                    standing = ticket.wait_for_turn(WAIT_NOTICE);
                }
                Standing::Leased { .. } if self.connection.is_gone() => return Ok(Waited::Not(After::Gone)),
                Standing::Leased { until, slots } => return Ok(Waited::Granted { ticket, until, slots }),
                Standing::Infeasible { leasable } => {
                    let no =
                        Error::new(Code::Infeasible, "more slots asked for than all others own together")
                            .advise(match leasable {
                                0 => "start a peer that offers slots: `peer serve`".into(),
                                _ => format!("ask for {leasable} at most, or start more peers"),
                            })
                            .with_leasable(leasable);
                    self.line.send(&FromManager::Error(Refusal::from(&no)));
                    return Ok(Waited::Not(After::Rest));
                }
                Standing::Over => return Ok(Waited::Not(After::Rest)),
            }
        }
    }

    /// What he says next but how far his multiply is, which may come late, when its lease is over.
    fn receive_but_progress(&mut self, within: Duration) -> Result<Received<ToManager>> {
        let end = Instant::now() + within;
        loop {
            match self.connection.receive_by(end)? {
                Received::Message(ToManager::Progress(_)) => {}
                other => return Ok(other),
            }
        }
    }

    /// Holding a lease: until he gives it back, or its time is over.
    fn hold(
        &mut self,
        ticket: Ticket<'_>,
        asker: PeerId,
        mut until: Millis,
        slots: Vec<PeerCard>,
    ) -> Result<After> {
        let lease = ticket.number();
        let count: u32 = slots.iter().map(|card| card.slots).sum();
        let at: Vec<String> = slots.iter().map(|card| format!("{} at {}", card.slots, card.name)).collect();
        self.tell(asker, &format!("leased {} ({})", counted(count, "slot"), at.join(", ")));
        self.line.send(&leased(lease, until, self.desk.now(), slots));
        let began = *self.began.get_or_insert(self.desk.now());
        let ending = loop {
            let left = Duration::from_millis(until.saturating_sub(self.desk.now()));
            match self.connection.receive_by(Instant::now() + left)? {
                // It may have come while the lease was granted.
                Received::Message(ToManager::Ok { .. }) => {}
                Received::Message(ToManager::Renew {}) => {
                    self.desk.change(|table, now| table.book.renew(lease, now));
                    if let Standing::Leased { until: renewed, slots } = ticket.standing() {
                        until = renewed;
                        self.line.send(&leased(lease, until, self.desk.now(), slots));
                    }
                }
                Received::Message(ToManager::Blame { peer, reason }) => {
                    self.blame(lease, asker, peer, &reason)
                }
                Received::Message(ToManager::Progress(progress)) => {
                    self.desk.change(|table, _| table.progress(lease, began, progress));
                }
                Received::Message(ToManager::Release {}) => break Ending::Released,
                Received::Message(other) => {
                    return Err(unexpected(&other, "renew, release, progress or blame"));
                }
                Received::End => break Ending::WentAway,
                Received::Silence => break Ending::Expired,
            }
        };
        drop(ticket);
        match ending {
            Ending::Released => {
                self.began = None;
                self.tell(asker, "gave back its slots");
                self.line.send(&FromManager::Released {});
                Ok(After::Rest)
            }
            Ending::Expired => {
                self.tell(asker, "held its slots to the end of their time");
                self.line.send(&FromManager::Expired { lease });
                Ok(After::Rest)
            }
            Ending::WentAway => {
                self.tell(asker, "went away, which gives back its slots");
                Ok(After::Gone)
            }
        }
    }

    /// Holding nothing, after `last`: until he asks again, goes away, or says nothing for
    /// [`limits::REST_TIME`].
    fn rest(&mut self, last: LeaseId) -> Result<Option<Request>> {
        loop {
            match self.connection.receive(Some(limits::REST_TIME))? {
                Received::Message(ToManager::Lease { peer, slots }) => {
                    return Ok(Some(Request { asker: peer, slots }));
                }
                Received::Message(ToManager::Ok { .. } | ToManager::Progress(_)) => {}
                Received::Message(ToManager::Renew {}) => {
                    self.line.send(&FromManager::Expired { lease: last });
                }
                Received::Message(ToManager::Release {}) => self.line.send(&FromManager::Released {}),
                Received::Message(ToManager::Blame { .. }) => {
                    let no = Error::new(Code::Unauthorised, "only the holder of a lease can blame its peers");
                    self.line.send(&FromManager::Error(Refusal::from(&no)));
                }
                Received::Message(other) => return Err(unexpected(&other, "lease")),
                Received::End | Received::Silence => return Ok(None),
            }
        }
    }

    /// Counts a wrong answer against a peer of the lease.
    fn blame(&self, lease: LeaseId, asker: PeerId, peer: PeerId, reason: &str) {
        let counted = self.desk.change(|table, now| {
            if !table.book.includes(lease, peer) {
                return false;
            }
            let quarantined = table.roster.blame(peer);
            let (who, whom) = (table.roster.name(asker), table.roster.name(peer));
            table.tell(now, format!("{who} blames {whom}: {}", plain(reason)));
            if quarantined {
                table.tell(now, format!("{whom} is quarantined: it is not leased until it registers anew"));
                table.book.capacity_fell(&mut table.roster, now);
            }
            true
        });
        if !counted {
            let no = Error::new(Code::Unauthorised, format!("the peer {peer} is not in your lease"));
            self.line.send(&FromManager::Error(Refusal::from(&no)));
        }
    }

    fn tell(&self, asker: PeerId, what: &str) {
        self.desk.change(|table, now| {
            let text = format!("{} {what}", table.roster.name(asker));
            table.tell(now, text);
        });
    }
}

fn leased(lease: LeaseId, until: Millis, now: Millis, slots: Vec<PeerCard>) -> FromManager {
    FromManager::Leased { lease, for_ms: until.saturating_sub(now), slots }
}
