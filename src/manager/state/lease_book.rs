//! The lease book: who may use which slots, until when, and who is next.
//!
//! # The problem
//! A multiply needs seven slots at once. If everybody took what is free, two requesters of seven could
//! hold four slots each and wait for each other for ever. If large requests were passed over until they
//! fit, a stream of small ones would starve them. And a holder that falls asleep must not keep the
//! others waiting, nor do harm when it wakes.
//!
//! # The rules
//! - **All or none, in strict order of arrival.** Only the head of the queue may take; nobody overtakes,
//!   not even one whose request would fit now. So nobody starves and nobody deadlocks.
//! - **A number for life.** A request gets the next number; the number of its ticket in the queue is the
//!   number of its lease later. Leases are therefore granted in the order of their numbers.
//! - **A lease lasts one quantum.** While nobody waits it can be renewed. When somebody waits it ends at
//!   its time, and the former holder queues again for what it has left: round-robin.
//! - **Fencing.** Each peer is told what it serves (`bind`) and what no longer (`unbind`); it refuses
//!   products of leases that are over. A slot is free again only when its peer says `unbound`, that is
//!   when the last product under the old lease is done. So no slot ever serves two.
//! - **No false hope.** Asking for more than all others own is `infeasible` at once, also for one that
//!   waits when peers leave. Only a manager that has just started lets such a request wait, because its
//!   peers are on their way back.
//!
//! # An example
//! Eight slots. Ada asks for 7 and has them (1 free). Ben asks for 7 and waits as the head. Cyd asks for
//! 1 and waits too, although one slot is free. Ada's quantum ends; her peers finish what runs and say
//! `unbound`; Ben has his seven, and at the same moment Cyd has the eighth.
//!
//! The book is plain state: each call changes it and says what follows from that ([`Effect`]); the time
//! is passed in. The Mutex and the Condvars around it are in [`desk`](crate::manager::desk).
//!
//! # What is missing
//! One slow peer holds back a lease of seven. There are no priorities, and a requester may queue as
//! often as it likes.

use std::collections::{BTreeMap, VecDeque};

use super::roster::Roster;
use crate::clock::Millis;
use crate::net::message::{LeaseId, LeaseState, PeerCard, PeerId, WaiterState};
use crate::share::units::counted;

/// How long a manager that has just started lets infeasible requests wait, in milliseconds: its peers
/// reconnect within three seconds.
pub const GRACE: Millis = 5_000;

/// How many quanta a peer may take to finish what runs under an ended lease before it is dropped.
pub const PATIENCE: u64 = 10;

/// What follows from a change of the book, to be carried out by the shell around it, in this order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// The standing of this ticket changed: wake the thread that waits for it, and no other.
    Turn(LeaseId),
    /// Tell the peer to serve the lease.
    Bind {
        /// The peer.
        peer: PeerId,
        /// The lease.
        lease: LeaseId,
        /// Its slots there.
        slots: u32,
        /// For how long.
        for_ms: Millis,
    },
    /// Tell the peer to begin nothing more for the lease.
    Unbind {
        /// The peer.
        peer: PeerId,
        /// The lease.
        lease: LeaseId,
    },
    /// Tell the holder that a peer of its lease is gone.
    Lost {
        /// The lease.
        lease: LeaseId,
        /// The peer.
        peer: PeerId,
    },
}

/// Where a request stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// In the queue.
    Waiting {
        /// Its place; 1 is the head.
        position: usize,
        /// How many slots it asked for.
        asked: u32,
        /// How many it could have now.
        free: u32,
        /// For what it waits and what would end that.
        reason: String,
    },
    /// Granted and running.
    Leased {
        /// When it ends unless it is renewed.
        until: Millis,
        /// Where the slots are.
        slots: Vec<PeerCard>,
    },
    /// Taken off the queue: all others together own too few slots.
    Infeasible {
        /// How many they own.
        leasable: u32,
    },
    /// Ended, or never was.
    Over,
}

#[derive(Debug)]
struct Waiter {
    ticket: LeaseId,
    asker: PeerId,
    slots: u32,
    since: Millis,
}

#[derive(Debug)]
struct Lease {
    holder: PeerId,
    until: Millis,
    slots: Vec<PeerCard>,
}

/// Slots of a lease that ended, whose peer has not yet said `unbound`.
#[derive(Debug)]
struct Ending {
    slots: u32,
    since: Millis,
}

/// The queue and the running leases.
#[derive(Debug)]
pub struct LeaseBook {
    quantum: Millis,
    started: Millis,
    next: LeaseId,
    /// In order of arrival, and so of their tickets.
    queue: VecDeque<Waiter>,
    leases: BTreeMap<LeaseId, Lease>,
    ending: BTreeMap<(PeerId, LeaseId), Ending>,
    effects: Vec<Effect>,
}

impl LeaseBook {
    /// An empty book whose leases last `quantum`. Its numbers start from `first`.
    pub fn new(quantum: Millis, first: LeaseId, now: Millis) -> Self {
        Self {
            quantum,
            started: now,
            next: first,
            queue: VecDeque::new(),
            leases: BTreeMap::new(),
            ending: BTreeMap::new(),
            effects: Vec::new(),
        }
    }

    /// How long a lease lasts.
    pub fn quantum(&self) -> Millis {
        self.quantum
    }

    /// What follows from the changes since the last call.
    pub fn take_effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The next number, for a ticket or a peer; no number is given twice.
    pub fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Puts a request at the end of the queue, and serves it if it can be. Look at its
    /// [`LeaseBook::standing`] next.
    pub fn ask(&mut self, roster: &mut Roster, asker: PeerId, slots: u32, now: Millis) -> LeaseId {
        let ticket = self.next_number();
        self.queue.push_back(Waiter { ticket, asker, slots, since: now });
        if self.queue.len() == 1 {
            self.serve(roster, now);
        }
        ticket
    }

    // lab 2: begin
    /// Grants what can be granted: the head takes all it asked for, or nobody takes anything.
    pub fn serve(&mut self, roster: &mut Roster, now: Millis) {
        while let Some(head) = self.queue.front() {
            let Some(slots) = roster.take(head.slots, head.asker) else { return };
            let (lease, holder) = (head.ticket, head.asker);
            self.queue.pop_front();
            for card in &slots {
                let (peer, slots) = (card.peer, card.slots);
                self.effects.push(Effect::Bind { peer, lease, slots, for_ms: self.quantum });
            }
            self.leases.insert(lease, Lease { holder, until: now + self.quantum, slots });
            self.effects.push(Effect::Turn(lease));
        }
    }
    // lab 2: end

    /// Where a request stands now. One that has become infeasible is taken off the queue.
    pub fn standing(&mut self, roster: &mut Roster, ticket: LeaseId, now: Millis) -> Standing {
        if let Some(lease) = self.leases.get(&ticket) {
            return Standing::Leased { until: lease.until, slots: lease.slots.clone() };
        }
        let Some(place) = self.place(ticket) else { return Standing::Over };
        let Waiter { asker, slots, .. } = self.queue[place];
        let leasable = roster.leasable(asker);
        if slots > leasable && !self.in_grace(now) {
            self.leave(roster, ticket, now);
            return Standing::Infeasible { leasable };
        }
        Standing::Waiting {
            position: place + 1,
            asked: slots,
            free: roster.free(asker),
            reason: self.reason(roster, place, now),
        }
    }

    /// A request that waits, or a lease that runs, is over: the requester released it, went away, or
    /// its time is up.
    pub fn leave(&mut self, roster: &mut Roster, ticket: LeaseId, now: Millis) {
        if let Some(place) = self.place(ticket) {
            self.queue.remove(place);
            if place == 0 {
                self.serve(roster, now);
            }
        }
        let Some(lease) = self.leases.remove(&ticket) else { return };
        for card in lease.slots {
            self.end(card.peer, ticket, card.slots, now);
        }
    }

    /// Extends a lease while nobody waits; says when it ends, `None` when it has ended.
    pub fn renew(&mut self, ticket: LeaseId, now: Millis) -> Option<Millis> {
        let lease = self.leases.get_mut(&ticket)?;
        if self.queue.is_empty() && now < lease.until {
            lease.until = now + self.quantum;
            for card in &lease.slots {
                let (peer, slots) = (card.peer, card.slots);
                self.effects.push(Effect::Bind { peer, lease: ticket, slots, for_ms: self.quantum });
            }
        }
        Some(lease.until)
    }

    /// Whether `peer` serves the running lease `ticket`.
    pub fn includes(&self, ticket: LeaseId, peer: PeerId) -> bool {
        self.leases.get(&ticket).is_some_and(|lease| lease.slots.iter().any(|card| card.peer == peer))
    }

    /// A peer is done with the last product of an ended lease.
    pub fn unbound(&mut self, roster: &mut Roster, peer: PeerId, lease: LeaseId, now: Millis) {
        if let Some(ending) = self.ending.remove(&(peer, lease)) {
            roster.give_back(peer, ending.slots);
            self.serve(roster, now);
        }
    }

    /// A peer joined that still serves a lease of its former life: its slots count as used until it
    /// says `unbound`, which it is asked to at once.
    pub fn still_bound(
        &mut self,
        roster: &mut Roster,
        peer: PeerId,
        lease: LeaseId,
        slots: u32,
        now: Millis,
    ) {
        let Some(card) = roster.mark_used(peer, slots) else { return };
        self.end(peer, lease, card.slots, now);
    }

    /// These slots are over for the lease; they are free when the peer says `unbound`.
    fn end(&mut self, peer: PeerId, lease: LeaseId, slots: u32, now: Millis) {
        // A peer may name one lease twice, or one that is yet to come: what it named adds up.
        self.ending.entry((peer, lease)).or_insert(Ending { slots: 0, since: now }).slots += slots;
        self.effects.push(Effect::Unbind { peer, lease });
    }

    /// A peer is gone, and was struck out of the roster: leases lose its slots, and who asked for more
    /// than there is now is told.
    pub fn lost(&mut self, roster: &mut Roster, peer: PeerId, now: Millis) {
        self.ending.retain(|&(ending, _), _| ending != peer);
        for (&lease, terms) in &mut self.leases {
            let before = terms.slots.len();
            terms.slots.retain(|card| card.peer != peer);
            if terms.slots.len() < before {
                self.effects.push(Effect::Lost { lease, peer });
            }
        }
        self.capacity_fell(roster, now);
    }

    /// There are fewer slots than before: wake everybody who asked for more than there is.
    pub fn capacity_fell(&mut self, roster: &mut Roster, now: Millis) {
        if !self.in_grace(now) {
            let hopeless = self.queue.iter().filter(|w| w.slots > roster.leasable(w.asker));
            self.effects.extend(hopeless.map(|waiter| Effect::Turn(waiter.ticket)));
        }
        self.serve(roster, now);
    }

    /// Peers that have not said `unbound` in [`PATIENCE`] quanta.
    pub fn overdue(&self, now: Millis) -> Vec<PeerId> {
        let late = |ending: &Ending| now.saturating_sub(ending.since) > PATIENCE * self.quantum;
        self.ending.iter().filter(|(_, ending)| late(ending)).map(|(&(peer, _), _)| peer).collect()
    }

    /// The queue as the `state` answer shows it.
    pub fn waiters(&self, roster: &Roster, now: Millis) -> Vec<WaiterState> {
        let state = |(place, waiter): (usize, &Waiter)| WaiterState {
            position: place + 1,
            peer: waiter.asker,
            name: roster.get(waiter.asker).map(|row| row.is.name.clone()),
            asked: waiter.slots,
            since: waiter.since,
            reason: self.reason(roster, place, now),
        };
        self.queue.iter().enumerate().map(state).collect()
    }

    /// The running leases as the `state` answer shows them.
    pub fn leases(&self, roster: &Roster) -> Vec<LeaseState> {
        let state = |(&lease, terms): (&LeaseId, &Lease)| LeaseState {
            lease,
            peer: terms.holder,
            name: roster.get(terms.holder).map(|row| row.is.name.clone()),
            until: terms.until,
            slots: terms.slots.clone(),
            progress: None,
        };
        self.leases.iter().map(state).collect()
    }

    fn in_grace(&self, now: Millis) -> bool {
        now < self.started + GRACE
    }

    fn place(&self, ticket: LeaseId) -> Option<usize> {
        self.queue.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()
    }

    /// Why the waiter at `place` waits, and what would end it.
    fn reason(&self, roster: &Roster, place: usize, now: Millis) -> String {
        let head = &self.queue[0];
        let free = roster.free(head.asker);
        let are = if free == 1 { "is" } else { "are" };
        if place > 0 {
            let before = if place == 1 { "one is".into() } else { format!("{place} are") };
            return format!(
                "{before} before you; the head of the queue waits for {}, {free} {are} free",
                counted(head.slots, "slot")
            );
        }
        let until = if let Some(lease) = self.leases.values().min_by_key(|lease| lease.until) {
            let left = lease.until.saturating_sub(now) as f64 / 1000.0;
            format!("the lease of {} ends in {left:.1} s at the latest", roster.name(lease.holder))
        } else if let Some((peer, _)) = self.ending.keys().next() {
            format!("{} finishes the last product of a lease that ended", roster.name(*peer))
        } else if self.in_grace(now) {
            "the manager has just started, and peers may be on their way back".into()
        } else {
            "the manager is trying to reach the peers that joined".into()
        };
        let missing = match head.slots {
            1 => "your slot is not free yet".into(),
            slots => format!("{free} of your {slots} slots {are} free"),
        };
        format!("you are the head of the queue; {missing}; {until}")
    }
}

#[cfg(test)]
mod tests;
