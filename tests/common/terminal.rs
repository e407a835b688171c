//! A program on a terminal: keys go in, and what the screen was sent comes out. `script` (util-linux) makes the
//! terminal.

use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

use super::node::Network;
use super::{PATIENCE, until};

/// The key Ctrl-C.
pub(crate) const CTRL_C: &str = "\x03";

/// A running program that has a terminal, of 100 columns unless it is said. Dropped, it is hung up on.
pub(crate) struct Terminal {
    child: Child,
    screen: Arc<Mutex<String>>,
    /// How much of that was looked at.
    seen: usize,
}

impl Terminal {
    /// Starts `manager` with these words in the folder `dir`.
    pub(crate) fn manager(dir: &Path, words: &str) -> Self {
        Self::start(100, dir, &format!("{} {words}", env!("CARGO_BIN_EXE_manager")))
    }

    /// Starts `peer`, on a terminal of so many columns.
    pub(crate) fn peer(columns: usize, dir: &Path, words: &str) -> Self {
        Self::start(columns, dir, &format!("{} {words}", env!("CARGO_BIN_EXE_peer")))
    }

    fn start(columns: usize, dir: &Path, program: &str) -> Self {
        let command = format!("stty cols {columns} rows 40; exec env --default-signal=HUP,INT {program}");
        let mut child = Command::new("script")
            .args(["--quiet", "--return", "--flush", "--command", &command, "/dev/null"])
            .current_dir(dir)
            .env("TERM", "xterm")
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let screen = Arc::new(Mutex::new(String::new()));
        let (mut sent, into) = (child.stdout.take().unwrap(), Arc::clone(&screen));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(some @ 1..) = sent.read(&mut bytes) {
                into.lock().push_str(&String::from_utf8_lossy(&bytes[..some]));
            }
        });
        Self { child, screen, seen: 0 }
    }

    /// The prompt of the peer `name` in this network, once it is shown.
    #[track_caller]
    pub(crate) fn prompt(network: &Network, name: &str, options: &str) -> Self {
        let words = format!("--manager {} --name {name} {options}", network.addr);
        let mut terminal = Self::peer(100, network.dir.path(), &words);
        terminal.shows(&format!("{name}> "));
        terminal
    }

    /// Presses these keys.
    pub(crate) fn types(&mut self, keys: &str) {
        // It may have ended.
        let stdin = self.child.stdin.as_mut().unwrap();
        let _ = stdin.write_all(keys.as_bytes()).and_then(|()| stdin.flush());
    }

    /// Waits until `text` is shown, after what was waited for before.
    #[track_caller]
    pub(crate) fn shows(&mut self, text: &str) {
        until(&format!("{text:?} on the terminal"), PATIENCE, || {
            let screen = self.screen.lock();
            let at = screen[self.seen..].find(text)?;
            self.seen += at + text.len();
            Some(())
        });
    }

    /// All that was shown so far.
    pub(crate) fn screen(&self) -> String {
        self.screen.lock().clone()
    }

    /// How it has ended, if it has.
    pub(crate) fn has_ended(&mut self) -> Option<i32> {
        self.child.try_wait().unwrap().map(|status| status.code().unwrap_or(-1))
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // The end of its input is Ctrl-D for what runs there; then nobody is left to read.
        self.child.stdin = None;
        let _ = self.child.kill();
        let _ = self.child.wait();
        if thread::panicking() {
            eprintln!("---- the terminal\n{:.4000}", self.screen());
        }
    }
}
