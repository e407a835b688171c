//# is to end at 21400
//@ src/manager/state/lease_book.rs
    /// A quantum more each time, so that a lease can be extended for a day ahead.
    pub(crate) fn renew(&mut self, ticket: LeaseId, now: Millis) {
        let Some(lease) = self.leases.get_mut(&ticket) else { return };
        if self.queue.is_empty() && now < lease.until {
            lease.until += self.quantum;
            let slots = lease.slots.clone();
            self.bind(ticket, &slots);
        }
    }
