//! What the apps make of a message: claiming it, running the phases, waiting for late answers, and the rules for what leaves.

use super::delivery::{Desk, parked_because};
use super::durable::{Change, Decided};
use super::intake::{check_connection, check_text};
use super::{Router, policy};
use crate::apps::LateAnswer;
use crate::guard::LoopGuard;
use crate::message::{Connection, Draft, MessageId, Origin, State};
use crate::phases::{self, Outcome, Progress, Run};
use crate::store::{Ending, Tried, Unfinished};
use crate::time::Timestamp;

/// A message whose app answers later.
pub(super) struct Pending {
    pub(super) run: Box<Run>,
    pub(super) app: String,
    pub(super) deadline: Timestamp,
}

impl Router {
    /// Brings the answer of `app` to a message for which it said [`Flow::Later`](crate::apps::Flow::Later).
    pub fn answer(&mut self, id: MessageId, app: &str, answer: LateAnswer, now: Timestamp) {
        match self.pending.remove(&id) {
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
        if self.stopping || self.doomed.is_some() || self.pending.len() >= self.policy.max_pending {
            return;
        }
        if self.suspects {
            let claimed = self.store.unfinished(Tried::Before, 1, now);
            match self.written(claimed) {
                Ok(mut claimed) if !claimed.is_empty() => return self.claimed.append(&mut claimed),
                Ok(_) => self.suspects = false,
                Err(_) => return,
            }
        }
        if self.unclaimed {
            // Each of them may ask for time, and none is to be refused it.
            let limit = self.policy.batch.min(self.policy.max_pending - self.pending.len());
            let claimed = self.store.unfinished(Tried::Never, limit, now);
            if let Ok(mut claimed) = self.written(claimed) {
                self.unclaimed = claimed.len() >= limit;
                self.claimed.append(&mut claimed);
            }
        }
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
                Progress::Waiting(run) if self.pending.len() >= self.policy.max_pending => {
                    progress = run.gave_up(&mut self.apps, "was refused: too many answers are owed already");
                }
                Progress::Waiting(run) => {
                    let app = run.waits_for(&self.apps).to_string();
                    let deadline = now + self.policy.app_timeout;
                    self.pending.insert(id, Pending { run, app, deadline });
                    return;
                }
            }
        }
    }

    pub(super) fn give_up(&mut self, id: MessageId, why: &str, now: Timestamp) {
        if let Some(pending) = self.pending.remove(&id) {
            let connection = pending.run.message().connection().clone();
            self.store.running(Some(id));
            let progress = pending.run.gave_up(&mut self.apps, why);
            self.conclude(id, connection, progress, now);
        }
    }

    pub(super) fn finish(&mut self, id: MessageId, connection: Connection, outcome: Outcome, now: Timestamp) {
        for failure in &outcome.failures {
            self.counters.app_failures += 1;
            log::error!("message {id} from {connection}: {failure}");
        }
        let mut drafts = Vec::with_capacity(outcome.drafts.len());
        for (app, draft) in outcome.drafts {
            drafts.push(self.decide(["app ", &app].concat(), draft, now));
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

    /// Applies the rules to a draft: what may leave, and how long it is worth it.
    pub(super) fn decide(&mut self, actor: String, mut draft: Draft, now: Timestamp) -> Decided {
        for failure in phases::outgoing(&mut self.apps, &mut draft) {
            self.counters.app_failures += 1;
            log::error!("message to {}: {failure}", draft.connection);
        }
        let mut validity = self.policy.validity;
        let (state, reason) = match self.desks.get(&draft.connection.backend) {
            _ if draft.cancelled.is_some() => (State::Cancelled, draft.cancelled.take()),
            None => (State::Failed, Some(policy::unknown_backend(&draft.connection.backend).reason)),
            Some(desk) => {
                validity = desk.policy.validity.unwrap_or(validity);
                if draft.origin == Origin::Test && !desk.policy.tester && !desk.policy.allow_test_traffic {
                    (State::Cancelled, Some("test traffic".to_string()))
                } else if let Err(refused) =
                    check_connection(&draft.connection).and_then(|()| check_text(&draft.text))
                {
                    (State::Failed, Some(refused.reason))
                } else if let Err(why) = Self::loop_guard(&mut self.guard, desk, &draft, now) {
                    log::warn!("reply to {} cancelled: {why}", draft.connection);
                    self.counters.loops += 1;
                    (State::Cancelled, Some(why))
                } else if let Some(parked) = &desk.parked {
                    (State::Held, Some(parked_because(&draft.connection.backend, parked)))
                } else {
                    (State::Queued, None)
                }
            }
        };
        let validity = draft.validity.unwrap_or(validity);
        let expires_at = draft.not_before.unwrap_or(now).max(now) + validity;
        Decided { id: self.ids.next(now), draft, state, reason, actor, expires_at, at: now }
    }

    pub(super) fn loop_guard(
        guard: &mut LoopGuard,
        desk: &Desk,
        draft: &Draft,
        now: Timestamp,
    ) -> Result<(), String> {
        if desk.policy.loop_guard && draft.in_response_to.is_some() {
            guard.may_reply(&draft.connection, &draft.text, now)
        } else {
            Ok(())
        }
    }
}
