//! The rules of the picker, one test each; then what must hold whatever neighbours do.

use proptest::prelude::*;

use super::*;
use crate::share::Layout;

const ADA: NeighbourId = 1;
const BEN: NeighbourId = 2;
const CYD: NeighbourId = 3;
const DEE: NeighbourId = 4;

fn layout(pieces: u32) -> Layout {
    Layout::new(u64::from(pieces) * 1024, 1024).unwrap()
}

fn piece(picker: &Picker, index: u32) -> Piece {
    picker.have.layout().piece(index).unwrap()
}

fn set(pieces: u32, has: &[u32]) -> Bitfield {
    let mut set = Bitfield::empty(layout(pieces));
    has.iter().for_each(|&index| assert!(set.insert(layout(pieces).piece(index).unwrap())));
    set
}

/// A download with what is there already, and so many requests in flight.
fn picker(have: Bitfield, order: PickOrder, in_flight: usize) -> Picker {
    Picker { in_flight, ..Picker::new(have, order, 1) }
}

/// A download of `pieces` pieces from these neighbours, who all serve; 100 requests in flight.
fn download(pieces: u32, order: PickOrder, neighbours: &[(NeighbourId, &[u32])]) -> Picker {
    let mut picker = picker(set(pieces, &[]), order, 100);
    for &(neighbour, has) in neighbours {
        picker.joined(neighbour, set(pieces, has));
        picker.paced(neighbour, false);
        picker.unchoked(neighbour);
    }
    picker
}

/// Everything that a neighbour is asked for now.
fn asked(picker: &mut Picker, neighbour: NeighbourId) -> Vec<u32> {
    std::iter::from_fn(|| picker.next(neighbour)).map(Piece::index).collect()
}

#[test]
fn the_rarest_piece_is_asked_for_first() {
    let mut picker =
        download(4, PickOrder::Rarest, &[(ADA, &[0, 1, 2, 3]), (BEN, &[0, 1, 3]), (CYD, &[0, 3])]);
    picker.gained(CYD, piece(&picker, 1));
    picker.gained(BEN, piece(&picker, 3));
    picker.left(CYD);
    picker.joined(CYD, set(4, &[0, 3]));
    picker.unchoked(CYD);
    // 2 is at one neighbour, 1 at two, 0 and 3 at three.
    let order = asked(&mut picker, ADA);
    assert_eq!(order[..2], [2, 1]);
    assert_eq!(order.len(), 4);
}

#[test]
fn what_lies_at_a_neighbour_that_never_served_us_is_no_less_rare() {
    let mut picker = download(3, PickOrder::Rarest, &[(ADA, &[0, 1, 2]), (BEN, &[1, 2])]);
    picker.joined(CYD, set(3, &[0, 1]));
    picker.gained(CYD, piece(&picker, 0));
    picker.joined(DEE, set(3, &[0]));
    assert_eq!(asked(&mut picker, ADA)[0], 0, "at Ada alone, of those that serve");
    picker.choked(ADA);
    for neighbour in [CYD, DEE] {
        picker.unchoked(neighbour);
        picker.choked(neighbour);
    }
    picker.unchoked(ADA);
    assert_eq!(asked(&mut picker, ADA)[0], 2, "they have served us, so they count, also while they choke");
}

#[test]
fn equally_rare_pieces_are_drawn_by_the_seed() {
    let order = |seed| {
        let mut picker = Picker { seed, ..picker(set(50, &[]), PickOrder::Rarest, 50) };
        picker.joined(ADA, Bitfield::full(layout(50)));
        picker.paced(ADA, false);
        picker.unchoked(ADA);
        asked(&mut picker, ADA)
    };
    assert_eq!(order(7), order(7), "the same seed, the same order");
    assert_ne!(order(7), order(8), "or all downloaders would fetch the same piece");
    let mut firsts: Vec<_> = (0..1000).map(|seed| order(seed)[0]).collect();
    firsts.sort_unstable();
    firsts.dedup();
    assert_eq!(firsts.len(), 50, "every piece comes first for somebody");
}

#[test]
fn sequential_asks_from_the_front_for_what_any_holder_has() {
    let mut picker = download(5, PickOrder::Sequential, &[(ADA, &[0, 1, 2, 3, 4]), (BEN, &[1, 2, 4])]);
    picker.in_flight = 2;
    assert_eq!(asked(&mut picker, BEN), [1, 2]);
    assert_eq!(asked(&mut picker, ADA), [0, 3]);
}

#[test]
fn split_asks_part_i_of_n_from_each_and_goes_on_where_others_are_slow() {
    let all: Vec<u32> = (0..9).collect();
    let mut picker = download(9, PickOrder::Split, &[(ADA, &all), (BEN, &all), (CYD, &all)]);
    picker.in_flight = 3;
    assert_eq!(asked(&mut picker, ADA), [0, 1, 2]);
    assert_eq!(asked(&mut picker, BEN), [3, 4, 5]);
    assert_eq!(asked(&mut picker, CYD), [6, 7, 8]);
    // Ben is gone, and Cyd is done with its part: it is 2 of 2 now and begins at 4, then round the end.
    picker.left(BEN);
    for index in [6, 7, 8] {
        let piece = piece(&picker, index);
        assert!(picker.arrived(CYD, piece));
        picker.verified(piece);
    }
    assert_eq!(asked(&mut picker, CYD), [4, 5, 3]);
}

#[test]
fn what_a_holder_owes_is_open_again_when_it_chokes_or_leaves() {
    let mut picker = download(3, PickOrder::Sequential, &[(ADA, &[0, 1, 2]), (BEN, &[0, 1])]);
    assert_eq!(asked(&mut picker, ADA), [0, 1, 2]);
    picker.choked(ADA);
    assert_eq!(asked(&mut picker, ADA), [0; 0], "who chokes is not asked");
    assert_eq!(asked(&mut picker, BEN), [0, 1]);
    picker.left(BEN);
    picker.unchoked(ADA);
    assert_eq!(asked(&mut picker, ADA), [0, 1, 2]);
    assert!(!picker.arrived(BEN, piece(&picker, 0)));
}

#[test]
fn a_holder_owes_what_it_was_asked_for_until_it_has_come() {
    let mut picker = download(1, PickOrder::Rarest, &[(ADA, &[0]), (BEN, &[])]);
    assert!(!picker.owes(ADA) && !picker.is_done());
    assert_eq!(asked(&mut picker, ADA), [0]);
    assert!(picker.owes(ADA) && !picker.owes(BEN) && !picker.owes(CYD));
    let only = piece(&picker, 0);
    assert!(picker.arrived(ADA, only));
    picker.verified(only);
    assert!(!picker.owes(ADA) && picker.is_done());
}

#[test]
fn pieces_of_holders_that_are_gone_are_rarer() {
    let mut picker =
        download(2, PickOrder::Rarest, &[(ADA, &[0, 1]), (BEN, &[0, 1]), (CYD, &[0]), (DEE, &[0])]);
    picker.left(CYD);
    picker.left(DEE);
    picker.joined(5, set(2, &[1]));
    picker.unchoked(5);
    assert_eq!(asked(&mut picker, ADA), [0, 1]);
}

#[test]
fn what_has_come_from_the_faster_of_two_is_not_open_again_when_the_slower_chokes() {
    let mut picker = download(1, PickOrder::Rarest, &[(ADA, &[0]), (BEN, &[0]), (CYD, &[0])]);
    assert_eq!((asked(&mut picker, ADA), asked(&mut picker, BEN)), (vec![0], vec![0]));
    let only = piece(&picker, 0);
    assert!(picker.arrived(ADA, only));
    assert_eq!(picker.verified(only), [BEN]);
    picker.choked(BEN);
    assert!(asked(&mut picker, CYD).is_empty());
}

#[test]
fn bytes_are_wasted_that_are_here_or_being_checked_and_not_those_that_nobody_asked_for() {
    let mut picker = download(1, PickOrder::Rarest, &[(ADA, &[0]), (BEN, &[0])]);
    let only = piece(&picker, 0);
    assert!(!picker.arrived(ADA, only));
    assert_eq!(picker.waste.duplicates, 0, "nobody was asked");
    asked(&mut picker, ADA);
    asked(&mut picker, BEN);
    assert!(picker.arrived(ADA, only));
    assert!(!picker.arrived(BEN, only), "it is being checked");
    assert_eq!(picker.waste.duplicates, 1);
    picker.verified(only);
    assert!(!picker.arrived(BEN, only), "it is here, and was not asked for");
    assert_eq!(picker.waste.duplicates, 2);
}

#[test]
fn numbers_are_scattered_as_splitmix64_does() {
    let first = [0xe220_a839_7b1d_cdaf, 0x6e78_9e6a_a1b9_65f4, 0x06c4_5d18_8009_454f];
    assert_eq!([0, 1, 2].map(|index| scatter(0, index)), first);
}

#[test]
fn no_more_is_asked_of_a_holder_than_it_may_owe() {
    let mut picker = download(5, PickOrder::Sequential, &[(ADA, &[0, 1, 2, 3, 4])]);
    picker.in_flight = IN_FLIGHT;
    assert_eq!(asked(&mut picker, ADA), [0, 1]);
    assert!(picker.arrived(ADA, piece(&picker, 0)));
    assert_eq!(asked(&mut picker, ADA), [2]);
}

#[test]
fn a_slow_holder_is_asked_for_one_piece_at_a_time() {
    let mut picker = Picker::new(set(5, &[]), PickOrder::Sequential, 1);
    picker.joined(ADA, set(5, &[0, 1, 2, 3, 4]));
    picker.unchoked(ADA);
    assert_eq!(asked(&mut picker, ADA), [0], "who knows how fast a newcomer is?");
    assert!(picker.arrived(ADA, piece(&picker, 0)));
    assert_eq!(asked(&mut picker, ADA), [1]);
    picker.paced(ADA, false);
    assert_eq!(asked(&mut picker, ADA), [2]);
    let (link, lan) = (Duration::from_millis(62), Duration::from_micros(300));
    assert!(is_slow(link, lan), "0.3 ms of rest after each 62 ms");
    assert!(!is_slow(link, Duration::from_millis(30)), "half of its time");
}

#[test]
fn who_joins_or_gains_a_piece_in_the_middle_is_asked_too() {
    let mut picker = download(3, PickOrder::Sequential, &[(ADA, &[0])]);
    assert_eq!(asked(&mut picker, ADA), [0]);
    assert_eq!(picker.nowhere().map(Piece::index).collect::<Vec<_>>(), [1, 2]);
    assert!(picker.interested(ADA));
    picker.gained(ADA, piece(&picker, 2));
    assert_eq!(asked(&mut picker, ADA), [2]);
    picker.joined(BEN, set(3, &[1]));
    assert_eq!(asked(&mut picker, BEN), [0; 0], "a newcomer chokes until it says otherwise");
    picker.unchoked(BEN);
    assert_eq!(asked(&mut picker, BEN), [1]);
    picker.left(BEN);
    assert!(!picker.interested(BEN));
    assert_eq!(picker.nowhere().map(Piece::index).collect::<Vec<_>>(), [1]);
    picker.gained(ADA, piece(&picker, 1));
    assert_eq!(asked(&mut picker, ADA), [1], "what a neighbour owed that left is open again");
}

#[test]
fn interest_is_in_what_is_missing() {
    let mut picker = Picker::new(set(3, &[0]), PickOrder::Rarest, 1);
    picker.joined(ADA, set(3, &[0]));
    picker.joined(BEN, set(3, &[0, 1]));
    assert!(!picker.interested(ADA));
    assert!(picker.interested(BEN));
    picker.verified(piece(&picker, 1));
    assert!(!picker.interested(BEN));
    picker.gained(ADA, piece(&picker, 2));
    assert!(picker.interested(ADA));
}

#[test]
fn a_piece_that_fails_is_asked_for_elsewhere_and_after_the_second_its_sender_is_barred() {
    let mut picker = download(3, PickOrder::Sequential, &[(ADA, &[0, 1, 2]), (BEN, &[0, 1, 2])]);
    picker.in_flight = 2;
    assert_eq!(asked(&mut picker, ADA), [0, 1]);
    let (first, second) = (piece(&picker, 0), piece(&picker, 1));
    assert!(picker.arrived(ADA, first));
    picker.failed(ADA, first);
    assert!(!picker.barred(ADA), "once may be an accident");
    assert_eq!(asked(&mut picker, ADA), [2], "something else, but not the piece that failed");
    assert_eq!(asked(&mut picker, BEN)[0], 0);
    assert!(picker.arrived(ADA, second));
    picker.failed(ADA, second);
    assert!(picker.barred(ADA) && !picker.interested(ADA));
    assert_eq!(asked(&mut picker, ADA), [0; 0]);
    picker.joined(ADA, set(3, &[0, 1, 2]));
    picker.unchoked(ADA);
    assert_eq!(asked(&mut picker, ADA), [0; 0], "coming back does not help");
    assert!(picker.arrived(BEN, first));
    picker.verified(first);
    assert_eq!(asked(&mut picker, BEN), [1, 2], "what the barred one sent wrongly, and what it owed");
    assert_eq!(picker.waste, Waste { refetched: 2, duplicates: 0 });
}

#[test]
fn where_nobody_else_has_the_piece_its_sender_gets_a_second_chance() {
    let mut picker = download(1, PickOrder::Rarest, &[(ADA, &[0])]);
    assert_eq!(asked(&mut picker, ADA), [0]);
    let only = piece(&picker, 0);
    picker.arrived(ADA, only);
    picker.failed(ADA, only);
    assert_eq!(asked(&mut picker, ADA), [0]);
    picker.arrived(ADA, only);
    picker.failed(ADA, only);
    assert!(picker.barred(ADA));
    assert_eq!(picker.nowhere().count(), 1, "now nobody has it");
}

#[test]
fn in_the_endgame_one_piece_is_asked_of_two_and_the_loser_is_counted() {
    let all = &[0, 1, 2, 3][..];
    let mut picker = download(4, PickOrder::Sequential, &[(ADA, all), (BEN, all), (CYD, all)]);
    assert_eq!(asked(&mut picker, ADA), [0, 1, 2, 3]);
    assert_eq!(asked(&mut picker, BEN), [3], "the deepest in the queue, and one at a time");
    assert_eq!(asked(&mut picker, CYD), [2], "3 is asked of two already");
    let (third, last) = (piece(&picker, 2), piece(&picker, 3));
    assert!(picker.arrived(BEN, last));
    assert_eq!(asked(&mut picker, BEN), [1], "3 is being checked and not asked for again");
    assert_eq!(picker.verified(last), [ADA]);
    assert!(!picker.arrived(ADA, last));
    picker.left(CYD);
    assert!(picker.arrived(ADA, third), "the other one who owed it left");
    assert_eq!(picker.waste, Waste { refetched: 0, duplicates: 1 });
}

#[test]
fn before_the_endgame_nothing_is_asked_of_two() {
    let mut picker = download(2, PickOrder::Sequential, &[(ADA, &[0]), (BEN, &[0])]);
    assert_eq!(asked(&mut picker, ADA), [0]);
    assert_eq!(asked(&mut picker, BEN), [0; 0], "piece 1 is open, though nobody has it");
}

#[test]
fn who_hears_that_a_piece_is_here_owes_it_no_more() {
    let all = &[0, 1][..];
    let mut picker = download(2, PickOrder::Sequential, &[(ADA, all), (BEN, all)]);
    picker.in_flight = 1;
    let (first, second) = (piece(&picker, 0), piece(&picker, 1));
    assert_eq!((asked(&mut picker, ADA), asked(&mut picker, BEN)), (vec![0], vec![1]));
    picker.arrived(BEN, second);
    picker.verified(second);
    assert_eq!(asked(&mut picker, BEN), [0], "what Ada owes");
    picker.taken_back(ADA, first);
    assert_eq!(picker.neighbours[&ADA].owes, [first], "not yet: it is missing");
    picker.arrived(BEN, first);
    assert_eq!(picker.verified(first), [ADA]);
    picker.taken_back(ADA, first);
    assert!(picker.neighbours[&ADA].owes.is_empty(), "so it can be asked for something else at once");
    assert!(!picker.arrived(ADA, first), "but it was on its way");
}

#[test]
fn when_the_faster_of_two_fails_the_slower_is_still_wanted() {
    let mut picker = download(1, PickOrder::Rarest, &[(ADA, &[0]), (BEN, &[0])]);
    assert_eq!((asked(&mut picker, ADA), asked(&mut picker, BEN)), (vec![0], vec![0]));
    let only = piece(&picker, 0);
    assert!(picker.arrived(ADA, only));
    picker.failed(ADA, only);
    assert!(picker.arrived(BEN, only));
    assert_eq!(picker.waste.refetched, 1);
}

#[test]
fn a_download_resumes_with_what_is_there() {
    let mut picker = picker(set(4, &[0, 2]), PickOrder::Sequential, 9);
    picker.joined(ADA, Bitfield::full(layout(4)));
    picker.paced(ADA, false);
    picker.unchoked(ADA);
    assert_eq!(asked(&mut picker, ADA), [1, 3]);
}

#[test]
fn an_empty_file_is_done_at_once() {
    assert!(Picker::new(set(0, &[]), PickOrder::Rarest, 1).is_done());
}

/// What a request costs among so many pieces of 50 neighbours, in the middle: other programs may have had the processor
/// now and then.
fn cost_of_a_request(pieces: u32) -> std::time::Duration {
    let mut picker = picker(set(pieces, &[]), PickOrder::Rarest, 4);
    let mut turns: Vec<NeighbourId> = (0..50).collect();
    for &neighbour in &turns {
        picker.joined(neighbour, Bitfield::full(layout(pieces)));
        picker.unchoked(neighbour);
    }
    let mut costs = Vec::new();
    while !picker.is_done() {
        let (neighbour, begun) = (turns[0], std::time::Instant::now());
        turns.rotate_left(1);
        let piece = picker.next(neighbour).unwrap();
        assert!(picker.arrived(neighbour, piece));
        picker.verified(piece);
        costs.push(begun.elapsed());
    }
    costs.sort_unstable();
    costs[costs.len() / 2]
}

#[test]
fn a_request_costs_no_more_than_in_proportion_to_the_pieces() {
    let [few, many] = [512, 4096].map(cost_of_a_request);
    // Eight times as many; where each piece was compared with all others, it would be 64.
    assert!(many < few * 32, "{few:?} among 512 pieces, {many:?} among 4096");
}

#[derive(Clone, Debug)]
enum Act {
    Join { neighbour: NeighbourId, has: u64 },
    Leave { neighbour: NeighbourId },
    Gain { neighbour: NeighbourId, piece: u32 },
    Choke { neighbour: NeighbourId },
    Unchoke { neighbour: NeighbourId },
    Ask { neighbour: NeighbourId },
    Arrive { neighbour: NeighbourId, good: bool },
}

fn act() -> impl Strategy<Value = Act> {
    let neighbour = 0..4_u64;
    prop_oneof![
        1 => (neighbour.clone(), any::<u64>()).prop_map(|(neighbour, has)| Act::Join { neighbour, has }),
        1 => neighbour.clone().prop_map(|neighbour| Act::Leave { neighbour }),
        2 => (neighbour.clone(), 0..12_u32).prop_map(|(neighbour, piece)| Act::Gain { neighbour, piece }),
        1 => neighbour.clone().prop_map(|neighbour| Act::Choke { neighbour }),
        3 => neighbour.clone().prop_map(|neighbour| Act::Unchoke { neighbour }),
        8 => neighbour.clone().prop_map(|neighbour| Act::Ask { neighbour }),
        6 => (neighbour, prop::bool::weighted(0.9)).prop_map(|(neighbour, good)| Act::Arrive { neighbour, good }),
    ]
}

/// What must always hold while nothing is being checked: each missing piece is open or owed, and not both; what is
/// counted is right.
fn check(picker: &Picker) -> Result<(), TestCaseError> {
    prop_assert!(picker.checking.is_empty());
    for piece in picker.have.layout().iter() {
        let has = picker.neighbours.values().filter(|h| h.serves && h.has.contains(piece)).count() as u32;
        prop_assert_eq!(picker.spread[piece.index() as usize], has);
        let owers = picker.owers(piece).count();
        prop_assert!(owers <= COPIES);
        let missing = !picker.have.contains(piece);
        prop_assert_eq!(picker.open.contains(piece), missing && owers == 0, "piece {}", piece.index());
    }
    for (&id, neighbour) in &picker.neighbours {
        let useful = neighbour.has.iter().filter(|&p| !picker.have.contains(p)).count() as u32;
        prop_assert_eq!(neighbour.useful, useful);
        prop_assert!(neighbour.owes.len() <= picker.in_flight);
        prop_assert!(neighbour.owes.is_empty() || !neighbour.choked);
        prop_assert!(!picker.barred(id));
    }
    Ok(())
}

proptest! {
    /// Whatever neighbours do in whatever order, the books agree, and in the end one honest neighbour
    /// is enough.
    #[test]
    fn no_piece_is_ever_forgotten(
        acts in prop::collection::vec(act(), 0..150),
        order in prop::sample::select(vec![PickOrder::Rarest, PickOrder::Sequential, PickOrder::Split]),
        hears: bool,
        seed: u64,
    ) {
        let layout = layout(12);
        let mut picker = Picker { seed, ..picker(Bitfield::empty(layout), order, 3) };
        for act in acts {
            match act {
                Act::Join { neighbour, has } => {
                    let has: Vec<u32> = (0..12).filter(|bit| has >> bit & 1 == 1).collect();
                    picker.joined(neighbour, set(12, &has));
                }
                Act::Leave { neighbour } => picker.left(neighbour),
                Act::Gain { neighbour, piece } => picker.gained(neighbour, layout.piece(piece).unwrap()),
                Act::Choke { neighbour } => picker.choked(neighbour),
                Act::Unchoke { neighbour } => picker.unchoked(neighbour),
                Act::Ask { neighbour } => {
                    if let Some(piece) = picker.next(neighbour) {
                        prop_assert!(picker.neighbours[&neighbour].has.contains(piece));
                        prop_assert!(!picker.have.contains(piece));
                    }
                }
                Act::Arrive { neighbour, good } => {
                    let owed = picker.neighbours.get(&neighbour).and_then(|h| h.owes.first().copied());
                    let Some(piece) = owed else { continue };
                    if picker.arrived(neighbour, piece) {
                        if good {
                            let losers = picker.verified(piece);
                            let told = losers.into_iter().filter(|_| hears);
                            told.for_each(|loser| picker.taken_back(loser, piece));
                        } else {
                            picker.failed(neighbour, piece);
                        }
                    }
                }
            }
            check(&picker)?;
        }
        let honest = 99;
        picker.joined(honest, Bitfield::full(layout));
        picker.unchoked(honest);
        (0..4).for_each(|neighbour| picker.left(neighbour));
        while let Some(piece) = picker.next(honest) {
            prop_assert!(picker.arrived(honest, piece));
            picker.verified(piece);
            check(&picker)?;
        }
        prop_assert!(picker.is_done());
    }
}
