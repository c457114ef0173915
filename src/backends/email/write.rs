//! A message to be sent as a mail: head and body, ready for the wire. Pure; the time is an argument.
//!
//! No text of a person reaches a header as it is: the library encodes subjects (RFC 2047) and checks addresses, and names of other mails are
//! taken over only when they look like names. The body is encoded, so a line with a single dot is no end, and no line is too long.

use super::bounce::message_name;
use super::headers::{Headers, message_ids};
use super::read::{identity_of, is_answer};
use crate::message::Outgoing;
use lettre::message::header::{HeaderName, HeaderValue};
use lettre::message::{Mailbox, SinglePart};
use lettre::{Address, Message};
use mail_parser::MessageParser;
use std::time::SystemTime;

/// So many names of a conversation are passed on: the first, and the latest (RFC 5322, 3.6.4, allows to leave out).
const REFERENCES_LIMIT: usize = 10;
/// The longest subject, in characters.
const SUBJECT_LIMIT: usize = 250;

/// How mails are written.
#[derive(Clone, Debug)]
pub struct Writing {
    /// From whom.
    pub from: Mailbox,
    /// Behind the `@` of the names that we give to mails.
    pub domain: String,
    /// The subject of mails that answer nothing; may be empty.
    pub subject: String,
}

/// A mail for the wire.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Composed {
    /// The envelope's sender.
    pub from: Address,
    /// The envelope's receiver.
    pub to: Address,
    /// Its name, the same in every attempt.
    pub name: String,
    /// Head and body, with CR LF at each end of a line.
    pub octets: Vec<u8>,
}

/// The mail that is answered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Thread {
    /// Its own name.
    pub name: Option<String>,
    /// The names of those before it.
    pub before: Vec<String>,
    /// Its subject.
    pub subject: Option<String>,
}

/// Finds out about the mail that is answered, from what was stored of it. Nothing when it came from somebody else: to whom an answer is sent
/// instead, that one shall not learn what it was about.
pub fn thread_of(stored: &[u8], receiver: &str) -> Option<Thread> {
    let message = MessageParser::default().parse(stored)?;
    let sender = message.from()?.first()?.address().and_then(identity_of)?;
    if !sender.eq_ignore_ascii_case(receiver) {
        return None;
    }
    let headers = Headers::parse(stored);
    let ids = |name: &str| headers.get(name).map(message_ids).unwrap_or_default();
    let mut before = ids("references");
    if before.is_empty() {
        before = ids("in-reply-to").into_iter().take(1).collect();
    }
    let subject = message.subject().map(plain_line).filter(|subject| !subject.is_empty());
    Some(Thread { name: ids("message-id").into_iter().next(), before, subject })
}

/// Writes the mail. An error is for ever: the same message would fail again.
pub fn compose(
    outgoing: &Outgoing,
    thread: Option<&Thread>,
    rules: &Writing,
    now: SystemTime,
) -> Result<Composed, String> {
    let identity = &*outgoing.connection.identity;
    let to: Address = identity
        .parse()
        .map_err(|error| format!("{identity:?} is no mail address that could be written to: {error}"))?;
    let name = message_name(outgoing.id, &rules.domain);
    let mut builder = Message::builder()
        .from(rules.from.clone())
        .to(Mailbox::new(None, to.clone()))
        .date(now)
        .message_id(Some(name.clone()));
    let subject = subject_of(thread, &rules.subject);
    if !subject.is_empty() {
        builder = builder.subject(subject);
    }
    if let Some(answered) = thread.and_then(|thread| thread.name.as_ref()) {
        builder = builder.in_reply_to(answered.clone());
        let before = thread.map(|thread| thread.before.as_slice()).unwrap_or_default();
        builder = builder.references(references(before, answered));
    }
    // RFC 3834, 5: so that no other machine answers this one.
    let kind = if outgoing.in_response_to.is_some() { "auto-replied" } else { "auto-generated" };
    for (name, value) in [("Auto-Submitted", kind), ("X-Auto-Response-Suppress", "All")] {
        let header = HeaderName::new_from_ascii_str(name);
        builder = builder.raw_header(HeaderValue::new(header, value.to_string()));
    }
    let message = builder
        .singlepart(SinglePart::plain(body_of(&outgoing.text)))
        .map_err(|error| format!("no mail can be made of it: {error}"))?;
    let from = rules.from.email.clone();
    Ok(Composed { from, to, name, octets: message.formatted() })
}

fn subject_of(thread: Option<&Thread>, usual: &str) -> String {
    let Some(thread) = thread else { return plain_line(usual) };
    match &thread.subject {
        Some(subject) if is_answer(subject) => subject.clone(),
        Some(subject) => format!("Re: {subject}"),
        None => plain_line(usual),
    }
}

fn references(before: &[String], answered: &String) -> String {
    let latest = before.len().saturating_sub(REFERENCES_LIMIT - 2).max(1);
    let names = before.iter().take(1).chain(before.iter().skip(latest));
    let names: Vec<&str> =
        names.filter(|name| *name != answered).chain([answered]).map(String::as_str).collect();
    names.join(" ")
}

/// One line without anything that ends or hides one.
fn plain_line(text: &str) -> String {
    let words = text.split(|letter: char| letter.is_whitespace() || letter.is_control());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    line.chars().take(SUBJECT_LIMIT).collect()
}

/// Every end of a line is CR LF, and there is no other CR, LF or NUL (RFC 5321, 2.3.8).
fn body_of(text: &str) -> String {
    let mut body = String::with_capacity(text.len() + 16);
    let unified = text.replace("\r\n", "\n").replace('\r', "\n");
    for line in unified.split('\n') {
        body.extend(line.chars().filter(|letter| !letter.is_control() || *letter == '\t'));
        body.push_str("\r\n");
    }
    body
}
