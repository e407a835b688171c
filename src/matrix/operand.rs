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
}

/// How many partial results the loops below keep, so that the compiler can hold them in vector registers.
pub(super) const LANES: usize = 32;

/// The largest magnitude, zero if there is none; a NaN is passed over.
pub(super) fn max_abs(data: &[f64]) -> f64 {
    let mut maxima = [0.0; LANES];
    for chunk in data.chunks(LANES) {
        for (max, x) in maxima.iter_mut().zip(chunk) {
            *max = if x.abs() > *max { x.abs() } else { *max };
        }
    }
    maxima.into_iter().fold(0.0, f64::max)
}

/// Rows times a vector, one number for each row, into `out`. Returns the largest magnitude in the rows.
///
/// Always inlined, to be compiled for the vectors of its caller.
#[inline(always)]
pub(super) fn times_inlined(rows: &[f64], vector: &[f64], out: &mut [f64]) -> f64 {
    let mut maxima = [0.0; LANES];
    let (whole, rest) = vector.as_chunks::<LANES>();
    for (row, out) in rows.chunks_exact(vector.len()).zip(out) {
        let mut sums = [0.0; LANES];
        let (row, row_rest) = row.as_chunks::<LANES>();
        for (row, vector) in row.iter().zip(whole) {
            weigh(row, vector, &mut sums, &mut maxima);
        }
        weigh(row_rest, rest, &mut sums, &mut maxima);
        *out = sums.iter().sum();
    }
    maxima.into_iter().fold(0.0, f64::max)
}

/// Adds as many products as there are lanes, and keeps the largest magnitudes of their first factors.
#[inline(always)]
fn weigh(row: &[f64], vector: &[f64], sums: &mut [f64; LANES], maxima: &mut [f64; LANES]) {
    for (((x, y), sum), max) in row.iter().zip(vector).zip(sums).zip(maxima) {
        *sum += x * y;
        *max = if x.abs() > *max { x.abs() } else { *max };
    }
}

/// Where the first NaN or infinity stands.
pub(super) fn first_non_finite(data: &[f64]) -> Option<usize> {
    // Whole chunks are judged without leaving early, which takes vectors; then the one is searched.
    let sound = |chunk: &[f64]| chunk.iter().fold(true, |sound, x| sound & x.is_finite());
    let chunk = data.chunks(1024).position(|chunk| !sound(chunk))? * 1024;
    data[chunk..].iter().position(|x| !x.is_finite()).map(|at| chunk + at)
}
