//! The router's outgoing half: which backend may have how many messages, what became of each, and reports.

use super::durable::Change;
use super::quota::{self, Charge};
use super::{BackendPolicy, Refused, Router, policy};
use crate::message::{MessageId, Name, News, Receipt, SendFailure, State};
use crate::retry::{self, Decision};
use crate::store::{Query, Settlement, Store, StoreError, Taken};
use crate::time::Timestamp;
use std::time::Duration;

/// A backend, as the router sees it.
pub(super) struct Desk {
    pub(super) policy: BackendPolicy,
    /// It takes messages.
    up: bool,
    /// It will not take any until somebody does something: why.
    pub(super) parked: Option<String>,
    /// What was held while it was parked is to be queued.
    pub(super) release: Option<Release>,
    pub(super) in_flight: usize,
    pub(super) next_due: NextDue,
    /// When it was last given a message.
    last_taken: Option<Timestamp>,
    /// The last that it took was its own: the next is a group's, if there is one.
    pub(super) groups_first: bool,
    /// The cap that keeps it from sending, as a sentence.
    capped: Option<String>,
}

/// How far the messages held for a parked backend are queued again.
#[derive(Default)]
pub(super) struct Release {
    /// Up to this one they are.
    after: Option<MessageId>,
    /// What was held when this began is committed, so that a reader sees it.
    pub(super) committed: bool,
}

/// When a backend's next message falls due, as far as is known.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum NextDue {
    Unknown,
    At(Timestamp),
    Never,
}

impl Desk {
    /// Something may have become due.
    pub(super) fn look_again(&mut self) {
        self.next_due = NextDue::Unknown;
    }

    /// The clock made a step.
    pub(super) fn shift(&mut self, step: Duration) {
        self.last_taken = self.last_taken.map(|at| at + step);
    }

    /// It takes messages, sooner or later.
    pub(super) fn is_up(&self) -> bool {
        self.up
    }

    /// The same, and no cap keeps it from sending.
    pub(super) fn is_able(&self) -> bool {
        self.up && self.capped.is_none()
    }

    /// It can take a message now.
    pub(super) fn is_open(&self) -> bool {
        self.up && self.in_flight < self.policy.window
    }
}

/// A message in a backend's hands.
pub(super) struct Flight {
    pub(super) backend: Name,
    /// The group from which it took the message.
    pub(super) group: Option<Name>,
    pub(super) attempt: u32,
    pub(super) uncertain: u32,
    /// Its backend had limits when it was given the message, or nobody knows.
    pub(super) counted: bool,
    /// Somebody wants to be called about it.
    pub(super) called: bool,
}

impl Flight {
    fn of(taken: &Taken, counted: bool) -> Flight {
        let Taken { outgoing, uncertain, called } = taken;
        let (backend, asked) = (&outgoing.by, &outgoing.connection.backend);
        Flight {
            backend: backend.clone(),
            group: (backend != asked).then(|| asked.clone()),
            attempt: outgoing.attempt,
            uncertain: *uncertain,
            counted,
            called: *called,
        }
    }
}

/// How many messages a backend may be given now.
pub(super) struct Allowance {
    pub(super) free: usize,
    /// When the limit ends because of which there are none, if it is one.
    pub(super) until: Option<Timestamp>,
}

impl Router {
    /// Makes a backend known, or changes its rules. It takes messages once it is [`up`](Router::backend_up).
    pub fn set_backend(&mut self, name: &Name, policy: BackendPolicy) {
        // One that was forgotten may still have something in hand.
        let flights = &self.flights;
        let in_flight = || flights.values().filter(|flight| flight.backend == *name).count();
        let desk = self.desks.entry(name.clone()).or_insert_with(|| Desk {
            policy: policy.clone(),
            up: false,
            parked: None,
            release: None,
            in_flight: in_flight(),
            next_due: NextDue::Unknown,
            last_taken: None,
            groups_first: false,
            capped: None,
        });
        desk.policy = policy;
        desk.look_again();
        self.look_at_groups();
    }

    /// Forgets a backend that is configured no more. What still waits for it stays stored until its validity ends.
    pub fn remove_backend(&mut self, name: &str) {
        self.desks.remove(name);
    }

    /// The backend takes messages from now on.
    pub fn backend_up(&mut self, name: &str) {
        if let Some(desk) = self.desks.get_mut(name) {
            desk.up = true;
            desk.parked = None;
            desk.look_again();
        }
        self.look_at_groups();
    }

    /// The backend takes no messages for now; they wait.
    pub fn backend_down(&mut self, name: &str) {
        if let Some(desk) = self.desks.get_mut(name) {
            desk.up = false;
        }
        // Somebody else may have to stand in.
        self.look_at_groups();
    }

    /// The backend takes no messages until somebody does something; new ones are held for a person.
    pub fn backend_parked(&mut self, name: &str, why: &str) {
        if let Some(desk) = self.desks.get_mut(name) {
            desk.up = false;
            desk.release = None;
            desk.parked = Some(why.to_string());
        }
        self.look_at_groups();
    }

    /// Queues what was held while the backend was parked, in the next steps; for a backend that is up after all (a build that has its
    /// engine, a mended setting). What a person held stays held.
    pub fn release_parked(&mut self, name: &str) {
        if let Some(desk) = self.desks.get_mut(name) {
            desk.release = Some(Release::default());
        }
    }

    /// Queues a part of what is held for each backend that is parked no more.
    pub(super) fn release_held(&mut self, now: Timestamp) {
        const AT_ONCE: usize = 1_000;
        if self.stopping || self.doomed.is_some() {
            return;
        }
        let ready = |desk: &Desk| desk.release.as_ref().is_some_and(|release| release.committed);
        let names: Vec<Name> =
            self.desks.iter().filter(|(_, desk)| ready(desk)).map(|(name, _)| name.clone()).collect();
        for name in names {
            let Some(release) = self.desks.get_mut(&name).and_then(|desk| desk.release.take()) else {
                continue;
            };
            let query = Query {
                backend: Some(name.to_string()),
                state: Some(State::Held),
                after: release.after,
                ascending: true,
                limit: AT_ONCE,
                ..Query::default()
            };
            let page = match self.store.reader().and_then(|mut reader| reader.messages(&query)) {
                Ok(page) => page,
                Err(error) => {
                    log::warn!("what is held for backend {name} stays held until it is up again: {error}");
                    continue;
                }
            };
            let parked = parked_because(&name, "");
            for row in page.messages {
                if row.reason.is_some_and(|reason| reason.starts_with(&parked)) {
                    let settlement =
                        Settlement { due: Some(now), ..Settlement::new(State::Queued, "router") }
                            .because("the backend is parked no more");
                    let id = row.id;
                    self.record(Change::Settle { id, settlement, charge: None, news: None, at: now });
                }
            }
            if let Some(desk) = self.desks.get_mut(&name) {
                desk.look_again();
                desk.release = page.next.map(|next| Release { after: Some(next), committed: true });
            }
        }
    }

    /// The backend's thread is lost: what it had `begun` may or may not have left, the rest certainly did not.
    pub fn backend_abandoned(&mut self, name: &str, begun: &[MessageId], now: Timestamp) {
        self.backend_down(name);
        let lost = self.flights.iter().filter(|(_, flight)| &*flight.backend == name);
        for id in lost.map(|(id, _)| *id).collect::<Vec<_>>() {
            let why = "the backend stopped answering".to_string();
            let failure =
                if begun.contains(&id) { SendFailure::Unsure(why) } else { SendFailure::Untried(why) };
            self.sent(id, Err(failure), now);
        }
    }

    /// How many messages the backend has in hand.
    pub fn in_flight(&self, name: &str) -> usize {
        self.desks.get(name).map_or(0, |desk| desk.in_flight)
    }

    /// A backend tells what became of a message that it was given.
    pub fn sent(&mut self, id: MessageId, result: Result<Receipt, SendFailure>, now: Timestamp) {
        let Some(flight) = self.flights.remove(&id) else {
            // Given up long ago; but that it did leave is worth knowing.
            if let Ok(receipt) = result {
                self.sent_after_all(id, receipt, now);
            }
            return;
        };
        if let Some(desk) = self.desks.get_mut(&flight.backend) {
            desk.in_flight = desk.in_flight.saturating_sub(1);
            desk.look_again();
        }
        self.look_at_groups();
        self.settle_attempt(id, flight, result, now);
    }

    /// A message left by a thread that was given up. It may be in the hands of the next one by now, and stays in them: that one
    /// tells what became of its own attempt, and until then its place is taken.
    pub fn sent_after_all(&mut self, id: MessageId, receipt: Receipt, now: Timestamp) {
        let settlement = Settlement::new(State::Sent, "late news").because("sent after all");
        self.record(Change::Settle {
            id,
            settlement: with_receipt(settlement, receipt),
            charge: None,
            news: Some(News::Taken),
            at: now,
        });
    }

    /// A person decides about a message: `queued` releases a held one, `held` and `cancelled` stop one that
    /// waits. `false` when it has gone too far for that.
    pub fn decide_by_hand(
        &mut self,
        id: MessageId,
        state: State,
        actor: &str,
        now: Timestamp,
    ) -> Result<bool, Refused> {
        self.may_write(now)?;
        if !matches!(state, State::Queued | State::Held | State::Cancelled) {
            return Err(Refused::new(
                policy::Refusal::Invalid,
                format!("a person can make a message queued, held or cancelled, not {state}"),
            ));
        }
        if self.flights.contains_key(&id) {
            return Ok(false);
        }
        let settlement =
            Settlement { due: Some(now), ..Settlement::new(state, actor) }.because("decided by hand");
        let settled = self.store.settle(id, &settlement, now);
        let settled = self.written(settled)?;
        if settled && state == State::Cancelled {
            let told = self.tell(id, News::Failed, Some("cancelled by hand"), true, now);
            self.written(told)?;
        }
        self.look_everywhere();
        Ok(settled)
    }

    /// Why a backend sends nothing although it could: a cap is reached. A sentence for people.
    pub fn capped(&self, name: &str) -> Option<&str> {
        self.desks.get(name).and_then(|desk| desk.capped.as_deref())
    }

    /// What an attempt that left, or may have, adds to the counts of a backend that has limits.
    fn charge(&self, name: &Name, parts: Option<u32>, now: Timestamp) -> Option<Charge> {
        let policy = &self.desks.get(name)?.policy;
        let limits = quota::limits(&policy.caps, &policy.rate, now);
        let periods: Vec<_> = limits.into_iter().map(|limit| (limit.period, limit.since)).collect();
        let charge = Charge { backend: name.clone(), parts: parts.unwrap_or(1).max(1), periods };
        Some(charge).filter(|charge| !charge.periods.is_empty())
    }

    /// Gives each open backend what is due for it: from its own queue, and from those of its groups. Where there is something in both, they take turns.
    pub(super) fn take(&mut self, now: Timestamp) {
        if self.stopping || self.doomed.is_some() {
            return;
        }
        let (groups_first, own_first): (Vec<Name>, Vec<Name>) =
            self.desks.keys().cloned().partition(|name| self.desks[name].groups_first);
        let taken = self
            .take_own(&own_first, now)
            .and_then(|()| self.take_for_groups(now))
            .and_then(|()| self.take_own(&groups_first, now));
        if let Err(error) = taken {
            self.doomed.get_or_insert(error);
        }
    }

    fn take_own(&mut self, names: &[Name], now: Timestamp) -> Result<(), StoreError> {
        for name in names {
            let Some(desk) = self.desks.get_mut(name) else { continue };
            let due = match desk.next_due {
                NextDue::Unknown => true,
                NextDue::At(at) => at <= now,
                NextDue::Never => false,
            };
            if !due || !desk.is_open() {
                continue;
            }
            let Allowance { free, until } = allowance(&mut *self.store, name, desk, now)?;
            if free == 0 {
                desk.next_due = until.map_or(desk.next_due, NextDue::At);
                continue;
            }
            let taken = self.store.take_due(name, free, now)?;
            if taken.len() < free {
                desk.next_due = self.store.next_due(name)?.map_or(NextDue::Never, NextDue::At);
            }
            desk.groups_first = !taken.is_empty();
            self.give(name, taken, now);
        }
        Ok(())
    }

    /// Notes what a backend took; it is given to it by the commit.
    pub(super) fn give(&mut self, name: &Name, taken: Vec<Taken>, now: Timestamp) {
        for mut taken in taken {
            let outgoing = &taken.outgoing;
            let stale = outgoing.expires_at <= now && !self.clock_behind;
            let Some(desk) = self.desks.get_mut(name) else { return };
            if stale {
                // After a long pause there are more than one sweep finds.
                desk.next_due = NextDue::Unknown;
                self.expire(outgoing.id, true, now);
                continue;
            }
            desk.in_flight += 1;
            desk.last_taken = Some(now);
            let counted = quota::has_limits(&desk.policy.caps, &desk.policy.rate);
            let shows_answered = desk.policy.shows_answered;
            self.flights.insert(outgoing.id, Flight::of(&taken, counted));
            if shows_answered && let Some(answered) = taken.outgoing.in_response_to {
                taken.outgoing.answered = self.stored_of(name, answered);
            }
            self.taken.push(taken.outgoing);
        }
    }

    /// What was stored of a message that came in by this very backend. An error dooms the transaction, so that nothing is given out.
    fn stored_of(&mut self, name: &Name, id: MessageId) -> Option<Vec<u8>> {
        let backend = self.store.backend_of(id);
        if self.written(backend).ok()?? != *name {
            return None;
        }
        let raw = self.store.raw(id);
        self.written(raw).ok()?
    }

    /// A message was `sending` when an earlier process ended; or its claim turned out to be on disk although the commit failed: then it was never given out.
    pub(super) fn settle_stranded(&mut self, taken: Taken, now: Timestamp) {
        let (id, flight) = (taken.outgoing.id, Flight::of(&taken, true));
        let failure = if self.started {
            SendFailure::Untried("the store failed before it was given to its backend".into())
        } else {
            SendFailure::Unsure("the process ended while it was being sent".into())
        };
        self.settle_attempt(id, flight, Err(failure), now);
    }

    fn settle_attempt(
        &mut self,
        id: MessageId,
        flight: Flight,
        result: Result<Receipt, SendFailure>,
        now: Timestamp,
    ) {
        let actor = ["backend ", &flight.backend].concat();
        let charge = match &result {
            _ if !flight.counted => None,
            Ok(receipt) => self.charge(&flight.backend, receipt.parts, now),
            Err(SendFailure::Unsure(_)) => self.charge(&flight.backend, None, now),
            Err(_) => None,
        };
        let mut news = Some(News::Taken);
        let settlement = match result {
            Ok(receipt) => with_receipt(Settlement::new(State::Sent, actor), receipt),
            Err(failure) => {
                let on_uncertain = self
                    .desks
                    .get(&flight.backend)
                    .and_then(|desk| desk.policy.on_uncertain)
                    .unwrap_or(self.policy.on_uncertain);
                if matches!(failure, SendFailure::Unsure(_)) {
                    self.counters.uncertain += 1;
                }
                let jitter = id.tail() as u64 ^ u64::from(flight.attempt).wrapping_mul(0x9e37_79b9);
                let mut decision =
                    retry::decide(&failure, flight.attempt, flight.uncertain, on_uncertain, jitter);
                let another_can = |group: &Name| self.another_can(group, &flight.backend, flight.attempt);
                if matches!(decision, Decision::Retry(_)) && flight.group.as_ref().is_some_and(another_can) {
                    // The next one need not wait for what this one could not do.
                    decision = Decision::Retry(Duration::ZERO);
                }
                news = news_of(&decision, flight.uncertain);
                settlement(decision, retry::reason(&failure), actor, now)
            }
        };
        news = news.filter(|_| flight.called);
        self.record(Change::Settle { id, settlement, charge, news, at: now });
    }
}

/// How many messages a backend may be given now.
pub(super) fn allowance(
    store: &mut dyn Store,
    name: &Name,
    desk: &mut Desk,
    now: Timestamp,
) -> Result<Allowance, StoreError> {
    let mut free = desk.policy.window.saturating_sub(desk.in_flight);
    let BackendPolicy { caps, rate, .. } = &desk.policy;
    desk.capped = None;
    if !rate.min_gap.is_zero() {
        if let Some(next) = desk.last_taken.map(|last| last + rate.min_gap).filter(|&next| next > now) {
            return Ok(Allowance { free: 0, until: Some(next) });
        }
        free = free.min(1);
    }
    let mut until = now;
    for limit in quota::limits(caps, rate, now) {
        let spent = store.spent(name, limit.period, limit.since)?;
        let left = limit.left(spent, desk.in_flight);
        if left == 0 && limit.until > until {
            until = limit.until;
            desk.capped = limit.sentence().filter(|_| spent >= limit.most);
        }
        free = free.min(left);
    }
    Ok(Allowance { free, until: Some(until).filter(|&until| until > now) })
}

/// The reason of messages that are held because their backend is parked.
pub(super) fn parked_because(name: &str, why: &str) -> String {
    format!("backend {name} is parked: {why}")
}

fn with_receipt(settlement: Settlement, receipt: Receipt) -> Settlement {
    Settlement {
        remote_ids: receipt.remote_ids,
        parts: receipt.parts,
        reason: settlement.reason.or(receipt.note),
        ..settlement
    }
}

/// What a failed attempt means for whoever wants to be called. What may have left was not refused.
fn news_of(decision: &Decision, uncertain: u32) -> Option<News> {
    match decision {
        Decision::Retry(_) | Decision::Uncertain(_) => Some(News::Buffered),
        Decision::Fail if uncertain == 0 => Some(News::Refused),
        Decision::Fail | Decision::FailUncertain => Some(News::Failed),
        Decision::Untried | Decision::Hold => None,
    }
}

fn settlement(decision: Decision, why: &str, actor: String, now: Timestamp) -> Settlement {
    let (state, wait) = match decision {
        Decision::Retry(wait) => (State::Queued, Some(wait)),
        Decision::Untried => (State::Queued, Some(Duration::ZERO)),
        Decision::Uncertain(wait) => (State::Uncertain, Some(wait)),
        Decision::Hold => (State::Held, None),
        Decision::Fail | Decision::FailUncertain => (State::Failed, None),
    };
    let reason = match decision {
        Decision::Hold => format!("uncertain, held for a person: {why}"),
        Decision::FailUncertain => format!("uncertain twice, may have arrived: {why}"),
        _ => why.to_string(),
    };
    Settlement {
        due: wait.map(|wait| now + wait),
        uncounted: decision == Decision::Untried,
        ..Settlement::new(state, actor).because(reason)
    }
}
