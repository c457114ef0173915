//! What an answer of the gateway means for the message. Pure: an answer in, an [`Outcome`] out.
//!
//! The settings may give rules, one line each, and the first that fits decides:
//!
//! ```toml
//! answers = [
//!     "pause: status 401 403",
//!     "refused: json /error_code = 21610",
//!     "retry: contains 'try again'",
//!     "sent: status 2xx and json /status matches ^(queued|sent)$",
//! ]
//! ```
//!
//! Behind them stands what statuses mean by themselves (RFC 9110, clause 15): 2xx sent; 408, 425, 429 and 5xx try again; 401, 402, 407 and
//! a redirect are nothing that the message can help, so sending pauses; other 4xx refused. Two things are done otherwise than many
//! gateways' own clients do: where a rule says which 2xx is "sent", one that does not look so is no success, for some
//! gateways report errors with 200; and 504 may have been acted upon by whoever stands behind the proxy that gave up, so it is doubt.

use std::time::Duration;

use regex::Regex;
use serde_json::Value;

use super::field::{Field, as_text};
use super::given::{Given, wrong};
use crate::backends::BackendError;
use crate::http::client::{Answer, Trouble, place};
use crate::message::{Receipt, SendFailure};
use crate::settings::Secret;
use crate::time::Timestamp;

/// More rules than anybody needs.
const MOST_RULES: usize = 64;
/// So much of an answer is shown.
const SHOWN: usize = 200;
/// What a gateway may ask us to wait, at least and at most.
const LEAST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(3600);
/// The longest name of a message that is kept.
const LONGEST_REMOTE_ID: usize = 255;

/// What came of one attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// The gateway has it.
    Sent(Receipt),
    /// It was not sent, as far as is known.
    Failed(SendFailure),
    /// Nothing can be sent now, and it is not the message's fault.
    Paused(String),
}

/// The rules of one backend.
#[derive(Clone, Debug)]
pub struct Judge {
    rules: Vec<Rule>,
    remote_id: Option<Field>,
    /// Repeating a request with our id does no harm.
    idempotent: bool,
    /// What must not be shown, should the gateway repeat it.
    hidden: Vec<Secret>,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Verdict {
    Sent,
    Retry,
    Refused,
    Pause,
    Unsure,
}

#[derive(Clone, Debug)]
struct Rule {
    written: String,
    verdict: Verdict,
    tests: Vec<Test>,
}

#[derive(Clone, Debug)]
enum Test {
    /// Each as hundreds and the rest, of which `None` is any.
    Status(Vec<(u16, Option<u16>)>),
    Contains(String),
    Lacks(String),
    Matches(Regex),
    Json(String, Is),
    Header(String, Is),
    Empty,
}

#[derive(Clone, Debug)]
pub(super) enum Is {
    There,
    Equal(String),
    Unlike(String),
    Matching(Regex),
}

impl Judge {
    /// Reads the rules. `hidden` are the secrets of the backend.
    pub fn of(given: &Given<'_>, hidden: Vec<Secret>) -> Result<Judge, BackendError> {
        let written = given.list("answers");
        if written.len() > MOST_RULES {
            return Err(wrong("answers", format!("{} rules; {MOST_RULES} are possible", written.len())));
        }
        let rules = written
            .iter()
            .map(|rule| Rule::read(rule).map_err(|why| wrong("answers", format!("{rule:?}: {why}"))));
        let remote_id = given.text("remote_id").map(Field::read).transpose();
        Ok(Judge {
            rules: rules.collect::<Result<_, _>>()?,
            remote_id: remote_id.map_err(|why| wrong("remote_id", why))?,
            idempotent: given.boolean("idempotent"),
            hidden,
        })
    }

    /// What an answer means, and by which rule.
    pub fn answer(&self, answer: &Answer, now: Timestamp) -> (Outcome, String) {
        let json: Option<Value> = serde_json::from_slice(&answer.body).ok();
        let text = String::from_utf8_lossy(&answer.body);
        let shown = || self.shown(answer.status, &text);
        let fitting = self.rules.iter().find(|rule| rule.fits(answer, &text, json.as_ref()));
        let (verdict, why, by) = match fitting {
            Some(rule) => (rule.verdict, shown(), format!("the rule {:?}", rule.written)),
            None => {
                let (verdict, why) = self.usual(answer, &shown);
                (verdict, why, format!("what {} usually means", answer.status))
            }
        };
        let outcome = match verdict {
            Verdict::Sent => Outcome::Sent(self.receipt(answer, json.as_ref())),
            Verdict::Refused => Outcome::Failed(SendFailure::Permanent(why)),
            Verdict::Pause => Outcome::Paused(why),
            Verdict::Unsure => Outcome::Failed(self.doubt(why)),
            Verdict::Retry => Outcome::Failed(match retry_after(answer, now) {
                Some(wait) => SendFailure::Throttled(wait, why),
                None => SendFailure::Temporary(why),
            }),
        };
        (outcome, by)
    }

    /// What it means that there is no answer.
    pub fn trouble(&self, trouble: &Trouble) -> Outcome {
        Outcome::Failed(match trouble {
            Trouble::Unreached(why) => SendFailure::Temporary(why.clone()),
            Trouble::Unanswered(why) => self.doubt(why.clone()),
        })
    }

    fn usual(&self, answer: &Answer, shown: &dyn Fn() -> String) -> (Verdict, String) {
        let says_what_is_sent = self.rules.iter().any(Rule::knows_success);
        match answer.status {
            200..=299 if says_what_is_sent && answer.cut => (
                Verdict::Unsure,
                format!("{}: the rest of the answer is missing, and no rule fits what there is", shown()),
            ),
            200..=299 if says_what_is_sent => (
                Verdict::Refused,
                format!("{}: that is not what a message that was taken looks like", shown()),
            ),
            200..=299 => (Verdict::Sent, shown()),
            300..=399 => {
                let to = answer.header("location").filter(|to| to.contains("://")).map(place);
                let to = to.map_or_else(String::new, |to| format!(" to {to}"));
                let why = format!(
                    "HTTP {}: a redirect{to}, and none is followed: correct the address",
                    answer.status
                );
                (Verdict::Pause, why)
            }
            401 | 402 | 407 => (Verdict::Pause, shown()),
            408 | 425 | 429 => (Verdict::Retry, shown()),
            504 => (Verdict::Unsure, shown()),
            500..=599 => (Verdict::Retry, shown()),
            _ => (Verdict::Refused, shown()),
        }
    }

    fn doubt(&self, why: String) -> SendFailure {
        if self.idempotent { SendFailure::Temporary(why) } else { SendFailure::Unsure(why) }
    }

    fn receipt(&self, answer: &Answer, json: Option<&Value>) -> Receipt {
        let Some(field) = &self.remote_id else { return Receipt::default() };
        let id = field.in_answer(answer, json).filter(|id| !id.is_empty() && id.len() <= LONGEST_REMOTE_ID);
        let note =
            id.is_none().then(|| "the gateway's answer has no id where remote_id looks for it".to_string());
        Receipt { remote_ids: id.into_iter().collect(), parts: None, note }
    }

    /// Status and beginning of the body, for people, in one line.
    fn shown(&self, status: u16, body: &str) -> String {
        let mut body = body.to_string();
        for secret in self.hidden.iter().map(Secret::expose).filter(|secret| secret.len() > 3) {
            body = body.replace(secret, "***");
        }
        let words: Vec<&str> = body.split_whitespace().collect();
        let line: String =
            words.join(" ").chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
        let mut shown: String = line.chars().take(SHOWN).collect();
        if shown.len() < line.len() {
            shown.push_str(" ...");
        }
        if shown.is_empty() { format!("HTTP {status}") } else { format!("HTTP {status}: {shown}") }
    }
}

impl Rule {
    fn read(written: &str) -> Result<Rule, String> {
        let shape = "write VERDICT: CONDITION, as in \"sent: status 2xx and contains OK\"";
        let (verdict, conditions) = written.split_once(':').ok_or(shape)?;
        let verdict = match verdict.trim().to_ascii_lowercase().as_str() {
            "sent" => Verdict::Sent,
            "retry" => Verdict::Retry,
            "refused" => Verdict::Refused,
            "pause" => Verdict::Pause,
            "unsure" => Verdict::Unsure,
            other => return Err(format!("{other:?} is no verdict: sent, retry, refused, pause or unsure")),
        };
        let tests = conditions_of(conditions)
            .iter()
            .map(|condition| Test::read(condition))
            .collect::<Result<_, _>>()?;
        Ok(Rule { written: written.trim().to_string(), verdict, tests })
    }

    /// Whether it says of some 2xx that it is success, and so of the others that they are not.
    fn knows_success(&self) -> bool {
        let other = |test: &Test| matches!(test, Test::Status(wanted) if wanted.iter().all(|(hundreds, _)| *hundreds != 2));
        self.verdict == Verdict::Sent && !self.tests.iter().any(other)
    }

    fn fits(&self, answer: &Answer, text: &str, json: Option<&Value>) -> bool {
        self.tests.iter().all(|test| match test {
            Test::Status(wanted) => wanted.iter().any(|(hundreds, rest)| {
                answer.status / 100 == *hundreds && rest.is_none_or(|rest| answer.status % 100 == rest)
            }),
            Test::Contains(words) => text.contains(words),
            // What is missing may stand in the part that is missing.
            Test::Lacks(words) => !answer.cut && !text.contains(words),
            Test::Matches(pattern) => pattern.is_match(text),
            Test::Json(pointer, is) => {
                is.fits(json.and_then(|json| json.pointer(pointer)).and_then(as_text).as_deref())
            }
            Test::Header(name, is) => is.fits(answer.header(name)),
            Test::Empty => !answer.cut && text.trim().is_empty(),
        })
    }
}

impl Test {
    fn read(condition: &str) -> Result<Test, String> {
        let (word, rest) = condition.split_once(char::is_whitespace).unwrap_or((condition, ""));
        let rest = rest.trim();
        let needs = |what: &str| if rest.is_empty() { Err(format!("{word} needs {what}")) } else { Ok(()) };
        match word {
            "status" => {
                needs("statuses, such as 200 or 4xx")?;
                rest.split([' ', ','])
                    .filter(|status| !status.is_empty())
                    .map(status)
                    .collect::<Result<_, _>>()
                    .map(Test::Status)
            }
            "contains" => needs("words").map(|()| Test::Contains(unquoted(rest).to_string())),
            "lacks" => needs("words").map(|()| Test::Lacks(unquoted(rest).to_string())),
            "matches" => {
                needs("a pattern")?;
                pattern(rest).map(Test::Matches)
            }
            "json" => {
                let (pointer, is) = Is::after(rest)?;
                if !pointer.starts_with('/') {
                    return Err(format!("{pointer:?} is no pointer: it begins with a slash, as /status"));
                }
                Ok(Test::Json(pointer.to_string(), is))
            }
            "header" => {
                let (name, is) = Is::after(rest)?;
                if !crate::http::is_token(name) {
                    return Err(format!("{name:?} is no name of a header"));
                }
                Ok(Test::Header(name.to_string(), is))
            }
            "empty" if rest.is_empty() => Ok(Test::Empty),
            other => Err(format!(
                "{other:?} is no condition: status, contains, lacks, matches, json, header or empty, joined by \"and\""
            )),
        }
    }
}

impl Is {
    /// `NAME`, `NAME = VALUE`, `NAME != VALUE` or `NAME matches PATTERN`.
    pub(super) fn after(text: &str) -> Result<(&str, Is), String> {
        let (name, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
        let rest = rest.trim();
        let is = match rest {
            "" => Is::There,
            _ if rest.starts_with("!=") => Is::Unlike(unquoted(rest[2..].trim()).to_string()),
            _ if rest.starts_with('=') => Is::Equal(unquoted(rest[1..].trim()).to_string()),
            _ => match rest.strip_prefix("matches ") {
                Some(text) => Is::Matching(pattern(text)?),
                None => {
                    return Err(format!(
                        "{rest:?} is no comparison: write = VALUE, != VALUE or matches PATTERN"
                    ));
                }
            },
        };
        if name.is_empty() { Err("it does not say of what".into()) } else { Ok((name, is)) }
    }

    pub(super) fn fits(&self, value: Option<&str>) -> bool {
        match self {
            Is::There => value.is_some_and(|value| !value.is_empty()),
            Is::Equal(wanted) => value == Some(wanted),
            Is::Unlike(other) => value != Some(other),
            Is::Matching(pattern) => value.is_some_and(|value| pattern.is_match(value)),
        }
    }
}

/// Cuts at each `and` that stands outside of quotes.
pub(super) fn conditions_of(text: &str) -> Vec<String> {
    let mut conditions = vec![String::new()];
    let mut quote = None;
    let mut before = ' ';
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        if quote.is_none() && before.is_whitespace() && rest.starts_with("and ") {
            conditions.push(String::new());
            rest = &rest[3..];
            before = ' ';
            continue;
        }
        match quote {
            Some(open) if open == letter => quote = None,
            // A quote within a word is an apostrophe.
            None if matches!(letter, '"' | '\'') && before.is_whitespace() => quote = Some(letter),
            _ => {}
        }
        if let Some(condition) = conditions.last_mut() {
            condition.push(letter);
        }
        before = letter;
        rest = &rest[letter.len_utf8()..];
    }
    conditions.into_iter().map(|condition| condition.trim().to_string()).collect()
}

fn unquoted(text: &str) -> &str {
    let text = text.trim();
    let inner = |quote| text.strip_prefix(quote).and_then(|rest: &str| rest.strip_suffix(quote));
    inner('"').or_else(|| inner('\'')).unwrap_or(text)
}

fn pattern(text: &str) -> Result<Regex, String> {
    Regex::new(unquoted(text)).map_err(|error| format!("its pattern is not right: {error}"))
}

fn status(text: &str) -> Result<(u16, Option<u16>), String> {
    let wrong = || format!("{text:?} is no status: write 200, or 2xx for all of them");
    let hundreds = text.bytes().next().filter(|digit| (b'1'..=b'5').contains(digit)).ok_or_else(wrong)?;
    let rest = text.get(1..).filter(|rest| rest.len() == 2).ok_or_else(wrong)?;
    let rest = match rest {
        "xx" | "XX" => None,
        digits if digits.bytes().all(|digit| digit.is_ascii_digit()) => {
            Some(digits.parse().map_err(|_| wrong())?)
        }
        _ => return Err(wrong()),
    };
    Ok((u16::from(hundreds - b'0'), rest))
}

/// What the gateway asks us to wait: seconds or a date (RFC 9110, clause 10.2.3).
fn retry_after(answer: &Answer, now: Timestamp) -> Option<Duration> {
    let text = answer.header("retry-after")?.trim();
    let wait = match text.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let at = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
            Timestamp(at.as_microsecond()).since(now)
        }
    };
    Some(wait.clamp(LEAST_WAIT, LONGEST_WAIT))
}
