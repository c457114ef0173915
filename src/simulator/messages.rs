//! Commands about messages (3GPP TS 27.005 clauses 3 and 4), in PDU mode; `text_mode` has what differs there.

use super::modem::Modem;
use super::sending::LONGEST;
use super::state::{Failure, Outcome, Prompt};
use super::syntax::{Command, Form, arguments, numbers};
use crate::pdu;
use crate::time::Timestamp;

const INVALID_PARAMETER: Outcome = Outcome::Fail(Failure::Cms(304));
const NOT_SUPPORTED: Outcome = Outcome::Fail(Failure::Cms(303));

impl Modem {
    /// `None`: it is no command about messages.
    pub(super) fn message_command(&mut self, command: &Command, now: Timestamp) -> Option<Outcome> {
        Some(match (command.name.as_str(), &command.form) {
            ("+CSMS", form) => self.service_kind(form),
            ("+CMGF", Form::Read) => Outcome::line(format!("+CMGF: {}", u8::from(self.profile.text_mode))),
            ("+CMGF", Form::Test) => Outcome::line("+CMGF: (0,1)"),
            ("+CMGF", Form::Set(value)) => {
                self.profile.text_mode = value.trim() == "1";
                Outcome::when(matches!(value.trim(), "0" | "1"))
            }
            ("+CMGF", Form::Execute) => {
                self.profile.text_mode = false;
                Outcome::ok()
            }
            ("+CSDH", Form::Read) => Outcome::line(format!("+CSDH: {}", u8::from(self.profile.text_headers))),
            ("+CSDH", Form::Set(value)) => {
                self.profile.text_headers = value.trim() == "1";
                Outcome::ok()
            }
            ("+CSMP", Form::Read) => {
                Outcome::line(format!("+CSMP: {},167,0,0", if self.profile.report_request { 49 } else { 17 }))
            }
            ("+CSMP", Form::Set(value)) => {
                let first = numbers(value).and_then(|numbers| numbers.first().copied().flatten());
                self.profile.report_request = first.is_some_and(|first| first & 0x20 != 0);
                Outcome::when(first.is_some())
            }
            ("+CSCB", _) => Outcome::ok(),
            ("+CMMS", Form::Read) => Outcome::line(format!("+CMMS: {}", self.profile.more)),
            ("+CMMS", Form::Test) => Outcome::line("+CMMS: (0-2)"),
            ("+CMMS", Form::Set(value)) => match value.trim().parse() {
                Ok(more @ 0..=2) => {
                    self.profile.more = more;
                    Outcome::ok()
                }
                _ => INVALID_PARAMETER,
            },
            ("+CSCA", form) => self.service_center(form),
            ("+CPMS", form) => self.preferred_memories(form, now),
            ("+CNMI", form) => self.indications(form),
            ("+CNMA", form) => self.acknowledgement(form, now),
            ("+CMGL", form) => self.list(form, now),
            ("+CMGR", Form::Set(index)) => self.read_slot(index, now),
            ("+CMGD", form) => self.delete(form, now),
            ("+CMGS" | "+CMGW" | "+CMSS" | "+CMGR", Form::Test) => Outcome::ok(),
            ("+CMGS" | "+CMGW", Form::Set(value)) => self.ask_for_text(&command.name, value),
            ("+CMSS", Form::Set(value)) => self.send_stored(value, now),
            _ => return None,
        })
    }

    fn service_kind(&mut self, form: &Form) -> Outcome {
        match form {
            Form::Read => Outcome::line(format!("+CSMS: {},1,1,1", self.profile.service)),
            Form::Test => Outcome::line("+CSMS: (0,1)"),
            Form::Set(value) => match value.trim() {
                kind @ ("0" | "1") => {
                    self.profile.service = u8::from(kind == "1");
                    Outcome::line("+CSMS: 1,1,1")
                }
                _ => NOT_SUPPORTED,
            },
            Form::Execute => Outcome::Fail(Failure::Plain),
        }
    }

    fn service_center(&mut self, form: &Form) -> Outcome {
        match form {
            Form::Read => {
                let center = self.coded(&self.sim.service_center);
                let kind = if self.sim.service_center.starts_with('+') { 145 } else { 129 };
                Outcome::line(format!("+CSCA: \"{center}\",{kind}"))
            }
            Form::Test => Outcome::ok(),
            Form::Set(value) => {
                let given = arguments(value);
                let number = self.decoded(given.first().map_or("", String::as_str));
                let is_international = given.get(1).is_some_and(|kind| kind == "145");
                if !number.is_empty() && pdu::Address::number(&number).is_err() {
                    return INVALID_PARAMETER;
                }
                let plus = if is_international && !number.starts_with('+') { "+" } else { "" };
                self.sim.service_center = format!("{plus}{number}");
                Outcome::ok()
            }
            Form::Execute => Outcome::Fail(Failure::Plain),
        }
    }

    fn preferred_memories(&mut self, form: &Form, now: Timestamp) -> Outcome {
        let names: Vec<&str> = self.sim.memories.iter().map(|memory| memory.name).collect();
        let used = |modem: &Modem, named: bool| {
            let each = modem.profile.memories.iter().map(|place| {
                let memory = &modem.sim.memories[*place];
                let name = if named { format!("\"{}\",", memory.name) } else { String::new() };
                format!("{name}{},{}", memory.used(), memory.slots.len())
            });
            Outcome::line(format!("+CPMS: {}", each.collect::<Vec<_>>().join(",")))
        };
        match form {
            Form::Read => used(self, true),
            Form::Test => {
                let quoted = |wanted: &dyn Fn(&str) -> bool| {
                    let names = names.iter().filter(|name| wanted(name)).map(|name| format!("\"{name}\""));
                    format!("({})", names.collect::<Vec<_>>().join(","))
                };
                let all = quoted(&|_| true);
                let third = quoted(&|name| Some(name) != self.personality.not_for_receiving);
                let list = format!("{all},{all},{third}");
                Outcome::line(match self.personality.nested_memories {
                    true => format!("+CPMS: ({list})"),
                    false => format!("+CPMS: {list}"),
                })
            }
            Form::Set(value) => {
                let mut memories = self.profile.memories;
                let given = arguments(value);
                if given.len() > memories.len() {
                    return INVALID_PARAMETER;
                }
                for (place, name) in given.iter().enumerate().filter(|(_, name)| !name.is_empty()) {
                    let wanted = names.iter().position(|known| known == name);
                    let refused = place == 2 && Some(name.as_str()) == self.personality.not_for_receiving;
                    match wanted.filter(|_| !refused) {
                        Some(wanted) => memories[place] = wanted,
                        None => return Outcome::Fail(Failure::Cms(302)),
                    }
                }
                self.profile.memories = memories;
                self.room(now);
                used(self, false)
            }
            Form::Execute => Outcome::Fail(Failure::Plain),
        }
    }

    fn indications(&mut self, form: &Form) -> Outcome {
        let announced = self.personality.cnmi;
        match form {
            Form::Read => {
                let values: Vec<String> = self.profile.cnmi.iter().map(u8::to_string).collect();
                Outcome::line(format!("+CNMI: {}", values.join(",")))
            }
            Form::Test => {
                let sets = announced.iter().map(|set| {
                    let values: Vec<String> = set.iter().map(u8::to_string).collect();
                    format!("({})", values.join(","))
                });
                Outcome::line(format!("+CNMI: {}", sets.collect::<Vec<_>>().join(",")))
            }
            Form::Set(value) => {
                let Some(given) = numbers(value).filter(|given| given.len() <= announced.len()) else {
                    return INVALID_PARAMETER;
                };
                let mut wanted = self.profile.cnmi;
                for (place, value) in given.into_iter().enumerate() {
                    let Some(value) = value else { continue };
                    let value = u8::try_from(value).unwrap_or(u8::MAX);
                    let refused = self.personality.cnmi_refused.contains(&(place, value));
                    if refused || !announced[place].contains(&value) {
                        return NOT_SUPPORTED;
                    }
                    wanted[place] = value;
                }
                let direct = wanted[1] > 1 && wanted[0] != 1;
                if direct && self.personality.direct_needs_mode_1 {
                    return NOT_SUPPORTED;
                }
                self.profile.cnmi = wanted;
                if wanted[0] > 0 {
                    match wanted[4] {
                        0 => self.release_held(),
                        _ => self.held.clear(),
                    }
                }
                Outcome::ok()
            }
            // All back to nothing.
            Form::Execute => {
                self.profile.cnmi = [0; 5];
                Outcome::ok()
            }
        }
    }

    fn acknowledgement(&mut self, form: &Form, now: Timestamp) -> Outcome {
        const NOTHING_EXPECTED: Outcome = Outcome::Fail(Failure::Cms(340));
        let given = match form {
            Form::Test => return Outcome::line("+CNMA: (0-2)"),
            Form::Read => return Outcome::Fail(Failure::Plain),
            Form::Execute => vec![Some(0)],
            Form::Set(value) => numbers(value).unwrap_or_default(),
        };
        if self.profile.service != 1 || self.pushed.is_none() {
            return NOTHING_EXPECTED;
        }
        match given.as_slice() {
            [Some(0)] => {
                self.acknowledge(true, now);
                Outcome::ok()
            }
            _ if self.personality.bare_acknowledgement => NOT_SUPPORTED,
            [Some(kind @ (1 | 2))] | [Some(kind @ (1 | 2)), Some(0)] => {
                self.acknowledge(*kind == 1, now);
                Outcome::ok()
            }
            [Some(kind @ (1 | 2)), Some(1..=LONGEST)] => {
                Outcome::Prompt(Prompt::Acknowledge { positive: *kind == 1 })
            }
            _ => INVALID_PARAMETER,
        }
    }
}
