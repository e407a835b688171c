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
//!   marker: then it is another folder, perhaps the empty place where a disk should be mounted.
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

use crate::share::store::Stamp;
use crate::share::{FileId, FileName};

/// How many files must vanish at once to look like a mistake.
const MANY: usize = 3;

/// What one look has shown.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Look {
    /// Files to read: new ones, and changed ones, on which two looks agree.
    pub read: Vec<FileName>,
    /// Files that were offered and are gone.
    pub vanished: Vec<FileName>,
    /// Whether there are files on which another look must agree.
    pub unsettled: bool,
    /// Whether so many are gone that nobody should be told.
    pub disaster: bool,
}

/// What is remembered from one look to the next.
#[derive(Debug, Default)]
pub struct Watch {
    looked: bool,
    /// Files that are not offered, as they were at the last look.
    seen: BTreeMap<FileName, Stamp>,
    /// Files that could not be read, or are not to be: they are let be until they change.
    let_be: BTreeMap<FileName, Stamp>,
}

impl Watch {
    /// Judges what lies in the folder, in the order of names. `is_known` says whether a file is offered and was hashed
    /// when it had this stamp; `offered` are the whole files that are offered from the folder.
    pub fn look(
        &mut self,
        there: &[(FileName, Stamp)],
        offered: &[(FileName, FileId)],
        is_known: impl Fn(&FileName, &Stamp) -> bool,
    ) -> Look {
        let mut look = Look::default();
        let gone = |name: &&FileName| there.binary_search_by(|(other, _)| other.cmp(name)).is_err();
        look.vanished = offered.iter().map(|(name, _)| name).filter(gone).cloned().collect();
        look.disaster = look.vanished.len() >= MANY && look.vanished.len() * 2 > offered.len();
        let mut seen = BTreeMap::new();
        for (name, stamp) in there {
            if is_known(name, stamp) || self.let_be.get(name) == Some(stamp) {
                continue;
            }
            if self.looked && self.seen.get(name) != Some(stamp) {
                look.unsettled = true;
            } else {
                look.read.push(name.clone());
            }
            seen.insert(name.clone(), *stamp);
        }
        self.seen = seen;
        self.looked = true;
        self.let_be.retain(|name, _| there.binary_search_by(|(other, _)| other.cmp(name)).is_ok());
        look
    }

    /// A file that the last look gave to be read is let be until it changes.
    pub fn let_be(&mut self, name: &FileName) {
        if let Some(stamp) = self.seen.remove(name) {
            self.let_be_as(name, stamp);
        }
    }

    /// A file is let be as long as it has this stamp.
    pub fn let_be_as(&mut self, name: &FileName, stamp: Stamp) {
        self.let_be.insert(name.clone(), stamp);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> FileName {
        name.parse().unwrap()
    }

    fn names(list: &[&str]) -> Vec<FileName> {
        list.iter().map(|one| name(one)).collect()
    }

    fn whole(list: &[&str]) -> Vec<(FileName, FileId)> {
        list.iter().map(|one| (name(one), FileId::from([0; 32]))).collect()
    }

    fn there(list: &[(&str, u64)]) -> Vec<(FileName, Stamp)> {
        let stamp = |size| Stamp { size, ..Stamp::default() };
        list.iter().map(|(one, size)| (name(one), stamp(*size))).collect()
    }

    fn nothing(_: &FileName, _: &Stamp) -> bool {
        false
    }

    #[test]
    fn the_first_look_reads_what_is_there_and_later_two_must_agree() {
        let mut watch = Watch::default();
        let known = |one: &FileName, _: &Stamp| one.as_str() == "a";
        assert_eq!(watch.look(&there(&[("a", 1)]), &[], nothing).read, names(&["a"]));
        let offered = whole(&["a"]);
        let grows = watch.look(&there(&[("a", 1), ("b", 1)]), &offered, known);
        assert_eq!((grows.read, grows.unsettled), (vec![], true));
        let grows = watch.look(&there(&[("a", 1), ("b", 2)]), &offered, known);
        assert_eq!((grows.read, grows.unsettled), (vec![], true));
        let done = watch.look(&there(&[("a", 1), ("b", 2)]), &offered, known);
        assert_eq!((done.read, done.unsettled), (names(&["b"]), false));
    }

    #[test]
    fn an_edited_file_is_read_again_when_two_looks_agree() {
        let mut watch = Watch::default();
        let known = |_: &FileName, stamp: &Stamp| stamp.size == 1;
        let offered = whole(&["a"]);
        assert_eq!(watch.look(&there(&[("a", 1)]), &offered, known), Look::default());
        assert!(watch.look(&there(&[("a", 2)]), &offered, known).unsettled);
        assert_eq!(watch.look(&there(&[("a", 2)]), &offered, known).read, names(&["a"]));
    }

    #[test]
    fn what_could_not_be_read_is_let_be_until_it_changes() {
        let mut watch = Watch::default();
        assert_eq!(watch.look(&there(&[("a", 1)]), &[], nothing).read, names(&["a"]));
        watch.let_be(&name("a"));
        assert_eq!(watch.look(&there(&[("a", 1)]), &[], nothing), Look::default());
        assert!(watch.look(&there(&[("a", 2)]), &[], nothing).unsettled);
        assert_eq!(watch.look(&there(&[("a", 2)]), &[], nothing).read, names(&["a"]));
    }

    #[test]
    fn what_was_offered_and_is_not_to_be_any_more_is_let_be_until_it_changes() {
        let mut watch = Watch::default();
        let first = there(&[("a", 1)]);
        assert_eq!(watch.look(&first, &whole(&["a"]), |_, _| true), Look::default());
        watch.let_be_as(&name("a"), first[0].1);
        assert_eq!(watch.look(&first, &[], nothing), Look::default());
        assert!(watch.look(&there(&[("a", 2)]), &[], nothing).unsettled);
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
            assert_eq!(look.disaster, disaster, "{offered} offered, {} left", left.len());
        }
    }
}
