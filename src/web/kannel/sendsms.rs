//! `/cgi-bin/sendsms`: what a program asks for becomes drafts, or the answer that a Kannel would give (measured with Kannel 1.4.5; the user guide
//! is silent about most of it). Pure: parameters, settings and a time in, [`Orders`] or a [`Refusal`] out.
//!
//! Where this differs from Kannel, on purpose: a text is never cut (one that needs more parts than the user may send is refused) and never
//! loses letters (the engine chooses the alphabet, whatever `coding` says); binary data, voice mail signs and headers
//! other than that of a part are refused instead of being sent as a text; a blank before a number that can only be a `+` is one.

use super::parameters::{Parameters, Unreadable};
use crate::http::charset;
use crate::http::secret;
use crate::message::{Callback, Connection, Draft, Piece, Priority};
use crate::pdu::udh::Header;
use crate::pdu::{self, Splitting};
use crate::settings::{KannelServer, KannelUser};
use crate::time::Timestamp;
use std::net::IpAddr;
use std::time::Duration;

/// More receivers than this are too many for one request.
const MOST_RECEIVERS: usize = 1_000;
/// The longest validity (3GPP TS 23.040, 9.2.3.12: 63 weeks) and the longest delay, in minutes.
const MOST_MINUTES: i64 = 63 * 7 * 24 * 60;

/// What a sender may write in `to` (Kannel's `sendsms-chars`).
const NUMBER_CHARACTERS: &str = "0123456789 +-";

/// What a request wants to be sent.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Orders {
    /// One for each receiver.
    pub drafts: Vec<Draft>,
    /// Who wants it.
    pub user: String,
    /// Receivers that were left out, because they are no numbers.
    pub left_out: Vec<String>,
}

/// Why nothing is sent: the status and the words of the answer, and a sentence for the log.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refusal {
    /// The status.
    pub status: u16,
    /// What the program is told.
    pub words: String,
    /// What the operator is told besides, when there is something that the program must not know.
    pub note: Option<String>,
}

/// What is known of the backends.
pub trait Lines {
    /// Whether there is a backend or a group of this name.
    fn knows(&self, name: &str) -> bool;
    /// How texts are cut there.
    fn splitting(&self, name: &str) -> Splitting;
}

impl Refusal {
    fn new(status: u16, words: impl Into<String>) -> Refusal {
        Refusal { status, words: words.into(), note: None }
    }

    /// No smsc would take it: Kannel's words.
    pub fn not_routable() -> Refusal {
        Refusal::new(403, "Not routable. Do not try again.")
    }

    /// No receiver is left.
    pub fn denied() -> Refusal {
        Refusal::new(400, "Number(s) has/have been denied by white- and/or black-lists.")
    }

    fn field(name: &str) -> Refusal {
        Refusal::new(400, format!("{name} field misformed, rejected"))
    }

    fn unsupported(what: &str) -> Refusal {
        Refusal::new(400, format!("{what} not supported, rejected"))
    }

    fn unauthorized(note: String) -> Refusal {
        Refusal { note: Some(note), ..Refusal::new(403, "Authorization failed for sendsms") }
    }
}

impl From<Unreadable> for Refusal {
    fn from(unreadable: Unreadable) -> Refusal {
        Refusal::new(unreadable.status, unreadable.words)
    }
}

/// Reads a request in the order in which Kannel looks at it, so that a request with two faults is told the same one.
pub fn orders(
    parameters: &Parameters,
    peer: Option<IpAddr>,
    server: &KannelServer,
    lines: &dyn Lines,
    now: Timestamp,
) -> Result<Orders, Refusal> {
    let user = user(parameters, peer, server)?;
    let (receivers, left_out) = receivers(parameters)?;
    let from = parameters.text(&["from"]).filter(|from| !from.trim().is_empty());
    let Some(from) = from.or_else(|| user.sender.clone()).or_else(|| server.sender.clone()) else {
        return Err(Refusal::new(400, "Sender missing and no global set, rejected"));
    };
    let fields = fields(parameters)?;
    let (text, part) = content(parameters, &fields)?;
    let backend = backend(parameters, user, server, lines)?;
    if part.is_none() {
        affordable(&text, user, &lines.splitting(&backend))?;
    }
    let mut draft = Draft::new(Connection::new(backend, ""), text);
    draft.wishes.flash = fields.flash;
    draft.wishes.part = part;
    draft.priority = fields.priority;
    draft.validity = fields.validity;
    draft.not_before = fields.deferred.map(|wait| now + wait);
    draft.callback = callback(parameters, &fields, user, &from)?;
    draft.wishes.report = draft.callback.as_ref().map(|_| true);
    let to = |receiver: &String| {
        let connection = Connection::new(draft.connection.backend.clone(), receiver.as_str());
        Draft { connection, ..draft.clone() }
    };
    Ok(Orders { drafts: receivers.iter().map(to).collect(), user: user.name.clone(), left_out })
}

/// Whoever is not let in learns nothing about why.
fn user<'s>(
    parameters: &Parameters,
    peer: Option<IpAddr>,
    server: &'s KannelServer,
) -> Result<&'s KannelUser, Refusal> {
    let name = parameters.text(&["username", "user"]).unwrap_or_default();
    let given = parameters.get(&["password", "pass"]).unwrap_or_default();
    let user = server.users.iter().find(|user| user.name == name);
    // As long for a name that nobody has.
    let right = secret::is_equal(given, user.map_or("", |user| user.password.expose()));
    let Some(user) = user else {
        return Err(Refusal::unauthorized(format!("there is no user \"{}\"", name.escape_debug())));
    };
    if !right {
        return Err(Refusal::unauthorized(format!("the password of user {} is wrong or missing", user.name)));
    }
    let near = |peer: IpAddr| user.allow.iter().any(|network| network.contains(peer));
    if !user.allow.is_empty() && !peer.is_some_and(near) {
        return Err(Refusal::unauthorized(format!("user {} may not ask from this address", user.name)));
    }
    Ok(user)
}

/// The numbers, and what was left out of them.
fn receivers(parameters: &Parameters) -> Result<(Vec<String>, Vec<String>), Refusal> {
    let Some(to) = parameters.text(&["to"]) else {
        return Err(Refusal::new(400, "Missing receiver number, rejected"));
    };
    if to.is_empty() {
        return Err(Refusal::new(400, "Empty receiver number not allowed, rejected"));
    }
    let mended = mended(&to);
    let words: Vec<&str> = mended.split_whitespace().collect();
    if words.len() > MOST_RECEIVERS {
        return Err(Refusal::new(400, format!("More than {MOST_RECEIVERS} receivers, rejected")));
    }
    let (mut receivers, mut left_out) = (Vec::new(), Vec::new());
    for word in words {
        let number: String = word.chars().filter(|letter| *letter != '-').collect();
        let digits = number.strip_prefix('+').unwrap_or(&number);
        let is_number = word.chars().all(|letter| NUMBER_CHARACTERS.contains(letter))
            && !digits.is_empty()
            && digits.len() <= 20
            && digits.bytes().all(|digit| digit.is_ascii_digit());
        if is_number {
            receivers.push(number);
        } else {
            left_out.push(word.chars().take(40).collect());
        }
    }
    if receivers.is_empty() { Err(Refusal::denied()) } else { Ok((receivers, left_out)) }
}

/// `to=+15551230001` without encoding arrives with a blank for the plus. Only one who meant a plus begins with a blank, and
/// no country's code begins with 0.
fn mended(to: &str) -> String {
    let Some(rest) = to.strip_prefix(' ') else { return to.to_string() };
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let whole = rest[digits..].is_empty() || rest[digits..].starts_with(' ');
    if (8..=15).contains(&digits) && whole && !rest.starts_with('0') {
        format!("+{rest}")
    } else {
        to.to_string()
    }
}

/// What the small fields say.
struct Fields {
    flash: bool,
    coding: Option<i64>,
    priority: Priority,
    validity: Option<Duration>,
    deferred: Option<Duration>,
    mask: u8,
}

fn fields(parameters: &Parameters) -> Result<Fields, Refusal> {
    let within =
        |names: &[&str], range: std::ops::RangeInclusive<i64>, called: &str| match parameters.number(names) {
            Some(number) if !range.contains(&number) => Err(Refusal::field(called)),
            number => Ok(number),
        };
    let class = within(&["mclass"], 0..=3, "MClass")?;
    let pid = within(&["pid"], 0..=255, "PID")?;
    let sign = within(&["mwi"], 0..=7, "MWI")?;
    let coding = within(&["coding"], 0..=2, "Coding")?;
    let validity = within(&["validity"], 0..=i64::MAX, "Validity")?;
    let deferred = within(&["deferred"], 0..=i64::MAX, "Deferred")?;
    let mask = within(&["dlr-mask", "dlrmask"], 0..=31, "DLR-Mask")?;
    let priority = within(&["priority"], 0..=3, "Priority")?;
    // These two change what the phone does with the message; without that it would be another message.
    if sign.is_some() {
        return Err(Refusal::unsupported("Message waiting indications (mwi) are"));
    }
    if pid.is_some_and(|pid| pid != 0) {
        return Err(Refusal::unsupported("Protocol identifiers (pid) other than 0 are"));
    }
    let minutes = |minutes: Option<i64>| {
        let minutes = minutes.filter(|minutes| *minutes > 0)?.min(MOST_MINUTES);
        Some(Duration::from_secs(60 * minutes.unsigned_abs()))
    };
    Ok(Fields {
        flash: class == Some(0),
        coding,
        priority: match priority {
            Some(0) => Priority::Bulk,
            Some(3) => Priority::Reply,
            _ => Priority::Single,
        },
        validity: minutes(validity),
        deferred: minutes(deferred),
        mask: mask.and_then(|mask| u8::try_from(mask).ok()).unwrap_or(0),
    })
}

/// The text, and which part of a longer one it is. The bytes are decoded by their charset, whatever the coding says: programs send
/// `coding=0&charset=UTF-16BE` too.
fn content(parameters: &Parameters, fields: &Fields) -> Result<(String, Option<Piece>), Refusal> {
    let octets = parameters.get(&["text"]).unwrap_or_default();
    let header = parameters.get(&["udh"]).filter(|header| !header.is_empty());
    let part = header.map(piece).transpose()?;
    let named = parameters.text(&["charset"]).filter(|charset| !charset.trim().is_empty());
    let binary = match fields.coding {
        Some(coding) => coding == 1,
        // As Kannel takes it: a header or a nameless body without a coding is 8-bit data.
        None => parameters.binary && named.is_none(),
    };
    let misformed = || Refusal::new(400, "Charset or body misformed, rejected");
    if binary && part.is_none() && !(octets.is_empty() && fields.coding.is_none()) {
        return Err(Refusal::unsupported("Binary messages (coding=1) are"));
    }
    let charset = named.as_deref().unwrap_or(if fields.coding == Some(2) { "UTF-16BE" } else { "UTF-8" });
    let text = match charset::decode(charset, octets) {
        Ok(text) => text,
        // Whoever cuts UCS-2 into parts may cut a character.
        Err(charset::NoText::NotInCharset) if part.is_some() && is_utf16(charset) => {
            charset::decode_piece_of_utf16(octets).ok_or_else(misformed)?
        }
        Err(_) => return Err(misformed()),
    };
    if binary && text.chars().any(|letter| letter.is_control() && !"\r\n\t".contains(letter)) {
        return Err(Refusal::unsupported("Binary messages (coding=1) are"));
    }
    Ok((text, part))
}

fn is_utf16(charset: &str) -> bool {
    matches!(charset.trim().to_ascii_lowercase().as_str(), "utf-16be" | "utf-16" | "ucs-2" | "ucs-2be")
}

/// The one header that is understood: "part 2 of 3 of message 17" (3GPP TS 23.040, 9.2.3.24.1 and 9.2.3.24.8).
fn piece(header: &[u8]) -> Result<Piece, Refusal> {
    let (length, elements) = header.split_first().ok_or_else(|| Refusal::field("UDH"))?;
    if usize::from(*length) != elements.len() {
        return Err(Refusal::field("UDH"));
    }
    let parsed = Header::parse(elements).ok_or_else(|| Refusal::field("UDH"))?;
    let concat = parsed.concat().filter(|_| parsed.elements.len() == 1);
    let Some(concat) = concat else {
        return Err(Refusal::unsupported("A UDH other than that of a part of a longer message is"));
    };
    let piece = Piece {
        reference: concat.reference,
        bits: concat.bits,
        total: concat.total,
        sequence: concat.sequence,
    };
    match piece.fault() {
        None => Ok(piece),
        Some(_) => Err(Refusal::field("UDH")),
    }
}

/// Where it leaves: what `smsc` means, else the user's backend, else the server's.
fn backend(
    parameters: &Parameters,
    user: &KannelUser,
    server: &KannelServer,
    lines: &dyn Lines,
) -> Result<String, Refusal> {
    let smsc = parameters.text(&["smsc"]).filter(|smsc| !smsc.is_empty());
    let name = match &smsc {
        Some(smsc) => {
            let mapped = server.smscs.iter().find(|(known, _)| known == smsc).map(|(_, name)| name);
            Some(mapped.unwrap_or(smsc).clone())
        }
        None => user.backend.clone().or_else(|| server.backend.clone()),
    };
    match name {
        Some(name) if lines.knows(&name) => Ok(name),
        name => Err(Refusal {
            note: Some(match name {
                Some(name) => format!(
                    "no backend or group is named \"{}\"; say in smscs of [kannel_server] which one is meant",
                    name.escape_debug()
                ),
                None => {
                    "the request names no smsc, and neither its user nor [kannel_server] has a backend".into()
                }
            }),
            ..Refusal::not_routable()
        }),
    }
}

/// A text is sent whole or not at all.
fn affordable(text: &str, user: &KannelUser, splitting: &Splitting) -> Result<(), Refusal> {
    let most = user.max_messages.min(splitting.most_parts);
    let splitting = Splitting { most_parts: most, ..splitting.clone() };
    match pdu::plan(text, &splitting) {
        Ok(_) => Ok(()),
        Err(_) => Err(Refusal::new(
            400,
            format!(
                "Message too long: more than {most} parts, which is all that this user may send, rejected"
            ),
        )),
    }
}

/// Whom to call. What only this request knows is filled in now.
fn callback(
    parameters: &Parameters,
    fields: &Fields,
    user: &KannelUser,
    from: &str,
) -> Result<Option<Callback>, Refusal> {
    let url = parameters.text(&["dlr-url", "dlrurl"]).filter(|url| !url.trim().is_empty());
    let Some(url) = url.filter(|_| fields.mask != 0) else { return Ok(None) };
    let callback = Callback::new(url.trim().replace(' ', "%20"), fields.mask)
        .knowing('n', &user.name)
        .knowing('o', &parameters.text(&["account"]).unwrap_or_default())
        .knowing('P', from)
        .knowing('Q', from)
        .knowing('D', &parameters.text(&["meta-data"]).unwrap_or_default());
    match callback.fault() {
        None => Ok(Some(callback)),
        Some(why) => Err(Refusal { note: Some(why), ..Refusal::field("DLR-URL") }),
    }
}
