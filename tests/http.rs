//! HTTP, seen from the outside: real clients, and raw bytes from clients that are none.
//!
//! A client that is not installed is passed over, and said so; `scripts/check.sh` installs what it can.

use std::fs;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use crate::common::files::{bytes, put, row, whole_at};
use crate::common::node::{Network, Node};
use crate::common::wire::Wire;
use crate::common::{PATIENCE, until};
use peerlab::net::limits;
use peerlab::share::{Layout, Manifest};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::{Value, json};

const MIB: usize = 1 << 20;

/// Names that are hard to write in a page, in a URL or in a header, in the order of their bytes.
const NAMES: [&str; 9] = [
    "\"double\" & 'single'",
    "# ? %",
    "50%25 off",
    "<b>bold.html",
    "C:",
    "a;b=c+d",
    "plain.txt",
    "zwei Wörter",
    "😀.png",
];

/// A name as it is written in a URL: only the unreserved characters of RFC 3986 as they are.
fn encode(name: &str) -> String {
    const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    utf8_percent_encode(name, ESCAPED).to_string()
}

fn network() -> Network {
    Network::start(&["--dead-after", "60s", "--replicas", "0"], &[])
}

/// A peer that serves, and where.
#[track_caller]
fn serve(network: &Network, name: &str, options: &[&str]) -> (Node, SocketAddr) {
    let mut node = network.command_with_log("debug", name, &[options, &["serve"]].concat());
    let addr = node.ready()["addr"].as_str().unwrap().parse().unwrap();
    (node, addr)
}

/// The holders of a file as the manager knows them.
fn holders(network: &Network, file: &str) -> Vec<Value> {
    row(network, file).map_or_else(Vec::new, |row| row["holders"].as_array().unwrap().clone())
}

/// An answer, read to the end of the connection: who does not close it fails.
#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: Vec<u8>,
}

impl Reply {
    fn header(&self, name: &str) -> Option<&str> {
        let lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.into_iter().find(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// Sends bytes, and reads what comes until the other side ends it.
#[track_caller]
fn say(addr: SocketAddr, bytes: &[u8]) -> Reply {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    // It may be refused before it has ended.
    let _ = stream.write_all(bytes);
    hear(&mut stream)
}

#[track_caller]
fn hear(stream: &mut TcpStream) -> Reply {
    let mut all = Vec::new();
    match stream.read_to_end(&mut all) {
        Err(e) if e.kind() == ErrorKind::WouldBlock => panic!("the connection is still open"),
        // A reset could overtake the answer.
        end => drop(end.unwrap()),
    }
    let text = String::from_utf8_lossy(&all);
    let end = text.find("\r\n\r\n").unwrap_or_else(|| panic!("no head: {text:.300}"));
    let head = text[..end].to_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok());
    Reply {
        status: status.unwrap_or_else(|| panic!("no status: {head}")),
        head,
        body: all.split_off(end + 4),
    }
}

#[track_caller]
fn get(addr: SocketAddr, target: &str) -> Reply {
    get_with(addr, target, "")
}

/// With more lines in the head, each with its end.
#[track_caller]
fn get_with(addr: SocketAddr, target: &str, lines: &str) -> Reply {
    say(addr, format!("GET {target} HTTP/1.1\r\nHost: {addr}\r\n{lines}\r\n").as_bytes())
}

/// Whether a program is installed; if not, that is said.
fn has(program: &str) -> bool {
    let version = Command::new(program).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    let has = version.is_ok_and(|status| status.success());
    if !has {
        eprintln!("skipped: {program} is not installed; scripts/check.sh installs it where it can");
    }
    has
}

/// Runs a client to its end; gives what it said on stdout.
#[track_caller]
fn run(program: &str, dir: &Path, args: &[&str]) -> Vec<u8> {
    let output = Command::new(program).args(args).current_dir(dir).output().unwrap();
    assert!(output.status.success(), "{program} {args:?}: {output:#?}");
    output.stdout
}

#[test]
fn one_port_answers_messages_and_browsers() {
    let mut network = network();
    network.add_peer("ada", 1);
    let addr: SocketAddr = network.row("ada").unwrap()["addr"].as_str().unwrap().parse().unwrap();
    assert_eq!(get(addr, "/").header("Location"), Some("/data/"));
    for (addr, target) in [(network.addr, "/"), (addr, "/data/")] {
        let page = get(addr, target);
        assert_eq!((page.status, page.header("Connection")), (200, Some("close")));
        assert!(page.text().starts_with("<!DOCTYPE html>"));
    }
    let mut wire = Wire::connect(addr);
    wire.say(&json!({"type": "get"}));
    wire.hear("end");
    assert!(get(addr, "/data/").text().contains("The files of the peer ada"));
}

#[test]
fn a_listing_is_sorted_and_every_name_in_it_can_be_downloaded() {
    let network = network();
    for (i, name) in NAMES.into_iter().enumerate() {
        put(&network, "ada", name, format!("file {i}").as_bytes());
    }
    let (_ada, addr) = serve(&network, "ada", &[]);
    NAMES.into_iter().for_each(|name| whole_at(&network, name, 1));

    assert_eq!(get(addr, "/data").header("Location"), Some("/data/"));
    let page = get(addr, "/data/");
    assert!(!page.text().contains("<b>") && page.text().contains("&lt;b&gt;bold.html"), "{}", page.text());
    let links = page.text().split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap());
    let listed = get(addr, "/data/?json").json();
    let rows = listed["files"].as_array().unwrap();
    assert_eq!(listed["peer"], "ada");
    assert_eq!(rows.iter().map(|row| row["file"].clone()).collect::<Vec<_>>(), NAMES);
    for (i, (link, row)) in links.zip(rows).enumerate() {
        let file = get(addr, &format!("/data/{link}"));
        assert_eq!((file.status, file.text()), (200, &*format!("file {i}")), "{link}");
        assert_eq!(row["size"], 6);
        assert!(row["modified"].as_u64().unwrap() > 1_600_000_000_000);
        assert_eq!(file.header("ETag").unwrap(), format!("\"{}\"", row["id"].as_str().unwrap()));
    }
    assert_eq!(page.text().matches("href=").count(), NAMES.len());
}

#[test]
fn a_listing_can_be_sorted_leads_to_the_board_and_shows_how_each_file_can_be_checked() {
    let network = network();
    for (name, size, time) in [("a-mid", 1000, 1), ("b-big", 300_000, 2), ("c-one", 9, 3)] {
        let path = put(&network, "ada", name, bytes(size, 7));
        let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_600_000_000 + time);
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }
    let (_ada, addr) = serve(&network, "ada", &[]);
    ["a-mid", "b-big", "c-one"].into_iter().for_each(|name| whole_at(&network, name, 1));
    for (query, order) in [
        ("?json", ["a-mid", "b-big", "c-one"]),
        ("?sort=name&json", ["a-mid", "b-big", "c-one"]),
        ("?sort=size&json", ["b-big", "a-mid", "c-one"]),
        ("?sort=time&json", ["c-one", "b-big", "a-mid"]),
    ] {
        let page = get(addr, &format!("/data/{}", query.replace("json", "")));
        let at = order.map(|name| page.text().find(&format!("href=\"{name}\"")).unwrap());
        assert!(at.is_sorted(), "{query}: {}", page.text());
        let listed = get(addr, &format!("/data/{query}")).json();
        let rows = listed["files"].as_array().unwrap();
        let names: Vec<Value> = rows.iter().map(|row| row["file"].clone()).collect();
        assert_eq!(names, order, "{query}");
    }
    let page = get(addr, "/data/");
    for elsewhere in [format!("http://{}/", network.addr), format!("http://{}/files/", network.addr)] {
        assert!(page.text().contains(&format!("formaction=\"{elsewhere}\"")), "{}", page.text());
    }
    // Of one piece, the hash is that of the file; of several, there is the id.
    let rows = get(addr, "/data/?json").json()["files"].clone();
    fs::write(network.path("mid"), bytes(1000, 7)).unwrap();
    let sum = String::from_utf8(run("sha256sum", network.dir.path(), &["mid"])).unwrap();
    assert_eq!(rows[0]["sha256"], sum[..64]);
    assert!(page.text().contains(&sum[..64]), "{}", page.text());
    assert!(rows[1].get("sha256").is_none() && page.text().contains(rows[1]["id"].as_str().unwrap()));

    let page = get(network.addr, "/files/");
    assert!(page.text().contains("href=\"/\"") && page.text().contains(rows[1]["id"].as_str().unwrap()));
    assert!(page.text().contains(&format!("href=\"http://{addr}/data/\"")), "{}", page.text());
    for (query, order) in [("", ["a-mid", "b-big", "c-one"]), ("?sort=size", ["b-big", "a-mid", "c-one"])] {
        let page = get(network.addr, &format!("/files/{query}"));
        let at = order.map(|name| page.text().find(&format!("<h2>{name} ")).unwrap());
        assert!(at.is_sorted(), "{query}: {}", page.text());
    }
}

#[test]
fn a_mirror_that_may_send_nothing_says_so_and_stands_in_no_metalink() {
    let network = network();
    for peer in ["ada", "ben"] {
        put(&network, peer, "a.txt", b"text");
    }
    put(&network, "ben", "own.txt", b"text of ben");
    let (_ada, ada) = serve(&network, "ada", &[]);
    let (_ben, ben) = serve(&network, "ben", &["--up", "0"]);
    whole_at(&network, "a.txt", 2);
    whole_at(&network, "own.txt", 1);
    let no = get(ben, "/data/a.txt");
    assert_eq!((no.status, no.header("Retry-After")), (503, Some("5")));
    assert!(no.text().contains("--up 0") && no.text().contains("/files/"), "{}", no.text());
    assert_eq!(get(ben, "/data/none.txt").status, 404);
    assert!(get(ben, "/data/").text().contains("sends nothing"));
    assert_eq!(get(ada, "/data/a.txt").text(), "text");
    let page = get(network.addr, "/files/");
    let metalink = get(network.addr, "/files/a.txt.meta4");
    for text in [page.text(), metalink.text()] {
        assert!(
            text.contains(&format!("http://{ada}/data/a.txt")) && !text.contains(&ben.to_string()),
            "{text}"
        );
    }
    assert!(page.text().contains("No peer that may send it has all of it."), "{}", page.text());
    assert_eq!(get(network.addr, "/files/own.txt.meta4").status, 404);
}

#[test]
fn a_part_is_what_was_asked_for_and_a_head_is_all_but_the_body() {
    let network = network();
    let all = bytes(700_000, 7);
    put(&network, "ada", "a.bin", &all);
    let of_tomorrow = put(&network, "ada", "empty", b"");
    let tomorrow = std::time::SystemTime::now() + std::time::Duration::from_secs(24 * 60 * 60);
    fs::File::options().write(true).open(of_tomorrow).unwrap().set_modified(tomorrow).unwrap();
    let (_ada, addr) = serve(&network, "ada", &[]);
    whole_at(&network, "empty", 1);
    let whole = get(addr, "/data/a.bin");
    assert_eq!((whole.status, &whole.body), (200, &all));
    assert_eq!(whole.header("Accept-Ranges"), Some("bytes"));
    assert_eq!(whole.header("Content-Type"), Some("application/octet-stream"));
    let etag = whole.header("ETag").unwrap();

    for (range, part) in [
        ("bytes=0-0", 0..1),
        ("bytes=262143-262145", 262_143..262_146),
        ("bytes=699990-", 699_990..700_000),
        ("bytes=-5", 699_995..700_000),
        ("bytes=-9999999", 0..700_000),
        ("bytes=10-9999999", 10..700_000),
        ("bytes=0-18446744073709551615", 0..700_000),
    ] {
        let reply = get_with(addr, "/data/a.bin", &format!("Range: {range}\r\n"));
        assert_eq!((reply.status, &reply.body[..]), (206, &all[part.clone()]), "{range}");
        let says = format!("bytes {}-{}/700000", part.start, part.end - 1);
        assert_eq!(reply.header("Content-Range"), Some(&*says), "{range}");
    }
    for range in ["bytes=700000-", "bytes=5-2", "bytes=-0", "bytes=99999999999999999999-"] {
        let reply = get_with(addr, "/data/a.bin", &format!("Range: {range}\r\n"));
        assert_eq!((reply.status, reply.header("Content-Range")), (416, Some("bytes */700000")), "{range}");
    }
    assert_eq!(
        get_with(addr, "/data/empty", "Range: bytes=0-\r\n").header("Content-Range"),
        Some("bytes */0")
    );
    for (lines, status) in [
        ("Range: bytes=0-1,4-5\r\n".to_owned(), 200),
        (format!("Range: bytes=0-1\r\nIf-Range: {etag}\r\n"), 206),
        ("Range: bytes=0-1\r\nIf-Range: \"another\"\r\n".to_owned(), 200),
        (format!("If-None-Match: \"another\", W/{etag}\r\n"), 304),
        ("If-None-Match: \"another\"\r\n".to_owned(), 200),
        ("If-Match: \"another\"\r\nRange: bytes=0-1\r\n".to_owned(), 412),
        (format!("If-Match: {etag}\r\nRange: bytes=0-1\r\n"), 206),
        (format!("If-Modified-Since: {}\r\n", whole.header("Last-Modified").unwrap()), 304),
        ("If-Modified-Since: Sun, 06 Nov 1994 08:49:37 GMT\r\n".to_owned(), 200),
    ] {
        assert_eq!(get_with(addr, "/data/a.bin", &lines).status, status, "{lines}");
    }
    let head = say(addr, format!("HEAD /data/a.bin HTTP/1.1\r\nHost: {addr}\r\n\r\n").as_bytes());
    assert_eq!((head.status, head.body.len()), (200, 0));
    // No change is told of that is later than the answer.
    let empty = get(addr, "/data/empty");
    assert_eq!(["Date", "Last-Modified"].map(|name| empty.header(name).is_some()), [true, false]);
    for same in ["Content-Length", "ETag", "Content-Type", "Last-Modified", "Accept-Ranges"] {
        assert_eq!(head.header(same), whole.header(same), "{same}");
    }
    assert_eq!(head.header("Content-Length"), Some("700000"));
}

#[test]
fn a_browser_is_told_to_save_what_it_could_run() {
    let network = network();
    for name in ["a.html", "a.svg", "a.js", "a.pdf", "a.txt", "a.png", "z"] {
        put(&network, "ada", name, b"<script>alert(1)</script>");
    }
    let (_ada, addr) = serve(&network, "ada", &[]);
    whole_at(&network, "z", 1);
    for (name, kind, saved) in [
        ("a.html", "text/html; charset=utf-8", true),
        ("a.svg", "image/svg+xml", true),
        ("a.js", "text/javascript; charset=utf-8", true),
        ("a.pdf", "application/pdf", true),
        ("z", "application/octet-stream", true),
        ("a.txt", "text/plain; charset=utf-8", false),
        ("a.png", "image/png", false),
    ] {
        let reply = get(addr, &format!("/data/{name}"));
        assert_eq!(reply.header("Content-Type"), Some(kind), "{name}");
        assert_eq!(reply.header("X-Content-Type-Options"), Some("nosniff"), "{name}");
        let disposition = reply.header("Content-Disposition").unwrap_or_default();
        assert_eq!(disposition.starts_with("attachment; filename="), saved, "{name}");
    }
}

#[test]
fn only_what_is_offered_whole_is_found() {
    let network = network();
    put(&network, "ada", "slow.bin", bytes(4 * MIB, 1));
    put(&network, "ada", ".hidden", b"x");
    fs::write(network.path("secret"), "secret").unwrap();
    std::os::unix::fs::symlink(network.path("secret"), network.path("peerlab-ada/link")).unwrap();
    let (_ada, addr) = serve(&network, "ada", &["--up", "100kB"]);
    whole_at(&network, "slow.bin", 1);
    for name in [
        ".hidden",
        "link",
        ".peerlab",
        ".peerlab/marker",
        "nope",
        "C:",
        "%252e%252e",
        "slow.bin/",
        "slow.bin/x",
    ] {
        assert_eq!(get(addr, &format!("/data/{name}")).status, 404, "{name}");
    }
    // One that fetches has a part and says so, but a mirror has all of a file or nothing.
    let _ben = network.command("ben", &["down", "slow.bin", "--stay", "-o", "into"]);
    let part = until("ben has a part", PATIENCE, || {
        let part = holders(&network, "slow.bin").into_iter().find(|holder| holder["whole"] == false)?;
        part["addr"].as_str().unwrap().parse().ok()
    });
    assert_eq!(get(part, "/data/slow.bin").status, 404);
    assert_eq!(get(part, "/data/?json").json()["files"], json!([]));
    let mirrors = get(network.addr, "/files/slow.bin.meta4");
    assert_eq!(mirrors.text().matches("<url").count(), 1, "{}", mirrors.text());
}

#[test]
fn what_cannot_be_understood_in_one_way_is_a_plain_4xx_and_the_end() {
    let network = network();
    put(&network, "ada", "a.txt", b"text");
    let (_ada, addr) = serve(&network, "ada", &[]);
    whole_at(&network, "a.txt", 1);
    let many = "X: y\r\n".repeat(100);
    let long = format!("X: {}\r\n", "y".repeat(20_000));
    let heads: &[(u16, &[u8])] = &[
        (400, b"GET /data/../../etc/passwd HTTP/1.1\r\nHost: ::\r\n\r\n"),
        (400, b"GET /data/%2e%2e%2f%2e%2e%2fetc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (404, b"GET /data/%252e%252e%252fetc HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET //data/a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /data/..\\a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /data/%5c%5chost HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /data/a.txt%00.png HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (404, b"GET /data/C:/a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /data/%c0%ae%c0%ae/ HTTP/1.1\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /data/a.txt HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"),
        (400, b"GET /data/a.txt HTTP/1.1\r\n\r\n"),
        (400, b"GET /data/a.txt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody"),
        (400, b"GET /data/a.txt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 18446744073709551617\r\n\r\n"),
        (400, b"GET /data/a.txt HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        (400, b"GET /data/a.txt HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n"),
        (400, b"GET /data/a.txt\r\n\r\n"),
        (405, b"POST /data/a.txt HTTP/1.1\r\nHost: localhost\r\nContent-Length: 4\r\n\r\nbody"),
        (405, b"PUT /data/a.txt HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (431, &[b"GET /data/a.txt HTTP/1.1\r\nHost: localhost\r\n", many.as_bytes(), b"\r\n"].concat()),
        (431, &[b"GET /data/a.txt HTTP/1.1\r\nHost: localhost\r\n", long.as_bytes(), b"\r\n"].concat()),
        (431, &[b"GET /".to_vec(), vec![b'a'; 100_000]].concat()),
    ];
    for addr in [addr, network.addr] {
        for (status, head) in heads {
            let shown = String::from_utf8_lossy(&head[..head.len().min(120)]).into_owned();
            let reply = say(addr, head);
            let plain = (reply.header("Content-Type"), reply.header("Connection"));
            assert_eq!(
                (reply.status, plain),
                (*status, (Some("text/plain; charset=utf-8"), Some("close"))),
                "{shown}"
            );
        }
    }
    // A second request on the same connection is not answered.
    let twice = b"GET /data/a.txt HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(2);
    assert_eq!(say(addr, &twice).text(), "text");
    // A refused HEAD has no body either.
    assert!(say(addr, b"HEAD /data/.. HTTP/1.0\r\n\r\n").body.is_empty());
}

#[test]
fn a_request_that_does_not_end_is_answered_408() {
    let network = network();
    let (_ada, addr) = serve(&network, "ada", &[]);
    let ask = |addr| thread::spawn(move || say(addr, b"GET / HTTP/1.1\r\nHost: local"));
    for reply in [addr, network.addr].map(ask).map(|asked| asked.join().unwrap()) {
        assert_eq!(reply.status, 408, "{reply:?}");
    }
}

#[test]
fn a_head_that_fills_its_room_or_ends_too_soon_ends_at_once() {
    let network = network();
    let (_ada, addr) = serve(&network, "ada", &[]);
    let begin = b"GET / HTTP/1.1\r\nHost: localhost\r\n".to_vec();
    let rest = limits::HTTP_HEAD - begin.len() - "X: \r\n".len();
    let full = [begin.clone(), format!("X: {}\r\n", "y".repeat(rest)).into_bytes()].concat();
    assert_eq!(full.len(), limits::HTTP_HEAD);
    for addr in [addr, network.addr] {
        assert_eq!(say(addr, &full).status, 431, "there is no room for the empty line");
        let mut stream = TcpStream::connect(addr).unwrap();
        stream.set_read_timeout(Some(limits::HTTP_HEAD_TIME / 2)).unwrap();
        stream.write_all(&begin).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        assert_eq!(stream.read(&mut [0]).unwrap_or(0), 0, "it is ended, and not waited for");
    }
}

#[test]
fn two_hundred_that_say_nothing_or_half_of_it_delay_nobody() {
    let network = network();
    put(&network, "ada", "a.txt", b"text");
    let (_ada, addr) = serve(&network, "ada", &[]);
    whole_at(&network, "a.txt", 1);
    for (addr, target) in [(addr, "/data/a.txt"), (network.addr, "/state")] {
        let open = |_| TcpStream::connect(addr).unwrap();
        let mut idle: Vec<TcpStream> = (0..200).map(open).collect();
        for stream in &mut idle[100..] {
            stream.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
        }
        assert_eq!(get(addr, target).status, 200);
        // It was not that the others had been sent away before.
        for stream in &idle {
            stream.set_nonblocking(true).unwrap();
            assert_eq!(stream.peek(&mut [0]).unwrap_err().kind(), ErrorKind::WouldBlock);
        }
    }
}

#[test]
fn one_that_stops_reading_delays_nobody_and_is_sent_away() {
    let network = network();
    let file = put(&network, "ada", "big", b"");
    fs::File::options().write(true).open(file).unwrap().set_len(64 << 20).unwrap();
    let (mut ada, addr) = serve(&network, "ada", &[]);
    whole_at(&network, "big", 1);
    let mut lazy = TcpStream::connect(addr).unwrap();
    lazy.write_all(b"GET /data/big HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(get_with(addr, "/data/big", "Range: bytes=-3\r\n").body, [0; 3]);
    ada.hears("has not got all of the answer to GET /data/big");
    let mut rest = Vec::new();
    let _ = lazy.read_to_end(&mut rest);
    assert!(rest.len() < 64 << 20, "it got all of it");
}

#[test]
fn an_answer_ends_early_when_its_file_is_changed() {
    let network = network();
    let path = put(&network, "ada", "a.bin", bytes(8 * MIB, 8));
    let (_ada, addr) = serve(&network, "ada", &["--up", "1MiB"]);
    whole_at(&network, "a.bin", 1);
    let head = say(addr, b"HEAD /data/a.bin HTTP/1.0\r\n\r\n");
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.write_all(b"GET /data/a.bin HTTP/1.0\r\n\r\n").unwrap();
    assert_eq!(stream.read(&mut [0]).unwrap(), 1, "it has begun");
    fs::write(path, bytes(8 * MIB, 9)).unwrap();
    let mut rest = Vec::new();
    // How it ends does not matter, only that it is too short for what was announced.
    let _ = stream.read_to_end(&mut rest);
    assert!(rest.len() < 8 * MIB, "{} bytes", rest.len());
    assert_ne!(get(addr, "/data/a.bin").header("ETag"), head.header("ETag"), "not that version any more");
}

#[test]
fn everything_is_answered_only_under_an_address_or_localhost() {
    let network = network();
    put(&network, "ada", "a.txt", b"text");
    let (_ada, addr) = serve(&network, "ada", &[]);
    whole_at(&network, "a.txt", 1);
    for (addr, target) in [
        (network.addr, "/"),
        (network.addr, "/state"),
        (network.addr, "/files/"),
        (network.addr, "/files/a.txt.meta4"),
        (addr, "/data/"),
        (addr, "/data/a.txt"),
    ] {
        for (host, status) in [
            ("127.0.0.1", 200),
            ("localhost:7000", 200),
            ("[::1]:7000", 200),
            ("evil.example", 421),
            ("localhost.evil.example", 421),
            ("127.0.0.1.evil.example:7000", 421),
        ] {
            let reply = say(addr, format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n\r\n").as_bytes());
            assert_eq!(reply.status, status, "{target} as {host}");
        }
    }
}

#[test]
fn the_state_has_a_version_that_changes_when_it_does() {
    let mut network = network();
    let first = get(network.addr, "/state");
    assert_eq!(first.header("Content-Type"), Some("application/json"));
    assert_eq!((first.json()["type"].clone(), first.json()["peers"].clone()), (json!("state"), json!([])));
    let if_new = format!("If-None-Match: {}\r\n", first.header("ETag").unwrap());
    let same = get_with(network.addr, "/state", &if_new);
    assert_eq!((same.status, same.body.len()), (304, 0));
    network.add_peer("ada", 3);
    let next = get_with(network.addr, "/state", &if_new);
    assert_eq!((next.status, next.json()["peers"][0]["name"].clone()), (200, json!("ada")));
    assert_ne!(next.header("ETag"), first.header("ETag"));
}

#[test]
fn a_state_message_is_the_text_that_the_board_is_told_made_once_for_both() {
    let network = network();
    let shown = String::from_utf8(get(network.addr, "/state").body).unwrap();
    let mut told = String::new();
    let mut stream = TcpStream::connect(network.addr).unwrap();
    stream.write_all(b"{\"type\":\"state\"}\n").unwrap();
    BufReader::new(stream).read_line(&mut told).unwrap();
    let without_time = |text: &str| {
        let mut state: Value = serde_json::from_str(text).unwrap();
        assert!(state["manager"]["now"].take().is_u64(), "{text}");
        state
    };
    assert_eq!(without_time(&told), without_time(&shown));
}

#[test]
fn the_manager_lists_every_mirror_of_a_file_and_its_metalink_says_how_to_check_them() {
    let network = network();
    let name = "two <b> & \"w\".bin";
    let content = bytes(600_000, 3);
    for peer in ["ada", "ben"] {
        put(&network, peer, name, &content);
        put(&network, peer, "one", b"one piece");
        put(&network, peer, "empty", b"");
    }
    let peers = [serve(&network, "ada", &[]), serve(&network, "ben", &[])];
    ["empty", "one", name].into_iter().for_each(|file| whole_at(&network, file, 2));

    assert_eq!(get(network.addr, "/files").header("Location"), Some("/files/"));
    let page = get(network.addr, "/files/");
    let metalink = get(network.addr, &format!("/files/{}.meta4", encode(name)));
    assert_eq!(metalink.header("Content-Type"), Some("application/metalink4+xml"));
    for (_, addr) in &peers {
        let url = format!("http://{addr}/data/{}", encode(name));
        assert!(page.text().contains(&format!("href=\"{url}\"")), "{}", page.text());
        assert!(metalink.text().contains(&format!("<url priority=\"1\">{url}</url>")), "{}", metalink.text());
    }
    let manifest =
        Manifest::read(name.parse().unwrap(), Layout::of(600_000).unwrap(), &content[..], &false.into())
            .unwrap();
    let hex = |hash: &[u8]| hash.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let hashes: String =
        manifest.hashes().chunks(32).map(|hash| format!("<hash>{}</hash>", hex(hash))).collect();
    for part in [
        "<file name=\"two &lt;b&gt; &amp; &quot;w&quot;.bin\">",
        "<size>600000</size>",
        &format!("<pieces length=\"262144\" type=\"sha-256\">{hashes}</pieces>"),
    ] {
        assert!(metalink.text().contains(part), "no {part} in {}", metalink.text());
    }
    let part = get_with(network.addr, &format!("/files/{}.meta4", encode(name)), "Range: bytes=300-599\r\n");
    assert_eq!((part.status, part.text()), (206, &metalink.text()[300..600]));
    // Where there is only one piece, its hash is that of the file; and that of nothing is known.
    let hash_of = |file: &str| {
        let text = get(network.addr, &format!("/files/{file}.meta4")).text().to_owned();
        text.split("<hash type=\"sha-256\">").nth(1).unwrap()[..64].to_owned()
    };
    assert_eq!(hash_of("one"), "c652649297eb6abdec4298e24f7b6f78125741e36eb9b76f7708481a910daf7f");
    assert_eq!(hash_of("empty"), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    for none in ["nope.meta4", "nope", ".meta4", "x/y.meta4"] {
        assert_eq!(get(network.addr, &format!("/files/{none}")).status, 404, "{none}");
    }
}

#[test]
fn curl_fetches_resumes_and_looks() {
    if !has("curl") {
        return;
    }
    let network = network();
    let content = bytes(2 * MIB + 5, 4);
    put(&network, "ada", "big ä.bin", &content);
    let (_ada, addr) = serve(&network, "ada", &[]);
    whole_at(&network, "big ä.bin", 1);
    let dir = network.dir.path();
    let url = format!("http://{addr}/data/{}", encode("big ä.bin"));
    assert_eq!(run("curl", dir, &["-sSf", &url]), content);
    fs::write(dir.join("part"), &content[..1_000_001]).unwrap();
    run("curl", dir, &["-sSf", "-C", "-", "-o", "part", &url]);
    assert_eq!(fs::read(dir.join("part")).unwrap(), content);
    let head = String::from_utf8(run("curl", dir, &["-sSfI", &url])).unwrap();
    assert!(head.contains(&format!("Content-Length: {}\r\n", content.len())), "{head}");
    // It has it: it asks with the version, and is told so.
    run("curl", dir, &["-sSf", "--etag-save", "etag", "-o", "copy", &url]);
    let code =
        run("curl", dir, &["-sS", "--etag-compare", "etag", "-o", "copy2", "-w", "%{http_code}", &url]);
    assert_eq!(code, b"304");
}

#[test]
fn pythons_urllib_fetches() {
    if !has("python3") {
        return;
    }
    let network = network();
    let content = bytes(300_000, 5);
    put(&network, "ada", "a.bin", &content);
    let (_ada, addr) = serve(&network, "ada", &[]);
    whole_at(&network, "a.bin", 1);
    let script = "import sys, urllib.request as r; sys.stdout.buffer.write(r.urlopen(sys.argv[1]).read())";
    let url = format!("http://{addr}/data/a.bin");
    assert_eq!(run("python3", network.dir.path(), &["-c", script, &url]), content);
}

#[test]
fn wget_takes_the_whole_folder_and_does_not_wander_off() {
    if !has("wget") {
        return;
    }
    let network = network();
    for name in NAMES {
        put(&network, "ada", name, name.as_bytes());
    }
    put(&network, "ben", "of ben", b"x");
    let peers = [serve(&network, "ada", &[]), serve(&network, "ben", &[])];
    NAMES.into_iter().chain(["of ben"]).for_each(|name| whole_at(&network, name, 1));
    let url = format!("http://{}/data/", peers[0].1);
    run(
        "wget",
        network.dir.path(),
        &["-q", "-r", "-nH", "--restrict-file-names=nocontrol", "-P", "got", &url],
    );
    let mut got: Vec<String> = fs::read_dir(network.path("got/data"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "index.html")
        .collect();
    got.sort();
    // wget decodes the name under which it saves twice.
    let saved = |name: &str| name.replace("%25", "%");
    assert_eq!(got, NAMES.map(saved));
    for name in NAMES {
        assert_eq!(fs::read_to_string(network.path("got/data").join(saved(name))).unwrap(), name);
    }
}

#[test]
fn aria2c_takes_parts_from_all_mirrors_at_once_and_does_without_the_one_that_is_wrong() {
    if !has("aria2c") {
        return;
    }
    let network = network();
    let content = bytes(12 * MIB, 6);
    let hosts = ["127.0.0.1:0", "127.0.0.2:0", "127.0.0.3:0"];
    let names = ["ada", "ben", "cyd"];
    names.iter().for_each(|name| drop(put(&network, name, "big.bin", &content)));
    let mut peers: Vec<(Node, SocketAddr)> =
        names.iter().zip(hosts).map(|(name, host)| serve(&network, name, &["--listen", host])).collect();
    whole_at(&network, "big.bin", 3);
    // The bytes of one mirror change in every piece, behind its back: with the old time on the file.
    let mut wrong = content.clone();
    wrong.iter_mut().step_by(1 << 17).for_each(|byte| *byte ^= 1);
    let path = network.path("peerlab-cyd/big.bin");
    let file = fs::File::options().write(true).open(path).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    (&file).write_all(&wrong).unwrap();
    file.set_modified(time).unwrap();
    let url = format!("http://{}/files/big.bin.meta4", network.addr);
    let args = ["-q", "--no-conf", "-k", "1M", "-s", "3", "-d", "got", "--allow-overwrite=true", &url];
    run("aria2c", network.dir.path(), &args);
    assert_eq!(fs::read(network.path("got/big.bin")).unwrap(), content);
    // The time of the last change of status cannot be set back: the mirror sees that its file is another.
    let answers = ["fetches big.bin over HTTP", "fetches big.bin over HTTP", "GET /data/big.bin: 404"];
    for ((peer, _), answer) in peers.iter_mut().zip(answers) {
        peer.hears(answer);
    }
}

#[test]
fn the_limits_of_a_head_are_those_that_are_written_down() {
    let network = network();
    let line = |bytes: usize| format!("X: {}\r\n", "y".repeat(bytes - 5));
    let rest = "GET /state HTTP/1.0\r\n\r\n".len();
    assert_eq!(get_of(network.addr, &line(limits::HTTP_HEAD - rest)), 200);
    assert_eq!(get_of(network.addr, &line(limits::HTTP_HEAD - rest + 1)), 431);
    assert_eq!(get_of(network.addr, &"X: y\r\n".repeat(limits::HTTP_HEADERS)), 200);
    assert_eq!(get_of(network.addr, &"X: y\r\n".repeat(limits::HTTP_HEADERS + 1)), 431);
}

/// The status of a request with these lines.
#[track_caller]
fn get_of(addr: SocketAddr, lines: &str) -> u16 {
    say(addr, format!("GET /state HTTP/1.0\r\n{lines}\r\n").as_bytes()).status
}
