//! One JSON line, and the bytes that may follow it, over a `TcpStream`: the one type that reads a socket.
//!
//! # The rule
//! [`Connection::receive`] returns a whole message, the clean end of the stream, or the silence that the
//! caller was ready to wait for; anything else is an error. A line is bounded before it is stored, a
//! payload is announced by its message and read only when the caller has checked the size it may have.
//!
//! Every message has a deadline as a whole. A read timeout alone would not do: it is per call, and a
//! sender of one byte at a time meets it for ever. So each read gets the time that is *left*.
//!
//! # Two halves
//! One thread listens, with the [`Connection`]. It may also speak; and where another one speaks, that one has the
//! [`Writer`]. Both wait for a slow reader until the deadline. Only one of them may speak, for two that write into one
//! socket at once tear each other's lines: where several have news to tell, they share the [`Connection::outbox`],
//! which never waits.
//!
//! # Before the first answer
//! Where a network has a secret, both sides of a connection show that they know it, as [`admission`](super::admission)
//! says. The side that was reached does so when it has read the first line; the side that connects when the answer
//! begins to come, or before it sends a payload. So a conversation sees nothing of it.
//!
//! # What is missing
//! Messages are parsed from a whole line; a peer that sends long lines slowly costs a thread each.

use std::fs::File;
use std::io::{self, BufRead, BufReader, BufWriter, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use log::trace;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::admission::{Handshake, prove, unauthorised, welcome};
use super::key::{Key, Purpose};
use super::limits::{self, Pace};
use super::message::{FromPeer, PeerId, Refusal, Reply, decode, encode};
use super::outbox::Outbox;
use super::places::Party;
pub use super::timed::Writer;
use super::timed::{Limit, Timed, is_timeout};
use crate::error::{Code, Error, Result};

/// What to do when a conversation ended too early.
const AGAIN: &str = "try again; if it is so again, see whether the program there is well";

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

/// A conversation's connection, for the thread that listens. It speaks as its [`Writer`] does.
pub struct Connection {
    reader: BufReader<Timed>,
    longest_line: usize,
    outbox: Option<Outbox>,
    /// How long the lines may be that this side says.
    speaks: usize,
    /// What the other side is to show that it knows, before its first line is understood.
    guard: Option<Key>,
    /// What this side is to show when it has said its first line, and that line.
    entry: Option<(Key, Vec<u8>)>,
}

impl Deref for Connection {
    type Target = Writer;

    fn deref(&self) -> &Writer {
        &self.reader.get_ref().writer
    }
}

impl Connection {
    /// Connects to the node at `addr`, whose lines may be as long as `longest_line`, and which knows this secret.
    ///
    /// # Errors
    /// When nobody listens there, or the time of [`limits::CONNECT_TIME`] is over.
    pub fn connect(addr: SocketAddr, longest_line: usize, secret: Option<&Key>) -> Result<Self> {
        let failed = |e| Error::failed(format!("cannot connect to {addr}")).because(e);
        let stream = TcpStream::connect_timeout(&addr, limits::CONNECT_TIME).map_err(failed)?;
        let entry = secret.map(|secret| (secret.clone(), Vec::new()));
        Ok(Self { entry, ..Self::new(Writer::new(stream).map_err(failed)?, longest_line) })
    }

    /// A connection that a listener accepted, whose lines may be as long as `speaks`, from one that must know this
    /// secret.
    pub(super) fn accepted(writer: Writer, speaks: usize, secret: Option<&Key>) -> Self {
        Self { guard: secret.cloned(), speaks, ..Self::new(writer, limits::LINE) }
    }

    fn new(writer: Writer, longest_line: usize) -> Self {
        // It is in memory as a whole once something was read, for each of thousands of connections.
        let reader = BufReader::with_capacity(longest_line / 64, writer.within(Limit::None));
        let speaks = limits::LINE;
        Self { reader, longest_line, outbox: None, speaks, guard: None, entry: None }
    }

    /// The half that speaks, for another thread.
    pub fn writer(&self) -> Writer {
        (**self).clone()
    }

    /// The way by which several threads speak here from now on; nobody may write past it. The first message of a
    /// conversation is sent before it.
    pub fn outbox(&mut self) -> Outbox {
        let (writer, held) = (self.writer(), self.entry.is_some());
        self.outbox.get_or_insert_with(|| Outbox::new(writer, held)).clone()
    }

    /// Sends one message, as [`Writer::send`].
    ///
    /// # Errors
    /// As there.
    pub fn send<M: Serialize>(&mut self, message: &M) -> Result<()> {
        if let Some((_, first)) = &mut self.entry {
            *first = encode(message);
        }
        Writer::send(self, message)
    }

    /// Sends one message and its payload, as [`Writer::send_payload`].
    ///
    /// # Errors
    /// As there; and when the other side does not let this one in, which it says before the payload.
    pub fn send_with_payload<M: Serialize>(
        &mut self,
        message: &M,
        write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
    ) -> Result<()> {
        self.send(message)?;
        self.enter()?;
        self.send_payload(write)
    }

    /// Shows that this side knows the secret, and has the other show it, when the first line was said. Nothing more is
    /// said to a stranger.
    fn enter(&mut self) -> Result<()> {
        let Some((secret, first)) = self.entry.take() else { return Ok(()) };
        self.exchange_proofs(&secret, &first).inspect_err(|_| self.close())?;
        self.outbox.iter().for_each(Outbox::resume);
        Ok(())
    }

    fn exchange_proofs(&mut self, secret: &Key, first: &[u8]) -> Result<()> {
        let manager = if self.longest_line == limits::MANAGER_LINE { ", or is no manager" } else { "" };
        let stranger = unauthorised(format!("{} has not this network's secret{manager}", self.other));
        let Handshake::Challenge { nonce } = self.answer(limits::MESSAGE_TIME)? else { return Err(stranger) };
        let (mac, own) = (prove(secret, Purpose::Enter, &nonce, first), Key::random());
        Writer::send(self, &Handshake::Proof { mac, nonce: Some(own.clone()) })?;
        match self.answer(limits::MESSAGE_TIME)? {
            Handshake::Welcome { mac } if mac == prove(secret, welcome(self.longest_line), &own, first) => {
                Ok(())
            }
            _ => Err(stranger),
        }
    }

    /// Has the other side show that it knows the secret, before the line that it said `first` is understood.
    fn admit(&mut self, first: &[u8]) -> Result<()> {
        let Some(secret) = self.guard.take() else { return Ok(()) };
        let stranger = unauthorised("this node lets in only programs that know its secret");
        let own = Key::random();
        Writer::send(self, &Handshake::Challenge { nonce: own.clone() })?;
        let heard = self.receive_by(Instant::now() + limits::MESSAGE_TIME);
        let Ok(Received::Message(Handshake::Proof { mac, nonce })) = heard else { return Err(stranger) };
        if mac != prove(&secret, Purpose::Enter, &own, first) {
            return Err(stranger);
        }
        if let Some(nonce) = nonce {
            let mac = prove(&secret, welcome(self.speaks), &nonce, first);
            Writer::send(self, &Handshake::Welcome { mac })?;
        }
        Ok(())
    }

    /// Asks a question; the answer must come within `wait`. Not for one that speaks by an outbox.
    ///
    /// # Errors
    /// As [`Writer::send`] and [`Connection::answer`].
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
        match self.receive_by::<A>(Instant::now() + wait)? {
            Received::Message(answer) => answer.granted(),
            Received::End => {
                Err(Error::failed(format!("{} closed the connection", self.other)).advise(AGAIN))
            }
            Received::Silence => {
                let what = format!("{} did not answer within {:.0} s", self.other, wait.as_secs_f32());
                Err(Error::failed(what).advise("see whether the program there is stopped or overloaded"))
            }
        }
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

    /// Waits for the next message to begin and to end by `end`, for a wait that ends with it: a sender
    /// of half a line must not have longer than one that sends nothing.
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
        let line = self.read_line()?;
        self.trace('<', &line);
        self.admit(&line)?;
        self.payload_pace(limits::PAYLOAD_PACE);
        self.understand(&line).map(Received::Message)
    }

    /// A line as a message.
    pub(super) fn understand<M: DeserializeOwned>(&self, line: &[u8]) -> Result<M> {
        decode(line).map_err(|e| {
            if let Ok(Handshake::Challenge { .. }) = decode(line) {
                return unauthorised(format!("{} asks for a secret, and none was given here", self.other));
            }
            Error::new(Code::BadMessage, format!("not a message of this protocol, from {}", self.other))
                .because(e)
        })
    }

    /// Waits for a line to begin, as long as `wait` says, and gives its first byte, which stays where it is:
    /// it tells a message from an HTTP request.
    ///
    /// # Errors
    /// When the connection broke.
    pub fn first_byte(&mut self, wait: Option<Duration>) -> Result<Received<u8>> {
        self.deadline(wait);
        match self.reader.fill_buf() {
            Ok([]) => Ok(Received::End),
            Ok(_) if self.entry.is_some() => self.enter().and_then(|()| self.first_byte(wait)),
            Ok(bytes) => Ok(Received::Message(bytes[0])),
            Err(e) if is_timeout(&e) => Ok(Received::Silence),
            Err(e) => Err(self.broke(e)),
        }
    }

    /// Reads up to the next newline. The line is not kept: a conversation that rests takes no memory for its longest
    /// one.
    fn read_line(&mut self) -> Result<Vec<u8>> {
        match next_line(&mut self.reader, self.longest_line) {
            Err(e) if is_timeout(&e) => {
                Err(Error::new(Code::BadMessage, "a line that was not finished in its time"))
            }
            Err(e) => Err(self.broke(e)),
            Ok(line) => line,
        }
    }

    /// Whether a whole line has come already, so that the next [`Connection::receive`] will not wait.
    pub fn has_line(&self) -> bool {
        self.reader.buffer().contains(&b'\n')
    }

    /// What comes in the time `within`, for a language that is not that of messages.
    pub(super) fn bytes_within(&mut self, within: Duration) -> &mut impl BufRead {
        self.deadline(Some(within));
        &mut self.reader
    }

    /// Reads the payload of the last message, or the next part of it, which fills `bytes`. The size that the message
    /// announced is to be checked before. All parts together must come at the pace of [`limits::PAYLOAD_PACE`].
    ///
    /// # Errors
    /// When it does not come whole at its pace.
    pub fn receive_payload(&mut self, bytes: &mut [u8]) -> Result<()> {
        self.reader.read_exact(bytes).map_err(|e| self.broke(e))
    }

    /// The payload of the last message, where it is the hashes of a file's pieces.
    ///
    /// # Errors
    /// `bad_message` when they are more than a file can have; else as [`Connection::receive_payload`].
    pub(crate) fn receive_hashes(&mut self, payload: u64) -> Result<Vec<u8>> {
        if payload > limits::HASHES {
            return Err(Error::new(Code::BadMessage, format!("{payload} bytes of hashes are too many"))
                .advise(format!("a file has at most {} bytes of them", limits::HASHES)));
        }
        let mut hashes = vec![0; payload as usize];
        self.receive_payload(&mut hashes).map(|()| hashes)
    }

    /// The payload of the last message may come at this pace.
    pub fn payload_pace(&mut self, pace: Pace) {
        self.reader.get_mut().limit = Limit::at(pace);
    }

    /// Reads a payload of `bytes` and throws it away, so that the conversation can go on after a "no".
    ///
    /// # Errors
    /// As [`Connection::receive_payload`].
    pub fn discard_payload(&mut self, bytes: u64) -> Result<()> {
        match io::copy(&mut self.reader.by_ref().take(bytes), &mut io::sink()) {
            Ok(n) if n < bytes => Err(self.broke(ErrorKind::UnexpectedEof.into())),
            copied => copied.map(drop).map_err(|e| self.broke(e)),
        }
    }

    /// Says "no" and why. Whether that arrives no longer matters to the speaker.
    pub fn refuse(&self, error: &Error) {
        // An `error` looks the same in both directions.
        let no = FromPeer::Error(Refusal::from(error));
        match &self.outbox {
            Some(outbox) => outbox.send(&no),
            None => Writer::send(self, &no)
                .unwrap_or_else(|e| trace!("{}: the refusal was not heard: {e}", self.other)),
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

    fn deadline(&mut self, wait: Option<Duration>) {
        self.reader.get_mut().limit = wait.map_or(Limit::None, |wait| Limit::End(Instant::now() + wait));
    }
}

impl Writer {
    pub(super) fn new(stream: TcpStream) -> io::Result<Self> {
        stream.set_nodelay(true)?;
        Ok(Self { other: stream.peer_addr()?, stream: Arc::new(stream), occupant: Arc::default() })
    }

    /// The address of the other side.
    pub fn other(&self) -> SocketAddr {
        self.other
    }

    /// The other side has shown that it is this peer: from now on this place counts as the peer's.
    pub(crate) fn is_of(&self, peer: PeerId) {
        self.occupant.peer.store(peer, Ordering::Relaxed);
    }

    /// This is the conversation in which this peer is registered, or a product of its lease is computed: it never gives
    /// way to another.
    pub(crate) fn stays(&self, peer: PeerId) {
        self.is_of(peer);
        self.occupant.stays.store(true, Ordering::Relaxed);
    }

    /// That is over.
    pub(crate) fn may_give_way(&self) {
        self.occupant.stays.store(false, Ordering::Relaxed);
    }

    /// Whose place this is.
    pub(crate) fn party(&self) -> Party {
        Party::of(self.occupant.peer.load(Ordering::Relaxed), self.other)
    }

    /// The stream, for a thread that must end the conversation by closing it.
    pub fn stream(&self) -> &Arc<TcpStream> {
        &self.stream
    }

    /// Sends one message, waiting for a slow reader no longer than [`limits::MESSAGE_TIME`].
    ///
    /// # Errors
    /// When the other side is gone or does not read.
    pub fn send<M: Serialize>(&self, message: &M) -> Result<()> {
        self.send_line(&encode(message))
    }

    /// Sends the payload of the last message, which `write` writes, at the pace of [`limits::PAYLOAD_PACE`].
    ///
    /// # Errors
    /// As [`Writer::send`].
    pub fn send_payload(&self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> Result<()> {
        self.at_payload_pace(|stream| write(stream))
    }

    /// Sends a line that is encoded already, because many are told it, as [`Writer::send`].
    ///
    /// # Errors
    /// As [`Writer::send`].
    pub(crate) fn send_line(&self, line: &[u8]) -> Result<()> {
        self.trace('>', line);
        self.at_payload_pace(|stream| stream.write_all(line))
    }

    /// Sends many messages that stand for one answer, with few system calls, all together at that pace.
    ///
    /// # Errors
    /// As [`Writer::send`].
    pub fn send_all<M: Serialize>(&self, messages: impl IntoIterator<Item = M>) -> Result<()> {
        self.at_payload_pace(|stream| {
            let mut stream = BufWriter::with_capacity(limits::LINE, stream);
            for message in messages {
                let line = encode(&message);
                self.trace('>', &line);
                stream.write_all(&line)?;
            }
            stream.flush()
        })
    }

    /// Sends `bytes` bytes of a file from `offset` on, without bringing them into this program's memory
    /// (sendfile).
    ///
    /// # Errors
    /// As [`Writer::send`]; and when the file is shorter than that.
    pub fn send_file(&self, file: &File, offset: u64, bytes: usize) -> Result<()> {
        self.at_payload_pace(|stream| stream.send_file(file, offset, bytes as u64))
    }

    fn at_payload_pace(&self, write: impl FnOnce(&mut Timed) -> io::Result<()>) -> Result<()> {
        write(&mut self.within(Limit::at(limits::PAYLOAD_PACE))).map_err(|e| self.broke(e))
    }

    /// The stream, to be used within this limit.
    pub(super) fn within(&self, limit: Limit) -> Timed {
        Timed { writer: self.clone(), limit }
    }

    /// Whether the other side has closed the connection, unread bytes or not; never waits, reads nothing.
    pub fn is_gone(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let mut watched = [PollFd::new(&self.stream, PollFlags::RDHUP)];
        // That nothing can be told of it is no sign that it is gone.
        poll(&mut watched, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
    }

    fn broke(&self, cause: io::Error) -> Error {
        let other = self.other;
        // What the system calls the first two ("failed to fill whole buffer", "resource temporarily unavailable") helps
        // nobody.
        let error = match cause.kind() {
            ErrorKind::UnexpectedEof => Error::failed(format!("{other} closed the connection in the middle")),
            _ if is_timeout(&cause) => Error::failed(format!("{other} was too slow")),
            _ => Error::failed(format!("the connection to {other} broke")).because(cause),
        };
        error.advise(AGAIN)
    }
}

/// Reads up to the next newline, and gives what stands before it; or says what is wrong with what came.
pub(crate) fn next_line(from: &mut impl BufRead, longest: usize) -> io::Result<Result<Vec<u8>>> {
    let mut line = Vec::new();
    from.take(longest as u64 + 1).read_until(b'\n', &mut line)?;
    let what = match line.pop_if(|last| *last == b'\n') {
        Some(_) => return Ok(Ok(line)),
        None if line.len() > longest => format!("a line longer than {longest} bytes"),
        None => "a torn line: the stream ended before its newline".into(),
    };
    Ok(Err(Error::new(Code::BadMessage, what)))
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
        (accept(&listener), other)
    }

    pub(in crate::net) fn accept(listener: &TcpListener) -> Connection {
        Connection::accepted(Writer::new(listener.accept().unwrap().0).unwrap(), limits::LINE, None)
    }

    /// A fifth of a second for a payload of a few bytes.
    const PACE: limits::Pace =
        limits::Pace { start: Duration::from_millis(200), rate: 1 << 20, stall: Duration::from_secs(5) };

    #[test]
    fn who_sends_a_payload_slowly_is_not_forgiven_with_each_part() {
        let (mut connection, mut other) = pair();
        let sender = thread::spawn(move || {
            for byte in 0..100 {
                thread::sleep(Duration::from_millis(20));
                if other.write_all(&[byte]).is_err() {
                    break;
                }
            }
        });
        connection.payload_pace(PACE);
        let why = (0..100).find_map(|_| connection.receive_payload(&mut [0]).err());
        let why = why.expect("two seconds are too many");
        assert!(why.to_string().contains("too slow"), "{why}");
        drop(connection);
        sender.join().unwrap();
    }

    #[test]
    fn what_the_reader_does_between_two_parts_is_not_the_senders_time() {
        let (mut connection, mut other) = pair();
        other.write_all(b"ab").unwrap();
        connection.payload_pace(PACE);
        let mut part = [0];
        connection.receive_payload(&mut part).unwrap();
        thread::sleep(2 * PACE.start);
        other.write_all(b"cd").unwrap();
        for expected in b"bcd" {
            connection.receive_payload(&mut part).unwrap();
            assert_eq!(part[0], *expected);
        }
    }
}
