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
//! The micro-kernel, for the vectors that the processor has, is in `micro.rs`, with all the `unsafe` there
//! is. It also asks the memory for what it will need next.
//!
//! What is missing: the block sizes follow from the caches, and are not measured at run time. Very thin products (a row
//! times a matrix) are limited by memory and gain nothing from packing, but pay for it.

use super::micro::{self, LINE, Target, TileProduct, TileSize};
use super::{Operand, View};
use crate::error::{Error, Result};
use crate::thread::caches;

pub use super::micro::Kernel;

/// How the loops are cut, for this machine's caches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Blocks {
    kc: usize,
    mc: usize,
    nc: usize,
}

impl Blocks {
    /// For tiles of MR x NR, and caches of so many bytes: a core's first and second, and the third, which all share.
    ///
    /// - Each tile of C is read and written once per KC steps, so KC is long. Where NR columns of 256 rows of B fill no
    ///   more than half of L1 (AVX2: 16 of 32 KiB), KC is 256. Where they are larger (AVX-512: 48), B comes from L2
    ///   anyway, asked for some steps ahead, and KC is 512. On an idle machine 1024 is as quick; where several peers
    ///   share its cores, as in the lab, their blocks push each other out of the caches, and 512 takes a tenth less
    ///   time. An L2 of 2 MiB has room for 768, which takes a tenth less time again where memory is slow.
    /// - MC x KC of A are a quarter of L2; two panels of B, the one in use and the next, and C are there, too.
    /// - KC x NC of B are an eighth of L3, so that three peers with two threads each, as in the lab, fill three quarters
    ///   of it. But with 2048 columns A is packed seldom enough.
    fn fit((mr, nr): (usize, usize), [l1, l2, l3]: [usize; 3]) -> Self {
        let number = size_of::<f64>();
        let kc = match l2 {
            _ if 256 * nr * number <= l1 / 2 => 256,
            2_097_152.. => 768,
            _ => 512,
        };
        let fit =
            |bytes: usize, multiple: usize| (bytes / (kc * number)).next_multiple_of(multiple).max(multiple);
        Self { kc, mc: fit(l2 / 4, mr), nc: fit((l3 / 8).min(2048 * kc * number), nr) }
    }
}

/// Rows of B that are summed before they are dealt out to the panels: each panel then gets a few cache
/// lines at a time.
const DEAL: usize = 4;

/// A product to be computed: `left`·`right` is added to every target with its sign, or overwrites it.
pub(super) struct MultiplyAdd<'t> {
    pub(super) left: Operand<'t>,
    pub(super) right: Operand<'t>,
    pub(super) into: Vec<Target<'t>>,
}

impl<'t> MultiplyAdd<'t> {
    /// Cuts it into as many products as that, or fewer, of some of its rows each: the upper rows of a
    /// product need only the upper rows of its left operand.
    pub(super) fn bands(mut self, count: usize) -> Vec<MultiplyAdd<'t>> {
        let (rows, inner) = (self.left.rows(), self.left.cols());
        let band = |(first, rows): (usize, usize)| {
            let cut = |target: &mut Target<'t>| {
                let rows = target.rows.drain(..rows.min(target.rows.len())).collect();
                Target { rows, ..*target }
            };
            let into = self.into.iter_mut().map(cut).collect();
            MultiplyAdd { left: self.left.window(first, 0, rows, inner), right: self.right.clone(), into }
        };
        pieces(rows, rows.div_ceil(count), 1).map(band).collect()
    }
}

/// A product was given up because nobody waits for it any more.
pub(crate) fn abandoned() -> Error {
    Error::failed("the product was abandoned")
}

impl Kernel {
    /// C = A·B by the five loops alone, without Strassen: the classical product. For comparison;
    /// [`super::strassen::multiply`] is faster. `c` holds the entries of C row after row, and is overwritten.
    ///
    /// # Panics
    /// If the shapes do not fit.
    pub fn multiply(self, a: View<'_>, b: View<'_>, c: &mut [f64]) {
        assert_eq!(a.cols(), b.rows(), "as many columns on the left as rows on the right");
        assert_eq!(Some(c.len()), a.rows().checked_mul(b.cols()), "the shape of the answer");
        let left = Operand::new(a.rows(), a.cols(), vec![(1.0, a)]);
        let right = Operand::new(b.rows(), b.cols(), vec![(1.0, b)]);
        let rows = c.chunks_exact_mut(b.cols()).collect();
        let into = vec![Target { sign: 1.0, fresh: true, rows }];
        let result = self.compute(&mut MultiplyAdd { left, right, into }, &mut Packs::default(), &|| true);
        debug_assert!(result.is_ok(), "nobody abandons this product");
    }

    /// The five loops around a micro-kernel of MR x NR. `keep_going` is asked before every block of loop 3.
    pub(super) fn compute(
        &self,
        product: &mut MultiplyAdd<'_>,
        packs: &mut Packs,
        keep_going: &(dyn Fn() -> bool + Sync),
    ) -> Result<()> {
        let MultiplyAdd { left, right, into } = product;
        let (rows, inner, cols) = (left.rows(), left.cols(), right.cols());
        let (mr, nr) = self.run(TileSize);
        let Blocks { kc, mc, nc } = Blocks::fit((mr, nr), caches());
        let a_pack = aligned(&mut packs.left, rows.min(mc).next_multiple_of(mr) * inner.min(kc));
        let b_pack = aligned(&mut packs.right, cols.min(nc).next_multiple_of(nr) * inner.min(kc));
        // Loop 5: columns of B and C.
        for (j0, nb) in pieces(cols, nc, nr) {
            // Loop 4: columns of A, rows of B.
            for (p0, kb) in pieces(inner, kc, 1) {
                pack_right(&right.window(p0, j0, kb, nb), nr, &mut packs.rows, b_pack);
                // Loop 3: rows of A and C.
                for (i0, mb) in pieces(rows, mc, mr) {
                    if !keep_going() {
                        return Err(abandoned());
                    }
                    pack_left(&left.window(i0, p0, mb, kb), mr, a_pack);
                    // The panels of A share the next panel of B.
                    let share = (nr * kb).div_ceil(mb.div_ceil(mr)).next_multiple_of(LINE);
                    // Loop 2: panels of B.
                    for j in (0..nb).step_by(nr) {
                        let (b, rest) = b_pack[j * kb..].split_at(nr * kb);
                        let mut next = rest[..rest.len().min(nr * kb)].chunks(share);
                        // Loop 1: panels of A.
                        for i in (0..mb).step_by(mr) {
                            let a = &a_pack[i * kb..][..mr * kb];
                            let (row, col, first) = (i0 + i, j0 + j, p0 == 0);
                            let next = next.next().unwrap_or_default();
                            self.run(TileProduct { a, b, next, into, row, col, first });
                        }
                    }
                }
            }
        }
        Ok(())
    }
}

/// Memory for the packed blocks, kept from product to product. At most 13 MiB, less for small products.
#[derive(Debug, Default)]
pub(super) struct Packs {
    left: Vec<f64>,
    right: Vec<f64>,
    rows: Vec<f64>,
}

/// Cuts `0..length` into pieces of at most `size`, as equal as they can be: (start, length).
///
/// A product of 513 columns by pieces of 512 would otherwise end in a piece of 1, which costs as much
/// traffic with C as a whole one.
fn pieces(length: usize, size: usize, multiple: usize) -> impl Iterator<Item = (usize, usize)> {
    let size = length.div_ceil(length.div_ceil(size)).next_multiple_of(multiple);
    (0..length).step_by(size).map(move |start| (start, size.min(length - start)))
}

/// The first `len` entries of `space`, grown where needed, that begin on a cache line: a vector that lies
/// across two lines is loaded twice.
fn aligned(space: &mut Vec<f64>, len: usize) -> &mut [f64] {
    if space.len() < len + LINE {
        *space = vec![0.0; len + LINE];
        micro::prefer_huge_pages(space);
    }
    let skip = space.as_ptr().align_offset(64).min(LINE);
    &mut space[skip..][..len]
}

/// Packs a block of B: panels of NR columns, each row after row.
fn pack_right(block: &Operand<'_>, nr: usize, rows: &mut Vec<f64>, pack: &mut [f64]) {
    let (kb, nb) = (block.rows(), block.cols());
    rows.resize(nb * DEAL, 0.0);
    for p in (0..kb).step_by(DEAL) {
        let rows = &mut rows[..nb * DEAL.min(kb - p)];
        block.fill_rows(p, rows);
        for (row, p) in rows.chunks_exact(nb).zip(p..) {
            for (from, panel) in row.chunks(nr).zip(pack.chunks_exact_mut(nr * kb)) {
                let (into, beyond) = panel[p * nr..][..nr].split_at_mut(from.len());
                into.copy_from_slice(from);
                beyond.fill(0.0);
            }
        }
    }
}

/// Packs a block of A: row after row as it is, the last panel of MR filled up with rows of zeros.
fn pack_left(block: &Operand<'_>, mr: usize, pack: &mut [f64]) {
    let (rows, beyond) = pack.split_at_mut(block.rows() * block.cols());
    block.fill_rows(0, rows);
    beyond[..block.rows().next_multiple_of(mr) * block.cols() - rows.len()].fill(0.0);
}

#[cfg(test)]
mod tests;
