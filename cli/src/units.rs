// SPDX-License-Identifier: MIT OR Apache-2.0
//! Numbers for people: three digits and a unit. JSON gets the plain numbers instead.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// `512 B`, `1.23 kB`, `45.6 MB`: powers of 1000.
pub(crate) fn bytes(count: u64) -> String {
    scaled(count as f64, &["B", "kB", "MB", "GB", "TB", "PB", "EB"])
}

/// `0 bit/s`, `95.8 Mbit/s`: powers of 1000.
pub(crate) fn bits_per_second(rate: u64) -> String {
    scaled(rate as f64, &["bit/s", "kbit/s", "Mbit/s", "Gbit/s", "Tbit/s", "Pbit/s", "Ebit/s"])
}

/// `53 us`, `12.3 ms`, `1.20 s`, from microseconds.
pub(crate) fn microseconds(time: u32) -> String {
    scaled(f64::from(time), &["us", "ms", "s", "ks"])
}

/// Three digits in the greatest unit that leaves a whole number before the point; the first unit has no fraction.
fn scaled(mut value: f64, units: &[&str]) -> String {
    let mut unit = 0;
    while unit + 1 < units.len() && rounded(value, unit) >= 1000.0 {
        value /= 1000.0;
        unit += 1;
    }
    format!("{value:.*} {}", decimals(value, unit), units[unit])
}

fn decimals(value: f64, unit: usize) -> usize {
    match value {
        _ if unit == 0 => 0,
        // What would be written as 10.00 and 100.0.
        _ if value >= 99.95 => 0,
        _ if value >= 9.995 => 1,
        _ => 2,
    }
}

/// The value as it will be written: 999.6 is written as 1000, which is too much for its unit.
fn rounded(value: f64, unit: usize) -> f64 {
    let factor = 10f64.powi(decimals(value, unit) as i32);
    (value * factor).round() / factor
}

/// A moment as `2026-01-31T23:59:59Z`.
pub(crate) fn utc(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let (mut days, second) = (since / 86_400, since % 86_400);
    let mut year = 1970;
    while days >= days_of_year(year) {
        days -= days_of_year(year);
        year += 1;
    }
    let february = if days_of_year(year) == 366 { 29 } else { 28 };
    let mut month = 1;
    for length in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] {
        if days < length {
            break;
        }
        days -= length;
        month += 1;
    }
    let (hour, minute) = (second / 3600, second / 60 % 60);
    format!("{year}-{month:02}-{:02}T{hour:02}:{minute:02}:{:02}Z", days + 1, second % 60)
}

/// A moment as `2026-01-31T23:59:59.123Z`.
pub(crate) fn utc_milliseconds(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    let seconds = utc(time);
    format!("{}.{:03}Z", seconds.trim_end_matches('Z'), since.subsec_millis())
}

fn days_of_year(year: u64) -> u64 {
    let leap = (year % 4 == 0 && year % 100 != 0) || year % 400 == 0;
    if leap { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_digits() {
        let cases = [
            (0, "0 B"),
            (1, "1 B"),
            (999, "999 B"),
            (1000, "1.00 kB"),
            (1234, "1.23 kB"),
            (9_994, "9.99 kB"),
            (9_996, "10.0 kB"),
            (99_940, "99.9 kB"),
            (99_960, "100 kB"),
            (999_499, "999 kB"),
            (999_500, "1.00 MB"),
            (45_600_000, "45.6 MB"),
            (u64::MAX, "18.4 EB"),
        ];
        for (count, text) in cases {
            assert_eq!(bytes(count), text, "{count}");
        }
    }

    #[test]
    fn rates_and_times_have_their_units() {
        assert_eq!(bits_per_second(0), "0 bit/s");
        assert_eq!(bits_per_second(95_800_000), "95.8 Mbit/s");
        assert_eq!(microseconds(53), "53 us");
        assert_eq!(microseconds(12_345), "12.3 ms");
        assert_eq!(microseconds(1_200_000), "1.20 s");
    }

    #[test]
    fn moments_are_utc() {
        let at = |seconds| utc(UNIX_EPOCH + Duration::from_secs(seconds));
        assert_eq!(at(0), "1970-01-01T00:00:00Z");
        assert_eq!(at(951_782_399), "2000-02-28T23:59:59Z");
        assert_eq!(at(951_782_400), "2000-02-29T00:00:00Z");
        assert_eq!(at(1_709_251_199), "2024-02-29T23:59:59Z");
        assert_eq!(at(1_767_225_599), "2025-12-31T23:59:59Z");
        assert_eq!(at(4_107_542_400), "2100-03-01T00:00:00Z");
        let precise = UNIX_EPOCH + Duration::from_micros(951_782_399_007_999);
        assert_eq!(utc_milliseconds(precise), "2000-02-28T23:59:59.007Z");
    }
}
