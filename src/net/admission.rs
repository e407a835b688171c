//! Who may speak to a node: those that know the secret of its network.
//!
//! # The problem
//! All that can reach a port can speak to it. On a machine of one's own that is nobody else; in a lab it is the whole
//! house. A password in each message would be read by the first program that it is sent to by mistake.
//!
//! # The rule
//! With `--secret-file` every node has the same secret, and none ever sends it. After the first line of a conversation
//! the node that was reached draws a number that was never used, the *nonce*. It reads on, and understands that line, only
//! when the other side has shown what HMAC-SHA-256 makes of nonce and line under the secret
//! ([`Key::make`](super::key::Key::make)). The line is in it, so that a proof is worth nothing for another line; the nonce,
//! so that it is worth nothing another time. A payload is sent after the proof.
//!
//! ```text
//! > {"type":"state"}
//! {"type":"challenge","nonce":"5f0c...d1"}
//! > {"type":"proof","mac":"90ab...37","nonce":"77e2...08"}
//! {"type":"welcome","mac":"c41d...5e"}
//! {"type":"state","peers":[...]}
//! ```
//!
//! The side that began may ask for the same in return, by a nonce of its own, and the programs here do: else any program
//! that takes the port of a dead manager could give its peers orders. The two are made for two purposes, so that neither
//! can be sent back as the other.
//!
//! All of this is done by the [`Connection`](super::connection::Connection), so that no conversation knows of it. HTTP,
//! which only reads, stays open. A node without a secret listens on loopback only, unless it is told `--open`.
//!
//! # What is missing
//! It admits, it does not encrypt: a machine on the way can read what passes, and can take over a conversation that was
//! admitted. All who know the secret are trusted alike; to send one of them away, give the others a new one.

use std::net::SocketAddr;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::key::{Key, Purpose};
use super::message::{Refusal, Reply};
use crate::error::{Code, Error, Kind, Result};

/// Who may speak to a node, as its command line says.
#[derive(Clone, Debug, Default, Args)]
pub struct Admission {
    /// The file with the secret of the network; the same on every node
    #[arg(long = "secret-file", global = true, env = "PEERLAB_SECRET_FILE", value_name = "FILE", value_parser = Key::from_file)]
    pub secret: Option<Key>,
    /// Listen on an address that others can reach, though no program has to prove what it is
    #[arg(long, global = true)]
    pub open: bool,
}

impl Admission {
    /// Whether a node may listen on `addr`.
    ///
    /// # Errors
    /// A usage error where programs of other machines could reach it and need no secret.
    pub(super) fn allow(&self, addr: SocketAddr) -> Result<()> {
        if addr.ip().is_loopback() || self.secret.is_some() || self.open {
            return Ok(());
        }
        let what = format!("{addr} can be reached from other machines, and anybody there could join");
        Err(Error::new(Kind::Usage, what).advise(
            "give every node the same --secret-file, add --open if everybody may join, or listen on 127.0.0.1",
        ))
    }
}

/// What is said between the first line of a conversation and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(super) enum Handshake {
    /// "Show that you know the secret": what that makes of this number, which was never used before, and your first line.
    Challenge { nonce: Key },
    /// "This is what it makes of them." With a nonce of one's own: "show that you know it, too".
    Proof { mac: Key, nonce: Option<Key> },
    /// "This is what it makes of yours."
    Welcome { mac: Key },
    /// "No", with the reason.
    Error(Refusal),
    /// An answer of one that asks for no secret.
    #[serde(other)]
    Other,
}

impl Reply for Handshake {
    fn granted(self) -> Result<Self> {
        if let Self::Error(no) = self { Err(no.into()) } else { Ok(self) }
    }
}

/// What shows that one knows the secret; `line` is the first of the conversation.
pub(super) fn prove(secret: &Key, purpose: Purpose, nonce: &Key, line: &[u8]) -> Key {
    secret.make(purpose, &[nonce.to_string().as_bytes(), line.trim_ascii_end()])
}

/// The failure of one that cannot show, or is not shown, what is asked for.
pub(super) fn unauthorised(what: impl Into<String>) -> Error {
    Error::new(Code::Unauthorised, what).advise("start every node with the same --secret-file")
}
