//! What the manager answers over HTTP: its state, and the mirrors of every file.
//!
//! ```text
//! /                   the board
//! /state              the answer to `state`, with a version that changes when it does
//! /state?since=V      what has changed since version V of it
//! /files/             every file with its mirrors; ?sort=size, the largest first
//! /files/NAME.meta4   one file's mirrors, size and hashes, for a program that takes it from all at once
//! ```
//!
//! # Mirrors
//! Every peer that has all of a file, and may send it, is a mirror of it (`/data/` at the peer), so here is nothing to
//! keep: the list of mirrors is the catalogue's list of holders, as it is at this moment.
//!
//! A *Metalink* (RFC 5854) is that list for programs. It names the size, the SHA-256 of every piece and all
//! mirrors; so a program that knows nothing of this protocol can take parts from all at once, check each, and
//! go elsewhere with those that are wrong:
//!
//! ```text
//! $ aria2c http://127.0.0.1:7000/files/lecture.pdf.meta4
//! ```
//!
//! # What is missing
//! The hash of a whole file is not known here, except where a file has only one piece: then it is that piece's.

use maud::{Markup, PreEscaped, html};

use crate::manager::board::{Board, PAGE, POLICY};
use crate::manager::desk::Desk;
use crate::manager::state::Table;
use crate::net::http::answer::{ROWS, encode};
use crate::net::http::{Answer, Request, Status};
use crate::net::message::{FileState, Holder, NOBODY};
use crate::share::units::about;
use crate::share::{FileName, Hash, Manifest, hex};

/// How many files and mirrors the page shows, some 300 kB; a program reads `/state`, or asks for `files`.
const SHOWN: usize = 2000;

/// Answers a request.
pub(super) fn answer(desk: &Desk, board: &Board, request: &Request) -> Answer {
    match request.path()[..] {
        [""] => Answer::html(PAGE.as_bytes(), &POLICY).versioned(),
        ["state"] => state(desk, board, request.value("since")),
        ["files"] => Answer::moved("/files/"),
        ["files", ""] => files(desk, board, request.has("sort=size")),
        ["files", name] => metalink(desk, name),
        _ => Answer::no(Status::NOT_FOUND, "there is nothing here; / leads to everything"),
    }
}

/// Everything the manager knows, or what has changed of it. A browser that asks again with its version is told when
/// nothing has.
fn state(desk: &Desk, board: &Board, since: Option<&str>) -> Answer {
    let (text, version) = board.since(since, || desk.change(|table, now| table.state(now)));
    Answer::bytes("application/json", text).version(version)
}

/// Every file with its mirrors.
fn files(desk: &Desk, board: &Board, by_size: bool) -> Answer {
    Answer::page("Files", &board.list(by_size, || list(desk, by_size))).versioned()
}

fn list(desk: &Desk, by_size: bool) -> Markup {
    let (count, shown) = desk.change(|table, now| {
        let count = table.files(false, now).len();
        let mut shown = if by_size { table.largest(SHOWN, now) } else { table.page(None, SHOWN, false, now) };
        shown.iter_mut().for_each(|file| file.holders.retain(|holder| is_mirror(table, holder)));
        (count, shown)
    });
    html! {
        h1 { "Files" }
        p { a href="/" { "The board" } " shows the whole network." }
        p.soft {
            @match count {
                0 => { "None yet. What is put into a peer's folder appears here." }
                _ => { (count) " in all, by " a href="?sort=name" { "name" } " or " a href="?sort=size" { "size" }
                    ". Use one of a file's mirrors to download it; its Metalink is for programs that use all of them at "
                    "once and check each piece, such as " code { "aria2c" } ". A file's id is the SHA-256 of its list of "
                    "pieces: " code { "peer verify NAME" } " holds a file against it." }
            }
        }
        @for file in &shown { (mirrors(file)) }
        @if count > shown.len() { p { "And " (count - shown.len()) " more." } }
    }
}

/// One file's mirrors.
fn mirrors(file: &FileState) -> Markup {
    html! {
        h2 { (file.file) " " small { (about(file.size)) } }
        p.soft { "id " code { (file.id) } }
        @if file.holders.is_empty() {
            p.soft { "No peer that may send it has all of it." }
        } @else {
            ul {
                @for holder in &file.holders {
                    li {
                        a href=(url(holder, &file.file)) { (holder.name) } " "
                        a.soft href=(format!("http://{}/data/", holder.addr)) { (holder.addr) }
                    }
                }
                li { a href=(format!("{}.meta4", encode(file.file.as_str()))) { "Metalink" } }
            }
        }
    }
}

/// Whether a holder has all of its file and may send it.
fn is_mirror(table: &Table, holder: &Holder) -> bool {
    holder.whole && table.sends(holder.peer)
}

/// Where a holder's mirror has a file.
fn url(holder: &Holder, file: &FileName) -> String {
    format!("http://{}/data/{}", holder.addr, encode(file.as_str()))
}

/// The Metalink that is called `NAME.meta4`.
fn metalink(desk: &Desk, name: &str) -> Answer {
    let file = name.strip_suffix(".meta4").and_then(|file| file.parse::<FileName>().ok());
    let find = |file: FileName| {
        desk.change(|table, now| {
            let (manifest, mut holders) = table.query(NOBODY, &file, true, now).ok()?;
            holders.retain(|holder| is_mirror(table, holder));
            (!holders.is_empty()).then_some((manifest, holders))
        })
    };
    let Some((manifest, mirrors)) = file.and_then(find) else {
        let reason = "no peer has all of such a file and may send it, or its name lacks the `.meta4`; /files/ \
                      lists those that there are";
        return Answer::no(Status::NOT_FOUND, reason);
    };
    let (frame, pieces) = (frame(&manifest, &mirrors).into_string(), manifest.layout().pieces());
    let hash = move |piece| {
        let from = piece as usize * size_of::<Hash>();
        format!("<hash>{}</hash>", hex(&manifest.hashes()[from..][..size_of::<Hash>()]))
    };
    Answer::bytes("application/metalink4+xml", frame.into_bytes())
        .with("Content-Disposition", format!("attachment; filename*=UTF-8''{}", encode(name)))
        .rows((0..pieces).map(hash))
}

/// A Metalink but for the hashes of the pieces, which may take 5 MB: they are made while they are sent.
fn frame(manifest: &Manifest, mirrors: &[Holder]) -> Markup {
    let (file, layout) = (manifest.name(), manifest.layout());
    // XML knows neither of these two characters, not even escaped.
    let name = file.as_str().replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
    html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        metalink xmlns="urn:ietf:params:xml:ns:metalink" {
            generator { "peerlab/" (env!("CARGO_PKG_VERSION")) }
            file name=(name) {
                size { (layout.size()) }
                @if let Some(whole) = manifest.sha256() { hash type="sha-256" { (hex(&whole)) } }
                @if layout.pieces() > 0 {
                    pieces length=(layout.piece_size()) type="sha-256" {
                        (ROWS)
                    }
                }
                @for holder in mirrors { url priority="1" { (url(holder, file)) } }
            }
        }
    }
}
