//! How a peer is to behave, as its command line says.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::net::message::Name;

/// How a peer is to behave.
#[derive(Clone, Debug)]
pub struct Config {
    /// Where its manager listens.
    pub manager: SocketAddr,
    /// Where it listens itself.
    pub listen: SocketAddr,
    /// Where others are told that it listens; if absent, the above.
    pub advertise: Option<SocketAddr>,
    /// What it calls itself.
    pub name: Name,
    /// How many products it serves at once.
    pub slots: u32,
    /// Its shared folder.
    pub data: PathBuf,
    /// Whether it offers what lies there, and takes part in replication.
    pub keeps: bool,
    /// How often it looks there for what has changed.
    pub scan: Duration,
    /// How it serves peers that want pieces.
    pub upload: UploadSettings,
}

/// How a peer serves others that want pieces, and how fast it takes them itself.
#[derive(Clone, Copy, Debug)]
pub struct UploadSettings {
    /// Bytes per second for all uploads together; zero serves nobody.
    pub up: Option<u64>,
    /// Bytes per second for all downloads together.
    pub down: Option<u64>,
    /// How many are served for their rates.
    pub unchoke: usize,
    /// How long a round of choking takes.
    pub round: Duration,
}
