//! Many peers at one manager: what that takes in memory, how late pings and answers come when nothing happens, and how
//! long it takes until all have the whole list.
//!
//! The peers are light: one thread waits for all of their lines to the manager, and one listener computes the small
//! products by which the manager examines them.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, poll};

use crate::common::node::Network;
use crate::light::{Lines, Listener, register};
use crate::table::{Table, memory_kib, percentile};

/// How long the crowd is watched when all have the list.
const QUIET: Duration = Duration::from_secs(5);

/// How long before that no ping counts.
const SETTLING: Duration = Duration::from_secs(2);

/// How long a list may take to reach everybody.
const PATIENCE: Duration = Duration::from_secs(90);

/// The manager asks each peer once a second whether it is there.
const PING: f64 = 1.0;

/// The goals, for any number of peers up to 5,000.
const MOST_MIB: u64 = 256;
const LATEST_MS: f64 = 50.0;

const SLOTS: usize = 4;

/// One peer's line to the manager, read as it comes: of a list only the number of cards is of interest.
struct Peer {
    stream: TcpStream,
    /// How the line that is being read begins.
    begins: Vec<u8>,
    /// How many objects it has opened.
    objects: usize,
    /// How many peers the last list had.
    listed: usize,
    pinged: Option<Instant>,
}

impl Peer {
    /// Reads what has come; false at the end. Notes by how much pings came too early or too late, in milliseconds.
    fn read(&mut self, buffer: &mut [u8], late: &mut Vec<f64>) -> bool {
        loop {
            let bytes = match self.stream.read(buffer) {
                Ok(0) => return false,
                Ok(n) => &buffer[..n],
                Err(e) if e.kind() == ErrorKind::WouldBlock => return true,
                Err(_) => return false,
            };
            for part in bytes.split_inclusive(|byte| *byte == b'\n') {
                let missing = 16_usize.saturating_sub(self.begins.len()).min(part.len());
                self.begins.extend_from_slice(&part[..missing]);
                self.objects += part.iter().filter(|byte| **byte == b'{').count();
                if part.ends_with(b"\n") && !self.line(late) {
                    return false;
                }
            }
        }
    }

    fn line(&mut self, late: &mut Vec<f64>) -> bool {
        if self.begins.starts_with(b"{\"type\":\"peers\"") {
            self.listed = self.objects - 1;
        } else if self.begins.starts_with(b"{\"type\":\"ping\"") {
            let now = Instant::now();
            late.extend(self.pinged.map(|last| ((now - last).as_secs_f64() - PING).abs() * 1000.0));
            self.pinged = Some(now);
            if self.stream.write_all(b"{\"type\":\"ok\"}\n").is_err() {
                return false;
            }
        }
        self.begins.clear();
        self.objects = 0;
        true
    }
}

pub(crate) fn run(count: usize) -> Table {
    let table = Table::new(
        "peers,all_joined_s,all_have_the_list_s,lost,manager_mib,manager_peak_mib,ping_off_by_p50_ms,ping_off_by_p99_ms,answer_p50_ms,answer_p99_ms,state_p99_ms",
    );
    table.survive("the crowd", || measure(&table, count));
    table
}

fn measure(table: &Table, count: usize) {
    let network = Network::start_with_log("warn", &["--replicas", "0"], &[]);
    let (listener, began) = (Listener::start(), Instant::now());
    let (joining, late) = (Mutex::new(Vec::new()), Mutex::new(Vec::new()));
    let (over, whole, lost) = (AtomicBool::new(false), AtomicBool::new(false), Mutex::new(0));
    thread::scope(|scope| {
        scope.spawn(|| watch(&joining, &late, &over, &whole, &lost, count));
        for n in 0..count {
            let mut stream = TcpStream::connect(network.addr).unwrap();
            // One that is refused is missed later.
            let _ = stream.write_all(register(&format!("light-{n}"), listener.addr(n), SLOTS).as_bytes());
            stream.set_nonblocking(true).unwrap();
            let (begins, objects, listed, pinged) = (Vec::new(), 0, 0, None);
            joining.lock().unwrap().push(Peer { stream, begins, objects, listed, pinged });
        }
        let joined = began.elapsed().as_secs_f64();
        while !whole.load(Ordering::Relaxed) && began.elapsed() < PATIENCE {
            thread::sleep(Duration::from_millis(20));
        }
        let listed = began.elapsed().as_secs_f64();
        let all_have_it = whole.load(Ordering::Relaxed);
        table.promise(all_have_it, format_args!("not all had the whole list within {PATIENCE:?}"));
        // Quiet begins when the pings that came behind the list have had others after them.
        thread::sleep(SETTLING);
        late.lock().unwrap().clear();
        let mut answers =
            answer_times(&network, "{\"type\":\"query\",\"file\":\"none\"}\n", "{\"type\":\"error\"");
        let mut states = answer_times(&network, "{\"type\":\"state\"}\n", "{\"type\":\"state\"");
        let (now, peak) = (memory(&network, "VmRSS"), memory(&network, "VmHWM"));
        over.store(true, Ordering::Relaxed);
        let mut late = std::mem::take(&mut *late.lock().unwrap());
        let lost = *lost.lock().unwrap();
        let at = |times: &mut Vec<f64>, share: f64| percentile(times, share).unwrap_or(f64::NAN);
        let ping = at(&mut late, 0.99);
        let answer = at(&mut answers, 0.99);
        table.row(&[
            &count,
            &format_args!("{joined:.1}"),
            &if all_have_it { format!("{listed:.1}") } else { "never".into() },
            &lost,
            &now,
            &peak,
            &format_args!("{:.1}", at(&mut late, 0.5)),
            &format_args!("{ping:.1}"),
            &format_args!("{:.2}", at(&mut answers, 0.5)),
            &format_args!("{answer:.2}"),
            &format_args!("{:.1}", at(&mut states, 0.99)),
        ]);
        table.promise(lost == 0, format_args!("{lost} of {count} peers were refused or lost"));
        table.promise(peak < MOST_MIB, format_args!("the manager's memory was {peak} MiB at its peak"));
        table
            .promise(ping < LATEST_MS, format_args!("one ping of a hundred was off by {ping:.0} ms or more"));
        table
            .promise(answer < LATEST_MS, format_args!("one answer of a hundred took {answer:.0} ms or more"));
    });
}

fn memory(network: &Network, which: &str) -> u64 {
    memory_kib(network.manager.pid(), which) / 1024
}

/// How long a question takes to be answered, in milliseconds, asked again and again for half of [`QUIET`]. Of one that
/// is refused there is none, but pings go on meanwhile.
fn answer_times(network: &Network, question: &str, answer: &str) -> Vec<f64> {
    let (mut times, began) = (Vec::new(), Instant::now());
    let mut lines = Lines::connect(network.addr).unwrap();
    let mut is_answered =
        || lines.say(question).is_ok() && lines.hear().is_ok_and(|heard| heard.starts_with(answer));
    while began.elapsed() < QUIET / 2 {
        let asked = Instant::now();
        if !is_answered() {
            thread::sleep(QUIET / 2);
            return Vec::new();
        }
        times.push(asked.elapsed().as_secs_f64() * 1000.0);
        thread::sleep(Duration::from_millis(5));
    }
    times
}

/// Listens to all peers until it is over; notes when each has a list of `count`.
fn watch(
    joining: &Mutex<Vec<Peer>>,
    late: &Mutex<Vec<f64>>,
    over: &AtomicBool,
    whole: &AtomicBool,
    lost: &Mutex<usize>,
    count: usize,
) {
    let (mut peers, mut buffer): (Vec<Peer>, _) = (Vec::new(), vec![0; 256 << 10]);
    let pause = Duration::from_millis(10).try_into().unwrap();
    while !over.load(Ordering::Relaxed) {
        peers.append(&mut joining.lock().unwrap());
        let mut waits: Vec<PollFd<'_>> =
            peers.iter().map(|peer| PollFd::new(&peer.stream, PollFlags::IN)).collect();
        let _ = poll(&mut waits, Some(&pause));
        let ready: Vec<bool> = waits.iter().map(|wait| !wait.revents().is_empty()).collect();
        drop(waits);
        let (mut offs, before, mut at) = (Vec::new(), peers.len(), 0);
        peers.retain_mut(|peer| {
            at += 1;
            !ready[at - 1] || peer.read(&mut buffer, &mut offs)
        });
        late.lock().unwrap().append(&mut offs);
        *lost.lock().unwrap() += before - peers.len();
        let here = count - *lost.lock().unwrap();
        if peers.len() == here && peers.iter().all(|peer| peer.listed == here) {
            whole.store(true, Ordering::Relaxed);
        }
    }
}
