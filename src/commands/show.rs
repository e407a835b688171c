//! What people and programs see: a result, as text or as JSON; and, while a multiply or a download runs, a bar on a
//! terminal, or a line for each event elsewhere. What this machine does alone is shown on a terminal only.
//!
//! "Stuck" without a reason is what users of every such system complain of most. So whatever waits says
//! for what, and whatever is done twice says why.

use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};
use indicatif::{ProgressBar, ProgressStyle};
use rustix::termios::tcgetwinsize;
use serde::Serialize;
use serde_json::Value;

use crate::cli::{say, show_lines, tell, to_json};
use crate::error::Result;
use crate::peer::multiply::MultiplyEvent;
use crate::peer::swarm::transfer::DownloadEvent;
use crate::share::units::{about, counted};
use crate::thread;

/// On a terminal with fewer columns a multiply's bar leaves out who did how many products.
const WIDE: u16 = 100;

/// How often a bar moves although nothing happened, to show that the program lives.
const TICK: Duration = Duration::from_millis(200);

/// What came of a verb: its data for programs, its text for people.
#[derive(Debug)]
pub(super) struct Outcome<T = Value> {
    pub(super) data: T,
    pub(super) text: String,
    /// Stdout has something else, and this goes to stderr.
    pub(super) aside: bool,
}

impl<T> Outcome<T> {
    pub(super) fn new(data: T, text: impl Into<String>) -> Self {
        Self { data, text: text.into(), aside: false }
    }
}

/// Shows what came of a verb, as text or as one JSON object.
pub(super) fn show(outcome: Outcome<impl Serialize>, json: bool) -> Result<()> {
    let text = if json { to_json(&outcome.data)? } else { outcome.text };
    if outcome.aside {
        tell(text);
        return Ok(());
    }
    say(text)
}

/// Does some work, and shows what it tells until it ends, on a bar that is hidden where there is no terminal. What is
/// said meanwhile is shown above the bar.
pub(super) fn show_work<E: Send, T>(
    show: impl FnOnce(&ProgressBar, Receiver<E>) + Send,
    work: impl FnOnce(Sender<E>) -> Result<T>,
) -> Result<T> {
    let bar = if io::stderr().is_terminal() { ProgressBar::no_length() } else { ProgressBar::hidden() };
    let (tell, told) = unbounded();
    let above = bar.clone();
    let print = move |text: &str| above.suspend(|| drop(io::stderr().write_all(text.as_bytes())));
    let show = move || {
        show_lines(Some(Arc::new(print)));
        show(&bar, told);
        show_lines(None);
        bar.finish_and_clear();
    };
    std::thread::scope(|scope| {
        thread::start_scoped(scope, "show_progress", show)?;
        work(tell)
    })
}

/// Does some work that has nothing to tell. On a terminal it is shown what that is, once it takes long.
pub(super) fn show_busy<T>(what: String, work: impl FnOnce() -> Result<T>) -> Result<T> {
    let show = |bar: &ProgressBar, end: Receiver<()>| {
        bar.set_style(style("{elapsed}  {wide_msg}"));
        // `set_message` would draw the bar at once, and this is to be seen only of what takes long.
        let _ = bar.clone().with_message(what);
        ticking(bar, end).for_each(drop);
    };
    show_work(show, |_ends_with_it| work())
}

/// What comes until all is told, while the bar moves. (It has a thread for that, whose start ends in a panic where no
/// thread can be had.)
fn ticking<E>(bar: &ProgressBar, events: Receiver<E>) -> impl Iterator<Item = E> {
    let next = move || loop {
        match events.recv_timeout(TICK) {
            Err(RecvTimeoutError::Timeout) => bar.tick(),
            event => return event.ok(),
        }
    };
    std::iter::from_fn(next)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// Shows what happens to a multiply of `products` products.
pub(super) fn show_products(bar: &ProgressBar, events: Receiver<MultiplyEvent>, products: usize) {
    let working = style("{bar:21} {pos}/{len} products, {elapsed}  {wide_msg}");
    bar.set_length(products as u64);
    bar.set_style(working.clone());
    let mut place = None;
    for event in ticking(bar, events) {
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
            MultiplyEvent::SoFar { done, text, by } => {
                bar.set_style(working.clone());
                bar.set_position(done as u64);
                let narrow = tcgetwinsize(io::stderr()).is_ok_and(|size| size.ws_col < WIDE);
                bar.set_message(if narrow { text } else { text + &by });
            }
            MultiplyEvent::Note(text) => {
                place = None; // A later wait begins again, at whatever place.
                tell(text);
            }
        }
    }
}

/// How much more must be there before another line is worth printing, where there is no terminal: a tenth.
const TENTHS: u64 = 10;

/// How long no piece comes before a line is worth printing there.
const LONG: Duration = Duration::from_secs(10);

/// Shows what happens to a download: a bar on a terminal, a line for each tenth elsewhere.
pub(super) fn show_download(bar: &ProgressBar, events: Receiver<DownloadEvent>) {
    let working = style("{bar:21} {percent:>3}% {bytes_per_sec}, {eta} left  {wide_msg}");
    bar.set_style(working.clone());
    let tenths = || (bar.position() * TENTHS).checked_div(bar.length().unwrap_or(0)).unwrap_or(TENTHS);
    let (began, mut tenth, mut fetched, mut told) = (Instant::now(), 0, 0, false);
    for event in events {
        match event {
            DownloadEvent::Begun { have, pieces, size } => {
                bar.set_length(size);
                bar.set_position((u64::from(have) * size).checked_div(pieces.into()).unwrap_or(size));
                bar.reset_eta();
                tenth = tenths();
                if have > 0 {
                    let are = if have == 1 { "is" } else { "are" };
                    tell(format!("{have} of {} {are} here already", counted(pieces, "piece")));
                }
            }
            DownloadEvent::Piece { bytes, holders } => {
                (fetched, told) = (fetched + bytes, false);
                bar.set_style(working.clone());
                bar.inc(bytes);
                let text = format!("from {}", counted(holders, "holder"));
                if tenths() > tenth && bar.is_hidden() {
                    let rate = about((fetched as f64 / began.elapsed().as_secs_f64().max(1e-6)) as u64);
                    tell(format!("{} %, {rate}/s, {text}", tenths() * 100 / TENTHS));
                }
                tenth = tenths();
                bar.set_message(text);
            }
            DownloadEvent::Quiet(time, why) => {
                if bar.is_hidden() && time >= LONG && !std::mem::replace(&mut told, true) {
                    tell(format!("{why}; it goes on when that changes"));
                }
                bar.set_style(style("{bar:21} {percent:>3}% {msg}")); // It may be longer than a line.
                bar.set_message(why);
            }
            DownloadEvent::Note(text) => tell(text),
        }
    }
}
