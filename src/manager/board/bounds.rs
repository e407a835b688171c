//! How long the running downloads take at least: the lecture's bound, with the rates of the peers that are here.
//!
//! # The rule
//! For each file that somebody is fetching: the *seeds* are the peers that have all of it, N is how many fetch
//! it, and each rate is the cap that its peer registered with. The seeds together are the lecture's server:
//! a byte has to leave them once. Where nothing is capped nothing binds, and that is said instead.
//!
//! # An example
//! ada has 32 MiB and uploads 8 MiB/s; ben and cyd fetch it and upload 4 MiB/s each. Then no way is faster
//! than max(32 / 8, 2 · 32 / (8 + 4 + 4)) s = 4 s, and it is ada's link that binds. The numbers are computed
//! by [`crate::share::theory`].
//!
//! # What is missing
//! It is a bound for the whole file, and for peers that begin together: one that resumes with half of the
//! pieces may be faster.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::net::message::{FileState, PeerState, State};
use crate::share::FileName;
use crate::share::theory::{Setting, swarm};

/// The bound of every file that is being fetched: how many `peers` fetch it, the least time in `seconds` in which they
/// can have it (`null` where nothing binds, or nobody has all of it), the `formula` of the term that binds (empty where
/// none does), and in `words` why it cannot be less, or why there is no bound.
pub(super) fn bounds(state: &State) -> Vec<Value> {
    let downloads = state.peers.iter().flat_map(|peer| &peer.said.downloads);
    let fetched: BTreeSet<&FileName> = downloads.map(|download| &download.file).collect();
    let bound = |file: &FileState| {
        let is_seed = |peer: &&PeerState| file.holders.iter().any(|it| it.whole && it.peer == peer.peer);
        // One that has just finished is whole at once, and takes its download back with its next `ok`.
        let (seeds, mut fetchers): (Vec<_>, Vec<_>) = state.peers.iter().partition(is_seed);
        fetchers.retain(|peer| peer.said.downloads.iter().any(|download| download.file == file.file));
        let setting = setting(file.size, &seeds, &fetchers);
        let (seconds, formula, words) = binding(&seeds, &setting);
        let (file, peers) = (&file.file, setting.peers);
        let bound =
            json!({"file": file, "peers": peers, "seconds": seconds, "formula": formula, "words": words});
        (peers > 0).then_some(bound)
    };
    state.files.iter().filter(|file| fetched.contains(&file.file)).filter_map(bound).collect()
}

fn setting(size: u64, seeds: &[&PeerState], fetchers: &[&PeerState]) -> Setting {
    // One without a cap makes the sum as large as it can be.
    let up = |peers: &[&PeerState]| {
        peers.iter().fold(0_u64, |sum, peer| sum.saturating_add(peer.up.unwrap_or(u64::MAX)))
    };
    Setting {
        size,
        seed_up: up(seeds),
        peers: fetchers.len() as u64,
        peers_up: up(fetchers),
        slowest_down: fetchers.iter().filter_map(|peer| peer.down).min(),
    }
}

/// Seconds, formula and words.
fn binding(seeds: &[&PeerState], setting: &Setting) -> (Option<f64>, String, String) {
    if seeds.is_empty() {
        return (None, String::new(), "no bound: nobody has all of it".into());
    }
    if setting.seed_up == u64::MAX && setting.slowest_down.is_none() {
        let uncapped = seeds.iter().find(|peer| peer.up.is_none());
        let who = uncapped.map_or_else(|| "those who have it".into(), |peer| peer.name.to_string());
        return (None, String::new(), format!("no bound: {who} may upload as fast as it can (no --up)"));
    }
    let bound = swarm(setting);
    let seconds = bound.seconds.is_finite().then_some(bound.seconds);
    let [formula, because] = bound.term.texts();
    (seconds, formula.into(), because.into())
}

#[cfg(test)]
mod tests;
