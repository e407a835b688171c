//! How a file is cut into pieces, and what each of them must hash to.
//!
//! # The problem
//! Parts of a file come from strangers. A hash of the whole file would tell only at the end that
//! something was wrong, and not what. And a stranger may ask for part 4,000,000,000 of a small file.
//!
//! # The rules
//! - **Pieces.** A file is cut into pieces of one size, the last as long as what is left. The size is
//!   256 KiB, doubled until there are at most 4096 pieces, and 4 MiB at most ([`piece_size_for`]).
//! - **A number is not a piece.** A [`Piece`] exists only after its number was checked against a
//!   [`Layout`]; it knows where it begins and how long it is. What is given one need not check again.
//! - **The manifest** is the layout and the SHA-256 of every piece. From the wire it is made only if
//!   everything about it fits ([`Manifest::from_wire`]).
//! - **The id** of a file is the SHA-256 of its manifest: of everything but the name ([`Manifest::id`]).
//!
//! # An example
//! A file of 600,000 bytes has three pieces: 0 and 1 of 262,144 bytes, and 2 of 75,712. A file of one byte
//! has one piece, and an empty file has none; it is a file all the same, with an id of its own.
//!
//! # What is missing
//! A tree of hashes, so that a peer could check a piece without knowing the hashes of all others. With at
//! most 4096 of them for files up to 16 GiB (128 KiB of hashes) the list is cheap enough.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use sha2::{Digest, Sha256};

use super::units::counted;
use super::{FileId, FileName, Hash};
use crate::error::{Code, Error, Result};

/// The size of a piece of a small file, in bytes: the lecture's 256 KB.
pub const PIECE_SIZE: u32 = 256 << 10;

/// The smallest piece, in bytes; smaller ones would be mostly messages.
pub const MIN_PIECE_SIZE: u32 = 1 << 10;

/// The largest piece, in bytes: a peer holds whole pieces in memory, a few for each neighbour.
pub const MAX_PIECE_SIZE: u32 = 4 << 20;

/// How many pieces a file should have at most: beyond that they grow instead, while they may.
pub const FEW_PIECES: u64 = 4096;

/// How many pieces a file can have: its hashes then take 2 MiB, and it is 256 GiB long at most.
pub const MAX_PIECES: u64 = 65_536;

/// The bytes of one hash.
pub const HASH_SIZE: usize = size_of::<Hash>();

/// Stands in front of what is hashed to an id, so that no other program's hash is ever one of ours.
const ID_PREFIX: &[u8] = b"peerlab manifest 1\n";

/// How much of a file is in memory while it is hashed, in bytes.
const READ_SIZE: usize = 128 << 10;

/// The size of the pieces of a file of `size` bytes, unless somebody wants another.
///
/// ```
/// use peerlab::share::manifest::piece_size_for;
/// assert_eq!(piece_size_for(1), 256 << 10);
/// assert_eq!(piece_size_for(1 << 30), 256 << 10);
/// assert_eq!(piece_size_for((1 << 30) + 1), 512 << 10);
/// assert_eq!(piece_size_for(1 << 40), 4 << 20);
/// ```
pub fn piece_size_for(size: u64) -> u32 {
    let mut piece_size = PIECE_SIZE;
    while size.div_ceil(piece_size.into()) > FEW_PIECES && piece_size < MAX_PIECE_SIZE {
        piece_size *= 2;
    }
    piece_size
}

/// How a file is cut: its size and that of its pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Layout {
    size: u64,
    piece_size: u32,
}

impl Layout {
    /// A file of `size` bytes, cut as [`piece_size_for`] says.
    ///
    /// # Errors
    /// `bad_message` when the file is too large.
    pub fn of(size: u64) -> Result<Self> {
        Self::new(size, piece_size_for(size).into())
    }

    /// A file of `size` bytes, cut into pieces of `piece_size`.
    ///
    /// # Errors
    /// `bad_message` when the size of a piece is not a power of two between [`MIN_PIECE_SIZE`] and
    /// [`MAX_PIECE_SIZE`], or there would be more than [`MAX_PIECES`].
    pub fn new(size: u64, piece_size: u64) -> Result<Self> {
        let legal = |size: &u32| size.is_power_of_two() && (MIN_PIECE_SIZE..=MAX_PIECE_SIZE).contains(size);
        let piece_size = u32::try_from(piece_size).ok().filter(legal).ok_or_else(|| {
            bad(format!("a piece cannot have {piece_size} bytes"))
                .advise("use a power of two from 1KiB to 4MiB")
        })?;
        let pieces = size.div_ceil(piece_size.into());
        if pieces > MAX_PIECES {
            return Err(bad(format!("{size} bytes in pieces of {piece_size} are {pieces} pieces"))
                .advise(format!("a file can have {MAX_PIECES}; larger pieces, or a smaller file")));
        }
        Ok(Self { size, piece_size })
    }

    /// The size of the file in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The size of every piece but the last, in bytes.
    pub fn piece_size(&self) -> u32 {
        self.piece_size
    }

    /// How many pieces there are; none in an empty file.
    pub fn pieces(&self) -> u32 {
        self.size.div_ceil(self.piece_size.into()) as u32
    }

    /// The piece of this number.
    ///
    /// # Errors
    /// `bad_message` when there is none.
    pub fn piece(&self, index: u32) -> Result<Piece> {
        if index >= self.pieces() {
            return Err(bad(format!("there is no piece {index}"))
                .advise(format!("the file has {} pieces, counted from 0", self.pieces())));
        }
        Ok(self.cut(index))
    }

    /// All pieces, in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = Piece> + use<> {
        let layout = *self;
        (0..layout.pieces()).map(move |index| layout.cut(index))
    }

    fn cut(&self, index: u32) -> Piece {
        let offset = u64::from(index) * u64::from(self.piece_size);
        let len = (self.size - offset).min(self.piece_size.into()) as u32;
        Piece { index, offset, len }
    }
}

/// A piece of a file, checked: where it begins and how long it is. Made by [`Layout::piece`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Piece {
    index: u32,
    offset: u64,
    len: u32,
}

impl Piece {
    /// Its number, counted from 0: what it is called on the wire, and to people.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Where it begins in the file.
    pub fn offset(self) -> u64 {
        self.offset
    }

    /// Its bytes; never none.
    #[expect(clippy::len_without_is_empty, reason = "no piece is empty")]
    pub fn len(self) -> usize {
        self.len as usize
    }
}

/// What is known of a file: its name, how it is cut, and what every piece hashes to. Clones share the hashes, which may
/// take 2 MiB: so an answer that nobody reads holds none of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    name: FileName,
    layout: Layout,
    hashes: Arc<[Hash]>,
    id: FileId,
}

/// Fails when what is done to a file is to stop.
pub(super) fn unless_stopped(stop: &AtomicBool) -> io::Result<()> {
    if stop.load(Ordering::SeqCst) { Err(io::Error::other("stopped")) } else { Ok(()) }
}

impl Manifest {
    /// A manifest as it came from somebody else: everything about it is checked.
    ///
    /// # Errors
    /// `bad_message` when the numbers are absurd, or `hashes` is not 32 bytes for each piece.
    pub fn from_wire(name: FileName, size: u64, piece_size: u64, hashes: &[u8]) -> Result<Self> {
        let layout = Layout::new(size, piece_size)?;
        let (hashes, torn) = hashes.as_chunks::<HASH_SIZE>();
        if !torn.is_empty() || hashes.len() != layout.pieces() as usize {
            let len = hashes.len() * HASH_SIZE + torn.len();
            return Err(bad(format!("{len} bytes are not the hashes of {name}")).advise(format!(
                "it has {}, with {HASH_SIZE} bytes each",
                counted(layout.pieces(), "piece")
            )));
        }
        Ok(Self::new(name, layout, hashes.into()))
    }

    /// Reads a whole file, which must be as long as the layout says, and hashes its pieces. Holds no more
    /// than 128 KiB of it in memory.
    ///
    /// # Errors
    /// Those of the reader; [`io::ErrorKind::UnexpectedEof`] when the file is shorter; another when it is to `stop`.
    pub fn read(name: FileName, layout: Layout, mut file: impl Read, stop: &AtomicBool) -> io::Result<Self> {
        let mut buffer = vec![0; READ_SIZE];
        let mut hash_next = |piece: Piece| {
            let (mut hash, mut left) = (Sha256::new(), piece.len());
            while left > 0 {
                unless_stopped(stop)?;
                let part = &mut buffer[..left.min(READ_SIZE)];
                file.read_exact(part)?;
                hash.update(&*part);
                left -= part.len();
            }
            Ok(Hash::from(hash.finalize()))
        };
        let hashes: Arc<[Hash]> = layout.iter().map(&mut hash_next).collect::<io::Result<_>>()?;
        Ok(Self::new(name, layout, hashes))
    }

    fn new(name: FileName, layout: Layout, hashes: Arc<[Hash]>) -> Self {
        let mut manifest = Sha256::new_with_prefix(ID_PREFIX);
        manifest.update(layout.size.to_le_bytes());
        manifest.update(u64::from(layout.piece_size).to_le_bytes());
        manifest.update(hashes.as_flattened());
        let id = FileId::from(Hash::from(manifest.finalize()));
        Self { name, layout, hashes, id }
    }

    /// What the file is called.
    pub fn name(&self) -> &FileName {
        &self.name
    }

    /// How it is cut.
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// The hashes of all pieces, one after another, as they travel on the wire.
    pub fn hashes(&self) -> &[u8] {
        self.hashes.as_flattened()
    }

    /// The SHA-256 of the file itself, where it is known: there is one piece, or none.
    pub fn sha256(&self) -> Option<Hash> {
        match self.hashes[..] {
            [] => Some(Sha256::digest(b"").into()),
            [only] => Some(only),
            _ => None,
        }
    }

    /// What identifies the file: the SHA-256 of
    ///
    /// ```text
    ///     "peerlab manifest 1" and a line feed    19 bytes
    ///     the size of the file                     8 bytes, little-endian
    ///     the size of a piece                      8 bytes, little-endian
    ///     the hashes of all pieces, in order      32 bytes each
    /// ```
    ///
    /// The name is not part of it. The id says *which bytes*; the name says what somebody calls them. So
    /// a copy under another name (a conflict copy, a renamed file) is known to be the same bytes without
    /// looking at one of them, pieces can come from its holders too, and an HTTP client's `ETag` stays
    /// good. The price: an id alone does not name a file. A peer that remembers that a file was dropped must
    /// remember both, its name *and* its id, or dropping `draft` would also drop `final` with the
    /// same content.
    ///
    /// The size of a piece is part of it, although it changes no byte of the file: peers must agree on
    /// what "piece 7" is.
    pub fn id(&self) -> FileId {
        self.id
    }

    /// Whether these are the bytes of this piece.
    ///
    /// # Panics
    /// If the piece is one of a file with more pieces.
    pub fn verify(&self, piece: Piece, bytes: &[u8]) -> bool {
        Hash::from(Sha256::digest(bytes)) == self.hashes[piece.index as usize]
    }
}

fn bad(what: String) -> Error {
    Error::new(Code::BadMessage, what)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(name: &str) -> FileName {
        name.parse().unwrap()
    }

    fn manifest(bytes: &[u8], piece_size: u64) -> Manifest {
        let layout = Layout::new(bytes.len() as u64, piece_size).unwrap();
        Manifest::read(name("a"), layout, bytes, &false.into()).unwrap()
    }

    #[test]
    fn the_hash_of_a_file_of_one_piece_or_none_is_that_of_the_piece() {
        for (bytes, known) in [(&b""[..], true), (b"one", true), (&[1; 1025], false)] {
            let hash: Hash = Sha256::digest(bytes).into();
            assert_eq!(manifest(bytes, 1024).sha256(), known.then_some(hash));
        }
    }

    #[test]
    fn pieces_grow_until_there_are_at_most_4096_or_they_have_4_mib() {
        const MIB: u64 = 1 << 20;
        for (size, piece_size, pieces) in [
            (0, 256 << 10, 0),
            (1, 256 << 10, 1),
            (256 << 10, 256 << 10, 1),
            ((256 << 10) + 1, 256 << 10, 2),
            (1024 * MIB, 256 << 10, 4096),
            (1024 * MIB + 1, 512 << 10, 2049),
            (8192 * MIB, 2 << 20, 4096),
            (16_384 * MIB, 4 << 20, 4096),
            (16_384 * MIB + 1, 4 << 20, 4097),
            (262_144 * MIB, 4 << 20, 65_536),
        ] {
            let layout = Layout::of(size).unwrap();
            assert_eq!((layout.piece_size(), layout.pieces()), (piece_size, pieces), "{size} bytes");
        }
        let error = Layout::of(262_144 * MIB + 1).unwrap_err().to_string();
        assert!(error.contains("65537 pieces"), "{error}");
    }

    #[test]
    fn the_last_piece_is_as_long_as_what_is_left() {
        let layout = Layout::of(600_000).unwrap();
        let cut: Vec<_> = layout.iter().map(|p| (p.index(), p.offset(), p.len())).collect();
        assert_eq!(cut, [(0, 0, 262_144), (1, 262_144, 262_144), (2, 524_288, 75_712)]);
        assert_eq!(layout.piece(2).unwrap(), layout.iter().last().unwrap());
    }

    #[test]
    fn a_number_that_is_no_piece_becomes_none() {
        for (size, index) in [(600_000, 3), (600_000, u32::MAX), (0, 0), (1, 1)] {
            let error = Layout::of(size).unwrap().piece(index).unwrap_err();
            assert_eq!(error.code(), Code::BadMessage);
            assert!(error.to_string().starts_with(&format!("there is no piece {index};")), "{error}");
        }
    }

    #[test]
    fn empty_and_one_byte_files_are_files() {
        let (empty, one) = (manifest(b"", 1024), manifest(b"x", 1024));
        assert_eq!((empty.layout().pieces(), empty.hashes().len()), (0, 0));
        assert_eq!((one.layout().pieces(), one.hashes().len()), (1, 32));
        assert!(one.verify(one.layout().piece(0).unwrap(), b"x"));
        assert_ne!(empty.id(), one.id());
        let again = Manifest::from_wire(name("a"), 0, 1024, &[]).unwrap();
        assert_eq!(again, empty);
    }

    /// Computed with Python's hashlib from the documented encoding.
    #[test]
    fn the_id_is_the_hash_of_the_documented_bytes() {
        assert_eq!(
            manifest(b"hello", 1024).id().to_string(),
            "857c4c1983cca759cbdea18901da00a208c859d123d3e86e935a47dd78c16685"
        );
        assert_eq!(
            manifest(b"", 256 << 10).id().to_string(),
            "71265455ae5347408107426585c21cb277c3ae2411bdfe06093bf4035935a948"
        );
    }

    #[test]
    fn the_id_depends_on_the_bytes_and_the_cut_but_not_on_the_name() {
        let bytes = vec![7; 3000];
        let same = manifest(&bytes, 1024);
        let renamed = Manifest::read(name("b"), same.layout(), &bytes[..], &false.into()).unwrap();
        assert_eq!((renamed.name().as_str(), renamed.id()), ("b", same.id()));
        assert_ne!(manifest(&bytes, 2048).id(), same.id());
        assert_ne!(manifest(&bytes[1..], 1024).id(), same.id());
    }

    #[test]
    fn a_piece_is_checked_in_length_and_in_every_bit() {
        let bytes: Vec<u8> = (0..3000_u32).map(|i| ((i * i) >> 3) as u8).collect();
        let manifest = manifest(&bytes, 1024);
        let piece = manifest.layout().piece(1).unwrap();
        assert!(manifest.verify(piece, &bytes[1024..2048]));
        assert!(!manifest.verify(piece, &bytes[1024..2047]));
        assert!(!manifest.verify(piece, &bytes[1024..2049]));
        assert!(!manifest.verify(piece, &[]));
        let mut wrong = bytes[1024..2048].to_vec();
        wrong[1023] ^= 1;
        assert!(!manifest.verify(piece, &wrong));
    }

    #[test]
    fn a_file_that_is_shorter_than_its_layout_has_no_manifest() {
        let error =
            Manifest::read(name("a"), Layout::of(10).unwrap(), &b"123456789"[..], &false.into()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }

    #[test]
    fn every_lie_in_a_manifest_is_refused() {
        let hashes = |pieces: usize| vec![0; pieces * HASH_SIZE];
        for (size, piece_size, hashes, says) in [
            (1, 0, hashes(1), "a piece cannot have 0 bytes"),
            (1, 1, hashes(1), "a piece cannot have 1 bytes"),
            (1, 1000, hashes(1), "a piece cannot have 1000 bytes"),
            (1, 3 << 20, hashes(1), "a piece cannot have 3145728 bytes"),
            (1, 8 << 20, hashes(1), "a piece cannot have 8388608 bytes"),
            (1, (1 << 32) + 1024, hashes(1), "a piece cannot have 4294968320 bytes"),
            (1, u64::MAX, hashes(1), "a piece cannot have 18446744073709551615 bytes"),
            (u64::MAX, 4 << 20, hashes(1), "4398046511104 pieces"),
            (65_536 * 1024 + 1, 1024, hashes(65_537), "65537 pieces"),
            (2049, 1024, hashes(2), "64 bytes are not the hashes of a; it has 3 pieces"),
            (2049, 1024, hashes(4), "128 bytes are not the hashes of a; it has 3 pieces"),
            (2049, 1024, vec![0; 95], "95 bytes are not the hashes of a; it has 3 pieces"),
            (2049, 1024, vec![0; 97], "97 bytes are not the hashes of a; it has 3 pieces"),
            (0, 1024, hashes(1), "32 bytes are not the hashes of a; it has 0 pieces"),
            (1, 1024, hashes(0), "0 bytes are not the hashes of a; it has 1 piece"),
        ] {
            let error = Manifest::from_wire(name("a"), size, piece_size, &hashes).unwrap_err();
            assert_eq!(error.code(), Code::BadMessage);
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    proptest! {
        #[test]
        fn pieces_cover_the_file_without_gap_or_overlap(size in 0..1_u64 << 38, shift in 0..13_u32) {
            let Ok(layout) = Layout::new(size, u64::from(MIN_PIECE_SIZE) << shift) else {
                prop_assert!(size.div_ceil(u64::from(MIN_PIECE_SIZE) << shift) > MAX_PIECES);
                return Ok(());
            };
            let mut end = 0;
            for piece in layout.iter() {
                prop_assert_eq!(piece.offset(), end);
                prop_assert!(piece.len() > 0 && piece.len() <= layout.piece_size() as usize);
                end += piece.len() as u64;
            }
            prop_assert_eq!(end, size);
        }

        #[test]
        fn a_manifest_survives_the_wire(bytes in prop::collection::vec(any::<u8>(), 0..5000)) {
            let sent = manifest(&bytes, 1024);
            let layout = sent.layout();
            let (size, piece_size) = (layout.size(), layout.piece_size().into());
            let got = Manifest::from_wire(sent.name().clone(), size, piece_size, sent.hashes()).unwrap();
            prop_assert_eq!(got.id(), sent.id());
            prop_assert_eq!(got, sent);
        }
    }
}
