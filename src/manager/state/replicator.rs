//! Who should fetch what, so that every file is on as many peers as the policy asks for (B3, B4).
//!
//! # The problem
//! Peers come, go, and lose files; each time, copies are missing somewhere. A hundred thousand files on a hundred peers
//! change a thousand times a second while they are copied, so a manager that looks through all of them at each change
//! does nothing else. And an order can fail: the peer's disk is full, a cable is cut, a peer joins and leaves
//! every second. To order again at once would make a storm; not to order again, a file that never heals.
//!
//! # The rules
//! - **Policy.** `--replicas all`: every peer that keeps replicas has every file. A number N: N of them have it. 0:
//!   nothing is ordered.
//! - **An order** is a peer and a file: "fetch it". From whom, in which pieces, is the download's business. It is done
//!   when the peer is listed as a whole holder, and void when the peer or the file is gone.
//! - **At most [`ORDERS`] run at each peer.** The next is given when one is done, at once.
//! - **The file with the fewest copies first**, orders that run counted as copies, among the next [`WINDOW`]. So what
//!   is most in danger is copied first, and two empty peers fetch different files, then each from the other. Peers take
//!   turns, those with the fewest orders and files first.
//! - **Only what can be had is ordered**: somebody else has all of it, and can be reached.
//! - **An order fails** that shows no sign of life for [`PATIENCE`], or no progress for [`STALL`]. The
//!   same peer is asked for the same file again after [`PAUSE`], then after twice that, [`LONGEST_PAUSE`] at most.
//! - **What has failed comes after what has not**, at each peer. First it counts for how many files an order failed
//!   that the same peer gives (of several that give a file, the one with the fewest counts), and then how often it did
//!   for the file itself. So a peer that lists a thousand files and sends none holds up the others' until four orders
//!   have failed; and what failed is tried again whenever there is room.
//! - **A peer that joins is asked for nothing** until the manager could connect to it and its own list has been quiet
//!   for [`SETTLE`], because it may have the files already.
//! - **A young manager that wants N copies waits** for [`GRACE`]: its peers are on their way back with theirs. It waits
//!   for [`YOUTH`] while one of them still tells what it has. (Where
//!   all are to have all, nobody's absence makes a copy too many, and it need not wait.)
//!
//! # How it is cheap
//! Files are numbered as they come. Each peer walks through the numbers once, and stops where it has enough to do. What
//! changes behind it (the catalogue says which files were touched) is put on its list of files to look at again. So a
//! change costs a few steps for each peer, and not for each file.
//!
//! # An example
//! ada has 1,000 files, ben and cyd join. After half a second of quiet each is asked for four: ben for 1, 3, 5, 7
//! and cyd for 2, 4, 6, 8. Whenever one is done, the next is asked for. In the end ben takes the even ones from ada
//! or from cyd. dan joins, whose disk is full: its four orders have failed after five seconds, and it is asked for
//! them again after 5, 10, 20, 40 and every 60 seconds.
//!
//! All of this is plain state: no socket, no thread, no clock. The orders are sent by
//! [`Table::replicate`](super::Table::replicate), the words about a file's health are in [`health`](super::health).
//!
//! # What is missing
//! Copies too many are never removed: a peer that was away while N others were found for its files comes back as one
//! more. The manager does not know how much room a peer has, nor how fast it is. And nothing keeps N copies
//! from being N peers on one machine. A peer that comes and goes is given four orders each time: to damp that saved
//! four short messages a life, less than the two lists that its coming and going cost. One that sends nothing and comes
//! again under new names is new each time, and four orders have to fail once more.

use std::collections::{BTreeMap, BTreeSet};

use super::catalogue::{Catalogue, FileNumber, ListedFile};
use super::events::What;
use super::roster::{Member, Reach, Roster};
use crate::clock::Millis;
use crate::net::message::{Download, GRACE, PeerId, Replicas};

/// How many orders run at one peer at once: enough that small files are not waited for one by one, few enough that a
/// large one does not share its peer's link with many.
pub(super) const ORDERS: usize = 4;

/// Among how many of its next files a peer is given the one with the fewest copies. Planned for one peer with 600 files
/// and two that lack them, where each sends two files in a step, all is done after 304 steps; if each is given simply
/// its next file, both fetch the same, and it takes 600. For eight that lack them it is 720 and 1200. Among 64 files it
/// would be 595, but a plan would cost twice as much.
const WINDOW: usize = 16;

/// How many files are looked at for one peer before the table is let go for others.
const LOOK: usize = 512;

/// How long an order may show no sign of life, in milliseconds.
const PATIENCE: Millis = 5_000;

/// How long a download that began may make no progress, in milliseconds: its peer gives up its holders one by one.
const STALL: Millis = 30_000;

/// How long a peer is not asked again for a file that it did not get, in milliseconds.
const PAUSE: Millis = 5_000;

/// The longest such pause.
const LONGEST_PAUSE: Millis = 60_000;

/// How long the list of a peer that joined must be quiet, in milliseconds.
const SETTLE: Millis = 500;

/// How long a manager that has just started waits at most for peers that tell long lists, in milliseconds.
const YOUTH: Millis = 60_000;

/// What follows from a look at everything that changed: the peer was asked for the file, or an order failed.
pub(super) type CopyPlan = Vec<(What, PeerId, FileNumber)>;

/// What is looked at, and when.
#[derive(Clone, Copy)]
pub(super) struct Scene<'a> {
    pub(super) catalogue: &'a Catalogue,
    pub(super) roster: &'a Roster,
    pub(super) now: Millis,
}

/// An order that runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct RunningOrder {
    /// When it was given.
    pub(super) since: Millis,
    /// When the download was last seen to go on.
    pub(super) sign: Option<Millis>,
    /// How many pieces were there then.
    have: u32,
}

impl RunningOrder {
    /// When it counts as failed, unless there is a sign of life before.
    fn deadline(&self) -> Millis {
        self.sign.map_or(self.since + PATIENCE, |sign| sign + STALL)
    }
}

/// What came of the orders for one file at one peer: nothing.
pub(super) struct Pause {
    /// How often.
    pub(super) times: u32,
    /// When it may be ordered again.
    pub(super) until: Millis,
    /// Who gave it when the last one failed.
    givers: Vec<PeerId>,
}

/// How late a file comes at a peer: for how many files an order failed that the best of its givers gives, and how often
/// one for this file did.
type Rank = (usize, u32);

/// A peer that keeps replicas.
#[derive(Default)]
pub(super) struct Keeper {
    /// When it joined, or told of a file before its list was quiet for long enough once.
    told: Millis,
    /// Its walk: every file with a smaller number was looked at.
    walk: FileNumber,
    /// Files behind that which are to be looked at again: they changed since, or others came first.
    again: BTreeSet<(Rank, FileNumber)>,
    /// Those of them that come late.
    late: BTreeMap<FileNumber, Rank>,
    pub(super) running: BTreeMap<FileNumber, RunningOrder>,
    pub(super) paused: BTreeMap<FileNumber, Pause>,
    /// How many of these each peer gives.
    owed: BTreeMap<PeerId, usize>,
}

impl Keeper {
    /// Whether its list was quiet for long enough once.
    pub(super) fn is_settled(&self, now: Millis) -> bool {
        now >= self.told + SETTLE
    }

    /// How late this file comes here.
    fn rank(&self, listing: &ListedFile, roster: &Roster) -> Rank {
        let owed = listing.givers(roster).map(|giver| self.owed.get(&giver).copied().unwrap_or_default());
        (owed.min().unwrap_or_default(), self.paused.get(&listing.number).map_or(0, |pause| pause.times))
    }

    /// The file is to be looked at again when it is its turn.
    fn look_again(&mut self, number: FileNumber, rank: Rank) {
        self.look_no_more(number);
        self.again.insert((rank, number));
        if rank > Rank::default() {
            self.late.insert(number, rank);
        }
    }

    /// It was looked at, or is of no interest any more.
    fn look_no_more(&mut self, number: FileNumber) {
        let rank = self.late.remove(&number).unwrap_or_default();
        self.again.remove(&(rank, number));
    }

    /// An order failed for a file that these give; says when it may be given again.
    fn fail(&mut self, number: FileNumber, givers: Vec<PeerId>, now: Millis) -> Millis {
        self.running.remove(&number);
        let times = self.forgive(number) + 1;
        // The pause grows with each time.
        let until = now + (PAUSE << (times - 1).min(16)).min(LONGEST_PAUSE);
        givers.iter().for_each(|giver| *self.owed.entry(*giver).or_default() += 1);
        self.paused.insert(number, Pause { times, until, givers });
        until
    }

    /// The file is there, or gone; says how often orders for it had failed.
    fn forgive(&mut self, number: FileNumber) -> u32 {
        let Some(Pause { times, givers, .. }) = self.paused.remove(&number) else { return 0 };
        givers.iter().for_each(|giver| *self.owed.entry(*giver).or_insert(1) -= 1);
        self.owed.retain(|_, owed| *owed > 0);
        times
    }
}

/// Who should fetch what.
#[derive(Default)]
pub(super) struct Replicator {
    /// How many peers are to have each file.
    pub(super) policy: Replicas,
    pub(super) started: Millis,
    pub(super) keepers: BTreeMap<PeerId, Keeper>,
    /// The running orders of all keepers, by their files, so that those for one file are counted at once.
    running: BTreeSet<(FileNumber, PeerId)>,
    /// When to look at a peer and a file, at the latest. What is found then counts, so an alarm for what is over long
    /// since does no harm.
    alarms: BTreeSet<(Millis, PeerId, FileNumber)>,
    /// Whether to plan now, though no file was touched: a peer joined or was reached, or a plan was cut short.
    pub(super) due: bool,
}

impl Replicator {
    /// A peer that keeps replicas joined.
    pub(super) fn join(&mut self, peer: PeerId, now: Millis) {
        self.keepers.insert(peer, Keeper { told: now, ..Keeper::default() });
        self.due = true;
    }

    /// A peer left. Under a policy of N, another may be asked for what it was fetching.
    pub(super) fn leave(&mut self, peer: PeerId, catalogue: &mut Catalogue) {
        let keeper = self.keepers.remove(&peer).unwrap_or_default();
        self.running.retain(|&(_, it)| it != peer);
        catalogue.touched.extend(keeper.running.into_keys());
    }

    /// A peer told of a file: its list is not quiet yet.
    pub(super) fn told(&mut self, peer: PeerId, now: Millis) {
        if let Some(keeper) = self.keepers.get_mut(&peer).filter(|keeper| !keeper.is_settled(now)) {
            keeper.told = now;
        }
    }

    /// A peer told what it is fetching: signs of life of its orders.
    pub(super) fn signs(&mut self, peer: PeerId, downloads: &[Download], catalogue: &Catalogue, now: Millis) {
        let Some(keeper) = self.keepers.get_mut(&peer) else { return };
        for download in downloads {
            let number = catalogue.number(&download.file);
            let running = number.and_then(|number| keeper.running.get_mut(&number));
            if let Some(running) = running.filter(|it| it.sign.is_none() || download.have > it.have) {
                running.sign = Some(now);
                running.have = download.have;
            }
        }
    }

    /// What should be fetched by whom, after all that changed. To be called after every change, and at the time that
    /// [`Replicator::next`] says.
    pub(super) fn plan(&mut self, catalogue: &mut Catalogue, roster: &Roster, now: Millis) -> CopyPlan {
        let touched = std::mem::take(&mut catalogue.touched);
        for number in &touched {
            if let Some(listing) = catalogue.files.get_mut(number) {
                listing.was_spread |= self.copies(listing, roster) >= self.wanted();
            }
        }
        let scene = Scene { catalogue, roster, now };
        self.due = false;
        if self.policy == Replicas::Some(0) {
            return CopyPlan::new();
        }
        for number in touched {
            self.look_again(number, scene);
        }
        let mut plan = self.ring(scene);
        let telling = now < self.started + YOUTH && !self.keepers.values().all(|it| it.is_settled(now));
        if self.policy != Replicas::All && (telling || now < self.started + GRACE) {
            return plan;
        }
        // Those with the fewest orders and the fewest files first, one file each in turn.
        let able = |id: &PeerId| roster.peers.get(id).is_some_and(can_fetch);
        let ready = self.keepers.iter().filter(|(id, keeper)| keeper.is_settled(now) && able(id));
        let mut ready: Vec<_> =
            ready.map(|(&id, keeper)| (keeper.running.len(), scene.catalogue.held_by(id), id)).collect();
        ready.sort_unstable();
        while !ready.is_empty() {
            ready.retain(|&(.., id)| {
                let Some(number) = self.choose(id, scene) else { return false };
                self.order(id, number, now);
                plan.push((What::Asked, id, number));
                true
            });
        }
        plan
    }

    /// When to plan again if nothing changes before that.
    pub(super) fn next(&self, now: Millis) -> Option<Millis> {
        let settling = self.keepers.values().map(|keeper| keeper.told + SETTLE);
        let later = settling.chain([self.started + GRACE]).filter(|&at| at > now);
        later.chain(self.alarms.first().map(|&(alarm, ..)| alarm)).min()
    }

    /// The next file for this peer: of those it could fetch now and that failed least, the one with the fewest copies.
    fn choose(&mut self, peer: PeerId, scene: Scene) -> Option<FileNumber> {
        if self.keepers.get(&peer)?.running.len() >= ORDERS {
            return None;
        }
        // (rank, copies, file)
        let mut window: Vec<(Rank, usize, FileNumber)> = Vec::new();
        let mut looks = 0;
        while window.len() < WINDOW {
            if looks == LOOK {
                self.due = true;
                break;
            }
            looks += 1;
            let Some((turn, number)) = self.next_of(peer, scene.catalogue) else { break };
            let Some(listing) = scene.catalogue.files.get(&number) else { continue };
            if !self.should_fetch(peer, listing, scene) {
                continue;
            }
            let copies = listing.givers(scene.roster).count() + self.under_way(number);
            let keeper = self.keepers.get_mut(&peer)?;
            match keeper.rank(listing, scene.roster) {
                rank if rank > turn => keeper.look_again(number, rank),
                rank => window.push((rank, copies, number)),
            }
        }
        let &(.., chosen) = window.iter().min()?;
        let keeper = self.keepers.get_mut(&peer)?;
        let rest = window.into_iter().filter(|(.., number)| *number != chosen);
        rest.for_each(|(rank, _, number)| keeper.look_again(number, rank));
        Some(chosen)
    }

    /// Whether this peer should have this file, and could get it now.
    fn should_fetch(&self, peer: PeerId, listing: &ListedFile, scene: Scene) -> bool {
        let Some(keeper) = self.keepers.get(&peer) else { return false };
        let busy = keeper.running.contains_key(&listing.number);
        let paused = keeper.paused.get(&listing.number).is_some_and(|pause| pause.until > scene.now);
        !listing.is_whole_at(peer)
            && !busy
            && !paused
            && self.lacking(listing, scene.roster) > 0
            && has_source(listing, peer, scene.roster)
    }

    /// The next file that this peer has to look at, and whose turn it is: what failed comes after the walk.
    fn next_of(&mut self, peer: PeerId, catalogue: &Catalogue) -> Option<(Rank, FileNumber)> {
        let keeper = self.keepers.get_mut(&peer)?;
        let first = keeper.again.first().copied();
        if first.is_none_or(|(rank, _)| rank > Rank::default())
            && let Some((&number, _)) = catalogue.files.range(keeper.walk..).next()
        {
            keeper.walk = number + 1;
            return Some((Rank::default(), number));
        }
        first.inspect(|&(_, number)| keeper.look_no_more(number))
    }

    fn order(&mut self, peer: PeerId, number: FileNumber, now: Millis) {
        let running = RunningOrder { since: now, sign: None, have: 0 };
        self.keepers.entry(peer).or_default().running.insert(number, running);
        self.running.insert((number, peer));
        self.alarms.insert((running.deadline(), peer, number));
    }

    /// A file was touched: it is new or gone, or has other holders. So orders are done, void, or have shown a sign of
    /// life.
    fn look_again(&mut self, number: FileNumber, scene: Scene) {
        let listing = scene.catalogue.files.get(&number);
        for (&peer, keeper) in &mut self.keepers {
            let Some(listing) = listing.filter(|listing| !listing.is_whole_at(peer)) else {
                keeper.look_no_more(number);
                keeper.forgive(number);
                keeper.running.remove(&number);
                self.running.remove(&(number, peer));
                continue;
            };
            match keeper.running.get_mut(&number) {
                // It told that it has a part.
                Some(running) if running.sign.is_none() && listing.holders.contains_key(&peer) => {
                    running.sign = Some(scene.now);
                }
                None if number < keeper.walk => keeper.look_again(number, Rank::default()),
                _ => {}
            }
        }
    }

    /// Looks at the orders and pauses whose time has come; gives the orders that failed.
    fn ring(&mut self, scene: Scene) -> CopyPlan {
        let (now, mut failed) = (scene.now, CopyPlan::new());
        while let Some(&(at, peer, number)) = self.alarms.first()
            && at <= now
        {
            self.alarms.pop_first();
            let Some(keeper) = self.keepers.get_mut(&peer) else { continue };
            match keeper.running.get(&number).map(RunningOrder::deadline) {
                None => keeper.look_again(number, Rank::default()),
                Some(deadline) if deadline > now => drop(self.alarms.insert((deadline, peer, number))),
                Some(_) => {
                    self.running.remove(&(number, peer));
                    let listing = scene.catalogue.files.get(&number);
                    let givers = listing.into_iter().flat_map(|it| it.givers(scene.roster)).collect();
                    let until = keeper.fail(number, givers, now);
                    self.alarms.insert((until, peer, number));
                    failed.push((What::Failed, peer, number));
                    // Somebody else may fetch it meanwhile.
                    self.look_again(number, scene);
                }
            }
        }
        failed
    }

    /// How many copies there should be.
    pub(super) fn wanted(&self) -> usize {
        match self.policy {
            Replicas::All => self.keepers.len(),
            Replicas::Some(wanted) => wanted,
        }
    }

    /// How many copies of a file are missing that nobody is fetching.
    pub(super) fn lacking(&self, listing: &ListedFile, roster: &Roster) -> usize {
        let coming = self.copies(listing, roster) + self.under_way(listing.number);
        self.wanted().min(self.keepers.len()).saturating_sub(coming)
    }

    /// How many of those that keep replicas have all of it. Others leave when they like, and do not count.
    pub(super) fn copies(&self, listing: &ListedFile, roster: &Roster) -> usize {
        listing.givers(roster).filter(|peer| self.keepers.contains_key(peer)).count()
    }

    /// How many orders run for a file.
    fn under_way(&self, number: FileNumber) -> usize {
        self.running.range((number, 0)..=(number, PeerId::MAX)).count()
    }
}

/// Whether a peer can be asked to fetch anything. One that offers no slots is never connected back to.
pub(super) fn can_fetch(peer: &Member) -> bool {
    (peer.reach == Reach::Yes || peer.is.slots == 0) && peer.said.paused.is_none()
}

/// Whether anybody else has all of a file and can be reached.
pub(super) fn has_source(listing: &ListedFile, peer: PeerId, roster: &Roster) -> bool {
    let reachable = |id| roster.peers.get(&id).is_some_and(|row| !matches!(row.reach, Reach::No(_)));
    listing.givers(roster).any(|holder| holder != peer && reachable(holder))
}

#[cfg(test)]
mod tests;
