//! A signed sum of windows that is never built.

use super::View;

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
        if self.cols == 0 {
            assert!(out.is_empty(), "rows without columns have no entries");
            return;
        }
        assert_eq!(out.len() % self.cols, 0, "whole rows of {} entries", self.cols);
        assert!(first_row + out.len() / self.cols <= self.rows, "rows within the sum");
        for (i, out) in out.chunks_exact_mut(self.cols).enumerate() {
            self.fill_row(first_row + i, out);
        }
    }

    /// Row `i` of the sum. One, two and four terms, as they come from no, one and two levels, are added in
    /// one pass over all of them.
    #[inline(always)]
    pub(super) fn fill_row(&self, i: usize, out: &mut [f64]) {
        if self.terms.iter().any(|(_, block)| i >= block.rows()) {
            return self.fill_edge(i, 0, out);
        }
        let shared = self.terms.iter().map(|(_, block)| block.cols()).min().unwrap_or(0);
        let (out, edge) = out.split_at_mut(shared);
        let term = |t: usize| (self.terms[t].0, &self.terms[t].1.row(i)[..out.len()]);
        match self.terms.len() {
            1 => {
                let (sign, a) = term(0);
                for j in 0..out.len() {
                    out[j] = sign * a[j];
                }
            }
            2 => {
                let ((sign_a, a), (sign_b, b)) = (term(0), term(1));
                for j in 0..out.len() {
                    out[j] = sign_a * a[j] + sign_b * b[j];
                }
            }
            4 => {
                let ((sign_a, a), (sign_b, b)) = (term(0), term(1));
                let ((sign_c, c), (sign_d, d)) = (term(2), term(3));
                for j in 0..out.len() {
                    out[j] = sign_a * a[j] + sign_b * b[j] + sign_c * c[j] + sign_d * d[j];
                }
            }
            _ => self.fill_edge(i, 0, out),
        }
        if !edge.is_empty() {
            self.fill_edge(i, shared, edge);
        }
    }

    /// Row `i` of the sum from column `first` on, term by term, where some terms may have ended.
    fn fill_edge(&self, i: usize, first: usize, out: &mut [f64]) {
        out.fill(0.0);
        for &(sign, block) in self.terms.iter().filter(|(_, block)| i < block.rows()) {
            for (out, x) in out.iter_mut().zip(block.row(i).iter().skip(first)) {
                *out += sign * x;
            }
        }
    }

    /// The sum times a vector, without building the sum.
    ///
    /// # Panics
    /// If the vector does not have as many entries as the sum has columns.
    pub fn times(&self, x: &[f64]) -> Vec<f64> {
        self.times_and_max(x).0
    }

    /// The sum times a vector, and the largest magnitude in the sum, in one pass over the blocks.
    pub(super) fn times_and_max(&self, x: &[f64]) -> (Vec<f64>, f64) {
        assert_eq!(x.len(), self.cols, "as many entries as columns");
        let mut row = vec![0.0; self.cols];
        let mut max: f64 = 0.0;
        let product = (0..self.rows).map(|i| {
            self.fill_row(i, &mut row);
            max = max.max(max_abs(&row));
            dot(&row, x)
        });
        (product.collect(), max)
    }

    /// No entry of the sum is larger in magnitude than this: the sum of the largest of each term.
    pub fn max_abs_bound(&self) -> f64 {
        let largest =
            |block: &View<'_>| (0..block.rows()).fold(0.0, |max: f64, i| max.max(max_abs(block.row(i))));
        self.terms.iter().map(|(_, block)| largest(block)).sum()
    }
}

/// The largest magnitude, zero if there is none.
pub(super) fn max_abs(data: &[f64]) -> f64 {
    data.iter().fold(0.0, |max, x| max.max(x.abs()))
}

/// Where the first NaN or infinity stands.
pub(super) fn first_non_finite(data: &[f64]) -> Option<usize> {
    data.iter().position(|x| !x.is_finite())
}

/// How many partial sums [`dot`] keeps.
pub(super) const LANES: usize = 16;

/// The sum of products of two vectors of one length: lane j sums the products j, j + [`LANES`], ...; the
/// lanes are added last. The compiler turns the lanes into vector registers.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut lanes = [0.0; LANES];
    let (a, b) = (a.chunks(LANES), b.chunks(LANES));
    for (a, b) in a.zip(b) {
        for ((sum, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *sum += a * b;
        }
    }
    lanes.iter().sum()
}
