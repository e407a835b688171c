//! This peer's link to the others, no wider than its owner allows: `--up` and `--down`.
//!
//! One token bucket ([`Limiter`]) for each direction. Every byte of a file passes through one of them: pieces that are
//! sent and received, and files that are served over HTTP. So `--up` holds for all of them together.
//!
//! A thread that has bytes to move asks again and again how many may [`pass`](Lane::pass). Where there is a limit, that
//! is a small step: so threads that send at the same time take turns, and each sees soon when its other side is gone.
//!
//! All that read files over HTTP have one place among those threads, in which they take turns
//! ([`pass_for_http`](Lane::pass_for_http)): so however many browsers read here, the swarm has half of the link.

use std::time::{Duration, Instant};

use parking_lot::{Mutex, MutexGuard};

use crate::error::{Error, Result};
use crate::share::limiter::Limiter;

/// The bytes of how long pass in one step where there is a limit. Threads take turns, and one that waits for bytes
/// gives up after [`STALL_TIME`](crate::net::limits::STALL_TIME): so 250 may send at the same time, however slow the
/// link is.
const STEP_TIME: Duration = Duration::from_millis(20);

/// The most that passes in one step where there is a limit, in bytes; the burst of a token bucket.
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
    /// Whose turn it is among the readers over HTTP, where there is a limit.
    http: Option<Mutex<()>>,
    /// The bucket's time zero.
    began: Instant,
}

impl Lane {
    /// So many bytes per second; `None` is no limit, and zero lets nothing pass.
    pub(super) fn new(rate: Option<u64>) -> Self {
        let step = rate.map_or(FREE_STEP, |rate| (rate * STEP_TIME.as_millis() as u64 / 1000).clamp(1, STEP));
        let (bucket, http) = (Mutex::new(Limiter::new(rate)), rate.map(|_| Mutex::new(())));
        Self { bucket, step, http, began: Instant::now() }
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

    /// As [`Lane::pass`], for a reader over HTTP.
    pub(crate) fn pass_for_http(&self, left: u64, gone: impl Fn() -> bool) -> Result<u64> {
        let turn = self.http.as_ref().map(Mutex::lock);
        let passed = match turn.is_some() && gone() {
            true => Err(Error::failed("the other side is gone")),
            false => self.pass(left, gone),
        };
        // To the one that has waited for longest.
        turn.into_iter().for_each(MutexGuard::unlock_fair);
        passed
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;
    use crate::net::limits;

    #[test]
    fn without_a_limit_a_megabyte_passes_at_once_and_with_one_a_step_that_waits_its_turn() {
        let (up, down) = (Lane::new(None), Lane::new(Some(4 << 20)));
        assert_eq!(up.pass(5 << 20, || false).unwrap(), FREE_STEP);
        assert_eq!(up.pass(5, || false).unwrap(), 5);
        let began = Instant::now();
        let passed: u64 = (0..4).map(|_| down.pass(1 << 20, || false).unwrap()).sum();
        assert_eq!(passed, 4 * STEP);
        let least = Duration::from_millis(3 * 1000 / 64);
        assert!(
            began.elapsed() >= least,
            "{:?}: three steps after the first one had to wait",
            began.elapsed()
        );
    }

    #[test]
    fn however_slow_the_link_nobody_of_two_hundred_waits_for_a_byte_until_it_gives_up() {
        for rate in [500, 10_000, 100_000, 1 << 20, 100 << 20] {
            let step = Lane::new(Some(rate)).step;
            assert!(200 * step <= rate * limits::STALL_TIME.as_secs(), "{step} bytes at {rate} a second");
        }
    }

    #[test]
    fn however_many_read_over_http_they_have_one_place_on_the_link() {
        let up = Lane::new(Some(STEP));
        up.bucket.lock().take(60 * STEP, up.began.elapsed());
        let mut one_waits = *up.bucket.lock();
        one_waits.take(up.step, up.began.elapsed());
        let reads = || {
            // It is there when its turn comes, and gone while it waits for the bytes.
            let looks = Cell::new(0);
            up.pass_for_http(STEP, || {
                let is_waiting = looks.replace(looks.get() + 1) > 0;
                assert!(!is_waiting || *up.bucket.lock() == one_waits);
                is_waiting
            })
        };
        std::thread::scope(|scope| {
            let readers: Vec<_> = (0..4).map(|_| scope.spawn(reads)).collect();
            readers.into_iter().for_each(|reader| assert!(reader.join().unwrap().is_err(), "it was gone"));
        });
        let before = *up.bucket.lock();
        assert!(up.pass_for_http(STEP, || true).is_err());
        assert_eq!(*up.bucket.lock(), before, "one that is gone when its turn comes takes nothing");
        assert!(Lane::new(None).http.is_none(), "without a limit nobody waits for another");
    }

    #[test]
    fn bytes_for_one_that_is_gone_are_given_back() {
        let up = Lane::new(Some(STEP));
        up.bucket.lock().take(STEP, up.began.elapsed());
        let before = *up.bucket.lock();
        assert!(up.pass(STEP, || true).is_err());
        assert_eq!(*up.bucket.lock(), before);
    }
}
