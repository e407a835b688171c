//! The prompt as a person at a terminal sees it: keys go in, and what is shown comes out.

use std::fs;

use crate::common::fake::{Answer, FakePeer, HONEST, Manners};
use crate::common::files::{bytes, put, whole_at};
use crate::common::node::{Network, Node};
use crate::common::terminal::{CTRL_C, Terminal};
use crate::common::wire::Wire;
use crate::common::{PATIENCE, integers, save, until};
use peerlab::share::units::counted;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use rustix::process::Signal;
use serde_json::json;

/// A manager that asks for no copies, and peers with these slots.
fn network(slots: &[u32]) -> Network {
    Network::start(&["--dead-after", "60s", "--replicas", "0"], slots)
}

/// A network with so many slots, all of which ben holds by hand; and the prompts of ben and ada.
fn all_held(slots: u32) -> (Network, Terminal, Terminal) {
    let network = network(&[slots]);
    save(&integers(20, 20, 1), &network.path("a.npy"));
    let mut ben = Terminal::prompt(&network, "ben", "--slots 0");
    ben.types(&format!("lease {slots}\r"));
    ben.shows(&format!("leased {}", counted(slots, "slot")));
    let ada = Terminal::prompt(&network, "ada", "--slots 0");
    (network, ben, ada)
}

fn queued(network: &Network) -> usize {
    network.state()["queue"].as_array().unwrap().len()
}

#[test]
fn ctrl_c_stops_a_download_and_the_prompt_goes_on() {
    let network = network(&[]);
    put(&network, "slow", "big.bin", bytes(4 << 20, 1));
    let mut slow = network.command("slow", &["--up", "100kB", "serve"]);
    slow.ready();
    let mut ada = Terminal::prompt(&network, "ada", "");
    ada.types("down big.bin -o out\r");
    ada.shows("from 1 holder");
    ada.types(CTRL_C);
    ada.shows("the download of big.bin was stopped; its pieces are kept");
    ada.shows("ada> ");
    ada.types("why\r");
    ada.shows("nothing waits");
    ada.types("\x04");
    until("it leaves", PATIENCE, || ada.has_ended().filter(|status| *status == 0));
    // One that came for this alone says as much.
    let mut ben = network.command("ben", &["down", "big.bin", "-o", "there"]);
    until("it has begun", PATIENCE, || network.path("there/.peerlab/partial").exists().then_some(()));
    ben.signal(Signal::INT);
    ben.outcome().assert(130, &["the pieces of big.bin that came are kept, and the same command goes on"]);
}

#[test]
fn a_download_to_which_nothing_comes_says_in_its_bar_what_it_waits_for() {
    let network = network(&[]);
    put(&network, "slow", "big.bin", bytes(1 << 20, 1));
    let mut slow = network.command("slow", &["--up", "100kB", "serve"]);
    slow.ready();
    whole_at(&network, "big.bin", 1);
    let words = format!("--manager {} --name ada down big.bin -o out", network.addr);
    let mut ada = Terminal::peer(80, network.dir.path(), &words);
    ada.shows("from 1 holder");
    slow.signal(Signal::STOP);
    for _ in 0..2 {
        ada.shows("% nothing has come for "); // With the bar it is longer than a line.
        ada.shows(" s: no holder (1) has sent what it owes");
    }
    assert!(!ada.screen().contains("owes\r\n"), "it changes in place");
    slow.kill();
    ada.shows("s: no holder can be reached");
    slow = network.command("slow", &["serve"]);
    slow.ready();
    ada.shows("pieces from slow 4");
}

#[test]
fn ctrl_c_takes_what_waits_out_of_the_queue_and_leaves_slots_that_are_held_by_hand() {
    let (network, mut ben, mut ada) = all_held(3);
    for (command, end) in [
        ("lease 2", "stopped: the request for slots is taken back"),
        ("multiply a.npy a.npy --slots 2", "stopped: there is no product"),
    ] {
        ada.types(&format!("{command}\r"));
        ada.shows("waiting for 2 slots, place 1 in the queue");
        ada.types(CTRL_C);
        ada.shows(end);
        ada.shows("ada> ");
        until("it has left the queue", PATIENCE, || (queued(&network) == 0).then_some(()));
    }
    ben.types("release\r");
    ben.shows("released 3 slots");
    ada.types("lease 2\r");
    ada.shows("leased 2 slots");
    ada.types("multiply a.npy a.npy --slots 3\r");
    ada.shows("waiting for 3 slots, place 1 in the queue");
    ada.types(CTRL_C);
    ada.shows("stopped: there is no product");
    ada.types("status\r");
    ada.shows("holds 2 slots for another");
}

#[test]
fn ctrl_c_ends_a_multiply_that_runs_and_its_lease() {
    let network = network(&[]);
    save(&integers(20, 20, 1), &network.path("a.npy"));
    // So large that its products may take longer than the test waits.
    save(&integers(2600, 2600, 2), &network.path("large.npy"));
    let silent = FakePeer::join(network.addr, "silent", 2, Manners { answer: Answer::Silence, ..HONEST });
    network.all_leasable(1);
    let mut ada = Terminal::prompt(&network, "ada", "--slots 0");
    ada.types("multiply large.npy large.npy\r");
    ada.shows("leased 2 slots: 2 at silent");
    ada.types(CTRL_C);
    ada.shows("stopped: there is no product");
    ada.shows("ada> ");
    until("given back", PATIENCE, || (network.used() == 0).then_some(()));
    silent.set(|manners| manners.answer = Answer::Right);
    ada.types("multiply a.npy a.npy -o c.npy\r");
    ada.shows("c.npy: 20 x 20 in");
}

#[test]
fn ctrl_c_clears_a_line_and_twice_within_a_second_leaves_also_in_the_middle_of_a_command() {
    let network = network(&[1]);
    let mut ben = Terminal::prompt(&network, "ben", "--slots 0");
    ben.types("quit half");
    ben.shows("quit half");
    ben.types(CTRL_C);
    ben.shows("Ctrl-C once more, or `quit`, leaves");
    ben.shows("ben> ");
    ben.types("lease 1\r");
    ben.shows("leased 1 slot");
    let mut ada = Terminal::prompt(&network, "ada", "--slots 0");
    ada.types("lease 1\r");
    ada.shows("place 1 in the queue");
    until("it leaves", PATIENCE, || {
        ada.types(CTRL_C);
        network.row("ada").is_none().then_some(())
    });
    until("it has left the queue", PATIENCE, || (queued(&network) == 0).then_some(()));
}

#[test]
fn tab_completes_commands_options_values_and_names_that_others_offer() {
    let network = network(&[]);
    put(&network, "slow", "two words.txt", "text");
    let mut slow = network.command("slow", &["serve"]);
    slow.ready();
    whole_at(&network, "two words.txt", 1);
    let mut ada = Terminal::prompt(&network, "ada", "");
    ada.types("\t");
    ada.shows("bounds");
    ada.types("dow\ttw\t--pi\tse\t-o out\r");
    ada.shows(r"down two\ words.txt ");
    ada.shows("--pick ");
    ada.shows("sequential ");
    ada.shows("pieces from slow 1");
}

#[test]
fn lines_that_come_at_once_are_several_commands_however_they_are_pasted() {
    let network = network(&[]);
    let mut ada = Terminal::prompt(&network, "ada", "");
    for paste in ["make a 2\nmake b 2\n", "\x1b[200~make c 2\nmake d 2\n\x1b[201~\n"] {
        ada.types(paste);
    }
    for made in ["a.npy: 2 x 2", "b.npy: 2 x 2", "c.npy: 2 x 2", "d.npy: 2 x 2"] {
        ada.shows(made);
    }
}

#[test]
fn warnings_are_shown_above_the_line_that_is_typed_and_so_is_the_end_of_a_lease() {
    let mut network = Network::start(&["--quantum", "1s", "--replicas", "0"], &[1]);
    let mut ada = Terminal::prompt(&network, "ada", "--slots 0");
    ada.types("lease 1\r");
    ada.shows("leased 1 slot");
    ada.shows("ada> ");
    ada.types("make half");
    ada.shows("make half");
    let mut ben = Terminal::prompt(&network, "ben", "--slots 0");
    ben.types("lease 1\r");
    ada.shows("your lease has ended: its time was up, and others wait; `lease` asks for another\r\n");
    ada.shows("make half");
    network.restart_manager(&["--replicas", "0"]);
    ada.shows("trying again\r\n");
    ada.shows("make half");
    ada.shows(&format!("joined the manager at {}: all is well\r\n", network.addr));
    ada.shows("make half");
    ada.types(" 3\r");
    ada.shows("half.npy: 3 x 3 reals");
}

#[test]
fn the_bar_of_a_multiply_names_peers_where_there_is_room_for_them() {
    let network = network(&[1]);
    save(&integers(20, 20, 1), &network.path("a.npy"));
    let silent = FakePeer::join(network.addr, "silent", 1, Manners { answer: Answer::Silence, ..HONEST });
    network.all_leasable(2);
    for (columns, named) in [(100, true), (80, false)] {
        let words = format!("--manager {} --name me multiply a.npy a.npy --slots 2", network.addr);
        let mut me = Terminal::peer(columns, network.dir.path(), &words);
        me.shows("checked 6");
        me.types(CTRL_C);
        until("it leaves", PATIENCE, || me.has_ended());
        assert_eq!(me.screen().contains("(p0 6)"), named, "{columns} columns");
        assert!(me.screen().contains("stopped: there is no product"), "{columns} columns");
    }
    drop(silent);
}

#[test]
fn a_multiply_that_waits_shows_its_whole_reason() {
    let (_network, mut ben, mut ada) = all_held(1);
    ada.types("multiply a.npy a.npy --slots 1\r");
    ada.shows("waiting for 1 slot, place 1 in the queue: you are the head of the queue");
    ada.shows("the lease of ben ends in ");
    ada.shows("at the latest");
    ben.types("release\r");
    ada.shows("the product: 20 x 20 in");
}

#[test]
fn what_this_machine_does_alone_is_shown_while_it_lasts() {
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("pipe.npy");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    let mut me = Terminal::peer(100, dir.path(), "make pipe 30");
    // Nobody reads the pipe yet.
    me.shows("writing pipe.npy");
    assert!(fs::read(&pipe).unwrap().starts_with(b"\x93NUMPY"));
    me.shows("pipe.npy: 30 x 30 reals");
}

#[test]
fn a_rate_that_is_perhaps_meant_in_other_units_is_asked_about_before_anything_is_done() {
    let dir = tempfile::tempdir().unwrap();
    for (answer, status, made) in [("\r", 2, false), ("n\r", 2, false), ("y\r", 0, true)] {
        let mut me = Terminal::peer(100, dir.path(), "make m 2 --up 5");
        me.shows("--up 5 is 5 bytes a second: for more write 5kB or 5MB; is that meant? [y/N]");
        me.types(answer);
        assert_eq!(until("it ends", PATIENCE, || me.has_ended()), status, "{answer:?}");
        assert_eq!(dir.path().join("m.npy").exists(), made, "{answer:?}");
    }
}

#[test]
fn a_manager_says_where_its_board_is_and_with_which_words_a_peer_joins() {
    let dir = tempfile::tempdir().unwrap();
    let mut manager = Terminal::manager(dir.path(), "--listen 127.0.0.1:0");
    manager.shows("A peer joins with `");
    manager.shows("`");
    let screen = manager.screen();
    let told = |begins: &str, ends: &str| {
        screen.split_once(begins).unwrap().1.split_once(ends).unwrap().0.to_owned()
    };
    let board = told("The board is at http://", "/. ");
    let mut wire = Wire::connect(board.parse().unwrap());
    wire.say(&json!({"type": "state"}));
    wire.hear("state");
    let words = told("A peer joins with `peer ", "`");
    Node::start("peer", dir.path(), "warn", &words.split(' ').collect::<Vec<_>>()).ready();
}
