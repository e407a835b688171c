//! A signed sum of windows that is never built.

use super::View;
use super::micro::{Kernel, Vector, Vectorized};

/// One operand of one product: a sum of blocks of A (or of B) with signs, such as `A21 - A11`.
///
/// The sum has a shape of its own, [`Operand::rows`] x [`Operand::cols`]. A block at the edge of its
/// matrix may be smaller; what it lacks counts as zero (*virtual padding*: the zeros are never stored).
/// Every way of reading the sum adds its terms in the same order, so all of them see the same rounded
/// numbers.
#[derive(Clone, Debug)]
pub struct Operand<'a> {
    rows: usize,
    cols: usize,
    terms: Vec<(f64, View<'a>)>,
}

impl<'a> Operand<'a> {
    /// The sum of `terms`, each a sign (1 or -1) and a window no larger than `rows` x `cols`.
    pub(super) fn new(rows: usize, cols: usize, terms: Vec<(f64, View<'a>)>) -> Self {
        debug_assert!(terms.iter().all(|(_, block)| block.rows() <= rows && block.cols() <= cols));
        Self { rows, cols, terms }
    }

    /// How many rows the sum has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns the sum has.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The part of the sum that begins at (`row`, `col`), at most `rows` x `cols`.
    pub(super) fn window(&self, row: usize, col: usize, rows: usize, cols: usize) -> Operand<'a> {
        let terms = self.terms.iter().map(|&(sign, block)| (sign, block.window(row, col, rows, cols)));
        let (rows, cols) = (rows.min(self.rows - row), cols.min(self.cols - col));
        Operand { rows, cols, terms: terms.collect() }
    }

    /// Writes whole rows of the sum into `out`, from `first_row` on, as many as `out` has room for.
    /// This is how an operand is streamed to a socket through a small buffer.
    ///
    /// # Panics
    /// If `out` is not a whole number of rows, or reaches beyond the last.
    pub fn fill_rows(&self, first_row: usize, out: &mut [f64]) {
        assert_eq!(out.len() % self.cols, 0, "whole rows of {} entries", self.cols);
        assert!(first_row + out.len() / self.cols <= self.rows, "rows within the sum");
        Kernel::best().run(FillRows { sum: self, first_row, out });
    }

    /// Row `i` of the sum, term by term, where some may have ended.
    #[inline(always)]
    fn fill_row(&self, i: usize, out: &mut [f64]) {
        let mut terms = self.terms.iter().filter(|(_, block)| i < block.rows());
        let Some((sign, block)) = terms.next() else { return out.fill(0.0) };
        let (first, beyond) = out.split_at_mut(block.cols());
        for (out, x) in first.iter_mut().zip(block.row(i)) {
            *out = sign * x;
        }
        beyond.fill(0.0);
        for &(sign, block) in terms {
            for (out, x) in out.iter_mut().zip(block.row(i)) {
                *out += sign * x;
            }
        }
    }
}

/// [`Operand::fill_rows`], to be compiled for all widths of vectors.
struct FillRows<'f, 'a> {
    sum: &'f Operand<'a>,
    first_row: usize,
    out: &'f mut [f64],
}

impl Vectorized for FillRows<'_, '_> {
    type Answer = ();

    #[inline(always)]
    fn run<V: Vector, const MR: usize, const NV: usize>(self) {
        for (i, out) in self.out.chunks_exact_mut(self.sum.cols).enumerate() {
            self.sum.fill_row(self.first_row + i, out);
        }
    }
}
