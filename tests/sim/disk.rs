//! A folder and its disk in virtual time: what a person saves there, what the program does to it, and what is left of
//! both when the power fails.
//!
//! # The rule
//! What is written is in memory for [`WRITEBACK`]: a power cut takes it away. Only what the program has brought to the
//! disk stays: a download before it gets its name, and the drops, as [`Store`](crate::share::store::Store) does it. A
//! full disk refuses pieces and drops, and a place in the folder or in the trash; or it takes a piece, and refuses to
//! bring it to the disk. Every change gives a file another stamp.
//!
//! # What is missing
//! A new name is on the disk at once.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::clock::Millis;
use crate::net::message::Dropped;
use crate::share::store::{Stamp, conflict_name};
use crate::share::{FileId, FileName, Layout, Manifest, PeerName};

/// How long what is written is only in memory.
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
    /// What the disk has of it, if that is another content.
    behind: Option<Behind>,
}

/// What the disk has of a file that is in memory.
#[derive(Clone, Debug)]
struct Behind {
    since: Millis,
    /// What lay there before.
    old: Option<Saved>,
    /// A person has written it, who may lose it; what the program gives a name may not be lost.
    by_person: bool,
}

impl Behind {
    /// Whether the disk has it still only as it was.
    fn is_so(&self, now: Millis) -> bool {
        now < self.since + WRITEBACK
    }
}

impl File {
    fn is_unwritten(&self, now: Millis) -> bool {
        self.behind.as_ref().is_some_and(|behind| behind.is_so(now))
    }

    /// What is left of it when the power fails; `keeps` draws whether it was written in time.
    fn after_cut(mut self, now: Millis, keeps: impl FnOnce() -> bool) -> Option<Self> {
        let is_lost = self.is_unwritten(now) && !keeps();
        match self.behind.take() {
            Some(behind) if is_lost => {
                behind.old.map(|(content, stamp)| Self { content, stamp, behind: None })
            }
            _ => Some(self),
        }
    }
}

/// What is there of a download: its manifest, and its bytes with holes.
#[derive(Clone, Debug)]
pub(crate) struct Part {
    pub(crate) manifest: Manifest,
    pub(crate) bytes: Vec<u8>,
    /// All of it is on the disk.
    pub(crate) synced: bool,
}

/// One peer's folder. It outlives its peer.
#[derive(Debug, Default)]
pub(crate) struct Disk {
    pub(crate) files: BTreeMap<FileName, File>,
    pub(crate) parts: BTreeMap<(FileName, FileId), Part>,
    trash: Vec<(FileName, File)>,
    pub(crate) drops: Vec<Dropped>,
    /// What the disk has of them, and since when they are others.
    drops_behind: Option<(Millis, Vec<Dropped>)>,
    /// Nothing can be written until then.
    pub(crate) full_until: Millis,
    /// While it is full: whether it takes pieces all the same, and refuses to bring them to the disk.
    pub(crate) refuses_late: bool,
    /// How often the program could not write.
    pub(crate) refused: u64,
    /// What the clock of the peer shows.
    pub(crate) now: Millis,
    /// What went to the trash since somebody took this.
    pub(crate) thrown: Vec<(FileName, FileId)>,
    /// How many changes there were.
    pub(crate) changes: i64,
}

/// A manifest of these bytes.
pub(crate) fn manifest(name: &FileName, bytes: &[u8]) -> Manifest {
    let layout = Layout::new(bytes.len() as u64, PIECE).unwrap();
    Manifest::read(name.clone(), layout, bytes, &false.into()).unwrap()
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
            Some(behind) if behind.is_so(now) => behind.old,
            _ => Some((before.content, before.stamp)),
        });
        let behind = Some(Behind { since: now, old, by_person: true });
        self.files.insert(name.clone(), File { content: Rc::new(bytes.into()), stamp, behind });
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

    /// Whether the program cannot write now.
    fn refuses(&mut self, now: Millis) -> bool {
        let is_full = now < self.full_until;
        self.refused += u64::from(is_full);
        is_full
    }

    /// Whether a piece cannot be written now.
    pub(crate) fn refuses_piece(&mut self, now: Millis) -> bool {
        !self.refuses_late && self.refuses(now)
    }

    /// Brings a download to the disk. Where that fails nothing of it counts as being there.
    pub(crate) fn sync(&mut self, part: &(FileName, FileId), now: Millis) -> bool {
        let refuses = self.refuses(now);
        let Some(part) = self.parts.get_mut(part) else { return false };
        if refuses {
            part.bytes.fill(0);
        }
        part.synced = !refuses;
        part.synced
    }

    /// A download gets its name; `None` when that is taken.
    pub(crate) fn publish(&mut self, part: &(FileName, FileId), now: Millis) -> Option<Stamp> {
        if self.files.contains_key(&part.0) {
            return None;
        }
        let Part { bytes, synced, .. } = self.parts.remove(part)?;
        let stamp = self.stamp(bytes.len(), now, None);
        let behind = (!synced).then_some(Behind { since: now, old: None, by_person: false });
        self.files.insert(part.0.clone(), File { content: Rc::new(bytes[..].into()), stamp, behind });
        Some(stamp)
    }

    /// Writes the drops to another file, brings that to the disk, and gives it its name.
    pub(crate) fn save_drops(&mut self, drops: Vec<Dropped>, now: Millis) {
        if drops == self.drops || self.refuses(now) {
            return;
        }
        self.drops_behind = Some((now, std::mem::replace(&mut self.drops, drops)));
        // It is brought there before it has its name.
        self.drops_behind = None;
    }

    /// Moves a file to the trash; false where there is none, or no room.
    pub(crate) fn trash(&mut self, name: &FileName) -> bool {
        if self.refuses(self.now) {
            return false;
        }
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
        if self.refuses(now) {
            return None;
        }
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
        if self.refuses(now) {
            return None;
        }
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
        let by_person = |file: &&File| file.behind.as_ref().is_some_and(|it| it.by_person && it.is_so(now));
        all.filter(by_person).map(|file| file.content.id()).collect()
    }

    /// The power fails: what was only in memory is lost. Pieces that were written may be there, or not; `keeps` draws.
    /// Says how many are not.
    pub(crate) fn lose_power(&mut self, now: Millis, mut keeps: impl FnMut() -> bool) -> u64 {
        let mut zeroed = 0;
        self.changes += 1;
        let files = std::mem::take(&mut self.files);
        let left = |(name, file): (_, File)| Some((name, file.after_cut(now, &mut keeps)?));
        self.files = files.into_iter().filter_map(left).collect();
        let thrown = std::mem::take(&mut self.trash);
        let left = |(name, file): (_, File)| Some((name, file.after_cut(now, || false)?));
        self.trash = thrown.into_iter().filter_map(left).collect();
        if let Some((_, old)) = self.drops_behind.take().filter(|(since, _)| now < since + WRITEBACK) {
            self.drops = old;
        }
        for part in self.parts.values_mut().filter(|part| !part.synced) {
            let pieces: Vec<_> = part.manifest.layout().iter().collect();
            for piece in pieces.into_iter().filter(|_| !keeps()) {
                let bytes = &mut part.bytes[piece.offset() as usize..][..piece.len()];
                zeroed += u64::from(bytes.iter().any(|byte| *byte != 0));
                bytes.fill(0);
            }
        }
        zeroed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A folder with a download that has all its pieces.
    fn with_part(bytes: &[u8]) -> (Disk, (FileName, FileId)) {
        let manifest = manifest(&"a".parse().unwrap(), bytes);
        let part = (manifest.name().clone(), manifest.id());
        let parts = [(part.clone(), Part { manifest, bytes: bytes.to_vec(), synced: false })].into();
        (Disk { parts, ..Disk::default() }, part)
    }

    #[test]
    fn only_what_was_brought_to_the_disk_is_there_after_a_power_cut() {
        let (mut disk, part) = with_part(b"bytes");
        disk.publish(&part, 0).unwrap();
        disk.lose_power(1, || false);
        assert!(!disk.has(part.1));
        let (mut disk, part) = with_part(b"bytes");
        assert!(disk.sync(&part, 0));
        disk.publish(&part, 0).unwrap();
        disk.save(&"b".parse().unwrap(), b"a person's", false, 0);
        let drop = Dropped { file: part.0.clone(), id: part.1, at: 1 };
        disk.save_drops(vec![drop.clone()], 0);
        disk.lose_power(1, || false);
        assert!(disk.has(part.1));
        assert_eq!((disk.files.len(), disk.drops), (1, vec![drop]));
    }

    #[test]
    fn a_full_disk_refuses_and_all_is_as_it_was_but_a_download_that_it_cannot_bring_to_the_disk() {
        let (mut disk, part) = with_part(b"bytes");
        let [name, other] = ["b", "c"].map(|name| name.parse::<FileName>().unwrap());
        [&name, &other].into_iter().for_each(|name| disk.save(name, name.as_str().as_bytes(), false, 0));
        assert!(disk.trash(&other));
        (disk.full_until, disk.now) = (10, 9);
        let (id, thrown) = (disk.files[&name].content.id(), disk.thrown[0].1);
        assert!(!disk.trash(&name));
        assert_eq!(disk.set_aside(&name, &"ada".parse().unwrap(), id, 9), None);
        assert_eq!(disk.restore(&other, thrown, 9), None);
        disk.save_drops(vec![Dropped { file: name, id, at: 1 }], 9);
        assert!(disk.drops.is_empty() && disk.has(id) && disk.has(thrown));
        assert!(!disk.sync(&part, 9));
        assert_eq!(disk.parts[&part].bytes, [0; 5]);
    }
}
