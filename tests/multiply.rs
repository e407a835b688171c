//! Whole multiplications by real programs: whatever the shapes, levels and slots, the answer is exact.

use crate::common::node::{Network, Outcome};
use crate::common::wire::{Heard, Wire};
use crate::common::{PATIENCE, assert_is_product, integers, load, save, until};
use peerlab::matrix::Matrix;
use serde_json::{Value, json};

/// Multiplies two whole-number matrices of these sizes in the network, with `options`; fails unless the
/// answer is exact.
#[track_caller]
fn multiplies(network: &Network, (m, k, n): (usize, usize, usize), options: &[&str]) -> Outcome {
    let (a, b) = (integers(m, k, 1), integers(k, n, 2));
    let file = |which: &str| format!("{which}-{m}-{k}-{n}.npy");
    let names = ["a", "b", "c"].map(file);
    let [path_a, path_b, path_c] = [&names[0], &names[1], &names[2]].map(|name| network.path(name));
    save(&a, &path_a);
    save(&b, &path_b);
    let args = [&["multiply", &names[0], &names[1], "-o", &names[2]], options].concat();
    let outcome = network.command("requester", &args).outcome().assert(0, &[]);
    assert_is_product(&path_c, &a, &b);
    outcome
}

fn numbers(summary: &Value, field: &str) -> Vec<u64> {
    summary["products"].as_array().unwrap().iter().map(|done| done[field].as_u64().unwrap()).collect()
}

#[test]
fn a_large_product_of_whole_numbers_is_exact_by_seven_peers_of_one_slot() {
    let network = Network::start(&[], &[1; 7]);
    let outcome = multiplies(&network, (1000, 700, 1300), &["--json", "--slots", "13"]);
    assert!(outcome.stderr.contains("there is work for 7 slots only: one product each"), "{outcome:#?}");
    let summary = outcome.json();
    // `--json` prints exactly these fields.
    let fields = |value: &Value| {
        let mut fields: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        fields.sort();
        fields.join(" ")
    };
    assert_eq!(
        fields(&summary),
        "checked cols inner levels load_seconds products rounded rows save_seconds seconds wait_seconds"
    );
    assert_eq!(fields(&summary["products"][0]), "attempts bytes_in bytes_out peer product seconds");
    let sizes = ["rows", "inner", "cols", "levels"].map(|field| summary[field].as_u64().unwrap());
    assert_eq!((sizes, summary["checked"].as_bool()), ([1000, 700, 1300, 1], Some(true)));
    for time in ["seconds", "load_seconds", "save_seconds", "wait_seconds"] {
        assert!(summary[time].as_f64().unwrap() >= 0.0, "{time}");
    }
    assert_eq!(numbers(&summary, "product"), [0, 1, 2, 3, 4, 5, 6]);
    assert_eq!(numbers(&summary, "bytes_out"), [8 * (500 * 350 + 350 * 650); 7]);
    assert_eq!(numbers(&summary, "bytes_in"), [8 * 500 * 650; 7]);
    assert_eq!(numbers(&summary, "attempts"), [1; 7]);
    assert!(outcome.stderr.contains("leased 7 slots: 1 at p"), "{}", outcome.stderr);
    // The same without a network.
    let local = ["multiply", "a-1000-700-1300.npy", "b-1000-700-1300.npy", "-o", "d.npy", "--local"];
    network.command("requester", &local).outcome().assert(0, &[]);
    assert!(load(&network.path("d.npy")) == load(&network.path("c-1000-700-1300.npy")), "not the same");
}

#[test]
fn every_shape_is_multiplied_exactly_by_two_peers_of_four_slots_at_every_level() {
    let network = Network::start(&[], &[4, 4]);
    let shapes = [(1, 1, 1), (1, 1, 9), (9, 1, 1), (1, 64, 1), (1, 5, 300), (300, 7, 1), (129, 257, 63)];
    for shape in shapes {
        multiplies(&network, shape, &[]);
    }
    let outcome = multiplies(&network, (129, 257, 131), &["--levels", "2", "--json"]);
    let summary = outcome.json();
    assert_eq!(numbers(&summary, "product"), (0..49).collect::<Vec<_>>());
    let outcome = multiplies(&network, (129, 131, 257), &["--levels", "0", "--json"]);
    assert_eq!(numbers(&outcome.json(), "product"), [0]);
    assert!(outcome.stderr.contains("leased 1 slot:"), "{}", outcome.stderr);
    until("everything is given back", PATIENCE, || (network.used() == 0).then_some(()));
}

#[test]
fn an_empty_product_is_an_empty_or_zero_matrix_and_needs_no_slot() {
    let network = Network::start(&[], &[]);
    for shape in [(0, 5, 7), (5, 7, 0), (0, 0, 0), (4, 0, 3)] {
        multiplies(&network, shape, &[]);
        multiplies(&network, shape, &["--local", "--force"]);
    }
    assert!(load(&network.path("c-4-0-3.npy")) == Matrix::zeros(4, 3));
}

#[test]
fn a_line_that_asks_for_much_and_brings_nothing_takes_no_memory() {
    let network = Network::start(&[], &[1]);
    let mut holder = Wire::connect(network.addr);
    holder.ask(1);
    let leased = holder.hear("leased");
    let mut slot = Wire::connect(leased["slots"][0]["addr"].as_str().unwrap().parse().unwrap());
    let multiply = |[rows, inner, cols]: [u32; 3], payload: u32| {
        json!({"type": "multiply", "lease": leased["lease"], "key": leased["slots"][0]["key"], "product": 0,
        "rows": rows, "inner": inner, "cols": cols, "payload": payload})
    };
    slot.say(&multiply([0, 5, 7], 280));
    slot.say_raw(&[0; 280]);
    assert_eq!(slot.hear("product")["payload"], 0);
    slot.say(&multiply([14_000, 0, 14_000], 0));
    // Its answer has a gigabyte and a half of zeros.
    slot.hear("product");
    assert!(network.peers[0].peak_memory() < 200 << 10, "{} KiB", network.peers[0].peak_memory());
}

#[test]
fn a_product_is_computed_for_one_that_has_the_key_of_the_lease_and_for_no_other() {
    let network = Network::start(&[], &[1]);
    let mut holder = Wire::connect(network.addr);
    holder.ask(1);
    let leased = holder.hear("leased");
    let (lease, slot) = (&leased["lease"], &leased["slots"][0]);
    let mut wire = Wire::connect(slot["addr"].as_str().unwrap().parse().unwrap());
    let mut multiply = |key: &Value| {
        wire.say(&json!({"type": "multiply", "lease": lease, "key": key, "product": 0,
            "rows": 1, "inner": 1, "cols": 1, "payload": 16}));
        wire.say_raw(&[0; 16]);
        let Heard::Line(answer) = wire.next(PATIENCE) else { panic!("no answer") };
        answer
    };
    assert_eq!(multiply(&json!("ab".repeat(32)))["code"], "unauthorised");
    assert_eq!(multiply(&slot["key"])["type"], "product");
}

#[test]
fn where_the_network_has_fewer_slots_than_asked_it_takes_those_and_says_so() {
    let network = Network::start(&[], &[1, 2]);
    let outcome = multiplies(&network, (90, 80, 70), &["--levels", "2"]);
    outcome.assert(0, &["the others offer 3 slots in all: taking those", "leased 3 slots"]);
}

#[test]
fn without_any_other_peer_multiply_is_infeasible_and_says_what_helps() {
    let network = Network::start(&[], &[]);
    save(&integers(8, 8, 1), &network.path("a.npy"));
    let outcome = network.command("alone", &["multiply", "a.npy", "a.npy", "-o", "c.npy"]).outcome();
    outcome.assert(4, &["no other peer offers a slot", "`peer serve`", "--local"]);
    assert!(!network.path("c.npy").exists());
}

#[test]
fn a_peer_that_asks_never_serves_itself() {
    let mut network = Network::start(&[], &[2]);
    save(&integers(64, 64, 1), &network.path("a.npy"));
    // A prompt, which offers its four slots like any other peer.
    let mut requester = network.command("ada", &[]);
    requester.ready();
    network.all_leasable(2);
    requester.type_line("multiply a.npy a.npy --slots 5 --json");
    requester.end_input();
    let outcome = requester.outcome().assert(0, &["the others offer 2 slots in all"]);
    let summary: Value = serde_json::from_str(outcome.stdout.lines().nth(1).unwrap()).unwrap();
    let by: Vec<&str> =
        summary["products"].as_array().unwrap().iter().map(|done| done["peer"].as_str().unwrap()).collect();
    assert_eq!(by, ["p0"; 7]);
    network.peers.clear();
}

#[test]
fn a_second_multiply_waits_for_the_first_and_says_why() {
    let network = Network::start(&["--quantum", "60s"], &[4, 4]);
    // The first is a holder by hand, so that it lasts exactly as long as it must.
    let mut first = Wire::connect(network.addr);
    first.ask(7);
    first.hear("leased");
    let (a, b) = (integers(70, 50, 1), integers(50, 60, 2));
    save(&a, &network.path("a.npy"));
    save(&b, &network.path("b.npy"));
    let mut second = network.command("second", &["multiply", "a.npy", "b.npy", "-o", "c.npy", "--json"]);
    second.hears("waiting for 7 slots, place 1 in the queue: you are the head of the queue; 1 of your 7");
    second.hears("the lease of somebody ends in");
    assert!(!second.stderr().contains("leased 7 slots"));
    let mut third = network.command("third", &["multiply", "b.npy", "a.npy", "-o", "d.npy"]);
    third.outcome().assert(2, &["the shapes do not fit", "b.npy is 50 x 60, a.npy is 70 x 50"]);
    let mut third = network.command("third", &["multiply", "a.npy", "b.npy", "-o", "d.npy"]);
    third
        .hears("place 2 in the queue: one is before you; the head of the queue waits for 7 slots, 1 is free");
    first.say(&serde_json::json!({"type": "release"}));
    let summary = second.outcome().assert(0, &["leased 7 slots"]).json();
    assert!(summary["wait_seconds"].as_f64() > Some(0.0));
    third.outcome().assert(0, &["leased 7 slots"]);
    assert_is_product(&network.path("c.npy"), &a, &b);
    assert_is_product(&network.path("d.npy"), &a, &b);
}
