//! Floods that take all places or all memory, beside forty honest peers. All of them come from 127.0.0.1, as a class
//! behind one router does. None of the forty is refused anything, and the memory is soon less than one and a half of
//! what it was.
//!
//! Four of the forty are real programs, which share and multiply. The others are light, a registered conversation each
//! that answers pings; ten times a second one of them asks something on a connection of its own, by its token.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::common::files::bytes;
use crate::common::node::{Network, state};
use crate::common::{PATIENCE, until};
use crate::light::{self, Lines, Listener, register};
use crate::table::{Table, memory_kib};

const REAL: usize = 4;
const LIGHT: usize = 36;

/// How much more memory a flood may leave behind.
const AFTER: f64 = 1.5;

/// How long a flood goes on.
const FLOOD: Duration = Duration::from_secs(3);

/// How long an honest peer waits for an answer.
const WAIT: Duration = Duration::from_secs(10);

/// Files that a catalogue can have.
const NAMES: usize = 100_000;

/// Something that is done by somebody hostile; what it opens stays open until what it gives is dropped.
type Flood = fn(&Field) -> io::Result<Vec<Lines>>;

/// A flood: its name, whether a peer is flooded in place of the manager, what must be there before, and what it does.
const FLOODS: [(&str, bool, Flood, Flood); 9] = [
    ("4096 connections that say state", false, nothing, states),
    ("30 unread files of 100000 names", false, many_names, unread_files),
    ("100 unread Metalinks", false, long_hashes, unread_metalinks),
    ("100 unread queries", false, long_hashes, unread_queries),
    ("100 unread boards", false, nothing, unread_boards),
    ("256 joins at a peer", true, nothing, joins),
    ("200 places of one client in the queue", false, nothing, places),
    ("10000 false tombstones", false, nothing, tombstones),
    ("10000 false updates", false, nothing, updates),
];

/// Where it happens.
struct Field {
    manager: SocketAddr,
    /// A real peer that has the film.
    peer: SocketAddr,
    film: Value,
    /// A hostile peer's number and token, and its conversation.
    who: Value,
    _line: Lines,
}

/// What the honest saw.
#[derive(Default)]
struct Honest {
    over: AtomicBool,
    asked: AtomicUsize,
    refused: AtomicUsize,
    slowest: Mutex<Duration>,
}

pub(crate) fn run(count: usize) -> Table {
    let table = Table::new(
        "flood,before_mib,peak_mib,after_mib,ratio,after_s,flood_s,questions,refused,peers_lost,slowest_answer_s",
    );
    for (name, at_peer, before, flood) in FLOODS {
        let after = Duration::from_secs(count as u64);
        table.survive(name, || measure(&table, name, at_peer, before, flood, after));
    }
    table
}

fn measure(table: &Table, name: &str, at_peer: bool, before: Flood, flood: Flood, after: Duration) {
    let mut network = Network::start_with_log("warn", &["--replicas", "0"], &[]);
    for n in 0..REAL {
        let peer = format!("p{n}");
        fs::create_dir(network.path(&format!("peerlab-{peer}"))).unwrap();
        fs::write(network.path(&format!("peerlab-{peer}/film")), bytes(8 << 20, 1)).unwrap();
        network.add_peer(&peer, 4);
    }
    let listener = Listener::start();
    let honest = Arc::new(Honest::default());
    for n in 0..LIGHT {
        let (honest, manager, own) = (Arc::clone(&honest), network.addr, listener.addr(n));
        light::spawn(move || be_honest(&honest, manager, n, own));
    }
    until("the forty are there", PATIENCE, || {
        let now = state(network.addr);
        let here = now["peers"].as_array().unwrap().len() == REAL + LIGHT;
        (here && now["files"][0]["holders"].as_array()?.len() == REAL).then_some(())
    });
    let field = Field::look(network.addr);
    let kept = before(&field).unwrap();
    thread::sleep(Duration::from_millis(500));
    let pid = if at_peer { network.peers[0].pid() } else { network.manager.pid() };
    let memory = |which| memory_kib(pid, which) as f64 / 1024.0;
    let (quiet, began) = (memory("VmRSS"), Instant::now());
    let open = flood(&field);
    if let Err(e) = &open {
        eprintln!("{name}: it ended with {e}");
    }
    thread::sleep(FLOOD.saturating_sub(began.elapsed()));
    let peak = memory("VmHWM");
    drop((open, kept));
    let lasted = began.elapsed().as_secs_f64();
    thread::sleep(after);
    let left = memory("VmRSS");
    honest.over.store(true, Ordering::Relaxed);
    let rows = state(network.addr);
    let there = rows["peers"].as_array().unwrap().iter().filter(|row| row["name"] != "eve").count();
    let lost = (REAL + LIGHT).saturating_sub(there);
    let (asked, refused) = (honest.asked.load(Ordering::Relaxed), honest.refused.load(Ordering::Relaxed));
    table.row(&[
        &name,
        &format_args!("{quiet:.1}"),
        &format_args!("{peak:.1}"),
        &format_args!("{left:.1}"),
        &format_args!("{:.2}", left / quiet),
        &after.as_secs(),
        &format_args!("{lasted:.1}"),
        &asked,
        &refused,
        &lost,
        &format_args!("{:.2}", honest.slowest.lock().as_secs_f64()),
    ]);
    table.promise(refused == 0, format_args!("{name}: {refused} of {asked} honest questions were refused"));
    table.promise(lost == 0, format_args!("{name}: {lost} honest peers were lost"));
    // Allocators do not give back the last few MiB.
    let limit = (AFTER * quiet).max(quiet + 4.0);
    table.promise(left <= limit, format_args!("{name}: {left:.0} MiB are left of {peak:.0}, {quiet:.0} before"));
}

/// A light peer: it stays, and once every few seconds asks one question that it needs its token for.
fn be_honest(honest: &Honest, manager: SocketAddr, n: usize, own: SocketAddr) {
    let mut line = Lines::connect(manager).unwrap();
    line.say(&register(&format!("honest-{n}"), own, 2)).unwrap();
    let who: Value = serde_json::from_str(line.hear().unwrap()).unwrap();
    let mut asked = Instant::now() + Duration::from_millis(100 * n as u64);
    let every = Duration::from_millis(100 * LIGHT as u64);
    while !honest.over.load(Ordering::Relaxed) {
        match line.hear() {
            Ok(heard) if heard.starts_with("{\"type\":\"ping\"") => _ = line.say("{\"type\":\"ok\"}\n"),
            Ok(heard) if heard.starts_with("{\"type\":\"unbind\"") => {
                let lease = light::number(heard, "lease");
                _ = line.say(&format!("{{\"type\":\"unbound\",\"lease\":{lease}}}\n"));
            }
            Ok("") | Err(_) => break,
            Ok(_) => {}
        }
        // Its line is heard at least once a second, for the manager asks whether it is there.
        if asked <= Instant::now() {
            let began = Instant::now();
            honest.asked.fetch_add(1, Ordering::Relaxed);
            if let Err(e) = ask_about_film(manager, &who) {
                eprintln!("honest-{n} was not answered: {e}");
                honest.refused.fetch_add(1, Ordering::Relaxed);
            }
            let mut slowest = honest.slowest.lock();
            *slowest = (*slowest).max(began.elapsed());
            asked = began + every;
        }
    }
}

fn ask_about_film(manager: SocketAddr, who: &Value) -> io::Result<()> {
    let mut lines = connect(manager)?;
    let query = json!({"type": "query", "peer": who["peer"], "token": who["token"], "file": "film", "has": true});
    let holders = ask(&mut lines, &query)?;
    if holders["type"] == "holders" { Ok(()) } else { Err(io::Error::other(holders.to_string())) }
}

fn connect(addr: SocketAddr) -> io::Result<Lines> {
    let lines = Lines::connect(addr)?;
    lines.stream().set_read_timeout(Some(WAIT))?;
    lines.stream().set_write_timeout(Some(WAIT))?;
    Ok(lines)
}

fn ask(lines: &mut Lines, message: &Value) -> io::Result<Value> {
    lines.say(&format!("{message}\n"))?;
    serde_json::from_str(lines.hear()?).map_err(|_| ErrorKind::UnexpectedEof.into())
}

impl Field {
    fn look(manager: SocketAddr) -> Self {
        let rows = state(manager);
        let row = rows["peers"].as_array().unwrap().iter().find(|row| row["name"] == "p0").cloned().unwrap();
        let own = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut line = Lines::connect(manager).unwrap();
        line.say(&register("eve", own, 0)).unwrap();
        let who = serde_json::from_str(line.hear().unwrap()).unwrap();
        // It answers pings, though it is hostile.
        let mut other = Lines::new(line.stream().try_clone().unwrap());
        light::spawn(move || {
            while let Ok(heard) = other.hear()
                && !heard.is_empty()
            {
                if heard.starts_with("{\"type\":\"ping\"") {
                    _ = other.say("{\"type\":\"ok\"}\n");
                }
            }
        });
        Self { manager, peer: row["addr"].as_str().unwrap().parse().unwrap(), film: rows["files"][0].clone(), who, _line: line }
    }

    /// Tells the manager of so many files, as the registered peer that it is. All are told before an answer is read.
    fn update(&self, files: usize, size: u64, piece_size: u64) -> io::Result<Vec<Lines>> {
        let mut told = connect(self.manager)?;
        let mut answers = Lines::new(told.stream().try_clone()?);
        thread::scope(|scope| {
            let heard = scope.spawn(move || (0..files).filter(|_| answers.hear().is_ok_and(|it| it.contains("updated"))).count());
            let pieces = size.div_ceil(piece_size) as usize;
            let hashes = vec![7; 32 * pieces];
            for n in 0..files {
                let update = json!({"type": "update", "peer": self.who["peer"], "token": self.who["token"],
                    "file": format!("a-name-of-a-file-{n:06}"), "size": size, "piece_size": piece_size, "whole": true,
                    "published": 1, "payload": hashes.len()});
                told.say(&format!("{update}\n"))?;
                told.write_all(&hashes)?;
            }
            let listed = heard.join().unwrap();
            eprintln!("{listed} of {files} files were taken into the list");
            Ok(Vec::new())
        })
    }

    /// Says the same on so many connections, and reads nothing.
    fn unread(&self, connections: usize, text: &str, often: usize) -> io::Result<Vec<Lines>> {
        let mut open = Vec::new();
        for _ in 0..connections {
            let Ok(mut lines) = connect(self.manager) else { continue };
            lines.stream().set_write_timeout(Some(Duration::from_millis(20)))?;
            for _ in 0..often {
                if lines.say(text).is_err() {
                    break;
                }
            }
            open.push(lines);
        }
        Ok(open)
    }
}

fn nothing(_: &Field) -> io::Result<Vec<Lines>> {
    Ok(Vec::new())
}

fn many_names(field: &Field) -> io::Result<Vec<Lines>> {
    field.update(NAMES, 1, 1 << 20)
}

/// Files with as many pieces as can be: 2 MiB of hashes each.
fn long_hashes(field: &Field) -> io::Result<Vec<Lines>> {
    field.update(4, 1 << 36, 1 << 20)
}

fn states(field: &Field) -> io::Result<Vec<Lines>> {
    field.unread(4096, "{\"type\":\"state\"}\n", 1)
}

fn unread_files(field: &Field) -> io::Result<Vec<Lines>> {
    field.unread(30, "{\"type\":\"files\"}\n", 1)
}

fn unread_queries(field: &Field) -> io::Result<Vec<Lines>> {
    field.unread(100, "{\"type\":\"query\",\"file\":\"a-name-of-a-file-000000\"}\n", 20)
}

fn unread_metalinks(field: &Field) -> io::Result<Vec<Lines>> {
    field.unread(100, "GET /files/a-name-of-a-file-000000.meta4 HTTP/1.1\r\nHost: localhost\r\n\r\n", 1)
}

fn unread_boards(field: &Field) -> io::Result<Vec<Lines>> {
    field.unread(100, "GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n", 20)
}

/// All places of a peer that serves pieces; then an honest one wants the file of it.
fn joins(field: &Field) -> io::Result<Vec<Lines>> {
    let join = json!({"type": "join", "file": "film", "id": field.film["id"]});
    let mut open = Vec::new();
    for _ in 0..256 {
        let mut lines = connect(field.peer)?;
        lines.say(&format!("{join}\n"))?;
        open.push(lines);
    }
    let mut line = connect(field.manager)?;
    let own = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    line.say(&register("late", own, 0))?;
    let who: Value = serde_json::from_str(line.hear()?).unwrap_or_default();
    let query = json!({"type": "query", "peer": who["peer"], "token": who["token"], "file": "film", "has": true});
    let holders = ask(&mut connect(field.manager)?, &query)?;
    let there = field.peer.to_string();
    let pass = holders["holders"].as_array().into_iter().flatten().find(|it| it["addr"] == there.as_str());
    let mut join = join;
    (join["peer"], join["pass"]) = (who["peer"].clone(), pass.unwrap_or(&Value::Null)["pass"].clone());
    let answer = ask(&mut connect(field.peer)?, &join)?;
    if answer["type"] == "bitfield" { Ok(open) } else { Err(io::Error::other(format!("an honest one is told {answer}"))) }
}

/// Two hundred requests of one client, for all slots there are.
fn places(field: &Field) -> io::Result<Vec<Lines>> {
    let wants = json!({"type": "lease", "peer": field.who["peer"], "token": field.who["token"], "slots": 16});
    field.unread(200, &format!("{wants}\n"), 1)
}

fn tombstones(field: &Field) -> io::Result<Vec<Lines>> {
    let mut line = Lines::new(field._line.stream().try_clone()?);
    for n in 0..10_000 {
        let drop = json!({"type": "drop", "file": format!("never-there-{n}"), "id": format!("{n:064x}"), "at": 1});
        line.say(&format!("{drop}\n"))?;
    }
    Ok(Vec::new())
}

fn updates(field: &Field) -> io::Result<Vec<Lines>> {
    field.update(10_000, 100, 1024)
}
