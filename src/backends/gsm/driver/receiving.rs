//! Receiving: from an announcement, or a look through the storages, to a message that is on disk and deleted from the modem.
//!
//! The order is what nothing may change: read, hand to the router, wait for its receipt, delete (3GPP TS 27.005 3.4.3, 3.5.4). What
//! comes directly (`+CMT`, `+CDS`) is acknowledged by `+CNMA` after the receipt (27.005 3.4.4), so that the network repeats what
//! was not stored. Announcements get lost and full storages announce nothing, so every storage is looked through now and then as well. What
//! was stored and could not be deleted is remembered, and not read again.

use super::incoming::{self, Arrival};
use super::ladder::said;
use super::stored::has_no_such_command;
use super::{Driver, Effect, Job};
use crate::message::{About, MessageId};
use crate::modem::storage::{self, Stored};
use crate::modem::urc::Direct;
use crate::modem::{Answer, Command, ModemError, Outcome};
use crate::router::Refused;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// Announcements beyond this are left to the next look through the storages.
const ANNOUNCED: usize = 256;
/// No storage has more slots; beyond this a modem is not believed.
const SLOTS: u32 = 1000;
/// Messages that are on disk and could not be deleted, as remembered.
const UNDELETED: usize = 1000;
/// A list of a full modem takes seconds; some sticks never answer.
const LIST_TIME: Duration = Duration::from_secs(30);
/// After trouble with the store or the storage; doubled up to the usual interval.
const SOON: Duration = Duration::from_secs(5);
/// How often a modem is looked through that announces nothing, or keeps messages to itself although it took the routing.
const WITHOUT_ANNOUNCEMENTS: Duration = Duration::from_secs(15);
/// The same for one that has not shown yet that it announces.
const UNPROVEN: Duration = Duration::from_secs(30);

/// A place in a storage.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Slot {
    /// `SM`, `ME` ...
    pub storage: String,
    /// Its number, from 0 or 1.
    pub index: u32,
}

/// Where a message came from, and so what its receipt allows.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Source {
    /// It may be deleted there. The octets are what was read.
    Slot(Slot, String),
    /// It may be acknowledged.
    Direct,
    /// Nothing more to be done.
    Elsewhere,
    /// As the other, and the network forbids to answer it automatically.
    NoAnswer(Box<Source>),
}

/// What is to be fetched, deleted and acknowledged.
#[derive(Debug, Default)]
pub(super) struct Inbox {
    announced: VecDeque<Slot>,
    /// What a list gave, octets and all.
    listed: VecDeque<(Slot, String)>,
    deletable: VecDeque<Slot>,
    /// On disk and perhaps not deleted: what was in the slot.
    stored: BTreeMap<Slot, String>,
    acknowledgements: u32,
    /// `AT+CNMA=0` instead of `AT+CNMA`; and whether the modem took the one that is used.
    acknowledges_by_number: bool,
    acknowledged: bool,
    /// Storages of the present look that were not listed yet.
    unlisted: VecDeque<String>,
    /// How many messages the modem says there are in the storage that is being listed, and how many there could be.
    filled: Option<(u32, u32)>,
    next_look: Option<Duration>,
    /// The wait after trouble, while there is some.
    patience: Option<Duration>,
    /// `AT+CMGL` hangs on this modem, so slots are read one by one.
    lists_badly: bool,
    troubled: bool,
    /// Whether it announces what it stores; unknown until it did, or until a message was found that it had kept to itself.
    pub(super) announces: Option<bool>,
    /// A look has ended since the start: what the next one finds came meanwhile.
    looked: bool,
    /// How many looks have ended since the start of the driver.
    pub(super) looks: u64,
    /// Reports were left where they are, because their messages' receipts have not been told.
    left: bool,
}

impl Inbox {
    /// The modem has started anew: what its slots hold is not known any more.
    pub(super) fn forget(&mut self, now: Duration) {
        *self = Inbox {
            lists_badly: self.lists_badly,
            acknowledges_by_number: self.acknowledges_by_number,
            acknowledged: self.acknowledged,
            looks: self.looks,
            next_look: Some(now),
            ..Inbox::default()
        };
    }

    /// When the storages are looked through next, as long as that is not under way.
    pub(super) fn next_look(&self) -> Option<Duration> {
        self.next_look
    }

    /// Whether reports were left in the modem; the next call says no.
    pub(super) fn take_left(&mut self) -> bool {
        std::mem::take(&mut self.left)
    }

    pub(super) fn has_arrivals(&self) -> bool {
        !self.announced.is_empty() || !self.listed.is_empty()
    }
}

impl Driver {
    /// A message or a report lies in this slot.
    pub(super) fn announced(&mut self, storage: &str, index: u32) {
        self.inbox.announces = Some(true);
        let slot = Slot { storage: storage.to_ascii_uppercase(), index };
        if self.inbox.announced.contains(&slot) {
            return;
        }
        if self.inbox.announced.len() >= ANNOUNCED {
            self.look_through(self.now);
            return;
        }
        self.inbox.announced.push_back(slot);
    }

    /// A message came directly.
    pub(super) fn direct(&mut self, direct: &Direct) {
        self.arrived(&direct.pdu, Source::Direct);
    }

    /// Looks through all storages, from `at` on.
    pub(super) fn look_through(&mut self, at: Duration) {
        let next = self.inbox.next_look.map_or(at, |next| next.min(at));
        self.inbox.next_look = Some(next);
    }

    /// Whether a slot is to be read or deleted now.
    pub(super) fn concerns_slots(&self) -> bool {
        let looks = self.inbox.next_look.is_some_and(|next| next <= self.now);
        looks
            || self.inbox.has_arrivals()
            || !self.inbox.unlisted.is_empty()
            || !self.inbox.deletable.is_empty()
    }

    /// What has to be said to the modem first: acknowledgements, deletions.
    pub(super) fn owed(&mut self) -> Option<(Command, Job)> {
        if self.inbox.acknowledgements > 0 {
            self.inbox.acknowledgements -= 1;
            // 27.005 3.4.4: both mean the same, and some modems take only one of them; none gets a PDU, which several do not survive.
            let command = if self.inbox.acknowledges_by_number { "AT+CNMA=0" } else { "AT+CNMA" };
            return Some((Command::new(command), Job::Acknowledge));
        }
        // At the stop no proof is asked for any more: what is on disk is deleted by the next life.
        while let Some(slot) = self.inbox.deletable.front().cloned().filter(|_| self.dialogue.is_sure()) {
            if let Some(switch) = self.switch_to(&slot.storage) {
                return Some(switch);
            }
            self.inbox.deletable.pop_front();
            // Only what is still known to be stored: after a restart of the modem the slot may hold another message.
            if self.inbox.stored.contains_key(&slot) {
                return Some((Command::new(format!("AT+CMGD={}", slot.index)), Job::Delete(slot)));
            }
        }
        None
    }

    /// The next message to be fetched. Those of a list are here already and are taken without a command.
    pub(super) fn next_arrival(&mut self) -> Option<(Command, Job)> {
        if let Some((slot, digits)) = self.inbox.listed.pop_front() {
            self.found(slot, digits);
            return None;
        }
        let storage = self.inbox.announced.front()?.storage.clone();
        if let Some(switch) = self.switch_to(&storage) {
            return Some(switch);
        }
        let slot = self.inbox.announced.pop_front()?;
        Some((Command::new(format!("AT+CMGR={}", slot.index)), Job::Read(slot)))
    }

    /// The next step of a look through the storages, if it is time for one.
    pub(super) fn next_list(&mut self, now: Duration) -> Option<(Command, Job)> {
        if self.inbox.next_look.is_some_and(|next| next <= now) && self.inbox.unlisted.is_empty() {
            self.inbox.unlisted = self.facts.readable.iter().cloned().collect();
            self.inbox.next_look = None;
            self.inbox.troubled = false;
            // Asked anew, so that the modem counts its messages.
            self.facts.current = None;
        }
        let Some(storage) = self.inbox.unlisted.front().cloned() else {
            if self.inbox.next_look.is_none() && !self.inbox.has_arrivals() {
                self.looked_through(now);
            }
            return None;
        };
        if let Some(switch) = self.switch_to(&storage) {
            return Some(switch);
        }
        self.inbox.unlisted.pop_front();
        if self.inbox.lists_badly {
            self.read_one_by_one(&storage);
            return None;
        }
        Some((Command::new("AT+CMGL=4").within(LIST_TIME), Job::List(storage)))
    }

    fn looked_through(&mut self, now: Duration) {
        self.inbox.patience = None;
        self.inbox.looked = true;
        self.inbox.looks += 1;
        self.inbox.next_look = Some(now.saturating_add(self.usual_wait()));
        self.verify();
    }

    fn usual_wait(&self) -> Duration {
        let longest = match (&self.facts.routing, self.inbox.announces) {
            (None, _) | (_, Some(false)) => WITHOUT_ANNOUNCEMENTS,
            (Some(_), None) => UNPROVEN,
            (Some(_), Some(true)) => self.rules.sweep,
        };
        self.rules.sweep.min(longest)
    }

    /// A message is still in the modem and should not be: the next look comes soon, and later each time that this happens again.
    fn trouble(&mut self) {
        if !self.inbox.troubled {
            self.inbox.troubled = true;
            let wait = self.inbox.patience.map_or(SOON, |patience| patience.saturating_mul(2));
            self.inbox.patience = Some(wait.min(self.usual_wait()));
        }
        self.look_through(self.now.saturating_add(self.inbox.patience.unwrap_or(SOON)));
    }

    /// The command that makes a storage the current one, unless it is.
    fn switch_to(&self, storage: &str) -> Option<(Command, Job)> {
        if self.facts.current.as_deref() == Some(storage) {
            return None;
        }
        let command = Command::new(format!("AT+CPMS=\"{storage}\"")).ok_may_lack(Duration::from_secs(3));
        Some((command, Job::Switch(storage.to_string())))
    }

    pub(super) fn switched(&mut self, storage: String, answer: &Answer) {
        if answer.is_ok() {
            let counted = storage::storages(&answer.lines).and_then(|storages| storages.into_iter().next());
            self.inbox.filled = counted.map(|storage| (storage.used, storage.total));
            self.facts.current = Some(storage);
            return;
        }
        log::debug!(
            "backend {}: the storage {storage} cannot be chosen: {:?}",
            self.rules.backend,
            answer.outcome
        );
        let busy = matches!(&answer.outcome, Outcome::Error(error) if error.is_busy());
        self.facts.current = None;
        self.inbox.announced.retain(|slot| slot.storage != storage);
        self.inbox.deletable.retain(|slot| slot.storage != storage);
        self.inbox.unlisted.retain(|unlisted| *unlisted != storage);
        if busy || answer.outcome == Outcome::TimedOut {
            self.trouble();
        }
    }

    pub(super) fn listed(&mut self, storage: &str, answer: &Answer) {
        let found = storage::listed(&answer.lines);
        let filled = self.inbox.filled.take();
        let silent = found.is_empty() && filled.is_some_and(|(used, _)| used > 0);
        for Stored { index, pdu, status, .. } in found.iter().cloned() {
            let Some(index) = index else { continue };
            let stored = Stored { index: Some(index), status, length: None, pdu };
            let slot = Slot { storage: storage.to_string(), index };
            if stored.is_ours() && self.owns_what_was_written() {
                self.no_more_needed(slot, stored.pdu);
            } else if !stored.is_ours() && !stored.is_empty() {
                let known = self.inbox.stored.contains_key(&slot) || self.inbox.announced.contains(&slot);
                if self.inbox.looked && !self.inbox.troubled && !self.inbox.left && !known {
                    self.inbox.announces = Some(false);
                }
                self.inbox.listed.push_back((slot, stored.pdu));
            }
        }
        if answer.is_ok() && !silent {
            return;
        }
        if answer.outcome == Outcome::TimedOut {
            self.inbox.lists_badly = true;
        }
        let busy = matches!(&answer.outcome, Outcome::Error(error) if error.is_busy());
        if busy {
            return self.trouble();
        }
        self.inbox.filled = filled;
        self.read_one_by_one(storage);
    }

    /// For modems whose list is empty, refused or never ends.
    fn read_one_by_one(&mut self, storage: &str) {
        let Some((used, total)) = self.inbox.filled.take() else { return };
        if used == 0 {
            return;
        }
        log::debug!("backend {}: the slots of {storage} are read one by one", self.rules.backend);
        for index in 0..=total.min(SLOTS) {
            let slot = Slot { storage: storage.to_string(), index };
            if !self.inbox.announced.contains(&slot) {
                self.inbox.announced.push_back(slot);
            }
        }
    }

    pub(super) fn read_answer(&mut self, slot: Slot, answer: &Answer) {
        match storage::read(&answer.lines) {
            Some(stored) if stored.is_ours() => {}
            Some(stored) => self.found(slot, stored.pdu),
            None => match &answer.outcome {
                // An empty slot, however the modem says so: announced twice, or deleted by itself.
                Outcome::Ok | Outcome::Assumed => {}
                Outcome::Error(ModemError::Cms(321) | ModemError::Cme(21 | 22) | ModemError::Plain) => {}
                _ => {
                    log::warn!(
                        "backend {}: slot {} of {} cannot be read now ({}): the storages will be looked through",
                        self.rules.backend,
                        slot.index,
                        slot.storage,
                        said(answer)
                    );
                    self.trouble();
                }
            },
        }
    }

    fn found(&mut self, slot: Slot, digits: String) {
        if self.inbox.stored.get(&slot) == Some(&digits) {
            self.inbox.deletable.push_back(slot);
            return;
        }
        self.inbox.stored.remove(&slot);
        self.arrived(&digits, Source::Slot(slot, digits.clone()));
    }

    pub(super) fn arrived(&mut self, digits: &str, source: Source) {
        match incoming::arrival(&self.rules, self.facts.imsi.as_deref(), digits) {
            Arrival::Message(mut incoming, forbids_answers) => {
                self.asides.judge(&mut incoming, self.now);
                let source = if forbids_answers { Source::NoAnswer(Box::new(source)) } else { source };
                self.effects.push_back(Effect::Deliver(incoming, source));
            }
            Arrival::Report(report) => {
                let early = matches!(&report.about, About::Remote(name) if self.outbox.expects_receipt(name));
                if !early {
                    self.effects.push_back(Effect::Report(report, source));
                } else if let Source::Slot(..) = source {
                    // It stays where it is until the message's receipt was told; then the storages are looked through.
                    self.inbox.left = true;
                } else {
                    self.outbox.hold(report);
                    self.receipt(source);
                }
            }
        }
    }

    /// The router has said what became of a message: it is on disk, or it was refused.
    pub fn delivered(&mut self, source: Source, result: Result<MessageId, Refused>, now: Duration) {
        let source = match source {
            Source::NoAnswer(source) => {
                if let Ok(id) = &result {
                    self.outbox.answer_not(*id);
                }
                *source
            }
            source => source,
        };
        self.settled(source, result.map(|_| ()), now);
    }

    /// The same for a report.
    pub fn reported(&mut self, source: Source, result: Result<(), Refused>, now: Duration) {
        self.settled(source, result, now);
    }

    fn settled(&mut self, source: Source, result: Result<(), Refused>, now: Duration) {
        self.now = now;
        match result {
            Ok(()) => self.receipt(source),
            Err(refused) if refused.is_temporary() => {
                // Not deleted, not acknowledged: it is still there, or the network sends it again.
                log::warn!("backend {}: a message stays in the modem for now: {refused}", self.rules.backend);
                self.trouble();
            }
            Err(refused) => {
                log::error!(
                    "backend {}: the router never takes this message, so it is left in the modem{}: {refused}",
                    self.rules.backend,
                    match &source {
                        Source::Slot(slot, _) => format!(", in slot {} of {}", slot.index, slot.storage),
                        _ => String::new(),
                    }
                );
            }
        }
        self.go_on();
    }

    fn receipt(&mut self, source: Source) {
        match source {
            Source::Slot(slot, digits) => self.no_more_needed(slot, digits),
            Source::Direct if self.facts.acknowledges => {
                self.inbox.acknowledgements = self.inbox.acknowledgements.saturating_add(1);
            }
            Source::Direct | Source::Elsewhere | Source::NoAnswer(_) => {}
        }
    }

    /// The slot may be emptied.
    pub(super) fn no_more_needed(&mut self, slot: Slot, digits: String) {
        if self.inbox.stored.len() < UNDELETED {
            self.inbox.stored.insert(slot.clone(), digits);
            self.inbox.deletable.push_back(slot);
        }
    }

    pub(super) fn deleted(&mut self, slot: &Slot, answer: &Answer) {
        if answer.is_ok() {
            self.inbox.stored.remove(slot);
            return;
        }
        log::warn!(
            "backend {}: slot {} of {} could not be deleted ({}): its message is in the router's store; the next look through the storages tries again",
            self.rules.backend,
            slot.index,
            slot.storage,
            said(answer)
        );
    }

    pub(super) fn acknowledged(&mut self, answer: &Answer) {
        if answer.is_ok() {
            self.inbox.acknowledged = true;
            return;
        }
        log::debug!("backend {}: {}: {:?}", self.rules.backend, answer.command, answer.outcome);
        let unknown = matches!(&answer.outcome, Outcome::Error(error) if has_no_such_command(error));
        if unknown && !self.inbox.acknowledged {
            self.inbox.acknowledges_by_number = !self.inbox.acknowledges_by_number;
            if self.inbox.acknowledges_by_number {
                self.inbox.acknowledgements = self.inbox.acknowledgements.saturating_add(1);
                return;
            }
        }
        // Late (CMS 340) or not understood: the modem may have switched the routing off (27.005 3.4.4), and the network repeats.
        self.verify();
    }
}
