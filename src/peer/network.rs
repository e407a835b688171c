//! This peer's place in the network, kept once: its own number, the others, and the line to the manager.
//!
//! # The problem
//! Many threads ask the same questions: under which number am I known, which others are here, how do I tell the manager
//! something, and why am I not registered? One thread, `keep_membership`, learns the answers.
//!
//! # The rule
//! The answers stand behind one lock, which is held for a moment and under which no other is taken. A thread that must
//! know the number waits for it here ([`Network::wait_for_number`]); a peer that leaves says so here
//! ([`Network::say_goodbye`]), which wakes all that wait.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::warn;
use parking_lot::{Condvar, Mutex};

use super::config::Config;
use crate::error::{Code, Error, Result};
use crate::net::key::Key;
use crate::net::limits;
use crate::net::message::{Credentials, LeaseId, Name, PeerCard, PeerId, ToManager};
use crate::net::outbox::Outbox;
use crate::share::FileId;

/// How long leaving in order may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// How soon it is noticed that the conversation with the manager has ended.
const NOTICED: Duration = Duration::from_millis(500);

/// How long a manager that is lost may take to come back while somebody waits for its answer.
const BACK: Duration = Duration::from_secs(5);

/// The attempt at which it counts that the name or the address is another's.
const CONFLICTS: u64 = 3;

/// What is known of the network now.
#[derive(Clone, Debug, Default)]
pub struct NetworkView {
    /// This peer's number, while it is registered.
    pub number: Option<PeerId>,
    /// All peers that are here, this one too.
    pub peers: Vec<PeerCard>,
    /// What stands between this peer and the others, and since when.
    pub trouble: Option<(String, Instant)>,
}

#[derive(Debug, Default)]
struct Contact {
    standing: NetworkView,
    /// Under which number this peer was registered last, and what shows that.
    credentials: Credentials,
    /// The conversation in which this peer is registered, or tries to be.
    line: Option<Outbox>,
    /// The manager has refused this peer, which tries no more.
    refused: Option<Code>,
    over: bool,
    /// The manager was too busy for it the last time.
    busy: bool,
    attempts: u64,
    /// It was said that this peer is not registered.
    told: bool,
    ever_joined: bool,
}

/// This peer and the others.
#[derive(Debug)]
pub struct Network {
    /// How this peer is to behave.
    pub config: Config,
    /// Where it listens.
    pub addr: SocketAddr,
    known: Mutex<Contact>,
    changed: Condvar,
}

impl Network {
    /// Of a peer that listens on `addr` and is not registered yet.
    pub(super) fn new(config: Config, addr: SocketAddr) -> Self {
        Self { config, addr, known: Mutex::default(), changed: Condvar::new() }
    }

    /// What is known of the network now.
    pub fn standing(&self) -> NetworkView {
        self.known.lock().standing.clone()
    }

    /// This peer's number, while it is registered.
    pub fn number(&self) -> Option<PeerId> {
        self.known.lock().standing.number
    }

    /// What number `peer` is called, once the list of peers names it.
    pub fn name_of(&self, peer: PeerId) -> Option<Name> {
        let known = self.known.lock();
        let card = known.standing.peers.iter().find(|card| card.peer == peer);
        card.map(|card| card.name.clone())
    }

    /// Tells the manager something in the conversation in which this peer is registered; nothing where it is not: the
    /// next manager learns from `register` what it must know.
    pub fn tell_manager(&self, message: &ToManager) {
        let registered = {
            let known = self.known.lock();
            known.standing.number.and(known.line.clone())
        };
        if let Some(line) = registered {
            line.send(message);
        }
    }

    /// In whose name this peer asks a manager: in its own, once it was registered.
    pub(crate) fn credentials(&self) -> Credentials {
        self.known.lock().credentials.clone()
    }

    /// Asks the manager something in this peer's name. One that was restarted meanwhile, and so knows nothing of this
    /// peer, or did not answer, is asked once more when this peer has registered there.
    ///
    /// # Errors
    /// Why this peer is not registered, and what `ask` says.
    pub(crate) fn ask<T>(&self, mut ask: impl FnMut(&Credentials) -> Result<T>) -> Result<T> {
        self.first_number()?;
        let who = self.credentials();
        match ask(&who) {
            Err(no) if no.code() == Code::Unauthorised || no.code() == Code::Failed => {
                let mut known = self.known.lock();
                let same = |known: &Contact| known.credentials == who && !known.over;
                // Where it is still registered a moment later, the question itself has failed.
                let joined = |known: &mut Contact| {
                    same(known) && known.standing.number.is_some() && no.code() == Code::Failed
                };
                self.changed.wait_while_for(&mut known, joined, NOTICED);
                if !joined(&mut known) {
                    self.changed.wait_while_for(&mut known, |known| same(known), BACK);
                }
                let again = known.credentials.clone();
                drop(known);
                if again == who { Err(no) } else { ask(&again) }
            }
            answered => answered,
        }
    }

    /// Whether this pass shows that `peer` asks for pieces of a file: the manager made it of this peer's token.
    pub(crate) fn is_pass(&self, pass: &Key, peer: PeerId, file: FileId) -> bool {
        let credentials = self.credentials();
        credentials.token.is_some_and(|token| token.pass(peer, file) == *pass)
    }

    /// Whether this is the key of an examination: the manager made it of this peer's token. One that comes shows that
    /// the manager can connect to this peer: what it warned of is over.
    pub(crate) fn is_exam(&self, lease: LeaseId, key: &Key) -> bool {
        let mut known = self.known.lock();
        let Credentials { peer, token } = &known.credentials;
        let is_exam = token.as_ref().is_some_and(|token| token.of_lease(lease, *peer) == *key);
        if is_exam && known.standing.number.is_some() && known.standing.trouble.take().is_some() {
            drop(known);
            warn!("the manager at {} can connect to this peer now: all is well", self.config.manager);
        }
        is_exam
    }

    /// This peer's number; waits for it for `patience`.
    ///
    /// # Errors
    /// Why this peer is not registered.
    pub fn wait_for_number(&self, patience: Duration) -> Result<PeerId> {
        self.number_when(patience, |_| false)
    }

    /// This peer's number, or what came of its first attempt to get one.
    ///
    /// # Errors
    /// Why this peer is not registered.
    pub fn first_number(&self) -> Result<PeerId> {
        // A program that was restarted may have to wait for the end of its former self; one that has lost its manager,
        // for the next one.
        let enough = |known: &Contact| known.attempts > 0 && !known.busy && !known.ever_joined;
        let patience =
            if self.known.lock().ever_joined { BACK } else { limits::CONNECT_TIME + limits::MESSAGE_TIME };
        self.number_when(patience, enough)
    }

    fn number_when(&self, patience: Duration, enough: impl Fn(&Contact) -> bool) -> Result<PeerId> {
        let mut known = self.known.lock();
        let waits = |known: &mut Contact| known.standing.number.is_none() && !known.over && !enough(known);
        self.changed.wait_while_for(&mut known, waits, patience);
        known.standing.number.ok_or_else(|| {
            let trouble = known.standing.trouble.as_ref();
            let why = trouble.map_or("the manager has not answered yet", |(why, _)| why);
            Error::new(known.refused.unwrap_or(Code::Failed), why)
        })
    }

    /// Says `quit`, and waits a moment for the manager to close the conversation. Nothing is joined after this.
    pub fn say_goodbye(&self) {
        let mut known = self.known.lock();
        known.over = true;
        self.changed.notify_all();
        let Some(line) = known.line.clone() else { return };
        line.send(&ToManager::Quit {});
        self.changed.wait_while_for(&mut known, |known| known.line.is_some(), GOODBYE);
        line.close();
    }

    /// A conversation with the manager has begun; from here on it can be closed by one that leaves.
    pub(super) fn connected(&self, line: Outbox) {
        self.known.lock().line = Some(line);
    }

    /// The manager has told this peer its number and its token. From now on it may ask for a product.
    pub(super) fn told(&self, peer: PeerId, token: Key) {
        self.known.lock().credentials = Credentials { peer, token: Some(token) };
    }

    /// The manager knows this peer under a number now; false when it has left meanwhile.
    pub(super) fn registered(&self, number: PeerId) -> bool {
        let mut known = self.known.lock();
        if known.over {
            return false;
        }
        let was_away = known.standing.trouble.take().is_some() && known.told;
        (known.standing.number, known.ever_joined) = (Some(number), true);
        self.changed.notify_all();
        drop(known);
        if was_away {
            warn!("joined the manager at {}: all is well", self.config.manager);
        }
        true
    }

    /// All peers that are here now.
    pub(super) fn meet(&self, peers: Vec<PeerCard>) {
        self.known.lock().standing.peers = peers;
        self.changed.notify_all();
    }

    /// The manager warns.
    ///
    /// # Errors
    /// The warning, when this peer is not registered: then it is the manager's refusal.
    pub(super) fn warned(&self, why: Error, now: Instant) -> Result<()> {
        let mut known = self.known.lock();
        if known.standing.number.is_none() {
            return Err(why);
        }
        known.standing.trouble = Some((why.to_string(), now));
        drop(known);
        warn!("{why}");
        Ok(())
    }

    /// The conversation has ended; true when this peer was registered in it. A peer that is refused before it has ever
    /// joined stops: to wait would not help.
    pub(super) fn parted(&self, why: &Error, now: Instant) -> bool {
        let mut known = self.known.lock();
        let joined = known.standing.number.take().is_some();
        let mut news = false;
        known.line = None;
        known.attempts += 1;
        if !known.over {
            let since = known.standing.trouble.take().filter(|_| !joined);
            let since = since.map_or(now, |(_, since)| since);
            known.standing.trouble = Some((why.to_string(), since));
            // The manager may not have seen yet that the former self of a program that was restarted is gone.
            let early = why.code() == Code::Conflict && known.attempts < CONFLICTS;
            let refused = !matches!(why.code(), Code::Failed | Code::Busy) && !early;
            known.busy = why.code() == Code::Busy || early;
            if refused && !known.ever_joined {
                (known.refused, known.over) = (Some(why.code()), true);
            } else {
                // A conflict that stays is what the program ends with.
                news = joined || (!known.told && !early);
                known.told |= news;
            }
        }
        drop(known);
        self.changed.notify_all();
        if news {
            warn!("{why}; trying again");
        }
        joined
    }

    /// Waits for so long; false when this peer leaves meanwhile.
    pub(super) fn pause(&self, pause: Duration) -> bool {
        let mut known = self.known.lock();
        self.changed.wait_while_for(&mut known, |known| !known.over, pause);
        !known.over
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;
    use crate::net::admission::Admission;
    use crate::peer::config::UploadSettings;

    /// Of a peer with this folder, whose manager nobody can reach.
    pub(in crate::peer) fn alone(data: &Path) -> Network {
        let nowhere = ([127, 0, 0, 1], 1).into();
        let config = Config {
            manager: nowhere,
            listen: nowhere,
            advertise: None,
            name: "ben".parse().unwrap(),
            slots: 0,
            keeps: true,
            data: data.into(),
            scan: Duration::from_secs(1),
            admission: Admission::default(),
            upload: UploadSettings { up: None, down: None, unchoke: 4, round: Duration::from_secs(10) },
        };
        Network::new(config, nowhere)
    }

    #[test]
    fn a_pass_is_worth_something_for_one_peer_one_file_and_this_holder() {
        let network = alone(Path::new("nowhere"));
        let (token, file, other) = (Key::random(), FileId::from([1; 32]), FileId::from([2; 32]));
        assert!(!network.is_pass(&token.pass(7, file), 7, file), "it has no token yet");
        network.told(1, token.clone());
        assert!(network.is_pass(&token.pass(7, file), 7, file));
        for pass in [token.pass(8, file), token.pass(7, other), Key::random().pass(7, file), token] {
            assert!(!network.is_pass(&pass, 7, file));
        }
    }
}
