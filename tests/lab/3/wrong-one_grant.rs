//# All three fit
//@ src/manager/state/lease_book.rs
    /// One grant, and no look at the next head.
    pub(super) fn serve(&mut self, roster: &Roster, now: Millis) {
        if let Some(head) = self.queue.front() {
            let (lease, wish) = (head.ticket, head.wish.clone());
            let Some(slots) = self.take(roster, &wish) else { return };
            self.queue.pop_front();
            self.place_left |= wish.requester != NOBODY;
            self.grant(roster, lease, wish.requester, slots, now);
            self.effects.push(Effect::Turn(lease));
        }
    }
