//! What concerns all messages of a store in memory at once: a process that begins, a step of the clock, the deletion of what is old.

use super::Memory;
use super::slab::{CLAIMED, INBOUND, Message, NOT_DUE, READY};
use crate::message::MessageId;
use crate::store::{Taken, is_ended};
use crate::time::Timestamp;
use foldhash::HashMap;
use std::time::Duration;

impl Memory {
    /// Lets received messages be claimed again that nobody has in hand, and returns outgoing ones of which nobody knows.
    pub(super) fn release(&mut self, in_hand: &dyn Fn(MessageId) -> bool) -> Vec<Taken> {
        self.turn = None;
        let mut sending = Vec::new();
        for place in self.slab.places() {
            let Some(message) = self.slab.get(place) else { continue };
            if message.due != CLAIMED || in_hand(message.id()) {
                continue;
            }
            if message.class != INBOUND {
                sending.push(message.taken(&self.addresses, &self.backends));
                continue;
            }
            let innocent = u32::from(self.running != Some(message.id()));
            let Some(message) = self.change(place) else { continue };
            message.tried = true;
            message.attempts = message.attempts.saturating_sub(innocent);
            self.set_due(place, READY);
        }
        self.running = None;
        sending
    }

    /// Moves everything that waits along with a step of the clock.
    pub(super) fn move_along(&mut self, by: Duration) {
        self.validity.heap.clear();
        for line in &mut self.backends {
            line.due.iter_mut().for_each(|agenda| agenda.heap.clear());
        }
        for place in self.slab.places() {
            let waits = |message: &Message| message.class != INBOUND && !is_ended(message.state);
            if !self.slab.get(place).is_some_and(waits) {
                continue;
            }
            let Some(message) = self.change(place) else { continue };
            message.expires_at = message.expires_at + by;
            if let Some(rare) = &mut message.rare {
                rare.not_before = rare.not_before.map(|at| at + by);
                rare.retry_at = rare.retry_at.map(|at| at + by);
            }
            let (due, until) = (message.due, message.expires_at.0);
            if due != NOT_DUE && due != CLAIMED {
                self.set_due(place, (Timestamp(due) + by).0);
            }
            self.validity.push(until, place, self.slab.len());
        }
        self.pieces.shift(by);
        self.calls.shift(by);
        for remembered in self.keys.values_mut().flat_map(HashMap::values_mut) {
            remembered.at = remembered.at + by;
        }
    }

    /// Deletes up to `limit` messages that ended before a time.
    pub(super) fn delete(&mut self, before: Timestamp, limit: usize) -> usize {
        let mut gone = self.slab.places();
        let old = |message: &Message| is_ended(message.state) && message.updated_at < before;
        gone.retain(|&place| self.slab.get(place).is_some_and(old));
        gone.truncate(limit);
        for &place in &gone {
            self.remove(place);
        }
        let slab = &self.slab;
        self.ended.retain(|&place| slab.get(place).is_some());
        gone.len()
    }
}
