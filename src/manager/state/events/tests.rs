//! What is told in one line, and what in several.

use super::*;

fn texts(events: &Events) -> Vec<&str> {
    events.iter().map(|event| &*event.text).collect()
}

fn offer(events: &mut Events, at: Millis, who: &str, file: &str) {
    events.tell_of(at, who.into(), What::Offers, &file.parse().unwrap(), 1024);
}

#[test]
fn one_that_says_the_same_of_another_again_and_again_does_not_push_out_other_events() {
    let mut events = Events::default();
    events.tell(0, "ada joined".into());
    for n in 0..1000 {
        events.tell_last(n, "eve blames ada: ".into(), &format!("wrong bytes for piece {n}"));
    }
    events.tell_last(1000, "ben blames ada: ".into(), "it is late");
    let expected = ["ada joined", "eve blames ada: wrong bytes for piece 999", "ben blames ada: it is late"];
    assert_eq!(texts(&events), expected);
}

#[test]
fn a_thousand_files_of_one_peer_are_one_line_that_counts() {
    let mut events = Events::default();
    events.tell(0, "ada joined".into());
    for n in 0..1000 {
        offer(&mut events, n, "ada", &format!("f{n}"));
        if n == 500 {
            offer(&mut events, n, "ben", "other");
        }
    }
    assert_eq!(
        texts(&events),
        ["ada joined", "ben offers other, 1.0 KiB", "ada offers f999 and 999 more, 1000.0 KiB together"]
    );
    assert_eq!(events.iter().last().unwrap().at, 999);
}

#[test]
fn what_comes_later_is_a_line_of_its_own_and_so_is_something_else() {
    let mut events = Events::default();
    offer(&mut events, 0, "ada", "a");
    events.tell_of(1, "ada".into(), What::Loses, &"a".parse().unwrap(), 1024);
    offer(&mut events, GATHER, "ada", "b");
    offer(&mut events, 2 * GATHER - 1, "ada", "c");
    assert_eq!(
        texts(&events),
        [
            "ada offers a, 1.0 KiB",
            "ada has lost a: it asks for it",
            "ada offers c and 1 more, 2.0 KiB together"
        ]
    );
}

#[test]
fn only_the_last_ones_are_kept() {
    let mut events = Events::default();
    (0..EVENTS as u64 + 5).for_each(|n| events.tell(n, n.to_string()));
    assert_eq!(events.lines.len(), EVENTS);
    assert_eq!(texts(&events)[0], "5");
}
