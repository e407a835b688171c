//! The token bucket: no more than so many bytes per second.
//!
//! # The problem
//! `--up 4MiB` must mean 4 MiB/s over any stretch of time, not only on average over a minute; but sending
//! single bytes on the stroke of a clock is no way to use a socket. So what was not used may be saved, a
//! little: the *burst*.
//!
//! # The rule
//! Imagine a bucket into which `rate` tokens drip every second and which holds `burst` of them. A byte
//! costs a token. In any time t no more than `burst + rate t` bytes pass.
//!
//! Here the bucket is written down as one number: the time at which everything taken so far is paid for.
//! Taking n bytes moves it on by n / rate; it may lie up to burst / rate in the past (a full bucket), and
//! as long as it lies in the future, the taker waits. So n may be larger than the burst, several threads
//! may take at once (each waits its turn behind the others), and nothing is rounded twice.
//!
//! # An example
//! 4 MiB/s, a burst of 64 KiB, a piece of 256 KiB. The bucket is full: 64 KiB are free, for the other
//! 192 KiB the sender waits 46.9 ms. Every piece after it waits 62.5 ms.
//!
//! # What is missing
//! One bucket knows nothing of fairness: a thread that asks more often gets more. Whose turn it is, the
//! [`uplink`](super::uplink) decides before.

use std::time::Duration;

/// The most that may be saved up, in bytes: what one read or write of a socket moves.
pub const BURST: u64 = 64 << 10;

/// The share of a second's bytes that may be saved up, where that is less than [`BURST`]: a tenth. A link
/// of 10 kB/s should be slow from its first second on.
const BURST_SHARE: u64 = 10;

/// A token bucket, or none: then everything passes at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limiter {
    /// Bytes per second; `None` is no limit, and zero lets nothing pass.
    rate: Option<u64>,
    /// When everything taken so far is paid for.
    paid: Duration,
}

impl Limiter {
    /// A bucket for `rate` bytes per second, full at the time zero. `None` is no limit.
    pub fn new(rate: Option<u64>) -> Self {
        Self { rate, paid: Duration::ZERO }
    }

    /// Takes `bytes`, and says how long to wait before they may pass. The time is measured from any
    /// moment, the same one every time.
    ///
    /// ```
    /// use std::time::Duration;
    /// use peerlab::share::limiter::Limiter;
    /// let mut up = Limiter::new(Some(4 << 20));
    /// let now = Duration::from_secs(1);
    /// assert_eq!(up.take(64 << 10, now), Duration::ZERO);
    /// assert_eq!(up.take(256 << 10, now), Duration::from_micros(62_500));
    /// ```
    pub fn take(&mut self, bytes: u64, now: Duration) -> Duration {
        let Some(rate) = self.rate else { return Duration::ZERO };
        let saved = time_for(BURST.min(rate / BURST_SHARE), rate);
        let from = self.paid.max(now.saturating_sub(saved));
        self.paid = from.saturating_add(time_for(bytes, rate));
        self.paid.saturating_sub(now)
    }

    /// Bytes that were taken do not pass after all.
    pub fn give_back(&mut self, bytes: u64) {
        if let Some(rate) = self.rate {
            self.paid = self.paid.saturating_sub(time_for(bytes, rate));
        }
    }
}

/// How long `bytes` take at `rate`, in whole nanoseconds, rounded up.
fn time_for(bytes: u64, rate: u64) -> Duration {
    match (bytes, rate) {
        (0, _) => Duration::ZERO,
        (_, 0) => Duration::MAX,
        _ => Duration::from_nanos_u128((u128::from(bytes) * 1_000_000_000).div_ceil(rate.into())),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const RATE: u64 = 4 << 20;
    const NOW: Duration = Duration::from_secs(10);

    #[test]
    fn a_burst_is_free_and_the_rest_waits() {
        let mut bucket = Limiter::new(Some(RATE));
        assert_eq!(bucket.take(256 << 10, NOW), Duration::from_micros(46_875));
        assert_eq!(bucket.take(256 << 10, NOW), Duration::from_micros(46_875 + 62_500), "behind the first");
    }

    #[test]
    fn no_more_than_a_burst_is_saved_up_however_long_nothing_was_sent() {
        let mut bucket = Limiter::new(Some(RATE));
        bucket.take(1, NOW);
        let later = NOW + Duration::from_secs(3600);
        assert_eq!(bucket.take(BURST, later), Duration::ZERO);
        assert!(bucket.take(1, later) > Duration::ZERO);
    }

    #[test]
    fn a_slow_link_saves_a_tenth_of_a_second() {
        let mut bucket = Limiter::new(Some(10_000));
        assert_eq!(bucket.take(1_000, NOW), Duration::ZERO);
        assert_eq!(bucket.take(1_000, NOW), Duration::from_millis(100));
    }

    #[test]
    fn without_a_limit_nothing_waits_and_at_rate_zero_everything_does() {
        assert_eq!(Limiter::new(None).take(u64::MAX, NOW), Duration::ZERO);
        let mut dead = Limiter::new(Some(0));
        assert_eq!(dead.take(0, NOW), Duration::ZERO, "but nothing");
        assert!(dead.take(1, NOW) > Duration::from_secs(1 << 40));
        assert!(dead.take(1, NOW) > Duration::from_secs(1 << 40), "and does not overflow");
        assert!(Limiter::new(Some(1)).take(u64::MAX, NOW) > Duration::from_secs(1 << 60));
    }

    proptest! {
        /// Takers that wait as they are told, and rest now and then.
        #[test]
        fn in_any_stretch_of_time_no_more_than_the_burst_and_the_rate_pass(
            rate in 1_000..100_000_000_u64,
            takes in prop::collection::vec((1..600_000_u64, 0..50_u64), 1..50),
        ) {
            let mut bucket = Limiter::new(Some(rate));
            let mut now = NOW;
            // (when they passed, how many)
            let mut passed: Vec<(Duration, u64)> = Vec::new();
            for (bytes, rest) in takes {
                now += bucket.take(bytes, now);
                passed.push((now, bytes));
                for (i, &(since, _)) in passed.iter().enumerate() {
                    let sent: u64 = passed[i + 1..].iter().map(|&(_, bytes)| bytes).sum();
                    let allowed = BURST as f64 + rate as f64 * (now - since).as_secs_f64() + 1.0;
                    prop_assert!(sent as f64 <= allowed, "{sent} bytes in {:?}", now - since);
                }
                now += Duration::from_millis(rest);
            }
        }

        /// The limit is not a brake: a thread that always takes again gets the whole rate.
        #[test]
        fn who_waits_no_longer_than_told_gets_the_whole_rate(rate in 1_000..100_000_000_u64) {
            let mut bucket = Limiter::new(Some(rate));
            let mut now = NOW;
            for _ in 0..100 {
                now += bucket.take(100_000, now);
            }
            let full = 100.0 * 100_000.0 / rate as f64;
            prop_assert!((now - NOW).as_secs_f64() <= full * 1.001);
        }
    }

    #[test]
    fn what_is_given_back_is_there_for_others() {
        let mut up = Limiter::new(Some(1 << 20));
        let now = Duration::from_secs(1);
        up.take(64 << 10, now);
        assert_eq!(up.take(1 << 20, now), Duration::from_secs(1));
        up.give_back(1 << 20);
        assert_eq!(up.take(1 << 19, now), Duration::from_millis(500));
        Limiter::new(None).give_back(1);
    }
}
