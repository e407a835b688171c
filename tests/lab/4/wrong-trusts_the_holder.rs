//# Its holder has slept
//@ src/peer/serve/bindings.rs
    /// The lease is here until the manager says `unbind`: the holder will know when its time is over.
    pub(crate) fn begin(&mut self, lease: LeaseId, key: &Key, _: Millis) -> Begin {
        let (slots, serving) = self.load();
        let Some(binding) = self.bound.get_mut(&lease) else {
            return if lease <= self.newest { Begin::Over } else { Begin::Unknown };
        };
        if binding.key != *key {
            return Begin::WrongKey;
        }
        if binding.ending {
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
