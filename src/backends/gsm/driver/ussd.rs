//! The network's menus (USSD; 3GPP TS 27.007 clause 7.15, TS 23.038 clause 5), used to ask for a prepaid card's balance now and then, and by people.
//!
//! Modems differ in how they want the code and how they give the answer: as it is, as the hexadecimal digits of its packed
//! septets, or as those of UCS-2, whatever the coding beside it says. [`decode`] takes the reading that gives a text; [`Way`] is
//! learned by trying.

use super::ladder::said;
use super::{Driver, Effect, Job};
use crate::modem::answers::Ussd;
use crate::modem::{Answer, Command};
use crate::pdu::{self, Tables, gsm7, ucs2};
use std::time::Duration;

/// The first question waits until the modem has settled in its network.
const FIRST: Duration = Duration::from_secs(60);
/// The network may take so long over its answer.
const ANSWER_TIME: Duration = Duration::from_secs(90);
/// A person waits for an answer so long: a little less than whoever asks for them.
const PERSON_TIME: Duration = Duration::from_secs(50);
/// A person may look at a menu so long.
const MENU_TIME: Duration = Duration::from_secs(120);
/// After a failure.
const AGAIN: Duration = Duration::from_secs(3600);
/// Before another way of writing the code is tried.
const SHORTLY: Duration = Duration::from_secs(2);
/// The ways of writing a code.
const WAYS: u8 = 3;

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

/// What is asked, and what waits to be.
#[derive(Debug, Default)]
pub(super) struct Session {
    way: Way,
    /// Ways in which this question was tried in vain.
    refused: u8,
    /// When the balance is asked for next.
    next: Option<Duration>,
    /// What a person wants to ask.
    wanted: Option<Asked>,
    /// What the network was asked.
    asked: Option<Asked>,
    /// The network showed a person a menu, and waits for their choice until then.
    menu_until: Option<Duration>,
}

#[derive(Debug)]
struct Asked {
    by: Asker,
    code: String,
    /// After this nobody waits any more.
    until: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asker {
    Person,
    Clock,
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
    /// A person asks the network something; [`Effect::Answered`] says what came of it. Only when [`Driver::wants_question`].
    pub fn ask(&mut self, code: &str, now: Duration) {
        self.now = now;
        if !self.is_up() || self.stopping {
            return self.person_is_told(Err("the modem is not ready".to_string()));
        }
        let until = now.saturating_add(PERSON_TIME);
        self.ussd.wanted = Some(Asked { by: Asker::Person, code: code.to_string(), until });
        self.go_on();
    }

    /// Whether a person's question can be taken: one at a time.
    pub fn wants_question(&self) -> bool {
        let by_person = |asked: &Asked| asked.by == Asker::Person;
        self.ussd.wanted.is_none() && !self.ussd.asked.as_ref().is_some_and(by_person)
    }

    pub(super) fn next_ussd(&mut self) -> Option<(Command, Job)> {
        if !self.up || self.ussd.asked.is_some() {
            return None;
        }
        if let Some(wanted) = self.ussd.wanted.take() {
            // Within a menu this is the choice.
            self.ussd.menu_until = None;
            return Some(self.put(wanted));
        }
        if let Some(until) = self.ussd.menu_until {
            if self.now < until {
                return None;
            }
            self.ussd.menu_until = None;
            return Some(hang_up());
        }
        let code = self.rules.balance.as_ref()?.code.clone();
        let next = *self.ussd.next.get_or_insert(self.now.saturating_add(FIRST));
        if self.now < next {
            return None;
        }
        Some(self.put(Asked { by: Asker::Clock, code, until: self.now.saturating_add(ANSWER_TIME) }))
    }

    fn put(&mut self, asked: Asked) -> (Command, Job) {
        let code = encode(&asked.code, self.ussd.way);
        self.ussd.asked = Some(asked);
        (Command::new(format!("AT+CUSD=1,\"{code}\",15")).within(Duration::from_secs(30)), Job::Ussd)
    }

    /// When a free modem is to be asked something.
    pub(super) fn next_ussd_time(&self) -> Option<Duration> {
        let Session { next, asked, menu_until, .. } = &self.ussd;
        if !self.up || asked.is_some() {
            return None;
        }
        // While a menu is open, the balance waits.
        menu_until.or(next.filter(|_| self.rules.balance.is_some()))
    }

    /// When no answer is waited for any more.
    pub(super) fn ussd_deadline(&self) -> Option<Duration> {
        self.ussd.asked.iter().chain(&self.ussd.wanted).map(|asked| asked.until).min()
    }

    /// Ends what nobody waits for any more.
    pub(super) fn ussd_tick(&mut self) {
        let now = self.now;
        let over = |asked: &mut Asked| asked.until <= now;
        let never_put = self.ussd.wanted.take_if(over).is_some();
        if never_put {
            self.person_is_told(Err("the modem was busy all the time".to_string()));
        }
        let Some(asked) = self.ussd.asked.take_if(over) else { return };
        self.urgent.get_or_insert(hang_up());
        match asked.by {
            Asker::Person => {
                let waited = PERSON_TIME.as_secs();
                self.person_is_told(Err(format!(
                    "the network did not answer within {waited} s; should it still do, the log shows it"
                )));
            }
            Asker::Clock => {
                log::warn!("backend {}: no answer to {}", self.rules.backend, asked.code);
                self.ussd.next = Some(self.now.saturating_add(AGAIN));
            }
        }
    }

    /// The modem goes, and with it what was asked.
    pub(super) fn ussd_over(&mut self, why: &str) {
        if !self.wants_question() {
            self.person_is_told(Err(why.to_string()));
        }
        (self.ussd.wanted, self.ussd.asked, self.ussd.menu_until) = (None, None, None);
    }

    fn person_is_told(&mut self, answer: Result<String, String>) {
        self.effects.push_back(Effect::Answered(answer));
    }

    pub(super) fn ussd_answered(&mut self, answer: &Answer) {
        if answer.is_ok() {
            return;
        }
        // The end of a session that was over has nothing to say.
        let Some(asked) = self.ussd.asked.take() else { return };
        self.ussd.way = match self.ussd.way {
            Way::Plain => Way::Packed,
            Way::Packed => Way::Ucs2,
            Way::Ucs2 => Way::Plain,
        };
        self.ussd.refused += 1;
        let every_way = self.ussd.refused == WAYS;
        if every_way {
            self.ussd.refused = 0;
        }
        match asked.by {
            Asker::Person if every_way => {
                let why = format!("the modem refused {}: {}", asked.code, said(answer));
                self.person_is_told(Err(why));
            }
            Asker::Person => self.ussd.wanted = Some(asked),
            Asker::Clock => {
                let wait = if every_way { AGAIN } else { SHORTLY };
                self.ussd.next = Some(self.now.saturating_add(wait));
            }
        }
    }

    pub(super) fn ussd_news(&mut self, ussd: &Ussd) {
        let text = ussd.text.as_deref().map(|text| decode(text, ussd.coding)).unwrap_or_default();
        log::info!("backend {}: the network says: {text}", self.rules.backend);
        self.ussd.refused = 0;
        let Some(asked) = self.ussd.asked.take() else { return };
        let is_menu = ussd.status == 1;
        match asked.by {
            Asker::Person => {
                self.ussd.menu_until = is_menu.then(|| self.now.saturating_add(MENU_TIME));
                self.person_is_told(match (ussd.status, text.is_empty()) {
                    (_, false) => Ok(text),
                    (4, _) => Err("the network does not know this code, or does not do this".to_string()),
                    (5, _) => Err("the network took too long".to_string()),
                    (status, _) => Err(format!("the network ended it without a word (status {status})")),
                });
            }
            Asker::Clock => {
                self.balance_came(&text);
                if is_menu {
                    // It waits for a choice, and would keep the line.
                    self.urgent = Some(hang_up());
                }
            }
        }
    }

    fn balance_came(&mut self, text: &str) {
        let Some(balance) = &self.rules.balance else { return };
        let found = match &balance.pattern {
            None => Some(text.to_string()),
            Some(pattern) => pattern
                .captures(text)
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
    }
}

/// Ends what the network still waits for.
fn hang_up() -> (Command, Job) {
    (Command::new("AT+CUSD=2"), Job::Ussd)
}
