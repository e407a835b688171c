//! Files in verified pieces: what a swarm thinks about.
//!
//! # The problem
//! One node has a file and many want it. If the one sends it to each of them, its link is the
//! bottleneck, however many there are. If every peer that has a part passes it on, a newcomer brings
//! capacity as well as demand ([`theory`] has the formulas). But then a file comes from strangers, in
//! parts, in any order, and some of them die or lie.
//!
//! # The answer
//! A file is cut into *pieces*. A [`Manifest`] lists the SHA-256 of each; so a piece can be checked as it
//! arrives, from whatever sender, and passed on at once, long before the file is whole.
//!
//! # A piece and its states
//! At one peer, a piece is in exactly one of these states:
//!
//! ```text
//!                    a request for it is sent            its bytes are there
//!     missing ─────────────────────────────▶ requested ─────────────────────▶ arrived
//!        ▲                                     │                               │  │
//!        │  its sender left, or choked: void   │   its hash is not the         │  │
//!        ├─────────────────────────────────────┘   manifest's: thrown away,    │  │
//!        └─────────────── the sender is remembered ────────────────────────────┘  │
//!                                                                                 ▼
//!            published, under its name  ◀───── all are ─────  verified: on the disk, and offered
//! ```
//!
//! # The rooms
//! * [`manifest`]: how a file is cut, what its pieces' hashes are, and when a number is a piece.
//! * [`Bitfield`]: a set of pieces, as it travels on the wire.
//! * [`store`]: the shared folder; pieces that survive a kill, files that appear only when whole.
//! * [`picker`]: which piece to ask of which neighbour.
//! * [`choker`]: which peers are served, and [`uplink`]: which of their requests is next; [`ledger`]: who owes, and
//!   waits.
//! * [`versions`]: which files were published and which were removed everywhere; the later wins.
//! * [`fingerprint`]: one number for a whole list of files.
//! * [`limiter`]: how fast. [`theory`]: how fast it could be at best. [`units`]: how people write that.
//!
//! Nothing here opens a socket, starts a thread or looks at a clock; time and randomness are passed in,
//! and only [`store`] touches the disk. So a whole swarm can be run in virtual time, which the tests do.
//!
//! # What is missing
//! A file that was changed is a new file: nothing finds out which of its pieces are the old ones. Hashes
//! prove that bytes are those of the manifest, not that its author is to be trusted.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Code, Error};

pub mod bitfield;
pub mod choker;
pub mod fingerprint;
pub mod ledger;
pub mod limiter;
pub mod manifest;
pub mod picker;
pub mod store;
#[cfg(test)]
#[path = "../../tests/sim/swarm.rs"]
mod swarm;
pub mod theory;
pub mod units;
pub mod uplink;
pub mod versions;

pub use bitfield::Bitfield;
pub use manifest::{Layout, Manifest, Piece};

/// What can be parsed is shown as `$text`, and is that text on the wire.
macro_rules! as_text {
    ($type:ty, |$it:ident| $text:expr) => {
        impl std::fmt::Display for $type {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let $it = self;
                f.pad(&$text)
            }
        }

        impl TryFrom<String> for $type {
            type Error = $crate::error::Error;

            fn try_from(text: String) -> std::result::Result<Self, Self::Error> {
                text.parse()
            }
        }

        impl From<$type> for String {
            fn from(value: $type) -> Self {
                value.to_string()
            }
        }
    };
}
pub(crate) use as_text;

/// What is bytes is hex digits on the wire, two each, in lower case; `$no` says that others are none of these.
macro_rules! as_hex {
    ($type:ty, |$hex:ident| $no:expr) => {
        $crate::share::as_text!($type, |it| $crate::share::hex(&it.0));

        impl std::str::FromStr for $type {
            type Err = $crate::error::Error;

            fn from_str($hex: &str) -> std::result::Result<Self, Self::Err> {
                $crate::share::unhex($hex).map(Self).ok_or_else(|| $no)
            }
        }
    };
}
pub(crate) use as_hex;

/// The longest name of a file, in bytes: what Linux file systems can hold.
pub const FILE_NAME: usize = 255;

/// The longest name of a peer, in bytes.
pub const PEER_NAME: usize = 64;

/// The rule for every name that somebody else writes, of a file or of a peer (`what`): 1 to `most` bytes, no
/// separators, no control characters, no dot in front. So it can stand in a message, on a screen and in a folder.
///
/// # Errors
/// `bad_message`, which says the rule.
pub fn check_name(name: &str, most: usize, what: &str) -> Result<(), Error> {
    let plain = |c: char| !c.is_control() && !matches!(c, '/' | '\\');
    if (1..=most).contains(&name.len()) && !name.starts_with('.') && name.chars().all(plain) {
        return Ok(());
    }
    Err(Error::new(Code::BadMessage, format!("{name:.80?} cannot be {what}"))
        .advise(format!("a name has 1 to {most} bytes, no slash, no control character and no dot in front")))
}

/// The name of a shared file: 1 to 255 bytes of UTF-8 without separators, control characters or a dot in
/// front. So it names a file *in* a folder: no `..`, no path, nothing hidden.
///
/// ```
/// use peerlab::share::FileName;
/// assert!("lecture 3.pdf".parse::<FileName>().is_ok());
/// for bad in ["", ".peerlab", "..", "../a", "/etc/passwd", "a\\b", "a\nb"] {
///     assert!(bad.parse::<FileName>().is_err());
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileName(String);

as_text!(FileName, |it| it.0);

impl FileName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for FileName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        check_name(name, FILE_NAME, "the name of a shared file").map(|()| Self(name.to_owned()))
    }
}

/// Characters that nobody sees, by which two names could look alike: those that Unicode calls format characters (Cf)
/// or ignorable, and a blank that counts as a symbol.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{34f}' | '\u{600}'..='\u{605}' | '\u{61c}' | '\u{6dd}' | '\u{70f}' | '\u{890}'..='\u{891}'
        | '\u{8e2}' | '\u{115f}'..='\u{1160}' | '\u{17b4}'..='\u{17b5}' | '\u{180b}'..='\u{180f}'
        | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{2800}' | '\u{3164}'
        | '\u{fe00}'..='\u{fe0f}' | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{110bd}' | '\u{110cd}'
        | '\u{13430}'..='\u{1343f}' | '\u{1bca0}'..='\u{1bca3}' | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

/// A peer's name: 1 to 64 bytes, and otherwise like that of a file. It stands in messages, on screens and in the names
/// of conflict copies.
///
/// In a sentence of the board it must look like no other peer's name, and not go on as the sentence would. So it is
/// words of visible characters with single spaces between them, without the signs that part a sentence. (Letters of
/// two scripts may look alike all the same.)
///
/// ```
/// use peerlab::share::PeerName;
/// assert!("Jörg's laptop".parse::<PeerName>().is_ok());
/// for bad in ["ada ", "ada\u{200b}", "\u{202e}ada", "ada left: timeout", "ada; ben"] {
///     assert!(bad.parse::<PeerName>().is_err());
/// }
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PeerName(String);

as_text!(PeerName, |it| it.0);

impl PeerName {
    /// How many bytes it has.
    pub(crate) fn size(&self) -> usize {
        self.0.len()
    }
}

impl FromStr for PeerName {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        check_name(name, PEER_NAME, "a peer's name")?;
        let visible = |c: char| !c.is_whitespace() && !is_invisible(c);
        let plain = |word: &str| !word.is_empty() && word.chars().all(visible);
        let what = if !name.split(' ').all(plain) {
            "there are invisible characters in it, or spaces too many; write words with single spaces between them"
        } else if name.contains(';') || name.split(' ').any(|word| word.ends_with(':')) {
            "there is a semicolon in it, or a colon at the end of a word; leave that out"
        } else {
            return Ok(Self(name.to_owned()));
        };
        Err(Error::new(Code::BadMessage, format!("{name:.80?} cannot be a peer's name")).advise(what))
    }
}

/// A SHA-256.
pub type Hash = [u8; 32];

/// Bytes as hex digits in lower case, two each.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.filter_map(|digit| char::from_digit(digit.into(), 16)).collect()
}

/// The `N` bytes that are written so, if these are such.
pub(crate) fn unhex<const N: usize>(hex: &str) -> Option<[u8; N]> {
    let digit = |byte: u8| char::from(byte).to_digit(16).filter(|_| !byte.is_ascii_uppercase());
    let byte = |pair: &[u8]| Some((digit(pair[0])? * 16 + digit(pair[1])?) as u8);
    let bytes: Option<Vec<u8>> = hex.as_bytes().chunks_exact(2).map(byte).collect();
    bytes.filter(|_| hex.len() == 2 * N).and_then(|bytes| bytes.try_into().ok())
}

/// What a file is called when its name may mean several things: the SHA-256 of its manifest, on the wire
/// as 64 lower-case hex digits ([`Manifest::id`] says what goes into it, and why the name does not).
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct FileId(Hash);

as_hex!(FileId, |hex| Error::new(Code::BadMessage, format!("{hex:.80?} is not the id of a file"))
    .advise("an id has 64 hex digits, lower case"));

impl FileId {
    /// The first eight hex digits: enough for a person, and for the name of a conflict copy.
    pub fn short(&self) -> String {
        self.to_string()[..8].to_owned()
    }
}

impl From<Hash> for FileId {
    fn from(hash: Hash) -> Self {
        Self(hash)
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_a_plain_file_name() {
        let long = "x".repeat(FILE_NAME);
        let wide = "é".repeat(127);
        for good in ["a", "a b.txt", "<b>'\"%2e&.html", "a..b", "naïve🙂", &long, &wide] {
            assert_eq!(good.parse::<FileName>().unwrap().as_str(), good);
        }
        let (too_long, too_wide) = (format!("{long}x"), "é".repeat(128));
        for bad in [
            "",
            ".",
            "..",
            ".hidden",
            ".peerlab",
            "/",
            "/etc/passwd",
            "a/b",
            "../a",
            "a/../b",
            "a\\b",
            "C:\\a",
            "a\0b",
            "a\nb",
            "\t",
            "a\u{7f}",
            "a\u{85}b",
            &too_long,
            &too_wide,
        ] {
            let error = bad.parse::<FileName>().unwrap_err();
            assert_eq!(error.code(), Code::BadMessage, "{bad:?}");
            assert!(error.to_string().ends_with("no control character and no dot in front"), "{error}");
        }
    }

    #[test]
    fn a_peers_name_is_visible_words_that_end_no_sentence() {
        for good in [
            "a",
            "ada",
            "Jörg's laptop",
            "a b c",
            "山田 太郎",
            "אדה",
            "عدا",
            "a:b",
            "10:30",
            "🙂",
            "a\u{301}",
            "<b>&",
        ] {
            assert_eq!(good.parse::<PeerName>().unwrap().to_string(), good);
        }
        let invisible = [
            "ad\u{ad}a",
            "ada\u{200b}",
            "\u{202e}ada",
            "a\u{2066}da",
            "\u{feff}ada",
            "ada\u{fe0f}",
            "\u{3164}",
        ];
        let spaces = [" ", "ada ", " ada", "a  b", "ada\u{a0}", "a\u{2003}b", "a\u{2028}b", "ada\u{3000}"];
        let sentences =
            ["ada dropped exam.pdf: each peer moves it to its trash;", "ada: left", "ada:", "ada;"];
        for (bad, says) in [
            (&invisible[..], "invisible characters"),
            (&spaces, "with single spaces between them"),
            (&sentences, "leave that out"),
        ] {
            for bad in bad {
                let no = bad.parse::<PeerName>().unwrap_err();
                assert_eq!(no.code(), Code::BadMessage, "{bad:?}");
                assert!(no.to_string().contains(says), "{bad:?}: {no}");
                assert!(bad.parse::<FileName>().is_ok(), "a file may be called {bad:?}");
            }
        }
        let error = "../ada".parse::<PeerName>().unwrap_err();
        assert!(error.to_string().ends_with("no dot in front"), "{error}");
    }

    #[test]
    fn a_bad_name_or_id_does_not_even_become_a_message() {
        assert!(serde_json::from_str::<FileName>("\"a.bin\"").is_ok());
        assert!(serde_json::from_str::<FileName>("\"../a.bin\"").is_err());
        assert!(serde_json::from_str::<FileName>("\"a\\u0000\"").is_err());
        assert!(serde_json::from_slice::<FileName>(b"\"a\xff\"").is_err(), "not UTF-8");
        assert!(serde_json::from_slice::<FileName>(b"\"a\xc0\xae\"").is_err(), "an overlong dot");
        assert!(serde_json::from_str::<FileId>("\"abc\"").is_err());
    }

    #[test]
    fn an_id_is_64_lower_case_hex_digits() {
        let mut hash = Hash::default();
        hash[0] = 0xab;
        hash[31] = 7;
        let id = FileId::from(hash);
        let hex = format!("ab{}07", "0".repeat(60));
        assert_eq!(id.to_string(), hex);
        assert_eq!(id.short(), "ab000000");
        assert_eq!(hex.parse::<FileId>().unwrap(), id);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{hex}\""));
        assert_eq!(serde_json::from_str::<FileId>(&format!("\"{hex}\"")).unwrap(), id);
        for bad in
            ["", "ab", &hex.to_uppercase(), &format!("{hex}0"), &hex.replace('a', "g"), &"é".repeat(32)]
        {
            assert!(bad.parse::<FileId>().is_err(), "{bad}");
        }
    }
}
