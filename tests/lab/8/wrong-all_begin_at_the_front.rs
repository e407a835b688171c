//# and begins at piece
//@ src/share/picker.rs 2
    /// The first that it may be asked for.
    fn first_of_its_part(&self, neighbour: NeighbourId, known: &Inventory) -> Option<Piece> {
        self.candidates(neighbour, known).next()
    }
