//! The router: accept, step, sent, report. It has no thread, reads no clock and opens nothing: time is an argument,
//! effects come out as values. The daemon is this value with threads around it; a test or a script is this value alone.
//!
//! Life with a router is a loop over one transaction after the other:
//!
//! 1. tell it what happened: [`accept`](Router::accept), [`submit`](Router::submit), [`sent`](Router::sent), [`report`](Router::report), [`answer`](Router::answer);
//! 2. [`step`](Router::step): apps run over what the *last* commit made safe, then messages are claimed and taken;
//! 3. [`commit`](Router::commit): everything since the last commit becomes durable at once. Only now may anything be
//!    acknowledged to its source, and only now are the messages to send given out.
//!
//! It works from what the store says is unfinished or due, so starting after a crash is no special case: [`Router::new`]
//! asks the store what was left, and the first `step` goes on with it.

mod delivery;
mod policy;

pub use policy::{BackendPolicy, Counters, Policy, Refusal, Refused};

use crate::apps::{Host, LateAnswer};
use crate::guard::LoopGuard;
use crate::message::{
    Connection, Direction, Draft, IDENTITY_LIMIT, Ids, Incoming, MessageId, Name, Origin, Outgoing, State,
    TEXT_LIMIT,
};
use crate::phases::{self, Apps, Outcome, Progress, Run};
use crate::store::{
    ContactChange, Ending, NewIncoming, NewOutgoing, Remembered, Settlement, Store, StoreError, Tried,
    Unfinished,
};
use crate::time::Timestamp;
use delivery::{Desk, Flight};
use std::collections::{HashMap, HashSet};
use std::time::Duration;

/// Keys are remembered this long: redelivery keys of sources and idempotency keys of programs.
pub const KEY_TIME: Duration = Duration::from_secs(72 * 3600);
/// How often the validity of waiting messages is looked at.
const SWEEP: Duration = Duration::from_secs(30);
/// How long to wait before asking a store in trouble again.
const CURE: Duration = Duration::from_secs(1);

/// The message router. See the module's text for how it is driven.
pub struct Router {
    store: Box<dyn Store>,
    apps: Apps,
    policy: Policy,
    desks: HashMap<Name, Desk>,
    ids: Ids,
    guard: LoopGuard,
    counters: Counters,

    /// Claimed in the open transaction; to be run after its commit.
    claimed: Vec<Unfinished>,
    /// Claimed and committed: to be run now.
    ready: Vec<Unfinished>,
    /// Messages whose app answers later.
    pending: HashMap<MessageId, Pending>,
    /// There may be received messages that nobody claimed.
    unclaimed: bool,
    /// There may be received messages that were claimed by a process that ended. They are run one by one, so
    /// that one that kills the process is known.
    suspects: bool,

    /// Taken in the open transaction; given out by its commit.
    taken: Vec<Outgoing>,
    /// Given to a backend; its outcome is not known yet.
    flights: HashMap<MessageId, Flight>,

    /// What the open transaction decided. Kept until its commit: when that fails, it is written again, for an app is not asked twice.
    outcomes: Vec<Change>,
    /// The first error of the open transaction.
    doomed: Option<StoreError>,
    /// Why nothing is accepted at the moment.
    trouble: Option<StoreError>,
    /// What an earlier process left behind has been taken over.
    started: bool,
    /// The store must be asked what really is on disk before it is used again.
    recover: bool,
    /// Not before this time is a store in trouble asked again.
    cure_at: Timestamp,
    /// When to look for ended validity next.
    sweep_at: Timestamp,
    /// Validity is not looked at: the clock lies behind what is stored.
    clock_behind: bool,
    /// Nothing is accepted and claimed any more.
    stopping: bool,
}

struct Pending {
    run: Box<Run>,
    app: String,
    deadline: Timestamp,
}

/// A decision, complete in itself, so that it can be written twice.
enum Change {
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
        at: Timestamp,
    },
    Shift(Duration),
}

/// A draft after the rules and the apps had their say.
struct Decided {
    id: MessageId,
    draft: Draft,
    state: State,
    reason: Option<String>,
    actor: String,
    expires_at: Timestamp,
    at: Timestamp,
}

impl Decided {
    fn row(&self) -> NewOutgoing<'_> {
        NewOutgoing {
            id: self.id,
            connection: &self.draft.connection,
            text: &self.draft.text,
            in_response_to: self.draft.in_response_to,
            state: self.state,
            reason: self.reason.as_deref(),
            priority: self.draft.priority,
            not_before: self.draft.not_before,
            expires_at: self.expires_at,
            origin: self.draft.origin,
            actor: &self.actor,
            at: self.at,
        }
    }
}

impl Router {
    /// A router on `store`. `seed` makes the random part of ids and the spread of waits; take it from the system where
    /// stores of several machines may meet, any number in a test. What an earlier process left unfinished goes on at the first `step`.
    pub fn new(store: Box<dyn Store>, apps: Apps, policy: Policy, seed: u64) -> Router {
        let ids = Ids::new(store.newest(), seed);
        let mut guard = LoopGuard::default();
        guard.set_limits(policy.loop_limits.clone());
        Router {
            store,
            apps,
            policy,
            desks: HashMap::new(),
            ids,
            guard,
            counters: Counters::default(),
            claimed: Vec::new(),
            ready: Vec::new(),
            pending: HashMap::new(),
            unclaimed: true,
            suspects: true,
            taken: Vec::new(),
            flights: HashMap::new(),
            outcomes: Vec::new(),
            doomed: None,
            trouble: None,
            started: false,
            recover: true,
            cure_at: Timestamp(i64::MIN),
            sweep_at: Timestamp(i64::MIN),
            clock_behind: false,
            stopping: false,
        }
    }

    /// Starts the apps. Returns what failed, by name; the others run.
    pub fn start_apps(&mut self, host: &Host) -> Vec<String> {
        self.apps.start(host)
    }

    /// Takes other apps from now on, started by the caller, and gives back the old ones. What the old ones owe counts as not answered.
    pub fn set_apps(&mut self, apps: Apps, now: Timestamp) -> Apps {
        // A message that is given up by one app may go on to another old one that asks for time, too.
        while let Some(&id) = self.pending.keys().next() {
            self.give_up(id, "was replaced before it answered", now);
        }
        std::mem::replace(&mut self.apps, apps)
    }

    /// Changes the rules from now on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.guard.set_limits(policy.loop_limits.clone());
        self.policy = policy;
    }

    /// The store, to open readers on it.
    pub fn store(&self) -> &dyn Store {
        &*self.store
    }

    /// The store, for upkeep between two transactions.
    pub fn store_mut(&mut self) -> &mut dyn Store {
        &mut *self.store
    }

    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Why nothing is accepted at the moment, if so.
    pub fn trouble(&self) -> Option<&StoreError> {
        self.trouble.as_ref()
    }

    /// How many messages wait for an app that answers later.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Takes one message from a source. It is safe, and may be acknowledged, after the next successful [`commit`](Router::commit).
    pub fn accept(&mut self, incoming: &Incoming, now: Timestamp) -> Result<MessageId, Refused> {
        self.may_write(now)?;
        check_connection(&incoming.connection)?;
        check_text(&incoming.text)?;
        let Some(desk) = self.desks.get(&incoming.connection.backend) else {
            return Err(policy::unknown_backend(&incoming.connection.backend));
        };
        if self.store.waiting(Direction::In) >= self.policy.max_waiting {
            return Err(Refused::new(
                Refusal::Busy,
                format!("{} messages wait to be handled already; try again later", self.policy.max_waiting),
            ));
        }
        let origin = if desk.policy.tester { Origin::Test } else { Origin::Real };
        let scope = format!("in {}", incoming.connection.backend);
        let mut duplicate_of = None;
        if let Some(key) = &incoming.redelivery_key {
            let known = self.store.recall(&scope, key);
            duplicate_of = self.written(known)?.filter(|known| now.since(known.at) < KEY_TIME);
        }
        let id = self.ids.next(now);
        if let (Some(key), None) = (&incoming.redelivery_key, &duplicate_of) {
            let remembered =
                self.store.remember(&scope, key, &Remembered { id, digest: Vec::new(), at: now });
            self.written(remembered)?;
        }
        let state = match (&duplicate_of, &incoming.undecodable) {
            (Some(_), _) => State::Duplicate,
            (None, Some(_)) => State::Quarantined,
            (None, None) => State::Received,
        };
        let row = NewIncoming {
            id,
            incoming,
            state,
            reason: incoming.undecodable.as_deref(),
            duplicate_of: duplicate_of.map(|known| known.id),
            origin,
            at: now,
        };
        let stored = self.store.accept(&row);
        self.written(stored)?;
        self.counters.accepted += 1;
        match state {
            State::Received => self.unclaimed = true,
            State::Duplicate => self.counters.duplicates += 1,
            _ => self.counters.quarantined += 1,
        }
        Ok(id)
    }

    /// Takes one message to be sent that answers nothing, from `actor` (`api`, `cli`). The same idempotency key with the same
    /// digest gives the same id again and stores nothing. Safe after the next successful `commit`.
    pub fn submit(
        &mut self,
        mut draft: Draft,
        actor: &str,
        idempotency: Option<(&str, &[u8])>,
        now: Timestamp,
    ) -> Result<MessageId, Refused> {
        self.may_write(now)?;
        check_connection(&draft.connection)?;
        check_text(&draft.text)?;
        let Some(desk) = self.desks.get(&draft.connection.backend) else {
            return Err(policy::unknown_backend(&draft.connection.backend));
        };
        if desk.policy.tester {
            draft.origin = Origin::Test;
        }
        if self.store.waiting(Direction::Out) >= self.policy.max_queued {
            return Err(Refused::new(
                Refusal::Busy,
                format!("{} messages wait to be sent already; try again later", self.policy.max_queued),
            ));
        }
        if let Some((key, digest)) = idempotency {
            let known = self.store.recall("submit", key);
            if let Some(known) = self.written(known)?.filter(|known| now.since(known.at) < KEY_TIME) {
                return if known.digest == digest {
                    Ok(known.id)
                } else {
                    Err(Refused::new(
                        Refusal::Conflict,
                        "this idempotency key was used for another message; use a new key for a new message",
                    ))
                };
            }
        }
        let decided = self.decide(actor.to_string(), draft, now);
        let id = decided.id;
        let stored = self.store.queue(&decided.row());
        self.written(stored)?;
        self.note_queued(&decided);
        if let Some((key, digest)) = idempotency {
            let what = Remembered { id, digest: digest.to_vec(), at: now };
            let remembered = self.store.remember("submit", key, &what);
            self.written(remembered)?;
        }
        Ok(id)
    }

    /// Brings the answer of `app` to a message for which it said [`Flow::Later`](crate::apps::Flow::Later).
    pub fn answer(&mut self, id: MessageId, app: &str, answer: LateAnswer, now: Timestamp) {
        match self.pending.remove(&id) {
            Some(pending) if pending.app == app => {
                let connection = pending.run.message().connection().clone();
                let progress = pending.run.answered(&mut self.apps, answer);
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

    /// Does everything that can be done now. The transaction stays open: [`commit`](Router::commit) follows.
    pub fn step(&mut self, now: Timestamp) {
        if self.doomed.is_some() || !self.healed(now) {
            return;
        }
        for unfinished in std::mem::take(&mut self.ready) {
            self.run(unfinished, now);
        }
        let late = self.pending.iter().filter(|(_, pending)| pending.deadline <= now);
        for id in late.map(|(id, _)| *id).collect::<Vec<_>>() {
            self.give_up(id, "timed out", now);
        }
        if self.trouble.is_none() {
            self.claim(now);
            self.sweep(now);
            self.take(now);
        }
    }

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
                Ok(std::mem::take(&mut self.taken))
            }
            Err(error) => {
                self.claimed.clear();
                for outgoing in self.taken.drain(..) {
                    self.flights.remove(&outgoing.id);
                    if let Some(desk) = self.desks.get_mut(&outgoing.connection.backend) {
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

    /// When `step` should be called next, even if nothing happens before. `None`: only when something happens.
    pub fn wake_at(&mut self, now: Timestamp) -> Option<Timestamp> {
        if self.trouble.is_some() || self.recover {
            // Before that nothing else can be done either, not even what is overdue.
            return Some(self.cure_at);
        }
        if !self.ready.is_empty() {
            return Some(now);
        }
        let mut wake = None;
        let mut earlier = |at: Timestamp| wake = Some(wake.map_or(at, |wake: Timestamp| wake.min(at)));
        for pending in self.pending.values() {
            earlier(pending.deadline);
        }
        if !self.stopping {
            if (self.unclaimed || self.suspects) && self.pending.len() < self.policy.max_pending {
                earlier(now);
            }
            for desk in self.desks.values().filter(|desk| desk.is_open()) {
                match desk.next_due {
                    delivery::NextDue::Unknown => earlier(now),
                    delivery::NextDue::At(at) => earlier(at),
                    delivery::NextDue::Never => {}
                }
            }
            if !self.clock_behind && self.store.waiting(Direction::Out) > 0 {
                earlier(self.sweep_at);
            }
        }
        wake
    }

    /// Follows a step of the wall clock, and is told whether the clock lies behind what is stored: then nothing expires.
    pub fn clock(&mut self, step: Duration, behind: bool) {
        self.clock_behind = behind;
        if step > Duration::ZERO {
            log::warn!("the clock jumped forward by {step:?}; everything that waits moves along");
            self.record(Change::Shift(step));
            self.desks.values_mut().for_each(Desk::look_again);
            for pending in self.pending.values_mut() {
                pending.deadline = pending.deadline + step;
            }
            // The next sweep and cure are intervals, not appointments.
            self.sweep_at = self.sweep_at + step;
            self.cure_at = self.cure_at + step;
        }
    }

    /// Upkeep for a quiet moment, in a small transaction of its own: deletes what is past `policy.retention`. `true` when there may be more.
    pub fn purge(&mut self, now: Timestamp) -> bool {
        const AT_ONCE: usize = 200;
        if self.may_write(now).is_err() {
            return false;
        }
        let before = self.policy.retention.map(|age| now - age);
        let purged = self.store.purge(before, now - KEY_TIME, AT_ONCE);
        self.written(purged).is_ok_and(|purged| purged >= AT_ONCE)
    }

    /// Takes nothing new from now on; what was handed out still comes back by `sent`.
    pub fn stop_intake(&mut self) {
        self.stopping = true;
    }

    /// Nothing is in hand that must come back before a clean stop.
    pub fn is_quiet(&self) -> bool {
        self.flights.is_empty() && self.outcomes.is_empty()
    }

    /// Ends: gives back what is claimed but not handled, stops the apps. A `commit` follows. Returns what failed to stop.
    pub fn close(&mut self, now: Timestamp) -> Vec<String> {
        self.stopping = true;
        let ready = self.ready.drain(..).chain(self.claimed.drain(..)).map(|unfinished| unfinished.id);
        let in_hand: Vec<MessageId> = ready.chain(self.pending.drain().map(|(id, _)| id)).collect();
        for id in in_hand {
            let put_back = self.store.put_back(id, now);
            if self.written(put_back).is_err() {
                break;
            }
        }
        self.apps.stop()
    }

    fn may_write(&mut self, now: Timestamp) -> Result<(), Refused> {
        if self.stopping {
            return Err(Refused::new(Refusal::Stopping, "the router is stopping"));
        }
        if !self.started && self.trouble.is_none() && self.doomed.is_none() {
            // The first message may come before the first step.
            self.healed(now);
        }
        match self.doomed.as_ref().or(self.trouble.as_ref()) {
            Some(trouble) => Err(Refused::new(Refusal::Store, trouble.to_string())),
            None => Ok(()),
        }
    }

    /// Dooms the transaction when the store failed.
    fn written<T>(&mut self, result: Result<T, StoreError>) -> Result<T, Refused> {
        result.map_err(|error| {
            let refused = Refused::new(Refusal::Store, error.to_string());
            self.doomed.get_or_insert(error);
            refused
        })
    }

    /// After a start and after a failed commit: brings store and memory together, writes what was decided, and looks whether the trouble is over.
    fn healed(&mut self, now: Timestamp) -> bool {
        if !self.recover && self.trouble.is_none() {
            return true;
        }
        if now < self.cure_at {
            return false;
        }
        self.cure_at = now + CURE;
        if self.recover {
            let mut in_hand: HashSet<MessageId> = self.flights.keys().copied().collect();
            in_hand.extend(self.pending.keys());
            in_hand.extend(self.ready.iter().map(|unfinished| unfinished.id));
            in_hand.extend(self.outcomes.iter().filter_map(|change| match change {
                Change::Finish { id, .. } | Change::Settle { id, .. } => Some(*id),
                Change::Shift(_) => None,
            }));
            let stranded = self.store.recover(&|id| in_hand.contains(&id), now);
            let Ok(stranded) = self.written(stranded) else { return false };
            self.recover = false;
            let outcomes = std::mem::take(&mut self.outcomes);
            for change in &outcomes {
                let written = self.write(change);
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
            self.desks.values_mut().for_each(Desk::look_again);
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

    fn run(&mut self, unfinished: Unfinished, now: Timestamp) {
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
        let progress = phases::run(&mut self.apps, unfinished);
        self.conclude(id, connection, progress, now);
    }

    fn conclude(&mut self, id: MessageId, connection: Connection, mut progress: Progress, now: Timestamp) {
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

    fn give_up(&mut self, id: MessageId, why: &str, now: Timestamp) {
        if let Some(pending) = self.pending.remove(&id) {
            let connection = pending.run.message().connection().clone();
            let progress = pending.run.gave_up(&mut self.apps, why);
            self.conclude(id, connection, progress, now);
        }
    }

    fn finish(&mut self, id: MessageId, connection: Connection, outcome: Outcome, now: Timestamp) {
        for failure in &outcome.failures {
            self.counters.app_failures += 1;
            log::error!("message {id} from {connection}: {failure}");
        }
        let mut drafts = Vec::with_capacity(outcome.drafts.len());
        for (app, draft) in outcome.drafts {
            drafts.push(self.decide(format!("app {app}"), draft, now));
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
    fn decide(&mut self, actor: String, mut draft: Draft, now: Timestamp) -> Decided {
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
                    (State::Held, Some(format!("backend {} is parked: {parked}", draft.connection.backend)))
                } else {
                    (State::Queued, None)
                }
            }
        };
        let validity = draft.validity.unwrap_or(validity);
        let expires_at = draft.not_before.unwrap_or(now).max(now) + validity;
        Decided { id: self.ids.next(now), draft, state, reason, actor, expires_at, at: now }
    }

    fn loop_guard(guard: &mut LoopGuard, desk: &Desk, draft: &Draft, now: Timestamp) -> Result<(), String> {
        if desk.policy.loop_guard && draft.in_response_to.is_some() {
            guard.may_reply(&draft.connection, &draft.text, now)
        } else {
            Ok(())
        }
    }

    /// Writes a decision, and keeps it until it is durable.
    fn record(&mut self, change: Change) {
        if self.trouble.is_some() {
            // To be written by the next `healed`, for this moment belongs to the cure.
            self.recover = true;
        } else if self.doomed.is_none() && !self.recover {
            let written = self.write(&change);
            let _ = self.written(written);
        }
        self.outcomes.push(change);
    }

    fn write(&mut self, change: &Change) -> Result<(), StoreError> {
        match change {
            Change::Finish { id, connection, ending, contact, drafts, at } => {
                // When it was finished already, in a transaction that only seemed to fail, so were its replies.
                if self.store.finish(*id, ending, *at)? {
                    self.unclaimed = true;
                    for change in contact {
                        self.store.change_contact(connection, change, *at)?;
                    }
                    for decided in drafts {
                        self.store.queue(&decided.row())?;
                        self.note_queued(decided);
                    }
                }
            }
            Change::Settle { id, settlement, at } => {
                self.store.settle(*id, settlement, *at)?;
            }
            Change::Shift(step) => self.store.shift(*step)?,
        }
        Ok(())
    }

    fn note_queued(&mut self, decided: &Decided) {
        if decided.state == State::Queued
            && let Some(desk) = self.desks.get_mut(&decided.draft.connection.backend)
        {
            desk.look_again();
        }
    }

    fn claim(&mut self, now: Timestamp) {
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

    fn sweep(&mut self, now: Timestamp) {
        const AT_ONCE: usize = 1_000;
        if now < self.sweep_at || self.clock_behind || self.doomed.is_some() {
            return;
        }
        let overdue = self.store.overdue(now, AT_ONCE);
        let Ok(overdue) = self.written(overdue) else { return };
        self.sweep_at = if overdue.len() < AT_ONCE { now + SWEEP } else { now };
        for id in overdue {
            let settlement = Settlement::new(State::Expired, "router")
                .because("its validity ended before it could be sent");
            self.record(Change::Settle { id, settlement, at: now });
        }
        self.desks.values_mut().for_each(Desk::look_again);
    }
}

fn check_connection(connection: &Connection) -> Result<(), Refused> {
    let identity = &connection.identity;
    let wrong = |reason: String| Err(Refused::new(Refusal::Invalid, reason));
    if identity.is_empty() {
        return wrong("the identity is empty; give the sender's number or address".into());
    }
    if identity.len() > IDENTITY_LIMIT * 4 || identity.chars().count() > IDENTITY_LIMIT {
        return wrong(format!(
            "the identity has {} octets; at most {IDENTITY_LIMIT} characters are possible",
            identity.len()
        ));
    }
    if identity.chars().any(char::is_control) {
        return wrong("the identity holds a control character".into());
    }
    Ok(())
}

fn check_text(text: &str) -> Result<(), Refused> {
    if text.len() <= TEXT_LIMIT {
        return Ok(());
    }
    Err(Refused::new(
        Refusal::TooLong,
        format!("the text has {} octets; at most {TEXT_LIMIT} are possible", text.len()),
    ))
}
