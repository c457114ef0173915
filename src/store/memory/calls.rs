//! Calls that are owed to programs, in a store in memory.

use crate::message::{Callback, MessageId};
use crate::store::{Call, NewCall};
use crate::time::Timestamp;
use foldhash::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

/// Who wants to be called, and the calls that are owed.
#[derive(Debug, Default)]
pub(super) struct Calls {
    /// By message: the callback, and what has happened so far.
    wanted: HashMap<MessageId, (Callback, u8)>,
    calls: BTreeMap<i64, Waiting>,
    by_message: HashMap<MessageId, BTreeSet<i64>>,
    by_host: BTreeMap<String, BTreeSet<(Timestamp, i64)>>,
    /// Hosts that are owed calls, and how many.
    hosts: BTreeMap<String, u64>,
    last: i64,
}

#[derive(Debug)]
struct Waiting {
    call: Call,
    /// Only the first about a message has one.
    due: Option<Timestamp>,
}

impl Calls {
    pub(super) fn want(&mut self, id: MessageId, callback: Callback) {
        self.wanted.insert(id, (callback, 0));
    }

    pub(super) fn wanted(&self, id: MessageId) -> Option<&(Callback, u8)> {
        self.wanted.get(&id)
    }

    pub(super) fn want_no_more(&mut self, id: MessageId) {
        self.wanted.remove(&id);
    }

    pub(super) fn tell(
        &mut self,
        id: MessageId,
        happened: u8,
        over: bool,
        call: Option<&NewCall<'_>>,
        now: Timestamp,
    ) {
        if over {
            self.want_no_more(id);
        } else if let Some((_, before)) = self.wanted.get_mut(&id) {
            *before = happened;
        }
        let Some(new) = call else { return };
        self.last += 1;
        let number = self.last;
        let call = Call {
            number,
            message: id,
            host: new.host.to_string(),
            method: new.method.to_string(),
            url: new.url.to_string(),
            headers: new.headers.to_string(),
            body: new.body.map(<[u8]>::to_vec),
            attempts: 0,
            at: now,
        };
        *self.hosts.entry(call.host.clone()).or_default() += 1;
        self.by_message.entry(id).or_default().insert(number);
        self.calls.insert(number, Waiting { call, due: None });
        self.promote(id, now);
    }

    /// The first call about a message falls due, if none is.
    fn promote(&mut self, id: MessageId, now: Timestamp) {
        let first = self.by_message.get(&id).and_then(BTreeSet::first).copied();
        if let Some(number) = first
            && self.calls.get(&number).is_some_and(|waiting| waiting.due.is_none())
        {
            self.set_due(number, now);
        }
    }

    fn set_due(&mut self, number: i64, due: Timestamp) {
        self.clear_due(number);
        let Some(waiting) = self.calls.get_mut(&number) else { return };
        waiting.due = Some(due);
        self.by_host.entry(waiting.call.host.clone()).or_default().insert((due, number));
    }

    fn clear_due(&mut self, number: i64) {
        let Some(waiting) = self.calls.get_mut(&number) else { return };
        let Some(due) = waiting.due.take() else { return };
        if let Some(queue) = self.by_host.get_mut(&waiting.call.host) {
            queue.remove(&(due, number));
            if queue.is_empty() {
                self.by_host.remove(&waiting.call.host);
            }
        }
    }

    pub(super) fn hosts(&self, after: &str, limit: usize) -> Vec<String> {
        let range = self.hosts.range::<str, _>((Bound::Excluded(after), Bound::Unbounded));
        range.map(|(host, _)| host.clone()).take(limit).collect()
    }

    pub(super) fn due(&self, host: &str, limit: usize, now: Timestamp) -> Vec<Call> {
        let queue = self.by_host.get(host).into_iter().flatten().take_while(|(due, _)| *due <= now);
        let calls = queue.filter_map(|(_, number)| self.calls.get(number));
        calls.map(|waiting| waiting.call.clone()).take(limit).collect()
    }

    pub(super) fn next(&self, now: Timestamp) -> Option<Timestamp> {
        let later = (Bound::Excluded((now, i64::MAX)), Bound::Unbounded);
        self.by_host.values().filter_map(|queue| queue.range(later).next()).map(|(due, _)| *due).min()
    }

    pub(super) fn oldest(&self, limit: usize) -> Vec<Call> {
        self.calls.values().map(|waiting| waiting.call.clone()).take(limit).collect()
    }

    pub(super) fn put_off(&mut self, number: i64, attempts: u32, due: Timestamp) {
        if let Some(waiting) = self.calls.get_mut(&number).filter(|waiting| waiting.due.is_some()) {
            waiting.call.attempts = attempts;
            self.set_due(number, due);
        }
    }

    pub(super) fn end(&mut self, number: i64, now: Timestamp) {
        self.clear_due(number);
        let Some(Waiting { call, .. }) = self.calls.remove(&number) else { return };
        if let Some(count) = self.hosts.get_mut(&call.host) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                self.hosts.remove(&call.host);
            }
        }
        if let Some(numbers) = self.by_message.get_mut(&call.message) {
            numbers.remove(&number);
            if numbers.is_empty() {
                self.by_message.remove(&call.message);
            }
        }
        self.promote(call.message, now);
    }

    pub(super) fn len(&self) -> u64 {
        self.calls.len() as u64
    }

    pub(super) fn shift(&mut self, by: Duration) {
        let due: Vec<_> = self.calls.values().map(|waiting| (waiting.call.number, waiting.due)).collect();
        for (number, due) in due {
            if let Some(due) = due {
                self.set_due(number, due + by);
            }
            if let Some(waiting) = self.calls.get_mut(&number) {
                waiting.call.at = waiting.call.at + by;
            }
        }
    }
}
