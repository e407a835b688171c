//! Which piece to ask of which neighbour: the downloader's thinking.
//!
//! # The problem
//! Many neighbours have parts of a file. Which should be asked for what, so that all of them are kept busy,
//! nothing comes twice, and what only one neighbour has is safe before that one leaves?
//!
//! # The rules
//! - **Rarest first** ([`PickOrder::Rarest`]): a neighbour is asked for the open piece that the fewest neighbours
//!   have. Were all to ask from the front, the end of the file would be at its first neighbour alone, and lost with
//!   it; and nobody would have anything to give to the others. Among equally rare ones the order is random, for each
//!   downloader another: they would all fetch the same piece otherwise, and again have nothing to give to each other.
//! - **Other orders**, to compare: [`PickOrder::Sequential`] asks from the front. [`PickOrder::Split`] is the
//!   sources' "part i of n": neighbour i of n begins at part i and goes on, round the end of the file; so it takes
//!   over what a slow or lost neighbour left undone.
//! - **Some requests in flight** for each neighbour, so that its link never rests while an answer and the next
//!   request pass each other; not many, because what is asked of one is not asked of another. A neighbour that
//!   takes long for a piece is asked for one at a time ([`is_slow`]).
//! - **Choke voids.** A neighbour that chokes or leaves owes nothing any more. What nobody else owes is open again,
//!   for anybody (E8).
//! - **Bytes that fail their hash** are asked for elsewhere, and their sender is remembered, also when it leaves and
//!   comes back; after the second time it is not asked any more. Only where nobody else has the piece is the same
//!   neighbour asked for it again.
//! - **A full disk** is nobody's fault: the piece is open again, and its sender is not blamed.
//! - **Endgame.** When nothing is open any more, the download lasts as long as the slowest neighbour takes for what
//!   it owes, while the fast ones have nothing to do. So a neighbour with nothing to do is asked for a piece that
//!   another owes: the one that lies deepest in a queue, because it would come last. At most [`COPIES`] are asked for
//!   one piece, and a neighbour for one such piece at a time. The loser hears from us that we `have` the piece, if it
//!   downloads from us too; then it sends it no more ([`Picker::taken_back`]). Otherwise its answer is ignored and
//!   counted ([`Waste::duplicates`]).
//!
//! A piece that is missing is *open*, or *asked for*, or has arrived and is being checked; the picker knows which
//! neighbour has what, and which of the three each piece is.
//!
//! # An example
//! Three pieces. Ada has all, Ben has piece 2. Ada is asked for 0 and 1, because two neighbours have piece 2;
//! Ben is asked for that. Ada leaves: 0 and 1 are open again. Ben lacks them and is asked for nothing, until he says
//! `have 0`.
//!
//! # What it costs
//! A request looks at each piece once that is open and that its neighbour has: a few microseconds for
//! 4096 pieces. An event that concerns one piece (`have`, verified) costs a step for each neighbour at most.
//!
//! # What is missing
//! The picker does not know how fast a neighbour is; only the endgame makes good for a slow one. libtorrent
//! keeps the pieces sorted by rarity, which makes a request cheaper and this file longer.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use super::{Bitfield, Layout, Piece};
use crate::error::{Error, Kind};

#[cfg(test)]
mod tests;

/// Requests in flight for each neighbour: one that is being answered, and one that waits behind it.
pub const IN_FLIGHT: usize = 2;

/// A neighbour that takes this many round trips for a piece is asked for one at a time: its link may rest for one
/// of them after each, a fiftieth of its time.
const SLOW: u32 = 50;

/// How many neighbours may be asked for one piece at once, in the endgame.
pub const COPIES: usize = 2;

/// How often a neighbour may send bytes that fail their hash before it is no longer asked.
const FAILURES: u32 = 2;

/// What the downloader calls a neighbour: any number, the same for the same neighbour when it comes back.
pub type NeighbourId = u64;

/// Whether a neighbour whose pieces come at intervals of `took` is slow, and so asked for one piece at a time.
///
/// A second request hides the round trip from an answer to the next request. Where answers take long there is
/// little to hide, and it costs something: a piece that waits behind another in this neighbour's queue is asked of
/// nobody else meanwhile, nor passed on.
pub fn is_slow(took: Duration, round_trip: Duration) -> bool {
    took >= round_trip * SLOW
}

/// In which order pieces are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PickOrder {
    /// What the fewest have comes first.
    #[default]
    Rarest,
    /// From the front: for people that watch while it comes.
    Sequential,
    /// Part i of n from neighbour i of n.
    Split,
}

impl FromStr for PickOrder {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        match text.to_ascii_lowercase().as_str() {
            "rarest" => Ok(Self::Rarest),
            "sequential" => Ok(Self::Sequential),
            "split" => Ok(Self::Split),
            _ => Err(Error::new(Kind::Usage, format!("{text:.40?} is no order of pieces"))
                .advise("use rarest, sequential or split")),
        }
    }
}

/// What became of bytes that a neighbour sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// They were asked for and are missing: check them, then say [`Picker::verified`] or
    /// [`Picker::failed`].
    Wanted,
    /// Somebody else was faster: throw them away.
    Duplicate,
    /// Nobody asked this neighbour for them; or its choke and our request have crossed.
    NotAsked,
}

/// What follows for a neighbour whose bytes failed their hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Penalty {
    /// Once may be an accident.
    Warned,
    /// It is not asked any more, for anything.
    Barred,
}

/// What a download has cost beyond its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waste {
    /// Pieces that failed their hash and were fetched again.
    pub refetched: u64,
    /// Pieces that came a second time and were thrown away.
    pub duplicates: u64,
}

#[derive(Debug)]
struct Ledger {
    has: Bitfield,
    /// How many of its pieces are missing here.
    useful: u32,
    choked: bool,
    slow: bool,
    /// What it was asked for and owes, in the order of the requests.
    owes: Vec<Piece>,
}

/// The state of one download: what is there, what each neighbour has, and what each was asked for.
#[derive(Debug)]
pub struct Picker {
    order: PickOrder,
    seed: u64,
    in_flight: usize,
    have: Bitfield,
    /// Missing, and asked of nobody.
    open: Bitfield,
    neighbours: BTreeMap<NeighbourId, Ledger>,
    /// For each piece, how many neighbours have it.
    spread: Vec<u32>,
    /// Which neighbours owe each piece that is missing and asked for.
    asked: BTreeMap<Piece, Vec<NeighbourId>>,
    /// How often each neighbour failed, and for which pieces; it is remembered when the neighbour leaves.
    failures: BTreeMap<NeighbourId, (u32, BTreeSet<Piece>)>,
    waste: Waste,
}

impl Picker {
    /// A download that begins with the pieces in `have`. Equally rare pieces are drawn by `seed`.
    pub fn new(have: Bitfield, order: PickOrder, seed: u64) -> Self {
        let layout = have.layout();
        let mut open = Bitfield::empty(layout);
        have.missing().for_each(|piece| {
            open.insert(piece);
        });
        Self {
            order,
            seed,
            in_flight: IN_FLIGHT,
            have,
            open,
            neighbours: BTreeMap::new(),
            spread: vec![0; layout.pieces() as usize],
            asked: BTreeMap::new(),
            failures: BTreeMap::new(),
            waste: Waste::default(),
        }
    }

    /// With another number of requests in flight for each neighbour; at least one.
    #[must_use]
    pub fn with_in_flight(mut self, requests: usize) -> Self {
        self.in_flight = requests.max(1);
        self
    }

    pub(super) fn layout(&self) -> Layout {
        self.have.layout()
    }

    /// The pieces that are there, verified.
    #[cfg(test)]
    pub(super) fn have(&self) -> &Bitfield {
        &self.have
    }

    pub(crate) fn is_done(&self) -> bool {
        self.have.is_full()
    }

    pub(crate) fn waste(&self) -> Waste {
        self.waste
    }

    /// A neighbour is there, with these pieces; it chokes until it says otherwise. One that was there begins
    /// again; one that is barred is not let in.
    pub fn joined(&mut self, neighbour: NeighbourId, has: Bitfield) {
        self.left(neighbour);
        if self.barred(neighbour) {
            return;
        }
        let useful = has.iter().filter(|&piece| !self.have.contains(piece)).count() as u32;
        has.iter().for_each(|piece| self.spread[piece.index() as usize] += 1);
        self.neighbours.insert(neighbour, Ledger { has, useful, choked: true, slow: true, owes: Vec::new() });
    }

    /// A neighbour is slow, or not any more ([`is_slow`]). One that has not shown yet how fast it is counts as slow.
    pub fn paced(&mut self, neighbour: NeighbourId, slow: bool) {
        if let Some(known) = self.neighbours.get_mut(&neighbour) {
            known.slow = slow;
        }
    }

    /// A neighbour has one more piece.
    pub fn gained(&mut self, neighbour: NeighbourId, piece: Piece) {
        let Some(known) = self.neighbours.get_mut(&neighbour) else { return };
        if known.has.insert(piece) {
            known.useful += u32::from(!self.have.contains(piece));
            self.spread[piece.index() as usize] += 1;
        }
    }

    /// A neighbour serves from now on.
    pub fn unchoked(&mut self, neighbour: NeighbourId) {
        if let Some(known) = self.neighbours.get_mut(&neighbour) {
            known.choked = false;
        }
    }

    /// Whether a neighbour has anything that is missing here: what the message `interested` tells it.
    pub fn interested(&self, neighbour: NeighbourId) -> bool {
        self.neighbours.get(&neighbour).is_some_and(|known| known.useful > 0)
    }

    pub(crate) fn owes(&self, neighbour: NeighbourId) -> bool {
        self.neighbours.get(&neighbour).is_some_and(|known| !known.owes.is_empty())
    }

    /// What to ask a neighbour for now; `None` when it chokes, owes enough, or has nothing that helps. The
    /// piece counts as asked for from now on.
    pub fn next(&mut self, neighbour: NeighbourId) -> Option<Piece> {
        let known = self.neighbours.get(&neighbour)?;
        let most = if known.slow { 1 } else { self.in_flight };
        if known.choked || known.owes.len() >= most {
            return None;
        }
        let piece = match self.order {
            PickOrder::Rarest => self.candidates(neighbour, known).min_by_key(|&piece| self.rarity(piece)),
            PickOrder::Sequential => self.candidates(neighbour, known).next(),
            PickOrder::Split => self.first_of_its_part(neighbour, known),
        };
        let piece = piece.or_else(|| self.endgame(neighbour, known))?;
        self.open.remove(piece);
        self.asked.entry(piece).or_default().push(neighbour);
        self.neighbours.get_mut(&neighbour)?.owes.push(piece);
        Some(piece)
    }

    /// The open pieces that a neighbour has, in order; not what it sent wrongly, unless nobody else has it.
    fn candidates(&self, neighbour: NeighbourId, known: &Ledger) -> impl Iterator<Item = Piece> {
        let elsewhere = move |piece: Piece| self.spread[piece.index() as usize] > 1;
        self.open
            .common(&known.has)
            .filter(move |&piece| !self.failed_with(neighbour, piece) || !elsewhere(piece))
    }

    /// How many have it, then a number that the seed scatters.
    fn rarity(&self, piece: Piece) -> (u32, u64) {
        (self.spread[piece.index() as usize], scatter(self.seed, piece.index()))
    }

    /// The first open piece in part i of n, or after it, round the end of the file.
    fn first_of_its_part(&self, neighbour: NeighbourId, known: &Ledger) -> Option<Piece> {
        let i = self.neighbours.range(..neighbour).count() as u64;
        let first = u64::from(self.layout().pieces()) * i / self.neighbours.len() as u64;
        let behind = self.candidates(neighbour, known).find(|piece| u64::from(piece.index()) >= first);
        behind.or_else(|| self.candidates(neighbour, known).next())
    }

    /// When all that is missing was asked for: a piece that somebody else owes, the one that lies deepest
    /// in a queue. One such piece at a time.
    fn endgame(&self, neighbour: NeighbourId, known: &Ledger) -> Option<Piece> {
        if self.open.count() > 0 || !known.owes.is_empty() {
            return None;
        }
        let depth = |owers: &[NeighbourId], piece| {
            let owes = owers.first().and_then(|ower| self.neighbours.get(ower)).map(|ower| &ower.owes);
            owes.and_then(|owes| owes.iter().position(|&owed| owed == piece))
        };
        let could = self.asked.iter().filter(|&(&piece, owers)| {
            let asked_too = owers.len() >= COPIES || owers.contains(&neighbour);
            !asked_too && known.has.contains(piece) && !self.failed_with(neighbour, piece)
        });
        could
            .max_by_key(|&(&piece, owers)| (depth(owers, piece), scatter(self.seed, piece.index())))
            .map(|(&p, _)| p)
    }

    /// Bytes have come. Says whether they are worth checking.
    pub fn arrived(&mut self, neighbour: NeighbourId, piece: Piece) -> Arrival {
        let owes = self.neighbours.get_mut(&neighbour).map(|known| &mut known.owes);
        let place = owes.as_ref().and_then(|owes| owes.iter().position(|&owed| owed == piece));
        if let (Some(owes), Some(place)) = (owes, place) {
            owes.remove(place);
            // All that owe a piece that is still missing stand in `asked`; the first that brings it takes the
            // whole entry out.
            if self.asked.remove(&piece).is_some() {
                return Arrival::Wanted;
            }
        } else if !self.have.contains(piece) {
            return Arrival::NotAsked;
        }
        self.waste.duplicates += 1;
        Arrival::Duplicate
    }

    /// The bytes are right, and on the disk. Returns the others that owe the piece: their answers will be ignored.
    pub fn verified(&mut self, piece: Piece) -> Vec<NeighbourId> {
        self.open.remove(piece);
        self.asked.remove(&piece);
        if !self.have.insert(piece) {
            return Vec::new();
        }
        let mut losers = Vec::new();
        for (&neighbour, known) in self.neighbours.iter_mut().filter(|(_, known)| known.has.contains(piece)) {
            known.useful -= 1;
            if known.owes.contains(&piece) {
                losers.push(neighbour);
            }
        }
        losers
    }

    /// A neighbour will not send a piece that is here already: it hears that we have it. So it owes it no more. (If
    /// it had begun to send it, that is a duplicate like any other.)
    pub fn taken_back(&mut self, neighbour: NeighbourId, piece: Piece) {
        if let Some(known) = self.neighbours.get_mut(&neighbour).filter(|_| self.have.contains(piece)) {
            known.owes.retain(|&owed| owed != piece);
        }
    }

    /// A neighbour chokes: what it owed is open again.
    pub fn choked(&mut self, neighbour: NeighbourId) {
        self.void(neighbour, |_| true);
        if let Some(known) = self.neighbours.get_mut(&neighbour) {
            known.choked = true;
        }
    }

    /// A neighbour is gone; what it owed is open again.
    pub fn left(&mut self, neighbour: NeighbourId) {
        self.choked(neighbour);
        if let Some(gone) = self.neighbours.remove(&neighbour) {
            gone.has.iter().for_each(|piece| self.spread[piece.index() as usize] -= 1);
        }
    }

    /// What a neighbour owes and `which` names, it owes no more. Where nobody else owes it, it is open.
    fn void(&mut self, neighbour: NeighbourId, which: impl Fn(Piece) -> bool) {
        let Some(known) = self.neighbours.get_mut(&neighbour) else { return };
        for piece in known.owes.extract_if(.., |piece| which(*piece)) {
            // What is not in `asked` has arrived from somebody else.
            let Some(owers) = self.asked.get_mut(&piece) else { continue };
            owers.retain(|&ower| ower != neighbour);
            if owers.is_empty() {
                self.asked.remove(&piece);
                self.open.insert(piece);
            }
        }
    }

    /// The bytes are not those of the piece: it is open again, for others.
    pub fn failed(&mut self, neighbour: NeighbourId, piece: Piece) -> Penalty {
        self.waste.refetched += 1;
        self.reopen(piece);
        let (failures, pieces) = self.failures.entry(neighbour).or_default();
        *failures += 1;
        pieces.insert(piece);
        if *failures < FAILURES {
            return Penalty::Warned;
        }
        self.left(neighbour);
        Penalty::Barred
    }

    /// A piece that had arrived is missing after all.
    fn reopen(&mut self, piece: Piece) {
        let owes = self.neighbours.iter().filter(|(_, known)| known.owes.contains(&piece));
        let owers: Vec<_> = owes.map(|(&neighbour, _)| neighbour).collect();
        if owers.is_empty() {
            self.open.insert(piece);
        } else {
            self.asked.insert(piece, owers);
        }
    }

    /// Whether a neighbour has failed too often to be asked again.
    pub fn barred(&self, neighbour: NeighbourId) -> bool {
        self.failures.get(&neighbour).is_some_and(|&(failures, _)| failures >= FAILURES)
    }

    fn failed_with(&self, neighbour: NeighbourId, piece: Piece) -> bool {
        self.failures.get(&neighbour).is_some_and(|(_, pieces)| pieces.contains(&piece))
    }

    /// The missing pieces that no neighbour has: what a download waits for that cannot go on.
    pub fn nowhere(&self) -> impl Iterator<Item = Piece> {
        self.have.missing().filter(|piece| self.spread[piece.index() as usize] == 0)
    }
}

/// A number that looks random, the same for the same seed and piece: splitmix64, by Steele, Lea and Flood
/// ("Fast splittable pseudorandom number generators", 2014).
fn scatter(seed: u64, index: u32) -> u64 {
    let mut z = seed.wrapping_add(u64::from(index).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
