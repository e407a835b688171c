//! What this peer offers, and telling the manager of it.
//!
//! # The problem
//! The manager keeps no database, and connections break. So a peer does not tell its files once: it keeps
//! the list of what it has *told* beside the list of what it *has*, and one thread, `publish`, makes the one
//! follow the other. After a new registration, or when the manager asks (`list`), nothing counts as told.
//!
//! # The rule
//! Whoever changes a file of the list notes its name as *stale*: so one more file costs the same, however many
//! there are. The thread sleeps until something is stale while there is a manager. Then it tells the
//! differences, one `update` each; a file that is told and not there any more, by a `query` (C3).
//! A file that is refused (another content has its name) is said, and not told again until the next
//! registration.
//!
//! With each `ok` goes a [`Fingerprint`] of what was told. So if a list is ever lost, it is noticed.

pub mod drops;
pub mod offer;
mod publish;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use parking_lot::{Condvar, Mutex};

use self::drops::{Drop, Memory};
use self::offer::Offer;
use super::network::Network;
use crate::error::{Code, Error, Result};
use crate::net::message::{FromPeer, Refusal};
use crate::share::fingerprint::Fingerprint;
use crate::share::store::Store;
use crate::share::{FileId, FileName};
use crate::thread::{self, Thread};

#[derive(Debug, Default)]
struct Shelf {
    offers: BTreeMap<FileName, Arc<Offer>>,
    /// Files of which the manager may have been told something else.
    stale: BTreeSet<FileName>,
    told: BTreeMap<FileName, (FileId, bool)>,
    refused: BTreeMap<FileName, (FileId, Refusal)>,
    print: Fingerprint,
    /// Who is to hear of files that the manager does not list.
    refusals: Option<Sender<Task>>,
    over: bool,
}

/// Something that only the thread `scan_folder` may do.
#[derive(Debug)]
pub enum Task {
    /// The manager said `drop`.
    Drop {
        /// What was dropped, and when.
        drop: Drop,
        /// It was listed for this peer until then: so the manager has found that the drop is the later.
        listed: bool,
    },
    /// The manager lists another content under the name of this file.
    Refused {
        /// The file.
        file: FileName,
        /// Which bytes were refused.
        id: FileId,
    },
    /// Another file has the name of one that is to be fetched.
    InTheWay {
        /// The file.
        file: FileName,
        /// The bytes that are to be here.
        wanted: FileId,
    },
    /// This peer leaves.
    Leave,
}

/// One thing that the manager is to be told.
enum News {
    Has(Arc<Offer>, bool),
    Lost(FileName),
}

impl Shelf {
    fn forget_told(&mut self) {
        self.told.clear();
        self.refused.clear();
        self.stale = self.offers.keys().cloned().collect();
        self.print = Fingerprint::default();
    }

    fn tell(&mut self, file: &FileName, what: Option<(FileId, bool)>) {
        let before = match what {
            Some(what) => self.told.insert(file.clone(), what),
            None => self.told.remove(file),
        };
        for (id, whole) in before.into_iter().chain(what) {
            self.print.toggle(file, id, whole);
        }
    }

    /// What the manager does not know, or knows otherwise.
    fn news(&mut self) -> Vec<News> {
        let mut news = Vec::new();
        for file in std::mem::take(&mut self.stale) {
            let told = self.told.get(&file).copied();
            let Some(offer) = self.offers.get(&file) else {
                // One that has a part stays listed: its pieces are still on the disk.
                news.extend(told.filter(|(_, whole)| *whole).map(|_| News::Lost(file)));
                continue;
            };
            let has = (offer.id(), offer.is_whole());
            if told == Some(has) || self.refused.get(&file).is_some_and(|(no, _)| *no == has.0) {
                continue;
            }
            if told.is_some_and(|(id, _)| id != has.0) {
                // A name stands for one content: first the old one is taken off.
                news.push(News::Lost(file));
            }
            news.push(News::Has(Arc::clone(offer), has.1));
        }
        news
    }
}

/// What this peer offers.
#[derive(Debug)]
pub struct Library {
    network: Arc<Network>,
    shelf: Mutex<Shelf>,
    drops: Memory,
    changed: Condvar,
}

impl Library {
    /// Nothing yet.
    pub fn new(network: Arc<Network>) -> Self {
        let (shelf, changed) = (Mutex::default(), Condvar::new());
        Self { network, shelf, drops: Memory::default(), changed }
    }

    /// The drops that this peer remembers.
    pub fn drops(&self) -> &Memory {
        &self.drops
    }

    /// Offers a file, in the place of another of its name. That is news, also where the last offer was refused.
    pub fn offer(&self, offer: Arc<Offer>) {
        let mut shelf = self.shelf.lock();
        shelf.refused.remove(offer.name());
        shelf.stale.insert(offer.name().clone());
        if let Some(before) = shelf.offers.insert(offer.name().clone(), offer) {
            before.end();
        }
        self.changed.notify_all();
    }

    /// An offered file has become whole.
    pub fn completed(&self, file: &FileName) {
        self.shelf.lock().stale.insert(file.clone());
        self.changed.notify_all();
    }

    /// Offers a file no more.
    pub fn withdraw(&self, file: &FileName) {
        self.withdraw_if(file, |_| true);
    }

    /// Offers a file no more, unless something else is offered in its place.
    pub fn take_back(&self, offer: &Arc<Offer>) {
        self.withdraw_if(offer.name(), |there| Arc::ptr_eq(there, offer));
    }

    fn withdraw_if(&self, file: &FileName, which: impl Fn(&Arc<Offer>) -> bool) {
        let mut shelf = self.shelf.lock();
        if shelf.offers.get(file).is_some_and(which)
            && let Some(offer) = shelf.offers.remove(file)
        {
            offer.end();
            shelf.stale.insert(file.clone());
        }
        self.changed.notify_all();
    }

    /// The file of this name, if it is offered.
    pub fn get(&self, file: &FileName) -> Option<Arc<Offer>> {
        self.shelf.lock().offers.get(file).cloned()
    }

    /// The file of this name and content.
    ///
    /// # Errors
    /// `not_found` when it is not offered.
    pub fn find(&self, file: &FileName, id: FileId) -> Result<Arc<Offer>> {
        self.get(file).filter(|offer| offer.id() == id).ok_or_else(|| {
            Error::new(Code::NotFound, format!("{file} with the id {} is not offered here", id.short()))
                .advise("ask the manager who has it")
        })
    }

    /// The answer to `get`.
    pub fn list(&self) -> Vec<FromPeer> {
        let card = |offer: &Arc<Offer>| {
            let manifest = offer.manifest();
            let (file, id, size) = (manifest.name().clone(), manifest.id(), manifest.layout().size());
            FromPeer::File { file, id, size, whole: offer.is_whole() }
        };
        let shelf = self.shelf.lock();
        shelf.offers.values().map(card).chain([FromPeer::End {}]).collect()
    }

    /// The files of which all is there, in the order of their names.
    pub fn whole(&self) -> Vec<Arc<Offer>> {
        self.shelf.lock().offers.values().filter(|offer| offer.is_whole()).cloned().collect()
    }

    /// How many files are offered.
    pub fn count(&self) -> usize {
        self.shelf.lock().offers.len()
    }

    /// The manager knows nothing of what it was told: it asks for the list again, or there is another one, or none.
    pub fn tell_again(&self) {
        self.shelf.lock().forget_told();
        self.changed.notify_all();
    }

    /// What the list that was told comes to; `None` where nothing was.
    pub fn fingerprint(&self) -> Option<Fingerprint> {
        let shelf = self.shelf.lock();
        (!shelf.told.is_empty()).then_some(shelf.print)
    }

    /// Waits until the manager knows of a file.
    ///
    /// # Errors
    /// `conflict` when it refuses it; a plain failure when it does not answer in time.
    pub fn published(&self, file: &FileName, patience: Duration) -> Result<()> {
        let end = Instant::now() + patience;
        let mut shelf = self.shelf.lock();
        loop {
            let Some(offer) = shelf.offers.get(file) else {
                return Err(Error::failed(format!("{file} is not offered any more")));
            };
            let told = (offer.id(), offer.is_whole());
            if shelf.told.get(file) == Some(&told) {
                return Ok(());
            }
            if let Some((id, why)) = shelf.refused.get(file)
                && *id == told.0
            {
                return Err(Error::from(why.clone()));
            }
            if self.changed.wait_until(&mut shelf, end).timed_out() {
                return Err(Error::failed(format!("the manager has not been told of {file} yet"))
                    .advise("`why` says what is waited for"));
            }
        }
    }

    /// Ends the threads.
    pub fn leave(&self) {
        self.shelf.lock().over = true;
        self.changed.notify_all();
    }

    /// This peer and the others.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// The whole files that are offered from a folder, in the order of their names.
    pub fn whole_in(&self, store: &Arc<Store>) -> Vec<(FileName, FileId)> {
        let shelf = self.shelf.lock();
        let here =
            shelf.offers.values().filter(|offer| Arc::ptr_eq(offer.store(), store) && offer.is_whole());
        here.map(|offer| (offer.name().clone(), offer.id())).collect()
    }

    /// Whoever may move files in the folder is to hear of those that the manager does not list.
    pub fn tell_refusals_to(&self, tasks: Sender<Task>) {
        self.shelf.lock().refusals = Some(tasks);
    }

    /// The manager has dropped a file, and so taken it off its list. Where it is still offered, because it was put
    /// here later, it is told again; but not where it was not listed: a manager that drops what it is offered
    /// would be offered it for ever.
    pub fn dropped(&self, file: &FileName, id: FileId) {
        let mut shelf = self.shelf.lock();
        if shelf.told.get(file).is_some_and(|(told, _)| *told == id) {
            shelf.tell(file, None);
            shelf.refused.remove(file);
            shelf.stale.insert(file.clone());
        }
        self.changed.notify_all();
    }

    /// Whether the manager lists these bytes under this name for this peer.
    pub fn is_told(&self, file: &FileName, id: FileId) -> bool {
        self.shelf.lock().told.get(file).is_some_and(|(told, _)| *told == id)
    }

    /// Whether this peer is leaving.
    pub fn is_over(&self) -> bool {
        self.shelf.lock().over
    }

    /// Starts the thread that tells the manager.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(self: &Arc<Self>) -> Result<Thread> {
        let library = Arc::clone(self);
        thread::start("publish", move || library.publish())
    }
}
