//! The manager: leases peers, first come, first served.
//!
//! ```text
//! $ manager --quantum 10s
//! {"type":"ready","role":"manager","name":"manager","addr":"127.0.0.1:7000"}
//! ```

use std::io::{self, IsTerminal};
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use peerlab::cli;
use peerlab::error::{Error, Kind, Result};
use peerlab::manager::{Manager, Settings};

/// The always-on manager of a peerlab network: knows who is here, leases their slots, and keeps their files alive.
#[derive(Debug, Parser)]
#[command(
    name = "manager",
    version,
    after_help = "It runs until SIGINT (Ctrl-C) or SIGTERM. RUST_LOG=info shows what happens.\n\n\
                  Example: manager --listen 0.0.0.0:7000 --open --quantum 10s"
)]
struct ManagerOptions {
    #[command(flatten)]
    manager: Settings,
    /// Listen on an address that others can reach, though no program has to prove what it is
    #[arg(long)]
    open: bool,
    #[command(flatten)]
    papers: cli::Papers,
}

fn main() -> ExitCode {
    let options = ManagerOptions::parse();
    cli::run("manager", || run(&options))
}

fn run(ManagerOptions { manager, open, papers }: &ManagerOptions) -> Result<()> {
    papers.print(ManagerOptions::command())?;
    let usage = |what: &str, advice| Err(Error::new(Kind::Usage, what).advise(advice));
    let addr = manager.listen;
    if !addr.ip().is_loopback() && !open {
        let what = format!("{addr} can be reached from other machines, and anybody there could join");
        return usage(&what, "add --open if that is what you want, or listen on 127.0.0.1");
    }
    if manager.ping >= manager.dead_after {
        let what = "with --ping as long as --dead-after every peer would seem dead";
        return usage(what, "make --dead-after several times --ping");
    }
    let stop = cli::on_signal()?;
    let mut manager = Manager::start(manager)?;
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
    manager.stop();
    Ok(())
}
