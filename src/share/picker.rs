//! Which piece to ask of whom: the downloader's thinking.
//!
//! # The problem
//! Many holders have parts of a file. Whom should be asked for what, so that all of them are kept busy,
//! nothing comes twice, and what only one holder has is safe before that one leaves?
//!
//! # The rules
//! - **Rarest first** ([`Order::Rarest`]): the piece that the fewest holders have. Among equals the order
//!   is drawn by lot, for each downloader another: they would all fetch the same piece otherwise, and have
//!   nothing to give to each other. [`Order::Sequential`] asks from the front. [`Order::Split`] is the
//!   sources' "part i of n": holder i of n begins at part i and goes on, round the end of the file; so it
//!   takes over what a slow or lost holder left undone.
//! - **Some requests in flight** for each holder, so that its link never rests while an answer and the next
//!   request pass each other; not many, because what is asked of one is not asked of another. A holder that
//!   takes long for a piece is asked for one at a time ([`is_slow`]).
//! - **Choke voids.** A holder that chokes or leaves owes nothing any more: what was asked of it is open
//!   again, for anybody (E8).
//! - **Bytes that fail their hash** are asked for elsewhere, and their sender is remembered; after the
//!   second time it is not asked any more. Only where nobody else has the piece is the same asked again.
//! - **Endgame.** When every missing piece is asked for, a holder with nothing to do is asked for a piece
//!   that another owes: the one that lies deepest in a queue. At most [`COPIES`] are asked for one piece, and
//!   a holder for one such piece at a time. The loser hears from us that we `have` the piece, if it downloads from
//!   us too; then it sends it no more ([`Picker::taken_back`]). Otherwise its answer is ignored and counted.
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

/// Whether a holder whose pieces come at intervals of `took` is slow, and so asked for one piece at a time.
///
/// A second request hides the round trip from an answer to the next request. Where answers take long there is
/// little to hide, and it costs something: a piece that waits behind another in this holder's queue is asked of
/// nobody else meanwhile, nor passed on.
pub fn is_slow(took: Duration, round_trip: Duration) -> bool {
    took >= round_trip * SLOW
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

    /// A holder is gone; what it owed is open again.
    pub fn left(&mut self, holder: HolderId) {
        self.choked(holder);
        if let Some(gone) = self.holders.remove(&holder) {
            gone.has.iter().for_each(|piece| self.spread[piece.index() as usize] -= 1);
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

    /// A holder has a piece no more: it said so when it was asked for it.
    pub fn lost(&mut self, holder: HolderId, piece: Piece) {
        self.void(holder, |owed| owed == piece);
        let Some(known) = self.holders.get_mut(&holder) else { return };
        if known.has.remove(piece) {
            known.useful -= u32::from(!self.have.contains(piece));
            self.spread[piece.index() as usize] -= 1;
        }
    }

    /// A holder chokes: what it owed is open again.
    pub fn choked(&mut self, holder: HolderId) {
        self.void(holder, |_| true);
        if let Some(known) = self.holders.get_mut(&holder) {
            known.choked = true;
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

    /// A piece that had arrived is missing after all, for instance because the disk is full.
    pub fn reopen(&mut self, piece: Piece) {
        let owes = self.holders.iter().filter(|(_, known)| known.owes.contains(&piece));
        let owers: Vec<_> = owes.map(|(&holder, _)| holder).collect();
        if owers.is_empty() {
            self.open.insert(piece);
        } else {
            self.asked.insert(piece, owers);
        }
    }

    /// The missing pieces that no holder has: what a download waits for that cannot go on.
    pub fn nowhere(&self) -> impl Iterator<Item = Piece> {
        self.have.missing().filter(|piece| self.spread[piece.index() as usize] == 0)
    }

    /// Whether a holder has failed too often to be asked again.
    pub fn barred(&self, holder: HolderId) -> bool {
        self.failures.get(&holder).is_some_and(|&(failures, _)| failures >= FAILURES)
    }

    fn failed_with(&self, holder: HolderId, piece: Piece) -> bool {
        self.failures.get(&holder).is_some_and(|(_, pieces)| pieces.contains(&piece))
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
}

/// A number that looks random, the same for the same seed and piece: splitmix64, by Steele, Lea and Flood
/// ("Fast splittable pseudorandom number generators", 2014).
fn lot(seed: u64, index: u32) -> u64 {
    let mut z = seed.wrapping_add(u64::from(index).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15));
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ADA: HolderId = 1;
    const BEN: HolderId = 2;
    const CYD: HolderId = 3;

    fn layout(pieces: u32) -> Layout {
        Layout::new(u64::from(pieces) * 1024, 1024).unwrap()
    }

    fn piece(picker: &Picker, index: u32) -> Piece {
        picker.layout().piece(index).unwrap()
    }

    fn set(pieces: u32, has: &[u32]) -> Bitfield {
        let mut set = Bitfield::empty(layout(pieces));
        has.iter().for_each(|&index| assert!(set.insert(layout(pieces).piece(index).unwrap())));
        set
    }

    /// A download of `pieces` pieces from these holders, who all serve; 100 requests in flight.
    fn download(pieces: u32, order: Order, holders: &[(HolderId, &[u32])]) -> Picker {
        let mut picker = Picker::new(set(pieces, &[]), order, 1).with_in_flight(100);
        for &(holder, has) in holders {
            picker.joined(holder, set(pieces, has));
            picker.paced(holder, false);
            picker.unchoked(holder);
        }
        picker
    }

    /// Everything that a holder is asked for now.
    fn asked(picker: &mut Picker, holder: HolderId) -> Vec<u32> {
        std::iter::from_fn(|| picker.next(holder)).map(Piece::index).collect()
    }

    #[test]
    fn the_rarest_piece_is_asked_for_first() {
        let mut picker =
            download(4, Order::Rarest, &[(ADA, &[0, 1, 2, 3]), (BEN, &[0, 1, 3]), (CYD, &[0, 3])]);
        picker.gained(CYD, piece(&picker, 1));
        picker.gained(BEN, piece(&picker, 3));
        picker.left(CYD);
        picker.joined(CYD, set(4, &[0, 3]));
        // 2 is at one holder, 1 at two, 0 and 3 at three.
        let order = asked(&mut picker, ADA);
        assert_eq!(order[..2], [2, 1]);
        assert_eq!(order.len(), 4);
    }

    #[test]
    fn equally_rare_pieces_are_drawn_by_the_seed() {
        let order = |seed| {
            let mut picker = Picker::new(set(50, &[]), Order::Rarest, seed).with_in_flight(50);
            picker.joined(ADA, Bitfield::full(layout(50)));
            picker.paced(ADA, false);
            picker.unchoked(ADA);
            asked(&mut picker, ADA)
        };
        assert_eq!(order(7), order(7), "the same seed, the same order");
        assert_ne!(order(7), order(8), "or all downloaders would fetch the same piece");
        let mut firsts: Vec<_> = (0..1000).map(|seed| order(seed)[0]).collect();
        firsts.sort_unstable();
        firsts.dedup();
        assert_eq!(firsts.len(), 50, "every piece comes first for somebody");
    }

    #[test]
    fn sequential_asks_from_the_front_whoever_has_it() {
        let mut picker = download(5, Order::Sequential, &[(ADA, &[0, 1, 2, 3, 4]), (BEN, &[1, 2, 4])]);
        picker = picker.with_in_flight(2);
        assert_eq!(asked(&mut picker, BEN), [1, 2]);
        assert_eq!(asked(&mut picker, ADA), [0, 3]);
    }

    #[test]
    fn split_asks_part_i_of_n_from_each_and_goes_on_where_others_are_slow() {
        let all: Vec<u32> = (0..9).collect();
        let mut picker =
            download(9, Order::Split, &[(ADA, &all), (BEN, &all), (CYD, &all)]).with_in_flight(3);
        assert_eq!(asked(&mut picker, ADA), [0, 1, 2]);
        assert_eq!(asked(&mut picker, BEN), [3, 4, 5]);
        assert_eq!(asked(&mut picker, CYD), [6, 7, 8]);
        // Ben is gone, and Cyd is done with her part: she is 2 of 2 now and begins at 4, then round the end.
        picker.left(BEN);
        for index in [6, 7, 8] {
            let piece = piece(&picker, index);
            assert_eq!(picker.arrived(CYD, piece), Arrival::Wanted);
            picker.verified(piece);
        }
        assert_eq!(asked(&mut picker, CYD), [4, 5, 3]);
    }

    #[test]
    fn what_a_holder_owes_is_open_again_when_it_chokes_or_leaves() {
        let mut picker = download(3, Order::Sequential, &[(ADA, &[0, 1, 2]), (BEN, &[0, 1])]);
        assert_eq!(asked(&mut picker, ADA), [0, 1, 2]);
        picker.choked(ADA);
        assert_eq!(asked(&mut picker, ADA), [0; 0], "who chokes is not asked");
        assert_eq!(asked(&mut picker, BEN), [0, 1]);
        picker.left(BEN);
        picker.unchoked(ADA);
        assert_eq!(asked(&mut picker, ADA), [0, 1, 2]);
        assert_eq!(picker.arrived(BEN, piece(&picker, 0)), Arrival::NotAsked);
    }

    #[test]
    fn no_more_is_asked_of_a_holder_than_it_may_owe() {
        let mut picker = download(5, Order::Sequential, &[(ADA, &[0, 1, 2, 3, 4])]).with_in_flight(IN_FLIGHT);
        assert_eq!(asked(&mut picker, ADA), [0, 1]);
        assert_eq!(picker.arrived(ADA, piece(&picker, 0)), Arrival::Wanted);
        assert_eq!(asked(&mut picker, ADA), [2]);
        assert_eq!(Picker::new(set(1, &[]), Order::Rarest, 0).with_in_flight(0).in_flight, 1);
    }

    #[test]
    fn a_slow_holder_is_asked_for_one_piece_at_a_time() {
        let mut picker = Picker::new(set(5, &[]), Order::Sequential, 1);
        picker.joined(ADA, set(5, &[0, 1, 2, 3, 4]));
        picker.unchoked(ADA);
        assert_eq!(asked(&mut picker, ADA), [0], "who knows how fast a newcomer is?");
        assert_eq!(picker.arrived(ADA, piece(&picker, 0)), Arrival::Wanted);
        assert_eq!(asked(&mut picker, ADA), [1]);
        picker.paced(ADA, false);
        assert_eq!(asked(&mut picker, ADA), [2]);
        let (link, lan) = (Duration::from_millis(62), Duration::from_micros(300));
        assert!(is_slow(link, lan), "0.3 ms of rest after each 62 ms");
        assert!(!is_slow(link, Duration::from_millis(30)), "half of its time");
    }

    #[test]
    fn who_joins_or_gains_a_piece_in_the_middle_is_asked_too() {
        let mut picker = download(3, Order::Sequential, &[(ADA, &[0])]);
        assert_eq!(asked(&mut picker, ADA), [0]);
        assert_eq!(picker.nowhere().map(Piece::index).collect::<Vec<_>>(), [1, 2]);
        assert!(picker.interested(ADA));
        picker.gained(ADA, piece(&picker, 2));
        assert_eq!(asked(&mut picker, ADA), [2]);
        picker.joined(BEN, set(3, &[1]));
        assert_eq!(asked(&mut picker, BEN), [0; 0], "a newcomer chokes until it says otherwise");
        picker.unchoked(BEN);
        assert_eq!(asked(&mut picker, BEN), [1]);
        picker.lost(BEN, piece(&picker, 1));
        assert!(!picker.interested(BEN));
        assert_eq!(picker.nowhere().map(Piece::index).collect::<Vec<_>>(), [1]);
        picker.gained(ADA, piece(&picker, 1));
        assert_eq!(asked(&mut picker, ADA), [1], "what a holder lost is open again");
    }

    #[test]
    fn interest_is_in_what_is_missing() {
        let mut picker = Picker::new(set(3, &[0]), Order::Rarest, 1);
        picker.joined(ADA, set(3, &[0]));
        picker.joined(BEN, set(3, &[0, 1]));
        assert!(!picker.interested(ADA));
        assert!(picker.interested(BEN));
        picker.verified(piece(&picker, 1));
        assert!(!picker.interested(BEN));
        picker.gained(ADA, piece(&picker, 2));
        assert!(picker.interested(ADA));
    }

    #[test]
    fn a_piece_that_fails_is_asked_for_elsewhere_and_after_the_second_its_sender_is_barred() {
        let mut picker =
            download(3, Order::Sequential, &[(ADA, &[0, 1, 2]), (BEN, &[0, 1, 2])]).with_in_flight(2);
        assert_eq!(asked(&mut picker, ADA), [0, 1]);
        let (first, second) = (piece(&picker, 0), piece(&picker, 1));
        assert_eq!(picker.arrived(ADA, first), Arrival::Wanted);
        assert_eq!(picker.failed(ADA, first), Verdict::Warned);
        assert_eq!(asked(&mut picker, ADA), [2], "something else, but not the piece that failed");
        assert_eq!(asked(&mut picker, BEN)[0], 0);
        assert_eq!(picker.arrived(ADA, second), Arrival::Wanted);
        assert_eq!(picker.failed(ADA, second), Verdict::Barred);
        assert!(picker.barred(ADA) && !picker.interested(ADA));
        assert_eq!(asked(&mut picker, ADA), [0; 0]);
        picker.joined(ADA, set(3, &[0, 1, 2]));
        picker.unchoked(ADA);
        assert_eq!(asked(&mut picker, ADA), [0; 0], "coming back does not help");
        assert_eq!(picker.arrived(BEN, first), Arrival::Wanted);
        picker.verified(first);
        assert_eq!(asked(&mut picker, BEN), [1, 2], "what the barred one sent wrongly, and what it owed");
        assert_eq!(picker.waste(), Waste { refetched: 2, duplicates: 0 });
    }

    #[test]
    fn where_nobody_else_has_the_piece_its_sender_gets_a_second_chance() {
        let mut picker = download(1, Order::Rarest, &[(ADA, &[0])]);
        assert_eq!(asked(&mut picker, ADA), [0]);
        let only = piece(&picker, 0);
        picker.arrived(ADA, only);
        assert_eq!(picker.failed(ADA, only), Verdict::Warned);
        assert_eq!(asked(&mut picker, ADA), [0]);
        picker.arrived(ADA, only);
        assert_eq!(picker.failed(ADA, only), Verdict::Barred);
        assert_eq!(picker.nowhere().count(), 1, "now nobody has it");
    }

    #[test]
    fn in_the_endgame_one_piece_is_asked_of_two_and_the_loser_is_counted() {
        let all = &[0, 1, 2, 3][..];
        let mut picker = download(4, Order::Sequential, &[(ADA, all), (BEN, all), (CYD, all)]);
        assert_eq!(asked(&mut picker, ADA), [0, 1, 2, 3]);
        assert_eq!(asked(&mut picker, BEN), [3], "the deepest in the queue, and one at a time");
        assert_eq!(asked(&mut picker, CYD), [2], "3 is asked of two already");
        let (third, last) = (piece(&picker, 2), piece(&picker, 3));
        assert_eq!(picker.arrived(BEN, last), Arrival::Wanted);
        assert_eq!(asked(&mut picker, BEN), [1], "3 is being checked and not asked for again");
        assert_eq!(picker.verified(last), [ADA]);
        assert_eq!(picker.arrived(ADA, last), Arrival::Duplicate);
        picker.left(CYD);
        assert_eq!(picker.arrived(ADA, third), Arrival::Wanted, "the other one who owed it left");
        assert_eq!(picker.waste(), Waste { refetched: 0, duplicates: 1 });
    }

    #[test]
    fn before_the_endgame_nothing_is_asked_of_two() {
        let mut picker = download(2, Order::Sequential, &[(ADA, &[0]), (BEN, &[0])]);
        assert_eq!(asked(&mut picker, ADA), [0]);
        assert_eq!(asked(&mut picker, BEN), [0; 0], "piece 1 is open, though nobody has it");
    }

    #[test]
    fn who_hears_that_a_piece_is_here_owes_it_no_more() {
        let all = &[0, 1][..];
        let mut picker = download(2, Order::Sequential, &[(ADA, all), (BEN, all)]).with_in_flight(1);
        let (first, second) = (piece(&picker, 0), piece(&picker, 1));
        assert_eq!((asked(&mut picker, ADA), asked(&mut picker, BEN)), (vec![0], vec![1]));
        picker.arrived(BEN, second);
        picker.verified(second);
        assert_eq!(asked(&mut picker, BEN), [0], "what Ada owes");
        picker.taken_back(ADA, first);
        assert_eq!(picker.holders[&ADA].owes, [first], "not yet: it is missing");
        picker.arrived(BEN, first);
        assert_eq!(picker.verified(first), [ADA]);
        picker.taken_back(ADA, first);
        assert!(picker.holders[&ADA].owes.is_empty(), "so it can be asked for something else at once");
        assert_eq!(picker.arrived(ADA, first), Arrival::Duplicate, "but it was on its way");
    }

    #[test]
    fn when_the_faster_of_two_fails_the_slower_is_still_wanted() {
        let mut picker = download(1, Order::Rarest, &[(ADA, &[0]), (BEN, &[0])]);
        assert_eq!((asked(&mut picker, ADA), asked(&mut picker, BEN)), (vec![0], vec![0]));
        let only = piece(&picker, 0);
        assert_eq!(picker.arrived(ADA, only), Arrival::Wanted);
        picker.failed(ADA, only);
        assert_eq!(picker.arrived(BEN, only), Arrival::Wanted);
        picker.reopen(only);
        assert_eq!(asked(&mut picker, BEN), [0], "the disk was full: again, and without blame");
        assert_eq!(picker.waste().refetched, 1);
    }

    #[test]
    fn a_download_resumes_with_what_is_there() {
        let mut picker = Picker::new(set(4, &[0, 2]), Order::Sequential, 1).with_in_flight(9);
        picker.joined(ADA, Bitfield::full(layout(4)));
        picker.paced(ADA, false);
        picker.unchoked(ADA);
        assert_eq!(asked(&mut picker, ADA), [1, 3]);
    }

    #[test]
    fn an_empty_file_is_done_at_once() {
        assert!(Picker::new(set(0, &[]), Order::Rarest, 1).is_done());
    }

    /// Two hundred times what the picker is asked in a download of a gigabyte from 50 holders.
    #[test]
    fn a_request_among_4096_pieces_costs_microseconds() {
        let pieces = 4096;
        let mut picker = Picker::new(set(pieces, &[]), Order::Rarest, 1).with_in_flight(4);
        let mut turns: Vec<HolderId> = (0..50).collect();
        for &holder in &turns {
            picker.joined(holder, Bitfield::full(layout(pieces)));
            picker.unchoked(holder);
        }
        let begun = std::time::Instant::now();
        while !picker.is_done() {
            let holder = turns[0];
            turns.rotate_left(1);
            while let Some(piece) = picker.next(holder) {
                if picker.arrived(holder, piece) == Arrival::Wanted {
                    picker.verified(piece);
                }
            }
        }
        let each = begun.elapsed() / pieces;
        assert!(each.as_micros() < 200, "{each:?} for one piece");
    }

    #[derive(Clone, Debug)]
    enum Act {
        Join { holder: HolderId, has: u64 },
        Leave { holder: HolderId },
        Gain { holder: HolderId, piece: u32 },
        Lose { holder: HolderId, piece: u32 },
        Choke { holder: HolderId },
        Unchoke { holder: HolderId },
        Ask { holder: HolderId },
        Arrive { holder: HolderId, good: bool },
    }

    fn act() -> impl Strategy<Value = Act> {
        let holder = 0..4_u64;
        prop_oneof![
            1 => (holder.clone(), any::<u64>()).prop_map(|(holder, has)| Act::Join { holder, has }),
            1 => holder.clone().prop_map(|holder| Act::Leave { holder }),
            2 => (holder.clone(), 0..12_u32).prop_map(|(holder, piece)| Act::Gain { holder, piece }),
            1 => (holder.clone(), 0..12_u32).prop_map(|(holder, piece)| Act::Lose { holder, piece }),
            1 => holder.clone().prop_map(|holder| Act::Choke { holder }),
            3 => holder.clone().prop_map(|holder| Act::Unchoke { holder }),
            8 => holder.clone().prop_map(|holder| Act::Ask { holder }),
            6 => (holder, prop::bool::weighted(0.9)).prop_map(|(holder, good)| Act::Arrive { holder, good }),
        ]
    }

    /// What must always hold: each missing piece is open, asked for, or being checked, and exactly one of
    /// them; books and holders agree.
    fn check(picker: &Picker) -> Result<(), TestCaseError> {
        for piece in picker.layout().iter() {
            let owers: BTreeSet<_> =
                picker.holders.iter().filter(|(_, h)| h.owes.contains(&piece)).map(|(&id, _)| id).collect();
            let has = picker.holders.values().filter(|h| h.has.contains(piece)).count() as u32;
            prop_assert_eq!(picker.spread[piece.index() as usize], has);
            if picker.have.contains(piece) {
                prop_assert!(!picker.open.contains(piece) && !picker.asked.contains_key(&piece));
                continue;
            }
            let asked: BTreeSet<_> = picker.asked.get(&piece).into_iter().flatten().copied().collect();
            prop_assert_eq!(&asked, &owers, "piece {}", piece.index());
            prop_assert!(asked.len() <= COPIES);
            prop_assert_eq!(picker.open.contains(piece), asked.is_empty());
        }
        for (&id, holder) in &picker.holders {
            let useful = holder.has.iter().filter(|&p| !picker.have.contains(p)).count() as u32;
            prop_assert_eq!(holder.useful, useful);
            prop_assert!(holder.owes.len() <= picker.in_flight);
            prop_assert!(holder.owes.is_empty() || !holder.choked);
            prop_assert!(!picker.barred(id));
        }
        Ok(())
    }

    proptest! {
        /// Whatever holders do in whatever order, the books agree, and in the end one honest holder
        /// is enough.
        #[test]
        fn no_piece_is_ever_forgotten(
            acts in prop::collection::vec(act(), 0..150),
            order in prop::sample::select(vec![Order::Rarest, Order::Sequential, Order::Split]),
            hears: bool,
            seed: u64,
        ) {
            let layout = layout(12);
            let mut picker = Picker::new(Bitfield::empty(layout), order, seed).with_in_flight(3);
            for act in acts {
                match act {
                    Act::Join { holder, has } => {
                        let has: Vec<u32> = (0..12).filter(|bit| has >> bit & 1 == 1).collect();
                        picker.joined(holder, set(12, &has));
                    }
                    Act::Leave { holder } => picker.left(holder),
                    Act::Gain { holder, piece } => picker.gained(holder, layout.piece(piece).unwrap()),
                    Act::Lose { holder, piece } => picker.lost(holder, layout.piece(piece).unwrap()),
                    Act::Choke { holder } => picker.choked(holder),
                    Act::Unchoke { holder } => picker.unchoked(holder),
                    Act::Ask { holder } => {
                        if let Some(piece) = picker.next(holder) {
                            prop_assert!(picker.holders[&holder].has.contains(piece));
                            prop_assert!(!picker.have.contains(piece));
                        }
                    }
                    Act::Arrive { holder, good } => {
                        let owed = picker.holders.get(&holder).and_then(|h| h.owes.first().copied());
                        let Some(piece) = owed else { continue };
                        if picker.arrived(holder, piece) == Arrival::Wanted {
                            if good {
                                let losers = picker.verified(piece);
                                let told = losers.into_iter().filter(|_| hears);
                                told.for_each(|loser| picker.taken_back(loser, piece));
                            } else {
                                picker.failed(holder, piece);
                            }
                        }
                    }
                }
                check(&picker)?;
            }
            let honest = 99;
            picker.joined(honest, Bitfield::full(layout));
            picker.unchoked(honest);
            (0..4).for_each(|holder| picker.left(holder));
            while let Some(piece) = picker.next(honest) {
                prop_assert_eq!(picker.arrived(honest, piece), Arrival::Wanted);
                picker.verified(piece);
                check(&picker)?;
            }
            prop_assert!(picker.is_done());
        }
    }
}
