//! The catalogue: which files there are, and who has them, whole or in part.
//!
//! # The problem
//! A peer that wants a file must find one that has it, and must know what the right bytes are before it takes
//! them from strangers. The manager is the *tracker*: it holds no file, only the list of holders of each, and
//! the hashes of its pieces.
//!
//! # The rules
//! - **Query and update** (C1). An update adds a holder; a query is answered by the list of all holders but the
//!   requester, an unknown file by `not_found` (C2).
//! - **A peer that asks for what it has, has lost it** (C3): a query from a whole holder takes it off, unless it says
//!   that it `has` it. One that holds a part asks because it wants the rest, and stays. Who asks is shown by its token:
//!   else anybody could take others off.
//! - **A name stands for one content.** An update of the same name with another id is a `conflict`, and the
//!   answer names the holders of what was there first. A content that nobody has whole any more gives its name up: at
//!   once to the peer that had it last, which has edited it; to any other when its parts have not grown for a minute.
//! - **Nobody is listed that is gone**: a holder that leaves is taken off all its files. A file without holders
//!   is no file.
//! - **What was dropped stays away** until somebody puts it there again later than it was dropped: of a publication and
//!   a drop the later wins ([`versions`](crate::share::versions)).
//! - **A share of the list.** Files that one peer alone has take half of the list at most: so there is room for others.
//!   What others have, too, does not count.
//! - **Files are numbered** in the order in which they came, and the catalogue remembers which of them were touched
//!   since it was last asked. So the [`replicator`](super::replicator), which plans copies, looks at what changed and
//!   not at everything.
//!
//! # An example
//! ada updates `notes.pdf` (whole). ben queries: the list is ada. ben updates (in part), later (whole). cyd
//! queries: ada and ben. ada deletes its copy and queries: ben; it is no holder any more.
//!
//! All of this is plain state: no socket, no thread, no clock.
//!
//! # What is missing
//! The manager believes what holders say of themselves, though not what they say of others. One that lists
//! itself and has nothing is noticed only by those that ask it. And the first to use a name owns it until no whole
//! holder is left. One under two names fills the list, and so does one whose files the others have copied: a person has
//! to drop them.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::ops::Bound;

use super::events::What;
use super::roster::Roster;
use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::net::limits;
use crate::net::message::{Holder, Name, PeerId};
use crate::share::fingerprint::Fingerprint;
use crate::share::versions::{Mark, Versions};
use crate::share::{FileId, FileName, Manifest};

/// How many holders a `conflict` names.
const NAMED: usize = 3;

/// How long nobody must have all of a file, and no part of it grow, until another content may take its name, in
/// milliseconds.
const IDLE: Millis = 60_000;

/// How many files are remembered that went with their last holder.
const GONE: usize = 64;

/// How long a list that is told again must not have grown until what it does not tell is taken off, in milliseconds.
const QUIET: Millis = 10_000;

/// The last moment that has a date of four digits for the year, in milliseconds since 1970.
const LAST_MOMENT: Millis = 253_402_300_799_000;

/// A file's number in the catalogue: later ones are higher, and no number is used twice.
pub(super) type FileNumber = u64;

/// What a query found.
#[derive(Default)]
pub(super) struct Lookup {
    /// The file's manifest and its holders but the requester, if there is such a file and anybody else has it.
    pub(super) file: Option<(Manifest, BTreeMap<PeerId, bool>)>,
    /// The requester was listed as a whole holder, and is no more.
    pub(super) lost: bool,
}

/// One file.
pub(super) struct ListedFile {
    pub(super) number: FileNumber,
    pub(super) manifest: Manifest,
    /// Who has it, and whether all of it.
    pub(super) holders: BTreeMap<PeerId, bool>,
    /// The name of the whole holder that was taken off last. After a restart it has another number.
    last_whole: Option<Name>,
    /// Since when nobody has all of it, and no part has grown.
    idle_since: Millis,
    /// Whether as many as the policy asks had all of it once; until then it is spreading.
    pub(super) was_spread: bool,
}

impl ListedFile {
    /// Who has all of it.
    pub(super) fn whole_holders(&self) -> impl Iterator<Item = PeerId> {
        self.holders.iter().filter(|(_, whole)| **whole).map(|(&peer, _)| peer)
    }

    /// Who gives all of it now: a peer that has paused does not.
    pub(super) fn givers(&self, roster: &Roster) -> impl Iterator<Item = PeerId> {
        self.whole_holders().filter(|peer| roster.paused(*peer).is_none())
    }

    /// Whether this peer has all of it.
    pub(super) fn is_whole_at(&self, peer: PeerId) -> bool {
        self.holders.get(&peer) == Some(&true)
    }

    /// Whether it gives its name up to another content that `peer` has. Nobody has all of it any more, and this peer
    /// was the last that had; or all that is left is a part that this peer gave up; or the parts have not grown for
    /// [`IDLE`]: until then five parts together may still hold every piece.
    fn gives_way(&self, peer: PeerId, name: &Name, id: FileId, now: Millis) -> bool {
        let is_left = self.manifest.id() != id && self.whole_holders().next().is_none();
        let is_free = || {
            let idle = now >= self.idle_since + IDLE;
            idle || self.last_whole.as_ref() == Some(name)
                || self.holders.keys().all(|holder| *holder == peer)
        };
        is_left && is_free()
    }
}

/// What one peer holds.
#[derive(Default)]
struct Holdings {
    name: Option<Name>,
    files: BTreeSet<FileNumber>,
    print: Fingerprint,
    /// The last fingerprint that it sent, where that was another than `print`.
    claimed: Option<(Fingerprint, Fingerprint)>,
    /// Since when it says that.
    claimed_since: Millis,
    /// What the files take that nobody else has.
    share: u64,
    /// What it has not told again since it was asked to tell all its files again.
    untold: BTreeSet<FileNumber>,
}

/// Which files there are.
#[derive(Default)]
pub(super) struct Catalogue {
    pub(super) files: BTreeMap<FileNumber, ListedFile>,
    names: BTreeMap<FileName, FileNumber>,
    next: FileNumber,
    /// Files that are new, or gone, or have other holders, since the last plan.
    pub(super) touched: BTreeSet<FileNumber>,
    peers: HashMap<PeerId, Holdings>,
    pub(super) versions: Versions,
    hashes: u64,
    /// Files that went with their last holder, the latest last.
    gone: VecDeque<Gone>,
}

/// A file that is not listed any more, and who had all of it last: a part of it may be told a moment later, and keeps
/// its name from everybody but that one.
type Gone = (FileName, FileId, Option<Name>);

impl Catalogue {
    /// Without files, and with room for so many drops.
    pub(super) fn new(drops: usize) -> Self {
        Self { versions: Versions::new(drops), ..Self::default() }
    }

    /// A peer has a file, whole or in part. `published` says when a person put it into its folder, if one did; by a
    /// clock that may be wrong, so nothing counts as published later than now. Such a file would win against every
    /// drop. Says what changed, if anything did.
    ///
    /// # Errors
    /// `conflict` when the name stands for another content; `expired` when the file was dropped, and not put there
    /// later; `busy` when the catalogue is full, or half of it is this peer's alone.
    pub(super) fn update(
        &mut self,
        peer: PeerId,
        manifest: &Manifest,
        whole: bool,
        published: Option<Millis>,
        roster: &Roster,
        now: Millis,
    ) -> Result<Option<What>> {
        let (file, id) = (manifest.name(), manifest.id());
        let mark = Mark::published(published.unwrap_or_default().min(now));
        let name = roster.peers.get(&peer).map(|row| row.is.name.clone());
        if let (Some(number), Some(name)) = (self.number(file), &name)
            && self.files[&number].gives_way(peer, name, id, now)
        {
            self.strike(number, now);
        }
        let is_new = match self.named(file) {
            Some(listing) if listing.manifest.id() != id => return Err(conflict(listing, roster)),
            Some(_) => None,
            None => {
                let dropped = self.versions.dropped(file, id);
                if let Some(at) = dropped.filter(|&at| mark.at <= at) {
                    return Err(dropped_at(file, at));
                }
                self.list(peer, manifest, now)?;
                Some(if dropped.is_some() { What::BringsBack } else { What::Offers })
            }
        };
        self.versions.merge(file, id, mark);
        self.peers.entry(peer).or_default().name = name;
        let before = self.number(file).and_then(|number| self.put_on(peer, number, whole));
        Ok(is_new.or(match (before, whole) {
            (None, true) => Some(What::HasToo),
            (None, false) => Some(What::Begins),
            (Some(false), true) => Some(What::Completes),
            (Some(true), false) => Some(What::Reduces),
            _ => None,
        }))
    }

    // lab 7
    /// Who has this file? A whole holder that asks has lost it.
    pub(super) fn query(&mut self, requester: PeerId, file: &FileName, has: bool, now: Millis) -> Lookup {
        let lost = self.number(file).filter(|number| !has && self.files[number].is_whole_at(requester));
        if let Some(number) = lost {
            self.take_off(requester, number, now);
        }
        let others = |listing: &ListedFile| {
            let mut holders = listing.holders.clone();
            holders.remove(&requester);
            (!holders.is_empty()).then(|| (listing.manifest.clone(), holders))
        };
        Lookup { file: self.named(file).and_then(others), lost: lost.is_some() }
    }

    /// A peer is gone; gives the files that are gone with it.
    pub(super) fn leave(&mut self, peer: PeerId, now: Millis) -> Vec<FileName> {
        let files = self.peers.get(&peer).map(|holdings| holdings.files.clone()).unwrap_or_default();
        let gone = files.into_iter().filter_map(|number| self.take_off(peer, number, now)).collect();
        self.peers.remove(&peer);
        gone
    }

    /// A peer has more of a file than before.
    pub(super) fn grew(&mut self, file: &FileName, now: Millis) {
        if let Some(listing) = self.number(file).and_then(|number| self.files.get_mut(&number)) {
            listing.idle_since = now;
        }
    }

    /// Lists a peer for a file; says whether it was listed for it, and for all of it.
    fn put_on(&mut self, peer: PeerId, number: FileNumber, whole: bool) -> Option<bool> {
        let listing = self.files.get_mut(&number)?;
        let before = listing.holders.insert(peer, whole);
        let (file, id) = (listing.manifest.name(), listing.manifest.id());
        let holdings = self.peers.entry(peer).or_default();
        holdings.files.insert(number);
        holdings.untold.remove(&number);
        [before, Some(whole)].iter().flatten().for_each(|whole| holdings.print.toggle(file, id, *whole));
        if before != Some(whole) {
            self.touched.insert(number);
        }
        if before.is_none() {
            self.share_out(peer, number, true);
        }
        before
    }

    /// Takes a peer off a file; gives its name when the file is gone with it.
    fn take_off(&mut self, peer: PeerId, number: FileNumber, now: Millis) -> Option<FileName> {
        let listing = self.files.get_mut(&number)?;
        let whole = listing.holders.remove(&peer)?;
        let (file, id) = (listing.manifest.name(), listing.manifest.id());
        let holdings = self.peers.get_mut(&peer)?;
        holdings.files.remove(&number);
        holdings.untold.remove(&number);
        holdings.print.toggle(file, id, whole);
        if whole {
            listing.last_whole.clone_from(&holdings.name);
            listing.idle_since = now;
        }
        self.touched.insert(number);
        self.share_out(peer, number, false);
        if !self.files[&number].holders.is_empty() {
            return None;
        }
        let ListedFile { manifest, last_whole, .. } = self.files.remove(&number)?;
        let file = manifest.name().clone();
        self.hashes -= manifest.hashes().len() as u64;
        self.names.remove(&file);
        self.versions.forget(&file, id);
        self.gone.push_back((file.clone(), id, last_whole));
        self.gone.drain(..self.gone.len().saturating_sub(GONE));
        Some(file)
    }

    /// A holder came to a file, or left it: it has the file alone then or had, or the one other has or had.
    fn share_out(&mut self, peer: PeerId, number: FileNumber, came: bool) {
        let ListedFile { holders, manifest, .. } = &self.files[&number];
        let mut others = holders.keys().copied().filter(|holder| *holder != peer);
        let (one, alone) = match (others.next(), others.next()) {
            (None, _) => (peer, came),
            (Some(other), None) => (other, !came),
            _ => return,
        };
        let Some(holdings) = self.peers.get_mut(&one) else { return };
        let room = room(manifest);
        holdings.share = if alone { holdings.share + room } else { holdings.share - room };
    }

    /// A file is to be removed everywhere. With `id` and `at` somebody remembers that it was; without, somebody
    /// wants it now, and nothing that is listed was published later. Nobody drops later than now: such a drop could
    /// never be taken back. One that is remembered from so far ahead says nothing of what was put there within as long
    /// before now. Says which bytes were dropped, and when, if that is news. Of bytes that are not listed it is a
    /// rumour that the `peer` tells.
    ///
    /// # Errors
    /// `not_found` when no `id` is given and the name stands for nothing.
    pub(super) fn drop_file(
        &mut self,
        peer: PeerId,
        file: &FileName,
        id: Option<FileId>,
        at: Option<Millis>,
        now: Millis,
    ) -> Result<Option<(FileId, Millis)>> {
        let number = self.number(file);
        let listed = number.map(|number| self.files[&number].manifest.id());
        let Some(id) = id.or(listed) else { return Err(not_found(file)) };
        let ahead = at.map_or(0, |at| at.saturating_sub(now));
        let at = at.map_or(now, |at| at.min(now));
        let Some(number) = number.filter(|_| listed == Some(id)) else {
            return Ok(self.versions.hear_say(file, id, at, peer).then_some((id, at)));
        };
        let put = self.versions.published(file, id).unwrap_or_default();
        if put > 0 && put.saturating_add(ahead) >= now && ahead > 0 {
            return Ok(None);
        }
        let mut news = self.versions.merge(file, id, Mark::dropped(at));
        // A drop that there is no room for is no news, but removes what is listed.
        if self.versions.published(file, id).is_none() {
            self.strike(number, now);
            news = true;
        }
        Ok(news.then_some((id, at)))
    }

    /// Whether there is a file of this name, and of these bytes if it is said which.
    pub(super) fn lists(&self, file: &FileName, id: Option<FileId>) -> bool {
        self.named(file).is_some_and(|listing| id.is_none_or(|id| listing.manifest.id() == id))
    }

    /// Lists a new file of this peer, if there is room for it.
    fn list(&mut self, peer: PeerId, manifest: &Manifest, now: Millis) -> Result<()> {
        let hashes = self.hashes + manifest.hashes().len() as u64;
        let own = self.peers.get(&peer).map_or(0, |holdings| holdings.share) + room(manifest);
        let full = |no| Err(Error::new(Code::Busy, no).advise("share several small files as one archive"));
        if self.files.len() >= limits::FILES || hashes > limits::ALL_HASHES {
            return full(format!("the manager lists {} files already", self.files.len()));
        }
        if own > limits::ALL_HASHES / 2 {
            return full("half of what the manager can list is what only you have".into());
        }
        self.hashes = hashes;
        self.names.insert(manifest.name().clone(), self.next);
        let (number, manifest) = (self.next, manifest.clone());
        let is_it = |gone: &&Gone| (&gone.0, gone.1) == (manifest.name(), manifest.id());
        let last_whole = self.gone.iter().rev().find(is_it).and_then(|(.., last_whole)| last_whole.clone());
        let holders = BTreeMap::new();
        let listing =
            ListedFile { number, manifest, holders, last_whole, idle_since: now, was_spread: false };
        self.files.insert(self.next, listing);
        self.next += 1;
        Ok(())
    }

    /// Takes all holders off a file, and so the file off the list.
    fn strike(&mut self, number: FileNumber, now: Millis) {
        let holders: Vec<PeerId> = self.files[&number].holders.keys().copied().collect();
        for peer in holders {
            self.take_off(peer, number, now);
        }
    }

    /// The number of a file.
    pub(super) fn number(&self, file: &FileName) -> Option<FileNumber> {
        self.names.get(file).copied()
    }

    fn named(&self, file: &FileName) -> Option<&ListedFile> {
        self.files.get(&self.number(file)?)
    }

    /// How many files this peer has, whole or in part.
    pub(super) fn held_by(&self, peer: PeerId) -> usize {
        self.peers.get(&peer).map_or(0, |holdings| holdings.files.len())
    }

    /// Counts all files of this peer as touched: it can be reached, after all.
    pub(super) fn touch_files_of(&mut self, peer: PeerId) {
        if let Some(holdings) = self.peers.get(&peer) {
            self.touched.extend(&holdings.files);
        }
    }

    /// A peer says what its list comes to; true when it is to send its files again. An `update` may be on its
    /// way while the peer speaks, so a difference must be seen twice, unchanged, to count. A list that was told again
    /// takes off everything that it does not tell.
    pub(super) fn differs(&mut self, peer: PeerId, claim: Fingerprint, now: Millis) -> bool {
        let holdings = self.peers.entry(peer).or_default();
        if claim == holdings.print {
            holdings.claimed = None;
            return false;
        }
        let seen = holdings.claimed.replace((claim, holdings.print));
        if seen != Some((claim, holdings.print)) {
            holdings.claimed_since = now;
            return false;
        }
        let mut told = holdings.print;
        for number in &holdings.untold {
            let ListedFile { manifest, .. } = &self.files[number];
            told.toggle(manifest.name(), manifest.id(), self.files[number].is_whole_at(peer));
        }
        let done = told == claim;
        if done && now < holdings.claimed_since + QUIET {
            return false; // It may be in the middle of telling them.
        }
        holdings.claimed = None;
        // Parts that it is really fetching, it tells again; those that it gave up, it does not.
        let (files, untold) = (holdings.files.clone(), std::mem::take(&mut holdings.untold));
        for number in files {
            if untold.contains(&number) && done || !done && !self.files[&number].is_whole_at(peer) {
                self.take_off(peer, number, now);
            }
        }
        if let Some(holdings) = self.peers.get_mut(&peer).filter(|_| !done) {
            holdings.untold.clone_from(&holdings.files);
        }
        !done
    }

    /// All files in order of their names.
    pub(super) fn listings(&self) -> impl ExactSizeIterator<Item = &ListedFile> {
        self.names.values().map(|number| &self.files[number])
    }

    /// Those after the file `last`, or all.
    pub(super) fn listings_after(&self, last: Option<&FileName>) -> impl Iterator<Item = &ListedFile> {
        let after = last.map_or(Bound::Unbounded, Bound::Excluded);
        self.names.range((after, Bound::Unbounded)).map(|(_, number)| &self.files[number])
    }
}

/// What a file takes in the list, in bytes: its hashes, and for all else as much as there is for each.
fn room(manifest: &Manifest) -> u64 {
    manifest.hashes().len() as u64 + limits::ALL_HASHES / limits::FILES as u64
}

/// Holders as others see them: those that have paused are not seen.
pub(super) fn cards(holders: &BTreeMap<PeerId, bool>, roster: &Roster) -> Vec<Holder> {
    let card = |(&peer, &whole)| {
        let row = roster.peers.get(&peer).filter(|row| row.said.paused.is_none())?;
        Some(Holder { peer, name: row.is.name.clone(), addr: row.is.addr, whole, pass: None })
    };
    holders.iter().filter_map(card).collect()
}

/// Somebody else has other bytes under that name.
fn conflict(listing: &ListedFile, roster: &Roster) -> Error {
    let names: Vec<String> = listing.holders.keys().take(NAMED).map(|&peer| roster.called(peer)).collect();
    let more = if listing.holders.len() > NAMED { " and others" } else { "" };
    Error::new(
        Code::Conflict,
        format!("{} with other content is held by {}{more}", listing.manifest.name(), names.join(", ")),
    )
    .advise("share yours under another name")
}

/// Nobody has it.
pub(super) fn not_found(file: &FileName) -> Error {
    Error::new(Code::NotFound, format!("nobody offers {file}")).advise("`files` lists what is offered")
}

/// It was dropped, and an old copy does not bring it back.
fn dropped_at(file: &FileName, at: Millis) -> Error {
    let when = std::time::UNIX_EPOCH + std::time::Duration::from_millis(at.min(LAST_MOMENT));
    Error::new(Code::Expired, format!("{file} was dropped at {}", humantime::format_rfc3339_seconds(when)))
        .advise("`add` it again to bring it back")
}

#[cfg(test)]
mod tests;
