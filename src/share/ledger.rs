//! Who owes: the peers that take and do not pass on.
//!
//! # The problem
//! Tit-for-tat alone does not make it worth while to give. A seed wants nothing back, so it cannot tell a peer that
//! gives from one that does not; and what it sends to the latter it must send again, because nobody passes it on.
//! Peers that download have idle links whenever they want nothing from each other, and a peer that only takes wants
//! something always. It was done before all others.
//!
//! # The rules
//! What a peer owes is counted in pieces. Whose requests wait behind those of all others ([`Uplink`](super::uplink::Uplink)):
//! - **At a seed**, a peer that has not passed on [`LOANS`] pieces. The first peer that is sent a piece has it on loan.
//!   The loan is paid back when another peer says that it has this piece, too (`have`), before the piece had to be sent
//!   from here again.
//! - **While something is fetched here**, a peer that was sent [`IMBALANCE`] pieces more than came from it.
//!
//! It is served all the same when the link would be idle, or when its request was passed over often enough. So a
//! newcomer, which has nothing to give, gets its first pieces, and the last peers of a swarm are served by all.
//!
//! # An example
//! The seed sends piece 1 to Ada, 2 to Ben, 3 to Eve. Ada passes 1 on to Ben, who says so: Ada owes nothing. Nobody says
//! that it has 3, so the seed sends it to Ada, too. Eve owes that piece from then on, whatever becomes of it.
//!
//! # What is missing
//! A debt is written to a name. A peer that takes another name each time has no debts, as one that joins under many names.
//! And two that say `have` for each other's pieces without having them pay their loans back with words.

use std::collections::HashMap;
use std::hash::Hash;

use super::{FileId, Piece};

/// How many pieces of a file a peer may have from a seed that it has not passed on.
pub(crate) const LOANS: u32 = 3;

/// How many pieces more a peer may have from one that downloads than it has given to that one.
pub(crate) const IMBALANCE: i64 = 2;

/// What every peer owes. `P` is what the shell calls a peer.
#[derive(Debug, Default)]
pub(crate) struct Ledger<P> {
    files: HashMap<FileId, Loans<P>>,
    /// The pieces that each peer was sent, less those that came from it.
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
    /// A peer is sent a piece.
    pub(crate) fn sent(&mut self, peer: &P, file: FileId, piece: Piece) {
        *self.balance.entry(peer.clone()).or_default() += 1;
        let Loans { on_loan, owed } = self.files.entry(file).or_default();
        let again = on_loan.contains_key(&piece);
        on_loan.insert(piece, (!again).then(|| peer.clone()));
        if !again {
            *owed.entry(peer.clone()).or_default() += 1;
        }
    }

    /// A piece has come from a peer.
    pub(crate) fn came(&mut self, peer: &P) {
        *self.balance.entry(peer.clone()).or_default() -= 1;
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

    /// Whether a peer that asks for a file owes so much that it has to wait; `seeding` says that nothing is fetched here.
    pub(crate) fn owes(&self, peer: &P, file: FileId, seeding: bool) -> bool {
        let loans = self.files.get(&file).and_then(|loans| loans.owed.get(peer));
        if seeding { loans >= Some(&LOANS) } else { self.balance.get(peer) >= Some(&IMBALANCE) }
    }

    /// Nobody asks for pieces of a file any more: what is owed for it is forgotten.
    pub(crate) fn forget_file(&mut self, file: FileId) {
        self.files.remove(&file);
    }

    /// A time in which nothing was fetched here is over: what others were given meanwhile is not held against them.
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
        let owes = |ledger: &Ledger<_>, peer| ledger.owes(&peer, file(), true);
        (0..LOANS).for_each(|index| ledger.sent(&"eve", file(), piece(index)));
        assert!(owes(&ledger, "eve") && !owes(&ledger, "ada"));
        ledger.has(&"eve", file(), piece(0));
        assert!(owes(&ledger, "eve"), "its own word pays nothing back");
        ledger.has(&"ada", file(), piece(0));
        assert!(!owes(&ledger, "eve"));
        ledger.sent(&"eve", file(), piece(7));
        ledger.sent(&"ada", file(), piece(1));
        ledger.has(&"ada", file(), piece(1));
        assert!(owes(&ledger, "eve"), "it was not eve that passed it on");
        ledger.has(&"ada", file(), piece(2));
        ledger.has(&"ben", file(), piece(2));
        assert!(!owes(&ledger, "eve"), "paid back once, and not twice");
        ledger.sent(&"eve", file(), piece(8));
        assert!(owes(&ledger, "eve"));
        ledger.forget_file(file());
        assert!(!owes(&ledger, "eve"));
    }

    #[test]
    fn while_something_is_fetched_a_piece_is_given_for_a_piece() {
        let mut ledger = Ledger::default();
        let owes = |ledger: &Ledger<_>| ledger.owes(&"eve", file(), false);
        (0..IMBALANCE as u32).for_each(|index| ledger.sent(&"eve", file(), piece(index)));
        assert!(owes(&ledger));
        ledger.came(&"eve");
        assert!(!owes(&ledger));
        ledger.sent(&"eve", file(), piece(9));
        assert!(owes(&ledger));
        ledger.settle();
        assert!(!owes(&ledger));
    }
}
