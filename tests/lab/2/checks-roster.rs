//! Exercise 2: which peers are silent, and what does not count as silence.

use std::panic::{AssertUnwindSafe, catch_unwind};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::lab_runner::run;

#[test]
fn checks() {
    run(
        module_path!(),
        &[
            (1, "one that joins and says nothing leaves after `dead_after`, and no millisecond earlier", joined),
            (2, "one that was heard stays, however long ago it joined", heard_lately),
            (1, "a message shows that its sender is alive, and nobody else", sender_alone),
            (1, "what a peer says is kept, and what it had said before is given back", said),
            (1, "one that was struck is not heard, and harms nothing", struck),
            (2, "the manager's own pause is not counted against its peers", pause),
            (1, "nobody was heard in the future", future),
            (1, "whatever happens, the right ones are silent", anything),
        ],
    );
}

const DEAD_AFTER: Millis = 3000;

/// Peers 1, 2, ..., all of which joined at `now`.
fn with(peers: u64, now: Millis) -> Roster {
    let mut roster = Roster::new(Key::random());
    for id in 1..=peers {
        join(&mut roster, id, now);
    }
    roster
}

fn join(roster: &mut Roster, id: PeerId, now: Millis) {
    let candidate = format!(r#"{{"version":2,"name":"p{id}","addr":"127.0.0.1:{}","slots":4}}"#, 7000 + id);
    roster.admit(id, serde_json::from_str(&candidate).unwrap(), now);
}

fn ok(roster: &mut Roster, id: PeerId, now: Millis) {
    roster.heard(id, Activity::default(), now);
}

/// At `now` these are to be silent; `story` tells what has happened until then.
fn silent(roster: &Roster, now: Millis, right: &[PeerId], story: &str) {
    let list = roster.silent(DEAD_AFTER, now);
    assert!(
        list == right,
        "`dead_after` is {DEAD_AFTER}. {story}. At {now} the list of silent peers is to be {right:?}, and it is {list:?}"
    );
}

fn joined(_: u64) {
    let roster = with(1, 10_000);
    silent(&roster, 10_000, &[], "Peer 1 joined this very millisecond");
    silent(&roster, 12_999, &[], "Peer 1 joined at 10000 and said nothing, which is 2999 ms of silence");
    silent(
        &roster,
        13_000,
        &[1],
        "Peer 1 joined at 10000 and said nothing: it was silent for exactly 3000 ms",
    );
}

fn heard_lately(_: u64) {
    let mut roster = with(2, 0);
    for now in (1000..=20_000).step_by(1000) {
        ok(&mut roster, 1, now);
        ok(&mut roster, 2, now);
        let story = format!(
            "Peers 1 and 2 joined at 0 and say `ok` every second, last at {now}. Silence begins when a peer was heard last, \
             not when it joined"
        );
        silent(&roster, now + 999, &[], &story);
    }
    silent(&roster, 23_000, &[1, 2], "Peers 1 and 2 joined at 0 and were heard last at 20000");
}

fn sender_alone(_: u64) {
    let mut roster = with(3, 0);
    for now in [1000, 2000, 3000] {
        ok(&mut roster, 2, now);
    }
    silent(
        &roster,
        3000,
        &[1, 3],
        "Peers 1, 2 and 3 joined at 0. Since then only 2 said `ok`, at 1000, 2000 and 3000, which shows that 2 is alive and \
         nobody else",
    );
}

fn said(_: u64) {
    let mut roster = with(2, 0);
    let says = |why: &str| Activity { paused: Some(why.into()), ..Activity::default() };
    let before = roster.heard(1, says("no disk"), 1000);
    assert!(
        before == Some(Activity::default()),
        "peer 1 says something for the first time: before, it had said nothing, which is `Activity::default()`. Given was {before:?}"
    );
    let kept = roster.paused(1);
    assert!(
        kept == Some("no disk"),
        "peer 1 said that it pauses because of \"no disk\"; its row says {kept:?}"
    );
    let other = roster.paused(2);
    assert!(other.is_none(), "peer 1 said that it pauses; now the row of peer 2 says so, too: {other:?}");
    let before = roster.heard(1, Activity::default(), 2000);
    assert!(
        before == Some(says("no disk")),
        "peer 1 said that it pauses because of \"no disk\", then that it goes on; with the second, the first is to be given. \
         Given was {before:?}"
    );
    roster.heard(1, says(&"long ".repeat(10_000)), 3000);
    let kept = roster.paused(1).map_or(0, str::len);
    assert!(
        kept < 10_000,
        "peer 1 sent a text of 50000 bytes, and {kept} of them are kept: a stranger must not fill the manager's memory. Keep \
         `said.bounded()`"
    );
}

fn struck(_: u64) {
    let mut roster = with(2, 0);
    roster.peers.remove(&1);
    let heard = catch_unwind(AssertUnwindSafe(|| roster.heard(1, Activity::default(), 1000)));
    let Ok(heard) = heard else {
        panic!(
            "peer 1 was struck, and then its last `ok` arrives: `heard` panicked, and the manager's thread with it"
        );
    };
    assert!(
        heard.is_none(),
        "peer 1 was struck, and then its last `ok` arrives: to be given is None, and given was {heard:?}"
    );
    let rows: Vec<_> = roster.peers.keys().collect();
    assert!(
        rows == [&2],
        "peer 1 was struck, and then its last `ok` arrives: now the table has the rows {rows:?}, not only 2"
    );
}

fn pause(_: u64) {
    let mut roster = with(2, 0);
    ok(&mut roster, 1, 9000);
    ok(&mut roster, 2, 8000);
    // It hears nobody from 9100 to 19100, and looks at once.
    roster.excuse(10_000, 19_100);
    let story = "Peer 1 was heard last at 9000, peer 2 at 8000. Then the manager itself was stopped for 10000 ms, until 19100, \
                 which it excused: its own pause is not their silence";
    silent(&roster, 19_100, &[], story);
    silent(&roster, 21_000, &[2], &format!("{story}, but what was silence before the pause still is"));
    silent(&roster, 22_000, &[1, 2], &format!("{story}, but no more than the pause is excused"));
}

fn future(_: u64) {
    let mut roster = with(1, 0);
    ok(&mut roster, 1, 9900);
    roster.excuse(5000, 10_000);
    let heard = roster.peers[&1].heard;
    assert!(
        heard <= 10_000,
        "peer 1 was heard at 9900, near the end of a pause of the manager of 5000 ms, which it excused at 10000. Now `heard` is \
         {heard}: that is in the future, and the peer could be silent for so much longer"
    );
    silent(
        &roster,
        13_000,
        &[1],
        "Peer 1 was heard at 9900, and at 10000 the manager excused 5000 ms: silence begins at 10000",
    );
}

/// The plainest model: how long each peer was silent, counted up.
fn anything(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let (mut roster, mut model) = (Roster::new(Key::random()), BTreeMap::<PeerId, Millis>::new());
    // What has happened to each peer since it was heard last.
    let mut stories = BTreeMap::<PeerId, String>::new();
    let mut now = 50_000;
    for id in 1..=2000 {
        let step = rng.random_range(0..400);
        now += step;
        model.values_mut().for_each(|silence| *silence += step);
        let known: Vec<PeerId> = model.keys().copied().collect();
        let any = (!known.is_empty()).then(|| known[rng.random_range(0..known.len())]);
        match (rng.random_range(0..10), any) {
            (0..=6, Some(peer)) => {
                ok(&mut roster, peer, now);
                model.insert(peer, 0);
                stories.insert(peer, format!("at {now} it said `ok`"));
            }
            (7, Some(_)) => {
                let late = rng.random_range(0..1000);
                roster.excuse(late, now);
                model.values_mut().for_each(|silence| *silence = silence.saturating_sub(late));
                stories
                    .values_mut()
                    .for_each(|story| *story += &format!(", at {now} there were {late} ms to excuse"));
            }
            _ => {
                join(&mut roster, id, now);
                model.insert(id, 0);
                stories.insert(id, format!("at {now} it joined"));
            }
        }
        let list = roster.silent(DEAD_AFTER, now);
        for (peer, &silence) in &model {
            assert!(
                list.contains(peer) == (silence >= DEAD_AFTER),
                "seed {seed}, `dead_after` is {DEAD_AFTER}. Of peer {peer} this was heard last: {}. At {now} it has been silent \
                 for {silence} ms that count, and the list of silent peers is {list:?}",
                stories[peer]
            );
        }
        assert!(
            list.is_sorted(),
            "seed {seed}: the list of silent peers is not in the order of their numbers: {list:?}"
        );
        for peer in list {
            let known = model.remove(&peer).is_some();
            assert!(
                known,
                "seed {seed}: the list of silent peers names {peer} twice, or there is no such peer"
            );
            roster.peers.remove(&peer);
        }
    }
}
