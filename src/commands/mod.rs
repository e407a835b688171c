//! The verbs, one function each, used by the prompt and by the command line alike.
//!
//! A verb returns a result, and does not know how it is shown: it has data for programs (one JSON object, with
//! `--json`) and a text for people. One function, `show`, puts one of them on stdout; everything else goes to stderr,
//! so that a script can read the one and a person the other. What can go wrong is an [`Error`] that says what to do
//! next; nobody but `main` and the prompt decides what happens then. The keys of a JSON object stand in alphabetical
//! order, but those of `multiply` and `down` in the order in which they are read.
//!
//! Which verbs there are says [`command`]; where they run, [`context`]; here each is found, its result shown, and what
//! comes after it begun. The verbs stand by families in `matrix`, `network` and `files`, and [`prompt`] reads one line
//! after another. A new verb is a [`Command`], a function that returns a result, and a line here.

pub mod command;
pub(crate) mod completion;
pub mod context;
mod files;
mod matrix;
mod network;
pub mod prompt;
mod restore;
mod show;

use self::command::Command;
use self::context::Context;
use self::show::{Outcome, show};
use crate::error::{Code, Error, Result};
use crate::share::FileName;
use crate::share::theory::Setting;

/// Runs one command.
///
/// # Errors
/// What failed, and what to do next.
pub fn run(context: &mut Context, command: Command, json: bool) -> Result<()> {
    match command {
        Command::Make(options) => show(matrix::make(options, &context.work)?, json),
        Command::Show { matrix } => show(matrix::look(&matrix)?, json),
        Command::Multiply(options) => {
            let peer = if options.local { None } else { Some(&**context.peer()?) };
            show(matrix::multiply(&options, peer, &context.work)?, json)
        }
        Command::Lease { slots } => show(network::lease(context, slots)?, json),
        Command::Release => show(network::release(context)?, json),
        Command::Add { path } => offered(context, files::add(context, &path)?, json),
        Command::Get => show(files::get(context)?, json),
        Command::Down { file, output, stay, pick } => {
            show(files::down(context, &file, output, pick)?, json)?;
            if stay && !context.stays { files::serve(context, &file, false) } else { Ok(()) }
        }
        Command::Drop { file } => show(files::remove(context, &file)?, json),
        Command::Restore { file, id, new } => {
            offered(context, restore::restore(context, &file, id, new)?, json)
        }
        Command::Files { health } => show(files::files(context, health)?, json),
        Command::Verify { file } => show(files::verify(context, &file)?, json),
        Command::Bounds { size, seed_up, peer_up, peer_down, peers } => {
            show(network::bounds(&Setting::alike(size, seed_up, peers, peer_up, peer_down))?, json)
        }
        Command::Peers => show(network::peers(context)?, json),
        Command::Status => show(network::status(context)?, json),
        Command::Why => show(network::why(context)?, json),
        Command::Serve { .. } | Command::Quit => {
            let (no, advice) = match context.stays {
                true => ("this peer is serving already", "`help` shows the commands"),
                false => ("there is no prompt to leave", "`peer help` shows the commands"),
            };
            Err(Error::new(Code::Usage, no).advise(advice))
        }
    }
}

/// A file is offered from now on. A peer that came for this serves it until others have it; at the prompt it does
/// anyway.
fn offered(context: &Context, (outcome, file): (Outcome, FileName), json: bool) -> Result<()> {
    show(outcome, json)?;
    if context.stays { Ok(()) } else { files::serve(context, &file, true) }
}
