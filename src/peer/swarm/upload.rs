//! Pieces out: which requester is served, in which order, and how fast.
//!
//! # The problem
//! Many ask at once for pieces of what lies here, and one link carries them all. Which of them are served is decided
//! by the [`choker`](crate::share::choker), whose request is next by the [`Uplink`](crate::share::uplink::Uplink), how
//! fast by the [`Lane`]. This module waits for them.
//!
//! # Which thread does what
//! ```text
//!   serve_peer        one a conversation    listens: interested, request, have; passes them to the requesters
//!   send_pieces       one a conversation    speaks: have, choke, unchoke, and pieces when it is their turn
//!   judge_uploads     one a peer            every ten seconds judges which requesters are served from now on
//! ```
//! The [`Requesters`] are behind one lock, under which no thread waits: what follows from a change is put into the
//! channels of the threads that speak. A turn that was given is given back when the piece is sent, or its requester
//! gone.
//!
//! Bytes go from the file to the socket inside the kernel, so a peer's memory does not grow with what it serves.
//!
//! # What is missing
//! A requester without a pass is served as nobody: it is not ranked by what it gave, and all such requesters have one
//! account of debts together. A pass shows which peer asks, and not that it is only one: a user may run two peers.

use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::Receiver;
use log::debug;
use parking_lot::Mutex;

use super::link::Lane;
use super::requesters::{Requesters, Say, Upload};
use crate::error::{Code, Result};
use crate::net::connection::{Connection, Received, Writer};
use crate::net::limits;
use crate::net::message::{Activity, FromPeer, Name, PeerId, ToPeer, unexpected};
use crate::peer::config::UploadSettings;
use crate::peer::library::Library;
use crate::peer::library::offer::{Offer, Source};
use crate::peer::network::Network;
use crate::share::choker::Occasion;
use crate::share::uplink::RequesterId;
use crate::share::{FileId, FileName, Piece};
use crate::thread;

/// What this peer gives, and is given.
#[derive(Debug)]
pub(crate) struct Uploads {
    /// This peer's link to the others, out and in.
    pub(crate) up: Lane,
    pub(crate) down: Lane,
    pub(crate) requesters: Mutex<Requesters>,
}

impl Uploads {
    /// Without any requester; the seed is for what is drawn.
    pub(crate) fn new(settings: UploadSettings, seed: u64) -> Self {
        Self {
            up: Lane::new(settings.up),
            down: Lane::new(settings.down),
            requesters: Mutex::new(Requesters::new(settings, seed)),
        }
    }

    /// The requesters, for `status`.
    pub(crate) fn status(&self, now: Instant) -> Vec<Upload> {
        self.requesters.lock().status(now)
    }

    /// What the manager is told: what this peer is fetching, and which peers want pieces of it.
    pub(crate) fn activity(&self, now: Instant) -> Activity {
        let requesters = self.requesters.lock();
        let uploads = requesters.status(now).into_iter().map(|line| line.row).collect();
        Activity { downloads: requesters.register.rows(now), uploads, ..Activity::default() }
    }

    /// Judges in rounds until the peer leaves.
    pub(crate) fn judge_uploads(&self, network: &Network) {
        let rounds = (1..).take_while(|_| network.pause(network.config.upload.round));
        for round in rounds {
            self.requesters.lock().judge(Occasion::of_round(round), Instant::now());
        }
    }
}

/// A seat among the requesters, until it is dropped.
struct UploadSeat<'a> {
    uploads: &'a Uploads,
    requester: RequesterId,
}

impl Drop for UploadSeat<'_> {
    fn drop(&mut self) {
        self.uploads.requesters.lock().leave(self.requester, Instant::now());
    }
}

/// Serves a peer that wants pieces of a file.
///
/// # Errors
/// What it is to be told before its connection is closed.
pub(crate) fn serve_join(
    library: &Library,
    uploads: &Uploads,
    connection: &mut Connection,
    peer: PeerId,
    file: &FileName,
    id: FileId,
) -> Result<()> {
    let offer = library.find(file, id)?;
    let source = library.open(&offer)?;
    let (addr, served, now) = (connection.other(), Arc::clone(&offer), Instant::now());
    let (requester, says) = uploads.requesters.lock().admit(peer, addr, served, now)?;
    let seat = UploadSeat { uploads, requester };
    let sender = PieceSender { uploads, requester, offer: &offer, source, speaker: connection.writer() };
    std::thread::scope(|scope| {
        thread::start_scoped(scope, "send_pieces", move || sender.send_pieces(&says))?;
        // Whatever comes of it, the seat is given up here, which closes the channel and so ends the other thread. A
        // requester that is refused something hears why before its connection is closed: nothing else is said then.
        hear_wishes(seat, connection, &offer, || library.network.name_of(peer))
    })
}

/// Listens to one requester, until it is gone.
fn hear_wishes(
    seat: UploadSeat<'_>,
    connection: &mut Connection,
    offer: &Offer,
    name: impl Fn() -> Option<Name>,
) -> Result<()> {
    let (layout, requesters) = (offer.manifest.layout(), &seat.uploads.requesters);
    let mut named = false;
    loop {
        // A requester that has nothing to ask for says `interested` again now and then.
        let Received::Message(message) = connection.receive(Some(limits::REST_TIME))? else { return Ok(()) };
        // It may be here before the list that names it.
        if !named && let Some(name) = name() {
            named = true;
            requesters.lock().named(seat.requester, name);
        }
        let served = match message {
            ToPeer::Interested { on } => requesters.lock().interested(seat.requester, on, Instant::now()),
            ToPeer::Request { piece } => {
                let piece = layout.piece(piece)?;
                let here = offer.is_whole() || offer.have().contains(piece);
                requesters.lock().ask(seat.requester, piece, here)?
            }
            ToPeer::Have { piece } => requesters.lock().has(seat.requester, layout.piece(piece)?),
            ToPeer::Wrong { piece } if requesters.lock().may_complain(seat.requester) => {
                offer.recheck(layout.piece(piece)?)?;
                true
            }
            other => {
                return Err(unexpected(
                    &other,
                    "interested, request, have, or wrong of a piece that it was sent",
                ));
            }
        };
        if !served {
            // It was told why, or does not listen; what it still asks for must not destroy that.
            connection.linger();
            return Ok(());
        }
    }
}

/// What one requester is served from.
struct PieceSender<'a> {
    uploads: &'a Uploads,
    requester: RequesterId,
    offer: &'a Offer,
    source: Source,
    speaker: Writer,
}

impl PieceSender<'_> {
    /// Speaks to a requester until it is gone.
    fn send_pieces(mut self, says: &Receiver<Say>) {
        let Err(e) = self.say_all(says) else { return };
        debug!("{e}");
        if e.code() == Code::NotFound && self.speaker.send(&FromPeer::Error((&e).into())).is_ok() {
            // The other side closes when it has read this; closing here might destroy it. Until then it is no
            // requester any more: else it would keep turns that others wait for.
            self.uploads.requesters.lock().leave(self.requester, Instant::now());
        } else {
            self.speaker.close();
        }
    }

    fn say_all(&mut self, says: &Receiver<Say>) -> Result<()> {
        // A requester hears of every piece that comes from now on; of those before, here.
        let have = self.offer.have();
        let bitfield = FromPeer::Bitfield { payload: have.as_bytes().len() as u64 };
        self.speaker.send(&bitfield)?;
        self.speaker.send_payload(|out| out.write_all(have.as_bytes()))?;
        says.iter().try_for_each(|say| match say {
            Say::Message(message) => self.speaker.send(&message),
            Say::Piece(request) => {
                // The reason may be the disk: then this peer finds out before others do.
                let sent = self
                    .send_piece(request.piece)
                    .or_else(|no| self.offer.recheck(request.piece).and(Err(no)));
                self.uploads.requesters.lock().done(request, sent.is_ok(), Instant::now());
                sent
            }
        })
    }

    /// Sends one piece, no faster than allowed.
    fn send_piece(&mut self, piece: Piece) -> Result<()> {
        let file = self.offer.file(&mut self.source)?;
        let (speaker, size) = (&self.speaker, piece.len() as u64);
        speaker.send(&FromPeer::Piece { piece: piece.index(), payload: size })?;
        let mut sent = 0;
        while sent < size {
            let bytes = self.uploads.up.pass(size - sent, || speaker.is_gone())?;
            speaker.send_file(file, piece.offset() + sent, bytes as usize)?;
            sent += bytes;
        }
        Ok(())
    }
}
