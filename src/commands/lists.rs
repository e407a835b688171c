//! The verbs that only look: `get` and `files`, which list files, and `bounds`, which computes.
//!
//! `get` and `files` look alike and ask different people. `get` is the sources' GET (E6): it asks the peers themselves,
//! all at once, a thread each; so it says what is really offered now, and is silent about a peer that does not answer
//! (but for a line on stderr). `files` asks the manager alone: it says what the catalogue holds, which may be a moment
//! behind, and with `--health` whether that is enough and what is done about it.
//!
//! They stand apart from `file_commands`, whose verbs move files: nothing here changes anything at any node, and no
//! file is opened.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::json;

use super::context::Shell;
use crate::cli::{say, say_json, tell};
use crate::error::{Error, Result};
use crate::net::connection::Connection;
use crate::net::limits;
use crate::net::message::{Condition, FileState, FromPeer, Health, PeerState, ToPeer, no_answer};
use crate::peer::manager_client::ManagerClient;
use crate::share::theory::{Bound, Setting, client_server, swarm};
use crate::share::units::{Bytes, about, counted};
use crate::share::{FileId, FileName};
use crate::thread;

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
    /// Lists what all other peers offer, asked of the peers themselves.
    pub(super) fn get(&mut self, json: bool) -> Result<()> {
        let peer = self.peer()?;
        let own = peer.network().wait_for_number(Duration::ZERO)?;
        // The list that is broadcast to all comes a few times a second; this answer comes at once.
        let state = ManagerClient::new(self.config.manager).state()?;
        let others: Vec<PeerState> = state.peers.into_iter().filter(|other| other.peer != own).collect();
        let offered = by_content(&others, ask_all(&others));
        if json {
            return say_json(&json!({"files": offered}));
        }
        if offered.is_empty() {
            return say(format_args!(
                "nothing is offered by others ({} here); `add PATH` offers a file",
                counted(others.len(), "other peer")
            ));
        }
        let line = |row: Offered| {
            format!("{:24} {:>10}  {}", row.file, about(row.size), at_whom(&row.whole, &row.partial))
        };
        say(offered.into_iter().map(line).collect::<Vec<_>>().join("\n"))
    }

    /// Lists the manager's catalogue.
    pub(super) fn files(&mut self, health: bool, json: bool) -> Result<()> {
        let files = ManagerClient::new(self.config.manager).files(health)?;
        if json {
            return say_json(&json!({"files": files}));
        }
        if files.is_empty() {
            return say("nobody offers a file; `add PATH` does");
        }
        let line = |file: FileState| {
            let names = |whole: bool| {
                let names = file.holders.iter().filter(|holder| holder.whole == whole);
                names.map(|holder| holder.name.to_string()).collect::<Vec<_>>()
            };
            let at = at_whom(&names(true), &names(false));
            let line = format!("{:24} {:>10}  {}  {at}", file.file, about(file.size), file.id.short());
            match &file.health {
                Some(Health { state, reason }) => format!("{:8} {line}; {reason}", word(*state)),
                None => line,
            }
        };
        say(files.into_iter().map(line).collect::<Vec<_>>().join("\n"))
    }
}

/// What each of these peers says when it is asked for its files; all are asked at the same time.
fn ask_all(peers: &[PeerState]) -> Vec<Result<Vec<FromPeer>>> {
    std::thread::scope(|scope| {
        let ask = |card: &PeerState| {
            let addr = card.addr;
            thread::start_scoped(scope, "ask_files", move || ask_files(addr))
        };
        let threads: Vec<_> = peers.iter().map(ask).collect();
        let join = |thread: Result<ScopedJoinHandle<'_, _>>| {
            thread?.join().unwrap_or_else(|_| Err(Error::failed("the thread that asks has panicked")))
        };
        threads.into_iter().map(join).collect()
    })
}

/// The peers' answers turned round: for each content who offers it. Who did not answer is told of on stderr.
fn by_content(peers: &[PeerState], answers: Vec<Result<Vec<FromPeer>>>) -> Vec<Offered> {
    let mut offered: BTreeMap<(FileName, FileId), Offered> = BTreeMap::new();
    for (card, answer) in peers.iter().zip(answers) {
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
    offered.into_values().collect()
}

/// A condition in one word.
fn word(condition: Condition) -> &'static str {
    match condition {
        Condition::Whole => "whole",
        Condition::Healing => "healing",
        Condition::Missing => "missing",
    }
}

/// What one peer offers.
fn ask_files(addr: SocketAddr) -> Result<Vec<FromPeer>> {
    let mut connection = Connection::connect(addr, limits::LINE)?;
    connection.send(&ToPeer::Get {})?;
    let end = Instant::now() + limits::MESSAGE_TIME;
    let mut files = Vec::new();
    while files.len() < limits::FILES {
        match connection.answer(end.saturating_duration_since(Instant::now()))? {
            file @ FromPeer::File { .. } => files.push(file),
            FromPeer::End {} => break,
            other => return Err(no_answer(&other, "get")),
        }
    }
    Ok(files)
}

/// Prints the lecture's two bounds.
pub(super) fn bounds(setting: &Setting, json: bool) -> Result<()> {
    let (cs, p2p) = (client_server(setting), swarm(setting));
    let row = |bound: &Bound| json!({"seconds": bound.seconds, "term": bound.term.formula(), "because": bound.term.to_string()});
    if json {
        return say_json(&json!({"client_server": row(&cs), "p2p": row(&p2p)}));
    }
    say(format_args!(
        "F = {}, N = {}, u_s = {}/s",
        Bytes(setting.size),
        setting.peers,
        Bytes(setting.seed_up)
    ))?;
    for (name, bound) in [("D_cs", cs), ("D_p2p", p2p)] {
        say(format_args!(
            "{name:6} >= {:10.3} s = {:22} {}",
            bound.seconds,
            bound.term.formula(),
            bound.term
        ))?;
    }
    Ok(())
}

/// "at ada, ben, in part at cyd".
fn at_whom(whole: &[String], partial: &[String]) -> String {
    let at = if whole.is_empty() { "nobody".into() } else { whole.join(", ") };
    match partial {
        [] => format!("at {at}"),
        _ => format!("at {at}, in part at {}", partial.join(", ")),
    }
}
