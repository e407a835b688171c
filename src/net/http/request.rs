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

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use httparse::Header;
use percent_encoding::percent_decode_str;

use super::super::limits;

/// The status of an answer: its number, and its reason in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Status(pub(crate) u16, &'static str);

impl Status {
    pub(crate) const OK: Self = Self(200, "OK");
    pub(crate) const PARTIAL: Self = Self(206, "Partial Content");
    pub(crate) const MOVED: Self = Self(301, "Moved Permanently");
    pub(crate) const NOT_MODIFIED: Self = Self(304, "Not Modified");
    pub(crate) const BAD_REQUEST: Self = Self(400, "Bad Request");
    pub(crate) const NOT_FOUND: Self = Self(404, "Not Found");
    pub(crate) const METHOD_NOT_ALLOWED: Self = Self(405, "Method Not Allowed");
    pub(crate) const TIMEOUT: Self = Self(408, "Request Timeout");
    pub(crate) const PRECONDITION_FAILED: Self = Self(412, "Precondition Failed");
    pub(crate) const RANGE_NOT_SATISFIABLE: Self = Self(416, "Range Not Satisfiable");
    pub(crate) const MISDIRECTED: Self = Self(421, "Misdirected Request");
    pub(crate) const HEADERS_TOO_LARGE: Self = Self(431, "Request Header Fields Too Large");
    pub(crate) const FAILED: Self = Self(500, "Internal Server Error");
    pub(crate) const BUSY: Self = Self(503, "Service Unavailable");
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.0, self.1)
    }
}

/// A request that is refused: the status of the answer, and why, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct No(pub(crate) Status, pub(crate) &'static str);

fn bad<T>(why: &'static str) -> Result<T, No> {
    Err(No(Status::BAD_REQUEST, why))
}

/// A request that is understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Request {
    /// Only what would stand before the body is wanted.
    pub(super) head_only: bool,
    path: Vec<String>,
    query: String,
    /// The values of [`HEADERS`] that came.
    headers: BTreeMap<&'static str, String>,
}

/// The headers that matter here.
const HEADERS: [&str; 9] = [
    "content-length",
    "transfer-encoding",
    "host",
    "range",
    "if-range",
    "if-match",
    "if-none-match",
    "if-modified-since",
    "if-unmodified-since",
];

impl Request {
    /// Reads the head of a request, which ends with its first empty line.
    ///
    /// # Errors
    /// What the client is to be told.
    pub(crate) fn parse(head: &[u8]) -> Result<Self, No> {
        let mut headers = [httparse::EMPTY_HEADER; limits::HTTP_HEADERS];
        let mut parsed = httparse::Request::new(&mut headers);
        match parsed.parse(head) {
            Ok(httparse::Status::Complete(end)) if end == head.len() => {}
            Ok(httparse::Status::Partial) if head.len() == limits::HTTP_HEAD => {
                return Err(No(Status::HEADERS_TOO_LARGE, "the head of a request has at most 16 KiB here"));
            }
            Err(httparse::Error::TooManyHeaders) => {
                return Err(No(Status::HEADERS_TOO_LARGE, "a request has at most 64 headers here"));
            }
            _ => return bad("this is not a request of HTTP/1.0 or HTTP/1.1"),
        }
        if !matches!(parsed.method, Some("GET" | "HEAD")) {
            return Err(No(Status::METHOD_NOT_ALLOWED, "only GET and HEAD are answered here"));
        }
        let mut headers = BTreeMap::new();
        for name in HEADERS {
            headers.extend(once(parsed.headers, name)?.map(|value| (name, value)));
        }
        let (authority, origin) = split_target(parsed.path.unwrap_or_default())?;
        let (path, query) = origin.split_once('?').unwrap_or((origin, ""));
        let (path, query, head_only) = (names(path)?, query.to_owned(), parsed.method == Some("HEAD"));
        let request = Self { head_only, path, query, headers };
        if request.header("content-length").is_some_and(|length| length != "0")
            || request.header("transfer-encoding").is_some()
        {
            return bad("a request has no body here");
        }
        let host = request.header("host");
        if host.is_none() && parsed.version == Some(1) {
            return bad("HTTP/1.1 needs a Host");
        }
        // A request that names the authority in its target means that one.
        if authority.or(host).is_some_and(|host| !is_address(host)) {
            return Err(No(Status::MISDIRECTED, "ask by the address of this machine, or as localhost"));
        }
        Ok(request)
    }

    /// The names of the path, decoded: `["data", "a b"]` for `/data/a%20b`. The last one is empty where the path
    /// ends with a slash.
    pub(crate) fn path(&self) -> Vec<&str> {
        self.path.iter().map(String::as_str).collect()
    }

    /// The value of one of [`HEADERS`].
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }

    /// Whether the query has this flag, with a value or without: `json` is in `?json`, `?json=1` and `?x&json`, and
    /// `sort=size` in `?sort=size`.
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.query.split('&').any(|part| part == flag || part.split('=').next() == Some(flag))
    }

    /// What the query says for this name: `7` for `x` in `?json&x=7`.
    pub(crate) fn value(&self, name: &str) -> Option<&str> {
        self.query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
    }
}

impl fmt::Display for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} /{}", if self.head_only { "HEAD" } else { "GET" }, self.path.join("/"))
    }
}

/// The value of a header that may come once.
fn once(headers: &[Header<'_>], name: &str) -> Result<Option<String>, No> {
    let mut values = headers.iter().filter(|header| header.name.eq_ignore_ascii_case(name));
    match (values.next().map(|header| std::str::from_utf8(header.value)), values.next()) {
        (None, _) => Ok(None),
        (Some(Ok(text)), None) if text.is_ascii() => Ok(Some(text.trim().to_owned())),
        (Some(_), None) => bad("a header that is not ASCII"),
        (Some(_), Some(_)) => bad("a header that may come only once came twice"),
    }
}

/// A target as it is asked of a server (`/data/`), or of a proxy (`http://127.0.0.1:7000/data/`), as authority
/// and origin.
fn split_target(target: &str) -> Result<(Option<&str>, &str), No> {
    if !target.bytes().all(|byte| byte.is_ascii_graphic()) || target.contains(['#', '\\']) {
        return bad("write the path with per cent signs: only visible ASCII, no # and no backslash");
    }
    let (authority, origin) = match target.split_at_checked(7) {
        Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http://") => {
            let (authority, origin) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            (Some(authority), origin)
        }
        _ => (None, target),
    };
    if origin.starts_with('/') { Ok((authority, origin)) } else { bad("a path begins with a slash") }
}

/// The names of a path, each decoded once.
fn names(path: &str) -> Result<Vec<String>, No> {
    let names: Vec<String> = path.split('/').skip(1).map(decode).collect::<Result<_, _>>()?;
    let climbs = names.iter().any(|name| name == "." || name == "..");
    if climbs || names.iter().rev().skip(1).any(String::is_empty) {
        return bad("a path with nothing, . or .. between its slashes");
    }
    if names.iter().any(|name| name.contains(|c: char| c.is_control() || matches!(c, '/' | '\\'))) {
        return bad("a name with a slash, a backslash or a control character in it");
    }
    Ok(names)
}

fn decode(part: &str) -> Result<String, No> {
    let is_escape = |text: &str| text.get(..2).is_some_and(|two| two.bytes().all(|c| c.is_ascii_hexdigit()));
    if !part.split('%').skip(1).all(is_escape) {
        return bad("after a per cent sign come two hexadecimal digits");
    }
    percent_decode_str(part)
        .decode_utf8()
        .map_or_else(|_| bad("a name that is not UTF-8"), |name| Ok(name.into()))
}

/// Whether a `Host` is an address or `localhost`, with or without a port, and not a name that somebody else may have
/// made to stand for this machine. HTTP/1.0 may leave it out: no browser does.
fn is_address(host: &str) -> bool {
    let before_digits = host.trim_end_matches(|c: char| c.is_ascii_digit());
    let name = before_digits.strip_suffix(':').unwrap_or(host);
    name.eq_ignore_ascii_case("localhost") || format!("{name}:0").parse::<SocketAddr>().is_ok()
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
        Request::parse(head).map_or_else(|no| no.0.0, |_| 0)
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
                get(target).map_or_else(|no| no.0, |request| panic!("{target}: {:?}", request.path()));
            assert_eq!(status, Status::BAD_REQUEST, "{target}");
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
        let refused = get("http://evil.example/").unwrap_err();
        assert_eq!(refused.0, Status::MISDIRECTED, "the target's authority is what counts");
        assert_eq!(get("http://evil.example/..").unwrap_err().0, Status::BAD_REQUEST);
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
            for head in [bytes.clone(), [b"GET /".to_vec(), bytes, b" HTTP/1.1\r\nHost: [::1]\r\n\r\n".to_vec()].concat()] {
                match Request::parse(&head) {
                    Err(no) => prop_assert!((400..500).contains(&no.0.0)),
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
