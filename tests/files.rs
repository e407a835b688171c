//! Files, seen from the outside: real programs that offer and fetch, and holders that lie.

use std::fs;
use std::io::Read;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use crate::common::fake::{FakePeer, HONEST};
use crate::common::files::{bytes, folder, put, row, whole_at};
use crate::common::node::{Network, Node};
use crate::common::wire::{Heard, Wire};
use crate::common::{PATIENCE, until};
use crate::python::has_python;
use peerlab::net::limits;
use peerlab::share::{Bitfield, Layout, Manifest};
use rustix::process::Signal;
use serde_json::{Value, json};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;

/// A network without peers, whose manager asks for no copies, and bears with those who do not answer pings.
fn network() -> Network {
    Network::start(&["--dead-after", "60s", "--replicas", "0"], &[])
}

/// A peer that serves, ready.
#[track_caller]
fn serve(network: &Network, name: &str, options: &[&str]) -> Node {
    let mut node = network.command_with_log("info", name, &[options, &["serve"]].concat());
    node.ready();
    node
}

/// Downloads into a folder of its own; gives the report and the bytes.
#[track_caller]
fn down(network: &Network, name: &str, file: &str, options: &[&str]) -> (Value, Vec<u8>) {
    let into = format!("into-{name}");
    let args = [&["down", file, "-o", &into, "--json"], options].concat();
    let report = network.command(name, &args).outcome().assert(0, &[]).json();
    (report, fs::read(network.path(&into).join(file)).unwrap())
}

/// How many pieces came from whom.
fn given(report: &Value, peer: &str) -> u64 {
    let shares = report["from"].as_array().unwrap();
    shares.iter().find(|share| share["peer"] == peer).map_or(0, |share| share["pieces"].as_u64().unwrap())
}

fn given_in_all(report: &Value) -> u64 {
    report["from"].as_array().unwrap().iter().map(|share| share["pieces"].as_u64().unwrap()).sum()
}

#[test]
fn what_lies_in_a_folder_is_offered_listed_and_downloaded_byte_by_byte() {
    let network = network();
    let big = bytes(3 * MIB + 17, 1);
    for (file, bytes) in [("big.bin", &big[..]), ("empty", b""), ("one", b"x"), ("ä b.txt", b"text")] {
        put(&network, "ada", file, bytes);
    }
    let _ada = serve(&network, "ada", &[]);
    let _ben = serve(&network, "ben", &[]);
    whole_at(&network, "ä b.txt", 1);
    for verb in ["GET", "files"] {
        let listed = network.command("look", &[verb, "--json"]).outcome().assert(0, &[]).json();
        let names: Vec<_> =
            listed["files"].as_array().unwrap().iter().map(|row| row["file"].clone()).collect();
        assert_eq!(names, ["big.bin", "empty", "one", "ä b.txt"], "{verb}");
    }
    let (report, got) = down(&network, "cyd", "big.bin", &[]);
    assert_eq!(got, big);
    assert_eq!((given(&report, "ada"), report["pieces"].as_u64()), (13, Some(13)));
    assert_eq!((report["refetched"].as_u64(), report["size"].as_u64()), (Some(0), Some(big.len() as u64)));
    assert_eq!(down(&network, "cyd", "empty", &[]).1, b"");
    assert_eq!(down(&network, "cyd", "one", &[]).1, b"x");
    assert_eq!(down(&network, "cyd", "ä b.txt", &[]).1, b"text");
    // Nothing of the program's own is left beside the files.
    assert_eq!(fs::read_dir(network.path("into-cyd")).unwrap().count(), 4);
    // What is here already is not fetched again.
    let (again, _) = down(&network, "cyd", "big.bin", &[]);
    assert_eq!(given_in_all(&again), 0);
}

#[test]
fn more_files_than_fit_into_a_page_are_each_told_once_in_the_order_of_their_names() {
    let network = network();
    let (_ada, number) = Wire::register(network.addr, "ada", ([127, 0, 0, 1], 9).into(), 0);
    let mut tracker = Wire::connect(network.addr);
    let names: Vec<String> = (0..1200).map(|i| format!("file-{i:04}")).collect();
    for file in names.iter().rev() {
        tracker.say(&json!({"type": "update", "peer": number, "file": file, "size": 0, "piece_size": 1024,
            "whole": true, "payload": 0}));
        tracker.hear("updated");
    }
    tracker.say(&json!({"type": "files"}));
    let told: Vec<Value> = names.iter().map(|_| tracker.hear("file")["file"].clone()).collect();
    assert_eq!(told, names);
    tracker.hear("end");
}

#[test]
fn only_regular_files_with_plain_names_are_offered() {
    let network = network();
    put(&network, "ada", "plain", b"x");
    let folder = network.path("peerlab-ada");
    put(&network, "ada", ".hidden", b"x");
    fs::write(network.path("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(network.path("secret"), folder.join("link")).unwrap();
    fs::create_dir(folder.join("folder")).unwrap();
    let fifo = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, folder.join("fifo"), fifo, rustix::fs::Mode::RUSR, 0).unwrap();
    let _ada = serve(&network, "ada", &[]);
    whole_at(&network, "plain", 1);
    let listed = network.command("look", &["get", "--json"]).outcome().assert(0, &[]).json();
    assert_eq!(listed["files"].as_array().unwrap().len(), 1, "{listed}");
}

#[test]
fn an_unknown_file_exits_with_3_and_a_name_that_is_a_path_with_2() {
    let network = network();
    network.command("cyd", &["down", "nope"]).outcome().assert(3, &["nobody offers nope", "`files` lists"]);
    for name in ["../secret", "/etc/passwd", ".hidden", "a\\b", ""] {
        network.command("cyd", &["down", name]).outcome().assert(2, &[]);
    }
    assert!(!network.path(".peerlab").exists(), "nothing was begun");
}

#[test]
fn another_content_under_the_same_name_is_a_conflict_with_4_that_names_the_holder() {
    let network = network();
    put(&network, "ada", "a.txt", b"first");
    let _ada = serve(&network, "ada", &[]);
    whole_at(&network, "a.txt", 1);
    fs::write(network.path("a.txt"), "second").unwrap();
    network.command("ben", &["add", "a.txt"]).outcome().assert(4, &["held by ada", "another name"]);
    assert!(!network.path("peerlab-ben/a.txt").exists(), "the copy is of no use");
    assert_eq!(fs::read(network.path("a.txt")).unwrap(), b"second", "the original is where it was");
    // A file in the way of a download is not overwritten.
    network.command("cyd", &["down", "a.txt"]).outcome().assert(4, &["another file is called a.txt here"]);
    assert_eq!(fs::read(network.path("a.txt")).unwrap(), b"second");
}

#[test]
fn a_file_is_found_at_once_after_a_restart_of_the_manager() {
    let mut network = Network::start(&["--replicas", "0"], &[]);
    put(&network, "ada", "a.bin", bytes(1000, 1));
    let _ada = serve(&network, "ada", &[]);
    whole_at(&network, "a.bin", 1);
    for round in 0..3 {
        network.restart_manager(&["--replicas", "0"]);
        let name = format!("requester-{round}");
        network.command(&name, &["down", "a.bin", "-o", &name]).outcome().assert(0, &[]);
    }
}

#[test]
fn a_command_that_comes_while_the_manager_is_restarted_waits_for_it() {
    let mut network = Network::start(&["--replicas", "0"], &[]);
    put(&network, "ada", "a.bin", bytes(1000, 1));
    let _ada = serve(&network, "ada", &[]);
    whole_at(&network, "a.bin", 1);
    // One that only asks, and one that joins.
    for words in [&["files"][..], &["down", "a.bin", "-o", "out"]] {
        network.manager.kill();
        let mut requester = network.command("requester", words);
        requester.hears("nobody listens at");
        // However long the new manager takes to start.
        requester.signal(Signal::STOP);
        network.restart_manager(&["--replicas", "0"]);
        requester.signal(Signal::CONT);
        requester.outcome().assert(0, &[]);
    }
}

#[test]
fn what_is_added_is_served_until_a_signal_which_is_the_ordinary_end() {
    let network = network();
    let data = bytes(600 * KIB, 2);
    fs::write(network.path("new.bin"), &data).unwrap();
    let mut ben = network.command("ben", &["ADD", "new.bin", "--json"]);
    ben.hears("until Ctrl-C");
    assert_eq!(down(&network, "cyd", "new.bin", &[]).1, data);
    ben.signal(Signal::TERM);
    let added = ben.outcome().assert(0, &[]).json();
    assert_eq!((added["file"].as_str(), added["pieces"].as_u64()), (Some("new.bin"), Some(3)));
    until("the file is gone with its holder", PATIENCE, || row(&network, "new.bin").is_none().then_some(()));
}

#[test]
fn two_that_download_at_the_same_time_give_to_each_other() {
    let network = network();
    let data = bytes(6 * MIB, 3);
    put(&network, "ada", "swarm.bin", &data);
    let mut ada = serve(&network, "ada", &["--up", "3MiB"]);
    whole_at(&network, "swarm.bin", 1);
    let begin = |name| network.command(name, &["down", "swarm.bin", "-o", name, "--json", "--stay"]);
    let (mut ben, mut cyd) = (begin("ben"), begin("cyd"));
    whole_at(&network, "swarm.bin", 3);
    let mut from_each_other = 0;
    for (node, name, other) in [(&mut ben, "ben", "cyd"), (&mut cyd, "cyd", "ben")] {
        node.hears("until Ctrl-C");
        node.signal(Signal::TERM);
        let report = node.outcome().assert(0, &[]).json();
        from_each_other += given(&report, other);
        assert_eq!(fs::read(network.path(name).join("swarm.bin")).unwrap(), data);
    }
    assert!(from_each_other >= 6, "{from_each_other} pieces from each other");
    ada.hears("sent piece");
    assert!(!ada.stderr().contains("sent piece 24 "), "its 24 pieces count from 0");
}

/// How long a command may take after its last piece while its manager says nothing: it needs four seconds at most.
const WITHOUT_A_MANAGER: Duration = Duration::from_secs(8);

#[test]
fn a_holder_that_is_killed_in_the_middle_only_delays_and_a_manager_that_is_stopped_then_hardly() {
    let network = network();
    let data = bytes(8 * MIB, 4);
    put(&network, "ada", "file.bin", &data);
    put(&network, "ben", "file.bin", &data);
    let _ada = serve(&network, "ada", &["--up", "4MiB"]);
    let mut ben = serve(&network, "ben", &["--up", "4MiB"]);
    whole_at(&network, "file.bin", 2);
    let mut cyd = network.command("cyd", &["down", "file.bin", "-o", "out", "--json"]);
    until("pieces from ben", PATIENCE, || ben.stderr().contains("sent piece").then_some(()));
    ben.kill();
    // The rest takes more than a second; the last piece comes while cyd asks who has the file, and nobody answers.
    network.manager.signal(Signal::STOP);
    cyd.hears("100 %");
    let report = cyd.outcome_within(WITHOUT_A_MANAGER).assert(0, &["ben is not asked any more"]).json();
    assert_eq!(fs::read(network.path("out/file.bin")).unwrap(), data);
    assert_eq!(given_in_all(&report), 32);
    assert!(given(&report, "ben") < 32 && given(&report, "ada") > 0, "{report}");
}

#[test]
fn a_newcomer_among_the_holders_is_found_while_a_download_runs() {
    let network = network();
    let data = bytes(6 * MIB, 5);
    put(&network, "ada", "file.bin", &data);
    put(&network, "ben", "file.bin", &data);
    let ada = serve(&network, "ada", &["--up", "1MiB"]);
    whole_at(&network, "file.bin", 1);
    let mut cyd = network.command("cyd", &["down", "file.bin", "-o", "out", "--json"]);
    until("a piece from ada", PATIENCE, || ada.stderr().contains("sent piece").then_some(()));
    let _ben = serve(&network, "ben", &[]);
    let report = cyd.outcome().assert(0, &[]).json();
    assert!(given(&report, "ben") > given(&report, "ada"), "{report}");
    assert_eq!(fs::read(network.path("out/file.bin")).unwrap(), data);
}

/// The file of a download on its way whose name ends so.
fn partial(network: &Network, folder: &str, ending: &str) -> PathBuf {
    let parts = fs::read_dir(network.path(folder).join(".peerlab/partial")).unwrap();
    let mut paths = parts.map(|entry| entry.unwrap().path());
    paths.find(|path| path.extension().is_some_and(|is| is == ending)).unwrap()
}

/// Which of the pieces of `data` are in a file.
fn pieces_in(path: &Path, data: &[u8]) -> Vec<usize> {
    let there = fs::read(path).unwrap();
    let pieces = data.len() / (256 * KIB);
    (0..pieces)
        .filter(|i| there[i * 256 * KIB..][..256 * KIB] == data[i * 256 * KIB..][..256 * KIB])
        .collect()
}

/// A download of 8 MiB that was killed in the middle.
fn killed_download(network: &Network, data: &[u8]) -> Node {
    put(network, "ada", "file.bin", data);
    let ada = serve(network, "ada", &["--up", "4MiB"]);
    whole_at(network, "file.bin", 1);
    let mut cyd = network.command("cyd", &["down", "file.bin", "-o", "out", "--json"]);
    cyd.hears("30 %");
    cyd.kill();
    assert!(!network.path("out/file.bin").exists(), "it appears only when it is whole");
    ada
}

/// Downloads the rest; `kept` pieces are there already.
#[track_caller]
fn go_on(network: &Network, kept: usize, data: &[u8]) {
    let report = network.command("cyd", &["down", "file.bin", "-o", "out", "--json"]).outcome();
    let report = report.assert(0, &[&format!("{kept} of 32 pieces are here already")]).json();
    assert_eq!(given_in_all(&report), 32 - kept as u64, "{report}");
    assert_eq!(fs::read(network.path("out/file.bin")).unwrap(), data);
    assert!(!network.path("out/.peerlab").exists(), "nothing of the program's own is left");
}

#[test]
fn a_download_that_was_killed_goes_on_without_fetching_verified_pieces_again() {
    let network = network();
    let data = bytes(8 * MIB, 6);
    let _ada = killed_download(&network, &data);
    let there = pieces_in(&partial(&network, "out", "part"), &data).len();
    assert!((9..32).contains(&there), "{there}");
    go_on(&network, there, &data);
}

#[test]
fn what_is_there_is_hashed_and_a_spoilt_piece_fetched_again() {
    let network = network();
    let data = bytes(8 * MIB, 6);
    let _ada = killed_download(&network, &data);
    fs::remove_file(partial(&network, "out", "manifest")).unwrap();
    let part = partial(&network, "out", "part");
    let right = pieces_in(&part, &data);
    let mut spoilt = fs::read(&part).unwrap();
    spoilt[right[0] * 256 * KIB + 7] ^= 1;
    fs::write(&part, spoilt).unwrap();
    go_on(&network, right.len() - 1, &data);
}

#[test]
fn every_order_of_pieces_brings_the_same_file() {
    let network = network();
    let data = bytes(3 * MIB, 7);
    put(&network, "ada", "file.bin", &data);
    put(&network, "ben", "file.bin", &data);
    let _ada = serve(&network, "ada", &[]);
    let _ben = serve(&network, "ben", &[]);
    whole_at(&network, "file.bin", 2);
    for order in ["rarest", "sequential", "split"] {
        assert_eq!(down(&network, order, "file.bin", &["--pick", order]).1, data);
    }
    network
        .command("cyd", &["down", "file.bin", "--pick", "best"])
        .outcome()
        .assert(2, &["rarest, sequential"]);
}

#[test]
fn a_restarted_manager_is_told_all_files_again() {
    let mut network = network();
    put(&network, "ada", "a", b"x");
    put(&network, "ada", "b", b"y");
    let _ada = serve(&network, "ada", &[]);
    whole_at(&network, "b", 1);
    network.restart_manager(&["--dead-after", "60s", "--replicas", "0"]);
    whole_at(&network, "a", 1);
    whole_at(&network, "b", 1);
}

#[test]
fn bad_pieces_are_named_and_repaired_from_others() {
    let network = network();
    let data = bytes(MIB, 8);
    put(&network, "ada", "file.bin", &data);
    let _ada = serve(&network, "ada", &[]);
    whole_at(&network, "file.bin", 1);
    let mut spoilt = data.clone();
    spoilt[300 * KIB] ^= 1;
    let path = put(&network, "ben", "file.bin", &spoilt);
    let verify = |status, says: &[&str]| {
        network.command("ben", &["verify", "file.bin"]).outcome().assert(status, says)
    };
    verify(0, &["1 wrong piece (number 1)"]);
    assert_eq!(fs::read(&path).unwrap(), data);
    let down = |output: &str| network.command("cyd", &["down", "file.bin", "-o", output]).outcome();
    put(&network, "ben", "../a.npy", "not a folder");
    down("a.npy").assert(1, &["a.npy is a file, and no folder", "with -o for `down`"]);
    network.command("cyd", &["add", "."]).outcome().assert(1, &[". is a folder; add the files in it"]);
    assert!(verify(0, &[]).stdout.contains("nothing is wrong in 4 pieces"));
    fs::write(&path, &data[..MIB - 1]).unwrap();
    verify(0, &["1 wrong piece (number 3)"]);
    assert_eq!(fs::read(&path).unwrap(), data);
    network.command("ben", &["verify", "other"]).outcome().assert(3, &[]);
}

#[test]
fn the_bounds_of_the_lecture_are_printed_without_a_network() {
    let dir = tempfile::tempdir().unwrap();
    let bounds = ["bounds", "--size", "32MiB", "--seed-up", "8MiB", "--peer-up", "4MiB", "--peers", "16"];
    let mut text = Node::start("peer", dir.path(), "info", &bounds);
    let said = text.outcome().assert(0, &[]).stdout;
    assert!(
        said.contains("64.000 s = N F / u_s") && said.contains("7.111 s = N F / (u_s + sum u_i)"),
        "{said}"
    );
    let mut object = Node::start("peer", dir.path(), "info", &[&bounds[..], &["--json"]].concat());
    let said = object.outcome().assert(0, &[]).json();
    assert_eq!(said["client_server"]["seconds"], 64.0);
    assert!((said["p2p"]["seconds"].as_f64().unwrap() - 512.0 / 72.0).abs() < 1e-9);
}

/// How a holder lies.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Lie {
    WrongBytes,
    OtherPiece,
    TooLong,
    Torn,
    Garbage,
    LongBitfield,
    Silence,
    Mute,
}

/// A holder that lies, listed for a file that it has never seen.
struct Liar {
    _membership: Wire,
    asked: Arc<AtomicBool>,
    /// How often it heard `have`, and how often `wrong`.
    heard_of: Arc<[AtomicUsize; 2]>,
}

impl Liar {
    fn offer(network: &Network, manifest: &Manifest, lie: Lie) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (membership, number) = Wire::register(network.addr, &format!("liar-{}", addr.port()), addr, 0);
        let mut tracker = Wire::connect(network.addr);
        let (layout, hashes) = (manifest.layout(), manifest.hashes());
        tracker.say(&json!({
            "type": "update", "peer": number, "file": manifest.name(), "size": layout.size(),
            "piece_size": layout.piece_size(), "whole": true, "payload": hashes.len(),
        }));
        tracker.say_raw(hashes);
        tracker.hear("updated");
        let asked = Arc::new(AtomicBool::new(false));
        let heard_of = Arc::new([const { AtomicUsize::new(0) }; 2]);
        let (told, heard) = (Arc::clone(&asked), Arc::clone(&heard_of));
        // It ends with the test's process.
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (wire, told, heard) = (Wire::new(stream.unwrap()), Arc::clone(&told), Arc::clone(&heard));
                thread::spawn(move || lie_to(wire, layout, lie, &told, &heard));
            }
        });
        Self { _membership: membership, asked, heard_of }
    }

    /// Whether anybody has asked it for a piece.
    fn was_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }
}

fn lie_to(mut wire: Wire, layout: Layout, lie: Lie, asked: &AtomicBool, heard_of: &[AtomicUsize; 2]) {
    let mut bits = Bitfield::full(layout).as_bytes().to_vec();
    if lie == Lie::LongBitfield {
        bits.push(0);
    }
    while let Heard::Line(message) = wire.next(PATIENCE) {
        if message["type"] == "request" {
            asked.store(true, Ordering::SeqCst);
        }
        for (counter, kind) in heard_of.iter().zip(["have", "wrong"]) {
            counter.fetch_add((message["type"] == kind).into(), Ordering::SeqCst);
        }
        let alive = match (message["type"].as_str().unwrap(), lie) {
            ("join", Lie::Mute) => true,
            ("join", _) => {
                wire.try_say(&json!({"type": "bitfield", "payload": bits.len()}))
                    && wire.try_say_raw(&bits)
                    && wire.try_say(&json!({"type": "unchoke"}))
            }
            ("request", Lie::Garbage) => wire.try_say_raw(b"\xff\x00 what?\n"),
            ("request", Lie::Silence | Lie::LongBitfield) => true,
            ("request", _) => {
                let asked = message["piece"].as_u64().unwrap() as u32;
                let piece = if lie == Lie::OtherPiece { (asked + 1) % layout.pieces() } else { asked };
                let len = layout.piece(piece).unwrap().len() + usize::from(lie == Lie::TooLong);
                let sent = if lie == Lie::Torn { len / 2 } else { len };
                wire.try_say(&json!({"type": "piece", "piece": piece, "payload": len}))
                    && wire.try_say_raw(&vec![7; sent])
                    && lie != Lie::Torn
            }
            _ => true,
        };
        if !alive {
            return;
        }
    }
}

#[test]
fn a_lying_holder_never_spoils_a_file() {
    let network = network();
    let data = bytes(5 * MIB, 9);
    let layout = Layout::of(data.len() as u64).unwrap();
    for lie in [
        Lie::WrongBytes,
        Lie::OtherPiece,
        Lie::TooLong,
        Lie::Torn,
        Lie::Garbage,
        Lie::LongBitfield,
        Lie::Silence,
        Lie::Mute,
    ] {
        let file = format!("{lie:?}");
        let name = format!("ada-{}", file.to_lowercase());
        put(&network, &name, &file, &data);
        let _ada = serve(&network, &name, &["--up", "8MiB"]);
        whole_at(&network, &file, 1);
        let manifest = Manifest::read(file.parse().unwrap(), layout, &data[..], &false.into()).unwrap();
        let liar = Liar::offer(&network, &manifest, lie);
        let (report, got) = down(&network, &format!("cyd-{}", file.to_lowercase()), &file, &[]);
        assert!(got == data, "{lie:?}: another file");
        assert_eq!(given(&report, &name), 20, "{lie:?}: {report}");
        if lie == Lie::WrongBytes {
            assert_eq!(report["refetched"], 2, "it is not asked after the second: {report}");
            let heard = || (liar.heard_of[1].load(Ordering::SeqCst) >= 1).then_some(());
            until("it is told which piece was wrong", PATIENCE, heard);
        }
        if lie == Lie::Silence {
            let heard = || (liar.heard_of[0].load(Ordering::SeqCst) >= 10).then_some(());
            until("it hears what cyd has, though it asks for nothing", PATIENCE, heard);
        }
    }
}

#[test]
fn holders_that_say_nothing_are_left_when_they_are_not_listed_any_more_or_say_not_even_what_they_have() {
    let network = network();
    let data = bytes(MIB, 15);
    // Ada is listed, too, but serves nobody: so the tracker has an answer, and the silent one all requests.
    put(&network, "ada", "file.bin", &data);
    let _ada = serve(&network, "ada", &["--up", "0"]);
    whole_at(&network, "file.bin", 1);
    let layout = Layout::of(data.len() as u64).unwrap();
    let manifest = Manifest::read("file.bin".parse().unwrap(), layout, &data[..], &false.into()).unwrap();
    let liar = Liar::offer(&network, &manifest, Lie::Silence);
    let _mute = Liar::offer(&network, &manifest, Lie::Mute);
    let mut cyd = network.command("cyd", &["down", "file.bin", "-o", "out", "--json"]);
    until("a request to the silent one", PATIENCE, || liar.was_asked().then_some(()));
    // Its membership ends; its conversation with cyd does not.
    drop(liar);
    let is_lost = |why: &str| cyd.stderr().lines().any(|line| line.contains("liar-") && line.contains(why));
    // Long before a minute of silence alone would tell.
    let soon = Duration::from_secs(40);
    until("the one that is gone is left", soon, || is_lost("it has left").then_some(()));
    until("the mute one is left", soon, || is_lost("owes word which pieces it has").then_some(()));
    put(&network, "ben", "file.bin", &data);
    let _ben = serve(&network, "ben", &[]);
    let report = cyd.outcome().assert(0, &[]).json();
    assert_eq!(given(&report, "ben"), 4, "{report}");
}

/// The address of a peer, as the manager has it.
fn addr(network: &Network, name: &str) -> SocketAddr {
    network.row(name).unwrap()["addr"].as_str().unwrap().parse().unwrap()
}

/// Joins, and reads the bitfield.
fn join(network: &Network, name: &str, file: &str) -> (Wire, Vec<u8>) {
    let mut wire = Wire::connect(addr(network, name));
    let id = row(network, file).unwrap()["id"].clone();
    wire.say(&json!({"type": "join", "peer": 0, "file": file, "id": id}));
    let bytes = wire.hear("bitfield")["payload"].as_u64().unwrap() as usize;
    let bits = wire.payload(bytes).unwrap();
    (wire, bits)
}

#[test]
fn pieces_can_be_asked_for_by_hand() {
    let network = network();
    let data = bytes(600_000, 10);
    put(&network, "ada", "a.bin", &data);
    let _ada = serve(&network, "ada", &[]);
    whole_at(&network, "a.bin", 1);
    let (mut wire, bits) = join(&network, "ada", "a.bin");
    assert_eq!(bits, [0b1110_0000]);
    wire.say(&json!({"type": "interested", "on": true}));
    wire.hear("unchoke");
    for piece in [2, 0] {
        wire.say(&json!({"type": "request", "piece": piece}));
        let answer = wire.hear("piece");
        let len = if piece == 2 { 600_000 - 2 * 262_144 } else { 262_144 };
        assert_eq!((answer["piece"].as_u64(), answer["payload"].as_u64()), (Some(piece), Some(len)));
        let got = wire.payload(len as usize).unwrap();
        assert!(got == data[piece as usize * 262_144..][..len as usize]);
    }
    wire.say(&json!({"type": "request", "piece": 3}));
    let no = wire.hear("error");
    assert_eq!(no["code"], "bad_message");
    assert!(no["text"].as_str().unwrap().contains("there is no piece 3"), "{no}");
    wire.hear_end();
}

#[test]
fn who_may_upload_nothing_serves_nobody() {
    let network = network();
    put(&network, "ada", "a.bin", bytes(600_000, 12));
    let _ada = serve(&network, "ada", &["--up", "0"]);
    whole_at(&network, "a.bin", 1);
    let (mut wire, _) = join(&network, "ada", "a.bin");
    wire.say(&json!({"type": "interested", "on": true}));
    // Whatever follows from interest is said before anything that follows from this.
    wire.say(&json!({"type": "request", "piece": 3}));
    let no = wire.hear("error");
    assert!(no["text"].as_str().unwrap().contains("there is no piece 3"), "{no}");
}

#[test]
fn a_file_that_is_not_offered_cannot_be_joined() {
    let network = network();
    put(&network, "ada", "a.bin", b"x");
    let _ada = serve(&network, "ada", &[]);
    whole_at(&network, "a.bin", 1);
    let id = row(&network, "a.bin").unwrap()["id"].clone();
    let refused = |file: &str, id: &Value| {
        let mut wire = Wire::connect(addr(&network, "ada"));
        wire.say(&json!({"type": "join", "peer": 0, "file": file, "id": id}));
        let no = wire.hear("error");
        wire.hear_end();
        no["code"].as_str().unwrap().to_owned()
    };
    assert_eq!(refused("other", &id), "not_found");
    assert_eq!(refused("a.bin", &json!("0".repeat(64))), "not_found");
    assert_eq!(refused("../a.bin", &id), "bad_message");
    assert_eq!(refused("a.bin", &json!("short")), "bad_message");
}

#[test]
fn one_that_joins_as_a_peer_shows_its_pass_and_then_gives_way_to_no_stranger() {
    let network = network();
    put(&network, "ada", "a.bin", b"x");
    let _ada = serve(&network, "ada", &[]);
    whole_at(&network, "a.bin", 1);
    let (ada, eve) = (addr(&network, "ada"), FakePeer::join(network.addr, "eve", 0, HONEST));
    let mut tracker = Wire::connect(network.addr);
    tracker.say(&json!({"type": "query", "peer": eve.number, "file": "a.bin"}));
    let found = tracker.hear("holders");
    let holder = &found["holders"][0];
    let join = |peer: &Value, pass: &Value| {
        let mut wire = Wire::connect(ada);
        wire.say(&json!({"type": "join", "peer": peer, "file": "a.bin", "id": found["id"], "pass": pass}));
        wire
    };
    let (eve, wrong) = (json!(eve.number), json!("ab".repeat(32)));
    for (peer, pass) in [(&eve, &Value::Null), (&eve, &wrong), (&holder["peer"], &holder["pass"])] {
        assert_eq!(join(peer, pass).hear("error")["code"], "unauthorised");
    }
    let joined = |peer: &Value, pass: &Value| {
        let mut wire = join(peer, pass);
        wire.hear("bitfield");
        wire.payload(1).unwrap();
        wire
    };
    let mut eve = joined(&eve, &holder["pass"]);
    // Nobody wants anything yet, and eve is here for longest.
    let mut strangers: Vec<Wire> = (0..=limits::JOINS / 2).map(|_| joined(&json!(0), &Value::Null)).collect();
    assert_eq!(strangers[0].hear("error")["code"], "busy");
    eve.say(&json!({"type": "interested", "on": true}));
    eve.hear("unchoke");
}

#[test]
fn only_so_many_are_served_at_a_time_and_the_others_are_told() {
    let network = network();
    put(&network, "ada", "a.bin", bytes(600_000, 11));
    let _ada = serve(&network, "ada", &["--unchoke", "1", "--time-scale", "20"]);
    whole_at(&network, "a.bin", 1);
    let mut requesters: Vec<Wire> = (0..4).map(|_| join(&network, "ada", "a.bin").0).collect();
    let mut served = [0; 4];
    let mut seen = [false; 4];
    for requester in &mut requesters {
        requester.say(&json!({"type": "interested", "on": true}));
    }
    // One for its rate and one drawn, another one each time, so that everybody has a turn.
    until("everybody had his turn", PATIENCE, || {
        for (place, requester) in requesters.iter_mut().enumerate() {
            while let Heard::Line(message) = requester.next(Duration::from_millis(1)) {
                match message["type"].as_str().unwrap() {
                    "unchoke" => served[place] += 1,
                    "choke" => served[place] -= 1,
                    other => panic!("heard {other}"),
                }
                seen[place] |= served[place] == 1;
            }
        }
        seen.iter().all(|seen| *seen).then_some(())
    });
}

#[test]
fn who_passes_nothing_on_waits_behind_the_others_at_a_seed() {
    let network = network();
    put(&network, "ada", "a.bin", bytes(8 * MIB, 11));
    let ada = serve(&network, "ada", &["--up", "2MiB"]);
    whole_at(&network, "a.bin", 1);
    let named = ["eve", "ben"].map(|name| FakePeer::join(network.addr, name, 0, HONEST));
    let id = row(&network, "a.bin").unwrap()["id"].clone();
    let [mut eve, mut ben] = named.each_ref().map(|peer| {
        let mut tracker = Wire::connect(network.addr);
        tracker.say(&json!({"type": "query", "peer": peer.number, "file": "a.bin"}));
        let pass = tracker.hear("holders")["holders"][0]["pass"].clone();
        let mut wire = Wire::connect(addr(&network, "ada"));
        wire.say(&json!({"type": "join", "peer": peer.number, "file": "a.bin", "id": id, "pass": pass}));
        wire.hear("bitfield");
        wire.payload(4).unwrap();
        until("the list of peers has come to ada", PATIENCE, || {
            wire.say(&json!({"type": "interested", "on": true}));
            ada.stderr().contains(&format!("{} wants pieces", peer.name)).then_some(())
        });
        wire.hear("unchoke");
        wire
    });
    let ask = |wire: &mut Wire, piece: u32| wire.say(&json!({"type": "request", "piece": piece}));
    let get = |wire: &mut Wire| {
        wire.hear("piece");
        wire.payload(256 << 10).unwrap();
    };
    for piece in 0..3 {
        ask(&mut eve, piece);
        get(&mut eve);
    }
    // Eve's next is on its way; the one after that was asked for before all of Ben's.
    (3..5).for_each(|piece| ask(&mut eve, piece));
    eve.hear("piece");
    (10..13).for_each(|piece| ask(&mut ben, piece));
    eve.payload(256 << 10).unwrap();
    get(&mut eve);
    (0..3).for_each(|_| get(&mut ben));
    let to = |line: &str| line.contains("sent piece").then(|| line.rsplit(' ').next().unwrap().to_owned());
    let order = until("ada says that it sent all", PATIENCE, || {
        let order: Vec<_> = ada.stderr().lines().filter_map(to).collect();
        (order.len() == 8).then_some(order)
    });
    assert_eq!(order, ["eve", "eve", "eve", "eve", "ben", "ben", "ben", "eve"]);
}

#[test]
fn a_file_that_was_changed_since_it_was_hashed_is_not_sent() {
    let network = network();
    let data = bytes(600_000, 12);
    let path = put(&network, "ada", "a.bin", &data);
    let _ada = serve(&network, "ada", &["--scan", "1h"]);
    whole_at(&network, "a.bin", 1);
    let (mut wire, _) = join(&network, "ada", "a.bin");
    wire.say(&json!({"type": "interested", "on": true}));
    wire.hear("unchoke");
    wire.say(&json!({"type": "request", "piece": 0}));
    assert!(wire.hear("piece")["payload"] == 262_144 && wire.payload(262_144).unwrap() == data[..262_144]);
    fs::write(&path, vec![0; 600_000]).unwrap();
    wire.say(&json!({"type": "request", "piece": 1}));
    let no = wire.hear("error");
    assert_eq!(no["code"], "not_found");
    assert!(no["text"].as_str().unwrap().contains("a.bin was changed here"), "{no}");
    // Nor to somebody who comes later.
    let mut wire = Wire::connect(addr(&network, "ada"));
    let id = row(&network, "a.bin").unwrap()["id"].clone();
    wire.say(&json!({"type": "join", "peer": 0, "file": "a.bin", "id": id}));
    assert_eq!(wire.hear("error")["code"], "not_found");
}

/// A disk that lets the byte at a place rot when it is given a line, and the times of the file do not show it: of a
/// change in memory that is shared with a file the kernel sees the first, which changes nothing here.
const ROT: &str = "import mmap, sys
path, at = sys.argv[1], int(sys.argv[2])
file = open(path, 'r+b')
shared = mmap.mmap(file.fileno(), 0)
shared[at] = shared[at]
print('{}', flush=True)
sys.stdin.readline()
shared[at] ^= 1
";

#[test]
fn a_holder_that_is_told_of_a_wrong_piece_reads_it_again_and_offers_no_file_that_has_rotted() {
    if !has_python() {
        return;
    }
    let network = network();
    let data = bytes(600_000, 12);
    let path = put(&network, "ada", "a.bin", &data);
    let rot = ["-c", ROT, path.to_str().unwrap(), "300000"];
    let mut rot = Node::start("python3", network.dir.path(), "", &rot);
    rot.ready();
    let _ada = serve(&network, "ada", &["--scan", "1h"]);
    whole_at(&network, "a.bin", 1);
    rot.type_line("");
    rot.outcome().assert(0, &[]);
    let (mut wire, _) = join(&network, "ada", "a.bin");
    wire.say(&json!({"type": "interested", "on": true}));
    wire.hear("unchoke");
    let is_right = |wire: &mut Wire, piece: usize| {
        wire.say(&json!({"type": "request", "piece": piece}));
        let size = wire.hear("piece")["payload"].as_u64().unwrap() as usize;
        wire.payload(size).unwrap() == data[piece * 256 * KIB..][..size]
    };
    let sent = [0, 1, 2].map(|piece| is_right(&mut wire, piece));
    assert_eq!(sent, [true, false, true], "nothing shows here that the second has rotted");
    wire.say(&json!({"type": "wrong", "piece": 0}));
    assert!(is_right(&mut wire, 0), "that was no fault of ada");
    wire.say(&json!({"type": "wrong", "piece": 1}));
    let no = wire.hear("error");
    assert_eq!(no["code"], "not_found");
    assert!(no["text"].as_str().unwrap().contains("a.bin was changed here"), "{no}");
    wire.hear_end();
    let mut later = Wire::connect(addr(&network, "ada"));
    let id = row(&network, "a.bin").unwrap()["id"].clone();
    later.say(&json!({"type": "join", "peer": 0, "file": "a.bin", "id": id}));
    assert_eq!(later.hear("error")["code"], "not_found");
}

#[test]
fn who_is_told_that_a_file_was_changed_keeps_no_turns_that_others_wait_for() {
    let network = network();
    let path = put(&network, "ada", "a.bin", bytes(600_000, 12));
    put(&network, "ada", "b.bin", bytes(1000, 13));
    // A slow link carries one piece at a time.
    let _ada = serve(&network, "ada", &["--scan", "1h", "--up", "1MiB"]);
    whole_at(&network, "a.bin", 1);
    whole_at(&network, "b.bin", 1);
    let mut pair = ["a.bin", "b.bin"].map(|file| join(&network, "ada", file).0);
    for wire in &mut pair {
        wire.say(&json!({"type": "interested", "on": true}));
        wire.hear("unchoke");
    }
    let [mut refused, mut other] = pair;
    fs::write(&path, vec![0; 600_000]).unwrap();
    // In one go, so that the next has its turn when the first fails.
    let requests: Vec<_> =
        (0..3).map(|piece| format!("{}\n", json!({"type": "request", "piece": piece}))).collect();
    refused.say_raw(requests.concat().as_bytes());
    assert_eq!(refused.hear("error")["code"], "not_found");
    // It neither leaves nor says anything; that is borne for a minute.
    other.say(&json!({"type": "request", "piece": 0}));
    let Heard::Line(piece) = other.next(Duration::from_secs(20)) else { panic!("the other gets no answer") };
    assert_eq!((&piece["type"], &piece["payload"]), (&json!("piece"), &json!(1000)));
}

#[test]
fn a_peer_tells_its_files_again_when_the_manager_asks() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir_all(dir.path().join("peerlab-mine")).unwrap();
    fs::write(dir.path().join("peerlab-mine/a.bin"), "x").unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let manager = listener.local_addr().unwrap().to_string();
    let _peer = Node::start("peer", dir.path(), "debug", &["--manager", &manager, "--name", "mine", "serve"]);
    let mut membership = Wire::new(listener.accept().unwrap().0);
    membership.hear("register");
    membership.say(&json!({"type": "registered", "peer": 7, "token": "0".repeat(64)}));
    let id = "0".repeat(64);
    let mut tracker = Wire::new(listener.accept().unwrap().0);
    let mut told = || {
        let update = tracker.hear("update");
        assert_eq!((update["peer"].as_u64(), update["file"].as_str()), (Some(7), Some("a.bin")));
        tracker.payload(32).unwrap();
        tracker.say(&json!({"type": "updated", "id": id}));
    };
    told();
    // What it believes it is listed for goes with every `ok`, and is the same until it is asked again.
    let mut claims = || {
        membership.say(&json!({"type": "ping"}));
        membership.hear("ok")["list"].as_str().map(str::to_owned)
    };
    let claim = until("a fingerprint", PATIENCE, &mut claims);
    assert_eq!(claims(), Some(claim.clone()));
    membership.say(&json!({"type": "list"}));
    told();
    let mut again = || {
        membership.say(&json!({"type": "ping"}));
        membership.hear("ok")["list"].as_str().map(str::to_owned)
    };
    assert_eq!(until("the same fingerprint", PATIENCE, &mut again), claim);
}

#[test]
fn what_the_manager_lists_and_drops_goes_though_the_clock_of_its_peer_is_ahead() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("peerlab-mine");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("a.bin"), "x").unwrap();
    let id = Manifest::read("a.bin".parse().unwrap(), Layout::of(1).unwrap(), &b"x"[..], &false.into())
        .unwrap()
        .id();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let manager = listener.local_addr().unwrap().to_string();
    let _peer = Node::start("peer", dir.path(), "debug", &["--manager", &manager, "--name", "mine", "serve"]);
    let mut membership = Wire::new(listener.accept().unwrap().0);
    membership.hear("register");
    membership.say(&json!({"type": "registered", "peer": 7, "token": "0".repeat(64)}));
    let mut tracker = Wire::new(listener.accept().unwrap().0);
    tracker.hear("update");
    tracker.payload(32).unwrap();
    // A drop from long before the file was put there, and the manager has not listed it yet: it stays.
    membership.say(&json!({"type": "drop", "file": "a.bin", "id": id, "at": 7}));
    membership.say(&json!({"type": "ping"}));
    membership.hear("ok");
    tracker.say(&json!({"type": "updated", "id": id}));
    // Where the file stays, it is told once more.
    thread::spawn(move || {
        while let Heard::Line(message) = tracker.next(PATIENCE) {
            let told = message["type"] == "update" && tracker.payload(32).is_some();
            tracker.try_say(&if told {
                json!({"type": "updated", "id": id})
            } else {
                json!({"type": "error", "code": "not_found", "text": "nobody offers it"})
            });
        }
    });
    until("it counts as listed", PATIENCE, || {
        membership.say(&json!({"type": "ping"}));
        (!membership.hear("ok")["list"].is_null()).then_some(())
    });
    assert_eq!(fs::read_to_string(folder.join("a.bin")).unwrap(), "x");
    // A minute ago by this clock is now by the manager's, who has listed it before.
    membership.say(&json!({"type": "drop", "file": "a.bin", "id": id, "at": 8}));
    until("it is in the trash", PATIENCE, || fs::read(folder.join(".peerlab/trash/a.bin")).ok());
}

#[test]
fn no_more_is_taken_in_a_second_than_down_allows() {
    let network = network();
    let data = bytes(2 * MIB, 13);
    put(&network, "ada", "file.bin", &data);
    put(&network, "ben", "file.bin", &data);
    let _ada = serve(&network, "ada", &[]);
    let _ben = serve(&network, "ben", &[]);
    whole_at(&network, "file.bin", 2);
    let (report, got) = down(&network, "cyd", "file.bin", &["--down", "1MiB"]);
    assert_eq!(got, data);
    // Two seconds for two holders together, less what may be saved up; it may always take longer.
    let seconds = report["seconds"].as_f64().unwrap();
    assert!(seconds > 1.9, "{report}");
}

#[test]
fn a_piece_that_takes_longer_than_a_stall_may_last_comes_all_the_same_over_a_slow_link() {
    let network = network();
    let data = bytes(64 * KIB, 16);
    put(&network, "ada", "file.bin", &data);
    let _ada = serve(&network, "ada", &["--up", "12kB"]);
    whole_at(&network, "file.bin", 1);
    let (report, got) = down(&network, "cyd", "file.bin", &[]);
    assert_eq!((got, given(&report, "ada")), (data, 1));
    assert!(report["seconds"].as_f64().unwrap() > 5.0, "{report}");
}

/// Mounts a small file system in memory for a test; `None` where that is not allowed.
struct SmallDisk(PathBuf);

impl SmallDisk {
    fn mount(at: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir_all(&at).unwrap();
        let options = format!("size={size}");
        let mut mount = std::process::Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &options, "peerlab-test"]).arg(&at);
        match mount.output() {
            Ok(done) if done.status.success() => Some(Self(at)),
            failed => {
                eprintln!("SKIPPED: no small disk can be mounted here (root can): {failed:?}");
                None
            }
        }
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_download_waits_while_the_disk_is_full_and_goes_on_when_there_is_room() {
    let network = network();
    let data = bytes(4 * MIB, 14);
    put(&network, "ada", "file.bin", &data);
    let _ada = serve(&network, "ada", &[]);
    whole_at(&network, "file.bin", 1);
    let Some(disk) = SmallDisk::mount(network.path("small"), "6m") else { return };
    fs::write(disk.0.join("ballast"), vec![1; 4 * MIB]).unwrap();
    let mut cyd = network.command("cyd", &["down", "file.bin", "-o", "small", "--json"]);
    cyd.hears("the disk is full: the download goes on when there is room");
    cyd.hears(" s: the disk is full; make room there; it goes on when that changes");
    assert!(!disk.0.join("file.bin").exists());
    fs::remove_file(disk.0.join("ballast")).unwrap();
    let report = cyd.outcome().assert(0, &[]).json();
    assert_eq!(fs::read(disk.0.join("file.bin")).unwrap(), data);
    assert_eq!((given(&report, "ada"), report["refetched"].as_u64()), (16, Some(0)));
}

#[test]
fn an_ordered_copy_that_meets_a_full_disk_is_given_up_at_once_and_its_peer_says_why() {
    let network = Network::start(&["--dead-after", "60s"], &[]);
    let Some(_disk) = SmallDisk::mount(folder(&network, "ben"), "1m") else { return };
    put(&network, "ada", "file.bin", bytes(4 * MIB, 15));
    let _peers = ["ada", "ben"].map(|name| serve(&network, name, &[]));
    until("ben says what it lacks, and why", PATIENCE, || {
        let why = r#""file":"file.bin","why":"cannot fetch it: the disk is full"#;
        network.state()["peers"].to_string().contains(why).then_some(())
    });
}

#[test]
fn who_stops_reading_ends_a_command_quietly() {
    let network = network();
    for i in 0..200 {
        put(&network, "ada", &format!("file with a long name {i}"), b"x");
    }
    let _ada = serve(&network, "ada", &[]);
    whole_at(&network, "file with a long name 99", 1);
    let peer = env!("CARGO_BIN_EXE_peer");
    for verb in ["files", "peers", "get --json"] {
        let line = format!("{peer} --manager {} {verb} | true; echo ${{PIPESTATUS[0]}}", network.addr);
        let mut shell = std::process::Command::new("bash");
        let done = shell.args(["-c", &line]).current_dir(network.dir.path()).output().unwrap();
        let (out, err) = (String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
        assert_eq!((&*out, &*err), ("0\n", ""), "{verb}");
    }
}

#[test]
fn memory_does_not_grow_with_the_file() {
    let network = network();
    let folder = network.path("peerlab-ada");
    fs::create_dir_all(&folder).unwrap();
    fs::File::create(folder.join("sparse.bin")).unwrap().set_len(256 << 20).unwrap();
    let ada = serve(&network, "ada", &[]);
    whole_at(&network, "sparse.bin", 1);
    let mut cyd = network.command("cyd", &["down", "sparse.bin", "-o", "out", "--stay"]);
    cyd.hears("until Ctrl-C");
    for node in [&ada, &cyd] {
        let peak = node.peak_memory();
        assert!(peak < 64 << 10, "{} took {peak} KiB", node.name);
    }
    assert!(same(&folder.join("sparse.bin"), &network.path("out/sparse.bin")));
}

/// Whether two files are the same, without holding either in memory.
fn same(a: &Path, b: &Path) -> bool {
    let (mut a, mut b) = (fs::File::open(a).unwrap(), fs::File::open(b).unwrap());
    let (mut x, mut y) = (vec![0; MIB], vec![0; MIB]);
    loop {
        let n = a.read(&mut x).unwrap();
        if n == 0 {
            return b.read(&mut y).unwrap() == 0;
        }
        if b.read_exact(&mut y[..n]).is_err() || x[..n] != y[..n] {
            return false;
        }
    }
}

#[test]
fn a_copy_saved_elsewhere_does_not_replace_what_a_peer_offers_from_its_folder() {
    let network = network();
    let data = bytes(600 * KIB, 16);
    let path = put(&network, "ben", "a.bin", &data);
    let mut ben = network.command("ben", &[]);
    whole_at(&network, "a.bin", 1);
    let holders = || row(&network, "a.bin").unwrap()["holders"].clone();
    let before = holders();
    // Nobody else has it: what is here already is copied.
    ben.type_line("down a.bin -o out");
    let copy = network.path("out/a.bin");
    until("the copy", PATIENCE, || fs::read(&copy).is_ok_and(|copy| copy == data).then_some(()));
    ben.type_line("down a.bin -o out");
    until("it is there already", PATIENCE, || ben.stderr().contains("a.bin is here already").then_some(()));
    assert_eq!(holders(), before, "he has not lost it");
    // The copy is no business of the network.
    fs::remove_file(&copy).unwrap();
    assert_eq!(down(&network, "cyd", "a.bin", &[]).1, data);
    ben.type_line("verify a.bin");
    ben.end_input();
    ben.outcome().assert(0, &[]);
    assert_eq!(fs::read(path).unwrap(), data);
}

#[test]
fn a_prompt_adds_lists_and_downloads() {
    let network = network();
    put(&network, "ada", "a.bin", b"from ada");
    let _ada = serve(&network, "ada", &[]);
    whole_at(&network, "a.bin", 1);
    fs::write(network.path("mine.txt"), "mine").unwrap();
    let mut ben = network.command("ben", &[]);
    for line in ["add mine.txt", "down a.bin", "get", "status", "quit"] {
        ben.type_line(line);
    }
    ben.end_input();
    let said = ben.outcome().assert(0, &[]).stdout;
    for text in ["mine.txt: 4 B, 1 piece,", "a.bin: 8 B in", "at ada", "offers 2 files"] {
        assert!(said.contains(text), "{text:?} is not in {said}");
    }
    assert_eq!(fs::read(network.path("peerlab-ben/a.bin")).unwrap(), b"from ada");
    assert_eq!(fs::read(network.path("peerlab-ben/mine.txt")).unwrap(), b"mine");
}

#[test]
fn a_file_that_is_not_as_long_as_it_says_is_refused() {
    let network = network();
    let says = ["/proc/version is not as long as it says", "add a copy"];
    network.command("ada", &["add", "/proc/version"]).outcome().assert(4, &says);
}

#[test]
fn commands_work_in_a_folder_that_a_peer_watches_and_leave_repairs_to_it() {
    let network = network();
    put(&network, "ada", "a.bin", bytes(MIB, 1));
    put(&network, "ben", "b.bin", "of ben");
    let mut ada = serve(&network, "ada", &["--scan", "100ms"]);
    let _ben = serve(&network, "ben", &[]);
    whole_at(&network, "a.bin", 1);
    whole_at(&network, "b.bin", 1);
    fs::write(network.path("c.bin"), "of cyd").unwrap();
    let into = |args: &[&str]| network.command("cyd", &[args, &["--data", "peerlab-ada"]].concat());
    network.command("cyd", &["down", "b.bin", "-o", "peerlab-ada"]).outcome().assert(0, &[]);
    whole_at(&network, "b.bin", 2);
    let mut add = into(&["add", "c.bin"]);
    add.hears("serving c.bin");
    until("its watcher offers it", PATIENCE, || {
        let row = row(&network, "c.bin")?;
        row["holders"].as_array().unwrap().iter().any(|holder| holder["name"] == "ada").then_some(())
    });
    add.signal(Signal::TERM);
    add.outcome();
    assert!(network.path("peerlab-ada/.peerlab/marker").exists() && !ada.has_ended());
    into(&["verify", "b.bin"]).outcome().assert(0, &[]);
    // A byte rots; nobody but `verify` sees it.
    let rotten = [&b"x"[..], &bytes(MIB, 1)[1..]].concat();
    ada.signal(Signal::STOP);
    fs::write(network.path("peerlab-ada/a.bin"), &rotten).unwrap();
    into(&["verify", "a.bin"])
        .outcome()
        .assert(5, &["a.bin has 1 wrong piece (number 0)", "another peer watches"]);
    assert!(fs::read(network.path("peerlab-ada/a.bin")).unwrap() == rotten, "it is left to the watcher");
    ada.signal(Signal::CONT);
}

#[test]
fn a_peer_that_limits_itself_is_told_that_it_does_so_and_no_holder_is_blamed() {
    let network = network();
    put(&network, "ada", "a.bin", bytes(MIB, 1));
    let _ada = serve(&network, "ada", &[]);
    whole_at(&network, "a.bin", 1);
    let mut ben = network.command("ben", &["down", "a.bin", "-o", "out", "--down", "20"]);
    ben.hears("--down 20 is 20 bytes a second: for more write 20kB or 20MB");
    ben.hears("nothing has come for 10 s: --down lets in 20 B a second");
    // A unit is advised only where none was typed.
    let said = network.command("cyd", &["make", "m", "1", "--up", "5kB"]).outcome().assert(0, &[]).stderr;
    assert_eq!(said, "--up 5kB is 5000 bytes a second\n");
}
