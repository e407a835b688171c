//! Which request is served next: the uploader's thinking.
//!
//! # The problem
//! Five peers are unchoked and each has asked for two pieces. A link that carries five pieces at once
//! brings all five late; one that carries them one after another brings the first in a fifth of the time,
//! and its receiver can pass it on while the second is under way. In a swarm that is young, where
//! no peer has anything yet, that is most of the difference between a good and a bad start.
//!
//! # The rules
//! - **A few pieces at a time**: one where the link is slow (`--up`), more where it is the machine that limits.
//! - **A peer that owes waits** behind all others: the [`ledger`](super::ledger) says which one does. When nobody else
//!   asks, it is served.
//! - Among the others **what was sent least often comes first.** As long as the seed has not sent every piece once,
//!   each byte that it sends twice is a byte too many: F / u_s is a bound ([`theory`](super::theory)).
//! - Among those: **the requester that was served longest ago**, so that all are served alike; then the one that
//!   asked first.
//! - **No request waits for ever**: a request that was passed over [`PATIENCE`] times comes first. A peer that
//!   asks from the front, for pieces that others have had before, is late but is served.
//!
//! # An example
//! Ada and Ben ask the seed for pieces 7 and 7, Cyd for 8. Ada gets 7. Now 7 was sent once: Cyd gets 8. Then
//! Ben gets 7, unless Ada has sent it to Ben in the meantime and Ben has told the seed.
//!
//! # What it is worth
//! The tests run a swarm in virtual time: 16 peers of 4 MiB/s, a seed of 8 MiB/s, 32 MiB in pieces of 256 KiB,
//! all of them there from the start. When the last peer is done, as a share of D_p2p, on the average:
//!
//! | | N = 16 |
//! |---|---|
//! | as it is: one piece at a time, one request in flight where answers take long, requests are taken back | 1.06 |
//! | the same, but two requests in flight | 1.09 |
//! | the same, but requests are not taken back | 1.07 |
//! | neither of the two | 1.10 |
//! | as it is, but five pieces at a time | 1.10 |
//! | five pieces at a time, five in flight, not taken back | 1.27 |
//! | as it is, but split instead of rarest first | 1.59 |
//! | as it is, but sequential instead of rarest first | 1.66 |
//!
//! For N = 3 and 8 it is 1.02 and 1.05. What is left is mostly the first half second, in which most peers
//! have nothing yet to pass on. A request is *taken back* without a message of its own: a peer that hears
//! from a requester that it has a piece (`have`) does not send it that piece any more.
//!
//! # What is missing
//! A sender that cannot write, because the receiver does not read, holds its turn until its deadline.

use std::collections::HashMap;

use super::{FileId, Piece};

/// How often a request may be passed over before it is served first.
pub const PATIENCE: u32 = 16;

/// What the uploader calls a peer that asks for pieces of one file; where it asks for two files, it has two of these.
pub type RequesterId = u64;

/// A request for a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct PieceRequest {
    /// The peer that asks.
    pub requester: RequesterId,
    /// The file.
    pub file: FileId,
    /// What it asks for.
    pub piece: Piece,
}

#[derive(Debug)]
struct Backlog {
    request: PieceRequest,
    passed_over: u32,
}

/// The requests that wait for the link, and what it has carried so far.
#[derive(Debug, Default)]
pub struct Uplink {
    at_once: usize,
    sending: Vec<PieceRequest>,
    /// In the order in which they came.
    waiting: Vec<Backlog>,
    /// How often each piece was sent, or begun.
    sent: HashMap<(FileId, Piece), u64>,
    /// When each requester was last served, in turns.
    served: HashMap<RequesterId, u64>,
    turn: u64,
}

impl Uplink {
    /// A link that carries `at_once` pieces at a time; at least one.
    pub fn new(at_once: usize) -> Self {
        Self { at_once: at_once.max(1), ..Self::default() }
    }

    /// A requester asks; a request that waits already is not doubled.
    pub fn ask(&mut self, request: PieceRequest) {
        if !self.waiting.iter().any(|waiting| waiting.request == request) {
            self.waiting.push(Backlog { request, passed_over: 0 });
        }
    }

    /// How many requests of a requester wait, or are being sent.
    pub fn open(&self, requester: RequesterId) -> usize {
        let waiting = self.waiting.iter().map(|waiting| &waiting.request);
        waiting.chain(&self.sending).filter(|request| request.requester == requester).count()
    }

    /// A request is not wanted any more. If it is being sent, it goes on.
    pub fn cancel(&mut self, request: PieceRequest) {
        self.waiting.retain(|waiting| waiting.request != request);
    }

    /// A requester was choked: its requests that wait are void.
    pub fn void(&mut self, requester: RequesterId) {
        self.waiting.retain(|waiting| waiting.request.requester != requester);
    }

    /// A requester is gone.
    pub fn forget(&mut self, requester: RequesterId) {
        self.void(requester);
        self.sending.retain(|request| request.requester != requester);
        self.served.remove(&requester);
    }

    /// No requester asks for pieces of a file any more: how often they were sent is forgotten.
    pub fn forget_file(&mut self, file: FileId) {
        self.sent.retain(|(sent, _), _| *sent != file);
    }

    /// The request to serve next; `None` when none waits or the link is full. Say [`Uplink::done`] when it is sent.
    /// `owes` says whose requests wait behind those of the others.
    pub fn next_request(&mut self, owes: impl Fn(RequesterId) -> bool) -> Option<PieceRequest> {
        if self.sending.len() >= self.at_once {
            return None;
        }
        let rank = |&place: &usize| {
            let Backlog { request, passed_over } = &self.waiting[place];
            let late = *passed_over >= PATIENCE;
            let sent = self.sent.get(&(request.file, request.piece)).copied().unwrap_or(0);
            let served = self.served.get(&request.requester).copied().unwrap_or(0);
            (!late, !late && owes(request.requester), if late { 0 } else { sent }, served, place)
        };
        let place = (0..self.waiting.len()).min_by_key(rank)?;
        let request = self.waiting.remove(place).request;
        for earlier in &mut self.waiting[..place] {
            earlier.passed_over += 1;
        }
        self.turn += 1;
        self.served.insert(request.requester, self.turn);
        *self.sent.entry((request.file, request.piece)).or_default() += 1;
        self.sending.push(request);
        Some(request)
    }

    /// A request that [`Uplink::next_request`] named is sent, or given up.
    pub fn done(&mut self, request: PieceRequest) {
        if let Some(place) = self.sending.iter().position(|&sending| sending == request) {
            self.sending.swap_remove(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Layout;
    use super::*;

    const ADA: RequesterId = 1;
    const BEN: RequesterId = 2;
    const CYD: RequesterId = 3;

    fn request(requester: RequesterId, piece: u32) -> PieceRequest {
        let layout = Layout::new(1 << 20, 1024).unwrap();
        PieceRequest { requester, file: FileId::from([0; 32]), piece: layout.piece(piece).unwrap() }
    }

    /// A link with these requests, and the order in which it serves them, one after another.
    fn served(requests: &[(RequesterId, u32)]) -> Vec<(RequesterId, u32)> {
        let mut link = Uplink::new(1);
        requests.iter().for_each(|&(requester, piece)| link.ask(request(requester, piece)));
        drain(&mut link)
    }

    fn drain(link: &mut Uplink) -> Vec<(RequesterId, u32)> {
        let next = || {
            let request = link.next_request(|_| false)?;
            link.done(request);
            Some((request.requester, request.piece.index()))
        };
        std::iter::from_fn(next).collect()
    }

    #[test]
    fn what_is_being_sent_to_one_that_is_gone_counts_no_more_and_nobody_elses_is_touched() {
        let mut link = Uplink::new(2);
        for (requester, piece) in [(ADA, 1), (BEN, 2), (ADA, 3)] {
            link.ask(request(requester, piece));
        }
        assert!((0..2).all(|_| link.next_request(|_| false).is_some()));
        link.forget(ADA);
        assert_eq!((link.open(ADA), link.open(BEN)), (0, 1));
    }

    #[test]
    fn what_was_sent_least_often_comes_first() {
        assert_eq!(served(&[(ADA, 7), (BEN, 7), (CYD, 8)]), [(ADA, 7), (CYD, 8), (BEN, 7)]);
    }

    #[test]
    fn among_equals_who_was_served_longest_ago_then_who_asked_first() {
        assert_eq!(
            served(&[(ADA, 1), (ADA, 2), (BEN, 3), (BEN, 4), (CYD, 5)]),
            [(ADA, 1), (BEN, 3), (CYD, 5), (ADA, 2), (BEN, 4)]
        );
    }

    #[test]
    fn who_owes_waits_behind_the_others_but_not_for_ever_and_not_for_nothing() {
        let mut link = Uplink::new(1);
        let next = |link: &mut Uplink| {
            let next = link.next_request(|requester| requester == ADA).unwrap();
            link.done(next);
            (next.requester, next.piece.index())
        };
        for (requester, piece) in [(ADA, 1), (BEN, 2), (BEN, 3)] {
            link.ask(request(requester, piece));
        }
        assert_eq!([(); 3].map(|()| next(&mut link)), [(BEN, 2), (BEN, 3), (ADA, 1)]);
        link.ask(request(ADA, 4));
        for turn in 0..PATIENCE {
            link.ask(request(BEN, 10 + turn));
            assert_eq!(next(&mut link).0, BEN);
        }
        link.ask(request(BEN, 5));
        assert_eq!(next(&mut link), (ADA, 4), "it was passed over often enough");
    }

    #[test]
    fn the_link_carries_so_many_at_once_and_no_more() {
        let mut link = Uplink::new(2);
        (1..=4).for_each(|requester| link.ask(request(requester, requester as u32)));
        let (first, second) = (link.next_request(|_| false).unwrap(), link.next_request(|_| false).unwrap());
        assert_eq!((first.requester, second.requester), (1, 2));
        assert_eq!(link.next_request(|_| false), None);
        link.done(first);
        assert_eq!(link.next_request(|_| false).unwrap().requester, 3);
        assert_eq!(link.next_request(|_| false), None);
        link.forget(2);
        assert_eq!(
            link.next_request(|_| false).unwrap().requester,
            4,
            "one that is gone does not hold the link"
        );
        assert!(Uplink::new(0).at_once == 1);
    }

    #[test]
    fn nobody_waits_for_ever_behind_pieces_that_were_never_sent() {
        let mut link = Uplink::new(1);
        link.ask(request(ADA, 0));
        assert_eq!(drain(&mut link), [(ADA, 0)]);
        link.ask(request(BEN, 0));
        for turn in 1.. {
            link.ask(request(ADA, turn));
            link.ask(request(CYD, 500 + turn));
            let next = link.next_request(|_| false).unwrap();
            link.done(next);
            if next.requester == BEN {
                assert_eq!(turn, PATIENCE + 1);
                return;
            }
            assert!(turn <= PATIENCE, "Ben was passed over {turn} times");
        }
    }

    #[test]
    fn what_is_void_is_not_sent_and_a_request_made_twice_is_sent_once() {
        let mut link = Uplink::new(1);
        for (requester, piece) in [(ADA, 1), (ADA, 2), (BEN, 3), (BEN, 3), (CYD, 4)] {
            link.ask(request(requester, piece));
        }
        assert_eq!([ADA, BEN].map(|requester| link.open(requester)), [2, 1]);
        link.cancel(request(ADA, 1));
        assert_eq!(link.open(ADA), 1);
        link.forget(CYD);
        assert_eq!(drain(&mut link), [(ADA, 2), (BEN, 3)]);
        link.ask(request(ADA, 1));
        link.ask(request(BEN, 1));
        link.void(ADA);
        assert_eq!(drain(&mut link), [(BEN, 1)], "a choke voids nothing of others");
        link.forget_file(request(BEN, 1).file);
        assert!(link.sent.is_empty(), "what is not offered takes no memory");
    }
}
