//! Is C really A·B? Freivalds' check.
//!
//! A peer that was asked for P = L·R sends an answer, and nobody wants to multiply again to see whether
//! it is right. Freivalds ("Probabilistic machines can use less running time", IFIP 1977): choose a
//! random vector x and compare P·x with L·(R·x). That is three products of a matrix and a vector, 2n^2
//! operations each instead of 2n^3. If P = L·R, the two sides agree for every x; if not, they differ for
//! almost every x. (Computing (L·R)·x instead would multiply first and save nothing.)
//!
//! Row i of P·x needs nothing of P but its row i. So an answer is judged row by row as it comes: what was
//! found right is used while it is still in the cache, no answer is ever stored, and a liar is found out at
//! the first wrong row. A [`Probe`] is shown L, while L is formed to be sent, and then the rows of P.
//!
//! R·x must be known before. But every R of a plan is a sum of blocks of B, so its R·x is the same sum of
//! products of these blocks and x. A [`Witness`] has them all from one look at B, with one x for all products.
//!
//! ```
//! use peerlab::matrix::{Matrix, freivalds::{Magnitudes, Verdict, check}};
//! let two = Matrix::from_vec(1, 1, vec![2.0])?;
//! let (four, five) = (Matrix::from_vec(1, 1, vec![4.0])?, Matrix::from_vec(1, 1, vec![5.0])?);
//! let largest = Magnitudes { left: 2.0, right: 2.0 };
//! assert_eq!(check(&two, &two, &four, largest, 1, &mut rand::rng()), Verdict::Right);
//! assert_eq!(check(&two, &two, &five, largest, 1, &mut rand::rng()), Verdict::Wrong { row: 0 });
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
//! * If the row has other wrong entries, fix their x. The row looks right only if x_j falls into an
//!   interval of length 2t/|E|, and the density of x_j is nowhere above 1: the error is missed with a
//!   probability of at most 4t/|E|, the factor two covering t itself on both sides. (With x_j = ±1, two equal
//!   errors would cancel every other time; with x = (1, ..., 1), opposite ones always.)
//!
//! t is about 10^-7 of a typical entry of the product of random 2048 x 2048 matrices, so one vector is
//! enough. Nobody can prepare for x: a new one is drawn for every multiply and never leaves this process. Nor can
//! a liar learn it by trying: a wrong answer is refused whatever x is, but for that probability, and after two
//! refusals nobody asks the liar again.
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
//! A row of P·x sums n such errors. They were made without knowing the signs of x, so they add up like
//! coins: by Hoeffding's inequality the sum exceeds 10 √n e with a probability below 10^-21, and it never
//! exceeds n e. To this come the rounding errors of the check itself (bounded as sums of n, n and k terms, and
//! of as many as R has blocks: once where the peer's R was added up, once where R·x is) and, for numbers near
//! the end of the range, an underflow of 2^-1074 in each operation.
//!
//! Where magnitudes are such that the comparison itself would overflow or vanish, x is scaled by a power of
//! two, which changes no digit.

use rand::{Rng, RngExt};

use super::micro::{Kernel, Vector, Vectorized};
use super::strassen::{self, Plan};
use super::{LANES, Matrix, max_abs, on_threads};

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
        /// The first row of the product in which no rounding explains the difference.
        row: usize,
    },
}

/// No entry of the operands is larger than this. It need not be exact: it says how x is to be scaled.
#[derive(Clone, Copy, Debug)]
pub struct Magnitudes {
    /// In the left operand.
    pub left: f64,
    /// In the right operand.
    pub right: f64,
}

/// Is `c` the product of `a` and `b`? For matrices that are all in memory, on `threads` threads.
///
/// # Panics
/// If the shapes do not fit.
pub fn check(
    a: &Matrix,
    b: &Matrix,
    c: &Matrix,
    largest: Magnitudes,
    threads: usize,
    rng: &mut impl Rng,
) -> Verdict {
    assert_eq!(a.cols(), b.rows(), "operands that fit");
    assert_eq!((c.rows(), c.cols()), (a.rows(), b.cols()), "the shape of the product");
    if c.as_slice().is_empty() {
        // However many rows it may have: nothing in them can be wrong.
        return Verdict::Right;
    }
    let plan = Plan::new(a.rows(), a.cols(), b.cols(), 0);
    let witness = Witness::new(plan, b, largest, threads, rng);
    let mut probe = witness.probe(0);
    probe.threads = threads;
    probe.left(a.as_slice());
    probe.check(c.as_slice())
}

/// What the checks of all products of one plan share: x, and its products with the blocks of B.
#[derive(Debug)]
pub struct Witness {
    plan: Plan,
    /// x has entries below this.
    scale: f64,
    x: Vec<f64>,
    /// Row j holds row j of B times x: one number for each block that the row is cut into.
    blocks: Matrix,
    /// No entry of a right operand is larger.
    right_max: f64,
}

impl Witness {
    /// For the products of this plan, of which B is the right matrix and `largest` bounds the operands. All
    /// of B is read, by `threads` threads.
    ///
    /// # Panics
    /// If `b` has another shape than the plan.
    pub fn new(plan: Plan, b: &Matrix, largest: Magnitudes, threads: usize, rng: &mut impl Rng) -> Self {
        let ((_, inner, cols), (_, depth, in_block)) = (plan.shape(), plan.block());
        assert_eq!((b.rows(), b.cols()), (inner, cols), "the right matrix of the plan");
        let scale = scale(depth, in_block, largest);
        let x: Vec<f64> = (0..in_block).map(|_| scale * entry(rng)).collect();
        let side = 1 << plan.levels();
        let mut blocks = Matrix::zeros(inner, side);
        let max = times_blocks(b.as_slice(), cols, &x, blocks.as_mut_slice(), threads);
        Self { plan, scale, x, blocks, right_max: max * side as f64 }
    }

    /// The check of product `i`.
    ///
    /// # Panics
    /// If `i` is not below [`Plan::products`].
    pub fn probe(&self, i: usize) -> Probe<'_> {
        let ((rows, inner, _), (height, depth, _)) = (self.plan.shape(), self.plan.block());
        // A plan for A·(B·x): its right operands are what those of the plan for A·B are, times x.
        let plan = Plan::new(rows, inner, self.blocks.cols(), self.plan.levels());
        let mut right = vec![0.0; depth];
        plan.right(i, &self.blocks).fill_rows(0, &mut right);
        let max = max_abs(&right);
        Probe { witness: self, right, max, left: Times::new(height), judged: 0, threads: 1 }
    }
}

/// The check of one product: R·x, and what it becomes when L passes.
#[derive(Debug)]
pub struct Probe<'w> {
    witness: &'w Witness,
    /// R·x.
    right: Vec<f64>,
    /// Its largest magnitude.
    max: f64,
    /// L·(R·x), as far as L has passed.
    left: Times,
    /// How many rows of the product have been judged.
    judged: usize,
    /// How many threads share the rows that pass at once.
    threads: usize,
}

impl Probe<'_> {
    /// The next rows of the left operand.
    ///
    /// # Panics
    /// If there are more rows than it has, or not whole ones.
    pub fn left(&mut self, rows: &[f64]) {
        self.left.pass(rows, &self.right, self.threads);
    }

    /// Are these the next rows of the product of the operands that have passed?
    ///
    /// # Panics
    /// If there are more rows than it has, or not whole ones, or rows of the operands are missing.
    pub fn check(&mut self, rows: &[f64]) -> Verdict {
        // Rows without entries never pass.
        assert!(self.right.is_empty() || self.left.passed == self.left.sums.len(), "all of L has passed");
        let x = &self.witness.x;
        let mut got = Times::new(rows.len() / x.len().max(1));
        got.pass(rows, x, self.threads);
        let tolerance = self.tolerance();
        let expected = &self.left.sums[self.judged..][..got.sums.len()];
        // Not `>`: a NaN in the product makes every comparison with it false.
        let agrees = |(expected, got): (&f64, &f64)| (expected - got).abs() <= tolerance;
        let wrong = expected.iter().zip(&got.sums).position(|pair| !agrees(pair));
        let first = self.judged;
        self.judged += got.sums.len();
        wrong.map_or(Verdict::Right, |row| Verdict::Wrong { row: first + row })
    }

    /// How far a row may be off when the product is right; see the module's page.
    fn tolerance(&self) -> f64 {
        let Witness { plan, scale, right_max, .. } = self.witness;
        let (rows, inner, cols) = plan.block();
        let levels = strassen::local_levels(rows, inner, cols);
        let (k, n) = (inner as f64, cols as f64);
        let splits = 2f64.powi(levels as i32);
        let k0 = (k / splits).ceil();
        // The magnitude of R and x together; with a chosen scale this is far from both ends of the range.
        let probe = scale * right_max;
        // How errors of single entries, at most 1 each, add up in a row of P·x.
        let spread = n.min(10.0 * n.sqrt());
        // A right product: Higham's bound, doubled, in units of max|L| max|R|.
        let answer = 2.0 * 12f64.powi(levels as i32) * (k0 * k0 + 5.0 * k0) * UNIT * spread;
        // P·x and, through L, R·x: sums of n terms, each at most k max|L| max|R|; and R itself, a sum of blocks.
        let formed = 2.0 * self.witness.blocks.cols() as f64 * UNIT;
        let sums = k * n * (2.0 * rounding(cols) + formed);
        // L·y with y = R·x: a sum of k terms, each at most max|L| max|y|.
        let outer = k * rounding(inner) * self.max * self.left.max;
        // Underflow: in R·x (then multiplied by L), in the product, in L·y and in P·x.
        let underflow =
            TINY * self.left.max.max(1.0) * k * n + TINY * (splits * splits * k * spread * scale + k + n);
        (answer + sums) * probe * self.left.max + outer + underflow
    }
}

/// One entry of x: an even sign times a magnitude from [1/2, 1).
fn entry(rng: &mut impl Rng) -> f64 {
    let magnitude = 0.5 + rng.random::<f64>() / 2.0;
    if rng.random() { magnitude } else { -magnitude }
}

/// The power of two by which x is scaled, so that the comparison stays away from the ends of the range: R·x
/// is at most 2^r, L·(R·x) at most 2^(r + l), and if need be both are brought to lie around 1.
fn scale(inner: usize, cols: usize, largest: Magnitudes) -> f64 {
    let r = (cols as f64).log2() + largest.right.log2();
    let l = (inner as f64).log2() + largest.left.log2();
    let zero = r == f64::NEG_INFINITY || l == f64::NEG_INFINITY;
    if zero || (r.abs() <= COMFORTABLE && (r + l).abs() <= COMFORTABLE) {
        return 1.0;
    }
    2f64.powi((-r - l / 2.0).clamp(-1000.0, 1000.0) as i32)
}

/// The relative error of a row times a vector, a sum of `terms` products: as many partial sums as there are
/// lanes, and then their sum.
fn rounding(terms: usize) -> f64 {
    (terms.div_ceil(LANES) + LANES + 1) as f64 * UNIT
}

/// Rows of `cols` entries, each cut into blocks as long as x, times x: a number for each block into `out`,
/// row after row. Returns the largest magnitude in the rows. On so many threads.
fn times_blocks(rows: &[f64], cols: usize, x: &[f64], out: &mut [f64], threads: usize) -> f64 {
    if rows.is_empty() {
        return 0.0;
    }
    let count = rows.len() / cols;
    let (share, blocks) = (count.div_ceil(threads.max(1)), out.len() / count);
    let parts = rows.chunks(share * cols).zip(out.chunks_mut(share * blocks)).collect();
    let times = |(rows, out)| Kernel::best().run(TimesBlocks { rows, cols, x, out, blocks });
    on_threads("times_blocks", parts, times).into_iter().fold(0.0, f64::max)
}

/// [`times_blocks`] on one thread, to be compiled for all kinds of vectors.
struct TimesBlocks<'t> {
    rows: &'t [f64],
    cols: usize,
    x: &'t [f64],
    out: &'t mut [f64],
    blocks: usize,
}

impl Vectorized for TimesBlocks<'_> {
    type Answer = f64;

    #[inline(always)]
    fn run<V: Vector, const MR: usize, const NV: usize>(self) -> f64 {
        let mut maxima = [0.0; LANES];
        for (row, out) in self.rows.chunks_exact(self.cols).zip(self.out.chunks_exact_mut(self.blocks)) {
            for (block, out) in row.chunks(self.x.len()).zip(out) {
                let mut sums = [0.0; LANES];
                let (x, x_end) = self.x[..block.len()].as_chunks::<LANES>();
                let (block, block_end) = block.as_chunks::<LANES>();
                for (block, x) in block.iter().zip(x) {
                    weigh(block, x, &mut sums, &mut maxima);
                }
                if !block_end.is_empty() {
                    weigh(&padded(block_end), &padded(x_end), &mut sums, &mut maxima);
                }
                *out = sums.iter().sum();
            }
        }
        maxima.into_iter().fold(0.0, f64::max)
    }
}

/// The end of a row, filled up with zeros.
#[inline(always)]
fn padded(rest: &[f64]) -> [f64; LANES] {
    let mut whole = [0.0; LANES];
    whole[..rest.len()].copy_from_slice(rest);
    whole
}

/// Adds as many products as there are lanes, and keeps the largest magnitudes of their first factors.
#[inline(always)]
fn weigh(row: &[f64; LANES], vector: &[f64; LANES], sums: &mut [f64; LANES], maxima: &mut [f64; LANES]) {
    for (((x, y), sum), max) in row.iter().zip(vector).zip(sums).zip(maxima) {
        *sum += x * y;
        *max = if x.abs() > *max { x.abs() } else { *max };
    }
}

/// A matrix whose rows pass in order, some at a time, times a vector.
#[derive(Debug)]
struct Times {
    /// One for each row; zero until it has passed.
    sums: Vec<f64>,
    /// How many rows have passed.
    passed: usize,
    /// The largest magnitude in them.
    max: f64,
}

impl Times {
    fn new(rows: usize) -> Self {
        Self { sums: vec![0.0; rows], passed: 0, max: 0.0 }
    }

    fn pass(&mut self, rows: &[f64], vector: &[f64], threads: usize) {
        if vector.is_empty() {
            return;
        }
        assert_eq!(rows.len() % vector.len(), 0, "whole rows of {} entries", vector.len());
        let count = rows.len() / vector.len();
        let sums = &mut self.sums[self.passed..][..count];
        self.max = self.max.max(times_blocks(rows, vector.len(), vector, sums, threads));
        self.passed += count;
    }
}

#[cfg(test)]
mod tests;
