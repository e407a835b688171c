//# an empty list of holders
//@ src/manager/state/catalogue.rs
    /// Always a list, even an empty one.
    pub(super) fn query(&mut self, asker: PeerId, file: &FileName, has: bool, now: Millis) -> Lookup {
        let lost = self.number(file).filter(|number| !has && self.files[number].is_whole_at(asker));
        if let Some(number) = lost {
            self.take_off(asker, number, now);
        }
        let others = |listing: &ListedFile| {
            let mut holders = listing.holders.clone();
            holders.remove(&asker);
            (listing.manifest.clone(), holders)
        };
        Lookup { file: self.named(file).map(others), lost: lost.is_some() }
    }
