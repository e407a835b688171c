//! The check of whole numbers, which accepts nothing that is not exactly right.
//!
//! Products of whole numbers are exact while no sum on the way exceeds 2^53
//! ([`exact_bound`](crate::matrix::strassen::exact_bound)). A check that allows for rounding would accept an entry that
//! is off by one, once the entries are large. So here the comparison is exact: it is made modulo the prime
//! p = 2^61 - 1. Every x_j is drawn evenly from 2^59 whole numbers. Let an entry of P be wrong by E, |E| < p. For
//! fixed other x_j the rows agree for one value of x_j at most, because E has an inverse modulo p: the error is missed
//! with a probability of at most 2^-59, whatever else is wrong.
//!
//! # Digits
//! A product of 53 and 60 bits is no number that a processor multiplies quickly. But sums and products of
//! floating-point numbers are exact while they stay below 2^53. So numbers are cut into digits: x (and y = R·x, modulo
//! p) into three of base 2^20, an entry, if it is too large for one, into two of base 2^27. Digits have signs, so they
//! are at most half a base. A product of two of them is at most 2^26 2^20, and [`STRETCH`] / 4 of them, which is what
//! one lane of a vector adds up, at most 2^53. After so many entries the sums are put together to one number modulo p.

use rand::{Rng, RngExt};

use super::super::micro::{Kernel, Vector, Vectorized, fetch_ahead};
use super::probe::{Numbers, ProbeOf, padded};

/// Whole numbers up to this are exact, and so are their sums and differences up to this.
pub(super) const EXACT: f64 = (1u64 << f64::MANTISSA_DIGITS) as f64;

/// The prime.
pub(super) const P: i128 = (1 << 61) - 1;

/// The bits of a digit of x or y. The last of three has one bit more.
const DIGIT: u32 = 20;

/// The bits of the lower digit of an entry.
const LOW: u32 = 27;

/// No one-digit entry is larger.
const ONE_DIGIT: f64 = (1 << (LOW - 1)) as f64;

/// How many entries of a row are added up before their sums could exceed 2^53.
const STRETCH: usize = 512;

/// A number added to one below 2^51 and taken off again rounds it to a whole one.
const ROUND: f64 = 1.5 * EXACT / 2.0;

/// Numbers that are multiplied side by side: as many as the widest vector has lanes.
const LANES: usize = 8;

/// A sum that none is equal to: that of a row with an entry that is not whole, or beyond 2^53.
const NONE: i64 = i64::MAX;

/// Residues modulo 2^61 - 1, as numbers of at most 2^60 with a sign.
pub(super) struct Residues;

impl Numbers for Residues {
    type Sum = i64;
    /// Three digits of [`LANES`] numbers at a time.
    type Column = Vec<[[f64; LANES]; 3]>;

    fn draw(_: f64, rng: &mut impl Rng) -> i64 {
        rng.random_range(-(1 << 58)..1 << 58)
    }

    fn column(numbers: Vec<i64>) -> Self::Column {
        let place = |numbers: &[i64]| {
            let mut digits = [[0.0; LANES]; 3];
            for (lane, mut rest) in numbers.iter().copied().enumerate() {
                for digits in &mut digits[..2] {
                    let half = 1 << (DIGIT - 1);
                    let digit = (rest + half).rem_euclid(1 << DIGIT) - half;
                    digits[lane] = digit as f64;
                    rest = (rest - digit) >> DIGIT;
                }
                digits[2][lane] = rest as f64;
            }
            digits
        };
        numbers.chunks(LANES).map(place).collect()
    }

    fn plus(sum: i64, sign: f64, term: i64) -> i64 {
        residue(i128::from(sum) + i128::from(term) * sign as i128)
    }

    #[inline(always)]
    fn times<V: Vector>(row: &[f64], column: &Self::Column) -> (i64, f64) {
        let size = size(row);
        let sum = if size <= ONE_DIGIT {
            sum::<V, 1>(row, column)
        } else if size <= EXACT {
            sum::<V, 2>(row, column)
        } else {
            NONE
        };
        (sum, size)
    }

    fn distance(one: i64, other: i64) -> f64 {
        if one == other { 0.0 } else { f64::INFINITY }
    }

    fn tolerance(_: &ProbeOf<'_, Self>) -> f64 {
        0.0
    }
}

/// The residue of this. 2^61 is 1 modulo p, so what stands above the 61st bit may be added to what stands below: no
/// division is needed, which for 128 bits takes as long as hundreds of entries.
pub(super) fn residue(number: i128) -> i64 {
    let fold = |number: i128| (number & P) + (number >> 61);
    let number = fold(fold(fold(number + P / 2)));
    (if number >= P { number - P } else { number } - P / 2) as i64
}

/// A row whose entries have so many digits times a column.
#[inline(always)]
fn sum<V: Vector, const DIGITS: usize>(row: &[f64], column: &[[[f64; LANES]; 3]]) -> i64 {
    let (zero, minus_one, round) = (V::splat(0.0), V::splat(-1.0), V::splat(ROUND));
    let base = (1u64 << LOW) as f64;
    let (minus_base, inverse) = (V::splat(-base), V::splat(1.0 / base));
    let mut total = 0;
    for (row, column) in row.chunks(STRETCH).zip(column.chunks(STRETCH / LANES)) {
        let (mut low_sums, mut high_sums) = ([zero; 3], [zero; 3]);
        let (places, end) = row.as_chunks::<LANES>();
        for (entries, digits) in places.iter().chain([&padded(end)]).zip(column) {
            for lane in (0..LANES).step_by(V::LANES) {
                let entry = V::read(&entries[lane..]);
                let high = match DIGITS {
                    1 => zero,
                    _ => round.plus_product(entry, inverse).plus_product(round, minus_one),
                };
                let low = entry.plus_product(high, minus_base);
                for j in 0..3 {
                    let digit = V::read(&digits[j][lane..]);
                    low_sums[j] = low_sums[j].plus_product(low, digit);
                    if DIGITS > 1 {
                        high_sums[j] = high_sums[j].plus_product(high, digit);
                    }
                }
            }
        }
        let stretch = value(low_sums) + (value(high_sums) << LOW);
        total = residue(i128::from(total) + stretch);
    }
    total
}

/// The number that has the sums of these lanes as its digits.
#[inline(always)]
fn value<V: Vector>(sums: [V; 3]) -> i128 {
    let mut value = 0;
    for sums in sums.into_iter().rev() {
        let mut lanes = [0.0; LANES];
        sums.write(&mut lanes);
        let digit: i64 = lanes.into_iter().map(|lane| lane as i64).sum();
        value = (value << DIGIT) + i128::from(digit);
    }
    value
}

/// The largest magnitude of these entries; infinite if one of them is not whole.
#[inline(always)]
fn size(row: &[f64]) -> f64 {
    let mut sizes = [0.0_f64; LANES];
    let (places, end) = row.as_chunks::<LANES>();
    for entries in places.iter().chain([&padded(end)]) {
        fetch_ahead(entries);
        for (size, x) in sizes.iter_mut().zip(entries) {
            let this = if x.trunc() == *x { x.abs() } else { f64::INFINITY };
            *size = if this > *size { this } else { *size };
        }
    }
    sizes.into_iter().fold(0.0, f64::max)
}

/// The largest magnitude of these entries, if all of them are whole numbers of at most 2^53.
pub(super) fn largest(entries: &[f64]) -> Option<f64> {
    // Most matrices that are not whole show it in the first chunk.
    entries.chunks(1024).try_fold(0.0, |largest: f64, chunk| {
        let size = Kernel::best().run(Size(chunk));
        (size <= EXACT).then_some(largest.max(size))
    })
}

/// [`size`], to be compiled for all kinds of vectors.
struct Size<'t>(&'t [f64]);

impl Vectorized for Size<'_> {
    type Answer = f64;

    #[inline(always)]
    fn run<V: Vector, const MR: usize, const NV: usize>(self) -> f64 {
        size(self.0)
    }
}
