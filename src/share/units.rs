//! Sizes and rates as people write them: `8MiB`, `20M`, `1048576`, `50mbit`; and how many there are of something.
//!
//! A size is a number of bytes, a rate a number of bytes per second. `k`, `M`, `G`, `T` are powers of 1000,
//! `Ki`, `Mi`, `Gi`, `Ti` powers of 1024; a `B` may follow. Case does not matter, so `b` is a byte too; bits are
//! written out, as in `50Mbit/s`, and eight are a byte. A fraction is welcome where whole bytes come out: `1.5MiB`. A
//! rate may end in `/s`.
//!
//! ```
//! use peerlab::share::units::parse_bytes;
//! assert_eq!(parse_bytes("1.5MiB")?, 1_572_864);
//! assert_eq!(parse_bytes("500k")?, 500_000);
//! assert_eq!(parse_bytes("50Mbit/s")?, 6_250_000);
//! # Ok::<(), peerlab::error::Error>(())
//! ```

use std::fmt::Display;

use crate::error::{Code, Error, Result};

/// The units, larger ones first.
const UNITS: [(&str, u64); 9] = [
    ("TiB", 1 << 40),
    ("TB", 1_000_000_000_000),
    ("GiB", 1 << 30),
    ("GB", 1_000_000_000),
    ("MiB", 1 << 20),
    ("MB", 1_000_000),
    ("KiB", 1 << 10),
    ("kB", 1_000),
    ("B", 1),
];

/// A number of bytes, or of bytes per second, as people write it; [`about`] writes one.
///
/// # Errors
/// A usage error that shows how.
pub fn parse_bytes(text: &str) -> Result<u64> {
    parse(text).ok_or_else(|| {
        Error::new(Code::Usage, format!("{text:.40?} is not a size or a rate"))
            .advise("write bytes, such as 1048576, 500kB, 20M or 1.5MiB, or bits, such as 50mbit; a rate may end in /s")
    })
}

fn parse(text: &str) -> Option<u64> {
    let text = text.trim();
    let text = text.strip_suffix("/s").unwrap_or(text);
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = (&text[..digits], text[digits..].trim_start().to_ascii_lowercase());
    let (prefix, bits) = match unit.strip_suffix("bit") {
        Some(prefix) => (prefix, 1),
        None => (unit.strip_suffix('b').unwrap_or(&unit), 8),
    };
    let is_it = |(name, _): &(&str, u64)| name.trim_end_matches('B').eq_ignore_ascii_case(prefix);
    let (_, scale) = UNITS.into_iter().find(is_it)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    // 1.5 MiB is 15 MiB / 10: whole numbers throughout, so nothing is rounded.
    let divisor = 10_u64.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let tenths = u128::from(whole.parse::<u64>().ok()?) * u128::from(divisor)
        + u128::from(fraction.parse::<u64>().ok()?);
    let scaled = tenths.checked_mul(u128::from(scale) * bits)?;
    let divisor = u128::from(divisor) * 8;
    if scaled % divisor != 0 {
        return None;
    }
    u64::try_from(scaled / divisor).ok()
}

/// So many of something: `1 slot`, `3 slots`.
///
/// ```
/// use peerlab::share::units::counted;
/// assert_eq!([0, 1, 2].map(|n| counted(n, "peer")), ["0 peers", "1 peer", "2 peers"]);
/// ```
pub fn counted<N: Display + PartialEq + From<u8>>(count: N, of_what: &str) -> String {
    let ending = if count == N::from(1) { "" } else { "s" };
    format!("{count} {of_what}{ending}")
}

/// A number of bytes at a glance, in powers of 1024 and to three digits or so: `31.2 MiB`.
///
/// ```
/// use peerlab::share::units::about;
/// assert_eq!(about(999), "999 B");
/// assert_eq!(about(33_100_000), "31.6 MiB");
/// ```
pub fn about(bytes: u64) -> String {
    let mut binary = UNITS.into_iter().filter(|(name, _)| name.len() == 3);
    match binary.find(|(_, scale)| bytes >= *scale) {
        Some((name, scale)) => format!("{:.1} {name}", bytes as f64 / scale as f64),
        None => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_is_shown_in_the_largest_unit_that_it_fills() {
        for (bytes, text) in [
            (0, "0 B"),
            (1023, "1023 B"),
            (1024, "1.0 KiB"),
            (1 << 20, "1.0 MiB"),
            ((1 << 20) - 1, "1024.0 KiB"),
            (3 << 29, "1.5 GiB"),
        ] {
            assert_eq!(about(bytes), text);
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("1048576", 1 << 20),
            ("8MiB", 8 << 20),
            ("8 MiB", 8 << 20),
            ("8mib/s", 8 << 20),
            ("500kB", 500_000),
            ("500 KB", 500_000),
            ("1.5KiB", 1536),
            ("2GB", 2_000_000_000),
            ("8GiB", 8 << 30),
            ("1TiB", 1 << 40),
            ("12B", 12),
            ("20M", 20_000_000),
            ("20m", 20_000_000),
            ("1.5Gi", 3 << 29),
            ("50mbit", 6_250_000),
            ("50Mbit/s", 6_250_000),
            ("8 bit", 1),
            ("1Kibit", 128),
            ("18446744073709551615", u64::MAX),
        ] {
            assert_eq!(parse_bytes(text).unwrap(), bytes, "{text}");
        }
    }

    #[test]
    fn what_is_no_size_is_refused_with_examples() {
        for bad in [
            "",
            "MiB",
            "-1",
            "0.5B",
            "+1",
            "8Mb ps",
            "8Mx",
            "4bit",
            "0.1kbit",
            "8bits",
            "8Mbitbit",
            "8bb",
            "1e6",
            "1.2.3",
            ".5MiB",
            "5.MiB",
            "18446744073709551616",
            "16777216TiB",
            "1.00000000000000000000B",
            "８MiB",
            "1 0",
        ] {
            let error = parse_bytes(bad).unwrap_err();
            assert_eq!(error.exit_status(), 2, "{bad:?}");
            for form in ["1.5MiB", "20M", "50mbit"] {
                assert!(error.to_string().contains(form), "{error}");
            }
        }
    }
}
