//! The first socket programs: a client sends a line, a server sends it back in upper case.
//!
//! ```text
//! $ uppercase tcp-server 127.0.0.1:9000        $ uppercase tcp-client 127.0.0.1:9000
//! listening on 127.0.0.1:9000                  > good morning
//!                                              GOOD MORNING
//! ```
//!
//! # The problem
//! Two programs want to talk. The network below them, IP, carries packets: each up to about 1500 bytes,
//! and each may be lost, doubled or overtaken by a later one. A *socket* is the program's end of a
//! conversation, and a port is the number by which the machine knows whose socket a packet is for. There
//! are two kinds of socket, because there are two answers to the question who deals with a lost packet.
//!
//! # What TCP gives that UDP does not
//!
//! | | TCP | UDP |
//! |---|---|---|
//! | a conversation | yes: `connect` and `accept`, and both sides learn its end | no: every datagram stands alone |
//! | what was lost | is sent again, until it arrives or the connection breaks | stays lost, and nobody is told |
//! | order | as sent, each byte once | any; a datagram may come twice |
//! | too fast a sender | is slowed down to what network and reader take | loses datagrams |
//! | where a message ends | **not kept**: a stream of bytes | kept: one `send` is one `recv` |
//! | the price | a round trip before the first byte; a socket for each client | none; one socket for all |
//!
//! The row in bold is the one that beginners fall over: TCP has no messages. Two `send`s may come out of one
//! `recv`, or one out of two. So over TCP a message ends with a newline here, and the reader reads until it
//! finds one. Over UDP the datagram is the message, and an empty one is a message too.
//!
//! # The rules
//! - The TCP server has a thread for each client, so a slow one delays nobody. The UDP server needs no
//!   threads: there are no clients that it could wait for, only datagrams.
//! - Nothing from the network is trusted. A line has at most [`LINE`] bytes; a client that sends a longer
//!   one is disconnected. Bytes that are not UTF-8 come back as U+FFFD. A client may vanish at any moment.
//! - A client waits for an answer for [`ANSWER_TIME`]. Over UDP there is no other way to learn of a loss.
//!
//! # What is missing
//! A UDP client cannot tell whether its question or the answer was lost, or whether the answer is just
//! late: if it asked again, a late answer would pass for the next one. Questions would need numbers, and
//! soon one would have built half of TCP. The UDP server answers the address from which the datagram *says* it comes,
//! which may be a lie. The TCP server lets a client be silent for ever, and that costs a thread; it takes
//! any number of clients, until threads or descriptors run out. The TCP client's patience is per read: an
//! answer that comes one byte a second passes it. A line is all that can be said: there are no kinds of
//! messages, and no way to say "no". The library's `net` room mends these last four.

use std::io::{self, BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, ValueEnum};
use log::{info, warn};
use peerlab::cli;
use peerlab::error::{Error, Result};
use peerlab::net::is_timeout;
use peerlab::net::server::cannot_listen;
use peerlab::thread;

/// The longest line, in bytes. As a datagram it fits into one packet everywhere: IPv6 promises 1280
/// bytes, of which its own header and UDP's take 48.
const LINE: usize = 1200;

/// The longest answer, in bytes: no character grows to more than three times its size in upper case,
/// and a byte that is not UTF-8 becomes U+FFFD, which has three.
const ANSWER: usize = 3 * LINE;

/// How long a client waits for an answer. A round trip around the world takes a third of a second.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// How long a server rests when the system refuses it something: asked again at once, it would refuse again.
const REST: Duration = Duration::from_millis(50);

/// A line in, the same line in upper case out: the first programs over TCP and UDP.
#[derive(Debug, Parser)]
#[command(
    version,
    after_help = "Servers run until Ctrl-C; RUST_LOG=info shows who comes and goes.\n\nExample: uppercase tcp-server 127.0.0.1:9000"
)]
struct Options {
    /// Which of the four programs to run
    #[arg(value_enum)]
    program: Program,
    /// Where the server listens (port 0: any free port), or where the client finds it
    #[arg(value_parser = cli::parse_addr)]
    addr: SocketAddr,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum Program {
    /// Answers every client's lines, each client in a thread of its own
    TcpServer,
    /// Sends each line of stdin over one connection, and prints the answers
    TcpClient,
    /// Answers every datagram
    UdpServer,
    /// Sends each line of stdin as a datagram, and prints the answers
    UdpClient,
}

fn main() -> ExitCode {
    let Options { program, addr } = Options::parse();
    cli::run("uppercase", || match program {
        Program::TcpServer => tcp_server(addr),
        Program::TcpClient => tcp_client(addr),
        Program::UdpServer => udp_server(addr),
        Program::UdpClient => udp_client(addr),
    })
}

/// Listens, accepts, and gives every client a thread.
fn tcp_server(addr: SocketAddr) -> Result<()> {
    let listener = TcpListener::bind(addr).map_err(|e| cannot_listen(addr, e, "take another address"))?;
    say_where(listener.local_addr())?;
    loop {
        let accepted = listener.accept().map_err(|e| Error::failed("accept failed").because(e));
        let served = accepted.and_then(|(stream, client)| {
            info!("{client} is here");
            thread::start("serve_client", move || match serve_client(&stream) {
                Ok(()) => info!("{client} is done"),
                Err(e) => warn!("{client} is dropped: {e}"),
            })
        });
        match served {
            Ok(thread) => thread.detach(),
            Err(e) => {
                warn!("cannot serve another client: {e}");
                std::thread::sleep(REST);
            }
        }
    }
}

/// Answers one client's lines until it closes the connection.
fn serve_client(mut stream: &TcpStream) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(line) = read_line(&mut reader, LINE)? {
        // One write for the whole answer: two would be two packets, and a pause between them.
        stream.write_all((uppercase(&line) + "\n").as_bytes())?;
    }
    Ok(())
}

/// Connects once; then a line out, a line in.
fn tcp_client(addr: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect_timeout(&addr, ANSWER_TIME).map_err(|e| {
        let advice = format!("start one there first: uppercase tcp-server {addr}");
        Error::failed(format!("cannot connect to a server at {addr}")).because(e).advise(advice)
    })?;
    let broke = |e| {
        let advice = "look what the server says, or start it again";
        Error::failed(format!("no answer from {addr}")).because(plain(e)).advise(advice)
    };
    stream.set_read_timeout(Some(ANSWER_TIME)).map_err(broke)?;
    let mut answers = BufReader::new(stream.try_clone().map_err(broke)?);
    while let Some(mut line) = next_line()? {
        line.push(b'\n');
        stream.write_all(&line).map_err(broke)?;
        let answer = read_line(&mut answers, ANSWER).map_err(broke)?;
        let answer = answer.ok_or_else(|| broke(ErrorKind::UnexpectedEof.into()))?;
        cli::say(String::from_utf8_lossy(&answer))?;
    }
    Ok(())
}

/// One socket for everybody: a datagram in, a datagram out, to its sender.
fn udp_server(addr: SocketAddr) -> Result<()> {
    let socket = UdpSocket::bind(addr).map_err(|e| cannot_listen(addr, e, "take another address"))?;
    say_where(socket.local_addr())?;
    // One byte more than a line: what is longer than a buffer is cut off, and nobody is told.
    let mut datagram = [0; LINE + 1];
    loop {
        match socket.recv_from(&mut datagram) {
            Ok((size, client)) if size > LINE => warn!("{client} sent more than {LINE} bytes: not answered"),
            Ok((size, client)) => match socket.send_to(uppercase(&datagram[..size]).as_bytes(), client) {
                Ok(_) => info!("{client} is answered"),
                Err(e) => warn!("{client} cannot be answered: {e}"),
            },
            Err(e) => {
                warn!("cannot receive: {e}");
                std::thread::sleep(REST);
            }
        }
    }
}

/// A datagram out, a datagram in, or none: then one of the two was lost.
fn udp_client(addr: SocketAddr) -> Result<()> {
    let here: SocketAddr = if addr.is_ipv4() { ([0; 4], 0).into() } else { ([0_u16; 8], 0).into() };
    let failed = |e: io::Error| {
        let advice = if is_timeout(&e) {
            "the question or its answer may be lost, as datagrams may: send it again".into()
        } else {
            format!("start a server there first: uppercase udp-server {addr}")
        };
        Error::failed(format!("no answer from {addr}")).because(plain(e)).advise(advice)
    };
    let socket = UdpSocket::bind(here).map_err(failed)?;
    // No packet is sent by this: the system only remembers the address, and keeps out other senders.
    socket.connect(addr).map_err(failed)?;
    socket.set_read_timeout(Some(ANSWER_TIME)).map_err(failed)?;
    while let Some(line) = next_line()? {
        cli::say(String::from_utf8_lossy(&ask(&socket, &line).map_err(failed)?))?;
    }
    Ok(())
}

// lab 1
/// Sends a line, and waits for its answer.
fn ask(socket: &UdpSocket, line: &[u8]) -> io::Result<Vec<u8>> {
    socket.send(line)?;
    let mut answer = [0; ANSWER];
    let size = socket.recv(&mut answer)?;
    Ok(answer[..size].to_vec())
}

fn uppercase(line: &[u8]) -> String {
    String::from_utf8_lossy(line).to_uppercase()
}

/// Reads a line without its newline; `None` at the end. The last line may lack its newline.
fn read_line(from: &mut impl BufRead, longest: usize) -> io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    // `read_line` of the standard library has no bound: a line without an end would fill the memory.
    from.take(longest as u64 + 1).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    line.pop_if(|last| *last == b'\n');
    if line.len() > longest {
        return Err(io::Error::new(ErrorKind::InvalidData, format!("a line longer than {longest} bytes")));
    }
    Ok(Some(line))
}

/// The next line that the user typed.
fn next_line() -> Result<Option<Vec<u8>>> {
    read_line(&mut io::stdin().lock(), LINE).map_err(|e| {
        let advice = format!("give it text, in lines of at most {LINE} bytes");
        Error::failed("cannot read the next line of stdin").because(e).advise(advice)
    })
}

/// The one line on stdout by which people and scripts learn that a server is ready, and where.
fn say_where(addr: io::Result<SocketAddr>) -> Result<()> {
    let addr = addr.map_err(|e| Error::failed("the socket has no address").because(e))?;
    cli::say(format_args!("listening on {addr}"))
}

/// Why no answer came, in words: a socket's own for "too late" are "resource temporarily unavailable".
fn plain(cause: io::Error) -> io::Error {
    match cause.kind() {
        _ if is_timeout(&cause) => io::Error::new(ErrorKind::TimedOut, "nothing came in time"),
        ErrorKind::UnexpectedEof => io::Error::new(ErrorKind::UnexpectedEof, "it closed the connection"),
        _ => cause,
    }
}
