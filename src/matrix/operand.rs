//! A signed sum of windows that is never built.

use super::{View, kernel};

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
        kernel::fill_rows(self, first_row, out);
    }

    /// [`Operand::fill_rows`], to be compiled for the vectors of its caller.
    #[inline(always)]
    pub(super) fn fill_rows_inlined(&self, first_row: usize, out: &mut [f64]) {
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
        kernel::times_and_max(self, x)
    }

    /// [`Operand::times_and_max`], to be compiled for the vectors of its caller.
    #[inline(always)]
    pub(super) fn times_and_max_inlined(&self, x: &[f64]) -> (Vec<f64>, f64) {
        let mut sum = vec![0.0; self.cols];
        let mut product = vec![0.0; self.rows];
        let mut max: f64 = 0.0;
        for (i, product) in product.iter_mut().enumerate() {
            let row = match self.terms[..] {
                // A block on its own needs no sum.
                [(1.0, block)] if i < block.rows() && block.cols() == self.cols => block.row(i),
                _ => {
                    self.fill_row(i, &mut sum);
                    &sum
                }
            };
            let (dot, largest) = dot_and_max(row, x);
            max = max.max(largest);
            *product = dot;
        }
        (product, max)
    }

    /// No entry of the sum is larger in magnitude than this: the sum of the largest of each term.
    pub fn max_abs_bound(&self) -> f64 {
        let largest =
            |block: &View<'_>| (0..block.rows()).fold(0.0, |max: f64, i| max.max(max_abs(block.row(i))));
        self.terms.iter().map(|(_, block)| largest(block)).sum()
    }
}

/// How many partial results the loops below keep, so that the compiler can hold them in vector registers.
pub(super) const LANES: usize = 16;

/// The largest magnitude, zero if there is none; a NaN is passed over.
pub(super) fn max_abs(data: &[f64]) -> f64 {
    dot_and_max(data, data).1
}

/// The sum of products of two vectors of one length, and the largest magnitude in the first.
///
/// Lane j sums the products j, j + [`LANES`], and so on; the lanes are added last, one after another.
#[inline(always)]
pub(super) fn dot_and_max(a: &[f64], b: &[f64]) -> (f64, f64) {
    let (mut sums, mut maxima) = ([0.0; LANES], [0.0; LANES]);
    let mut step = |a: &[f64], b: &[f64]| {
        for ((sum, max), (a, b)) in sums.iter_mut().zip(&mut maxima).zip(a.iter().zip(b)) {
            *sum += a * b;
            *max = if a.abs() > *max { a.abs() } else { *max };
        }
    };
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        step(a, b);
    }
    step(a_rest, b_rest);
    (sums.iter().sum(), maxima.into_iter().fold(0.0, f64::max))
}

/// Where the first NaN or infinity stands.
pub(super) fn first_non_finite(data: &[f64]) -> Option<usize> {
    // Whole chunks are judged without leaving early, which takes vectors; then the one is searched.
    let sound = |chunk: &[f64]| chunk.iter().fold(true, |sound, x| sound & x.is_finite());
    let chunk = data.chunks(1024).position(|chunk| !sound(chunk))? * 1024;
    data[chunk..].iter().position(|x| !x.is_finite()).map(|at| chunk + at)
}
