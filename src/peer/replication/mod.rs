//! What a peer does for the network with its shared folder: it keeps copies.

pub mod context;
mod decide;
mod folder;
mod orders;
mod watch;

use std::sync::Arc;

use self::context::Replication;
use self::folder::Folder;
use self::orders::obey_fetch;
use super::config::Config;
use super::library::Library;
use super::swarm::upload::Uploads;
use crate::error::Result;
use crate::share::store::Store;
use crate::thread::{self, Thread};

/// How many files are fetched at once: as many as the manager orders of one peer.
const WORKERS: usize = 4;

/// Starts the threads.
///
/// # Errors
/// When no thread can be started.
pub(super) fn start(
    config: &Config,
    store: Arc<Store>,
    library: Arc<Library>,
    uploads: Arc<Uploads>,
) -> Result<(Arc<Replication>, Vec<Thread>)> {
    let replication = Arc::new(Replication::new(config.scan, store, library, uploads));
    let mut threads = Vec::new();
    for _ in 0..WORKERS {
        let replication = Arc::clone(&replication);
        threads.push(thread::start("obey_fetch", move || obey_fetch(&replication))?);
    }
    // Before the manager is asked for anything, so that the drops it is told of are known.
    let mut folder = Folder::new(Arc::clone(&replication));
    threads.push(thread::start("scan_folder", move || folder.scan_folder())?);
    Ok((replication, threads))
}
