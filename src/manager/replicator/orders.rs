//! What becomes of an order: it is given, done, void, or in vain.

use super::{LONGEST_PAUSE, Order, PAUSE, Pause, Plan, Replicator, Running};
use crate::clock::Millis;
use crate::manager::catalogue::{Catalogue, Entry, FileNumber};
use crate::net::message::PeerId;

impl Replicator {
    /// Gives an order; true.
    pub(super) fn order(
        &mut self,
        peer: PeerId,
        number: FileNumber,
        catalogue: &Catalogue,
        now: Millis,
        plan: &mut Plan,
    ) -> bool {
        let (Some(keeper), Some(order)) = (self.keepers.get_mut(&peer), order(peer, number, catalogue))
        else {
            return false;
        };
        let running = Running { since: now, sign: None, have: 0 };
        keeper.running.insert(number, running);
        *self.under_way.entry(number).or_default() += 1;
        self.alarms.insert((running.deadline(), peer, number));
        plan.orders.push(order);
        true
    }

    /// An order is over, one way or the other.
    pub(super) fn over(&mut self, peer: PeerId, number: FileNumber) {
        let running = self.keepers.get_mut(&peer).and_then(|keeper| keeper.running.remove(&number));
        if let Some(running) = running {
            self.alarms.remove(&(running.deadline(), peer, number));
            self.count_down(number);
        }
    }

    pub(super) fn count_down(&mut self, number: FileNumber) {
        if let Some(count) = self.under_way.get_mut(&number) {
            *count -= 1;
            if *count == 0 {
                self.under_way.remove(&number);
            }
        }
    }

    /// A file was touched: it is new or gone, or has other holders.
    pub(super) fn look_again(&mut self, number: FileNumber, entry: Option<&Entry>, now: Millis) {
        let mut over = Vec::new();
        for (&peer, keeper) in &mut self.keepers {
            let Some(entry) = entry.filter(|entry| !entry.is_whole_at(peer)) else {
                keeper.again.remove(&number);
                keeper.paused.remove(&number);
                if keeper.running.contains_key(&number) {
                    over.push(peer);
                    self.flaps.remove(&keeper.name);
                }
                continue;
            };
            match keeper.running.get_mut(&number) {
                // It told that it has a part.
                Some(running) if running.sign.is_none() && entry.holders().any(|(it, _)| it == peer) => {
                    running.sign = Some(now);
                }
                Some(_) => {}
                None if number < keeper.walk => drop(keeper.again.insert(number)),
                None => {}
            }
        }
        over.into_iter().for_each(|peer| self.over(peer, number));
    }

    /// Looks at the orders and pauses whose time has come.
    pub(super) fn ring(&mut self, catalogue: &Catalogue, now: Millis, plan: &mut Plan) {
        while let Some(&(at, peer, number)) = self.alarms.first()
            && at <= now
        {
            self.alarms.pop_first();
            let Some(keeper) = self.keepers.get_mut(&peer) else { continue };
            let Some(running) = keeper.running.get(&number) else {
                if keeper.paused.get(&number).is_some_and(|pause| pause.until <= now) {
                    keeper.again.insert(number);
                }
                continue;
            };
            if running.deadline() > now {
                self.alarms.insert((running.deadline(), peer, number));
                continue;
            }
            let times = keeper.paused.get(&number).map_or(0, |pause| pause.times) + 1;
            let pause = Pause { times, until: now + pause_after(times) };
            keeper.paused.insert(number, pause);
            self.over(peer, number);
            self.alarms.insert((pause.until, peer, number));
            plan.in_vain.extend(order(peer, number, catalogue));
            // Somebody else may fetch it meanwhile.
            self.look_again(number, catalogue.entry(number), now);
        }
    }
}

fn order(peer: PeerId, number: FileNumber, catalogue: &Catalogue) -> Option<Order> {
    let entry = catalogue.entry(number)?;
    Some(Order { peer, file: entry.name().clone(), size: entry.size() })
}

/// How long a file is not ordered again that was ordered so often in vain.
fn pause_after(times: u32) -> Millis {
    (PAUSE << (times - 1).min(16)).min(LONGEST_PAUSE)
}
