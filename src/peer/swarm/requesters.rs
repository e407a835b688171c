//! The requesters: which of the peers that want pieces are served, and what each is told.
//!
//! This is plain state behind one lock, under which no thread waits. Time is passed in, and a seed for what is drawn.
//! What follows from a change goes into the channels of the threads that speak.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

use crossbeam_channel::{Receiver, Sender, unbounded};
use log::info;
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde::Serialize;

use super::rate::{Rate, Register};
use crate::error::{Code, Error, Result};
use crate::net::limits;
use crate::net::message::{FromPeer, Holder, Name, PeerId, UploadStage, UploadState};
use crate::net::places::{Party, busy, gives_way};
use crate::peer::config::UploadSettings;
use crate::peer::library::offer::Offer;
use crate::share::choker::{Contender, Occasion, Service, judge};
use crate::share::picker::FAILURES;
use crate::share::uplink::{PieceRequest, RequesterId, Uplink};
use crate::share::{FileId, Piece};

/// How many pieces a link without a limit carries at a time: it is the machine that limits.
const UNLIMITED_AT_ONCE: usize = 16;

/// What may wait to be said to a requester, beside a word for each piece: it is choked and unchoked by rounds and by
/// what it says itself.
const UNSAID: usize = 1000;

/// What the thread that speaks to a requester is to say.
#[derive(Debug)]
pub(crate) enum Say {
    Message(FromPeer),
    /// It is the turn of this request.
    Piece(PieceRequest),
}

/// A conversation with a peer that wants pieces.
#[derive(Debug)]
pub(super) struct Requester {
    peer: PeerId,
    /// Where it comes from, and its name once the list of peers has it.
    addr: SocketAddr,
    name: Option<Name>,
    offer: Arc<Offer>,
    interested: bool,
    service: Service,
    /// Since when both are what they are.
    since: Instant,
    to: Sender<Say>,
    /// What was sent to it in the last round, and the pieces in all.
    sent: Rate,
    pieces: u64,
    /// How often it said that a piece was wrong.
    faults: u64,
}

impl Requester {
    /// How much may wait to be said to it: one that lets more pile up is served no more.
    fn room(&self) -> usize {
        self.offer.manifest.layout().pieces() as usize + UNSAID
    }

    /// What people call it.
    fn called(&self) -> String {
        self.name.as_ref().map_or_else(|| self.addr.to_string(), Name::to_string)
    }

    /// Whether its requests wait behind those of others.
    fn owes(&self, register: &Register) -> bool {
        register.owes(&self.name, &self.offer.manifest)
    }

    fn say(&self, message: FromPeer) {
        // Where the thread that speaks has ended, the requester is about to leave.
        let _ = self.to.send(Say::Message(message));
    }
}

/// A requester, for `status`.
#[derive(Debug, Serialize)]
pub(crate) struct Upload {
    pub(crate) to: String,
    pub(crate) pieces: u64,
    /// What the manager is told of it.
    #[serde(flatten)]
    pub(crate) row: UploadState,
}

/// All requesters.
#[derive(Debug)]
pub(crate) struct Requesters {
    settings: UploadSettings,
    last: RequesterId,
    all: BTreeMap<RequesterId, Requester>,
    uplink: Uplink,
    rng: StdRng,
    /// What this peer is given itself.
    pub(crate) register: Register,
}

impl Requesters {
    /// Without any requester; the optimists are drawn as this seed says.
    pub(super) fn new(settings: UploadSettings, seed: u64) -> Self {
        let uplink = Uplink::new(if settings.up.is_some() { 1 } else { UNLIMITED_AT_ONCE });
        let (all, register) = (BTreeMap::new(), Register::new(settings.round));
        Self { settings, last: 0, all, uplink, rng: StdRng::seed_from_u64(seed), register }
    }

    /// A peer wants pieces of a file. What it is to be told from now on comes out of the receiver.
    pub(crate) fn admit(
        &mut self,
        peer: PeerId,
        addr: SocketAddr,
        offer: Arc<Offer>,
        now: Instant,
    ) -> Result<(RequesterId, Receiver<Say>)> {
        self.make_room(Party::of(peer, addr), now)?;
        let ((to, says), sent) = (unbounded(), Rate::new(self.settings.round));
        let (name, interested, service) = (None, false, Service::Choked);
        let (since, pieces, faults) = (now, 0, 0);
        self.last += 1;
        let new = Requester { peer, addr, name, offer, interested, service, since, to, sent, pieces, faults };
        self.all.insert(self.last, new);
        Ok((self.last, says))
    }

    /// Sees to it that there is a place for a newcomer.
    fn make_room(&mut self, newcomer: Party, now: Instant) -> Result<()> {
        // One that is served is of more use than one that is not, and that of more than one that wants nothing.
        let useful = |known: &Requester| (known.interested, known.service != Service::Choked, known.since);
        let taken =
            self.all.iter().map(|(&id, known)| (id, Party::of(known.peer, known.addr), Some(useful(known))));
        if let Some(id) = gives_way(limits::JOINS, newcomer, taken)? {
            self.all[&id].say(FromPeer::Error((&busy(limits::JOINS)).into()));
            self.leave(id, now);
        }
        Ok(())
    }

    /// The list of peers has named a requester.
    pub(crate) fn named(&mut self, requester: RequesterId, name: Name) {
        if let Some(known) = self.all.get_mut(&requester) {
            info!("{name} wants pieces of {}", known.offer.name());
            known.name = Some(name);
        }
    }

    /// A requester lacks pieces that are here, or no longer. False when it is served no more.
    pub(crate) fn interested(&mut self, requester: RequesterId, on: bool, now: Instant) -> bool {
        let Some(known) = self.all.get_mut(&requester) else { return false };
        if std::mem::replace(&mut known.interested, on) != on {
            known.since = now;
        }
        self.judge(Occasion::Change, now);
        true
    }

    /// A requester asks for a piece, which is `here` or not. False when it is served no more.
    pub(crate) fn ask(&mut self, requester: RequesterId, piece: Piece, here: bool) -> Result<bool> {
        let Some(known) = self.all.get(&requester) else { return Ok(false) };
        // A request that has crossed a choke is void.
        if known.service == Service::Choked {
            return Ok(true);
        }
        if !here {
            return Err(Error::new(Code::NotFound, format!("piece {} is not here", piece.index()))
                .advise("ask for pieces of the bitfield, or that `have` told of"));
        }
        if self.uplink.open(requester) >= limits::OPEN_REQUESTS {
            return Err(Error::new(Code::BadMessage, "too many requests are open")
                .advise(format!("keep {} at most", limits::OPEN_REQUESTS)));
        }
        self.uplink.ask(PieceRequest { requester, file: known.offer.id(), piece });
        self.serve();
        Ok(true)
    }

    /// A turn is over: the piece was sent, or could not be.
    pub(crate) fn done(&mut self, request: PieceRequest, sent: bool, now: Instant) {
        self.uplink.done(request);
        if let Some(known) = self.all.get_mut(&request.requester).filter(|_| sent) {
            known.sent.add(request.piece.len() as u64, now);
            known.pieces += 1;
            self.register.ledger.sent(&known.name, request.file, request.piece, !self.register.is_seeding());
            let (number, file, name) = (request.piece.index(), known.offer.name(), known.called());
            info!("sent piece {number} of {file} to {name}");
        }
        self.serve();
    }

    /// A piece is here now: every requester of this file hears it.
    pub(crate) fn have(&mut self, id: FileId, piece: Piece) {
        let told = self.all.values().filter(|requester| requester.offer.id() == id);
        told.for_each(|requester| requester.say(FromPeer::Have { piece: piece.index() }));
    }

    /// A holder says that it has a piece.
    pub(crate) fn holder_has(&mut self, holder: &Holder, file: FileId, piece: Piece) {
        let asks = |known: &Requester| (known.peer, known.offer.id()) == (holder.peer, file);
        for (&requester, _) in self.all.iter().filter(|(_, known)| asks(known)) {
            self.uplink.cancel(PieceRequest { requester, file, piece });
        }
        self.register.ledger.has(&Some(holder.name.clone()), file, piece);
    }

    /// A requester says that it has a piece: if it has asked for it here, too, it is not sent it any more.
    pub(crate) fn has(&mut self, requester: RequesterId, piece: Piece) -> bool {
        let Some(known) = self.all.get(&requester) else { return false };
        let file = known.offer.id();
        self.uplink.cancel(PieceRequest { requester, file, piece });
        // Anybody can say it without a name.
        if known.name.is_some() {
            self.register.ledger.has(&known.name, file, piece);
        }
        true
    }

    /// Whether a requester may say that a piece was wrong: no more often than it was sent one, and than an honest one
    /// does.
    pub(crate) fn may_complain(&mut self, requester: RequesterId) -> bool {
        let Some(known) = self.all.get_mut(&requester) else { return false };
        known.faults += 1;
        known.faults <= known.pieces.min(FAILURES as u64)
    }

    /// Judges which requesters are served from now on, and tells those for which that is a change.
    pub(crate) fn judge(&mut self, occasion: Occasion, now: Instant) {
        let deaf = self.all.iter().filter(|(_, requester)| requester.to.len() > requester.room());
        for id in deaf.map(|(&id, _)| id).collect::<Vec<_>>() {
            self.remove(id);
        }
        let received = self.register.received(now);
        let contender = |(&id, requester): (&RequesterId, &Requester)| Contender {
            peer: id,
            interested: requester.interested && self.settings.up != Some(0),
            service: requester.service,
            received: received.get(&requester.peer).copied().unwrap_or_default(),
            sent: requester.sent.bytes(self.settings.round, now),
        };
        let contenders: Vec<Contender> = self.all.iter().map(contender).collect();
        let (unchoke, seeding) = (self.settings.unchoke, self.register.is_seeding());
        let served = judge(&contenders, unchoke, seeding, occasion, &mut self.rng);
        let served: HashMap<_, _> = served.into_iter().collect();
        for (id, requester) in &mut self.all {
            let service = served.get(id).copied().unwrap_or(Service::Choked);
            let before = std::mem::replace(&mut requester.service, service);
            if before != service {
                requester.since = now;
            }
            match (before == Service::Choked, service == Service::Choked) {
                (true, false) => requester.say(FromPeer::Unchoke {}),
                (false, true) => {
                    self.uplink.void(*id);
                    requester.say(FromPeer::Choke {});
                }
                _ => {}
            }
        }
        self.serve();
    }

    /// A requester is served no more, nor are its turns; others may be.
    pub(crate) fn leave(&mut self, requester: RequesterId, now: Instant) {
        self.remove(requester);
        self.judge(Occasion::Change, now);
    }

    fn remove(&mut self, requester: RequesterId) {
        if let Some(gone) = self.all.remove(&requester) {
            let file = gone.offer.id();
            info!("{} has got {} pieces of {}", gone.called(), gone.pieces, gone.offer.name());
            if !self.all.values().any(|requester| requester.offer.id() == file) {
                self.uplink.forget_file(file);
                self.register.ledger.forget_file(file);
            }
        }
        self.uplink.forget(requester);
    }

    /// Gives the turns that are free to those that wait.
    fn serve(&mut self) {
        let Self { all, uplink, register, .. } = self;
        let owes = |requester| all.get(&requester).is_some_and(|known| known.owes(register));
        while let Some(request) = uplink.next_request(owes) {
            let to = all.get(&request.requester).map(|requester| &requester.to);
            if to.is_none_or(|to| to.send(Say::Piece(request)).is_err()) {
                uplink.done(request);
            }
        }
    }

    /// A line for each that lacks pieces, those that are served first.
    pub(super) fn status(&self, now: Instant) -> Vec<Upload> {
        let line = |requester: &Requester| Upload {
            to: requester.called(),
            pieces: requester.pieces,
            row: UploadState {
                peer: requester.peer,
                file: requester.offer.name().clone(),
                state: match requester.service {
                    Service::Choked => UploadStage::Choked,
                    _ if requester.owes(&self.register) => UploadStage::Owes,
                    Service::Regular => UploadStage::Regular,
                    Service::Optimistic => UploadStage::Optimistic,
                },
                since_ms_ago: now.saturating_duration_since(requester.since).as_millis() as u64,
                up: requester.sent.per_second(now),
                down: self.register.from(requester.peer, now),
            },
        };
        let mut lines: Vec<Upload> = self.all.values().filter(|it| it.interested).map(line).collect();
        lines.sort_by_key(|line| line.row.state);
        lines
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::net::message::NOBODY;
    use crate::share::store::Store;
    use crate::share::{Layout, Manifest};

    /// A peer that wants pieces of a file of four pieces, and what it is told.
    struct Asked {
        requesters: Requesters,
        id: FileId,
        ben: RequesterId,
        told: Receiver<Say>,
        now: Instant,
    }

    fn asked(up: Option<u64>) -> Asked {
        let settings = UploadSettings { up, down: None, unchoke: 4, round: Duration::from_secs(10) };
        let mut requesters = Requesters::new(settings, 1);
        let folder = tempfile::tempdir().unwrap();
        let store = Arc::new(Store::open(folder.path()).unwrap());
        let layout = Layout::new(4096, 1024).unwrap();
        let manifest = Manifest::read("a".parse().unwrap(), layout, &[0; 4096][..], &false.into()).unwrap();
        let id = manifest.id();
        let offer = Arc::new(Offer::whole(&store, Arc::new(manifest)));
        let now = Instant::now();
        let (ben, told) = requesters.admit(2, "127.0.0.1:2".parse().unwrap(), offer, now).unwrap();
        Asked { requesters, id, ben, told, now }
    }

    #[test]
    fn each_requester_is_shown_with_its_state_since_when_and_both_rates() {
        let Asked { mut requesters, id: _, ben, now, .. } = asked(None);
        let at = |seconds| now + Duration::from_secs(seconds);
        let row = |requesters: &Requesters, seconds| requesters.status(at(seconds)).remove(0).row;
        assert!(requesters.status(now).is_empty(), "it wants nothing yet");
        requesters.interested(ben, true, at(5));
        let piece = Layout::new(4096, 1024).unwrap().piece(0).unwrap();
        let file = requesters.all[&ben].offer.id();
        requesters.ask(ben, piece, true).unwrap();
        requesters.done(PieceRequest { requester: ben, file, piece }, true, at(6));
        let shown = row(&requesters, 8);
        assert_eq!((shown.state, shown.since_ms_ago), (UploadStage::Regular, 3000));
        assert_eq!((shown.peer, shown.up, shown.down), (2, 1024 / 5, 0));
        assert_eq!(row(&requesters, 60).up, 0, "it is the rate of now");
    }

    #[test]
    fn a_requester_that_lets_more_pile_up_than_there_is_room_for_is_served_no_more() {
        let Asked { mut requesters, ben, told, now, .. } = asked(None);
        let room = 4 + UNSAID;
        for turn in 0..2 * room {
            requesters.interested(ben, turn % 2 == 0, now);
        }
        assert!(requesters.all.is_empty() && !requesters.interested(ben, true, now));
        assert_eq!(told.len(), room + 1, "one more than there is room for");
    }

    #[test]
    fn the_least_useful_of_the_strangers_gives_way_to_a_newcomer_and_hears_why() {
        let Asked { mut requesters, ben, told, now, .. } = asked(None);
        let offer = Arc::clone(&requesters.all[&ben].offer);
        let addr: SocketAddr = "10.0.0.7:1".parse().unwrap();
        let join =
            |requesters: &mut Requesters| requesters.admit(NOBODY, addr, Arc::clone(&offer), now).unwrap();
        let strangers: Vec<_> = (0..limits::JOINS / 2).map(|_| join(&mut requesters)).collect();
        requesters.interested(strangers[0].0, true, now);
        let _newcomer = join(&mut requesters);
        assert_eq!(requesters.all.len(), 1 + strangers.len());
        assert!(requesters.all.contains_key(&strangers[0].0), "it wants pieces");
        let heard: Vec<_> = strangers[1].1.iter().collect();
        assert!(
            matches!(&heard[..], [Say::Message(FromPeer::Error(no))] if no.code == Code::Busy),
            "{heard:?}"
        );
        assert!(requesters.all.contains_key(&ben) && told.is_empty());
    }

    #[test]
    fn one_that_owes_waits_also_when_it_comes_back_under_another_number() {
        let Asked { mut requesters, ben, told, now, .. } = asked(Some(1));
        let offer = Arc::clone(&requesters.all[&ben].offer);
        let piece = |index| offer.manifest.layout().piece(index).unwrap();
        let served = |requesters: &mut Requesters, requester, index| {
            let file = offer.id();
            requesters.done(PieceRequest { requester, file, piece: piece(index) }, true, now);
        };
        let eve = |requesters: &mut Requesters, number| {
            let addr = "127.0.0.1:1".parse().unwrap();
            let (eve, says) = requesters.admit(number, addr, Arc::clone(&offer), now).unwrap();
            requesters.named(eve, "eve".parse().unwrap());
            assert!(requesters.interested(eve, true, now));
            (eve, says)
        };
        requesters.named(ben, "ben".parse().unwrap());
        assert!(requesters.interested(ben, true, now));
        let (first, _says) = eve(&mut requesters, 7);
        for index in 0..3 {
            assert!(requesters.ask(first, piece(index), true).unwrap());
            served(&mut requesters, first, index);
        }
        requesters.leave(first, now);
        let (second, says) = eve(&mut requesters, 8);
        // The link is busy, then both wait.
        assert!(requesters.ask(ben, piece(0), true).unwrap());
        assert!(requesters.ask(second, piece(3), true).unwrap());
        assert!(requesters.ask(ben, piece(1), true).unwrap());
        served(&mut requesters, ben, 0);
        let pieces =
            |told: &Receiver<Say>| told.try_iter().filter(|say| matches!(say, Say::Piece(_))).count();
        assert_eq!(
            (pieces(&told), pieces(&says)),
            (2, 0),
            "ben has a turn again, with a piece that was sent before"
        );
        served(&mut requesters, ben, 1);
        assert_eq!(pieces(&says), 1, "nobody else asks");
        served(&mut requesters, second, 3);
        // Ben has a piece that eve had first and that was sent to nobody else.
        assert!(requesters.all[&second].owes(&requesters.register));
        assert!(requesters.has(ben, piece(2)));
        assert!(requesters.all[&second].owes(&requesters.register), "three are left");
        assert!(requesters.has(ben, piece(3)));
        assert!(!requesters.all[&second].owes(&requesters.register));
    }

    #[test]
    fn a_requester_that_says_that_it_has_a_piece_is_not_sent_it_any_more() {
        let Asked { mut requesters, id, ben, told, now } = asked(Some(1));
        let layout = Layout::new(4096, 1024).unwrap();
        let piece = |index| layout.piece(index).unwrap();
        assert!(requesters.interested(ben, true, now));
        (0..3).for_each(|index| assert!(requesters.ask(ben, piece(index), true).unwrap()));
        let open = |requesters: &Requesters| requesters.uplink.open(ben);
        let holder = |peer| Holder {
            peer,
            name: "x".parse().unwrap(),
            addr: "127.0.0.1:1".parse().unwrap(),
            whole: true,
            pass: None,
        };
        requesters.holder_has(&holder(3), id, piece(1));
        requesters.holder_has(&holder(2), FileId::from([1; 32]), piece(1));
        requesters.holder_has(&holder(2), id, piece(3));
        assert_eq!(open(&requesters), 3, "another peer, another file, another piece");
        assert!(requesters.has(ben, piece(0)));
        assert_eq!(open(&requesters), 3, "it is being sent");
        requesters.holder_has(&holder(2), id, piece(1));
        assert_eq!(open(&requesters), 2);
        assert!(requesters.has(ben, piece(2)));
        assert_eq!(open(&requesters), 1);
        assert!(requesters.ask(ben, piece(3), true).unwrap());
        let request = |index| PieceRequest { requester: ben, file: id, piece: piece(index) };
        requesters.done(request(0), true, now);
        let pieces = told.try_iter().filter_map(|say| match say {
            Say::Piece(request) => Some(request.piece.index()),
            _ => None,
        });
        assert_eq!(pieces.collect::<Vec<_>>(), [0, 3]);
    }
}
