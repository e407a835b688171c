//! Files on the disk: the shared folder, what is offered from it, and what is not whole yet.
//!
//! # The rules
//! - Only regular files are offered. A link, a FIFO or a device is never opened for somebody else: files are
//!   opened without following links, and looked at once they are open.
//! - A file that is fetched grows in `DIR/.peerlab/parts`, named by its id, every piece at its place. It
//!   appears under its name only when it is whole: fsync, rename, fsync of the folder.
//! - What was fetched survives a kill. There is no second file that says which pieces are there and could be
//!   lost, or lie: whoever goes on hashes what he finds. A gigabyte takes about a second.
//!
//! # What is missing
//! The folder is read once, at the start; what changes later is not noticed.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use log::debug;
use parking_lot::Mutex;
use rustix::fs::{FlockOperation, Mode, OFlags, RenameFlags};

use crate::error::{Code, Error, Result};
use crate::share::{Bitfield, FileName, Layout, Manifest, Piece};

/// What is the program's own in a shared folder.
const OWN: &str = ".peerlab";

/// How often a file is hashed again because it changed meanwhile.
const ATTEMPTS: usize = 3;

/// A file that is offered, whole or in part.
#[derive(Debug)]
pub struct Shared {
    manifest: Manifest,
    place: Mutex<PathBuf>,
    have: Mutex<Bitfield>,
}

impl Shared {
    /// What is known of it.
    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Which pieces are there.
    pub fn have(&self) -> Bitfield {
        self.have.lock().clone()
    }

    /// Whether all are.
    pub fn is_whole(&self) -> bool {
        self.have.lock().is_full()
    }

    /// Whether this piece is there.
    pub fn has(&self, piece: Piece) -> bool {
        self.have.lock().contains(piece)
    }

    /// Opens it to be sent.
    ///
    /// # Errors
    /// `not_found` when it is no longer what it was.
    pub fn open(&self) -> Result<File> {
        let place = self.place.lock().clone();
        let opened = open_regular(&place).map_err(|e| {
            Error::new(Code::NotFound, format!("{} cannot be read any more", self.manifest.name())).because(e)
        })?;
        match opened.metadata() {
            Ok(is) if is.len() == self.manifest.layout().size() => Ok(opened),
            _ => Err(Error::new(Code::NotFound, format!("{} has another size now", self.manifest.name()))
                .advise("ask another holder")),
        }
    }

    /// Where it lies.
    pub fn place(&self) -> PathBuf {
        self.place.lock().clone()
    }
}

/// Opens a file if it is a regular one; a link is not followed, and a FIFO is not waited for.
fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::Error::other("not a regular file")) }
}

/// The names of what could be offered from a folder, in order.
///
/// # Errors
/// When the folder cannot be read.
pub fn names(folder: &Path) -> Result<Vec<FileName>> {
    let listed = || -> io::Result<Vec<FileName>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            let name = entry.file_name().into_string().ok().and_then(|name| name.parse().ok());
            match name {
                Some(name) if entry.file_type()?.is_file() => names.push(name),
                _ => debug!("{} is not offered", entry.path().display()),
            }
        }
        names.sort();
        Ok(names)
    };
    listed().map_err(|e| {
        Error::failed(format!("cannot read the folder {}", folder.display()))
            .because(e)
            .advise("give another with --data")
    })
}

/// A file of a folder, hashed, to be offered. One that changes meanwhile is hashed again, a few times.
///
/// # Errors
/// When it cannot be read, is no regular file, is too large, or does not stop changing.
pub fn hash(folder: &Path, name: &FileName) -> Result<Shared> {
    let path = folder.join(name.as_str());
    let failed = |e: io::Error| Error::failed(format!("cannot offer {}", path.display())).because(e);
    for _ in 0..ATTEMPTS {
        let file = open_regular(&path).map_err(failed)?;
        let before = file.metadata().map_err(failed)?;
        let layout = Layout::of(before.len())?;
        let manifest = match Manifest::read(name.clone(), layout, &file) {
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => continue,
            read => read.map_err(failed)?,
        };
        let after = file.metadata().map_err(failed)?;
        let stamp = |is: &fs::Metadata| (is.len(), is.mtime(), is.mtime_nsec());
        if stamp(&before) == stamp(&after) {
            let have = Mutex::new(Bitfield::full(layout));
            return Ok(Shared { manifest, place: Mutex::new(path), have });
        }
    }
    Err(Error::failed(format!("{} changes while it is read", path.display()))
        .advise("share it when whoever writes it is done"))
}

/// Copies a file into a folder, where it appears whole; a file system that can share its blocks does so.
///
/// # Errors
/// `not_found` when there is no such file; `conflict` when the folder has another of that name.
pub fn import(folder: &Path, path: &Path) -> Result<FileName> {
    let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
    let name: FileName = name.unwrap_or_default().parse()?;
    let place = folder.join(name.as_str());
    let mut source = File::open(path).map_err(|e| match e.kind() {
        ErrorKind::NotFound => Error::new(Code::NotFound, format!("there is no file {}", path.display()))
            .advise("check its path"),
        _ => Error::failed(format!("cannot open {}", path.display())).because(e),
    })?;
    if !source.metadata().is_ok_and(|is| is.is_file()) {
        return Err(Error::failed(format!("{} is not a file", path.display())).advise("add a regular file"));
    }
    make(folder)?;
    if let (Ok(a), Ok(b)) = (fs::metadata(path), fs::symlink_metadata(&place))
        && (a.dev(), a.ino()) == (b.dev(), b.ino())
    {
        return Ok(name); // It is there already.
    }
    let failed = |e: io::Error| {
        Error::failed(format!("cannot copy {} into {}", path.display(), folder.display()))
            .because(e)
            .advise("make room there, or give another folder with --data")
    };
    let mut copy = tempfile::Builder::new().prefix("add-").tempfile_in(folder.join(OWN)).map_err(failed)?;
    io::copy(&mut source, copy.as_file_mut()).map_err(failed)?;
    copy.as_file().sync_all().map_err(failed)?;
    copy.persist_noclobber(&place).map_err(|e| match e.error.kind() {
        ErrorKind::AlreadyExists => in_the_way(&place),
        _ => failed(e.error),
    })?;
    sync_folder(folder).map_err(failed)?;
    Ok(name)
}

/// The numbers of the pieces of a folder's file that are not those of the manifest; those that are missing
/// at its end, too.
///
/// # Errors
/// `not_found` when there is no such file.
pub fn bad_pieces(folder: &Path, manifest: &Manifest) -> Result<Vec<u32>> {
    let path = folder.join(manifest.name().as_str());
    let file = open_regular(&path).map_err(|e| {
        Error::new(Code::NotFound, format!("cannot read {}", path.display()))
            .because(e)
            .advise("`down` fetches it; --data names the folder")
    })?;
    let (mut bad, mut buffer) = (Vec::new(), Vec::new());
    for piece in manifest.layout().iter() {
        match manifest.verify_next(piece, &file, &mut buffer) {
            Ok(true) => {}
            Ok(false) => bad.push(piece.index()),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => bad.push(piece.index()),
            Err(e) => return Err(Error::failed(format!("cannot read {}", path.display())).because(e)),
        }
    }
    let longer = file.metadata().is_ok_and(|is| is.len() > manifest.layout().size());
    if longer && bad.is_empty() {
        bad.extend(manifest.layout().pieces().checked_sub(1));
    }
    Ok(bad)
}

fn in_the_way(place: &Path) -> Error {
    Error::new(Code::Conflict, format!("{} is there already", place.display()))
        .advise("rename or remove it first")
}

/// Removes a copy that [`import`] made.
pub fn discard(shared: &Shared) {
    let place = shared.place();
    if let Err(e) = fs::remove_file(&place) {
        debug!("cannot remove {}: {e}", place.display());
    }
}

/// Makes a shared folder, and in it what is the program's own.
///
/// # Errors
/// When it cannot be made.
pub fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder.join(OWN)).map_err(|e| {
        Error::failed(format!("cannot make the folder {}", folder.display()))
            .because(e)
            .advise("give another with --data")
    })
}

fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// A file that is being fetched.
#[derive(Debug)]
pub struct Partial {
    file: File,
    shared: std::sync::Arc<Shared>,
    folder: PathBuf,
    part: PathBuf,
    replace: bool,
}

impl Partial {
    /// Begins to fetch a file into `folder`, or goes on with what is there. `from` is a file whose pieces
    /// are tried first, and which is replaced in the end: for repairs.
    ///
    /// # Errors
    /// `conflict` when a file of that name is in the way; `busy` when it is being fetched already; a plain
    /// failure when nothing can be written there.
    pub fn begin(folder: &Path, manifest: &Manifest, from: Option<&Path>) -> Result<Self> {
        let target = folder.join(manifest.name().as_str());
        if from.is_none() && fs::symlink_metadata(&target).is_ok() {
            return Err(in_the_way(&target));
        }
        let parts = folder.join(OWN).join("parts");
        let part = parts.join(manifest.id().to_string());
        let failed = |e: io::Error| {
            Error::failed(format!("cannot write {}", part.display()))
                .because(e)
                .advise("make room there, or choose another folder")
        };
        fs::create_dir_all(&parts).map_err(failed)?;
        let mut file = File::options()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&part)
            .map_err(failed)?;
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
            Error::new(Code::Busy, format!("{} is being fetched into this folder already", manifest.name()))
                .advise("wait for it, or choose another folder")
        })?;
        let layout = manifest.layout();
        let new = file.metadata().map_err(failed)?.len() == 0;
        if let (true, Some(from)) = (new, from) {
            io::copy(&mut File::open(from).map_err(failed)?, &mut file).map_err(failed)?;
        }
        file.set_len(layout.size()).map_err(failed)?;
        let mut have = Bitfield::empty(layout);
        if !new || from.is_some() {
            file.seek(SeekFrom::Start(0)).map_err(failed)?;
            let mut buffer = Vec::new();
            for piece in layout.iter() {
                if manifest.verify_next(piece, &file, &mut buffer).map_err(failed)? {
                    have.insert(piece);
                }
            }
        }
        let shared =
            Shared { manifest: manifest.clone(), place: Mutex::new(part.clone()), have: Mutex::new(have) };
        let replace = from.is_some();
        Ok(Self { file, shared: shared.into(), folder: folder.to_owned(), part, replace })
    }

    /// The file as it is offered meanwhile.
    pub fn shared(&self) -> &std::sync::Arc<Shared> {
        &self.shared
    }

    /// Writes a piece that was verified; it is there from now on.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn write(&self, piece: Piece, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, piece.offset())?;
        self.shared.have.lock().insert(piece);
        Ok(())
    }

    /// The file is whole: it appears under its name. Gives the time that the disk took.
    ///
    /// # Errors
    /// `conflict` when a file of that name has appeared meanwhile; a plain failure of the disk.
    pub fn finish(self) -> Result<Duration> {
        let target = self.folder.join(self.shared.manifest.name().as_str());
        let failed = |e: io::Error| {
            Error::failed(format!("cannot finish {}", target.display()))
                .because(e)
                .advise("the pieces are kept; `down` goes on with them")
        };
        let began = Instant::now();
        self.file.sync_all().map_err(failed)?;
        let flags = if self.replace { RenameFlags::empty() } else { RenameFlags::NOREPLACE };
        let at = rustix::fs::CWD;
        rustix::fs::renameat_with(at, &self.part, at, &target, flags).map_err(|e| match e {
            rustix::io::Errno::EXIST => in_the_way(&target),
            _ => failed(e.into()),
        })?;
        *self.shared.place.lock() = target.clone();
        sync_folder(&self.folder).map_err(failed)?;
        let took = began.elapsed();
        // What is empty and ours need not stay; where it is not empty, it does.
        let _ = fs::remove_dir(self.folder.join(OWN).join("parts"));
        let _ = fs::remove_dir(self.folder.join(OWN));
        Ok(took)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(size: usize) -> Vec<u8> {
        (0..size as u64).map(|i| ((i * i) >> 7) as u8).collect()
    }

    #[test]
    fn only_regular_files_with_plain_names_are_offered() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("b"), "x").unwrap();
        fs::write(dir.path().join("a"), "").unwrap();
        fs::write(dir.path().join(".hidden"), "x").unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        std::os::unix::fs::symlink("/etc/passwd", dir.path().join("link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            dir.path().join("fifo"),
            rustix::fs::FileType::Fifo,
            Mode::RUSR,
            0,
        )
        .unwrap();
        let found: Vec<String> = names(dir.path()).unwrap().iter().map(ToString::to_string).collect();
        assert_eq!(found, ["a", "b"]);
        for bad in ["link", "fifo", "folder"] {
            assert!(hash(dir.path(), &bad.parse().unwrap()).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_file_appears_whole_and_what_was_written_before_a_kill_is_found_again() {
        let (dir, bytes) = (tempfile::tempdir().unwrap(), bytes(600_000));
        let layout = Layout::of(600_000).unwrap();
        let manifest = Manifest::read("a".parse().unwrap(), layout, &bytes[..]).unwrap();
        let cut = |index| {
            let piece = layout.piece(index).unwrap();
            (piece, &bytes[piece.offset() as usize..][..piece.len()])
        };
        let partial = Partial::begin(dir.path(), &manifest, None).unwrap();
        assert_eq!(partial.shared().have().count(), 0);
        partial.write(cut(1).0, cut(1).1).unwrap();
        let busy = Partial::begin(dir.path(), &manifest, None).unwrap_err();
        assert_eq!(busy.code(), Code::Busy);
        drop(partial);
        let partial = Partial::begin(dir.path(), &manifest, None).unwrap();
        assert_eq!(partial.shared().have().iter().collect::<Vec<_>>(), [cut(1).0]);
        for index in [0, 2] {
            partial.write(cut(index).0, cut(index).1).unwrap();
        }
        assert!(!dir.path().join("a").exists());
        partial.finish().unwrap();
        assert_eq!(fs::read(dir.path().join("a")).unwrap(), bytes);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
        assert_eq!(Partial::begin(dir.path(), &manifest, None).unwrap_err().code(), Code::Conflict);
    }

    #[test]
    fn a_repair_begins_with_the_good_pieces_and_replaces_the_file() {
        let (dir, good) = (tempfile::tempdir().unwrap(), bytes(600_000));
        let layout = Layout::of(600_000).unwrap();
        let manifest = Manifest::read("a".parse().unwrap(), layout, &good[..]).unwrap();
        let mut bad = good.clone();
        bad[300_000] ^= 1;
        let path = dir.path().join("a");
        fs::write(&path, bad).unwrap();
        let partial = Partial::begin(dir.path(), &manifest, Some(&path)).unwrap();
        let missing: Vec<_> = partial.shared().have().missing().collect();
        assert_eq!(missing, [layout.piece(1).unwrap()]);
        partial.write(missing[0], &good[262_144..524_288]).unwrap();
        partial.finish().unwrap();
        assert_eq!(fs::read(path).unwrap(), good);
    }
}
