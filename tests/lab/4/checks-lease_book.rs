//! Exercise 4, first part: when a lease is renewed.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::*;
use crate::lab_runner::run;
use crate::manager::state::roster::Reach;
use crate::net::key::Key;

#[test]
fn checks() {
    run(
        module_path!(),
        &[
            (2, "while nobody waits, a lease is extended by a quantum from now", extended),
            (2, "while somebody waits, it ends at its time", others_wait),
            (2, "when it is extended, all its peers are told, and only then", told),
            (1, "what is over stays over", over),
            (1, "a number of no lease changes nothing", no_lease),
        ],
    );
}

const QUANTUM: Millis = 1000;

/// Peers 1 and 2 with four slots each, and an empty queue.
fn two_peers() -> (Roster, LeaseBook) {
    let mut roster = Roster::new(Key::random());
    for id in [1, 2] {
        let peer = format!(r#"{{"version":2,"name":"p{id}","addr":"127.0.0.1:{id}","slots":4}}"#);
        roster.admit(id, serde_json::from_str(&peer).unwrap(), 0);
        roster.peers.get_mut(&id).unwrap().reach = Reach::Yes;
    }
    (roster, LeaseBook { quantum: QUANTUM, next: 100, ..LeaseBook::default() })
}

/// Somebody that is not registered asks for all but one of the slots, at 20000.
fn ask(book: &mut LeaseBook, roster: &Roster) -> LeaseId {
    let ticket = book.ask(roster, Wish { requester: NOBODY, slots: 7, avoid: Vec::new() }, 20_000);
    book.effects.clear();
    ticket
}

/// When a lease ends.
fn end(book: &LeaseBook, lease: LeaseId) -> Millis {
    book.leases.get(&lease).map_or(0, |grant| grant.until)
}

fn extended(_: u64) {
    let (roster, mut book) = two_peers();
    let ada = ask(&mut book, &roster);
    for (now, right) in [(20_400, 21_400), (20_500, 21_500), (21_499, 22_499)] {
        book.renew(ada, now);
        let until = end(&book, ada);
        assert!(
            until == right,
            "the quantum is 1000, Ada has a lease since 20000, and nobody waits. It renews its lease at {now}: the lease is to \
             end at {right}, and it ends at {until}"
        );
    }
}

fn others_wait(_: u64) {
    let (roster, mut book) = two_peers();
    let (ada, ben) = (ask(&mut book, &roster), ask(&mut book, &roster));
    for now in [20_400, 20_800] {
        book.renew(ada, now);
        let until = end(&book, ada);
        assert!(
            until == 21_000,
            "the quantum is 1000, Ada has a lease since 20000, and Ben waits. Ada renews its lease at {now}: it is to end at \
             21000 all the same, and it ends at {until}. So Ben waits for ever, if Ada goes on like that"
        );
    }
    assert!(
        book.effects.is_empty(),
        "Ben waits, so Ada's lease was not extended; its peers were told this: {:?}",
        book.effects
    );
    book.leave(&roster, ben, 20_900);
    book.renew(ada, 20_900);
    let until = end(&book, ada);
    assert!(
        until == 21_900,
        "Ben waited, and gave up; then Ada renews at 20900: its lease is to end at 21900, and ends at {until}"
    );
}

fn told(_: u64) {
    let (roster, mut book) = two_peers();
    let ada = ask(&mut book, &roster);
    book.renew(ada, 20_400);
    let told = std::mem::take(&mut book.effects);
    for card in &book.leases[&ada].slots {
        let key = roster.key.of_lease(ada, card.peer);
        let bind = FromManager::Bind { lease: ada, slots: card.slots, for_ms: QUANTUM, key };
        let binds = told.iter().filter(|effect| **effect == Effect::Tell(card.peer, bind.clone())).count();
        assert!(
            binds == 1,
            "Ada renews its lease {ada}, of which peer {} serves {} slots. That peer is to be told so once, by `Bind` for 1000 ms \
             with the key of the lease, and it was told {binds} times: untold, it would refuse Ada's products when the first \
             quantum is over. What follows is {told:?}",
            card.peer,
            card.slots
        );
    }
    assert!(
        told.len() == 2,
        "Ada renews its lease, and two peers serve it. Besides their two `Bind`s more follows: {told:?}"
    );
}

fn over(_: u64) {
    for (now, when) in [(21_000, "at that moment"), (25_000, "later")] {
        let (roster, mut book) = two_peers();
        let ada = ask(&mut book, &roster);
        book.renew(ada, now);
        let until = end(&book, ada);
        assert!(
            until == 21_000 && book.effects.is_empty(),
            "Ada's lease ends at 21000, and it renews {when}, at {now}: what is over stays over. It ends at {until}, and what \
             follows is {:?}",
            book.effects
        );
    }
}

fn no_lease(_: u64) {
    let (roster, mut book) = two_peers();
    let (ada, ben) = (ask(&mut book, &roster), ask(&mut book, &roster));
    for (number, what) in
        [(ben, "waits in the queue and is no lease yet"), (7, "is no number of this manager")]
    {
        let renewed = catch_unwind(AssertUnwindSafe(|| book.renew(number, 20_400)));
        assert!(
            renewed.is_ok(),
            "somebody renews {number}, which {what}: `renew` panicked, and the manager's thread with it"
        );
        let ends: Vec<_> = book.leases.iter().map(|(lease, grant)| (*lease, grant.until)).collect();
        assert!(
            ends == [(ada, 21_000)] && book.effects.is_empty(),
            "somebody renews {number}, which {what}: nothing is to change. The leases and their ends are {ends:?}, and what \
             follows is {:?}",
            book.effects
        );
    }
}
