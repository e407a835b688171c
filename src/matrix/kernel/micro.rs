//! The micro-kernels: MR x NR of C in registers.
//!
//! One step of a micro-kernel takes a column of MR numbers of A and a row of NR numbers of B and adds all
//! MR x NR products to as many sums. The sums stay in registers for all steps; they are what limits MR and
//! NR. A vector of B is loaded once and used MR times, a number of A is copied into all lanes of a vector
//! and used NR / lanes times:
//!
//! ```text
//!              lanes  registers  MR x NR   sums + B + A
//!     AVX-512    8       32       8 x 24   24 + 3 + 2
//!     AVX2       4       16       4 x 12   12 + 3 + 1
//!     portable   (whatever the compiler makes of arrays)  4 x 4
//! ```
//!
//! This file holds all the `unsafe` of the project, of three kinds: calling a function that was compiled for
//! vectors which the processor must have, loading and storing vectors at addresses, and hints to the memory.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;
use std::hint::black_box;

use super::super::operand::times_inlined;
use super::{Abandoned, Ahead, Job, LINE, Operand, Tile, five_loops};

/// Which vectors a kernel is written for. A value of this type is proof that this processor has them:
/// [`Width::available`] is the only place that makes one of the wide ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// 8 numbers at once.
    #[cfg(target_arch = "x86_64")]
    Avx512,
    /// 4 numbers at once.
    #[cfg(target_arch = "x86_64")]
    Avx2,
    /// What every processor has.
    Portable,
}

impl Width {
    /// What this processor has, the widest first.
    pub(super) fn available() -> impl Iterator<Item = Width> {
        #[cfg(target_arch = "x86_64")]
        let wide = [
            is_x86_feature_detected!("avx512f").then_some(Width::Avx512),
            (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Width::Avx2),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let wide = [None];
        wide.into_iter().flatten().chain([Width::Portable])
    }

    /// The widest.
    pub(super) fn best() -> Width {
        Width::available().next().unwrap_or(Width::Portable)
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            #[cfg(target_arch = "x86_64")]
            Self::Avx512 => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Self::Avx2 => "AVX2",
            Self::Portable => "portable",
        }
    }
}

/// Runs the five loops with the micro-kernel for these vectors.
pub(super) fn run(width: Width, job: Job<'_, '_>) -> Result<(), Abandoned> {
    match width {
        // SAFETY: this `Width` exists, so the processor has AVX-512F.
        #[cfg(target_arch = "x86_64")]
        Width::Avx512 => unsafe { run_avx512(job) },
        // SAFETY: this `Width` exists, so the processor has AVX2 and FMA.
        #[cfg(target_arch = "x86_64")]
        Width::Avx2 => unsafe { run_avx2(job) },
        Width::Portable => five_loops::<4, 4>(job, tile_portable),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn run_avx512(job: Job<'_, '_>) -> Result<(), Abandoned> {
    five_loops::<8, 24>(job, |a, b, ahead, tile| tile_avx512(a, b, ahead, tile))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2(job: Job<'_, '_>) -> Result<(), Abandoned> {
    five_loops::<4, 12>(job, |a, b, ahead, tile| tile_avx2(a, b, ahead, tile))
}

/// Rows of a sum of blocks: [`Operand::fill_rows`] with these vectors.
pub(crate) fn fill_rows(sum: &Operand<'_>, first_row: usize, out: &mut [f64]) {
    match Width::best() {
        // SAFETY: this `Width` exists, so the processor has AVX-512F.
        #[cfg(target_arch = "x86_64")]
        Width::Avx512 => unsafe { fill_rows_avx512(sum, first_row, out) },
        // SAFETY: this `Width` exists, so the processor has AVX2 and FMA.
        #[cfg(target_arch = "x86_64")]
        Width::Avx2 => unsafe { fill_rows_avx2(sum, first_row, out) },
        Width::Portable => sum.fill_rows_inlined(first_row, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn fill_rows_avx512(sum: &Operand<'_>, first_row: usize, out: &mut [f64]) {
    sum.fill_rows_inlined(first_row, out);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn fill_rows_avx2(sum: &Operand<'_>, first_row: usize, out: &mut [f64]) {
    sum.fill_rows_inlined(first_row, out);
}

/// Rows times a vector: [`times_inlined`] with these vectors.
pub(crate) fn times(rows: &[f64], vector: &[f64], out: &mut [f64]) -> f64 {
    match Width::best() {
        // SAFETY: this `Width` exists, so the processor has AVX-512F.
        #[cfg(target_arch = "x86_64")]
        Width::Avx512 => unsafe { times_avx512(rows, vector, out) },
        // SAFETY: this `Width` exists, so the processor has AVX2 and FMA.
        #[cfg(target_arch = "x86_64")]
        Width::Avx2 => unsafe { times_avx2(rows, vector, out) },
        Width::Portable => times_inlined(rows, vector, out),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn times_avx512(rows: &[f64], vector: &[f64], out: &mut [f64]) -> f64 {
    times_inlined(rows, vector, out)
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn times_avx2(rows: &[f64], vector: &[f64], out: &mut [f64]) -> f64 {
    times_inlined(rows, vector, out)
}

/// Steps that a micro-kernel takes between two looks at its loop's end and at what to fetch: a few more
/// instructions in each step cost it a tenth on a core that issues six at a time.
const BUNCH: usize = 4;

/// The MR rows of a packed panel of A, each as long as the panel of B is deep.
fn rows<const MR: usize>(a: &[f64], depth: usize) -> [&[f64]; MR] {
    std::array::from_fn(|i| &a[i * depth..][..depth])
}

/// Takes a step for each row of a packed panel of B, and asks for memory once in a bunch.
///
/// Always inlined, so that the steps are compiled for the vectors of the caller.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn in_bunches<const NR: usize>(b: &[[f64; NR]], ahead: &Ahead, mut step: impl FnMut(usize, &[f64; NR])) {
    let (bunches, rest) = b.as_chunks::<BUNCH>();
    for (n, bunch) in bunches.iter().enumerate() {
        ahead.fetch(n);
        for (i, b) in bunch.iter().enumerate() {
            step(n * BUNCH + i, b);
        }
    }
    for (i, b) in rest.iter().enumerate() {
        step(bunches.len() * BUNCH + i, b);
    }
}

/// Never inlined: among the five loops the compiler may run out of registers and keep sums in memory, which
/// takes twice as long.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
#[inline(never)]
fn tile_avx512(a: &[f64], b: &[f64], ahead: &Ahead, tile: &mut Tile<8, 24>) {
    let b = b.as_chunks::<24>().0;
    let a = rows::<8>(a, b.len());
    let mut sums = [[_mm512_setzero_pd(); 3]; 8];
    let step = |p: usize, b: &[f64; 24]| {
        // SAFETY: 8 entries from 0, 8 and 16 on lie within the 24 entries of `b`.
        let b: [_; 3] = std::array::from_fn(|j| unsafe { _mm512_loadu_pd(b.as_ptr().add(8 * j)) });
        for (sums, a) in sums.iter_mut().zip(a) {
            // SAFETY: each row of `a` has one entry for each of the rows of `b` that `p` counts.
            let a = _mm512_set1_pd(unsafe { *a.get_unchecked(p) });
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = _mm512_fmadd_pd(a, b, *sum);
            }
        }
    };
    in_bunches(b, ahead, step);
    for (row, sums) in tile.0.iter_mut().zip(sums) {
        for (j, sum) in sums.into_iter().enumerate() {
            // SAFETY: 8 entries from 0, 8 and 16 on lie within the 24 entries of `row`.
            unsafe { _mm512_storeu_pd(row.as_mut_ptr().add(8 * j), sum) };
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
#[inline(never)]
fn tile_avx2(a: &[f64], b: &[f64], ahead: &Ahead, tile: &mut Tile<4, 12>) {
    let b = b.as_chunks::<12>().0;
    let a = rows::<4>(a, b.len());
    let mut sums = [[_mm256_setzero_pd(); 3]; 4];
    let step = |p: usize, b: &[f64; 12]| {
        // SAFETY: 4 entries from 0, 4 and 8 on lie within the 12 entries of `b`.
        let b: [_; 3] = std::array::from_fn(|j| unsafe { _mm256_loadu_pd(b.as_ptr().add(4 * j)) });
        for (sums, a) in sums.iter_mut().zip(a) {
            // SAFETY: each row of `a` has one entry for each of the rows of `b` that `p` counts.
            let a = _mm256_set1_pd(unsafe { *a.get_unchecked(p) });
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = _mm256_fmadd_pd(a, b, *sum);
            }
        }
    };
    in_bunches(b, ahead, step);
    for (row, sums) in tile.0.iter_mut().zip(sums) {
        for (j, sum) in sums.into_iter().enumerate() {
            // SAFETY: 4 entries from 0, 4 and 8 on lie within the 12 entries of `row`.
            unsafe { _mm256_storeu_pd(row.as_mut_ptr().add(4 * j), sum) };
        }
    }
}

fn tile_portable(a: &[f64], b: &[f64], _: &Ahead, tile: &mut Tile<4, 4>) {
    let b = b.as_chunks::<4>().0;
    let [a0, a1, a2, a3] = rows::<4>(a, b.len());
    let mut sums = [[0.0; 4]; 4];
    for ((((b, a0), a1), a2), a3) in b.iter().zip(a0).zip(a1).zip(a2).zip(a3) {
        for (sums, a) in sums.iter_mut().zip([a0, a1, a2, a3]) {
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum += a * b;
            }
        }
    }
    tile.0 = sums;
}

impl Ahead {
    /// Asks for the run of lines that is due at bunch `n`.
    #[cfg(target_arch = "x86_64")]
    #[inline(always)]
    fn fetch(&self, n: usize) {
        let Some(run) = self.0.get(n) else { return };
        for line in 0..Self::RUN {
            // SAFETY: a prefetch is a hint; it reads nothing and faults at no address.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(run.wrapping_add(line * LINE).cast()) };
        }
    }
}

/// Fused multiply-adds on registers and nothing else; returns how many operations.
pub(super) fn bare_loop(width: Width, rounds: usize) -> f64 {
    match width {
        // SAFETY: this `Width` exists, so the processor has AVX-512F.
        #[cfg(target_arch = "x86_64")]
        Width::Avx512 => unsafe { bare_loop_avx512(rounds) },
        // SAFETY: this `Width` exists, so the processor has AVX2 and FMA.
        #[cfg(target_arch = "x86_64")]
        Width::Avx2 => unsafe { bare_loop_avx2(rounds) },
        Width::Portable => {
            let (a, b, mut sums) = (black_box(1.0), black_box(1e-9), black_box([0.0; 16]));
            for _ in 0..rounds {
                sums.iter_mut().for_each(|sum| *sum = *sum * a + b);
            }
            black_box(sums);
            rounds as f64 * 16.0 * 2.0
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn bare_loop_avx512(rounds: usize) -> f64 {
    let (a, b) = (_mm512_set1_pd(black_box(1.0)), _mm512_set1_pd(black_box(1e-9)));
    // Different beginnings: the compiler would compute equal sums only once.
    let mut sums: [_; 16] = std::array::from_fn(|i| _mm512_set1_pd(black_box(i as f64)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm512_fmadd_pd(a, b, *sum);
        }
    }
    black_box(sums.map(|sum| _mm512_reduce_add_pd(sum)));
    rounds as f64 * 16.0 * 8.0 * 2.0
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn bare_loop_avx2(rounds: usize) -> f64 {
    let (a, b) = (_mm256_set1_pd(black_box(1.0)), _mm256_set1_pd(black_box(1e-9)));
    let mut sums: [_; 12] = std::array::from_fn(|i| _mm256_set1_pd(black_box(i as f64)));
    for _ in 0..rounds {
        for sum in &mut sums {
            *sum = _mm256_fmadd_pd(a, b, *sum);
        }
    }
    black_box(sums.map(|sum| _mm256_cvtsd_f64(sum)));
    rounds as f64 * 12.0 * 4.0 * 2.0
}

/// Asks the operating system for pages of 2 MiB instead of 4 KiB behind a large vector: fewer faults when
/// it is first touched, and fewer entries in the processor's table of pages when blocks with long strides
/// are read. A hint; refused, it changes nothing.
#[cfg(target_os = "linux")]
pub(crate) fn prefer_huge_pages(data: &[f64]) {
    use rustix::mm::{Advice, madvise};
    const HUGE: usize = 2 << 20;
    let range = data.as_ptr_range();
    let (start, end) = ((range.start as usize).next_multiple_of(HUGE), range.end as usize / HUGE * HUGE);
    if start < end {
        // SAFETY: whole pages within `data`, which is ours; the call changes how they are backed, never
        // what they hold.
        let _ = unsafe { madvise(start as *mut _, end - start, Advice::LinuxHugepage) };
    }
}

/// Other systems choose the size of pages themselves.
#[cfg(not(target_os = "linux"))]
pub(crate) fn prefer_huge_pages(_: &[f64]) {}
