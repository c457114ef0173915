//! The escapes of a service's URL (Kannel user guide, "Parameters (escape codes) in URLs of sms-services"; as Kannel 1.4.5 fills them in).
//! A text and facts in, a URL out; every value is percent-encoded.

use super::matching::Words;
use crate::time::Timestamp;

/// The longest URL that comes of a template.
const LONGEST: usize = 256 * 1024;

/// What is known of a received message.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Its text.
    pub text: &'a str,
    /// Who sent it.
    pub sender: &'a str,
    /// Our own number, where the settings know it.
    pub receiver: &'a str,
    /// By which backend it came.
    pub backend: &'a str,
    /// Its id, the same at every try.
    pub id: &'a str,
    /// When it was sent, as far as that is known.
    pub time: Timestamp,
    /// The name of the service.
    pub service: &'a str,
}

/// How many words behind the keyword a template takes one by one, and whether it takes the rest. `%b` does not count, as Kannel has it.
pub fn wants(template: &str) -> (usize, bool) {
    let (mut words, mut rest) = (0, false);
    escapes(template, |letter| match letter {
        's' | 'S' => words += 1,
        'r' | 'a' => rest = true,
        _ => {}
    });
    (words, rest)
}

/// Fills the escapes in. `%%` is a percent sign; what is no escape stays as it is. `None` when the result is too long for a request.
pub fn fill(template: &str, facts: &Facts<'_>) -> Option<String> {
    let words = Words::of(facts.text);
    // The first word is the keyword; %s takes those behind it.
    let mut next = 1;
    let mut url = String::with_capacity(template.len() + facts.text.len());
    let mut rest = template;
    while let Some(at) = rest.find('%') {
        let (before, from) = rest.split_at(at);
        url.push_str(before);
        let letter = from[1..].chars().next();
        let value = letter.and_then(|letter| value(letter, facts, &words, &mut next));
        match (letter, value) {
            (Some(letter), Some(value)) => {
                url.push_str(&value);
                rest = &from[1 + letter.len_utf8()..];
            }
            _ => {
                url.push('%');
                rest = &from[1..];
            }
        }
        if url.len() > LONGEST {
            return None;
        }
    }
    url.push_str(rest);
    (url.len() <= LONGEST).then_some(url)
}

/// `2026-11-22 08:55:35` in UTC, with this between date and time.
pub fn calendar(time: Timestamp, between: char) -> String {
    let at = jiff::Timestamp::from_microsecond(time.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    at.strftime("%Y-%m-%d %H:%M:%S").to_string().replace(' ', &between.to_string())
}

/// As UTF-8, with everything but RFC 3986's unreserved characters (clause 2.3) percent-encoded: a plus is `%2B`, a blank `%20`.
pub fn encoded(value: &str) -> String {
    const UNRESERVED: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(value, UNRESERVED).to_string()
}

fn value(letter: char, facts: &Facts<'_>, words: &Words<'_>, next: &mut usize) -> Option<String> {
    let mut word = || {
        let word = words.get(*next);
        *next += 1;
        word
    };
    Some(match letter {
        '%' => "%".into(),
        'k' => encoded(words.get(0)),
        's' => encoded(word()),
        'S' => encoded(&word().replace('*', "~")),
        'r' => encoded(&words.from(*next)),
        'a' => encoded(&words.from(0)),
        // The second is meant for reports, where it is the carrier's words.
        'b' | 'A' => encoded(facts.text),
        'e' => crate::pdu::to_hex(facts.text.as_bytes()),
        't' => calendar(facts.time, '+'),
        'T' => facts.time.0.div_euclid(1_000_000).to_string(),
        'p' => encoded(facts.sender),
        'P' => encoded(facts.receiver),
        'q' => encoded(&with_plus(facts.sender)),
        'Q' => encoded(&with_plus(facts.receiver)),
        'i' => encoded(facts.backend),
        'I' => encoded(facts.id),
        'n' => encoded(facts.service),
        // As of a message in UTF-8, which is what a Kannel with mo-recode makes of every one.
        'c' => "0".into(),
        'C' => "UTF-8".into(),
        'd' | 'm' | 'M' => "-1".into(),
        // Header, account, billing, meta-data and the carrier's names: nothing that is received here has one.
        'u' | 'o' | 'B' | 'D' | 'f' | 'F' | 'R' => String::new(),
        _ => return None,
    })
}

fn with_plus(number: &str) -> String {
    match number.strip_prefix("00") {
        Some(rest) => format!("+{rest}"),
        None => number.to_string(),
    }
}

fn escapes(template: &str, mut found: impl FnMut(char)) {
    let mut letters = template.chars();
    while let Some(letter) = letters.next() {
        if letter == '%'
            && let Some(escape) = letters.next()
        {
            found(escape);
        }
    }
}
