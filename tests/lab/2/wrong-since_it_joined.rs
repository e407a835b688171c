//# not when it joined
//@ src/manager/state/roster.rs 3
    /// Silent since it joined.
    pub(super) fn silent(&self, dead_after: Millis, now: Millis) -> Vec<PeerId> {
        let silent = |peer: &&Member| now.saturating_sub(peer.since) >= dead_after;
        self.peers.values().filter(silent).map(|peer| peer.id).collect()
    }
