//! What a peer does for the network with its shared folder: it keeps copies.

mod decide;
mod folder;
pub mod orders;
mod watch;

use std::sync::Arc;

use self::folder::Folder;
use self::orders::Replication;
use crate::error::Result;
use crate::thread::{self, Thread};

/// How many files are fetched at once: as many as the manager orders of one peer.
const WORKERS: usize = 4;

/// Starts the threads, and adds them to those that run.
///
/// # Errors
/// When no thread can be started.
pub(super) fn start(replication: &Arc<Replication>, threads: &mut Vec<Thread>) -> Result<()> {
    for _ in 0..WORKERS {
        let replication = Arc::clone(replication);
        threads.push(thread::start("obey_fetch", move || replication.obey_fetch())?);
    }
    // Before the manager is asked for anything, so that the drops it is told of are known.
    let mut folder = Folder::new(Arc::clone(replication));
    threads.push(thread::start("scan_folder", move || folder.scan_folder())?);
    Ok(())
}

#[cfg(test)]
#[path = "../../../tests/sim/peer.rs"]
pub(crate) mod sim;
