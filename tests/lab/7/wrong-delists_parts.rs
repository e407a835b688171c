//# take its own peer off
//@ src/manager/state/catalogue.rs
    /// One that asks has lost what it had.
    pub(super) fn query(&mut self, requester: PeerId, file: &FileName, has: bool, now: Millis) -> Lookup {
        let lost = self.number(file).filter(|number| !has && self.files[number].holders.contains_key(&requester));
        if let Some(number) = lost {
            self.take_off(requester, number, now);
        }
        let others = |listing: &ListedFile| {
            let mut holders = listing.holders.clone();
            holders.remove(&requester);
            (!holders.is_empty()).then(|| (listing.manifest.clone(), holders))
        };
        Lookup { file: self.named(file).and_then(others), lost: lost.is_some() }
    }
