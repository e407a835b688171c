//! What a multiply or a download shows while it runs: a bar on a terminal, a line for each event elsewhere.
//!
//! "Stuck" without a reason is what users of every such system complain of most. So whoever waits says
//! for what, and whatever is done twice says why.

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use indicatif::{ProgressBar, ProgressStyle};

use crate::cli::tell;
use crate::peer::multiply::MultiplyEvent;
use crate::peer::swarm::download;
use crate::share::units::{about, counted};

/// How often a bar moves although nothing happened, to show that the program lives.
const TICK: Duration = Duration::from_millis(200);

/// Shows what happens to a multiply of `products` products until it ends.
pub(super) fn show_progress(events: &Receiver<MultiplyEvent>, products: usize) {
    let bar =
        if io::stderr().is_terminal() { ProgressBar::new(products as u64) } else { ProgressBar::hidden() };
    if let Ok(style) = ProgressStyle::with_template("{bar:21} {pos}/{len} products, {elapsed}  {wide_msg}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(TICK);
    let say = |line: String| {
        bar.suspend(|| tell(&line));
    };
    let mut place = None;
    for event in events {
        match event {
            MultiplyEvent::Waiting(wait) => {
                // A terminal's line is renewed every second; elsewhere one line for each place is enough.
                let text = wait.to_string();
                if bar.is_hidden() && place.replace(wait.position) != Some(wait.position) {
                    say(text);
                } else {
                    bar.set_message(text);
                }
            }
            MultiplyEvent::Leased(slots) => {
                place = None;
                let at: Vec<String> =
                    slots.iter().map(|card| format!("{} at {}", card.slots, card.name)).collect();
                let count: u32 = slots.iter().map(|card| card.slots).sum();
                say(format!("leased {}: {}", counted(count, "slot"), at.join(", ")));
            }
            MultiplyEvent::Fewer(slots) => {
                say(format!("the others offer {} in all: taking those", counted(slots, "slot")))
            }
            MultiplyEvent::Tally(tally) => {
                bar.set_position(tally.checked as u64);
                bar.set_message(tally.to_string());
            }
            MultiplyEvent::Redone { product, why } => {
                say(format!("product {product} must be done again: {why}"));
            }
            MultiplyEvent::LeaseOver { done } => {
                say(format!("the lease is over, {done} of {products} products are done: asking for another"));
            }
        }
    }
    bar.finish_and_clear();
}

/// How much more must be there before another line is worth printing, where there is no terminal: a tenth.
const TENTHS: u64 = 10;

/// Shows what happens to a download until it ends: a bar on a terminal, a line for each tenth elsewhere.
pub(super) fn show_download(events: &Receiver<download::Progress>) {
    let terminal = io::stderr().is_terminal();
    let bar = if terminal { ProgressBar::new(0) } else { ProgressBar::hidden() };
    let template = "{bar:21} {percent:>3}% {bytes_per_sec}, {eta} left  {wide_msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    let began = Instant::now();
    let (mut size, mut here, mut tenth, mut fetched) = (0, 0, 0, 0);
    for event in events {
        match event {
            download::Progress::Begun { have, pieces, size: all } => {
                size = all;
                here = if pieces == 0 { all } else { u64::from(have) * all / u64::from(pieces) };
                tenth = (here * TENTHS).checked_div(size).unwrap_or(TENTHS);
                bar.set_length(size);
                bar.set_position(here);
                if have > 0 {
                    bar.suspend(|| tell(format!("{have} of {pieces} pieces are here already")));
                }
            }
            download::Progress::Piece { bytes, holders } => {
                here += bytes;
                fetched += bytes;
                bar.inc(bytes);
                let text = format!("from {}", counted(holders, "holder"));
                let now = (here * TENTHS).checked_div(size).unwrap_or(TENTHS);
                if now > tenth && !terminal {
                    let rate = about((fetched as f64 / began.elapsed().as_secs_f64().max(1e-6)) as u64);
                    tell(format!("{} %, {rate}/s, {text}", now * 100 / TENTHS));
                }
                tenth = now;
                bar.set_message(text);
            }
            download::Progress::Note(text) => bar.suspend(|| tell(text)),
        }
    }
    bar.finish_and_clear();
}
