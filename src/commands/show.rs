//! What people and programs see: a result, as text or as JSON; and, while a multiply or a download runs, a bar on a
//! terminal, or a line for each event elsewhere.
//!
//! "Stuck" without a reason is what users of every such system complain of most. So whatever waits says
//! for what, and whatever is done twice says why.

use std::fmt::{self, Display, Formatter};
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use serde_json::Value;

use crate::cli::{say, show_lines, tell, to_json};
use crate::error::Result;
use crate::peer::multiply::MultiplyEvent;
use crate::peer::swarm::transfer::DownloadEvent;
use crate::share::units::{about, counted};

/// How often a bar moves although nothing happened, to show that the program lives.
const TICK: Duration = Duration::from_millis(200);

/// What came of a verb: its data for programs, its text for people.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Outcome<T = Value> {
    data: T,
    #[serde(skip)]
    text: String,
    /// Stdout has something else, and this goes to stderr.
    #[serde(skip)]
    aside: bool,
}

impl<T> Outcome<T> {
    pub(super) fn new(data: T, text: impl Into<String>) -> Self {
        Self { data, text: text.into(), aside: false }
    }

    pub(super) fn aside_if(self, aside: bool) -> Self {
        Self { aside, ..self }
    }
}

impl<T> Display for Outcome<T> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Shows what came of a verb, as text or as one JSON object.
pub(super) fn show<T: Serialize>(outcome: &Outcome<T>, json: bool) -> Result<()> {
    let text = if json { to_json(outcome)? } else { outcome.to_string() };
    if outcome.aside {
        tell(text)
    } else {
        say(text)?
    }
    Ok(())
}

/// A bar on a terminal; where there is none, it is hidden.
fn bar(length: usize, template: &str) -> ProgressBar {
    let bar =
        if io::stderr().is_terminal() { ProgressBar::new(length as u64) } else { ProgressBar::hidden() };
    bar.with_style(style(template))
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// What is said meanwhile is shown above the bar.
fn show_around(bar: &ProgressBar) {
    let bar = bar.clone();
    show_lines(Some(Arc::new(move |text| bar.suspend(|| drop(io::stderr().write_all(text.as_bytes()))))));
}

/// Shows what happens to a multiply of `products` products until it ends.
pub(super) fn show_progress(events: &Receiver<MultiplyEvent>, products: usize) {
    let template = "{bar:21} {pos}/{len} products, {elapsed}  {wide_msg}";
    let bar = bar(products, template);
    bar.enable_steady_tick(TICK);
    show_around(&bar);
    let mut place = None;
    for event in events {
        match event {
            MultiplyEvent::Waiting { position, text } => {
                // A terminal's line is renewed every second; elsewhere one line for each place is enough.
                if bar.is_hidden() && place.replace(position) != Some(position) {
                    tell(text);
                } else {
                    bar.set_style(style("{msg}")); // It may be longer than a line.
                    bar.set_message(text);
                }
            }
            MultiplyEvent::SoFar { done, text } => {
                bar.set_style(style(template));
                bar.set_position(done as u64);
                bar.set_message(text);
            }
            MultiplyEvent::Note(text) => {
                place = None; // A later wait begins again, at whatever place.
                tell(text);
            }
        }
    }
    show_lines(None);
    bar.finish_and_clear();
}

/// How much more must be there before another line is worth printing, where there is no terminal: a tenth.
const TENTHS: u64 = 10;

/// Shows what happens to a download until it ends: a bar on a terminal, a line for each tenth elsewhere.
pub(super) fn show_download(events: &Receiver<DownloadEvent>) {
    let bar = bar(0, "{bar:21} {percent:>3}% {bytes_per_sec}, {eta} left  {wide_msg}");
    show_around(&bar);
    let began = Instant::now();
    let (mut size, mut here, mut tenth, mut fetched) = (0, 0, 0, 0);
    for event in events {
        match event {
            DownloadEvent::Begun { have, pieces, size: all } => {
                size = all;
                here = if pieces == 0 { all } else { u64::from(have) * all / u64::from(pieces) };
                tenth = (here * TENTHS).checked_div(size).unwrap_or(TENTHS);
                bar.set_length(size);
                bar.set_position(here);
                if have > 0 {
                    tell(format!("{have} of {pieces} pieces are here already"));
                }
            }
            DownloadEvent::Piece { bytes, holders } => {
                here += bytes;
                fetched += bytes;
                bar.inc(bytes);
                let text = format!("from {}", counted(holders, "holder"));
                let now = (here * TENTHS).checked_div(size).unwrap_or(TENTHS);
                if now > tenth && bar.is_hidden() {
                    let rate = about((fetched as f64 / began.elapsed().as_secs_f64().max(1e-6)) as u64);
                    tell(format!("{} %, {rate}/s, {text}", now * 100 / TENTHS));
                }
                tenth = now;
                bar.set_message(text);
            }
            DownloadEvent::Note(text) => tell(text),
        }
    }
    show_lines(None);
    bar.finish_and_clear();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outcome_is_its_data_for_programs_and_its_text_for_people() {
        let outcome = Outcome::new(serde_json::json!({"slots": 3, "lease": 7}), "leased 3 slots");
        assert_eq!(serde_json::to_string(&outcome).unwrap(), r#"{"lease":7,"slots":3}"#);
        assert_eq!(outcome.to_string(), "leased 3 slots");
    }
}
