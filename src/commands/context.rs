//! Where commands run: a peer that has joined, or one that joins when the first command needs it.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use crate::error::Result;
use crate::peer::Peer;
use crate::peer::config::Config;
use crate::peer::multiply::lease::HeldLease;
use crate::share::store::Store;

/// Where commands run: a peer that has joined, or one that has not yet, and how results are shown.
#[derive(Debug)]
pub struct Shell {
    pub(super) config: Config,
    pub(super) peer: Arc<OnceLock<Arc<Peer>>>,
    pub(super) lease: Option<HeldLease>,
    /// At the prompt: the peer stays between commands.
    pub(super) stays: bool,
    /// What was asked for is done: a signal is the ordinary end.
    pub(super) done: Arc<AtomicBool>,
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
            peer.network().say_goodbye();
        }
    }

    /// The peer, which joins now if it has not.
    pub(super) fn peer(&mut self) -> Result<Arc<Peer>> {
        if let Some(peer) = self.peer.get() {
            return Ok(Arc::clone(peer));
        }
        let peer = Arc::new(Peer::start(self.config.clone())?);
        peer.network().first_number()?;
        Ok(Arc::clone(self.peer.get_or_init(|| peer)))
    }

    /// A shared folder: the peer's own, if it is that, else one that is opened for this command.
    pub(super) fn store(&self, folder: &Path) -> Result<Arc<Store>> {
        let own = self.peer.get().and_then(|peer| peer.store());
        match own.filter(|own| own.is_at(folder)) {
            Some(own) => Ok(Arc::clone(own)),
            None => Store::open(folder).map(Arc::new),
        }
    }
}
