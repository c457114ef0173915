//! Commands about the modem, the card and the network (V.250, 3GPP TS 27.007).

use super::ledger::Entry;
use super::modem::Modem;
use super::personality::UssdForm;
use super::sim::Lock;
use super::state::{Failure, Outcome, Timer};
use super::syntax::{Command, Form, arguments, numbers};
use crate::pdu;
use crate::time::Timestamp;
use std::time::Duration;

const OPERATOR: &str = "Simulated";
const OPERATOR_NUMBER: &str = "63902";

impl Modem {
    /// `None`: it is no such command.
    pub(super) fn general(&mut self, command: &Command, now: Timestamp) -> Option<Outcome> {
        Some(match (command.name.as_str(), &command.form) {
            ("Z" | "&F", _) => {
                self.factory_settings();
                Outcome::ok()
            }
            ("E", form) => switch(form, &mut self.profile.echo),
            ("V", form) => switch(form, &mut self.profile.verbose),
            ("Q", form) => switch(form, &mut self.profile.quiet),
            ("X" | "&C" | "&D" | "&W" | "&S" | "&K" | "L" | "M" | "S", _) => Outcome::ok(),
            ("I", _) => Outcome::Lines(vec![
                self.personality.manufacturer.to_string(),
                self.personality.model.to_string(),
                format!("Revision: {}", self.personality.revision),
            ]),
            (name, form) => return self.identity(name, form).or_else(|| self.condition(name, form, now)),
        })
    }

    fn factory_settings(&mut self) {
        self.profile.echo = true;
        self.profile.verbose = true;
        self.profile.quiet = false;
        self.profile.errors = 0;
    }

    fn identity(&mut self, name: &str, form: &Form) -> Option<Outcome> {
        let subscriber = &self.subscriber;
        let answer = match name {
            "+CGMI" | "+GMI" => self.personality.manufacturer.to_string(),
            "+CGMM" | "+GMM" => self.personality.model.to_string(),
            "+CGMR" | "+GMR" => self.personality.revision.to_string(),
            "+CGSN" | "+GSN" => subscriber.imei.clone(),
            "+CIMI" => subscriber.imsi.clone(),
            "+CCID" => format!("+CCID: \"{}\"", subscriber.iccid),
            "^ICCID" => format!("^ICCID: {}", subscriber.iccid),
            "+ICCID" => format!("+ICCID: {}", subscriber.iccid),
            "+CNUM" => format!("+CNUM: ,\"{}\",145", self.coded(&subscriber.number)),
            "+GCAP" => "+GCAP: +CGSM".to_string(),
            "+CCLK" => "+CCLK: \"80/01/06,00:00:00+00\"".to_string(),
            _ => return None,
        };
        let needs_card = matches!(name, "+CCID" | "^ICCID" | "+ICCID");
        Some(match form {
            Form::Test => Outcome::ok(),
            _ if needs_card && self.sim.lock == Lock::Dead => Outcome::Fail(Failure::Cme(13)),
            _ => Outcome::line(answer),
        })
    }

    fn condition(&mut self, name: &str, form: &Form, now: Timestamp) -> Option<Outcome> {
        Some(match (name, form) {
            ("+CMEE", Form::Read) => Outcome::line(format!("+CMEE: {}", self.profile.errors)),
            ("+CMEE", Form::Test) => Outcome::line("+CMEE: (0,1,2)"),
            ("+CMEE", Form::Set(value)) => match value.trim().parse() {
                Ok(errors @ 0..=2) => {
                    self.profile.errors = errors;
                    Outcome::ok()
                }
                _ => Outcome::Fail(Failure::Plain),
            },
            ("+CPIN", Form::Read) => match self.sim.lock {
                Lock::Open => Outcome::line("+CPIN: READY"),
                Lock::Pin => Outcome::line("+CPIN: SIM PIN"),
                Lock::Puk => Outcome::line("+CPIN: SIM PUK"),
                Lock::Dead => Outcome::Fail(Failure::Cme(13)),
            },
            ("+CPIN", Form::Set(value)) => self.enter(&arguments(value), now),
            ("+CPIN", _) => Outcome::ok(),
            ("+CLCK", Form::Set(value)) if value.replace('"', "").starts_with("SC,2") => {
                Outcome::line(format!("+CLCK: {}", u8::from(self.sim.pin.is_some())))
            }
            ("+CPINR", _) => Outcome::line(format!("+CPINR: SIM PIN,{},3", self.sim.pin_tries)),
            ("+CFUN", Form::Read) => Outcome::line(format!("+CFUN: {}", self.profile.functionality)),
            ("+CFUN", Form::Test) => Outcome::line("+CFUN: (0,1,4),(0,1)"),
            ("+CFUN", Form::Set(value)) => self.functionality(value, now),
            ("+CREG" | "+CGREG" | "+CEREG", form) => self.registration(name, form),
            ("+COPS", form) => self.operator(form),
            ("+CSQ", Form::Test) => Outcome::line("+CSQ: (0-31,99),(0-7,99)"),
            ("+CSQ", _) => {
                let signal = if self.is_reachable(now) { self.network.signal } else { 99 };
                Outcome::line(format!("+CSQ: {signal},99"))
            }
            ("+CESQ", _) => Outcome::line(format!("+CESQ: {},99,255,255,255,255", self.network.signal * 2)),
            ("+CSCS", Form::Read) => Outcome::line(format!("+CSCS: \"{}\"", self.profile.character_set)),
            ("+CSCS", Form::Test) => Outcome::line("+CSCS: (\"GSM\",\"IRA\",\"UCS2\")"),
            ("+CSCS", Form::Set(value)) => {
                let wanted = arguments(value).into_iter().next().unwrap_or_default();
                let known = ["GSM", "IRA", "UCS2"].contains(&wanted.as_str());
                if known {
                    self.profile.character_set = wanted;
                }
                Outcome::when(known)
            }
            ("+CPAS", Form::Execute) => {
                Outcome::line(format!("+CPAS: {}", if self.call.is_some() { 3 } else { 0 }))
            }
            ("+CGATT", Form::Read) => Outcome::line(format!("+CGATT: {}", u8::from(self.is_reachable(now)))),
            ("+CBC", _) => Outcome::line("+CBC: 0,100"),
            ("+IPR", Form::Read) => Outcome::line("+IPR: 115200"),
            ("+IPR" | "+IFC" | "+ICF" | "+CSTA" | "+CVHU", _) => Outcome::ok(),
            ("+CLAC", _) => Outcome::Lines(
                ["+CGMI", "+CGMM", "+CMGD", "+CMGL", "+CMGR", "+CMGS", "+CNMI", "+CPMS", "+CSCA", "+CUSD"]
                    .map(str::to_string)
                    .to_vec(),
            ),
            _ => return None,
        })
    }

    fn enter(&mut self, given: &[String], now: Timestamp) -> Outcome {
        const WRONG: Outcome = Outcome::Fail(Failure::Cme(16));
        let (right, puk) = match (self.sim.lock, given) {
            (Lock::Open, _) => return Outcome::Fail(Failure::Cme(3)),
            (Lock::Pin, [pin]) => (self.sim.enter_pin(pin), false),
            (Lock::Puk, [puk, pin]) => (self.sim.enter_puk(puk, pin), true),
            _ => return WRONG,
        };
        let left = if puk { self.sim.puk_tries } else { self.sim.pin_tries };
        self.record(Entry::new(now, "pin").with("right", right).with("tries_left", left));
        if right {
            self.at(now, Timer::Network);
            return Outcome::ok();
        }
        if self.sim.lock == Lock::Puk { Outcome::Fail(Failure::Cme(12)) } else { WRONG }
    }

    fn functionality(&mut self, value: &str, now: Timestamp) -> Outcome {
        match numbers(value).as_deref() {
            Some([Some(1), Some(1)]) => {
                self.result("OK", 0);
                match self.personality.reset_unplugs {
                    Some(away) => self.unplug(Some(Duration::from_millis(away)), None, now),
                    None => self.reset(now),
                }
                Outcome::Later
            }
            Some([Some(functionality @ (0 | 1 | 4))] | [Some(functionality @ (0 | 1 | 4)), Some(0)]) => {
                // One of three small numbers.
                self.profile.functionality = u8::try_from(*functionality).unwrap_or(1);
                self.at(now, Timer::Network);
                Outcome::ok()
            }
            _ => Outcome::Fail(Failure::Cme(50)),
        }
    }

    fn registration(&mut self, name: &str, form: &Form) -> Outcome {
        let place = ["+CREG", "+CGREG", "+CEREG"].iter().position(|known| *known == name).unwrap_or(0);
        match form {
            Form::Read => {
                let n = self.profile.registration[place];
                let stat = self.registration_state();
                let cell = if n == 2 { ",\"1A2B\",\"0001F2C3\",2" } else { "" };
                Outcome::line(format!("{name}: {n},{stat}{cell}"))
            }
            Form::Test => Outcome::line(format!("{name}: (0-2)")),
            Form::Set(value) => match value.trim().parse() {
                Ok(n @ 0..=2) => {
                    self.profile.registration[place] = n;
                    Outcome::ok()
                }
                _ => Outcome::Fail(Failure::Cme(50)),
            },
            Form::Execute => Outcome::Fail(Failure::Plain),
        }
    }

    fn registration_state(&self) -> u8 {
        match (self.profile.functionality, self.sim.lock) {
            (1, Lock::Open) => self.network.registration,
            _ => 0,
        }
    }

    /// Says so where that is wanted.
    pub(super) fn registration_changed(&mut self) {
        let stat = self.registration_state();
        for (place, name) in ["+CREG", "+CGREG", "+CEREG"].iter().enumerate() {
            if self.profile.registration[place] > 0 && !self.personality.lacks.contains(name) {
                self.announce(&format!("{name}: {stat}"));
            }
        }
    }

    fn operator(&mut self, form: &Form) -> Outcome {
        match form {
            Form::Read if !self.network.is_registered() => Outcome::line("+COPS: 0"),
            Form::Read => match self.profile.operator_format {
                2 => Outcome::line(format!("+COPS: 0,2,\"{OPERATOR_NUMBER}\",2")),
                format => Outcome::line(format!("+COPS: 0,{format},\"{}\",2", self.coded(OPERATOR))),
            },
            Form::Test => Outcome::line(format!(
                "+COPS: (2,\"{OPERATOR}\",\"Sim\",\"{OPERATOR_NUMBER}\",2),,(0,1,2,3,4),(0,1,2)"
            )),
            Form::Set(value) => match numbers(value.split('"').next().unwrap_or_default()).as_deref() {
                Some([Some(3), Some(format @ 0..=2)]) => {
                    self.profile.operator_format = u8::try_from(*format).unwrap_or(0);
                    Outcome::ok()
                }
                Some([Some(0..=4), ..]) => Outcome::ok(),
                _ => Outcome::Fail(Failure::Cme(50)),
            },
            Form::Execute => Outcome::Fail(Failure::Plain),
        }
    }

    /// A text in the character set that was chosen by `+CSCS`.
    pub(super) fn coded(&self, text: &str) -> String {
        match self.profile.character_set.as_str() {
            "UCS2" => pdu::to_hex(&pdu::ucs2::encode(text)),
            _ => text.to_string(),
        }
    }

    /// The opposite; what cannot be read is taken as it is.
    pub(super) fn decoded(&self, text: &str) -> String {
        match self.profile.character_set.as_str() {
            "UCS2" if text.len().is_multiple_of(4) => {
                pdu::from_hex(text).map_or_else(|_| text.to_string(), |octets| pdu::ucs2::decode(&octets))
            }
            _ => text.to_string(),
        }
    }

    /// A text of USSD as this modem writes it.
    pub(super) fn ussd_coded(&self, text: &str) -> (String, u8) {
        const GSM: u8 = 15;
        const UCS2: u8 = 72;
        let septets = pdu::gsm7::encode(text, pdu::Tables::default()).ok();
        match (self.personality.ussd, septets) {
            (UssdForm::Packed, Some(septets)) => (pdu::to_hex(&pdu::gsm7::pack_ussd(&septets)), GSM),
            (UssdForm::Plain, Some(_)) => (self.coded(text), GSM),
            _ => (pdu::to_hex(&pdu::ucs2::encode(text)), UCS2),
        }
    }

    /// A code as the other side wrote it.
    pub(super) fn ussd_decoded(&self, text: &str) -> String {
        let octets = || pdu::from_hex(text).ok();
        match self.personality.ussd {
            UssdForm::Packed => octets().map_or_else(
                || text.to_string(),
                |octets| pdu::gsm7::decode(&pdu::gsm7::unpack_ussd(&octets), pdu::Tables::default()),
            ),
            UssdForm::Ucs2 if text.len().is_multiple_of(4) => {
                octets().map_or_else(|| text.to_string(), |octets| pdu::ucs2::decode(&octets))
            }
            _ => self.decoded(text),
        }
    }
}

/// A basic command that is on or off; without a number it is off.
fn switch(form: &Form, setting: &mut bool) -> Outcome {
    *setting = match form {
        Form::Execute => false,
        Form::Set(value) if value == "0" => false,
        Form::Set(value) if value == "1" => true,
        _ => return Outcome::Fail(Failure::Plain),
    };
    Outcome::ok()
}

/// TS 27.007 9.2.1, as far as this modem says them.
pub(super) fn cme_words(code: u16) -> String {
    let words = match code {
        3 => "operation not allowed",
        4 => "operation not supported",
        10 => "SIM not inserted",
        11 => "SIM PIN required",
        12 => "SIM PUK required",
        13 => "SIM failure",
        14 => "SIM busy",
        16 => "incorrect password",
        30 => "no network service",
        50 => "Incorrect parameters",
        100 => "unknown",
        code => return code.to_string(),
    };
    words.to_string()
}
