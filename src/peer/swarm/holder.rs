//! What one thread does for a download: it listens to one holder, and takes what comes from it.
//!
//! A piece counts when its hash is right and it is written. Both are done by the thread that received it, so
//! that several holders' pieces are hashed on several cores.

use std::time::{Duration, Instant};

use super::transfer::{DownloadEvent, Transfer};
use crate::error::{Code, Error, Result};
use crate::net::connection::{Connection, Received};
use crate::net::limits;
use crate::net::message::{FromPeer, Holder, NOBODY, PeerId, ToManager, ToPeer, no_answer};
use crate::share::picker::is_slow;
use crate::share::store::Written;
use crate::share::{Bitfield, Layout, Piece};

/// How long a holder may say nothing before it has told which pieces it has: that takes it no thought.
const FIRST_WORD: Duration = limits::MESSAGE_TIME;

/// The pause before the disk is tried again when it was full.
const DISK_PAUSE: Duration = Duration::from_secs(1);

/// A conversation with a holder.
struct Fetcher<'a> {
    transfer: &'a Transfer<'a>,
    holder: &'a Holder,
    layout: Layout,
    connection: Connection,
    round_trip: Duration,
    /// When its last piece came.
    last_piece: Option<Instant>,
    /// Whether a piece takes long at this holder; until two have come it counts as slow.
    slow: bool,
    bytes: Vec<u8>,
}

/// Listens to one holder until it or the download is over. Its pass is that of `requester`, this peer's number.
pub(super) fn fetch_from(transfer: &Transfer<'_>, holder: &Holder, requester: PeerId) -> Result<()> {
    let began = Instant::now();
    let secret = transfer.settings.library.network.config.admission.secret.as_ref();
    let mut connection = Connection::connect(holder.addr, limits::LINE, secret)?;
    let round_trip = began.elapsed();
    let manifest = &transfer.partial.manifest;
    // Before other threads can say anything to it: this opens the conversation.
    let (file, id, pass) = (manifest.name().clone(), manifest.id(), holder.pass.clone());
    let peer = if pass.is_some() { requester } else { NOBODY };
    connection.send(&ToPeer::Join { peer, file, id, pass })?;
    if !transfer.neighbours.lock().connected(holder.peer, connection.outbox(), Instant::now()) {
        return Ok(());
    }
    let (layout, last_piece, slow, bytes) = (manifest.layout(), None, true, Vec::new());
    let mut fetcher = Fetcher { transfer, holder, layout, connection, round_trip, last_piece, slow, bytes };
    let mut heard = fetcher.connection.receive(Some(FIRST_WORD))?;
    if let Received::Silence = heard {
        let what =
            format!("it owes word which pieces it has, and has said nothing for {} s", FIRST_WORD.as_secs());
        return Err(Error::failed(what).advise("others are asked"));
    }
    loop {
        match heard {
            Received::Message(message) => fetcher.hear(message)?,
            Received::Silence => {}
            Received::End => return Err(Error::failed("it has left")),
        }
        let patience = transfer.neighbours.lock().patience(holder.peer, Instant::now())?;
        heard = fetcher.connection.receive(Some(patience))?;
    }
}

impl Fetcher<'_> {
    fn hear(&mut self, message: FromPeer) -> Result<()> {
        let (transfer, peer) = (self.transfer, self.holder.peer);
        transfer.neighbours.lock().heard(peer, Instant::now());
        match message {
            FromPeer::Bitfield { payload } => {
                let has = self.receive_bitfield(payload)?;
                transfer.change(|state, _| state.picker.joined(peer, has));
            }
            FromPeer::Have { piece } => {
                let piece = self.layout.piece(piece)?;
                transfer.change(|state, _| state.picker.gained(peer, piece));
                let id = transfer.partial.manifest.id();
                transfer.settings.uploads.requesters.lock().holder_has(self.holder, id, piece);
            }
            FromPeer::Choke {} => transfer.change(|state, _| state.picker.choked(peer)),
            FromPeer::Unchoke {} => transfer.change(|state, _| state.picker.unchoked(peer)),
            FromPeer::Piece { piece, payload } => {
                let (piece, began) = (self.layout.piece(piece)?, Instant::now());
                self.receive_piece(piece, payload)?;
                transfer.neighbours.lock().was_sending(peer, began.elapsed());
                self.take(piece)?;
            }
            FromPeer::Error(no) => return Err(no.into()),
            other => return Err(no_answer(&other, "join")),
        }
        Ok(())
    }

    fn receive_bitfield(&mut self, payload: u64) -> Result<Bitfield> {
        if payload != Bitfield::wire_size(self.layout) as u64 {
            return Err(Error::new(Code::BadMessage, format!("a bitfield of {payload} bytes")));
        }
        let mut bits = vec![0; payload as usize];
        self.connection.receive_payload(&mut bits)?;
        Bitfield::from_wire(self.layout, &bits)
    }

    /// Receives the bytes of a piece, no faster than allowed, and sees how long a piece takes at this holder.
    fn receive_piece(&mut self, piece: Piece, payload: u64) -> Result<()> {
        if payload != piece.len() as u64 {
            let (number, size) = (piece.index(), piece.len());
            let what = format!("{payload} bytes for piece {number}, which has {size}");
            return Err(Error::new(Code::BadMessage, what));
        }
        self.bytes.resize(piece.len(), 0);
        let lane = &self.transfer.settings.uploads.down;
        self.connection.payload_pace(limits::PIECE_PACE);
        let mut rest = &mut self.bytes[..];
        while !rest.is_empty() {
            let step = lane.pass(rest.len() as u64, || self.connection.is_gone())?;
            let (part, later) = rest.split_at_mut(step as usize);
            self.connection.receive_payload(part)?;
            rest = later;
        }
        if let Some(last) = self.last_piece.replace(Instant::now()) {
            self.slow = is_slow(last.elapsed(), self.round_trip);
        }
        Ok(())
    }

    /// A piece has come: it is checked, written, counted, and told of.
    fn take(&self, piece: Piece) -> Result<()> {
        let (transfer, peer) = (self.transfer, self.holder.peer);
        let wanted = transfer.change(|state, _| {
            state.picker.paced(peer, self.slow);
            state.picker.arrived(peer, piece)
        });
        if !wanted {
            return Ok(());
        }
        match self.write(piece) {
            Some(Written::Kept) => {}
            Some(Written::WrongHash) => return self.remember_liar(piece),
            None => return Ok(()),
        }
        {
            let mut requesters = transfer.settings.uploads.requesters.lock();
            requesters.register.came(transfer.download, self.holder, piece.len() as u64, Instant::now());
            requesters.have(transfer.partial.manifest.id(), piece);
        }
        let holders = transfer.change(|state, now| state.kept(piece, peer, now));
        let _ = transfer.events.send(DownloadEvent::Piece { bytes: piece.len() as u64, holders });
        Ok(())
    }

    /// A piece was wrong: it is fetched elsewhere.
    fn remember_liar(&self, piece: Piece) -> Result<()> {
        let barred = self.transfer.change(|state, _| state.lied(piece, self.holder.peer));
        let (name, number) = (&self.holder.name, piece.index());
        self.transfer.note(format!("{name} sent wrong bytes for piece {number}: asking elsewhere"));
        let reason = format!("wrong bytes for piece {number} of {}", self.transfer.partial.manifest.name());
        let blame = ToManager::Blame { peer: self.holder.peer, reason };
        self.transfer.settings.library.network.tell_manager(&blame);
        match barred {
            false => Ok(()),
            true => Err(Error::failed("it sent wrong bytes again, and is not asked any more")),
        }
    }

    /// Verifies a piece and writes it; while the disk is full, again and again until the download is over. `None` when
    /// it is.
    fn write(&self, piece: Piece) -> Option<Written> {
        let transfer = self.transfer;
        loop {
            let no = match transfer.partial.write(piece, &self.bytes) {
                Ok(written) => return Some(written),
                Err(no) => no,
            };
            let mut state = transfer.neighbours.lock();
            if no.code() != Code::Busy && !state.over {
                (state.over, state.failed) = (true, Some(no.advise("the pieces that are there are kept")));
                transfer.changed.notify_all();
            }
            if state.over {
                return None;
            }
            if !std::mem::replace(&mut state.disk_full, true) {
                transfer.note("the disk is full: the download goes on when there is room".into());
            }
            transfer.changed.wait_for(&mut state, DISK_PAUSE);
        }
    }
}
