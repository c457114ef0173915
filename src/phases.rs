//! Runs the apps over one message: filter, parse, handle, fallback, cleanup; and over one message that leaves: outgoing.
//!
//! The rules are the old router's (reference: RapidSMS 0.9, `router/base.py`), with its defects repaired: cleanup always
//! runs, a reply is never taken for a format string, and what an app breaks is contained here and named. This room has no
//! clock, no thread and no store; a message that an app answers later is a value, [`Run`], that waits.

use crate::apps::{App, AppError, Flow, Host, LateAnswer, Message};
use crate::message::{Contact, Draft, State};
use crate::store::{ContactChange, Ending, Unfinished};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

/// The most replies and other messages that may come of one message.
pub const DRAFT_LIMIT: usize = 1_000;

/// The configured apps, in the order of INSTALLED_APPS.
#[derive(Default)]
pub struct Apps {
    slots: Vec<Slot>,
}

struct Slot {
    name: String,
    app: Box<dyn App>,
}

impl Apps {
    /// No apps yet.
    pub fn new() -> Apps {
        Apps::default()
    }

    /// Adds an app behind the others.
    pub fn push(&mut self, name: impl Into<String>, app: Box<dyn App>) {
        self.slots.push(Slot { name: name.into(), app });
    }

    /// The same, for a chain of calls.
    pub fn with(mut self, name: impl Into<String>, app: impl App + 'static) -> Apps {
        self.push(name, Box::new(app));
        self
    }

    /// Their names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.slots.iter().map(|slot| slot.name.as_str())
    }

    /// Starts each; what fails is returned by name. An app that failed to start is asked all the same, as in the old router.
    pub fn start(&mut self, host: &Host) -> Vec<String> {
        let mut failures = Vec::new();
        for slot in &mut self.slots {
            if let Err(why) = contained(|| slot.app.start(host)) {
                failures.push(format!("app {} did not start: {why}", slot.name));
            }
        }
        failures
    }

    /// Stops each, in reverse order.
    pub fn stop(&mut self) -> Vec<String> {
        let mut failures = Vec::new();
        for slot in self.slots.iter_mut().rev() {
            let stopped = contained(|| {
                slot.app.stop();
                Ok(())
            });
            if let Err(why) = stopped {
                failures.push(format!("app {} did not stop: {why}", slot.name));
            }
        }
        failures
    }

    fn name(&self, index: usize) -> &str {
        self.slots.get(index).map_or("?", |slot| slot.name.as_str())
    }
}

/// The phases of a received message, in order.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Phase {
    /// Who may go on at all.
    Filter,
    /// Reading.
    Parse,
    /// Answering.
    Handle,
    /// Answering what nobody answered; the old systems' `default`.
    Fallback,
    /// Tidying up.
    Cleanup,
}

impl Phase {
    fn next(self) -> Option<Phase> {
        match self {
            Phase::Filter => Some(Phase::Parse),
            Phase::Parse => Some(Phase::Handle),
            Phase::Handle => Some(Phase::Fallback),
            Phase::Fallback => Some(Phase::Cleanup),
            Phase::Cleanup => None,
        }
    }

    /// The word in logs and histories.
    pub fn as_str(self) -> &'static str {
        match self {
            Phase::Filter => "filter",
            Phase::Parse => "parse",
            Phase::Handle => "handle",
            Phase::Fallback => "default",
            Phase::Cleanup => "cleanup",
        }
    }
}

/// One message on its way through the phases.
#[derive(Debug)]
pub struct Run {
    message: Message,
    phase: Phase,
    app: usize,
    filtered: bool,
    /// For each draft, the app that made it.
    makers: Vec<usize>,
    /// How many of the message's changes are those of calls that succeeded.
    changes: usize,
    /// The sender, as the calls that succeeded left them.
    contact: Option<Contact>,
    decided: Option<(usize, Phase)>,
    failures: Vec<String>,
    /// An app failed and wants no other to be asked.
    given_up: bool,
}

/// Where a [`Run`] stands.
#[derive(Debug)]
pub enum Progress {
    /// Every phase is over.
    Finished(Outcome),
    /// An app answers later; [`Run::waits_for`] says which.
    Waiting(Box<Run>),
}

/// What came of a message.
#[derive(PartialEq, Eq, Debug)]
pub struct Outcome {
    /// How handling ended.
    pub ending: Ending,
    /// Replies and other messages with the name of the app that made each, in order.
    pub drafts: Vec<(String, Draft)>,
    /// What the apps learned about the sender.
    pub changes: Vec<ContactChange>,
    /// What went wrong, each with the app's name; for the log.
    pub failures: Vec<String>,
}

/// Runs the phases over a message until the end or until an app answers later.
pub fn run(apps: &mut Apps, unfinished: Unfinished) -> Progress {
    let run = Run {
        contact: unfinished.contact.clone(),
        message: Message {
            id: unfinished.id,
            connection: unfinished.connection,
            text: unfinished.text,
            raw_text: None,
            received_at: unfinished.received_at,
            source_time: unfinished.source_time,
            redelivered: unfinished.redelivered,
            partial: unfinished.partial,
            origin: unfinished.origin,
            contact: unfinished.contact,
            handled: false,
            drafts: Vec::new(),
            changes: Vec::new(),
        },
        phase: Phase::Filter,
        app: 0,
        filtered: false,
        makers: Vec::new(),
        changes: 0,
        decided: None,
        failures: Vec::new(),
        given_up: false,
    };
    run.advance(apps)
}

impl Run {
    /// The app that owes an answer.
    pub fn waits_for<'a>(&self, apps: &'a Apps) -> &'a str {
        apps.name(self.app)
    }

    /// How long that app may take, when it says so itself.
    pub fn patience(&self, apps: &Apps) -> Option<Duration> {
        apps.slots.get(self.app).and_then(|slot| slot.app.patience())
    }

    /// The message.
    pub fn message(&self) -> &Message {
        &self.message
    }

    /// Goes on with the answer that was owed.
    pub fn answered(mut self, apps: &mut Apps, answer: LateAnswer) -> Progress {
        let flow = match answer.error {
            Some(why) => {
                self.given_up |= answer.last;
                Err(why)
            }
            None => {
                if let Some(text) = answer.text {
                    self.message.set_text(text);
                }
                for text in answer.replies {
                    self.message.respond(text);
                }
                for mut draft in answer.drafts {
                    draft.in_response_to.get_or_insert(self.message.id);
                    draft.origin = self.message.origin;
                    self.message.drafts.push(draft);
                }
                Ok(if answer.done { Flow::Done } else { Flow::Next })
            }
        };
        self.decide(apps, flow);
        self.advance(apps)
    }

    /// Goes on without the answer that was owed.
    pub fn gave_up(mut self, apps: &mut Apps, why: &str) -> Progress {
        self.decide(apps, Err(why.to_string()));
        self.advance(apps)
    }

    fn advance(mut self, apps: &mut Apps) -> Progress {
        loop {
            let Some(slot) = apps.slots.get_mut(self.app) else {
                match self.next_phase() {
                    Some(phase) => {
                        self.phase = phase;
                        self.app = 0;
                        continue;
                    }
                    None => return Progress::Finished(self.finished(apps)),
                }
            };
            let (message, phase) = (&mut self.message, self.phase);
            let flow = contained(|| match phase {
                Phase::Filter => slot.app.filter(message),
                Phase::Parse => slot.app.parse(message),
                Phase::Handle => slot.app.handle(message),
                Phase::Fallback => slot.app.fallback(message),
                Phase::Cleanup => slot.app.cleanup(message),
            });
            if flow == Ok(Flow::Later) && self.message.drafts.len() <= DRAFT_LIMIT {
                // What it said before it asked for time is kept; what it says later comes behind.
                self.keep(false);
                return Progress::Waiting(Box::new(self));
            }
            self.decide(apps, flow);
        }
    }

    /// Takes an app's decision and moves to the next app or to the end of the phase.
    fn decide(&mut self, apps: &Apps, flow: Result<Flow, String>) {
        let flow = match flow {
            Ok(_) if self.message.drafts.len() > DRAFT_LIMIT => {
                Err(format!("made more than {DRAFT_LIMIT} messages of one"))
            }
            flow => flow,
        };
        match flow {
            Ok(flow) => {
                let done = flow == Flow::Done;
                self.keep(done);
                match self.phase {
                    Phase::Filter if done => {
                        self.filtered = true;
                        self.app = apps.slots.len();
                        return;
                    }
                    Phase::Handle | Phase::Fallback if done => {
                        self.message.handled = true;
                        self.app = apps.slots.len();
                        return;
                    }
                    _ => {}
                }
            }
            Err(why) => {
                // The replies of the call that failed are half of something: only they are lost.
                self.message.drafts.truncate(self.makers.len());
                if self.message.changes.len() > self.changes {
                    self.message.changes.truncate(self.changes);
                    self.message.contact.clone_from(&self.contact);
                }
                self.failures.push(format!(
                    "app {} {why} (phase {})",
                    apps.name(self.app),
                    self.phase.as_str()
                ));
                if self.given_up {
                    self.app = apps.slots.len();
                    return;
                }
            }
        }
        self.app += 1;
    }

    /// Keeps what a call that succeeded said and learned.
    fn keep(&mut self, done: bool) {
        let replied = self.message.drafts.len() > self.makers.len();
        if replied || (done && !matches!(self.phase, Phase::Parse | Phase::Cleanup)) {
            self.decided.get_or_insert((self.app, self.phase));
        }
        self.makers.resize(self.message.drafts.len(), self.app);
        if self.message.changes.len() > self.changes {
            self.changes = self.message.changes.len();
            self.contact.clone_from(&self.message.contact);
        }
    }

    fn next_phase(&self) -> Option<Phase> {
        match self.phase {
            phase if self.given_up && phase < Phase::Cleanup => Some(Phase::Cleanup),
            Phase::Filter if self.filtered => Some(Phase::Cleanup),
            Phase::Handle if self.message.is_handled() => Some(Phase::Cleanup),
            phase => phase.next(),
        }
    }

    fn finished(self, apps: &Apps) -> Outcome {
        let handled = !self.given_up && (self.filtered || self.message.is_handled());
        let (state, reason) = match (self.failures.first(), handled) {
            (Some(first), false) => (State::Failed, Some(first.clone())),
            (Some(first), true) => (State::Handled, Some(format!("in spite of: {first}"))),
            (None, _) if self.filtered => (State::Handled, Some("filtered".to_string())),
            (None, true) => (State::Handled, None),
            (None, false) => (State::Handled, Some("no app answered".to_string())),
        };
        let actor = match self.decided {
            Some((app, phase)) => ["app ", apps.name(app), " (", phase.as_str(), ")"].concat(),
            None => "router".to_string(),
        };
        let makers = self.makers.iter().map(|&maker| apps.name(maker).to_string());
        Outcome {
            ending: Ending { state, reason, actor },
            drafts: makers.zip(self.message.drafts).collect(),
            changes: self.message.changes,
            failures: self.failures,
        }
    }
}

/// Asks the apps, in reverse order, about a message that leaves. What an app breaks does not keep it from
/// leaving; the first that cancels it ends the phase.
pub fn outgoing(apps: &mut Apps, draft: &mut Draft) -> Vec<String> {
    let mut failures = Vec::new();
    for slot in apps.slots.iter_mut().rev() {
        if draft.cancelled.is_some() {
            break;
        }
        if let Err(why) = contained(|| slot.app.outgoing(draft)) {
            failures.push(format!("app {} {why} (phase outgoing)", slot.name));
        } else if let Some(reason) = &mut draft.cancelled
            && reason.is_empty()
        {
            *reason = format!("app {} cancelled it", slot.name);
        }
    }
    failures
}

/// Calls into an app; an error or a panic becomes a sentence that begins with the verb.
fn contained<T>(call: impl FnOnce() -> Result<T, AppError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(format!("failed: {error}")),
        Err(panic) => Err(format!("panicked: {}", said(&*panic))),
    }
}

/// What a panic said.
pub fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}
