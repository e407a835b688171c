//! A download on its way, from its first piece to the file under its name: bytes that survive a kill.
//!
//! # The rules
//! - **Two files** for each download: its bytes (`KEY.part`), and beside them the manifest (`KEY.manifest`), written
//!   once.
//! - A piece is verified, then written; then it counts. A kill in between costs that piece and no other.
//! - **Nothing on the disk says which pieces are there.** A run that goes on with a download hashes what it finds. A
//!   record could be older or newer than the bytes after a power cut; hashes cannot lie. That takes half a second a
//!   GiB, so [`Store::begin`] leaves it to [`Partial::look`]: in between the caller can say that the download lives,
//!   and while it looks the pieces that it finds count one by one.
//! - **One download writes to it**, which a lock makes sure of; any thread may read what is verified.
//! - **What nobody has touched for a week goes** when the folder is opened; [`Store::expired`] says what.
//!
//! # An example
//! `film.bin` has three pieces. `begin` finds a part that a killed run has left, in which pieces 0 and 2 are good and
//! 1 is a hole. `have` is `000`; `look` makes it `100`, then `101`. Piece 1 comes, is verified and written: `111`.
//! `sync` brings the bytes to the disk, `publish` renames the part to `film.bin` and removes the manifest.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::disk::{self, Stamp};
use super::{Store, taken};
use crate::error::{Code, Error, Result};
use crate::share::{Bitfield, FileId, FileName, Hash, Manifest, Piece};

/// The ending of the bytes of a download, of those that are whole and about to replace a damaged file, and of what
/// they should be.
const PART: &str = "part";
pub(super) const WHOLE: &str = "whole";
const MANIFEST: &str = "manifest";

/// The most that is read of a manifest: the line, and the hashes of as many pieces as a file can have.
const MANIFEST_SIZE: u64 = 4 << 20;

/// How long a part is kept that nobody touches.
const KEPT: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// What became of the bytes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// They are right, and kept.
    Kept,
    /// Their hash is not that of the piece; nothing was written.
    WrongHash,
}

/// A file that is being downloaded.
#[derive(Debug)]
pub struct Partial {
    pub(crate) manifest: Arc<Manifest>,
    pub(super) path: PathBuf,
    pub(super) bytes: File,
    /// Whether there were bytes when it began.
    resumed: bool,
    /// Another file whose good pieces are taken.
    source: Option<File>,
    /// How the damaged file looked whose place it is to take, if it is a repair, and that was no edit.
    pub(super) repairs: Option<Stamp>,
    /// The lock is never held across I/O.
    have: Mutex<Bitfield>,
}

impl Partial {
    /// The pieces that are there, verified.
    pub fn have(&self) -> Bitfield {
        self.have.lock().clone()
    }

    /// Whether there is anything for [`Partial::look`] to look at, which may take a while.
    pub fn needs_look(&self) -> bool {
        self.resumed || self.source.is_some()
    }

    /// Looks what is there already: hashes what a former run has left, and takes what is good of the file that it
    /// began from. Each piece counts as soon as it is found. After each one `go_on` is asked; what was not looked at
    /// when it says no counts as missing.
    ///
    /// # Errors
    /// Those of [`Partial::write`].
    pub fn look(&self, mut go_on: impl FnMut() -> bool) -> Result<()> {
        let mut bytes = Vec::new();
        for piece in self.manifest.layout().iter() {
            let found = self.resumed && read_piece(&self.bytes, piece, &mut bytes);
            if found && self.manifest.verify(piece, &bytes) {
                self.have.lock().insert(piece);
            } else if self.source.as_ref().is_some_and(|source| read_piece(source, piece, &mut bytes)) {
                self.write(piece, &bytes)?;
            }
            if !go_on() {
                break;
            }
        }
        Ok(())
    }

    /// Verifies the bytes of a piece, and writes them if they are right.
    ///
    /// # Errors
    /// `busy` when the disk is full: the piece counts as missing, everything else is as it was, and the
    /// download can go on when there is room.
    pub fn write(&self, piece: Piece, bytes: &[u8]) -> Result<Written> {
        if !self.manifest.verify(piece, bytes) {
            return Ok(Written::WrongHash);
        }
        self.bytes.write_all_at(bytes, piece.offset()).map_err(|error| {
            let name = self.manifest.name();
            disk::error(format!("cannot write piece {} of {name}", piece.index()), error)
        })?;
        self.have.lock().insert(piece);
        Ok(Written::Kept)
    }

    /// The bytes, open, so that the kernel can send pieces that are there.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn file(&self) -> Result<File> {
        let name = self.manifest.name();
        self.bytes.try_clone().map_err(|error| disk::error(format!("cannot open {name}"), error))
    }

    /// Brings all bytes to the disk.
    ///
    /// # Errors
    /// When some are missing, or the disk fails.
    pub fn sync(&self) -> Result<Synced<'_>> {
        let name = self.manifest.name();
        if !self.have().is_full() {
            return Err(Error::failed(format!("{name} is not whole"))
                .advise("its missing pieces must be fetched first"));
        }
        self.bytes.sync_all().map(|()| Synced(self)).map_err(|error| {
            // What is in memory now is not what is on the disk, though it is read as if it were.
            let _ = self.bytes.set_len(0);
            *self.have.lock() = Bitfield::empty(self.manifest.layout());
            disk::error(format!("cannot bring {name} to the disk"), error)
        })
    }
}

/// A download that is whole and on the disk: nothing else gets its name.
#[derive(Clone, Copy, Debug)]
pub struct Synced<'a>(pub(super) &'a Partial);

impl Drop for Partial {
    fn drop(&mut self) {
        // A thread that still sends from it has a clone of the descriptor, which alone would keep the lock.
        let _ = self.bytes.unlock();
    }
}

impl Store {
    /// Begins a download, or goes on with one. What is there of it counts when [`Partial::look`] has found it.
    ///
    /// # Errors
    /// `busy` when another download of it is running, or the disk is full.
    pub fn begin(&self, manifest: Arc<Manifest>) -> Result<Partial> {
        let (dir, name) = (self.private("partial"), manifest.name());
        let path = part_in(&dir, name, manifest.id());
        let begin = || {
            // Another program that saved a file here may have tidied up meanwhile.
            fs::create_dir_all(dir)?;
            let bytes = lock(&path)?;
            let resumed = bytes.metadata()?.len() > 0;
            // Also where that is its size: the part counts as touched.
            bytes.set_len(manifest.layout().size())?;
            if read_manifest(&path).is_none_or(|there| there != *manifest) {
                write_manifest(&path, &manifest)?;
            }
            Ok((bytes, resumed))
        };
        let (bytes, resumed) = begin().map_err(|error: io::Error| match error.kind() {
            ErrorKind::WouldBlock => {
                Error::new(Code::Busy, format!("{name} is being downloaded here already"))
                    .advise("wait for that, or save it into another folder with `down -o`")
            }
            _ => disk::error(format!("cannot write the download of {name}"), error),
        })?;
        let have = Mutex::new(Bitfield::empty(manifest.layout()));
        Ok(Partial { manifest, path, bytes, resumed, source: None, repairs: None, have })
    }

    /// The same, with the good pieces of another file, which is left as it is.
    ///
    /// # Errors
    /// Those of [`Store::begin`].
    pub fn begin_from(&self, manifest: Arc<Manifest>, there: File) -> Result<Partial> {
        let mut partial = self.begin(manifest)?;
        partial.source = Some(there);
        Ok(partial)
    }

    /// A download appears under its name.
    ///
    /// # Errors
    /// `conflict` when another file has its name; the download stays as it is then.
    pub fn publish(&self, Synced(partial): Synced<'_>) -> Result<()> {
        self.appear(partial, &partial.path)
    }

    /// The bytes of a download, which are whole and at `path`, appear under their name.
    pub(super) fn appear(&self, partial: &Partial, path: &Path) -> Result<()> {
        let (manifest, name) = (&partial.manifest, partial.manifest.name());
        let appear = || {
            let before = Stamp::of(&partial.bytes.metadata()?);
            self.give_name(manifest, &partial.bytes, before, path)
        };
        let appeared = appear().map_err(|error| match error.kind() {
            ErrorKind::AlreadyExists => taken(name),
            _ => disk::error(format!("cannot publish {name}"), error),
        });
        // Also where it has its name, and only the folder was not brought to the disk. If it stays, it is removed when
        // the folder is opened.
        if matches!(path.try_exists(), Ok(false)) {
            let _ = fs::remove_file(path.with_extension(MANIFEST));
        }
        appeared
    }

    /// Gives up what is there of a download that nobody is writing to now.
    pub fn forget_download(&self, name: &FileName, id: FileId) {
        remove(&part_in(&self.private("partial"), name, id));
    }

    /// Clears up what former runs have left, and says which downloads were given up. A repair that was whole is
    /// published; where it finds its name taken, it is a download like others again.
    pub(super) fn clear_partial(&self) -> io::Result<Vec<FileName>> {
        let mut expired = Vec::new();
        for entry in fs::read_dir(self.private("partial"))? {
            let path = entry?.path();
            if has_ending(&path, WHOLE) {
                self.go_on_with_repair(&path)?;
            } else if has_ending(&path, PART) {
                let touched = fs::metadata(&path).and_then(|meta| meta.modified());
                let old = touched.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > KEPT));
                let manifest = read_manifest(&path);
                if old && remove(&path) {
                    expired.extend(manifest.map(|manifest| manifest.name().clone()));
                }
            } else if ![PART, WHOLE].iter().any(|bytes| path.with_extension(bytes).exists()) {
                let _ = fs::remove_file(path);
            }
        }
        Ok(expired)
    }

    /// A repair was killed when it was whole, before it had its name.
    fn go_on_with_repair(&self, whole: &Path) -> io::Result<()> {
        let Some(_locked) = disk::lock_idle(whole) else { return Ok(()) };
        let manifest = read_manifest(whole);
        if manifest.is_some_and(|it| disk::rename_own(whole, &self.path(it.name())).is_ok()) {
            disk::sync_folder(&self.dir)?;
            return fs::remove_file(whole.with_extension(MANIFEST));
        }
        fs::rename(whole, whole.with_extension(PART))
    }
}

/// Where the bytes of a download are: one content may be on its way under two names.
fn part_in(dir: &Path, name: &FileName, id: FileId) -> PathBuf {
    let name = FileId::from(Hash::from(Sha256::digest(name.as_str())));
    dir.join(format!("{id}-{}.{PART}", name.short()))
}

fn has_ending(path: &Path, ending: &str) -> bool {
    path.extension().is_some_and(|its| its == ending)
}

/// Removes a download, unless somebody is writing to it; says whether.
fn remove(part: &Path) -> bool {
    let Some(_locked) = disk::lock_idle(part) else { return false };
    // If one of them stays, it is removed when the folder is opened.
    let _ = fs::remove_file(part.with_extension(MANIFEST));
    fs::remove_file(part).is_ok()
}

/// Opens the bytes of a download and locks them. The program that had the lock before may have published the file
/// that was opened; then there is another one of this name now, or none. It may have been killed when the file had both
/// names ([`disk::rename_own`]); then only the other one is left to it.
///
/// # Errors
/// [`ErrorKind::WouldBlock`] when another has the lock.
fn lock(path: &Path) -> io::Result<File> {
    loop {
        let bytes = disk::open_own(path)?;
        disk::lock(&bytes)?;
        let is = bytes.metadata()?;
        if fs::symlink_metadata(path).is_ok_and(|meta| Stamp::of(&meta).file == Stamp::of(&is).file) {
            if is.nlink() == 1 {
                return Ok(bytes);
            }
            fs::remove_file(path)?;
        }
    }
}

/// Reads a piece of a file into `bytes`, which get its length; false when it cannot be read.
pub(super) fn read_piece(file: &File, piece: Piece, bytes: &mut Vec<u8>) -> bool {
    bytes.resize(piece.len(), 0);
    file.read_exact_at(bytes, piece.offset()).is_ok()
}

/// The manifest beside the bytes of a download, if it is whole: a line with name, size and size of a piece, then the
/// hashes.
fn read_manifest(bytes: &Path) -> Option<Manifest> {
    let mut text = Vec::new();
    let file = File::open(bytes.with_extension(MANIFEST)).ok()?;
    file.take(MANIFEST_SIZE).read_to_end(&mut text).ok()?;
    let end = text.iter().position(|&byte| byte == b'\n')?;
    let (name, size, piece_size) = serde_json::from_slice(&text[..end]).ok()?;
    Manifest::from_wire(name, size, piece_size, &text[end + 1..]).ok()
}

fn write_manifest(bytes: &Path, manifest: &Manifest) -> io::Result<()> {
    let layout = manifest.layout();
    let mut text = serde_json::to_vec(&(manifest.name(), layout.size(), layout.piece_size()))?;
    text.push(b'\n');
    text.extend(manifest.hashes());
    fs::write(bytes.with_extension(MANIFEST), text)
}

#[cfg(test)]
mod tests {
    use super::*;

    impl Partial {
        /// One whose bytes go nowhere: the simulated network has disks of its own.
        pub(crate) fn nowhere(manifest: Arc<Manifest>) -> Self {
            let (path, have) = ("/dev/null".into(), Mutex::new(Bitfield::empty(manifest.layout())));
            let bytes = File::options().write(true).open(&path).unwrap();
            Self { manifest, path, bytes, resumed: false, source: None, repairs: None, have }
        }
    }
}
