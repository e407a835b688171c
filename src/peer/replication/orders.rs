//! What the manager asks of a peer's folder: files to fetch, and files that are dropped.
//!
//! # The rule
//! The manager's words (`fetch`, `drop`) come in through the membership, which must not wait for a disk. So orders are
//! put into a queue here, and drops into the library. The lock is held for a moment only, and never across I/O.
//!
//! The manager decides which peer should have what, and bounds how many orders run at a peer. A worker takes the next
//! one, asks the tracker which peers have it (on a connection that serves one order after another), and downloads it as
//! `down` would. Nobody tells it to stop: it asks the library again and again whether its bytes are still wanted. One
//! that fails is not repeated here: the manager does that, after a pause.
//!
//! Here is kept, too, why nothing is done, if so, and what `status` is to show.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::unbounded;
use log::{debug, info, warn};
use parking_lot::{Condvar, Mutex};

use crate::error::{Code, Error, Result};
use crate::net::message::{Dropped, FailedFile};
use crate::peer::library::Library;
use crate::peer::manager_client::ManagerClient;
use crate::peer::swarm::download::download;
use crate::peer::swarm::transfer::DownloadSettings;
use crate::peer::swarm::upload::Uploads;
use crate::share::picker::PickOrder;
use crate::share::store::Store;
use crate::share::{FileId, FileName};

/// How many files are fetched at once: as many as the manager orders of one peer.
pub(crate) const WORKERS: usize = 4;

/// How many notes are kept for `status`.
const NOTES: usize = 8;

/// How many files are named for which nothing can be done, and how many that are not shared.
const NAMED: usize = 1000;

/// How long a reason counts that is not given again, besides two looks into the folder: what fails here is tried again
/// after a minute at most, and so does the manager with its orders.
const REASON: Duration = Duration::from_secs(180);

/// How many files may wait to be fetched; the manager repeats what is forgotten.
const QUEUE: usize = 10_000;

/// How many rounds of choking an ordered download may get no piece: in three, a requester that was choked has had a
/// chance. The manager will order it again; until then another file has the place.
const STALL_ROUNDS: u32 = 3;

/// The rounds are this peer's own, and a holder may have longer ones: however short they are made (`--time-scale`), a
/// slow holder has this long to send a piece.
const STALL_LEAST: Duration = Duration::from_secs(3);

/// However long they are made: after this time without progress the manager gives the order up, and the place
/// is wanted for the next one.
const STALL_MOST: Duration = Duration::from_secs(30);

#[derive(Default)]
struct Orders {
    waiting: VecDeque<FileName>,
    running: BTreeSet<FileName>,
    /// What cannot be done about a file, and why, and when that was last so.
    failed: BTreeMap<FileName, (Instant, String)>,
    /// What else lies in the folder, and why it is not shared.
    not_shared: BTreeSet<(String, &'static str)>,
    /// Why nothing is told or fetched.
    paused: Option<String>,
    notes: VecDeque<(Instant, String)>,
    over: bool,
}

impl Orders {
    /// Forgets the reasons that were not given again for so long: another peer has got the order, perhaps.
    fn forget_reasons(&mut self, age: Duration, now: Instant) {
        self.failed.retain(|_, (at, _)| now.saturating_duration_since(*at) <= age);
    }
}

/// What a peer does for the network with its shared folder.
pub struct Replication {
    pub(crate) store: Arc<Store>,
    pub(super) library: Arc<Library>,
    uploads: Arc<Uploads>,
    orders: Mutex<Orders>,
    changed: Condvar,
}

/// What `status` shows.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub(crate) struct ReplicationStatus {
    /// Files that are being fetched by order of the manager.
    pub(crate) fetching: Vec<FileName>,
    /// How many wait for that.
    pub(crate) waiting: usize,
    /// Why nothing is told or fetched, if so.
    pub(crate) paused: Option<String>,
    /// What cannot be done about files, and why.
    pub(crate) failed: Vec<FailedFile>,
    /// What else lies in the folder, and why it is not shared.
    pub(crate) not_shared: BTreeSet<(String, &'static str)>,
    /// What happened to files here, the last last.
    pub(crate) notes: Vec<String>,
}

impl Replication {
    /// In this folder; without its threads.
    pub(crate) fn new(store: Store, library: Arc<Library>, uploads: Arc<Uploads>) -> Self {
        let (store, orders, changed) = (Arc::new(store), Mutex::default(), Condvar::new());
        Self { store, library, uploads, orders, changed }
    }

    /// The manager said `fetch`.
    pub(crate) fn fetch(&self, file: FileName) {
        let mut orders = self.orders.lock();
        let known = orders.running.contains(&file) || orders.waiting.contains(&file);
        if known || orders.paused.is_some() || orders.waiting.len() >= QUEUE {
            return;
        }
        orders.waiting.push_back(file);
        self.changed.notify_one();
    }

    /// The manager said `drop`: the library remembers it at once, and a download of those bytes is void; one of others
    /// under the same name goes on. One that waits in the queue need not be ended: the tracker will say which bytes it
    /// is to fetch, if any.
    pub(crate) fn dropped(&self, drop: &Dropped) {
        self.library.dropped(drop);
        self.orders.lock().failed.remove(&drop.file);
    }

    /// Whether nobody wants a download of these bytes any more: they were dropped, or all of them are offered here.
    pub(super) fn is_void(&self, file: &FileName, id: FileId) -> bool {
        let is_here = self.library.find(file, id).is_ok_and(|offer| offer.is_whole());
        is_here || self.library.when_dropped(file, id).is_some()
    }

    /// The next file to fetch; `None` when this peer leaves.
    pub(super) fn next_order(&self) -> Option<FileName> {
        let mut orders = self.orders.lock();
        self.changed.wait_while(&mut orders, |orders| orders.waiting.is_empty() && !orders.over);
        if orders.over {
            return None;
        }
        let file = orders.waiting.pop_front()?;
        orders.running.insert(file.clone());
        Some(file)
    }

    /// An order has been carried out, or has failed. A reason that may lie here, such as a full disk, is told.
    pub(super) fn fetched(&self, file: &FileName, failed: Option<Error>) {
        self.orders.lock().running.remove(file);
        let elsewhere = |no: &Error| matches!(no.code(), Code::NotFound | Code::Expired | Code::Conflict);
        let why = failed.filter(|no| !elsewhere(no));
        self.fails(file, why.map(|no| format!("cannot fetch it: {no}")));
    }

    /// What is to be done about a file fails for this reason, or, with `None`, no more. The same reason is told once
    /// here; the manager hears it with each `ok`.
    pub(super) fn fails(&self, file: &FileName, why: Option<String>) {
        let mut orders = self.orders.lock();
        let before = orders.failed.remove(file);
        if orders.failed.len() < NAMED {
            orders.failed.extend(why.clone().map(|why| (file.clone(), (Instant::now(), why))));
        }
        drop(orders);
        if let Some(why) = why.filter(|why| before.is_none_or(|(_, before)| before != *why)) {
            self.note(format!("{file}: {why}"));
        }
    }

    /// This lies in the folder, too, and is not shared. Each is said once.
    pub(super) fn not_shared(&self, found: BTreeSet<(String, &'static str)>) {
        let found: BTreeSet<_> = found.into_iter().take(NAMED).collect();
        let before = std::mem::replace(&mut self.orders.lock().not_shared, found.clone());
        for (name, why) in found.difference(&before) {
            warn!("{name:?} is not shared: {why}");
        }
    }

    /// Something happened to a file of a person, who wants to know.
    pub(super) fn note(&self, text: String) {
        warn!("{text}");
        let notes = &mut self.orders.lock().notes;
        notes.push_back((Instant::now(), text));
        if notes.len() > NOTES {
            notes.pop_front();
        }
    }

    /// From now on nothing is told and nothing fetched, or, with `None`, again. True when that is a change.
    pub(super) fn pause(&self, why: Option<String>) -> bool {
        let mut orders = self.orders.lock();
        if orders.paused == why {
            return false;
        }
        if let Some(why) = &why {
            warn!("paused: {why}");
            orders.waiting.clear();
        } else {
            warn!("the folder {} is as it was: going on", self.store.dir.display());
        }
        orders.paused = why;
        true
    }

    /// Whether nothing is told and nothing fetched.
    pub(super) fn is_paused(&self) -> bool {
        self.orders.lock().paused.is_some()
    }

    /// What `status` shows.
    pub(crate) fn status(&self) -> ReplicationStatus {
        let (mut orders, now) = (self.orders.lock(), Instant::now());
        orders.forget_reasons(REASON + self.library.network.config.scan * 2, now);
        let note = |(when, text): &(Instant, String)| format!("{} s ago: {text}", (now - *when).as_secs());
        let failed = |(file, (_, why)): (&FileName, &(Instant, String))| FailedFile {
            file: file.clone(),
            why: why.clone(),
        };
        ReplicationStatus {
            fetching: orders.running.iter().cloned().collect(),
            waiting: orders.waiting.len(),
            paused: orders.paused.clone(),
            failed: orders.failed.iter().map(failed).collect(),
            not_shared: orders.not_shared.clone(),
            notes: orders.notes.iter().map(note).collect(),
        }
    }

    /// Ends the threads.
    pub(crate) fn leave(&self) {
        self.store.stop();
        self.orders.lock().over = true;
        self.changed.notify_all();
    }

    /// Fetches one file after another until the peer leaves.
    pub(crate) fn fetch_ordered(&self) {
        let mut manager = ManagerClient::new(&self.library.network.config);
        while let Some(file) = self.next_order() {
            let mut carried_out = self.carry_out(&mut manager, &file);
            // An order is for a name: if that stands for another content now, for that.
            while carried_out.as_ref().is_err_and(|no| no.code() == Code::Expired) {
                carried_out = self.carry_out(&mut manager, &file);
            }
            if let Err(e) = &carried_out {
                info!("{file} was not fetched: {e}");
            }
            self.fetched(&file, carried_out.err());
        }
    }

    fn carry_out(&self, manager: &mut ManagerClient, file: &FileName) -> Result<()> {
        let Self { store, library, uploads, .. } = self;
        if !store.has_marker() {
            // The empty place where a disk should be mounted is not filled.
            return Err(Error::failed(format!("{} has lost its marker", store.dir.display())));
        }
        let who = library.network.credentials();
        let Ok(found) = library.look_up(manager, &who, file).inspect_err(|no| debug!("{file}: {no}")) else {
            return Ok(()); // The manager orders the file again when it is back.
        };
        let id = found.manifest.id();
        let is_whole_somewhere = found.holders.iter().any(|holder| holder.whole);
        if library.get(file).is_some_and(|offer| offer.id() == id && offer.open().is_ok()) {
            return Ok(()); // It is here, or on its way.
        }
        let (order, repair) = (PickOrder::default(), false);
        let stall = Some(stall(library.network.config.upload.round));
        let is_stopped = &|| self.is_void(file, id) || self.is_paused() || library.is_over();
        let settings = DownloadSettings { library, uploads, store, order, repair, stall, is_stopped };
        match download(settings, manager, found, unbounded().0) {
            Ok(report) => info!("fetched {file}: {} bytes in {:.3} s", report.size, report.seconds),
            // What it has is nobody's wish, or lies there.
            Err(_) if self.is_void(file, id) => store.forget_download(file, id),
            Err(no) if is_stopped() => debug!("{file}: {no}"),
            Err(no) => {
                if no.code() == Code::Conflict && is_whole_somewhere {
                    // Where nobody has all of it, what lies here may be the better copy.
                    library.in_the_way(file, id);
                }
                return Err(no);
            }
        }
        Ok(())
    }
}

/// How long an ordered download may get no piece, at a peer whose rounds of choking are this long.
pub(super) fn stall(round: Duration) -> Duration {
    round.saturating_mul(STALL_ROUNDS).clamp(STALL_LEAST, STALL_MOST)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_that_is_not_given_again_is_forgotten() {
        let (mut orders, then, hour) = (Orders::default(), Instant::now(), Duration::from_secs(3600));
        for (file, at) in [("old", then), ("new", then + hour)] {
            orders.failed.insert(file.parse().unwrap(), (at, "the disk is full".into()));
        }
        orders.forget_reasons(hour - REASON, then + hour);
        assert_eq!(orders.failed.keys().map(FileName::as_str).collect::<Vec<_>>(), ["new"]);
    }

    #[test]
    fn however_short_the_rounds_a_slow_holder_has_time_for_a_piece_and_however_long_the_place_is_given_back()
    {
        let stall_ms = |scale: f64| stall(Duration::from_secs(10).div_f64(scale)).as_millis();
        assert_eq!([100.0, 10.0, 2.0, 1.0, 0.01].map(stall_ms), [3_000, 3_000, 15_000, 30_000, 30_000]);
    }
}
