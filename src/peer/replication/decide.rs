//! The fate of one file, as a table: from the facts of a name to one action.
//!
//! # The problem
//! A file may lie in the folder or not, be offered or not, be refused, dropped, edited, in the way of another, all at
//! once. Written as procedures, one for each event, these cases meet in combinations that nobody has thought of.
//!
//! # The rule
//! Events decide nothing. They only say that a name is *unsettled*. Then its facts are gathered at that moment, and the
//! first row that fits says what is done. So each case stands here once, and the order of events does not matter.
//!
//! # An example
//! `notes` is offered with the bytes 1. Its owner saves it: the bytes on the disk are 2, so the row of `Replace` fits:
//! the manager is asked which other peers have all of 1. Ben has: the new bytes become a conflict copy, and 1 heals.
//! Nobody has: 2 takes the name.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::error::Code;
use crate::share::store::Stamp;
use crate::share::{FileId, FileName};

/// What lies in the folder under a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnDisk {
    /// Nothing; `whole` when that was seen in a look at the whole folder.
    Nothing {
        /// A disk that is not mounted shows nothing, too: only such a look tells.
        whole_look: bool,
    },
    /// A folder, a link, a device, or a file that cannot be read.
    Unreadable,
    /// A file that somebody is writing to, seen so in this many looks.
    Changing {
        /// In a row.
        looks: u32,
    },
    /// These bytes.
    Bytes(FileId),
}

/// What this peer offers under a name from the folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnOffer {
    /// Nothing, or something from another folder.
    No,
    /// What is there of a download of these bytes.
    Part(FileId),
    /// All of these bytes.
    Whole(FileId),
}

/// All that decides about one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Facts {
    /// What lies there.
    pub(super) on_disk: OnDisk,
    /// What is offered.
    pub(super) offered: OnOffer,
    /// What lies there, or what is offered where nothing does, was dropped and not published later.
    pub(super) dropped: bool,
    /// The bytes have changed, and the stamp has not: nobody has written them.
    pub(super) rotted: bool,
    /// Why the manager does not list what lies there, if it said so.
    pub(super) refused: Option<Code>,
    /// These bytes are to be fetched, and a whole holder of them is listed.
    pub(super) wanted: Option<FileId>,
    /// The last action failed with this very stamp, and it is not yet time to try again.
    pub(super) failed: bool,
    /// It is a conflict copy of this peer that somebody has written to within the last looks.
    pub(super) unsteady_copy: bool,
    /// The folder is not what it was, so nothing in it is touched.
    pub(super) paused: bool,
}

/// What is done about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Nothing, until something changes.
    Leave,
    /// Nothing yet.
    LookAgain,
    /// It is offered no more.
    Withdraw,
    /// It is offered.
    Offer,
    /// It goes to the trash.
    Trash,
    /// It gets another name, under which it is offered, and the original heals.
    SetAside,
    /// The manager takes this peer off and says which others have all of the original. One has: it is set aside. None
    /// has: it takes the name. So of two that edit one file exactly one keeps the name.
    Replace,
}

/// For how many looks somebody may write to an offered file before it is offered no more.
pub(super) const PATIENT_LOOKS: u32 = 3;

/// The first pause after an action that failed, by which it grows each time, and which it does not exceed.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(5);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

// lab 10
/// The first row that fits.
pub(super) fn decide(facts: &Facts) -> Action {
    use Action::{Leave, LookAgain, Offer, Replace, SetAside, Trash, Withdraw};
    use OnDisk::{Bytes, Changing, Nothing, Unreadable};
    let Facts { on_disk, offered, dropped, rotted, refused, wanted, failed, unsteady_copy, paused } = *facts;
    match (on_disk, offered) {
        (_, OnOffer::Whole(_)) if paused && dropped => Withdraw,
        _ if paused || failed => Leave,
        (Unreadable, _) => Withdraw,
        (Nothing { whole_look }, OnOffer::Whole(_)) if whole_look || dropped => Withdraw,
        (Nothing { .. }, _) => Leave,
        (Changing { looks }, OnOffer::Whole(_)) if looks >= PATIENT_LOOKS || dropped => Withdraw,
        (Changing { .. }, _) => LookAgain,
        (Bytes(id), OnOffer::Part(fetched)) if id == fetched && !dropped => Offer, // An ordered download ends.
        (Bytes(_), OnOffer::Part(_)) => Leave, // The download finds it in its way.
        (Bytes(_), _) if rotted => Trash,
        (Bytes(id), OnOffer::Whole(known)) if id != known && unsteady_copy => LookAgain,
        (Bytes(id), OnOffer::Whole(known)) if id != known => Replace,
        (Bytes(_), _) if dropped || refused == Some(Code::Expired) => Trash,
        (Bytes(id), OnOffer::No) if wanted.is_some_and(|wanted| wanted != id) => SetAside,
        (Bytes(_), OnOffer::No) => Offer,
        (Bytes(_), OnOffer::Whole(_)) if refused == Some(Code::Conflict) => SetAside,
        (Bytes(_), OnOffer::Whole(_)) => Leave,
    }
}

/// What [`Action::Replace`] comes to when the manager has answered whether others have all of the original `elsewhere`.
/// Bytes that were dropped since may not take the name, nor keep it, as a conflict copy of this peer does: they go to
/// the trash.
pub(super) fn replaced(dropped: bool, elsewhere: bool, own_copy: bool) -> Action {
    match elsewhere {
        _ if dropped && (own_copy || !elsewhere) => Action::Trash,
        true => Action::SetAside,
        false => Action::Offer,
    }
}

/// The last action for each of these names has failed.
#[derive(Default)]
pub(super) struct Failures(pub(super) BTreeMap<FileName, Failure>);

/// How the file looked then, and when it is tried again.
pub(super) struct Failure {
    stamp: Option<Stamp>,
    pub(super) pause: Duration,
    pub(super) again: Instant,
}

impl Failures {
    /// An action has failed for a file that looks like this. Where it looked so the last time, the pause grows.
    pub(super) fn failed(&mut self, file: &FileName, stamp: Option<Stamp>, now: Instant) {
        let before = self.0.remove(file).filter(|failure| failure.stamp == stamp);
        let pause = before.map_or(FIRST_PAUSE, |failure| (failure.pause + FIRST_PAUSE).min(LONGEST_PAUSE));
        self.0.insert(file.clone(), Failure { stamp, pause, again: now + pause });
    }

    /// Whether the last action failed for a file that looked like this, and it is too early to try again.
    pub(super) fn waits(&self, file: &FileName, stamp: Option<Stamp>, now: Instant) -> bool {
        self.0.get(file).is_some_and(|failure| failure.stamp == stamp && now < failure.again)
    }

    /// An action has succeeded.
    pub(super) fn forget(&mut self, file: &FileName) {
        self.0.remove(file);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Some bytes.
    fn id(n: u8) -> FileId {
        FileId::from([n; 32])
    }

    fn there() -> OnDisk {
        OnDisk::Bytes(id(1))
    }

    fn of(on_disk: OnDisk, offered: OnOffer, change: impl FnOnce(&mut Facts)) -> Action {
        let mut facts = Facts {
            on_disk,
            offered,
            dropped: false,
            rotted: false,
            refused: None,
            wanted: None,
            failed: false,
            unsteady_copy: false,
            paused: false,
        };
        change(&mut facts);
        decide(&facts)
    }

    #[test]
    fn a_file_that_is_found_is_offered_unless_it_was_dropped_or_others_are_wanted() {
        assert_eq!(of(there(), OnOffer::No, |_| ()), Action::Offer);
        assert_eq!(of(there(), OnOffer::No, |facts| facts.dropped = true), Action::Trash);
        assert_eq!(of(there(), OnOffer::No, |facts| facts.wanted = Some(id(2))), Action::SetAside);
        assert_eq!(
            of(there(), OnOffer::No, |facts| facts.wanted = Some(id(1))),
            Action::Offer,
            "these very bytes"
        );
    }

    #[test]
    fn bytes_beside_a_part_are_left_to_its_download_unless_they_are_what_it_fetches() {
        let [same, other] = [1, 2].map(|n| OnOffer::Part(id(n)));
        assert_eq!(of(there(), same, |_| ()), Action::Offer);
        assert_eq!(of(there(), same, |facts| facts.dropped = true), Action::Leave, "the drop ends it");
        assert_eq!(of(there(), same, |facts| facts.paused = true), Action::Leave);
        assert_eq!(of(there(), other, |_| ()), Action::Leave);
        assert_eq!(of(there(), other, |facts| facts.dropped = true), Action::Leave);
    }

    #[test]
    fn an_offered_file_is_left_until_it_is_edited_dropped_or_refused() {
        let whole = OnOffer::Whole(id(1));
        assert_eq!(of(there(), whole, |_| ()), Action::Leave);
        assert_eq!(of(there(), OnOffer::Whole(id(2)), |_| ()), Action::Replace);
        assert_eq!(of(there(), OnOffer::Whole(id(2)), |facts| facts.dropped = true), Action::Replace);
        assert_eq!(of(there(), OnOffer::Whole(id(2)), |facts| facts.rotted = true), Action::Trash, "no edit");
        assert_eq!(of(there(), OnOffer::No, |facts| facts.rotted = true), Action::Trash);
        assert_eq!(of(there(), OnOffer::Whole(id(2)), |facts| facts.unsteady_copy = true), Action::LookAgain);
        assert_eq!(of(there(), whole, |facts| facts.dropped = true), Action::Trash);
        assert_eq!(of(there(), whole, |facts| facts.refused = Some(Code::Expired)), Action::Trash);
        assert_eq!(of(there(), whole, |facts| facts.refused = Some(Code::Conflict)), Action::SetAside);
        assert_eq!(of(there(), whole, |facts| facts.refused = Some(Code::Busy)), Action::Leave);
    }

    #[test]
    fn an_edit_takes_the_name_where_nobody_else_has_the_original_unless_its_bytes_were_dropped() {
        let [yes, no] = [true, false];
        for (dropped, elsewhere, own_copy, action) in [
            (no, no, no, Action::Offer),
            (no, no, yes, Action::Offer),
            (no, yes, no, Action::SetAside),
            (no, yes, yes, Action::SetAside),
            (yes, no, no, Action::Trash),
            (yes, no, yes, Action::Trash),
            (yes, yes, no, Action::SetAside),
            (yes, yes, yes, Action::Trash),
        ] {
            let told = format!("dropped {dropped}, elsewhere {elsewhere}, own copy {own_copy}");
            assert_eq!(replaced(dropped, elsewhere, own_copy), action, "{told}");
        }
    }

    #[test]
    fn absence_counts_only_from_a_look_at_the_whole_folder() {
        let (glance, look) = (OnDisk::Nothing { whole_look: false }, OnDisk::Nothing { whole_look: true });
        let whole = OnOffer::Whole(id(1));
        assert_eq!(of(glance, whole, |_| ()), Action::Leave);
        assert_eq!(of(look, whole, |_| ()), Action::Withdraw);
        assert_eq!(of(glance, whole, |facts| facts.dropped = true), Action::Withdraw);
        assert_eq!(of(look, OnOffer::Part(id(1)), |_| ()), Action::Leave);
        assert_eq!(of(look, OnOffer::No, |_| ()), Action::Leave);
    }

    #[test]
    fn a_file_that_is_written_to_is_offered_for_three_looks_more() {
        let (first, third) = (OnDisk::Changing { looks: 2 }, OnDisk::Changing { looks: 3 });
        assert_eq!(of(first, OnOffer::Whole(id(1)), |_| ()), Action::LookAgain);
        assert_eq!(of(third, OnOffer::Whole(id(1)), |_| ()), Action::Withdraw);
        assert_eq!(of(first, OnOffer::Whole(id(1)), |facts| facts.dropped = true), Action::Withdraw);
        assert_eq!(of(third, OnOffer::No, |_| ()), Action::LookAgain);
    }

    #[test]
    fn what_cannot_be_read_is_withdrawn_and_what_failed_waits() {
        assert_eq!(of(OnDisk::Unreadable, OnOffer::Whole(id(1)), |_| ()), Action::Withdraw);
        assert_eq!(of(OnDisk::Unreadable, OnOffer::No, |facts| facts.failed = true), Action::Leave);
        assert_eq!(
            of(there(), OnOffer::No, |facts| (facts.failed, facts.dropped) = (true, true)),
            Action::Leave
        );
    }

    #[test]
    fn what_fails_is_tried_again_after_a_pause_that_grows_or_when_it_looks_otherwise() {
        let (mut failures, mut now, file) = (Failures::default(), Instant::now(), "a".parse().unwrap());
        let [same, other] = [1, 2].map(|size| Some(Stamp { size, ..Stamp::default() }));
        let second = Duration::from_secs(1);
        for seconds in (5..=60).step_by(5).chain([60]) {
            failures.failed(&file, same, now);
            assert!(!failures.waits(&file, other, now), "it has changed");
            assert!(failures.waits(&file, same, now + second * (seconds - 1)), "{seconds} s");
            now += second * seconds;
            assert!(!failures.waits(&file, same, now), "{seconds} s");
        }
        failures.failed(&file, other, now);
        assert!(!failures.waits(&file, other, now + FIRST_PAUSE), "the first failure of this one");
        failures.failed(&file, other, now);
        failures.forget(&file);
        failures.failed(&file, other, now);
        assert!(!failures.waits(&file, other, now + FIRST_PAUSE), "the first since it succeeded");
    }

    #[test]
    fn while_the_folder_is_paused_only_what_was_dropped_is_withdrawn() {
        let all = [
            there(),
            OnDisk::Nothing { whole_look: true },
            OnDisk::Unreadable,
            OnDisk::Changing { looks: 9 },
        ];
        for on_disk in all {
            for offered in [OnOffer::No, OnOffer::Part(id(1)), OnOffer::Whole(id(1))] {
                for dropped in [false, true] {
                    let action =
                        of(on_disk, offered, |facts| (facts.paused, facts.dropped) = (true, dropped));
                    let withdraws = dropped && offered == OnOffer::Whole(id(1));
                    assert_eq!(action, if withdraws { Action::Withdraw } else { Action::Leave });
                }
            }
        }
    }
}
