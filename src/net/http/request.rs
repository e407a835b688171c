//! A request, read from the bytes of its head; or why not.
//!
//! # The problem
//! These bytes come from anybody. Most tricks with HTTP live on two programs that read the same bytes in
//! two ways: one sees the end of a request where the other sees a header, one sees a name where the other
//! sees a way out of the folder. So whatever could be read in two ways is refused here.
//!
//! # The rules
//! - The grammar is `httparse`'s, which refuses bare CRs, spaces before colons and folded lines. A header
//!   that matters here may come once only.
//! - No body: a `Content-Length` other than 0 or any `Transfer-Encoding` is refused, because where such a
//!   request ends is exactly what two programs disagree on.
//! - A target is split at its slashes *before* it is decoded, and every part is decoded once. So `%2F`
//!   cannot make a new part, and `%252e` is the name `%2e` and not a dot. A part that is empty (but the
//!   last), `.`, `..`, not UTF-8, or has a slash, a backslash or a control character in it after decoding is
//!   refused: no name that is offered here looks like that.
//!
//! # An example
//! `GET /data/50%25%20off.txt?x HTTP/1.1` is the path `data`, `50% off.txt` and the query `x`.
//! `GET /data/ HTTP/1.1` is `data` and an empty name: the folder.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use httparse::Header;
use percent_encoding::percent_decode_str;

use super::super::limits;

/// The statuses that are used here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// Here it is.
    Ok,
    /// Here is the part that was asked for.
    Partial,
    /// It is somewhere else.
    Moved,
    /// The asker has it already.
    NotModified,
    /// This cannot be understood.
    BadRequest,
    /// There is no such thing.
    NotFound,
    /// Only reading is allowed.
    MethodNotAllowed,
    /// It came too slowly.
    Timeout,
    /// There is no such part.
    RangeNotSatisfiable,
    /// It was sent to a name that may not be ours.
    Misdirected,
    /// The head is too long.
    HeadersTooLarge,
    /// It should be here, but cannot be read.
    Failed,
    /// Too many ask at once.
    Busy,
}

impl Status {
    /// Its number.
    pub fn code(self) -> u16 {
        self.line().0
    }

    fn line(self) -> (u16, &'static str) {
        match self {
            Self::Ok => (200, "OK"),
            Self::Partial => (206, "Partial Content"),
            Self::Moved => (301, "Moved Permanently"),
            Self::NotModified => (304, "Not Modified"),
            Self::BadRequest => (400, "Bad Request"),
            Self::NotFound => (404, "Not Found"),
            Self::MethodNotAllowed => (405, "Method Not Allowed"),
            Self::Timeout => (408, "Request Timeout"),
            Self::RangeNotSatisfiable => (416, "Range Not Satisfiable"),
            Self::Misdirected => (421, "Misdirected Request"),
            Self::HeadersTooLarge => (431, "Request Header Fields Too Large"),
            Self::Failed => (500, "Internal Server Error"),
            Self::Busy => (503, "Service Unavailable"),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (code, reason) = self.line();
        write!(f, "{code} {reason}")
    }
}

/// What is to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Send it.
    Get,
    /// Send only what would stand before it.
    Head,
}

/// A request that is refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct No {
    /// The status of the answer.
    pub status: Status,
    /// Why, in words.
    pub why: &'static str,
    /// What it was, as far as that is known: an answer to `HEAD` has no body, also when it is a refusal.
    pub method: Method,
}

impl No {
    fn new(status: Status, why: &'static str) -> Self {
        Self { status, why, method: Method::Get }
    }

    fn bad(why: &'static str) -> Self {
        Self::new(Status::BadRequest, why)
    }

    fn to(mut self, head: &[u8]) -> Self {
        if head.starts_with(b"HEAD ") {
            self.method = Method::Head;
        }
        self
    }

    /// For a head that does not end.
    pub(super) fn too_large(head: &[u8]) -> Self {
        Self::new(Status::HeadersTooLarge, "the head of a request has at most 16 KiB here").to(head)
    }

    /// For a head that does not come.
    pub(super) fn too_slow(head: &[u8]) -> Self {
        Self::new(Status::Timeout, "the request did not come whole in its time").to(head)
    }
}

/// A request that is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    method: Method,
    path: Vec<String>,
    query: String,
    host: Option<String>,
    range: Option<String>,
    if_range: Option<String>,
    if_none_match: Option<String>,
}

impl Request {
    /// Reads the head of a request, which ends with its first empty line.
    ///
    /// # Errors
    /// What the asker is to be told.
    pub fn parse(head: &[u8]) -> Result<Self, No> {
        read(head).map_err(|no| no.to(head))
    }

    /// What is to be done.
    pub fn method(&self) -> Method {
        self.method
    }

    /// The names of the path, decoded: `["data", "a b"]` for `/data/a%20b`. The last one is empty where the path
    /// ends with a slash.
    pub fn path(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    /// Whether the query has this flag: `?json`, `?json=1`, `?x&json`.
    pub fn has(&self, flag: &str) -> bool {
        self.query.split('&').any(|part| part.split('=').next() == Some(flag))
    }

    /// Whether it was sent to an address or to `localhost`, and not to a name that somebody else may have
    /// made to stand for this machine. HTTP/1.0 may leave that out: no browser does.
    pub fn is_to_an_address(&self) -> bool {
        self.host.as_deref().is_none_or(is_address)
    }

    /// What the header `Range` says.
    pub fn range(&self) -> Option<&str> {
        self.range.as_deref()
    }

    /// Which version the range is for.
    pub fn if_range(&self) -> Option<&str> {
        self.if_range.as_deref()
    }

    /// Which versions the asker has already.
    pub fn if_none_match(&self) -> Option<&str> {
        self.if_none_match.as_deref()
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let method = if self.method == Method::Get { "GET" } else { "HEAD" };
        write!(f, "{method} /{}", self.path.join("/"))
    }
}

fn read(head: &[u8]) -> Result<Request, No> {
    let mut headers = [httparse::EMPTY_HEADER; limits::HTTP_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    match parsed.parse(head) {
        Ok(httparse::Status::Complete(end)) if end == head.len() => {}
        Err(httparse::Error::TooManyHeaders) => {
            return Err(No::new(Status::HeadersTooLarge, "a request has at most 64 headers here"));
        }
        _ => return Err(No::bad("this is not a request of HTTP/1.0 or HTTP/1.1")),
    }
    let method = match parsed.method {
        Some("GET") => Method::Get,
        Some("HEAD") => Method::Head,
        _ => return Err(No::new(Status::MethodNotAllowed, "only GET and HEAD are answered here")),
    };
    no_body(parsed.headers)?;
    let (authority, origin) = split_target(parsed.path.unwrap_or_default())?;
    let host = match single(parsed.headers, "host")? {
        None if parsed.version == Some(1) => return Err(No::bad("HTTP/1.1 needs a Host")),
        // Who names the authority in the target means that one.
        host => authority.or(host).map(str::to_owned),
    };
    let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
    let once = |name| single(parsed.headers, name).map(|value| value.map(str::to_owned));
    Ok(Request {
        method,
        path: names(path)?,
        query: query.to_owned(),
        host,
        range: once("range")?,
        if_range: once("if-range")?,
        if_none_match: once("if-none-match")?,
    })
}

/// The value of a header that may come once.
fn single<'a>(headers: &[Header<'a>], name: &str) -> Result<Option<&'a str>, No> {
    let mut values = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    let Some(first) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(No::bad("a header that may come only once came twice"));
    }
    let text = std::str::from_utf8(first.value).ok().filter(|text| text.is_ascii());
    text.map(|text| Some(text.trim())).ok_or(No::bad("a header that is not ASCII"))
}

fn no_body(headers: &[Header<'_>]) -> Result<(), No> {
    let length = single(headers, "content-length")?;
    if length.is_some_and(|length| length != "0") || single(headers, "transfer-encoding")?.is_some() {
        return Err(No::bad("a request has no body here"));
    }
    Ok(())
}

/// A target as it is asked of a server (`/data/`), or of a proxy (`http://127.0.0.1:7000/data/`), as authority
/// and origin.
fn split_target(target: &str) -> Result<(Option<&str>, &str), No> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) || target.contains(['#', '\\']) {
        return Err(No::bad("write the path with per cent signs: only visible ASCII, no # and no backslash"));
    }
    if target.starts_with('/') {
        return Ok((None, target));
    }
    match target.split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http://") => {
            let slash = rest.find('/').ok_or(No::bad("a path begins with a slash"))?;
            Ok((Some(&rest[..slash]), &rest[slash..]))
        }
        _ => Err(No::bad("a path begins with a slash")),
    }
}

/// The names of a path, each decoded once.
fn names(path: &str) -> Result<Vec<String>, No> {
    let mut parts = path.split('/').skip(1).peekable();
    let mut names = Vec::new();
    while let Some(part) = parts.next() {
        let name = decode(part)?;
        let last = parts.peek().is_none();
        if name == "." || name == ".." || (name.is_empty() && !last) {
            return Err(No::bad("a path with nothing, . or .. between its slashes"));
        }
        if name.contains(|c: char| c.is_control() || matches!(c, '/' | '\\')) {
            return Err(No::bad("a name with a slash, a backslash or a control character in it"));
        }
        names.push(name);
    }
    Ok(names)
}

fn decode(part: &str) -> Result<String, No> {
    let escapes = part.split('%').skip(1);
    for escape in escapes {
        if !escape.get(..2).is_some_and(|hex| hex.bytes().all(|digit| digit.is_ascii_hexdigit())) {
            return Err(No::bad("after a per cent sign come two hexadecimal digits"));
        }
    }
    let decoded = percent_decode_str(part).decode_utf8();
    decoded.map(Into::into).map_err(|_| No::bad("a name that is not UTF-8"))
}

/// Whether a `Host` is an address or `localhost`, with or without a port.
fn is_address(host: &str) -> bool {
    let (name, port) = match host.rfind(':') {
        Some(colon) if !host.ends_with(']') => (&host[..colon], &host[colon + 1..]),
        _ => (host, ""),
    };
    let v6 = name.strip_prefix('[').and_then(|name| name.strip_suffix(']'));
    port.bytes().all(|digit| digit.is_ascii_digit())
        && (name.eq_ignore_ascii_case("localhost")
            || name.parse::<Ipv4Addr>().is_ok()
            || v6.is_some_and(|v6| v6.parse::<Ipv6Addr>().is_ok()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn get(target: &str) -> Result<Request, No> {
        Request::parse(format!("GET {target} HTTP/1.1\r\nHost: 127.0.0.1:7000\r\n\r\n").as_bytes())
    }

    /// The status with which a head is refused; 0 when it is not.
    fn refused(head: &[u8]) -> u16 {
        Request::parse(head).map_or_else(|no| no.status.code(), |_| 0)
    }

    #[test]
    fn a_path_is_a_list_of_names_each_decoded_once() {
        for (target, names) in [
            ("/", &[""][..]),
            ("/data", &["data"]),
            ("/data/", &["data", ""]),
            ("/data/a%20b", &["data", "a b"]),
            ("/data/50%25%20off?json", &["data", "50% off"]),
            ("/data/%22%3Cb%3E%27&", &["data", "\"<b>'&"]),
            ("/data/%F0%9F%98%80.txt", &["data", "😀.txt"]),
            ("/data/...", &["data", "..."]),
            ("http://127.0.0.1:7000/data/x", &["data", "x"]),
            ("HTTP://[::1]/", &[""]),
        ] {
            assert_eq!(get(target).unwrap().path(), names, "{target}");
        }
    }

    #[test]
    fn a_path_that_could_be_read_in_two_ways_is_refused() {
        for target in [
            "/..",
            "/../etc/passwd",
            "/data/..",
            "/data/../x",
            "/data/.",
            "/./data/",
            "/data/%2e%2e",
            "/data/%2e%2e%2fetc",
            "/data/..%2f",
            "/data/%2E%2E/x",
            "/data/.%2e/x",
            "/%2e/data",
            "//",
            "//data/",
            "/data//x",
            "/data///",
            "/data/..\\x",
            "/data/a\\b",
            "/data/..%5cx",
            "/data/c:%5cx",
            "/data/%00",
            "/data/x%00.txt",
            "/data/a%0ab",
            "/data/a%0db",
            "/data/%7f",
            "/data/%c2%80",
            "/data/%c0%ae%c0%ae/x",
            "/data/%c0%af",
            "/data/%e0%80%af",
            "/data/%f0%80%80%af",
            "/data/%ff",
            "/data/%ed%a0%80",
            "/data/%",
            "/data/%2",
            "/data/%zz",
            "/data/%+1",
            "/data/%%30",
            "/data/x#y",
            "/data/\u{e9}",
            "data",
            "*",
            "http://127.0.0.1",
            "https://127.0.0.1/",
            "ftp://x/",
            "",
        ] {
            let status =
                get(target).map_or_else(|no| no.status, |request| panic!("{target}: {:?}", request.path()));
            assert_eq!(status, Status::BadRequest, "{target}");
        }
    }

    #[test]
    fn what_is_decoded_once_stays_a_name() {
        // No file is called so; but if one were, this would be it and nothing else.
        assert_eq!(get("/data/%252e%252e%252fetc").unwrap().path(), ["data", "%2e%2e%2fetc"]);
        assert_eq!(get("/data/C:").unwrap().path(), ["data", "C:"]);
    }

    #[test]
    fn heads_that_lie_are_refused() {
        let long = format!("GET / HTTP/1.1\r\nHost: ::\r\n{}\r\n", "X: y\r\n".repeat(limits::HTTP_HEADERS));
        for (status, head) in [
            (400, &b"GET / HTTP/1.1\r\n\r\n"[..]),
            (400, b"GET / HTTP/1.1\r\nHost: localhost\r\nHost: localhost\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: localhost\r\nhost: evil.example\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\nContent-Length: 3\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999999999999999\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: identity\r\nContent-Length: 0\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: localhost\rX: y\r\n\r\n"),
            (400, b"GET / HTTP/1.1\rHost: localhost\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: local\rhost\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost : localhost\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: localhost\r\n folded\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: local\0host\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: caf\xe9\r\n\r\n"),
            (400, b"GET / HTTP/1.1\r\nHost: localhost\r\nRange: bytes=0-1\r\nRange: bytes=2-3\r\n\r\n"),
            (400, b"GET /a b HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            (400, b"GET  / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            (400, b"GET / HTTP/2.0\r\nHost: localhost\r\n\r\n"),
            (400, b"GET /\r\n\r\n"),
            (400, b"GET\r\n\r\n"),
            (405, b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\n"),
            (405, b"DELETE /data/x HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            (405, b"CONNECT localhost:1 HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            (405, b"GETT / HTTP/1.1\r\nHost: localhost\r\n\r\n"),
            (431, long.as_bytes()),
        ] {
            assert_eq!(refused(head), status, "{}", String::from_utf8_lossy(head));
        }
        assert_eq!(refused(b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n"), 0);
        assert_eq!(refused(b"GET / HTTP/1.0\r\n\r\n"), 0);
        assert_eq!(refused(b"GET / HTTP/1.1\nHost: localhost\n\n"), 0, "a bare LF ends a line, RFC 9112 2.2");
    }

    #[test]
    fn a_refused_head_request_is_known_as_one() {
        assert_eq!(Request::parse(b"HEAD /.. HTTP/1.0\r\n\r\n").unwrap_err().method, Method::Head);
        assert_eq!(Request::parse(b"GET /.. HTTP/1.0\r\n\r\n").unwrap_err().method, Method::Get);
    }

    #[test]
    fn only_addresses_and_localhost_belong_to_nobody() {
        for host in [
            "127.0.0.1",
            "127.0.0.1:7000",
            "localhost",
            "LocalHost:1",
            "[::1]:7000",
            "[fe80::1]",
            "10.0.0.7:",
        ] {
            assert!(is_address(host), "{host}");
        }
        for host in [
            "",
            ":",
            "example.org",
            "localhost.example.org",
            "127.0.0.1.example.org",
            "127.0.0.1:x",
            "::1",
            "127.1",
            "[::1",
            "[127.0.0.1]",
            "localhost.",
            "1.2.3.4@x",
            "evil:7000:127.0.0.1",
        ] {
            assert!(!is_address(host), "{host}");
        }
        let authority = get("http://evil.example/").unwrap();
        assert!(!authority.is_to_an_address(), "the target's authority is what counts");
    }

    #[test]
    fn a_flag_is_found_among_others() {
        for (query, there) in
            [("json", true), ("x=1&json", true), ("json=1", true), ("jsonp", false), ("x=json", false)]
        {
            assert_eq!(get(&format!("/data/?{query}")).unwrap().has("json"), there, "{query}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_understood_or_refused_with_a_4xx(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for head in [bytes.clone(), [b"GET /".to_vec(), bytes, b" HTTP/1.1\r\nHost: ::\r\n\r\n".to_vec()].concat()] {
                match Request::parse(&head) {
                    Err(no) => prop_assert!((400..500).contains(&no.status.code())),
                    Ok(request) => for name in request.path() {
                        prop_assert!(name != ".." && !name.contains(['/', '\\', '\0', '\n', '\r']), "{name:?}");
                    }
                }
            }
        }

        #[test]
        fn every_name_that_can_be_shared_comes_back(name in "[^/\\\\\\p{Cc}.][^/\\\\\\p{Cc}]{0,40}") {
            let encoded = super::super::answer::encode(&name).to_string();
            let request = get(&format!("/data/{encoded}")).unwrap();
            prop_assert_eq!(request.path(), ["data", &name]);
        }
    }
}
