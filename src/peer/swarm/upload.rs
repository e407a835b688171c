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

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, unbounded};
use log::{debug, info};
use parking_lot::{Condvar, Mutex};
use rand::SeedableRng;
use rand::rngs::StdRng;

use super::rate::Fetching;
use super::requesters::{Asker, Say, State};
use crate::error::{Code, Error, Result};
use crate::net::connection::{Connection, Received, Speaker};
use crate::net::limits;
use crate::net::message::{FromPeer, PeerId, Refusal, ToPeer, unexpected};
use crate::peer::config::UploadSettings;
use crate::peer::library::Library;
use crate::peer::library::offer::{Offer, Source};
use crate::share::choker::{OPTIMISTIC_SECONDS, Occasion, ROUND_SECONDS, Service};
use crate::share::limiter::Limiter;
use crate::share::uplink::{AskerId, Request, Uplink};
use crate::share::{FileId, FileName, Piece};
use crate::thread::{self, Thread};

/// How many pieces a link without a limit carries at a time: it is the machine that limits.
const UNLIMITED_AT_ONCE: usize = 16;

/// What is sent or taken in one step where there is a limit, in bytes; the burst of a token bucket.
const STEP: usize = 64 << 10;

/// What may wait to be said to one that wants pieces, beside a word for each piece: he is choked and unchoked by
/// rounds and by what he says himself.
const UNSAID: usize = 1000;

/// What is sent of a file in one step where there is none.
const FREE_STEP: usize = 1 << 20;

/// The longest sleep before somebody who waits for a bucket looks whether it still matters.
const NAP: Duration = Duration::from_millis(100);

/// The desk for all who want pieces.
#[derive(Debug)]
pub struct Uploads {
    settings: UploadSettings,
    began: Instant,
    up: Mutex<Limiter>,
    down: Mutex<Limiter>,
    state: Mutex<State>,
    fetching: Fetching,
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
    pub fn new(settings: UploadSettings) -> Self {
        let at_once = if settings.up.is_some() { 1 } else { UNLIMITED_AT_ONCE };
        let state = State {
            serves: settings.up != Some(0),
            next: 1,
            askers: BTreeMap::new(),
            uplink: Uplink::new(at_once),
            received: HashMap::new(),
            downloads: 0,
            rng: StdRng::from_rng(&mut rand::rng()),
            over: false,
        };
        Self {
            settings,
            began: Instant::now(),
            up: Mutex::new(Limiter::new(settings.up)),
            down: Mutex::new(Limiter::new(settings.down)),
            state: Mutex::new(state),
            fetching: Fetching::default(),
            stopping: Condvar::new(),
        }
    }

    /// How long a round of choking takes.
    pub fn round(&self) -> Duration {
        Duration::from_secs(ROUND_SECONDS).div_f64(self.settings.time_scale)
    }

    /// Starts the thread that judges in rounds.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(self: &Arc<Self>) -> Result<Thread> {
        let uploads = Arc::clone(self);
        thread::start("judge_uploads", move || uploads.judge_uploads())
    }

    /// What this peer is fetching.
    pub fn fetching(&self) -> &Fetching {
        &self.fetching
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

    /// Whom these news reach: the numbers of those who are told of this file.
    pub fn listeners(&self, id: FileId) -> HashSet<PeerId> {
        self.state.lock().askers.values().filter(|asker| asker.id == id).map(|asker| asker.peer).collect()
    }

    /// A peer says that it has a piece: if it has asked for it here, too, it is not sent it any more.
    pub fn heard(&self, peer: PeerId, id: FileId, piece: Piece) {
        let mut state = self.state.lock();
        let State { askers, uplink, .. } = &mut *state;
        for (&number, asker) in askers.iter_mut().filter(|(_, asker)| (asker.peer, asker.id) == (peer, id)) {
            if uplink.cancel(Request { asker: number, file: id, piece }) {
                asker.open = asker.open.saturating_sub(1);
            }
        }
    }

    /// Receives the bytes of a piece, no faster than allowed.
    ///
    /// # Errors
    /// When they do not come whole and in time.
    pub fn receive(&self, connection: &mut Connection, bytes: &mut [u8]) -> Result<()> {
        let mut payload = connection.payload_at(limits::PIECE_PACE);
        if self.settings.down.is_none() {
            return payload.receive_part(bytes);
        }
        for part in bytes.chunks_mut(STEP) {
            self.pace(&self.down, part.len(), || payload.is_gone())?;
            payload.receive_part(part)?;
        }
        Ok(())
    }

    /// Waits until some of the `left` bytes of something that is no piece may be uploaded; says how many.
    ///
    /// # Errors
    /// When the other side is gone.
    pub fn pass(&self, left: u64, gone: impl Fn() -> bool) -> Result<u64> {
        let step = if self.settings.up.is_some() { STEP } else { FREE_STEP };
        let bytes = left.min(step as u64);
        self.pace(&self.up, bytes as usize, gone)?;
        Ok(bytes)
    }

    /// Waits until so many bytes may pass, unless it does not matter any more.
    fn pace(&self, bucket: &Mutex<Limiter>, bytes: usize, gone: impl Fn() -> bool) -> Result<()> {
        let now = self.began.elapsed();
        let mut wait = bucket.lock().take(bytes as u64, now);
        while !wait.is_zero() {
            let nap = wait.min(NAP);
            std::thread::sleep(nap);
            wait -= nap;
            if !wait.is_zero() && gone() {
                bucket.lock().give_back(bytes as u64);
                return Err(Error::failed("the other side is gone"));
            }
        }
        Ok(())
    }

    /// Somebody is served no more, and others may be.
    fn leaves(&self, asker: AskerId) {
        let mut state = self.state.lock();
        state.remove(asker);
        state.judge(self.settings.unchoke, Occasion::Change);
    }

    fn judge_uploads(&self) {
        let round = self.round();
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
            state
                .judge(self.settings.unchoke, if last { Occasion::OptimisticRound } else { Occasion::Round });
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
        self.uploads.leaves(self.asker);
    }
}

/// Serves one that wants pieces of a file.
///
/// # Errors
/// What he is to be told before his connection is closed.
pub fn serve_join(
    library: &Library,
    uploads: &Uploads,
    connection: &mut Connection,
    peer: PeerId,
    file: &FileName,
    id: FileId,
) -> Result<()> {
    let offer = library.find(file, id)?;
    let mut source = offer.open()?;
    let name = library.network().name_of(peer, connection.other());
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
        let room = offer.manifest().layout().pieces() as usize + UNSAID;
        let new = Asker { peer, name, file, id, interested, service, open, to, room, sent, rate, pieces };
        state.askers.insert(asker, new);
        Place { uploads, asker }
    };
    let asker = place.asker;
    let speaker = connection.speaker();
    // Whoever stands at the desk hears of every piece from now on; of those before, here.
    let have = offer.have();
    speaker.send(&FromPeer::Bitfield { payload: have.as_bytes().len() as u64 })?;
    speaker.send_bytes(have.as_bytes())?;
    std::thread::scope(move |scope| {
        // Dropped at the end of this closure, which closes the channel and so ends the speaker.
        let place = place;
        let sent_from = Arc::clone(&offer);
        thread::start_scoped(scope, "send_pieces", move || {
            if let Err(e) = send_pieces(uploads, asker, &sent_from, &mut source, &speaker, &from) {
                debug!("{e}");
                speaker.close();
            }
        })?;
        let heard = hear_wishes(&place, connection, &offer);
        if heard.is_err() {
            // It is told why before its connection is closed, so nothing else is said from here on.
            drop(place);
        }
        heard
    })
}

/// Listens to one that wants pieces.
fn hear_wishes(place: &Place<'_>, connection: &mut Connection, offer: &Offer) -> Result<()> {
    let layout = offer.manifest().layout();
    loop {
        // Who has nothing to ask for says `interested` again now and then.
        let Received::Message(message) = connection.receive(Some(limits::REST_TIME))? else { return Ok(()) };
        let mut state = place.uploads.state.lock();
        let State { askers, uplink, .. } = &mut *state;
        let Some(asker) = askers.get_mut(&place.asker) else {
            drop(state);
            // It was told why, or does not listen; what it still asks for must not destroy that.
            connection.linger();
            return Ok(());
        };
        match message {
            ToPeer::Interested { on } => {
                asker.interested = on;
                state.judge(place.uploads.settings.unchoke, Occasion::Change);
            }
            ToPeer::Request { piece } => {
                let piece = layout.piece(piece)?;
                // A request that has crossed a choke is void.
                if asker.service == Service::Choked {
                    continue;
                }
                if !offer.has(piece) {
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
    offer: &Offer,
    source: &mut Source,
    speaker: &Speaker,
    from: &Receiver<Say>,
) -> Result<()> {
    for say in from {
        match say {
            Say::Have(piece) => speaker.send(&FromPeer::Have { piece: piece.index() })?,
            Say::Choke => speaker.send(&FromPeer::Choke {})?,
            Say::Unchoke => speaker.send(&FromPeer::Unchoke {})?,
            Say::Piece(request) => {
                let sent =
                    offer.file(source).and_then(|file| send_piece(uploads, file, speaker, request.piece));
                let mut state = uploads.state.lock();
                state.uplink.done(request);
                if let (Ok(()), Some(asker)) = (&sent, state.askers.get_mut(&asker)) {
                    asker.sent += request.piece.len() as u64;
                    asker.pieces += 1;
                    asker.open = asker.open.saturating_sub(1);
                    let (name, pieces) = (offer.name(), offer.manifest().layout().pieces());
                    info!("sent piece {} of {pieces} of {name} to {}", request.piece.index() + 1, asker.name);
                }
                state.serve();
                drop(state);
                match sent {
                    Err(no) if no.code() == Code::NotFound => {
                        // The other side closes when it has read this; closing here might destroy it. Until then it
                        // stands at the desk no more: turns that it was given would be nobody's.
                        info!("{no}");
                        let told = speaker.send(&FromPeer::Error(Refusal::from(&no)));
                        uploads.leaves(asker);
                        return told;
                    }
                    sent => sent?,
                }
            }
        }
    }
    Ok(())
}

/// Sends one piece, no faster than allowed.
fn send_piece(uploads: &Uploads, file: &File, speaker: &Speaker, piece: Piece) -> Result<()> {
    speaker.send(&FromPeer::Piece { piece: piece.index(), payload: piece.len() as u64 })?;
    let step = if uploads.settings.up.is_some() { STEP } else { piece.len() };
    let mut sent = 0;
    while sent < piece.len() {
        let bytes = step.min(piece.len() - sent);
        uploads.pace(&uploads.up, bytes, || speaker.is_gone())?;
        speaker.send_file(file, piece.offset() + sent as u64, bytes)?;
        sent += bytes;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{Sender, unbounded};

    use super::*;
    use crate::share::Layout;

    /// Somebody who wants pieces of the file 0, and is served.
    fn asker(peer: PeerId, to: Sender<Say>) -> Asker {
        Asker {
            peer,
            name: "ben".into(),
            file: "a".parse().unwrap(),
            id: FileId::from([0; 32]),
            interested: true,
            service: Service::Regular,
            open: 2,
            to,
            room: 10,
            sent: 0,
            rate: 0,
            pieces: 0,
        }
    }

    #[test]
    fn who_lets_more_pile_up_than_there_is_room_for_is_taken_off_the_desk() {
        let uploads = Uploads::new(UploadSettings { up: None, down: None, unchoke: 4, time_scale: 1.0 });
        let (to, from) = unbounded();
        let mut state = uploads.state.lock();
        state.askers.insert(7, asker(2, to));
        for turn in 0..100 {
            if let Some(asker) = state.askers.get_mut(&7) {
                asker.interested = turn % 2 == 1;
            }
            state.judge(4, Occasion::Change);
        }
        assert!(!state.askers.contains_key(&7));
        assert_eq!(from.len(), 11, "one more than there is room for");
    }

    #[test]
    fn who_says_that_he_has_a_piece_is_not_sent_it_any_more() {
        let uploads = Uploads::new(UploadSettings { up: Some(1), down: None, unchoke: 4, time_scale: 1.0 });
        let (to, _from) = unbounded();
        let (id, layout) = (FileId::from([0; 32]), Layout::new(4096, 1024).unwrap());
        let request = |piece| Request { asker: 7, file: id, piece: layout.piece(piece).unwrap() };
        {
            let mut state = uploads.state.lock();
            state.askers.insert(7, asker(2, to));
            (0..2).for_each(|piece| state.uplink.ask(request(piece)));
        }
        uploads.heard(3, id, request(0).piece);
        uploads.heard(2, FileId::from([1; 32]), request(0).piece);
        uploads.heard(2, id, request(3).piece);
        assert_eq!(uploads.state.lock().askers[&7].open, 2, "another peer, another file, another piece");
        uploads.heard(2, id, request(0).piece);
        let mut state = uploads.state.lock();
        assert_eq!(state.askers[&7].open, 1);
        assert_eq!(state.uplink.next_request(), Some(request(1)));
    }
}
