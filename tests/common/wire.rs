//! A plain client of the wire: one connection, lines of JSON as anybody could type them, raw payloads.

use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::sync::LazyLock;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use peerlab::net::message::VERSION;
use serde_json::{Value, json};

use super::node::{Node, other_program};
use super::{PATIENCE, until};

/// The tokens that managers have told, by the numbers of their peers.
static TOKENS: LazyLock<Mutex<HashMap<u64, Value>>> = LazyLock::new(Mutex::default);

/// What came on a connection.
#[derive(Debug, PartialEq)]
pub(crate) enum Heard {
    Line(Value),
    End,
    Silence,
}

/// A connection.
pub(crate) struct Wire {
    stream: TcpStream,
    unread: Vec<u8>,
    /// Bytes of a payload that nobody wants.
    skipping: usize,
    /// Bytes received in all.
    pub(crate) bytes: u64,
}

impl Wire {
    #[track_caller]
    pub(crate) fn connect(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect_timeout(&addr, PATIENCE);
        Self::new(stream.unwrap_or_else(|e| panic!("cannot connect to {addr}: {e}")))
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Self { stream, unread: Vec::new(), skipping: 0, bytes: 0 }
    }

    /// Registers a peer that listens at `addr`; gives its number.
    #[track_caller]
    pub(crate) fn register(manager: SocketAddr, name: &str, addr: SocketAddr, slots: u32) -> (Self, u64) {
        let mut wire = Self::connect(manager);
        wire.say(
            &json!({"type": "register", "version": VERSION, "name": name, "addr": addr, "slots": slots}),
        );
        let number = wire.hear("registered")["peer"].as_u64().unwrap();
        (wire, number)
    }

    /// Says one message. A request in the name of a peer that was registered by hand shows its token.
    #[track_caller]
    pub(crate) fn say(&mut self, message: &Value) {
        let mut message = message.clone();
        let asks = ["lease", "query", "update", "drop"].iter().any(|kind| message["type"] == *kind);
        if asks
            && message["token"].is_null()
            && let Some(token) = message["peer"].as_u64().and_then(|peer| TOKENS.lock().get(&peer).cloned())
        {
            message["token"] = token;
        }
        self.say_raw(format!("{message}\n").as_bytes());
    }

    /// Says one message, unless the other side is gone already.
    pub(crate) fn try_say(&mut self, message: &Value) -> bool {
        self.stream.write_all(format!("{message}\n").as_bytes()).is_ok()
    }

    /// Sends bytes, unless the other side is gone already.
    pub(crate) fn try_say_raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).is_ok()
    }

    #[track_caller]
    pub(crate) fn say_raw(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).unwrap();
    }

    /// Asks for slots, for somebody who is not registered.
    #[track_caller]
    pub(crate) fn ask(&mut self, slots: u32) {
        self.say(&json!({"type": "lease", "peer": 0, "slots": slots}));
    }

    /// Ends what is said; what is heard goes on.
    pub(crate) fn end(&self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Waits for a line, its end, or nothing for `wait`. A line that was torn by the end is the end.
    pub(crate) fn next(&mut self, wait: Duration) -> Heard {
        let deadline = Instant::now() + wait;
        loop {
            if let Some(at) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=at).collect();
                let text = String::from_utf8_lossy(&line);
                let heard: Value = serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
                if let ("registered", Some(peer)) =
                    (heard["type"].as_str().unwrap_or_default(), heard["peer"].as_u64())
                {
                    TOKENS.lock().insert(peer, heard["token"].clone());
                }
                return Heard::Line(heard);
            }
            match self.fill(deadline) {
                Ok(0) => return Heard::End,
                Ok(_) => {}
                Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return Heard::Silence;
                }
                Err(_) => return Heard::End,
            }
        }
    }

    fn fill(&mut self, deadline: Instant) -> std::io::Result<usize> {
        let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(left))?;
        let mut buffer = [0; 16 << 10];
        let n = self.stream.read(&mut buffer)?;
        self.unread.extend_from_slice(&buffer[..n]);
        self.bytes += n as u64;
        Ok(n)
    }

    /// Waits for a message of this type. On the way, pings and waits are answered, and lists and orders are passed
    /// over.
    #[track_caller]
    pub(crate) fn hear(&mut self, kind: &str) -> Value {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.next(end.saturating_duration_since(Instant::now())) {
                Heard::Line(message) if message["type"] == kind => return message,
                Heard::Line(message) => match message["type"].as_str().unwrap() {
                    "ping" | "wait" => drop(self.try_say(&json!({"type": "ok"}))),
                    "peers" | "fetch" => {}
                    _ => panic!("heard {message}, expected {kind}"),
                },
                other => panic!("heard {other:?}, expected {kind}"),
            }
        }
    }

    /// A line that has come already; the bytes of payloads between lines are read and thrown away.
    pub(crate) fn next_header(&mut self) -> Heard {
        loop {
            let room = self.skipping.min(self.unread.len());
            self.unread.drain(..room);
            self.skipping -= room;
            if self.skipping == 0 {
                break;
            }
            if !matches!(self.fill(Instant::now()), Ok(1..)) {
                return Heard::Silence;
            }
        }
        let heard = self.next(Duration::ZERO);
        if let Heard::Line(message) = &heard {
            self.skipping = message["payload"].as_u64().unwrap_or_default() as usize;
        }
        heard
    }

    /// Fails unless the other side has ended the conversation, whatever it said before.
    #[track_caller]
    pub(crate) fn hear_end(&mut self) {
        let end = Instant::now() + PATIENCE;
        loop {
            match self.next(end.saturating_duration_since(Instant::now())) {
                Heard::Line(_) => {}
                Heard::End => return,
                Heard::Silence => panic!("the connection is still open"),
            }
        }
    }

    /// Reads a payload; `None` when it does not come whole.
    pub(crate) fn payload(&mut self, bytes: usize) -> Option<Vec<u8>> {
        let deadline = Instant::now() + PATIENCE;
        while self.unread.len() < bytes {
            if self.fill(deadline).ok()? == 0 {
                return None;
            }
        }
        Some(self.unread.drain(..bytes).collect())
    }
}

/// Another way to the node at `inside`: what comes to `outside`. What is said on it passes through `look`, which may
/// change it.
pub(crate) fn detour(
    outside: TcpListener,
    inside: SocketAddr,
    look: impl Fn(&mut [u8]) + Clone + Send + 'static,
) {
    let carry = move |mut from: TcpStream, mut to: TcpStream| {
        let look = look.clone();
        thread::spawn(move || {
            let mut bytes = vec![0; 64 << 10];
            while let Ok(n @ 1..) = from.read(&mut bytes) {
                look(&mut bytes[..n]);
                if to.write_all(&bytes[..n]).is_err() {
                    break;
                }
            }
            to.shutdown(Shutdown::Write)
        });
    };
    thread::spawn(move || {
        for outer in outside.incoming().flatten() {
            let Ok(inner) = TcpStream::connect(inside) else { continue };
            carry(outer.try_clone().unwrap(), inner.try_clone().unwrap());
            carry(inner, outer);
        }
    });
}

/// A peer whose manager is the test, `peer serve` or any other: the peer, its conversation with the manager, its
/// address.
pub(crate) fn peer_of_mine(dir: &Path, slots: u32) -> (Node, Wire, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (manager, slots) = (listener.local_addr().unwrap().to_string(), slots.to_string());
    let options = ["--manager", &manager, "--name", "mine", "--slots", &slots, "--data", "mine"];
    std::fs::create_dir_all(dir.join("mine")).unwrap();
    let serve: &[&str] = if other_program("any peer").is_none() { &["serve"] } else { &[] };
    let mut peer = Node::start("any peer", dir, "debug", &[serve, &options].concat());
    listener.set_nonblocking(true).unwrap();
    let stream = until("the peer connects", PATIENCE, || {
        assert!(!peer.has_ended(), "{} ended before it registered", peer.name);
        listener.accept().ok()
    });
    stream.0.set_nonblocking(false).unwrap();
    let mut wire = Wire::new(stream.0);
    let register = wire.hear("register");
    let addr = register["addr"].as_str().unwrap().parse().unwrap();
    (peer, wire, addr)
}
