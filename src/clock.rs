//! The time, for those who wait. Those who think are told it.
//!
//! Leases end and peers fall silent by the clock, so a clock that jumps would end them all at once. This
//! one reads the machine's time of day once, at its start, and counts steadily from there.

use std::time::{Duration, Instant};

/// Milliseconds since 1970.
pub type Millis = u64;

/// Milliseconds since 1970 that never run backwards, whatever is done to the machine's time of day.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    start_since_1970: Duration,
}

impl Clock {
    /// A clock that starts at the machine's time of day.
    pub fn start() -> Self {
        let since_1970 = std::time::UNIX_EPOCH.elapsed().unwrap_or_default();
        Self { start: Instant::now(), start_since_1970: since_1970 }
    }

    /// The time now.
    pub fn now(&self) -> Millis {
        (self.start_since_1970 + self.start.elapsed()).as_millis() as Millis
    }

    /// The time of the start, in microseconds: where the numbers of peers and leases begin.
    pub fn first_number(&self) -> u64 {
        self.start_since_1970.as_micros() as u64
    }
}
