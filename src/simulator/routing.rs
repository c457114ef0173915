//! Where a message of the network goes (3GPP TS 27.005 3.4.1): a slot and `+CMTI`, the port as `+CMT` or `+CDS`, or nowhere.

use super::Effect;
use super::ledger::Entry;
use super::modem::{Modem, unacknowledged_entry};
use super::network::{Carried, Item, Kind, QUEUE_LIMIT};
use super::sim::{Origin, Record, Stat};
use super::state::Timer;
use super::text_mode;
use crate::pdu::{
    self, Address, Deliver, NetworkTime, Pdu, Prefix, Side, Splitting, Status, StatusReport, UserData,
};
use crate::time::Timestamp;
use std::time::Duration;

/// Nairobi's clock: three hours east of UTC.
const ZONE_QUARTERS: i8 = 12;
/// Indications that wait for `+CNMI` mode 1 at most.
const MOST_HELD: usize = 20;
/// So many parts a message has at most.
const MOST_PARTS: u8 = 20;

impl Modem {
    /// Somebody sends a text to this modem.
    pub(super) fn inject(
        &mut self,
        from: &str,
        text: &str,
        class: Option<u8>,
        now: Timestamp,
    ) -> Result<(), String> {
        let originator = Address::parse(from).map_err(|error| error.to_string())?;
        let splitting = Splitting { most_parts: MOST_PARTS, ..Splitting::default() };
        let plan = pdu::plan(text, &splitting).map_err(|error| error.to_string())?;
        let coding = match class {
            None => pdu::DataCoding::of(plan.alphabet),
            Some(class) => pdu::DataCoding::with_class(plan.alphabet, class),
        };
        let parts = plan.user_data(self.network.concat());
        let mut pdus = Vec::new();
        for (index, user_data) in parts.iter().enumerate() {
            let deliver =
                deliver(originator.clone(), coding, user_data.clone(), index + 1 < parts.len(), now);
            pdus.push(deliver.encode().map_err(|error| error.to_string())?);
        }
        self.enqueue(from, Some(text), pdus, Kind::Message { class, silent: false }, now)
    }

    /// Somebody sends these octets, whatever they are: a PDU without its service center.
    pub(super) fn inject_octets(&mut self, octets: Vec<u8>, now: Timestamp) -> Result<(), String> {
        let decoded = pdu::decode(&octets, Some(Side::Network), Prefix::Absent).map(|decoded| decoded.pdu);
        let (from, kind) = match &decoded {
            Ok(Pdu::StatusReport(report)) => (report.recipient.to_string(), Kind::Report),
            Ok(Pdu::Deliver(deliver)) => {
                let kind = Kind::Message { class: deliver.data_coding.class(), silent: deliver.is_silent() };
                (deliver.originator.to_string(), kind)
            }
            _ => (String::new(), Kind::Message { class: None, silent: false }),
        };
        self.enqueue(&from, None, vec![octets], kind, now)
    }

    /// A message of another modem arrives.
    pub fn receive(&mut self, carried: &Carried, now: Timestamp) {
        let Ok(originator) = Address::parse(&carried.from) else { return };
        let submit = &carried.submit;
        let deliver = deliver(originator, submit.data_coding, submit.user_data.clone(), false, now);
        let Ok(tpdu) = deliver.encode() else { return };
        let text = super::network::shown(&submit.user_data);
        let kind = Kind::Message { class: submit.data_coding.class(), silent: submit.protocol == 0x40 };
        // A queue that is full loses it, as a service center would.
        let _ = self.enqueue(&carried.from, Some(&text), vec![tpdu], kind, now);
    }

    fn enqueue(
        &mut self,
        from: &str,
        text: Option<&str>,
        pdus: Vec<Vec<u8>>,
        kind: Kind,
        now: Timestamp,
    ) -> Result<(), String> {
        if self.network.queue.len() + pdus.len() > QUEUE_LIMIT {
            return Err(format!("{QUEUE_LIMIT} messages wait for this modem already"));
        }
        let id = self.network.id();
        let digits: Vec<String> = pdus.iter().map(|pdu| pdu::to_hex(pdu)).collect();
        let mut injected = Entry::new(now, "injected").with("id", id).with("from", from);
        if let Some(text) = text {
            injected = injected.with("text", text);
        }
        self.record(injected.with("parts", pdus.len()).with("pdus", digits));
        for (part, tpdu) in (1..).zip(pdus) {
            let origin = Origin { id: Some(id), part };
            self.network.queue.push_back(Item { origin, tpdu, kind, not_before: now, attempts: 0 });
        }
        self.deliver_waiting(now);
        Ok(())
    }

    /// The network says what became of a message.
    pub(super) fn report(&mut self, reference: u8, to: &str, taken: Timestamp, status: u8, now: Timestamp) {
        let Ok(recipient) = Address::parse(to) else { return };
        let report = StatusReport {
            more_messages: false,
            loop_prevention: false,
            of_command: false,
            message_reference: reference,
            recipient,
            service_center_time: network_time(taken),
            discharge_time: network_time(now),
            status: Status(status),
            parameters: pdu::report::Parameters::default(),
        };
        let Ok(tpdu) = report.encode() else { return };
        let id = self.network.id();
        let entry = Entry::new(now, "report").with("id", id).with("reference", reference);
        self.record(entry.with("to", to).with("status", status));
        let origin = Origin { id: Some(id), part: 1 };
        self.network.queue.push_back(Item { origin, tpdu, kind: Kind::Report, not_before: now, attempts: 0 });
        self.deliver_waiting(now);
    }

    /// Delivers whatever is due, until something has to be acknowledged first or there is no room.
    pub(super) fn deliver_waiting(&mut self, now: Timestamp) {
        while self.is_reachable(now) && self.pushed.is_none() && now >= self.blocked_until {
            let due = self.network.queue.iter().position(|item| item.not_before <= now);
            let Some(item) = due.and_then(|place| self.network.queue.remove(place)) else { break };
            self.route(item, now);
        }
        let waiting = self.network.queue.iter().map(|item| item.not_before.max(self.blocked_until));
        if let Some(next) = waiting.filter(|at| *at > now).min() {
            self.network_at(next);
        }
    }

    /// The network comes at that time, unless it comes before anyway.
    fn network_at(&mut self, at: Timestamp) {
        if !self.is_due_by(at, &Timer::Network) {
            self.at(at, Timer::Network);
        }
    }

    fn route(&mut self, item: Item, now: Timestamp) {
        let [mode, mt, _, ds, _] = self.profile.cnmi;
        match item.kind {
            Kind::Message { silent: true, .. } => self.discard(&item, "a silent message", now),
            Kind::Report if ds == 1 && mode > 0 => self.push(item, now),
            Kind::Report if ds == 2 || (ds == 1 && self.personality.reports_memory.is_some()) => {
                self.store(item, true, now);
            }
            Kind::Report => self.discard(&item, "+CNMI wants no reports", now),
            Kind::Message { class, .. } => {
                let direct = match mt {
                    2 => class != Some(2),
                    3 => class == Some(3),
                    _ => false,
                };
                let allowed = mode > 0 && (mode == 1 || !self.personality.direct_needs_mode_1);
                if direct && allowed { self.push(item, now) } else { self.store(item, mt > 0, now) }
            }
        }
    }

    fn discard(&mut self, item: &Item, reason: &str, now: Timestamp) {
        self.record(entry(now, "discarded", item.origin).with("reason", reason));
        self.record(entry(now, "acknowledged", item.origin).with("by", "modem"));
    }

    fn store(&mut self, item: Item, announce: bool, now: Timestamp) {
        let place = match (item.kind, self.personality.reports_memory) {
            (Kind::Report, None) => return self.discard(&item, "this modem stores no reports", now),
            (Kind::Report, Some(name)) => {
                let of_reports = self.sim.memories.iter().position(|memory| memory.name == name);
                of_reports.unwrap_or(self.profile.memories[2])
            }
            (Kind::Message { .. }, _) => self.profile.memories[2],
        };
        let octets = self.with_service_center(&item.tpdu);
        let record = Record { stat: Stat::Unread, octets, length: item.tpdu.len(), origin: item.origin };
        let memory = &mut self.sim.memories[place];
        let name = memory.name;
        let Some(slot) = memory.put(record) else {
            self.record(entry(now, "full", item.origin).with("memory", name));
            self.blocked_until = now + self.timing.retry.max(Duration::from_millis(1));
            self.network.put_back(item);
            if !self.is_full {
                self.is_full = true;
                self.personality.full.iter().for_each(|line| self.announce(line));
            }
            return;
        };
        let slot = slot + self.personality.first_slot;
        self.record(entry(now, "stored", item.origin).with("memory", name).with("slot", slot));
        self.record(entry(now, "acknowledged", item.origin).with("by", "storage"));
        if announce && self.personality.announces {
            let code = if item.kind == Kind::Report { "+CDSI" } else { "+CMTI" };
            self.indicate(vec![format!("{code}: \"{name}\",{slot}")]);
        }
    }

    fn push(&mut self, mut item: Item, now: Timestamp) {
        item.attempts += 1;
        self.record(entry(now, "pushed", item.origin).with("attempt", item.attempts));
        let octets = self.with_service_center(&item.tpdu);
        let lines = self.pushed_lines(&item, &octets);
        if self.profile.service == 1 {
            self.at(now + self.timing.retry, Timer::Unacknowledged);
            self.pushed = Some(item);
        } else {
            self.record(entry(now, "acknowledged", item.origin).with("by", "modem"));
        }
        self.announce(&lines.join("\r\n"));
    }

    fn indicate(&mut self, lines: Vec<String>) {
        if self.profile.cnmi[0] > 0 {
            return lines.iter().for_each(|line| self.announce(line));
        }
        if self.held.len() < MOST_HELD {
            self.held.push_back(lines);
        }
    }

    /// What `+CNMI` mode 0 held back.
    pub(super) fn release_held(&mut self) {
        for lines in std::mem::take(&mut self.held) {
            lines.iter().for_each(|line| self.announce(line));
        }
    }

    /// `+CNMA`: whether there was something to acknowledge.
    pub(super) fn acknowledge(&mut self, positive: bool, now: Timestamp) -> bool {
        if self.pushed.is_none() {
            return false;
        }
        if !positive {
            self.keep("refused by the other side", now);
            return true;
        }
        if let Some(item) = self.pushed.take() {
            self.cancel(|timer| *timer == Timer::Unacknowledged);
            self.record(entry(now, "acknowledged", item.origin).with("by", "cnma"));
            // Behind the OK.
            self.at(now, Timer::Network);
        }
        true
    }

    /// Nobody acknowledged in time: nothing is pushed any more (27.005 3.4.4), and the network tries again later.
    pub(super) fn unacknowledged(&mut self, reason: &str, now: Timestamp) {
        self.profile.cnmi[1] = 0;
        self.profile.cnmi[3] = 0;
        self.keep(reason, now);
        self.at(now, Timer::Network);
    }

    fn keep(&mut self, reason: &str, now: Timestamp) {
        let Some(mut item) = self.pushed.take() else { return };
        self.cancel(|timer| *timer == Timer::Unacknowledged);
        self.record(unacknowledged_entry(&item, reason, now));
        item.not_before = now + self.timing.retry;
        self.network.put_back(item);
        self.at(now, Timer::Network);
    }

    /// There may be room again: what the network kept because there was none comes now.
    pub(super) fn room(&mut self, now: Timestamp) {
        if now >= self.blocked_until {
            return;
        }
        self.blocked_until = now;
        self.at(now, Timer::Network);
        let memory = &self.sim.memories[self.profile.memories[2]];
        self.is_full &= memory.used() == memory.slots.len();
    }

    /// The two lines of a message that is written to the port without being asked for.
    fn pushed_lines(&self, item: &Item, octets: &[u8]) -> Vec<String> {
        if self.profile.text_mode {
            return text_mode::pushed(item.kind == Kind::Report, octets);
        }
        let header = match item.kind {
            Kind::Report => format!("+CDS: {}", item.tpdu.len()),
            Kind::Message { .. } => format!("+CMT: ,{}", item.tpdu.len()),
        };
        vec![header, pdu::to_hex(octets)]
    }

    fn with_service_center(&self, tpdu: &[u8]) -> Vec<u8> {
        let center = Address::number(&self.network.service_center).ok();
        pdu::with_service_center(center.as_ref(), tpdu).unwrap_or_else(|_| [&[0], tpdu].concat())
    }

    /// A message leaves for another number.
    pub(super) fn carry(&mut self, submit: &pdu::Submit) {
        self.effect(Effect::Carried(Carried {
            from: self.subscriber.number.clone(),
            to: submit.destination.to_string(),
            submit: submit.clone(),
        }));
    }
}

/// A line of the ledger about one part.
pub(super) fn entry(now: Timestamp, event: &'static str, origin: Origin) -> Entry {
    Entry::new(now, event).with("id", origin.id).with("part", origin.part)
}

fn deliver(
    originator: Address,
    data_coding: pdu::DataCoding,
    user_data: UserData,
    more_messages: bool,
    now: Timestamp,
) -> Deliver {
    Deliver {
        more_messages,
        loop_prevention: false,
        report_wanted: false,
        reply_path: false,
        originator,
        protocol: 0,
        data_coding,
        service_center_time: network_time(now),
        user_data,
    }
}

/// A time that cannot be written is shown as one that was never set.
fn network_time(at: Timestamp) -> NetworkTime {
    NetworkTime::new(at, ZONE_QUARTERS).unwrap_or(NetworkTime([0; 7]))
}
