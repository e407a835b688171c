//# look it up again after
//@ src/manager/state/catalogue.rs
    /// Goes on with the number of a file that is not listed any more.
    pub(super) fn query(&mut self, requester: PeerId, file: &FileName, has: bool, now: Millis) -> Lookup {
        let Some(number) = self.number(file) else { return Lookup::default() };
        let lost = !has && self.files[&number].is_whole_at(requester);
        if lost {
            self.take_off(requester, number, now);
        }
        let listing = &self.files[&number];
        let mut holders = listing.holders.clone();
        holders.remove(&requester);
        let file = (!holders.is_empty()).then(|| (listing.manifest.clone(), holders));
        Lookup { file, lost }
    }
