use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::clock::Millis;
use crate::net::message::Dropped;
use crate::peer::library::Library;
use crate::peer::network::tests::alone;
use crate::peer::replication::decide::{FIRST_PAUSE, PATIENT_LOOKS};
use crate::peer::swarm::upload::Uploads;
use crate::share::store::Store;

/// A peer's folder without threads.
struct Lab {
    dir: tempfile::TempDir,
    replication: Arc<Replication>,
    folder: Folder,
}

impl Lab {
    fn new() -> Self {
        Self::of(tempfile::tempdir().unwrap())
    }

    fn of(dir: tempfile::TempDir) -> Self {
        let network = alone(dir.path());
        let upload = network.config.upload;
        let store = Store::open(dir.path()).unwrap();
        let library = Arc::new(Library::new(Arc::new(network)));
        let uploads = Arc::new(Uploads::new(upload, 1));
        let replication = Arc::new(Replication::new(store, library, uploads));
        let folder = Folder::new(Arc::clone(&replication));
        Self { dir, replication, folder }
    }

    fn library(&self) -> &Library {
        &self.replication.library
    }

    /// Writes a file whose bytes are its name.
    fn put(&self, file: &str) -> (FileName, Arc<Manifest>) {
        self.save(file, file);
        let name = file.parse().unwrap();
        let manifest = self.replication.store.manifest(&name).unwrap();
        (name, manifest)
    }

    fn save(&self, file: &str, text: &str) {
        fs::write(self.dir.path().join(file), text).unwrap();
    }

    /// Offers a file, with the moment before which nobody put it there.
    fn offer(&self, manifest: &Arc<Manifest>, published: Option<Millis>) {
        if let Some(at) = published {
            self.library().published(manifest.name(), manifest.id(), at);
        }
        self.folder.offer(Arc::clone(manifest));
    }

    fn drop_at(&self, at: Millis, name: &FileName, manifest: &Manifest) {
        self.replication.dropped(&Dropped { file: name.clone(), id: manifest.id(), at });
    }

    fn settle_all(&mut self) {
        let library = Arc::clone(&self.replication.library);
        while let Some(file) = library.next_unsettled(Instant::now()) {
            self.folder.settle(&file, Sight::default());
        }
    }

    fn has(&self, file: &str) -> bool {
        self.dir.path().join(file).exists()
    }

    fn is_offered(&self, file: &str) -> bool {
        self.library().get(&file.parse().unwrap()).is_some()
    }

    fn when_dropped(&self, name: &FileName, manifest: &Manifest) -> Option<Millis> {
        self.library().when_dropped(name, manifest.id())
    }

    /// Look after look, as the thread does, until `done`.
    fn look_until(&mut self, mut done: impl FnMut(&Self) -> bool) {
        for _ in 0..100 {
            if done(self) {
                return;
            }
            self.folder.look();
        }
        panic!("not within a hundred looks");
    }
}

#[test]
fn a_download_that_was_given_up_after_a_week_is_named_in_the_status() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path()).unwrap();
    fs::write(dir.path().join("film"), "film").unwrap();
    let manifest = store.manifest(&"film".parse().unwrap()).unwrap();
    drop(store.begin(manifest).unwrap());
    for entry in fs::read_dir(dir.path().join(".peerlab/partial")).unwrap() {
        let file = fs::File::options().write(true).open(entry.unwrap().path()).unwrap();
        file.set_modified(std::time::SystemTime::now() - Duration::from_secs(8 * 24 * 60 * 60)).unwrap();
    }
    let notes = Lab::of(dir).replication.status().notes;
    assert!(notes.iter().any(|note| note.contains("of film is removed")), "{notes:?}");
}

#[test]
fn a_drop_that_waits_is_void_when_the_file_was_fetched_again_meanwhile() {
    let mut lab = Lab::new();
    for (file, fetched_again) in [("dropped", false), ("put back", true)] {
        let (name, manifest) = lab.put(file);
        lab.offer(&manifest, None);
        lab.drop_at(10, &name, &manifest);
        assert_eq!(lab.when_dropped(&name, &manifest), Some(10), "known at once");
        if fetched_again {
            // As every download does that finds it listed all the same.
            lab.library().published(&name, manifest.id(), 11);
        }
        lab.settle_all();
        assert_eq!((lab.has(file), lab.is_offered(file)), (fetched_again, fetched_again), "{file}");
    }
}

#[test]
fn of_a_drop_and_a_publication_the_later_wins_and_a_drop_that_lost_is_forgotten() {
    let mut lab = Lab::new();
    for (file, put, stays) in [("older", 9, false), ("as old", 10, false), ("later", 11, true)] {
        let (name, manifest) = lab.put(file);
        lab.offer(&manifest, Some(put));
        lab.drop_at(10, &name, &manifest);
        lab.settle_all();
        assert_eq!((lab.has(file), lab.is_offered(file)), (stays, stays), "{file}");
        assert_eq!(lab.when_dropped(&name, &manifest).is_some(), !stays, "{file}");
    }
    // Two that wait: the first does not count, and takes nothing from the second.
    let (name, manifest) = lab.put("twice");
    lab.offer(&manifest, Some(11));
    for at in [10, 11] {
        lab.drop_at(at, &name, &manifest);
    }
    lab.settle_all();
    assert!(!lab.has("twice"));
    assert_eq!(lab.when_dropped(&name, &manifest), Some(11));
    // Of one that was not read yet, the time is that of the file.
    let (name, manifest) = lab.put("unread");
    lab.drop_at(10, &name, &manifest);
    lab.settle_all();
    assert!(lab.has("unread") && lab.is_offered("unread"));
    assert_eq!(lab.when_dropped(&name, &manifest), None);
}

#[test]
fn a_peer_that_leaves_in_the_middle_of_its_work_has_written_down_what_was_dropped() {
    let Lab { dir: _dir, replication, mut folder } = Lab::new();
    for file in ["a", "b"] {
        replication.dropped(&Dropped { file: file.parse().unwrap(), id: FileId::from([1; 32]), at: 10 });
    }
    replication.library.leave();
    folder.settle_until(Instant::now() + Duration::from_secs(60));
    folder.scan_folder();
    let written = fs::read_to_string(replication.store.drops()).unwrap();
    assert!(written.contains(r#""a""#) && written.contains(r#""b""#), "{written}");
}

#[test]
fn the_drop_of_a_file_in_the_trash_is_written_down_while_others_are_still_to_be_settled() {
    let mut lab = Lab::new();
    let dropped = ["a", "b"].map(|file| lab.put(file));
    for (name, manifest) in &dropped {
        lab.offer(manifest, None);
        lab.drop_at(Millis::MAX, name, manifest);
    }
    lab.folder.settle(&dropped[0].0, Sight::default());
    assert!(!lab.has("a") && lab.has("b"));
    let written = fs::read_to_string(lab.replication.store.drops()).unwrap();
    assert!(written.contains(&dropped[0].1.id().to_string()), "{written}");
}

#[test]
fn an_edit_to_bytes_that_were_dropped_since_goes_to_the_trash_and_is_not_offered_to_nobody() {
    let mut lab = Lab::new();
    let (name, dropped) = lab.put("notes");
    lab.drop_at(Millis::MAX, &name, &dropped);
    lab.save("notes", "before");
    let before = lab.replication.store.manifest(&name).unwrap();
    lab.offer(&before, None);
    lab.save("notes", "notes");
    let found = lab.replication.store.read(&name).unwrap();
    lab.folder.replace(&name, &found, before.id(), false).unwrap();
    assert!(!lab.has("notes") && !lab.is_offered("notes"));
}

#[test]
fn what_is_saved_while_the_manager_is_asked_about_the_former_edit_stays_where_it_is() {
    let mut lab = Lab::new();
    for dropped in [false, true] {
        let (name, first) = lab.put("notes");
        lab.offer(&first, None);
        lab.save("notes", "second");
        let second = lab.replication.store.read(&name).unwrap();
        if dropped {
            lab.drop_at(Millis::MAX, &name, &second.0);
        }
        lab.save("notes", "the third");
        // The manager has answered: others have the first.
        assert!(!lab.folder.replace(&name, &second, first.id(), !dropped).unwrap(), "look again");
        assert_eq!(fs::read_to_string(lab.dir.path().join("notes")).unwrap(), "the third");
        assert!(lab.library().offers().is_empty());
    }
}

#[test]
fn what_changes_between_the_look_and_the_reading_is_looked_at_again() {
    let mut lab = Lab::new();
    let name = "notes".parse().unwrap();
    lab.save("notes", "half");
    let agreed = lab.replication.store.stamp(&name);
    lab.save("notes", "all of it");
    assert!(!lab.folder.settle(&name, Sight { whole_look: true, agreed, changing: 0 }), "look again");
    assert!(!lab.is_offered("notes"));
    let agreed = lab.replication.store.stamp(&name);
    assert!(lab.folder.settle(&name, Sight { whole_look: true, agreed, changing: 0 }));
    assert!(lab.is_offered("notes"));
}

#[test]
fn a_drop_does_not_wait_until_all_that_lies_there_is_read() {
    let mut lab = Lab::new();
    lab.save("new", "to be read");
    let (name, notes) = lab.put("notes");
    lab.offer(&notes, None);
    lab.drop_at(Millis::MAX, &name, &notes);
    lab.folder.look();
    assert!(lab.is_offered("new") && !lab.has("notes"));
}

#[test]
fn a_download_that_is_whole_in_the_moment_when_it_is_dropped_does_not_stay() {
    let mut lab = Lab::new();
    let (name, manifest) = lab.put("film");
    fs::remove_file(lab.dir.path().join("film")).unwrap();
    let store = Arc::clone(&lab.replication.store);
    let partial = Arc::new(store.begin(Arc::clone(&manifest)).unwrap());
    partial.write(manifest.layout().piece(0).unwrap(), b"film").unwrap();
    let offer = Arc::new(Offer::part(&store, &partial));
    lab.library().offer(Arc::clone(&offer));
    lab.drop_at(Millis::MAX, &name, &manifest);
    lab.settle_all();
    store.publish(partial.sync().unwrap()).unwrap();
    offer.complete();
    lab.library().completed(&name);
    lab.settle_all();
    assert!(!lab.has("film") && !lab.is_offered("film"));
}

#[test]
fn bytes_that_are_copied_in_while_they_are_fetched_end_the_download_and_others_do_not() {
    for same in [true, false] {
        let mut lab = Lab::new();
        let (name, manifest) = lab.put("film");
        fs::remove_file(lab.dir.path().join("film")).unwrap();
        let (store, id) = (Arc::clone(&lab.replication.store), manifest.id());
        let part = Arc::new(Offer::part(&store, &Arc::new(store.begin(manifest).unwrap())));
        lab.library().offer(Arc::clone(&part));
        assert!(!lab.replication.is_void(&name, id));
        lab.save("film", if same { "film" } else { "another" });
        lab.folder.look();
        let is_whole = lab.library().get(&name).unwrap().is_whole();
        assert_eq!((lab.replication.is_void(&name, id), is_whole), (same, same));
        lab.library().take_back(&part);
        assert_eq!(lab.is_offered("film"), same, "the download takes back its own offer alone");
    }
}

#[test]
fn a_drop_ends_a_download_of_those_bytes_and_of_no_others() {
    let lab = Lab::new();
    let name: FileName = "notes".parse().unwrap();
    let [old, new] = [1, 2].map(|n| FileId::from([n; 32]));
    let drop = |id, at| lab.replication.dropped(&Dropped { file: name.clone(), id, at });
    let is_void = |id| lab.replication.is_void(&name, id);
    lab.replication.fetch(name.clone());
    drop(old, 10);
    assert_eq!(lab.replication.status().waiting, 1, "which bytes are to come the tracker will say");
    assert_eq!(lab.replication.next_order(), Some(name.clone()));
    drop(old, 11);
    assert!(is_void(old) && !is_void(new), "it fetches others");
    drop(new, 12);
    assert!(is_void(new));
    lab.library().published(&name, new, 13);
    assert!(!is_void(new), "they were put there again");
    drop(new, 14);
    assert!(is_void(new));
}

#[test]
fn while_the_folder_is_paused_what_was_dropped_is_withdrawn_and_goes_to_the_trash_afterwards() {
    let mut lab = Lab::new();
    let (name, manifest) = lab.put("a");
    lab.look_until(|lab| lab.is_offered("a"));
    let marker = lab.dir.path().join(".peerlab/marker");
    let text = fs::read(&marker).unwrap();
    fs::remove_file(&marker).unwrap();
    lab.look_until(|lab| lab.replication.is_paused());
    lab.drop_at(Millis::MAX, &name, &manifest);
    lab.settle_all();
    assert!(lab.has("a") && !lab.is_offered("a"));
    fs::write(&marker, text).unwrap();
    lab.look_until(|lab| !lab.has("a"));
}

#[test]
fn without_its_marker_nothing_in_the_folder_is_touched_also_before_a_look_has_missed_it() {
    let mut lab = Lab::new();
    let (name, manifest) = lab.put("a");
    lab.look_until(|lab| lab.is_offered("a"));
    lab.put("new");
    let marker = lab.dir.path().join(".peerlab/marker");
    let text = fs::read(&marker).unwrap();
    fs::remove_file(&marker).unwrap();
    lab.drop_at(Millis::MAX, &name, &manifest);
    lab.settle_all();
    assert!(lab.folder.settle(&"new".parse().unwrap(), Sight::default()));
    assert!(lab.has("a") && !lab.is_offered("a") && !lab.is_offered("new"));
    assert!(!lab.replication.is_paused(), "no look has come since");
    fs::write(&marker, text).unwrap();
    lab.look_until(|lab| !lab.has("a") && lab.is_offered("new"));
}

#[test]
fn a_batch_of_renamed_files_does_not_pause_the_folder_and_a_batch_of_lost_ones_does() {
    let mut lab = Lab::new();
    let files = ["a", "b", "c", "d"];
    files.iter().for_each(|file| drop(lab.put(file)));
    lab.look_until(|lab| files.iter().all(|file| lab.is_offered(file)));
    for file in files {
        let path = lab.dir.path().join(file);
        fs::rename(&path, path.with_extension("txt")).unwrap();
    }
    let renamed = ["a.txt", "b.txt", "c.txt", "d.txt"];
    lab.look_until(|lab| renamed.iter().all(|file| lab.is_offered(file)));
    assert!(files.iter().all(|file| !lab.is_offered(file)) && lab.replication.status().notes.is_empty());
    renamed.iter().for_each(|file| fs::remove_file(lab.dir.path().join(file)).unwrap());
    lab.look_until(|lab| lab.replication.is_paused());
}

#[test]
fn files_that_were_copied_under_new_names_and_removed_are_found_again_by_their_bytes() {
    for empty in [false, true] {
        let mut lab = Lab::new();
        let files = ["a", "b", "c"];
        files.iter().for_each(|file| if empty { lab.save(file, "") } else { drop(lab.put(file)) });
        lab.look_until(|lab| files.iter().all(|file| lab.is_offered(file)));
        for file in files {
            let path = lab.dir.path().join(file);
            fs::copy(&path, path.with_extension("txt")).unwrap();
            fs::remove_file(path).unwrap();
        }
        lab.folder.look();
        assert_eq!(lab.replication.is_paused(), empty, "empty ones tell nothing");
    }
}

#[test]
fn a_file_that_was_refused_for_its_permissions_is_looked_at_again_as_soon_as_those_change() {
    let mut lab = Lab::new();
    lab.save("notes", "private");
    let allow = |mode| {
        fs::set_permissions(lab.dir.path().join("notes"), fs::Permissions::from_mode(mode)).unwrap();
        lab.replication.store.stamp(&"notes".parse().unwrap())
    };
    let refused = allow(0o000);
    // Nothing is refused to root, who may be the one that runs this: so what a refusal leaves is written here.
    lab.folder.remember_failure(&"notes".parse().unwrap(), refused, "permission denied".into());
    for _ in 0..3 {
        lab.folder.look();
    }
    assert!(!lab.is_offered("notes"), "it looks as it did when it was refused");
    let now = allow(0o644);
    let as_before = |stamp: Stamp| Stamp { status: refused.unwrap().status, ..stamp };
    assert_eq!(now.map(as_before), refused, "only the time of its status tells");
    // Long before a failure is tried again.
    lab.look_until(|lab| lab.is_offered("notes"));
    assert!(lab.folder.failures.0.is_empty() && lab.replication.status().failed.is_empty());
}

#[test]
fn a_file_that_somebody_goes_on_writing_to_is_offered_for_three_looks_more() {
    let mut lab = Lab::new();
    lab.put("log");
    lab.look_until(|lab| lab.is_offered("log"));
    for size in 1..=PATIENT_LOOKS as usize {
        assert!(lab.is_offered("log"));
        lab.save("log", &"x".repeat(10 + size));
        lab.folder.look();
    }
    assert!(!lab.is_offered("log"));
    lab.look_until(|lab| lab.is_offered("log"));
}

#[test]
fn a_conflict_copy_is_left_until_it_has_stood_still_for_a_minute() {
    let mut lab = Lab::new();
    let (name, copy) = lab.put("notes.conflict-ben-0123abcd");
    lab.offer(&copy, None);
    lab.folder.look();
    lab.save(name.as_str(), "one line more");
    let mut waited = lab.folder.look();
    while !lab.folder.watch.is_still(&name) {
        waited += lab.folder.look();
    }
    let minute = lab.library().network.config.scan * 60 / 5;
    assert_eq!(waited, minute, "what is a minute where a look comes every five seconds");
}

#[test]
fn what_cannot_be_trashed_is_said_once_not_offered_and_tried_again() {
    let mut lab = Lab::new();
    let (name, manifest) = lab.put("a");
    lab.look_until(|lab| lab.is_offered("a"));
    let trash = lab.dir.path().join(".peerlab/trash");
    fs::remove_dir(&trash).unwrap();
    fs::write(&trash, "no folder").unwrap();
    lab.drop_at(Millis::MAX, &name, &manifest);
    lab.settle_all();
    for _ in 0..3 {
        lab.folder.look();
    }
    assert!(lab.has("a") && !lab.is_offered("a"));
    let notes = lab.replication.status().notes;
    assert!(notes.len() == 1 && notes[0].contains("should go to the trash"), "{notes:?}");
    // What stood in the way is gone; the pause is over.
    fs::remove_file(&trash).unwrap();
    for failure in lab.folder.failures.0.values_mut() {
        assert_eq!(failure.pause, FIRST_PAUSE);
        failure.again = Instant::now();
    }
    lab.folder.look();
    assert!(!lab.has("a") && lab.folder.failures.0.is_empty());
}
