//! A file that is offered whole, and open: what is served is what was hashed.
//!
//! Between the moment when a file was hashed and the moment when a piece of it is served, somebody may have
//! written to it. Its stamp tells: who serves looks at it for each piece, which costs one `fstat`, and answers
//! `not_found` when it is another. So nobody is sent bytes that he would have to throw away, and nobody is
//! taken for a liar because his user has edited a file.

use std::fs::File;
use std::io::{self, ErrorKind};
use std::os::unix::fs::FileExt;
use std::sync::Arc;

use super::disk::{self, Stamp};
use super::{Store, changed};
use crate::error::Result;
use crate::share::{FileId, FileName, Manifest, Piece};

/// A file that is offered whole, open.
#[derive(Debug)]
pub struct Whole {
    manifest: Arc<Manifest>,
    file: File,
    stamp: Stamp,
}

impl Whole {
    /// Its manifest.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// Reads a piece, from any thread.
    ///
    /// # Errors
    /// `not_found` when the file was changed since it was hashed: its pieces are not those of the
    /// manifest any more.
    pub fn read(&self, piece: Piece, into: &mut Vec<u8>) -> Result<()> {
        let name = self.manifest.name();
        let mut read = || {
            into.resize(piece.len(), 0);
            self.file.read_exact_at(into, piece.offset())?;
            // Looked at after reading: what was read before the change is good.
            Ok::<_, io::Error>(Stamp::of(&self.file.metadata()?) == self.stamp)
        };
        match read() {
            Ok(true) => Ok(()),
            Ok(false) => Err(changed(name)),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Err(changed(name)),
            Err(error) => Err(disk::error(format!("cannot read {name}"), error)),
        }
    }

    /// The open file, for those who let the kernel send it. [`Whole::check`] says whether it is still the one
    /// that was hashed.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Whether its bytes are still those of the manifest, as far as its stamp tells.
    ///
    /// # Errors
    /// `not_found` when it was changed since it was hashed.
    pub fn check(&self) -> Result<()> {
        match self.file.metadata() {
            Ok(meta) if Stamp::of(&meta) == self.stamp => Ok(()),
            _ => Err(changed(self.manifest.name())),
        }
    }
}

impl Store {
    /// Opens a file that was hashed before, to serve its pieces: reads nothing, so anybody may ask for it.
    ///
    /// # Errors
    /// `not_found` when there is none of this name and content, or it was changed since it was hashed.
    pub fn open_known(&self, name: &FileName, id: FileId) -> Result<Whole> {
        let (file, stamp) = self.open_file(name)?;
        let known = self.known(name, &stamp).filter(|manifest| manifest.id() == id);
        known.map(|manifest| Whole { manifest, file, stamp }).ok_or_else(|| changed(name))
    }
}
