//! Which leases this peer serves: the place where a lease is checked.
//!
//! # The problem
//! A lease that is not checked where the work is done is decoration. A leaseholder that was stopped past its
//! time and wakes up does not know that its slots are another's now; only the peer can stop it.
//!
//! # The rules
//! - A product begins only under a lease that the manager has bound here and that still runs, and only
//!   while the lease has a slot to spare, and the peer too. Otherwise it is refused: `expired` or `busy`.
//! - It begins only for the holder, which shows the key that the manager told it and this peer. A lease's number is no
//!   secret.
//! - A product that has begun is finished, also when its lease ends meanwhile, so that work goes forward
//!   however short the quantum is.
//! - `unbound` is said when the last product under an ended lease is done, and not before: only then does
//!   the manager lease the slot again. So no slot ever serves two.
//!
//! # An example
//! `bind 7 (2 slots)`: two products of lease 7 begin, a third is `busy`. `unbind 7`: a product of lease 7
//! is now `expired`; the two go on. The first is done: silence. The second is done: `unbound 7`.
//!
//! Plain state, changed by plain calls; the time is passed in.

use std::collections::BTreeMap;

use crate::clock::Millis;
use crate::net::key::Key;
use crate::net::message::{Bound, LeaseId};

/// Whether a product may begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begin {
    /// It may, and counts until [`Bindings::end`].
    Go,
    /// The lease was never heard of; its `bind` may be on the way.
    Unknown,
    /// The lease is over here.
    Over,
    /// The one that asks is not its holder.
    WrongKey,
    /// All slots of the lease are in use.
    LeaseBusy,
    /// All slots of the peer are in use.
    PeerBusy,
}

/// A lease that is bound here.
struct Binding {
    slots: u32,
    until: Millis,
    key: Key,
    serving: u32,
    /// `unbind` was heard; `unbound` is owed.
    ending: bool,
}

/// The leases that are bound here, and the products that run under each.
pub(crate) struct Bindings {
    slots: u32,
    bound: BTreeMap<LeaseId, Binding>,
    /// The newest lease that was ever bound. Numbers only grow: an older one that is not bound is over. (But for that
    /// of a request that waited while this peer was examined: a product of it that overtakes its `bind` is refused.)
    newest: LeaseId,
}

impl Bindings {
    /// For a peer that offers `slots` slots.
    pub(crate) fn new(slots: u32) -> Self {
        Self { slots, bound: BTreeMap::new(), newest: 0 }
    }

    /// How many slots this peer offers, and how many products are being served.
    pub(crate) fn load(&self) -> (u32, u32) {
        (self.slots, self.bound.values().map(|binding| binding.serving).sum())
    }

    /// This peer registered again, perhaps at a manager whose clock was set back: its numbers may be below
    /// those of the manager before it.
    pub(crate) fn rejoined(&mut self) {
        self.newest = self.bound.keys().next_back().copied().unwrap_or(0);
    }

    /// The manager bound a lease, or renewed it.
    pub(crate) fn bind(&mut self, lease: LeaseId, slots: u32, until: Millis, key: Key) {
        self.newest = self.newest.max(lease);
        let new = Binding { slots, until, key, serving: 0, ending: false };
        let binding = self.bound.entry(lease).or_insert(new);
        (binding.slots, binding.until) = (slots, until);
    }

    /// The manager ended a lease; true when `unbound` can be said at once.
    pub(crate) fn unbind(&mut self, lease: LeaseId) -> bool {
        match self.bound.get_mut(&lease) {
            Some(binding) if binding.serving > 0 => {
                binding.ending = true;
                false
            }
            _ => {
                self.bound.remove(&lease);
                true
            }
        }
    }

    // lab 4
    /// May a product of this lease begin now, asked for with this key? If so, it counts as being served.
    pub(crate) fn begin(&mut self, lease: LeaseId, key: &Key, now: Millis) -> Begin {
        let (slots, serving) = self.load();
        let Some(binding) = self.bound.get_mut(&lease) else {
            return if lease <= self.newest { Begin::Over } else { Begin::Unknown };
        };
        if binding.key != *key {
            return Begin::WrongKey;
        }
        if binding.ending || now >= binding.until {
            return Begin::Over;
        }
        if binding.serving >= binding.slots {
            return Begin::LeaseBusy;
        }
        if serving >= slots {
            return Begin::PeerBusy;
        }
        binding.serving += 1;
        Begin::Go
    }

    /// A product is done, well or badly; true when `unbound` must be said now.
    pub(crate) fn end(&mut self, lease: LeaseId) -> bool {
        let Some(binding) = self.bound.get_mut(&lease) else { return false };
        binding.serving -= 1;
        let last = binding.ending && binding.serving == 0;
        if last {
            self.bound.remove(&lease);
        }
        last
    }

    /// What a peer that lost its manager still serves, for the next `register`. What is over and has no
    /// product running is forgotten.
    pub(crate) fn still_bound(&mut self, now: Millis) -> Vec<Bound> {
        self.bound.retain(|_, binding| binding.serving > 0 || (!binding.ending && now < binding.until));
        let bound = |(&lease, binding): (&LeaseId, &Binding)| Bound { lease, slots: binding.slots };
        self.bound.iter().map(bound).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> Key {
        "0".repeat(64).parse().unwrap()
    }

    #[test]
    fn a_product_begins_only_under_a_bound_and_running_lease() {
        let mut bindings = Bindings::new(4);
        assert_eq!(bindings.begin(7, &key(), 0), Begin::Unknown);
        bindings.bind(7, 2, 100, key());
        assert_eq!(bindings.begin(6, &key(), 0), Begin::Over, "an older lease that is not bound is over");
        assert_eq!(bindings.begin(7, &key(), 99), Begin::Go);
        assert_eq!(
            bindings.begin(7, &key(), 100),
            Begin::Over,
            "its time is over, whatever the manager says"
        );
        bindings.bind(7, 2, 200, key());
        assert_eq!(bindings.begin(7, &key(), 100), Begin::Go, "it was renewed");
        assert_eq!(bindings.begin(7, &key(), 100), Begin::LeaseBusy);
    }

    #[test]
    fn a_product_begins_only_for_one_that_has_the_key_of_the_lease() {
        let mut bindings = Bindings::new(4);
        bindings.bind(7, 2, 100, key());
        assert_eq!(bindings.begin(7, &Key::random(), 0), Begin::WrongKey);
        bindings.bind(7, 2, 200, Key::random());
        assert_eq!(bindings.begin(7, &key(), 100), Begin::Go, "renewed, it has the key that it had");
    }

    #[test]
    fn a_peer_never_serves_more_than_its_slots() {
        let mut bindings = Bindings::new(2);
        bindings.bind(7, 2, 100, key());
        bindings.bind(8, 2, 100, key());
        assert_eq!(
            [7, 8, 8].map(|lease| bindings.begin(lease, &key(), 0)),
            [Begin::Go, Begin::Go, Begin::PeerBusy]
        );
        bindings.end(7);
        assert_eq!(bindings.begin(8, &key(), 0), Begin::Go);
    }

    #[test]
    fn unbound_is_said_when_the_last_product_is_done_and_once() {
        let mut bindings = Bindings::new(4);
        bindings.bind(7, 2, 100, key());
        bindings.begin(7, &key(), 0);
        bindings.begin(7, &key(), 0);
        assert!(!bindings.unbind(7));
        assert_eq!(bindings.begin(7, &key(), 0), Begin::Over);
        assert!(!bindings.end(7));
        assert!(bindings.end(7));
        assert!(bindings.unbind(7), "asked again, it is said again");
    }

    #[test]
    fn numbers_may_be_lower_after_joining_again() {
        let mut bindings = Bindings::new(4);
        bindings.bind(7, 1, 100, key());
        bindings.unbind(7);
        assert_eq!(bindings.begin(5, &key(), 0), Begin::Over);
        bindings.rejoined();
        assert_eq!(bindings.begin(5, &key(), 0), Begin::Unknown, "its `bind` may be on the way");
    }

    #[test]
    fn what_still_runs_is_told_to_the_next_manager() {
        let mut bindings = Bindings::new(4);
        bindings.bind(7, 1, 100, key());
        bindings.bind(8, 2, 100, key());
        bindings.bind(9, 1, 500, key());
        bindings.begin(8, &key(), 0);
        assert_eq!(bindings.still_bound(200), [Bound { lease: 8, slots: 2 }, Bound { lease: 9, slots: 1 }]);
        bindings.end(8);
        assert_eq!(bindings.still_bound(200), [Bound { lease: 9, slots: 1 }]);
    }
}
