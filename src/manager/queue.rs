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

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::catalogue::Catalogue;
use super::events::Events;
use super::lease::{Book, Effect, Standing};
use super::replicator::Replicator;
use super::roster::Roster;
use crate::clock::{Clock, Millis};
use crate::net::limits;
use crate::net::message::{
    DoneState, FromManager, LeaseId, LeaseState, PeerId, ProductStage, Progress, Replicas,
};
use crate::net::outbox::Outbox;

/// How many of the multiplies that were finished are kept for the board.
const DONE: usize = 5;

/// Everything the manager knows, behind the desk's lock.
#[derive(Debug)]
pub struct Table {
    /// Who is here.
    pub roster: Roster,
    /// Who may use which slots.
    pub book: Book,
    /// Which files there are, and who has them.
    pub catalogue: Catalogue,
    /// Who should fetch what.
    pub replicator: Replicator,
    /// What happened last.
    pub events: Events,
    /// The multiplies that were finished last, oldest first.
    pub(super) done: VecDeque<DoneState>,
    /// Since when the manager runs.
    pub(super) started: Millis,
    /// The way to each peer.
    pub lines: HashMap<PeerId, Outbox>,
    /// Ends the manager's service for good.
    pub stopping: bool,
    tickets: HashMap<LeaseId, Waking>,
    /// Outboxes in which something waits to be flushed.
    pub(super) posted: Vec<Outbox>,
    listed: u64,
}

/// How to reach one that waits or holds: its thread by the Condvar, its program by the outbox.
#[derive(Debug)]
struct Waking {
    turn: Arc<Condvar>,
    line: Outbox,
    /// When its multiply began, and how far it is, as it said last.
    progress: Option<(Millis, Progress)>,
}

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
        let table = Table {
            roster: Roster::default(),
            book: Book::new(quantum.as_millis() as Millis, clock.first_number(), now),
            catalogue: Catalogue::default(),
            replicator: Replicator::new(replicas, now),
            events: Events::default(),
            done: VecDeque::new(),
            started: now,
            lines: HashMap::new(),
            stopping: false,
            tickets: HashMap::new(),
            posted: Vec::new(),
            listed: 0,
        };
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

impl Table {
    /// An event in plain words, for the board and the log.
    pub fn tell(&mut self, at: Millis, text: String) {
        self.events.tell(at, text);
    }

    /// Puts a message into the memory of a peer's outbox; it is flushed after the change.
    pub fn post(&mut self, peer: PeerId, message: &FromManager) {
        if let Some(line) = self.lines.get(&peer) {
            line.post(message);
            self.posted.push(line.clone());
        }
    }

    /// The holder of a lease says how far its multiply is, which began at `began`.
    pub fn progress(&mut self, lease: LeaseId, began: Millis, mut progress: Progress) {
        if let Some(waking) = self.tickets.get_mut(&lease) {
            progress.products.truncate(limits::PRODUCTS);
            waking.progress = Some((began, progress));
        }
    }

    /// The running leases, and how far their multiplies are.
    pub(super) fn leases(&self) -> Vec<LeaseState> {
        let mut leases = self.book.leases(&self.roster);
        for lease in &mut leases {
            let waking = self.tickets.get(&lease.lease);
            lease.progress = waking.and_then(|waking| Some(waking.progress.as_ref()?.1.clone()));
        }
        leases
    }

    /// A ticket is given back; a multiply that was finished with it is kept for the board.
    fn end_ticket(&mut self, lease: LeaseId, asker: PeerId, now: Millis) {
        let Some((began, progress)) = self.tickets.remove(&lease).and_then(|waking| waking.progress) else {
            return;
        };
        if progress.products.iter().any(|product| product.state != ProductStage::Checked) {
            return;
        }
        if self.done.len() == DONE {
            self.done.pop_front();
        }
        let name = self.roster.get(asker).map(|row| row.is.name.clone());
        let took_ms = now.saturating_sub(began);
        self.done.push_back(DoneState { lease, peer: asker, name, at: now, took_ms, progress });
    }

    /// Posts and wakes what follows from the last change; says who has something to be flushed.
    fn carry_out(&mut self) -> Vec<Outbox> {
        let mut flush = std::mem::take(&mut self.posted);
        for effect in self.book.take_effects() {
            let (line, message) = match effect {
                Effect::Turn(ticket) => {
                    if let Some(waking) = self.tickets.get(&ticket) {
                        waking.turn.notify_one();
                    }
                    continue;
                }
                Effect::Bind { peer, lease, slots, for_ms } => {
                    (self.lines.get(&peer), FromManager::Bind { lease, slots, for_ms })
                }
                Effect::Unbind { peer, lease } => (self.lines.get(&peer), FromManager::Unbind { lease }),
                Effect::Lost { lease, peer } => {
                    let holder = self.tickets.get(&lease).map(|waking| &waking.line);
                    (holder, FromManager::Lost { lease, peer })
                }
            };
            if let Some(line) = line {
                line.post(&message);
                flush.push(line.clone());
            }
        }
        flush
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
