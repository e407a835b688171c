//! One system call of one program fails, once, in a short day of a small network: a manager, two peers, a file that is
//! added, copied and downloaded, a product, a drop.
//!
//! `tests/failing.rs` is loaded into the program that is to suffer, and lets the call fail. The rest is looked at from
//! the outside: nobody crashes; what ends in a failure names the cause and says what to do; what is done again is
//! right; the file is everywhere, and then nowhere; and no thread, descriptor, slot or temporary file is left.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::files::bytes;
use super::node::{Node, Outcome};
use super::{assert_is_product, integers, save};

/// The kinds of calls, and the error of each: the one that is likeliest in life.
pub(crate) const KINDS: [(&str, i32); 12] = [
    ("open", 24),
    ("read", 5),
    ("write", 28),
    ("fsync", 5),
    ("rename", 5),
    ("bind", 98),
    ("accept", 24),
    ("connect", 111),
    ("socket", 24),
    ("recv", 104),
    ("send", 104),
    ("spawn", 11),
];

/// How long the network may take for one step, with a failure in it.
const STEP: Duration = Duration::from_secs(40);

const FILM: usize = 700_000;

/// The call that fails: its kind, whose it is, and which of them, counted from 1. 0: none, but they are counted.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) kind: &'static str,
    pub(crate) victim: &'static str,
    pub(crate) at: usize,
}

/// What there was to see.
#[derive(Debug, Default)]
pub(crate) struct Verdict {
    /// The call came, and failed.
    pub(crate) failed: bool,
    pub(crate) crashed: Vec<String>,
    pub(crate) wrong: Vec<String>,
    /// Failures without a cause, or without what to do.
    pub(crate) wordless: Vec<String>,
    pub(crate) leaked: Vec<String>,
    pub(crate) not_whole: Vec<String>,
    /// How many calls of each kind each program made, where none was to fail.
    pub(crate) calls: BTreeMap<(String, String), usize>,
    /// Threads and descriptors of each node when all is done.
    pub(crate) idle: BTreeMap<&'static str, [usize; 2]>,
}

impl Verdict {
    /// Every broken promise, in words.
    pub(crate) fn broken(&self) -> Vec<String> {
        let all = [
            ("crashed", &self.crashed),
            ("wrong", &self.wrong),
            ("without a word", &self.wordless),
            ("left behind", &self.leaked),
            ("not whole", &self.not_whole),
        ];
        all.iter().flat_map(|(what, which)| which.iter().map(move |it| format!("{what}: {it}"))).collect()
    }
}

/// Builds what lets calls fail.
pub(crate) fn build(into: &Path) -> PathBuf {
    let library = into.join("libfailing.so");
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/failing.rs");
    let words = ["--edition", "2024", "--crate-type", "cdylib", "-O", "-C", "panic=abort", source, "-o"];
    let built = Command::new("rustc").args(words).arg(&library).status();
    assert!(built.is_ok_and(|status| status.success()), "rustc cannot build {source}");
    library
}

/// The day of the network.
struct Day<'a> {
    library: &'a Path,
    case: &'a Case,
    dir: TempDir,
    log: TempDir,
    manager: Option<SocketAddr>,
    nodes: BTreeMap<&'static str, Node>,
    film: Vec<u8>,
    verdict: Verdict,
}

/// Lets a call fail, and looks at what becomes of it. `idle` is what a day without a failure leaves.
pub(crate) fn run(library: &Path, case: &Case, idle: &BTreeMap<&'static str, [usize; 2]>) -> Verdict {
    let mut day = Day {
        library,
        case,
        dir: tempfile::tempdir().unwrap(),
        log: tempfile::tempdir().unwrap(),
        manager: None,
        nodes: BTreeMap::new(),
        film: bytes(FILM, 5),
        verdict: Verdict::default(),
    };
    day.pass(idle);
    day.verdict
}

impl Day<'_> {
    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn pass(&mut self, idle: &BTreeMap<&'static str, [usize; 2]>) {
        let (a, b) = (integers(60, 50, 1), integers(50, 40, 2));
        save(&a, &self.path("a.npy"));
        save(&b, &self.path("b.npy"));
        fs::write(self.path("film"), &self.film).unwrap();
        ["manager", "p0", "p1"].into_iter().for_each(|name| self.start_node(name, true));
        self.until("both peers can be leased", |day| {
            let state = day.look()?;
            let peers = state["peers"].as_array()?;
            (peers.len() == 2 && peers.iter().all(|row| row["leasable"] == true)).then_some(())
        });
        if let Some(p0) = self.nodes.get_mut("p0")
            && !p0.has_ended()
        {
            p0.type_line("add film");
        }
        self.until("both peers have the film", |day| {
            let state = day.look()?;
            let holders = state["files"][0]["holders"].as_array()?;
            (holders.iter().filter(|holder| holder["whole"] == true).count() == 2).then_some(())
        });
        let copies = ["peerlab-p0/film", "peerlab-p1/film"].map(|path| self.path(path));
        if copies.iter().any(|path| fs::read(path).is_ok_and(|found| found != self.film)) {
            self.verdict.wrong.push("a copy has other bytes".into());
        }
        self.command("down", &["down", "film", "-o", "into"], |day| {
            fs::read(day.path("into/film")).is_ok_and(|found| found == day.film)
        });
        self.command("multiply", &["multiply", "a.npy", "b.npy", "-o", "c.npy", "--force"], |day| {
            let path = day.path("c.npy");
            catch_unwind(AssertUnwindSafe(|| assert_is_product(&path, &a, &b))).is_ok()
        });
        self.command("drop", &["drop", "film"], |_| true);
        self.until("the film is gone", |day| {
            let listed = day.look()?["files"].as_array()?.len();
            (listed == 0 && copies.iter().all(|path| !path.exists())).then_some(())
        });
        self.until("no slot is in use", |day| {
            let state = day.look()?;
            let free = state["peers"].as_array()?.iter().all(|row| row["used"] == 0);
            let none = |list: &str| state[list].as_array().is_some_and(Vec::is_empty);
            (free && none("leases") && none("queue")).then_some(())
        });
        self.look_for_leaks(idle);
        self.end();
    }

    /// A program, which suffers if it is the one, and `first` says that it does for the first time.
    fn start(&self, name: &str, first: bool, program: &str, args: &[&str]) -> Node {
        let suffers = first && (self.case.victim == name || self.case.at == 0);
        let error = KINDS.iter().find(|(kind, _)| *kind == self.case.kind).map_or(0, |(_, error)| *error);
        let dir = self.dir.path();
        let folder = dir.canonicalize().unwrap();
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let env = [
            ("LD_PRELOAD", text(self.library)),
            ("FAIL_CALL", self.case.kind.to_owned()),
            ("FAIL_AT", self.case.at.to_string()),
            ("FAIL_WITH", error.to_string()),
            ("FAIL_IN", text(&folder)),
            ("FAIL_LOG", text(&self.log.path().join(name))),
        ];
        Node::start_with(program, dir, "info", args, if suffers { &env } else { &[] })
    }

    fn start_node(&mut self, name: &'static str, first: bool) {
        let known = self.manager.map_or("127.0.0.1:0".to_owned(), |addr| addr.to_string());
        let mut node = match name {
            "manager" => self.start(name, first, "manager", &["--listen", &known]),
            // Its commands come from its stdin.
            "p0" if first => {
                self.start(name, first, "peer", &["--manager", &known, "--name", name, "--slots", "4"])
            }
            _ => self.start(
                name,
                first,
                "peer",
                &["--manager", &known, "--name", name, "--slots", "4", "serve"],
            ),
        };
        let end = Instant::now() + STEP;
        while !node.stdout().contains('\n') && !node.has_ended() && Instant::now() < end {
            thread::sleep(Duration::from_millis(5));
        }
        if name == "manager"
            && let Ok(ready) = serde_json::from_str::<Value>(&node.stdout())
        {
            self.manager = ready["addr"].as_str().and_then(|addr| addr.parse().ok());
        }
        self.nodes.insert(name, node);
        self.tend();
    }

    /// Starts again what has ended, as a user would that has read why.
    fn tend(&mut self) {
        let ended: Vec<_> =
            self.nodes.iter_mut().filter_map(|(name, node)| node.has_ended().then_some(*name)).collect();
        for name in ended {
            let outcome = self.nodes.remove(name).unwrap().outcome();
            self.judge(name, &outcome);
            if name == "p0" && self.manager.is_some() && !self.path("peerlab-p0/film").exists() {
                fs::create_dir_all(self.path("peerlab-p0")).unwrap();
                fs::copy(self.path("film"), self.path("peerlab-p0/film")).unwrap();
            }
            self.start_node(name, false);
        }
    }

    /// A program has ended in a failure: it has not crashed, names the cause, and says what to do.
    fn judge(&mut self, name: &str, outcome: &Outcome) {
        let last = outcome
            .stderr
            .lines()
            .rev()
            .find(|line| line.starts_with("peer: ") || line.starts_with("manager: "));
        let said = format!("{name}: {:?}: {}", outcome.status, last.unwrap_or(&outcome.stderr));
        let crashed =
            outcome.status.is_none_or(|status| status >= 100) || outcome.stderr.contains("panicked");
        if crashed {
            self.verdict.crashed.push(format!("{name}: {outcome:#?}"));
        } else if !last.is_some_and(|line| line.contains("; ")) {
            self.verdict.wordless.push(said);
        }
    }

    /// A command, and again without a failure where it failed. Then it has done what it should.
    fn command(&mut self, name: &str, words: &[&str], is_right: impl Fn(&Self) -> bool) {
        for first in [true, false] {
            let Some(manager) = self.manager else { return };
            let manager = manager.to_string();
            let args = [&["--manager", &manager, "--name", name], words].concat();
            let mut node = self.start(name, first, "peer", &args);
            if self.until(&format!("the end of {name}"), |_| node.has_ended().then_some(())).is_none() {
                return;
            }
            let outcome = node.outcome();
            if outcome.status == Some(0) {
                if !is_right(self) {
                    self.verdict.wrong.push(format!("{name}: {outcome:#?}"));
                }
                return;
            }
            self.judge(name, &outcome);
            // What was dropped before the answer was lost is not there any more.
            if !(first || name == "drop" && outcome.status == Some(3)) {
                self.verdict.not_whole.push(format!("{name} fails again: {outcome:#?}"));
            }
        }
    }

    /// Polls until `probe` has an answer, and starts again what has ended meanwhile. `None`: it had none in time.
    fn until<T>(&mut self, what: &str, mut probe: impl FnMut(&Self) -> Option<T>) -> Option<T> {
        let end = Instant::now() + STEP;
        while Instant::now() < end {
            self.tend();
            if let Some(found) = probe(self) {
                return Some(found);
            }
            thread::sleep(Duration::from_millis(10));
        }
        let state = self.look().map(|state| state.to_string());
        let said: String =
            self.nodes.values().map(|node| format!("---- {}\n{}", node.name, node.stderr())).collect();
        self.verdict.not_whole.push(format!("not within {STEP:?}: {what}\n{state:?}\n{said}"));
        None
    }

    /// What the manager knows, if it answers.
    fn look(&self) -> Option<Value> {
        let mut stream = TcpStream::connect(self.manager?).ok()?;
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        stream.write_all(b"{\"type\":\"state\"}\n").ok()?;
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).ok()?;
        serde_json::from_str(&line).ok().filter(|state: &Value| state["type"] == "state")
    }

    fn look_for_leaks(&mut self, idle: &BTreeMap<&'static str, [usize; 2]>) {
        let quiet = Duration::from_secs(2);
        for name in ["manager", "p0", "p1"] {
            let count = |day: &Self| {
                let pid = day.nodes[name].pid();
                ["task", "fd"].map(|of| fs::read_dir(format!("/proc/{pid}/{of}")).map_or(0, Iterator::count))
            };
            // A thread that obeys orders has its own line to the manager, and keeps it; there are four.
            let usual =
                idle.get(name).map(|[threads, open]| [*threads, open + 3 * usize::from(name != "manager")]);
            let Some(usual) = usual else {
                // The fewest of a while: conversations end in their own time.
                let (mut least, end) = (count(self), Instant::now() + quiet);
                while Instant::now() < end {
                    least = [0, 1].map(|i| least[i].min(count(self)[i]));
                    thread::sleep(Duration::from_millis(20));
                }
                self.verdict.idle.insert(name, least);
                continue;
            };
            let end = Instant::now() + STEP;
            while count(self).iter().zip(&usual).any(|(now, usual)| now > usual) && Instant::now() < end {
                thread::sleep(Duration::from_millis(20));
            }
            let now = count(self);
            if now.iter().zip(&usual).any(|(now, usual)| now > usual) {
                let pid = self.nodes[name].pid();
                let open = fs::read_dir(format!("/proc/{pid}/fd")).unwrap().flatten();
                let open: Vec<_> = open.filter_map(|fd| fs::read_link(fd.path()).ok()).collect();
                let what = format!("{name} has {now:?} threads and descriptors, not {usual:?}: {open:?}");
                self.verdict.leaked.push(format!("{what}\n{}", self.nodes[name].stderr()));
            }
        }
        let end = Instant::now() + STEP;
        while !temporary(self.dir.path()).is_empty() && Instant::now() < end {
            thread::sleep(Duration::from_millis(20));
        }
        self.verdict.leaked.extend(temporary(self.dir.path()).iter().map(|path| path.display().to_string()));
    }

    /// All leave in order.
    fn end(&mut self) {
        for name in ["p0", "p1", "manager"] {
            let Some(mut node) = self.nodes.remove(name) else { continue };
            let _ = (!node.has_ended()).then(|| node.signal(Signal::TERM));
            let end = Instant::now() + STEP;
            while !node.has_ended() && Instant::now() < end {
                thread::sleep(Duration::from_millis(5));
            }
            if !node.has_ended() {
                self.verdict.not_whole.push(format!("{name} does not end\n{}", node.stderr()));
                continue;
            }
            let outcome = node.outcome();
            // A prompt that is interrupted says so.
            if ![Some(0), Some(130)].contains(&outcome.status) {
                self.verdict.not_whole.push(format!("{name} ends badly: {outcome:#?}"));
            }
            if outcome.stderr.contains("panicked") {
                self.verdict.crashed.push(format!("{name}: {outcome:#?}"));
            }
        }
        for entry in fs::read_dir(self.log.path()).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            for kind in fs::read_to_string(&path).unwrap().lines() {
                *self.verdict.calls.entry((kind.to_owned(), name.clone())).or_default() += 1;
            }
        }
        self.verdict.failed = self.case.at > 0 && !self.verdict.calls.is_empty();
    }
}

/// Files that only something unfinished has.
fn temporary(dir: &Path) -> Vec<PathBuf> {
    let (mut found, mut folders) = (Vec::new(), vec![dir.to_owned()]);
    while let Some(folder) = folders.pop() {
        for path in fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path()) {
            let unfinished = ["partial", "incoming"].iter().any(|name| folder.ends_with(name));
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            let is_hidden = [".tmp", ".peerlab-"].iter().any(|begins| name.starts_with(begins));
            if path.is_dir() {
                folders.push(path);
            } else if unfinished || is_hidden {
                found.push(path);
            }
        }
    }
    found
}
