//! Exercise 9: tit-for-tat.

use std::collections::BTreeSet;
use std::panic::catch_unwind;

use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

use super::Occasion::{Change, OptimisticRound, Round};
use super::Service::{Choked, Optimistic, Regular};
use super::*;
use crate::lab_runner::run;

#[test]
fn checks() {
    run(
        module_path!(),
        &[
            (1, "those that give most are served", top),
            (1, "a seeder ranks by what it sends", seeder),
            (1, "only a peer that is interested takes a place", bored),
            (1, "a change takes no place away", in_use),
            (1, "a free place is filled at once", free),
            (1, "between equals, one that is served now stays", equals),
            (1, "among those that are still equal it is drawn", drawn),
            (1, "one of the others is served at random, and each may be the one", at_random),
            (1, "the optimist keeps its place for thirty seconds", keeps),
            (1, "after thirty seconds it is the turn of another one", turn),
        ],
    );
}

const NAMES: [&str; 10] = ["Ada", "Ben", "Cyd", "Dee", "Eve", "Fay", "Gus", "Hal", "Ida", "Jon"];

fn name(peer: u64) -> &'static str {
    NAMES[peer as usize]
}

/// It is interested, gives us `received` kB/s, and takes 100 - `received` from us.
fn peer(peer: u64, service: Service, received: u64) -> Contender {
    Contender { peer, interested: true, service, received, sent: 100 - received }
}

/// "Ada gives 30, takes 70, is choked".
fn told(contenders: &[Contender]) -> String {
    let one = |c: &Contender| {
        let place = match c.service {
            Choked => "is choked",
            Regular => "has a regular place",
            Optimistic => "is the optimist",
        };
        let bored = if c.interested { "" } else { ", is not interested" };
        format!("{} gives {}, takes {}, {place}{bored}", name(c.peer), c.received, c.sent)
    };
    contenders.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Those with a regular place, by name, and the optimists.
fn judged(all: &[Contender], unchoke: usize, seeding: bool, when: Occasion, seed: u64) -> [Vec<u64>; 2] {
    let served = judge(all, unchoke, seeding, when, &mut StdRng::seed_from_u64(seed));
    [Regular, Optimistic].map(|wanted| {
        let mut those: Vec<u64> =
            served.iter().filter(|(_, how)| *how == wanted).map(|(peer, _)| *peer).collect();
        those.sort_unstable();
        those
    })
}

fn names(peers: &[u64]) -> String {
    if peers.is_empty() {
        "nobody".into()
    } else {
        peers.iter().map(|id| name(*id)).collect::<Vec<_>>().join(", ")
    }
}

/// `n` choked peers whose rates all differ, in any order.
fn crowd(n: u64, seed: u64) -> Vec<Contender> {
    let mut rates: Vec<u64> = (0..n).map(|i| 10 * i + 5).collect();
    rates.shuffle(&mut StdRng::seed_from_u64(seed));
    (0..n).zip(rates).map(|(id, rate)| peer(id, Choked, rate)).collect()
}

fn top(seed: u64) {
    for (n, unchoke) in [(4, 2), (8, 4), (10, 4), (3, 4), (0, 4), (6, 0)] {
        let all = crowd(n, seed);
        let mut ranking: Vec<_> = all.iter().collect();
        ranking.sort_by_key(|c| std::cmp::Reverse(c.received));
        let mut best: Vec<u64> = ranking.iter().take(unchoke).map(|c| c.peer).collect();
        best.sort_unstable();
        let [regular, _] = judged(&all, unchoke, false, Round, seed);
        assert!(
            regular == best,
            "a peer that downloads, {unchoke} places, a round: {}. Regular places are for {}; you give them to {}",
            told(&all),
            names(&best),
            names(&regular)
        );
    }
}

fn seeder(seed: u64) {
    let all = crowd(5, seed);
    let mut ranking: Vec<_> = all.iter().collect();
    ranking.sort_by_key(|c| c.received); // What it takes is the opposite.
    let mut best: Vec<u64> = ranking.iter().take(2).map(|c| c.peer).collect();
    best.sort_unstable();
    let [regular, _] = judged(&all, 2, true, Round, seed);
    assert!(
        regular == best,
        "a seeder, 2 places, a round: {}. A seeder needs nothing, so it ranks by what it sends: regular places are for {}; you \
         give them to {}",
        told(&all),
        names(&best),
        names(&regular)
    );
}

fn bored(seed: u64) {
    let mut all = crowd(6, seed);
    // Who gives most, and one of the others, have all that is here.
    let best = (0..6).max_by_key(|at| all[*at].received).unwrap_or_default();
    for at in [best, (best + 1) % 6] {
        all[at].interested = false;
        all[at].service = Regular;
    }
    for when in [Change, Round, OptimisticRound] {
        let [regular, optimist] = judged(&all, 3, false, when, seed);
        for id in regular.iter().chain(&optimist) {
            assert!(
                all[*id as usize].interested,
                "3 places: {}. {} is not interested, it lacks nothing that is here, and you give it a place",
                told(&all),
                name(*id)
            );
        }
        assert!(
            regular.len() == 3,
            "3 places, and 4 peers that are interested: {}. Regular places are for 3 of those, and you give them to {}",
            told(&all),
            names(&regular)
        );
    }
}

fn in_use(seed: u64) {
    // Ada and Ben are served and give little; Dee has just come, and gives much.
    let all = [peer(0, Regular, 5), peer(1, Regular, 1), peer(2, Optimistic, 0), peer(3, Choked, 99)];
    for seed in seed * 100..seed * 100 + 20 {
        let [regular, optimist] = judged(&all, 2, false, Change, seed);
        assert!(
            regular == [0, 1] && optimist == [2],
            "2 places and the optimist's, all in use, and Dee has just come (a change, no round): {}. Every choke voids requests, \
             so until the round nobody loses a place that is in use: Ada, Ben stay, and Cyd is the optimist. You serve {}, and at \
             random {}",
            told(&all),
            names(&regular),
            names(&optimist)
        );
    }
}

fn free(seed: u64) {
    // A third regular peer has left.
    let all = [peer(0, Regular, 5), peer(1, Optimistic, 1), peer(2, Choked, 50), peer(3, Choked, 60)];
    let [regular, optimist] = judged(&all, 2, false, Change, seed);
    assert!(
        regular == [0, 3] && optimist == [1],
        "2 places and the optimist's; a peer with a regular place has just left (a change): {}. The free place goes to Dee at once, \
         which gives most of the others; to wait until the next round would leave the link idle for ten seconds. You serve {}, and \
         at random {}",
        told(&all),
        names(&regular),
        names(&optimist)
    );
    let all = [peer(0, Regular, 5), peer(1, Regular, 1), peer(2, Choked, 50)];
    let [regular, optimist] = judged(&all, 2, false, Change, seed);
    assert!(
        regular == [0, 1] && optimist == [2],
        "2 places and the optimist's; the optimist has just left (a change): {}. A free place is filled at once, so Cyd is the \
         optimist. You serve {}, and at random {}",
        told(&all),
        names(&regular),
        names(&optimist)
    );
}

fn equals(seed: u64) {
    let all =
        [peer(0, Choked, 7), peer(1, Choked, 7), peer(2, Regular, 7), peer(3, Choked, 7), peer(4, Choked, 9)];
    for seed in seed * 100..seed * 100 + 20 {
        let [regular, _] = judged(&all, 2, false, Round, seed);
        assert!(
            regular == [2, 4],
            "2 places, a round: {}. Eve is first. Of the equals Cyd is served now and stays, because every choke voids requests. You \
             serve {}",
            told(&all),
            names(&regular)
        );
    }
}

fn drawn(seed: u64) {
    let equals = |n| (0..n).map(|id| peer(id, Choked, 7)).collect::<Vec<_>>();
    let six = equals(6);
    let served = |n| judged(&six, 2, false, Round, seed * 1000 + n);
    let served: BTreeSet<u64> = (0..200).flat_map(|n| served(n)[0].clone()).collect();
    let never: Vec<u64> = (0..6).filter(|id| !served.contains(id)).collect();
    assert!(
        never.is_empty(),
        "200 rounds with 2 places and six choked peers that give 7 each: {} never get a regular place. Draw among equals, or the \
         same ones always win",
        names(&never)
    );
    // A sort of twenty or fewer does not notice.
    let forty = equals(40);
    for seed in seed * 100..seed * 100 + 20 {
        let judged = catch_unwind(|| judged(&forty, 4, false, Round, seed));
        assert!(
            judged.is_ok(),
            "a round with 4 places and forty peers that are all equal: `judge` panics. A sort asks for its key many times, and a \
             random number in it is another one each time: `sort_by_cached_key` asks once for each"
        );
    }
}

fn at_random(seed: u64) {
    let all = crowd(7, seed);
    let mut drawn = BTreeSet::new();
    for seed in seed * 1000..seed * 1000 + 200 {
        let [regular, optimist] = judged(&all, 2, false, Round, seed);
        assert!(
            optimist.len() == 1 && !regular.contains(&optimist[0]),
            "2 regular places and 7 peers that are interested: one of the other five is served at random, whatever it gives, or a \
             newcomer would never get its first piece. Your optimist is {}",
            names(&optimist)
        );
        drawn.extend(optimist);
    }
    assert!(
        drawn.len() == 5,
        "200 times one of five is drawn at random, and only {} of them ever: {}",
        drawn.len(),
        names(&drawn.into_iter().collect::<Vec<_>>())
    );
}

fn keeps(seed: u64) {
    let mut all = crowd(7, seed);
    all[0] = peer(0, Optimistic, 0);
    for seed in seed * 100..seed * 100 + 20 {
        for when in [Change, Round] {
            let [_, optimist] = judged(&all, 2, false, when, seed);
            assert!(
                optimist == [0],
                "2 places, {when:?}: {}. Ada is the optimist until the thirty seconds are over, so that it has the time to show what \
                 it gives. You make it {}",
                told(&all),
                names(&optimist)
            );
        }
    }
    // It has shown it.
    all[0] = peer(0, Optimistic, 99);
    let [regular, optimist] = judged(&all, 2, false, Round, seed);
    assert!(
        regular.contains(&0) && optimist.len() == 1 && optimist != [0],
        "2 places, Round: {}. Ada gives most, so its place is a regular one now, and another one is the optimist. You serve {}, and \
         at random {}",
        told(&all),
        names(&regular),
        names(&optimist)
    );
}

fn turn(seed: u64) {
    let mut all = crowd(5, seed);
    let last = (0..5).min_by_key(|at| all[*at].received).unwrap_or_default();
    all[last].service = Optimistic;
    for seed in seed * 100..seed * 100 + 30 {
        let [_, optimist] = judged(&all, 2, false, OptimisticRound, seed);
        assert!(
            optimist.len() == 1 && optimist != [last as u64],
            "2 places, the thirty seconds are over: {}. {} was the optimist; now it is the turn of another one. You make it {}",
            told(&all),
            name(last as u64),
            names(&optimist)
        );
    }
    let alone = [peer(0, Regular, 5), peer(1, Optimistic, 0)];
    let [_, optimist] = judged(&alone, 1, false, OptimisticRound, seed);
    assert!(
        optimist == [1],
        "1 place, the thirty seconds are over: {}. Nobody else could be the optimist, so Ben stays. You make it {}",
        told(&alone),
        names(&optimist)
    );
}
