//! Who may speak to a node: those that know the secret of its network.
//!
//! # The problem
//! All that can reach a port can speak to it. On a machine of one's own that is nobody else; in a lab it is the whole
//! house. A password in each message would be read by the first program that it is sent to by mistake.
//!
//! # The rule
//! With `--secret-file` every node has the same secret, and none ever sends it. After the first line of a conversation
//! the node that was reached draws a number that was never used, the *nonce*. It reads on, and understands that line,
//! only when the other side has shown what HMAC-SHA-256 makes of nonce and line under the secret ([`key`](super::key)).
//! The line is in it, so that a proof is worth nothing for another line; the nonce, so that it is worth nothing another
//! time. A payload is sent after the proof.
//!
//! ```text
//! > {"type":"state"}
//! {"type":"challenge","nonce":"5f0c...d1"}
//! > {"type":"proof","mac":"90ab...37","nonce":"77e2...08"}
//! {"type":"welcome","mac":"c41d...5e"}
//! {"type":"state","peers":[...]}
//! ```
//!
//! The side that began may ask for the same in return, by a nonce of its own, and the programs here do: else any
//! program that takes the port of a dead manager could give its peers orders. The two are made for two purposes, so
//! that neither can be sent back as the other; and a manager's for a third, so that nobody can fetch it from a peer.
//!
//! All of this is done by the [`Connection`](super::connection::Connection), so that no conversation knows of it. HTTP,
//! which only reads, stays open. A node without a secret listens on loopback only, unless it is told `--open`.
//!
//! # What is missing
//! It admits, it does not encrypt: a machine on the way can read what passes, and can take over a conversation that was
//! admitted. All who know the secret are trusted alike; to send one of them away, give the others a new one.

use std::net::SocketAddr;

use clap::Args;
use serde::{Deserialize, Serialize};

use super::key::{Key, Purpose};
use super::limits;
use super::message::{Refusal, Reply};
use crate::error::{Code, Error, Result};

/// Who may speak to a node, as its command line says.
#[derive(Clone, Debug, Default, Args)]
pub struct Admission {
    /// The file with the secret of the network; the same on every node
    #[arg(long, global = true, env = "PEERLAB_SECRET_FILE", value_name = "FILE")]
    pub secret_file: Option<String>,
    /// What is in it, once it is needed.
    #[arg(skip)]
    pub secret: Option<Key>,
    /// Listen on an address that others can reach, also without a secret: any program may join
    #[arg(long, global = true)]
    pub open: bool,
}

impl Admission {
    /// Reads the secret, if there is to be one.
    ///
    /// # Errors
    /// A usage error when that is not possible, with what named the file.
    pub fn read_secret(&mut self) -> Result<()> {
        let read = |file: &String| {
            let said = |no: Error| no.given_by("--secret-file", "PEERLAB_SECRET_FILE", file);
            Key::from_file(file).map_err(said)
        };
        self.secret = self.secret_file.as_ref().map(read).transpose()?;
        Ok(())
    }

    /// Whether a node may listen on `addr`.
    ///
    /// # Errors
    /// A usage error where programs of other machines could reach it and need no secret.
    pub(super) fn allow(&self, addr: SocketAddr) -> Result<()> {
        if addr.ip().is_loopback() || self.secret.is_some() || self.open {
            return Ok(());
        }
        let what = format!("{addr} can be reached from other machines, and anybody there could join");
        Err(Error::new(Code::Usage, what).advise(
            "give every node the same --secret-file, add --open if everybody may join, or listen on 127.0.0.1",
        ))
    }
}

/// What is said between the first line of a conversation and its answer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
pub(crate) enum Handshake {
    /// "Show that you know the secret": what that makes of this number, which was never used before, and your first
    /// line.
    Challenge { nonce: Key },
    /// "This is what it makes of them." With a nonce of one's own: "show that you know it, too".
    Proof { mac: Key, nonce: Option<Key> },
    /// "This is what it makes of yours."
    Welcome { mac: Key },
    /// "No", with the reason.
    Error(Refusal),
    /// An answer of one that asks for no secret.
    #[serde(other)]
    Other,
}

impl Reply for Handshake {
    fn granted(self) -> Result<Self> {
        if let Self::Error(no) = self { Err(no.into()) } else { Ok(self) }
    }
}

/// What a node is whose lines may be so long, as it shows it to one that it has let in.
pub(super) fn welcome(longest_line: usize) -> Purpose {
    if longest_line == limits::MANAGER_LINE { Purpose::ManagerWelcome } else { Purpose::Welcome }
}

/// What shows that one knows the secret; `line` is the first of the conversation.
pub(super) fn prove(secret: &Key, purpose: Purpose, nonce: &Key, line: &[u8]) -> Key {
    secret.make(purpose, &[nonce.to_string().as_bytes(), line.trim_ascii_end()])
}

/// The failure of one that cannot show, or is not shown, what is asked for.
pub(super) fn unauthorised(what: impl Into<String>) -> Error {
    Error::new(Code::Unauthorised, what).advise("start every node with the same --secret-file")
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Read, Write};
    use std::net::{TcpListener, TcpStream};
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::net::connection::{Connection, Received};
    use crate::net::limits;
    use crate::net::message::FromPeer;
    use crate::net::server::{Server, listen};

    /// Answers every line, any JSON value, with the same line.
    fn echo(secret: Option<&Key>) -> Server {
        let listener = listen(([127, 0, 0, 1], 0).into(), &Admission::default()).unwrap();
        Server::start("serve_echo", listener, limits::LINE, secret.cloned(), |connection| {
            while let Received::Message(value) = connection.receive::<Value>(None)? {
                connection.send(&value)?;
            }
            Ok(())
        })
        .unwrap()
    }

    fn connect(addr: SocketAddr, secret: Option<&Key>) -> Connection {
        Connection::connect(addr, limits::LINE, secret).unwrap()
    }

    /// What comes next.
    fn hear(connection: &mut Connection) -> Result<Value> {
        match connection.receive(Some(limits::MESSAGE_TIME))? {
            Received::Message(value) => Ok(value),
            other => panic!("{other:?}"),
        }
    }

    /// The other side of a connection, by hand.
    struct Hand(BufReader<TcpStream>);

    impl Hand {
        fn new(stream: TcpStream) -> Self {
            stream.set_read_timeout(Some(2 * limits::MESSAGE_TIME)).unwrap();
            Self(BufReader::new(stream))
        }

        fn say(&mut self, message: &Value) {
            self.0.get_mut().write_all(format!("{message}\n").as_bytes()).unwrap();
        }

        fn line(&mut self) -> String {
            let mut line = String::new();
            self.0.read_line(&mut line).unwrap();
            line
        }

        fn hear(&mut self) -> Value {
            serde_json::from_str(&self.line()).unwrap()
        }

        /// Says a first line; gives the nonce of the challenge.
        fn challenged(addr: SocketAddr, first: &Value) -> (Self, Key) {
            let mut hand = Self::new(TcpStream::connect(addr).unwrap());
            hand.say(first);
            let challenge = hand.hear();
            assert_eq!(challenge["type"], "challenge");
            (hand, challenge["nonce"].as_str().unwrap().parse().unwrap())
        }

        fn is_refused(&mut self) {
            let no = self.hear();
            assert_eq!((&no["type"], &no["code"]), (&json!("error"), &json!("unauthorised")), "{no}");
            assert!(no["text"].as_str().unwrap().contains("--secret-file"), "{no}");
            assert_eq!(self.line(), "", "the connection ends");
        }
    }

    fn proof(secret: &Key, purpose: Purpose, nonce: &Key, first: &Value) -> Value {
        json!({"type": "proof", "mac": prove(secret, purpose, nonce, first.to_string().as_bytes())})
    }

    #[test]
    fn two_that_know_the_secret_speak_as_if_there_were_none() {
        let secret = Key::random();
        let server = echo(Some(&secret));
        let mut connection = connect(server.addr(), Some(&secret));
        for n in 0..3 {
            connection.send(&n).unwrap();
            assert_eq!(hear(&mut connection).unwrap(), n);
        }
        // What several threads say after the first message waits until both sides have shown what they know.
        let mut connection = connect(server.addr(), Some(&secret));
        connection.send(&"first").unwrap();
        let line = connection.outbox();
        (0..100).for_each(|n| line.send(&n));
        assert_eq!(hear(&mut connection).unwrap(), "first");
        (0..100).for_each(|n| assert_eq!(hear(&mut connection).unwrap(), n));
        line.send(&"last");
        assert_eq!(hear(&mut connection).unwrap(), "last");
    }

    #[test]
    fn one_that_shows_nothing_or_something_wrong_is_refused_before_its_first_line_is_understood() {
        let (secret, first, own) = (Key::random(), json!({"not": "understood"}), Key::random());
        let server = echo(Some(&secret));
        let right = |nonce: &Key| proof(&secret, Purpose::Enter, nonce, &first);
        // A proof is good, but only once.
        let (mut hand, nonce) = Hand::challenged(server.addr(), &first);
        hand.say(&right(&nonce));
        assert_eq!(hand.hear(), first);
        let (mut again, other) = Hand::challenged(server.addr(), &first);
        assert_ne!(nonce, other);
        again.say(&right(&nonce));
        again.is_refused();
        // For another line, under another secret, for another purpose; and what is no proof at all.
        let wrong: [&dyn Fn(&Key) -> Value; 6] = [
            &|nonce| proof(&secret, Purpose::Enter, nonce, &json!({"not": "this"})),
            &|nonce| proof(&own, Purpose::Enter, nonce, &first),
            &|nonce| proof(&secret, Purpose::Welcome, nonce, &first),
            &|nonce| json!({"type": "proof", "mac": nonce}),
            &|_| json!({"type": "proof", "mac": "0"}),
            &|_| first.clone(),
        ];
        for wrong in wrong {
            let (mut hand, nonce) = Hand::challenged(server.addr(), &first);
            hand.say(&wrong(&nonce));
            hand.is_refused();
        }
        // Nothing.
        let (mut hand, _) = Hand::challenged(server.addr(), &first);
        hand.is_refused();
    }

    #[test]
    fn where_the_two_have_not_the_same_secret_it_is_said_what_to_do() {
        let (ours, theirs) = (Key::random(), Key::random());
        for (here, there, what) in [
            (Some(&ours), Some(&theirs), "lets in only programs that know its secret"),
            (Some(&ours), None, "has not this network's secret"),
            (None, Some(&theirs), "asks for a secret, and none was given here"),
        ] {
            let server = echo(there);
            let mut connection = connect(server.addr(), here);
            connection.send(&json!({"type": "state"})).unwrap();
            let no = connection.answer::<FromPeer>(limits::MESSAGE_TIME).unwrap_err();
            assert_eq!(no.code(), Code::Unauthorised, "{no}");
            let text = no.to_string();
            assert!(text.contains(what) && text.contains("the same --secret-file"), "{text}");
        }
    }

    #[test]
    fn a_payload_and_what_others_say_wait_for_the_proofs() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (addr, secret) = (listener.local_addr().unwrap(), Key::random());
        let server = |accepted: TcpStream, welcome: Purpose| {
            let (mut hand, nonce) = (Hand::new(accepted), Key::random());
            let first = hand.hear();
            hand.say(&json!({"type": "challenge", "nonce": nonce}));
            // The next that comes is the proof, and not the payload.
            let shown = hand.hear();
            assert_eq!(shown["mac"], proof(&secret, Purpose::Enter, &nonce, &first)["mac"]);
            let asked = shown["nonce"].as_str().unwrap().parse().unwrap();
            let mac = proof(&secret, welcome, &asked, &first)["mac"].take();
            hand.say(&json!({"type": "welcome", "mac": mac}));
            let mut rest = String::new();
            hand.0.read_to_string(&mut rest).unwrap();
            rest
        };
        let no = Err("");
        for (welcome, expected) in
            [(Purpose::Welcome, Ok("payload")), (Purpose::Enter, no), (Purpose::ManagerWelcome, no)]
        {
            std::thread::scope(|scope| {
                let rest = scope.spawn(|| server(listener.accept().unwrap().0, welcome));
                let mut connection = connect(addr, Some(&secret));
                let sent =
                    connection.send_with_payload(&json!({"payload": 7}), |out| out.write_all(b"payload"));
                assert_eq!(sent.is_ok(), expected.is_ok());
                drop(connection);
                // To one that cannot show that it knows the secret nothing more is said.
                assert_eq!(rest.join().unwrap(), expected.unwrap_or_else(|nothing| nothing));
            });
        }
    }

    #[test]
    fn one_that_waits_for_a_silent_node_may_do_something_else_meanwhile() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut connection = connect(listener.local_addr().unwrap(), Some(&Key::random()));
        connection.send(&1).unwrap();
        for _ in 0..3 {
            let heard = connection.first_byte(Some(Duration::from_millis(1))).unwrap();
            assert!(matches!(heard, Received::Silence));
        }
    }

    #[test]
    fn a_node_that_others_can_reach_needs_a_secret_or_is_open_to_all() {
        let secret = Key::random();
        for (addr, secret, open, allowed) in [
            ("127.0.0.1:0", None, false, true),
            ("[::1]:0", None, false, true),
            ("0.0.0.0:0", None, false, false),
            ("192.168.1.7:0", None, false, false),
            ("[::]:0", None, false, false),
            ("0.0.0.0:0", None, true, true),
            ("0.0.0.0:0", Some(secret), false, true),
        ] {
            let asked = Admission { secret, open, secret_file: None }.allow(addr.parse().unwrap());
            assert_eq!(asked.is_ok(), allowed, "{addr}");
            let no = asked.err().map_or(2, |no| no.exit_status());
            assert_eq!(no, 2, "a usage error");
        }
    }
}
