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
//! use peerlab::matrix::{Matrix, freivalds::{Magnitudes, Verdict, check}};
//! let two = Matrix::from_vec(1, 1, vec![2.0])?;
//! let (four, five) = (Matrix::from_vec(1, 1, vec![4.0])?, Matrix::from_vec(1, 1, vec![5.0])?);
//! let largest = Magnitudes { left: 2.0, right: 2.0 };
//! assert_eq!(check(&two, &two, &four, largest, 1, &mut rand::rng()), Verdict::Right);
//! assert_eq!(check(&two, &two, &five, largest, 1, &mut rand::rng()), Verdict::Wrong { row: 0 });
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
//! enough. Nobody can prepare for x: it is drawn anew for every multiply and never leaves this process. Nor can
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
//! Where magnitudes are such that the comparison itself would overflow or vanish, x is scaled by a power of
//! two, which changes no digit.

use rand::{Rng, RngExt};

use super::strassen::{self, Plan};
use super::{Matrix, View, ViewMut, both, first_share, kernel, operand};

/// Unit roundoff: no operation is off by more than this share of its result.
const UNIT: f64 = f64::EPSILON / 2.0;

/// The least positive number: what an operation may lose by underflow.
const TINY: f64 = 5e-324;

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

/// No entry of the operands is larger than this. It need not be exact: it says how x is to be scaled.
#[derive(Clone, Copy, Debug)]
pub struct Magnitudes {
    /// In the left operand.
    pub left: f64,
    /// In the right operand.
    pub right: f64,
}

/// Is `c` the product of `a` and `b`? For matrices that are all in memory, on `threads` threads.
///
/// # Panics
/// If the shapes do not fit.
pub fn check(
    a: &Matrix,
    b: &Matrix,
    c: &Matrix,
    largest: Magnitudes,
    threads: usize,
    rng: &mut impl Rng,
) -> Verdict {
    assert_eq!(a.cols(), b.rows(), "operands that fit");
    assert_eq!((c.rows(), c.cols()), (a.rows(), b.cols()), "the shape of the product");
    let plan = Plan::new(a.rows(), a.cols(), b.cols(), 0);
    let witness = Witness::new(plan, b, largest, threads, rng);
    let mut probe = witness.probe(0);
    probe.threads = threads;
    probe.left(a.as_slice());
    probe.check(c.as_slice())
}

/// What the checks of all products of one plan share: x, and its products with the blocks of B.
#[derive(Debug)]
pub struct Witness {
    plan: Plan,
    /// x has entries below this.
    scale: f64,
    x: Vec<f64>,
    /// Row j holds row j of B times x: one number for each block that the row is cut into.
    blocks: Matrix,
    /// No entry of a right operand is larger.
    right_max: f64,
}

impl Witness {
    /// For the products of this plan, of which B is the right matrix and `largest` bounds the operands. All
    /// of B is read, by `threads` threads.
    ///
    /// # Panics
    /// If `b` has another shape than the plan.
    pub fn new(plan: Plan, b: &Matrix, largest: Magnitudes, threads: usize, rng: &mut impl Rng) -> Self {
        let ((_, inner, cols), (_, depth, in_block)) = (plan.shape(), plan.block());
        assert_eq!((b.rows(), b.cols()), (inner, cols), "the right matrix of the plan");
        let scale = scale(depth, in_block, largest);
        let x: Vec<f64> = (0..in_block).map(|_| scale * entry(rng)).collect();
        let side = 1 << plan.levels();
        let mut blocks = Matrix::zeros(inner, side);
        let max = times_blocks(b.view(), &x, blocks.view_mut(), threads);
        Self { plan, scale, x, blocks, right_max: max * side as f64 }
    }

    /// The check of product `i`.
    ///
    /// # Panics
    /// If `i` is not below [`Plan::products`].
    pub fn probe(&self, i: usize) -> Probe<'_> {
        let ((rows, inner, _), (height, depth, _)) = (self.plan.shape(), self.plan.block());
        // A plan for A·(B·x): its right operands are what those of the plan for A·B are, times x.
        let plan = Plan::new(rows, inner, self.blocks.cols(), self.plan.levels());
        let mut right = vec![0.0; depth];
        plan.right(i, &self.blocks).fill_rows(0, &mut right);
        let max = operand::max_abs(&right);
        Probe { witness: self, right, max, left: Times::new(height), judged: 0, threads: 1 }
    }
}

/// The check of one product: R·x, and what it becomes when L passes.
#[derive(Debug)]
pub struct Probe<'w> {
    witness: &'w Witness,
    /// R·x.
    right: Vec<f64>,
    /// Its largest magnitude.
    max: f64,
    /// L·(R·x), as far as L has passed.
    left: Times,
    /// How many rows of the product have been judged.
    judged: usize,
    /// How many threads share the rows that pass at once.
    threads: usize,
}

impl Probe<'_> {
    /// The next rows of the left operand.
    ///
    /// # Panics
    /// If there are more rows than it has, or not whole ones.
    pub fn left(&mut self, rows: &[f64]) {
        self.left.pass(rows, &self.right, self.threads);
    }

    /// Are these the next rows of the product of the operands that have passed?
    ///
    /// # Panics
    /// If there are more rows than it has, or not whole ones, or rows of the operands are missing.
    pub fn check(&mut self, rows: &[f64]) -> Verdict {
        // Rows without entries never pass.
        assert!(self.right.is_empty() || self.left.passed == self.left.sums.len(), "all of L has passed");
        let x = &self.witness.x;
        let mut got = Times::new(rows.len() / x.len().max(1));
        got.pass(rows, x, self.threads);
        let tolerance = self.tolerance();
        let expected = &self.left.sums[self.judged..][..got.sums.len()];
        // Not `>`: a NaN in the product makes every comparison with it false.
        let agrees = |(expected, got): (&f64, &f64)| (expected - got).abs() <= tolerance;
        let wrong = expected.iter().zip(&got.sums).position(|pair| !agrees(pair));
        let first = self.judged;
        self.judged += got.sums.len();
        wrong.map_or(Verdict::Right, |row| Verdict::Wrong { row: first + row })
    }

    /// How far a row may be off when the product is right; see the module's page.
    fn tolerance(&self) -> f64 {
        let Witness { plan, scale, right_max, .. } = self.witness;
        let (rows, inner, cols) = plan.block();
        let levels = strassen::local_levels(rows, inner, cols);
        let (k, n) = (inner as f64, cols as f64);
        let splits = 2f64.powi(levels as i32);
        let k0 = (k / splits).ceil();
        // The magnitude of R and x together; with a chosen scale this is far from both ends of the range.
        let probe = scale * right_max;
        // How errors of single entries, at most 1 each, add up in a row of P·x.
        let spread = n.min(10.0 * n.sqrt());
        // A right product: Higham's bound, doubled, in units of max|L| max|R|.
        let answer = 2.0 * 12f64.powi(levels as i32) * (k0 * k0 + 5.0 * k0) * UNIT * spread;
        // P·x and, through L, R·x: sums of n terms, each at most k max|L| max|R|; and R itself, a sum of blocks.
        let formed = 2.0 * self.witness.blocks.cols() as f64 * UNIT;
        let sums = k * n * (2.0 * rounding(cols) + formed);
        // L·y with y = R·x: a sum of k terms, each at most max|L| max|y|.
        let outer = k * rounding(inner) * self.max * self.left.max;
        // Underflow: in R·x (then multiplied by L), in the product, in L·y and in P·x.
        let underflow =
            TINY * self.left.max.max(1.0) * k * n + TINY * (splits * splits * k * spread * scale + k + n);
        (answer + sums) * probe * self.left.max + outer + underflow
    }
}

/// One entry of x: an even sign times a magnitude from [1/2, 1).
fn entry(rng: &mut impl Rng) -> f64 {
    let magnitude = 0.5 + rng.random::<f64>() / 2.0;
    if rng.random() { magnitude } else { -magnitude }
}

/// The power of two by which x is scaled, so that the comparison stays away from the ends of the range: R·x
/// is at most 2^r, L·(R·x) at most 2^(r + l), and if need be both are brought to lie around 1.
fn scale(inner: usize, cols: usize, largest: Magnitudes) -> f64 {
    let r = (cols as f64).log2() + largest.right.log2();
    let l = (inner as f64).log2() + largest.left.log2();
    let zero = r == f64::NEG_INFINITY || l == f64::NEG_INFINITY;
    if zero || (r.abs() <= COMFORTABLE && (r + l).abs() <= COMFORTABLE) {
        return 1.0;
    }
    2f64.powi((-r - l / 2.0).clamp(-1000.0, 1000.0) as i32)
}

/// The relative error of a row times a vector, a sum of `terms` products: as many partial sums as there are
/// lanes, and then their sum.
fn rounding(terms: usize) -> f64 {
    (terms.div_ceil(operand::LANES) + operand::LANES + 1) as f64 * UNIT
}

/// The rows of a matrix, each cut into blocks as long as x, times x: a number for each block into the same row of
/// `out`. Returns the largest magnitude in the matrix. On so many threads.
fn times_blocks(matrix: View<'_>, x: &[f64], mut out: ViewMut<'_>, threads: usize) -> f64 {
    let rows = matrix.rows();
    if threads <= 1 || rows < 2 {
        let mut max = 0.0_f64;
        for i in 0..rows {
            for (block, sum) in matrix.row(i).chunks(x.len().max(1)).zip(out.row(i)) {
                max = max.max(kernel::times(block, &x[..block.len()], std::slice::from_mut(sum)));
            }
        }
        return max;
    }
    let upper = first_share(rows, threads);
    let (above, below) =
        (matrix.window(0, 0, upper, matrix.cols()), matrix.window(upper, 0, rows, matrix.cols()));
    let (out_above, out_below) = out.split_rows(upper);
    let (above, below) = both(
        "times_blocks",
        || times_blocks(above, x, out_above, threads / 2),
        || times_blocks(below, x, out_below, threads - threads / 2),
    );
    above.max(below)
}

/// A matrix whose rows pass in order, some at a time, times a vector.
#[derive(Debug)]
struct Times {
    /// One for each row; zero until it has passed.
    sums: Vec<f64>,
    /// How many rows have passed.
    passed: usize,
    /// The largest magnitude in them.
    max: f64,
}

impl Times {
    fn new(rows: usize) -> Self {
        Self { sums: vec![0.0; rows], passed: 0, max: 0.0 }
    }

    fn pass(&mut self, rows: &[f64], vector: &[f64], threads: usize) {
        if vector.is_empty() {
            return;
        }
        assert_eq!(rows.len() % vector.len(), 0, "whole rows of {} entries", vector.len());
        let count = rows.len() / vector.len();
        let sums = &mut self.sums[self.passed..][..count];
        let (rows, sums) = (View::new(rows, count, vector.len()), ViewMut::new(sums, count, 1));
        self.max = self.max.max(times_blocks(rows, vector, sums, threads));
        self.passed += count;
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{naive, rng};
    use super::*;

    fn scaled(mut matrix: Matrix, scale: f64) -> Matrix {
        matrix.as_mut_slice().iter_mut().for_each(|x| *x *= scale);
        matrix
    }

    fn verdict(a: &Matrix, b: &Matrix, c: &Matrix, seed: u64) -> Verdict {
        let largest = Magnitudes { left: a.max_abs(), right: b.max_abs() };
        let threads = seed as usize % 4;
        check(a, b, c, largest, threads, &mut rng(seed))
    }

    fn random(m: usize, k: usize, n: usize) -> (Matrix, Matrix) {
        (Matrix::random(m, k, &mut rng(1)), Matrix::random(k, n, &mut rng(2)))
    }

    /// From where squares underflow to where they overflow, and opposite scales whose product is harmless.
    const SCALES: [(f64, f64); 15] = [
        (1.0, 1.0),
        (1e-3, 1e9),
        (1e140, 1e150),
        (1e153, 1e153),
        (1e-150, 1e-140),
        (1e300, 1e-300),
        (1e-300, 1e300),
        (1e-300, 1e306),
        (1e306, 1e-300),
        (1e-310, 1e10),
        (1e10, 1e-310),
        (1e303, 1.0),
        (1e-155, 1e-158),
        (1e-160, 1e-161),
        (1e-300, 1e-300),
    ];

    #[test]
    fn right_products_are_right_at_every_size_and_scale() {
        for (m, k, n) in [(1, 1, 1), (1, 300, 1), (300, 1, 2), (2, 1, 300), (65, 129, 33), (200, 200, 200)] {
            for (scale_a, scale_b) in SCALES {
                let (a, b) = random(m, k, n);
                let (a, b) = (scaled(a, scale_a), scaled(b, scale_b));
                let c = naive(a.view(), b.view());
                for seed in 0..5 {
                    let found = verdict(&a, &b, &c, seed);
                    assert_eq!(found, Verdict::Right, "{m} x {k} x {n} at {scale_a:e}, {scale_b:e}");
                }
            }
        }
    }

    #[test]
    fn the_tolerance_covers_highams_bound_with_the_levels_that_a_peer_adds() {
        for (n, levels) in [(1000, 0), (2048, 1), (4096, 1)] {
            let (size, largest) = (n as usize, Magnitudes { left: 1.0, right: 1.0 });
            // More rows do not make the sum along a row longer.
            let plan = Plan::new(3 * size, size, size, 0);
            let mut witness = Witness::new(plan, &Matrix::zeros(size, size), largest, 2, &mut rng(1));
            witness.right_max = 1.0;
            let mut probe = witness.probe(0);
            probe.left.max = 1.0;
            let tolerance = probe.tolerance();
            let (n0, n) = (f64::from(n >> levels), f64::from(n));
            let bound = (12f64.powi(levels) * (n0 * n0 + 5.0 * n0) - 5.0 * n) * UNIT;
            // A row adds up n such errors, by Hoeffding's inequality to less than 10 √n of them.
            assert!((1.0..4.0).contains(&(tolerance / (10.0 * n.sqrt() * bound))), "{n}: {tolerance:e}");
        }
    }

    #[test]
    fn one_entry_wrong_by_a_millionth_is_found_at_every_scale() {
        let (m, k, n) = (60, 100, 80);
        for (scale_a, scale_b) in SCALES {
            // Products near the least numbers have few digits: a millionth of them does not exist.
            if scale_a * scale_b < 1e-295 {
                continue;
            }
            let (a, b) = random(m, k, n);
            let (a, b) = (scaled(a, scale_a), scaled(b, scale_b));
            let right = naive(a.view(), b.view());
            for seed in 0..20 {
                let mut c = right.clone();
                let at = (seed as usize * 4801) % (m * n);
                c.as_mut_slice()[at] += 1e-6 * right.max_abs();
                let found = verdict(&a, &b, &c, seed);
                assert_eq!(found, Verdict::Wrong { row: at / n }, "at {scale_a:e}, {scale_b:e}");
            }
        }
    }

    #[test]
    fn one_look_at_b_serves_the_checks_of_all_products() {
        for (m, k, n, levels) in [(128, 128, 128, 1), (37, 50, 61, 1), (41, 33, 57, 2), (5, 1, 3, 2)] {
            let a = Matrix::random_integers(m, k, &mut rng(1));
            let b = Matrix::random_integers(k, n, &mut rng(2));
            let plan = Plan::new(m, k, n, levels);
            let (rows, inner, cols) = plan.block();
            let largest = Magnitudes { left: 36.0, right: 36.0 };
            for threads in 1..4 {
                let witness = Witness::new(plan, &b, largest, threads, &mut rng(3));
                for i in 0..plan.products() {
                    let (mut l, mut r) = (Matrix::zeros(rows, inner), Matrix::zeros(inner, cols));
                    plan.left(i, &a).fill_rows(0, l.as_mut_slice());
                    plan.right(i, &b).fill_rows(0, r.as_mut_slice());
                    let mut product = naive(l.view(), r.view());
                    let judge = |product: &Matrix| {
                        let mut probe = witness.probe(i);
                        probe.left(l.as_slice());
                        probe.check(product.as_slice())
                    };
                    assert_eq!(judge(&product), Verdict::Right, "product {i}");
                    let (row, col) = (i % rows, (7 * i + 3) % cols);
                    product.as_mut_slice()[row * cols + col] -= 1.0;
                    assert_eq!(judge(&product), Verdict::Wrong { row }, "product {i}");
                }
            }
        }
    }

    #[test]
    fn rows_may_pass_in_any_portions_and_are_judged_as_they_come() {
        let (a, b) = random(30, 21, 17);
        let c = naive(a.view(), b.view());
        let mut wrong = c.clone();
        wrong.as_mut_slice()[17 * 23 + 16] += 1e-9;
        let largest = Magnitudes { left: 1.0, right: 1.0 };
        let witness = Witness::new(Plan::new(30, 21, 17, 0), &b, largest, 1, &mut rng(1));
        for portion in 1..31 {
            let judge = |product: &Matrix| -> Vec<Verdict> {
                let mut probe = witness.probe(0);
                a.as_slice().chunks(portion * 21).for_each(|rows| probe.left(rows));
                product.as_slice().chunks(portion * 17).map(|rows| probe.check(rows)).collect()
            };
            assert!(judge(&c).iter().all(|verdict| *verdict == Verdict::Right), "{portion}");
            for (n, verdict) in judge(&wrong).into_iter().enumerate() {
                let expected = if n == 23 / portion { Verdict::Wrong { row: 23 } } else { Verdict::Right };
                assert_eq!(verdict, expected, "portion {n} of {portion} rows");
            }
        }
    }

    #[test]
    #[should_panic(expected = "all of L has passed")]
    fn nothing_is_judged_before_all_of_the_left_operand_has_passed() {
        let (a, b) = random(3, 3, 3);
        let largest = Magnitudes { left: 1.0, right: 1.0 };
        let witness = Witness::new(Plan::new(3, 3, 3, 0), &b, largest, 1, &mut rng(1));
        let mut probe = witness.probe(0);
        probe.left(&a.as_slice()[..6]);
        probe.check(&[0.0; 3]);
    }

    #[test]
    fn errors_that_would_cancel_for_simple_vectors_are_found() {
        let (a, b) = random(40, 40, 40);
        let right = naive(a.view(), b.view());
        for seed in 0..200 {
            for (first, second) in [(0.5, 0.5), (0.5, -0.5), (1e-3, 1e-3), (1e3, -1e3)] {
                let mut c = right.clone();
                c.as_mut_slice()[40 * 7 + 3] += first;
                c.as_mut_slice()[40 * 7 + 31] += second;
                assert_eq!(verdict(&a, &b, &c, seed), Verdict::Wrong { row: 7 });
            }
        }
    }

    #[test]
    fn a_liar_who_sends_something_else_is_found() {
        let (a, b) = random(50, 50, 50);
        let right = naive(a.view(), b.view());
        let mut swapped = right.clone();
        swapped.as_mut_slice().chunks_exact_mut(50).for_each(|row| row.swap(3, 4));
        let transposed =
            Matrix::from_vec(50, 50, (0..2500).map(|x| right.row(x % 50)[x / 50]).collect()).unwrap();
        let other_way = naive(b.view(), a.view());
        for lie in [swapped, transposed, other_way, scaled(right.clone(), -1.0), Matrix::zeros(50, 50)] {
            assert!(matches!(verdict(&a, &b, &lie, 1), Verdict::Wrong { .. }));
        }
    }

    #[test]
    fn what_is_not_a_number_is_never_right() {
        let (a, b) = random(20, 20, 20);
        for poison in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MAX] {
            let mut c = naive(a.view(), b.view());
            c.as_mut_slice()[20 * 11 + 19] = poison;
            assert_eq!(verdict(&a, &b, &c, 1), Verdict::Wrong { row: 11 }, "{poison}");
        }
    }

    #[test]
    fn zero_times_anything_is_exactly_zero() {
        let (zero, any) = (Matrix::zeros(9, 9), Matrix::random(9, 9, &mut rng(1)));
        let mut wrong = Matrix::zeros(9, 9);
        wrong.as_mut_slice()[4] = 1e-300;
        for (a, b) in [(&zero, &any), (&any, &zero), (&zero, &zero)] {
            assert_eq!(verdict(a, b, &zero, 1), Verdict::Right);
            assert_eq!(verdict(a, b, &wrong, 1), Verdict::Wrong { row: 0 });
        }
    }

    #[test]
    fn empty_products_are_right_and_empty_sums_are_zero() {
        for (m, k, n) in [(0, 3, 3), (3, 3, 0), (0, 0, 0)] {
            assert_eq!(
                verdict(&Matrix::zeros(m, k), &Matrix::zeros(k, n), &Matrix::zeros(m, n), 1),
                Verdict::Right
            );
        }
        let (a, b, mut c) = (Matrix::zeros(3, 0), Matrix::zeros(0, 2), Matrix::zeros(3, 2));
        assert_eq!(verdict(&a, &b, &c, 1), Verdict::Right);
        c.as_mut_slice()[4] = f64::NAN;
        assert_eq!(verdict(&a, &b, &c, 1), Verdict::Wrong { row: 2 });
    }

    #[test]
    fn the_answer_of_a_peer_that_uses_strassen_itself_is_right() {
        // Large enough that the local product is cut; entries of very different size in the blocks.
        let n = 2048;
        let (mut a, mut b) = random(n, n, n);
        a.view_mut().row(3)[..n / 2].fill(1e6);
        b.view_mut().row(n / 2 + 5).fill(-1e5);
        let mut c = Matrix::zeros(n, n);
        strassen::multiply(a.view(), b.view(), c.as_mut_slice(), 1, &|| true).unwrap();
        assert!(strassen::local_levels(n, n, n) > 0);
        assert_eq!(verdict(&a, &b, &c, 1), Verdict::Right);
        c.as_mut_slice()[n * 1000 + 999] += 1e-5 * a.max_abs() * b.max_abs();
        assert_eq!(verdict(&a, &b, &c, 1), Verdict::Wrong { row: 1000 });
    }
}
