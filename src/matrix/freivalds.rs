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
//! [`local_levels`](super::strassen::local_levels) gives, because the serving peer runs the same program. Doubled, this
//! leaves room for kernels that add in another order.
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

mod probe;
mod reals;
mod whole;

use rand::Rng;

use self::probe::Shared;
pub use self::probe::{Entries, Probe, Verdict, Witness};
use self::reals::Reals;
use self::whole::Residues;
use super::Matrix;
use super::strassen::Plan;
use crate::thread::on_threads;

impl Entries {
    /// Of these two matrices. Both are read, at the same time.
    pub fn of(a: &Matrix, b: &Matrix) -> Self {
        let look = |matrix: &Matrix| match whole::largest(matrix.as_slice()) {
            Some(largest) => (largest, true),
            None => (matrix.max_abs(), false),
        };
        let found = on_threads("look", vec![a, b], look);
        Self { left: found[0].0, right: found[1].0, whole: found.iter().all(|(_, whole)| *whole) }
    }

    /// Whether the product by this plan is exact: all are whole, and so is every sum on the way.
    pub fn exact(&self, plan: Plan) -> bool {
        // Not `<=`: the bound is rounded itself, and may come from above.
        self.whole && plan.bound(self.left, self.right) < whole::EXACT
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
    let plan = Plan::new(a.rows(), a.cols(), b.cols(), 0);
    let witness = witness(plan, b, entries, threads, rng);
    let mut probe = witness.probe(0, threads);
    probe.left(a.as_slice());
    probe.check(c.as_slice())
}

/// The witness for the products of this plan, of which B is the right matrix, with such entries in A and B. All of B
/// is read, by `threads` threads.
///
/// # Panics
/// If `b` has another shape than the plan.
pub fn witness(
    plan: Plan,
    b: &Matrix,
    entries: Entries,
    threads: usize,
    rng: &mut impl Rng,
) -> Box<dyn Witness> {
    match entries.exact(plan) {
        true => Box::new(Shared::<Residues>::new(plan, b, entries, threads, rng)),
        false => Box::new(Shared::<Reals>::new(plan, b, entries, threads, rng)),
    }
}

#[cfg(test)]
mod tests;
