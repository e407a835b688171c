//! One number for a whole list of files, so that two nodes can see cheaply whether theirs are the same.
//!
//! # The problem
//! A manager that was restarted, or missed an `update`, lists other files for a peer than the peer has. To
//! compare the lists by sending them would cost a line for each file, every second, for nothing.
//!
//! # The rule
//! A file's number is the beginning of the SHA-256 of its name, its id, and whether it is whole. The list's
//! number is the exclusive or of its files' numbers. So order does not matter, one more file or one less costs
//! one hash, and the empty list is zero. It travels with each `ok` as 16 hex digits.
//!
//! # What is missing
//! Exclusive or is no defence against a peer that looks for two lists with one number; it would deceive
//! nobody but itself.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{FileId, FileName, as_hex};
use crate::error::{Code, Error};

/// What a list of files comes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Fingerprint([u8; 8]);

as_hex!(Fingerprint, |hex| Error::new(Code::BadMessage, format!("{hex:.40?} is no fingerprint of a list"))
    .advise("it has 16 hex digits, lower case"));

impl Fingerprint {
    /// Adds a file to the list, or takes it off.
    pub fn toggle(&mut self, file: &FileName, id: FileId, whole: bool) {
        // No name contains a slash, so no two different files are hashed from the same bytes.
        let hash = Sha256::digest(format!("{file}/{id}/{whole}"));
        self.0.iter_mut().zip(hash).for_each(|(sum, byte)| *sum ^= byte);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_order_does_not_matter_and_twice_is_not_at_all() {
        let (a, b): (FileName, FileName) = ("a".parse().unwrap(), "b".parse().unwrap());
        let id = FileId::from([7; 32]);
        let (mut one, mut other) = (Fingerprint::default(), Fingerprint::default());
        one.toggle(&a, id, true);
        one.toggle(&b, id, false);
        other.toggle(&b, id, false);
        assert_ne!(one, other);
        other.toggle(&a, id, true);
        assert_eq!(one, other);
        other.toggle(&a, id, true);
        other.toggle(&b, id, false);
        assert_eq!(other, Fingerprint::default());
        other.toggle(&b, id, true);
        assert_ne!(other, one, "whole and in part are different");
    }

    #[test]
    fn it_is_16_hex_digits() {
        let mut print = Fingerprint::default();
        print.toggle(&"a".parse().unwrap(), FileId::from([7; 32]), true);
        assert_eq!(print.to_string().parse::<Fingerprint>().unwrap(), print);
        for bad in ["", "0", "+000000000000000", "00000000000000000", "000000000000000g"] {
            assert!(bad.parse::<Fingerprint>().is_err(), "{bad}");
        }
    }
}
