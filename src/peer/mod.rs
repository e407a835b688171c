//! A peer: client and server at once.
//!
//! # What it owns
//! A server that answers other peers (`sessions`), the thread that keeps its `membership`, and the `Wings`, which
//! both share: what is known of the `network`, and the state of each wing. Each wing is a chapter: `serve` computes
//! products for others, `multiply` has them computed; the `library` is what it offers, `swarm` moves pieces,
//! `replication` keeps copies, and `http` serves browsers. What a user asks of it is in [`commands`](crate::commands).
//!
//! # Both sides of one program
//! ```text
//!    the manager <---- keep_membership: ping/ok, the list, bind/unbind ----  this peer
//!    the manager <---- keep_lease: lease, wait/ok, renew, release ---------  this peer as a client
//!    other peers <---- serve_slot: multiply, product ----------------------  this peer as a client
//!    other peers  ---- serve_peer: multiply, product --------------------->  this peer as a server
//!    the manager <---- publish: update; download: query ---------------------  what it has, which peers have more
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
pub(crate) mod wings;

use std::sync::Arc;

use parking_lot::Mutex;

use self::config::Config;
use self::library::Library;
use self::membership::keep_membership;
use self::network::Network;
use self::replication::folder::Folder;
use self::replication::orders::{Replication, WORKERS};
use self::serve::Serving;
use self::sessions::serve_peer;
use self::swarm::upload::Uploads;
use self::wings::Wings;
use crate::error::{Error, Result};
use crate::net::limits;
use crate::net::server::{Server, listen};
use crate::share::store::Store;
use crate::thread::{self, Thread, cores};

/// A running peer; dropping it leaves the network.
pub struct Peer {
    pub(crate) wings: Arc<Wings>,
    server: Server,
    threads: Mutex<Vec<Thread>>,
}

impl Peer {
    /// Starts to listen and to join; whether that succeeds, [`Network::wait_for_number`] tells.
    ///
    /// # Errors
    /// When it cannot listen, or no thread can be started.
    pub fn start(config: Config) -> Result<Self> {
        let listener = listen(config.listen, &config.admission)?;
        let addr = listener.local_addr().map_err(|e| Error::failed("cannot listen").because(e))?;
        let watched = || {
            let mut store = Store::open(&config.data)?;
            store.watch().map(|()| store)
        };
        let store = config.keeps.then(watched).transpose()?;
        let network = Arc::new(Network::new(config, addr));
        let config = &network.config;
        let serving = Serving::new(Arc::clone(&network), config.slots, cores());
        let library = Arc::new(Library::new(Arc::clone(&network)));
        let uploads = Arc::new(Uploads::new(config.upload, rand::random()));
        let replicate = |store| Replication::new(store, Arc::clone(&library), Arc::clone(&uploads));
        let replication = store.map(replicate).map(Arc::new);
        let wings = Arc::new(Wings { network, serving, library, uploads, replication });
        let secret = wings.network.config.admission.secret.clone();
        let served = Arc::clone(&wings);
        let server = Server::start("serve_peer", listener, limits::LINE, secret, move |connection| {
            serve_peer(&served, connection)
        })?;
        // Where a thread cannot be started, those that were are ended.
        let peer = Self { wings, server, threads: Mutex::default() };
        peer.start_thread("publish", |wings| wings.library.publish())?;
        peer.start_thread("judge_uploads", |wings| wings.uploads.judge_uploads(&wings.network))?;
        if let Some(replication) = peer.wings.replication.clone() {
            // Before the manager is asked for anything, so that the drops it is told of are known.
            let mut folder = Folder::new(Arc::clone(&replication));
            peer.start_thread("scan_folder", move |_| folder.scan_folder())?;
            for _ in 0..WORKERS {
                let replication = Arc::clone(&replication);
                peer.start_thread("fetch_ordered", move |_| replication.fetch_ordered())?;
            }
        }
        peer.start_thread("keep_membership", keep_membership)?;
        Ok(peer)
    }

    /// Starts a thread that runs until this peer leaves.
    fn start_thread(&self, name: &str, run: impl FnOnce(&Wings) + Send + 'static) -> Result<()> {
        let wings = Arc::clone(&self.wings);
        self.threads.lock().push(thread::start(name, move || run(&wings))?);
        Ok(())
    }

    /// Its place in the network.
    pub fn network(&self) -> &Network {
        &self.wings.network
    }

    /// How many slots it offers, and how many products it is serving.
    pub fn load(&self) -> (u32, u32) {
        self.wings.serving.bindings.lock().load()
    }

    /// Leaves in order: says `quit`, ends every conversation, joins every thread. What is not written yet is then.
    pub fn leave(&self) {
        let Wings { network, library, replication, .. } = &*self.wings;
        network.say_goodbye();
        self.server.stop();
        library.leave();
        if let Some(replication) = replication {
            replication.leave();
        }
        let threads = std::mem::take(&mut *self.threads.lock());
        drop(threads);
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.leave();
    }
}
