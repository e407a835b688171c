//# an empty list of holders
//@ src/manager/state/catalogue.rs
    /// Always a list, even an empty one.
    pub(super) fn query(&mut self, requester: PeerId, file: &FileName, has: bool, now: Millis) -> Lookup {
        let lost = self.number(file).filter(|number| !has && self.files[number].is_whole_at(requester));
        if let Some(number) = lost {
            self.take_off(requester, number, now);
        }
        let others = |listing: &ListedFile| {
            let mut holders = listing.holders.clone();
            holders.remove(&requester);
            (listing.manifest.clone(), holders)
        };
        Lookup { file: self.named(file).map(others), lost: lost.is_some() }
    }
