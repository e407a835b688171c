//! Nothing is destroyed: the trash, and files that are set aside because their name is another's.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};

use super::{Store, disk};
use crate::error::Result;
use crate::share::{FILE_NAME, FileId, FileName, Manifest};

/// The longest ending of a name that is kept as such, in bytes; `.tar.gz` has its last part kept.
const ENDING: usize = 32;

/// How much of a peer's name is kept in the name of a conflict copy, in bytes: all of a legal one.
const PEER_NAME: usize = 64;

/// How many files of one name the trash, and conflicts of one file, are numbered up to.
const NUMBERED: u32 = 10_000;

impl Store {
    /// Moves a file to the trash, and says where it is now.
    ///
    /// # Errors
    /// `not_found` when there is none; others when there can be no trash. The file is as it was then, and known.
    pub fn trash(&self, name: &FileName) -> Result<PathBuf> {
        let place = self
            .trash_folder()
            .and_then(|trash| numbered(&trash, name, |to| disk::rename_new(&self.path(name), to)))
            .map_err(|error| disk::error(format!("cannot move {name} to the trash"), error))?;
        self.known.lock().remove(name);
        Ok(place)
    }

    /// The trash, which is made anew where somebody has emptied it by removing it.
    pub(super) fn trash_folder(&self) -> io::Result<PathBuf> {
        let trash = self.private("trash");
        fs::create_dir_all(&trash).map(|()| trash)
    }

    /// Sets a file aside that is not the one of this name: it becomes a conflict copy, with the name that
    /// is returned ([`conflict_name`]).
    ///
    /// # Errors
    /// `not_found` when there is none.
    pub fn set_aside(&self, name: &FileName, peer: &str, id: FileId) -> Result<FileName> {
        self.known.lock().remove(name);
        self.put_aside(&self.path(name), name, peer, id)
    }

    /// A file that went to the trash though nobody had seen it, because it was saved a moment before, becomes a
    /// conflict copy.
    ///
    /// # Errors
    /// When it is no regular file, or cannot be read or moved: then it stays in the trash.
    pub(super) fn out_of_trash(&self, place: &Path, name: &FileName, peer: &str) -> Result<FileName> {
        let failed =
            |error| disk::error(format!("what was saved as {name} is at {}", place.display()), error);
        let (file, stamp) = disk::open_regular(place).map_err(failed)?;
        let manifest = Manifest::read(name.clone(), self.layout(stamp.size)?, file).map_err(failed)?;
        self.put_aside(place, name, peer, manifest.id())
    }

    fn put_aside(&self, place: &Path, name: &FileName, peer: &str, id: FileId) -> Result<FileName> {
        let conflict = conflict_name(name, peer, id);
        let aside = numbered(&self.dir, &conflict, |to| disk::rename_new(place, to))
            .map_err(|error| disk::error(format!("cannot set {name} aside"), error))?;
        aside.file_name().unwrap_or_default().to_string_lossy().parse()
    }
}

/// What a file is called that has the name of another: `STEM.conflict-PEER-HASH.EXT`, at most 255 bytes.
///
/// ```
/// use peerlab::share::{FileId, store::conflict_name};
/// let name = conflict_name(&"notes.txt".parse()?, "ada", FileId::from([0xab; 32]));
/// assert_eq!(name.as_str(), "notes.conflict-ada-abababab.txt");
/// # Ok::<(), peerlab::error::Error>(())
/// ```
pub fn conflict_name(name: &FileName, peer: &str, id: FileId) -> FileName {
    let plain = |c: char| if c.is_control() || matches!(c, '/' | '\\') { '_' } else { c };
    let peer: String = peer.chars().map(plain).collect();
    let peer = &peer[..peer.floor_char_boundary(PEER_NAME)];
    let conflict = with_suffix(name.as_str(), &format!(".conflict-{peer}-{}", id.short()));
    // Cannot fail: no part of it has anything that a name may not have, and it is short enough.
    FileName::try_from(conflict).unwrap_or_else(|_| name.clone())
}

/// Puts a file into a folder under its name, or the first numbered one that is free; says which.
pub(super) fn numbered(
    dir: &Path,
    name: &FileName,
    put: impl Fn(&Path) -> io::Result<()>,
) -> io::Result<PathBuf> {
    let mut to = dir.join(name.as_str());
    for n in 2..NUMBERED {
        match put(&to) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            put => return put.map(|()| to),
        }
        to.set_file_name(with_suffix(name.as_str(), &format!(".{n}")));
    }
    Err(io::Error::new(ErrorKind::AlreadyExists, format!("{NUMBERED} files of this name are there")))
}

/// STEM, the suffix, .EXT; the stem is cut where the whole would be too long.
fn with_suffix(name: &str, suffix: &str) -> String {
    let ending = name.rfind('.').filter(|&dot| dot > 0 && name.len() - dot <= ENDING);
    let (stem, ending) = name.split_at(ending.unwrap_or(name.len()));
    let room = FILE_NAME.saturating_sub(suffix.len() + ending.len());
    let stem = &stem[..stem.floor_char_boundary(room)];
    format!("{stem}{suffix}{ending}")
}
