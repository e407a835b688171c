//! Every kernel of this machine against the definition, on whole numbers, where both are exact.

use proptest::prelude::*;

use super::super::Matrix;
use super::super::tests::{naive, rng, unwritten};
use super::*;

fn rows(matrix: &mut Matrix) -> Vec<&mut [f64]> {
    let cols = matrix.cols();
    matrix.as_mut_slice().chunks_mut(cols).collect()
}

/// Every kernel of this machine against the definition.
fn all_agree(m: usize, k: usize, n: usize) {
    let (a, b) = (Matrix::random_integers(m, k, &mut rng(1)), Matrix::random_integers(k, n, &mut rng(2)));
    let expected = naive(a.view(), b.view());
    for kernel in Kernel::available() {
        let mut c = unwritten(m, n);
        kernel.multiply(a.view(), b.view(), c.as_mut_slice());
        assert!(c == expected, "{kernel:?} on {m} x {k} by {k} x {n}");
    }
}

#[test]
fn every_kernel_is_exact_on_whole_numbers_around_its_block_sizes() {
    let around = Kernel::available().flat_map(|kernel| {
        let Blocks { kc, mc, nc } = Blocks::fit(kernel.run(TileSize), caches());
        [(mc, kc, 48), (mc + 1, kc + 1, 49), (2 * mc - 1, 2 * kc - 1, 25), (3, 7, nc + 1)]
    });
    for (m, k, n) in around.chain([(1, 1, 1), (1, 999, 1)]) {
        all_agree(m, k, n);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn every_kernel_is_exact_on_any_shape(m in 1usize..70, k in 1usize..70, n in 1usize..70) {
        all_agree(m, k, n);
    }
}

#[test]
fn blocks_fit_into_the_caches() {
    let (avx512, avx2) = ((8, 24), (6, 8));
    let blocks =
        |tile, l2_kib: usize, l3_mib: usize| Blocks::fit(tile, [32 << 10, l2_kib << 10, l3_mib << 20]);
    assert_eq!(blocks(avx512, 1024, 32), Blocks { kc: 512, mc: 64, nc: 1032 });
    assert_eq!(blocks(avx2, 1024, 32), Blocks { kc: 256, mc: 132, nc: 2048 });
    assert_eq!(blocks(avx2, 256, 6), Blocks { kc: 256, mc: 36, nc: 384 }, "a laptop of 2015");
    assert_eq!(blocks(avx512, 2048, 260), Blocks { kc: 768, mc: 88, nc: 2064 }, "a server");
    assert_eq!(blocks(avx512, 0, 0), Blocks { kc: 512, mc: 8, nc: 24 });
    assert!(crate::thread::caches().iter().all(|&bytes| bytes >= 1024));
}

#[test]
fn the_portable_kernel_runs_everywhere_and_the_best_comes_first() {
    let all: Vec<_> = Kernel::available().collect();
    assert_eq!(format!("{:?}", all.last().unwrap()), "Kernel(Portable)");
    assert_eq!(all.first(), Some(&Kernel::best()));
}

#[test]
fn a_product_goes_to_windows_with_signs_and_nowhere_else() {
    let (a, b) = (Matrix::random_integers(9, 5, &mut rng(1)), Matrix::random_integers(5, 30, &mut rng(2)));
    let expected = naive(a.view(), b.view());
    for kernel in Kernel::available() {
        // The second window hangs over the right edge of C, where it is cut off.
        let mut c = Matrix::zeros(40, 50);
        c.as_mut_slice().fill(100.0);
        let left = Operand::new(9, 5, vec![(1.0, a.view())]);
        let right = Operand::new(5, 30, vec![(1.0, b.view())]);
        let mut all = rows(&mut c);
        let (above, below) = all.split_at_mut(20);
        let above = above[2..11].iter_mut().map(|row| &mut row[3..33]).collect();
        let below = below[..9].iter_mut().map(|row| &mut row[41..]).collect();
        let into = vec![
            Target { sign: 1.0, fresh: true, rows: above },
            Target { sign: -1.0, fresh: false, rows: below },
        ];
        let mut product = MultiplyAdd { left, right, into };
        kernel.compute(&mut product, &mut Packs::default(), &|| true).unwrap();
        for i in 0..40 {
            for j in 0..50 {
                let entry = match (i, j) {
                    (2..11, 3..33) => expected.row(i - 2)[j - 3],
                    (20..29, 41..) => 100.0 - expected.row(i - 20)[j - 41],
                    _ => 100.0,
                };
                assert_eq!(c.row(i)[j], entry, "{kernel:?} at ({i}, {j})");
            }
        }
    }
}

#[test]
fn bands_of_a_product_share_its_rows_and_none_is_empty() {
    let (a, b) = (Matrix::random_integers(7, 5, &mut rng(1)), Matrix::random_integers(5, 9, &mut rng(2)));
    for count in 1..10 {
        // One target is cut off at its lower edge, in the middle of a band or between two.
        let (mut whole, mut upper) = (unwritten(7, 9), unwritten(4, 9));
        let target = |rows| Target { sign: 1.0, fresh: true, rows };
        let into = vec![target(rows(&mut whole)), target(rows(&mut upper))];
        let (left, right) =
            (Operand::new(7, 5, vec![(1.0, a.view())]), Operand::new(5, 9, vec![(1.0, b.view())]));
        let bands = MultiplyAdd { left, right, into }.bands(count);
        assert!(bands.len() <= count && bands.iter().all(|band| band.left.rows() > 0), "{count}");
        for mut band in bands {
            Kernel::best().compute(&mut band, &mut Packs::default(), &|| true).unwrap();
        }
        let expected = naive(a.view(), b.view());
        assert_eq!((&whole, upper.as_slice()), (&expected, &expected.as_slice()[..36]), "{count}");
    }
}

#[test]
fn an_operand_is_a_signed_sum_with_virtual_zeros() {
    let a = Matrix::random_integers(7, 7, &mut rng(3));
    let block = |row, col| a.view().window(row, col, 4, 4);
    let sum = Operand::new(4, 4, vec![(1.0, block(0, 0)), (-1.0, block(4, 4))]);
    let mut built = unwritten(4, 4);
    sum.fill_rows(0, built.as_mut_slice());
    let at = |i: usize, j: usize| if i < 7 && j < 7 { a.row(i)[j] } else { 0.0 };
    for i in 0..4 {
        for j in 0..4 {
            assert_eq!(built.row(i)[j], at(i, j) - at(i + 4, j + 4));
        }
    }
    let identity = Matrix::from_vec(4, 4, (0..16).map(|x| f64::from(x % 5 == 0)).collect()).unwrap();
    let mut c = unwritten(4, 4);
    let into = vec![Target { sign: 1.0, fresh: true, rows: rows(&mut c) }];
    let right = Operand::new(4, 4, vec![(1.0, identity.view())]);
    let mut product = MultiplyAdd { left: sum, right, into };
    Kernel::best().compute(&mut product, &mut Packs::default(), &|| true).unwrap();
    assert_eq!(c, built);
}

#[test]
fn pieces_cover_everything_and_are_nearly_equal() {
    for (length, size, multiple) in [(1, 8, 1), (513, 512, 1), (1024, 512, 1), (1057, 1056, 24), (97, 96, 8)]
    {
        let all: Vec<_> = pieces(length, size, multiple).collect();
        assert_eq!(all.iter().map(|(_, piece)| piece).sum::<usize>(), length);
        assert!(all.iter().all(|(_, piece)| *piece <= size && *piece > 0));
    }
    assert_eq!(pieces(513, 512, 1).collect::<Vec<_>>(), [(0, 257), (257, 256)]);
}
