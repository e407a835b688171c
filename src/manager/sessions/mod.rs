//! What each kind of conversation with the manager is answered.
//!
//! The first message says which conversation it is:
//! - `register`: the conversation in which a peer stays known ([`member`]). It lasts as long as the peer does; its end,
//!   in any way, is the peer's end.
//! - `lease`: the conversation of one that wants slots ([`holder`]). It waits, holds and gives back; its end, in any
//!   way, is a release.
//! - `query`, `update`, `files`, `drop`: who has which file; `state`: a look at the table ([`tracker`]).
//!
//! A request of HTTP instead of a message gets one answer ([`http`]).
//!
//! Sessions wait, they do not think: what is answered is decided by the [`state`](super::state).

pub(super) mod exam;
mod holder;
mod http;
mod member;
mod tracker;

use super::board::Board;
use super::desk::Desk;
use crate::error::Result;
use crate::net::connection::Connection;
use crate::net::http::first_message;
use crate::net::message::{ToManager, unexpected};
use holder::serve_holder;
use member::serve_member;
use tracker::serve_tracker;

/// Serves one connection: reads which conversation it is, and has it.
///
/// # Errors
/// What the other side is to be told before its connection is closed.
pub(super) fn serve_node(desk: &Desk, board: &Board, connection: &mut Connection) -> Result<()> {
    let Some(first) = first_message(connection, |request| http::answer(desk, board, request))? else {
        return Ok(());
    };
    match first {
        ToManager::Register(candidate) => serve_member(desk, connection, candidate),
        ToManager::Lease { who, slots, avoid } => serve_holder(desk, connection, &who, slots, avoid),
        request @ (ToManager::Query { .. }
        | ToManager::Update { .. }
        | ToManager::Files { .. }
        | ToManager::Drop { .. }
        | ToManager::State {}) => serve_tracker(desk, board, connection, request),
        other => Err(unexpected(&other, "register, lease, query, update, files, drop or state")),
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader, Write};
    use std::net::{Shutdown, TcpListener};
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::net::limits;
    use crate::net::message::Replicas;
    use crate::net::places::Party;

    #[test]
    fn the_place_at_which_a_peer_shows_its_token_counts_as_its_own() {
        let desk = Desk::new(Duration::from_secs(9), Replicas::All, Duration::from_secs(9), None);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let connect = || {
            let here = Connection::connect(listener.local_addr().unwrap(), limits::LINE, None).unwrap();
            (here, listener.accept().unwrap().0)
        };
        let (mut member, there) = connect();
        let is = json!({"version": 2, "name": "ada", "addr": "127.0.0.1:9", "slots": 0});
        let peer = desk.admit(serde_json::from_value(is).unwrap(), &member.outbox()).unwrap();
        let told = BufReader::new(there).lines().map(|line| line.unwrap().parse::<Value>().unwrap());
        let token = told.map(|told| told["token"].clone()).find(|token| !token.is_null()).unwrap();
        for mut question in [
            json!({"type": "lease", "slots": 1}),
            json!({"type": "query", "file": "a"}),
            json!({"type": "update", "file": "a", "size": 0, "piece_size": 1024, "whole": true, "payload": 0}),
            json!({"type": "drop", "file": "a"}),
        ] {
            (question["peer"], question["token"]) = (json!(peer), token.clone());
            let (mut here, mut there) = connect();
            writeln!(there, "{question}").unwrap();
            there.shutdown(Shutdown::Write).unwrap();
            serve_node(&desk, &Board::default(), &mut here).unwrap();
            assert_eq!(here.party(), Party::Peer(peer), "{question}");
        }
    }
}
