//! Exercise 8: part i of n, then rarest first.

use std::collections::BTreeSet;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::lab_runner::run;
use crate::share::Layout;

#[test]
fn checks() {
    run(
        module_path!(),
        &[
            (2, "split: neighbour i of n begins at part i", begins),
            (2, "split: it goes on behind its part, and round the end of the file", goes_on),
            (1, "split: only what is open and what the neighbour has", only_what_it_has),
            (2, "rarest: what the fewest have comes first", rarest),
            (1, "rarest: who never served us does not count", who_serves),
            (2, "rarest: among equally rare ones each downloader has another order", scattered),
        ],
    );
}

fn layout(pieces: u32) -> Layout {
    Layout::new(u64::from(pieces) * 1024, 1024).unwrap()
}

fn set(pieces: u32, has: impl IntoIterator<Item = u32>) -> Bitfield {
    Bitfield::of(layout(pieces), has.into_iter().map(|index| layout(pieces).piece(index).unwrap()))
}

/// A download of `pieces` pieces, of which some are there, from neighbours that have these; all serve.
fn download(order: PickOrder, seed: u64, have: Bitfield, neighbours: &[(NeighbourId, Bitfield)]) -> Picker {
    let mut picker = Picker { in_flight: 1000, ..Picker::new(have, order, seed) };
    for (neighbour, has) in neighbours {
        picker.joined(*neighbour, has.clone());
        picker.paced(*neighbour, false);
        picker.unchoked(*neighbour);
    }
    picker
}

/// Neighbours with numbers as the manager gives them, in order.
fn numbers(n: usize, rng: &mut StdRng) -> Vec<NeighbourId> {
    let mut numbers = BTreeSet::new();
    while numbers.len() < n {
        numbers.insert(rng.random_range(1_790_000..1_800_000));
    }
    numbers.into_iter().collect()
}

/// All that a neighbour is asked for.
fn asked(picker: &mut Picker, neighbour: NeighbourId) -> Vec<u32> {
    std::iter::from_fn(|| picker.next(neighbour)).map(Piece::index).collect()
}

fn begins(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for n in 1..8 {
        let pieces = rng.random_range(2 * n as u32..60);
        let numbers = numbers(n, &mut rng);
        let all: Vec<_> = numbers.iter().map(|&number| (number, Bitfield::full(layout(pieces)))).collect();
        let mut picker = download(PickOrder::Split, seed, set(pieces, []), &all);
        for (i, &number) in numbers.iter().enumerate() {
            let first = pieces as usize * i / n;
            let piece = picker.next(number).map(|piece| piece.index() as usize);
            let asked = piece.map_or("nothing".into(), |piece| format!("piece {piece}"));
            assert!(
                piece == Some(first),
                "{pieces} pieces, {n} neighbours with the numbers {numbers:?}, all have all: {number} is neighbour i = {i} of n = {n} \
                 and begins at piece {first} ({pieces} * {i} / {n}); you ask it for {asked}"
            );
        }
    }
}

fn goes_on(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for n in 1..6 {
        let pieces = rng.random_range(2 * n as u32..16);
        let numbers = numbers(n + 1, &mut rng);
        let (i, gone) = (rng.random_range(0..n), numbers[n]);
        let all: Vec<_> = numbers.iter().map(|&number| (number, Bitfield::full(layout(pieces)))).collect();
        let mut picker = download(PickOrder::Split, seed, set(pieces, []), &all);
        // Of n + 1 the last one leaves: n are there, and all of them but one choke.
        picker.left(gone);
        numbers[..n].iter().filter(|number| **number != numbers[i]).for_each(|number| picker.choked(*number));
        let first = (pieces as usize * i / n) as u32;
        let order: Vec<u32> = (first..pieces).chain(0..first).collect();
        let asked = asked(&mut picker, numbers[i]);
        let what = format!(
            "{pieces} pieces, {n} neighbours (one more has left); only neighbour i = {i} serves, so it is asked for all of them, \
             one after another, from {first} on and then round the end of the file"
        );
        assert!(asked.len() == order.len(), "{what}: you ask it for {asked:?} and then for nothing more");
        assert!(asked == order, "{what}: {order:?}. You ask it for {asked:?}");
    }
}

fn only_what_it_has(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..20 {
        let pieces = 16;
        let (ada, ben) = (rng.random_range(1..1 << 16), rng.random_range(0..1 << 16));
        let bits = |bits: u32| (0..pieces).filter(move |bit| bits >> bit & 1 == 1);
        let have = rng.random_range(0..1 << 16);
        let neighbours = [(7, set(pieces, bits(ada))), (9, set(pieces, bits(ben)))];
        let mut picker = download(PickOrder::Split, seed, set(pieces, bits(have)), &neighbours);
        let bens = asked(&mut picker, 9);
        let could: Vec<u32> =
            bits(ben & !have).filter(|piece| *piece >= 8).chain(bits(ben & !have & 0xff)).collect();
        assert!(
            bens == could,
            "16 pieces, of which {:?} are here; neighbour 1 of 2 has {:?}, and is to be asked for {could:?}: you ask it for {bens:?}",
            bits(have).collect::<Vec<_>>(),
            bits(ben).collect::<Vec<_>>()
        );
    }
}

/// Why an order is not by rarity, if it is one that is often seen.
fn why(order: &[u32], spread: &[u32]) -> &'static str {
    if order.is_sorted() {
        ". Your order is that of the file: all would want the same piece of the same neighbour, and have nothing to give"
    } else if order.is_sorted_by_key(|piece| u32::MAX - spread[*piece as usize]) {
        ". You begin with the most common: what one neighbour alone has is lost when that one leaves"
    } else {
        ""
    }
}

fn rarest(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    for _ in 0..20 {
        let (pieces, others) = (20, 6);
        let mut neighbours = vec![(1, Bitfield::full(layout(pieces)))];
        for number in 2..2 + others {
            let has: Vec<u32> = (0..pieces).filter(|_| rng.random()).collect();
            neighbours.push((number, set(pieces, has)));
        }
        let mut picker = download(PickOrder::Rarest, seed, set(pieces, []), &neighbours);
        let has = |piece: Piece| neighbours.iter().filter(|(_, has)| has.contains(piece)).count() as u32;
        let spread: Vec<u32> = layout(pieces).iter().map(has).collect();
        let order = asked(&mut picker, 1);
        assert!(
            order.len() == pieces as usize,
            "the only neighbour with all of {pieces} pieces was asked for {order:?} only"
        );
        for pair in order.windows(2) {
            let [one, other] = [pair[0], pair[1]].map(|piece| spread[piece as usize]);
            assert!(
                one <= other,
                "piece {} lies at {one} of 7 neighbours, and is asked for before piece {}, which lies at {other} of them{}",
                pair[0],
                pair[1],
                why(&order, &spread)
            );
        }
    }
}

fn who_serves(seed: u64) {
    // Piece 0 lies at Ada and at three that have never unchoked us, the others at Ada and Ben.
    let pieces = 5;
    let neighbours = [(1, Bitfield::full(layout(pieces))), (2, set(pieces, 1..pieces))];
    let mut picker = download(PickOrder::Rarest, seed, set(pieces, []), &neighbours);
    for number in 3..6 {
        picker.joined(number, set(pieces, [0]));
    }
    let first = picker.next(1).map_or("nothing".into(), |piece| piece.index().to_string());
    assert!(
        first == "0",
        "piece 0 lies at Ada and at three that have never unchoked us, the other four at Ada and at Ben, which both serve: what \
         lies at one that never gives can be had nowhere, so 0 is the rarest; you ask Ada for {first} first. `spread` counts that"
    );
}

fn scattered(seed: u64) {
    let pieces = 40;
    let order = |seed| {
        let ada = (1, Bitfield::full(layout(pieces)));
        asked(&mut download(PickOrder::Rarest, seed, set(pieces, []), &[ada]), 1)
    };
    let seeds = || (0..100).map(|n| seed.wrapping_mul(1_000_003).wrapping_add(n));
    let firsts: BTreeSet<u32> = seeds().map(|seed| order(seed)[0]).collect();
    assert!(
        firsts.len() > 20,
        "100 downloaders find 40 pieces at one seed, all equally rare. Your downloads begin with {firsts:?}: those that fetch the same piece have nothing to give to each other. Let `self.seed` decide between equals"
    );
    let (one, again) = (order(seed), order(seed));
    assert!(
        one == again,
        "with one seed a download asks for {one:?}, and the next time for {again:?}: draw nothing at random"
    );
}
