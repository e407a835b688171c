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
//! Sizes of zero are legal everywhere: an m x 0 matrix times a 0 x n matrix is the m x n zero matrix.
//!
//! Nothing here waits, prints, or knows the time; randomness is passed in. What is missing: any type but
//! `f64`, sparse matrices, and transposition. A matrix that is mostly zeros is multiplied zero by zero.

use std::hint::black_box;

use parking_lot::Mutex;
use rand::{Rng, RngExt};

use crate::error::{Error, Result};
use crate::thread;

pub mod freivalds;
pub mod kernel;
mod micro;
pub mod npy;
mod operand;
pub mod strassen;

pub use operand::Operand;

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
        touch(&mut self.data, threads);
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

    /// The whole matrix as a window that can be written through.
    pub fn view_mut(&mut self) -> ViewMut<'_> {
        ViewMut::new(&mut self.data, self.rows, self.cols)
    }

    /// The largest magnitude of an entry, max |a_ij|; zero if there is none. A NaN is passed over:
    /// [`Matrix::first_non_finite`] finds it.
    pub fn max_abs(&self) -> f64 {
        max_abs(&self.data)
    }

    /// Row and column of the first entry that is NaN or infinite. Strassen's sums would spread it over
    /// whole quadrants, so such inputs are refused by name.
    pub fn first_non_finite(&self) -> Option<(usize, usize)> {
        // Whole chunks are judged without leaving early, which takes vectors; then the one is searched.
        let sound = |chunk: &[f64]| chunk.iter().fold(true, |sound, x| sound & x.is_finite());
        let chunk = self.data.chunks(1024).position(|chunk| !sound(chunk))? * 1024;
        let at = chunk + self.data[chunk..].iter().position(|x| !x.is_finite())?;
        Some((at / self.cols, at % self.cols))
    }
}

/// How many partial results a pass over numbers keeps, so that the compiler can hold them in vector registers.
const LANES: usize = 32;

/// The largest magnitude, zero if there is none; a NaN is passed over.
fn max_abs(data: &[f64]) -> f64 {
    let mut maxima = [0.0; LANES];
    for chunk in data.chunks(LANES) {
        for (max, x) in maxima.iter_mut().zip(chunk) {
            *max = if x.abs() > *max { x.abs() } else { *max };
        }
    }
    maxima.into_iter().fold(0.0, f64::max)
}

/// Writes a zero to every page of `zeros`.
fn touch(zeros: &mut [f64], threads: usize) {
    if threads <= 1 {
        return zeros.chunks_mut(PAGE).for_each(|page| page[0] = black_box(0.0));
    }
    let (above, below) = zeros.split_at_mut(first_share(zeros.len(), threads));
    both("touch", || touch(above, threads / 2), || touch(below, threads - threads / 2));
}

/// How many of so many things the first half of the threads take, so that each thread gets as many.
fn first_share(things: usize, threads: usize) -> usize {
    things * (threads / 2) / threads
}

/// Does two things at once, the first on a thread of that name; where no thread can be had, one after the
/// other. Whichever thread gets to run `first` takes it out of its place.
pub(crate) fn both<X: Send, Y>(
    name: &str,
    first: impl FnOnce() -> X + Send,
    second: impl FnOnce() -> Y,
) -> (X, Y) {
    let first = Mutex::new(Some(first));
    let run_first = || first.lock().take().map(|first| first());
    std::thread::scope(|scope| {
        let helper = thread::start_scoped(scope, name, run_first);
        let second = second();
        let first = match helper {
            Ok(helper) => helper.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Err(_) => run_first(),
        };
        (first.expect("it was there to be taken, once"), second)
    })
}

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

/// A window of a matrix that can be written through: a list of its rows, so that windows beside each other can
/// be cut apart and written by two threads at once.
#[derive(Debug)]
pub struct ViewMut<'a> {
    rows: Vec<&'a mut [f64]>,
    cols: usize,
}

impl<'a> ViewMut<'a> {
    /// A window of entries that lie row after row without a gap.
    ///
    /// # Panics
    /// If there are not `rows * cols` of them.
    pub fn new(mut data: &'a mut [f64], rows: usize, cols: usize) -> Self {
        assert_eq!(Some(data.len()), rows.checked_mul(cols), "a {rows} x {cols} window");
        let next = |_| data.split_off_mut(..cols).expect("there are as many rows as that");
        Self { rows: (0..rows).map(next).collect(), cols }
    }

    /// How many rows it has.
    pub fn rows(&self) -> usize {
        self.rows.len()
    }

    /// How many columns it has.
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// The entries of row `i`.
    pub fn row(&mut self, i: usize) -> &mut [f64] {
        self.rows[i]
    }

    /// All its rows.
    fn into_rows(self) -> Vec<&'a mut [f64]> {
        self.rows
    }

    /// The whole window again, for as long as this one is borrowed.
    pub(crate) fn borrowed(&mut self) -> ViewMut<'_> {
        ViewMut { rows: self.rows.iter_mut().map(|row| &mut **row).collect(), cols: self.cols }
    }

    /// Cuts it below row `at`.
    pub(crate) fn split_rows(mut self, at: usize) -> (ViewMut<'a>, ViewMut<'a>) {
        let below = self.rows.split_off(at.min(self.rows.len()));
        let cols = self.cols;
        (self, ViewMut { rows: below, cols })
    }

    /// Cuts it into `side` x `side` blocks of `rows` x `cols`, row after row; those at the edges may lack rows
    /// or columns, or have none.
    ///
    /// # Panics
    /// If the blocks do not cover it.
    pub(crate) fn blocks(self, side: usize, rows: usize, cols: usize) -> Vec<ViewMut<'a>> {
        assert!(self.rows.len() <= side * rows && self.cols <= side * cols, "blocks for the whole window");
        let width = |q: usize| cols.min(self.cols.saturating_sub(q * cols));
        let block = |at| ViewMut { rows: Vec::with_capacity(rows), cols: width(at % side) };
        let mut blocks: Vec<_> = (0..side * side).map(block).collect();
        for (i, mut rest) in self.rows.into_iter().enumerate() {
            for block in blocks.iter_mut().skip(i / rows * side).take(side) {
                block.rows.push(rest.split_off_mut(..block.cols).expect("a row is as long as its blocks"));
            }
        }
        blocks
    }

    /// Sets every entry.
    pub fn fill(&mut self, value: f64) {
        self.rows.iter_mut().for_each(|row| row.fill(value));
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
    fn rows_split_into_windows_that_do_not_overlap() {
        let mut a = Matrix::zeros(5, 3);
        let (mut top, mut bottom) = a.view_mut().split_rows(2);
        top.rows.iter_mut().for_each(|row| row[1..].fill(1.0));
        bottom.rows[1..].iter_mut().for_each(|row| row.fill(2.0));
        assert_eq!((top.rows(), bottom.rows()), (2, 3));
        assert_eq!(a.as_slice(), [0., 1., 1., 0., 1., 1., 0., 0., 0., 2., 2., 2., 2., 2., 2.]);
    }

    #[test]
    fn blocks_cover_a_window_and_those_at_its_edges_are_smaller() {
        let mut a = Matrix::zeros(5, 7);
        for (at, mut block) in a.view_mut().blocks(4, 2, 3).into_iter().enumerate() {
            let shape = ([2, 2, 1, 0][at / 4], [3, 3, 1, 0][at % 4]);
            assert_eq!((block.rows(), block.cols()), shape, "block {at}");
            block.fill(at as f64);
        }
        for i in 0..5 {
            for j in 0..7 {
                assert_eq!(a.row(i)[j], (i / 2 * 4 + j / 3) as f64, "at ({i}, {j})");
            }
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
    fn both_are_done_and_a_panic_of_one_is_not_lost() {
        let here = std::thread::current().id();
        let (other, mine) = both("other", || std::thread::current().id(), || std::thread::current().id());
        assert!(mine == here && other != here);
        assert!(std::panic::catch_unwind(|| both("other", || panic!("on purpose"), || ())).is_err());
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
