//# overtook
//@ src/manager/state/lease_book.rs
    /// Each that fits is served.
    pub(super) fn serve(&mut self, roster: &Roster, now: Millis) {
        let mut place = 0;
        while let Some(waiter) = self.queue.get(place) {
            let (lease, wish) = (waiter.ticket, waiter.wish.clone());
            match self.take(roster, &wish) {
                Some(slots) => {
                    self.queue.remove(place);
                    self.place_left |= wish.requester != NOBODY;
                    self.grant(roster, lease, wish.requester, slots, now);
                    self.effects.push(Effect::Turn(lease));
                }
                None => place += 1,
            }
        }
    }
