//! Strassen's seven products.
//!
//! Cut A, B and C = A·B into quadrants. The definition of the product needs eight products of quadrants,
//! two for each quadrant of C. Strassen found in 1969 that seven are enough, if sums of quadrants are
//! multiplied ("Gaussian elimination is not optimal", Numerische Mathematik 13):
//!
//! ```text
//!     M1 = (A11 + A22) (B11 + B22)        C11 = M1 + M4 - M5 + M7
//!     M2 = (A21 + A22)  B11               C12 = M3 + M5
//!     M3 =  A11        (B12 - B22)        C21 = M2 + M4
//!     M4 =  A22        (B21 - B11)        C22 = M1 - M2 + M3 + M6
//!     M5 = (A11 + A12)  B22
//!     M6 = (A21 - A11) (B11 + B12)
//!     M7 = (A12 - A22) (B21 + B22)
//! ```
//!
//! [`SEVEN`] is this table. It is read twice. A [`Plan`] reads it for the network: `plan.left(i, a)` and
//! `plan.right(i, b)` are what product i multiplies, and an [`Assembly`] adds each answer to the blocks
//! of C that it belongs to, whenever it comes. [`multiply`] reads it for this machine: the same plan,
//! product after product, with the sums formed while the kernel packs its operands and the answers added
//! while it stores them.
//!
//! Each of the seven can be cut again: `levels` times makes 7^levels products of blocks of
//! m/2^levels x k/2^levels by k/2^levels x n/2^levels, and level 0 is the classical product. Sizes that do
//! not divide are rounded up. Blocks at the edge then lack rows or columns, which count as zeros but are
//! never stored.
//!
//! Three things keep the local product quick. No sum is built, so a level costs no passes over memory of its
//! own. It cuts once only, and not at all where a side is short: there the additions cost more than the eighth
//! product. And an even number of threads computes two products that share no quadrant of C at once, so that
//! fewer threads pack the same operand.
//!
//! What it costs: more additions than the classical product, and a larger rounding error, which is bounded
//! only *normwise*: every entry of C may be off by a share of max|A| max|B|, however small the entry itself
//! is ([`super::freivalds`] has the bound). On whole numbers there is no error at all while every
//! intermediate sum stays below 2^53 ([`exact_bound`]).

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use parking_lot::Mutex;

use super::kernel::{Kernel, MultiplyAdd, Packs};
use super::micro::Target;
use super::{Matrix, Operand, View};
use crate::error::Result;
use crate::thread::on_threads;

/// What one of the seven multiplies and where its answer goes: a sign for each quadrant, in the order
/// 11, 12, 21, 22; zero where the quadrant has no part.
#[derive(Clone, Copy, Debug)]
pub struct Product {
    /// The signs of the quadrants of A whose sum is the left operand.
    pub left: [i8; 4],
    /// The signs of the quadrants of B whose sum is the right operand.
    pub right: [i8; 4],
    /// The signs with which the answer is added to the quadrants of C.
    pub into: [i8; 4],
}

// lab 5
/// Strassen's seven products, M1 to M7.
#[rustfmt::skip]
pub const SEVEN: [Product; 7] = [
    //        A11 A12 A21 A22           B11 B12 B21 B22          C11 C12 C21 C22
    Product { left: [ 1,  0,  0,  1], right: [ 1,  0,  0,  1], into: [ 1,  0,  0,  1] },
    Product { left: [ 0,  0,  1,  1], right: [ 1,  0,  0,  0], into: [ 0,  0,  1, -1] },
    Product { left: [ 1,  0,  0,  0], right: [ 0,  1,  0, -1], into: [ 0,  1,  0,  1] },
    Product { left: [ 0,  0,  0,  1], right: [-1,  0,  1,  0], into: [ 1,  0,  1,  0] },
    Product { left: [ 1,  1,  0,  0], right: [ 0,  0,  0,  1], into: [-1,  1,  0,  0] },
    Product { left: [-1,  0,  1,  0], right: [ 1,  1,  0,  0], into: [ 0,  0,  0,  1] },
    Product { left: [ 0,  1,  0, -1], right: [ 0,  0,  1,  1], into: [ 1,  0,  0,  0] },
];

/// The most levels a plan may have: 7^8 is almost six million products.
pub const MAX_LEVELS: u32 = 8;

/// How an m x k by k x n product is cut into 7^levels products of one shape.
///
/// ```
/// use peerlab::matrix::{Matrix, strassen::{Assembly, Plan, multiply}};
/// let (a, b) = (Matrix::zeros(5, 3), Matrix::zeros(3, 9));
/// let plan = Plan::new(5, 3, 9, 1);
/// assert_eq!((plan.products(), plan.block()), (7, (3, 2, 5)));
/// assert_eq!((plan.left(0, a.view()).rows(), plan.right(0, b.view()).cols()), (3, 5));
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    rows: usize,
    inner: usize,
    cols: usize,
    levels: u32,
}

impl Plan {
    /// A plan for a `rows` x `inner` matrix times an `inner` x `cols` one.
    ///
    /// # Panics
    /// If `levels` is more than [`MAX_LEVELS`].
    pub fn new(rows: usize, inner: usize, cols: usize, levels: u32) -> Self {
        assert!(levels <= MAX_LEVELS, "at most {MAX_LEVELS} levels, not {levels}");
        Self { rows, inner, cols, levels }
    }

    /// Rows of A, its columns, columns of B.
    pub fn shape(&self) -> (usize, usize, usize) {
        (self.rows, self.inner, self.cols)
    }

    /// How often the matrices are cut.
    pub fn levels(&self) -> u32 {
        self.levels
    }

    /// How many products there are: 7^levels.
    pub fn products(&self) -> usize {
        7usize.pow(self.levels)
    }

    /// What product `i` is called: M1 to M7, as in Strassen's paper, and with more levels M3.5 for the fifth of the
    /// seven that make M3. The board has the same names.
    pub(crate) fn name(&self, i: usize) -> String {
        if self.levels == 0 {
            return "A · B".into();
        }
        let digit = |level| (i / 7usize.pow(level) % 7 + 1).to_string();
        let digits: Vec<String> = (0..self.levels).rev().map(digit).collect();
        format!("M{}", digits.join("."))
    }

    /// The shape of every product: rows of the left operand, its columns, columns of the right operand.
    pub fn block(&self) -> (usize, usize, usize) {
        let side = 1 << self.levels;
        (self.rows.div_ceil(side), self.inner.div_ceil(side), self.cols.div_ceil(side))
    }

    /// The left operand of product `i`: a sum of blocks of A.
    ///
    /// # Panics
    /// If `i` is not below [`Plan::products`], or `a` has another shape than the plan.
    pub fn left<'a>(&self, i: usize, a: View<'a>) -> Operand<'a> {
        let (rows, inner, _) = self.block();
        assert_eq!((a.rows(), a.cols()), (self.rows, self.inner), "the left matrix of the plan");
        sum(self.blocks(i, |product| product.left), a, rows, inner)
    }

    /// The right operand of product `i`: a sum of blocks of B.
    ///
    /// # Panics
    /// If `i` is not below [`Plan::products`], or `b` has another shape than the plan.
    pub fn right<'a>(&self, i: usize, b: View<'a>) -> Operand<'a> {
        let (_, inner, cols) = self.block();
        assert_eq!((b.rows(), b.cols()), (self.inner, self.cols), "the right matrix of the plan");
        sum(self.blocks(i, |product| product.right), b, inner, cols)
    }

    /// Into how many blocks a side of each matrix is cut: 2^levels.
    pub(super) fn side(&self) -> usize {
        1 << self.levels
    }

    // lab 5
    /// The blocks that take part in product `i` on one side: (sign, block row, block column).
    ///
    /// Level by level: `i` written in base 7 names one of the seven at each level, the most significant
    /// digit the outermost; each halves the block that the levels before it arrived at, and signs multiply.
    pub(super) fn blocks(&self, i: usize, signs: fn(&Product) -> [i8; 4]) -> Vec<(f64, usize, usize)> {
        assert!(i < self.products(), "product {i} of {}", self.products());
        let mut blocks = vec![(1.0, 0, 0)];
        for level in (0..self.levels).rev() {
            let signs = signs(&SEVEN[i / 7usize.pow(level) % 7]);
            let quadrants = |(sign, row, col)| {
                let part = move |q| (sign * f64::from(signs[q]), 2 * row + q / 2, 2 * col + q % 2);
                (0..4).filter(move |&q| signs[q] != 0).map(part)
            };
            blocks = blocks.into_iter().flat_map(quadrants).collect();
        }
        blocks
    }

    /// The blocks of C, cut out of its entries, row after row: each a list of the parts of its rows. Those at the edges
    /// may lack rows or columns, or have none. Blocks can be written by several threads at once.
    fn cut<'c>(&self, c: &'c mut [f64]) -> Vec<Vec<&'c mut [f64]>> {
        let ((rows, _, cols), side) = (self.block(), self.side());
        let mut blocks: Vec<_> = (0..side * side).map(|_| Vec::with_capacity(rows)).collect();
        for (i, row) in c.chunks_exact_mut(self.cols).enumerate() {
            for (q, part) in row.chunks_mut(cols).enumerate() {
                blocks[i / rows * side + q].push(part);
            }
        }
        blocks
    }

    /// Where product `i` goes: a sign and the number of a block of C, counted row after row.
    fn targets(&self, i: usize) -> Vec<(f64, usize)> {
        self.blocks(i, |product| product.into)
            .into_iter()
            .map(|(sign, p, q)| (sign, (p << self.levels) + q))
            .collect()
    }

    /// The products in an order in which `threads` threads compute them best: those of a turn, one or two, at
    /// once.
    ///
    /// One half of an even number of threads can compute one product and the other half another, if no block
    /// of C belongs to both. Of the seven, M2 goes with M5, M3 with M4 and M6 with M7, and M1 alone. That is
    /// better than all threads at one product, where each would pack the whole right operand.
    fn turns(&self, threads: usize) -> Vec<Vec<usize>> {
        let mut waiting: VecDeque<usize> = (0..self.products()).collect();
        let mut turns = Vec::new();
        while let Some(i) = waiting.pop_front() {
            let taken = self.targets(i);
            let shares_none =
                |&j: &usize| self.targets(j).iter().all(|(_, at)| taken.iter().all(|(_, other)| at != other));
            let partner = if threads.is_multiple_of(2) { waiting.iter().position(shares_none) } else { None };
            turns.push(std::iter::once(i).chain(partner.and_then(|at| waiting.remove(at))).collect());
        }
        turns
    }

    /// No intermediate sum exceeds this, in the network and in the peers that serve it: [`exact_bound`]
    /// over the levels of this plan and those that [`multiply`] adds inside a block.
    pub fn bound(&self, max_a: f64, max_b: f64) -> f64 {
        let (rows, inner, cols) = self.block();
        exact_bound(self.levels + local_levels(rows, inner, cols), self.inner, max_a, max_b)
    }
}

/// The signed sum of the named blocks of a matrix.
fn sum(blocks: Vec<(f64, usize, usize)>, matrix: View<'_>, rows: usize, cols: usize) -> Operand<'_> {
    let window = |(sign, p, q)| (sign, matrix.window(p * rows, q * cols, rows, cols));
    Operand::new(rows, cols, blocks.into_iter().map(window).collect())
}

/// No intermediate sum of a Strassen product exceeds this: 8^levels · inner · max|A| · max|B|, or
/// 2^levels times the larger of max|A| and max|B|, whichever is more.
///
/// Each level may double both operands and adds up to four answers of half the inner size, which multiplies
/// their bound by at most six, here eight. The second term counts only where one matrix is large and the
/// other tiny: then the operands are the largest sums there are. While the bound is below 2^53, products of
/// whole numbers are exact; while it is finite, nothing can overflow.
pub fn exact_bound(levels: u32, inner: usize, max_a: f64, max_b: f64) -> f64 {
    let products = 8f64.powf(f64::from(levels)) * inner as f64 * (max_a * max_b);
    let operands = 2f64.powf(f64::from(levels)) * max_a.max(max_b);
    products.max(operands)
}

/// C as it is put together: a lock for every block, so that answers can be added as they come, by
/// several threads at once.
///
/// An entry of C is complete when all products were added, each once.
pub struct Assembly<'a> {
    plan: Plan,
    blocks: Vec<Mutex<Vec<&'a mut [f64]>>>,
    /// How many rows of each product were added.
    added: Vec<AtomicUsize>,
}

impl<'a> Assembly<'a> {
    /// Begins to put together `c`, which is zeros.
    ///
    /// # Panics
    /// If `c` has another shape than the answer of the plan.
    pub fn new(plan: Plan, c: &'a mut Matrix) -> Self {
        assert_eq!((c.rows, c.cols), (plan.rows, plan.cols), "the answer of the plan");
        let blocks = plan.cut(&mut c.data).into_iter().map(Mutex::new).collect();
        let added = (0..plan.products()).map(|_| AtomicUsize::new(0)).collect();
        Self { plan, blocks, added }
    }

    /// Adds rows of the answer of product `i`, from `first` on, to the blocks of C that it is a part of.
    ///
    /// An answer may come in portions, from its first row to its last. If it breaks off and comes again, from
    /// another peer, rows that were added the first time are passed over.
    ///
    /// Only one block is locked at a time, so threads that add different answers wait for each other
    /// only where they meet in the same block, and never in a circle. Only one thread at a time adds a product;
    /// who hands it on to another orders what the two do.
    ///
    /// # Panics
    /// If these are not whole rows of a block of the plan, or rows before them are missing.
    pub fn add(&self, i: usize, first: usize, answer: &[f64]) {
        let (rows, _, cols) = self.plan.block();
        assert_eq!(answer.len() % cols, 0, "whole rows of {cols} entries");
        let (added, end) = (self.added[i].load(Relaxed), first + answer.len() / cols);
        assert!(first <= added && end <= rows, "rows {first} to {end} of {rows}, after {added}");
        if end <= added {
            return;
        }
        let answer = &answer[(added - first) * cols..];
        for (sign, at) in self.plan.targets(i) {
            let mut block = self.blocks[at].lock();
            for (into, from) in block.iter_mut().skip(added).zip(answer.chunks_exact(cols)) {
                into.iter_mut().zip(from).for_each(|(c, m)| *c += sign * m);
            }
        }
        self.added[i].store(end, Relaxed);
    }
}

/// C = A·B on this machine, cut once by Strassen where all sides are long, on `threads` threads.
///
/// `c` holds the entries of C row after row, and is overwritten. `keep_going` is asked once per kernel block,
/// that is every millisecond or so.
///
/// # Errors
/// When it says no: the product is given up, and C holds nothing of use.
///
/// # Panics
/// If the shapes do not fit.
pub fn multiply(
    a: View<'_>,
    b: View<'_>,
    c: &mut [f64],
    threads: usize,
    keep_going: &(dyn Fn() -> bool + Sync),
) -> Result<()> {
    let (rows, inner, cols) = (a.rows(), a.cols(), b.cols());
    assert_eq!(inner, b.rows(), "as many columns on the left as rows on the right");
    assert_eq!(Some(c.len()), rows.checked_mul(cols), "the shape of the answer");
    let levels = local_levels(rows, inner, cols);
    for (i, band) in c.chunks_mut(BAND * cols).enumerate() {
        let a = a.window(i * BAND, 0, BAND, inner);
        multiply_at(levels, a, b, band, threads, keep_going)?;
    }
    Ok(())
}

/// Rows that [`multiply`] works on at once. A list of rows takes 16 bytes for each: for a C of many rows
/// and one column that would be more than C.
const BAND: usize = 1 << 20;

/// [`multiply`] with so many levels: turn by turn, each product added to C as the kernel finishes it.
fn multiply_at(
    levels: u32,
    a: View<'_>,
    b: View<'_>,
    c: &mut [f64],
    threads: usize,
    keep_going: &(dyn Fn() -> bool + Sync),
) -> Result<()> {
    let plan = Plan::new(a.rows(), a.cols(), b.cols(), levels);
    let mut blocks: Vec<_> = plan.cut(c).into_iter().map(|rows| (true, rows)).collect();
    let mut packs: Vec<_> = (0..threads.max(1)).map(|_| Packs::default()).collect();
    for turn in plan.turns(packs.len()) {
        let product = |&i| MultiplyAdd { left: plan.left(i, a), right: plan.right(i, b), into: vec![] };
        let mut products: Vec<_> = turn.iter().map(product).collect();
        for (at, (fresh, rows)) in blocks.iter_mut().enumerate() {
            for (product, &i) in products.iter_mut().zip(&turn) {
                if let Some((sign, _)) = plan.targets(i).into_iter().find(|target| target.1 == at) {
                    let rows = rows.iter_mut().map(|row| &mut **row).collect();
                    product.into.push(Target { sign, fresh: std::mem::take(fresh), rows });
                    break;
                }
            }
        }
        // The threads share nothing but right operands. (To pack one once for all of them was tried: it
        // saved half of the packing and lost more, because they waited for each other and read each other's
        // caches.)
        let threads_each = packs.len() / turn.len();
        let bands = products.into_iter().flat_map(|product| product.bands(threads_each));
        on_threads("compute", bands.zip(&mut packs).collect(), |(mut band, packs)| {
            Kernel::best().compute(&mut band, packs, keep_going)
        })
        .into_iter()
        .collect::<Result<()>>()?;
    }
    Ok(())
}

/// The least side that [`multiply`] cuts. Measured with one thread: from 2048 on one level gains up to a tenth
/// over the classical product where memory is quick (AMD EPYC), and a few hundredths where it is slow (a Xeon).
const CUTOFF: usize = 2000;

/// How many levels [`multiply`] adds on its own for a product of this shape: one, if its sides are long.
///
/// A second level saves another eighth of the operations, and reads and writes twice as much: its sums have
/// up to four terms, and 49 products are added to up to four places. On a quiet machine with quick memory
/// that gains a few hundredths, and on a busy one it loses a tenth.
pub fn local_levels(rows: usize, inner: usize, cols: usize) -> u32 {
    u32::from(rows.min(inner).min(cols) >= CUTOFF)
}

#[cfg(test)]
mod tests;
