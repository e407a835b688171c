//! Starting nodes, for benchmarks.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

/// A program that is ended with the bench, with its folder.
pub(crate) struct Node {
    pub(crate) child: Child,
    pub(crate) _folder: TempDir,
    pub(crate) addr: SocketAddr,
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Starts a node and waits until it is ready.
pub(crate) fn node(program: &str, args: &[&str]) -> Node {
    let folder = tempfile::tempdir().expect("a folder");
    let mut child = Command::new(program)
        .args(args)
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the program is built");
    let mut line = String::new();
    BufReader::new(child.stdout.take().expect("piped")).read_line(&mut line).expect("a ready line");
    let ready: serde_json::Value = serde_json::from_str(&line).expect("JSON");
    let addr = ready["addr"].as_str().expect("an address").parse().expect("an address");
    Node { child, _folder: folder, addr }
}
