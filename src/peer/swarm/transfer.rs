//! One download, as all of its threads share it: how it is to go, which holders it asks, and what follows from each
//! change.
//!
//! # The rule
//! The [`Picker`] and all that is known of the neighbours are plain state behind one lock. Whatever changes it also
//! asks all neighbours for what they can be asked for now ([`Transfer::change`]): requests are *posted* under the lock,
//! which is memory only, and flushed after it. So no thread polls, and no holder is idle while there is anything to ask
//! it for.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use log::debug;
use parking_lot::{Condvar, Mutex};

use super::upload::Uploads;
use crate::error::{Error, Result};
use crate::net::message::{Holder, Name, PeerId, ToPeer};
use crate::net::outbox::Outbox;
use crate::peer::library::Library;
use crate::share::Piece;
use crate::share::picker::{PickOrder, Picker};
use crate::share::store::{Partial, Store};
use crate::share::units::about;

/// How long a holder that owes a piece may send none, and the longest time for which one is left alone. A link of
/// 10 kB/s that two share needs a minute for a piece of 256 KiB.
const SILENCE: Duration = Duration::from_secs(60);

/// How long a holder is left alone at least whose conversation failed, or with which none began.
const LOST_PAUSE: Duration = Duration::from_secs(2);

/// After so long without a piece, neighbours that have nothing for us make room for others.
const USELESS: Duration = Duration::from_secs(1);

/// Of how many pieces a neighbour may be told later.
const UNTOLD: usize = 4;

/// How often a neighbour that we have nothing to say to hears that we are still there.
const STILL_HERE: Duration = Duration::from_secs(20);

/// How a file is to be fetched.
#[derive(Clone, Copy)]
pub(crate) struct DownloadSettings<'a> {
    pub(crate) library: &'a Library,
    pub(crate) uploads: &'a Uploads,
    /// Into which folder.
    pub(crate) store: &'a Arc<Store>,
    pub(crate) order: PickOrder,
    /// It is a repair of the file that is there.
    pub(crate) repair: bool,
    /// How long no piece may come before an ordered download is given up, a full disk at once; without it a person
    /// waits as long as they like.
    pub(crate) stall: Option<Duration>,
    /// Whether it is not wanted any more.
    pub(crate) is_stopped: &'a (dyn Fn() -> bool + Sync),
}

/// What happens to a download.
pub(crate) enum DownloadEvent {
    /// It has begun, with so many pieces that were here already, and so many bytes in all.
    Begun { have: u32, pieces: u32, size: u64 },
    /// A piece is here. So many holders are connected, those that choke us included.
    Piece { bytes: u64, holders: usize },
    /// None has come for so long, and why: told about once a second while it is so.
    Quiet(Duration, String),
    /// Something that a person wants to know.
    Note(String),
}

/// A holder that a thread listens to.
struct Neighbour<L> {
    name: Name,
    /// `None` until it is connected.
    line: Option<L>,
    /// When it showed last that it can be counted on: by a word or, while it owes a piece, by that alone. From the
    /// moment when it is asked on it has as long as any other.
    heard: Instant,
    /// Whether we are interested, as it was told last, and when.
    told: (bool, Instant),
    /// What it is to be told with the next that is said to it: pieces that are here, or that it sent wrong.
    untold: Vec<ToPeer>,
    /// Whether it must hear at once what it is to be told.
    urgent: bool,
    /// It was asked to make room for another.
    gives_way: bool,
}

/// The state of a download. `L` is the way to a neighbour. What a neighbour is to be told is handed out with it.
pub(crate) struct Neighbours<L> {
    pub(crate) picker: Picker,
    /// From the moment when a thread begins to listen to one: there is one thread for each.
    all: BTreeMap<PeerId, Neighbour<L>>,
    /// Holders that are left alone, and until when.
    avoided: BTreeMap<PeerId, Instant>,
    /// When one was connected last.
    last_seen: Instant,
    /// When one was asked last to make room for another.
    made_room: Instant,
    /// When a piece came last.
    pub(super) last_piece: Instant,
    /// A piece that has come could not be written for want of room, and none since then.
    pub(super) disk_full: bool,
    /// The download has ended; where the disk failed, with that.
    pub(super) over: bool,
    pub(super) failed: Option<Error>,
}

impl<L: Clone> Neighbours<L> {
    pub(crate) fn new(picker: Picker, now: Instant) -> Self {
        let (all, avoided, last_seen, last_piece) = (BTreeMap::new(), BTreeMap::new(), now, now);
        let made_room = now;
        let (disk_full, over, failed) = (false, false, None);
        Self { picker, all, avoided, last_seen, made_room, last_piece, disk_full, over, failed }
    }

    /// A thread is to listen to this holder, unless one does, or the holder is left alone, or there are `most` already.
    /// When none of those has anything for us, the one that has been silent for longest makes room, one a second: so a
    /// holder is asked when it is listed later.
    ///
    /// # Errors
    /// No thread is to listen to it; where one makes room, with the line to that one, which is to be closed.
    pub(crate) fn admit(&mut self, holder: &Holder, most: usize, now: Instant) -> Result<(), Option<L>> {
        let (name, holder) = (holder.name.clone(), holder.peer);
        let avoided = self.avoided.get(&holder).is_some_and(|until| now < *until);
        if avoided || self.all.contains_key(&holder) || self.picker.barred(holder) {
            return Err(None);
        }
        if self.all.len() >= most {
            let useful = self.all.keys().any(|&peer| self.picker.interested(peer));
            let made_room = now.saturating_duration_since(self.made_room);
            let makes_room = !useful && self.quiet(now).min(made_room) >= USELESS;
            return Err(if makes_room { self.make_room(now) } else { None });
        }
        let (line, heard, told, untold) = (None, now, (false, now), Vec::new());
        let (urgent, gives_way) = (false, false);
        self.all.insert(holder, Neighbour { name, line, heard, told, untold, urgent, gives_way });
        Ok(())
    }

    /// The neighbour that has been silent for longest gives way, if it was silent for so long that it would have said
    /// which pieces it has.
    fn make_room(&mut self, now: Instant) -> Option<L> {
        let silent = self.all.values_mut().filter(|it| now.saturating_duration_since(it.heard) >= USELESS);
        let silent = silent.min_by_key(|it| it.heard)?;
        (silent.gives_way, self.made_room) = (true, now);
        silent.line.clone()
    }

    /// A holder is connected. False when the download is over.
    pub(crate) fn connected(&mut self, holder: PeerId, line: L, now: Instant) -> bool {
        if let Some(neighbour) = self.all.get_mut(&holder) {
            (neighbour.line, neighbour.heard) = (Some(line), now);
        }
        !self.over
    }

    /// A holder has said something. Words are not what it owes: two that owe the same piece, and only talk, would keep
    /// it from all others.
    pub(crate) fn heard(&mut self, holder: PeerId, now: Instant) {
        if !self.picker.owes(holder) {
            self.gave(holder, now);
        }
    }

    fn gave(&mut self, holder: PeerId, now: Instant) {
        self.all.get_mut(&holder).into_iter().for_each(|neighbour| neighbour.heard = now);
    }

    /// A holder was sending a piece for so long, if perhaps one that is not needed any more: in that time it was not
    /// silent.
    pub(super) fn was_sending(&mut self, holder: PeerId, time: Duration) {
        self.all.get_mut(&holder).into_iter().for_each(|neighbour| neighbour.heard += time);
    }

    /// How long a holder may go on as it does now.
    ///
    /// # Errors
    /// When it has owed pieces for long, and sent none.
    pub(crate) fn patience(&self, holder: PeerId, now: Instant) -> Result<Duration> {
        let owes = self.all.get(&holder).filter(|_| self.picker.owes(holder));
        let patience = owes.map_or(SILENCE, |it| (it.heard + SILENCE).saturating_duration_since(now));
        if patience.is_zero() {
            let what = format!("it owes pieces, and has sent none for {} s", SILENCE.as_secs());
            return Err(Error::failed(what).advise("others are asked"));
        }
        Ok(patience)
    }

    /// No thread listens to a holder any more. It is left alone for as long as it was silent, within limits. False when
    /// it was to make room for another.
    pub(crate) fn left(&mut self, holder: PeerId, now: Instant) -> bool {
        self.picker.left(holder);
        let Some(gone) = self.all.remove(&holder) else { return true };
        let pause = now.saturating_duration_since(gone.heard).clamp(LOST_PAUSE, SILENCE);
        self.avoided.insert(holder, now + pause);
        !gone.gives_way
    }

    /// Those that are connected.
    pub(crate) fn lines(&self) -> impl Iterator<Item = (PeerId, &L)> {
        self.all.iter().filter_map(|(&peer, neighbour)| Some((peer, neighbour.line.as_ref()?)))
    }

    /// How many are connected. One that joined again, and is listened to under both numbers for a moment, is one.
    pub(super) fn count(&self) -> usize {
        self.lines().map(|(peer, _)| &self.all[&peer].name).collect::<BTreeSet<_>>().len()
    }

    /// For how long there was none.
    pub(crate) fn lonely(&mut self, now: Instant) -> Duration {
        if self.count() > 0 {
            self.last_seen = now;
        }
        now.saturating_duration_since(self.last_seen)
    }

    /// Those that are connected, and have been silent for so long.
    pub(crate) fn silent(&self, silence: Duration, now: Instant) -> impl Iterator<Item = (PeerId, &L)> {
        let is_silent = move |heard| now.saturating_duration_since(heard) >= silence;
        self.lines().filter(move |(peer, _)| is_silent(self.all[peer].heard))
    }

    /// For how long no piece has come.
    pub(crate) fn quiet(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.last_piece)
    }

    /// Why no piece comes, in words. What the owner of this disk can mend comes first.
    fn why_quiet(&self, now: Instant) -> String {
        let (seconds, holders) = (self.quiet(now).as_secs(), self.count());
        let owed = self.lines().any(|(peer, _)| self.picker.owes(peer));
        let why = match self.picker.nowhere().next() {
            _ if self.disk_full => "the disk is full; make room there".into(),
            _ if holders == 0 => "no holder can be reached".into(),
            _ if owed => format!("no holder ({holders}) has sent what it owes"),
            Some(piece) => format!("no holder that can be reached ({holders}) has piece {}", piece.index()),
            None => format!("no holder ({holders}) has a place for us (choked) or answers"),
        };
        format!("nothing has come for {seconds} s: {why}")
    }

    /// A neighbour has sent wrong bytes for a piece: it hears that. Says whether it is not asked any more.
    pub(crate) fn lied(&mut self, piece: Piece, giver: PeerId) -> bool {
        if let Some(neighbour) = self.all.get_mut(&giver) {
            neighbour.untold.push(ToPeer::Wrong { piece: piece.index() });
            neighbour.urgent = true;
        }
        self.picker.failed(giver, piece);
        self.picker.barred(giver)
    }

    /// A piece has come from a neighbour, is right, and on the disk. Those that owe it, too, hear that at once, so that
    /// they do not send it; the others with the next that is said to them. Says how many are connected.
    pub(crate) fn kept(&mut self, piece: Piece, giver: PeerId, now: Instant) -> usize {
        (self.last_piece, self.disk_full) = (now, false);
        self.gave(giver, now);
        let losers = self.picker.verified(piece);
        for (peer, neighbour) in self.all.iter_mut().filter(|(peer, _)| **peer != giver) {
            neighbour.untold.push(ToPeer::Have { piece: piece.index() });
            neighbour.urgent |= losers.contains(peer);
        }
        losers.into_iter().for_each(|loser| self.picker.taken_back(loser, piece));
        self.count()
    }

    /// What each neighbour can be told and asked for now.
    pub(crate) fn post(&mut self, now: Instant) -> Vec<(L, Vec<ToPeer>)> {
        let mut posted = Vec::new();
        for (&holder, Neighbour { line, heard, told, untold, urgent, .. }) in &mut self.all {
            let Some(line) = line else { continue };
            let (interested, owed) = (self.picker.interested(holder), self.picker.owes(holder));
            let wanted: Vec<_> = std::iter::from_fn(|| self.picker.next(holder)).collect();
            if !owed && !wanted.is_empty() {
                *heard = now;
            }
            let tell = told.0 != interested || now.saturating_duration_since(told.1) >= STILL_HERE;
            if !std::mem::take(urgent) && !tell && wanted.is_empty() && untold.len() < UNTOLD {
                continue;
            }
            let mut says = std::mem::take(untold);
            if tell {
                *told = (interested, now);
                says.push(ToPeer::Interested { on: interested });
            }
            says.extend(wanted.iter().map(|piece| ToPeer::Request { piece: piece.index() }));
            posted.push((line.clone(), says));
        }
        posted
    }
}

/// One download.
pub(super) struct Transfer<'a> {
    pub(super) settings: DownloadSettings<'a>,
    /// The number of this download in the register.
    pub(super) download: u64,
    pub(super) partial: Arc<Partial>,
    pub(super) neighbours: Mutex<Neighbours<Outbox>>,
    pub(super) changed: Condvar,
    pub(super) events: Sender<DownloadEvent>,
}

impl Drop for Transfer<'_> {
    fn drop(&mut self) {
        self.settings.uploads.requesters.lock().register.end(self.download);
    }
}

impl Transfer<'_> {
    /// Changes the state, and asks all neighbours for what they can be asked for now.
    pub(super) fn change<T>(&self, change: impl FnOnce(&mut Neighbours<Outbox>, Instant) -> T) -> T {
        let (mut state, now) = (self.neighbours.lock(), Instant::now());
        let changed = change(&mut state, now);
        let posted = state.post(now);
        posted.iter().for_each(|(line, says)| says.iter().for_each(|message| line.post(message)));
        let done = state.picker.is_done();
        drop(state);
        posted.iter().for_each(|(line, _)| line.flush());
        if done {
            self.changed.notify_all();
        }
        changed
    }

    /// Why no piece comes, in words. Where this peer's own `--down` lets less in than a piece of each neighbour, no
    /// holder is to blame.
    pub(super) fn why_quiet(&self, state: &Neighbours<Outbox>, now: Instant) -> String {
        let seconds = state.quiet(now).as_secs();
        let piece = u64::from(self.partial.manifest.layout().piece_size());
        match self.settings.library.network.config.upload.down {
            Some(rate) if rate.saturating_mul(seconds) < piece * state.count() as u64 => {
                format!("nothing has come for {seconds} s: --down lets in {} a second", about(rate))
            }
            _ => state.why_quiet(now),
        }
    }

    /// Says something that a person wants to know.
    pub(super) fn note(&self, text: String) {
        debug!("{text}");
        let _ = self.events.send(DownloadEvent::Note(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::{Bitfield, Layout};

    /// Ada, under this number.
    fn ada(peer: PeerId) -> Holder {
        let addr = ([127, 0, 0, 1], 1).into();
        Holder { peer, name: "ada".parse().unwrap(), addr, whole: true, pass: None }
    }

    /// Of a download of which nothing is here; the way to a neighbour is its number.
    fn neighbours(layout: Layout, now: Instant) -> Neighbours<PeerId> {
        Neighbours::new(Picker::new(Bitfield::empty(layout), PickOrder::default(), 7), now)
    }

    #[test]
    fn a_full_disk_is_said_before_anything_about_holders() {
        let now = Instant::now();
        let mut state = neighbours(Layout::of(1).unwrap(), now);
        assert!(state.why_quiet(now).ends_with("no holder can be reached"), "{}", state.why_quiet(now));
        state.disk_full = true;
        let why = state.why_quiet(now);
        assert!(why.ends_with("the disk is full; make room there"), "{why}");
    }

    #[test]
    fn a_neighbour_that_owes_a_piece_is_left_when_it_sends_none_for_a_minute_whatever_it_says() {
        let (mut now, layout) = (Instant::now(), Layout::of(10 << 20).unwrap());
        let mut state = neighbours(layout, now);
        assert!(state.admit(&ada(1), 1, now).is_ok() && state.connected(1, 1, now));
        state.picker.joined(1, Bitfield::full(layout));
        now += SILENCE;
        assert_eq!(state.patience(1, now).unwrap(), SILENCE, "it was asked for nothing");
        state.picker.unchoked(1);
        state.post(now);
        assert!(state.picker.owes(1) && state.patience(1, now).is_ok(), "it was asked just now");
        let why = state.why_quiet(now);
        assert!(why.ends_with("no holder (1) has sent what it owes"), "{why}");
        now += SILENCE;
        state.heard(1, now);
        state.picker.paced(1, false);
        assert_eq!(state.post(now).len(), 1, "it is asked for a second piece");
        let no = state.patience(1, now).unwrap_err().to_string();
        assert!(no.starts_with("it owes pieces, and has sent none for 60 s"), "{no}");
        state.was_sending(1, SILENCE / 2);
        let why = "half of that minute it was sending what others sent first, and only the rest counts";
        assert_eq!(state.patience(1, now).unwrap(), SILENCE / 2, "{why}");
        now += SILENCE;
        assert!(state.patience(1, now).is_err());
        state.gave(1, now);
        assert!(state.patience(1, now).is_ok(), "it has given a piece");
        now += SILENCE;
        state.picker.choked(1);
        assert_eq!(state.patience(1, now).unwrap(), SILENCE, "it owes nothing any more");
        assert_eq!(state.silent(SILENCE, now).count(), 1);
        state.heard(1, now);
        assert_eq!(state.silent(SILENCE, now).count(), 0, "while it owes nothing, words count");
    }

    #[test]
    fn where_all_neighbours_have_nothing_for_us_the_most_silent_one_makes_room() {
        let (mut now, layout) = (Instant::now(), Layout::of(1).unwrap());
        let mut state = neighbours(layout, now);
        for peer in 1..=3 {
            assert_eq!(state.admit(&ada(peer), 3, now), Ok(()));
            state.connected(peer, peer, now);
            state.picker.joined(peer, Bitfield::empty(layout));
        }
        assert_eq!(state.count(), 1, "under three numbers it is one");
        assert_eq!(state.admit(&ada(4), 3, now), Err(None), "it may still be said who has what");
        now += USELESS;
        [1, 2].into_iter().for_each(|peer| state.heard(peer, now));
        (state.last_piece, now) = (now, now + USELESS / 2);
        assert_eq!(state.admit(&ada(4), 3, now), Err(None), "a piece has just come");
        now += USELESS / 2;
        state.picker.gained(2, layout.piece(0).unwrap());
        assert_eq!(state.admit(&ada(4), 3, now), Err(None), "one has the piece");
        state.picker.joined(2, Bitfield::empty(layout));
        assert_eq!(state.admit(&ada(4), 3, now), Err(Some(3)));
        assert_eq!(state.admit(&ada(4), 3, now + USELESS / 2), Err(None), "one a second");
        assert!(!state.left(3, now) && state.left(1, now), "only the first has made room");
        assert_eq!(state.admit(&ada(4), 3, now), Ok(()));
        assert_eq!(state.admit(&ada(1), 3, now), Err(None), "it has just been left");
    }

    #[test]
    fn one_that_owes_a_piece_that_has_come_hears_that_at_once_another_with_the_next_words() {
        let (now, layout) = (Instant::now(), Layout::new(2048, 1024).unwrap());
        let mut state = neighbours(layout, now);
        let [zero, one] = [0, 1].map(|index| layout.piece(index).unwrap());
        for peer in 1..=3 {
            assert!(state.admit(&ada(peer), 3, now).is_ok() && state.connected(peer, peer, now));
            state.picker.joined(peer, Bitfield::full(layout));
        }
        [1, 2].into_iter().for_each(|peer| state.picker.unchoked(peer));
        let (on, ask) = (ToPeer::Interested { on: true }, |piece| ToPeer::Request { piece });
        let asked = [(1, vec![on.clone(), ask(1)]), (2, vec![on.clone(), ask(0)]), (3, vec![on])];
        assert_eq!(state.post(now), asked);
        assert_eq!(state.kept(zero, 1, now), 1, "under three numbers it is one");
        assert_eq!(state.post(now), [(2, vec![ToPeer::Have { piece: 0 }, ask(1)])], "it is not to send it");
        assert!(state.picker.arrived(1, one) && !state.lied(one, 1));
        assert_eq!(state.post(now), [(1, vec![ToPeer::Wrong { piece: 1 }])], "at once, too");
        assert_eq!(state.all[&3].untold, [ToPeer::Have { piece: 0 }]);
    }
}
