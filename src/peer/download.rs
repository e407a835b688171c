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

mod holder;

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use log::debug;
use parking_lot::{Condvar, Mutex, MutexGuard};
use serde::Serialize;

use super::commands::same_folder;
use super::fetching::Running;
use super::offer::{Offer, Source};
use super::sharing::Sharing;
use super::tracker::{Found, Tracker};
use super::upload::Uploads;
use crate::error::{Code, Error, Result};
use crate::net::limits;
use crate::net::message::{Holder, Name, PeerId, ToPeer};
use crate::net::outbox::Outbox;
use crate::share::picker::{Order, Picker};
use crate::share::store::{Partial, Store};
use crate::share::{FileName, Manifest};

/// How long after its first answer the tracker is asked for new holders. Whoever begins at the same moment is not
/// listed yet when we ask; until we know him, neither has anything from the other.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// How often it is asked later: the pause doubles until it is this long.
const QUERY_PAUSE: Duration = Duration::from_secs(1);

/// How often a download that may be given up looks whether it is.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// How long a download that a person asked for waits for a holder when there is none.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long no piece comes before it is said, and why.
const QUIET: Duration = Duration::from_secs(10);

/// How often those who have nothing to do for us hear that we are still there.
const STILL_HERE: Duration = Duration::from_secs(20);

/// How long a holder may say nothing before it has told which pieces it has: that takes it no thought.
const FIRST_WORD: Duration = limits::MESSAGE_TIME;

/// How long a holder that owes a piece may say nothing, and how long it is left alone then.
const SILENCE: Duration = Duration::from_secs(60);
const SILENT_PAUSE: Duration = Duration::from_secs(60);

/// How long a holder that is not listed any more may say nothing.
const GONE: Duration = Duration::from_secs(5);

/// The most holders that are asked at the same time: our neighbours.
const NEIGHBOURS: usize = 40;

/// What all pieces together may take that are on their way, in bytes; each neighbour has one in memory.
const IN_MEMORY: usize = 24 << 20;

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
    /// A piece is here; from how many holders pieces come now.
    Piece {
        /// Its bytes.
        bytes: u64,
        /// How many holders are there.
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
    /// What it is called.
    pub name: &'a Name,
    /// The asker's own number.
    pub number: PeerId,
    /// Where it listens itself.
    pub addr: SocketAddr,
    /// What it offers.
    pub sharing: &'a Sharing,
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
    interested: bool,
}

#[derive(Debug)]
struct State {
    picker: Picker,
    neighbours: BTreeMap<PeerId, Neighbour>,
    /// Holders that owed something and fell silent, and when that was seen.
    silent: BTreeMap<PeerId, Instant>,
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
            silent: BTreeMap::new(),
            from: BTreeMap::new(),
            listening: BTreeSet::new(),
            last_piece: began,
            told_quiet: false,
            disk_full: false,
            over: false,
            failed: None,
        }
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
    tracker: &mut Tracker,
    found: Found,
    progress: Sender<Progress>,
) -> Result<Report> {
    let Found { manifest, holders } = found;
    let (manifest, store) = (Arc::new(manifest), wish.store);
    let elsewhere = offered_from_elsewhere(asker.sharing, manifest.name(), store.dir());
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
    // The manager lists it: if it was dropped once, somebody has put it there since.
    let published = asker.sharing.drops().put_back(manifest.name(), manifest.id());
    let offer = Arc::new(Offer::part(store, &partial, published));
    let running = asker.sharing.fetching().begin(&offer);
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
        asker.sharing.offer(Arc::clone(&offer));
    }
    let fetched = thread::scope(|scope| {
        let fetched = download.attend(scope, tracker, holders);
        download.end();
        fetched
    });
    let seconds = began.elapsed().as_secs_f64();
    let syncing = Instant::now();
    let published = fetched.and_then(|()| match wish.repair {
        true => store.replace(&partial, &asker.name.to_string()),
        false => store.publish(&partial).map(|()| None),
    });
    if let Ok(Some(aside)) = &published {
        download
            .note(format!("{} was saved while it was repaired: that is kept as {aside}", manifest.name()));
    }
    if let Err(e) = published {
        asker.sharing.take_back(&offer);
        return Err(e);
    }
    offer.complete();
    asker.sharing.completed(manifest.name());
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
pub fn offered_from_elsewhere(sharing: &Sharing, file: &FileName, folder: &Path) -> Option<Arc<Offer>> {
    let offer = sharing.get(file)?;
    (!same_folder(offer.store().dir(), folder) && offer.open().is_ok()).then_some(offer)
}

/// Begins a download, with what of it lies in another folder of this peer already.
fn begin(store: &Store, manifest: &Arc<Manifest>, elsewhere: Option<&Offer>) -> Result<Partial> {
    match elsewhere.filter(|offer| offer.id() == manifest.id()).map(Offer::open) {
        Some(Ok(Source::Whole(there))) => store.begin_from(Arc::clone(manifest), there.file()),
        _ => store.begin(Arc::clone(manifest)),
    }
}

/// Why no piece comes, in words. What the owner of this disk can mend comes first.
fn why_quiet(state: &State) -> String {
    let (seconds, holders) = (state.last_piece.elapsed().as_secs(), state.neighbours.len());
    let why = match state.picker.nowhere().next() {
        _ if state.disk_full => "the disk is full; make room there".into(),
        _ if holders == 0 => "no holder can be reached".into(),
        Some(piece) => format!("no holder that can be reached ({holders}) has piece {}", piece.index()),
        None => format!("no holder ({holders}) has a place for us (choked) or answers"),
    };
    format!("nothing has come for {seconds} s: {why}")
}

impl Download<'_> {
    /// Sees to it that there are holders to listen to, until the file is whole.
    fn attend<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        tracker: &mut Tracker,
        mut holders: Vec<Holder>,
    ) -> Result<()> {
        let (mut last_holder, mut last_word) = (Instant::now(), Instant::now());
        let mut pause = FIRST_PAUSE;
        loop {
            for holder in holders.drain(..) {
                self.listen_to(scope, holder)?;
            }
            let mut state = self.state.lock();
            let end = Instant::now() + pause;
            pause = QUERY_PAUSE.min(pause * 2);
            while !state.picker.is_done() && state.failed.is_none() && Instant::now() < end {
                self.give_up_if_told()?;
                self.changed.wait_until(&mut state, end.min(Instant::now() + STOP_CHECK));
            }
            if let Some(failed) = state.failed.take() {
                return Err(failed);
            }
            if state.picker.is_done() {
                return Ok(());
            }
            if !state.listening.is_empty() {
                last_holder = Instant::now();
            }
            if self.wish.stall.is_some_and(|stall| state.last_piece.elapsed() >= stall) {
                return Err(Error::failed(why_quiet(&state)).advise("the pieces are kept"));
            }
            if state.last_piece.elapsed() >= QUIET && !std::mem::replace(&mut state.told_quiet, true) {
                self.note(format!("{}; it goes on when that changes", why_quiet(&state)));
            }
            if last_word.elapsed() >= STILL_HERE {
                last_word = Instant::now();
                for neighbour in state.neighbours.values() {
                    neighbour.line.post(&ToPeer::Interested { on: neighbour.interested });
                }
            }
            self.let_go(state);
            if last_holder.elapsed() >= self.wish.patience {
                return Err(Error::new(
                    Code::NotFound,
                    format!(
                        "nobody has offered {} for {} s",
                        self.manifest.name(),
                        self.wish.patience.as_secs()
                    ),
                )
                .advise("the pieces are kept; run `down` again when a holder is back"));
            }
            holders = self.query_again(tracker)?;
        }
    }

    /// Who has the file now. A manager that is away for a while delays only newcomers.
    fn query_again(&self, tracker: &mut Tracker) -> Result<Vec<Holder>> {
        match tracker.query(self.asker.number_for(self.wish.repair || self.copies), self.manifest.name()) {
            Ok(found) if found.manifest.id() == self.manifest.id() => {
                self.leave_the_gone(&found.holders);
                Ok(found.holders)
            }
            Ok(_) => Err(Error::new(
                Code::Conflict,
                format!("{} stands for another content now", self.manifest.name()),
            )
            .advise("run `down` again for that")),
            Err(no) => {
                debug!("{no}");
                Ok(Vec::new())
            }
        }
    }

    /// Starts a thread that listens to a holder, unless there is one.
    fn listen_to<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, holder: Holder) -> Result<()> {
        let most = (IN_MEMORY / self.manifest.layout().piece_size() as usize).clamp(4, NEIGHBOURS);
        let mut state = self.state.lock();
        let silent = state.silent.get(&holder.peer).is_some_and(|since| since.elapsed() < SILENT_PAUSE);
        let known = silent || state.listening.contains(&holder.peer) || state.picker.barred(holder.peer);
        if known || state.over || state.listening.len() >= most || self.is_own(&holder) {
            return Ok(());
        }
        state.listening.insert(holder.peer);
        drop(state);
        thread::Builder::new()
            .name("fetch_from".into())
            .spawn_scoped(scope, move || {
                let ended = self.fetch_from(&holder);
                let mut state = self.state.lock();
                state.listening.remove(&holder.peer);
                state.neighbours.remove(&holder.peer);
                state.picker.left(holder.peer);
                if let (Err(e), false) = (ended, state.over) {
                    self.note(format!("{} is lost: {e}", holder.name));
                }
                self.let_go(state);
            })
            .map(drop)
            .map_err(|e| Error::failed("cannot start a thread for a holder").because(e))
    }

    /// Ends the conversations with neighbours that are silent and not listed any more: the manager has struck
    /// them out, and what they owe is to be asked of others.
    fn leave_the_gone(&self, listed: &[Holder]) {
        let state = self.state.lock();
        let gone = state.neighbours.iter().filter(|(peer, neighbour)| {
            neighbour.heard.elapsed() >= GONE && !listed.iter().any(|holder| holder.peer == **peer)
        });
        gone.for_each(|(_, neighbour)| neighbour.line.close());
    }

    fn give_up_if_told(&self) -> Result<()> {
        match self.wish.stop {
            Some(stop) if stop.load(Ordering::SeqCst) => {
                Err(Error::failed(format!("{} is not wanted any more", self.manifest.name())))
            }
            _ => Ok(()),
        }
    }

    fn is_own(&self, holder: &Holder) -> bool {
        holder.peer == self.asker.number || holder.addr == self.asker.addr
    }

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
            if interested != neighbour.interested {
                neighbour.interested = interested;
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::{Bitfield, Layout};

    #[test]
    fn a_full_disk_is_said_before_anything_about_holders() {
        let have = Bitfield::empty(Layout::of(1).unwrap());
        let mut state = State::new(Picker::new(have, Order::default(), 7), Instant::now());
        assert!(why_quiet(&state).ends_with("no holder can be reached"), "{}", why_quiet(&state));
        state.disk_full = true;
        assert!(why_quiet(&state).ends_with("the disk is full; make room there"), "{}", why_quiet(&state));
    }
}
