//! The verbs for files. `add`, `down`, `drop` and `verify` move them; `get` and `files` list them.
//! ([`restore`](super::restore) has a file of its own.)
//!
//! `get` and `files` look alike, but their answers come from different places. `get` is the sources' GET (E6): it asks
//! the peers themselves, all at once, a thread each; so it says what is really offered now, and of a peer that does not
//! answer only on stderr. `files` asks the manager alone: it says what the catalogue holds, which may be a moment
//! behind, and with `--health` whether that is enough and what is done about it.
//!
//! A peer that came for one command has something to do after its answer, too: a file that it added or restored it
//! serves until others have it, and `down --stay` serves it until a signal ([`serve`]).

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use log::debug;
use serde::Serialize;
use serde_json::json;

use super::context::Context;
use super::show::{Outcome, show_download, show_work};
use crate::cli::tell;
use crate::clock::{Clock, Millis};
use crate::error::{Code, Error, Result};
use crate::net::connection::Connection;
use crate::net::key::Key;
use crate::net::limits;
use crate::net::message::{
    Condition, Credentials, FileState, FromPeer, GRACE, Health, ManagerState, Replicas, ToPeer, no_answer,
};
use crate::peer::Peer;
use crate::peer::library::offer::Offer;
use crate::peer::manager_client::{Listing, ManagerClient};
use crate::peer::swarm::download::{DownloadReport, download, offered_from_elsewhere};
use crate::peer::swarm::transfer::DownloadSettings;
use crate::peer::wings::Wings;
use crate::share::picker::PickOrder;
use crate::share::store::Store;
use crate::share::units::{about, counted};
use crate::share::{FileId, FileName, Manifest};
use crate::thread::on_threads;

/// How long a file may take to be known to the manager.
const PUBLISHING: Duration = Duration::from_secs(10);

/// How often it is looked whether others have a file that was added, or that the manager knows it again.
const COPIES_CHECK: Duration = Duration::from_millis(300);

/// Asks the manager about a file that it may not know yet, when it has just been started.
fn ask_about<T>(
    context: &Context,
    manager: &mut ManagerClient,
    mut ask: impl FnMut(&mut ManagerClient) -> Result<T>,
) -> Result<T> {
    let mut told = false;
    loop {
        match ask(manager) {
            Err(no) if no.code() == Code::NotFound && !context.work.is_stopped() => {
                let is_young = |is: ManagerState| is.now.saturating_sub(is.since) < GRACE;
                if !manager.state()?.manager.is_some_and(is_young) {
                    return Err(no);
                }
                if !std::mem::replace(&mut told, true) {
                    tell("the manager has just started, and peers may be on their way back with their files");
                }
                std::thread::sleep(COPIES_CHECK);
            }
            answered => return answered,
        }
    }
}

/// Puts a file into the shared folder, and tells the manager; gives its name, too.
pub(super) fn add(context: &Context, path: &Path) -> Result<(Outcome, FileName)> {
    context.peer()?;
    let store = context.store(&context.config.data)?;
    let lay_there = path.file_name().is_some_and(|name| store.dir.join(name).exists());
    let manifest = store.import(path, &context.work.stop)?;
    // To add is the wish: it counts from now on, also for a file that has lain there since before it was dropped.
    let put = store.stamp(manifest.name()).and_then(|stamp| stamp.put_at());
    let put = put.unwrap_or_default().max(Clock::start().now());
    let (mut outcome, file) = offer(context, &store, manifest, put, lay_there)?;
    if !lay_there {
        // It stays there when this program has left; and a peer that was given no name has a folder that nobody knows.
        outcome.text += &format!(", copied into {}", store.dir.display());
    }
    Ok((outcome, file))
}

/// Offers a file of the shared folder as published `at` this time, and waits until the manager knows of it.
pub(super) fn offer(
    context: &Context,
    store: &Arc<Store>,
    manifest: Arc<Manifest>,
    at: Millis,
    lay_there: bool,
) -> Result<(Outcome, FileName)> {
    let Wings { library, replication, .. } = &*context.peer()?.wings;
    let (file, id, layout) = (manifest.name().clone(), manifest.id(), manifest.layout());
    library.published(&file, id, at);
    library.offer(Arc::new(Offer::whole(store, manifest)));
    library.wait_until_told(&file, PUBLISHING).inspect_err(|no| {
        // A copy that nobody may have under this name is of no use; the original is where it was. A peer that
        // watches its folder sets it aside.
        if no.code() == Code::Conflict && !lay_there && replication.is_none() {
            library.withdraw(&file);
            let _ = store.open_known(&file, id).and_then(|it| store.trash(&file, &it.stamp));
        }
    })?;
    let (size, pieces) = (layout.size(), layout.pieces());
    let text = format!("{file}: {}, {}, id {}", about(size), counted(pieces, "piece"), id.short());
    Ok((Outcome::new(json!({"file": file, "id": id, "size": size, "pieces": pieces}), text), file))
}

/// After `add` and `restore`, `until_copied`: serves the file until as many others have all of it as the manager's
/// policy asks. Where it asks for none, and after `down --stay`: until a signal, which then is the ordinary end.
pub(super) fn serve(context: &Context, file: &FileName, mut until_copied: bool) -> Result<()> {
    let (peer, mut manager, mut said) = (context.peer()?, context.manager(), None);
    context.work.is_done();
    loop {
        match if until_copied { copies(peer, &mut manager, file) } else { Ok(None) } {
            Ok(Some((wanted, there))) if there >= wanted => {
                tell(format!("all of {file} is at {}: leaving", counted(there, "other peer")));
                return Ok(());
            }
            Ok(now) if said != Some(now) => {
                until_copied = now.is_some();
                let others = now.map_or_else(String::new, |(wanted, _)| counted(wanted, "other peer"));
                let serving = format!("serving {file} at {} until", peer.network().addr);
                tell(match (now, said.replace(now)) {
                    (None, _) => serving + " Ctrl-C",
                    (_, None) => format!("{serving} all of it is at {others}, or Ctrl-C"),
                    (Some((_, there)), _) => format!("all of {file} is at {there} of {others}"),
                });
            }
            Ok(_) => {}
            // The manager may be away for a while.
            Err(e) => debug!("{e}"),
        }
        // A signal's thread ends the program.
        std::thread::sleep(COPIES_CHECK);
        still_offered(peer, file)?;
    }
}

/// How many others should have all of a file, and how many have; `None` where the manager's policy asks for no copies.
fn copies(peer: &Peer, manager: &mut ManagerClient, file: &FileName) -> Result<Option<(usize, usize)>> {
    let own = peer.network().wait_for_number(Duration::ZERO)?;
    let state = manager.state()?;
    let keepers = state
        .peers
        .iter()
        .filter(|other| other.keeps && other.said.paused.is_none() && other.peer != own)
        .count();
    let wanted = match state.manager.map(|manager| manager.replicas) {
        None | Some(Replicas::Some(0)) => return Ok(None),
        // Where nobody is there to take a copy, the first one is waited for.
        Some(Replicas::All) => keepers.max(1),
        Some(Replicas::Some(copies)) => copies.min(keepers).max(1),
    };
    let holders = listed(manager, file)?.map_or_else(Vec::new, |found| found.holders);
    let there = holders.iter().filter(|holder| holder.whole && holder.peer != own).count();
    Ok(Some((wanted, there)))
}

/// What the manager lists under this name, and who has it.
pub(super) fn listed(manager: &mut ManagerClient, file: &FileName) -> Result<Option<Listing>> {
    match manager.query(&Credentials::default(), file) {
        Err(no) if no.code() == Code::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Looks whether a file is still offered: it may have been dropped, changed or deleted, or the manager may refuse it
/// now.
fn still_offered(peer: &Peer, file: &FileName) -> Result<()> {
    let library = &peer.wings.library;
    // What is not there any more is not offered after this.
    library.get(file).iter().for_each(|offer| drop(library.open(offer)));
    match library.wait_until_told(file, Duration::ZERO) {
        // The manager may be away for a while.
        Err(no) if no.code() == Code::Failed => Ok(()),
        told => told,
    }
}

/// Downloads a file from all its holders.
pub(super) fn down(
    context: &Context,
    file: &FileName,
    output: Option<PathBuf>,
    order: PickOrder,
) -> Result<Outcome<DownloadReport>> {
    let peer = context.peer()?;
    let folder =
        output.unwrap_or_else(|| if context.stays { context.config.data.clone() } else { ".".into() });
    let offer = peer.wings.library.get(file).filter(|offer| offer.is_whole() && offer.open().is_ok());
    let report = match offer.filter(|offer| offer.store.is_at(&folder)) {
        Some(offer) => nothing_to_do(&offer),
        None => fetch(context, file, &folder, order)?,
    };
    let text = summary(&report, &folder);
    Ok(Outcome::new(report, text))
}

/// Downloads a file into a folder, unless it lies there.
fn fetch(context: &Context, file: &FileName, folder: &Path, order: PickOrder) -> Result<DownloadReport> {
    // Nothing is made on the disk for a file that nobody offers. Of what this peer offers from another folder it is a
    // holder itself; so it asks as nobody, and finds itself in the list, too.
    let peer = context.peer()?;
    let library = &peer.wings.library;
    let copies = offered_from_elsewhere(library, file, folder).is_some();
    let mut manager = context.manager();
    let found = ask_about(context, &mut manager, |manager| match copies {
        true => peer.network().ask(|_| library.look_up(manager, &Credentials::default(), file)),
        false => peer.network().ask(|who| library.look_up(manager, who, file)),
    })?;
    let store = context.store(folder)?;
    let report = match lies_there(peer, &store, &found)? {
        Some(offer) => Ok(nothing_to_do(&offer)),
        None => run_download(context, &store, order, false, &mut manager, found),
    };
    if !context.stays {
        store.tidy();
    }
    report
}

/// The file that is to be fetched, if it is just what lies there; then it is offered.
fn lies_there(peer: &Peer, store: &Arc<Store>, found: &Listing) -> Result<Option<Arc<Offer>>> {
    let name = found.manifest.name();
    if store.is_free(name).is_ok() {
        return Ok(None);
    }
    match store.manifest(name) {
        Ok(there) if there.id() == found.manifest.id() => {
            let offer = Arc::new(Offer::whole(store, there));
            if offered_from_elsewhere(&peer.wings.library, name, &store.dir).is_none() {
                peer.wings.library.offer(Arc::clone(&offer));
            }
            Ok(Some(offer))
        }
        Err(no) if no.code() != Code::Busy => Err(no),
        _ => Ok(None),
    }
}

/// The report of a download that fetched nothing.
fn nothing_to_do(offer: &Offer) -> DownloadReport {
    let file = offer.name();
    tell(format!("{file} is here already: {}", offer.store.dir.join(file.as_str()).display()));
    DownloadReport::of(&offer.manifest)
}

/// Downloads, with its progress on stderr.
fn run_download(
    context: &Context,
    store: &Arc<Store>,
    order: PickOrder,
    repair: bool,
    manager: &mut ManagerClient,
    found: Listing,
) -> Result<DownloadReport> {
    let Wings { library, uploads, .. } = &*context.peer()?.wings;
    let is_stopped = &|| context.work.is_stopped();
    let settings = DownloadSettings { library, uploads, store, order, repair, stall: None, is_stopped };
    show_work(show_download, |events| download(settings, manager, found, events))
}

/// "a.bin: 32.0 MiB in 0.120 s (266.7 MiB/s), pieces from ada 43, ben 85".
fn summary(report: &DownloadReport, folder: &Path) -> String {
    let DownloadReport { file, size, seconds, waste, .. } = report;
    let what = format!("{}: {}", folder.join(file.as_str()).display(), about(*size));
    if report.from.is_empty() {
        return what + ", nothing had to be fetched";
    }
    let from: Vec<String> =
        report.from.iter().map(|share| format!("{} {}", share.peer, share.pieces)).collect();
    let came: u64 = report.from.iter().map(|share| share.pieces).sum();
    let came = *size as f64 * came as f64 / f64::from(report.pieces.max(1));
    let rate = about((came / seconds.max(1e-6)) as u64);
    let text = format!("{what} in {seconds:.3} s ({rate}/s), pieces from {}", from.join(", "));
    match waste.refetched {
        0 => text,
        some => format!("{text}; {some} came wrong and were fetched again"),
    }
}

/// Removes a file everywhere.
pub(super) fn remove(context: &Context, file: &FileName) -> Result<Outcome> {
    let network = context.peer()?.network();
    let mut manager = context.manager();
    // It says which bytes: asked again and late, it removes nothing that was saved in between.
    let seen = listed(&mut manager, file)?.map(|found| found.manifest.id());
    ask_about(context, &mut manager, |manager| network.ask(|who| manager.drop_file(who, file, seen, None)))?;
    let text = format!("{file} is dropped: every peer moves it into its trash (DIR/.peerlab/trash)");
    Ok(Outcome::new(json!({"file": file, "dropped": true}), text))
}

/// Checks a file of the shared folder against the catalogue's hashes, and repairs it from others.
pub(super) fn verify(context: &Context, file: &FileName) -> Result<Outcome> {
    let mut manager = context.manager();
    let found = ask_about(context, &mut manager, |manager| manager.query(&Credentials::default(), file))?;
    let (id, pieces) = (found.manifest.id(), found.manifest.layout().pieces());
    let store = context.existing_store()?;
    let bad = store.verify(&found.manifest, || !context.work.is_stopped()).map_err(|e| {
        if e.code() == Code::NotFound {
            e.advise("--data names the folder in which it lies (. is the one where you are)")
        } else {
            e
        }
    })?;
    if let Some(first) = bad.first() {
        // So this peer does not offer it as it is, also where others can mend it.
        let _ = found.manifest.layout().piece(*first).and_then(|piece| store.recheck(&found.manifest, piece));
        let list: Vec<String> = bad.iter().map(ToString::to_string).collect();
        let wrong = counted(bad.len(), "wrong piece");
        if store.is_watched_elsewhere() {
            return Err(Error::new(Code::Check, format!("{file} has {wrong} (number {})", list.join(", ")))
                .advise("another peer watches this folder: `verify` at its prompt mends it, if it has one; else end it first"));
        }
        tell(format!("{file}: {wrong} (number {}), to be mended from others", list.join(", ")));
        let (network, library) = (context.peer()?.network(), &context.peer()?.wings.library);
        let found = network.ask(|_| library.look_up(&mut manager, &Credentials::default(), file))?;
        run_download(context, &store, PickOrder::default(), true, &mut manager, found)
            .map_err(|e| Error::new(Code::Check, format!("{file} has {wrong}")).because(e))?;
    }
    let text = match bad.len() {
        0 => format!("{file}: nothing is wrong in {}", counted(pieces, "piece")),
        some => format!("{file}: mended {}", counted(some, "piece")),
    };
    let data = json!({"file": file, "id": id, "pieces": pieces, "bad": bad, "repaired": bad.len()});
    Ok(Outcome::new(data, text))
}

/// One content, and the names of the peers that offer it.
#[derive(Debug, Serialize)]
struct Offered {
    file: FileName,
    id: FileId,
    partial: Vec<String>,
    size: u64,
    whole: Vec<String>,
}

/// Lists what all other peers offer, asked of the peers themselves.
pub(super) fn get(context: &Context) -> Result<Outcome> {
    let own = context.peer()?.network().wait_for_number(Duration::ZERO)?;
    // The list that is broadcast to all comes a few times a second; this answer comes at once.
    let mut others = context.manager().state()?.peers;
    others.retain(|other| other.peer != own);
    let mut offered = BTreeMap::new();
    let secret = context.config.admission.secret.as_ref();
    let answers = on_threads("ask_files", others.iter().collect(), |peer| ask_files(peer.addr, secret));
    for (card, answer) in others.iter().zip(answers) {
        match answer {
            Ok(files) => files.into_iter().for_each(|file| enter(&mut offered, file, card.name.to_string())),
            Err(e) => tell(format!("{} does not say what it offers: {e}", card.name)),
        }
    }
    let offered: Vec<Offered> = offered.into_values().collect();
    let line = |row: &Offered| {
        let at = at_whom(&row.whole, &row.partial);
        format!("{:24} {:>10}  {at}", row.file, about(row.size))
    };
    let text = match &offered[..] {
        [] => {
            let others = counted(others.len(), "other peer");
            format!("nothing is offered by others ({others} here); `add PATH` offers a file")
        }
        some => some.iter().map(line).collect::<Vec<_>>().join("\n"),
    };
    Ok(Outcome::new(json!({"files": offered}), text))
}

/// What one peer offers.
fn ask_files(addr: SocketAddr, secret: Option<&Key>) -> Result<Vec<FromPeer>> {
    let mut connection = Connection::connect(addr, limits::LINE, secret)?;
    connection.send(&ToPeer::Get {})?;
    let end = Instant::now() + limits::MESSAGE_TIME;
    let mut files = Vec::new();
    while files.len() < limits::FILES {
        match connection.answer(end.saturating_duration_since(Instant::now()))? {
            file @ FromPeer::File { .. } => files.push(file),
            FromPeer::End {} => break,
            other => return Err(no_answer(&other, "get")),
        }
    }
    Ok(files)
}

/// Turns an answer round: enters the peer of this name under the content that it offers.
fn enter(offered: &mut BTreeMap<(FileName, FileId), Offered>, file: FromPeer, peer: String) {
    let FromPeer::File { file, id, size, whole } = file else { return };
    let none = |file| Offered { file, id, partial: Vec::new(), size, whole: Vec::new() };
    let row = offered.entry((file.clone(), id)).or_insert_with(|| none(file));
    if whole { &mut row.whole } else { &mut row.partial }.push(peer);
}

/// Lists the manager's catalogue.
pub(super) fn files(context: &Context, health: bool) -> Result<Outcome> {
    let mut manager = context.manager();
    let files = manager.files(health)?;
    let mut text = catalogue(&files);
    if health {
        // For every file above it would be the same.
        let peers = manager.state()?.peers;
        let paused = peers.iter().filter_map(|peer| Some((&peer.name, peer.said.paused.as_ref()?)));
        text.extend(paused.map(|(name, why)| format!("\n{name} has paused: {why}")));
    }
    Ok(Outcome::new(json!({"files": files}), text))
}

fn catalogue(files: &[FileState]) -> String {
    if files.is_empty() {
        return "nobody offers a file; `add PATH` does".into();
    }
    let line = |file: &FileState| {
        let names = |whole: bool| {
            let names = file.holders.iter().filter(|holder| holder.whole == whole);
            names.map(|holder| holder.name.to_string()).collect::<Vec<_>>()
        };
        let at = at_whom(&names(true), &names(false));
        let line = format!("{:24} {:>10}  {}  {at}", file.file, about(file.size), file.id.short());
        match &file.health {
            // A condition in one word, as programs have it.
            Some(Health { state, reason }) => {
                let line = format!("{:8} {line}", json!(state).as_str().unwrap_or_default());
                // Of a whole file the reason is who has it, and that stands there already.
                if *state == Condition::Whole { line } else { line + "; " + reason }
            }
            None => line,
        }
    };
    files.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// "at ada, ben, in part at cyd".
fn at_whom(whole: &[String], partial: &[String]) -> String {
    let at = if whole.is_empty() { "nobody".into() } else { whole.join(", ") };
    match partial {
        [] => format!("at {at}"),
        _ => format!("at {at}, in part at {}", partial.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::net::message::Holder;
    use crate::peer::swarm::rate::Share;
    use crate::share::picker::Waste;

    fn id(digit: char) -> FileId {
        digit.to_string().repeat(64).parse().unwrap()
    }

    #[test]
    fn a_catalogue_says_at_whom_each_file_is_and_with_health_how_it_does() {
        assert_eq!(catalogue(&[]), "nobody offers a file; `add PATH` does");
        let addr = "127.0.0.1:40312".parse().unwrap();
        let holder =
            |name: &str, whole| Holder { peer: 7, name: name.parse().unwrap(), addr, whole, pass: None };
        let file = |name: &str, holders| FileState {
            file: name.parse().unwrap(),
            id: id('a'),
            size: 3 << 20,
            piece_size: 1 << 18,
            holders,
            health: None,
        };
        let mut files = [
            file("a.bin", vec![holder("ada", true), holder("ben", false), holder("cyd", true)]),
            file("b.bin", vec![]),
        ];
        assert_eq!(
            catalogue(&files),
            "a.bin                       3.0 MiB  aaaaaaaa  at ada, cyd, in part at ben\n\
             b.bin                       3.0 MiB  aaaaaaaa  at nobody"
        );
        files[1].health = Some(Health { state: Condition::Missing, reason: "nobody has it".into() });
        assert_eq!(
            catalogue(&files[1..]),
            "missing  b.bin                       3.0 MiB  aaaaaaaa  at nobody; nobody has it"
        );
        files[0].health = Some(Health { state: Condition::Whole, reason: "ada and cyd have it".into() });
        let whole = "whole    a.bin                       3.0 MiB  aaaaaaaa  at ada, cyd, in part at ben";
        assert_eq!(catalogue(&files[..1]), whole, "who has it is said once");
    }

    #[test]
    fn what_peers_offer_is_a_row_for_each_content_with_the_names_of_its_holders() {
        let mut offered = BTreeMap::new();
        let file =
            |digit, whole| FromPeer::File { file: "a.bin".parse().unwrap(), id: id(digit), size: 5, whole };
        for (answer, peer) in [
            (file('b', true), "ada"),
            (file('a', false), "ben"),
            (file('b', true), "cyd"),
            (FromPeer::End {}, "dan"),
        ] {
            enter(&mut offered, answer, peer.to_owned());
        }
        let rows: Vec<_> = offered.into_values().map(|row| (row.id, row.whole, row.partial)).collect();
        let [ada, ben, cyd] = ["ada", "ben", "cyd"].map(String::from);
        assert_eq!(rows, [(id('a'), vec![], vec![ben]), (id('b'), vec![ada, cyd], vec![])]);
    }

    #[test]
    fn a_download_is_summed_up_with_what_each_gave() {
        let share = |peer: &str, pieces| Share { peer: peer.parse().unwrap(), pieces };
        let mut report = DownloadReport {
            file: "a.bin".parse().unwrap(),
            size: 32 << 20,
            seconds: 0.125,
            pieces: 128,
            waste: Waste::default(),
            from: vec![share("ada", 43), share("ben", 85)],
        };
        let text = "into/a.bin: 32.0 MiB in 0.125 s (256.0 MiB/s), pieces from ada 43, ben 85";
        assert_eq!(summary(&report, Path::new("into")), text);
        report.waste.refetched = 2;
        assert_eq!(
            summary(&report, Path::new("into")),
            format!("{text}; 2 came wrong and were fetched again")
        );
        report.from.clear();
        assert_eq!(summary(&report, Path::new("")), "a.bin: 32.0 MiB, nothing had to be fetched");
    }
}
