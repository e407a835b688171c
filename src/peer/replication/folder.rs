//! The shared folder as its owner: what is offered from it, what is set aside, what goes to the trash.
//!
//! # The rules
//! One thread, `scan_folder`, owns this, so that no two decisions about one file are made at once. It looks into the
//! folder every few seconds ([`watch`](super::watch) says what a look means), and takes names that are unsettled
//! from the library in between. For each it gathers the facts at that moment, and does what the table says
//! ([`decide`](super::decide)).
//!
//! - **Found.** A new file is offered, with the time at which a person put it there (its ctime: a copy makes a new
//!   one). If the same bytes of this name were dropped later than that, it goes to the trash instead.
//! - **Edited in place.** Published content never changes. The new content becomes `STEM.conflict-PEER-HASH.EXT` and
//!   is published as such; the original is not here any more, and heals. Only where nobody else has all of the
//!   original, the new content takes its name: there is nothing from which it could heal. The manager settles that in
//!   one step, so of two that edit the same file one keeps the name.
//! - **A conflict copy that goes on changing**, because a program still writes to it, is left until it has been still
//!   for a minute. Then its former version is dropped everywhere, and the new one takes its name.
//! - **Refused.** The manager lists another content under this name: it is set aside. The first keeps the name.
//! - **Copied in while it is fetched.** It is offered, and an ordered download ends.
//! - **Vanished.** It is offered no more, the manager is told, and orders it again.
//! - **Dropped.** It goes to the trash, and what was on its way is thrown away.
//! - **What fails is tried again** after 5, 10, ... 60 s, or when the file changes; the reason is said once.
//!
//! # What is missing
//! The trash is never emptied; its owner does that. An edit while the peer is not running cannot be told from a new
//! file of that name: the manager's `conflict` settles it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use log::{debug, info};

use super::decide::{Action, Facts, Failures, OnDisk, OnOffer, decide, replaced};
use super::orders::Replication;
use super::watch::{Look, Sight, Watch};
use crate::error::{Code, Error, Result};
use crate::peer::library::offer::Offer;
use crate::peer::library::{Library, Title};
use crate::peer::manager_client::ManagerClient;
use crate::share::store::{Stamp, is_conflict_copy};
use crate::share::{FileId, FileName, Manifest};

/// What lay in the folder when it was read, and how that looked then: what is moved away is this and no other.
type Found = (Arc<Manifest>, Stamp);

/// The thread's view of the folder.
pub(crate) struct Folder {
    replication: Arc<Replication>,
    watch: Watch,
    manager: ManagerClient,
    failures: Failures,
}

impl Folder {
    /// A folder that has not been looked at.
    pub(crate) fn new(replication: Arc<Replication>) -> Self {
        replication.library.load_drops(&replication.store.drops());
        for file in &replication.store.expired {
            replication
                .note(format!("what was here of {file} is removed: that download has lain still for a week"));
        }
        let manager = ManagerClient::new(&replication.library.network.config);
        Self { replication, watch: Watch::default(), manager, failures: Failures::default() }
    }

    /// Looks into the folder now and then, and settles what is unsettled meanwhile, until the peer leaves.
    pub(crate) fn scan_folder(&mut self) {
        while !self.replication.library.is_over() {
            let next = Instant::now() + self.look();
            self.settle_until(next);
        }
        self.save_drops();
    }

    /// Settles what is unsettled until the folder is to be looked at, or the peer leaves.
    fn settle_until(&mut self, next: Instant) {
        while let Some(file) = self.replication.library.next_unsettled(next) {
            self.settle(&file, Sight::default());
            // One write for all drops that came together.
            if self.replication.library.is_settled() {
                self.save_drops();
            }
            if Instant::now() >= next {
                return; // However much there is to do, the folder is looked at in time.
            }
        }
    }

    /// Looks, and settles what was seen; says how long until the next look.
    fn look(&mut self) -> Duration {
        let scan = self.replication.library.network.config.scan;
        let seen = self.see();
        let is_news = self.replication.pause(seen.as_ref().err().map(Error::to_string));
        let Ok(look) = seen else { return scan };
        if is_news {
            self.replication.library.unsettle_dropped();
        }
        let mut settled = look.moving.is_empty();
        for (file, sight) in look.sights() {
            if self.replication.library.is_over() {
                break;
            }
            settled &= self.settle(&file, sight);
            // Where there is much to read, a drop does not wait for all of it.
            self.settle_until(Instant::now());
        }
        self.save_drops();
        if settled { scan } else { scan / 2 }
    }

    /// What lies in the folder.
    ///
    /// # Errors
    /// Why nothing of it is to be believed.
    fn see(&mut self) -> Result<Look> {
        let store = &self.replication.store;
        let dir = store.dir.display();
        if !store.has_marker() {
            return Err(Error::failed(format!(
                "the folder {dir} has lost its marker (.peerlab/marker): is its disk mounted? Nothing is told or fetched \
                 until it is back; if this is the right folder, restart the peer, which makes a new marker"
            )));
        }
        // Before the folder is read: what becomes whole meanwhile may not be seen there, and has not vanished.
        let mut offers = self.replication.library.offers();
        offers.retain(|offer| offer.is_whole() && Arc::ptr_eq(&offer.store, store));
        let offered: Vec<_> = offers.iter().map(|offer| (offer.name().clone(), offer.id())).collect();
        let scan = store
            .scan()
            .map_err(|e| Error::failed(format!("{e}; nothing is told or fetched until that works")))?;
        self.replication.not_shared(scan.ignored);
        let is_known = |name: &FileName, stamp: &Stamp| {
            let known = store.known(name, stamp).map(|known| (name.clone(), known.id()));
            known.is_some_and(|known| offered.binary_search(&known).is_ok())
                || self.failures.waits(name, Some(*stamp), Instant::now())
        };
        let look = self.watch.look(&scan.files, &offered, is_known);
        if look.is_disaster(offered.len(), 0)
            && look.is_disaster(offered.len(), self.found_again(&look, &offered))
        {
            let (lost, all) = (look.vanished.len(), offered.len());
            return Err(Error::failed(format!(
                "{lost} of {all} files have vanished from {dir} at once, which looks like a mistake. Nothing is told \
                 or fetched. Put them back, and it goes on; or restart the peer, which fetches them again; \
                 `drop NAME` removes a file everywhere"
            )));
        }
        Ok(look)
    }

    /// How many of the files that have vanished are there with the same bytes under new names.
    fn found_again(&self, look: &Look, offered: &[(FileName, FileId)]) -> usize {
        let read = look.changed().filter_map(|file| self.replication.store.manifest(file).ok());
        look.found_again(offered, read.filter(|new| new.layout().size() > 0).map(|new| new.id()).collect())
    }

    /// Writes the drops to the disk, if there are new ones.
    fn save_drops(&self) {
        if self.replication.store.has_marker() {
            self.replication.library.save_drops(&self.replication.store.drops());
        }
    }

    /// Does about one name what its facts ask for; false when it must be looked at again soon.
    fn settle(&mut self, file: &FileName, sight: Sight) -> bool {
        let (facts, stamp, read) = self.gather(file, sight);
        let action = decide(&facts);
        debug!("{file}: {action:?} of {facts:?}");
        match self.act(file, &facts, action, read) {
            Ok(settled) => {
                if !matches!(action, Action::Leave | Action::LookAgain) {
                    self.failures.forget(file);
                    self.replication.fails(file, None);
                }
                return settled;
            }
            Err(why) if self.replication.library.is_over() => debug!("{why}"),
            Err(why) => self.remember_failure(file, stamp, why.to_string()),
        }
        true
    }

    /// The facts of a name at this moment, how its file looks, and what was read of it.
    fn gather(&self, file: &FileName, sight: Sight) -> (Facts, Option<Stamp>, Result<Found>) {
        let Replication { store, library, .. } = &*self.replication;
        let paused = self.replication.is_paused() || !store.has_marker();
        let mut row = library.take_unsettled(file, paused);
        row.dropped.iter().for_each(|id| store.forget_download(file, *id));
        let read = match sight.changing {
            0 => store.read(file),
            _ => Err(Error::new(Code::Busy, "it need not be read to see that somebody writes to it")),
        };
        let read = match read {
            Ok((_, stamp)) if !sight.agrees(stamp) => {
                Err(Error::new(Code::Busy, "it has changed since it was seen"))
            }
            read => read,
        };
        let stamp = read.as_ref().map_or_else(|_| store.stamp(file), |(_, stamp)| Some(*stamp));
        row.offer = row.offer.filter(|offer| Arc::ptr_eq(&offer.store, store));
        let on_disk = sight.of(read.as_ref().map(|(there, _)| there.id()).map_err(Error::code));
        let facts = Facts {
            rotted: stamp.is_some_and(|stamp| store.has_rotted(file, &stamp)),
            failed: self.failures.waits(file, stamp, Instant::now()),
            unsteady_copy: self.is_own_copy(file) && !self.watch.is_still(file),
            // The disk may have gone since the last look, or while the file was read.
            paused: paused || !store.has_marker(),
            ..facts_of(library, file, &row, on_disk, stamp)
        };
        (facts, stamp, read)
    }

    /// Whether this is a conflict copy that this peer has made.
    fn is_own_copy(&self, file: &FileName) -> bool {
        is_conflict_copy(file, &self.replication.library.network.config.name)
    }

    /// Does what was decided; false when the name must be looked at again soon.
    ///
    /// # Errors
    /// What failed; it is tried again later.
    fn act(&mut self, file: &FileName, facts: &Facts, action: Action, read: Result<Found>) -> Result<bool> {
        match (action, read, facts.offered) {
            (Action::LookAgain, ..) => return Ok(false),
            (Action::Withdraw, read, _) => {
                info!("{file} is offered no more");
                self.replication.library.withdraw(file);
                if facts.on_disk == OnDisk::Unreadable {
                    read?;
                }
            }
            (Action::Offer, Ok((manifest, _)), _) => self.offer(manifest),
            (Action::Trash, Ok(found), _) if facts.rotted => return self.give_up_rotten(file, &found),
            (Action::Trash, Ok((_, was)), _) => return self.trash(file, &was, "it was dropped"),
            (Action::SetAside, Ok(found), _) => {
                let aside = self.set_aside(file, &found, None, "is the name of another file in the network");
                if facts.wanted.is_some() {
                    self.replication.fetch(file.clone());
                }
                return aside;
            }
            (Action::Replace, Ok(found), OnOffer::Whole(former)) => {
                let Some(elsewhere) = self.taken_off(file, found.0.id()) else { return Ok(false) };
                return self.replace(file, &found, former, elsewhere);
            }
            _ => {}
        }
        Ok(true)
    }

    fn remember_failure(&mut self, file: &FileName, stamp: Option<Stamp>, why: String) {
        self.replication.fails(file, Some(format!("cannot settle it: {why}")));
        self.failures.failed(file, stamp, Instant::now());
    }

    /// These bytes are offered as they lie there. A download of them is void.
    fn offer(&self, manifest: Arc<Manifest>) {
        let Replication { store, library, .. } = &*self.replication;
        library.offer(Arc::new(Offer::whole(store, manifest)));
    }

    /// It stays where it is if it cannot go to the trash, but is not offered to a manager that has dropped it. False
    /// when somebody has saved another one since.
    fn trash(&self, file: &FileName, was: &Stamp, why: &str) -> Result<bool> {
        // Before: who finds a file in the trash (`restore`, and this peer if it is killed now) finds its drop, too.
        self.save_drops();
        let moved = self.replication.store.trash(file, was);
        self.replication.library.withdraw(file);
        let place = moved
            .map_err(|e| Error::new(e.code(), format!("{file} should go to the trash: {why}")).because(e))?;
        place.iter().for_each(|place| info!("{file} is in the trash, {}: {why}", place.display()));
        Ok(place.is_some())
    }

    /// The manager takes this peer off a file, and says whether others have all of a content that is not the one that
    /// is `here` now; `None` when it cannot be asked.
    fn taken_off(&mut self, file: &FileName, here: FileId) -> Option<bool> {
        let network = &self.replication.library.network;
        network.number()?;
        let elsewhere = match self.manager.lost(&network.credentials(), file) {
            Ok(listing) => listing.manifest.id() != here && listing.holders.iter().any(|holder| holder.whole),
            Err(no) if no.code() == Code::NotFound => false,
            Err(e) => {
                debug!("the manager cannot be asked which others have {file}: {e}");
                return None;
            }
        };
        self.replication.library.taken_off(file);
        Some(elsewhere)
    }

    /// An offered file has other bytes now; `elsewhere` says whether others have those that were offered. False when
    /// somebody has saved it once more meanwhile.
    fn replace(&mut self, file: &FileName, found: &Found, former: FileId, elsewhere: bool) -> Result<bool> {
        let (manifest, was) = found;
        let dropped = self.replication.library.when_dropped(file, manifest.id()).is_some();
        let note = match replaced(dropped, elsewhere, self.is_own_copy(file)) {
            Action::SetAside => return self.set_aside(file, found, Some(former), "was edited here"),
            Action::Trash => {
                if !self.trash(file, was, "these bytes were dropped since")? {
                    return Ok(false);
                }
                "is in the trash: these very bytes were dropped since"
            }
            _ => {
                self.offer(Arc::clone(manifest));
                "was edited, and nobody else has all of what it was: it is offered as it is now"
            }
        };
        self.replication.note(format!("{file} {note}"));
        Ok(true)
    }

    /// The bytes of a file have changed, and nobody has written them. It goes to the trash and heals, if others have
    /// it.
    fn give_up_rotten(&mut self, file: &FileName, (rotten, was): &Found) -> Result<bool> {
        let why = "its bytes have changed although nobody has written to it";
        let Some(elsewhere) = self.taken_off(file, rotten.id()) else { return Ok(false) };
        self.replication.library.withdraw(file);
        if !elsewhere {
            return Err(Error::failed(format!("{why}, and nobody else has all of it"))
                .advise("put the right bytes there, or save it again to offer it as it is"));
        }
        let moved = self.trash(file, was, why)?;
        if moved {
            self.replication.note(format!("{file} is in the trash: {why}; it is fetched again from others"));
        }
        Ok(moved)
    }

    /// A file that is not the one of its name is offered under another; the original heals. A conflict copy of this
    /// peer keeps its name, and its `former` version is dropped. False when somebody has saved it once more meanwhile.
    fn set_aside(
        &mut self,
        file: &FileName,
        (manifest, was): &Found,
        former: Option<FileId>,
        why: &str,
    ) -> Result<bool> {
        if self.is_own_copy(file) {
            let who = self.replication.library.network.credentials();
            match self.manager.drop_file(&who, file, former, None) {
                Err(e) if e.code() != Code::NotFound => return Err(e),
                _ => info!("{file} has changed: its former version is dropped"),
            }
            self.offer(Arc::clone(manifest));
            return Ok(true);
        }
        let Replication { store, library, .. } = &*self.replication;
        let cannot =
            |e: Error| Error::new(e.code(), format!("{file} {why}, and cannot be set aside")).because(e);
        library.withdraw(file);
        let own = &library.network.config.name;
        let aside = store.set_aside(file, was, own, manifest.id()).map_err(cannot)?;
        let Some(aside) = aside else { return Ok(false) };
        self.replication
            .note(format!("{file} {why}: your version is kept as {aside}, the other comes in its place"));
        // One that is being written to is found by the next looks.
        self.settle(&aside, Sight::default());
        Ok(true)
    }
}

/// The facts of a name that do not depend on the folder's own memory, where this lies on the disk, and looks so. Bytes
/// that are not offered count as published when they were put there.
pub(super) fn facts_of(
    library: &Library,
    file: &FileName,
    row: &Title,
    on_disk: OnDisk,
    stamp: Option<Stamp>,
) -> Facts {
    let offered = match &row.offer {
        None => OnOffer::No,
        Some(offer) if offer.is_whole() => OnOffer::Whole(offer.id()),
        Some(offer) => OnOffer::Part(offer.id()),
    };
    let id = match (on_disk, offered) {
        (OnDisk::Bytes(id), _) | (_, OnOffer::Whole(id) | OnOffer::Part(id)) => Some(id),
        (_, OnOffer::No) => None,
    };
    if let OnDisk::Bytes(there) = on_disk
        && !matches!(offered, OnOffer::Part(_))
        && offered != OnOffer::Whole(there)
        && let Some(put) = stamp.and_then(|stamp| stamp.put_at())
    {
        // A person has put it there then; what was fetched is offered already.
        library.published(file, there, put);
    }
    let dropped = id.is_some_and(|id| library.when_dropped(file, id).is_some());
    let refused = row.refused.as_ref().filter(|(refused, ..)| Some(*refused) == id);
    let (refused, wanted) = (refused.map(|(_, no, _)| no.code), row.wanted);
    let (rotted, failed, unsteady_copy, paused) = (false, false, false, false);
    Facts { on_disk, offered, dropped, rotted, refused, wanted, failed, unsteady_copy, paused }
}

#[cfg(test)]
mod tests;
