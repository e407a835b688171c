//! The cache-blocked product: where all the time goes.
//!
//! C = A·B by its definition is three nested loops, 2mnk operations on mk + kn + mn numbers. A core of
//! today multiplies and adds 32 numbers in the time in which memory brings it one, so the definition waits
//! for memory nearly always. The cure (Goto and van de Geijn, "Anatomy of high-performance matrix
//! multiplication", TOMS 34, 2008) is to cut the loops so that every number, once brought near, is used
//! often before it goes:
//!
//! ```text
//!     loop 5: for every NC columns of B and C
//!     loop 4:   for every KC columns of A, rows of B           pack KC x NC of B: lies in L3
//!     loop 3:     for every MC rows of A and C                 pack MC x KC of A: lies in L2
//!     loop 2:       for every NR columns of the packed B
//!     loop 1:         for every MR rows of the packed A
//!     micro-kernel:     MR x NR of C in registers, += MR x KC times KC x NR
//! ```
//!
//! *Packing* copies a block into the order in which the micro-kernel reads it: B in panels of NR columns,
//! row after row; A in panels of MR rows. Rows of A and columns of B that a last panel lacks are zeros.
//!
//! Strassen comes in at two places and costs little there (Huang, Smith, Henry and van de Geijn,
//! "Strassen's algorithm reloaded", SC 2016): what is packed is an [`Operand`], a sum of blocks, summed on
//! the way; and a finished tile is added, with signs, to several windows of C instead of one. No sum and no
//! product of blocks is ever stored on its own.
//!
//! The micro-kernels, for the vectors that the processor has, are in `micro.rs`, with all the
//! `unsafe` there is. While one computes, it also asks the memory for what the loops will need next.
//!
//! What is missing: the block sizes fit two processors (AMD Zen 5, Intel Xeon) and are not measured at run time;
//! on a core with less than 1 MiB of L2 they cost some speed. Very thin products (a row times a matrix) are
//! limited by memory and gain nothing from packing, but pay for it.

use std::fmt;

use super::micro::{self, Ahead, LINE, Tile, Width};
use super::{Operand, View, ViewMut};
use crate::error::Error;

/// Inner size of a packed block. Each tile of C is read and written once per KC steps, so KC is long: a
/// panel of B (KC x 24 x 8 bytes = 96 KiB) need not fit into the 48 KiB of L1. It comes from L2 with 192
/// bytes for every 24 fused multiply-adds, that is in 12 cycles in which L2 could deliver 768.
///
/// On an idle machine twice the length is as quick; where several peers share its cores, as in the lab, their
/// blocks push each other out of the caches, and 512 takes a tenth less time.
const KC: usize = 512;

/// Rows of a packed block of A: MC x KC x 8 bytes = 288 KiB. Together with two panels of B, the one in use
/// and the next, it fills half of the 1 MiB of L2; the rest is for C. A multiple of every MR.
const MC: usize = 72;

/// Columns of a packed panel of B: KC x NC x 8 bytes = 4.1 MiB, an eighth of the 32 MiB of L3, so that three
/// peers with two threads each, as in the lab, fill three quarters. A multiple of every NR.
const NC: usize = 1056;

/// Rows of B that are summed before they are dealt out to the panels: each panel then gets a few cache
/// lines at a time.
const DEAL: usize = 4;

/// One place where a product goes.
#[derive(Debug)]
pub(super) struct Target<'c> {
    /// 1 or -1.
    pub(super) sign: f64,
    /// Nothing of use is there yet: overwrite it.
    pub(super) fresh: bool,
    /// As large as the product, or cut off at the edges of C.
    pub(super) window: ViewMut<'c>,
}

impl<'c> Target<'c> {
    /// Cuts it below row `at`.
    fn split_rows(self, at: usize) -> (Target<'c>, Target<'c>) {
        let Target { sign, fresh, window } = self;
        let (above, below) = window.split_rows(at);
        (Target { sign, fresh, window: above }, Target { sign, fresh, window: below })
    }
}

/// A product to be computed: `left`·`right` is added to every target with its sign, or overwrites it.
#[derive(Debug)]
pub(super) struct Task<'t> {
    pub(super) left: Operand<'t>,
    pub(super) right: Operand<'t>,
    pub(super) into: Vec<Target<'t>>,
}

impl<'t> Task<'t> {
    /// Cuts it below row `at` of the product.
    pub(super) fn split_rows(self, at: usize) -> (Task<'t>, Task<'t>) {
        let Task { left, right, into } = self;
        let (rows, inner) = (left.rows(), left.cols());
        let (above, below) = (left.window(0, 0, at, inner), left.window(at, 0, rows, inner));
        let (into_above, into_below) = into.into_iter().map(|target| target.split_rows(at)).unzip();
        (
            Task { left: above, right: right.clone(), into: into_above },
            Task { left: below, right, into: into_below },
        )
    }
}

/// A product was given up because nobody waits for it any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abandoned;

impl fmt::Display for Abandoned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the product was abandoned")
    }
}

impl std::error::Error for Abandoned {}

impl From<Abandoned> for Error {
    fn from(abandoned: Abandoned) -> Self {
        Error::failed(abandoned.to_string())
    }
}

/// A product for this processor, chosen at run time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kernel {
    width: Width,
}

impl Kernel {
    /// All kernels that this processor can run, the fastest first.
    pub fn available() -> Vec<Kernel> {
        Width::available().map(|width| Kernel { width }).collect()
    }

    /// The fastest kernel that this processor can run.
    pub fn best() -> Kernel {
        Kernel { width: Width::best() }
    }

    /// What it is written for, such as `AVX-512`.
    pub fn name(&self) -> &'static str {
        self.width.name()
    }

    /// C = A·B by the five loops alone, without Strassen: the classical product. For comparison;
    /// [`super::strassen::multiply`] is faster.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn multiply(&self, a: View<'_>, b: View<'_>, c: ViewMut<'_>) {
        assert_eq!(a.cols(), b.rows(), "as many columns on the left as rows on the right");
        assert_eq!((c.rows(), c.cols()), (a.rows(), b.cols()), "the shape of the answer");
        let left = Operand::new(a.rows(), a.cols(), vec![(1.0, a)]);
        let right = Operand::new(b.rows(), b.cols(), vec![(1.0, b)]);
        let into = vec![Target { sign: 1.0, fresh: true, window: c }];
        let result = self.compute(&mut Task { left, right, into }, &mut Packs::default(), &|| true);
        debug_assert!(result.is_ok(), "nobody abandons this product");
    }

    /// Does nothing but fused multiply-adds on registers, and returns how many floating-point operations
    /// that were: the speed that no product on one core can exceed.
    pub fn bare_loop(&self, rounds: usize) -> f64 {
        micro::bare_loop(self.width, rounds)
    }

    /// Computes a product. `keep_going` is asked before every block of loop 3.
    pub(super) fn compute(
        &self,
        task: &mut Task<'_>,
        packs: &mut Packs,
        keep_going: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Abandoned> {
        if task.left.cols() == 0 {
            task.into.iter_mut().filter(|target| target.fresh).for_each(|target| target.window.fill(0.0));
            return Ok(());
        }
        micro::run(self.width, Job { task, packs, keep_going })
    }
}

/// Memory for the packed blocks, kept from product to product. At most 5 MiB, less for small products.
#[derive(Debug, Default)]
pub(super) struct Packs {
    left: Vec<f64>,
    right: Vec<f64>,
    rows: Vec<f64>,
}

/// What [`Kernel::compute`] was asked for.
struct Job<'j, 't> {
    task: &'j mut Task<'t>,
    packs: &'j mut Packs,
    keep_going: &'j (dyn Fn() -> bool + Sync),
}

/// Cuts `0..length` into pieces of at most `size`, as equal as they can be: (start, length).
///
/// A product of 513 columns by pieces of 512 would otherwise end in a piece of 1, which costs as much
/// traffic with C as a whole one.
fn pieces(length: usize, size: usize, multiple: usize) -> impl Iterator<Item = (usize, usize)> {
    let size = length.div_ceil(length.div_ceil(size).max(1)).next_multiple_of(multiple).max(1);
    (0..length).step_by(size).map(move |start| (start, size.min(length - start)))
}

impl micro::Job for Job<'_, '_> {
    type Answer = Result<(), Abandoned>;

    /// The five loops around a micro-kernel of MR x NR. Packing and storing are compiled for the same vectors.
    #[inline(always)]
    fn run<const MR: usize, const NR: usize>(
        self,
        micro_kernel: impl Fn(&[f64], &[f64], &Ahead, &mut Tile<MR, NR>),
    ) -> Result<(), Abandoned> {
        const { assert!(MC.is_multiple_of(MR) && NC.is_multiple_of(NR), "panels fill their blocks") };
        let Job { task: Task { left, right, into }, packs, keep_going } = self;
        let (rows, inner, cols) = (left.rows(), left.cols(), right.cols());
        let kc = inner.min(KC);
        let left_pack = aligned(&mut packs.left, rows.min(MC).next_multiple_of(MR) * kc);
        let right_pack = aligned(&mut packs.right, cols.min(NC).next_multiple_of(NR) * kc);
        let dealt = aligned(&mut packs.rows, cols.min(NC).next_multiple_of(NR) * DEAL);
        let mut tile = Tile([[0.0; NR]; MR]);
        let mut ahead = Ahead::default();

        // Loop 5: columns of B and C.
        for (j0, nb) in pieces(cols, NC, NR) {
            // Loop 4: columns of A, rows of B.
            for (p0, kb) in pieces(inner, KC, 1) {
                pack_right::<NR>(&right.window(p0, j0, kb, nb), right_pack, dealt);
                // Loop 3: rows of A and C.
                for (i0, mb) in pieces(rows, MC, MR) {
                    if !keep_going() {
                        return Err(Abandoned);
                    }
                    pack_left::<MR>(&left.window(i0, p0, mb, kb), left_pack);
                    // Loop 2: panels of B.
                    for j in (0..nb).step_by(NR) {
                        let (b, rest) = right_pack[j * kb..].split_at(NR * kb);
                        let next = &rest[..rest.len().min(NR * kb)];
                        // Loop 1: panels of A.
                        for i in (0..mb).step_by(MR) {
                            let a = &left_pack[i * kb..][..MR * kb];
                            let part =
                                Part { row: i0 + i, col: j0 + j, rows: MR.min(mb - i), cols: NR.min(nb - j) };
                            ahead.0.clear();
                            part.want(into, &mut ahead);
                            ahead.want_share(next, i / MR, mb.div_ceil(MR));
                            micro_kernel(a, b, &ahead, &mut tile);
                            part.store(&tile, into, p0 == 0);
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// The first `len` entries of `space`, grown where needed, that begin on a cache line: a vector that lies
/// across two lines is loaded twice.
fn aligned(space: &mut Vec<f64>, len: usize) -> &mut [f64] {
    if space.len() < len + LINE {
        *space = vec![0.0; len + LINE];
        micro::prefer_huge_pages(space);
    }
    let skip = space.as_ptr().align_offset(LINE * size_of::<f64>()).min(LINE);
    &mut space[skip..][..len]
}

/// Packs a block of B: panels of NR columns, each row after row.
#[inline(always)]
fn pack_right<const NR: usize>(block: &Operand<'_>, pack: &mut [f64], dealt: &mut [f64]) {
    let (kb, nb) = (block.rows(), block.cols());
    let width = nb.next_multiple_of(NR);
    let dealt = &mut dealt[..width * DEAL];
    for p in (0..kb).step_by(DEAL) {
        let count = DEAL.min(kb - p);
        for (r, row) in dealt.chunks_exact_mut(width).take(count).enumerate() {
            block.fill_row(p + r, &mut row[..nb]);
            row[nb..].fill(0.0);
        }
        for (j, panel) in pack.chunks_exact_mut(NR * kb).take(width / NR).enumerate() {
            let into = panel[p * NR..][..count * NR].as_chunks_mut::<NR>().0;
            for (into, row) in into.iter_mut().zip(dealt.chunks_exact(width)) {
                into.copy_from_slice(&row[j * NR..][..NR]);
            }
        }
    }
}

/// Packs a block of A: row after row as it is, the last panel of MR filled up with rows of zeros.
#[inline(always)]
fn pack_left<const MR: usize>(block: &Operand<'_>, pack: &mut [f64]) {
    let (mb, kb) = (block.rows(), block.cols());
    for (i, row) in pack.chunks_exact_mut(kb).take(mb.next_multiple_of(MR)).enumerate() {
        if i < mb { block.fill_row(i, row) } else { row.fill(0.0) }
    }
}

/// The part of the product that one tile holds.
struct Part {
    row: usize,
    col: usize,
    rows: usize,
    cols: usize,
}

impl Part {
    /// Where this part goes in a target: as many rows as are there, and of each as much as is there.
    #[inline(always)]
    fn rows_in<'r>(&self, target: &'r mut Target<'_>) -> impl Iterator<Item = &'r mut [f64]> {
        target.window.part(self.row, self.col, self.rows, self.cols)
    }

    /// Wants the rows of C that this part will be added to.
    #[inline(always)]
    fn want(&self, into: &mut [Target<'_>], ahead: &mut Ahead) {
        for target in into {
            self.rows_in(target).for_each(|row| ahead.want_row(row));
        }
    }

    /// Adds the tile to every target. `first` is true in the first round of loop 4, when a fresh target
    /// is to be overwritten.
    #[inline(always)]
    fn store<const MR: usize, const NR: usize>(
        &self,
        tile: &Tile<MR, NR>,
        into: &mut [Target<'_>],
        first: bool,
    ) {
        for target in into {
            let (sign, fresh) = (target.sign, target.fresh && first);
            for (row, from) in self.rows_in(target).zip(&tile.0) {
                match row.first_chunk_mut::<NR>() {
                    Some(row) if fresh => set(row, from, sign),
                    Some(row) => add(row, from, sign),
                    None if fresh => set(row, from, sign),
                    None => add(row, from, sign),
                }
            }
        }
    }
}

#[inline(always)]
fn set(into: &mut [f64], from: &[f64], sign: f64) {
    for (c, m) in into.iter_mut().zip(from) {
        *c = sign * m;
    }
}

#[inline(always)]
fn add(into: &mut [f64], from: &[f64], sign: f64) {
    for (c, m) in into.iter_mut().zip(from) {
        *c += sign * m;
    }
}

#[cfg(test)]
mod tests;
