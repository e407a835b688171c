//! The verbs, one function each, used by the prompt and by the command line alike.
//!
//! A command prints its result on stdout (as text, or as one JSON object with `--json`) and everything
//! else on stderr, so that a script can read the one and a person the other. What can go wrong is an
//! [`Error`] that says what to do next; nobody but `main` and the prompt decides what happens then.
//!
//! This file says which verbs there are and where they run. The functions stand by families in
//! `matrix_commands`, `network_commands`, `file_commands` and `list_commands`.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use clap::Subcommand;

use super::lease::Lease;
use super::list_commands::bounds;
use super::matrix_commands::{How, make, run_multiply};
use super::{Config, Peer};
use crate::error::{Error, Kind, Result};
use crate::matrix::strassen::MAX_LEVELS;
use crate::share::FileName;
use crate::share::picker::Order;
use crate::share::store::Store;
use crate::share::theory::Setting;
use crate::share::units::Bytes;

/// What a user can ask for.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Serve others until SIGINT (Ctrl-C) or SIGTERM
    Serve {
        /// How many products to serve at once; the same as before the command
        #[arg(long, value_name = "N")]
        slots: Option<u32>,
    },
    /// Write a random matrix as NAME.npy
    Make {
        /// The file to write; `.npy` is added if it is missing
        #[arg(value_name = "NAME")]
        matrix: PathBuf,
        /// How many rows
        rows: usize,
        /// How many columns; as many as rows if absent
        cols: Option<usize>,
        /// Makes the same matrix again
        #[arg(long)]
        seed: Option<u64>,
        /// Whole numbers from -9 to 9, whose products are exact
        #[arg(long)]
        integers: bool,
    },
    /// Multiply two matrices by leased peers
    Multiply {
        /// The left matrix
        #[arg(value_name = "A.npy")]
        a: PathBuf,
        /// The right matrix
        #[arg(value_name = "B.npy")]
        b: PathBuf,
        /// Where to write the product; not written if absent
        #[arg(short, long, value_name = "C.npy")]
        output: Option<PathBuf>,
        /// How often the matrices are cut: 0 is one product, 1 is seven, 2 is forty-nine
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=i64::from(MAX_LEVELS)))]
        levels: u32,
        /// How many slots to lease; one is enough for --levels 0
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
        slots: Option<u32>,
        /// Without a network, on all cores of this machine
        #[arg(long, conflicts_with_all = ["levels", "slots"])]
        local: bool,
    },
    /// Hold slots by hand, and see the queue (at the prompt only)
    Lease {
        /// How many slots
        #[arg(default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
        slots: u32,
    },
    /// Give back the slots that `lease` got (at the prompt only)
    Release,
    /// Offer a file: copy it into the shared folder, and serve it
    Add {
        /// The file
        path: PathBuf,
    },
    /// What all other peers offer, asked of the peers themselves
    Get,
    /// Download a file from all its holders at once
    Down {
        /// The name of the file
        #[arg(value_name = "NAME")]
        file: FileName,
        /// Where to save it; the current folder if absent, at the prompt the shared one
        #[arg(short, long, value_name = "DIR")]
        output: Option<PathBuf>,
        /// Go on serving it until a signal
        #[arg(long)]
        stay: bool,
        /// Which pieces come first: rarest, sequential or split
        #[arg(long, default_value = "rarest", value_name = "ORDER")]
        pick: Order,
    },
    /// Remove a file everywhere: every peer moves it into its trash
    Drop {
        /// The name of the file
        #[arg(value_name = "NAME")]
        file: FileName,
    },
    /// The manager's list of files, and who has them
    Files {
        /// Whether as many peers have each as the manager's policy asks, and if not, why
        #[arg(long)]
        health: bool,
    },
    /// Check a file of the shared folder piece by piece, and repair it from others
    Verify {
        /// The name of the file
        #[arg(value_name = "NAME")]
        file: FileName,
    },
    /// How long a distribution takes at best, from one server and from each other
    Bounds {
        /// The size of the file
        #[arg(long)]
        size: Bytes,
        /// What the seed uploads per second
        #[arg(long, value_name = "RATE")]
        seed_up: Bytes,
        /// What each peer uploads per second
        #[arg(long, value_name = "RATE")]
        peer_up: Bytes,
        /// What each peer downloads per second; without limit if absent
        #[arg(long, value_name = "RATE")]
        peer_down: Option<Bytes>,
        /// How many peers want it
        #[arg(long, value_name = "N")]
        peers: u64,
    },
    /// Who is here, with how many slots
    Peers,
    /// What this peer is doing
    Status,
    /// What is waited for in the network, and why
    Why,
    /// Leave the prompt
    Quit,
}

/// Where commands run: a peer that has joined, or one that has not yet, and how results are shown.
#[derive(Debug)]
pub struct Shell {
    pub(super) config: Config,
    pub(super) peer: Arc<OnceLock<Arc<Peer>>>,
    pub(super) lease: Option<Lease>,
    /// At the prompt: the peer stays between commands.
    pub(super) stays: bool,
    /// What was asked for is done: a signal is the ordinary end.
    done: Arc<AtomicBool>,
}

impl Shell {
    /// For one command: a peer joins only if the command needs one.
    pub fn for_one_command(config: Config) -> Self {
        Self { config, peer: Arc::default(), lease: None, stays: false, done: Arc::default() }
    }

    /// For many commands of a peer that runs already.
    pub fn for_prompt(peer: Arc<Peer>) -> Self {
        let (config, done) = (peer.config().clone(), Arc::default());
        Self { config, peer: Arc::new(peer.into()), lease: None, stays: true, done }
    }

    /// The place where the peer will be, for whoever must make it leave in the middle of a command.
    pub fn place_of_peer(&self) -> Arc<OnceLock<Arc<Peer>>> {
        Arc::clone(&self.peer)
    }

    /// Whether what was asked for is done, so that a signal is the ordinary end.
    pub fn done(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.done)
    }

    /// Gives back what is leased, and leaves.
    pub fn leave(mut self) {
        drop(self.lease.take());
        if let Some(peer) = self.peer.get() {
            peer.membership().say_goodbye();
        }
    }

    /// The peer, which joins now if it has not.
    pub(super) fn peer(&mut self) -> Result<Arc<Peer>> {
        if let Some(peer) = self.peer.get() {
            return Ok(Arc::clone(peer));
        }
        let peer = Arc::new(Peer::start(self.config.clone())?);
        peer.membership().first_number()?;
        Ok(Arc::clone(self.peer.get_or_init(|| peer)))
    }

    /// A shared folder: the peer's own, if it is that, else one that is opened for this command.
    pub(super) fn store(&self, folder: &Path) -> Result<Arc<Store>> {
        let own = self.peer.get().and_then(|peer| peer.store());
        match own.filter(|own| same_folder(own.dir(), folder)) {
            Some(own) => Ok(Arc::clone(own)),
            None => Store::open(folder).map(Arc::new),
        }
    }

    /// Runs one command.
    ///
    /// # Errors
    /// What failed, and what to do next.
    pub fn run(&mut self, command: Command, json: bool) -> Result<()> {
        match command {
            Command::Make { matrix, rows, cols, seed, integers } => {
                make(&matrix, rows, cols.unwrap_or(rows), seed, integers, json)
            }
            Command::Multiply { a, b, output, levels, slots, local } => {
                let slots = slots.unwrap_or(if levels == 0 { 1 } else { 7 });
                let how = if local { How::Local } else { How::Leased { peer: self.peer()?, levels, slots } };
                run_multiply(&a, &b, output.as_deref(), &how, json)
            }
            Command::Lease { slots } => self.lease(slots, json),
            Command::Release => self.release(json),
            Command::Add { path } => self.add(&path, json),
            Command::Get => self.get(json),
            Command::Down { file, output, stay, pick } => self.down(&file, output, stay, pick, json),
            Command::Drop { file } => self.drop(&file, json),
            Command::Files { health } => self.files(health, json),
            Command::Verify { file } => self.verify(&file, json),
            Command::Bounds { size, seed_up, peer_up, peer_down, peers } => {
                let down = peer_down.map(|rate| rate.0);
                bounds(&Setting::alike(size.0, seed_up.0, peers, peer_up.0, down), json)
            }
            Command::Peers => self.peers(json),
            Command::Status => self.status(json),
            Command::Why => self.why(json),
            Command::Serve { .. } | Command::Quit => Err(Error::new(
                Kind::Usage,
                if self.stays { "this peer is serving already" } else { "there is no prompt to leave" },
            )
            .advise("`help` shows the commands")),
        }
    }
}

pub(super) fn same_folder(a: &Path, b: &Path) -> bool {
    a == b || a.canonicalize().is_ok_and(|a| b.canonicalize().is_ok_and(|b| a == b))
}
