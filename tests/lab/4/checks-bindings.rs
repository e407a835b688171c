//! Exercise 4, second part: what a peer serves.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::lab_runner::run;

#[test]
fn checks() {
    run(
        module_path!(),
        &[
            (1, "a product of a bound lease begins, and counts", begins),
            (1, "a lease that is not bound is over, or its `bind` is on the way", not_bound),
            (2, "when the time of a lease is over, no product of it begins", slept),
            (1, "what the manager has ended is over", ended),
            (2, "the number of a lease is not enough: the key is compared", keys),
            (1, "no lease has more products than slots", lease_slots),
            (2, "no peer serves more products than it has slots, whatever the leases", peer_slots),
            (1, "whatever happens, the answer is the right one", anything),
        ],
    );
}

fn key(n: u8) -> Key {
    format!("{n:02x}").repeat(32).parse().unwrap()
}

/// A peer of four slots with lease 7: two slots, until 1000, with key 7.
fn peer() -> Bindings {
    let mut bindings = Bindings::new(4);
    bindings.bind(7, 2, 1000, key(7));
    bindings
}

fn begins(_: u64) {
    let mut peer = peer();
    for served in 1..=2 {
        let said = peer.begin(7, &key(7), 500);
        assert!(
            said == Begin::Go,
            "lease 7 has 2 slots, its time is not over, the key is right; product {served} is {said:?}"
        );
        let load = peer.load().1;
        assert!(load == served, "{served} products of lease 7 have begun, and this peer counts {load}");
    }
    peer.end(7);
    let load = peer.load().1;
    assert!(load == 1, "two products of lease 7 have begun and one is done; this peer counts {load}");
}

fn not_bound(_: u64) {
    let mut peer = peer();
    for (lease, right, why) in [
        (6, Begin::Over, "6 is older than 7, which was bound: its `bind` cannot be on the way"),
        (8, Begin::Unknown, "8 is newer than all that were bound here: its `bind` may be on the way"),
    ] {
        let said = peer.begin(lease, &key(7), 500);
        assert!(
            said == right,
            "bound is only lease 7; a product of lease {lease} is to be {right:?}, and is {said:?}. {why}"
        );
    }
    peer.unbind(7);
    let said = peer.begin(7, &key(7), 500);
    assert!(
        said == Begin::Over,
        "lease 7 was bound and then unbound; a product of it is to be Over, and is {said:?}"
    );
}

fn slept(_: u64) {
    let mut peer = peer();
    for (now, right) in [(999, Begin::Go), (1000, Begin::Over), (5000, Begin::Over)] {
        let said = peer.begin(7, &key(7), now);
        assert!(
            said == right,
            "lease 7 is bound until 1000, and no `unbind` has come. Its holder has slept, believes that it still has the lease, \
             and asks for a product at {now}: that is to be {right:?}, and is {said:?}"
        );
    }
    peer.bind(7, 2, 2000, key(7));
    let said = peer.begin(7, &key(7), 1500);
    assert!(
        said == Begin::Go,
        "lease 7 was renewed and is bound until 2000; a product at 1500 is to be Go, and is {said:?}"
    );
}

fn ended(_: u64) {
    let mut peer = peer();
    peer.begin(7, &key(7), 0);
    peer.unbind(7);
    let said = peer.begin(7, &key(7), 500);
    assert!(
        said == Begin::Over,
        "a product of lease 7 runs; the manager says `unbind` long before 1000. A second product is to be Over, and is {said:?}: \
         the slot would never become free"
    );
}

fn keys(_: u64) {
    let mut peer = peer();
    peer.bind(8, 2, 1000, key(8));
    for (wrong, whose) in
        [(key(0), "a key that somebody made up"), (key(8), "the key of lease 8, which is bound here, too")]
    {
        let said = peer.begin(7, &wrong, 500);
        assert!(
            said == Begin::WrongKey,
            "a product of lease 7 is asked for with {whose}: that is to be WrongKey, and is {said:?}. The numbers of all leases \
             can be read on the board"
        );
    }
    let said = [0, 1].map(|_| peer.begin(7, &key(7), 500));
    assert!(
        said == [Begin::Go; 2],
        "lease 7 has 2 slots; two products with wrong keys were refused, then two come with the right one: they are {said:?}"
    );
}

fn lease_slots(_: u64) {
    let mut peer = peer();
    let said = [0, 1, 2, 3].map(|_| peer.begin(7, &key(7), 0));
    assert!(
        said == [Begin::Go, Begin::Go, Begin::LeaseBusy, Begin::LeaseBusy],
        "lease 7 has 2 of the 4 slots of this peer; four products of it come, and none is done: they are {said:?}"
    );
    peer.end(7);
    let said = [0, 1].map(|_| peer.begin(7, &key(7), 0));
    assert!(
        said == [Begin::Go, Begin::LeaseBusy],
        "lease 7 has 2 slots; two of four products were refused, and one is done. Of the next two, one may begin: they are \
         {said:?}. What is refused does not count"
    );
}

fn peer_slots(_: u64) {
    let mut peer = Bindings::new(2);
    peer.bind(7, 2, 1000, key(7));
    let old = [0, 1].map(|_| peer.begin(7, &key(7), 0));
    peer.unbind(7);
    peer.bind(8, 2, 2000, key(8));
    let new = peer.begin(8, &key(8), 0);
    assert!(
        old == [Begin::Go; 2] && new == Begin::PeerBusy,
        "this peer has 2 slots. Two products of lease 7 begin ({old:?}), the lease ends, and both go on. A product of lease 8 is \
         to be PeerBusy, and is {new:?}: count what runs under all leases"
    );
    peer.end(7);
    let new = [0, 1].map(|_| peer.begin(8, &key(8), 0));
    assert!(
        new == [Begin::Go, Begin::PeerBusy],
        "this peer has 2 slots, and one product of lease 7, which is over, still runs in one of them. Two of lease 8 come: they \
         are {new:?}"
    );
}

/// A lease as the plainest model has it.
#[derive(Clone, Copy, Debug)]
struct Model {
    slots: usize,
    until: Millis,
    ending: bool,
}

fn anything(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut peer = Bindings::new(4);
    // The lease of each product that runs.
    let (mut leases, mut running) = (BTreeMap::<LeaseId, Model>::new(), Vec::<LeaseId>::new());
    let (mut now, mut newest): (Millis, LeaseId) = (0, 0);
    for step in 0..3000 {
        now += rng.random_range(0..10);
        let lease = newest + 2 - rng.random_range(0..(newest + 2).min(5));
        match rng.random_range(0..8) {
            0 => {
                let (slots, until) = (rng.random_range(1..=3), now + rng.random_range(1..300));
                newest = newest.max(lease);
                peer.bind(lease, slots, until, key(lease as u8));
                let model = leases.entry(lease).or_insert(Model { slots: 0, until: 0, ending: false });
                (model.slots, model.until) = (slots as usize, until);
            }
            1 => {
                peer.unbind(lease);
                if running.contains(&lease) {
                    leases.get_mut(&lease).into_iter().for_each(|model| model.ending = true);
                } else {
                    leases.remove(&lease);
                }
            }
            2 | 3 if !running.is_empty() => {
                let done = running.swap_remove(rng.random_range(0..running.len()));
                peer.end(done);
                if leases.get(&done).is_some_and(|model| model.ending) && !running.contains(&done) {
                    leases.remove(&done);
                }
            }
            kind => {
                let shown = if kind == 7 { key(lease as u8 ^ 1) } else { key(lease as u8) };
                let serves = running.iter().filter(|of| **of == lease).count();
                let right = match leases.get(&lease) {
                    None if lease > newest => Begin::Unknown,
                    None => Begin::Over,
                    Some(_) if kind == 7 => Begin::WrongKey,
                    Some(model) if model.ending || now >= model.until => Begin::Over,
                    Some(model) if serves >= model.slots => Begin::LeaseBusy,
                    Some(_) if running.len() >= 4 => Begin::PeerBusy,
                    Some(_) => Begin::Go,
                };
                let known = leases.get(&lease).map_or_else(
                    || format!("is not bound here (the newest that ever was is {newest})"),
                    |model| {
                        let ended = if model.ending { ", but the manager has ended it" } else { "" };
                        format!("has {} slots until {}{ended}", model.slots, model.until)
                    },
                );
                let said = peer.begin(lease, &shown, now);
                assert!(
                    said == right,
                    "step {step} of seed {seed}: this peer has 4 slots, and products of these leases are running: {running:?}. At \
                     {now} comes one of lease {lease} with {} key. That lease {known}. To be said is {right:?}, and said is {said:?}",
                    if kind == 7 { "a wrong" } else { "its" }
                );
                if said == Begin::Go {
                    running.push(lease);
                }
            }
        }
    }
}
