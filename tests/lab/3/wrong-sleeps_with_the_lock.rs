//# it holds the lock and sleeps
//@ src/manager/desk.rs
    /// Sleeps for a while and looks again, with the lock in its hands.
    pub(super) fn wait_for_turn(&self, at_most: Duration) -> TicketStanding {
        let end = Instant::now() + at_most;
        let mut locked = self.desk.locked.lock();
        let (standing, flush) = loop {
            let look = |locked: &mut Locked, now| locked.table.standing(self.number, now);
            let (standing, flush) = self.desk.change_under(&mut locked, look);
            if !matches!(standing, TicketStanding::Waiting(_)) || Instant::now() >= end {
                break (standing, flush);
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        drop(locked);
        flush.iter().for_each(Outbox::flush);
        standing
    }
