//! The drops that this peer remembers, so that a file does not come back by itself.
//!
//! # The problem
//! A peer may be away while a file is dropped, and a manager that is restarted has forgotten what was. So every
//! peer remembers, too, tells each manager that it joins, and looks at each file that it finds: was it put here
//! before it was dropped, or after?
//!
//! # The rule
//! What is remembered, and what wins, is said in [`share::drops`](crate::share::drops). What a person put here
//! after the drop is offered, and the drop is forgotten. So it is where this peer fetches what it remembers as
//! dropped: the manager lists it, so somebody has put it there since. Of that the peer keeps the time of the drop,
//! and tells with the file that it was published later. Else nobody would know, when the publisher has left and the
//! manager is a new one, and whoever still remembers the drop would be believed.
//!
//! They stand in `DIR/.peerlab/drops`, one line of JSON each, oldest first. The file is written whole, under another
//! name first. A line that cannot be read is passed over.
//!
//! Whoever comes back to a manager says its drops in the conversation in which it is *registered*: nobody else is
//! believed about a file that the manager has never listed.
//!
//! # What is missing
//! The time of a drop is the manager's, that of a file is the time of its last change of status (ctime) by the
//! clock of its own machine. Where the two differ, whoever is a minute ahead wins for a minute. And one that fetches
//! a file and never heard of its drop cannot tell that it was published later: a query does not answer when.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use log::{info, warn};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::clock::Millis;
use crate::error::{Error, Result};
use crate::net::limits;
use crate::net::message::{ToManager, encode};
use crate::net::outbox::Outbox;
use crate::share::drops::Drops;
use crate::share::{FileId, FileName};

/// How many drops a peer remembers, some 300 bytes each; when there are more, the oldest go.
const ROOM: usize = 10_000;

/// How many bytes of drops a manager is told at once: half of what may wait for one listener, so that a slow
/// manager is not taken for one that never reads. The newest go first; all of them fit unless their names are
/// very long.
const TOLD: usize = limits::OUTBOX / 2;

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

/// All drops that a peer remembers. Any thread may ask; the lock is never held across I/O.
#[derive(Debug)]
pub struct Memory {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    drops: Drops,
    /// Those that are void, because the file was put there again.
    void: Drops,
    /// Whether the disk knows less.
    unsaved: bool,
}

impl Default for Memory {
    fn default() -> Self {
        Self { state: Mutex::new(State { drops: Drops::new(ROOM), void: Drops::new(ROOM), unsaved: false }) }
    }
}

impl Memory {
    /// Remembers those in a file; none where there is none.
    pub fn load(&self, path: &Path) {
        let bytes = fs::read(path).unwrap_or_else(|e| {
            if e.kind() != ErrorKind::NotFound {
                warn!("cannot read {}, so drops are forgotten here: {e}", path.display());
            }
            Vec::new()
        });
        let read = |line: &[u8]| {
            serde_json::from_slice::<Drop>(line)
                .inspect_err(|e| warn!("{}: a line is passed over: {e}", path.display()))
                .ok()
        };
        let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
        let drops = &mut self.state.lock().drops;
        lines.filter_map(read).for_each(|drop| {
            drops.remember(&drop.file, drop.id, drop.at);
        });
    }

    /// Writes them to a file, which is there whole or as it was; does nothing where the file knows them all.
    ///
    /// # Errors
    /// When the disk does not take it; it is tried again the next time.
    pub fn save(&self, path: &Path) -> Result<()> {
        let Some(lines) = self.unsaved_lines() else { return Ok(()) };
        let write = || {
            let folder = path.parent().map_or_else(PathBuf::new, Path::to_owned);
            let mut new = tempfile::NamedTempFile::new_in(&folder)?;
            new.write_all(&lines)?;
            new.as_file().sync_all()?;
            new.persist(path).map_err(|e| e.error)?;
            fs::File::open(folder)?.sync_all()
        };
        write().map_err(|e| {
            self.state.lock().unsaved = true;
            Error::failed(format!("cannot write {}", path.display()))
                .because(e)
                .advise("what was dropped may come back after a restart; make room there")
        })
    }

    fn unsaved_lines(&self) -> Option<Vec<u8>> {
        let mut state = self.state.lock();
        let line = |(at, file, id): &(Millis, FileName, FileId)| {
            encode(&Drop { file: file.clone(), id: *id, at: *at }).unwrap_or_default()
        };
        std::mem::take(&mut state.unsaved).then(|| state.drops.iter().flat_map(line).collect())
    }

    /// Tells a manager all of them, in the conversation in which this peer is registered.
    pub fn tell(&self, line: &Outbox) {
        let mut room = TOLD;
        let state = self.state.lock();
        for (at, file, id) in state.drops.iter().rev() {
            let drop = ToManager::Drop { file: file.clone(), id: Some(*id), at: Some(*at) };
            let Ok(drop) = encode(&drop) else { continue };
            let Some(left) = room.checked_sub(drop.len()) else { break };
            room = left;
            line.post_line(&drop);
        }
        std::mem::drop(state);
        line.flush();
    }

    /// One more; of two for the same file the later counts.
    pub fn remember(&self, drop: &Drop) {
        let mut state = self.state.lock();
        if state.drops.remember(&drop.file, drop.id, drop.at) {
            state.void.forget(&drop.file, drop.id);
            state.unsaved = true;
        }
    }

    /// It was put there again since it was dropped, here or elsewhere: the drop is void. Gives the first moment after
    /// the drop, if this peer ever heard of it: the file was not published earlier.
    pub fn put_back(&self, file: &FileName, id: FileId) -> Option<Millis> {
        let mut state = self.state.lock();
        if let Some(at) = state.drops.forget(file, id) {
            info!("{file} is there again after it was dropped");
            state.void.remember(file, id, at);
            state.unsaved = true;
        }
        state.void.when(file, id).map(|at| at + 1)
    }

    /// The file was put there later than this drop: it is void, unless a later one has been told meanwhile.
    pub fn outdone(&self, drop: &Drop) {
        let mut state = self.state.lock();
        if state.drops.when(&drop.file, drop.id) == Some(drop.at) {
            state.drops.forget(&drop.file, drop.id);
            state.void.remember(&drop.file, drop.id, drop.at);
            state.unsaved = true;
        }
    }

    /// Whether the file was put there again since this drop was told: then it is not to be obeyed any more.
    pub fn is_void(&self, drop: &Drop) -> bool {
        self.state.lock().void.when(&drop.file, drop.id).is_some_and(|at| at >= drop.at)
    }

    /// When these bytes of this name were dropped, if they were.
    pub fn when(&self, file: &FileName, id: FileId) -> Option<Millis> {
        self.state.lock().drops.when(file, id)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;

    use super::*;
    use crate::net::connection::Connection;

    fn drop_of(file: &str, id: u8, at: Millis) -> Drop {
        Drop { file: file.parse().unwrap(), id: FileId::from([id; 32]), at }
    }

    fn all(memory: &Memory) -> Vec<Drop> {
        let state = memory.state.lock();
        state.drops.iter().map(|(at, file, id)| Drop { file: file.clone(), id: *id, at: *at }).collect()
    }

    #[test]
    fn they_survive_a_restart_and_a_torn_line_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("drops");
        let loaded = || {
            let memory = Memory::default();
            memory.load(&path);
            all(&memory)
        };
        assert!(loaded().is_empty());
        let memory = Memory::default();
        memory.save(&path).unwrap();
        assert!(!path.exists(), "nothing is new");
        memory.remember(&drop_of("c", 2, 20));
        memory.remember(&drop_of("a \"b\"", 1, 10));
        memory.save(&path).unwrap();
        assert_eq!(loaded(), [drop_of("a \"b\"", 1, 10), drop_of("c", 2, 20)], "oldest first");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("nonsense\n{text}{}", &text[..20])).unwrap();
        assert_eq!(loaded(), all(&memory));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
        memory.put_back(&"c".parse().unwrap(), FileId::from([2; 32]));
        memory.save(&path).unwrap();
        assert_eq!(loaded(), [drop_of("a \"b\"", 1, 10)]);
    }

    #[test]
    fn what_was_put_back_is_known_to_be_younger_than_its_drop_until_it_is_dropped_again() {
        let memory = Memory::default();
        let (file, id) = ("a".parse().unwrap(), FileId::from([1; 32]));
        assert_eq!(memory.put_back(&file, id), None, "it was never dropped");
        memory.remember(&drop_of("a", 1, 10));
        assert_eq!(memory.put_back(&file, id), Some(11));
        assert_eq!((memory.put_back(&file, id), memory.when(&file, id)), (Some(11), None), "the same again");
        memory.remember(&drop_of("a", 1, 20));
        assert_eq!((memory.when(&file, id), memory.put_back(&file, id)), (Some(20), Some(21)));
    }

    #[test]
    fn what_could_not_be_saved_is_saved_the_next_time() {
        let dir = tempfile::tempdir().unwrap();
        let memory = Memory::default();
        memory.remember(&drop_of("a", 1, 10));
        memory.save(&dir.path().join("no folder/drops")).unwrap_err();
        memory.save(&dir.path().join("drops")).unwrap();
        assert!(dir.path().join("drops").exists());
    }

    #[test]
    fn there_is_room_for_so_many_and_asking_for_one_does_not_look_at_all() {
        let memory = Memory::default();
        let began = std::time::Instant::now();
        let name = |n: usize| format!("f{n}");
        for n in 0..10 * ROOM {
            memory.remember(&drop_of(&name(n), 0, n as Millis));
            assert_eq!(memory.when(&name(n).parse().unwrap(), FileId::from([0; 32])), Some(n as Millis));
        }
        // A look at the whole list for each would be 10^9 comparisons.
        assert!(began.elapsed().as_secs() < 20, "{:?}", began.elapsed());
        let left = all(&memory);
        assert_eq!((left.len(), left[0].at), (ROOM, 9 * ROOM as Millis), "the oldest went");
    }

    #[test]
    fn a_manager_is_told_the_newest_and_no_more_than_may_wait_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = Connection::connect(listener.local_addr().unwrap(), limits::LINE).unwrap();
        let mut there = listener.accept().unwrap().0;
        let memory = Memory::default();
        let long = "\"".repeat(240);
        for n in 0..ROOM {
            memory.remember(&drop_of(&format!("{long}{n}"), 0, n as Millis));
        }
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            there.read_to_string(&mut text).unwrap();
            text
        });
        let line = here.outbox();
        memory.tell(&line);
        drop((here, line));
        let text = reader.join().unwrap();
        let told: Vec<ToManager> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(text.len() <= TOLD && text.len() > TOLD - 1000, "{} bytes", text.len());
        let ToManager::Drop { at: Some(first), .. } = told[0] else { panic!("{:?}", told[0]) };
        assert_eq!(first, ROOM as Millis - 1);
    }
}
