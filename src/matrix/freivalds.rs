//! Is C really A·B? Freivalds' check.
//!
//! A peer that was asked for P = L·R sends an answer, and nobody wants to multiply again to see whether
//! it is right. Freivalds ("Probabilistic machines can use less running time", IFIP 1977): choose a
//! random vector x and compare P·x with L·(R·x). That is three products of a matrix and a vector, 2n^2
//! operations each instead of 2n^3. If P = L·R, the two sides agree for every x; if not, they differ for
//! almost every x. (Computing (L·R)·x instead would multiply first and save nothing.)
//!
//! ```
//! use peerlab::matrix::{Matrix, freivalds::{Verdict, check}, strassen::Plan};
//! let two = Matrix::from_vec(1, 1, vec![2.0])?;
//! let plan = Plan::new(1, 1, 1, 0);
//! let (left, right) = (plan.left(0, &two), plan.right(0, &two));
//! assert_eq!(check(&left, &right, &[4.0], &mut rand::rng()), Verdict::Right);
//! assert_eq!(check(&left, &right, &[5.0], &mut rand::rng()), Verdict::Wrong { row: 0 });
//! # Ok::<(), peerlab::error::Error>(())
//! ```
//!
//! # Which x
//!
//! Every x_j is ±v with an even coin for the sign and v drawn evenly from [1/2, 1). Let a right answer
//! move a row of the comparison by at most t (below), and let entry (i, j) of P be wrong by E.
//!
//! * If it is the only wrong entry of its row, the row moves by at least |E|/2: whenever |E| > 4t, it is
//!   found for certain. (With reals from [-1, 1), an unlucky x_j near zero would hide it.)
//! * If the row has other wrong entries, fix their x. The row looks right only if x_j falls into an interval
//!   of length 2t/|E|, and the density of x_j is nowhere above 1: the error is missed with a probability of
//!   at most 4t/|E|, the factor two covering t itself on both sides. (With x_j = ±1, two equal errors would
//!   cancel every other time; with x = (1, ..., 1), opposite ones always.)
//!
//! t is about 10^-7 of a typical entry of the product of random 2048 x 2048 matrices, so one vector is
//! enough. Nobody can prepare for x: it is drawn after the answer has arrived.
//!
//! # How large t is
//!
//! Floating-point numbers never agree exactly. What may a right answer be off by? With u = 2^-53, a
//! classical product over an inner size of k is off by at most k u Σ|l||r| <= k^2 u max|L| max|R| in every
//! entry. After l levels of Strassen down to blocks of k0 = k/2^l,
//!
//! ```text
//!     |P - L·R| <= e = [12^l (k0^2 + 5 k0) - 5 k] u max|L| max|R| + O(u^2)
//! ```
//!
//! (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., theorem 23.2: a bound by the largest
//! entries of the whole operands. No bound by the entries of one row exists for Strassen.) l is what
//! [`strassen::local_levels`] gives, because the serving peer runs the same program. Doubled, this leaves
//! room for kernels that add in another order.
//!
//! A row of P·x sums c such errors. They were made before the signs of x were drawn, so they add up like
//! coins: by Hoeffding's inequality the sum exceeds 10 √c e with a probability below 10^-21, and it never
//! exceeds c e. To this come the rounding errors of the check itself (bounded as sums of c, k and c terms)
//! and, for numbers near the end of the range, an underflow of 2^-1074 in each operation.
//!
//! Where magnitudes are such that the comparison itself would overflow or vanish, x is scaled by a power of
//! two, which changes no digit, and the check is run once more.

use rand::{Rng, RngExt};

use super::operand::{self, Operand};
use super::strassen;

/// Unit roundoff: no operation is off by more than this share of its result.
const UNIT: f64 = f64::EPSILON / 2.0;

/// The least positive number: what an operation may lose by underflow.
const TINY: f64 = 5e-324;

/// Magnitudes that are compared without scaling, as powers of two. Far from the ends at ±1022.
const COMFORTABLE: f64 = 900.0;

/// What the check found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Every row agrees within what rounding explains.
    Right,
    /// The product is wrong.
    Wrong {
        /// A row of the product in which no rounding explains the difference.
        row: usize,
    },
}

/// Is `product`, in row order, the product of the two operands?
///
/// The operands are taken to be finite. Costs one pass over the blocks of each operand and over the product.
///
/// # Panics
/// If the shapes do not fit.
pub fn check(left: &Operand<'_>, right: &Operand<'_>, product: &[f64], rng: &mut impl Rng) -> Verdict {
    let (rows, inner, cols) = (left.rows(), left.cols(), right.cols());
    assert_eq!(inner, right.rows(), "operands that fit");
    assert_eq!(Some(product.len()), rows.checked_mul(cols), "a product of {rows} x {cols}");
    if product.is_empty() {
        return Verdict::Right;
    }
    if inner == 0 {
        // An empty sum: zero, exactly.
        let wrong = product.iter().position(|x| *x != 0.0);
        return wrong.map_or(Verdict::Right, |at| Verdict::Wrong { row: at / cols });
    }
    let x: Vec<f64> = (0..cols).map(|_| probe(rng)).collect();
    let mut comparison = Comparison::new(left, right, product, &x, 1.0);
    if let Some(scale) = comparison.better_scale(inner, cols) {
        let x: Vec<f64> = x.iter().map(|x| x * scale).collect();
        comparison = Comparison::new(left, right, product, &x, scale);
    }
    let tolerance = comparison.tolerance(rows, inner, cols);
    // Not `>`: a NaN in the product makes every comparison with it false.
    let agrees = |(expected, got): (&f64, &f64)| (expected - got).abs() <= tolerance;
    match comparison.expected.iter().zip(&comparison.got).position(|pair| !agrees(pair)) {
        None => Verdict::Right,
        Some(row) => Verdict::Wrong { row },
    }
}

/// One entry of x: an even sign times a magnitude from [1/2, 1).
fn probe(rng: &mut impl Rng) -> f64 {
    let magnitude = 0.5 + rng.random::<f64>() / 2.0;
    if rng.random() { magnitude } else { -magnitude }
}

/// Both sides of the comparison, and the magnitudes that bound how far they may differ.
struct Comparison {
    /// L·(R·x).
    expected: Vec<f64>,
    /// P·x.
    got: Vec<f64>,
    /// x has entries below this.
    scale: f64,
    max_left: f64,
    max_right: f64,
    /// max |R·x|
    max_inner: f64,
}

impl Comparison {
    fn new(left: &Operand<'_>, right: &Operand<'_>, product: &[f64], x: &[f64], scale: f64) -> Self {
        let (y, max_right) = right.times_and_max(x);
        let (expected, max_left) = left.times_and_max(&y);
        let got = product.chunks_exact(x.len()).map(|row| operand::dot(row, x)).collect();
        Self { expected, got, scale, max_left, max_right, max_inner: operand::max_abs(&y) }
    }

    /// How far a row may be off when the product is right; see the module's page.
    fn tolerance(&self, rows: usize, inner: usize, cols: usize) -> f64 {
        let levels = strassen::local_levels(rows, inner, cols);
        let (k, c) = (inner as f64, cols as f64);
        let (splits, k0) = (2f64.powi(levels as i32), (inner as f64 / 2f64.powi(levels as i32)).ceil());
        // How errors of single entries, at most 1 each, add up in a row of P·x.
        let spread = self.scale * c.min(10.0 * c.sqrt());
        // A right product: Higham's bound, doubled, in units of max|L| max|R|.
        let answer = 2.0 * 12f64.powi(levels as i32) * (k0 * k0 + 5.0 * k0) * UNIT * spread;
        // P·x and, through L, R·x: sums of c terms, each at most k max|L| max|R|.
        let sums = 2.0 * k * c * summed(cols) * self.scale;
        let rounding = (answer + sums) * self.max_left * self.max_right;
        // L·y: a sum of k terms, each at most max|L| max|y|.
        let outer = k * summed(inner) * self.max_left * self.max_inner;
        // Underflow: in the product, in R·x (then multiplied by L), in L·y and in P·x.
        let underflow = TINY * (splits * splits * k * spread + k * c * self.max_left + k + c);
        rounding + outer + underflow
    }

    /// The power of two by which x should be scaled, if this comparison came too near to the ends of the
    /// range: R·x is at most 2^r, L·(R·x) at most 2^(r + l), and both are to lie around 1.
    fn better_scale(&self, inner: usize, cols: usize) -> Option<f64> {
        let r = (cols as f64).log2() + self.max_right.log2();
        let l = (inner as f64).log2() + self.max_left.log2();
        let zero = r == f64::NEG_INFINITY || l == f64::NEG_INFINITY;
        if zero || (r.abs() <= COMFORTABLE && (r + l).abs() <= COMFORTABLE) {
            return None;
        }
        Some(2f64.powi((-r - l / 2.0).clamp(-1000.0, 1000.0) as i32))
    }
}

/// The relative error of a sum of `terms` products as [`operand::dot`] forms it: a number of shorter sums,
/// added at the end.
fn summed(terms: usize) -> f64 {
    (terms.div_ceil(operand::LANES) + operand::LANES) as f64 * UNIT
}
