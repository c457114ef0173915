//! How much and how fast a backend may send, as its table says it.

use std::time::Duration;

use super::fault::quote;
use super::options::Options;
use super::table::Reader;

/// How much and how fast a backend may send.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Limits {
    /// In a day.
    pub daily_cap: Option<u64>,
    /// In a month.
    pub monthly_cap: Option<u64>,
    /// The time of day at which a new day begins, by a clock that is ...
    pub resets_at: Duration,
    /// ... so many seconds before UTC; negative in the west.
    pub utc_offset: i32,
    /// The day on which a new month begins, 1 to 28; 0 when not said.
    pub caps_day: u8,
    /// In a minute.
    pub rate: Option<u32>,
    /// At least so long from one message to the next.
    pub gap: Duration,
}

/// Reads the limits of one table.
pub(super) fn read(reader: &mut Reader<'_>, title: &str, options: &Options) -> Limits {
    let number = |key: &str| options.integer(key).and_then(|number| u64::try_from(number).ok());
    let (daily_cap, monthly_cap) = (number("daily_cap"), number("monthly_cap"));
    let mut without = |key: &str, has_effect: bool, needs: &str| {
        if options.is_given(key) && !has_effect {
            let message = format!("{} in {title} has no effect without {needs}", quote(key));
            let help = format!("add {needs}, or take {key} out");
            reader.warning(options.place(key), message, help);
        }
    };
    without(
        "caps_reset",
        ["daily_cap", "monthly_cap"].iter().any(|cap| options.is_given(cap)),
        "daily_cap or monthly_cap",
    );
    without("caps_day", options.is_given("monthly_cap"), "monthly_cap");
    let (resets_at, utc_offset) = match options.text("caps_reset").map(|text| (text, time_of_day(text))) {
        None => (Duration::ZERO, 0),
        Some((_, Some(time))) => time,
        Some((text, None)) => {
            let message = format!(
                "\"caps_reset\" in {title} must be a time of day with an offset from UTC, not {}",
                quote(text)
            );
            let help = "for example: caps_reset = \"06:00+02:00\", or \"00:00\" for midnight UTC";
            reader.error(options.place("caps_reset"), message, help);
            (Duration::ZERO, 0)
        }
    };
    Limits {
        daily_cap,
        monthly_cap,
        resets_at,
        utc_offset,
        caps_day: number("caps_day").and_then(|day| u8::try_from(day).ok()).unwrap_or(0),
        rate: number("rate").and_then(|rate| u32::try_from(rate).ok()),
        gap: options.duration("gap").unwrap_or_default(),
    }
}

/// `06:00`, `06:00Z`, `06:00+02:00`: the time of day, and how many seconds its clock is before UTC.
fn time_of_day(text: &str) -> Option<(Duration, i32)> {
    let text = text.trim();
    let at = text.find(['+', '-', 'Z', 'z']).unwrap_or(text.len());
    let (time, offset) = text.split_at(at);
    let minutes = clock(time, 23)?;
    let offset = match offset {
        "" | "Z" | "z" => 0,
        // The farthest place is 14 hours before UTC.
        _ => match clock(&offset[1..], 14)? {
            minutes if minutes > 14 * 60 => return None,
            minutes if offset.starts_with('-') => -minutes,
            minutes => minutes,
        },
    };
    Some((Duration::from_secs(u64::try_from(minutes).ok()? * 60), offset * 60))
}

/// `HH:MM` in minutes.
fn clock(text: &str, most_hours: i32) -> Option<i32> {
    let (hours, minutes) = text.trim().split_once(':')?;
    let number = |digits: &str| {
        let two = digits.len() == 2 && digits.bytes().all(|digit| digit.is_ascii_digit());
        two.then(|| digits.parse::<i32>().ok()).flatten()
    };
    let (hours, minutes) = (number(hours)?, number(minutes)?);
    (hours <= most_hours && minutes < 60).then_some(hours * 60 + minutes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_day_are_read_with_their_offset() {
        let read = |text: &str| time_of_day(text).map(|(time, offset)| (time.as_secs() / 60, offset));
        for (text, expected) in [
            ("00:00", Some((0, 0))),
            ("06:00+02:00", Some((360, 7200))),
            (" 23:59 -03:30", Some((1439, -12600))),
            ("12:00Z", Some((720, 0))),
            ("12:00+14:00", Some((720, 50400))),
            ("12:00+14:01", None),
            ("24:00", None),
            ("6:00", None),
            ("06:60", None),
            ("06:00+2", None),
            ("06:00 Africa/Bujumbura", None),
            ("+02:00", None),
            ("é", None),
            ("", None),
        ] {
            assert_eq!(read(text), expected, "{text:?}");
        }
    }
}
