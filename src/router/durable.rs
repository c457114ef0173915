//! From decision to disk: what was decided is kept until a commit holds it, and written again when the commit fails.

use super::calls::{Fate, is_over};
use super::delivery::NextDue;
use super::quota::Charge;
use super::{CURE, Refusal, Refused, Router};
use crate::message::{Connection, Draft, MessageId, Name, News, Outgoing, State};
use crate::store::{ContactChange, Ending, NewOutgoing, Settlement, StoreError};
use crate::time::Timestamp;
use std::collections::HashSet;
use std::time::Duration;

/// A decision, complete in itself, so that it can be written twice.
pub(super) enum Change {
    Finish {
        id: MessageId,
        connection: Connection,
        ending: Ending,
        contact: Vec<ContactChange>,
        drafts: Vec<Decided>,
        at: Timestamp,
    },
    Settle {
        id: MessageId,
        settlement: Settlement,
        /// What the attempt adds to the counts of its backend.
        charge: Option<Charge>,
        /// What whoever wants to be called about the message is told.
        news: Option<News>,
        at: Timestamp,
    },
    /// What becomes of a call.
    Call {
        number: i64,
        fate: Fate,
        at: Timestamp,
    },
    PutBack {
        id: MessageId,
        at: Timestamp,
    },
    /// A step of the clock; the number keeps it from being followed twice.
    Shift {
        number: u64,
        step: Duration,
    },
}

/// A draft after the rules and the apps had their say.
pub(super) struct Decided {
    pub(super) id: MessageId,
    pub(super) draft: Draft,
    /// The queue in which it stands, if not its backend's own.
    pub(super) queue: Option<Name>,
    pub(super) state: State,
    pub(super) reason: Option<String>,
    pub(super) actor: String,
    pub(super) expires_at: Timestamp,
    pub(super) at: Timestamp,
}

impl Decided {
    pub(super) fn row(&self) -> NewOutgoing<'_> {
        NewOutgoing {
            id: self.id,
            connection: &self.draft.connection,
            queue: self.queue.as_deref(),
            text: &self.draft.text,
            in_response_to: self.draft.in_response_to,
            state: self.state,
            reason: self.reason.as_deref(),
            priority: self.draft.priority,
            not_before: self.draft.not_before,
            expires_at: self.expires_at,
            origin: self.draft.origin,
            wishes: self.draft.wishes,
            callback: self.draft.callback.as_ref(),
            actor: &self.actor,
            at: self.at,
        }
    }
}

impl Router {
    /// Makes everything since the last commit durable and gives out the messages to send, in order. On an error nothing of it may be
    /// acknowledged; what the apps and backends decided is kept and written again.
    pub fn commit(&mut self, now: Timestamp) -> Result<Vec<Outgoing>, StoreError> {
        let committed = self.store.commit();
        // The store has looked closer at what it tells than the call that failed first could.
        let doomed = self.doomed.take().map_or(Ok(()), Err);
        match committed.and(doomed) {
            Ok(()) => {
                if !self.recover {
                    // While the store has to be asked again, what was decided since is not written yet.
                    self.outcomes.clear();
                }
                self.ready.append(&mut self.claimed);
                self.calls.committed();
                for held in self.desks.values_mut().filter_map(|desk| desk.release.as_mut()) {
                    held.committed = true;
                }
                Ok(std::mem::take(&mut self.taken))
            }
            Err(error) => {
                self.claimed.clear();
                self.calls.undone();
                for outgoing in self.taken.drain(..) {
                    self.flights.remove(&outgoing.id);
                    if let Some(desk) = self.desks.get_mut(&outgoing.by) {
                        desk.in_flight = desk.in_flight.saturating_sub(1);
                    }
                }
                if self.trouble.as_ref() != Some(&error) {
                    log::error!("nothing is accepted until this is cured: {error}");
                }
                self.counters.failed_commits += 1;
                self.trouble = Some(error.clone());
                self.recover = true;
                self.cure_at = now + CURE;
                Err(error)
            }
        }
    }

    /// Dooms the transaction when the store failed.
    pub(super) fn written<T>(&mut self, result: Result<T, StoreError>) -> Result<T, Refused> {
        result.map_err(|error| {
            let refused = Refused::new(Refusal::Store, error.to_string());
            self.doomed.get_or_insert(error);
            refused
        })
    }

    /// After a start and after a failed commit: brings store and memory together, writes what was decided, and looks whether the trouble is over.
    pub(super) fn healed(&mut self, now: Timestamp) -> bool {
        if !self.recover && self.trouble.is_none() {
            return true;
        }
        if now < self.cure_at {
            return false;
        }
        self.cure_at = now + CURE;
        if self.recover {
            let mut in_hand: HashSet<MessageId> = self.flights.keys().copied().collect();
            in_hand.extend(self.pending.ids());
            in_hand.extend(self.ready.iter().map(|unfinished| unfinished.id));
            in_hand.extend(self.outcomes.iter().filter_map(|change| match change {
                Change::Finish { id, .. } | Change::Settle { id, .. } | Change::PutBack { id, .. } => {
                    Some(*id)
                }
                Change::Call { .. } | Change::Shift { .. } => None,
            }));
            let stranded = self.store.recover(&|id| in_hand.contains(&id), now);
            let Ok(stranded) = self.written(stranded) else { return false };
            self.recover = false;
            let outcomes = std::mem::take(&mut self.outcomes);
            for change in &outcomes {
                let written = self.write(change, true);
                if self.written(written).is_err() {
                    break;
                }
            }
            self.outcomes = outcomes;
            for taken in stranded {
                self.settle_stranded(taken, now);
            }
            // What an earlier process left in hand is among the decisions now; whatever is stranded from here on is our own.
            self.started = true;
            if self.doomed.is_some() {
                self.recover = true;
                return false;
            }
            self.unclaimed = true;
            self.suspects = true;
            self.oldest_set = NextDue::Unknown;
            // What queues there are is known for certain now.
            self.set_groups();
            self.look_everywhere();
            if self.trouble.is_none() {
                return true;
            }
            // The trouble is over only when what was decided is on disk: the next step looks again.
            self.cure_at = now;
            return false;
        }
        if self.store.cured() {
            log::info!("the store works again");
            self.trouble = None;
            return true;
        }
        false
    }

    /// Writes a decision, and keeps it until it is durable.
    pub(super) fn record(&mut self, change: Change) {
        if self.trouble.is_some() {
            // To be written by the next `healed`, for this moment belongs to the cure.
            self.recover = true;
        } else if self.doomed.is_none() && !self.recover {
            let written = self.write(&change, false);
            let _ = self.written(written);
        }
        self.outcomes.push(change);
    }

    /// Writes a decision; `again` when an earlier attempt to do so may be on disk.
    pub(super) fn write(&mut self, change: &Change, again: bool) -> Result<(), StoreError> {
        match change {
            Change::Finish { id, connection, ending, contact, drafts, at } => {
                // When it was finished already, in a transaction that only seemed to fail, so were its replies.
                if self.store.finish(*id, ending, *at)? {
                    self.unclaimed = true;
                    for change in contact {
                        self.store.change_contact(connection, change, *at)?;
                    }
                    for decided in drafts {
                        self.queue(decided)?;
                    }
                }
            }
            Change::Settle { id, settlement, charge, news, at } => {
                // When it was settled already, in a transaction that only seemed to fail, it was counted as well. One about
                // which a report came first was not.
                let settled = self.store.settle(*id, settlement, *at)?;
                if (settled || !again)
                    && let Some(Charge { backend, parts, periods }) = charge
                {
                    for (period, since) in periods {
                        self.store.spend(backend, *period, *since, *parts)?;
                    }
                }
                // A call is owed in the transaction in which its news became true, so never twice.
                if settled && let Some(news) = news {
                    let over = is_over(settlement.state);
                    self.tell(*id, *news, settlement.reason.as_deref(), over, *at)?;
                }
            }
            Change::Call { number, fate, at } => self.write_fate(*number, fate, *at)?,
            Change::PutBack { id, at } => {
                self.store.put_back(*id, *at)?;
                self.suspects = true;
            }
            Change::Shift { number, step } => self.store.shift(*number, *step)?,
        }
        Ok(())
    }

    /// Stores a message to be sent, or one that will not be.
    pub(super) fn queue(&mut self, decided: &Decided) -> Result<(), StoreError> {
        let Decided { id, state, reason, at, .. } = decided;
        self.store.queue(&decided.row())?;
        self.note_queued(decided);
        if decided.draft.callback.is_some() && is_over(*state) {
            self.tell(*id, News::Refused, reason.as_deref(), true, *at)?;
        }
        Ok(())
    }

    fn note_queued(&mut self, decided: &Decided) {
        if decided.state == State::Queued {
            self.look_at(&decided.draft.connection, decided.queue.as_ref());
        }
    }
}
