//! What this peer is fetching now: how far, how fast and from whom, told with each `ok` for the board.
//!
//! # The rule
//! Whoever downloads holds a [`Running`], and says of each piece from whom it came; when it is dropped, the
//! download is over, well or badly. The rate is that of the last [`WINDOW`]: long enough that it does not
//! jump with each piece, short enough that a holder that falls silent is seen. A holder counts as one from
//! whom pieces come if one came within the same time.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::net::limits;
use crate::net::message::{Download, PeerId};
use crate::peer::library::offer::Offer;

/// How far back the rate looks.
pub const WINDOW: Duration = Duration::from_secs(5);

/// The downloads that run, in the order in which they began.
#[derive(Debug, Default)]
pub struct Fetching {
    running: Mutex<Vec<Arc<Run>>>,
}

#[derive(Debug)]
struct Run {
    offer: Arc<Offer>,
    account: Mutex<Account>,
}

/// A download that runs; dropped, it is over.
#[derive(Debug)]
pub struct Running<'a> {
    fetching: &'a Fetching,
    run: Arc<Run>,
}

impl Fetching {
    /// A download begins.
    pub fn begin(&self, offer: &Arc<Offer>) -> Running<'_> {
        let account = Mutex::new(Account::new(Instant::now()));
        let run = Arc::new(Run { offer: Arc::clone(offer), account });
        self.running.lock().push(Arc::clone(&run));
        Running { fetching: self, run }
    }

    /// What is being fetched, as many as a message may name.
    pub fn list(&self) -> Vec<Download> {
        let running: Vec<_> = self.running.lock().iter().take(limits::DOWNLOADS).cloned().collect();
        let now = Instant::now();
        let row = |run: &Arc<Run>| {
            let (manifest, mut account) = (run.offer.manifest(), run.account.lock());
            Download {
                file: manifest.name().clone(),
                have: run.offer.have().count(),
                pieces: manifest.layout().pieces(),
                since_ms_ago: now.saturating_duration_since(account.began).as_millis() as u64,
                bytes_per_s: account.rate(now),
                from: account.sources(now),
            }
        };
        running.iter().map(row).collect()
    }
}

impl Running<'_> {
    /// A piece has come and is right.
    pub fn came(&self, peer: PeerId, bytes: usize) {
        self.run.account.lock().came(peer, bytes as u64, Instant::now());
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.fetching.running.lock().retain(|run| !Arc::ptr_eq(run, &self.run));
    }
}

/// What came, when, and from whom: plain state.
#[derive(Debug)]
struct Account {
    began: Instant,
    bytes: u64,
    /// What `bytes` was when it was looked at, oldest first; the first is the newest that is older than
    /// the window.
    seen: VecDeque<(Instant, u64)>,
    /// When a piece came from whom last.
    from: BTreeMap<PeerId, Instant>,
}

impl Account {
    fn new(now: Instant) -> Self {
        Self { began: now, bytes: 0, seen: VecDeque::from([(now, 0)]), from: BTreeMap::new() }
    }

    fn came(&mut self, peer: PeerId, bytes: u64, now: Instant) {
        self.bytes += bytes;
        self.from.insert(peer, now);
    }

    /// Bytes per second over the window, or since the beginning where that is shorter.
    fn rate(&mut self, now: Instant) -> u64 {
        while self.seen.get(1).is_some_and(|(at, _)| now.saturating_duration_since(*at) >= WINDOW) {
            self.seen.pop_front();
        }
        let (then, before) = self.seen.front().copied().unwrap_or((self.began, 0));
        self.seen.push_back((now, self.bytes));
        let seconds = now.saturating_duration_since(then).as_secs_f64();
        if seconds > 0.0 { ((self.bytes - before) as f64 / seconds) as u64 } else { 0 }
    }

    fn sources(&self, now: Instant) -> Vec<PeerId> {
        let recent = |(_, at): &(&PeerId, &Instant)| now.saturating_duration_since(**at) <= WINDOW;
        self.from.iter().filter(recent).map(|(peer, _)| *peer).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_seconds_and_who_falls_silent_is_no_source() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut account = Account::new(start);
        assert_eq!((account.rate(start), account.sources(start)), (0, vec![]));
        account.came(7, 4000, at(1));
        account.came(9, 4000, at(2));
        assert_eq!((account.rate(at(2)), account.sources(at(2))), (4000, vec![7, 9]));
        for second in 3..=7 {
            account.came(9, 1000, at(second));
            account.rate(at(second));
        }
        assert_eq!((account.rate(at(7)), account.sources(at(7))), (1000, vec![9]));
        assert_eq!((account.rate(at(20)), account.sources(at(20))), (0, vec![]));
        assert!(account.seen.len() < 20, "what is older than the window is forgotten");
    }
}
