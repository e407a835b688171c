//! What the manager answers over HTTP: its state, and the mirrors of every file.
//!
//! ```text
//! /                   the board
//! /state              the answer to `state`, with a version that changes when it does
//! /state?since=V      what has changed since version V of it
//! /files/             every file with its mirrors
//! /files/NAME.meta4   one file's mirrors, size and hashes, for a program that takes it from all at once
//! ```
//!
//! # Mirrors
//! Every peer that has all of a file is a mirror of it (`/data/` at the peer), so here is nothing to keep: the
//! list of mirrors is the catalogue's list of holders, as it is at this moment.
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
use sha2::{Digest, Sha256};

use crate::manager::board::{Board, PAGE, POLICY, Snapshot};
use crate::manager::desk::Desk;
use crate::net::http::answer::encode;
use crate::net::http::{Answer, Request, Status};
use crate::net::message::{FileState, Holder, PeerId};
use crate::share::units::about;
use crate::share::{FileName, Hash, Manifest};

/// How many files the page shows; a program reads `/state`, or asks for `files`.
const SHOWN: usize = 5000;

/// The number of an asker that is not registered.
const STRANGER: PeerId = 0;

/// Answers a request.
pub(super) fn answer(desk: &Desk, board: &Board, request: &Request) -> Answer {
    match request.path()[..] {
        [""] => the_board(),
        ["state"] => state(desk, board, request.value("since")),
        ["files"] => Answer::moved("/files/"),
        ["files", ""] => files(desk),
        ["files", name] => metalink(desk, name),
        _ => Answer::no(Status::NOT_FOUND, "there is nothing here; / leads to everything"),
    }
}

/// The board.
fn the_board() -> Answer {
    Answer::bytes("text/html; charset=utf-8", PAGE.as_str())
        .with("Content-Security-Policy", POLICY.as_str())
        .with("Referrer-Policy", "no-referrer")
        .versioned()
}

/// Everything the manager knows, or what has changed of it. A browser that asks again with its version is told when
/// nothing has.
fn state(desk: &Desk, board: &Board, since: Option<&str>) -> Answer {
    let state = || desk.change(|table, now| table.state(now));
    match since.map_or_else(|| Snapshot::of(state()), |since| board.since(since, state)) {
        Ok(Snapshot { shown, version }) => Answer::json(&shown).version(version),
        Err(e) => Answer::from(&e),
    }
}

/// Every file with its mirrors.
fn files(desk: &Desk) -> Answer {
    let (count, shown): (_, Vec<_>) = desk.change(|table, now| {
        let files = table.files(false, now);
        (files.len(), files.take(SHOWN).collect())
    });
    let content = html! {
        h1 { "Files" }
        p.soft {
            @match count {
                0 => { "None yet. What is put into a peer's folder appears here." }
                _ => { (count) " in all. Use one of a file's mirrors to download it; its Metalink is for programs "
                    "that use all of them at once, such as " code { "aria2c" } "." }
            }
        }
        @for file in &shown { (mirrors(file)) }
        @if count > SHOWN { p { "And " (count - SHOWN) " more." } }
    };
    Answer::page("Files", &content).versioned()
}

/// One file's mirrors.
fn mirrors(file: &FileState) -> Markup {
    html! {
        h2 { (file.file) " " small { (about(file.size)) } }
        @match whole(&file.holders).count() {
            0 => { p.soft { "Nobody has all of it yet." } }
            _ => {
                ul {
                    @for holder in whole(&file.holders) {
                        li { a href=(url(holder, &file.file)) { (holder.name) } " " small { (holder.addr) } }
                    }
                    li { a href=(format!("{}.meta4", encode(file.file.as_str()))) { "Metalink" } }
                }
            }
        }
    }
}

fn whole(holders: &[Holder]) -> impl Iterator<Item = &Holder> {
    holders.iter().filter(|holder| holder.whole)
}

/// Where a holder's mirror has a file.
fn url(holder: &Holder, file: &FileName) -> String {
    format!("http://{}/data/{}", holder.addr, encode(file.as_str()))
}

/// The Metalink that is called `NAME.meta4`.
fn metalink(desk: &Desk, name: &str) -> Answer {
    let file = name.strip_suffix(".meta4").and_then(|file| file.parse::<FileName>().ok());
    let found = file.and_then(|file| desk.change(|table, now| table.query(STRANGER, &file, now)).ok());
    match found {
        Some((manifest, holders)) if whole(&holders).count() > 0 => {
            let xml = metalink_of(&manifest, &holders).into_string();
            let name = encode(name).to_string();
            Answer::bytes("application/metalink4+xml", xml)
                .with("Content-Disposition", format!("attachment; filename*=UTF-8''{name}"))
                .versioned()
        }
        _ => {
            let reason = "nobody has all of such a file, or its name lacks the `.meta4`; /files/ lists those that \
                          there are";
            Answer::no(Status::NOT_FOUND, reason)
        }
    }
}

fn metalink_of(manifest: &Manifest, holders: &[Holder]) -> Markup {
    let (file, layout) = (manifest.name(), manifest.layout());
    // XML knows neither of these two characters, not even escaped.
    let name = file.as_str().replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}");
    let hashes: Vec<String> = manifest.hashes().chunks(size_of::<Hash>()).map(hex).collect();
    html! {
        (PreEscaped("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n"))
        metalink xmlns="urn:ietf:params:xml:ns:metalink" {
            generator { "peerlab/" (env!("CARGO_PKG_VERSION")) }
            file name=(name) {
                size { (layout.size()) }
                @match &hashes[..] {
                    [] => { hash type="sha-256" { (hex(&Sha256::digest(b""))) } }
                    [only] => { hash type="sha-256" { (only) } }
                    _ => {}
                }
                @if !hashes.is_empty() {
                    pieces length=(layout.piece_size()) type="sha-256" {
                        @for hash in &hashes { hash { (hash) } }
                    }
                }
                @for holder in whole(holders) { url priority="1" { (url(holder, file)) } }
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
