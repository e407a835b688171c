//! Is C really A·B? Freivalds' check.
//!
//! A peer that was asked for P = L·R sends an answer, and nobody wants to multiply again to see whether
//! it is right. Freivalds ("Probabilistic machines can use less running time", IFIP 1977): choose a
//! random vector x and compare P·x with L·(R·x). That is three products of a matrix and a vector, 2n^2
//! operations each instead of 2n^3. If P = L·R, the two sides agree for every x; if not, they differ for
//! almost every x. (Computing (L·R)·x instead would multiply first and save nothing.)
//!
//! ```
//! use peerlab::matrix::{Matrix, freivalds::{Verdict, check}, strassen::Plan};
//! let two = Matrix::from_vec(1, 1, vec![2.0])?;
//! let plan = Plan::new(1, 1, 1, 0);
//! let (left, right) = (plan.left(0, &two), plan.right(0, &two));
//! assert_eq!(check(&left, &right, &[4.0], &mut rand::rng()), Verdict::Right);
//! assert_eq!(check(&left, &right, &[5.0], &mut rand::rng()), Verdict::Wrong { row: 0 });
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
//! * If the row has other wrong entries, fix their x. The row looks right only if x_j falls into an interval
//!   of length 2t/|E|, and the density of x_j is nowhere above 1: the error is missed with a probability of
//!   at most 4t/|E|, the factor two covering t itself on both sides. (With x_j = ±1, two equal errors would
//!   cancel every other time; with x = (1, ..., 1), opposite ones always.)
//!
//! t is about 10^-7 of a typical entry of the product of random 2048 x 2048 matrices, so one vector is
//! enough. Nobody can prepare for x: it is drawn after the answer has arrived.
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
//! A row of P·x sums c such errors. They were made before the signs of x were drawn, so they add up like
//! coins: by Hoeffding's inequality the sum exceeds 10 √c e with a probability below 10^-21, and it never
//! exceeds c e. To this come the rounding errors of the check itself (bounded as sums of c, k and c terms)
//! and, for numbers near the end of the range, an underflow of 2^-1074 in each operation.
//!
//! Where magnitudes are such that the comparison itself would overflow or vanish, x is scaled by a power of
//! two, which changes no digit, and the check is run once more.

use rand::{Rng, RngExt};

use super::{Operand, View, operand, strassen};

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
        /// A row of the product in which no rounding explains the difference.
        row: usize,
    },
}

/// Is `product`, in row order, the product of the two operands?
///
/// The operands are taken to be finite. Costs one pass over the blocks of each operand and over the product.
///
/// # Panics
/// If the shapes do not fit.
pub fn check(left: &Operand<'_>, right: &Operand<'_>, product: &[f64], rng: &mut impl Rng) -> Verdict {
    let (rows, inner, cols) = (left.rows(), left.cols(), right.cols());
    assert_eq!(inner, right.rows(), "operands that fit");
    assert_eq!(Some(product.len()), rows.checked_mul(cols), "a product of {rows} x {cols}");
    if product.is_empty() {
        return Verdict::Right;
    }
    if inner == 0 {
        // An empty sum: zero, exactly.
        let wrong = product.iter().position(|x| *x != 0.0);
        return wrong.map_or(Verdict::Right, |at| Verdict::Wrong { row: at / cols });
    }
    let x: Vec<f64> = (0..cols).map(|_| probe(rng)).collect();
    let mut comparison = Comparison::new(left, right, product, &x, 1.0);
    if let Some(scale) = comparison.better_scale(inner, cols) {
        let x: Vec<f64> = x.iter().map(|x| x * scale).collect();
        comparison = Comparison::new(left, right, product, &x, scale);
    }
    let tolerance = comparison.tolerance(rows, inner, cols);
    // Not `>`: a NaN in the product makes every comparison with it false.
    let agrees = |(expected, got): (&f64, &f64)| (expected - got).abs() <= tolerance;
    match comparison.expected.iter().zip(&comparison.got).position(|pair| !agrees(pair)) {
        None => Verdict::Right,
        Some(row) => Verdict::Wrong { row },
    }
}

/// One entry of x: an even sign times a magnitude from [1/2, 1).
fn probe(rng: &mut impl Rng) -> f64 {
    let magnitude = 0.5 + rng.random::<f64>() / 2.0;
    if rng.random() { magnitude } else { -magnitude }
}

/// Both sides of the comparison, and the magnitudes that bound how far they may differ.
struct Comparison {
    /// L·(R·x).
    expected: Vec<f64>,
    /// P·x.
    got: Vec<f64>,
    /// x has entries below this.
    scale: f64,
    max_left: f64,
    max_right: f64,
    /// max |R·x|
    max_inner: f64,
}

impl Comparison {
    fn new(left: &Operand<'_>, right: &Operand<'_>, product: &[f64], x: &[f64], scale: f64) -> Self {
        let (y, max_right) = right.times_and_max(x);
        let (expected, max_left) = left.times_and_max(&y);
        let product = View::new(product, left.rows(), right.cols());
        let (got, _) = Operand::new(left.rows(), right.cols(), vec![(1.0, product)]).times_and_max(x);
        Self { expected, got, scale, max_left, max_right, max_inner: operand::max_abs(&y) }
    }

    /// How far a row may be off when the product is right; see the module's page.
    fn tolerance(&self, rows: usize, inner: usize, cols: usize) -> f64 {
        let levels = strassen::local_levels(rows, inner, cols);
        let (k, c) = (inner as f64, cols as f64);
        let (splits, k0) = (2f64.powi(levels as i32), (inner as f64 / 2f64.powi(levels as i32)).ceil());
        // The magnitude of x and R together; with a chosen scale this is far from both ends of the range.
        let probe = self.scale * self.max_right;
        // How errors of single entries, at most 1 each, add up in a row of P·x.
        let spread = c.min(10.0 * c.sqrt());
        // A right product: Higham's bound, doubled, in units of max|L| max|R|.
        let answer = 2.0 * 12f64.powi(levels as i32) * (k0 * k0 + 5.0 * k0) * UNIT * spread;
        // P·x and, through L, R·x: sums of c terms, each at most k max|L| max|R|.
        let sums = 2.0 * k * c * summed(cols);
        let rounding = (answer + sums) * probe * self.max_left;
        // L·y: a sum of k terms, each at most max|L| max|y|.
        let outer = k * summed(inner) * self.max_inner * self.max_left;
        // Underflow: in the product, in R·x (then multiplied by L), in L·y and in P·x.
        let underflow =
            TINY * self.max_left * k * c + TINY * (splits * splits * k * spread * self.scale + k + c);
        rounding + outer + underflow
    }

    /// The power of two by which x should be scaled, if this comparison came too near to the ends of the
    /// range: R·x is at most 2^r, L·(R·x) at most 2^(r + l), and both are to lie around 1.
    fn better_scale(&self, inner: usize, cols: usize) -> Option<f64> {
        let r = (cols as f64).log2() + self.max_right.log2();
        let l = (inner as f64).log2() + self.max_left.log2();
        let zero = r == f64::NEG_INFINITY || l == f64::NEG_INFINITY;
        if zero || (r.abs() <= COMFORTABLE && (r + l).abs() <= COMFORTABLE) {
            return None;
        }
        Some(2f64.powi((-r - l / 2.0).clamp(-1000.0, 1000.0) as i32))
    }
}

/// The relative error of a sum of `terms` products as [`Operand::times`] forms it: a number of shorter sums,
/// added at the end.
fn summed(terms: usize) -> f64 {
    (terms.div_ceil(operand::LANES) + operand::LANES) as f64 * UNIT
}

#[cfg(test)]
mod tests {
    use super::super::tests::{naive, rng};
    use super::super::{Matrix, strassen::Plan};
    use super::*;

    fn scaled(mut matrix: Matrix, scale: f64) -> Matrix {
        matrix.as_mut_slice().iter_mut().for_each(|x| *x *= scale);
        matrix
    }

    /// The check of `c` as the product of whole matrices.
    fn verdict(a: &Matrix, b: &Matrix, c: &Matrix, seed: u64) -> Verdict {
        let plan = Plan::new(a.rows(), a.cols(), b.cols(), 0);
        check(&plan.left(0, a), &plan.right(0, b), c.as_slice(), &mut rng(seed))
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
        for (n, levels) in [(1000, 0), (2048, 1), (4096, 2)] {
            let ones = || Comparison {
                expected: vec![],
                got: vec![],
                scale: 1.0,
                max_left: 1.0,
                max_right: 1.0,
                max_inner: 0.0,
            };
            let (n0, n) = (f64::from(n >> levels), f64::from(n));
            let bound = (12f64.powi(levels) * (n0 * n0 + 5.0 * n0) - 5.0 * n) * UNIT;
            let tolerance = ones().tolerance(n as usize, n as usize, n as usize);
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
    fn whole_numbers_off_by_one_are_found_through_sums_of_blocks() {
        let n = 128;
        let (a, b) = (Matrix::random_integers(n, n, &mut rng(1)), Matrix::random_integers(n, n, &mut rng(2)));
        let plan = Plan::new(n, n, n, 1);
        for i in 0..plan.products() {
            let (left, right) = (plan.left(i, &a), plan.right(i, &b));
            let (mut l, mut r) = (Matrix::zeros(n / 2, n / 2), Matrix::zeros(n / 2, n / 2));
            left.fill_rows(0, l.as_mut_slice());
            right.fill_rows(0, r.as_mut_slice());
            let mut product = naive(l.view(), r.view());
            assert_eq!(check(&left, &right, product.as_slice(), &mut rng(3)), Verdict::Right);
            product.as_mut_slice()[64 * 17 + 5] -= 1.0;
            assert_eq!(check(&left, &right, product.as_slice(), &mut rng(3)), Verdict::Wrong { row: 17 });
        }
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
        wrong.as_mut_slice()[9 * 4] = 1e-300;
        for (a, b) in [(&zero, &any), (&any, &zero), (&zero, &zero)] {
            assert_eq!(verdict(a, b, &zero, 1), Verdict::Right);
            assert_eq!(verdict(a, b, &wrong, 1), Verdict::Wrong { row: 4 });
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
        a.view_mut().window(0, 0, n / 2, n / 2).row(3).fill(1e6);
        b.view_mut().window(n / 2, 0, n / 2, n).row(5).fill(-1e5);
        let mut c = Matrix::zeros(n, n);
        strassen::multiply(a.view(), b.view(), &mut c.view_mut(), 1, &|| true).unwrap();
        assert!(strassen::local_levels(n, n, n) > 0);
        assert_eq!(verdict(&a, &b, &c, 1), Verdict::Right);
        c.as_mut_slice()[n * 1000 + 1000] += 1e-5 * a.max_abs() * b.max_abs();
        assert_eq!(verdict(&a, &b, &c, 1), Verdict::Wrong { row: 1000 });
    }
}
