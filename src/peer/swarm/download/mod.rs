//! A file from all its holders at once.
//!
//! # The problem
//! Each of several holders has all of a file or some of it. They are fast or slow, come and go, choke, lie, or
//! fall silent. The file is to be here soon, and right.
//!
//! # The rule
//! One thread for each holder (`fetch_from`) listens to it; the [`Picker`] behind one lock knows who has what
//! and who owes what. Whenever something has changed, whoever changed it also asks all holders for whatever
//! they can now be asked for: requests are *posted* under the lock, which is memory only, and flushed after it.
//! So nobody polls, and no holder is idle while there is anything to ask it for.
//!
//! A piece counts when its hash is right and it is written. A wrong one is thrown away, its sender remembered,
//! and after the second no longer asked. What a lost holder owed is open again (E8). Holders that appear
//! while it runs are asked, too: the tracker is queried every second, and more
//! often at the start.
//!
//! The part that is here is offered from the beginning, and the manager is told of it.
//!
//! # What is missing
//! Only who downloads from us hears that we have a piece, and so does not send it a second time. From a
//! seed, or from one that has begun to send it, a piece may come twice in the endgame. It is counted.

mod attend;
mod holder;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use log::debug;
use parking_lot::{Condvar, Mutex, MutexGuard};
use serde::Serialize;

use crate::error::{Error, Result};
use crate::net::limits;
use crate::net::message::{PeerId, ToPeer};
use crate::net::outbox::Outbox;
use crate::peer::library::Library;
use crate::peer::library::offer::{Offer, Source};
use crate::peer::manager_client::{Listing, ManagerClient};
use crate::peer::swarm::rate::Running;
use crate::peer::swarm::upload::Uploads;
use crate::share::picker::{Order, Picker};
use crate::share::store::{Partial, Store};
use crate::share::{FileName, Manifest};

/// How long a download that a person asked for waits for a holder when there is none.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a holder may say nothing before it has told which pieces it has: that takes it no thought.
const FIRST_WORD: Duration = limits::MESSAGE_TIME;

/// How long a holder that owes a piece may say nothing, and how long it is left alone then.
const SILENCE: Duration = Duration::from_secs(60);
const SILENT_PAUSE: Duration = Duration::from_secs(60);

/// What happens to a download.
#[derive(Clone, Debug)]
pub enum Progress {
    /// It has begun, with so many pieces that were here already.
    Begun {
        /// Pieces that are here.
        have: u32,
        /// Pieces in all.
        pieces: u32,
        /// Bytes in all.
        size: u64,
    },
    /// A piece is here.
    Piece {
        /// Its bytes.
        bytes: u64,
        /// How many holders are connected, those that choke us included.
        holders: usize,
    },
    /// Something that a person wants to know.
    Note(String),
}

/// What a download has cost.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// The file.
    pub file: FileName,
    /// Its size in bytes.
    pub size: u64,
    /// From the first answer of the tracker to the last piece, verified and written.
    pub seconds: f64,
    /// What the disk took to have it for good.
    pub fsync_seconds: f64,
    /// Pieces in all.
    pub pieces: u32,
    /// Pieces that came wrong and were fetched again.
    pub refetched: u64,
    /// Pieces that came twice.
    pub duplicates: u64,
    /// How many pieces came from whom.
    pub from: Vec<Share>,
}

/// What one holder gave.
#[derive(Clone, Debug, Serialize)]
pub struct Share {
    /// Its name.
    pub peer: String,
    /// How many pieces.
    pub pieces: u64,
}

/// How a file is to be fetched.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// Into which folder.
    pub store: &'a Arc<Store>,
    /// In which order.
    pub order: Order,
    /// It is a repair of the file that is there.
    pub repair: bool,
    /// How long it waits for a holder when there is none.
    pub patience: Duration,
    /// How long no piece may come before it is given up; without it a person waits as long as he likes.
    pub stall: Option<Duration>,
    /// Whether it is not wanted any more.
    pub stop: Option<&'a AtomicBool>,
}

/// Who asks, and how it serves meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// The asker's own number.
    pub number: PeerId,
    /// What it offers.
    pub library: &'a Library,
    /// What it uploads.
    pub uploads: &'a Uploads,
}

impl Asker<'_> {
    /// The number to query under. Whoever asks under his own for a file that he is listed for has lost it; who
    /// repairs it, or copies it to another folder, `has` it, and asks for nobody.
    pub fn number_for(&self, has: bool) -> PeerId {
        if has { 0 } else { self.number }
    }
}

/// A neighbour.
#[derive(Debug)]
struct Neighbour {
    line: Outbox,
    /// When it said something last.
    heard: Instant,
    /// Whether we are interested, as it was told last; `None` when it is to be told again.
    told: Option<bool>,
}

#[derive(Debug)]
struct State {
    picker: Picker,
    neighbours: BTreeMap<PeerId, Neighbour>,
    /// Holders that are left alone, and until when.
    avoided: BTreeMap<PeerId, Instant>,
    /// Pieces by the names of those who gave them.
    from: BTreeMap<String, u64>,
    /// Holders that a thread listens to, from the moment when it begins: one thread for each.
    listening: BTreeSet<PeerId>,
    /// When a piece came last, and whether it was said that none comes.
    last_piece: Instant,
    told_quiet: bool,
    /// A piece that has come could not be written for want of room, and none since then.
    disk_full: bool,
    over: bool,
    failed: Option<Error>,
}

impl State {
    fn new(picker: Picker, began: Instant) -> Self {
        Self {
            picker,
            neighbours: BTreeMap::new(),
            avoided: BTreeMap::new(),
            from: BTreeMap::new(),
            listening: BTreeSet::new(),
            last_piece: began,
            told_quiet: false,
            disk_full: false,
            over: false,
            failed: None,
        }
    }

    /// Leaves a holder alone for so long, or longer if that was said before.
    fn avoid(&mut self, holder: PeerId, pause: Duration) {
        let until = Instant::now() + pause;
        let at = self.avoided.entry(holder).or_insert(until);
        *at = until.max(*at);
    }
}

/// One download.
struct Download<'a> {
    asker: Asker<'a>,
    partial: &'a Partial,
    manifest: &'a Manifest,
    wish: Wish<'a>,
    /// The file is offered from another folder, and stays so: this is only a copy.
    copies: bool,
    running: &'a Running<'a>,
    state: Mutex<State>,
    changed: Condvar,
    progress: Sender<Progress>,
}

/// Takes a download off the uploader's account when it ends.
struct Counted<'a>(&'a Uploads);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.downloading(false);
    }
}

/// Fetches a file that the tracker has found.
///
/// # Errors
/// `conflict` when another file of its name is in the way; `busy` when it is being fetched already, or the
/// disk is full; `not_found` when no holder has been there for `wish.patience`; a plain failure when the disk
/// fails or it is given up.
pub fn download(
    asker: Asker<'_>,
    wish: Wish<'_>,
    manager: &mut ManagerClient,
    found: Listing,
    progress: Sender<Progress>,
) -> Result<Report> {
    let Listing { manifest, holders } = found;
    let (manifest, store) = (Arc::new(manifest), wish.store);
    let elsewhere = offered_from_elsewhere(asker.library, manifest.name(), store.dir());
    let partial = Arc::new(if wish.repair {
        store.repair(Arc::clone(&manifest))?
    } else {
        store.is_free(manifest.name())?;
        begin(store, &manifest, elsewhere.as_deref())?
    });
    let began = Instant::now();
    let (layout, have) = (manifest.layout(), partial.have());
    let (pieces, size) = (layout.pieces(), layout.size());
    let _ = progress.send(Progress::Begun { have: have.count(), pieces, size });
    let _counted = Counted(asker.uploads);
    asker.uploads.downloading(true);
    let state = State::new(Picker::new(have, wish.order, rand::random()), began);
    let (state, changed) = (Mutex::new(state), Condvar::new());
    let offer = Arc::new(Offer::part(store, &partial));
    let running = asker.uploads.fetching().begin(&offer);
    let download = Download {
        asker,
        partial: &partial,
        manifest: &manifest,
        wish,
        copies: elsewhere.is_some(),
        running: &running,
        state,
        changed,
        progress,
    };
    if elsewhere.is_none() {
        asker.library.offer(Arc::clone(&offer));
    }
    let fetched = std::thread::scope(|scope| {
        let fetched = download.attend(scope, manager, holders);
        download.end();
        fetched
    });
    let seconds = began.elapsed().as_secs_f64();
    let syncing = Instant::now();
    let published = fetched.and_then(|()| match wish.repair {
        true => store.replace(&partial, &asker.library.network().own_name().to_string()),
        false => store.publish(&partial).map(|()| None),
    });
    if let Ok(Some(aside)) = &published {
        download
            .note(format!("{} was saved while it was repaired: that is kept as {aside}", manifest.name()));
    }
    if let Err(e) = published {
        asker.library.take_back(&offer);
        return Err(e);
    }
    offer.complete();
    asker.library.completed(manifest.name());
    let State { picker, from, .. } = download.state.into_inner();
    let waste = picker.waste();
    Ok(Report {
        file: manifest.name().clone(),
        size,
        seconds,
        fsync_seconds: syncing.elapsed().as_secs_f64(),
        pieces,
        refetched: waste.refetched,
        duplicates: waste.duplicates,
        from: from.into_iter().map(|(peer, pieces)| Share { peer, pieces }).collect(),
    })
}

/// The offer of a file of this name from another folder than this one, if it can be had there. It stays what is
/// offered: what is saved elsewhere is a copy, which its owner may move or delete without telling anybody.
pub fn offered_from_elsewhere(library: &Library, file: &FileName, folder: &Path) -> Option<Arc<Offer>> {
    let offer = library.get(file)?;
    (!offer.store().is_at(folder) && offer.open().is_ok()).then_some(offer)
}

/// Begins a download, with what of it lies in another folder of this peer already.
fn begin(store: &Store, manifest: &Arc<Manifest>, elsewhere: Option<&Offer>) -> Result<Partial> {
    match elsewhere.filter(|offer| offer.id() == manifest.id()).map(Offer::open) {
        Some(Ok(Source::Whole(there))) => store.begin_from(Arc::clone(manifest), there.file()),
        _ => store.begin(Arc::clone(manifest)),
    }
}

impl Download<'_> {
    /// Changes the state, and asks all holders for what they can be asked for now.
    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        self.let_go(state);
    }

    /// Posts what follows from a change, lets go of the lock, and flushes.
    fn let_go(&self, mut state: MutexGuard<'_, State>) {
        let mut flush = Vec::new();
        let State { picker, neighbours, .. } = &mut *state;
        for (&holder, neighbour) in neighbours {
            let mut posted = false;
            let interested = picker.interested(holder);
            if neighbour.told.replace(interested) != Some(interested) {
                neighbour.line.post(&ToPeer::Interested { on: interested });
                posted = true;
            }
            while let Some(piece) = picker.next(holder) {
                neighbour.line.post(&ToPeer::Request { piece: piece.index() });
                posted = true;
            }
            if posted {
                flush.push(neighbour.line.clone());
            }
        }
        let done = picker.is_done();
        drop(state);
        flush.iter().for_each(Outbox::flush);
        if done {
            self.changed.notify_all();
        }
    }

    /// Ends every conversation.
    fn end(&self) {
        let mut state = self.state.lock();
        state.over = true;
        state.neighbours.values().for_each(|neighbour| neighbour.line.close());
        self.changed.notify_all();
    }

    fn note(&self, text: String) {
        debug!("{text}");
        let _ = self.progress.send(Progress::Note(text));
    }
}
