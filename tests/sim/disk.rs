//! A folder and its disk in virtual time: what a person saves there, what the program does to it, and what is left of
//! both when the power fails.
//!
//! # The rule
//! What the program publishes is on the disk before it has its name, as [`Store`](crate::share::store::Store) does it.
//! What a person saves is in memory for [`WRITEBACK`]: a power cut takes it away. Every change gives a file another
//! stamp.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::clock::Millis;
use crate::net::message::Dropped;
use crate::share::store::{Stamp, conflict_name};
use crate::share::{FileId, FileName, Layout, Manifest, PeerName};

/// How long what a person has saved is only in memory.
const WRITEBACK: Millis = 5_000;

/// The size of all pieces, so that small files have several.
pub(crate) const PIECE: u64 = 1 << 10;

/// The bytes of a file, which are hashed once.
#[derive(Debug)]
pub(crate) struct Content {
    pub(crate) bytes: Vec<u8>,
    hashed: OnceCell<(FileId, Vec<u8>)>,
}

impl Content {
    fn hashed(&self) -> &(FileId, Vec<u8>) {
        self.hashed.get_or_init(|| {
            let there = manifest(&"any".parse().unwrap(), &self.bytes);
            (there.id(), there.hashes().to_vec())
        })
    }

    /// Which bytes they are.
    pub(crate) fn id(&self) -> FileId {
        self.hashed().0
    }

    /// What is to be known of them under this name.
    pub(crate) fn manifest(&self, name: &FileName) -> Manifest {
        Manifest::from_wire(name.clone(), self.bytes.len() as u64, PIECE, &self.hashed().1).unwrap()
    }
}

impl From<&[u8]> for Content {
    fn from(bytes: &[u8]) -> Self {
        Self { bytes: bytes.to_vec(), hashed: OnceCell::new() }
    }
}

/// What the disk has of a file.
type Saved = (Rc<Content>, Stamp);

/// A file as it lies there.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub(crate) content: Rc<Content>,
    pub(crate) stamp: Stamp,
    /// What the disk has of it, if that is another content: nothing, or what lay there before.
    behind: Option<(Millis, Option<Saved>)>,
}

impl File {
    fn is_unwritten(&self, now: Millis) -> bool {
        self.behind.as_ref().is_some_and(|(since, _)| now < since + WRITEBACK)
    }

    /// What is left of it when the power fails; `keeps` draws whether it was written in time.
    fn after_cut(mut self, now: Millis, keeps: impl FnOnce() -> bool) -> Option<Self> {
        let is_lost = self.is_unwritten(now) && !keeps();
        match self.behind.take() {
            Some((_, old)) if is_lost => old.map(|(content, stamp)| Self { content, stamp, behind: None }),
            _ => Some(self),
        }
    }
}

/// What is there of a download: its manifest, and its bytes with holes.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) manifest: Manifest,
    pub(crate) bytes: Vec<u8>,
}

/// One peer's folder. It outlives its peer.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) files: BTreeMap<FileName, File>,
    pub(crate) parts: BTreeMap<(FileName, FileId), Part>,
    trash: Vec<(FileName, File)>,
    pub(crate) drops: Vec<Dropped>,
    /// Nothing can be written until then.
    pub(crate) full_until: Millis,
    /// What went to the trash since somebody took this.
    pub(crate) thrown: Vec<(FileName, FileId)>,
    /// How many changes there were.
    pub(crate) changes: i64,
}

/// A manifest of these bytes.
pub(crate) fn manifest(name: &FileName, bytes: &[u8]) -> Manifest {
    let layout = Layout::new(bytes.len() as u64, PIECE).unwrap();
    Manifest::read(name.clone(), layout, bytes).unwrap()
}

impl Disk {
    /// A stamp for a change now; one that writes in place keeps the number of its file.
    fn stamp(&mut self, size: usize, now: Millis, file: Option<(u64, u64)>) -> Stamp {
        self.changes += 1;
        // No two changes look alike, however fast they follow each other.
        let at = ((now / 1000) as i64, (now % 1000) as i64 * 1_000_000 + self.changes % 1_000_000);
        Stamp { size: size as u64, written: at, status: at, file: file.unwrap_or((1, self.changes as u64)) }
    }

    /// A person saves a file, under another name first or `in_place`. Nothing happens on a full disk.
    pub(crate) fn save(&mut self, name: &FileName, bytes: &[u8], in_place: bool, now: Millis) {
        if now < self.full_until {
            return;
        }
        let before = self.files.remove(name);
        let same = before.as_ref().filter(|_| in_place).map(|before| before.stamp.file);
        let stamp = self.stamp(bytes.len(), now, same);
        // What the disk had all the while is what comes back.
        let old = before.and_then(|before| match before.behind {
            Some((since, old)) if now < since + WRITEBACK => old,
            _ => Some((before.content, before.stamp)),
        });
        self.files
            .insert(name.clone(), File { content: Rc::new(bytes.into()), stamp, behind: Some((now, old)) });
    }

    /// A person deletes a file.
    pub(crate) fn delete(&mut self, name: &FileName) {
        self.changes += 1;
        self.files.remove(name);
    }

    /// Renames a file unless the new name is taken; false when it is, or there is none.
    pub(crate) fn rename(&mut self, from: &FileName, to: &FileName, now: Millis) -> bool {
        if self.files.contains_key(to) {
            return false;
        }
        let Some(mut file) = self.files.remove(from) else { return false };
        let stamp = self.stamp(file.content.bytes.len(), now, Some(file.stamp.file));
        file.stamp = Stamp { written: file.stamp.written, ..stamp };
        self.files.insert(to.clone(), file);
        true
    }

    /// The program brings a file to the disk and gives it its name; false when that is taken.
    pub(crate) fn publish(&mut self, manifest: &Manifest, bytes: &[u8], now: Millis) -> Option<Stamp> {
        let name = manifest.name();
        if self.files.contains_key(name) {
            return None;
        }
        let stamp = self.stamp(bytes.len(), now, None);
        self.files.insert(name.clone(), File { content: Rc::new(bytes.into()), stamp, behind: None });
        self.parts.remove(&(name.clone(), manifest.id()));
        Some(stamp)
    }

    /// Moves a file to the trash.
    pub(crate) fn trash(&mut self, name: &FileName) -> bool {
        let Some(file) = self.files.remove(name) else { return false };
        self.changes += 1;
        self.thrown.push((name.clone(), file.content.id()));
        self.trash.push((name.clone(), file));
        true
    }

    /// Takes these bytes out of the trash, unless their name is taken.
    pub(crate) fn restore(&mut self, name: &FileName, id: FileId, now: Millis) -> Option<Stamp> {
        let is_it = |(its, file): &(FileName, File)| its == name && file.content.id() == id;
        let place = self.trash.iter().position(is_it).filter(|_| !self.files.contains_key(name))?;
        let (_, mut file) = self.trash.remove(place);
        file.stamp = self.stamp(file.content.bytes.len(), now, None);
        let stamp = file.stamp;
        self.files.insert(name.clone(), file);
        Some(stamp)
    }

    /// Whether these bytes lie here, under any name, or in the trash.
    pub(crate) fn has(&self, id: FileId) -> bool {
        self.files.values().chain(self.trash.iter().map(|(_, file)| file)).any(|it| it.content.id() == id)
    }

    /// Sets a file aside, and says under which name.
    pub(crate) fn set_aside(
        &mut self,
        name: &FileName,
        peer: &PeerName,
        id: FileId,
        now: Millis,
    ) -> Option<FileName> {
        let aside = conflict_name(name, peer, id);
        let free = |n: &u32| match n {
            1 => aside.clone(),
            n => format!("{aside}.{n}").parse().unwrap(),
        };
        let aside = (1..).map(|n| free(&n)).find(|name| !self.files.contains_key(name))?;
        self.rename(name, &aside, now).then_some(aside)
    }

    /// What a person has saved, and what is only in memory.
    pub(crate) fn unwritten(&self, now: Millis) -> Vec<FileId> {
        let all = self.files.values().chain(self.trash.iter().map(|(_, file)| file));
        all.filter(|file| file.is_unwritten(now)).map(|file| file.content.id()).collect()
    }

    /// The power fails: what was only in memory is lost. Pieces that were written may be there, or not; `keeps` draws.
    pub(crate) fn lose_power(&mut self, now: Millis, mut keeps: impl FnMut() -> bool) {
        self.changes += 1;
        let files = std::mem::take(&mut self.files);
        let left = |(name, file): (_, File)| Some((name, file.after_cut(now, &mut keeps)?));
        self.files = files.into_iter().filter_map(left).collect();
        let thrown = std::mem::take(&mut self.trash);
        let left = |(name, file): (_, File)| Some((name, file.after_cut(now, || false)?));
        self.trash = thrown.into_iter().filter_map(left).collect();
        for part in self.parts.values_mut() {
            let pieces: Vec<_> = part.manifest.layout().iter().collect();
            for piece in pieces.into_iter().filter(|_| !keeps()) {
                part.bytes[piece.offset() as usize..][..piece.len()].fill(0);
            }
        }
    }
}
