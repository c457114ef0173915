//! Commands about messages (3GPP TS 27.005 clauses 3 and 4), in PDU mode; `text_mode` has what differs there.

use super::faults::SendFault;
use super::ledger::Entry;
use super::modem::{Failure, Job, Modem, Outcome, Prompt, Timer};
use super::network::{Item, Kind, shown};
use super::personality::Empty;
use super::routing::entry;
use super::sim::{Origin, Record, Stat};
use super::syntax::{Command, Form, arguments, numbers};
use super::{Effect, text_mode};
use crate::pdu::{self, Pdu, Prefix, Side, Submit};
use crate::time::Timestamp;

const INVALID_PARAMETER: Outcome = Outcome::Fail(Failure::Cms(304));
const NOT_SUPPORTED: Outcome = Outcome::Fail(Failure::Cms(303));
const INVALID_INDEX: Outcome = Outcome::Fail(Failure::Cms(321));
const MEMORY_FULL: Outcome = Outcome::Fail(Failure::Cms(322));
/// The longest message without its service center that `+CMGS` may announce.
const LONGEST: usize = 164;

/// A message on its way to the network.
#[derive(Debug)]
pub(super) struct Submission {
    submit: Submit,
    /// With the service center.
    octets: Vec<u8>,
    has_service_center: bool,
    /// The memory and the slot that it comes from.
    stored: Option<(usize, usize)>,
    /// `+CMGS` or `+CMSS`.
    answer: &'static str,
}

impl Submission {
    fn describe(&self, entry: Entry) -> Entry {
        entry.with("to", self.submit.destination.to_string()).with("text", shown(&self.submit.user_data))
    }

    /// The line about a message that the network did not take.
    pub(super) fn refused(&self, now: Timestamp, error: &str, reason: &str) -> Entry {
        self.describe(Entry::new(now, "refused")).with("error", error).with("reason", reason)
    }
}

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

    // Slots.

    fn list(&mut self, form: &Form, now: Timestamp) -> Outcome {
        let wanted: Option<Stat> = match form {
            Form::Test if self.profile.text_mode => {
                return Outcome::line(
                    "+CMGL: (\"REC UNREAD\",\"REC READ\",\"STO UNSENT\",\"STO SENT\",\"ALL\")",
                );
            }
            Form::Test => return Outcome::line("+CMGL: (0-4)"),
            Form::Read => return Outcome::Fail(Failure::Plain),
            Form::Execute => Some(Stat::Unread),
            Form::Set(value) => {
                let word = arguments(value).into_iter().next().unwrap_or_default();
                let all = [Stat::Unread, Stat::Read, Stat::Unsent, Stat::Sent];
                let found = all.iter().find(|stat| {
                    let number = (**stat as u8).to_string();
                    if self.profile.text_mode { word == stat.as_str() } else { word == number }
                });
                match (found, word.as_str()) {
                    (Some(stat), _) => Some(*stat),
                    (None, "4") if !self.profile.text_mode => None,
                    (None, "ALL") if self.profile.text_mode => None,
                    _ => return INVALID_PARAMETER,
                }
            }
        };
        let place = self.profile.memories[0];
        let mut lines = Vec::new();
        for slot in 0..self.sim.memories[place].slots.len() {
            let Some(record) = self.sim.memories[place].slots[slot].clone() else { continue };
            if wanted.is_some_and(|wanted| wanted != record.stat) {
                continue;
            }
            lines.extend(self.listed(slot + self.personality.first_slot, &record));
            self.was_read(place, slot, "+CMGL", now);
        }
        Outcome::Lines(lines)
    }

    fn listed(&self, number: usize, record: &Record) -> Vec<String> {
        if self.profile.text_mode {
            return text_mode::listed(number, record);
        }
        let header = format!("+CMGL: {number},{},,{}", record.stat as u8, record.length);
        vec![header, pdu::to_hex(&record.octets)]
    }

    fn read_slot(&mut self, index: &str, now: Timestamp) -> Outcome {
        let place = self.profile.memories[0];
        let Some(slot) = self.slot(place, index) else { return INVALID_INDEX };
        let Some(record) = self.sim.memories[place].slots[slot].clone() else {
            return match self.personality.empty {
                Empty::Error => INVALID_INDEX,
                Empty::Ok => Outcome::ok(),
                Empty::Zero => Outcome::Lines(vec!["+CMGR: 0,,0".to_string(), "00".to_string()]),
            };
        };
        self.was_read(place, slot, "+CMGR", now);
        if self.profile.text_mode {
            return Outcome::Lines(text_mode::read(&record, self.profile.text_headers));
        }
        let header = format!("+CMGR: {},,{}", record.stat as u8, record.length);
        Outcome::Lines(vec![header, pdu::to_hex(&record.octets)])
    }

    fn was_read(&mut self, place: usize, slot: usize, by: &str, now: Timestamp) {
        let memory = &mut self.sim.memories[place];
        let name = memory.name;
        let Some(record) = memory.slots[slot].as_mut() else { return };
        let origin = record.origin;
        if record.stat == Stat::Unread {
            record.stat = Stat::Read;
        }
        let number = slot + self.personality.first_slot;
        self.record(entry(now, "read", origin).with("memory", name).with("slot", number).with("by", by));
    }

    fn delete(&mut self, form: &Form, now: Timestamp) -> Outcome {
        let place = self.profile.memories[0];
        let first = self.personality.first_slot;
        let value = match form {
            Form::Test => {
                let slots = self.sim.memories[place].slots.iter().enumerate();
                let used: Vec<String> = slots
                    .filter(|(_, record)| record.is_some())
                    .map(|(slot, _)| (slot + first).to_string())
                    .collect();
                return Outcome::line(format!("+CMGD: ({}),(0-4)", used.join(",")));
            }
            Form::Set(value) => value,
            _ => return Outcome::Fail(Failure::Plain),
        };
        let given = arguments(value);
        let stats: &[Stat] = match given.get(1).map_or("0", String::as_str) {
            "0" | "" => {
                let Some(slot) = given.first().and_then(|index| self.slot(place, index)) else {
                    return INVALID_INDEX;
                };
                self.empty(place, slot, now);
                self.room(now);
                return Outcome::ok();
            }
            "1" => &[Stat::Read],
            "2" => &[Stat::Read, Stat::Sent],
            "3" => &[Stat::Read, Stat::Sent, Stat::Unsent],
            "4" => &[Stat::Read, Stat::Sent, Stat::Unsent, Stat::Unread],
            _ => return INVALID_PARAMETER,
        };
        for slot in 0..self.sim.memories[place].slots.len() {
            let record = self.sim.memories[place].slots[slot].as_ref();
            if record.is_some_and(|record| stats.contains(&record.stat)) {
                self.empty(place, slot, now);
            }
        }
        self.room(now);
        Outcome::ok()
    }

    fn empty(&mut self, place: usize, slot: usize, now: Timestamp) {
        let memory = &mut self.sim.memories[place];
        let name = memory.name;
        if let Some(record) = memory.slots[slot].take() {
            let number = slot + self.personality.first_slot;
            self.record(entry(now, "deleted", record.origin).with("memory", name).with("slot", number));
        }
    }

    /// Fills the memory for new messages up to so many free slots.
    pub(super) fn fill(&mut self, free: usize) {
        let memory = &mut self.sim.memories[self.profile.memories[2]];
        let origin = Origin { id: None, part: 1 };
        // A text of five letters, already read.
        let octets = vec![
            0, 0x04, 0x04, 0x81, 0x21, 0x43, 0, 0, 0x62, 0x11, 0x22, 0, 0, 0, 0, 0x04, 0xEF, 0x36, 0xBB, 0x0C,
        ];
        while memory.slots.len() - memory.used() > free {
            let record =
                Record { stat: Stat::Read, length: octets.len() - 1, octets: octets.clone(), origin };
            memory.put(record);
        }
    }

    /// The place of a slot by its number.
    fn slot(&self, place: usize, number: &str) -> Option<usize> {
        let number: usize = number.trim().parse().ok()?;
        let slot = number.checked_sub(self.personality.first_slot)?;
        (slot < self.sim.memories[place].slots.len()).then_some(slot)
    }

    // Sending.

    fn ask_for_text(&mut self, name: &str, value: &str) -> Outcome {
        let given = arguments(value);
        let first = given.first().cloned().unwrap_or_default();
        if self.profile.text_mode {
            let to = self.decoded(&first);
            return Outcome::Prompt(match name {
                "+CMGS" => Prompt::SendText { to },
                _ => Prompt::WriteText { to },
            });
        }
        let length = first.parse().ok().filter(|length| (1..=LONGEST).contains(length));
        let stat = given.get(1).map_or(Some(Stat::Unsent as usize), |stat| stat.parse().ok());
        match (length, stat) {
            (Some(length), _) if name == "+CMGS" => Outcome::Prompt(Prompt::Send { length }),
            (Some(length), Some(stat @ 0..=3)) => Outcome::Prompt(Prompt::Write { length, stat }),
            _ => INVALID_PARAMETER,
        }
    }

    /// The other side has ended its text with Ctrl-Z.
    pub(super) fn text_given(&mut self, prompt: Prompt, text: &[u8], now: Timestamp) {
        match prompt {
            Prompt::Acknowledge { positive } => {
                self.acknowledge(positive, now);
                self.succeeded(&[]);
            }
            Prompt::Send { length } => match submission(text, length) {
                Ok(submission) => self.submit(submission, now),
                Err(reason) => self.refuse_text(text, &reason, now),
            },
            Prompt::SendText { to } => match text_mode::submission(&to, text, self.profile.report_request) {
                Ok((submit, octets)) => {
                    let submission = Submission {
                        submit,
                        octets,
                        has_service_center: false,
                        stored: None,
                        answer: "+CMGS",
                    };
                    self.submit(submission, now);
                }
                Err(reason) => self.refuse_text(text, &reason, now),
            },
            Prompt::Write { length, stat } => match counted(text, length) {
                Ok(octets) => {
                    let stat = [Stat::Unread, Stat::Read, Stat::Unsent, Stat::Sent][stat.min(3)];
                    self.write_slot(octets, length, stat, now);
                }
                Err(reason) => self.refuse_text(text, &reason, now),
            },
            Prompt::WriteText { to } => match text_mode::submission(&to, text, self.profile.report_request) {
                Ok((_, octets)) => {
                    let length = octets.len() - 1;
                    self.write_slot(octets, length, Stat::Unsent, now);
                }
                Err(reason) => self.refuse_text(text, &reason, now),
            },
        }
    }

    fn submit(&mut self, submission: Submission, now: Timestamp) {
        let wait = self.timing.send + self.faults.slow;
        self.work(Job::Transmit(Box::new(submission)), wait, now);
    }

    fn refuse_text(&mut self, text: &[u8], reason: &str, now: Timestamp) {
        let text = String::from_utf8_lossy(text);
        let entry = Entry::new(now, "refused").with("text", text.as_ref());
        self.record(entry.with("error", "CMS 304").with("reason", reason));
        self.failed(Failure::Cms(304));
    }

    fn write_slot(&mut self, octets: Vec<u8>, length: usize, stat: Stat, now: Timestamp) {
        let record = Record { stat, octets, length, origin: Origin { id: None, part: 1 } };
        let memory = &mut self.sim.memories[self.profile.memories[1]];
        let name = memory.name;
        let Some(slot) = memory.put(record) else { return self.failed(Failure::Cms(322)) };
        let number = slot + self.personality.first_slot;
        self.record(Entry::new(now, "drafted").with("memory", name).with("slot", number));
        self.succeeded(&[format!("+CMGW: {number}")]);
    }

    fn send_stored(&mut self, value: &str, now: Timestamp) -> Outcome {
        let place = self.profile.memories[1];
        let given = arguments(value);
        let Some(slot) = given.first().and_then(|index| self.slot(place, index)) else {
            return INVALID_INDEX;
        };
        let Some(record) = &self.sim.memories[place].slots[slot] else { return INVALID_INDEX };
        match submission_of(record.octets.clone(), record.length) {
            Ok(submission) => {
                let stored = Some((place, slot));
                self.submit(Submission { stored, answer: "+CMSS", ..submission }, now);
                Outcome::Later
            }
            Err(_) => MEMORY_FULL,
        }
    }

    /// The network takes a message, or does not.
    pub(super) fn transmit(&mut self, submission: Submission, now: Timestamp) {
        let no_center = !submission.has_service_center && self.sim.service_center.is_empty();
        let fault = self.next_send_fault();
        let refused = match &fault {
            _ if !self.is_reachable(now) => Some((Failure::Cms(331), "no network")),
            _ if no_center => Some((Failure::Cms(330), "no service center is known")),
            Some(SendFault::Refuse(failure)) => Some((*failure, "ordered")),
            _ => None,
        };
        if let Some((failure, reason)) = refused {
            let error = match failure {
                Failure::Cms(code) => format!("CMS {code}"),
                Failure::Cme(code) => format!("CME {code}"),
                Failure::Plain | Failure::Unknown => "ERROR".to_string(),
            };
            self.record(submission.refused(now, &error, reason));
            return self.failed(failure);
        }
        let submit = &submission.submit;
        let reference = self.network.reference();
        let answer = match fault {
            Some(SendFault::LoseAnswer) => "lost",
            Some(SendFault::Late(_)) => "late",
            Some(SendFault::Bare) => "bare",
            _ => "told",
        };
        let sent = submission.describe(Entry::new(now, "sent").with("reference", reference));
        let concat = submit.user_data.header.as_ref().and_then(|header| header.concat());
        let concat = concat.map(|concat| {
            serde_json::json!({ "reference": concat.reference, "total": concat.total,
                "sequence": concat.sequence, "bits": concat.bits })
        });
        let sent = sent
            .with("concat", concat)
            .with("report", submit.report_request)
            .with("class", submit.data_coding.class())
            .with("pdu", pdu::to_hex(&submission.octets))
            .with("answer", answer);
        self.record(sent);
        self.carry(submit);
        let to = submit.destination.to_string();
        if let Some((text, references)) = self.network.complete(submit, reference) {
            let message = Entry::new(now, "message").with("to", to.as_str()).with("text", text.as_str());
            self.record(message.with("references", references));
            self.effect(Effect::Show(format!("> {to} {text}")));
        }
        if submit.report_request {
            let mut at = now;
            for status in self.network.reporting.statuses {
                at = at + self.network.reporting.after;
                self.at(at, Timer::Report { reference, to: to.clone(), taken: now, status: *status });
            }
        }
        if let Some((place, slot)) = submission.stored
            && let Some(record) = self.sim.memories[place].slots[slot].as_mut()
        {
            record.stat = Stat::Sent;
        }
        let shown = if self.personality.no_references { 0 } else { reference };
        let lines = vec![format!("{}: {shown}", submission.answer)];
        match fault {
            Some(SendFault::LoseAnswer) => {}
            Some(SendFault::Bare) => self.succeeded(&[]),
            Some(SendFault::Late(wait)) => self.work(Job::Answer(lines), wait, now),
            _ => self.succeeded(&lines),
        }
    }

    /// The two lines of a message that is written to the port without being asked for.
    pub(super) fn pushed_lines(&self, item: &Item, octets: &[u8]) -> Vec<String> {
        if self.profile.text_mode {
            return text_mode::pushed(item.kind == Kind::Report, octets);
        }
        let header = match item.kind {
            Kind::Report => format!("+CDS: {}", item.tpdu.len()),
            Kind::Message { .. } => format!("+CMT: ,{}", item.tpdu.len()),
        };
        vec![header, pdu::to_hex(octets)]
    }
}

/// The message behind a prompt, checked as strictly as can be: a modem that lets wrong octets pass finds no faults in its users.
fn submission(text: &[u8], length: usize) -> Result<Submission, String> {
    submission_of(counted(text, length)?, length)
}

fn submission_of(octets: Vec<u8>, length: usize) -> Result<Submission, String> {
    let decoded =
        pdu::decode(&octets, Some(Side::Mobile), Prefix::Present).map_err(|error| error.to_string())?;
    if decoded.length != length {
        return Err(format!("{length} octets were announced, {} came", decoded.length));
    }
    if let Some(remark) = decoded.remarks.first() {
        return Err(remark.to_string());
    }
    let Pdu::Submit(submit) = decoded.pdu else { return Err("it is no message to be sent".to_string()) };
    let has_service_center = decoded.service_center.is_some();
    Ok(Submission { submit, octets, has_service_center, stored: None, answer: "+CMGS" })
}

/// The octets of hexadecimal digits, when they are as many as announced: those of the service center are not counted (27.005 4.3).
fn counted(text: &[u8], length: usize) -> Result<Vec<u8>, String> {
    let digits = std::str::from_utf8(text).map_err(|_| "these are no digits".to_string())?;
    // A line feed behind the carriage return of the command is in here.
    let digits = digits.trim_start_matches(['\n', '\r']);
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err("these are no hexadecimal digits".to_string());
    }
    let octets = pdu::from_hex(digits).map_err(|error| error.to_string())?;
    let prefix = octets.first().map_or(0, |length| usize::from(*length) + 1);
    if octets.len() != prefix + length {
        return Err(format!(
            "{length} octets behind a service center of {prefix} were announced, {} came",
            octets.len()
        ));
    }
    Ok(octets)
}
