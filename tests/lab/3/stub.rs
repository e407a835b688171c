//@ src/manager/state/lease_book.rs
    /// Exercise 3, first part: who is served next.
    ///
    /// Called whenever slots may have become free, or somebody has come into an empty queue. `self.queue` holds the
    /// requests in order of arrival, the head at the front. Grant what can be granted now, and keep these rules:
    ///
    /// - Only the head of the queue may take slots. Nobody overtakes it, not even one whose request would fit.
    /// - It takes all that it asked for, or none. `self.take(roster, &wish)` does that, and gives `None` where too few
    ///   are free.
    /// - When the head was served, the next one is the head, and may be served in the same call.
    ///
    /// For each request that is granted: take it off the queue, note `self.place_left |= wish.requester != NOBODY` (a peer
    /// that waited here may ask again), call `self.grant(roster, ticket, wish.requester, slots, now)`, and push
    /// `Effect::Turn(ticket)` to `self.effects`: the desk then wakes its thread.
    pub(super) fn serve(&mut self, roster: &Roster, now: Millis) {
        let _ = (roster, now);
        todo!("LeaseBook::serve is still empty")
    }
//@ src/manager/desk.rs
    /// Exercise 3, second part: how a thread waits for its turn.
    ///
    /// Wait until the request does not wait in the queue any more, but no longer than `at_most`, and say where it
    /// stands then. (0 means: only look.) Keep these rules:
    ///
    /// - Look and go to sleep under one lock, `self.desk.locked.lock()`; else the wake-up may come in between and is
    ///   lost.
    /// - A Condvar may wake a thread for no reason. What counts is what the table says: look again after each wake-up.
    /// - To look is `self.desk.change_under(&mut locked, |locked, now| locked.table.standing(self.number, now))`. It gives the
    ///   standing, and outboxes that are to be flushed (`Outbox::flush`) after the lock was let go: no I/O under a
    ///   lock.
    /// - `self.turn.wait_until(&mut locked, end)` sleeps until somebody wakes this ticket, or until `end`. It lets go
    ///   of the lock while it sleeps, and has it again when it returns.
    pub(super) fn wait_for_turn(&self, at_most: Duration) -> TicketStanding {
        let _ = (at_most, Instant::now());
        todo!("Ticket::wait_for_turn is still empty")
    }
