//! This peer's link to the others, no wider than its owner allows: `--up` and `--down`.
//!
//! One token bucket ([`Limiter`]) for each direction. Every byte of a file passes through one of them: pieces that are
//! sent and received, and files that are served over HTTP. So `--up` holds for all of them together.
//!
//! A thread that has bytes to move asks again and again how many may [`pass`](Lane::pass). Where there is a limit, that
//! is a small step: so threads that send at the same time take turns, and each sees soon when its other side is gone.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::share::limiter::Limiter;

/// What passes in one step where there is a limit, in bytes; the burst of a token bucket.
const STEP: u64 = 64 << 10;

/// What passes in one step where there is none.
const FREE_STEP: u64 = 1 << 20;

/// The longest sleep before it is seen whether the bytes still matter.
const NAP: Duration = Duration::from_millis(100);

/// One direction of the link.
#[derive(Debug)]
pub(crate) struct Lane {
    bucket: Mutex<Limiter>,
    step: u64,
    /// The bucket's time zero.
    began: Instant,
}

impl Lane {
    /// So many bytes per second; `None` is no limit, and zero lets nothing pass.
    pub(super) fn new(rate: Option<u64>) -> Self {
        let step = if rate.is_some() { STEP } else { FREE_STEP };
        Self { bucket: Mutex::new(Limiter::new(rate)), step, began: Instant::now() }
    }

    /// Waits until some of `left` bytes may pass, and says how many.
    ///
    /// # Errors
    /// When the other side is gone meanwhile.
    pub(crate) fn pass(&self, left: u64, gone: impl Fn() -> bool) -> Result<u64> {
        let bytes = left.min(self.step);
        let mut wait = self.bucket.lock().take(bytes, self.began.elapsed());
        while !wait.is_zero() {
            let nap = wait.min(NAP);
            std::thread::sleep(nap);
            wait -= nap;
            if !wait.is_zero() && gone() {
                self.bucket.lock().give_back(bytes);
                return Err(Error::failed("the other side is gone"));
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_limit_a_megabyte_passes_at_once_and_with_one_a_step_that_waits_its_turn() {
        let (up, down) = (Lane::new(None), Lane::new(Some(1 << 20)));
        assert_eq!(up.pass(5 << 20, || false).unwrap(), FREE_STEP);
        assert_eq!(up.pass(5, || false).unwrap(), 5);
        let began = Instant::now();
        let passed: u64 = (0..4).map(|_| down.pass(1 << 20, || false).unwrap()).sum();
        assert_eq!(passed, 4 * STEP);
        let least = Duration::from_millis(3 * 1000 / 16);
        assert!(
            began.elapsed() >= least,
            "{:?}: three steps after the first one had to wait",
            began.elapsed()
        );
    }

    #[test]
    fn bytes_for_one_that_is_gone_are_given_back() {
        let up = Lane::new(Some(STEP));
        assert!(up.pass(STEP, || true).is_err());
        let wait = up.bucket.lock().take(1, up.began.elapsed());
        assert!(wait < Duration::from_millis(500), "{wait:?}: a second's bytes are not owed");
    }
}
