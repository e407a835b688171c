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

/// 2^537: the square of the least positive number, 2^-1074, vanishes, and not when the number is multiplied by this.
const VISIBLE: f64 = f64::from_bits((1023 + 537) << 52);

/// Numbers that are multiplied side by side: as many as the widest vector has lanes.
const LANES: usize = 8;

/// What is said of a row with an entry that is not whole, or beyond 2^53: a sum that none is equal to.
const NONE: (i64, f64) = (i64::MAX, f64::INFINITY);

/// Three digits each of [`LANES`] numbers. A vector that lies in two cache lines is read twice.
#[repr(align(64))]
pub(super) struct Digits([[f64; LANES]; 3]);

/// Residues modulo 2^61 - 1, as numbers of at most 2^60 with a sign.
pub(super) struct Residues;

impl Numbers for Residues {
    type Sum = i64;
    type Column = Vec<Digits>;

    fn draw(_: f64, rng: &mut impl Rng) -> i64 {
        rng.random_range(-(1 << 58)..1 << 58)
    }

    fn column(numbers: Vec<i64>) -> Self::Column {
        let place = |numbers: &[i64]| {
            let mut digits = Digits([[0.0; LANES]; 3]);
            for (lane, mut rest) in numbers.iter().copied().enumerate() {
                for digits in &mut digits.0[..2] {
                    let half = 1 << (DIGIT - 1);
                    let digit = (rest + half).rem_euclid(1 << DIGIT) - half;
                    digits[lane] = digit as f64;
                    rest = (rest - digit) >> DIGIT;
                }
                digits.0[2][lane] = rest as f64;
            }
            digits
        };
        numbers.chunks(LANES).map(place).collect()
    }

    fn plus(sum: i64, sign: f64, term: i64) -> i64 {
        residue(i128::from(sum) + i128::from(term) * sign as i128)
    }

    #[inline(always)]
    fn times<V: Vector>(row: &[f64], column: &Self::Column, known: f64) -> (i64, f64) {
        if known <= ONE_DIGIT {
            let (sum, _) = sum::<V, 1, true>(row, column).unwrap_or(NONE);
            return (sum, known);
        }
        // The first entries say mostly what all are like.
        let is_small = row.iter().take(LANES).all(|entry| entry.abs() <= ONE_DIGIT);
        let quick = if is_small { sum::<V, 1, false>(row, column) } else { None };
        // Not `or_else`: a closure is compiled for narrow vectors, and the check took twice as long.
        match quick {
            Some(found) => found,
            None => sum::<V, 2, false>(row, column).unwrap_or(NONE),
        }
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

/// A row times a column, and the largest magnitude in the row; `None` if an entry is not whole, or needs more digits.
/// Where it is known that no entry does, none is looked at, and the magnitude says nothing.
#[inline(always)]
fn sum<V: Vector, const DIGITS: usize, const KNOWN: bool>(
    row: &[f64],
    column: &[Digits],
) -> Option<(i64, f64)> {
    let most = if DIGITS > 1 { EXACT } else { ONE_DIGIT };
    let (mut seen, mut total) = (Seen::<V>::default(), 0);
    for (row, column) in row.chunks(STRETCH).zip(column.chunks(STRETCH / LANES)) {
        let mut sums = [[V::splat(0.0); 3]; DIGITS];
        let (places, end) = row.as_chunks::<LANES>();
        for (entries, digits) in places.iter().chain([&padded(end)]).zip(column) {
            fetch_ahead(entries);
            for lane in (0..LANES).step_by(V::LANES) {
                let entry = V::read(&entries[lane..]);
                let cut = cut::<V, DIGITS>(entry);
                if !KNOWN {
                    seen.look(entry, cut[0]);
                }
                for (sums, entry) in sums.iter_mut().zip(cut) {
                    for (sum, digits) in sums.iter_mut().zip(&digits.0) {
                        *sum = sum.plus_product(entry, V::read(&digits[lane..]));
                    }
                }
            }
        }
        if seen.size() > most {
            return None;
        }
        // Written out: a loop over so few is not compiled for wide vectors.
        let high = if DIGITS > 1 { value(sums[DIGITS - 1]) << LOW } else { 0 };
        total = residue(i128::from(total) + value(sums[0]) + high);
    }
    Some((total, seen.size()))
}

/// What was seen of entries.
struct Seen<V> {
    /// How far they are from whole numbers: a sum of squares, scaled so that the least one does not vanish.
    odd: V,
    /// The largest of their squares.
    largest: V,
}

impl<V: Vector> Default for Seen<V> {
    #[inline(always)]
    fn default() -> Self {
        Self { odd: V::splat(0.0), largest: V::splat(0.0) }
    }
}

impl<V: Vector> Seen<V> {
    /// Looks at entries with these lowest digits.
    #[inline(always)]
    fn look(&mut self, entries: V, lowest: V) {
        let (zero, one, minus_one, round) = (V::splat(0.0), V::splat(1.0), V::splat(-1.0), V::splat(ROUND));
        let whole = lowest.plus_product(round, one).plus_product(round, minus_one);
        let odd = zero.plus_product(lowest.plus_product(whole, minus_one), V::splat(VISIBLE));
        self.odd = self.odd.plus_product(odd, odd);
        self.largest = self.largest.larger(zero.plus_product(entries, entries));
    }

    /// The largest magnitude of these entries; infinite if one of them is not whole.
    #[inline(always)]
    fn size(&self) -> f64 {
        let [mut odd, mut largest] = [[0.0; LANES]; 2];
        self.odd.write(&mut odd);
        self.largest.write(&mut largest);
        // The square of a NaN is none that is equal to zero.
        match odd.iter().all(|odd| *odd == 0.0) {
            true => largest.into_iter().fold(0.0, f64::max).sqrt(),
            false => f64::INFINITY,
        }
    }
}

/// The number that has these sums of lanes as its digits.
#[inline(always)]
fn value<V: Vector>(sums: [V; 3]) -> i128 {
    let digits = [total(sums[0]), total(sums[1]), total(sums[2])];
    digits[0] + (digits[1] << DIGIT) + (digits[2] << (2 * DIGIT))
}

/// The sum of the lanes. They are cut in two first, so that each half has an exact sum.
#[inline(always)]
fn total<V: Vector>(sums: V) -> i128 {
    let ([low, high], [mut lows, mut highs]) = (cut::<V, 2>(sums), [[0.0; LANES]; 2]);
    low.write(&mut lows);
    high.write(&mut highs);
    let [low, high] = [lows.iter().sum::<f64>() as i64, highs.iter().sum::<f64>() as i64];
    (low + (high << LOW)).into()
}

/// The digits of numbers, the lowest first.
#[inline(always)]
fn cut<V: Vector, const DIGITS: usize>(numbers: V) -> [V; DIGITS] {
    let (base, round) = ((1u64 << LOW) as f64, V::splat(ROUND));
    let mut digits = [numbers; DIGITS];
    if DIGITS > 1 {
        digits[1] = round.plus_product(numbers, V::splat(1.0 / base)).plus_product(round, V::splat(-1.0));
        digits[0] = numbers.plus_product(digits[1], V::splat(-base));
    }
    digits
}

/// The largest magnitude of these entries, if all of them are whole numbers of at most 2^53.
pub(super) fn largest(entries: &[f64]) -> Option<f64> {
    // Most matrices that are not whole show it in the first chunk.
    entries.chunks(1024).try_fold(0.0, |largest: f64, chunk| {
        let size = Kernel::best().run(Size(chunk));
        (size <= EXACT).then_some(largest.max(size))
    })
}

/// [`Seen::size`], to be compiled for all kinds of vectors.
struct Size<'t>(&'t [f64]);

impl Vectorized for Size<'_> {
    type Answer = f64;

    #[inline(always)]
    fn run<V: Vector, const MR: usize, const NV: usize>(self) -> f64 {
        let mut seen = Seen::<V>::default();
        let (places, end) = self.0.as_chunks::<LANES>();
        for entries in places.iter().chain([&padded(end)]) {
            fetch_ahead(entries);
            for lane in (0..LANES).step_by(V::LANES) {
                let entries = V::read(&entries[lane..]);
                seen.look(entries, cut::<V, 2>(entries)[0]);
            }
        }
        seen.size()
    }
}
