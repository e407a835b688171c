//! What fails in a network, and what a multiply makes of it: the answer is right, or there is none.

use std::time::{Duration, Instant};

use crate::common::fake::{Answer, FakePeer, HONEST, Manners};
use crate::common::node::{Network, Node, Outcome};
use crate::common::wire::{Heard, Wire};
use crate::common::{PATIENCE, assert_is_product, integers, save, until};
use peerlab::matrix::Matrix;
use rustix::process::Signal;
use serde_json::{Value, json};

/// The slots of the honest peer that helps one that is not: so few that it cannot do all the work before the other
/// has got some.
const MINORITY: u32 = 1;

/// Peers are back three seconds after their manager is; two more for a machine that is busy.
const COMING_BACK: Duration = Duration::from_secs(5);

/// A peer that answers products in this way, and is honest otherwise.
fn answering(answer: Answer) -> Manners {
    Manners { answer, ..HONEST }
}

/// A matrix with one whole number in each row: its products keep peers as busy as any others, but what
/// is right can be told quickly.
fn sparse(size: usize) -> Matrix {
    let mut matrix = Matrix::zeros(size, size);
    for i in 0..size {
        matrix.as_mut_slice()[i * size + (i * 7 + 3) % size] = (i % 9) as f64 - 4.0;
    }
    matrix
}

/// Two matrices in the files a.npy and b.npy of the network's folder.
fn matrices(network: &Network, size: usize) -> (Matrix, Matrix) {
    let (a, b) = (sparse(size), integers(size, size, 1));
    save(&a, &network.path("a.npy"));
    save(&b, &network.path("b.npy"));
    (a, b)
}

/// Starts a multiply of these two into `answer`.
fn multiply(network: &Network, name: &str, answer: &str, options: &[&str]) -> Node {
    network.command(name, &[&["multiply", "a.npy", "b.npy", "--json", "-o", answer], options].concat())
}

/// How often products were begun in all.
fn attempts(outcome: &Outcome) -> u64 {
    let summary = outcome.json();
    summary["products"].as_array().unwrap().iter().map(|done| done["attempts"].as_u64().unwrap()).sum()
}

/// How many leases it had.
fn leases(outcome: &Outcome) -> usize {
    outcome.stderr.matches("leased ").count()
}

/// How many products this peer was asked for so far; it logs every line.
fn asked_for(peer: &Node) -> usize {
    // The manager asks for a small one when a peer joins.
    let is_large = |line: &&str| {
        // HERE < OTHER {...}
        let (_, heard) = line.split_once(" < ").unwrap_or_default();
        let (_, said) = heard.split_once(' ').unwrap_or_default();
        let said: Value = serde_json::from_str(said).unwrap_or_default();
        said["type"] == "multiply" && said["rows"].as_u64() > Some(8)
    };
    peer.stderr().lines().filter(is_large).count()
}

/// Waits until this peer has been asked for more products than `before`.
#[track_caller]
fn is_in_the_middle(peer: &Node, before: usize) {
    until("a product has begun", PATIENCE, || (asked_for(peer) > before).then_some(()));
}

#[test]
fn a_peer_killed_in_the_middle_of_a_product_leaves_every_list_and_the_answer_is_right() {
    let mut network = Network::start_with_log("trace", &[], &[4, 4, 4]);
    let witness = FakePeer::join(network.addr, "witness", 0, HONEST);
    let (a, b) = matrices(&network, 2000);
    let mut requester = multiply(&network, "requester", "c.npy", &[]);
    is_in_the_middle(&network.peers[0], 0);
    network.peers[0].kill();
    let outcome = requester.outcome().assert(0, &["must be done again: p0 at"]);
    assert!(attempts(&outcome) > 7, "it was killed after its work: {outcome:#?}");
    assert_is_product(&network.path("c.npy"), &a, &b);
    witness.sees("a list without it", |seen| seen.list == ["p1", "p2", "witness"]);
    assert!(network.row("p0").is_none());
    until("nothing is in use", PATIENCE, || (network.used() == 0).then_some(()));
}

#[test]
fn a_manager_killed_and_restarted_in_the_middle_has_all_peers_back_and_the_answer_is_right() {
    const QUANTUM: Duration = Duration::from_millis(500);
    let options = ["--quantum", "500ms"];
    let mut network = Network::start_with_log("trace", &options, &[4, 4]);
    let (a, b) = matrices(&network, 2400);
    let mut requester = multiply(&network, "requester", "c.npy", &["--levels", "2"]);
    is_in_the_middle(&network.peers[1], 0);
    // It sleeps until its lease is over, so that it needs another while there is no manager.
    requester.signal(Signal::STOP);
    network.manager.kill();
    let killed = Instant::now();
    until("its lease is over", PATIENCE, || (killed.elapsed() > QUANTUM).then_some(()));
    requester.signal(Signal::CONT);
    requester.hears("of 49 products are done: asking for another");
    network.restart_manager(&options);
    until("all peers are back", COMING_BACK, || {
        ["p0", "p1"].iter().all(|name| network.row(name).is_some()).then_some(())
    });
    let outcome = requester.outcome().assert(0, &[]);
    assert!(leases(&outcome) > 1, "{outcome:#?}");
    assert_is_product(&network.path("c.npy"), &a, &b);
    until("nothing is in use", PATIENCE, || (network.used() == 0).then_some(()));
}

#[test]
fn while_there_is_no_manager_work_goes_on_under_the_lease() {
    let mut network = Network::start_with_log("trace", &[], &[4, 4]);
    let (a, b) = matrices(&network, 2400);
    let mut requester = multiply(&network, "requester", "c.npy", &["--levels", "2"]);
    is_in_the_middle(&network.peers[1], 0);
    requester.signal(Signal::STOP);
    network.manager.kill();
    requester.signal(Signal::CONT);
    let outcome = requester.outcome().assert(0, &[]);
    assert_eq!(leases(&outcome), 1, "{outcome:#?}");
    assert_is_product(&network.path("c.npy"), &a, &b);
}

#[test]
fn while_the_manager_restarts_no_peer_serves_more_than_its_slots() {
    const SIZE: usize = 1800;
    let mut network = Network::start_with_log("trace", &["--dead-after", "60s"], &[2]);
    let peer = network.row("p0").unwrap()["addr"].as_str().unwrap().parse().unwrap();
    let ask = |(lease, key): &(Value, Value), size: usize| {
        let mut wire = Wire::connect(peer);
        let payload = 16 * size * size;
        wire.say(&json!({"type": "multiply", "lease": lease, "key": key, "product": 0, "rows": size,
            "inner": size, "cols": size, "payload": payload}));
        wire.say_raw(&vec![0; payload]);
        wire
    };
    let mut holder = Wire::connect(network.addr);
    holder.ask(2);
    let leased = holder.hear("leased");
    let lease = (leased["lease"].clone(), leased["slots"][0]["key"].clone());
    let mut running = [ask(&lease, SIZE), ask(&lease, SIZE)];
    // A third is too many: the peer itself refuses it.
    assert_eq!(ask(&lease, 1).hear("error")["code"], "busy");
    network.restart_manager(&["--dead-after", "60s"]);
    holder.hear_end();
    // The new manager knows nothing of the lease but what the peer tells.
    let mut next = Wire::connect(network.addr);
    next.ask(2);
    let mut answered = [false; 2];
    let granted = until("the next lease", PATIENCE, || {
        let heard = next.next(Duration::from_millis(1));
        // Whatever had been answered before that can be read by now.
        for (wire, answered) in running.iter_mut().zip(&mut answered) {
            while let Heard::Line(answer) = wire.next_header() {
                assert_eq!(answer["type"], "product", "{answer}");
                *answered = true;
            }
        }
        match heard {
            Heard::Line(wait) if wait["type"] == "wait" => {
                next.say(&json!({"type": "ok"}));
                None
            }
            Heard::Line(leased) => Some(leased),
            Heard::Silence => None,
            Heard::End => panic!("the manager hung up"),
        }
    });
    assert_eq!(answered, [true; 2], "the slots were given to the next while they were in use");
    assert!(granted["lease"].as_u64() > lease.0.as_u64(), "numbers grow across restarts");
    assert_eq!(ask(&lease, 1).hear("error")["code"], "expired", "the former lease is over");
    let next = (granted["lease"].clone(), granted["slots"][0]["key"].clone());
    assert_eq!(ask(&next, 1).hear("product")["payload"], 8);
}

#[test]
fn a_program_that_is_started_again_while_its_former_self_is_frozen_waits_for_its_end_and_joins() {
    let network = Network::start(&[], &[1]);
    let former = network.row("p0").unwrap()["peer"].clone();
    network.peers[0].signal(Signal::STOP);
    // In another folder and at another port: nothing shows that it is the same.
    let mut again = network.command("p0", &["--data", "other", "serve"]);
    until("it has joined", PATIENCE, || {
        assert!(!again.has_ended(), "{}", again.stderr());
        network.row("p0").filter(|row| row["peer"] != former)
    });
}

#[test]
fn a_holder_stopped_past_its_quantum_loses_its_slots_and_finishes_under_a_new_lease() {
    let network = Network::start(&["--quantum", "1s", "--dead-after", "60s"], &[4, 4]);
    let (a, b) = matrices(&network, 2400);
    let mut sleeper = multiply(&network, "sleeper", "c.npy", &["--levels", "2"]);
    sleeper.hears("leased 7 slots");
    sleeper.signal(Signal::STOP);
    let mut other = Wire::connect(network.addr);
    other.ask(8);
    let lease = other.hear("leased")["lease"].clone();
    sleeper.signal(Signal::CONT);
    sleeper.hears("the lease is over");
    sleeper.hears("place 1 in the queue");
    other.say(&json!({"type": "release"}));
    let outcome = sleeper.outcome().assert(0, &["of 49 products are done: asking for another"]);
    assert!(leases(&outcome) > 1, "{lease} {outcome:#?}");
    assert_is_product(&network.path("c.npy"), &a, &b);
}

#[test]
fn two_holders_whose_products_take_longer_than_the_quantum_take_turns_and_both_finish() {
    let network = Network::start(&["--quantum", "300ms"], &[]);
    let slow = ["f0", "f1"].map(|name| FakePeer::join(network.addr, name, 1, answering(Answer::Late)));
    network.all_leasable(2);
    let (a, b) = matrices(&network, 100);
    // Both stand in the queue before one of them gets anything.
    let mut holder = Wire::connect(network.addr);
    holder.ask(2);
    holder.hear("leased");
    let both = ["c.npy", "d.npy"].map(|answer| multiply(&network, &answer[..1], answer, &["--slots", "2"]));
    until("both wait", PATIENCE, || (network.state()["queue"].as_array().unwrap().len() == 2).then_some(()));
    holder.say(&json!({"type": "release"}));
    let [c, d] = both.map(|mut requester| leases(&requester.outcome().assert(0, &["leased 2 slots"])));
    assert!(c > 1 || d > 1, "the first gave way before it was done: {c} and {d} leases");
    // The last product of one came after the end of its lease. What is shown is the time of all leases.
    let done = until("both are shown as finished", PATIENCE, || {
        network.state()["done"].as_array().cloned().filter(|done| done.len() == 2)
    });
    let took = done.iter().map(|one| one["took_ms"].as_u64().unwrap()).max().unwrap();
    assert!(took >= (c.max(d) as u64 - 1) * 300, "{c} and {d} leases: {done:?}");
    for answer in ["c.npy", "d.npy"] {
        assert_is_product(&network.path(answer), &a, &b);
    }
    for peer in &slow {
        assert_eq!(peer.seen(|seen| seen.granted.len()), c + d + 1, "leases of one after another");
    }
}

#[test]
fn a_lying_peer_never_spoils_an_answer_and_is_quarantined() {
    let network = Network::start(&[], &[MINORITY]);
    let liar = FakePeer::join(network.addr, "liar", 7 - MINORITY, answering(Answer::Wrong));
    network.all_leasable(2);
    // An answer of 210 rows comes in portions of 78, and is wrong in row 105.
    let (a, b) = matrices(&network, 420);
    let outcome = multiply(&network, "requester", "c.npy", &[]).outcome();
    let outcome = outcome.assert(0, &["must be done again: liar at", "is wrong in row 105"]);
    assert_is_product(&network.path("c.npy"), &a, &b);
    assert!(!outcome.stdout.contains("liar"), "all products were finished by the other: {outcome:#?}");
    assert!(liar.seen(|seen| seen.products) >= 2);
    let row = network.row("liar").unwrap();
    assert_eq!(row["leasable"], false);
    assert!(row["reason"].as_str().unwrap().contains("quarantined"), "{row}");
    // Nobody is sent there any more.
    let before = liar.seen(|seen| seen.granted.len());
    multiply(&network, "requester", "c.npy", &[]).outcome().assert(0, &["leased 1 slot: 1 at p0"]);
    assert_eq!(liar.seen(|seen| seen.granted.len()), before);
}

#[test]
fn a_product_of_large_whole_numbers_that_is_off_by_one_is_found() {
    let network = Network::start(&[], &[]);
    let _liar = FakePeer::join(network.addr, "liar", 7, answering(Answer::Wrong));
    network.all_leasable(1);
    let (mut a, mut b) = matrices(&network, 420);
    for (matrix, name) in [(&mut a, "a.npy"), (&mut b, "b.npy")] {
        matrix.as_mut_slice().iter_mut().for_each(|x| *x *= 3000.0);
        save(matrix, &network.path(name));
    }
    multiply(&network, "requester", "c.npy", &[]).outcome().assert(5, &["liar at", "is wrong in row 105"]);
    assert!(!network.path("c.npy").exists());
}

#[test]
fn where_every_peer_lies_there_is_no_answer_and_the_check_is_named() {
    let network = Network::start(&[], &[]);
    let _liar = FakePeer::join(network.addr, "liar", 7, answering(Answer::Wrong));
    network.all_leasable(1);
    matrices(&network, 100);
    let outcome = multiply(&network, "requester", "c.npy", &[]).outcome();
    outcome.assert(5, &["liar at", "is wrong in row"]);
    assert!(!network.path("c.npy").exists());
}

#[test]
fn a_liar_that_passes_its_examination_is_not_leased_again_by_the_multiply_that_found_it() {
    let network = Network::start(&["--quantum", "60s"], &[]);
    let _honest = FakePeer::join(network.addr, "honest", 7, HONEST);
    network.all_leasable(1);
    let mut holder = Wire::connect(network.addr);
    holder.ask(7);
    holder.hear("leased");
    // Its slots are the only ones that are free.
    let _liar = FakePeer::join(network.addr, "liar", 7, answering(Answer::Sly));
    network.all_leasable(2);
    let (a, b) = matrices(&network, 100);
    let mut requester = multiply(&network, "requester", "c.npy", &[]);
    requester.hears("asking for another");
    holder.say(&json!({"type": "release"}));
    let outcome =
        requester.outcome().assert(0, &["leased 7 slots: 7 at liar", "leased 7 slots: 7 at honest"]);
    assert_eq!(leases(&outcome), 2, "{outcome:#?}");
    assert_is_product(&network.path("c.npy"), &a, &b);
    assert_eq!(network.row("liar").unwrap()["leasable"], true, "the manager knows nothing of it");
}

#[test]
fn a_peer_that_answers_with_anything_but_a_product_only_delays() {
    for answer in [Answer::OtherShape, Answer::Garbage, Answer::Torn, Answer::Nothing] {
        let network = Network::start(&[], &[MINORITY]);
        let fake = FakePeer::join(network.addr, "fake", 7 - MINORITY, answering(answer));
        network.all_leasable(2);
        // Large enough that half an answer is more than the first portion of it.
        let (a, b) = matrices(&network, 420);
        let outcome = multiply(&network, "requester", "c.npy", &[]).outcome();
        outcome.assert(0, &["must be done again: fake at"]);
        assert_is_product(&network.path("c.npy"), &a, &b);
        assert!(fake.seen(|seen| seen.products) >= 1, "{answer:?}");
    }
}

#[test]
fn a_peer_that_falls_silent_in_the_middle_of_a_product_is_reported_lost_and_only_delays() {
    let network = Network::start(&["--ping", "200ms", "--dead-after", "1s"], &[MINORITY]);
    let fake = FakePeer::join(network.addr, "fake", 7 - MINORITY, answering(Answer::Silence));
    network.all_leasable(2);
    let (a, b) = matrices(&network, 420);
    let mut requester = multiply(&network, "requester", "c.npy", &[]);
    fake.sees("a product", |seen| seen.products > 0);
    fake.set(|manners| manners.answers_pings = false);
    // Long before the product's own deadline, which is half a minute.
    requester.outcome_within(Duration::from_secs(20)).assert(0, &["must be done again: fake at"]);
    assert_is_product(&network.path("c.npy"), &a, &b);
}

#[test]
fn a_multiply_that_is_interrupted_or_killed_frees_its_slots_at_once() {
    let network = Network::start_with_log("trace", &["--quantum", "60s"], &[4]);
    let _fake = FakePeer::join(network.addr, "fake", 4, answering(Answer::Silence));
    network.all_leasable(2);
    matrices(&network, 3000);
    for (signal, status) in [(Signal::INT, Some(130)), (Signal::TERM, Some(130)), (Signal::KILL, None)] {
        until("nothing is in use", PATIENCE, || (network.used() == 0).then_some(()));
        let begun = asked_for(&network.peers[0]);
        let mut requester = multiply(&network, "requester", "c.npy", &[]);
        until("it has its lease", PATIENCE, || {
            let (requester, state) = (network.row("requester")?, network.state());
            state["leases"]
                .as_array()
                .unwrap()
                .iter()
                .find(|lease| lease["peer"] == requester["peer"])
                .cloned()
        });
        is_in_the_middle(&network.peers[0], begun);
        let mut next = Wire::connect(network.addr);
        next.ask(8);
        assert_eq!(next.hear("wait")["position"], 1);
        next.say(&json!({"type": "ok"}));
        requester.signal(signal);
        let outcome = requester.outcome();
        assert_eq!(outcome.status, status, "{outcome:#?}");
        let says = outcome.stderr.contains("stopped: there is no product");
        assert_eq!(says, status.is_some(), "{outcome:#?}");
        // Far within the quantum, and the running products are abandoned.
        next.hear("leased");
        until("the requester is off the list", PATIENCE, || network.row("requester").is_none().then_some(()));
        assert!(!network.path("c.npy").exists());
    }
}
