//! Which product is computed by whom: the requester's side of the work, as plain state.
//!
//! # The rules
//! - Each slot takes the next product when it is free, so a fast peer does more of them.
//! - A product that failed goes to the front again, for whichever slot is free next.
//! - A product counts as done once, when its answer was checked.
//! - While another slot might still fail, a slot that finds nothing to do waits instead of leaving.

use std::collections::VecDeque;

/// What a slot is to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Compute this product.
    Product(usize),
    /// Wait: everything left is being computed by others.
    Wait,
    /// Nothing is left.
    Done,
}

/// The products of one multiply.
#[derive(Debug)]
pub struct Tasks {
    open: VecDeque<usize>,
    running: usize,
    done: usize,
    attempts: Vec<u32>,
}

impl Tasks {
    /// All of `products` products, none begun.
    pub fn new(products: usize) -> Self {
        Self { open: (0..products).collect(), running: 0, done: 0, attempts: vec![0; products] }
    }

    /// What a free slot is to do.
    pub fn take(&mut self) -> Next {
        match self.open.pop_front() {
            Some(product) => {
                self.running += 1;
                self.attempts[product] += 1;
                Next::Product(product)
            }
            None if self.running > 0 => Next::Wait,
            None => Next::Done,
        }
    }

    /// A product's answer was checked and is right.
    pub fn finished(&mut self) {
        self.running -= 1;
        self.done += 1;
    }

    /// A product got no answer, or a wrong one.
    pub fn failed(&mut self, product: usize) {
        self.running -= 1;
        self.open.push_front(product);
    }

    /// How many products are done.
    pub fn done(&self) -> usize {
        self.done
    }

    /// Whether all products are done.
    pub fn all_done(&self) -> bool {
        self.done == self.attempts.len()
    }

    /// How often a product was begun.
    pub fn attempts(&self, product: usize) -> u32 {
        self.attempts[product]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failed_product_is_done_by_whoever_is_free_next() {
        let mut tasks = Tasks::new(2);
        assert_eq!([tasks.take(), tasks.take()], [Next::Product(0), Next::Product(1)]);
        assert_eq!(tasks.take(), Next::Wait, "one of the two may still fail");
        tasks.failed(0);
        tasks.finished();
        assert_eq!(tasks.take(), Next::Product(0));
        assert_eq!((tasks.attempts(0), tasks.attempts(1)), (2, 1));
        tasks.finished();
        assert_eq!(tasks.take(), Next::Done);
        assert!(tasks.all_done());
    }
}
