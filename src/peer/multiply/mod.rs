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
//! | a peer answers wrongly | from the portion with a wrong row on the answer is thrown away, the peer is blamed, another slot takes the product |
//! | a peer never answers | the product's deadline, which grows with its work |
//! | the manager dies | work goes on under the lease; a new lease is asked for when it is back |
//!
//! Only when `FRUITLESS_ROUNDS` leases in a row bring nothing is the multiply given up.
//!
//! # What is missing
//! A product that runs on a very slow peer is not also given to a fast one that has nothing left to do.

pub mod lease;
mod products;
mod slot;

use std::time::{Duration, Instant};

use crossbeam_channel::{Sender, bounded};
use log::debug;
use parking_lot::Mutex;

use self::lease::{HeldLease, Wait};
use self::products::Products;
pub use self::products::{Done, Tally};
use super::network::Network;
use crate::error::{Code, Error, Kind, Result};
use crate::matrix::Matrix;
use crate::matrix::freivalds::{self, Magnitudes, Verdict, Witness};
use crate::matrix::strassen::{self, Assembly, Plan};
use crate::net::limits;
use crate::net::message::{PeerCard, PeerId};
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
pub enum MultiplyEvent {
    /// It waits for slots.
    Waiting(Wait),
    /// It has slots.
    Leased(Vec<PeerCard>),
    /// Fewer slots than asked for are all there are.
    Fewer(u32),
    /// So far it is; told a few times a second.
    Tally(Tally),
    /// A product must be done again, and why.
    Redone {
        /// The product.
        product: usize,
        /// What happened.
        why: String,
    },
    /// The lease ended before the work.
    LeaseOver {
        /// Products that are done.
        done: usize,
    },
}

/// How a multiply went.
#[derive(Clone, Debug)]
pub struct MultiplyReport {
    /// From both operands, and memory for the answer, at hand to the whole answer, waiting for leases excluded.
    pub seconds: f64,
    /// Waiting for leases.
    pub wait_seconds: f64,
    /// Every product, in order.
    pub products: Vec<Done>,
}

/// What is to be multiplied, and how: operands that were looked at.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    a: &'a Matrix,
    b: &'a Matrix,
    plan: Plan,
    /// Their largest entries.
    largest: Magnitudes,
}

impl<'a> Question<'a> {
    /// Refuses matrices whose product could overflow: nobody shall be blamed for an infinity.
    ///
    /// # Errors
    /// What is wrong with them; `plan.levels()` counts.
    pub fn new(a: &'a Matrix, b: &'a Matrix, plan: Plan) -> Result<Self> {
        let largest = Magnitudes { left: a.max_abs(), right: b.max_abs() };
        check_operands(largest, &plan)?;
        Ok(Self { a, b, plan, largest })
    }

    /// How many products there are.
    pub fn products(&self) -> usize {
        self.plan.products()
    }

    /// The answer by this machine alone, on all its cores, into `c`; checked as one that came from others.
    ///
    /// # Errors
    /// When this machine computes wrongly.
    pub fn multiply_here(&self, c: &mut Matrix) -> Result<()> {
        let Self { a, b, largest, .. } = *self;
        strassen::multiply(a.view(), b.view(), c.as_mut_slice(), cores(), &|| true)?;
        if let Verdict::Wrong { row } = freivalds::check(a, b, c, largest, cores(), &mut rand::rng()) {
            return Err(Error::new(Kind::Check, format!("the product is wrong in row {row}"))
                .advise("this machine computes wrongly; test its memory"));
        }
        Ok(())
    }
}

fn check_operands(largest: Magnitudes, plan: &Plan) -> Result<()> {
    let bound = plan.bound(largest.left, largest.right);
    if !bound.is_finite() {
        return Err(Error::new(
            Code::Infeasible,
            format!("sums on the way to this product could overflow: they are bounded only by {bound:e}"),
        )
        .advise("scale the matrices down, or use fewer --levels"));
    }
    let levels = plan.levels();
    let (rows, inner, cols) = plan.shape();
    let least = rows.min(inner).min(cols);
    if levels > 2 && least < 1 << levels {
        return Err(Error::new(
            Code::Infeasible,
            format!("{levels} levels cut a side of {least} into less than single numbers"),
        )
        .advise("use fewer --levels"));
    }
    let (rows, inner, cols) = plan.block();
    let payload = 8 * (rows * inner + inner * cols).max(rows * cols) as u64;
    if payload > limits::PRODUCT {
        return Err(Error::new(Code::Infeasible, format!("one product would take {payload} bytes at once"))
            .advise("cut the matrices into smaller products with more --levels"));
    }
    Ok(())
}

/// The answer by leased peers, into `c`.
///
/// # Errors
/// `infeasible` when there is no slot to be had; a failed check when every peer lies; a plain failure when
/// no peer can be reached.
pub fn multiply(
    network: &Network,
    question: Question<'_>,
    c: &mut Matrix,
    slots: u32,
    events: Sender<MultiplyEvent>,
) -> Result<MultiplyReport> {
    let began = Instant::now();
    let (rows, inner, cols) = question.plan.block();
    let (waited, products) = if rows * inner * cols == 0 {
        // Nothing to multiply: an empty answer, or a sum of nothing.
        c.as_mut_slice().fill(0.0);
        (Duration::ZERO, Vec::new())
    } else {
        let multiplication = Multiplication::new(question, c, events);
        (multiplication.run(network, slots)?, multiplication.products.report())
    };
    let seconds = began.elapsed().saturating_sub(waited).as_secs_f64();
    Ok(MultiplyReport { seconds, wait_seconds: waited.as_secs_f64(), products })
}

/// What all threads of one multiply share.
struct Multiplication<'a> {
    plan: Plan,
    a: &'a Matrix,
    b: &'a Matrix,
    witness: Witness,
    assembly: Assembly<'a>,
    products: Products,
    /// The last failure of a slot, for the case that nothing works.
    failure: Mutex<Option<Error>>,
    events: Sender<MultiplyEvent>,
}

impl<'a> Multiplication<'a> {
    fn new(question: Question<'a>, c: &'a mut Matrix, events: Sender<MultiplyEvent>) -> Self {
        let Question { a, b, plan, largest } = question;
        // Each level may double the entries of an operand.
        let grown = 2f64.powi(plan.levels() as i32);
        let operands = Magnitudes { left: largest.left * grown, right: largest.right * grown };
        Self {
            plan,
            a,
            b,
            witness: Witness::new(plan, b, operands, cores(), &mut rand::rng()),
            assembly: Assembly::new(plan, c),
            products: Products::new(plan),
            failure: Mutex::default(),
            events,
        }
    }

    fn tell(&self, event: MultiplyEvent) {
        // Nobody may listen any more.
        let _ = self.events.send(event);
    }

    /// Works under one lease after another until all is done; gives the time that was spent waiting for them.
    fn run(&self, network: &Network, slots: u32) -> Result<Duration> {
        let products = self.plan.products();
        // More slots than products would only be kept from others.
        let slots = slots.min(products.try_into().unwrap_or(u32::MAX));
        let mut patience = Patience::new();
        let (mut waited, mut fruitless, mut done) = (Duration::ZERO, 0, 0);
        loop {
            let asked = Instant::now();
            let lease = self.lease(network, slots, &mut patience)?;
            waited += asked.elapsed();
            self.round(&lease);
            let before = std::mem::replace(&mut done, self.products.done());
            if done == products {
                return Ok(waited);
            }
            self.tell(MultiplyEvent::LeaseOver { done });
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
        }
    }

    /// Leases `slots` slots, or as many as there are.
    fn lease(&self, network: &Network, slots: u32, patience: &mut Patience) -> Result<HeldLease> {
        let mut wanted = slots;
        loop {
            let own = match patience.manager.seen {
                true => network.wait_for_number(MANAGER_PATIENCE)?,
                false => network.first_number()?,
            };
            let why = match self.ask_for_lease(network, own, wanted, patience) {
                Ok(lease) => return Ok(lease),
                Err(why) => why,
            };
            match why.leasable() {
                Some(fewer) if (1..wanted).contains(&fewer) => {
                    self.tell(MultiplyEvent::Fewer(fewer));
                    wanted = fewer;
                }
                Some(_) if patience.peers.is_over() => return Err(self.nobody_left()),
                None if patience.manager.is_over() => return Err(why),
                _ => {
                    debug!("no lease: {why}; trying again");
                    wanted = slots;
                    std::thread::sleep(ROUND_PAUSE);
                }
            }
        }
    }

    fn ask_for_lease(
        &self,
        network: &Network,
        own: PeerId,
        slots: u32,
        patience: &mut Patience,
    ) -> Result<HeldLease> {
        let others = network.standing().peers;
        let alone = !others.iter().any(|card| card.peer != own && card.slots > 0);
        let lease = HeldLease::ask(network.manager(), own, slots, &mut |wait| {
            patience.manager.is_here();
            if !alone {
                patience.peers.is_here();
            }
            self.tell(MultiplyEvent::Waiting(wait));
        })?;
        patience.manager.is_here();
        patience.peers.is_here();
        self.tell(MultiplyEvent::Leased(lease.slots().to_vec()));
        Ok(lease)
    }

    /// Why there is nobody to lease: perhaps all have lied.
    fn nobody_left(&self) -> Error {
        let lie = self.failure.lock().take().filter(|why| why.kind() == Kind::Check);
        lie.unwrap_or_else(|| {
            Error::new(Code::Infeasible, "no other peer offers a slot")
                .advise("start one with `peer serve`, or multiply with --local")
                .with_leasable(0)
        })
    }

    /// Works under one lease until the work or the lease is done, and tells how far it is.
    fn round(&self, lease: &HeldLease) {
        let (ends, over) = bounded(0);
        std::thread::scope(|scope| {
            let tell = move || {
                let tell_user = |tally| self.tell(MultiplyEvent::Tally(tally));
                self.products.tell_progress(&over, |progress| lease.progress(progress), tell_user);
            };
            if let Err(e) = thread::start_scoped(scope, "tell_progress", tell) {
                debug!("nobody is told how far this is: {e}");
            }
            self.work(lease);
            drop::<Sender<()>>(ends);
        });
    }

    /// A thread for each slot.
    fn work(&self, lease: &HeldLease) {
        std::thread::scope(|scope| {
            let slots = lease.slots().iter().flat_map(|card| (0..card.slots).map(move |_| card));
            for card in slots {
                let started = thread::start_scoped(scope, "serve_slot", move || {
                    if let Err(why) = self.serve_slot(lease, card) {
                        debug!("a slot of {} is given up: {why}", card.name);
                        *self.failure.lock() = Some(why);
                    }
                });
                if let Err(e) = started {
                    // Those that have one do the work.
                    *self.failure.lock() = Some(e);
                    break;
                }
            }
        });
    }
}

/// A multiply bears with a manager that is away, and with peers that are, if they were here before.
struct Patience {
    manager: Absence,
    peers: Absence,
}

impl Patience {
    fn new() -> Self {
        let absence = |most| Absence { most, seen: false, since: None };
        Self { manager: absence(MANAGER_PATIENCE), peers: absence(PEERS_PATIENCE) }
    }
}

struct Absence {
    most: Duration,
    seen: bool,
    since: Option<Instant>,
}

impl Absence {
    fn is_here(&mut self) {
        (self.seen, self.since) = (true, None);
    }

    /// Whether it has lasted too long.
    fn is_over(&mut self) -> bool {
        !self.seen || self.since.get_or_insert_with(Instant::now).elapsed() > self.most
    }
}
