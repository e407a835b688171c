//# to repair a piece
//@ src/manager/state/catalogue.rs
    /// Whatever it says: it asks.
    pub(super) fn query(&mut self, asker: PeerId, file: &FileName, _: bool, now: Millis) -> Lookup {
        let lost = self.number(file).filter(|number| self.files[number].is_whole_at(asker));
        if let Some(number) = lost {
            self.take_off(asker, number, now);
        }
        let others = |listing: &ListedFile| {
            let mut holders = listing.holders.clone();
            holders.remove(&asker);
            (!holders.is_empty()).then(|| (listing.manifest.clone(), holders))
        };
        Lookup { file: self.named(file).and_then(others), lost: lost.is_some() }
    }
