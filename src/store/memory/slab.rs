//! How messages lie in memory: in one slab, found by their keys, each with its place in the queues.

use super::reader::Counts;
use crate::message::{Connection, Direction, MessageId, Name, Origin, Outgoing, State, Wishes};
use crate::store::{Detail, Entry, Row, Taken, priority_of};
use crate::time::Timestamp;
use foldhash::HashMap;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::sync::Arc;

/// The class of a received message; the classes of outgoing ones are 1 (reply), 2 (single) and 3 (bulk).
pub(super) const INBOUND: u8 = 0;
/// [`Message::due`] of a message that is not the first of its lane, is held or has ended.
pub(super) const NOT_DUE: i64 = i64::MIN;
/// [`Message::due`] of a message that was claimed.
pub(super) const CLAIMED: i64 = i64::MAX;
/// [`Message::due`] of a received message that may be claimed; received messages have no time of their own.
pub(super) const READY: i64 = 0;
/// Where a message lies. The place may have been given to another one since: [`Slab::get`] compares the keys.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct Place {
    pub(super) key: i64,
    pub(super) slot: u32,
}

/// All messages.
#[derive(Debug, Default)]
pub(super) struct Slab {
    pub(super) slots: Vec<Message>,
    /// Used again first in, first out.
    pub(super) free: VecDeque<u32>,
    /// Every message, by key, and some that are gone.
    pub(super) order: VecDeque<Place>,
}

/// A message. Kept small: a store of many messages is as fast as it is small.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) key: i64,
    pub(super) tail: i64,
    /// From when it may be claimed, or one of the constants.
    pub(super) due: i64,
    pub(super) created_at: Timestamp,
    pub(super) updated_at: Timestamp,
    /// Of no meaning for a received message.
    pub(super) expires_at: Timestamp,
    pub(super) about: Option<MessageId>,
    pub(super) text: Box<str>,
    pub(super) reason: Option<Arc<str>>,
    pub(super) rare: Option<Box<Rare>>,
    pub(super) address: u32,
    /// The number of the queue in which it stands: its backend, or one besides.
    pub(super) queue: u32,
    /// The backend that took it last; before that its own.
    pub(super) taken_by: u32,
    pub(super) attempts: u32,
    pub(super) uncertain: u32,
    /// The last transaction in which it was touched.
    pub(super) touched: u32,
    pub(super) class: u8,
    pub(super) state: State,
    pub(super) origin: Origin,
    pub(super) redelivered: bool,
    pub(super) tried: bool,
    pub(super) partial: bool,
    pub(super) wishes: Wishes,
    /// Somebody wants to be called about it, or wanted to.
    pub(super) called: bool,
    pub(super) live: bool,
    /// The first entries; most messages have no more. Later ones are in [`Rare::history`].
    pub(super) history: [Option<Step>; 3],
}

/// What few messages have.
#[derive(Debug, Default)]
pub(super) struct Rare {
    pub(super) raw: Option<Vec<u8>>,
    pub(super) source_time: Option<Timestamp>,
    pub(super) not_before: Option<Timestamp>,
    /// A failed attempt wants no other before this time, also when the message loses its first place meanwhile.
    pub(super) retry_at: Option<Timestamp>,
    pub(super) remote_id: Option<Arc<str>>,
    pub(super) parts: Option<u32>,
    pub(super) history: Vec<Step>,
}

/// An [`Entry`] whose texts are shared.
#[derive(Debug)]
pub(super) struct Step {
    pub(super) at: Timestamp,
    pub(super) actor: Arc<str>,
    pub(super) reason: Option<Arc<str>>,
    pub(super) attempt: u32,
    pub(super) state: State,
}

/// A backend, or a queue besides its own.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) name: Name,
    pub(super) actor: Arc<str>,
    pub(super) connections: HashMap<Arc<str>, u32>,
    /// Received messages that may be claimed, by [`Tried`](crate::store::Tried). Entries may be stale: the slot decides.
    pub(super) ready: [Agenda; 2],
    /// Outgoing messages by class less one.
    pub(super) due: [Agenda; 3],
    pub(super) counts: Counts,
}

/// A connection.
#[derive(Debug)]
pub(super) struct Address {
    pub(super) connection: Connection,
    pub(super) backend: u32,
    pub(super) contact: Option<i64>,
    pub(super) messages: usize,
    pub(super) lanes: [Lane; 4],
}

/// The open messages of one connection and class, by key.
#[derive(Debug, Default)]
pub(super) struct Lane {
    pub(super) places: VecDeque<Place>,
    /// The one that has a due time or is claimed: the first, unless an earlier one came back while it was claimed.
    pub(super) head: Option<Place>,
}

/// Times and places, earliest first. Entries are never taken out of the middle: whoever reads passes a test for those that
/// still hold, and the others are dropped on the way.
#[derive(Debug)]
pub(super) struct Agenda {
    pub(super) heap: BinaryHeap<Reverse<(i64, Place)>>,
    /// When to look for stale entries at the latest.
    pub(super) bound: usize,
    pub(super) stale: bool,
}

impl Agenda {
    pub(super) fn new() -> Agenda {
        Agenda { heap: BinaryHeap::new(), bound: 1_024, stale: false }
    }

    /// `live` is an upper bound of the entries that hold: beyond twice as many it is worth throwing the others out.
    pub(super) fn push(&mut self, at: i64, place: Place, live: usize) {
        self.heap.push(Reverse((at, place)));
        if self.heap.len() > self.bound {
            self.bound = 2 * live + 1_024;
            self.stale = self.heap.len() > self.bound;
        }
    }

    pub(super) fn peek(&mut self, holds: &dyn Fn(i64, Place) -> bool) -> Option<(i64, Place)> {
        if std::mem::take(&mut self.stale) {
            self.heap.retain(|&Reverse((at, place))| holds(at, place));
            self.bound = 2 * self.heap.len() + 1_024;
        }
        while let Some(&Reverse((at, place))) = self.heap.peek() {
            if holds(at, place) {
                return Some((at, place));
            }
            self.heap.pop();
        }
        None
    }
}

impl Slab {
    pub(super) fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }

    pub(super) fn get(&self, place: Place) -> Option<&Message> {
        self.slots.get(place.slot as usize).filter(|message| message.live && message.key == place.key)
    }

    pub(super) fn get_mut(&mut self, place: Place) -> Option<&mut Message> {
        self.slots.get_mut(place.slot as usize).filter(|message| message.live && message.key == place.key)
    }

    pub(super) fn state(&self, place: Place) -> Option<State> {
        self.get(place).map(|message| message.state)
    }

    /// Where the message `id` lies, if it is there. Most questions are about recent messages, so the search begins at the end.
    pub(super) fn find(&self, id: MessageId) -> Option<Place> {
        let key = id.key();
        let (mut low, mut high) = (self.order.len(), self.order.len());
        let mut stride = 1;
        while low > 0 && self.order.get(low - 1).is_some_and(|place| place.key >= key) {
            high = low;
            low = low.saturating_sub(stride);
            stride *= 2;
        }
        while low < high {
            let middle = low.midpoint(high);
            match self.order.get(middle) {
                Some(place) if place.key < key => low = middle + 1,
                _ => high = middle,
            }
        }
        let place = self.order.get(low).copied().filter(|place| place.key == key)?;
        self.get(place).filter(|message| message.tail == id.tail()).map(|_| place)
    }

    pub(super) fn insert(&mut self, message: Message) -> Place {
        let key = message.key;
        let slot = match self.free.pop_front() {
            Some(slot) => {
                self.slots[slot as usize] = message;
                slot
            }
            None => {
                self.slots.push(message);
                // Four thousand million messages do not fit into any memory.
                u32::try_from(self.slots.len() - 1).unwrap_or(u32::MAX)
            }
        };
        let place = Place { key, slot };
        self.order.push_back(place);
        place
    }

    pub(super) fn free(&mut self, place: Place) {
        if let Some(message) = self.get_mut(place) {
            message.live = false;
            message.text = Box::default();
            message.rare = None;
            message.history = [None, None, None];
            self.free.push_back(place.slot);
        }
        while self.order.front().is_some_and(|&first| self.get(first).is_none()) {
            self.order.pop_front();
        }
        if self.order.len() > 2 * self.len() + 1_024 {
            let slots = &self.slots;
            self.order.retain(|place| {
                slots.get(place.slot as usize).is_some_and(|message| message.live && message.key == place.key)
            });
        }
    }

    /// Every message, in the order of keys.
    pub(super) fn places(&self) -> Vec<Place> {
        self.order.iter().copied().filter(|&place| self.get(place).is_some()).collect()
    }
}

impl Message {
    pub(super) fn new(id: MessageId, text: &str, state: State, at: Timestamp) -> Message {
        Message {
            key: id.key(),
            tail: id.tail(),
            due: NOT_DUE,
            created_at: at,
            updated_at: at,
            expires_at: Timestamp::default(),
            about: None,
            text: text.into(),
            reason: None,
            rare: None,
            address: 0,
            queue: 0,
            taken_by: 0,
            attempts: 0,
            uncertain: 0,
            touched: 0,
            class: INBOUND,
            state,
            origin: Origin::Real,
            redelivered: false,
            tried: false,
            partial: false,
            wishes: Wishes::default(),
            called: false,
            live: true,
            history: [None, None, None],
        }
    }

    pub(super) fn id(&self) -> MessageId {
        MessageId::from_parts(self.key, self.tail)
    }

    pub(super) fn rare(&mut self) -> &mut Rare {
        self.rare.get_or_insert_default()
    }

    pub(super) fn direction(&self) -> Direction {
        if self.class == INBOUND { Direction::In } else { Direction::Out }
    }

    /// Of received messages that were tried before, the least tried come first.
    pub(super) fn turn(&self) -> i64 {
        if self.tried { i64::from(self.attempts) } else { 0 }
    }

    pub(super) fn retry_at(&self) -> Option<Timestamp> {
        self.rare.as_ref().and_then(|rare| rare.retry_at)
    }

    pub(super) fn step(&mut self, at: Timestamp, attempt: u32, actor: Arc<str>, reason: Option<Arc<str>>) {
        let step = Step { at, actor, reason, attempt, state: self.state };
        match self.history.iter_mut().find(|step| step.is_none()) {
            Some(free) => *free = Some(step),
            None => self.rare().history.push(step),
        }
    }

    pub(super) fn taken(&self, addresses: &[Address], backends: &[Line]) -> Taken {
        Taken {
            outgoing: Outgoing {
                id: self.id(),
                by: backends[self.taken_by as usize].name.clone(),
                connection: addresses[self.address as usize].connection.clone(),
                text: self.text.to_string(),
                in_response_to: self.about,
                answered: None,
                attempt: self.attempts,
                expires_at: self.expires_at,
                origin: self.origin,
                wishes: self.wishes,
            },
            uncertain: self.uncertain,
            called: self.called,
        }
    }

    pub(super) fn detail(&self, addresses: &[Address]) -> Detail {
        let connection = &addresses[self.address as usize].connection;
        let inbound = self.class == INBOUND;
        let rare = self.rare.as_deref();
        let row = Row {
            id: self.id(),
            direction: self.direction(),
            backend: connection.backend.clone(),
            identity: connection.identity.to_string(),
            text: self.text.to_string(),
            state: self.state,
            reason: self.reason.as_deref().map(str::to_owned),
            created_at: self.created_at,
            updated_at: self.updated_at,
            in_response_to: self.about.filter(|_| !inbound),
            duplicate_of: self.about.filter(|_| inbound),
            redelivered: self.redelivered,
            attempts: self.attempts,
            parts: rare.and_then(|rare| rare.parts),
            partial: self.partial,
            origin: self.origin,
            priority: priority_of(self.class),
            not_before: rare.and_then(|rare| rare.not_before),
            expires_at: Some(self.expires_at).filter(|_| !inbound),
            source_time: rare.and_then(|rare| rare.source_time),
            remote_id: rare.and_then(|rare| rare.remote_id.as_deref()).map(str::to_owned),
        };
        let later = rare.map_or(&[][..], |rare| &rare.history);
        let history = self.history.iter().flatten().chain(later).map(Step::entry).collect();
        Detail { row, history, raw: rare.and_then(|rare| rare.raw.clone()) }
    }
}

impl Step {
    pub(super) fn entry(&self) -> Entry {
        Entry {
            at: self.at,
            state: self.state,
            actor: self.actor.to_string(),
            attempt: self.attempt,
            reason: self.reason.as_deref().map(str::to_owned),
        }
    }
}
