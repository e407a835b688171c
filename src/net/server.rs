//! A listener: an accept loop, a named thread for each connection, and an orderly stop.
//!
//! # The rule
//! Every connection gets a thread of its own, so a slow one delays nobody. There are bounds to that:
//! at most [`limits::CONNECTIONS`] at once, and one more is told `busy` in words. Running out of
//! descriptors or threads costs the new connection, never the old ones, and never the loop: an accept
//! that fails would fail again at once, so the loop rests for a moment before it goes on.
//!
//! Nobody is served before he has said something. Browsers open connections in advance, and some people open
//! thousands only to take the places of others. Such a connection ends after [`limits::FIRST_MESSAGE_TIME`],
//! and where there are more than [`limits::SILENT`] of them, the oldest ends at once.
//!
//! # How it stops
//! A flag is set and the server connects to itself, which wakes `accept`. Every open socket is closed,
//! which wakes its reader. Then all threads are joined: after [`Server::stop`] no conversation goes on.

use std::collections::{BTreeSet, HashMap};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use log::{debug, warn};
use parking_lot::Mutex;
use socket2::{Domain, Socket, Type};

use super::connection::{Connection, Received};
use super::limits;
use crate::error::{Code, Error, Kind, Result};
use crate::thread::{self, Thread};

/// How long the accept loop rests when `accept` itself fails.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// How many connections too many are refused in words at the same time.
const REFUSALS: usize = 64;

/// What is done with a connection; an error that it returns is told to the other side.
type Serve = dyn Fn(&mut Connection) -> Result<()> + Send + Sync;

/// A running listener; dropping it stops it.
#[derive(Debug)]
pub struct Server {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accept: Option<Thread>,
}

#[derive(Debug, Default)]
struct Shared {
    stopping: AtomicBool,
    open: Mutex<Open>,
}

/// The conversations that are being served: how to end each, and its thread.
#[derive(Debug, Default)]
struct Open {
    next: u64,
    conversations: HashMap<u64, (Arc<TcpStream>, Option<Thread>)>,
    /// Those of them in which nothing was said yet; the numbers grow, so the first is the oldest.
    silent: BTreeSet<u64>,
}

impl Open {
    /// Takes in a new conversation; ends the oldest silent one where there are too many.
    fn enter(&mut self, stream: &Arc<TcpStream>) -> u64 {
        let id = self.next;
        self.next += 1;
        self.conversations.insert(id, (Arc::clone(stream), None));
        self.silent.insert(id);
        if self.silent.len() > limits::SILENT
            && let Some(oldest) = self.silent.pop_first()
            && let Some((stream, _)) = self.conversations.get(&oldest)
        {
            let _ = stream.shutdown(Shutdown::Both);
        }
        id
    }

    fn leave(&mut self, id: u64) {
        self.conversations.remove(&id);
        self.silent.remove(&id);
    }
}

/// Listens on `addr`; port 0 takes any free port.
///
/// # Errors
/// When the address is not one of this machine's, or the port is in use.
pub fn listen(addr: SocketAddr) -> Result<TcpListener> {
    let bind = || -> io::Result<TcpListener> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(limits::BACKLOG)?;
        Ok(socket.into())
    };
    bind().map_err(|e| {
        let advice = match e.kind() {
            io::ErrorKind::AddrInUse => "stop the program that has this port, or give another --listen",
            io::ErrorKind::PermissionDenied => {
                "ports below 1024 are not for everybody: give another --listen"
            }
            _ => "give an address of this machine with --listen",
        };
        Error::failed(format!("cannot listen on {addr}")).because(e).advise(advice)
    })
}

impl Server {
    /// Serves every connection to `listener` with `serve`, each in a thread called `name`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        name: &'static str,
        listener: TcpListener,
        serve: impl Fn(&mut Connection) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let failed = |e| Error::failed("cannot start the server").because(e);
        let addr = listener.local_addr().map_err(failed)?;
        let shared = Arc::new(Shared::default());
        let accept = {
            let shared = Arc::clone(&shared);
            let serve: Arc<Serve> = Arc::new(serve);
            thread::start("accept_loop", move || accept_loop(name, &listener, &shared, &serve))?
        };
        Ok(Self { addr, shared, accept: Some(accept) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends every conversation and joins every thread; calling it again does nothing.
    pub fn stop(&mut self) {
        let Some(accept) = self.accept.take() else { return };
        self.shared.stopping.store(true, Ordering::SeqCst);
        // A listener on every interface is reached over loopback. Whether this connects or not, the
        // loop wakes: a listener whose backlog is full has connections to accept.
        let ip = match self.addr.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        let _ = TcpStream::connect_timeout(&(ip, self.addr.port()).into(), limits::CONNECT_TIME);
        drop(accept);
        let conversations = std::mem::take(&mut self.shared.open.lock().conversations);
        for (stream, _) in conversations.values() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        drop(conversations); // Which joins their threads.
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

fn accept_loop(name: &'static str, listener: &TcpListener, shared: &Arc<Shared>, serve: &Arc<Serve>) {
    let mut failing = false;
    loop {
        let accepted = listener.accept();
        if shared.stopping.load(Ordering::SeqCst) {
            return;
        }
        let begun = accepted
            .map_err(|e| Error::failed("accept failed").because(e))
            .and_then(|(stream, _)| begin(name, stream, shared, serve));
        // Said once, not twenty times a second for as long as it lasts.
        match begun {
            Ok(()) => failing = false,
            Err(e) => {
                if !failing {
                    warn!("cannot take another connection: {e}");
                }
                failing = true;
                std::thread::sleep(REST_AFTER_FAILURE);
            }
        }
    }
}

/// Starts the thread of one conversation.
fn begin(name: &'static str, stream: TcpStream, shared: &Arc<Shared>, serve: &Arc<Serve>) -> Result<()> {
    let Ok(mut connection) = Connection::accepted(stream) else {
        return Ok(()); // It is gone already, which is no failure of ours.
    };
    let mut open = shared.open.lock();
    let full = open.conversations.len() >= limits::CONNECTIONS;
    if open.conversations.len() >= limits::CONNECTIONS + REFUSALS {
        return Ok(()); // Closed without a word: words cost a thread too.
    }
    let id = open.enter(connection.stream());
    let spawned = {
        let (shared, serve) = (Arc::clone(shared), Arc::clone(serve));
        thread::start(name, move || {
            let conversation = Conversation { shared: &shared, id };
            if full {
                converse(connection, &refuse_full);
            } else if conversation.begins(&mut connection) {
                converse(connection, &*serve);
            }
        })
    };
    match spawned {
        Ok(thread) => {
            if let Some((_, place)) = open.conversations.get_mut(&id) {
                *place = Some(thread);
            }
            Ok(())
        }
        Err(e) => {
            open.leave(id);
            Err(e)
        }
    }
}

/// What is said to one connection too many.
fn refuse_full(_: &mut Connection) -> Result<()> {
    Err(Error::new(Code::Busy, format!("{} connections are open here", limits::CONNECTIONS))
        .advise("try again later"))
}

fn converse(mut connection: Connection, serve: &Serve) {
    let Err(error) = serve(&mut connection) else { return };
    debug!("{}: {error}", connection.other());
    // A connection that broke hears nothing; one that was refused is told why.
    if error.kind() != Kind::Wire(Code::Failed) {
        connection.refuse(&error);
        connection.linger();
    }
}

/// Takes its conversation off the list when the thread ends, also when it panics.
struct Conversation<'a> {
    shared: &'a Shared,
    id: u64,
}

impl Conversation<'_> {
    /// Waits until something is said; false when nothing is.
    fn begins(&self, connection: &mut Connection) -> bool {
        let first = connection.first_byte(Some(limits::FIRST_MESSAGE_TIME));
        self.shared.open.lock().silent.remove(&self.id);
        matches!(first, Ok(Received::Message(_)))
    }
}

impl Drop for Conversation<'_> {
    fn drop(&mut self) {
        self.shared.open.lock().leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Instant;

    use super::*;

    /// Answers every line, any JSON value, with the same line.
    fn echo() -> Server {
        let listener = listen(([127, 0, 0, 1], 0).into()).unwrap();
        Server::start("serve_echo", listener, |connection| {
            while let Received::Message(value) = connection.receive::<serde_json::Value>(None)? {
                connection.send(&value)?;
            }
            Ok(())
        })
        .unwrap()
    }

    fn say(server: &Server, bytes: &[u8]) -> String {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        stream.write_all(bytes).unwrap();
        stream.shutdown(Shutdown::Write).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_line_is_answered_and_the_end_is_clean() {
        assert_eq!(say(&echo(), b"[1]\n[2]\n"), "[1]\n[2]\n");
        assert_eq!(say(&echo(), b""), "");
    }

    #[test]
    fn torn_long_and_foreign_lines_are_named() {
        let server = echo();
        assert!(say(&server, b"[1").contains("a torn line"), "torn");
        let long = [b"[\"".to_vec(), vec![b'x'; 2 * limits::LINE]].concat();
        assert!(say(&server, &long).contains("a line longer than 65536 bytes"), "long");
        assert!(say(&server, b"hello\n").contains("not a message"), "foreign");
        assert!(say(&server, b"\xff\xfe\x00\n").contains("not a message"), "binary");
    }

    #[test]
    fn a_stopped_server_has_ended_every_conversation() {
        let mut server = echo();
        let mut silent: Vec<_> = (0..20).map(|_| TcpStream::connect(server.addr()).unwrap()).collect();
        let began = Instant::now();
        server.stop();
        assert!(began.elapsed() < Duration::from_secs(5));
        for stream in &mut silent {
            assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
        }
        assert!(TcpStream::connect(server.addr()).is_err(), "nobody listens any more");
        assert_eq!(Arc::strong_count(&server.shared), 1, "a thread is left");
    }

    #[test]
    fn the_oldest_of_too_many_silent_connections_ends_and_those_who_spoke_stay() {
        crate::cli::raise_descriptor_limit();
        let server = echo();
        let mut first = TcpStream::connect(server.addr()).unwrap();
        let mut speaker = TcpStream::connect(server.addr()).unwrap();
        speaker.write_all(b"[1]\n").unwrap();
        let mut answer = [0; 4];
        speaker.read_exact(&mut answer).unwrap();
        let silent: Vec<_> =
            (0..limits::SILENT).map(|_| TcpStream::connect(server.addr()).unwrap()).collect();
        assert_eq!(first.read(&mut [0]).unwrap(), 0, "the oldest is closed");
        // It was not the end of the time for a first message: the others are still there.
        assert_eq!(server.shared.open.lock().silent.len(), limits::SILENT);
        speaker.write_all(b"[2]\n").unwrap();
        speaker.read_exact(&mut answer).unwrap();
        assert_eq!(&answer, b"[2]\n");
        drop(silent);
    }

    #[test]
    fn a_port_in_use_is_said_with_what_to_do() {
        let server = echo();
        let text = listen(server.addr()).unwrap_err().to_string();
        assert!(text.contains("cannot listen on") && text.contains("--listen"), "{text}");
    }
}
