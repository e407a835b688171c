//# what was silence before the pause
//@ src/manager/state/roster.rs 2
    /// After a pause everybody begins from zero.
    pub(super) fn excuse(&mut self, late: Millis, now: Millis) {
        if late > 0 {
            self.peers.values_mut().for_each(|peer| peer.heard = now);
        }
    }
