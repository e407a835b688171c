//# can be read on the board
//@ src/peer/serve/bindings.rs
    /// A number is enough.
    pub(crate) fn begin(&mut self, lease: LeaseId, _: &Key, now: Millis) -> Begin {
        let (slots, serving) = self.load();
        let Some(binding) = self.bound.get_mut(&lease) else {
            return if lease <= self.newest { Begin::Over } else { Begin::Unknown };
        };
        if binding.ending || now >= binding.until {
            return Begin::Over;
        }
        if binding.serving >= binding.slots {
            return Begin::LeaseBusy;
        }
        if serving >= slots {
            return Begin::PeerBusy;
        }
        binding.serving += 1;
        Begin::Go
    }
