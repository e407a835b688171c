//! The verbs of the table, and what follows from each.

use super::roster::Wish;
use super::roster::tests::candidate;
use super::*;
use crate::net::message::{Credentials, Download, ProductStage, ProductState, Progress};
use crate::share::fingerprint::Fingerprint;

const QUANTUM: Millis = 1000;
/// After the grace of a new manager.
const NOW: Millis = 100_000;
const DEAD_AFTER: Duration = Duration::from_secs(3);

/// Peers 1, 2, ... with these slots, which can be reached, and nothing that is still to be carried out.
fn table(slots: &[u32]) -> Table {
    let mut table = Table::new(QUANTUM, Replicas::All, 1, Key::random(), 0);
    for (n, &slots) in (1..).zip(slots) {
        let peer = table.admit(candidate(&format!("p{n}"), n, slots), DEAD_AFTER, NOW).unwrap();
        table.tried(peer, Reach::Yes, &Ok(()), NOW);
    }
    table.take_list();
    table.take_effects();
    table
}

/// What was told last.
fn last_event(table: &Table) -> &str {
    table.events.iter().next_back().map_or("", |event| &event.text)
}

fn manifest(name: &str, byte: u8) -> Manifest {
    let layout = crate::share::Layout::of(4).unwrap();
    Manifest::read(name.parse().unwrap(), layout, &[byte; 4][..], &false.into()).unwrap()
}

fn downloads(rows: &[(&str, u32)]) -> Activity {
    let row = |&(file, have): &(&str, u32)| Download {
        file: file.parse().unwrap(),
        have,
        pieces: 9,
        since_ms_ago: 0,
        bytes_per_s: 0,
        from: Vec::new(),
        map: String::new(),
    };
    Activity { downloads: rows.iter().map(row).collect(), ..Activity::default() }
}

/// A lease of so many slots for a peer, which runs.
fn lease(table: &mut Table, requester: PeerId, slots: u32) -> LeaseId {
    let ticket = table.book.ask(&table.roster, Wish { requester, slots, avoid: Vec::new() }, NOW);
    assert!(matches!(table.standing(ticket, NOW), TicketStanding::Leased { .. }));
    ticket
}

#[test]
fn one_that_comes_back_under_another_number_is_known_in_the_queue_and_by_its_lease() {
    for (shows_it, struck) in [(true, false), (true, true), (false, true)] {
        let mut table = table(&[1, 1]);
        let held = lease(&mut table, 1, 1);
        let waits = table.book.ask(&table.roster, Wish { requester: 1, slots: 1, avoid: Vec::new() }, NOW);
        if struck {
            table.strike(1, "its connection broke", NOW);
        }
        let token = if shows_it { table.roster.key.token(1) } else { Key::random() };
        let former = Some(Credentials { peer: 1, token: Some(token) });
        let back = table.admit(Candidate { former, ..candidate("p1", 1, 1) }, DEAD_AFTER, NOW).unwrap();
        assert_eq!(table.book.waits(back), shows_it);
        assert_eq!(table.book.holder(held, 2), Some(if shows_it { back } else { 1 }));
        // The only slot that is free is its own.
        table.tried(back, Reach::Yes, &Ok(()), NOW);
        let waits = matches!(table.standing(waits, NOW), TicketStanding::Waiting(_));
        assert_eq!(waits, shows_it);
    }
}

#[test]
fn one_that_comes_back_where_it_was_reached_counts_as_reached_and_nobody_gives_up_waiting_for_it() {
    for (port, counts) in [(1, true), (9, false)] {
        let mut table = table(&[4, 3]);
        lease(&mut table, NOBODY, 7);
        let wish = Wish { requester: NOBODY, slots: 7, avoid: Vec::new() };
        let waits = table.book.ask(&table.roster, wish, NOW);
        let former = Some(Credentials { peer: 1, token: Some(table.roster.key.token(1)) });
        let later = NOW + 600_000;
        table.admit(Candidate { former, ..candidate("p1", port, 4) }, DEAD_AFTER, later).unwrap();
        let standing = table.standing(waits, later);
        assert_eq!(matches!(standing, TicketStanding::Waiting(_)), counts, "{standing:?}");
    }
}

#[test]
fn a_newcomer_is_told_its_token_and_everybody_the_new_list() {
    let mut table = table(&[4]);
    let peer = table.admit(candidate("new", 9, 1), DEAD_AFTER, NOW).unwrap();
    let token = table.roster.key.token(peer);
    assert_eq!(table.take_effects(), [Effect::Tell(peer, FromManager::Registered { peer, token })]);
    assert_eq!(table.take_effects(), [], "each once");
    assert_eq!(last_event(&table), "new joined from 127.0.0.1:9 with 1 slot");
    assert!(table.list_changed);
    let FromManager::Peers { peers } = table.take_list() else { panic!() };
    assert_eq!(peers.len(), 2);
    assert!(!table.list_changed);
}

#[test]
fn whatever_peers_are_called_their_list_is_no_longer_than_a_line_may_be() {
    let mut table = table(&[]);
    let name = |n: u32| format!("{n:05}{}", "\"".repeat(crate::share::PEER_NAME - 5));
    // As long as an address can be.
    let addr = |n: u32| {
        std::net::SocketAddr::from((
            [0xffff, 0xffff, 0xffff, 0xffff, 0xffff, 0xffff, n as u16, 0xffff],
            65535,
        ))
    };
    table.book.next = 9_999_999_999_999_999;
    let candidate = |n| Candidate { addr: addr(n), ..candidate(&name(n), 1, limits::SLOTS) };
    let refused = (0..9000).find_map(|n| table.admit(candidate(0xf000 + n), DEAD_AFTER, NOW).err()).unwrap();
    assert_eq!(refused.code(), Code::Busy);
    let first = *table.roster.peers.keys().next().unwrap();
    let former = Credentials { peer: first, token: Some(table.roster.key.token(first)) };
    let back = Candidate { former: Some(former), ..candidate(0xf000) };
    assert!(table.admit(back, DEAD_AFTER, NOW).is_ok(), "one that comes back has its place");
    let list = crate::net::message::encode(&table.take_list()).len();
    assert!((limits::MANAGER_LINE * 9 / 10..=limits::MANAGER_LINE).contains(&list), "{list} bytes");
}

#[test]
fn a_peer_that_goes_is_hung_up_on_and_nothing_is_left_of_it() {
    let mut table = table(&[4, 4, 4]);
    let lease = lease(&mut table, 3, 8);
    for peer in [1, 2] {
        table.blame(lease, peer, "wrong", NOW).unwrap();
    }
    table.update(1, &manifest("a", 1), true, None, NOW).unwrap();
    table.take_effects();
    table.strike(1, "it said so", NOW);
    assert!(table.take_effects().contains(&Effect::HangUp(1)));
    assert!(table.list_changed);
    assert_eq!(table.files(false, NOW).len(), 0);
    assert_eq!(table.roster.to_examine, [(2, NOW)], "only the other one is still to be examined");
    let told: Vec<_> = table.events.iter().map(|event| event.text.as_str()).collect();
    assert!(told.contains(&"p1 left: it said so") && told.contains(&"nobody offers a any more"), "{told:?}");
    table.strike(1, "once more", NOW);
    assert_eq!(table.take_effects(), []);
}

#[test]
fn those_whose_turn_it_is_are_pinged_and_the_silent_are_struck() {
    let mut table = table(&[1, 1, 1]);
    table.ping(|peer| peer != 2);
    assert_eq!(table.take_effects(), [1, 3].map(|peer| Effect::Tell(peer, FromManager::Ping {})));
    table.heard(2, Activity::default(), NOW + 2000);
    let late = Duration::from_millis(500);
    table.strike_silent(late, DEAD_AFTER, NOW + 3400);
    assert_eq!(table.roster.peers.len(), 3, "for half a second nobody could be heard");
    table.strike_silent(Duration::ZERO, DEAD_AFTER, NOW + 3500);
    assert_eq!(table.roster.peers.keys().copied().collect::<Vec<_>>(), [2]);
    assert!(last_event(&table).ends_with(" left: silent for 3 s"));
}

#[test]
fn a_peer_that_keeps_the_slots_of_an_ended_lease_is_struck_after_ten_quanta() {
    let end = NOW + 10 * QUANTUM;
    for (gives_back, now, stays) in [(false, end, true), (false, end + 1, false), (true, end + 1, true)] {
        let mut table = table(&[1, 1]);
        let ticket = lease(&mut table, 2, 1);
        table.leave(ticket, NOW);
        if gives_back {
            table.unbound(1, ticket, NOW);
        }
        for peer in [1, 2] {
            table.heard(peer, Activity::default(), now);
        }
        table.strike_silent(Duration::ZERO, DEAD_AFTER, now);
        assert_eq!(table.roster.peers.contains_key(&1), stays);
        assert!(table.roster.peers.contains_key(&2));
    }
}

#[test]
fn a_part_that_grows_keeps_its_name_and_one_that_does_not_loses_it() {
    // Each begins with one piece of `a`, then says this; after a minute another content wants the name.
    for (said, grew) in [
        (&[("a", 2)][..], true),
        (&[("b", 1), ("a", 2)], true),
        (&[("a", 1)], false),
        (&[("a", 0)], false),
        (&[("b", 2)], false),
        (&[], false),
    ] {
        let mut table = table(&[1, 1]);
        table.update(1, &manifest("a", 1), false, None, NOW).unwrap();
        table.heard(1, downloads(&[("a", 1)]), NOW + 1);
        table.heard(1, downloads(said), NOW + 10_000);
        let other = table.update(2, &manifest("a", 2), true, None, NOW + 60_001);
        assert_eq!(
            other.map_err(|no| no.code()),
            if grew { Err(Code::Conflict) } else { Ok(()) },
            "{said:?}"
        );
    }
}

#[test]
fn a_pause_is_told_once_and_so_is_its_end() {
    let mut table = table(&[1]);
    let said = |why: Option<&str>| Activity { paused: why.map(Into::into), ..Activity::default() };
    let mut last = String::new();
    for (turn, (why, told)) in (1..).zip([
        (None, ""),
        (Some("no disk"), "p1 has paused: no disk"),
        (Some("no disk"), ""),
        (None, "p1 goes on: its folder is as it was"),
    ]) {
        table.replicator.due = false;
        let count = table.events.iter().len();
        table.heard(1, said(why), NOW + turn * COMPARE_PAUSE);
        assert_eq!(table.events.iter().len(), count + usize::from(!told.is_empty()), "{told}");
        assert_eq!(table.is_plan_due(), !told.is_empty(), "copies are planned once more");
        last = if told.is_empty() { last } else { told.into() };
        assert!(last.is_empty() || last_event(&table) == last);
    }
}

#[test]
fn however_often_a_peer_says_ok_its_files_are_compared_and_touched_twice_a_second() {
    let mut table = table(&[1, 1]);
    table.update(1, &manifest("a", 1), true, None, NOW).unwrap();
    let paused = |turn: u64| turn.is_multiple_of(3).then(|| "no disk".to_owned());
    let list = Some(Fingerprint::default());
    let (mut touched, mut asked) = (0, 0);
    for turn in 0..2_000 {
        (table.catalogue.touched, table.effects) = Default::default();
        table.heard(1, Activity { list, paused: paused(turn), ..Activity::default() }, NOW + turn);
        touched += table.catalogue.touched.len();
        asked += table.take_effects().len();
        // Others are heard meanwhile.
        table.heard(2, Activity::default(), NOW + turn);
    }
    // What differs is seen twice before it counts.
    assert_eq!((touched, asked), (3, 1));
    assert_eq!(table.state(NOW).peers[0].said.list, None, "that is between the two of them");
    table.heard(1, Activity::default(), NOW + 2_000);
    assert_eq!(table.roster.paused(1), None, "what was passed over is looked at with the next `ok`");
}

#[test]
fn only_one_whose_first_examination_was_refused_gives_its_place_to_another_without_the_token() {
    let mut table = table(&[]);
    let peer = table.admit(candidate("p", 1, 4), DEAD_AFTER, NOW).unwrap();
    let silent = Error::failed("it did not answer");
    let stranger = || Error::new(Code::Expired, "the lease 7 does not run here");
    for (no, code) in [(silent, Some(Code::Busy)), (stranger(), None)] {
        table.tried(peer, Reach::Yes, &Err(no), NOW);
        let again = table.roster.former_self(&candidate("p", 1, 4), 3000, NOW);
        assert_eq!(again.err().map(|no| no.code()), code);
    }
    table.tried(peer, Reach::Yes, &Ok(()), NOW);
    table.roster.former_self(&candidate("p", 1, 4), 3000, NOW).unwrap_err();
}

#[test]
fn one_that_cannot_be_reached_is_told_why_unless_it_came_for_one_command() {
    for (slots, told) in [(4, true), (0, false)] {
        let mut table = table(&[]);
        let peer = table.admit(candidate("p", 1, slots), DEAD_AFTER, NOW).unwrap();
        table.take_effects();
        for _ in 0..2 {
            table.tried(peer, Reach::No("refused".into()), &Err(Error::failed("no answer")), NOW);
        }
        let effects = table.take_effects();
        let is_told = |effect: &Effect| matches!(effect, Effect::Tell(1, FromManager::Error(_)));
        assert_eq!(effects.iter().filter(|effect| is_told(effect)).count(), usize::from(told), "{effects:?}");
        assert_eq!(last_event(&table).contains("p cannot be leased"), told);
        (0..2).for_each(|_| table.tried(peer, Reach::Yes, &Err(Error::failed("no answer")), NOW));
        assert_eq!(last_event(&table) == "p can be reached now", told);
    }
}

fn progress(stages: &[ProductStage]) -> Progress {
    let product =
        |(product, &state): (u32, &ProductStage)| ProductState { product, peer: 1, state, attempts: 1 };
    Progress {
        rows: 1,
        inner: 1,
        cols: 1,
        products: (0..).zip(stages).map(product).collect(),
        all: 0,
        unchecked: 0,
        age_ms: 7,
        again: Vec::new(),
    }
}

#[test]
fn the_last_multiplies_that_were_finished_are_kept_and_no_others() {
    use ProductStage::{Checked, Computing};
    let mut table = table(&[1, 1]);
    let mut multiply = |stages: Option<&[ProductStage]>, unchecked| {
        let ticket = lease(&mut table, 2, 1);
        if let Some(stages) = stages {
            table.progress(ticket, 2, Progress { unchecked, ..progress(stages) }, NOW);
        }
        table.leave(ticket, NOW);
        table.unbound(1, ticket, NOW);
        table.done.iter().map(|done| (done.lease, done.took_ms)).collect::<Vec<_>>()
    };
    assert_eq!(multiply(None, 0), []);
    assert_eq!(multiply(Some(&[Checked, Computing]), 0), []);
    assert_eq!(multiply(Some(&[Checked; 343]), 2058), [], "of 2401 only the first are told");
    let first = multiply(Some(&[Checked, Checked]), 0);
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].1, 7);
    let all: Vec<_> = (0..DONE).map(|_| multiply(Some(&[Checked]), 0).len()).collect();
    assert_eq!(all, [2, 3, 4, 5, 5]);
    assert!(!multiply(Some(&[Checked]), 0).contains(&first[0]), "the oldest goes");
}

#[test]
fn blame_counts_from_the_holder_of_the_lease_only_and_is_told() {
    let mut table = table(&[1, 1]);
    let ticket = lease(&mut table, 2, 1);
    assert_eq!(table.blame(ticket, 2, "it is slow", NOW).unwrap_err().code(), Code::Unauthorised);
    assert_eq!(table.blame(ticket + 1, 1, "it lies", NOW).unwrap_err().code(), Code::Unauthorised);
    assert!(table.roster.to_examine.is_empty());
    table.blame(ticket, 1, "it lies", NOW).unwrap();
    assert_eq!(last_event(&table), "p2 blames p1: it lies");
    assert_eq!(table.roster.to_examine, [(1, NOW)]);
    let count = table.events.iter().len();
    table.complain(1, 9, "of nobody".into(), NOW);
    assert_eq!(table.events.iter().len(), count);
}

#[test]
fn those_that_have_shown_nothing_are_examined_when_their_slots_are_needed_and_are_leased_no_more() {
    let mut table = table(&[1]);
    let no_answer = || Err(Error::failed("it did not answer"));
    for (name, port) in [("fay", 8), ("gil", 9)] {
        let phantom = table.admit(candidate(name, port, port.into()), DEAD_AFTER, NOW).unwrap();
        table.tried(phantom, Reach::Yes, &no_answer(), NOW);
    }
    let (fay, gil, ticket) = (2, 3, lease(&mut table, NOBODY, 1));
    table.leave(ticket, NOW);
    table.unbound(1, ticket, NOW);
    table.take_effects();
    assert!(!table.is_exam_due(NOW), "one that computes was enough");
    for due in [true, false] {
        lease(&mut table, NOBODY, 2);
        table.take_effects();
        assert_eq!(table.is_exam_due(NOW), due, "once");
        let used = [fay, gil].map(|phantom| table.book.used(phantom));
        let exams: Vec<Exam> = std::iter::from_fn(|| table.begin_exam(NOW)).collect();
        assert_eq!([fay, gil].map(|phantom| table.book.used(phantom)), used, "that takes no slot");
        assert_eq!(exams.len(), if due { 2 } else { 0 }, "also the one that was not leased");
    }
    for peer in [fay, gil] {
        let exam = table.first_exam(peer).unwrap();
        table.examined(&exam, no_answer(), NOW);
    }
    let ticket = table.book.ask(&table.roster, Wish { requester: 1, slots: 1, avoid: Vec::new() }, NOW);
    assert_eq!(table.standing(ticket, NOW), TicketStanding::Infeasible { leasable: 0 });
    assert_eq!(last_event(&table), "gil is quarantined: it failed its examination: it did not answer");
    assert!(!table.is_exam_due(NOW) && table.is_exam_due(NOW + 5000), "they are asked again");
}

#[test]
fn one_that_was_blamed_is_examined_when_its_time_has_come_and_it_has_a_slot_to_spare() {
    let mut table = table(&[1, 1]);
    let ticket = lease(&mut table, 2, 1);
    assert!(!table.is_exam_due(NOW) && table.begin_exam(NOW).is_none(), "nobody is blamed");
    table.blame(ticket, 1, "it lies", NOW).unwrap();
    assert!(!table.is_exam_due(NOW) && table.begin_exam(NOW).is_none(), "it has no slot to spare");
    table.leave(ticket, NOW);
    table.unbound(1, ticket, NOW);
    assert!(!table.is_exam_due(NOW - 1) && table.begin_exam(NOW - 1).is_none(), "too early");
    assert!(table.is_exam_due(NOW));
    let exam = table.begin_exam(NOW).unwrap();
    assert_eq!((exam.peer, table.book.used(1)), (1, 1));
    // No answer: it is asked again later, and that is told once.
    for told in [1, 0] {
        let count = table.events.iter().len();
        table.examined(&exam, Err(Error::failed("no answer")), NOW);
        assert_eq!(table.events.iter().len(), count + told);
    }
    assert_eq!(last_event(&table), "p1 is quarantined: it failed its examination: no answer");
    table.unbound(1, exam.lease, NOW);
    assert!(!table.is_exam_due(NOW) && table.is_exam_due(NOW + 5_000));
    table.examined(&exam, Ok(()), NOW);
    assert_eq!(last_event(&table), "p1 was examined: its product was right");
    let first = table.first_exam(2).unwrap();
    assert_eq!((first.peer, first.addr.port()), (2, 2));
    assert_eq!(first.key, table.roster.key.token(2).of_lease(first.lease, 2));
    assert!(table.first_exam(9).is_none());
    table.tell_of(2, "gave up", NOW);
    assert_eq!(last_event(&table), "p2 gave up");
}

#[test]
fn one_that_offers_what_was_dropped_is_told_to_drop_it_and_one_that_is_refused_otherwise_is_not() {
    let mut table = table(&[1, 1]);
    let (a, other) = (manifest("a", 1), manifest("a", 2));
    table.update(1, &a, true, None, NOW).unwrap();
    table.drop_file(1, a.name(), None, None, false, NOW + 5).unwrap();
    let told = dropped(a.name(), a.id(), NOW + 5);
    assert_eq!(table.take_effects(), [Effect::TellAll(told.clone())]);
    assert_eq!(table.update(2, &a, true, None, NOW + 6).unwrap_err().code(), Code::Expired);
    assert_eq!(table.take_effects(), [Effect::Tell(2, told)]);
    table.update(1, &other, true, None, NOW + 7).unwrap();
    assert_eq!(table.update(2, &manifest("a", 3), true, None, NOW + 8).unwrap_err().code(), Code::Conflict);
    assert_eq!(table.take_effects(), []);
}

#[test]
fn what_is_not_listed_can_be_dropped_only_by_one_that_remembers_it() {
    let mut table = table(&[1]);
    let a = manifest("a", 1);
    let drop =
        |table: &mut Table, remembers| table.drop_file(1, a.name(), Some(a.id()), Some(5), remembers, NOW);
    assert_eq!(drop(&mut table, false).unwrap_err().code(), Code::NotFound);
    assert_eq!(table.take_effects(), []);
    drop(&mut table, true).unwrap();
    assert_eq!(table.take_effects(), [Effect::TellAll(dropped(a.name(), a.id(), 5))]);
    let moves = "each peer moves it to its trash";
    assert_eq!(last_event(&table), format!("p1 remembers that a was dropped: {moves}"));
    // Of what nobody has ever seen others are told so many in a second; of what is listed always.
    for at in 6..6 + 2 * u64::from(RUMOURS) {
        table.drop_file(1, a.name(), Some(a.id()), Some(at), true, NOW).unwrap();
    }
    assert_eq!(table.take_effects().len() + 1, RUMOURS as usize);
    table.update(1, &a, true, Some(NOW), NOW).unwrap();
    table.drop_file(1, a.name(), Some(a.id()), Some(NOW), true, NOW).unwrap();
    assert_eq!(table.take_effects().len(), 1);
    table.drop_file(1, a.name(), Some(a.id()), Some(NOW + 1000), true, NOW + 1000).unwrap();
    assert_eq!(table.take_effects().len(), 1, "and in the next second again");
    let b = manifest("b", 1);
    table.update(1, &b, true, None, NOW).unwrap();
    table.drop_file(1, b.name(), None, None, true, NOW).unwrap();
    assert_eq!(last_event(&table), format!("p1 dropped b: {moves}"), "a person wants it now");
}

#[test]
fn holders_are_named_with_passes_for_a_peer_and_one_that_has_paused_is_not() {
    let mut table = table(&[1, 1, 1]);
    let a = manifest("a", 1);
    for peer in [1, 2] {
        table.update(peer, &a, true, None, NOW).unwrap();
    }
    let pass = |requester, table: &mut Table| {
        let (_, holders) = table.query(requester, a.name(), true, NOW).unwrap();
        holders.into_iter().map(|holder| (holder.peer, holder.pass)).collect::<Vec<_>>()
    };
    assert_eq!(pass(NOBODY, &mut table), [(1, None), (2, None)]);
    let passes = [1, 2].map(|peer| (peer, Some(table.roster.key.token(peer).pass(3, a.id()))));
    assert_eq!(pass(3, &mut table), passes);
    let paused = Activity { paused: Some("no disk".into()), ..Activity::default() };
    table.heard(1, paused.clone(), NOW);
    assert_eq!(pass(3, &mut table), [passes[1].clone()]);
    table.heard(2, paused, NOW);
    let no = table.query(3, a.name(), true, NOW).unwrap_err();
    assert_eq!(no.code(), Code::NotFound);
    assert!(no.to_string().contains("paused: no disk"), "{no}");
}

#[test]
fn one_that_uploads_nothing_sends_nothing() {
    let mut table = table(&[]);
    let with = |up, port| Candidate { up, ..candidate(&format!("p{port}"), port, 1) };
    let peers = [(None, 1), (Some(0), 2), (Some(9), 3)]
        .map(|(up, port)| table.admit(with(up, port), DEAD_AFTER, NOW).unwrap());
    assert_eq!(peers.map(|peer| table.sends(peer)), [true, false, true]);
    assert!(!table.sends(99));
}

#[test]
fn a_copy_that_is_missing_is_asked_for_and_that_is_told() {
    let mut table = table(&[1, 1]);
    assert!(table.is_plan_due(), "peers have come");
    let much_later = NOW + 60_000;
    table.replicate(much_later);
    assert!(!table.is_plan_due());
    table.update(1, &manifest("a", 1), true, None, much_later).unwrap();
    assert!(table.is_plan_due(), "a file has come");
    let next = table.replicate(much_later);
    assert!(next.is_some_and(|next| next > much_later), "the order is looked after: {next:?}");
    let asked = Effect::Tell(2, FromManager::Fetch { file: "a".parse().unwrap() });
    assert!(table.take_effects().contains(&asked));
    assert_eq!(last_event(&table), "p2 is asked to fetch a, 4 B");
    assert!(!table.is_plan_due());
}

#[test]
fn of_many_holders_three_are_named() {
    for (peers, reason) in [
        (1, "p1 has all of it"),
        (2, "p1 and p2 have all of it"),
        (3, "p1, p2 and p3 have all of it"),
        (5, "p1, p2, p3 and 2 more have all of it"),
    ] {
        let mut table = table(&vec![1; peers]);
        for peer in 1..=peers as PeerId {
            table.update(peer, &manifest("a", 1), true, None, NOW).unwrap();
        }
        let health = table.files(true, NOW).next().unwrap().health.unwrap();
        assert_eq!(health.reason, reason);
    }
}

#[test]
fn files_come_page_by_page() {
    let mut table = table(&[1, 1]);
    for file in ["a", "b", "c"] {
        for peer in [1, 2] {
            table.update(peer, &manifest(file, 1), true, None, NOW).unwrap();
        }
    }
    // A row and its two holders are three.
    for (room, rows) in [(0, 0), (1, 1), (3, 1), (4, 2), (6, 2), (7, 3), (100, 3)] {
        assert_eq!(table.page(None, room, false, NOW).len(), rows, "{room}");
    }
    let last = "a".parse().unwrap();
    let names: Vec<_> = table.page(Some(&last), 100, false, NOW).into_iter().map(|row| row.file).collect();
    assert_eq!(names, ["b", "c"].map(|name| name.parse().unwrap()));
}
