//! What the library promises of its lock.

use std::fs::File;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat, open};

use super::*;
use crate::peer::config::Config;

#[test]
fn nobody_waits_for_the_library_while_its_drops_are_read_from_a_slow_disk() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config::alone(dir.path());
    let network = Network::new(config, ([127, 0, 0, 1], 1).into());
    let library = Library::new(Arc::new(network));
    // Its reader gets nothing until the writer closes it.
    let disk = dir.path().join("drops");
    mknodat(CWD, &disk, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| library.load_drops(&disk));
        // It can be opened for writing, without waiting, from the moment when the other has it open.
        let writer = loop {
            match open(&disk, OFlags::WRONLY | OFlags::NONBLOCK, Mode::empty()) {
                Ok(writer) => break File::from(writer),
                Err(_) => std::thread::yield_now(),
            }
        };
        let free = library.known.try_lock().is_some();
        drop(writer);
        reader.join().unwrap();
        assert!(free, "the lock is held while the disk is read");
    });
}
