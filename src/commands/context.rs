//! Where commands run: a peer that has joined, or one that joins when the first command needs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::bounded;
use parking_lot::Mutex;

use crate::error::{Code, Error, Result};
use crate::peer::Peer;
use crate::peer::config::Config;
use crate::peer::manager_client::{ManagerClient, say_wait};
use crate::peer::multiply::lease::HeldLease;
use crate::share::store::Store;
use crate::thread::{self, Thread};

/// Two Ctrl-C within this time leave the prompt.
const TWICE: Duration = Duration::from_secs(1);

/// How long a peer may take to leave: the manager may not answer, or the disk be slow.
const LEAVING: Duration = Duration::from_secs(2);

/// Where commands run.
pub struct Context {
    pub(super) config: Config,
    /// At the prompt: the peer stays between commands, and so does a lease.
    pub stays: bool,
    pub(super) lease: Option<HeldLease>,
    /// For the thread that makes a peer leave when a signal comes.
    pub work: Arc<Work>,
}

/// What a signal finds in the middle of a command.
#[derive(Default)]
pub struct Work {
    pub(super) peer: OnceLock<Arc<Peer>>,
    done: AtomicBool,
    /// The running command is to stop.
    pub(super) stop: AtomicBool,
    /// When Ctrl-C was pressed last.
    interrupted: Mutex<Option<Instant>>,
    /// The file that is written, or was, before it gets its name.
    unfinished: Mutex<PathBuf>,
}

impl Context {
    /// For one command: a peer joins only if the command needs one.
    pub fn for_one_command(config: Config) -> Self {
        Self { config, stays: false, lease: None, work: Arc::default() }
    }

    /// For many commands of a peer that runs already.
    pub fn for_prompt(peer: Arc<Peer>) -> Self {
        let config = peer.network().config.clone();
        let work = Arc::new(Work { peer: peer.into(), ..Work::default() });
        Self { config, stays: true, lease: None, work }
    }

    /// Gives back what is leased, and leaves.
    pub fn leave(mut self) {
        drop(self.lease.take());
        self.work.leave();
    }

    /// The peer, which joins now if it has not.
    pub(super) fn peer(&self) -> Result<&Arc<Peer>> {
        if let Some(peer) = self.work.peer.get() {
            return Ok(peer);
        }
        let peer = Arc::new(Peer::start(self.config.clone())?);
        say_wait(self.config.manager, || peer.network().first_number())?;
        Ok(self.work.peer.get_or_init(|| peer))
    }

    /// A way to the manager.
    pub(super) fn manager(&self) -> ManagerClient {
        ManagerClient::for_person(&self.config)
    }

    /// A shared folder: the peer's own, if it is that, else one that is opened for this command.
    pub(super) fn store(&self, folder: &Path) -> Result<Arc<Store>> {
        let own = self.work.peer.get().and_then(|peer| peer.wings.replication.as_ref());
        match own.map(|own| &own.store).filter(|own| own.is_at(folder)) {
            Some(own) => Ok(Arc::clone(own)),
            None => Store::open(folder).map(Arc::new),
        }
    }

    /// The peer's shared folder. Nothing is made on the disk for a command that only looks there.
    ///
    /// # Errors
    /// `not_found` when there is none.
    pub(super) fn existing_store(&self) -> Result<Arc<Store>> {
        let data = &self.config.data;
        if data.exists() {
            return self.store(data);
        }
        Err(Error::new(Code::NotFound, format!("there is no folder {}", data.display()))
            .advise("--data names the folder of the peer that had the file (. is the one where you are)"))
    }
}

impl Work {
    /// What was asked for is done: from now on a signal is the ordinary end.
    pub(super) fn is_done(&self) {
        self.done.store(true, Ordering::SeqCst);
    }

    /// Whether what was asked for is done.
    pub fn has_done(&self) -> bool {
        self.done.load(Ordering::SeqCst)
    }

    /// A command begins: the next Ctrl-C is its first.
    pub(super) fn begins(&self) {
        self.stop.store(false, Ordering::SeqCst);
        *self.interrupted.lock() = None;
    }

    /// Ctrl-C: the running command is to stop. False when it is the second time within a second, which means "leave".
    pub fn interrupt(&self) -> bool {
        self.stop.store(true, Ordering::SeqCst);
        let before = self.interrupted.lock().replace(Instant::now());
        before.is_none_or(|before| before.elapsed() >= TWICE)
    }

    /// Whether the running command is to stop.
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// From now on this file is written, which a program that ends meanwhile removes.
    pub(super) fn writes(&self, file: &Path) {
        *self.unfinished.lock() = file.to_owned();
    }

    /// Leaves the network in order, which takes two seconds at most; true when what was asked for is done.
    pub fn leave(&self) -> bool {
        if let Some(peer) = self.peer.get().map(Arc::clone) {
            let (left, has_left) = bounded::<()>(0);
            let leave = move || {
                peer.leave();
                drop(left);
            };
            if thread::start("leave", leave).map(Thread::detach).is_ok() {
                let _ = has_left.recv_timeout(LEAVING);
            }
        }
        let _ = fs::remove_file(&*self.unfinished.lock());
        self.has_done()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ctrl_c_twice_leaves_but_not_once_for_each_of_two_commands() {
        let work = Work::default();
        work.begins();
        assert!(work.interrupt() && work.is_stopped());
        work.begins();
        assert!(!work.is_stopped());
        assert!(work.interrupt(), "another command");
        assert!(!work.interrupt(), "the same command");
    }
}
