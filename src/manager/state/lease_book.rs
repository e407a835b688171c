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
//!   (An examination waits in no queue, so its number may come between two of those that wait.)
//! - **A lease lasts one quantum.** While nobody waits it can be renewed. When somebody waits it ends at
//!   its time, and the former holder queues again for what it has left: round-robin.
//! - **Fencing.** Each peer is told what it serves (`bind`) and what no longer (`unbind`); it refuses
//!   products of leases that are over. A slot is free again only when its peer says `unbound`, that is
//!   when the last product under the old lease is done. So no slot ever serves two. With `bind` it is told a key, which
//!   only the holder is told, too: to know the number of a lease is not enough.
//! - **No false hope.** Asking for more than all others own is `infeasible` at once, also for one that
//!   waits when peers leave. Only a manager that has just started lets such a request wait, because its
//!   peers are on their way back. Slots at an address that is still being tried count for [`TRIAL`], however often
//!   another peer joins at an address that nobody can reach.
//!
//! # An example
//! Three peers of four slots, and one of them asks for seven: its own do not count, and the seven are spread over
//! the two others, four from one and three from the other.
//!
//! Eight slots. Ada asks for 7 and has them (1 free). Ben asks for 7 and waits as the head. Cyd asks for
//! 1 and waits too, although one slot is free. Ada's quantum ends; its peers finish what runs and say
//! `unbound`; Ben has its seven, and at the same moment Cyd has the eighth.
//!
//! The book is plain state: each call changes it and says what follows from that ([`Effect`]); the time
//! is passed in.
//!
//! # What is missing
//! A slow peer is leased like a fast one; how slow it is, only the holder sees, which can `avoid` it. There are no
//! priorities, and one that is not registered may queue as often as it likes.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, VecDeque};

use super::effect::Effect;
use super::roster::{Exam, Member, Roster, Wish};
use crate::clock::Millis;
use crate::net::limits;
use crate::net::message::{
    Bound, FromManager, GRACE, LeaseId, LeaseState, NOBODY, PeerCard, PeerId, Progress, WaiterState,
};
use crate::share::units::counted;

/// How many quanta a peer may take to finish what runs under an ended lease before it is dropped.
const PATIENCE: u64 = 10;

/// How many peers that have shown nothing are examined at once, because one request needs such.
const EXAMINED: usize = 64;

/// How long a request waits for slots at addresses that are being tried, in milliseconds: as long as it takes to
/// connect to one, and to ask a new peer for a product then.
const TRIAL: Millis = (limits::CONNECT_TIME.as_millis() + limits::FIRST_EXAM_TIME.as_millis()) as Millis;

/// Where a request stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TicketStanding {
    /// In the queue, with the `wait` that tells its requester for what.
    Waiting(FromManager),
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

struct Waiter {
    ticket: LeaseId,
    wish: Wish,
    since: Millis,
}

/// Slots of a lease that ended, whose peer has not yet said `unbound`.
struct Unbinding {
    slots: u32,
    since: Millis,
}

/// The queue, the running leases, and the slots in use.
#[derive(Default)]
pub(crate) struct LeaseBook {
    /// How long a lease lasts.
    pub(super) quantum: Millis,
    /// When the manager began.
    pub(super) started: Millis,
    /// The next number, for a ticket or a peer.
    pub(super) next: LeaseId,
    /// In order of arrival, and so of their tickets.
    queue: VecDeque<Waiter>,
    /// As they are shown, but with the keys of their slots, and without the name of their holder: the roster has it.
    leases: BTreeMap<LeaseId, LeaseState>,
    unbinding: BTreeMap<(PeerId, LeaseId), Unbinding>,
    /// How many slots of each peer are leased, or still busy with the last product of a lease that ended.
    used: HashMap<PeerId, u32>,
    /// A registered peer has left the queue.
    pub(crate) place_left: bool,
    /// Peers that have not shown that they compute, and whose slots a request needed.
    pub(super) unproven: Vec<PeerId>,
    /// What follows from the last changes.
    pub(super) effects: Vec<Effect>,
}

impl LeaseBook {
    /// The next number, for a ticket or a peer; no number is given twice.
    pub(super) fn next_number(&mut self) -> u64 {
        self.next += 1;
        self.next - 1
    }

    /// Puts a request at the end of the queue, and serves it if it can be. Look at its
    /// [`LeaseBook::standing`] next.
    pub(crate) fn ask(&mut self, roster: &Roster, wish: Wish, now: Millis) -> LeaseId {
        let ticket = self.next_number();
        self.queue.push_back(Waiter { ticket, wish, since: now });
        if self.queue.len() == 1 {
            self.serve(roster, now);
        }
        ticket
    }

    /// Whether a peer has a place in the queue already. Those that are not registered are not told apart.
    pub(crate) fn waits(&self, requester: PeerId) -> bool {
        requester != NOBODY && self.queue.iter().any(|waiter| waiter.wish.requester == requester)
    }

    /// A peer has another number now, by which it is known where it waits and where it holds slots.
    pub(super) fn renumber(&mut self, former: PeerId, peer: PeerId) {
        let waiting = self.queue.iter_mut().map(|waiter| &mut waiter.wish.requester);
        let holding = self.leases.values_mut().map(|lease| &mut lease.peer);
        waiting.chain(holding).filter(|number| **number == former).for_each(|number| *number = peer);
    }

    /// What is said to one whose other request waits: it would be the last.
    pub(crate) fn second(&self, roster: &Roster, wish: &Wish) -> FromManager {
        let reason = "another request of yours waits, and each peer has one place in the queue".into();
        let (position, free) = (self.queue.len() + 1, self.free(roster, wish));
        FromManager::Wait { position, asked: wish.slots, free, reason }
    }

    // lab 3
    /// Grants what can be granted: the head takes all it asked for, or nobody takes anything.
    pub(super) fn serve(&mut self, roster: &Roster, now: Millis) {
        while let Some(head) = self.queue.front() {
            let (lease, wish) = (head.ticket, head.wish.clone());
            let Some(slots) = self.take(roster, &wish) else { return };
            self.queue.pop_front();
            self.place_left |= wish.requester != NOBODY;
            self.grant(roster, lease, wish.requester, slots, now);
            self.effects.push(Effect::Turn(lease));
        }
    }

    /// Takes the slots of a wish, all or none, spread over as many peers as possible: one from each in turn, beginning
    /// with those that have shown that they compute, and of them with those that have most to spare.
    fn take(&mut self, roster: &Roster, wish: &Wish) -> Option<Vec<PeerCard>> {
        if self.free(roster, wish) < wish.slots {
            return None;
        }
        // (free slots, peer, slots taken)
        let spare = roster.liked(wish).map(|peer| (self.free_at(peer), peer, 0));
        let mut spare: Vec<(u32, &Member, u32)> = spare.filter(|&(free, ..)| free > 0).collect();
        spare.sort_by_key(|&(free, peer, _)| (Reverse(peer.proven), Reverse(free), peer.id));
        // Where those that have shown that they compute were enough, there are no others here.
        let unproven = spare.iter().filter(|(_, peer, _)| !peer.proven);
        self.unproven.extend(unproven.map(|(_, peer, _)| peer.id).take(EXAMINED));
        let mut missing = wish.slots;
        while missing > 0 {
            for (free, _, taken) in &mut spare {
                if missing > 0 && taken < free {
                    *taken += 1;
                    missing -= 1;
                }
            }
        }
        let shares = spare.into_iter().filter(|&(_, _, taken)| taken > 0);
        Some(shares.map(|(_, peer, taken)| self.mark_used(peer, taken)).collect())
    }

    /// Counts `slots` of a peer as used, no more than it has; the card says how many.
    fn mark_used(&mut self, peer: &Member, slots: u32) -> PeerCard {
        let used = self.used.entry(peer.id).or_default();
        let slots = slots.min(peer.is.slots - *used);
        *used += slots;
        peer.card(slots)
    }

    /// Whether a peer has a slot that is not in use.
    pub(super) fn is_free(&self, roster: &Roster, peer: PeerId) -> bool {
        roster.peers.get(&peer).is_some_and(|row| self.used(peer) < row.is.slots)
    }

    /// Leases a slot of a peer to the manager itself, which examines it.
    pub(super) fn examine(&mut self, roster: &Roster, peer: PeerId, now: Millis) -> Option<Exam> {
        let row = roster.peers.get(&peer)?;
        let (lease, addr) = (self.next_number(), row.is.addr);
        let slots = vec![self.mark_used(row, 1)];
        self.grant(roster, lease, NOBODY, slots, now);
        Some(Exam { peer, addr, lease, key: roster.key.of_lease(lease, peer) })
    }

    /// These slots are the holder's for a quantum, and their peers are told.
    fn grant(
        &mut self,
        roster: &Roster,
        lease: LeaseId,
        holder: PeerId,
        mut slots: Vec<PeerCard>,
        now: Millis,
    ) {
        slots.iter_mut().for_each(|card| card.key = Some(roster.key.of_lease(lease, card.peer)));
        self.bind(lease, &slots);
        let (until, name) = (now + self.quantum, None);
        self.leases.insert(lease, LeaseState { lease, peer: holder, name, until, slots, progress: None });
    }

    /// Tells the peers of a lease to serve it for a quantum from now.
    fn bind(&mut self, lease: LeaseId, slots: &[PeerCard]) {
        let for_ms = self.quantum;
        let bind = |card: &PeerCard| {
            let (slots, key) = (card.slots, card.key.clone()?);
            Some(Effect::Tell(card.peer, FromManager::Bind { lease, slots, for_ms, key }))
        };
        self.effects.extend(slots.iter().filter_map(bind));
    }

    /// How many slots of this peer are in use.
    pub(crate) fn used(&self, peer: PeerId) -> u32 {
        self.used.get(&peer).copied().unwrap_or_default()
    }

    fn free_at(&self, peer: &Member) -> u32 {
        peer.open().saturating_sub(self.used(peer.id))
    }

    /// How many slots there are now for a wish.
    fn free(&self, roster: &Roster, wish: &Wish) -> u32 {
        roster.liked(wish).map(|peer| self.free_at(peer)).sum()
    }

    /// Where a request stands now. One that has become infeasible is taken off the queue.
    pub(super) fn standing(&mut self, roster: &Roster, ticket: LeaseId, now: Millis) -> TicketStanding {
        if let Some(lease) = self.leases.get(&ticket) {
            return TicketStanding::Leased { until: lease.until, slots: lease.slots.clone() };
        }
        let Some(place) = self.place(ticket) else { return TicketStanding::Over };
        let (wish, tried) = (&self.queue[place].wish, self.hopes(&self.queue[place], now));
        let (asked, leasable) = (wish.slots, roster.leasable(wish, tried));
        if asked > leasable && !self.in_grace(now) {
            self.leave(roster, ticket, now);
            return TicketStanding::Infeasible { leasable };
        }
        let (free, reason) = (self.free(roster, wish), self.reason(roster, place, now));
        TicketStanding::Waiting(FromManager::Wait { position: place + 1, asked, free, reason })
    }

    /// A request that waits, or a lease that runs, is over: the requester released it, went away, or
    /// its time is up.
    pub(super) fn leave(&mut self, roster: &Roster, ticket: LeaseId, now: Millis) {
        if let Some(place) = self.place(ticket) {
            let left = self.queue.remove(place);
            self.place_left |= left.is_some_and(|waiter| waiter.wish.requester != NOBODY);
            if place == 0 {
                self.serve(roster, now);
            }
        }
        for card in self.leases.remove(&ticket).into_iter().flat_map(|lease| lease.slots) {
            self.unbind(card.peer, ticket, card.slots, now);
        }
    }

    // lab 4
    /// Extends a lease while nobody waits.
    pub(crate) fn renew(&mut self, ticket: LeaseId, now: Millis) {
        let Some(lease) = self.leases.get_mut(&ticket) else { return };
        if self.queue.is_empty() && now < lease.until {
            lease.until = now + self.quantum;
            let slots = lease.slots.clone();
            self.bind(ticket, &slots);
        }
    }

    /// Who holds the running lease that `peer` serves.
    pub(super) fn holder(&self, lease: LeaseId, peer: PeerId) -> Option<PeerId> {
        let lease = self.leases.get(&lease)?;
        lease.slots.iter().any(|card| card.peer == peer).then_some(lease.peer)
    }

    /// The holder of a lease says how far its multiply is.
    pub(crate) fn progress(&mut self, lease: LeaseId, progress: Progress) {
        if let Some(lease) = self.leases.get_mut(&lease) {
            lease.progress = Some(progress);
        }
    }

    /// A peer is done with the last product of an ended lease.
    pub(super) fn unbound(&mut self, roster: &Roster, peer: PeerId, lease: LeaseId, now: Millis) {
        if let Some(Unbinding { slots, .. }) = self.unbinding.remove(&(peer, lease))
            && let Some(used) = self.used.get_mut(&peer)
        {
            *used -= slots;
            self.serve(roster, now);
        }
    }

    /// A peer joined that still serves a lease of its former life: its slots count as used until it
    /// says `unbound`, which it is asked to at once.
    pub(super) fn still_bound(&mut self, roster: &Roster, peer: PeerId, bound: &Bound, now: Millis) {
        let Some(row) = roster.peers.get(&peer) else { return };
        let card = self.mark_used(row, bound.slots);
        self.unbind(peer, bound.lease, card.slots, now);
    }

    /// These slots are over for the lease; they are free when the peer says `unbound`.
    fn unbind(&mut self, peer: PeerId, lease: LeaseId, slots: u32, now: Millis) {
        // A peer may name one lease twice, or one that is yet to come: what it named adds up.
        self.unbinding.entry((peer, lease)).or_insert(Unbinding { slots: 0, since: now }).slots += slots;
        self.effects.push(Effect::Tell(peer, FromManager::Unbind { lease }));
    }

    /// A peer is gone, and is not in the roster any more: leases lose its slots, and one that asked for more
    /// than there is now is told.
    pub(super) fn lost(&mut self, roster: &Roster, peer: PeerId, now: Millis) {
        self.unbinding.retain(|&(unbinding, _), _| unbinding != peer);
        self.used.remove(&peer);
        for (&lease, terms) in &mut self.leases {
            let before = terms.slots.len();
            terms.slots.retain(|card| card.peer != peer);
            if terms.slots.len() < before {
                self.effects.push(Effect::TellHolder(lease, FromManager::Lost { lease, peer }));
            }
        }
        self.capacity_fell(roster, now);
    }

    /// There are fewer slots than before: wake all that asked for more than there is.
    pub(super) fn capacity_fell(&mut self, roster: &Roster, now: Millis) {
        if !self.in_grace(now) {
            let leasable = |it: &Waiter| roster.leasable(&it.wish, self.hopes(it, now));
            let hopeless = self.queue.iter().filter(|it| it.wish.slots > leasable(it));
            let turns: Vec<_> = hopeless.map(|waiter| Effect::Turn(waiter.ticket)).collect();
            self.effects.extend(turns);
        }
        self.serve(roster, now);
    }

    /// Peers that have not said `unbound` in [`PATIENCE`] quanta.
    pub(super) fn overdue(&self, now: Millis) -> Vec<PeerId> {
        let late = |unbinding: &Unbinding| now.saturating_sub(unbinding.since) > PATIENCE * self.quantum;
        self.unbinding.iter().filter(|(_, unbinding)| late(unbinding)).map(|(&(peer, _), _)| peer).collect()
    }

    /// The queue as the `state` answer shows it.
    pub(super) fn waiters(&self, roster: &Roster, now: Millis) -> impl ExactSizeIterator<Item = WaiterState> {
        let state = move |(place, waiter): (usize, &Waiter)| WaiterState {
            position: place + 1,
            peer: waiter.wish.requester,
            name: roster.name(waiter.wish.requester).cloned(),
            asked: waiter.wish.slots,
            since: waiter.since,
            reason: self.reason(roster, place, now),
        };
        self.queue.iter().enumerate().map(state)
    }

    /// The running leases as the `state` answer shows them.
    pub(crate) fn leases(&self, roster: &Roster) -> impl ExactSizeIterator<Item = LeaseState> {
        self.leases.values().map(|lease| {
            let mut shown = LeaseState { name: roster.name(lease.peer).cloned(), ..lease.clone() };
            shown.slots.iter_mut().for_each(|card| card.key = None);
            shown
        })
    }

    fn in_grace(&self, now: Millis) -> bool {
        now < self.started + GRACE
    }

    /// Whether slots at addresses that are being tried count for this request. Its own time counts, not theirs: there
    /// may always be another that is new.
    fn hopes(&self, waiter: &Waiter, now: Millis) -> bool {
        now < waiter.since.max(self.started + GRACE) + TRIAL
    }

    fn place(&self, ticket: LeaseId) -> Option<usize> {
        self.queue.binary_search_by_key(&ticket, |waiter| waiter.ticket).ok()
    }

    /// What gives the head its last missing slot: the end of a product, or of a lease, the earlier ones counted in.
    fn ends(&self, roster: &Roster, head: &Wish, now: Millis) -> Option<String> {
        let unbinding = self.unbinding.iter().map(|(&(peer, _), it)| (0, peer, peer, it.slots));
        let cards = self.leases.values().flat_map(|it| it.slots.iter().map(move |card| (it, card)));
        let opens = |at| head.likes(at) && roster.peers.get(&at).is_some_and(|peer| peer.open() > 0);
        let leased = cards.map(|(it, card)| (it.until, it.peer, card.peer, card.slots));
        let mut ends: Vec<_> = unbinding.chain(leased).filter(|&(_, _, at, _)| opens(at)).collect();
        ends.sort_unstable();
        let mut free = self.free(roster, head);
        let enough = |&(.., slots): &(Millis, PeerId, PeerId, u32)| {
            free += slots;
            free >= head.slots
        };
        let (until, who, ..) = ends.into_iter().find(enough)?;
        let (left, who) = (until.saturating_sub(now) as f64 / 1000.0, roster.called(who));
        Some(match until {
            0 => format!("{who} finishes the last product of a lease that ended"),
            _ => format!("the lease of {who} ends in {left:.1} s at the latest"),
        })
    }

    /// Why the waiter at `place` waits, and what would end it.
    fn reason(&self, roster: &Roster, place: usize, now: Millis) -> String {
        let head = &self.queue[0].wish;
        let free = self.free(roster, head);
        let are = if free == 1 { "is" } else { "are" };
        if place > 0 {
            let before = if place == 1 { "one is".into() } else { format!("{place} are") };
            return format!(
                "{before} before you; the head of the queue waits for {}, {free} {are} free",
                counted(head.slots, "slot")
            );
        }
        let until = if let Some(ends) = self.ends(roster, head, now) {
            ends
        } else if self.in_grace(now) {
            "the manager has just started, and peers may be on their way back".into()
        } else {
            roster.closed(head, self.hopes(&self.queue[0], now)).unwrap_or_default()
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
