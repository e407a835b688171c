//! Nothing is destroyed: files that are thrown away and taken back, set aside because their name is another's, or
//! repaired.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::iter;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::disk::{self, Stamp};
use super::partial::{Partial, Synced, WHOLE, read_piece};
use super::{Store, taken};
use crate::error::{Code, Error, Result};
use crate::share::{FILE_NAME, FileId, FileName, Manifest, PeerName};

/// The longest ending of a name that is kept as such, in bytes; `.tar.gz` has its last part kept.
const ENDING: usize = 32;

/// How many files of one name the trash, and conflicts of one file, are numbered up to.
const NUMBERED: u32 = 10_000;

/// How many versions of a conflict copy the trash keeps: the first ones, which nobody can push out, and the last. With
/// the last alone, another peer could destroy an edit: drop the copy, offer other bytes under its name, and drop these.
const VERSIONS: usize = 10;

/// How many of its places are looked at to see whether the trash has a file.
const GLANCE: usize = 10;

/// How many files that are saved under the name of a repaired one, faster than it can take its place, make way for
/// it.
const SAVES: u32 = 100;

/// A file in the trash, hashed.
pub struct Thrown {
    /// Which bytes it is, under the name that it is to get.
    pub(crate) manifest: Arc<Manifest>,
    place: PathBuf,
    stamp: Stamp,
}

impl Store {
    /// Moves a file to the trash, if it is still the one that looked like this, and says where it is now. `None`:
    /// somebody has saved another one since. Of a conflict copy ten versions are kept there: a program that goes on
    /// writing to one would fill it.
    ///
    /// # Errors
    /// `not_found` when there is none; others when there can be no trash. The file is as it was then, and known.
    pub fn trash(&self, name: &FileName, was: &Stamp) -> Result<Option<PathBuf>> {
        let place = self.throw(name)?;
        if !self.is_it(name, &place, was) {
            return Ok(None);
        }
        let mut kept: Vec<PathBuf> = places(&self.private("trash"), name).take(VERSIONS).collect();
        if !is_any_conflict_copy(name) || kept.contains(&place) {
            return Ok(Some(place));
        }
        let last = kept.pop().filter(|last| fs::rename(&place, last).is_ok());
        Ok(Some(last.unwrap_or(place)))
    }

    /// Moves what has a name to a free place in the trash.
    fn throw(&self, name: &FileName) -> Result<PathBuf> {
        let trash = self.private("trash");
        // Somebody may have emptied it by removing it.
        let place = fs::create_dir_all(&trash)
            .and_then(|()| numbered(&trash, name, |to| disk::rename_new(&self.path(name), to)))
            .map_err(|error| disk::error(format!("cannot move {name} to the trash"), error))?;
        self.known.lock().remove(name);
        Ok(place)
    }

    /// Whether what was moved to a place is the file that looked like this. Another one, which somebody has saved
    /// since, gets its name back, unless that was saved once more: to look before it is moved would be too early. Some
    /// file systems give a file another inode with another name.
    fn is_it(&self, name: &FileName, place: &Path, was: &Stamp) -> bool {
        let is = fs::symlink_metadata(place).map(|meta| Stamp::of(&meta));
        let it = is.is_ok_and(|is| (is.size, is.written) == (was.size, was.written));
        if !it {
            let _ = disk::rename_own(place, &self.path(name));
        }
        it
    }

    /// What the trash has under a name, hashed, to be restored as `new`.
    ///
    /// # Errors
    /// When a file cannot be read, or it is to `stop`.
    pub fn thrown(
        &self,
        name: &FileName,
        new: &FileName,
        stop: &AtomicBool,
    ) -> Result<BTreeMap<FileId, Thrown>> {
        let mut thrown = BTreeMap::new();
        for place in places(&self.private("trash"), name) {
            let Ok((file, stamp)) = disk::open_regular(&place) else { continue };
            let manifest = Manifest::read(new.clone(), self.layout(stamp.size)?, file, stop)
                .map_err(|error| disk::error(format!("cannot read {}", place.display()), error))?;
            thrown.insert(manifest.id(), Thrown { manifest: Arc::new(manifest), place, stamp });
        }
        Ok(thrown)
    }

    /// Whether the trash seems to have something under a name; costs a few looks at the disk.
    pub fn has_thrown(&self, name: &FileName) -> bool {
        places(&self.private("trash"), name).take(GLANCE).any(|place| place.exists())
    }

    /// Takes a file out of the trash, unless another has its name.
    ///
    /// # Errors
    /// When another has; `busy` when somebody has written to it since it was hashed. It is in the trash then, unless
    /// somebody still does.
    pub fn restore(&self, Thrown { manifest, place, stamp }: Thrown) -> Result<Arc<Manifest>> {
        let name = manifest.name();
        let now = disk::open_regular(&place)
            .and_then(|(file, _)| {
                self.give_name(&manifest, &file, stamp, &place)?;
                Ok(Stamp::of(&file.metadata()?))
            })
            .map_err(|error| disk::error(format!("cannot take {name} out of the trash"), error))?;
        if self.open_known(name, manifest.id()).is_err() {
            let place = self.trash(name, &now)?.unwrap_or_else(|| self.path(name));
            let what = format!("somebody has just written to {}", place.display());
            return Err(Error::new(Code::Busy, what).advise("`restore` again when nobody writes to it"));
        }
        Ok(manifest)
    }

    /// Sets a file aside that is not the one of this name, if it still looks like this: it becomes a conflict copy,
    /// with the name that is returned ([`conflict_name`]). `None`: somebody has saved another one since.
    ///
    /// # Errors
    /// `not_found` when there is none.
    pub fn set_aside(
        &self,
        name: &FileName,
        was: &Stamp,
        peer: &PeerName,
        id: FileId,
    ) -> Result<Option<FileName>> {
        let aside = self.put_aside(&self.path(name), name, peer, id)?;
        self.known.lock().remove(name);
        Ok(self.is_it(name, &self.path(&aside), was).then_some(aside))
    }

    fn put_aside(&self, place: &Path, name: &FileName, peer: &PeerName, id: FileId) -> Result<FileName> {
        let conflict = conflict_name(name, peer, id);
        let aside = numbered(&self.dir, &conflict, |to| disk::rename_new(place, to))
            .map_err(|error| disk::error(format!("cannot set {name} aside"), error))?;
        aside.file_name().unwrap_or_default().to_string_lossy().parse()
    }

    /// The numbers of the pieces of a file that are not what the manifest says, or cannot be read. Of a file that is
    /// only too long it is the last one. After each one `go_on` is asked.
    ///
    /// # Errors
    /// `not_found` when there is no such file; a plain failure when it shall not go on.
    pub fn verify(&self, manifest: &Manifest, go_on: impl Fn() -> bool) -> Result<Vec<u32>> {
        let (file, stamp) = self.open_file(manifest.name())?;
        let (layout, mut bad, mut bytes) = (manifest.layout(), Vec::new(), Vec::new());
        for piece in layout.iter() {
            if !read_piece(&file, piece, &mut bytes) || !manifest.verify(piece, &bytes) {
                bad.push(piece.index());
            }
            if !go_on() {
                return Err(Error::failed(format!("stopped after piece {}", piece.index())));
            }
        }
        if bad.is_empty() && stamp.size != layout.size() {
            bad.push(layout.pieces().saturating_sub(1));
        }
        Ok(bad)
    }

    /// Begins to repair a file: a download that starts with its good pieces. See [`Store::replace`].
    ///
    /// # Errors
    /// Those of [`Store::begin`].
    pub fn repair(&self, manifest: Arc<Manifest>) -> Result<Partial> {
        match self.open_file(manifest.name()) {
            Ok((file, stamp)) => {
                // In a folder that is watched an edit can be told from damage.
                let name = manifest.name();
                let known = self.known(name, &stamp).is_some_and(|known| known.id() == manifest.id());
                let damaged = self.watched.is_none() || known || self.has_rotted(name, &stamp);
                let mut partial = self.begin_from(manifest, file)?;
                partial.repairs = damaged.then_some(stamp);
                Ok(partial)
            }
            Err(error) if error.code() == Code::NotFound => self.begin(manifest),
            Err(error) => Err(error),
        }
    }

    /// A repair is whole: it takes the place of the file that was damaged, which goes to the trash. What lies there
    /// may be another file by now, because somebody has saved it; then that becomes a conflict copy
    /// ([`Store::set_aside`]), whose name is returned.
    ///
    /// For a moment there is no file of this name. A repair that is killed then is published when the folder is
    /// opened again: that it is whole, and at the disk, can be seen by its ending.
    ///
    /// # Errors
    /// When the disk does not let it, or something that is no file lies there. The repair can be gone on with.
    pub fn replace(&self, Synced(partial): Synced<'_>, peer: &PeerName) -> Result<Option<FileName>> {
        let name = partial.manifest.name();
        let whole = partial.path.with_extension(WHOLE);
        fs::rename(&partial.path, &whole)
            .and_then(|()| disk::sync_folder(&self.private("partial")))
            .map_err(|error| disk::error(format!("cannot repair {name}"), error))?;
        self.take_the_place(partial, &whole, peer).inspect_err(|_| {
            // It can be gone on with.
            let _ = fs::rename(&whole, &partial.path);
        })
    }

    fn take_the_place(&self, partial: &Partial, whole: &Path, peer: &PeerName) -> Result<Option<FileName>> {
        let (name, mut kept) = (partial.manifest.name(), None);
        for _ in 0..SAVES {
            match self.appear(partial, whole) {
                Err(no) if no.code() == Code::Conflict => {
                    kept = self.make_way(name, partial.repairs, peer)?.or(kept)
                }
                done => return done.map(|()| kept),
            }
        }
        Err(taken(name))
    }

    /// What has a name makes way: it goes to the trash in one step. If it is not the file that had this stamp,
    /// somebody has saved it since, and it becomes a conflict copy, whose name is returned.
    fn make_way(&self, name: &FileName, was: Option<Stamp>, peer: &PeerName) -> Result<Option<FileName>> {
        // Only a file is moved.
        let place = match self.open_file(name).and_then(|_| self.throw(name)) {
            Err(no) if no.code() == Code::NotFound => return Ok(None),
            place => place?,
        };
        let failed =
            |error| disk::error(format!("what was saved as {name} is at {}", place.display()), error);
        let (file, stamp) = disk::open_regular(&place).map_err(failed)?;
        if was.is_some_and(|was| stamp.is_renamed(&was)) {
            return Ok(None);
        }
        // To its end, also where the peer leaves: it is not to stay in the trash.
        let manifest = Manifest::read(name.clone(), self.layout(stamp.size)?, file, &AtomicBool::new(false));
        let manifest = manifest.map_err(failed)?;
        self.put_aside(&place, name, peer, manifest.id()).map(Some)
    }
}

/// What a file is called that has the name of another: `STEM.conflict-PEER-HASH.EXT`, at most 255 bytes.
///
/// ```
/// use peerlab::share::{FileId, store::conflict_name};
/// let name = conflict_name(&"notes.txt".parse()?, &"ada".parse()?, FileId::from([0xab; 32]));
/// assert_eq!(name.as_str(), "notes.conflict-ada-abababab.txt");
/// # Ok::<(), peerlab::error::Error>(())
/// ```
pub fn conflict_name(name: &FileName, peer: &PeerName, id: FileId) -> FileName {
    let conflict = with_suffix(name.as_str(), &format!(".conflict-{peer}-{}", id.short()));
    // Cannot fail: no part of it has anything that a name may not have, and it is short enough.
    FileName::try_from(conflict).unwrap_or_else(|_| name.clone())
}

/// Whether this is a conflict copy that the peer of this name has made.
pub fn is_conflict_copy(name: &FileName, peer: &PeerName) -> bool {
    let mark = format!(".conflict-{peer}-");
    // The file may have had the mark in its own name, before its own end.
    name.as_str().rmatch_indices(&mark).any(|(at, _)| begins_with_hash(&name.as_str()[at + mark.len()..]))
}

/// Whether this looks like the conflict copy of any peer.
fn is_any_conflict_copy(name: &FileName) -> bool {
    let copy = name.as_str().split_once(".conflict-");
    copy.is_some_and(|(_, rest)| rest.match_indices('-').any(|(at, _)| begins_with_hash(&rest[at + 1..])))
}

fn begins_with_hash(rest: &str) -> bool {
    let hash = rest.bytes().take_while(u8::is_ascii_hexdigit).count();
    hash == 8 && matches!(rest.as_bytes().get(hash), None | Some(b'.'))
}

/// Where a file of this name may be in a folder in which there may be several: under its name, and the numbered ones.
fn places(dir: &Path, name: &FileName) -> impl Iterator<Item = PathBuf> {
    let numbered = (2..NUMBERED).map(|n| dir.join(with_suffix(name.as_str(), &format!(".{n}"))));
    iter::once(dir.join(name.as_str())).chain(numbered)
}

/// Puts a file into a folder under its name, or the first numbered one that is free; says which.
fn numbered(dir: &Path, name: &FileName, put: impl Fn(&Path) -> io::Result<()>) -> io::Result<PathBuf> {
    for to in places(dir, name) {
        match put(&to) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            put => return put.map(|()| to),
        }
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
