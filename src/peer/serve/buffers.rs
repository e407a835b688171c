//! A serving peer's memory for operands and answers, used again.
//!
//! The system hands out memory in pages that it must clear first. For a product of two 2048 x 2048 blocks
//! that is 100 MB, and finding and clearing them takes a good part of the time of multiplying them. So what one product leaves,
//! the next one takes, and only what nobody has wanted for a while goes back to the system.
//!
//! Operands are read and written from one end to the other, on any pages. A product is added up in tiles,
//! each of which lies on as many pages as it has rows: it wants few large ones ([`Buffers::on_huge_pages`]).
//!
//! A buffer holds what its last user left in it. Whoever takes one writes all of it before reading any.

use std::ops::{Deref, DerefMut};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::{Code, Error, Result};
use crate::matrix::Matrix;

/// How long a buffer that nobody wants is kept: as long as somebody may take to look at one product and ask for the
/// next.
const KEEP: Duration = Duration::from_secs(120);

/// Buffers in use and to spare, which together take no more than a budget.
#[derive(Debug)]
pub struct Buffers {
    /// In numbers.
    budget: usize,
    huge_pages: bool,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// The numbers in all buffers, in use or not.
    numbers: usize,
    /// Buffers that nobody uses now, each with the time since when.
    spare: Vec<(Vec<f64>, Instant)>,
}

impl Buffers {
    /// For buffers of `bytes` in all. Who asks for one more is told `busy`.
    pub fn of(bytes: u64) -> Self {
        let budget = usize::try_from(bytes / 8).unwrap_or(usize::MAX);
        Self { budget, huge_pages: false, state: Mutex::default() }
    }

    /// For one part in so many of this machine's memory.
    pub fn of_this_machine(parts: u64) -> Self {
        let memory = rustix::system::sysinfo();
        Self::of(memory.totalram as u64 * u64::from(memory.mem_unit) / parts)
    }

    /// The same, each buffer on huge pages where the system has them.
    #[must_use]
    pub fn on_huge_pages(self) -> Self {
        Self { huge_pages: true, ..self }
    }

    /// A buffer of `len` numbers, whatever they are.
    ///
    /// # Errors
    /// `busy` when there is no memory for it.
    pub fn take(&self, len: usize) -> Result<Buffer<'_>> {
        let mut state = self.state.lock();
        let fits = |(_, (numbers, _)): &(usize, &(Vec<f64>, Instant))| numbers.capacity() >= len;
        let smallest =
            state.spare.iter().enumerate().filter(fits).min_by_key(|(_, (numbers, _))| numbers.capacity());
        let numbers = match smallest.map(|(place, _)| place) {
            Some(place) => {
                let (mut numbers, _) = state.spare.swap_remove(place);
                numbers.resize(len, 0.0);
                numbers
            }
            None => {
                let no_memory = || {
                    Error::new(Code::Busy, format!("no memory for a block of {len} numbers"))
                        .advise("cut the product into smaller ones with more --levels")
                };
                // What is too small for this one makes room for it.
                while state.numbers.saturating_add(len) > self.budget {
                    let (spare, _) = state.spare.pop().ok_or_else(no_memory)?;
                    state.numbers -= spare.capacity();
                }
                let fresh = Matrix::try_zeros(1, len).map_err(|e| no_memory().because(e))?;
                let numbers = if self.huge_pages { fresh.on_huge_pages() } else { fresh }.into_vec();
                state.numbers += numbers.capacity();
                numbers
            }
        };
        Ok(Buffer { home: self, numbers })
    }

    /// Gives back to the system what nobody has wanted for `KEEP`.
    pub fn tidy(&self) {
        let mut state = self.state.lock();
        let before: usize = state.spare.iter().map(|(numbers, _)| numbers.capacity()).sum();
        state.spare.retain(|(_, since)| since.elapsed() < KEEP);
        let after: usize = state.spare.iter().map(|(numbers, _)| numbers.capacity()).sum();
        state.numbers -= before - after;
    }
}

/// A buffer that is in use until it is dropped.
#[derive(Debug)]
pub struct Buffer<'a> {
    home: &'a Buffers,
    numbers: Vec<f64>,
}

impl Deref for Buffer<'_> {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        &self.numbers
    }
}

impl DerefMut for Buffer<'_> {
    fn deref_mut(&mut self) -> &mut [f64] {
        &mut self.numbers
    }
}

impl Drop for Buffer<'_> {
    fn drop(&mut self) {
        let numbers = std::mem::take(&mut self.numbers);
        let mut state = self.home.state.lock();
        state.spare.push((numbers, Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_leaves_the_next_one_takes() {
        let buffers = Buffers::of(1 << 20);
        let at = |buffer: &Buffer<'_>| buffer.as_ptr();
        let (small, large) = (buffers.take(10).unwrap(), buffers.take(100).unwrap());
        let places = (at(&small), at(&large));
        drop((small, large));
        let again = buffers.take(8).unwrap();
        assert_eq!((at(&again), again.len()), (places.0, 8), "the smallest that fits");
        assert_eq!(at(&buffers.take(11).unwrap()), places.1);
    }

    #[test]
    fn no_memory_is_said_and_does_not_end_the_program() {
        assert_eq!(Buffers::of(1 << 20).take(1 << 60).unwrap_err().code(), Code::Busy);
        assert_eq!(Buffers::of(u64::MAX).take(1 << 60).unwrap_err().code(), Code::Busy);
    }

    #[test]
    fn all_together_stay_within_the_budget_and_spare_ones_make_room() {
        let buffers = Buffers::of(8 * 100);
        drop((buffers.take(30).unwrap(), buffers.take(30).unwrap()));
        let large = buffers.take(80).unwrap();
        assert_eq!(buffers.take(30).unwrap_err().code(), Code::Busy);
        drop(large);
        assert!(buffers.take(30).is_ok());
    }
}
