//! Seven products over leased slots.
//!
//! # The rule
//! Cut both matrices by [`Plan`], lease slots, and give every leased slot a connection and a thread of its
//! own (`serve_slot`, in `multiply/slot.rs`). Each takes the next product when it is free, sends the two operands,
//! and takes the answer in.
//!
//! # What goes wrong, and what then
//! | what | then |
//! |---|---|
//! | the lease's time is up | what has begun is finished and counts; the rest is done under a new lease |
//! | a peer dies | its connection breaks, or the lease reports it `lost`: another slot takes the product, and rows of its answer that C has already are passed over |
//! | a peer answers wrongly | from the portion with a wrong row on the answer is thrown away, the peer is blamed and avoided, another slot takes the product |
//! | a peer takes much longer than the others | when another slot has nothing left to do, the peer is given up and avoided, and its products are done by others |
//! | a peer never answers | the same; where no other has answered, the product's deadline, which grows with its work |
//! | its user presses Ctrl-C | the connections to the leased peers are closed, and the lease is given back |
//! | the manager dies | work goes on under the lease; a new lease is asked for when it is back |
//!
//! It is given up when `FRUITLESS_ROUNDS` leases in a row bring nothing, when no peer that can be leased is there for
//! five seconds, or no manager for a minute.
//!
//! # What is missing
//! A product that runs on a slow peer is taken from it, never given to two at once: what it has computed is lost.

pub(crate) mod lease;
mod products;
mod slot;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use log::debug;
use parking_lot::Mutex;

use self::lease::HeldLease;
pub(crate) use self::products::Done;
use self::products::Products;
use super::network::Network;
use crate::error::{Code, Error, Result};
use crate::matrix::Matrix;
use crate::matrix::freivalds::{self, Entries, Verdict, Witness};
use crate::matrix::strassen::{self, Assembly, Plan};
use crate::net::key::Key;
use crate::net::limits;
use crate::net::message::{PeerId, ToManager};
use crate::share::units::counted;
use crate::thread::{self, cores};

/// How long a multiply that has begun waits for a manager that is gone to come back, and for its peers.
const MANAGER_PATIENCE: Duration = Duration::from_secs(60);

/// How long a multiply whose peers are all gone waits for them to come back, which takes three seconds at
/// most; the manager says at once that they are gone.
const PEERS_PATIENCE: Duration = Duration::from_secs(5);

/// How many leases in a row may bring no product.
const FRUITLESS_ROUNDS: u32 = 5;

/// The pause between two of them.
const ROUND_PAUSE: Duration = Duration::from_millis(300);

/// What a multiply has to tell while it runs.
#[derive(Clone, Debug)]
pub(crate) enum MultiplyEvent {
    /// It waits for slots, at this place in the queue (1 is the head); and in words, for what.
    Waiting { position: usize, text: String },
    /// How many products are done; more of it in words, and by whom; told a few times a second.
    SoFar { done: usize, text: String, by: String },
    /// Something that a person wants to know.
    Note(String),
}

/// What is to be multiplied, and how: operands that were looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Question<'a> {
    a: &'a Matrix,
    b: &'a Matrix,
    pub(crate) plan: Plan,
    entries: Entries,
    /// Whether nobody wants the answer any more.
    stop: &'a AtomicBool,
}

impl<'a> Question<'a> {
    /// Refuses matrices whose product could overflow: no peer shall be blamed for an infinity.
    ///
    /// # Errors
    /// `infeasible` when sums on the way could overflow, or when more than two levels cut a side into less than single
    /// numbers.
    pub(crate) fn new(a: &'a Matrix, b: &'a Matrix, plan: Plan, stop: &'a AtomicBool) -> Result<Self> {
        let entries = Entries::of(a, b);
        let infeasible = |what, advice| Err(Error::new(Code::Infeasible, what).advise(advice));
        let bound = plan.bound(entries.left, entries.right);
        if !bound.is_finite() {
            let what = "sums on the way to this product could overflow: they are bounded only by";
            return infeasible(format!("{what} {bound:e}"), "scale the matrices down");
        }
        let (levels, (rows, inner, cols)) = (plan.levels(), plan.shape());
        let least = rows.min(inner).min(cols);
        if levels > 2 && least < 1 << levels {
            let what = format!("{levels} levels cut a side of {least} into less than single numbers");
            return infeasible(what, "use fewer --levels");
        }
        Ok(Self { a, b, plan, entries, stop })
    }

    /// Whether the operands are whole numbers, and so large that the product may be rounded.
    pub(crate) fn rounds_whole_numbers(&self) -> bool {
        self.entries.whole && !self.entries.exact(self.plan)
    }

    fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// The answer by this machine alone, on all its cores, into `c`; checked as one that came from others.
    ///
    /// # Errors
    /// When this machine computes wrongly, and when it is stopped.
    pub(crate) fn multiply_here(&self, c: &mut Matrix) -> Result<()> {
        let Self { a, b, entries, .. } = *self;
        let go_on = || !self.is_stopped();
        strassen::multiply(a.view(), b.view(), c.as_mut_slice(), cores(), &go_on).map_err(|_| stopped())?;
        if let Verdict::Wrong { row } = freivalds::check(a, b, c, entries, cores(), &mut rand::rng()) {
            return Err(Error::new(Code::Check, format!("the product is wrong in row {row}"))
                .advise("this machine computes wrongly; test its memory"));
        }
        Ok(())
    }
}

/// The answer by leased peers, into `c`, which is zeros; gives the time that was spent waiting for leases, and every
/// product, in order.
///
/// # Errors
/// `infeasible` when there is no slot to be had; a failed check when every peer lies; a plain failure when
/// no peer can be reached, and when it is stopped.
pub(crate) fn multiply(
    network: &Network,
    question: Question<'_>,
    c: &mut Matrix,
    slots: u32,
    events: Sender<MultiplyEvent>,
) -> Result<(Duration, Vec<Done>)> {
    let (rows, inner, cols) = question.plan.block();
    let payload = 8 * (rows * inner + inner * cols).max(rows * cols) as u64;
    if payload > limits::PRODUCT {
        let what = format!("one product would take {payload} bytes at once");
        return Err(Error::new(Code::Infeasible, what)
            .advise("cut the matrices into smaller products with more --levels"));
    }
    let Question { b, plan, entries, .. } = question;
    let multiplication = Multiplication {
        question,
        witness: freivalds::witness(plan, b, entries, cores(), &mut rand::rng()),
        assembly: Assembly::new(plan, c),
        products: Products::new(plan),
        failure: Mutex::default(),
        avoided: Mutex::default(),
        events,
    };
    Ok((multiplication.run(network, slots)?, multiplication.products.report()))
}

/// What all threads of one multiply share.
struct Multiplication<'a> {
    question: Question<'a>,
    witness: Box<dyn Witness>,
    assembly: Assembly<'a>,
    products: Products,
    /// The last failure of a slot, for the case that nothing works.
    failure: Mutex<Option<Error>>,
    /// Peers that answered wrongly (which is true here), too late, or not at all: this multiply asks for none of their
    /// slots while there are others.
    avoided: Mutex<BTreeMap<PeerId, bool>>,
    events: Sender<MultiplyEvent>,
}

impl Multiplication<'_> {
    fn tell(&self, event: MultiplyEvent) {
        // Nobody may listen any more.
        let _ = self.events.send(event);
    }

    fn note(&self, text: String) {
        self.tell(MultiplyEvent::Note(text));
    }

    /// Works under one lease after another until all is done; gives the time that was spent waiting for them.
    fn run(&self, network: &Network, slots: u32) -> Result<Duration> {
        let products = self.question.plan.products();
        // More slots than products would only be kept from others.
        let slots = slots.min(products.try_into().unwrap_or(u32::MAX));
        let (mut waited, mut fruitless, mut done, mut again) = (Duration::ZERO, 0, 0, false);
        loop {
            let asked = Instant::now();
            let lease = self.lease(network, slots, again)?;
            waited += asked.elapsed();
            self.round(&lease, network.config.admission.secret.as_ref());
            let before = std::mem::replace(&mut done, self.products.summary().0);
            if done == products {
                return Ok(waited);
            }
            if self.question.is_stopped() {
                return Err(stopped());
            }
            self.note(format!(
                "the lease is over, {done} of {products} products are done: asking for another"
            ));
            fruitless = if done > before { 0 } else { fruitless + 1 };
            if fruitless == FRUITLESS_ROUNDS {
                let why = self.failure.lock().take();
                return Err(why.unwrap_or_else(|| {
                    Error::failed("no leased peer computes anything").advise(
                        "see what `why` says; a --quantum of the manager that is too short does this too",
                    )
                }));
            }
            drop(lease);
            std::thread::sleep(ROUND_PAUSE * fruitless);
            again = true;
        }
    }

    /// Leases `slots` slots, or as many as there are. One that has worked before (`again`), or has waited, bears with
    /// a manager that is away, and with peers that are.
    fn lease(&self, network: &Network, slots: u32, again: bool) -> Result<HeldLease> {
        let (mut manager_seen, mut peers_seen) = (again, again);
        let (mut manager_missed, mut peers_missed) = (None, None);
        let mut wanted = slots;
        loop {
            let number = match manager_seen {
                true => network.wait_for_number(ROUND_PAUSE),
                false => network.first_number(),
            };
            let others = network.standing().peers;
            let asked = number.and_then(|own| {
                let on_wait = |position, text| {
                    (manager_seen, manager_missed) = (true, None);
                    peers_seen |= others.iter().any(|card| card.peer != own && card.slots > 0);
                    self.tell(MultiplyEvent::Waiting { position, text });
                };
                let avoided: Vec<PeerId> = self.avoided.lock().keys().copied().collect();
                HeldLease::ask(network, wanted, &avoided, self.question.stop, on_wait)
            });
            let Err(why) = asked else { return asked };
            match why.leasable {
                _ if self.question.is_stopped() => return Err(stopped()),
                Some(fewer) if (1..wanted).contains(&fewer) => {
                    self.note(format!("the others offer {} in all: taking those", counted(fewer, "slot")));
                    wanted = fewer;
                }
                // Those that were late, or closed, may do better in another lease; those that lied do not.
                Some(_) if self.forgive() => {}
                Some(_) if is_gone(peers_seen, &mut peers_missed, PEERS_PATIENCE) => {
                    return Err(self.nobody_left());
                }
                None if is_gone(manager_seen, &mut manager_missed, MANAGER_PATIENCE) => return Err(why),
                _ => {
                    debug!("no lease: {why}; trying again");
                    wanted = slots;
                    std::thread::sleep(ROUND_PAUSE);
                }
            }
        }
    }

    /// Why no peer can be leased: perhaps all have lied, or were silent.
    fn nobody_left(&self) -> Error {
        let avoids = !self.avoided.lock().is_empty();
        self.failure.lock().take().filter(|_| avoids).unwrap_or_else(|| {
            Error::new(Code::Infeasible, "no other peer offers a slot")
                .advise("start one with `peer serve`, or multiply with --local")
                .with_leasable(0)
        })
    }

    /// A slot has failed. That others fail because of a lie says less than the lie.
    fn failed(&self, why: Error) {
        let mut failure = self.failure.lock();
        if failure.as_ref().is_none_or(|before| before.code() != Code::Check) {
            *failure = Some(why);
        }
    }

    /// Nothing is asked of a peer any more, in this lease and the next ones. False when it was given up already.
    fn avoid(&self, lease: &HeldLease, peer: PeerId, lied: bool) -> bool {
        let is_news = lease.give_up(peer);
        let mut avoided = self.avoided.lock();
        if avoided.contains_key(&peer) || avoided.len() + 1 < limits::AVOID {
            *avoided.entry(peer).or_default() |= lied;
        }
        is_news
    }

    /// Those that did not lie may be asked again; false when there are none.
    fn forgive(&self) -> bool {
        let mut avoided = self.avoided.lock();
        let before = avoided.len();
        avoided.retain(|_, lied| *lied);
        avoided.len() < before
    }

    /// Works under one lease until the work or the lease is done: a thread for each slot; and this one tells how far
    /// they are until the last of them has ended.
    fn round(&self, lease: &HeldLease, secret: Option<&Key>) {
        let at: Vec<String> =
            lease.slots.iter().map(|card| format!("{} at {}", card.slots, card.name)).collect();
        self.note(format!("leased {}: {}", counted(lease.size(), "slot"), at.join(", ")));
        let (ends, over) = bounded::<()>(0);
        std::thread::scope(|scope| {
            let slots = lease.slots.iter().flat_map(|card| (0..card.slots).map(move |_| card));
            for card in slots {
                let ends = ends.clone();
                let serve = move || {
                    let _ends = ends;
                    if let Err(why) = self.serve_slot(lease, card, secret) {
                        debug!("a slot of {} is given up: {why}", card.name);
                        self.failed(why);
                    }
                };
                if let Err(why) = thread::start_scoped(scope, "serve_slot", serve) {
                    // Those that have one do the work.
                    self.failed(why);
                    break;
                }
            }
            drop(ends);
            let tell_manager = |progress| lease.line.send(&ToManager::Progress(progress));
            let tell_user = |done, text, by| {
                self.tell(MultiplyEvent::SoFar { done, text, by });
                if self.question.is_stopped() {
                    lease.stop();
                }
            };
            self.products.tell_progress(&over, tell_manager, tell_user);
        });
    }
}

/// What comes of a multiply that is to stop.
fn stopped() -> Error {
    Error::failed("stopped: there is no product")
}

/// Whether what a multiply needs has been `missed` for longer than it is waited for; what was never `seen` is not.
fn is_gone(seen: bool, missed: &mut Option<Instant>, patience: Duration) -> bool {
    !seen || missed.get_or_insert_with(Instant::now).elapsed() > patience
}
