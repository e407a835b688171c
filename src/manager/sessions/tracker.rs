//! The conversation with the tracker: who has which file, and what the table looks like.
//!
//! ```text
//! query            holders, and the hashes of the pieces; or not_found
//! update, hashes   updated; or conflict; or expired, when it was dropped
//! files            file, file, ..., end
//! drop             dropped, and everybody is told; or not_found, when it is not listed
//! state            state: the whole table
//! ```
//!
//! The files are told in pages, in the order of their names. What is listed all the while is told once; what comes or
//! goes meanwhile may be told or not.
//!
//! Anybody may look; who speaks as a peer, or wants something changed, shows the peer's token, else it is
//! `unauthorised`.
//!
//! Any number of requests, one after another, on one connection; many connections at the same time, a thread
//! each (C4). A request that is refused does not end the conversation, hashes that do not fit their file do.

use std::iter;

use crate::error::{Code, Result};
use crate::manager::board::Board;
use crate::manager::desk::Desk;
use crate::net::connection::{Connection, Received};
use crate::net::limits;
use crate::net::message::{Credentials, FileState, FromManager, ToManager, unexpected};
use crate::share::{FileName, Manifest};

/// How many files and holders of files are taken from the table at a time: enough to fill some packets, and so few that
/// the table is soon free for others.
const PAGE: usize = 500;

/// Serves one that asks about files or the table, beginning with the first request.
///
/// # Errors
/// What it is to be told before its connection is closed.
pub(super) fn serve_tracker(
    desk: &Desk,
    board: &Board,
    connection: &mut Connection,
    first: ToManager,
) -> Result<()> {
    let mut request = first;
    loop {
        match answer(desk, board, connection, request) {
            Err(no) if matches!(no.code(), Code::Failed | Code::BadMessage) => return Err(no),
            Err(no) => connection.refuse(&no),
            Ok(()) => {}
        }
        let Received::Message(next) = connection.receive(Some(limits::REST_TIME))? else { return Ok(()) };
        request = next;
    }
}

fn answer(desk: &Desk, board: &Board, connection: &mut Connection, request: ToManager) -> Result<()> {
    match request {
        ToManager::Query { who, file, has } => serve_query(desk, connection, &who, &file, has),
        ToManager::Update { who, file, size, piece_size, whole, published, payload } => {
            if let Err(no) = desk.change(|table, _| table.roster.member(&who)) {
                // Of a stranger nothing is kept in memory.
                return connection.discard_payload(payload).and(Err(no));
            }
            let hashes = connection.receive_hashes(payload)?;
            let manifest = Manifest::from_wire(file, size, piece_size, &hashes)?;
            desk.change(|table, now| {
                let peer = table.roster.member(&who)?;
                connection.is_of(peer);
                table.update(peer, &manifest, whole, published, now)
            })?;
            connection.send(&FromManager::Updated { id: manifest.id() })
        }
        ToManager::Files { health } => serve_files(desk, connection, health),
        ToManager::Drop { who, file, id, at } => {
            desk.change(|table, now| {
                let peer = table.roster.member(&who)?;
                connection.is_of(peer);
                table.drop_file(peer, &file, id, at, false, now)
            })?;
            connection.send(&FromManager::Dropped {})
        }
        ToManager::State {} => {
            connection.send_line(&board.message(|| desk.change(|table, now| table.state(now))))
        }
        other => Err(unexpected(&other, "query, update, files, drop or state")),
    }
}

fn serve_query(
    desk: &Desk,
    connection: &mut Connection,
    who: &Credentials,
    file: &FileName,
    has: bool,
) -> Result<()> {
    let (manifest, holders) = desk.change(|table, now| {
        let requester = table.roster.caller(who)?;
        connection.is_of(requester);
        table.query(requester, file, has, now)
    })?;
    let hashes = manifest.hashes();
    let found = FileState::of(&manifest, holders, None);
    let answer = FromManager::Holders { found, payload: hashes.len() as u64 };
    connection.send_with_payload(&answer, |out| out.write_all(hashes))
}

/// Each page is taken when the one before it is with the kernel: one that does not read costs a page.
fn serve_files(desk: &Desk, connection: &mut Connection, health: bool) -> Result<()> {
    let mut last: Option<FileName> = None;
    let pages = iter::from_fn(|| {
        let page = desk.change(|table, now| table.page(last.as_ref(), PAGE, health, now));
        last = Some(page.last()?.file.clone());
        Some(page)
    });
    connection.send_all(pages.flatten().map(FromManager::File).chain([FromManager::End {}]))
}
