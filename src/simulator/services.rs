//! Calls (3GPP TS 27.007 clauses 6 and 7.6) and USSD (7.15), and what people order to be repeated.

use super::Effect;
use super::ledger::Entry;
use super::modem::Modem;
use super::state::{Failure, Outcome, Timer};
use super::syntax::{Command, Form, arguments};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

const RING_EVERY: Duration = Duration::from_secs(3);
/// A caller waits so long.
const CALLER_PATIENCE: Duration = Duration::from_secs(30);
/// The network takes so long to answer a code.
const USSD_TIME: Duration = Duration::from_millis(20);

/// A call that comes in.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Call {
    from: String,
    answered: bool,
}

/// Messages that come again and again.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Repeat {
    pub every: Duration,
    /// How many are still to come; `None`: for ever.
    pub left: Option<u64>,
    pub from: String,
    /// `{n}` in it is a number that counts up from 1.
    pub text: String,
    pub number: u64,
}

/// Codes that every simulated network knows.
pub(super) fn usual_codes() -> BTreeMap<String, String> {
    let codes = [
        ("*100#", "Your balance is 12.50 KES."),
        ("*144#", "1 Balance\n2 Airtime\n0 Exit"),
        ("*144#>1", "Your balance is 12.50 KES."),
        ("*144#>2", "Airtime costs 1.00 KES."),
        ("*106#", "Solde : 12,50 € jusqu'à demain"),
    ];
    codes.into_iter().map(|(code, text)| (code.to_string(), text.to_string())).collect()
}

impl Modem {
    /// `None`: it is no command about services.
    pub(super) fn service(&mut self, command: &Command, now: Timestamp) -> Option<Outcome> {
        Some(match (command.name.as_str(), &command.form) {
            ("+CLIP", Form::Read) => Outcome::line(format!("+CLIP: {},1", u8::from(self.profile.caller_id))),
            ("+CLIP", Form::Set(value)) => {
                self.profile.caller_id = value.trim() == "1";
                Outcome::ok()
            }
            ("+CRC", Form::Set(value)) => {
                self.profile.call_kind = value.trim() == "1";
                Outcome::ok()
            }
            ("+CLCC", Form::Execute) => {
                let call = self.call.iter().map(|call| {
                    let state = if call.answered { 0 } else { 4 };
                    format!("+CLCC: 1,1,{state},0,0,\"{}\",145", call.from)
                });
                Outcome::Lines(call.collect())
            }
            ("H" | "+CHUP", _) => {
                self.call_over("the modem hung up", now);
                Outcome::ok()
            }
            ("A", _) => match &mut self.call {
                Some(call) => {
                    call.answered = true;
                    self.cancel(|timer| *timer == Timer::Ring);
                    Outcome::ok()
                }
                None => Outcome::Fail(Failure::Plain),
            },
            ("D", _) => {
                self.result("NO CARRIER", 3);
                Outcome::Later
            }
            ("+CUSD", form) => self.ussd(form, now),
            _ => return None,
        })
    }

    /// Somebody calls.
    pub(super) fn ring(&mut self, from: &str, now: Timestamp) -> Result<(), String> {
        if self.call.is_some() {
            return Err("it is in a call already".to_string());
        }
        if !self.is_reachable(now) {
            return Err("the network cannot reach it".to_string());
        }
        self.record(Entry::new(now, "call").with("from", from));
        self.call = Some(Call { from: from.to_string(), answered: false });
        self.at(now + CALLER_PATIENCE, Timer::CallerHangsUp);
        self.ring_again(now);
        Ok(())
    }

    pub(super) fn ring_again(&mut self, now: Timestamp) {
        let Some(call) = self.call.as_ref().filter(|call| !call.answered) else { return };
        let from = call.from.clone();
        self.announce(if self.profile.call_kind { "+CRING: VOICE" } else { "RING" });
        if self.profile.caller_id {
            self.announce(&format!("+CLIP: \"{from}\",145,,,,0"));
        }
        self.at(now + RING_EVERY, Timer::Ring);
    }

    pub(super) fn call_over(&mut self, reason: &str, now: Timestamp) {
        let Some(call) = self.call.take() else { return };
        self.cancel(|timer| matches!(timer, Timer::Ring | Timer::CallerHangsUp));
        self.record(Entry::new(now, "call_ended").with("from", call.from.as_str()).with("reason", reason));
        if reason == "the caller hung up" {
            self.announce("NO CARRIER");
        }
        self.effect(Effect::Show(format!("call from {} is over: {reason}", call.from)));
    }

    fn ussd(&mut self, form: &Form, now: Timestamp) -> Outcome {
        let value = match form {
            Form::Read => return Outcome::line(format!("+CUSD: {}", u8::from(self.profile.ussd))),
            Form::Test => return Outcome::line("+CUSD: (0-2)"),
            Form::Execute => return Outcome::ok(),
            Form::Set(value) => arguments(value),
        };
        match value.first().map(String::as_str) {
            Some("2") => {
                self.ussd_at = None;
                self.cancel(|timer| matches!(timer, Timer::Ussd { .. }));
                return Outcome::ok();
            }
            Some("0") => self.profile.ussd = false,
            Some("1") => self.profile.ussd = true,
            _ => return Outcome::Fail(Failure::Plain),
        }
        let Some(code) = value.get(1).filter(|code| !code.is_empty()) else { return Outcome::ok() };
        if !self.is_reachable(now) {
            return Outcome::Fail(Failure::Cme(30));
        }
        let code = self.ussd_decoded(code);
        let path = match &self.ussd_at {
            Some(at) => format!("{at}>{code}"),
            None => code.clone(),
        };
        let found = self.codes.get(&path).cloned();
        let is_menu = self.codes.keys().any(|known| known.starts_with(&format!("{path}>")));
        let state = match (&found, is_menu) {
            (None, _) => 4,
            (Some(_), true) => 1,
            (Some(_), false) => 0,
        };
        self.ussd_at = is_menu.then_some(path);
        self.record(Entry::new(now, "ussd").with("code", code).with("answer", found.clone()));
        self.at(now + USSD_TIME, Timer::Ussd { state, text: found.unwrap_or_default() });
        Outcome::ok()
    }

    /// The network's answer, or something that it says of its own accord.
    pub(super) fn ussd_answer(&mut self, state: u8, text: &str) {
        if !self.profile.ussd {
            return;
        }
        if text.is_empty() {
            return self.announce(&format!("+CUSD: {state}"));
        }
        let (text, coding) = self.ussd_coded(text);
        self.announce(&format!("+CUSD: {state},\"{text}\",{coding}"));
    }

    pub(super) fn repeat(&mut self, mut repeat: Repeat, now: Timestamp) {
        repeat.number += 1;
        let text = repeat.text.replace("{n}", &repeat.number.to_string());
        // The text was tried when it was ordered; a full queue ends the row.
        if self.inject(&repeat.from, &text, None, now).is_err() {
            return;
        }
        repeat.left = repeat.left.map(|left| left.saturating_sub(1));
        if repeat.left != Some(0) {
            self.at(now + repeat.every, Timer::Repeat(Box::new(repeat)));
        }
    }
}
