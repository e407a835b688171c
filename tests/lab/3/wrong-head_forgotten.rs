//# it is not in the queue any more
//@ src/manager/state/lease_book.rs
    /// It takes the head off before it knows whether it can be served.
    pub(super) fn serve(&mut self, roster: &Roster, now: Millis) {
        while let Some(head) = self.queue.pop_front() {
            let Some(slots) = self.take(roster, &head.wish) else { return };
            self.place_left |= head.wish.requester != NOBODY;
            self.grant(roster, head.ticket, head.wish.requester, slots, now);
            self.effects.push(Effect::Turn(head.ticket));
        }
    }
