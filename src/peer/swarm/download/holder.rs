//! What one thread does for a download: it listens to one holder, and takes what comes from it.
//!
//! A piece counts when its hash is right and it is written. Both are done by the thread that received it, so
//! that several holders' pieces are hashed on several cores.

use std::time::{Duration, Instant};

use super::{Download, FIRST_WORD, Neighbour, Progress, SILENCE, SILENT_PAUSE};
use crate::error::{Code, Error, Result};
use crate::net::connection::{Connection, Received};
use crate::net::limits;
use crate::net::message::{FromPeer, Holder, ToPeer, no_answer};
use crate::share::picker::{Arrival, Verdict, is_slow};
use crate::share::store::Written;
use crate::share::{Bitfield, Piece};

/// The pause before the disk is tried again when it was full.
const DISK_PAUSE: Duration = Duration::from_secs(1);

impl Download<'_> {
    /// Listens to one holder until it or the download is over.
    pub(super) fn fetch_from(&self, holder: &Holder) -> Result<()> {
        let layout = self.manifest.layout();
        let began = Instant::now();
        let mut connection = Connection::connect(holder.addr, limits::LINE)?;
        let (round_trip, mut came) = (began.elapsed(), None::<Instant>);
        let line = connection.outbox();
        {
            let mut state = self.state.lock();
            if state.over {
                return Ok(());
            }
            let neighbour = Neighbour { line: line.clone(), heard: Instant::now(), told: Some(false) };
            state.neighbours.insert(holder.peer, neighbour);
        }
        let (file, id) = (self.manifest.name().clone(), self.manifest.id());
        line.send(&ToPeer::Join { peer: self.asker.number, file, id });
        let mut bytes = Vec::new();
        let mut patience = FIRST_WORD;
        loop {
            let message = match connection.receive(Some(patience))? {
                Received::Message(message) => message,
                Received::End => return Err(Error::failed(format!("{} closed the connection", holder.addr))),
                Received::Silence => {
                    self.bear_silence(holder, patience)?;
                    continue;
                }
            };
            patience = SILENCE;
            if let Some(neighbour) = self.state.lock().neighbours.get_mut(&holder.peer) {
                neighbour.heard = Instant::now();
            }
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
                    self.asker.uploads.heard(holder.peer, self.manifest.id(), piece);
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
                    if let Some(last) = came.replace(Instant::now()) {
                        self.state.lock().picker.paced(holder.peer, is_slow(last.elapsed(), round_trip));
                    }
                    self.take(holder, piece, &bytes)?;
                }
                FromPeer::Error(no) => return Err(no.into()),
                other => return Err(no_answer(&other, "join")),
            }
        }
    }

    /// A holder has said nothing for as long as we had patience: that is right when it has said which pieces it has,
    /// and owes none.
    fn bear_silence(&self, holder: &Holder, patience: Duration) -> Result<()> {
        let mut state = self.state.lock();
        let owes = match (patience < SILENCE, state.picker.owes(holder.peer)) {
            (true, _) => "word which pieces it has",
            (false, true) => "pieces",
            (false, false) => return Ok(()),
        };
        state.avoid(holder.peer, SILENT_PAUSE);
        let what = format!("it owes {owes} and has said nothing for {} s", patience.as_secs());
        Err(Error::failed(what).advise("others are asked"))
    }

    /// A piece has come: it is checked, written, counted, and told of.
    fn take(&self, holder: &Holder, piece: Piece, bytes: &[u8]) -> Result<()> {
        let mut arrival = Arrival::NotAsked;
        self.change(|state| arrival = state.picker.arrived(holder.peer, piece));
        if arrival != Arrival::Wanted {
            return Ok(());
        }
        match self.write(piece, bytes) {
            Some(Written::Kept) => {}
            Some(Written::WrongHash) => return self.remember_liar(holder, piece),
            None => return Ok(()),
        }
        self.asker.uploads.received(holder.peer, bytes.len() as u64);
        self.running.came(holder.peer, bytes.len());
        let mut holders = 0;
        let hear = self.asker.uploads.listeners(self.manifest.id());
        self.change(|state| {
            (state.last_piece, state.told_quiet, state.disk_full) = (Instant::now(), false, false);
            let losers = state.picker.verified(piece);
            for loser in losers.into_iter().filter(|loser| hear.contains(loser)) {
                state.picker.taken_back(loser, piece);
            }
            *state.from.entry(holder.name.to_string()).or_default() += 1;
            holders = state.neighbours.len();
        });
        self.asker.uploads.have(self.manifest.id(), piece);
        let _ = self.progress.send(Progress::Piece { bytes: bytes.len() as u64, holders });
        Ok(())
    }

    /// A piece was wrong: it is fetched elsewhere.
    fn remember_liar(&self, holder: &Holder, piece: Piece) -> Result<()> {
        let mut verdict = Verdict::Warned;
        self.change(|state| verdict = state.picker.failed(holder.peer, piece));
        let (name, number) = (&holder.name, piece.index());
        self.note(format!("{name} sent wrong bytes for piece {number}: asking elsewhere"));
        match verdict {
            Verdict::Warned => Ok(()),
            Verdict::Barred => Err(Error::failed("it sent wrong bytes again, and is not asked any more")),
        }
    }

    /// Verifies a piece and writes it; while the disk is full, again and again until the download is given up.
    /// `None` when it was.
    fn write(&self, piece: Piece, bytes: &[u8]) -> Option<Written> {
        let mut said = false;
        loop {
            let no = match self.partial.write(piece, bytes) {
                Ok(written) => return Some(written),
                Err(no) => no,
            };
            let mut state = self.state.lock();
            if state.over || state.failed.is_some() {
                return None;
            }
            if no.code() != Code::Busy {
                state.failed = Some(no.advise("the pieces that are there are kept"));
                self.changed.notify_all();
                return None;
            }
            state.disk_full = true;
            if !std::mem::replace(&mut said, true) {
                self.note("the disk is full: the download goes on when there is room".into());
            }
            self.changed.wait_for(&mut state, DISK_PAUSE);
        }
    }
}
