//! Sizes, times and spans as people read them.

use std::time::Duration;

/// Writes a size in decimal units with two or three digits: `0 B`, `999 B`, `1.2 kB`, `104 MB`.
pub fn bytes(count: u64) -> String {
    const UNITS: [&str; 6] = ["kB", "MB", "GB", "TB", "PB", "EB"];
    if count < 1000 {
        return format!("{count} B");
    }
    let mut value = count as f64 / 1000.0;
    let mut unit = 0;
    // 999.5 would print as "1000": step up as soon as rounding would reach the next unit.
    while value >= 999.5 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    if value < 9.95 { format!("{value:.1} {}", UNITS[unit]) } else { format!("{value:.0} {}", UNITS[unit]) }
}

/// Writes a count with thousands apart: `12,345`.
pub fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// Writes a count and its noun: `1 file`, `2 files`.
pub fn of(number: u64, noun: &str) -> String {
    let plural = match noun.strip_suffix('y') {
        _ if number == 1 => noun.to_owned(),
        Some(stem) => format!("{stem}ies"),
        None => format!("{noun}s"),
    };
    format!("{} {plural}", count(number))
}

/// Writes a span with two units at most: `0.3 s`, `4 s`, `2 min 5 s`, `3 h 20 min`.
pub fn span(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..60 => format!("{seconds} s"),
        60..3600 => format!("{} min {} s", seconds / 60, seconds % 60),
        _ => format!("{} h {} min", seconds / 3600, seconds % 3600 / 60),
    }
}

/// Writes milliseconds since 1970 as RFC 3339 in UTC, with milliseconds only where there are some. Times beyond the
/// years that can be written are clamped to the nearest that can.
pub fn rfc3339(ms: i64) -> String {
    timestamp(ms).to_string()
}

/// Writes milliseconds since 1970 in the given zone (minutes east of UTC) as `2026-05-04 13:37`.
pub fn local_time(ms: i64, zone_minutes: i16) -> String {
    let offset = jiff::tz::Offset::from_seconds(i32::from(zone_minutes) * 60).unwrap_or(jiff::tz::Offset::UTC);
    timestamp(ms).to_zoned(offset.to_time_zone()).strftime("%Y-%m-%d %H:%M").to_string()
}

fn timestamp(ms: i64) -> jiff::Timestamp {
    let bound = if ms < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
    jiff::Timestamp::from_millisecond(ms).unwrap_or(bound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_keep_two_or_three_digits() {
        let shown = [0, 999, 1000, 1234, 9949, 9950, 104_000_000, 999_499, 999_500, 2_100_000_000, u64::MAX].map(bytes);
        let wanted =
            ["0 B", "999 B", "1.0 kB", "1.2 kB", "9.9 kB", "10 kB", "104 MB", "999 kB", "1.0 MB", "2.1 GB", "18 EB"];
        assert_eq!(shown.each_ref().map(String::as_str), wanted);
    }

    #[test]
    fn counts_are_grouped_and_agree_with_their_noun() {
        assert_eq!(count(1_234_567), "1,234,567");
        assert_eq!(count(12), "12");
        assert_eq!(of(1, "file"), "1 file");
        assert_eq!(of(2_000, "entry"), "2,000 entries");
    }

    #[test]
    fn times_are_utc_and_never_panic() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc3339(1_500), "1970-01-01T00:00:01.5Z");
        assert_eq!(local_time(0, 90), "1970-01-01 01:30");
        for ms in [i64::MIN, i64::MAX] {
            assert!(rfc3339(ms).ends_with('Z'));
            let _ = local_time(ms, i16::MAX);
        }
    }
}
