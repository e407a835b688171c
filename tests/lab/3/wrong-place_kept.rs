//# its next request is not let in
//@ src/manager/state/lease_book.rs
    /// It forgets to say that a place in the queue is free again.
    pub(super) fn serve(&mut self, roster: &Roster, now: Millis) {
        while let Some(head) = self.queue.front() {
            let (lease, wish) = (head.ticket, head.wish.clone());
            let Some(slots) = self.take(roster, &wish) else { return };
            self.queue.pop_front();
            self.grant(roster, lease, wish.requester, slots, now);
            self.effects.push(Effect::Turn(lease));
        }
    }
