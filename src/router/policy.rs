//! The rules a router works by, what it refuses and what it counts: plain data.

use super::groups::GroupPolicy;
use super::quota::{Caps, Rate};
use crate::guard;
use crate::message::Name;
use crate::retry::OnUncertain;
use serde::Serialize;
use std::fmt;
use std::time::Duration;

/// The rules for everything; a backend may have its own ([`BackendPolicy`]).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Policy {
    /// How long a message is worth sending.
    pub validity: Duration,
    /// What to do about a message that may already have left.
    pub on_uncertain: OnUncertain,
    /// How long an app may take that answers later.
    pub app_timeout: Duration,
    /// How many messages of one backend may wait for such answers at once. The others go on.
    pub max_pending: usize,
    /// How many of all backends together may. More than one backend's bound, so that none exhausts it.
    pub max_pending_total: usize,
    /// Beyond so many unhandled messages of one backend nothing more is accepted from it: the source keeps them. The others go on.
    pub max_waiting: u64,
    /// Beyond so many unhandled messages of all backends together nothing more is accepted at all.
    pub max_waiting_total: u64,
    /// How long a longer message waits for its missing pieces, after the newest of them.
    pub join_within: Duration,
    /// So many longer messages of one sender may be incomplete; beyond that the one that waited longest is delivered as it is.
    pub max_sets: usize,
    /// So many pieces of one backend may wait for others; beyond that the message that waited longest is delivered as it is.
    pub max_pieces: u64,
    /// Beyond so many unsent messages of one backend programs are refused there; replies are always queued.
    pub max_queued: u64,
    /// The same of all backends together.
    pub max_queued_total: u64,
    /// Beyond so many calls that wait to be made, the one that has waited longest is given up for each new one.
    pub max_calls: u64,
    /// How many messages are claimed for the apps in one transaction.
    pub batch: usize,
    /// How often the process may end while a message is handled before the message is set aside.
    pub poison_tries: u32,
    /// Ended messages are deleted after this long; never, when not said.
    pub retention: Option<Duration>,
    /// When machines that answer each other are stopped.
    pub loop_limits: guard::Limits,
    /// Backends that send from one queue.
    pub groups: Vec<GroupPolicy>,
}

impl Default for Policy {
    fn default() -> Policy {
        Policy {
            validity: Duration::from_secs(48 * 3600),
            on_uncertain: OnUncertain::Resend,
            app_timeout: Duration::from_secs(10),
            max_pending: 1_000,
            max_pending_total: 100_000,
            max_waiting: 100_000,
            max_waiting_total: 1_000_000,
            join_within: Duration::from_secs(24 * 3600),
            max_sets: 8,
            max_pieces: 10_000,
            max_queued: 1_000_000,
            max_queued_total: 5_000_000,
            max_calls: 1_000_000,
            batch: 256,
            poison_tries: 3,
            retention: None,
            loop_limits: guard::Limits::default(),
            groups: Vec::new(),
        }
    }
}

/// The rules for one backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct BackendPolicy {
    /// How many messages it may have in hand at once.
    pub window: usize,
    /// Whether it is a tester: its traffic is test traffic, and that of others may end there.
    pub tester: bool,
    /// Whether test traffic may leave by it.
    pub allow_test_traffic: bool,
    /// Whether machines that answer each other are stopped.
    pub loop_guard: bool,
    /// How long a message is worth sending here.
    pub validity: Option<Duration>,
    /// What to do about a message that may already have left.
    pub on_uncertain: Option<OnUncertain>,
    /// How much it may send.
    pub caps: Caps,
    /// How fast it may send.
    pub rate: Rate,
    /// Whether it is shown what was stored of the message that one of its messages answers.
    pub shows_answered: bool,
}

impl BackendPolicy {
    /// The rules of a line to real people: one message in hand, guarded.
    pub fn real() -> BackendPolicy {
        BackendPolicy {
            window: 1,
            tester: false,
            allow_test_traffic: false,
            loop_guard: true,
            validity: None,
            on_uncertain: None,
            caps: Caps::default(),
            rate: Rate::default(),
            shows_answered: false,
        }
    }

    /// The rules of a tester: whatever a tester says is answered.
    pub fn tester() -> BackendPolicy {
        BackendPolicy { window: 256, tester: true, loop_guard: false, ..BackendPolicy::real() }
    }
}

/// The router did not take something; its source keeps it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Refused {
    /// What kind of no this is.
    pub refusal: Refusal,
    /// The reason, as a sentence for people.
    pub reason: String,
}

/// Kinds of no.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Refusal {
    /// There is no such backend (HTTP 404).
    UnknownBackend,
    /// The message itself is wrong; it would be refused again (HTTP 400).
    Invalid,
    /// The text is too long (HTTP 413).
    TooLong,
    /// The idempotency key belongs to another message (HTTP 422).
    Conflict,
    /// Too much waits already (HTTP 503).
    Busy,
    /// The store cannot take it now (HTTP 503).
    Store,
    /// The router is stopping (HTTP 503).
    Stopping,
}

impl Refused {
    /// A no with its reason.
    pub fn new(refusal: Refusal, reason: impl Into<String>) -> Refused {
        Refused { refusal, reason: reason.into() }
    }

    /// Whether the same would be taken later.
    pub fn is_temporary(&self) -> bool {
        matches!(self.refusal, Refusal::Busy | Refusal::Store | Refusal::Stopping)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

pub(super) fn unknown_backend(name: &Name) -> Refused {
    Refused::new(
        Refusal::UnknownBackend,
        format!("no backend named \"{}\" is configured", name.escape_debug()),
    )
}

/// What a router counted since its start.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize)]
pub struct Counters {
    /// Messages accepted from sources, repetitions included.
    pub accepted: u64,
    /// Repetitions among them.
    pub duplicates: u64,
    /// Messages set aside.
    pub quarantined: u64,
    /// Attempts whose outcome is unknown.
    pub uncertain: u64,
    /// Calls into apps that failed.
    pub app_failures: u64,
    /// Late answers that nobody waited for any more.
    pub late_answers: u64,
    /// Replies stopped by the loop guard.
    pub loops: u64,
    /// Commits that failed.
    pub failed_commits: u64,
    /// Reports about messages that nobody knows.
    pub unknown_reports: u64,
}
