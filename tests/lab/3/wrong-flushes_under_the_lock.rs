//# a message was sent while the lock was held
//@ src/manager/desk.rs
    /// It sends what it has to send before it lets go of the lock.
    pub(super) fn wait_for_turn(&self, at_most: Duration) -> TicketStanding {
        let end = Instant::now() + at_most;
        let mut locked = self.desk.locked.lock();
        loop {
            let look = |locked: &mut Locked, now| locked.table.standing(self.number, now);
            let (standing, flush) = self.desk.change_under(&mut locked, look);
            flush.iter().for_each(Outbox::flush);
            if !matches!(standing, TicketStanding::Waiting(_)) || Instant::now() >= end {
                return standing;
            }
            self.turn.wait_until(&mut locked, end);
        }
    }
