//! Exercise 6, first part: the random vector.

use rand::SeedableRng;
use rand::rngs::StdRng;

use super::*;
use crate::lab_runner::run;

#[test]
fn checks() {
    run(
        module_path!(),
        &[
            (1, "a single wrong entry cannot hide: no entry of x is near zero", single),
            (1, "two opposite errors in a row do not cancel", opposite),
            (1, "two equal errors in a row do not cancel", equal),
            (1, "half of the signs are minus", signs),
            (1, "x is scaled, and drawn from the generator that is given", scaled),
        ],
    );
}

/// So many entries of x.
fn drawn(seed: u64, scale: f64, entries: usize) -> Vec<f64> {
    let mut rng = StdRng::seed_from_u64(seed);
    (0..entries).map(|_| Reals::draw(scale, &mut rng)).collect()
}

fn single(seed: u64) {
    let x = drawn(seed, 1.0, 20_000);
    let small = x.iter().filter(|x| x.abs() < 0.5).count();
    if let Some((j, hides)) = x.iter().enumerate().find(|(_, x)| x.abs() < 0.5) {
        panic!(
            "{small} of {} entries of x are smaller than 1/2, first x_{j} = {hides:.6}. An entry of P in column {j} that is \
             wrong by E moves its row only by {hides:.6} E, and what the check allows for rounding may hide that",
            x.len()
        );
    }
}

/// In how many of 200 vectors two errors of one row cancel, the second `factor` times the first; and how it happens.
fn cancelled(seed: u64, factor: f64) -> Option<String> {
    let x = drawn(seed, 1.0, 400);
    let missed: Vec<_> = x.chunks(2).filter(|x| (x[0] + factor * x[1]).abs() < 1e-9).collect();
    let [j, k] = missed.first()?[..] else { return None };
    let row_sums = if x.iter().all(|other| *other == x[0]) {
        ". All entries of your x are equal: P x has the sums of the rows then, which are right"
    } else {
        ""
    };
    Some(format!(
        "with {} of 200 vectors, first with x_j = {j}, x_k = {k}, that is 0: the wrong product is accepted{row_sums}",
        missed.len()
    ))
}

fn opposite(seed: u64) {
    if let Some(how) = cancelled(seed, -1.0) {
        panic!(
            "P is wrong by +3 in one entry of a row, and by -3 in another of it (as when two entries are exchanged). The row \
             moves by 3 x_j - 3 x_k, and {how}"
        );
    }
}

fn equal(seed: u64) {
    if let Some(how) = cancelled(seed, 1.0) {
        panic!("P is wrong by +3 in two entries of a row. The row moves by 3 x_j + 3 x_k, and {how}");
    }
}

fn signs(seed: u64) {
    let minus = drawn(seed, 1.0, 10_000).into_iter().filter(|x| *x < 0.0).count();
    assert!(
        (4_700..5_300).contains(&minus),
        "of 10000 entries of x {minus} are below zero; about 5000 should be. The tolerance counts on even signs: only then do \
         the rounding errors of a row cancel each other for the most part"
    );
}

fn scaled(seed: u64) {
    for scale in [1.0, 2f64.powi(40), 2f64.powi(-300)] {
        if let Some(x) =
            drawn(seed, scale, 100).into_iter().find(|x| !(scale / 2.0..scale).contains(&x.abs()))
        {
            panic!(
                "scale is {scale:e}, so every entry of x is at least {:e} and below {scale:e}: yours is {x:e}",
                scale / 2.0
            );
        }
    }
    let (x, again) = (drawn(seed, 1.0, 9), drawn(seed, 1.0, 9));
    assert!(
        x == again,
        "two generators with seed {seed} make two vectors, {x:.3?} and {again:.3?}: draw from `rng` alone"
    );
}
