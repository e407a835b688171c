//# have nothing to give to each other
//@ src/share/picker.rs 1
    /// Among equals the first in the file.
    fn rarity(&self, piece: Piece) -> (u32, u64) {
        (self.spread[piece.index() as usize], piece.index().into())
    }
