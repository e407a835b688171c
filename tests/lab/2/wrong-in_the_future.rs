//# that is in the future
//@ src/manager/state/roster.rs 2
    /// Without a bound.
    pub(super) fn excuse(&mut self, late: Millis, _: Millis) {
        for peer in self.peers.values_mut() {
            peer.heard += late;
        }
    }
