//! The notice board: how everything is, for pages, the CLI and health checks, readable from any thread.

use super::latency::Histogram;
use crate::message::Name;
use crate::pdu::Splitting;
use crate::router::Counters;
use crate::time::Timestamp;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How everything is.
#[derive(Clone, Default)]
pub struct Board(Arc<Mutex<Notices>>);

/// What stands on the board.
#[derive(Clone, Default, Debug)]
pub struct Notices {
    /// When the router began to accept; none before.
    pub started_at: Option<Timestamp>,
    /// When the router's thread last finished a round.
    pub progress_at: Timestamp,
    /// The backends by name.
    pub backends: BTreeMap<Name, BackendNotice>,
    /// The groups in the order of the settings file.
    pub groups: Vec<GroupNotice>,
    /// Why nothing is accepted, if so.
    pub trouble: Option<String>,
    /// How far the wall clock lies behind the newest message.
    pub clock_behind: Duration,
    /// What the router counted.
    pub counters: Counters,
    /// Received messages that wait for the apps.
    pub waiting_in: u64,
    /// Messages that wait to be sent.
    pub waiting_out: u64,
    /// Calls to programs that wait to be made, or to be made again.
    pub waiting_callbacks: u64,
    /// Messages whose app answers later.
    pub pending: usize,
    /// Backend threads that were given up.
    pub abandoned: u32,
    /// The router is stopping.
    pub stopping: bool,
}

/// The state of a backend.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum BackendState {
    /// It has not said anything yet.
    Starting,
    /// It takes messages.
    Up,
    /// It is down and tried again.
    Down,
    /// It is down until somebody does something.
    Parked,
}

impl BackendState {
    /// The word for pages and the CLI.
    pub fn as_str(self) -> &'static str {
        match self {
            BackendState::Starting => "starting",
            BackendState::Up => "up",
            BackendState::Down => "down",
            BackendState::Parked => "parked",
        }
    }
}

/// One backend.
#[derive(Clone, Debug, Serialize)]
pub struct BackendNotice {
    /// Its name.
    pub name: Name,
    /// Its place in the settings file.
    #[serde(skip)]
    pub place: usize,
    /// Its engine.
    pub engine: &'static str,
    /// Whether it is a tester.
    pub tester: bool,
    /// How it cuts texts into parts, where it does.
    #[serde(skip)]
    pub splitting: Option<Splitting>,
    /// Its state.
    pub state: BackendState,
    /// The state in one sentence.
    pub sentence: String,
    /// Since when.
    pub since: Timestamp,
    /// The cap that keeps it from sending, as a sentence; none when nothing does.
    pub capped: Option<String>,
    /// How many messages it has in hand.
    pub in_flight: usize,
    /// How often it went down since the router started.
    pub failures: u64,
    /// How many of its threads were given up.
    pub abandoned: u32,
    /// When it last brought a message.
    pub last_in: Option<Timestamp>,
    /// When it last sent one.
    pub last_out: Option<Timestamp>,
    /// From accepting a message to handing its first reply to this backend.
    #[serde(skip)]
    pub reply_times: Histogram,
    /// From accepting a message for sending until the carrier took it.
    #[serde(skip)]
    pub send_times: Histogram,
}

/// Backends that send from one queue.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct GroupNotice {
    /// The group's name.
    pub name: Name,
    /// Its members.
    pub members: Vec<Name>,
}

/// Whether the router is well, and what is not.
#[derive(Clone, Debug, Serialize)]
pub struct Health {
    /// `ok`, `degraded` (messages are accepted, something needs attention) or `failing` (nothing is accepted).
    pub status: &'static str,
    /// Each thing that is wrong, with what to do.
    pub reasons: Vec<String>,
    /// How many calls to programs about their messages wait to be made.
    pub waiting_callbacks: u64,
}

impl Board {
    /// The notices; hold them only for a moment.
    pub fn lock(&self) -> MutexGuard<'_, Notices> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether messages can be sent to a backend or a group of this name.
    pub fn knows(&self, name: &str) -> bool {
        let notices = self.lock();
        notices.backends.contains_key(name) || notices.groups.iter().any(|group| *group.name == *name)
    }

    /// A copy of one backend's notice.
    pub fn backend(&self, name: &str) -> Option<BackendNotice> {
        self.lock().backends.get(name).cloned()
    }
}

impl Notices {
    /// The backends in the order of the settings file. A cap that is reached is part of the sentence.
    pub fn in_order(&self) -> Vec<BackendNotice> {
        let mut notices: Vec<BackendNotice> = self.backends.values().cloned().collect();
        for notice in &mut notices {
            if let (Some(capped), BackendState::Up) = (&notice.capped, notice.state) {
                notice.sentence = format!("{}; {capped}", notice.sentence);
            }
        }
        notices.sort_by_key(|notice| notice.place);
        notices
    }

    /// Changes a backend's notice.
    pub fn change(&mut self, name: &str, state: Option<BackendState>, sentence: &str, now: Timestamp) {
        if let Some(notice) = self.backends.get_mut(name) {
            if let Some(state) = state {
                if state != notice.state {
                    notice.since = now;
                }
                notice.failures += u64::from(state == BackendState::Down);
                notice.state = state;
            }
            notice.sentence = sentence.to_string();
        }
    }

    /// A backend brought a message.
    pub fn came_in(&mut self, name: &str, now: Timestamp) {
        if let Some(notice) = self.backends.get_mut(name) {
            notice.last_in = Some(now);
        }
    }

    /// A carrier took a message, which was accepted for sending so long ago.
    pub fn left(&mut self, name: &str, took: Duration, now: Timestamp) {
        if let Some(notice) = self.backends.get_mut(name) {
            notice.last_out = Some(now);
            notice.send_times.add(took);
        }
    }

    /// A reply is handed to its backend for the first time, so long after its question was accepted.
    pub fn replied(&mut self, name: &str, took: Duration) {
        if let Some(notice) = self.backends.get_mut(name) {
            notice.reply_times.add(took);
        }
    }

    /// Whether all is well, in sentences.
    pub fn health(&self) -> Health {
        let mut reasons = Vec::new();
        let mut failing = false;
        if let Some(trouble) = &self.trouble {
            failing = true;
            reasons.push(format!("Nothing is accepted: {trouble}."));
        }
        if self.started_at.is_none() {
            failing = true;
            reasons.push("The router is starting.".into());
        }
        if self.stopping {
            failing = true;
            reasons.push("The router is stopping.".into());
        }
        if self.clock_behind > Duration::ZERO {
            let hours = self.clock_behind.as_secs() / 3600;
            reasons.push(format!(
                "The clock lies {hours} hours behind the newest message; nothing expires until it is set right."
            ));
        }
        for notice in self.backends.values() {
            match notice.state {
                BackendState::Up => {
                    let capped = notice.capped.iter();
                    reasons
                        .extend(capped.map(|why| format!("Backend {} sends nothing: {why}.", notice.name)));
                }
                BackendState::Starting => {}
                BackendState::Down => {
                    reasons.push(format!("Backend {} is down: {}.", notice.name, notice.sentence));
                }
                BackendState::Parked => {
                    reasons.push(format!("Backend {} is parked: {}.", notice.name, notice.sentence));
                }
            }
        }
        if self.abandoned > 0 {
            reasons.push(format!("{} stuck backend threads were given up.", self.abandoned));
        }
        let status = match (failing, reasons.is_empty()) {
            (true, _) => "failing",
            (false, true) => "ok",
            (false, false) => "degraded",
        };
        Health { status, reasons, waiting_callbacks: self.waiting_callbacks }
    }
}
