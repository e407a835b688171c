//! What the manager knows: one table, and every verb that changes it.
//!
//! # The rule
//! Who is here ([`roster`]), who may use which slots ([`lease_book`]), which files there are and who has them
//! ([`catalogue`]), who should fetch what ([`replicator`]), and what happened last ([`events`]) are plain state, each
//! with rules of its own. [`Table`] holds them together: what concerns several of them (a peer that leaves has slots,
//! files and orders) is a verb of the table, in this file; what concerns one alone is asked of that one.
//!
//! A verb is told the time, changes the table, and leaves behind what follows from that ([`effect`]): no socket, no
//! thread, no clock. The lock and the sockets are in [`desk`](super::desk).

pub(super) mod catalogue;
pub(super) mod effect;
mod events;
mod health;
pub(super) mod lease_book;
mod replicator;
pub(super) mod roster;
mod view;

use std::cmp::Reverse;
use std::collections::VecDeque;
use std::time::Duration;

use log::info;

use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::net::key::Key;
use crate::net::limits;
use crate::net::message::{
    Activity, Candidate, DoneState, Dropped, FileState, FromManager, Holder, LeaseId, NOBODY, PeerId,
    Progress, Refusal, Replicas, plain,
};
use crate::share::units::counted;
use crate::share::{FileId, FileName, Manifest};
use catalogue::{Catalogue, ListedFile, cards, not_found};
use effect::Effect;
use events::{Events, What};
use lease_book::{LeaseBook, TicketStanding};
use replicator::{Replicator, Scene};
use roster::{Exam, Reach, Roster};

/// How many of the multiplies that were finished are kept for the board.
const DONE: usize = 5;

/// How often at most the files of one peer are compared with what it says of them, in milliseconds: with 100,000 of
/// them that takes a tenth of a second, in which nobody else is heard.
const COMPARE_PAUSE: Millis = 500;

/// How many drops of files that nobody lists all peers are told in a second.
const RUMOURS: u32 = 1000;

/// Everything the manager knows.
pub(super) struct Table {
    pub(super) roster: Roster,
    pub(super) book: LeaseBook,
    catalogue: Catalogue,
    replicator: Replicator,
    events: Events,
    /// The multiplies that were finished last, oldest first.
    done: VecDeque<DoneState>,
    /// In the second that began then: how many rumours came.
    rumours: (Millis, u32),
    /// Whether the list of peers is not the one that was told last.
    pub(super) list_changed: bool,
    effects: Vec<Effect>,
}

impl Table {
    /// An empty table whose leases last `quantum`, and whose files are to be on so many peers. Its numbers start from
    /// `first`, its tokens are made of `key`.
    pub(super) fn new(quantum: Millis, policy: Replicas, first: u64, key: Key, started: Millis) -> Self {
        let (mut book, mut replicator) = (LeaseBook::default(), Replicator::default());
        (book.quantum, book.next, book.started) = (quantum, first, started);
        (replicator.policy, replicator.started) = (policy, started);
        Self {
            roster: Roster::new(key),
            book,
            catalogue: Catalogue::new(limits::DROPS),
            replicator,
            events: Events::default(),
            done: VecDeque::new(),
            rumours: (started, 0),
            list_changed: false,
            effects: Vec::new(),
        }
    }

    /// What follows from the changes since the last call, in this order.
    pub(super) fn take_effects(&mut self) -> Vec<Effect> {
        self.book.unproven.drain(..).for_each(|peer| self.roster.doubt(peer));
        let mut effects = std::mem::take(&mut self.effects);
        effects.append(&mut self.book.effects);
        effects
    }
}

/// Peers come, stay and leave.
impl Table {
    /// Everybody who is here, to be told.
    pub(super) fn take_list(&mut self) -> FromManager {
        self.list_changed = false;
        FromManager::Peers { peers: self.roster.cards() }
    }

    /// Takes a peer into the table, in the place of its former self if there is one.
    ///
    /// # Errors
    /// What [`Roster::former_self`] says; `busy` when the list of all would be longer than a line may be.
    pub(super) fn admit(
        &mut self,
        mut candidate: Candidate,
        dead_after: Duration,
        now: Millis,
    ) -> Result<PeerId> {
        let former = self.roster.former_self(&candidate, dead_after.as_millis() as Millis, now)?;
        let before = former.and_then(|former| self.roster.peers.get(&former));
        let was_reached = before.is_some_and(|it| it.is.addr == candidate.addr && it.reach == Reach::Yes);
        match former {
            Some(former) => self.strike(former, "it came back", now),
            None if self.roster.has_room() => {}
            None => return Err(Error::new(Code::Busy, "the list of peers is full").advise("try again later")),
        }
        let peer = self.book.next_number();
        let bound = std::mem::take(&mut candidate.bound);
        let token = self.roster.key.token(peer);
        // Also of one that was struck: it may wait in the queue, or hold a lease.
        if let Some(former) = candidate.former.take()
            && former.token == Some(self.roster.key.token(former.peer))
        {
            self.book.renumber(former.peer, peer);
        }
        self.effects.push(Effect::Tell(peer, FromManager::Registered { peer, token }));
        let Candidate { name, addr, slots, .. } = &candidate;
        self.events.tell(now, format!("{name} joined from {addr} with {}", counted(*slots, "slot")));
        if candidate.keeps {
            self.replicator.join(peer, now);
        }
        self.roster.admit(peer, candidate, now);
        if was_reached && let Some(row) = self.roster.peers.get_mut(&peer) {
            // It counts as such until that is tried again: nobody who waits for its slots is to give up meanwhile.
            row.reach = Reach::Yes;
        }
        self.list_changed = true;
        for bound in bound {
            self.book.still_bound(&self.roster, peer, &bound, now);
        }
        Ok(peer)
    }

    /// Takes a peer out of the table, if it is still there: its slots, its files and its orders go with it.
    pub(super) fn strike(&mut self, peer: PeerId, why: &str, now: Millis) {
        let Some(row) = self.roster.peers.remove(&peer) else { return };
        self.roster.to_examine.retain(|(other, _)| *other != peer);
        self.list_changed = true;
        self.effects.push(Effect::HangUp(peer));
        self.events.tell(now, format!("{} left: {why}", row.is.name));
        self.book.lost(&self.roster, peer, now);
        for file in self.catalogue.leave(peer, now) {
            self.events.tell_of(now, String::new(), What::Gone, &file, 0);
        }
        self.replicator.leave(peer, &mut self.catalogue);
    }

    /// Asks these peers whether they are there.
    pub(super) fn ping(&mut self, is_due: impl Fn(PeerId) -> bool) {
        let due = self.roster.peers.keys().filter(|&&peer| is_due(peer));
        self.effects.extend(due.map(|&peer| Effect::Tell(peer, FromManager::Ping {})));
    }

    /// Strikes the peers that have been silent for `dead_after`, or have not given back their slots. For so long as
    /// the manager was late nobody could be heard, through no fault of a peer.
    pub(super) fn strike_silent(&mut self, late: Duration, dead_after: Duration, now: Millis) {
        self.roster.excuse(late.as_millis() as Millis, now);
        for peer in self.roster.silent(dead_after.as_millis() as Millis, now) {
            self.strike(peer, &format!("silent for {} s", dead_after.as_secs_f32()), now);
        }
        for peer in self.book.overdue(now) {
            self.strike(peer, "it did not give back its slots in time (ten quanta)", now);
        }
    }

    /// A peer said `ok`, and what it is at. If its list of files is not the one that is kept here, it is to tell
    /// them again. A peer may say `ok` as often as it likes: what concerns all its files is looked at every
    /// [`COMPARE_PAUSE`].
    pub(super) fn heard(&mut self, peer: PeerId, mut said: Activity, now: Millis) {
        let Some(row) = self.roster.peers.get_mut(&peer) else { return };
        let mut list = said.list.take();
        if now < row.compared + COMPARE_PAUSE {
            list = None;
            said.paused.clone_from(&row.said.paused);
        } else {
            row.compared = now;
        }
        self.replicator.signs(peer, &said.downloads, &self.catalogue, now);
        let Some(before) = self.roster.heard(peer, said, now) else { return };
        let downloads = self.roster.peers.get(&peer).into_iter().flat_map(|row| &row.said.downloads);
        for new in downloads {
            if !before.downloads.iter().any(|old| old.file == new.file && old.have >= new.have) {
                self.catalogue.grew(&new.file, now);
            }
        }
        let paused = self.roster.paused(peer);
        if paused != before.paused.as_deref() {
            let what =
                paused.map_or("goes on: its folder is as it was".into(), |why| format!("has paused: {why}"));
            self.events.tell(now, format!("{} {what}", self.roster.called(peer)));
            self.replicator.due = true;
            self.catalogue.touch_files_of(peer);
        }
        if list.is_some_and(|list| self.catalogue.differs(peer, list, now)) {
            self.effects.push(Effect::Tell(peer, FromManager::List {}));
        }
    }

    /// The manager tried to connect back to a peer. One that others cannot reach must not be leased, and is told why.
    /// Where its first examination is `passed`, somebody computes there for it.
    pub(super) fn tried(&mut self, peer: PeerId, reach: Reach, passed: &Result<()>, now: Millis) {
        let Some(row) = self.roster.peers.get_mut(&peer) else { return };
        let proven = passed.is_ok();
        row.is_replaced = passed.as_ref().is_err_and(|no| no.code() == Code::Expired);
        if (&row.reach, row.proven) == (&reach, proven) {
            return; // It is tried again and again, and nobody need hear that.
        }
        row.proven = proven;
        let before = std::mem::replace(&mut row.reach, reach);
        let Reach::No(why) = &row.reach else {
            if let (Reach::No(_), 1..) = (before, row.is.slots) {
                self.events.tell(now, format!("{} can be reached now", row.is.name));
            }
            self.replicator.due = true;
            self.catalogue.touch_files_of(peer);
            return self.book.serve(&self.roster, now);
        };
        if row.is.slots == 0 {
            return; // It came for one command, and serves nobody.
        }
        let what = format!("the manager cannot connect to {}, so nobody is sent there", row.is.addr);
        let no = Error::failed(what)
            .because(why.clone())
            .advise("let the port through the firewall, or give the right address with --advertise");
        self.events.tell(now, format!("{} cannot be leased: {no}", row.is.name));
        self.effects.push(Effect::Tell(peer, FromManager::Error(Refusal::from(&no))));
        self.book.capacity_fell(&self.roster, now);
    }
}

/// Slots are asked for, leased and given back.
impl Table {
    /// Where a request stands now.
    pub(super) fn standing(&mut self, ticket: LeaseId, now: Millis) -> TicketStanding {
        self.book.standing(&self.roster, ticket, now)
    }

    /// A ticket is given back.
    pub(super) fn leave(&mut self, ticket: LeaseId, now: Millis) {
        self.book.leave(&self.roster, ticket, now);
    }

    /// The holder of a lease says how far its multiply is. One that is finished is kept for the board; its last product
    /// may have come after the end of its lease.
    pub(super) fn progress(&mut self, lease: LeaseId, peer: PeerId, mut progress: Progress, now: Millis) {
        progress.products.truncate(limits::PRODUCTS);
        progress.again.truncate(limits::REDONE);
        progress.again.iter_mut().for_each(|(_, why)| *why = plain(why));
        self.done.retain(|done| done.lease != lease);
        if progress.is_done() {
            if self.done.len() == DONE {
                self.done.pop_front();
            }
            let (name, took_ms, progress) =
                (self.roster.name(peer).cloned(), progress.age_ms, progress.clone());
            self.done.push_back(DoneState { lease, peer, name, at: now, took_ms, progress });
        }
        self.book.progress(lease, progress);
    }

    /// A peer is done with the last product of an ended lease.
    pub(super) fn unbound(&mut self, peer: PeerId, lease: LeaseId, now: Millis) {
        self.book.unbound(&self.roster, peer, lease, now);
    }

    /// The holder of a lease says that a peer in it answered wrongly.
    ///
    /// # Errors
    /// `unauthorised` when the peer is not in that lease.
    pub(super) fn blame(&mut self, lease: LeaseId, peer: PeerId, reason: &str, now: Millis) -> Result<()> {
        let Some(holder) = self.book.holder(lease, peer) else {
            return Err(Error::new(Code::Unauthorised, format!("the peer {peer} is not in your lease")));
        };
        let heard = self.roster.blame(holder, lease, peer, now);
        let deaf = if heard { "" } else { "; it blamed falsely too often, and is not heard" };
        self.complain(holder, peer, plain(reason) + deaf, now);
        Ok(())
    }

    /// A peer says what another did to it. That is told to people, and nothing follows from it.
    pub(super) fn complain(&mut self, who: PeerId, whom: PeerId, reason: String, now: Millis) {
        if self.roster.name(whom).is_some() {
            let (who, whom) = (self.roster.called(who), self.roster.called(whom));
            self.events.tell_last(now, format!("{who} blames {whom}: "), &reason);
        }
    }

    /// Whether a peer that is to be examined can be: one that was blamed needs a slot to spare.
    pub(super) fn is_exam_due(&self, now: Millis) -> bool {
        self.next_exam(now).is_some()
    }

    /// The place of the next that can be examined.
    fn next_exam(&self, now: Millis) -> Option<usize> {
        let can = |peer| self.roster.is_only_doubted(peer) || self.book.is_free(&self.roster, peer);
        self.roster.to_examine.iter().position(|&(peer, at)| at <= now && can(peer))
    }

    /// Begins the next examination. It takes a slot like a lease, but waits in no queue: until it is over the peer is
    /// leased to nobody, so that one that keeps its slots holds up nobody but itself. One that nobody blames takes no
    /// slot, as a new one.
    pub(super) fn begin_exam(&mut self, now: Millis) -> Option<Exam> {
        let (peer, _) = self.roster.to_examine.remove(self.next_exam(now)?)?;
        if self.roster.is_only_doubted(peer) {
            return self.first_exam(peer);
        }
        self.book.examine(&self.roster, peer, now)
    }

    /// An examination is over.
    pub(super) fn examined(&mut self, exam: &Exam, passed: Result<()>, now: Millis) {
        self.book.leave(&self.roster, exam.lease, now);
        let Some(again) = self.roster.examined(exam.peer, &passed, now) else { return };
        let whom = self.roster.called(exam.peer);
        match passed {
            Ok(()) => {
                self.events.tell(now, format!("{whom} was examined: its product was right"));
                self.book.serve(&self.roster, now);
            }
            Err(_) if again => {}
            Err(why) => {
                self.events.tell(now, format!("{whom} is quarantined: it failed its examination: {why}"));
                self.book.capacity_fell(&self.roster, now);
            }
        }
    }

    /// What a new peer is asked for. The key is made of its token, which shows that the manager asks: no slot is taken.
    pub(super) fn first_exam(&mut self, peer: PeerId) -> Option<Exam> {
        let addr = self.roster.peers.get(&peer)?.is.addr;
        let lease = self.book.next_number();
        Some(Exam { peer, addr, lease, key: self.roster.key.token(peer).of_lease(lease, peer) })
    }

    /// What somebody who asked for slots did, for the board.
    pub(super) fn tell_of(&mut self, requester: PeerId, did: &str, now: Millis) {
        self.events.tell(now, format!("{} {did}", self.roster.called(requester)));
    }
}

/// Files are offered, looked for, copied and dropped.
impl Table {
    /// A peer has a file, whole or in part.
    ///
    /// # Errors
    /// What [`Catalogue::update`] says.
    pub(super) fn update(
        &mut self,
        peer: PeerId,
        manifest: &Manifest,
        whole: bool,
        published: Option<Millis>,
        now: Millis,
    ) -> Result<()> {
        self.replicator.told(peer, now);
        let (who, file, size) = (self.roster.called(peer), manifest.name(), manifest.layout().size());
        let updated = self.catalogue.update(peer, manifest, whole, published, &self.roster, now);
        match &updated {
            Ok(None) => {}
            Ok(Some(what)) => self.events.tell_of(now, who, *what, file, size),
            Err(no) => {
                info!("{who} cannot offer {file}: {no}");
                // It offers what was dropped: it is told so, however often it offers it.
                if no.code() == Code::Expired
                    && let Some(at) = self.catalogue.versions.dropped(file, manifest.id())
                {
                    self.events.tell_of(now, who, What::Refused, file, size);
                    self.effects.push(Effect::Tell(peer, dropped(file, manifest.id(), at)));
                }
            }
        }
        updated.map(drop)
    }

    /// Who has this file but the requester? A whole holder that asks has lost it, unless it says that it `has` it.
    ///
    /// # Errors
    /// `not_found` when nobody else has it, or all that have it have paused.
    pub(super) fn query(
        &mut self,
        requester: PeerId,
        file: &FileName,
        has: bool,
        now: Millis,
    ) -> Result<(Manifest, Vec<Holder>)> {
        let found = self.catalogue.query(requester, file, has, now);
        if found.lost {
            self.events.tell_of(now, self.roster.called(requester), What::Loses, file, 0);
        }
        let (manifest, holders) = found.file.ok_or_else(|| not_found(file))?;
        match (cards(&holders, &self.roster), holders.keys().find_map(|peer| self.roster.paused(*peer))) {
            (none, Some(why)) if none.is_empty() => Err(not_found(file).because(format!("paused: {why}"))),
            (mut cards, _) => {
                for card in cards.iter_mut().filter(|_| requester != NOBODY) {
                    card.pass = Some(self.roster.key.token(card.peer).pass(requester, manifest.id()));
                }
                Ok((manifest, cards))
            }
        }
    }

    /// Whether a peer sends files to anybody: with `--up 0` it does not.
    pub(super) fn sends(&self, peer: PeerId) -> bool {
        self.roster.peers.get(&peer).is_some_and(|member| member.is.up != Some(0))
    }

    /// A peer wants a file removed everywhere, and everybody is told. It may want that of what is listed; what is not,
    /// nobody here can want away, else names could be remembered without end that were never there. One that
    /// `remembers` a drop from before this manager began tells it of any file. Of such rumours others are told
    /// [`RUMOURS`] a second: with more of them one peer could have all others hung up on.
    ///
    /// # Errors
    /// `not_found` when it is not listed, or when nobody said which bytes, and the name stands for nothing.
    pub(super) fn drop_file(
        &mut self,
        peer: PeerId,
        file: &FileName,
        id: Option<FileId>,
        at: Option<Millis>,
        remembers: bool,
        now: Millis,
    ) -> Result<()> {
        let is_listed = self.catalogue.lists(file, id);
        if !remembers && !is_listed {
            return Err(not_found(file));
        }
        // What a person drops has no time yet.
        let what = if at.is_some() { What::Remembered } else { What::Dropped };
        if let Some((id, at)) = self.catalogue.drop_file(peer, file, id, at, now)?
            && (is_listed || self.may_spread(now))
        {
            self.events.tell_of(now, self.roster.called(peer), what, file, 0);
            self.effects.push(Effect::TellAll(dropped(file, id, at)));
        }
        Ok(())
    }

    /// Whether one more rumour may be told to all: the second that runs has had fewer than [`RUMOURS`].
    fn may_spread(&mut self, now: Millis) -> bool {
        let (since, told) = &mut self.rumours;
        if now >= *since + 1000 {
            (*since, *told) = (now, 0);
        }
        *told += 1;
        *told <= RUMOURS
    }

    /// Whether copies are to be planned: files or peers have changed since that was last done.
    pub(super) fn is_plan_due(&self) -> bool {
        self.replicator.due || !self.catalogue.touched.is_empty()
    }

    /// Orders the copies that are missing; says when to look again if nothing changes before that.
    pub(super) fn replicate(&mut self, now: Millis) -> Option<Millis> {
        for (what, peer, number) in self.replicator.plan(&mut self.catalogue, &self.roster, now) {
            let Some(ListedFile { manifest, .. }) = self.catalogue.files.get(&number) else { continue };
            let (file, size) = (manifest.name(), manifest.layout().size());
            self.events.tell_of(now, self.roster.called(peer), what, file, size);
            if what == What::Asked {
                self.effects.push(Effect::Tell(peer, FromManager::Fetch { file: file.clone() }));
            }
        }
        self.replicator.next(now)
    }

    /// All files with their holders, and with their health if that is asked for, in order of their names.
    pub(super) fn files(&self, health: bool, now: Millis) -> impl ExactSizeIterator<Item = FileState> {
        self.catalogue.listings().map(move |listing| self.row(listing, health, now))
    }

    /// Those after the file `last`, or all, of which so many are taken that their rows and holders come to about
    /// `room`. Who takes them page by page holds no table of 100,000 rows.
    pub(super) fn page(
        &self,
        last: Option<&FileName>,
        room: usize,
        health: bool,
        now: Millis,
    ) -> Vec<FileState> {
        few(room, self.catalogue.listings_after(last).map(|listing| self.row(listing, health, now)))
    }

    /// The largest, as many as [`Table::page`] takes.
    pub(super) fn largest(&self, room: usize, now: Millis) -> Vec<FileState> {
        let mut largest: Vec<&ListedFile> = self.catalogue.listings().collect();
        largest.sort_by_key(|listing| Reverse(listing.manifest.layout().size()));
        few(room, largest.into_iter().map(|listing| self.row(listing, false, now)))
    }

    fn row(&self, listing: &ListedFile, health: bool, now: Millis) -> FileState {
        let scene = Scene { catalogue: &self.catalogue, roster: &self.roster, now };
        let health = health.then(|| self.replicator.health(listing, scene));
        FileState::of(&listing.manifest, cards(&listing.holders, &self.roster), health)
    }
}

/// The first of these files, until their rows and holders come to `room`.
fn few(mut room: usize, files: impl Iterator<Item = FileState>) -> Vec<FileState> {
    let fits = |file: &FileState| {
        let before = room;
        room = room.saturating_sub(1 + file.holders.len());
        before > 0
    };
    files.take_while(fits).collect()
}

fn dropped(file: &FileName, id: FileId, at: Millis) -> FromManager {
    FromManager::Drop(Dropped { file: file.clone(), id, at })
}

#[cfg(test)]
mod tests;
