//! For whom a message is: a person's text, or one of the many that phones and SIMs exchange with networks (3GPP TS 23.040 clauses 9.2.3.9,
//! 9.2.3.24.2 to 9.2.3.24.4, 9.2.3.24.7, 9.2.3.24.9 and 9.2.3.24.13, 3GPP TS 23.038 clause 4).
//!
//! Only the words of the message decide, and nothing is hidden: whatever is no text for people is kept and shown, but no app sees it and nobody
//! answers it. A network that calls an order to the SIM a text gets no answer by which it could be told that somebody is there.

use super::data_coding::{Alphabet, Indication, Waiting};
use super::deliver::Deliver;
use super::udh::{Header, Ports};

/// Elements of the header.
const SPECIAL_INDICATION: u8 = 0x01;
const CONTROL_PROTOCOL: u8 = 0x09;
const VOICE_MAIL: u8 = 0x23;
/// Security headers of the SIM's application toolkit.
const TOOLKIT: std::ops::RangeInclusive<u8> = 0x70..=0x7F;

/// Protocol identifiers.
const RETURN_CALL: u8 = 0x5F;
const DOWNLOAD: std::ops::RangeInclusive<u8> = 0x7C..=0x7F;

/// For whom a message is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Purpose {
    /// A person, or the apps that take a person's place.
    Text,
    /// Nobody: it only finds out whether a phone is there.
    Silent,
    /// The sign on the phone that something waits elsewhere; it may have a text for people all the same.
    Indication(Indication),
    /// The SIM or the phone itself: settings, programs, keys.
    Download,
    /// A program on the phone: WAP push, contact cards, MMS notifications.
    Program(Ports),
    /// Octets whose meaning only sender and receiver know.
    Data,
}

impl Purpose {
    /// Its name in JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Purpose::Text => "text",
            Purpose::Silent => "silent",
            Purpose::Indication(_) => "indication",
            Purpose::Download => "download",
            Purpose::Program(_) => "program",
            Purpose::Data => "data",
        }
    }

    /// Whether apps may see and answer it.
    pub fn is_for_people(self) -> bool {
        self == Purpose::Text
    }

    /// The same in words, for the log and for whoever wonders why there was no answer.
    pub fn sentence(self) -> &'static str {
        match self {
            Purpose::Text => "a text for people",
            Purpose::Silent => "a silent message: it finds out whether the phone is there",
            Purpose::Indication(Indication { kind, .. }) => match kind {
                Waiting::Voicemail => "a sign that voice mail waits",
                Waiting::Fax => "a sign that a fax waits",
                Waiting::Email => "a sign that mail waits",
                Waiting::Other => "a sign that something waits",
            },
            Purpose::Download => "an order for the SIM or the modem",
            Purpose::Program(_) => "a message for a program on a phone",
            Purpose::Data => "octets that are no text",
        }
    }
}

impl Deliver {
    /// For whom it is. Of a message in parts the first part tells, for some senders put ports there only.
    pub fn purpose(&self) -> Purpose {
        if self.is_silent() {
            return Purpose::Silent;
        }
        let header = self.user_data.header.as_ref();
        let has = |test: &dyn Fn(u8) -> bool| {
            header.is_some_and(|header| header.elements.iter().any(|element| test(element.id)))
        };
        if DOWNLOAD.contains(&self.protocol) || has(&|id| TOOLKIT.contains(&id) || id == CONTROL_PROTOCOL) {
            return Purpose::Download;
        }
        if let Some(indication) = self.data_coding.indication().or_else(|| header.and_then(indication)) {
            return Purpose::Indication(indication);
        }
        if self.protocol == RETURN_CALL {
            return Purpose::Indication(Indication { active: true, kind: Waiting::Other, discard: false });
        }
        if let Some(ports) = header.and_then(Header::ports) {
            return Purpose::Program(ports);
        }
        // Class 2 goes to the SIM, where a text for people has no business on a line that deletes it there.
        match (self.data_coding.class(), self.user_data.payload.alphabet()) {
            (Some(2), _) => Purpose::Download,
            (_, Alphabet::Data8) => Purpose::Data,
            _ => Purpose::Text,
        }
    }
}

/// What the header says that waits: the last such element counts.
fn indication(header: &Header) -> Option<Indication> {
    header.elements.iter().rev().find_map(|element| match (element.id, element.data.as_slice()) {
        (SPECIAL_INDICATION, [kind, count]) => Some(Indication {
            active: *count > 0,
            kind: match kind & 0b11 {
                0b00 => Waiting::Voicemail,
                0b01 => Waiting::Fax,
                0b10 => Waiting::Email,
                _ => Waiting::Other,
            },
            discard: kind & 0x80 == 0,
        }),
        // Bit 0 tells the sign from the confirmation that a voice mail was deleted (clause 9.2.3.24.13).
        (VOICE_MAIL, [kind, ..]) => {
            Some(Indication { active: kind & 1 == 0, kind: Waiting::Voicemail, discard: false })
        }
        _ => None,
    })
}
