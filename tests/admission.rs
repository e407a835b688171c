//! Who may join: programs that have the network's secret, and no others.

use std::collections::BTreeSet;
use std::fs::{self, Permissions};
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;

use hmac::{Hmac, KeyInit, Mac};
use parking_lot::Mutex;
use serde_json::json;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

use crate::common::node::{Node, Outcome, start_manager};
use crate::common::wire::{Wire, detour};
use crate::common::{PATIENCE, assert_is_product, integers, save, until};

/// What stands in the file `secret`, and in `other`.
const SECRETS: [(&str, &str); 2] =
    [("secret", "the right sixteen or more"), ("other", "sixteen or more, but wrong")];

/// A manager with a secret, and the folder of all.
struct Guarded {
    dir: TempDir,
    manager: Node,
    addr: SocketAddr,
}

impl Guarded {
    fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        for (name, secret) in SECRETS {
            fs::write(dir.path().join(name), secret).unwrap();
            fs::set_permissions(dir.path().join(name), Permissions::from_mode(0o600)).unwrap();
        }
        let (manager, addr) = start_manager(dir.path(), "127.0.0.1:0", &["--secret-file", "secret"]);
        Self { dir, manager, addr }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts `peer` with these words, as `name`.
    fn peer(&self, log: &str, name: &str, words: &[&str]) -> Node {
        let manager = self.addr.to_string();
        Node::start("peer", self.dir.path(), log, &[&["--manager", &manager, "--name", name], words].concat())
    }

    /// Peers with the secret, ready.
    fn serving(&self, log: &str, names: &[&str]) -> Vec<Node> {
        let serve = ["--secret-file", "secret", "--scan", "200ms", "serve"];
        let mut peers: Vec<Node> = names.iter().map(|name| self.peer(log, name, &serve)).collect();
        peers.iter_mut().for_each(|peer| drop(peer.ready()));
        peers
    }

    /// What a peer with the secret is told.
    fn told(&self, words: &[&str]) -> Outcome {
        self.peer("warn", "me", &[&["--secret-file", "secret"], words].concat()).outcome()
    }

    /// Multiplies two matrices by the peers; waits for the slots.
    fn multiplies(&self, size: usize) {
        let (a, b) = (integers(size, size, 1), integers(size, size, 2));
        save(&a, &self.path("a.npy"));
        save(&b, &self.path("b.npy"));
        let words = ["multiply", "a.npy", "b.npy", "-o", "c.npy"];
        until("there are slots", PATIENCE, || (self.told(&words).status == Some(0)).then_some(()));
        assert_is_product(&self.path("c.npy"), &a, &b);
    }
}

/// Every file in a folder and in those below it, and what it says. One that goes meanwhile is left out.
fn files_below(folder: &Path) -> Vec<(PathBuf, String)> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let below = |path: PathBuf| match fs::read(&path) {
        Ok(bytes) => vec![(path, String::from_utf8_lossy(&bytes).into_owned())],
        _ if path.is_dir() => files_below(&path),
        _ => Vec::new(),
    };
    paths.flat_map(below).collect()
}

#[test]
fn those_with_the_secret_multiply_and_share_and_neither_it_nor_a_token_is_shown_to_others() {
    let mut network = Guarded::start();
    // All that the manager and its peers say to each other, and all that others and ada do.
    let [with_manager, with_ada] = [(); 2].map(|()| Arc::<Mutex<String>>::default());
    let overhear = |outside, inside, all: &Arc<Mutex<String>>| {
        let all = Arc::clone(all);
        detour(outside, inside, move |said| all.lock().push_str(&String::from_utf8_lossy(said)));
    };
    let [outside, before_ada] = [(); 2].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
    let manager = std::mem::replace(&mut network.addr, outside.local_addr().unwrap());
    overhear(outside, manager, &with_manager);
    let at = before_ada.local_addr().unwrap().to_string();
    let serve = ["--secret-file", "secret", "--scan", "200ms", "--advertise", &at, "serve"];
    let mut ada = network.peer("trace", "ada", &serve);
    overhear(before_ada, ada.ready()["addr"].as_str().unwrap().parse().unwrap(), &with_ada);
    let mut peers = network.serving("trace", &["ben", "cyd"]);
    peers.insert(0, ada);
    network.multiplies(60);
    fs::write(network.path("peerlab-ada/film"), "a film").unwrap();
    for name in ["ben", "cyd"] {
        let copy = network.path(&format!("peerlab-{name}/film"));
        until("the copy", PATIENCE, || (fs::read_to_string(&copy).ok()? == "a film").then_some(()));
    }
    network.told(&["down", "film", "-o", "there"]).assert(0, &[]);
    assert_eq!(fs::read_to_string(network.path("there/film")).unwrap(), "a film");
    let offered = network.told(&["--json", "get"]).assert(0, &[]).json();
    assert_eq!(offered["files"][0]["whole"].as_array().map(Vec::len), Some(3), "{offered}");
    network.told(&["drop", "film"]).assert(0, &[]);
    let gone = || peers.iter().all(|peer| peer.stderr().contains("{\"type\":\"drop\",\"file\":\"film\""));
    until("all hear of the drop", PATIENCE, || gone().then_some(()));
    peers.push(network.manager);
    for node in &peers {
        assert!(!node.stderr().contains(SECRETS[0].1), "{} shows the secret", node.name);
    }
    assert!(peers[0].stderr().contains("{\"type\":\"proof\""), "every line was shown");
    let (with_manager, with_ada) = (with_manager.lock(), with_ada.lock());
    for kind in ["multiply", "join"] {
        assert!(with_ada.contains(&format!("\"type\":\"{kind}\"")), "nobody asked ada to {kind}");
    }
    let files = files_below(network.dir.path());
    assert!(files.iter().any(|(path, _)| path.ends_with(".peerlab/marker")), "{files:?}");
    let tokens = with_manager.split("\"token\":\"").skip(1).filter_map(|rest| rest.get(..64));
    let tokens: BTreeSet<&str> = tokens.collect();
    assert!(tokens.len() >= peers.len(), "{tokens:?}");
    for token in tokens {
        assert!(!with_ada.contains(token), "another peer was told a token");
        assert!(peers.iter().all(|node| !node.stderr().contains(token)), "a log shows a token");
        let kept = files.iter().find(|(_, text)| text.contains(token));
        assert!(kept.is_none(), "a token in {kept:?}");
    }
}

#[test]
fn any_program_that_makes_a_proof_as_the_report_says_is_let_in() {
    let network = Guarded::start();
    let mut wire = Wire::connect(network.addr);
    let first = r#"{"type":"state"}"#;
    wire.say_raw(format!("{first}\n").as_bytes());
    let challenge = wire.hear("challenge");
    let nonce = challenge["nonce"].as_str().unwrap();
    let mut mac = Hmac::<Sha256>::new_from_slice(&Sha256::digest(SECRETS[0].1)).unwrap();
    let length = |text: &str| (text.len() as u64).to_be_bytes();
    mac.update(&[&[3][..], &length(nonce), nonce.as_bytes(), &length(first), first.as_bytes()].concat());
    let digits: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    wire.say(&json!({"type": "proof", "mac": digits}));
    assert_eq!(wire.hear("state")["peers"], json!([]));
}

#[test]
fn one_without_the_secret_or_with_another_is_told_what_to_do() {
    let mut network = Guarded::start();
    let _peers = network.serving("warn", &["ada"]);
    for command in ["serve", "peers", "files", "get", "drop film"] {
        let words = || command.split(' ').collect::<Vec<_>>();
        let none = network.peer("trace", "eve", &words()).outcome();
        none.assert(4, &["asks for a secret, and none was given here", "the same --secret-file"]);
        let other =
            network.peer("trace", "eve", &[&["--secret-file", "other"], &*words()].concat()).outcome();
        let other =
            other.assert(4, &["lets in only programs that know its secret", "the same --secret-file"]);
        assert!(!other.stderr.contains(SECRETS[1].1), "{other:#?}");
    }
    let words = ["--secret-file", "short", "peers"];
    let no = network.peer("warn", "eve", &words).outcome();
    no.assert(2, &["cannot be read", "copy that of your network there", "chmod 600 short"]);
    // The right one, which others can read, is not to be replaced.
    let secret = network.dir.path().join("secret");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o644)).unwrap();
    let no = network.told(&["peers"]);
    let no = no.assert(2, &["may be read or changed by others", "make it yours alone: chmod 600 secret"]);
    assert!(!no.stderr.contains("urandom"), "{no:#?}");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).unwrap();
    network.told(&["peers"]).assert(0, &[]);
    network
        .peer("warn", "eve", &["--secret-file", ".", "peers"])
        .outcome()
        .assert(2, &["the path of a file"]);
    // Nor does one with a secret speak to a manager that asks for none.
    network.manager.kill();
    let (_open, addr) = start_manager(network.dir.path(), "127.0.0.1:0", &[]);
    network.addr = addr;
    network.told(&["peers"]).assert(4, &["has not this network's secret, or is no manager"]);
    network.told(&["serve"]).assert(4, &["has not this network's secret"]);
}

#[test]
fn a_peer_that_others_can_reach_needs_a_secret_too() {
    let network = Guarded::start();
    let everywhere = |words: &[&str]| {
        network.peer("warn", "ada", &[&["--listen", "0.0.0.0:0", "--secret-file", "secret"], words].concat())
    };
    everywhere(&["serve"]).ready();
    let (mut open, addr) = start_manager(network.dir.path(), "127.0.0.1:0", &[]);
    let words = ["--manager", &addr.to_string(), "--listen", "0.0.0.0:0", "serve"];
    Node::start("peer", network.dir.path(), "warn", &words)
        .outcome()
        .assert(2, &["0.0.0.0:0 can be reached from other machines", "--secret-file", "--open"]);
    Node::start("peer", network.dir.path(), "warn", &[&words[..], &["--open"]].concat()).ready();
    open.kill();
}

#[test]
fn none_of_many_wrong_proofs_lets_anybody_in_and_an_honest_peer_sees_nothing_of_it() {
    const THREADS: usize = 4;
    const EACH: usize = 2500;
    let network = Guarded::start();
    let _peers = network.serving("warn", &["ada", "ben"]);
    let register =
        json!({"type": "register", "version": 2, "name": "eve", "addr": "127.0.0.1:9", "slots": 9});
    let refused = thread::scope(|scope| {
        let attack = || {
            let wrong = |n: usize| {
                let mut wire = Wire::connect(network.addr);
                wire.say(&register);
                let nonce = wire.hear("challenge")["nonce"].clone();
                let mac = if n.is_multiple_of(2) { nonce } else { json!(format!("{n:064x}")) };
                wire.say(&json!({"type": "proof", "mac": mac}));
                usize::from(wire.hear("error")["code"] == "unauthorised")
            };
            (0..EACH).map(wrong).sum::<usize>()
        };
        let attackers: Vec<_> = (0..THREADS).map(|_| scope.spawn(attack)).collect();
        network.multiplies(40);
        attackers.into_iter().map(|attacker| attacker.join().unwrap()).sum::<usize>()
    });
    assert_eq!(refused, THREADS * EACH);
    let seen = network.told(&["--json", "peers"]).assert(0, &[]).json();
    let names: Vec<&str> =
        seen["peers"].as_array().unwrap().iter().filter_map(|peer| peer["name"].as_str()).collect();
    assert!(names.contains(&"ada") && names.contains(&"ben") && !names.contains(&"eve"), "{names:?}");
    network.multiplies(40);
}
