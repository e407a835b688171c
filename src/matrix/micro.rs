//! The micro-kernel: a tile of C in registers.
//!
//! One step takes a column of MR numbers of A and a row of NR numbers of B and adds all MR x NR products to
//! as many sums. The sums stay in registers for all steps; they are what limits MR and NR. The row of B is
//! loaded once, as NV vectors, and used MR times; a number of A is copied into all lanes of a vector and
//! used NV times:
//!
//! ```text
//!              lanes  registers  MR x NV   MR x NR   registers for sums + B + A
//!     AVX-512    8       32       8 x 3     8 x 24           24 + 3 + 2
//!     AVX2       4       16       6 x 2     6 x 8            12 + 2 + 2
//!     portable   4      (8)       4 x 1     4 x 4        whatever the compiler makes of arrays
//! ```
//!
//! One register too few, and a sum lies on the stack, which takes half of the speed. So the compiler is
//! made to count them.
//!
//! Everything is written once, for any [`Vector`]. What is [`Vectorized`] is compiled for each kind: it, and
//! what it calls, must be `inline(always)`, for a function that stays on its own is compiled for what every
//! processor has, and a hundred times as slow.
//!
//! This file holds all the `unsafe` of the project, of three kinds: calling a function that was compiled for
//! vectors which the processor must have, loading and storing vectors at addresses, and a hint to the memory.
#![allow(unsafe_code)]

#[cfg(target_arch = "x86_64")]
use std::arch::x86_64::*;

/// Entries in a cache line of 64 bytes.
pub(super) const LINE: usize = 8;

/// For a row of B so many steps ahead the memory is asked in each step. A panel that lies in L2 is then there in
/// time. From 32 to 96 steps do as well.
///
/// The first time a panel comes from farther away: from L3, or from memory where other programs have just used the
/// caches. So the tiles before it ask for it, each for a share. Alone that makes no difference; the product by three
/// peers that share two cores took 5 % longer without it (n = 4096).
const AHEAD: usize = 48;

/// Numbers side by side in a register, and all that is done with them. Only [`Kernel::run`] names types
/// that are one, where the processor has them.
pub(super) trait Vector: Copy {
    /// How many numbers.
    const LANES: usize;
    /// How many registers for such vectors there are.
    const REGISTERS: usize;

    /// `x` in all lanes.
    fn splat(x: f64) -> Self;

    /// # Safety
    /// As many numbers as there are lanes stand from `from` on.
    unsafe fn load(from: *const f64) -> Self;

    /// # Safety
    /// There is room for as many numbers as there are lanes from `into` on.
    unsafe fn store(self, into: *mut f64);

    /// `self + a * b` in each lane.
    fn plus_product(self, a: Self, b: Self) -> Self;

    /// The larger of the two in each lane; `self` where `other` is not a number.
    fn larger(self, other: Self) -> Self;

    /// The first numbers of a slice, as many as there are lanes.
    #[inline(always)]
    fn read(from: &[f64]) -> Self {
        assert!(from.len() >= Self::LANES, "a number for each lane");
        // SAFETY: just asserted.
        unsafe { Self::load(from.as_ptr()) }
    }

    /// To where a slice begins.
    #[inline(always)]
    fn write(self, into: &mut [f64]) {
        assert!(into.len() >= Self::LANES, "a place for each lane");
        // SAFETY: just asserted.
        unsafe { self.store(into.as_mut_ptr()) }
    }
}

#[cfg(target_arch = "x86_64")]
macro_rules! vector {
    ($name:ident, $register:ty, $lanes:literal, $registers:literal, $splat:ident, $load:ident, $store:ident, $fma:ident, $max:ident) => {
        #[derive(Clone, Copy)]
        struct $name($register);

        // SAFETY, of each block: `Kernel::run` names this type only where the processor has such vectors, and
        // that there is memory at an address is what the caller promises.
        impl Vector for $name {
            const LANES: usize = $lanes;
            const REGISTERS: usize = $registers;

            #[inline(always)]
            fn splat(x: f64) -> Self {
                Self(unsafe { $splat(x) })
            }

            #[inline(always)]
            unsafe fn load(from: *const f64) -> Self {
                Self(unsafe { $load(from) })
            }

            #[inline(always)]
            unsafe fn store(self, into: *mut f64) {
                unsafe { $store(into, self.0) }
            }

            #[inline(always)]
            fn plus_product(self, a: Self, b: Self) -> Self {
                Self(unsafe { $fma(a.0, b.0, self.0) })
            }

            #[inline(always)]
            fn larger(self, other: Self) -> Self {
                Self(unsafe { $max(other.0, self.0) })
            }
        }
    };
}

#[cfg(target_arch = "x86_64")]
vector!(
    Avx512,
    __m512d,
    8,
    32,
    _mm512_set1_pd,
    _mm512_loadu_pd,
    _mm512_storeu_pd,
    _mm512_fmadd_pd,
    _mm512_max_pd
);
#[cfg(target_arch = "x86_64")]
vector!(
    Avx2,
    __m256d,
    4,
    16,
    _mm256_set1_pd,
    _mm256_loadu_pd,
    _mm256_storeu_pd,
    _mm256_fmadd_pd,
    _mm256_max_pd
);

/// An array, which the compiler keeps in whatever registers there are: two for each, of eight pairs at least.
#[derive(Clone, Copy)]
struct Portable([f64; 4]);

impl Vector for Portable {
    const LANES: usize = 4;
    const REGISTERS: usize = 8;

    #[inline(always)]
    fn splat(x: f64) -> Self {
        Self([x; 4])
    }

    #[inline(always)]
    unsafe fn load(from: *const f64) -> Self {
        // SAFETY: the caller's.
        Self(unsafe { from.cast::<[f64; 4]>().read() })
    }

    #[inline(always)]
    unsafe fn store(self, into: *mut f64) {
        // SAFETY: the caller's.
        unsafe { into.cast::<[f64; 4]>().write(self.0) }
    }

    #[inline(always)]
    fn plus_product(mut self, a: Self, b: Self) -> Self {
        for ((sum, a), b) in self.0.iter_mut().zip(a.0).zip(b.0) {
            *sum += a * b;
        }
        self
    }

    #[inline(always)]
    fn larger(self, other: Self) -> Self {
        Self(std::array::from_fn(
            |lane| if other.0[lane] > self.0[lane] { other.0[lane] } else { self.0[lane] },
        ))
    }
}

/// Work that is compiled for each kind of vectors.
pub(super) trait Vectorized {
    /// What it comes to.
    type Answer;

    /// Does it, with these vectors and a tile of MR rows and NV vectors. To be marked `inline(always)`, as
    /// is all that it calls.
    fn run<V: Vector, const MR: usize, const NV: usize>(self) -> Self::Answer;
}

/// The vectors of this processor that a product is computed with, chosen at run time. A value of this type
/// is proof that the processor has them: [`Kernel::available`] is the only place that makes one of the wide
/// ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel(Width);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Width {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

impl Kernel {
    /// All kernels that this processor can run, the fastest first.
    pub fn available() -> impl Iterator<Item = Kernel> {
        #[cfg(target_arch = "x86_64")]
        let wide = [
            is_x86_feature_detected!("avx512f").then_some(Width::Avx512),
            (is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma")).then_some(Width::Avx2),
        ];
        #[cfg(not(target_arch = "x86_64"))]
        let wide = [None];
        wide.into_iter().flatten().chain([Width::Portable]).map(Kernel)
    }

    /// The fastest kernel that this processor can run.
    pub fn best() -> Kernel {
        Kernel::available().next().unwrap_or(Kernel(Width::Portable))
    }

    /// Does a job with these vectors.
    pub(super) fn run<J: Vectorized>(self, job: J) -> J::Answer {
        match self.0 {
            // SAFETY: this `Kernel` exists, so the processor has AVX-512F.
            #[cfg(target_arch = "x86_64")]
            Width::Avx512 => unsafe { with_avx512(job) },
            // SAFETY: this `Kernel` exists, so the processor has AVX2 and FMA.
            #[cfg(target_arch = "x86_64")]
            Width::Avx2 => unsafe { with_avx2(job) },
            Width::Portable => job.run::<Portable, 4, 1>(),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn with_avx512<J: Vectorized>(job: J) -> J::Answer {
    job.run::<Avx512, 8, 3>()
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,fma")]
fn with_avx2<J: Vectorized>(job: J) -> J::Answer {
    job.run::<Avx2, 6, 2>()
}

/// How many rows and columns a tile has.
pub(super) struct TileSize;

impl Vectorized for TileSize {
    type Answer = (usize, usize);

    #[inline(always)]
    fn run<V: Vector, const MR: usize, const NV: usize>(self) -> (usize, usize) {
        (MR, NV * V::LANES)
    }
}

/// One place where a product goes.
pub(super) struct Target<'c> {
    /// 1 or -1.
    pub(super) sign: f64,
    /// Nothing of use is there yet: overwrite it.
    pub(super) fresh: bool,
    /// As many and as long as those of the product, or cut off at the edges of C.
    pub(super) rows: Vec<&'c mut [f64]>,
}

/// The micro-kernel: a panel of A times a panel of B, added to a tile of every target.
pub(super) struct TileProduct<'t, 'c> {
    /// MR rows, one after another.
    pub(super) a: &'t [f64],
    /// As many rows of NR numbers as the rows of `a` are long.
    pub(super) b: &'t [f64],
    /// What the memory is asked for meanwhile: a share of the panel of B that comes next.
    pub(super) next: &'t [f64],
    pub(super) into: &'t mut [Target<'c>],
    /// Where the tile begins in the product.
    pub(super) row: usize,
    pub(super) col: usize,
    /// No panels were multiplied for this tile before these.
    pub(super) first: bool,
}

impl Vectorized for TileProduct<'_, '_> {
    type Answer = ();

    #[inline(always)]
    fn run<V: Vector, const MR: usize, const NV: usize>(self) {
        let TileProduct { a, b, next, into, row, col, first } = self;
        for row in into.iter().flat_map(|target| target.rows.iter().skip(row).take(MR)) {
            (col..=col + NV * V::LANES).step_by(LINE).for_each(|col| fetch(row.as_ptr().wrapping_add(col)));
        }
        let sums = multiply::<V, MR, NV>(a, b, next);
        for target in into {
            let rows = target.rows.get_mut(row..).unwrap_or_default();
            add(&sums, target.sign, rows, col, target.fresh && first);
        }
    }
}

/// A panel of A times a panel of B.
#[inline(always)]
fn multiply<V: Vector, const MR: usize, const NV: usize>(
    a: &[f64],
    b: &[f64],
    next: &[f64],
) -> [[V; NV]; MR] {
    const { assert!(MR * NV + NV + 2 <= V::REGISTERS, "registers for the sums, a row of B, two numbers of A") };
    let (depth, nr) = (a.len() / MR, NV * V::LANES);
    assert_eq!((a.len(), b.len()), (depth * MR, depth * nr), "panels of equal depth");
    let mut sums = [[V::splat(0.0); NV]; MR];
    for p in 0..depth {
        let row = b.as_ptr().wrapping_add(p * nr);
        (0..nr).step_by(LINE).for_each(|col| fetch(row.wrapping_add(AHEAD * nr + col)));
        if p * LINE < next.len() {
            fetch(next.as_ptr().wrapping_add(p * LINE));
        }
        let mut b = [V::splat(0.0); NV];
        for (j, b) in b.iter_mut().enumerate() {
            // SAFETY: row `p` of the panel has NV vectors.
            *b = unsafe { V::load(row.add(j * V::LANES)) };
        }
        for (i, sums) in sums.iter_mut().enumerate() {
            // SAFETY: row `i` of the panel, of MR, has `depth` numbers, and `p` is below that.
            let a = V::splat(unsafe { *a.get_unchecked(i * depth + p) });
            for (sum, b) in sums.iter_mut().zip(b) {
                *sum = sum.plus_product(a, b);
            }
        }
    }
    sums
}

/// Adds a tile with a sign to these rows from column `col` on, or overwrites what stands there. What
/// reaches over an edge is left out.
#[inline(always)]
fn add<V: Vector, const MR: usize, const NV: usize>(
    sums: &[[V; NV]; MR],
    sign: f64,
    rows: &mut [&mut [f64]],
    col: usize,
    fresh: bool,
) {
    let (zero, signs, nr) = (V::splat(0.0), V::splat(sign), NV * V::LANES);
    if rows.len() >= MR && rows[..MR].iter().all(|row| row.len() >= col + nr) {
        for (row, sums) in rows.iter_mut().zip(sums) {
            for (j, sum) in sums.iter().enumerate() {
                // SAFETY: the row is long enough for NV vectors from `col` on.
                unsafe {
                    let into = row.as_mut_ptr().add(col + j * V::LANES);
                    let old = if fresh { zero } else { V::load(into) };
                    old.plus_product(signs, *sum).store(into);
                }
            }
        }
    } else {
        let tile = *sums;
        for (row, sums) in rows.iter_mut().zip(&tile) {
            // SAFETY: NV vectors are NR numbers.
            let sums = unsafe { std::slice::from_raw_parts(sums.as_ptr().cast::<f64>(), nr) };
            for (c, sum) in row.iter_mut().skip(col).zip(sums) {
                *c = if fresh { 0.0 } else { *c } + sign * sum;
            }
        }
    }
}

/// Asks the memory for what stands 8 KiB behind these numbers. Many that are read once are waited for all the time
/// otherwise, because a processor looks ahead by itself only to the end of a page.
#[inline(always)]
pub(super) fn fetch_ahead(numbers: &[f64]) {
    numbers.chunks(LINE).for_each(|line| fetch(line.as_ptr().wrapping_add(1024)));
}

/// Asks the memory to bring the cache line of an address near.
#[inline(always)]
fn fetch(address: *const f64) {
    // SAFETY: a hint; it reads nothing and faults at no address.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// Asks the operating system for pages of 2 MiB instead of 4 KiB behind a large vector: fewer faults when
/// it is first touched, and fewer entries in the processor's table of pages when blocks with long strides
/// are read. A hint; refused, it changes nothing.
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
