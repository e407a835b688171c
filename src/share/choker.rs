//! Which peers are served: tit-for-tat, one optimist, and all others choked.
//!
//! # The problem
//! A link that is shared by all that ask gives each of them next to nothing. And why should a peer that
//! only takes be served as well as one that gives?
//!
//! # The rules
//! - **The top four** (`--unchoke`) by rate are *unchoked*: they are served. All others are *choked*. A
//!   peer that still downloads ranks others by what it receives from them; a whole one, a *seeder*, by what
//!   it sends them, so that its pieces go where they are taken fastest.
//! - **Every 10 s** the ranking is made again. Between equals, one that is served now stays: every choke voids
//!   requests.
//! - **One optimist.** Every 30 s one of the others is drawn at random and unchoked too, whatever its rate.
//!   So a newcomer gets its first piece, and a better partner is found.
//! - **Free places fill at once.** No peer waits for a round while a place is empty. So where no more than
//!   `--unchoke` + 1 are interested, all are served.
//! - Only a peer that is *interested*, because it lacks a piece that is here, takes a place.
//!
//! # An example
//! `--unchoke 2`. Ada gives 30 kB/s, Ben 20, Cyd 10, Dee nothing. Ada and Ben are served, and one of Cyd and
//! Dee at random, say Dee. Dee begins to give 25: in the next round Ada and Dee are the top two, and the optimist's
//! place falls to Ben or Cyd.
//!
//! All of it is a pure function of a snapshot: [`judge`]. When the rounds are, the shell decides.
//!
//! Ranking alone does not make it worth while to give: see [`ledger`](super::ledger).
//!
//! # What is missing
//! A peer under many names is many peers. A snubbed peer (unchoked by others that send nothing) does not
//! widen its optimism, as some clients do.

use std::cmp::Reverse;

use rand::{Rng, RngExt};

/// How many are served for their rates, unless `--unchoke` says otherwise: the lecture's four.
pub const UNCHOKE: usize = 4;

/// The seconds from one ranking to the next.
pub const ROUND_SECONDS: u64 = 10;

/// The seconds after which the optimist's place goes to another peer.
const OPTIMISTIC_SECONDS: u64 = 30;

/// How a peer is served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Service {
    /// Not at all.
    Choked,
    /// For its rate.
    Regular,
    /// Drawn at random.
    Optimistic,
}

/// A peer that could be served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Contender {
    /// What the shell calls it.
    pub peer: u64,
    /// Whether it lacks a piece that is here.
    pub interested: bool,
    /// How it is served now.
    pub service: Service,
    /// Bytes per second lately received from it.
    pub received: u64,
    /// Bytes per second lately sent to it.
    pub sent: u64,
}

/// Why there is a judgement now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Occasion {
    /// A peer came, left, or changed its interest: fill free places, take none away from a peer that uses it.
    Change,
    /// Ten seconds are over: rank again.
    Round,
    /// Thirty seconds are over: rank again, and draw another optimist.
    OptimisticRound,
}

impl Occasion {
    /// Of the n-th round.
    pub(crate) fn of_round(n: u64) -> Self {
        if n.is_multiple_of(OPTIMISTIC_SECONDS / ROUND_SECONDS) { Self::OptimisticRound } else { Self::Round }
    }
}

// lab 9
/// The peers to serve from now on, and how; one that is not named is choked. `seeding` says that the file
/// is whole here, `unchoke` how many are served for their rates.
///
/// ```
/// use peerlab::share::choker::{Contender, Occasion, Service, judge};
/// let peer = |peer, received| {
///     Contender { peer, interested: true, service: Service::Choked, received, sent: 0 }
/// };
/// let mut rng = rand::rng();
/// let served = judge(&[peer(1, 10), peer(2, 30), peer(3, 20)], 2, false, Occasion::Round, &mut rng);
/// assert_eq!(served, [(2, Service::Regular), (3, Service::Regular), (1, Service::Optimistic)]);
/// ```
pub fn judge(
    contenders: &[Contender],
    unchoke: usize,
    seeding: bool,
    occasion: Occasion,
    rng: &mut impl Rng,
) -> Vec<(u64, Service)> {
    // First those that keep their place; then by rate; then those that are served now; then at random.
    let mut ranking: Vec<_> = contenders.iter().filter(|c| c.interested).collect();
    ranking.sort_by_cached_key(|c| {
        let stays = occasion == Occasion::Change && c.service == Service::Regular;
        let rate = if seeding { c.sent } else { c.received };
        Reverse((stays, rate, c.service != Service::Choked, rng.random::<u64>()))
    });
    let others = ranking.split_off(unchoke.min(ranking.len()));
    let mut served: Vec<_> = ranking.iter().map(|c| (c.peer, Service::Regular)).collect();
    served.extend(optimist(&others, occasion, rng).map(|c| (c.peer, Service::Optimistic)));
    served
}

// lab 9
/// The one of the others that is served at random: the same as before, unless it is another one's turn.
fn optimist<'a>(others: &[&'a Contender], occasion: Occasion, rng: &mut impl Rng) -> Option<&'a Contender> {
    let was = others.iter().find(|c| c.service == Service::Optimistic);
    if let Some(was) = was
        && (occasion != Occasion::OptimisticRound || others.len() == 1)
    {
        return Some(was);
    }
    let draw: Vec<_> = others.iter().filter(|c| c.service != Service::Optimistic).collect();
    (!draw.is_empty()).then(|| *draw[rng.random_range(..draw.len())])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::SmallRng;

    use super::Occasion::{Change, OptimisticRound, Round};
    use super::Service::{Choked, Optimistic, Regular};
    use super::*;

    /// Interested; it sends us `received` and takes the opposite, 100 - `received`, from us.
    fn peer(peer: u64, service: Service, received: u64) -> Contender {
        Contender { peer, interested: true, service, received, sent: 100 - received }
    }

    /// The regular ones in order, and the optimist.
    fn judged(
        contenders: &[Contender],
        unchoke: usize,
        seeding: bool,
        when: Occasion,
    ) -> (Vec<u64>, Option<u64>) {
        let mut rng = SmallRng::seed_from_u64(1);
        let served = judge(contenders, unchoke, seeding, when, &mut rng);
        let of = |wanted| served.iter().filter(move |(_, s)| *s == wanted).map(|(peer, _)| *peer);
        (of(Regular).collect(), of(Optimistic).next())
    }

    #[test]
    fn the_top_by_rate_are_served_and_one_at_random() {
        let six: Vec<_> = (1..=6).map(|i| peer(i, Choked, 10 * i)).collect();
        let (top, optimist) = judged(&six, UNCHOKE, false, Round);
        assert_eq!(top, [6, 5, 4, 3]);
        assert!(matches!(optimist, Some(1 | 2)));
        let (top, _) = judged(&six, UNCHOKE, true, Round);
        assert_eq!(top, [1, 2, 3, 4], "a seeder ranks by what it sends");
    }

    #[test]
    fn everybody_who_wants_is_served_where_there_are_few() {
        let five: Vec<_> = (1..=5).map(|i| peer(i, Choked, 0)).collect();
        for when in [Change, Round, OptimisticRound] {
            let (top, optimist) = judged(&five, UNCHOKE, false, when);
            assert_eq!(top.len() + usize::from(optimist.is_some()), 5, "{when:?}");
        }
        assert_eq!(judged(&[], UNCHOKE, false, Round), (vec![], None));
    }

    #[test]
    fn who_is_not_interested_takes_no_place() {
        let bored = Contender { interested: false, ..peer(1, Regular, 90) };
        assert_eq!(judged(&[bored, peer(2, Choked, 0)], 1, false, Change), (vec![2], None));
    }

    #[test]
    fn a_free_place_is_filled_at_once_and_no_place_in_use_is_taken() {
        // Two places and the optimist's; one regular place is free, and the best of the others gets it.
        let now = [peer(1, Regular, 5), peer(2, Optimistic, 1), peer(3, Choked, 50), peer(4, Choked, 60)];
        assert_eq!(judged(&now, 2, false, Change), (vec![1, 4], Some(2)));
        // The optimist's place is free.
        let now = [peer(1, Regular, 5), peer(2, Regular, 1), peer(3, Choked, 50)];
        assert_eq!(judged(&now, 2, false, Change), (vec![1, 2], Some(3)));
        // No place is free: nothing changes, however good the newcomer is.
        let now = [peer(1, Regular, 5), peer(2, Regular, 1), peer(3, Optimistic, 0), peer(4, Choked, 99)];
        assert_eq!(judged(&now, 2, false, Change), (vec![1, 2], Some(3)));
    }

    #[test]
    fn a_round_ranks_again_and_between_equals_who_is_served_stays() {
        let now = [peer(1, Regular, 5), peer(2, Choked, 6), peer(3, Choked, 5), peer(4, Optimistic, 0)];
        assert_eq!(judged(&now, 1, false, Round), (vec![2], Some(4)));
        for seed in 0..20 {
            let served = judge(&now, 2, false, Round, &mut SmallRng::seed_from_u64(seed));
            assert_eq!(served, [(2, Regular), (1, Regular), (4, Optimistic)]);
        }
    }

    #[test]
    fn an_optimist_who_is_good_gets_a_regular_place_and_another_is_drawn() {
        let now = [peer(1, Regular, 5), peer(2, Optimistic, 9), peer(3, Choked, 0)];
        let (top, optimist) = judged(&now, 1, false, Round);
        assert_eq!(top, [2]);
        assert!(matches!(optimist, Some(1 | 3)));
    }

    #[test]
    fn after_thirty_seconds_it_is_somebody_elses_turn_and_everybody_has_one() {
        let mut rng = SmallRng::seed_from_u64(1);
        let mut now: Vec<_> = (1..=6).map(|i| peer(i, Choked, if i == 1 { 50 } else { 0 })).collect();
        let mut turns = std::collections::BTreeSet::new();
        let mut last = None;
        for _ in 0..100 {
            let served = judge(&now, 1, false, OptimisticRound, &mut rng);
            assert_eq!(served[0], (1, Regular));
            let optimist = served[1].0;
            assert_ne!(Some(optimist), last);
            last = Some(optimist);
            turns.insert(optimist);
            for contender in &mut now {
                let found = served.iter().find(|(peer, _)| *peer == contender.peer);
                contender.service = found.map_or(Choked, |(_, service)| *service);
            }
        }
        assert_eq!(turns.len(), 5);
        let alone = [peer(1, Regular, 5), peer(2, Optimistic, 0)];
        assert_eq!(judged(&alone, 1, false, OptimisticRound), (vec![1], Some(2)), "nobody else is there");
    }

    proptest! {
        #[test]
        fn no_place_stays_empty_and_none_is_given_twice(
            contenders in prop::collection::vec((any::<bool>(), 0..3_u8, 0..5_u64), 0..20),
            unchoke in 0..6_usize,
            seeding: bool,
            when in prop::sample::select(vec![Change, Round, OptimisticRound]),
            seed: u64,
        ) {
            let mut optimists = 0;
            let mut regulars = 0;
            let contenders: Vec<_> = contenders.into_iter().zip(0..).map(|((interested, service, rate), id)| {
                // No more than the choker itself would have given.
                let service = match service {
                    1 if regulars < unchoke => { regulars += 1; Regular }
                    2 if optimists == 0 => { optimists += 1; Optimistic }
                    _ => Choked,
                };
                Contender { interested, ..peer(id, service, rate) }
            }).collect();
            let served = judge(&contenders, unchoke, seeding, when, &mut SmallRng::seed_from_u64(seed));
            let interested = contenders.iter().filter(|c| c.interested).count();
            prop_assert!(served.len() <= unchoke + 1);
            let mut peers: Vec<_> = served.iter().map(|(peer, _)| *peer).collect();
            peers.sort_unstable();
            peers.dedup();
            prop_assert_eq!(peers.len(), served.len());
            prop_assert!(peers.iter().all(|&id| contenders[id as usize].interested));
            prop_assert!(served.iter().filter(|(_, s)| *s == Optimistic).count() <= 1);
            prop_assert_eq!(served.len(), interested.min(unchoke + 1));
            if when == Change {
                for c in contenders.iter().filter(|c| c.interested && c.service != Choked) {
                    prop_assert!(peers.contains(&c.peer), "a place in use was taken");
                }
            }
        }
    }
}
