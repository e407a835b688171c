//! The verb that takes a drop back.
//!
//! After a `drop` every peer that had the file has it in its trash. `restore` takes it out of there at *one* peer,
//! under its name or a new one, and offers it as published now; so all others fetch it as they fetch any new file.
//!
//! - **The right bytes.** Each peer remembers what was dropped: name, id and time. The file whose hashes give that
//!   id is taken, whatever number it has in the trash, and no other.
//! - **Never over a file**, neither one of this folder nor other bytes that the manager lists under that name.
//! - **Later than the drop.** It counts as published at what the manager's clock shows, and after the drop in any case.
//!
//! In the folder of a running peer it works as `add` does: this peer, which came for one command, offers the file, and
//! the one that watches the folder finds it there.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::context::Context;
use super::files;
use super::show::Outcome;
use crate::error::{Code, Error, Result};
use crate::share::store::{Store, Thrown};
use crate::share::{FileId, FileName};

/// How many files of the trash an error names.
const NAMED: usize = 5;

/// Takes a file out of the trash of this peer, and tells the manager; gives its name, too.
pub(super) fn restore(
    context: &Context,
    file: &FileName,
    id: Option<String>,
    new: Option<FileName>,
) -> Result<(Outcome, FileName)> {
    let store = context.existing_store()?;
    let library = &context.peer()?.wings.library;
    library.load_drops(&store.drops()); // A peer that came for one command has not done so.
    let name = new.unwrap_or_else(|| file.clone());
    let mut drops = library.drops();
    drops.sort_by_key(|drop| Reverse(drop.at));
    let drops: Vec<_> = drops.into_iter().map(|drop| (drop.file, drop.id)).collect();
    let last = drops.iter().find(|(dropped, _)| dropped == file).map(|(_, id)| id.to_string());
    let listed = files::listed(&mut context.manager(), &name)?;
    let (wanted, listed_id) = (id.or(last), listed.as_ref().map(|found| found.manifest.id()));
    let whole = listed.filter(|found| found.holders.iter().any(|holder| holder.whole));
    if let Some(id) = whole.map(|found| found.manifest.id())
        && wanted.as_ref().is_none_or(|wanted| id.to_string().starts_with(wanted))
    {
        return Err(Error::new(Code::Conflict, format!("{name} is offered already (id {})", id.short()))
            .advise("`files` shows who has it"));
    }
    let thrown = store.thrown(file, &name, &context.work.stop)?;
    let thrown = choose(thrown, file, wanted, drops.iter().filter(|(file, _)| store.has_thrown(file)))?;
    is_free(listed_id, &store, file, &thrown)?;
    let now = context.manager().state()?.manager.map_or(0, |manager| manager.now);
    let manifest = store.restore(thrown)?;
    let after = library.when_dropped(&name, manifest.id()).map_or(0, |at| at.saturating_add(1));
    let offered = files::offer(context, &store, manifest, now.max(after), false)?;
    if !store.is_watched_elsewhere() {
        // The peer that watches this folder next need not know better.
        library.save_drops(&store.drops());
    }
    Ok(offered)
}

/// The file whose id is, or begins with, the one that is wanted; `dropped` is what is in the trash under all names.
///
/// # Errors
/// `not_found` when there is none, or are several, with what there is instead.
fn choose<'a>(
    mut thrown: BTreeMap<FileId, Thrown>,
    file: &FileName,
    wanted: Option<String>,
    dropped: impl Iterator<Item = &'a (FileName, FileId)>,
) -> Result<Thrown> {
    let fits = |id: &&FileId| wanted.as_ref().is_some_and(|wanted| id.to_string().starts_with(wanted));
    let fitting: Vec<FileId> = thrown.keys().filter(fits).copied().collect();
    if let [id] = fitting[..]
        && let Some(chosen) = thrown.remove(&id)
    {
        return Ok(chosen);
    }
    let called = |(file, id): (&FileName, &FileId)| format!("{file} (id {})", id.short());
    let same = thrown.keys().map(|id| (file, id));
    let others = dropped.filter(|(other, _)| other != file).map(|(other, id)| (other, id));
    let there: Vec<String> = same.chain(others).map(called).take(NAMED).collect();
    let which = match wanted {
        _ if thrown.is_empty() => String::new(),
        Some(id) => format!(" with the id {id:.8}"),
        None => " whose drop is remembered".into(),
    };
    let many = if fitting.is_empty() { "no" } else { "more than one" };
    let has = if there.is_empty() { "nothing that was dropped".into() } else { there.join(", ") };
    Err(Error::new(Code::NotFound, format!("the trash here has {many} {file}{which}; it has {has}"))
        .advise("--id chooses among several; another peer may have it: `restore` it there"))
}

/// Looks whether the name that a file is to get is free, here and in the network, where it is `listed` for these bytes.
///
/// # Errors
/// `conflict` when it is not.
fn is_free(listed: Option<FileId>, store: &Store, file: &FileName, thrown: &Thrown) -> Result<()> {
    let (name, id) = (thrown.manifest.name(), thrown.manifest.id());
    let place = match listed.filter(|other| *other != id) {
        Some(other) => format!("at other peers (id {})", other.short()),
        None if store.is_free(name).is_err() => "here".into(),
        None => return Ok(()),
    };
    Err(Error::new(Code::Conflict, format!("the name {name} is in use {place}"))
        .advise(format!("`restore {file} --as NEW` gives this one another name")))
}
