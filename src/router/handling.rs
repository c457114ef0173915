//! What the apps make of a message: claiming it, running the phases, waiting for late answers, and the rules for what leaves.

use super::delivery::parked_because;
use super::durable::{Change, Decided};
use super::groups::Rules;
use super::intake::{check_connection, check_text};
use super::{Refused, Router, policy};
use crate::apps::LateAnswer;
use crate::guard::LoopGuard;
use crate::message::{Callback, Connection, Draft, MessageId, Name, Origin, Piece, State};
use crate::phases::{self, Outcome, Progress, Run};
use crate::store::{Ending, Tried, Unfinished};
use crate::time::Timestamp;
use foldhash::HashMap;
use std::time::Duration;

/// A message whose app answers later.
pub(super) struct Pending {
    pub(super) run: Box<Run>,
    pub(super) app: String,
    pub(super) deadline: Timestamp,
}

/// The messages whose apps answer later.
#[derive(Default)]
pub(super) struct Owed {
    messages: HashMap<MessageId, Pending>,
    /// How many of each backend.
    backends: HashMap<Name, usize>,
}

impl Owed {
    pub(super) fn len(&self) -> usize {
        self.messages.len()
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = MessageId> {
        self.messages.keys().copied()
    }

    /// How many of one backend.
    fn of(&self, backend: &str) -> usize {
        self.backends.get(backend).copied().unwrap_or(0)
    }

    fn insert(&mut self, id: MessageId, pending: Pending) {
        *self.backends.entry(pending.backend().clone()).or_default() += 1;
        self.messages.insert(id, pending);
    }

    fn remove(&mut self, id: MessageId) -> Option<Pending> {
        let pending = self.messages.remove(&id)?;
        let left = self.of(pending.backend()).saturating_sub(1);
        if left == 0 {
            self.backends.remove(pending.backend());
        } else {
            self.backends.insert(pending.backend().clone(), left);
        }
        Some(pending)
    }

    /// Takes them all out.
    pub(super) fn take(&mut self) -> Vec<MessageId> {
        self.backends.clear();
        self.messages.drain().map(|(id, _)| id).collect()
    }

    /// Those whose time is up.
    pub(super) fn late(&self, now: Timestamp) -> Vec<MessageId> {
        self.messages.iter().filter(|(_, pending)| pending.deadline <= now).map(|(id, _)| *id).collect()
    }

    pub(super) fn next_deadline(&self) -> Option<Timestamp> {
        self.messages.values().map(|pending| pending.deadline).min()
    }

    /// The clock made a step.
    pub(super) fn shift(&mut self, step: Duration) {
        for pending in self.messages.values_mut() {
            pending.deadline = pending.deadline + step;
        }
    }
}

impl Pending {
    fn backend(&self) -> &Name {
        &self.run.message().connection().backend
    }
}

impl Router {
    /// Brings the answer of `app` to a message for which it said [`Flow::Later`](crate::apps::Flow::Later).
    pub fn answer(&mut self, id: MessageId, app: &str, answer: LateAnswer, now: Timestamp) {
        match self.no_longer_pending(id) {
            Some(pending) if pending.app == app => {
                let connection = pending.run.message().connection().clone();
                self.store.running(Some(id));
                let progress = pending.run.answered(&mut self.apps, answer);
                self.store.running(None);
                self.conclude(id, connection, progress, now);
            }
            Some(pending) => {
                self.pending.insert(id, pending);
                self.counters.late_answers += 1;
                log::warn!("app {app} answered message {id}, which waits for another app; dropped");
            }
            None => {
                self.counters.late_answers += 1;
                log::warn!("app {app} answered message {id}, which waits for no answer any more; dropped");
            }
        }
    }

    pub(super) fn claim(&mut self, now: Timestamp) {
        let left = self.policy.max_pending_total.saturating_sub(self.pending.len());
        if self.stopping || self.doomed.is_some() || left == 0 {
            return;
        }
        if self.suspects {
            match self.claim_some(Tried::Before, 1, now) {
                Ok(mut claimed) if !claimed.is_empty() => return self.claimed.append(&mut claimed),
                Ok(_) => self.suspects = false,
                Err(_) => return,
            }
        }
        if self.unclaimed {
            let limit = self.policy.batch.min(left);
            if let Ok(mut claimed) = self.claim_some(Tried::Never, limit, now) {
                self.unclaimed = claimed.len() >= limit;
                self.claimed.append(&mut claimed);
            }
        }
    }

    /// Each of them may ask for time, and none is to be refused it.
    fn claim_some(&mut self, tried: Tried, limit: usize, now: Timestamp) -> Result<Vec<Unfinished>, Refused> {
        let (most, pending) = (self.policy.max_pending, &self.pending);
        let room = |backend: &str| most.saturating_sub(pending.of(backend));
        let claimed = self.store.unfinished(tried, limit, &room, now);
        self.written(claimed)
    }

    pub(super) fn run(&mut self, unfinished: Unfinished, now: Timestamp) {
        let id = unfinished.id;
        let connection = unfinished.connection.clone();
        if unfinished.attempt > self.policy.poison_tries {
            let reason = format!(
                "set aside: the process ended {} times while this message was handled",
                self.policy.poison_tries
            );
            log::error!("message {id} from {connection} is {reason}");
            self.counters.quarantined += 1;
            let ending = Ending { state: State::Quarantined, reason: Some(reason), actor: "router".into() };
            let change =
                Change::Finish { id, connection, ending, contact: Vec::new(), drafts: Vec::new(), at: now };
            return self.record(change);
        }
        if self.desks.get(&connection.backend).is_some_and(|desk| desk.policy.loop_guard) {
            self.guard.heard(&connection, &unfinished.text, now);
        }
        self.store.running(Some(id));
        let progress = phases::run(&mut self.apps, unfinished);
        self.conclude(id, connection, progress, now);
    }

    pub(super) fn conclude(
        &mut self,
        id: MessageId,
        connection: Connection,
        mut progress: Progress,
        now: Timestamp,
    ) {
        loop {
            match progress {
                Progress::Finished(outcome) => return self.finish(id, connection, outcome, now),
                Progress::Waiting(run)
                    if self.pending.of(&connection.backend) >= self.policy.max_pending
                        || self.pending.len() >= self.policy.max_pending_total =>
                {
                    progress = run.gave_up(&mut self.apps, "was refused: too many answers are owed already");
                }
                Progress::Waiting(run) => {
                    let app = run.waits_for(&self.apps).to_string();
                    let deadline = now + run.patience(&self.apps).unwrap_or(self.policy.app_timeout);
                    self.pending.insert(id, Pending { run, app, deadline });
                    return;
                }
            }
        }
    }

    pub(super) fn give_up(&mut self, id: MessageId, why: &str, now: Timestamp) {
        if let Some(pending) = self.no_longer_pending(id) {
            let connection = pending.run.message().connection().clone();
            self.store.running(Some(id));
            let progress = pending.run.gave_up(&mut self.apps, why);
            self.conclude(id, connection, progress, now);
        }
    }

    fn no_longer_pending(&mut self, id: MessageId) -> Option<Pending> {
        let pending = self.pending.remove(id)?;
        if self.pending.of(pending.backend()) + 1 >= self.policy.max_pending {
            // While its backend was at its bound, what it has was passed over as if it were not there.
            (self.unclaimed, self.suspects) = (true, true);
        }
        Some(pending)
    }

    pub(super) fn finish(&mut self, id: MessageId, connection: Connection, outcome: Outcome, now: Timestamp) {
        for failure in &outcome.failures {
            self.counters.app_failures += 1;
            log::error!("message {id} from {connection}: {failure}");
        }
        let mut drafts = Vec::with_capacity(outcome.drafts.len());
        for (app, mut draft) in outcome.drafts {
            let heard = self.send_reply_to_group(&mut draft, &connection).then_some(&connection);
            drafts.push(self.decide(["app ", &app].concat(), draft, heard, now));
        }
        self.record(Change::Finish {
            id,
            connection,
            ending: outcome.ending,
            contact: outcome.changes,
            drafts,
            at: now,
        });
    }

    /// Applies the rules to a draft: what may leave, and how long it is worth it. `heard`: where the question came in, when that is not where
    /// the reply goes.
    pub(super) fn decide(
        &mut self,
        actor: String,
        mut draft: Draft,
        heard: Option<&Connection>,
        now: Timestamp,
    ) -> Decided {
        for failure in phases::outgoing(&mut self.apps, &mut draft) {
            self.counters.app_failures += 1;
            log::error!("message to {}: {failure}", draft.connection);
        }
        if draft.callback.as_ref().is_some_and(|callback| callback.mask == 0) {
            draft.callback = None;
        }
        // A program is told (`submit`); an app's reply is worth more than its callback.
        if let Some(fault) = draft.callback.as_ref().and_then(Callback::fault) {
            log::error!("message to {}: {fault}", draft.connection);
            draft.callback = None;
        }
        if let Some(fault) = draft.wishes.part.and_then(Piece::fault) {
            log::error!("message to {}: {fault}", draft.connection);
            draft.wishes.part = None;
        }
        let mut validity = self.policy.validity;
        let queue = self.queue_for(&draft.connection);
        let (state, reason) = match self.rules(&draft.connection.backend) {
            _ if draft.cancelled.is_some() => (State::Cancelled, draft.cancelled.take()),
            None => (State::Failed, Some(policy::unknown_backend(&draft.connection.backend).reason)),
            Some(Rules { allow_test_traffic, loop_guard, validity: own, parked, .. }) => {
                let parked = parked.map(|why| parked_because(&draft.connection.backend, why));
                validity = own.unwrap_or(validity);
                if draft.origin == Origin::Test && !allow_test_traffic {
                    (State::Cancelled, Some("test traffic".to_string()))
                } else if let Err(refused) =
                    check_connection(&draft.connection).and_then(|()| check_text(&draft.text))
                {
                    (State::Failed, Some(refused.reason))
                } else if let Err(why) = &queue {
                    (State::Failed, Some(why.clone()))
                } else if let Err(why) = Self::loop_guard(&mut self.guard, loop_guard, &draft, heard, now) {
                    log::warn!("reply to {} cancelled: {why}", draft.connection);
                    self.counters.loops += 1;
                    (State::Cancelled, Some(why))
                } else if parked.is_some() {
                    (State::Held, parked)
                } else {
                    (State::Queued, None)
                }
            }
        };
        let validity = draft.validity.unwrap_or(validity);
        let expires_at = draft.not_before.unwrap_or(now).max(now) + validity;
        let queue = queue.ok().flatten();
        Decided { id: self.ids.next(now), draft, queue, state, reason, actor, expires_at, at: now }
    }

    pub(super) fn loop_guard(
        guard: &mut LoopGuard,
        guarded: bool,
        draft: &Draft,
        heard: Option<&Connection>,
        now: Timestamp,
    ) -> Result<(), String> {
        if guarded && draft.in_response_to.is_some() {
            guard.may_reply(heard.unwrap_or(&draft.connection), &draft.text, now)
        } else {
            Ok(())
        }
    }
}
