//! What becomes of each product of a multiply: one table. What a slot does next, and what the board, the bar and the
//! report say, are views of it.
//!
//! # The rules
//! - A product *waits*; it is *sent* while its operands are on their way; it is being *computed* until its answer has
//!   come; it is *checked* when the answer was found right, and then it is done, once.
//! - Each slot takes the next product when it is free, so a fast peer does more of them.
//! - One that failed waits again, and its count of attempts stays. The lowest number that waits is next: so one that
//!   failed comes before all that were never begun.
//! - While another slot might still fail, a slot that finds nothing to do waits instead of leaving, also when its lease
//!   is over. And it does not wait for ever: a peer that takes more than [`OVERTAKE`] times as long as the slowest
//!   answer, and than [`LEAST`], is given up, and others do its products.
//! - A slot holds its product as an [`Attempt`]. Unless it is finished it goes back to the others, also when the slot's
//!   thread panics: they wait for it.
//!
//! # The Condvar
//! A slot waits for "one product was given back, or checked". It looks for work and begins to wait under one lock; an
//! attempt ends under that lock, and notifies afterwards: so no end falls between the look and the wait, but where a
//! peer is given up in between: so a slot looks again every [`PAUSE`]. The lock is alone: whether the lease still runs
//! is looked at before it is taken, and again after each wait.
//!
//! # What is told
//! The table changes thousands of times a second where products are small, and an eye cannot see that. So the thread
//! that waits for the slots looks at it every [`PAUSE`] and sends all of it to the manager if it has changed: the first
//! time at once, and once more at the end. No slot waits for it.
//!
//! # What is missing
//! Of more than [`limits::PRODUCTS`] products (four levels and more) only the first are told to the manager; of the
//! others, how many there are, and how many of all are not checked yet.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::{Condvar, Mutex, MutexGuard};
use serde::Serialize;

use crate::matrix::strassen::Plan;
use crate::net::limits;
use crate::net::message::{PeerCard, PeerId, ProductStage, ProductState, Progress};

/// The least time between two messages of one multiply.
const PAUSE: Duration = Duration::from_millis(250);

/// How much longer than the slowest answer a peer may take while a slot of another has nothing to do.
const OVERTAKE: u32 = 3;

/// What it may take at least.
const LEAST: Duration = Duration::from_millis(1500);

/// One product.
#[derive(Default)]
struct ProductRow {
    stage: ProductStage,
    /// Its answer begins to come. Only the bar tells this moment; on the wire it is still `computing`.
    computed: bool,
    /// Who has it now, or had it last.
    peer: Option<Arc<PeerCard>>,
    /// How often it was begun, and when last.
    attempts: u32,
    began: Option<Instant>,
    /// How long the attempt took that brought the answer.
    seconds: f64,
}

impl ProductRow {
    fn is_running(&self) -> bool {
        matches!(self.stage, ProductStage::Sent | ProductStage::Computing)
    }
}

struct Rows {
    all: Vec<ProductRow>,
    /// No product below this one waits.
    lowest: usize,
    /// Why the last ones had to be done again.
    again: VecDeque<(u32, String)>,
}

impl Rows {
    fn take(&mut self, peer: &Arc<PeerCard>, now: Instant) -> Option<usize> {
        let waits = |row: &ProductRow| row.stage == ProductStage::Waiting;
        let product = self.lowest + self.all[self.lowest..].iter().position(waits)?;
        self.lowest = product + 1;
        let (peer, attempts) = (Some(Arc::clone(peer)), self.all[product].attempts + 1);
        let (stage, began) = (ProductStage::Sent, Some(now));
        self.all[product] = ProductRow { stage, peer, attempts, began, ..ProductRow::default() };
        Some(product)
    }

    /// A peer but this one that takes too long.
    fn straggler(&self, but: PeerId, now: Instant) -> Option<Arc<PeerCard>> {
        let slowest = self.all.iter().map(|row| row.seconds).fold(0.0, f64::max);
        let limit = LEAST.max(Duration::from_secs_f64(slowest) * OVERTAKE);
        let late = |began| now.saturating_duration_since(began) > limit;
        let late = |row: &&ProductRow| row.is_running() && row.began.is_some_and(late);
        let mut peers = self.all.iter().filter(late).filter_map(|row| row.peer.as_ref());
        peers.find(|card| slowest > 0.0 && card.peer != but).cloned()
    }
}

/// One product, as it was done in the end.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Done {
    /// Its number in the plan.
    pub(crate) product: usize,
    /// The name of the peer that computed it.
    pub(crate) peer: String,
    /// From its first byte sent to its answer checked and added.
    pub(crate) seconds: f64,
    /// Bytes of its operands.
    pub(crate) bytes_out: u64,
    /// Bytes of its answer.
    pub(crate) bytes_in: u64,
    /// How often it was begun.
    pub(crate) attempts: u32,
}

/// All products of one multiply.
pub(super) struct Products {
    plan: Plan,
    /// Since when it is told how far they are: with the first lease.
    began: OnceLock<Instant>,
    rows: Mutex<Rows>,
    changed: Condvar,
}

impl Products {
    /// None is begun.
    pub(super) fn new(plan: Plan) -> Self {
        let all = (0..plan.products()).map(|_| ProductRow::default()).collect();
        Self {
            plan,
            began: OnceLock::new(),
            rows: Mutex::new(Rows { all, lowest: 0, again: VecDeque::new() }),
            changed: Condvar::new(),
        }
    }

    /// The next product for a slot of this peer; if there is none, waits until something changes, and has a peer given
    /// up that takes too long. `None` when nothing is left. A slot that may not begin another one waits for those that
    /// others have begun: one of their peers may be late, too.
    pub(super) fn next(
        &self,
        peer: &Arc<PeerCard>,
        may_begin: impl Fn() -> bool,
        give_up: impl Fn(&PeerCard),
    ) -> Option<Attempt<'_>> {
        loop {
            let (may_begin, now) = (may_begin(), Instant::now());
            let mut rows = self.rows.lock();
            if may_begin && let Some(product) = rows.take(peer, now) {
                return Some(Attempt { products: self, product, began: now });
            }
            if !rows.all.iter().any(ProductRow::is_running) {
                return None;
            }
            if let Some(late) = rows.straggler(peer.peer, now) {
                MutexGuard::unlocked(&mut rows, || give_up(&late));
            }
            let asleep = Instant::now();
            self.changed.wait_for(&mut rows, PAUSE);
            if asleep.elapsed() > PAUSE * 4 {
                // It was this program that was stopped: others are not late for that.
                rows.all.iter_mut().for_each(|row| row.began = row.began.map(|_| Instant::now()));
            }
        }
    }

    /// Tells how far all is until `over` is disconnected, and then what is left.
    pub(super) fn tell_progress(
        &self,
        over: &Receiver<()>,
        tell_manager: impl Fn(Progress),
        tell_user: impl Fn(usize, String, String),
    ) {
        let began = self.began.get_or_init(Instant::now);
        let (mut told, mut ended) = (None, false);
        loop {
            let progress = self.progress();
            if told.as_ref() != Some(&progress) {
                let age_ms = began.elapsed().as_millis() as u64;
                tell_manager(Progress { age_ms, ..progress.clone() });
                told = Some(progress);
            }
            let (done, text, by) = self.summary();
            tell_user(done, text, by);
            if ended {
                return;
            }
            ended = over.recv_timeout(PAUSE) == Err(RecvTimeoutError::Disconnected);
        }
    }

    /// How far each is, for the manager's board; its age is not told here.
    fn progress(&self) -> Progress {
        let (rows, inner, cols) = self.plan.shape();
        let told = |(product, row): (usize, &ProductRow)| ProductState {
            product: product as u32,
            peer: row.peer.as_ref().map_or(0, |card| card.peer),
            state: row.stage,
            attempts: row.attempts,
        };
        let table = self.rows.lock();
        let products = table.all.iter().take(limits::PRODUCTS).enumerate().map(told).collect();
        let again = table.again.iter().cloned().collect();
        let unchecked = table.all.iter().filter(|row| row.stage != ProductStage::Checked).count();
        let (rows, inner, cols) = (rows as u64, inner as u64, cols as u64);
        Progress { rows, inner, cols, products, all: table.all.len(), unchecked, age_ms: 0, again }
    }

    /// How many are done; and for the bar "sent 7, computed 5, checked 4", and by whom: " (ada 2, ben 2)".
    pub(super) fn summary(&self) -> (usize, String, String) {
        let rows = self.rows.lock();
        let (mut sent, mut computed, mut by) = (0, 0, BTreeMap::new());
        for row in &rows.all {
            sent += usize::from(row.stage >= ProductStage::Computing);
            computed += usize::from(row.computed);
            if let (ProductStage::Checked, Some(card)) = (row.stage, &row.peer) {
                *by.entry(&card.name).or_insert(0) += 1;
            }
        }
        let checked = by.values().sum();
        let by: Vec<String> = by.iter().map(|(name, count)| format!("{name} {count}")).collect();
        let by = if by.is_empty() { String::new() } else { format!(" ({})", by.join(", ")) };
        (checked, format!("sent {sent}, computed {computed}, checked {checked}"), by)
    }

    /// What is told of a multiply that is done.
    pub(super) fn report(self) -> Vec<Done> {
        let (rows, inner, cols) = self.plan.block();
        let done = |(product, row): (usize, ProductRow)| Done {
            product,
            peer: row.peer.map(|card| card.name.to_string()).unwrap_or_default(),
            seconds: row.seconds,
            bytes_out: 8 * (rows * inner + inner * cols) as u64,
            bytes_in: 8 * (rows * cols) as u64,
            attempts: row.attempts,
        };
        self.rows.into_inner().all.into_iter().enumerate().map(done).collect()
    }
}

/// A product that a slot has begun.
pub(super) struct Attempt<'p> {
    products: &'p Products,
    /// Its number in the plan.
    pub(super) product: usize,
    began: Instant,
}

impl Attempt<'_> {
    /// The operands are at the peer.
    pub(super) fn sent(&self) {
        self.products.rows.lock().all[self.product].stage = ProductStage::Computing;
    }

    /// The answer begins to come.
    pub(super) fn computed(&self) {
        self.products.rows.lock().all[self.product].computed = true;
    }

    /// It came to nothing, and must be done again.
    pub(super) fn failed(&self, why: String) {
        let again = &mut self.products.rows.lock().again;
        again.truncate(limits::REDONE - 1);
        again.push_front((self.product as u32, why));
    }

    /// The answer is right and part of C.
    pub(super) fn finish(self) {
        let row = &mut self.products.rows.lock().all[self.product];
        (row.stage, row.seconds) = (ProductStage::Checked, self.began.elapsed().as_secs_f64());
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut rows = self.products.rows.lock();
        let row = &mut rows.all[self.product];
        if row.stage != ProductStage::Checked {
            (row.stage, row.computed) = (ProductStage::Waiting, false);
            rows.lowest = rows.lowest.min(self.product);
        }
        drop(rows);
        self.products.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use crossbeam_channel::{bounded, unbounded};

    use super::*;
    use crate::net::message::Name;

    /// Of `levels` levels, for a product of 4 x 5 by 5 x 6.
    fn products(levels: u32) -> Products {
        Products::new(Plan::new(4, 5, 6, levels))
    }

    fn peer(number: u64) -> Arc<PeerCard> {
        let name = Name::try_from(format!("p{number}")).unwrap();
        Arc::new(PeerCard { peer: number, name, addr: ([127, 0, 0, 1], 1).into(), slots: 1, key: None })
    }

    #[track_caller]
    fn takes<'p>(products: &'p Products, by: &Arc<PeerCard>) -> Attempt<'p> {
        products.next(by, || true, |_| {}).expect("nothing is left")
    }

    fn told(products: &Products, product: usize) -> (u64, ProductStage, u32) {
        let row = products.progress().products[product];
        (row.peer, row.state, row.attempts)
    }

    #[test]
    fn who_has_nothing_to_do_has_a_peer_given_up_that_takes_much_longer_than_all_others() {
        let products = products(1);
        let (ada, ben) = (peer(1), peer(2));
        (0..6).for_each(|_| takes(&products, &ada).finish());
        let product = 6;
        // Also when the lease is over.
        for may_begin in [false, true] {
            let stuck = Mutex::new(Some(takes(&products, &ben)));
            let now = Instant::now();
            products.rows.lock().all[product].began = now.checked_sub(LEAST * 2);
            assert!(products.rows.lock().straggler(ben.peer, now).is_none(), "its own slots wait for it");
            let give_up = |late: &PeerCard| {
                assert_eq!(late.peer, 2);
                drop(stuck.lock().take().expect("it is given up once"));
            };
            let next = products.next(&ada, || may_begin, give_up);
            assert!(stuck.lock().is_none(), "may begin: {may_begin}");
            assert_eq!(next.map(|it| it.product), may_begin.then_some(product));
        }
    }

    #[test]
    fn a_failed_product_is_next_for_the_slot_that_is_free_next_and_its_attempts_are_counted() {
        let (products, ada, ben) = (products(1), peer(11), peer(12));
        assert_eq!(told(&products, 1), (0, ProductStage::Waiting, 0));
        let (zero, one) = (takes(&products, &ada), takes(&products, &ada));
        assert_eq!((zero.product, one.product), (0, 1));
        assert_eq!(told(&products, 1), (11, ProductStage::Sent, 1));
        one.sent();
        drop(one);
        assert_eq!(told(&products, 1), (11, ProductStage::Waiting, 1));
        let one = takes(&products, &ben);
        assert_eq!(one.product, 1, "before those that were never begun");
        one.sent();
        assert_eq!(told(&products, 1), (12, ProductStage::Computing, 2));
        one.computed();
        one.finish();
        assert_eq!(told(&products, 1), (12, ProductStage::Checked, 2));
        assert_eq!(products.summary(), (1, "sent 1, computed 1, checked 1".into(), " (p12 1)".into()));
        zero.finish();
        (2..7).for_each(|_| takes(&products, &ada).finish());
        assert!(products.next(&ada, || true, |_| {}).is_none());
        assert_eq!(products.summary().0, 7);
        let report = products.report();
        assert_eq!((report[1].product, &*report[1].peer, report[1].attempts), (1, "p12", 2));
    }

    #[test]
    fn a_slot_without_work_waits_for_the_others_and_one_that_panics_gives_its_product_back() {
        let (products, ada) = (products(0), peer(11));
        let only = takes(&products, &ada);
        std::thread::scope(|scope| {
            let waits = scope.spawn(|| takes(&products, &ada).finish());
            let panics = scope.spawn(move || {
                let _only = only;
                panic!("on purpose");
            });
            assert!(panics.join().is_err());
            waits.join().unwrap();
        });
        assert_eq!(told(&products, 0), (11, ProductStage::Checked, 2));
    }

    #[test]
    fn of_many_products_the_first_are_told() {
        let progress = products(4).progress();
        assert_eq!((progress.rows, progress.inner, progress.cols), (4, 5, 6));
        assert_eq!(progress.products.len(), limits::PRODUCTS);
        assert_eq!((progress.all, progress.unchecked), (2401, 2401), "all are counted");
    }

    #[test]
    fn products_that_are_not_told_one_by_one_keep_a_multiply_from_being_done() {
        let (products, ada) = (products(4), peer(11));
        (0..2400).for_each(|_| takes(&products, &ada).finish());
        let progress = products.progress();
        assert!(progress.products.iter().all(|product| product.state == ProductStage::Checked));
        assert!(progress.unchecked == 1 && !progress.is_done());
        takes(&products, &ada).finish();
        assert!(products.progress().is_done());
    }

    #[test]
    fn however_often_it_changes_it_is_told_four_times_a_second_and_at_the_end() {
        let products = products(0);
        let (ends, over) = bounded::<()>(0);
        let (tell, told) = unbounded();
        let began = Instant::now();
        std::thread::scope(|scope| {
            let products = &products;
            scope.spawn(move || {
                products.tell_progress(&over, |news| tell.send(news).unwrap(), |_, _, _| ());
            });
            while told.len() < 3 {
                drop(takes(products, &peer(11)));
            }
            takes(products, &peer(11)).finish();
            drop(ends);
        });
        let told: Vec<Progress> = told.into_iter().collect();
        let most = began.elapsed().as_millis() / PAUSE.as_millis() + 2;
        assert!(told.len() as u128 <= most, "told {} times, {most} are allowed", told.len());
        assert_eq!(told.last().unwrap().products[0].state, ProductStage::Checked);
    }

    #[test]
    fn what_has_not_changed_is_not_told_twice() {
        let products = products(1);
        let (ends, over) = bounded::<()>(0);
        let (tell, told) = unbounded();
        let (look, looks) = unbounded();
        std::thread::scope(|scope| {
            let products = &products;
            scope.spawn(move || {
                products.tell_progress(
                    &over,
                    |news| tell.send(news).unwrap(),
                    |_, _, _| look.send(()).unwrap(),
                );
            });
            (0..2).for_each(|_| looks.recv().unwrap());
            drop(ends);
        });
        assert_eq!(told.len(), 1);
    }
}
