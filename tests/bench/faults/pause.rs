//! Nodes are stopped (SIGSTOP) past their time, and go on: no product begins under a lease that is over, others get
//! the slots meanwhile, and every answer is right.
//!
//! - A `holder` is a `peer multiply` that is stopped in the middle until somebody else was given all slots, who uses
//!   and returns them. Before that a holder *by hand* sleeps past its time, and then asks each peer for a product under
//!   its old lease, with the right key.
//! - A `download` is a `peer down` that is stopped until the manager has taken it off the list.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::common::files::bytes;
use crate::common::node::{Network, Node};
use crate::common::wire::{Heard, Wire};
use crate::common::{PATIENCE, assert_is_product, integers, save, until};
use crate::light::{parts, sparse};
use crate::table::{Table, on_lanes, seed};

/// How many networks there are at the same time.
const LANES: usize = 6;

/// How many holders are stopped in one network.
const HOLDERS: usize = 5;

/// How many downloads are stopped at the same time.
const DOWNLOADS: usize = 8;

/// A tenth of the time after which a manager gives up a peer that does not give back its slots: more than a peer needs
/// (5 s) to give up a payload that stands still.
const QUANTUM: &str = "700ms";

/// How long others may wait for the slots of one that sleeps: a quantum, the time after which a payload that stands
/// still is given up (5 s), and two seconds for a machine that is busy.
const SLOTS_FREE: Duration = Duration::from_millis(7700);

const PEERS: u32 = 3;
const SLOTS: u32 = 2;

/// Stops so many, with choices of this seed, and writes a row.
type Work = fn(&Table, usize, u64);

pub(crate) fn run(count: usize) -> Table {
    let table = Table::new(
        "what,stopped,in_the_middle,products_begun_after_the_time,others_waited_s,wrong,failed,seconds",
    );
    let mut batches: Vec<(Work, usize)> = Vec::new();
    for (work, size) in [(holders as Work, HOLDERS), (downloads, DOWNLOADS)] {
        batches.extend((0..count).step_by(size).map(|from| (work, size.min(count - from))));
    }
    on_lanes(LANES, batches.len(), |at| {
        let (work, size) = batches[at];
        table.survive(&format!("batch {at} of pauses"), || work(&table, size, seed() + at as u64));
    });
    table
}

/// A product of one number by one.
fn ask_one(slot: &Value, lease: &Value) -> Value {
    let mut wire = Wire::connect(slot["addr"].as_str().unwrap().parse().unwrap());
    wire.say(
        &json!({"type": "multiply", "lease": lease, "key": slot["key"], "product": 0, "rows": 1, "inner": 1,
        "cols": 1, "payload": 16}),
    );
    wire.say_raw(bytemuck::cast_slice(&[3.0, 5.0]));
    match wire.next(PATIENCE) {
        Heard::Line(answer) => answer,
        other => panic!("{other:?}"),
    }
}

/// Whether each peer of a lease begins a product under it.
fn begun(leased: &Value) -> usize {
    let slots = leased["slots"].as_array().unwrap();
    let answers = slots.iter().map(|slot| ask_one(slot, &leased["lease"]));
    answers.filter(|answer| answer["type"] == "product").count()
}

fn take_all(network: &Network) -> (Wire, Value) {
    let mut wire = Wire::connect(network.addr);
    wire.ask(PEERS * SLOTS);
    let leased = wire.hear("leased");
    (wire, leased)
}

fn holders(table: &Table, count: usize, seed: u64) {
    const SIZE: usize = 1400;
    let network = Network::start(&["--quantum", QUANTUM], &[SLOTS; PEERS as usize]);
    let (a, b) = (sparse(SIZE), integers(SIZE, SIZE, 1));
    save(&a, &network.path("a.npy"));
    save(&b, &network.path("b.npy"));
    let (mut rng, began) = (StdRng::seed_from_u64(seed), Instant::now());
    let (mut in_the_middle, mut late, mut longest, mut wrong, mut failed) = (0, 0, Duration::ZERO, 0, 0);
    for n in 0..count {
        // One that says nothing past its time; it is another's turn then.
        let (_sleeper, old) = take_all(&network);
        let (mut next, _) = take_all(&network);
        late += begun(&old);
        next.say(&json!({"type": "release"}));

        let answer = format!("c{n}.npy");
        let mut me = network.command("me", &["multiply", "a.npy", "b.npy", "--levels", "2", "-o", &answer]);
        let holds = |state: &Value| state["leases"].as_array().unwrap().iter().any(|row| row["name"] == "me");
        until("it holds a lease", PATIENCE, || (me.has_ended() || holds(&network.state())).then_some(()));
        thread::sleep(Duration::from_micros(rng.random_range(0..200_000)));
        if !me.has_ended() {
            me.signal(Signal::STOP);
            in_the_middle += 1;
        }
        let asked = Instant::now();
        let (mut other, leased) = take_all(&network);
        longest = longest.max(asked.elapsed());
        wrong += PEERS as usize - begun(&leased);
        other.say(&json!({"type": "release"}));
        other.hear("released");
        if !me.has_ended() {
            me.signal(Signal::CONT);
        }
        let outcome = me.outcome();
        if outcome.status == Some(0) {
            let path = network.path(&answer);
            wrong += usize::from(std::panic::catch_unwind(|| assert_is_product(&path, &a, &b)).is_err());
        } else {
            eprintln!("multiply failed: {outcome:#?}");
            failed += 1;
        }
        until("nothing is in use", PATIENCE, || (network.used() == 0).then_some(()));
        // Now all peers have said that its lease is over there.
        late += begun(&leased);
    }
    let seconds = began.elapsed().as_secs_f64();
    row(table, "holder", count, in_the_middle, late, Some(longest), wrong, failed, seconds);
}

fn downloads(table: &Table, count: usize, seed: u64) {
    let network = Network::start(&["--replicas", "0", "--ping", "200ms", "--dead-after", "800ms"], &[]);
    let mut rng = StdRng::seed_from_u64(seed);
    let content = bytes(6 << 20, rng.next_u64());
    let folder = network.path("peerlab-seed");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("film"), &content).unwrap();
    let manager = network.addr.to_string();
    let args = ["--manager", &manager, "--name", "seed", "--up", "3MiB", "serve"];
    let mut seed = Node::start("peer", network.dir.path(), "info", &args);
    seed.ready();
    until("it is offered", PATIENCE, || (network.state()["files"][0]["file"] == "film").then_some(()));
    let began = Instant::now();
    let into = |n: usize| format!("into-{n}");
    let start = |n: usize| {
        let name = format!("d{n}");
        network.command_with_log("info", &name, &["down", "film", "-o", &into(n), "--json"])
    };
    let mut all: Vec<Node> = (0..count).map(start).collect();
    let has_begun = |n: usize| !parts(&network.path(&into(n))).is_empty();
    let mut in_the_middle = 0;
    for (n, down) in all.iter_mut().enumerate() {
        until("it has begun", PATIENCE, || (down.has_ended() || has_begun(n)).then_some(()));
        thread::sleep(Duration::from_micros(rng.random_range(0..100_000)));
        if !down.has_ended() {
            down.signal(Signal::STOP);
            in_the_middle += 1;
        }
    }
    until("those that sleep are off the list", PATIENCE, || {
        let state = network.state();
        let here = state["peers"].as_array().unwrap().iter().filter(|row| row["name"] != "seed").count();
        (here == 0).then_some(())
    });
    for down in &mut all {
        if !down.has_ended() {
            down.signal(Signal::CONT);
        }
    }
    let (mut wrong, mut failed) = (0, 0);
    for (n, mut down) in all.into_iter().enumerate() {
        let outcome = down.outcome();
        if outcome.status != Some(0) {
            eprintln!("down failed: {outcome:#?}");
            failed += 1;
        } else if fs::read(network.path(&into(n)).join("film")).unwrap_or_default() != content {
            wrong += 1;
        }
    }
    row(table, "download", count, in_the_middle, 0, None, wrong, failed, began.elapsed().as_secs_f64());
}

#[expect(clippy::too_many_arguments, reason = "one for each column")]
fn row(
    table: &Table,
    what: &str,
    stopped: usize,
    in_the_middle: usize,
    late: usize,
    waited: Option<Duration>,
    wrong: usize,
    failed: usize,
    seconds: f64,
) {
    let waits = waited.map_or(String::new(), |longest| format!("{:.2}", longest.as_secs_f64()));
    table.row(&[
        &what,
        &stopped,
        &in_the_middle,
        &late,
        &waits,
        &wrong,
        &failed,
        &format_args!("{seconds:.1}"),
    ]);
    table.promise(late == 0, format_args!("{late} products began under leases that were over"));
    table.promise(
        wrong == 0,
        format_args!("{wrong} answers were wrong, or none was given under a live lease"),
    );
    table.promise(failed == 0, format_args!("{failed} commands failed"));
    let longest = waited.unwrap_or_default();
    table.promise(
        longest <= SLOTS_FREE,
        format_args!("others waited {longest:?} for the slots of one that slept"),
    );
}
