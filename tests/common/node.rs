//! Running `manager` and `peer`: start, wait for a line, signal, read what was said, and leave nothing behind.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

use super::wire::Wire;
use super::{PATIENCE, until};

/// Starts what follows with signals as they are usually. A shell ignores SIGINT for what it runs in the background,
/// tests too, and what is ignored stays ignored.
const DEFAULT_SIGNALS: &[&str] = &["env", "--default-signal=HUP,INT"];

/// What plays `any manager` or `any peer` if it is not our own program: words for a shell.
pub(crate) fn other_program(program: &str) -> Option<String> {
    let role = program.strip_prefix("any ")?;
    std::env::var(format!("PEERLAB_ANY_{}", role.to_uppercase())).ok()
}

/// A running program. Dropped, it is killed; dropped in a panic, it says what it had to say.
pub(crate) struct Node {
    pub(crate) name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: Arc<Mutex<String>>,
    stderr: Arc<Mutex<String>>,
}

/// How a program ended.
#[derive(Debug)]
pub(crate) struct Outcome {
    /// `None` when a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Outcome {
    /// Fails unless the program ended with this exit status and said each of these on stderr.
    #[track_caller]
    pub(crate) fn assert(self, status: i32, says: &[&str]) -> Self {
        assert_eq!(self.status, Some(status), "{self:#?}");
        for text in says {
            assert!(self.stderr.contains(text), "stderr lacks {text:?}: {self:#?}");
        }
        self
    }

    /// The one JSON object on stdout.
    #[track_caller]
    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {self:#?}"))
    }
}

impl Node {
    /// Starts `program` in the folder `dir`, with `log` as its `RUST_LOG`: `manager`, `peer`, `python3`, `bash`;
    /// `nohup manager`, as a script starts it in the background; or `any manager`, `any peer`, which are those that
    /// `scripts/conform.sh` is given, and else the same.
    pub(crate) fn start(program: &str, dir: &Path, log: &str, args: &[&str]) -> Self {
        Self::start_with(program, dir, log, args, &[])
    }

    /// The same, with these variables in its environment.
    pub(crate) fn start_with(
        program: &str,
        dir: &Path,
        log: &str,
        args: &[&str],
        env: &[(&str, String)],
    ) -> Self {
        let other = other_program(program).map(|command| format!("exec {command} \"$@\""));
        let words = match program.trim_start_matches("any ") {
            _ if let Some(command) = &other => &["sh", "-c", command, "sh"][..],
            "manager" => &[DEFAULT_SIGNALS, &[env!("CARGO_BIN_EXE_manager")]].concat(),
            "nohup manager" => &["env", "--ignore-signal=INT", "nohup", env!("CARGO_BIN_EXE_manager")],
            "peer" => &[DEFAULT_SIGNALS, &[env!("CARGO_BIN_EXE_peer")]].concat(),
            program @ ("python3" | "bash") => &[DEFAULT_SIGNALS, &[program]].concat(),
            other => panic!("no program {other}"),
        };
        let mut child = Command::new(words[0])
            .args(&words[1..])
            .args(args)
            .current_dir(dir)
            .env("RUST_LOG", log)
            .envs(env.iter().map(|(name, value)| (name, value)))
            .env_remove("PEERLAB_SECRET_FILE")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = collect(child.stdout.take().unwrap());
        let stderr = collect(child.stderr.take().unwrap());
        let stdin = child.stdin.take();
        Self { name: format!("{program} {}", args.join(" ")), child, stdin, stdout, stderr }
    }

    /// What it has said on stdout so far.
    pub(crate) fn stdout(&self) -> String {
        self.stdout.lock().clone()
    }

    /// What it has said on stderr so far.
    pub(crate) fn stderr(&self) -> String {
        self.stderr.lock().clone()
    }

    /// Waits for its ready line.
    #[track_caller]
    pub(crate) fn ready(&mut self) -> Value {
        let line = until(&format!("the ready line of {}", self.name), PATIENCE, || {
            let ended = self.has_ended();
            let line = self.stdout().lines().next().map(str::to_owned);
            assert!(line.is_some() || !ended, "{} ended before it was ready", self.name);
            line.filter(|_| self.stdout().contains('\n'))
        });
        serde_json::from_str(&line).unwrap()
    }

    /// Waits until it has said `text` on stderr.
    #[track_caller]
    pub(crate) fn hears(&mut self, text: &str) {
        until(&format!("{text:?} of {}", self.name), PATIENCE, || {
            let ended = self.has_ended();
            let said = self.stderr().contains(text);
            assert!(said || !ended, "{} ended before it said {text:?}", self.name);
            said.then_some(())
        });
    }

    /// Gives it a line to read.
    pub(crate) fn type_line(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Ends its stdin.
    pub(crate) fn end_input(&mut self) {
        self.stdin = None;
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    /// The most memory that it ever had, in KiB.
    pub(crate) fn peak_memory(&self) -> usize {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Its number in the system.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Kills it as `kill -9` does, and waits until it is gone.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits until it ends by itself.
    #[track_caller]
    pub(crate) fn outcome(&mut self) -> Outcome {
        self.outcome_within(PATIENCE)
    }

    /// Waits until it ends by itself, but no longer than this.
    #[track_caller]
    pub(crate) fn outcome_within(&mut self, deadline: Duration) -> Outcome {
        let what = format!("the end of {}", self.name);
        let status = until(&what, deadline, || self.child.try_wait().unwrap());
        // Its pipes close with it; the readers hold the last clones until they have read everything.
        for text in [&self.stdout, &self.stderr] {
            until("the rest of its output", PATIENCE, || (Arc::strong_count(text) == 1).then_some(()));
        }
        Outcome { status: status.code(), stdout: self.stdout(), stderr: self.stderr() }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            let indent =
                |text: String| text.lines().map(|line| format!("    {line:.400}\n")).collect::<String>();
            eprintln!("---- {}\n{}{}", self.name, indent(self.stdout()), indent(self.stderr()));
        }
    }
}

/// Reads a pipe to its end in a thread.
fn collect(pipe: impl std::io::Read + Send + 'static) -> Arc<Mutex<String>> {
    let text = Arc::new(Mutex::new(String::new()));
    let into = Arc::clone(&text);
    thread::spawn(move || {
        let mut reader = BufReader::new(pipe);
        let mut line = Vec::new();
        while reader.read_until(b'\n', &mut line).is_ok_and(|n| n > 0) {
            into.lock().push_str(&String::from_utf8_lossy(&line));
            line.clear();
        }
    });
    text
}

/// A manager, peers, and the folder they run in.
pub(crate) struct Network {
    pub(crate) peers: Vec<Node>,
    pub(crate) manager: Node,
    pub(crate) addr: SocketAddr,
    pub(crate) dir: TempDir,
    log: &'static str,
}

impl Network {
    /// A manager with these options, and peers with these slots, named p0, p1, ...; all of them ready and
    /// reachable.
    pub(crate) fn start(options: &[&str], slots: &[u32]) -> Self {
        Self::start_with_log("info", options, slots)
    }

    /// The same, with this `RUST_LOG`.
    pub(crate) fn start_with_log(log: &'static str, options: &[&str], slots: &[u32]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (manager, addr) = start_manager(dir.path(), "127.0.0.1:0", options);
        let mut network = Self { peers: Vec::new(), manager, addr, dir, log };
        for (i, slots) in slots.iter().enumerate() {
            let peer = network.start_peer(&format!("p{i}"), *slots);
            network.peers.push(peer);
        }
        network.peers.iter_mut().for_each(|peer| drop(peer.ready()));
        network.all_leasable(slots.len());
        network
    }

    fn start_peer(&self, name: &str, slots: u32) -> Node {
        let (manager, slots) = (self.addr.to_string(), slots.to_string());
        let args = ["--manager", &manager, "--name", name, "--slots", &slots, "serve"];
        Node::start("peer", self.dir.path(), self.log, &args)
    }

    /// One more peer, ready.
    pub(crate) fn add_peer(&mut self, name: &str, slots: u32) {
        let mut peer = self.start_peer(name, slots);
        peer.ready();
        self.peers.push(peer);
    }

    /// Starts `peer` with a command in this network, as the peer `name`.
    pub(crate) fn command(&self, name: &str, args: &[&str]) -> Node {
        self.command_with_log("debug", name, args)
    }

    /// The same, with this `RUST_LOG`.
    pub(crate) fn command_with_log(&self, log: &str, name: &str, args: &[&str]) -> Node {
        let manager = self.addr.to_string();
        let all = [&["--manager", &manager, "--name", name], args].concat();
        Node::start("peer", self.dir.path(), log, &all)
    }

    /// Kills the manager as `kill -9` does, and starts another one in its place.
    pub(crate) fn restart_manager(&mut self, options: &[&str]) {
        self.manager.kill();
        self.manager = start_manager(self.dir.path(), &self.addr.to_string(), options).0;
    }

    /// A file in the network's folder.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// What the manager knows.
    #[track_caller]
    pub(crate) fn state(&self) -> Value {
        state(self.addr)
    }

    /// The row of a peer in the manager's table.
    #[track_caller]
    pub(crate) fn row(&self, name: &str) -> Option<Value> {
        self.state()["peers"].as_array().unwrap().iter().find(|row| row["name"] == name).cloned()
    }

    /// How many slots are in use.
    #[track_caller]
    pub(crate) fn used(&self) -> u64 {
        self.state()["peers"].as_array().unwrap().iter().map(|row| row["used"].as_u64().unwrap()).sum()
    }

    /// Waits until this many peers can be leased.
    #[track_caller]
    pub(crate) fn all_leasable(&self, peers: usize) {
        until("all peers can be leased", PATIENCE, || {
            let state = self.state();
            let leasable = state["peers"].as_array().unwrap().iter().filter(|row| row["leasable"] == true);
            (leasable.count() == peers).then_some(())
        });
    }
}

/// Starts a manager and waits until it is ready.
#[track_caller]
pub(crate) fn start_manager(dir: &Path, listen: &str, options: &[&str]) -> (Node, SocketAddr) {
    start_any_manager("manager", dir, listen, options)
}

/// The same, of this program.
#[track_caller]
pub(crate) fn start_any_manager(
    program: &str,
    dir: &Path,
    listen: &str,
    options: &[&str],
) -> (Node, SocketAddr) {
    let mut manager = Node::start(program, dir, "info", &[&["--listen", listen], options].concat());
    let ready = manager.ready();
    (manager, ready["addr"].as_str().unwrap().parse().unwrap())
}

/// What the manager at `addr` knows.
#[track_caller]
pub(crate) fn state(addr: SocketAddr) -> Value {
    let mut wire = Wire::connect(addr);
    wire.say(&serde_json::json!({"type": "state"}));
    wire.hear("state")
}
