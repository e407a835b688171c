//# what lies at one that never gives can be had nowhere
//@ src/share/picker.rs 1
    /// Counts all neighbours.
    fn rarity(&self, piece: Piece) -> (u32, u64) {
        let has = self.neighbours.values().filter(|known| known.has.contains(piece)).count();
        (has as u32, scatter(self.seed, piece.index()))
    }
