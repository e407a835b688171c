//! The rules of the catalogue, as a table and against the plainest model.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::super::roster::tests::candidate;
use super::*;
use crate::net::key::Key;
use crate::share::Layout;

const ADA: PeerId = 1;
const BEN: PeerId = 2;
const CYD: PeerId = 3;

/// A time after everything that happens here.
const LATE: Millis = 1_000;

fn roster() -> Roster {
    let mut roster = Roster::new(Key::random());
    for (id, name) in [(ADA, "ada"), (BEN, "ben"), (CYD, "cyd")] {
        roster.admit(id, candidate(name, 7000 + id as u16, 0), 0);
    }
    roster
}

fn file(name: &str, bytes: &[u8]) -> Manifest {
    Manifest::read(name.parse().unwrap(), Layout::of(bytes.len() as u64).unwrap(), bytes, &false.into())
        .unwrap()
}

fn holders(catalogue: &mut Catalogue, requester: PeerId, name: &str) -> Option<Vec<(PeerId, bool)>> {
    let (_, holders) = catalogue.query(requester, &name.parse().unwrap(), false, LATE).file?;
    Some(holders.into_iter().collect())
}

#[test]
fn the_example_of_the_lecture() {
    let (roster, notes) = (roster(), file("notes.pdf", b"x"));
    let mut catalogue = Catalogue::new(limits::DROPS);
    assert_eq!(catalogue.update(ADA, &notes, true, None, &roster, LATE).unwrap(), Some(What::Offers));
    assert_eq!(holders(&mut catalogue, BEN, "notes.pdf").unwrap(), [(ADA, true)]);
    assert_eq!(catalogue.update(BEN, &notes, false, None, &roster, LATE).unwrap(), Some(What::Begins));
    assert_eq!(holders(&mut catalogue, BEN, "notes.pdf").unwrap(), [(ADA, true)], "it has lost nothing");
    assert_eq!(catalogue.update(BEN, &notes, true, None, &roster, LATE).unwrap(), Some(What::Completes));
    assert_eq!(catalogue.update(BEN, &notes, true, None, &roster, LATE).unwrap(), None);
    assert_eq!(holders(&mut catalogue, CYD, "notes.pdf").unwrap(), [(ADA, true), (BEN, true)]);
    assert!(catalogue.query(ADA, notes.name(), false, LATE).lost);
    assert_eq!(holders(&mut catalogue, CYD, "notes.pdf").unwrap(), [(BEN, true)]);
    assert!(!catalogue.query(ADA, notes.name(), false, LATE).lost, "she has lost it already");
    assert_eq!(catalogue.update(ADA, &notes, true, None, &roster, LATE).unwrap(), Some(What::HasToo));
    assert_eq!(catalogue.update(ADA, &notes, false, None, &roster, LATE).unwrap(), Some(What::Reduces));
    assert!(catalogue.lists(notes.name(), None) && catalogue.lists(notes.name(), Some(notes.id())));
    assert!(!catalogue.lists(notes.name(), Some(file("b", b"y").id())));
    assert!(!catalogue.lists(&"b".parse().unwrap(), None));
}

#[test]
fn a_full_catalogue_takes_no_more_and_one_peer_alone_fills_half_of_it() {
    let (roster, notes) = (roster(), file("notes.pdf", b"x"));
    let mut catalogue = Catalogue::new(limits::DROPS);
    let adds = |catalogue: &mut Catalogue, peer, notes: &Manifest| {
        catalogue.update(peer, notes, true, None, &roster, LATE).map(drop).map_err(|no| no.code())
    };
    // Hashes of 32 bytes: with this one it is exactly full.
    catalogue.hashes = limits::ALL_HASHES - 32;
    assert_eq!(adds(&mut catalogue, ADA, &notes), Ok(()));
    assert_eq!(adds(&mut catalogue, ADA, &file("b", b"y")), Err(Code::Busy));
    assert_eq!(adds(&mut catalogue, ADA, &file("b", b"")), Ok(()), "an empty one has no hash");
    let fills = |catalogue: &mut Catalogue, peer, from: usize| {
        (from..).take_while(|n| adds(catalogue, peer, &file(&n.to_string(), b"")).is_ok()).count()
    };
    let half = fills(&mut catalogue, ADA, 2);
    assert!(half.abs_diff(limits::FILES / 2) < 100, "{half} files");
    let more = |catalogue: &mut Catalogue| adds(catalogue, ADA, &file("more", b""));
    assert_eq!(more(&mut catalogue), Err(Code::Busy), "she alone has half");
    assert_eq!(adds(&mut catalogue, BEN, &file("2", b"")), Ok(()));
    assert_eq!(more(&mut catalogue), Ok(()), "one of hers has another holder");
    catalogue.query(BEN, &"2".parse().unwrap(), false, LATE);
    assert_eq!(adds(&mut catalogue, ADA, &file("most", b"")), Err(Code::Busy), "and is hers alone again");
    fills(&mut catalogue, BEN, limits::FILES);
    assert_eq!(catalogue.files.len(), limits::FILES);
    assert_eq!(adds(&mut catalogue, ADA, &notes), Ok(()), "what is listed can be told again");
    catalogue.leave(ADA, LATE);
    catalogue.leave(BEN, LATE);
    assert!(catalogue.files.is_empty() && catalogue.peers.values().all(|it| it.share == 0));
}

#[test]
fn an_unknown_file_and_one_that_only_the_requester_had_are_not_found() {
    let (roster, notes) = (roster(), file("notes.pdf", b"x"));
    let mut catalogue = Catalogue::new(limits::DROPS);
    assert_eq!(holders(&mut catalogue, BEN, "notes.pdf"), None);
    catalogue.update(ADA, &notes, true, None, &roster, LATE).unwrap();
    assert_eq!(holders(&mut catalogue, ADA, "notes.pdf"), None);
    assert!(catalogue.files.is_empty(), "a file without holders is gone");
}

#[test]
fn another_content_under_the_same_name_is_a_conflict_that_names_the_holders() {
    let roster = roster();
    let mut catalogue = Catalogue::new(limits::DROPS);
    catalogue.update(ADA, &file("a", b"one"), true, None, &roster, LATE).unwrap();
    catalogue.update(BEN, &file("a", b"one"), false, None, &roster, LATE).unwrap();
    let no = catalogue.update(CYD, &file("a", b"two"), true, None, &roster, LATE).unwrap_err();
    assert_eq!(no.code(), Code::Conflict);
    assert!(no.to_string().contains("held by ada, ben;"), "{no}");
    catalogue.leave(ADA, LATE);
    assert_eq!(catalogue.leave(BEN, LATE), ["a".parse().unwrap()]);
    assert_eq!(
        catalogue.update(CYD, &file("a", b"two"), true, None, &roster, LATE).unwrap(),
        Some(What::Offers)
    );
}

#[test]
fn what_was_dropped_is_gone_and_comes_back_only_when_it_is_put_there_later() {
    let (roster, notes) = (roster(), file("notes.pdf", b"x"));
    let (name, id) = (notes.name().clone(), notes.id());
    let mut catalogue = Catalogue::new(limits::DROPS);
    catalogue.update(ADA, &notes, true, Some(5), &roster, LATE).unwrap();
    catalogue.update(BEN, &notes, false, None, &roster, LATE).unwrap();
    assert_eq!(catalogue.drop_file(1, &name, None, None, 10).unwrap(), Some((id, 10)));
    assert!(catalogue.files.is_empty() && catalogue.hashes == 0);
    for peer in [ADA, BEN] {
        assert_eq!((catalogue.held_by(peer), catalogue.peers[&peer].print), (0, Fingerprint::default()));
    }
    for published in [None, Some(9), Some(10)] {
        let no = catalogue.update(ADA, &notes, true, published, &roster, LATE).unwrap_err();
        assert_eq!(no.code(), Code::Expired, "{published:?}");
        assert_eq!(
            no.to_string(),
            "notes.pdf was dropped at 1970-01-01T00:00:00Z; `add` it again to bring it back"
        );
    }
    let other = file("other.pdf", b"x");
    assert_eq!(
        catalogue.update(ADA, &other, true, None, &roster, LATE).unwrap(),
        Some(What::Offers),
        "another name"
    );
    let revised = file("notes.pdf", b"y");
    assert_eq!(
        catalogue.update(ADA, &revised, true, None, &roster, LATE).unwrap(),
        Some(What::Offers),
        "another content"
    );
    let no = catalogue.update(BEN, &notes, true, Some(11), &roster, LATE).unwrap_err();
    assert_eq!(no.code(), Code::Conflict, "the name stands for something else now");
    catalogue.drop_file(1, &name, None, None, 11).unwrap();
    assert_eq!(catalogue.update(BEN, &notes, true, Some(11), &roster, LATE).unwrap(), Some(What::BringsBack));
    assert_eq!(catalogue.versions.dropped(&name, id), None, "the drop is forgotten");
}

#[test]
fn of_a_drop_that_somebody_remembers_and_a_publication_the_later_wins() {
    let (roster, notes) = (roster(), file("notes.pdf", b"x"));
    let (name, id) = (notes.name().clone(), notes.id());
    let mut catalogue = Catalogue::new(limits::DROPS);
    catalogue.update(ADA, &notes, true, Some(20), &roster, LATE).unwrap();
    assert_eq!(catalogue.drop_file(1, &name, Some(id), Some(19), 99).unwrap(), None, "an older one");
    assert_eq!(catalogue.files.len(), 1);
    assert_eq!(catalogue.drop_file(1, &name, Some(id), Some(20), 99).unwrap(), Some((id, 20)));
    assert_eq!(catalogue.files.len(), 0);
    assert_eq!(catalogue.drop_file(1, &name, Some(id), Some(20), 99).unwrap(), None, "known");
    assert_eq!(catalogue.update(ADA, &notes, true, Some(21), &roster, LATE).unwrap(), Some(What::BringsBack));
    assert_eq!(catalogue.drop_file(1, &name, None, None, 99).unwrap(), Some((id, 99)));
    assert_eq!(catalogue.drop_file(1, &name, None, None, 99).unwrap_err().code(), Code::NotFound);
}

#[test]
fn files_have_numbers_of_their_own_and_it_is_known_which_were_touched() {
    let roster = roster();
    let mut catalogue = Catalogue::new(limits::DROPS);
    let (a, b) = (file("a", b"a"), file("b", b"b"));
    catalogue.update(ADA, &b, true, None, &roster, LATE).unwrap();
    catalogue.update(ADA, &a, true, None, &roster, LATE).unwrap();
    let (one, two) = (catalogue.number(b.name()).unwrap(), catalogue.number(a.name()).unwrap());
    assert!(one < two, "in order of arrival");
    assert_eq!(std::mem::take(&mut catalogue.touched), [one, two].into());
    catalogue.update(ADA, &a, true, None, &roster, LATE).unwrap();
    assert!(catalogue.touched.is_empty(), "it was known");
    catalogue.update(BEN, &a, true, None, &roster, LATE).unwrap();
    catalogue.query(ADA, a.name(), false, LATE);
    assert_eq!(std::mem::take(&mut catalogue.touched), [two].into());
    catalogue.leave(ADA, LATE);
    assert_eq!(std::mem::take(&mut catalogue.touched), [one].into());
    assert!(!catalogue.files.contains_key(&one));
    catalogue.update(ADA, &b, true, None, &roster, LATE).unwrap();
    assert!(catalogue.number(b.name()).unwrap() > two, "no number is used twice");
}

#[test]
fn a_part_that_was_given_up_is_in_nobodys_way() {
    let roster = roster();
    let mut catalogue = Catalogue::new(limits::DROPS);
    let (old, new) = (file("a", b"one"), file("a", b"two"));
    catalogue.update(ADA, &old, false, None, &roster, LATE).unwrap();
    assert_eq!(catalogue.update(BEN, &new, true, None, &roster, LATE).unwrap_err().code(), Code::Conflict);
    assert_eq!(catalogue.update(ADA, &new, true, None, &roster, LATE).unwrap(), Some(What::Offers));
    // And a part of which a peer does not speak any more is taken off when it is asked for its list.
    catalogue.update(BEN, &new, false, None, &roster, LATE).unwrap();
    let nothing = Fingerprint::default();
    assert!(!catalogue.differs(BEN, nothing, LATE));
    assert!(catalogue.differs(BEN, nothing, LATE));
    assert_eq!(holders(&mut catalogue, CYD, "a").unwrap(), [(ADA, true)]);
    assert!(
        !catalogue.differs(BEN, nothing, LATE) && !catalogue.differs(BEN, nothing, LATE),
        "once is enough"
    );
}

#[test]
fn a_list_that_is_told_again_takes_off_what_it_does_not_tell() {
    let roster = roster();
    let mut catalogue = Catalogue::new(limits::DROPS);
    let (real, never) = (file("a", b"one"), file("b", b"two"));
    for manifest in [&real, &never] {
        catalogue.update(BEN, manifest, true, None, &roster, LATE).unwrap();
    }
    let mut claim = Fingerprint::default();
    claim.toggle(real.name(), real.id(), true);
    assert!(!catalogue.differs(BEN, claim, LATE) && catalogue.differs(BEN, claim, LATE), "it is asked");
    catalogue.update(BEN, &real, true, None, &roster, LATE).unwrap();
    assert!(!catalogue.differs(BEN, claim, LATE) && !catalogue.differs(BEN, claim, LATE + QUIET - 1));
    assert_eq!(holders(&mut catalogue, CYD, "b").unwrap(), [(BEN, true)], "it may be about to tell it");
    assert!(!catalogue.differs(BEN, claim, LATE + QUIET), "once is enough");
    assert_eq!(holders(&mut catalogue, CYD, "a").unwrap(), [(BEN, true)]);
    assert_eq!(holders(&mut catalogue, CYD, "b"), None);
    assert!(!catalogue.differs(BEN, claim, LATE) && !catalogue.differs(BEN, claim, LATE), "all is well");
}

#[test]
fn the_last_whole_holder_may_replace_what_others_have_in_part_only() {
    let roster = roster();
    let mut catalogue = Catalogue::new(limits::DROPS);
    let (old, [by_cyd, by_ben]) = (file("a", b"one"), [b"two", b"six"].map(|bytes| file("a", bytes)));
    for told_late in [false, true] {
        for peer in [ADA, BEN] {
            catalogue.update(peer, &old, true, None, &roster, LATE).unwrap();
        }
        // Both have edited it: ada is taken off first, hears that ben has it, and begins to fetch it again.
        assert_eq!(holders(&mut catalogue, ADA, "a").unwrap(), [(BEN, true)]);
        let begins = |catalogue: &mut Catalogue| {
            catalogue.update(ADA, &old, false, None, &roster, LATE).unwrap();
        };
        // Its part may be told when the file is not listed any more.
        if told_late {
            assert_eq!(holders(&mut catalogue, BEN, "a"), None);
            begins(&mut catalogue);
        } else {
            begins(&mut catalogue);
            assert_eq!(holders(&mut catalogue, BEN, "a").unwrap(), [(ADA, false)]);
        }
        let no = catalogue.update(CYD, &by_cyd, true, None, &roster, LATE).unwrap_err();
        assert_eq!(no.code(), Code::Conflict);
        assert_eq!(catalogue.update(BEN, &by_ben, true, None, &roster, LATE).unwrap(), Some(What::Offers));
        assert_eq!(holders(&mut catalogue, CYD, "a").unwrap(), [(BEN, true)]);
        catalogue.leave(BEN, LATE);
    }
}

#[test]
fn one_that_had_all_of_a_file_and_comes_back_under_another_number_may_replace_it_at_once() {
    let mut roster = roster();
    let mut catalogue = Catalogue::new(limits::DROPS);
    let (old, new, other) = (file("a", b"one"), file("a", b"two"), file("a", b"six"));
    catalogue.update(ADA, &old, true, None, &roster, LATE).unwrap();
    catalogue.update(BEN, &old, false, None, &roster, LATE).unwrap();
    catalogue.leave(ADA, LATE);
    roster.peers.remove(&ADA);
    const ADA_AGAIN: PeerId = 9;
    roster.admit(ADA_AGAIN, candidate("ada", 7001, 0), LATE);
    assert_eq!(catalogue.update(CYD, &other, true, None, &roster, LATE).unwrap_err().code(), Code::Conflict);
    assert_eq!(catalogue.update(ADA_AGAIN, &new, true, None, &roster, LATE).unwrap(), Some(What::Offers));
    assert_eq!(holders(&mut catalogue, CYD, "a").unwrap(), [(ADA_AGAIN, true)]);
}

#[test]
fn parts_keep_a_name_while_they_grow_and_a_minute_more() {
    let roster = roster();
    let mut catalogue = Catalogue::new(limits::DROPS);
    let (old, new) = (file("a", b"one"), file("a", b"two"));
    catalogue.update(ADA, &old, true, None, &roster, 0).unwrap();
    catalogue.update(BEN, &old, false, None, &roster, 0).unwrap();
    let refused = |catalogue: &mut Catalogue, now| {
        catalogue.update(CYD, &new, true, None, &roster, now).is_err_and(|no| no.code() == Code::Conflict)
    };
    assert!(refused(&mut catalogue, 10 * IDLE), "ada has all of it, however long nothing happens");
    catalogue.leave(ADA, 10 * IDLE);
    assert!(refused(&mut catalogue, 11 * IDLE - 1));
    catalogue.grew(old.name(), 11 * IDLE - 1);
    assert!(refused(&mut catalogue, 12 * IDLE - 2), "a part has grown");
    assert!(!refused(&mut catalogue, 12 * IDLE - 1));
}

#[test]
fn nobody_drops_or_publishes_later_than_now() {
    let (roster, mut catalogue) = (roster(), Catalogue::new(limits::DROPS));
    let notes = file("notes.pdf", b"x");
    let (name, id) = (notes.name(), notes.id());
    catalogue.update(ADA, &notes, true, Some(5), &roster, 5).unwrap();
    assert_eq!(catalogue.drop_file(1, name, None, None, 9).unwrap(), Some((id, 9)));
    assert_eq!(
        catalogue.update(ADA, &notes, true, Some(u64::MAX), &roster, 10).unwrap(),
        Some(What::BringsBack)
    );
    assert_eq!(
        catalogue.drop_file(1, name, Some(id), Some(u64::MAX), 10).unwrap(),
        None,
        "nobody can know yet"
    );
    assert_eq!(catalogue.files.len(), 1);
    assert_eq!(
        catalogue.drop_file(1, name, Some(id), Some(16), 15).unwrap(),
        Some((id, 15)),
        "put there before that"
    );
    catalogue.update(ADA, &notes, true, Some(u64::MAX), &roster, 16).unwrap();
    // One that has it, too, and whose clock is wrong.
    catalogue.update(BEN, &notes, true, Some(u64::MAX), &roster, 17).unwrap();
    assert_eq!(catalogue.drop_file(1, name, None, None, 18).unwrap(), Some((id, 18)));
    assert_eq!(catalogue.update(BEN, &notes, true, Some(18), &roster, 19).unwrap_err().code(), Code::Expired);
    // A drop that somebody remembers wins against it, too.
    catalogue.update(BEN, &notes, true, Some(u64::MAX), &roster, 20).unwrap();
    assert!(catalogue.drop_file(1, name, Some(id), Some(21), 21).unwrap().is_some());
    assert_eq!(catalogue.files.len(), 0);
}

#[test]
fn a_difference_counts_when_it_is_seen_twice_unchanged() {
    let roster = roster();
    let mut catalogue = Catalogue::new(limits::DROPS);
    let mut print = Fingerprint::default();
    assert!(!catalogue.differs(ADA, print, LATE));
    let a = file("a", b"one");
    print.toggle(a.name(), a.id(), true);
    assert!(!catalogue.differs(ADA, print, LATE), "its update may be on the way");
    assert!(catalogue.differs(ADA, print, LATE));
    assert!(!catalogue.differs(ADA, print, LATE), "it was asked just now");
    catalogue.update(ADA, &a, true, None, &roster, LATE).unwrap();
    assert!(!catalogue.differs(ADA, print, LATE));
}

/// A file in the model: its content, its holders, and the whole holder that was taken off last.
type Modelled = (u8, BTreeMap<PeerId, bool>, Option<PeerId>);

proptest! {
    /// Against the plainest model there is: a map from file to holders, and a set of what was dropped.
    #[test]
    fn it_is_a_map_of_files_to_holders(
        acts in prop::collection::vec((0..6_u8, 1..4_u64, 0..4_u8, any::<bool>()), 0..60)
    ) {
        let roster = roster();
        let mut catalogue = Catalogue::new(limits::DROPS);
        let mut model: BTreeMap<String, Modelled> = BTreeMap::new();
        let mut dropped: BTreeMap<(String, u8), Millis> = BTreeMap::new();
        // Who had all of a file last that is not listed any more.
        let mut gone: BTreeMap<(String, u8), Option<PeerId>> = BTreeMap::new();
        for (now, (act, peer, what, whole)) in (1..).zip(acts) {
            let (name, content) = (format!("f{}", what / 2), what % 2);
            match act {
                0 | 1 => {
                    let published = (act == 1).then_some(now);
                    let when = dropped.get(&(name.clone(), content));
                    let stays_away = when.is_some_and(|&at| published.unwrap_or_default() <= at);
                    // A part that the peer itself left behind, or all parts where it was the last whole holder.
                    let gives_way = model.get(&name).is_some_and(|(other, held, last)| {
                        let in_part = held.values().all(|whole| !whole);
                        *other != content && in_part && (*last == Some(peer) || held.keys().all(|it| *it == peer))
                    });
                    if gives_way && let Some((other, _, last)) = model.remove(&name) {
                        gone.insert((name.clone(), other), last);
                    }
                    let fits = match model.get(&name) {
                        Some((other, ..)) => *other == content,
                        None => !stays_away,
                    };
                    if fits {
                        let last = gone.get(&(name.clone(), content)).copied().flatten();
                        let entry = model.entry(name.clone()).or_insert((content, BTreeMap::new(), last));
                        entry.1.insert(peer, whole);
                        dropped.remove(&(name.clone(), content));
                    }
                    let done = catalogue.update(peer, &file(&name, &[content]), whole, published, &roster, now);
                    prop_assert_eq!(done.is_ok(), fits);
                }
                3 => {
                    let drops = model.remove(&name);
                    let done = catalogue.drop_file(1, &name.parse().unwrap(), None, None, now);
                    prop_assert_eq!(done.is_ok(), drops.is_some());
                    if let Some((content, held, last)) = drops {
                        let whole = held.iter().filter(|(_, whole)| **whole).map(|(peer, _)| *peer);
                        gone.insert((name.clone(), content), whole.max().or(last));
                        dropped.insert((name, content), now);
                    }
                }
                2 => {
                    let lost = model.get_mut(&name).is_some_and(|(_, holders, last)| {
                        let lost = holders.get(&peer) == Some(&true) && holders.remove(&peer).is_some();
                        *last = if lost { Some(peer) } else { *last };
                        lost
                    });
                    prop_assert_eq!(catalogue.query(peer, &name.parse().unwrap(), false, LATE).lost, lost);
                }
                _ => {
                    for (_, holders, last) in model.values_mut() {
                        if holders.remove(&peer) == Some(true) {
                            *last = Some(peer);
                        }
                    }
                    catalogue.leave(peer, LATE);
                }
            }
            for (name, (content, ..)) in model.iter().filter(|(_, (_, holders, _))| holders.is_empty()) {
                gone.insert((name.clone(), *content), model[name].2);
            }
            model.retain(|_, (_, holders, _)| !holders.is_empty());
        }
        let listed: Vec<_> = catalogue.listings()
            .map(|listing| (listing.manifest.name().to_string(), listing.holders.clone())).collect();
        let expected: Vec<(String, BTreeMap<PeerId, bool>)> =
            model.iter().map(|(name, (_, holders, _))| (name.clone(), holders.clone())).collect();
        prop_assert_eq!(listed, expected);
        let hashes: u64 = model.len() as u64 * 32;
        prop_assert_eq!(catalogue.hashes, hashes);
        for peer in [ADA, BEN, CYD] {
            let mut print = Fingerprint::default();
            let mut held = BTreeSet::new();
            for (name, (content, holders, _)) in &model {
                let Some(whole) = holders.get(&peer) else { continue };
                let file = file(name, &[*content]);
                print.toggle(file.name(), file.id(), *whole);
                held.insert(catalogue.number(file.name()).unwrap());
            }
            let holdings = catalogue.peers.remove(&peer).unwrap_or_default();
            prop_assert_eq!((holdings.print, holdings.files), (print, held));
        }
    }
}
