//# Your order is that of the file
//@ src/share/picker.rs 1
    /// In the order of the file.
    fn rarity(&self, piece: Piece) -> (u32, u64) {
        (piece.index(), scatter(self.seed, piece.index()))
    }
