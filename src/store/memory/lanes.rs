//! How the messages of a store in memory move through their lanes, and what is counted on the way.
//!
//! The invariant of a lane: its head is the only one of its messages that has a time or is claimed. Whatever ends, holds, releases or
//! puts back a message restores it.

use super::Memory;
use super::reader::Counts;
use super::slab::{Address, Agenda, CLAIMED, INBOUND, Lane, Line, Message, NOT_DUE, Place, READY};
use crate::message::{Connection, Direction, Name, State};
use crate::store::{Tried, Unfinished, backend_actor, is_ended};
use crate::time::Timestamp;
use foldhash::{HashMap, HashMapExt as _};
use std::sync::Arc;

/// So many distinct actors share their names; more than that are not names but noise.
const ACTOR_LIMIT: usize = 1_000;

impl Memory {
    /// The number of a connection, new on first sight.
    pub(super) fn address(&mut self, connection: &Connection) -> u32 {
        let backend = self.backend(&connection.backend);
        if let Some(&address) = self.backends[backend as usize].connections.get(&connection.identity) {
            return address;
        }
        let new = Address {
            connection: connection.clone(),
            backend,
            contact: None,
            messages: 0,
            lanes: Default::default(),
        };
        let number = match self.unused_addresses.pop() {
            Some(number) => {
                self.addresses[number as usize] = new;
                number
            }
            None => {
                self.addresses.push(new);
                u32::try_from(self.addresses.len() - 1).unwrap_or(u32::MAX)
            }
        };
        self.backends[backend as usize].connections.insert(connection.identity.clone(), number);
        number
    }

    pub(super) fn contact_number(&self, connection: &Connection) -> Option<i64> {
        let backend = *self.backend_numbers.get(&connection.backend)?;
        let address = *self.backends[backend as usize].connections.get(&connection.identity)?;
        self.addresses[address as usize].contact
    }

    /// The number of a backend or a queue, new on first sight.
    pub(super) fn backend(&mut self, name: &str) -> u32 {
        if let Some(&known) = self.backend_numbers.get(name) {
            return known;
        }
        let name = Name::from(name);
        let number = u32::try_from(self.backends.len()).unwrap_or(u32::MAX);
        self.backend_numbers.insert(name.clone(), number);
        self.backends.push(Line {
            actor: backend_actor(&name).into(),
            name,
            connections: HashMap::new(),
            ready: [Agenda::new(), Agenda::new()],
            due: [Agenda::new(), Agenda::new(), Agenda::new()],
            counts: Counts::default(),
        });
        number
    }

    pub(super) fn actor(&mut self, actor: &str) -> Arc<str> {
        if *self.last_actor != *actor {
            self.last_actor = match self.actors.get_key_value(actor) {
                Some((known, ())) => known.clone(),
                None => {
                    if self.actors.len() >= ACTOR_LIMIT {
                        self.actors.clear();
                    }
                    let new: Arc<str> = actor.into();
                    self.actors.insert(new.clone(), ());
                    new
                }
            };
        }
        self.last_actor.clone()
    }

    pub(super) fn insert(&mut self, mut message: Message, actor: Arc<str>) -> Place {
        message.step(message.created_at, 0, actor, message.reason.clone());
        let (state, address, class) = (message.state, message.address as usize, message.class);
        let own_time = message.rare.as_ref().and_then(|rare| rare.not_before);
        let at = message.created_at;
        self.newest = Some(message.id());
        self.addresses[address].messages += 1;
        self.count(message.address, message.direction(), None, Some(state));
        let place = self.slab.insert(message);
        // Notes that it changed.
        let _ = self.change(place);
        if state.is_open() {
            if let Some(time) = own_time {
                self.set_due(place, time.0);
            } else {
                let lane = &mut self.addresses[address].lanes[usize::from(class)];
                lane.places.push_back(place);
                if lane.head.is_none() {
                    lane.head = Some(place);
                    self.set_due(place, at.0);
                }
            }
        } else if is_ended(state) {
            self.end(place);
        }
        place
    }

    /// A message for changing, which the next commit will show to readers.
    pub(super) fn change(&mut self, place: Place) -> Option<&mut Message> {
        self.changed = true;
        let message = self.slab.get_mut(place)?;
        if self.watched.get() && message.touched != self.transaction {
            message.touched = self.transaction;
            self.touched.push(place);
        }
        Some(message)
    }

    /// Changes the state of a message, counts it and writes its history. The entry carries the attempt after
    /// a claim and before an attempt is taken back, which is the one it tells of.
    pub(super) fn become_state(
        &mut self,
        place: Place,
        state: State,
        actor: Arc<str>,
        reason: Option<Arc<str>>,
        now: Timestamp,
        more: impl FnOnce(&mut Message),
    ) {
        let Some(message) = self.change(place) else { return };
        let from = std::mem::replace(&mut message.state, state);
        let tried = message.attempts;
        more(message);
        message.updated_at = now;
        message.reason = reason.clone();
        message.step(now, message.attempts.max(tried), actor, reason);
        let (address, direction) = (message.address, message.direction());
        self.count(address, direction, Some(from), Some(state));
    }

    pub(super) fn count(
        &mut self,
        address: u32,
        direction: Direction,
        from: Option<State>,
        to: Option<State>,
    ) {
        let backend = self.addresses[address as usize].backend as usize;
        let counts = &mut self.backends[backend].counts[direction as usize];
        let waiting = &mut self.waiting[direction as usize];
        if let Some(from) = from {
            counts[from as usize] -= 1;
            *waiting -= u64::from(from.is_open());
        }
        if let Some(to) = to {
            counts[to as usize] += 1;
            *waiting += u64::from(to.is_open());
        }
    }

    /// Claims up to `count` messages of one backend that no app has seen, oldest first.
    pub(super) fn claim_from(&mut self, line: u32, count: usize) -> Vec<Unfinished> {
        let mut claimed = Vec::new();
        while claimed.len() < count {
            let Some((_, place)) = self.first_ready(line, Tried::Never) else { break };
            self.backends[line as usize].ready[0].heap.pop();
            claimed.extend(self.claim(place, false));
        }
        claimed
    }

    /// Claims up to `limit` messages that were tried before, the least tried of all these backends first, each within its bound.
    pub(super) fn claim_least_tried(&mut self, lines: &mut [(u32, usize)], limit: usize) -> Vec<Unfinished> {
        let mut claimed = Vec::new();
        while claimed.len() < limit {
            let with_room = (0..).zip(&*lines).filter(|(_, (_, room))| *room > 0);
            let firsts = with_room.filter_map(|(index, &(line, _))| {
                self.first_ready(line, Tried::Before).map(|first| (first, index))
            });
            let Some(((_, place), index)) = firsts.collect::<Vec<(_, usize)>>().into_iter().min() else {
                break;
            };
            let (line, room) = &mut lines[index];
            *room -= 1;
            self.backends[*line as usize].ready[1].heap.pop();
            claimed.extend(self.claim(place, true));
        }
        claimed
    }

    fn first_ready(&mut self, line: u32, tried: Tried) -> Option<(i64, Place)> {
        let before = tried == Tried::Before;
        let slab = &self.slab;
        self.backends[line as usize].ready[usize::from(before)].peek(&|turn, place| {
            let claimable =
                |message: &Message| message.due == READY && message.tried == before && message.turn() == turn;
            slab.get(place).is_some_and(claimable)
        })
    }

    fn claim(&mut self, place: Place, redelivered: bool) -> Option<Unfinished> {
        let message = self.change(place)?;
        message.due = CLAIMED;
        message.attempts += 1;
        message.redelivered |= redelivered;
        let message = self.slab.get(place)?;
        let address = &self.addresses[message.address as usize];
        Some(Unfinished {
            id: message.id(),
            connection: address.connection.clone(),
            text: message.text.to_string(),
            received_at: message.created_at,
            source_time: message.rare.as_ref().and_then(|rare| rare.source_time),
            attempt: message.attempts,
            redelivered: message.redelivered,
            partial: message.partial,
            origin: message.origin,
            contact: address.contact.and_then(|contact| self.contacts.get(&contact)).cloned(),
        })
    }

    /// Lets a message be claimed from `due` on.
    pub(super) fn set_due(&mut self, place: Place, due: i64) {
        let count = self.slab.len();
        let Some(message) = self.slab.get_mut(place) else { return };
        let line = &mut self.backends[message.queue as usize];
        if message.class == INBOUND {
            message.due = READY;
            line.ready[usize::from(message.tried)].push(message.turn(), place, count);
        } else {
            // The largest number means claimed, so no time may be it.
            message.due = due.clamp(NOT_DUE + 1, CLAIMED - 1);
            line.due[usize::from(message.class) - 1].push(message.due, place, count);
        }
    }

    pub(super) fn clear_due(&mut self, place: Place) {
        if let Some(message) = self.slab.get_mut(place) {
            message.due = NOT_DUE;
        }
    }

    pub(super) fn lane(&mut self, place: Place) -> Option<&mut Lane> {
        let message = self.slab.get(place)?;
        Some(&mut self.addresses[message.address as usize].lanes[usize::from(message.class)])
    }

    /// The first of the lane of a message becomes its head.
    pub(super) fn promote(&mut self, place: Place, now: Timestamp) {
        let Some(lane) = self.lane(place) else { return };
        lane.head = lane.places.front().copied();
        if let Some(head) = lane.head {
            let retry_at = self.slab.get(head).and_then(Message::retry_at);
            self.set_due(head, now.max(retry_at.unwrap_or(now)).0);
        }
    }

    /// Takes a message that ended or is held out of its lane; the lane moves up.
    pub(super) fn leave(&mut self, place: Place, now: Timestamp) {
        self.clear_due(place);
        let Some(lane) = self.lane(place) else { return };
        let Ok(index) = lane.places.binary_search(&place) else { return };
        lane.places.remove(index);
        if lane.head == Some(place) {
            self.promote(place, now);
        }
    }

    /// A claimed message goes back to where it was, to be tried again later.
    pub(super) fn stay(&mut self, place: Place, now: Timestamp) {
        let retry_at = self.slab.get(place).and_then(Message::retry_at).unwrap_or(now);
        let Some(lane) = self.lane(place) else { return };
        if lane.head == Some(place) && lane.places.front() != Some(&place) {
            // An earlier message came back while this one was claimed.
            self.clear_due(place);
            self.promote(place, now);
        } else {
            self.set_due(place, retry_at.0);
        }
    }

    /// A held message is released into its place, which may be before the present head.
    pub(super) fn enter_again(&mut self, place: Place, now: Timestamp) {
        let Some(message) = self.slab.get(place) else { return };
        let retry_at = message.retry_at().unwrap_or(now);
        if let Some(own_time) = message.rare.as_ref().and_then(|rare| rare.not_before) {
            return self.set_due(place, own_time.max(retry_at).0);
        }
        let Some(lane) = self.lane(place) else { return };
        let index = lane.places.binary_search(&place).unwrap_or_else(|index| index);
        lane.places.insert(index, place);
        if let Some(head) = lane.head {
            if head < place || self.slab.get(head).is_some_and(|message| message.due == CLAIMED) {
                return;
            }
            self.clear_due(head);
        }
        if let Some(lane) = self.lane(place) {
            lane.head = Some(place);
        }
        self.set_due(place, retry_at.0);
    }

    /// Counts a message that ended, and forgets the oldest of those when there are too many.
    pub(super) fn end(&mut self, place: Place) {
        let Some(limit) = self.keep else { return };
        self.ended.push_back(place);
        while self.ended.len() > limit {
            let Some(oldest) = self.ended.pop_front() else { return };
            self.remove(oldest);
        }
    }

    pub(super) fn remove(&mut self, place: Place) {
        let Some(message) = self.change(place) else { return };
        let (number, direction, state) = (message.address, message.direction(), message.state);
        let (id, called) = (message.id(), message.called);
        if message.rare.as_ref().is_some_and(|rare| rare.remote_id.is_some()) {
            self.carriers.forget(id);
        }
        if called {
            self.calls.want_no_more(id);
        }
        self.count(number, direction, Some(state), None);
        self.slab.free(place);
        let address = &mut self.addresses[number as usize];
        address.messages -= 1;
        if address.messages == 0 && address.contact.is_none() {
            self.backends[address.backend as usize].connections.remove(&address.connection.identity);
            self.unused_addresses.push(number);
        }
    }
}
