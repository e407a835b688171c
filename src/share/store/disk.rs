//! What the store asks of the operating system, each in one small function.

use std::fs::{self, File, Metadata, OpenOptions, TryLockError};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{CWD, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::clock::Millis;
use crate::error::{Code, Error};

/// How a file looks from outside. While this stays the same, so do its bytes.
///
/// The time of its status (ctime) is what nobody can set: `cp -p` and `touch -r` give a changed file an old mtime,
/// but not an old ctime. The price is that more than bytes changes it: a rename, `chmod`, another link. So another
/// stamp says only "hash it again"; where the bytes are the same, the new stamp is remembered and nothing else
/// happens.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written to (mtime): seconds since 1970, and nanoseconds.
    pub written: (i64, i64),
    /// When its status last changed (ctime).
    pub status: (i64, i64),
    /// Which file it is: device and inode.
    pub file: (u64, u64),
}

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self {
            size: meta.size(),
            written: (meta.mtime(), meta.mtime_nsec()),
            status: (meta.ctime(), meta.ctime_nsec()),
            file: (meta.dev(), meta.ino()),
        }
    }

    /// Whether it is the same file as before with another name, and so with another ctime.
    pub(super) fn is_renamed(&self, before: &Self) -> bool {
        Self { status: self.status, ..*before } == *self
    }

    /// When it was put where it is, in milliseconds since 1970: the time of the last change of its status (ctime). A
    /// copy has one of its own, whatever time it says it was written at.
    pub(crate) fn put_at(&self) -> Option<Millis> {
        Millis::try_from(self.status.0 * 1000 + self.status.1 / 1_000_000).ok()
    }
}

/// Why this is not a regular file; `None` for one that is.
pub(super) fn not_regular(meta: &Metadata) -> Option<&'static str> {
    let kind = meta.file_type();
    if kind.is_file() {
        None
    } else if kind.is_symlink() {
        Some("a link; links are not followed")
    } else if kind.is_dir() {
        Some("a folder; only files are shared")
    } else if kind.is_fifo() || kind.is_socket() {
        Some("a FIFO or socket, not a file")
    } else {
        Some("a device, not a file")
    }
}

/// Opens a regular file for reading; anything else is not even opened. In case it becomes something else
/// in between, opening follows no link and does not block, and what was opened is looked at again.
pub(super) fn open_regular(path: &Path) -> io::Result<(File, Stamp)> {
    let refuse = |meta: &Metadata| not_regular(meta).map_or(Ok(()), |why| Err(io::Error::other(why)));
    refuse(&fs::symlink_metadata(path)?)?;
    let file = OpenOptions::new().read(true).custom_flags(careful()).open(path)?;
    let meta = file.metadata()?;
    refuse(&meta)?;
    Ok((file, Stamp::of(&meta)))
}

/// Opens a file of our own for reading and writing, and makes it if there is none.
pub(super) fn open_own(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false).custom_flags(careful()).open(path)
}

fn careful() -> i32 {
    (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits() as i32
}

/// A file of our own, locked, so that no other program writes to it until it is dropped; `None` where one does, or
/// there is no such file.
pub(super) fn lock_idle(path: &Path) -> Option<File> {
    // NFS lets nobody lock what is open only for reading.
    let file = File::options().read(true).write(true).open(path).ok();
    file.filter(|file| file.try_lock().is_ok())
}

/// Locks a file of our own until it is dropped. A file system that knows no locks is trusted.
///
/// # Errors
/// [`ErrorKind::WouldBlock`] when another has the lock.
pub(super) fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(no @ TryLockError::WouldBlock) => Err(no.into()),
        _ => Ok(()),
    }
}

/// Renames what people may save to at any moment, unless there is something of the new name. Where the file system
/// cannot do it in one step (NFS), an empty file is there first, and stays if this program is killed then: what is
/// moved is what has the name in that moment.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] when there is something.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    rename_at_once(from, to).unwrap_or_else(|| rename_over_empty(from, to))
}

fn rename_over_empty(from: &Path, to: &Path) -> io::Result<()> {
    File::create_new(to)?;
    fs::rename(from, to).inspect_err(|_| {
        // Over a network it may have been done, though it says that it was not.
        if from.exists() && fs::metadata(to).is_ok_and(|is| is.len() == 0) {
            let _ = fs::remove_file(to);
        }
    })
}

/// Renames a file to which nobody else writes under its old name, so that nobody sees anything but all of it under the
/// new one. Where the file system cannot do it in one step, both names are there for a moment.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] when there is something of the new name.
pub(super) fn rename_own(from: &Path, to: &Path) -> io::Result<()> {
    rename_at_once(from, to).unwrap_or_else(|| match fs::hard_link(from, to) {
        // It knows no links either.
        Err(e) if matches!(e.kind(), ErrorKind::PermissionDenied | ErrorKind::Unsupported) => {
            rename_over_empty(from, to)
        }
        linked => linked.and_then(|()| fs::remove_file(from)),
    })
}

/// `None` where the file system cannot do that.
fn rename_at_once(from: &Path, to: &Path) -> Option<io::Result<()>> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => None,
        renamed => Some(renamed.map_err(Into::into)),
    }
}

/// Brings the names in a folder to the disk, where the file system can do that.
pub(crate) fn sync_folder(dir: &Path) -> io::Result<()> {
    match File::open(dir)?.sync_all() {
        Err(e) if e.kind() == ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// A failure of the disk as an error of ours. A full disk is `busy`: later it may not be.
pub(super) fn error(what: String, cause: io::Error) -> Error {
    match cause.kind() {
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => Error::new(Code::Busy, what)
            .because("the disk is full")
            .advise("make room; nothing is torn, and it goes on from where it is"),
        ErrorKind::NotFound => Error::new(Code::NotFound, what).because(cause),
        _ => Error::failed(what).because(cause),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_locked_is_open_for_writing_as_nfs_wants_it_and_nobody_else_locks_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.part");
        assert!(lock_idle(&path).is_none());
        fs::write(&path, "").unwrap();
        let mut locked = lock_idle(&path).unwrap();
        io::Write::write_all(&mut locked, b"x").unwrap();
        assert!(lock_idle(&path).is_none());
        assert_eq!(lock(&File::open(&path).unwrap()).unwrap_err().kind(), ErrorKind::WouldBlock);
    }

    #[test]
    fn a_file_system_that_renames_in_two_steps_replaces_nothing_either() {
        let dir = tempfile::tempdir().unwrap();
        let [from, to] = ["from", "to"].map(|name| dir.path().join(name));
        fs::write(&from, "mine").unwrap();
        rename_over_empty(&from, &to).unwrap();
        assert_eq!((fs::read_to_string(&to).unwrap(), from.exists()), ("mine".into(), false));
        fs::write(&from, "another").unwrap();
        assert_eq!(rename_over_empty(&from, &to).unwrap_err().kind(), ErrorKind::AlreadyExists);
        assert_eq!([&from, &to].map(|path| fs::read_to_string(path).unwrap()), ["another", "mine"]);
        fs::remove_file(&to).unwrap();
        fs::remove_file(&from).unwrap();
        rename_over_empty(&from, &to).unwrap_err();
        assert!(to.exists(), "what is there may be all that is left");
        fs::remove_file(&to).unwrap();
        fs::create_dir(&from).unwrap();
        rename_over_empty(&from, &to).unwrap_err();
        assert!(!to.exists(), "nothing is left of a rename that was not done");
    }
}
