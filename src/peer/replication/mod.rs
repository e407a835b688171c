//! What a peer does for the network with its shared folder: it keeps copies.

pub mod folder;
pub mod keeping;
pub mod orders;
pub mod watch;

use std::sync::Arc;

use self::folder::{Folder, scan_folder};
use self::keeping::Keeping;
use self::orders::obey_fetch;
use super::config::Config;
use super::library::Sharing;
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
    sharing: Arc<Sharing>,
    uploads: Arc<Uploads>,
) -> Result<(Arc<Keeping>, Vec<Thread>)> {
    let (keeping, todo) = Keeping::new(config, store, sharing, uploads);
    let mut threads = Vec::new();
    for _ in 0..WORKERS {
        let keeping = Arc::clone(&keeping);
        threads.push(thread::start("obey_fetch", move || obey_fetch(&keeping))?);
    }
    // Before the manager is asked for anything, so that the drops it is told of are known.
    let mut folder = Folder::new(Arc::clone(&keeping));
    threads.push(thread::start("scan_folder", move || scan_folder(&mut folder, &todo))?);
    Ok((keeping, threads))
}
