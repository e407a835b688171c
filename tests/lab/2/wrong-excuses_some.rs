//# its own pause is not their silence
//@ src/manager/state/roster.rs 2
    /// Excuses only those that are no more late than the manager was.
    pub(super) fn excuse(&mut self, late: Millis, now: Millis) {
        for peer in self.peers.values_mut() {
            if now - peer.heard <= late {
                peer.heard = now;
            }
        }
    }
