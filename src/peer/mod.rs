//! A peer: client and server at once.
//!
//! # What it owns
//! A server that answers other peers ([`session`], guarded by the [`bindings`]), and the thread that
//! keeps its [`membership`]. What it does for the network with its shared folder is in [`keeping`]. What it does for its user is in [`commands`]: each command is one function,
//! called from the command line and from the [`prompt`] alike. A [`lease`] is a conversation of its own
//! with the manager, and [`multiply`] is what one does with it.
//!
//! # Both sides of one program
//! ```text
//!    the manager <---- keep_membership: ping/ok, the list, bind/unbind ----  this peer
//!    the manager <---- keep_lease: lease, wait/ok, renew, release ---------  this peer as a client
//!    other peers <---- serve_slot: multiply, product ----------------------  this peer as a client
//!    other peers  ---- serve_peer: multiply, product --------------------->  this peer as a server
//!    the manager <---- publish: update; attend: query ---------------------  what it has, who has more
//!    other peers <---- fetch_from: join, interested, request, piece --------  this peer as a client
//!    other peers  ---- serve_peer, send_pieces: the same ------------------>  this peer as a server
//! ```

pub mod bindings;
pub mod buffers;
pub mod commands;
pub mod download;
pub mod drops;
pub mod fetching;
pub mod file_commands;
pub mod folder;
pub mod keeping;
pub mod lease;
pub mod list_commands;
pub mod matrix_commands;
pub mod membership;
pub mod mirror;
pub mod multiply;
pub mod network_commands;
pub mod obey;
pub mod offer;
pub mod progress;
pub mod prompt;
pub mod session;
pub mod sharing;
pub mod stages;
pub mod tasks;
pub mod tracker;
pub mod upload;
pub mod watch;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::Result;
use crate::net::message::Name;
use crate::net::server::{Server, listen};
use crate::share::store::Store;
use keeping::Keeping;
use membership::Membership;
use mirror::Mirror;
use session::Serving;
use sharing::Sharing;
use upload::{Manners, Uploads};

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
    /// Whether it takes part in replication.
    pub keeps: bool,
    /// Its shared folder.
    pub data: PathBuf,
    /// Whether it offers what lies there.
    pub offers: bool,
    /// How often it looks there for what has changed.
    pub scan: Duration,
    /// How it serves those who want pieces.
    pub manners: Manners,
}

/// A running peer; dropping it leaves the network.
#[derive(Debug)]
pub struct Peer {
    config: Config,
    membership: Membership,
    server: Server,
    serving: Arc<Serving>,
    sharing: Arc<Sharing>,
    uploads: Arc<Uploads>,
    keeping: Option<Arc<Keeping>>,
    threads: Vec<JoinHandle<()>>,
}

impl Peer {
    /// Starts to listen and to join; whether that succeeds, [`Membership::number`] tells.
    ///
    /// # Errors
    /// When it cannot listen, or no thread can be started.
    pub fn start(config: Config) -> Result<Self> {
        let serving = Arc::new(Serving::new(config.slots, multiply::cores()));
        let sharing = Arc::new(Sharing::new(config.manager));
        let uploads = Arc::new(Uploads::new(config.manners));
        let listener = listen(config.listen)?;
        let store = config.offers.then(|| Store::open(&config.data)).transpose()?.map(Arc::new);
        let mirror =
            Mirror::new(config.name.clone(), config.manager, Arc::clone(&sharing), Arc::clone(&uploads));
        let server = {
            let (serving, sharing, uploads) =
                (Arc::clone(&serving), Arc::clone(&sharing), Arc::clone(&uploads));
            Server::start("serve_peer", listener, move |connection| {
                if mirror.serve(connection)? {
                    return Ok(());
                }
                session::serve_peer(&serving, &sharing, &uploads, connection)
            })?
        };
        let mut threads = vec![sharing.start()?, uploads.start()?];
        let addr = server.addr();
        let keeping = match store {
            Some(store) => {
                let (keeping, started) =
                    Keeping::start(&config, addr, store, Arc::clone(&sharing), Arc::clone(&uploads))?;
                threads.extend(started);
                Some(keeping)
            }
            None => None,
        };
        let membership =
            Membership::start(&config, addr, Arc::clone(&serving), Arc::clone(&sharing), keeping.clone())?;
        Ok(Self { config, membership, server, serving, sharing, uploads, keeping, threads })
    }

    /// How it was told to behave.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Its membership.
    pub fn membership(&self) -> &Membership {
        &self.membership
    }

    /// How many slots it offers, and how many products it is serving.
    pub fn load(&self) -> (u32, u32) {
        self.serving.load()
    }

    /// What it offers.
    pub fn sharing(&self) -> &Sharing {
        &self.sharing
    }

    /// Its shared folder, if it offers what lies there.
    pub fn store(&self) -> Option<&Arc<Store>> {
        self.keeping.as_ref().map(|keeping| &keeping.store)
    }

    /// What it keeps for the network, if it does.
    pub fn keeping(&self) -> Option<&Arc<Keeping>> {
        self.keeping.as_ref()
    }

    /// What it uploads.
    pub fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    /// Leaves in order: says `quit`, ends every conversation, joins every thread.
    pub fn leave(&mut self) {
        self.membership.leave();
        self.server.stop();
        self.sharing.leave();
        self.uploads.leave();
        if let Some(keeping) = &self.keeping {
            keeping.leave();
        }
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.leave();
    }
}
