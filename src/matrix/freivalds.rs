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
//! use peerlab::matrix::{Matrix, freivalds::{Entries, Verdict, check}};
//! let two = Matrix::from_vec(1, 1, vec![2.0])?;
//! let (four, five) = (Matrix::from_vec(1, 1, vec![4.0])?, Matrix::from_vec(1, 1, vec![5.0])?);
//! let entries = Entries::of(&two, &two);
//! assert_eq!(check(&two, &two, &four, entries, 1, &mut rand::rng()), Verdict::Right);
//! assert_eq!(check(&two, &two, &five, entries, 1, &mut rand::rng()), Verdict::Wrong { row: 0 });
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
//! Products of whole numbers, while they are exact, are checked exactly: without any t, modulo a prime
//! (`freivalds/whole.rs`).
//!
//! Where magnitudes are such that the comparison itself would overflow or vanish, x is scaled by a power of
//! two, which changes no digit.

use std::fmt::Debug;

use rand::Rng;

use self::reals::Reals;
use self::whole::Whole;
use super::micro::{Kernel, Vector, Vectorized};
use super::strassen::Plan;
use super::{Matrix, on_threads};

mod reals;
pub(super) mod whole;

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

/// What is known of the entries of two operands.
#[derive(Clone, Copy, Debug)]
pub struct Entries {
    /// The largest magnitude in the left operand.
    pub left: f64,
    /// The largest magnitude in the right operand.
    pub right: f64,
    /// All are whole numbers.
    pub whole: bool,
}

impl Entries {
    /// Of these two matrices. Both are read, at the same time.
    pub fn of(a: &Matrix, b: &Matrix) -> Self {
        let look = |matrix: &Matrix| (matrix.max_abs(), whole::are_whole(matrix.as_slice()));
        let found = on_threads("look", vec![a, b], look);
        Self { left: found[0].0, right: found[1].0, whole: found.iter().all(|(_, whole)| *whole) }
    }

    /// Whether the product by this plan is exact: all are whole, and so is every sum on the way.
    pub fn exact(&self, plan: Plan) -> bool {
        self.whole && plan.bound(self.left, self.right) <= whole::EXACT
    }
}

/// Is `c` the product of `a` and `b`? For matrices that are all in memory, on `threads` threads.
///
/// # Panics
/// If the shapes do not fit.
pub fn check(
    a: &Matrix,
    b: &Matrix,
    c: &Matrix,
    entries: Entries,
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
    let witness = Witness::new(plan, b, entries, threads, rng);
    let mut probe = witness.probe(0, threads);
    probe.left(a.as_slice());
    probe.check(c.as_slice())
}

/// What the checks of all products of one plan share: x, and its products with the blocks of B.
#[derive(Debug)]
pub struct Witness(Kind);

#[derive(Debug)]
enum Kind {
    Reals(Shared<Reals>),
    Whole(Shared<Whole>),
}

impl Witness {
    /// For the products of this plan, of which B is the right matrix, with such entries in A and B. All of B
    /// is read, by `threads` threads.
    ///
    /// # Panics
    /// If `b` has another shape than the plan.
    pub fn new(plan: Plan, b: &Matrix, entries: Entries, threads: usize, rng: &mut impl Rng) -> Self {
        Self(match entries.exact(plan) {
            true => Kind::Whole(Shared::new(plan, b, entries, threads, rng)),
            false => Kind::Reals(Shared::new(plan, b, entries, threads, rng)),
        })
    }

    /// The check of product `i`; `threads` threads share the rows that pass at once.
    ///
    /// # Panics
    /// If `i` is not below [`Plan::products`].
    pub fn probe(&self, i: usize, threads: usize) -> Box<dyn Probe + '_> {
        match &self.0 {
            Kind::Reals(shared) => Box::new(shared.probe(i, threads)),
            Kind::Whole(shared) => Box::new(shared.probe(i, threads)),
        }
    }
}

/// The check of one product.
pub trait Probe {
    /// The next rows of the left operand.
    ///
    /// # Panics
    /// If there are more rows than it has, or not whole ones.
    fn left(&mut self, rows: &[f64]);

    /// Are these the next rows of the product of the operands that have passed?
    ///
    /// # Panics
    /// If there are more rows than it has, or not whole ones, or rows of the operands are missing.
    fn check(&mut self, rows: &[f64]) -> Verdict;
}

/// The numbers that a check computes with.
trait Numbers: Sized + 'static {
    /// A row times a vector.
    type Sum: Copy + Debug + Default + Send + Sync;
    /// A vector that many rows are multiplied by.
    type Column: Debug + Send + Sync;

    /// An entry of x, scaled if that makes a difference.
    fn draw(scale: f64, rng: &mut impl Rng) -> Self::Sum;

    fn column(numbers: Vec<Self::Sum>) -> Self::Column;

    /// `sum + sign * term`.
    fn plus(sum: Self::Sum, sign: f64, term: Self::Sum) -> Self::Sum;

    /// A row times the first entries of a column, and the largest magnitude in the row.
    fn times<V: Vector>(row: &[f64], column: &Self::Column) -> (Self::Sum, f64);

    fn distance(one: Self::Sum, other: Self::Sum) -> f64;

    /// How far a row may be off when the product is right.
    fn tolerance(probe: &ProbeOf<'_, Self>) -> f64;
}

/// [`Witness`], in some numbers.
#[derive(Debug)]
struct Shared<N: Numbers> {
    plan: Plan,
    /// x has entries below this.
    scale: f64,
    x: N::Column,
    /// Row j holds row j of B times x: one number for each block that the row is cut into.
    blocks: Vec<N::Sum>,
    /// No entry of a right operand is larger.
    right_max: f64,
}

impl<N: Numbers> Shared<N> {
    fn new(plan: Plan, b: &Matrix, entries: Entries, threads: usize, rng: &mut impl Rng) -> Self {
        let ((_, inner, cols), (_, depth, in_block)) = (plan.shape(), plan.block());
        assert_eq!((b.rows(), b.cols()), (inner, cols), "the right matrix of the plan");
        // Each level may double the entries of an operand.
        let grown = plan.side() as f64;
        let scale = scale(depth, in_block, entries.left * grown, entries.right * grown);
        let x = N::column((0..in_block).map(|_| N::draw(scale, rng)).collect());
        let mut blocks = Times::<N>::new(inner * plan.side());
        blocks.pass(b.as_slice(), cols, in_block, &x, threads);
        Self { plan, scale, x, blocks: blocks.sums, right_max: blocks.max * grown }
    }

    fn probe(&self, i: usize, threads: usize) -> ProbeOf<'_, N> {
        let ((_, inner, _), (height, depth, _)) = (self.plan.shape(), self.plan.block());
        // The right operand times x: the sum of its blocks, each times x.
        let blocks = self.plan.right_blocks(i);
        let row = |j| {
            let inside = blocks.iter().filter(|(_, p, _)| p * depth + j < inner);
            inside.fold(N::Sum::default(), |sum, (sign, p, q)| {
                N::plus(sum, *sign, self.blocks[(p * depth + j) * self.plan.side() + q])
            })
        };
        let right: Vec<_> = (0..depth).map(row).collect();
        let max = right.iter().fold(0.0, |max: f64, sum| max.max(N::distance(*sum, N::Sum::default())));
        ProbeOf { shared: self, right: N::column(right), max, left: Times::new(height), judged: 0, threads }
    }
}

/// [`Probe`], in some numbers: R·x, and what it becomes when L passes.
#[derive(Debug)]
struct ProbeOf<'w, N: Numbers> {
    shared: &'w Shared<N>,
    /// R·x.
    right: N::Column,
    /// Its largest magnitude.
    max: f64,
    /// L·(R·x), as far as L has passed.
    left: Times<N>,
    /// How many rows of the product have been judged.
    judged: usize,
    /// How many threads share the rows that pass at once.
    threads: usize,
}

impl<N: Numbers> Probe for ProbeOf<'_, N> {
    fn left(&mut self, rows: &[f64]) {
        let (_, depth, _) = self.shared.plan.block();
        self.left.pass(rows, depth, depth, &self.right, self.threads);
    }

    fn check(&mut self, rows: &[f64]) -> Verdict {
        let (_, depth, cols) = self.shared.plan.block();
        // Rows without entries never pass.
        assert!(depth == 0 || self.left.passed == self.left.sums.len(), "all of L has passed");
        let mut got = Times::<N>::new(rows.len() / cols.max(1));
        got.pass(rows, cols, cols, &self.shared.x, self.threads);
        let tolerance = N::tolerance(self);
        let expected = &self.left.sums[self.judged..][..got.sums.len()];
        // Not `>`: a NaN in the product makes every comparison with it false.
        let agrees = |(expected, got): (&N::Sum, &N::Sum)| N::distance(*expected, *got) <= tolerance;
        let wrong = expected.iter().zip(&got.sums).position(|pair| !agrees(pair));
        let first = self.judged;
        self.judged += got.sums.len();
        wrong.map_or(Verdict::Right, |row| Verdict::Wrong { row: first + row })
    }
}

/// The power of two by which x is scaled, so that the comparison stays away from the ends of the range: R·x
/// is at most 2^r, L·(R·x) at most 2^(r + l), and if need be both are brought to lie around 1.
fn scale(inner: usize, cols: usize, left: f64, right: f64) -> f64 {
    let r = (cols as f64).log2() + right.log2();
    let l = (inner as f64).log2() + left.log2();
    let zero = r == f64::NEG_INFINITY || l == f64::NEG_INFINITY;
    if zero || (r.abs() <= COMFORTABLE && (r + l).abs() <= COMFORTABLE) {
        return 1.0;
    }
    2f64.powi((-r - l / 2.0).clamp(-1000.0, 1000.0) as i32)
}

/// A matrix whose rows pass in order, some at a time, cut into blocks that are multiplied by a vector.
#[derive(Debug)]
struct Times<N: Numbers> {
    /// One for each block, row after row; zero until it has passed.
    sums: Vec<N::Sum>,
    /// How many blocks have passed.
    passed: usize,
    /// The largest magnitude in them.
    max: f64,
}

impl<N: Numbers> Times<N> {
    fn new(blocks: usize) -> Self {
        Self { sums: vec![N::Sum::default(); blocks], passed: 0, max: 0.0 }
    }

    /// The next rows pass, of `cols` entries each, on so many threads.
    fn pass(&mut self, rows: &[f64], cols: usize, block: usize, column: &N::Column, threads: usize) {
        if rows.is_empty() {
            return;
        }
        assert_eq!(rows.len() % cols, 0, "whole rows of {cols} entries");
        let (count, blocks) = (rows.len() / cols, cols.div_ceil(block));
        let share = count.div_ceil(threads.max(1));
        let sums = &mut self.sums[self.passed..][..count * blocks];
        let parts = rows.chunks(share * cols).zip(sums.chunks_mut(share * blocks)).collect();
        let pass = |(rows, sums)| Kernel::best().run(Pass::<N> { rows, cols, block, column, sums });
        let max = on_threads("times_blocks", parts, pass).into_iter().fold(0.0, f64::max);
        (self.max, self.passed) = (self.max.max(max), self.passed + count * blocks);
    }
}

/// [`Times::pass`] on one thread, to be compiled for all kinds of vectors.
struct Pass<'t, N: Numbers> {
    rows: &'t [f64],
    cols: usize,
    block: usize,
    column: &'t N::Column,
    sums: &'t mut [N::Sum],
}

impl<N: Numbers> Vectorized for Pass<'_, N> {
    type Answer = f64;

    #[inline(always)]
    fn run<V: Vector, const MR: usize, const NV: usize>(self) -> f64 {
        let mut max = 0.0_f64;
        let blocks = self.rows.chunks_exact(self.cols).flat_map(|row| row.chunks(self.block));
        for (block, sum) in blocks.zip(self.sums) {
            let (times, size) = N::times::<V>(block, self.column);
            (*sum, max) = (times, max.max(size));
        }
        max
    }
}

#[cfg(test)]
mod tests;
