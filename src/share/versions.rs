//! What was published and what was dropped, and which of the two counts: the later wins.
//!
//! # The problem
//! Replication and removal contradict each other. For a peer that sees a file missing in one folder and lying in
//! another, "it was lost here, fetch it" and "it was removed here, remove it there" look the same. And a peer
//! that was away when a file was dropped still has it, offers it on its return, and would bring it back to all.
//!
//! # The rule
//! There is one [`Mark`] for these bytes under this name: when they were last *published* (a person put them into a
//! folder) or *dropped* (a person removed them everywhere). Of two marks **the later wins**; at equal times the drop
//! wins. So marks can be told in any order, twice, and by anybody: all that hear the same marks agree. (The
//! literature calls this a set of elements in which the last writer wins, with a bias to removal.)
//!
//! - Name *and* id: the id says nothing of the name. Dropping `draft` must not drop `final` with the same bytes, nor
//!   the next `draft` with others.
//! - A drop leaves its mark behind, a *tombstone*; else nothing would stop an old copy. Tombstones are what a peer
//!   writes to its disk. **There is room for so many**, and the oldest go, so that a peer that drops without end does
//!   not fill the memory of others. Where there is no room for one that is older than all others, it is **no news**:
//!   else it would be news each time it is told. Of all drops those go first that are only a *rumour*
//!   ([`Versions::hear_say`]): nobody here has ever seen that file, so who tells invented ones pushes out no real one.
//!   Of one peer's rumours there may be as many as a peer remembers ([`SHARE`]), for an honest one has no more to tell:
//!   one that tells 100,000 invented ones pushes out its own, and takes little memory. Where all have told too many,
//!   those of the peer that told **most** go first. After a restart all drops are rumours. What two tell is counted to
//!   the one that told less.
//! - The mark of a publication needs little room. At the manager it lives as long as the file's row
//!   ([`Versions::forget`]). At a peer there is one for each name, the last ([`Versions::forget_others`]): also of a
//!   file that is gone here, because it may be there elsewhere and come back, and an older drop must not win then.
//! - To ask for one mark, or to change one, does not look at all of them.
//!
//! # An example
//! | at | what happens | mark of `notes` | news |
//! |---|---|---|---|
//! | 5 | ben puts `notes` into its folder | published 5 | yes |
//! | 10 | ada drops it, while ben is away | dropped 10 | yes |
//! | 11 | ben is back and tells of its `notes`, published 5 | dropped 10 | no: it is refused, and moves the file to its trash |
//! | 12 | cyd copies the same bytes into its folder | published 12 | yes: it is wanted, so it is back |
//! | 13 | dee is back and tells the drop that it remembers, of 10 | published 12 | no: nothing is removed |
//!
//! # Where such a record is kept
//! **The manager's catalogue**, with a row for each file that is listed. An update merges a publication, at 0 where
//! nobody said when; if that loses, [`Versions::dropped`] says when the file was dropped, and the update is
//! `expired`. It is asked before the row is made, so that a full catalogue can refuse. A file that is put back is one
//! whose mark was a drop before. A drop is merged in the same way, and the row goes unless [`Versions::published`]
//! still answers: then the publication is the later one. That is asked, and not whether the drop was news, because a
//! drop without room removes a file too. A row that goes for want of holders is forgotten.
//!
//! **The peer's library**, with a row for each name in its folder or on its way there. It merges what it reads from
//! its disk at the start, what it is told, and its own `drop`. A file that it finds is a publication at the time at
//! which it was put there; if that loses, it goes to the trash. A file that the manager lists although this peer
//! remembers its drop of 10, and has told it so, was put there since, at a time that nobody tells: the peer marks it as
//! published at 11, the first moment after the drop, and tells that time with the file. Else nobody would know when the
//! publisher has left and the manager is a new one, and any peer that still remembers the drop would be believed. A
//! drop of `t` that waits for its turn is *void* if by then [`Versions::published`] is later than `t`.
//!
//! All of this is plain state: no socket, no thread, no clock.
//!
//! # What is missing
//! The times come from the clocks of several machines. Where they differ by a minute, a file that is put back within
//! a minute of its drop may lose to it, and must be `add`ed once more. A peer that comes back after the oldest
//! tombstones were thrown away brings its file back. A peer that joins again and again has a new share of the rumours
//! each time; and of what it tells before others do, only half passes over to them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{FileId, FileName};
use crate::clock::Millis;

/// How many drops a peer remembers, some 200 bytes each; when there are more, the oldest go. So nobody has more of them
/// to tell.
pub const SHARE: usize = 10_000;

/// What somebody did with a file. The order matters: at equal times the second wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Act {
    /// Put it into a shared folder.
    Published,
    /// Removed it everywhere.
    Dropped,
}

/// The last that is known of these bytes under this name. Of two marks the greater one wins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Mark {
    /// When, in milliseconds since 1970.
    pub at: Millis,
    /// What.
    pub act: Act,
}

impl Mark {
    /// They were published then.
    pub fn published(at: Millis) -> Self {
        Self { at, act: Act::Published }
    }

    /// They were dropped then.
    pub fn dropped(at: Millis) -> Self {
        Self { at, act: Act::Dropped }
    }
}

/// How it is known that something was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Evidence {
    /// The one of this number tells it, of what was never seen here.
    Rumour(u64),
    /// It was seen here.
    Seen,
}

/// These bytes under this name: in memory once, however many lists name them.
type NamedBytes = Arc<(FileName, FileId)>;

/// The marks of all files.
#[derive(Debug, Default)]
pub struct Versions {
    marks: BTreeMap<NamedBytes, (Mark, Evidence)>,
    /// Those of them that are drops: rumours first, and of each source the oldest first.
    drops: BTreeMap<Evidence, BTreeSet<(Millis, NamedBytes)>>,
    /// How many rumours each has told that told some, so that the one that told most is found at once: the last.
    tellers: BTreeSet<(usize, Evidence)>,
    /// How many drops there are, and may be.
    count: usize,
    room: usize,
}

impl Versions {
    /// Room for so many drops; when there are more, the oldest go.
    pub fn new(room: usize) -> Self {
        Self { room, ..Self::default() }
    }

    /// Somebody says this of a file. True when it is news: it is later than what was known, and is remembered.
    ///
    /// ```
    /// use peerlab::share::versions::{Mark, Versions};
    /// let (notes, id) = ("notes".parse()?, [7; 32].into());
    /// let mut versions = Versions::new(1000);
    /// assert!(versions.merge(&notes, id, Mark::dropped(10)));
    /// assert!(!versions.merge(&notes, id, Mark::published(5)), "an old copy");
    /// assert_eq!(versions.dropped(&notes, id), Some(10));
    /// assert!(versions.merge(&notes, id, Mark::published(12)));
    /// # Ok::<(), peerlab::error::Error>(())
    /// ```
    pub fn merge(&mut self, file: &FileName, id: FileId, mark: Mark) -> bool {
        self.enter(file, id, mark, Evidence::Seen)
    }

    /// The `teller` says that bytes were dropped which were never seen here. True when it is remembered.
    pub fn hear_say(&mut self, file: &FileName, id: FileId, at: Millis, teller: u64) -> bool {
        self.enter(file, id, Mark::dropped(at), Evidence::Rumour(teller))
    }

    fn enter(&mut self, file: &FileName, id: FileId, mark: Mark, mut by: Evidence) -> bool {
        let key = (file.clone(), id);
        let (key, known) = match self.marks.get_key_value(&key) {
            Some((key, known)) => (Arc::clone(key), Some(*known)),
            None => (Arc::new(key), None),
        };
        if let Some((known, before)) = known {
            if known.act == Act::Dropped {
                by = self.better(by, before);
            }
            if known > mark || (known, before) == (mark, by) {
                return false;
            }
            if known.act == Act::Dropped {
                self.take(before, &(known.at, Arc::clone(&key)));
            }
        }
        self.marks.insert(Arc::clone(&key), (mark, by));
        if mark.act == Act::Published {
            return true;
        }
        let told = self.told(by);
        self.count += usize::from(self.drops.entry(by).or_default().insert((mark.at, Arc::clone(&key))));
        self.count_anew(by, told);
        let is_news = known.is_none_or(|(known, _)| known < mark);
        self.make_room(by).is_none_or(|gone| gone != key) && is_news
    }

    /// Of two ways in which a drop is known, that by which it is counted. What was seen once is no rumour any more; and
    /// one that tells much must not push out what others remember, whichever told it first or last.
    fn better(&self, one: Evidence, other: Evidence) -> Evidence {
        match one.max(other) {
            Evidence::Seen => Evidence::Seen,
            _ if self.told(one) < self.told(other) => one,
            _ => other,
        }
    }

    /// How many drops are known in this way.
    fn told(&self, by: Evidence) -> usize {
        self.drops.get(&by).map_or(0, BTreeSet::len)
    }

    fn take(&mut self, by: Evidence, drop: &(Millis, NamedBytes)) {
        let told = self.told(by);
        if let Some(drops) = self.drops.get_mut(&by) {
            self.count -= usize::from(drops.remove(drop));
            if drops.is_empty() {
                self.drops.remove(&by);
            }
        }
        self.count_anew(by, told);
    }

    /// One that had told so many rumours has told another number of them now.
    fn count_anew(&mut self, by: Evidence, before: usize) {
        self.tellers.remove(&(before, by));
        let told = self.told(by);
        if by != Evidence::Seen && told > 0 {
            self.tellers.insert((told, by));
        }
    }

    /// Where a drop that is known in this way is one too many, the oldest goes of the one that told too many rumours, or
    /// most, if there are any.
    fn make_room(&mut self, by: Evidence) -> Option<NamedBytes> {
        let by = if by != Evidence::Seen && self.told(by) > SHARE {
            by
        } else if self.count > self.room {
            self.tellers.last().map_or(Evidence::Seen, |(_, by)| *by)
        } else {
            return None;
        };
        let oldest = self.drops.get(&by)?.first()?.clone();
        self.marks.remove(&oldest.1);
        self.take(by, &oldest);
        Some(oldest.1)
    }

    /// When these bytes under this name were dropped, unless they were published later.
    pub fn dropped(&self, file: &FileName, id: FileId) -> Option<Millis> {
        self.when(file, id, Act::Dropped)
    }

    /// When they were published, unless they were dropped since.
    pub fn published(&self, file: &FileName, id: FileId) -> Option<Millis> {
        self.when(file, id, Act::Published)
    }

    /// The file's row is gone. A drop is remembered all the same.
    pub fn forget(&mut self, file: &FileName, id: FileId) {
        if self.published(file, id).is_some() {
            self.marks.remove(&(file.clone(), id));
        }
    }

    /// Of this name, other publications than that of these bytes are forgotten.
    pub fn forget_others(&mut self, file: &FileName, id: FileId) {
        let [first, last] = [0, u8::MAX].map(|byte| Arc::new((file.clone(), FileId::from([byte; 32]))));
        let is_other =
            |key: &NamedBytes, (mark, _): &mut (Mark, Evidence)| mark.act == Act::Published && key.1 != id;
        self.marks.extract_if(first..=last, is_other).for_each(drop);
    }

    /// All drops, those of what was seen here last, and of each source the oldest first: what is written to the disk,
    /// and told to a new manager.
    pub fn drops(&self) -> impl DoubleEndedIterator<Item = (Millis, &FileName, FileId)> {
        self.drops.values().flatten().map(|(at, key)| (*at, &key.0, key.1))
    }

    fn mark(&self, file: &FileName, id: FileId) -> Option<Mark> {
        self.marks.get(&(file.clone(), id)).map(|(mark, _)| *mark)
    }

    fn when(&self, file: &FileName, id: FileId, act: Act) -> Option<Millis> {
        self.mark(file, id).filter(|mark| mark.act == act).map(|mark| mark.at)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;
    use proptest::sample::{Index, select};

    use super::*;

    impl Versions {
        /// How many marks there are.
        pub(crate) fn size(&self) -> usize {
            self.marks.len()
        }
    }

    fn name(name: &str) -> FileName {
        name.parse().unwrap()
    }

    fn marks(versions: &Versions) -> BTreeMap<(FileName, FileId), Mark> {
        versions.marks.iter().map(|(key, (mark, _))| ((**key).clone(), *mark)).collect()
    }

    fn id(byte: u8) -> FileId {
        FileId::from([byte; 32])
    }

    /// The drops and the marks agree, and there are no more drops than there is room for.
    fn check(versions: &Versions) -> Result<(), TestCaseError> {
        let drops = versions.marks.iter().filter(|(_, (mark, _))| mark.act == Act::Dropped);
        let drops: BTreeSet<_> = drops.map(|(key, (mark, by))| (*by, (mark.at, Arc::clone(key)))).collect();
        let booked: BTreeSet<_> = versions
            .drops
            .iter()
            .flat_map(|(by, drops)| drops.iter().map(|drop| (*by, drop.clone())))
            .collect();
        prop_assert_eq!(&drops, &booked);
        prop_assert_eq!(drops.len(), versions.count);
        let mut tellers =
            versions.drops.iter().map(|(by, drops)| (drops.len(), *by)).collect::<BTreeSet<_>>();
        tellers.retain(|(_, by)| *by != Evidence::Seen);
        prop_assert_eq!(&tellers, &versions.tellers);
        prop_assert!(drops.len() <= versions.room);
        Ok(())
    }

    #[test]
    fn a_rumour_of_what_was_seen_to_be_dropped_makes_no_rumour_of_it() {
        let (real, mut versions) = (name("real"), Versions::new(2));
        versions.merge(&real, id(1), Mark::dropped(1));
        assert!(versions.hear_say(&real, id(1), 2, 7), "it was dropped once more");
        for n in 3..9 {
            versions.hear_say(&name(&n.to_string()), id(2), n, 7);
        }
        assert_eq!(versions.dropped(&real, id(1)), Some(2));
    }

    #[test]
    fn rumours_push_out_no_drop_of_what_was_seen() {
        let (real, mut versions) = (name("real"), Versions::new(3));
        versions.merge(&real, id(1), Mark::dropped(1));
        for n in 2..100 {
            assert!(versions.hear_say(&name(&format!("f{n}")), id(n), n.into(), 7));
        }
        assert_eq!((versions.dropped(&real, id(1)), versions.count), (Some(1), 3));
        versions.merge(&name("f99"), id(99), Mark::dropped(100));
        (2..4).for_each(|n| assert!(versions.merge(&real, id(n), Mark::dropped(0))));
        assert_eq!(versions.dropped(&name("f98"), id(98)), None, "the last rumour is gone");
    }

    #[test]
    fn who_tells_most_rumours_pushes_out_its_own_and_none_that_another_tells() {
        let (real, mut versions) = (name("real"), Versions::new(3));
        versions.hear_say(&name("also"), id(1), 1, 8);
        assert!(versions.hear_say(&real, id(1), 1, 8));
        assert!(versions.hear_say(&name("f0"), id(0), 0, 8));
        assert!(!versions.hear_say(&real, id(1), 1, 7), "it is known, and that two tell it is no news");
        for n in 2..99 {
            assert!(versions.hear_say(&name(&format!("f{n}")), id(n), n.into(), 8));
            check(&versions).unwrap();
        }
        assert_eq!((versions.dropped(&real, id(1)), versions.dropped(&name("also"), id(1))), (Some(1), None));
        assert!(versions.hear_say(&name("new"), id(1), 0, 7), "however old it is");
    }

    #[test]
    fn one_that_tells_more_rumours_than_a_peer_remembers_pushes_out_its_own_though_there_is_room() {
        let (all, mut versions) = (SHARE as u64, Versions::new(10 * SHARE));
        versions.hear_say(&name("also"), id(1), 0, 8);
        for n in 0..all + 2 {
            assert!(versions.hear_say(&name(&format!("f{n}")), id(1), n, 7));
        }
        assert_eq!(
            (versions.dropped(&name("f1"), id(1)), versions.dropped(&name("f2"), id(1))),
            (None, Some(2))
        );
        assert!(!versions.hear_say(&name("f0"), id(1), 0, 7), "it is older than all that this one told");
        assert_eq!((versions.told(Evidence::Rumour(7)), versions.count), (SHARE, SHARE + 1));
        (0..all).for_each(|n| _ = versions.merge(&name(&format!("s{n}")), id(1), Mark::dropped(n)));
        assert_eq!(versions.count, 2 * SHARE + 1, "what was seen is no rumour");
        check(&versions).unwrap();
    }

    #[test]
    fn one_of_whose_rumours_none_is_left_counts_as_one_that_told_none() {
        let mut versions = Versions::new(1);
        versions.hear_say(&name("a"), id(1), 1, 7);
        versions.merge(&name("a"), id(1), Mark::published(2));
        for n in 1..4 {
            assert!(versions.merge(&name("b"), id(n), Mark::dropped(n.into())));
            check(&versions).unwrap();
        }
        assert_eq!(
            (versions.dropped(&name("b"), id(2)), versions.dropped(&name("b"), id(3))),
            (None, Some(3))
        );
    }

    #[test]
    fn what_another_tells_again_a_moment_later_is_not_counted_to_one_that_tells_much() {
        let (real, mut versions) = (name("real"), Versions::new(3));
        assert!(versions.hear_say(&real, id(1), 1, 7));
        assert!(versions.hear_say(&name("f0"), id(0), 1, 8));
        assert!(versions.hear_say(&real, id(1), 2, 8), "it is later, so it is news");
        (2..99).for_each(|n| assert!(versions.hear_say(&name(&format!("f{n}")), id(n), n.into(), 8)));
        check(&versions).unwrap();
        assert_eq!(versions.dropped(&real, id(1)), Some(2));
    }

    #[test]
    fn the_later_wins_and_at_equal_times_the_drop() {
        let (file, mut versions) = (name("a"), Versions::new(9));
        for (mark, news) in [
            (Mark::published(0), true),
            (Mark::dropped(0), true),
            (Mark::published(5), true),
            (Mark::published(5), false),
            (Mark::dropped(4), false),
            (Mark::dropped(5), true),
            (Mark::published(5), false),
            (Mark::dropped(5), false),
            (Mark::published(6), true),
        ] {
            let before = versions.mark(&file, id(1));
            assert_eq!(versions.merge(&file, id(1), mark), news, "{mark:?} after {before:?}");
        }
        assert_eq!((versions.published(&file, id(1)), versions.dropped(&file, id(1))), (Some(6), None));
        assert!(versions.drops.is_empty());
    }

    #[test]
    fn a_mark_is_of_a_name_and_an_id() {
        let mut versions = Versions::new(9);
        versions.merge(&name("a"), id(1), Mark::dropped(10));
        assert_eq!(versions.dropped(&name("a"), id(1)), Some(10));
        assert_eq!(versions.dropped(&name("a"), id(2)), None, "other bytes under that name");
        assert_eq!(versions.dropped(&name("b"), id(1)), None, "the same bytes under another name");
    }

    #[test]
    fn the_row_takes_a_publication_with_it_and_no_drop() {
        let mut versions = Versions::new(9);
        versions.merge(&name("a"), id(1), Mark::published(5));
        versions.merge(&name("b"), id(1), Mark::dropped(5));
        for file in ["a", "b", "c"] {
            versions.forget(&name(file), id(1));
        }
        assert_eq!(versions.published(&name("a"), id(1)), None);
        assert_eq!(versions.dropped(&name("b"), id(1)), Some(5));
        assert_eq!(versions.marks.len(), 1);
    }

    #[test]
    fn when_there_are_too_many_drops_the_oldest_go_and_no_publication() {
        let mut versions = Versions::new(3);
        versions.merge(&name("p"), id(0), Mark::published(0));
        for (at, file) in [(5, "e"), (1, "a"), (4, "d"), (2, "b"), (3, "c")] {
            versions.merge(&name(file), id(0), Mark::dropped(at));
        }
        let left: Vec<_> = versions.drops().map(|(_, file, _)| file.as_str()).collect();
        assert_eq!(left, ["c", "d", "e"]);
        for _ in 0..2 {
            assert!(!versions.merge(&name("b"), id(0), Mark::dropped(2)), "no room, so no news");
        }
        assert!(versions.merge(&name("b"), id(0), Mark::dropped(6)), "the oldest goes for it");
        assert_eq!(versions.published(&name("p"), id(0)), Some(0));
        assert!(!versions.merge(&name("p"), id(0), Mark::dropped(1)), "no room");
        assert_eq!(versions.published(&name("p"), id(0)), None, "but it is not published any more");
        assert_eq!((versions.marks.len(), versions.count), (3, 3));
    }

    /// What the catalogue does, line by line as its lecture says.
    #[test]
    fn the_worked_example_comes_out() {
        let (notes, mut versions) = (name("notes"), Versions::new(9));
        assert!(versions.merge(&notes, id(1), Mark::published(5)));
        assert!(versions.merge(&notes, id(1), Mark::dropped(10)));
        assert_eq!(versions.published(&notes, id(1)), None, "the row goes");
        versions.forget(&notes, id(1));
        assert!(!versions.merge(&notes, id(1), Mark::published(5)));
        assert_eq!(versions.dropped(&notes, id(1)), Some(10), "ben is refused");
        assert!(versions.merge(&notes, id(1), Mark::published(12)));
        assert!(!versions.merge(&notes, id(1), Mark::dropped(10)));
        assert_eq!(versions.published(&notes, id(1)), Some(12), "the row stays");
    }

    #[test]
    fn however_many_drops_come_each_is_known_when_it_came_and_the_oldest_go() {
        const ROOM: u64 = 100;
        let mut versions = Versions::new(ROOM as usize);
        for at in 0..10 * ROOM {
            let file = name(&format!("f{at}"));
            versions.merge(&file, id(0), Mark::dropped(at));
            assert_eq!(versions.dropped(&file, id(0)), Some(at));
        }
        let mut known: Vec<_> = versions.drops().map(|(at, ..)| at).collect();
        known.sort_unstable();
        assert_eq!(known, (9 * ROOM..10 * ROOM).collect::<Vec<_>>());
    }

    fn mark() -> impl Strategy<Value = Mark> {
        (0..6_u64, select(vec![Act::Published, Act::Dropped])).prop_map(|(at, act)| Mark { at, act })
    }

    fn told() -> impl Strategy<Value = Vec<((FileName, FileId), Mark)>> {
        let key = (select(vec!["a", "b", "c"]), 0..2_u8).prop_map(|(file, byte)| (name(file), id(byte)));
        prop::collection::vec((key, mark()), 0..40)
    }

    proptest! {
        /// With room for all, what is known is the greatest mark of each; news is what changed that.
        #[test]
        fn all_that_hear_the_same_marks_agree_in_whatever_order(told in told(), swaps: Vec<(Index, Index)>) {
            let mut latest = BTreeMap::new();
            let mut versions = Versions::new(99);
            for (key, mark) in &told {
                let before = latest.get(key).copied();
                let now = before.max(Some(*mark));
                latest.insert(key.clone(), now.unwrap());
                prop_assert_eq!(versions.merge(&key.0, key.1, *mark), before != now);
                check(&versions)?;
            }
            prop_assert_eq!(&marks(&versions), &latest);
            let mut other = Versions::new(99);
            let mut shuffled = told.clone();
            if !told.is_empty() {
                swaps.iter().for_each(|(a, b)| shuffled.swap(a.index(told.len()), b.index(told.len())));
            }
            for (key, mark) in shuffled.iter().chain(&told) {
                other.merge(&key.0, key.1, *mark);
            }
            prop_assert_eq!(&marks(&other), &latest);
        }

        /// Without publications, those that are left are the newest.
        #[test]
        fn the_newest_drops_are_kept(told in told(), room in 0..5_usize) {
            let mut versions = Versions::new(room);
            let mut latest = BTreeMap::<_, u64>::new();
            for (key, Mark { at, .. }) in told {
                versions.merge(&key.0, key.1, Mark::dropped(at));
                let known = latest.entry(key).or_default();
                *known = at.max(*known);
                check(&versions)?;
            }
            let mut all: Vec<_> = latest.into_iter().map(|((file, id), at)| (at, file, id)).collect();
            all.sort();
            let newest = &all[all.len() - room.min(all.len())..];
            prop_assert!(versions.drops().eq(newest.iter().map(|(at, file, id)| (*at, file, *id))));
        }

        /// Whatever is told and whatever rows go: the books agree, and what is news can be asked for.
        #[test]
        fn what_is_news_is_remembered_and_a_publication_stays_until_it_is_outdone(
            told in prop::collection::vec((told(), any::<bool>()), 0..9),
            room in 0..4_usize,
        ) {
            let mut versions = Versions::new(room);
            for (said, forget) in told {
                for ((file, id), mark) in said {
                    let published = marks(&versions);
                    let news = versions.merge(&file, id, mark);
                    check(&versions)?;
                    prop_assert!(!news || versions.mark(&file, id) == Some(mark));
                    let others = published.iter().filter(|(key, mark)| {
                        mark.act == Act::Published && **key != (file.clone(), id)
                    });
                    for (key, mark) in others {
                        prop_assert_eq!(versions.mark(&key.0, key.1), Some(*mark));
                    }
                    if forget {
                        versions.forget(&file, id);
                        check(&versions)?;
                        prop_assert_eq!(versions.published(&file, id), None);
                    }
                }
            }
        }
    }
}
