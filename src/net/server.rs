//! A listener: an accept loop, a named thread for each connection, and an orderly stop.
//!
//! # The rule
//! Every connection gets a thread of its own, so a slow one delays nobody. There are bounds to that:
//! at most [`limits::CONNECTIONS`] at once, half of them for strangers. One more takes the place of the one of its
//! party that has rested for longest, or of another party that has more (`net/places.rs`): so a program that opens
//! thousands ends its own. Where nobody gives way, the newcomer is told `busy` in words. Running out of descriptors or
//! threads costs the new connection, never the old ones, and never the loop: an accept that fails would fail again at
//! once, so the loop rests for a moment before it goes on.
//!
//! Browsers open connections in advance, and say nothing. Such a one ends after [`limits::FIRST_MESSAGE_TIME`]
//! (`net/http`).
//!
//! # How it stops
//! A flag is set and the listener is shut down, which wakes `accept`; that takes no descriptor, so it works where there
//! is none left. Every open socket is closed, which wakes its reader. Then all threads are joined: after
//! [`Server::stop`] no conversation goes on.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use log::{debug, warn};
use parking_lot::Mutex;

use super::admission::Admission;
use super::connection::{Connection, Writer};
use super::key::Key;
use super::limits;
use super::places::gives_way;
use crate::error::{Code, Error, Result};
use crate::thread::{self, Thread};

/// How long the accept loop rests when `accept` itself fails.
const REST_AFTER_FAILURE: Duration = Duration::from_millis(50);

/// How many connections too many are refused in words at the same time.
const REFUSALS: usize = 64;

/// What is done with a connection; an error that it returns is told to the other side.
type Serve = dyn Fn(&mut Connection) -> Result<()> + Send + Sync;

/// A running listener; dropping it stops it.
pub struct Server {
    addr: SocketAddr,
    open: Arc<Mutex<Open>>,
    accept: Mutex<Option<(Arc<TcpListener>, Thread)>>,
}

/// The conversations that are being served: how to end each, and its thread.
#[derive(Default)]
struct Open {
    stopping: bool,
    next: u64,
    conversations: BTreeMap<u64, (Writer, Thread)>,
    /// Those that gave way, until their threads have seen it.
    ending: BTreeMap<u64, Thread>,
}

impl Open {
    /// Sees to it that there is a place for a newcomer. One that gives way to it is closed, which wakes its thread.
    fn make_room(&mut self, newcomer: &Writer) -> Result<()> {
        let all = self.conversations.iter();
        let taken = all.map(|(&id, (writer, _))| (id, writer.party(), writer.occupant.useful()));
        let gone = gives_way(limits::CONNECTIONS, newcomer.party(), taken)?;
        if let Some((id, (writer, thread))) = gone.and_then(|id| self.conversations.remove_entry(&id)) {
            writer.close();
            self.ending.insert(id, thread);
        }
        Ok(())
    }

    fn leave(&mut self, id: u64) {
        self.conversations.remove(&id);
        self.ending.remove(&id);
    }
}

/// Listens on `addr`; port 0 takes any free port.
///
/// # Errors
/// A usage error where every program of other machines could join; and when the address is not one of this machine's,
/// or the port is in use.
pub fn listen(addr: SocketAddr, admission: &Admission) -> Result<TcpListener> {
    admission.allow(addr)?;
    let listener = TcpListener::bind(addr).and_then(|listener| {
        // Once more, for std has asked for a short queue.
        rustix::net::listen(&listener, limits::BACKLOG)?;
        Ok(listener)
    });
    listener.map_err(|e| cannot_listen(addr, e, "give another --listen"))
}

/// Why nobody can listen on `addr`, and what to do; `other` says how to choose another.
pub fn cannot_listen(addr: SocketAddr, cause: io::Error, other: &str) -> Error {
    let advice = match cause.kind() {
        ErrorKind::AddrInUse => {
            format!("stop the program that has this port, or {other}; port 0 is any free one")
        }
        ErrorKind::PermissionDenied => format!("ports below 1024 are not for everybody: {other}"),
        _ => format!("{other}: one of this machine, such as 127.0.0.1"),
    };
    Error::failed(format!("cannot listen on {addr}")).because(cause).advise(advice)
}

impl Server {
    /// Serves every connection to `listener` with `serve`, each in a thread called `name`; messages only of those that
    /// know the secret. Its own lines may be as long as `speaks`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        name: &'static str,
        listener: TcpListener,
        speaks: usize,
        secret: Option<Key>,
        serve: impl Fn(&mut Connection) -> Result<()> + Send + Sync + 'static,
    ) -> Result<Self> {
        let failed = |e| Error::failed("cannot start the server").because(e);
        let addr = listener.local_addr().map_err(failed)?;
        let open = Arc::<Mutex<Open>>::default();
        let host = Arc::new(Host { name, speaks, secret, serve: Box::new(serve), open: Arc::clone(&open) });
        let listener = Arc::new(listener);
        let accepts = Arc::clone(&listener);
        let accept = thread::start("accept_loop", move || accept_loop(&host, &accepts))?;
        Ok(Self { addr, open, accept: Mutex::new(Some((listener, accept))) })
    }

    /// Where it listens.
    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Ends every conversation and joins every thread; calling it again does nothing.
    pub fn stop(&self) {
        let Some((listener, accept)) = self.accept.lock().take() else { return };
        self.open.lock().stopping = true;
        // A socket that listens can be shut down; Linux wakes who waits for it.
        let _ = rustix::net::shutdown(&*listener, rustix::net::Shutdown::Both);
        drop((accept, listener));
        let Open { conversations, ending, .. } = std::mem::take(&mut *self.open.lock());
        conversations.values().for_each(|(writer, _)| writer.close());
        drop((conversations, ending)); // Which joins their threads.
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What the threads of a server share.
struct Host {
    name: &'static str,
    /// How long its lines may be.
    speaks: usize,
    secret: Option<Key>,
    serve: Box<Serve>,
    open: Arc<Mutex<Open>>,
}

fn accept_loop(host: &Arc<Host>, listener: &TcpListener) {
    let mut failing = false;
    loop {
        let accepted = listener.accept();
        if host.open.lock().stopping {
            return;
        }
        let begun = accepted
            .map_err(|e| Error::failed("accept failed").because(e))
            .and_then(|(stream, _)| begin(host, stream));
        // Said once, not twenty times a second for as long as it lasts.
        if let (Err(e), false) = (&begun, failing) {
            warn!("cannot take another connection: {e}");
        }
        failing = begun.is_err();
        if failing {
            std::thread::sleep(REST_AFTER_FAILURE);
        }
    }
}

/// Starts the thread of one conversation.
fn begin(host: &Arc<Host>, stream: TcpStream) -> Result<()> {
    let Ok(writer) = Writer::new(stream) else { return Ok(()) }; // It is gone already, which is no failure of ours.
    let mut open = host.open.lock();
    if open.conversations.len() + open.ending.len() >= limits::CONNECTIONS + REFUSALS {
        return Ok(()); // Closed without a word: words cost a thread too.
    }
    let (id, name, room) = (open.next, host.name, open.make_room(&writer));
    let (host, speaker) = (Arc::clone(host), writer.clone());
    // It cannot leave before it has entered: both take the lock that is held here.
    let thread = thread::start(name, move || Seat { host: &host, id }.converse(speaker, room))?;
    open.next += 1;
    open.conversations.insert(id, (writer, thread));
    Ok(())
}

/// The seat of a conversation, given back when its thread ends, also when it panics.
struct Seat<'a> {
    host: &'a Host,
    id: u64,
}

impl Seat<'_> {
    fn converse(&self, speaker: Writer, room: Result<()>) {
        let mut connection = Connection::accepted(speaker, self.host.speaks, self.host.secret.as_ref());
        let Err(error) = room.and_then(|()| (self.host.serve)(&mut connection)) else { return };
        debug!("{}: {error}", connection.other());
        // A connection that broke hears nothing; one that was refused is told why.
        if error.code() != Code::Failed {
            connection.refuse(&error);
            connection.linger();
        }
    }
}

impl Drop for Seat<'_> {
    fn drop(&mut self) {
        self.host.open.lock().leave(self.id);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::Shutdown;
    use std::time::Instant;

    use super::*;
    use crate::net::connection::Received;

    /// Answers every line, any JSON value, with the same line.
    fn echo() -> Server {
        let listener = listen(([127, 0, 0, 1], 0).into(), &Admission::default()).unwrap();
        Server::start("serve_echo", listener, limits::LINE, None, |connection| {
            while let Received::Message(value) = connection.receive::<serde_json::Value>(None)? {
                if value == "stay" {
                    connection.stays(7);
                }
                if value == "served" {
                    connection.stays(8);
                    connection.may_give_way();
                }
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
        assert_eq!(say(&echo(), b"\"1\"\n\"2\"\n"), "\"1\"\n\"2\"\n");
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
        let server = echo();
        let mut silent: Vec<_> = (0..20).map(|_| TcpStream::connect(server.addr()).unwrap()).collect();
        let began = Instant::now();
        server.stop();
        assert!(began.elapsed() < Duration::from_secs(5));
        for stream in &mut silent {
            assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0);
        }
        assert!(TcpStream::connect(server.addr()).is_err(), "nobody listens any more");
        assert_eq!(Arc::strong_count(&server.open), 1, "a thread is left");
    }

    /// One that says a line and has heard its echo.
    fn speaker(server: &Server, line: &[u8]) -> TcpStream {
        let mut stream = TcpStream::connect(server.addr()).unwrap();
        speak(&mut stream, line).unwrap();
        stream
    }

    fn speak(stream: &mut TcpStream, line: &[u8]) -> std::io::Result<()> {
        stream.write_all(line)?;
        let mut echo = vec![0; line.len()];
        stream.read_exact(&mut echo)?;
        assert_eq!(echo, line);
        Ok(())
    }

    #[test]
    fn a_flood_from_ones_own_address_takes_no_place_from_those_that_speak_nor_from_one_that_stays() {
        crate::cli::raise_descriptor_limit();
        let server = echo();
        let mut stays = speaker(&server, b"\"stay\"\n");
        let mut rests = speaker(&server, b"\"1\"\n");
        let mut honest: Vec<_> = (0..40).map(|_| speaker(&server, b"\"1\"\n")).collect();
        // Connections that say nothing take no place but those of their like.
        let strangers = limits::CONNECTIONS / 2;
        let connect = |_| TcpStream::connect(server.addr()).unwrap();
        let mut flood: Vec<_> = (0..strangers - 41 + 5).map(connect).collect();
        for oldest in &mut flood[..5] {
            assert_eq!(
                oldest.read(&mut [0]).unwrap(),
                0,
                "the oldest is closed, long before its time is over"
            );
        }
        speak(&mut rests, b"\"2\"\n").unwrap();
        // Those that speak once, and then rest, none but those of their like, and of others at rest.
        for _ in 0..5 {
            flood.extend((0..strangers / 4).map(|_| speaker(&server, b"\"6\"\n")));
            honest.iter_mut().for_each(|stream| speak(stream, b"\"3\"\n").unwrap());
        }
        assert!(server.open.lock().conversations.len() <= 1 + strangers);
        assert_eq!(rests.read(&mut [0]).unwrap_or(0), 0, "it was at rest for longest");
        speak(&mut stays, b"\"4\"\n").unwrap();
    }

    #[test]
    fn what_was_served_under_a_lease_may_give_way_again() {
        let server = echo();
        let may_go = || {
            server.open.lock().conversations.values().filter(|(it, _)| it.occupant.useful().is_some()).count()
        };
        let _served = speaker(&server, b"\"served\"\n");
        assert_eq!(may_go(), 1);
        let _stays = speaker(&server, b"\"stay\"\n");
        assert_eq!(may_go(), 1);
    }

    #[test]
    fn a_port_in_use_is_said_with_what_to_do() {
        let server = echo();
        let text = listen(server.addr(), &Admission::default()).unwrap_err().to_string();
        assert!(text.contains("cannot listen on") && text.contains("--listen"), "{text}");
    }
}
