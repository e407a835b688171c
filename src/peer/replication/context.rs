//! Replication copies: what a peer does for the network with its shared folder.
//!
//! # Who does what
//! ```text
//!   scan_folder    one a peer     looks into the folder every few seconds, and is the only one that moves files in it:
//!                                 what is dropped goes to the trash, what has another's name is set aside
//!   obey_fetch     four a peer    fetch what the manager asks for, each one file after another
//! ```
//! The manager's orders (`fetch`, `drop`) come in through the membership, which must not wait for a disk. So they are
//! put into queues here, in memory.
//!
//! The lock is held for a moment only, and never across I/O.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use log::warn;
use parking_lot::{Condvar, Mutex};

use crate::peer::config::Config;
use crate::peer::library::drops::Drop;
use crate::peer::library::{Library, Task};
use crate::peer::swarm::upload::Uploads;
use crate::share::store::Store;
use crate::share::{FileId, FileName};

/// A fetch that runs.
#[derive(Debug, Default)]
struct Fetch {
    stop: Arc<AtomicBool>,
    /// Which bytes it fetches, once the tracker has said so.
    id: Option<FileId>,
    /// Which bytes of this name were dropped before that was known.
    dropped: Vec<FileId>,
}

/// How many notes are kept for `status`.
const NOTES: usize = 8;

/// How many files may wait to be fetched; the manager repeats what is forgotten.
const QUEUE: usize = 10_000;

#[derive(Debug, Default)]
struct State {
    queue: VecDeque<FileName>,
    queued: BTreeSet<FileName>,
    running: BTreeMap<FileName, Fetch>,
    /// Why nothing is told or fetched.
    paused: Option<String>,
    notes: VecDeque<(Instant, String)>,
    over: bool,
}

/// What is kept, and what is to be done for it.
#[derive(Debug)]
pub struct Replication {
    /// How often it looks into its folder.
    pub scan: Duration,
    /// Its folder.
    pub store: Arc<Store>,
    /// What it offers.
    pub library: Arc<Library>,
    /// What it uploads.
    pub(crate) uploads: Arc<Uploads>,
    tasks: Sender<Task>,
    state: Mutex<State>,
    changed: Condvar,
}

/// What `status` shows.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct ReplicationStatus {
    /// Files that are being fetched by order of the manager.
    pub fetching: Vec<FileName>,
    /// How many wait for that.
    pub waiting: usize,
    /// Why nothing is told or fetched, if so.
    pub paused: Option<String>,
    /// What happened to files here, the last last.
    pub notes: Vec<String>,
}

impl Replication {
    /// Without its threads; what they would be asked for comes out of the receiver.
    pub(super) fn new(
        config: &Config,
        store: Arc<Store>,
        library: Arc<Library>,
        uploads: Arc<Uploads>,
    ) -> (Arc<Self>, Receiver<Task>) {
        let (tasks, todo) = unbounded();
        library.tell_refusals_to(tasks.clone());
        let replication = Arc::new(Self {
            scan: config.scan,
            store,
            library,
            uploads,
            tasks,
            state: Mutex::default(),
            changed: Condvar::new(),
        });
        (replication, todo)
    }

    /// The manager said `fetch`.
    pub fn fetch(&self, file: FileName) {
        let mut state = self.state.lock();
        let known = state.running.contains_key(&file) || state.queued.contains(&file);
        if known || state.paused.is_some() || state.queue.len() >= QUEUE {
            return;
        }
        state.queued.insert(file.clone());
        state.queue.push_back(file);
        self.changed.notify_one();
    }

    /// The manager said `drop`: a fetch of those bytes ends, and the rest is for the thread that may move files. That
    /// one may be hashing for minutes. So the drop is remembered here, at once: an order that comes after it, because
    /// somebody has put the file back, finds it, and makes it void before it is carried out.
    pub fn dropped(&self, drop: Drop) {
        self.give_up(&drop.file, drop.id);
        self.library.drops().remember(&drop);
        let listed = self.library.is_told(&drop.file, drop.id);
        self.ask(Task::Drop { drop, listed });
    }

    /// Ends a fetch of these bytes; one of others under the same name goes on. One that waits in the queue need not be
    /// ended: the tracker will say which bytes it is to fetch, if any.
    fn give_up(&self, file: &FileName, id: FileId) {
        let mut state = self.state.lock();
        let Some(fetch) = state.running.get_mut(file) else { return };
        match fetch.id {
            Some(wanted) if wanted == id => fetch.stop.store(true, Ordering::SeqCst),
            Some(_) => {}
            None => fetch.dropped.push(id),
        }
    }

    /// A fetch is one of these bytes; false when they were dropped while the tracker was asked for them.
    pub(super) fn fetches(&self, file: &FileName, id: FileId) -> bool {
        let mut state = self.state.lock();
        let Some(fetch) = state.running.get_mut(file) else { return true };
        fetch.id = Some(id);
        !std::mem::take(&mut fetch.dropped).contains(&id)
    }

    /// Asks the thread `scan_folder` for something.
    pub fn ask(&self, task: Task) {
        // It lives as long as this.
        let _ = self.tasks.send(task);
    }

    /// The next file to fetch, and a flag that says when to stop; `None` when this peer leaves.
    pub(super) fn next_fetch(&self) -> Option<(FileName, Arc<AtomicBool>)> {
        let mut state = self.state.lock();
        loop {
            if state.over {
                return None;
            }
            if let Some(file) = state.queue.pop_front() {
                state.queued.remove(&file);
                let fetch = Fetch::default();
                let stop = Arc::clone(&fetch.stop);
                state.running.insert(file.clone(), fetch);
                return Some((file, stop));
            }
            self.changed.wait(&mut state);
        }
    }

    /// A fetch has ended.
    pub(super) fn fetched(&self, file: &FileName) {
        self.state.lock().running.remove(file);
    }

    /// Something happened to a file of a person, who wants to know.
    pub fn note(&self, text: String) {
        warn!("{text}");
        let mut state = self.state.lock();
        state.notes.push_back((Instant::now(), text));
        if state.notes.len() > NOTES {
            state.notes.pop_front();
        }
    }

    /// From now on nothing is told and nothing fetched, or, with `None`, again.
    pub(super) fn pause(&self, why: Option<String>) {
        let mut state = self.state.lock();
        if state.paused == why {
            return;
        }
        match &why {
            Some(why) => warn!("paused: {why}"),
            None => warn!("the folder {} is as it was: going on", self.store.dir().display()),
        }
        if why.is_some() {
            state.queue.clear();
            state.queued.clear();
            state.running.values().for_each(|fetch| fetch.stop.store(true, Ordering::SeqCst));
        }
        state.paused = why;
    }

    /// Whether nothing is told and nothing fetched.
    pub fn is_paused(&self) -> bool {
        self.state.lock().paused.is_some()
    }

    /// What `status` shows.
    pub fn status(&self) -> ReplicationStatus {
        let state = self.state.lock();
        let note = |(when, text): &(Instant, String)| format!("{} s ago: {text}", when.elapsed().as_secs());
        ReplicationStatus {
            fetching: state.running.keys().cloned().collect(),
            waiting: state.queue.len(),
            paused: state.paused.clone(),
            notes: state.notes.iter().map(note).collect(),
        }
    }

    /// Ends the threads.
    pub fn leave(&self) {
        self.store.stop();
        let mut state = self.state.lock();
        state.over = true;
        state.running.values().for_each(|fetch| fetch.stop.store(true, Ordering::SeqCst));
        self.changed.notify_all();
        self.ask(Task::Leave);
    }
}
