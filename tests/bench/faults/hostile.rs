//! Clients that misbehave, each in its own way. They know the wire well: those that lie about products pass every
//! examination, those that speak in another's name know its number.
//!
//! An attack does one thing, and is begun again until it is told to stop. It pauses after each, because what is
//! measured is what the network makes of it, and not how many threads share two cores.

use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rand::Rng;
use serde_json::{Value, json};

use crate::light::{Lines, numbers, register, spawn};

/// How long an attack pauses before it is begun again.
const PAUSE: Duration = Duration::from_millis(4);

/// How long a hostile client waits for an answer.
const WAIT: Duration = Duration::from_secs(1);

/// What an examination may take, in bytes of operands: below this a liar computes.
const EXAM: usize = 1024;

/// The network that is attacked, as anybody can see it.
pub(crate) struct Scene {
    pub(crate) manager: SocketAddr,
    /// Numbers and addresses of honest peers.
    pub(crate) peers: Vec<(u64, SocketAddr)>,
    /// The `holders` line of a file that the honest have, and its hashes.
    pub(crate) film: (Value, Vec<u8>),
    over: AtomicBool,
    /// How often something hostile was done to somebody.
    acts: AtomicUsize,
}

impl Scene {
    /// Of the network of this manager, in which all have the file `film`.
    pub(crate) fn look(manager: SocketAddr) -> Self {
        let mut lines = Lines::connect(manager).unwrap();
        lines.say("{\"type\":\"state\"}\n").unwrap();
        let state: Value = serde_json::from_str(lines.hear().unwrap()).unwrap();
        let row = |row: &Value| Some((row["peer"].as_u64()?, row["addr"].as_str()?.parse().ok()?));
        let peers = state["peers"].as_array().unwrap().iter().filter_map(row).collect();
        let film = query(manager, None).unwrap();
        Self { manager, peers, film, over: AtomicBool::new(false), acts: AtomicUsize::new(0) }
    }

    pub(crate) fn is_over(&self) -> bool {
        self.over.load(Ordering::Relaxed)
    }

    fn acted(&self) {
        self.acts.fetch_add(1, Ordering::Relaxed);
    }

    fn manager(&self) -> io::Result<Lines> {
        connect(self.manager)
    }

    fn any_peer(&self) -> (u64, SocketAddr) {
        self.peers[rand::random_range(0..self.peers.len())]
    }

    fn film_id(&self) -> &str {
        self.film.0["id"].as_str().unwrap()
    }
}

/// An attack, once.
pub(crate) type Attack = fn(&Arc<Scene>) -> io::Result<()>;

/// Attacks that are under way until this is dropped.
pub(crate) struct Attackers {
    scene: Arc<Scene>,
    threads: Vec<JoinHandle<()>>,
}

impl Attackers {
    /// Starts them, and gives those that pretend to be peers the time to be examined.
    pub(crate) fn start(manager: SocketAddr, attacks: &[Attack]) -> Self {
        let scene = Arc::new(Scene::look(manager));
        let mut threads = Vec::new();
        for attack in attacks {
            let (scene, attack) = (Arc::clone(&scene), *attack);
            threads.push(thread::spawn(move || {
                while !scene.is_over() {
                    let _ = attack(&scene);
                    scene.acted();
                    thread::sleep(PAUSE);
                }
            }));
        }
        thread::sleep(Duration::from_millis(400));
        Self { scene, threads }
    }

    /// Ends them; gives how often they did something.
    pub(crate) fn end(self) -> usize {
        self.scene.acts.load(Ordering::Relaxed)
    }
}

impl Drop for Attackers {
    fn drop(&mut self) {
        self.scene.over.store(true, Ordering::Relaxed);
        self.threads.drain(..).for_each(|thread| _ = thread.join());
    }
}

fn connect(addr: SocketAddr) -> io::Result<Lines> {
    let lines = Lines::connect(addr)?;
    lines.stream().set_read_timeout(Some(WAIT))?;
    lines.stream().set_write_timeout(Some(WAIT))?;
    Ok(lines)
}

fn say(lines: &mut Lines, message: &Value) -> io::Result<()> {
    lines.say(&format!("{message}\n"))
}

/// Says something, and hears what comes back.
fn ask(lines: &mut Lines, message: &Value) -> io::Result<Value> {
    say(lines, message)?;
    let line = lines.hear()?;
    serde_json::from_str(line).map_err(|_| ErrorKind::UnexpectedEof.into())
}

/// A name that nobody has.
fn name() -> String {
    format!("eve-{:08x}", rand::random::<u32>())
}

fn made_up_key() -> String {
    (0..4).map(|_| format!("{:016x}", rand::random::<u64>())).collect()
}

/// What the manager says about the film, and the hashes of its pieces.
fn query(manager: SocketAddr, who: Option<&Value>) -> io::Result<(Value, Vec<u8>)> {
    let mut lines = connect(manager)?;
    let mut query = json!({"type": "query", "file": "film", "has": true});
    if let Some(who) = who {
        (query["peer"], query["token"]) = (who["peer"].clone(), who["token"].clone());
    }
    let holders = ask(&mut lines, &query)?;
    let mut hashes = vec![0; holders["payload"].as_u64().unwrap_or(0) as usize];
    lines.read_exact(&mut hashes)?;
    Ok((holders, hashes))
}

// Pretended peers.

/// How a pretended peer answers on one connection, whose first line was read.
type Serve = fn(&Scene, &mut Lines, Value) -> io::Result<()>;

/// Registers a peer; gives its conversation with the manager, and what it was told.
fn join(scene: &Scene, addr: SocketAddr, slots: usize) -> io::Result<(Lines, Value)> {
    let mut lines = scene.manager()?;
    lines.say(&register(&name(), addr, slots))?;
    let registered: Value = serde_json::from_str(lines.hear()?).unwrap_or_default();
    if registered["type"] == "registered" {
        Ok((lines, registered))
    } else {
        Err(ErrorKind::ConnectionRefused.into())
    }
}

/// Answers pings, and gives back slots as an honest peer does, until the attack is over.
fn stay(scene: &Scene, mut lines: Lines) -> io::Result<()> {
    lines.stream().set_read_timeout(Some(Duration::from_millis(100)))?;
    while !scene.is_over() {
        let heard = match lines.hear() {
            Ok("") => return Ok(()),
            Ok(line) => serde_json::from_str::<Value>(line).unwrap_or_default(),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(e) => return Err(e),
        };
        match heard["type"].as_str().unwrap_or_default() {
            "ping" => say(&mut lines, &json!({"type": "ok"}))?,
            "unbind" => say(&mut lines, &json!({"type": "unbound", "lease": heard["lease"]}))?,
            _ => {}
        }
    }
    Ok(())
}

/// A peer that pretends, with so many slots, until the attack is over.
fn pretend(scene: &Arc<Scene>, slots: usize, lists_film: bool, serve: Serve) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let addr = listener.local_addr()?;
    listener.set_nonblocking(true)?;
    let accepting = Arc::clone(scene);
    let accept = thread::spawn(move || {
        while !accepting.is_over() {
            let Ok((stream, _)) = listener.accept() else {
                thread::sleep(PAUSE);
                continue;
            };
            let scene = Arc::clone(&accepting);
            spawn(move || _ = hear_first(&scene, stream, serve));
        }
    });
    let (lines, who) = join(scene, addr, slots)?;
    if lists_film {
        claim_film(scene, &who)?;
    }
    let stayed = stay(scene, lines);
    if scene.is_over() {
        let _ = accept.join();
    }
    stayed
}

fn hear_first(scene: &Scene, stream: TcpStream, serve: Serve) -> io::Result<()> {
    stream.set_nonblocking(false)?;
    let mut lines = Lines::new(stream);
    let first = serde_json::from_str(lines.hear()?).unwrap_or_default();
    serve(scene, &mut lines, first)
}

/// Says in a peer's name that it has all of the film.
fn claim_film(scene: &Scene, who: &Value) -> io::Result<()> {
    let (film, hashes) = &scene.film;
    let mut lines = scene.manager()?;
    let update = json!({"type": "update", "peer": who["peer"], "token": who["token"], "file": "film",
        "size": film["size"], "piece_size": film["piece_size"], "whole": true, "payload": hashes.len()});
    say(&mut lines, &update)?;
    lines.write_all(hashes)?;
    lines.hear().map(drop)
}

/// What a liar makes of a product: the header and the numbers, to be changed; false if the connection is to end.
type Lie = fn(&mut Value, &mut Vec<f64>, &mut Lines) -> io::Result<bool>;

/// Answers products on one connection: small ones rightly, others with a lie.
fn serve_products(
    scene: &Scene,
    lines: &mut Lines,
    first: Value,
    lies_to_examiners: bool,
    lie: Lie,
) -> io::Result<()> {
    let mut asked = first;
    while asked["type"] == "multiply" {
        let side = |name: &str| asked[name].as_u64().unwrap_or(0) as usize;
        let (rows, inner, cols) = (side("rows"), side("inner"), side("cols"));
        // Others here are hostile, too.
        let is_sane = rows.max(inner).max(cols) < 1 << 12;
        if !is_sane || side("payload") != 8 * (rows * inner + inner * cols) {
            return Ok(());
        }
        let mut bytes = vec![0; side("payload")];
        lines.read_exact(&mut bytes)?;
        let mut header = json!({"type": "product", "product": asked["product"], "rows": rows, "cols": cols,
            "payload": 8 * rows * cols});
        // Where nobody will look closely, it need not compute.
        let mut c = if bytes.len() <= EXAM {
            product(&numbers(&bytes), rows, inner, cols)
        } else {
            vec![1.0; rows * cols]
        };
        if lies_to_examiners || bytes.len() > EXAM {
            scene.acted();
            if !lie(&mut header, &mut c, lines)? {
                return Ok(());
            }
        }
        say(lines, &header)?;
        lines.write_all(bytemuck::cast_slice(&c))?;
        asked = serde_json::from_str(lines.hear()?).map_err(|_| ErrorKind::UnexpectedEof)?;
    }
    Ok(())
}

fn product(numbers: &[f64], rows: usize, inner: usize, cols: usize) -> Vec<f64> {
    let (a, b) = numbers.split_at(rows * inner);
    let entry = |at: usize| (0..inner).map(|i| a[at / cols * inner + i] * b[i * cols + at % cols]).sum();
    (0..rows * cols).map(entry).collect()
}

/// Says nothing for as long as anybody could wait.
fn fall_silent(lines: &mut Lines) -> io::Result<bool> {
    lines.stream().set_read_timeout(Some(Duration::from_secs(120)))?;
    let _ = lines.hear();
    Ok(false)
}

/// Sends one byte a second, as often as anybody could wait for.
fn drip(lines: &mut Lines, bytes: &[u8]) -> io::Result<()> {
    for byte in bytes.iter().take(120) {
        lines.write_all(&[*byte])?;
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// A peer of four slots that lies in this way about every product that is not an examination.
macro_rules! liar {
    ($slots:expr, $examined:expr, $lie:expr) => {
        |scene| {
            pretend(scene, $slots, false, |scene, lines, first| {
                serve_products(scene, lines, first, $examined, $lie)
            })
        }
    };
}

/// Four phantoms of 1,024 slots each, at addresses where this listens or not.
fn phantoms(scene: &Arc<Scene>, listens: bool, serve: Serve) -> io::Result<()> {
    thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                if listens {
                    return pretend(scene, 1024, false, serve);
                }
                // An address that was free a moment ago.
                let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
                let (lines, _) = join(scene, addr, 1024)?;
                stay(scene, lines)
            });
        }
    });
    Ok(())
}

/// Answers one that wants pieces of the film: it may have them all, and each request is answered by `send`.
fn serve_pieces(
    scene: &Scene,
    lines: &mut Lines,
    first: &Value,
    send: fn(&Scene, &mut Lines, u64, usize) -> io::Result<()>,
) -> io::Result<()> {
    if first["type"] != "join" {
        return Ok(());
    }
    let film = |name: &str| scene.film.0[name].as_u64().unwrap() as usize;
    let pieces = film("size").div_ceil(film("piece_size"));
    let mut bits = vec![0xff_u8; pieces.div_ceil(8)];
    if let Some(last) = bits.last_mut().filter(|_| pieces % 8 > 0) {
        *last <<= 8 - pieces % 8;
    }
    say(lines, &json!({"type": "bitfield", "payload": bits.len()}))?;
    lines.write_all(&bits)?;
    lines.stream().set_read_timeout(Some(Duration::from_secs(60)))?;
    loop {
        let heard: Value = serde_json::from_str(lines.hear()?).map_err(|_| ErrorKind::UnexpectedEof)?;
        match heard["type"].as_str().unwrap_or_default() {
            "interested" => say(lines, &json!({"type": "unchoke"}))?,
            "request" => {
                let piece = heard["piece"].as_u64().unwrap_or(0);
                let left = film("size") - (piece as usize * film("piece_size")).min(film("size"));
                scene.acted();
                send(scene, lines, piece, left.min(film("piece_size")))?;
            }
            _ => {}
        }
    }
}

macro_rules! piece_liar {
    ($send:expr) => {
        |scene| pretend(scene, 0, true, |scene, lines, first| serve_pieces(scene, lines, &first, $send))
    };
}

fn announce_piece(lines: &mut Lines, piece: u64, payload: usize) -> io::Result<()> {
    say(lines, &json!({"type": "piece", "piece": piece, "payload": payload}))
}

// Those that are no peers.

/// Speaks to the manager in the name of an honest peer, with a token that is made up, or none.
fn in_anothers_name(scene: &Arc<Scene>) -> io::Result<()> {
    let (peer, addr) = scene.any_peer();
    let mut former = serde_json::from_str::<Value>(&register("p0", addr, 4)).unwrap_or_default();
    former["former"] = json!({"peer": peer, "token": made_up_key()});
    for mut message in [
        json!({"type": "drop", "file": "film"}),
        json!({"type": "query", "file": "film"}),
        json!({"type": "lease", "slots": 7}),
        json!({"type": "update", "file": "film", "size": 0, "piece_size": 1024, "whole": true, "payload": 0}),
        former,
    ] {
        if message["type"] != "register" {
            message["peer"] = json!(peer);
            if rand::random() {
                message["token"] = json!(made_up_key());
            }
        }
        ask(&mut scene.manager()?, &message)?;
    }
    Ok(())
}

fn multiply(slot: SocketAddr, lease: &Value, key: &Value, side: u64) -> io::Result<Lines> {
    let mut lines = connect(slot)?;
    let payload = 16 * side * side;
    say(
        &mut lines,
        &json!({"type": "multiply", "lease": lease, "key": key, "product": 0, "rows": side,
        "inner": side, "cols": side, "payload": payload}),
    )?;
    Ok(lines)
}

/// Asks for products under leases of others, whose numbers the board shows.
fn stolen_leases(scene: &Arc<Scene>) -> io::Result<()> {
    let state = ask(&mut scene.manager()?, &json!({"type": "state"}))?;
    let mut lease = json!(scene.peers[0].0);
    for row in state["leases"].as_array().into_iter().flatten() {
        lease = row["lease"].clone();
    }
    let mut lines = multiply(scene.any_peer().1, &lease, &json!(made_up_key()), 4)?;
    lines.write_all(&[0; 256])?;
    lines.hear().map(drop)
}

/// A lease of one slot, and its first slot.
fn lease(scene: &Scene, slots: u32) -> io::Result<(Lines, Value)> {
    let mut lines = scene.manager()?;
    say(&mut lines, &json!({"type": "lease", "slots": slots}))?;
    loop {
        let heard: Value = serde_json::from_str(lines.hear()?).map_err(|_| ErrorKind::UnexpectedEof)?;
        match heard["type"].as_str().unwrap_or_default() {
            "leased" => return Ok((lines, heard)),
            "wait" => say(&mut lines, &json!({"type": "ok"}))?,
            _ => return Err(ErrorKind::ConnectionRefused.into()),
        }
    }
}

/// Uses the key of a lease that it gave back: for that lease, and for another.
fn replayed_keys(scene: &Arc<Scene>) -> io::Result<()> {
    let (mut lines, leased) = lease(scene, 1)?;
    say(&mut lines, &json!({"type": "release"}))?;
    lines.hear()?;
    let slot = &leased["slots"][0];
    let addr = slot["addr"].as_str().unwrap_or_default().parse().map_err(|_| ErrorKind::InvalidData)?;
    for later in 0..3 {
        let number = leased["lease"].as_u64().unwrap_or(0) + later;
        let mut lines = multiply(addr, &json!(number), &slot["key"], 4)?;
        lines.write_all(&[0; 256])?;
        lines.hear()?;
    }
    Ok(())
}

/// Holds slots for a moment, and blames everybody for nothing.
fn false_blames(scene: &Arc<Scene>) -> io::Result<()> {
    let (mut lines, leased) = lease(scene, 3)?;
    for slot in leased["slots"].as_array().into_iter().flatten() {
        say(&mut lines, &json!({"type": "blame", "peer": slot["peer"], "reason": "it is too honest"}))?;
    }
    say(&mut lines, &json!({"type": "release"}))?;
    lines.hear().map(drop)
}

/// Drops what it may not drop.
fn false_drops(scene: &Arc<Scene>) -> io::Result<()> {
    let mut lines = scene.manager()?;
    ask(&mut lines, &json!({"type": "drop", "file": "film"}))?;
    let at = u64::MAX >> 12;
    ask(&mut lines, &json!({"type": "drop", "file": "film", "id": scene.film_id(), "at": at}))?;
    let addr = scene.any_peer().1;
    ask(&mut connect(addr)?, &json!({"type": "drop", "file": "film", "id": scene.film_id()})).map(drop)
}

/// A registered peer that says that it has what it has not: the film at an address where nobody listens, other bytes
/// under its name, and many names.
fn false_updates(scene: &Arc<Scene>) -> io::Result<()> {
    let addr = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let (lines, who) = join(scene, addr, 0)?;
    claim_film(scene, &who)?;
    let mut told = scene.manager()?;
    for n in 0..100 {
        let file = if n % 2 == 0 { "film".to_owned() } else { name() };
        let update = json!({"type": "update", "peer": who["peer"], "token": who["token"], "file": file,
            "size": 1, "piece_size": 1024, "whole": true, "published": 9_000_000_000_000_u64, "payload": 32});
        say(&mut told, &update)?;
        told.write_all(&[7; 32])?;
        told.hear()?;
    }
    drop(lines);
    Ok(())
}

/// Wants pieces in another's name, with a made-up pass, and with its own for another file.
fn passes_of_others(scene: &Arc<Scene>) -> io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (_lines, who) = join(scene, listener.local_addr()?, 0)?;
    let (found, _) = query(scene.manager, Some(&who))?;
    for holder in found["holders"].as_array().into_iter().flatten() {
        let Some(addr) = holder["addr"].as_str().and_then(|addr| addr.parse().ok()) else { continue };
        let victim = scene.any_peer().0;
        for pass in [json!(made_up_key()), holder["pass"].clone()] {
            let join =
                json!({"type": "join", "peer": victim, "file": "film", "id": scene.film_id(), "pass": pass});
            ask(&mut connect(addr)?, &join)?;
        }
    }
    Ok(())
}

/// Bytes that are no message, to the manager and to a peer.
fn garbage(scene: &Arc<Scene>) -> io::Result<()> {
    let mut bytes = vec![0; 20_000];
    rand::rng().fill_bytes(&mut bytes);
    for addr in [scene.manager, scene.any_peer().1] {
        let mut lines = connect(addr)?;
        lines.write_all(&bytes)?;
        let _ = lines.hear();
    }
    Ok(())
}

/// Lines that are never ended, on many connections.
fn half_lines(scene: &Arc<Scene>) -> io::Result<()> {
    let mut open = Vec::new();
    for n in 0..100 {
        let addr = if n % 2 == 0 { scene.manager } else { scene.any_peer().1 };
        let mut lines = connect(addr)?;
        lines.write_all(b"{\"type\":\"regi")?;
        open.push(lines);
    }
    thread::sleep(WAIT);
    Ok(())
}

/// A message that comes one byte a second.
fn slow_lines(scene: &Arc<Scene>) -> io::Result<()> {
    let mut open: Vec<Lines> = Vec::new();
    for addr in scene.peers.iter().map(|(_, addr)| *addr).chain([scene.manager; 20]) {
        open.push(connect(addr)?);
    }
    for byte in b"{\"type\":\"state\"}\n" {
        open.retain_mut(|lines| lines.write_all(&[*byte]).is_ok());
        if scene.is_over() {
            break;
        }
        thread::sleep(Duration::from_secs(1));
    }
    Ok(())
}

/// Announces as much as can be, and sends next to nothing: hashes to the manager, operands to a peer under a lease of
/// its own.
fn huge_payloads(scene: &Arc<Scene>) -> io::Result<()> {
    let mut lines = scene.manager()?;
    say(
        &mut lines,
        &json!({"type": "update", "file": "x", "size": 1_u64 << 40, "piece_size": 1 << 20,
        "whole": true, "payload": 2 << 20}),
    )?;
    let (_holder, leased) = lease(scene, 1)?;
    let slot = &leased["slots"][0];
    let addr = slot["addr"].as_str().unwrap_or_default().parse().map_err(|_| ErrorKind::InvalidData)?;
    let mut wants = multiply(addr, &leased["lease"], &slot["key"], 16_000)?;
    wants.write_all(&[0; 1000])?;
    let _ = wants.hear();
    let _ = multiply(addr, &leased["lease"], &slot["key"], 1 << 31)?.hear();
    Ok(())
}

/// Requests of HTTP that are wrong, large, slow or many.
fn http_attacks(scene: &Arc<Scene>) -> io::Result<()> {
    let peer = scene.any_peer().1;
    let large = format!("GET / HTTP/1.1\r\nHost: localhost\r\nX: {}\r\n\r\n", "x".repeat(60_000));
    let ranges = format!(
        "GET /data/film HTTP/1.1\r\nHost: localhost\r\nRange: bytes={}0-\r\n\r\n",
        "0-,".repeat(4_000)
    );
    for (addr, request) in [
        (scene.manager, large.as_str()),
        (peer, large.as_str()),
        (peer, ranges.as_str()),
        (peer, "GET /data/../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (peer, "GET /data/%2e%2e%2f%2e%2e%2fetc%2fpasswd HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (peer, "POST /data/film HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999\r\n\r\n"),
        (peer, "GET /data/film HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (scene.manager, "GET /state HTTP/1.1\r\nHost: evil.example\r\n\r\n"),
        (
            scene.manager,
            "GET /state HTTP/1.1\r\nHost: localhost\r\n\r\nGET /state HTTP/1.1\r\nHost: localhost\r\n\r\n",
        ),
        (scene.manager, "GET /files/?sort=size HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (scene.manager, "GET /files/film.meta4 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (scene.manager, "GET /\r\n"),
        (scene.manager, "GET / HTTP/9.9\r\n: \r\n\r\n"),
    ] {
        let mut lines = connect(addr)?;
        // What it is answered is not even read to its end.
        if lines.write_all(request.as_bytes()).is_ok() {
            let _ = lines.hear();
        }
    }
    Ok(())
}

/// Wants pieces on as many connections as it can get, and takes none.
fn idle_joins(scene: &Arc<Scene>) -> io::Result<()> {
    let mut open = Vec::new();
    for _ in 0..100 {
        let mut lines = connect(scene.any_peer().1)?;
        say(&mut lines, &json!({"type": "join", "file": "film", "id": scene.film_id()}))?;
        say(&mut lines, &json!({"type": "interested", "on": true}))?;
        open.push(lines);
    }
    thread::sleep(WAIT);
    Ok(())
}

/// Wants slots on many connections, and gives them back at once.
fn many_places(scene: &Arc<Scene>) -> io::Result<()> {
    let mut open = Vec::new();
    for _ in 0..50 {
        let mut lines = scene.manager()?;
        say(&mut lines, &json!({"type": "lease", "slots": 7}))?;
        open.push(lines);
    }
    for lines in &mut open {
        for _ in 0..3 {
            match lines.hear()? {
                line if line.starts_with("{\"type\":\"wait\"") => lines.say("{\"type\":\"ok\"}\n")?,
                line if line.starts_with("{\"type\":\"leased\"") => lines.say("{\"type\":\"release\"}\n")?,
                _ => break,
            }
        }
    }
    Ok(())
}

/// Every kind, by its name.
pub(crate) const ATTACKS: [(&str, Attack); 37] = [
    (
        "product with one wrong entry",
        liar!(4, false, |_, c, _| {
            c[0] += 1.0;
            Ok(true)
        }),
    ),
    (
        "wrong in examinations too",
        liar!(4, true, |_, c, _| {
            c[0] += 1.0;
            Ok(true)
        }),
    ),
    (
        "product of zeros",
        liar!(4, false, |_, c, _| {
            c.fill(0.0);
            Ok(true)
        }),
    ),
    (
        "product of NaN",
        liar!(4, false, |_, c, _| {
            c.fill(f64::NAN);
            Ok(true)
        }),
    ),
    (
        "product of another shape",
        liar!(4, false, |header, c, _| {
            (header["rows"], header["cols"], header["payload"]) = (json!(1), json!(1), json!(8));
            c.truncate(1);
            Ok(true)
        }),
    ),
    (
        "product with another number",
        liar!(4, false, |header, _, _| {
            header["product"] = json!(999);
            Ok(true)
        }),
    ),
    (
        "product with too large a payload",
        liar!(4, false, |header, _, _| {
            header["payload"] = json!(1_u64 << 40);
            Ok(true)
        }),
    ),
    (
        "half a product",
        liar!(4, false, |header, c, lines| {
            say(lines, header)?;
            lines.write_all(&bytemuck::cast_slice(c)[..4 * c.len()])?;
            Ok(false)
        }),
    ),
    (
        "half a product and then silence",
        liar!(4, false, |header, c, lines| {
            say(lines, header)?;
            lines.write_all(&bytemuck::cast_slice(c)[..4 * c.len()])?;
            fall_silent(lines)
        }),
    ),
    (
        "garbage as product",
        liar!(4, false, |_, _, lines| {
            lines.write_all(b"\x01\xff garbage\n")?;
            Ok(false)
        }),
    ),
    ("end in place of a product", liar!(4, false, |_, _, _| Ok(false))),
    ("silence in place of a product", liar!(4, false, |_, _, lines| fall_silent(lines))),
    (
        "product at a byte a second",
        liar!(4, false, |header, c, lines| {
            say(lines, header)?;
            drip(lines, bytemuck::cast_slice(c))?;
            Ok(false)
        }),
    ),
    ("phantoms without a listener", |scene| phantoms(scene, false, |_, _, _| Ok(()))),
    ("phantoms that listen", |scene| phantoms(scene, true, |_, lines, _| fall_silent(lines).map(drop))),
    ("phantoms that pass one examination", |scene| {
        phantoms(scene, true, |scene, lines, first| {
            serve_products(scene, lines, first, false, |_, _, lines| fall_silent(lines))
        })
    }),
    (
        "wrong pieces",
        piece_liar!(|_, lines, piece, size| {
            announce_piece(lines, piece, size)?;
            lines.write_all(&vec![7; size])
        }),
    ),
    (
        "short pieces",
        piece_liar!(|_, lines, piece, size| {
            announce_piece(lines, piece, size - 1)?;
            lines.write_all(&vec![7; size - 1])
        }),
    ),
    (
        "other pieces",
        piece_liar!(|_, lines, piece, size| {
            announce_piece(lines, piece + 1, size)?;
            lines.write_all(&vec![7; size])
        }),
    ),
    ("garbage as pieces", piece_liar!(|_, lines, _, _| lines.write_all(b"\x01\xff garbage\n"))),
    ("silence in place of pieces", piece_liar!(|_, lines, _, _| fall_silent(lines).map(drop))),
    (
        "pieces at a byte a second",
        piece_liar!(|_, lines, piece, size| {
            announce_piece(lines, piece, size)?;
            drip(lines, &vec![7; size])
        }),
    ),
    (
        "chokes at each request",
        piece_liar!(|_, lines, _, _| {
            say(lines, &json!({"type": "choke"}))?;
            thread::sleep(PAUSE);
            say(lines, &json!({"type": "unchoke"}))
        }),
    ),
    ("another's number", in_anothers_name),
    ("stolen lease numbers", stolen_leases),
    ("replayed keys", replayed_keys),
    ("passes of others", passes_of_others),
    ("false blames", false_blames),
    ("false drops", false_drops),
    ("false updates", false_updates),
    ("garbage on the port", garbage),
    ("half lines", half_lines),
    ("lines at a byte a second", slow_lines),
    ("huge payloads announced", huge_payloads),
    ("attacks by HTTP", http_attacks),
    ("joins that take nothing", idle_joins),
    ("many places in the queue", many_places),
];
