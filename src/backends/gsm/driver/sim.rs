//! Steps of the ladder about the SIM: is it there, does it want its PIN, whose is it? (3GPP TS 27.007 clauses 5.6, 8.3 and 8.65.)
//!
//! A PIN is given once. Whether it was given before, in an earlier life of this process too, is in [`Rules::pin_was_tried`].

use super::super::rules::Rules;
use super::facts::Facts;
use super::ladder::{Ask, BUSY_TRIES, BUSY_WAIT, Heard, ask, busy, is_the_one, said};
use crate::modem::answers::{self, Pin};
use crate::modem::{Answer, Command, ModemError, Outcome};
use std::time::Duration;

/// Some modems say no `OK` after this answer.
pub(super) fn ask_pin() -> Ask {
    Ask::Command(Command::new("AT+CPIN?").ok_may_lack(Duration::from_secs(1)))
}

pub(super) fn sim_state(_: &Rules, facts: &mut Facts, answer: &Answer, nth: u32) -> Heard {
    facts.pin_wanted = false;
    if let Some(wait) = busy(answer, nth) {
        return wait;
    }
    match &answer.outcome {
        Outcome::Error(error @ (ModemError::Cme(10 | 13 | 15) | ModemError::Cms(310 | 313 | 315))) => {
            Heard::Lost(error.to_string())
        }
        Outcome::Error(ModemError::Cme(11) | ModemError::Cms(311)) => {
            facts.pin_wanted = true;
            Heard::Done
        }
        Outcome::Error(error @ (ModemError::Cme(12) | ModemError::Cms(316))) => {
            Heard::Refused(error.to_string())
        }
        Outcome::Error(_) if nth == 0 => Heard::Wait(BUSY_WAIT, said(answer)),
        Outcome::Error(_) => Heard::Without(said(answer)),
        Outcome::TimedOut if answer.lines.is_empty() => Heard::Lost("the modem does not answer AT+CPIN?".into()),
        _ => match answers::pin(&answer.lines) {
            Some(Pin::Ready | Pin::Second) => Heard::Done,
            Some(Pin::Pin) => {
                facts.pin_wanted = true;
                Heard::Done
            }
            Some(Pin::Puk) => Heard::Refused(
                "the SIM is blocked: put it into a phone, unblock it with its PUK, then correct the PIN in the settings".into(),
            ),
            Some(Pin::Other(wanted)) => {
                Heard::Refused(format!("the modem wants {wanted}: it is locked; unlock it with its maker's or network's code"))
            }
            None => Heard::Without(said(answer)),
        },
    }
}

/// 27.007 8.65; sticks that do not know it are asked by their makers' names for it.
pub(super) fn pin_tries_question(_: &Rules, facts: &Facts, nth: u32) -> Ask {
    if !facts.pin_wanted {
        return Ask::Skip;
    }
    match nth {
        0 => ask(r#"AT+CPINR="SIM PIN""#),
        1 => ask("AT^CPIN?"),
        2 => ask("AT+SPIC"),
        _ => Ask::Skip,
    }
}

pub(super) fn pin_tries(_: &Rules, facts: &mut Facts, answer: &Answer, nth: u32) -> Heard {
    let number = |name: &str, at: usize| {
        let fields = answers::fields(answers::value(&answer.lines, name)?);
        fields.get(at)?.parse::<u8>().ok()
    };
    // `+CPINR: SIM PIN,3,3`; `^CPIN: SIM PIN,,10,3,10,3` (PUK, PIN, PUK2, PIN2); `+SPIC: 3,10,0,10`.
    facts.pin_tries = match nth {
        0 => number("+CPINR", 1),
        1 => number("^CPIN", 3),
        _ => number("+SPIC", 0),
    };
    if facts.pin_tries.is_none() { Heard::Next } else { Heard::Done }
}

/// A SIM blocks itself after three wrong PINs, and a service that is restarted all night tries more often than that. So a PIN is given once; when
/// it did not work, only another PIN in the settings is tried again.
pub(super) fn give_pin(rules: &Rules, facts: &Facts, nth: u32) -> Ask {
    if !facts.pin_wanted || nth > 0 {
        return Ask::Skip;
    }
    let left = match facts.pin_tries {
        Some(left) => format!("; {left} tries are left"),
        None => String::new(),
    };
    let Some(pin) = &rules.pin else {
        return Ask::Refused(format!(
            "the SIM wants its PIN and the settings have none: set pin = {{ env = \"NAME\" }}{left}"
        ));
    };
    if facts.pin_tries == Some(0) {
        return Ask::Refused(
            "the SIM takes no PIN any more: put it into a phone and unblock it with its PUK".into(),
        );
    }
    if rules.pin_was_tried && facts.pin_tries.is_none_or(|left| left < 3) {
        return Ask::Refused(format!(
            "this PIN was given to this modem before and the SIM did not open{left}: correct pin in the settings; it is not tried again"
        ));
    }
    Ask::GivePin(Command::new(format!("AT+CPIN=\"{}\"", pin.expose())).within(Duration::from_secs(30)))
}

pub(super) fn pin_given(_: &Rules, facts: &mut Facts, answer: &Answer, _: u32) -> Heard {
    facts.pin_given = true;
    match &answer.outcome {
        Outcome::Error(error) => Heard::Refused(format!(
            "the SIM did not take the PIN ({error}): correct pin in the settings; this one is not tried again"
        )),
        // Whether it opened is asked next.
        _ => Heard::Done,
    }
}

pub(super) fn after_pin(_: &Rules, facts: &Facts, _: u32) -> Ask {
    if facts.pin_given { ask_pin() } else { Ask::Skip }
}

pub(super) fn sim_unlocked(_: &Rules, facts: &mut Facts, answer: &Answer, nth: u32) -> Heard {
    let pin = answers::pin(&answer.lines).filter(|_| answer.is_ok());
    match pin {
        Some(Pin::Ready | Pin::Second) => {
            facts.pin_wanted = false;
            Heard::Done
        }
        Some(Pin::Puk) => {
            Heard::Refused("the SIM is blocked now: put it into a phone and unblock it with its PUK".into())
        }
        _ if nth < BUSY_TRIES => Heard::Wait(BUSY_WAIT, said(answer)),
        Some(Pin::Pin) => Heard::Refused(
            "the SIM still wants its PIN: correct pin in the settings; this one is not tried again".into(),
        ),
        _ => Heard::Lost(format!("the SIM did not become ready after its PIN: {}", said(answer))),
    }
}

pub(super) fn imsi(rules: &Rules, facts: &mut Facts, answer: &Answer, nth: u32) -> Heard {
    if let Some(wait) = busy(answer, nth) {
        return wait;
    }
    facts.imsi = answers::imsi(&answer.lines).filter(|_| answer.is_ok());
    is_the_one("IMSI", rules.imsi.as_deref(), facts.imsi.as_deref())
}

pub(super) fn iccid_question(_: &Rules, _: &Facts, nth: u32) -> Ask {
    match nth {
        0 => Ask::Command(Command::new("AT+CCID").expects("+ICCID")),
        1 => ask("AT+ICCID"),
        2 => ask("AT^ICCID?"),
        _ => Ask::Skip,
    }
}

pub(super) fn iccid(rules: &Rules, facts: &mut Facts, answer: &Answer, nth: u32) -> Heard {
    facts.iccid = answers::iccid(&answer.lines).filter(|_| answer.is_ok());
    if facts.iccid.is_none() && nth < 2 {
        return Heard::Next;
    }
    is_the_one("ICCID", rules.iccid.as_deref(), facts.iccid.as_deref())
}
