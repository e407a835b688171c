//! What a look into the shared folder means: the thinking part of the watcher.
//!
//! # The problem
//! People put files into the folder, edit them and delete them, with programs that write a little at a time. A look
//! shows names and stamps, nothing more. Which files are new, and are they all there? Which are gone, and did
//! somebody delete them, or was the disk unplugged?
//!
//! # The rules
//! - **What is known and unchanged costs a stat.** Its stamp is that under which it was hashed.
//! - **Two looks must agree on a new file**, or a changed one, before it is read: one that grows is left alone. Only
//!   what lies there at the first look is read at once. The second look comes after half the time.
//! - **What was offered and is not there any more has vanished.** The manager is told, and it heals.
//! - **A disaster is not a wish.** When more than half of the files, and at least three, have vanished at once,
//!   nobody is told: it looks like a mistake, and telling would not help. The same where the folder has lost its
//!   marker: then it is another folder, perhaps the empty place where a disk should be mounted. **A rename is no
//!   loss**: a vanished name does not count where a new one has the same bytes, one new name for each.
//!
//! # An example
//! Every 5 s. At 0 s `a` is there: read and offered. At 5 s `b` is there, too, with 1 MB. At 7.5 s it has 2 MB, at 10 s
//! still 2 MB: read and offered. At 15 s `a` is gone: one of two, told.
//!
//! # What is missing
//! A program that pauses for longer than the time between two looks while it writes is taken for done; what it
//! writes later is an edit. What was deleted while the peer was not running is not missed: it starts with what is
//! there.

use std::collections::BTreeMap;

use super::decide::{OnDisk, PATIENT_LOOKS};
use crate::error::Code;
use crate::share::store::Stamp;
use crate::share::{FileId, FileName};

/// How many files must vanish at once to look like a mistake.
const MANY: usize = 3;

/// How many looks must have seen the same of a conflict copy until it is believed that nobody goes on writing to it: a
/// minute at the usual pace, since each comes after half the time while it is not settled.
const STILL: u32 = 24;

/// How a name came to be settled: by itself, or by a look.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Sight {
    /// By a look at the whole folder.
    pub(super) whole_look: bool,
    /// In how many looks in a row its file was seen to change.
    pub(super) changing: u32,
    /// How it was seen when looks agreed on it: what is read must look so, too.
    pub(super) agreed: Option<Stamp>,
}

impl Sight {
    /// Whether a file that was read, and looked like this, is what looks agreed on.
    pub(super) fn agrees(self, stamp: Stamp) -> bool {
        self.agreed.is_none_or(|agreed| agreed == stamp)
    }

    /// What lies there, if this came of reading it.
    pub(super) fn of(self, read: Result<FileId, Code>) -> OnDisk {
        match read {
            Ok(id) => OnDisk::Bytes(id),
            Err(Code::Busy) => OnDisk::Changing { looks: self.changing },
            Err(Code::NotFound) => OnDisk::Nothing { whole_look: self.whole_look },
            Err(_) => OnDisk::Unreadable,
        }
    }
}

/// What one look has shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Look {
    /// Files to read: new ones, and changed ones, on which two looks agree.
    pub(super) read: Vec<(FileName, Stamp)>,
    /// Files that are new or changed, on which another look must agree, with how many looks have disagreed in a row.
    pub(super) moving: Vec<(FileName, u32)>,
    /// Files that were offered and are gone.
    pub(super) vanished: Vec<FileName>,
}

impl Look {
    /// Whether so many of `offered` files are lost that nobody should be told; `found` of the vanished are not.
    pub(super) fn is_disaster(&self, offered: usize, found: usize) -> bool {
        let lost = self.vanished.len() - found;
        lost >= MANY && lost * 2 > offered
    }

    /// What is to be settled now: what has vanished, what has been changing for long, and what is to be read.
    pub(super) fn sights(self) -> impl Iterator<Item = (FileName, Sight)> {
        let sight = Sight { whole_look: true, ..Sight::default() };
        let vanished = self.vanished.into_iter().map(move |file| (file, sight));
        let moving = self.moving.into_iter().filter(|(_, looks)| *looks >= PATIENT_LOOKS);
        let moving = moving.map(move |(file, changing)| (file, Sight { changing, ..sight }));
        let read =
            self.read.into_iter().map(move |(file, seen)| (file, Sight { agreed: Some(seen), ..sight }));
        vanished.chain(moving).chain(read)
    }

    /// The names of what is new or changed.
    pub(super) fn changed(&self) -> impl Iterator<Item = &FileName> {
        self.read.iter().map(|(name, _)| name).chain(self.moving.iter().map(|(name, _)| name))
    }

    /// How many of the `offered` files that have vanished are among the bytes that are `new`. Each new file is at most
    /// one of them.
    pub(super) fn found_again(&self, offered: &[(FileName, FileId)], mut new: Vec<FileId>) -> usize {
        let mut take = |id: &FileId| new.iter().position(|there| there == id).map(|at| new.swap_remove(at));
        offered.iter().filter(|(name, id)| self.vanished.contains(name) && take(id).is_some()).count()
    }
}

/// A file as the last looks saw it.
#[derive(Clone, Copy, Debug)]
struct Sighting {
    stamp: Stamp,
    /// How many looks in a row saw the same, and how many saw another than the one before.
    same: u32,
    moved: u32,
}

/// What is remembered from one look to the next.
#[derive(Default)]
pub(super) struct Watch {
    looked: bool,
    seen: BTreeMap<FileName, Sighting>,
}

impl Watch {
    /// Judges what lies in the folder, in the order of names. `is_known` says whether nothing is to be done about a
    /// file that has this stamp; `offered` are the whole files that are offered from the folder.
    pub(super) fn look(
        &mut self,
        there: &[(FileName, Stamp)],
        offered: &[(FileName, FileId)],
        is_known: impl Fn(&FileName, &Stamp) -> bool,
    ) -> Look {
        let mut look = Look::default();
        let before = std::mem::take(&mut self.seen);
        let gone = |name: &&FileName| there.binary_search_by(|(other, _)| other.cmp(name)).is_err();
        look.vanished = offered.iter().map(|(name, _)| name).filter(gone).cloned().collect();
        for (name, stamp) in there {
            let seen = match before.get(name) {
                Some(seen) if seen.stamp == *stamp => Sighting { same: seen.same + 1, moved: 0, ..*seen },
                Some(seen) => Sighting { stamp: *stamp, same: 1, moved: seen.moved + 1 },
                None => Sighting { stamp: *stamp, same: 1, moved: self.looked.into() },
            };
            self.seen.insert(name.clone(), seen);
            if is_known(name, stamp) {
                continue;
            }
            if self.looked && seen.same == 1 {
                look.moving.push((name.clone(), seen.moved));
            } else {
                look.read.push((name.clone(), *stamp));
            }
        }
        self.looked = true;
        look
    }

    /// Whether the last looks have seen a file unchanged for so long that nobody seems to go on writing to it.
    pub(super) fn is_still(&self, name: &FileName) -> bool {
        self.seen.get(name).is_none_or(|seen| seen.same >= STILL)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> FileName {
        name.parse().unwrap()
    }

    fn whole(list: &[&str]) -> Vec<(FileName, FileId)> {
        list.iter().map(|one| (name(one), FileId::from([0; 32]))).collect()
    }

    fn there(list: &[(&str, u64)]) -> Vec<(FileName, Stamp)> {
        list.iter().map(|(one, size)| (name(one), Stamp { size: *size, ..Stamp::default() })).collect()
    }

    fn nothing(_: &FileName, _: &Stamp) -> bool {
        false
    }

    #[test]
    fn the_first_look_reads_what_is_there_and_later_two_must_agree() {
        let mut watch = Watch::default();
        let known = |one: &FileName, _: &Stamp| one.as_str() == "a";
        assert_eq!(watch.look(&there(&[("a", 1)]), &[], nothing).read, there(&[("a", 1)]));
        let offered = whole(&["a"]);
        let grows = watch.look(&there(&[("a", 1), ("b", 1)]), &offered, known);
        assert_eq!((grows.read, grows.moving), (vec![], vec![(name("b"), 1)]));
        let grows = watch.look(&there(&[("a", 1), ("b", 2)]), &offered, known);
        assert_eq!((grows.read, grows.moving), (vec![], vec![(name("b"), 2)]));
        let done = watch.look(&there(&[("a", 1), ("b", 2)]), &offered, known);
        assert_eq!((done.read, done.moving), (there(&[("b", 2)]), vec![]));
    }

    #[test]
    fn an_edited_file_is_read_again_when_two_looks_agree() {
        let mut watch = Watch::default();
        let known = |_: &FileName, stamp: &Stamp| stamp.size == 1;
        let offered = whole(&["a"]);
        assert_eq!(watch.look(&there(&[("a", 1)]), &offered, known), Look::default());
        assert_eq!(watch.look(&there(&[("a", 2)]), &offered, known).moving, [(name("a"), 1)]);
        assert_eq!(watch.look(&there(&[("a", 2)]), &offered, known).read, there(&[("a", 2)]));
    }

    #[test]
    fn a_file_is_still_when_so_many_looks_have_seen_the_same() {
        let mut watch = Watch::default();
        for look in 1..=STILL {
            watch.look(&there(&[("a", 1)]), &[], nothing);
            assert_eq!(watch.is_still(&name("a")), look == STILL);
        }
        watch.look(&there(&[("a", 2)]), &[], nothing);
        assert!(!watch.is_still(&name("a")));
    }

    #[test]
    fn one_new_file_is_one_of_those_that_vanished_and_not_all_that_had_its_bytes() {
        let offered = whole(&["a", "b", "c", "d"]);
        let look = Watch::default().look(&there(&[("new", 1)]), &offered, nothing);
        let [same, other] = [0, 1].map(|n| FileId::from([n; 32]));
        for (new, found) in
            [(vec![], 0), (vec![other], 0), (vec![same], 1), (vec![same, other, same], 2), (vec![same; 9], 4)]
        {
            assert_eq!(look.found_again(&offered, new), found);
        }
        assert!(look.is_disaster(4, 1), "three are lost");
    }

    #[test]
    fn more_than_half_and_at_least_three_is_a_disaster() {
        let all = ["a", "b", "c", "d", "e", "f"];
        for (offered, left, disaster) in
            [(2, 0, false), (3, 0, true), (4, 1, true), (6, 3, false), (6, 2, true)]
        {
            let left: Vec<_> = all[..left].iter().map(|one| (*one, 1)).collect();
            let look = Watch::default().look(&there(&left), &whole(&all[..offered]), |_, _| true);
            assert_eq!(look.vanished.len(), offered - left.len());
            assert_eq!(look.is_disaster(offered, 0), disaster, "{offered} offered, {} left", left.len());
            assert!(!look.is_disaster(offered, look.vanished.len()), "all were found again");
        }
    }
}
