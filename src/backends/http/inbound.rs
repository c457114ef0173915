//! From a request of the gateway to messages, reports and the answer. Pure: nothing is stored here, and the answer leaves only when all of it
//! is on disk.
//!
//! A request without a sender or without a text is answered with 400 and the reason, and its gateway still has it. An empty text is a text: people
//! send empty messages. In a list of several messages one that cannot be read does not hold the others up: it is kept as it came, as
//! `quarantined`, for the next delivery of the same list would fail in the same way.

use std::sync::Arc;

use encoding_rs::Encoding;
use serde_json::Value;

use super::call::numbering;
use super::field::{Field, Fields, Found};
use super::given::{Given, Plain, wrong};
use super::trust::Trust;
use super::verdict::Is;
use crate::backends::{BackendError, Heard, Intake};
use crate::http::{Request, Response};
use crate::message::{About, Connection, Incoming, Name, Report, Verdict};
use crate::numbers::Numbering;
use crate::settings::BackendSettings;
use crate::time::Timestamp;

/// So many messages may come in one request.
const MOST_MESSAGES: usize = 1_000;
/// Longer names of messages are no names.
const LONGEST_ID: usize = 255;
/// The sender of what has none.
const NOBODY: &str = "unknown";

/// How one backend reads requests.
pub struct Inbound {
    backend: Name,
    trust: Trust,
    identity: Field,
    text: Field,
    id: Option<Field>,
    time: Option<(Field, Option<String>)>,
    charset: Charset,
    encoding: Wrapped,
    list: Option<String>,
    when: Vec<Condition>,
    answer: (u16, String, String),
    numbering: Option<Numbering>,
    status: Status,
}

/// In which charset the octets of a query or form are.
enum Charset {
    Fixed(&'static Encoding),
    /// A field of the request names it.
    Named(Field),
}

/// What is around a text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wrapped {
    Plain,
    Base64,
    /// Hexadecimal digits of the charset's octets.
    Hex,
}

struct Condition {
    field: Field,
    is: Is,
}

/// How reports are read.
struct Status {
    when: Vec<Condition>,
    id: Option<Field>,
    state: Option<Field>,
    error: Option<Field>,
    words: Vec<(String, Verdict)>,
}

/// What gateways call it; compared in lower case.
const WORDS: &[(&str, Verdict)] = &[
    ("delivered", Verdict::Delivered),
    ("delivrd", Verdict::Delivered),
    ("success", Verdict::Delivered),
    ("read", Verdict::Delivered),
    ("failed", Verdict::Failed),
    ("failure", Verdict::Failed),
    ("fail", Verdict::Failed),
    ("undelivered", Verdict::Failed),
    ("undeliverable", Verdict::Failed),
    ("undeliv", Verdict::Failed),
    ("rejected", Verdict::Failed),
    ("rejectd", Verdict::Failed),
    ("expired", Verdict::Failed),
    ("deleted", Verdict::Failed),
    ("canceled", Verdict::Failed),
    ("cancelled", Verdict::Failed),
    ("absentsubscriber", Verdict::Failed),
    ("sent", Verdict::Underway),
    ("queued", Verdict::Underway),
    ("accepted", Verdict::Underway),
    ("submitted", Verdict::Underway),
    ("buffered", Verdict::Underway),
    ("pending", Verdict::Underway),
    ("processed", Verdict::Underway),
    ("enroute", Verdict::Underway),
    ("underway", Verdict::Underway),
    ("wired", Verdict::Underway),
];

/// Reads the settings: what the engine's `intake` calls.
pub fn intake(settings: &BackendSettings) -> Result<Arc<dyn Intake>, BackendError> {
    Ok(Arc::new(Inbound::of(settings)?))
}

impl Inbound {
    /// Reads the settings.
    pub fn of(settings: &BackendSettings) -> Result<Inbound, BackendError> {
        let given = Given::of(settings)?;
        let (identity, text) = names(&given)?;
        let status_code =
            given.integer("incoming_answer_status").and_then(|status| u16::try_from(status).ok());
        let kind = given.text("incoming_answer_type").unwrap_or("text/plain; charset=utf-8");
        let body = given.text_or_empty("incoming_answer").to_string();
        let time = field(&given, "incoming_time")?;
        let format =
            given.text("incoming_time_format").filter(|format| *format != "auto").map(str::to_string);
        if let Some(pointer) = given.text("incoming_list").filter(|pointer| !pointer.starts_with('/')) {
            return Err(wrong(
                "incoming_list",
                format!("{pointer:?} is no pointer: \"/\" is the body itself, else /messages"),
            ));
        }
        Ok(Inbound {
            backend: settings.name.as_str().into(),
            trust: Trust::of(&given)?,
            identity,
            text,
            id: field(&given, "incoming_id")?,
            time: time.map(|field| (field, format)),
            charset: Charset::of(&given)?,
            encoding: match given.text("incoming_encoding") {
                Some("base64") => Wrapped::Base64,
                Some("hex") => Wrapped::Hex,
                _ => Wrapped::Plain,
            },
            list: given
                .text("incoming_list")
                .map(|pointer| if pointer == "/" { String::new() } else { pointer.into() }),
            when: conditions(&given, "incoming_when")?,
            answer: (status_code.unwrap_or(200), kind.to_string(), body),
            numbering: numbering(&given)?.map(|(numbering, ..)| numbering),
            status: Status::of(&given)?,
        })
    }

    fn read(&self, request: &Request, rest: &[&str]) -> Result<Heard, String> {
        let fields = Fields::of(request, rest)?;
        if self.status.is_meant(&fields, rest) {
            return self.status.read(&fields, &self.backend);
        }
        let mut heard = Heard::nothing(self.answer());
        // An event that is none of those that were asked for is acknowledged, or it would come for ever.
        if !self.when.iter().all(|condition| condition.holds(&fields)) {
            return Ok(heard);
        }
        let Some(pointer) = &self.list else {
            heard.messages.push(self.message(&fields, None)?);
            return Ok(heard);
        };
        let items = fields.json().and_then(|json| json.pointer(pointer)).and_then(Value::as_array);
        let items =
            items.ok_or_else(|| format!("there is no list of messages at {pointer:?} in the body"))?;
        if items.len() > MOST_MESSAGES {
            return Err(format!("{} messages at once; {MOST_MESSAGES} are possible", items.len()));
        }
        for item in items {
            heard.messages.push(self.message(&fields, Some(item)).unwrap_or_else(|why| {
                let raw = item.to_string().into_bytes();
                Incoming::undecodable(Connection::new(self.backend.clone(), NOBODY), raw, why)
            }));
        }
        Ok(heard)
    }

    fn message(&self, fields: &Fields<'_>, item: Option<&Value>) -> Result<Incoming, String> {
        let charset = self.charset.for_request(fields, item)?;
        let sender = match fields.find(&self.identity, item) {
            None => String::new(),
            Some(Found::Text(text)) => text,
            // The charset is that of the text. A number is the same in most, and one in UTF-16 is still sent in ASCII.
            Some(Found::Octets(octets)) => match String::from_utf8(octets) {
                Ok(text) => text,
                Err(error) => decode(charset, error.as_bytes(), "the sender")?,
            },
        };
        let identity = identity(&sender);
        if identity.is_empty() {
            return Err(format!("the sender is missing: {} must hold it", written(&self.identity)));
        }
        let text = match (self.encoding, fields.find(&self.text, item)) {
            (_, None) => {
                return Err(format!(
                    "the text is missing: {} must hold it; it may be empty",
                    written(&self.text)
                ));
            }
            (Wrapped::Plain, Some(Found::Text(text))) => text,
            (Wrapped::Plain, Some(Found::Octets(octets))) => decode(charset, &octets, "the text")?,
            (wrapped, Some(found)) => decode(charset, &wrapped.open(found)?, "the text")?,
        };
        let identity = match &self.numbering {
            Some(numbering) => numbering.normalise(&identity).into_owned(),
            None => identity,
        };
        let mut incoming = Incoming::new(Connection::new(self.backend.clone(), identity), text);
        if let Some(field) = &self.id {
            incoming.redelivery_key =
                fields.text(field, item).filter(|id| !id.is_empty() && id.len() <= LONGEST_ID);
        }
        if let Some((field, format)) = &self.time {
            // A time that cannot be read is no reason to lose a message.
            let written = fields.text(field, item).unwrap_or_default();
            incoming.source_time = match format {
                None => time(&written),
                Some(format) => time_as(format, &written),
            };
        }
        Ok(incoming)
    }

    fn answer(&self) -> Response {
        let (status, kind, body) = &self.answer;
        match body.is_empty() {
            true => Response::empty(*status),
            false => Response::bytes(*status, kind.clone(), body.clone().into_bytes()),
        }
    }
}

impl Intake for Inbound {
    fn has_trust(&self) -> bool {
        self.trust.is_given()
    }

    fn hear(&self, request: &Request, rest: &[&str], now: Timestamp) -> Heard {
        if !matches!(request.method(), "GET" | "POST" | "PUT") {
            let sentence = format!("{} is not possible here; possible: GET, POST, PUT", request.method());
            return Heard::nothing(Response::error(405, &sentence).header("Allow", "GET, POST, PUT"));
        }
        if let Err(denied) = self.trust.check(request, rest, now) {
            return Heard::nothing(denied);
        }
        self.read(request, rest).unwrap_or_else(|why| Heard::nothing(Response::error(400, &why)))
    }
}

impl Charset {
    fn of(given: &Given<'_>) -> Result<Charset, BackendError> {
        let written = given.text("incoming_charset").unwrap_or("utf-8").trim();
        if let Some(field) = written.strip_prefix("field ") {
            let field = Field::read(field).map_err(|why| wrong("incoming_charset", why))?;
            return Ok(Charset::Named(field));
        }
        charset(written).map(Charset::Fixed).map_err(|why| wrong("incoming_charset", why))
    }

    fn for_request(&self, fields: &Fields<'_>, item: Option<&Value>) -> Result<&'static Encoding, String> {
        match self {
            Charset::Fixed(charset) => Ok(charset),
            Charset::Named(field) => match fields.text(field, item).filter(|name| !name.trim().is_empty()) {
                Some(name) => charset(&name),
                None => Ok(encoding_rs::UTF_8),
            },
        }
    }
}

impl Wrapped {
    fn open(self, found: Found) -> Result<Vec<u8>, String> {
        use base64::Engine as _;
        let octets = match found {
            Found::Text(text) => text.into_bytes(),
            Found::Octets(octets) => octets,
        };
        let octets: Vec<u8> = octets.into_iter().filter(|octet| !octet.is_ascii_whitespace()).collect();
        match self {
            Wrapped::Plain => Ok(octets),
            Wrapped::Base64 => base64::engine::general_purpose::STANDARD
                .decode(&octets)
                .map_err(|error| format!("the text is not right base64: {error}")),
            Wrapped::Hex => {
                let wrong = || "the text is no row of pairs of hexadecimal digits".to_string();
                let digits = octets
                    .iter()
                    .map(|digit| char::from(*digit).to_digit(16).and_then(|value| u8::try_from(value).ok()));
                let digits: Vec<u8> = digits.collect::<Option<_>>().ok_or_else(wrong)?;
                if digits.len() % 2 == 1 {
                    return Err(wrong());
                }
                Ok(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
            }
        }
    }
}

impl Condition {
    /// `FIELD`, `FIELD = VALUE`, `FIELD != VALUE` or `FIELD matches PATTERN`.
    fn read(text: &str) -> Result<Condition, String> {
        let text = text.trim();
        let words = if text.starts_with("header ") || text.starts_with("path ") { 2 } else { 1 };
        let cut = text.match_indices(char::is_whitespace).nth(words - 1).map_or(text.len(), |(at, _)| at);
        let (field, rest) = text.split_at(cut);
        // What stands before a comparison is one word for it.
        let shaped = format!("x{rest}");
        let (_, is) = Is::after(&shaped)?;
        Ok(Condition { field: Field::read(field)?, is })
    }

    fn holds(&self, fields: &Fields<'_>) -> bool {
        self.is.fits(fields.text(&self.field, None).as_deref())
    }
}

impl Status {
    fn of(given: &Given<'_>) -> Result<Status, BackendError> {
        let mut words = Vec::new();
        for (word, meaning) in given.table("status_words").unwrap_or_default() {
            let verdict = match &meaning {
                Plain::Text(text) if text == "delivered" => Verdict::Delivered,
                Plain::Text(text) if text == "failed" => Verdict::Failed,
                Plain::Text(text) if text == "underway" => Verdict::Underway,
                _ => {
                    return Err(wrong(
                        "status_words",
                        format!("{word} must be delivered, failed or underway"),
                    ));
                }
            };
            words.push((word.to_lowercase(), verdict));
        }
        Ok(Status {
            when: conditions(given, "status_when")?,
            id: field(given, "status_id")?,
            state: field(given, "status_state")?,
            error: field(given, "status_error")?,
            words,
        })
    }

    /// A report comes to `.../status/`, or is known by what is in it.
    fn is_meant(&self, fields: &Fields<'_>, rest: &[&str]) -> bool {
        // The first piece may be the secret.
        let by_path = rest.iter().take(2).any(|piece| *piece == "status");
        by_path || (!self.when.is_empty() && self.when.iter().all(|condition| condition.holds(fields)))
    }

    fn read(&self, fields: &Fields<'_>, backend: &Name) -> Result<Heard, String> {
        let usual = |name: &str| Field::Name(name.to_string());
        let id = self.id.clone().unwrap_or_else(|| usual("id"));
        let state = self.state.clone().unwrap_or_else(|| usual("status"));
        let named = fields.text(&id, None).map(|id| id.trim().to_string()).filter(|id| !id.is_empty());
        let named = named.filter(|id| id.len() <= LONGEST_ID);
        let named = named
            .ok_or_else(|| format!("the id of the message is missing: {} must hold it", written(&id)))?;
        let word = fields.text(&state, None).filter(|word| !word.trim().is_empty());
        let word = word.ok_or_else(|| format!("the state is missing: {} must hold it", written(&state)))?;
        let word = word.trim().to_lowercase();
        let own = self.words.iter().find(|(known, _)| *known == word).map(|(_, verdict)| *verdict);
        let verdict =
            own.or_else(|| WORDS.iter().find(|(known, _)| *known == word).map(|(_, verdict)| *verdict));
        let error = self
            .error
            .as_ref()
            .and_then(|field| fields.text(field, None))
            .filter(|error| !error.trim().is_empty());
        let mut note: String = match error {
            Some(error) => format!("{word} ({})", error.trim()),
            None => word,
        };
        note = note.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(200).collect();
        let report = Report {
            backend: backend.clone(),
            about: match named.parse() {
                Ok(id) => About::Id(id),
                Err(()) => About::Remote(named),
            },
            // A word that nobody knows is kept in the history; it ends nothing.
            verdict: verdict.unwrap_or(Verdict::Underway),
            note: Some(note),
        };
        let mut heard = Heard::nothing(Response::text(200, "OK"));
        heard.reports.push(report);
        Ok(heard)
    }
}

/// The names of the two fields, as any of the systems has them. Those of the older ones are never anything but names.
fn names(given: &Given<'_>) -> Result<(Field, Field), BackendError> {
    let (mut identity, mut text) = (None, None);
    if let Some(template) = given.text("params_incoming") {
        // RapidSMS 0.9: id=%(phone_number)s&text=%(message)s
        for (name, value) in template.split('&').filter_map(|pair| pair.split_once('=')) {
            match value.trim() {
                "%(phone_number)s" | "%(identity)s" => identity = Some(name.trim().to_string()),
                "%(message)s" | "%(text)s" => text = Some(name.trim().to_string()),
                _ => {}
            }
        }
    } else if given.text("gateway_url").is_some() && !given.is_said("incoming_identity") {
        identity = Some("id".to_string());
    }
    for (name, value) in given.table("params").unwrap_or_default() {
        // RapidSMS 2.
        match (name.as_str(), value) {
            ("identity_name", Plain::Text(name)) => identity = Some(name),
            ("text_name", Plain::Text(name)) => text = Some(name),
            (other, _) => {
                return Err(wrong("params", format!("{other:?} is not known: identity_name and text_name")));
            }
        }
    }
    let read = |name: Option<String>, key: &str, usual: &str| match name {
        Some(name) => Ok(Field::Name(name)),
        None => Field::read(given.text(key).unwrap_or(usual)).map_err(|why| wrong(key, why)),
    };
    Ok((read(identity, "incoming_identity", "identity")?, read(text, "incoming_text", "text")?))
}

fn field(given: &Given<'_>, key: &str) -> Result<Option<Field>, BackendError> {
    given.text(key).map(|text| Field::read(text).map_err(|why| wrong(key, why))).transpose()
}

fn conditions(given: &Given<'_>, key: &str) -> Result<Vec<Condition>, BackendError> {
    given
        .list(key)
        .iter()
        .map(|text| Condition::read(text).map_err(|why| wrong(key, format!("{text:?}: {why}"))))
        .collect()
}

fn written(field: &Field) -> String {
    match field {
        Field::Name(name) => format!("the field {name:?}"),
        Field::Pointer(pointer) => format!("{pointer} in the JSON"),
        Field::Header(name) => format!("the header {name}"),
        Field::Path(piece) => format!("piece {piece} of the path"),
        Field::Pattern(_) => "a place in the body".into(),
        Field::Body => "the body".into(),
    }
}

fn charset(name: &str) -> Result<&'static Encoding, String> {
    let found = Encoding::for_label_no_replacement(name.trim().as_bytes());
    found.ok_or_else(|| format!("the charset {name:?} is not known here; UTF-8 always is"))
}

/// Strictly: what was meant by octets that the charset does not have cannot be known, and the sender can still be told.
fn decode(charset: &'static Encoding, octets: &[u8], what: &str) -> Result<String, String> {
    match charset.decode_without_bom_handling_and_without_replacement(octets) {
        Some(text) => Ok(text.into_owned()),
        None => Err(format!("{what} is not {}, as its octets are said to be", charset.name())),
    }
}

/// An address as one would write it: a `+` that a form made a blank comes back, and blanks between digits go.
fn identity(text: &str) -> String {
    let trimmed = text.trim();
    let is_number = trimmed.chars().any(|letter| letter.is_ascii_digit())
        && trimmed.chars().all(|letter| letter.is_ascii_digit() || " +-.()\u{a0}".contains(letter));
    if !is_number {
        return trimmed.to_string();
    }
    let mut number: String =
        trimmed.chars().filter(|letter| letter.is_ascii_digit() || *letter == '+').collect();
    // An international number has 7 digits at least (E.164), and none begins with 0.
    if text.starts_with(' ') && number.len() >= 7 && !number.starts_with(['0', '+']) {
        number.insert(0, '+');
    }
    number
}

/// A time in one of the usual spellings: RFC 3339, the same with a blank and without an offset (then UTC), or seconds or milliseconds since 1970.
pub fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    if let Ok(number) = text.parse::<i64>() {
        return match number {
            // From 2001 to 2286 in seconds, or in milliseconds.
            1_000_000_000..=9_999_999_999 => Some(Timestamp::from_seconds(number)),
            1_000_000_000_000..=9_999_999_999_999 => Some(Timestamp(number * 1000)),
            _ => None,
        };
    }
    Timestamp::parse(text).or_else(|| {
        let civil: jiff::civil::DateTime = text.parse().ok()?;
        let at = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        Some(Timestamp(at.as_microsecond()))
    })
}

/// A time in a spelling of its own (`%d/%m/%Y %H:%M:%S`); without an offset it is UTC.
fn time_as(format: &str, text: &str) -> Option<Timestamp> {
    let broken = jiff::fmt::strtime::parse(format, text.trim()).ok()?;
    let at = match broken.to_timestamp() {
        Ok(at) => at,
        Err(_) => broken.to_datetime().ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp(),
    };
    Some(Timestamp(at.as_microsecond()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identities_are_written_as_people_write_them() {
        let cases = [
            (" 254712345678", "+254712345678"),
            ("+254 712 345-678", "+254712345678"),
            ("0712 345 678", "0712345678"),
            (" 0712345678", "0712345678"),
            (" 22120", "22120"),
            ("22120 ", "22120"),
            (" Safaricom ", "Safaricom"),
            ("a b@c.example", "a b@c.example"),
            ("*144#", "*144#"),
            ("  ", ""),
            ("+", "+"),
        ];
        for (given, expected) in cases {
            assert_eq!(identity(given), expected, "{given:?}");
        }
    }

    #[test]
    fn times_are_read_as_gateways_write_them() {
        let at = Timestamp::from_seconds(1_795_337_735);
        for text in [
            "2026-11-22T08:55:35Z",
            "2026-11-22 08:55:35",
            "2026-11-22T10:55:35+02:00",
            "1795337735",
            " 1795337735000 ",
        ] {
            assert_eq!(time(text), Some(at), "{text}");
        }
        for text in ["", "yesterday", "7", "2026-13-01 00:00:00"] {
            assert_eq!(time(text), None, "{text}");
        }
        assert_eq!(time_as("%d/%m/%Y %H:%M:%S", "22/11/2026 08:55:35"), Some(at));
        assert_eq!(time_as("%d/%m/%Y %H:%M:%S %z", "22/11/2026 10:55:35 +0200"), Some(at));
    }
}
