//! The router: accept, step, sent, report. It has no thread, reads no clock and opens nothing: time is an argument,
//! effects come out as values. The daemon is this value with threads around it; a test or a script is this value alone.
//!
//! Life with a router is a loop over one transaction after the other:
//!
//! 1. tell it what happened: [`accept`](Router::accept), [`submit`](Router::submit), [`sent`](Router::sent), [`report`](Router::report), [`answer`](Router::answer);
//! 2. [`step`](Router::step): apps run over what the *last* commit made safe, then messages are claimed and taken;
//! 3. [`commit`](Router::commit): everything since the last commit becomes durable at once. Only now may anything be
//!    acknowledged to its source, and only now are the messages to send given out, and the [`calls`](Router::calls) to make.
//!
//! It works from what the store says is unfinished or due, so starting after a crash is no special case: [`Router::new`]
//! asks the store what was left, and the first `step` goes on with it.

mod calls;
mod delivery;
mod durable;
mod groups;
mod handling;
mod intake;
mod joining;
mod policy;
mod quota;
mod reports;

pub use calls::{CALL_TIME, CallOutcome};
pub use groups::{Balance, GroupPolicy, Member};
pub use policy::{BackendPolicy, Counters, Policy, Refusal, Refused};
pub use quota::{Caps, Rate};

use crate::apps::Host;
use crate::guard::LoopGuard;
use crate::message::{Direction, Ids, MessageId, Name, News, Outgoing, State};
use crate::phases::Apps;
use crate::store::{Settlement, Store, StoreError, Unfinished};
use crate::time::Timestamp;
use calls::Calls;
use delivery::{Desk, Flight, NextDue};
use durable::Change;
use foldhash::{HashMap, HashMapExt as _};
use groups::Group;
use handling::Owed;
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
    groups: HashMap<Name, Group>,
    ids: Ids,
    guard: LoopGuard,
    counters: Counters,

    /// Claimed in the open transaction; to be run after its commit.
    claimed: Vec<Unfinished>,
    /// Claimed and committed: to be run now.
    ready: Vec<Unfinished>,
    /// Messages whose app answers later.
    pending: Owed,
    /// There may be received messages that nobody claimed.
    unclaimed: bool,
    /// There may be received messages that were claimed by a process that ended. They are run one by one, so
    /// that one that kills the process is known.
    suspects: bool,

    /// When the longer message that has waited longest for its pieces is delivered as it is.
    oldest_set: NextDue,

    /// Taken in the open transaction; given out by its commit.
    taken: Vec<Outgoing>,
    /// Given to a backend; its outcome is not known yet.
    flights: HashMap<MessageId, Flight>,

    /// Calls to programs that want to hear what becomes of their messages.
    calls: Calls,

    /// What the open transaction decided. Kept until its commit: when that fails, it is written again, for an app is not asked twice.
    outcomes: Vec<Change>,
    /// The number of the last step of the clock.
    shifts: u64,
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

impl Router {
    /// A router on `store`. `seed` makes the random part of ids and the spread of waits; take it from the system where
    /// stores of several machines may meet, any number in a test. What an earlier process left unfinished goes on at the first `step`.
    pub fn new(store: Box<dyn Store>, apps: Apps, policy: Policy, seed: u64) -> Router {
        let ids = Ids::new(store.newest(), seed);
        let shifts = store.shifts();
        let mut guard = LoopGuard::default();
        guard.set_limits(policy.loop_limits.clone());
        let mut router = Router {
            store,
            apps,
            policy,
            desks: HashMap::new(),
            groups: HashMap::new(),
            ids,
            guard,
            counters: Counters::default(),
            claimed: Vec::new(),
            ready: Vec::new(),
            pending: Owed::default(),
            unclaimed: true,
            suspects: true,
            oldest_set: NextDue::Unknown,
            taken: Vec::new(),
            flights: HashMap::new(),
            calls: Calls::default(),
            outcomes: Vec::new(),
            shifts,
            doomed: None,
            trouble: None,
            started: false,
            recover: true,
            cure_at: Timestamp(i64::MIN),
            sweep_at: Timestamp(i64::MIN),
            clock_behind: false,
            stopping: false,
        };
        router.set_groups();
        router
    }

    /// Starts the apps. Returns what failed, by name; the others run.
    pub fn start_apps(&mut self, host: &Host) -> Vec<String> {
        self.apps.start(host)
    }

    /// Takes other apps from now on, started by the caller, and gives back the old ones. Messages for which an old one owes an
    /// answer are put back, as at a clean stop: the new ones are asked.
    pub fn set_apps(&mut self, apps: Apps, now: Timestamp) -> Apps {
        for id in self.pending.take() {
            self.record(Change::PutBack { id, at: now });
        }
        std::mem::replace(&mut self.apps, apps)
    }

    /// Changes the rules from now on.
    pub fn set_policy(&mut self, policy: Policy) {
        self.guard.set_limits(policy.loop_limits.clone());
        self.policy = policy;
        self.oldest_set = NextDue::Unknown;
        (self.unclaimed, self.suspects) = (true, true);
        self.set_groups();
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

    /// Does everything that can be done now. The transaction stays open: [`commit`](Router::commit) follows.
    pub fn step(&mut self, now: Timestamp) {
        if self.doomed.is_some() || !self.healed(now) {
            return;
        }
        for unfinished in std::mem::take(&mut self.ready) {
            self.run(unfinished, now);
        }
        for id in self.pending.late(now) {
            self.give_up(id, "timed out", now);
        }
        self.store.running(None);
        if self.trouble.is_none() {
            self.join_overdue(now);
            self.claim(now);
            self.release_held(now);
            self.sweep(now);
            self.take(now);
            self.take_calls(now);
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
        if let Some(deadline) = self.pending.next_deadline() {
            earlier(deadline);
        }
        if !self.stopping {
            if (self.unclaimed || self.suspects) && self.pending.len() < self.policy.max_pending_total {
                earlier(now);
            }
            if self.desks.values().any(|desk| desk.release.is_some()) {
                earlier(now);
            }
            let desks = self.desks.values().filter(|desk| desk.is_open()).map(|desk| desk.next_due);
            for due in desks.chain(self.groups.values().flat_map(Group::due)) {
                match due {
                    NextDue::Unknown => earlier(now),
                    NextDue::At(at) => earlier(at),
                    NextDue::Never => {}
                }
            }
            match self.calls.next_due {
                NextDue::Unknown => earlier(now),
                NextDue::At(at) => earlier(at),
                NextDue::Never => {}
            }
            match self.oldest_set {
                _ if self.clock_behind => {}
                NextDue::Unknown => earlier(now),
                NextDue::At(at) => earlier(at),
                NextDue::Never => {}
            }
            let may_expire = self.store.waiting(Direction::Out) > 0 || self.store.waiting_calls() > 0;
            if !self.clock_behind && may_expire {
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
            self.shifts += 1;
            self.record(Change::Shift { number: self.shifts, step });
            self.look_everywhere();
            self.desks.values_mut().for_each(|desk| desk.shift(step));
            self.oldest_set = NextDue::Unknown;
            self.pending.shift(step);
            self.calls.shift(step);
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
        let in_hand: Vec<MessageId> = ready.chain(self.pending.take()).collect();
        for id in in_hand {
            let put_back = self.store.put_back(id, now);
            if self.written(put_back).is_err() {
                break;
            }
        }
        self.apps.stop()
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
            self.expire(id, false, now);
        }
        let swept = self.sweep_calls(now);
        let _ = self.written(swept);
        self.look_everywhere();
    }

    /// Ends a message whose validity is over. `taken`: it was claimed just now, which is no attempt.
    fn expire(&mut self, id: MessageId, taken: bool, now: Timestamp) {
        let settlement = Settlement { uncounted: taken, ..Settlement::new(State::Expired, "router") }
            .because("its validity ended before it could be sent");
        self.record(Change::Settle { id, settlement, charge: None, news: Some(News::Failed), at: now });
    }
}
