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

/// Entries in a cache line of 64 bytes.
pub(super) const LINE: usize = 8;

/// MR x NR numbers of C on their way from registers to memory.
#[repr(align(64))]
pub(super) struct Tile<const MR: usize, const NR: usize>(pub(super) [[f64; NR]; MR]);

/// Addresses that are wanted soon, each the first of [`Ahead::RUN`] cache lines. The micro-kernel asks the
/// memory for a run with each bunch of steps. That costs it a twentieth, and without it a quarter would be lost
/// with waiting.
#[derive(Default)]
pub(super) struct Ahead(pub(super) Vec<*const f64>);

impl Ahead {
    /// Lines fetched from each address: as few as bring a panel of B while the rows of a block of A pass it.
    const RUN: usize = 2;

    /// Lines that a row of the widest tile touches at most.
    const ROW: usize = 4;

    /// A row of C.
    pub(super) fn want_row(&mut self, row: &[f64]) {
        self.0.extend((0..Self::ROW).step_by(Self::RUN).map(|line| row.as_ptr().wrapping_add(line * LINE)));
    }

    /// The next panel of B, or the part of it that this call should fetch when `calls` share the work.
    pub(super) fn want_share(&mut self, panel: &[f64], call: usize, calls: usize) {
        let share = panel.len().div_ceil(calls).next_multiple_of(Self::RUN * LINE);
        let part = panel.get(call * share..).unwrap_or_default();
        self.0.extend(part.chunks(Self::RUN * LINE).take(share / (Self::RUN * LINE)).map(<[f64]>::as_ptr));
    }
}

/// Work that is to be compiled once for each width of vectors.
pub(super) trait Job {
    /// What it comes to.
    type Answer;

    /// Does it, with the micro-kernel for these vectors. Always inlined, so that all of it is compiled for them.
    fn run<const MR: usize, const NR: usize>(
        self,
        micro_kernel: impl Fn(&[f64], &[f64], &Ahead, &mut Tile<MR, NR>),
    ) -> Self::Answer;
}

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

/// Does a job with these vectors.
pub(super) fn run<J: Job>(width: Width, job: J) -> J::Answer {
    match width {
        // SAFETY: this `Width` exists, so the processor has AVX-512F.
        #[cfg(target_arch = "x86_64")]
        Width::Avx512 => unsafe { run_avx512(job) },
        // SAFETY: this `Width` exists, so the processor has AVX2 and FMA.
        #[cfg(target_arch = "x86_64")]
        Width::Avx2 => unsafe { run_avx2(job) },
        Width::Portable => job.run(tile_portable),
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn run_avx512<J: Job>(job: J) -> J::Answer {
    job.run(|a, b, ahead, tile| tile_avx512(a, b, ahead, tile))
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn run_avx2<J: Job>(job: J) -> J::Answer {
    job.run(|a, b, ahead, tile| tile_avx2(a, b, ahead, tile))
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
pub(super) fn times(rows: &[f64], vector: &[f64], out: &mut [f64]) -> f64 {
    run(Width::best(), RowsTimes { rows, vector, out })
}

struct RowsTimes<'t> {
    rows: &'t [f64],
    vector: &'t [f64],
    out: &'t mut [f64],
}

impl Job for RowsTimes<'_> {
    type Answer = f64;

    #[inline(always)]
    fn run<const MR: usize, const NR: usize>(
        self,
        _: impl Fn(&[f64], &[f64], &Ahead, &mut Tile<MR, NR>),
    ) -> f64 {
        let mut maxima = [0.0; LANES];
        let (whole, rest) = self.vector.as_chunks::<LANES>();
        for (row, out) in self.rows.chunks_exact(self.vector.len()).zip(self.out) {
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
}

/// Adds as many products as there are lanes, and keeps the largest magnitudes of their first factors.
#[inline(always)]
fn weigh(row: &[f64], vector: &[f64], sums: &mut [f64; LANES], maxima: &mut [f64; LANES]) {
    for (((x, y), sum), max) in row.iter().zip(vector).zip(sums).zip(maxima) {
        *sum += x * y;
        *max = if x.abs() > *max { x.abs() } else { *max };
    }
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
