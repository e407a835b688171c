//! A peer: the prompt, a serving node, or one command.
//!
//! ```text
//! $ peer --name ada serve             # serves others until Ctrl-C
//! $ peer                              # the prompt
//! $ peer multiply a.npy b.npy         # joins, multiplies, leaves
//! ```

use std::io::{self, IsTerminal};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::{ArgMatches, CommandFactory, FromArgMatches, Parser};
use crossbeam_channel::Receiver;
use peerlab::cli;
use peerlab::commands::command::{Command, in_lower_case};
use peerlab::commands::context::Context;
use peerlab::commands::{self, prompt};
use peerlab::error::{Code, Error, Result};
use peerlab::peer::Peer;
use peerlab::peer::config::Config;
use peerlab::share::units::parse_bytes;
use peerlab::thread::{self, Thread};
use rustix::termios::OptionalActions;
use signal_hook::consts::SIGINT;

/// The exit status of a command that a signal ended, as shells have it for SIGINT.
const INTERRUPTED: i32 = 130;

/// How often a peer that waits for its manager looks whether it is told to stop.
const JOIN_CHECK: Duration = Duration::from_millis(200);

/// A rate below this, in bytes per second, is perhaps meant in other units.
const SLOW: u64 = 10_000;

/// A peer of a peerlab network: client and server at once.
#[derive(Debug, Parser)]
#[command(
    name = "peer",
    version,
    next_help_heading = "Options of the peer and its network",
    after_help = "Without a command it is the prompt. RUST_LOG=trace shows every line on the wire.\n\n\
                  Example: peer serve --name ada"
)]
struct PeerOptions {
    /// Where the manager listens
    #[arg(
        long,
        global = true,
        env = "PEERLAB_MANAGER",
        value_name = "ADDR",
        default_value = "127.0.0.1:7000"
    )]
    manager: String,
    #[command(flatten)]
    config: Config,
    /// Print the result as one JSON object
    #[arg(long, global = true, help_heading = None)]
    json: bool,
    #[command(flatten)]
    papers: cli::Papers,
    #[command(subcommand)]
    command: Option<Command>,
}

fn main() -> ExitCode {
    let mut words = std::env::args_os();
    let program = words.next();
    let mut grammar = cli::grammar(PeerOptions::command());
    let words = in_lower_case(words, &grammar);
    let typed = grammar.clone().get_matches_from(program.into_iter().chain(words));
    let options = PeerOptions::from_arg_matches(&typed).unwrap_or_else(|e| e.format(&mut grammar).exit());
    cli::run("peer", || {
        ["up", "down"].iter().try_for_each(|option| doubt_slow_rate(option, &typed))?;
        run(options)
    })
}

/// Says how slow a rate is that is perhaps meant in other units; a person at a terminal is asked.
fn doubt_slow_rate(option: &str, typed: &ArgMatches) -> Result<()> {
    let rate = typed.get_raw(option).and_then(|mut raw| raw.next()?.to_str());
    if let Some(rate) = rate
        && let Ok(bytes @ 1..SLOW) = parse_bytes(rate)
    {
        let has_unit = rate.parse::<u64>().is_err();
        let advice = if has_unit { String::new() } else { format!(": for more write {rate}kB or {rate}MB") };
        let asks = io::stdin().is_terminal() && io::stderr().is_terminal();
        let question = if asks { "; is that meant? [y/N]" } else { "" };
        cli::tell(format_args!("--{option} {rate} is {bytes} bytes a second{advice}{question}"));
        let mut answer = String::new();
        // What cannot be read is not "yes".
        let _ = asks.then(|| io::stdin().read_line(&mut answer));
        if asks && !answer.trim().eq_ignore_ascii_case("y") {
            return Err(Error::new(Code::Usage, "that was not meant, so nothing is done"));
        }
    }
    Ok(())
}

fn run(PeerOptions { manager, mut config, json, papers, command }: PeerOptions) -> Result<()> {
    papers.print(PeerOptions::command())?;
    if !command.as_ref().is_some_and(Command::is_local) {
        let found = cli::parse_addr(&manager);
        config.manager = found.map_err(|no| no.given_by("--manager", "PEERLAB_MANAGER", &manager))?;
        config.admission.read_secret()?;
    }
    let stop = cli::on_signal()?;
    if config.data.as_os_str().is_empty() {
        config.data = format!("peerlab-{}", config.name).into();
    }
    match command {
        Some(Command::Serve { slots }) => {
            serve(Config { slots: slots.unwrap_or(config.slots), ..config }, &stop)
        }
        Some(command) => {
            // It comes for one thing, and offers nothing meanwhile.
            let config = Config { slots: 0, keeps: false, ..config };
            let mut context = Context::for_one_command(config);
            leave_on_signal(stop, &context, Some(command.when_stopped()))?;
            let done = commands::run(&mut context, command, json);
            context.leave();
            done
        }
        None => open_prompt(config, stop),
    }
}

/// Runs the prompt, or the script that stands in its place.
fn open_prompt(config: Config, stop: Receiver<i32>) -> Result<()> {
    let peer = Arc::new(Peer::start(config)?);
    let context = Context::for_prompt(Arc::clone(&peer));
    leave_on_signal(stop, &context, None)?;
    // Without a manager some commands still work, and it may come.
    if let Err(no) = peer.network().first_number() {
        if no.code() != Code::Failed {
            return Err(no);
        }
        cli::tell(no);
    }
    tell_shared(&peer);
    if !io::stdin().is_terminal() {
        say_ready(&peer)?;
    }
    prompt::run(context)
}

/// Serves until a signal. It is ready when it has joined; a manager that is not there yet is waited for.
fn serve(config: Config, stop: &Receiver<i32>) -> Result<()> {
    let peer = Peer::start(config)?;
    while let Err(no) = peer.network().wait_for_number(JOIN_CHECK) {
        if no.code() != Code::Failed {
            return Err(no);
        }
        if stop.try_recv().is_ok() {
            return Ok(());
        }
    }
    tell_shared(&peer);
    say_ready(&peer)?;
    // It ends when the handler says so; it cannot be dropped before.
    let _ = stop.recv();
    Ok(())
}

/// Says what a peer that stays gives to all, and what comes into its folder: its user may have meant neither. The
/// manager asks for the first copy half a second after a peer has joined, so this is said before anything is copied.
fn tell_shared(peer: &Peer) {
    let Config { manager, data, upload, .. } = &peer.network().config;
    let data = data.display();
    let (gives, into) = match upload.up {
        Some(0) => (String::new(), data.to_string()),
        _ => (format!("what lies in {data} is shared with all peers, and "), "it".into()),
    };
    let copied = "the network's files are copied into";
    cli::tell(format_args!(
        "at the manager {manager}: {gives}{copied} {into}, as the manager's --replicas says"
    ));
}

fn say_ready(peer: &Peer) -> Result<()> {
    let network = peer.network();
    cli::say_ready("peer", &network.config.name.to_string(), network.addr)
}

/// Starts the thread that makes a peer leave in order when a signal comes in the middle of a command. At a prompt on a
/// terminal the first Ctrl-C only stops the command. `says` is what is told of a command that was not done.
fn leave_on_signal(stop: Receiver<i32>, context: &Context, says: Option<String>) -> Result<()> {
    // The prompt may have the terminal in another mode when the signal comes.
    let terminal = rustix::termios::tcgetattr(io::stdin()).ok();
    let (work, stays) = (Arc::clone(&context.work), context.stays && io::stdin().is_terminal());
    let leave = move || {
        while stop.recv() == Ok(SIGINT) && stays && work.interrupt() {
            cli::tell("stopping this command; Ctrl-C again within a second leaves");
        }
        if let Some(terminal) = terminal {
            let _ = rustix::termios::tcsetattr(io::stdin(), OptionalActions::Now, &terminal);
        }
        says.filter(|_| !work.has_done()).iter().for_each(cli::tell);
        std::process::exit(if work.leave() { 0 } else { INTERRUPTED });
    };
    thread::start("leave_on_signal", leave).map(Thread::detach)
}
