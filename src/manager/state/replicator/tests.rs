//! The rules of the planner as plain tables, and a simulated network in which everything goes wrong for a while.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::super::Table;
use super::super::roster::tests::candidate;
use std::time::Duration;

use super::*;
use crate::error::Error;
use crate::net::key::Key;
use crate::net::message::{Activity, Candidate, Condition, FailedFile, Health, NOBODY};
use crate::share::{Layout, Manifest};

/// A manager without sockets: what it knows, and what it has ordered.
struct World {
    table: Table,
    now: Millis,
    next: Option<Millis>,
    last_port: u16,
    /// Orders that run, by the world's own book.
    open: BTreeSet<(PeerId, String)>,
    /// Orders by peer and file, ever.
    given: BTreeMap<(PeerId, String), Vec<Millis>>,
}

impl World {
    fn new(policy: Replicas) -> Self {
        Self {
            table: Table::new(1000, policy, 1, Key::random(), 0),
            now: GRACE,
            next: None,
            last_port: 0,
            open: BTreeSet::new(),
            given: BTreeMap::new(),
        }
    }

    /// Peers 1, 2, ... that have been quiet for long enough.
    fn of(policy: Replicas, peers: u64) -> Self {
        let mut world = Self::new(policy);
        for n in 1..=peers {
            world.join(&format!("p{n}"));
        }
        assert_eq!(world.wait(SETTLE), []);
        world
    }

    fn join_unreached(&mut self, name: &str, keeps: bool) -> PeerId {
        // Numbers are 1, 2, ..., and so are ports.
        self.last_port += 1;
        let candidate = Candidate { keeps, ..candidate(name, self.last_port, 1) };
        self.table.admit(candidate, Duration::from_secs(3), self.now).unwrap()
    }

    fn reach(&mut self, id: PeerId, reach: Reach) {
        self.table.tried(id, reach, &Err(Error::failed("no answer")), self.now);
    }

    fn join(&mut self, name: &str) -> PeerId {
        let id = self.join_unreached(name, true);
        self.reach(id, Reach::Yes);
        id
    }

    fn leave(&mut self, id: PeerId) {
        self.table.strike(id, "it left", self.now);
        self.open.retain(|(peer, _)| *peer != id);
        self.void_orders();
    }

    /// Orders for files that are gone are void.
    fn void_orders(&mut self) {
        let catalogue = &self.table.catalogue;
        self.open.retain(|(_, file)| catalogue.number(&file.parse().unwrap()).is_some());
    }

    fn update(&mut self, peer: PeerId, file: &str, whole: bool) {
        let bytes = file.as_bytes();
        let layout = Layout::of(bytes.len() as u64).unwrap();
        let manifest = Manifest::read(file.parse().unwrap(), layout, bytes, &false.into()).unwrap();
        self.table.update(peer, &manifest, whole, Some(self.now), self.now).unwrap();
        if whole {
            self.open.remove(&(peer, file.into()));
        }
    }

    fn put(&mut self, peer: PeerId, files: &[&str]) {
        files.iter().for_each(|file| self.update(peer, file, true));
    }

    fn lose(&mut self, peer: PeerId, file: &str) {
        let before = self.holders(file);
        let _ = self.table.query(peer, &file.parse().unwrap(), false, self.now);
        assert_ne!(self.holders(file), before);
        self.void_orders();
    }

    fn drop_file(&mut self, file: &str) {
        self.table.drop_file(NOBODY, &file.parse().unwrap(), None, None, false, self.now).unwrap();
        // It is put there again later.
        self.now += 1;
        self.void_orders();
    }

    fn holders(&self, file: &str) -> Vec<PeerId> {
        let number = self.table.catalogue.number(&file.parse().unwrap());
        number.map_or_else(Vec::new, |number| self.table.catalogue.files[&number].whole_holders().collect())
    }

    /// Plans once; what is ordered must make sense.
    fn plan(&mut self) -> Vec<(PeerId, String)> {
        let plan = self.table.replicator.plan(&mut self.table.catalogue, &self.table.roster, self.now);
        self.next = match self.table.is_plan_due() {
            true => Some(self.now),
            false => self.table.replicator.next(self.now),
        };
        let named = |which: What| -> Vec<(PeerId, String)> {
            let name = |number| self.table.catalogue.files[number].manifest.name().to_string();
            let of_that_kind = plan.iter().filter(|(what, ..)| *what == which);
            of_that_kind.map(|(_, peer, number)| (*peer, name(number))).collect()
        };
        let (orders, failed) = (named(What::Asked), named(What::Failed));
        for order in failed {
            assert!(self.open.remove(&order), "it failed: {order:?}");
        }
        for (peer, file) in &orders {
            let holders = self.holders(file);
            assert!(!holders.contains(peer), "{peer} has {file}");
            assert!(holders.iter().any(|holder| holder != peer), "nobody else has {file}");
            assert!(self.table.roster.peers.get(peer).is_some_and(|row| row.is.keeps));
            assert!(self.open.insert((*peer, file.clone())), "{peer} is fetching {file}");
            self.given.entry((*peer, file.clone())).or_default().push(self.now);
            let running = self.open.iter().filter(|(it, _)| it == peer).count();
            assert!(running <= ORDERS, "{running} orders at {peer}");
            let given = holders.iter().filter(|holder| self.table.roster.paused(**holder).is_none()).count();
            let copies = given + self.open.iter().filter(|(_, it)| it == file).count();
            if let Replicas::Some(wanted) = self.table.replicator.policy {
                assert!(copies <= wanted.max(holders.len()), "{copies} copies of {file}");
            }
        }
        orders
    }

    /// Time passes, and the planner is woken whenever it wanted to be; nobody obeys.
    fn wait(&mut self, how_long: Millis) -> Vec<(PeerId, String)> {
        let end = self.now + how_long;
        let mut orders = self.plan();
        while let Some(next) = self.next.filter(|&next| next <= end) {
            self.now = self.now.max(next);
            orders.extend(self.plan());
        }
        self.now = end;
        orders.extend(self.plan());
        orders
    }

    /// Everybody obeys at once, until nothing is ordered any more; gives the orders in their order.
    fn obey(&mut self) -> Vec<(PeerId, String)> {
        let mut all = Vec::new();
        loop {
            let orders = self.plan();
            if orders.is_empty() && self.next.is_none_or(|next| next > self.now) {
                return all;
            }
            orders.iter().for_each(|(peer, file)| self.update(*peer, file, true));
            all.extend(orders);
        }
    }

    fn health(&self, file: &str) -> Health {
        let Table { catalogue, roster, replicator, .. } = &self.table;
        let number = catalogue.number(&file.parse().unwrap()).unwrap();
        replicator.health(&catalogue.files[&number], Scene { catalogue, roster, now: self.now })
    }
}

/// Orders as they are written in the tables below: "1a 2b".
fn short(mut orders: Vec<(PeerId, String)>) -> String {
    orders.sort();
    orders.iter().map(|(peer, file)| format!("{peer}{file}")).collect::<Vec<_>>().join(" ")
}

#[test]
fn under_all_every_peer_gets_what_it_lacks() {
    let mut world = World::of(Replicas::All, 3);
    world.put(1, &["a"]);
    world.put(2, &["b"]);
    assert_eq!(short(world.obey()), "1b 2a 3a 3b");
    assert_eq!(world.health("a").state, Condition::Whole);
    assert_eq!(world.health("a").reason, "p1, p2 and p3 have all of it");
    world.lose(2, "a");
    assert_eq!(short(world.obey()), "2a", "a deleted file comes back");
    assert_eq!(world.wait(600_000), [], "nothing is ordered that is there");
}

#[test]
fn under_a_number_so_many_copies_are_made_and_the_load_is_spread() {
    let mut world = World::of(Replicas::Some(2), 5);
    let files: Vec<String> = (0..100).map(|n| format!("f{n}")).collect();
    files.iter().for_each(|file| world.put(1, &[file]));
    assert_eq!(world.obey().len(), 100);
    for peer in 2..=5 {
        assert_eq!(world.table.catalogue.held_by(peer), 25, "{peer}");
    }
    let at_two: Vec<String> = files.iter().filter(|file| world.holders(file).contains(&2)).cloned().collect();
    world.leave(2);
    let healed: BTreeSet<_> = world.obey().into_iter().map(|(_, file)| file).collect();
    assert_eq!(healed, at_two.into_iter().collect(), "what it had is copied again, and nothing else");
}

#[test]
fn under_zero_nothing_is_ordered() {
    let mut world = World::of(Replicas::Some(0), 3);
    world.put(1, &["a"]);
    assert_eq!(world.wait(100_000), []);
    assert_eq!(world.health("a").state, Condition::Whole);
    assert!(!world.table.is_plan_due(), "what was touched was looked at");
}

#[test]
fn a_peer_has_four_orders_at_most_and_gets_the_next_when_one_is_done() {
    let mut world = World::of(Replicas::All, 2);
    world.put(1, &["a", "b", "c", "d", "e", "f"]);
    assert_eq!(short(world.plan()), "2a 2b 2c 2d");
    assert_eq!(world.plan(), []);
    world.update(2, "b", true);
    assert_eq!(short(world.plan()), "2e");
    world.update(2, "c", false);
    assert_eq!(world.plan(), [], "a part is not the whole");
    world.drop_file("a");
    assert_eq!(short(world.plan()), "2f", "an order for what was dropped is void");
}

#[test]
fn two_empty_peers_fetch_different_files_first() {
    let mut world = World::of(Replicas::All, 3);
    world.put(1, &["a", "b", "c", "d", "e", "f", "g", "h"]);
    let orders = world.plan();
    let files: BTreeSet<_> = orders.iter().map(|(_, file)| file).collect();
    assert_eq!((orders.len(), files.len()), (8, 8), "{orders:?}");
}

#[test]
fn the_file_with_the_fewest_copies_comes_first() {
    let mut world = World::of(Replicas::All, 3);
    world.put(1, &["a", "b", "c", "d", "e", "f"]);
    world.put(2, &["a", "b", "c", "d"]);
    let orders = world.plan();
    assert_eq!(orders[..2], [(3, "e".into()), (2, "f".into())], "they are only at one, and then at two");
}

#[test]
fn a_peer_that_joins_is_asked_when_it_was_reached_and_its_list_is_quiet() {
    let mut world = World::of(Replicas::All, 1);
    world.put(1, &["a"]);
    let ben = world.join_unreached("ben", true);
    assert_eq!(world.wait(10_000), [], "nobody could connect to it");
    assert!(world.health("a").reason.contains("ben is not asked before it could be reached"));
    world.reach(ben, Reach::Yes);
    assert_eq!(short(world.plan()), "2a");
    world.update(ben, "a", true);
    let cyd = world.join("cyd");
    for n in 0..10 {
        let orders = world.wait(SETTLE - 1);
        assert!(orders.iter().all(|(peer, _)| *peer != cyd), "it is still telling what it has: {orders:?}");
        world.update(cyd, &format!("c{n}"), true);
    }
    assert_eq!(
        world.health("a").reason,
        "2 of 3 copies are there; cyd has just joined, and is telling what it has"
    );
    world.obey();
    assert_eq!(short(world.wait(SETTLE)), "3a");
    world.update(cyd, "a", true);
    let selfish = world.join_unreached("dan", false);
    world.reach(selfish, Reach::Yes);
    world.wait(10_000);
    assert!(
        world.given.keys().all(|(peer, _)| *peer != selfish),
        "a peer that keeps no replicas is asked for none"
    );
    assert_eq!(world.health("a").state, Condition::Whole);
}

#[test]
fn an_order_that_failed_is_repeated_after_growing_pauses() {
    let mut world = World::of(Replicas::All, 2);
    world.put(1, &["a"]);
    let began = world.now;
    world.wait(600_000);
    let times = &world.given[&(2, "a".into())];
    let after: Vec<_> = times.iter().take(7).map(|at| (at - began) / 1000).collect();
    // Five seconds of patience each, and pauses of 5, 10, 20, 40, 60, 60 seconds between.
    assert_eq!(after, [0, 10, 25, 50, 95, 160, 225]);
    world.wait(10_000);
    let health = world.health("a");
    assert_eq!(health.state, Condition::Spreading);
    assert!(health.reason.contains("1 of 2 copies are there; p2 was asked"), "{health:?}");
}

#[test]
fn a_peer_that_lists_much_and_sends_nothing_holds_up_nobody_elses_files() {
    let mut world = World::of(Replicas::All, 2);
    let evil = world.join_unreached("evil", false);
    world.reach(evil, Reach::Yes);
    let phantoms: Vec<String> = (0..60).map(|n| format!("phantom{n}")).collect();
    phantoms.iter().for_each(|file| world.put(evil, &[file]));
    world.put(1, &["first"]);
    assert!(world.wait(PATIENCE).contains(&(2, "first".into())), "four orders have failed");
    world.update(2, "first", true);
    world.put(1, &["later", "too large"]);
    assert!(world.wait(PATIENCE).contains(&(2, "later".into())), "others failed before");
    world.update(2, "later", true);
    let asked = |world: &World, file: &str| world.given.get(&(2, file.into())).map_or(0, Vec::len);
    world.wait(600_000);
    // Five seconds of patience each, and pauses of 5, 10, 20, 40, 60, ... seconds between: as if it were alone.
    assert_eq!(asked(&world, "too large"), 12);
    assert!(phantoms.iter().all(|file| asked(&world, file) > 1), "in the end each is tried");
}

#[test]
fn of_the_files_of_one_peer_those_that_were_never_tried_come_first() {
    let mut world = World::of(Replicas::All, 2);
    let files: Vec<String> = (0..20).map(|n| format!("f{n}")).collect();
    files.iter().for_each(|file| world.put(1, &[file]));
    let orders = world.wait(4 * PATIENCE);
    let first: BTreeSet<_> = orders.iter().take(files.len()).map(|(_, file)| file).collect();
    assert_eq!(first.len(), files.len(), "{orders:?}");
    assert_eq!(world.table.replicator.keepers[&2].owed, BTreeMap::from([(1, files.len() - ORDERS)]));
    files.iter().for_each(|file| world.update(2, file, true));
    world.plan();
    assert!(world.table.replicator.keepers[&2].owed.is_empty(), "what came in the end is forgiven");
}

#[test]
fn a_download_that_goes_on_has_not_failed_and_one_that_stalls_has() {
    let mut world = World::of(Replicas::All, 2);
    world.put(1, &["a"]);
    world.plan();
    let sign = |world: &mut World, have| {
        let file = "a".parse().unwrap();
        let (pieces, map) = (99, String::new());
        let download = Download { file, have, pieces, since_ms_ago: 0, bytes_per_s: 0, from: vec![], map };
        world.table.replicator.signs(2, &[download], &world.table.catalogue, world.now);
    };
    for have in 0..10 {
        sign(&mut world, have);
        assert_eq!(world.wait(STALL - 1), []);
    }
    assert!(
        world.health("a").reason.ends_with("p2 has been fetching it for 300 s"),
        "{:?}",
        world.health("a")
    );
    sign(&mut world, 9);
    world.wait(1);
    assert!(world.open.is_empty(), "the same number of pieces is no sign");
}

#[test]
fn under_a_number_somebody_else_is_asked_for_what_one_did_not_get() {
    let mut world = World::of(Replicas::Some(2), 3);
    world.put(1, &["a"]);
    let [(first, _)] = world.plan()[..] else { panic!() };
    world.now += PATIENCE;
    let [(second, _)] = world.plan()[..] else { panic!() };
    assert_ne!(first, second);
    world.leave(second);
    assert_eq!(world.wait(PAUSE).len(), 1, "the order went with the peer");
}

#[test]
fn what_nobody_has_or_can_be_got_from_is_not_ordered_and_is_said() {
    let mut world = World::of(Replicas::All, 2);
    world.update(1, "part", false);
    assert_eq!(world.wait(60_000), []);
    let health = world.health("part");
    assert_eq!((health.state, &*health.reason), (Condition::Missing, "nobody has all of it; p1 has a part"));
    let walled = world.join_unreached("walled", false);
    world.reach(walled, Reach::No("no route".into()));
    world.put(walled, &["a"]);
    assert_eq!(world.wait(60_000), []);
    assert!(world.health("a").reason.contains("p1 waits for a peer that has it and can be reached"));
    world.reach(walled, Reach::Yes);
    assert_eq!(short(world.plan()), "1a 2a");
}

#[test]
fn a_file_spreads_until_it_was_whole_once_and_heals_after_that() {
    let mut world = World::of(Replicas::All, 2);
    world.put(1, &["a"]);
    world.plan();
    assert_eq!(world.health("a").state, Condition::Spreading);
    world.put(2, &["a"]);
    world.plan();
    world.lose(1, "a");
    assert_eq!(world.health("a").state, Condition::Healing);
}

/// A peer says `ok`, and why it has paused if it has.
fn says(world: &mut World, peer: PeerId, paused: Option<&str>, failed: &[(&str, &str)]) {
    let failed =
        failed.iter().map(|(file, why)| FailedFile { file: file.parse().unwrap(), why: (*why).into() });
    let (paused, failed) = (paused.map(String::from), failed.collect());
    world.now += 500; // Said earlier, its pause would be passed over.
    world.table.heard(peer, Activity { paused, failed, ..Activity::default() }, world.now);
}

#[test]
fn a_peer_that_has_paused_is_no_holder_until_it_goes_on_and_loses_nothing_by_it() {
    let mut world = World::of(Replicas::Some(2), 3);
    world.put(1, &["a"]);
    world.put(2, &["a"]);
    world.plan();
    let whole = |world: &World| {
        let holders = world.table.files(false, world.now).next().unwrap().holders;
        holders.into_iter().filter(|holder| holder.whole).map(|holder| holder.peer).collect::<Vec<_>>()
    };
    assert_eq!((world.health("a").state, whole(&world)), (Condition::Whole, vec![1, 2]));
    says(&mut world, 1, Some("its disk is away; put it back"), &[]);
    assert_eq!(whole(&world), [2]);
    let health = world.health("a");
    assert_eq!(health.state, Condition::Healing);
    assert!(health.reason.starts_with("1 of 2 copies are there; p1 has paused"), "{}", health.reason);
    assert!(!health.reason.contains("its disk is away"), "that stands once, in the row of the peer");
    assert_eq!(
        short(world.plan()),
        "3a",
        "a peer that goes on is asked for the copy, the one that paused is not"
    );
    says(&mut world, 2, Some("so is this"), &[]);
    let health = world.health("a");
    assert_eq!(health.state, Condition::Missing);
    assert_eq!(health.reason, "nobody has all of it; p1 has paused; p2 has paused");
    let no = world.table.query(3, &"a".parse().unwrap(), false, world.now).unwrap_err();
    assert!(no.to_string().contains("paused: its disk is away"), "{no}");
    assert_eq!(world.holders("a"), [1, 2], "the catalogue has forgotten nothing");
    says(&mut world, 1, None, &[]);
    says(&mut world, 2, None, &[]);
    assert_eq!((world.health("a").state, whole(&world)), (Condition::Whole, vec![1, 2]));
}

#[test]
fn why_a_peer_cannot_get_a_file_is_its_health() {
    let mut world = World::of(Replicas::All, 2);
    world.put(1, &["a", "b"]);
    world.plan();
    says(&mut world, 2, None, &[("a", "cannot fetch it: the disk\u{1b} is full")]);
    let reason = "1 of 2 copies are there; p2 cannot fetch it: the disk\u{fffd} is full";
    assert_eq!(world.health("a").reason, reason);
    assert!(world.health("b").reason.contains("p2 was asked"));
}

#[test]
fn a_young_manager_that_wants_a_number_waits_for_its_peers() {
    for (policy, orders) in [(Replicas::Some(2), 0), (Replicas::All, 2)] {
        let mut world = World::new(policy);
        world.now = 0;
        for name in ["ada", "ben", "cyd"] {
            world.join(name);
        }
        world.put(1, &["a"]);
        assert_eq!(world.wait(GRACE - 1).len(), orders);
        world.put(2, &["a"]);
        assert_eq!(world.wait(PATIENCE - 1), [], "the second copy has come back");
    }
}

#[test]
fn a_young_manager_that_wants_a_number_waits_for_long_lists_but_no_longer_than_a_minute() {
    let start = || {
        let mut world = World::new(Replicas::Some(2));
        world.now = 0;
        for name in ["ada", "ben", "cyd"] {
            world.join(name);
        }
        world
    };
    let mut world = start();
    for n in 0..30 {
        // One begins with the first, the other with the last.
        world.put(1, &[&format!("f{n:02}")]);
        world.put(2, &[&format!("f{:02}", 29 - n)]);
        assert_eq!(world.wait(400), [], "file {n}");
    }
    assert_eq!(world.wait(YOUTH), [], "there are two copies of each");
    let mut world = start();
    let first = (0..).find(|n| {
        world.put(1, &[&format!("f{n:03}")]);
        !world.wait(400).is_empty()
    });
    assert_eq!(first, Some(YOUTH / 400 - 1), "whose list has no end holds up nobody for longer");
}

#[test]
fn more_copies_than_there_are_peers_are_waited_for_in_words() {
    let mut world = World::of(Replicas::Some(3), 2);
    world.put(1, &["a"]);
    assert_eq!(world.obey().len(), 1);
    let health = world.health("a");
    assert_eq!(health.state, Condition::Spreading);
    assert_eq!(health.reason, "2 of 3 copies are there; only 2 peers here keep replicas");
}

#[test]
fn a_peer_that_flaps_is_given_four_orders_a_life_and_everything_when_it_stays() {
    let mut world = World::of(Replicas::All, 2);
    let files: Vec<String> = (0..1000).map(|n| format!("f{n}")).collect();
    files.iter().for_each(|file| world.put(1, &[file]));
    world.obey();
    let before = world.given.len();
    for _ in 0..200 {
        let id = world.join("flapper");
        world.wait(3_000);
        world.leave(id);
        world.wait(100);
    }
    assert_eq!(world.given.len() - before, 200 * ORDERS);
    world.join("flapper");
    let first = world.wait(SETTLE);
    first.iter().for_each(|(peer, file)| world.update(*peer, file, true));
    assert_eq!(first.len() + world.obey().len(), 1000);
}

#[test]
fn eighty_thousand_copies_cost_little_each() {
    let mut world = World::of(Replicas::All, 5);
    for n in 0..20_000 {
        world.update(1, &format!("f{n}"), true);
    }
    // Were all files looked at for each order, this would not end within an hour.
    let mut orders = 0;
    loop {
        let plan = world.table.replicator.plan(&mut world.table.catalogue, &world.table.roster, world.now);
        if plan.is_empty() && !world.table.is_plan_due() {
            break;
        }
        orders += plan.len();
        for (_, peer, number) in plan {
            let file = world.table.catalogue.files[&number].manifest.name().to_string();
            world.update(peer, &file, true);
        }
    }
    assert_eq!(orders, 80_000);
}

/// What a simulated peer does with an order.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    /// It has the file after so many milliseconds.
    Obeys(Millis),
    /// It never has it.
    Fails,
}

/// A network in which peers join, leave, lose, fail and stall at random, and then settles down.
fn a_bad_day(policy: Replicas, seed: u64) -> Result<(), TestCaseError> {
    let mut random = StdRng::seed_from_u64(seed);
    let mut world = World::new(policy);
    let mut manners: BTreeMap<PeerId, Manner> = BTreeMap::new();
    // (when it is there, peer, file)
    let mut coming: BTreeSet<(Millis, PeerId, String)> = BTreeSet::new();
    for step in 0..400 {
        let bad = step < 200;
        let peers: Vec<PeerId> = manners.keys().copied().collect();
        let anybody = (!peers.is_empty()).then(|| peers[random.random_range(0..peers.len().max(1))]);
        let file = format!("f{}", random.random_range(0..30));
        match (random.random_range(0..12), anybody) {
            (0 | 1, _) if bad && peers.len() < 6 => {
                let id = world.join(&format!("p{step}"));
                let slow = random.random_range(0..4_000);
                manners.insert(id, if random.random_bool(0.2) { Manner::Fails } else { Manner::Obeys(slow) });
            }
            (2, Some(peer)) if bad => {
                world.leave(peer);
                manners.remove(&peer);
            }
            (3..=5, Some(peer)) if bad => world.update(peer, &file, true),
            (6, Some(peer)) if bad && world.holders(&file).contains(&peer) => world.lose(peer, &file),
            (7, _) if bad && !world.holders(&file).is_empty() => world.drop_file(&file),
            (8, Some(peer)) if bad => {
                let up = random.random_bool(0.7);
                world.reach(peer, if up { Reach::Yes } else { Reach::No("a wall".into()) });
            }
            _ if !bad => {
                for (&peer, manner) in &mut manners {
                    world.reach(peer, Reach::Yes);
                    *manner = Manner::Obeys(10);
                }
            }
            _ => {}
        }
        // Time goes on, in steps that are sometimes long; the planner is woken when it wants to be.
        let end = world.now + if bad { random.random_range(0..3_000) } else { 2_000 };
        loop {
            for (peer, file) in world.plan() {
                if let Some(Manner::Obeys(after)) = manners.get(&peer) {
                    coming.insert((world.now + after, peer, file));
                }
            }
            let arrival = coming.first().map(|(at, ..)| *at);
            let Some(next) = arrival.into_iter().chain(world.next).min().filter(|&next| next <= end) else {
                break;
            };
            world.now = world.now.max(next);
            while coming.first().is_some_and(|(at, ..)| *at <= world.now) {
                let Some((_, peer, file)) = coming.pop_first() else { break };
                let source = world.holders(&file).iter().any(|holder| *holder != peer);
                if manners.contains_key(&peer) && source {
                    world.update(peer, &file, true);
                }
            }
        }
        world.now = end;
    }
    let keepers = manners.len();
    let wanted = match policy {
        Replicas::All => keepers,
        Replicas::Some(wanted) => wanted.min(keepers),
    };
    for n in 0..30 {
        let file = format!("f{n}");
        let holders = world.holders(&file).len();
        let enough = holders == 0 || holders >= wanted;
        prop_assert!(enough, "{file} has {holders} of {wanted} copies: {:?}", world.health(&file));
    }
    for ((peer, file), times) in &world.given {
        for pair in times.windows(2) {
            let apart = pair[1] - pair[0];
            let lost_again = world.holders(file).contains(peer);
            prop_assert!(apart > 0 || lost_again, "{peer} was asked twice at once for {file}");
        }
    }
    prop_assert!(world.table.replicator.alarms.len() <= 4 * 30 * keepers.max(1), "alarms are not forgotten");
    let running: usize = world.table.replicator.keepers.values().map(|keeper| keeper.running.len()).sum();
    prop_assert_eq!((running, running), (world.open.len(), world.table.replicator.running.len()));
    Ok(())
}

proptest! {
    #[test]
    fn after_a_bad_day_every_file_that_somebody_has_is_on_all_peers(seed: u64) {
        a_bad_day(Replicas::All, seed)?;
    }

    #[test]
    fn after_a_bad_day_every_file_that_somebody_has_is_on_enough_peers(seed: u64, wanted in 1..4_usize) {
        a_bad_day(Replicas::Some(wanted), seed)?;
    }
}
