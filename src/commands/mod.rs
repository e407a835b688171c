//! The verbs, one function each, used by the prompt and by the command line alike.
//!
//! A command prints its result on stdout (as text, or as one JSON object with `--json`) and everything
//! else on stderr, so that a script can read the one and a person the other. What can go wrong is an
//! [`Error`] that says what to do next; nobody but `main` and the prompt decides what happens then.
//!
//! Which verbs there are says [`command`]; where they run, [`context`]; here each is found. The functions stand by
//! families in `matrix`, `network`, `files` and `lists`, and [`prompt`] reads one line after another.

pub mod command;
pub mod context;
mod files;
mod lists;
mod matrix;
mod network;
pub mod prompt;
mod show;

use self::command::Command;
use self::context::Shell;
use self::lists::bounds;
use self::matrix::{How, make, run_multiply};
use crate::error::{Error, Kind, Result};
use crate::share::theory::Setting;

/// Runs one command.
///
/// # Errors
/// What failed, and what to do next.
pub fn run(shell: &mut Shell, command: Command, json: bool) -> Result<()> {
    match command {
        Command::Make { matrix, rows, cols, seed, integers } => {
            make(&matrix, rows, cols.unwrap_or(rows), seed, integers, json)
        }
        Command::Multiply { a, b, output, levels, slots, local } => {
            let slots = slots.unwrap_or(if levels == 0 { 1 } else { 7 });
            let how = if local { How::Local } else { How::Leased { peer: shell.peer()?, levels, slots } };
            run_multiply(&a, &b, output.as_deref(), &how, json)
        }
        Command::Lease { slots } => shell.lease(slots, json),
        Command::Release => shell.release(json),
        Command::Add { path } => shell.add(&path, json),
        Command::Get => shell.get(json),
        Command::Down { file, output, stay, pick } => shell.down(&file, output, stay, pick, json),
        Command::Drop { file } => shell.drop(&file, json),
        Command::Files { health } => shell.files(health, json),
        Command::Verify { file } => shell.verify(&file, json),
        Command::Bounds { size, seed_up, peer_up, peer_down, peers } => {
            let down = peer_down.map(|rate| rate.0);
            bounds(&Setting::alike(size.0, seed_up.0, peers, peer_up.0, down), json)
        }
        Command::Peers => shell.peers(json),
        Command::Status => shell.status(json),
        Command::Why => shell.why(json),
        Command::Serve { .. } | Command::Quit => Err(Error::new(
            Kind::Usage,
            if shell.stays { "this peer is serving already" } else { "there is no prompt to leave" },
        )
        .advise("`help` shows the commands")),
    }
}
