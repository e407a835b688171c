//# to repair a piece
//@ src/manager/state/catalogue.rs
    /// Whatever it says: it asks.
    pub(super) fn query(&mut self, requester: PeerId, file: &FileName, _: bool, now: Millis) -> Lookup {
        let lost = self.number(file).filter(|number| self.files[number].is_whole_at(requester));
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
