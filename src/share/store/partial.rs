//! A download on its way, from its first piece to the file under its name: bytes that survive a kill.
//!
//! # The rules
//! - A piece is verified, then written, then *marked*. A kill in between costs that piece and no other.
//! - The marks stand in a file beside the bytes, with the manifest: a byte for each piece, `1` for one that
//!   is there. One byte is written at a time, so a mark is never torn.
//! - A mark says that the piece was handed to the system. That survives the end of a program, but not the
//!   end of the machine, whose memory may not have reached the disk. So the marks carry the number that Linux
//!   draws at each boot; marks of another boot count for nothing.
//! - Where the marks are lost, torn, or count for nothing, what is there is hashed again.
//! - One download writes to it, which a lock makes sure of; any thread may read what is verified.
//! - The file is sparse, and a piece of zeros stays a hole.
//!
//! # An example
//! The marks of a file of three pieces, of which the last is there, after the hashes: `001`.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, ErrorKind, Read, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::disk::{self, Stamp};
use super::{Store, taken};
use crate::error::{Code, Error, Result};
use crate::share::manifest::HASH_SIZE;
use crate::share::{Bitfield, FileId, FileName, Hash, Layout, Manifest, Piece};

/// The ending of the bytes of a download.
const BYTES: &str = "part";

/// The ending of what is known about them.
const MARKS: &str = "marks";

/// A piece that is there, and one that is not.
const THERE: u8 = b'1';
const MISSING: u8 = b'0';

/// The most that is read of a file with marks: the line, and hashes and marks of as many pieces as
/// a file can have.
const MARKS_SIZE: u64 = 4 << 20;

/// What became of the bytes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Written {
    /// They are right, and kept.
    Kept,
    /// Their hash is not that of the piece; nothing was written.
    WrongHash,
}

/// The first line of the marks.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    name: FileName,
    size: u64,
    piece_size: u64,
    /// Which boot of the machine the marks are of.
    boot: String,
}

/// A file that is being downloaded.
#[derive(Debug)]
pub struct Partial {
    manifest: Arc<Manifest>,
    path: PathBuf,
    pub(super) bytes: File,
    marks: File,
    /// Where the marks begin.
    marks_at: u64,
    /// How the damaged file looked whose place it is to take, if it is a repair.
    pub(super) repairs: Option<Stamp>,
    /// The lock is never held across I/O.
    have: Mutex<Bitfield>,
}

impl Partial {
    pub(super) fn open(dir: &Path, manifest: Arc<Manifest>) -> Result<Self> {
        let name = manifest.name();
        let path = dir.join(format!("{}.{BYTES}", key(name, manifest.id())));
        let failed = |error| disk::error(format!("cannot write the download of {name}"), error);
        // Another program that saved a file here may have tidied up meanwhile.
        fs::create_dir_all(dir).map_err(failed)?;
        let bytes = lock(&path, name)?;
        let size = manifest.layout().size();
        let was = bytes.metadata().map_err(failed)?.len();
        let marks = read_bounded(&path.with_extension(MARKS)).unwrap_or_default();
        let have = match read_marks(&marks, &manifest) {
            Some(have) if was == size => have,
            _ if was == 0 => Bitfield::empty(manifest.layout()),
            _ => good_pieces(&manifest, &bytes),
        };
        bytes.set_len(size).map_err(failed)?;
        let (marks, marks_at) = write_marks(&path, &manifest, &have).map_err(failed)?;
        Ok(Self { path, bytes, marks, marks_at, repairs: None, have: Mutex::new(have), manifest })
    }

    /// Its manifest.
    pub fn manifest(&self) -> &Arc<Manifest> {
        &self.manifest
    }

    /// The pieces that are there, verified.
    pub fn have(&self) -> Bitfield {
        self.have.lock().clone()
    }

    /// Whether this piece is there.
    pub fn has(&self, piece: Piece) -> bool {
        self.have.lock().contains(piece)
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
        let write = || {
            let zeros = bytes.iter().all(|&byte| byte == 0);
            if !(zeros && disk::punch(&self.bytes, piece.offset(), bytes.len() as u64)) {
                self.bytes.write_all_at(bytes, piece.offset())?;
            }
            self.marks.write_all_at(&[THERE], self.marks_at + u64::from(piece.index()))
        };
        write().map_err(|error| {
            let name = self.manifest.name();
            disk::error(format!("cannot write piece {} of {name}", piece.index()), error)
        })?;
        self.have.lock().insert(piece);
        Ok(Written::Kept)
    }

    /// Reads a piece that is there, from any thread.
    ///
    /// # Errors
    /// `not_found` when it is not there.
    pub fn read(&self, piece: Piece, into: &mut Vec<u8>) -> Result<()> {
        let name = self.manifest.name();
        if !self.has(piece) {
            return Err(Error::new(
                Code::NotFound,
                format!("piece {} of {name} is not here yet", piece.index()),
            ));
        }
        into.resize(piece.len(), 0);
        let read = self.bytes.read_exact_at(into, piece.offset());
        read.map_err(|error| disk::error(format!("cannot read piece {} of {name}", piece.index()), error))
    }

    /// Brings all bytes to the disk.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn sync(&self) -> Result<()> {
        let name = self.manifest.name();
        self.bytes.sync_all().map_err(|error| disk::error(format!("cannot bring {name} to the disk"), error))
    }

    /// Takes the good pieces of another file that are missing here.
    pub(super) fn take_over(&self, from: &File) -> Result<()> {
        let mut bytes = Vec::new();
        for piece in self.have().missing() {
            bytes.resize(piece.len(), 0);
            if from.read_exact_at(&mut bytes, piece.offset()).is_ok() {
                self.write(piece, &bytes)?;
            }
        }
        Ok(())
    }

    /// The bytes, open, for those who let the kernel send pieces that are there.
    ///
    /// # Errors
    /// When the system has no descriptor left.
    pub fn file(&self) -> Result<File> {
        let name = self.manifest.name();
        self.bytes.try_clone().map_err(|error| disk::error(format!("cannot open {name}"), error))
    }

    fn path(&self) -> &Path {
        &self.path
    }

    fn stamp(&self) -> io::Result<Stamp> {
        Ok(Stamp::of(&self.bytes.metadata()?))
    }

    /// The marks are not needed any more. If they cannot be removed, [`list`] will.
    fn forget_marks(&self) {
        let _ = fs::remove_file(self.path.with_extension(MARKS));
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Whoever still sends from it has a clone of the descriptor, which alone would keep the lock.
        let _ = self.bytes.unlock();
    }
}

impl Store {
    /// Looks whether a name is free, before anything is fetched for it.
    ///
    /// # Errors
    /// `conflict` when something of this name lies in the folder.
    pub fn is_free(&self, name: &FileName) -> Result<()> {
        match fs::symlink_metadata(self.path(name)) {
            Ok(_) => Err(taken(name)),
            Err(_) => Ok(()),
        }
    }

    /// Begins a download, or goes on with one: what is there and verified is not fetched again.
    ///
    /// # Errors
    /// `busy` when another download of it is running, or the disk is full.
    pub fn begin(&self, manifest: Arc<Manifest>) -> Result<Partial> {
        Partial::open(&self.private("partial"), manifest)
    }

    /// The same, with the good pieces of another file, which is left as it is.
    ///
    /// # Errors
    /// Those of [`Store::begin`].
    pub fn begin_from(&self, manifest: Arc<Manifest>, there: &File) -> Result<Partial> {
        let partial = self.begin(manifest)?;
        partial.take_over(there)?;
        Ok(partial)
    }

    /// Downloads that were begun and are neither published nor discarded: their manifests.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn unfinished(&self) -> Result<Vec<Manifest>> {
        list(&self.private("partial"))
            .map_err(|error| disk::error(format!("cannot read {}", self.dir.display()), error))
    }

    /// A download is whole: it appears under its name. Brings it to the disk first, unless
    /// [`Partial::sync`] already has.
    ///
    /// # Errors
    /// `conflict` when another file has its name; the download stays as it is then.
    pub fn publish(&self, partial: &Partial) -> Result<()> {
        self.finish(partial, disk::rename_new)
    }

    pub(super) fn finish(
        &self,
        partial: &Partial,
        rename: impl FnOnce(&Path, &Path) -> io::Result<()>,
    ) -> Result<()> {
        let manifest = partial.manifest();
        let name = manifest.name();
        let failed = |error| disk::error(format!("cannot publish {name}"), error);
        if !partial.have().is_full() {
            return Err(Error::failed(format!("{name} is not whole"))
                .advise("its missing pieces must be fetched first"));
        }
        partial.sync()?;
        match rename(partial.path(), &self.path(name)) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(taken(name)),
            renamed => renamed.map_err(failed)?,
        }
        disk::sync_folder(&self.dir).map_err(failed)?;
        partial.forget_marks();
        self.learn(Manifest::clone(manifest), partial.stamp().map_err(failed)?);
        Ok(())
    }

    /// Gives up what is there of a download that nobody is writing to now.
    pub fn forget_download(&self, name: &FileName, id: FileId) {
        forget(&self.private("partial"), name, id);
    }
}

/// What a download is called on the disk: one content may be on its way under two names.
fn key(name: &FileName, id: FileId) -> String {
    let name = FileId::from(Hash::from(Sha256::digest(name.as_str())));
    format!("{id}-{}", name.short())
}

/// Removes a download, unless somebody is writing to it.
fn forget(dir: &Path, name: &FileName, id: FileId) {
    let path = dir.join(format!("{}.{BYTES}", key(name, id)));
    if File::open(&path).is_ok_and(|bytes| bytes.try_lock().is_ok()) {
        let _ = fs::remove_file(path.with_extension(MARKS));
        let _ = fs::remove_file(path);
    }
}

/// Opens the bytes of a download and locks them. Whoever had the lock before may have published the file
/// that was opened; then there is another one of this name now, or none.
fn lock(path: &Path, name: &FileName) -> Result<File> {
    let failed = |error| disk::error(format!("cannot write the download of {name}"), error);
    loop {
        let bytes = disk::open_own(path).map_err(failed)?;
        match bytes.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(Error::new(Code::Busy, format!("{name} is being downloaded here already"))
                    .advise("wait for that, or save into another folder with -o"));
            }
            Err(TryLockError::Error(error)) => return Err(failed(error)),
        }
        let is = Stamp::of(&bytes.metadata().map_err(failed)?);
        if fs::symlink_metadata(path).is_ok_and(|meta| Stamp::of(&meta).file == is.file) {
            return Ok(bytes);
        }
    }
}

/// The pieces of a file whose hashes are right. What cannot be read is not.
pub(super) fn good_pieces(manifest: &Manifest, file: &File) -> Bitfield {
    let mut good = Bitfield::empty(manifest.layout());
    let mut buffer = Vec::new();
    for piece in manifest.layout().iter() {
        let bytes = At { file, offset: piece.offset() };
        if manifest.verify_next(piece, bytes, &mut buffer).unwrap_or(false) {
            good.insert(piece);
        }
    }
    good
}

/// Reads a file from a place on, whatever others read.
struct At<'a> {
    file: &'a File,
    offset: u64,
}

impl Read for At<'_> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read_at(into, self.offset)?;
        self.offset += n as u64;
        Ok(n)
    }
}

fn read_bounded(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MARKS_SIZE).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The marks, if they are those of this file, of this boot, and whole.
fn read_marks(bytes: &[u8], manifest: &Manifest) -> Option<Bitfield> {
    let (head, theirs, marks) = parse_marks(bytes)?;
    if theirs != *manifest || head.boot.is_empty() || head.boot != boot() {
        return None;
    }
    let mut have = Bitfield::empty(manifest.layout());
    for (piece, &mark) in manifest.layout().iter().zip(marks) {
        match mark {
            THERE => have.insert(piece),
            MISSING => false,
            _ => return None,
        };
    }
    Some(have)
}

fn parse_marks(bytes: &[u8]) -> Option<(Head, Manifest, &[u8])> {
    let end = bytes.iter().position(|&byte| byte == b'\n')?;
    let head: Head = serde_json::from_slice(&bytes[..end]).ok()?;
    let layout = Layout::new(head.size, head.piece_size).ok()?;
    let (hashes, marks) = bytes[end + 1..].split_at_checked(layout.pieces() as usize * HASH_SIZE)?;
    let manifest = Manifest::from_wire(head.name.clone(), head.size, head.piece_size, hashes).ok()?;
    (marks.len() == layout.pieces() as usize).then_some((head, manifest, marks))
}

/// Writes the marks anew, under another name first; returns them open, and where they begin.
fn write_marks(path: &Path, manifest: &Manifest, have: &Bitfield) -> io::Result<(File, u64)> {
    let layout = manifest.layout();
    let head = Head {
        name: manifest.name().clone(),
        size: layout.size(),
        piece_size: layout.piece_size().into(),
        boot: boot(),
    };
    let mut all = serde_json::to_vec(&head)?;
    all.push(b'\n');
    all.extend(manifest.hashes());
    let marks_at = all.len() as u64;
    all.extend(layout.iter().map(|piece| if have.contains(piece) { THERE } else { MISSING }));
    let new = path.with_extension("new");
    let mut options = OpenOptions::new();
    let mut marks = options.write(true).create(true).truncate(true).open(&new)?;
    marks.write_all(&all)?;
    fs::rename(new, path.with_extension(MARKS))?;
    Ok((marks, marks_at))
}

/// The number of this boot of the machine; empty where there is none.
fn boot() -> String {
    let id = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default();
    id.trim().to_owned()
}

/// The manifests of all downloads in a folder; marks without bytes are removed.
fn list(dir: &Path) -> io::Result<Vec<Manifest>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path.extension().is_none_or(|ending| ending != MARKS) {
            continue;
        }
        if !path.with_extension(BYTES).exists() {
            let _ = fs::remove_file(&path);
            continue;
        }
        found.extend(parse_marks(&read_bounded(&path)?).map(|(_, manifest, _)| manifest));
    }
    found.sort_by(|a: &Manifest, b| a.name().cmp(b.name()));
    Ok(found)
}
