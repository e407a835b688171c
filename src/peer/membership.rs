//! The conversation with the manager, and coming back when it breaks.
//!
//! # The problem
//! A peer's address changes, its cable is pulled, its manager is restarted (D11). Membership is not
//! something a peer has; it is something that one thread, `keep_membership`, keeps restoring.
//!
//! # The rule
//! Connect, register, and then listen: answer each `ping`, keep the list, pass `bind` and `unbind` on.
//! When the conversation breaks, pause and begin again. The pause grows, so that a dead manager is not
//! hammered, to `LONGEST_PAUSE` at most, so that a restarted one has everybody back within three
//! seconds; and it is jittered, so that a thousand peers do not come back in the same millisecond. What
//! is served for others goes on meanwhile; `register` tells the new manager of it.
//!
//! A peer that is refused at its first attempt (its name is taken, say) stops: waiting would not help.
//!
//! # What is missing
//! A peer knows one manager. Were there a second one to turn to, this is the place where it would.

use std::net::SocketAddr;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::config::Config;
use super::library::Library;
use super::library::drops::Dropped;
use super::manager_client::reach_manager;
use super::network::Network;
use super::replication::context::Replication;
use super::serve::Serving;
use super::swarm::upload::Uploads;
use crate::error::{Error, Result};
use crate::net::connection::{Connection, Received};
use crate::net::limits;
use crate::net::message::{Candidate, FromManager, PeerId, ToManager, VERSION, no_answer};
use crate::net::outbox::Outbox;
use crate::thread::{self, Thread};
use log::{info, warn};

/// The pause after the first loss.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The pause that is not exceeded.
const LONGEST_PAUSE: Duration = Duration::from_millis(1500);

/// How long a manager may be silent before it is taken for dead, until its pings have shown how often it
/// speaks.
const SILENCE: Duration = Duration::from_secs(60);

/// How many pings in a row may be missed.
const MISSED_PINGS: u32 = 5;

/// How short the time for that may get.
const SHORTEST_SILENCE: Duration = Duration::from_secs(5);

/// What the thread `keep_membership` passes on to.
#[derive(Debug)]
pub(super) struct Membership {
    pub(super) config: Config,
    pub(super) network: Arc<Network>,
    pub(super) serving: Arc<Serving>,
    pub(super) library: Arc<Library>,
    pub(super) uploads: Arc<Uploads>,
    pub(super) replication: Option<Arc<Replication>>,
}

impl Membership {
    /// Starts to keep it, until [`Network::say_goodbye`].
    ///
    /// # Errors
    /// When no thread can be started.
    pub(super) fn start(self) -> Result<Thread> {
        thread::start("keep_membership", move || self.keep_membership())
    }

    /// One conversation after another, with growing pauses, until this peer leaves or is refused.
    fn keep_membership(&self) {
        let mut pause = FIRST_PAUSE;
        loop {
            let ended = self.converse();
            let manager = self.network.manager();
            let why = ended
                .err()
                .unwrap_or_else(|| Error::failed(format!("the manager at {manager} ended the conversation")));
            let parted = self.network.parted(&why);
            self.library.tell_again();
            if parted.news {
                warn!("{why}; trying again");
            }
            pause = if parted.joined { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
            if !self.network.pause(pause.mul_f64(rand::random_range(0.5..1.0))) {
                return;
            }
        }
    }

    /// One conversation with the manager, from `register` to its end.
    fn converse(&self) -> Result<()> {
        let manager = self.network.manager();
        let mut connection = reach_manager(manager)?;
        let line = connection.outbox();
        self.network.connected(line.clone());
        line.send(&self.register(self.advertised(&connection)?));
        let mut talk =
            Talk { member: self, line, silence: limits::MESSAGE_TIME, last_ping: None, refusal: None };
        loop {
            match connection.receive(Some(talk.silence))? {
                Received::Message(message) => {
                    if talk.hear(message)?.is_break() {
                        return Ok(());
                    }
                    // Many short leases come and go at once: what they ask for is answered in one go.
                    if !connection.has_line() {
                        talk.line.flush();
                    }
                }
                Received::End => return talk.refusal.map_or(Ok(()), Err),
                Received::Silence => {
                    return Err(Error::failed(format!("the manager at {manager} has fallen silent"))
                        .advise("see whether it is stopped or overloaded"));
                }
            }
        }
    }

    /// "I am here", with everything that a manager, which may have been restarted, must know of this peer.
    fn register(&self, addr: SocketAddr) -> ToManager {
        let config = &self.config;
        ToManager::Register(Candidate {
            version: VERSION,
            name: config.name.clone(),
            addr,
            slots: config.slots,
            keeps: config.keeps,
            bound: self.serving.still_bound(),
            up: config.upload.up,
            down: config.upload.down,
        })
    }

    /// The address that others are told: what was asked for, else where this peer listens. One that listens
    /// on every interface names the one by which it reaches the manager.
    fn advertised(&self, connection: &Connection) -> Result<SocketAddr> {
        let own = self.network.addr();
        if let Some(addr) = self.config.advertise {
            return Ok(addr);
        }
        if !own.ip().is_unspecified() {
            return Ok(own);
        }
        let local = connection
            .stream()
            .local_addr()
            .map_err(|e| Error::failed("the connection to the manager broke").because(e))?;
        Ok(SocketAddr::new(local.ip(), own.port()))
    }
}

/// What one conversation with the manager has come to.
struct Talk<'a> {
    member: &'a Membership,
    line: Outbox,
    /// How long the manager may be silent now. It must answer `register` like any other question; later it may have
    /// nothing to say.
    silence: Duration,
    last_ping: Option<Instant>,
    /// The "no" that came instead of `registered`.
    refusal: Option<Error>,
}

impl Talk<'_> {
    /// Does what one message asks for; breaks off when this peer has left meanwhile.
    fn hear(&mut self, message: FromManager) -> Result<ControlFlow<()>> {
        let member = self.member;
        match message {
            FromManager::Registered { peer } => return Ok(self.registered(peer)),
            FromManager::Peers { peers } => member.network.meet(peers),
            FromManager::Ping {} => self.answer_ping(),
            FromManager::Bind { lease, slots, for_ms } => member.serving.bind(lease, slots, for_ms),
            FromManager::Unbind { lease } => {
                if member.serving.unbind(lease) {
                    self.line.post(&ToManager::Unbound { lease });
                }
            }
            // A peer that came for one command keeps nothing, and is asked for nothing.
            FromManager::Fetch { file } => {
                if let Some(replication) = &member.replication {
                    replication.fetch(file);
                }
            }
            FromManager::Drop { file, id: Some(id), at: Some(at) } => {
                if let Some(replication) = &member.replication {
                    replication.dropped(&Dropped { file, id, at });
                }
            }
            FromManager::Drop { file, .. } => {
                info!("{file} was dropped, it is not said which bytes, or when")
            }
            FromManager::List {} => {
                info!("the manager asks for the files again");
                member.library.tell_again();
            }
            FromManager::Error(no) => self.refused(no.into()),
            other => return Err(no_answer(&other, "register")),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn registered(&mut self, peer: PeerId) -> ControlFlow<()> {
        let member = self.member;
        member.serving.rejoined();
        // Before the files, so that none is listed that was dropped.
        member.library.tell_drops(&self.line);
        if !member.network.registered(peer) {
            self.line.send(&ToManager::Quit {});
            return ControlFlow::Break(());
        }
        info!("registered as number {peer}");
        self.silence = SILENCE;
        member.library.tell_again();
        ControlFlow::Continue(())
    }

    /// "I am still here", with what the manager can compare with its own list. How often it pings says how long a
    /// silence means that it is dead.
    fn answer_ping(&mut self) {
        let (list, downloads) = (self.member.library.fingerprint(), self.member.uploads.downloads());
        self.line.send(&ToManager::Ok { list, downloads });
        if let Some(last) = self.last_ping.replace(Instant::now()) {
            self.silence = (last.elapsed() * MISSED_PINGS).clamp(SHORTEST_SILENCE, SILENCE);
        }
        self.member.serving.tidy();
    }

    /// Before `registered` it is the manager's "no", after it a warning.
    fn refused(&mut self, error: Error) {
        if self.member.network.warned(&error) {
            warn!("{error}");
        } else {
            self.refusal = Some(error);
        }
    }
}
