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
//! - **Told follows offered.** A thread that changes what is offered notes the name as *stale*: so one more file costs
//!   the same, however many there are. The thread `publish` tells the differences, one `update` each; a file that is
//!   told and not there any more, by a `query` (C3). After a new registration, or when the manager asks (`list`),
//!   nothing counts as told. What was dropped is not told. A file that is refused is not told again until the next
//!   registration, or until it is offered again; one that is refused as `busy`, after a minute: there may be room then.
//! - **A fate is decided elsewhere.** A drop, a refusal, a file in the way: each only notes the name as *unsettled*.
//!   The thread `scan_folder` takes it from there ([`replication`](super::replication)).
//! - **A drop counts when it is heard.** Of a file that it lists for this peer the manager has compared the times by
//!   its own clock before it says `drop`, so this drop wins also where our own mark is later. Of another file the later
//!   wins.
//! - With each `ok` goes a [`Fingerprint`] of what was told. So if a list is ever lost, it is noticed.

pub(crate) mod drops;
pub mod offer;
pub(super) mod publish;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::iter;
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{info, warn};
use parking_lot::{Condvar, Mutex};

use self::offer::{Offer, Source};
use super::manager_client::{Listing, ManagerClient};
use super::network::Network;
use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::net::message::{Credentials, Dropped, FromPeer, NOBODY, Refusal};
use crate::share::fingerprint::Fingerprint;
use crate::share::versions::{Mark, SHARE, Versions};
use crate::share::{FileId, FileName};

/// How many offers are taken at a time for one that asks what is offered.
const PAGE: usize = 500;

/// What is known of one name.
#[derive(Clone, Debug, Default)]
pub(super) struct Title {
    /// What is offered.
    pub(super) offer: Option<Arc<Offer>>,
    /// What the manager lists for this peer, and whether as whole.
    told: Option<(FileId, bool)>,
    /// Which bytes it does not list, why, and until when they are not told again.
    pub(super) refused: Option<(FileId, Refusal, Millis)>,
    /// The bytes that are to be fetched, and found others in their way.
    pub(super) wanted: Option<FileId>,
    /// Which bytes were dropped since somebody looked.
    pub(super) dropped: BTreeSet<FileId>,
}

impl Title {
    /// Whether it says anything.
    fn is_left(&self) -> bool {
        self.offer.is_some() || self.told.is_some() || self.wanted.is_some() || !self.dropped.is_empty()
    }
}

#[derive(Debug, Default)]
struct Known {
    rows: BTreeMap<FileName, Title>,
    versions: Versions,
    /// There are drops that the disk does not know.
    unsaved: bool,
    /// Names of which the manager may have been told something else.
    stale: BTreeSet<FileName>,
    /// Names that are told again, and from when on, the next one first.
    busy: VecDeque<(Millis, FileName)>,
    /// Names whose fate is to be decided.
    unsettled: BTreeSet<FileName>,
    print: Fingerprint,
    over: bool,
}

impl Known {
    fn row(&mut self, file: &FileName) -> &mut Title {
        self.rows.entry(file.clone()).or_default()
    }

    /// What the manager lists for this peer under a name is this from now on.
    fn tell(&mut self, file: &FileName, what: Option<(FileId, bool)>) {
        let before = std::mem::replace(&mut self.row(file).told, what);
        for (id, whole) in before.into_iter().chain(what) {
            self.print.toggle(file, id, whole);
        }
        self.tidy(file);
    }

    /// These bytes were dropped. Where the manager listed them for this peer, it does so no more.
    fn heard(&mut self, Dropped { file, id, at }: &Dropped) {
        let mut at = *at;
        let row = self.rows.get(file);
        let told = row.is_some_and(|row| row.told.is_some_and(|(told, _)| told == *id));
        let offered = row.and_then(|row| row.offer.as_ref()).is_some_and(|offer| offer.id() == *id);
        if told {
            at = at.max(self.versions.published(file, *id).unwrap_or_default());
            self.row(file).refused = None;
            self.tell(file, None);
        }
        self.unsaved |= match told || offered {
            true => self.versions.merge(file, *id, Mark::dropped(at)),
            false => self.versions.hear_say(file, *id, at, NOBODY),
        };
    }

    /// A row goes of which nothing is left.
    fn tidy(&mut self, file: &FileName) {
        if self.rows.get(file).is_some_and(|row| !row.is_left()) {
            self.rows.remove(file);
        }
    }
}

/// What this peer offers, and what it knows of it.
#[derive(Debug)]
pub struct Library {
    /// This peer and the others.
    pub(crate) network: Arc<Network>,
    known: Mutex<Known>,
    changed: Condvar,
}

impl Library {
    /// An empty one.
    pub(super) fn new(network: Arc<Network>) -> Self {
        let known = Known { versions: Versions::new(SHARE), ..Known::default() };
        Self { network, known: Mutex::new(known), changed: Condvar::new() }
    }

    /// Offers a file, in the place of another of its name. That is news, also where the last offer was refused.
    pub(crate) fn offer(&self, offer: Arc<Offer>) {
        let mut known = self.known.lock();
        let (file, id) = (offer.name().clone(), offer.id());
        let row = known.row(&file);
        (row.refused, row.wanted) = (None, None);
        if let Some(before) = row.offer.replace(offer) {
            before.end();
        }
        known.versions.forget_others(&file, id);
        known.stale.insert(file);
        self.changed.notify_all();
    }

    /// An offered file has become whole. That is news, also where the part was refused. Where it was dropped in that
    /// very moment, it is not to stay.
    pub(crate) fn completed(&self, file: &FileName) {
        let known = &mut *self.known.lock();
        let row = known.row(file);
        row.refused = None;
        let id = row.offer.as_ref().map(|offer| offer.id());
        if id.is_some_and(|id| known.versions.dropped(file, id).is_some()) {
            known.unsettled.insert(file.clone());
        }
        known.stale.insert(file.clone());
        self.changed.notify_all();
    }

    /// Offers a file no more.
    pub(crate) fn withdraw(&self, file: &FileName) {
        if let Some(offer) = self.get(file) {
            self.take_back(&offer);
        }
    }

    /// Offers a file no more, unless something else is offered in its place.
    pub(crate) fn take_back(&self, offer: &Arc<Offer>) {
        let mut known = self.known.lock();
        let row = known.rows.get_mut(offer.name());
        if row.and_then(|row| row.offer.take_if(|there| Arc::ptr_eq(there, offer))).is_some() {
            offer.end();
            known.stale.insert(offer.name().clone());
        }
        self.changed.notify_all();
    }

    /// Opens what is offered. Where nobody watches the folder, this is where it is seen that it was changed or deleted:
    /// then it is offered no more.
    ///
    /// # Errors
    /// `not_found` when it is no longer what it was.
    pub(crate) fn open(&self, offer: &Arc<Offer>) -> Result<Source> {
        offer.open().inspect_err(|no| {
            if no.code() == Code::NotFound && !offer.store.is_watched() {
                self.take_back(offer);
            }
        })
    }

    /// All that is offered, in the order of the names.
    pub(crate) fn offers(&self) -> Vec<Arc<Offer>> {
        self.known.lock().rows.values().filter_map(|row| row.offer.clone()).collect()
    }

    /// The file of this name, if it is offered.
    pub(crate) fn get(&self, file: &FileName) -> Option<Arc<Offer>> {
        self.known.lock().rows.get(file)?.offer.clone()
    }

    /// The file of this name and content.
    ///
    /// # Errors
    /// `not_found` when it is not offered.
    pub(crate) fn find(&self, file: &FileName, id: FileId) -> Result<Arc<Offer>> {
        self.get(file).filter(|offer| offer.id() == id).ok_or_else(|| {
            Error::new(Code::NotFound, format!("{file} with the id {} is not offered here", id.short()))
                .advise("ask the manager which peers have it")
        })
    }

    /// The answer to `get`. Each page is taken when the one before it is sent: a requester that does not read costs a
    /// page.
    pub(super) fn list(&self) -> impl Iterator<Item = FromPeer> {
        let mut last: Option<FileName> = None;
        let pages = iter::from_fn(move || {
            let page = self.page(last.as_ref());
            last = Some(page.last()?.name().clone());
            Some(page)
        });
        let card = |offer: Arc<Offer>| {
            let (file, id, size) = (offer.name().clone(), offer.id(), offer.manifest.layout().size());
            FromPeer::File { file, id, size, whole: offer.is_whole() }
        };
        pages.flatten().map(card).chain([FromPeer::End {}])
    }

    /// The first [`PAGE`] offers after the last one that was taken.
    fn page(&self, last: Option<&FileName>) -> Vec<Arc<Offer>> {
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        let known = self.known.lock();
        let rows = known.rows.range::<FileName, _>((after, Bound::Unbounded));
        rows.filter_map(|(_, row)| row.offer.clone()).take(PAGE).collect()
    }

    // What the manager knows.

    /// The manager knows nothing of what it was told: it asks for the list again, or there is another one, or none.
    pub(super) fn tell_again(&self) {
        let known = &mut *self.known.lock();
        known.rows.retain(|_, row| {
            (row.told, row.refused) = (None, None);
            row.is_left()
        });
        known.stale = known.rows.keys().cloned().collect();
        known.print = Fingerprint::default();
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
            let row = known.rows.get(file);
            let Some((row, offer)) = row.and_then(|row| Some((row, row.offer.as_ref()?))) else {
                return Err(Error::new(Code::NotFound, format!("{file} is not offered any more"))
                    .advise("it was dropped, changed or deleted; `add` offers a file again"));
            };
            if row.told == Some((offer.id(), offer.is_whole())) {
                return Ok(());
            }
            if let Some((_, why, _)) = row.refused.as_ref().filter(|(id, ..)| *id == offer.id()) {
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
    pub(crate) fn load_drops(&self, path: &Path) {
        self.remember(drops::load(path));
    }

    /// Remembers drops that the disk knows.
    pub(super) fn remember(&self, drops: impl IntoIterator<Item = Dropped>) {
        let known = &mut self.known.lock();
        for Dropped { file, id, at } in drops {
            known.versions.merge(&file, id, Mark::dropped(at));
        }
    }

    /// Writes the drops to a file, unless it knows them all. What fails is tried again the next time.
    pub(crate) fn save_drops(&self, path: &Path) {
        // What comes between these two is saved, and then saved again.
        if !std::mem::take(&mut self.known.lock().unsaved) {
            return;
        }
        if let Err(e) = drops::save(path, &self.drops()) {
            self.known.lock().unsaved = true;
            warn!("{e}");
        }
    }

    /// All drops that are remembered: rumours first, then what was seen here, each oldest first.
    pub(crate) fn drops(&self) -> Vec<Dropped> {
        let known = self.known.lock();
        known.versions.drops().map(|(at, file, id)| Dropped { file: file.clone(), id, at }).collect()
    }

    /// The manager has said `drop`.
    pub(super) fn dropped(&self, drop: &Dropped) {
        let mut known = self.known.lock();
        known.heard(drop);
        known.row(&drop.file).dropped.insert(drop.id);
        known.unsettled.insert(drop.file.clone());
        self.changed.notify_all();
    }

    /// The same, at a peer that came for one command: it has no folder to look after, and only offers them no more.
    pub(super) fn end(&self, drop: &Dropped) {
        self.known.lock().heard(drop);
        self.find(&drop.file, drop.id).iter().for_each(|offer| self.take_back(offer));
    }

    /// When these bytes of this name were dropped, unless they were published later.
    pub(crate) fn when_dropped(&self, file: &FileName, id: FileId) -> Option<Millis> {
        self.known.lock().versions.dropped(file, id)
    }

    /// A person has put these bytes under this name, then.
    pub(crate) fn published(&self, file: &FileName, id: FileId, at: Millis) {
        let mut known = self.known.lock();
        let dropped = known.versions.dropped(file, id).is_some();
        if known.versions.merge(file, id, Mark::published(at)) && dropped {
            known.unsaved = true;
            // What is offered was not told, because it was dropped.
            known.stale.insert(file.clone());
            self.changed.notify_all();
        }
    }

    /// What the manager lists under a name. Where this peer remembers that those bytes were dropped, a manager that was
    /// restarted may not have heard of it yet: it is told here, too. What it lists all the same was put there since,
    /// and counts as published in the moment after the drop.
    ///
    /// # Errors
    /// As [`ManagerClient::query`].
    pub(crate) fn look_up(
        &self,
        manager: &mut ManagerClient,
        who: &Credentials,
        file: &FileName,
    ) -> Result<Listing> {
        let found = manager.query(who, file)?;
        let id = found.manifest.id();
        let Some(at) = self.when_dropped(file, id) else { return Ok(found) };
        match manager.drop_file(&self.network.credentials(), file, Some(id), Some(at)) {
            Err(no) if no.code() != Code::NotFound => return Err(no),
            _ => {}
        }
        let found = manager.query(who, file)?;
        if found.manifest.id() == id {
            info!("{file} is there again after it was dropped");
            self.published(file, id, at.saturating_add(1));
        }
        Ok(found)
    }

    // What is to be decided.

    /// A download of these bytes has found others in its way.
    pub(super) fn in_the_way(&self, file: &FileName, wanted: FileId) {
        let mut known = self.known.lock();
        known.row(file).wanted = Some(wanted);
        known.unsettled.insert(file.clone());
        self.changed.notify_all();
    }

    /// The end of a pause: what was dropped meanwhile is to be looked at.
    pub(super) fn unsettle_dropped(&self) {
        let known = &mut *self.known.lock();
        let dropped = known.rows.iter().filter(|(_, row)| !row.dropped.is_empty());
        known.unsettled.extend(dropped.map(|(file, _)| file.clone()));
    }

    /// What is to be known of a name that is unsettled. While the folder is paused, drops are kept for later.
    pub(super) fn take_unsettled(&self, file: &FileName, paused: bool) -> Title {
        let known = &mut *self.known.lock();
        let Some(row) = known.rows.get_mut(file) else { return Title::default() };
        let mut taken = row.clone();
        row.wanted = None;
        match paused {
            true => taken.dropped.clear(),
            false => row.dropped.clear(),
        }
        known.tidy(file);
        taken
    }

    /// Waits for a name that is unsettled; `None` when there is none until `next`, or this peer leaves.
    pub(super) fn next_unsettled(&self, next: Instant) -> Option<FileName> {
        let mut known = self.known.lock();
        self.changed.wait_while_until(&mut known, |known| known.unsettled.is_empty() && !known.over, next);
        if known.over { None } else { known.unsettled.pop_first() }
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
    }

    /// Whether this peer is leaving.
    pub(super) fn is_over(&self) -> bool {
        self.known.lock().over
    }
}

#[cfg(test)]
mod tests;
