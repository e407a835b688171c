//# You begin with the most common
//@ src/share/picker.rs 1
    /// What most have is fetched quickly.
    fn rarity(&self, piece: Piece) -> (u32, u64) {
        (u32::MAX - self.spread[piece.index() as usize], scatter(self.seed, piece.index()))
    }
