//! Times of the network (3GPP TS 23.040 clause 9.2.3.11): seven octets of swapped digits with a zone in quarters of an hour.
//!
//! The clocks of service centers are often wrong and sometimes absent: the octets are kept, and only a real time is given as one.

use super::reader::{DecodeError, Reader, Remark};
use crate::time::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;
use std::fmt;

/// No zone of the world is further from UTC than this many quarters of an hour.
const FURTHEST_QUARTERS: i8 = 56;
/// Two digits from here on are a year of the last century: the clock was never set, for SMS is younger.
const LAST_CENTURY: i16 = 70;

/// The seven octets.
#[doc(alias = "TP-SCTS")]
#[doc(alias = "TP-DT")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct NetworkTime(pub [u8; 7]);

impl NetworkTime {
    /// The octets of a time, to the second, at so many quarters of an hour east of UTC. `None` outside of 1970 to 2069, and for an impossible zone.
    pub fn new(at: Timestamp, quarters: i8) -> Option<NetworkTime> {
        if quarters.unsigned_abs() > FURTHEST_QUARTERS.unsigned_abs() {
            return None;
        }
        let offset = Offset::from_seconds(i32::from(quarters) * 900).ok()?;
        let local = offset.to_datetime(jiff::Timestamp::from_microsecond(at.0).ok()?);
        if !(1970..2070).contains(&local.year()) {
            return None;
        }
        let year = i8::try_from(local.year() % 100).ok()?;
        let digits = [year, local.month(), local.day(), local.hour(), local.minute(), local.second()];
        let mut octets = [0; 7];
        for (octet, digits) in octets.iter_mut().zip(digits) {
            *octet = swapped(digits.unsigned_abs());
        }
        let sign = if quarters < 0 { 0x08 } else { 0x00 };
        octets[6] = swapped(quarters.unsigned_abs()) | sign;
        Some(NetworkTime(octets))
    }

    /// The time, if it is one.
    pub fn timestamp(self) -> Option<Timestamp> {
        let (local, offset) = self.local()?;
        let at = offset.to_timestamp(local).ok()?;
        Some(Timestamp(at.as_microsecond()))
    }

    /// The zone, in quarters of an hour east of UTC.
    pub fn quarters(self) -> Option<i8> {
        // The sign is bit 3 of the octet: the high bit of the ten's digit.
        let sign = self.0[6] & 0x08;
        let quarters = i8::try_from(digits(self.0[6] & !0x08)?).ok()?;
        (quarters <= FURTHEST_QUARTERS).then_some(if sign == 0 { quarters } else { -quarters })
    }

    pub(super) fn read(reader: &mut Reader<'_>, what: &'static str) -> Result<NetworkTime, DecodeError> {
        let time = NetworkTime(reader.array(what)?);
        if time.timestamp().is_none() {
            reader.remark(Remark::Time(what));
        }
        Ok(time)
    }

    fn local(self) -> Option<(DateTime, Offset)> {
        let [year, month, day, hour, minute, second, _] = self.0;
        let field = |octet: u8| digits(octet).and_then(|value| i8::try_from(value).ok());
        let year = i16::from(field(year)?);
        let year = if year >= LAST_CENTURY { 1900 + year } else { 2000 + year };
        let local =
            DateTime::new(year, field(month)?, field(day)?, field(hour)?, field(minute)?, field(second)?, 0);
        let offset = Offset::from_seconds(i32::from(self.quarters()?) * 900);
        Some((local.ok()?, offset.ok()?))
    }
}

/// RFC 3339 with the zone that it came with: `2026-11-22T11:55:35+03:00`, and `Z` for UTC. What is no time is shown as its octets.
impl fmt::Display for NetworkTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.local(), self.quarters()) {
            (Some((local, _)), Some(0)) => write!(f, "{local}Z"),
            (Some((local, _)), Some(quarters)) => {
                let sign = if quarters < 0 { '-' } else { '+' };
                let quarters = quarters.unsigned_abs();
                write!(f, "{local}{sign}{:02}:{:02}", quarters / 4, quarters % 4 * 15)
            }
            _ => f.write_str(&super::to_hex(&self.0)),
        }
    }
}

/// Two digits with the ten's digit in the low half.
pub(super) fn digits(octet: u8) -> Option<u8> {
    let (tens, ones) = (octet & 0x0F, octet >> 4);
    (tens < 10 && ones < 10).then_some(tens * 10 + ones)
}

fn swapped(value: u8) -> u8 {
    (value % 10) << 4 | (value / 10 % 10)
}
