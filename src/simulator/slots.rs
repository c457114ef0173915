//! Reading, writing and deleting slots (3GPP TS 27.005 3.4.2, 3.4.3, 3.5.3, 3.5.4).

use super::ledger::Entry;
use super::modem::Modem;
use super::personality::Empty;
use super::routing::entry;
use super::sim::{Origin, Record, Stat};
use super::state::{Failure, Outcome};
use super::syntax::{Form, arguments};
use super::text_mode;
use crate::pdu;
use crate::time::Timestamp;

const INVALID_PARAMETER: Outcome = Outcome::Fail(Failure::Cms(304));
pub(super) const INVALID_INDEX: Outcome = Outcome::Fail(Failure::Cms(321));

impl Modem {
    pub(super) fn list(&mut self, form: &Form, now: Timestamp) -> Outcome {
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

    pub(super) fn read_slot(&mut self, index: &str, now: Timestamp) -> Outcome {
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

    pub(super) fn delete(&mut self, form: &Form, now: Timestamp) -> Outcome {
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

    /// A text of the other side goes into a slot of the second memory.
    pub(super) fn write_slot(&mut self, octets: Vec<u8>, length: usize, stat: Stat, now: Timestamp) {
        let record = Record { stat, octets, length, origin: Origin { id: None, part: 1 } };
        let memory = &mut self.sim.memories[self.profile.memories[1]];
        let name = memory.name;
        let Some(slot) = memory.put(record) else { return self.failed(Failure::Cms(322)) };
        let number = slot + self.personality.first_slot;
        self.record(Entry::new(now, "drafted").with("memory", name).with("slot", number));
        self.succeeded(&[format!("+CMGW: {number}")]);
    }

    /// The place of a slot by its number.
    pub(super) fn slot(&self, place: usize, number: &str) -> Option<usize> {
        let number: usize = number.trim().parse().ok()?;
        let slot = number.checked_sub(self.personality.first_slot)?;
        (slot < self.sim.memories[place].slots.len()).then_some(slot)
    }
}
