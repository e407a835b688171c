//! The shared folder as its owner: what is offered from it, what is set aside, what goes to the trash.
//!
//! # The rules
//! One thread owns this, so that no two decisions about one file are made at once.
//!
//! - **Found.** A new file is offered, with the time at which a person put it there (its ctime: a copy makes a new one).
//!   If the same bytes of this name were dropped later than that, it goes to the trash instead.
//! - **Edited in place.** Published content never changes. The new content becomes `STEM.conflict-PEER-HASH.EXT` and
//!   is published as such; the original is not here any more, and heals. Only where nobody else has all of the
//!   original, the new content takes its name: there is nothing from which it could heal.
//! - **Refused.** The manager lists another content under this name: the same. Who was first keeps the name.
//! - **Vanished.** It is offered no more, the manager is told, and orders it again.
//! - **Dropped.** It goes to the trash, if it is those bytes and they were not put there later; what was on its way is
//!   thrown away, and the drop is remembered from the moment at which it is told. A drop that became void while this
//!   thread was busy, because the file was fetched anew, is not carried out. What cannot be moved to the trash is
//!   offered no more, and let be. While nothing is told (see [`watch`](crate::peer::replication::watch)), what has vanished is missed no
//!   more when it is dropped; the rest goes to the trash when the pause ends.
//!
//! # What is missing
//! The trash is never emptied; its owner does that. An edit while the peer is not running cannot be told from a new
//! file of that name: the manager's `conflict` settles it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Receiver;
use log::{debug, info, warn};

use super::context::Replication;
use super::watch::Watch;
use crate::clock::Millis;
use crate::error::{Code, Result};
use crate::peer::library::Task;
use crate::peer::library::drops::Drop;
use crate::peer::library::offer::Offer;
use crate::peer::manager_client::ManagerClient;
use crate::share::store::Reading;
use crate::share::{FileId, FileName, Manifest};

/// The thread's view of the folder.
#[derive(Debug)]
pub struct Folder {
    replication: Arc<Replication>,
    watch: Watch,
    manager: ManagerClient,
}

impl Folder {
    /// A folder that has not been looked at.
    pub fn new(replication: Arc<Replication>) -> Self {
        replication.library.drops().load(&replication.store.drops());
        let manager = ManagerClient::new(replication.library.network().manager());
        Self { replication, watch: Watch::default(), manager }
    }

    /// Looks, and does what follows; says how long until the next look.
    pub fn look(&mut self) -> Duration {
        let (store, library) = (Arc::clone(&self.replication.store), Arc::clone(&self.replication.library));
        let dir = store.dir().display();
        if !store.has_marker() {
            self.replication.pause(Some(format!(
                "the folder {dir} has lost its marker (.peerlab/marker): is its disk mounted? Nothing is told or fetched \
                 until it is back; if this is the right folder, restart the peer, which makes a new marker"
            )));
            return self.replication.scan;
        }
        // Before the folder is read: what becomes whole meanwhile may not be seen there, and has not vanished.
        let offered = library.whole_in(&store);
        let scan = match store.scan() {
            Ok(scan) => scan,
            Err(e) => {
                self.replication.pause(Some(format!("{e}; nothing is told or fetched until that works")));
                return self.replication.scan;
            }
        };
        for (name, why) in &scan.ignored {
            debug!("{name} is not offered: {why}");
        }
        let known = |name: &FileName, stamp: &_| {
            let place = offered.binary_search_by(|(other, _)| other.cmp(name));
            place.is_ok_and(|at| store.known(name, stamp).is_some_and(|known| known.id() == offered[at].1))
        };
        let look = self.watch.look(&scan.files, &offered, known);
        if look.disaster {
            let (lost, all) = (look.vanished.len(), offered.len());
            self.replication.pause(Some(format!(
                "{lost} of {all} files have vanished from {dir} at once, which looks like a mistake. Nothing is told \
                 or fetched. Put them back, and it goes on; or restart the peer, which fetches them again; \
                 `drop NAME` removes a file everywhere"
            )));
            return self.replication.scan;
        }
        if self.replication.is_paused() {
            self.replication.pause(None);
            self.catch_up(&offered);
        }
        for name in look.vanished {
            info!("{name} is gone from {dir}");
            library.withdraw(&name);
        }
        let mut unsettled = look.unsettled;
        for name in look.read {
            if library.is_over() {
                break;
            }
            unsettled |= !self.read(&name);
        }
        self.save_drops();
        if unsettled { self.replication.scan / 2 } else { self.replication.scan }
    }

    /// Does what it is asked to.
    pub fn obey(&mut self, task: Task) {
        match task {
            Task::Drop { drop, listed } => self.dropped(&drop, listed),
            _ if self.replication.is_paused() => {}
            Task::Refused { file, id } => self.refused(&file, id),
            Task::InTheWay { file, wanted } => self.in_the_way(&file, wanted),
            Task::Leave => {}
        }
    }

    /// Writes the drops to the disk, if there are new ones.
    pub fn save_drops(&self) {
        let (store, drops) = (&self.replication.store, self.replication.library.drops());
        if store.has_marker()
            && let Err(e) = drops.save(&store.drops())
        {
            warn!("{e}");
        }
    }

    /// Reads a file that seems steady; false when it must be looked at again.
    fn read(&mut self, name: &FileName) -> bool {
        let (store, library) = (&self.replication.store, &self.replication.library);
        let manifest = match store.manifest(name) {
            Ok(Reading::Steady(manifest)) => manifest,
            Ok(Reading::Changing) => return false,
            Err(_) if library.is_over() => return true,
            Err(e) => {
                warn!("{name} is not offered: {e}");
                self.watch.let_be(name);
                return true;
            }
        };
        match library.get(name) {
            // It was only touched, or is being fetched: then whoever fetches it finds it in the way.
            Some(offer) if offer.id() == manifest.id() || !offer.is_whole() => true,
            Some(offer) if Arc::ptr_eq(offer.store(), store) => self.edited(name, &manifest),
            _ => {
                self.found(name, manifest);
                true
            }
        }
    }

    /// A file is offered, unless it was dropped since it was put here.
    fn found(&mut self, name: &FileName, manifest: Arc<Manifest>) {
        let replication = &self.replication;
        let put = replication.store.put_at(name);
        if let Some(at) = replication.library.drops().when(name, manifest.id()) {
            if put.is_none_or(|put| put <= at) {
                return self.trash(name, "it was dropped while this peer was away");
            }
            replication.library.drops().put_back(name, manifest.id());
        }
        replication.library.offer(Arc::new(Offer::whole(&replication.store, manifest, put)));
    }

    /// An offered file has another content now; false when that must wait for the manager.
    fn edited(&mut self, name: &FileName, manifest: &Arc<Manifest>) -> bool {
        let replication = Arc::clone(&self.replication);
        let own = replication.library.network().number();
        let elsewhere = match self.manager.query(0, name) {
            Ok(found) => found.holders.iter().any(|holder| holder.whole && Some(holder.peer) != own),
            Err(no) if no.code() == Code::NotFound => false,
            Err(e) => {
                debug!("{name} was edited, and the manager cannot be asked who else has it: {e}");
                return false;
            }
        };
        if elsewhere {
            self.set_aside(name, manifest.id(), "was edited here");
        } else {
            replication.note(format!(
                "{name} was edited, and nobody else has all of it: it is offered as it is now"
            ));
            self.found(name, Arc::clone(manifest));
        }
        true
    }

    /// The manager lists other bytes under this name.
    fn refused(&mut self, name: &FileName, id: FileId) {
        let (store, library) = (&self.replication.store, &self.replication.library);
        let ours =
            |offer: &Arc<Offer>| offer.id() == id && offer.is_whole() && Arc::ptr_eq(offer.store(), store);
        if library.get(name).as_ref().is_some_and(ours) && store.open_known(name, id).is_ok() {
            self.set_aside(name, id, "is the name of another file in the network");
        }
    }

    /// A file that is to be fetched finds another one of its name. One that is written to now is let be: the order
    /// will come again.
    fn in_the_way(&mut self, name: &FileName, wanted: FileId) {
        match self.replication.store.manifest(name) {
            Ok(Reading::Steady(there)) if there.id() == wanted => self.found(name, there),
            Ok(Reading::Steady(there)) => {
                self.set_aside(name, there.id(), "is the name of another file in the network");
                self.replication.fetch(name.clone());
            }
            Ok(Reading::Changing) => {}
            Err(e) => info!("{name} cannot be fetched: {e}"),
        }
    }

    /// A file that is not the one of its name is offered under another; the original heals.
    fn set_aside(&mut self, name: &FileName, id: FileId, why: &str) {
        let replication = Arc::clone(&self.replication);
        let set_aside = || -> Result<_> {
            let aside = replication.store.set_aside(
                name,
                &replication.library.network().own_name().to_string(),
                id,
            )?;
            Ok((aside.clone(), replication.store.manifest(&aside)?))
        };
        match set_aside() {
            Ok((aside, reading)) => {
                replication.note(format!(
                    "{name} {why}: your version is kept as {aside}, the other comes in its place"
                ));
                replication.library.withdraw(name);
                // One that is being written to is found by the next looks.
                if let Reading::Steady(manifest) = reading {
                    self.found(&aside, manifest);
                }
            }
            Err(e) => replication.note(format!("{name} {why}, and cannot be set aside: {e}")),
        }
    }

    /// The manager has said that a file was dropped, and this peer has remembered it then. Of one that was `listed`
    /// for this peer it has compared the times, by its own clock; of another this peer must.
    fn dropped(&mut self, drop: &Drop, listed: bool) {
        let replication = Arc::clone(&self.replication);
        let (name, id) = (drop.file.clone(), drop.id);
        // What was fetched is not there because a person wants it; what lies there unread may be.
        let offer = replication.library.get(&name).filter(|offer| offer.id() == id);
        let store = &replication.store;
        let vanished = store.has_marker()
            && store.is_free(&name).is_ok()
            && offer.as_ref().is_some_and(|offer| offer.is_whole() && Arc::ptr_eq(offer.store(), store));
        let put = match offer {
            _ if listed => None,
            Some(offer) => offer.published(),
            None => replication.store.put_at(&name),
        };
        let put_back = replication.library.drops().is_void(drop);
        if !put_back && !replication.is_paused() {
            replication.store.forget_download(&name, id);
            self.trash_if_older(drop, put);
        }
        if !put_back && vanished {
            // Else it would be missed for ever, and the pause not end.
            replication.library.withdraw(&name);
        }
        replication.library.dropped(&name, id);
    }

    /// The pause is over: what was dropped meanwhile goes to the trash.
    fn catch_up(&mut self, offered: &[(FileName, FileId)]) {
        for (name, id) in offered {
            if let Some(at) = self.replication.library.drops().when(name, *id)
                && let Some(offer) = self.replication.library.get(name).filter(|offer| offer.id() == *id)
            {
                let drop = Drop { file: name.clone(), id: *id, at };
                self.trash_if_older(&drop, offer.published());
            }
        }
        for part in self.replication.store.unfinished().unwrap_or_default() {
            if self.replication.library.drops().when(part.name(), part.id()).is_some() {
                self.replication.store.forget_download(part.name(), part.id());
            }
        }
    }

    /// Takes a file to the trash if it is these bytes, and nobody put it here since then. If somebody did, the drop is
    /// void, as where such a file is found: nobody is to be told of a drop that did not count.
    fn trash_if_older(&mut self, drop: &Drop, put: Option<Millis>) {
        let there = self.replication.store.manifest(&drop.file);
        let is_it = matches!(there, Ok(Reading::Steady(there)) if there.id() == drop.id);
        // To read it took a while, in which it may have been fetched anew.
        let drops = self.replication.library.drops();
        if !is_it || drops.is_void(drop) {
            return;
        }
        if put.is_some_and(|put| put > drop.at) {
            drops.outdone(drop);
        } else {
            self.trash(&drop.file, "it was dropped");
        }
    }

    fn trash(&mut self, name: &FileName, why: &str) {
        match self.replication.store.trash(name) {
            Ok(place) => {
                info!("{name} is in the trash, {}: {why}", place.display());
                self.replication.library.withdraw(name);
            }
            Err(e) => {
                self.replication.note(format!("{name} should go to the trash ({why}): {e}"));
                // It stays where it is, but is not offered again and again to a manager that has dropped it.
                self.replication.library.withdraw(name);
                if let Some(stamp) = self.replication.store.stamp(name) {
                    self.watch.let_be_as(name, stamp);
                }
            }
        }
    }
}

/// Looks into the folder now and then, and does what it is asked to meanwhile.
pub(super) fn scan_folder(folder: &mut Folder, todo: &Receiver<Task>) {
    loop {
        let next = Instant::now() + folder.look();
        if !obey_until(next, folder, todo) {
            return;
        }
    }
}

/// Does what it is asked to until the folder is to be looked at; false when the peer leaves.
fn obey_until(next: Instant, folder: &mut Folder, todo: &Receiver<Task>) -> bool {
    loop {
        match todo.recv_deadline(next) {
            Ok(Task::Leave) => {
                folder.save_drops();
                return false;
            }
            Ok(task) => folder.obey(task),
            Err(_) => return true,
        }
        if Instant::now() >= next {
            return true; // However much there is to do, the folder is looked at in time.
        }
        // One write for all drops that came together.
        if todo.is_empty() {
            folder.save_drops();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::peer::config::{Config, UploadSettings};
    use crate::peer::library::Library;
    use crate::peer::network::Network;
    use crate::peer::swarm::upload::Uploads;
    use crate::share::store::Store;

    /// A peer's folder without threads: what they would be asked for comes out of the receiver.
    struct Lab {
        dir: tempfile::TempDir,
        replication: Arc<Replication>,
        folder: Folder,
        todo: Receiver<Task>,
    }

    impl Lab {
        fn new() -> Self {
            let dir = tempfile::tempdir().unwrap();
            let nowhere = ([127, 0, 0, 1], 1).into();
            let upload = UploadSettings { up: None, down: None, unchoke: 4, time_scale: 1.0 };
            let config = Config {
                manager: nowhere,
                listen: nowhere,
                advertise: None,
                name: "ben".parse().unwrap(),
                slots: 0,
                keeps: true,
                data: dir.path().into(),
                offers: true,
                scan: Duration::from_secs(1),
                upload,
            };
            let store = Arc::new(Store::open(dir.path()).unwrap());
            let network = Arc::new(Network::new(&config, nowhere));
            let (library, uploads) = (Arc::new(Library::new(network)), Arc::new(Uploads::new(upload)));
            let (replication, todo) = Replication::new(&config, store, library, uploads);
            let folder = Folder::new(Arc::clone(&replication));
            Self { dir, replication, folder, todo }
        }

        fn put(&self, file: &str) -> (FileName, Arc<Manifest>) {
            fs::write(self.dir.path().join(file), file).unwrap();
            let name = file.parse().unwrap();
            let Ok(Reading::Steady(manifest)) = self.replication.store.manifest(&name) else {
                panic!("{file}")
            };
            (name, manifest)
        }

        /// Offers a file, with the moment before which nobody put it there.
        fn offer(&self, manifest: &Arc<Manifest>, published: Option<Millis>) {
            let offer = Offer::whole(&self.replication.store, Arc::clone(manifest), published);
            self.replication.library.offer(Arc::new(offer));
        }

        fn carry_out(&mut self) {
            while let Ok(task) = self.todo.try_recv() {
                self.folder.obey(task);
            }
        }

        fn has(&self, file: &str) -> bool {
            self.dir.path().join(file).exists()
        }
    }

    #[test]
    fn a_drop_that_waits_is_void_when_the_file_was_fetched_anew_meanwhile() {
        let mut lab = Lab::new();
        for (file, fetched_anew) in [("dropped", false), ("put back", true)] {
            let (name, manifest) = lab.put(file);
            let drops = lab.replication.library.drops();
            let drop = Drop { file: name.clone(), id: manifest.id(), at: 10 };
            lab.replication.dropped(drop.clone());
            assert_eq!(drops.when(&name, manifest.id()), Some(10), "known at once");
            if fetched_anew {
                // As every download does when it begins.
                lab.offer(&manifest, drops.put_back(&name, manifest.id()));
            } else {
                lab.offer(&manifest, None);
            }
            lab.carry_out();
            // As it is carried out where the manager has compared the times, and this peer does not.
            lab.folder.obey(Task::Drop { drop, listed: true });
            assert_eq!(lab.has(file), fetched_anew, "{file}");
            assert_eq!(lab.replication.library.get(&name).is_some(), fetched_anew, "{file}");
        }
    }

    #[test]
    fn a_drop_is_forgotten_where_the_file_was_put_later_and_stays() {
        let mut lab = Lab::new();
        for (file, put, stays) in [("older", 9, false), ("as old", 10, false), ("later", 11, true)] {
            let (name, manifest) = lab.put(file);
            lab.offer(&manifest, Some(put));
            lab.replication.dropped(Drop { file: name.clone(), id: manifest.id(), at: 10 });
            lab.carry_out();
            assert_eq!(lab.has(file), stays, "{file}");
            let remembered = lab.replication.library.drops().when(&name, manifest.id()).is_some();
            assert_eq!(remembered, !stays, "{file}");
        }
        // Two that wait: the first does not count, and takes nothing from the second.
        let (name, manifest) = lab.put("twice");
        lab.offer(&manifest, Some(11));
        for at in [10, 11] {
            lab.replication.dropped(Drop { file: name.clone(), id: manifest.id(), at });
        }
        lab.carry_out();
        assert!(!lab.has("twice"));
        assert_eq!(lab.replication.library.drops().when(&name, manifest.id()), Some(11));
        // Of one that was not read yet, the time is that of the file.
        let (name, manifest) = lab.put("unread");
        lab.replication.dropped(Drop { file: name.clone(), id: manifest.id(), at: 10 });
        lab.carry_out();
        assert!(lab.has("unread"));
        assert_eq!(lab.replication.library.drops().when(&name, manifest.id()), None);
    }

    #[test]
    fn who_leaves_in_the_middle_of_his_work_has_written_down_what_was_dropped() {
        let Lab { dir: _dir, replication, mut folder, todo } = Lab::new();
        for file in ["a", "b"] {
            replication.dropped(Drop { file: file.parse().unwrap(), id: FileId::from([1; 32]), at: 10 });
        }
        replication.leave();
        assert!(!obey_until(Instant::now() + Duration::from_secs(60), &mut folder, &todo));
        let written = fs::read_to_string(replication.store.drops()).unwrap();
        assert!(written.contains(r#""a""#) && written.contains(r#""b""#), "{written}");
    }

    #[test]
    fn a_drop_ends_a_fetch_of_those_bytes_and_of_no_others() {
        let lab = Lab::new();
        let name: FileName = "notes".parse().unwrap();
        let [old, new] = [1, 2].map(|n| FileId::from([n; 32]));
        let drop = |id, at| lab.replication.dropped(Drop { file: name.clone(), id, at });
        lab.replication.fetch(name.clone());
        drop(old, 10);
        assert_eq!(lab.replication.status().waiting, 1, "which bytes are to come the tracker will say");
        let (_, stop) = lab.replication.next_fetch().unwrap();
        drop(old, 11);
        assert!(lab.replication.fetches(&name, new), "the old ones were dropped while the tracker was asked");
        drop(old, 12);
        assert!(!stop.load(Ordering::SeqCst), "it fetches others");
        drop(new, 13);
        assert!(stop.load(Ordering::SeqCst));
        lab.replication.fetched(&name);
        lab.replication.fetch(name.clone());
        lab.replication.next_fetch().unwrap();
        drop(new, 14);
        assert!(!lab.replication.fetches(&name, new), "dropped while the tracker was asked");
    }
}
