//! The board: what the manager knows, as a page that a class can read from the back of the room.
//!
//! # The problem
//! The network is invisible. A student who waits wants to see for whom; a teacher wants to point at the
//! slot that is free and say why nobody gets it. So the manager serves one page, at `/`: the peers with
//! their slots, the queue, each running multiply as cells, each file with its copies, and the last events.
//!
//! # The rules
//! - **One page, whole.** Markup, style and script are compiled into the program and sent as one answer
//!   ([`page`]). It asks for nothing from anywhere else, so it works in a room without a network.
//! - **The browser asks, the manager answers.** Twice a second the page asks for `/state`, the same state
//!   that a `state` message is answered with. The answer carries a version ([`Snapshot::version`]), and who
//!   has that version already is told so in a hundred bytes. A page that nobody looks at does not ask.
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

pub mod bounds;

use std::sync::LazyLock;

use base64::prelude::{BASE64_STANDARD, Engine};
use serde::Serialize;
use sha2::{Digest, Sha256};

use crate::error::{Error, Result};
use crate::net::message::State;
use bounds::{FileBound, bounds};

/// The page, where its style and its script are still to be put in.
const MARKUP: &str = include_str!("board/page.html");
const STYLE: &str = include_str!("board/style.css");
const SCRIPT: &str = include_str!("board/script.js");

/// Where they are put.
const STYLE_MARK: &str = "/*style.css*/";
const SCRIPT_MARK: &str = "/*script.js*/";

/// What is sent at `/`.
#[derive(Debug)]
pub struct Page {
    /// Everything, as one page.
    pub html: String,
    /// Its `Content-Security-Policy`: what a browser lets it do.
    pub policy: String,
}

/// The page; put together once.
pub fn page() -> &'static Page {
    static PAGE: LazyLock<Page> = LazyLock::new(|| Page {
        html: MARKUP.replacen(STYLE_MARK, STYLE, 1).replacen(SCRIPT_MARK, SCRIPT, 1),
        policy: policy(STYLE, SCRIPT),
    });
    &PAGE
}

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
pub struct Snapshot {
    /// A `state` message, and the bounds of the downloads that run.
    pub json: Vec<u8>,
    /// Changes when anything but the time does.
    pub version: String,
}

#[derive(Serialize)]
struct Shown<'a> {
    r#type: &'static str,
    #[serde(flatten)]
    state: &'a State,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bounds: Vec<FileBound>,
}

impl Snapshot {
    /// The state as the board shows it.
    ///
    /// # Errors
    /// When it cannot be written as JSON.
    pub fn of(mut state: State) -> Result<Self> {
        let bounds = bounds(&state);
        let now = state.manager.as_mut().map(|manager| std::mem::take(&mut manager.now));
        let mut shown = Shown { r#type: "state", state: &state, bounds };
        let hash = Sha256::digest(json(&shown)?);
        let version = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        let bounds = std::mem::take(&mut shown.bounds);
        if let (Some(manager), Some(now)) = (&mut state.manager, now) {
            manager.now = now;
        }
        Ok(Self { json: json(&Shown { r#type: "state", state: &state, bounds })?, version })
    }
}

fn json(shown: &Shown<'_>) -> Result<Vec<u8>> {
    serde_json::to_vec(shown).map_err(|e| Error::failed("cannot write the state as JSON").because(e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::message::{Event, ManagerState, Replicas};

    fn state(now: u64) -> State {
        let manager = ManagerState { since: 1, quantum_ms: 30_000, replicas: Replicas::All, now };
        State { manager: Some(manager), ..State::default() }
    }

    #[test]
    fn the_page_is_whole_and_names_nothing_outside() {
        let page = page();
        for mark in [STYLE_MARK, SCRIPT_MARK] {
            assert!(!page.html.contains(mark), "{mark} was not filled");
        }
        assert!(page.html.contains(STYLE) && page.html.contains(SCRIPT));
        for outside in ["https:", "src=", "@import", "url("] {
            assert!(!page.html.contains(outside), "the page says {outside}");
        }
        // The one `http:` is a name, not a place.
        assert_eq!(page.html.matches("http:").count(), 1);
        assert!(page.html.contains("xmlns='http://www.w3.org/2000/svg'"));
    }

    #[test]
    fn no_text_becomes_markup() {
        for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "setHTML"] {
            assert!(!SCRIPT.contains(way), "the script uses {way}");
        }
    }

    #[test]
    fn the_policy_knows_the_script_by_its_hash() {
        // `printf 'let a = 1;' | openssl dgst -sha256 -binary | base64`
        let hash = "'sha256-xY6QKfH9PRsQnLz56nj6MBwiK5oHg+im1Jkpdp1x/Ck='";
        let policy = policy("p {}", "let a = 1;");
        assert!(policy.contains(&format!("script-src {hash};")), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
    }

    #[test]
    fn the_version_changes_with_the_state_and_not_with_the_time() {
        let early = Snapshot::of(state(5)).unwrap();
        let late = Snapshot::of(state(6)).unwrap();
        assert_eq!(early.version, late.version);
        assert_ne!(early.json, late.json, "the time is told all the same");
        let mut other = state(6);
        other.events.push(Event { at: 6, text: "something".into() });
        assert_ne!(Snapshot::of(other).unwrap().version, late.version);
    }

    #[test]
    fn the_board_is_told_what_a_state_message_says() {
        let told: State = serde_json::from_value({
            let mut shown: serde_json::Value =
                serde_json::from_slice(&Snapshot::of(state(7)).unwrap().json).unwrap();
            assert_eq!(shown["type"], "state");
            shown.as_object_mut().unwrap().remove("type");
            shown
        })
        .unwrap();
        assert_eq!(told, state(7));
    }
}
