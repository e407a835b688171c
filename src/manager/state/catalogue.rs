//! The catalogue: which files there are, and who has them, whole or in part.
//!
//! # The problem
//! Whoever wants a file must find somebody who has it, and must know what the right bytes are before he takes
//! them from strangers. The manager is the *tracker*: it holds no file, only the list of holders of each, and
//! the hashes of its pieces.
//!
//! # The rules
//! - **Query and update** (C1). An update adds a holder; a query is answered by the list of all holders but the
//!   asker, an unknown file by `not_found` (C2).
//! - **Who asks for what he has, has lost it** (C3): a query from a whole holder takes it off. One that holds a
//!   part asks because it wants the rest, and stays.
//! - **A name stands for one content.** An update of the same name with another id is a `conflict`, and the
//!   answer names the holders of what was there first.
//! - **Nobody is listed who is gone**: a holder that leaves is taken off all its files. A file without holders
//!   is no file.
//! - **What was dropped stays away** until somebody puts it there again later than it was dropped ([`drops`](crate::share::drops)).
//! - **Files are numbered** in the order in which they came, and the catalogue remembers which of them were touched
//!   since it was last asked. So whoever plans copies ([`replicator`](super::replicator)) looks at what
//!   changed and not at everything.
//!
//! # An example
//! ada updates `notes.pdf` (whole). ben queries: the list is ada. ben updates (in part), later (whole). cyd
//! queries: ada and ben. ada deletes her copy and queries: ben; she is no holder any more.
//!
//! All of this is plain state: no socket, no thread, no clock.
//!
//! # What is missing
//! The manager believes what holders say of themselves. One that lists itself and has nothing is noticed only
//! by those who ask it. And who is first to use a name owns it until no holder is left.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::roster::Roster;
use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::net::limits;
use crate::net::message::{FileState, Holder, PeerId};
use crate::share::drops::Drops;
use crate::share::fingerprint::Fingerprint;
use crate::share::{FileId, FileName, Manifest};

/// How many holders a `conflict` names.
const NAMED: usize = 3;

/// The last moment that has a date of four digits for the year, in milliseconds since 1970.
const LAST_MOMENT: Millis = 253_402_300_799_000;

/// A file's number in the catalogue: later ones are higher, and no number is used twice.
pub(crate) type FileNumber = u64;

/// What an update changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// The file was not there before.
    New,
    /// It was not there because it was dropped, and was put there again later.
    Again,
    /// It has one more holder.
    Joined,
    /// One that had a part has all of it now.
    Completed,
    /// One that had all of it has only a part now.
    Reduced,
    /// It was known already.
    Nothing,
}

/// What a query found.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// The file's manifest and its holders but the asker, if there is such a file and anybody else has it.
    pub(crate) file: Option<(Manifest, Vec<(PeerId, bool)>)>,
    /// The asker was listed as a whole holder, and is no more.
    pub(crate) lost: bool,
}

/// What a drop did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Dropped {
    /// Which bytes were dropped.
    pub(crate) id: FileId,
    /// When.
    pub(crate) at: Millis,
    /// The file was listed, and is no more.
    pub(crate) listed: bool,
    /// It was not known before: everybody is to be told.
    pub(crate) news: bool,
}

/// One file.
#[derive(Debug)]
pub(crate) struct Entry {
    manifest: Manifest,
    /// Who has it, and whether all of it.
    holders: BTreeMap<PeerId, bool>,
    /// When it was last put into a folder by a person; 0 when nobody said so.
    published: Millis,
}

impl Entry {
    /// What it is called.
    pub(crate) fn name(&self) -> &FileName {
        self.manifest.name()
    }

    /// Its size, in bytes.
    pub(crate) fn size(&self) -> u64 {
        self.manifest.layout().size()
    }

    /// Who has it, and whether all of it.
    pub(crate) fn holders(&self) -> impl Iterator<Item = (PeerId, bool)> {
        self.holders.iter().map(|(&peer, &whole)| (peer, whole))
    }

    /// Who has all of it.
    pub(crate) fn whole_holders(&self) -> impl Iterator<Item = PeerId> {
        self.holders().filter(|(_, whole)| *whole).map(|(peer, _)| peer)
    }

    /// Whether this peer has all of it.
    pub(crate) fn is_whole_at(&self, peer: PeerId) -> bool {
        self.holders.get(&peer) == Some(&true)
    }

    /// Whether it gives its name up to another content that `peer` has: all that is left of it is a part that
    /// this peer gave up.
    fn gives_way(&self, peer: PeerId, id: FileId) -> bool {
        self.manifest.id() != id && self.holders.iter().all(|(holder, whole)| *holder == peer && !whole)
    }
}

/// What one peer holds.
#[derive(Debug, Default)]
struct Holdings {
    files: BTreeSet<FileNumber>,
    print: Fingerprint,
    /// The last fingerprint that it sent, where that was another than `print`.
    claimed: Option<(Fingerprint, Fingerprint)>,
}

/// Which files there are.
#[derive(Debug)]
pub(crate) struct Catalogue {
    files: BTreeMap<FileNumber, Entry>,
    names: BTreeMap<FileName, FileNumber>,
    next: FileNumber,
    touched: BTreeSet<FileNumber>,
    peers: HashMap<PeerId, Holdings>,
    drops: Drops,
    hashes: u64,
}

impl Default for Catalogue {
    fn default() -> Self {
        Self {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            next: 1,
            touched: BTreeSet::new(),
            peers: HashMap::new(),
            drops: Drops::new(limits::DROPS),
            hashes: 0,
        }
    }
}

impl Catalogue {
    /// How many files there are.
    pub(crate) fn len(&self) -> usize {
        self.files.len()
    }

    // lab 4: begin
    /// A peer has a file, whole or in part. `published` says when a person put it into its folder, if one did; by a
    /// clock that may be wrong, so nobody counts as having published later than now. Such a file would win against
    /// every drop.
    ///
    /// # Errors
    /// `conflict` when the name stands for another content; `expired` when the file was dropped, and not put there
    /// later; `busy` when the catalogue is full.
    pub(crate) fn update(
        &mut self,
        peer: PeerId,
        manifest: &Manifest,
        whole: bool,
        published: Option<Millis>,
        roster: &Roster,
        now: Millis,
    ) -> Result<Change> {
        let (file, id) = (manifest.name(), manifest.id());
        let published = published.unwrap_or_default().min(now);
        if let Some(number) = self.number(file).filter(|number| self.files[number].gives_way(peer, id)) {
            self.strike(number);
        }
        let known = self.names.get(file).copied();
        let (number, change) = match known.and_then(|number| Some((number, self.files.get_mut(&number)?))) {
            Some((_, entry)) if entry.manifest.id() != id => return Err(conflict(entry, roster)),
            Some((number, entry)) => {
                entry.published = entry.published.max(published);
                match (entry.holders.insert(peer, whole), whole) {
                    (None, _) => (number, Change::Joined),
                    (Some(false), true) => (number, Change::Completed),
                    (Some(true), false) => (number, Change::Reduced),
                    _ => return Ok(Change::Nothing),
                }
            }
            None => {
                let dropped = self.drops.when(file, id);
                if let Some(at) = dropped.filter(|&at| published <= at) {
                    return Err(dropped_at(file, at));
                }
                self.room_for(manifest)?;
                self.drops.forget(file, id);
                let entry = Entry { manifest: manifest.clone(), holders: [(peer, whole)].into(), published };
                (self.list(entry), if dropped.is_some() { Change::Again } else { Change::New })
            }
        };
        let holdings = self.peers.entry(peer).or_default();
        match change {
            Change::Completed | Change::Reduced => holdings.print.toggle(file, id, !whole),
            _ => drop(holdings.files.insert(number)),
        }
        holdings.print.toggle(file, id, whole);
        self.touched.insert(number);
        Ok(change)
    }

    /// Who has this file? A whole holder that asks has lost it.
    pub(crate) fn query(&mut self, asker: PeerId, file: &FileName) -> Found {
        let lost = self.number(file).filter(|number| self.files[number].is_whole_at(asker));
        if let Some(number) = lost {
            self.take_off(asker, number);
        }
        let lost = lost.is_some();
        let Some(entry) = self.named(file) else { return Found { file: None, lost } };
        let holders: Vec<_> = entry.holders().filter(|(peer, _)| *peer != asker).collect();
        Found { file: (!holders.is_empty()).then(|| (entry.manifest.clone(), holders)), lost }
    }

    /// A peer is gone; gives the files that are gone with it.
    pub(crate) fn leave(&mut self, peer: PeerId) -> Vec<FileName> {
        let Some(holdings) = self.peers.remove(&peer) else { return Vec::new() };
        holdings.files.into_iter().filter_map(|number| self.take_off(peer, number)).collect()
    }

    /// Takes a peer off a file; gives its name when the file is gone with it.
    fn take_off(&mut self, peer: PeerId, number: FileNumber) -> Option<FileName> {
        let entry = self.files.get_mut(&number)?;
        let whole = entry.holders.remove(&peer)?;
        if let Some(holdings) = self.peers.get_mut(&peer) {
            holdings.files.remove(&number);
            holdings.print.toggle(entry.manifest.name(), entry.manifest.id(), whole);
        }
        self.touched.insert(number);
        if !self.files[&number].holders.is_empty() {
            return None;
        }
        Some(self.unlist(number)?.manifest.name().clone())
    }
    // lab 4: end

    /// A file is to be removed everywhere. With `id` and `at` somebody remembers that it was; without, somebody
    /// wants it now, and nothing that is listed was published later. Nobody drops later than now: such a drop could
    /// never be taken back.
    ///
    /// # Errors
    /// `not_found` when no `id` is given and the name stands for nothing.
    pub(crate) fn drop_file(
        &mut self,
        file: &FileName,
        id: Option<FileId>,
        at: Option<Millis>,
        now: Millis,
    ) -> Result<Dropped> {
        let number = self.number(file);
        let entry = number.map(|number| &self.files[&number]);
        let Some(id) = id.or(entry.map(|entry| entry.manifest.id())) else { return Err(not_found(file)) };
        let number = number.filter(|_| entry.is_some_and(|entry| entry.manifest.id() == id));
        let published = number.map_or(0, |number| self.files[&number].published);
        let at = at.map_or(now, |at| at.min(now));
        if published > at {
            return Ok(Dropped { id, at, listed: false, news: false });
        }
        let news = self.drops.remember(file, id, at);
        let listed = number.is_some_and(|number| self.strike(number));
        Ok(Dropped { id, at, listed, news: news || listed })
    }

    /// Whether there is a file of this name, and of these bytes if it is said which.
    pub(crate) fn lists(&self, file: &FileName, id: Option<FileId>) -> bool {
        self.named(file).is_some_and(|entry| id.is_none_or(|id| entry.manifest.id() == id))
    }

    /// When these bytes under this name were dropped, if they were.
    pub(crate) fn when_dropped(&self, file: &FileName, id: FileId) -> Option<Millis> {
        self.drops.when(file, id)
    }

    /// Takes a file off the list, whoever has it; false when it was not there.
    fn strike(&mut self, number: FileNumber) -> bool {
        let Some(entry) = self.unlist(number) else { return false };
        for (peer, whole) in entry.holders() {
            if let Some(holdings) = self.peers.get_mut(&peer) {
                holdings.files.remove(&number);
                holdings.print.toggle(entry.manifest.name(), entry.manifest.id(), whole);
            }
        }
        self.touched.insert(number);
        true
    }

    fn list(&mut self, entry: Entry) -> FileNumber {
        let number = self.next;
        self.next += 1;
        self.hashes += entry.manifest.hashes().len() as u64;
        self.names.insert(entry.manifest.name().clone(), number);
        self.files.insert(number, entry);
        number
    }

    fn unlist(&mut self, number: FileNumber) -> Option<Entry> {
        let entry = self.files.remove(&number)?;
        self.hashes -= entry.manifest.hashes().len() as u64;
        self.names.remove(entry.manifest.name());
        Some(entry)
    }

    /// The number of a file.
    pub(crate) fn number(&self, file: &FileName) -> Option<FileNumber> {
        self.names.get(file).copied()
    }

    /// The file with this number.
    pub(crate) fn entry(&self, number: FileNumber) -> Option<&Entry> {
        self.files.get(&number)
    }

    fn named(&self, file: &FileName) -> Option<&Entry> {
        self.entry(self.number(file)?)
    }

    /// The files from this number on, in order of their numbers.
    pub(crate) fn entries_from(&self, number: FileNumber) -> impl Iterator<Item = (FileNumber, &Entry)> {
        self.files.range(number..).map(|(&number, entry)| (number, entry))
    }

    /// How many files this peer has, whole or in part.
    pub(crate) fn held_by(&self, peer: PeerId) -> usize {
        self.peers.get(&peer).map_or(0, |holdings| holdings.files.len())
    }

    /// Counts all files of this peer as touched: it can be reached, after all.
    pub(crate) fn touch_files_of(&mut self, peer: PeerId) {
        if let Some(holdings) = self.peers.get(&peer) {
            self.touched.extend(&holdings.files);
        }
    }

    /// Whether a file was touched since [`Catalogue::take_touched`] was last called.
    pub(crate) fn is_touched(&self) -> bool {
        !self.touched.is_empty()
    }

    /// Which files are new, or gone, or have other holders, since this was last called.
    pub(crate) fn take_touched(&mut self) -> BTreeSet<FileNumber> {
        std::mem::take(&mut self.touched)
    }

    fn room_for(&self, manifest: &Manifest) -> Result<()> {
        let hashes = self.hashes + manifest.hashes().len() as u64;
        if self.files.len() >= limits::FILES || hashes > limits::ALL_HASHES {
            return Err(Error::new(
                Code::Busy,
                format!("the manager lists {} files already", self.files.len()),
            )
            .advise("share several small files as one archive"));
        }
        Ok(())
    }

    /// A peer says what its list comes to; true when it is to send its files again. An `update` may be on its
    /// way while the peer speaks, so a difference must be seen twice, unchanged, to count.
    pub(crate) fn differs(&mut self, peer: PeerId, claim: Fingerprint) -> bool {
        let holdings = self.peers.entry(peer).or_default();
        if claim == holdings.print {
            holdings.claimed = None;
            return false;
        }
        let seen = holdings.claimed.replace((claim, holdings.print));
        let again = seen == Some((claim, holdings.print));
        if again {
            holdings.claimed = None;
            // Parts that it is really fetching, it tells again; those that it gave up, it does not.
            let files: Vec<FileNumber> = holdings.files.iter().copied().collect();
            for number in files {
                if self.files.get(&number).is_some_and(|entry| entry.holders.get(&peer) == Some(&false)) {
                    self.take_off(peer, number);
                }
            }
        }
        again
    }

    /// All files in order of their names.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (FileNumber, &Entry)> {
        self.names.values().filter_map(|&number| Some((number, self.files.get(&number)?)))
    }
}

impl Entry {
    /// The file as others see it.
    pub(crate) fn state(&self, roster: &Roster) -> FileState {
        FileState {
            file: self.manifest.name().clone(),
            id: self.manifest.id(),
            size: self.manifest.layout().size(),
            piece_size: self.manifest.layout().piece_size().into(),
            holders: cards(self.holders(), roster),
            health: None,
        }
    }
}

/// Holders as others see them.
pub(crate) fn cards(holders: impl IntoIterator<Item = (PeerId, bool)>, roster: &Roster) -> Vec<Holder> {
    let card = |(peer, whole)| {
        let row = roster.get(peer)?;
        Some(Holder { peer, name: row.is.name.clone(), addr: row.is.addr, whole })
    };
    holders.into_iter().filter_map(card).collect()
}

/// Somebody else has other bytes under that name.
fn conflict(entry: &Entry, roster: &Roster) -> Error {
    let names: Vec<String> = entry.holders.keys().take(NAMED).map(|&peer| roster.name(peer)).collect();
    let more = if entry.holders.len() > NAMED { " and others" } else { "" };
    Error::new(
        Code::Conflict,
        format!("{} with other content is held by {}{more}", entry.manifest.name(), names.join(", ")),
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
