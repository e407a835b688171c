//! A peer that behaves as a test tells it: honest, lying, silent, or keeping what it should give back.
//!
//! It speaks the wire by hand, so it also measures: it counts what the manager binds, and what others ask
//! of it, against its slots.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use peerlab::matrix::{Matrix, strassen};
use serde_json::{Value, json};

use super::wire::{Heard, Wire};
use super::{PATIENCE, until};

/// What it answers when a product is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// The product.
    Right,
    /// The product with one wrong entry.
    Wrong,
    /// The same, but to an examination, which is small, the product.
    Sly,
    /// A product of another shape.
    OtherShape,
    /// A line that is no message.
    Garbage,
    /// Half the payload, then the end.
    Torn,
    /// The end of the connection at once.
    Nothing,
    /// Nothing, but the connection stays open, until [`FakePeer::set`] says something else.
    Silence,
    /// The product, but not before its lease was given more time or came to its end.
    Late,
}

/// How it behaves; may be changed while it runs.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Manners {
    pub(crate) answer: Answer,
    pub(crate) answers_pings: bool,
    pub(crate) says_unbound: bool,
}

/// How long a product may come before its lease is bound.
const BIND_LAG: Duration = Duration::from_millis(500);

/// Honest in everything.
pub(crate) const HONEST: Manners = Manners { answer: Answer::Right, answers_pings: true, says_unbound: true };

/// What it has seen.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    /// Leases that are bound now, with their slots.
    pub(crate) bound: BTreeMap<u64, u64>,
    /// Every lease that was ever bound, in order.
    pub(crate) granted: Vec<u64>,
    /// The most slots that were ever bound at once.
    pub(crate) most_bound: u64,
    /// Times the manager set for leases: one when it bound them, one for each renewal, one at the end.
    pub(crate) times: BTreeMap<u64, usize>,
    /// Products asked for.
    pub(crate) products: usize,
    /// Pings heard.
    pub(crate) pings: usize,
    /// Errors that the manager told, in words.
    pub(crate) told: Vec<String>,
    /// The names of the newest list, sorted.
    pub(crate) list: Vec<String>,
    /// Lists heard.
    pub(crate) lists: usize,
    /// The conversation with the manager has ended.
    pub(crate) ended: bool,
}

struct Shared {
    manners: Mutex<Manners>,
    seen: Mutex<Seen>,
    stopping: Mutex<bool>,
    streams: Mutex<Vec<TcpStream>>,
}

impl Shared {
    /// Whether a lease was bound here; it may be so in a moment. Else it is the manager who finds out whether somebody
    /// computes here, and is not deceived.
    fn is_bound(&self, lease: u64) -> bool {
        let end = Instant::now() + BIND_LAG;
        while !self.seen.lock().times.contains_key(&lease) {
            if Instant::now() > end {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
        true
    }

    /// How to answer a product of this lease, when it is time to; `None` when it never is.
    fn answer_in_time(&self, lease: u64) -> Option<Answer> {
        // A product may overtake the `bind` of its lease, which is no second time.
        let times = || self.seen.lock().times.get(&lease).copied().unwrap_or_default().max(1);
        let begun = times();
        let end = Instant::now() + PATIENCE;
        loop {
            let answer = self.manners.lock().answer;
            match answer {
                Answer::Silence => {}
                Answer::Late if times() == begun => {}
                _ => return Some(answer),
            }
            if *self.stopping.lock() || Instant::now() > end {
                return None;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

/// A running test double.
pub(crate) struct FakePeer {
    pub(crate) name: String,
    pub(crate) number: u64,
    pub(crate) addr: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl FakePeer {
    /// Listens, and registers with the manager.
    #[track_caller]
    pub(crate) fn join(manager: SocketAddr, name: &str, slots: u32, manners: Manners) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let (wire, number) = Wire::register(manager, name, addr, slots);
        let shared = Arc::new(Shared {
            manners: Mutex::new(manners),
            seen: Mutex::default(),
            stopping: Mutex::new(false),
            streams: Mutex::default(),
        });
        let threads = {
            let (accepting, listening) = (Arc::clone(&shared), Arc::clone(&shared));
            vec![
                thread::spawn(move || accept_loop(&listener, &accepting)),
                thread::spawn(move || listen_to_manager(wire, &listening)),
            ]
        };
        Self { name: name.into(), number, addr, shared, threads }
    }

    /// Changes how it behaves.
    pub(crate) fn set(&self, change: impl FnOnce(&mut Manners)) {
        change(&mut self.shared.manners.lock());
    }

    /// Looks at what it has seen.
    pub(crate) fn seen<R>(&self, look: impl FnOnce(&Seen) -> R) -> R {
        look(&self.shared.seen.lock())
    }

    /// Waits until what it has seen is as `wanted`.
    #[track_caller]
    pub(crate) fn sees(&self, what: &str, wanted: impl Fn(&Seen) -> bool) {
        until(&format!("{} sees {what}", self.name), PATIENCE, || self.seen(&wanted).then_some(()));
    }
}

impl Drop for FakePeer {
    fn drop(&mut self) {
        *self.shared.stopping.lock() = true;
        // Wakes `accept`.
        let _ = TcpStream::connect(self.addr);
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
        if thread::panicking() {
            eprintln!("---- fake peer {}: {:?}", self.name, self.shared.seen.lock());
        }
    }
}

fn listen_to_manager(mut wire: Wire, shared: &Shared) {
    let mut owed: Vec<u64> = Vec::new();
    while !*shared.stopping.lock() {
        let heard = wire.next(Duration::from_millis(20));
        let manners = *shared.manners.lock();
        let mut seen = shared.seen.lock();
        match heard {
            Heard::Silence => {}
            Heard::End => break,
            Heard::Line(message) => {
                let lease = message["lease"].as_u64();
                if let Some(lease) = lease {
                    *seen.times.entry(lease).or_default() += 1;
                }
                let lease = lease.unwrap_or_default();
                match message["type"].as_str().unwrap() {
                    "ping" => {
                        seen.pings += 1;
                        if manners.answers_pings {
                            wire.try_say(&json!({"type": "ok"}));
                        }
                    }
                    "bind" => {
                        if seen.bound.insert(lease, message["slots"].as_u64().unwrap()).is_none() {
                            seen.granted.push(lease);
                        }
                        let now = seen.bound.values().sum();
                        seen.most_bound = seen.most_bound.max(now);
                    }
                    "unbind" => owed.push(lease),
                    "error" => seen.told.push(message["text"].as_str().unwrap().into()),
                    "peers" => {
                        let names = message["peers"].as_array().unwrap().iter();
                        seen.list = names.map(|card| card["name"].as_str().unwrap().into()).collect();
                        seen.list.sort();
                        seen.lists += 1;
                    }
                    // It keeps no files.
                    "fetch" | "drop" => {}
                    other => panic!("not expected by a peer: {other}"),
                }
            }
        }
        if manners.says_unbound {
            for lease in owed.drain(..) {
                // Counted as free before it is said: whatever is bound after it comes later.
                seen.bound.remove(&lease);
                wire.try_say(&json!({"type": "unbound", "lease": lease}));
            }
        }
    }
    shared.seen.lock().ended = true;
}

fn accept_loop(listener: &TcpListener, shared: &Arc<Shared>) {
    let mut threads = Vec::new();
    while let Ok((stream, _)) = listener.accept() {
        if *shared.stopping.lock() {
            break;
        }
        shared.streams.lock().push(stream.try_clone().unwrap());
        let (ending, shared) = (stream.try_clone().unwrap(), Arc::clone(shared));
        threads.push(thread::spawn(move || {
            serve(Wire::new(stream), &shared);
            // Others have clones of it, so dropping it is not enough.
            let _ = ending.shutdown(Shutdown::Both);
        }));
    }
    for stream in shared.streams.lock().drain(..) {
        match stream.shutdown(Shutdown::Both) {
            Err(e) if e.kind() != ErrorKind::NotConnected => panic!("{e}"),
            _ => {}
        }
    }
    threads.into_iter().for_each(|thread| drop(thread.join()));
}

/// Answers products on one connection.
fn serve(mut wire: Wire, shared: &Shared) {
    while let Heard::Line(message) = wire.next(PATIENCE) {
        let size = |field: &str| message[field].as_u64().unwrap() as usize;
        let (rows, inner, cols) = (size("rows"), size("inner"), size("cols"));
        let Some(payload) = wire.payload(size("payload")) else { return };
        let lease = message["lease"].as_u64().unwrap();
        let answer = if shared.is_bound(lease) {
            shared.seen.lock().products += 1;
            let Some(answer) = shared.answer_in_time(lease) else { return };
            answer
        } else {
            Answer::Right
        };
        let mut c = product(&payload, rows, inner, cols);
        let mut header = json!({"type": "product", "product": message["product"], "rows": rows, "cols": cols, "payload": 8 * rows * cols});
        match answer {
            Answer::Right | Answer::Late | Answer::Silence => {}
            Answer::Sly if rows <= 8 => {}
            Answer::Wrong | Answer::Sly => c.as_mut_slice()[rows * cols / 2] += 1.0,
            Answer::OtherShape => {
                (header["rows"], header["cols"], header["payload"]) = (json!(1), json!(1), json!(8));
                c = Matrix::zeros(1, 1);
            }
            Answer::Garbage => {
                if !wire.try_say(&Value::String("\u{1}garbage".into())) {
                    return;
                }
                continue;
            }
            Answer::Nothing => return,
            Answer::Torn => {}
        }
        if !wire.try_say(&header) {
            return;
        }
        let bytes: &[u8] = bytemuck::cast_slice(c.as_slice());
        let bytes = if answer == Answer::Torn { &bytes[..bytes.len() / 2] } else { bytes };
        if !wire.try_say_raw(bytes) || answer == Answer::Torn {
            return;
        }
    }
}

fn product(payload: &[u8], rows: usize, inner: usize, cols: usize) -> Matrix {
    let numbers: Vec<f64> =
        payload.chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect();
    let (left, right) = numbers.split_at(rows * inner);
    let left = Matrix::from_vec(rows, inner, left.to_vec()).unwrap();
    let right = Matrix::from_vec(inner, cols, right.to_vec()).unwrap();
    let mut c = Matrix::zeros(rows, cols);
    strassen::multiply(left.view(), right.view(), c.as_mut_slice(), 1, &|| true).unwrap();
    c
}
