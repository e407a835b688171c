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
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use log::{info, warn};
use parking_lot::{Condvar, Mutex};

use super::Config;
use super::drops::Drop as Dropped;
use super::keeping::Keeping;
use super::session::Serving;
use super::sharing::Sharing;
use crate::error::{Code, Error, Kind, Result};
use crate::net::connection::{Connection, Received};
use crate::net::limits;
use crate::net::message::{FromManager, PeerCard, PeerId, ToManager, VERSION};
use crate::net::outbox::Outbox;

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

/// How long leaving in order may take.
const GOODBYE: Duration = Duration::from_millis(500);

/// What is known of the network now.
#[derive(Clone, Debug, Default)]
pub struct Standing {
    /// This peer's number, while it is registered.
    pub number: Option<PeerId>,
    /// Everybody who is here, this peer too.
    pub peers: Vec<PeerCard>,
    /// What stands between this peer and the others, and since when.
    pub trouble: Option<(String, Instant)>,
    refused: Option<Code>,
    over: bool,
    attempts: u64,
    line: Option<Outbox>,
}

#[derive(Debug)]
struct Shared {
    config: Config,
    addr: SocketAddr,
    serving: Arc<Serving>,
    sharing: Arc<Sharing>,
    keeping: Option<Arc<Keeping>>,
    standing: Mutex<Standing>,
    changed: Condvar,
}

/// The membership of a peer; dropping it leaves.
#[derive(Debug)]
pub struct Membership {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Membership {
    /// Begins to keep the membership of a peer that listens on `addr`.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(
        config: &Config,
        addr: SocketAddr,
        serving: Arc<Serving>,
        sharing: Arc<Sharing>,
        keeping: Option<Arc<Keeping>>,
    ) -> Result<Self> {
        let shared = Arc::new(Shared {
            config: config.clone(),
            addr,
            serving,
            sharing,
            keeping,
            standing: Mutex::default(),
            changed: Condvar::new(),
        });
        let thread = {
            let shared = Arc::clone(&shared);
            thread::Builder::new()
                .name("keep_membership".into())
                .spawn(move || keep_membership(&shared))
                .map_err(|e| Error::failed("cannot start the thread keep_membership").because(e))?
        };
        Ok(Self { shared, thread: Some(thread) })
    }

    /// What is known of the network now.
    pub fn standing(&self) -> Standing {
        self.shared.standing.lock().clone()
    }

    /// This peer's number; waits for it for `patience`.
    ///
    /// # Errors
    /// Why this peer is not registered.
    pub fn number(&self, patience: Duration) -> Result<PeerId> {
        self.number_when(patience, |_| false)
    }

    /// This peer's number, or what came of its first attempt to get one.
    ///
    /// # Errors
    /// Why this peer is not registered.
    pub fn first_number(&self) -> Result<PeerId> {
        self.number_when(limits::CONNECT_TIME + limits::MESSAGE_TIME, |standing| standing.attempts > 0)
    }

    fn number_when(&self, patience: Duration, enough: impl Fn(&Standing) -> bool) -> Result<PeerId> {
        let end = Instant::now() + patience;
        let mut standing = self.shared.standing.lock();
        loop {
            if let Some(number) = standing.number {
                return Ok(number);
            }
            let given_up = standing.refused.is_some() || standing.over || enough(&standing);
            if given_up || self.shared.changed.wait_until(&mut standing, end).timed_out() {
                let code = standing.refused.unwrap_or(Code::Failed);
                let why =
                    standing.trouble.as_ref().map_or("the manager has not answered yet", |(why, _)| why);
                return Err(Error::new(code, why));
            }
        }
    }

    /// Says `quit`, and waits a moment for the manager to close the conversation. Nothing is joined
    /// after this.
    pub fn say_goodbye(&self) {
        let end = Instant::now() + GOODBYE;
        let mut standing = self.shared.standing.lock();
        standing.over = true;
        self.shared.changed.notify_all();
        let Some(line) = standing.line.clone() else { return };
        line.send(&ToManager::Quit {});
        while standing.line.is_some() && !self.shared.changed.wait_until(&mut standing, end).timed_out() {}
        line.close();
    }

    /// Leaves in order, and joins the thread.
    pub fn leave(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        self.say_goodbye();
        let _ = thread.join();
    }
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.leave();
    }
}

/// One conversation after another, with growing pauses, until this peer leaves or is refused.
fn keep_membership(shared: &Shared) {
    let mut pause = FIRST_PAUSE;
    let mut ever_joined = false;
    loop {
        let ended = converse(shared);
        let mut standing = shared.standing.lock();
        shared.serving.tell_to(None);
        shared.sharing.registered(None);
        let joined = standing.number.take().is_some();
        ever_joined |= joined;
        standing.line = None;
        standing.attempts += 1;
        let why = match ended {
            Ok(()) => {
                Error::failed(format!("the manager at {} ended the conversation", shared.config.manager))
            }
            Err(why) => why,
        };
        if !standing.over {
            let since =
                standing.trouble.take().filter(|_| !joined).map_or_else(Instant::now, |(_, since)| since);
            standing.trouble = Some((why.to_string(), since));
            let refused =
                matches!(why.kind(), Kind::Wire(code) if code != Code::Failed && code != Code::Busy);
            if refused && !ever_joined {
                standing.refused = Some(why.code());
                standing.over = true;
            } else if joined || standing.attempts == 1 {
                warn!("{why}; trying again");
            }
        }
        shared.changed.notify_all();
        pause = if joined { FIRST_PAUSE } else { (pause * 2).min(LONGEST_PAUSE) };
        let end = Instant::now() + pause.mul_f64(rand::random_range(0.5..1.0));
        while !standing.over && !shared.changed.wait_until(&mut standing, end).timed_out() {}
        if standing.over {
            return;
        }
    }
}

/// One conversation with the manager, from `register` to its end.
fn converse(shared: &Shared) -> Result<()> {
    let manager = shared.config.manager;
    let mut connection = reach_manager(manager)?;
    let line = connection.outbox();
    // From here on, whoever leaves can close the conversation.
    shared.standing.lock().line = Some(line.clone());
    line.send(&register(shared, advertised(shared, &connection)?));
    let mut talk =
        Conversation { shared, line, silence: limits::MESSAGE_TIME, last_ping: None, refusal: None };
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

/// A connection to the manager at this address.
///
/// # Errors
/// When nobody listens there.
pub(super) fn reach_manager(addr: SocketAddr) -> Result<Connection> {
    Connection::connect(addr, limits::MANAGER_LINE)
        .map_err(|e| e.advise("start `manager` there, or give its address with --manager"))
}

/// "I am here", with everything that a manager, which may have been restarted, must know of this peer.
fn register(shared: &Shared, addr: SocketAddr) -> ToManager {
    let config = &shared.config;
    ToManager::Register {
        version: VERSION,
        name: config.name.clone(),
        addr,
        slots: config.slots,
        keeps: config.keeps,
        bound: shared.serving.still_bound(),
        up: config.manners.up,
        down: config.manners.down,
    }
}

/// What one conversation with the manager has come to.
struct Conversation<'a> {
    shared: &'a Shared,
    line: Outbox,
    /// How long the manager may be silent now. It must answer `register` like any other question; later it may have
    /// nothing to say.
    silence: Duration,
    last_ping: Option<Instant>,
    /// The "no" that came instead of `registered`.
    refusal: Option<Error>,
}

impl Conversation<'_> {
    /// Does what one message asks for; breaks off when this peer has left meanwhile.
    fn hear(&mut self, message: FromManager) -> Result<ControlFlow<()>> {
        let shared = self.shared;
        match message {
            FromManager::Registered { peer } => return Ok(self.registered(peer)),
            FromManager::Peers { peers } => {
                shared.sharing.meet(&peers);
                shared.standing.lock().peers = peers;
                shared.changed.notify_all();
            }
            FromManager::Ping {} => self.answer_ping(),
            FromManager::Bind { lease, slots, for_ms } => shared.serving.bind(lease, slots, for_ms),
            FromManager::Unbind { lease } => {
                if shared.serving.unbind(lease) {
                    self.line.post(&ToManager::Unbound { lease });
                }
            }
            // A peer that came for one command keeps nothing, and is asked for nothing.
            FromManager::Fetch { file } => {
                if let Some(keeping) = &shared.keeping {
                    keeping.fetch(file);
                }
            }
            FromManager::Drop { file, id: Some(id), at: Some(at) } => {
                if let Some(keeping) = &shared.keeping {
                    keeping.dropped(Dropped { file, id, at });
                }
            }
            FromManager::Drop { file, .. } => {
                info!("{file} was dropped, it is not said which bytes, or when")
            }
            FromManager::List {} => shared.sharing.tell_again(),
            FromManager::Error(no) => self.refused(no.into()),
            other => {
                return Err(Error::new(
                    Code::BadMessage,
                    format!("not expected from a manager now: {other:?}"),
                ));
            }
        }
        Ok(ControlFlow::Continue(()))
    }

    fn registered(&mut self, peer: PeerId) -> ControlFlow<()> {
        let mut standing = self.shared.standing.lock();
        if standing.over {
            self.line.send(&ToManager::Quit {});
            return ControlFlow::Break(());
        }
        info!("registered as number {peer}");
        self.silence = SILENCE;
        self.shared.serving.tell_to(Some(self.line.clone()));
        // Before the files, so that none is listed that was dropped.
        self.shared.sharing.drops().tell(&self.line);
        self.shared.sharing.registered(Some(peer));
        standing.number = Some(peer);
        standing.trouble = None;
        self.shared.changed.notify_all();
        ControlFlow::Continue(())
    }

    /// "I am still here", with what the manager can compare with its own list. How often it pings says how long a
    /// silence means that it is dead.
    fn answer_ping(&mut self) {
        let sharing = &self.shared.sharing;
        let (list, downloads) = (sharing.fingerprint(), sharing.fetching().list());
        self.line.send(&ToManager::Ok { list, downloads });
        if let Some(last) = self.last_ping.replace(Instant::now()) {
            self.silence = (last.elapsed() * MISSED_PINGS).clamp(SHORTEST_SILENCE, SILENCE);
        }
        self.shared.serving.tidy();
    }

    /// Before `registered` it is the manager's "no", after it a warning.
    fn refused(&mut self, error: Error) {
        let mut standing = self.shared.standing.lock();
        if standing.number.is_some() {
            warn!("{error}");
            standing.trouble = Some((error.to_string(), Instant::now()));
        } else {
            self.refusal = Some(error);
        }
    }
}

/// The address that others are told: what was asked for, else where this peer listens. One that listens
/// on every interface names the one by which it reaches the manager.
fn advertised(shared: &Shared, connection: &Connection) -> Result<SocketAddr> {
    if let Some(addr) = shared.config.advertise {
        return Ok(addr);
    }
    if !shared.addr.ip().is_unspecified() {
        return Ok(shared.addr);
    }
    let local =
        connection.local().map_err(|e| Error::failed("the connection to the manager broke").because(e))?;
    Ok(SocketAddr::new(local.ip(), shared.addr.port()))
}
