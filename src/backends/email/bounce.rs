//! What mail servers report about a mail of ours (RFC 3464, in the frame of RFC 6522). Pure: a parsed mail in, reports out.
//!
//! A report counts only when it names our mail: by the Message-ID in what is returned of it, or by the envelope's name. Both hold
//! the message's id, which only its receiver and the servers on the way have seen; the router also demands that this very line sent it.

use super::headers::Headers;
use crate::message::{About, MessageId, Name, Report, Verdict};
use mail_parser::{Message, MimeHeaders, PartType};

/// What is looked at of one part.
const PART_LIMIT: usize = 64 * 1024;

/// Our name for a mail: the message's id before the `@`.
pub fn message_name(id: MessageId, domain: &str) -> String {
    format!("<{id}@{domain}>")
}

/// The message of which this is [our name](message_name).
pub fn message_of(name: &str, domain: &str) -> Option<MessageId> {
    let bare = name.trim().trim_start_matches('<').trim_end_matches('>');
    let (id, of) = bare.rsplit_once('@')?;
    if of.eq_ignore_ascii_case(domain) { id.parse().ok() } else { None }
}

/// The reports in a mail, mostly one; none when it reports nothing about a mail of ours.
pub fn reports(message: &Message<'_>, backend: &Name, domain: &str) -> Vec<Report> {
    let mut about = None;
    let mut status: Option<&[u8]> = None;
    for part in &message.parts {
        let kind = kind_of(part);
        match (&part.body, kind.as_str()) {
            (_, "message/delivery-status") => status = Some(limited(part.contents())),
            (PartType::Message(returned), _) => {
                about = about.or(returned.message_id().and_then(|name| message_of(name, domain)));
            }
            (_, "text/rfc822-headers" | "message/rfc822") => {
                let headers = Headers::parse(limited(part.contents()));
                let name = headers.get("message-id").map(str::to_string);
                about = about.or(name.and_then(|name| message_of(&name, domain)));
            }
            _ => {}
        }
    }
    let Some(status) = status else { return Vec::new() };
    let blocks = blocks_of(status);
    let envelope = blocks.first().and_then(|block| block.get("original-envelope-id")?.trim().parse().ok());
    let Some(id) = about.or(envelope) else { return Vec::new() };
    let verdicts = blocks.iter().filter_map(verdict_of).map(|(verdict, note)| Report {
        backend: backend.clone(),
        about: About::Id(id),
        verdict,
        note: Some(note),
    });
    // Each mail of ours has one receiver; who reports of several tells of the copies that a list made.
    verdicts.take(1).collect()
}

fn verdict_of(block: &Headers) -> Option<(Verdict, String)> {
    let action = block.get("action")?.split([' ', '(', ';']).next()?.to_ascii_lowercase();
    let verdict = match action.as_str() {
        "failed" => Verdict::Failed,
        "delivered" => Verdict::Delivered,
        "relayed" | "expanded" | "delayed" => Verdict::Underway,
        _ => return None,
    };
    let status = block.get("status").unwrap_or_default();
    let said = block.get("diagnostic-code").unwrap_or_default();
    let said = said.split_once(';').map_or(said, |(_, said)| said).trim();
    let words = [action.as_str(), status, said];
    let note = words.iter().filter(|word| !word.is_empty()).copied().collect::<Vec<_>>().join(" ");
    Some((verdict, note.chars().filter(|letter| !letter.is_control()).take(300).collect()))
}

/// The blocks between empty lines: first what concerns the whole mail, then one for each receiver.
fn blocks_of(octets: &[u8]) -> Vec<Headers> {
    let text = String::from_utf8_lossy(octets).replace("\r\n", "\n");
    let blocks = text.split("\n\n").map(|block| Headers::parse(block.trim_start_matches('\n').as_bytes()));
    blocks.filter(|block| !block.is_empty()).take(20).collect()
}

fn limited(octets: &[u8]) -> &[u8] {
    &octets[..octets.len().min(PART_LIMIT)]
}

/// `text/plain`, in small letters.
pub fn kind_of(part: &mail_parser::MessagePart<'_>) -> String {
    match part.content_type() {
        Some(kind) => {
            let subtype = kind.subtype().unwrap_or_default();
            format!("{}/{subtype}", kind.ctype()).to_ascii_lowercase()
        }
        None => String::new(),
    }
}
