//# silent for exactly 3000 ms
//@ src/manager/state/roster.rs 3
    /// More than `dead_after`, where at least so much was meant.
    pub(super) fn silent(&self, dead_after: Millis, now: Millis) -> Vec<PeerId> {
        let silent = |peer: &&Member| now - peer.heard > dead_after;
        self.peers.values().filter(silent).map(|peer| peer.id).collect()
    }
