//! Who owes: the peers that take and do not pass on.
//!
//! # The problem
//! Tit-for-tat alone does not make it worth while to give. A seed receives nothing, so it cannot tell a peer that gives
//! from one that does not. And a piece that it sends to a peer that gives nothing must be sent again, to another peer,
//! because nobody passes it on. Peers that download have idle links at moments when they want nothing from each other;
//! a peer that only takes always wants something, and gets them. Without a ledger such a peer was often done first.
//!
//! # The rules
//! The requests of a peer that owes wait behind those of all others ([`Uplink`](super::uplink::Uplink)). A peer owes
//! - **for a file that is whole here**, when it has three loans (`LOANS`). The first peer that is sent a piece has it
//!   on loan. The loan is paid back when another peer says that it has the piece, too (`have`). It is never paid back
//!   when the piece had to be sent from here again before that.
//! - **for a file that is fetched here**, when it was sent the bytes of two pieces (`IMBALANCE`) more than came from
//!   it.
//!
//! A peer that owes is served when nobody else asks, and when its request was passed over often enough. So a newcomer,
//! which has nothing to give, gets its first pieces, and the last peers of a swarm are served by all.
//!
//! # An example
//! The seed sends piece 1 to Ada, 2 to Ben, 3 to Eve. Ada passes 1 on to Ben, and Ben says so: Ada has no loan any
//! more. Nobody says that it has 3, so the seed sends 3 to Ada, too. Now Eve cannot pay that loan back.
//!
//! # What is missing
//! A debt is written to a name. A peer that takes another name each time has no debts, and all that show no name are
//! one debtor. Where there are two seeds, a piece that came from the other seed pays loans back, too. A loan that
//! cannot be paid back is kept until nobody asks for the file any more. And peers that say `have` for pieces that they
//! do not have pay each other's loans back with words.

use std::collections::HashMap;
use std::hash::Hash;

use super::{FileId, Piece};

/// How many loans a peer may have of a file.
pub(crate) const LOANS: u32 = 3;

/// How many pieces more a peer may be sent by one that downloads than it gives to that one.
pub(crate) const IMBALANCE: u64 = 2;

/// What every peer owes. `P` is what the shell calls a peer.
#[derive(Debug, Default)]
pub(crate) struct Ledger<P> {
    files: HashMap<FileId, Loans<P>>,
    /// The bytes that each peer was sent while something was fetched here, less those that came from it.
    balance: HashMap<P, i64>,
}

/// The pieces of one file that were sent.
#[derive(Debug, Default)]
struct Loans<P> {
    /// Who has a piece on loan; nobody any more when it was passed on, or had to be sent again.
    on_loan: HashMap<Piece, Option<P>>,
    /// How many loans each peer has not paid back.
    owed: HashMap<P, u32>,
}

impl<P: Clone + Default + Eq + Hash> Ledger<P> {
    /// A peer was sent a piece; `fetching` says that something is fetched here.
    pub(crate) fn sent(&mut self, peer: &P, file: FileId, piece: Piece, fetching: bool) {
        if fetching {
            *self.balance.entry(peer.clone()).or_default() += piece.len() as i64;
        }
        let Loans { on_loan, owed } = self.files.entry(file).or_default();
        let again = on_loan.contains_key(&piece);
        on_loan.insert(piece, (!again).then(|| peer.clone()));
        if !again {
            *owed.entry(peer.clone()).or_default() += 1;
        }
    }

    /// A piece has come from a peer.
    pub(crate) fn came(&mut self, peer: &P, bytes: u64) {
        *self.balance.entry(peer.clone()).or_default() -= bytes as i64;
    }

    /// A peer says that it has a piece.
    pub(crate) fn has(&mut self, peer: &P, file: FileId, piece: Piece) {
        let Some(Loans { on_loan, owed }) = self.files.get_mut(&file) else { return };
        if let Some(first) = on_loan.get_mut(&piece)
            && let Some(debtor) = first.take_if(|first| *first != *peer)
        {
            owed.entry(debtor).and_modify(|owed| *owed -= 1);
        }
    }

    /// Whether a peer that asks for a file, which is `fetched` here or whole, owes so much that it has to wait.
    pub(crate) fn owes(&self, peer: &P, file: FileId, piece_size: u64, fetched: bool) -> bool {
        if fetched {
            return self.balance.get(peer).is_some_and(|&bytes| bytes >= (IMBALANCE * piece_size) as i64);
        }
        let owed = self.files.get(&file).and_then(|loans| loans.owed.get(peer));
        owed.is_some_and(|&owed| owed >= LOANS)
    }

    /// Nobody asks for pieces of a file any more.
    pub(crate) fn forget_file(&mut self, file: FileId) {
        self.files.remove(&file);
    }

    /// Nothing is fetched here any more.
    pub(crate) fn settle(&mut self) {
        self.balance.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::super::Layout;
    use super::*;

    fn file() -> FileId {
        FileId::from([0; 32])
    }

    fn piece(index: u32) -> Piece {
        Layout::new(1 << 20, 1024).unwrap().piece(index).unwrap()
    }

    #[test]
    fn a_loan_is_paid_back_when_another_peer_has_the_piece_before_it_is_sent_again() {
        let mut ledger = Ledger::default();
        let owes = |ledger: &Ledger<_>, peer| ledger.owes(&peer, file(), 1024, false);
        (0..LOANS).for_each(|index| ledger.sent(&"eve", file(), piece(index), true));
        assert!(owes(&ledger, "eve") && !owes(&ledger, "ada"));
        ledger.has(&"eve", file(), piece(0));
        assert!(owes(&ledger, "eve"), "its own word pays nothing back");
        ledger.has(&"ada", file(), piece(0));
        assert!(!owes(&ledger, "eve"));
        ledger.sent(&"eve", file(), piece(7), true);
        ledger.sent(&"ada", file(), piece(1), true);
        ledger.has(&"ada", file(), piece(1));
        assert!(owes(&ledger, "eve"), "it was not eve that passed it on");
        ledger.has(&"ada", file(), piece(2));
        ledger.has(&"ben", file(), piece(2));
        assert!(!owes(&ledger, "eve"), "paid back once, and not twice");
        ledger.sent(&"eve", file(), piece(8), true);
        assert!(owes(&ledger, "eve"));
        ledger.forget_file(file());
        assert!(!owes(&ledger, "eve"));
    }

    #[test]
    fn while_something_is_fetched_a_piece_is_given_for_a_piece() {
        let mut ledger = Ledger::default();
        let owes = |ledger: &Ledger<_>, piece_size| ledger.owes(&"eve", file(), piece_size, true);
        (0..IMBALANCE as u32).for_each(|index| ledger.sent(&"eve", file(), piece(index), true));
        assert!(owes(&ledger, 1024));
        ledger.came(&"eve", 1024);
        assert!(!owes(&ledger, 1024));
        ledger.sent(&"eve", file(), piece(9), true);
        assert!(owes(&ledger, 1024));
        assert!(!owes(&ledger, 4096), "a little for one that asks for large pieces");
        assert!(!owes(&ledger, 1025), "to the byte");
        ledger.settle();
        assert!(!owes(&ledger, 1024));
        (0..9).for_each(|index| ledger.sent(&"eve", file(), piece(index), false));
        assert!(!owes(&ledger, 1024), "nothing was fetched then");
    }
}
