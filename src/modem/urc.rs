//! What modems say unasked: unsolicited result codes of 27.005 3.4, 27.007, and the makers' own.
//!
//! A line is recognised by its beginning. Three kinds need more than one line: `+CMT`, `+CDS` and `+CBM` in PDU mode have the message
//! in the next line, `+CMT` in text mode (a modem that has forgotten its settings) the text, and the text of `+CUSD` may
//! have line ends in it.

use super::answers::{self, Registration, Ussd};
use super::command::begins_with_name;

/// One unsolicited result code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Urc {
    /// `+CMTI`: a message was stored in this slot. Zero is a slot like any other.
    Stored {
        /// `SM`, `ME` ...
        storage: String,
        /// The slot.
        index: u32,
    },
    /// `+CDSI`: a status report was stored in this slot.
    ReportStored {
        /// `SM`, `SR` ...
        storage: String,
        /// The slot.
        index: u32,
    },
    /// `+CMT`: a message, not stored; it is ours to keep before it is acknowledged (`AT+CNMA`).
    Message(Direct),
    /// `+CDS`: a status report, not stored.
    Report(Direct),
    /// `+CBM`: a cell broadcast.
    Broadcast(Direct),
    /// `+CMT` in text mode: header and text. The modem has forgotten that it was told to use PDU mode.
    TextMessage {
        /// What followed `+CMT:`.
        header: String,
        /// The first line of the text.
        text: String,
    },
    /// A message or report was announced, and its second line never came whole: look through the storages.
    Torn(String),
    /// `RING`, `+CRING: VOICE`.
    Ring(String),
    /// `+CLIP`: who calls; empty when withheld.
    Caller(String),
    /// `NO CARRIER`, `BUSY`, `NO ANSWER`: a call is over.
    CallEnded(String),
    /// `+CUSD`.
    Ussd(Ussd),
    /// `+CREG`, `+CGREG`, `+CEREG`.
    Registration(Registration),
    /// `+CPIN: READY` and its like, unasked.
    Pin(String),
    /// The modem has started, perhaps in mid-life, or is going down: its settings may be lost.
    Started(String),
    /// The storage for messages is full: nothing more will be announced.
    StorageFull(String),
    /// Signal levels and other chatter.
    Noise(String),
    /// Something else that looks like an unsolicited result code.
    Other(String),
}

/// A message that came directly, as it was on the line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Direct {
    /// What followed `+CMT:`, for whoever looks for a bug.
    pub header: String,
    /// The octets of the message in hexadecimal digits, with the service center's address before it.
    pub pdu: String,
}

/// Which of the three kinds with a PDU in the second line.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Message,
    Report,
    Broadcast,
}

impl Kind {
    pub(super) fn urc(self, direct: Direct) -> Urc {
        match self {
            Kind::Message => Urc::Message(direct),
            Kind::Report => Urc::Report(direct),
            Kind::Broadcast => Urc::Broadcast(direct),
        }
    }
}

/// A line that is, or begins, an unsolicited result code.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Recognised {
    Whole(Urc),
    /// The message is in the next line; `length` counts its octets without the service center's address.
    BeforePdu {
        kind: Kind,
        header: String,
        length: Option<usize>,
    },
    /// Text mode: the text is in the next line.
    BeforeText {
        header: String,
    },
    /// The quotation is not closed yet.
    OpenQuote,
}

/// Lines that are one whole URC by themselves.
const STARTED: &[&str] = &[
    "^SYSSTART",
    "^BOOT",
    "SMS Ready",
    "Call Ready",
    "SMS DONE",
    "PB DONE",
    "+PBREADY",
    "RDY",
    "*PSUTTZ: READY",
    "APP RDY",
    "START",
    "MODEM:STARTUP",
    "^SHUTDOWN",
    "+CFUN: 1",
    "NORMAL POWER DOWN",
    "POWERED DOWN",
    "+QIND: SMS DONE",
    "+QIND: PB DONE",
    "+QUSIM: 1",
    "+EIND: 128",
];

const NOISE: &[&str] = &[
    "^RSSI",
    "^RSSILVL",
    "^HRSSILVL",
    "^HCSQ",
    "^MODE",
    "^DSFLOWRPT",
    "^CSNR",
    "^SIMST",
    "^SRVST",
    "^STIN",
    "^NDISSTAT",
    "^EONS",
    "^LWURC",
    "^NWTIME",
    "^ACTIVEBAND",
    "^CERSSI",
    "^ANLEVEL",
    "^LOCCHD",
    "^CRSSI",
    "^DDTMF",
    "^CONF",
    "^CONN",
    "^CEND",
    "^ORIG",
    "^THERM",
    "^XHCSQ",
    "^RFSWITCH",
    "^SPN",
    "^PLMN",
    "^DATACONNECT",
    "+ZUSIMR",
    "+ZEND",
    "+ZPASR",
    "+ZDONR",
    "+ZCPI",
    "+ZMSRI",
    "+ZUSIMRD",
    "+WIND",
    "+CTZV",
    "+CTZE",
    "+CTZDST",
    "+CGEV",
    "+CIEV",
    "+QIND",
    "+QUSIM",
    "+STIN",
    "+STC",
    "*PSNWID",
    "*PSUTTZ",
    "*PSUTTZ",
    "+CSSI",
    "+CSSU",
    "+CCWA",
    "+COLP",
    "+CNAP",
    "_OSIGQ",
    "_OBLS",
    "_OWANCALL",
    "_OSSYSI",
    "_OUWCTI",
    "$QCRMCALL",
    "+DREL",
    "+DTMF",
    "*EMRDY",
    "*E2NAP",
    "*ERINFO",
    "+CDSM",
    "+CSCN",
    "DST",
    "+CLTS",
    "+EIND",
    "+CPSI",
    "+NITZ",
    "+SPN",
];

const CALL_ENDS: &[&str] = &["NO CARRIER", "BUSY", "NO ANSWER", "NO DIALTONE", "NO DIAL TONE"];

/// Whether this line ends a call. For a command about calls it is the final result.
pub(super) fn is_call_end(line: &str) -> bool {
    CALL_ENDS.contains(&line)
}

/// Recognises the first line of an unsolicited result code.
pub(super) fn recognise(line: &str) -> Option<Recognised> {
    let whole = |urc| Some(Recognised::Whole(urc));
    if is_call_end(line) {
        return whole(Urc::CallEnded(line.to_string()));
    }
    if line == "RING" || begins_with_name(line, "+CRING") {
        return whole(Urc::Ring(line.to_string()));
    }
    if begins_with_name(line, "+CMTI") || begins_with_name(line, "+CDSI") {
        let Some((storage, index)) = stored(line) else { return whole(Urc::Other(line.to_string())) };
        let report = begins_with_name(line, "+CDSI");
        return whole(if report {
            Urc::ReportStored { storage, index }
        } else {
            Urc::Stored { storage, index }
        });
    }
    for (name, kind) in [("+CMT", Kind::Message), ("+CDS", Kind::Report), ("+CBM", Kind::Broadcast)] {
        if begins_with_name(line, name) {
            return Some(before_pdu(line, name, kind));
        }
    }
    if begins_with_name(line, "+CUSD") {
        return Some(match ussd_is_open(line) {
            true => Recognised::OpenQuote,
            false => Recognised::Whole(ussd(line)),
        });
    }
    if is_registration(line) {
        let urc = answers::registration_urc(line).map(Urc::Registration);
        return whole(urc.unwrap_or_else(|| Urc::Other(line.to_string())));
    }
    if begins_with_name(line, "+CLIP") {
        let caller = answers::fields(value(line)).into_iter().next().unwrap_or_default();
        return whole(Urc::Caller(caller));
    }
    if begins_with_name(line, "+CPIN") {
        return whole(Urc::Pin(value(line).trim_matches('"').to_string()));
    }
    if is_storage_full(line) {
        return whole(Urc::StorageFull(line.to_string()));
    }
    if STARTED.iter().any(|text| begins_with_text(line, text)) {
        return whole(Urc::Started(line.to_string()));
    }
    if NOISE.iter().any(|name| begins_with_name(line, name)) {
        return whole(Urc::Noise(line.to_string()));
    }
    None
}

/// Whether a line has the shape of a result code, known or not: `+NAME:` or `^NAME:`.
pub(super) fn looks_like_a_code(line: &str) -> bool {
    let mut letters = line.chars();
    let sign = letters.next().is_some_and(|sign| "+^*#$%&_".contains(sign));
    let name: &str = line.get(1..).unwrap_or_default().split(':').next().unwrap_or_default();
    let named = name.starts_with(|letter: char| letter.is_ascii_uppercase())
        && name.chars().all(|letter| letter.is_ascii_uppercase() || letter.is_ascii_digit() || letter == '_');
    sign && named && line.contains(':')
}

/// `+CREG` and its kin, which answer and URC share.
pub(super) fn is_registration(line: &str) -> bool {
    ["+CREG", "+CGREG", "+CEREG", "+C5GREG"].iter().any(|name| begins_with_name(line, name))
}

/// The URC of a complete `+CUSD` with all its lines.
pub(super) fn ussd(text: &str) -> Urc {
    match answers::ussd(text) {
        Some(ussd) => Urc::Ussd(ussd),
        None => Urc::Other(text.to_string()),
    }
}

/// Whether the quotation of `+CUSD: 0,"text",15` is still open. Quotes within the text are not doubled by any modem, so only
/// one at the very end, or before the coding, closes it.
pub(super) fn ussd_is_open(text: &str) -> bool {
    let Some(start) = text.find('"') else { return false };
    let quoted = text.get(start + 1..).unwrap_or_default().trim_end();
    let before_coding = quoted.trim_end_matches(|letter: char| letter.is_ascii_digit()).trim_end();
    let before_coding = before_coding.strip_suffix(',').map_or(quoted, str::trim_end);
    !before_coding.ends_with('"') && !quoted.ends_with('"')
}

/// What follows the colon.
fn value(line: &str) -> &str {
    line.split_once(':').map_or("", |(_, rest)| rest.trim())
}

/// `"SM",1` with whatever stands behind it (`,"MMS PUSH",2,1`).
fn stored(line: &str) -> Option<(String, u32)> {
    let fields = answers::fields(value(line));
    let (storage, index) = (fields.first()?, fields.get(1)?);
    Some((storage.chars().take(16).collect(), index.parse().ok()?))
}

fn before_pdu(line: &str, name: &str, kind: Kind) -> Recognised {
    let header = value(line).to_string();
    let fields = answers::fields(&header);
    // `<length>`, `,<length>` and `"alpha",<length>`: in text mode there are more (27.005 3.4.1).
    if fields.len() <= 2 {
        let length = fields.last().and_then(|length| length.parse().ok());
        return Recognised::BeforePdu { kind, header, length };
    }
    if name == "+CMT" {
        return Recognised::BeforeText { header };
    }
    Recognised::Whole(Urc::Other(line.to_string()))
}

fn is_storage_full(line: &str) -> bool {
    let line = line.to_ascii_lowercase();
    ["^smmemfull", "+smmemfull", "+csms: full"].iter().any(|start| line.starts_with(start))
        || (line.starts_with("+ciev") && line.contains("smsfull") && !line.trim_end().ends_with('0'))
}

/// The same text, or the text with something behind it that is no letter.
fn begins_with_text(line: &str, text: &str) -> bool {
    let same = line.get(..text.len()).is_some_and(|start| start.eq_ignore_ascii_case(text));
    let rest = line.get(text.len()..).unwrap_or_default();
    same && (rest.is_empty() || (text.starts_with(['+', '^', '*']) && rest.starts_with([':', ',', ' '])))
}

/// Whether `line` can be the PDU that was announced with this length: its octets without the service center's address (27.005 3.4.1),
/// or with it, as a few modems count.
pub(super) fn fits(line: &str, length: usize) -> bool {
    let center = line.get(..2).and_then(|octet| usize::from_str_radix(octet, 16).ok());
    let octets = line.len() / 2;
    octets == length || center.is_some_and(|center| octets == length.saturating_add(center + 1))
}

/// Hexadecimal digits, an even number.
pub(super) fn is_hex(line: &str) -> bool {
    line.len() >= 2 && line.len().is_multiple_of(2) && line.bytes().all(|octet| octet.is_ascii_hexdigit())
}
