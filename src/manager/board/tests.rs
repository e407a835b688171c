//! The page, its policy, and the state that it shows.

use super::*;
use crate::net::message::{Event, ManagerState, Replicas};

fn state(now: u64) -> State {
    let manager = ManagerState { since: 1, quantum_ms: 30_000, replicas: Replicas::All, now };
    State { manager: Some(manager), ..State::default() }
}

#[test]
fn the_page_is_whole_and_names_nothing_outside() {
    for mark in [STYLE_MARK, SCRIPT_MARK] {
        assert!(!PAGE.contains(mark), "{mark} was not filled");
    }
    assert!(PAGE.contains(STYLE) && PAGE.contains(SCRIPT));
    for outside in ["https:", "src=", "@import", "url("] {
        assert!(!PAGE.contains(outside), "the page says {outside}");
    }
    // The one `http:` is a name, not a place.
    assert_eq!(PAGE.matches("http:").count(), 1);
    assert!(PAGE.contains("xmlns='http://www.w3.org/2000/svg'"));
}

#[test]
fn no_text_becomes_markup() {
    for way in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "setHTML"] {
        assert!(!SCRIPT.contains(way), "the script uses {way}");
    }
}

#[test]
fn the_policy_knows_the_script_by_its_hash() {
    // `printf 'let a = 1;' | openssl dgst -sha256 -binary | base64`
    let hash = "'sha256-xY6QKfH9PRsQnLz56nj6MBwiK5oHg+im1Jkpdp1x/Ck='";
    let policy = policy("p {}", "let a = 1;");
    assert!(policy.contains(&format!("script-src {hash};")), "{policy}");
    assert!(!policy.contains("unsafe"), "{policy}");
}

#[test]
fn the_version_changes_with_the_state_and_not_with_the_time() {
    let early = Snapshot::of(state(5)).unwrap();
    let late = Snapshot::of(state(6)).unwrap();
    assert_eq!(early.version, late.version);
    assert_ne!(early.json, late.json, "the time is told all the same");
    let mut other = state(6);
    other.events.push(Event { at: 6, text: "something".into() });
    assert_ne!(Snapshot::of(other).unwrap().version, late.version);
}

#[test]
fn the_board_is_told_what_a_state_message_says() {
    let told: State = serde_json::from_value({
        let mut shown: serde_json::Value =
            serde_json::from_slice(&Snapshot::of(state(7)).unwrap().json).unwrap();
        assert_eq!(shown["type"], "state");
        shown.as_object_mut().unwrap().remove("type");
        shown
    })
    .unwrap();
    assert_eq!(told, state(7));
}
