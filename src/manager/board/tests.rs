//! The page, its policy, and the state that it shows.

use proptest::prelude::*;

use super::*;
use crate::matrix::strassen::{Product, SEVEN};
use crate::net::message::{Event, ManagerState, Replicas};

pub(in crate::manager) fn state(now: u64) -> State {
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
fn the_sums_of_the_page_are_those_of_strassen() {
    for Product { left, right, .. } in SEVEN {
        let sum = |matrix, signs: [i8; 4]| {
            let names = |sign| {
                let places = (0..4).filter(move |&q| signs[q] == sign);
                places.map(|q| format!("{matrix}{}{}", q / 2 + 1, q % 2 + 1)).collect::<Vec<_>>()
            };
            [names(1).join("+"), names(-1).join("−")].join("−").trim_end_matches('−').to_owned()
        };
        let row = format!("[\"{}\", \"{}\"]", sum('A', left), sum('B', right));
        assert!(SCRIPT.contains(&row), "{row}");
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
    let early = Snapshot::of(&state(5));
    let late = Snapshot::of(&state(6));
    assert_eq!(early.version, late.version);
    assert_ne!(early.shown(), late.shown(), "the time is told all the same");
    let mut other = state(6);
    other.events.push(Event { at: 6, text: "something".into() });
    assert_ne!(Snapshot::of(&other).version, late.version);
}

#[test]
fn the_board_is_told_what_a_state_message_says() {
    let told: State = serde_json::from_value({
        let mut shown = Snapshot::of(&state(7)).shown();
        assert_eq!(shown["type"], "state");
        shown.as_object_mut().unwrap().remove("type");
        shown
    })
    .unwrap();
    assert_eq!(told, state(7));
}

/// What a browser makes of what it has and a change: the script does the same.
pub(in crate::manager) fn patched(old: &Value, change: &Value) -> Value {
    match change {
        Value::Object(change) => {
            let mut all = old.as_object().cloned().unwrap_or_default();
            for (name, change) in change {
                match change {
                    Value::Null => drop(all.remove(name)),
                    _ => drop(all.insert(name.clone(), patched(&old[name], change))),
                }
            }
            all.into()
        }
        Value::Array(steps) => {
            let step = |step: &Value| match (&step[0], &step[2]) {
                (Value::Null, row) => vec![patched(&Value::Null, row)],
                (from, Value::Null) => {
                    let places = from.as_u64().unwrap() as usize..step[1].as_u64().unwrap() as usize;
                    old.as_array().unwrap()[places].to_vec()
                }
                (from, change) => vec![patched(&old[from.as_u64().unwrap() as usize], change)],
            };
            steps.iter().flat_map(step).collect::<Vec<_>>().into()
        }
        other => other.clone(),
    }
}

proptest! {
    #[test]
    fn a_change_makes_the_new_state_of_the_old_one(
        old in prop::collection::vec((0..9_u8, 0..3_u8, prop::collection::vec(0..4_u8, 0..4)), 0..9),
        new in prop::collection::vec((0..9_u8, 0..3_u8, prop::collection::vec(0..4_u8, 0..4)), 0..9),
    ) {
        // Rows with the same key, rows without one, members that come and go.
        let row = |(peer, kind, from): &(u8, u8, Vec<u8>)| match kind {
            0 => json!({"peer": peer, "from": from}),
            1 => json!({"peer": peer, "inner": {"at": from.len()}}),
            _ => json!(peer),
        };
        let state = |rows: &[(u8, u8, Vec<u8>)]| json!({"peers": rows.iter().map(row).collect::<Vec<_>>(), "n": rows.len()});
        let (old, new) = (state(&old), state(&new));
        prop_assert_eq!(patched(&old, &change(&old, &new)), new);
    }
}

#[test]
fn what_has_not_changed_is_not_sent_and_rows_are_known_again() {
    let old = json!({"files": [{"file": "a", "size": 1}, {"file": "b", "size": 2}, {"file": "c", "size": 3}], "n": 1});
    let new = json!({"files": [{"file": "b", "size": 2}, {"file": "c", "size": 3}, {"file": "a", "size": 9}], "n": 1});
    let sent = json!({"files": [[1, 3, null], [0, 1, {"size": 9}]]});
    assert_eq!(change(&old, &new), sent);
    assert_eq!(change(&new, &new), json!({}));
    let gives = |ms: [u64; 2]| json!([{"peer": 7, "file": "a", "since_ms_ago": ms[0]}, {"peer": 7, "file": "b", "since_ms_ago": ms[1]}]);
    let sent = json!([[0, 1, {}], [1, 2, {"since_ms_ago": 2}]]);
    assert_eq!(change(&gives([5, 9]), &gives([7, 2])), sent, "two files to one peer");
    let age = |ms: u64| json!({"since_ms_ago": ms});
    assert_eq!((change(&age(5), &age(9)), change(&age(9), &age(5))), (json!({}), age(5)));
}

/// Forty peers that copy two hundred files, four each at a time, after so many half seconds. Each says every second how
/// far it is, one half of them in one half of the second; and five files a half second become whole at one peer more.
fn forty_peers_copy_two_hundred_files(tick: u64) -> State {
    let (peer, file) = (|n: u64| n % 40 + 1, |n: u64| format!("lecture-{:03}.pdf", n % 200));
    let card = |n| json!({"peer": peer(n), "name": format!("peer-{}", peer(n)), "addr": format!("10.0.0.{}:7000", peer(n))});
    let row = |n: u64| {
        let told = tick - (tick + n) % 2;
        let download = |slot: u64| {
            let pieces = told + 10 * slot;
            let have = pieces % 40;
            json!({"file": file(5 * n + slot + 4 * (pieces / 40)), "have": have, "pieces": 40, "since_ms_ago": 500 * have,
                "bytes_per_s": 400_000 + 7919 * (told + n + slot) % 99_991, "from": [peer(n + 1), peer(n + slot), peer(n + told / 8)],
                "map": format!("{:010x}", (0xff_ffff_ffff_u64 >> have) ^ 0xff_ffff_ffff)})
        };
        let upload = |slot: u64| {
            json!({"peer": peer(n + slot), "file": file(5 * n + slot), "state": "regular",
            "since_ms_ago": 500 * told, "up": 7919 * (told + slot) % 99_991, "down": 7907 * (told + slot) % 99_991})
        };
        let mut row = card(n);
        let more = json!({"slots": 4, "used": 0, "since": 1, "leasable": true, "reason": "", "up": 4 << 20,
            "downloads": (0..4).map(download).collect::<Value>(), "uploads": (1..6).map(upload).collect::<Value>()});
        row.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        row
    };
    let listed = |n: u64| {
        let copies = (tick + n) / 40 % 20 + 1;
        let mut holders: Vec<Value> = (0..copies + 4).map(|at| card(n + at)).collect();
        holders.iter_mut().enumerate().for_each(|(at, holder)| holder["whole"] = json!((at as u64) < copies));
        json!({"file": file(n), "id": format!("{n:064}"), "size": 10 << 20, "piece_size": 256 << 10, "holders": holders,
            "health": {"state": "spreading", "reason": format!("{copies} of 40 copies are there; 36 more lack it")}})
    };
    let mut state = state(500 * tick);
    state.peers = serde_json::from_value((0..40).map(row).collect()).unwrap();
    state.files = serde_json::from_value((0..200).map(listed).collect()).unwrap();
    state
}

#[test]
fn forty_peers_that_copy_two_hundred_files_cost_a_browser_less_than_50_kb_a_second() {
    assert!(SCRIPT.contains("const PAUSE = 500;"), "twice a second it asks");
    let (board, seconds) = (Board::default(), 10);
    let (all, mut version) = board.since(None, || forty_peers_copy_two_hundred_files(100));
    let mut sent = 0;
    for tick in 101..=100 + 2 * seconds {
        board.states.lock().last_made = LastMade::default();
        let (change, next) = board.since(Some(&version), || forty_peers_copy_two_hundred_files(tick));
        sent += change.len();
        version = next;
    }
    let a_second = sent / seconds as usize;
    assert!(all.len() > 150_000 && a_second < 50_000, "{} bytes are all, {a_second} a second", all.len());
}

#[test]
fn a_version_that_is_kept_is_answered_by_what_has_changed_and_another_one_by_all() {
    let board = Board::default();
    let since = |version: &str, state: &dyn Fn() -> State| board.since(Some(version), state);
    let (all, first) = since("", &|| state(5));
    assert_eq!(all, Snapshot::of(&state(5)).text, "nothing is known of that version");
    let late = || panic!("the state of a moment ago is good enough");
    assert!(Arc::ptr_eq(&since("", &late).0, &all), "many look, and share its text");
    let (none, same) = since(&first, &late);
    assert_eq!(same, first);
    assert!(Arc::ptr_eq(&since(&first, &late).0, &none), "and that of the change");
    let all_again = board.since(None, || state(5));
    assert!(all_again.0 == all && !Arc::ptr_eq(&all_again.0, &all), "without a version it is what is so now");
    board.states.lock().last_made = LastMade::default();
    let mut other = state(6);
    other.events.push(Event { at: 6, text: "something".into() });
    let (next, version) = since(&first, &|| other.clone());
    let expected = json!({"since": first, "change": {
        "events": [[null, 0, {"at": 6, "text": "something"}]], "manager": {"now": 6}}});
    assert_eq!(next, bytes(&expected));
    assert_eq!(version, Snapshot::of(&other).version);
}

#[test]
fn what_is_made_for_all_takes_a_fifth_of_the_time_at_most_and_is_not_older_than_the_question() {
    let (board, began, took) = (Board::default(), Instant::now(), Duration::from_millis(10));
    let make = |n: u64| {
        thread::sleep(took);
        state(n)
    };
    for n in 1..=2 {
        let line = board.message(|| make(n));
        let FromManager::State(told) = serde_json::from_slice(&line).unwrap() else { panic!("{line:?}") };
        assert_eq!(*told, state(n), "what is so since it was asked for");
    }
    board.since(None, || make(3));
    assert!(began.elapsed() >= took * (1 + REST) * 2 + took, "all three are states");
    let mut last_made = LastMade::default();
    assert_eq!(last_made.make(began, || 1), Some(1));
    assert_eq!(last_made.make(began, || 2), None, "one that asked before it was made has it, too");
    assert_eq!(last_made.make(Instant::now(), || 3), Some(3));
}

#[test]
fn a_message_says_nothing_of_bounds_which_only_the_page_shows() {
    let (board, state) = (Board::default(), forty_peers_copy_two_hundred_files(100));
    let (shown, _) = board.since(None, || state.clone());
    assert!(serde_json::from_slice::<Value>(&shown).unwrap()["bounds"].is_array(), "the page shows some");
    board.states.lock().last_made =
        LastMade(Some((Instant::now() + Duration::from_secs(60), Duration::ZERO)));
    let line = board.message(|| panic!("it is there"));
    let told: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(told, serde_json::to_value(FromManager::State(Box::new(state))).unwrap());
    assert!(line.starts_with(br#"{"type":"state","#) && line.ends_with(b"}\n"), "{}", line.escape_ascii());
}
