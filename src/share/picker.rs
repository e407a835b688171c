//! Which piece to ask of which neighbour: the downloader's thinking.
//!
//! # The problem
//! Many neighbours have parts of a file. Which should be asked for what, so that all of them are kept busy,
//! nothing comes twice, and what only one neighbour has is safe before that one leaves?
//!
//! # The rules
//! - **Rarest first** ([`PickOrder::Rarest`]): a neighbour is asked for the open piece that the fewest neighbours
//!   have. Were all to ask from the front, the end of the file would be at its first neighbour alone, and lost with
//!   it; and no peer would have anything to give to the others. Among equally rare ones the order is random, for each
//!   downloader another: they would all fetch the same piece otherwise, and again have nothing to give to each other.
//!   A neighbour counts from the moment when it first unchokes us: what lies at one that never gives can be had
//!   nowhere.
//! - **Other orders**, to compare: [`PickOrder::Sequential`] asks from the front. [`PickOrder::Split`] is the
//!   sources' "part i of n": neighbour i of n begins at part i and goes on, round the end of the file; so it takes
//!   over what a slow or lost neighbour left undone.
//! - **Some requests in flight** for each neighbour, so that its link never rests while an answer and the next
//!   request pass each other; not many, because what is asked of one is not asked of another. A neighbour that
//!   takes long for a piece is asked for one at a time ([`is_slow`]).
//! - **Choke voids.** A neighbour that chokes or leaves owes nothing any more. What no other neighbour owes is open
//!   again, for all of them (E8).
//! - **Bytes that fail their hash** are asked for elsewhere, and their sender is remembered, also when it leaves and
//!   comes back; after the second time it is not asked any more. Only where no other has the piece is the same
//!   neighbour asked for it again.
//! - **A full disk** is no neighbour's fault: the piece counts as being checked until it is written, and its sender is
//!   not blamed.
//! - **Endgame.** When nothing is open any more, the download lasts as long as the slowest neighbour takes for what
//!   it owes, while the fast ones have nothing to do. So a neighbour with nothing to do is asked for a piece that
//!   another owes: the one that lies deepest in a queue, because it would come last. At most [`COPIES`] are asked for
//!   one piece, and a neighbour for one such piece at a time. The loser hears from us that we `have` the piece, and
//!   then sends it no more ([`Picker::taken_back`]). If it has begun to, its answer is ignored and counted
//!   ([`Waste::duplicates`]).
//!
//! A piece that is missing is *open*, or some neighbour owes it, or it has arrived and is being *checked*. The picker
//! keeps what each neighbour has and owes; all the rest follows from that.
//!
//! # An example
//! Three pieces. Ada has all, Ben has piece 2. Ada is asked for 0 and 1, because two neighbours have piece 2;
//! Ben is asked for that. Ada leaves: 0 and 1 are open again. Ben lacks them and is asked for nothing, until it says
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
use std::time::Duration;

use serde::Serialize;

use super::{Bitfield, Piece};

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
pub(crate) const FAILURES: usize = 2;

/// What the downloader calls a neighbour: any number, the same for the same neighbour when it comes back.
pub type NeighbourId = u64;

/// Whether a neighbour whose pieces come at intervals of `took` is slow, and so asked for one piece at a time.
///
/// A second request hides the round trip from an answer to the next request. Where answers take long there is
/// little to hide, and it costs something: a piece that waits behind another in this neighbour's queue is asked of
/// no other neighbour meanwhile, nor passed on.
pub fn is_slow(took: Duration, round_trip: Duration) -> bool {
    took >= round_trip * SLOW
}

/// In which order pieces are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum PickOrder {
    /// What the fewest have comes first.
    #[default]
    Rarest,
    /// From the front: for people that watch while it comes.
    Sequential,
    /// Part i of n from neighbour i of n.
    Split,
}

/// What a download has cost beyond its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waste {
    /// Pieces that failed their hash and were fetched again.
    pub refetched: u64,
    /// Pieces that came a second time and were thrown away.
    pub duplicates: u64,
}

/// What a neighbour has, and owes.
struct Inventory {
    has: Bitfield,
    /// How many of its pieces are missing here.
    useful: u32,
    choked: bool,
    /// Whether it has ever unchoked us.
    serves: bool,
    slow: bool,
    /// What it was asked for and owes, in the order of the requests.
    owes: Vec<Piece>,
}

/// The state of one download: what is there, what each neighbour has, and what each was asked for.
pub struct Picker {
    order: PickOrder,
    seed: u64,
    /// Requests in flight for each neighbour, at least one.
    pub(super) in_flight: usize,
    /// The pieces that are there, verified.
    pub(super) have: Bitfield,
    /// Missing, and owed by no neighbour.
    open: Bitfield,
    /// Arrived, and not verified yet.
    checking: BTreeSet<Piece>,
    neighbours: BTreeMap<NeighbourId, Inventory>,
    /// For each piece, how many of the neighbours that have ever unchoked us have it.
    spread: Vec<u32>,
    /// The pieces that each neighbour sent wrongly; they are remembered when the neighbour leaves.
    failures: BTreeMap<NeighbourId, Vec<Piece>>,
    pub(crate) waste: Waste,
}

impl Picker {
    /// A download that begins with the pieces in `have`. Equally rare pieces are drawn by `seed`.
    pub fn new(have: Bitfield, order: PickOrder, seed: u64) -> Self {
        let layout = have.layout();
        let open = Bitfield::of(layout, have.missing());
        Self {
            order,
            seed,
            in_flight: IN_FLIGHT,
            have,
            open,
            checking: BTreeSet::new(),
            neighbours: BTreeMap::new(),
            spread: vec![0; layout.pieces() as usize],
            failures: BTreeMap::new(),
            waste: Waste::default(),
        }
    }

    pub(crate) fn is_done(&self) -> bool {
        self.have.is_full()
    }

    /// A neighbour is there, with these pieces; it chokes until it says otherwise. One that was there begins
    /// again; one that is barred is not let in.
    pub fn joined(&mut self, neighbour: NeighbourId, has: Bitfield) {
        self.left(neighbour);
        if self.barred(neighbour) {
            return;
        }
        let useful = has.iter().filter(|&piece| !self.have.contains(piece)).count() as u32;
        let (choked, serves, slow, owes) = (true, false, true, Vec::new());
        self.neighbours.insert(neighbour, Inventory { has, useful, choked, serves, slow, owes });
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
            self.spread[piece.index() as usize] += u32::from(known.serves);
        }
    }

    /// A neighbour serves from now on.
    pub fn unchoked(&mut self, neighbour: NeighbourId) {
        let Some(known) = self.neighbours.get_mut(&neighbour) else { return };
        known.choked = false;
        if !std::mem::replace(&mut known.serves, true) {
            known.has.iter().for_each(|piece| self.spread[piece.index() as usize] += 1);
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
        self.neighbours.get_mut(&neighbour)?.owes.push(piece);
        Some(piece)
    }

    /// The open pieces that a neighbour has, in order; not what it sent wrongly, unless no other has it.
    fn candidates(&self, neighbour: NeighbourId, known: &Inventory) -> impl Iterator<Item = Piece> {
        let elsewhere =
            |piece| self.neighbours.values().filter(|known| known.has.contains(piece)).count() > 1;
        self.open
            .common(&known.has)
            .filter(move |&piece| !self.failed_with(neighbour, piece) || !elsewhere(piece))
    }

    // lab 8
    /// How many have it, then a number that the seed scatters.
    fn rarity(&self, piece: Piece) -> (u32, u64) {
        (self.spread[piece.index() as usize], scatter(self.seed, piece.index()))
    }

    // lab 8
    /// The first open piece in part i of n, or after it, round the end of the file.
    fn first_of_its_part(&self, neighbour: NeighbourId, known: &Inventory) -> Option<Piece> {
        let i = self.neighbours.range(..neighbour).count() as u64;
        let first = u64::from(self.have.layout().pieces()) * i / self.neighbours.len() as u64;
        let behind = self.candidates(neighbour, known).find(|piece| u64::from(piece.index()) >= first);
        behind.or_else(|| self.candidates(neighbour, known).next())
    }

    /// When all that is missing was asked for: a piece that another neighbour owes, the one that lies deepest
    /// in a queue. One such piece at a time.
    fn endgame(&self, neighbour: NeighbourId, known: &Inventory) -> Option<Piece> {
        if self.open.count() > 0 || !known.owes.is_empty() {
            return None;
        }
        let queues = self.neighbours.values().flat_map(|other| other.owes.iter().enumerate());
        let helps =
            |piece| self.is_wanted(piece) && known.has.contains(piece) && !self.failed_with(neighbour, piece);
        let could = queues.filter(|&(_, &piece)| helps(piece) && self.owers(piece).count() < COPIES);
        let deepest = could.max_by_key(|&(depth, piece)| (depth, scatter(self.seed, piece.index())));
        deepest.map(|(_, &piece)| piece)
    }

    /// Which neighbours owe a piece.
    fn owers(&self, piece: Piece) -> impl Iterator<Item = NeighbourId> {
        let owers = self.neighbours.iter().filter(move |(_, known)| known.owes.contains(&piece));
        owers.map(|(&neighbour, _)| neighbour)
    }

    /// Whether a piece is missing, and its bytes have not come yet.
    fn is_wanted(&self, piece: Piece) -> bool {
        !self.have.contains(piece) && !self.checking.contains(&piece)
    }

    /// Bytes have come. True when they are worth checking: they were asked for and are missing. Then say
    /// [`Picker::verified`] or [`Picker::failed`]; else throw them away. Another neighbour was faster, or
    /// this one was not asked for them, or its choke and our request have crossed.
    pub fn arrived(&mut self, neighbour: NeighbourId, piece: Piece) -> bool {
        let owed = self.owes_no_more(neighbour, piece);
        let wanted = owed && self.is_wanted(piece);
        if wanted {
            self.checking.insert(piece);
        } else if owed || self.have.contains(piece) {
            self.waste.duplicates += 1;
        }
        wanted
    }

    /// The bytes are right, and on the disk. Returns the others that owe the piece: their answers will be ignored.
    pub fn verified(&mut self, piece: Piece) -> Vec<NeighbourId> {
        self.open.remove(piece);
        self.checking.remove(&piece);
        if self.have.insert(piece) {
            let useful_to_us = self.neighbours.values_mut().filter(|known| known.has.contains(piece));
            useful_to_us.for_each(|known| known.useful -= 1);
        }
        self.owers(piece).collect()
    }

    /// A neighbour will not send a piece that is here already: it hears that we have it. So it owes it no more. (If
    /// it had begun to send it, that is a duplicate like any other.)
    pub fn taken_back(&mut self, neighbour: NeighbourId, piece: Piece) {
        if self.have.contains(piece) {
            self.owes_no_more(neighbour, piece);
        }
    }

    /// Whether the neighbour owed it.
    fn owes_no_more(&mut self, neighbour: NeighbourId, piece: Piece) -> bool {
        let Some(known) = self.neighbours.get_mut(&neighbour) else { return false };
        let place = known.owes.iter().position(|&owed| owed == piece);
        place.is_some_and(|place| known.owes.remove(place) == piece)
    }

    /// A neighbour chokes: it owes nothing any more.
    pub fn choked(&mut self, neighbour: NeighbourId) {
        let Some(known) = self.neighbours.get_mut(&neighbour) else { return };
        known.choked = true;
        for piece in std::mem::take(&mut known.owes) {
            self.reopen(piece);
        }
    }

    /// A neighbour is gone; what it owed is open again.
    pub fn left(&mut self, neighbour: NeighbourId) {
        self.choked(neighbour);
        if let Some(gone) = self.neighbours.remove(&neighbour) {
            let counted = gone.has.iter().filter(|_| gone.serves);
            counted.for_each(|piece| self.spread[piece.index() as usize] -= 1);
        }
    }

    /// A piece that was asked for did not come, or not as it should: it is open again, for all, unless it has come
    /// from another neighbour or another one owes it too.
    fn reopen(&mut self, piece: Piece) {
        if self.is_wanted(piece) && self.owers(piece).next().is_none() {
            self.open.insert(piece);
        }
    }

    /// The bytes are not those of the piece: it is asked for elsewhere. A neighbour that has failed too often is
    /// [barred](Picker::barred): it is not asked any more, for anything.
    pub fn failed(&mut self, neighbour: NeighbourId, piece: Piece) {
        self.waste.refetched += 1;
        self.checking.remove(&piece);
        self.reopen(piece);
        self.failures.entry(neighbour).or_default().push(piece);
        if self.barred(neighbour) {
            self.left(neighbour);
        }
    }

    /// Whether a neighbour has failed too often to be asked again.
    pub fn barred(&self, neighbour: NeighbourId) -> bool {
        self.failures.get(&neighbour).is_some_and(|pieces| pieces.len() >= FAILURES)
    }

    fn failed_with(&self, neighbour: NeighbourId, piece: Piece) -> bool {
        self.failures.get(&neighbour).is_some_and(|pieces| pieces.contains(&piece))
    }

    /// The missing pieces that no neighbour has: what a download waits for that cannot go on.
    pub fn nowhere(&self) -> impl Iterator<Item = Piece> {
        let has = |piece| self.neighbours.values().any(|known| known.has.contains(piece));
        self.have.missing().filter(move |&piece| !has(piece))
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
