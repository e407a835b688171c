//! Pieces out: who is served, in which order, and how fast.
//!
//! # The problem
//! Many ask at once for pieces of what lies here, and one link carries them all. Who is served is decided by
//! the [`choker`](crate::share::choker), whose request is next by the [`Uplink`], how fast by two token
//! buckets. This module waits for them.
//!
//! # Who does what
//! ```text
//!   serve_peer        one a conversation    listens: interested, request; passes them to the desk
//!   send_pieces       one a conversation    speaks: have, choke, unchoke, and pieces when it is their turn
//!   judge_uploads     one a peer            every ten seconds judges who is served from now on
//! ```
//! The desk (`State`) is behind one lock, under which nobody waits: what follows from a change is put into the
//! channels of those who speak. A turn that was given is given back when the piece is sent, or its speaker
//! gone.
//!
//! Bytes go from the file to the socket inside the kernel, so a peer's memory does not grow with what it serves.
//!
//! # What is missing
//! Who says `join` tells his number himself; one that tells another's is served for what the other gave.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, unbounded};
use log::{debug, info};
use parking_lot::{Condvar, Mutex};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::folder::Shared;
use super::session::unexpected;
use super::sharing::Sharing;
use crate::error::{Code, Error, Result};
use crate::net::connection::{Connection, Received, Speaker};
use crate::net::limits;
use crate::net::message::{FromPeer, PeerId, ToPeer};
use crate::share::choker::{Contender, OPTIMISTIC_SECONDS, Occasion, ROUND_SECONDS, Service, judge};
use crate::share::limiter::Limiter;
use crate::share::uplink::{AskerId, Request, Uplink};
use crate::share::{FileId, FileName, Piece};

/// How many pieces a link without a limit carries at a time: it is the machine that limits.
const UNLIMITED_AT_ONCE: usize = 16;

/// What is sent or taken in one step where there is a limit, in bytes; the burst of a token bucket.
const STEP: usize = 64 << 10;

/// The longest sleep before somebody who waits for a bucket looks whether it still matters.
const NAP: Duration = Duration::from_millis(100);

/// How a peer serves.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// Bytes per second for all uploads together.
    pub up: Option<u64>,
    /// Bytes per second for all downloads together.
    pub down: Option<u64>,
    /// How many are served for their rates.
    pub unchoke: usize,
    /// How many times faster than the lecture's the rounds are.
    pub time_scale: f64,
}

/// What one that speaks is to say.
#[derive(Debug)]
enum Say {
    Have(Piece),
    Choke,
    Unchoke,
    Piece(Request),
}

/// A conversation with somebody who wants pieces.
#[derive(Debug)]
struct Asker {
    peer: PeerId,
    name: String,
    file: FileName,
    id: FileId,
    interested: bool,
    service: Service,
    open: usize,
    to: Sender<Say>,
    /// Bytes sent in this round, per second in the last, and pieces in all.
    sent: u64,
    rate: u64,
    pieces: u64,
}

/// What is received from a peer: in this round, and per second in the last.
#[derive(Clone, Copy, Debug, Default)]
struct Meter {
    now: u64,
    rate: u64,
}

#[derive(Debug)]
struct State {
    next: AskerId,
    askers: BTreeMap<AskerId, Asker>,
    uplink: Uplink,
    received: HashMap<PeerId, Meter>,
    /// Downloads that run here; without one, this peer is a seed.
    downloads: usize,
    rng: StdRng,
    over: bool,
}

/// The desk for all who want pieces.
#[derive(Debug)]
pub struct Uploads {
    manners: Manners,
    began: Instant,
    up: Mutex<Limiter>,
    down: Mutex<Limiter>,
    state: Mutex<State>,
    stopping: Condvar,
}

/// A line of `status`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Upload {
    /// To whom.
    pub to: String,
    /// Of which file.
    pub file: FileName,
    /// Whether it is served now.
    pub served: bool,
    /// How many pieces it has got.
    pub pieces: u64,
}

impl Uploads {
    /// Nobody asks yet.
    pub fn new(manners: Manners) -> Self {
        let at_once = if manners.up.is_some() { 1 } else { UNLIMITED_AT_ONCE };
        let state = State {
            next: 1,
            askers: BTreeMap::new(),
            uplink: Uplink::new(at_once),
            received: HashMap::new(),
            downloads: 0,
            rng: StdRng::from_rng(&mut rand::rng()),
            over: false,
        };
        Self {
            manners,
            began: Instant::now(),
            up: Mutex::new(Limiter::new(manners.up)),
            down: Mutex::new(Limiter::new(manners.down)),
            state: Mutex::new(state),
            stopping: Condvar::new(),
        }
    }

    /// Starts the thread that judges in rounds.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(self: &Arc<Self>) -> Result<JoinHandle<()>> {
        let uploads = Arc::clone(self);
        thread::Builder::new()
            .name("judge_uploads".into())
            .spawn(move || uploads.judge_uploads())
            .map_err(|e| Error::failed("cannot start the thread judge_uploads").because(e))
    }

    /// Ends the thread.
    pub fn leave(&self) {
        self.state.lock().over = true;
        self.stopping.notify_all();
    }

    /// What is uploaded to whom.
    pub fn status(&self) -> Vec<Upload> {
        let state = self.state.lock();
        let line = |asker: &Asker| Upload {
            to: asker.name.clone(),
            file: asker.file.clone(),
            served: asker.service != Service::Choked,
            pieces: asker.pieces,
        };
        state.askers.values().map(line).collect()
    }

    /// A download begins (true) or ends (false).
    pub fn downloading(&self, begins: bool) {
        let mut state = self.state.lock();
        state.downloads = if begins { state.downloads + 1 } else { state.downloads.saturating_sub(1) };
    }

    /// Bytes came from a peer, which counts for it.
    pub fn received(&self, peer: PeerId, bytes: u64) {
        self.state.lock().received.entry(peer).or_default().now += bytes;
    }

    /// A piece is here now: whoever is told of this file hears it.
    pub fn have(&self, id: FileId, piece: Piece) {
        for asker in self.state.lock().askers.values().filter(|asker| asker.id == id) {
            let _ = asker.to.send(Say::Have(piece));
        }
    }

    /// Receives the bytes of a piece, no faster than allowed.
    ///
    /// # Errors
    /// When they do not come whole and in time.
    pub fn receive(&self, connection: &mut Connection, bytes: &mut [u8]) -> Result<()> {
        if self.manners.down.is_none() {
            return connection.receive_payload(bytes);
        }
        for part in bytes.chunks_mut(STEP) {
            self.pace(&self.down, part.len(), || connection.is_gone())?;
            connection.receive_payload(part)?;
        }
        Ok(())
    }

    /// Waits until so many bytes may pass, unless it does not matter any more.
    fn pace(&self, bucket: &Mutex<Limiter>, bytes: usize, gone: impl Fn() -> bool) -> Result<()> {
        let now = self.began.elapsed();
        let mut wait = bucket.lock().take(bytes as u64, now);
        while !wait.is_zero() {
            let nap = wait.min(NAP);
            thread::sleep(nap);
            wait -= nap;
            if !wait.is_zero() && gone() {
                return Err(Error::failed("the other side is gone"));
            }
        }
        Ok(())
    }

    fn judge_uploads(&self) {
        let round = Duration::from_secs(ROUND_SECONDS).div_f64(self.manners.time_scale);
        let optimistic = OPTIMISTIC_SECONDS / ROUND_SECONDS;
        let mut rounds = 0;
        let mut state = self.state.lock();
        loop {
            let end = Instant::now() + round;
            while !state.over && !self.stopping.wait_until(&mut state, end).timed_out() {}
            if state.over {
                return;
            }
            rounds += 1;
            state.measure(round);
            let last = rounds % optimistic == 0;
            state.judge(self.manners.unchoke, if last { Occasion::OptimisticRound } else { Occasion::Round });
        }
    }
}

impl State {
    /// A round is over: what was counted becomes a rate.
    fn measure(&mut self, round: Duration) {
        let rate = |bytes: u64| (bytes as f64 / round.as_secs_f64()) as u64;
        for asker in self.askers.values_mut() {
            asker.rate = rate(std::mem::take(&mut asker.sent));
        }
        for meter in self.received.values_mut() {
            meter.rate = rate(std::mem::take(&mut meter.now));
        }
        self.received.retain(|_, meter| meter.rate > 0);
    }

    /// Judges who is served from now on, and tells those for whom that is a change.
    fn judge(&mut self, unchoke: usize, occasion: Occasion) {
        let contenders: Vec<Contender> = self
            .askers
            .iter()
            .map(|(&id, asker)| Contender {
                peer: id,
                interested: asker.interested,
                service: asker.service,
                received: self.received.get(&asker.peer).map_or(0, |meter| meter.rate.max(meter.now)),
                sent: asker.rate,
            })
            .collect();
        let seeding = self.downloads == 0;
        let served: HashMap<AskerId, Service> =
            judge(&contenders, unchoke, seeding, occasion, &mut self.rng).into_iter().collect();
        for (id, asker) in &mut self.askers {
            let service = served.get(id).copied().unwrap_or(Service::Choked);
            let before = std::mem::replace(&mut asker.service, service);
            if (before == Service::Choked) == (service == Service::Choked) {
                continue;
            }
            debug!("{} is {service:?} for {}", asker.name, asker.file);
            let say = if service == Service::Choked { Say::Choke } else { Say::Unchoke };
            if service == Service::Choked {
                self.uplink.void(*id, asker.id);
                asker.open = 0;
            }
            let _ = asker.to.send(say);
        }
        self.serve();
    }

    /// Gives the turns that are free to those who wait.
    fn serve(&mut self) {
        while let Some(request) = self.uplink.next_request() {
            let Some(asker) = self.askers.get(&request.asker) else {
                self.uplink.done(request);
                continue;
            };
            if asker.to.send(Say::Piece(request)).is_err() {
                self.uplink.done(request);
            }
        }
    }
}

/// A place at the desk until it is dropped.
struct Place<'a> {
    uploads: &'a Uploads,
    asker: AskerId,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut state = self.uploads.state.lock();
        if let Some(gone) = state.askers.remove(&self.asker) {
            info!("{} has got {} pieces of {}", gone.name, gone.pieces, gone.file);
        }
        state.uplink.forget(self.asker);
        state.judge(self.uploads.manners.unchoke, Occasion::Change);
    }
}

/// Serves one that wants pieces of a file.
///
/// # Errors
/// What he is to be told before his connection is closed.
pub fn serve_join(
    sharing: &Sharing,
    uploads: &Uploads,
    connection: &mut Connection,
    peer: PeerId,
    file: &FileName,
    id: FileId,
) -> Result<()> {
    let shared = sharing.find(file, id)?;
    let opened = shared.open()?;
    let name = sharing.name(peer, connection.other());
    info!("{name} wants pieces of {file}");
    let (to, from) = unbounded();
    let place = {
        let mut state = uploads.state.lock();
        if state.askers.len() >= limits::JOINS {
            return Err(Error::new(Code::Busy, format!("{} others are served here", limits::JOINS))
                .advise("ask another holder, or later"));
        }
        let asker = state.next;
        state.next += 1;
        let (service, file) = (Service::Choked, file.clone());
        let (interested, open, sent, rate, pieces) = (false, 0, 0, 0, 0);
        let new = Asker { peer, name, file, id, interested, service, open, to, sent, rate, pieces };
        state.askers.insert(asker, new);
        Place { uploads, asker }
    };
    let asker = place.asker;
    let speaker = connection.speaker();
    // Whoever stands at the desk hears of every piece from now on; of those before, here.
    let have = shared.have();
    speaker.send(&FromPeer::Bitfield { payload: have.as_bytes().len() as u64 })?;
    speaker.send_bytes(have.as_bytes())?;
    thread::scope(move |scope| {
        // Dropped at the end of this closure, which closes the channel and so ends the speaker.
        let place = place;
        thread::Builder::new()
            .name("send_pieces".into())
            .spawn_scoped(scope, {
                let shared = Arc::clone(&shared);
                move || {
                    if let Err(e) = send_pieces(uploads, asker, &shared, &opened, &speaker, &from) {
                        debug!("{e}");
                        speaker.close();
                    }
                }
            })
            .map_err(|e| Error::new(Code::Busy, "no thread to send pieces with").because(e))?;
        let heard = hear_wishes(&place, connection, &shared);
        if heard.is_err() {
            // It is told why before its connection is closed, so nothing else is said from here on.
            drop(place);
        }
        heard
    })
}

/// Listens to one that wants pieces.
fn hear_wishes(place: &Place<'_>, connection: &mut Connection, shared: &Shared) -> Result<()> {
    let layout = shared.manifest().layout();
    loop {
        // Who has nothing to ask for says `interested` again now and then.
        let Received::Message(message) = connection.receive(Some(limits::REST_TIME))? else { return Ok(()) };
        let mut state = place.uploads.state.lock();
        let State { askers, uplink, .. } = &mut *state;
        let Some(asker) = askers.get_mut(&place.asker) else { return Ok(()) };
        match message {
            ToPeer::Interested { on } => {
                asker.interested = on;
                state.judge(place.uploads.manners.unchoke, Occasion::Change);
            }
            ToPeer::Request { piece } => {
                let piece = layout.piece(piece)?;
                // A request that has crossed a choke is void.
                if asker.service == Service::Choked {
                    continue;
                }
                if !shared.has(piece) {
                    return Err(Error::new(Code::NotFound, format!("piece {} is not here", piece.index()))
                        .advise("ask for pieces of the bitfield, or that `have` told of"));
                }
                if asker.open >= limits::OPEN_REQUESTS {
                    return Err(Error::new(Code::BadMessage, "too many requests are open")
                        .advise(format!("keep {} at most", limits::OPEN_REQUESTS)));
                }
                asker.open += 1;
                uplink.ask(Request { asker: place.asker, file: asker.id, piece });
                state.serve();
            }
            other => return Err(unexpected(&other, "interested or request")),
        }
    }
}

/// Speaks to one that wants pieces, until he or his place is gone.
fn send_pieces(
    uploads: &Uploads,
    asker: AskerId,
    shared: &Shared,
    file: &std::fs::File,
    speaker: &Speaker,
    from: &Receiver<Say>,
) -> Result<()> {
    for say in from {
        match say {
            Say::Have(piece) => speaker.send(&FromPeer::Have { piece: piece.index() })?,
            Say::Choke => speaker.send(&FromPeer::Choke {})?,
            Say::Unchoke => speaker.send(&FromPeer::Unchoke {})?,
            Say::Piece(request) => {
                let sent = send_piece(uploads, file, speaker, request.piece);
                let mut state = uploads.state.lock();
                state.uplink.done(request);
                if let (Ok(()), Some(asker)) = (&sent, state.askers.get_mut(&asker)) {
                    asker.sent += request.piece.len() as u64;
                    asker.pieces += 1;
                    asker.open = asker.open.saturating_sub(1);
                    let (name, pieces) = (shared.manifest().name(), shared.manifest().layout().pieces());
                    info!("sent piece {} of {pieces} of {name} to {}", request.piece.index() + 1, asker.name);
                }
                state.serve();
                drop(state);
                sent?;
            }
        }
    }
    Ok(())
}

/// Sends one piece, no faster than allowed.
fn send_piece(uploads: &Uploads, file: &std::fs::File, speaker: &Speaker, piece: Piece) -> Result<()> {
    speaker.send(&FromPeer::Piece { piece: piece.index(), payload: piece.len() as u64 })?;
    let step = if uploads.manners.up.is_some() { STEP } else { piece.len() };
    let mut sent = 0;
    while sent < piece.len() {
        let bytes = step.min(piece.len() - sent);
        uploads.pace(&uploads.up, bytes, || speaker.is_gone())?;
        speaker.send_file(file, piece.offset() + sent as u64, bytes)?;
        sent += bytes;
    }
    Ok(())
}
