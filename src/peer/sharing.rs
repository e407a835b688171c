//! What this peer offers, and telling the manager of it.
//!
//! # The problem
//! The manager keeps no database, and connections break. So a peer does not tell its files once: it keeps
//! the list of what it has *told* beside the list of what it *has*, and one thread, `publish`, makes the one
//! follow the other. After a new registration, or when the manager asks (`list`), nothing counts as told.
//!
//! # The rule
//! The thread sleeps until the two lists differ while there is a manager. Then it opens a conversation and
//! tells the differences, one `update` each; a file that is told and not there any more, by a `query` (C3).
//! A file that is refused (another content has its name) is said, and not told again until the next
//! registration.
//!
//! With each `ok` goes a [`Fingerprint`] of what was told. So if a list is ever lost, it is noticed.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::{info, warn};
use parking_lot::{Condvar, Mutex};

use super::folder::{self, Shared};
use crate::error::{Code, Error, Result};
use crate::net::connection::Connection;
use crate::net::fingerprint::Fingerprint;
use crate::net::limits;
use crate::net::message::{FromManager, FromPeer, Name, PeerCard, PeerId, ToManager};
use crate::share::{FileId, FileName};

/// The pause after a conversation with the manager that broke.
const PAUSE: Duration = Duration::from_millis(300);

#[derive(Debug, Default)]
struct Shelf {
    files: BTreeMap<FileName, Arc<Shared>>,
    number: Option<PeerId>,
    told: BTreeMap<FileName, (FileId, bool)>,
    refused: BTreeMap<FileName, (FileId, String)>,
    print: Fingerprint,
    names: HashMap<PeerId, Name>,
    over: bool,
}

/// One thing that the manager is to be told.
enum News {
    Has(Arc<Shared>, bool),
    Lost(FileName),
}

impl Shelf {
    fn forget_told(&mut self) {
        self.told.clear();
        self.refused.clear();
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

    fn news(&self) -> Vec<News> {
        let refused = |file: &FileName, id| self.refused.get(file).is_some_and(|(no, _)| *no == id);
        let has = self.files.iter().filter_map(|(file, shared)| {
            let (id, whole) = (shared.manifest().id(), shared.is_whole());
            let known = self.told.get(file) == Some(&(id, whole)) || refused(file, id);
            (!known).then(|| News::Has(Arc::clone(shared), whole))
        });
        let lost = self.told.keys().filter(|file| !self.files.contains_key(*file)).cloned().map(News::Lost);
        has.chain(lost).collect()
    }
}

/// What this peer offers.
#[derive(Debug)]
pub struct Sharing {
    manager: SocketAddr,
    shelf: Mutex<Shelf>,
    changed: Condvar,
}

impl Sharing {
    /// Nothing yet.
    pub fn new(manager: SocketAddr) -> Self {
        Self { manager, shelf: Mutex::default(), changed: Condvar::new() }
    }

    /// Offers a file, in the place of another of its name.
    pub fn offer(&self, shared: Arc<Shared>) {
        self.shelf.lock().files.insert(shared.manifest().name().clone(), shared);
        self.changed.notify_all();
    }

    /// Something about an offered file has changed: it is whole now.
    pub fn grown(&self) {
        // Whoever looked before the change sleeps by the time the lock is ours.
        drop(self.shelf.lock());
        self.changed.notify_all();
    }

    /// Offers a file no more.
    pub fn withdraw(&self, file: &FileName) {
        self.shelf.lock().files.remove(file);
        self.changed.notify_all();
    }

    /// The file of this name, if it is offered.
    pub fn get(&self, file: &FileName) -> Option<Arc<Shared>> {
        self.shelf.lock().files.get(file).cloned()
    }

    /// The file of this name and content.
    ///
    /// # Errors
    /// `not_found` when it is not offered.
    pub fn find(&self, file: &FileName, id: FileId) -> Result<Arc<Shared>> {
        self.get(file).filter(|shared| shared.manifest().id() == id).ok_or_else(|| {
            Error::new(Code::NotFound, format!("{file} with the id {} is not offered here", id.short()))
                .advise("ask the manager who has it")
        })
    }

    /// The answer to `get`.
    pub fn list(&self) -> Vec<FromPeer> {
        let card = |shared: &Arc<Shared>| {
            let manifest = shared.manifest();
            let (file, id, size) = (manifest.name().clone(), manifest.id(), manifest.layout().size());
            FromPeer::File { file, id, size, whole: shared.is_whole() }
        };
        let shelf = self.shelf.lock();
        shelf.files.values().map(card).chain([FromPeer::End {}]).collect()
    }

    /// How many files are offered.
    pub fn count(&self) -> usize {
        self.shelf.lock().files.len()
    }

    /// This peer was registered under a number, or is not any more.
    pub fn registered(&self, number: Option<PeerId>) {
        let mut shelf = self.shelf.lock();
        shelf.number = number;
        shelf.forget_told();
        self.changed.notify_all();
    }

    /// The manager asks for the list again.
    pub fn tell_again(&self) {
        info!("the manager asks for the files again");
        self.shelf.lock().forget_told();
        self.changed.notify_all();
    }

    /// Who is here, so that those who ask can be named.
    pub fn meet(&self, peers: &[PeerCard]) {
        self.shelf.lock().names = peers.iter().map(|card| (card.peer, card.name.clone())).collect();
    }

    /// What number `peer` is called; its address if it is not known.
    pub fn name(&self, peer: PeerId, addr: SocketAddr) -> String {
        self.shelf.lock().names.get(&peer).map_or_else(|| addr.to_string(), ToString::to_string)
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
            let Some(shared) = shelf.files.get(file) else {
                return Err(Error::failed(format!("{file} is not offered any more")));
            };
            let told = (shared.manifest().id(), shared.is_whole());
            if shelf.told.get(file) == Some(&told) {
                return Ok(());
            }
            if let Some((id, why)) = shelf.refused.get(file)
                && *id == told.0
            {
                return Err(Error::new(Code::Conflict, why));
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

    /// Starts the threads that tell the manager, and that look into the folder if there is one.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(self: &Arc<Self>, folder: Option<PathBuf>) -> Result<Vec<JoinHandle<()>>> {
        let failed = |e| Error::failed("cannot start a thread for the files").because(e);
        let sharing = Arc::clone(self);
        let publish = thread::Builder::new().name("publish".into()).spawn(move || sharing.publish());
        let mut threads = vec![publish.map_err(failed)?];
        if let Some(folder) = folder {
            let sharing = Arc::clone(self);
            let scan = thread::Builder::new().name("scan_folder".into());
            threads.push(scan.spawn(move || sharing.scan_folder(&folder)).map_err(failed)?);
        }
        Ok(threads)
    }

    /// Offers what lies in the folder.
    fn scan_folder(&self, folder: &std::path::Path) {
        let names = folder::names(folder).unwrap_or_else(|e| {
            warn!("{e}");
            Vec::new()
        });
        for name in names {
            if self.shelf.lock().over {
                return;
            }
            match folder::hash(folder, &name) {
                Ok(shared) => self.offer(Arc::new(shared)),
                Err(e) => warn!("{e}"),
            }
        }
    }

    fn publish(&self) {
        loop {
            let (number, news) = {
                let mut shelf = self.shelf.lock();
                loop {
                    if shelf.over {
                        return;
                    }
                    if let Some(number) = shelf.number {
                        let news = shelf.news();
                        if !news.is_empty() {
                            break (number, news);
                        }
                    }
                    self.changed.wait(&mut shelf);
                }
            };
            if let Err(e) = self.tell(number, &news) {
                info!("cannot tell the manager of {} files: {e}", news.len());
                let mut shelf = self.shelf.lock();
                if !shelf.over {
                    self.changed.wait_for(&mut shelf, PAUSE);
                }
            }
        }
    }

    /// Tells the manager what is new.
    fn tell(&self, number: PeerId, news: &[News]) -> Result<()> {
        let mut connection = Connection::connect(self.manager, limits::MANAGER_LINE)?;
        for one in news {
            let (file, what) = match one {
                News::Has(shared, whole) => {
                    let manifest = shared.manifest();
                    say_update(&connection, number, shared, *whole)?;
                    (manifest.name(), Some((manifest.id(), *whole)))
                }
                News::Lost(file) => {
                    connection.send(&ToManager::Query { peer: number, file: file.clone() })?;
                    (file, None)
                }
            };
            let refused = match (connection.expect(limits::MESSAGE_TIME)?, what) {
                (FromManager::Updated { .. }, Some(_)) => None,
                (FromManager::Holders { payload, .. }, None) => {
                    connection.discard_payload(payload.min(limits::HASHES))?;
                    None
                }
                (FromManager::Error(no), None) if no.code == Code::NotFound => None,
                (FromManager::Error(no), Some((id, _)))
                    if no.code == Code::Conflict || no.code == Code::Busy =>
                {
                    Some((id, no.text))
                }
                (FromManager::Error(no), _) => return Err(no.into()),
                (other, _) => {
                    return Err(Error::new(
                        Code::BadMessage,
                        format!("not an answer to `update`: {other:?}"),
                    ));
                }
            };
            let mut shelf = self.shelf.lock();
            if shelf.number != Some(number) || shelf.over {
                return Ok(()); // It was told to a manager that has forgotten it.
            }
            match refused {
                None => shelf.tell(file, what),
                Some((id, why)) => {
                    warn!("{file} is not offered to others: {why}");
                    shelf.refused.insert(file.clone(), (id, why));
                }
            }
            self.changed.notify_all();
        }
        Ok(())
    }
}

fn say_update(connection: &Connection, peer: PeerId, shared: &Shared, whole: bool) -> Result<()> {
    let manifest = shared.manifest();
    let (layout, hashes) = (manifest.layout(), manifest.hashes());
    let payload = hashes.len() as u64;
    let (file, size, piece_size) = (manifest.name().clone(), layout.size(), layout.piece_size().into());
    let update = ToManager::Update { peer, file, size, piece_size, whole, payload };
    connection.send_with_payload(&update, |out| out.write_all(hashes))
}
