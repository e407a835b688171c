//! What all programs share: how they start, say that they are ready, fail, and are told to stop.
//!
//! A script must be able to trust a program. So results go to stdout and everything else to stderr; a
//! node says on one line of JSON when it is ready, and where; every failure has an exit status; and
//! SIGINT and SIGTERM mean "leave in order", not "drop everything".

use std::fmt::Display;
use std::io::{self, ErrorKind, IsTerminal, Write};
use std::net::{SocketAddr, ToSocketAddrs};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crossbeam_channel::{Receiver, bounded};
use env_logger::fmt::style::AnsiColor;
use env_logger::fmt::{Formatter, Target, WriteStyle};
use parking_lot::Mutex;
use serde::Serialize;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::error::{Code, Error, Result};
use crate::share::units::parse_bytes;
use crate::thread;

/// The shortest time that can be given: the clocks here count milliseconds.
const SHORTEST_TIME: Duration = Duration::from_millis(1);

/// The longest: it can be added to any moment without overflow.
const LONGEST_TIME: Duration = Duration::from_hours(365 * 24);

/// The line by which a node tells a script that it is ready, and where.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename = "ready")]
struct Ready<'a> {
    role: &'a str,
    name: &'a str,
    addr: SocketAddr,
}

/// Shows whole lines of stderr while something on the terminal changes in place.
pub(crate) type ShowLines = Arc<dyn Fn(&str) + Send + Sync>;

static SHOW: Mutex<Option<ShowLines>> = Mutex::new(None);

/// From now on `show` is given what is said on stderr, because a line is being typed, or there is a bar. It must not
/// say anything itself.
pub(crate) fn show_lines(show: Option<ShowLines>) {
    *SHOW.lock() = show;
}

/// What the log writes to.
struct Log;

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match &*SHOW.lock() {
            Some(show) => show(&String::from_utf8_lossy(bytes)),
            None => io::stderr().write_all(bytes)?,
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a program can print about itself, in place of its work.
#[derive(Debug, clap::Args)]
pub struct Papers {
    /// Print a script for tab completion in a shell; to be read there by `source`
    #[arg(long, value_name = "SHELL", help_heading = None)]
    completions: Option<clap_complete::Shell>,
    /// Print its manual page, for `man -l -`
    #[arg(long, help_heading = None)]
    man_page: bool,
}

impl Papers {
    /// Prints what was asked for, if anything was, and ends the program then.
    ///
    /// # Errors
    /// When stdout cannot be written to.
    pub fn print(&self, mut program: clap::Command) -> Result<()> {
        let (name, mut text) = (program.get_name().to_owned(), Vec::new());
        match self.completions {
            Some(shell) => clap_complete::generate(shell, &mut program, name, &mut text),
            None if self.man_page => {
                // A page for each command follows that of the program.
                let called = |of: &clap::Command, joint| format!("{name}{joint}{}", of.get_name());
                let page = |of: &clap::Command| of.clone().name(called(of, "-")).bin_name(called(of, " "));
                let commands: Vec<clap::Command> = program.get_subcommands().map(page).collect();
                for page in [program].into_iter().chain(commands) {
                    // Writing into memory does not fail.
                    let _ = clap_mangen::Man::new(page).render(&mut text);
                }
            }
            None => return Ok(()),
        }
        say(String::from_utf8_lossy(&text).trim_end())?;
        std::process::exit(0)
    }
}

/// The grammar of a program, whose messages show how a command is typed. By itself clap would show there every option
/// that the environment gives, as if it had to be typed.
pub fn grammar(mut grammar: clap::Command) -> clap::Command {
    fn with_usage(mut command: clap::Command) -> clap::Command {
        let usage = command.render_usage().ansi().to_string();
        let usage = usage.split_once(' ').map_or_else(String::new, |(_title, usage)| usage.to_owned());
        command.override_usage(usage)
    }
    grammar.build();
    with_usage(grammar).mut_subcommands(with_usage)
}

/// Runs a program, with its log and as many open connections as the system allows. Says what failed on stderr, and
/// gives the exit status.
pub fn run(program: &str, work: impl FnOnce() -> Result<()>) -> ExitCode {
    start_log();
    raise_descriptor_limit();
    let Err(error) = work() else { return ExitCode::SUCCESS };
    tell(format_args!("{program}: {error}"));
    ExitCode::from(error.exit_status())
}

/// Log lines go to stderr, warnings and worse unless `RUST_LOG` says otherwise.
fn start_log() {
    let env = env_logger::Env::default().default_filter_or("warn");
    let colours = io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
    env_logger::Builder::from_env(env)
        .format(write_record)
        .target(Target::Pipe(Box::new(Log)))
        .write_style(if colours { WriteStyle::Always } else { WriteStyle::Never })
        .init();
}

/// `[2026-08-01T12:00:00Z INFO ] what happened`, in colours on a terminal; to the microsecond where the wire is logged,
/// too.
fn write_record(out: &mut Formatter, record: &log::Record<'_>) -> io::Result<()> {
    let exact = log::max_level() == log::LevelFilter::Trace;
    let time = if exact { humantime::format_rfc3339_micros } else { humantime::format_rfc3339_seconds };
    let (time, level) = (time(SystemTime::now()), record.level());
    let (gray, colour) = (AnsiColor::BrightBlack.on_default(), out.default_level_style(level));
    let text = record.args().to_string().replace('\n', "\n    ");
    writeln!(out, "{gray}[{gray:#}{time} {colour}{level:<5}{colour:#}{gray}]{gray:#} {text}")
}

/// Lets this program have as many open connections as the system allows; 1024 is a common start.
pub(crate) fn raise_descriptor_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(e) = setrlimit(Resource::Nofile, limit) {
        log::warn!("cannot raise the number of open files: {e}");
    }
}

/// Prints the ready line.
///
/// # Errors
/// When stdout is closed.
pub fn say_ready(role: &str, name: &str, addr: SocketAddr) -> Result<()> {
    say(to_json(&Ready { role, name, addr })?)
}

/// A result as one JSON object on one line.
pub(crate) fn to_json(result: &impl Serialize) -> Result<String> {
    serde_json::to_string(result)
        .map_err(|e| Error::failed("cannot write to stdout").because(io::Error::from(e)))
}

/// Prints a result, and ends its line. Where the reader has gone away, as `head` does when it has seen enough,
/// the program ends quietly: nobody wants the rest.
///
/// # Errors
/// When stdout cannot be written to for another reason: a full disk, say.
pub fn say(text: impl Display) -> Result<()> {
    let mut out = io::stdout().lock();
    // One write for the whole: stdout by itself writes line by line.
    match out.write_all(format!("{text}\n").as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == ErrorKind::BrokenPipe => std::process::exit(0),
        written => written.map_err(|e| Error::failed("cannot write to stdout").because(e)),
    }
}

/// Tells the user something on stderr. Whether anybody reads it must not decide whether work is done.
pub fn tell(text: impl Display) {
    let _ = Log.write_all(format!("{text}\n").as_bytes());
}

/// A channel that hears by which signal the program is told to stop: SIGINT, SIGTERM or SIGHUP. One that was ignored
/// when the program began stays ignored: so `nohup` starts a node that outlives its terminal.
///
/// # Errors
/// When the system does not let signals be handled.
pub fn on_signal() -> Result<Receiver<i32>> {
    let failed = |e| Error::failed("cannot handle signals").because(e);
    let ignored = ignored_signals();
    let heard = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|signal| ignored >> (signal - 1) & 1 == 0);
    let mut signals = Signals::new(heard).map_err(failed)?;
    let (told, stop) = bounded(1);
    // A second signal finds the channel full, and changes nothing: leaving is under way.
    let hear = move || signals.forever().for_each(|signal| _ = told.try_send(signal));
    thread::start("hear_signals", hear)?.detach();
    Ok(stop)
}

/// The signals that this program was started to ignore, a bit for each. Where the system does not say: none.
fn ignored_signals() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).unwrap_or(0)
}

/// An address, such as `127.0.0.1:7000`, `lab-pc-3:7000`, or `http://127.0.0.1:7000/` as it is copied from a browser.
/// Of a host with several addresses it is the first of IPv4, if there is one.
///
/// # Errors
/// A usage error that shows how.
pub fn parse_addr(text: &str) -> Result<SocketAddr> {
    let pasted = text.trim();
    let plain = pasted.strip_prefix("http://").unwrap_or(pasted).trim_end_matches('/');
    let no = || {
        Error::new(Code::Usage, format!("{text:?} is not an address"))
            .advise("write a host and a port, such as 127.0.0.1:7000")
    };
    let found: Vec<SocketAddr> = plain.to_socket_addrs().map_err(|e| no().because(e))?.collect();
    found.iter().find(|addr| addr.is_ipv4()).or(found.first()).copied().ok_or_else(no)
}

/// A time as people write it: `30s`, `200ms`.
///
/// # Errors
/// A usage error that shows how.
pub fn parse_time(text: &str) -> Result<Duration> {
    let time = humantime::parse_duration(text).map_err(|e| {
        Error::new(Code::Usage, format!("{text:?} is not a time")).because(e).advise("write 30s or 200ms")
    })?;
    if !(SHORTEST_TIME..=LONGEST_TIME).contains(&time) {
        return Err(Error::new(Code::Usage, format!("{text} is out of bounds"))
            .advise("give a time from 1ms to 365days"));
    }
    Ok(time)
}

/// A rate as people write it: `20M`, `500kB`, `8MiB`, `50mbit`, per second.
///
/// # Errors
/// A usage error that shows how.
pub fn parse_rate(text: &str) -> Result<u64> {
    match parse_bytes(text)? {
        0 => Err(Error::new(Code::Usage, "a rate of zero").advise("write 20M or 500kB")),
        rate => Ok(rate),
    }
}

/// How many times faster than life: a number from 0.01 to 10,000.
///
/// # Errors
/// A usage error that shows how.
pub fn parse_scale(text: &str) -> Result<f64> {
    let scale = text.parse::<f64>().ok().filter(|scale| (0.01..=10_000.0).contains(scale));
    scale.ok_or_else(|| {
        Error::new(Code::Usage, format!("{text:.40?} is no scale of time")).advise("write 10 or 0.5")
    })
}
