//! The peer in Python (`report/peer.py`), the saboteurs that are built on it (`scripts/saboteur.py`), and the golden
//! dialogues played with another program (`scripts/conform.sh`). Where there is no Python, that is said.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::common::files::{bytes, put, row, whole_at};
use crate::common::node::{Network, Node, Outcome};
use crate::common::{PATIENCE, assert_is_product, exact, integers, save, until};
use peerlab::matrix::Matrix;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The line that makes a liar of the peer in Python, as it stands, and changed.
const HONEST: &str =
    "ab = unpack(f\"<{payload // 8}d\", stream.read(payload))  # A liar: [x + 1 for x in ...]";
const LIAR: &str = "ab = [x + 1 for x in unpack(f\"<{payload // 8}d\", stream.read(payload))]";

/// Whether there is a Python that is new enough for dictionaries that are joined by `|`.
pub(crate) fn has_python() -> bool {
    let new = ["-c", "import sys; sys.exit(sys.version_info < (3, 9))"];
    let has = Command::new("python3").args(new).status().is_ok_and(|status| status.success());
    if !has {
        eprintln!("passed over: there is no python3 of version 3.9 or later");
    }
    has
}

/// A manager that orders no copies, and peers of four slots.
fn network(peers: usize) -> Network {
    Network::start(&["--replicas", "0"], &vec![4; peers])
}

/// Starts this text of the peer in Python, with files of this folder of the network; waits until it is leased.
fn start_peer(network: &Network, name: &str, source: &str, folder: &str) -> Node {
    let program = network.path(&format!("{name}.py"));
    fs::write(&program, source).unwrap();
    fs::create_dir_all(network.path(folder)).unwrap();
    let (manager, program) = (network.addr.to_string(), program.to_str().unwrap());
    let options = ["--manager", &manager, "--name", name, "--slots", "4", "--data", folder];
    let node = Node::start("python3", network.dir.path(), "", &[&[program], &options[..]].concat());
    until("it can be leased", PATIENCE, || (network.row(name)?["leasable"] == true).then_some(()));
    node
}

/// Starts a saboteur with four slots, called eve.
fn start_saboteur(network: &Network, how: &str, options: &[&str]) -> Node {
    let (manager, program) = (network.addr.to_string(), format!("{ROOT}/scripts/saboteur.py"));
    let usual = [program.as_str(), how, "--manager", &manager, "--name", "eve"];
    let mut node = Node::start("python3", network.dir.path(), "", &[&usual, options].concat());
    node.ready();
    until("eve can be leased", PATIENCE, || (network.row("eve")?["leasable"] == true).then_some(()));
    node
}

/// Multiplies two matrices of whole numbers; the answer is right, whichever peer lies.
fn multiplies(network: &Network, size: usize) -> Outcome {
    let (a, b) = (integers(size, size, 1), integers(size, size, 2));
    save(&a, &network.path("a.npy"));
    save(&b, &network.path("b.npy"));
    let outcome = network.command("bob", &["multiply", "a.npy", "b.npy", "-o", "c.npy"]).outcome();
    assert_is_product(&network.path("c.npy"), &a, &b);
    outcome.assert(0, &[])
}

/// Waits until an event has this text.
fn happens(network: &Network, text: &str) {
    until(&format!("the event {text:?}"), PATIENCE, || {
        let state = network.state();
        state["events"].to_string().contains(text).then_some(())
    });
}

/// Waits until `peer why` says this.
fn why_says(network: &Network, text: &str) {
    until(&format!("`why` says {text:?}"), PATIENCE, || {
        let said = network.command("requester", &["why"]).outcome().assert(0, &[]).stdout;
        said.contains(text).then_some(())
    });
}

/// Why products of the last multiply had to be done again, as the board shows it.
fn again(network: &Network) -> String {
    network.state()["done"].as_array().unwrap().last().unwrap()["progress"]["again"].to_string()
}

/// Downloads a file, which is right, whichever peer gives it.
fn downs(network: &Network, file: &str, content: &[u8]) -> Outcome {
    let outcome = network.command("bob", &["down", file, "-o", "into"]).outcome().assert(0, &[]);
    assert!(fs::read(network.path("into").join(file)).unwrap() == content, "{file} has other bytes");
    outcome
}

fn source() -> String {
    fs::read_to_string(Path::new(ROOT).join("report/peer.py")).unwrap()
}

#[test]
fn the_peer_in_python_has_eighty_lines_and_no_long_ones() {
    let source = source();
    assert!(source.lines().count() <= 80, "{} lines", source.lines().count());
    let long: Vec<&str> = source.lines().filter(|line| line.chars().count() > 99).collect();
    assert!(long.is_empty(), "{long:?}");
}

#[test]
fn the_peer_in_python_computes_gives_its_slots_back_and_gives_files() {
    if !has_python() {
        return;
    }
    let network = network(0);
    let film = bytes(700_000, 1);
    fs::create_dir(network.path("files")).unwrap();
    fs::write(network.path("files/film.bin"), &film).unwrap();
    fs::write(network.path("files/empty"), "").unwrap();
    let _py = start_peer(&network, "py", &source(), "files");
    for size in [60, 1] {
        multiplies(&network, size);
        until("the slots are free", PATIENCE, || (network.used() == 0).then_some(()));
    }
    whole_at(&network, "film.bin", 1);
    whole_at(&network, "empty", 1);
    downs(&network, "film.bin", &film);
    downs(&network, "empty", b"");
}

#[test]
fn with_one_changed_line_the_peer_in_python_is_a_liar_that_is_found() {
    if !has_python() {
        return;
    }
    assert_eq!(source().matches(HONEST).count(), 1);
    let network = network(1);
    let _liar = start_peer(&network, "liar", &source().replace(HONEST, LIAR), "files");
    let said = multiplies(&network, 60).stderr;
    assert!(said.contains("must be done again: liar at") && said.contains("is wrong in row"), "{said}");
    happens(&network, "bob blames liar: liar at");
    // The manager may find it by itself, since its slots are needed, before it is blamed.
    happens(&network, "liar is quarantined: it failed its examination: row");
    why_says(&network, "liar is not leased: quarantined: it");
}

#[test]
fn a_liar_is_found_by_its_quarantine() {
    if !has_python() {
        return;
    }
    let network = network(1);
    let _eve = start_saboteur(&network, "liar", &[]);
    multiplies(&network, 60);
    happens(&network, "bob blames eve: eve at");
    happens(&network, "eve is quarantined: it failed its examination: row");
    why_says(&network, "eve is not leased: quarantined: it was blamed, and failed its examination: row");
}

#[test]
fn a_zombie_is_found_by_slots_that_are_used_for_no_lease() {
    if !has_python() {
        return;
    }
    let network = Network::start(&["--replicas", "0", "--quantum", "300ms"], &[4]);
    let _eve = start_saboteur(&network, "zombie", &[]);
    let said = multiplies(&network, 60).stderr;
    assert!(said.contains("eve takes too long: others do its products"), "{said}");
    assert!(again(&network).contains("it took too long"), "{}", again(&network));
    let state = network.state();
    assert_eq!(state["leases"].as_array().unwrap().len(), 0);
    assert!(network.row("eve").unwrap()["used"].as_u64().unwrap() > 0, "{state}");
    happens(&network, "eve left: it did not give back its slots in time (ten quanta)");
}

#[test]
fn a_snail_is_found_by_products_that_were_done_again_and_its_slots_come_back() {
    if !has_python() {
        return;
    }
    let network = network(1);
    let _eve = start_saboteur(&network, "snail", &["--seconds", "3"]);
    // On a busy machine it may hear of a lease too late, and refuses it.
    until("a product is given to others", PATIENCE, || {
        let said = multiplies(&network, 60).stderr;
        said.contains("eve takes too long: others do its products").then_some(())
    });
    assert!(again(&network).contains("eve at"), "{}", again(&network));
    until("its slots come back", PATIENCE, || (network.used() == 0).then_some(()));
    assert!(network.row("eve").is_some());
}

#[test]
fn a_flapper_is_found_by_the_events() {
    if !has_python() {
        return;
    }
    let network = network(1);
    let _eve = start_saboteur(&network, "flapper", &["--seconds", "0.5"]);
    until("it has left twice", PATIENCE, || {
        let events = network.state()["events"].to_string();
        let [joined, left] = ["eve joined from", "eve left: its connection broke"];
        (events.matches(joined).count() > 2 && events.matches(left).count() > 1).then_some(())
    });
}

#[test]
fn a_free_rider_is_found_by_what_it_owes_and_by_the_part_that_it_does_not_offer() {
    if !has_python() {
        return;
    }
    let mut network = network(0);
    put(&network, "ada", "film.bin", bytes(3_000_000, 1));
    let ada = ["--up", "1MiB", "--time-scale", "10", "serve"];
    network.peers.push(network.command_with_log("info", "ada", &ada));
    whole_at(&network, "film.bin", 1);
    let _eve = start_saboteur(&network, "free-rider", &[]);
    let eve = network.row("eve").unwrap()["peer"].clone();
    let seen = until("ada sends to eve, which owes", PATIENCE, || {
        let uploads = network.row("ada")?["uploads"].as_array()?.clone();
        uploads.into_iter().find(|row| row["peer"] == eve && row["state"] == "owes")
    });
    assert_eq!(seen["down"], 0, "{seen}");
    let holders = row(&network, "film.bin").unwrap()["holders"].to_string();
    assert!(!holders.contains("eve"), "{holders}");
    why_says(
        &network,
        "ada lets eve wait for film.bin: waiting behind the others: it owes more than it gave",
    );
}

#[test]
fn a_bit_flipper_is_found_by_those_that_blame_it() {
    if !has_python() {
        return;
    }
    let mut network = network(0);
    let film = bytes(1_000_000, 1);
    put(&network, "ada", "film.bin", &film);
    network.peers.push(network.command_with_log("info", "ada", &["--up", "1MiB", "serve"]));
    whole_at(&network, "film.bin", 1);
    let _eve = start_saboteur(&network, "bit-flipper", &[]);
    whole_at(&network, "film.bin", 2);
    let said = downs(&network, "film.bin", &film).stderr;
    assert!(said.contains("eve sent wrong bytes for piece"), "{said}");
    happens(&network, "bob blames eve: wrong bytes for piece");
}

/// Plays one golden dialogue with this command in the place of the manager or the peer, as `scripts/conform.sh` does:
/// whether it holds, and what is said if not.
fn plays(role: &str, command: &str, dialogue: &str) -> (bool, String) {
    let mut test = Command::new(std::env::current_exe().unwrap());
    let test =
        test.args(["--exact", &format!("wire::{dialogue}")]).env(format!("PEERLAB_ANY_{role}"), command);
    let outcome = test.output().unwrap();
    let said = String::from_utf8(outcome.stdout).unwrap();
    assert!(said.contains("running 1 test"), "{said}");
    (outcome.status.success(), said)
}

#[test]
fn dialogues_are_played_with_any_program() {
    let [manager, peer] = [env!("CARGO_BIN_EXE_manager"), env!("CARGO_BIN_EXE_peer")];
    let products = "a_peer_serves_products_of_a_bound_lease_only";
    let (holds, said) = plays("PEER", &format!("{peer} serve"), products);
    assert!(holds, "{said}");
    let (holds, said) = plays("MANAGER", manager, "names_and_addresses_are_taken_once");
    assert!(holds, "{said}");
    let (holds, said) = plays("PEER", "false", products);
    assert!(!holds && said.contains("ended before it registered"), "{said}");
    if !has_python() {
        return;
    }
    for dialogue in [products, "a_peer_names_what_is_wrong_with_a_message"] {
        let (holds, said) = plays("PEER", &format!("python3 {ROOT}/report/peer.py"), dialogue);
        assert!(holds, "{said}");
    }
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("liar.py"), source().replace(HONEST, LIAR)).unwrap();
    let (holds, said) = plays("PEER", &format!("python3 {}/liar.py", dir.path().display()), products);
    assert!(!holds && said.contains("does not hold:\nexpected ada<< 19 22 43 50\nheard    ada<<"), "{said}");
}

#[test]
fn the_script_says_which_dialogues_hold_and_which_do_not() {
    if !has_python() {
        return;
    }
    // What the script would build is there: it is this program.
    let dir = tempfile::tempdir().unwrap();
    let (cargo, tests) = (dir.path().join("cargo"), std::env::current_exe().unwrap());
    let build = "case $* in *--no-run) exit ;; esac; until [ \"$1\" = -- ]; do shift; done; shift";
    fs::write(&cargo, format!("#!/bin/sh\n{build}\nexec {tests:?} \"$@\"\n")).unwrap();
    fs::set_permissions(&cargo, PermissionsExt::from_mode(0o755)).unwrap();
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let conform = |command: &[&str]| {
        let mut script = Command::new(format!("{ROOT}/scripts/conform.sh"));
        let ran = script.arg("peer").args(command).current_dir(ROOT).env("PATH", &path).output().unwrap();
        (ran.status.code(), String::from_utf8([ran.stdout, ran.stderr].concat()).unwrap())
    };
    let (status, said) = conform(&["--", "python3", "report/peer.py"]);
    assert!(status == Some(0) && said.contains("\n2 of 2 dialogues hold\n"), "{said}");
    assert!(said.contains("holds   a peer serves products of a bound lease only\n"), "{said}");
    let (status, said) = conform(&["--", "sh", "-c", "echo I am no peer; exit 3"]);
    assert!(status == Some(1) && said.contains("\n0 of 2 dialogues hold\n"), "{said}");
    let differs = said.split_once("differs a peer serves products of a bound lease only\n").unwrap().1;
    assert!(differs.contains("ended before it registered"), "{said}");
    let (status, said) = conform(&["python3"]);
    assert!(status == Some(2) && said.contains("the command is missing"), "{said}");
}

#[test]
fn dask_reads_our_files_and_finds_our_product_right_and_a_wrong_one_wrong() {
    let has = Command::new("python3").args(["-c", "import dask.array"]).output();
    if !has.is_ok_and(|python| python.status.success()) {
        return eprintln!("passed over: `python3 -m pip install 'dask[array]'` was not run here");
    }
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (integers(300, 200, 1), integers(200, 250, 2));
    let product = exact(&a, &b).into_iter().map(|x| x as f64).collect();
    let (c, wrong) = (Matrix::from_vec(300, 250, product).unwrap(), integers(300, 250, 3));
    for (matrix, name) in [(&a, "a.npy"), (&b, "b.npy"), (&c, "c.npy"), (&wrong, "wrong.npy")] {
        save(matrix, &dir.path().join(name));
    }
    let compare = |c| {
        let program = format!("{ROOT}/report/outgrow.py");
        let ran =
            Command::new("python3").args([&program, "a.npy", "b.npy", c]).current_dir(&dir).output().unwrap();
        (ran.status.code(), String::from_utf8(ran.stdout).unwrap())
    };
    let (status, said) = compare("c.npy");
    assert!(status == Some(0) && said.contains("differ by 0 at most"), "{said}");
    assert_eq!(compare("wrong.npy").0, Some(5));
}
