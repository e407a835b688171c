//! The programs as a script sees them: the ready line, signals, exit statuses and what is said on stderr.

use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::time::Duration;

use crate::common::fake::{FakePeer, HONEST};
use crate::common::files::{bytes, put, whole_at};
use crate::common::node::{Network, Node, Outcome, start_manager};
use crate::common::wire::{Heard, Wire, peer_of_mine};
use crate::common::{PATIENCE, assert_is_product, integers, load, save, until};
use peerlab::matrix::Matrix;
use rustix::process::Signal;
use serde_json::{Value, json};

/// Leaving takes two seconds at most; as much again for a machine that is busy with something else.
const LEAVING: Duration = Duration::from_secs(4);

/// Runs a program to its end.
fn run(program: &str, dir: &Path, args: &[&str]) -> Outcome {
    let mut node = Node::start(program, dir, "warn", args);
    node.end_input();
    node.outcome()
}

/// Runs `peer` where there is no manager.
fn peer(dir: &Path, args: &[&str]) -> Outcome {
    run("peer", dir, &[&["--manager", "127.0.0.1:1"], args].concat())
}

/// Runs the prompt of a peer that offers nothing, with this script.
fn script(network: &Network, lines: &str) -> Outcome {
    let mut prompt = network.command("script", &["--slots", "0"]);
    lines.lines().for_each(|line| prompt.type_line(line));
    prompt.end_input();
    prompt.outcome()
}

#[test]
fn a_node_says_on_one_line_of_json_that_it_is_ready_and_where() {
    let dir = tempfile::tempdir().unwrap();
    let (manager, addr) = start_manager(dir.path(), "127.0.0.1:0", &[]);
    let expected =
        format!("{{\"type\":\"ready\",\"role\":\"manager\",\"name\":\"manager\",\"addr\":\"{addr}\"}}\n");
    assert_eq!(manager.stdout(), expected);
    assert_ne!(addr.port(), 0);
    let mut peer =
        Node::start("peer", dir.path(), "warn", &["--manager", &addr.to_string(), "--name", "ada", "serve"]);
    let at = peer.ready()["addr"].clone();
    assert_eq!(
        peer.stdout(),
        format!("{{\"type\":\"ready\",\"role\":\"peer\",\"name\":\"ada\",\"addr\":{at}}}\n")
    );
}

#[test]
fn sigint_and_sigterm_make_every_node_leave_in_order() {
    for signal in [Signal::INT, Signal::TERM] {
        let mut network = Network::start(&[], &[4, 4]);
        // Conversations of every kind are open meanwhile.
        let (mut registered, _) = Wire::register(network.addr, "other", "127.0.0.1:9".parse().unwrap(), 0);
        let [mut holder, mut waiter] = [0; 2].map(|_| Wire::connect(network.addr));
        holder.ask(7);
        holder.hear("leased");
        waiter.ask(7);
        waiter.hear("wait");
        let mut peer = network.peers.remove(0);
        peer.signal(signal);
        assert_eq!(peer.outcome_within(LEAVING).status, Some(0), "a peer at {signal:?}");
        until("it said quit", PATIENCE, || {
            network.manager.stderr().contains("p0 left: it said quit").then_some(())
        });
        network.manager.signal(signal);
        assert_eq!(network.manager.outcome_within(LEAVING).status, Some(0), "the manager at {signal:?}");
        registered.hear_end();
        // A peer that has lost its manager leaves as well.
        let mut peer = network.peers.remove(0);
        peer.hears("trying again");
        peer.signal(signal);
        assert_eq!(peer.outcome_within(LEAVING).status, Some(0), "a peer without a manager at {signal:?}");
    }
}

#[test]
fn a_signal_that_was_ignored_at_the_start_stays_ignored() {
    let dir = tempfile::tempdir().unwrap();
    let mut manager = Node::start("nohup manager", dir.path(), "warn", &["--listen", "127.0.0.1:0"]);
    let addr = manager.ready()["addr"].as_str().unwrap().parse().unwrap();
    let status = fs::read_to_string(format!("/proc/{}/status", manager.pid())).unwrap();
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:")).unwrap().trim();
    let first_two = u64::from_str_radix(ignored, 16).unwrap() & 0b11;
    assert_eq!(first_two, 0b11, "SIGHUP and SIGINT are the first signals, and ignored: {ignored}");
    manager.signal(Signal::HUP);
    manager.signal(Signal::INT);
    let mut wire = Wire::connect(addr);
    wire.say(&json!({"type": "state"}));
    wire.hear("state");
    manager.signal(Signal::TERM);
    manager.outcome().assert(0, &[]);
}

#[test]
fn a_peer_leaves_in_order_while_it_computes_a_product() {
    let dir = tempfile::tempdir().unwrap();
    let (mut peer, mut manager, addr) = peer_of_mine(dir.path(), 1);
    manager.say(&json!({"type": "registered", "peer": 1, "token": "0".repeat(64)}));
    peer.ready();
    manager.say(&json!({"type": "bind", "lease": 5, "slots": 1, "for_ms": 60000, "key": "1".repeat(64)}));
    let mut requester = Wire::connect(addr);
    let size = 4000;
    let bytes = 16 * size * size;
    requester.say(&json!({"type": "multiply", "lease": 5, "key": "1".repeat(64), "product": 0, "rows": size, "inner": size, "cols": size, "payload": bytes}));
    // More seconds of work than it has to leave.
    requester.say_raw(&vec![0; bytes]);
    peer.signal(Signal::TERM);
    assert_eq!(peer.outcome_within(LEAVING).status, Some(0));
    manager.hear("quit");
    assert!(!matches!(requester.next(PATIENCE), Heard::Line(_)), "the product was finished");
}

#[test]
fn a_missing_or_torn_matrix_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    save(&integers(30, 30, 1), &path("good.npy"));
    let whole = fs::read(path("good.npy")).unwrap();
    fs::write(path("torn.npy"), &whole[..whole.len() - 100]).unwrap();
    fs::write(path("text.npy"), "1,2,3\n4,5,6\n").unwrap();
    fs::write(path("none.npy"), "").unwrap();
    let multiply = |a: &str, b: &str| peer(dir.path(), &["multiply", a, b, "--local"]);
    multiply("lost.npy", "good.npy")
        .assert(3, &["there is no file lost.npy", "`peer make lost 1000` writes one"]);
    multiply("good.npy", "lost.npy").assert(3, &["there is no file lost.npy"]);
    multiply("torn.npy", "good.npy").assert(1, &["torn.npy: the file is cut off", "write or copy it again"]);
    multiply("text.npy", "good.npy").assert(1, &["text.npy: this is not a .npy file", "numpy.save"]);
    multiply("good.npy", "none.npy").assert(1, &["none.npy: this is not a .npy file", "too short"]);
    multiply(".", "good.npy").assert(1, &[". is not a file", "give the path of a .npy file"]);
}

#[test]
fn matrices_that_cannot_be_multiplied_are_refused_before_a_manager_is_needed() {
    let network = Network::start(&[], &[]);
    let (good, mut bad) = (integers(30, 40, 1), integers(40, 20, 2));
    save(&good, &network.path("good.npy"));
    let multiply =
        |a: &str, b: &str| network.command("requester", &["multiply", a, b, "-o", "c.npy"]).outcome();
    multiply("good.npy", "good.npy").assert(
        2,
        &["the shapes do not fit: good.npy is 30 x 40, good.npy is 30 x 40", "as many columns as"],
    );
    bad.as_mut_slice()[7 * 20 + 3] = f64::NAN;
    bad.as_mut_slice()[9 * 20] = f64::INFINITY;
    save(&bad, &network.path("nan.npy"));
    multiply("good.npy", "nan.npy").assert(4, &["nan.npy has the entry NaN in row 7, column 3", "replace"]);
    bad.as_mut_slice()[7 * 20 + 3] = f64::NEG_INFINITY;
    save(&bad, &network.path("inf.npy"));
    multiply("good.npy", "inf.npy").assert(4, &["inf.npy has the entry -inf in row 7, column 3"]);
    let mut huge = integers(40, 20, 2);
    huge.as_mut_slice()[11] = f64::MAX / 2.0;
    save(&huge, &network.path("huge.npy"));
    multiply("good.npy", "huge.npy").assert(4, &["could overflow", "scale the matrices down"]);
    assert!(!network.path("c.npy").exists());
}

#[test]
fn an_answer_that_cannot_be_written_is_said_with_its_place() {
    let dir = tempfile::tempdir().unwrap();
    save(&integers(50, 50, 1), &dir.path().join("a.npy"));
    let multiply = |to: &str| peer(dir.path(), &["multiply", "a.npy", "a.npy", "--local", "-o", to]);
    multiply("nowhere/c.npy").assert(3, &["there is no folder nowhere", "choose another place"]);
    fs::create_dir(dir.path().join("folder.npy")).unwrap();
    multiply("folder.npy").assert(1, &["folder.npy is the name of a folder", "give that of a file in it"]);
    let names: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 2, "something was left behind: {names:?}");
}

#[test]
fn a_full_disk_is_said_and_a_device_is_written_to_and_not_replaced() {
    use std::os::unix::fs::FileTypeExt;
    let dir = tempfile::tempdir().unwrap();
    save(&integers(50, 50, 1), &dir.path().join("a.npy"));
    // A link, so that a mistake could not destroy the machine's own device.
    std::os::unix::fs::symlink("/dev/full", dir.path().join("full.npy")).unwrap();
    std::os::unix::fs::symlink("/dev/null", dir.path().join("null.npy")).unwrap();
    let multiply = |to: &str| peer(dir.path(), &["multiply", "a.npy", "a.npy", "--local", "-o", to]);
    multiply("full.npy").assert(1, &["cannot write full.npy", "No space left", "choose another place"]);
    multiply("null.npy").assert(0, &[]);
    for name in ["full.npy", "null.npy"] {
        let kind = fs::metadata(dir.path().join(name)).unwrap().file_type();
        assert!(kind.is_char_device(), "{name} was replaced");
    }
}

#[test]
fn a_file_that_was_made_by_others_is_replaced_with_force_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let make = |args: &[&str]| peer(dir.path(), &[&["make"], args].concat());
    make(&["a", "3"]).assert(0, &[]);
    make(&["a", "4", "--integers"]).assert(0, &["will replace a.npy, a matrix of 3 x 3"]);
    let multiply =
        |args: &[&str]| peer(dir.path(), &[&["multiply", "a.npy", "a.npy", "--local", "-o"], args].concat());
    multiply(&["c.npy"]).assert(0, &[]);
    multiply(&["c.npy"]).assert(0, &["will replace c.npy, a matrix of 4 x 4"]);
    multiply(&["a.npy"]).assert(4, &["a.npy is an operand", "--force"]);
    make(&["c", "3"]).assert(4, &["c.npy is there, and was not made by this command", "--force"]);
    make(&["made", "3"]).assert(0, &[]);
    multiply(&["made.npy"]).assert(4, &["made.npy is there, and was not made by this command", "--force"]);
    for other in ["notes.npy", "picture.png"] {
        fs::write(path(other), "not a matrix").unwrap();
        multiply(&[other]).assert(4, &[other, "was not made by this command", "replace it with --force"]);
        assert_eq!(fs::read_to_string(path(other)).unwrap(), "not a matrix");
    }
    make(&["notes", "2"]).assert(4, &["notes.npy is there", "replace it with --force"]);
    make(&["notes", "2", "--force"]).assert(0, &[]);
    fs::write(path("empty.npy"), "").unwrap();
    multiply(&["empty.npy"]).assert(0, &[]);
    let a = load(&path("a.npy"));
    multiply(&["a.npy", "--force"]).assert(0, &[]);
    assert_is_product(&path("a.npy"), &a, &a);
}

#[test]
fn a_product_on_stdout_is_alone_there() {
    let dir = tempfile::tempdir().unwrap();
    let a = integers(5, 5, 1);
    save(&a, &dir.path().join("a.npy"));
    for to in ["-", "/dev/stdout"] {
        let shell = format!("{} multiply a.npy a.npy --local -o {to} >c.npy", env!("CARGO_BIN_EXE_peer"));
        let out =
            std::process::Command::new("sh").args(["-c", &shell]).current_dir(dir.path()).output().unwrap();
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success() && said.contains("5 x 5 in "), "{said}");
        assert_is_product(&dir.path().join("c.npy"), &a, &a);
    }
    let shown = peer(dir.path(), &["show", "c.npy", "--json"]).assert(0, &[]).json();
    assert_eq!((&shown["rows"], shown["entries"].as_array().unwrap().len()), (&json!(5), 5));
}

#[test]
fn a_multiply_that_fails_leaves_the_former_answer_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (a, b) = (integers(20, 20, 1), integers(20, 20, 2));
    save(&a, &dir.path().join("a.npy"));
    save(&b, &dir.path().join("b.npy"));
    peer(dir.path(), &["multiply", "a.npy", "b.npy", "--local", "-o", "c.npy"]).assert(0, &[]);
    peer(dir.path(), &["multiply", "a.npy", "lost.npy", "--local", "-o", "c.npy"]).assert(3, &[]);
    assert_is_product(&dir.path().join("c.npy"), &a, &b);
}

#[test]
fn without_a_manager_a_command_says_where_it_looked_and_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    save(&integers(8, 8, 1), &dir.path().join("a.npy"));
    let start = |command: &[&str]| {
        Node::start("peer", dir.path(), "warn", &[&["--manager", "127.0.0.1:1"], command].concat())
    };
    // All at once, because each tries again for a while.
    let started = [&["peers"][..], &["why"], &["status"], &["multiply", "a.npy", "a.npy"]].map(start);
    for mut command in started {
        let says = ["cannot connect to 127.0.0.1:1", "start `manager` there", "--manager"];
        command.outcome().assert(1, &says);
    }
    // Some need none.
    peer(dir.path(), &["make", "m", "3"]).assert(0, &[]);
    peer(dir.path(), &["multiply", "a.npy", "a.npy", "--local"]).assert(0, &[]);
}

#[test]
fn a_port_in_use_is_said_and_ends_a_node_with_status_1() {
    let network = Network::start(&[], &[]);
    let at = network.addr.to_string();
    let says = [&*format!("cannot listen on {at}"), "stop the program that has this port", "--listen"];
    run("manager", network.dir.path(), &["--listen", &at]).assert(1, &says);
    run("peer", network.dir.path(), &["--manager", &at, "--listen", &at, "serve"]).assert(1, &says);
}

#[test]
fn a_name_that_is_taken_ends_a_peer_with_status_4() {
    let network = Network::start(&[], &[1]);
    for command in ["serve", "status"] {
        let says = ["the name p0 is taken by the peer at 127.0.0.1:", "choose another --name"];
        let ended = network.command("p0", &["--data", "elsewhere", command]).outcome().assert(4, &says);
        assert_eq!(ended.stderr.matches(says[0]).count(), 1, "{ended:#?}");
    }
    let prompt = network.command("p0", &["--data", "elsewhere"]).outcome();
    prompt.assert(4, &["the name p0 is taken"]);
    assert!(network.row("p0").is_some());
}

#[test]
fn a_program_that_comes_back_without_its_token_waits_until_its_former_self_is_off_the_list() {
    let network = Network::start(&["--ping", "200ms", "--dead-after", "2s"], &[]);
    let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (mut former, number) = Wire::register(network.addr, "ada", at, 0);
    let mut peer = network.command("ada", &["--listen", &at.to_string(), "serve"]);
    // It is silent from then on.
    until("it is told to wait", PATIENCE, || {
        if let Heard::Line(message) = former.next(Duration::from_millis(1)) {
            (message["type"] == "ping").then(|| former.say(&json!({"type": "ok"})));
        }
        assert!(!peer.has_ended(), "it gives up: {}", peer.stderr());
        peer.stderr().contains("taken off the list if it stays silent").then_some(())
    });
    peer.ready();
    assert_ne!(network.row("ada").unwrap()["peer"], number);
}

#[test]
fn a_usage_that_makes_no_sense_ends_with_status_2() {
    let dir = tempfile::tempdir().unwrap();
    peer(dir.path(), &["frobnicate"]).assert(2, &["frobnicate"]);
    peer(dir.path(), &["multiply", "a.npy"]).assert(2, &["<B.npy>"]);
    peer(dir.path(), &["multiply", "a", "b", "--levels", "99"]).assert(2, &["99"]);
    peer(dir.path(), &["multiply", "a", "b", "--slots", "0"]).assert(2, &["0"]);
    peer(dir.path(), &["--name", "a/b", "peers"]).assert(2, &["cannot be a peer's name"]);
    run("peer", dir.path(), &["--manager", "nonsense", "peers"])
        .assert(2, &["nonsense", "write a host and a port, such as 127.0.0.1:7000"]);
    peer(dir.path(), &["lease", "7"]).assert(2, &["at the prompt only"]);
    peer(dir.path(), &["release"]).assert(3, &["you hold no slots"]);
    peer(dir.path(), &["quit"]).assert(2, &["no prompt to leave; `peer help` shows the commands"]);
    let whole = ["write a whole number, such as 1000"];
    for words in [&["a", "-5"][..], &["a", "3", "-5"], &["a", "10x10"], &["a", "3", "--seed", "-1"]] {
        peer(dir.path(), &[&["make"], words].concat()).assert(2, &whole);
    }
    let never = ["--size", "1M", "--seed-up", "0", "--peer-up", "1M", "--peers", "2"];
    peer(dir.path(), &[&["bounds"], &never[..]].concat()).assert(4, &["it never ends", "a rate above 0"]);
    let manager = |args: &[&str]| run("manager", dir.path(), args);
    manager(&["--listen", "0.0.0.0:0"])
        .assert(2, &["0.0.0.0:0 can be reached from other machines", "--open"]);
    manager(&["--quantum", "0s"]).assert(2, &["out of bounds", "1ms"]);
    manager(&["--quantum", "soon"]).assert(2, &["30s or 200ms"]);
    manager(&["--ping", "3s", "--dead-after", "3s"]).assert(2, &["every peer would seem dead"]);
    manager(&["--ping", "31s", "--dead-after", "5m"])
        .assert(2, &["silent for 60s", "make --ping 30s or less"]);
    let (open, addr) = start_manager(dir.path(), "0.0.0.0:0", &["--open"]);
    assert!(addr.ip().is_unspecified());
    drop(open);
}

/// Runs `peer` with these variables of the environment.
fn peer_with(manager: &str, secret: &str, dir: &Path, args: &[&str]) -> Outcome {
    let mut peer = std::process::Command::new(env!("CARGO_BIN_EXE_peer"));
    let set = peer.env("PEERLAB_MANAGER", manager).env("PEERLAB_SECRET_FILE", secret).env("COLUMNS", "200");
    let out = set.args(args).current_dir(dir).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    Outcome { status: out.status.code(), stdout: text(out.stdout), stderr: text(out.stderr) }
}

#[test]
fn what_the_environment_gives_is_not_shown_as_if_it_had_to_be_typed() {
    let dir = tempfile::tempdir().unwrap();
    let peer = |args: &[&str]| peer_with("127.0.0.1:1", "secret", dir.path(), args);
    peer(&["make", "a"]).assert(2, &["Usage: peer make [OPTIONS] <NAME> <ROWS> [COLS]\n"]);
    peer(&["--nonsense"]).assert(2, &["Usage: peer [OPTIONS] [COMMAND]\n"]);
    let help = peer(&["make", "--help"]).assert(0, &[]).stdout;
    assert!(help.contains("[env: PEERLAB_MANAGER=127.0.0.1:1]"), "{help}");
    assert!(help.contains("Usage: peer make [OPTIONS] <NAME> <ROWS> [COLS]\n"), "{help}");
}

#[test]
fn what_is_wrong_in_the_environment_is_named_and_harms_no_command_that_needs_no_network() {
    let dir = tempfile::tempdir().unwrap();
    let peer = |args: &[&str]| peer_with("nonsense", "no-such-file", dir.path(), args);
    peer(&["make", "a", "3"]).assert(0, &[]);
    peer(&["show", "a.npy"]).assert(0, &[]);
    peer(&["multiply", "a.npy", "a.npy", "--local"]).assert(0, &[]);
    peer(&["bounds", "--size", "1M", "--seed-up", "1M", "--peer-up", "1M", "--peers", "2"]).assert(0, &[]);
    for command in [&["peers"][..], &["multiply", "a.npy", "a.npy"], &["serve"], &[]] {
        peer(command).assert(2, &["PEERLAB_MANAGER: \"nonsense\" is not an address"]);
        let typed = [&["--manager", "127.0.0.1:1"], command].concat();
        peer(&typed).assert(2, &["PEERLAB_SECRET_FILE: the secret in no-such-file cannot be read"]);
        let typed = [&["--manager", "127.0.0.1:1", "--secret-file", "other"], command].concat();
        peer(&typed).assert(2, &["--secret-file: the secret in other cannot be read"]);
    }
}

#[test]
fn one_that_waits_long_for_the_manager_says_so() {
    let network = Network::start(&["--dead-after", "60s"], &[]);
    let says = format!("waiting for the manager at {}", network.addr);
    // One that only asks, and one that joins.
    for command in ["peers", "status"] {
        network.manager.signal(Signal::STOP);
        let mut peer = network.command("ada", &[command]);
        peer.hears(&says);
        network.manager.signal(Signal::CONT);
        peer.outcome().assert(0, &[]);
    }
    let quick = network.command("ada", &["peers"]).outcome().assert(0, &[]);
    assert!(!quick.stderr.contains(&says), "{quick:#?}");
}

#[test]
fn the_address_of_the_manager_may_be_a_name_or_what_a_browser_shows() {
    let network = Network::start(&[], &[4]);
    let port = network.addr.port();
    for address in
        [format!("localhost:{port}"), format!("http://127.0.0.1:{port}/"), format!("127.0.0.1:{port}")]
    {
        let peers = run("peer", network.dir.path(), &["--manager", &address, "peers"]).assert(0, &[]);
        assert!(peers.stdout.contains("p0"), "{peers:#?}");
    }
}

#[test]
fn a_script_stops_at_its_first_failure_with_its_status() {
    let network = Network::start(&["--dead-after", "60s"], &[4]);
    let outcome = script(&network, "make before 2\nlease 99\nmake never 2");
    outcome.assert(4, &["more slots asked for than all others own together; ask for 4 at most"]);
    assert!(network.path("before.npy").exists() && !network.path("never.npy").exists());
    script(&network, "frobnicate\nmake never 2")
        .assert(2, &["unrecognized subcommand 'frobnicate'", "`help`"]);
    script(&network, "release").assert(3, &["you hold no slots", "`lease 7` gets seven"]);
    script(&network, "make 'never").assert(2, &["missing closing quote"]);
    assert!(!network.path("never.npy").exists());
}

#[test]
fn a_script_has_comments_and_commands_in_any_case_and_ends_at_its_end() {
    let network = Network::start(&[], &[4, 4]);
    let lines = "# slots by hand\n\n   # and a matrix\nMAKE Big 3 5 --seed 1 --integers\nLease 5\nPEERS --json\nstatus\nwhy\nrelease\n--json Why";
    let outcome = script(&network, lines).assert(0, &[]);
    let said: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!(said[0].parse::<Value>().unwrap()["type"], "ready");
    assert_eq!(said[1], "Big.npy: 3 x 5 whole numbers, made with --seed 1");
    assert_eq!(said[2], "leased 5 slots, renewed while nobody else waits:");
    let peers: Value = said[5].parse().unwrap();
    let used: u64 = peers["peers"].as_array().unwrap().iter().map(|row| row["used"].as_u64().unwrap()).sum();
    assert_eq!(used, 5);
    assert!(outcome.stdout.contains("holds 5 slots for another"), "{outcome:#?}");
    let last: Value = said.last().unwrap().parse().unwrap();
    assert_eq!(last["leases"], json!([]), "given back");
    assert_eq!(network.used(), 0);
    let quit = script(&network, "quit\nfrobnicate");
    quit.assert(0, &[]);
}

#[test]
fn the_end_of_a_script_gives_back_what_it_holds() {
    let network = Network::start(&[], &[4, 4]);
    let mut prompt = network.command("ada", &["--slots", "0"]);
    prompt.type_line("lease 8 --json");
    until("the lease", PATIENCE, || (network.used() == 8).then_some(()));
    prompt.end_input();
    prompt.outcome().assert(0, &[]);
    until("given back", PATIENCE, || (network.used() == 0).then_some(()));
    assert!(network.row("ada").is_none());
}

#[test]
fn options_stand_before_and_after_the_command_and_commands_in_any_case() {
    let network = Network::start(&[], &[]);
    let (dir, at) = (network.dir.path(), &*network.addr.to_string());
    for args in [
        ["--manager", at, "--name", "ada", "--json", "status"],
        ["status", "--manager", at, "--name", "ada", "--json"],
        ["--name", "ada", "STATUS", "--json", "--manager", at],
        ["--json", "--name", "ada", "Status", "--manager", at],
    ] {
        let outcome = run("peer", dir, &args).assert(0, &[]);
        assert_eq!(outcome.json()["name"], "ada", "{args:?}");
    }
    // A value that is the name of a command stays a value.
    let outcome = run("peer", dir, &["--name", "SERVE", "status", "--json", "--manager", at]).assert(0, &[]);
    assert_eq!(outcome.json()["name"], "SERVE");
    for (i, args) in [["--slots", "3", "serve"], ["Serve", "--slots", "3"]].into_iter().enumerate() {
        let name = format!("s{i}");
        let mut peer = network.command(&name, &args);
        peer.ready();
        assert_eq!(network.row(&name).unwrap()["slots"], 3, "{args:?}");
    }
}

#[test]
fn a_peer_that_is_started_before_its_manager_joins_when_it_comes() {
    let dir = tempfile::tempdir().unwrap();
    let at = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let mut peer = Node::start("peer", dir.path(), "info", &["--manager", &at, "--name", "early", "serve"]);
    peer.hears("start `manager` there");
    assert_eq!(peer.stdout(), "", "it is not ready yet");
    let (_manager, addr) = start_manager(dir.path(), &at, &[]);
    peer.ready();
    let state = crate::common::node::state(addr);
    assert_eq!(state["peers"][0]["name"], "early");
    // And one that is told to stop before that, stops.
    let mut waiting = Node::start("peer", dir.path(), "info", &["--manager", "127.0.0.1:1", "serve"]);
    waiting.hears("trying again");
    waiting.signal(Signal::TERM);
    assert_eq!(waiting.outcome_within(LEAVING).status, Some(0));
}

#[test]
fn a_peer_that_stays_says_what_it_shares_and_what_is_copied_before_that_is_done() {
    let mut network = Network::start(&[], &[]);
    let says = |name: &str| {
        let manager = network.addr;
        format!(
            "at the manager {manager}: what lies in peerlab-{name} is shared with all peers, and the network's files \
             are copied into it, as the manager's --replicas says\n"
        )
    };
    put(&network, "ada", "diary.txt", bytes(1000, 1));
    let mut ada = network.command("ada", &["serve"]);
    ada.hears(&says("ada"));
    whole_at(&network, "diary.txt", 1);
    let mut ben = network.command_with_log("trace", "ben", &["serve"]);
    ben.ready();
    whole_at(&network, "diary.txt", 2);
    let said = ben.stderr();
    assert!(said.find(&says("ben")).unwrap() < said.find(r#"{"type":"fetch""#).unwrap(), "{said}");
    assert_eq!(ben.stdout().lines().count(), 1, "that is for people: {}", ben.stdout());
    // A peer that comes for one thing shares nothing.
    let one = network.command("cyd", &["files"]).outcome().assert(0, &[]);
    assert!(!one.stderr.contains("is shared"), "{one:#?}");
    let says = says("script");
    script(&network, "quit").assert(0, &[&says]);
    network.manager.kill();
    script(&network, "quit").assert(0, &["cannot connect", &says]);
}

#[test]
fn a_file_that_is_being_written_does_not_stay_when_a_signal_ends_the_program() {
    let dir = tempfile::tempdir().unwrap();
    let there = || fs::read_dir(dir.path()).unwrap().map(Result::unwrap);
    let mut make = Node::start("peer", dir.path(), "warn", &["make", "big", "3000"]);
    let begun = || there().find(|file| file.metadata().is_ok_and(|is| is.len() > 0));
    until("the file in which it is written", PATIENCE, begun);
    make.signal(Signal::INT);
    make.outcome();
    assert!(there().all(|file| file.file_name() == "big.npy"), "{:?}", there().collect::<Vec<_>>());
}

#[test]
fn one_that_asks_a_peer_in_place_of_the_manager_is_told_so() {
    let mut network = Network::start(&[], &[1]);
    let addr = network.peers[0].ready()["addr"].as_str().unwrap().to_owned();
    let no = run("peer", network.dir.path(), &["--manager", &addr, "peers"]);
    no.assert(1, &[&format!("see whether {addr} is the address of a manager")]);
}

#[test]
fn make_writes_what_its_seed_says_and_json_names_it() {
    let dir = tempfile::tempdir().unwrap();
    let make = |args: &[&str]| peer(dir.path(), &[&["make"], args].concat()).assert(0, &[]);
    let made = make(&["a", "20", "30", "--seed", "5", "--json"]).json();
    assert_eq!(made, json!({"file": "a.npy", "rows": 20, "cols": 30, "seed": 5, "integers": false}));
    make(&["b.npy", "20", "30", "--seed", "5"]);
    let read = |name: &str| crate::common::load(&dir.path().join(name));
    assert!(read("a.npy") == read("b.npy"), "the same seed makes the same matrix");
    let again = make(&["c", "20", "30", "--json"]).json()["seed"].as_u64().unwrap();
    make(&["d", "20", "30", "--seed", &again.to_string()]);
    assert!(read("c.npy") == read("d.npy"), "the seed that was chosen is told");
    peer(dir.path(), &["make", "e/", "3"]).assert(1, &["e/ is the name of a folder"]);
    assert!(!dir.path().join("e").exists());
    make(&["e", "0", "3"]);
    assert!(read("e.npy") == Matrix::zeros(0, 3));
    peer(dir.path(), &["make", "huge", "99999999999", "99999999999"])
        .assert(1, &["does not fit into memory"]);
}

#[test]
fn garbage_on_any_port_is_answered_and_harms_nobody() {
    let network = Network::start(&[], &[1]);
    let peer = network.row("p0").unwrap()["addr"].as_str().unwrap().parse().unwrap();
    for addr in [network.addr, peer] {
        let mut wire = Wire::connect(addr);
        wire.say_raw(b"\x16\x03\x01\x02\x00\x01\x00\n");
        let no = wire.hear("error");
        assert_eq!(no["code"], "bad_message", "{no}");
        wire.hear_end();
    }
    let fake = FakePeer::join(network.addr, "fake", 1, HONEST);
    network.all_leasable(2);
    drop(fake);
}

#[test]
fn a_script_that_is_asked_for_help_or_called_wrongly_says_its_usage_and_runs_nothing() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let ran = dir.path().join("ran");
    // Whatever a script does begins with cargo, with a folder for its work, or with a tool that looks around.
    for tool in ["cargo", "mktemp", "ip", "python3"] {
        let stub = dir.path().join(tool);
        fs::write(&stub, format!("#!/bin/sh\necho {tool} >>{}\n", ran.display())).unwrap();
        fs::set_permissions(&stub, fs::Permissions::from_mode(0o755)).unwrap();
    }
    let path = format!("{}:{}", dir.path().display(), std::env::var("PATH").unwrap());
    let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts");
    let names =
        fs::read_dir(&scripts).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let names: Vec<String> = names.filter(|name| name.ends_with(".sh") && name != "lib.sh").collect();
    assert!(names.len() > 5, "{names:?}");
    for name in names {
        let call = |args: &[&str]| {
            let mut script = std::process::Command::new(scripts.join(&name));
            script.args(args).env("PATH", &path).current_dir(dir.path()).output().unwrap()
        };
        let usage = format!("Usage: {}scripts/{name}", if name == "hosts.sh" { "sudo " } else { "" });
        for args in [&["--help"][..], &["-h"], &["--write", "--help"]] {
            let help = call(args);
            assert_eq!((help.status.code(), &*help.stderr), (Some(0), &b""[..]), "{name} {args:?}: {help:?}");
            assert!(String::from_utf8_lossy(&help.stdout).contains(&usage), "{name} {args:?}: {help:?}");
            assert!(!ran.exists(), "{name} {args:?} ran {:?}", fs::read_to_string(&ran));
        }
        // Of one part there is no table that could be written.
        let part = (name == "files.sh").then_some(&["small", "--write"]);
        for args in [&["--nonsense", "1"]].into_iter().chain(part) {
            let wrong = call(args);
            assert_eq!(wrong.status.code(), Some(2), "{name} {args:?}: {wrong:?}");
            assert!(String::from_utf8_lossy(&wrong.stderr).contains(&usage), "{name} {args:?}: {wrong:?}");
        }
        let ran_all = fs::read_to_string(&ran).unwrap_or_default();
        assert!(!ran_all.contains("cargo"), "{name} built something before it looked at its arguments");
        let _ = fs::remove_file(&ran);
    }
}

#[test]
fn what_a_script_has_measured_goes_into_the_report_with_write_only() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    fs::create_dir_all(path("scripts")).unwrap();
    fs::create_dir_all(path("report/data")).unwrap();
    let library = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/lib.sh");
    fs::copy(library, path("scripts/lib.sh")).unwrap();
    let script = "set -euo pipefail\n. \"${0%/*}/lib.sh\"\nkeep \"${words[0]}\"\n";
    fs::write(path("scripts/measure.sh"), script).unwrap();
    fs::write(path("report/data/table.csv"), "before").unwrap();
    fs::write(path("table.csv"), "after").unwrap();
    let report = || fs::read_to_string(path("report/data/table.csv")).unwrap();
    // What it says is where the table is.
    let written_by = |words: &[&str]| {
        let mut bash = std::process::Command::new("bash");
        let done = bash.arg(path("scripts/measure.sh")).args(words).current_dir(dir.path()).output().unwrap();
        assert!(done.status.success(), "{done:?}");
        let said = String::from_utf8(done.stderr).unwrap();
        let place = said.trim().strip_prefix("written: ").unwrap().split(';').next().unwrap();
        assert_eq!(fs::read_to_string(place).unwrap(), "after", "{said}");
        Path::new(place).to_owned()
    };
    let elsewhere = written_by(&["table.csv"]);
    assert_eq!(report(), "before");
    fs::remove_dir_all(elsewhere.ancestors().nth(2).unwrap()).unwrap();
    written_by(&["table.csv", "--write"]);
    assert_eq!(report(), "after");
}

/// Starts a script that takes the programs of these tests for those that `cargo` built.
fn start_script(name: &str, dir: &Path, args: &[&str]) -> Node {
    use std::os::unix::fs::symlink;
    let (here, path) = (dir.display().to_string(), std::env::var("PATH").unwrap());
    symlink("/bin/true", dir.join("cargo")).unwrap();
    symlink(Path::new(env!("CARGO_BIN_EXE_peer")).parent().unwrap(), dir.join("release")).unwrap();
    // At the rate that it has by itself, the links alone would take ten seconds.
    let rate = ("RATE", "400mbit".into());
    let env = [("PATH", format!("{here}:{path}")), ("CARGO_TARGET_DIR", here), rate];
    let script = format!("{}/scripts/{name}", env!("CARGO_MANIFEST_DIR"));
    Node::start_with("bash", dir, "warn", &[&[&*script], args].concat(), &env)
}

#[test]
fn hosts_sh_plays_several_computers_to_the_end_and_leaves_none_behind_or_says_why_it_cannot() {
    let dir = tempfile::tempdir().unwrap();
    let mut script = start_script("hosts.sh", dir.path(), &[]);
    let namespaces = format!("peerlab{}-", script.pid());
    let outcome = script.outcome_within(2 * PATIENCE).assert(0, &[]);
    let left = fs::read_dir("/run/netns").into_iter().flatten().map(|entry| entry.unwrap().file_name());
    let left: Vec<_> = left.filter(|name| name.to_string_lossy().starts_with(&namespaces)).collect();
    assert!(left.is_empty(), "{left:?}");
    let skipped = outcome.stderr.lines().find_map(|line| line.strip_prefix("hosts.sh: skipped: "));
    if let Some(why) = skipped {
        assert!(why.len() > 20, "no reason: {why}");
        return eprintln!("skipped: {why}");
    }
    let mut said = &*outcome.stdout;
    let acts = [
        "c.npy: 800 x 800 in",
        "16.0 MiB in",
        "has struck cyd off",
        "c2.npy: 800 x 800 in",
        "\ncyd ",
        "leaves in",
    ];
    for act in acts {
        said = said.split_once(act).unwrap_or_else(|| panic!("no {act:?} in {outcome:#?}")).1;
    }
}

#[test]
fn the_network_of_up_sh_has_a_secret_that_is_its_owners_alone_and_lets_in_nobody_without_it() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let mut script = start_script("up.sh", dir.path(), &["127.0.0.1:0"]);
    let said = until("all nodes run", PATIENCE, || {
        let is_over = script.has_ended() || script.stdout().contains("Ctrl-C here ends all");
        is_over.then(|| script.stdout())
    });
    let manager = said.split(['/', ' ']).find(|word| word.starts_with("127.0.0.1:")).unwrap_or_default();
    let peers = |secret| run("peer", dir.path(), &["--manager", manager, "--secret-file", secret, "peers"]);
    let seen = [run("peer", dir.path(), &["--manager", manager, "peers"]), peers("peerlab-secret")];
    let secret = fs::metadata(dir.path().join("peerlab-secret"));
    // Whatever was seen, its nodes end before it is judged.
    if !script.has_ended() {
        script.signal(Signal::TERM);
    }
    script.outcome().assert(143, &[]);
    let [without, with] = seen;
    without.assert(4, &["asks for a secret, and none was given here", "--secret-file"]);
    assert!(with.assert(0, &[]).stdout.contains("cyd"));
    assert_eq!(secret.unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn help_of_a_command_shows_its_own_options_first_then_an_example_and_fits_the_terminal() {
    let help = |program: &str, words: &[&str]| {
        let path = if program == "peer" { env!("CARGO_BIN_EXE_peer") } else { env!("CARGO_BIN_EXE_manager") };
        let output =
            std::process::Command::new(path).args(words).arg("--help").env("COLUMNS", "80").output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let commands = help("peer", &[]);
    let commands = commands.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let commands = commands.lines().filter(|line| !line.starts_with("   "));
    let commands: Vec<&str> = commands.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(commands.contains(&"make") && commands.contains(&"why"), "{commands:?}");
    for command in commands.into_iter().filter(|command| *command != "help") {
        let text = help("peer", &[command]);
        let (own, network) = text.split_once("\nOptions of the peer and its network:\n").unwrap();
        assert!(own.contains("--help") && !own.contains("--manager"), "{command}: {text}");
        assert!(network.contains("--manager") && network.contains("\nExample"), "{command}: {text}");
        // The line of the usage is never broken.
        let mut lines = text.lines().filter(|line| !line.starts_with("Usage: "));
        assert!(lines.all(|line| line.chars().count() <= 80), "{command}: {text}");
    }
    assert!(help("peer", &["make"]).contains("Example: peer make a 1000"));
    assert!(help("manager", &[]).contains("Example: manager --listen"));
}

#[test]
fn both_programs_can_print_completions_and_a_manual_page() {
    let dir = tempfile::tempdir().unwrap();
    for (program, word) in [("peer", "multiply"), ("manager", "--quantum")] {
        let bash = run(program, dir.path(), &["--completions", "bash"]).assert(0, &[]).stdout;
        assert!(bash.contains(word) && bash.contains(&format!("complete -F _{program}")), "{bash}");
        let page = run(program, dir.path(), &["--man-page"]).assert(0, &[]).stdout;
        assert!(
            page.contains(&format!(".TH {program} 1")) && page.contains(&word.replace('-', "\\-")),
            "{page}"
        );
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "nothing else is done");
}
