//! Matrices, and how to multiply them quickly, by parts, and with proof.
//!
//! A [`Matrix`] is a `Vec<f64>` in row order: entry (i, j) of an m x n matrix stands at `i * n + j`.
//! Everything else in this room is a way of looking at that vector.
//!
//! * A [`View`] is a window of a matrix: where it begins, how many rows and columns it has, and the
//!   *stride*, the distance from one row to the next. Quadrants are views; cutting a matrix copies
//!   nothing.
//! * An [`Operand`] is a signed sum of windows, such as `A11 + A22`, that is never built: it is summed
//!   while it is packed for the kernel, or streamed to a socket.
//! * [`strassen`] cuts a product into seven smaller ones (and those again), says what each of them
//!   multiplies, and puts the answers together. [`strassen::multiply`] does all of it on this machine.
//! * [`kernel`] is the product that everything ends in: packed, blocked for the caches, and written
//!   for the widest vectors that the processor has.
//! * [`freivalds`] asks of a product that somebody else computed: is it right? The answer costs a
//!   thousandth of its operations.
//! * [`npy`] reads and writes matrices in the format of NumPy.
//!
//! A small worked example. The 2 x 3 matrix
//!
//! ```text
//!         | 1 2 3 |
//!     A = | 4 5 6 |      is  [1, 2, 3, 4, 5, 6],
//! ```
//!
//! and its right 2 x 2 window begins at entry 1 and has the stride 3: `[2, 3, (4), 5, 6]`.
//!
//! ```
//! use peerlab::matrix::Matrix;
//! let a = Matrix::from_vec(2, 3, vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0])?;
//! let right = a.view().window(0, 1, 2, 2);
//! assert_eq!(right.row(1), [5.0, 6.0]);
//! # Ok::<(), peerlab::error::Error>(())
//! ```
//!
//! A matrix may have no rows or no columns. But what multiplies, checks and puts together asks for sides of at
//! least 1, and panics without: a caller knows that an m x 0 matrix times a 0 x n one is the m x n zero matrix.
//!
//! Nothing here waits, prints, or knows the time; randomness is passed in. What is missing: any type but
//! `f64`, sparse matrices, and transposition. A matrix that is mostly zeros is multiplied zero by zero.

use std::hint::black_box;

use rand::{Rng, RngExt};

use crate::error::{Error, Result};
use crate::thread::on_threads;

pub mod freivalds;
pub mod kernel;
mod micro;
pub mod npy;
mod operand;
pub mod strassen;

pub use operand::Operand;

use self::micro::fetch_ahead;

/// The entries on a page of memory, of the smallest that there are: 4 KiB.
const PAGE: usize = 512;

/// A matrix in row order.
#[derive(Clone, Debug, PartialEq)]
pub struct Matrix {
    rows: usize,
    cols: usize,
    data: Vec<f64>,
}

impl Matrix {
    /// The zero matrix. The operating system hands out zeroed memory lazily, so this costs nothing
    /// until an entry is touched.
    ///
    /// # Panics
    /// If `rows * cols` does not fit in a `usize`; sizes from outside are checked where they come in.
    pub fn zeros(rows: usize, cols: usize) -> Self {
        let len = rows.checked_mul(cols).expect("a matrix has fewer entries than memory has bytes");
        Self { rows, cols, data: vec![0.0; len] }
    }

    /// The zero matrix, or an error if the machine's memory cannot hold it. For sizes from outside.
    pub fn try_zeros(rows: usize, cols: usize) -> Result<Self> {
        let too_large = || {
            Error::failed(format!("a {rows} x {cols} matrix does not fit into memory"))
                .advise("use a smaller matrix, or a machine with more memory")
        };
        let len = rows.checked_mul(cols).ok_or_else(too_large)?;
        // Ask for the memory and give it back: unlike the allocation of zeros, this may fail and be told.
        Vec::<f64>::new().try_reserve_exact(len).map_err(|_| too_large())?;
        Ok(Self::zeros(rows, cols))
    }

    /// The same matrix on pages of 2 MiB, where the system has them and nothing was written yet. They are
    /// quick to read with long strides and slow to get: for what is used again and again.
    #[must_use]
    pub fn on_huge_pages(self) -> Self {
        micro::prefer_huge_pages(&self.data);
        self
    }

    /// A fresh zero matrix, its zeros in memory: the system supplies pages when they are first written, and
    /// must clear each of them before. That is done now, on `threads` threads, so that no product waits for
    /// it. (Of a matrix that holds something, an entry in every page would become zero.)
    #[must_use]
    pub fn in_memory(mut self, threads: usize) -> Self {
        let share = self.data.len().div_ceil(threads.max(1)).max(1);
        on_threads("touch", self.data.chunks_mut(share).collect(), |part| {
            part.chunks_mut(PAGE).for_each(|page| page[0] = black_box(0.0));
        });
        self
    }

    /// A matrix of these entries, row after row. An error if there are not `rows * cols` of them.
    pub fn from_vec(rows: usize, cols: usize, data: Vec<f64>) -> Result<Self> {
        if rows.checked_mul(cols) != Some(data.len()) {
            let entries = data.len();
            return Err(Error::failed(format!("{entries} entries do not make a {rows} x {cols} matrix")));
        }
        Ok(Self { rows, cols, data })
    }

    /// The entries, row after row.
    pub fn into_vec(self) -> Vec<f64> {
        self.data
    }

    /// Reals drawn evenly from [-1, 1).
    pub fn random(rows: usize, cols: usize, rng: &mut impl Rng) -> Self {
        let mut matrix = Self::zeros(rows, cols);
        matrix.data.fill_with(|| 2.0 * rng.random::<f64>() - 1.0);
        matrix
    }

    /// Whole numbers drawn evenly from -9 to 9; products of such matrices are exact.
    pub fn random_integers(rows: usize, cols: usize, rng: &mut impl Rng) -> Self {
        let mut matrix = Self::zeros(rows, cols);
        matrix.data.fill_with(|| f64::from(rng.random_range(-9i8..=9)));
        matrix
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns it has.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// All entries, row after row.
    pub fn as_slice(&self) -> &[f64] {
        &self.data
    }

    /// All entries, row after row, to be changed.
    pub fn as_mut_slice(&mut self) -> &mut [f64] {
        &mut self.data
    }

    /// The entries of row `i`.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.data[i * self.cols..][..self.cols]
    }

    /// The whole matrix as a window.
    pub fn view(&self) -> View<'_> {
        View { data: &self.data, rows: self.rows, cols: self.cols, stride: self.cols }
    }

    /// The largest magnitude of an entry, max |a_ij|; zero if there is none. A NaN is passed over:
    /// [`Matrix::first_non_finite`] finds it.
    pub fn max_abs(&self) -> f64 {
        let mut maxima = [0.0; LANES];
        for chunk in self.data.chunks(LANES) {
            fetch_ahead(chunk);
            for (max, x) in maxima.iter_mut().zip(chunk) {
                *max = if x.abs() > *max { x.abs() } else { *max };
            }
        }
        maxima.into_iter().fold(0.0, f64::max)
    }

    /// Row and column of the first entry that is NaN or infinite. Strassen's sums would spread it over
    /// whole quadrants, so such inputs are refused by name.
    pub fn first_non_finite(&self) -> Option<(usize, usize)> {
        // Whole chunks are judged without leaving early, which takes vectors; then the one is searched.
        let sound = |chunk: &[f64]| {
            fetch_ahead(chunk);
            chunk.iter().fold(true, |sound, x| sound & x.is_finite())
        };
        let chunk = self.data.chunks(1024).position(|chunk| !sound(chunk))? * 1024;
        let at = chunk + self.data[chunk..].iter().position(|x| !x.is_finite())?;
        Some((at / self.cols, at % self.cols))
    }
}

/// How many partial results a pass over numbers keeps, so that the compiler can hold them in vector registers.
const LANES: usize = 32;

/// A window of a matrix: `rows` x `cols` entries, its rows `stride` entries apart.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    data: &'a [f64],
    rows: usize,
    cols: usize,
    stride: usize,
}

impl<'a> View<'a> {
    /// A window of entries that lie row after row without a gap.
    ///
    /// # Panics
    /// If there are not `rows * cols` of them.
    pub fn new(data: &'a [f64], rows: usize, cols: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(cols), "a {rows} x {cols} window");
        Self { data, rows, cols, stride: cols }
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// How many columns it has.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The entries of row `i`.
    pub fn row(&self, i: usize) -> &'a [f64] {
        &self.data[i * self.stride..][..self.cols]
    }

    /// The part of it that begins at (`row`, `col`). What would reach over its edge is left out, so the
    /// result may be smaller than asked for, or empty.
    pub fn window(&self, row: usize, col: usize, rows: usize, cols: usize) -> View<'a> {
        let (rows, cols) = (rows.min(self.rows.saturating_sub(row)), cols.min(self.cols.saturating_sub(col)));
        if rows == 0 || cols == 0 {
            return View { data: &[], rows, cols, stride: 0 };
        }
        View { data: &self.data[row * self.stride + col..], rows, cols, stride: self.stride }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    pub(crate) fn rng(seed: u64) -> SmallRng {
        SmallRng::seed_from_u64(seed)
    }

    /// The definition of the product, against which every faster one is held.
    pub(crate) fn naive(a: View<'_>, b: View<'_>) -> Matrix {
        assert_eq!(a.cols(), b.rows());
        let mut c = Matrix::zeros(a.rows(), b.cols());
        for i in 0..a.rows() {
            for p in 0..a.cols() {
                let scale = a.row(i)[p];
                let into = &mut c.data[i * b.cols()..][..b.cols()];
                for (c, b) in into.iter_mut().zip(b.row(p)) {
                    *c += scale * b;
                }
            }
        }
        c
    }

    /// A matrix of NaN: whatever a product forgets to write stays visible.
    pub(crate) fn unwritten(rows: usize, cols: usize) -> Matrix {
        Matrix { rows, cols, data: vec![f64::NAN; rows * cols] }
    }

    #[test]
    fn a_window_sees_its_entries_and_is_cut_off_at_the_edge() {
        let a = Matrix::from_vec(3, 4, (0..12).map(f64::from).collect()).unwrap();
        let corner = a.view().window(1, 2, 5, 5);
        assert_eq!((corner.rows(), corner.cols()), (2, 2));
        assert_eq!((corner.row(0), corner.row(1)), (&[6.0, 7.0][..], &[10.0, 11.0][..]));
        assert_eq!(corner.window(1, 1, 1, 1).row(0), [11.0]);
        for (row, col) in [(3, 0), (0, 4), (9, 9)] {
            let empty = a.view().window(row, col, 2, 2);
            assert!((0..empty.rows()).all(|i| empty.row(i).is_empty()));
        }
    }

    #[test]
    fn zeros_in_memory_are_zeros_on_any_number_of_threads() {
        for (rows, cols) in [(0, 5), (1, 1), (3, 700), (1, 5 * PAGE + 1)] {
            for threads in 0..6 {
                let zeros = Matrix::zeros(rows, cols);
                assert_eq!(zeros.clone().in_memory(threads), zeros);
            }
        }
    }

    #[test]
    fn entries_must_fill_the_shape() {
        assert!(Matrix::from_vec(2, 2, vec![0.0; 3]).is_err());
        assert!(Matrix::from_vec(usize::MAX, 2, vec![]).is_err());
        assert!(Matrix::from_vec(0, 7, vec![]).is_ok());
    }

    #[test]
    fn the_first_entry_that_is_not_a_number_is_named() {
        let mut a = Matrix::random(70, 33, &mut rng(1));
        assert_eq!(a.first_non_finite(), None);
        a.as_mut_slice()[33 * 41 + 7] = f64::NEG_INFINITY;
        a.as_mut_slice()[33 * 41 + 8] = f64::NAN;
        assert_eq!(a.first_non_finite(), Some((41, 7)));
        assert_eq!(Matrix::zeros(0, 5).first_non_finite(), None);
    }

    #[test]
    fn random_entries_stay_in_their_range_and_differ() {
        let reals = Matrix::random(40, 50, &mut rng(2));
        assert!(reals.as_slice().iter().all(|x| (-1.0..1.0).contains(x)));
        assert!(reals.max_abs() > 0.99 && reals != Matrix::random(40, 50, &mut rng(3)));
        let whole = Matrix::random_integers(40, 50, &mut rng(2));
        assert!((-9..=9).all(|n| whole.as_slice().contains(&f64::from(n))));
        assert!(whole.as_slice().iter().all(|x| x.fract() == 0.0 && x.abs() <= 9.0));
    }
}
