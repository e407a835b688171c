//! Peers that cost nearly nothing: a line to the manager, and one listener for all of them.
//!
//! All addresses from 127.0.0.1 to 127.255.255.254 are this machine's, so one listener on one port gives each of
//! thousands of peers an address of its own. It computes the small products by which a manager finds out whether
//! somebody computes there; none of them is meant to serve a real one.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use peerlab::matrix::Matrix;
use peerlab::net::message::VERSION;
use rustix::process::{Resource, getrlimit, setrlimit};
use serde_json::{Value, json};

/// The largest product that is computed, in numbers of all operands.
const SMALL: usize = 1 << 12;

/// Lets this process have as many open connections as the system allows.
pub(crate) fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
}

/// Starts a thread that needs little room, because there may be thousands.
pub(crate) fn spawn(work: impl FnOnce() + Send + 'static) {
    thread::Builder::new().stack_size(128 << 10).spawn(work).unwrap();
}

/// The listener of all light peers.
pub(crate) struct Listener {
    port: u16,
}

impl Listener {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap();
        rustix::net::listen(&listener, 4096).unwrap();
        let port = listener.local_addr().unwrap().port();
        spawn(move || {
            for stream in listener.incoming().flatten() {
                spawn(move || _ = answer_products(stream));
            }
        });
        Self { port }
    }

    /// The address of the peer `n`.
    pub(crate) fn addr(&self, n: usize) -> SocketAddr {
        let ip = Ipv4Addr::new(127, (1 + n / 62_500) as u8, (n / 250 % 250) as u8, (1 + n % 250) as u8);
        (ip, self.port).into()
    }
}

fn answer_products(stream: TcpStream) -> Option<()> {
    stream.set_read_timeout(Some(Duration::from_secs(10))).ok()?;
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    while reader.read_line(&mut line).ok()? > 0 {
        let asked: Value = serde_json::from_str(&line).ok()?;
        line.clear();
        let side = |name: &str| asked[name].as_u64().map(|side| side as usize);
        let (rows, inner, cols) = (side("rows")?, side("inner")?, side("cols")?);
        if rows.max(inner).max(cols) > SMALL || rows * inner + inner * cols > SMALL {
            return None;
        }
        let mut bytes = vec![0; 8 * (rows * inner + inner * cols)];
        reader.read_exact(&mut bytes).ok()?;
        let numbers = numbers(&bytes);
        let (a, b) = numbers.split_at(rows * inner);
        let c: Vec<f64> = (0..rows * cols)
            .map(|at| (0..inner).map(|i| a[at / cols * inner + i] * b[i * cols + at % cols]).sum())
            .collect();
        let payload = 8 * c.len();
        let answer = json!({"type": "product", "product": asked["product"], "rows": rows, "cols": cols, "payload": payload});
        reader.get_mut().write_all(format!("{answer}\n").as_bytes()).ok()?;
        reader.get_mut().write_all(bytemuck::cast_slice(&c)).ok()?;
    }
    Some(())
}

/// The numbers of a payload.
pub(crate) fn numbers(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks_exact(8).map(|bytes| f64::from_le_bytes(bytes.try_into().unwrap())).collect()
}

/// The line by which a peer registers.
pub(crate) fn register(name: &str, addr: SocketAddr, slots: usize) -> String {
    let keeps = false;
    let line = json!({"type": "register", "version": VERSION, "name": name, "addr": addr, "slots": slots, "keeps": keeps});
    format!("{line}\n")
}

/// A conversation in lines, as quick as it can be.
pub(crate) struct Lines {
    reader: BufReader<TcpStream>,
    line: String,
}

impl Lines {
    pub(crate) fn connect(addr: SocketAddr) -> std::io::Result<Self> {
        let stream = TcpStream::connect(addr)?;
        stream.set_nodelay(true)?;
        Ok(Self::new(stream))
    }

    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { reader: BufReader::new(stream), line: String::new() }
    }

    pub(crate) fn say(&mut self, line: &str) -> std::io::Result<()> {
        self.reader.get_mut().write_all(line.as_bytes())
    }

    /// The next line; empty at the end.
    pub(crate) fn hear(&mut self) -> std::io::Result<&str> {
        self.line.clear();
        self.reader.read_line(&mut self.line)?;
        Ok(&self.line)
    }

    /// Raw bytes that follow a line.
    pub(crate) fn read_exact(&mut self, bytes: &mut [u8]) -> std::io::Result<()> {
        self.reader.read_exact(bytes)
    }

    pub(crate) fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.reader.get_mut().write_all(bytes)
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        self.reader.get_ref()
    }
}

/// The number that follows `"NAME":` in a line, or 0.
pub(crate) fn number(line: &str, name: &str) -> u64 {
    let from = line.find(&format!("\"{name}\":")).map_or("", |at| &line[at + name.len() + 3..]);
    let end = from.find(|c: char| !c.is_ascii_digit()).unwrap_or(from.len());
    from[..end].parse().unwrap_or(0)
}

/// A matrix with one whole number in each row: its products keep peers as busy as any others, but what is right can be
/// told quickly.
pub(crate) fn sparse(size: usize) -> Matrix {
    let mut matrix = Matrix::zeros(size, size);
    for i in 0..size {
        matrix.as_mut_slice()[i * size + (i * 7 + 3) % size] = (i % 9) as f64 - 4.0;
    }
    matrix
}

/// The files of downloads on their way into a folder.
pub(crate) fn parts(folder: &Path) -> Vec<PathBuf> {
    let inside = fs::read_dir(folder.join(".peerlab/partial")).into_iter().flatten().flatten();
    let is_part = |path: &PathBuf| path.extension().is_some_and(|ending| ending == "part");
    inside.map(|entry| entry.path()).filter(is_part).collect()
}
