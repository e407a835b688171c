//! The four first programs, from the outside: run as a reader of the report runs them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::process::{Child, Command, Output, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType};

/// How long anything here may take. A client's patience of two seconds is the longest wait in it.
const DEADLINE: Duration = Duration::from_secs(20);

/// A program under test; it does not outlive its test, however that ends.
struct Program(Child);

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn uppercase(program: &str, addr: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_uppercase"));
    command.args([program, addr]).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Starts a server on a free port, and reads from its one line where it listens.
fn serve(program: &str) -> (Program, SocketAddr) {
    let mut command = uppercase(program, "127.0.0.1:0");
    let mut server = Program(command.env("RUST_LOG", "off").stderr(Stdio::inherit()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(server.0.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let addr: SocketAddr = line.trim_end().rsplit(' ').next().unwrap().parse().expect(&line);
    assert_ne!(addr.port(), 0, "{line}");
    (server, addr)
}

/// Runs a program to its end with this text as its stdin.
fn run(mut command: Command, stdin: &[u8]) -> Output {
    let mut program = Program(command.spawn().unwrap());
    // A program that fails early reads no more; that is its affair.
    let _ = program.0.stdin.take().unwrap().write_all(stdin);
    let began = Instant::now();
    while program.0.try_wait().unwrap().is_none() {
        assert!(began.elapsed() < DEADLINE, "still running: {command:?}");
        thread::sleep(Duration::from_millis(5));
    }
    let mut output = Output { status: program.0.wait().unwrap(), stdout: Vec::new(), stderr: Vec::new() };
    program.0.stdout.take().unwrap().read_to_end(&mut output.stdout).unwrap();
    program.0.stderr.take().unwrap().read_to_end(&mut output.stderr).unwrap();
    output
}

#[track_caller]
fn answers(program: &str, addr: SocketAddr, stdin: &[u8], expected: &str) {
    let output = run(uppercase(program, &addr.to_string()), stdin);
    let (stdout, stderr) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!((stdout.as_ref(), stderr.as_ref()), (expected, ""));
    assert_eq!(output.status.code(), Some(0));
}

#[track_caller]
fn fails(command: Command, stdin: &[u8], status: i32, words: &[&str]) {
    let shown = format!("{command:?}");
    let output = run(command, stdin);
    let text = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{shown}: {text}");
    assert!(words.iter().all(|word| text.contains(word)), "{shown}: no {words:?} in {text}");
    assert_eq!(output.stdout, b"", "{shown}");
}

fn connect(addr: SocketAddr) -> (TcpStream, BufReader<TcpStream>) {
    let stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    let reader = BufReader::new(stream.try_clone().unwrap());
    (stream, reader)
}

fn line(reader: &mut impl BufRead) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).unwrap();
    line
}

/// A socket that sends to, and hears from, this server only.
fn datagrams(addr: SocketAddr) -> UdpSocket {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.connect(addr).unwrap();
    socket
}

fn datagram(socket: &UdpSocket) -> String {
    let mut answer = [0; 8192];
    let size = socket.recv(&mut answer).unwrap();
    String::from_utf8(answer[..size].to_vec()).unwrap()
}

#[test]
fn a_client_gets_every_line_back_in_upper_case_and_in_order() {
    for (server, client) in [("tcp-server", "tcp-client"), ("udp-server", "udp-client")] {
        let (_server, addr) = serve(server);
        answers(client, addr, "good morning\n\ngrüße\n".as_bytes(), "GOOD MORNING\n\nGRÜSSE\n");
        answers(client, addr, b"no newline at the end", "NO NEWLINE AT THE END\n");
        answers(client, addr, b"\xff is no text\n", "\u{fffd} IS NO TEXT\n");
        answers(client, addr, b"", "");
    }
}

#[test]
fn the_longest_line_is_answered_whole_though_its_answer_is_three_times_as_long() {
    for (server, client) in [("tcp-server", "tcp-client"), ("udp-server", "udp-client")] {
        let (_server, addr) = serve(server);
        answers(client, addr, "ΐ".repeat(600).as_bytes(), &("ΐ".repeat(600).to_uppercase() + "\n"));
        answers(client, addr, &[0xff; 1200], &("\u{fffd}".repeat(1200) + "\n"));
        fails(uppercase(client, &addr.to_string()), &[b'x'; 1201], 1, &["stdin", "at most 1200 bytes"]);
    }
}

#[test]
fn a_server_prints_one_line_and_no_more() {
    for program in ["tcp-server", "udp-server"] {
        let (mut server, addr) = serve(program);
        answers(&program.replace("server", "client"), addr, b"a\nb\n", "A\nB\n");
        server.0.kill().unwrap();
        let mut rest = String::new();
        server.0.stdout.take().unwrap().read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
    }
}

#[test]
fn a_slow_tcp_client_delays_nobody() {
    let (_server, addr) = serve("tcp-server");
    let (mut slow, mut slow_answers) = connect(addr);
    slow.write_all(b"half a li").unwrap();
    let others: Vec<_> = (0..50).map(|_| connect(addr)).collect();
    for (n, (mut stream, mut answers)) in others.into_iter().enumerate().rev() {
        writeln!(stream, "client {n}").unwrap();
        assert_eq!(line(&mut answers), format!("CLIENT {n}\n"));
    }
    slow.write_all(b"ne\n").unwrap();
    assert_eq!(line(&mut slow_answers), "HALF A LINE\n");
}

#[test]
fn tcp_keeps_no_message_so_the_newline_does() {
    let (_server, addr) = serve("tcp-server");
    let (mut stream, mut answers) = connect(addr);
    stream.write_all(b"two lines\nin one write\nand the third in").unwrap();
    assert_eq!(line(&mut answers), "TWO LINES\n");
    assert_eq!(line(&mut answers), "IN ONE WRITE\n");
    stream.write_all(b" two\n").unwrap();
    assert_eq!(line(&mut answers), "AND THE THIRD IN TWO\n");
    stream.write_all(b"torn").unwrap();
    stream.shutdown(Shutdown::Write).unwrap();
    assert_eq!(line(&mut answers), "TORN\n");
    assert_eq!(line(&mut answers), "", "the server closes too");
}

#[test]
fn a_tcp_client_that_sends_too_much_or_vanishes_costs_the_others_nothing() {
    let (_server, addr) = serve("tcp-server");
    let (mut endless, mut answers_to_it) = connect(addr);
    let began = Instant::now();
    // The server reads its 1201 bytes and closes; sooner or later a write finds that out.
    while endless.write_all(&[b'x'; 4096]).is_ok() {
        assert!(began.elapsed() < DEADLINE, "a line without an end is read for ever");
    }
    let mut answer = Vec::new();
    let _ = answers_to_it.read_to_end(&mut answer);
    assert_eq!(answer, b"");
    for _ in 0..20 {
        // An answer that is never read: the connection ends with a reset instead of an end.
        let (mut stream, _) = connect(addr);
        stream.write_all(&b"hello\n".repeat(100)).unwrap();
    }
    answers("tcp-client", addr, b"still there?\n", "STILL THERE?\n");
}

#[test]
fn a_datagram_is_a_message_even_an_empty_one_and_one_that_is_too_long_is_not_answered() {
    let (_server, addr) = serve("udp-server");
    let socket = datagrams(addr);
    for (sent, received) in [("two\nlines", "TWO\nLINES"), ("", ""), ("é", "É")] {
        socket.send(sent.as_bytes()).unwrap();
        assert_eq!(datagram(&socket), received);
    }
    socket.send(&[b'x'; 1201]).unwrap();
    socket.send(&[b'x'; 60_000]).unwrap();
    socket.send(b"next").unwrap();
    assert_eq!(datagram(&socket), "NEXT", "the answer to something too long came first");
}

#[test]
fn a_udp_client_does_not_wait_for_ever_and_says_that_a_datagram_may_be_lost() {
    let silent = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = silent.local_addr().unwrap().to_string();
    fails(uppercase("udp-client", &addr), b"hello\n", 1, &[&addr, "in time", "lost", "send it again"]);
    let mut question = [0; 16];
    assert_eq!(silent.recv(&mut question).unwrap(), 5, "the question itself was sent, and once");
}

#[test]
fn a_tcp_client_says_whether_a_server_is_missing_silent_or_gone() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    fails(uppercase("tcp-client", &addr), b"hello\n", 1, &["no answer from", &addr, "in time"]);
    let closes = thread::spawn(move || {
        // The first in the backlog is the client above.
        for stream in listener.incoming().take(2) {
            let mut stream = stream.unwrap();
            stream.shutdown(Shutdown::Write).unwrap();
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    fails(uppercase("tcp-client", &addr), b"hello\n", 1, &["no answer from", "it closed the connection"]);
    closes.join().unwrap();
}

#[test]
fn a_client_without_a_server_says_how_to_start_one() {
    // Two ports that nobody else can take meanwhile: one is bound but does not listen, the other
    // listens to one sender only, which is not the client.
    let tcp = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    rustix::net::bind(&tcp, &SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let tcp = (SocketAddr::try_from(rustix::net::getsockname(&tcp).unwrap()).unwrap().to_string(), tcp);
    fails(
        uppercase("tcp-client", &tcp.0),
        b"hello\n",
        1,
        &["cannot connect", &tcp.0, "uppercase tcp-server"],
    );
    let other = UdpSocket::bind("127.0.0.1:0").unwrap();
    let udp = datagrams(other.local_addr().unwrap());
    let udp = (udp.local_addr().unwrap().to_string(), udp);
    fails(
        uppercase("udp-client", &udp.0),
        b"hello\n",
        1,
        &["no answer from", &udp.0, "uppercase udp-server"],
    );
}

#[test]
fn an_address_that_cannot_be_listened_on_is_named_with_what_to_do() {
    let (listener, socket) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), UdpSocket::bind("127.0.0.1:0").unwrap());
    let (tcp, udp) = (listener.local_addr().unwrap().to_string(), socket.local_addr().unwrap().to_string());
    fails(uppercase("tcp-server", &tcp), b"", 1, &["cannot listen on", &tcp, "port 0"]);
    fails(uppercase("udp-server", &udp), b"", 1, &["cannot listen on", &udp, "port 0"]);
    fails(uppercase("tcp-server", "192.0.2.1:9000"), b"", 1, &["cannot listen on", "of this machine"]);
}

#[test]
fn a_command_that_makes_no_sense_is_a_usage_error() {
    fails(uppercase("tcp-server", "localhost"), b"", 2, &["localhost", "such as 127.0.0.1:7000"]);
    fails(uppercase("sctp-server", "127.0.0.1:0"), b"", 2, &["sctp-server", "tcp-server", "udp-client"]);
    let mut nothing = Command::new(env!("CARGO_BIN_EXE_uppercase"));
    nothing.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    fails(nothing, b"", 2, &["Usage"]);
}
