//# What is refused does not count
//@ src/peer/serve/bindings.rs
    /// Counts first and looks then.
    pub(crate) fn begin(&mut self, lease: LeaseId, key: &Key, now: Millis) -> Begin {
        let (slots, serving) = self.load();
        let Some(binding) = self.bound.get_mut(&lease) else {
            return if lease <= self.newest { Begin::Over } else { Begin::Unknown };
        };
        if binding.key != *key {
            return Begin::WrongKey;
        }
        if binding.ending || now >= binding.until {
            return Begin::Over;
        }
        binding.serving += 1;
        if binding.serving > binding.slots {
            return Begin::LeaseBusy;
        }
        if serving >= slots {
            return Begin::PeerBusy;
        }
        Begin::Go
    }
