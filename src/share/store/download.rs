//! From the first piece to the file under its name: downloads and repairs in a shared folder.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::aside::numbered;
use super::disk::Stamp;
use super::partial::{self, Partial};
use super::{Store, disk, taken};
use crate::error::{Code, Error, Result};
use crate::share::{Bitfield, FileId, FileName, Manifest};

/// What is left of a file, piece by piece.
#[derive(Clone, Debug)]
pub struct Health {
    /// The pieces whose hashes are right.
    pub good: Bitfield,
    /// Bytes that it has, right or wrong.
    pub size: u64,
}

impl Health {
    /// Whether the file is what its manifest says, neither more nor less.
    pub fn is_right(&self) -> bool {
        self.good.is_full() && self.size == self.good.layout().size()
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
        partial::list(&self.private("partial"))
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

    /// A repair is whole: it takes the place of the file that was damaged, which goes to the trash. At every
    /// moment there is a file of this name. What lies there may be another file by now, because somebody has saved it;
    /// then that becomes a conflict copy ([`Store::set_aside`]), whose name is returned.
    ///
    /// # Errors
    /// When the disk does not let it.
    pub fn replace(&self, partial: &Partial, peer: &str) -> Result<Option<FileName>> {
        let name = partial.manifest().name();
        let mut out = None;
        self.finish(partial, |part, here| {
            out = take_the_place(part, here, &self.trash_folder()?, name)?;
            Ok(())
        })?;
        let Some(out) = out else { return Ok(None) };
        if fs::symlink_metadata(&out).is_ok_and(|meta| partial.repairs == Some(Stamp::of(&meta))) {
            return Ok(None);
        }
        self.out_of_trash(&out, name, peer).map(Some)
    }

    fn finish(&self, partial: &Partial, rename: impl FnOnce(&Path, &Path) -> io::Result<()>) -> Result<()> {
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
        partial::forget(&self.private("partial"), name, id);
    }

    /// Which pieces of a file are what the manifest says. A piece that cannot be read is not.
    ///
    /// # Errors
    /// `not_found` when there is no such file.
    pub fn verify(&self, manifest: &Manifest) -> Result<Health> {
        let (file, stamp) = self.open_file(manifest.name())?;
        Ok(Health { good: partial::good_pieces(manifest, &file), size: stamp.size })
    }

    /// Begins to repair a file: a download that starts with its good pieces. See [`Store::replace`].
    ///
    /// # Errors
    /// Those of [`Store::begin`].
    pub fn repair(&self, manifest: Arc<Manifest>) -> Result<Partial> {
        let mut partial = self.begin(manifest)?;
        match self.open_file(partial.manifest().name()) {
            Ok((file, stamp)) => {
                partial.repairs = Some(stamp);
                partial.take_over(&file)?;
            }
            Err(error) if error.code() == Code::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(partial)
    }
}

/// Puts a repaired file, `part`, in the place of the one that is `here`, and says where in the trash that is now;
/// `None` where there was none.
///
/// It goes to the trash first and is exchanged there: so whatever it takes the place of is in the trash at once,
/// also when the program is killed. Where the file system cannot exchange, what is here is linked into the trash and
/// then replaced; what an editor saves between these two steps is lost there.
fn take_the_place(part: &Path, here: &Path, trash: &Path, name: &FileName) -> io::Result<Option<PathBuf>> {
    let in_trash = numbered(trash, name, |to| disk::rename_new(part, to))?;
    let done = match disk::exchange(&in_trash, here) {
        Ok(true) => return Ok(Some(in_trash)),
        Ok(false) => numbered(trash, name, |to| fs::hard_link(here, to))
            .and_then(|linked| fs::rename(&in_trash, here).map(|()| Some(linked))),
        Err(error) => Err(error),
    };
    match done {
        // Nothing is here: then nothing can be overwritten, unless somebody puts it here now.
        Err(error) if error.kind() == ErrorKind::NotFound => disk::rename_new(&in_trash, here).map(|()| None),
        done => done,
    }
    .inspect_err(|_| {
        // The repair is not lost: it can be gone on with.
        let _ = disk::rename_new(&in_trash, part);
    })
}
