//# nobody would be told that a copy is missing
//@ src/manager/state/catalogue.rs
    /// Takes it off, and looks only then whether it was there.
    pub(super) fn query(&mut self, requester: PeerId, file: &FileName, has: bool, now: Millis) -> Lookup {
        let whole = |catalogue: &Self| catalogue.named(file).is_some_and(|listing| listing.is_whole_at(requester));
        if let Some(number) = self.number(file).filter(|_| !has && whole(self)) {
            self.take_off(requester, number, now);
        }
        let lost = !has && whole(self);
        let others = |listing: &ListedFile| {
            let mut holders = listing.holders.clone();
            holders.remove(&requester);
            (!holders.is_empty()).then(|| (listing.manifest.clone(), holders))
        };
        Lookup { file: self.named(file).and_then(others), lost }
    }
