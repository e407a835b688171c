//! What was asked for and will not come, or came wrong: it is open again.
//!
//! - **Choke voids.** A holder that chokes or leaves owes nothing any more, and one that says it has lost a piece does
//!   not owe that. What nobody else owes is open again, for anybody (E8).
//! - **Bytes that fail their hash** are asked for elsewhere, and their sender is remembered, also when it leaves and
//!   comes back; after the second time it is not asked any more. Only where nobody else has the piece is the same
//!   holder asked for it again.
//! - **A full disk** is nobody's fault: the piece is open again, and its sender is not blamed.

use super::{HolderId, Picker};
use crate::share::Piece;

/// How often a holder may send bytes that fail their hash before it is no longer asked.
pub const FAILURES: u32 = 2;

/// What is thought of a holder whose bytes failed their hash.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Once may be an accident.
    Warned,
    /// It is not asked any more, for anything.
    Barred,
}

impl Picker {
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
    pub(super) fn reopen(&mut self, piece: Piece) {
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

    pub(super) fn failed_with(&self, holder: HolderId, piece: Piece) -> bool {
        self.failures.get(&holder).is_some_and(|(_, pieces)| pieces.contains(&piece))
    }
}
