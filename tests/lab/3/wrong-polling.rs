//# it looks again and again
//@ src/manager/desk.rs
    /// It asks every ten milliseconds, and uses no Condvar.
    pub(super) fn wait_for_turn(&self, at_most: Duration) -> TicketStanding {
        let end = Instant::now() + at_most;
        loop {
            let standing = self.desk.change_all(|locked, now| locked.table.standing(self.number, now));
            if !matches!(standing, TicketStanding::Waiting(_)) || Instant::now() >= end {
                return standing;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
