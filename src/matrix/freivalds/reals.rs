//! The check of reals, which allows for rounding. How much a right answer may be off by, the page of
//! [`freivalds`](super) derives.

use rand::{Rng, RngExt};

use super::super::LANES;
use super::super::micro::{Vector, fetch_ahead};
use super::super::strassen;
use super::probe::{Numbers, ProbeOf, Shared, padded};

/// Unit roundoff: no operation is off by more than this share of its result.
pub(super) const UNIT: f64 = f64::EPSILON / 2.0;

/// Vectors of sums that grow side by side: one alone would wait for itself.
const SUMS: usize = 4;

/// The least positive number: what an operation may lose by underflow.
const TINY: f64 = 5e-324;

/// Floating-point numbers.
pub(super) struct Reals;

impl Numbers for Reals {
    type Sum = f64;
    type Column = Vec<f64>;

    // lab 6
    /// An even sign times a magnitude from [1/2, 1), scaled.
    fn draw(scale: f64, rng: &mut impl Rng) -> f64 {
        let magnitude = scale * (0.5 + rng.random::<f64>() / 2.0);
        if rng.random() { magnitude } else { -magnitude }
    }

    fn column(numbers: Vec<f64>) -> Vec<f64> {
        numbers
    }

    fn plus(sum: f64, sign: f64, term: f64) -> f64 {
        sum + sign * term
    }

    #[inline(always)]
    fn times<V: Vector>(row: &[f64], column: &Vec<f64>, _: f64) -> (f64, f64) {
        let mut totals = ([V::splat(0.0); SUMS], [V::splat(0.0); SUMS]);
        let (column, column_end) = column[..row.len()].as_chunks::<LANES>();
        let (row, row_end) = row.as_chunks::<LANES>();
        for (row, column) in row.iter().zip(column) {
            fetch_ahead(row);
            weigh(row, column, &mut totals);
        }
        if !row_end.is_empty() {
            weigh(&padded(row_end), &padded(column_end), &mut totals);
        }
        let ([a, b, c, d], sizes) = totals;
        let (one, [mut sums, mut sizes_of_lanes]) = (V::splat(1.0), [[0.0; 8]; 2]);
        a.plus_product(b, one).plus_product(c.plus_product(d, one), one).write(&mut sums);
        sizes.into_iter().fold(V::splat(0.0), V::larger).write(&mut sizes_of_lanes);
        (sums.iter().sum(), sizes_of_lanes.into_iter().fold(0.0, f64::max))
    }

    fn distance(one: f64, other: f64) -> f64 {
        (one - other).abs()
    }

    /// See the page of [`freivalds`](super).
    fn tolerance(probe: &ProbeOf<'_, Self>) -> f64 {
        let Shared { plan, scale, right_max, .. } = probe.shared;
        let (rows, inner, cols) = plan.block();
        let levels = strassen::local_levels(rows, inner, cols);
        let (k, n) = (inner as f64, cols as f64);
        let splits = 2f64.powi(levels as i32);
        let k0 = (k / splits).ceil();
        // The magnitude of R and x together; with a chosen scale this is far from both ends of the range.
        let right = scale * right_max;
        let left = probe.left.max;
        // How errors of single entries, at most 1 each, add up in a row of P·x.
        let spread = n.min(10.0 * n.sqrt());
        // A right product: Higham's bound, doubled, in units of max|L| max|R|.
        let answer = 2.0 * 12f64.powi(levels as i32) * (k0 * k0 + 5.0 * k0) * UNIT * spread;
        // P·x and, through L, R·x: sums of n terms, each at most k max|L| max|R|; and R itself, a sum of blocks.
        let formed = 2.0 * plan.side() as f64 * UNIT;
        let sums = k * n * (2.0 * rounding(cols) + formed);
        // L·y with y = R·x: a sum of k terms, each at most max|L| max|y|.
        let outer = k * rounding(inner) * probe.max * left;
        // Underflow: in R·x (then multiplied by L), in the product, in L·y and in P·x.
        let underflow = TINY * left.max(1.0) * k * n + TINY * (splits * splits * k * spread * scale + k + n);
        (answer + sums) * right * left + outer + underflow
    }
}

/// The relative error of a row times a vector, a sum of `terms` products: partial sums, 4 lanes each at least, and then
/// their sum.
fn rounding(terms: usize) -> f64 {
    (terms.div_ceil(4 * SUMS) + LANES + 1) as f64 * UNIT
}

/// Adds as many products as there are lanes, and keeps the largest magnitudes of their first factors.
#[inline(always)]
fn weigh<V: Vector>(row: &[f64; LANES], vector: &[f64; LANES], totals: &mut ([V; SUMS], [V; SUMS])) {
    let (zero, minus_one, (sums, sizes)) = (V::splat(0.0), V::splat(-1.0), totals);
    for (i, at) in (0..LANES).step_by(V::LANES).enumerate() {
        let (x, y) = (V::read(&row[at..]), V::read(&vector[at..]));
        sums[i % SUMS] = sums[i % SUMS].plus_product(x, y);
        sizes[i % SUMS] = sizes[i % SUMS].larger(x).larger(zero.plus_product(x, minus_one));
    }
}
