//! A store in memory, for tests, scripts and routers that need no disk. It keeps the whole contract of
//! [`Store`] but one sentence: what is in it ends with the process.
//!
//! It is laid out for speed: messages lie in one slab whose places are used again in the order in which they became
//! free, so that a store that forgets its oldest messages walks through memory in one direction. Readers have their own copy, which commits
//! keep up to date as long as there is a reader. A commit cannot fail, hence nothing is ever undone and no undo log is kept.

mod calls;
mod carriers;
mod lanes;
mod pieces;
mod reader;
mod slab;
mod upkeep;

use super::turns::in_turns;
use super::*;
use crate::message::Name;
use calls::Calls;
use carriers::CarrierNames;
use foldhash::{HashMap, HashMapExt as _};
use pieces::Pieces;
use reader::{Committed, MemoryReader, lock};
use slab::{Address, Agenda, CLAIMED, INBOUND, Line, Message, Place, READY, Slab};
use std::cell::Cell;
use std::cmp::Reverse;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex};

/// The store in memory.
#[derive(Debug)]
pub struct Memory {
    slab: Slab,
    newest: Option<MessageId>,
    backends: Vec<Line>,
    backend_numbers: HashMap<Name, u32>,
    addresses: Vec<Address>,
    unused_addresses: Vec<u32>,
    /// The backend at which the last claim began.
    turn: Option<u32>,
    /// Ends of validity of outgoing messages. Entries may be stale: the slot decides.
    validity: Agenda,
    carriers: CarrierNames,
    calls: Calls,
    keys: HashMap<Box<str>, HashMap<Box<str>, Remembered>>,
    pieces: Pieces,
    /// When a count of what a backend sent began, and how much it is.
    spent: HashMap<(Name, Period), (Timestamp, u64)>,
    contacts: BTreeMap<i64, Contact>,
    last_contact: i64,
    shifts: u64,
    actors: HashMap<Arc<str>, ()>,
    last_actor: Arc<str>,
    /// How many ended messages to keep, and those there are in the order of their ends.
    keep: Option<usize>,
    ended: VecDeque<Place>,
    waiting: [u64; 2],
    /// What the apps see at the moment.
    running: Option<MessageId>,
    /// Messages that changed since the last commit, as long as anybody reads.
    touched: Vec<Place>,
    transaction: u32,
    changed: bool,
    /// Whether the copy for readers is kept up to date. A cell, because a reader begins through a shared reference.
    watched: Cell<bool>,
    committed: Arc<Mutex<Committed>>,
}

impl Default for Memory {
    fn default() -> Memory {
        Memory::new()
    }
}

impl Memory {
    /// An empty store that keeps everything until it is purged.
    pub fn new() -> Memory {
        Memory {
            slab: Slab::default(),
            newest: None,
            backends: Vec::new(),
            backend_numbers: HashMap::new(),
            addresses: Vec::new(),
            unused_addresses: Vec::new(),
            running: None,
            turn: None,
            validity: Agenda::new(),
            carriers: CarrierNames::default(),
            calls: Calls::default(),
            keys: HashMap::new(),
            pieces: Pieces::default(),
            spent: HashMap::new(),
            contacts: BTreeMap::new(),
            last_contact: 0,
            shifts: 0,
            actors: HashMap::new(),
            last_actor: Arc::from(""),
            keep: None,
            ended: VecDeque::new(),
            waiting: [0; 2],
            touched: Vec::new(),
            transaction: 1,
            changed: false,
            watched: Cell::new(false),
            committed: Arc::default(),
        }
    }

    /// An empty store that keeps at most `limit` ended messages and forgets the one that ended first. Open and held
    /// messages are always kept.
    pub fn keeping(limit: usize) -> Memory {
        Memory { keep: Some(limit), ..Memory::new() }
    }
}

impl Store for Memory {
    fn newest(&self) -> Option<MessageId> {
        self.newest
    }

    fn accept(&mut self, new: &NewIncoming<'_>) -> Result<(), StoreError> {
        check_new(new.id, self.newest, Direction::In, new.state)?;
        let address = self.address(&new.incoming.connection);
        let actor = self.backends[self.addresses[address as usize].backend as usize].actor.clone();
        let mut message = Message::new(new.id, &new.incoming.text, new.state, new.at);
        message.address = address;
        message.queue = self.addresses[address as usize].backend;
        message.taken_by = message.queue;
        message.origin = new.origin;
        message.about = new.duplicate_of;
        message.reason = new.reason.map(Arc::from);
        if new.incoming.raw.is_some() || new.incoming.source_time.is_some() {
            let rare = message.rare();
            rare.raw.clone_from(&new.incoming.raw);
            rare.source_time = new.incoming.source_time;
        }
        if let Some(joined) = new.joined {
            message.partial = joined.partial;
            message.rare().parts = Some(joined.parts);
        }
        self.insert(message, actor);
        Ok(())
    }

    fn unfinished(
        &mut self,
        tried: Tried,
        limit: usize,
        room: &dyn Fn(&str) -> usize,
        _now: Timestamp,
    ) -> Result<Vec<Unfinished>, StoreError> {
        let receiving = |line: &Line| line.counts[Direction::In as usize][State::Received as usize] > 0;
        let lines = (0..).zip(&self.backends).filter(|(_, line)| receiving(line));
        let mut lines: Vec<(u32, usize)> = lines.map(|(number, line)| (number, room(&line.name))).collect();
        if tried == Tried::Before {
            return Ok(self.claim_least_tried(&mut lines, limit));
        }
        let last = self.turn;
        let pull = |line, count| Ok(self.claim_from(line, count));
        let (mut claimed, began) = in_turns(&lines, last, limit, pull)?;
        self.turn = began.or(last);
        claimed.sort_unstable_by_key(|message: &Unfinished| message.id);
        Ok(claimed)
    }

    fn begin_set(&mut self, new: &NewSet<'_>) -> Result<i64, StoreError> {
        self.changed = true;
        Ok(self.pieces.begin(new))
    }

    fn keep_piece(&mut self, set: i64, piece: &Piece, now: Timestamp) -> Result<(), StoreError> {
        self.changed = true;
        self.pieces.keep(set, piece, now);
        Ok(())
    }

    fn sets(&mut self, connection: &Connection) -> Result<Vec<PieceSet>, StoreError> {
        Ok(self.pieces.sets(connection))
    }

    fn stalest_set(&mut self, backend: Option<&str>) -> Result<Option<PieceSet>, StoreError> {
        Ok(self.pieces.stalest(backend))
    }

    fn pieces(&mut self, set: i64) -> Result<Vec<Piece>, StoreError> {
        Ok(self.pieces.pieces(set))
    }

    fn end_set(&mut self, set: i64) -> Result<(), StoreError> {
        self.changed = true;
        self.pieces.end(set);
        Ok(())
    }

    fn pieces_of(&mut self, backend: &str) -> Result<u64, StoreError> {
        Ok(self.pieces.of(backend))
    }

    fn finish(&mut self, id: MessageId, ending: &Ending, now: Timestamp) -> Result<bool, StoreError> {
        let Some(place) = self.slab.find(id) else { return Ok(false) };
        let from = self.slab.state(place);
        if from != Some(State::Received) || !State::Received.may_become(ending.state) {
            return Ok(false);
        }
        let actor = self.actor(&ending.actor);
        let reason = ending.reason.as_deref().map(Arc::from);
        self.become_state(place, ending.state, actor, reason, now, |_| ());
        self.leave(place, now);
        self.end(place);
        Ok(true)
    }

    fn put_back(&mut self, id: MessageId, _now: Timestamp) -> Result<(), StoreError> {
        let Some(place) = self.slab.find(id) else { return Ok(()) };
        if let Some(message) = self.slab.get(place)
            && message.state == State::Received
            && message.due == CLAIMED
            && let Some(message) = self.change(place)
        {
            message.tried = true;
            message.attempts = message.attempts.saturating_sub(1);
            self.set_due(place, READY);
        }
        Ok(())
    }

    fn queue(&mut self, new: &NewOutgoing<'_>) -> Result<(), StoreError> {
        check_new(new.id, self.newest, Direction::Out, new.state)?;
        let actor = self.actor(new.actor);
        let mut message = Message::new(new.id, new.text, new.state, new.at);
        message.address = self.address(new.connection);
        message.taken_by = self.addresses[message.address as usize].backend;
        message.queue = new.queue.map_or(message.taken_by, |queue| self.backend(queue));
        message.class = class_of(new.priority);
        message.origin = new.origin;
        message.about = new.in_response_to;
        message.reason = new.reason.map(Arc::from);
        message.expires_at = new.expires_at;
        message.wishes = new.wishes;
        if new.not_before.is_some() {
            message.rare().not_before = new.not_before;
        }
        if let Some(callback) = new.callback {
            message.called = true;
            self.calls.want(new.id, callback.clone());
        }
        let place = self.insert(message, actor);
        if !is_ended(new.state) {
            self.validity.push(new.expires_at.0, place, self.slab.len());
        }
        Ok(())
    }

    fn take(&mut self, taking: &Taking<'_>, limit: usize, now: Timestamp) -> Result<Vec<Taken>, StoreError> {
        let Some(&queue) = self.backend_numbers.get(taking.queue) else { return Ok(Vec::new()) };
        let by = self.backend(taking.by);
        let actor = self.backends[by as usize].actor.clone();
        let mut taken = Vec::new();
        // Those that are left to others go back to where they were.
        let mut left = Vec::new();
        for class in 0..3 {
            while taken.len() < limit {
                let slab = &self.slab;
                let agenda = &mut self.backends[queue as usize].due[class];
                let first =
                    agenda.peek(&|due, place| slab.get(place).is_some_and(|message| message.due == due));
                let Some((due, place)) = first.filter(|&(due, _)| due <= now.0) else { break };
                agenda.heap.pop();
                if !taking.again && self.slab.get(place).is_some_and(|message| message.taken_by == by) {
                    left.push(Reverse((due, place)));
                    continue;
                }
                self.become_state(place, State::Sending, actor.clone(), None, now, |message| {
                    message.attempts += 1;
                    message.due = CLAIMED;
                    message.taken_by = by;
                });
                if let Some(message) = self.slab.get(place) {
                    taken.push(message.taken(&self.addresses, &self.backends));
                }
            }
            self.backends[queue as usize].due[class].heap.extend(left.drain(..));
        }
        Ok(taken)
    }

    fn queues(&mut self, backend: &str) -> Result<Vec<Name>, StoreError> {
        let is_its = |name: &&Name| name.strip_prefix(backend).is_some_and(|rest| rest.starts_with('/'));
        let mut queues: Vec<Name> = self.backend_numbers.keys().filter(is_its).cloned().collect();
        queues.sort();
        Ok(queues)
    }

    fn settle(&mut self, id: MessageId, settlement: &Settlement, now: Timestamp) -> Result<bool, StoreError> {
        let Some(place) = self.slab.find(id) else { return Ok(false) };
        let Some(message) = self.slab.get(place).filter(|message| message.class != INBOUND) else {
            return Ok(false);
        };
        let from = message.state;
        if settlement.state == State::Sending || !from.may_become(settlement.state) {
            self.note(id, &settlement.actor, &late(settlement), now)?;
            if let (State::Sent, Some(parts)) = (settlement.state, settlement.parts)
                && let Some(message) = self.slab.get_mut(place)
            {
                message.rare().parts.get_or_insert(parts);
            }
            return Ok(false);
        }
        let back = matches!(settlement.state, State::Queued | State::Uncertain);
        let remote = named_parts(&settlement.remote_ids).next().map(|(_, name)| Arc::<str>::from(name));
        let was_named = message.rare.as_ref().is_some_and(|rare| rare.remote_id.is_some());
        if is_final(settlement.state) {
            if was_named {
                self.carriers.forget(id);
            }
        } else if remote.is_some() {
            let backend = message.taken_by;
            self.carriers.give(id, backend, &settlement.remote_ids, now);
        }
        let actor = self.actor(&settlement.actor);
        let reason = settlement.reason.as_deref().map(Arc::from);
        self.become_state(place, settlement.state, actor, reason, now, |message| {
            message.uncertain += u32::from(settlement.state == State::Uncertain);
            message.attempts = message.attempts.saturating_sub(u32::from(settlement.uncounted));
            let retry_at = settlement.due.filter(|_| back);
            if message.rare.is_some() || remote.is_some() || settlement.parts.is_some() || retry_at.is_some()
            {
                let rare = message.rare();
                rare.remote_id = remote.or_else(|| rare.remote_id.take());
                rare.parts = settlement.parts.or(rare.parts);
                rare.retry_at = retry_at;
            }
        });
        if back && from == State::Held {
            self.enter_again(place, now);
        } else if back {
            self.stay(place, now);
        } else {
            self.leave(place, now);
            if is_ended(settlement.state) && !is_ended(from) {
                self.end(place);
            }
        }
        Ok(true)
    }

    fn note(&mut self, id: MessageId, actor: &str, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        let Some(place) = self.slab.find(id) else { return Ok(()) };
        let actor = self.actor(actor);
        if let Some(message) = self.change(place) {
            message.step(now, message.attempts, actor, Some(Arc::from(reason)));
        }
        Ok(())
    }

    fn next_due(&mut self, queue: &str) -> Result<Option<Timestamp>, StoreError> {
        let Some(&number) = self.backend_numbers.get(queue) else { return Ok(None) };
        let slab = &self.slab;
        let first = self.backends[number as usize]
            .due
            .iter_mut()
            .filter_map(|agenda| {
                agenda.peek(&|due, place| slab.get(place).is_some_and(|message| message.due == due))
            })
            .map(|(due, _)| due)
            .min();
        Ok(first.map(Timestamp))
    }

    fn overdue(&mut self, now: Timestamp, limit: usize) -> Result<Vec<MessageId>, StoreError> {
        let mut found = Vec::new();
        let mut kept = Vec::new();
        let slab = &self.slab;
        while found.len() < limit {
            let first = self.validity.peek(&|until, place| {
                slab.get(place)
                    .is_some_and(|message| message.expires_at.0 == until && !is_ended(message.state))
            });
            let Some((until, place)) = first.filter(|&(until, _)| until <= now.0) else { break };
            self.validity.heap.pop();
            kept.push(Reverse((until, place)));
            found.extend(slab.get(place).filter(|message| message.state != State::Sending).map(Message::id));
        }
        // Finding is not settling: what the caller leaves as it is will be found again.
        self.validity.heap.extend(kept);
        Ok(found)
    }

    fn named(&mut self, backend: &str, remote_id: &str) -> Result<Option<Named>, StoreError> {
        let Some(&backend) = self.backend_numbers.get(backend) else { return Ok(None) };
        Ok(self.carriers.find(backend, remote_id))
    }

    fn arrived(&mut self, id: MessageId, part: u32) -> Result<u32, StoreError> {
        self.changed = true;
        Ok(self.carriers.arrived(id, part))
    }

    fn backend_of(&mut self, id: MessageId) -> Result<Option<Name>, StoreError> {
        let message = self.slab.find(id).and_then(|place| self.slab.get(place));
        Ok(message.map(|message| self.backends[message.taken_by as usize].name.clone()))
    }

    fn raw(&mut self, id: MessageId) -> Result<Option<Vec<u8>>, StoreError> {
        let message = self.slab.find(id).and_then(|place| self.slab.get(place));
        Ok(message.and_then(|message| message.rare.as_ref()?.raw.clone()))
    }

    fn callback(&mut self, id: MessageId) -> Result<Option<Wanted>, StoreError> {
        let Some((callback, happened)) = self.calls.wanted(id) else { return Ok(None) };
        let message = self.slab.find(id).and_then(|place| self.slab.get(place));
        Ok(message.map(|message| Wanted {
            callback: callback.clone(),
            happened: *happened,
            identity: self.addresses[message.address as usize].connection.identity.to_string(),
            backend: self.backends[message.taken_by as usize].name.clone(),
            remote_id: message.rare.as_ref().and_then(|rare| rare.remote_id.as_deref()).map(str::to_owned),
        }))
    }

    fn tell(
        &mut self,
        id: MessageId,
        happened: u8,
        over: bool,
        call: Option<&NewCall<'_>>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.changed = true;
        self.calls.tell(id, happened, over, call, now);
        Ok(())
    }

    fn call_hosts(&mut self, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        Ok(self.calls.hosts(after, limit))
    }

    fn due_calls(&mut self, host: &str, limit: usize, now: Timestamp) -> Result<Vec<Call>, StoreError> {
        Ok(self.calls.due(host, limit, now))
    }

    fn next_call(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        Ok(self.calls.next(now))
    }

    fn oldest_calls(&mut self, limit: usize) -> Result<Vec<Call>, StoreError> {
        Ok(self.calls.oldest(limit))
    }

    fn put_off_call(&mut self, number: i64, attempts: u32, due: Timestamp) -> Result<(), StoreError> {
        self.changed = true;
        self.calls.put_off(number, attempts, due);
        Ok(())
    }

    fn end_call(&mut self, number: i64, now: Timestamp) -> Result<(), StoreError> {
        self.changed = true;
        self.calls.end(number, now);
        Ok(())
    }

    fn waiting_calls(&self) -> u64 {
        self.calls.len()
    }

    fn recall(&mut self, scope: &str, key: &str) -> Result<Option<Remembered>, StoreError> {
        Ok(self.keys.get(scope).and_then(|keys| keys.get(key)).cloned())
    }

    fn remember(&mut self, scope: &str, key: &str, what: &Remembered) -> Result<(), StoreError> {
        let keys = match self.keys.get_mut(scope) {
            Some(keys) => keys,
            None => self.keys.entry(scope.into()).or_default(),
        };
        keys.insert(key.into(), what.clone());
        Ok(())
    }

    fn contact(&mut self, connection: &Connection) -> Result<Option<Contact>, StoreError> {
        Ok(self.contact_number(connection).and_then(|contact| self.contacts.get(&contact)).cloned())
    }

    fn change_contact(
        &mut self,
        connection: &Connection,
        change: &ContactChange,
        _now: Timestamp,
    ) -> Result<(), StoreError> {
        match change {
            ContactChange::Register { name, language } => {
                self.last_contact += 1;
                let id = self.last_contact;
                self.contacts.insert(id, Contact { id, name: name.clone(), language: language.clone() });
                let address = self.address(connection);
                self.addresses[address as usize].contact = Some(id);
            }
            ContactChange::Language(language) => {
                let known = self.contact_number(connection);
                if let Some(contact) = known.and_then(|contact| self.contacts.get_mut(&contact)) {
                    contact.language = language.clone();
                }
            }
            ContactChange::Join(id) => {
                if self.contacts.contains_key(id) {
                    let address = self.address(connection);
                    self.addresses[address as usize].contact = Some(*id);
                }
            }
        }
        Ok(())
    }

    fn spend(
        &mut self,
        backend: &str,
        period: Period,
        since: Timestamp,
        parts: u32,
    ) -> Result<(), StoreError> {
        self.changed = true;
        let (began, count) = self.spent.entry((backend.into(), period)).or_insert((since, 0));
        if *began < since {
            (*began, *count) = (since, 0);
        }
        *count += u64::from(parts);
        Ok(())
    }

    fn spent(&mut self, backend: &str, period: Period, since: Timestamp) -> Result<u64, StoreError> {
        let known = self.spent.get(&(backend.into(), period)).filter(|(began, _)| *began >= since);
        Ok(known.map_or(0, |(_, count)| *count))
    }

    fn running(&mut self, id: Option<MessageId>) {
        self.running = id;
    }

    fn recover(
        &mut self,
        in_hand: &dyn Fn(MessageId) -> bool,
        _now: Timestamp,
    ) -> Result<Vec<Taken>, StoreError> {
        Ok(self.release(in_hand))
    }

    fn shifts(&self) -> u64 {
        self.shifts
    }

    fn shift(&mut self, number: u64, by: Duration) -> Result<(), StoreError> {
        if number > self.shifts {
            self.shifts = number;
            self.changed = true;
            self.move_along(by);
        }
        Ok(())
    }

    fn purge(
        &mut self,
        before: Option<Timestamp>,
        keys_before: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError> {
        self.keys.retain(|_, keys| {
            keys.retain(|_, remembered| remembered.at >= keys_before);
            !keys.is_empty()
        });
        Ok(before.map_or(0, |before| self.delete(before, limit)))
    }

    fn waiting(&self, direction: Direction) -> u64 {
        self.waiting[direction as usize]
    }

    fn waiting_of(&mut self, backend: &str, direction: Direction) -> Result<u64, StoreError> {
        let Some(&number) = self.backend_numbers.get(backend) else { return Ok(0) };
        let counts = &self.backends[number as usize].counts[direction as usize];
        Ok(State::ALL.into_iter().filter(|state| state.is_open()).map(|state| counts[state as usize]).sum())
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        self.transaction = self.transaction.wrapping_add(1);
        if !self.watched.get() {
            return Ok(());
        }
        if Arc::strong_count(&self.committed) == 1 {
            // The last reader is gone; the next one begins with a fresh copy.
            self.watched.set(false);
            self.touched.clear();
            lock(&self.committed).records.clear();
            return Ok(());
        }
        let mut committed = lock(&self.committed);
        for place in self.touched.drain(..) {
            match self.slab.get(place) {
                Some(message) => {
                    committed.records.insert(place.key, message.detail(&self.addresses));
                }
                None => {
                    committed.records.remove(&place.key);
                }
            }
        }
        committed.pieces = self.pieces.counts();
        committed.calls = self.calls.len();
        committed.counts.clear();
        committed.counts.extend(self.backends.iter().map(|line| (line.name.clone(), line.counts)));
        Ok(())
    }

    /// Begins with a copy of everything, so it takes its time; and between transactions only, because that copy is of what is there.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        if !self.watched.get() {
            if self.changed {
                return Err(StoreError::Locked(
                    "a store in memory can only give its first reader after a commit".into(),
                ));
            }
            let mut committed = lock(&self.committed);
            let messages = self.slab.places().into_iter().filter_map(|place| self.slab.get(place));
            committed.records =
                messages.map(|message| (message.key, message.detail(&self.addresses))).collect();
            committed.pieces = self.pieces.counts();
            committed.calls = self.calls.len();
            committed.counts = self.backends.iter().map(|line| (line.name.clone(), line.counts)).collect();
            self.watched.set(true);
        }
        Ok(Box::new(MemoryReader { committed: self.committed.clone() }))
    }
}
