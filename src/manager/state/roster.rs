//! The peers' table: who is here, where, and whether it can be leased.
//!
//! # The problem
//! The manager is asked "who can serve me?" and must not answer from hearsay. A row of the table says
//! where a peer listens, how many products it serves at once (its *slots*), and whether it can be leased at
//! all. How many of its slots are in use, the [lease book](super::lease_book) knows.
//!
//! # The rules
//! - The table is a set: no two rows have the same name, and no two the same address. The later of two is
//!   refused.
//! - **Nobody acts in another's name.** A peer is told a token when it joins, and shows it wherever it speaks as that
//!   peer in another conversation. So it does when it comes back before its loss was noticed, and takes the place of
//!   its former self. A program that was restarted has lost its token, and waits until its former self was silent for
//!   too long, unless its former self never showed that it computes, and the new program has refused to.
//! - A row can be leased once the manager has connected back to its address. One that has *shown* that it computes
//!   there holds the address, and is leased before all others. So one that only pretends to be a peer is leased when
//!   there is nobody else, and all such are examined then.
//! - **Who is blamed is examined**: until the manager has asked it for a product itself, it is leased to nobody. If
//!   that is wrong, it is in quarantine until it joins again; if none comes, until one does: it is asked every five
//!   seconds. If it is right, the blame was false. Who blames falsely in [`FALSE_BLAMES`] leases is not heard for an
//!   hour.
//!
//! All of this is plain state: no socket, no thread, no clock. The time is passed in.
//!
//! # What is missing
//! A peer that serves slowly is leased like one that serves fast; only the requester notices. And an examination is a
//! small product: a peer that lies in large ones alone passes it, and its accusers count as false. What they saw still
//! helps themselves, because they avoid it.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::net::SocketAddr;

use crate::clock::Millis;
use crate::error::{Code, Error, Result};
use crate::net::key::Key;
use crate::net::limits;
use crate::net::message::{
    Activity, Candidate, Credentials, LeaseId, NOBODY, Name, PeerCard, PeerId, PeerState,
};
use crate::share::PEER_NAME;

/// What a peer takes in the list beside its name, in bytes, at most.
const CARD: usize = 110;

/// How often somebody may blame falsely before it is not heard for [`DEAF`].
pub(super) const FALSE_BLAMES: u32 = 3;

/// How long, in milliseconds.
const DEAF: Millis = 3_600_000;

/// How long after an examination without an answer there is another, in milliseconds.
const AGAIN: Millis = 5_000;

/// Whether the manager could connect back to a peer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Reach {
    /// Not tried to the end yet.
    Unknown,
    /// It could.
    Yes,
    /// It could not, and why.
    No(String),
}

/// A row of the table.
#[derive(Clone, Debug)]
pub(super) struct Member {
    /// Its number.
    pub(super) id: PeerId,
    /// What it said of itself.
    pub(super) is: Candidate,
    /// Since when it is here.
    pub(super) since: Millis,
    /// When it was last heard of.
    pub(super) heard: Millis,
    /// Whether others can reach it.
    pub(super) reach: Reach,
    /// It has shown that it computes at its address.
    pub(super) proven: bool,
    /// Another program than the one that joined is at its address: there its first examination was refused. One that
    /// only does not answer may be stopped, and is here all the same.
    pub(super) is_replaced: bool,
    /// Who has blamed it since it was examined last, by their names, and in which leases.
    accusers: Vec<(Option<Name>, LeaseId)>,
    /// Its slots were needed before it had shown that it computes.
    is_doubted: bool,
    /// What was wrong in its examination.
    failed: Option<String>,
    /// What it said of itself last.
    pub(super) said: Activity,
    /// When that was last compared with what is known of its files.
    pub(super) compared: Millis,
}

impl Member {
    /// Slots that can be leased now, if they are not in use.
    pub(super) fn open(&self) -> u32 {
        if self.reach == Reach::Yes && self.accusers.is_empty() { self.leasable() } else { 0 }
    }

    /// Slots that could be leased some time. One whose address is being tried counts, and one that is to be examined:
    /// for an honest peer that is a matter of milliseconds.
    fn leasable(&self) -> u32 {
        match self.reach {
            Reach::Yes | Reach::Unknown if self.failed.is_none() => self.is.slots,
            _ => 0,
        }
    }

    /// Whether no other may join under its address.
    fn holds_its_address(&self) -> bool {
        self.proven || self.reach == Reach::Unknown
    }

    /// Why this peer cannot be leased; `None` when it can.
    fn obstacle(&self) -> Option<String> {
        if self.is.slots == 0 {
            return Some("it offers no slots".into());
        }
        if let Some(why) = &self.failed {
            let blamed = if self.accusers.is_empty() { "" } else { " was blamed, and" };
            return Some(format!("quarantined: it{blamed} failed its examination: {why}"));
        }
        if !self.accusers.is_empty() {
            return Some("it was blamed, and is examined first".into());
        }
        match &self.reach {
            Reach::Yes => None,
            Reach::Unknown => Some("its address is being tried".into()),
            Reach::No(why) => Some(format!("the manager cannot connect to {}: {why}", self.is.addr)),
        }
    }

    /// The row as others see it, with `slots` slots.
    pub(super) fn card(&self, slots: u32) -> PeerCard {
        PeerCard { peer: self.id, name: self.is.name.clone(), addr: self.is.addr, slots, key: None }
    }

    /// The row as the `state` answer shows it, with `used` slots in use.
    pub(super) fn state(&self, used: u32) -> PeerState {
        let obstacle = self.obstacle();
        PeerState {
            peer: self.id,
            name: self.is.name.clone(),
            addr: self.is.addr,
            slots: self.is.slots,
            used,
            since: self.since,
            leasable: obstacle.is_none(),
            reason: obstacle.unwrap_or_default(),
            keeps: self.is.keeps,
            up: self.is.up,
            down: self.is.down,
            said: self.said.clone(),
        }
    }
}

/// Which slots somebody wants.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    /// Whose own slots it does not want; nobody's where it is not registered.
    pub(crate) requester: PeerId,
    /// How many slots, all or none.
    pub(crate) slots: u32,
    /// Peers whose slots it does not want either.
    pub(crate) avoid: Vec<PeerId>,
}

impl Wish {
    /// Whether slots of this peer will do.
    pub(super) fn likes(&self, peer: PeerId) -> bool {
        peer != self.requester && !self.avoid.contains(&peer)
    }
}

/// The table.
pub(crate) struct Roster {
    /// The manager's own, of which all tokens, keys and passes are made.
    pub(super) key: Key,
    /// The rows, in order of their numbers.
    pub(super) peers: BTreeMap<PeerId, Member>,
    /// Who is to be examined and is not being so yet, and from when on it can be.
    pub(super) to_examine: VecDeque<(PeerId, Millis)>,
    /// In how many leases somebody of this name blamed falsely, in which last, and when. All that are not registered
    /// are one.
    false_blames: HashMap<Option<Name>, (u32, LeaseId, Millis)>,
}

/// An examination: the peer is asked for a product under this lease, with this key.
#[derive(Clone, Debug)]
pub(crate) struct Exam {
    pub(crate) peer: PeerId,
    pub(crate) addr: SocketAddr,
    pub(crate) lease: LeaseId,
    pub(crate) key: Key,
}

impl Roster {
    /// Without any row. All tokens, keys and passes are made of `key`.
    pub(super) fn new(key: Key) -> Self {
        let (peers, to_examine, false_blames) = (BTreeMap::new(), VecDeque::new(), HashMap::new());
        Self { key, peers, to_examine, false_blames }
    }

    /// The number in whose name somebody speaks, or [`NOBODY`].
    ///
    /// # Errors
    /// `unauthorised` when the token does not show it, or the peer is not here.
    pub(crate) fn caller(&self, who: &Credentials) -> Result<PeerId> {
        let Credentials { peer, token } = who;
        if *peer == NOBODY || (self.peers.contains_key(peer) && *token == Some(self.key.token(*peer))) {
            return Ok(*peer);
        }
        Err(stranger(format!("nothing shows that you are the peer {peer}")))
    }

    /// The same, where nobody is not enough.
    ///
    /// # Errors
    /// `unauthorised` when it is nobody; else as [`Roster::caller`].
    pub(crate) fn member(&self, who: &Credentials) -> Result<PeerId> {
        match self.caller(who)? {
            NOBODY => Err(stranger("this is for registered peers only".into())),
            peer => Ok(peer),
        }
    }

    /// The name of number `id`, if it is in the table.
    pub(super) fn name(&self, id: PeerId) -> Option<&Name> {
        self.peers.get(&id).map(|peer| &peer.is.name)
    }

    /// What to call number `id` in a sentence.
    pub(super) fn called(&self, id: PeerId) -> String {
        self.name(id).map_or_else(|| "somebody".into(), Name::to_string)
    }

    /// The former self of a candidate, if it is still in the table. Rows leave it after `dead_after` milliseconds of
    /// silence.
    ///
    /// # Errors
    /// `conflict` when its name or its address is somebody else's; `busy` when they may be those of its former self,
    /// and it has not shown the token; `bad_message` for too many slots.
    pub(super) fn former_self(
        &self,
        candidate: &Candidate,
        dead_after: Millis,
        now: Millis,
    ) -> Result<Option<PeerId>> {
        let Candidate { name, addr, slots, former, .. } = candidate;
        let former = former.as_ref().and_then(|former| self.caller(former).ok());
        if *slots > limits::SLOTS {
            return Err(Error::new(Code::BadMessage, format!("{slots} slots are too many"))
                .advise(format!("a peer may offer {} at most", limits::SLOTS)));
        }
        let of_that_name = self.peers.values().find(|peer| peer.is.name == *name);
        let at_that_addr = self.peers.values().find(|peer| peer.is.addr == *addr && peer.holds_its_address());
        let (no, advice) = match (of_that_name, at_that_addr) {
            (None, None) => return Ok(None),
            // One that only says that it is there does not keep out the one that is there in fact.
            (Some(one), None) if one.is.addr == *addr && one.is_replaced => return Ok(Some(one.id)),
            (Some(one), other) if former == Some(one.id) && other.is_none_or(|other| other.id == one.id) => {
                return Ok(former);
            }
            // One that has been silent for longer than pings should be apart may be the former self of a program that
            // was restarted, and joins from another address.
            (Some(one), other)
                if (one.is.addr == *addr || now >= one.heard + dead_after * 2 / 5)
                    && other.is_none_or(|other| other.id == one.id) =>
            {
                let (at, left) = (one.is.addr, dead_after.saturating_sub(now.saturating_sub(one.heard)));
                let left = left as f64 / 1000.0;
                let no = format!("{name} at {at} is still listed, and nothing shows that you are that peer");
                return Err(Error::new(Code::Busy, no)
                    .advise(format!("it is taken off the list if it stays silent for another {left:.1} s")));
            }
            (Some(other), _) => {
                let at = other.is.addr;
                (format!("the name {name} is taken by the peer at {at}"), "choose another --name")
            }
            (None, Some(other)) => {
                let no = format!("the address {addr} is that of the peer {}", other.is.name);
                (no, "choose another --listen or --advertise")
            }
        };
        Err(Error::new(Code::Conflict, no).advise(advice))
    }

    /// Whether one more fits into the list of all, which is one line.
    pub(super) fn has_room(&self) -> bool {
        // In JSON a quotation mark is two bytes.
        let row = |name: usize| CARD + 2 * name;
        let list: usize = self.peers.values().map(|peer| row(peer.is.name.size())).sum();
        list + row(PEER_NAME) <= limits::MANAGER_LINE
    }

    /// Writes a new row. Its former self must have been removed.
    pub(super) fn admit(&mut self, id: PeerId, is: Candidate, now: Millis) {
        let peer = Member {
            id,
            is,
            since: now,
            heard: now,
            reach: Reach::Unknown,
            proven: false,
            is_replaced: false,
            accusers: Vec::new(),
            is_doubted: false,
            failed: None,
            said: Activity::default(),
            compared: 0,
        };
        self.peers.insert(id, peer);
    }

    // lab 2
    /// A peer was heard of, and said this of itself; gives what it had said before.
    pub(super) fn heard(&mut self, id: PeerId, said: Activity, now: Millis) -> Option<Activity> {
        let peer = self.peers.get_mut(&id)?;
        peer.heard = now;
        Some(std::mem::replace(&mut peer.said, said.bounded()))
    }

    /// Why a peer offers nothing for a while, if that is so: what it has counts as not there until it goes on. Nobody
    /// drops or deletes anything because of it.
    pub(super) fn paused(&self, id: PeerId) -> Option<&str> {
        self.peers.get(&id)?.said.paused.as_deref()
    }

    // lab 2
    /// For `late` milliseconds nobody could be heard, through no fault of a peer.
    pub(super) fn excuse(&mut self, late: Millis, now: Millis) {
        for peer in self.peers.values_mut() {
            peer.heard = (peer.heard + late).min(now);
        }
    }

    // lab 2
    /// The peers that have not been heard of for `dead_after` milliseconds.
    pub(super) fn silent(&self, dead_after: Millis, now: Millis) -> Vec<PeerId> {
        let silent = |peer: &&Member| now.saturating_sub(peer.heard) >= dead_after;
        self.peers.values().filter(silent).map(|peer| peer.id).collect()
    }

    /// Somebody blames a peer, which is examined as soon as it has a slot to spare. True if it is heard.
    pub(super) fn blame(&mut self, accuser: PeerId, lease: LeaseId, id: PeerId, now: Millis) -> bool {
        let name = self.name(accuser).cloned();
        let (count, _, last) = self.false_blames.get(&name).copied().unwrap_or_default();
        let Some(peer) = self.peers.get_mut(&id).filter(|peer| peer.failed.is_none()) else { return true };
        if count >= FALSE_BLAMES && now < last + DEAF {
            return false;
        }
        let is_first = peer.accusers.is_empty();
        if !peer.accusers.iter().any(|(accuser, _)| *accuser == name) {
            peer.accusers.push((name, lease));
        }
        if is_first {
            self.call_to_exam(id, now);
        }
        true
    }

    /// The slots of a peer are needed that has not shown that it computes: it is examined, once, whether it was leased
    /// or another of its kind.
    pub(super) fn doubt(&mut self, id: PeerId) {
        if let Some(peer) = self.peers.get_mut(&id)
            && !std::mem::replace(&mut peer.is_doubted, true)
        {
            self.call_to_exam(id, 0);
        }
    }

    /// Whether nobody else blames it.
    pub(super) fn is_only_doubted(&self, id: PeerId) -> bool {
        self.peers.get(&id).is_some_and(|peer| peer.accusers.is_empty() && peer.failed.is_none())
    }

    /// It can be examined from then on; one that waits for that already, no sooner and once.
    fn call_to_exam(&mut self, id: PeerId, at: Millis) {
        if !self.to_examine.iter().any(|(other, _)| *other == id) {
            self.to_examine.push_back((id, at));
        }
    }

    /// A peer was examined; where it `passed`, its accusers blamed falsely. Says whether this only repeats what was
    /// found before; `None` when the peer is gone.
    pub(super) fn examined(&mut self, id: PeerId, passed: &Result<()>, now: Millis) -> Option<bool> {
        let peer = self.peers.get_mut(&id)?;
        let Err(why) = passed else {
            let accusers = std::mem::take(&mut peer.accusers);
            let was_at_its_end = peer.failed.take().is_some();
            self.false_blames.retain(|_, (.., last)| now < *last + DEAF);
            for (name, lease) in accusers {
                let (count, before, last) = self.false_blames.entry(name).or_default();
                if !was_at_its_end && *before != lease {
                    (*count, *before, *last) = (*count + 1, lease, now);
                }
            }
            return Some(false);
        };
        let was_known = peer.failed.replace(why.to_string()).is_some();
        if why.code() != Code::Check {
            // It may have been at its end for another reason: it is asked again.
            self.call_to_exam(id, now + AGAIN);
        }
        Some(was_known)
    }

    /// A peer whose slots are closed to a wish for a while, and why, in words; `tried` as for [`Roster::leasable`].
    pub(super) fn closed(&self, wish: &Wish, tried: bool) -> Option<String> {
        let closed = self.hoped_for(wish, tried).find(|peer| peer.open() < peer.leasable())?;
        Some(format!("{}: {}", closed.is.name, closed.obstacle()?))
    }

    /// Slots for a wish that could be leased some time; those at an address that is being tried only if `tried` says
    /// that they count.
    pub(super) fn leasable(&self, wish: &Wish, tried: bool) -> u32 {
        self.hoped_for(wish, tried).map(Member::leasable).sum()
    }

    fn hoped_for(&self, wish: &Wish, tried: bool) -> impl Iterator<Item = &Member> {
        self.liked(wish).filter(move |peer| tried || peer.reach == Reach::Yes)
    }

    /// Everybody whose slots will do for a wish: those that have shown that they compute, if they have as many.
    pub(super) fn liked(&self, wish: &Wish) -> impl Iterator<Item = &Member> {
        let liked = move |peer: &&Member| wish.likes(peer.id);
        let proven = self.peers.values().filter(liked).filter(|peer| peer.proven);
        let enough = proven.map(Member::leasable).sum::<u32>() >= wish.slots;
        self.peers.values().filter(liked).filter(move |peer| peer.proven || !enough)
    }

    /// The whole table for all to see: everybody's card.
    pub(super) fn cards(&self) -> Vec<PeerCard> {
        self.peers.values().map(|peer| peer.card(peer.is.slots)).collect()
    }
}

/// What one is told that has not shown which peer it is.
fn stranger(what: String) -> Error {
    Error::new(Code::Unauthorised, what)
        .advise("register, and show the number and the token that you are told")
}

/// An address in the one way in which it is written here, so that two spellings of one are one.
///
/// # Errors
/// `bad_message` for an address that nobody can connect to.
pub(crate) fn spell(addr: SocketAddr) -> Result<SocketAddr> {
    // Without the flow and the scope that an IPv6 address may carry.
    let addr = SocketAddr::new(addr.ip().to_canonical(), addr.port());
    if addr.ip().is_unspecified() || addr.port() == 0 {
        return Err(Error::new(Code::BadMessage, format!("nobody can connect to {addr}"))
            .advise("give an address of this machine with --advertise"));
    }
    Ok(addr)
}

#[cfg(test)]
pub(super) mod tests;
