//! What shows that a node is the one that it says it is: 32 bytes that only those know who are to know them.
//!
//! # The rule
//! No key is sent to a node that could not know it anyway. Where a node is to show that it knows one, it shows what
//! HMAC-SHA-256 (RFC 2104) makes of that key and of what is asked for; from that nobody learns the key, and for
//! anything else it is worth nothing. A manager makes all keys from one that it draws when it starts, so it need not
//! keep them, and they end with it:
//! - the **token** of a peer, of its number: shown to the manager alone, by one that speaks as that peer;
//! - the **key** of a lease at a peer, of both numbers: told to the holder, which shows it, and to the peer, which
//!   compares;
//! - the key of a new peer's first **examination**, of the same numbers, under the *peer's* token: it takes no slot;
//! - the **pass** to a holder of a file, of the requester's number and the file's id, under the *holder's* token, which
//!   both the manager and that holder know.
//!
//! The **secret** of a network is made of a file that a person gives to every node ([`super::admission`]).
//!
//! Two keys are compared in a time that does not depend on where they differ, and none is shown in a log.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::{fmt, fs};

use hmac::digest::CtOutput;
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Code, Error};
use crate::share::{FileId, Hash, as_hex};

/// The shortest secret, in bytes: a word or a date could be guessed.
const SHORTEST_SECRET: usize = 16;

/// What it is for: what is made for one purpose is worth nothing for another.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Purpose {
    /// To speak to the manager as a peer. Of the peer's number.
    Token,
    /// To have products computed. Of the numbers of the lease and of the peer that serves it.
    Lease,
    /// To be sent pieces as a peer. Of the peer's number and the file's id.
    Pass,
    /// To be let in by a node. Of that node's nonce and the first line of the conversation.
    Enter = 3,
    /// To show the same in return. Of the nonce of the one that was let in, and its first line.
    Welcome = 4,
    /// The same, from a manager.
    ManagerWelcome = 5,
}

/// A token, the key of a lease at a peer, or a pass; on the wire 64 hex digits.
#[derive(Clone, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Key(Hash);

// What was written is not repeated: it may be nearly right.
as_hex!(Key, |hex| Error::new(Code::BadMessage, "a key, token or pass has 64 hex digits, lower case"));

impl Key {
    /// One that nobody can guess.
    pub fn random() -> Self {
        Self(rand::random())
    }

    /// By a manager's key: the token of the peer of this number.
    pub(crate) fn token(&self, peer: u64) -> Self {
        self.make(Purpose::Token, &[&peer.to_be_bytes()])
    }

    /// By a manager's key: what opens the slots of a lease at a peer.
    pub(crate) fn of_lease(&self, lease: u64, peer: u64) -> Self {
        self.make(Purpose::Lease, &[&lease.to_be_bytes(), &peer.to_be_bytes()])
    }

    /// By a holder's token: what shows to it that pieces of a file are asked for by the peer of this number.
    pub(crate) fn pass(&self, requester: u64, file: FileId) -> Self {
        self.make(Purpose::Pass, &[&requester.to_be_bytes(), file.to_string().as_bytes()])
    }

    /// The secret of a network: the SHA-256 of what is in this file, without a newline at its end.
    ///
    /// # Errors
    /// A usage error when it cannot be read, may be read by others, or is short.
    pub fn from_file(path: &str) -> Result<Self, Error> {
        let no = |what| Error::new(Code::Usage, format!("the secret in {path} {what}"));
        let new = || format!("head -c 32 /dev/urandom | base64 > {path}; chmod 600 {path}");
        let file = fs::metadata(path).and_then(|about| Ok((about.mode(), fs::read(path)?)));
        let (mode, bytes) = file.map_err(|e| {
            let advice = match e.kind() {
                ErrorKind::NotFound if !path.is_empty() => {
                    format!("copy that of your network there; that of a new network is made by: {}", new())
                }
                _ => "give the path of a file that you may read".into(),
            };
            no("cannot be read").because(e).advise(advice)
        })?;
        let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        match (mode & 0o077, secret.len()) {
            (0, SHORTEST_SECRET..) => Ok(Self(Sha256::digest(secret).into())),
            (0, _) => Err(no("has fewer than 16 bytes, and could be guessed")
                .advise(format!("a longer one, for all nodes, is made by: {}", new()))),
            _ => Err(no("may be read or changed by others on this machine")
                .advise(format!("make it yours alone: chmod 600 {path}"))),
        }
    }

    /// What this key makes of `parts` for this purpose.
    pub(crate) fn make(&self, purpose: Purpose, parts: &[&[u8]]) -> Self {
        // The algorithm's own first step: zeros up to the size of a block.
        let mut block = [0; 64];
        block[..size_of::<Hash>()].copy_from_slice(&self.0);
        let mut code = Hmac::<Sha256>::new(&block.into());
        code.update(&[purpose as u8]);
        for part in parts {
            // With its length before it, so that no two lists of parts are the same bytes.
            code.update(&(part.len() as u64).to_be_bytes());
            code.update(part);
        }
        Self(code.finalize().into_bytes().into())
    }
}

/// In a time that does not depend on where the two differ.
impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        let output = |key: &Self| CtOutput::<Hmac<Sha256>>::new(key.0.into());
        output(self) == output(other)
    }
}

impl Eq for Key {}

/// For a log: it is not shown, as it is in messages.
impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Key")
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn what_a_key_makes_depends_on_the_key_the_purpose_and_each_part() {
        let (ours, theirs) = (Key::random(), Key::random());
        let pass = ours.make(Purpose::Pass, &[b"7", b"id"]);
        assert_eq!(pass, ours.clone().make(Purpose::Pass, &[b"7", b"id"]));
        for other in [
            theirs.make(Purpose::Pass, &[b"7", b"id"]),
            ours.make(Purpose::Token, &[b"7", b"id"]),
            ours.make(Purpose::Pass, &[b"8", b"id"]),
            ours.make(Purpose::Pass, &[b"7i", b"d"]),
            ours.make(Purpose::Pass, &[b"7", b"id", b""]),
        ] {
            assert_ne!(pass, other);
        }
    }

    #[test]
    fn a_secret_is_the_bytes_of_a_file_that_only_its_owner_may_read() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &str, mode| {
            let path = dir.path().join(name);
            fs::write(&path, bytes).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let read = |name, bytes, mode| Key::from_file(&write(name, bytes, mode));
        let secret = read("a", "sixteen letters!", 0o600).unwrap();
        assert_eq!(secret, read("b", "sixteen letters!\n", 0o400).unwrap());
        assert_ne!(secret, read("c", "sixteen letters?", 0o600).unwrap());
        assert_ne!(secret, read("d", "sixteen letters!\n\n", 0o600).unwrap());
        for (bytes, mode, why, what_to_do) in [
            ("", 0o600, "fewer than 16 bytes", "> PATH; chmod 600 PATH"),
            ("fifteen letters\n", 0o600, "fewer than 16 bytes", "> PATH; chmod 600 PATH"),
            ("sixteen letters!", 0o640, "by others", "make it yours alone: chmod 600 PATH"),
            ("sixteen letters!", 0o602, "by others", "make it yours alone: chmod 600 PATH"),
        ] {
            let path = write("no", bytes, mode);
            let no = Key::from_file(&path).unwrap_err();
            let text = no.to_string();
            assert_eq!((no.code(), text.contains("letters")), (Code::Usage, false), "{text}");
            assert!(text.contains(why) && text.ends_with(&what_to_do.replace("PATH", &path)), "{text}");
        }
        let text = Key::from_file("/no/such").unwrap_err().to_string();
        assert!(text.contains("the secret in /no/such cannot be read: No such file"), "{text}");
    }

    #[test]
    fn it_travels_as_hex_digits_and_is_not_shown() {
        let key = Key::random();
        let line = serde_json::to_string(&key).unwrap();
        assert_eq!((line.len(), serde_json::from_str::<Key>(&line).unwrap()), (66, key.clone()));
        assert_eq!(format!("{key:?}"), "Key");
        let no = "abc".parse::<Key>().unwrap_err().to_string();
        assert!(!no.contains("abc"), "{no}");
    }
}
