//@ src/manager/state/lease_book.rs
    /// Exercise 4, first part: a leaseholder asks for more time.
    ///
    /// A lease lasts one quantum, `self.quantum`. Its holder may ask for more at any moment, with the number of its
    /// lease (`ticket`). Keep these rules:
    ///
    /// - While nobody waits in `self.queue`, the lease is extended: it ends one quantum after `now`.
    /// - While somebody waits, it is not: it ends when it would have ended.
    /// - What is over stays over: at its end (`until`) or later a lease is not extended. Its peers refuse it from then
    ///   on.
    /// - A number of no running lease (`self.leases`) changes nothing.
    /// - The peers that serve the lease keep the time, too. So each must be told when it is extended, and only then:
    ///   `self.bind(ticket, &slots)` tells all that have slots of it.
    pub(crate) fn renew(&mut self, ticket: LeaseId, now: Millis) {
        let _ = (ticket, now);
        todo!("LeaseBook::renew is still empty")
    }
//@ src/peer/serve/bindings.rs
    /// Exercise 4, second part: the peer at which a lease is checked.
    ///
    /// May a product of this lease begin now, asked for with this key? Say why not, or let it begin: then it counts as
    /// being served, in `serving` of its binding, until `end` is called. Keep these rules, in this order:
    ///
    /// - A lease that is not in `self.bound`: it is `Begin::Over` if its number is not higher than `self.newest`, the
    ///   newest that was ever bound here. Else it is `Begin::Unknown`: its `bind` may be on the way.
    /// - The key is not that of the binding: `Begin::WrongKey`. Everybody can learn the number of a lease.
    /// - The manager has ended it (`ending`), or its time is over (at `until`, not later): `Begin::Over`. The one that
    ///   asks may have slept, and believe that the lease still runs.
    /// - All slots of the lease are in use: `Begin::LeaseBusy`.
    /// - All slots of this peer are in use, by whatever leases: `Begin::PeerBusy`. `self.load()` gives how many it has,
    ///   and how many are in use. (A product that began under a lease that is over goes on, and needs its slot.)
    /// - Else `Begin::Go`. What is refused does not count.
    pub(crate) fn begin(&mut self, lease: LeaseId, key: &Key, now: Millis) -> Begin {
        let _ = (lease, key, now);
        todo!("Bindings::begin is still empty")
    }
