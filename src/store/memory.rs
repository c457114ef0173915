//! A store in memory, for tests, scripts and routers that need no disk. It keeps the whole contract of
//! [`Store`] but one sentence: what is in it ends with the process.
//!
//! The writer owns the records; a commit hands the changed ones to the readers under a lock of their own, so a
//! reader sees what is committed and the writer never waits for a page being read for longer than that page takes.
//! A commit cannot fail, hence nothing is ever undone and no undo log is kept.

use super::*;
use crate::message::Outgoing;
use rustc_hash::FxHashMap;
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// The store in memory.
#[derive(Debug)]
pub struct Memory {
    /// By [`MessageId::key`].
    slots: FxHashMap<i64, Slot>,
    newest: Option<MessageId>,
    backends: Vec<Line>,
    backend_numbers: HashMap<Name, usize>,
    addresses: Vec<Address>,
    unused_addresses: Vec<usize>,
    /// Received messages that may be claimed, by [`Tried`]. Entries may be stale: the slot decides.
    ready: [Agenda; 2],
    /// Ends of validity of outgoing messages. Entries may be stale: the record decides.
    validity: Agenda,
    remote: HashMap<Arc<str>, Vec<i64>>,
    keys: HashMap<Box<str>, HashMap<Box<str>, Remembered>>,
    contacts: BTreeMap<i64, Contact>,
    last_contact: i64,
    actors: FxHashMap<Box<str>, Arc<str>>,
    /// How many ended messages to keep, and those there are in the order of their ends.
    keep: Option<usize>,
    ended: VecDeque<i64>,
    ended_count: usize,
    waiting: [u64; 2],
    /// Keys of records that changed since the last commit.
    touched: Vec<i64>,
    changed: bool,
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
            slots: FxHashMap::default(),
            newest: None,
            backends: Vec::new(),
            backend_numbers: HashMap::new(),
            addresses: Vec::new(),
            unused_addresses: Vec::new(),
            ready: [Agenda::new(), Agenda::new()],
            validity: Agenda::new(),
            remote: HashMap::new(),
            keys: HashMap::new(),
            contacts: BTreeMap::new(),
            last_contact: 0,
            actors: FxHashMap::default(),
            keep: None,
            ended: VecDeque::new(),
            ended_count: 0,
            waiting: [0; 2],
            touched: Vec::new(),
            changed: false,
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

    fn accept(&mut self, row: &NewIncoming<'_>) -> Result<(), StoreError> {
        check_new(row.id, self.newest, Direction::In, row.state)?;
        let address = self.address(&row.incoming.connection);
        let actor = self.backends[self.addresses[address].backend].actor.clone();
        self.insert(
            address,
            Record {
                reason: row.reason.map(Arc::from),
                raw: row.incoming.raw.as_deref().map(Arc::from),
                source_time: row.incoming.source_time,
                about: row.duplicate_of,
                ..Record::new(row.id, &row.incoming.connection, &row.incoming.text, row.state, row.at)
            },
            row.origin,
            INBOUND,
            actor,
        );
        Ok(())
    }

    fn unfinished(
        &mut self,
        tried: Tried,
        limit: usize,
        _now: Timestamp,
    ) -> Result<Vec<Unfinished>, StoreError> {
        let before = tried == Tried::Before;
        let mut claimed = Vec::new();
        while claimed.len() < limit {
            let Some((_, key)) = self.ready[usize::from(before)].pop(&|_, key| {
                self.slots.get(&key).is_some_and(|slot| slot.due == READY && slot.tried == before)
            }) else {
                break;
            };
            let Some(slot) = self.slots.get_mut(&key) else { continue };
            slot.due = CLAIMED;
            let contact = self.addresses[slot.address].contact;
            let record = change(slot, &mut self.touched);
            record.attempts += 1;
            record.redelivered |= before;
            claimed.push(Unfinished {
                id: record.id,
                connection: record.connection.clone(),
                text: record.text.to_string(),
                received_at: record.created_at,
                source_time: record.source_time,
                attempt: record.attempts,
                redelivered: record.redelivered,
                origin: record.origin,
                contact: contact.and_then(|contact| self.contacts.get(&contact)).cloned(),
            });
            self.changed = true;
        }
        Ok(claimed)
    }

    fn finish(&mut self, id: MessageId, ending: &Ending, now: Timestamp) -> Result<bool, StoreError> {
        let Some(slot) = find(&self.slots, id) else { return Ok(false) };
        let from = slot.record.state;
        if from != State::Received || !from.may_become(ending.state) {
            return Ok(false);
        }
        let actor = self.actor(&ending.actor);
        let reason = ending.reason.as_deref().map(Arc::from);
        self.become_state(id, ending.state, actor, reason, now, |_| ());
        self.leave(id.key(), now);
        self.end(id.key());
        Ok(true)
    }

    fn put_back(&mut self, id: MessageId, _now: Timestamp) -> Result<(), StoreError> {
        let Some(slot) = find_mut(&mut self.slots, id) else { return Ok(()) };
        if slot.record.state != State::Received || slot.due != CLAIMED {
            return Ok(());
        }
        slot.tried = true;
        slot.due = READY;
        let record = change(slot, &mut self.touched);
        record.attempts = record.attempts.saturating_sub(1);
        self.ready[1].push(READY, id.key(), self.slots.len());
        self.changed = true;
        Ok(())
    }

    fn queue(&mut self, row: &NewOutgoing<'_>) -> Result<(), StoreError> {
        check_new(row.id, self.newest, Direction::Out, row.state)?;
        let address = self.address(row.connection);
        let actor = self.actor(row.actor);
        if !is_ended(row.state) {
            self.validity.push(row.expires_at.0, row.id.key(), self.slots.len());
        }
        self.insert(
            address,
            Record {
                reason: row.reason.map(Arc::from),
                about: row.in_response_to,
                not_before: row.not_before,
                expires_at: Some(row.expires_at),
                ..Record::new(row.id, row.connection, row.text, row.state, row.at)
            },
            row.origin,
            class_of(row.priority),
            actor,
        );
        Ok(())
    }

    fn take_due(&mut self, backend: &str, limit: usize, now: Timestamp) -> Result<Vec<Taken>, StoreError> {
        let Some(&number) = self.backend_numbers.get(backend) else { return Ok(Vec::new()) };
        let actor = self.backends[number].actor.clone();
        let mut taken = Vec::new();
        for class in 0..3 {
            while taken.len() < limit {
                let agenda = &mut self.backends[number].due[class];
                let Some((due, key)) = agenda.peek(&|due, key| is_due(&self.slots, due, key)) else { break };
                if due > now.0 {
                    break;
                }
                agenda.heap.pop();
                let Some(slot) = self.slots.get_mut(&key) else { continue };
                slot.due = CLAIMED;
                let id = slot.record.id;
                self.become_state(id, State::Sending, actor.clone(), None, now, |record| {
                    record.attempts += 1
                });
                if let Some(slot) = self.slots.get(&key) {
                    taken.push(slot.record.taken());
                }
            }
        }
        Ok(taken)
    }

    fn settle(&mut self, id: MessageId, settlement: &Settlement, now: Timestamp) -> Result<bool, StoreError> {
        let Some(slot) = find(&self.slots, id) else { return Ok(false) };
        if slot.record.class == INBOUND {
            return Ok(false);
        }
        let from = slot.record.state;
        if settlement.state == State::Sending || !from.may_become(settlement.state) {
            self.note(id, &settlement.actor, &late(settlement), now)?;
            return Ok(false);
        }
        let former = slot.record.remote_id.clone();
        let back = matches!(settlement.state, State::Queued | State::Uncertain);
        let actor = self.actor(&settlement.actor);
        let reason = settlement.reason.as_deref().map(Arc::from);
        let remote = settlement.remote_id.as_deref().map(Arc::<str>::from);
        if let Some(remote) = &remote {
            if former.as_ref() != Some(remote) {
                self.forget_remote(former.as_deref(), id.key());
            }
            let known = self.remote.entry(remote.clone()).or_default();
            if !known.contains(&id.key()) {
                known.push(id.key());
            }
        }
        self.become_state(id, settlement.state, actor, reason, now, |record| {
            record.uncertain += u32::from(settlement.state == State::Uncertain);
            record.attempts = record.attempts.saturating_sub(u32::from(settlement.uncounted));
            record.remote_id = remote.or_else(|| record.remote_id.take());
            record.parts = settlement.parts.or(record.parts);
            record.retry_at = if back { settlement.due } else { None };
        });
        if back {
            if from == State::Held {
                self.enter_again(id.key(), now);
            } else {
                self.stay(id.key(), now);
            }
        } else {
            self.leave(id.key(), now);
            if is_ended(settlement.state) && !is_ended(from) {
                self.end(id.key());
            }
        }
        Ok(true)
    }

    fn note(&mut self, id: MessageId, actor: &str, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        let actor = self.actor(actor);
        let Some(slot) = find_mut(&mut self.slots, id) else { return Ok(()) };
        let record = change(slot, &mut self.touched);
        record.step(now, actor, Some(Arc::from(reason)));
        self.changed = true;
        Ok(())
    }

    fn next_due(&mut self, backend: &str) -> Result<Option<Timestamp>, StoreError> {
        let Some(&number) = self.backend_numbers.get(backend) else { return Ok(None) };
        let slots = &self.slots;
        let first = self.backends[number]
            .due
            .iter_mut()
            .filter_map(|agenda| agenda.peek(&|due, key| is_due(slots, due, key)))
            .map(|(due, _)| due)
            .min();
        Ok(first.map(Timestamp))
    }

    fn overdue(&mut self, now: Timestamp, limit: usize) -> Result<Vec<MessageId>, StoreError> {
        let mut found = Vec::new();
        let mut kept = Vec::new();
        while found.len() < limit {
            let slots = &self.slots;
            let Some((until, key)) = self.validity.peek(&|until, key| is_valid_until(slots, until, key))
            else {
                break;
            };
            if until > now.0 {
                break;
            }
            self.validity.heap.pop();
            kept.push(Reverse((until, key)));
            if let Some(slot) = self.slots.get(&key)
                && slot.record.state != State::Sending
            {
                found.push(slot.record.id);
            }
        }
        // Finding is not settling: what the caller leaves as it is will be found again.
        self.validity.heap.extend(kept);
        found.dedup();
        Ok(found)
    }

    fn by_remote_id(&mut self, backend: &str, remote_id: &str) -> Result<Option<MessageId>, StoreError> {
        let Some(known) = self.remote.get(remote_id) else { return Ok(None) };
        let newest = known
            .iter()
            .filter_map(|key| self.slots.get(key))
            .filter(|slot| &*slot.record.connection.backend == backend)
            .filter(|slot| slot.record.remote_id.as_deref() == Some(remote_id))
            .map(|slot| slot.record.id)
            .max();
        Ok(newest)
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
        let known = self.known_address(connection).and_then(|address| self.addresses[address].contact);
        Ok(known.and_then(|contact| self.contacts.get(&contact)).cloned())
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
                self.addresses[address].contact = Some(id);
            }
            ContactChange::Language(language) => {
                let known =
                    self.known_address(connection).and_then(|address| self.addresses[address].contact);
                if let Some(contact) = known.and_then(|contact| self.contacts.get_mut(&contact)) {
                    contact.language = language.clone();
                }
            }
            ContactChange::Join(id) => {
                if self.contacts.contains_key(id) {
                    let address = self.address(connection);
                    self.addresses[address].contact = Some(*id);
                }
            }
        }
        Ok(())
    }

    fn recover(
        &mut self,
        in_hand: &dyn Fn(MessageId) -> bool,
        _now: Timestamp,
    ) -> Result<Vec<Taken>, StoreError> {
        let mut sending = Vec::new();
        let count = self.slots.len();
        for (key, slot) in &mut self.slots {
            if slot.due != CLAIMED || in_hand(slot.record.id) {
                continue;
            }
            if slot.record.class == INBOUND {
                slot.tried = true;
                slot.due = READY;
                self.ready[1].push(READY, *key, count);
            } else {
                sending.push(slot.record.taken());
            }
        }
        sending.sort_by_key(|taken| taken.outgoing.id);
        Ok(sending)
    }

    fn shift(&mut self, by: Duration) -> Result<(), StoreError> {
        self.validity.heap.clear();
        for line in &mut self.backends {
            line.due.iter_mut().for_each(|agenda| agenda.heap.clear());
        }
        let count = self.slots.len();
        for (&key, slot) in &mut self.slots {
            if slot.record.class == INBOUND || is_ended(slot.record.state) {
                continue;
            }
            if slot.due != NOT_DUE && slot.due != CLAIMED {
                slot.due = (Timestamp(slot.due) + by).0;
                let line = &mut self.backends[self.addresses[slot.address].backend];
                line.due[usize::from(slot.record.class) - 1].push(slot.due, key, count);
            }
            let record = change(slot, &mut self.touched);
            record.not_before = record.not_before.map(|at| at + by);
            record.retry_at = record.retry_at.map(|at| at + by);
            record.expires_at = record.expires_at.map(|at| at + by);
            if let Some(until) = record.expires_at {
                self.validity.push(until.0, key, count);
            }
            self.changed = true;
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
        let Some(before) = before else { return Ok(0) };
        let mut gone: Vec<i64> = self
            .slots
            .iter()
            .filter(|(_, slot)| is_ended(slot.record.state) && slot.record.updated_at < before)
            .map(|(&key, _)| key)
            .collect();
        gone.sort_unstable();
        gone.truncate(limit);
        for &key in &gone {
            self.remove(key);
        }
        let slots = &self.slots;
        self.ended.retain(|key| slots.contains_key(key));
        Ok(gone.len())
    }

    fn waiting(&self, direction: Direction) -> u64 {
        self.waiting[direction as usize]
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        if !std::mem::take(&mut self.changed) {
            return Ok(());
        }
        let mut committed = lock(&self.committed);
        let nobody_reads = Arc::strong_count(&self.committed) == 1;
        if nobody_reads {
            *committed = Committed { behind: true, ..Committed::default() };
        } else if std::mem::take(&mut committed.behind) {
            committed.records = self.records();
        }
        for key in self.touched.drain(..) {
            match self.slots.get_mut(&key) {
                Some(slot) => {
                    slot.touched = false;
                    if !nobody_reads {
                        committed.records.insert(key, slot.record.clone());
                    }
                }
                None => {
                    committed.records.remove(&key);
                }
            }
        }
        for (number, line) in self.backends.iter().enumerate() {
            match committed.counts.get_mut(number) {
                Some((_, counts)) => *counts = line.counts,
                None => committed.counts.push((line.name.clone(), line.counts)),
            }
        }
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        let mut committed = lock(&self.committed);
        // In the middle of a transaction the reader is given the records by its commit.
        if committed.behind && !self.changed {
            committed.records = self.records();
            committed.behind = false;
        }
        drop(committed);
        Ok(Box::new(MemoryReader { committed: self.committed.clone() }))
    }
}

impl Memory {
    fn records(&self) -> BTreeMap<i64, Arc<Record>> {
        self.slots.iter().map(|(key, slot)| (*key, slot.record.clone())).collect()
    }
}

/// Reads what a [`Memory`] has committed.
#[derive(Debug)]
struct MemoryReader {
    committed: Arc<Mutex<Committed>>,
}

impl Reader for MemoryReader {
    fn message(&mut self, id: MessageId) -> Result<Option<Detail>, StoreError> {
        let committed = lock(&self.committed);
        let record = committed.records.get(&id.key()).filter(|record| record.id == id);
        Ok(record.map(|record| Detail {
            row: record.row(),
            history: record.history.iter().map(Step::entry).collect(),
            raw: record.raw.as_deref().map(<[u8]>::to_vec),
        }))
    }

    fn messages(&mut self, query: &Query) -> Result<Page, StoreError> {
        let limit = query.limit.clamp(1, PAGE_LIMIT);
        let after = query.after.map(MessageId::key);
        let committed = lock(&self.committed);
        let wanted = |record: &&Arc<Record>| record.fits(query);
        let mut messages: Vec<Row> = if query.ascending {
            let from = after.map_or(i64::MIN, |key| key.saturating_add(1));
            let range = committed.records.range(from..);
            range
                .map(|(_, record)| record)
                .filter(wanted)
                .take(limit + 1)
                .map(|record| record.row())
                .collect()
        } else {
            let range = committed.records.range(..after.unwrap_or(i64::MAX)).rev();
            range
                .map(|(_, record)| record)
                .filter(wanted)
                .take(limit + 1)
                .map(|record| record.row())
                .collect()
        };
        let more = messages.len() > limit;
        messages.truncate(limit);
        let next = messages.last().filter(|_| more).map(|row| row.id);
        Ok(Page { messages, next })
    }

    fn tally(&mut self) -> Result<Vec<Count>, StoreError> {
        let committed = lock(&self.committed);
        let mut counted = Vec::new();
        for (name, counts) in &committed.counts {
            for direction in [Direction::In, Direction::Out] {
                for state in State::ALL {
                    let count = counts[direction as usize][state as usize];
                    if count > 0 {
                        counted.push(Count { backend: name.clone(), direction, state, count });
                    }
                }
            }
        }
        counted.sort();
        Ok(counted)
    }

    fn recount(&mut self) -> Result<Vec<Count>, StoreError> {
        let committed = lock(&self.committed);
        let mut counted: BTreeMap<(Name, Direction, State), u64> = BTreeMap::new();
        for record in committed.records.values() {
            *counted
                .entry((record.connection.backend.clone(), record.direction(), record.state))
                .or_default() += 1;
        }
        let counts = counted
            .into_iter()
            .map(|((backend, direction, state), count)| Count { backend, direction, state, count })
            .collect();
        Ok(counts)
    }

    fn oldest_waiting(&mut self, backend: &str) -> Result<Option<Timestamp>, StoreError> {
        let committed = lock(&self.committed);
        let oldest = committed
            .records
            .values()
            .find(|record| {
                record.class != INBOUND && record.state.is_open() && &*record.connection.backend == backend
            })
            .map(|record| record.created_at);
        Ok(oldest)
    }
}

/// The class of a received message; the classes of outgoing ones are 1 (reply), 2 (single) and 3 (bulk).
const INBOUND: u8 = 0;
/// [`Slot::due`] of a message that is not the first of its lane, is held or has ended.
const NOT_DUE: i64 = i64::MIN;
/// [`Slot::due`] of a message that was claimed.
const CLAIMED: i64 = i64::MAX;
/// [`Slot::due`] of a received message that may be claimed; received messages have no time of their own.
const READY: i64 = 0;
/// So many distinct actors are remembered; more than that are not names but noise.
const ACTOR_LIMIT: usize = 1_000;

type Counts = [[u64; State::ALL.len()]; 2];

/// What readers see.
#[derive(Debug, Default)]
struct Committed {
    /// While nobody reads, the records are not copied to here; the first reader gets them.
    behind: bool,
    records: BTreeMap<i64, Arc<Record>>,
    counts: Vec<(Name, Counts)>,
}

/// A record and its place in the queues, which readers do not see.
#[derive(Debug)]
struct Slot {
    record: Arc<Record>,
    address: usize,
    due: i64,
    tried: bool,
    touched: bool,
}

/// A message.
#[derive(Clone, Debug)]
struct Record {
    id: MessageId,
    connection: Connection,
    text: Arc<str>,
    raw: Option<Arc<[u8]>>,
    class: u8,
    origin: Origin,
    state: State,
    redelivered: bool,
    attempts: u32,
    uncertain: u32,
    parts: Option<u32>,
    reason: Option<Arc<str>>,
    remote_id: Option<Arc<str>>,
    about: Option<MessageId>,
    created_at: Timestamp,
    updated_at: Timestamp,
    source_time: Option<Timestamp>,
    not_before: Option<Timestamp>,
    /// A failed attempt wants no other before this time, also when the message loses its first place meanwhile.
    retry_at: Option<Timestamp>,
    expires_at: Option<Timestamp>,
    history: Vec<Step>,
}

/// An [`Entry`] whose texts are shared.
#[derive(Clone, Debug)]
struct Step {
    at: Timestamp,
    state: State,
    attempt: u32,
    actor: Arc<str>,
    reason: Option<Arc<str>>,
}

/// A backend.
#[derive(Debug)]
struct Line {
    name: Name,
    actor: Arc<str>,
    connections: HashMap<Arc<str>, usize>,
    /// Outgoing messages by class less one.
    due: [Agenda; 3],
    counts: Counts,
}

/// A connection.
#[derive(Debug)]
struct Address {
    backend: usize,
    identity: Arc<str>,
    contact: Option<i64>,
    messages: usize,
    lanes: [Lane; 4],
}

/// The open messages of one connection and class, by key.
#[derive(Debug, Default)]
struct Lane {
    keys: VecDeque<i64>,
    /// The one whose slot has a due time or is claimed: the first, unless an earlier one came back while it was claimed.
    head: Option<i64>,
}

/// Times and keys, earliest first. Entries are never taken out of the middle: whoever reads passes a test for those that
/// still hold, and the others are dropped on the way.
#[derive(Debug)]
struct Agenda {
    heap: BinaryHeap<Reverse<(i64, i64)>>,
    /// When to look for stale entries at the latest.
    bound: usize,
    stale: bool,
}

impl Agenda {
    fn new() -> Agenda {
        Agenda { heap: BinaryHeap::new(), bound: 1_024, stale: false }
    }

    /// `live` is an upper bound of the entries that hold: beyond twice as many it is worth throwing the others out.
    fn push(&mut self, at: i64, key: i64, live: usize) {
        self.heap.push(Reverse((at, key)));
        if self.heap.len() > self.bound {
            self.bound = 2 * live + 1_024;
            self.stale = self.heap.len() > self.bound;
        }
    }

    fn peek(&mut self, holds: &dyn Fn(i64, i64) -> bool) -> Option<(i64, i64)> {
        if std::mem::take(&mut self.stale) {
            self.heap.retain(|&Reverse((at, key))| holds(at, key));
            self.bound = 2 * self.heap.len() + 1_024;
        }
        while let Some(&Reverse((at, key))) = self.heap.peek() {
            if holds(at, key) {
                return Some((at, key));
            }
            self.heap.pop();
        }
        None
    }

    fn pop(&mut self, holds: &dyn Fn(i64, i64) -> bool) -> Option<(i64, i64)> {
        let first = self.peek(holds);
        self.heap.pop();
        first
    }
}

impl Record {
    fn new(id: MessageId, connection: &Connection, text: &str, state: State, at: Timestamp) -> Record {
        Record {
            id,
            connection: connection.clone(),
            text: Arc::from(text),
            raw: None,
            class: INBOUND,
            origin: Origin::Real,
            state,
            redelivered: false,
            attempts: 0,
            uncertain: 0,
            parts: None,
            reason: None,
            remote_id: None,
            about: None,
            created_at: at,
            updated_at: at,
            source_time: None,
            not_before: None,
            retry_at: None,
            expires_at: None,
            history: Vec::with_capacity(4),
        }
    }

    fn direction(&self) -> Direction {
        if self.class == INBOUND { Direction::In } else { Direction::Out }
    }

    fn step(&mut self, at: Timestamp, actor: Arc<str>, reason: Option<Arc<str>>) {
        self.history.push(Step { at, state: self.state, attempt: self.attempts, actor, reason });
    }

    fn taken(&self) -> Taken {
        Taken {
            outgoing: Outgoing {
                id: self.id,
                connection: self.connection.clone(),
                text: self.text.to_string(),
                in_response_to: self.about,
                attempt: self.attempts,
                expires_at: self.expires_at.unwrap_or_default(),
                origin: self.origin,
            },
            uncertain: self.uncertain,
        }
    }

    fn fits(&self, query: &Query) -> bool {
        query.backend.as_deref().is_none_or(|backend| *backend == *self.connection.backend)
            && query.identity.as_deref().is_none_or(|identity| *identity == *self.connection.identity)
            && query.direction.is_none_or(|direction| direction == self.direction())
            && query.state.is_none_or(|state| state == self.state)
    }

    fn row(&self) -> Row {
        let inbound = self.class == INBOUND;
        Row {
            id: self.id,
            direction: self.direction(),
            backend: self.connection.backend.clone(),
            identity: self.connection.identity.to_string(),
            text: self.text.to_string(),
            state: self.state,
            reason: self.reason.as_deref().map(str::to_owned),
            created_at: self.created_at,
            updated_at: self.updated_at,
            in_response_to: self.about.filter(|_| !inbound),
            duplicate_of: self.about.filter(|_| inbound),
            redelivered: self.redelivered,
            attempts: self.attempts,
            parts: self.parts,
            origin: self.origin,
            priority: priority_of(self.class),
            not_before: self.not_before,
            expires_at: self.expires_at,
            source_time: self.source_time,
            remote_id: self.remote_id.as_deref().map(str::to_owned),
        }
    }
}

impl Step {
    fn entry(&self) -> Entry {
        Entry {
            at: self.at,
            state: self.state,
            actor: self.actor.to_string(),
            attempt: self.attempt,
            reason: self.reason.as_deref().map(str::to_owned),
        }
    }
}

impl Memory {
    /// The number of a connection, new on first sight.
    fn address(&mut self, connection: &Connection) -> usize {
        let backend = match self.backend_numbers.get(&connection.backend) {
            Some(&backend) => backend,
            None => self.new_backend(&connection.backend),
        };
        if let Some(&address) = self.backends[backend].connections.get(&connection.identity) {
            return address;
        }
        let identity = connection.identity.clone();
        let new = Address {
            backend,
            identity: identity.clone(),
            contact: None,
            messages: 0,
            lanes: Default::default(),
        };
        let number = match self.unused_addresses.pop() {
            Some(number) => {
                self.addresses[number] = new;
                number
            }
            None => {
                self.addresses.push(new);
                self.addresses.len() - 1
            }
        };
        self.backends[backend].connections.insert(identity, number);
        number
    }

    fn known_address(&self, connection: &Connection) -> Option<usize> {
        let backend = *self.backend_numbers.get(&connection.backend)?;
        self.backends[backend].connections.get(&connection.identity).copied()
    }

    fn new_backend(&mut self, name: &Name) -> usize {
        let number = self.backends.len();
        self.backend_numbers.insert(name.clone(), number);
        self.backends.push(Line {
            name: name.clone(),
            actor: backend_actor(name).into(),
            connections: HashMap::new(),
            due: [Agenda::new(), Agenda::new(), Agenda::new()],
            counts: Counts::default(),
        });
        number
    }

    fn actor(&mut self, actor: &str) -> Arc<str> {
        if let Some(known) = self.actors.get(actor) {
            return known.clone();
        }
        if self.actors.len() >= ACTOR_LIMIT {
            self.actors.clear();
        }
        let new: Arc<str> = actor.into();
        self.actors.insert(actor.into(), new.clone());
        new
    }

    fn insert(&mut self, address: usize, record: Record, origin: Origin, class: u8, actor: Arc<str>) {
        let mut record = Record { origin, class, ..record };
        record.step(record.created_at, actor, record.reason.clone());
        let (id, state) = (record.id, record.state);
        let (own_time, at) = (record.not_before, record.created_at);
        self.newest = Some(id);
        self.addresses[address].messages += 1;
        self.count(address, record.direction(), None, Some(state));
        let slot = Slot { record: Arc::new(record), address, due: NOT_DUE, tried: false, touched: true };
        self.slots.insert(id.key(), slot);
        self.touched.push(id.key());
        self.changed = true;
        if state.is_open() {
            match own_time {
                Some(time) => self.set_due(id.key(), time.0),
                None => {
                    let lane = &mut self.addresses[address].lanes[usize::from(class)];
                    lane.keys.push_back(id.key());
                    if lane.head.is_none() {
                        lane.head = Some(id.key());
                        self.set_due(id.key(), at.0);
                    }
                }
            }
        } else if is_ended(state) {
            self.end(id.key());
        }
    }

    /// Changes the state of a known message, counts it and writes its history. The entry carries the attempt after
    /// a claim and before an attempt is taken back, which is the one it tells of.
    fn become_state(
        &mut self,
        id: MessageId,
        state: State,
        actor: Arc<str>,
        reason: Option<Arc<str>>,
        now: Timestamp,
        more: impl FnOnce(&mut Record),
    ) {
        let Some(slot) = self.slots.get_mut(&id.key()) else { return };
        let address = slot.address;
        let record = change(slot, &mut self.touched);
        let from = std::mem::replace(&mut record.state, state);
        let tried = record.attempts;
        more(record);
        record.updated_at = now;
        record.reason = reason.clone();
        record.history.push(Step { at: now, state, attempt: record.attempts.max(tried), actor, reason });
        let direction = record.direction();
        self.count(address, direction, Some(from), Some(state));
        self.changed = true;
    }

    fn count(&mut self, address: usize, direction: Direction, from: Option<State>, to: Option<State>) {
        let counts = &mut self.backends[self.addresses[address].backend].counts[direction as usize];
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

    /// Lets a message be claimed from `due` on.
    fn set_due(&mut self, key: i64, due: i64) {
        let count = self.slots.len();
        let Some(slot) = self.slots.get_mut(&key) else { return };
        if slot.record.class == INBOUND {
            slot.due = READY;
            self.ready[usize::from(slot.tried)].push(READY, key, count);
        } else {
            // The largest number means claimed, so no time may be it.
            slot.due = due.clamp(NOT_DUE + 1, CLAIMED - 1);
            let line = &mut self.backends[self.addresses[slot.address].backend];
            line.due[usize::from(slot.record.class) - 1].push(slot.due, key, count);
        }
    }

    fn lane(&mut self, key: i64) -> Option<&mut Lane> {
        let slot = self.slots.get(&key)?;
        Some(&mut self.addresses[slot.address].lanes[usize::from(slot.record.class)])
    }

    /// The first of the lane of `key` becomes its head.
    fn promote(&mut self, key: i64, now: Timestamp) {
        let Some(lane) = self.lane(key) else { return };
        lane.head = lane.keys.front().copied();
        if let Some(head) = lane.head {
            let retry_at = self.slots.get(&head).and_then(|slot| slot.record.retry_at);
            self.set_due(head, now.max(retry_at.unwrap_or(now)).0);
        }
    }

    /// Takes a message that ended or is held out of its lane; the lane moves up.
    fn leave(&mut self, key: i64, now: Timestamp) {
        if let Some(slot) = self.slots.get_mut(&key) {
            slot.due = NOT_DUE;
        }
        let Some(lane) = self.lane(key) else { return };
        let Ok(place) = lane.keys.binary_search(&key) else { return };
        lane.keys.remove(place);
        if lane.head == Some(key) {
            self.promote(key, now);
        }
    }

    /// A claimed message goes back to where it was, to be tried again later.
    fn stay(&mut self, key: i64, now: Timestamp) {
        let retry_at = self.slots.get(&key).and_then(|slot| slot.record.retry_at).unwrap_or(now);
        let Some(lane) = self.lane(key) else { return };
        if lane.head == Some(key) && lane.keys.front() != Some(&key) {
            // An earlier message came back while this one was claimed.
            if let Some(slot) = self.slots.get_mut(&key) {
                slot.due = NOT_DUE;
            }
            self.promote(key, now);
        } else {
            self.set_due(key, retry_at.0);
        }
    }

    /// A held message is released into its place, which may be before the present head.
    fn enter_again(&mut self, key: i64, now: Timestamp) {
        let Some(slot) = self.slots.get(&key) else { return };
        let retry_at = slot.record.retry_at.unwrap_or(now);
        if let Some(own_time) = slot.record.not_before {
            return self.set_due(key, own_time.max(retry_at).0);
        }
        let Some(lane) = self.lane(key) else { return };
        let place = lane.keys.binary_search(&key).unwrap_or_else(|place| place);
        lane.keys.insert(place, key);
        let head = lane.head;
        if head.is_some_and(|head| head < key) {
            return;
        }
        if let Some(slot) = head.and_then(|head| self.slots.get_mut(&head)) {
            if slot.due == CLAIMED {
                return;
            }
            slot.due = NOT_DUE;
        }
        if let Some(lane) = self.lane(key) {
            lane.head = Some(key);
        }
        self.set_due(key, retry_at.0);
    }

    /// Counts a message that ended, and forgets the oldest of those when there are too many.
    fn end(&mut self, key: i64) {
        let Some(limit) = self.keep else { return };
        self.ended.push_back(key);
        self.ended_count += 1;
        while self.ended_count > limit {
            let Some(oldest) = self.ended.pop_front() else { return };
            self.remove(oldest);
        }
    }

    fn forget_remote(&mut self, remote: Option<&str>, key: i64) {
        let Some(remote) = remote else { return };
        if let Some(known) = self.remote.get_mut(remote) {
            known.retain(|&other| other != key);
            if known.is_empty() {
                self.remote.remove(remote);
            }
        }
    }

    fn remove(&mut self, key: i64) {
        let Some(slot) = self.slots.remove(&key) else { return };
        if !slot.touched {
            self.touched.push(key);
        }
        self.changed = true;
        self.count(slot.address, slot.record.direction(), Some(slot.record.state), None);
        if self.keep.is_some() {
            self.ended_count -= 1;
        }
        self.forget_remote(slot.record.remote_id.as_deref(), key);
        let address = &mut self.addresses[slot.address];
        address.messages -= 1;
        if address.messages == 0 && address.contact.is_none() {
            self.backends[address.backend].connections.remove(&address.identity);
            self.unused_addresses.push(slot.address);
        }
    }
}

fn find(slots: &FxHashMap<i64, Slot>, id: MessageId) -> Option<&Slot> {
    slots.get(&id.key()).filter(|slot| slot.record.id == id)
}

fn find_mut(slots: &mut FxHashMap<i64, Slot>, id: MessageId) -> Option<&mut Slot> {
    slots.get_mut(&id.key()).filter(|slot| slot.record.id == id)
}

fn is_due(slots: &FxHashMap<i64, Slot>, due: i64, key: i64) -> bool {
    slots.get(&key).is_some_and(|slot| slot.due == due)
}

fn is_valid_until(slots: &FxHashMap<i64, Slot>, until: i64, key: i64) -> bool {
    slots
        .get(&key)
        .is_some_and(|slot| slot.record.expires_at == Some(Timestamp(until)) && !is_ended(slot.record.state))
}

/// The record of a slot for changing; readers keep the one that they have.
fn change<'a>(slot: &'a mut Slot, touched: &mut Vec<i64>) -> &'a mut Record {
    if !slot.touched {
        slot.touched = true;
        touched.push(slot.record.id.key());
    }
    Arc::make_mut(&mut slot.record)
}

/// A reader that panicked cannot have left anything half changed: it changes nothing.
fn lock(committed: &Mutex<Committed>) -> MutexGuard<'_, Committed> {
    committed.lock().unwrap_or_else(PoisonError::into_inner)
}
