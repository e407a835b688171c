//! What becomes of the promises when things fail: nodes are killed, stopped and restarted, and others lie, flood and
//! crowd. The programs are the real ones; those that misbehave are written by hand.
//!
//! `cargo bench --bench faults -- KIND [COUNT]` prints a table of CSV on stdout, words on stderr, and ends with
//! status 1 when a promise was broken. `scripts/faults.sh --help` says what the kinds are. Each kind is a file here.
#![allow(clippy::unwrap_used, reason = "a harness that cannot go on says so, as a test does")]

use std::env;
use std::process::ExitCode;

mod calls;
#[path = "../../common/mod.rs"]
#[allow(dead_code, reason = "the tests use the rest")]
mod common;
mod crowd;
mod fifo;
mod flood;
mod hostile;
mod kill;
mod liars;
mod light;
mod pause;
mod restart;
mod table;

use table::Table;

/// A kind of fault: its name, how often it happens if nobody says how often, and what makes it happen.
type Kind = (&'static str, usize, fn(usize) -> Table);

const KINDS: [Kind; 8] = [
    ("kill", 48, kill::run),
    ("pause", 6, pause::run),
    ("restart", 10, restart::run),
    ("liars", 1, liars::run),
    ("crowd", 500, crowd::run),
    ("flood", 1, flood::run),
    ("fifo", 50_000, fifo::run),
    ("calls", 48, calls::run),
];

fn main() -> ExitCode {
    // `cargo test` runs benches once, without the flag; there is nothing to test here.
    if !env::args().any(|arg| arg == "--bench") {
        return ExitCode::SUCCESS;
    }
    light::raise_descriptor_limit();
    let words: Vec<String> = env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let kind = words.first().and_then(|word| KINDS.into_iter().find(|(name, ..)| name == word));
    let Some((_, usual, run)) = kind else {
        let names = KINDS.map(|(name, ..)| name).join(" or ");
        eprintln!("faults: say {names}, and perhaps how often");
        return ExitCode::from(2);
    };
    let count = words.get(1).map_or(Ok(usual), |word| word.parse());
    match count {
        Ok(count @ 1..) => run(count).verdict(),
        _ => {
            eprintln!("faults: {:?} is no count; write 1 or more", words[1]);
            ExitCode::from(2)
        }
    }
}
