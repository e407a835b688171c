//! What the thread of a download does itself: it sees to it that there are holders to listen to, says why nothing comes,
//! and gives up when it is told to or nobody has been there for long.

use std::sync::atomic::Ordering;
use std::thread::Scope;
use std::time::{Duration, Instant};

use log::debug;

use super::{Download, State};
use crate::error::{Code, Error, Result};
use crate::net::message::Holder;
use crate::peer::manager_client::ManagerClient;
use crate::thread;

/// How long after its first answer the tracker is asked for new holders. Whoever begins at the same moment is not
/// listed yet when we ask; until we know him, neither has anything from the other.
const FIRST_PAUSE: Duration = Duration::from_millis(50);

/// How often it is asked later: the pause doubles until it is this long.
const QUERY_PAUSE: Duration = Duration::from_secs(1);

/// How often a download that may be given up looks whether it is.
const STOP_CHECK: Duration = Duration::from_millis(100);

/// How long no piece comes before it is said, and why.
const QUIET: Duration = Duration::from_secs(10);

/// How often those who have nothing to do for us hear that we are still there.
const STILL_HERE: Duration = Duration::from_secs(20);

/// How long a holder that is not listed any more may say nothing.
const GONE: Duration = Duration::from_secs(5);

/// The most holders that are asked at the same time: our neighbours.
const NEIGHBOURS: usize = 40;

/// What all pieces together may take that are on their way, in bytes; each neighbour has one in memory.
const IN_MEMORY: usize = 24 << 20;

/// How long a holder is left alone whose conversation failed, or with whom none began.
const LOST_PAUSE: Duration = Duration::from_secs(2);

/// Why no piece comes, in words. What the owner of this disk can mend comes first.
fn why_quiet(state: &State) -> String {
    let (seconds, holders) = (state.last_piece.elapsed().as_secs(), state.neighbours.len());
    let why = match state.picker.nowhere().next() {
        _ if state.disk_full => "the disk is full; make room there".into(),
        _ if holders == 0 => "no holder can be reached".into(),
        Some(piece) => format!("no holder that can be reached ({holders}) has piece {}", piece.index()),
        None => format!("no holder ({holders}) has a place for us (choked) or answers"),
    };
    format!("nothing has come for {seconds} s: {why}")
}

impl Download<'_> {
    /// Sees to it that there are holders to listen to, until the file is whole.
    pub(super) fn attend<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        manager: &mut ManagerClient,
        mut holders: Vec<Holder>,
    ) -> Result<()> {
        let (mut last_holder, mut last_word) = (Instant::now(), Instant::now());
        let mut pause = FIRST_PAUSE;
        loop {
            for holder in holders.drain(..) {
                self.listen_to(scope, holder);
            }
            let mut state = self.state.lock();
            let end = Instant::now() + pause;
            pause = QUERY_PAUSE.min(pause * 2);
            while !state.picker.is_done() && state.failed.is_none() && Instant::now() < end {
                self.give_up_if_told()?;
                self.changed.wait_until(&mut state, end.min(Instant::now() + STOP_CHECK));
            }
            if let Some(failed) = state.failed.take() {
                return Err(failed);
            }
            if state.picker.is_done() {
                return Ok(());
            }
            if !state.neighbours.is_empty() {
                last_holder = Instant::now();
            }
            if self.wish.stall.is_some_and(|stall| state.last_piece.elapsed() >= stall) {
                return Err(Error::failed(why_quiet(&state)).advise("the pieces are kept"));
            }
            if state.last_piece.elapsed() >= QUIET && !std::mem::replace(&mut state.told_quiet, true) {
                self.note(format!("{}; it goes on when that changes", why_quiet(&state)));
            }
            if last_word.elapsed() >= STILL_HERE {
                last_word = Instant::now();
                state.neighbours.values_mut().for_each(|neighbour| neighbour.told = None);
            }
            self.let_go(state);
            if last_holder.elapsed() >= self.wish.patience {
                return Err(Error::new(
                    Code::NotFound,
                    format!(
                        "no holder of {} could be reached for {} s",
                        self.manifest.name(),
                        self.wish.patience.as_secs()
                    ),
                )
                .advise("the pieces are kept; run `down` again when a holder is back"));
            }
            holders = self.query_again(manager)?;
        }
    }

    /// Who has the file now. A manager that is away delays only newcomers; one that is stopped delays the end of the
    /// download, too, by the time that an answer may take.
    fn query_again(&self, manager: &mut ManagerClient) -> Result<Vec<Holder>> {
        match manager.query(self.asker.number_for(self.wish.repair || self.copies), self.manifest.name()) {
            Ok(found) if found.manifest.id() == self.manifest.id() => {
                self.leave_the_gone(&found.holders);
                Ok(found.holders)
            }
            Ok(_) => Err(Error::new(
                Code::Conflict,
                format!("{} stands for another content now", self.manifest.name()),
            )
            .advise("run `down` again for that")),
            Err(no) => {
                debug!("{no}");
                Ok(Vec::new())
            }
        }
    }

    /// Starts a thread that listens to a holder, unless there is one.
    fn listen_to<'scope>(&'scope self, scope: &'scope Scope<'scope, '_>, holder: Holder) {
        let most = (IN_MEMORY / self.manifest.layout().piece_size() as usize).clamp(4, NEIGHBOURS);
        let mut state = self.state.lock();
        let avoided = state.avoided.get(&holder.peer).is_some_and(|until| Instant::now() < *until);
        let known = avoided || state.listening.contains(&holder.peer) || state.picker.barred(holder.peer);
        if known || state.over || state.listening.len() >= most || self.is_own(&holder) {
            return;
        }
        state.listening.insert(holder.peer);
        drop(state);
        let peer = holder.peer;
        let thread = thread::start_scoped(scope, "fetch_from", move || {
            let ended = self.fetch_from(&holder);
            let mut state = self.state.lock();
            state.listening.remove(&holder.peer);
            state.neighbours.remove(&holder.peer);
            state.picker.left(holder.peer);
            if let (Err(e), false) = (ended, state.over) {
                state.avoid(holder.peer, LOST_PAUSE);
                self.note(format!("{} is lost: {e}", holder.name));
            }
            self.let_go(state);
        });
        if let Err(e) = thread {
            // The holders that are listened to go on.
            let mut state = self.state.lock();
            state.listening.remove(&peer);
            state.avoid(peer, LOST_PAUSE);
            drop(state);
            self.note(e.to_string());
        }
    }

    /// Ends the conversations with neighbours that are silent and not listed any more: the manager has struck
    /// them out, and what they owe is to be asked of others.
    fn leave_the_gone(&self, listed: &[Holder]) {
        let state = self.state.lock();
        let gone = state.neighbours.iter().filter(|(peer, neighbour)| {
            neighbour.heard.elapsed() >= GONE && !listed.iter().any(|holder| holder.peer == **peer)
        });
        gone.for_each(|(_, neighbour)| neighbour.line.close());
    }

    fn give_up_if_told(&self) -> Result<()> {
        match self.wish.stop {
            Some(stop) if stop.load(Ordering::SeqCst) => {
                Err(Error::failed(format!("{} is not wanted any more", self.manifest.name())))
            }
            _ => Ok(()),
        }
    }

    fn is_own(&self, holder: &Holder) -> bool {
        holder.peer == self.asker.number || holder.addr == self.asker.library.network().addr()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::picker::{Order, Picker};
    use crate::share::{Bitfield, Layout};

    #[test]
    fn a_full_disk_is_said_before_anything_about_holders() {
        let have = Bitfield::empty(Layout::of(1).unwrap());
        let mut state = State::new(Picker::new(have, Order::default(), 7), Instant::now());
        assert!(why_quiet(&state).ends_with("no holder can be reached"), "{}", why_quiet(&state));
        state.disk_full = true;
        assert!(why_quiet(&state).ends_with("the disk is full; make room there"), "{}", why_quiet(&state));
    }
}
