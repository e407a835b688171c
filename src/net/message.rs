//! Every message of the protocol, and why it exists. Whoever has read this folder knows the wire.
//!
//! # The rules
//! - A message is **one line of JSON**, an object whose `type` says which message it is. There is one enum for each
//!   direction: [`ToManager`], [`FromManager`], [`ToPeer`], [`FromPeer`]; each variant is one `type`, its fields the
//!   members of the object.
//! - **A field that is not listed is an error** and not ignored: a misspelt `slotz` must not silently mean "the
//!   default". The same holds for a `type` that nobody knows.
//! - **A payload** follows the newline where a message has the field `payload`: so many raw bytes. How many there may
//!   be follows from the message itself (an eighth of the pieces, 32 for each piece, 8 for each number), and is checked
//!   before anything is allocated.
//! - **The first message says which conversation it is**; a node needs one port only.
//! - **`error` is an answer everywhere**, and the same everywhere ([`Refusal`]).
//!
//! Numbers of peers and leases start from the manager's start time in microseconds and only grow, across
//! restarts too, so that a number never means two things. They stay below 2^53, the largest whole number
//! up to which every JSON reader agrees.
//!
//! # The conversations
//! With a manager (`message/manager.rs`):
//!
//! | first message | what it is about | what follows |
//! |---|---|---|
//! | `register` | a peer's stay | `registered`; then `peers`, `ping`, `bind`, `unbind`, `fetch`, `drop`, `list` from the manager, `ok` and `unbound` from the peer, until `quit` |
//! | `lease` | slots | `wait`, each answered by `ok`; `leased`; then `renew`, `release`, `blame`, `progress` from the holder, `lost`, `expired` from the manager |
//! | `query`, `update`, `files` or `drop` | who has which file | `holders`; `updated`; `file` for each, and `end`; `dropped`; any number, one after another |
//! | `state` | a look at everything (`message/state.rs`) | `state`, as often as it is asked |
//!
//! Between peers (`message/peers.rs`):
//!
//! | first message | what it is about | what follows |
//! |---|---|---|
//! | `multiply` | products under a lease | `product`; any number, one after another |
//! | `get` | what a peer offers | `file` for each, and `end` |
//! | `join` | pieces of one file | `bitfield`; then `interested` and `request` from the one, `have`, `choke`, `unchoke` and `piece` from the other |
//!
//! # What is missing
//! Versions that understand each other: a `register` with another [`VERSION`] is refused, and the other conversations
//! do not say which they speak.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::limits;
use crate::error::{Code, Error};
use crate::share::check_name;

mod manager;
mod peers;
mod state;

pub use manager::{Bound, FromManager, Holder, PeerCard, ToManager};
pub use peers::{FromPeer, ToPeer};
pub use state::{
    Condition, DoneState, Download, Event, FileState, Health, LeaseState, ManagerState, PeerState,
    ProductStage, ProductState, Progress, Replicas, State, WaiterState,
};

/// The version of this protocol; a `register` with another is refused.
pub const VERSION: u32 = 1;

/// A peer's number, given by the manager when it joins.
pub type PeerId = u64;

/// A lease's number, given by the manager when it is asked for.
pub type LeaseId = u64;

/// A peer's name: 1 to 64 bytes, and otherwise like that of a file ([`check_name`]). It stands in messages, on
/// screens and in the names of folders.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

impl TryFrom<String> for Name {
    type Error = Error;

    fn try_from(name: String) -> Result<Self, Error> {
        check_name(&name, limits::NAME, "a peer's name").map(|()| Self(name))
    }
}

impl std::str::FromStr for Name {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::try_from(name.to_owned())
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
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
        Self { code: error.code(), text: plain(&error.to_string()), leasable: error.leasable() }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        let error = Error::new(refusal.code, plain(&refusal.text));
        match refusal.leasable {
            Some(leasable) => error.with_leasable(leasable),
            None => error,
        }
    }
}

/// What others wrote, so that it can be shown: cut, and without characters that command a terminal.
pub fn plain(text: &str) -> String {
    let text = &text[..text.floor_char_boundary(limits::ERROR_TEXT)];
    text.replace(char::is_control, "\u{fffd}")
}
