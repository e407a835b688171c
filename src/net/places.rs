//! Who gives way where places are scarce.
//!
//! # The problem
//! A node has room for so many conversations, a peer for so many that want pieces. The first that comes could take all
//! places and keep them, and it need not even say anything. To refuse the newcomer is what such a one wants.
//!
//! # The rule
//! A *party* is a peer that has shown that it is this peer, else an address: a whole class may share one. Strangers
//! together have at most half of the places, so the other half is there for those that are registered.
//! While there is room, nobody gives way. A newcomer that finds none takes the place of *the least useful one of the
//! party that has most*, its own party included. What is useful, the caller says. Where that gains nothing, because
//! nobody has more than one place, the newcomer is the one to go.
//!
//! # An example
//! Of 8 places one program at 10.0.0.7 has 3, and 10.0.0.8 has 1. A fifth stranger comes from 10.0.0.9: the one of the
//! three that has rested for longest ends. If it comes from 10.0.0.7, it is the same one that ends.
//!
//! # What is missing
//! One with many addresses, or many numbers, is many parties.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::message::{NOBODY, PeerId};
use crate::error::{Code, Error, Result};

/// Who takes a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Party {
    /// The peer of this number, which has shown that it is; at a peer that computes, the lease of this number.
    Peer(PeerId),
    /// Anybody at this address.
    Stranger(IpAddr),
}

impl Party {
    /// Of one that has shown to be this peer, or is nobody, and comes from here.
    pub(crate) fn of(peer: PeerId, addr: SocketAddr) -> Self {
        if peer == NOBODY { Self::Stranger(addr.ip()) } else { Self::Peer(peer) }
    }
}

/// Which one gives way to a newcomer, if one must, of those that have `taken` some of `all` places: the id of each, its
/// party, and its use. The more useful it is, the later it gives way; without a use it never does.
///
/// # Errors
/// [`busy`] where nobody does.
pub(crate) fn gives_way<I: Ord, U: Ord>(
    all: usize,
    newcomer: Party,
    taken: impl Iterator<Item = (I, Party, Option<U>)> + Clone,
) -> Result<Option<I>> {
    let is_stranger = |party| matches!(party, Party::Stranger(_));
    let is_full = taken.clone().count() >= all;
    let strangers = taken.clone().filter(|&(_, party, _)| is_stranger(party)).count();
    let is_crowded = is_stranger(newcomer) && strangers >= all / 2;
    if !(is_full || is_crowded) {
        return Ok(None);
    }
    let mut shares = HashMap::from([(newcomer, 1)]);
    taken.clone().for_each(|(_, party, _)| *shares.entry(party).or_insert(0) += 1);
    shares.retain(|party, _| is_full || is_stranger(*party));
    let most = shares.into_iter().max_by_key(|&(party, share)| (share, party == newcomer));
    let goes = taken.filter(|&(_, party, _)| most.is_some_and(|most| most.0 == party));
    let least = goes.filter_map(|(id, _, useful)| Some((useful?, id))).min();
    least.map(|(_, id)| Some(id)).ok_or_else(|| busy(all))
}

/// What one is told for which there is no place, or no longer.
pub(crate) fn busy(all: usize) -> Error {
    Error::new(Code::Busy, format!("all of the {all} places here are taken"))
        .advise("ask another peer, or try again later")
}

/// What is known of the one at a place of a server. Its conversation writes it, and the server reads it.
#[derive(Debug, Default)]
pub(crate) struct Occupant {
    /// The turn of its last word; 0 where nothing was said or heard yet.
    last: AtomicU64,
    /// Which peer it has shown to be; 0 for a stranger.
    pub(super) peer: AtomicU64,
    /// It is the conversation by which its peer is here, or a product is computed for it now: it does not give way.
    pub(super) stays: AtomicBool,
}

impl Occupant {
    /// Something was said by it, or sent to it.
    pub(super) fn spoke(&self) {
        /// The order of all words that were ever said here: it is enough to know which is the last.
        static TURN: AtomicU64 = AtomicU64::new(1);
        self.last.store(TURN.fetch_add(1, Ordering::Relaxed), Ordering::Relaxed);
    }

    /// The one that has been at rest for longest is the least useful one.
    pub(super) fn useful(&self) -> Option<u64> {
        (!self.stays.load(Ordering::Relaxed)).then(|| self.last.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: [u8; 4] = [127, 0, 0, 1];

    fn stranger(ip: [u8; 4]) -> Party {
        Party::Stranger(ip.into())
    }

    /// The entry to eight places, of which these are taken; each is as useful as its number.
    fn enters(newcomer: Party, taken: &[Party]) -> Result<Option<usize>, Code> {
        let place = |(id, &party)| (id, party, Some(id));
        gives_way(8, newcomer, taken.iter().enumerate().map(place)).map_err(|no| no.code())
    }

    #[test]
    fn while_there_is_room_nobody_gives_way() {
        assert_eq!(enters(stranger(HERE), &[stranger(HERE); 3]), Ok(None));
        let peers: Vec<_> = (1..8).map(Party::Peer).collect();
        assert_eq!(enters(stranger(HERE), &peers), Ok(None));
    }

    #[test]
    fn strangers_have_half_and_peers_find_room_beside_them() {
        let taken = [stranger(HERE); 4];
        assert_eq!(enters(stranger(HERE), &taken), Ok(Some(0)));
        assert_eq!(enters(Party::Peer(7), &taken), Ok(None));
        let all = [&taken[..], &[1, 2, 3, 4].map(Party::Peer)].concat();
        assert_eq!(enters(Party::Peer(7), &all), Ok(Some(0)), "a peer has no more than one");
        let one = [&[stranger(HERE)], &[Party::Peer(1); 7][..]].concat();
        assert_eq!(enters(stranger(HERE), &one), Ok(Some(1)), "a peer that takes all gives way");
    }

    #[test]
    fn the_one_that_has_most_gives_way_and_of_that_the_least_useful() {
        let [few, most] = [stranger([10, 0, 0, 8]), stranger([10, 0, 0, 7])];
        assert_eq!(enters(stranger(HERE), &[few, most, most, most]), Ok(Some(1)));
        assert_eq!(enters(most, &[few, most, most, most]), Ok(Some(1)));
        assert_eq!(enters(few, &[few, few, most, most]), Ok(Some(0)), "its own are more then");
        let other = stranger([10, 0, 0, 6]);
        assert_eq!(enters(few, &[most, most, few, other]), Ok(Some(2)), "of two with as many its own");
        let peers = [&[Party::Peer(7); 3], &[few, most, most, other][..]].concat();
        assert_eq!(enters(stranger(HERE), &peers), Ok(Some(4)), "only strangers are too many");
    }

    #[test]
    fn where_it_gains_nothing_and_where_nobody_may_go_the_newcomer_is_refused() {
        let each = [1, 2, 3, 4].map(|last| stranger([10, 0, 0, last]));
        assert_eq!(enters(stranger(HERE), &each), Err(Code::Busy));
        let stays = (0..8).map(|id| (id, Party::Peer(7), None::<u64>));
        assert!(gives_way(8, stranger(HERE), stays).is_err());
    }

    #[test]
    fn one_that_has_said_nothing_is_less_useful_than_one_at_rest_and_one_that_stays_never_goes() {
        let [silent, resting, speaking, staying] = [(); 4].map(|()| Occupant::default());
        [&resting, &speaking, &staying].into_iter().for_each(Occupant::spoke);
        staying.stays.store(true, Ordering::Relaxed);
        assert!(silent.useful() < resting.useful() && resting.useful() < speaking.useful());
        assert_eq!(staying.useful(), None);
    }
}
