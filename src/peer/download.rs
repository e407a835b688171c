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
//! while it runs are asked, too: the tracker is queried every second.
//!
//! The part that is here is offered from the beginning, and the manager is told of it.
//!
//! # What is missing
//! A request cannot be taken back: in the endgame a piece may come twice. It is counted.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use log::debug;
use parking_lot::{Condvar, Mutex, MutexGuard};
use serde::Serialize;

use super::folder::Partial;
use super::sharing::Sharing;
use super::upload::Uploads;
use crate::error::{Code, Error, Result};
use crate::net::connection::{Connection, Received};
use crate::net::limits;
use crate::net::message::{FromManager, FromPeer, Holder, PeerId, ToManager, ToPeer};
use crate::net::outbox::Outbox;
use crate::share::picker::{Arrival, Order, Picker, Verdict};
use crate::share::{Bitfield, FileName, Manifest, Piece};

/// How often the tracker is asked for new holders.
const QUERY_PAUSE: Duration = Duration::from_secs(1);

/// How long a download without any holder waits for one.
const PATIENCE: Duration = Duration::from_secs(60);

/// How often those who have nothing to do for us hear that we are still there.
const STILL_HERE: Duration = Duration::from_secs(20);

/// The pause before the disk is tried again when it was full.
const DISK_PAUSE: Duration = Duration::from_secs(1);

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
    /// Which.
    pub file: &'a FileName,
    /// Into which folder.
    pub folder: &'a Path,
    /// In which order.
    pub order: Order,
    /// It is a repair of the file that is there.
    pub repair: bool,
}

/// Who asks, and how it serves meanwhile.
#[derive(Clone, Copy, Debug)]
pub struct Asker<'a> {
    /// Where the tracker is.
    pub manager: SocketAddr,
    /// The asker's own number.
    pub number: PeerId,
    /// Where it listens itself.
    pub addr: SocketAddr,
    /// What it offers.
    pub sharing: &'a Sharing,
    /// What it uploads.
    pub uploads: &'a Uploads,
}

/// What the tracker answers to a query.
#[derive(Debug)]
pub struct Found {
    /// The file.
    pub manifest: Manifest,
    /// Who has it.
    pub holders: Vec<Holder>,
}

/// Asks the tracker who has a file.
///
/// # Errors
/// `not_found`; a plain failure when the manager is not there.
pub fn query(connection: &mut Connection, number: PeerId, file: &FileName) -> Result<Found> {
    connection.send(&ToManager::Query { peer: number, file: file.clone() })?;
    match connection.expect(limits::MESSAGE_TIME)? {
        FromManager::Holders { file: told, size, piece_size, holders, payload, .. } if told == *file => {
            if payload > limits::HASHES {
                return Err(Error::new(Code::BadMessage, "too many hashes from the manager"));
            }
            let mut hashes = vec![0; payload as usize];
            connection.receive_payload(&mut hashes)?;
            Ok(Found { manifest: Manifest::from_wire(told, size, piece_size, &hashes)?, holders })
        }
        FromManager::Error(no) => Err(no.into()),
        other => Err(Error::new(Code::BadMessage, format!("not an answer to `query`: {other:?}"))),
    }
}

/// A neighbour.
#[derive(Debug)]
struct Neighbour {
    line: Outbox,
    interested: bool,
}

#[derive(Debug)]
struct State {
    picker: Picker,
    neighbours: BTreeMap<PeerId, Neighbour>,
    /// Pieces by the names of those who gave them.
    from: BTreeMap<String, u64>,
    /// Threads that listen to holders.
    listening: usize,
    over: bool,
    failed: Option<Error>,
}

/// One download.
struct Download<'a> {
    asker: Asker<'a>,
    partial: &'a Partial,
    manifest: &'a Manifest,
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

/// Fetches a file.
///
/// # Errors
/// `not_found` when nobody has it; `conflict` when another file of its name is in the way; a plain failure
/// when no holder has been there for a minute, or the disk fails.
pub fn download(asker: Asker<'_>, wish: Wish<'_>, progress: Sender<Progress>) -> Result<Report> {
    let mut tracker = Connection::connect(asker.manager, limits::MANAGER_LINE)?;
    // A repair asks for nobody: its file is whole in the catalogue, and stays so.
    let number = if wish.repair { 0 } else { asker.number };
    let found = query(&mut tracker, number, wish.file)?;
    let manifest = &found.manifest;
    let target = wish.folder.join(wish.file.as_str());
    let partial = Partial::begin(wish.folder, manifest, wish.repair.then_some(target.as_path()))?;
    let shared = Arc::clone(partial.shared());
    let began = Instant::now();
    let (layout, have) = (manifest.layout(), shared.have());
    let (pieces, size) = (layout.pieces(), layout.size());
    let _ = progress.send(Progress::Begun { have: have.count(), pieces, size });
    let _counted = Counted(asker.uploads);
    asker.uploads.downloading(true);
    let state = State {
        picker: Picker::new(have, wish.order, rand::random()),
        neighbours: BTreeMap::new(),
        from: BTreeMap::new(),
        listening: 0,
        over: false,
        failed: None,
    };
    let (state, changed) = (Mutex::new(state), Condvar::new());
    let download = Download { asker, partial: &partial, manifest, state, changed, progress };
    asker.sharing.offer(Arc::clone(&shared));
    let fetched = thread::scope(|scope| {
        let fetched = download.attend(scope, tracker, number, found.holders);
        download.end();
        fetched
    });
    if let Err(e) = fetched {
        asker.sharing.withdraw(wish.file);
        return Err(e);
    }
    let State { picker, from, .. } = download.state.into_inner();
    let seconds = began.elapsed().as_secs_f64();
    let fsync_seconds = partial.finish().inspect_err(|_| asker.sharing.withdraw(wish.file))?.as_secs_f64();
    asker.sharing.grown();
    let waste = picker.waste();
    Ok(Report {
        file: wish.file.clone(),
        size,
        seconds,
        fsync_seconds,
        pieces,
        refetched: waste.refetched,
        duplicates: waste.duplicates,
        from: from.into_iter().map(|(peer, pieces)| Share { peer, pieces }).collect(),
    })
}

impl Download<'_> {
    /// Sees to it that there are holders to listen to, until the file is whole.
    fn attend<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        tracker: Connection,
        number: PeerId,
        mut holders: Vec<Holder>,
    ) -> Result<()> {
        let mut tracker = Some(tracker);
        let (mut last_holder, mut last_word) = (Instant::now(), Instant::now());
        loop {
            for holder in holders.drain(..) {
                self.listen_to(scope, holder)?;
            }
            let mut state = self.state.lock();
            let end = Instant::now() + QUERY_PAUSE;
            while !state.picker.is_done() && state.failed.is_none() {
                if self.changed.wait_until(&mut state, end).timed_out() {
                    break;
                }
            }
            if let Some(failed) = state.failed.take() {
                return Err(failed);
            }
            if state.picker.is_done() {
                return Ok(());
            }
            if state.listening > 0 {
                last_holder = Instant::now();
            }
            if last_word.elapsed() >= STILL_HERE {
                last_word = Instant::now();
                for neighbour in state.neighbours.values() {
                    neighbour.line.post(&ToPeer::Interested { on: neighbour.interested });
                }
            }
            self.let_go(state);
            if last_holder.elapsed() >= PATIENCE {
                return Err(Error::new(
                    Code::NotFound,
                    format!("nobody has offered {} for {} s", self.manifest.name(), PATIENCE.as_secs()),
                )
                .advise("the pieces are kept; run `down` again when a holder is back"));
            }
            holders = self.query_again(&mut tracker, number)?;
        }
    }

    /// Who has the file now. A manager that is away for a while delays only newcomers.
    fn query_again(&self, tracker: &mut Option<Connection>, number: PeerId) -> Result<Vec<Holder>> {
        if tracker.is_none() {
            *tracker = Connection::connect(self.asker.manager, limits::MANAGER_LINE).ok();
        }
        let Some(connection) = tracker else { return Ok(Vec::new()) };
        match query(connection, number, self.manifest.name()) {
            Ok(found) if found.manifest.id() == self.manifest.id() => Ok(found.holders),
            Ok(_) => Err(Error::new(
                Code::Conflict,
                format!("{} stands for another content now", self.manifest.name()),
            )
            .advise("run `down` again for that")),
            Err(no) if no.code() == Code::NotFound => Ok(Vec::new()),
            Err(e) => {
                debug!("{e}");
                *tracker = None;
                Ok(Vec::new())
            }
        }
    }

    /// Starts a thread that listens to a holder, unless there is one.
    fn listen_to<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, holder: Holder) -> Result<()> {
        let most = (IN_MEMORY / self.manifest.layout().piece_size() as usize).clamp(4, NEIGHBOURS);
        let mut state = self.state.lock();
        let known = state.neighbours.contains_key(&holder.peer) || state.picker.barred(holder.peer);
        if known || state.over || state.listening >= most || holder.addr == self.asker.addr {
            return Ok(());
        }
        state.listening += 1;
        drop(state);
        thread::Builder::new()
            .name("fetch_from".into())
            .spawn_scoped(scope, move || {
                let ended = self.fetch_from(&holder);
                let mut state = self.state.lock();
                state.listening -= 1;
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

    /// Listens to one holder until it or the download is over.
    fn fetch_from(&self, holder: &Holder) -> Result<()> {
        let layout = self.manifest.layout();
        let mut connection = Connection::connect(holder.addr, limits::LINE)?;
        let line = connection.outbox();
        {
            let mut state = self.state.lock();
            if state.over {
                return Ok(());
            }
            state.neighbours.insert(holder.peer, Neighbour { line: line.clone(), interested: false });
        }
        let (file, id) = (self.manifest.name().clone(), self.manifest.id());
        line.send(&ToPeer::Join { peer: self.asker.number, file, id });
        let mut bytes = Vec::new();
        loop {
            let message = match connection.receive(None)? {
                Received::Message(message) => message,
                Received::End | Received::Silence => {
                    return Err(Error::failed(format!("{} closed the connection", holder.addr)));
                }
            };
            match message {
                FromPeer::Bitfield { payload } => {
                    if payload != Bitfield::wire_size(layout) as u64 {
                        return Err(Error::new(Code::BadMessage, format!("a bitfield of {payload} bytes")));
                    }
                    let mut bits = vec![0; payload as usize];
                    connection.receive_payload(&mut bits)?;
                    let has = Bitfield::from_wire(layout, &bits)?;
                    self.change(|state| state.picker.joined(holder.peer, has));
                }
                FromPeer::Have { piece } => {
                    let piece = layout.piece(piece)?;
                    self.change(|state| state.picker.gained(holder.peer, piece));
                }
                FromPeer::Choke {} => self.change(|state| state.picker.choked(holder.peer)),
                FromPeer::Unchoke {} => self.change(|state| state.picker.unchoked(holder.peer)),
                FromPeer::Piece { piece, payload } => {
                    let piece = layout.piece(piece)?;
                    if payload != piece.len() as u64 {
                        return Err(Error::new(Code::BadMessage, format!("a piece of {payload} bytes"))
                            .advise(format!("piece {} has {}", piece.index(), piece.len())));
                    }
                    bytes.resize(piece.len(), 0);
                    self.asker.uploads.receive(&mut connection, &mut bytes)?;
                    self.take(holder, piece, &bytes)?;
                }
                FromPeer::Error(no) => return Err(no.into()),
                other => {
                    return Err(Error::new(Code::BadMessage, format!("not expected here: {other:?}")));
                }
            }
        }
    }

    /// A piece has come: it is checked, written, counted, and told of.
    fn take(&self, holder: &Holder, piece: Piece, bytes: &[u8]) -> Result<()> {
        let mut arrival = Arrival::NotAsked;
        self.change(|state| arrival = state.picker.arrived(holder.peer, piece));
        if arrival != Arrival::Wanted {
            return Ok(());
        }
        if !self.manifest.verify(piece, bytes) {
            let mut verdict = Verdict::Warned;
            self.change(|state| verdict = state.picker.failed(holder.peer, piece));
            self.note(format!(
                "{} sent wrong bytes for piece {}: asking elsewhere",
                holder.name,
                piece.index()
            ));
            return match verdict {
                Verdict::Warned => Ok(()),
                Verdict::Barred => Err(Error::failed("it sent wrong bytes again, and is not asked any more")),
            };
        }
        self.asker.uploads.received(holder.peer, bytes.len() as u64);
        self.write(piece, bytes);
        let mut holders = 0;
        self.change(|state| {
            state.picker.verified(piece);
            *state.from.entry(holder.name.to_string()).or_default() += 1;
            holders = state.neighbours.len();
        });
        self.asker.uploads.have(self.manifest.id(), piece);
        let _ = self.progress.send(Progress::Piece { bytes: bytes.len() as u64, holders });
        Ok(())
    }

    /// Writes a piece; while the disk is full, again and again until the download is given up.
    fn write(&self, piece: Piece, bytes: &[u8]) {
        let mut said = false;
        while let Err(e) = self.partial.write(piece, bytes) {
            let full = matches!(e.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded);
            let mut state = self.state.lock();
            if state.over || state.failed.is_some() {
                return;
            }
            if !full {
                let why =
                    Error::failed(format!("cannot write a piece of {}", self.manifest.name())).because(e);
                state.failed = Some(why.advise("the pieces that are there are kept"));
                self.changed.notify_all();
                return;
            }
            if !std::mem::replace(&mut said, true) {
                self.note("the disk is full: the download goes on when there is room".into());
            }
            self.changed.wait_for(&mut state, DISK_PAUSE);
        }
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
