//! How far each product of a multiply is, told to the manager for the board.
//!
//! # The rule
//! A product waits; it is *sent* while its operands are on their way; it is being *computed* until its answer
//! has come; it is *checked* when the answer was found right. One that fails waits again, and its count of
//! attempts stays.
//!
//! The table changes thousands of times a second where products are small, and the board cannot show that.
//! So one thread, `tell_progress`, looks at it every [`PAUSE`] and sends the whole of it if it has changed:
//! the first time at once, and once more at the end. Nobody waits for it, and it waits for nobody.
//!
//! # What is missing
//! Of more than [`limits::PRODUCTS`] products (four levels and more) only the first are told.

use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use parking_lot::Mutex;

use crate::net::limits;
use crate::net::message::{PeerId, ProductStage, ProductState, Progress};

/// The least time between two messages of one multiply.
pub const PAUSE: Duration = Duration::from_millis(250);

/// The stages of all products of one multiply.
#[derive(Debug)]
pub struct Stages {
    /// Rows of the left matrix, columns of it, columns of the right one.
    shape: (u64, u64, u64),
    table: Mutex<Table>,
}

#[derive(Debug)]
struct Table {
    products: Vec<ProductState>,
    changed: bool,
}

impl Stages {
    /// All of `products` products of a multiply of this shape, none begun.
    pub fn new(shape: (usize, usize, usize), products: usize) -> Self {
        let waiting = |product| ProductState { product, peer: 0, state: ProductStage::Waiting, attempts: 0 };
        let products = (0..products.min(limits::PRODUCTS) as u32).map(waiting).collect();
        let shape = (shape.0 as u64, shape.1 as u64, shape.2 as u64);
        Self { shape, table: Mutex::new(Table { products, changed: true }) }
    }

    /// A product is given to a peer.
    pub fn begun(&self, product: usize, peer: PeerId) {
        self.change(product, |row| {
            *row = ProductState { peer, state: ProductStage::Sent, attempts: row.attempts + 1, ..*row };
        });
    }

    /// A product is at this stage now.
    pub fn reached(&self, product: usize, stage: ProductStage) {
        self.change(product, |row| row.state = stage);
    }

    fn change(&self, product: usize, change: impl FnOnce(&mut ProductState)) {
        let mut table = self.table.lock();
        if let Some(row) = table.products.get_mut(product) {
            change(row);
            table.changed = true;
        }
    }

    /// Everything, if it has changed since it was asked for last.
    pub fn news(&self) -> Option<Progress> {
        let mut table = self.table.lock();
        if !std::mem::take(&mut table.changed) {
            return None;
        }
        let (rows, inner, cols) = self.shape;
        Some(Progress { rows, inner, cols, products: table.products.clone() })
    }

    /// A new lease hears everything, whatever the last one was told.
    pub fn tell_again(&self) {
        self.table.lock().changed = true;
    }

    /// Tells the news until `over` is disconnected, and then what is left.
    pub fn tell_progress(&self, over: &Receiver<()>, tell: impl Fn(Progress)) {
        loop {
            if let Some(news) = self.news() {
                tell(news);
            }
            if over.recv_timeout(PAUSE) == Err(RecvTimeoutError::Disconnected) {
                return self.news().into_iter().for_each(tell);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use crossbeam_channel::{bounded, unbounded};

    use super::*;

    fn stage(stages: &Stages, product: usize) -> (PeerId, ProductStage, u32) {
        let row = stages.table.lock().products[product];
        (row.peer, row.state, row.attempts)
    }

    #[test]
    fn a_product_that_fails_waits_again_and_its_attempts_are_counted() {
        let stages = Stages::new((4, 5, 6), 7);
        assert_eq!(stage(&stages, 3), (0, ProductStage::Waiting, 0));
        stages.begun(3, 11);
        assert_eq!(stage(&stages, 3), (11, ProductStage::Sent, 1));
        stages.reached(3, ProductStage::Computing);
        stages.reached(3, ProductStage::Waiting);
        assert_eq!(stage(&stages, 3), (11, ProductStage::Waiting, 1));
        stages.begun(3, 12);
        stages.reached(3, ProductStage::Checked);
        assert_eq!(stage(&stages, 3), (12, ProductStage::Checked, 2));
    }

    #[test]
    fn what_has_not_changed_is_not_told_twice() {
        let stages = Stages::new((4, 5, 6), 7);
        let first = stages.news().expect("the beginning is news");
        assert_eq!((first.rows, first.inner, first.cols, first.products.len()), (4, 5, 6, 7));
        assert_eq!(stages.news(), None);
        stages.begun(0, 11);
        assert_eq!(stages.news().expect("a change").products[0].peer, 11);
        stages.tell_again();
        assert!(stages.news().is_some());
    }

    #[test]
    fn of_many_products_the_first_are_told() {
        let stages = Stages::new((4, 4, 4), 2401);
        stages.begun(2400, 11);
        assert_eq!(stages.news().expect("the beginning is news").products.len(), limits::PRODUCTS);
    }

    #[test]
    fn however_often_it_changes_it_is_told_four_times_a_second_and_at_the_end() {
        let stages = Stages::new((4, 4, 4), 1);
        let (ends, over) = bounded::<()>(0);
        let (tell, told) = unbounded();
        let began = Instant::now();
        std::thread::scope(|scope| {
            let stages = &stages;
            scope.spawn(move || stages.tell_progress(&over, |news| tell.send(news).unwrap()));
            while told.len() < 3 {
                stages.begun(0, 11);
            }
            stages.reached(0, ProductStage::Checked);
            drop(ends);
        });
        let told: Vec<Progress> = told.into_iter().collect();
        let most = began.elapsed().as_millis() / PAUSE.as_millis() + 2;
        assert!(told.len() as u128 <= most, "told {} times, {most} are allowed", told.len());
        assert_eq!(told.last().unwrap().products[0].state, ProductStage::Checked);
    }
}
