//! Which piece to ask of whom: the downloader's thinking.
//!
//! # The problem
//! Many holders have parts of a file. Whom should be asked for what, so that all of them are kept busy,
//! nothing comes twice, and what only one holder has is safe before that one leaves?
//!
//! # The rules
//! - **Rarest first** ([`Order::Rarest`]), or another order: which of the open pieces a holder is asked for. In
//!   `picker/order.rs`.
//! - **Some requests in flight** for each holder, so that its link never rests while an answer and the next
//!   request pass each other; not many, because what is asked of one is not asked of another. A holder that
//!   takes long for a piece is asked for one at a time ([`is_slow`]).
//! - **Choke voids.** A holder that chokes or leaves owes nothing any more: what was asked of it is open
//!   again, for anybody (E8). **Bytes that fail their hash** are asked for elsewhere, and their sender is
//!   remembered. In `picker/reopen.rs`.
//! - **Endgame.** When every missing piece is asked for, a holder with nothing to do is asked for a piece that
//!   another owes. In `picker/endgame.rs`.
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
use std::time::Duration;

use super::{Bitfield, Layout, Piece};

mod endgame;
mod order;
mod reopen;
#[cfg(test)]
mod tests;

pub use endgame::COPIES;
pub use order::Order;
pub use reopen::{FAILURES, Verdict};

/// Requests in flight for each holder: one that is being answered, and one that waits behind it.
pub const IN_FLIGHT: usize = 2;

/// A holder that takes this many round trips for a piece is asked for one at a time: its link may rest for one
/// of them after each, a fiftieth of its time.
const SLOW: u32 = 50;

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

    /// The missing pieces that no holder has: what a download waits for that cannot go on.
    pub fn nowhere(&self) -> impl Iterator<Item = Piece> {
        self.have.missing().filter(|piece| self.spread[piece.index() as usize] == 0)
    }
}
