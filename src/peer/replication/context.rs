//! What the threads of replication share: the orders of the manager, why nothing is done, and notes for `status`.
//!
//! The manager's words (`fetch`, `drop`) come in through the membership, which must not wait for a disk. So orders are
//! put into a queue here, and drops into the library. The lock is held for a moment only, and never across I/O; under
//! it the library's may be taken, so that a drop is heard either before the tracker has said which bytes a download is
//! of, or after.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use log::warn;
use parking_lot::{Condvar, Mutex};

use crate::peer::library::Library;
use crate::peer::library::drops::Dropped;
use crate::peer::swarm::upload::Uploads;
use crate::share::store::Store;
use crate::share::{FileId, FileName};

/// How many notes are kept for `status`.
const NOTES: usize = 8;

/// How many files may wait to be fetched; the manager repeats what is forgotten.
const QUEUE: usize = 10_000;

/// An order that is being carried out.
#[derive(Debug, Default)]
struct Fetch {
    stop: Arc<AtomicBool>,
    /// Which bytes it fetches, once the tracker has said so.
    id: Option<FileId>,
    /// Which bytes of this name were dropped before that was known.
    dropped: Vec<FileId>,
}

#[derive(Debug, Default)]
struct Orders {
    queue: VecDeque<FileName>,
    queued: BTreeSet<FileName>,
    running: BTreeMap<FileName, Fetch>,
    /// Why nothing is told or fetched.
    paused: Option<String>,
    notes: VecDeque<(Instant, String)>,
    over: bool,
}

/// What a peer does for the network with its shared folder.
#[derive(Debug)]
pub struct Replication {
    pub(super) scan: Duration,
    pub(crate) store: Arc<Store>,
    pub(super) library: Arc<Library>,
    pub(super) uploads: Arc<Uploads>,
    orders: Mutex<Orders>,
    changed: Condvar,
}

/// What `status` shows.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct ReplicationStatus {
    /// Files that are being fetched by order of the manager.
    pub(crate) fetching: Vec<FileName>,
    /// How many wait for that.
    pub(crate) waiting: usize,
    /// Why nothing is told or fetched, if so.
    pub(crate) paused: Option<String>,
    /// What happened to files here, the last last.
    pub(crate) notes: Vec<String>,
}

impl Replication {
    /// In a folder that is looked into every `scan`; without its threads.
    pub(super) fn new(
        scan: Duration,
        store: Arc<Store>,
        library: Arc<Library>,
        uploads: Arc<Uploads>,
    ) -> Self {
        Self { scan, store, library, uploads, orders: Mutex::default(), changed: Condvar::new() }
    }

    /// The manager said `fetch`.
    pub(crate) fn fetch(&self, file: FileName) {
        let mut orders = self.orders.lock();
        let known = orders.running.contains_key(&file) || orders.queued.contains(&file);
        if known || orders.paused.is_some() || orders.queue.len() >= QUEUE {
            return;
        }
        orders.queued.insert(file.clone());
        orders.queue.push_back(file);
        self.changed.notify_one();
    }

    /// The manager said `drop`: the library remembers it at once, and a download of those bytes ends; one of others under
    /// the same name goes on. One that waits in the queue need not be ended: the tracker will say which bytes it is
    /// to fetch, if any.
    pub(crate) fn dropped(&self, drop: &Dropped) {
        let mut orders = self.orders.lock();
        self.library.dropped(drop);
        let Some(fetch) = orders.running.get_mut(&drop.file) else { return };
        match fetch.id {
            Some(wanted) if wanted == drop.id => fetch.stop.store(true, Ordering::SeqCst),
            Some(_) => {}
            None => fetch.dropped.push(drop.id),
        }
    }

    /// An order is one of these bytes, which the manager lists; false when they were dropped while it was asked for them.
    pub(super) fn fetches(&self, file: &FileName, id: FileId) -> bool {
        let mut orders = self.orders.lock();
        let Some(fetch) = orders.running.get_mut(file) else { return true };
        fetch.id = Some(id);
        if std::mem::take(&mut fetch.dropped).contains(&id) {
            return false;
        }
        self.library.put_back(file, id);
        true
    }

    /// The next file to fetch, and a flag that says when to stop; `None` when this peer leaves.
    pub(super) fn next_order(&self) -> Option<(FileName, Arc<AtomicBool>)> {
        let mut orders = self.orders.lock();
        loop {
            if orders.over {
                return None;
            }
            if let Some(file) = orders.queue.pop_front() {
                orders.queued.remove(&file);
                let fetch = Fetch::default();
                let stop = Arc::clone(&fetch.stop);
                orders.running.insert(file.clone(), fetch);
                return Some((file, stop));
            }
            self.changed.wait(&mut orders);
        }
    }

    /// An order has been carried out, well or badly.
    pub(super) fn fetched(&self, file: &FileName) {
        self.orders.lock().running.remove(file);
    }

    /// Something happened to a file of a person, who wants to know.
    pub(super) fn note(&self, text: String) {
        warn!("{text}");
        let mut orders = self.orders.lock();
        orders.notes.push_back((Instant::now(), text));
        if orders.notes.len() > NOTES {
            orders.notes.pop_front();
        }
    }

    /// From now on nothing is told and nothing fetched, or, with `None`, again. True when that is a change.
    pub(super) fn pause(&self, why: Option<String>) -> bool {
        let mut orders = self.orders.lock();
        if orders.paused == why {
            return false;
        }
        match &why {
            Some(why) => warn!("paused: {why}"),
            None => warn!("the folder {} is as it was: going on", self.store.dir().display()),
        }
        if why.is_some() {
            orders.queue.clear();
            orders.queued.clear();
            orders.running.values().for_each(|fetch| fetch.stop.store(true, Ordering::SeqCst));
        }
        orders.paused = why;
        true
    }

    /// Whether nothing is told and nothing fetched.
    pub(super) fn is_paused(&self) -> bool {
        self.orders.lock().paused.is_some()
    }

    /// What `status` shows.
    pub(crate) fn status(&self) -> ReplicationStatus {
        let orders = self.orders.lock();
        let note = |(when, text): &(Instant, String)| format!("{} s ago: {text}", when.elapsed().as_secs());
        ReplicationStatus {
            fetching: orders.running.keys().cloned().collect(),
            waiting: orders.queue.len(),
            paused: orders.paused.clone(),
            notes: orders.notes.iter().map(note).collect(),
        }
    }

    /// Ends the threads.
    pub(crate) fn leave(&self) {
        self.store.stop();
        let mut orders = self.orders.lock();
        orders.over = true;
        orders.running.values().for_each(|fetch| fetch.stop.store(true, Ordering::SeqCst));
        self.changed.notify_all();
    }
}
