//! The rules of the lease book, one test each; then what must hold whatever happens.

use proptest::prelude::*;

use super::*;
use crate::manager::state::roster::Reach;
use crate::manager::state::roster::tests::candidate;
use crate::net::key::Key;

const QUANTUM: Millis = 1000;
/// After the grace of a new manager.
const NOW: Millis = 10_000;

/// Peers 1, 2, ... with these slots, and an empty book.
fn desk(slots: &[u32]) -> (Roster, LeaseBook) {
    let mut roster = Roster::new(Key::random());
    for (i, &slots) in slots.iter().enumerate() {
        let id = i as u64 + 1;
        roster.admit(id, candidate(&format!("p{id}"), id as u16, slots), 0);
        roster.peers.get_mut(&id).unwrap().reach = Reach::Yes;
    }
    (roster, LeaseBook { quantum: QUANTUM, next: 100, ..LeaseBook::default() })
}

fn wish(requester: PeerId, slots: u32) -> Wish {
    Wish { requester, slots, avoid: Vec::new() }
}

fn effects(book: &mut LeaseBook) -> Vec<Effect> {
    std::mem::take(&mut book.effects)
}

fn granted(book: &mut LeaseBook) -> Vec<LeaseId> {
    let turn = |effect| match effect {
        Effect::Turn(ticket) => Some(ticket),
        _ => None,
    };
    effects(book).into_iter().filter_map(turn).collect()
}

/// The lease ends and every peer says `unbound` at once.
fn finish(roster: &Roster, book: &mut LeaseBook, lease: LeaseId, now: Millis) {
    let cards = match book.standing(roster, lease, now) {
        TicketStanding::Leased { slots, .. } => slots,
        other => panic!("{lease} is {other:?}"),
    };
    book.leave(roster, lease, now);
    for card in cards {
        book.unbound(roster, card.peer, lease, now);
    }
}

/// Where `requester` gets `slots` slots, as (peer, slots).
fn shares(
    roster: &Roster,
    book: &mut LeaseBook,
    slots: u32,
    requester: PeerId,
) -> Option<Vec<(PeerId, u32)>> {
    let cards = book.take(roster, &wish(requester, slots))?;
    Some(cards.iter().map(|card| (card.peer, card.slots)).collect())
}

#[test]
fn a_registered_peer_has_one_place_in_the_queue_and_hears_when_it_is_free() {
    let (roster, mut book) = desk(&[1, 0, 0]);
    let first = book.ask(&roster, wish(2, 1), NOW);
    assert!(std::mem::take(&mut book.place_left), "it was served at once");
    book.ask(&roster, wish(NOBODY, 1), NOW);
    assert!(!book.waits(NOBODY), "those that are not registered are not told apart");
    let ticket = book.ask(&roster, wish(2, 1), NOW);
    assert!(book.waits(2) && !book.waits(3));
    let FromManager::Wait { position, asked, free, .. } = book.second(&roster, &wish(2, 7)) else { panic!() };
    assert_eq!((position, asked, free), (3, 7, 0));
    finish(&roster, &mut book, first, NOW);
    assert!(!book.place_left, "the one that was served is not registered");
    book.leave(&roster, ticket, NOW);
    assert!(book.place_left && !book.waits(2));
}

#[test]
fn when_the_head_gives_up_the_next_one_is_served_at_once() {
    let (roster, mut book) = desk(&[1, 1]);
    book.ask(&roster, wish(NOBODY, 1), NOW);
    let head = book.ask(&roster, wish(NOBODY, 2), NOW);
    let next = book.ask(&roster, wish(NOBODY, 1), NOW);
    effects(&mut book);
    book.leave(&roster, head, NOW);
    assert_eq!(granted(&mut book), [next]);
}

#[test]
fn a_lease_is_renewed_until_its_last_millisecond_and_no_later() {
    for (now, renewed) in [(NOW + QUANTUM - 1, true), (NOW + QUANTUM, false)] {
        let (roster, mut book) = desk(&[1]);
        let ticket = book.ask(&roster, wish(NOBODY, 1), NOW);
        effects(&mut book);
        book.renew(ticket, now);
        assert_eq!(!effects(&mut book).is_empty(), renewed);
    }
}

#[test]
fn only_the_holder_of_a_lease_that_a_peer_served_is_told_that_it_is_lost() {
    let (mut roster, mut book) = desk(&[1, 1]);
    let tickets = [0, 1].map(|_| book.ask(&roster, wish(NOBODY, 1), NOW));
    effects(&mut book);
    roster.peers.remove(&1);
    book.lost(&roster, 1, NOW);
    let lost = Effect::TellHolder(tickets[0], FromManager::Lost { lease: tickets[0], peer: 1 });
    assert_eq!(effects(&mut book), [lost]);
}

#[test]
fn the_queue_is_numbered_from_one() {
    let (roster, mut book) = desk(&[1]);
    for _ in 0..3 {
        book.ask(&roster, wish(NOBODY, 1), NOW);
    }
    assert_eq!(book.waiters(&roster, NOW).map(|row| row.position).collect::<Vec<_>>(), [1, 2]);
}

#[test]
fn no_card_is_of_no_slots_and_no_more_are_marked_than_there_are() {
    let (roster, mut book) = desk(&[2, 2, 2]);
    assert_eq!(shares(&roster, &mut book, 1, NOBODY), Some(vec![(1, 1)]));
    let one = &roster.peers[&1];
    assert_eq!(book.mark_used(one, 5).slots, 1, "one is left");
    assert_eq!((book.used(1), book.mark_used(one, 1).slots), (2, 0));
    assert!(!book.is_free(&roster, 1) && book.is_free(&roster, 2) && !book.is_free(&roster, 9));
    assert_eq!(shares(&roster, &mut book, 2, NOBODY), Some(vec![(2, 1), (3, 1)]), "none of one that is full");
    let exam = book.examine(&roster, 2, NOW).unwrap();
    assert_eq!((exam.peer, exam.addr.port(), book.used(2)), (2, 2, 2));
    assert!(book.examine(&roster, 9, NOW).is_none());
}

#[test]
fn slots_are_spread_over_as_many_peers_as_possible() {
    let seven = |slots: &[u32]| {
        let (roster, mut book) = desk(slots);
        shares(&roster, &mut book, 7, 0)
    };
    assert_eq!(seven(&[4, 4]), Some(vec![(1, 4), (2, 3)]));
    assert_eq!(seven(&[4, 4, 4]), Some(vec![(1, 3), (2, 2), (3, 2)]));
    assert_eq!(seven(&[1, 9, 1]), Some(vec![(2, 5), (1, 1), (3, 1)]));
}

#[test]
fn all_or_none_and_never_ones_own() {
    let (roster, mut book) = desk(&[4, 4]);
    assert_eq!(shares(&roster, &mut book, 5, 1), None);
    assert_eq!(book.free(&roster, &wish(0, u32::MAX)), 8, "a refused request takes nothing");
    assert_eq!(shares(&roster, &mut book, 4, 1), Some(vec![(2, 4)]));
    assert_eq!((book.free(&roster, &wish(1, u32::MAX)), book.used(2)), (0, 4));
}

#[test]
fn peers_that_are_to_be_avoided_give_nothing_and_do_not_count() {
    let (roster, mut book) = desk(&[4, 4, 4]);
    let avoids = |slots| Wish { avoid: vec![2, 9], ..wish(1, slots) };
    let lease = book.ask(&roster, avoids(4), NOW);
    let TicketStanding::Leased { slots, .. } = book.standing(&roster, lease, NOW) else { panic!() };
    assert_eq!(slots.iter().map(|card| card.peer).collect::<Vec<_>>(), [3]);
    let too_many = book.ask(&roster, avoids(5), NOW);
    assert_eq!(book.standing(&roster, too_many, NOW), TicketStanding::Infeasible { leasable: 4 });
}

#[test]
fn the_keys_of_a_lease_are_told_to_its_holder_and_its_peers_and_not_shown_to_all() {
    let (roster, mut book) = desk(&[4, 4]);
    let lease = book.ask(&roster, wish(0, 7), NOW);
    let TicketStanding::Leased { slots, .. } = book.standing(&roster, lease, NOW) else { panic!() };
    for card in &slots {
        let key = card.key.clone().unwrap();
        let bind = FromManager::Bind { lease, slots: card.slots, for_ms: QUANTUM, key };
        assert!(book.effects.contains(&Effect::Tell(card.peer, bind)));
    }
    assert_ne!(slots[0].key, slots[1].key);
    assert!(book.leases(&roster).all(|lease| lease.slots.iter().all(|card| card.key.is_none())));
}

#[test]
fn the_head_is_told_of_the_end_that_gives_it_its_last_slot() {
    let (roster, mut book) = desk(&[4, 4, 4]);
    let says = |book: &mut LeaseBook, ticket| match book.standing(&roster, ticket, NOW + 2) {
        TicketStanding::Waiting(FromManager::Wait { reason, .. }) => reason,
        other => panic!("{other:?}"),
    };
    // The first to end gives one slot and the second six; peer 3 asks for all eight of the others.
    let (first, second) = (book.ask(&roster, wish(1, 1), NOW), book.ask(&roster, wish(2, 6), NOW + 1));
    let head = book.ask(&roster, wish(3, 8), NOW + 2);
    let reason = says(&mut book, head);
    assert!(reason.ends_with("the lease of p2 ends in 1.0 s at the latest"), "{reason}");
    book.leave(&roster, second, NOW + 2);
    let reason = says(&mut book, head);
    assert!(reason.ends_with("the lease of p1 ends in 1.0 s at the latest"), "{reason}");
    book.leave(&roster, first, NOW + 2);
    let reason = says(&mut book, head);
    assert!(reason.ends_with("finishes the last product of a lease that ended"), "{reason}");
}

#[test]
fn only_the_head_takes_and_a_request_that_fits_does_not_overtake() {
    let (roster, mut book) = desk(&[4, 4]);
    let ada = book.ask(&roster, wish(0, 7), NOW);
    let ben = book.ask(&roster, wish(0, 7), NOW);
    let cyd = book.ask(&roster, wish(0, 1), NOW);
    assert_eq!(granted(&mut book), [ada]);
    match book.standing(&roster, cyd, NOW) {
        TicketStanding::Waiting(FromManager::Wait { position: 2, asked: 1, free: 1, reason }) => {
            assert_eq!(reason, "one is before you; the head of the queue waits for 7 slots, 1 is free")
        }
        other => panic!("{other:?}"),
    }
    finish(&roster, &mut book, ada, NOW);
    assert_eq!(granted(&mut book), [ben, cyd]);
}

#[test]
fn slots_return_only_when_the_peer_says_unbound() {
    let (roster, mut book) = desk(&[1]);
    let ada = book.ask(&roster, wish(0, 1), NOW);
    let ben = book.ask(&roster, wish(0, 1), NOW);
    book.leave(&roster, ada, NOW);
    assert!(effects(&mut book).contains(&Effect::Tell(1, FromManager::Unbind { lease: ada })));
    assert!(matches!(book.standing(&roster, ben, NOW), TicketStanding::Waiting(_)));
    assert!(book.overdue(NOW + PATIENCE * QUANTUM).is_empty());
    assert_eq!(book.overdue(NOW + PATIENCE * QUANTUM + 1), [1]);
    book.unbound(&roster, 1, ada, NOW);
    assert_eq!(granted(&mut book), [ben]);
    book.unbound(&roster, 1, ada, NOW);
    assert_eq!(book.free(&roster, &wish(0, u32::MAX)), 0, "unbound twice gives nothing back twice");
}

#[test]
fn a_lease_is_renewed_only_while_nobody_waits() {
    let (roster, mut book) = desk(&[1]);
    let ada = book.ask(&roster, wish(0, 1), NOW);
    effects(&mut book);
    book.renew(ada, NOW + 600);
    let key = roster.key.of_lease(ada, 1);
    let bind = FromManager::Bind { lease: ada, slots: 1, for_ms: QUANTUM, key };
    assert_eq!(effects(&mut book), [Effect::Tell(1, bind)], "its peer is told, too");
    assert_eq!(book.leases[&ada].until, NOW + 600 + QUANTUM);
    let _ben = book.ask(&roster, wish(0, 1), NOW + 700);
    book.renew(ada, NOW + 800);
    assert_eq!(book.leases[&ada].until, NOW + 600 + QUANTUM, "somebody waits");
    assert_eq!(effects(&mut book), []);
    book.leave(&roster, ada, NOW + 1600);
    book.renew(ada, NOW + 1600);
    assert_eq!(book.standing(&roster, ada, NOW + 1600), TicketStanding::Over);
}

#[test]
fn more_than_all_others_own_is_infeasible_at_once_and_when_peers_leave() {
    let (mut roster, mut book) = desk(&[4, 4]);
    let large = book.ask(&roster, wish(1, 5), NOW);
    assert_eq!(book.standing(&roster, large, NOW), TicketStanding::Infeasible { leasable: 4 });
    let all = book.ask(&roster, wish(0, 8), NOW);
    let waits = book.ask(&roster, wish(0, 8), NOW);
    let small = book.ask(&roster, wish(0, 2), NOW);
    assert_eq!(granted(&mut book), [all]);
    roster.peers.remove(&2);
    book.lost(&roster, 2, NOW);
    let effects = effects(&mut book);
    assert!(
        effects.contains(&Effect::TellHolder(all, FromManager::Lost { lease: all, peer: 2 })),
        "{effects:?}"
    );
    assert!(effects.contains(&Effect::Turn(waits)), "{effects:?}");
    assert_eq!(book.standing(&roster, waits, NOW), TicketStanding::Infeasible { leasable: 4 });
    finish(&roster, &mut book, all, NOW);
    assert_eq!(granted(&mut book), [small]);
}

#[test]
fn a_manager_that_has_just_started_lets_an_infeasible_request_wait() {
    let (roster, mut book) = desk(&[]);
    let early = book.ask(&roster, wish(0, 7), GRACE - 1);
    assert!(matches!(book.standing(&roster, early, GRACE - 1), TicketStanding::Waiting(_)));
    assert_eq!(book.standing(&roster, early, GRACE), TicketStanding::Infeasible { leasable: 0 });
}

#[test]
fn slots_at_addresses_that_are_being_tried_are_waited_for_only_as_long_as_that_may_take() {
    for (started, end) in [(0, NOW + TRIAL), (NOW, NOW + GRACE + TRIAL)] {
        let (mut roster, mut book) = desk(&[4]);
        book.started = started;
        let [head, next] = [7, 1].map(|slots| book.ask(&roster, wish(0, slots), NOW));
        // There is always one that is being tried, but never one for long.
        for now in (NOW..end).step_by(500).chain([end - 1]) {
            roster.peers.retain(|&id, _| id == 1);
            roster.admit(now, candidate("phantom", 9, 1000), now);
            book.capacity_fell(&roster, now);
            assert!(granted(&mut book).is_empty());
            let standing = book.standing(&roster, head, now);
            assert!(matches!(standing, TicketStanding::Waiting(_)), "{standing:?}");
        }
        book.capacity_fell(&roster, end);
        assert_eq!(granted(&mut book), [head], "it is woken to be told");
        assert_eq!(book.standing(&roster, head, end), TicketStanding::Infeasible { leasable: 4 });
        assert_eq!(granted(&mut book), [next], "it holds up nobody");
        finish(&roster, &mut book, next, end);
        let less = book.ask(&roster, wish(0, 4), end);
        assert!(matches!(book.standing(&roster, less, end), TicketStanding::Leased { .. }));
    }
}

#[test]
fn one_that_has_waited_for_long_is_told_of_no_address_that_is_being_tried() {
    let (mut roster, mut book) = desk(&[4, 4]);
    roster.peers.get_mut(&1).unwrap().reach = Reach::Unknown;
    roster.blame(NOBODY, 99, 2, NOW);
    let ticket = book.ask(&roster, wish(0, 4), NOW);
    for (now, why) in [(NOW, "p1: its address is being tried"), (NOW + TRIAL, "p2: it was blamed")] {
        let standing = book.standing(&roster, ticket, now);
        let TicketStanding::Waiting(FromManager::Wait { reason, .. }) = standing else { panic!() };
        assert!(reason.contains(why), "{reason}");
    }
}

#[test]
fn one_that_waits_for_a_peer_that_is_examined_is_told_so() {
    let (mut roster, mut book) = desk(&[4]);
    roster.blame(NOBODY, 99, 1, NOW);
    let ticket = book.ask(&roster, wish(0, 1), NOW);
    for _ in 0..2 {
        let TicketStanding::Waiting(FromManager::Wait { reason, .. }) = book.standing(&roster, ticket, NOW)
        else {
            panic!("its slots are closed");
        };
        assert!(reason.ends_with("free yet; p1: it was blamed, and is examined first"), "{reason}");
        book.examine(&roster, 1, NOW);
    }
}

#[test]
fn a_lease_of_a_former_life_counts_until_its_peer_is_done_with_it() {
    let (roster, mut book) = desk(&[4]);
    book.still_bound(&roster, 1, &Bound { lease: 17, slots: 3 }, NOW);
    assert_eq!(book.free(&roster, &wish(0, u32::MAX)), 1);
    assert_eq!(effects(&mut book), [Effect::Tell(1, FromManager::Unbind { lease: 17 })]);
    book.unbound(&roster, 1, 17, NOW);
    assert_eq!(book.free(&roster, &wish(0, u32::MAX)), 4);
}

#[test]
fn a_lease_that_a_peer_names_twice_leaks_no_slots() {
    let (roster, mut book) = desk(&[4]);
    book.still_bound(&roster, 1, &Bound { lease: 17, slots: 3 }, NOW);
    book.still_bound(&roster, 1, &Bound { lease: 17, slots: 9 }, NOW);
    assert_eq!(book.free(&roster, &wish(0, u32::MAX)), 0);
    book.unbound(&roster, 1, 17, NOW);
    assert_eq!(book.free(&roster, &wish(0, u32::MAX)), 4);
}

#[test]
fn a_million_grants_are_in_order_of_arrival() {
    let (roster, mut book) = desk(&[1; 7]);
    let mut running = VecDeque::new();
    let mut last = 0;
    let mut grants = 0_u64;
    let mut asked = 0_u32;
    while grants < 1_000_000 {
        asked = asked % 7 + 1;
        book.ask(&roster, wish(0, asked), NOW);
        for ticket in granted(&mut book) {
            assert!(ticket > last, "{ticket} was granted after {last}");
            last = ticket;
            grants += 1;
            running.push_back(ticket);
        }
        if let Some(oldest) = running.pop_front() {
            finish(&roster, &mut book, oldest, NOW);
            for ticket in granted(&mut book) {
                assert!(ticket > last, "{ticket} was granted after {last}");
                last = ticket;
                grants += 1;
                running.push_back(ticket);
            }
        }
    }
}

#[derive(Clone, Debug)]
enum Act {
    Ask { requester: PeerId, slots: u32 },
    Leave { nth: usize },
    Unbound { nth: usize },
    Lose { peer: PeerId },
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (0..4_u64, 1..9_u32).prop_map(|(requester, slots)| Act::Ask { requester, slots }),
        3 => (0..8_usize).prop_map(|nth| Act::Leave { nth }),
        4 => (0..8_usize).prop_map(|nth| Act::Unbound { nth }),
        1 => (1..4_u64).prop_map(|peer| Act::Lose { peer }),
    ]
}

proptest! {
    /// Whatever happens in whatever order: no slot serves two, nobody overtakes, nobody gets its own.
    #[test]
    fn no_slot_serves_two_and_nobody_overtakes(acts in prop::collection::vec(act(), 1..200)) {
        let (mut roster, mut book) = desk(&[4, 3, 1]);
        let mut asked = BTreeMap::new();
        let mut waiting = Vec::new();
        for act in acts {
            match act {
                Act::Ask { requester, slots } => {
                    let ticket = book.ask(&roster, wish(requester, slots), NOW);
                    asked.insert(ticket, (requester, slots));
                    waiting.push(ticket);
                }
                Act::Leave { nth } => if let Some(&ticket) = asked.keys().nth(nth) {
                    waiting.retain(|&t| t != ticket);
                    asked.remove(&ticket);
                    book.leave(&roster, ticket, NOW);
                },
                Act::Unbound { nth } => if let Some(&(peer, lease)) = book.unbinding.keys().nth(nth) {
                    book.unbound(&roster, peer, lease, NOW);
                },
                Act::Lose { peer } => {
                    roster.peers.remove(&peer);
                    book.lost(&roster, peer, NOW);
                }
            }
            waiting.retain(|&ticket| {
                let standing = book.standing(&roster, ticket, NOW);
                !matches!(standing, TicketStanding::Over | TicketStanding::Infeasible { .. })
            });
            for effect in effects(&mut book) {
                if let Effect::Turn(ticket) = effect
                    && let TicketStanding::Leased { slots, .. } = book.standing(&roster, ticket, NOW)
                {
                    prop_assert_eq!(waiting.first(), Some(&ticket), "somebody was overtaken");
                    waiting.remove(0);
                    let (requester, wanted) = asked[&ticket];
                    prop_assert!(slots.iter().all(|card| card.peer != requester), "its own slots");
                    prop_assert!(slots.iter().map(|card| card.slots).sum::<u32>() <= wanted);
                }
            }
            for peer in roster.peers.values() {
                let leased: u32 = book.leases.values().flat_map(|l| &l.slots)
                    .filter(|card| card.peer == peer.id).map(|card| card.slots).sum();
                let unbinding: u32 = book.unbinding.iter()
                    .filter(|((id, _), _)| *id == peer.id).map(|(_, e)| e.slots).sum();
                prop_assert_eq!(leased + unbinding, book.used(peer.id));
                prop_assert!(book.used(peer.id) <= peer.is.slots);
            }
        }
    }
}
