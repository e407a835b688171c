//! Right answers are right at every size and scale, and wrong ones are found, however small the error.

use super::super::strassen;
use super::super::tests::{naive, rng};
use super::probe::{Numbers, ProbeOf, Times};
use super::*;
use rand::RngExt;

fn scaled(mut matrix: Matrix, scale: f64) -> Matrix {
    matrix.as_mut_slice().iter_mut().for_each(|x| *x *= scale);
    matrix
}

fn verdict(a: &Matrix, b: &Matrix, c: &Matrix, seed: u64) -> Verdict {
    check(a, b, c, Entries::of(a, b), seed as usize % 4, &mut rng(seed))
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
        let (size, entries) = (n as usize, Entries { left: 1.0, right: 1.0, whole: false });
        // More rows do not make the sum along a row longer.
        let plan = Plan::new(3 * size, size, size, 0);
        let mut shared = Shared::<Reals>::new(plan, &Matrix::zeros(size, size), entries, 2, &mut rng(1));
        shared.right_max = 1.0;
        let left = Times { sums: Vec::new(), passed: 0, max: 1.0, known: 1.0 };
        let (shared, right) = (&shared, vec![0.0; size]);
        let tolerance = Reals::tolerance(&ProbeOf { shared, right, max: 0.0, left, judged: 0, threads: 1 });
        let (n0, n) = (f64::from(n >> levels), f64::from(n));
        let bound = (12f64.powi(levels) * (n0 * n0 + 5.0 * n0) - 5.0 * n) * reals::UNIT;
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
    for (m, k, n, levels) in
        [(128, 128, 128, 1), (37, 50, 61, 1), (41, 33, 57, 2), (5, 1, 3, 2), (5, 7, 3, 2), (3, 64, 1, 1)]
    {
        let a = Matrix::random_integers(m, k, &mut rng(1));
        let b = Matrix::random_integers(k, n, &mut rng(2));
        let plan = Plan::new(m, k, n, levels);
        let (rows, inner, cols) = plan.block();
        for (threads, whole) in [(1, false), (2, true), (3, false), (3, true)] {
            let witness = witness(plan, &b, Entries { whole, ..Entries::of(&a, &b) }, threads, &mut rng(3));
            for i in 0..plan.products() {
                let (mut l, mut r) = (Matrix::zeros(rows, inner), Matrix::zeros(inner, cols));
                plan.left(i, a.view()).fill_rows(0, l.as_mut_slice());
                plan.right(i, b.view()).fill_rows(0, r.as_mut_slice());
                let mut product = naive(l.view(), r.view());
                let judge = |product: &Matrix| {
                    let mut probe = witness.probe(i, 1);
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
    let witness = witness(Plan::new(30, 21, 17, 0), &b, Entries::of(&a, &b), 1, &mut rng(1));
    for portion in 1..31 {
        let judge = |product: &Matrix| -> Vec<Verdict> {
            let mut probe = witness.probe(0, 2);
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
    let witness = witness(Plan::new(3, 3, 3, 0), &b, Entries::of(&a, &b), 1, &mut rng(1));
    let mut probe = witness.probe(0, 1);
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
    // With whole numbers even the least positive one is none.
    wrong.as_mut_slice()[4] = 5e-324;
    assert_eq!(verdict(&zero, &zero, &wrong, 1), Verdict::Wrong { row: 0 });
}

#[test]
fn the_answer_of_a_peer_that_uses_strassen_itself_is_right() {
    // Large enough that the local product is cut; entries of very different size in the blocks.
    let n = 2048;
    let (mut a, mut b) = random(n, n, n);
    a.as_mut_slice()[3 * n..][..n / 2].fill(1e6);
    b.as_mut_slice()[(n / 2 + 5) * n..][..n].fill(-1e5);
    let mut c = Matrix::zeros(n, n);
    strassen::multiply(a.view(), b.view(), c.as_mut_slice(), 1, &|| true).unwrap();
    assert!(strassen::local_levels(n, n, n) > 0);
    assert_eq!(verdict(&a, &b, &c, 1), Verdict::Right);
    c.as_mut_slice()[n * 1000 + 999] += 1e-5 * a.max_abs() * b.max_abs();
    assert_eq!(verdict(&a, &b, &c, 1), Verdict::Wrong { row: 1000 });
}

/// Whole numbers evenly from -`max` to `max`.
fn whole_numbers(rows: usize, cols: usize, max: f64, seed: u64) -> Matrix {
    let mut matrix = Matrix::zeros(rows, cols);
    let (mut rng, max) = (rng(seed), max as i64);
    matrix.as_mut_slice().fill_with(|| rng.random_range(-max..=max) as f64);
    matrix
}

#[test]
fn a_product_of_whole_numbers_that_is_off_by_one_is_never_accepted() {
    for (m, k, n, levels) in
        [(1, 1, 1, 0), (7, 700, 9, 0), (40, 30, 50, 1), (23, 1100, 19, 2), (3, 5, 1030, 1)]
    {
        let plan = Plan::new(m, k, n, levels);
        // The largest entries with which the bound still holds, ordinary ones, and one large matrix with a small one.
        let largest = ((whole::EXACT - 1.0) / plan.bound(1.0, 1.0)).sqrt().floor();
        let lopsided = ((whole::EXACT - 1.0) / plan.bound(1.0, 1.0)).floor();
        for (max_a, max_b) in [(largest, largest), (9.0, 9.0), (lopsided, 1.0), (1.0, lopsided)] {
            let (a, b) = (whole_numbers(m, k, max_a, 1), whole_numbers(k, n, max_b, 2));
            let entries = Entries { left: max_a, right: max_b, whole: true };
            assert!(entries.exact(plan), "{m} x {k} x {n} with {max_a:e} and {max_b:e}");
            let (rows, inner, cols) = plan.block();
            let i = plan.products() - 1;
            let (mut l, mut r) = (Matrix::zeros(rows, inner), Matrix::zeros(inner, cols));
            plan.left(i, a.view()).fill_rows(0, l.as_mut_slice());
            plan.right(i, b.view()).fill_rows(0, r.as_mut_slice());
            let right = naive(l.view(), r.view());
            for seed in 0..50 {
                let witness = witness(plan, &b, entries, 1, &mut rng(seed));
                let judge = |product: &Matrix| {
                    let mut probe = witness.probe(i, 1);
                    probe.left(l.as_slice());
                    probe.check(product.as_slice())
                };
                assert_eq!(judge(&right), Verdict::Right, "{m} x {k} x {n} with {max_a:e} and {max_b:e}");
                let at = seed as usize * 7919 % (rows * cols);
                let verdict = Verdict::Wrong { row: at / cols };
                for error in [1.0, -1.0, 0.5, 1e-300, 9e15, f64::NAN, f64::INFINITY, 1e300] {
                    let mut wrong = right.clone();
                    wrong.as_mut_slice()[at] += error;
                    assert!(
                        wrong != right && judge(&wrong) == verdict || wrong == right,
                        "{error:e} at {at}"
                    );
                }
            }
        }
    }
}

#[test]
fn errors_in_a_product_of_whole_numbers_that_would_cancel_are_found() {
    let (a, b) = (whole_numbers(20, 40, 1e6, 1), whole_numbers(40, 30, 1e6, 2));
    let right = naive(a.view(), b.view());
    for seed in 0..1000 {
        let mut wrong = right.clone();
        wrong.as_mut_slice()[30 * 7 + 3] += 1.0;
        wrong.as_mut_slice()[30 * 7 + 4 + seed as usize % 20] -= 1.0;
        assert_eq!(verdict(&a, &b, &wrong, seed), Verdict::Wrong { row: 7 });
    }
}

#[test]
fn whole_numbers_beyond_the_exact_range_are_checked_as_reals() {
    let plan = Plan::new(50, 50, 50, 0);
    let limit = (whole::EXACT / 50.0).sqrt();
    let entries = |max| Entries { left: max, right: max, whole: true };
    assert!(entries(limit.floor()).exact(plan) && !entries(limit.ceil()).exact(plan));
    let (a, b) = (whole_numbers(50, 50, 1e9, 1), whole_numbers(50, 50, 1e9, 2));
    assert_eq!(verdict(&a, &b, &naive(a.view(), b.view()), 1), Verdict::Right);
    // The bound is 2^53 + 1, which no f64 is, and so is the product.
    for (k, a, b) in [(3, 1.0, 3_002_399_751_580_331.0), (1, 321.0, 28_059_810_762_433.0)] {
        let (a, b) =
            (Matrix::from_vec(1, k, vec![a; k]).unwrap(), Matrix::from_vec(k, 1, vec![b; k]).unwrap());
        assert_eq!(verdict(&a, &b, &naive(a.view(), b.view()), 1), Verdict::Right);
    }
    let (half, two_53) =
        (Matrix::from_vec(1, 1, vec![0.5]), Matrix::from_vec(1, 1, vec![2.0 * whole::EXACT]));
    for not_whole in [half.unwrap(), two_53.unwrap()] {
        assert!(!Entries::of(&not_whole, &Matrix::zeros(1, 1)).whole, "{not_whole:?}");
    }
}

#[test]
fn the_residue_without_a_division_is_that_of_a_division() {
    use whole::{P, residue};
    let edges =
        [0, 1, 2, P / 2 - 1, P / 2, P / 2 + 1, P - 1, P, P + 1, 2 * P - 1, P * P, (1 << 61) * P, 1 << 126];
    let mut rng = rng(1);
    let drawn = std::iter::repeat_with(|| rng.random::<i128>() >> rng.random_range(2..127)).take(10_000);
    for number in edges.into_iter().flat_map(|edge| [edge, -edge]).chain(drawn) {
        assert_eq!(i128::from(residue(number)), (number + P / 2).rem_euclid(P) - P / 2, "{number}");
    }
}
