//! How long the network shall try (3GPP TS 23.040 clause 9.2.3.12): relative, absolute or enhanced.

use super::reader::{DecodeError, Reader};
use super::timestamp::{NetworkTime, digits};
use std::time::Duration;

const MINUTE: u64 = 60;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;

/// Bits 4 and 3 of a SUBMIT's first octet (TP-VPF, clause 9.2.3.3).
const FORMAT: u8 = 0x18;
const RELATIVE: u8 = 0x10;
const ENHANCED: u8 = 0x08;
const ABSOLUTE: u8 = 0x18;

/// How long the network shall try.
#[doc(alias = "TP-VP")]
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Validity {
    /// From its arrival: 5 minutes to 63 weeks in 256 steps.
    Relative(u8),
    /// Until then.
    Absolute(NetworkTime),
    /// Seven octets: an indicator, and what it says.
    Enhanced([u8; 7]),
}

impl Validity {
    /// The relative validity that is not shorter, 63 weeks at most.
    pub fn at_least(wanted: Duration) -> Validity {
        let found = (0..=u8::MAX).find(|step| relative(*step) >= wanted);
        Validity::Relative(found.unwrap_or(u8::MAX))
    }

    /// How long from its arrival; `None` for an absolute one, and for an enhanced one that says nothing about time.
    pub fn lasts(self) -> Option<Duration> {
        match self {
            Validity::Relative(step) => Some(relative(step)),
            Validity::Absolute(_) => None,
            Validity::Enhanced([indicator, first, second, third, ..]) => {
                // An extension octet, if announced, follows the indicator; clause 9.2.3.12.3 knows none yet.
                if indicator & 0x80 != 0 {
                    return None;
                }
                match indicator & 0b111 {
                    0b001 => Some(relative(first)),
                    0b010 if first > 0 => Some(Duration::from_secs(u64::from(first))),
                    0b011 => {
                        let [hours, minutes, seconds] = [digits(first)?, digits(second)?, digits(third)?];
                        let seconds =
                            u64::from(hours) * HOUR + u64::from(minutes) * MINUTE + u64::from(seconds);
                        Some(Duration::from_secs(seconds))
                    }
                    _ => None,
                }
            }
        }
    }

    pub(super) fn read(first: u8, reader: &mut Reader<'_>) -> Result<Option<Validity>, DecodeError> {
        const WHAT: &str = "the validity";
        Ok(match first & FORMAT {
            RELATIVE => Some(Validity::Relative(reader.octet(WHAT)?)),
            ABSOLUTE => Some(Validity::Absolute(NetworkTime::read(reader, WHAT)?)),
            ENHANCED => Some(Validity::Enhanced(reader.array(WHAT)?)),
            _ => None,
        })
    }

    /// The bits for the first octet.
    pub(super) fn format(this: Option<Validity>) -> u8 {
        match this {
            None => 0,
            Some(Validity::Relative(_)) => RELATIVE,
            Some(Validity::Absolute(_)) => ABSOLUTE,
            Some(Validity::Enhanced(_)) => ENHANCED,
        }
    }

    pub(super) fn write(self, octets: &mut Vec<u8>) {
        match self {
            Validity::Relative(step) => octets.push(step),
            Validity::Absolute(NetworkTime(time)) => octets.extend(time),
            Validity::Enhanced(fields) => octets.extend(fields),
        }
    }
}

/// The table of clause 9.2.3.12.1.
fn relative(step: u8) -> Duration {
    let value = u64::from(step);
    Duration::from_secs(match step {
        0..=143 => (value + 1) * 5 * MINUTE,
        144..=167 => 12 * HOUR + (value - 143) * 30 * MINUTE,
        168..=196 => (value - 166) * DAY,
        197..=255 => (value - 192) * 7 * DAY,
    })
}
