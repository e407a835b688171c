//! The library: what is known of each file of this peer, kept once.
//!
//! # The problem
//! Many threads have to do with one file: a look at the folder finds it, a download completes it, the manager lists it,
//! refuses it, drops it. If each kept what it knows for itself, no two would agree. And the manager keeps no database,
//! and connections break: what it was told once, it may have forgotten.
//!
//! # The rule
//! There is one row for each name: what is *offered*, what the manager was *told*, what it *refused*, which other bytes
//! are *wanted* in its place; and one record of [`Versions`], which says of each content when it was published or
//! dropped. All of it stands behind one lock, which is held for a moment and never across I/O.
//!
//! - **Told follows offered.** A thread that changes what is offered notes the name as *stale*: so one more file costs the
//!   same, however many there are. The thread `publish` tells the differences, one `update` each; a file that is told
//!   and not there any more, by a `query` (C3). After a new registration, or when the manager asks (`list`), nothing
//!   counts as told. What was dropped is not told. A file that is refused is not told again until the next
//!   registration, or until it is offered again.
//! - **A fate is decided elsewhere.** A drop, a refusal, a file in the way: each only notes the name as *unsettled*.
//!   The thread `scan_folder` takes it from there ([`replication`](super::replication)).
//! - **A drop counts when it is heard.** Of a file that it lists for this peer the manager has compared the times by its
//!   own clock before it says `drop`, so this drop wins also where our own mark is later. Of another file the later wins.
//! - With each `ok` goes a [`Fingerprint`] of what was told. So if a list is ever lost, it is noticed.

pub(crate) mod drops;
pub mod offer;
mod publish;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use parking_lot::{Condvar, Mutex, MutexGuard};

use self::drops::Dropped;
use self::offer::Offer;
use super::network::Network;
use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::net::message::{FromPeer, Refusal};
use crate::net::outbox::Outbox;
use crate::share::fingerprint::Fingerprint;
use crate::share::store::Store;
use crate::share::versions::{Mark, Versions};
use crate::share::{FileId, FileName};
use crate::thread::{self, Thread};

/// How many drops a peer remembers, some 300 bytes each; when there are more, the oldest go.
const ROOM: usize = 10_000;

/// What is known of one name.
#[derive(Debug, Default)]
struct Title {
    offer: Option<Arc<Offer>>,
    /// What the manager lists for this peer, and whether as whole.
    told: Option<(FileId, bool)>,
    /// What it does not list, and why.
    refused: Option<(FileId, Refusal)>,
    /// The bytes that are to be fetched, and found others in their way.
    wanted: Option<FileId>,
    /// Which bytes were dropped since somebody looked.
    dropped: Vec<FileId>,
}

/// What is to be known to decide about a name.
#[derive(Debug, Default)]
pub(super) struct Case {
    /// What is offered.
    pub(super) offer: Option<Arc<Offer>>,
    /// Which bytes the manager does not list, and why.
    pub(super) refused: Option<(FileId, Code)>,
    /// The bytes that are to be fetched, and found others in their way.
    pub(super) wanted: Option<FileId>,
    /// Which bytes were dropped since somebody looked.
    pub(super) dropped: Vec<FileId>,
}

#[derive(Debug)]
struct Known {
    rows: BTreeMap<FileName, Title>,
    versions: Versions,
    /// There are drops that the disk does not know.
    unsaved: bool,
    /// Names of which the manager may have been told something else.
    stale: BTreeSet<FileName>,
    /// Names whose fate is to be decided.
    unsettled: BTreeSet<FileName>,
    print: Fingerprint,
    over: bool,
}

impl Known {
    fn row(&mut self, file: &FileName) -> &mut Title {
        self.rows.entry(file.clone()).or_default()
    }

    fn offer(&self, file: &FileName) -> Option<&Arc<Offer>> {
        self.rows.get(file)?.offer.as_ref()
    }

    fn offers(&self) -> impl Iterator<Item = &Arc<Offer>> {
        self.rows.values().filter_map(|row| row.offer.as_ref())
    }

    fn is_told(&self, file: &FileName, id: FileId) -> bool {
        self.rows.get(file).and_then(|row| row.told).is_some_and(|(told, _)| told == id)
    }

    /// What the manager lists for this peer under a name is this from now on.
    fn tell(&mut self, file: &FileName, what: Option<(FileId, bool)>) {
        let before = std::mem::replace(&mut self.row(file).told, what);
        for (id, whole) in before.into_iter().chain(what) {
            self.print.toggle(file, id, whole);
        }
    }

    fn forget_told(&mut self) {
        self.rows.retain(|_, row| {
            (row.told, row.refused) = (None, None);
            row.offer.is_some() || row.wanted.is_some() || !row.dropped.is_empty()
        });
        self.stale = self.rows.keys().cloned().collect();
        self.print = Fingerprint::default();
    }
}

/// What came of waiting for something to decide.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// The fate of this name is to be decided.
    Settle(FileName),
    /// The time is over.
    Look,
    /// This peer leaves.
    Leave,
}

/// What this peer offers, and what it knows of it.
#[derive(Debug)]
pub struct Library {
    network: Arc<Network>,
    known: Mutex<Known>,
    changed: Condvar,
    to_settle: Condvar,
}

impl Library {
    /// An empty one.
    pub(super) fn new(network: Arc<Network>) -> Self {
        let known = Known {
            rows: BTreeMap::new(),
            versions: Versions::new(ROOM),
            unsaved: false,
            stale: BTreeSet::new(),
            unsettled: BTreeSet::new(),
            print: Fingerprint::default(),
            over: false,
        };
        Self { network, known: Mutex::new(known), changed: Condvar::new(), to_settle: Condvar::new() }
    }

    /// This peer and the others.
    pub(crate) fn network(&self) -> &Network {
        &self.network
    }

    /// Offers a file, in the place of another of its name. That is news, also where the last offer was refused.
    pub(crate) fn offer(&self, offer: Arc<Offer>) {
        let mut known = self.known.lock();
        let (file, id) = (offer.name().clone(), offer.id());
        let row = known.row(&file);
        (row.refused, row.wanted) = (None, None);
        if let Some(before) = row.offer.replace(offer) {
            before.end();
            if before.id() != id {
                known.versions.forget(&file, before.id());
            }
        }
        known.stale.insert(file);
        self.changed.notify_all();
    }

    /// An offered file has become whole.
    pub(crate) fn completed(&self, file: &FileName) {
        self.known.lock().stale.insert(file.clone());
        self.changed.notify_all();
    }

    /// Offers a file no more.
    pub(crate) fn withdraw(&self, file: &FileName) {
        self.withdraw_if(file, |_| true);
    }

    /// Offers a file no more, unless something else is offered in its place.
    pub(crate) fn take_back(&self, offer: &Arc<Offer>) {
        self.withdraw_if(offer.name(), |there| Arc::ptr_eq(there, offer));
    }

    fn withdraw_if(&self, file: &FileName, which: impl FnOnce(&Arc<Offer>) -> bool) {
        let mut known = self.known.lock();
        if let Some(offer) = known.rows.get_mut(file).and_then(|row| row.offer.take_if(|offer| which(offer)))
        {
            offer.end();
            known.stale.insert(file.clone());
        }
        self.changed.notify_all();
    }

    /// The file of this name, if it is offered.
    pub(crate) fn get(&self, file: &FileName) -> Option<Arc<Offer>> {
        self.known.lock().offer(file).cloned()
    }

    /// The file of this name and content.
    ///
    /// # Errors
    /// `not_found` when it is not offered.
    pub(crate) fn find(&self, file: &FileName, id: FileId) -> Result<Arc<Offer>> {
        self.get(file).filter(|offer| offer.id() == id).ok_or_else(|| {
            Error::new(Code::NotFound, format!("{file} with the id {} is not offered here", id.short()))
                .advise("ask the manager who has it")
        })
    }

    /// The answer to `get`.
    pub(super) fn list(&self) -> Vec<FromPeer> {
        let card = |offer: &Arc<Offer>| {
            let manifest = offer.manifest();
            let (file, id, size) = (manifest.name().clone(), manifest.id(), manifest.layout().size());
            FromPeer::File { file, id, size, whole: offer.is_whole() }
        };
        self.known.lock().offers().map(card).chain([FromPeer::End {}]).collect()
    }

    /// The files of which all is there, in the order of their names.
    pub(super) fn whole(&self) -> Vec<Arc<Offer>> {
        self.known.lock().offers().filter(|offer| offer.is_whole()).cloned().collect()
    }

    /// The whole files that are offered from a folder, in the order of their names.
    pub(super) fn whole_in(&self, store: &Arc<Store>) -> Vec<(FileName, FileId)> {
        let here = self.whole().into_iter().filter(|offer| Arc::ptr_eq(offer.store(), store));
        here.map(|offer| (offer.name().clone(), offer.id())).collect()
    }

    /// How many files are offered.
    pub(crate) fn count(&self) -> usize {
        self.known.lock().offers().count()
    }

    // What the manager knows.

    /// The manager knows nothing of what it was told: it asks for the list again, or there is another one, or none.
    pub(super) fn tell_again(&self) {
        self.known.lock().forget_told();
        self.changed.notify_all();
    }

    /// What the list that was told comes to; `None` where nothing was.
    pub(super) fn fingerprint(&self) -> Option<Fingerprint> {
        let known = self.known.lock();
        known.rows.values().any(|row| row.told.is_some()).then_some(known.print)
    }

    /// The manager has taken this peer off a file, because it was asked to.
    pub(super) fn taken_off(&self, file: &FileName) {
        self.known.lock().tell(file, None);
    }

    /// Waits until the manager knows of a file.
    ///
    /// # Errors
    /// `conflict` when it refuses it; a plain failure when it does not answer in time.
    pub(crate) fn wait_until_told(&self, file: &FileName, patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        let mut known = self.known.lock();
        loop {
            let Some(row) = known.rows.get(file) else { return Err(not_offered(file)) };
            let Some(offer) = &row.offer else { return Err(not_offered(file)) };
            if row.told == Some((offer.id(), offer.is_whole())) {
                return Ok(());
            }
            if let Some((_, why)) = row.refused.as_ref().filter(|(id, _)| *id == offer.id()) {
                return Err(why.clone().into());
            }
            if self.changed.wait_until(&mut known, end).timed_out() {
                return Err(Error::failed(format!("the manager has not been told of {file} yet"))
                    .advise("`why` says what is waited for"));
            }
        }
    }

    // What was published and dropped.

    /// Remembers the drops in a file.
    pub(super) fn load_drops(&self, path: &Path) {
        let known = &mut self.known.lock();
        for Dropped { file, id, at } in drops::load(path) {
            known.versions.merge(&file, id, Mark::dropped(at));
        }
    }

    /// Writes the drops to a file, unless it knows them all. What fails is tried again the next time.
    pub(super) fn save_drops(&self, path: &Path) {
        let drops = {
            let mut known = self.known.lock();
            if !std::mem::take(&mut known.unsaved) {
                return;
            }
            all_drops(&known.versions).collect::<Vec<_>>()
        };
        if let Err(e) = drops::save(path, &drops) {
            self.known.lock().unsaved = true;
            warn!("{e}");
        }
    }

    /// Tells a manager all drops, in the conversation in which this peer is registered.
    pub(super) fn tell_drops(&self, line: &Outbox) {
        let drops: Vec<_> = all_drops(&self.known.lock().versions).collect();
        drops::tell(line, drops.into_iter().rev());
    }

    /// The manager has said `drop`. Where it listed these bytes for this peer, it does so no more.
    pub(super) fn dropped(&self, drop: &Dropped) {
        let Dropped { file, id, at } = drop;
        let mut known = self.known.lock();
        let mut at = *at;
        if known.is_told(file, *id) {
            at = at.max(known.versions.published(file, *id).unwrap_or_default());
            known.tell(file, None);
            known.row(file).refused = None;
        }
        known.row(file).dropped.push(*id);
        known.unsaved |= known.versions.merge(file, *id, Mark::dropped(at));
        self.unsettle(known, file);
    }

    /// When these bytes of this name were dropped, unless they were published later.
    pub(super) fn when_dropped(&self, file: &FileName, id: FileId) -> Option<Millis> {
        self.known.lock().versions.dropped(file, id)
    }

    /// A person has put these bytes under this name, then.
    pub(crate) fn published(&self, file: &FileName, id: FileId, at: Millis) {
        let mut known = self.known.lock();
        let dropped = known.versions.dropped(file, id).is_some();
        known.unsaved |= known.versions.merge(file, id, Mark::published(at)) && dropped;
    }

    /// The manager lists these bytes though this peer remembers their drop, if it does: so somebody has put them there
    /// since, and they count as published in the moment after the drop.
    pub(crate) fn put_back(&self, file: &FileName, id: FileId) {
        if let Some(at) = self.when_dropped(file, id) {
            info!("{file} is there again after it was dropped");
            self.published(file, id, at + 1);
        }
    }

    // What is to be decided.

    fn unsettle(&self, mut known: MutexGuard<'_, Known>, file: &FileName) {
        known.unsettled.insert(file.clone());
        self.to_settle.notify_one();
        self.changed.notify_all();
    }

    /// A download of these bytes has found others in its way.
    pub(super) fn in_the_way(&self, file: &FileName, wanted: FileId) {
        let mut known = self.known.lock();
        known.row(file).wanted = Some(wanted);
        self.unsettle(known, file);
    }

    /// The end of a pause: what was dropped meanwhile is to be looked at.
    pub(super) fn unsettle_dropped(&self) {
        let known = &mut *self.known.lock();
        let dropped = known.rows.iter().filter(|(_, row)| !row.dropped.is_empty());
        known.unsettled.extend(dropped.map(|(file, _)| file.clone()));
    }

    /// What is to be known of a name that is unsettled. While the folder is paused, drops are kept for later.
    pub(super) fn take_case(&self, file: &FileName, paused: bool) -> Case {
        let known = &mut *self.known.lock();
        let Some(row) = known.rows.get_mut(file) else { return Case::default() };
        let case = Case {
            offer: row.offer.clone(),
            refused: row.refused.as_ref().map(|(id, no)| (*id, no.code)),
            wanted: row.wanted.take(),
            dropped: if paused { Vec::new() } else { std::mem::take(&mut row.dropped) },
        };
        if row.offer.is_none() && row.told.is_none() && row.dropped.is_empty() {
            known.rows.remove(file);
        }
        case
    }

    /// Waits for a name that is unsettled, until `next`.
    pub(super) fn next_unsettled(&self, next: Instant) -> Wake {
        let mut known = self.known.lock();
        loop {
            if known.over {
                return Wake::Leave;
            }
            if let Some(file) = known.unsettled.pop_first() {
                return Wake::Settle(file);
            }
            if self.to_settle.wait_until(&mut known, next).timed_out() {
                return Wake::Look;
            }
        }
    }

    /// Whether nothing waits to be decided.
    pub(super) fn is_settled(&self) -> bool {
        self.known.lock().unsettled.is_empty()
    }

    // The end.

    /// Ends the threads.
    pub(super) fn leave(&self) {
        self.known.lock().over = true;
        self.changed.notify_all();
        self.to_settle.notify_all();
    }

    /// Whether this peer is leaving.
    pub(super) fn is_over(&self) -> bool {
        self.known.lock().over
    }

    /// Starts the thread that tells the manager.
    ///
    /// # Errors
    /// When it cannot be started.
    pub(super) fn start(self: &Arc<Self>) -> Result<Thread> {
        let library = Arc::clone(self);
        thread::start("publish", move || library.publish())
    }
}

fn all_drops(versions: &Versions) -> impl DoubleEndedIterator<Item = Dropped> {
    versions.drops().map(|(at, file, id)| Dropped { file: file.clone(), id: *id, at: *at })
}

fn not_offered(file: &FileName) -> Error {
    Error::failed(format!("{file} is not offered any more"))
}
