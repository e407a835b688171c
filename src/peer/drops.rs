//! The drops that this peer remembers, so that a file does not come back by itself.
//!
//! # The problem
//! A peer may be away while a file is dropped, and a manager that is restarted has forgotten what was. So every
//! peer remembers, too, tells each manager that it joins, and looks at each file that it finds: was it put here
//! before it was dropped, or after?
//!
//! # The rule
//! A drop is of a name *and* of bytes: dropping `draft` drops neither `final` with the same content nor the next
//! `draft` with another. The later wins: what a person put here after the drop is offered, and the drop is
//! forgotten.
//!
//! They stand in `DIR/.peerlab/drops`, one line of JSON each, oldest first. The file is written whole, under another
//! name first. A line that cannot be read is passed over.
//!
//! # What is missing
//! The time of a drop is the manager's, that of a file is the time of its last change of status (ctime) by the
//! clock of its own machine. Where the two differ, whoever is a minute ahead wins for a minute.

use std::collections::VecDeque;
use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use log::warn;
use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::error::{Error, Result};
use crate::share::{FileId, FileName};

/// How many drops a peer remembers, some 150 bytes each; when there are more, the oldest go.
const ROOM: usize = 10_000;

/// A file that was dropped.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Drop {
    /// What it was called.
    pub file: FileName,
    /// Which bytes it was.
    pub id: FileId,
    /// When, in milliseconds since 1970.
    pub at: Millis,
}

/// All drops that are remembered.
#[derive(Debug, Default)]
pub struct Drops {
    /// Oldest first.
    list: VecDeque<Drop>,
}

impl Drops {
    /// Those in a file; none where there is none.
    pub fn load(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap_or_else(|e| {
            if e.kind() != ErrorKind::NotFound {
                warn!("cannot read {}, so drops are forgotten here: {e}", path.display());
            }
            Vec::new()
        });
        let read = |line: &[u8]| {
            serde_json::from_slice(line)
                .inspect_err(|e| warn!("{}: a line is passed over: {e}", path.display()))
                .ok()
        };
        let mut drops = Self::default();
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        lines.filter_map(read).for_each(|drop| drops.remember(drop));
        drops
    }

    /// Writes them to a file, which is there whole or as it was.
    ///
    /// # Errors
    /// When the disk does not take it.
    pub fn save(&self, path: &Path) -> Result<()> {
        let write = || {
            let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
            let mut new = tempfile::NamedTempFile::new_in(&folder)?;
            for drop in &self.list {
                serde_json::to_writer(&mut new, drop)?;
                new.write_all(b"\n")?;
            }
            new.as_file().sync_all()?;
            new.persist(path).map_err(|e| e.error)?;
            fs::File::open(folder)?.sync_all()
        };
        write().map_err(|e| {
            Error::failed(format!("cannot write {}", path.display()))
                .because(e)
                .advise("what was dropped may come back after a restart; make room there")
        })
    }

    /// One more; of two for the same file the later counts.
    pub fn remember(&mut self, drop: Drop) {
        if self.at(&drop.file, drop.id).is_some_and(|at| at >= drop.at) {
            return;
        }
        self.forget(&drop.file, drop.id);
        self.list.push_back(drop);
        if self.list.len() > ROOM {
            self.list.pop_front();
        }
    }

    /// It was put here again on purpose; false when it was not remembered.
    pub fn forget(&mut self, file: &FileName, id: FileId) -> bool {
        let before = self.list.len();
        self.list.retain(|drop| !(drop.id == id && drop.file == *file));
        self.list.len() < before
    }

    /// When these bytes of this name were dropped, if they were.
    pub fn at(&self, file: &FileName, id: FileId) -> Option<Millis> {
        self.list.iter().rev().find(|drop| drop.id == id && drop.file == *file).map(|drop| drop.at)
    }

    /// All of them, oldest first.
    pub fn list(&self) -> Vec<Drop> {
        self.list.iter().cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop_of(file: &str, id: u8, at: Millis) -> Drop {
        Drop { file: file.parse().unwrap(), id: FileId::from([id; 32]), at }
    }

    #[test]
    fn a_drop_is_of_a_name_and_of_bytes_and_the_later_counts() {
        let mut drops = Drops::default();
        drops.remember(drop_of("a", 1, 10));
        drops.remember(drop_of("a", 1, 5));
        assert_eq!(drops.at(&"a".parse().unwrap(), FileId::from([1; 32])), Some(10));
        drops.remember(drop_of("a", 1, 20));
        assert_eq!(drops.list(), [drop_of("a", 1, 20)]);
        assert_eq!(drops.at(&"b".parse().unwrap(), FileId::from([1; 32])), None);
        assert_eq!(drops.at(&"a".parse().unwrap(), FileId::from([2; 32])), None);
        assert!(drops.forget(&"a".parse().unwrap(), FileId::from([1; 32])));
        assert!(drops.list().is_empty());
    }

    #[test]
    fn they_survive_a_restart_and_a_torn_line_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("drops");
        assert!(Drops::load(&path).list().is_empty());
        let mut drops = Drops::default();
        drops.remember(drop_of("a \"b\"", 1, 10));
        drops.remember(drop_of("c", 2, 20));
        drops.save(&path).unwrap();
        assert_eq!(Drops::load(&path).list(), drops.list());
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("nonsense\n{text}{}", &text[..20])).unwrap();
        assert_eq!(Drops::load(&path).list(), drops.list());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
    }

    #[test]
    fn there_is_room_for_so_many_and_the_oldest_go() {
        let mut drops = Drops::default();
        for at in 0..=ROOM as u64 {
            drops.list.push_back(drop_of("x", 0, at));
        }
        drops.remember(drop_of("new", 1, 1));
        assert_eq!(drops.list.len(), ROOM + 1, "one in, one out");
        assert_eq!(drops.list[0].at, 1);
    }
}
