//# count what runs under all leases
//@ src/peer/serve/bindings.rs
    /// Counts under this lease, and forgets that a product of an older one may still run.
    pub(crate) fn begin(&mut self, lease: LeaseId, key: &Key, now: Millis) -> Begin {
        let Some(binding) = self.bound.get_mut(&lease) else {
            return if lease <= self.newest { Begin::Over } else { Begin::Unknown };
        };
        if binding.key != *key {
            return Begin::WrongKey;
        }
        if binding.ending || now >= binding.until {
            return Begin::Over;
        }
        if binding.serving >= binding.slots {
            return Begin::LeaseBusy;
        }
        binding.serving += 1;
        Begin::Go
    }
