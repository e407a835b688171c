//! Every message of the protocol, and why it exists. Read this folder, and you know the wire.
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
//! - **A secret**, where the network has one, is proved between the first message and its answer, by messages of their
//!   own ([`admission`](super::admission)).
//! - **In whose name** something is said is shown, not told: to the manager by a token, to a peer by the key of a lease
//!   or by a pass ([`key`](super::key)). Without a number it is nobody's, which is enough to look and to lease.
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
//! | `register` | a peer's stay | `registered`; then `peers`, `ping`, `bind`, `unbind`, `fetch`, `drop`, `list` from the manager, `ok`, `unbound`, `blame` and `drop` from the peer, until `quit` |
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
//! | `join` | pieces of one file | `bitfield`; then `interested`, `request`, `have` and `wrong` from the one, `have`, `choke`, `unchoke` and `piece` from the other |
//!
//! # What is missing
//! An object *within* a message may also come as the list of its members, in the order in which they stand here: serde
//! understands that. Nobody here writes it. And versions that understand each other: a `register` with another
//! [`VERSION`] is refused, and the other conversations do not say which they speak.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Code, Error, Result};

mod manager;
mod parts;
mod peers;
mod state;

pub use manager::*;
pub use parts::*;
pub use peers::*;
pub use state::*;

/// The version of this protocol; a `register` with another is refused.
pub const VERSION: u32 = 2;

/// A message as it goes over the wire: one line of JSON with its newline. Only a map whose keys are no texts could not
/// be written so, and no message has one.
pub fn encode(message: &impl Serialize) -> Vec<u8> {
    let mut line = serde_json::to_vec(message).unwrap_or_default();
    line.push(b'\n');
    line
}

/// A line as a message: an object, and not a list of its members, which serde would understand, too.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn decode<M: DeserializeOwned>(line: &[u8]) -> serde_json::Result<M> {
    if line.trim_ascii_start().starts_with(b"[") {
        return Err(serde::de::Error::custom("a list where an object is expected"));
    }
    serde_json::from_slice(line)
}

/// A line as a log or an error shows it: without what only its reader is to know.
pub(crate) fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line);
    let mut parts: Vec<&str> = text.trim_end().split('"').collect();
    for value in 2..parts.len() {
        if ["token", "key", "pass", "mac"].contains(&parts[value - 2]) && parts[value - 1].trim() == ":" {
            parts[value] = "...";
        }
    }
    parts.join("\"")
}

/// A message that may answer a question.
pub trait Reply: DeserializeOwned {
    /// This message; or, where it is a "no", the reason as an error.
    ///
    /// # Errors
    /// What the other side refused.
    fn granted(self) -> Result<Self>;
}

impl Reply for FromManager {
    fn granted(self) -> Result<Self> {
        if let Self::Error(no) = self { Err(no.into()) } else { Ok(self) }
    }
}

impl Reply for FromPeer {
    fn granted(self) -> Result<Self> {
        if let Self::Error(no) = self { Err(no.into()) } else { Ok(self) }
    }
}

/// The refusal of a message that has no place here now; `expected` says which have.
pub fn unexpected(message: &impl Serialize, expected: &str) -> Error {
    misplaced("not expected now", message).advise(format!("say {expected} here"))
}

/// The failure of one that asked a question of this `type`, and was sent something that does not answer it.
pub fn no_answer(message: &impl Serialize, question: &str) -> Error {
    misplaced(&format!("not an answer to `{question}`"), message)
}

fn misplaced(why: &str, message: &impl Serialize) -> Error {
    let text = shown(&encode(message));
    Error::new(Code::BadMessage, format!("{why}: {text:.200}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_shown_without_what_only_its_reader_is_to_know() {
        let line = br#"{"type":"x","token":"1","slots":[{"key" : "2"},{"peer":3,"pass":"4"}],"name":"key","file":"\"pass"}"#;
        let public = r#"{"type":"x","token":"...","slots":[{"key" : "..."},{"peer":3,"pass":"..."}],"name":"key","file":"\"pass"}"#;
        assert_eq!(shown(&[&line[..], b"\n"].concat()), public);
        assert_eq!(shown(b"not JSON: \"key\":"), "not JSON: \"key\":");
        assert_eq!(shown(b"\xff"), "\u{fffd}");
    }
}
