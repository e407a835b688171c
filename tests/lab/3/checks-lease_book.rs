//! Exercise 3, first part: the order in which requests are granted.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::lab_runner::run;
use crate::manager::state::roster::Reach;
use crate::net::key::Key;

#[test]
fn checks() {
    run(
        module_path!(),
        &[
            (2, "the head of the queue is served", head),
            (2, "nobody overtakes the head, not even one whose request would fit", nobody_overtakes),
            (1, "all slots or none", all_or_none),
            (1, "when slots for several become free, all of them are served", several),
            (1, "a peer that was served may ask again", asks_again),
            (2, "leases are granted in the order of their numbers, whatever happens", in_order),
        ],
    );
}

/// One peer with these slots, and an empty queue.
fn with(slots: u32) -> (Roster, LeaseBook) {
    let mut roster = Roster::new(Key::random());
    let ada = format!(r#"{{"version":2,"name":"ada","addr":"127.0.0.1:9","slots":{slots}}}"#);
    roster.admit(1, serde_json::from_str(&ada).unwrap(), 0);
    roster.peers.get_mut(&1).unwrap().reach = Reach::Yes;
    (roster, LeaseBook { quantum: 1000, next: 100, ..LeaseBook::default() })
}

/// A request of somebody that is not registered.
fn ask(book: &mut LeaseBook, roster: &Roster, slots: u32) -> LeaseId {
    book.ask(roster, Wish { requester: NOBODY, slots, avoid: Vec::new() }, 20_000)
}

/// The lease ends, and its peer gives the slots back.
fn end(book: &mut LeaseBook, roster: &Roster, lease: LeaseId) {
    book.leave(roster, lease, 20_000);
    book.unbound(roster, 1, lease, 20_000);
}

fn runs(book: &LeaseBook, lease: LeaseId) -> bool {
    book.leases.contains_key(&lease)
}

/// The tickets whose threads were woken since the last call.
fn woken(book: &mut LeaseBook) -> Vec<LeaseId> {
    let turn = |effect| if let Effect::Turn(ticket) = effect { Some(ticket) } else { None };
    std::mem::take(&mut book.effects).into_iter().filter_map(turn).collect()
}

fn head(_: u64) {
    let (roster, mut book) = with(8);
    let ada = ask(&mut book, &roster, 7);
    assert!(runs(&book, ada), "8 slots are free and the only request asks for 7: it still waits");
    assert_eq!(book.queue.len(), 0, "the request was granted and is still in the queue, too");
    assert_eq!(woken(&mut book), [ada], "request 100 was granted. These requests were woken by `Effect::Turn`");
}

fn nobody_overtakes(_: u64) {
    let (roster, mut book) = with(8);
    let (ada, ben) = (ask(&mut book, &roster, 7), ask(&mut book, &roster, 7));
    assert!(runs(&book, ada), "8 slots, Ada asks for 7 first: it still waits");
    assert!(
        runs(&book, ben) || book.place(ben).is_some(),
        "8 slots: Ada has 7, Ben asks for 7. Ben cannot be served now, and it is not in the queue any more: nobody will \
         ever serve it. A request leaves the queue when it is granted"
    );
    let cyd = ask(&mut book, &roster, 1);
    book.serve(&roster, 20_000);
    assert!(
        !runs(&book, cyd),
        "8 slots: Ada has 7, Ben waits for 7, Cyd asked for 1 after Ben and has it already: it overtook Ben, and such small \
         requests could keep Ben waiting for ever"
    );
    end(&mut book, &roster, ada);
    assert!(runs(&book, ben), "Ada gave its 7 slots back, Ben is the head and asks for 7: it still waits");
}

fn all_or_none(_: u64) {
    let (roster, mut book) = with(8);
    let (ada, ben) = (ask(&mut book, &roster, 5), ask(&mut book, &roster, 5));
    assert!(runs(&book, ada), "8 slots are free, Ada asks for 5: it still waits");
    assert!(!runs(&book, ben), "3 slots are free, Ben asks for 5: it has a lease all the same");
    assert_eq!(book.used(1), 5, "Ben waits for 5 slots, of which 3 are free: it must not hold any of them meanwhile");
}

fn several(_: u64) {
    let (roster, mut book) = with(8);
    let ada = ask(&mut book, &roster, 8);
    let others = [3, 3, 2].map(|slots| ask(&mut book, &roster, slots));
    woken(&mut book);
    end(&mut book, &roster, ada);
    let woken = woken(&mut book);
    assert_eq!(
        woken, others,
        "Ada gives 8 slots back; requests for 3, 3 and 2 wait. All three fit. These were woken, in this order"
    );
}

fn asks_again(_: u64) {
    let (roster, mut book) = with(8);
    let ada = ask(&mut book, &roster, 8);
    book.ask(&roster, Wish { requester: 7, slots: 3, avoid: Vec::new() }, 20_000);
    assert!(!book.place_left, "Ada has all 8 slots, Ben, a peer, waits for 3: `place_left` is true, and Ben still waits");
    end(&mut book, &roster, ada);
    assert!(
        book.place_left,
        "Ben, a peer, waited for 3 slots and has them: `place_left` is still false, so its next request is not let in"
    );
}

fn in_order(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (roster, mut book) = with(8);
    let (mut last, mut running) = (0, Vec::new());
    for step in 0..500 {
        if rng.random() || running.is_empty() {
            ask(&mut book, &roster, rng.random_range(1..=8));
        } else {
            let lease = running.swap_remove(rng.random_range(0..running.len()));
            end(&mut book, &roster, lease);
        }
        for ticket in woken(&mut book) {
            assert!(
                ticket > last,
                "step {step} of seed {seed}: request {ticket} was granted after request {last}, which came later"
            );
            last = ticket;
            running.push(ticket);
        }
        let free = 8 - book.used(1);
        if let Some(head) = book.queue.front() {
            assert!(
                head.wish.slots > free,
                "step {step} of seed {seed}: {free} slots are free, the head asks for {} and still waits",
                head.wish.slots
            );
        }
    }
}
