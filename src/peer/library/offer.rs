//! A file that this peer offers, whole or in part, and a way to open it for a requester.
//!
//! ```text
//!               all pieces are there, and it has its name
//!    in part ─────────────────────────────────────────────▶ whole
//!       │                                                      │
//!       └────── the download was given up ──────▶ gone ◀───────┘ (replaced by another offer, or withdrawn)
//! ```
//!
//! Several conversations may serve from one offer while it grows; each has the file open for itself. A whole
//! file is watched by its stamp: one that was written to since it was hashed is not served any more.

use std::fs::File;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::error::{Code, Error, Result};
use crate::share::store::{Partial, Store, Whole};
use crate::share::{Bitfield, FileId, FileName, Manifest, Piece};

#[derive(Clone, Debug)]
enum Form {
    Whole,
    Part(Arc<Partial>),
    Gone,
}

/// A file that is offered.
#[derive(Debug)]
pub struct Offer {
    /// The folder that it lies in.
    pub(crate) store: Arc<Store>,
    /// What is known of it.
    pub(crate) manifest: Arc<Manifest>,
    form: Mutex<Form>,
}

/// A file that is open to be sent.
pub enum Source {
    /// All of it, as long as nobody writes to it.
    Whole(Whole),
    /// What is there of it.
    Part(File),
}

impl Offer {
    /// A file that lies in a folder, hashed.
    pub fn whole(store: &Arc<Store>, manifest: Arc<Manifest>) -> Self {
        Self { store: Arc::clone(store), manifest, form: Mutex::new(Form::Whole) }
    }

    /// A file that is being fetched.
    pub fn part(store: &Arc<Store>, partial: &Arc<Partial>) -> Self {
        let manifest = Arc::clone(&partial.manifest);
        let form = Mutex::new(Form::Part(Arc::clone(partial)));
        Self { store: Arc::clone(store), manifest, form }
    }

    /// The last piece has come, and the file has its name.
    pub fn complete(&self) {
        *self.form.lock() = Form::Whole;
    }

    /// There is nothing to be had here any more.
    pub fn end(&self) {
        *self.form.lock() = Form::Gone;
    }

    /// Its name.
    pub fn name(&self) -> &FileName {
        self.manifest.name()
    }

    /// Which bytes it is.
    pub fn id(&self) -> FileId {
        self.manifest.id()
    }

    /// Whether all of it is there.
    pub fn is_whole(&self) -> bool {
        matches!(*self.form.lock(), Form::Whole)
    }

    /// Which pieces are there.
    pub fn have(&self) -> Bitfield {
        // The partial's own lock is taken after ours is let go.
        let form = self.form.lock().clone();
        match form {
            Form::Whole => Bitfield::full(self.manifest.layout()),
            Form::Part(partial) => partial.have(),
            Form::Gone => Bitfield::empty(self.manifest.layout()),
        }
    }

    /// Opens it to be sent.
    ///
    /// # Errors
    /// `not_found` when it is no longer what it was.
    pub fn open(&self) -> Result<Source> {
        let form = self.form.lock().clone();
        match form {
            Form::Whole => self.store.open_known(self.name(), self.id()).map(Source::Whole),
            Form::Part(partial) => partial.file().map(Source::Part),
            Form::Gone => {
                Err(Error::new(Code::NotFound, format!("{} is not offered here any more", self.name()))
                    .advise("ask another holder"))
            }
        }
    }

    /// A requester says that a piece from here was wrong. Of a part nothing is offered that was not read and found
    /// right.
    ///
    /// # Errors
    /// `not_found` when the fault is here.
    pub fn recheck(&self, piece: Piece) -> Result<()> {
        if self.is_whole() { self.store.recheck(&self.manifest, piece) } else { Ok(()) }
    }

    /// The open file, to send the next piece from. One that has become whole since is opened again, so that it
    /// is watched by its stamp.
    ///
    /// # Errors
    /// `not_found` when it is no longer what it was.
    pub fn file<'a>(&self, source: &'a mut Source) -> Result<&'a File> {
        if matches!(source, Source::Part(_)) && self.is_whole() {
            *source = self.open()?;
        }
        match source {
            Source::Whole(whole) => whole.check().map(|()| &whole.file),
            Source::Part(file) => Ok(file),
        }
    }
}
