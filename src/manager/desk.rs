//! The FIFO-fair queue around the lease book: one Mutex, and a Condvar for each that waits.
//!
//! # The problem
//! Requests come from many threads, one for each connection, and change one table (the roster and the
//! book). Two of them at once must not both find the same slot free. And who waits must be woken when it
//! is his turn, not before, not never, and not all of them together: a Condvar promises no order, and
//! waking everybody so that one may go on costs more than ten times the grants.
//!
//! # The rule
//! The table stands behind one Mutex ([`Desk::change`] is the only way in). Each waiter has a Condvar of
//! its own under its ticket. Whoever changes the table also carries out what follows from the change: it
//! wakes the tickets whose standing changed, and no others.
//!
//! # Why no wake-up is lost
//! 1. A waiter tests its standing and goes to sleep under the lock (`wait_for` releases it atomically).
//! 2. Whoever grants changes the standing under the same lock, and notifies before it lets go.
//! 3. So either the test sees the grant, or the sleeper is there to be woken. There is no moment between.
//!
//! # No lock is held across I/O
//! Under the lock, messages are only *posted*: put into the memory of each listener's
//! [`Outbox`], which fixes their order. They are flushed to the sockets after the lock is let go.
//!
//! What was taken is given back in [`Ticket`]'s `Drop`, whether its thread ended well, badly or in a
//! panic.

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::state::lease_book::Standing;
use super::state::{Table, Waking};
use crate::clock::{Clock, Millis};
use crate::net::message::{FromManager, LeaseId, PeerId, Replicas};
use crate::net::outbox::Outbox;

/// The table with its lock, and those who wait for it to change.
#[derive(Debug)]
pub struct Desk {
    clock: Clock,
    table: Mutex<Table>,
    list_changed: Condvar,
    plan_due: Condvar,
}

impl Desk {
    /// An empty table whose leases last `quantum`, and whose files are to be on so many peers.
    pub fn new(quantum: Duration, replicas: Replicas) -> Self {
        let clock = Clock::new();
        let now = clock.now();
        let table = Table::new(quantum.as_millis() as Millis, replicas, clock.first_number(), now);
        Self { clock, table: Mutex::new(table), list_changed: Condvar::new(), plan_due: Condvar::new() }
    }

    /// The time now.
    pub fn now(&self) -> Millis {
        self.clock.now()
    }

    /// Changes the table and carries out what follows: posts messages and wakes tickets under the lock,
    /// in the order in which they follow, and flushes after it.
    pub fn change<R>(&self, change: impl FnOnce(&mut Table, Millis) -> R) -> R {
        let (result, flush) = self.change_under(&mut self.table.lock(), change);
        flush.iter().for_each(Outbox::flush);
        result
    }

    /// The part of a change that happens under the lock; the outboxes are to be flushed after it.
    fn change_under<R>(
        &self,
        table: &mut Table,
        change: impl FnOnce(&mut Table, Millis) -> R,
    ) -> (R, Vec<Outbox>) {
        let result = change(table, self.clock.now());
        let flush = table.carry_out();
        if table.roster.version() != table.listed || table.stopping {
            self.list_changed.notify_all();
        }
        if table.replicator.is_due(&table.catalogue, &table.roster) || table.stopping {
            self.plan_due.notify_all();
        }
        (result, flush)
    }

    /// Takes a ticket for `slots` slots. Its end in any way gives back what it took.
    pub fn ask(&self, asker: PeerId, slots: u32, line: &Outbox) -> Ticket<'_> {
        let turn = Arc::new(Condvar::new());
        let number = self.change(|table, now| {
            let number = table.book.ask(&mut table.roster, asker, slots, now);
            let waking = Waking { turn: Arc::clone(&turn), line: line.clone(), progress: None };
            table.tickets.insert(number, waking);
            number
        });
        Ticket { desk: self, number, asker, turn }
    }

    /// Waits until the list of peers is not the one that was sent last; `None` when the manager stops.
    pub fn wait_for_list(&self) -> Option<(FromManager, Vec<Outbox>)> {
        let mut table = self.table.lock();
        while table.roster.version() == table.listed && !table.stopping {
            self.list_changed.wait(&mut table);
        }
        if table.stopping {
            return None;
        }
        table.listed = table.roster.version();
        Some((FromManager::Peers { peers: table.roster.cards() }, table.lines.values().cloned().collect()))
    }

    /// Waits until files or peers have changed since the last plan, or until `next`; false when the manager stops.
    pub fn wait_for_plan(&self, next: Option<Millis>) -> bool {
        let mut table = self.table.lock();
        loop {
            let now = self.clock.now();
            let is_time = next.is_some_and(|next| next <= now);
            if table.stopping || is_time || table.replicator.is_due(&table.catalogue, &table.roster) {
                return !table.stopping;
            }
            match next {
                None => self.plan_due.wait(&mut table),
                Some(next) => drop(self.plan_due.wait_for(&mut table, Duration::from_millis(next - now))),
            }
        }
    }

    /// Sleeps, but no longer than the manager runs; false when it stops.
    pub fn sleep(&self, how_long: Duration) -> bool {
        let end = Instant::now() + how_long;
        let mut table = self.table.lock();
        while !table.stopping {
            if self.list_changed.wait_until(&mut table, end).timed_out() {
                return true;
            }
        }
        false
    }
}

/// A place in the queue, and later a lease.
#[derive(Debug)]
pub struct Ticket<'a> {
    desk: &'a Desk,
    number: LeaseId,
    asker: PeerId,
    turn: Arc<Condvar>,
}

impl Ticket<'_> {
    /// The ticket's number, which is the lease's.
    pub fn number(&self) -> LeaseId {
        self.number
    }

    /// Where the request stands now.
    pub fn standing(&self) -> Standing {
        self.wait_for_turn(Duration::ZERO)
    }

    /// Sleeps while the request waits in the queue, for `at_most` that long.
    pub fn wait_for_turn(&self, at_most: Duration) -> Standing {
        let end = Instant::now() + at_most;
        let mut table = self.desk.table.lock();
        let (standing, flush) = loop {
            let (standing, flush) = self.desk.change_under(&mut table, |Table { book, roster, .. }, now| {
                book.standing(roster, self.number, now)
            });
            let waits = matches!(standing, Standing::Waiting { .. });
            if !waits || Instant::now() >= end {
                break (standing, flush);
            }
            // Nothing is lost with `flush`: to look at one that goes on waiting changes nothing.
            self.turn.wait_until(&mut table, end);
        };
        drop(table);
        flush.iter().for_each(Outbox::flush);
        standing
    }
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        self.desk.change(|table, now| {
            table.end_ticket(self.number, self.asker, now);
            table.book.leave(&mut table.roster, self.number, now);
        });
    }
}
