//! A set of pieces of one file, as compact as it travels on the wire.
//!
//! One bit for each piece, the first in the highest bit of the first byte, as BitTorrent has it. What is
//! left of the last byte is zero; a bitfield from the wire where it is not, or of another length, is
//! refused: its sender speaks of another file.
//!
//! A file of ten pieces of which the first and the last are there: `1000_0000 0100_0000`.

use super::{Layout, Piece};
use crate::error::{Code, Error, Result};

/// A set of pieces.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitfield {
    layout: Layout,
    bits: Vec<u8>,
    count: u32,
}

impl Bitfield {
    /// No piece of a file that is cut like this.
    pub fn empty(layout: Layout) -> Self {
        Self { layout, bits: vec![0; Self::wire_size(layout)], count: 0 }
    }

    /// All pieces of a file that is cut like this.
    pub fn full(layout: Layout) -> Self {
        Self::of(layout, layout.iter())
    }

    /// These pieces of a file that is cut like this.
    pub fn of(layout: Layout, pieces: impl IntoIterator<Item = Piece>) -> Self {
        let mut set = Self::empty(layout);
        for piece in pieces {
            set.insert(piece);
        }
        set
    }

    /// How many bytes the wire takes for it.
    pub fn wire_size(layout: Layout) -> usize {
        layout.pieces().div_ceil(8) as usize
    }

    /// A bitfield as it came from somebody else.
    ///
    /// # Errors
    /// `bad_message` when it has another length, or bits of pieces that do not exist.
    pub fn from_wire(layout: Layout, bits: &[u8]) -> Result<Self> {
        let wrong = |what| {
            Error::new(Code::BadMessage, what)
                .advise(format!("the file has {} pieces: a bit for each, then zeros", layout.pieces()))
        };
        if bits.len() != Self::wire_size(layout) {
            return Err(wrong(format!("a bitfield of {} bytes", bits.len())));
        }
        let spare = bits.len() as u32 * 8 - layout.pieces();
        if bits.last().is_some_and(|last| last.trailing_zeros() < spare) {
            return Err(wrong("a bitfield with pieces that do not exist".into()));
        }
        let count = bits.iter().map(|byte| byte.count_ones()).sum();
        Ok(Self { layout, bits: bits.to_vec(), count })
    }

    /// The bytes for the wire.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bits
    }

    /// A map of the file for the board: a bit for each of `parts` equal parts of it, or for each piece where there are
    /// fewer, set when all that belongs to it is there; in hexadecimal digits.
    pub fn map(&self, parts: u32) -> String {
        let there: Vec<bool> = self.layout.iter().map(|piece| self.contains(piece)).collect();
        let (pieces, parts) = (there.len(), there.len().min(parts as usize));
        let its = |part| &there[part * pieces / parts..(part + 1) * pieces / parts];
        let set: Vec<bool> = (0..parts).map(|part| its(part).iter().all(|on| *on)).collect();
        let number =
            |four: &[bool]| four.iter().fold(0, |sum, on| 2 * sum + u32::from(*on)) << (4 - four.len());
        set.chunks(4).filter_map(|four| char::from_digit(number(four), 16)).collect()
    }

    /// How the file is cut whose pieces these are.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// How many pieces are in the set.
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Whether all are.
    pub fn is_full(&self) -> bool {
        self.count == self.layout.pieces()
    }

    /// Whether this one is.
    ///
    /// # Panics
    /// If the piece is one of a longer file; so do [`Bitfield::insert`] and [`Bitfield::remove`].
    pub fn contains(&self, piece: Piece) -> bool {
        let (byte, bit) = place(piece);
        self.bits[byte] & bit != 0
    }

    /// Adds a piece; false when it was there.
    pub fn insert(&mut self, piece: Piece) -> bool {
        let (byte, bit) = place(piece);
        let new = self.bits[byte] & bit == 0;
        self.bits[byte] |= bit;
        self.count += u32::from(new);
        new
    }

    /// Takes a piece out; false when it was not there.
    pub fn remove(&mut self, piece: Piece) -> bool {
        let (byte, bit) = place(piece);
        let there = self.bits[byte] & bit != 0;
        self.bits[byte] &= !bit;
        self.count -= u32::from(there);
        there
    }

    /// The pieces in the set, in order.
    pub fn iter(&self) -> impl Iterator<Item = Piece> {
        self.pick(|byte| self.bits[byte])
    }

    /// The pieces that are not in the set, in order.
    pub fn missing(&self) -> impl Iterator<Item = Piece> {
        self.pick(|byte| !self.bits[byte])
    }

    /// The pieces that are in both sets, in order. Both must be of one file.
    pub fn common(&self, other: &Self) -> impl Iterator<Item = Piece> {
        self.pick(|byte| self.bits[byte] & other.bits[byte])
    }

    /// The pieces whose bits are set in what `bits` says for each byte. Empty bytes cost next to nothing.
    fn pick(&self, bits: impl Fn(usize) -> u8) -> impl Iterator<Item = Piece> {
        let ones = move |byte| {
            let mut left: u8 = bits(byte);
            std::iter::from_fn(move || {
                let bit = left.leading_zeros();
                left &= !0x80_u8.checked_shr(bit)?;
                Some(byte as u32 * 8 + bit)
            })
        };
        (0..self.bits.len()).flat_map(ones).map_while(|index| self.layout.piece(index).ok())
    }
}

/// The byte and the bit of a piece.
fn place(piece: Piece) -> (usize, u8) {
    (piece.index() as usize / 8, 0x80 >> (piece.index() % 8))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    fn layout(pieces: u32) -> Layout {
        Layout::new(u64::from(pieces) * 1024, 1024).unwrap()
    }

    #[test]
    fn a_map_has_a_bit_for_each_part_that_is_all_there() {
        let layout = Layout::new(10 * 1024, 1024).unwrap();
        let have = Bitfield::of(layout, layout.iter().filter(|piece| ![2, 9].contains(&piece.index())));
        assert_eq!(have.map(512), "df8", "a bit for each piece, and zeros");
        assert_eq!(have.map(5), "b0");
        assert_eq!(Bitfield::full(Layout::of(0).unwrap()).map(512), "");
    }

    #[test]
    fn the_first_piece_is_the_highest_bit_of_the_first_byte() {
        let mut set = Bitfield::empty(layout(10));
        assert!(set.insert(layout(10).piece(0).unwrap()));
        assert!(set.insert(layout(10).piece(9).unwrap()));
        assert!(!set.insert(layout(10).piece(9).unwrap()), "twice is once");
        assert_eq!(set.as_bytes(), [0b1000_0000, 0b0100_0000]);
        assert_eq!(set.count(), 2);
        assert_eq!(Bitfield::full(layout(10)).as_bytes(), [0xff, 0b1100_0000]);
        assert!(Bitfield::full(layout(10)).is_full());
    }

    #[test]
    fn an_empty_file_is_full_from_the_start() {
        let none = Bitfield::empty(layout(0));
        assert!(none.is_full());
        assert_eq!(Bitfield::from_wire(layout(0), &[]).unwrap(), none);
    }

    #[test]
    fn another_length_and_pieces_that_do_not_exist_are_refused() {
        for (pieces, bits) in
            [(10, &[0xff][..]), (10, &[0, 0, 0]), (10, &[0, 0x20]), (10, &[0, 1]), (1, &[0x40]), (0, &[0])]
        {
            let error = Bitfield::from_wire(layout(pieces), bits).unwrap_err();
            assert_eq!(error.code(), Code::BadMessage, "{bits:?}");
        }
        assert!(Bitfield::from_wire(layout(8), &[0xff]).unwrap().is_full());
        let one = Bitfield::from_wire(layout(10), &[0, 0x40]).unwrap();
        assert_eq!((one.count(), one.is_full()), (1, false));
    }

    proptest! {
        #[test]
        fn it_is_a_set(pieces in 1..70_u32, acts in prop::collection::vec((any::<bool>(), any::<u32>()), 0..100)) {
            let layout = layout(pieces);
            let (mut bits, mut set) = (Bitfield::empty(layout), BTreeSet::new());
            for (add, index) in acts {
                let piece = layout.piece(index % pieces).unwrap();
                if add {
                    prop_assert_eq!(bits.insert(piece), set.insert(piece));
                } else {
                    prop_assert_eq!(bits.remove(piece), set.remove(&piece));
                }
            }
            prop_assert_eq!(bits.iter().collect::<BTreeSet<_>>(), set.clone());
            prop_assert!(bits.missing().eq(layout.iter().filter(|piece| !set.contains(piece))));
            prop_assert!(layout.iter().all(|piece| bits.contains(piece) == set.contains(&piece)));
            prop_assert_eq!(bits.count() as usize, set.len());
            prop_assert_eq!(Bitfield::from_wire(layout, bits.as_bytes()).unwrap(), bits.clone());
            prop_assert!(bits.common(&Bitfield::full(layout)).eq(bits.iter()));
            prop_assert_eq!(bits.common(&Bitfield::empty(layout)).count(), 0);
        }
    }
}
