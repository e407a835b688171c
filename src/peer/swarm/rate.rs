//! The one register of what each holder gave, and how fast.
//!
//! # The problem
//! Three places need that. The choker ranks requesters by what came from them lately, whatever the file (tit-for-tat).
//! The board shows how fast each download is now, and which holders give to it. The report of a download says how many
//! pieces each holder gave.
//!
//! # The rule
//! A piece that is here, and right, is written down once ([`Register::came`]). The three answers are views of that.
//! Bytes are counted over the last so many seconds ([`Rate`]): for the choker a round, for the board [`WINDOW`]. That
//! is long enough that the number does not jump with each piece, and short enough that a holder that falls silent is
//! seen.
//!
//! Beside it stands the [`Ledger`]: what the others owe. A debt is written to a name, so a peer that comes back under
//! another number still has it; all requesters that are not registered have one name together.
//!
//! The register is plain state, behind the lock of the [`requesters`](super::requesters).
//!
//! # An example
//! Ada gave 4000 bytes one second after the beginning, Ben 4000 after two: 4000 bytes a second from both. Ben goes on
//! with 1000 each second: after seven it is 1000, and from Ben alone.
//!
//! # What is missing
//! What a peer gave to a download counts for it until that ends, for its rate at most for a round: between two
//! downloads this peer remembers nothing.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::net::message::{Download, Holder, Name, PeerId};
use crate::share::Manifest;
use crate::share::ledger::Ledger;

/// How far back the board looks.
const WINDOW: Duration = Duration::from_secs(5);

/// In how many parts the longest window is counted: whatever came in it takes no more memory than that.
const SLICES: u32 = 50;

/// What passed lately.
#[derive(Debug)]
pub(super) struct Rate {
    longest: Duration,
    /// The parts of the longest window in which something passed: when each began, and its bytes.
    slices: Vec<(Instant, u64)>,
}

impl Rate {
    /// Nothing yet; no window will be longer than a round, or than [`WINDOW`].
    pub(super) fn new(round: Duration) -> Self {
        Self { longest: round.max(WINDOW), slices: Vec::new() }
    }

    pub(super) fn add(&mut self, bytes: u64, now: Instant) {
        let Self { longest, slices } = self;
        slices.retain(|(began, _)| now.saturating_duration_since(*began) < *longest);
        match slices.last_mut() {
            Some((began, sum)) if now.saturating_duration_since(*began) < *longest / SLICES => *sum += bytes,
            _ => slices.push((now, bytes)),
        }
    }

    /// For the board: bytes per second, over [`WINDOW`].
    pub(super) fn per_second(&self, now: Instant) -> u64 {
        self.bytes(WINDOW, now) / WINDOW.as_secs()
    }

    /// The bytes of the window that ends now.
    pub(super) fn bytes(&self, window: Duration, now: Instant) -> u64 {
        let recent = |(began, _): &&(Instant, u64)| now.saturating_duration_since(*began) < window;
        self.slices.iter().filter(recent).map(|(_, bytes)| bytes).sum()
    }
}

/// What one holder gave to a download.
#[derive(Debug, Serialize)]
pub(crate) struct Share {
    pub(crate) peer: Name,
    pub(crate) pieces: u64,
}

/// What is given to this peer: to each download that runs, in the order in which they began.
#[derive(Debug)]
pub(crate) struct Register {
    round: Duration,
    downloads: BTreeMap<u64, Account>,
    /// By name; `None` is every peer that is not registered.
    pub(super) ledger: Ledger<Option<Name>>,
}

/// One download.
#[derive(Debug)]
struct Account {
    /// What does not depend on the time at which one looks.
    row: Download,
    began: Instant,
    /// By name: a holder that comes back under another number is the same.
    givers: BTreeMap<Name, Giver>,
}

#[derive(Debug)]
struct Giver {
    peer: PeerId,
    pieces: u64,
    rate: Rate,
}

impl Register {
    /// Of a peer whose rounds of choking are this long.
    pub(super) fn new(round: Duration) -> Self {
        Self { round, downloads: BTreeMap::new(), ledger: Ledger::default() }
    }

    /// A download begins. Returns its number.
    pub(crate) fn begin(&mut self, of: &Manifest, now: Instant) -> u64 {
        let number = self.downloads.last_key_value().map_or(0, |(last, _)| last + 1);
        let (file, have, pieces) = (of.name().clone(), 0, of.layout().pieces());
        let (since_ms_ago, bytes_per_s, from, map) = (0, 0, Vec::new(), String::new());
        let row = Download { file, have, pieces, since_ms_ago, bytes_per_s, from, map };
        self.downloads.insert(number, Account { row, began: now, givers: BTreeMap::new() });
        number
    }

    /// So many pieces of a download were here already.
    pub(crate) fn found(&mut self, download: u64, have: u32) {
        self.downloads.get_mut(&download).into_iter().for_each(|account| account.row.have = have);
    }

    /// A piece has come for a download, and is right.
    pub(crate) fn came(&mut self, download: u64, holder: &Holder, bytes: u64, now: Instant) {
        let Some(account) = self.downloads.get_mut(&download) else { return };
        let new = || Giver { peer: 0, pieces: 0, rate: Rate::new(self.round) };
        let giver = account.givers.entry(holder.name.clone()).or_insert_with(new);
        (giver.peer, giver.pieces) = (holder.peer, giver.pieces + 1);
        giver.rate.add(bytes, now);
        account.row.have += 1;
        self.ledger.came(&Some(holder.name.clone()), bytes);
    }

    /// A download is over, well or badly. What it was given counts no more.
    pub(crate) fn end(&mut self, download: u64) {
        self.downloads.remove(&download);
        if self.is_seeding() {
            self.ledger.settle();
        }
    }

    /// Whether nothing is fetched, so that this peer is a seed.
    pub(super) fn is_seeding(&self) -> bool {
        self.downloads.is_empty()
    }

    /// Whether a peer that asks for a file owes so much that it has to wait.
    pub(super) fn owes(&self, peer: &Option<Name>, file: &Manifest) -> bool {
        let is_fetched = self.downloads.values().any(|account| account.row.file == *file.name());
        self.ledger.owes(peer, file.id(), file.layout().piece_size().into(), is_fetched)
    }

    /// For the choker: the bytes that came from each peer in the last round. It ends now, and not when the choker
    /// judged last: a peer that has just begun to give is not judged by a time in which it gave nothing.
    pub(super) fn received(&self, now: Instant) -> HashMap<PeerId, u64> {
        let mut received = HashMap::new();
        for giver in self.downloads.values().flat_map(|account| account.givers.values()) {
            *received.entry(giver.peer).or_default() += giver.rate.bytes(self.round, now);
        }
        received
    }

    /// For the board: what comes from this peer now, in bytes per second.
    pub(super) fn from(&self, peer: PeerId, now: Instant) -> u64 {
        let givers = self.downloads.values().flat_map(|account| account.givers.values());
        givers.filter(|giver| giver.peer == peer).map(|giver| giver.rate.per_second(now)).sum()
    }

    /// For the board: what is being fetched.
    pub(super) fn rows(&self, now: Instant) -> Vec<Download> {
        let row = |account: &Account| {
            let since = now.saturating_duration_since(account.began);
            let givers = account.givers.values().map(|giver| (giver.peer, giver.rate.bytes(WINDOW, now)));
            let givers: Vec<_> = givers.filter(|(_, bytes)| *bytes > 0).collect();
            let bytes: u64 = givers.iter().map(|(_, bytes)| bytes).sum();
            Download {
                since_ms_ago: since.as_millis() as u64,
                bytes_per_s: (bytes as f64 / since.min(WINDOW).as_secs_f64().max(0.001)) as u64,
                from: givers.into_iter().map(|(peer, _)| peer).collect(),
                ..account.row.clone()
            }
        };
        self.downloads.values().map(row).collect()
    }

    /// For the report: how many pieces each holder gave.
    pub(super) fn shares(&self, download: u64) -> Vec<Share> {
        let givers = self.downloads.get(&download).into_iter().flat_map(|account| &account.givers);
        givers.map(|(name, giver)| Share { peer: name.clone(), pieces: giver.pieces }).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::share::Layout;

    fn holder(peer: PeerId, name: &str) -> Holder {
        let addr = "127.0.0.1:1".parse().unwrap();
        Holder { peer, name: name.parse().unwrap(), addr, whole: true, pass: None }
    }

    fn manifest(file: &str) -> Manifest {
        Manifest::read(file.parse().unwrap(), Layout::of(3).unwrap(), &[0; 3][..], &false.into()).unwrap()
    }

    #[test]
    fn the_rate_is_that_of_the_last_seconds_and_a_holder_that_falls_silent_is_no_source() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut register = Register::new(Duration::from_secs(10));
        let number = register.begin(&manifest("a"), start);
        let (ada, ben) = (holder(7, "ada"), holder(9, "ben"));
        let seen = |register: &Register, now| {
            let row = register.rows(now).remove(0);
            (row.have, row.bytes_per_s, row.from)
        };
        register.found(number, 3);
        assert_eq!(seen(&register, start), (3, 0, vec![]));
        register.came(number, &ada, 4000, at(1));
        register.came(number, &ben, 4000, at(2));
        assert_eq!(seen(&register, at(2)), (5, 4000, vec![7, 9]));
        for second in 3..=7 {
            register.came(number, &ben, 1000, at(second));
        }
        assert_eq!(seen(&register, at(7)), (10, 1000, vec![9]));
        assert_eq!(seen(&register, at(20)), (10, 0, vec![]));
        let shares = register.shares(number);
        let shares: Vec<_> = shares.iter().map(|share| (share.peer.to_string(), share.pieces)).collect();
        assert_eq!(shares, [("ada".into(), 1), ("ben".into(), 6)]);
    }

    #[test]
    fn what_a_peer_gave_counts_for_a_round_whatever_the_file() {
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        let mut register = Register::new(Duration::from_secs(10));
        let begin = |register: &mut Register, file: &str| register.begin(&manifest(file), start);
        assert!(register.is_seeding());
        let (a, b) = (begin(&mut register, "a"), begin(&mut register, "b"));
        register.came(a, &holder(7, "ada"), 100, at(1));
        register.came(b, &holder(7, "ada"), 10, at(9));
        register.came(b, &holder(9, "ben"), 1, at(9));
        let received =
            |register: &Register, now| register.received(now).into_iter().collect::<BTreeMap<_, _>>();
        assert_eq!(received(&register, at(9)), [(7, 110), (9, 1)].into());
        assert_eq!(received(&register, at(12)), [(7, 10), (9, 1)].into());
        register.end(b);
        assert!(!register.is_seeding());
        register.end(a);
        assert!(register.is_seeding() && received(&register, at(12)).is_empty());
    }

    #[test]
    fn a_rate_takes_no_more_memory_than_its_parts() {
        let (start, mut rate) = (Instant::now(), Rate::new(Duration::from_secs(10)));
        for ms in 0..30_000 {
            rate.add(1, start + Duration::from_millis(ms));
        }
        assert!(rate.slices.len() <= SLICES as usize, "{}", rate.slices.len());
        let bytes = rate.bytes(Duration::from_secs(10), start + Duration::from_secs(30));
        assert!((9_799..=10_000).contains(&bytes), "{bytes} in the last ten seconds");
    }
}
