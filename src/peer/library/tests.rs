//! What follows from each event: news for the manager, and names whose fate is to be decided.

use std::io::{self, Write};
use std::net::TcpListener;
use std::{fs, thread};

use super::publish::News;
use super::*;
use crate::net::key::Key;
use crate::net::message::{FileState, FromManager, encode};
use crate::peer::config::Config;
use crate::peer::network::tests::alone;
use crate::share::Manifest;
use crate::share::store::Store;

const NOW: Duration = Duration::ZERO;

impl Library {
    /// What the manager does not know yet, if this peer is registered.
    pub(in crate::peer) fn news(&self, now: Millis) -> Option<(Credentials, News)> {
        self.next(&mut self.known.lock(), now)
    }
}

/// A peer's library, and a folder with files.
struct Lab {
    _dir: tempfile::TempDir,
    store: Arc<Store>,
    library: Library,
}

fn name(name: &str) -> FileName {
    name.parse().unwrap()
}

impl Lab {
    /// One that the manager knows as number 7.
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let library = Library::new(Arc::new(alone(dir.path())));
        library.network.told(7, Key::random());
        library.network.registered(7);
        Self { store: Arc::new(Store::open(dir.path()).unwrap()), library, _dir: dir }
    }

    fn manifest(&self, file: &str, bytes: &str) -> Arc<Manifest> {
        fs::write(self.store.dir.join(file), bytes).unwrap();
        self.store.manifest(&name(file)).unwrap()
    }

    /// Offers a file with these bytes; gives its id.
    fn offer(&self, file: &str, bytes: &str) -> FileId {
        let manifest = self.manifest(file, bytes);
        let id = manifest.id();
        self.library.offer(Arc::new(Offer::whole(&self.store, manifest)));
        id
    }

    /// Offers what is there of a download: nothing yet.
    fn offer_part(&self, file: &str, bytes: &str) -> Arc<Offer> {
        let manifest = self.manifest(file, bytes);
        fs::remove_file(self.store.dir.join(file)).unwrap();
        let partial = Arc::new(self.store.begin(manifest).unwrap());
        let offer = Arc::new(Offer::part(&self.store, &partial));
        self.library.offer(Arc::clone(&offer));
        offer
    }

    /// The next news as (file, whole), which the manager answers so.
    fn tell(&self, answer: Result<()>) -> Option<(String, Option<bool>)> {
        self.tell_at(0, answer)
    }

    fn tell_at(&self, now: Millis, answer: Result<()>) -> Option<(String, Option<bool>)> {
        let (who, news) = self.library.news(now)?;
        let told = (news.file.to_string(), news.offer.as_ref().map(|_| news.whole));
        let _ = self.library.answered(&who, news, answer);
        Some(told)
    }

    fn unsettled(&self) -> Vec<FileName> {
        std::iter::from_fn(|| self.library.next_unsettled(Instant::now())).collect()
    }

    fn drop_at(&self, at: Millis, file: &str, id: FileId) {
        self.library.dropped(&Dropped { file: name(file), id, at });
    }
}

fn no(code: Code) -> Result<()> {
    Err(Error::new(code, "no"))
}

#[test]
fn what_is_offered_is_told_once_and_again_when_the_manager_has_forgotten_it() {
    let lab = Lab::new();
    assert!(lab.library.news(0).is_none());
    assert_eq!(lab.library.fingerprint(), None, "nothing was told");
    lab.offer("a", "1");
    assert_eq!(lab.tell(Ok(())), Some(("a".into(), Some(true))));
    assert_eq!(lab.tell(Ok(())), None, "it knows that");
    let print = lab.library.fingerprint().unwrap();
    assert_ne!(print, Fingerprint::default());
    lab.offer("a", "1");
    assert_eq!(lab.tell(Ok(())), None, "the same");
    lab.library.tell_again();
    assert_eq!(lab.library.fingerprint(), None);
    assert_eq!(lab.tell(no(Code::Failed)), Some(("a".into(), Some(true))));
    assert_eq!(lab.tell(Ok(())), Some(("a".into(), Some(true))), "it did not answer");
    assert_eq!(lab.library.fingerprint(), Some(print));
    lab.library.network.parted(&Error::failed("gone"), Instant::now());
    lab.library.tell_again();
    assert!(lab.library.news(0).is_none(), "there is nobody to tell it to");
}

#[test]
fn what_is_offered_no_more_is_taken_back_also_where_its_update_is_answered_after_all_was_forgotten() {
    let lab = Lab::new();
    lab.offer("a", "1");
    let (who, news) = lab.library.news(0).unwrap();
    lab.library.withdraw(&name("a"));
    lab.library.tell_again();
    assert!(lab.library.news(0).is_none());
    lab.library.answered(&who, news, Ok(())).unwrap();
    assert_eq!(lab.tell(Ok(())), Some(("a".into(), None)), "the manager lists it");
    assert_eq!((lab.tell(Ok(())), lab.library.fingerprint()), (None, None));
}

#[test]
fn an_answer_of_a_manager_that_has_forgotten_this_peer_says_nothing() {
    let lab = Lab::new();
    lab.offer("a", "1");
    let (_, news) = lab.library.news(0).unwrap();
    let stranger = Credentials { peer: 8, token: None };
    lab.library.answered(&stranger, news, Ok(())).unwrap();
    assert_eq!(lab.library.fingerprint(), None);
}

#[test]
fn a_part_is_told_as_a_part_then_as_a_whole_and_its_end_is_no_news() {
    let lab = Lab::new();
    let offer = lab.offer_part("a", "1");
    assert_eq!(lab.tell(Ok(())), Some(("a".into(), Some(false))));
    offer.complete();
    lab.library.completed(&name("a"));
    assert_eq!(lab.tell(Ok(())), Some(("a".into(), Some(true))));
    let part = lab.offer_part("b", "2");
    assert_eq!(lab.tell(Ok(())), Some(("b".into(), Some(false))));
    lab.library.take_back(&part);
    assert_eq!(lab.tell(Ok(())), None, "its pieces are still on the disk");
    assert_eq!(part.open().map(drop).unwrap_err().code(), Code::NotFound, "it is gone");
    assert!(lab.library.get(&name("b")).is_none());
}

#[test]
fn a_whole_file_that_is_withdrawn_is_taken_off_also_where_the_manager_does_not_know_it() {
    for answer in [Ok(()), no(Code::NotFound)] {
        let lab = Lab::new();
        lab.offer("a", "1");
        lab.tell(Ok(()));
        lab.library.withdraw(&name("a"));
        assert_eq!(lab.tell(no(Code::Failed)), Some(("a".into(), None)));
        assert_eq!(lab.tell(answer), Some(("a".into(), None)));
        assert_eq!(lab.tell(Ok(())), None);
        assert_eq!(lab.library.fingerprint(), None);
        assert!(lab.library.list().eq([FromPeer::End {}]));
    }
}

#[test]
fn of_another_content_of_a_name_the_old_one_is_taken_off_first() {
    let lab = Lab::new();
    let first = lab.offer("a", "1");
    lab.tell(Ok(()));
    let offered = lab.library.get(&name("a")).unwrap();
    let second = lab.offer("a", "two");
    assert_eq!(offered.open().map(drop).unwrap_err().code(), Code::NotFound);
    assert!(lab.library.find(&name("a"), second).is_ok());
    assert_eq!(lab.library.find(&name("a"), first).unwrap_err().code(), Code::NotFound);
    assert_eq!(lab.tell(Ok(())), Some(("a".into(), None)));
    assert_eq!(lab.tell(Ok(())), Some(("a".into(), Some(true))));
    assert_eq!(lab.tell(Ok(())), None);
    let Some(FromPeer::File { id, whole, .. }) = lab.library.list().next() else { panic!() };
    assert_eq!((id, whole), (second, true));
}

#[test]
fn what_is_refused_is_settled_if_it_is_whole_and_told_again_when_it_is_offered_again() {
    for (code, refuses) in [
        (Code::Conflict, true),
        (Code::Busy, true),
        (Code::Expired, true),
        (Code::BadMessage, false),
        (Code::NotFound, false),
    ] {
        let lab = Lab::new();
        let id = lab.offer("a", "1");
        lab.tell(no(code));
        assert_eq!(lab.unsettled().len(), usize::from(refuses), "{code:?}");
        assert_eq!(lab.library.news(0).is_none(), refuses);
        let row = lab.library.take_unsettled(&name("a"), false);
        assert_eq!(row.refused.map(|(refused, no, _)| (refused, no.code)), refuses.then_some((id, code)));
        lab.offer("a", "1");
        assert!(lab.library.news(0).is_some());
    }
    let lab = Lab::new();
    let offer = lab.offer_part("a", "1");
    lab.tell(no(Code::Conflict));
    assert!(lab.unsettled().is_empty(), "a part lies in nobody's way");
    assert!(lab.library.news(0).is_none());
    offer.complete();
    lab.library.completed(&name("a"));
    assert!(lab.library.news(0).is_some());
}

#[test]
fn what_is_refused_as_busy_is_told_again_after_a_minute_and_what_is_refused_for_good_is_not() {
    for (code, again) in [(Code::Busy, true), (Code::Conflict, false), (Code::Expired, false)] {
        let lab = Lab::new();
        lab.offer("a", "1");
        lab.tell_at(1_000, no(code));
        // Offered again, it is refused again, and the minute begins again.
        lab.offer("a", "1");
        lab.tell_at(2_000, no(code));
        assert_eq!(lab.unsettled(), [name("a")], "{code:?}");
        assert_eq!(lab.tell_at(61_999, Ok(())), None, "{code:?}");
        for now in [62_000, 122_000] {
            assert_eq!(lab.tell_at(now, no(code)).is_some(), again, "{code:?} at {now}");
            assert_eq!(lab.tell_at(now, Ok(())), None, "{code:?} at {now}");
            assert!(lab.unsettled().is_empty(), "{code:?}: the same is no news");
        }
        assert_eq!(lab.tell_at(182_000, Ok(())).is_some(), again);
        assert_eq!((lab.tell_at(Millis::MAX, Ok(())), lab.library.fingerprint().is_some()), (None, again));
    }
}

#[test]
fn add_waits_until_the_manager_knows_and_is_told_why_it_does_not() {
    let lab = Lab::new();
    let wait = |lab: &Lab| lab.library.wait_until_told(&name("a"), NOW).map_err(|no| no.code());
    assert_eq!(wait(&lab), Err(Code::NotFound), "it is not offered");
    lab.offer("a", "1");
    assert_eq!(wait(&lab), Err(Code::Failed), "not yet");
    lab.tell(Ok(()));
    assert_eq!(wait(&lab), Ok(()));
    lab.offer("a", "two");
    assert_eq!(wait(&lab), Err(Code::Failed), "of these bytes it knows nothing");
    lab.tell(Ok(()));
    lab.tell(no(Code::Conflict));
    assert_eq!(wait(&lab), Err(Code::Conflict));
    lab.offer("a", "the third");
    assert_eq!(wait(&lab), Err(Code::Failed), "others were refused");
    let (began, patience) = (Instant::now(), Duration::from_millis(20));
    lab.library.wait_until_told(&name("a"), patience).unwrap_err();
    assert!(began.elapsed() >= patience, "it waits for so long");
    std::thread::scope(|scope| {
        let waits = scope.spawn(|| lab.library.wait_until_told(&name("a"), Duration::from_secs(600)));
        lab.tell(Ok(()));
        waits.join().unwrap().unwrap();
    });
}

#[test]
fn what_the_manager_forgets_is_not_what_is_still_to_be_decided() {
    let lab = Lab::new();
    let id = FileId::from([1; 32]);
    lab.library.in_the_way(&name("wanted"), id);
    lab.drop_at(10, "dropped", id);
    lab.offer("a", "1");
    lab.tell(Ok(()));
    lab.library.withdraw(&name("a"));
    lab.library.tell_again();
    assert_eq!(lab.library.take_unsettled(&name("wanted"), false).wanted, Some(id));
    assert_eq!(lab.library.take_unsettled(&name("dropped"), false).dropped, [id].into());
    assert!(lab.library.known.lock().rows.is_empty(), "of what was withdrawn nothing is left");
}

#[test]
fn the_manager_takes_this_peer_off_a_file_at_its_own_wish() {
    let lab = Lab::new();
    lab.offer("a", "1");
    lab.tell(Ok(()));
    lab.library.taken_off(&name("a"));
    assert_eq!(lab.library.fingerprint(), None);
}

#[test]
fn of_another_content_that_is_offered_the_former_publication_is_forgotten() {
    let lab = Lab::new();
    let first = lab.offer("a", "1");
    lab.library.published(&name("a"), first, 20);
    lab.offer("a", "1");
    let (_, News { published, .. }) = lab.library.news(0).unwrap();
    assert_eq!(published, Some(20), "the same content");
    lab.offer("a", "two");
    lab.drop_at(5, "a", first);
    assert_eq!(lab.library.when_dropped(&name("a"), first), Some(5));
}

#[test]
fn of_a_name_one_publication_is_remembered_also_when_its_row_is_gone_and_every_drop() {
    let lab = Lab::new();
    let left = |lab: &Lab| {
        let known = lab.library.known.lock();
        (known.rows.len(), known.versions.size())
    };
    let put = |at, text: &str| {
        let id = lab.manifest("a", text).id();
        lab.library.published(&name("a"), id, at);
        lab.offer("a", text)
    };
    for at in 1..9 {
        put(at, &format!("version {at}"));
        assert_eq!(left(&lab), (1, 1), "an edit in place");
    }
    lab.tell(Ok(()));
    lab.library.withdraw(&name("a"));
    assert_eq!(left(&lab), (1, 1), "the manager lists it");
    lab.tell(Ok(()));
    assert_eq!(left(&lab), (0, 1));
    // It was never told, or the manager has forgotten it.
    put(10, "new");
    lab.library.withdraw(&name("a"));
    assert_eq!((lab.tell(Ok(())), left(&lab)), (None, (0, 1)));
    put(11, "new");
    lab.library.withdraw(&name("a"));
    lab.library.tell_again();
    assert_eq!(left(&lab), (0, 1));
    // What was dropped comes back when it is put here later, and only then.
    let id = put(12, "new");
    lab.tell(Ok(()));
    lab.drop_at(20, "a", id);
    lab.library.withdraw(&name("a"));
    lab.library.take_unsettled(&name("a"), false);
    assert_eq!((lab.tell(Ok(())), left(&lab)), (None, (0, 1)));
    for (at, dropped) in [(19, Some(20)), (20, Some(20)), (21, None)] {
        lab.library.published(&name("a"), id, at);
        assert_eq!(lab.library.when_dropped(&name("a"), id), dropped, "put back at {at}");
    }
}

#[test]
fn drops_of_what_nobody_here_has_seen_push_out_none_of_what_was_offered() {
    let lab = Lab::new();
    let offered = lab.offer("a", "1");
    lab.drop_at(1, "a", offered);
    for n in 0..=SHARE {
        lab.drop_at(2 + n as Millis, &format!("rumour {n}"), FileId::from([9; 32]));
    }
    assert_eq!(lab.library.when_dropped(&name("a"), offered), Some(1));
    assert_eq!(lab.library.when_dropped(&name("rumour 0"), FileId::from([9; 32])), None);
}

#[test]
fn what_is_dropped_is_settled_told_to_nobody_and_remembered() {
    let lab = Lab::new();
    let id = lab.offer("a", "1");
    lab.tell(Ok(()));
    lab.drop_at(10, "a", id);
    lab.drop_at(11, "a", id);
    assert_eq!(lab.library.fingerprint(), None, "the manager lists it for nobody");
    assert_eq!(lab.unsettled(), [name("a")]);
    assert_eq!(lab.library.take_unsettled(&name("a"), true).dropped, [].into(), "while the folder is paused");
    lab.library.unsettle_dropped();
    assert_eq!(lab.unsettled(), [name("a")]);
    assert_eq!(lab.library.take_unsettled(&name("a"), false).dropped, [id].into(), "once");
    assert_eq!(lab.library.take_unsettled(&name("a"), false).dropped, [].into());
    lab.library.unsettle_dropped();
    assert!(lab.library.is_settled());
    assert_eq!(lab.library.when_dropped(&name("a"), id), Some(11));
    lab.library.tell_again();
    assert!(lab.library.news(0).is_none());
    lab.library.published(&name("a"), id, 12);
    assert_eq!(lab.library.when_dropped(&name("a"), id), None);
    let (_, News { published, .. }) = lab.library.news(0).unwrap();
    assert_eq!(published, Some(12), "what is offered still is told again");
}

#[test]
fn what_is_listed_though_it_was_dropped_counts_as_put_back_when_the_manager_was_told_and_lists_it_still() {
    let lab = Lab::new();
    let (manifest, other) = (lab.manifest("a", "1"), lab.manifest("a", "2"));
    let line = |message: &FromManager| encode(message);
    let holders = |there: &Manifest| {
        let found = FileState::of(there, Vec::new(), None);
        [&line(&FromManager::Holders { found, payload: 32 })[..], there.hashes()].concat()
    };
    let gone = line(&FromManager::Error(Refusal::from(&Error::new(Code::NotFound, "nobody offers it"))));
    let dropped = line(&FromManager::Dropped {});
    for (at, told, then) in [
        (10, &dropped, holders(&manifest)),
        (20, &dropped, holders(&other)),
        (30, &dropped, gone.clone()),
        (40, &gone, holders(&other)),
    ] {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let config = Config { manager: listener.local_addr().unwrap(), ..lab.library.network.config.clone() };
        let answers = [holders(&manifest), told.clone(), then].concat();
        let asked = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(&answers).unwrap();
            io::read_to_string(stream).unwrap()
        });
        lab.drop_at(at, "a", manifest.id());
        let mut manager = ManagerClient::new(&config);
        let found = lab.library.look_up(&mut manager, &Credentials::default(), &name("a"));
        drop(manager);
        let (asked, told) = (asked.join().unwrap(), format!("\"id\":\"{}\",\"at\":{at}", manifest.id()));
        assert!(asked.contains(&told), "{asked} should contain {told}");
        let found = found.map(|found| found.manifest.id()).map_err(|no| no.code());
        assert_eq!(found == Ok(other.id()), at == 20 || at == 40, "what the name stands for now");
        let is_put_back = found == Ok(manifest.id());
        assert_eq!(is_put_back, at == 10, "{found:?}");
        assert_eq!(lab.library.when_dropped(&name("a"), manifest.id()).is_none(), is_put_back);
    }
}

#[test]
fn one_that_came_for_a_command_offers_no_more_what_is_dropped_and_keeps_nothing_of_other_drops() {
    let lab = Lab::new();
    let id = lab.offer("a", "1");
    lab.tell(Ok(()));
    for n in 0..3 {
        lab.library.end(&Dropped { file: name(&format!("other {n}")), id, at: 10 });
    }
    assert_eq!((lab.unsettled().len(), lab.library.known.lock().rows.len()), (0, 1));
    lab.library.end(&Dropped { file: name("a"), id, at: 10 });
    assert!(lab.library.get(&name("a")).is_none() && lab.library.fingerprint().is_none());
}

#[test]
fn a_drop_of_what_was_told_outdoes_its_publication_and_one_of_other_bytes_takes_nothing_off() {
    let lab = Lab::new();
    let id = lab.offer("a", "1");
    lab.library.published(&name("a"), id, 20);
    lab.tell(Ok(()));
    lab.drop_at(5, "a", FileId::from([9; 32]));
    assert!(lab.library.fingerprint().is_some());
    assert_eq!(lab.library.when_dropped(&name("a"), id), None);
    lab.drop_at(5, "a", id);
    assert_eq!(lab.library.when_dropped(&name("a"), id), Some(20));
    // What the manager does not list for this peer may have been put there since.
    let other = lab.offer("b", "2");
    lab.library.published(&name("b"), other, 20);
    lab.drop_at(5, "b", other);
    assert_eq!(lab.library.when_dropped(&name("b"), other), None);
}

#[test]
fn drops_are_written_when_there_are_new_ones_and_read_again() {
    let lab = Lab::new();
    let path = lab.store.drops();
    lab.library.save_drops(&path);
    assert!(!path.exists(), "there is nothing new");
    let id = FileId::from([1; 32]);
    lab.drop_at(10, "a", id);
    lab.library.save_drops(&path);
    let written = fs::read(&path).unwrap();
    fs::remove_file(&path).unwrap();
    lab.library.save_drops(&path);
    assert!(!path.exists(), "the disk knows it");
    lab.library.published(&name("b"), id, 11);
    lab.library.save_drops(&path);
    assert!(!path.exists(), "it was no drop that this outdoes");
    lab.library.published(&name("a"), id, 11);
    lab.library.save_drops(&path);
    assert!(fs::read(&path).unwrap().is_empty(), "the drop is void");
    fs::write(&path, written).unwrap();
    let other = Lab::new();
    other.library.load_drops(&path);
    assert_eq!(other.library.drops(), [Dropped { file: name("a"), id, at: 10 }]);
}

#[test]
fn other_bytes_in_the_way_of_a_download_are_named_once() {
    let lab = Lab::new();
    let id = FileId::from([1; 32]);
    lab.library.in_the_way(&name("a"), id);
    assert_eq!(lab.unsettled(), [name("a")]);
    assert_eq!(lab.library.take_unsettled(&name("a"), false).wanted, Some(id));
    assert_eq!(lab.library.take_unsettled(&name("a"), false).wanted, None);
    assert!(lab.library.known.lock().rows.is_empty(), "nothing is left of a name that nobody knows");
}

#[test]
fn one_that_leaves_waits_for_nothing() {
    let lab = Lab::new();
    assert!(!lab.library.is_over());
    lab.library.in_the_way(&name("a"), FileId::from([1; 32]));
    assert!(!lab.library.is_settled());
    lab.library.leave();
    assert!(lab.library.is_over());
    assert_eq!(lab.library.next_unsettled(Instant::now() + Duration::from_secs(600)), None);
    lab.library.publish();
}

#[test]
fn a_list_is_taken_in_pages_so_one_that_does_not_read_it_holds_only_one() {
    let lab = Lab::new();
    let offer = |i: usize| {
        let manifest = Manifest::from_wire(name(&format!("{i:05}")), 0, 1024, &[]).unwrap();
        lab.library.offer(Arc::new(Offer::whole(&lab.store, Arc::new(manifest))));
    };
    let told = |list: &mut dyn Iterator<Item = FromPeer>| -> Vec<String> {
        list.filter_map(|it| if let FromPeer::File { file, .. } = it { Some(file.to_string()) } else { None })
            .collect()
    };
    let names = |numbers: std::ops::Range<usize>| numbers.map(|i| format!("{i:05}")).collect::<Vec<_>>();
    (0..2 * PAGE).for_each(offer);
    assert_eq!(told(&mut lab.library.list()), names(0..2 * PAGE));
    let mut list = lab.library.list();
    assert_eq!(told(&mut list.by_ref().take(PAGE)), names(0..PAGE));
    lab.library.withdraw(&name(&format!("{PAGE:05}")));
    offer(2 * PAGE);
    let rest = names(PAGE + 1..2 * PAGE + 1);
    assert!(told(&mut list) == rest, "it tells what is offered when a page is taken");
}
