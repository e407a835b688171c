//! The peers' table: who is here, where, and how many of his slots are in use.
//!
//! # The problem
//! The manager is asked "who can serve me?" and must not answer from hearsay. A row of the table says
//! where a peer listens, how many products it serves at once (its *slots*), how many of them are in use
//! now, and whether it can be leased at all.
//!
//! # The rules
//! - The table is a set: no two rows have the same name, and no two the same address. The later of two is
//!   refused. Only the same name from the same address is the same peer, come back before its loss was
//!   noticed, and takes the place of its former self.
//! - `used` is never more than `slots`.
//! - A row can be leased once the manager has connected back to its address, and until it was blamed
//!   [`BLAMES`] times for wrong answers.
//!
//! # An example
//! Three peers of four slots have 12 in all. One of them asks for seven: its own four do not count, and
//! the seven are spread over the two others, four from one and three from the other.
//!
//! All of this is plain state: no socket, no thread, no clock. The time is passed in.
//!
//! # What is missing
//! A peer that serves slowly is leased like one that serves fast; only the requester notices.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;

use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::net::limits;
use crate::net::message::{Download, Name, PeerCard, PeerId, PeerState};

/// How often a peer may be blamed for a wrong answer before it is no longer leased: once may be a
/// requester's mistake.
pub const BLAMES: u32 = 2;

/// Whether the manager could connect back to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reach {
    /// Not tried to the end yet.
    Unknown,
    /// It could.
    Yes,
    /// It could not, and why.
    No(String),
}

/// What a peer says of itself when it joins.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What it calls itself.
    pub name: Name,
    /// Where it listens.
    pub addr: SocketAddr,
    /// How many products it serves at once.
    pub slots: u32,
    /// Whether it takes part in replication.
    pub keeps: bool,
    /// What it sends to others at most, in bytes per second.
    pub up: Option<u64>,
    /// What it takes from others at most, in bytes per second.
    pub down: Option<u64>,
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its number.
    pub id: PeerId,
    /// What it said of itself.
    pub is: Candidate,
    /// Slots that are leased, or still busy with the last product of a lease that ended.
    pub used: u32,
    /// Since when it is here.
    pub since: Millis,
    /// When it was last heard of.
    pub heard: Millis,
    /// Whether others can reach it.
    pub reach: Reach,
    /// How often it was blamed.
    pub blames: u32,
    /// What it is fetching, as it said last.
    pub downloads: Vec<Download>,
}

impl Peer {
    fn quarantined(&self) -> bool {
        self.blames >= BLAMES
    }

    /// Slots that could be leased now.
    fn free(&self) -> u32 {
        match self.reach {
            Reach::Yes if !self.quarantined() => self.is.slots - self.used,
            _ => 0,
        }
    }

    /// Slots that could be leased some time. One whose address is being tried counts: that is a
    /// matter of milliseconds.
    fn leasable(&self) -> u32 {
        match self.reach {
            Reach::Yes | Reach::Unknown if !self.quarantined() => self.is.slots,
            _ => 0,
        }
    }

    /// Why this peer cannot be leased; `None` when it can.
    pub fn obstacle(&self) -> Option<String> {
        if self.is.slots == 0 {
            return Some("it offers no slots".into());
        }
        if self.quarantined() {
            return Some(format!("quarantined: blamed {} times for wrong answers", self.blames));
        }
        match &self.reach {
            Reach::Yes => None,
            Reach::Unknown => Some("its address is being tried".into()),
            Reach::No(why) => Some(format!("the manager cannot connect to {}: {why}", self.is.addr)),
        }
    }

    /// The row as others see it, with `slots` slots.
    pub fn card(&self, slots: u32) -> PeerCard {
        PeerCard { peer: self.id, name: self.is.name.clone(), addr: self.is.addr, slots }
    }
}

/// The table.
#[derive(Debug, Default)]
pub struct Roster {
    peers: BTreeMap<PeerId, Peer>,
    names: HashMap<Name, PeerId>,
    addrs: HashMap<SocketAddr, PeerId>,
    version: u64,
}

impl Roster {
    /// Counts the changes of who is here.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The rows, in order of their numbers.
    pub fn peers(&self) -> impl Iterator<Item = &Peer> {
        self.peers.values()
    }

    /// A row.
    pub fn get(&self, id: PeerId) -> Option<&Peer> {
        self.peers.get(&id)
    }

    /// What to call number `id` in a sentence.
    pub fn name(&self, id: PeerId) -> String {
        self.peers.get(&id).map_or_else(|| "somebody".into(), |peer| peer.is.name.to_string())
    }

    /// An address in the one way in which it is written here, so that two spellings of one are one.
    ///
    /// # Errors
    /// `bad_message` for an address that nobody can connect to.
    pub fn spell(addr: SocketAddr) -> Result<SocketAddr> {
        // Without the flow and the scope that an IPv6 address may carry.
        let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
        if addr.ip().is_unspecified() || addr.port() == 0 {
            return Err(Error::new(Code::BadMessage, format!("nobody can connect to {addr}"))
                .advise("give an address of this machine with --advertise"));
        }
        Ok(addr)
    }

    /// The former self of a candidate, if it is still in the table.
    ///
    /// # Errors
    /// `conflict` when its name or its address is somebody else's; `bad_message` for too many slots.
    pub fn former_self(&self, candidate: &Candidate) -> Result<Option<PeerId>> {
        let Candidate { name, addr, slots, .. } = candidate;
        if *slots > limits::SLOTS {
            return Err(Error::new(Code::BadMessage, format!("{slots} slots are too many"))
                .advise(format!("a peer may offer {} at most", limits::SLOTS)));
        }
        match (self.names.get(name), self.addrs.get(addr)) {
            (None, None) => Ok(None),
            (Some(by_name), Some(by_addr)) if by_name == by_addr => Ok(Some(*by_name)),
            (Some(other), _) => Err(Error::new(
                Code::Conflict,
                format!("the name {name} is taken by the peer at {}", self.peers[other].is.addr),
            )
            .advise("choose another --name")),
            (None, Some(other)) => Err(Error::new(
                Code::Conflict,
                format!("the address {addr} is that of the peer {}", self.peers[other].is.name),
            )
            .advise("choose another --listen or --advertise")),
        }
    }

    /// Writes a new row. Its former self must have been removed.
    pub fn admit(&mut self, id: PeerId, candidate: Candidate, now: Millis) {
        self.names.insert(candidate.name.clone(), id);
        self.addrs.insert(candidate.addr, id);
        let reach = Reach::Unknown;
        let downloads = Vec::new();
        let peer = Peer { id, is: candidate, used: 0, since: now, heard: now, reach, blames: 0, downloads };
        self.peers.insert(id, peer);
        self.version += 1;
    }

    /// Strikes a row out.
    pub fn remove(&mut self, id: PeerId) -> Option<Peer> {
        let peer = self.peers.remove(&id)?;
        self.names.remove(&peer.is.name);
        self.addrs.remove(&peer.is.addr);
        self.version += 1;
        Some(peer)
    }

    /// A peer was heard of.
    pub fn heard(&mut self, id: PeerId, now: Millis) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.heard = now;
        }
    }

    /// A peer said what it is fetching.
    pub fn fetches(&mut self, id: PeerId, mut downloads: Vec<Download>) {
        if let Some(peer) = self.peers.get_mut(&id) {
            downloads.truncate(limits::DOWNLOADS);
            peer.downloads = downloads;
        }
    }

    /// Nobody could be heard for `late` milliseconds, through no fault of his own.
    pub fn excuse(&mut self, late: Millis, now: Millis) {
        for peer in self.peers.values_mut() {
            peer.heard = (peer.heard + late).min(now);
        }
    }

    /// Who has not been heard of for `dead_after` milliseconds.
    pub fn silent(&self, dead_after: Millis, now: Millis) -> Vec<PeerId> {
        let silent = |peer: &&Peer| now.saturating_sub(peer.heard) >= dead_after;
        self.peers().filter(silent).map(|peer| peer.id).collect()
    }

    /// The manager tried to connect back.
    pub fn tried(&mut self, id: PeerId, reach: Reach) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.reach = reach;
        }
    }

    /// Blames a peer for a wrong answer; true when that puts it into quarantine.
    pub fn blame(&mut self, id: PeerId) -> bool {
        let Some(peer) = self.peers.get_mut(&id) else { return false };
        peer.blames += 1;
        peer.blames == BLAMES
    }

    /// Slots that anybody but `asker` offers and that could be leased some time.
    pub fn leasable(&self, asker: PeerId) -> u32 {
        self.others(asker).map(Peer::leasable).sum()
    }

    /// Slots that anybody but `asker` offers and that are free now.
    pub fn free(&self, asker: PeerId) -> u32 {
        self.others(asker).map(Peer::free).sum()
    }

    fn others(&self, asker: PeerId) -> impl Iterator<Item = &Peer> {
        self.peers.values().filter(move |peer| peer.id != asker)
    }

    // lab 1: begin
    /// Takes `wanted` slots for `asker`, never his own, all or none, spread over as many peers as
    /// possible: one from each in turn, beginning with those that have most to spare.
    pub fn take(&mut self, wanted: u32, asker: PeerId) -> Option<Vec<PeerCard>> {
        if self.free(asker) < wanted {
            return None;
        }
        // (free slots, slots taken, peer)
        let mut spare: Vec<(u32, u32, PeerId)> =
            self.others(asker).filter(|p| p.free() > 0).map(|p| (p.free(), 0, p.id)).collect();
        spare.sort_by_key(|&(free, _, id)| (std::cmp::Reverse(free), id));
        let mut missing = wanted;
        while missing > 0 {
            for (_, taken, _) in spare.iter_mut().filter(|(free, taken, _)| taken < free) {
                if missing == 0 {
                    break;
                }
                *taken += 1;
                missing -= 1;
            }
        }
        let shares = spare.into_iter().filter(|&(_, taken, _)| taken > 0);
        Some(shares.filter_map(|(_, taken, id)| self.mark_used(id, taken)).collect())
    }
    // lab 1: end

    /// Counts `slots` of a peer as used, no more than it has; the card says which.
    pub fn mark_used(&mut self, id: PeerId, slots: u32) -> Option<PeerCard> {
        let peer = self.peers.get_mut(&id)?;
        let slots = slots.min(peer.is.slots - peer.used);
        peer.used += slots;
        Some(peer.card(slots))
    }

    /// Counts `slots` of a peer as free again.
    pub fn give_back(&mut self, id: PeerId, slots: u32) {
        if let Some(peer) = self.peers.get_mut(&id) {
            peer.used = peer.used.saturating_sub(slots);
        }
    }

    /// The whole table for all to see: everybody's card.
    pub fn cards(&self) -> Vec<PeerCard> {
        self.peers().map(|peer| peer.card(peer.is.slots)).collect()
    }

    /// The whole table as the `state` answer shows it.
    pub fn states(&self) -> Vec<PeerState> {
        let state = |peer: &Peer| {
            let obstacle = peer.obstacle();
            PeerState {
                peer: peer.id,
                name: peer.is.name.clone(),
                addr: peer.is.addr,
                slots: peer.is.slots,
                used: peer.used,
                since: peer.since,
                leasable: obstacle.is_none(),
                reason: obstacle.unwrap_or_default(),
                keeps: peer.is.keeps,
                up: peer.is.up,
                down: peer.is.down,
                downloads: peer.downloads.clone(),
            }
        };
        self.peers().map(state).collect()
    }
}

#[cfg(test)]
mod tests;
