//! A peer: client and server at once.
//!
//! # What it owns
//! A server that answers other peers (`sessions`), the thread that keeps its `membership`, and what both know of the
//! `network`. Each wing is a chapter: `serve` computes products for others, `multiply` has them computed; the
//! `library` is what it offers, `swarm` moves pieces, `replication` keeps copies, and `http` serves browsers.
//! What a user asks of it is in [`commands`](crate::commands).
//!
//! # Both sides of one program
//! ```text
//!    the manager <---- keep_membership: ping/ok, the list, bind/unbind ----  this peer
//!    the manager <---- keep_lease: lease, wait/ok, renew, release ---------  this peer as a client
//!    other peers <---- serve_slot: multiply, product ----------------------  this peer as a client
//!    other peers  ---- serve_peer: multiply, product --------------------->  this peer as a server
//!    the manager <---- publish: update; download: query ---------------------  what it has, who has more
//!    other peers <---- fetch_from: join, interested, request, piece --------  this peer as a client
//!    other peers  ---- serve_peer, send_pieces: the same ------------------>  this peer as a server
//! ```

pub mod config;
mod http;
pub mod library;
pub mod manager_client;
mod membership;
pub mod multiply;
pub mod network;
pub mod replication;
pub mod serve;
mod sessions;
pub(crate) mod swarm;

use std::net::SocketAddr;
use std::sync::Arc;

use self::config::Config;
use self::http::Mirror;
use self::library::Library;
use self::membership::Membership;
use self::network::Network;
use self::replication::context::Replication;
use self::serve::Serving;
use self::swarm::upload::Uploads;
use crate::error::{Error, Result};
use crate::net::server::{Server, listen};
use crate::share::store::Store;
use crate::thread::{Thread, cores};

/// A running peer; dropping it leaves the network.
#[derive(Debug)]
pub struct Peer {
    config: Config,
    network: Arc<Network>,
    server: Server,
    serving: Arc<Serving>,
    library: Arc<Library>,
    uploads: Arc<Uploads>,
    replication: Option<Arc<Replication>>,
    threads: Vec<Thread>,
}

impl Peer {
    /// Starts to listen and to join; whether that succeeds, [`Network::wait_for_number`] tells.
    ///
    /// # Errors
    /// When it cannot listen, or no thread can be started.
    pub fn start(config: Config) -> Result<Self> {
        let listener = listen(config.listen)?;
        let addr = listener.local_addr().map_err(|e| Error::failed("cannot listen").because(e))?;
        let network = Arc::new(Network::new(&config, addr));
        let serving = Arc::new(Serving::new(Arc::clone(&network), config.slots, cores()));
        let library = Arc::new(Library::new(Arc::clone(&network)));
        let uploads = Arc::new(Uploads::new(config.upload));
        let store = config.offers.then(|| Store::open(&config.data)).transpose()?.map(Arc::new);
        let mirror = Mirror { library: Arc::clone(&library), uploads: Arc::clone(&uploads) };
        let server = {
            let (serving, library, uploads) =
                (Arc::clone(&serving), Arc::clone(&library), Arc::clone(&uploads));
            Server::start("serve_peer", listener, move |connection| {
                if mirror.serve(connection)? {
                    return Ok(());
                }
                sessions::serve_peer(&serving, &library, &uploads, connection)
            })?
        };
        let mut threads = vec![library.start()?, uploads.start()?];
        let replication = match store {
            Some(store) => {
                let (replication, started) =
                    replication::start(&config, store, Arc::clone(&library), Arc::clone(&uploads))?;
                threads.extend(started);
                Some(replication)
            }
            None => None,
        };
        let membership = Membership {
            config: config.clone(),
            network: Arc::clone(&network),
            serving: Arc::clone(&serving),
            library: Arc::clone(&library),
            uploads: Arc::clone(&uploads),
            replication: replication.clone(),
        };
        threads.push(membership.start()?);
        Ok(Self { config, network, server, serving, library, uploads, replication, threads })
    }

    /// How it was told to behave.
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.server.addr()
    }

    /// Its place in the network.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// How many slots it offers, and how many products it is serving.
    pub fn load(&self) -> (u32, u32) {
        self.serving.load()
    }

    /// What it offers.
    pub fn library(&self) -> &Library {
        &self.library
    }

    /// Its shared folder, if it offers what lies there.
    pub fn store(&self) -> Option<&Arc<Store>> {
        self.replication.as_ref().map(|replication| &replication.store)
    }

    /// What it keeps for the network, if it does.
    pub fn replication(&self) -> Option<&Arc<Replication>> {
        self.replication.as_ref()
    }

    /// What it uploads.
    pub(crate) fn uploads(&self) -> &Uploads {
        &self.uploads
    }

    /// Leaves in order: says `quit`, ends every conversation, joins every thread.
    pub fn leave(&mut self) {
        self.network.say_goodbye();
        self.server.stop();
        self.library.leave();
        self.uploads.leave();
        if let Some(replication) = &self.replication {
            replication.leave();
        }
        self.threads.clear();
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.leave();
    }
}
