//! What several messages carry: numbers and names, cards of peers, holders of a file, and the refusal.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::error::{Code, Error};
use crate::net::key::Key;
use crate::net::limits;
pub use crate::share::PeerName as Name;
use crate::share::{FileId, FileName};

/// A peer's number, given by the manager when it joins.
pub type PeerId = u64;

/// A lease's number, given by the manager when it is asked for.
pub type LeaseId = u64;

/// A file that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dropped {
    /// What it was called.
    pub file: FileName,
    /// Which bytes it was.
    pub id: FileId,
    /// When.
    pub at: Millis,
}

/// An error on the wire.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Refusal {
    /// For programs.
    pub code: Code,
    /// For people: what failed and what to do next.
    pub text: String,
    /// With `infeasible`: how many slots could be leased at all.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub leasable: Option<u32>,
}

impl From<&Error> for Refusal {
    fn from(error: &Error) -> Self {
        Self { code: error.code(), text: plain(&error.to_string()), leasable: error.leasable }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let error = Error::new(refusal.code, plain(&refusal.text));
        refusal.leasable.into_iter().fold(error, Error::with_leasable)
    }
}

/// What others wrote, so that it can be shown: cut, and without characters that command a terminal.
pub fn plain(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(limits::ERROR_TEXT)];
    text.replace(char::is_control, "\u{fffd}")
}

/// In whose name something is asked of a manager. Left out, it is nobody's: that is enough to look.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Credentials {
    /// The peer's own number.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub peer: PeerId,
    /// The token that came with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<Key>,
}

/// Who asks without [`Credentials`].
pub const NOBODY: PeerId = 0;

/// A peer as others see it. In `peers`, `slots` is what it offers; in `leased`, what was leased there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PeerCard {
    /// The peer's number.
    pub peer: PeerId,
    /// Its name.
    pub name: Name,
    /// Where it listens.
    pub addr: SocketAddr,
    /// How many slots.
    pub slots: u32,
    /// In `leased`: what shows there that a product is asked for by the holder of the lease.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<Key>,
}

/// A lease that a peer still serves although it lost the connection over which it was bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bound {
    /// The lease.
    pub lease: LeaseId,
    /// How many of the peer's slots it takes.
    pub slots: u32,
}

/// A peer that has a file, or a part of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holder {
    /// Its number.
    pub peer: PeerId,
    /// Its name.
    pub name: Name,
    /// Where it listens.
    pub addr: SocketAddr,
    /// Whether it has all of it.
    pub whole: bool,
    /// In `holders`, for a requester that has shown its token: what shows there who asks for pieces.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pass: Option<Key>,
}

/// A flag that is set where a message leaves it out.
pub(super) fn yes() -> bool {
    true
}

/// A number that a message leaves out.
pub(super) fn is_zero<N: Default + PartialEq>(number: &N) -> bool {
    *number == N::default()
}
