//# and then for nothing more
//@ src/share/picker.rs 2
    /// What is before its part is done by others.
    fn first_of_its_part(&self, neighbour: NeighbourId, known: &Inventory) -> Option<Piece> {
        let i = self.neighbours.keys().filter(|other| **other < neighbour).count();
        let first = self.have.layout().pieces() as usize * i / self.neighbours.len();
        self.candidates(neighbour, known).find(|piece| piece.index() as usize >= first)
    }
