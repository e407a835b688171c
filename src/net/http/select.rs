//! What of an answer is wanted: all of it, a part of it, or nothing because the asker has it.
//!
//! # The rules (RFC 9110, sections 13 and 14)
//! - `If-None-Match` names versions that the asker has. If this is one of them: 304, and no body.
//! - `Range: bytes=FIRST-LAST`, `bytes=FIRST-` or `bytes=-LENGTH` asks for a part: 206 with `Content-Range`. Of a
//!   file of 100 bytes `bytes=90-` and `bytes=-10` are the last ten. A LAST beyond the end means the end.
//! - A part that is not there, or that is no part (`bytes=5-2`, numbers beyond all files), is 416 with
//!   `Content-Range: bytes */100`: whoever resumes learns the size.
//! - `If-Range` names the version of which the asker has the rest. Of another version a part would be of no
//!   use, so it gets the whole.
//! - Several parts at once, or another unit than bytes: the whole. That is always allowed.
//!
//! `HEAD` asks what the whole would look like; a range means nothing there.

use std::ops::Range;

use super::answer::Answer;
use super::request::{Method, Request, Status};

/// What of something long is wanted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// All of it.
    Whole,
    /// These bytes.
    Part(Range<u64>),
    /// Something that is not there.
    Nothing,
}

/// What the value of a `Range` header wants of `size` bytes.
///
/// ```
/// use peerlab::net::http::select::{Wanted, wanted};
/// assert_eq!(wanted("bytes=-10", 100), Wanted::Part(90..100));
/// assert_eq!(wanted("bytes=100-", 100), Wanted::Nothing);
/// ```
pub fn wanted(range: &str, size: u64) -> Wanted {
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
    // Not `parse` alone: that would take a sign.
    let number = |text: &str| text.bytes().all(|c| c.is_ascii_digit()).then(|| text.parse::<u64>().ok())?;
    let part = match range.split_once('-')? {
        ("", length) => size.saturating_sub(number(length)?)..size,
        (first, "") => number(first)?..size,
        (first, last) => number(first)?..number(last)?.checked_add(1)?.min(size),
    };
    (part.start < part.end).then_some(part)
}

/// Whether a list of versions has this one; `*` is every one. Weak marks do not matter here.
fn lists(versions: &str, etag: &str) -> bool {
    let strong = |tag: &str| tag.strip_prefix("W/").unwrap_or(tag) == etag;
    versions.trim() == "*" || versions.split(',').any(|tag| strong(tag.trim()))
}

/// Makes of an answer what the request wants of it.
pub fn select(request: &Request, answer: Answer) -> Answer {
    if answer.status() != Status::Ok {
        return answer;
    }
    if let (Some(versions), Some(etag)) = (request.if_none_match(), answer.etag())
        && lists(versions, etag)
    {
        return answer.not_modified();
    }
    let same_version = request.if_range().is_none_or(|version| answer.etag() == Some(version));
    match request.range() {
        Some(range) if answer.has_parts() && request.method() == Method::Get && same_version => {
            match wanted(range, answer.size()) {
                Wanted::Whole => answer,
                Wanted::Part(part) => answer.part(part),
                Wanted::Nothing => Answer::unsatisfiable(answer.size()),
            }
        }
        _ => answer,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

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
            ("bytes=0-18446744073709551615", none.clone()),
            ("bytes=0-18446744073709551616", none.clone()),
            ("bytes=18446744073709551615-", none.clone()),
            ("bytes=99999999999999999999999-", none.clone()),
            ("bytes=-99999999999999999999999", none.clone()),
        ] {
            assert_eq!(wanted(range, 100), want, "{range}");
        }
        for range in ["bytes=0-", "bytes=-1", "bytes=0-0"] {
            assert_eq!(wanted(range, 0), Wanted::Nothing, "nothing has no part: {range}");
        }
    }

    #[test]
    fn versions_are_listed_weak_or_strong() {
        for (versions, listed) in [
            ("\"a\"", true),
            ("W/\"a\"", true),
            ("*", true),
            ("\"b\", \"a\"", true),
            ("\"b\"", false),
            ("a", false),
            ("", false),
        ] {
            assert_eq!(lists(versions, "\"a\""), listed, "{versions}");
        }
    }

    fn ask(headers: &str) -> Answer {
        let head = format!("GET / HTTP/1.0\r\n{headers}\r\n");
        select(
            &Request::parse(head.as_bytes()).unwrap(),
            Answer::bytes("text/plain", *b"0123456789").version("v1"),
        )
    }

    #[test]
    fn an_answer_is_cut_or_saved_as_the_request_says() {
        for (headers, status, body) in [
            ("", Status::Ok, "0123456789"),
            ("Range: bytes=2-4\r\n", Status::Partial, "234"),
            ("Range: bytes=2-4\r\nIf-Range: \"v1\"\r\n", Status::Partial, "234"),
            ("Range: bytes=2-4\r\nIf-Range: \"v0\"\r\n", Status::Ok, "0123456789"),
            ("Range: bytes=2-4\r\nIf-Range: W/\"v1\"\r\n", Status::Ok, "0123456789"),
            ("If-None-Match: \"v1\"\r\n", Status::NotModified, ""),
            ("If-None-Match: \"v1\"\r\nRange: bytes=2-4\r\n", Status::NotModified, ""),
            ("If-None-Match: \"v0\"\r\n", Status::Ok, "0123456789"),
        ] {
            let answer = ask(headers);
            assert_eq!(answer.status(), status, "{headers}");
            assert_eq!(answer.text(), body, "{headers}");
        }
        let no = ask("Range: bytes=10-\r\n");
        assert_eq!(no.status(), Status::RangeNotSatisfiable);
        assert_eq!(no.header("Content-Range"), Some("bytes */10"));
        assert_eq!(ask("Range: bytes=-3\r\n").header("Content-Range"), Some("bytes 7-9/10"));
    }

    #[test]
    fn a_refusal_is_not_cut() {
        let request = Request::parse(b"GET / HTTP/1.0\r\nRange: bytes=0-0\r\n\r\n").unwrap();
        let no = select(&request, Answer::no(Status::NotFound, "no such file"));
        assert_eq!(no.status(), Status::NotFound);
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
