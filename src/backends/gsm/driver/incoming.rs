//! The octets of a received message as what the router takes: a text, a piece of one, a report, or something that is kept and shown to people but never
//! answered.
//!
//! It loses nothing: what cannot be decoded, and what is no text from a person (silent messages, data for the SIM or a phone's programs,
//! voice mail signs), goes to the router with its octets and the reason, and is set aside there.

use super::super::rules::Rules;
use crate::message::{About, CUT_ESCAPE, Connection, Incoming, Name, Part, Report, Verdict};
use crate::numbers::Numbering;
use crate::pdu::address::{NumberType, Value};
use crate::pdu::gsm7::{self, ESCAPE};
use crate::pdu::{
    self, Address, Decoded, Deliver, Payload, Pdu, Prefix, Side, StatusClass, StatusReport, Tables,
};
use sha2::{Digest as _, Sha256};

/// What came.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Arrival {
    /// For the router's apps, or to be set aside; what is set aside has its part as well, for those after it. Whether the network forbids automatic answers to it (TP-LP, clause 9.2.3.28).
    Message(Box<Incoming>, bool),
    /// What became of a message that was sent, by the name that [`report_name`] gave it.
    Report(Report),
}

/// Stands for the sender of what has none.
pub(super) const NOBODY: &str = "unknown";

/// First octet (TP-MMS): whether more messages wait differs from delivery to delivery of the same message.
const MORE_MESSAGES: u8 = 0x04;

/// Decodes one message of the storage or the line.
pub fn arrival(rules: &Rules, imsi: Option<&str>, digits: &str) -> Arrival {
    let backend = &rules.backend;
    let octets = match pdu::from_hex(digits) {
        Ok(octets) => octets,
        Err(error) => return unreadable(backend, digits.as_bytes().to_vec(), &error.to_string()),
    };
    match pdu::decode(&octets, Some(Side::Network), Prefix::Detect) {
        Ok(Decoded { pdu: Pdu::StatusReport(report), .. }) => Arrival::Report(report_of(rules, &report)),
        Ok(decoded) => match &decoded.pdu {
            Pdu::Deliver(deliver) => {
                let mut incoming = message(rules, imsi, deliver);
                incoming.redelivery_key = Some(redelivery_key(&octets, decoded.length));
                incoming.raw = Some(octets);
                Arrival::Message(Box::new(incoming), deliver.loop_prevention)
            }
            _ => unreadable(backend, octets, "it is neither a message for us nor a report"),
        },
        Err(error) => unreadable(backend, octets, &error.to_string()),
    }
}

/// A text that a modem gave in text mode, when it had forgotten that it was told to use PDU mode.
pub fn text_mode(backend: &Name, header: &str, text: &str) -> Incoming {
    let raw = format!("+CMT: {header}\r\n{text}").into_bytes();
    let reason = "it came in text mode, in which neither alphabet nor parts are known";
    Incoming {
        text: text.to_string(),
        ..Incoming::undecodable(Connection::new(backend.clone(), NOBODY), raw, reason)
    }
}

/// The name by which a report finds its part: the modem's reference, and the last digits of the number, which
/// are the same in its national and its international form.
pub fn report_name(reference: u8, number: &Address) -> String {
    const DIGITS: usize = 7;
    let digits = match &number.value {
        Value::Number(digits) => digits.as_str(),
        Value::Name(_) => "",
    };
    let tail = digits.get(digits.len().saturating_sub(DIGITS)..).unwrap_or(digits);
    format!("{reference}/{tail}")
}

/// An address in the one spelling that this line has for it. A name that looks like a number stays a name.
fn spelled(address: &Address, numbering: Option<&Numbering>) -> String {
    let written = address.to_string();
    match (numbering, address.number_type()) {
        (None, _) | (_, NumberType::Alphanumeric) => written,
        (Some(numbering), NumberType::National) => numbering.normalise_national(&written).into_owned(),
        (Some(numbering), _) => numbering.normalise(&written).into_owned(),
    }
}

fn report_of(rules: &Rules, report: &StatusReport) -> Report {
    let verdict = match report.status.class() {
        StatusClass::Delivered => Verdict::Delivered,
        StatusClass::StillTrying => Verdict::Underway,
        StatusClass::Permanent | StatusClass::Ended => Verdict::Failed,
    };
    // Networks name the recipient in another form than the message did.
    let recipient = Address::number(&spelled(&report.recipient, rules.numbering.as_ref()));
    let recipient = recipient.as_ref().unwrap_or(&report.recipient);
    Report {
        backend: rules.backend.clone(),
        about: About::Remote(report_name(report.message_reference, recipient)),
        verdict,
        note: Some(format!("{} ({})", report.status.sentence(), report.discharge_time)),
    }
}

fn unreadable(backend: &Name, raw: Vec<u8>, why: &str) -> Arrival {
    let key = redelivery_key(&raw, raw.len());
    let mut incoming = Incoming::undecodable(Connection::new(backend.clone(), NOBODY), raw, why);
    incoming.redelivery_key = Some(key);
    Arrival::Message(Box::new(incoming), false)
}

fn message(rules: &Rules, imsi: Option<&str>, deliver: &Deliver) -> Incoming {
    let originator = spelled(&deliver.originator, rules.numbering.as_ref());
    let identity = if originator.trim().is_empty() { NOBODY.to_string() } else { originator };
    let mut incoming = Incoming::new(Connection::new(rules.backend.clone(), identity), "");
    incoming.source_time = deliver.service_center_time.timestamp();
    let concat = deliver.user_data.header.as_ref().and_then(pdu::Header::concat);
    let concat = concat.filter(|concat| concat.total > 1 && (1..=concat.total).contains(&concat.sequence));
    let purpose = deliver.purpose();
    if !purpose.is_for_people() {
        incoming.undecodable = Some(purpose.sentence().to_string());
    }
    if let Some(concat) = concat {
        // Another SIM counts its references anew.
        let set = format!("{}/{}/{}", imsi.unwrap_or_default(), concat.bits, concat.reference);
        incoming.part = Some(Part {
            set,
            total: u16::from(concat.total),
            sequence: u16::from(concat.sequence),
            units: units(deliver, concat.sequence < concat.total),
        });
    }
    if concat.is_none() || incoming.undecodable.is_some() {
        incoming.text = deliver.user_data.text().unwrap_or_default();
    }
    incoming
}

/// The UTF-16 units of a part, as they are: a border may cut a surrogate pair. Where it cuts an escape from its letter (3GPP TS 23.038 clause
/// 6.2.1 forbids it, and some senders do it), the escape stays, and whoever joins the parts makes one character of both.
fn units(deliver: &Deliver, goes_on: bool) -> Vec<u16> {
    match &deliver.user_data.payload {
        Payload::Ucs2(octets) => {
            let (pairs, _) = octets.as_chunks::<2>();
            pairs.iter().map(|pair| u16::from_be_bytes(*pair)).collect()
        }
        Payload::Gsm7(septets) if goes_on && deliver.user_data.tables() == Tables::default() => {
            let escapes = septets.iter().rev().take_while(|septet| **septet == ESCAPE).count();
            // Two are a blank, as everywhere.
            let (text, cut) = septets.split_at(septets.len() - escapes % 2);
            let text = gsm7::decode(text, Tables::default());
            text.encode_utf16().chain(cut.iter().map(|_| CUT_ESCAPE)).collect()
        }
        _ => deliver.user_data.text().unwrap_or_default().encode_utf16().collect(),
    }
}

/// The message without its service center, which may be another one at the second delivery of the same message.
fn redelivery_key(octets: &[u8], length: usize) -> String {
    let message = octets.get(octets.len().saturating_sub(length)..).unwrap_or(octets);
    let mut hash = Sha256::new();
    if let Some((first, rest)) = message.split_first() {
        hash.update([first & !MORE_MESSAGES]);
        hash.update(rest);
    }
    let digest = hash.finalize();
    digest.iter().take(16).map(|octet| format!("{octet:02x}")).collect()
}
