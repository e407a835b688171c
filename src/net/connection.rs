//! One JSON line, and the bytes that may follow it, over a `TcpStream`: the one type that reads a socket.
//!
//! # The rule
//! [`Connection::receive`] returns a whole message, the clean end of the stream, or the silence that the
//! caller was ready to wait for; anything else is an error. A line is bounded before it is stored, a
//! payload is announced by its message and read only when the caller has checked the size it may have.
//!
//! Every message has a deadline as a whole. A read timeout alone would not do: it is per call, and who
//! sends one byte at a time passes it for ever. So each read gets the time that is *left*.
//!
//! Whoever only answers writes with [`Connection::send`], which waits for a slow reader until the
//! deadline. Whoever also has news to tell asks for the [`Connection::outbox`], which never waits.
//!
//! # What is missing
//! Messages are parsed from a whole line; a peer that sends long lines slowly costs a thread each.

use std::fs::File;
use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::trace;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::limits;
use super::message::{FromPeer, Refusal, Reply, encode};
use super::outbox::Outbox;
use super::timed::{Limit, Timed, is_timeout};
use crate::error::{Code, Error, Result};

/// What came, when something was waited for.
#[derive(Debug)]
pub enum Received<M> {
    /// A whole message.
    Message(M),
    /// The other side closed the connection between two messages.
    End,
    /// Nothing began to come in the time that the caller gave.
    Silence,
}

/// A conversation's connection.
#[derive(Debug)]
pub struct Connection {
    reader: BufReader<Timed>,
    stream: Arc<TcpStream>,
    other: SocketAddr,
    longest_line: usize,
    line: Vec<u8>,
    outbox: Option<Outbox>,
}

impl Connection {
    /// Connects to the node at `addr`, whose lines may be as long as `longest_line`.
    ///
    /// # Errors
    /// When nobody listens there, or the time of [`limits::CONNECT_TIME`] is over.
    pub fn connect(addr: SocketAddr, longest_line: usize) -> Result<Self> {
        let stream = TcpStream::connect_timeout(&addr, limits::CONNECT_TIME)
            .map_err(|e| Error::failed(format!("cannot connect to {addr}")).because(e))?;
        Self::new(stream, longest_line)
            .map_err(|e| Error::failed(format!("cannot use the connection to {addr}")).because(e))
    }

    /// A connection that a listener accepted.
    ///
    /// # Errors
    /// When it is gone already.
    pub fn accepted(stream: TcpStream) -> io::Result<Self> {
        Self::new(stream, limits::LINE)
    }

    fn new(stream: TcpStream, longest_line: usize) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        let other = stream.peer_addr()?;
        let stream = Arc::new(stream);
        let timed = Timed { stream: Arc::clone(&stream), limit: Limit::None };
        let reader = BufReader::with_capacity(32 << 10, timed);
        Ok(Self { reader, stream, other, longest_line, line: Vec::new(), outbox: None })
    }

    /// The address of the other side.
    pub fn other(&self) -> SocketAddr {
        self.other
    }

    /// The address of this side.
    ///
    /// # Errors
    /// When the connection is gone.
    pub fn local(&self) -> io::Result<SocketAddr> {
        self.stream.local_addr()
    }

    /// The stream, for those who must end the conversation from another thread by closing it.
    pub fn stream(&self) -> &Arc<TcpStream> {
        &self.stream
    }

    /// Waits for the next message to begin, as long as `wait` says (`None`: for ever), and then
    /// [`limits::MESSAGE_TIME`] for all of it.
    ///
    /// # Errors
    /// `bad_message` for a line that is torn, too long or not a message `M`; a plain failure when the
    /// connection broke.
    pub fn receive<M: DeserializeOwned>(&mut self, wait: Option<Duration>) -> Result<Received<M>> {
        self.receive_whole(wait, limits::MESSAGE_TIME)
    }

    /// Whether a whole line has come already, so that the next [`Connection::receive`] will not wait.
    pub fn has_line(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    /// Waits for the next message to begin and to end by `end`, for those whose time ends with it: who
    /// sends half a line must not have longer than who sends none.
    ///
    /// # Errors
    /// As [`Connection::receive`].
    pub fn receive_by<M: DeserializeOwned>(&mut self, end: Instant) -> Result<Received<M>> {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            // However much has come already: the time is over.
            return Ok(Received::Silence);
        }
        self.receive_whole(Some(left), left.min(limits::MESSAGE_TIME))
    }

    /// Waits for a line to begin, as long as `wait` says, and gives its first byte, which stays where it is:
    /// it tells a message from an HTTP request.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn first_byte(&mut self, wait: Option<Duration>) -> Result<Received<u8>> {
        self.deadline(wait);
        loop {
            match self.reader.fill_buf() {
                Ok(bytes) => return Ok(bytes.first().map_or(Received::End, |byte| Received::Message(*byte))),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) if is_timeout(&e) => return Ok(Received::Silence),
                Err(e) => return Err(self.broke(e)),
            }
        }
    }

    /// What comes in the time `within`, for those who speak another language than messages.
    pub(super) fn bytes_within(&mut self, within: Duration) -> &mut impl BufRead {
        self.deadline(Some(within));
        &mut self.reader
    }

    /// The stream, to be written to at this pace.
    pub(super) fn at_pace(&self, pace: limits::Pace) -> Timed {
        Timed { stream: Arc::clone(&self.stream), limit: Limit::at(pace) }
    }

    /// `wait` for the message to begin, and `whole` for all of it from then on.
    fn receive_whole<M: DeserializeOwned>(
        &mut self,
        wait: Option<Duration>,
        whole: Duration,
    ) -> Result<Received<M>> {
        match self.first_byte(wait)? {
            Received::Message(_) => self.deadline(Some(whole)),
            Received::End => return Ok(Received::End),
            Received::Silence => return Ok(Received::Silence),
        }
        self.read_line()?;
        trace!("{} < {}", self.other, String::from_utf8_lossy(&self.line));
        let message = serde_json::from_slice(&self.line);
        message.map(Received::Message).map_err(|e| {
            Error::new(Code::BadMessage, format!("not a message of this protocol, from {}", self.other))
                .because(e)
        })
    }

    /// Asks a question; the answer must come within `wait`. Not for one that speaks by an outbox.
    ///
    /// # Errors
    /// As [`Connection::send`] and [`Connection::answer`].
    pub fn ask<A: Reply>(&mut self, question: &impl Serialize, wait: Duration) -> Result<A> {
        self.send(question)?;
        self.answer(wait)
    }

    /// The answer, or the next part of the answer, to a question that was sent.
    ///
    /// # Errors
    /// The reason where the answer is a "no"; else as [`Connection::receive`], and when the other side ends the
    /// conversation or stays silent.
    pub fn answer<A: Reply>(&mut self, wait: Duration) -> Result<A> {
        self.expect::<A>(wait)?.granted()
    }

    /// The answer to a question: a message that must come within `wait`.
    ///
    /// # Errors
    /// As [`Connection::receive`]; and when the other side ends the conversation or stays silent.
    pub fn expect<M: DeserializeOwned>(&mut self, wait: Duration) -> Result<M> {
        match self.receive(Some(wait))? {
            Received::Message(message) => Ok(message),
            Received::End => Err(Error::failed(format!("{} closed the connection", self.other))),
            Received::Silence => {
                let what = format!("{} did not answer within {:.0} s", self.other, wait.as_secs_f32());
                Err(Error::failed(what).advise("see whether the program there is stopped or overloaded"))
            }
        }
    }

    /// Reads up to the next newline into `self.line`, without it.
    fn read_line(&mut self) -> Result<()> {
        self.line.clear();
        let room = self.longest_line as u64 + 1;
        let read = self.reader.by_ref().take(room).read_until(b'\n', &mut self.line);
        match read {
            Err(e) if is_timeout(&e) => {
                Err(Error::new(Code::BadMessage, "a line that was not finished in its time"))
            }
            Err(e) => Err(self.broke(e)),
            Ok(_) if self.line.last() == Some(&b'\n') => {
                self.line.pop();
                Ok(())
            }
            Ok(_) if self.line.len() > self.longest_line => {
                Err(Error::new(Code::BadMessage, format!("a line longer than {} bytes", self.longest_line)))
            }
            Ok(_) => Err(Error::new(Code::BadMessage, "a torn line: the stream ended before its newline")),
        }
    }

    /// The payload that follows the message. Call it after the size that the message announced was checked.
    pub fn payload(&mut self) -> Payload<'_> {
        self.payload_at(limits::PAYLOAD_PACE)
    }

    /// [`Connection::payload`] at another pace.
    pub fn payload_at(&mut self, pace: limits::Pace) -> Payload<'_> {
        self.pace(pace);
        Payload { connection: self, idle_since: Instant::now() }
    }

    /// Reads a payload that fills `bytes`, whose size was checked like that of [`Connection::payload`].
    ///
    /// # Errors
    /// When it does not come whole at the pace of [`limits::PAYLOAD_PACE`].
    pub fn receive_payload(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.payload().receive_part(bytes)
    }

    /// Reads a payload of `bytes` and throws it away, so that the conversation can go on after a "no".
    ///
    /// # Errors
    /// When it does not come whole within [`limits::PAYLOAD_PACE`].
    pub fn discard_payload(&mut self, bytes: u64) -> Result<()> {
        self.pace(limits::PAYLOAD_PACE);
        let copied = io::copy(&mut self.reader.by_ref().take(bytes), &mut io::sink());
        match copied {
            Ok(n) if n == bytes => Ok(()),
            Ok(_) => Err(self.broke(ErrorKind::UnexpectedEof.into())),
            Err(e) => Err(self.broke(e)),
        }
    }

    /// Sends one message, waiting for a slow reader no longer than [`limits::MESSAGE_TIME`].
    ///
    /// # Errors
    /// When the other side is gone or does not read.
    pub fn send<M: Serialize>(&self, message: &M) -> Result<()> {
        self.send_with_payload(message, |_| Ok(()))
    }

    /// Sends many messages that stand for one answer, with few system calls, at the pace of
    /// [`limits::PAYLOAD_PACE`].
    ///
    /// # Errors
    /// When the other side is gone or does not read.
    pub fn send_all<M: Serialize>(&self, messages: impl IntoIterator<Item = M>) -> Result<()> {
        let write = |lines: &[u8]| {
            trace!("{} > {}", self.other, String::from_utf8_lossy(lines).trim_end());
            Timed { stream: Arc::clone(&self.stream), limit: Limit::pace() }.write_all(lines)
        };
        let mut lines = Vec::new();
        for message in messages {
            lines.extend(encode(&message)?);
            if lines.len() >= limits::LINE {
                write(&lines).map_err(|e| self.broke(e))?;
                lines.clear();
            }
        }
        write(&lines).map_err(|e| self.broke(e))
    }

    /// Sends one message and its payload, which `write` writes, at the pace of [`limits::PAYLOAD_PACE`].
    ///
    /// # Errors
    /// When the other side is gone or does not read.
    pub fn send_with_payload<M: Serialize>(
        &self,
        message: &M,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        let line = encode(message)?;
        trace!("{} > {}", self.other, String::from_utf8_lossy(&line).trim_end());
        let mut stream = Timed { stream: Arc::clone(&self.stream), limit: Limit::pace() };
        stream.write_all(&line).and_then(|()| write(&mut stream)).map_err(|e| self.broke(e))
    }

    /// A way to speak here from another thread than the one that listens. Only one of them may speak.
    pub fn speaker(&self) -> Speaker {
        Speaker { stream: Arc::clone(&self.stream), other: self.other }
    }

    /// The way by which several threads speak here from now on; nobody may write past it.
    pub fn outbox(&mut self) -> Outbox {
        self.outbox.get_or_insert_with(|| Outbox::new(Arc::clone(&self.stream))).clone()
    }

    /// Says "no" and why. Whether that arrives no longer matters to the speaker.
    pub fn refuse(&self, error: &Error) {
        // An `error` looks the same whoever sends it.
        let no = FromPeer::Error(Refusal::from(error));
        match &self.outbox {
            Some(outbox) => outbox.send(&no),
            None => {
                if let Err(e) = self.send(&no) {
                    trace!("{}: the refusal was not heard: {e}", self.other);
                }
            }
        }
    }

    /// Ends the conversation so that what was said last arrives: closes this side, then reads on for a
    /// moment. A socket that is closed with unread bytes resets the connection, and the reset overtakes
    /// the answer.
    pub fn linger(&mut self) {
        if let Some(outbox) = &self.outbox {
            outbox.wait_until_sent(limits::LINGER_TIME);
        }
        if self.stream.shutdown(Shutdown::Write).is_ok() {
            self.deadline(Some(limits::LINGER_TIME));
            // Whatever ends this, the deadline at the latest, is the end we want.
            let _ = io::copy(&mut self.reader, &mut io::sink());
        }
    }

    /// Whether the other side has closed the connection; never waits, reads nothing.
    pub fn is_gone(&self) -> bool {
        is_gone(&self.stream)
    }

    fn deadline(&mut self, wait: Option<Duration>) {
        self.reader.get_mut().limit = wait.map_or(Limit::None, |wait| Limit::End(Instant::now() + wait));
    }

    fn pace(&mut self, pace: limits::Pace) {
        self.reader.get_mut().limit = Limit::at(pace);
    }

    fn broke(&self, cause: io::Error) -> Error {
        broke(self.other, cause)
    }
}

/// A payload that is read part by part, all of it at one pace. What its reader does between two parts is
/// not counted against the sender.
#[derive(Debug)]
pub struct Payload<'a> {
    connection: &'a mut Connection,
    idle_since: Instant,
}

impl Payload<'_> {
    /// Reads the next part, which fills `bytes`.
    ///
    /// # Errors
    /// When the payload does not come at the pace of [`limits::PAYLOAD_PACE`].
    pub fn receive_part(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.connection.reader.get_mut().excuse(self.idle_since.elapsed());
        let read = self.connection.reader.read_exact(bytes);
        self.idle_since = Instant::now();
        read.map_err(|e| self.connection.broke(e))
    }

    /// Whether the sender has gone away meanwhile.
    pub fn is_gone(&self) -> bool {
        self.connection.is_gone()
    }
}

fn broke(other: SocketAddr, cause: io::Error) -> Error {
    let what = match cause.kind() {
        ErrorKind::UnexpectedEof => format!("{other} closed the connection in the middle"),
        // What the system calls it ("resource temporarily unavailable") helps nobody.
        _ if is_timeout(&cause) => return Error::failed(format!("{other} was too slow")),
        _ => format!("the connection to {other} broke"),
    };
    Error::failed(what).because(cause)
}

/// The speaking side of a connection whose listening side is in another thread.
#[derive(Debug)]
pub struct Speaker {
    stream: Arc<TcpStream>,
    other: SocketAddr,
}

impl Speaker {
    /// Sends one message, waiting for a slow reader no longer than [`limits::MESSAGE_TIME`].
    ///
    /// # Errors
    /// When the other side is gone or does not read.
    pub fn send<M: Serialize>(&self, message: &M) -> Result<()> {
        let line = encode(message)?;
        trace!("{} > {}", self.other, String::from_utf8_lossy(&line).trim_end());
        self.timed().write_all(&line).map_err(|e| broke(self.other, e))
    }

    /// Sends raw bytes.
    ///
    /// # Errors
    /// When the other side is gone or does not read.
    pub fn send_bytes(&self, bytes: &[u8]) -> Result<()> {
        self.timed().write_all(bytes).map_err(|e| broke(self.other, e))
    }

    /// Sends `bytes` bytes of a file from `offset` on, without bringing them into this program's memory
    /// (sendfile).
    ///
    /// # Errors
    /// When the other side is gone or does not read, or the file is shorter than that.
    pub fn send_file(&self, file: &File, offset: u64, bytes: usize) -> Result<()> {
        self.timed().send_file(file, offset, bytes as u64).map_err(|e| broke(self.other, e))
    }

    /// Whether the other side is gone.
    pub fn is_gone(&self) -> bool {
        is_gone(&self.stream)
    }

    /// Closes the connection, which wakes its listening side.
    pub fn close(&self) {
        let _ = self.stream.shutdown(Shutdown::Both);
    }

    fn timed(&self) -> Timed {
        Timed { stream: Arc::clone(&self.stream), limit: Limit::pace() }
    }
}

/// Whether the other side of `stream` has closed it, unread bytes or not; never waits, reads nothing.
pub fn is_gone(stream: &TcpStream) -> bool {
    use rustix::event::{PollFd, PollFlags, Timespec, poll};
    let mut watched = [PollFd::new(stream, PollFlags::RDHUP)];
    // That nothing can be told of it is no sign that it is gone.
    poll(&mut watched, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
pub(super) mod tests {
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// Both ends of a connection.
    pub(in crate::net) fn pair() -> (Connection, TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let other = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (Connection::accepted(listener.accept().unwrap().0).unwrap(), other)
    }

    /// A fifth of a second for a payload of a few bytes.
    const PACE: limits::Pace =
        limits::Pace { start: Duration::from_millis(200), rate: 1 << 20, stall: Duration::from_secs(5) };

    #[test]
    fn who_sends_a_payload_slowly_is_not_forgiven_anew_with_each_part() {
        let (mut connection, mut other) = pair();
        let sender = thread::spawn(move || {
            for byte in 0..100 {
                thread::sleep(Duration::from_millis(20));
                if other.write_all(&[byte]).is_err() {
                    break;
                }
            }
        });
        let mut payload = connection.payload_at(PACE);
        let why =
            (0..100).find_map(|_| payload.receive_part(&mut [0]).err()).expect("two seconds are too many");
        assert!(why.to_string().contains("too slow"), "{why}");
        drop(connection);
        sender.join().unwrap();
    }

    #[test]
    fn what_the_reader_does_between_two_parts_is_not_the_senders_time() {
        let (mut connection, mut other) = pair();
        other.write_all(b"ab").unwrap();
        let mut payload = connection.payload_at(PACE);
        let mut part = [0];
        payload.receive_part(&mut part).unwrap();
        thread::sleep(2 * PACE.start);
        other.write_all(b"cd").unwrap();
        for expected in b"bcd" {
            payload.receive_part(&mut part).unwrap();
            assert_eq!(part[0], *expected);
        }
    }
}
