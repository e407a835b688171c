//! The rules of the roster, one test each.

use super::*;
use crate::net::message::{FailedFile, UploadStage, UploadState, VERSION};
use crate::share::FileName;

/// A peer that wants to join.
pub(crate) fn candidate(name: &str, port: u16, slots: u32) -> Candidate {
    let (name, addr) = (name.parse().unwrap(), ([127, 0, 0, 1], port).into());
    let (version, keeps, former, bound, up, down) = (VERSION, true, None, Vec::new(), None, None);
    Candidate { version, name, addr, slots, keeps, former, bound, up, down }
}

/// Peers 1, 2, ... with these slots, all reachable.
fn roster(slots: &[u32]) -> Roster {
    let mut roster = Roster::new(Key::random());
    for (i, &slots) in slots.iter().enumerate() {
        let id = i as u64 + 1;
        roster.admit(id, candidate(&format!("p{id}"), id as u16, slots), 0);
        roster.peers.get_mut(&id).unwrap().reach = Reach::Yes;
    }
    roster
}

#[test]
fn names_and_addresses_are_a_set_and_only_one_that_shows_the_token_takes_its_own_place() {
    let mut roster = roster(&[4, 4]);
    roster.peers.values_mut().for_each(|peer| peer.proven = true);
    let join = |roster: &Roster, name, port, former: Option<PeerId>| {
        let former = former.map(|peer| Credentials { peer, token: Some(roster.key.token(1)) });
        roster.former_self(&Candidate { former, ..candidate(name, port, 4) }, 3000, 1000)
    };
    assert_eq!(join(&roster, "p1", 1, Some(1)).unwrap(), Some(1));
    assert_eq!(join(&roster, "p1", 7, Some(1)).unwrap(), Some(1), "its address may change");
    assert_eq!(join(&roster, "p1", 2, Some(1)).unwrap_err().code(), Code::Conflict);
    assert_eq!(join(&roster, "p3", 3, None).unwrap(), None);
    let error = join(&roster, "p1", 3, None).unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    assert_eq!(error.to_string(), "the name p1 is taken by the peer at 127.0.0.1:1; choose another --name");
    assert_eq!(join(&roster, "p3", 1, None).unwrap_err().code(), Code::Conflict);
    for former in [None, Some(2), Some(9)] {
        let error = join(&roster, "p1", 1, former).unwrap_err();
        assert_eq!(error.code(), Code::Busy);
        assert!(error.to_string().ends_with("silent for another 2.0 s"), "{error}");
    }
    let again = roster.former_self(&candidate("p1", 3, 4), 3000, 1200).unwrap_err();
    assert_eq!(again.code(), Code::Busy, "one that has fallen silent may be its former self");
    assert!(again.to_string().starts_with("p1 at 127.0.0.1:1 is still listed"), "{again}");
    assert!(again.to_string().ends_with("silent for another 1.8 s"), "{again}");
    let other = roster.former_self(&candidate("p1", 2, 4), 3000, 1200).unwrap_err();
    assert_eq!(other.code(), Code::Conflict, "the address is another's all the same");
    roster.peers.remove(&1);
    assert_eq!(join(&roster, "p1", 3, Some(1)).unwrap(), None, "it left");
}

#[test]
fn only_its_token_shows_who_somebody_is() {
    let (roster, elsewhere) = (roster(&[4, 4]), roster(&[4, 4]));
    let caller =
        |peer, token: Option<Key>| roster.caller(&Credentials { peer, token }).map_err(|no| no.code());
    assert_eq!(caller(1, Some(roster.key.token(1))), Ok(1));
    assert_eq!(caller(NOBODY, None), Ok(NOBODY));
    for token in
        [None, Some(roster.key.token(2)), Some(elsewhere.key.token(1)), Some(roster.key.of_lease(7, 1))]
    {
        assert_eq!(caller(1, token), Err(Code::Unauthorised));
    }
    assert_eq!(caller(9, Some(roster.key.token(9))), Err(Code::Unauthorised), "it is not here");
    let member =
        |peer, token: Option<Key>| roster.member(&Credentials { peer, token }).map_err(|no| no.code());
    assert_eq!(member(1, Some(roster.key.token(1))), Ok(1));
    assert_eq!(member(NOBODY, None), Err(Code::Unauthorised), "nobody is not enough");
}

#[test]
fn one_that_offers_more_slots_than_a_peer_may_have_is_refused() {
    let roster = roster(&[]);
    for (slots, refused) in [
        (0, None),
        (limits::SLOTS, None),
        (limits::SLOTS + 1, Some(Code::BadMessage)),
        (u32::MAX, Some(Code::BadMessage)),
    ] {
        let joins = roster.former_self(&candidate("p", 1, slots), 3000, 0);
        assert_eq!(joins.err().map(|no| no.code()), refused, "{slots} slots");
    }
}

#[test]
fn there_is_room_for_as_many_of_the_longest_names_as_fit_into_a_line() {
    let (mut roster, most) = (roster(&[]), limits::MANAGER_LINE / (CARD + 2 * PEER_NAME));
    let longest = |id| candidate(&format!("{id:0>PEER_NAME$}"), 1, 1);
    (1..most).for_each(|id| roster.admit(id as PeerId, longest(id), 0));
    assert!(roster.has_room(), "for one more");
    roster.admit(most as PeerId, longest(most), 0);
    assert!(!roster.has_room());
}

#[test]
fn an_address_is_spelt_in_one_way() {
    let spelt = |text: &str| spell(text.parse().unwrap()).map(|addr| addr.to_string());
    assert_eq!(spelt("[::ffff:127.0.0.1%7]:9").unwrap(), "127.0.0.1:9");
    assert_eq!(spelt("[fe80::1%3]:9").unwrap(), "[fe80::1]:9");
    assert_eq!(spelt("0.0.0.0:9").unwrap_err().code(), Code::BadMessage);
    assert_eq!(spelt("127.0.0.1:0").unwrap_err().code(), Code::BadMessage);
}

#[test]
fn silence_is_counted_but_not_while_nobody_could_be_heard() {
    let mut roster = roster(&[1, 1]);
    roster.heard(2, Activity::default(), 1500);
    assert_eq!(roster.silent(3000, 3000), [1]);
    roster.excuse(400, 3000);
    assert!(roster.silent(3000, 3399).is_empty());
    assert_eq!(roster.silent(3000, 3400), [1]);
    roster.excuse(9000, 4000);
    assert!(roster.silent(3000, 6999).is_empty(), "nobody was heard in the future");
    assert_eq!(roster.silent(3000, 7000), [1, 2]);
}

#[test]
fn however_much_a_peer_says_of_itself_only_so_much_of_it_is_kept() {
    let (mut roster, file) = (roster(&[1]), "a".parse::<FileName>().unwrap());
    let (state, since_ms_ago, up, down) = (UploadStage::Choked, 0, 0, 0);
    let failed = |n| FailedFile { file: file.clone(), why: format!("{n}\n{}", "x".repeat(1000)) };
    let upload = |peer| UploadState { peer, file: file.clone(), state, since_ms_ago, up, down };
    let (failed, uploads) = ((0..100).map(failed).collect(), (0..100).map(upload).collect());
    roster.heard(1, Activity { failed, uploads, ..Activity::default() }, 0);
    let Activity { failed, uploads, .. } = &roster.peers[&1].said;
    assert_eq!((failed.len(), uploads.len()), (8, 16), "of each the first");
    assert!(failed[7].why.starts_with("7\u{fffd}x") && failed[7].why.len() < 510, "{}", failed[7].why);
    assert_eq!(uploads[15].peer, 15);
}

#[test]
fn one_that_was_blamed_is_examined_before_it_is_leased_again_and_only_if_that_fails_it_is_in_quarantine() {
    let mut roster = roster(&[4, 4]);
    let slots = |roster: &Roster| {
        let row = roster.peers.get(&1).unwrap();
        (row.open(), row.leasable(), row.state(0).reason)
    };
    roster.peers.get_mut(&1).unwrap().reach = Reach::Unknown;
    assert_eq!((slots(&roster).0, slots(&roster).1), (0, 4));
    roster.peers.get_mut(&1).unwrap().reach = Reach::No("connection refused".into());
    assert_eq!((slots(&roster).0, slots(&roster).1), (0, 0));
    roster.peers.get_mut(&1).unwrap().reach = Reach::Yes;
    assert!(roster.blame(2, 7, 1, 0) && roster.blame(2, 7, 1, 0));
    assert_eq!(roster.to_examine, [(1, 0)], "once, however often it is blamed");
    assert_eq!(slots(&roster), (0, 4, "it was blamed, and is examined first".into()));
    roster.examined(1, &Ok(()), 0);
    assert_eq!(slots(&roster), (4, 4, String::new()));
    roster.blame(2, 7, 1, 0);
    roster.to_examine.clear();
    assert_eq!(roster.examined(1, &Err(Error::failed("silence")), 0), Some(false));
    assert_eq!((slots(&roster).0, slots(&roster).1), (0, 0));
    assert!(slots(&roster).2.starts_with("quarantined") && slots(&roster).2.ends_with("silence"));
    assert_eq!(roster.to_examine, [(1, AGAIN)], "it is asked again");
    assert_eq!(roster.examined(1, &Err(Error::failed("silence")), 0), Some(true));
    roster.to_examine.clear();
    assert_eq!(roster.examined(1, &Ok(()), 0), Some(false));
    assert_eq!(slots(&roster).0, 4, "it was at its end for a while");
    roster.examined(1, &Err(Error::new(Code::Check, "row 1 is wrong")), 0);
    assert!(roster.to_examine.is_empty() && slots(&roster).0 == 0);
}

#[test]
fn who_blames_falsely_three_times_is_not_heard_for_an_hour() {
    let mut roster = roster(&[4, 4, 4]);
    for n in 1..=FALSE_BLAMES {
        assert!(roster.blame(2, n.into(), 1, n.into()));
        roster.examined(1, &Ok(()), n.into());
    }
    let last = Millis::from(FALSE_BLAMES);
    assert!(!roster.blame(2, 9, 1, last + DEAF - 1));
    assert!(roster.blame(3, 9, 1, last), "others are heard");
    roster.examined(1, &Ok(()), last);
    assert!(roster.blame(2, 9, 1, last + DEAF));
    roster.examined(1, &Ok(()), last + DEAF);
    assert!(roster.blame(2, 10, 1, last + DEAF), "and it is counted from the beginning");
}

#[test]
fn no_blame_is_false_of_a_peer_that_was_at_its_end_and_no_second_one_in_the_same_lease() {
    let mut roster = roster(&[4, 4]);
    for n in 0..=FALSE_BLAMES {
        assert!(roster.blame(2, 7, 1, 0), "it was wrong {n} times in one lease");
        roster.examined(1, &Ok(()), 0);
    }
    for n in 0..=FALSE_BLAMES {
        assert!(roster.blame(2, (8 + n).into(), 1, 0), "it was right {n} times");
        roster.examined(1, &Err(Error::failed("silence")), 0);
        roster.examined(1, &Ok(()), 0);
    }
}

#[test]
fn each_that_blamed_a_peer_before_its_examination_did_so_falsely_once_in_however_many_leases() {
    let mut roster = roster(&[4, 4, 4]);
    for n in 1..=u64::from(FALSE_BLAMES) {
        for (accuser, lease) in [(2, 1), (2, 2), (3, 3)] {
            assert!(roster.blame(accuser, 10 * n + lease, 1, 0), "{accuser} is heard the {n}th time");
        }
        roster.examined(1, &Ok(()), 0);
    }
    assert_eq!([2, 3].map(|accuser| roster.blame(accuser, 99, 1, 0)), [false, false]);
}

#[test]
fn of_several_peers_the_one_is_named_whose_slots_are_closed() {
    let mut roster = roster(&[0, 4, 4]);
    let closed = |roster: &Roster, tried| {
        roster.closed(&Wish { requester: NOBODY, slots: 9, avoid: Vec::new() }, tried)
    };
    assert_eq!(closed(&roster, true), None);
    roster.peers.get_mut(&3).unwrap().reach = Reach::Unknown;
    assert_eq!(closed(&roster, true).unwrap(), "p3: its address is being tried");
    assert_eq!(closed(&roster, false), None, "it does not count");
}

#[test]
fn those_that_have_shown_that_they_compute_come_first_and_only_they_hold_their_address() {
    let mut roster = roster(&[4, 4, 4]);
    roster.peers.get_mut(&2).unwrap().proven = true;
    let liked = |slots| {
        let wish = Wish { requester: NOBODY, slots, avoid: Vec::new() };
        roster.liked(&wish).map(|peer| peer.id).collect::<Vec<_>>()
    };
    assert_eq!((liked(4), liked(5)), (vec![2], vec![1, 2, 3]));
    let join = |roster: &Roster, name, port| {
        roster.former_self(&candidate(name, port, 4), 3000, 1000).map_err(|no| no.code())
    };
    assert_eq!(join(&roster, "p4", 1), Ok(None), "the first has shown nothing");
    assert_eq!(join(&roster, "p4", 2), Err(Code::Conflict));
    assert_eq!(join(&roster, "p2", 2), Err(Code::Busy));
    assert_eq!(join(&roster, "p1", 1), Err(Code::Busy), "it may be stopped, and come back");
    roster.peers.get_mut(&1).unwrap().is_replaced = true;
    assert_eq!(join(&roster, "p1", 1), Ok(Some(1)), "another program is there, which may be this one");
}
