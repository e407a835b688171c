//@ src/share/picker.rs 2
    /// Exercise 8, first part: part i of n (`--pick split`).
    ///
    /// Each neighbour begins in another part of the file, so that no two fetch the same. Return what to ask this one
    /// for next:
    ///
    /// - Neighbours are counted in the order of their numbers: i is how many have a smaller number than this one, n is
    ///   how many there are. (`self.neighbours` is a BTreeMap, so `self.neighbours.range(..neighbour)` are those with
    ///   smaller numbers.)
    /// - Its part begins at piece `pieces * i / n`, rounded down; `self.have.layout().pieces()` says how many pieces
    ///   there are.
    /// - `self.candidates(neighbour, known)` gives the pieces that may be asked of it, in the order of the file. Take
    ///   the first one in its part or behind it.
    /// - Where there is none, go on round the end, at the front of the file: so it takes over what a slow or lost
    ///   neighbour has left undone.
    fn first_of_its_part(&self, neighbour: NeighbourId, known: &Inventory) -> Option<Piece> {
        let _ = (neighbour, known);
        todo!("Picker::first_of_its_part is still empty")
    }
//@ src/share/picker.rs 1
    /// Exercise 8, second part: rarest first.
    ///
    /// Of the pieces that may be asked of a neighbour, [`Picker::next`] takes the one for which this pair of numbers is
    /// the smallest; the second number decides only where the first is equal. Keep these rules:
    ///
    /// - What the fewest have comes first. `self.spread` has a number for each piece, by its index: how many neighbours
    ///   that serve have it.
    /// - Among equally rare pieces each downloader has another order, or all would fetch the same one and have nothing
    ///   to give to each other. Every download has its own `self.seed`; `scatter(seed, index)` makes a number of a seed
    ///   and an index that looks random, and is the same each time.
    fn rarity(&self, piece: Piece) -> (u32, u64) {
        let _ = (piece, scatter(self.seed, 0));
        todo!("Picker::rarity is still empty")
    }
