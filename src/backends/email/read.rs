//! Octets of a mail in, a message out, or the reason why it is kept aside. Pure: no socket, no clock.
//!
//! A mail is a stranger's input (RFC 5322, 2045 to 2049): whatever it is, something can be stored. What cannot be understood, and what must not be
//! answered, becomes a message that no app sees, with its reason and its octets.

use super::automatic;
use super::bounce::{self, kind_of};
use super::headers::{HEADERS_LIMIT, Headers, head_of};
use super::quote::{self, Stripping};
use crate::message::{Connection, IDENTITY_LIMIT, Incoming, Name, Report, TEXT_LIMIT};
use crate::time::Timestamp;
use mail_parser::{Message, MessageParser, MessagePart, MimeHeaders, PartType};
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// So much of a mail is fetched. What is longer is cut.
pub const FETCH_LIMIT: usize = 256 * 1024;
/// So many parts may a mail have.
pub const PARTS_LIMIT: usize = 200;
/// So deep may its parts lie within each other.
pub const NESTING_LIMIT: usize = 20;
/// What may be mentioned of parts and mails within, before any of it is parsed: deeper ones could exhaust a thread's stack.
const MENTIONS_LIMIT: usize = 400;
/// So much of the head of a mail is kept with its message: from it the answer's subject and references are made.
pub const HEAD_LIMIT: usize = 16 * 1024;
/// So many attachments are named.
const NAMES_LIMIT: usize = 20;
/// What an app sees where a text was cut.
const CUT: &str = "[...]";
/// The identity of a mail that names no sender.
pub const NO_SENDER: &str = "(no sender)";

/// How mails are read.
#[derive(Clone, Debug)]
pub struct Reading {
    /// The backend.
    pub backend: Name,
    /// The addresses of this line.
    pub own: Vec<String>,
    /// Behind the `@` of the names that we give to mails.
    pub domain: String,
    /// What is left out of texts.
    pub stripping: Stripping,
    /// The longest text, in characters.
    pub text_limit: usize,
    /// Whether attachments are named below the text.
    pub name_attachments: bool,
    /// When the subject is the text.
    pub subject: SubjectAs,
    /// Only these may write: addresses, or `@example.org`; empty: anybody.
    pub allowed: Vec<String>,
    /// These may not.
    pub denied: Vec<String>,
}

/// When the subject of a mail counts as what it says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SubjectAs {
    /// Never.
    Nothing,
    /// When there is no text; not that of an answer (`Re:`), which is ours.
    TextIfEmpty,
    /// Always, as a first line.
    FirstLine,
}

/// A mail as the server holds it.
#[derive(Clone, Copy, Debug)]
pub struct Fetched<'a> {
    /// Its octets, or as many of them as were fetched.
    pub octets: &'a [u8],
    /// How many it has.
    pub size: usize,
    /// The folder's UIDVALIDITY and the mail's UID (RFC 9051, 2.3.1.1): its place.
    pub place: (u32, u32),
}

/// What a mail comes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Letter {
    /// The message to be stored, whatever it is.
    pub incoming: Incoming,
    /// What it reports about mails of ours.
    pub reports: Vec<Report>,
}

/// Reads a mail.
pub fn read(fetched: Fetched<'_>, rules: &Reading) -> Letter {
    let octets = &fetched.octets[..fetched.octets.len().min(FETCH_LIMIT)];
    let headers = Headers::parse(octets);
    let mentions = mentions_of(octets);
    if headers.too_many || mentions > MENTIONS_LIMIT {
        let sender = headers.get("from").and_then(address_within).unwrap_or_else(|| NO_SENDER.into());
        let what = if headers.too_many {
            format!("more than {HEADERS_LIMIT} header lines")
        } else {
            "too many parts within each other".to_string()
        };
        let reason = format!("it cannot be a letter: {what}");
        return aside(&sender, octets, reason, place_key(fetched.place), rules);
    }
    let Some(message) = MessageParser::default().parse(octets) else {
        let reason = "it is no mail: there is no header line in it";
        return aside(NO_SENDER, octets, reason, place_key(fetched.place), rules);
    };
    let reports = bounce::reports(&message, &rules.backend, &rules.domain);
    let subject = message.subject().unwrap_or_default();
    let sender = message.from().and_then(|from| from.first()).and_then(|from| from.address());
    let sender = sender.and_then(identity_of);
    let cut = octets.len() < fetched.size;
    let (text, text_is_cut) = text_of(&message, octets, cut);
    let key = key_of(&headers, sender.as_deref().unwrap_or_default(), &text, fetched.place);
    let Some(sender) = sender else {
        let reason = "the mail names no sender in its From line, so nobody could be answered";
        return Letter { reports, ..aside(NO_SENDER, octets, reason, key, rules) };
    };
    let own: Vec<&str> = rules.own.iter().map(String::as_str).collect();
    let unwanted = automatic::reason(&headers, &sender, subject, &own)
        .map(|why| format!("automatic mail, which is never answered: {why}"))
        .or_else(|| unwelcome(&sender, rules))
        .or_else(|| bomb(&message))
        .or_else(|| unknown_charset(&message, &text));
    if let Some(reason) = unwanted {
        return Letter { reports, ..aside(&sender, octets, reason, key, rules) };
    }
    let mut text = finish(&text, text_is_cut, rules);
    text = with_subject(text, subject, rules.subject);
    if rules.name_attachments {
        name_attachments(&mut text, &message);
    }
    text.truncate(text.floor_char_boundary(TEXT_LIMIT));
    let source_time = message
        .date()
        .filter(|date| date.is_valid())
        .map(|date| Timestamp::from_seconds(date.to_timestamp()));
    let incoming = Incoming {
        source_time,
        redelivery_key: Some(key),
        raw: Some(head_of(octets, HEAD_LIMIT).to_vec()),
        ..Incoming::new(Connection::new(rules.backend.clone(), sender), text)
    };
    Letter { incoming, reports }
}

/// A mail that is kept aside, with its octets.
pub fn aside(sender: &str, octets: &[u8], reason: impl Into<String>, key: String, rules: &Reading) -> Letter {
    let connection = Connection::new(rules.backend.clone(), sender);
    let incoming =
        Incoming { redelivery_key: Some(key), ..Incoming::undecodable(connection, octets.to_vec(), reason) };
    Letter { incoming, reports: Vec::new() }
}

/// What makes a mail known that is seen again: its Message-ID, with who sent it, when, and what it says. So it is known in whatever folder and under whatever
/// number the server shows it, and two mails to which a careless program gave the same Message-ID are two. Without a
/// Message-ID its place must do, which holds until the server numbers the folder anew.
fn key_of(headers: &Headers, sender: &str, text: &str, place: (u32, u32)) -> String {
    let Some(name) = headers.get("message-id").filter(|name| !name.is_empty()) else {
        return place_key(place);
    };
    let mut hash = Sha256::new();
    for piece in [name, sender, headers.get("date").unwrap_or_default(), text] {
        hash.update((piece.len() as u64).to_le_bytes());
        hash.update(piece.as_bytes());
    }
    let mut key = String::from("mail ");
    for octet in &hash.finalize()[..16] {
        // Writing to a String cannot fail.
        let _ = write!(key, "{octet:02x}");
    }
    key
}

/// What makes a mail without a name known again: its place on the server.
pub fn place_key((validity, uid): (u32, u32)) -> String {
    format!("uid {validity}/{uid}")
}

/// An address as an identity: the domain in small letters, the name before it as it is (RFC 5321, 2.4).
pub fn identity_of(address: &str) -> Option<String> {
    let (local, domain) = address.trim().rsplit_once('@')?;
    let fits = !local.is_empty() && !domain.is_empty();
    let odd = |letter: char| letter.is_control() || letter.is_whitespace() || "<>".contains(letter);
    if !fits || address.chars().count() > IDENTITY_LIMIT || address.trim().chars().any(odd) {
        return None;
    }
    Some(format!("{local}@{}", domain.to_lowercase()))
}

fn address_within(value: &str) -> Option<String> {
    let address = value.rsplit_once('<').map_or(value, |(_, rest)| rest.split('>').next().unwrap_or(rest));
    identity_of(address)
}

/// The first text of a mail, and whether it ends because not all was fetched.
fn text_of(message: &Message<'_>, octets: &[u8], cut: bool) -> (String, bool) {
    let text = message.body_text(0).unwrap_or_default().into_owned();
    let part = message.text_body.first().and_then(|&id| message.parts.get(id as usize));
    let reaches_end = part.is_some_and(|part| part.offset_end as usize >= octets.len());
    (text, cut && reaches_end)
}

/// What an app sees of it.
fn finish(text: &str, is_cut: bool, rules: &Reading) -> String {
    let clean: String = text
        .replace("\r\n", "\n")
        .chars()
        .map(|letter| match letter {
            '\r' => '\n',
            '\u{a0}' => ' ',
            _ => letter,
        })
        .filter(|letter| !letter.is_control() || matches!(letter, '\n' | '\t'))
        .filter(|letter| !matches!(letter, '\u{feff}' | '\u{200b}'))
        .collect();
    let mut text = quote::strip(&clean, rules.stripping);
    let mut is_cut = is_cut;
    if let Some((end, _)) = text.char_indices().nth(rules.text_limit) {
        text.truncate(end);
        is_cut = true;
    }
    if is_cut {
        text.push_str(CUT);
    }
    text
}

fn with_subject(text: String, subject: &str, rule: SubjectAs) -> String {
    let words = subject.split(|letter: char| letter.is_whitespace() || letter.is_control());
    let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
    let subject: String = words.join(" ").chars().take(500).collect();
    match rule {
        _ if subject.is_empty() => text,
        SubjectAs::FirstLine => format!("{subject}\n{text}").trim_end().to_string(),
        SubjectAs::TextIfEmpty if text.is_empty() && !is_answer(&subject) => subject,
        SubjectAs::Nothing | SubjectAs::TextIfEmpty => text,
    }
}

/// Whether a subject says that it answers another.
pub fn is_answer(subject: &str) -> bool {
    let start: String = subject.trim_start().chars().take(4).collect::<String>().to_lowercase();
    ["re:", "aw:", "sv:", "rv:", "re\u{ff1a}"].iter().any(|word| start.starts_with(word))
}

fn name_attachments(text: &mut String, message: &Message<'_>) {
    let attached: Vec<&MessagePart<'_>> = message.attachments().filter(|part| !is_decoration(part)).collect();
    for part in attached.iter().take(NAMES_LIMIT) {
        let name = match part.attachment_name() {
            Some(name) => name.to_string(),
            None if matches!(part.body, PartType::Message(_)) => "a mail".to_string(),
            None => kind_of(part),
        };
        let name: String = name.chars().filter(|letter| !letter.is_control()).take(100).collect();
        if !text.is_empty() {
            text.push('\n');
        }
        let _ = write!(text, "[attachment: {name}]");
    }
    if attached.len() > NAMES_LIMIT {
        let _ = write!(text, "\n[attachments: {} more]", attached.len() - NAMES_LIMIT);
    }
}

/// A picture that stands within a text, such as a company's sign.
fn is_decoration(part: &MessagePart<'_>) -> bool {
    let kind = kind_of(part);
    let inline = part.content_disposition().is_some_and(|disposition| disposition.is_inline());
    kind.starts_with("image/") && (inline || part.content_id().is_some())
        || kind.starts_with("application/pgp-signature")
        || kind.contains("pkcs7-signature")
}

fn unwelcome(sender: &str, rules: &Reading) -> Option<String> {
    let is_among = |list: &[String]| list.iter().any(|entry| covers(entry, sender));
    if is_among(&rules.denied) {
        return Some(format!("{sender} is among deny_senders in the settings"));
    }
    (!rules.allowed.is_empty() && !is_among(&rules.allowed))
        .then(|| format!("{sender} is not among allow_senders in the settings"))
}

/// `ada@example.org`, or a whole domain as `@example.org`.
fn covers(entry: &str, sender: &str) -> bool {
    let (entry, sender) = (entry.trim().to_lowercase(), sender.to_lowercase());
    if entry.starts_with('@') { sender.ends_with(&entry) } else { sender == entry }
}

fn bomb(message: &Message<'_>) -> Option<String> {
    let (parts, depth) = measure(message, 0);
    if parts > PARTS_LIMIT {
        return Some(format!("it cannot be a letter: more than {PARTS_LIMIT} parts"));
    }
    (depth > NESTING_LIMIT)
        .then(|| format!("it cannot be a letter: parts lie more than {NESTING_LIMIT} deep within each other"))
}

/// The number of parts and how deep they lie. The depth of what is parsed is bounded by [`MENTIONS_LIMIT`].
fn measure(message: &Message<'_>, above: usize) -> (usize, usize) {
    let mut depths = vec![above; message.parts.len()];
    let (mut count, mut deepest) = (message.parts.len(), above);
    for index in 0..message.parts.len() {
        let depth = depths[index];
        deepest = deepest.max(depth);
        match &message.parts[index].body {
            // A part stands before its own parts.
            PartType::Multipart(within) => {
                for &part in within {
                    if let Some(place) = depths.get_mut(part as usize) {
                        *place = depth + 1;
                    }
                }
            }
            PartType::Message(within) => {
                let (parts, depth) = measure(within, depth + 1);
                count += parts;
                deepest = deepest.max(depth);
            }
            _ => {}
        }
    }
    (count, deepest)
}

/// How often the octets speak of what may hold parts: a mail within, or a boundary.
fn mentions_of(octets: &[u8]) -> usize {
    let count = |word: &[u8]| {
        let first = [word[0].to_ascii_lowercase(), word[0].to_ascii_uppercase()];
        let starts = octets.iter().enumerate().filter(|(_, octet)| first.contains(octet));
        starts
            .filter(|(at, _)| {
                octets.get(*at..at + word.len()).is_some_and(|found| found.eq_ignore_ascii_case(word))
            })
            .count()
    };
    count(b"boundary") + count(b"message/rfc822") + count(b"message/global")
}

/// A charset that nobody here knows, where it matters.
fn unknown_charset(message: &Message<'_>, text: &str) -> Option<String> {
    let part = message.text_body.first().and_then(|&id| message.parts.get(id as usize))?;
    let charset = part.content_type()?.attribute("charset")?.trim();
    let known = encoding_rs::Encoding::for_label(charset.as_bytes()).is_some()
        || ["utf-7", "us-ascii", "ascii", ""].iter().any(|known| charset.eq_ignore_ascii_case(known));
    if known || text.is_ascii() || !text.contains('\u{fffd}') {
        return None;
    }
    let charset: String = charset.chars().filter(|letter| !letter.is_control()).take(40).collect();
    Some(format!("its text is in a charset that is not known here: {charset:?}"))
}
