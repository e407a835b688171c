//! The board: what the manager knows, as a page that a class can read from the back of the room.
//!
//! # The problem
//! The network is invisible. Students that wait want to see for whom; a teacher wants to point at the
//! slot that is free and say why nobody gets it. So the manager serves one page, at `/`: the peers with
//! their slots, the queue, each running multiply as cells, each file with its copies, and the last events.
//!
//! # The rules
//! - **One page, whole.** Markup, style and script are compiled into the program and sent as one answer
//!   ([`PAGE`]). It asks for nothing from anywhere else, so it works in a room without a network.
//! - **The browser asks, the manager answers.** Twice a second the page asks for `/state`, the same state
//!   that a `state` message is answered with. The answer carries a version ([`Snapshot::version`]), and a
//!   browser that has that version already is told so in a hundred bytes. A page that nobody looks at does not ask.
//! - **A name is never markup.** `<b>` is a legal name of a file. The script puts all text from the network
//!   in as text. And should it ever forget to: the page's policy lets a browser run this one script
//!   and no other, known by its hash, load nothing, and refuse every assignment of markup (trusted types).
//! - **The bound is computed where the rates are known.** Only the manager hears every peer's caps; so it
//!   says what the least time for each running download is ([`bounds`](mod@bounds)), and the page draws the time that
//!   it takes beside it.
//!
//! # An example
//! ```text
//! GET /state                                  200, ETag "6f1c...", {"type":"state","peers":[...],...}
//! GET /state, If-None-Match: "6f1c..."        304, as long as nothing has changed
//! ```
//!
//! # What is missing
//! Every look takes the whole state, and while anything runs, something changes: with a thousand files that
//! is some hundred kilobytes for each browser and look. Sending only what changed would be less, and harder
//! to get right.

mod bounds;

use std::sync::LazyLock;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::net::message::State;
use crate::share::hex;
use bounds::{FileBound, bounds};

/// The page, where its style and its script are still to be put in.
const MARKUP: &str = include_str!("page.html");
const STYLE: &str = include_str!("style.css");
const SCRIPT: &str = include_str!("script.js");

/// Where they are put.
const STYLE_MARK: &str = "/*style.css*/";
const SCRIPT_MARK: &str = "/*script.js*/";

/// What is sent at `/`; put together once.
pub(super) static PAGE: LazyLock<String> =
    LazyLock::new(|| MARKUP.replacen(STYLE_MARK, STYLE, 1).replacen(SCRIPT_MARK, SCRIPT, 1));

/// Its `Content-Security-Policy`: what a browser lets it do.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| policy(STYLE, SCRIPT));

/// Nothing is allowed but this style and this script, questions to where the page came from, and the
/// picture in its tab, which is part of it.
fn policy(style: &str, script: &str) -> String {
    let hash = |text: &str| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text)));
    [
        "default-src 'none'",
        &format!("style-src {}", hash(style)),
        &format!("script-src {}", hash(script)),
        "connect-src 'self'",
        "img-src data:",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
        "require-trusted-types-for 'script'",
        "trusted-types 'none'",
    ]
    .join("; ")
}

/// What is sent at `/state`.
#[derive(Debug)]
pub(super) struct Snapshot {
    /// A `state` message, and the bounds of the downloads that run.
    pub(super) json: Vec<u8>,
    /// Changes when anything but the time does.
    pub(super) version: String,
}

impl Snapshot {
    /// The state as the board shows it.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub(super) fn of(mut state: State) -> Result<Self> {
        let bounds = bounds(&state);
        let json = to_json(&state, &bounds)?;
        if let Some(manager) = &mut state.manager {
            manager.now = 0;
        }
        let hash = Sha256::digest(to_json(&state, &bounds)?);
        Ok(Self { json, version: hex(&hash[..16]) })
    }
}

fn to_json(state: &State, bounds: &[FileBound]) -> Result<Vec<u8>> {
    #[derive(Serialize)]
    struct Shown<'a> {
        r#type: &'static str,
        #[serde(flatten)]
        state: &'a State,
        #[serde(skip_serializing_if = "<[_]>::is_empty")]
        bounds: &'a [FileBound],
    }
    serde_json::to_vec(&Shown { r#type: "state", state, bounds })
        .map_err(|e| Error::failed("cannot write the state as JSON").because(e))
}

#[cfg(test)]
mod tests;
