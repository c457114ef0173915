//! Backends: the lines to the world. One trait, [`Backend`], and one registry, [`ENGINES`].
//!
//! An *engine* is code (`gsm`), a *backend* is one configured line that uses it (`Zain`). Each backend has a thread
//! of its own, so it may wait for its device as long as it likes. [`bucket`] is the smallest engine and the one to copy; a new engine is one file
//! and one line in [`ENGINES`]. `docs/writing-an-engine.md` walks through one.

mod hands;
mod intake;
mod line;

pub mod bucket;
pub mod email;
pub mod gsm;
pub mod http;
pub mod httptester;
pub mod kannel;

pub use hands::Hand;
pub use intake::{Heard, Intake, Intakes};
pub use line::{Line, Mail, Post, Question, line};

use crate::message::{Incoming, MessageId, Outgoing, Receipt, Report, SendFailure};
use crate::pdu::Splitting;
use crate::router::Refused;
use crate::settings::{BackendSettings, EngineSpec};
use crate::time::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

/// One line to the world, on its own thread.
///
/// What a backend promises:
/// - it acknowledges a message to its source only after [`Line::deliver`] said `Ok`;
/// - it tells by [`Line::sent`] what became of every message that it was given, and says `Unsure` only
///   when the message may have left;
/// - every wait on a device or a peer has a time-out; work longer than its watchdog calls [`Line::working`];
/// - it returns soon after it was told to stop.
///
/// What it may rely on: it is never called from two threads; an error or a panic ends only this run of it. It is
/// built anew and started again after a growing wait, for ever, unless it said [`BackendError::Refused`].
pub trait Backend: Send {
    /// Works until it is told to stop. Without input of its own (the web listener brings it) nothing needs to be written here.
    fn run(&mut self, line: &Line) -> Result<(), BackendError> {
        line.up("ready");
        line.serve(|outgoing| self.send(outgoing));
        Ok(())
    }

    /// Sends one message.
    fn send(&mut self, outgoing: &Outgoing) -> Result<Receipt, SendFailure>;
}

/// Why a backend could not go on: who must act decides.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum BackendError {
    /// The device, the peer or the login is gone; it may come back by itself, so it is tried again.
    Lost(String),
    /// Somebody must change something (a wrong PIN, a wrong setting); until then it is parked.
    Refused(String),
}

impl fmt::Display for BackendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BackendError::Lost(why) | BackendError::Refused(why) => f.write_str(why),
        }
    }
}

impl std::error::Error for BackendError {}

/// The router's counter, as a [`Line`] sees it; the shell stands behind it, or a test.
pub trait Exchange: Send + Sync {
    /// See [`Line::deliver`].
    fn deliver(&self, incoming: Incoming) -> Result<MessageId, Refused>;
    /// See [`Line::report`].
    fn report(&self, report: Report) -> Result<(), Refused>;
    /// See [`Line::sent`].
    fn sent(&self, id: MessageId, result: Result<Receipt, SendFailure>);
    /// See [`Line::up`].
    fn up(&self, sentence: &str);
    /// See [`Line::note`].
    fn note(&self, sentence: &str);
}

/// Makes a backend of its settings. Called before each start; it opens nothing yet.
pub type Build = fn(&BackendSettings) -> Result<Box<dyn Backend>, BackendError>;
/// Makes the inbound side of a backend of its settings.
pub type BuildIntake = fn(&BackendSettings) -> Result<Arc<dyn Intake>, BackendError>;
/// Says for `rapidsms send --dry-run` what exactly would go out, secrets masked, and what a pasted answer of the gateway would mean.
pub type Rehearse = fn(&BackendSettings, &Outgoing, Option<&str>) -> Result<String, String>;

/// An implementation of [`Backend`], as the settings know it. [`Engine::plain`] is one that only sends.
#[derive(Clone, Copy)]
pub struct Engine {
    /// Its name and its settings.
    pub spec: EngineSpec,
    /// How many messages it may have in hand at once, when the settings do not say.
    pub window: usize,
    /// Whether it takes a [`Question`] to the network ([`Line::question`]).
    pub asks: bool,
    /// How a backend with these settings cuts texts into the parts of an SMS; `None` where texts are not cut.
    pub splitting: fn(&BackendSettings) -> Option<Splitting>,
    /// See [`Intake`]; none for an engine that no gateway calls.
    pub intake: Option<BuildIntake>,
    /// Host and port of a listener of its own for the intake, where the settings ask for one.
    pub listens: fn(&BackendSettings) -> Option<(String, u16)>,
    /// None for an engine whose sending is no request that could be shown.
    pub rehearse: Option<Rehearse>,
    /// Whether its messages come with what was stored of those that they answer ([`Outgoing::answered`]).
    pub shows_answered: bool,
    /// Makes the backend.
    pub build: Build,
}

impl Engine {
    /// An engine that takes one message after the other and does nothing else. Write what differs before it:
    /// `Engine { window: 16, ..Engine::plain(SPEC, build) }`.
    pub const fn plain(spec: EngineSpec, build: Build) -> Engine {
        Engine {
            spec,
            window: 1,
            asks: false,
            splitting: |_| None,
            intake: None,
            listens: |_| None,
            rehearse: None,
            shows_answered: false,
            build,
        }
    }
}

impl fmt::Debug for Engine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Engine").field(&self.spec.name).finish()
    }
}

/// The engines of this program.
pub const ENGINES: &[Engine] =
    &[bucket::ENGINE, httptester::ENGINE, gsm::ENGINE, http::ENGINE, kannel::ENGINE, email::ENGINE];

/// The wall clock, for engines that need the time of day for what they send.
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
