//! A run is a file: what the board showed, from the first moment on, with a player in front of it.
//!
//! # The problem
//! After a lab somebody asks what happened. The board shows what is so now, and the last two hundred events; when the
//! manager has stopped, it shows nothing. A log has the events, and nobody sees in it who waited for whom.
//!
//! # The rule
//! `manager --record FILE` writes one HTML file. It begins with the board's own page and a player; then a `script`
//! element of a type that no browser runs begins, and is never closed. HTML allows that at the end of a file. So the
//! file can be opened at any moment, while the manager runs or after it was killed, and nothing has to be written at
//! the end. It asks for nothing from anywhere. In the element stands one JSON object a line:
//!
//! ```text
//! {"at":1764475425000,"state":{...}}         all that the board showed from that moment on, as `/state` answers
//! {"at":1764475425500,"change":{...}}        what has changed since the last state or change, as `/state?since=` answers
//! {"at":1764475425412,"event":"ben left: ..."}   what happened, and why
//! ```
//!
//! `at` is in milliseconds since 1970. A player needs at least one `state`; it skips what it cannot read, such as a
//! last line of which only half was written. `<` is written `\u003c`, so no text ends the element. `grep '^{"at"' FILE
//! | jq .` reads the same lines.
//!
//! - **Twice a second, and only what has changed.** The recorder looks at the table as one more browser does. When the
//!   changes since the last whole state have become longer than that state, the next one is written whole. So a file is
//!   at most about twice as long as its changes, and a jump to any moment reads little.
//! - **It is never in the way.** A thread of its own looks at the table under its lock, and writes after it has let go.
//!   When the disk is full, it says so, and the recording ends there; the manager goes on.
//!
//! # What is missing
//! Of more than two hundred events within half a second only the last are recorded, and files that change together are
//! one event ([`events`](crate::manager::state)). What the page itself remembers, such as the line of the rates, begins
//! again where a reader jumps to.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::time::Duration;

use log::warn;
use serde_json::{Value, json};

use super::board::{MARKUP, SCRIPT, SCRIPT_MARK, STYLE, STYLE_MARK, Snapshot, change, policy};
use super::desk::Desk;
use crate::error::{Error, Result};
use crate::net::message::{Event, State};

/// The slider and what belongs to it, in front of the board; the script that moves them.
const BAR: &str = include_str!("board/player.html");
const PLAYER: &str = include_str!("board/player.js");

/// The pause between two looks: that of a browser.
const PAUSE: Duration = Duration::from_millis(500);

/// The longest recording, in bytes: a peer that says something new all the time fills no disk.
const LONGEST: usize = 256 << 20;

/// What a recording begins with; lines follow.
pub(crate) fn head() -> String {
    let script = format!("{SCRIPT}{PLAYER}");
    // A page says it itself where no server does; this rule only a server can say.
    let policy = policy(STYLE, &script).replace("frame-ancestors 'none'; ", "");
    let policy = format!("<meta http-equiv=\"Content-Security-Policy\" content=\"{policy}\">\n<title>");
    let page = MARKUP.replacen("<title>", &policy, 1).replacen("<main>", &format!("{BAR}<main>"), 1);
    let page = page.replacen(STYLE_MARK, STYLE, 1).replacen(SCRIPT_MARK, &script, 1);
    let end = page.rfind("</body>").unwrap_or(page.len());
    format!("{}<script id=\"run\" type=\"application/x-ndjson\">\n", &page[..end])
}

/// A line of a recording.
fn line(what: &Value) -> String {
    what.to_string().replace('<', "\\u003c") + "\n"
}

/// Begins a file; it must not be there yet.
///
/// # Errors
/// When it is there, or cannot be written.
pub(super) fn begin(path: &Path) -> Result<File> {
    let file = File::create_new(path).and_then(|mut file| file.write_all(head().as_bytes()).map(|()| file));
    file.map_err(|e| {
        Error::failed(format!("cannot record to {}", path.display()))
            .because(e)
            .advise("name a file that is not there yet, in a folder that may be written to")
    })
}

/// Records what happens until the manager stops.
pub(super) fn record_loop(desk: &Desk, file: File) {
    let mut recording = Recording::new(file);
    let mut runs = true;
    while runs {
        // Once more at the end.
        runs = desk.sleep(PAUSE);
        let state = desk.change(|table, now| table.state(now));
        if let Err(e) = recording.look(state) {
            return warn!("the recording ends here: {e}");
        }
    }
}

/// A recording, and what it has.
pub(crate) struct Recording<W> {
    pub(crate) to: W,
    last: Option<Snapshot>,
    /// The bytes of the last whole state, and of the changes since.
    whole: usize,
    changes: usize,
    written: usize,
    /// Those that the last state had.
    events: Vec<Event>,
}

impl<W: Write> Recording<W> {
    /// Lines that follow what is there: the [`head`].
    pub(crate) fn new(to: W) -> Self {
        Self { to, last: None, whole: 0, changes: 0, written: 0, events: Vec::new() }
    }

    /// Writes what is new in a state, in one piece.
    ///
    /// # Errors
    /// When it cannot be written, or would be too long.
    pub(crate) fn look(&mut self, state: State) -> io::Result<()> {
        let (at, events) = (state.manager.as_ref().map_or(0, |manager| manager.now), state.events.clone());
        let now = Snapshot::of(&state);
        let new = events.iter().filter(|event| !self.events.contains(event));
        let mut lines: String =
            new.map(|event| line(&json!({"at": event.at, "event": event.text}))).collect();
        match &self.last {
            Some(last) if last.version == now.version => {}
            Some(last) if self.changes < self.whole => {
                let change = line(&json!({"at": at, "change": change(&last.shown(), &now.shown())}));
                self.changes += change.len();
                lines += &change;
            }
            _ => {
                let whole = line(&json!({"at": at, "state": now.shown()}));
                (self.whole, self.changes) = (whole.len(), 0);
                lines += &whole;
            }
        }
        (self.last, self.events) = (Some(now), events);
        self.written += lines.len();
        if self.written > LONGEST {
            return Err(io::Error::other("it would be too long for a browser"));
        }
        self.to.write_all(lines.as_bytes())
    }
}

#[cfg(test)]
mod tests;
