//# what is over stays over
//@ src/manager/state/lease_book.rs
    /// Nobody waits, so why not?
    pub(crate) fn renew(&mut self, ticket: LeaseId, now: Millis) {
        let Some(lease) = self.leases.get_mut(&ticket) else { return };
        if self.queue.is_empty() {
            lease.until = now + self.quantum;
            let slots = lease.slots.clone();
            self.bind(ticket, &slots);
        }
    }
