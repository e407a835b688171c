//# and begins at piece
//@ src/share/picker.rs 2
    /// The number of a neighbour is its place.
    fn first_of_its_part(&self, neighbour: NeighbourId, known: &Inventory) -> Option<Piece> {
        let n = self.neighbours.len() as u64;
        let first = u64::from(self.have.layout().pieces()) * (neighbour % n) / n;
        let behind = self.candidates(neighbour, known).find(|piece| u64::from(piece.index()) >= first);
        behind.or_else(|| self.candidates(neighbour, known).next())
    }
