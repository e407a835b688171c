//@ src/manager/state/roster.rs 1
    /// Exercise 2, first part: a peer was heard.
    ///
    /// Called with each `ok`, the answer to a `ping`; `said` is what the peer tells of itself with it. Keep these
    /// rules:
    ///
    /// - The peer `id` was heard of just now: `now` is to stand in its row of `self.peers`, in `heard`.
    /// - It alone: a message shows that its sender is alive, and nothing of anybody else.
    /// - Keep what it says as `said.bounded()` in the row (a stranger wrote it, so it is cut to a bearable size), and
    ///   give what it had said before.
    /// - One that is not in the table (it was struck a moment ago) is nobody: give `None`, and change nothing.
    pub(super) fn heard(&mut self, id: PeerId, said: Activity, now: Millis) -> Option<Activity> {
        let _ = (id, said, now);
        todo!("Roster::heard is still empty")
    }
//@ src/manager/state/roster.rs 2
    /// Exercise 2, second part: the manager was away itself.
    ///
    /// The manager may be stopped, too, by Ctrl-Z or by a machine with too much to do. For `late` milliseconds, which
    /// are over at `now`, it has heard nobody. That is no peer's fault, so this time is not to count as silence. Keep
    /// these rules:
    ///
    /// - Each peer's silence is shorter by `late`, as if it had been heard so much later.
    /// - Nobody was heard in the future: no `heard` is later than `now`.
    pub(super) fn excuse(&mut self, late: Millis, now: Millis) {
        let _ = (late, now);
        todo!("Roster::excuse is still empty")
    }
//@ src/manager/state/roster.rs 3
    /// Exercise 2, third part: which peers have been silent for too long.
    ///
    /// Gives the numbers of all peers that have not been heard of for `dead_after` milliseconds, in the order of their
    /// numbers (`self.peers` is sorted by them). The manager strikes them. Keep these rules:
    ///
    /// - Silence begins when a peer was heard of last: `heard` in its row. (One that has just joined was heard when it
    ///   joined. `admit` has written that.)
    /// - After exactly `dead_after` milliseconds it is silent for too long; one millisecond earlier it is not.
    pub(super) fn silent(&self, dead_after: Millis, now: Millis) -> Vec<PeerId> {
        let _ = (dead_after, now);
        todo!("Roster::silent is still empty")
    }
