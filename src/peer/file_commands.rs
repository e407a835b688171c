//! The verbs for files, one function each: `add`, `get`, `down`, `files`, `verify`, `bounds`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use serde::Serialize;
use serde_json::json;

use super::Peer;
use super::commands::Shell;
use super::download::{Asker, Report, Wish, download, query};
use super::folder;
use super::progress::show_download;
use crate::cli::{say_json, tell};
use crate::error::{Code, Error, Kind, Result};
use crate::net::connection::Connection;
use crate::net::limits;
use crate::net::message::{FileState, FromManager, FromPeer, PeerCard, ToManager, ToPeer};
use crate::share::picker::Order;
use crate::share::theory::{Bound, Setting, client_server, swarm};
use crate::share::units::{Bytes, about};
use crate::share::{FileId, FileName};

/// How long a file may take to be known to the manager.
const PUBLISHING: Duration = Duration::from_secs(10);

/// A file as `get` shows it: one line for each content, with who offers it.
#[derive(Debug, Serialize)]
struct Offered {
    file: FileName,
    id: FileId,
    size: u64,
    /// Names of those who have all of it.
    whole: Vec<String>,
    /// Names of those who have a part.
    partial: Vec<String>,
}

impl Shell {
    /// Puts a file into the shared folder, and tells the manager.
    pub(super) fn add(&mut self, path: &Path, json: bool) -> Result<()> {
        let data = self.config().data.clone();
        let peer = self.peer()?;
        let name = folder::import(&data, path)?;
        let shared = Arc::new(folder::hash(&data, &name)?);
        let manifest = shared.manifest().clone();
        peer.sharing().offer(Arc::clone(&shared));
        peer.sharing().published(&name, PUBLISHING).inspect_err(|no| {
            // A copy that nobody may have under this name is of no use; the original is where it was.
            if no.code() == Code::Conflict && shared.place() != path {
                peer.sharing().withdraw(&name);
                folder::discard(&shared);
            }
        })?;
        let (id, size, pieces) = (manifest.id(), manifest.layout().size(), manifest.layout().pieces());
        if json {
            say_json(&json!({"file": name, "id": id, "size": size, "pieces": pieces}))?;
        } else {
            println!("{name}: {}, {pieces} pieces, id {}", about(size), id.short());
        }
        self.serve_on(&peer, &name)
    }

    /// A command that stays goes on until a signal, which then is its ordinary end; at the prompt the peer
    /// serves anyway.
    fn serve_on(&self, peer: &Peer, file: &FileName) -> Result<()> {
        if self.stays() {
            return Ok(());
        }
        tell(format!("serving {file} at {} until Ctrl-C", peer.addr()));
        self.done().store(true, Ordering::SeqCst);
        loop {
            thread::park(); // The signal's thread ends the program.
        }
    }

    /// Lists what all other peers offer, asked of the peers themselves.
    pub(super) fn get(&mut self, json: bool) -> Result<()> {
        let peer = self.peer()?;
        let own = peer.membership().number(Duration::ZERO)?;
        let others: Vec<PeerCard> = peer.membership().peers(limits::MESSAGE_TIME)?;
        let others: Vec<PeerCard> = others.into_iter().filter(|card| card.peer != own).collect();
        let answers: Vec<Result<Vec<FromPeer>>> = thread::scope(|scope| {
            let ask = |card: &PeerCard| {
                let addr = card.addr;
                thread::Builder::new().name("ask_files".into()).spawn_scoped(scope, move || ask_files(addr))
            };
            let threads: Vec<_> = others.iter().map(ask).collect();
            let failed = || Error::failed("cannot start a thread to ask with");
            let join = |thread: std::io::Result<thread::ScopedJoinHandle<'_, _>>| {
                thread.map_err(|e| failed().because(e))?.join().unwrap_or_else(|_| Err(failed()))
            };
            threads.into_iter().map(join).collect()
        });
        let mut offered: BTreeMap<(FileName, FileId), Offered> = BTreeMap::new();
        for (card, answer) in others.iter().zip(answers) {
            let files = match answer {
                Ok(files) => files,
                Err(e) => {
                    tell(format!("{} does not say what it offers: {e}", card.name));
                    continue;
                }
            };
            for file in files {
                let FromPeer::File { file, id, size, whole } = file else { continue };
                let row = offered.entry((file.clone(), id)).or_insert_with(|| Offered {
                    file,
                    id,
                    size,
                    whole: Vec::new(),
                    partial: Vec::new(),
                });
                let names = if whole { &mut row.whole } else { &mut row.partial };
                names.push(card.name.to_string());
            }
        }
        let offered: Vec<Offered> = offered.into_values().collect();
        if json {
            return say_json(&json!({"files": offered}));
        }
        if offered.is_empty() {
            println!("the {} other peers offer nothing; `add PATH` offers a file", others.len());
        }
        for row in offered {
            let part = if row.partial.is_empty() {
                String::new()
            } else {
                format!(", in part at {}", row.partial.join(", "))
            };
            println!("{:24} {:>10}  at {}{part}", row.file, about(row.size), row.whole.join(", "));
        }
        Ok(())
    }

    /// Lists the manager's catalogue.
    pub(super) fn files(&mut self, json: bool) -> Result<()> {
        let mut connection = Connection::connect(self.config().manager, limits::MANAGER_LINE)
            .map_err(|e| e.advise("start `manager` there, or give its address with --manager"))?;
        connection.send(&ToManager::Files {})?;
        let mut files: Vec<FileState> = Vec::new();
        loop {
            match connection.expect(limits::MESSAGE_TIME)? {
                FromManager::File(file) => files.push(file),
                FromManager::End {} => break,
                FromManager::Error(no) => return Err(no.into()),
                other => {
                    return Err(Error::new(Code::BadMessage, format!("not an answer to `files`: {other:?}")));
                }
            }
        }
        if json {
            return say_json(&json!({"files": files}));
        }
        if files.is_empty() {
            println!("nobody offers a file; `add PATH` does");
        }
        for file in files {
            let names = |whole: bool| {
                let names = file.holders.iter().filter(|holder| holder.whole == whole);
                names.map(|holder| holder.name.to_string()).collect::<Vec<_>>()
            };
            let (whole, partial) = (names(true), names(false));
            let part =
                if partial.is_empty() { "".into() } else { format!(", in part at {}", partial.join(", ")) };
            let at = if whole.is_empty() { "nobody".into() } else { whole.join(", ") };
            println!("{:24} {:>10}  {}  at {at}{part}", file.file, about(file.size), file.id.short());
        }
        Ok(())
    }

    /// Downloads a file from all its holders.
    pub(super) fn down(
        &mut self,
        file: &FileName,
        output: Option<PathBuf>,
        stay: bool,
        order: Order,
        json: bool,
    ) -> Result<()> {
        let peer = self.peer()?;
        let here = if self.stays() { self.config().data.clone() } else { ".".into() };
        let folder = output.unwrap_or(here);
        let report = match already_here(&peer, file, &folder)? {
            Some(report) => report,
            None => run_download(&peer, Wish { file, folder: &folder, order, repair: false })?,
        };
        if json {
            say_json(&report)?;
        } else {
            println!("{}", summary(&report, &folder));
        }
        if stay { self.serve_on(&peer, file) } else { Ok(()) }
    }

    /// Checks a file of the shared folder against the catalogue's hashes, and repairs it from others.
    pub(super) fn verify(&mut self, file: &FileName, json: bool) -> Result<()> {
        let data = self.config().data.clone();
        let mut tracker = Connection::connect(self.config().manager, limits::MANAGER_LINE)
            .map_err(|e| e.advise("start `manager` there, or give its address with --manager"))?;
        let manifest = query(&mut tracker, 0, file)?.manifest;
        let bad = folder::bad_pieces(&data, &manifest)?;
        let list: Vec<String> = bad.iter().map(ToString::to_string).collect();
        if !bad.is_empty() {
            tell(format!("{file}: bad pieces: {}; repairing from others", list.join(", ")));
            let peer = self.peer()?;
            let order = Order::default();
            run_download(&peer, Wish { file, folder: &data, order, repair: true }).map_err(|e| {
                Error::new(Kind::Check, format!("{file} has {} bad pieces", bad.len())).because(e)
            })?;
        }
        if json {
            return say_json(&json!({
                "file": file, "id": manifest.id(), "pieces": manifest.layout().pieces(),
                "bad": bad, "repaired": bad.len(),
            }));
        }
        match bad.len() {
            0 => println!("{file}: all {} pieces are right", manifest.layout().pieces()),
            some => println!("{file}: {some} pieces were wrong and are right now"),
        }
        Ok(())
    }
}

/// What one peer offers.
fn ask_files(addr: std::net::SocketAddr) -> Result<Vec<FromPeer>> {
    let mut connection = Connection::connect(addr, limits::LINE)?;
    connection.send(&ToPeer::Get {})?;
    let end = Instant::now() + limits::MESSAGE_TIME;
    let mut files = Vec::new();
    while files.len() < limits::FILES {
        match connection.expect(end.saturating_duration_since(Instant::now()))? {
            file @ FromPeer::File { .. } => files.push(file),
            FromPeer::End {} => break,
            FromPeer::Error(no) => return Err(no.into()),
            other => return Err(Error::new(Code::BadMessage, format!("not an answer to `get`: {other:?}"))),
        }
    }
    Ok(files)
}

/// A file that need not be fetched, because it is here.
fn already_here(peer: &Peer, file: &FileName, folder: &Path) -> Result<Option<Report>> {
    let offered = peer.sharing().get(file).filter(|shared| shared.is_whole() && shared.open().is_ok());
    let shared = match offered {
        Some(shared) => shared,
        None if folder.join(file.as_str()).is_file() => {
            let mut tracker = Connection::connect(peer.config().manager, limits::MANAGER_LINE)?;
            let wanted = query(&mut tracker, 0, file)?.manifest.id();
            let shared = Arc::new(folder::hash(folder, file)?);
            if shared.manifest().id() != wanted {
                return Ok(None);
            }
            peer.sharing().offer(Arc::clone(&shared));
            shared
        }
        None => return Ok(None),
    };
    tell(format!("{file} is here already: {}", shared.place().display()));
    let layout = shared.manifest().layout();
    let (size, pieces) = (layout.size(), layout.pieces());
    let (seconds, fsync_seconds, refetched, duplicates) = (0.0, 0.0, 0, 0);
    let from = Vec::new();
    let file = file.clone();
    Ok(Some(Report { file, size, seconds, fsync_seconds, pieces, refetched, duplicates, from }))
}

/// Downloads, with its progress on stderr.
fn run_download(peer: &Peer, wish: Wish<'_>) -> Result<Report> {
    let (progress, events) = unbounded();
    let number = peer.membership().number(Duration::ZERO)?;
    let asker = Asker {
        manager: peer.config().manager,
        number,
        addr: peer.addr(),
        sharing: peer.sharing(),
        uploads: peer.uploads(),
    };
    thread::scope(|scope| {
        thread::Builder::new()
            .name("show_progress".into())
            .spawn_scoped(scope, move || show_download(&events))
            .map_err(|e| Error::failed("cannot start a thread for the progress").because(e))?;
        download(asker, wish, progress)
    })
}

/// "a.bin: 32.0 MiB in 0.120 s (266.7 MiB/s) from ada 43, ben 85".
fn summary(report: &Report, folder: &Path) -> String {
    let from: Vec<String> =
        report.from.iter().map(|share| format!("{} {}", share.peer, share.pieces)).collect();
    let from = if from.is_empty() { "nobody".into() } else { from.join(", ") };
    let rate = about((report.size as f64 / report.seconds.max(1e-6)) as u64);
    let place = folder.join(report.file.as_str());
    let mut text = format!(
        "{}: {} in {:.3} s ({rate}/s), pieces from {from}",
        place.display(),
        about(report.size),
        report.seconds
    );
    if report.refetched > 0 {
        text += &format!("; {} came wrong and were fetched again", report.refetched);
    }
    text
}

/// Prints the lecture's two bounds.
pub(super) fn bounds(setting: &Setting, json: bool) -> Result<()> {
    let (cs, p2p) = (client_server(setting), swarm(setting));
    let row = |bound: &Bound| json!({"seconds": bound.seconds, "term": bound.term.formula(), "because": bound.term.to_string()});
    if json {
        return say_json(&json!({"client_server": row(&cs), "p2p": row(&p2p)}));
    }
    println!("F = {}, N = {}, u_s = {}/s", Bytes(setting.size), setting.peers, Bytes(setting.seed_up));
    for (name, bound) in [("D_cs", cs), ("D_p2p", p2p)] {
        println!("{name:6} >= {:10.3} s = {:22} {}", bound.seconds, bound.term.formula(), bound.term);
    }
    Ok(())
}
