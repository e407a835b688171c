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
        | ToManager::State {}) => serve_tracker(desk, connection, request),
        other => Err(unexpected(&other, "register, lease, query, update, files, drop or state")),
    }
}
