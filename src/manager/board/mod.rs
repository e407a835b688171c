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
//! - **Only what has changed is sent.** While anything runs, something changes, and a state of two hundred files is
//!   some hundred kilobytes. So the page names the version that it has, and is sent the difference ([`change`]). The
//!   last states are kept for that, and shared by all that look, as texts ([`Board`]): a state is made and written
//!   once, for one browser or a hundred. Of a version that is not kept any more, all is sent.
//! - **It is made for all that ask, and takes a fifth of the time** (`LastMade`), or more where it takes longer than a
//!   quarter of a second. A question without a version, by HTTP or by a message, is answered by what is so since it was
//!   asked. So no older state will do; but while one is made, or must not be made yet, all wait for the next one
//!   together. The lists of files are made in the same way.
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
//! GET /state?since=6f1c...                    200, ETag "93aa...", {"since":"6f1c...","change":{"leases":[[1,4,null]]}}
//! ```
//! The first lease has ended: the new list of leases is the rows 1 to 3 of the old one. (What else changes with it is
//! left out here.)
//!
//! # What is missing
//! The difference is found by reading and comparing two states as a whole, a few milliseconds for each look. A table
//! that counted its own changes would know it at once, and each of its verbs would have to remember to count.

mod bounds;

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use base64::prelude::{BASE64_STANDARD, Engine};
use maud::Markup;
use parking_lot::Mutex;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::net::message::{FromManager, State, encode};
use crate::share::hex;
use bounds::bounds;

/// The page, where its style and its script are still to be put in.
pub(super) const MARKUP: &str = include_str!("page.html");
pub(super) const STYLE: &str = include_str!("style.css");
pub(super) const SCRIPT: &str = include_str!("script.js");

/// Where they are put.
pub(super) const STYLE_MARK: &str = "/*style.css*/";
pub(super) const SCRIPT_MARK: &str = "/*script.js*/";

/// What is sent at `/`; put together once.
pub(super) static PAGE: LazyLock<String> =
    LazyLock::new(|| MARKUP.replacen(STYLE_MARK, STYLE, 1).replacen(SCRIPT_MARK, SCRIPT, 1));

/// Its `Content-Security-Policy`: what a browser lets it do.
pub(super) static POLICY: LazyLock<String> = LazyLock::new(|| policy(STYLE, SCRIPT));

/// Nothing is allowed but this style and this script, questions to where the page came from, and the
/// picture in its tab, which is part of it.
pub(super) fn policy(style: &str, script: &str) -> String {
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

/// How long a state is shown to those that ask for changes: however many look, no more states than that are made.
const SHARED: Duration = Duration::from_millis(200);

/// For how many times as long as it took to make something it is not made again: so it takes a fifth of the time,
/// however many ask for it. In a small network that is not felt.
const REST: u32 = 4;

/// How long that is at most: what was made on a busy machine took long for other reasons.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// How many of the last states are kept, so that a browser that is late is sent changes, too.
const KEPT: usize = 8;

/// The members by which a row of a list is known again: the first that it has, and the file, if it has one. (A peer may
/// take two files from another.)
const KEYS: [&str; 5] = ["product", "lease", "peer", "file", "at"];

/// The member that only grows: a browser counts on by itself, and is told when it begins again.
const AGE: &str = "since_ms_ago";

/// What is sent at `/state`, written without a tree of it in memory.
#[derive(Serialize)]
#[serde(tag = "type", rename = "state")]
struct Shown<'a> {
    #[serde(flatten)]
    state: &'a State,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    bounds: Vec<Value>,
}

/// A state that was sent. It is kept as text, which takes a tenth of the memory of what is read from it.
#[derive(Clone, Debug)]
pub(super) struct Snapshot {
    /// A `state` message, and the bounds of the downloads that run: all that ask at the time share it.
    text: Arc<[u8]>,
    /// Changes when anything but the time does.
    pub(super) version: String,
    /// How the last state is made of this one: made when the first asks for it.
    change: Option<Arc<[u8]>>,
}

impl Snapshot {
    /// The state as the board shows it.
    pub(super) fn of(state: &State) -> Self {
        let shown = Shown { state, bounds: bounds(state) };
        let text = serde_json::to_string(&shown).unwrap_or_default();
        // No text in it has such quotes, so the first that is found is the time.
        let now = format!("\"now\":{}", state.manager.map_or(0, |manager| manager.now));
        let hash = Sha256::digest(text.replacen(&now, "", 1));
        Self { text: text.into_bytes().into(), version: hex(&hash[..16]), change: None }
    }

    /// What its text says.
    pub(super) fn shown(&self) -> Value {
        serde_json::from_slice(&self.text).unwrap_or_default()
    }
}

/// When something was begun last that is made for all that ask for it, and how long it took.
#[derive(Default)]
struct LastMade(Option<(Instant, Duration)>);

impl LastMade {
    /// Makes it when its time has come; `None` where the last one was begun since `oldest`, and is good enough. One of
    /// those that wait for it sleeps under the lock, for all.
    fn make<T>(&mut self, oldest: Instant, make: impl FnOnce() -> T) -> Option<T> {
        if let Some((began, took)) = self.0 {
            if began > oldest {
                return None;
            }
            let rest = (took * REST).min(LONGEST_REST);
            thread::sleep((began + took + rest).saturating_duration_since(Instant::now()));
        }
        let began = Instant::now();
        let made = make();
        self.0 = Some((began, began.elapsed()));
        Some(made)
    }
}

/// The states that were shown last, the last one first, and the message that tells that one.
#[derive(Default)]
struct States {
    last_made: LastMade,
    shown: VecDeque<Snapshot>,
    message: Arc<[u8]>,
}

impl States {
    /// Sees to it that the last one was begun since `oldest`.
    fn renew(&mut self, oldest: Instant, state: impl FnOnce() -> State) {
        let show = || {
            let state = state();
            (Snapshot::of(&state), encode(&FromManager::State(Box::new(state))))
        };
        if let Some((new, message)) = self.last_made.make(oldest, show) {
            self.shown.truncate(KEPT - 1);
            self.shown.iter_mut().for_each(|look| look.change = None);
            self.shown.push_front(new);
            self.message = message.into();
        }
    }
}

/// What is made for all that ask for it, and kept until somebody asks again.
#[derive(Default)]
pub(super) struct Board {
    states: Mutex<States>,
    /// The lists of files, by name and by size.
    lists: [Mutex<(LastMade, Markup)>; 2],
}

impl Board {
    /// A `state` message, of what is so since it was asked for.
    pub(super) fn message(&self, state: impl FnOnce() -> State) -> Arc<[u8]> {
        let asked = Instant::now();
        let states = &mut *self.states.lock();
        states.renew(asked, state);
        Arc::clone(&states.message)
    }

    /// The list of files, as it is since it was asked for.
    pub(super) fn list(&self, by_size: bool, make: impl FnOnce() -> Markup) -> Markup {
        let asked = Instant::now();
        let (last_made, list) = &mut *self.lists[usize::from(by_size)].lock();
        if let Some(new) = last_made.make(asked, make) {
            *list = new;
        }
        list.clone()
    }

    /// What has changed since version `since`, where that is still kept, else all; and the version that this makes. A
    /// browser, which has a version, is told what was so a moment ago; all others, what is so since they asked.
    /// Both are made once for all that wait for them, however many they are.
    pub(super) fn since(&self, since: Option<&str>, state: impl FnOnce() -> State) -> (Arc<[u8]>, String) {
        let asked = Instant::now();
        let states = &mut *self.states.lock();
        states.renew(since.and_then(|_| asked.checked_sub(SHARED)).unwrap_or(asked), state);
        let looks = &mut states.shown;
        let now = &looks[0];
        let version = now.version.clone();
        let Some(i) = looks.iter().position(|look| Some(&look.version[..]) == since) else {
            return (Arc::clone(&looks[0].text), version);
        };
        let make = || bytes(&json!({"since": since, "change": change(&looks[i].shown(), &now.shown())}));
        let text = looks[i].change.clone().unwrap_or_else(make);
        looks[i].change = Some(Arc::clone(&text));
        (text, version)
    }
}

fn bytes(shown: &Value) -> Arc<[u8]> {
    shown.to_string().into_bytes().into()
}

/// What makes `new` of `old`: of an object the members that differ, `null` for one that is gone; of a list its rows one
/// after another. `[1, 4, null]` are the old rows 1 to 3, `[1, 2, change]` is the old row 1 after that change, and
/// `[null, 0, row]` is a new one, which is written as a change of nothing.
pub(super) fn change(old: &Value, new: &Value) -> Value {
    match new {
        Value::Object(members) => {
            let gone = old.as_object().into_iter().flat_map(Map::keys).filter(|name| new.get(name).is_none());
            let names = members.keys().chain(gone).filter(|name| old.get(name) != new.get(name));
            let grows = |name: &str| old[name].is_u64() && old[name].as_u64() <= new[name].as_u64();
            let names = names.filter(|name| *name != AGE || !grows(name));
            names.map(|name| (name.clone(), change(&old[name], &new[name]))).collect()
        }
        Value::Array(members) => json!(rows(old.as_array().map_or(&[], Vec::as_slice), members)),
        _ => new.clone(),
    }
}

/// See [`change`]: from which old row, up to which, after what change.
fn rows(old: &[Value], new: &[Value]) -> Vec<(Option<usize>, usize, Option<Value>)> {
    let first = |row: &Value| KEYS.iter().find_map(|key| row.get(key)).unwrap_or(row).to_string();
    let key = |row: &Value| (first(row), row.get("file").map(Value::to_string));
    let places: HashMap<_, usize> = old.iter().enumerate().map(|(i, row)| (key(row), i)).collect();
    let mut runs = Vec::new();
    for row in new {
        match (places.get(&key(row)), runs.last_mut()) {
            (Some(&i), Some((Some(_), to, None))) if *to == i && old[i] == *row => *to += 1,
            (Some(&i), _) if old[i] == *row => runs.push((Some(i), i + 1, None)),
            (Some(&i), _) => runs.push((Some(i), i + 1, Some(change(&old[i], row)))),
            (None, _) => runs.push((None, 0, Some(change(&Value::Null, row)))),
        }
    }
    runs
}

#[cfg(test)]
pub(super) mod tests;
