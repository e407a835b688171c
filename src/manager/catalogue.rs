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
use crate::error::{Code, Error, Result};
use crate::net::fingerprint::Fingerprint;
use crate::net::limits;
use crate::net::message::{FileState, Holder, PeerId};
use crate::share::{FileName, Manifest};

/// How many holders a `conflict` names.
const NAMED: usize = 3;

/// What an update changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The file was not there before.
    New,
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
pub struct Found {
    /// The file's manifest and its holders but the asker, if there is such a file and anybody else has it.
    pub file: Option<(Manifest, Vec<(PeerId, bool)>)>,
    /// The asker was listed as a whole holder, and is no more.
    pub lost: bool,
}

#[derive(Debug)]
struct Entry {
    manifest: Manifest,
    /// Who has it, and whether all of it.
    holders: BTreeMap<PeerId, bool>,
}

/// What one peer holds.
#[derive(Debug, Default)]
struct Holdings {
    files: BTreeSet<FileName>,
    print: Fingerprint,
    /// The last fingerprint that it sent, where that was another than `print`.
    claimed: Option<(Fingerprint, Fingerprint)>,
}

/// Which files there are.
#[derive(Debug, Default)]
pub struct Catalogue {
    files: BTreeMap<FileName, Entry>,
    peers: HashMap<PeerId, Holdings>,
    hashes: u64,
}

impl Catalogue {
    /// How many files there are.
    pub fn len(&self) -> usize {
        self.files.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    // lab 4: begin
    /// A peer has a file, whole or in part.
    ///
    /// # Errors
    /// `conflict` when the name stands for another content; `busy` when the catalogue is full.
    pub fn update(
        &mut self,
        peer: PeerId,
        manifest: &Manifest,
        whole: bool,
        roster: &Roster,
    ) -> Result<Change> {
        let (file, id) = (manifest.name(), manifest.id());
        let change = match self.files.get_mut(file) {
            Some(entry) if entry.manifest.id() != id => return Err(conflict(entry, roster)),
            Some(entry) => match (entry.holders.insert(peer, whole), whole) {
                (None, _) => Change::Joined,
                (Some(false), true) => Change::Completed,
                (Some(true), false) => Change::Reduced,
                _ => return Ok(Change::Nothing),
            },
            None => {
                self.room_for(manifest)?;
                self.hashes += manifest.hashes().len() as u64;
                let entry = Entry { manifest: manifest.clone(), holders: [(peer, whole)].into() };
                self.files.insert(file.clone(), entry);
                Change::New
            }
        };
        let holdings = self.peers.entry(peer).or_default();
        match change {
            Change::Completed | Change::Reduced => holdings.print.toggle(file, id, !whole),
            _ => drop(holdings.files.insert(file.clone())),
        }
        holdings.print.toggle(file, id, whole);
        Ok(change)
    }

    /// Who has this file? A whole holder that asks has lost it.
    pub fn query(&mut self, asker: PeerId, file: &FileName) -> Found {
        let lost = self.files.get(file).is_some_and(|entry| entry.holders.get(&asker) == Some(&true));
        if lost {
            self.take_off(asker, file);
        }
        let Some(entry) = self.files.get(file) else { return Found { file: None, lost } };
        let others = entry.holders.iter().filter(|(peer, _)| **peer != asker);
        let holders: Vec<_> = others.map(|(&peer, &whole)| (peer, whole)).collect();
        Found { file: (!holders.is_empty()).then(|| (entry.manifest.clone(), holders)), lost }
    }

    /// A peer is gone; gives the files that are gone with it.
    pub fn leave(&mut self, peer: PeerId) -> Vec<FileName> {
        let Some(holdings) = self.peers.remove(&peer) else { return Vec::new() };
        holdings.files.into_iter().filter(|file| self.take_off(peer, file)).collect()
    }

    /// Takes a peer off a file; true when the file is gone with it.
    fn take_off(&mut self, peer: PeerId, file: &FileName) -> bool {
        let Some(entry) = self.files.get_mut(file) else { return false };
        let Some(whole) = entry.holders.remove(&peer) else { return false };
        if let Some(holdings) = self.peers.get_mut(&peer) {
            holdings.files.remove(file);
            holdings.print.toggle(file, entry.manifest.id(), whole);
        }
        let gone = entry.holders.is_empty();
        if gone {
            self.hashes -= entry.manifest.hashes().len() as u64;
            self.files.remove(file);
        }
        gone
    }
    // lab 4: end

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
    pub fn differs(&mut self, peer: PeerId, claim: Fingerprint) -> bool {
        let holdings = self.peers.entry(peer).or_default();
        if claim == holdings.print {
            holdings.claimed = None;
            return false;
        }
        let seen = holdings.claimed.replace((claim, holdings.print));
        let again = seen == Some((claim, holdings.print));
        if again {
            holdings.claimed = None;
        }
        again
    }

    /// All files with their holders, in order of their names.
    pub fn states(&self, roster: &Roster) -> impl Iterator<Item = FileState> {
        self.files.values().map(|entry| FileState {
            file: entry.manifest.name().clone(),
            id: entry.manifest.id(),
            size: entry.manifest.layout().size(),
            piece_size: entry.manifest.layout().piece_size().into(),
            holders: cards(entry.holders.iter().map(|(&peer, &whole)| (peer, whole)), roster),
        })
    }
}

/// Holders as others see them.
pub fn cards(holders: impl IntoIterator<Item = (PeerId, bool)>, roster: &Roster) -> Vec<Holder> {
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

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::super::roster::Candidate;
    use super::*;
    use crate::share::Layout;

    const ADA: PeerId = 1;
    const BEN: PeerId = 2;
    const CYD: PeerId = 3;

    fn roster() -> Roster {
        let mut roster = Roster::default();
        for (id, name) in [(ADA, "ada"), (BEN, "ben"), (CYD, "cyd")] {
            let addr = ([127, 0, 0, 1], 7000 + id as u16).into();
            roster.admit(id, Candidate { name: name.parse().unwrap(), addr, slots: 0, keeps: true }, 0);
        }
        roster
    }

    fn file(name: &str, bytes: &[u8]) -> Manifest {
        Manifest::read(name.parse().unwrap(), Layout::of(bytes.len() as u64).unwrap(), bytes).unwrap()
    }

    fn holders(catalogue: &mut Catalogue, asker: PeerId, name: &str) -> Option<Vec<(PeerId, bool)>> {
        catalogue.query(asker, &name.parse().unwrap()).file.map(|(_, holders)| holders)
    }

    #[test]
    fn the_example_of_the_lecture() {
        let (roster, notes) = (roster(), file("notes.pdf", b"x"));
        let mut catalogue = Catalogue::default();
        assert_eq!(catalogue.update(ADA, &notes, true, &roster).unwrap(), Change::New);
        assert_eq!(holders(&mut catalogue, BEN, "notes.pdf").unwrap(), [(ADA, true)]);
        assert_eq!(catalogue.update(BEN, &notes, false, &roster).unwrap(), Change::Joined);
        assert_eq!(holders(&mut catalogue, BEN, "notes.pdf").unwrap(), [(ADA, true)], "he is no loser");
        assert_eq!(catalogue.update(BEN, &notes, true, &roster).unwrap(), Change::Completed);
        assert_eq!(catalogue.update(BEN, &notes, true, &roster).unwrap(), Change::Nothing);
        assert_eq!(holders(&mut catalogue, CYD, "notes.pdf").unwrap(), [(ADA, true), (BEN, true)]);
        assert!(catalogue.query(ADA, notes.name()).lost);
        assert_eq!(holders(&mut catalogue, CYD, "notes.pdf").unwrap(), [(BEN, true)]);
        assert!(!catalogue.query(ADA, notes.name()).lost, "she has lost it already");
    }

    #[test]
    fn an_unknown_file_and_one_that_only_the_asker_had_are_not_found() {
        let (roster, notes) = (roster(), file("notes.pdf", b"x"));
        let mut catalogue = Catalogue::default();
        assert_eq!(holders(&mut catalogue, BEN, "notes.pdf"), None);
        catalogue.update(ADA, &notes, true, &roster).unwrap();
        assert_eq!(holders(&mut catalogue, ADA, "notes.pdf"), None);
        assert!(catalogue.is_empty(), "a file without holders is gone");
    }

    #[test]
    fn another_content_under_the_same_name_is_a_conflict_that_names_the_holders() {
        let roster = roster();
        let mut catalogue = Catalogue::default();
        catalogue.update(ADA, &file("a", b"one"), true, &roster).unwrap();
        catalogue.update(BEN, &file("a", b"one"), false, &roster).unwrap();
        let no = catalogue.update(CYD, &file("a", b"two"), true, &roster).unwrap_err();
        assert_eq!(no.code(), Code::Conflict);
        assert!(no.to_string().contains("held by ada, ben;"), "{no}");
        catalogue.leave(ADA);
        assert_eq!(catalogue.leave(BEN), ["a".parse().unwrap()]);
        assert_eq!(catalogue.update(CYD, &file("a", b"two"), true, &roster).unwrap(), Change::New);
    }

    #[test]
    fn a_difference_counts_when_it_is_seen_twice_unchanged() {
        let roster = roster();
        let mut catalogue = Catalogue::default();
        let mut print = Fingerprint::default();
        assert!(!catalogue.differs(ADA, print));
        let a = file("a", b"one");
        print.toggle(a.name(), a.id(), true);
        assert!(!catalogue.differs(ADA, print), "its update may be on the way");
        assert!(catalogue.differs(ADA, print));
        assert!(!catalogue.differs(ADA, print), "it was asked just now");
        catalogue.update(ADA, &a, true, &roster).unwrap();
        assert!(!catalogue.differs(ADA, print));
    }

    proptest! {
        /// Against the plainest model there is: a map from file to holders.
        #[test]
        fn it_is_a_map_of_files_to_holders(
            acts in prop::collection::vec((0..4_u8, 1..4_u64, 0..4_u8, any::<bool>()), 0..60)
        ) {
            let roster = roster();
            let mut catalogue = Catalogue::default();
            // name -> (content, holders)
            let mut model: BTreeMap<String, (u8, BTreeMap<PeerId, bool>)> = BTreeMap::new();
            for (act, peer, what, whole) in acts {
                let (name, content) = (format!("f{}", what / 2), what % 2);
                match act {
                    0 | 1 => {
                        let entry = model.entry(name.clone()).or_insert((content, BTreeMap::new()));
                        let fits = entry.0 == content;
                        if fits {
                            entry.1.insert(peer, whole);
                        }
                        let done = catalogue.update(peer, &file(&name, &[content]), whole, &roster);
                        prop_assert_eq!(done.is_ok(), fits);
                    }
                    2 => {
                        let lost = model.get_mut(&name).is_some_and(|(_, holders)| {
                            holders.get(&peer) == Some(&true) && holders.remove(&peer).is_some()
                        });
                        prop_assert_eq!(catalogue.query(peer, &name.parse().unwrap()).lost, lost);
                    }
                    _ => {
                        for (_, holders) in model.values_mut() {
                            holders.remove(&peer);
                        }
                        catalogue.leave(peer);
                    }
                }
                model.retain(|_, (_, holders)| !holders.is_empty());
            }
            let listed: Vec<_> = catalogue.states(&roster).map(|state| {
                let holders = state.holders.iter().map(|holder| (holder.peer, holder.whole)).collect();
                (state.file.to_string(), holders)
            }).collect();
            let expected: Vec<(String, BTreeMap<PeerId, bool>)> =
                model.iter().map(|(name, (_, holders))| (name.clone(), holders.clone())).collect();
            prop_assert_eq!(listed, expected);
            let hashes: u64 = model.len() as u64 * 32;
            prop_assert_eq!(catalogue.hashes, hashes);
            for peer in [ADA, BEN, CYD] {
                let mut print = Fingerprint::default();
                let mut held = BTreeSet::new();
                for (name, (content, holders)) in &model {
                    let Some(whole) = holders.get(&peer) else { continue };
                    let file = file(name, &[*content]);
                    print.toggle(file.name(), file.id(), *whole);
                    held.insert(file.name().clone());
                }
                let holdings = catalogue.peers.remove(&peer).unwrap_or_default();
                prop_assert_eq!((holdings.print, holdings.files), (print, held));
            }
        }
    }
}
