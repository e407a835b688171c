//! How quick leases are: grant and release of one slot of a pool of seven, over loopback, one connection
//! for each client, beside a Redis list used as a pool (`BLPOP` / `RPUSH`) in the same run.
//!
//! `cargo bench --bench leases` prints a line of CSV for each measurement: what, clients, waiters,
//! pairs per second, and the 50th and 99th percentile of the time to a grant in microseconds. Redis is
//! left out, in words, where there is no `redis-server`. Numbers of clients may be given:
//! `cargo bench --bench leases -- 1 8`.

use std::env;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

mod nodes;

use nodes::{Node, node};

/// How long each measurement takes.
const TIME: Duration = Duration::from_secs(2);
const POOL: usize = 7;

/// One client's connection: lines out, lines in.
struct Client {
    reader: BufReader<TcpStream>,
    line: String,
}

impl Client {
    fn new(addr: SocketAddr) -> Self {
        let stream = TcpStream::connect(addr).expect("it listens");
        stream.set_nodelay(true).expect("a socket option");
        Self { reader: BufReader::new(stream), line: String::new() }
    }

    fn say(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).expect("it reads");
    }

    fn hear(&mut self) -> &str {
        self.line.clear();
        assert_ne!(self.reader.read_line(&mut self.line).expect("it answers"), 0, "it closed the connection");
        &self.line
    }
}

/// Takes from a pool and gives back.
trait Pool: Send {
    fn take(&mut self);
    fn give_back(&mut self);
}

struct Lease(Client);

impl Pool for Lease {
    fn take(&mut self) {
        self.0.say(b"{\"type\":\"lease\",\"peer\":0,\"slots\":1}\n");
        loop {
            let line = self.0.hear();
            if line.starts_with("{\"type\":\"leased\"") {
                return;
            }
            assert!(line.starts_with("{\"type\":\"wait\""), "{line}");
            self.0.say(b"{\"type\":\"ok\"}\n");
        }
    }

    fn give_back(&mut self) {
        self.0.say(b"{\"type\":\"release\"}\n");
        assert!(self.0.hear().starts_with("{\"type\":\"released\""));
    }
}

struct Redis(Client);

impl Pool for Redis {
    fn take(&mut self) {
        self.0.say(b"*3\r\n$5\r\nBLPOP\r\n$4\r\npool\r\n$1\r\n0\r\n");
        for _ in 0..5 {
            self.0.hear();
        }
    }

    fn give_back(&mut self) {
        self.0.say(b"*3\r\n$5\r\nRPUSH\r\n$4\r\npool\r\n$1\r\nx\r\n");
        self.0.hear();
    }
}

/// Has every client take and give back for [`TIME`]; pairs per second, and the times to each grant.
fn measure(clients: Vec<Box<dyn Pool>>) -> (f64, Vec<Duration>) {
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let mut times: Vec<Duration> = thread::scope(|scope| {
        let run = |mut client: Box<dyn Pool>| {
            let stop = &stop;
            scope.spawn(move || {
                let mut times = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let asked = Instant::now();
                    client.take();
                    times.push(asked.elapsed());
                    client.give_back();
                }
                times
            })
        };
        let threads: Vec<_> = clients.into_iter().map(run).collect();
        thread::sleep(TIME);
        stop.store(true, Ordering::Relaxed);
        threads.into_iter().flat_map(|thread| thread.join().expect("no panic")).collect()
    });
    times.sort_unstable();
    (times.len() as f64 / began.elapsed().as_secs_f64(), times)
}

fn report(what: &str, clients: usize, (rate, times): &(f64, Vec<Duration>)) {
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize].as_micros();
    println!("{what},{clients},{rate:.0},{},{}", at(0.5), at(0.99));
}

fn start_redis() -> Option<Node> {
    let port = std::net::TcpListener::bind("127.0.0.1:0").ok()?.local_addr().ok()?.port();
    let addr = SocketAddr::from(([127, 0, 0, 1], port));
    let folder = tempfile::tempdir().ok()?;
    let child = Command::new("redis-server")
        .current_dir(folder.path())
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"])
        .stdout(Stdio::null())
        .spawn()
        .ok()?;
    let redis = Node { child, _folder: folder, addr };
    let deadline = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(addr).is_err() {
        assert!(Instant::now() < deadline, "redis-server does not start");
        thread::sleep(Duration::from_millis(20));
    }
    Some(redis)
}

fn main() {
    // `cargo test` runs benches once, without the flag; there is nothing to test here.
    if !env::args().any(|arg| arg == "--bench") {
        return;
    }
    let manager = node(env!("CARGO_BIN_EXE_manager"), &["--listen", "127.0.0.1:0"]);
    let at = manager.addr.to_string();
    let slots = POOL.to_string();
    let _peer =
        node(env!("CARGO_BIN_EXE_peer"), &["serve", "--manager", &at, "--slots", &slots, "--name", "pool"]);
    let redis = start_redis();
    if let Some(redis) = &redis {
        let mut fill = Redis(Client::new(redis.addr));
        (0..POOL).for_each(|_| fill.give_back());
    } else {
        eprintln!("there is no redis-server here: leases are measured alone");
    }
    println!("what,clients,pairs_per_second,p50_us,p99_us");
    let mut counts: Vec<usize> = env::args().filter_map(|arg| arg.parse().ok()).collect();
    if counts.is_empty() {
        counts = vec![1, 8, 32, 10 + POOL, 100 + POOL, 1000 + POOL];
    }
    for clients in counts {
        let mut ratio = Vec::new();
        for _ in 0..3 {
            let leases = (0..clients).map(|_| Box::new(Lease(Client::new(manager.addr))) as Box<dyn Pool>);
            let lease = measure(leases.collect());
            report("peerlab", clients, &lease);
            if let Some(redis) = &redis {
                let clients_of =
                    (0..clients).map(|_| Box::new(Redis(Client::new(redis.addr))) as Box<dyn Pool>);
                let other = measure(clients_of.collect());
                report("redis", clients, &other);
                ratio.push(lease.0 / other.0);
            }
        }
        ratio.sort_by(f64::total_cmp);
        if let Some(median) = ratio.get(ratio.len() / 2) {
            eprintln!("{clients} clients: {median:.2} of Redis' pairs per second (goal: at least 0.3)");
        }
    }
}
