//! Exercise 6, second part: P·x and L·(R·x), row by row.

use std::sync::atomic::{AtomicUsize, Ordering};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::lab_runner::run;

#[test]
fn checks() {
    run(
        module_path!(),
        &[
            (1, "a right product is right, also where rounding has moved it", right),
            (1, "one wrong entry is found, and its row is named", wrong),
            (1, "what is not a number is never right", no_number),
            (1, "an answer may come in portions", portions),
            (1, "every number is looked at once", once),
        ],
    );
}

/// How many numbers were multiplied by an entry of a vector.
static LOOKED: AtomicUsize = AtomicUsize::new(0);

/// What a sum may be off by here.
const TOLERANCE: f64 = 1e-9;

/// Numbers that count how often they are looked at.
#[derive(Debug)]
struct Counted;

impl Numbers for Counted {
    type Sum = f64;
    type Column = Vec<f64>;

    fn draw(scale: f64, rng: &mut impl Rng) -> f64 {
        scale * rng.random_range(0.5..1.0) * if rng.random() { 1.0 } else { -1.0 }
    }

    fn column(numbers: Vec<f64>) -> Vec<f64> {
        numbers
    }

    fn plus(sum: f64, sign: f64, term: f64) -> f64 {
        sum + sign * term
    }

    fn times<V: Vector>(row: &[f64], column: &Vec<f64>, _: f64) -> (f64, f64) {
        LOOKED.fetch_add(row.len(), Ordering::SeqCst);
        (row.iter().zip(column).map(|(a, x)| a * x).sum(), row.iter().fold(0.0, |max, a| a.abs().max(max)))
    }

    fn distance(one: f64, other: f64) -> f64 {
        (one - other).abs()
    }

    fn tolerance(_: &ProbeOf<'_, Self>) -> f64 {
        TOLERANCE
    }
}

/// One of the products of a plan, and what it is checked with.
struct Product {
    shared: Shared<Counted>,
    i: usize,
    left: Matrix,
    product: Matrix,
}

impl Product {
    /// One of seven, whose left operand has 11 rows of 13 entries, and whose right operand has 9 columns.
    fn new(seed: u64) -> Self {
        let mut rng = StdRng::seed_from_u64(seed);
        let (a, b) = (Matrix::random(22, 26, &mut rng), Matrix::random(26, 18, &mut rng));
        let plan = Plan::new(22, 26, 18, 1);
        let i = rng.random_range(0..7);
        let (mut left, mut right) = (Matrix::zeros(11, 13), Matrix::zeros(13, 9));
        plan.left(i, a.view()).fill_rows(0, left.as_mut_slice());
        plan.right(i, b.view()).fill_rows(0, right.as_mut_slice());
        let mut product = Matrix::zeros(11, 9);
        for (at, entry) in product.as_mut_slice().iter_mut().enumerate() {
            *entry = (0..13).map(|k| left.row(at / 9)[k] * right.row(k)[at % 9]).sum();
        }
        let entries = Entries { left: 1.0, right: 1.0, whole: false };
        Self { shared: Shared::new(plan, &b, entries, 1, &mut rng), i, left, product }
    }

    /// What the probe says of these rows of a product, and by how much the first row of the right one is off.
    fn verdicts(&self, rows: &Matrix, portion: usize) -> Vec<Verdict> {
        let mut probe = self.shared.probe(self.i, 1);
        self.left.as_slice().chunks(portion * 13).for_each(|rows| probe.left(rows));
        rows.as_slice().chunks(portion * 9).map(|rows| probe.check(rows)).collect()
    }

    fn with(&self, row: usize, col: usize, change: impl Fn(f64) -> f64) -> Matrix {
        let mut changed = self.product.clone();
        let entry = &mut changed.as_mut_slice()[9 * row + col];
        *entry = change(*entry);
        changed
    }
}

fn right(seed: u64) {
    let asked = Product::new(seed);
    // Rounded in another order: no entry is off by more than a few units in its last digit.
    let mut again = asked.product.clone();
    again.as_mut_slice().iter_mut().step_by(2).for_each(|entry| *entry *= 1.0 + 3.0 * f64::EPSILON);
    for product in [&asked.product, &again] {
        let verdict = asked.verdicts(product, 11)[0];
        assert!(
            verdict == Verdict::Right,
            "M{} of a 22 x 26 by 26 x 18 product of reals was computed rightly, and you say {verdict:?}. Its two sides differ by \
             rounding only, by less than 1e-13, and the tolerance is {TOLERANCE:e}",
            asked.i + 1
        );
    }
}

fn wrong(seed: u64) {
    let asked = Product::new(seed);
    let mut rng = StdRng::seed_from_u64(seed);
    for row in 0..11 {
        let (col, error) = (rng.random_range(0..9), [1e-6, -1e-6, 0.5, -1e3][row % 4]);
        let mut bad = asked.with(row, col, |entry| entry + error);
        // What is wrong behind it does not change which row is the first.
        bad.as_mut_slice()[9 * 10] += 7.0;
        let (verdict, expected) = (asked.verdicts(&bad, 11)[0], Verdict::Wrong { row });
        assert!(
            verdict == expected,
            "the entry in row {row}, column {col} of P is wrong by {error:e}, and the rows before it are right (rows count from 0): \
             {expected:?} is right, and you say {verdict:?}"
        );
    }
}

fn no_number(seed: u64) {
    let asked = Product::new(seed);
    for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let (verdict, expected) =
            (asked.verdicts(&asked.with(4, 8, |_| poison), 11)[0], Verdict::Wrong { row: 4 });
        assert!(
            verdict == expected,
            "P has {poison} in row 4: {expected:?} is right, and you say {verdict:?}. Every comparison with NaN is false, also \
             `distance > tolerance`"
        );
    }
}

fn portions(seed: u64) {
    let asked = Product::new(seed);
    let bad = asked.with(7, 2, |entry| entry + 1.0);
    for portion in [1, 2, 3, 5] {
        let verdicts = asked.verdicts(&asked.product, portion);
        if let Some(at) = verdicts.iter().position(|verdict| *verdict != Verdict::Right) {
            panic!(
                "a right product of 11 rows comes in portions of {portion}: of portion {at} (they count from 0) you say \
                 {:?}. Its rows are not the first ones of P: so many have been judged before",
                verdicts[at]
            );
        }
        for (at, verdict) in asked.verdicts(&bad, portion).into_iter().enumerate() {
            let expected = if at == 7 / portion { Verdict::Wrong { row: 7 } } else { Verdict::Right };
            assert!(
                verdict == expected,
                "a product of 11 rows comes in portions of {portion}, and row 7 is wrong: of portion {at} (they count from 0) \
                 {expected:?} is right, and you say {verdict:?}. All rows of a portion count as judged, also when one is wrong"
            );
        }
    }
}

fn once(seed: u64) {
    let asked = Product::new(seed);
    let mut probe = asked.shared.probe(asked.i, 1);
    LOOKED.store(0, Ordering::SeqCst);
    probe.left(asked.left.as_slice());
    let left = LOOKED.swap(0, Ordering::SeqCst);
    assert!(
        left == 11 * 13,
        "L has 11 x 13 = 143 numbers, and to multiply it by R x you have multiplied {left}"
    );
    probe.check(asked.product.as_slice());
    let product = LOOKED.swap(0, Ordering::SeqCst);
    assert!(
        product == 11 * 9,
        "P has 11 x 9 = 99 numbers, and to multiply it by x you have multiplied {product}: that is {} looks at each, and for n \
         rows n looks are as much work as to multiply again",
        product / 99
    );
}
