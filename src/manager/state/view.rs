//! Everything that the manager knows as one answer: what the board shows.
//!
//! # The problem
//! The answer is one line, and a line has a limit. A network can be larger than that: a hundred thousand files, a
//! thousand peers. An answer that is refused by its reader because of its length shows nothing at all.
//!
//! # The rule
//! Every list has a share of the line and shows as many entries as fit into it, measured as they are written; the
//! others are counted. The files come last, and have what all others have left.

use serde::Serialize;

use super::Table;
use crate::clock::Millis;
use crate::net::limits;
use crate::net::message::{ManagerState, State, encode};

/// What an answer may take, with room for its brackets and field names, in bytes.
const ANSWER: usize = limits::MANAGER_LINE - (4 << 10);

/// The shares of it, in bytes.
const EVENTS_SHARE: usize = 128 << 10;
const DONE_SHARE: usize = 160 << 10;
const QUEUE_SHARE: usize = 64 << 10;
const LEASES_SHARE: usize = 160 << 10;
const PEERS_SHARE: usize = 288 << 10;

/// As many of `entries` as fit into `share` bytes of the `room` that is left, and how many do not.
fn fit<T: Serialize>(
    room: &mut usize,
    share: usize,
    entries: impl ExactSizeIterator<Item = T>,
) -> (Vec<T>, usize) {
    let (all, mut left) = (entries.len(), share.min(*room));
    let fits = |entry: &T| {
        let size = encode(entry).len();
        if size > left {
            return false;
        }
        left -= size;
        *room -= size;
        true
    };
    let entries: Vec<T> = entries.take_while(fits).collect();
    let left_out = all - entries.len();
    (entries, left_out)
}

/// Of how many peers at most it is told which others they serve, and which pieces they have: of more, the list of peers
/// itself would not fit.
const DETAILED: usize = 64;

impl Table {
    /// Everything, for the `state` answer.
    pub(crate) fn state(&self, now: Millis) -> State {
        let manager = ManagerState {
            since: self.book.started,
            quantum_ms: self.book.quantum,
            replicas: self.replicator.policy,
            now,
        };
        let mut room = ANSWER;
        let mut state = State { manager: Some(manager), ..State::default() };
        (state.events, _) = fit(&mut room, EVENTS_SHARE, self.events.iter().rev().cloned());
        state.events.reverse();
        (state.done, _) = fit(&mut room, DONE_SHARE, self.done.iter().rev().cloned());
        state.done.reverse();
        (state.queue, state.queue_left_out) =
            fit(&mut room, QUEUE_SHARE, self.book.waiters(&self.roster, now));
        (state.leases, state.leases_left_out) = fit(&mut room, LEASES_SHARE, self.book.leases(&self.roster));
        let peers = self.roster.peers.values().map(|peer| {
            let mut state = peer.state(self.book.used(peer.id));
            // A file that nobody offers any more is not lacked.
            state.said.failed.retain(|one| self.catalogue.number(&one.file).is_some());
            if self.roster.peers.len() > DETAILED {
                state.said.uploads.clear();
                state.said.downloads.iter_mut().for_each(|one| one.map.clear());
            }
            state
        });
        (state.peers, state.peers_left_out) = fit(&mut room, PEERS_SHARE, peers);
        (state.files, state.files_left_out) = fit(&mut room, ANSWER, self.files(true, now));
        state
    }
}
