//! How a peer is to behave, as its command line says.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser};
use clap::{Args, value_parser};

use crate::cli;
use crate::error::Result;
use crate::net::admission::Admission;
use crate::net::message::Name;
use crate::share::choker::{ROUND_SECONDS, UNCHOKE};
use crate::share::units::parse_bytes;

/// How a peer is to behave. The text of each is its help.
#[derive(Clone, Debug, Args)]
pub struct Config {
    /// Where the manager listens, once that is needed: its name may have to be looked up.
    #[arg(skip = SocketAddr::from(([127, 0, 0, 1], 7000)))]
    pub manager: SocketAddr,
    /// Where to listen; port 0 takes any free port
    #[arg(long, global = true, value_name = "ADDR", default_value = "127.0.0.1:0", value_parser = cli::parse_addr)]
    pub listen: SocketAddr,
    /// Where others are told that this peer listens, if that is another address
    #[arg(long, global = true, value_name = "ADDR", value_parser = cli::parse_addr)]
    pub advertise: Option<SocketAddr>,
    /// What this peer calls itself; a random name if absent
    #[arg(long, global = true, default_value = random_name(), hide_default_value = true)]
    pub name: Name,
    /// How many products to serve at once
    #[arg(long, default_value_t = 4, value_name = "N")]
    pub slots: u32,
    // Empty until the name is known.
    /// The folder of this peer: its files, and the history of its prompt; ./peerlab-NAME if absent
    #[arg(long, global = true, value_name = "DIR", default_value = "", hide_default_value = true, value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub data: PathBuf,
    /// Whether it offers what lies there, and takes part in replication.
    #[arg(skip = true)]
    pub keeps: bool,
    /// How often to look into the shared folder
    #[arg(long, global = true, value_name = "TIME", default_value = "5s", value_parser = cli::parse_time)]
    pub scan: Duration,
    /// Who may speak to it, and what it shows to others.
    #[command(flatten)]
    pub admission: Admission,
    /// How it serves peers that want pieces.
    #[command(flatten)]
    pub upload: UploadSettings,
}

/// How a peer serves others that want pieces, and how fast it takes them itself.
#[derive(Clone, Copy, Debug, Args)]
pub struct UploadSettings {
    /// How fast to upload at most, all together: 20M, 500kB, 8MiB, 50mbit (per second); 0 serves nobody
    #[arg(long, global = true, value_name = "RATE", value_parser = parse_bytes)]
    pub up: Option<u64>,
    /// How fast to download at most, all together
    #[arg(long, global = true, value_name = "RATE", value_parser = cli::parse_rate)]
    pub down: Option<u64>,
    /// How many peers to serve because they give the most; one more is chosen at random
    #[arg(long, global = true, value_name = "N", default_value_t = UNCHOKE, value_parser = value_parser!(u16).map(usize::from))]
    pub unchoke: usize,
    /// How many times faster the rounds of choking are: 10 makes ten seconds one
    #[arg(long = "time-scale", global = true, value_name = "X", default_value = "1", value_parser = parse_round)]
    pub round: Duration,
}

fn random_name() -> String {
    format!("peer-{:04x}", rand::random::<u16>())
}

/// A scale of time as the length of a round.
fn parse_round(scale: &str) -> Result<Duration> {
    cli::parse_scale(scale).map(|scale| Duration::from_secs(ROUND_SECONDS).div_f64(scale))
}
