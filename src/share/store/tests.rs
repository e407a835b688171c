//! What the store promises, one promise a test. Each has a folder of its own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt, symlink};
use std::time::{Duration, Instant, SystemTime};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use tempfile::TempDir;

use super::*;
use crate::share::{Bitfield, FILE_NAME, FileId, PeerName, Piece};

/// The size of a piece, in bytes.
const PIECE: usize = 1024;

struct Lab {
    /// Outside the shared folder.
    home: TempDir,
    store: Store,
}

fn lab() -> Lab {
    let home = tempfile::tempdir().unwrap();
    let store = open(&home);
    Lab { home, store }
}

fn open(home: &TempDir) -> Store {
    let mut store = Store::open(home.path().join("shared")).unwrap();
    store.piece_size = Some(PIECE as u64);
    store
}

impl Lab {
    fn shared(&self, name: &str) -> PathBuf {
        self.store.dir.join(name)
    }

    /// Whatever is there.
    fn trash(&self, file: &str) -> Result<PathBuf> {
        let was = self.store.stamp(&name(file)).unwrap_or_default();
        self.store.trash(&name(file), &was).map(|place| place.unwrap())
    }

    fn private(&self, folder: &str) -> Vec<String> {
        let names = fs::read_dir(self.store.private(folder)).unwrap();
        let mut names: Vec<_> =
            names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    /// The file of the first download on its way that has this ending.
    fn partial(&self, ending: &str) -> PathBuf {
        let is = |file: &String| file.ends_with(ending);
        self.store.private("partial").join(self.private("partial").into_iter().find(is).unwrap())
    }

    /// A file outside the shared folder.
    fn outside(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.home.path().join(name);
        fs::write(&path, bytes).unwrap();
        path
    }
}

fn name(name: &str) -> FileName {
    name.parse().unwrap()
}

fn ada() -> PeerName {
    "ada".parse().unwrap()
}

/// Bytes of which no two pieces are alike.
fn bytes(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i / PIECE * 37 + i * 7 + 1) as u8).collect()
}

fn manifest(file: &str, bytes: &[u8]) -> Arc<Manifest> {
    let layout = Layout::new(bytes.len() as u64, PIECE as u64).unwrap();
    Arc::new(Manifest::read(name(file), layout, bytes, &false.into()).unwrap())
}

fn piece_of(bytes: &[u8], piece: Piece) -> &[u8] {
    &bytes[piece.offset() as usize..][..piece.len()]
}

fn read_at(file: &File, piece: Piece) -> Vec<u8> {
    let mut bytes = vec![0; piece.len()];
    file.read_exact_at(&mut bytes, piece.offset()).unwrap();
    bytes
}

fn fill(partial: &Partial, bytes: &[u8]) {
    for piece in partial.have().missing() {
        assert_eq!(partial.write(piece, piece_of(bytes, piece)).unwrap(), Written::Kept);
    }
}

/// What a download that is begun finds.
fn found(partial: &Partial) -> Vec<u32> {
    partial.look(|| true).unwrap();
    indices(&partial.have())
}

fn indices(set: &Bitfield) -> Vec<u32> {
    set.iter().map(Piece::index).collect()
}

fn names(scan: &Scan) -> Vec<&str> {
    scan.files.iter().map(|(name, _)| name.as_str()).collect()
}

fn fifo(path: &Path) {
    mknodat(CWD, path, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).unwrap();
}

#[test]
fn only_regular_files_with_plain_names_are_offered() {
    let lab = lab();
    for plain in ["b.bin", "a b.txt", "<b>%2e.html", "é🙂"] {
        fs::write(lab.shared(plain), "x").unwrap();
    }
    fs::write(lab.shared(".hidden"), "x").unwrap();
    fs::write(lab.shared("two\nlines"), "x").unwrap();
    fs::write(lab.store.dir.join(OsStr::from_bytes(b"not\xffutf8")), "x").unwrap();
    fs::create_dir(lab.shared("folder")).unwrap();
    symlink("/etc/passwd", lab.shared("link")).unwrap();
    symlink("/nowhere", lab.shared("dangling")).unwrap();
    fifo(&lab.shared("fifo"));
    let scan = lab.store.scan().unwrap();
    assert_eq!(names(&scan), ["<b>%2e.html", "a b.txt", "b.bin", "é🙂"]);
    let ignored: Vec<_> = scan.ignored.iter().map(|(name, why)| (name.as_str(), *why)).collect();
    assert_eq!(
        ignored,
        [
            ("dangling", "a link; links are not followed"),
            ("fifo", "a FIFO or socket, not a file"),
            ("folder", "a folder; only files are shared"),
            ("link", "a link; links are not followed"),
            ("not\u{fffd}utf8", "its name is not a plain one"),
            ("two\nlines", "its name is not a plain one"),
        ]
    );
}

#[test]
fn no_link_is_followed_and_no_fifo_opened_also_when_they_are_asked_for_by_name() {
    let lab = lab();
    symlink("/etc/passwd", lab.shared("link")).unwrap();
    symlink("/dev/zero", lab.shared("device")).unwrap();
    fifo(&lab.shared("fifo"));
    fs::create_dir(lab.shared("folder")).unwrap();
    for (trap, why) in [("link", "link"), ("device", "link"), ("fifo", "FIFO"), ("folder", "folder")] {
        let error = lab.store.open_file(&name(trap)).unwrap_err();
        assert!(error.to_string().contains(why), "{error}");
        assert!(lab.store.manifest(&name(trap)).is_err());
    }
    assert_eq!(lab.store.manifest(&name("nothing")).unwrap_err().code(), Code::NotFound);
}

#[test]
fn an_unchanged_file_is_not_read_again_and_a_changed_one_is() {
    let lab = lab();
    fs::write(lab.shared("a"), bytes(3000)).unwrap();
    let read = || lab.store.manifest(&name("a")).unwrap();
    let first = read();
    assert_eq!(first.id(), manifest("a", &bytes(3000)).id());
    assert!(Arc::ptr_eq(&first, &read()));
    let stamp = lab.store.scan().unwrap().files[0].1;
    assert!(lab.store.known(&name("a"), &stamp).is_some());
    // Same size, and another time; then the same of everything but the inode.
    fs::write(lab.shared("a"), vec![0; 3000]).unwrap();
    let later = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    File::options().write(true).open(lab.shared("a")).unwrap().set_modified(later).unwrap();
    let second = read();
    assert_ne!(second.id(), first.id());
    fs::write(lab.shared("b"), bytes(3000)).unwrap();
    File::options().write(true).open(lab.shared("b")).unwrap().set_modified(later).unwrap();
    fs::rename(lab.shared("b"), lab.shared("a")).unwrap();
    assert_eq!(read().id(), first.id());
    fs::remove_file(lab.shared("a")).unwrap();
    lab.store.scan().unwrap();
    assert!(lab.store.known.lock().is_empty(), "what is gone takes no memory");
}

/// Reads a file, and meddles with it after the first read.
struct Meddler<F: FnMut()> {
    file: File,
    meddle: Option<F>,
}

impl<F: FnMut()> Read for Meddler<F> {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let n = self.file.read(into)?;
        if let Some(mut meddle) = self.meddle.take() {
            meddle();
        }
        Ok(n)
    }
}

#[test]
fn a_file_that_changes_while_it_is_hashed_is_tried_later() {
    let lab = lab();
    let path = lab.shared("a");
    let append = || {
        let mut file = File::options().append(true).open(&path).unwrap();
        io::Write::write_all(&mut file, b"more").unwrap();
    };
    let truncate = || File::options().write(true).open(&path).unwrap().set_len(10).unwrap();
    let touch = || {
        let file = File::options().write(true).open(&path).unwrap();
        file.write_all_at(b"X", 5).unwrap();
        file.set_modified(std::time::SystemTime::UNIX_EPOCH).unwrap();
    };
    for meddle in [&append as &dyn Fn(), &truncate, &touch] {
        fs::write(&path, bytes(500_000)).unwrap();
        let (file, stamp) = lab.store.open_file(&name("a")).unwrap();
        let meddler = Meddler { file, meddle: Some(meddle) };
        let changing = lab.store.read_steady(&name("a"), stamp, meddler).unwrap_err();
        assert_eq!(changing.code(), Code::Busy, "{changing}");
        assert!(lab.store.known.lock().is_empty());
        assert!(lab.store.manifest(&name("a")).is_ok(), "later");
        lab.store.known.lock().clear();
    }
}

#[test]
fn add_copies_and_never_moves() {
    let lab = lab();
    let path = lab.outside("a.bin", &bytes(3000));
    assert!(lab.store.import(&path, &true.into()).unwrap_err().to_string().ends_with(": stopped"));
    assert!(!lab.shared("a.bin").exists());
    let added = lab.store.import(&path, &false.into()).unwrap();
    assert_eq!(added.id(), manifest("a.bin", &bytes(3000)).id());
    assert_eq!(fs::read(lab.shared("a.bin")).unwrap(), bytes(3000));
    assert_eq!(fs::read(&path).unwrap(), bytes(3000));
    assert_ne!(fs::metadata(&path).unwrap().ino(), fs::metadata(lab.shared("a.bin")).unwrap().ino());
    assert_eq!(lab.private("incoming"), [""; 0]);
    let mode = fs::metadata(lab.shared("a.bin")).unwrap().mode();
    assert_eq!(mode & 0o777, fs::metadata(&path).unwrap().mode() & 0o777, "as readable as any new file");
    let known = lab.store.manifest(&name("a.bin")).unwrap();
    assert!(Arc::ptr_eq(&known, &added), "it is not hashed twice");
}

#[test]
fn add_takes_the_same_twice_and_refuses_another_of_the_same_name() {
    let lab = lab();
    let path = lab.outside("a", b"one");
    let first = lab.store.import(&path, &false.into()).unwrap();
    assert_eq!(lab.store.import(&path, &false.into()).unwrap().id(), first.id());
    assert_eq!(
        lab.store.import(&lab.shared("a"), &false.into()).unwrap().id(),
        first.id(),
        "it lies there already"
    );
    lab.outside("a", b"two");
    let error = lab.store.import(&path, &false.into()).unwrap_err();
    assert_eq!(error.code(), Code::Conflict);
    assert_eq!(
        error.to_string(),
        "another file is called a here; rename one of the two, or move that one to another folder; `verify` mends a damaged one"
    );
    assert_eq!(fs::read(lab.shared("a")).unwrap(), b"one");
    assert_eq!(lab.private("incoming"), [""; 0]);
}

#[test]
fn add_follows_the_link_that_a_person_names_and_refuses_what_is_no_file() {
    let lab = lab();
    let path = lab.outside("a", b"one");
    let link = lab.home.path().join("link");
    symlink(&path, &link).unwrap();
    assert_eq!(lab.store.import(&link, &false.into()).unwrap().name().as_str(), "link");
    assert!(fs::symlink_metadata(lab.shared("link")).unwrap().is_file());
    fifo(&lab.home.path().join("fifo"));
    let not_utf8 = lab.home.path().join(OsStr::from_bytes(b"\xff"));
    fs::write(&not_utf8, "x").unwrap();
    let hidden = lab.outside(".hidden", b"x");
    for bad in [lab.home.path().join("fifo"), lab.home.path().into(), not_utf8, hidden, "/dev/zero".into()] {
        assert!(lab.store.import(&bad, &false.into()).is_err(), "{}", bad.display());
    }
    let error = lab.store.import(&lab.home.path().join("nothing"), &false.into()).unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
}

#[test]
fn what_a_killed_add_has_left_is_cleared_away_but_not_what_a_running_one_writes() {
    let lab = lab();
    fs::write(lab.store.private("incoming/.tmpOld"), "half").unwrap();
    fs::write(lab.store.private("incoming/.tmpRunning"), "half").unwrap();
    let running = File::open(lab.store.private("incoming/.tmpRunning")).unwrap();
    running.try_lock().unwrap();
    open(&lab.home);
    assert_eq!(lab.private("incoming"), [".tmpRunning"]);
}

#[test]
fn empty_files_and_files_of_one_byte_are_files() {
    let lab = lab();
    for content in [&b""[..], b"x"] {
        let added = lab.store.import(&lab.outside("a", content), &false.into()).unwrap();
        lab.trash("a").unwrap();
        let partial = lab.store.begin(added).unwrap();
        fill(&partial, content);
        lab.store.publish(partial.sync().unwrap()).unwrap();
        assert_eq!(fs::read(lab.shared("a")).unwrap(), content);
        lab.trash("a").unwrap();
    }
}

#[test]
fn a_piece_counts_when_it_is_verified_and_a_file_appears_when_it_is_whole() {
    let lab = lab();
    let content = bytes(2500);
    let partial = lab.store.begin(manifest("a", &content)).unwrap();
    let pieces: Vec<_> = partial.manifest.layout().iter().collect();
    let open = partial.file().unwrap();
    assert_eq!(partial.write(pieces[1], &content[..PIECE]).unwrap(), Written::WrongHash);
    assert_eq!(partial.write(pieces[1], &[]).unwrap(), Written::WrongHash);
    assert_eq!(partial.have().count(), 0);
    for &piece in [2, 0].map(|i| &pieces[i]) {
        assert_eq!(partial.write(piece, piece_of(&content, piece)).unwrap(), Written::Kept);
        assert_eq!(read_at(&open, piece), piece_of(&content, piece));
    }
    assert_eq!(indices(&partial.have()), [0, 2]);
    assert!(partial.have().contains(pieces[0]) && !partial.have().contains(pieces[1]));
    assert!(partial.sync().unwrap_err().to_string().starts_with("a is not whole"));
    assert_eq!(names(&lab.store.scan().unwrap()), [""; 0], "nothing shows half");
    fill(&partial, &content);
    lab.store.publish(partial.sync().unwrap()).unwrap();
    assert_eq!(fs::read(lab.shared("a")).unwrap(), content);
    assert_eq!(lab.private("partial"), [""; 0]);
    let stamp = lab.store.scan().unwrap().files[0].1;
    assert!(lab.store.known(&name("a"), &stamp).is_some(), "what was verified is not hashed again");
    assert_eq!(
        read_at(&open, pieces[1]),
        piece_of(&content, pieces[1]),
        "one that has it open can still serve it"
    );
}

#[test]
fn a_download_goes_on_with_what_is_there() {
    let lab = lab();
    let content = bytes(4000);
    let begin = || lab.store.begin(manifest("a", &content)).unwrap();
    let partial = begin();
    assert!(!partial.needs_look());
    for piece in partial.manifest.layout().iter().skip(2) {
        partial.write(piece, piece_of(&content, piece)).unwrap();
    }
    drop(partial);
    let again = begin();
    assert!(again.needs_look() && again.have().count() == 0, "it can be told of before anything is hashed");
    let mut counts = Vec::new();
    let mut look = |pieces: usize| {
        again.look(|| {
            counts.push(again.have().count());
            counts.len() < pieces
        })
    };
    look(3).unwrap();
    assert_eq!(
        counts,
        [0, 0, 1],
        "each counts when it is found, and one that is told to stop looks no further"
    );
    assert_eq!(found(&again), [2, 3]);
    drop(again);
    // Whatever the length of the part, and whatever is beside it.
    let [manifest, part] = ["manifest", "part"].map(|ending| lab.partial(ending));
    let longer = || File::options().write(true).open(&part).unwrap().set_len(9000).unwrap();
    let torn = || fs::write(&manifest, "nonsense").unwrap();
    let gone = || fs::remove_file(&manifest).unwrap();
    for spoil in [&longer as &dyn Fn(), &torn, &gone] {
        spoil();
        assert_eq!(found(&begin()), [2, 3]);
        assert_eq!(fs::metadata(&part).unwrap().len(), 4000);
        assert_ne!(fs::read(&manifest).unwrap(), b"nonsense", "the manifest is there again");
    }
}

#[test]
fn a_download_has_one_writer_and_the_same_content_may_have_two_names() {
    let lab = lab();
    let content = bytes(3000);
    let first = lab.store.begin(manifest("a", &content)).unwrap();
    let error = lab.store.begin(manifest("a", &content)).unwrap_err();
    assert_eq!(error.code(), Code::Busy);
    assert!(error.to_string().starts_with("a is being downloaded here already; "), "{error}");
    let second = lab.store.begin(manifest("b", &content)).unwrap();
    fill(&first, &content);
    fill(&second, &content);
    lab.store.publish(first.sync().unwrap()).unwrap();
    lab.store.publish(second.sync().unwrap()).unwrap();
    lab.trash("a").unwrap();
    let again = lab.store.begin(manifest("a", &content)).unwrap();
    assert!(!again.needs_look(), "the published file is not written to, though its lock is held");
    assert_eq!(names(&lab.store.scan().unwrap()), ["b"]);
}

#[test]
fn what_cannot_be_brought_to_the_disk_does_not_appear() {
    let (lab, all) = (lab(), bytes(3 * PIECE));
    let mut partial = lab.store.begin(manifest("a.bin", &all)).unwrap();
    fill(&partial, &all);
    // No system brings a pipe to a disk.
    partial.bytes = OwnedFd::from(std::io::pipe().unwrap().1).into();
    let no = partial.sync().and_then(|on_disk| lab.store.publish(on_disk)).unwrap_err().to_string();
    assert!(no.contains("cannot bring a.bin to the disk"), "{no}");
    // What is in memory may be no more than that: it does not count.
    assert_eq!(partial.have().count(), 0);
    assert!(!lab.shared("a.bin").exists());
}

#[test]
fn publishing_replaces_no_file() {
    let lab = lab();
    let content = bytes(3000);
    let partial = lab.store.begin(manifest("a", &content)).unwrap();
    fill(&partial, &content);
    fs::write(lab.shared("a"), "mine").unwrap();
    assert_eq!(lab.store.publish(partial.sync().unwrap()).unwrap_err().code(), Code::Conflict);
    assert_eq!(fs::read(lab.shared("a")).unwrap(), b"mine");
    let mine = lab.store.stamp(&name("a")).unwrap();
    let aside = lab.store.set_aside(&name("a"), &mine, &ada(), partial.manifest.id()).unwrap().unwrap();
    assert_eq!(aside.as_str(), format!("a.conflict-ada-{}", partial.manifest.id().short()));
    lab.store.publish(partial.sync().unwrap()).unwrap();
    assert_eq!(fs::read(lab.shared("a")).unwrap(), content);
    assert_eq!(fs::read(lab.shared(aside.as_str())).unwrap(), b"mine", "nothing is lost");
}

#[test]
fn what_was_saved_since_it_was_looked_at_is_neither_trashed_nor_set_aside() {
    let (lab, a) = (lab(), name("a"));
    fs::write(lab.shared("a"), "first").unwrap();
    let before = lab.store.stamp(&a).unwrap();
    for after in ["other", "after it"] {
        // As editors do; a file of the same size has another time.
        fs::write(lab.shared(".a.swp"), after).unwrap();
        let times = fs::FileTimes::new().set_modified(std::time::UNIX_EPOCH);
        File::options().write(true).open(lab.shared(".a.swp")).unwrap().set_times(times).unwrap();
        fs::rename(lab.shared(".a.swp"), lab.shared("a")).unwrap();
        assert_eq!(lab.store.trash(&a, &before).unwrap(), None);
        assert_eq!(lab.store.set_aside(&a, &before, &ada(), FileId::from([1; 32])).unwrap(), None);
        assert_eq!(fs::read_to_string(lab.shared("a")).unwrap(), after);
    }
    assert_eq!(names(&lab.store.scan().unwrap()), ["a"]);
    assert!(lab.private("trash").is_empty());
    // Neither is a folder.
    fs::remove_file(lab.shared("a")).unwrap();
    fs::create_dir(lab.shared("a")).unwrap();
    assert_eq!(lab.store.trash(&a, &before).unwrap(), None);
    assert!(lab.shared("a").is_dir());
}

#[test]
fn of_a_conflict_copy_the_trash_has_the_first_versions_and_the_last_and_of_what_only_sounds_like_one_all() {
    let lab = lab();
    for (file, kept) in [("a.conflict-ada-0123abcd.txt", 10), ("a.conflict-of-interest.txt", 13)] {
        for content in 0..13 {
            fs::write(lab.shared(file), content.to_string()).unwrap();
            let place = lab.trash(file).unwrap();
            assert_eq!(fs::read_to_string(place).unwrap(), content.to_string());
        }
        assert_eq!(lab.private("trash").len(), kept, "{file}");
        let first = lab.store.private("trash").join(file);
        assert_eq!(fs::read_to_string(first).unwrap(), "0", "nobody can push it out");
        fs::remove_dir_all(lab.store.private("trash")).unwrap();
    }
}

#[test]
fn a_part_that_has_the_name_of_a_file_too_is_not_written_to() {
    let lab = lab();
    let content = bytes(3000);
    let part = lab.store.begin(manifest("a", &content)).unwrap();
    fill(&part, &content);
    // Killed in the middle of a rename, where a file system has two steps for it; then somebody edits the file.
    fs::hard_link(&part.path, lab.shared("a")).unwrap();
    drop(part);
    fs::write(lab.shared("a"), "mine").unwrap();
    fill(&lab.store.begin(manifest("a", &content)).unwrap(), &content);
    assert_eq!(fs::read_to_string(lab.shared("a")).unwrap(), "mine");
}

#[test]
fn in_a_watched_folder_an_edit_is_no_damage_and_becomes_a_conflict_copy() {
    let mut lab = lab();
    let content = bytes(3000);
    for (watched, edited) in [(false, false), (true, false), (true, true)] {
        fs::write(lab.shared("a"), "other bytes").unwrap();
        lab.store.watched = watched.then(|| File::open(&lab.home).unwrap());
        if !edited {
            // They have rotted: this very stamp was that of the right ones.
            lab.store.learn(&manifest("a", &content), lab.store.stamp(&name("a")).unwrap());
        }
        let repair = lab.store.repair(manifest("a", &content)).unwrap();
        fill(&repair, &content);
        assert_eq!(
            lab.store.replace(repair.sync().unwrap(), &ada()).unwrap().is_some(),
            edited,
            "watched: {watched}"
        );
        assert_eq!(fs::read(lab.shared("a")).unwrap(), content);
        fs::remove_file(lab.shared("a")).unwrap();
    }
}

#[test]
fn a_full_disk_is_said_and_the_download_goes_on_when_there_is_room() {
    let lab = lab();
    let content = bytes(3000);
    let mut partial = lab.store.begin(manifest("a", &content)).unwrap();
    let pieces: Vec<_> = partial.manifest.layout().iter().collect();
    partial.write(pieces[0], piece_of(&content, pieces[0])).unwrap();
    let full = File::options().write(true).open("/dev/full").unwrap();
    let disk = std::mem::replace(&mut partial.bytes, full);
    let error = partial.write(pieces[1], piece_of(&content, pieces[1])).unwrap_err();
    assert_eq!(error.code(), Code::Busy);
    assert_eq!(
        error.to_string(),
        "cannot write piece 1 of a: the disk is full; make room; nothing is torn, and it goes on from where it is"
    );
    assert_eq!(indices(&partial.have()), [0]);
    partial.bytes = disk;
    fill(&partial, &content);
    lab.store.publish(partial.sync().unwrap()).unwrap();
    assert_eq!(fs::read(lab.shared("a")).unwrap(), content);
}

#[test]
fn bad_pieces_are_named_and_repaired_from_others() {
    let lab = lab();
    let content = bytes(4000);
    let manifest = manifest("a", &content);
    let damage: [(&[u8], &[u32], &[u32]); 4] = [
        (&content, &[0, 1, 2, 3], &[]),
        (&content[..2500], &[0, 1], &[2, 3]),
        (&[&content[..], b"more"].concat(), &[0, 1, 2, 3], &[3]),
        (&[&content[..1500], b"XX", &content[1502..]].concat(), &[0, 2, 3], &[1]),
    ];
    for (there, good, bad) in damage {
        fs::write(lab.shared("a"), there).unwrap();
        assert_eq!(lab.store.verify(&manifest, || true).unwrap(), bad);
        let partial = lab.store.repair(manifest.clone()).unwrap();
        assert_eq!(found(&partial), good, "only what is bad is fetched");
        assert_eq!(fs::read(lab.shared("a")).unwrap(), there, "until then the file stays as it is");
        fill(&partial, &content);
        assert_eq!(lab.store.replace(partial.sync().unwrap(), &ada()).unwrap(), None);
        assert_eq!(fs::read(lab.shared("a")).unwrap(), content);
        assert!(lab.store.verify(&manifest, || true).unwrap().is_empty());
    }
    assert_eq!(lab.private("trash"), ["a", "a.2", "a.3", "a.4"]);
    assert!(lab.store.verify(&manifest, || false).unwrap_err().to_string().starts_with("stopped"));
    fs::remove_file(lab.shared("a")).unwrap();
    assert_eq!(lab.store.verify(&manifest, || true).unwrap_err().code(), Code::NotFound);
    let partial = lab.store.repair(manifest).unwrap();
    assert!(!partial.needs_look(), "a file that is gone is repaired from nothing");
    fill(&partial, &content);
    assert_eq!(lab.store.replace(partial.sync().unwrap(), &ada()).unwrap(), None);
    assert_eq!(fs::read(lab.shared("a")).unwrap(), content);
}

#[test]
fn an_empty_file_that_has_grown_is_not_right() {
    let lab = lab();
    let manifest = manifest("a", b"");
    for (there, bad) in [("", &[][..]), ("more", &[0])] {
        fs::write(lab.shared("a"), there).unwrap();
        assert_eq!(lab.store.verify(&manifest, || true).unwrap(), bad);
    }
}

#[test]
fn what_an_editor_saves_while_a_file_is_repaired_becomes_a_conflict_copy() {
    let content = bytes(4000);
    // Editors write in place, or save a new file under the old name; or the file was gone and is there again.
    let in_place = |lab: &Lab| fs::write(lab.shared("a.txt"), "edited").unwrap();
    let renamed = |lab: &Lab| {
        fs::write(lab.shared(".a.txt.swp"), "edited").unwrap();
        fs::rename(lab.shared(".a.txt.swp"), lab.shared("a.txt")).unwrap();
    };
    for (there, edit) in [(true, &in_place as &dyn Fn(&Lab)), (true, &renamed), (false, &in_place)] {
        let lab = lab();
        if there {
            fs::write(lab.shared("a.txt"), &content[..3000]).unwrap();
        }
        let partial = lab.store.repair(manifest("a.txt", &content)).unwrap();
        fill(&partial, &content);
        edit(&lab);
        let id = manifest("a.txt", b"edited").id();
        let conflict = conflict_name(&name("a.txt"), &ada(), id);
        assert_eq!(lab.store.replace(partial.sync().unwrap(), &ada()).unwrap(), Some(conflict.clone()));
        assert_eq!(fs::read(lab.shared("a.txt")).unwrap(), content);
        assert_eq!(fs::read(lab.shared(conflict.as_str())).unwrap(), b"edited");
        assert_eq!((lab.private("trash"), lab.private("partial")), (vec![], vec![]));
    }
}

#[test]
fn a_whole_file_serves_its_pieces_until_it_is_changed() {
    let lab = lab();
    let content = bytes(3000);
    fs::write(lab.shared("a"), &content).unwrap();
    let id = manifest("a", &content).id();
    lab.store.manifest(&name("a")).unwrap();
    let whole = lab.store.open_known(&name("a"), id).unwrap();
    whole.check().unwrap();
    for piece in whole.manifest.layout().iter() {
        assert_eq!(read_at(&whole.file, piece), piece_of(&content, piece));
    }
    assert_eq!(lab.store.open_known(&name("a"), FileId::from([0; 32])).unwrap_err().code(), Code::NotFound);
    File::options().append(true).open(lab.shared("a")).unwrap().set_len(2999).unwrap();
    let error = whole.check().unwrap_err();
    assert_eq!(error.code(), Code::NotFound);
    assert!(error.to_string().starts_with("a was changed here"), "{error}");
}

#[test]
fn what_is_dropped_goes_to_the_trash_and_nothing_there_is_lost() {
    let lab = lab();
    for content in ["one", "two", "three"] {
        fs::write(lab.shared("a.txt"), content).unwrap();
        let place = lab.trash("a.txt").unwrap();
        assert_eq!(fs::read_to_string(place).unwrap(), content);
    }
    assert_eq!(lab.private("trash"), ["a.2.txt", "a.3.txt", "a.txt"]);
    assert_eq!(lab.trash("a.txt").unwrap_err().code(), Code::NotFound);
}

fn thrown(lab: &Lab, file: &str, new: &str) -> BTreeMap<FileId, Thrown> {
    lab.store.thrown(&name(file), &name(new), &AtomicBool::new(false)).unwrap()
}

#[test]
fn a_file_is_found_in_the_trash_by_its_bytes_and_taken_out_under_any_name_that_is_free() {
    let lab = lab();
    for content in ["one", "two", "three"] {
        fs::write(lab.shared("a.txt"), content).unwrap();
        lab.trash("a.txt").unwrap();
    }
    // A number that is free does not hide the next ones, and what is no file is passed over.
    fs::remove_file(lab.store.private("trash").join("a.2.txt")).unwrap();
    fifo(&lab.store.private("trash").join("a.5.txt"));
    assert!(lab.store.has_thrown(&name("a.txt")) && !lab.store.has_thrown(&name("b.txt")));
    assert!(thrown(&lab, "b.txt", "b.txt").is_empty());
    let three = manifest("b.txt", b"three").id();
    let take = |new: &str| lab.store.restore(thrown(&lab, "a.txt", new).remove(&three).unwrap());
    fs::write(lab.shared("a.txt"), "four").unwrap();
    take("a.txt").unwrap_err();
    assert_eq!(fs::read_to_string(lab.shared("a.txt")).unwrap(), "four");
    assert_eq!(take("b.txt").unwrap().id(), three);
    assert_eq!(fs::read_to_string(lab.shared("b.txt")).unwrap(), "three");
    assert!(lab.store.open_known(&name("b.txt"), three).is_ok(), "it need not be hashed again");
    assert_eq!(lab.private("trash"), ["a.5.txt", "a.txt"], "it was moved");
}

#[test]
fn what_is_written_in_the_trash_after_it_was_hashed_is_not_restored() {
    let lab = lab();
    fs::write(lab.shared("a"), "before").unwrap();
    let place = lab.trash("a").unwrap();
    let (_, it) = thrown(&lab, "a", "a").pop_first().unwrap();
    fs::write(&place, "after it").unwrap();
    let error = lab.store.restore(it).unwrap_err();
    assert_eq!(error.code(), Code::Busy, "{error}");
    assert!(lab.store.stamp(&name("a")).is_none());
    assert_eq!(fs::read_to_string(place).unwrap(), "after it");
}

#[test]
fn a_conflict_copy_keeps_its_ending_and_is_never_too_long() {
    let id = FileId::from([0xab; 32]);
    let long = "é".repeat(120);
    for (file, peer, conflict) in [
        ("notes.txt", "ada", "notes.conflict-ada-abababab.txt".to_owned()),
        ("notes", "ada", "notes.conflict-ada-abababab".to_owned()),
        ("a.tar.gz", "b c", "a.tar.conflict-b c-abababab.gz".to_owned()),
        ("a.", "x", "a.conflict-x-abababab.".to_owned()),
    ] {
        assert_eq!(conflict_name(&name(file), &peer.parse().unwrap(), id).as_str(), conflict);
    }
    let cut = conflict_name(&name(&format!("{long}.txt")), &"p".repeat(64).parse().unwrap(), id);
    assert!(cut.as_str().len() <= FILE_NAME && cut.as_str().ends_with("-abababab.txt"), "{cut}");
    let no_ending = conflict_name(&name(&format!("a.{long}")), &ada(), id);
    assert!(no_ending.as_str().ends_with("-abababab"), "{no_ending}");
}

#[test]
fn a_trash_that_was_removed_is_made_again_and_without_one_the_file_stays_as_it_is() {
    let lab = lab();
    let trash = lab.store.private("trash");
    let content = bytes(3000);
    let manifest = manifest("a", &content);
    fs::write(lab.shared("a"), &content).unwrap();
    fs::remove_dir_all(&trash).unwrap();
    lab.trash("a").unwrap();
    assert_eq!(lab.private("trash"), ["a"]);
    // A repair keeps what was there, too.
    fs::write(lab.shared("a"), "damaged").unwrap();
    fs::remove_dir_all(&trash).unwrap();
    let partial = lab.store.repair(manifest.clone()).unwrap();
    fill(&partial, &content);
    assert_eq!(lab.store.replace(partial.sync().unwrap(), &ada()).unwrap(), None);
    assert_eq!(fs::read(trash.join("a")).unwrap(), b"damaged");
    fs::remove_dir_all(&trash).unwrap();
    fs::write(&trash, "no folder").unwrap();
    lab.trash("a").unwrap_err();
    assert_eq!(fs::read(lab.shared("a")).unwrap(), content);
    assert!(lab.store.open_known(&name("a"), manifest.id()).is_ok(), "it need not be hashed again");
}

#[test]
fn what_is_learned_while_the_folder_is_read_stays_known() {
    let lab = lab();
    for i in 0..2000 {
        fs::write(lab.shared(&format!("old{i}")), "").unwrap();
    }
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                lab.store.scan().unwrap();
            }
        });
        let new: Vec<_> = (0..500).map(|i| name(&format!("new{i}"))).collect();
        for name in &new {
            fs::write(lab.shared(name.as_str()), "new").unwrap();
            lab.store.manifest(name).unwrap();
            std::thread::yield_now();
        }
        done.store(true, Ordering::SeqCst);
        let lost: Vec<_> =
            new.iter().filter(|new| lab.store.known(new, &lab.store.stamp(new).unwrap()).is_none()).collect();
        assert!(lost.is_empty(), "{} of {} were forgotten", lost.len(), new.len());
    });
}

#[test]
fn a_folder_that_lost_its_marker_is_noticed_and_opening_it_makes_one() {
    let lab = lab();
    assert!(lab.store.has_marker());
    fs::remove_dir_all(&lab.store.dir).unwrap();
    fs::create_dir(&lab.store.dir).unwrap();
    assert!(!lab.store.has_marker(), "an empty mount point");
    open(&lab.home);
    assert!(lab.store.has_marker());
}

#[test]
fn a_folder_into_which_a_file_was_only_saved_is_left_tidy() {
    let lab = lab();
    let content = bytes(3000);
    let partial = lab.store.begin(manifest("a", &content)).unwrap();
    lab.store.tidy();
    assert!(lab.store.has_marker(), "a download is on its way");
    fill(&partial, &content);
    lab.store.publish(partial.sync().unwrap()).unwrap();
    lab.store.tidy();
    let left: Vec<_> = fs::read_dir(lab.store.dir).unwrap().map(|e| e.unwrap().file_name()).collect();
    assert_eq!(left, ["a"]);
}

#[test]
fn nothing_is_left_of_a_download_that_is_given_up_unless_it_is_running() {
    let lab = lab();
    let begun = lab.store.begin(manifest("b", &bytes(3000))).unwrap();
    let id = begun.manifest.id();
    lab.store.forget_download(&name("b"), id);
    assert_eq!(lab.private("partial").len(), 2, "it is running");
    drop(begun);
    fs::copy(lab.partial("manifest"), lab.store.private("partial/x.manifest")).unwrap();
    lab.store.forget_download(&name("b"), id);
    open(&lab.home);
    assert_eq!(lab.private("partial"), [""; 0], "nor of a manifest without bytes");
}

#[test]
fn a_download_that_nobody_touched_for_a_week_is_given_up_and_named() {
    let lab = lab();
    let [a, b, c] = ["a", "b", "c"].map(|file| manifest(file, &bytes(3000)));
    let age_all = |days: u64| {
        let then = SystemTime::now() - Duration::from_secs(days * 24 * 60 * 60 + 60);
        for file in lab.private("partial").iter().filter(|file| file.ends_with("part")) {
            let part = lab.store.private("partial").join(file);
            File::options().write(true).open(part).unwrap().set_modified(then).unwrap();
        }
    };
    [&a, &b, &c].iter().for_each(|&it| drop(lab.store.begin(it.clone()).unwrap()));
    age_all(6);
    assert!(open(&lab.home).expired.is_empty());
    age_all(7);
    drop(lab.store.begin(a.clone()).unwrap());
    let running = lab.store.begin(b.clone()).unwrap();
    let part = lab.store.private("partial").join(running.path.file_name().unwrap());
    let then = SystemTime::now() - Duration::from_secs(30 * 24 * 60 * 60);
    File::options().write(true).open(part).unwrap().set_modified(then).unwrap();
    assert_eq!(open(&lab.home).expired, [name("c")], "one was gone on with, one is running");
    assert_eq!(lab.private("partial").len(), 4, "nothing is left of the third");
}

/// At each moment between the first step of [`Store::replace`] and its last.
#[test]
fn a_repair_that_is_killed_loses_nothing_and_is_published_by_the_next_start() {
    let content = bytes(3000);
    for killed_after in 0..4 {
        let lab = lab();
        fs::write(lab.shared("a"), "damaged").unwrap();
        let partial = lab.store.repair(manifest("a", &content)).unwrap();
        fill(&partial, &content);
        let whole = partial.path.with_extension(partial::WHOLE);
        let [step, to_trash, to_name] = [1, 2, 3].map(|step| killed_after >= step);
        if step {
            fs::rename(&partial.path, &whole).unwrap();
        }
        if to_trash {
            lab.trash("a").unwrap();
        }
        if to_name {
            fs::rename(&whole, lab.shared("a")).unwrap();
        }
        open(&lab.home);
        assert_eq!(whole.exists(), step && !to_name, "it is still running");
        drop(partial);
        let store = open(&lab.home);
        if to_trash {
            assert_eq!(fs::read(lab.shared("a")).unwrap(), content, "after step {killed_after}");
            assert_eq!((lab.private("partial"), lab.private("trash")), (vec![], vec!["a".to_owned()]));
        } else {
            assert_eq!(fs::read(lab.shared("a")).unwrap(), b"damaged");
            assert_eq!(
                found(&store.repair(manifest("a", &content)).unwrap()),
                [0, 1, 2],
                "nothing is fetched"
            );
        }
    }
}

#[test]
fn a_repair_moves_nothing_that_is_no_file() {
    let lab = lab();
    let content = bytes(3000);
    let partial = lab.store.repair(manifest("a", &content)).unwrap();
    fill(&partial, &content);
    fs::create_dir(lab.shared("a")).unwrap();
    assert!(lab.store.replace(partial.sync().unwrap(), &ada()).unwrap_err().to_string().contains("folder"));
    assert!(lab.shared("a").is_dir());
    fs::remove_dir(lab.shared("a")).unwrap();
    assert_eq!(lab.store.replace(partial.sync().unwrap(), &ada()).unwrap(), None, "it is gone on with");
    assert_eq!(fs::read(lab.shared("a")).unwrap(), content);
}

/// Writes bytes of the same length and restores the time at which it was written to, until the clock of the file
/// system has ticked.
fn rewrite_unseen(path: &Path, bytes: &[u8], before: &Stamp) {
    let file = File::options().write(true).open(path).unwrap();
    let then = fs::metadata(path).unwrap().modified().unwrap();
    let began = Instant::now();
    while Stamp::of(&file.metadata().unwrap()).status == before.status {
        file.write_all_at(bytes, 0).unwrap();
        file.set_modified(then).unwrap();
        assert!(began.elapsed() < Duration::from_secs(10), "the clock stands still");
    }
}

#[test]
fn a_file_whose_old_time_was_restored_is_noticed_also_right_after_it_was_published() {
    let lab = lab();
    let (content, other) = (bytes(3000), vec![7; 3000]);
    let added = lab.store.import(&lab.outside("a", &content), &false.into()).unwrap();
    let partial = lab.store.begin(manifest("b", &content)).unwrap();
    fill(&partial, &content);
    lab.store.publish(partial.sync().unwrap()).unwrap();
    for file in ["a", "b"].map(name) {
        let stamp = lab.store.stamp(&file).unwrap();
        assert!(lab.store.known(&file, &stamp).is_some(), "the stamp is that after the rename");
        let whole = lab.store.open_known(&file, added.id()).unwrap();
        rewrite_unseen(&lab.shared(file.as_str()), &other, &stamp);
        let now = lab.store.stamp(&file).unwrap();
        assert_eq!((now.size, now.written, now.file), (stamp.size, stamp.written, stamp.file));
        assert!(whole.check().is_err() && lab.store.known(&file, &now).is_none());
        let read = lab.store.manifest(&file).unwrap();
        assert_eq!(read.id(), manifest("x", &other).id());
    }
}

#[test]
fn what_changes_a_stamp_and_no_byte_costs_a_look_at_the_bytes_and_nothing_else() {
    let lab = lab();
    let added = lab.store.import(&lab.outside("a", &bytes(3000)), &false.into()).unwrap();
    let (file, path) = (name("a"), lab.shared("a"));
    let chmod = || fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    let link = || fs::hard_link(&path, lab.shared(".link")).unwrap();
    let rename = || {
        fs::rename(&path, lab.shared(".a")).unwrap();
        fs::rename(lab.shared(".a"), &path).unwrap();
    };
    let touch = || File::open(&path).unwrap().set_modified(SystemTime::now()).unwrap();
    for change in [&chmod as &dyn Fn(), &link, &rename, &touch] {
        let before = lab.store.stamp(&file).unwrap();
        let began = Instant::now();
        while lab.store.stamp(&file).unwrap() == before {
            let _ = fs::remove_file(lab.shared(".link"));
            change();
            assert!(began.elapsed() < Duration::from_secs(10), "the clock stands still");
        }
        let now = lab.store.stamp(&file).unwrap();
        assert!(lab.store.known(&file, &now).is_none());
        let read = lab.store.manifest(&file).unwrap();
        assert_eq!(read.id(), added.id());
        assert!(lab.store.known(&file, &now).is_some(), "the new stamp is remembered");
    }
}

#[test]
fn bytes_that_have_rotted_are_found_when_a_requester_complains() {
    let lab = lab();
    let content = bytes(3 * PIECE);
    let rotten = [&content[..PIECE], &[!content[PIECE]], &content[PIECE + 1..]].concat();
    fs::write(lab.shared("a"), &rotten).unwrap();
    let was = Arc::new(manifest("a", &content));
    lab.store.learn(&was, lab.store.stamp(was.name()).unwrap());
    let recheck = |piece| lab.store.recheck(&was, was.layout().piece(piece).unwrap());
    recheck(0).unwrap();
    recheck(2).unwrap();
    assert!(
        lab.store.open_known(was.name(), was.id()).is_ok(),
        "a requester that complains about a right piece"
    );
    assert_eq!(recheck(1).unwrap_err().code(), Code::NotFound);
    assert!(lab.store.open_known(was.name(), was.id()).is_err());
    let stamp = || lab.store.stamp(was.name()).unwrap();
    assert!(lab.store.has_rotted(was.name(), &stamp()));
    fs::write(lab.shared("a"), &content).unwrap();
    assert!(!lab.store.has_rotted(was.name(), &stamp()), "somebody has written to it since");
}

#[test]
fn what_is_written_while_a_file_gets_its_name_is_not_taken_for_what_was_hashed() {
    let lab = lab();
    let content = bytes(3000);
    let copy = lab.store.private("incoming/a");
    for (len, is_known) in [(3000, true), (2999, false)] {
        fs::write(&copy, &content).unwrap();
        let (file, before) = disk::open_regular(&copy).unwrap();
        if len < 3000 {
            File::options().append(true).open(&copy).unwrap().set_len(len).unwrap();
        }
        lab.store.give_name(&manifest("a", &content), &file, before, &copy).unwrap();
        assert_eq!(fs::metadata(lab.shared("a")).unwrap().len(), len);
        assert_eq!(lab.store.known.lock().drain().count() == 1, is_known);
        fs::remove_file(lab.shared("a")).unwrap();
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whatever a power cut has left of the bytes and of the manifest.
    #[test]
    fn what_is_not_there_never_counts(
        written: u16,
        spoilt: u16,
        cut in 0..17 * PIECE,
        torn in prop::option::of(0..1000_usize),
    ) {
        let lab = lab();
        let content = bytes(16 * PIECE - 100);
        let begin = || lab.store.begin(manifest("a", &content)).unwrap();
        let partial = begin();
        let is_in = |set: u16, piece: Piece| set >> piece.index() & 1 == 1;
        for piece in partial.manifest.layout().iter().filter(|&piece| is_in(written, piece)) {
            partial.write(piece, piece_of(&content, piece)).unwrap();
            if is_in(spoilt, piece) {
                partial.bytes.write_all_at(&[!content[piece.offset() as usize]], piece.offset()).unwrap();
            }
        }
        let size = partial.bytes.metadata().unwrap().len();
        partial.bytes.set_len(size.min(cut as u64)).unwrap();
        drop(partial);
        if let Some(torn) = torn {
            let all = fs::read(lab.partial("manifest")).unwrap();
            fs::write(lab.partial("manifest"), &all[..torn.min(all.len())]).unwrap();
        }
        let again = begin();
        let good = |piece: &Piece| {
            is_in(written, *piece) && !is_in(spoilt, *piece) && piece.offset() as usize + piece.len() <= cut
        };
        let there: Vec<u32> = again.manifest.layout().iter().filter(good).map(Piece::index).collect();
        prop_assert_eq!(found(&again), there);
    }
}
