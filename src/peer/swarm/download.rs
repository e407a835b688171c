//! A file from all its holders at once.
//!
//! # The problem
//! Each of several holders has all of a file or some of it. They are fast or slow, come and go, choke, lie, or
//! fall silent. The file is to be here soon, and right.
//!
//! # The rule
//! One thread for each holder ([`fetch_from`]) listens to it. The [`Picker`] behind one lock knows which holder has
//! what and owes what; a change to that also asks for more ([`transfer`](super::transfer)). The thread of the download
//! itself sees to it that there are holders to listen to, and says why nothing comes. It gives up when it is told to,
//! or when no holder has been there for long.
//!
//! A piece counts when its hash is right and it is written. A wrong one is thrown away, its sender remembered,
//! and after the second no longer asked. What a lost holder owed is open again (E8). One that owes pieces and has sent
//! none for a minute is lost, too, whatever else it says. Holders that appear while it runs are asked, too: the tracker
//! is queried every second, and more often at the start.
//!
//! The part that is here is offered from the beginning, and the manager is told of it.
//!
//! # What is missing
//! A neighbour hears that we have a piece, and then does not send it a second time. But from one that has begun to send
//! it, a piece may come twice in the endgame. It is counted. And a neighbour that sends a piece as slowly as it may,
//! a KiB a second, is waited for: where two in the endgame do that with the same piece, no third is asked meanwhile.

use std::path::Path;
use std::sync::Arc;
use std::thread::Scope;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use log::debug;
use parking_lot::{Condvar, Mutex};
use serde::Serialize;

use super::holder::fetch_from;
use super::rate::Share;
use super::transfer::{DownloadEvent, DownloadSettings, Neighbours, Transfer};
use crate::error::{Code, Error, Result};
use crate::net::message::{Holder, NOBODY, PeerId};
use crate::net::outbox::Outbox;
use crate::peer::library::Library;
use crate::peer::library::offer::{Offer, Source};
use crate::peer::manager_client::{Listing, ManagerClient};
use crate::share::picker::{Picker, Waste};
use crate::share::store::Partial;
use crate::share::{FileName, Manifest};
use crate::thread;

/// How long after its first answer the tracker is asked for new holders. A peer that begins at the same moment is not
/// listed yet when we ask; until we know it, neither has anything from the other.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// How long the manager may take to say in the middle of a download who has the file now.
const ANSWER_TIME: Duration = Duration::from_secs(1);

/// How often it is asked later: the pause doubles until it is this long.
const QUERY_PAUSE: Duration = Duration::from_secs(1);

/// How often a download that may be given up looks whether it is.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// How long a download that a person asked for waits for a holder when there is none, and how long an ordered one: others
/// wait for the place it takes.
const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const ORDER_PATIENCE: Duration = Duration::from_secs(10);

/// How long no piece comes before it is told, and why.
const QUIET: Duration = Duration::from_secs(3);

/// How long a holder that is not listed any more may say nothing.
pub(crate) const GONE: Duration = Duration::from_secs(5);

/// The most holders that are asked at the same time: our neighbours.
const NEIGHBOURS: usize = 40;

/// What all pieces together may take that are on their way, in bytes; each neighbour has one in memory.
const IN_MEMORY: usize = 24 << 20;

/// What a download has cost.
#[derive(Debug, Serialize)]
pub(crate) struct DownloadReport {
    pub(crate) file: FileName,
    pub(crate) size: u64,
    /// From the first answer of the tracker to the last piece, verified and written.
    pub(crate) seconds: f64,
    pub(crate) pieces: u32,
    #[serde(flatten)]
    pub(crate) waste: Waste,
    pub(crate) from: Vec<Share>,
}

impl DownloadReport {
    /// Of one that fetched nothing.
    pub(crate) fn of(manifest: &Manifest) -> Self {
        let (file, layout, from) = (manifest.name().clone(), manifest.layout(), Vec::new());
        let (size, pieces, seconds) = (layout.size(), layout.pieces(), 0.0);
        Self { file, size, seconds, pieces, waste: Waste::default(), from }
    }
}

/// Fetches a file that the tracker has found.
///
/// # Errors
/// `conflict` when another file of its name is in the way; `expired` when the name stands for another content now;
/// `busy` when it is being fetched already, or the disk is full; `not_found` when no holder has been there for long; a
/// plain failure when the disk fails or it is given up.
pub(crate) fn download(
    settings: DownloadSettings<'_>,
    manager: &mut ManagerClient,
    found: Listing,
    events: Sender<DownloadEvent>,
) -> Result<DownloadReport> {
    let DownloadSettings { library, uploads, store, order, .. } = settings;
    let manifest = Arc::new(found.manifest);
    let elsewhere = offered_from_elsewhere(library, manifest.name(), &store.dir);
    let partial = Arc::new(begin(&settings, &manifest, elsewhere.as_deref())?);
    let offer = Arc::new(Offer::part(store, &partial));
    let began = Instant::now();
    let download = uploads.requesters.lock().register.begin(&manifest, began);
    let nothing = Neighbours::new(Picker::new(partial.have(), order, rand::random()), began);
    let (neighbours, changed) = (Mutex::new(nothing), Condvar::new());
    let transfer = Transfer { settings, download, partial, neighbours, changed, events };
    transfer.look()?;
    let (began, have) = (Instant::now(), transfer.partial.have());
    let (pieces, size) = (manifest.layout().pieces(), manifest.layout().size());
    let _ = transfer.events.send(DownloadEvent::Begun { have: have.count(), pieces, size });
    *transfer.neighbours.lock() = Neighbours::new(Picker::new(have, order, rand::random()), began);
    if elsewhere.is_none() {
        library.offer(Arc::clone(&offer));
    }
    let fetched = transfer.fetch(manager, found.holders, found.requester);
    let seconds = began.elapsed().as_secs_f64();
    fetched.and_then(|()| transfer.publish()).inspect_err(|_| library.take_back(&offer))?;
    offer.complete();
    // What is saved in another folder is no news.
    if elsewhere.is_none() {
        library.completed(manifest.name());
    }
    Ok(DownloadReport {
        seconds,
        waste: transfer.neighbours.lock().picker.waste,
        from: uploads.requesters.lock().register.shares(download),
        ..DownloadReport::of(&manifest)
    })
}

/// The offer of a file of this name from another folder than this one, if it can be had there. It stays what is
/// offered: what is saved elsewhere is a copy, which its owner may move or delete without telling anybody.
pub(crate) fn offered_from_elsewhere(
    library: &Library,
    file: &FileName,
    folder: &Path,
) -> Option<Arc<Offer>> {
    let offer = library.get(file)?;
    (!offer.store.is_at(folder) && offer.open().is_ok()).then_some(offer)
}

/// Begins a download on the disk, with what is there of it already: from a former run, in the file that it repairs, or
/// in another folder of this peer.
fn begin(
    settings: &DownloadSettings<'_>,
    manifest: &Arc<Manifest>,
    elsewhere: Option<&Offer>,
) -> Result<Partial> {
    let (store, name, new) = (settings.store, manifest.name(), Arc::clone(manifest));
    if !settings.repair {
        store.is_free(name)?;
    }
    match elsewhere.filter(|offer| offer.id() == manifest.id()).map(Offer::open) {
        _ if settings.repair => store.repair(new),
        Some(Ok(Source::Whole(there))) => store.begin_from(new, there.file),
        _ => store.begin(new),
    }
}

impl Transfer<'_> {
    /// Looks what is here already. To hash it may take a while, in which each piece that is found is a sign of life.
    fn look(&self) -> Result<()> {
        if self.partial.needs_look() {
            self.note(format!("checking which pieces of {} are here already", self.name()));
        }
        self.partial.look(|| {
            let have = self.partial.have().count();
            self.settings.uploads.requesters.lock().register.found(self.download, have);
            !(self.settings.is_stopped)()
        })
    }

    /// Fetches what is missing, and ends every conversation.
    fn fetch(&self, manager: &mut ManagerClient, holders: Vec<Holder>, requester: PeerId) -> Result<()> {
        std::thread::scope(|scope| {
            let fetched = self.find_holders(scope, manager, (holders, requester));
            let mut state = self.neighbours.lock();
            state.over = true;
            state.lines().for_each(|(_, line)| line.close());
            self.changed.notify_all();
            fetched
        })
    }

    /// The file appears under its name.
    fn publish(&self) -> Result<()> {
        let DownloadSettings { library, store, repair, .. } = self.settings;
        // That may take a while, in which it may have been dropped.
        let on_disk = self.partial.sync()?;
        if (self.settings.is_stopped)() {
            return Err(self.stopped());
        }
        if !repair {
            return store.publish(on_disk);
        }
        if let Some(aside) = store.replace(on_disk, &library.network.config.name)? {
            self.note(format!("{} was edited before it was repaired: that is kept as {aside}", self.name()));
        }
        Ok(())
    }

    fn name(&self) -> &FileName {
        self.partial.manifest.name()
    }

    fn stopped(&self) -> Error {
        Error::failed(format!("the download of {} was stopped; its pieces are kept", self.name()))
    }

    /// Sees to it that there are holders to listen to, until the download has come to an end.
    fn find_holders<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        manager: &mut ManagerClient,
        (mut holders, mut requester): (Vec<Holder>, PeerId),
    ) -> Result<()> {
        let mut pause = FIRST_PAUSE;
        loop {
            for holder in holders {
                self.listen_to(scope, holder, requester);
            }
            let end = Instant::now() + pause;
            pause = QUERY_PAUSE.min(pause * 2);
            let mut state = self.neighbours.lock();
            while Instant::now() < end {
                if self.is_done(&mut state, Instant::now())? {
                    return Ok(());
                }
                self.changed.wait_until(&mut state, end.min(Instant::now() + STOP_CHECK));
            }
            drop(state);
            // So neighbours that have had nothing to do for us for long hear that we are still there.
            self.change(|state, now| {
                let quiet = state.quiet(now);
                if quiet >= QUIET {
                    let _ = self.events.send(DownloadEvent::Quiet(quiet, self.why_quiet(state, now)));
                }
            });
            (holders, requester) = self.query_again(manager)?;
        }
    }

    /// Whether the download is done. When it is to be given up, the error says why.
    fn is_done(&self, state: &mut Neighbours<Outbox>, now: Instant) -> Result<bool> {
        let (name, stall) = (self.name(), self.settings.stall);
        if let Some(failed) = state.failed.take() {
            return Err(failed);
        }
        if state.picker.is_done() {
            return Ok(true);
        }
        if (self.settings.is_stopped)() {
            return Err(self.stopped());
        }
        if stall.is_some() && state.disk_full {
            return Err(Error::new(Code::Busy, "the disk is full").advise("make room there"));
        }
        if stall.is_some_and(|stall| state.quiet(now) >= stall) {
            return Err(Error::failed(self.why_quiet(state, now)).advise("the pieces are kept"));
        }
        let patience = if stall.is_some() { ORDER_PATIENCE } else { PATIENCE };
        if state.lonely(now) < patience {
            return Ok(false);
        }
        let why = format!("no holder of {name} could be reached for {} s", patience.as_secs());
        Err(Error::new(Code::NotFound, why).advise("the pieces are kept; try again when a holder is back"))
    }

    /// Who has the file now. A manager that is away, or stopped, delays only newcomers: the last piece may come
    /// meanwhile, so an answer is not waited for long.
    fn query_again(&self, manager: &mut ManagerClient) -> Result<(Vec<Holder>, PeerId)> {
        let who = self.settings.library.network.credentials();
        let found =
            manager.query_within(ANSWER_TIME, &who, self.name(), true).inspect_err(|no| debug!("{no}"));
        let Ok(found) = found else { return Ok((Vec::new(), NOBODY)) };
        if found.manifest.id() != self.partial.manifest.id() {
            let why = format!("{} stands for another content now", self.name());
            return Err(Error::new(Code::Expired, why).advise("run the command again for that"));
        }
        // A neighbour that is silent and not listed any more was taken off by the manager. What it owes is asked of
        // others.
        let is_listed = |peer| found.holders.iter().any(|holder| holder.peer == peer);
        let (state, now) = (self.neighbours.lock(), Instant::now());
        let gone = state.silent(GONE, now).filter(|(peer, _)| !is_listed(*peer));
        gone.for_each(|(_, line)| line.close());
        Ok((found.holders, found.requester))
    }

    /// Starts a thread that listens to a holder, unless there is one.
    fn listen_to<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, holder: Holder, requester: PeerId) {
        let own = holder.peer == requester || holder.addr == self.settings.library.network.addr;
        let piece_size = self.partial.manifest.layout().piece_size() as usize;
        let most = (IN_MEMORY / piece_size).clamp(4, NEIGHBOURS);
        if own {
            return;
        }
        if let Err(makes_room) = self.neighbours.lock().admit(&holder, most, Instant::now()) {
            return makes_room.iter().for_each(Outbox::close);
        }
        let listened = holder.clone();
        let thread = thread::start_scoped(scope, "fetch_from", move || {
            self.lost(&listened, fetch_from(self, &listened, requester));
        });
        if let Err(e) = thread {
            // The holders that are listened to go on.
            self.lost(&holder, Err(e));
        }
    }

    /// No thread listens to a holder any more.
    fn lost(&self, holder: &Holder, why: Result<()>) {
        self.change(|state, now| {
            let is_lost = state.left(holder.peer, now) && !state.over;
            if let (Err(e), true) = (why, is_lost) {
                self.note(format!("{} is not asked any more: {}", holder.name, e.unadvised()));
            }
        });
    }
}
