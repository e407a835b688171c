//! The drops that a peer remembers, on its disk and on their way to a manager.
//!
//! # The problem
//! A peer may be away while a file is dropped, and a manager that is restarted has forgotten what was dropped. So every
//! peer remembers drops too, tells them to each manager that it joins, and looks at each file that it finds: was it put
//! here before it was dropped, or after? What wins is said in [`versions`](crate::share::versions).
//!
//! # The rule
//! Drops stand in `DIR/.peerlab/drops`, one line of JSON each: rumours first, then what was seen here, each oldest
//! first. The file is written whole, under another name first. A line that cannot be read is passed over. A manager
//! hears of them in the conversation in which this peer is *registered*: elsewhere nobody is believed about a file that
//! the manager has never listed.
//!
//! # What is missing
//! Which drops are rumours is not written down: after a restart all count as seen here. The time of a drop is the
//! manager's, that of a file is the time of its last change of status (ctime) by the clock of its own machine. Where
//! the two differ by a minute, the one that is ahead wins for a minute. And a peer that fetches a file and never heard
//! of its drop cannot tell when it was published: a query does not answer that. When the peer is restarted, its copy
//! looks as if it was published when it was fetched.

use std::fs::{self, File};
use std::io::{ErrorKind, Write};
use std::path::Path;

use log::warn;

use crate::error::{Error, Result};
use crate::net::limits;
use crate::net::message::{Credentials, Dropped, ToManager, decode, encode};
use crate::net::outbox::Outbox;
use crate::share::store::sync_folder;

/// How many bytes of drops a manager is told at once: half of what may wait for one listener, so that a slow
/// manager is not taken for one that never reads. The newest go first; all of them fit unless their names are
/// very long.
const TOLD: usize = limits::OUTBOX / 2;

/// The drops in a file; none where there is none.
pub(super) fn load(path: &Path) -> Vec<Dropped> {
    let bytes = fs::read(path).unwrap_or_else(|e| {
        if e.kind() != ErrorKind::NotFound {
            let aside = path.with_extension("unreadable");
            let _ = fs::rename(path, &aside);
            warn!(
                "cannot read {}: {e}; what was dropped is forgotten here, and kept as {}",
                path.display(),
                aside.display()
            );
        }
        Vec::new()
    });
    let passed_over = |e: &_| warn!("{}: a line is passed over: {e}", path.display());
    read(&bytes).filter_map(|line| line.inspect_err(passed_over).ok()).collect()
}

/// The drops in these lines, and what is wrong with those that are none.
pub(crate) fn read(bytes: &[u8]) -> impl Iterator<Item = serde_json::Result<Dropped>> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).map(decode)
}

/// Writes drops to a file, which is there whole or as it was.
///
/// # Errors
/// When the disk does not take it.
pub(super) fn save(path: &Path, drops: &[Dropped]) -> Result<()> {
    let write = || {
        // Always the same, so that a peer that is killed meanwhile leaves one at most.
        let new = path.with_extension("new");
        let mut file = File::create(&new)?;
        let lines: Vec<u8> = drops.iter().flat_map(encode).collect();
        file.write_all(&lines)?;
        file.sync_all()?;
        fs::rename(new, path)?;
        path.parent().map_or(Ok(()), sync_folder)
    };
    write().map_err(|e| {
        Error::failed(format!("cannot write {}", path.display()))
            .because(e)
            .advise("what was dropped may come back after a restart; make room there")
    })
}

/// Tells a manager drops, the newest first, in the conversation in which this peer is registered.
pub(crate) fn tell(line: &Outbox, newest_first: impl Iterator<Item = Dropped>) {
    let mut room = TOLD;
    for Dropped { file, id, at } in newest_first {
        let who = Credentials::default();
        let drop = encode(&ToManager::Drop { who, file, id: Some(id), at: Some(at) });
        let Some(left) = room.checked_sub(drop.len()) else { break };
        room = left;
        line.post_line(drop);
    }
    line.flush();
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpListener;
    use std::sync::Arc;

    use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

    use super::*;
    use crate::clock::Millis;
    use crate::net::connection::Connection;
    use crate::peer::library::Library;
    use crate::peer::network::tests::alone;
    use crate::share::FileId;

    fn drop_of(file: &str, id: u8, at: Millis) -> Dropped {
        Dropped { file: file.parse().unwrap(), id: FileId::from([id; 32]), at }
    }

    #[test]
    fn they_survive_a_restart_and_a_torn_line_costs_only_itself() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("drops");
        assert!(load(&path).is_empty());
        let all = [drop_of("a \"b\"", 1, 10), drop_of("c", 2, 20)];
        save(&path, &all).unwrap();
        assert_eq!(load(&path), all);
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, format!("nonsense\n{text}{}", &text[..20])).unwrap();
        assert_eq!(load(&path), all);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no temporary file is left");
        save(&dir.path().join("no folder/drops"), &all).unwrap_err();
        // What cannot be read is kept: the next drop is written to a new file.
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(load(&path).is_empty());
        assert!(dir.path().join("drops.unreadable").is_dir());
        save(&path, &all).unwrap();
    }

    #[test]
    fn a_manager_is_told_the_newest_and_no_more_than_may_wait_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut here = Connection::connect(listener.local_addr().unwrap(), limits::LINE, None).unwrap();
        let mut there = listener.accept().unwrap().0;
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            there.read_to_string(&mut text).unwrap();
            text
        });
        let (line, long, all) = (here.outbox(), "\"".repeat(240), 10_000);
        tell(&line, (0..all).rev().map(|n| drop_of(&format!("{long}{n}"), 0, n)));
        drop((here, line));
        let text = reader.join().unwrap();
        let told: Vec<ToManager> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert!(text.len() <= TOLD && text.len() > TOLD - 1000, "{} bytes", text.len());
        let ToManager::Drop { at: Some(first), .. } = told[0] else { panic!("{:?}", told[0]) };
        assert_eq!(first, all - 1);
    }

    #[test]
    fn nobody_waits_for_the_library_while_its_drops_are_read_from_a_slow_disk() {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::new(Arc::new(alone(dir.path())));
        // Its reader gets nothing until the writer closes it.
        let disk = dir.path().join("drops");
        mknodat(CWD, &disk, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| library.load_drops(&disk));
            // It can be opened for writing, without waiting, from the moment when the other has it open.
            let writer = loop {
                match open(&disk, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()) {
                    Ok(writer) => break fs::File::from(writer),
                    Err(_) => std::thread::yield_now(),
                }
            };
            let free = library.known.try_lock().is_some();
            drop(writer);
            reader.join().unwrap();
            assert!(free, "the lock is held while the disk is read");
        });
    }
}
