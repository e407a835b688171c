//! Replication as a manager orders it, seen from the wire: peers that are plain connections, JSON by hand.

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use crate::common::node::{Node, start_manager};
use crate::common::wire::{Heard, Wire};
use crate::common::{PATIENCE, until};
use peerlab::net::message::VERSION;
use serde_json::{Value, json};
use tempfile::TempDir;

/// A manager that is not in a hurry to take anybody for dead.
struct Lab {
    dir: TempDir,
    manager: Option<Node>,
    addr: SocketAddr,
    options: Vec<&'static str>,
}

impl Lab {
    fn new(options: &[&'static str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let options = [&["--dead-after", "60s", "--ping", "200ms"], options].concat();
        let (manager, addr) = start_manager(dir.path(), "127.0.0.1:0", &options);
        Self { dir, manager: Some(manager), addr, options }
    }

    /// The manager is killed, and another comes up in its place.
    fn restart(&mut self) {
        self.manager.as_mut().unwrap().kill();
        let (manager, _) = start_manager(self.dir.path(), &self.addr.to_string(), &self.options);
        self.manager = Some(manager);
    }

    #[track_caller]
    fn join(&self, name: &str) -> Peer {
        self.join_as(name, &json!({}))
    }

    /// A peer that says more of itself when it registers. It offers no slots, so nobody connects to it.
    #[track_caller]
    fn join_as(&self, name: &str, more: &Value) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut wire = Wire::connect(self.addr);
        let mut register = json!({"type": "register", "version": VERSION, "name": name, "slots": 0});
        register["addr"] = json!(listener.local_addr().unwrap());
        register.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        wire.say(&register);
        let number = wire.hear("registered")["peer"].as_u64().unwrap();
        Peer { wire, tracker: Wire::connect(self.addr), number, _listener: listener }
    }

    #[track_caller]
    fn state(&self) -> Value {
        let mut look = Wire::connect(self.addr);
        look.say(&json!({"type": "state"}));
        look.hear("state")
    }

    /// What `files --health` says of a file: its state and the reason.
    #[track_caller]
    fn health(&self, file: &str) -> (String, String) {
        let mut look = Wire::connect(self.addr);
        look.say(&json!({"type": "files", "health": true}));
        loop {
            let line = look.hear("file");
            if line["file"] == file {
                let word = |field: &str| line["health"][field].as_str().unwrap().to_owned();
                return (word("state"), word("reason"));
            }
        }
    }

    /// Waits until `files --health` says this of a file: its state, and how the reason begins. The manager thinks
    /// about copies in a thread of its own, a moment after it was told.
    #[track_caller]
    fn is(&self, file: &str, state: &str, reason: &str) {
        until(&format!("{file} is {state}: {reason}"), PATIENCE, || {
            let (is, why) = self.health(file);
            (is == state && why.starts_with(reason)).then_some(())
        });
    }

    fn events(&self) -> Vec<String> {
        let state = self.state();
        state["events"].as_array().unwrap().iter().map(|it| it["text"].as_str().unwrap().into()).collect()
    }
}

/// A peer that does what the test does.
struct Peer {
    /// Where it is registered.
    wire: Wire,
    /// Where it tells of its files.
    tracker: Wire,
    number: u64,
    _listener: TcpListener,
}

/// The hash of the one piece of a file with this content.
fn hash(content: u8) -> [u8; 32] {
    [content; 32]
}

impl Peer {
    /// Says `update` for a small file; gives the answer.
    #[track_caller]
    fn update(&mut self, file: &str, content: u8, whole: bool, published: Option<u64>) -> Value {
        let mut update = json!({"type": "update", "peer": self.number, "file": file, "size": 5,
            "piece_size": 1024, "whole": whole, "payload": 32});
        if let Some(published) = published {
            update["published"] = json!(published);
        }
        self.tracker.say(&update);
        self.tracker.say_raw(&hash(content));
        let Heard::Line(answer) = self.tracker.next(PATIENCE) else { panic!("no answer to `update`") };
        answer
    }

    /// Has a file, which must be accepted; gives its id.
    #[track_caller]
    fn has(&mut self, file: &str) -> String {
        let answer = self.update(file, 1, true, None);
        answer["id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    /// The next file that it is asked to fetch.
    #[track_caller]
    fn ordered(&mut self) -> String {
        self.wire.hear("fetch")["file"].as_str().unwrap().to_owned()
    }

    /// Fails if it is asked to fetch anything while it hears so many pings.
    #[track_caller]
    fn is_left_alone(&mut self, pings: usize) {
        let mut heard = 0;
        while heard < pings {
            let Heard::Line(message) = self.wire.next(PATIENCE) else { panic!("the manager is gone") };
            match message["type"].as_str().unwrap() {
                "ping" => {
                    heard += 1;
                    self.wire.say(&json!({"type": "ok"}));
                }
                "peers" => {}
                _ => panic!("{message}"),
            }
        }
    }

    #[track_caller]
    fn asks(&mut self, question: &Value) -> Value {
        self.tracker.say(question);
        let Heard::Line(answer) = self.tracker.next(PATIENCE) else { panic!("no answer to {question}") };
        answer
    }
}

#[test]
fn what_one_peer_has_the_others_are_asked_to_fetch_and_again_when_it_is_lost() {
    let lab = Lab::new(&[]);
    let (mut ada, mut ben) = (lab.join("ada"), lab.join("ben"));
    ada.has("notes.txt");
    assert_eq!(ben.ordered(), "notes.txt");
    lab.is("notes.txt", "spreading", "1 of 2 copies are there; ben was asked ");
    ben.update("notes.txt", 1, false, None);
    lab.is("notes.txt", "spreading", "1 of 2 copies are there; ben has been fetching it for ");
    ben.has("notes.txt");
    lab.is("notes.txt", "whole", "ada and ben have all of it");
    // She has deleted it.
    let answer = ada.asks(&json!({"type": "query", "peer": ada.number, "file": "notes.txt"}));
    assert_eq!(answer["type"], "holders");
    assert_eq!(ada.ordered(), "notes.txt");
    let told = lab.events();
    assert!(told.iter().any(|text| text.starts_with("ben is asked to fetch notes.txt")), "{told:?}");
    assert!(told.iter().any(|text| text == "ada has lost notes.txt: it asks for it"), "{told:?}");
}

#[test]
fn four_orders_run_at_a_peer_and_the_next_comes_when_one_is_done() {
    let lab = Lab::new(&[]);
    let (mut ada, mut ben) = (lab.join("ada"), lab.join("ben"));
    for n in 0..6 {
        ada.has(&format!("f{n}"));
    }
    let first: BTreeSet<String> = (0..4).map(|_| ben.ordered()).collect();
    assert_eq!(first.len(), 4);
    ben.is_left_alone(3);
    ben.has(first.first().unwrap());
    assert!(!first.contains(&ben.ordered()));
}

#[test]
fn nobody_is_asked_who_keeps_no_replicas_or_under_a_policy_of_none() {
    let lab = Lab::new(&["--replicas", "0"]);
    let (mut ada, mut ben) = (lab.join("ada"), lab.join("ben"));
    ada.has("notes.txt");
    ben.is_left_alone(10);
    lab.is("notes.txt", "whole", "");
    let lab = Lab::new(&[]);
    let (mut ada, mut selfish) = (lab.join("ada"), lab.join_as("ben", &json!({"keeps": false})));
    ada.has("notes.txt");
    selfish.is_left_alone(10);
    lab.is("notes.txt", "whole", "ada has all of it");
}

#[test]
fn under_a_policy_of_two_one_other_is_asked_and_another_when_it_leaves() {
    let lab = Lab::new(&["--replicas", "2"]);
    let mut ada = lab.join("ada");
    ada.has("notes.txt");
    lab.is("notes.txt", "spreading", "1 of 2 copies are there; only one peer here keeps replicas");
    let mut ben = lab.join("ben");
    assert_eq!(ben.ordered(), "notes.txt");
    ben.has("notes.txt");
    let mut cyd = lab.join("cyd");
    cyd.is_left_alone(10);
    ben.wire.say(&json!({"type": "quit"}));
    assert_eq!(cyd.ordered(), "notes.txt");
}

#[test]
fn what_nobody_has_all_of_is_missing_and_is_not_ordered() {
    let lab = Lab::new(&[]);
    let (mut ada, mut ben) = (lab.join("ada"), lab.join("ben"));
    ada.update("notes.txt", 1, false, None);
    lab.is("notes.txt", "missing", "nobody has all of it; ada has a part");
    ben.is_left_alone(10);
}

#[test]
fn a_drop_is_told_to_all_and_an_old_copy_does_not_come_back_but_a_new_one_does() {
    let lab = Lab::new(&[]);
    let (mut ada, mut ben, mut cyd) = (lab.join("ada"), lab.join("ben"), lab.join("cyd"));
    let id = ada.has("notes.txt");
    ben.has("notes.txt");
    // Somebody who is not registered wants it gone: that is refused.
    let mut person = Wire::connect(lab.addr);
    person.say(&json!({"type": "drop", "file": "notes.txt"}));
    assert_eq!(person.hear("error")["code"], "unauthorised");
    person.say(&json!({"type": "drop", "peer": ada.number, "token": "0".repeat(64), "file": "notes.txt"}));
    assert_eq!(person.hear("error")["code"], "unauthorised");
    person.say(&json!({"type": "drop", "peer": ada.number, "file": "notes.txt"}));
    person.hear("dropped");
    let mut at = 0;
    for peer in [&mut ada, &mut ben, &mut cyd] {
        let told = peer.wire.hear("drop");
        assert_eq!((&told["file"], &told["id"]), (&json!("notes.txt"), &json!(id)));
        at = told["at"].as_u64().unwrap();
    }
    // It is gone, and there is nothing to drop any more.
    person.say(&json!({"type": "drop", "peer": ada.number, "file": "notes.txt"}));
    assert_eq!(person.hear("error")["code"], "not_found");
    let gone = ben.asks(&json!({"type": "query", "peer": ben.number, "file": "notes.txt"}));
    assert_eq!(gone["code"], "not_found");
    // One that was away still has it.
    let mut dan = lab.join("dan");
    for published in [None, Some(at - 1), Some(at)] {
        let no = dan.update("notes.txt", 1, true, published);
        assert_eq!(no["code"], "expired");
        assert!(no["text"].as_str().unwrap().contains("`add` it again to bring it back"), "{no}");
        assert_eq!(dan.wire.hear("drop")["at"], at);
    }
    assert!(
        lab.events()
            .iter()
            .any(|text| text.starts_with("dan still has notes.txt and 2 more, which were dropped"))
    );
    // Other content under that name, and that content under another name, are other files.
    dan.has("copy of notes.txt");
    assert_eq!(dan.update("notes.txt", 2, true, None)["type"], "updated");
    person.say(&json!({"type": "drop", "peer": ada.number, "file": "notes.txt"}));
    person.hear("dropped");
    ada.wire.hear("drop");
    // And one that puts it there later wants it. Later than now nobody does.
    until("a later moment", PATIENCE, || (lab.state()["manager"]["now"].as_u64()? > at).then_some(()));
    assert_eq!(dan.update("notes.txt", 1, true, Some(at + 1))["type"], "updated");
    assert!(
        lab.events()
            .iter()
            .any(|text| text == "dan put notes.txt there again on purpose after it was dropped")
    );
    let mut files = [ada.ordered(), ada.ordered()];
    files.sort();
    assert_eq!(files, ["copy of notes.txt", "notes.txt"]);
}

#[test]
fn a_restarted_manager_is_told_of_drops_and_of_a_drop_and_a_publication_the_later_wins() {
    let mut lab = Lab::new(&[]);
    let mut ada = lab.join("ada");
    let id = ada.has("notes.txt");
    assert_eq!(
        ada.asks(&json!({"type": "drop", "peer": ada.number, "file": "notes.txt"}))["type"],
        "dropped"
    );
    let at = ada.wire.hear("drop")["at"].as_u64().unwrap();
    lab.restart();
    // Ben was away meanwhile, and comes first; the new manager knows of nothing.
    let mut ben = lab.join("ben");
    assert_eq!(ben.update("notes.txt", 1, true, Some(at - 5))["type"], "updated");
    let mut ada = lab.join("ada");
    let remembered = json!({"type": "drop", "file": "notes.txt", "id": id, "at": at});
    ada.wire.say(&remembered);
    for peer in [&mut ben, &mut ada] {
        assert_eq!(peer.wire.hear("drop")["at"], at);
    }
    assert_eq!(ben.update("notes.txt", 1, true, Some(at - 5))["code"], "expired");
    // Once more, and now ben has put it there after it was dropped.
    lab.restart();
    let (mut ben, mut ada) = (lab.join("ben"), lab.join("ada"));
    assert_eq!(ben.update("notes.txt", 1, true, Some(at + 5))["type"], "updated");
    ada.wire.say(&remembered);
    assert_eq!(ada.ordered(), "notes.txt");
    assert_eq!(lab.health("notes.txt").0, "spreading");
}

#[test]
fn a_file_whose_publisher_has_a_clock_that_is_ahead_can_be_dropped() {
    let mut lab = Lab::new(&[]);
    let mut ada = lab.join("ada");
    let in_an_hour = lab.state()["manager"]["now"].as_u64().unwrap() + 3_600_000;
    let id = ada.update("notes.txt", 1, true, Some(in_an_hour))["id"].clone();
    let mut person = Wire::connect(lab.addr);
    person.say(&json!({"type": "drop", "peer": ada.number, "file": "notes.txt"}));
    person.hear("dropped");
    let at = ada.wire.hear("drop")["at"].as_u64().unwrap();
    assert!(at < in_an_hour - 3_000_000, "the time of the drop is the manager's");
    // Nor does such a file win against a drop that a peer remembers.
    lab.restart();
    let (mut ada, mut ben) = (lab.join("ada"), lab.join("ben"));
    ada.update("notes.txt", 1, true, Some(in_an_hour));
    let now = lab.state()["manager"]["now"].clone();
    ben.wire.say(&json!({"type": "drop", "file": "notes.txt", "id": id, "at": now}));
    assert_eq!(ada.wire.hear("drop")["at"], now);
}

#[test]
fn of_a_file_that_is_not_listed_only_a_registered_peer_can_say_that_it_was_dropped() {
    let lab = Lab::new(&[]);
    let (mut ada, mut ben) = (lab.join("ada"), lab.join("ben"));
    let id = ada.has("notes.txt");
    ben.ordered();
    let invented = |n: u8| json!({"type": "drop", "file": "notes.txt", "id": format!("{n:064}"), "at": 7});
    let mut stranger = Wire::connect(lab.addr);
    for n in 0..100 {
        let mut invented = invented(n);
        invented["peer"] = json!(ada.number);
        stranger.say(&invented);
        assert_eq!(stranger.hear("error")["code"], "not_found");
    }
    stranger.say(&json!({"type": "drop", "peer": ada.number, "file": "never.txt", "at": 7}));
    assert_eq!(stranger.hear("error")["code"], "not_found");
    // Nobody has heard of those: the first drop that is told is that of a peer which remembers it.
    ada.wire.say(&invented(200));
    for peer in [&mut ada, &mut ben] {
        assert_eq!(peer.wire.hear("drop")["id"], format!("{:064}", 200));
    }
    // It wins against what was published before it.
    ada.wire.say(&json!({"type": "drop", "file": "old.txt", "id": id, "at": 7}));
    ada.wire.hear("drop");
    ben.wire.hear("drop");
    assert_eq!(ben.update("old.txt", 1, true, Some(3))["code"], "expired");
    assert_eq!(ben.wire.hear("drop")["at"], 7);
    // One that does not say which bytes is told what is wrong with it, and stays.
    ada.wire.say(&json!({"type": "drop", "file": "never.txt"}));
    assert_eq!(ada.wire.hear("error")["code"], "not_found");
    ada.is_left_alone(2);
}

#[test]
fn a_thousand_files_reach_two_others_and_are_few_lines_of_events() {
    let lab = Lab::new(&[]);
    let mut ada = lab.join("ada");
    let others = [lab.join("ben"), lab.join("cyd")];
    for n in 0..1000 {
        ada.has(&format!("f{n}"));
    }
    let copying = others.map(|mut peer| {
        std::thread::spawn(move || {
            let orders: BTreeSet<String> = (0..1000)
                .map(|_| {
                    let file = peer.ordered();
                    peer.has(&file);
                    file
                })
                .collect();
            assert_eq!(orders.len(), 1000, "no file is ordered twice");
            peer
        })
    });
    let _others = copying.map(|thread| thread.join().unwrap());
    lab.is("f999", "whole", "ada, ben and cyd have all of it");
    let told = lab.events();
    assert!(told.len() < 100, "{} lines: {told:#?}", told.len());
    assert!(told.iter().any(|text| text.contains("more, too")), "{told:#?}");
}

#[test]
fn state_tells_of_the_manager_of_downloads_and_of_multiplies() {
    let lab = Lab::new(&["--quantum", "20s", "--replicas", "3"]);
    let mut ada = lab.join_as("ada", &json!({"up": 1000, "slots": 1}));
    ada.has("notes.txt");
    let download = json!({"file": "notes.txt", "have": 1, "pieces": 2, "since_ms_ago": 30, "bytes_per_s": 4,
        "from": [ada.number]});
    ada.wire.say(&json!({"type": "ok", "downloads": [download]}));
    let peer = until("the download is shown", PATIENCE, || {
        let peer = lab.state()["peers"][0].clone();
        (!peer["downloads"].is_null()).then_some(peer)
    });
    assert_eq!(peer["downloads"][0], download);
    assert_eq!((&peer["up"], &peer["down"], &peer["keeps"]), (&json!(1000), &Value::Null, &json!(true)));
    let state = lab.state();
    let manager = &state["manager"];
    assert_eq!((&manager["quantum_ms"], &manager["replicas"]), (&json!(20_000), &json!("3")));
    assert!(manager["now"].as_u64().unwrap() >= manager["since"].as_u64().unwrap());
    assert_eq!(state["files"][0]["health"]["state"], "spreading");

    // A multiply by ada at ben.
    let ben = lab.join_as("ben", &json!({"slots": 1}));
    let mut holder = Wire::connect(lab.addr);
    holder.say(&json!({"type": "lease", "peer": ada.number, "slots": 1}));
    let lease = holder.hear("leased")["lease"].clone();
    let cell = |state: &str| json!({"product": 0, "peer": ben.number, "state": state, "attempts": 1});
    let progress = |state: &str| json!({"rows": 2, "inner": 3, "cols": 4, "products": [cell(state)]});
    let say = |holder: &mut Wire, state: &str| {
        let mut message = progress(state);
        message["type"] = json!("progress");
        holder.say(&message);
    };
    say(&mut holder, "computing");
    until("the progress is shown", PATIENCE, || {
        let state = lab.state();
        let shown = &state["leases"][0];
        (shown["progress"] == progress("computing") && shown["name"] == "ada").then_some(())
    });
    assert_eq!(lab.state()["done"], Value::Null);
    say(&mut holder, "checked");
    holder.say(&json!({"type": "release"}));
    holder.hear("released");
    let done = lab.state()["done"][0].clone();
    assert_eq!(
        (&done["lease"], &done["name"], &done["progress"]),
        (&lease, &json!("ada"), &progress("checked"))
    );
    assert!(done["took_ms"].is_u64() && done["at"].is_u64());
    // One that never held a lease has finished nothing.
    let mut stranger = Wire::connect(lab.addr);
    stranger.say(&json!({"type": "lease", "slots": 99}));
    stranger.hear("error");
    say(&mut stranger, "checked");
    stranger.say(&json!({"type": "release"}));
    stranger.hear("released");
    assert_eq!(lab.state()["done"].as_array().unwrap().len(), 1);
}

#[test]
fn a_state_of_more_than_fits_into_a_line_is_cut_and_counted_and_lists_that_nobody_reads_take_no_memory() {
    let lab = Lab::new(&["--replicas", "0"]);
    let mut ada = lab.join("ada");
    for n in 0..4000 {
        // Each takes more than twice its length in JSON.
        ada.has(&format!("{n:04}{}", "\"".repeat(200)));
    }
    let state = lab.state();
    let shown = state["files"].as_array().unwrap().len();
    assert!((500..2500).contains(&shown), "{shown}");
    assert_eq!(shown as u64 + state["files_left_out"].as_u64().unwrap(), 4000);
    let length = state.to_string().len();
    assert!((700_000..1 << 20).contains(&length), "{length} bytes");
    ada.is_left_alone(1);
    let manager = lab.manager.as_ref().unwrap();
    let before = manager.peak_memory();
    let mut deaf: Vec<Wire> = (0..30).map(|_| Wire::connect(lab.addr)).collect();
    deaf.iter_mut().for_each(|wire| wire.say_raw("{\"type\":\"files\"}\n".repeat(20).as_bytes()));
    // Each has been told a part of a list of two megabytes.
    deaf.iter_mut().for_each(|wire| drop(wire.hear("file")));
    ada.has("one more");
    let grown = manager.peak_memory() - before;
    assert!(grown < 24 << 10, "{grown} KiB");
}

#[test]
fn a_manager_stops_in_order_while_orders_run() {
    let mut lab = Lab::new(&[]);
    let (mut ada, mut ben) = (lab.join("ada"), lab.join("ben"));
    ada.has("notes.txt");
    ben.ordered();
    let mut manager = lab.manager.take().unwrap();
    manager.signal(rustix::process::Signal::TERM);
    manager.outcome_within(Duration::from_secs(20)).assert(0, &[]);
}
