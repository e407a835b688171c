//! An answer: its status, its headers, and its body, which may be a part of a file that is never in memory.
//!
//! Every answer says `Connection: close`, how long it is, and `nosniff`: a browser must not guess that a text
//! is a page. A page of ours names everything that it may load, which is nothing from outside, so that even a
//! file name that got into it as markup could do nothing. (None can: pages are written with `maud`, which
//! escapes what is put into them.)
//!
//! # What of it is wanted (RFC 9110, sections 13 and 14)
//! The conditions of a request are looked at in this order (section 13.2.2):
//!
//! | header | says | if not |
//! |---|---|---|
//! | `If-Match: "v1", "v2"` | "only if the version is one of these" | 412 |
//! | `If-Unmodified-Since: DATE`, where there is no `If-Match` | "only if it has not changed since" | 412 |
//! | `If-None-Match: "v1", "v2"` | "only if I do not have its version" | 304, no body |
//! | `If-Modified-Since: DATE`, where there is no `If-None-Match` | "only if it has changed since" | 304, no body |
//! | `If-Range: "v1"` | "a part, if the version is this" | the whole |
//!
//! A date that is none counts as absent. In `If-Range` a date is answered with the whole: two versions may have the
//! same.
//!
//! - `Range: bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-LENGTH` asks for a part: 206 with `Content-Range`. Of a
//!   file of 100 bytes `bytes=90-` and `bytes=-10` are the last ten. A LAST beyond the end means the end.
//! - A part that is not there, or that is no part (`bytes=100-`, `bytes=5-2`), is 416 with
//!   `Content-Range: bytes */100`: a client that resumes learns the size.
//! - Several parts at once, or another unit than bytes: the whole. That is always allowed.
//!
//! `HEAD` asks what the whole would look like; a range means nothing there.

use std::fmt::{self, Write as _};
use std::fs::File;
use std::iter;
use std::ops::Range;
use std::sync::Arc;
use std::time::SystemTime;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use sha2::{Digest, Sha256};

use super::request::{Request, Status};
use crate::error::{Code, Error, Result};
use crate::share::hex;

/// What a page may load: its own styles, and nothing else.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// What is written as it is in a path; also the unreserved characters of RFC 3986, and nothing more.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How every page here looks: plain, dark where the reader likes it dark, and as wide as the window.
const STYLE: &str = include_str!("page.css");

/// A name as it is written in a URL.
pub(crate) fn encode(name: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(name, ESCAPED)
}

/// Where the rows stand in a text that is sent with them ([`Answer::rows`]). No name has this character.
pub(crate) const ROWS: &str = "\0";

/// What is asked before each step of a file that is sent, and told how many bytes are left: it waits, and says
/// how many of them may pass now, or why no more may.
pub(super) type Gate = Box<dyn Fn(u64) -> Result<u64>>;

/// What comes after the head, as a whole.
pub(super) enum Body {
    Bytes(Arc<[u8]>),
    /// Parts that are made when their turn comes: what is long and not read takes no memory.
    Parts(Box<dyn Iterator<Item = String>>),
    File(File, Gate),
}

/// An answer.
#[must_use]
pub(crate) struct Answer {
    pub(crate) status: Status,
    headers: Vec<(&'static str, String)>,
    pub(super) body: Body,
    /// Which bytes of the body are sent.
    pub(crate) part: Range<u64>,
}

impl Answer {
    fn new(status: Status, kind: &str, body: Body, size: u64) -> Self {
        let headers =
            vec![("X-Content-Type-Options", "nosniff".into()), ("Cache-Control", "no-cache".into())];
        Self { status, headers, body, part: 0..size }.with("Content-Type", kind)
    }

    /// Bytes of this media type; many answers may share them.
    pub(crate) fn bytes(kind: &str, bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let size = bytes.len() as u64;
        Self::new(Status::OK, kind, Body::Bytes(bytes), size)
    }

    /// A file of `size` bytes, which can be asked for in parts. It is sent in steps, before each of which `gate` is
    /// told how many bytes are left, and says how many may pass.
    pub(crate) fn file(
        kind: &str,
        file: File,
        size: u64,
        gate: impl Fn(u64) -> Result<u64> + 'static,
    ) -> Self {
        Self::new(Status::OK, kind, Body::File(file, Box::new(gate)), size)
    }

    /// A page with this title, in the looks that all pages here have.
    pub(crate) fn page(title: &str, content: &Markup) -> Self {
        let page = html! {
            (DOCTYPE)
            html lang="en" {
                head {
                    meta charset="utf-8";
                    meta name="viewport" content="width=device-width, initial-scale=1";
                    title { (title) }
                    style { (PreEscaped(STYLE)) }
                }
                body { main { (content) } }
            }
        };
        Self::html(page.into_string().into_bytes(), PAGE_POLICY)
    }

    /// A page that is written already, and what it may load.
    pub(crate) fn html(page: impl Into<Arc<[u8]>>, policy: &str) -> Self {
        Self::bytes("text/html; charset=utf-8", page)
            .with("Content-Security-Policy", policy)
            .with("Referrer-Policy", "no-referrer")
    }

    /// A refusal, in words.
    pub(crate) fn no(status: Status, why: &str) -> Self {
        let answer = Self::bytes("text/plain; charset=utf-8", format!("{status}: {why}\n").into_bytes());
        let answer = Self { status, ..answer };
        match status {
            Status::METHOD_NOT_ALLOWED => answer.with("Allow", "GET, HEAD"),
            Status::BUSY => answer.with("Retry-After", "5"),
            _ => answer,
        }
    }

    /// It is at this path.
    pub(crate) fn moved(path: &str) -> Self {
        Self::no(Status::MOVED, path).with("Location", path)
    }

    /// With this header, in the place of another of its name. Whatever the value, it stays on its line.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into().replace(char::is_control, " ");
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value));
        self
    }

    /// With a version, by which the client can know that it has this already, and ask for parts. What has none has no
    /// parts, else those of two versions could be put together.
    pub(crate) fn version(self, version: impl fmt::Display) -> Self {
        self.with("ETag", format!("\"{version}\"")).with("Accept-Ranges", "bytes")
    }

    /// With the time of its last change, which is not later than now (section 8.8.2.1); a date has no part of a second.
    pub(crate) fn modified(self, at: SystemTime) -> Self {
        self.with("Last-Modified", httpdate::fmt_http_date(at))
    }

    /// With its own bytes as the version: it changes when they do.
    pub(crate) fn versioned(self) -> Self {
        let Body::Bytes(bytes) = &self.body else { return self };
        let hash = Sha256::digest(bytes);
        self.version(hex(&hash[..16]))
    }

    /// Its text with these rows where it has [`ROWS`], and the whole as the version. Each row is made when those before
    /// it are sent, and once before, for the size and the version.
    pub(crate) fn rows(mut self, rows: impl Iterator<Item = String> + Clone + 'static) -> Self {
        let Body::Bytes(text) = &self.body else { return self };
        let text = String::from_utf8_lossy(text);
        let (start, end) = text.split_once(ROWS).unwrap_or((&text, ""));
        let parts = iter::once(start.to_owned()).chain(rows).chain(iter::once(end.to_owned()));
        let (mut size, mut hash) = (0, Sha256::new());
        for part in parts.clone() {
            size += part.len() as u64;
            hash.update(part);
        }
        (self.body, self.part) = (Body::Parts(Box::new(parts)), 0..size);
        self.version(hex(&hash.finalize()[..16]))
    }

    fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    /// How much of its body is sent.
    fn size(&self) -> u64 {
        self.part.end - self.part.start
    }

    /// What of it the request wants.
    pub(crate) fn wanted_by(mut self, request: &Request) -> Self {
        let (Status::OK, Some(etag)) = (self.status, self.header("ETag")) else { return self };
        match self.unmet(request, etag) {
            None => {}
            Some(Status::NOT_MODIFIED) => {
                self.headers.retain(|(name, _)| ["Cache-Control", "ETag", "Last-Modified"].contains(name));
                return Self { status: Status::NOT_MODIFIED, part: 0..0, ..self };
            }
            Some(status) => return Self::no(status, "it has another version now"),
        }
        let same_version = request.header("if-range").is_none_or(|version| version == etag);
        let range = request.header("range").filter(|_| same_version && !request.head_only);
        let size = self.size();
        match range.map_or(Wanted::Whole, |range| wanted(range, size)) {
            Wanted::Whole => self,
            Wanted::Part(part) => {
                let range = format!("bytes {}-{}/{size}", part.start, part.end - 1);
                Self { status: Status::PARTIAL, part, ..self }.with("Content-Range", range)
            }
            Wanted::Nothing => {
                Self::no(Status::RANGE_NOT_SATISFIABLE, &format!("there is no such part of {size} bytes"))
                    .with("Content-Range", format!("bytes */{size}"))
            }
        }
    }

    /// What is answered because of a condition that it does not meet; see the table above.
    fn unmet(&self, request: &Request, etag: &str) -> Option<Status> {
        let changed_since = |date| {
            let [changed, date] =
                [self.header("Last-Modified")?, request.header(date)?].map(httpdate::parse_http_date);
            Some(changed.ok()? > date.ok()?)
        };
        let outdated = match request.header("if-match") {
            Some(versions) => !lists(versions, |tag| tag == etag),
            None => changed_since("if-unmodified-since") == Some(true),
        };
        let known = match request.header("if-none-match") {
            Some(versions) => lists(versions, |tag| tag.strip_prefix("W/").unwrap_or(tag) == etag),
            None => changed_since("if-modified-since") == Some(false),
        };
        match (outdated, known) {
            (true, _) => Some(Status::PRECONDITION_FAILED),
            (false, true) => Some(Status::NOT_MODIFIED),
            (false, false) => None,
        }
    }

    /// The bytes before the body, for an answer that is sent `now`.
    pub(crate) fn head(&self, now: SystemTime) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {}\r\n", self.status);
        let mut line = |name: &str, value: &str| {
            // Writing into a string does not fail.
            let _ = write!(head, "{name}: {value}\r\n");
        };
        line("Date", &httpdate::fmt_http_date(now));
        line("Connection", "close");
        if self.status != Status::NOT_MODIFIED {
            line("Content-Length", &self.size().to_string());
        }
        self.headers.iter().for_each(|(name, value)| line(name, value));
        head.push_str("\r\n");
        head.into_bytes()
    }
}

impl From<&Error> for Answer {
    fn from(error: &Error) -> Self {
        let status = match error.code() {
            Code::NotFound => Status::NOT_FOUND,
            Code::BadMessage | Code::Usage => Status::BAD_REQUEST,
            Code::Busy => Status::BUSY,
            _ => Status::FAILED,
        };
        Self::no(status, &error.to_string())
    }
}

/// What of something long is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// All of it.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Something that is not there.
    Nothing,
}

/// What the value of a `Range` header wants of `size` bytes.
pub(crate) fn wanted(range: &str, size: u64) -> Wanted {
    let Some((unit, ranges)) = range.split_once('=') else { return Wanted::Whole };
    if !unit.trim().eq_ignore_ascii_case("bytes") {
        return Wanted::Whole;
    }
    let mut ranges = ranges.split(',').map(str::trim).filter(|range| !range.is_empty());
    match (ranges.next(), ranges.next()) {
        (Some(one), None) => part(one, size).map_or(Wanted::Nothing, Wanted::Part),
        (None, _) => Wanted::Nothing,
        _ => Wanted::Whole,
    }
}

/// The bytes of one range, if there are any.
fn part(range: &str, size: u64) -> Option<Range<u64>> {
    // Not `parse` alone: that would take a sign. A number beyond all files is as good as the largest.
    let number = |text: &str| {
        let digits = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
        digits.then(|| text.parse::<u64>().unwrap_or(u64::MAX))
    };
    let part = match range.split_once('-')? {
        ("", length) => size.saturating_sub(number(length)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => number(first)?..number(last)?.saturating_add(1).min(size),
    };
    (part.start < part.end).then_some(part)
}

/// Whether a list of versions has one of these; `*` is every one.
fn lists(versions: &str, is_one: impl Fn(&str) -> bool) -> bool {
    versions.trim() == "*" || versions.split(',').any(|tag| is_one(tag.trim()))
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use proptest::prelude::*;

    use super::*;

    impl Answer {
        pub(crate) fn is_made_while_sent(&self) -> bool {
            matches!(self.body, Body::Parts(_))
        }

        fn text(&self) -> String {
            let Body::Bytes(bytes) = &self.body else { panic!("a file") };
            String::from_utf8(bytes[self.part.start as usize..self.part.end as usize].to_vec()).unwrap()
        }
    }

    fn head(answer: &Answer) -> String {
        String::from_utf8(answer.head(SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777))).unwrap()
    }

    #[test]
    fn a_head_says_everything_that_a_client_needs() {
        let answer = Answer::bytes("text/plain", *b"hello").version("v1");
        assert_eq!(
            head(&answer),
            "HTTP/1.1 200 OK\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Connection: close\r\n\
             Content-Length: 5\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Cache-Control: no-cache\r\n\
             Content-Type: text/plain\r\n\
             ETag: \"v1\"\r\n\
             Accept-Ranges: bytes\r\n\r\n"
        );
        let asks = Request::parse(b"GET / HTTP/1.0\r\nIf-None-Match: *\r\n\r\n").unwrap();
        assert_eq!(
            head(&answer.modified(SystemTime::UNIX_EPOCH).wanted_by(&asks)),
            "HTTP/1.1 304 Not Modified\r\n\
             Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n\
             Connection: close\r\n\
             Cache-Control: no-cache\r\n\
             ETag: \"v1\"\r\n\
             Last-Modified: Thu, 01 Jan 1970 00:00:00 GMT\r\n\r\n"
        );
    }

    #[test]
    fn no_value_leaves_its_line() {
        let answer =
            Answer::no(Status::NOT_FOUND, "no").with("Location", "/a\r\nSet-Cookie: x=y\r\n\r\n<html>");
        assert_eq!(head(&answer).matches("\r\n\r\n").count(), 1, "{}", head(&answer));
        assert!(!head(&answer).contains("\nSet-Cookie"));
    }

    #[test]
    fn rows_are_made_when_it_is_their_turn_and_the_answer_is_that_of_the_whole() {
        static MADE: AtomicU64 = AtomicU64::new(0);
        let row = |i| {
            MADE.fetch_add(1, Ordering::SeqCst);
            format!("<{i}>")
        };
        let answer = Answer::bytes("text/plain", format!("a{ROWS}z").into_bytes()).rows((0..100).map(row));
        let whole = format!("a{}z", (0..100).map(|i| format!("<{i}>")).collect::<String>());
        let same = Answer::bytes("text/plain", whole.clone().into_bytes()).versioned();
        assert_eq!(head(&answer), head(&same), "its size and its version");
        let Body::Parts(mut parts) = answer.body else { panic!() };
        let before = MADE.load(Ordering::SeqCst);
        let start: String = parts.by_ref().take(3).collect();
        assert_eq!((&*start, MADE.load(Ordering::SeqCst)), ("a<0><1>", before + 2));
        assert_eq!(start + &parts.collect::<String>(), whole);
    }

    #[test]
    fn a_header_that_is_given_again_replaces_the_first() {
        let answer = Answer::page("a", &html! {}).with("Content-Security-Policy", "mine");
        assert_eq!(head(&answer).matches("Content-Security-Policy").count(), 1);
        assert_eq!(answer.header("Content-Security-Policy"), Some("mine"));
    }

    #[test]
    fn names_in_a_page_are_text_and_in_a_url_are_escaped() {
        let name = "<b>\"50%\" & 'x' 😀";
        let page = Answer::page(name, &html! { a href=(encode(name)) { (name) } }).text();
        assert!(!page.contains("<b>"), "{page}");
        assert!(page.contains("&lt;b&gt;&quot;50%&quot; &amp; 'x' 😀</a>"), "{page}");
        assert!(page.contains("href=\"%3Cb%3E%2250%25%22%20%26%20%27x%27%20%F0%9F%98%80\""), "{page}");
    }

    #[test]
    fn a_range_is_a_part_the_whole_or_nothing() {
        let all = Wanted::Whole;
        let none = Wanted::Nothing;
        for (range, want) in [
            ("bytes=0-9", Wanted::Part(0..10)),
            ("bytes=0-0", Wanted::Part(0..1)),
            ("bytes=99-99", Wanted::Part(99..100)),
            ("bytes=90-", Wanted::Part(90..100)),
            ("bytes=-10", Wanted::Part(90..100)),
            ("bytes=-1000", Wanted::Part(0..100)),
            ("bytes=0-18446744073709551614", Wanted::Part(0..100)),
            ("BYTES = 0-9 ", Wanted::Part(0..10)),
            ("bytes=,0-9,", Wanted::Part(0..10)),
            ("bytes=0-9,20-29", all.clone()),
            ("bytes=0-9,0-9,0-9", all.clone()),
            ("lines=0-9", all.clone()),
            ("bytes", all.clone()),
            ("bytes=100-", none.clone()),
            ("bytes=100-200", none.clone()),
            ("bytes=5-2", none.clone()),
            ("bytes=-0", none.clone()),
            ("bytes=-", none.clone()),
            ("bytes=", none.clone()),
            ("bytes=x-y", none.clone()),
            ("bytes=1-2-3", none.clone()),
            ("bytes=+1-2", none.clone()),
            ("bytes=0x1-2", none.clone()),
            ("bytes=--1", none.clone()),
            ("bytes=0-18446744073709551615", Wanted::Part(0..100)),
            ("bytes=0-18446744073709551616", Wanted::Part(0..100)),
            ("bytes=18446744073709551615-", none.clone()),
            ("bytes=99999999999999999999999-", none.clone()),
            ("bytes=-99999999999999999999999", Wanted::Part(0..100)),
        ] {
            assert_eq!(wanted(range, 100), want, "{range}");
        }
        for range in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
            assert_eq!(wanted(range, 0), Wanted::Nothing, "nothing has no part: {range}");
        }
    }

    fn ask(headers: &str) -> Answer {
        let head = format!("GET / HTTP/1.0\r\n{headers}\r\n");
        // Sun, 06 Nov 1994 08:49:37 GMT, and a bit.
        let changed = SystemTime::UNIX_EPOCH + Duration::from_millis(784_111_777_400);
        let answer = Answer::bytes("text/plain", *b"0123456789").version("v1").modified(changed);
        answer.wanted_by(&Request::parse(head.as_bytes()).unwrap())
    }

    #[test]
    fn an_answer_is_cut_or_saved_as_the_request_says() {
        for (headers, status, body) in [
            ("", Status::OK, "0123456789"),
            ("Range: bytes=2-4\r\n", Status::PARTIAL, "234"),
            ("Range: bytes=2-4\r\nIf-Range: \"v1\"\r\n", Status::PARTIAL, "234"),
            ("Range: bytes=2-4\r\nIf-Range: \"v0\"\r\n", Status::OK, "0123456789"),
            ("Range: bytes=2-4\r\nIf-Range: W/\"v1\"\r\n", Status::OK, "0123456789"),
            ("If-None-Match: \"v1\"\r\n", Status::NOT_MODIFIED, ""),
            ("If-None-Match: \"v1\"\r\nRange: bytes=2-4\r\n", Status::NOT_MODIFIED, ""),
            ("If-None-Match: \"v0\"\r\n", Status::OK, "0123456789"),
        ] {
            let answer = ask(headers);
            assert_eq!(answer.status, status, "{headers}");
            assert_eq!(answer.text(), body, "{headers}");
        }
        let no = ask("Range: bytes=10-\r\n");
        assert_eq!(no.status, Status::RANGE_NOT_SATISFIABLE);
        assert_eq!(no.header("Content-Range"), Some("bytes */10"));
        assert_eq!(ask("Range: bytes=-3\r\n").header("Content-Range"), Some("bytes 7-9/10"));
    }

    #[test]
    fn conditions_are_looked_at_in_the_order_of_rfc_9110() {
        const BEFORE: &str = "Sun, 06 Nov 1994 08:49:36 GMT";
        const THEN: &str = "Sun, 06 Nov 1994 08:49:37 GMT";
        const AFTER: &str = "Sunday, 06-Nov-94 08:49:38 GMT";
        let [if_match, if_none_match] =
            ["If-Match", "If-None-Match"].map(|name| move |tags| format!("{name}: {tags}\r\n"));
        let [unmodified, modified] = ["If-Unmodified-Since", "If-Modified-Since"]
            .map(|name| move |date| format!("{name}: {date}\r\n"));
        for (headers, status) in [
            (if_match("\"v1\""), Status::OK),
            (if_match("\"v0\", \"v1\""), Status::OK),
            (if_match("*"), Status::OK),
            (if_match("\"v0\""), Status::PRECONDITION_FAILED),
            (if_match("v1"), Status::PRECONDITION_FAILED),
            (if_match(""), Status::PRECONDITION_FAILED),
            // A weak mark is not enough to go on with a file, but enough not to fetch it again.
            (if_match("W/\"v1\""), Status::PRECONDITION_FAILED),
            (if_none_match("W/\"v1\""), Status::NOT_MODIFIED),
            (if_none_match("\"v0\", \"v1\""), Status::NOT_MODIFIED),
            (if_none_match("*"), Status::NOT_MODIFIED),
            (if_none_match("v1"), Status::OK),
            (if_none_match(""), Status::OK),
            (unmodified(BEFORE), Status::PRECONDITION_FAILED),
            (unmodified(THEN), Status::OK),
            (unmodified(AFTER), Status::OK),
            (modified(BEFORE), Status::OK),
            (modified(THEN), Status::NOT_MODIFIED),
            (modified(AFTER), Status::NOT_MODIFIED),
            // A date that is none counts as absent.
            (unmodified("yesterday"), Status::OK),
            (modified("tomorrow"), Status::OK),
            // A version says more than a date, and 412 comes before 304.
            (if_match("\"v1\"") + &unmodified(BEFORE), Status::OK),
            (if_none_match("\"v0\"") + &modified(AFTER), Status::OK),
            (if_none_match("\"v1\"") + &modified(BEFORE), Status::NOT_MODIFIED),
            (if_match("\"v0\"") + &if_none_match("\"v1\""), Status::PRECONDITION_FAILED),
            (unmodified(BEFORE) + &modified(AFTER), Status::PRECONDITION_FAILED),
            (if_match("\"v1\"") + &if_none_match("\"v1\""), Status::NOT_MODIFIED),
            (if_match("\"v0\"") + "Range: bytes=0-1\r\n", Status::PRECONDITION_FAILED),
            (if_match("\"v1\"") + "Range: bytes=0-1\r\n", Status::PARTIAL),
            (format!("Range: bytes=0-1\r\nIf-Range: {THEN}\r\n"), Status::OK),
        ] {
            assert_eq!(ask(&headers).status, status, "{headers}");
        }
    }

    #[test]
    fn a_refusal_is_not_cut() {
        let request = Request::parse(b"GET / HTTP/1.0\r\nRange: bytes=0-0\r\n\r\n").unwrap();
        let no = Answer::no(Status::NOT_FOUND, "no such file").wanted_by(&request);
        assert_eq!(no.status, Status::NOT_FOUND);
        assert!(no.text().contains("no such file"));
    }

    proptest! {
        #[test]
        fn a_part_lies_inside(range in "bytes=[0-9]{0,20}-[0-9]{0,20}", size in any::<u64>()) {
            if let Wanted::Part(part) = wanted(&range, size) {
                prop_assert!(part.start < part.end && part.end <= size);
            }
        }

        #[test]
        fn a_part_is_what_it_says(first in 0_u64..200, last in 0_u64..200, size in 0_u64..150) {
            let want: Vec<u64> = (0..size).filter(|at| (first..=last).contains(at)).collect();
            let got: Vec<u64> = match wanted(&format!("bytes={first}-{last}"), size) {
                Wanted::Part(part) => part.collect(),
                Wanted::Nothing => Vec::new(),
                Wanted::Whole => unreachable!(),
            };
            prop_assert_eq!(got, want);
        }
    }
}
