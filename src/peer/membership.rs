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
//! A peer that is refused before it has ever joined stops: waiting would not help. (A name or an address that is
//! another's counts at the third attempt only, seconds later: its former self may still be listed, and silent.)
//!
//! # What is missing
//! A peer knows one manager. Were there a second one to turn to, this is the place where it would.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use log::info;

use super::library::drops;
use super::manager_client::reach_manager;
use super::network::Network;
use super::replication::orders::ReplicationStatus;
use super::wings::Wings;
use crate::error::{Code, Error, Result};
use crate::net::connection::{Connection, Received};
use crate::net::key::Key;
use crate::net::limits;
use crate::net::message::{Activity, Bound, Candidate, FromManager, PeerId, ToManager, VERSION, no_answer};
use crate::net::outbox::Outbox;

/// The pause after the first loss.
const FIRST_PAUSE: Duration = Duration::from_millis(100);

/// The pause that is not exceeded.
const LONGEST_PAUSE: Duration = Duration::from_millis(1500);

/// How many of its pings in a row must be missed until a manager is taken for dead.
const MISSED_PINGS: u32 = 5;

/// The shortest silence after which a manager counts as dead, however often it pings.
const SHORTEST_SILENCE: Duration = Duration::from_secs(5);

/// One conversation after another, with growing pauses, until this peer leaves or is refused.
pub(super) fn keep_membership(wings: &Wings) {
    let mut pause = FIRST_PAUSE;
    loop {
        let Err(why) = converse(wings);
        let joined = wings.network.parted(&why, Instant::now());
        wings.library.tell_again();
        pause = match why.code() {
            // Its former self may be silent only from now on.
            Code::Conflict => LONGEST_PAUSE,
            _ if joined => FIRST_PAUSE,
            _ => (pause * 2).min(LONGEST_PAUSE),
        };
        if !wings.network.pause(pause.mul_f64(rand::random_range(0.5..1.0))) {
            return;
        }
    }
}

/// One conversation with the manager, from `register` to its end.
///
/// # Errors
/// Why it ended. There is no other result.
fn converse(wings: &Wings) -> Result<Infallible> {
    let network = &wings.network;
    let manager = network.config.manager;
    // A peer that stays comes again by itself.
    let tries_again = !network.config.keeps;
    let mut connection = reach_manager(manager, network.config.admission.secret.as_ref(), tries_again)?;
    let bound = wings.serving.bindings.lock().still_bound(wings.serving.clock.now());
    connection.send(&register(network, advertised(network, &connection), bound))?;
    let line = connection.outbox();
    network.connected(line.clone());
    let mut talk = Talk { wings, line, silence: limits::MESSAGE_TIME, last_ping: None };
    loop {
        match connection.receive(Some(talk.silence))? {
            Received::Message(message) => talk.hear(message)?,
            Received::End => {
                return Err(Error::failed(format!("the manager at {manager} closed the connection"))
                    .advise("see whether it is being restarted"));
            }
            Received::Silence => {
                return Err(Error::failed(format!("the manager at {manager} has fallen silent")).advise(
                    "see whether it is stopped or overloaded, or whether this program was stopped (Ctrl-Z)",
                ));
            }
        }
        // Many short leases come and go at once: what they ask for is answered in one go.
        if !connection.has_line() {
            talk.line.flush();
        }
    }
}

/// "I am here", with everything that a manager, which may have been restarted, must know of this peer.
pub(super) fn register(network: &Network, addr: SocketAddr, bound: Vec<Bound>) -> ToManager {
    let config = &network.config;
    ToManager::Register(Candidate {
        version: VERSION,
        name: config.name.clone(),
        addr,
        slots: config.slots,
        keeps: config.keeps,
        former: Some(network.credentials()).filter(|former| former.token.is_some()),
        bound,
        up: config.upload.up,
        down: config.upload.down,
    })
}

/// The address that others are told: what was asked for, else where this peer listens. One that listens
/// on every interface names the one by which it reaches the manager.
fn advertised(network: &Network, connection: &Connection) -> SocketAddr {
    let own = network.addr;
    let here = || connection.stream().local_addr().map_or(own, |here| SocketAddr::new(here.ip(), own.port()));
    network.config.advertise.unwrap_or_else(|| if own.ip().is_unspecified() { here() } else { own })
}

/// What one conversation with the manager has come to.
struct Talk<'a> {
    wings: &'a Wings,
    line: Outbox,
    /// How long the manager may be silent now. It must answer `register` like any other question; later it may have
    /// nothing to say.
    silence: Duration,
    last_ping: Option<Instant>,
}

impl Talk<'_> {
    /// Does what one message asks for.
    ///
    /// # Errors
    /// Why the conversation is over.
    fn hear(&mut self, message: FromManager) -> Result<()> {
        let Wings { network, serving, library, replication, .. } = self.wings;
        match message {
            FromManager::Registered { peer, token } => return self.registered(peer, token),
            FromManager::Peers { peers } => network.meet(peers),
            FromManager::Ping {} => self.answer_ping(),
            FromManager::Bind { lease, slots, for_ms, key } => serving.bind(lease, slots, for_ms, key),
            FromManager::Unbind { lease } => {
                if serving.bindings.lock().unbind(lease) {
                    self.line.post(&ToManager::Unbound { lease });
                }
            }
            FromManager::Fetch { file } if let Some(replication) = replication => replication.fetch(file),
            FromManager::Drop(dropped) => match replication {
                Some(replication) => replication.dropped(&dropped),
                None => library.end(&dropped),
            },
            // A peer that came for one command keeps nothing, and is asked for nothing.
            FromManager::Fetch { .. } => {}
            FromManager::List {} => {
                info!("the manager asks for the files again");
                library.tell_again();
            }
            // Before `registered` it is the manager's "no", after it a warning.
            FromManager::Error(no) => network.warned(no.into(), Instant::now())?,
            other => return Err(no_answer(&other, "register")),
        }
        Ok(())
    }

    fn registered(&mut self, peer: PeerId, token: Key) -> Result<()> {
        let Wings { network, serving, library, .. } = self.wings;
        network.told(peer, token);
        serving.rejoined();
        // Before the files, so that none is listed that was dropped.
        drops::tell(&self.line, library.drops().into_iter().rev());
        if !network.registered(peer) {
            self.line.send(&ToManager::Quit {});
            return Err(Error::failed("this peer has left meanwhile"));
        }
        info!("registered as number {peer}");
        self.silence = limits::SILENCE;
        library.tell_again();
        Ok(())
    }

    /// "I am still here", with what the manager can compare with its own list, and what others are to know. How often
    /// it pings says how long a silence means that it is dead.
    fn answer_ping(&mut self) {
        let (Wings { library, uploads, replication, .. }, now) = (self.wings, Instant::now());
        let ReplicationStatus { paused, failed, .. } =
            replication.as_ref().map(|it| it.status()).unwrap_or_default();
        let mut said = Activity { list: library.fingerprint(), paused, failed, ..uploads.activity(now) };
        for one in &mut said.downloads {
            one.map = library.get(&one.file).map(|offer| offer.have().map(limits::MAP)).unwrap_or_default();
        }
        self.line.send(&ToManager::Ok(said.bounded()));
        if let Some(last) = self.last_ping.replace(now) {
            self.silence = ((now - last) * MISSED_PINGS).clamp(SHORTEST_SILENCE, limits::SILENCE);
        }
        self.wings.serving.buffers.tidy(now);
    }
}
