//! Whether enough peers have a file, in one word and in plain words: for `files --health` and the board.
//!
//! A file is *whole* when as many peers as the policy asks have all of it, *missing* when nobody has all of it,
//! *spreading* when it is new and was never whole, and else *healing*. A word alone would leave the question that
//! everybody asks next: why is it not done? So each peer that lacks its copy is named, with what it waits for. A copy
//! at a peer that has paused is not counted, and the peer is named. Why it has stands in its own row: it would be said
//! again for every file.

use super::catalogue::ListedFile;
use super::replicator::{Keeper, ORDERS, Replicator, Scene, can_fetch, has_source};
use super::roster::{Reach, Roster};
use crate::clock::Millis;
use crate::net::message::{Condition, FailedFile, Health, PeerId};

/// How many peers are named; the others are counted.
const NAMED: usize = 3;

impl Replicator {
    /// Whether enough peers have this file, and what is done about it.
    pub(super) fn health(&self, listing: &ListedFile, scene: Scene) -> Health {
        let have: Vec<PeerId> = listing.givers(scene.roster).collect();
        if have.is_empty() {
            let parts = listing.holders.iter().filter(|(_, whole)| !**whole).map(|(&peer, _)| peer);
            let parts = format!("{} a part", has(parts, scene.roster));
            let paused = listing.holders.keys().filter_map(|&peer| {
                scene.roster.paused(peer).map(|_| format!("{} has paused", scene.roster.called(peer)))
            });
            let why = paused.take(NAMED).reduce(|all, one| format!("{all}; {one}")).unwrap_or(parts);
            let reason = format!("nobody has all of it; {why}");
            return Health { state: Condition::Missing, reason };
        }
        let (wanted, copies) = (self.wanted(), self.copies(listing, scene.roster));
        if copies >= wanted {
            let reason = format!("{} all of it", has(have, scene.roster));
            return Health { state: Condition::Whole, reason };
        }
        let mut reasons = vec![format!("{copies} of {wanted} copies are there")];
        reasons.extend(self.obstacles(listing, scene));
        if self.keepers.len() < wanted {
            reasons.push(match self.keepers.len() {
                0 => "no peer here keeps replicas".into(),
                1 => "only one peer here keeps replicas".into(),
                keepers => format!("only {keepers} peers here keep replicas"),
            });
        }
        let state = if listing.was_spread { Condition::Healing } else { Condition::Spreading };
        Health { state, reason: reasons.join("; ") }
    }

    /// What the peers that should have a copy wait for, the most telling ones first.
    fn obstacles(&self, listing: &ListedFile, scene: Scene) -> Vec<String> {
        let number = listing.number;
        let concerned = |(id, keeper): &(&PeerId, &Keeper)| {
            let asked = keeper.running.contains_key(&number) || keeper.paused.contains_key(&number);
            let gives = listing.is_whole_at(**id) && scene.roster.paused(**id).is_none();
            !gives && (asked || self.lacking(listing, scene.roster) > 0)
        };
        let mut concerned: Vec<_> = self.keepers.iter().filter(concerned).collect();
        concerned.sort_by_key(|(_, keeper)| {
            (!keeper.running.contains_key(&number), !keeper.paused.contains_key(&number))
        });
        let left_out = concerned.len().saturating_sub(NAMED);
        let named = concerned.into_iter().take(NAMED);
        let reason = |(&id, keeper): (&PeerId, &Keeper)| {
            format!("{} {}", scene.roster.called(id), waits_for(id, keeper, listing, scene))
        };
        let more = (left_out > 0).then(|| format!("{left_out} more lack it"));
        named.map(reason).chain(more).collect()
    }
}

/// What a peer that lacks a file waits for.
fn waits_for(id: PeerId, keeper: &Keeper, listing: &ListedFile, scene: Scene) -> String {
    let Scene { roster, now, .. } = scene;
    let seconds = |ms: Millis| ms.div_ceil(1000);
    if roster.paused(id).is_some() {
        return "has paused".into();
    }
    let row = roster.peers.get(&id);
    let failed = row.and_then(|row| row.said.failed.iter().find(|one| one.file == *listing.manifest.name()));
    if let Some(FailedFile { why, .. }) = failed {
        return why.clone();
    }
    if let Some(running) = keeper.running.get(&listing.number) {
        let since = seconds(now.saturating_sub(running.since));
        return match running.sign {
            Some(_) => format!("has been fetching it for {since} s"),
            None => format!("was asked {since} s ago to fetch it"),
        };
    }
    if !has_source(listing, id, roster) {
        return "waits for a peer that has it and can be reached".into();
    }
    if let Some(pause) = keeper.paused.get(&listing.number).filter(|pause| pause.until > now) {
        let times = if pause.times == 1 { "once".into() } else { format!("{} times", pause.times) };
        return format!(
            "was asked {times} without success, and is asked again in {} s",
            seconds(pause.until - now)
        );
    }
    match row {
        Some(row) if !can_fetch(row) => match &row.reach {
            Reach::No(why) => format!("cannot be reached at {}: {why}", row.is.addr),
            _ => format!("is not asked before it could be reached at {}", row.is.addr),
        },
        _ if !keeper.is_settled(now) => "has just joined, and is telling what it has".into(),
        _ if keeper.running.len() >= ORDERS => {
            format!("is fetching {} other files first", keeper.running.len())
        }
        _ => "is asked for it next".into(),
    }
}

/// "ada has", "ada and ben have", "ada, ben, cyd and 4 more have".
fn has(peers: impl IntoIterator<Item = PeerId>, roster: &Roster) -> String {
    let names: Vec<String> = peers.into_iter().map(|peer| roster.called(peer)).collect();
    let shown = names.len().min(NAMED);
    match &names[..] {
        [one] => format!("{one} has"),
        [first @ .., last] if names.len() == shown => format!("{} and {last} have", first.join(", ")),
        _ => format!("{} and {} more have", names[..shown].join(", "), names.len() - shown),
    }
}
