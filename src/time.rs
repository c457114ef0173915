//! Time as plain data: a [`Timestamp`] is a number, and a [`Clock`] turns two readings into the router's own time.
//!
//! Nothing here reads a clock; the readings are arguments. The router's time never runs behind the newest
//! stored message, so a box that boots in 1970 goes on in order, and a jump of the wall clock neither
//! expires nor resends anything.

use std::fmt;
use std::ops::{Add, Sub};
use std::time::Duration;

/// Microseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Timestamp(pub i64);

impl Timestamp {
    /// The time of so many whole seconds since the epoch.
    pub const fn from_seconds(seconds: i64) -> Timestamp {
        Timestamp(seconds.saturating_mul(1_000_000))
    }

    /// Whole milliseconds since the epoch, rounded down; never negative.
    pub fn milliseconds(self) -> u64 {
        u64::try_from(self.0.div_euclid(1_000)).unwrap_or(0)
    }

    /// The time from `earlier` to here; zero when `earlier` is later.
    pub fn since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// Reads RFC 3339, for example `2026-11-22T08:55:35Z`.
    pub fn parse(text: &str) -> Option<Timestamp> {
        text.parse::<jiff::Timestamp>().ok().map(|at| Timestamp(at.as_microsecond()))
    }
}

impl Add<Duration> for Timestamp {
    type Output = Timestamp;
    fn add(self, wait: Duration) -> Timestamp {
        Timestamp(self.0.saturating_add(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
    }
}

impl Sub<Duration> for Timestamp {
    type Output = Timestamp;
    fn sub(self, wait: Duration) -> Timestamp {
        Timestamp(self.0.saturating_sub(i64::try_from(wait.as_micros()).unwrap_or(i64::MAX)))
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-22T08:55:35.123Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_microsecond(self.0) {
            Ok(at) => write!(f, "{at:.3}"),
            Err(_) => write!(f, "{} us", self.0),
        }
    }
}

/// In JSON as it is printed.
impl serde::Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Whatever is further apart than this is a step of the wall clock, not its drift.
const STEP: i64 = 60_000_000;

/// Turns readings of the wall clock and of a monotonic clock into the router's time.
///
/// - The router's time never goes back and never runs behind `floor`, the newest stored message.
/// - A step forward of more than a minute between two readings is followed, and told as [`Reading::step`], so
///   that everything that waits can be moved along with it.
/// - While the wall clock lies more than a minute behind, time goes on by the monotonic clock alone
///   and [`Reading::behind`] says by how much.
#[derive(Debug)]
pub struct Clock {
    now: Timestamp,
    wall: Timestamp,
    monotonic: Duration,
}

/// What a [`Clock`] makes of one pair of readings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// The router's time.
    pub now: Timestamp,
    /// The wall clock stepped forward by this much since the last reading; zero when it did not.
    pub step: Duration,
    /// How far the wall clock lies behind the router's time; zero when it is right within a minute.
    pub behind: Duration,
}

impl Clock {
    /// Starts from one pair of readings; `floor` is the time of the newest stored message.
    pub fn new(wall: Timestamp, monotonic: Duration, floor: Timestamp) -> Clock {
        Clock { now: wall.max(floor), wall, monotonic }
    }

    /// Reads on. `monotonic` never goes back.
    pub fn read(&mut self, wall: Timestamp, monotonic: Duration) -> Reading {
        let elapsed = monotonic.saturating_sub(self.monotonic);
        let expected_wall = self.wall + elapsed;
        let steady = self.now + elapsed;
        let stepped = wall.0.saturating_sub(expected_wall.0) > STEP;
        // Only a step away from a time that was followed is one: coming back from behind is not.
        let followed = expected_wall.0.saturating_add(STEP) >= steady.0;
        let next = wall.max(if wall.0.saturating_add(STEP) >= steady.0 { self.now } else { steady });
        let step = if stepped && followed { next.since(steady) } else { Duration::ZERO };
        self.now = next;
        self.wall = wall;
        self.monotonic = monotonic;
        let behind = self.now.since(wall);
        let behind = if behind > Duration::from_micros(STEP as u64) { behind } else { Duration::ZERO };
        Reading { now: self.now, step, behind }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const S: fn(i64) -> Timestamp = Timestamp::from_seconds;
    const M: fn(u64) -> Duration = Duration::from_secs;

    #[test]
    fn prints_and_reads_rfc3339() {
        let at = Timestamp(1_795_337_735_123_456);
        assert_eq!(at.to_string(), "2026-11-22T08:55:35.123Z");
        assert_eq!(Timestamp::parse("2026-11-22T08:55:35.123456Z"), Some(at));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }

    #[test]
    fn p14_clock_a_boot_in_1970_goes_on_from_the_newest_message() {
        let mut clock = Clock::new(S(10), M(0), S(1_000_000));
        let reading = clock.read(S(15), M(5));
        assert_eq!(reading.now, S(1_000_005));
        assert!(reading.behind > M(900_000));
        // Then the network sets the clock: followed, and not told as a step, for the box was off in between.
        let reading = clock.read(S(2_000_000), M(6));
        assert_eq!(reading, Reading { now: S(2_000_000), step: M(0), behind: M(0) });
    }

    #[test]
    fn p14_clock_a_jump_forward_is_told() {
        let mut clock = Clock::new(S(1_000), M(0), S(0));
        let reading = clock.read(S(1_000_001), M(1));
        assert_eq!(reading, Reading { now: S(1_000_001), step: M(999_000), behind: M(0) });
    }

    #[test]
    fn p14_clock_never_goes_back() {
        let mut clock = Clock::new(S(1_000_000), M(0), S(0));
        assert_eq!(clock.read(S(999_999), M(1)).now, S(1_000_000));
        let reading = clock.read(S(5), M(11));
        assert_eq!(reading.now, S(1_000_010));
        assert!(reading.behind > M(900_000));
    }
}
