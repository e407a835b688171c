//! In which order open pieces are asked for.
//!
//! - [`Order::Rarest`]: the piece that the fewest holders have. Were all to ask from the front, the end of the file
//!   would be at its first holder alone, and lost with it; and nobody would have anything to give to the others.
//!   Among equally rare ones the order is drawn by lot, for each downloader another: they would all fetch the same
//!   piece otherwise, and again have nothing to give to each other.
//! - [`Order::Sequential`] asks from the front.
//! - [`Order::Split`] is the sources' "part i of n": holder i of n begins at part i and goes on, round the end of the
//!   file; so it takes over what a slow or lost holder left undone.

use std::str::FromStr;

use super::{Holder, HolderId, Picker};
use crate::error::{Error, Kind};
use crate::share::Piece;

/// In which order pieces are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// What the fewest have comes first.
    #[default]
    Rarest,
    /// From the front: for somebody who watches while it comes.
    Sequential,
    /// Part i of n from holder i of n.
    Split,
}

impl FromStr for Order {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "rarest" => Ok(Self::Rarest),
            "sequential" => Ok(Self::Sequential),
            "split" => Ok(Self::Split),
            _ => Err(Error::new(Kind::Usage, format!("{text:.40?} is no order of pieces"))
                .advise("use rarest, sequential or split")),
        }
    }
}

impl Picker {
    /// The open pieces that a holder has, in order; not what it sent wrongly, unless nobody else has it.
    pub(super) fn candidates(&self, holder: HolderId, known: &Holder) -> impl Iterator<Item = Piece> {
        let elsewhere = move |piece: Piece| self.spread[piece.index() as usize] > 1;
        self.open
            .common(&known.has)
            .filter(move |&piece| !self.failed_with(holder, piece) || !elsewhere(piece))
    }

    /// How many have it, then a lot drawn by the seed.
    pub(super) fn rarity(&self, piece: Piece) -> (u32, u64) {
        (self.spread[piece.index() as usize], lot(self.seed, piece.index()))
    }

    /// The first open piece in part i of n, or after it, round the end of the file.
    pub(super) fn first_of_its_part(&self, holder: HolderId, known: &Holder) -> Option<Piece> {
        let i = self.holders.range(..holder).count() as u64;
        let first = u64::from(self.layout().pieces()) * i / self.holders.len() as u64;
        let behind = self.candidates(holder, known).find(|piece| u64::from(piece.index()) >= first);
        behind.or_else(|| self.candidates(holder, known).next())
    }
}

/// A number that looks random, the same for the same seed and piece: splitmix64, by Steele, Lea and Flood
/// ("Fast splittable pseudorandom number generators", 2014).
pub(super) fn lot(seed: u64, index: u32) -> u64 {
    let mut z = seed.wrapping_add(u64::from(index).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
