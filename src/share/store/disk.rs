//! What the store asks of the operating system, each in one small function.

use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt};
use std::path::Path;

use rustix::fs::{CWD, OFlags, RenameFlags};
use rustix::io::Errno;

use crate::error::{Code, Error};

/// How a file looks from outside. While this stays the same, so do its bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stamp {
    /// Its size in bytes.
    pub size: u64,
    /// When it was last written to: seconds since 1970, and nanoseconds.
    pub changed: (i64, i64),
    /// Which file it is: device and inode.
    pub file: (u64, u64),
}

impl Stamp {
    pub(super) fn of(meta: &Metadata) -> Self {
        Self { size: meta.size(), changed: (meta.mtime(), meta.mtime_nsec()), file: (meta.dev(), meta.ino()) }
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

/// Renames a file, unless there is another of the new name. In one step where the file system can; else
/// both names are there for a moment.
///
/// # Errors
/// [`ErrorKind::AlreadyExists`] when there is another.
pub(super) fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    match rustix::fs::renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => {
            fs::hard_link(from, to)?;
            fs::remove_file(from)
        }
        renamed => Ok(renamed?),
    }
}

/// Exchanges two files in one step, so that nothing that anybody puts there meanwhile is overwritten; false where
/// the file system cannot (network disks, old kernels).
pub(super) fn exchange(a: &Path, b: &Path) -> io::Result<bool> {
    match rustix::fs::renameat_with(CWD, a, CWD, b, RenameFlags::EXCHANGE) {
        Err(Errno::INVAL | Errno::NOSYS | Errno::NOTSUP) => Ok(false),
        exchanged => Ok(exchanged.map(|()| true)?),
    }
}

/// Brings the names in a folder to the disk.
pub(super) fn sync_folder(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

/// Copies `size` bytes to the beginning of an empty file: by sharing the blocks, or by copying those that
/// there are. What is a hole stays one.
pub(super) fn copy(mut from: &File, mut to: &File, size: u64) -> io::Result<()> {
    if rustix::fs::ioctl_ficlone(to, from).is_ok() {
        return Ok(());
    }
    to.set_len(size)?;
    let mut at = 0;
    while at < size {
        let data = match rustix::fs::seek(from, rustix::fs::SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            data => data.unwrap_or(at),
        };
        let end = rustix::fs::seek(from, rustix::fs::SeekFrom::Hole(data)).unwrap_or(size).min(size);
        from.seek(SeekFrom::Start(data))?;
        to.seek(SeekFrom::Start(data))?;
        // The standard library lets the kernel do it (copy_file_range, sendfile) where that works.
        if end <= data || io::copy(&mut from.take(end - data), &mut to)? < end - data {
            break;
        }
        at = end;
    }
    Ok(())
}

/// Makes a stretch of a file a hole, which reads as zeros and takes no room; false where that is not
/// possible.
pub(super) fn punch(file: &File, offset: u64, len: u64) -> bool {
    use rustix::fs::FallocateFlags as Flags;
    rustix::fs::fallocate(file, Flags::PUNCH_HOLE | Flags::KEEP_SIZE, offset, len).is_ok()
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
