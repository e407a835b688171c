//# that wake-up was lost
//@ src/manager/desk.rs
    /// It lets go of the lock between the look and the sleep.
    pub(super) fn wait_for_turn(&self, at_most: Duration) -> TicketStanding {
        let end = Instant::now() + at_most;
        loop {
            let standing = self.desk.change_all(|locked, now| locked.table.standing(self.number, now));
            if !matches!(standing, TicketStanding::Waiting(_)) || Instant::now() >= end {
                return standing;
            }
            self.turn.wait_until(&mut self.desk.locked.lock(), end);
        }
    }
