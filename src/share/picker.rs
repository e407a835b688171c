//! Which piece to ask of whom: the downloader's thinking.
//!
//! # The problem
//! Many holders have parts of a file. Whom should be asked for what, so that all of them are kept busy,
//! nothing comes twice, and what only one holder has is safe before that one leaves?
//!
//! # The rules
//! - **Rarest first** ([`Order::Rarest`]): a holder is asked for the open piece that the fewest holders have. Were all to
//!   ask from the front, the end of the file would be at its first holder alone, and lost with it; and nobody would
//!   have anything to give to the others. Among equally rare ones the order is random, for each downloader another: they
//!   would all fetch the same piece otherwise, and again have nothing to give to each other.
//! - **Other orders**, to compare: [`Order::Sequential`] asks from the front. [`Order::Split`] is the sources' "part i of
//!   n": holder i of n begins at part i and goes on, round the end of the file; so it takes over what a slow or lost
//!   holder left undone.
//! - **Some requests in flight** for each holder, so that its link never rests while an answer and the next
//!   request pass each other; not many, because what is asked of one is not asked of another. A holder that
//!   takes long for a piece is asked for one at a time ([`is_slow`]).
//! - **Choke voids.** A holder that chokes or leaves owes nothing any more. What nobody else owes is open again, for
//!   anybody (E8).
//! - **Bytes that fail their hash** are asked for elsewhere, and their sender is remembered, also when it leaves and
//!   comes back; after the second time it is not asked any more. Only where nobody else has the piece is the same
//!   holder asked for it again.
//! - **A full disk** is nobody's fault: the piece is open again, and its sender is not blamed.
//! - **Endgame.** When nothing is open any more, the download lasts as long as the slowest holder takes for what it
//!   owes, while the fast ones have nothing to do. So a holder with nothing to do is asked for a piece that another
//!   owes: the one that lies deepest in a queue, because it would come last. At most [`COPIES`] are asked for one piece,
//!   and a holder for one such piece at a time. The loser hears from us that we `have` the piece, if it downloads from
//!   us too; then it sends it no more ([`Picker::taken_back`]). Otherwise its answer is ignored and counted
//!   ([`Waste::duplicates`]).
//!
//! A piece that is missing is *open*, or *asked for*, or has arrived and is being checked; the picker's state is who
//! has what, and which of the three each piece is.
//!
//! # An example
//! Three pieces. Ada has all, Ben has piece 2. Ada is asked for 0 and 1, because two holders have piece 2;
//! Ben is asked for that. Ada leaves: 0 and 1 are open again, and Ben, who lacks them, is asked for nothing.
//! When he says `have 0` he is asked for it.
//!
//! # What it costs
//! A request looks at each piece once that is open and that its holder has: a few microseconds for
//! 4096 pieces. An event that concerns one piece (`have`, verified) costs a step for each holder at most.
//!
//! # What is missing
//! The picker does not know how fast a holder is; only the endgame makes good for a slow one. libtorrent
//! keeps the pieces sorted by rarity, which makes a request cheaper and this file longer.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;
use std::time::Duration;

use super::{Bitfield, Layout, Piece};
use crate::error::{Error, Kind};

#[cfg(test)]
mod tests;

/// Requests in flight for each holder: one that is being answered, and one that waits behind it.
pub const IN_FLIGHT: usize = 2;

/// A holder that takes this many round trips for a piece is asked for one at a time: its link may rest for one
/// of them after each, a fiftieth of its time.
const SLOW: u32 = 50;

/// How many holders may be asked for one piece at once, in the endgame.
pub const COPIES: usize = 2;

/// How often a holder may send bytes that fail their hash before it is no longer asked.
pub const FAILURES: u32 = 2;

/// What the downloader calls a holder: any number, the same for the same holder when it comes back.
pub type HolderId = u64;

/// Whether a holder whose pieces come at intervals of `took` is slow, and so asked for one piece at a time.
///
/// A second request hides the round trip from an answer to the next request. Where answers take long there is
/// little to hide, and it costs something: a piece that waits behind another in this holder's queue is asked of
/// nobody else meanwhile, nor passed on.
pub fn is_slow(took: Duration, round_trip: Duration) -> bool {
    took >= round_trip * SLOW
}

/// In which order pieces are asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// What the fewest have comes first.
    #[default]
    Rarest,
    /// From the front: for somebody who watches while it comes.
    Sequential,
    /// Part i of n from holder i of n.
    Split,
}

impl FromStr for Order {
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

/// What became of bytes that a holder sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// They were asked for and are missing: check them, then say [`Picker::verified`] or
    /// [`Picker::failed`].
    Wanted,
    /// Somebody else was faster: throw them away.
    Duplicate,
    /// Nobody asked this holder for them; or its choke and our request have crossed.
    NotAsked,
}

/// What is thought of a holder whose bytes failed their hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
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
struct Holder {
    has: Bitfield,
    /// How many of its pieces are missing here.
    useful: u32,
    choked: bool,
    slow: bool,
    /// What it was asked for and owes, in the order of the requests.
    owes: Vec<Piece>,
}

/// The state of one download: what is there, who has what, and who was asked for what.
#[derive(Debug)]
pub struct Picker {
    order: Order,
    seed: u64,
    in_flight: usize,
    have: Bitfield,
    /// Missing, and asked of nobody.
    open: Bitfield,
    holders: BTreeMap<HolderId, Holder>,
    /// For each piece, how many holders have it.
    spread: Vec<u32>,
    /// Who owes each piece that is missing and asked for.
    asked: BTreeMap<Piece, Vec<HolderId>>,
    /// How often each holder failed, and for which pieces; it is remembered when the holder leaves.
    failures: BTreeMap<HolderId, (u32, BTreeSet<Piece>)>,
    waste: Waste,
}

impl Picker {
    /// A download that begins with the pieces in `have`. Equally rare pieces are drawn by `seed`.
    pub fn new(have: Bitfield, order: Order, seed: u64) -> Self {
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
            holders: BTreeMap::new(),
            spread: vec![0; layout.pieces() as usize],
            asked: BTreeMap::new(),
            failures: BTreeMap::new(),
            waste: Waste::default(),
        }
    }

    /// With another number of requests in flight for each holder; at least one.
    #[must_use]
    pub fn with_in_flight(mut self, requests: usize) -> Self {
        self.in_flight = requests.max(1);
        self
    }

    /// How the file is cut.
    pub fn layout(&self) -> Layout {
        self.have.layout()
    }

    /// The pieces that are there, verified.
    pub fn have(&self) -> &Bitfield {
        &self.have
    }

    /// Whether all are.
    pub fn is_done(&self) -> bool {
        self.have.is_full()
    }

    /// What it has cost so far.
    pub fn waste(&self) -> Waste {
        self.waste
    }

    /// A holder is there, with these pieces; it chokes until it says otherwise. One that was there is
    /// there anew; one that is barred is not let in.
    pub fn joined(&mut self, holder: HolderId, has: Bitfield) {
        self.left(holder);
        if self.barred(holder) {
            return;
        }
        let useful = has.iter().filter(|&piece| !self.have.contains(piece)).count() as u32;
        has.iter().for_each(|piece| self.spread[piece.index() as usize] += 1);
        self.holders.insert(holder, Holder { has, useful, choked: true, slow: true, owes: Vec::new() });
    }

    /// A holder is slow, or not any more ([`is_slow`]). Who has not shown yet how fast it is counts as slow.
    pub fn paced(&mut self, holder: HolderId, slow: bool) {
        if let Some(known) = self.holders.get_mut(&holder) {
            known.slow = slow;
        }
    }

    /// A holder has one more piece.
    pub fn gained(&mut self, holder: HolderId, piece: Piece) {
        let Some(known) = self.holders.get_mut(&holder) else { return };
        if known.has.insert(piece) {
            known.useful += u32::from(!self.have.contains(piece));
            self.spread[piece.index() as usize] += 1;
        }
    }

    /// A holder serves from now on.
    pub fn unchoked(&mut self, holder: HolderId) {
        if let Some(known) = self.holders.get_mut(&holder) {
            known.choked = false;
        }
    }

    /// Whether a holder has anything that is missing here: what the message `interested` tells it.
    pub fn interested(&self, holder: HolderId) -> bool {
        self.holders.get(&holder).is_some_and(|known| known.useful > 0)
    }

    /// Whether a holder owes anything.
    pub fn owes(&self, holder: HolderId) -> bool {
        self.holders.get(&holder).is_some_and(|known| !known.owes.is_empty())
    }

    /// What to ask a holder for now; `None` when it chokes, owes enough, or has nothing that helps. The
    /// piece counts as asked for from now on.
    pub fn next(&mut self, holder: HolderId) -> Option<Piece> {
        let known = self.holders.get(&holder)?;
        let most = if known.slow { 1 } else { self.in_flight };
        if known.choked || known.owes.len() >= most {
            return None;
        }
        let piece = match self.order {
            Order::Rarest => self.candidates(holder, known).min_by_key(|&piece| self.rarity(piece)),
            Order::Sequential => self.candidates(holder, known).next(),
            Order::Split => self.first_of_its_part(holder, known),
        };
        let piece = piece.or_else(|| self.endgame(holder, known))?;
        self.open.remove(piece);
        self.asked.entry(piece).or_default().push(holder);
        self.holders.get_mut(&holder)?.owes.push(piece);
        Some(piece)
    }

    /// The open pieces that a holder has, in order; not what it sent wrongly, unless nobody else has it.
    fn candidates(&self, holder: HolderId, known: &Holder) -> impl Iterator<Item = Piece> {
        let elsewhere = move |piece: Piece| self.spread[piece.index() as usize] > 1;
        self.open
            .common(&known.has)
            .filter(move |&piece| !self.failed_with(holder, piece) || !elsewhere(piece))
    }

    /// How many have it, then a lot drawn by the seed.
    fn rarity(&self, piece: Piece) -> (u32, u64) {
        (self.spread[piece.index() as usize], lot(self.seed, piece.index()))
    }

    /// The first open piece in part i of n, or after it, round the end of the file.
    fn first_of_its_part(&self, holder: HolderId, known: &Holder) -> Option<Piece> {
        let i = self.holders.range(..holder).count() as u64;
        let first = u64::from(self.layout().pieces()) * i / self.holders.len() as u64;
        let behind = self.candidates(holder, known).find(|piece| u64::from(piece.index()) >= first);
        behind.or_else(|| self.candidates(holder, known).next())
    }

    /// When all that is missing was asked for: a piece that somebody else owes, the one that lies deepest
    /// in a queue. One such piece at a time.
    fn endgame(&self, holder: HolderId, known: &Holder) -> Option<Piece> {
        if self.open.count() > 0 || !known.owes.is_empty() {
            return None;
        }
        let depth = |owers: &[HolderId], piece| {
            let owes = owers.first().and_then(|ower| self.holders.get(ower)).map(|ower| &ower.owes);
            owes.and_then(|owes| owes.iter().position(|&owed| owed == piece))
        };
        let could = self.asked.iter().filter(|&(&piece, owers)| {
            let asked_too = owers.len() >= COPIES || owers.contains(&holder);
            !asked_too && known.has.contains(piece) && !self.failed_with(holder, piece)
        });
        could
            .max_by_key(|&(&piece, owers)| (depth(owers, piece), lot(self.seed, piece.index())))
            .map(|(&p, _)| p)
    }

    /// Bytes have come. Says whether they are worth checking.
    pub fn arrived(&mut self, holder: HolderId, piece: Piece) -> Arrival {
        let owes = self.holders.get_mut(&holder).map(|known| &mut known.owes);
        let place = owes.as_ref().and_then(|owes| owes.iter().position(|&owed| owed == piece));
        if let (Some(owes), Some(place)) = (owes, place) {
            owes.remove(place);
            // Everybody who owes a piece that is still missing stands in `asked`; the first who brings it
            // takes the whole entry out.
            if self.asked.remove(&piece).is_some() {
                return Arrival::Wanted;
            }
        } else if !self.have.contains(piece) {
            return Arrival::NotAsked;
        }
        self.waste.duplicates += 1;
        Arrival::Duplicate
    }

    /// The bytes are right, and on the disk. Returns who else owes the piece: their answers will be ignored.
    pub fn verified(&mut self, piece: Piece) -> Vec<HolderId> {
        self.open.remove(piece);
        self.asked.remove(&piece);
        if !self.have.insert(piece) {
            return Vec::new();
        }
        let mut losers = Vec::new();
        for (&holder, known) in self.holders.iter_mut().filter(|(_, known)| known.has.contains(piece)) {
            known.useful -= 1;
            if known.owes.contains(&piece) {
                losers.push(holder);
            }
        }
        losers
    }

    /// A holder will not send a piece that is here already: it hears that we have it. So it owes it no more. (If
    /// it had begun to send it, that is a duplicate like any other.)
    pub fn taken_back(&mut self, holder: HolderId, piece: Piece) {
        if let Some(known) = self.holders.get_mut(&holder).filter(|_| self.have.contains(piece)) {
            known.owes.retain(|&owed| owed != piece);
        }
    }

    /// A holder chokes: what it owed is open again.
    pub fn choked(&mut self, holder: HolderId) {
        self.void(holder, |_| true);
        if let Some(known) = self.holders.get_mut(&holder) {
            known.choked = true;
        }
    }

    /// A holder is gone; what it owed is open again.
    pub fn left(&mut self, holder: HolderId) {
        self.choked(holder);
        if let Some(gone) = self.holders.remove(&holder) {
            gone.has.iter().for_each(|piece| self.spread[piece.index() as usize] -= 1);
        }
    }

    /// What a holder owes and `which` names, it owes no more. Where nobody else owes it, it is open.
    fn void(&mut self, holder: HolderId, which: impl Fn(Piece) -> bool) {
        let Some(known) = self.holders.get_mut(&holder) else { return };
        for piece in known.owes.extract_if(.., |piece| which(*piece)) {
            // What is not in `asked` has arrived from somebody else.
            let Some(owers) = self.asked.get_mut(&piece) else { continue };
            owers.retain(|&ower| ower != holder);
            if owers.is_empty() {
                self.asked.remove(&piece);
                self.open.insert(piece);
            }
        }
    }

    /// The bytes are not those of the piece: it is open again, for others.
    pub fn failed(&mut self, holder: HolderId, piece: Piece) -> Verdict {
        self.waste.refetched += 1;
        self.reopen(piece);
        let (failures, pieces) = self.failures.entry(holder).or_default();
        *failures += 1;
        pieces.insert(piece);
        if *failures < FAILURES {
            return Verdict::Warned;
        }
        self.left(holder);
        Verdict::Barred
    }

    /// A piece that had arrived is missing after all.
    fn reopen(&mut self, piece: Piece) {
        let owes = self.holders.iter().filter(|(_, known)| known.owes.contains(&piece));
        let owers: Vec<_> = owes.map(|(&holder, _)| holder).collect();
        if owers.is_empty() {
            self.open.insert(piece);
        } else {
            self.asked.insert(piece, owers);
        }
    }

    /// Whether a holder has failed too often to be asked again.
    pub fn barred(&self, holder: HolderId) -> bool {
        self.failures.get(&holder).is_some_and(|&(failures, _)| failures >= FAILURES)
    }

    fn failed_with(&self, holder: HolderId, piece: Piece) -> bool {
        self.failures.get(&holder).is_some_and(|(_, pieces)| pieces.contains(&piece))
    }

    /// The missing pieces that no holder has: what a download waits for that cannot go on.
    pub fn nowhere(&self) -> impl Iterator<Item = Piece> {
        self.have.missing().filter(|piece| self.spread[piece.index() as usize] == 0)
    }
}

/// A number that looks random, the same for the same seed and piece: splitmix64, by Steele, Lea and Flood
/// ("Fast splittable pseudorandom number generators", 2014).
fn lot(seed: u64, index: u32) -> u64 {
    let mut z = seed.wrapping_add(u64::from(index).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
