//! The verbs that move files: `add`, `drop`, `down`, `verify`.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use crossbeam_channel::unbounded;
use log::debug;
use serde_json::json;

use super::context::Shell;
use super::show::show_download;
use crate::cli::{say, say_json, tell};
use crate::clock::Clock;
use crate::error::{Code, Error, Kind, Result};
use crate::net::message::{PeerId, Replicas};
use crate::peer::Peer;
use crate::peer::library::offer::Offer;
use crate::peer::manager_client::{Listing, ManagerClient};
use crate::peer::swarm::download::{DownloadReport, download, offered_from_elsewhere};
use crate::peer::swarm::transfer::DownloadSettings;
use crate::share::picker::Order;
use crate::share::store::{Health, Reading, Store};
use crate::share::units::{about, counted};
use crate::share::{FileName, Piece};
use crate::thread;

/// How long a file may take to be known to the manager.
const PUBLISHING: Duration = Duration::from_secs(10);

/// How often `add` looks whether others have its file.
const COPIES_CHECK: Duration = Duration::from_millis(300);

impl Shell {
    /// Puts a file into the shared folder, and tells the manager.
    pub(super) fn add(&mut self, path: &Path, json: bool) -> Result<()> {
        let peer = self.peer()?;
        let store = self.store(&self.config.data)?;
        let lay_there = path.file_name().is_some_and(|name| store.dir().join(name).exists());
        let manifest = store.import(path)?;
        let name = manifest.name().clone();
        // To add is the wish: it counts from now on, also for a file that has lain there since before it was dropped.
        let put = store.put_at(&name).unwrap_or_default().max(Clock::new().now());
        let id = manifest.id();
        peer.library().published(&name, id, put);
        peer.library().offer(Arc::new(Offer::whole(&store, Arc::clone(&manifest))));
        peer.library().wait_until_told(&name, PUBLISHING).inspect_err(|no| {
            // A copy that nobody may have under this name is of no use; the original is where it was. A peer that
            // watches its folder sets it aside.
            if no.code() == Code::Conflict && !lay_there && peer.replication().is_none() {
                peer.library().withdraw(&name);
                let _ = store.trash(&name);
            }
        })?;
        let (size, pieces) = (manifest.layout().size(), manifest.layout().pieces());
        if json {
            say_json(&json!({"file": name, "id": id, "size": size, "pieces": pieces}))?;
        } else {
            let pieces = counted(pieces, "piece");
            say(format_args!("{name}: {}, {pieces}, id {}", about(size), id.short()))?;
        }
        if self.stays { Ok(()) } else { self.serve_until_copied(&peer, &name) }
    }

    /// Serves a file until as many others have all of it as the manager's policy asks; where it asks for none, until
    /// a signal.
    fn serve_until_copied(&self, peer: &Peer, file: &FileName) -> Result<()> {
        let mut manager = ManagerClient::new(self.config.manager);
        let mut said = None;
        // What was asked for is done: a signal is the ordinary end from now on.
        self.done().store(true, Ordering::SeqCst);
        loop {
            match copies(peer, &mut manager, file) {
                Ok(Copies { wanted: Some(wanted), there }) if there >= wanted => {
                    tell(format!("all of {file} is at {}: leaving", counted(there, "other peer")));
                    return Ok(());
                }
                Ok(Copies { wanted: None, .. }) => return self.serve_on(peer, file),
                Ok(copies) if said.as_ref() != Some(&copies) => {
                    let wanted = copies.wanted.unwrap_or_default();
                    tell(format!(
                        "serving {file} at {} until all of it is at {}, or Ctrl-C",
                        peer.addr(),
                        counted(wanted, "other peer")
                    ));
                    said = Some(copies);
                }
                Ok(_) => {}
                // The manager may be away for a while.
                Err(e) => debug!("{e}"),
            }
            std::thread::sleep(COPIES_CHECK);
        }
    }

    /// Removes a file everywhere.
    pub(super) fn drop(&mut self, file: &FileName, json: bool) -> Result<()> {
        ManagerClient::new(self.config.manager).drop_file(file, None)?;
        if json {
            return say_json(&json!({"file": file, "dropped": true}));
        }
        say(format_args!("{file} is dropped: every peer moves it into its trash (DIR/.peerlab/trash)"))
    }

    /// A command that stays goes on until a signal, which then is its ordinary end; at the prompt the peer
    /// serves anyway.
    fn serve_on(&self, peer: &Peer, file: &FileName) -> Result<()> {
        if self.stays {
            return Ok(());
        }
        tell(format!("serving {file} at {} until Ctrl-C", peer.addr()));
        self.done().store(true, Ordering::SeqCst);
        loop {
            std::thread::park(); // The signal's thread ends the program.
        }
    }

    /// Downloads a file from all its holders.
    pub(super) fn down(
        &mut self,
        file: &FileName,
        output: Option<PathBuf>,
        stay: bool,
        order: Order,
        json: bool,
    ) -> Result<()> {
        let peer = self.peer()?;
        let here = if self.stays { self.config.data.clone() } else { ".".into() };
        let folder = output.unwrap_or(here);
        let mut manager = ManagerClient::new(self.config.manager);
        let report = match already_here(&peer, file, &folder) {
            Some(report) => report,
            None => {
                // Nothing is made on the disk for a file that nobody offers. Who wants a copy of what he offers from
                // another folder has not lost it, so he asks under no number.
                let copies = offered_from_elsewhere(peer.library(), file, &folder).is_some();
                let own = peer.network().wait_for_number(Duration::ZERO)?;
                let found = manager.query(if copies { 0 } else { own }, file)?;
                peer.library().put_back(file, found.manifest.id());
                let store = self.store(&folder)?;
                let settings = DownloadSettings {
                    order,
                    ..DownloadSettings::new(peer.library(), peer.uploads(), &store)
                };
                let report = match lies_there(&peer, &store, &found)? {
                    Some(report) => Ok(report),
                    None => run_download(settings, &mut manager, found),
                };
                if !self.stays {
                    store.tidy();
                }
                report?
            }
        };
        if json {
            say_json(&report)?;
        } else {
            say(summary(&report, &folder))?;
        }
        if stay { self.serve_on(&peer, file) } else { Ok(()) }
    }

    /// Checks a file of the shared folder against the catalogue's hashes, and repairs it from others.
    pub(super) fn verify(&mut self, file: &FileName, json: bool) -> Result<()> {
        let mut manager = ManagerClient::new(self.config.manager);
        let found = manager.query(0, file)?;
        let manifest = found.manifest.clone();
        let layout = manifest.layout();
        let store = self.store(&self.config.data)?;
        let health =
            store.verify(&manifest).map_err(|e| e.advise("`down` fetches it; --data names the folder"))?;
        let bad = bad_pieces(&health);
        if !health.is_right() {
            let list: Vec<String> = bad.iter().map(ToString::to_string).collect();
            let pieces = counted(bad.len(), "wrong piece");
            tell(format!("{file}: {pieces} (number {}), to be mended from others", list.join(", ")));
            let peer = self.peer()?;
            peer.library().put_back(file, manifest.id());
            let settings = DownloadSettings {
                repair: true,
                ..DownloadSettings::new(peer.library(), peer.uploads(), &store)
            };
            run_download(settings, &mut manager, found)
                .map_err(|e| Error::new(Kind::Check, format!("{file} has {pieces}")).because(e))?;
        }
        if json {
            return say_json(&json!({
                "file": file, "id": manifest.id(), "pieces": layout.pieces(),
                "bad": bad, "repaired": bad.len(),
            }));
        }
        match bad.len() {
            0 => say(format_args!("{file}: all {} pieces are right", layout.pieces())),
            some => say(format_args!("{file}: mended {}", counted(some, "piece"))),
        }
    }
}

/// How many others have a file, and how many should.
#[derive(Debug, PartialEq, Eq)]
struct Copies {
    /// `None` where the policy asks for no copies, or the manager does not say.
    wanted: Option<usize>,
    there: usize,
}

fn copies(peer: &Peer, manager: &mut ManagerClient, file: &FileName) -> Result<Copies> {
    let own = peer.network().wait_for_number(Duration::ZERO)?;
    let state = manager.state()?;
    let policy = state.manager.map(|manager| manager.replicas);
    let keepers: Vec<PeerId> =
        state.peers.iter().filter(|other| other.keeps && other.peer != own).map(|other| other.peer).collect();
    let wanted = match policy {
        None | Some(Replicas::Some(0)) => None,
        // Where nobody is there to take a copy, the first one is waited for.
        Some(Replicas::All) => Some(keepers.len().max(1)),
        Some(Replicas::Some(copies)) => Some(copies.min(keepers.len()).max(1)),
    };
    // Under no number: this peer has not lost it.
    let holders = match manager.query(0, file) {
        Ok(found) => found.holders,
        Err(no) if no.code() == Code::NotFound => Vec::new(),
        Err(e) => return Err(e),
    };
    let there = holders.iter().filter(|holder| holder.whole && holder.peer != own).count();
    Ok(Copies { wanted, there })
}

/// The numbers of the pieces that are wrong or missing. Of a file that is too long it is the last one.
fn bad_pieces(health: &Health) -> Vec<u32> {
    let missing: Vec<u32> = health.good.missing().map(Piece::index).collect();
    if missing.is_empty() && !health.is_right() {
        return health.good.layout().pieces().checked_sub(1).into_iter().collect();
    }
    missing
}

/// A file that need not be fetched, because it is offered here, from this folder.
fn already_here(peer: &Peer, file: &FileName, folder: &Path) -> Option<DownloadReport> {
    let offer = peer.library().get(file).filter(|offer| offer.is_whole() && offer.open().is_ok())?;
    offer.store().is_at(folder).then(|| nothing_to_do(&offer))
}

/// A file that need not be fetched, because what lies there is just that.
fn lies_there(peer: &Peer, store: &Arc<Store>, found: &Listing) -> Result<Option<DownloadReport>> {
    if store.is_free(found.manifest.name()).is_ok() {
        return Ok(None);
    }
    match store.manifest(found.manifest.name())? {
        Reading::Steady(there) if there.id() == found.manifest.id() => {
            let offer = Arc::new(Offer::whole(store, there));
            if offered_from_elsewhere(peer.library(), offer.name(), store.dir()).is_none() {
                peer.library().offer(Arc::clone(&offer));
            }
            Ok(Some(nothing_to_do(&offer)))
        }
        _ => Ok(None),
    }
}

/// The report of a download that fetched nothing.
fn nothing_to_do(offer: &Offer) -> DownloadReport {
    let file = offer.name();
    tell(format!("{file} is here already: {}", offer.store().dir().join(file.as_str()).display()));
    DownloadReport::of(offer.manifest())
}

/// Downloads, with its progress on stderr.
fn run_download(
    settings: DownloadSettings<'_>,
    manager: &mut ManagerClient,
    found: Listing,
) -> Result<DownloadReport> {
    let (events, shown) = unbounded();
    std::thread::scope(|scope| {
        thread::start_scoped(scope, "show_progress", move || show_download(&shown))?;
        download(settings, manager, found, events)
    })
}

/// "a.bin: 32.0 MiB in 0.120 s (266.7 MiB/s) from ada 43, ben 85".
fn summary(report: &DownloadReport, folder: &Path) -> String {
    let place = folder.join(report.file.as_str());
    if report.from.is_empty() {
        return format!("{}: {}, nothing had to be fetched", place.display(), about(report.size));
    }
    let from: Vec<String> =
        report.from.iter().map(|share| format!("{} {}", share.peer, share.pieces)).collect();
    let from = from.join(", ");
    let rate = about((report.size as f64 / report.seconds.max(1e-6)) as u64);
    let mut text = format!(
        "{}: {} in {:.3} s ({rate}/s), pieces from {from}",
        place.display(),
        about(report.size),
        report.seconds
    );
    if report.refetched > 0 {
        text += &format!("; {} came wrong and were fetched again", report.refetched);
    }
    text
}
