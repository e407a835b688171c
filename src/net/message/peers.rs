//! What peers say to each other: products under a lease, which files they offer, and pieces of a file.
//!
//! A peer that asks speaks [`ToPeer`], and hears [`FromPeer`]. It is the same program on both sides: a peer that
//! fetches pieces over one connection serves them over another.

use serde::{Deserialize, Serialize};

use super::parts::{LeaseId, PeerId, Refusal, is_zero};
use crate::net::key::Key;
use crate::share::{FileId, FileName};

/// What is said to a peer by another peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum ToPeer {
    /// "Multiply these": the payload is the left operand, then the right one, in row order, as
    /// little-endian f64. Answered by `product`; any number, one after another.
    Multiply {
        /// The lease under which the slot was got.
        lease: LeaseId,
        /// The key to it, which `leased` told.
        key: Key,
        /// The requester's own number for this product, returned with the answer.
        product: u32,
        /// Rows of the left operand and of the answer.
        rows: u32,
        /// Columns of the left operand, rows of the right one.
        inner: u32,
        /// Columns of the right operand and of the answer.
        cols: u32,
        /// Bytes that follow: 8 (rows inner + inner cols).
        payload: u64,
    },
    /// "Which files do you offer?" (E6). Answered by a `file` for each, and `end`.
    Get {},
    /// "I want pieces of this file": opens a conversation about it. Answered by `bitfield`.
    Join {
        /// The requester's own number; left out by one that has no pass, and is served as nobody.
        #[serde(default, skip_serializing_if = "is_zero")]
        peer: PeerId,
        /// The file.
        file: FileName,
        /// Which bytes are meant.
        id: FileId,
        /// What `holders` told, which shows that this is the requester's number.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        pass: Option<Key>,
    },
    /// "You have pieces that I lack", or no longer. Only one that is interested is unchoked.
    Interested {
        /// Whether it is so.
        on: bool,
    },
    /// "I have this piece now, too", from a requester that is not asked for pieces itself. It is not sent the piece any
    /// more, and the holder sees which peers pass on what it sends. Not answered.
    Have {
        /// Its number, counted from 0.
        piece: u32,
    },
    /// "What you sent as this piece has another hash." The holder looks at its own file; if the fault is there, it
    /// answers `error`. Not answered otherwise.
    Wrong {
        /// Its number, counted from 0.
        piece: u32,
    },
    /// "Send me this piece." Answered by `piece`, unless a `choke` comes first.
    Request {
        /// Its number, counted from 0.
        piece: u32,
    },
}

/// What a peer answers to another peer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub enum FromPeer {
    /// The answer: the payload is the product in row order, as little-endian f64.
    Product {
        /// The number it was asked under.
        product: u32,
        /// Its rows.
        rows: u32,
        /// Its columns.
        cols: u32,
        /// Bytes that follow: 8 rows cols.
        payload: u64,
    },
    /// One file that the peer offers.
    File {
        /// What it is called.
        file: FileName,
        /// Which bytes that are.
        id: FileId,
        /// Its size in bytes.
        size: u64,
        /// Whether all of it is there.
        whole: bool,
    },
    /// There are no more files.
    End {},
    /// The pieces that are there, one bit each, the first piece in the highest bit of the first byte.
    Bitfield {
        /// Bytes that follow: an eighth of the number of pieces, rounded up.
        payload: u64,
    },
    /// "This piece is there now, too."
    Have {
        /// Its number, counted from 0.
        piece: u32,
    },
    /// "I send you nothing now"; voids every request that is not answered yet.
    Choke {},
    /// "You may ask for pieces."
    Unchoke {},
    /// The piece that was asked for: its bytes follow.
    Piece {
        /// Its number.
        piece: u32,
        /// Bytes that follow: the length of the piece.
        payload: u64,
    },
    /// "No", with the reason.
    Error(Refusal),
}
