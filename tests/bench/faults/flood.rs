//! Floods that take all places or all memory, beside forty honest peers. All of them come from 127.0.0.1, as a class
//! behind one router does. None of the forty is refused anything, and the memory is soon less than one and a half of
//! what it was.
//!
//! Four of the forty are real programs, which share a file. The others are light, a registered conversation each that
//! answers pings; ten times a second one of them asks something on a connection of its own, by its token.
//!
//! Memory is judged only where it was given thirty seconds to fall.

use std::fs;
use std::io::{self, ErrorKind};
use std::net::{Shutdown, SocketAddr, TcpListener};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::common::files::bytes;
use crate::common::node::{Network, state};
use crate::common::{PATIENCE, until};
use crate::hostile::{ATTACKS, Attackers};
use crate::light::{self, Lines, Listener, register};
use crate::table::{Table, is_wanted, memory_kib};

const REAL: usize = 4;
const LIGHT: usize = 36;

/// How much more memory a flood may leave behind, and after how long.
const MORE: f64 = 1.5;
const AFTER: Duration = Duration::from_secs(30);

/// How long a flood goes on.
const FLOOD: Duration = Duration::from_secs(3);

/// How long an honest peer waits for an answer.
const WAIT: Duration = Duration::from_secs(10);

/// Files that a catalogue can have.
const NAMES: usize = 100_000;

/// More drops than a manager remembers.
const FALSE_DROPS: usize = 110_000;

/// Something that is done by somebody hostile; what it opens stays open until what it gives is dropped.
type Flood = fn(&Field) -> io::Result<Vec<Lines>>;

/// A flood: its name, whether a peer is flooded in place of the manager, what must be there before, and what it does.
const FLOODS: [(&str, bool, Flood, Flood); 10] = [
    ("4096 connections that say state", false, nothing, states),
    ("30 unread files of 100000 names", false, many_names, unread_files),
    ("100 unread Metalinks", false, long_hashes, unread_metalinks),
    ("100 unread queries", false, long_hashes, unread_queries),
    ("100 unread boards", false, nothing, unread_boards),
    ("300 joins at a peer", true, nothing, joins),
    ("200 places of one client in the queue", false, nothing, places),
    ("110000 false tombstones", false, nothing, tombstones),
    ("10000 false updates", false, nothing, updates),
    ("all hostile clients at once", false, nothing, all_hostile),
];

/// Where it happens.
struct Field {
    manager: SocketAddr,
    /// A real peer that has the film.
    peer: SocketAddr,
    film: Value,
    /// A hostile peer's number and token, and its half of its conversation: one line at a time is said in it.
    who: Value,
    line: Arc<Mutex<Lines>>,
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
    for (name, at_peer, before, flood) in FLOODS.into_iter().filter(|(name, ..)| is_wanted(name)) {
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
    table.promise(
        open.is_ok(),
        format_args!("{name}: {}", open.as_ref().err().map_or(String::new(), |e| e.to_string())),
    );
    thread::sleep(FLOOD.saturating_sub(began.elapsed()));
    let peak = memory("VmHWM");
    // All that flooded leave.
    drop((open, kept));
    let _ = field.line.lock().stream().shutdown(Shutdown::Both);
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
    let kept_small = after < AFTER || left <= MORE * quiet;
    table.promise(kept_small, format_args!("{name}: {left:.0} MiB are left of {peak:.0}, {quiet:.0} before"));
}

/// A light peer: one thread stays, another asks every few seconds.
fn be_honest(honest: &Arc<Honest>, manager: SocketAddr, n: usize, own: SocketAddr) {
    let mut line = Lines::connect(manager).unwrap();
    line.say(&register(&format!("honest-{n}"), own, 2)).unwrap();
    let who: Value = serde_json::from_str(line.hear().unwrap()).unwrap();
    let asking = Arc::clone(honest);
    light::spawn(move || ask_now_and_then(&asking, manager, n, &who));
    while let Ok(heard) = line.hear()
        && !heard.is_empty()
    {
        if heard.starts_with("{\"type\":\"ping\"") {
            _ = line.say("{\"type\":\"ok\"}\n");
        } else if heard.starts_with("{\"type\":\"unbind\"") {
            let lease = light::number(heard, "lease");
            _ = line.say(&format!("{{\"type\":\"unbound\",\"lease\":{lease}}}\n"));
        }
    }
    if !honest.over.load(Ordering::Relaxed) {
        eprintln!("honest-{n} was sent away");
    }
}

fn ask_now_and_then(honest: &Honest, manager: SocketAddr, n: usize, who: &Value) {
    thread::sleep(Duration::from_millis(100 * n as u64));
    while !honest.over.load(Ordering::Relaxed) {
        let began = Instant::now();
        let answered = ask_about_film(manager, who);
        if honest.over.load(Ordering::Relaxed) {
            break;
        }
        honest.asked.fetch_add(1, Ordering::Relaxed);
        if let Err(e) = answered {
            eprintln!("honest-{n} was not answered: {e}");
            honest.refused.fetch_add(1, Ordering::Relaxed);
        }
        let mut slowest = honest.slowest.lock();
        *slowest = (*slowest).max(began.elapsed());
        drop(slowest);
        thread::sleep(Duration::from_millis(100 * LIGHT as u64));
    }
}

fn ask_about_film(manager: SocketAddr, who: &Value) -> io::Result<()> {
    let mut lines = connect(manager)?;
    let query =
        json!({"type": "query", "peer": who["peer"], "token": who["token"], "file": "film", "has": true});
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

/// Registers a peer without slots; gives its conversation with the manager, and what it is told.
fn join_network(manager: SocketAddr, name: &str) -> io::Result<(Lines, Value)> {
    let mut line = Lines::connect(manager)?;
    let own = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    line.say(&register(name, own, 0))?;
    let who = serde_json::from_str(line.hear()?).map_err(|_| ErrorKind::UnexpectedEof)?;
    Ok((line, who))
}

impl Field {
    fn look(manager: SocketAddr) -> Self {
        let rows = state(manager);
        let row = rows["peers"].as_array().unwrap().iter().find(|row| row["name"] == "p0").cloned().unwrap();
        let (mut heard, who) = join_network(manager, "eve").unwrap();
        let line = Arc::new(Mutex::new(Lines::new(heard.stream().try_clone().unwrap())));
        // It answers pings, though it is hostile.
        let answers = Arc::clone(&line);
        light::spawn(move || {
            while let Ok(heard) = heard.hear()
                && !heard.is_empty()
            {
                if heard.starts_with("{\"type\":\"ping\"") {
                    _ = answers.lock().say("{\"type\":\"ok\"}\n");
                }
            }
        });
        Self {
            manager,
            peer: row["addr"].as_str().unwrap().parse().unwrap(),
            film: rows["files"][0].clone(),
            who,
            line,
        }
    }

    /// Tells the manager of so many files, as the registered peer that it is. All are told before an answer is read.
    fn update(&self, files: usize, size: u64, piece_size: u64) -> io::Result<Vec<Lines>> {
        let mut told = connect(self.manager)?;
        let mut answers = Lines::new(told.stream().try_clone()?);
        thread::scope(|scope| {
            let heard = scope.spawn(move || {
                (0..files).filter(|_| answers.hear().is_ok_and(|it| it.contains("updated"))).count()
            });
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
    for _ in 0..300 {
        let mut lines = connect(field.peer)?;
        lines.say(&format!("{join}\n"))?;
        open.push(lines);
    }
    let (_late, who) = join_network(field.manager, "late")?;
    let query =
        json!({"type": "query", "peer": who["peer"], "token": who["token"], "file": "film", "has": true});
    let holders = ask(&mut connect(field.manager)?, &query)?;
    let there = field.peer.to_string();
    let pass = holders["holders"].as_array().into_iter().flatten().find(|it| it["addr"] == there.as_str());
    let mut join = join;
    (join["peer"], join["pass"]) = (who["peer"].clone(), pass.unwrap_or(&Value::Null)["pass"].clone());
    let answer = ask(&mut connect(field.peer)?, &join)?;
    if answer["type"] == "bitfield" {
        Ok(open)
    } else {
        Err(io::Error::other(format!("an honest one is told {answer}")))
    }
}

/// Two hundred requests of one client, for all slots there are.
fn places(field: &Field) -> io::Result<Vec<Lines>> {
    let wants = json!({"type": "lease", "peer": field.who["peer"], "token": field.who["token"], "slots": 16});
    field.unread(200, &format!("{wants}\n"), 1)
}

/// More false ones than a manager remembers. A real one must outlive them: its bytes are not taken again.
fn tombstones(field: &Field) -> io::Result<Vec<Lines>> {
    field.update(1, 1, 1024)?;
    field.line.lock().say("{\"type\":\"drop\",\"file\":\"a-name-of-a-file-000000\"}\n")?;
    for n in 0..FALSE_DROPS {
        let drop =
            json!({"type": "drop", "file": format!("never-there-{n}"), "id": format!("{n:064x}"), "at": 1});
        // The manager may end the conversation, which is well.
        if field.line.lock().say(&format!("{drop}\n")).is_err() {
            eprintln!("after {n} false drops the manager ended the conversation");
            break;
        }
    }
    let (_other, who) = join_network(field.manager, "other")?;
    let again = json!({"type": "update", "peer": who["peer"], "token": who["token"],
        "file": "a-name-of-a-file-000000", "size": 1, "piece_size": 1024, "whole": true, "payload": 32});
    let mut lines = connect(field.manager)?;
    lines.say(&format!("{again}\n"))?;
    lines.write_all(&[7; 32])?;
    let answer = lines.hear()?;
    if answer.contains("expired") {
        Ok(Vec::new())
    } else {
        Err(io::Error::other(format!("what was dropped is taken again: {answer}")))
    }
}

/// Every kind of hostile client at once.
fn all_hostile(field: &Field) -> io::Result<Vec<Lines>> {
    let attackers = Attackers::start(field.manager, &ATTACKS.map(|(_, attack)| attack));
    thread::sleep(FLOOD);
    eprintln!("{} attacks", attackers.end());
    Ok(Vec::new())
}

fn updates(field: &Field) -> io::Result<Vec<Lines>> {
    field.update(10_000, 100, 1024)
}
