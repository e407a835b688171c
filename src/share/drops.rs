//! What was dropped, and when: so that it does not come back by itself.
//!
//! # The problem
//! Replication and removal contradict each other. To one who sees a file missing in one folder and lying in
//! another, "it was lost here, fetch it" and "it was removed here, remove it there" look the same. And a peer
//! that was away when a file was dropped still has it, offers it on its return, and would bring it back to all.
//!
//! # The rule
//! A drop leaves a *tombstone*: name, id and time. Under a tombstone the file is not listed again, unless
//! somebody put it there **later** than it was dropped: of a publication and a drop the later wins. Name *and* id,
//! since the id says nothing of the name: dropping `draft` must not drop `final` with the same bytes, nor the
//! next `draft` with others.
//!
//! # An example
//! At 10 ada drops `notes`. At 11 ben comes back; his `notes` is from 5: refused. At 12 cyd copies the same bytes
//! into her folder under the same name: that is later than 10, so she wants it, and the tombstone is taken away.
//!
//! All of this is plain state: no socket, no thread, no clock.
//!
//! # What is missing
//! The times come from the clocks of several machines. Where they differ by a minute, whoever puts a file back
//! within a minute of its drop may lose to it, and must `add` it once more. Only so many tombstones are kept, so that
//! whoever drops without end fills nobody's memory; a peer that comes back after the oldest were thrown away brings
//! its file back.

use std::collections::{BTreeMap, BTreeSet};

use super::{FileId, FileName};
use crate::clock::Millis;

/// Which files were dropped, and when.
#[derive(Debug)]
pub struct Drops {
    when: BTreeMap<(FileName, FileId), Millis>,
    /// The same, oldest first.
    ages: BTreeSet<(Millis, FileName, FileId)>,
    room: usize,
}

impl Drops {
    /// Room for so many tombstones; when there are more, the oldest go.
    pub fn new(room: usize) -> Self {
        Self { when: BTreeMap::new(), ages: BTreeSet::new(), room }
    }

    /// When these bytes under this name were dropped, if they were.
    pub fn when(&self, file: &FileName, id: FileId) -> Option<Millis> {
        self.when.get(&(file.clone(), id)).copied()
    }

    /// These bytes under this name were dropped; false when that was known already, or there is no room for one that
    /// is older than all others: else it would be news each time it is told.
    pub fn remember(&mut self, file: &FileName, id: FileId, at: Millis) -> bool {
        if self.when(file, id).is_some_and(|known| known >= at) {
            return false;
        }
        self.forget(file, id);
        self.when.insert((file.clone(), id), at);
        self.ages.insert((at, file.clone(), id));
        if self.ages.len() > self.room
            && let Some((_, oldest, its)) = self.ages.pop_first()
        {
            let kept = (&oldest, its) != (file, id);
            self.when.remove(&(oldest, its));
            return kept;
        }
        true
    }

    /// They were put there again on purpose; says when they had been dropped, if that was known.
    pub fn forget(&mut self, file: &FileName, id: FileId) -> Option<Millis> {
        let at = self.when.remove(&(file.clone(), id))?;
        self.ages.remove(&(at, file.clone(), id));
        Some(at)
    }

    /// All of them, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = &(Millis, FileName, FileId)> {
        self.ages.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(name: &str) -> FileName {
        name.parse().unwrap()
    }

    #[test]
    fn the_latest_drop_counts_and_the_name_is_part_of_it() {
        let (id, other) = (FileId::from([1; 32]), FileId::from([2; 32]));
        let mut drops = Drops::new(9);
        assert!(drops.remember(&name("a"), id, 10));
        assert!(!drops.remember(&name("a"), id, 10), "known");
        assert!(!drops.remember(&name("a"), id, 9), "an older one");
        assert!(drops.remember(&name("a"), id, 11));
        assert_eq!(drops.when(&name("a"), id), Some(11));
        assert_eq!(drops.when(&name("a"), other), None);
        assert_eq!(drops.when(&name("b"), id), None, "the same bytes under another name");
        assert_eq!(drops.forget(&name("a"), id), Some(11));
        assert_eq!((drops.forget(&name("a"), id), drops.when(&name("a"), id)), (None, None));
        assert!(drops.ages.is_empty());
    }

    #[test]
    fn when_there_are_too_many_the_oldest_go() {
        let mut drops = Drops::new(3);
        for (at, file) in [(5, "e"), (1, "a"), (4, "d"), (2, "b"), (3, "c")] {
            drops.remember(&name(file), FileId::from([0; 32]), at);
        }
        let left: Vec<_> = drops.iter().map(|(_, file, _)| file.as_str()).collect();
        assert_eq!(left, ["c", "d", "e"]);
        assert_eq!(drops.when.len(), 3);
        for _ in 0..2 {
            assert!(!drops.remember(&name("b"), FileId::from([0; 32]), 2), "no room, so no news");
        }
        assert!(drops.remember(&name("b"), FileId::from([0; 32]), 6), "the oldest goes for it");
        assert_eq!((drops.when.len(), drops.ages.len()), (3, 3));
    }
}
