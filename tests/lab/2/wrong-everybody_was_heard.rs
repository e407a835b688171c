//# Since then only 2 said
//@ src/manager/state/roster.rs 1
    /// A message came, so the network works, so all are there.
    pub(super) fn heard(&mut self, id: PeerId, said: Activity, now: Millis) -> Option<Activity> {
        self.peers.values_mut().for_each(|peer| peer.heard = now);
        let peer = self.peers.get_mut(&id)?;
        Some(std::mem::replace(&mut peer.said, said.bounded()))
    }
