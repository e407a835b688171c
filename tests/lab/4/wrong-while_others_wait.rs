//# So Ben waits for ever
//@ src/manager/state/lease_book.rs
    /// One that asks gets more time.
    pub(crate) fn renew(&mut self, ticket: LeaseId, now: Millis) {
        let Some(lease) = self.leases.get_mut(&ticket) else { return };
        if now < lease.until {
            lease.until = now + self.quantum;
            let slots = lease.slots.clone();
            self.bind(ticket, &slots);
        }
    }
