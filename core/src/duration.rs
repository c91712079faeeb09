//! Lengths of time, as settings and options write them.
//!
//! They are written `500ms`, `30s`, `15m`, `24h`, `14d`: the greatest unit that leaves a whole number. They are read with
//! one unit or several, greatest first (`1h30m`), `w` too, or as a plain number of seconds.

use std::time::Duration;

use crate::error::Error;

const UNITS: [(&str, u64); 6] =
    [("w", 604_800_000), ("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

/// Reads a length of time.
///
/// # Errors
/// [`Error::ValueInvalid`] for what is not one, or exceeds 584 million years.
pub fn parse(text: &str) -> Result<Duration, Error> {
    let invalid =
        |reason: &str| Error::ValueInvalid { what: "time", value: text.to_owned(), reason: reason.to_owned() };
    const FORM: &str = "a time is a whole number and a unit, like 500ms, 30s, 15m, 24h or 14d";
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(invalid(FORM));
    }
    if let Ok(seconds) = rest.parse::<u64>()
        && !rest.starts_with('+')
    {
        return Ok(Duration::from_secs(seconds));
    }
    let mut total = 0u64;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let (number, after) = rest.split_at(rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len()));
        let (unit, after) = after.split_at(after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len()));
        let known = UNITS.iter().find(|(name, _)| *name == unit.trim());
        let &(_, scale) =
            known.filter(|(_, scale)| !number.is_empty() && *scale < last).ok_or_else(|| invalid(FORM))?;
        let part = number.parse::<u64>().ok().and_then(|number| number.checked_mul(scale));
        total = part.and_then(|part| total.checked_add(part)).ok_or_else(|| invalid("it is too long"))?;
        last = scale;
        rest = after;
    }
    Ok(Duration::from_millis(total))
}

/// Writes a length of time, whole milliseconds of it, in the greatest unit that leaves a whole number, weeks excepted.
#[must_use]
pub fn display(duration: Duration) -> String {
    let ms = duration.as_millis();
    if ms == 0 {
        return "0s".to_owned();
    }
    let whole = |&&(_, scale): &&(&str, u64)| ms.is_multiple_of(u128::from(scale));
    let &(unit, scale) = UNITS[1..].iter().find(whole).expect("everything is whole in milliseconds");
    format!("{}{unit}", ms / u128::from(scale))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn times_are_read_with_every_unit() {
        for (text, ms) in [
            ("0", 0),
            ("30", 30_000),
            ("500ms", 500),
            ("30s", 30_000),
            ("15m", 900_000),
            ("24h", 86_400_000),
            ("14d", 1_209_600_000),
            ("2w", 1_209_600_000),
            ("1h30m", 5_400_000),
            ("1h 30m", 5_400_000),
            (" 5 s ", 5_000),
        ] {
            assert_eq!(parse(text.trim()).unwrap(), Duration::from_millis(ms), "{text}");
        }
        for text in
            ["", "s", "-1s", "1.5h", "30m1h", "1s1s", "5 parsecs", "+5", "99999999999999999999", "9999999999999w"]
        {
            assert!(parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn times_are_written_in_the_greatest_whole_unit() {
        for (ms, text) in [(0, "0s"), (1, "1ms"), (1_500, "1500ms"), (90_000, "90s"), (86_400_000, "1d")] {
            assert_eq!(display(Duration::from_millis(ms)), text);
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(128))]

        #[test]
        fn what_is_written_reads_back(ms: u64, shift in 0..64u32) {
            let duration = Duration::from_millis(ms >> shift);
            prop_assert_eq!(parse(&display(duration)).unwrap(), duration);
        }
    }
}
