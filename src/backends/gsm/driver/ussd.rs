//! The network's menus (USSD; 3GPP TS 27.007 clause 7.15, TS 23.038 clause 5), used to ask for a prepaid card's balance.
//!
//! Modems differ in how they want the code and how they give the answer: as it is, as the hexadecimal digits of its packed
//! septets, or as those of UCS-2, whatever the coding beside it says. [`decode`] takes the reading that gives a text; [`Way`] is
//! learned by trying.

use super::{Driver, Effect, Job};
use crate::modem::answers::Ussd;
use crate::modem::{Answer, Command};
use crate::pdu::{self, Tables, gsm7, ucs2};
use std::time::Duration;

/// The first question waits until the modem has settled in its network.
const FIRST: Duration = Duration::from_secs(60);
/// The network may take so long over its answer.
const ANSWER_TIME: Duration = Duration::from_secs(90);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(3600);

/// How a modem wants the code.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Way {
    /// As it is.
    #[default]
    Plain,
    /// The digits of its packed septets, as Huawei sticks want it.
    Packed,
    /// The digits of UCS-2.
    Ucs2,
}

/// A question that is asked now and then.
#[derive(Debug, Default)]
pub(super) struct Session {
    way: Way,
    next: Option<Duration>,
    asked: bool,
}

/// The argument of `AT+CUSD=1,...`.
pub fn encode(code: &str, way: Way) -> String {
    match way {
        Way::Plain => code.to_string(),
        Way::Packed => match gsm7::encode(code, Tables::default()) {
            Ok(septets) => pdu::to_hex(&gsm7::pack_ussd(&septets)),
            Err(_) => code.to_string(),
        },
        Way::Ucs2 => pdu::to_hex(&ucs2::encode(code)),
    }
}

/// The text of an answer. Digits that make a text in the coding that they claim, or in the other, are digits of that; others are themselves.
pub fn decode(text: &str, coding: Option<u8>) -> String {
    let digits = text.len() >= 4
        && text.len().is_multiple_of(2)
        && text.bytes().all(|octet| octet.is_ascii_hexdigit());
    let Some(octets) = pdu::from_hex(text).ok().filter(|_| digits) else { return text.trim().to_string() };
    let wide = ucs2::decode(&octets);
    let narrow = gsm7::decode(&gsm7::unpack_ussd(&octets), Tables::default());
    let claims_wide = coding.is_some_and(is_ucs2);
    let wide = Some(wide).filter(|wide| octets.len().is_multiple_of(2) && makes_sense(wide));
    let narrow = Some(narrow).filter(|narrow| makes_sense(narrow));
    let found = if claims_wide || octets.first() == Some(&0) { wide.or(narrow) } else { narrow.or(wide) };
    found.map_or_else(|| text.to_string(), |found| found.trim().to_string())
}

/// 23.038 clause 5: UCS-2 with a language before it, or in the general group.
fn is_ucs2(coding: u8) -> bool {
    coding == 0x11 || (coding >> 6 == 0b01 && (coding >> 2) & 0b11 == 0b10)
}

/// A text for people has letters or blanks, and no characters that nobody can print.
fn makes_sense(text: &str) -> bool {
    let printable = |letter: char| !letter.is_control() || letter.is_whitespace();
    let strange = |letter: char| {
        letter == '\u{FFFD}' || ('\u{0370}'..'\u{0400}').contains(&letter) || letter == '\u{1b}'
    };
    let count = text.chars().count();
    let odd = text.chars().filter(|letter| !printable(*letter) || strange(*letter)).count();
    text.chars().any(|letter| letter.is_alphabetic() || letter == ' ') && odd * 10 <= count
}

impl Driver {
    pub(super) fn next_ussd(&mut self) -> Option<(Command, Job)> {
        let balance = self.rules.balance.as_ref()?;
        if !self.up {
            return None;
        }
        let next = *self.ussd.next.get_or_insert(self.now.saturating_add(FIRST));
        if self.now < next {
            return None;
        }
        if std::mem::take(&mut self.ussd.asked) {
            log::warn!("backend {}: no answer to {}", self.rules.backend, balance.code);
            self.ussd.next = Some(self.now.saturating_add(AGAIN));
            return None;
        }
        self.ussd.asked = true;
        self.ussd.next = Some(self.now.saturating_add(ANSWER_TIME));
        let code = encode(&balance.code, self.ussd.way);
        Some((Command::new(format!("AT+CUSD=1,\"{code}\",15")).within(Duration::from_secs(30)), Job::Ussd))
    }

    /// When the next question is asked, or no answer is waited for any more.
    pub(super) fn next_ussd_time(&self) -> Option<Duration> {
        self.ussd.next.filter(|_| self.up && self.rules.balance.is_some())
    }

    pub(super) fn ussd_answered(&mut self, answer: &Answer) {
        if answer.is_ok() || !self.ussd.asked {
            return;
        }
        self.ussd.asked = false;
        self.ussd.way = match self.ussd.way {
            Way::Plain => Way::Packed,
            Way::Packed => Way::Ucs2,
            Way::Ucs2 => Way::Plain,
        };
        let wait = if self.ussd.way == Way::Plain { AGAIN } else { Duration::from_secs(2) };
        self.ussd.next = Some(self.now.saturating_add(wait));
    }

    pub(super) fn ussd_news(&mut self, ussd: &Ussd) {
        let text = ussd.text.as_deref().map(|text| decode(text, ussd.coding)).unwrap_or_default();
        log::info!("backend {}: the network says: {text}", self.rules.backend);
        let Some(balance) = &self.rules.balance else { return };
        if !std::mem::take(&mut self.ussd.asked) {
            return;
        }
        let found = match &balance.pattern {
            None => Some(text.clone()),
            Some(pattern) => pattern
                .captures(&text)
                .and_then(|found| found.get(1).or(found.get(0)))
                .map(|found| found.as_str().to_string()),
        };
        match found {
            Some(found) if !found.is_empty() => self.facts.balance = Some(found.chars().take(160).collect()),
            _ => log::warn!("backend {}: balance_pattern does not match {text:?}", self.rules.backend),
        }
        self.ussd.next = Some(self.now.saturating_add(balance.every));
        let sentence = self.facts.sentence();
        self.effects.push_back(Effect::Note(sentence));
        if ussd.status == 1 {
            // It is a menu that waits for a choice, and would keep the line.
            self.urgent = Some((Command::new("AT+CUSD=2"), Job::Ussd));
        }
    }
}
