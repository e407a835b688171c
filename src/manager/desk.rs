//! The lock around the table: one Mutex, and a Condvar for each thread that waits.
//!
//! # The problem
//! Requests come from many threads, one for each connection, and change one [`Table`]. Two of them at once must not
//! both find the same slot free. And a thread that waits must be woken when it is its turn, not before, not never,
//! and not all of them together: a Condvar promises no order, and waking everybody so that one may go on costs more
//! than ten times the grants.
//!
//! # The rule
//! The table stands behind one Mutex ([`Desk::change`] is the only way in). Each waiter has a Condvar of
//! its own under its ticket. The thread that changes the table also carries out what follows from the change
//! ([`Effect`]): it wakes the tickets whose standing changed, and no others.
//!
//! # Why no wake-up is lost
//! 1. A waiter tests its standing and goes to sleep under the lock (`wait_until` lets go of it and falls asleep in one
//!    step).
//! 2. The thread that grants changes the standing under the same lock, and notifies before it lets go.
//! 3. So either the test sees the grant, or the sleeper is there to be woken. There is no moment between.
//!
//! # No lock is held across I/O
//! Under the lock, messages are only *posted*: put into the memory of each listener's
//! [`Outbox`], which fixes their order. They are flushed to the sockets after the lock is let go.
//!
//! What was taken is given back in [`Ticket`]'s `Drop`, whether its thread ended well, badly or in a
//! panic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex, MutexGuard};

use super::state::Table;
use super::state::effect::Effect;
use super::state::lease_book::TicketStanding;
use super::state::roster::{Exam, Wish};
use crate::clock::{Clock, Millis};
use crate::error::Result;
use crate::net::key::Key;
use crate::net::message::{Candidate, FromManager, LeaseId, PeerId, Replicas, encode};
use crate::net::outbox::Outbox;

/// The table with its lock, and the threads that wait for it to change.
pub(super) struct Desk {
    pub(super) clock: Clock,
    /// How long a peer may be silent; one that waits for slots may take half of it to say `ok`.
    pub(super) dead_after: Duration,
    /// That of the network, for the connections to its peers.
    pub(super) secret: Option<Key>,
    locked: Mutex<Locked>,
    list_changed: Condvar,
    plan_due: Condvar,
    exam_due: Condvar,
    stopped: Condvar,
    /// A registered peer waits no more for the slots that it asked for, so that it may ask again.
    place_left: Condvar,
}

/// What the lock is around: the table, and the ways to all that are to hear of its changes.
struct Locked {
    table: Table,
    /// The way to each peer.
    lines: HashMap<PeerId, Outbox>,
    waiting: HashMap<LeaseId, Waking>,
    stopping: bool,
}

/// How to reach one that waits for a lease, or holds it: its thread by the Condvar, its program by the outbox.
struct Waking {
    turn: Arc<Condvar>,
    line: Outbox,
}

impl Desk {
    /// An empty table whose leases last `quantum`, and whose files are to be on so many peers.
    pub(super) fn new(
        quantum: Duration,
        replicas: Replicas,
        dead_after: Duration,
        secret: Option<Key>,
    ) -> Self {
        let clock = Clock::start();
        let (quantum, first) = (quantum.as_millis() as Millis, clock.first_number());
        let table = Table::new(quantum, replicas, first, Key::random(), clock.now());
        let (lines, waiting) = (HashMap::new(), HashMap::new());
        let locked = Mutex::new(Locked { table, lines, waiting, stopping: false });
        Self {
            clock,
            dead_after,
            secret,
            locked,
            list_changed: Condvar::new(),
            plan_due: Condvar::new(),
            exam_due: Condvar::new(),
            stopped: Condvar::new(),
            place_left: Condvar::new(),
        }
    }

    /// Changes the table and carries out what follows: posts messages and wakes tickets under the lock,
    /// in the order in which they follow, and flushes after it.
    pub(super) fn change<R>(&self, change: impl FnOnce(&mut Table, Millis) -> R) -> R {
        self.change_all(|locked, now| change(&mut locked.table, now))
    }

    fn change_all<R>(&self, change: impl FnOnce(&mut Locked, Millis) -> R) -> R {
        let (result, flush) = self.change_under(&mut self.locked.lock(), change);
        flush.iter().for_each(Outbox::flush);
        result
    }

    /// The part of a change that happens under the lock; the outboxes are to be flushed after it.
    fn change_under<R>(
        &self,
        locked: &mut Locked,
        change: impl FnOnce(&mut Locked, Millis) -> R,
    ) -> (R, Vec<Outbox>) {
        let now = self.clock.now();
        let result = change(locked, now);
        let flush = locked.carry_out();
        let table = &mut locked.table;
        for (is_due, waits) in [
            (table.list_changed, &self.list_changed),
            (table.is_plan_due(), &self.plan_due),
            (table.is_exam_due(now), &self.exam_due),
            (false, &self.stopped),
            (std::mem::take(&mut table.book.place_left), &self.place_left),
        ] {
            if is_due || locked.stopping {
                waits.notify_all();
            }
        }
        (result, flush)
    }

    /// Takes a peer into the table; what it is told goes into `line`.
    ///
    /// # Errors
    /// What [`Table::admit`] says.
    pub(super) fn admit(&self, candidate: Candidate, line: &Outbox) -> Result<PeerId> {
        self.change_all(|locked, now| {
            let peer = locked.table.admit(candidate, self.dead_after, now)?;
            locked.lines.insert(peer, line.clone());
            Ok(peer)
        })
    }

    /// A peer's conversation is over, though it may still have to be told why: it leaves the table.
    pub(super) fn strike(&self, peer: PeerId, why: &str) {
        self.change_all(|locked, now| {
            locked.lines.remove(&peer);
            locked.table.strike(peer, why, now);
        });
    }

    /// Takes a ticket for slots. Its end in any way gives back what it took. While another request of the same peer
    /// waits, this one waits here, for `at_most` so long, and has no ticket yet.
    pub(super) fn ask(&self, wish: &Wish, line: &Outbox, at_most: Duration) -> Option<Ticket<'_>> {
        drop(self.wait(&self.place_left, at_most, |locked| !locked.table.book.waits(wish.requester)));
        let turn = Arc::new(Condvar::new());
        let number = self.change_all(|locked, now| {
            let Table { book, roster, .. } = &mut locked.table;
            let number = (!book.waits(wish.requester)).then(|| book.ask(roster, wish.clone(), now))?;
            locked.waiting.insert(number, Waking { turn: Arc::clone(&turn), line: line.clone() });
            Some(number)
        })?;
        Some(Ticket { desk: self, number, turn })
    }

    /// Waits until the list of peers is not the one that was sent last; `None` when the manager stops.
    pub(super) fn wait_for_list(&self) -> Option<(FromManager, Vec<Outbox>)> {
        let mut locked = self.wait(&self.list_changed, Duration::MAX, |locked| locked.table.list_changed)?;
        Some((locked.table.take_list(), locked.lines.values().cloned().collect()))
    }

    /// Waits until files or peers have changed since the last plan, or until `next`; false when the manager stops.
    pub(super) fn wait_for_plan(&self, next: Option<Millis>) -> bool {
        let left = next.map(|next| Duration::from_millis(next.saturating_sub(self.clock.now())));
        let due = |locked: &Locked| locked.table.is_plan_due();
        self.wait(&self.plan_due, left.unwrap_or(Duration::MAX), due).is_some()
    }

    /// Waits until a peer that is to be examined can be, and begins; `None` when the manager stops. When the time of
    /// one comes, the next change of the table notices it: the heartbeat makes many a second.
    pub(super) fn next_exam(&self) -> Option<Exam> {
        let due = |locked: &Locked| locked.table.is_exam_due(self.clock.now());
        loop {
            drop(self.wait(&self.exam_due, Duration::MAX, due)?);
            if let Some(exam) = self.change(Table::begin_exam) {
                return Some(exam);
            }
        }
    }

    /// Sleeps, but no longer than the manager runs; false when it stops.
    pub(super) fn sleep(&self, how_long: Duration) -> bool {
        self.wait(&self.stopped, how_long, |_| false).is_some()
    }

    /// Waits until it is `due`, for `at_most` so long; `None` when the manager stops.
    fn wait(
        &self,
        changed: &Condvar,
        at_most: Duration,
        due: impl Fn(&Locked) -> bool,
    ) -> Option<MutexGuard<'_, Locked>> {
        let mut locked = self.locked.lock();
        changed.wait_while_for(&mut locked, |locked| !locked.stopping && !due(locked), at_most);
        (!locked.stopping).then_some(locked)
    }

    /// Ends every wait for good.
    pub(super) fn stop(&self) {
        self.change_all(|locked, _| locked.stopping = true);
    }
}

impl Locked {
    /// Posts and wakes what follows from the last change; gives the outboxes that are to be flushed.
    fn carry_out(&mut self) -> Vec<Outbox> {
        let mut flush = Vec::new();
        let mut post = |lines: &mut dyn Iterator<Item = &Outbox>, message: &FromManager| {
            let line: Arc<[u8]> = encode(message).into();
            flush.extend(lines.inspect(|outbox| outbox.post_line(Arc::clone(&line))).cloned());
        };
        for effect in self.table.take_effects() {
            match effect {
                Effect::Tell(peer, message) => post(&mut self.lines.get(&peer).into_iter(), &message),
                Effect::TellHolder(lease, message) => {
                    post(&mut self.waiting.get(&lease).map(|holder| &holder.line).into_iter(), &message);
                }
                Effect::TellAll(message) => post(&mut self.lines.values(), &message),
                Effect::Turn(ticket) => {
                    if let Some(waiting) = self.waiting.get(&ticket) {
                        waiting.turn.notify_one();
                    }
                }
                Effect::HangUp(peer) => {
                    if let Some(line) = self.lines.remove(&peer) {
                        line.close();
                    }
                }
            }
        }
        flush
    }
}

/// A place in the queue, and later a lease.
pub(super) struct Ticket<'a> {
    desk: &'a Desk,
    /// The ticket's number, which is the lease's.
    pub(super) number: LeaseId,
    turn: Arc<Condvar>,
}

impl Ticket<'_> {
    // lab 3
    /// Sleeps while the request waits in the queue, for `at_most` that long.
    pub(super) fn wait_for_turn(&self, at_most: Duration) -> TicketStanding {
        let end = Instant::now() + at_most;
        let mut locked = self.desk.locked.lock();
        let (standing, flush) = loop {
            let standing = |locked: &mut Locked, now| locked.table.standing(self.number, now);
            let (standing, flush) = self.desk.change_under(&mut locked, standing);
            let waits = matches!(standing, TicketStanding::Waiting(_));
            if !waits || Instant::now() >= end {
                break (standing, flush);
            }
            // Nothing is lost with `flush`: to look at one that goes on waiting changes nothing.
            self.turn.wait_until(&mut locked, end);
        };
        drop(locked);
        flush.iter().for_each(Outbox::flush);
        standing
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.desk.change_all(|locked, now| {
            locked.waiting.remove(&self.number);
            locked.table.leave(self.number, now);
        });
    }
}

#[cfg(test)]
mod tests;
