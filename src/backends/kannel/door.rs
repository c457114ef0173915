//! The door through which Kannel hands in messages and delivery reports: `GET /backend/NAME/` and `GET /backend/NAME/delivery-report/`.
//!
//! | field | what |
//! |---|---|
//! | `id` | the sender's number (`%p`); never a key by which a repetition is known |
//! | `text` | the text (`%b`, `%a`), in `charset` |
//! | `charset` | what `%C` says; `coding` decides when it is missing |
//! | `coding` | what `%c` says: 0 GSM alphabet, 1 octets, 2 Unicode |
//! | `message_id` | `%I`, by which a repetition is known; without it nothing is taken for one |
//!
//! Reports have the fields of RapidSMS 2: `message_id` (ours) and `status`; `status_text`, `smsc`, `sms_id`, `date_sent` and `identity` may be missing.
//!
//! The answer leaves when all is on disk: 200 and nothing in it, since Kannel sends a body to the phone as a message. It never guesses: what is no text in the
//! charset that it claims is kept with its octets, as `quarantined`, and no app is asked to answer it. `tests/kannel/messages.txt` has every case.

use super::fields::Fields;
use super::rules::{Rules, listener};
use super::trust::Trust;
use crate::backends::{BackendError, Heard, Intake};
use crate::http::charset::Charset;
use crate::http::{Request, Response};
use crate::message::{About, Connection, Incoming, Name, Report, Verdict};
use crate::settings::BackendSettings;
use crate::time::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

/// What a stranger is told is logged once in this time.
const SAID_EVERY: Duration = Duration::from_secs(60);
/// The longest name that a repetition is known by, in octets; Kannel's have 36.
const LONGEST_KEY: usize = 200;
/// So many characters of a carrier's words are kept.
const LONGEST_WORDS: usize = 200;

/// The inbound side of one backend.
pub struct Door {
    backend: Name,
    trust: Trust,
    /// With a listener of its own any path is a message, as RapidSMS 0.9 had it.
    any_path: bool,
    /// When it was last said in the log that somebody was turned away.
    said: AtomicI64,
}

/// The inbound side of a backend with these settings.
pub fn intake(settings: &BackendSettings) -> Result<Arc<dyn Intake>, BackendError> {
    Ok(Arc::new(Door::of(settings)?))
}

impl Door {
    /// The same, by its own type.
    pub fn of(settings: &BackendSettings) -> Result<Door, BackendError> {
        Ok(Door {
            backend: settings.name.as_str().into(),
            trust: Rules::of(settings)?.trust,
            any_path: listener(settings).is_some(),
            said: AtomicI64::new(i64::MIN),
        })
    }

    fn turn_away(&self, status: u16, why: &str, now: Timestamp) -> Heard {
        let said = Timestamp(self.said.load(Ordering::Relaxed));
        // An owner looks into the log when messages are missing; a stranger must not fill it.
        if said.0 == i64::MIN || now.since(said) >= SAID_EVERY || now < said {
            self.said.store(now.0, Ordering::Relaxed);
            log::warn!("backend {}: a request was turned away ({status}): {why}", self.backend);
        }
        Heard::nothing(Response::error(status, why))
    }

    /// One message. The error is a sentence for whoever wrote the address that Kannel calls.
    fn message(&self, fields: &Fields) -> Result<Incoming, String> {
        let number = fields.one("id")?.map(sender).filter(|number| !number.is_empty());
        let number =
            number.ok_or("the field id is missing: the number of the sender (in Kannel's get-url id=%p)")?;
        let text = fields.one("text")?.ok_or("the field text is missing (in Kannel's get-url text=%b)")?;
        let (charset, coding) = (fields.word("charset")?, fields.word("coding")?);
        let key = fields.word("message_id")?;
        let connection = Connection::new(self.backend.clone(), number);
        let incoming = match decode(text, charset.as_deref(), coding.as_deref()) {
            Ok(text) => Incoming::new(connection, text),
            Err(why) => Incoming::undecodable(connection, text.to_vec(), why),
        };
        // A name that is cut could be another message's.
        Ok(Incoming { redelivery_key: key.filter(|key| key.len() <= LONGEST_KEY), ..incoming })
    }

    fn report(&self, fields: &Fields) -> Result<Report, String> {
        let id = fields.word("message_id")?.ok_or("the field message_id is missing")?;
        let status = fields.word("status")?.ok_or("the field status is missing (%d)")?;
        let words = |name: &str| -> Result<String, String> {
            let words = fields.word(name)?.unwrap_or_default();
            Ok(words.chars().filter(|letter| !letter.is_control()).take(LONGEST_WORDS).collect())
        };
        let (said, smsc) = (words("status_text")?, words("smsc")?);
        let (verdict, what) = match status.as_str() {
            "1" => (Verdict::Delivered, "delivered"),
            "2" => (Verdict::Failed, "not delivered"),
            "4" => (Verdict::Underway, "waits at the carrier"),
            "8" => (Verdict::Underway, "the carrier has it"),
            // It goes with the answer "Not routable" to sendsms, after which the message is tried again: it has not failed.
            "16" if said.to_ascii_lowercase().ends_with("no smsc") => {
                (Verdict::Underway, "Kannel had no link for it")
            }
            "16" => (Verdict::Failed, "refused by the carrier"),
            "32" => (Verdict::Underway, "on its way"),
            _ => return Err("the field status is none of 1, 2, 4, 8, 16, 32".into()),
        };
        let mut note = what.to_string();
        if !smsc.is_empty() {
            note.push_str(&format!(" (smsc {smsc})"));
        }
        // "ACK/" alone says no more than the status.
        if !matches!(said.trim_end_matches('/'), "" | "ACK" | "NACK") {
            note.push_str(&format!(": {said}"));
        }
        // Whose message it is the router knows; it counts reports about others and says so in the log.
        let about =
            id.parse().map_or_else(|()| About::Remote(id.chars().take(LONGEST_KEY).collect()), About::Id);
        Ok(Report { backend: self.backend.clone(), about, verdict, note: Some(note) })
    }
}

impl Intake for Door {
    fn has_trust(&self) -> bool {
        self.trust.is_set()
    }

    fn hear(&self, request: &Request, rest: &[&str], now: Timestamp) -> Heard {
        let pieces: Vec<&str> = rest.iter().copied().filter(|piece| !piece.is_empty()).collect();
        let is_report = pieces.last() == Some(&"delivery-report");
        if !is_report && !pieces.is_empty() && !self.any_path {
            return Heard::nothing(Response::error(
                404,
                "a Kannel hands in messages here, or delivery-report/",
            ));
        }
        // HEAD is no wish to hand anything in, and a body is no message: the older systems took GET only, too.
        if request.method() != "GET" {
            let answer = Response::error(405, "messages come in by GET, as Kannel's get-url brings them");
            return Heard::nothing(answer.header("Allow", "GET"));
        }
        let fields = Fields::of(request.query());
        if let Err(why) = self.trust.check(request, &fields) {
            return self.turn_away(403, why, now);
        }
        let heard = if is_report {
            self.report(&fields).map(|report| (Vec::new(), vec![report]))
        } else {
            self.message(&fields).map(|message| (vec![message], Vec::new()))
        };
        match heard {
            // An empty text, because Kannel takes a body without a type for one that it must tell the phone about.
            Ok((messages, reports)) => Heard { messages, reports, answer: Response::text(200, "") },
            Err(why) => self.turn_away(400, &why, now),
        }
    }
}

/// The sender. `+` that nobody encoded arrives as a blank: before a number it is put back. Blanks within a number are left out, so that one person is
/// one identity. What is not UTF-8 is a name in ISO 8859-1.
fn sender(octets: &[u8]) -> String {
    let text = Charset::Utf8.decode(octets).or_else(|| Charset::Latin1.decode(octets)).unwrap_or_default();
    let digits: String = text.chars().filter(|letter| !letter.is_whitespace()).collect();
    let bare = digits.strip_prefix('+').unwrap_or(&digits);
    let is_number = !bare.is_empty() && bare.bytes().all(|digit| digit.is_ascii_digit());
    match is_number {
        false => text.trim().to_string(),
        // No country's code begins with 0.
        true if text.starts_with(' ') && !digits.starts_with(['+', '0']) => format!("+{digits}"),
        true => digits,
    }
}

/// The text of octets; the error says why they are none.
fn decode(octets: &[u8], charset: Option<&str>, coding: Option<&str>) -> Result<String, String> {
    // In Kannel's words: %c is 1, %C is 8-BIT.
    let binary = coding == Some("1") || charset.is_some_and(|name| name.eq_ignore_ascii_case("8-bit"));
    if binary {
        return Err("octets, not a text (coding 1)".into());
    }
    let named = match charset {
        None if coding == Some("2") => return decode(octets, Some("UTF-16BE"), None),
        None => return decode(octets, Some("UTF-8"), None),
        Some(name) => Charset::named(name)
            .ok_or_else(|| name.escape_debug().to_string().chars().take(40).collect::<String>()),
    };
    match named {
        Ok(charset) => charset.decode(octets).ok_or_else(|| format!("the octets are no text in {charset}")),
        // Whatever set that is: these characters are the same in all that Kannel has, except UTF-16.
        Err(_) if coding != Some("2") && octets.is_ascii() && !octets.contains(&0) => {
            Ok(String::from_utf8_lossy(octets).into_owned())
        }
        Err(name) => Err(format!("the character set {name} is not known here")),
    }
}
