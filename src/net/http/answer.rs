//! An answer: its status, its headers, and its body, which may be a part of a file that is never in memory.
//!
//! Every answer says `Connection: close`, how long it is, and `nosniff`: a browser must not guess that a text
//! is a page. A page of ours names everything that it may load, which is nothing from outside, so that even a
//! file name that got into it as markup could do nothing. (None can: pages are written with `maud`, which
//! escapes what is put into them.)

use std::fmt::{self, Write as _};
use std::fs::File;
use std::ops::Range;
use std::time::SystemTime;

use maud::{DOCTYPE, Markup, PreEscaped, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Serialize;
use sha2::{Digest, Sha256};

use super::request::{No, Status};
use crate::error::{Code, Error, Result};

/// What a page may load: its own styles, and nothing else.
const PAGE_POLICY: &str = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'";

/// What is written as it is in a path; also the unreserved characters of RFC 3986, and nothing more.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// How every page here looks: plain, dark where the reader likes it dark, and as wide as the window.
const STYLE: &str = include_str!("page.css");

/// A name as it is written in a URL.
pub fn encode(name: &str) -> impl fmt::Display + '_ {
    utf8_percent_encode(name, ESCAPED)
}

/// What comes after the head.
#[derive(Debug)]
pub enum Body {
    /// These bytes.
    Bytes(Vec<u8>),
    /// A part of a file.
    File {
        /// The file, open.
        file: File,
        /// Where the part begins.
        from: u64,
        /// How long it is.
        size: u64,
        /// What lets it pass.
        gate: Gate,
    },
}

/// What is asked before each step of a file that is sent, and told how many bytes are left: it waits, and says
/// how many of them may pass now, or why no more may.
#[derive(Default)]
pub struct Gate(Option<Box<dyn Fn(u64) -> Result<u64>>>);

impl Gate {
    pub(super) fn pass(&self, left: u64) -> Result<u64> {
        self.0.as_ref().map_or(Ok(left), |pass| pass(left))
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "Gate" } else { "open" })
    }
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    status: Status,
    headers: Vec<(&'static str, String)>,
    etag: Option<String>,
    body: Body,
}

impl Answer {
    fn new(status: Status, kind: &str, body: Body) -> Self {
        let answer = Self { status, headers: Vec::new(), etag: None, body };
        let answer = answer.with("X-Content-Type-Options", "nosniff").with("Cache-Control", "no-cache");
        if kind.is_empty() { answer } else { answer.with("Content-Type", kind) }
    }

    /// Bytes of this media type.
    pub fn bytes(kind: &str, bytes: impl Into<Vec<u8>>) -> Self {
        Self::new(Status::Ok, kind, Body::Bytes(bytes.into()))
    }

    /// A file of `size` bytes, which can be asked for in parts.
    pub fn file(kind: &str, file: File, size: u64) -> Self {
        Self::new(Status::Ok, kind, Body::File { file, from: 0, size, gate: Gate::default() })
    }

    /// Sent in steps, before each of which `pass` is told how many bytes are left, and says how many may pass.
    #[must_use]
    pub fn gated(mut self, pass: impl Fn(u64) -> Result<u64> + 'static) -> Self {
        if let Body::File { gate, .. } = &mut self.body {
            *gate = Gate(Some(Box::new(pass)));
        }
        self
    }

    /// A page with this title, in the looks that all pages here have.
    pub fn page(title: &str, content: &Markup) -> Self {
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
        Self::bytes("text/html; charset=utf-8", page.into_string())
            .with("Content-Security-Policy", PAGE_POLICY)
            .with("Referrer-Policy", "no-referrer")
    }

    /// A value as JSON.
    pub fn json(value: &impl Serialize) -> Self {
        match serde_json::to_vec(value) {
            Ok(json) => Self::bytes("application/json", json),
            Err(e) => Self::no(Status::Failed, &e.to_string()),
        }
    }

    /// A refusal, in words.
    pub fn no(status: Status, why: &str) -> Self {
        let text = format!("{status}: {why}\n");
        let answer = Self::new(status, "text/plain; charset=utf-8", Body::Bytes(text.into()));
        match status {
            Status::MethodNotAllowed => answer.with("Allow", "GET, HEAD"),
            Status::Busy => answer.with("Retry-After", "5"),
            _ => answer,
        }
    }

    /// It is at this path.
    pub fn moved(path: &str) -> Self {
        Self::no(Status::Moved, path).with("Location", path)
    }

    /// There is no such part of `size` bytes.
    pub(super) fn unsatisfiable(size: u64) -> Self {
        Self::no(Status::RangeNotSatisfiable, &format!("there is no such part of {size} bytes"))
            .with("Content-Range", format!("bytes */{size}"))
    }

    /// With this header, in the place of another of its name. Whatever the value, it stays on its line.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let mut value = value.into();
        if value.contains(char::is_control) {
            value = value.replace(char::is_control, " ");
        }
        self.headers.retain(|(other, _)| *other != name);
        self.headers.push((name, value));
        self
    }

    /// With a version, by which the asker can know that he has it already, and ask for parts.
    #[must_use]
    pub fn version(mut self, version: impl fmt::Display) -> Self {
        self.etag = Some(format!("\"{version}\""));
        self
    }

    /// With its own bytes as the version: it changes when they do.
    #[must_use]
    pub fn versioned(self) -> Self {
        let Body::Bytes(bytes) = &self.body else { return self };
        let hash = Sha256::digest(bytes);
        let version: String = hash[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        self.version(version)
    }

    /// Its status.
    pub fn status(&self) -> Status {
        self.status
    }

    /// Its version, with the quotes.
    pub fn etag(&self) -> Option<&str> {
        self.etag.as_deref()
    }

    /// Whether it can be asked for in parts: only what has a version, else parts of two versions could be
    /// put together.
    pub(super) fn has_parts(&self) -> bool {
        self.etag.is_some()
    }

    /// How long its body is.
    pub fn size(&self) -> u64 {
        match &self.body {
            Body::Bytes(bytes) => bytes.len() as u64,
            Body::File { size, .. } => *size,
        }
    }

    /// Nothing: the asker has it.
    pub(super) fn not_modified(mut self) -> Self {
        self.headers.retain(|(name, _)| *name == "Cache-Control");
        Self { status: Status::NotModified, body: Body::Bytes(Vec::new()), ..self }
    }

    /// A part of it, which lies inside.
    pub(super) fn part(self, part: Range<u64>) -> Self {
        let whole = self.size();
        let body = match self.body {
            Body::Bytes(bytes) => Body::Bytes(bytes[part.start as usize..part.end as usize].to_vec()),
            Body::File { file, from, gate, .. } => {
                Body::File { file, from: from + part.start, size: part.end - part.start, gate }
            }
        };
        let range = format!("bytes {}-{}/{whole}", part.start, part.end - 1);
        Self { status: Status::Partial, body, ..self }.with("Content-Range", range)
    }

    /// The bytes before the body, for an answer that is sent `now`.
    pub fn head(&self, now: SystemTime) -> Vec<u8> {
        let mut head = format!("HTTP/1.1 {}\r\n", self.status);
        let mut line = |name: &str, value: &str| {
            // Writing into a string does not fail.
            let _ = write!(head, "{name}: {value}\r\n");
        };
        line("Date", &httpdate::fmt_http_date(now));
        line("Connection", "close");
        if self.status != Status::NotModified {
            line("Content-Length", &self.size().to_string());
        }
        if let Some(etag) = &self.etag {
            line("ETag", etag);
        }
        if self.has_parts() && self.status != Status::NotModified {
            line("Accept-Ranges", "bytes");
        }
        for (name, value) in &self.headers {
            line(name, value);
        }
        head.push_str("\r\n");
        head.into_bytes()
    }

    /// What comes after the head.
    pub(super) fn into_body(self) -> Body {
        self.body
    }

    #[cfg(test)]
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| *other == name).map(|(_, value)| value.as_str())
    }

    #[cfg(test)]
    pub(super) fn text(&self) -> String {
        match &self.body {
            Body::Bytes(bytes) => String::from_utf8(bytes.clone()).unwrap(),
            Body::File { .. } => panic!("a file"),
        }
    }
}

impl From<&No> for Answer {
    fn from(no: &No) -> Self {
        Self::no(no.status, no.why)
    }
}

impl From<&Error> for Answer {
    fn from(error: &Error) -> Self {
        let status = match error.code() {
            Code::NotFound => Status::NotFound,
            Code::BadMessage => Status::BadRequest,
            Code::Busy => Status::Busy,
            _ => Status::Failed,
        };
        Self::no(status, &error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

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
             ETag: \"v1\"\r\n\
             Accept-Ranges: bytes\r\n\
             X-Content-Type-Options: nosniff\r\n\
             Cache-Control: no-cache\r\n\
             Content-Type: text/plain\r\n\r\n"
        );
        let not_modified = head(&answer.not_modified());
        assert!(not_modified.starts_with("HTTP/1.1 304 Not Modified\r\n"), "{not_modified}");
        assert!(
            not_modified.contains("ETag: \"v1\"\r\n") && !not_modified.contains("Content-"),
            "{not_modified}"
        );
    }

    #[test]
    fn no_value_leaves_its_line() {
        let answer =
            Answer::no(Status::NotFound, "no").with("Location", "/a\r\nSet-Cookie: x=y\r\n\r\n<html>");
        assert_eq!(head(&answer).matches("\r\n\r\n").count(), 1, "{}", head(&answer));
        assert!(!head(&answer).contains("\nSet-Cookie"));
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
}
