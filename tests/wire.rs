//! The wire as golden transcripts: what is said by hand, and what a manager and a peer answer.
//!
//! A transcript is a file in `tests/golden`. It is played as it stands: what follows `NAME>` is said on the
//! connection of that name, what follows `NAME<` must be heard there. `UPDATE_GOLDEN=1 cargo test --test main wire`
//! writes what is heard instead; `git diff` then shows what changed.
//!
//! ```text
//! # a remark
//! @manager OPTIONS          a manager runs from here on
//! @peer OPTIONS             a real `peer serve` runs, whose manager is this file; the connection is `mgr`
//! @listen NAME              somebody can be connected to at $NAME
//! @connect NAME manager     a connection; or `peer`
//! NAME> {"type":"ok"}       a line that is said; `...xN` in it stands for N letters x
//! NAME>| {"type":           the same without a newline, and then the end
//! NAME>> 1 2 3              numbers that are said as a payload; `0 xN` is a zero N times
//! NAME< {"type":"ping"}     a message that is heard
//! NAME<< 1 2 3              numbers that are heard as a payload
//! NAME< END                 the connection was closed
//! ```
//!
//! What differs from run to run has a name instead: numbers of peers and leases are `N1`, `N2`, ... in the order
//! in which they appear, tokens, keys and passes are `K1`, `K2`, ..., times are `TIME` or `DATE`, remaining times are
//! `MS`, ports are `$NAME`, or `PORT` if they have no name. `scripts/conform.sh` plays them with any other program;
//! then what is said to people (`text`, `reason`, `events`) need not have the same words. Between the lines, pings and
//! waits are answered with `ok`, and lists are passed over.

use std::collections::HashMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::common::PATIENCE;
use crate::common::node::{Node, other_program, start_any_manager};
use crate::common::wire::{Heard, Wire, peer_of_mine};
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long a message that comes again and again may differ from the expected one.
const SETTLING: Duration = Duration::from_secs(20);

/// What plays a transcript.
struct Stage {
    dir: TempDir,
    wires: HashMap<String, Wire>,
    nodes: Vec<Node>,
    listeners: Vec<TcpListener>,
    /// Addresses by their names.
    addrs: Vec<(String, SocketAddr)>,
    /// Numbers of peers and leases, in order of appearance.
    numbers: Vec<String>,
    /// Tokens, keys and passes, in the same order.
    keys: Vec<String>,
    update: bool,
    /// Another program than ours is asked, so what it says to people has other words.
    foreign: bool,
}

/// A line of a transcript without the words that are for people.
fn without_words(line: &str) -> String {
    let mut line = line.to_owned();
    for (begin, end) in [("\"text\":\"", '"'), ("\"reason\":\"", '"'), ("\"events\":[", ']')] {
        let mut from = 0;
        while let Some(at) = line[from..].find(begin) {
            from += at + begin.len();
            let mut before = ' ';
            let is_end = |c: char| std::mem::replace(&mut before, c) != '\\' && c == end;
            let to = from + line[from..].find(is_end).unwrap_or_default();
            line.replace_range(from..to, "");
        }
    }
    line
}

/// Numbers as the bytes of a payload.
fn payload(said: &str) -> Vec<u8> {
    if let Some((number, times)) = said.split_once(" x") {
        return payload(number).repeat(times.parse().unwrap());
    }
    said.split(' ').flat_map(|x| x.parse::<f64>().unwrap().to_le_bytes()).collect()
}

/// Plays `tests/golden/NAME.txt`.
fn play(name: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.txt"));
    let text = fs::read_to_string(&path).unwrap();
    let mut stage = Stage {
        dir: tempfile::tempdir().unwrap(),
        wires: HashMap::new(),
        nodes: Vec::new(),
        listeners: Vec::new(),
        addrs: Vec::new(),
        numbers: Vec::new(),
        keys: Vec::new(),
        update: std::env::var_os("UPDATE_GOLDEN").is_some(),
        foreign: ["any manager", "any peer"].iter().any(|program| other_program(program).is_some()),
    };
    let mut heard = String::new();
    for (i, line) in text.lines().enumerate() {
        let now = stage.line(line);
        if !stage.update {
            let expected =
                if stage.foreign && line.contains('<') { without_words(line) } else { line.into() };
            assert!(
                now == expected,
                "{}:{} does not hold:\nexpected {expected}\nheard    {now}",
                path.display(),
                i + 1
            );
        }
        heard += &now;
        heard.push('\n');
    }
    if stage.update && heard != text {
        fs::write(path, heard).unwrap();
    }
}

impl Stage {
    /// Plays one line; gives the line as it was in fact.
    fn line(&mut self, line: &str) -> String {
        if line.is_empty() || line.starts_with('#') {
            return line.into();
        }
        if let Some(words) = line.strip_prefix('@') {
            self.prepare(&words.split(' ').collect::<Vec<_>>());
            return line.into();
        }
        let (name, rest) =
            line.split_at(line.find(['<', '>']).unwrap_or_else(|| panic!("not a line: {line}")));
        let (mark, said) = rest.split_once(' ').unwrap_or((rest, ""));
        if mark.starts_with('>') {
            let bytes = match mark {
                ">>" => payload(said),
                ">|" => self.concrete(said).into_bytes(),
                _ => (self.concrete(said) + "\n").into_bytes(),
            };
            let wire = self.wire(name);
            wire.say_raw(&bytes);
            if mark == ">|" {
                wire.end();
            }
            return line.into();
        }
        let now = match mark {
            "<<" => {
                let count = said.split(' ').count();
                let bytes = self.wire(name).payload(8 * count).expect("a payload");
                let numbers =
                    bytes.chunks_exact(8).map(|x| f64::from_le_bytes(x.try_into().unwrap()).to_string());
                numbers.collect::<Vec<_>>().join(" ")
            }
            _ => self.hear(name, said),
        };
        format!("{name}{mark} {now}")
    }

    fn prepare(&mut self, words: &[&str]) {
        match words {
            ["manager", options @ ..] => {
                let (node, addr) = start_any_manager("any manager", self.dir.path(), "127.0.0.1:0", options);
                self.nodes.push(node);
                self.addrs.push(("manager".into(), addr));
            }
            ["peer", slots] => {
                let (node, wire, addr) = peer_of_mine(self.dir.path(), slots.parse().unwrap());
                self.nodes.push(node);
                self.wires.insert("mgr".into(), wire);
                self.addrs.push(("peer".into(), addr));
            }
            ["listen", name] => {
                let listener = TcpListener::bind("127.0.0.1:0").unwrap();
                self.addrs.push(((*name).into(), listener.local_addr().unwrap()));
                self.listeners.push(listener);
            }
            ["connect", name, to] => {
                let addr = self.addrs.iter().find(|(name, _)| name == to).expect("an address").1;
                self.wires.insert((*name).into(), Wire::connect(addr));
            }
            other => panic!("cannot prepare {other:?}"),
        }
    }

    fn wire(&mut self, name: &str) -> &mut Wire {
        self.wires.get_mut(name).unwrap_or_else(|| panic!("no connection {name}"))
    }

    /// Waits for a message. One that is said again and again may be heard until it is as expected.
    fn hear(&mut self, name: &str, expected: &str) -> String {
        let expected = if self.foreign { &without_words(expected) } else { expected };
        let kind = expected.split('"').nth(3).unwrap_or(expected).to_owned();
        let end = Instant::now() + SETTLING;
        loop {
            // Pings alone would keep it here for ever.
            if Instant::now() > end + PATIENCE {
                return "NOTHING BUT PINGS AND LISTS".into();
            }
            let message = match self.wire(name).next(PATIENCE) {
                Heard::Line(message) => message,
                Heard::End => return "END".into(),
                Heard::Silence => return "SILENCE".into(),
            };
            let said = message["type"].as_str().unwrap().to_owned();
            let again = ["ping", "wait", "peers"].contains(&&*said);
            if !again || said == kind {
                let text = self.abstracted(&message);
                // A new file may say what it waits for in a word.
                let any = self.update && !expected.starts_with('{');
                let settled = any || !again || text == expected || Instant::now() > end;
                if settled {
                    return text;
                }
            }
            if said != "peers" && again {
                self.wire(name).say(&json!({"type": "ok"}));
            }
        }
    }

    /// A line as it is said: names are replaced by what they stand for.
    fn concrete(&mut self, said: &str) -> String {
        let mut text = said.to_owned();
        // One that was not heard yet is made up here.
        let new = self.keys.len() + 1;
        if text.contains(&format!("\"K{new}\"")) {
            self.keys.push(format!("{new:064x}"));
        }
        for (i, number) in self.numbers.iter().enumerate().rev() {
            text = text.replace(&format!("N{}", i + 1), number);
        }
        for (i, key) in self.keys.iter().enumerate() {
            text = text.replace(&format!("\"K{}\"", i + 1), &format!("\"{key}\""));
        }
        for (name, addr) in &self.addrs {
            text = text.replace(&format!("${name}"), &addr.to_string());
        }
        if let Some((before, rest)) = text.split_once("...x") {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            text = format!("{before}{}{}", "x".repeat(digits.parse().unwrap()), &rest[digits.len()..]);
        }
        text
    }

    /// A message with names instead of what differs from run to run, its fields in the order of the alphabet
    /// but for its type.
    fn abstracted(&mut self, message: &Value) -> String {
        let mut fields = message.as_object().unwrap().clone();
        let kind = fields.remove("type").unwrap();
        let rest: Vec<String> = fields.iter().map(|(name, value)| format!(",\"{name}\":{}", value)).collect();
        let mut text = format!("{{\"type\":{kind}{}}}", rest.concat());
        if self.foreign {
            text = without_words(&text);
        }
        for name in ["token", "key", "pass"] {
            let mark = format!("\"{name}\":\"");
            let mut from = 0;
            while let Some(at) = text[from..].find(&mark) {
                from += at + mark.len();
                let key = text[from..from + 64].to_owned();
                let place = self.keys.iter().position(|known| *known == key).unwrap_or_else(|| {
                    self.keys.push(key.clone());
                    self.keys.len() - 1
                });
                text.replace_range(from..from + 64, &format!("K{}", place + 1));
            }
        }
        for (name, addr) in &self.addrs {
            text = text.replace(&addr.to_string(), &format!("${name}"));
        }
        let mut out = String::new();
        let mut rest = &*text;
        while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
            out += &rest[..at];
            rest = &rest[at..];
            let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
            let digits = &rest[..end];
            rest = &rest[end..];
            if digits.len() > 14 {
                let place = self.numbers.iter().position(|number| number == digits).unwrap_or_else(|| {
                    self.numbers.push(digits.into());
                    self.numbers.len() - 1
                });
                out += &format!("N{}", place + 1);
            } else if digits.len() == 13 {
                out += "TIME";
            } else if out.ends_with("_ms\":") {
                out += "MS";
            } else if out.ends_with("127.0.0.1:") {
                out += "PORT";
            } else if out.ends_with("ends in ") {
                // "in 29.9 s": the tenths go with it.
                rest = rest.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
                out += "SOME";
            } else if out.ends_with("dropped at ") {
                rest = rest.split_once('Z').map_or(rest, |(_, after)| after);
                out += "DATE";
            } else {
                out += digits;
            }
        }
        out + rest
    }
}

/// A test for each transcript, of the same name; and none is left unplayed.
macro_rules! transcripts {
    ($($name:ident)*) => {
        $(#[test]
        fn $name() {
            play(stringify!($name));
        })*

        #[test]
        fn every_transcript_is_played() {
            let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
            for entry in fs::read_dir(folder).unwrap() {
                let file = entry.unwrap().file_name().into_string().unwrap();
                assert!([$(stringify!($name)),*].contains(&file.trim_end_matches(".txt")), "{file}");
            }
        }
    };
}

transcripts! {
    a_peer_registers_hears_lists_and_pings_and_quits
    a_lease_is_asked_for_granted_renewed_and_released
    a_lease_that_others_wait_for_expires
    a_peer_that_is_gone_is_lost_to_its_lease
    more_slots_than_there_are_is_infeasible
    a_peer_that_its_holder_blames_is_examined
    state_shows_peers_queue_leases_and_events
    what_a_peer_says_of_itself_is_told_to_all
    a_peer_serves_products_of_a_bound_lease_only
    a_manager_names_what_is_wrong_with_a_message
    a_manager_names_what_is_wrong_with_a_message_of_a_registered_peer
    a_peer_names_what_is_wrong_with_a_message
    names_and_addresses_are_taken_once
    a_tracker_is_asked_and_told_who_has_a_file
    a_tracker_names_what_is_wrong_with_a_file
    a_copy_that_is_missing_is_ordered_and_what_was_dropped_stays_away
}
