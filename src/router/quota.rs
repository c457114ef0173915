//! How much a backend may send: caps by day and by month, as contracts have them, and a rate that a carrier stands. Pure arithmetic on times; what
//! was sent is counted by the store, in the transaction in which it is settled, so that a restart forgets nothing.
//!
//! Attempts that may have left count as well. A message counts as many times as it has parts, where its backend tells; while it is in hand it
//! counts once, so the last one may go a few parts over the cap.

use crate::message::Name;
use crate::store::Period;
use crate::time::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use std::time::Duration;

/// How much may be sent in a day and in a month.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Caps {
    /// In a day.
    pub per_day: Option<u64>,
    /// In a month.
    pub per_month: Option<u64>,
    /// The time of day at which a new day begins, by the clock that [`utc_offset`](Caps::utc_offset) describes.
    pub resets_at: Duration,
    /// The day on which a new month begins, 1 to 28.
    pub resets_on: u8,
    /// How many seconds that clock is before UTC; negative in the west.
    pub utc_offset: i32,
}

impl Default for Caps {
    fn default() -> Caps {
        Caps { per_day: None, per_month: None, resets_at: Duration::ZERO, resets_on: 1, utc_offset: 0 }
    }
}

/// How fast may be sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Rate {
    /// In each minute of the clock.
    pub per_minute: Option<u32>,
    /// At least so long from one message to the next.
    pub min_gap: Duration,
}

/// A period that has a limit.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Limit {
    pub(super) period: Period,
    pub(super) most: u64,
    /// When the period began.
    pub(super) since: Timestamp,
    /// When the next one begins.
    pub(super) until: Timestamp,
}

/// What a settled attempt adds to the counts of its backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Charge {
    pub(super) backend: Name,
    pub(super) parts: u32,
    pub(super) periods: Vec<(Period, Timestamp)>,
}

/// The limits that hold at `now`; none for a backend without any.
pub(super) fn limits(caps: &Caps, rate: &Rate, now: Timestamp) -> Vec<Limit> {
    let mut limits = Vec::new();
    if let Some(most) = rate.per_minute {
        let since = floor(now.0, MINUTE);
        limits.push(Limit {
            period: Period::Minute,
            most: u64::from(most),
            since: Timestamp(since),
            until: Timestamp(since.saturating_add(MINUTE)),
        });
    }
    let shift = shift(caps);
    if let Some(most) = caps.per_day {
        let since = floor(now.0.saturating_add(shift), DAY).saturating_sub(shift);
        limits.push(Limit {
            period: Period::Day,
            most,
            since: Timestamp(since),
            until: Timestamp(since.saturating_add(DAY)),
        });
    }
    if let Some(most) = caps.per_month
        && let Some((since, until)) = month(now.0.saturating_add(shift), caps.resets_on)
    {
        let since = Timestamp(since.saturating_sub(shift));
        limits.push(Limit {
            period: Period::Month,
            most,
            since,
            until: Timestamp(until.saturating_sub(shift)),
        });
    }
    limits
}

/// Whether there is anything to count.
pub(super) fn has_limits(caps: &Caps, rate: &Rate) -> bool {
    caps.per_day.is_some() || caps.per_month.is_some() || rate.per_minute.is_some()
}

impl Limit {
    /// How many messages may still be taken, when so much was sent and so many messages are in hand.
    pub(super) fn left(&self, spent: u64, in_hand: usize) -> usize {
        usize::try_from(self.most.saturating_sub(spent)).unwrap_or(usize::MAX).saturating_sub(in_hand)
    }

    /// Why nothing is sent, for people; none for the rate, which is no news.
    pub(super) fn sentence(&self) -> Option<String> {
        let which = match self.period {
            Period::Minute => return None,
            Period::Day => "daily",
            Period::Month => "monthly",
        };
        Some(format!("the {which} cap of {} is reached; it goes on at {}", self.most, self.until))
    }
}

const MINUTE: i64 = 60_000_000;
const DAY: i64 = 24 * 60 * MINUTE;

fn floor(at: i64, step: i64) -> i64 {
    at.div_euclid(step).saturating_mul(step)
}

/// What is added to UTC to have days begin at midnight.
fn shift(caps: &Caps) -> i64 {
    let resets_at = i64::try_from(caps.resets_at.as_micros()).unwrap_or(0) % DAY;
    i64::from(caps.utc_offset).saturating_mul(1_000_000).saturating_sub(resets_at)
}

/// The beginnings of the month in which a shifted time lies, and of the next. None beyond the years that a calendar has.
fn month(at: i64, resets_on: u8) -> Option<(i64, i64)> {
    let day = i8::try_from(resets_on.clamp(1, 28)).ok()?;
    let today = TimeZone::UTC.to_datetime(jiff::Timestamp::from_microsecond(at).ok()?).date();
    let (mut year, mut month) = (today.year(), today.month());
    if today.day() < day {
        (year, month) = if month == 1 { (year.checked_sub(1)?, 12) } else { (year, month - 1) };
    }
    let begins = |year, month| -> Option<i64> {
        let zoned = Date::new(year, month, day).ok()?.to_zoned(TimeZone::UTC).ok()?;
        Some(zoned.timestamp().as_microsecond())
    };
    let next = if month == 12 { begins(year.checked_add(1)?, 1)? } else { begins(year, month + 1)? };
    Some((begins(year, month)?, next))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse(text).unwrap()
    }

    /// The period of this kind, as two times.
    fn period(caps: Caps, period: Period, now: &str) -> (String, String) {
        let caps = Caps { per_day: Some(1), per_month: Some(1), ..caps };
        let rate = Rate { per_minute: Some(1), ..Rate::default() };
        let limit = limits(&caps, &rate, at(now)).into_iter().find(|limit| limit.period == period).unwrap();
        let short = |at: Timestamp| at.to_string().replace(":00.000Z", "");
        (short(limit.since), short(limit.until))
    }

    fn both(since: &str, until: &str) -> (String, String) {
        (since.into(), until.into())
    }

    #[test]
    fn days_and_months_begin_when_they_are_said_to() {
        let plain = Caps::default();
        let now = "2026-11-22T08:55:35Z";
        assert_eq!(period(plain, Period::Minute, now), both("2026-11-22T08:55", "2026-11-22T08:56"));
        assert_eq!(period(plain, Period::Day, now), both("2026-11-22T00:00", "2026-11-23T00:00"));
        assert_eq!(period(plain, Period::Month, now), both("2026-11-01T00:00", "2026-12-01T00:00"));
        // Six in the morning, two hours before UTC, on the 22nd.
        let hour = Duration::from_secs(3600);
        let bujumbura = Caps { resets_at: 6 * hour, resets_on: 22, utc_offset: 7200, ..plain };
        assert_eq!(period(bujumbura, Period::Day, now), both("2026-11-22T04:00", "2026-11-23T04:00"));
        assert_eq!(period(bujumbura, Period::Month, now), both("2026-11-22T04:00", "2026-12-22T04:00"));
        let early = "2026-11-22T03:59:59Z";
        assert_eq!(period(bujumbura, Period::Day, early), both("2026-11-21T04:00", "2026-11-22T04:00"));
        assert_eq!(period(bujumbura, Period::Month, early), both("2026-10-22T04:00", "2026-11-22T04:00"));
        let west = Caps { utc_offset: -5 * 3600, ..plain };
        assert_eq!(
            period(west, Period::Day, "2026-12-01T04:00:00Z"),
            both("2026-11-30T05:00", "2026-12-01T05:00")
        );
        assert_eq!(
            period(west, Period::Month, "2026-12-01T04:00:00Z"),
            both("2026-11-01T05:00", "2026-12-01T05:00")
        );
    }

    #[test]
    fn every_time_has_its_periods() {
        for (resets_on, now, expected) in [
            (1, "2027-01-01T00:00:00Z", ("2027-01-01T00:00", "2027-02-01T00:00")),
            (28, "2028-01-27T00:00:00Z", ("2027-12-28T00:00", "2028-01-28T00:00")),
            (31, "2028-02-29T00:00:00Z", ("2028-02-28T00:00", "2028-03-28T00:00")),
            (0, "2026-12-31T23:59:00Z", ("2026-12-01T00:00", "2027-01-01T00:00")),
        ] {
            let caps = Caps { resets_on, ..Caps::default() };
            assert_eq!(period(caps, Period::Month, now), both(expected.0, expected.1), "{resets_on} {now}");
        }
        let caps = Caps { per_day: Some(1), per_month: Some(1), ..Caps::default() };
        for at in [i64::MIN, -1, 0, i64::MAX] {
            for limit in limits(&caps, &Rate::default(), Timestamp(at)) {
                assert!(limit.since.0 <= at && at <= limit.until.0);
            }
        }
    }

    #[test]
    fn what_is_left_counts_what_is_in_hand() {
        let limit =
            Limit { period: Period::Day, most: 10, since: Timestamp(0), until: at("2026-11-23T00:00:00Z") };
        assert_eq!((limit.left(0, 0), limit.left(7, 2), limit.left(9, 2), limit.left(99, 0)), (10, 1, 0, 0));
        assert_eq!(
            limit.sentence().unwrap(),
            "the daily cap of 10 is reached; it goes on at 2026-11-23T00:00:00.000Z"
        );
        assert_eq!(limits(&Caps::default(), &Rate::default(), Timestamp(0)), []);
    }
}
