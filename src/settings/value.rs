//! From what was typed to what is meant: one TOML node and a [`Kind`] give a [`Value`], or a sentence that says what is expected.
//!
//! Nothing here knows a key by name. A value that may be a secret never becomes part of a sentence.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use super::catalogue::{Key, Kind};
use super::fault::quote;
use super::secret::Secret;
use super::source::holds_secret;

/// A value as it is meant.
#[derive(Clone, PartialEq)]
pub enum Value {
    /// Text, an address, or one of some words (then in the catalogue's spelling).
    Text(String),
    /// A whole number, or a size in bytes.
    Integer(i64),
    /// True or false.
    Boolean(bool),
    /// A time.
    Duration(Duration),
    /// A file, made absolute.
    Path(PathBuf),
    /// A password, token or PIN.
    Secret(Secret),
    /// Texts in the order of the file.
    List(Vec<String>),
    /// Names and values in the order of the file; the names keep their spelling.
    Table(Vec<(String, Value)>),
    /// `false` where a setting can be switched off.
    Off,
}

impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Text(text) if holds_secret(text) => f.write_str("***"),
            Value::Text(text) => text.fmt(f),
            Value::Integer(number) => number.fmt(f),
            Value::Boolean(truth) => truth.fmt(f),
            Value::Duration(time) => time.fmt(f),
            Value::Path(path) => path.fmt(f),
            Value::Secret(secret) => fmt::Debug::fmt(secret, f),
            Value::List(list) => list.fmt(f),
            Value::Table(table) => {
                f.debug_map().entries(table.iter().map(|(name, value)| (name, value))).finish()
            }
            Value::Off => f.write_str("off"),
        }
    }
}

/// "a whole number from 1 to 9": what a kind expects.
pub(super) fn expected(kind: &Kind) -> String {
    match kind {
        Kind::Text => "text".into(),
        Kind::Integer { min, max } => format!("a whole number from {min} to {max}"),
        Kind::Boolean => "true or false".into(),
        Kind::Duration { min, max } => format!("a time from {} to {}", in_words(*min), in_words(*max)),
        Kind::Size { min, max } => format!("a size from {min} to {max} bytes"),
        Kind::Path => "the path of a file".into(),
        Kind::Url => "an address that begins with http:// or https://".into(),
        Kind::Secret => {
            "text, or { env = \"NAME\" }, { file = \"PATH\" } or { credential = \"NAME\" }".into()
        }
        Kind::OneOf(words) => format!("one of {}", words.join(", ")),
        Kind::TextList => "a list of texts".into(),
        Kind::Pairs => "a list of pairs".into(),
        Kind::Table => "a table of names and values".into(),
        Kind::OrOff(inner) => format!("{}, or false for none", expected(inner)),
        Kind::Any | Kind::Ignored(_) => "anything".into(),
    }
}

/// A line that could be pasted: `baudrate = 115200`.
pub(super) fn example(key: &Key) -> String {
    let shown = key.example.or(key.default.filter(|default| *default != "false"));
    let value = match key.kind {
        Kind::Integer { min, .. } => shown.map_or(min.to_string(), str::to_owned),
        Kind::Boolean => "true".into(),
        Kind::Text | Kind::OrOff(Kind::Text) => quote(shown.unwrap_or("...")),
        Kind::Duration { min, .. } => quote(shown.unwrap_or(&in_words(min))),
        Kind::Size { .. } => quote(shown.unwrap_or("64 KiB")),
        Kind::Path => "\"folder/file\"".into(),
        Kind::Url => quote(shown.unwrap_or("http://example.com/")),
        Kind::Secret => "{ env = \"NAME\" }".into(),
        Kind::OneOf(words) => quote(shown.or(words.first().copied()).unwrap_or("...")),
        Kind::TextList => "[\"one\", \"two\"]".into(),
        Kind::Pairs => "[[\"en\", \"English\"], [\"fr\", \"French\"]]".into(),
        Kind::Table => "{ name = \"value\" }".into(),
        Kind::OrOff(_) | Kind::Any | Kind::Ignored(_) => "false".into(),
    };
    format!("{} = {value}", key.name)
}

/// The value of a text: for text in a file, and for the defaults in the catalogue. The error says what is wrong with it.
pub(super) fn from_text(kind: &Kind, text: &str) -> Result<Value, String> {
    let wrong = || format!("must be {}, not {}", expected(kind), quote(text));
    match kind {
        Kind::Text => Ok(Value::Text(text.to_owned())),
        Kind::Duration { min, max } => {
            let time = duration(text).ok_or_else(wrong)?;
            if time < *min || time > *max { Err(wrong()) } else { Ok(Value::Duration(time)) }
        }
        Kind::Size { min, max } => {
            let bytes = size(text).filter(|bytes| (*min..=*max).contains(bytes)).ok_or_else(wrong)?;
            i64::try_from(bytes).map(Value::Integer).map_err(|_| wrong())
        }
        Kind::Url => url(text).map(|()| Value::Text(text.to_owned())),
        Kind::OneOf(words) => {
            let word = words.iter().find(|word| word.eq_ignore_ascii_case(text)).ok_or_else(wrong)?;
            Ok(Value::Text((*word).to_owned()))
        }
        Kind::TextList => Ok(Value::List(vec![text.to_owned()])),
        _ => Err(wrong()),
    }
}

/// A default of the catalogue, which is text even where the file would have a number.
pub(super) fn from_default(kind: &Kind, text: &str) -> Result<Value, String> {
    let wrong = || format!("must be {}, not {}", expected(kind), quote(text));
    match kind {
        Kind::Integer { .. } => from_integer(kind, text.parse().map_err(|_| wrong())?),
        Kind::Boolean => Ok(Value::Boolean(text.parse().map_err(|_| wrong())?)),
        Kind::OrOff(_) if text == "false" => Ok(Value::Off),
        Kind::OrOff(inner) => from_default(inner, text),
        Kind::Any => Ok(Value::Text(text.to_owned())),
        _ => from_text(kind, text),
    }
}

/// The value of a whole number.
pub(super) fn from_integer(kind: &Kind, number: i64) -> Result<Value, String> {
    let wrong = || format!("must be {}, not {number}", expected(kind));
    match kind {
        Kind::Integer { min, max } if (*min..=*max).contains(&number) => Ok(Value::Integer(number)),
        Kind::Size { min, max } => match u64::try_from(number) {
            Ok(bytes) if (*min..=*max).contains(&bytes) => Ok(Value::Integer(number)),
            _ => Err(wrong()),
        },
        Kind::Duration { min, max } => match u64::try_from(number).map(Duration::from_secs) {
            Ok(time) if time >= *min && time <= *max => Ok(Value::Duration(time)),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// The value of a number with a fraction: only times have one.
pub(super) fn from_float(kind: &Kind, number: f64) -> Result<Value, String> {
    let wrong = || format!("must be {}, not {number}", expected(kind));
    match kind {
        Kind::Duration { min, max } => match Duration::try_from_secs_f64(number) {
            Ok(time) if time >= *min && time <= *max => Ok(Value::Duration(time)),
            _ => Err(wrong()),
        },
        _ => Err(wrong()),
    }
}

/// Reads a time: numbers with units, one after the other; a bare number is seconds.
pub(super) fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text.trim();
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let (number, unit, after) = number_and_unit(rest)?;
        let seconds = match unit.to_lowercase().as_str() {
            "ms" | "millisecond" | "milliseconds" => 0.001,
            "s" | "sec" | "second" | "seconds" => 1.0,
            "" if after.is_empty() && total.is_zero() => 1.0,
            "m" | "min" | "minute" | "minutes" => 60.0,
            "h" | "hour" | "hours" => 3600.0,
            "d" | "day" | "days" => 86400.0,
            "w" | "week" | "weeks" => 7.0 * 86400.0,
            _ => return None,
        };
        total = total.checked_add(Duration::try_from_secs_f64(number * seconds).ok()?)?;
        rest = after;
    }
    // A fraction of a second is kept to the microsecond: 0.1 has no exact binary form.
    let micros = u64::try_from((total + Duration::from_nanos(500)).as_micros()).ok()?;
    Some(Duration::from_micros(micros))
}

/// Reads a size: a number and a unit; a bare number is bytes.
pub(super) fn size(text: &str) -> Option<u64> {
    const LARGEST: f64 = (1_u64 << 50) as f64;
    let (number, unit, rest) = number_and_unit(text.trim())?;
    let factor = match unit.to_lowercase().as_str() {
        "" | "b" | "byte" | "bytes" => 1.0,
        "kb" => 1e3,
        "k" | "kib" => 1024.0,
        "mb" => 1e6,
        "m" | "mib" => 1024.0 * 1024.0,
        "gb" => 1e9,
        "g" | "gib" => 1024.0 * 1024.0 * 1024.0,
        _ => return None,
    };
    let bytes = (number * factor).round();
    (rest.is_empty() && (0.0..=LARGEST).contains(&bytes)).then_some(bytes as u64)
}

/// `"10 s 5"` is 10, `s` and what follows.
fn number_and_unit(text: &str) -> Option<(f64, &str, &str)> {
    let digits = text.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(text.len());
    let number = text[..digits].parse().ok()?;
    let after = text[digits..].trim_start();
    let letters = after.find(|c: char| !c.is_alphabetic()).unwrap_or(after.len());
    Some((number, &after[..letters], after[letters..].trim_start()))
}

/// A time as one would say it.
pub(super) fn in_words(time: Duration) -> String {
    let seconds = time.as_secs();
    let of = |number: u64, unit: &str| format!("{number} {unit}{}", if number == 1 { "" } else { "s" });
    match seconds {
        0 => of(u64::from(time.subsec_millis()), "millisecond"),
        _ if seconds.is_multiple_of(86400) => of(seconds / 86400, "day"),
        _ if seconds.is_multiple_of(3600) => of(seconds / 3600, "hour"),
        _ if seconds.is_multiple_of(60) => of(seconds / 60, "minute"),
        _ => of(seconds, "second"),
    }
}

/// Is it an address that a request can be sent to? What stands behind the host may be a template.
fn url(text: &str) -> Result<(), String> {
    let lower = text.to_lowercase();
    let rest = ["http://", "https://"].iter().find_map(|scheme| lower.strip_prefix(scheme));
    let Some(rest) = rest else {
        return Err(format!("must be {}", expected(&Kind::Url)));
    };
    let host = rest.split(['/', '?', '#']).next().unwrap_or("");
    let host = host.rsplit('@').next().unwrap_or("");
    if host.is_empty() || host.starts_with(':') {
        return Err("has no host between // and the path".into());
    }
    if text.chars().any(|c| c.is_control() || c.is_whitespace()) {
        return Err("must not hold blanks; write %20".into());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_as_people_write_them() {
        let millis = |text: &str| duration(text).map(|time| time.as_millis());
        let cases = [
            ("48h", Some(172_800_000)),
            ("10 s", Some(10_000)),
            ("500ms", Some(500)),
            ("1h 30m", Some(5_400_000)),
            ("0.1 s", Some(100)),
            ("10", Some(10_000)),
            ("2 Days", Some(172_800_000)),
            ("", None),
            ("h", None),
            ("1 fortnight", None),
            ("-1 s", None),
            ("1..2 s", None),
            ("1 h 5", None),
            ("999999999999999999999999 weeks", None),
        ];
        for (text, expected) in cases {
            assert_eq!(millis(text), expected, "{text:?}");
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        let cases = [
            ("64 KiB", Some(65536)),
            ("1MB", Some(1_000_000)),
            ("512", Some(512)),
            ("1.5 k", Some(1536)),
            ("9e9", None),
            ("1 KiB 2", None),
            ("99999999 GiB", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(size(text), expected, "{text:?}");
        }
    }

    #[test]
    fn every_default_of_the_catalogue_is_a_value_of_its_kind() {
        let catalogue = crate::registry::Registry::standard().catalogue();
        use super::super::known::{
            BACKEND, DATABASE, GROUP, HOSTED_APP, KANNEL_SERVER, KANNEL_USER, ROUTER, TOP, WEB,
        };
        let own = catalogue.engines.iter().chain(&catalogue.hosts).map(|engine| engine.keys);
        let apps = catalogue.apps.iter().map(|app| app.keys);
        for key in [TOP, DATABASE, WEB, ROUTER, BACKEND, GROUP, HOSTED_APP, KANNEL_SERVER, KANNEL_USER]
            .into_iter()
            .chain(own)
            .chain(apps)
            .flatten()
        {
            if let Some(default) = key.default {
                assert_eq!(from_default(&key.kind, default).map(|_| ()), Ok(()), "{}", key.name);
            }
        }
    }
}
