//! A mirror: what this peer offers, for anybody with a browser or `curl`.
//!
//! ```text
//! /             leads to /data/
//! /data/        the files, sorted, with sizes, times and hashes; ?json for programs, ?sort=size or ?sort=time
//! /data/NAME    one of them, whole or in part
//! ```
//!
//! # The rules
//! - **A name is looked up, never opened.** `NAME` is a key in the list of what this peer offers. What is not
//!   offered, or not whole yet, is not found, whatever lies on the disk.
//! - **Its version is its id** (`ETag`), which is the same at every peer: a download that was begun at one mirror
//!   can be finished at another, and parts of two contents are never put together.
//! - **A browser saves what it could run.** Pages, pictures that are programs (SVG), documents with scripts
//!   would run as if this peer had written them, and could read all that it offers. Only what is known to be
//!   harmless is shown; everything else is saved (`is_harmless`).
//! - **What is served is what was hashed.** Before every step it is seen whether the file was written to since; then
//!   the answer ends early, and its announced length tells the client.
//! - **Little is held in memory**: bytes go from the file to the socket inside the kernel, and a line of the list is
//!   made when those before it are sent. `--up` holds for mirrors, too: pieces have half of it, and all that read here
//!   together the other half. A peer that may send nothing (`--up 0`) answers 503.
//!
//! # What is missing
//! Bytes are hashed when they come in, not when they go out. A client that must know that they are right compares
//! hashes itself; `aria2c` does so with the manager's Metalink. And no client is asked for a name: all that can reach
//! this port can read what is offered.

use std::cmp::Reverse;
use std::fs;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use log::info;
use maud::{Markup, html};
use serde::Serialize;
use serde_json::json;

use super::library::Library;
use super::library::offer::{Offer, Source};
use super::swarm::upload::Uploads;
use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::net::connection::Writer;
use crate::net::http::answer::{ROWS, encode};
use crate::net::http::{Answer, Request, Status};
use crate::net::message::Name;
use crate::share::units::about;
use crate::share::{FileId, FileName, hex};

/// The first second that has no date of four digits for its year: 10000-01-01.
const END_OF_DATES: Duration = Duration::from_secs(253_402_300_800);

/// A peer's files over HTTP.
pub(super) struct Mirror<'a> {
    pub(super) library: &'a Library,
    pub(super) uploads: &'a Arc<Uploads>,
}

/// What an answer that is not read yet holds of a file: what is offered, and when that was last written to.
type Listable = (Arc<Offer>, Option<Millis>);

/// A line of the listing.
#[derive(Serialize)]
struct Listed {
    file: FileName,
    id: FileId,
    size: u64,
    /// When it was last written to.
    modified: Option<Millis>,
    /// The SHA-256 of all of it, if that is known: it has one piece, or none.
    #[serde(skip_serializing_if = "Option::is_none")]
    sha256: Option<String>,
}

impl Mirror<'_> {
    /// What is answered to a request from `other`, to which the `speaker` writes.
    pub(super) fn answer(&self, request: &Request, other: SocketAddr, speaker: Writer) -> Answer {
        match request.path()[..] {
            [""] | ["data"] => Answer::moved("/data/"),
            ["data", ""] if request.has("json") => self.json(self.files(request)),
            ["data", ""] => self.listing(self.files(request)),
            ["data", name] => self.file(name, other, speaker).unwrap_or_else(|no| Answer::from(&no)),
            _ => Answer::no(Status::NOT_FOUND, "there is nothing here; the files are in /data/"),
        }
    }

    fn name(&self) -> &Name {
        &self.library.network.config.name
    }

    /// The files that are whole, in the order of their names, or as the request asks.
    fn files(&self, request: &Request) -> Arc<[Listable]> {
        let shown = |offer: Arc<Offer>| {
            let is = fs::symlink_metadata(offer.store.dir.join(offer.name().as_str()));
            let modified = is.and_then(|is| is.modified()).ok().and_then(datable);
            (offer, modified)
        };
        let offers = self.library.offers().into_iter().filter(|offer| offer.is_whole());
        let mut files: Vec<Listable> = offers.map(shown).collect();
        if request.has("sort=size") {
            files.sort_by_key(|(offer, _)| Reverse(offer.manifest.layout().size()));
        } else if request.has("sort=time") {
            files.sort_by_key(|(_, modified)| Reverse(*modified));
        }
        files.into()
    }

    fn json(&self, files: Arc<[Listable]>) -> Answer {
        let text = format!("{{\"files\":[{ROWS}],\"peer\":{}}}", json!(self.name()));
        let rows = 0..files.len();
        let row = move |i: usize| {
            let comma = if i == 0 { "" } else { "," };
            format!("{comma}{}", json!(Listed::of(&files[i])))
        };
        Answer::bytes("application/json", text.into_bytes()).rows(rows.map(row))
    }

    /// It has no links but those to the files: `wget -r` follows every link that it finds, and no button.
    fn listing(&self, files: Arc<[Listable]>) -> Answer {
        let title = format!("The files of the peer {}", self.name());
        let board = format!("http://{}/", self.library.network.config.manager);
        let size: u64 = files.iter().map(|(offer, _)| offer.manifest.layout().size()).sum();
        let content = html! {
            h1 { (title) }
            form.soft {
                "Elsewhere: " button formaction=(board) { "the board" } ", "
                button formaction=(board.clone() + "files/") { "every mirror" } ". Sort by "
                button name="sort" value="name" { "name" } ", "
                button name="sort" value="size" { "size" } " or "
                button name="sort" value="time" { "time" } "."
            }
            p.soft {
                @match files.len() {
                    0 => { "None yet. What is put into its folder appears here." }
                    1 => { "1 file, " (about(size)) "." }
                    count => { (count) " files, " (about(size)) " in all." }
                }
                " " code { "sha256sum" } " checks a file of one piece; the id of a larger one is the SHA-256 of its list of "
                "pieces, and " code { "peer verify NAME" } " checks it."
                @if self.is_silent() { " This peer sends nothing now (" code { "--up 0" } ")." }
            }
            @if !files.is_empty() {
                table {
                    thead { tr { th { "file" } th.number { "size" } th.time { "last changed (UTC)" } } }
                    tbody { (ROWS) }
                }
            }
        };
        let rows = 0..files.len();
        Answer::page(&title, &content).rows(rows.map(move |i| row(&Listed::of(&files[i])).into_string()))
    }

    /// Whether this peer may send nothing.
    fn is_silent(&self) -> bool {
        self.library.network.config.upload.up == Some(0)
    }

    /// Looks a name up, and sends what it stands for.
    fn file(&self, name: &str, other: SocketAddr, speaker: Writer) -> Result<Answer> {
        let none =
            || Error::new(Code::NotFound, "no such file is offered here").advise("/data/ lists what is");
        let offer = name.parse().ok().and_then(|name: FileName| self.library.get(&name)).ok_or_else(none)?;
        let Source::Whole(whole) = self.library.open(&offer)? else { return Err(none()) };
        if self.is_silent() {
            return Err(Error::new(Code::Busy, "this peer sends nothing (--up 0)")
                .advise("take it from another mirror; /files/ at the manager lists them"));
        }
        let file = whole.file.try_clone();
        let file = file.map_err(|e| Error::failed(format!("cannot send {name}")).because(e))?;
        info!("{other} fetches {name} over HTTP");
        let changed = file.metadata().and_then(|is| is.modified()).ok();
        // A time to come says nothing.
        let changed = changed.filter(|at| *at <= SystemTime::now()).and_then(datable).map(date);
        let uploads = Arc::clone(self.uploads);
        let pass = move |left| {
            let bytes = uploads.up.pass_for_http(left, || speaker.is_gone())?;
            whole.check().map(|()| bytes)
        };
        let size = offer.manifest.layout().size();
        let answer = Answer::file(&media_type(name), file, size, pass).version(offer.id());
        let answer = changed.into_iter().fold(answer, Answer::modified);
        Ok(match is_harmless(name) {
            true => answer,
            false => answer.with("Content-Disposition", save_as(name)),
        })
    }
}

impl Listed {
    fn of((offer, modified): &Listable) -> Self {
        let (file, id, size) = (offer.name().clone(), offer.id(), offer.manifest.layout().size());
        Self { file, id, size, modified: *modified, sha256: offer.manifest.sha256().map(|hash| hex(&hash)) }
    }
}

fn row(line: &Listed) -> Markup {
    html! {
        tr {
            td {
                a href=(encode(line.file.as_str())) { bdi { (line.file) } } br;
                small.soft {
                    @match &line.sha256 {
                        Some(hash) => { "SHA-256 " code { (hash) } }
                        None => { "id " code { (line.id) } }
                    }
                }
            }
            td.number { (about(line.size)) }
            td.time {
                @if let Some(modified) = line.modified {
                    @let text = humantime::format_rfc3339_seconds(date(modified)).to_string();
                    time datetime=(text) { (text[..16].replace('T', " ")) }
                }
            }
        }
    }
}

/// Anybody can give a file any time; a year before 1970 or after 9999 has no form here.
fn datable(time: SystemTime) -> Option<Millis> {
    let since_1970 = time.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    (since_1970 < END_OF_DATES).then_some(since_1970.as_millis() as Millis)
}

fn date(time: Millis) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(time)
}

/// The media type that a file of this name probably has. Texts are said to be UTF-8, which most are.
fn media_type(name: &str) -> String {
    let guess = mime_guess::from_path(name).first_or_octet_stream();
    let charset = if guess.type_() == mime_guess::mime::TEXT { "; charset=utf-8" } else { "" };
    format!("{guess}{charset}")
}

/// Whether a browser can show a file of this name without running anything that is in it.
fn is_harmless(name: &str) -> bool {
    let guess = mime_guess::from_path(name).first_or_octet_stream();
    match guess.type_().as_str() {
        "audio" | "video" => true,
        "image" => !guess.essence_str().starts_with("image/svg"),
        _ => matches!(guess.essence_str(), "text/plain" | "text/csv" | "application/json"),
    }
}

/// "Save it, under this name": once for old programs, once as it is (RFC 8187).
fn save_as(name: &str) -> String {
    let plain = |c: char| (c.is_ascii_graphic() || c == ' ') && !matches!(c, '"' | '\\' | '%');
    let ascii: String = name.chars().map(|c| if plain(c) { c } else { '_' }).collect();
    format!("attachment; filename=\"{ascii}\"; filename*=UTF-8''{}", encode(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::peer::network::tests::alone;

    #[test]
    fn a_listing_is_made_while_it_is_sent_so_one_that_does_not_read_takes_little_memory() {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::new(Arc::new(alone(dir.path())));
        let uploads = Arc::new(Uploads::new(library.network.config.upload, 1));
        let mirror = Mirror { library: &library, uploads: &uploads };
        let files = mirror.files(&Request::parse(b"GET /data/ HTTP/1.0\r\n\r\n").unwrap());
        assert!(mirror.json(Arc::clone(&files)).is_made_while_sent());
        assert!(mirror.listing(files).is_made_while_sent());
    }

    #[test]
    fn what_a_browser_could_run_is_saved() {
        for name in [
            "a.html",
            "a.HTM",
            "a.svg",
            "a.js",
            "a.mjs",
            "a.xml",
            "a.xhtml",
            "a.pdf",
            "a.wasm",
            "a.css",
            "a.swf",
            "a.zip",
            "a.npy",
            "a",
            "html",
            "a.txt.html",
        ] {
            assert!(!is_harmless(name), "{name}");
        }
        for name in ["a.txt", "a.csv", "a.png", "a.JPG", "a.mp4", "a.mp3", "a.json", "a.html.txt"] {
            assert!(is_harmless(name), "{name}");
        }
    }

    #[test]
    fn a_media_type_is_guessed_from_the_name() {
        for (name, kind) in [
            ("a.txt", "text/plain; charset=utf-8"),
            ("a.html", "text/html; charset=utf-8"),
            ("a.png", "image/png"),
            ("a.pdf", "application/pdf"),
            ("a.npy", "application/octet-stream"),
            ("a", "application/octet-stream"),
        ] {
            assert_eq!(media_type(name), kind, "{name}");
        }
    }

    #[test]
    fn a_name_to_save_under_keeps_to_its_quotes() {
        assert_eq!(save_as("a.zip"), "attachment; filename=\"a.zip\"; filename*=UTF-8''a.zip");
        assert_eq!(
            save_as("50% \"ä\"\\.js"),
            "attachment; filename=\"50_ ____.js\"; filename*=UTF-8''50%25%20%22%C3%A4%22%5C.js"
        );
    }

    #[test]
    fn a_time_without_a_date_is_left_out() {
        let epoch = SystemTime::UNIX_EPOCH;
        assert_eq!(datable(epoch + Duration::from_millis(1500)), Some(1500));
        assert_eq!(datable(epoch - Duration::from_secs(1)), None);
        assert_eq!(datable(epoch + END_OF_DATES), None);
        let last = datable(epoch + END_OF_DATES - Duration::from_millis(1)).unwrap();
        assert_eq!(httpdate::fmt_http_date(date(last)), "Fri, 31 Dec 9999 23:59:59 GMT");
    }
}
