//! The endgame: the last pieces of a download are asked of two.
//!
//! # The problem
//! When nothing is open any more, the download lasts as long as the slowest holder takes for what it owes, while the
//! fast ones have nothing to do.
//!
//! # The rule
//! A holder with nothing to do is asked for a piece that another owes: the one that lies deepest in a queue, because
//! it would come last. At most [`COPIES`] are asked for one piece, and a holder for one such piece at a time. The
//! loser hears from us that we `have` the piece, if it downloads from us too; then it sends it no more
//! ([`Picker::taken_back`]). Otherwise its answer is ignored and counted
//! ([`Waste::duplicates`](super::Waste::duplicates)).

use super::order::lot;
use super::{Holder, HolderId, Picker};
use crate::share::Piece;

/// How many holders may be asked for one piece at once, in the endgame.
pub const COPIES: usize = 2;

impl Picker {
    /// When all that is missing was asked for: a piece that somebody else owes, the one that lies deepest
    /// in a queue. One such piece at a time.
    pub(super) fn endgame(&self, holder: HolderId, known: &Holder) -> Option<Piece> {
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

    /// A holder will not send a piece that is here already: it hears that we have it. So it owes it no more. (If
    /// it had begun to send it, that is a duplicate like any other.)
    pub fn taken_back(&mut self, holder: HolderId, piece: Piece) {
        if let Some(known) = self.holders.get_mut(&holder).filter(|_| self.have.contains(piece)) {
            known.owes.retain(|&owed| owed != piece);
        }
    }
}
