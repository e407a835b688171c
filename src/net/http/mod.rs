//! HTTP on the same port: one request, one answer, and the connection is closed.
//!
//! # The problem
//! Everybody has a browser and `curl`; a peer of ours must first be fetched. So files and the
//! board should be there for any program that speaks HTTP. A second port would be a second address to tell,
//! to open in a firewall and to get wrong. But a message begins with `{`, and a request line with a method and
//! ends with `HTTP/1.1`: the first line of a connection tells the two apart.
//!
//! # The rule
//! Only what a download needs, and that exactly:
//! - **Reading only.** `GET` and `HEAD`; nothing that comes over HTTP changes anything. A request with a body
//!   is refused, and so is each that two programs could understand in two ways: two `Host`s, a bare CR, a
//!   path that begins to climb. What is refused is answered with a plain 4xx, in words ([`request`]).
//! - **Hard limits.** [`limits::HTTP_HEAD`] bytes, [`limits::HTTP_HEADERS`] headers, and
//!   [`limits::HTTP_HEAD_TIME`] for all of it. The answer must be taken at [`limits::HTTP_PACE`]. Each
//!   connection has its own thread, so one that does not speak or read delays nobody.
//! - **A path is a list of names**, decoded once, each for itself ([`Request::path`]). It never becomes a
//!   path on the disk: a node looks the name up among those that it offers.
//! - **Parts.** What has a version (`ETag`) need not be sent twice, and what is long can be asked for in parts
//!   ([`answer`]).
//! - **Only under its own address.** A web page of anybody's can let *its* name stand for 127.0.0.1, and then
//!   read what is served there (DNS rebinding). So a request must name, as its `Host`, an address or
//!   `localhost`: such a name belongs to nobody.
//!
//! # An example
//! ```text
//! $ curl -r 0-4 -i http://127.0.0.1:40312/data/hello.txt
//! HTTP/1.1 206 Partial Content
//! Content-Range: bytes 0-4/12
//! Content-Length: 5
//! ETag: "9f2c...e1"
//! Connection: close
//!
//! hello
//! ```
//!
//! # Thinking and waiting
//! [`Request::parse`], [`Answer::wanted_by`] and [`Answer::head`] are plain functions of bytes. Only [`first_message`]
//! touches the socket.
//!
//! # What is missing
//! A connection for each request costs a round trip: fine for a file, slow for a thousand small ones. No
//! encryption (TLS), so a machine on the way can read and change what passes; the hashes in a Metalink
//! find that out only where the Metalink itself came unchanged.

pub(crate) mod answer;
mod request;

use std::fs::File;
use std::io::{self, BufRead, BufWriter, ErrorKind, Read, Write};
use std::ops::Range;
use std::time::SystemTime;

use log::debug;
use serde::de::{DeserializeOwned, IgnoredAny};

use self::answer::{Body, Gate};
use self::request::No;
pub(crate) use self::{answer::Answer, request::Request, request::Status};
use super::connection::{Connection, Received};
use super::limits;
use super::timed::{Limit, Timed, is_timeout};
use crate::error::{Error, Result};

/// The methods of RFC 9110, and PATCH: what begins with one of these means HTTP, whatever follows.
const METHODS: [&[u8]; 9] =
    [b"GET", b"HEAD", b"POST", b"PUT", b"DELETE", b"CONNECT", b"OPTIONS", b"TRACE", b"PATCH"];

/// The first message of a connection. `None` where nothing is left to do: nothing came in its time, or a request, which
/// has got the answer that `route` gives.
///
/// # Errors
/// When the connection broke; `bad_message` for a first line that is neither a request nor such a message. A request
/// that is refused is answered, and no error here.
pub(crate) fn first_message<M: DeserializeOwned>(
    connection: &mut Connection,
    route: impl FnOnce(&Request) -> Answer,
) -> Result<Option<M>> {
    match connection.first_byte(Some(limits::FIRST_MESSAGE_TIME))? {
        // No message begins with a capital letter, and every method does.
        Received::Message(b'A'..=b'Z') => serve_request(connection, route).map(|()| None),
        Received::Message(_) => match connection.receive(None)? {
            Received::Message(first) => Ok(Some(first)),
            Received::End | Received::Silence => Ok(None),
        },
        Received::End | Received::Silence => Ok(None),
    }
}

fn serve_request(connection: &mut Connection, route: impl FnOnce(&Request) -> Answer) -> Result<()> {
    let other = connection.other();
    let mut head = Vec::new();
    let heard = read_head(connection.bytes_within(limits::HTTP_HEAD_TIME), &mut head);
    if !is_request(&head) {
        // What is said to one that speaks neither HTTP nor in messages: the same as to any other line.
        return connection.understand::<IgnoredAny>(&head).map(drop);
    }
    let asked = match heard {
        Ok(()) => Request::parse(&head),
        Err(e) if is_timeout(&e) => Err(No(Status::TIMEOUT, "the request did not come whole in its time")),
        Err(e) => return Err(Error::failed(format!("{other} did not finish its request")).because(e)),
    };
    // Not the rest: a browser sends what other programs on this machine told it, such as cookies.
    connection.trace('<', head.split(|byte| *byte == b'\n').next().unwrap_or_default());
    let (answer, what) = match &asked {
        Ok(request) => (route(request).wanted_by(request), request.to_string()),
        Err(No(status, why)) => (Answer::no(*status, why), "a bad request".to_owned()),
    };
    debug!("{other}: {what}: {}", answer.status);
    // An answer to `HEAD` has no body, also when it is a refusal.
    send(connection, answer, head.starts_with(b"HEAD "))
        .map_err(|e| Error::failed(format!("{other} has not got all of the answer to {what}")).because(e))?;
    connection.linger();
    Ok(())
}

/// Reads up to the first empty line, and with it; less where the first line is not one of HTTP, or the head is too
/// large.
pub(crate) fn read_head(from: &mut impl BufRead, head: &mut Vec<u8>) -> io::Result<()> {
    loop {
        let line = head.len();
        from.by_ref().take((limits::HTTP_HEAD - line) as u64).read_until(b'\n', head)?;
        let is_over = matches!(&head[line..], b"\n" | b"\r\n") || head.len() == limits::HTTP_HEAD;
        if is_over || !is_request(head) {
            return Ok(());
        }
        if !head[line..].ends_with(b"\n") {
            return Err(ErrorKind::UnexpectedEof.into());
        }
    }
}

/// Whether the first of these lines is that of a request.
pub(crate) fn is_request(head: &[u8]) -> bool {
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default().trim_ascii_end();
    let method = line.split(|byte| *byte == b' ').next().unwrap_or_default();
    METHODS.contains(&method) || line.windows(6).any(|word| word == b" HTTP/")
}

fn send(connection: &Connection, answer: Answer, head_only: bool) -> io::Result<()> {
    let head = answer.head(SystemTime::now());
    connection.trace('>', &head);
    rustix::net::sockopt::set_socket_send_buffer_size(connection.stream(), limits::HTTP_BUFFER)?;
    let mut stream = BufWriter::new(connection.within(Limit::at(limits::HTTP_PACE)));
    stream.write_all(&head)?;
    // Which bytes of the body the next part begins with.
    let mut at = 0;
    let mut put = |part: &[u8]| {
        let within = |byte: u64| byte.saturating_sub(at).min(part.len() as u64) as usize;
        let wanted = within(answer.part.start)..within(answer.part.end);
        at += part.len() as u64;
        stream.write_all(&part[wanted])
    };
    match answer.body {
        _ if head_only => {}
        Body::Bytes(bytes) => put(&bytes)?,
        Body::Parts(mut parts) => parts.try_for_each(|part| put(part.as_bytes()))?,
        Body::File(file, gate) => {
            stream.flush()?;
            send_file(stream.get_mut(), &file, answer.part, &gate)?;
        }
    }
    stream.flush()
}

/// Sends a part of a file inside the kernel: it takes a thread, and no memory, whatever its size.
fn send_file(stream: &mut Timed, file: &File, part: Range<u64>, gate: &Gate) -> io::Result<()> {
    let mut at = part.start;
    while at < part.end {
        let step = gate(part.end - at).map_err(io::Error::other)?;
        stream.send_file(file, at, step)?;
        at += step;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::thread;

    use super::*;
    use crate::net::connection::tests::accept;

    #[test]
    fn a_first_line_is_a_request_a_message_or_neither() {
        for line in
            ["GET / HTTP/1.1\r\n", "GET /\r\n", "GET\n", "HEAD / HTTP/1.0", "BREW /pot HTTP/1.1\r\n", "POST "]
        {
            assert!(is_request(line.as_bytes()), "{line:?}");
        }
        for line in ["PING PONG\n", "GETAWAY\n", "G", "", "QUIT\n", "A HTTP\n"] {
            assert!(!is_request(line.as_bytes()), "{line:?}");
        }
    }

    /// What the kernel takes of an answer is no sign that its reader reads.
    #[test]
    fn little_is_sent_to_one_that_does_not_read() {
        static PASSED: AtomicU64 = AtomicU64::new(0);
        let file = tempfile::tempfile().unwrap();
        file.set_len(64 << 20).unwrap();
        let gate = |left: u64| {
            PASSED.fetch_add(64 << 10, Ordering::SeqCst);
            Ok(left.min(64 << 10))
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut connection = accept(&listener);
        let answer = |_: &Request| Answer::file("x/y", file, 64 << 20, gate);
        let error = first_message::<IgnoredAny>(&mut connection, answer).unwrap_err();
        assert!(PASSED.load(Ordering::SeqCst) < 1 << 20, "{PASSED:?} bytes before {error}");
    }

    #[test]
    fn a_file_is_sent_in_steps_that_its_gate_lets_pass() {
        static PASSED: AtomicU64 = AtomicU64::new(0);
        let file = tempfile::tempfile().unwrap();
        const STEP: u64 = 100_000;
        let size = 10 * STEP + 1;
        file.set_len(size).unwrap();
        let gate = move |left| match PASSED.fetch_add(STEP, Ordering::SeqCst) {
            passed if passed < 3 * STEP => {
                assert_eq!(left, size - passed);
                Ok(STEP)
            }
            _ => Err(Error::failed("enough")),
        };
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let server = thread::spawn(move || {
            let mut connection = accept(&listener);
            let answer = |_: &Request| Answer::file("x/y", file, size, gate);
            first_message::<IgnoredAny>(&mut connection, answer)
        });
        client.write_all(b"GET / HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).unwrap();
        let head = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
        assert_eq!((answer.len() - head) as u64, 3 * STEP);
        assert!(server.join().unwrap().unwrap_err().to_string().contains("enough"));
    }
}
