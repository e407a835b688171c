//! The manager: leases peers, first come, first served.
//!
//! ```text
//! $ manager --quantum 10s
//! {"type":"ready","role":"manager","name":"manager","addr":"127.0.0.1:7000"}
//! ```

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use peerlab::cli;
use peerlab::error::{Error, Kind, Result};
use peerlab::manager::{Config, Manager};
use peerlab::net::message::Replicas;

/// The always-on manager of a peerlab network: knows who is here, leases their slots, and keeps their files alive.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "It runs until SIGINT (Ctrl-C) or SIGTERM. RUST_LOG=info shows what happens."
)]
struct Options {
    /// Where to listen; port 0 takes any free port
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:7000", value_parser = cli::parse_addr)]
    listen: SocketAddr,
    /// How long a lease lasts while others wait
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = cli::parse_time)]
    quantum: Duration,
    /// How often peers are asked whether they are there
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = cli::parse_time)]
    ping: Duration,
    /// How long a peer may stay silent before it is taken off the list
    #[arg(long, value_name = "TIME", default_value = "3s", value_parser = cli::parse_time)]
    dead_after: Duration,
    /// How many peers are to have each file: all, or a number; 0 keeps no replicas
    #[arg(long, value_name = "N", default_value = "all")]
    replicas: Replicas,
    /// Listen on an address that others can reach, though nobody has to prove who he is
    #[arg(long)]
    open: bool,
}

fn main() -> ExitCode {
    let options = Options::parse();
    cli::start_log();
    cli::raise_descriptor_limit();
    cli::exit("manager", run(&options))
}

fn run(options: &Options) -> Result<()> {
    if !options.listen.ip().is_loopback() && !options.open {
        return Err(Error::new(
            Kind::Usage,
            format!("{} can be reached from other machines, and anybody there could join", options.listen),
        )
        .advise("add --open if that is what you want, or listen on 127.0.0.1"));
    }
    if options.ping >= options.dead_after {
        return Err(Error::new(
            Kind::Usage,
            "with --ping as long as --dead-after every peer would seem dead",
        )
        .advise("make --dead-after several times --ping"));
    }
    let stop = cli::on_signal()?;
    let mut manager = Manager::start(&Config {
        listen: options.listen,
        quantum: options.quantum,
        ping: options.ping,
        dead_after: options.dead_after,
        replicas: options.replicas,
    })?;
    cli::say_ready("manager", "manager", manager.addr())?;
    // It ends when the handler says so; it cannot be dropped before.
    let _ = stop.recv();
    manager.stop();
    Ok(())
}
