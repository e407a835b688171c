//# look again after each wake-up
//@ src/manager/desk.rs
    /// Woken, it believes that it was for a reason.
    pub(super) fn wait_for_turn(&self, at_most: Duration) -> TicketStanding {
        let end = Instant::now() + at_most;
        let mut locked = self.desk.locked.lock();
        let look = |locked: &mut Locked, now| locked.table.standing(self.number, now);
        let (mut standing, mut flush) = self.desk.change_under(&mut locked, look);
        if matches!(standing, TicketStanding::Waiting(_)) && Instant::now() < end {
            self.turn.wait_until(&mut locked, end);
            (standing, flush) = self.desk.change_under(&mut locked, look);
        }
        drop(locked);
        flush.iter().for_each(Outbox::flush);
        standing
    }
