//! The seven products against the definition: whole numbers exactly, reals under the normwise bound.

use proptest::prelude::*;

use super::super::tests::{naive, rng, unwritten};
use super::*;

/// By plan and assembly, as over the network, every product by the definition.
fn through_plan(a: &Matrix, b: &Matrix, levels: u32) -> Matrix {
    let plan = Plan::new(a.rows(), a.cols(), b.cols(), levels);
    let (rows, inner, cols) = plan.block();
    let mut c = Matrix::zeros(a.rows(), b.cols());
    let assembly = Assembly::new(plan, &mut c);
    for i in (0..plan.products()).rev() {
        let (left, right) = (plan.left(i, a.view()), plan.right(i, b.view()));
        let mut l = unwritten(rows, inner);
        let mut r = unwritten(inner, cols);
        left.fill_rows(0, l.as_mut_slice());
        right.fill_rows(0, r.as_mut_slice());
        assembly.add(i, 0, naive(l.view(), r.view()).as_slice());
    }
    drop(assembly);
    c
}

fn locally(a: &Matrix, b: &Matrix, levels: u32, threads: usize) -> Matrix {
    let mut c = unwritten(a.rows(), b.cols());
    multiply_at(levels, a.view(), b.view(), c.as_mut_slice(), threads, &|| true).unwrap();
    c
}

fn whole_numbers(m: usize, k: usize, n: usize, seed: u64) -> (Matrix, Matrix) {
    (Matrix::random_integers(m, k, &mut rng(seed)), Matrix::random_integers(k, n, &mut rng(!seed)))
}

proptest! {
    #[test]
    fn the_seven_products_make_the_product_of_any_shape(
        m in 1usize..20, k in 1usize..20, n in 1usize..20, levels in 0u32..4, seed: u64,
    ) {
        let (a, b) = whole_numbers(m, k, n, seed);
        prop_assert_eq!(through_plan(&a, &b, levels), naive(a.view(), b.view()));
    }

    #[test]
    fn local_recursion_makes_the_product_of_any_shape_on_any_number_of_threads(
        m in 1usize..90, k in 1usize..90, n in 1usize..90, levels in 0u32..4, threads in 0usize..5, seed: u64,
    ) {
        let (a, b) = whole_numbers(m, k, n, seed);
        prop_assert_eq!(locally(&a, &b, levels, threads), naive(a.view(), b.view()));
    }
}

#[test]
fn blocks_cover_a_matrix_and_those_at_its_edges_are_smaller() {
    let mut c = Matrix::zeros(11, 17);
    for (at, block) in Plan::new(11, 1, 17, 3).cut(&mut c.data).into_iter().enumerate() {
        let (rows, cols) = ([2, 2, 2, 2, 2, 1, 0, 0][at / 8], [3, 3, 3, 3, 3, 2, 0, 0][at % 8]);
        assert_eq!(block.len(), if cols > 0 { rows } else { 0 }, "rows of block {at}");
        for row in block {
            assert_eq!(row.len(), cols, "columns of block {at}");
            row.fill(at as f64);
        }
    }
    for i in 0..11 {
        for j in 0..17 {
            assert_eq!(c.row(i)[j], (i / 2 * 8 + j / 3) as f64, "at ({i}, {j})");
        }
    }
}

#[test]
fn large_odd_products_are_exact_on_whole_numbers() {
    for (m, k, n) in [(1025, 1100, 1031), (129, 257, 63), (1, 2000, 1), (2000, 1, 3)] {
        let (a, b) = whole_numbers(m, k, n, 1);
        let expected = naive(a.view(), b.view());
        for (levels, threads) in [(0, 1), (0, 2), (1, 1), (1, 2), (1, 4), (2, 1), (2, 2), (1, 3)] {
            let c = locally(&a, &b, levels, threads);
            assert!(c == expected, "{m} x {k} by {k} x {n} at {levels} on {threads}");
        }
    }
}

#[test]
fn answers_are_added_in_any_order_by_many_threads() {
    let (a, b) = whole_numbers(50, 40, 70, 5);
    let plan = Plan::new(50, 40, 70, 2);
    let mut c = Matrix::zeros(50, 70);
    let assembly = Assembly::new(plan, &mut c);
    let answer = |i| {
        let ((rows, inner, cols), left, right) =
            (plan.block(), plan.left(i, a.view()), plan.right(i, b.view()));
        let (mut l, mut r) = (unwritten(rows, inner), unwritten(inner, cols));
        left.fill_rows(0, l.as_mut_slice());
        right.fill_rows(0, r.as_mut_slice());
        naive(l.view(), r.view())
    };
    std::thread::scope(|scope| {
        for first in 0..5 {
            let (assembly, answer) = (&assembly, &answer);
            scope.spawn(move || {
                (first..49).step_by(5).for_each(|i| assembly.add(i, 0, answer(i).as_slice()));
            });
        }
    });
    drop(assembly);
    assert_eq!(c, naive(a.view(), b.view()));
}

#[test]
fn an_answer_may_come_in_portions_and_anew_after_it_broke_off() {
    let (a, b) = whole_numbers(9, 6, 11, 5);
    let plan = Plan::new(9, 6, 11, 1);
    let (rows, inner, cols) = plan.block();
    for portion in 1..=rows {
        let mut c = Matrix::zeros(9, 11);
        let assembly = Assembly::new(plan, &mut c);
        for i in 0..plan.products() {
            let (mut l, mut r) = (unwritten(rows, inner), unwritten(inner, cols));
            plan.left(i, a.view()).fill_rows(0, l.as_mut_slice());
            plan.right(i, b.view()).fill_rows(0, r.as_mut_slice());
            let answer = naive(l.view(), r.view());
            assembly.add(i, 0, &answer.as_slice()[..3 * cols]);
            for (n, part) in answer.as_slice().chunks(portion * cols).enumerate() {
                assembly.add(i, n * portion, part);
            }
        }
        drop(assembly);
        assert_eq!(c, naive(a.view(), b.view()), "{portion} rows at a time");
    }
}

#[test]
fn every_entry_of_the_table_is_needed() {
    // The classical product of 2 x 2 matrices of blocks, as a polynomial: the coefficient of
    // A_p B_q in C_r, summed over the seven, is 1 where the definition has it and 0 elsewhere.
    for (p, q, r) in (0..64).map(|x| (x / 16, x / 4 % 4, x % 4)) {
        let sum: i32 = SEVEN.iter().map(|m| i32::from(m.left[p] * m.right[q] * m.into[r])).sum();
        let (row, inner, col) = (p / 2, p % 2, q % 2);
        let defined = q / 2 == inner && r == 2 * row + col;
        assert_eq!(sum, i32::from(defined), "A{p} B{q} in C{r}");
    }
}

#[test]
fn reals_stay_under_the_normwise_bound() {
    let n = 256;
    let (a, b) = (Matrix::random(n, n, &mut rng(1)), Matrix::random(n, n, &mut rng(2)));
    let exact = naive(a.view(), b.view());
    for levels in 0..4u32 {
        let c = locally(&a, &b, levels, 1);
        let error =
            c.as_slice().iter().zip(exact.as_slice()).fold(0.0, |e: f64, (c, x)| e.max((c - x).abs()));
        let (grown, k0) = (12f64.powi(levels as i32), (n >> levels) as f64);
        // Higham's theorem 23.2, and the classical bound for the product it is compared with.
        let bound = (grown * (k0 * k0 + 5.0 * k0) + (n * n) as f64) * f64::EPSILON / 2.0;
        assert!(error <= bound, "{levels} levels: {error:e} > {bound:e}");
        assert!(levels == 0 || error > 0.0, "a bound that nothing approaches proves nothing");
    }
}

#[test]
fn products_of_one_turn_share_no_block_of_c() {
    let turns = |levels, threads| Plan::new(8, 8, 8, levels).turns(threads);
    assert_eq!(turns(0, 2), [[0]]);
    assert_eq!(turns(1, 2), [vec![0], vec![1, 4], vec![2, 3], vec![5, 6]]);
    assert_eq!(turns(1, 3), [[0], [1], [2], [3], [4], [5], [6]]);
    let plan = Plan::new(8, 8, 8, 2);
    let of_two = plan.turns(4);
    assert!(of_two.len() < 30, "{} turns for 49 products", of_two.len());
    for turn in &of_two {
        for at in 0..16 {
            assert!(
                turn.iter().filter(|&&i| plan.targets(i).iter().any(|target| target.1 == at)).count() <= 1,
                "{turn:?}"
            );
        }
    }
    let mut all = of_two.concat();
    all.sort_unstable();
    assert!(all.into_iter().eq(0..49));
}

#[test]
fn a_product_is_cut_once_where_its_sides_are_long() {
    assert_eq!([1, 1999, 2000, 2048, 8192].map(|n| local_levels(n, n, n)), [0, 0, 1, 1, 1]);
    assert_eq!(local_levels(100, 9000, 9000), 0);
}

#[test]
fn the_bound_counts_the_levels_of_the_serving_peers() {
    assert_eq!(Plan::new(4, 4, 4, 1).bound(2.0, 3.0), 8.0 * 4.0 * 6.0);
    assert_eq!(Plan::new(4096, 4096, 4096, 1).bound(1.0, 1.0), 64.0 * 4096.0);
    assert!(exact_bound(1, 10, 1e200, 1e200).is_infinite());
    // Harmless products of operands that are not: B12 - B22 alone would overflow.
    assert_eq!(exact_bound(2, 10, 1e-300, 1e300), 4e300);
    assert!(exact_bound(1, 10, 0.0, f64::MAX).is_infinite());
}

#[test]
fn a_product_of_very_many_rows_is_right() {
    let rows = BAND + 3;
    let a = Matrix::from_vec(rows, 1, (0..rows).map(|i| i as f64).collect()).unwrap();
    let mut c = vec![f64::NAN; rows];
    multiply(a.view(), View::new(&[2.0], 1, 1), &mut c, 2, &|| true).unwrap();
    assert!(c.iter().enumerate().all(|(i, &c)| c == 2.0 * i as f64));
}

#[test]
fn a_product_nobody_waits_for_is_abandoned() {
    let a = Matrix::zeros(300, 300);
    let mut c = Matrix::zeros(300, 300);
    let asked = std::sync::atomic::AtomicUsize::new(0);
    let stop = || asked.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 2;
    assert!(multiply(a.view(), a.view(), c.as_mut_slice(), 1, &stop).is_err());
    assert_eq!(asked.into_inner(), 3);
}

#[test]
fn a_product_is_called_by_its_digits_in_base_7() {
    let name = |levels, i| Plan::new(8, 8, 8, levels).name(i);
    assert_eq!([name(0, 0), name(1, 0), name(1, 6)], ["A · B", "M1", "M7"]);
    assert_eq!([name(2, 6), name(2, 9), name(3, 7)], ["M1.7", "M2.3", "M1.2.1"]);
}
