//# it was told 0 times
//@ src/manager/state/lease_book.rs
    /// The manager knows of it, and nobody else.
    pub(crate) fn renew(&mut self, ticket: LeaseId, now: Millis) {
        let Some(lease) = self.leases.get_mut(&ticket) else { return };
        if self.queue.is_empty() && now < lease.until {
            lease.until = now + self.quantum;
        }
    }
