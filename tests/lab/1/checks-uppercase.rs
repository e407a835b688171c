//! Exercise 1: questions over UDP, through a server that loses, doubles and delays datagrams.

use std::collections::HashSet;
use std::net::UdpSocket;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::*;
use crate::lab_runner::run;

#[test]
fn checks() {
    run(
        module_path!(),
        &[
            (2, "every line has its answer, though every third datagram is lost", every_third),
            (1, "a question has a number of its own, and keeps it when it is repeated", numbers),
            (2, "a late answer is not taken for the answer to the next question", late),
            (1, "an answer that comes twice is taken once", twice),
            (1, "what has another number, or none, is ignored", ignored),
            (1, "what is ignored makes no try longer", longer),
            (1, "when nobody answers, there is an error after five tries", silent),
            (1, "digits and spaces in a line stay as they are", digits),
        ],
    );
}

const WORDS: [&str; 6] = ["apple", "pear", "plum", "cherry", "fig", "lime"];

/// A server on a thread of its own, which sends back what `answers` makes of each datagram; it ends when this is
/// dropped.
struct Server {
    addr: SocketAddr,
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    stop: Arc<AtomicBool>,
}

impl Server {
    fn start(mut answers: impl FnMut(&[u8]) -> Vec<Vec<u8>> + Send + 'static) -> Self {
        let socket = listener();
        socket.set_read_timeout(Some(Duration::from_millis(10))).unwrap();
        let addr = socket.local_addr().unwrap();
        let (heard, stop) = (Arc::<Mutex<Vec<Vec<u8>>>>::default(), Arc::<AtomicBool>::default());
        let (noted, stopped) = (Arc::clone(&heard), Arc::clone(&stop));
        thread::spawn(move || {
            let mut datagram = [0; LINE + 1];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((size, client)) = socket.recv_from(&mut datagram) else { continue };
                noted.lock().unwrap().push(datagram[..size].to_vec());
                for answer in answers(&datagram[..size]) {
                    let _ = socket.send_to(&answer, client);
                }
            }
        });
        Self { addr, heard, stop }
    }

    /// The datagrams that have come for this line, which no other ends with.
    fn heard(&self, line: &str) -> Vec<String> {
        let heard = self.heard.lock().unwrap();
        let texts = heard.iter().map(|datagram| String::from_utf8_lossy(datagram).into_owned());
        texts.filter(|text| text.ends_with(line)).collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

fn listener() -> UdpSocket {
    UdpSocket::bind("127.0.0.1:0").unwrap()
}

/// A socket as `udp_client` has it.
fn client(addr: SocketAddr) -> UdpSocket {
    let socket = listener();
    socket.connect(addr).unwrap();
    socket.set_read_timeout(Some(ANSWER_TIME)).unwrap();
    socket
}

fn upper(datagram: &[u8]) -> Vec<u8> {
    uppercase(datagram).into_bytes()
}

/// What became of a question, in words that follow on "`apple` was asked, and ".
fn became(socket: &UdpSocket, line: &str) -> std::result::Result<String, String> {
    match catch_unwind(AssertUnwindSafe(|| ask(socket, line.as_bytes()))) {
        Ok(Ok(answer)) => Ok(String::from_utf8_lossy(&answer).into_owned()),
        Ok(Err(e)) => Err(format!("`ask` gave up: {e}")),
        Err(panicked) => {
            let words = panicked.downcast_ref::<String>().cloned();
            let words = words.or_else(|| panicked.downcast_ref::<&str>().map(|&words| words.into()));
            Err(format!("`ask` panicked: {}", words.unwrap_or_default()))
        }
    }
}

/// The same in words, also where it ended well.
fn words(became: &std::result::Result<String, String>) -> String {
    became.as_ref().map_or_else(String::clone, |answer| format!("the answer given is `{answer}`"))
}

/// The number at the front of a question, or 1.
fn number_of(question: &[u8]) -> String {
    let text = String::from_utf8_lossy(question);
    let number: String = text.chars().take_while(char::is_ascii_digit).collect();
    if number.is_empty() { "1".into() } else { number }
}

/// What is no answer to this question.
fn no_answers(question: &[u8]) -> Vec<Vec<u8>> {
    let number = number_of(question);
    let texts = [format!("{number}0 BANANA"), format!("9{number} BANANA"), "BANANA".into(), String::new()];
    texts.into_iter().map(String::into_bytes).chain([vec![0xff, 0xfe, b' ', b'1']]).collect()
}

fn every_third(seed: u64) {
    // Questions and answers are counted together: now the one is lost, now the other.
    let mut count = seed % 3;
    let mut lost = move || {
        count += 1;
        count % 3 == 0
    };
    let server =
        Server::start(move |question| if lost() || lost() { Vec::new() } else { vec![upper(question)] });
    let socket = client(server.addr);
    for line in WORDS {
        match became(&socket, line) {
            Ok(answer) => assert_eq!(
                answer,
                line.to_uppercase(),
                "every third datagram is lost; `{line}` was asked, and the answer given is not its own"
            ),
            Err(why) => panic!(
                "every third datagram is lost; `{line}` was asked, and {why}. {} came to the server: what is not answered \
                 within 200 ms is to be sent again",
                match server.heard(line).len() {
                    1 => "One datagram".into(),
                    n => format!("{n} datagrams"),
                }
            ),
        }
    }
}

fn numbers(_: u64) {
    // Only what comes again is answered.
    let mut tries = [0; WORDS.len()];
    let server = Server::start(move |question| {
        let Some(of) = WORDS.iter().position(|word| question.ends_with(word.as_bytes())) else {
            return Vec::new();
        };
        tries[of] += 1;
        if tries[of] == 1 { Vec::new() } else { vec![upper(question)] }
    });
    let socket = client(server.addr);
    let mut first = Vec::<String>::new();
    for line in &WORDS[..3] {
        let became = became(&socket, line);
        let heard = server.heard(line);
        let [one, two, ..] = &heard[..] else {
            panic!(
                "the first try of `{line}` was not answered; no second came, and {}: ask again after 200 ms",
                words(&became)
            );
        };
        let number = one.strip_suffix(&format!(" {line}")).unwrap_or_default();
        assert!(
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()),
            "`{line}` was asked, and `{one}` came to the server: it is to be a number, one space, and the line, as in `7 {line}`"
        );
        assert!(
            one == two,
            "`{line}` was asked; the first try was `{one}`, the second `{two}`: a repeat has the number of its question, else \
             the answer to the first try, when it is late, is worth nothing"
        );
        first.push(one.clone());
    }
    let numbers: HashSet<_> = first.iter().map(|question| question.split(' ').next()).collect();
    assert!(
        numbers.len() == first.len(),
        "these are three questions: `{}`. Two of them have the same number, so a late answer to one passes for an answer to \
         the other",
        first.join("`, `")
    );
}

fn late(_: u64) {
    // An answer goes out when its question comes again, and once more when the next question has come.
    let (mut seen, mut held) = (HashSet::new(), Vec::new());
    let server = Server::start(move |question| {
        if seen.insert(question.to_vec()) {
            std::mem::replace(&mut held, vec![upper(question)])
        } else {
            vec![upper(question)]
        }
    });
    let socket = client(server.addr);
    let mut before = String::new();
    for line in &WORDS[..3] {
        match became(&socket, line) {
            Ok(answer) if answer == line.to_uppercase() => before = answer,
            Ok(answer) if answer == before => {
                panic!(
                    "`{line}` was asked, and the answer given is `{answer}`: that is the late answer to the question before"
                )
            }
            Ok(answer) => panic!("`{line}` was asked, and the answer given is `{answer}`"),
            Err(why) => panic!(
                "each answer comes after 200 ms, when its question was sent again; `{line}` was asked, and {why}. An answer to \
                 the first try is good in the second, too"
            ),
        }
    }
}

fn twice(_: u64) {
    let server = Server::start(|question| vec![upper(question); 2]);
    let socket = client(server.addr);
    let mut before = String::new();
    for line in WORDS {
        match became(&socket, line) {
            Ok(answer) if answer == line.to_uppercase() => before = answer,
            Ok(answer) if answer == before => panic!(
                "`{line}` was asked, and the answer given is `{answer}`: that is the answer that came twice, to the question \
                 before"
            ),
            Ok(answer) => {
                panic!("each answer comes twice; `{line}` was asked, and the answer given is `{answer}`")
            }
            Err(why) => panic!("each answer comes twice; `{line}` was asked, and {why}"),
        }
    }
}

fn ignored(_: u64) {
    let server =
        Server::start(|question| no_answers(question).into_iter().chain([upper(question)]).collect());
    let socket = client(server.addr);
    for line in WORDS {
        let became = became(&socket, line);
        let heard = server.heard(line);
        let question = heard.first().map_or(line, String::as_str);
        let sent = no_answers(question.as_bytes());
        let sent: Vec<_> = sent.iter().map(|one| format!("`{}`", String::from_utf8_lossy(one))).collect();
        assert!(
            became.as_ref() == Ok(&line.to_uppercase()),
            "`{line}` was asked as `{question}`; before the answer came {}, which are answers to something else; then {}",
            sent.join(", "),
            words(&became)
        );
    }
}

fn longer(_: u64) {
    let silent = listener();
    let socket = client(silent.local_addr().unwrap());
    let (done, result) = channel();
    thread::spawn(move || done.send(became(&socket, "apple")));
    let mut question = [0; LINE + 1];
    silent.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    let (size, client) =
        silent.recv_from(&mut question).unwrap_or_else(|_| panic!("`apple` was asked, and nothing was sent"));
    let noise = no_answers(&question[..size]);
    let began = Instant::now();
    for noise in noise.iter().cycle() {
        let _ = silent.send_to(noise, client);
        match result.recv_timeout(Duration::from_millis(30)) {
            Ok(Err(_)) => break,
            Ok(Ok(answer)) => panic!("`apple` was asked, nobody answers, and the answer given is `{answer}`"),
            Err(_) => {}
        }
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "nobody answers `apple`, but every 30 ms comes a datagram that is to be ignored; after 5 s `ask` has not given up, \
             though five tries are one second. Does each of them make the try longer? Set the read timeout to what is left of \
             the 200 ms"
        );
    }
}

fn silent(_: u64) {
    let silent = listener();
    silent.set_nonblocking(true).unwrap();
    let socket = client(silent.local_addr().unwrap());
    let (done, result) = channel();
    let began = Instant::now();
    thread::spawn(move || {
        let asked = catch_unwind(AssertUnwindSafe(|| ask(&socket, b"apple").map_err(|e| e.kind())));
        done.send((asked, began.elapsed()))
    });
    let result = result.recv_timeout(Duration::from_secs(5));
    let mut question = [0; LINE + 1];
    let tries = std::iter::from_fn(|| silent.recv(&mut question).ok()).count();
    let Ok((asked, took)) = result else {
        panic!("nobody answers, and after 5 s and {tries} tries `ask` goes on asking: give up after five")
    };
    match asked {
        Ok(Err(ErrorKind::TimedOut)) => {}
        Ok(Err(kind)) if tries == 5 => panic!(
            "nobody answered in {tries} tries, and the error is of the kind {kind:?}: it is to be TimedOut, so that the user is \
             told that something may be lost"
        ),
        Ok(Err(_)) => {}
        Ok(Ok(answer)) => {
            panic!("nobody answered, and the answer given is `{}`", String::from_utf8_lossy(&answer))
        }
        Err(_) => panic!("nobody answered, and after {tries} tries `ask` panicked: it is to return an error"),
    }
    assert!(
        tries == 5,
        "nobody answers, and `ask` gave up; it sent the question {tries} times: five tries are asked for"
    );
    assert!(
        took >= Duration::from_millis(900),
        "nobody answers; five tries were over after {} ms: each is to wait for 200 ms, the last one, too",
        took.as_millis()
    );
}

fn digits(seed: u64) {
    let mut rng = StdRng::seed_from_u64(seed);
    let server = Server::start(|question| vec![upper(question)]);
    let socket = client(server.addr);
    let fixed = ["7", "7 8 9", "12 hello", "", " ", "  two spaces", "at the end "].map(String::from);
    let drawn = (0..20).map(|_| {
        let length = rng.random_range(1..12);
        (0..length).map(|_| ['0', '1', '7', ' ', ' ', 'a'][rng.random_range(0..6)]).collect()
    });
    for line in fixed.into_iter().chain(drawn) {
        let became = became(&socket, &line);
        assert!(
            became.as_ref() == Ok(&line.to_uppercase()),
            "`{line}` was asked; the answer is to be `{}`, and {}. Take off the number and one space, and no more",
            line.to_uppercase(),
            words(&became)
        );
    }
}
