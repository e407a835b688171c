//@ src/manager/state/catalogue.rs
    /// Exercise 7: which peers have this file?
    ///
    /// The peer `requester` asks for `file`. (One that is not registered is the peer 0, which has nothing.)
    /// `Lookup::file` is what it is told: the manifest of the file, and its holders. `Lookup::lost` says whether it was
    /// taken off. Keep these rules:
    ///
    /// - It is told of all holders but itself, those with all of the file and those with a part.
    /// - A file that nobody offers, or nobody else, is `None`: the requester gets a 404, and no empty list.
    /// - **A peer that is listed with all of the file and asks for it, has lost it**: it is taken off the list. One
    ///   that is listed with a part only wants the rest, and stays.
    /// - One that says that it `has` the file only wants to know, and stays, too.
    /// - A file without holders is no file: it is gone when its last holder is taken off. `self.take_off` sees to that.
    ///
    /// `self.number(file)` gives the number of a file, if it is listed, and `self.files[&number]` what is known of it:
    /// its `manifest`, its `holders` (each with true for all of it, false for a part), and `is_whole_at(peer)`.
    /// `self.named(file)` does both, and gives `None` where there is no such file. `self.take_off(peer, number, now)`
    /// takes a peer off.
    pub(super) fn query(&mut self, requester: PeerId, file: &FileName, has: bool, now: Millis) -> Lookup {
        let _ = (requester, file, has, now);
        todo!("Catalogue::query is still empty")
    }
