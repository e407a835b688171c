//! What the manager knows: one table, and every verb that changes it.
//!
//! Who is here ([`roster`]), who may use which slots ([`lease_book`]), which files there are and who has them
//! ([`catalogue`]), who should fetch what ([`replicator`]), and what happened last ([`events`]). Each of them is plain
//! state with rules of its own; [`Table`] holds them together. Whatever concerns more than one of them is a verb of the
//! table, and stands here.

pub mod catalogue;
pub mod events;
pub mod health;
pub mod lease_book;
pub mod replicator;
pub mod roster;
pub mod view;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use log::info;
use parking_lot::Condvar;

use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::net::limits;
use crate::net::message::{
    Bound, DoneState, FileState, FromManager, Holder, LeaseId, LeaseState, PeerId, ProductStage, Progress,
    Replicas, encode,
};
use crate::net::outbox::Outbox;
use crate::share::units::counted;
use crate::share::{FileId, FileName, Manifest};
use catalogue::{Catalogue, Change, cards, not_found};
use events::{Events, What};
use lease_book::{Effect, LeaseBook};
use replicator::Replicator;
use roster::{Candidate, Roster};

/// How many of the multiplies that were finished are kept for the board.
const DONE: usize = 5;

/// Everything the manager knows, behind the desk's lock.
#[derive(Debug)]
pub struct Table {
    /// Who is here.
    pub roster: Roster,
    /// Who may use which slots.
    pub book: LeaseBook,
    /// Which files there are, and who has them.
    pub catalogue: Catalogue,
    /// Who should fetch what.
    pub replicator: Replicator,
    /// What happened last.
    pub events: Events,
    /// The multiplies that were finished last, oldest first.
    pub(super) done: VecDeque<DoneState>,
    /// Since when the manager runs.
    pub(super) started: Millis,
    /// The way to each peer.
    pub lines: HashMap<PeerId, Outbox>,
    /// Ends the manager's service for good.
    pub stopping: bool,
    pub(super) tickets: HashMap<LeaseId, Waking>,
    /// Outboxes in which something waits to be flushed.
    pub(super) posted: Vec<Outbox>,
    pub(super) listed: u64,
}

/// How to reach one that waits or holds: its thread by the Condvar, its program by the outbox.
#[derive(Debug)]
pub(super) struct Waking {
    pub(super) turn: Arc<Condvar>,
    pub(super) line: Outbox,
    /// When its multiply began, and how far it is, as it said last.
    pub(super) progress: Option<(Millis, Progress)>,
}

impl Table {
    /// An empty table whose leases last `quantum`, and whose files are to be on so many peers. Its numbers start from
    /// `first`.
    pub(super) fn new(quantum: Millis, replicas: Replicas, first: u64, now: Millis) -> Self {
        Self {
            roster: Roster::default(),
            book: LeaseBook::new(quantum, first, now),
            catalogue: Catalogue::default(),
            replicator: Replicator::new(replicas, now),
            events: Events::default(),
            done: VecDeque::new(),
            started: now,
            lines: HashMap::new(),
            stopping: false,
            tickets: HashMap::new(),
            posted: Vec::new(),
            listed: 0,
        }
    }

    /// Takes a peer into the table, in the place of its former self if there is one.
    pub(super) fn admit(
        &mut self,
        candidate: Candidate,
        bound: &[Bound],
        line: &Outbox,
        now: Millis,
    ) -> Result<PeerId> {
        if let Some(former) = self.roster.former_self(&candidate)? {
            self.strike(former, "it came back", now);
        }
        let peer = self.book.next_number();
        let (name, addr, slots) = (candidate.name.clone(), candidate.addr, candidate.slots);
        self.roster.admit(peer, candidate, now);
        self.lines.insert(peer, line.clone());
        line.post(&FromManager::Registered { peer });
        for bound in bound {
            self.book.still_bound(&mut self.roster, peer, bound.lease, bound.slots, now);
        }
        self.tell(now, format!("{name} joined from {addr} with {}", counted(slots, "slot")));
        Ok(peer)
    }

    /// Strikes a peer out of the table and closes its connection, if it is still there.
    pub fn strike(&mut self, peer: PeerId, why: &str, now: Millis) {
        let Some(row) = self.roster.remove(peer) else { return };
        if let Some(line) = self.lines.remove(&peer) {
            line.close();
        }
        self.tell(now, format!("{} left: {why}", row.is.name));
        for file in self.catalogue.leave(peer) {
            self.events.tell_of(now, String::new(), What::Gone, &file, 0);
        }
        self.book.lost(&mut self.roster, peer, now);
    }

    pub(super) fn update(
        &mut self,
        peer: PeerId,
        manifest: &Manifest,
        whole: bool,
        published: Option<Millis>,
        now: Millis,
    ) -> Result<()> {
        if self.roster.get(peer).is_none() {
            return Err(Error::new(Code::Unauthorised, format!("there is no peer {peer}"))
                .advise("register, and give the number that `registered` tells"));
        }
        self.replicator.told(peer, now);
        let (who, file) = (self.roster.name(peer), manifest.name());
        let changed = self.catalogue.update(peer, manifest, whole, published, &self.roster, now);
        let what = match changed {
            Ok(Change::New) => What::Offers,
            Ok(Change::Again) => What::BringsBack,
            Ok(Change::Joined) if whole => What::HasToo,
            Ok(Change::Joined) => What::Begins,
            Ok(Change::Completed) => What::Completes,
            Ok(Change::Reduced) => What::Reduces,
            Ok(Change::Nothing) => return Ok(()),
            Err(no) => {
                info!("{who} cannot offer {file}: {no}");
                if no.code() == Code::Expired {
                    self.tell_of_drop(peer, manifest, now);
                }
                return Err(no);
            }
        };
        self.events.tell_of(now, who, what, file, manifest.layout().size());
        Ok(())
    }

    /// Somebody, registered or not, wants a file to be removed everywhere. What is not listed nobody here can want
    /// away; else anybody could have names remembered without end that were never there.
    pub(super) fn drop_listed(
        &mut self,
        file: &FileName,
        id: Option<FileId>,
        at: Option<Millis>,
        now: Millis,
    ) -> Result<()> {
        if !self.catalogue.lists(file, id) {
            return Err(not_found(file));
        }
        self.drop_file(file, id, at, now)
    }

    pub(super) fn query(
        &mut self,
        asker: PeerId,
        file: &FileName,
        now: Millis,
    ) -> Result<(Manifest, Vec<Holder>)> {
        let found = self.catalogue.query(asker, file);
        if found.lost {
            let who = self.roster.name(asker);
            self.events.tell_of(now, who, What::Loses, file, 0);
        }
        let Some((manifest, holders)) = found.file else {
            return Err(not_found(file));
        };
        Ok((manifest, cards(holders, &self.roster)))
    }

    /// Orders the copies that are missing; says when to look again if nothing changes before that.
    pub(super) fn replicate(&mut self, now: Millis) -> Option<Millis> {
        let plan = self.replicator.plan(&mut self.catalogue, &self.roster, now);
        for order in plan.in_vain {
            let who = self.roster.name(order.peer);
            self.events.tell_of(now, who, What::InVain, &order.file, order.size);
        }
        for order in plan.orders {
            let who = self.roster.name(order.peer);
            self.events.tell_of(now, who, What::Asked, &order.file, order.size);
            self.post(order.peer, &FromManager::Fetch { file: order.file });
        }
        plan.next
    }

    /// A file is to be removed everywhere, or was; everybody is told.
    ///
    /// # Errors
    /// `not_found` when nobody said which bytes, and the name stands for nothing.
    pub(super) fn drop_file(
        &mut self,
        file: &FileName,
        id: Option<FileId>,
        at: Option<Millis>,
        now: Millis,
    ) -> Result<()> {
        let dropped = self.catalogue.drop_file(file, id, at, now)?;
        if dropped.listed || dropped.news {
            self.events.tell_of(now, String::new(), What::Dropped, file, 0);
        }
        if dropped.news
            && let Ok(line) = encode(&drop_message(file, dropped.id, dropped.at))
        {
            for listener in self.lines.values() {
                listener.post_line(&line);
                self.posted.push(listener.clone());
            }
        }
        Ok(())
    }

    /// A peer offers what was dropped: it is told so, however often it offers it.
    pub(super) fn tell_of_drop(&mut self, peer: PeerId, manifest: &Manifest, now: Millis) {
        let (file, id) = (manifest.name(), manifest.id());
        let Some(at) = self.catalogue.when_dropped(file, id) else { return };
        let who = self.roster.name(peer);
        self.events.tell_of(now, who, What::Refused, file, manifest.layout().size());
        self.post(peer, &drop_message(file, id, at));
    }

    /// All files in order of their names, with their health.
    pub(super) fn files_with_health(&self, now: Millis) -> impl Iterator<Item = FileState> {
        self.catalogue.entries().map(move |(number, entry)| {
            let health = self.replicator.health(number, entry, &self.roster, now);
            FileState { health: Some(health), ..entry.state(&self.roster) }
        })
    }

    /// An event in plain words, for the board and the log.
    pub fn tell(&mut self, at: Millis, text: String) {
        self.events.tell(at, text);
    }

    /// Puts a message into the memory of a peer's outbox; it is flushed after the change.
    pub fn post(&mut self, peer: PeerId, message: &FromManager) {
        if let Some(line) = self.lines.get(&peer) {
            line.post(message);
            self.posted.push(line.clone());
        }
    }

    /// The holder of a lease says how far its multiply is, which began at `began`.
    pub fn progress(&mut self, lease: LeaseId, began: Millis, mut progress: Progress) {
        if let Some(waking) = self.tickets.get_mut(&lease) {
            progress.products.truncate(limits::PRODUCTS);
            waking.progress = Some((began, progress));
        }
    }

    /// The running leases, and how far their multiplies are.
    pub(super) fn leases(&self) -> Vec<LeaseState> {
        let mut leases = self.book.leases(&self.roster);
        for lease in &mut leases {
            let waking = self.tickets.get(&lease.lease);
            lease.progress = waking.and_then(|waking| Some(waking.progress.as_ref()?.1.clone()));
        }
        leases
    }

    /// A ticket is given back; a multiply that was finished with it is kept for the board.
    pub(super) fn end_ticket(&mut self, lease: LeaseId, asker: PeerId, now: Millis) {
        let Some((began, progress)) = self.tickets.remove(&lease).and_then(|waking| waking.progress) else {
            return;
        };
        if progress.products.iter().any(|product| product.state != ProductStage::Checked) {
            return;
        }
        if self.done.len() == DONE {
            self.done.pop_front();
        }
        let name = self.roster.get(asker).map(|row| row.is.name.clone());
        let took_ms = now.saturating_sub(began);
        self.done.push_back(DoneState { lease, peer: asker, name, at: now, took_ms, progress });
    }

    /// Posts and wakes what follows from the last change; says who has something to be flushed.
    pub(super) fn carry_out(&mut self) -> Vec<Outbox> {
        let mut flush = std::mem::take(&mut self.posted);
        for effect in self.book.take_effects() {
            let (line, message) = match effect {
                Effect::Turn(ticket) => {
                    if let Some(waking) = self.tickets.get(&ticket) {
                        waking.turn.notify_one();
                    }
                    continue;
                }
                Effect::Bind { peer, lease, slots, for_ms } => {
                    (self.lines.get(&peer), FromManager::Bind { lease, slots, for_ms })
                }
                Effect::Unbind { peer, lease } => (self.lines.get(&peer), FromManager::Unbind { lease }),
                Effect::Lost { lease, peer } => {
                    let holder = self.tickets.get(&lease).map(|waking| &waking.line);
                    (holder, FromManager::Lost { lease, peer })
                }
            };
            if let Some(line) = line {
                line.post(&message);
                flush.push(line.clone());
            }
        }
        flush
    }
}

fn drop_message(file: &FileName, id: FileId, at: Millis) -> FromManager {
    FromManager::Drop { file: file.clone(), id: Some(id), at: Some(at) }
}
