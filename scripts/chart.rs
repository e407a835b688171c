//! Draws a sequence chart of a real run from what its nodes logged with `RUST_LOG=trace`: `scripts/chart.sh --help`.
//!
//! # How
//! A line of a log says when its node said or heard which message, and names both ends of the connection. Both ends log
//! it, so what one said and the other heard is one arrow ([`merge`]). Every end of an arrow has its place from top to
//! bottom by its time ([`draw`]); the distances are not to scale, for between two milliseconds with thirty messages
//! there may be three seconds with none.
//!
//! # What is missing
//! Payloads are not logged: that the bytes of a piece came, only the next message shows. And a line is logged when it
//! is handed to the system, not when it is on the cable.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;

#[path = "chart/bands.rs"]
pub(crate) mod bands;
#[path = "chart/draw.rs"]
pub(crate) mod draw;
#[path = "chart/label.rs"]
pub(crate) mod label;
#[path = "chart/merge.rs"]
pub(crate) mod merge;
#[path = "chart/page.rs"]
pub(crate) mod page;
#[path = "chart/records.rs"]
pub(crate) mod records;
#[path = "chart/select.rs"]
pub(crate) mod select;

use records::{Log, read_time};
use select::Choice;

/// Draws a sequence chart from the logs of a run; `scripts/chart.sh --help` says more
#[derive(Debug, Parser)]
#[command(name = "chart")]
struct Arguments {
    /// Where the chart goes
    out: PathBuf,
    /// The logs, in the order of the lanes; each is named after its node
    #[arg(required = true)]
    logs: Vec<PathBuf>,
    /// What stands above it
    #[arg(long, default_value = "")]
    title: String,
    /// Begins there: seconds after the first message, or a time as in the logs
    #[arg(long, value_name = "TIME")]
    from: Option<String>,
    /// Ends there
    #[arg(long, value_name = "TIME")]
    to: Option<String>,
    /// Only messages of these types
    #[arg(long, value_name = "TYPE,..", value_delimiter = ',')]
    only: Vec<String>,
    /// No messages of these types
    #[arg(long, value_name = "TYPE,..", value_delimiter = ',')]
    without: Vec<String>,
    /// Only what this node said or heard
    #[arg(long, value_name = "NODE")]
    of: Option<String>,
    /// Pings and their oks, too
    #[arg(long)]
    pings: bool,
    /// Log lines with this text as notes
    #[arg(long, value_name = "TEXT")]
    say: Vec<String>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(said) => {
            eprintln!("{said}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("chart: {why}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<String, String> {
    let mut logs = Vec::new();
    for path in &arguments.logs {
        let text = std::fs::read(path).map_err(|e| {
            format!("cannot read {}: {e}; `scripts/chart.sh --help` says how to record", path.display())
        })?;
        let node = path.file_stem().unwrap_or_default().to_string_lossy();
        Log::read(&node, &String::from_utf8_lossy(&text), &arguments.say, &mut logs);
    }
    let (mut chart, odd) = merge::merge(&logs);
    odd.iter().for_each(|words| eprintln!("{words}"));
    let first = chart.arrows.first().map(|arrow| arrow.begins());
    let first = first.ok_or("there is no message in these logs: record them with RUST_LOG=trace")?;
    let moment = |text: &Option<String>| match text {
        Some(text) => read_time(text, first).map(Some),
        None => Ok(None),
    };
    let choice = Choice {
        from: moment(&arguments.from)?,
        to: moment(&arguments.to)?,
        only: arguments.only.clone(),
        without: arguments.without.clone(),
        of: arguments.of.clone(),
        pings: arguments.pings,
    };
    let left_out = select::select(&mut chart, &choice);
    if chart.arrows.is_empty() {
        return Err(format!("all {left_out} messages are left out: choose others, or another time"));
    }
    let svg = draw::draw(&chart, &arguments.title);
    let out = arguments.out.display();
    std::fs::write(&arguments.out, svg).map_err(|e| format!("cannot write {out}: {e}"))?;
    Ok(format!("drawn: {out}, {} messages; left out: {left_out}", chart.arrows.len()))
}
