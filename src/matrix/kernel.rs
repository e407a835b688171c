//! The cache-blocked product.
#![allow(unsafe_code)]

use super::strassen::Abandoned;
use super::{Operand, ViewMut};

/// One place where a product goes: a window of C that begins at (`row`, `col`).
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) sign: f64,
    pub(super) row: usize,
    pub(super) col: usize,
    /// Nothing was written there yet: overwrite.
    pub(super) fresh: bool,
}

/// Packing space.
#[derive(Debug)]
pub(super) struct Packs;

impl Packs {
    pub(super) fn new() -> Self {
        Self
    }
}

/// A kernel.
#[derive(Clone, Copy, Debug)]
pub struct Kernel;

impl Kernel {
    /// The fastest that this processor runs.
    pub fn best() -> Self {
        Kernel
    }

    pub(super) fn product(
        &self,
        left: &Operand<'_>,
        right: &Operand<'_>,
        into: &[Target],
        c: &mut ViewMut<'_>,
        _packs: &mut Packs,
        keep_going: &(dyn Fn() -> bool + Sync),
    ) -> Result<(), Abandoned> {
        let (rows, inner, cols) = (left.rows(), left.cols(), right.cols());
        let mut a = vec![0.0; rows * inner];
        let mut b = vec![0.0; inner * cols];
        left.fill_rows(0, &mut a);
        right.fill_rows(0, &mut b);
        let mut m = vec![0.0; cols];
        for i in 0..rows {
            if i % 64 == 0 && !keep_going() {
                return Err(Abandoned);
            }
            m.fill(0.0);
            for p in 0..inner {
                for j in 0..cols {
                    m[j] += a[i * inner + p] * b[p * cols + j];
                }
            }
            for t in into {
                let mut window = c.window(t.row, t.col, rows, cols);
                if i < window.rows() {
                    for (c, m) in window.row(i).iter_mut().zip(&m) {
                        *c = if t.fresh { t.sign * m } else { *c + t.sign * m };
                    }
                }
            }
        }
        Ok(())
    }
}
