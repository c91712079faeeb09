//! What time it is, and since when the machine runs.
//!
//! Times are shown and recorded; nothing is ordered by them. Time is an argument everywhere: whoever needs it is given a
//! [`Clock`], so tests hold it still.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// A moment as commits record it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct LocalTime {
    /// Milliseconds since 1970-01-01T00:00Z.
    pub ms: u64,
    /// Minutes east of UTC, daylight saving included, at that moment.
    pub zone_minutes: i16,
}

/// Tells the time.
pub trait Clock: fmt::Debug + Send + Sync {
    /// Returns milliseconds since 1970. They may jump either way when the machine's clock is set.
    fn now_ms(&self) -> u64;

    /// Returns how many minutes east of UTC the local zone was at `ms`.
    fn zone_minutes(&self, ms: u64) -> i16;

    /// Returns the time since some moment of this process; it never goes back.
    fn monotonic(&self) -> Duration;

    /// Returns the time with its zone.
    fn now(&self) -> LocalTime {
        let ms = self.now_ms();
        LocalTime { ms, zone_minutes: self.zone_minutes(ms) }
    }
}

/// The machine's clock and time zone.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now_ms(&self) -> u64 {
        // A clock set before 1970 reads as 1970: no one orders by it.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }

    fn zone_minutes(&self, ms: u64) -> i16 {
        static ZONE: OnceLock<TimeZone> = OnceLock::new();
        let moment = i64::try_from(ms).ok().and_then(|ms| Timestamp::from_millisecond(ms).ok());
        let seconds = moment.map_or(0, |moment| ZONE.get_or_init(local_zone).to_offset(moment).seconds());
        i16::try_from(seconds / 60).unwrap_or(0)
    }

    fn monotonic(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }
}

/// Returns the machine's time zone, from `/etc/localtime` itself: looking its name up would read the whole zone database,
/// a millisecond that a small commit would notice.
fn local_zone() -> TimeZone {
    if std::env::var_os("TZ").is_some() {
        return TimeZone::system();
    }
    let own = std::fs::read("/etc/localtime").ok().and_then(|bytes| TimeZone::tzif("Local", &bytes).ok());
    own.unwrap_or_else(TimeZone::system)
}

/// A clock that stands until it is moved, in one zone.
#[derive(Debug, Default)]
pub struct FixedClock {
    ms: AtomicU64,
    zone_minutes: i16,
}

impl FixedClock {
    /// Stops the clock at `ms` since 1970, in UTC.
    #[must_use]
    pub fn at(ms: u64) -> Self {
        Self { ms: AtomicU64::new(ms), zone_minutes: 0 }
    }

    /// Moves to a zone.
    #[must_use]
    pub fn in_zone(self, minutes: i16) -> Self {
        Self { zone_minutes: minutes, ..self }
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        self.ms.fetch_add(u64::try_from(by.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Sets the clock, backwards too.
    pub fn set(&self, ms: u64) {
        self.ms.store(ms, Ordering::Relaxed);
    }
}

impl Clock for FixedClock {
    fn now_ms(&self) -> u64 {
        self.ms.load(Ordering::Relaxed)
    }

    fn zone_minutes(&self, _ms: u64) -> i16 {
        self.zone_minutes
    }

    /// Returns the time set: it goes back only when a test sets it back.
    fn monotonic(&self) -> Duration {
        Duration::from_millis(self.now_ms())
    }
}

/// Names one run of the machine, from start to power loss. What was written under another may not have reached the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId(pub [u8; 16]);

impl BootId {
    /// Returns the id of this run; `None` where the system does not tell (it does on Linux). Then every start must be
    /// taken for a new run.
    #[must_use]
    pub fn current() -> Option<Self> {
        // Not a disk: the kernel's own file, read by no handle of a repository.
        Self::parse(&std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?)
    }

    /// Parses 32 hexadecimal digits, hyphens among them or not.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let digits = || text.trim_end().chars().filter(|&c| c != '-');
        if digits().count() != 32 {
            return None;
        }
        let number = digits().try_fold(0u128, |number, c| Some(number << 4 | u128::from(c.to_digit(16)?)))?;
        Some(Self(number.to_be_bytes()))
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_tells_a_plausible_time() {
        let now = SystemClock.now();
        assert!(now.ms > 1_700_000_000_000, "after 2023");
        assert!((-12 * 60..=14 * 60).contains(&now.zone_minutes), "{now:?}");
        let earlier = SystemClock.monotonic();
        assert!(SystemClock.monotonic() >= earlier);
    }

    #[test]
    fn times_beyond_the_calendar_have_a_zone_too() {
        for ms in [0, 1 << 62, u64::MAX] {
            assert!((-26 * 60..=26 * 60).contains(&SystemClock.zone_minutes(ms)), "{ms}");
        }
    }

    #[test]
    fn a_fixed_clock_moves_only_when_told() {
        let clock = FixedClock::at(1_000).in_zone(-150);
        assert_eq!(clock.now(), LocalTime { ms: 1_000, zone_minutes: -150 });
        assert_eq!(clock.now(), clock.now());
        clock.advance(Duration::from_secs(2));
        assert_eq!((clock.now_ms(), clock.monotonic()), (3_000, Duration::from_secs(3)));
        clock.set(7);
        assert_eq!(clock.now_ms(), 7);
    }

    #[test]
    fn boot_ids_are_read_with_and_without_hyphens() {
        let id = BootId::parse("01234567-89ab-cdef-0123-456789abcdef\n").unwrap();
        assert_eq!(id.0[..4], [0x01, 0x23, 0x45, 0x67]);
        assert_eq!(BootId::parse(&id.to_string()), Some(id));
        for text in ["", "0123", "01234567-89ab-cdef-0123-456789abcdeg", "01234567-89ab-cdef-0123-456789abcdef0"] {
            assert_eq!(BootId::parse(text), None, "{text}");
        }
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_boot_id_stays_while_the_machine_runs() {
        assert!(BootId::current().is_some());
        assert_eq!(BootId::current(), BootId::current());
    }
}
