//! An honest user multiplies and downloads beside each kind of hostile client, and beside all of them at once. The
//! answers are right, and it takes at most twice as long as alone, or two seconds more.

use std::fs;
use std::time::{Duration, Instant};

use peerlab::matrix::Matrix;

use crate::common::files::bytes;
use crate::common::node::{Network, state};
use crate::common::{PATIENCE, assert_is_product, integers, save, until};
use crate::hostile::{ATTACKS, Attack, Attackers};
use crate::light::sparse;
use crate::table::{Table, is_wanted};

/// The promise: so many times as long, or so much longer, whichever is more.
const TIMES: f64 = 2.0;
const LONGER: f64 = 2.0;

/// Those that are taken for the promise, which is given for eight attackers.
const EIGHT: [&str; 8] = [
    "product with one wrong entry",
    "silence in place of a product",
    "phantoms that listen",
    "wrong pieces",
    "silence in place of pieces",
    "false blames",
    "attacks by HTTP",
    "huge payloads announced",
];

const SIZE: usize = 600;
const FILM: usize = 4 << 20;

/// How long the user's command may take before it is given up.
const GIVEN_UP: Duration = Duration::from_secs(120);

pub(crate) fn run(count: usize) -> Table {
    let table = Table::new("kind,attacks,runs,alone_s,with_s,ratio,right,within_the_promise");
    for (name, attack) in ATTACKS.into_iter().filter(|(name, _)| is_wanted(name)) {
        table.survive(name, || beside(&table, name, &[attack], count));
    }
    let all = ATTACKS.map(|(_, attack)| attack);
    let eight: Vec<Attack> =
        ATTACKS.iter().filter(|(name, _)| EIGHT.contains(name)).map(|(_, it)| *it).collect();
    assert_eq!(eight.len(), EIGHT.len());
    for (name, attacks) in [("eight of them at once", &eight[..]), ("all of them at once", &all)] {
        if is_wanted(name) {
            table.survive(name, || beside(&table, name, attacks, count));
        }
    }
    table
}

/// A user, its matrices, and the network it works in.
struct User {
    network: Network,
    a: Matrix,
    b: Matrix,
    film: Vec<u8>,
    runs: usize,
}

impl User {
    /// Three honest peers, which all have the film.
    fn start() -> Self {
        let mut network = Network::start_with_log("info", &[], &[]);
        let (a, b, film) = (sparse(SIZE), integers(SIZE, SIZE, 1), bytes(FILM, 3));
        save(&a, &network.path("a.npy"));
        save(&b, &network.path("b.npy"));
        for peer in ["p0", "p1", "p2"] {
            fs::create_dir(network.path(&format!("peerlab-{peer}"))).unwrap();
            fs::write(network.path(&format!("peerlab-{peer}/film")), &film).unwrap();
            network.add_peer(peer, 4);
        }
        network.all_leasable(3);
        until("all have the film", PATIENCE, || {
            let state = state(network.addr);
            let holders = state["files"][0]["holders"].as_array()?;
            (holders.iter().filter(|holder| holder["whole"] == true).count() == 3).then_some(())
        });
        Self { network, a, b, film, runs: 0 }
    }

    /// Multiplies and downloads; how long that took, and whether all was right.
    fn work(&mut self) -> (f64, bool) {
        self.runs += 1;
        let (c, into) = (format!("c{}.npy", self.runs), format!("into-{}", self.runs));
        let began = Instant::now();
        let product =
            self.network.command("me", &["multiply", "a.npy", "b.npy", "-o", &c]).outcome_within(GIVEN_UP);
        let down = self.network.command("me", &["down", "film", "-o", &into]).outcome_within(GIVEN_UP);
        let seconds = began.elapsed().as_secs_f64();
        for outcome in [&product, &down] {
            if outcome.status != Some(0) {
                eprintln!("{outcome:#?}");
            }
        }
        let is_product = || assert_is_product(&self.network.path(&c), &self.a, &self.b);
        let right = product.status == Some(0)
            && down.status == Some(0)
            && std::panic::catch_unwind(std::panic::AssertUnwindSafe(is_product)).is_ok()
            && fs::read(self.network.path(&into).join("film")).is_ok_and(|found| found == self.film);
        (seconds, right)
    }
}

/// How a user fares beside these, as one row: the longest time counts.
fn beside(table: &Table, name: &str, attacks: &[Attack], runs: usize) {
    let mut user = User::start();
    let (alone, right) = user.work();
    assert!(right, "it is not even right alone");
    let attackers = Attackers::start(user.network.addr, attacks);
    let runs_seen: Vec<(f64, bool)> = (0..runs).map(|_| user.work()).collect();
    let acts = attackers.end();
    let with = runs_seen.iter().map(|(seconds, _)| *seconds).fold(0.0, f64::max);
    let right = runs_seen.iter().all(|(_, right)| *right);
    let within = with <= (TIMES * alone).max(alone + LONGER);
    let yes = |is: bool| if is { "yes" } else { "no" };
    table.row(&[
        &name,
        &acts,
        &runs,
        &format_args!("{alone:.2}"),
        &format_args!("{with:.2}"),
        &format_args!("{:.1}", with / alone),
        &yes(right),
        &yes(within),
    ]);
    table.promise(right, format_args!("beside \"{name}\" an answer was wrong, or there was none"));
    table.promise(within, format_args!("beside \"{name}\" it took {with:.2} s, and {alone:.2} s alone"));
}
