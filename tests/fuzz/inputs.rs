//! Everything that somebody else writes and a program here reads: what must hold whatever the bytes are.
//!
//! # The problem
//! A node reads what strangers send, files that other programs wrote, and what a person types. A test by hand tries
//! what its author thought of.
//!
//! # The rule
//! There is one function for each [input](INPUTS). It takes any bytes, reads them as the programs do, and panics where
//! a promise is broken: not only "it does not crash", but what the type promises. What was understood is understood in
//! the same way when it is written again; a range lies in its file; a name has no slash; a bitfield has a bit for each
//! piece. What is made of an input is in proportion to its length.
//!
//! `cargo fuzz` calls these functions millions of times, with bytes that it makes from those that reached new code
//! (`scripts/faults.sh fuzz`). The most telling are kept in `corpus`, with those that broke something once and with
//! some made by hand; `cargo test` gives each of them to its function again.
//!
//! # What is missing
//! What is said in which order, which the golden dialogues look at; and the files that only a peer writes itself.

use std::fmt::Debug;
use std::str::FromStr;
use std::time::{Duration, SystemTime};

use clap::CommandFactory;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::cli::{parse_rate, parse_scale, parse_time};
use crate::commands::completion::Completion;
use crate::commands::prompt;
use crate::matrix::{Matrix, npy};
use crate::net::admission::Handshake;
use crate::net::connection::next_line;
use crate::net::http::answer::{self, Wanted};
use crate::net::http::{Answer, Request, is_request, read_head};
use crate::net::key::Key;
use crate::net::limits;
use crate::net::message::{
    Activity, FromManager, FromPeer, Name, Replicas, ToManager, ToPeer, decode, encode, plain, shown,
};
use crate::peer::library::drops;
use crate::share::manifest::{HASH_SIZE, MAX_PIECES};
use crate::share::store::{conflict_name, is_conflict_copy};
use crate::share::units::{about, parse_bytes};
use crate::share::{Bitfield, FILE_NAME, FileId, FileName, Layout, Manifest, PEER_NAME};

/// What takes bytes, and panics where a promise is broken.
pub type Input = fn(&[u8]);

/// All inputs by their names, which are those of the folders of `corpus`.
pub const INPUTS: [(&str, Input); 10] = [
    ("lines", lines),
    ("message", message),
    ("http", http),
    ("range", range),
    ("manifest", manifest),
    ("bitfield", bitfield),
    ("npy", npy),
    ("name", name),
    ("drops", drops),
    ("prompt", prompt),
];

/// The stream of a connection, cut into lines. The first byte says how long they may be.
pub fn lines(bytes: &[u8]) {
    let Some((&longest, mut left)) = bytes.split_first() else { return };
    while !left.is_empty() {
        let before = left;
        let heard = next_line(&mut left, longest.into()).expect("memory can be read");
        let taken = &before[..before.len() - left.len()];
        assert!(taken.len() <= usize::from(longest) + 1);
        match heard {
            Ok(line) => assert!(!line.contains(&b'\n') && taken == [&line[..], b"\n"].concat()),
            Err(_) if taken.len() > longest.into() => break,
            Err(_) => assert!(left.is_empty() && !taken.contains(&b'\n')),
        }
    }
}

/// A line, as a message of any direction.
pub fn message(bytes: &[u8]) {
    one_message::<ToManager>(bytes);
    one_message::<FromManager>(bytes);
    one_message::<ToPeer>(bytes);
    one_message::<FromPeer>(bytes);
    if let Ok(Handshake::Other) = decode(bytes) {
        return; // It stands for every other message.
    }
    one_message::<Handshake>(bytes);
}

fn one_message<M: Serialize + DeserializeOwned + PartialEq + Debug>(line: &[u8]) {
    let Ok(message) = decode::<M>(line) else { return };
    let again = encode(&message);
    let text = again.strip_suffix(b"\n").expect("it is a line");
    assert!(!text.contains(&b'\n'), "it is more than a line");
    assert!(again.len() <= 2 * line.len() + 200, "{} bytes became {}", line.len(), again.len());
    assert_eq!(decode::<M>(text).expect("it can be read again"), message);
    let (said, kept) = [line, text].map(|text| serde_json::from_slice(text).expect("JSON")).into();
    assert!(is_kept(&said, &kept), "{said} became {kept}");
    let _ = (shown(line), shown(text));
}

/// Whether nothing was passed over: a member that is not there again said what is said without it.
fn is_kept(said: &Value, kept: &Value) -> bool {
    match (said, kept) {
        (Value::Object(said), Value::Object(kept)) => said.iter().all(|(name, value)| {
            kept.get(name).map_or_else(|| says_nothing(value), |again| is_kept(value, again))
        }),
        (Value::Array(said), Value::Array(kept)) => {
            said.len() == kept.len() && said.iter().zip(kept).all(|(said, kept)| is_kept(said, kept))
        }
        // An object within a message may be a list of its members.
        // And an address has several forms.
        (Value::Array(_), Value::Object(_)) | (Value::String(_), Value::String(_)) => true,
        _ => said == kept,
    }
}

fn says_nothing(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(all) => all.is_empty(),
        _ => false,
    }
}

/// The head of an HTTP request, and what is answered to it.
pub fn http(bytes: &[u8]) {
    let mut head = Vec::new();
    let whole = read_head(&mut &*bytes, &mut head).is_ok();
    assert!(head.len() <= limits::HTTP_HEAD && bytes.starts_with(&head));
    if !is_request(&head) || !whole {
        return;
    }
    let request = match Request::parse(&head) {
        Ok(request) => request,
        Err(no) => return assert!((400..500).contains(&no.0.0), "refused with {}", no.0),
    };
    let path = request.path();
    let (last, folders) = path.split_last().expect("a path has a name");
    assert!(folders.iter().all(|name| !name.is_empty()), "{path:?}");
    for name in folders.iter().chain([last]) {
        let climbs =
            [".", ".."].contains(name) || name.contains(|c: char| c.is_control() || "/\\".contains(c));
        assert!(!climbs, "{path:?}");
    }
    let _ = (request.has("json"), request.value("since"), request.to_string());
    let target: String = path.iter().map(|name| format!("/{}", answer::encode(name))).collect();
    let again = Request::parse(format!("GET {target} HTTP/1.0\r\n\r\n").as_bytes()).expect("it was a path");
    assert_eq!(again.path(), path);
    let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(784_111_777);
    let whole = Answer::bytes("text/plain", [b'x'; 100]).version("v").modified(changed);
    let answer = whole.wanted_by(&request);
    let body = answer.part.end.checked_sub(answer.part.start).expect("a part begins before it ends");
    let head = String::from_utf8(answer.head(changed)).expect("a head is text");
    assert_eq!(head.find("\r\n\r\n"), Some(head.len() - 4), "{head}");
    match answer.status.0 {
        200 => assert_eq!(answer.part, 0..100),
        206 => assert!(body > 0 && answer.part.end <= 100 && head.contains("\r\nContent-Range: bytes ")),
        304 => assert_eq!(body, 0),
        412 | 416 => assert!(body > 0),
        other => panic!("it is answered with {other}"),
    }
    let length = format!("\r\nContent-Length: {body}\r\n");
    assert_eq!(head.contains(&length), answer.status.0 != 304, "{head}");
}

/// The value of a `Range` header, of a file whose size stands before it in eight bytes.
pub fn range(bytes: &[u8]) {
    let Some((size, text)) = number(bytes) else { return };
    let Ok(text) = str::from_utf8(text) else { return };
    if let Wanted::Part(part) = answer::wanted(text, size) {
        assert!(part.start < part.end && part.end <= size, "{part:?} of {size}");
        let again = format!("bytes={}-{}", part.start, part.end - 1);
        assert_eq!(answer::wanted(&again, size), Wanted::Part(part));
    }
}

/// What a manifest is made of, as it comes: the size of the file and that of a piece, eight bytes each, and the hashes.
pub fn manifest(bytes: &[u8]) {
    let Some((size, bytes)) = number(bytes) else { return };
    let Some((piece_size, hashes)) = number(bytes) else { return };
    let name: FileName = "file".parse().expect("a name");
    if let Ok(manifest) = Manifest::from_wire(name.clone(), size, piece_size, hashes) {
        assert_eq!(manifest.hashes(), hashes);
    }
    let Ok(layout) = Layout::new(size, piece_size) else { return };
    let pieces = layout.pieces();
    assert!(u64::from(pieces) <= MAX_PIECES && layout.piece(pieces).is_err());
    let mut end = 0;
    for piece in layout.iter().take(64) {
        assert_eq!((piece, piece.offset()), (layout.piece(piece.index()).expect("there is one"), end));
        assert!((1..=piece_size).contains(&(piece.len() as u64)));
        end += piece.len() as u64;
    }
    let last = pieces.checked_sub(1).and_then(|last| layout.piece(last).ok());
    let last = last.map_or(0, |piece| piece.offset() + piece.len() as u64);
    assert_eq!(last, size, "the last piece ends with the file");
    // Hashes of the right number, of bytes that came.
    let hashes: Vec<u8> =
        [hashes, &[0]].concat().into_iter().cycle().take(HASH_SIZE * pieces.min(64) as usize).collect();
    if let Ok(manifest) = Manifest::from_wire(name, size, piece_size, &hashes) {
        assert_eq!(manifest.layout(), layout);
        let other =
            Manifest::from_wire("other".parse().expect("a name"), size, piece_size, manifest.hashes());
        assert_eq!(other.expect("the name does not matter").id(), manifest.id());
    }
}

/// The pieces that a peer says it has: the size of the file, the size of a piece as a power of two, and the bits.
pub fn bitfield(bytes: &[u8]) {
    let Some((size, bytes)) = number(bytes) else { return };
    let Some((&shift, bits)) = bytes.split_first() else { return };
    let Ok(layout) = Layout::new(size, 1_u64.checked_shl(shift.into()).unwrap_or(0)) else { return };
    let Ok(set) = Bitfield::from_wire(layout, bits) else {
        return assert!(bits.len() != Bitfield::wire_size(layout) || layout.pieces() % 8 != 0);
    };
    assert_eq!(set.as_bytes(), bits);
    assert_eq!(set.count(), bits.iter().map(|byte| byte.count_ones()).sum::<u32>());
    if layout.pieces() > 512 {
        return; // The rest takes a while for many, and says the same.
    }
    let (have, missing) = (set.iter().count(), set.missing().count());
    assert_eq!((have, have + missing), (set.count() as usize, layout.pieces() as usize));
    assert_eq!(set.is_full(), missing == 0);
    assert!(set.common(&Bitfield::full(layout)).eq(set.iter()));
    assert_eq!(Bitfield::of(layout, set.iter()), set);
    assert_eq!(set.map(limits::MAP).len(), layout.pieces().min(limits::MAP).div_ceil(4) as usize);
}

/// A file of NumPy, as long as it is.
pub fn npy(bytes: &[u8]) {
    let _ = npy::written_here(bytes, npy::MULTIPLY);
    let Ok(matrix) = npy::read(bytes, bytes.len() as u64) else { return };
    assert!(matrix.as_slice().len() <= bytes.len());
    let mut again = Vec::new();
    npy::write(&matrix, npy::MAKE, &mut again).expect("memory takes it");
    let copy = npy::read(&*again, again.len() as u64).expect("it was written here");
    let exactly =
        |it: &Matrix| (it.rows(), it.cols(), it.as_slice().iter().map(|x| x.to_bits()).collect::<Vec<_>>());
    assert_eq!(exactly(&copy), exactly(&matrix));
    assert_eq!(npy::written_here(&*again, npy::MAKE), Some((matrix.rows(), matrix.cols())));
}

/// A word that somebody gave: a name of a file or of a peer, an id, a key, a number with its unit.
pub fn name(bytes: &[u8]) {
    let Ok(text) = str::from_utf8(bytes) else { return };
    let is_plain = |most| {
        let bad = |c: char| c.is_control() || matches!(c, '/' | '\\');
        (1..=most).contains(&text.len()) && !text.starts_with('.') && !text.contains(bad)
    };
    let (file, peer) = (same::<FileName>(text), same::<Name>(text));
    assert_eq!(file.is_some(), is_plain(FILE_NAME));
    let is_said = !text.contains(';') && text.split(' ').all(|word| !word.is_empty() && !word.ends_with(':'));
    assert!(peer.is_none() || is_plain(PEER_NAME) && is_said, "{text:?} is a peer's name");
    assert!(peer.is_some() || !is_plain(PEER_NAME) || !is_said || !text.is_ascii(), "{text:?} is none");
    if let Some(file) = file {
        assert_eq!(file.as_str(), text);
        let id = FileId::from([0xab; 32]);
        let peers = ["ada".parse().ok(), peer];
        for peer in peers.into_iter().flatten() {
            let copy = conflict_name(&file, &peer, id);
            assert!(copy != file && is_conflict_copy(&copy, &peer), "{copy} is none of {peer}'s");
        }
        let target = format!("GET /data/{} HTTP/1.0\r\n\r\n", answer::encode(text));
        assert_eq!(Request::parse(target.as_bytes()).expect("a request").path(), ["data", text]);
    }
    for exact in [same::<FileId>(text).map(|id| id.to_string()), same::<Key>(text).map(String::from)] {
        assert!(exact.is_none_or(|exact| exact == text));
    }
    same::<Replicas>(text);
    assert!(parse_bytes(text).map_or(true, |size| about(size).len() < 24));
    assert!(parse_rate(text).map_or(true, |rate| rate > 0));
    assert!(parse_scale(text).map_or(true, f64::is_normal));
    assert!(parse_time(text).map_or(true, |time| !time.is_zero()));
    let shown = plain(text);
    assert!(shown.len() <= 3 * limits::ERROR_TEXT && !shown.contains(char::is_control));
    // What a peer says of itself is bounded before it is kept.
    let said = Activity { paused: Some(text.to_owned()), ..Activity::default() }.bounded();
    assert_eq!(said.paused, Some(shown));
}

/// Some `T`, if the text is one; its own text is the same again.
fn same<T: FromStr + PartialEq + Clone + Into<String>>(text: &str) -> Option<T> {
    let read = text.parse::<T>().ok()?;
    let again = read.clone().into();
    assert!(again.parse::<T>().is_ok_and(|again| again == read), "{text:?} became {again:?}");
    Some(read)
}

/// The file in which a peer remembers drops.
pub fn drops(bytes: &[u8]) {
    let read: Vec<_> = drops::read(bytes).filter_map(|line| line.ok()).collect();
    let again: Vec<u8> = read.iter().flat_map(encode).collect();
    assert!(again.len() <= 2 * bytes.len() + 100);
    assert_eq!(drops::read(&again).collect::<serde_json::Result<Vec<_>>>().expect("they are whole"), read);
}

/// What is typed at the prompt. It is understood, and completed, but nothing is carried out.
pub fn prompt(bytes: &[u8]) {
    let line = String::from_utf8_lossy(bytes);
    match prompt::parse(&line) {
        Ok(None) => {}
        Ok(Some(typed)) => assert!(format!("{typed:?}").contains("command: ")),
        Err(e) => {
            assert!(e.exit_status() == 2 && e.to_string().ends_with("`help` shows the commands"), "{e}")
        }
    }
    let names = |restores: bool| if restores { Vec::new() } else { ["two words.txt".to_owned()].to_vec() };
    let (start, _) = Completion::new(prompt::Typed::command(), names).candidates(&line);
    assert!(line.is_char_boundary(start), "a word that begins at {start} of {line:?}");
}

/// A number of eight bytes, and what follows.
fn number(bytes: &[u8]) -> Option<(u64, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u64::from_le_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn what_was_kept_of_each_input_keeps_every_promise() {
        let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus");
        let folders = fs::read_dir(&corpus).unwrap();
        let folders: BTreeSet<String> =
            folders.map(|folder| folder.unwrap().file_name().into_string().unwrap()).collect();
        assert_eq!(folders, INPUTS.map(|(name, _)| name.to_owned()).into());
        for (name, input) in INPUTS {
            let kept: Vec<_> = fs::read_dir(corpus.join(name)).unwrap().collect();
            assert!(kept.len() >= 8, "of {name} there are {} inputs", kept.len());
            for file in kept {
                let path = file.unwrap().path();
                let bytes = fs::read(&path).unwrap();
                let ran = std::panic::catch_unwind(|| input(&bytes));
                assert!(ran.is_ok(), "{} breaks a promise, which stands above", path.display());
            }
        }
    }
}
