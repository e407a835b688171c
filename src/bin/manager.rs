//! The manager: leases peers, first come, first served.
//!
//! ```text
//! $ manager --quantum 10s
//! {"type":"ready","role":"manager","name":"manager","addr":"127.0.0.1:7000"}
//! ```

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser};
use peerlab::cli;
use peerlab::error::{Code, Error, Result};
use peerlab::manager::{Manager, Settings};
use peerlab::net::limits;

/// The always-on manager of a peerlab network: knows who is here, leases their slots, and keeps their files alive.
#[derive(Debug, Parser)]
#[command(
    name = "manager",
    version,
    after_help = "It runs until SIGINT (Ctrl-C) or SIGTERM. RUST_LOG=info shows what happens.\n\n\
                  Example: manager --listen 0.0.0.0:7000 --secret-file FILE --quantum 10s"
)]
struct ManagerOptions {
    #[command(flatten)]
    manager: Settings,
    #[command(flatten)]
    papers: cli::Papers,
}

fn main() -> ExitCode {
    let mut grammar = cli::grammar(ManagerOptions::command());
    let typed = grammar.get_matches_mut();
    let options = ManagerOptions::from_arg_matches(&typed).unwrap_or_else(|e| e.format(&mut grammar).exit());
    cli::run("manager", || run(options))
}

fn run(ManagerOptions { mut manager, papers }: ManagerOptions) -> Result<()> {
    papers.print(ManagerOptions::command())?;
    manager.admission.read_secret()?;
    if manager.ping >= manager.dead_after {
        let what = "with --ping as long as --dead-after every peer would seem dead";
        return Err(Error::new(Code::Usage, what).advise("make --dead-after several times --ping"));
    }
    let rarest = limits::SILENCE / 2;
    if manager.ping > rarest {
        let what = format!("a manager that is silent for {:?} is dead to its peers", limits::SILENCE);
        return Err(Error::new(Code::Usage, what).advise(format!("make --ping {rarest:?} or less")));
    }
    let stop = cli::on_signal()?;
    let manager = Manager::start(&manager)?;
    let addr = manager.addr();
    cli::say_ready("manager", "manager", addr)?;
    if io::stderr().is_terminal() {
        let addr = match addr.ip().is_unspecified() {
            true => format!("THIS-MACHINE:{}", addr.port()),
            false => addr.to_string(),
        };
        cli::tell(format_args!(
            "The board is at http://{addr}/. A peer joins with `peer --manager {addr} serve`."
        ));
    }
    // It ends when the handler says so; it cannot be dropped before.
    let _ = stop.recv();
    Ok(())
}
