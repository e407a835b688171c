//! What the network costs: the same product by NumPy, by Dask, on this machine alone, and by leased peers,
//! in turn, so that a noisy machine is noisy for all.
//!
//! `cargo bench --bench multiply [-- --quick]` prints a line of CSV for each measurement:
//!
//! ```text
//! who,n,levels,peers,seconds,requester_kib,peer_kib_per_slot
//! ```
//!
//! `who` is `numpy`, `dask`, `local`, `network`, or `fresh` for the first product of peers that have just
//! started. Those are the seconds of the product alone; `numpy-files`, `local-files` and `network-files` read both
//! operands and write the answer, too: by NumPy in a Python that runs already, and by the whole command `peer`. Memory
//! is the peak that the operating system counted (`VmHWM`), for the requester in all, for the serving peers the largest
//! share of a slot. A peak never falls again, so the one that counts for one level is that of fresh peers. At the end
//! stand the ratios of medians beside the goals, on stderr. NumPy and Dask take part when `PEERLAB_PYTHON` names a
//! Python that has them; files lie on `/dev/shm`, so that no disk is measured.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

mod nodes;

use nodes::{Node, node};

const PEER: &str = env!("CARGO_BIN_EXE_peer");
const MANAGER: &str = env!("CARGO_BIN_EXE_manager");
/// How many slots a multiply leases.
const SLOTS: u32 = 7;

/// The Python that computes for NumPy and Dask.
struct Rivals {
    child: Child,
    say: ChildStdin,
    hear: BufReader<ChildStdout>,
}

impl Rivals {
    fn start() -> Option<Self> {
        let python = env::var("PEERLAB_PYTHON").ok()?;
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/rivals.py");
        let mut child = Command::new(python)
            .arg(script)
            // Its own choice of kernel and threads.
            .env_remove("OPENBLAS_CORETYPE")
            .env_remove("OPENBLAS_NUM_THREADS")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("PEERLAB_PYTHON starts");
        let say = child.stdin.take().expect("piped");
        let hear = BufReader::new(child.stdout.take().expect("piped"));
        Some(Self { child, say, hear })
    }

    fn ask(&mut self, question: &str) -> String {
        writeln!(self.say, "{question}").expect("it listens");
        let mut line = String::new();
        assert_ne!(self.hear.read_line(&mut line).expect("it answers"), 0, "Python ended");
        line.trim().to_owned()
    }
}

impl Drop for Rivals {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The peak memory of a process in KiB.
fn peak_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:"))?;
    line.split_whitespace().nth(1)?.parse().ok()
}

/// Runs a peer's command to its end: what it printed as JSON, its peak memory in KiB, and its seconds in all.
fn command(args: &[&str]) -> (serde_json::Value, u64, f64) {
    let began = Instant::now();
    let mut child = Command::new(PEER)
        .args(args)
        .arg("--json")
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("the program is built");
    let mut peak = 0;
    while child.try_wait().expect("it is ours").is_none() {
        peak = peak.max(peak_kib(child.id()).unwrap_or(0));
        thread::sleep(Duration::from_millis(3));
    }
    let seconds = began.elapsed().as_secs_f64();
    let output = child.wait_with_output().expect("it ended");
    assert!(output.status.success(), "{args:?}");
    (serde_json::from_slice(&output.stdout).expect("JSON"), peak, seconds)
}

/// A manager and its peers, which have SLOTS slots or a few more in all.
struct Network {
    manager: Node,
    peers: Vec<Node>,
}

impl Network {
    fn start(peers: u32) -> Self {
        let manager = node(MANAGER, &["--listen", "127.0.0.1:0"]);
        let at = manager.addr.to_string();
        let slots = SLOTS.div_ceil(peers).to_string();
        let peers = (0..peers)
            .map(|i| node(PEER, &["serve", "--manager", &at, "--slots", &slots, "--name", &format!("p{i}")]))
            .collect();
        Self { manager, peers }
    }

    /// One product: seconds, the requester's peak memory, the peers' peak memory for each slot.
    fn multiply(&self, a: &str, b: &str, levels: u32) -> (f64, u64, u64) {
        let (at, levels) = (self.manager.addr.to_string(), levels.to_string());
        let (report, peak, _) = command(&["--manager", &at, "multiply", a, b, "--levels", &levels]);
        let slots = u64::from(SLOTS.div_ceil(self.peers.len() as u32));
        let peers = self.peers.iter().filter_map(|peer| peak_kib(peer.child.id())).max().unwrap_or(0);
        (report["seconds"].as_f64().expect("a number"), peak, peers / slots)
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn main() {
    // `cargo test` runs benches once, without the flag; there is nothing to test here.
    if !env::args().any(|arg| arg == "--bench") {
        return;
    }
    let quick = env::args().any(|arg| arg == "--quick");
    let sizes: &[usize] = if quick { &[1024, 4096] } else { &[256, 512, 1024, 2048, 4096, 8192] };
    let mut rivals = Rivals::start();
    match &mut rivals {
        Some(rivals) => eprintln!("against {}", rivals.ask("versions")),
        None => eprintln!("PEERLAB_PYTHON is not set: NumPy and Dask are left out"),
    }
    let folder = tempfile::tempdir_in("/dev/shm").expect("/dev/shm is there");
    let file = |name: &str| folder.path().join(name).to_str().expect("UTF-8").to_owned();
    let (a, b, c) = (file("a.npy"), file("b.npy"), file("c.npy"));
    println!("who,n,levels,peers,seconds,requester_kib,peer_kib_per_slot");
    // Seconds of (who, n, levels, peers).
    let mut seen: BTreeMap<(&str, usize, u32, u32), Vec<f64>> = BTreeMap::new();
    let mut note =
        |who: &'static str, n: usize, levels: u32, peers: u32, seconds: f64, own: u64, slot: u64| {
            println!("{who},{n},{levels},{peers},{seconds:.6},{own},{slot}");
            seen.entry((who, n, levels, peers)).or_default().push(seconds);
        };
    for &n in sizes {
        let text = n.to_string();
        command(&["make", &a, &text, "--seed", "1"]);
        command(&["make", &b, &text, "--seed", "2"]);
        let counts: &[u32] = if n == 4096 && !quick { &[3, 1, 2, 7] } else { &[3] };
        for &peers in counts {
            let network = Network::start(peers);
            // Peers keep their memory between products; the first product, which fills it, counts apart.
            let (seconds, own, slot) = network.multiply(&a, &b, 1);
            note("fresh", n, 1, peers, seconds, own, slot);
            for _ in 0..3 {
                for levels in 0..=2 {
                    if let Some(rivals) = &mut rivals {
                        let seconds = rivals.ask(&format!("numpy {n}")).parse().expect("a number");
                        note("numpy", n, 0, 0, seconds, 0, 0);
                    }
                    let (seconds, own, slot) = network.multiply(&a, &b, levels);
                    note("network", n, levels, peers, seconds, own, slot);
                }
                let (report, own, _) = command(&["multiply", &a, &b, "--local"]);
                note("local", n, 0, 0, report["seconds"].as_f64().expect("a number"), own, 0);
                if peers != 3 {
                    continue;
                }
                if let Some(rivals) = &mut rivals {
                    let seconds = rivals.ask(&format!("files {a} {b} {c}")).parse().expect("a number");
                    note("numpy-files", n, 0, 0, seconds, 0, 0);
                }
                let (_, own, seconds) = command(&["multiply", &a, &b, "--local", "-o", &c, "--force"]);
                note("local-files", n, 0, 0, seconds, own, 0);
                let at = network.manager.addr.to_string();
                let (_, own, seconds) = command(&["--manager", &at, "multiply", &a, &b, "-o", &c, "--force"]);
                note("network-files", n, 1, peers, seconds, own, 0);
            }
        }
        if let (Some(rivals), true) = (&mut rivals, n >= 1024) {
            rivals.ask(&format!("dask {n}"));
            for _ in 0..3 {
                note("dask", n, 0, 0, rivals.ask(&format!("dask {n}")).parse().expect("a number"), 0, 0);
            }
        }
    }
    let of = |who, n, levels, peers| median(seen.get(&(who, n, levels, peers)).cloned().unwrap_or_default());
    for &n in sizes {
        let (network, local) = (of("network", n, 1, 3), of("local", n, 0, 0));
        let (numpy, dask) = (of("numpy", n, 0, 0), of("dask", n, 0, 0));
        let files = of("numpy-files", n, 0, 0);
        eprintln!(
            "n={n}: network/numpy {:.2}, local/numpy {:.2}, network/dask {:.2}, network/local {:.2}; from files to \
             files: local/numpy {:.2}, network/numpy {:.2}",
            network / numpy,
            local / numpy,
            network / dask,
            network / local,
            of("local-files", n, 0, 0) / files,
            of("network-files", n, 1, 3) / files,
        );
    }
    eprintln!(
        "goals from files to files: local/numpy 1.00 at n=4096, 0.95 at 8192; network/numpy 1.15 and 1.05"
    );
}
