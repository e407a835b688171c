//! Holding a lease: asking for slots, keeping them, giving them back.
//!
//! # The rule
//! [`HeldLease::ask`] returns when the slots are ours. From then on the thread `keep_lease` listens: it asks
//! for more time at half-time, hears of peers that are gone, and notices when the time is up. Dropping
//! the lease gives it back.
//!
//! A manager that dies takes nothing away: the peers know the lease, and serve it until its time is over.
//!
//! # Who is woken
//! A thread that waits for an answer of a peer that is gone would wait for long. So each connection to a
//! leased peer is given to the lease ([`HeldLease::watch`]), which closes it when the peer is reported
//! `lost`; that wakes its reader.

use std::collections::HashSet;
use std::net::{Shutdown, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, Sender, bounded};
use log::{debug, info};
use parking_lot::Mutex;

use crate::error::{Code, Error, Result};
use crate::net::connection::{Connection, Received};
use crate::net::limits;
use crate::net::message::{Activity, FromManager, LeaseId, PeerCard, PeerId, ToManager, no_answer};
use crate::net::outbox::Outbox;
use crate::peer::config::Config;
use crate::peer::manager_client::reach_manager;
use crate::peer::network::Network;
use crate::share::units::counted;
use crate::thread::{self, Thread};

/// How long a manager may be silent towards a peer that waits in its queue; it speaks every second.
const QUEUE_SILENCE: Duration = Duration::from_secs(15);

/// How often one that waits in the queue looks whether it is to stop, and one that holds a lease, whether it has ended.
const LOOK: Duration = Duration::from_millis(100);

/// How long after its time a lease waits for a word of the manager about its end.
const LAST_WORD: Duration = Duration::from_secs(1);

/// How long a manager may take to say `released`.
const GOODBYE: Duration = Duration::from_millis(500);

/// A lease that is held; dropping it gives it back.
pub(crate) struct HeldLease {
    /// To be named in every product.
    pub(crate) number: LeaseId,
    /// Where its slots are.
    pub(crate) slots: Vec<PeerCard>,
    /// The conversation with the manager about it.
    pub(super) line: Outbox,
    terms: Arc<Mutex<Terms>>,
    /// Disconnected when the keeper has ended.
    ended: Receiver<()>,
    _keeper: Thread,
}

impl HeldLease {
    /// Asks the manager for `slots` slots of others than this peer, and than those that it is to `avoid`, and waits for
    /// them. `on_wait` hears the place in the queue (1 is the head), and in words what is waited for, and what would
    /// end that.
    ///
    /// # Errors
    /// `infeasible` when there are too few slots; `expired` when it is to `stop`; a plain failure when the manager is
    /// not there.
    pub(crate) fn ask(
        network: &Network,
        slots: u32,
        avoid: &[PeerId],
        stop: &AtomicBool,
        mut on_wait: impl FnMut(usize, String),
    ) -> Result<Self> {
        network.ask(|who| {
            let lease = ToManager::Lease { who: who.clone(), slots, avoid: avoid.to_vec() };
            Self::wait(&network.config, &lease, slots, stop, &mut on_wait)
        })
    }

    fn wait(
        config: &Config,
        lease: &ToManager,
        most: u32,
        stop: &AtomicBool,
        on_wait: &mut dyn FnMut(usize, String),
    ) -> Result<Self> {
        // Where it is being restarted, `Network::ask` waits until this peer has joined it again.
        let mut connection = reach_manager(config.manager, config.admission.secret.as_ref(), false)?;
        connection.send(lease)?;
        let line = connection.outbox();
        loop {
            let spoke = Instant::now();
            while let Received::Silence = connection.first_byte(Some(LOOK))?
                && spoke.elapsed() < QUEUE_SILENCE
            {
                if stop.load(Ordering::SeqCst) {
                    // No failure after which `Network::ask` would wait for the manager to come back.
                    return Err(Error::new(Code::Expired, "stopped: the request for slots is taken back"));
                }
            }
            match connection.answer(limits::MESSAGE_TIME)? {
                FromManager::Wait { position, asked, reason, .. } => {
                    line.send(&ToManager::Ok(Activity::default()));
                    let slots = counted(asked, "slot");
                    let text = format!("waiting for {slots}, place {position} in the queue: {reason}");
                    on_wait(position, text);
                }
                // It died while the lease was granted, and is not among its slots.
                FromManager::Lost { .. } => {}
                // Each slot is a thread here: it is not the manager that says how many.
                FromManager::Leased { lease, for_ms, slots }
                    if slots.iter().map(|card| u64::from(card.slots)).sum::<u64>() <= most.into() =>
                {
                    return Self::keep(connection, line, lease, slots, for_ms);
                }
                other => return Err(no_answer(&other, "lease")),
            }
        }
    }

    fn keep(
        connection: Connection,
        line: Outbox,
        number: LeaseId,
        slots: Vec<PeerCard>,
        for_ms: u64,
    ) -> Result<Self> {
        let until = Instant::now() + Duration::from_millis(for_ms);
        let terms = Terms { until, renewing: false, over: None, lost: HashSet::new(), watched: Vec::new() };
        let terms = Arc::new(Mutex::new(terms));
        let (ends, ended) = bounded(0);
        let keeper = {
            let (line, terms) = (line.clone(), Arc::clone(&terms));
            thread::start("keep_lease", move || keep_lease(connection, &line, &terms, ends))?
        };
        Ok(Self { number, slots, line, terms, ended, _keeper: keeper })
    }

    /// How many slots it has, those of peers that were lost not counted.
    pub(crate) fn size(&self) -> u32 {
        let lost = &self.terms.lock().lost;
        self.slots.iter().filter(|card| !lost.contains(&card.peer)).map(|card| card.slots).sum()
    }

    /// How long it still runs unless it is renewed; `None` when it is over.
    pub(crate) fn left(&self) -> Option<Duration> {
        self.terms.lock().left(Instant::now())
    }

    /// Why it has ended, as far as somebody has said so; `None` also where only its time is over.
    pub(crate) fn over(&self) -> Option<&'static str> {
        self.terms.lock().over
    }

    /// Tells why it has ended, at once, unless it is given back before.
    ///
    /// # Errors
    /// `busy` when the system has no thread left.
    pub(crate) fn tell_end(&self, tell: impl FnOnce(&str) + Send + 'static) -> Result<()> {
        let terms = Arc::downgrade(&self.terms);
        let watch = move || {
            while let Some(held) = terms.upgrade() {
                let Terms { over, until, .. } = *held.lock();
                let silent = (until.elapsed() >= LAST_WORD)
                    .then_some("its time is up, and the manager does not answer");
                if let Some(why) = over.or(silent) {
                    return tell(why);
                }
                drop(held);
                std::thread::sleep(LOOK);
            }
        };
        thread::start("watch_lease", watch).map(Thread::detach)
    }

    /// Whether a product may be begun at `peer`.
    pub(super) fn serves(&self, peer: PeerId) -> bool {
        let terms = self.terms.lock();
        terms.left(Instant::now()).is_some() && !terms.lost.contains(&peer)
    }

    /// No product is begun at a peer any more, and none that runs there is waited for; that wakes its slots. False when
    /// it was so already.
    pub(super) fn give_up(&self, peer: PeerId) -> bool {
        let mut terms = self.terms.lock();
        terms.close(|of| of == peer);
        terms.lost.insert(peer)
    }

    /// Ends the work under it: no product is begun any more, and no answer waited for.
    pub(super) fn stop(&self) {
        let mut terms = self.terms.lock();
        terms.over = Some("it was stopped");
        terms.close(|_| true);
    }

    /// Closes this connection to a leased peer when the peer is reported lost.
    pub(super) fn watch(&self, peer: PeerId, stream: &Arc<TcpStream>) {
        let mut terms = self.terms.lock();
        if terms.lost.contains(&peer) || terms.over.is_some() {
            let _ = stream.shutdown(Shutdown::Both);
        }
        terms.watched.push((peer, Arc::downgrade(stream)));
    }
}

impl Drop for HeldLease {
    fn drop(&mut self) {
        self.line.send(&ToManager::Release {});
        // The next one that looks at the queue shall find the slots given back. Should the manager not answer,
        // the end of the connection says the same.
        let _ = self.ended.recv_timeout(GOODBYE);
        self.line.close(); // The keeper ends, and is joined.
    }
}

/// What the manager has said of a lease.
struct Terms {
    until: Instant,
    /// More time was asked for, or need not be: another request waits.
    renewing: bool,
    /// Why it has ended, as far as somebody has said so.
    over: Option<&'static str>,
    lost: HashSet<PeerId>,
    /// Weak: a connection that is given up is closed, and the peer sees it.
    watched: Vec<(PeerId, Weak<TcpStream>)>,
}

impl Terms {
    fn left(&self, now: Instant) -> Option<Duration> {
        let left = self.until.saturating_duration_since(now);
        (self.over.is_none() && !left.is_zero()).then_some(left)
    }

    /// How long the manager may be silent: until half-time, or until the lease is surely over.
    fn silence(&self, now: Instant) -> Duration {
        let left = self.until.saturating_duration_since(now);
        let quiet = self.renewing || self.over.is_some();
        if quiet { left + limits::MESSAGE_TIME } else { left / 2 }
    }

    /// The manager was silent for so long; whether it shall be asked for more time now.
    fn renews(&mut self) -> bool {
        self.over.is_none() && !std::mem::replace(&mut self.renewing, true)
    }

    /// Closes the connections to these peers; that wakes their readers.
    fn close(&self, which: impl Fn(PeerId) -> bool) {
        let watched = self.watched.iter().filter(|(of, _)| which(*of));
        for stream in watched.filter_map(|(_, stream)| stream.upgrade()) {
            let _ = stream.shutdown(Shutdown::Both);
        }
    }

    fn hear(&mut self, message: FromManager, now: Instant) {
        match message {
            FromManager::Leased { for_ms, .. } => {
                let until = now + Duration::from_millis(for_ms);
                // Asked for more and got it: ask again at half-time. Otherwise another request waits.
                self.renewing = until <= self.until + Duration::from_millis(for_ms / 4);
                self.until = until;
            }
            FromManager::Lost { peer, .. } => {
                info!("the peer {peer} of the lease is gone");
                self.lost.insert(peer);
                self.close(|of| of == peer);
            }
            FromManager::Expired { .. } => self.over = Some("its time was up, and others wait"),
            FromManager::Error(no) => debug!("the manager refuses: {}", no.text),
            other => debug!("not expected during a lease: {other:?}"),
        }
    }
}

/// Listens to the manager until the lease is given back, or the manager is gone: the peers serve the lease until
/// its time is over.
fn keep_lease(mut connection: Connection, line: &Outbox, terms: &Mutex<Terms>, _ends: Sender<()>) {
    loop {
        let silence = terms.lock().silence(Instant::now());
        match connection.receive(Some(silence)) {
            Ok(Received::Message(FromManager::Released {})) => return,
            Ok(Received::Message(message)) => terms.lock().hear(message, Instant::now()),
            Ok(Received::Silence) if terms.lock().renews() => line.send(&ToManager::Renew {}),
            Ok(Received::End | Received::Silence) | Err(_) => {
                debug!("the manager no longer answers for the lease");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::path::Path;

    use super::*;
    use crate::net::key::Key;
    use crate::net::message::{Credentials, encode};
    use crate::peer::network::tests::alone;

    #[test]
    fn more_slots_than_were_asked_for_are_no_answer() {
        for slots in [8, u32::MAX] {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let mut config = alone(Path::new("nowhere")).config.clone();
            config.manager = listener.local_addr().unwrap();
            let manager = std::thread::spawn(move || {
                let (mut stream, addr) = listener.accept().unwrap();
                let (name, key) = ("x".parse().unwrap(), Some(Key::random()));
                let card = PeerCard { peer: 6, name, addr, slots, key };
                let slots = vec![PeerCard { slots: 7, ..card.clone() }, card];
                let leased = FromManager::Leased { lease: 9, for_ms: 1, slots };
                stream.write_all(&encode(&leased)).unwrap();
            });
            let ask = ToManager::Lease { who: Credentials::default(), slots: 7, avoid: Vec::new() };
            let stop = AtomicBool::new(false);
            let no = HeldLease::wait(&config, &ask, 7, &stop, &mut |_, _| ()).err().unwrap();
            assert_eq!(no.code(), Code::BadMessage, "{no}");
            manager.join().unwrap();
        }
    }

    #[test]
    fn a_connection_that_is_given_up_is_closed_though_the_lease_goes_on() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let connect =
            || (Connection::connect(addr, limits::LINE, None).unwrap(), listener.accept().unwrap().0);
        let (mut to_manager, _manager) = connect();
        let line = to_manager.outbox();
        let lease = HeldLease::keep(to_manager, line, 7, Vec::new(), 60_000).unwrap();
        let (to_peer, mut peer) = connect();
        lease.watch(3, to_peer.stream());
        drop(to_peer);
        assert!(
            lease.give_up(3) && !lease.give_up(3),
            "it is news once, however many slots find the peer late"
        );
        peer.set_read_timeout(Some(limits::MESSAGE_TIME)).unwrap();
        assert_eq!(peer.read(&mut [0]).unwrap(), 0, "the peer sees that nobody waits for its product");
        assert!(lease.left().is_some());
    }
}
