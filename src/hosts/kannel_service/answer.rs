//! What a service's answer means: a reply, nothing, another try, or the end. Pure: an answer and rules in, a [`Verdict`] out.
//!
//! As with Kannel only 200 and 202 are success, and plain text or HTML is the reply. Unlike Kannel a reply is never cut, and 400 and redirects are not tried
//! again: what is wrong with them does not mend itself.

use crate::http::charset;
use crate::http::client::{Answer, place};
use crate::message::{Callback, Connection, Draft, Priority};
use crate::pdu::{self, Splitting};
use std::time::Duration;

/// What a Kannel says for an empty reply, where that is wanted.
pub const EMPTY: &str = "<Empty reply from service provider>";

/// How answers are read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Rules {
    /// A reply may have so many parts; 0: the answer is not used at all.
    pub max_messages: u8,
    /// An empty answer is no reply.
    pub omit_empty: bool,
    /// `X-Kannel-` headers of the answer may change the reply.
    pub x_kannel: bool,
}

/// What an answer means.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// The message is handled; this is the reply, if there is one.
    Done(Option<Draft>),
    /// Ask again later, for this reason.
    Again(String),
    /// Never ask again, for this reason.
    Failed(String),
}

/// Reads an answer to a message of `sender`.
pub fn judge(answer: &Answer, sender: &Connection, rules: &Rules) -> Verdict {
    match answer.status {
        200 | 202 => {}
        400 => {
            return Verdict::Failed(
                "it answered 400: the message is not to its liking, and would not be later".into(),
            );
        }
        status @ 300..=399 => {
            let there = answer.header("location").unwrap_or_default();
            let there = if there.contains("://") { place(there) } else { "another path".into() };
            return Verdict::Failed(format!(
                "it answered {status}, a redirect to {there}; write the final address into the settings, with its last slash"
            ));
        }
        status => return Verdict::Again(format!("it answered {status}, and only 200 and 202 are success")),
    }
    if rules.max_messages == 0 {
        return Verdict::Done(None);
    }
    if answer.cut {
        return Verdict::Failed("its answer is too long for a reply, or broke off".into());
    }
    let text = match text(answer) {
        Ok(Some(text)) => text,
        Ok(None) => return Verdict::Done(None),
        Err(why) => return Verdict::Failed(why),
    };
    let text = match text.trim() {
        "" if rules.omit_empty => return Verdict::Done(None),
        "" => EMPTY,
        text => text,
    };
    let most = Splitting { most_parts: rules.max_messages, ..Splitting::default() };
    if pdu::plan(text, &most).is_err() {
        return Verdict::Failed(format!(
            "its reply has {} characters, and more than {} parts (max_messages)",
            text.chars().count(),
            rules.max_messages
        ));
    }
    let mut reply = Draft { priority: Priority::Reply, ..Draft::new(sender.clone(), text) };
    if rules.x_kannel {
        apply_headers(&mut reply, answer);
    }
    Verdict::Done(Some(reply))
}

/// The reply in the body; `None` where the body is of a kind that is no text for people.
fn text(answer: &Answer) -> Result<Option<String>, String> {
    let header = answer.header("content-type").unwrap_or_default();
    let mut pieces = header.split(';');
    let kind = pieces.next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_html = match kind.as_str() {
        "" | "text/plain" => false,
        "text/html" | "application/xhtml+xml" => true,
        _ => return Ok(None),
    };
    let named = pieces.filter_map(|piece| piece.split_once('=')).find_map(|(name, value)| {
        name.trim().eq_ignore_ascii_case("charset").then(|| value.trim().trim_matches('"'))
    });
    let decoded = match named {
        Some(charset) => charset::decode(charset, &answer.body),
        // Nameless text is UTF-8, or else what old programs write.
        None => {
            charset::decode("UTF-8", &answer.body).or_else(|_| charset::decode("windows-1252", &answer.body))
        }
    };
    let decoded = decoded.map_err(|why| {
        let named = named.unwrap_or_default().escape_debug();
        match why {
            charset::NoText::UnknownCharset => {
                format!("its answer is in \"{named}\", which is no known charset")
            }
            charset::NoText::NotInCharset => format!("its answer is not in {named}, as it says it is"),
        }
    })?;
    Ok(Some(if is_html { without_tags(&decoded) } else { decoded }))
}

/// The text of HTML as a phone would want it: no tags, scripts and styles; line breaks where there are some; the commonest entities.
fn without_tags(html: &str) -> String {
    let mut text = String::with_capacity(html.len());
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        push_words(&mut text, &rest[..at]);
        let tag = &rest[at..];
        let name: String =
            tag[1..].chars().take_while(|letter| letter.is_ascii_alphanumeric() || *letter == '/').collect();
        let name = name.to_ascii_lowercase();
        let end = if tag.starts_with("<!--") {
            tag.find("-->").map(|end| end + 3)
        } else if matches!(name.as_str(), "script" | "style" | "head" | "title") {
            end_of_element(tag, &name)
        } else {
            tag.find('>').map(|end| end + 1)
        };
        if matches!(name.trim_matches('/'), "br" | "p" | "div" | "tr" | "li" | "h1" | "h2" | "h3") {
            text.truncate(text.trim_end().len());
            if !text.is_empty() {
                text.push('\n');
            }
        }
        let Some(end) = end else { return text };
        rest = &tag[end..];
    }
    push_words(&mut text, rest);
    text
}

/// Where `</name>` ends; nothing of what is within is for people.
fn end_of_element(tag: &str, name: &str) -> Option<usize> {
    let closing = format!("</{name}");
    let lower = tag.to_ascii_lowercase();
    let at = lower.find(&closing)?;
    tag[at..].find('>').map(|end| at + end + 1)
}

/// Adds words with one blank where there were any, as a browser does.
fn push_words(text: &mut String, piece: &str) {
    for (index, word) in piece.split(|letter: char| letter.is_ascii_whitespace()).enumerate() {
        if index > 0 && !text.is_empty() && !text.ends_with([' ', '\n']) {
            text.push(' ');
        }
        push_entities(text, word);
    }
}

fn push_entities(text: &mut String, word: &str) {
    let mut rest = word;
    while let Some(at) = rest.find('&') {
        text.push_str(&rest[..at]);
        let entity = &rest[at + 1..];
        let meant = entity.split_once(';').and_then(|(name, behind)| Some((meaning(name)?, behind)));
        match meant {
            Some((letter, behind)) => {
                text.push(letter);
                rest = behind;
            }
            None => {
                text.push('&');
                rest = entity;
            }
        }
    }
    text.push_str(rest);
}

fn meaning(name: &str) -> Option<char> {
    Some(match name {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        "nbsp" => ' ',
        _ => {
            let number = name.strip_prefix('#')?;
            let code = match number.strip_prefix(['x', 'X']) {
                Some(digits) => u32::from_str_radix(digits, 16),
                None => number.parse(),
            };
            char::from_u32(code.ok()?).filter(|letter| !letter.is_control())?
        }
    })
}

/// What an answer may say about its reply (Kannel user guide, "accept-x-kannel-headers").
fn apply_headers(reply: &mut Draft, answer: &Answer) {
    let said = |name: &str| answer.header(name).map(str::trim).filter(|value| !value.is_empty());
    let number = |name: &str| said(name).and_then(|value| value.parse::<u64>().ok());
    let minutes =
        |name: &str| number(name).map(|minutes| Duration::from_secs(60 * minutes.min(63 * 7 * 24 * 60)));
    let identity = said("x-kannel-to").unwrap_or(&reply.connection.identity).to_string();
    let backend = said("x-kannel-smsc").unwrap_or(&reply.connection.backend).to_string();
    reply.connection = Connection::new(backend, identity);
    reply.wishes.flash = number("x-kannel-mclass") == Some(0);
    reply.validity = minutes("x-kannel-validity").filter(|validity| !validity.is_zero());
    if let (Some(url), Some(mask @ 1..=31)) = (said("x-kannel-dlr-url"), number("x-kannel-dlr-mask")) {
        let callback = Callback::new(url.replace(' ', "%20"), u8::try_from(mask).unwrap_or(0))
            .knowing('P', said("x-kannel-from").unwrap_or_default());
        reply.callback = match callback.fault() {
            None => Some(callback),
            Some(why) => {
                log::warn!("the X-Kannel-DLR-URL of an answer is not used: {why}");
                None
            }
        };
    }
}
