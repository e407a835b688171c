//! Who keeps replicas: peers that join, settle, and leave, and those that do it again and again.

use std::collections::{BTreeMap, BTreeSet};

use super::{Flap, Keeper, LONGEST_PAUSE, Plan, Replicator, SETTLE, STEADY, can_fetch};
use crate::clock::Millis;
use crate::manager::roster::{Peer, Roster};
use crate::net::message::PeerId;

/// How many peers that flap are remembered before those that stopped long ago are forgotten.
const FLAPS: usize = 1024;

impl Replicator {
    /// Strikes out who left, and writes down who joined.
    pub(super) fn meet(&mut self, roster: &Roster, now: Millis) {
        if self.seen.replace(roster.version()) == Some(roster.version()) {
            return;
        }
        let left = self.keepers.keys().filter(|id| roster.get(**id).is_none());
        for id in left.copied().collect::<Vec<_>>() {
            self.leave(id, now);
        }
        for peer in roster.peers().filter(|peer| peer.is.keeps) {
            if !self.keepers.contains_key(&peer.id) {
                self.join(peer, now);
            }
        }
    }

    fn join(&mut self, peer: &Peer, now: Millis) {
        let name = peer.is.name.clone();
        let flaps = self.flaps.get(&name).map_or(0, |flap| flap.times);
        let settle = (SETTLE << flaps.min(16)).min(LONGEST_PAUSE);
        let keeper = Keeper {
            name,
            joined: now,
            told: now,
            settle,
            settled: false,
            walk: 0,
            again: BTreeSet::new(),
            running: BTreeMap::new(),
            paused: BTreeMap::new(),
        };
        self.keepers.insert(peer.id, keeper);
    }

    fn leave(&mut self, peer: PeerId, now: Millis) {
        let Some(keeper) = self.keepers.remove(&peer) else { return };
        for (&number, running) in &keeper.running {
            self.alarms.remove(&(running.deadline(), peer, number));
            self.count_down(number);
            // Under a policy of N, somebody else may be asked for it.
            for other in self.keepers.values_mut().filter(|other| number < other.walk) {
                other.again.insert(number);
            }
        }
        for (&number, pause) in &keeper.paused {
            self.alarms.remove(&(pause.until, peer, number));
        }
        if now.saturating_sub(keeper.joined) >= STEADY {
            self.flaps.remove(&keeper.name);
            return;
        }
        if self.flaps.len() >= FLAPS {
            self.flaps.retain(|_, flap| now.saturating_sub(flap.last) < LONGEST_PAUSE);
        }
        let flap = self.flaps.entry(keeper.name).or_insert(Flap { times: 0, last: now });
        *flap = Flap { times: flap.times + 1, last: now };
    }

    /// Those who joined and have been quiet for long enough may be asked for files from now on.
    pub(super) fn settle(&mut self, roster: &Roster, now: Millis, plan: &mut Plan) {
        for (&id, keeper) in self.keepers.iter_mut().filter(|(_, keeper)| !keeper.settled) {
            let quiet_at = keeper.told + keeper.settle;
            keeper.settled = now >= quiet_at && roster.get(id).is_some_and(can_fetch);
            if now < quiet_at {
                plan.wake_by(quiet_at);
            }
        }
    }
}
