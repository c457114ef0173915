//! What lies beyond the aerial: the service center with its queue, references and reports.

use super::sim::Origin;
use crate::pdu::{Address, Assembly, Submit, UserData};
use crate::time::Timestamp;
use std::collections::VecDeque;
use std::time::Duration;

/// So many messages wait for one modem at most.
pub(super) const QUEUE_LIMIT: usize = 100_000;
/// So many messages of several parts are put together at a time, for the person who watches.
const ASSEMBLIES: usize = 64;

/// A message on its way from one modem to a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Carried {
    /// The sender's number.
    pub from: String,
    /// The destination.
    pub to: String,
    /// What was submitted.
    pub submit: Submit,
}

/// What waits for the modem.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Item {
    pub origin: Origin,
    /// Without a service center.
    pub tpdu: Vec<u8>,
    pub kind: Kind,
    pub not_before: Timestamp,
    /// How often it was pushed to the modem.
    pub attempts: u32,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Message {
        class: Option<u8>,
        /// Acknowledged and shown to nobody (23.040 9.2.3.9).
        silent: bool,
    },
    Report,
}

/// What the network reports about messages.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Reporting {
    /// The statuses, in order: a temporary one may come before a final one.
    pub statuses: &'static [u8],
    pub after: Duration,
}

/// A message of several parts that is on its way out.
#[derive(Debug)]
struct Outgoing {
    to: Address,
    reference: u16,
    bits: u8,
    total: u8,
    parts: Assembly,
    references: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Network {
    /// `<stat>` of `+CREG`: 1 at home, 5 abroad, 0 and 2 not, 3 denied.
    pub registration: u8,
    pub signal: u8,
    pub queue: VecDeque<Item>,
    pub reporting: Reporting,
    pub service_center: String,
    next_reference: u8,
    next_id: u64,
    next_concat: u16,
    outgoing: VecDeque<Outgoing>,
}

impl Network {
    pub(super) fn new(service_center: &str, reporting: Reporting) -> Network {
        Network {
            registration: 1,
            signal: 17,
            queue: VecDeque::new(),
            reporting,
            service_center: service_center.to_string(),
            next_reference: 0,
            next_id: 0,
            next_concat: 0,
            outgoing: VecDeque::new(),
        }
    }

    pub(super) fn is_registered(&self) -> bool {
        matches!(self.registration, 1 | 5)
    }

    /// Eight bits that come around again.
    pub(super) fn reference(&mut self) -> u8 {
        let reference = self.next_reference;
        self.next_reference = reference.wrapping_add(1);
        reference
    }

    pub(super) fn set_reference(&mut self, next: u8) {
        self.next_reference = next;
    }

    pub(super) fn id(&mut self) -> u64 {
        self.next_id += 1;
        self.next_id
    }

    /// Back to the queue, which is in the order of arrival.
    pub(super) fn put_back(&mut self, item: Item) {
        let key = |item: &Item| (item.origin.id, item.origin.part);
        let place = self.queue.partition_point(|other| key(other) < key(&item));
        self.queue.insert(place, item);
    }

    /// What ties the parts of an injected message together.
    pub(super) fn concat(&mut self) -> u16 {
        self.next_concat = self.next_concat.wrapping_add(1);
        self.next_concat
    }

    /// The whole text and its references, once this part was the last that was missing.
    pub(super) fn complete(&mut self, submit: &Submit, reference: u8) -> Option<(String, Vec<u8>)> {
        let Some(concat) = submit.user_data.header.as_ref().and_then(|header| header.concat()) else {
            return Some((shown(&submit.user_data), vec![reference]));
        };
        let belongs = |outgoing: &Outgoing| {
            (&outgoing.to, outgoing.reference, outgoing.bits, outgoing.total)
                == (&submit.destination, concat.reference, concat.bits, concat.total)
        };
        let place = self.outgoing.iter().position(belongs).unwrap_or_else(|| {
            if self.outgoing.len() >= ASSEMBLIES {
                self.outgoing.pop_front();
            }
            self.outgoing.push_back(Outgoing {
                to: submit.destination.clone(),
                reference: concat.reference,
                bits: concat.bits,
                total: concat.total,
                parts: Assembly::new(concat.total),
                references: Vec::new(),
            });
            self.outgoing.len() - 1
        });
        let outgoing = &mut self.outgoing[place];
        outgoing.references.push(reference);
        outgoing.parts.add(concat.sequence, submit.user_data.clone());
        if outgoing.parts.missing().next().is_some() {
            return None;
        }
        let done = self.outgoing.remove(place)?;
        Some((done.parts.text().unwrap_or_else(|| crate::pdu::to_hex(&done.parts.data())), done.references))
    }
}

/// A text, or the digits of what is none.
pub(super) fn shown(user_data: &UserData) -> String {
    user_data.text().unwrap_or_else(|| crate::pdu::to_hex(user_data.payload.units()))
}
