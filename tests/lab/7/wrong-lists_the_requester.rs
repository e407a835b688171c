//# It is: Ada (all of it)
//@ src/manager/state/catalogue.rs
    /// Everybody on the list, also the one that asks.
    pub(super) fn query(&mut self, requester: PeerId, file: &FileName, has: bool, now: Millis) -> Lookup {
        let lost = self.number(file).filter(|number| !has && self.files[number].is_whole_at(requester));
        if let Some(number) = lost {
            self.take_off(requester, number, now);
        }
        let all = |listing: &ListedFile| (listing.manifest.clone(), listing.holders.clone());
        Lookup { file: self.named(file).map(all), lost: lost.is_some() }
    }
