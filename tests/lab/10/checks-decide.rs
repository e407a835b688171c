//! Exercise 10: healing against deleting.

use super::Action::{Leave, LookAgain, Offer, Replace, SetAside, Trash, Withdraw};
use super::OnDisk::{Bytes, Changing, Nothing, Unreadable};
use super::OnOffer::{No, Part, Whole};
use super::*;
use crate::lab_runner::run;

#[test]
fn checks() {
    run(
        module_path!(),
        &[
            (1, "while the folder is paused nothing in it is touched", paused),
            (1, "what has just failed is not tried again at once", failed),
            (1, "absence counts only from a look at the whole folder", absent),
            (1, "what cannot be read, or is being written, is handled with patience", unsettled),
            (1, "a download on its way, and bytes that have rotted", part_or_rotten),
            (2, "an edit is never lost", edited),
            (1, "what was dropped goes to the trash", dropped),
            (1, "what is found is offered, unless others are wanted", found),
            (1, "of two contents under one name the second is set aside", conflict),
        ],
    );
}

fn id(n: u8) -> FileId {
    FileId::from([n; 32])
}

/// The bytes 1 lie on the disk wherever bytes do.
fn one() -> OnDisk {
    Bytes(id(1))
}

/// All facts that there may be, the simplest first.
fn all() -> Vec<Facts> {
    let absent = [false, true].map(|whole_look| Nothing { whole_look });
    let changing = [1, PATIENT_LOOKS, PATIENT_LOOKS + 1].map(|looks| Changing { looks });
    let disks = [one(), Unreadable].into_iter().chain(absent).chain(changing);
    let mut all = Vec::new();
    for on_disk in disks {
        for offered in [No, Part(id(1)), Part(id(2)), Whole(id(1)), Whole(id(2))] {
            for refused in [None, Some(Code::Busy), Some(Code::Expired), Some(Code::Conflict)] {
                for wanted in [None, Some(id(1)), Some(id(2))] {
                    let with = |bits: u32| {
                        let [dropped, rotted, failed, unsteady_copy, paused] =
                            [0, 1, 2, 3, 4].map(|bit| bits >> bit & 1 == 1);
                        Facts {
                            on_disk,
                            offered,
                            dropped,
                            rotted,
                            refused,
                            wanted,
                            failed,
                            unsteady_copy,
                            paused,
                        }
                    };
                    all.extend((0..32).map(with));
                }
            }
        }
    }
    // Only bytes can have rotted.
    all.retain(|facts| !facts.rotted || facts.on_disk == one());
    all.sort_by_key(|f| {
        let flags = [
            f.dropped,
            f.rotted,
            f.failed,
            f.unsteady_copy,
            f.paused,
            f.refused.is_some(),
            f.wanted.is_some(),
        ];
        flags.into_iter().filter(|flag| *flag).count()
    });
    all
}

/// The facts in words.
fn told(facts: &Facts) -> String {
    let Facts { on_disk, offered, dropped, rotted, refused, wanted, failed, unsteady_copy, paused } = *facts;
    let bytes = |which| if which == id(1) { "the bytes 1" } else { "the bytes 2" };
    let mut text = match on_disk {
        Nothing { whole_look: true } => "a look at the whole folder found no file of this name".into(),
        Nothing { whole_look: false } => "a glance found no file of this name".into(),
        Unreadable => "what lies there cannot be read".into(),
        Changing { looks } => format!("somebody writes to the file, for {looks} looks now"),
        Bytes(which) => format!("{} lie there", bytes(which)),
    };
    text += match offered {
        No => ", nothing is offered",
        Part(which) if which == id(1) => ", a part of a download of the bytes 1 is offered",
        Part(_) => ", a part of a download of the bytes 2 is offered",
        Whole(which) if which == id(1) => ", the bytes 1 are offered",
        Whole(_) => ", the bytes 2 are offered",
    };
    let others = [
        (dropped, ", dropped".to_owned()),
        (rotted, ", rotted".to_owned()),
        (refused.is_some(), format!(", refused as {:?}", refused.unwrap_or(Code::Busy))),
        (wanted.is_some(), format!(", {} are wanted", wanted.map_or("", bytes))),
        (failed, ", the last action failed".to_owned()),
        (unsteady_copy, ", an unsteady conflict copy".to_owned()),
        (paused, ", the folder is paused".to_owned()),
    ];
    text.extend(others.into_iter().filter(|(is, _)| *is).map(|(_, words)| words));
    text
}

/// For all facts that fit, the action is this one, because of this rule.
fn holds(rule: &str, action: Action, fits: impl Fn(&Facts) -> bool) {
    for facts in all().iter().filter(|facts| fits(facts)) {
        let is = decide(facts);
        assert!(is == action, "{}: {action:?} is right, and you say {is:?}. {rule}", told(facts));
    }
}

fn is_whole(facts: &Facts) -> bool {
    matches!(facts.offered, Whole(_))
}

/// Nothing keeps the folder from being touched.
fn acts(facts: &Facts) -> bool {
    !facts.paused && !facts.failed
}

fn paused(_: u64) {
    let rule = "A folder that is paused may be the wrong one, so nothing in it is touched";
    holds(rule, Leave, |facts| facts.paused && !(facts.dropped && is_whole(facts)));
    let rule = "What was dropped is not given away any more, also while the folder is paused: to withdraw it touches no file";
    holds(rule, Withdraw, |facts| facts.paused && facts.dropped && is_whole(facts));
}

fn failed(_: u64) {
    let rule = "The last action failed for this very file: leave it until it changes, or the pause is over";
    holds(rule, Leave, |facts| facts.failed && !facts.paused);
}

fn absent(_: u64) {
    let no_file = |facts: &Facts| acts(facts) && matches!(facts.on_disk, Nothing { .. });
    let look = Nothing { whole_look: true };
    let rule = "A glance proves nothing: a disk that is not mounted shows no file either. Absence counts only from a look at the \
                whole folder";
    holds(rule, Leave, |facts| no_file(facts) && facts.on_disk != look && is_whole(facts) && !facts.dropped);
    let rule = "It is offered and not there: withdraw it, so that the manager hears of it and it heals";
    holds(rule, Withdraw, |facts| no_file(facts) && facts.on_disk == look && is_whole(facts));
    let rule = "It was dropped and it is not there: to offer it no more needs no further proof";
    holds(rule, Withdraw, |facts| no_file(facts) && is_whole(facts) && facts.dropped);
    let rule = "No file, and not all of one is offered: there is nothing to withdraw; a part belongs to its download";
    holds(rule, Leave, |facts| no_file(facts) && !is_whole(facts));
}

fn unsettled(_: u64) {
    let rule = "What cannot be read is not offered";
    holds(rule, Withdraw, |facts| acts(facts) && facts.on_disk == Unreadable);
    let looks = |facts: &Facts| match facts.on_disk {
        Changing { looks } if acts(facts) => Some(looks),
        _ => None,
    };
    let rule = "While somebody writes to a file, look again later";
    holds(rule, LookAgain, |facts| looks(facts).is_some() && !is_whole(facts));
    let rule =
        "Somebody writes to an offered file: it is offered until that has lasted for `PATIENT_LOOKS` looks";
    let patient = |facts: &Facts| looks(facts).is_some_and(|looks| looks < PATIENT_LOOKS);
    holds(rule, LookAgain, |facts| patient(facts) && is_whole(facts) && !facts.dropped);
    holds(rule, Withdraw, |facts| looks(facts).is_some() && !patient(facts) && is_whole(facts));
    let rule = "It was dropped, so it is not offered any longer, although somebody still writes to it";
    holds(rule, Withdraw, |facts| looks(facts).is_some() && is_whole(facts) && facts.dropped);
}

fn bytes(facts: &Facts) -> bool {
    acts(facts) && facts.on_disk == one()
}

fn part_or_rotten(_: u64) {
    let rule = "A download of this name is on its way and finds the file when it is whole: leave it";
    holds(rule, Leave, |facts| bytes(facts) && facts.offered == Part(id(2)));
    let rule = "These very bytes are being fetched, and lie there: they are offered, and the download ends, whatever the \
                manager has refused";
    holds(rule, Offer, |facts| bytes(facts) && facts.offered == Part(id(1)) && !facts.dropped);
    let rule = "What was dropped is not offered; the drop ends the download, too: leave it until then";
    holds(rule, Leave, |facts| bytes(facts) && facts.offered == Part(id(1)) && facts.dropped);
    let rule = "The bytes have changed and nobody has written them: that is a rotten disk and no edit, so they go to the trash, and \
                the file heals";
    holds(rule, Trash, |facts| bytes(facts) && !matches!(facts.offered, Part(_)) && facts.rotted);
}

/// Bytes that somebody has written in the place of those that are offered.
fn is_edit(facts: &Facts) -> bool {
    bytes(facts) && facts.offered == Whole(id(2)) && !facts.rotted
}

fn edited(_: u64) {
    let rule = "Other bytes lie there than are offered: somebody has edited the file, and that is somebody's work, also where these \
                bytes were dropped or refused once";
    holds(rule, Replace, |facts| is_edit(facts) && !facts.unsteady_copy);
    let rule = "A program still writes to a conflict copy: wait until it has been still";
    holds(rule, LookAgain, |facts| is_edit(facts) && facts.unsteady_copy);
}

/// The bytes on the disk are offered, or nothing is.
fn steady(facts: &Facts) -> bool {
    bytes(facts) && !facts.rotted && matches!(facts.offered, No | Whole(_)) && facts.offered != Whole(id(2))
}

fn is_dropped(facts: &Facts) -> bool {
    facts.dropped || facts.refused == Some(Code::Expired)
}

fn dropped(_: u64) {
    let rule = "These very bytes were dropped, and not published later: they go to the trash, or the file would come back to all";
    holds(rule, Trash, |facts| steady(facts) && facts.dropped);
    let rule = "The manager refuses these bytes as expired, which means that they were dropped while this peer was away: trash";
    holds(rule, Trash, |facts| steady(facts) && is_dropped(facts));
}

fn found(_: u64) {
    let new = |facts: &Facts| steady(facts) && !is_dropped(facts) && facts.offered == No;
    holds("A file that is found is offered", Offer, |facts| new(facts) && facts.wanted.is_none());
    let rule = "These very bytes are wanted: nothing is in the way, and nothing need be fetched";
    holds(rule, Offer, |facts| new(facts) && facts.wanted == Some(id(1)));
    let rule = "Other bytes of this name are wanted, and these are in their way: they get another name";
    holds(rule, SetAside, |facts| new(facts) && facts.wanted == Some(id(2)));
}

fn conflict(_: u64) {
    let told = |facts: &Facts| steady(facts) && !is_dropped(facts) && is_whole(facts);
    let rule = "The manager lists other bytes under this name: the first keeps the name";
    holds(rule, SetAside, |facts| told(facts) && facts.refused == Some(Code::Conflict));
    let rule = "All is as it should be: the file is offered as it lies there";
    holds(rule, Leave, |facts| told(facts) && facts.refused != Some(Code::Conflict));
}
