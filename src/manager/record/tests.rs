//! What is recorded, and how it stands in the file.

use super::super::board::tests::{patched, state};
use super::*;

/// A state at a time, with these events.
fn with(now: u64, events: &[&str]) -> State {
    let event = |(at, text): (u64, &&str)| Event { at, text: (*text).to_owned() };
    State { events: (1..).zip(events).map(event).collect(), ..state(now) }
}

fn lines(recording: &Recording<Vec<u8>>) -> Vec<Value> {
    let text = str::from_utf8(&recording.to).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn an_event_is_recorded_once_and_the_states_can_be_made_again() {
    let mut recording = Recording::new(Vec::new());
    let mut states = Vec::new();
    for n in 0..40 {
        let events: Vec<String> = (0..n / 2).map(|i| format!("event {i} </script>")).collect();
        let events: Vec<&str> = events.iter().map(String::as_str).collect();
        recording.look(with(100 + n, &events)).unwrap();
        states.push(Snapshot::of(&with(100 + n, &events)).shown());
    }
    let lines = lines(&recording);
    let events: Vec<&str> = lines.iter().filter_map(|line| line["event"].as_str()).collect();
    assert_eq!(events, (0..19).map(|i| format!("event {i} </script>")).collect::<Vec<_>>());
    let (mut now, mut whole) = (Value::Null, 0);
    for line in lines.iter().filter(|line| line.get("event").is_none()) {
        now = line.get("state").cloned().unwrap_or_else(|| patched(&now, &line["change"]));
        whole += u64::from(line.get("state").is_some());
        let at = line["at"].as_u64().unwrap();
        assert_eq!(now, states[at as usize - 100], "what was so at {at}");
    }
    assert_eq!(now["events"].as_array().unwrap().len(), 19);
    assert!((2..10).contains(&whole), "{whole} whole states in 20 lines");
}

#[test]
fn nothing_is_written_while_nothing_changes_and_no_text_ends_the_element() {
    let mut recording = Recording::new(Vec::new());
    recording.look(with(5, &["</script><!--<script>"])).unwrap();
    let long = recording.to.len();
    recording.look(with(6, &["</script><!--<script>"])).unwrap();
    assert_eq!(recording.to.len(), long);
    assert!(!recording.to.contains(&b'<'));
    let at_first = recording.to.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    assert!(at_first.into_iter().all(|line| line.starts_with(b"{\"at\":")));
}

#[test]
fn it_ends_where_it_cannot_be_written_and_before_it_is_too_long_for_a_browser() {
    let mut disk = [0; 100];
    let mut full = Recording::new(&mut disk[..]);
    assert_eq!(full.look(with(5, &["a"])).unwrap_err().kind(), io::ErrorKind::WriteZero);
    let mut long = Recording { written: LONGEST, ..Recording::new(Vec::new()) };
    assert!(long.look(with(5, &["a"])).unwrap_err().to_string().contains("too long"));
    assert_eq!(long.to, b"");
}

#[test]
fn its_page_names_nothing_outside_and_runs_its_own_script_only() {
    let head = head();
    for outside in ["https:", "src=", "@import", "url(", SCRIPT_MARK, STYLE_MARK] {
        assert!(!head.contains(outside), "it says {outside}");
    }
    assert!(head.ends_with("<script id=\"run\" type=\"application/x-ndjson\">\n"));
    assert!(head.contains(
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-"
    ));
    assert!(!head.contains("frame-ancestors"), "a page cannot say that of itself");
}

#[test]
fn a_file_that_is_there_is_not_written_over() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("run.html");
    drop(begin(&path).unwrap());
    assert_eq!(std::fs::read_to_string(&path).unwrap(), head());
    let error = begin(&path).unwrap_err().to_string();
    assert!(error.contains("name a file that is not there yet"), "{error}");
}
