//! The shared folder: what is offered, what is on its way, and what was thrown away.
//!
//! # The problem
//! People put files into a folder, edit them and delete them, while peers read it and write to it. A
//! download may be killed in any instruction, the disk may be full, and a name may be a trap: a link to
//! `/etc/passwd`, a FIFO that blocks the program that opens it. A look into the folder must show whole
//! files only, and a download must not fetch anything twice.
//!
//! # The rules
//! ```text
//! DIR/NAME                  what is offered: regular files with plain names, nothing else
//! DIR/.peerlab/marker       says that this is the folder it was, and not an empty mount point
//! DIR/.peerlab/partial/     downloads on their way: the bytes, and beside them what they should be
//! DIR/.peerlab/incoming/    copies that `add` is making
//! DIR/.peerlab/trash/       what was dropped
//! DIR/.peerlab/drops        what the peer remembers of that
//! ```
//!
//! - **Whole or not at all.** A file is written elsewhere, brought to the disk (fsync), and only then renamed
//!   to its name, never over another file; then the folder is brought to the disk. Nothing shows half.
//! - **Only regular files.** No link is followed, no FIFO or device is opened; that is looked at before the
//!   file is opened and again after it. Where a name came from does not matter: only a [`FileName`] gets here.
//! - **Unchanged files cost a stat.** A manifest is kept with the size, times and inode of its file ([`Stamp`]).
//!   Another stamp means "hash it again"; where the bytes are the same, the new stamp is remembered. A file whose
//!   stamp changes while it is hashed is `busy`: try later. A rename changes a stamp, too; so that of
//!   a file that is published is taken after it.
//! - **Nothing is destroyed.** What is dropped goes to the trash, from which it can be restored; what stands in the way
//!   is set aside under another name; `add` copies and never moves.
//! - **Constant memory.** A piece at a time where it must be whole, else 128 KiB.
//!
//! # An example
//! `add ~/a.bin`: a copy in `incoming`, hashed, synced, renamed to `DIR/a.bin`. A download of `b.bin`: its
//! pieces go to `partial` one by one, each verified first ([`Partial`]); after a kill it goes on with what is
//! there; when all are, it is renamed to `DIR/b.bin`. `verify b.bin` finds a piece that has rotted: a download that
//! begins with the good ones ([`Store::repair`]), and whose bytes take the place of the damaged ones
//! ([`Store::replace`]).
//!
//! # What is missing
//! A file that is edited in the same tick of the file system's clock in which it was hashed, to the same size, has
//! the same stamp and goes unnoticed here; peers that download it notice. Manifests are kept in memory only: after a
//! restart everything is hashed once more. The holes of a sparse file may fill up when it is added or downloaded.

use std::collections::{BTreeSet, HashMap};
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{FileExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tempfile::NamedTempFile;

use super::manifest::unless_stopped;
use super::{FileId, FileName, Layout, Manifest, Piece};
use crate::error::{Code, Error, Result};

mod disk;
mod partial;
#[cfg(test)]
mod tests;
mod trash;

pub use disk::Stamp;
pub(crate) use disk::sync_folder;
pub use partial::{Partial, Synced, Written};
pub use trash::{Thrown, conflict_name, is_conflict_copy};

/// Where everything is that is not offered.
const PRIVATE: &str = ".peerlab";

/// The folders in it.
const INNER: [&str; 3] = ["partial", "incoming", "trash"];

/// How many bytes are copied at once; after each, a copy may be stopped.
const COPIED: u64 = 64 << 20;

/// A shared folder.
#[derive(Debug, Default)]
pub struct Store {
    pub(crate) dir: PathBuf,
    /// The size of the pieces of files that are published here, if it is not
    /// [`piece_size_for`](super::manifest::piece_size_for).
    piece_size: Option<u64>,
    /// Held by the peer that watches the folder.
    watched: Option<File>,
    /// Threads that hash a large file are to stop.
    stopped: AtomicBool,
    /// The downloads that nobody had touched for a week when the folder was opened, and that were given up.
    pub(crate) expired: Vec<FileName>,
    /// Manifests of files as they were when they had this stamp. The lock is never held across I/O.
    known: Mutex<HashMap<FileName, (Stamp, Arc<Manifest>)>>,
    /// Files whose bytes have changed without a trace in their stamp.
    rotten: Mutex<HashMap<FileName, Stamp>>,
}

/// What lies in the folder.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// The files that could be offered, in the order of their names.
    pub files: Vec<(FileName, Stamp)>,
    /// What else lies there, and why it is not offered. Hidden files are not named.
    pub ignored: BTreeSet<(String, &'static str)>,
}

impl Store {
    /// Opens a shared folder, and makes it if there is none.
    ///
    /// # Errors
    /// When it cannot be read or written.
    pub fn open(dir: impl Into<PathBuf>) -> Result<Self> {
        let mut store = Self { dir: dir.into(), ..Self::default() };
        store.make().map_err(|error| {
            if store.dir.is_file() {
                return Error::failed(format!("{} is a file, and no folder", store.dir.display()))
                    .advise("give the folder into which files go: with -o for `down`, else with --data");
            }
            disk::error(format!("cannot keep files in {}", store.dir.display()), error).advise(
                "see to its permissions, or choose another folder: with -o for `down`, else with --data",
            )
        })?;
        Ok(store)
    }

    fn make(&mut self) -> io::Result<()> {
        for inner in INNER {
            fs::create_dir_all(self.private(inner))?;
        }
        if !self.has_marker() {
            fs::write(self.private("marker"), "peerlab keeps here what it needs for the folder above.\n")?;
        }
        self.clear_incoming()?;
        self.expired = self.clear_partial()?;
        Ok(())
    }

    /// From now on this is the only peer that offers what lies in the folder and changes it by the manager's orders,
    /// until the store is dropped. Others may save files there.
    ///
    /// # Errors
    /// `busy` when another peer watches it.
    pub fn watch(&mut self) -> Result<()> {
        self.watched = self.lock_marker().ok_or_else(|| {
            Error::new(Code::Busy, format!("another peer watches the folder {}", self.dir.display())).advise(
                "give this one another folder with --data; without --data it is called after its --name",
            )
        })?;
        Ok(())
    }

    /// Whether this peer watches it.
    pub fn is_watched(&self) -> bool {
        self.watched.is_some()
    }

    /// Whether a peer of another program watches this folder.
    pub fn is_watched_elsewhere(&self) -> bool {
        !self.is_watched() && self.lock_marker().is_none()
    }

    /// The marker, locked, unless another has locked it.
    fn lock_marker(&self) -> Option<Option<File>> {
        // One that saved a file here may just have taken the marker away.
        let marker = File::options().create(true).append(true).open(self.private("marker")).ok();
        let is_locked = marker.as_ref().is_some_and(|marker| disk::lock(marker).is_err());
        (!is_locked).then_some(marker)
    }

    /// Whether it is this folder, by whatever path.
    pub fn is_at(&self, folder: &Path) -> bool {
        let same = |own: PathBuf| folder.canonicalize().is_ok_and(|other| own == other);
        self.dir == folder || self.dir.canonicalize().is_ok_and(same)
    }

    /// Where the peer remembers what was dropped.
    pub fn drops(&self) -> PathBuf {
        self.private("drops")
    }

    /// How a file looks now; `None` where there is none.
    pub fn stamp(&self, name: &FileName) -> Option<Stamp> {
        fs::symlink_metadata(self.path(name)).ok().map(|meta| Stamp::of(&meta))
    }

    /// Looks whether a name is free, before anything is fetched for it.
    ///
    /// # Errors
    /// `conflict` when something of this name lies in the folder.
    pub fn is_free(&self, name: &FileName) -> Result<()> {
        self.stamp(name).map_or(Ok(()), |_| Err(taken(name)))
    }

    /// Whether the folder is still the one that was opened. An unmounted disk leaves an empty folder of
    /// the same name, which must not look as if somebody had deleted everything.
    pub fn has_marker(&self) -> bool {
        self.private("marker").exists()
    }

    /// Takes `.peerlab` away again if nothing is in it: for a folder into which a file was only saved. A folder that a
    /// peer watches keeps it.
    pub fn tidy(&self) {
        let Some(_locked) = disk::lock_idle(&self.private("marker")) else { return };
        let is_empty =
            |inner: &str| fs::read_dir(self.private(inner)).is_ok_and(|mut dir| dir.next().is_none());
        if INNER.into_iter().all(is_empty) {
            // What cannot be removed, because somebody has just put something into it, may stay.
            let _ = INNER.into_iter().try_for_each(|inner| fs::remove_dir(self.private(inner)));
            let _ = fs::remove_file(self.private("marker"));
            let _ = fs::remove_dir(self.dir.join(PRIVATE));
        }
    }

    /// What lies in the folder. Costs a stat for each file, and opens none.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn scan(&self) -> Result<Scan> {
        let failed = |error| disk::error(format!("cannot read the folder {}", self.dir.display()), error);
        let mut scan = Scan::default();
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let meta = match entry.metadata() {
                Err(error) if error.kind() == ErrorKind::NotFound => continue,
                meta => meta.map_err(failed)?,
            };
            let name = entry.file_name();
            if name.as_encoded_bytes().starts_with(b".") {
                continue;
            }
            let shown = name.to_string_lossy().into_owned();
            let plain = name.into_string().ok().and_then(|name| FileName::try_from(name).ok());
            match (disk::not_regular(&meta), plain) {
                (None, Some(name)) => scan.files.push((name, Stamp::of(&meta))),
                (why, _) => {
                    scan.ignored.insert((shown, why.unwrap_or("its name is not a plain one")));
                }
            }
        }
        scan.files.sort_unstable_by(|(a, _), (b, _)| a.cmp(b));
        let there = |name: &FileName| scan.files.binary_search_by(|(other, _)| other.cmp(name)).is_ok();
        let gone: Vec<FileName> = self.known.lock().keys().filter(|name| !there(name)).cloned().collect();
        // What was learned while the folder was read need not have been seen in it.
        for name in gone.iter().filter(|name| self.stamp(name).is_none()) {
            self.known.lock().remove(name);
        }
        Ok(scan)
    }

    /// The manifest of a file as it was when it had this stamp, if it was read then. Touches no disk.
    pub fn known(&self, name: &FileName, stamp: &Stamp) -> Option<Arc<Manifest>> {
        let known = self.known.lock();
        known.get(name).filter(|(then, _)| then == stamp).map(|(_, manifest)| manifest.clone())
    }

    /// The manifest of a file: the known one if the file is unchanged, else it is read and hashed.
    ///
    /// # Errors
    /// `not_found` when there is no such file; `busy` when somebody is writing to it: try later; others when it is
    /// not a regular one, or cannot be read.
    pub fn manifest(&self, name: &FileName) -> Result<Arc<Manifest>> {
        self.read(name).map(|(manifest, _)| manifest)
    }

    /// The same, with the stamp that the file had then: for what is to be done to this very file.
    ///
    /// # Errors
    /// Those of [`Store::manifest`].
    pub fn read(&self, name: &FileName) -> Result<(Arc<Manifest>, Stamp)> {
        let (file, stamp) = self.open_file(name)?;
        Ok((self.read_steady(name, stamp, file)?, stamp))
    }

    /// Makes all that hash a file here fail soon: the peer leaves, and a large file would keep it for seconds.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    /// Hashes what `bytes` yields, and looks whether the file stayed the same meanwhile.
    fn read_steady(&self, name: &FileName, stamp: Stamp, bytes: impl io::Read) -> Result<Arc<Manifest>> {
        if let Some(known) = self.known(name, &stamp) {
            return Ok(known);
        }
        // Whatever the reason: `busy` would say that it is being written to.
        let failed = |error| Error::failed(format!("cannot read {name}")).because(error);
        let read = Manifest::read(name.clone(), self.layout(stamp.size)?, bytes, &self.stopped);
        let is_shorter = read.as_ref().is_err_and(|error| error.kind() == ErrorKind::UnexpectedEof);
        // It is opened again: of an open file NFS may show what it was seconds ago.
        if is_shorter || (read.is_ok() && self.open_file(name)?.1 != stamp) {
            return Err(Error::new(Code::Busy, format!("{name} is being written to"))
                .advise("try again when nobody writes to it"));
        }
        let manifest = Arc::new(read.map_err(failed)?);
        self.learn(&manifest, stamp);
        Ok(manifest)
    }

    fn learn(&self, manifest: &Arc<Manifest>, stamp: Stamp) {
        self.known.lock().insert(manifest.name().clone(), (stamp, Arc::clone(manifest)));
    }

    /// A file that lies at `from`, and was hashed when it had the stamp `before`, gets its name, unless another has it;
    /// then the folder is brought to the disk. A new name changes a stamp. The file is known under the new one, unless
    /// somebody has written to it meanwhile.
    fn give_name(&self, manifest: &Arc<Manifest>, file: &File, before: Stamp, from: &Path) -> io::Result<()> {
        disk::rename_own(from, &self.path(manifest.name()))?;
        let stamp = Stamp::of(&file.metadata()?);
        if stamp.is_renamed(&before) {
            self.learn(manifest, stamp);
        }
        disk::sync_folder(&self.dir)
    }

    fn layout(&self, size: u64) -> Result<Layout> {
        self.piece_size.map_or_else(|| Layout::of(size), |piece_size| Layout::new(size, piece_size))
    }

    /// Opens a file of the folder for reading, whatever is in it, and says how it looks.
    ///
    /// # Errors
    /// `not_found` when there is none; others when it is not a regular file.
    fn open_file(&self, name: &FileName) -> Result<(File, Stamp)> {
        disk::open_regular(&self.path(name))
            .map_err(|error| disk::error(format!("cannot open {name}"), error))
    }

    /// Copies a file into the folder, and hashes the copy. The file itself is left as it is. A file of the folder is
    /// taken as it lies there.
    ///
    /// # Errors
    /// `conflict` when another file has its name; `busy` when it changes while it is copied, or the disk
    /// is full; others when it is no regular file, has no plain name, or cannot be read, and when it is to `stop`.
    pub fn import(&self, path: &Path, stop: &AtomicBool) -> Result<Arc<Manifest>> {
        let failed = |error| disk::error(format!("cannot add {}", path.display()), error);
        if path.is_dir() {
            return Err(Error::failed(format!("{} is a folder", path.display()))
                .advise("add the files in it one by one, or pack it into one file"));
        }
        let name = path.file_name().and_then(OsStr::to_str).ok_or_else(|| {
            Error::failed(format!("the name of {} is no UTF-8", path.display()))
                .advise("rename it first, or name a file")
        })?;
        let name = name.parse::<FileName>()?;
        // What a person names may be a link; what it leads to may not be a FIFO.
        let (from, stamp) =
            fs::canonicalize(path).and_then(|path| disk::open_regular(&path)).map_err(failed)?;
        if disk::open_regular(&self.path(&name)).is_ok_and(|(_, here)| here.file == stamp.file) {
            return self.manifest(&name);
        }
        let copy = self.copy(&from, stamp, stop).map_err(failed)?.ok_or_else(|| {
            Error::new(Code::Busy, format!("{} is not as long as it says", path.display()))
                .advise("add it when nobody writes to it; of a file in /proc or /sys add a copy")
        })?;
        let (bytes, before) = disk::open_regular(copy.path()).map_err(failed)?;
        let manifest = Manifest::read(name.clone(), self.layout(before.size)?, &bytes, stop);
        let manifest = Arc::new(manifest.map_err(failed)?);
        match self.give_name(&manifest, &bytes, before, copy.path()) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                let there = self.manifest(&name)?;
                if there.id() == manifest.id() { Ok(there) } else { Err(taken(&name)) }
            }
            named => named.map(|()| manifest).map_err(failed),
        }
    }

    /// Copies a file to `incoming` and brings the copy to the disk; `None` when the file changes meanwhile.
    fn copy(&self, from: &File, stamp: Stamp, stop: &AtomicBool) -> io::Result<Option<NamedTempFile>> {
        let mut copy = tempfile::Builder::new();
        let copy =
            copy.permissions(fs::Permissions::from_mode(0o666)).tempfile_in(self.private("incoming"))?;
        disk::lock(copy.as_file())?;
        // The standard library lets the kernel do it, which shares the blocks where the file system can.
        let mut size = 0;
        while let more @ 1.. = io::copy(&mut Read::take(from, COPIED), &mut copy.as_file())? {
            size += more;
            unless_stopped(stop)?;
        }
        copy.as_file().sync_all()?;
        Ok((size == stamp.size && Stamp::of(&from.metadata()?) == stamp).then_some(copy))
    }

    /// Removes what a killed `add` has left. A copy that is being made is locked.
    fn clear_incoming(&self) -> io::Result<()> {
        for entry in fs::read_dir(self.private("incoming"))? {
            let path = entry?.path();
            if let Some(_locked) = disk::lock_idle(&path) {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    /// Opens a file that was hashed before, to serve its pieces: reads nothing, so anybody may ask for it.
    ///
    /// # Errors
    /// `not_found` when there is none of this name and content, or it was changed since it was hashed.
    pub fn open_known(&self, name: &FileName, id: FileId) -> Result<Whole> {
        let (file, stamp) = self.open_file(name)?;
        let known = self.known(name, &stamp).filter(|manifest| manifest.id() == id);
        known.map(|manifest| Whole { manifest, file, stamp }).ok_or_else(|| changed(name))
    }

    /// Whether a piece is still on the disk what it was. Bytes can rot, or be written past the file system, and then no
    /// stamp shows it. A file with a wrong piece counts as never read.
    ///
    /// # Errors
    /// `not_found` when the file is no longer what it was.
    pub fn recheck(&self, manifest: &Manifest, piece: Piece) -> Result<()> {
        let whole = self.open_known(manifest.name(), manifest.id())?;
        let mut bytes = vec![0; piece.len()];
        let read = whole.file.read_exact_at(&mut bytes, piece.offset());
        if read.is_ok() && manifest.verify(piece, &bytes) {
            return Ok(());
        }
        self.known.lock().remove(manifest.name());
        self.rotten.lock().insert(manifest.name().clone(), whole.stamp);
        Err(changed(manifest.name()))
    }

    /// Whether a file with this stamp was found to have other bytes than those that were hashed under it.
    pub fn has_rotted(&self, name: &FileName, stamp: &Stamp) -> bool {
        self.rotten.lock().get(name) == Some(stamp)
    }

    fn path(&self, name: &FileName) -> PathBuf {
        self.dir.join(name.as_str())
    }

    fn private(&self, name: &str) -> PathBuf {
        self.dir.join(PRIVATE).join(name)
    }
}

/// A file that is offered whole, open: what is served is what was hashed.
///
/// Between the moment when a file was hashed and the moment when a piece of it is served, somebody may have
/// written to it. Its stamp tells: it is looked at for each piece, which costs one `fstat`, and where it is another
/// the answer is `not_found`. So no peer is sent bytes that it would have to throw away, and none is taken for a liar
/// because its owner has edited a file.
#[derive(Debug)]
pub struct Whole {
    manifest: Arc<Manifest>,
    /// [`Whole::check`] says whether it is still the one that was hashed.
    pub(crate) file: File,
    /// How it looked then.
    pub(crate) stamp: Stamp,
}

impl Whole {
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

fn changed(name: &FileName) -> Error {
    Error::new(Code::NotFound, format!("{name} was changed here")).advise("it is published again soon")
}

fn taken(name: &FileName) -> Error {
    Error::new(Code::Conflict, format!("another file is called {name} here"))
        .advise("rename one of the two, or move that one to another folder; `verify` mends a damaged one")
}
