//! The check, for any numbers: R·x, L·(R·x) and P·x, row by row. Which numbers those are, [`Numbers`] says; the page of
//! [`freivalds`](super) says why.

use rand::Rng;

use super::super::Matrix;
use super::super::micro::{Kernel, Vector, Vectorized};
use super::super::strassen::Plan;
use crate::thread::on_threads;

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

/// What the checks of all products of one plan share: x, and its products with the blocks of B.
pub trait Witness: Send + Sync {
    /// The check of product `i`; `threads` threads share the rows that pass at once.
    ///
    /// # Panics
    /// If `i` is not below [`Plan::products`].
    fn probe(&self, i: usize, threads: usize) -> Box<dyn Probe + '_>;
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
pub(super) trait Numbers: Sized + 'static {
    /// A row times a vector.
    type Sum: Copy + Default + Send + Sync;
    /// A vector that many rows are multiplied by.
    type Column: Send + Sync;

    /// An entry of x, scaled if that makes a difference.
    fn draw(scale: f64, rng: &mut impl Rng) -> Self::Sum;

    fn column(numbers: Vec<Self::Sum>) -> Self::Column;

    /// `sum + sign * term`.
    fn plus(sum: Self::Sum, sign: f64, term: Self::Sum) -> Self::Sum;

    /// A row times the first entries of a column, and the largest magnitude in the row, or what is [`Times::known`] of
    /// it: rows of our own need not be looked at.
    fn times<V: Vector>(row: &[f64], column: &Self::Column, known: f64) -> (Self::Sum, f64);

    fn distance(one: Self::Sum, other: Self::Sum) -> f64;

    /// How far a row may be off when the product is right.
    fn tolerance(probe: &ProbeOf<'_, Self>) -> f64;
}

/// [`Witness`], in some numbers.
pub(super) struct Shared<N: Numbers> {
    pub(super) plan: Plan,
    /// x has entries below this.
    pub(super) scale: f64,
    pub(super) x: N::Column,
    /// Row j holds row j of B times x: one number for each block that the row is cut into.
    pub(super) blocks: Vec<N::Sum>,
    /// No entry of a right operand is larger.
    pub(super) right_max: f64,
    /// No entry of a left operand is larger.
    left_known: f64,
}

impl<N: Numbers> Shared<N> {
    pub(super) fn new(plan: Plan, b: &Matrix, entries: Entries, threads: usize, rng: &mut impl Rng) -> Self {
        let ((_, inner, cols), (_, depth, in_block)) = (plan.shape(), plan.block());
        assert_eq!((b.rows(), b.cols()), (inner, cols), "the right matrix of the plan");
        // Each level may double the entries of an operand.
        let grown = plan.side() as f64;
        let scale = scale(depth, in_block, entries.left * grown, entries.right * grown);
        let x = N::column((0..in_block).map(|_| N::draw(scale, rng)).collect());
        let count = inner * cols.div_ceil(in_block);
        let mut blocks = Times::<N> { known: entries.right, ..Times::new(count) };
        blocks.pass(b.as_slice(), cols, in_block, &x, threads);
        let (left_known, right_max) = (entries.left * grown, blocks.max * grown);
        Self { plan, scale, x, blocks: blocks.sums, right_max, left_known }
    }
}

impl<N: Numbers> Witness for Shared<N> {
    fn probe(&self, i: usize, threads: usize) -> Box<dyn Probe + '_> {
        let ((_, inner, cols), (height, depth, in_block)) = (self.plan.shape(), self.plan.block());
        // A block beyond the last column has no entries.
        let width = cols.div_ceil(in_block);
        // The right operand times x: the sum of its blocks, each times x.
        let blocks = self.plan.blocks(i, |product| product.right);
        let row = |j| {
            let inside = blocks.iter().filter(|(_, p, q)| p * depth + j < inner && *q < width);
            inside.fold(N::Sum::default(), |sum, (sign, p, q)| {
                N::plus(sum, *sign, self.blocks[(p * depth + j) * width + q])
            })
        };
        let right: Vec<_> = (0..depth).map(row).collect();
        let max = right.iter().fold(0.0, |max: f64, sum| max.max(N::distance(*sum, N::Sum::default())));
        let left = Times { known: self.left_known, ..Times::new(height) };
        let right = N::column(right);
        Box::new(ProbeOf { shared: self, right, max, left, judged: 0, threads })
    }
}

/// [`Probe`], in some numbers: R·x, and what it becomes when L passes.
pub(super) struct ProbeOf<'w, N: Numbers> {
    pub(super) shared: &'w Shared<N>,
    /// R·x.
    pub(super) right: N::Column,
    /// Its largest magnitude.
    pub(super) max: f64,
    /// L·(R·x), as far as L has passed.
    pub(super) left: Times<N>,
    /// How many rows of the product have been judged.
    pub(super) judged: usize,
    /// How many threads share the rows that pass at once.
    pub(super) threads: usize,
}

// lab 6
impl<N: Numbers> Probe for ProbeOf<'_, N> {
    fn left(&mut self, rows: &[f64]) {
        let (_, depth, _) = self.shared.plan.block();
        self.left.pass(rows, depth, depth, &self.right, self.threads);
    }

    fn check(&mut self, rows: &[f64]) -> Verdict {
        let (_, _, cols) = self.shared.plan.block();
        assert!(self.left.passed == self.left.sums.len(), "all of L has passed");
        let mut got = Times::<N>::new(rows.len() / cols);
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

/// The end of a row, filled up with zeros.
#[inline(always)]
pub(super) fn padded<const LANES: usize>(end: &[f64]) -> [f64; LANES] {
    let mut place = [0.0; LANES];
    place[..end.len()].copy_from_slice(end);
    place
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
pub(super) struct Times<N: Numbers> {
    /// One for each block, row after row; zero until it has passed.
    pub(super) sums: Vec<N::Sum>,
    /// How many blocks have passed.
    pub(super) passed: usize,
    /// The largest magnitude in them, or what is known of it.
    pub(super) max: f64,
    /// What is known of it before; with whole numbers, that all are whole, too. Infinite where nothing is known.
    pub(super) known: f64,
}

impl<N: Numbers> Times<N> {
    /// Those of a stranger's matrix.
    fn new(blocks: usize) -> Self {
        Self { sums: vec![N::Sum::default(); blocks], passed: 0, max: 0.0, known: f64::INFINITY }
    }

    /// The next rows pass, of `cols` entries each, on so many threads.
    fn pass(&mut self, rows: &[f64], cols: usize, block: usize, column: &N::Column, threads: usize) {
        assert_eq!(rows.len() % cols, 0, "whole rows of {cols} entries");
        let (count, blocks) = (rows.len() / cols, cols.div_ceil(block));
        let share = count.div_ceil(threads.max(1));
        let sums = &mut self.sums[self.passed..][..count * blocks];
        let parts = rows.chunks(share * cols).zip(sums.chunks_mut(share * blocks)).collect();
        let known = self.known;
        let pass = |(rows, sums)| Kernel::best().run(Pass::<N> { rows, cols, block, column, known, sums });
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
    known: f64,
    sums: &'t mut [N::Sum],
}

impl<N: Numbers> Vectorized for Pass<'_, N> {
    type Answer = f64;

    #[inline(always)]
    fn run<V: Vector, const MR: usize, const NV: usize>(self) -> f64 {
        let mut max = 0.0_f64;
        let blocks = self.rows.chunks_exact(self.cols).flat_map(|row| row.chunks(self.block));
        for (block, sum) in blocks.zip(self.sums) {
            let (times, size) = N::times::<V>(block, self.column, self.known);
            (*sum, max) = (times, max.max(size));
        }
        max
    }
}
