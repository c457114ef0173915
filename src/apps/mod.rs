//! Apps: what answers a message. One trait, [`App`]; each method does nothing by default.
//!
//! An app sees a message in the phases filter, parse, handle, fallback ("default") and cleanup, and every message
//! that leaves in the phase outgoing. `echo` is the one to read and to copy. An app has no thread of its
//! own and must not wait: an app that needs time answers [`Flow::Later`], works in a thread that it got from [`Host::threads`], and brings its
//! answer by [`Host::answers`].

pub mod echo;
pub mod fallback;
pub mod handlers;
pub mod keyword;
pub mod pattern;
pub mod registration;

use crate::message::{Connection, Contact, Draft, MessageId, Origin, Priority};
use crate::store::ContactChange;
use crate::time::Timestamp;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// Something that answers messages.
///
/// What an app promises: to return soon (other connections wait while it works), and to be prepared to see
/// a message a second time with [`Message::redelivered`] set, after a crash. What it may rely on: the message is safe
/// on disk; its replies become durable together with the fact that the message is handled; messages
/// of one connection come one after the other; an error or a panic costs only the replies of that one call.
pub trait App: Send {
    /// Called once, before the first message.
    fn start(&mut self, host: &Host) -> Result<(), AppError> {
        let _ = host;
        Ok(())
    }

    /// First look. [`Flow::Done`] ends everything for this message except cleanup: no app handles it.
    /// Replies made so far are sent.
    fn filter(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        let _ = message;
        Ok(Flow::Next)
    }

    /// Reads the text and may change it ([`Message::set_text`]). `Done` means the same as `Next` here.
    fn parse(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        let _ = message;
        Ok(Flow::Next)
    }

    /// Answers. `Done` ends the phase: the message is handled.
    fn handle(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        let _ = message;
        Ok(Flow::Next)
    }

    /// The old systems' `default` phase: only for messages that nobody handled or replied to. `Done` ends the phase.
    #[doc(alias = "default")]
    fn fallback(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        let _ = message;
        Ok(Flow::Next)
    }

    /// Always called last, whatever happened before. `Done` means the same as `Next` here.
    fn cleanup(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        let _ = message;
        Ok(Flow::Next)
    }

    /// A message is about to be queued. The app may change it or [`Draft::cancel`] it. Apps are asked in reverse order.
    fn outgoing(&mut self, draft: &mut Draft) -> Result<(), AppError> {
        let _ = draft;
        Ok(())
    }

    /// How long this app may take for an answer that comes later; `None` for the router's own patience (`app_timeout`). An app that asks
    /// somebody several times before it gives up says here how long that takes at most.
    fn patience(&self) -> Option<Duration> {
        None
    }

    /// Called once, at a clean stop or when other apps take over. It does not wait: the app tells its threads to end, and goes.
    fn stop(&mut self) {}
}

/// What the router does next with a message.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Flow {
    /// Goes on with the next app.
    Next,
    /// This app has done it.
    Done,
    /// The answer comes later, by [`Answers::answer`]. Other connections go on meanwhile.
    Later,
}

/// What went wrong in an app, as a sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AppError(pub String);

impl fmt::Display for AppError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<E: std::error::Error> From<E> for AppError {
    fn from(error: E) -> AppError {
        AppError(error.to_string())
    }
}

/// What the router offers its apps beyond one message.
#[derive(Clone)]
pub struct Host {
    /// Takes the answers of apps that said [`Flow::Later`], from any thread.
    pub answers: Arc<dyn Answers>,
    /// Gives threads to apps that have to wait for somebody.
    pub threads: Arc<dyn Threads>,
}

impl Host {
    /// A host without threads: an app that needs one does not start there.
    pub fn new(answers: Arc<dyn Answers>) -> Host {
        Host { answers, threads: Arc::new(NoThreads) }
    }

    /// The same with threads.
    pub fn with_threads(self, threads: Arc<dyn Threads>) -> Host {
        Host { threads, ..self }
    }
}

/// Gives threads to apps. Whoever gives them owns them: at the end of the program it waits a moment for those that still work, and goes
/// without the rest. What such a thread had in hand is then still `received`, and handled after the next start.
pub trait Threads: Send + Sync {
    /// Runs `work` in a thread of this name. What panics there ends that thread and nothing else, so `work` catches what must not be lost.
    fn start(&self, name: &str, work: Box<dyn FnOnce() + Send>) -> Result<(), AppError>;
}

/// No threads at all: what a router without a daemon around it offers.
pub struct NoThreads;

impl Threads for NoThreads {
    fn start(&self, name: &str, _work: Box<dyn FnOnce() + Send>) -> Result<(), AppError> {
        let why = "this router was built without threads for apps; give it some by Host::with_threads";
        Err(AppError(format!("{name} needs a thread, and {why}")))
    }
}

/// Takes late answers.
pub trait Answers: Send + Sync {
    /// Brings the answer of `app` to the message `id`. An answer that nobody waits for any more is dropped and counted.
    fn answer(&self, id: MessageId, app: &str, answer: LateAnswer);
}

/// What an app answers later.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LateAnswer {
    /// Whether it was `Done` with the message (else `Next`).
    pub done: bool,
    /// Replies, in order.
    pub replies: Vec<String>,
    /// Other messages to send.
    pub drafts: Vec<Draft>,
    /// A new text for the apps that follow.
    pub text: Option<String>,
    /// The app failed; nothing else in here counts, but `last`.
    pub error: Option<String>,
    /// Beside an error: no other app is asked, the message has failed.
    pub last: bool,
}

/// A received message as an app sees it, and what the apps make of it.
#[derive(Debug)]
pub struct Message {
    pub(crate) id: MessageId,
    pub(crate) connection: Connection,
    pub(crate) text: String,
    pub(crate) raw_text: Option<String>,
    pub(crate) received_at: Timestamp,
    pub(crate) source_time: Option<Timestamp>,
    pub(crate) redelivered: bool,
    pub(crate) partial: bool,
    pub(crate) origin: Origin,
    pub(crate) contact: Option<Contact>,
    pub(crate) handled: bool,
    pub(crate) drafts: Vec<Draft>,
    pub(crate) changes: Vec<ContactChange>,
}

impl Message {
    /// Its name, the same when it comes again after a crash.
    pub fn id(&self) -> MessageId {
        self.id
    }

    /// Who sent it, on which backend.
    pub fn connection(&self) -> &Connection {
        &self.connection
    }

    /// What they sent, as the apps before this one left it.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// What they sent, untouched.
    pub fn raw_text(&self) -> &str {
        self.raw_text.as_deref().unwrap_or(&self.text)
    }

    /// Changes the text for the apps that follow.
    pub fn set_text(&mut self, text: impl Into<String>) {
        let old = std::mem::replace(&mut self.text, text.into());
        self.raw_text.get_or_insert(old);
    }

    /// When the router accepted it.
    pub fn received_at(&self) -> Timestamp {
        self.received_at
    }

    /// When the source says that it was sent, if it says so.
    pub fn source_time(&self) -> Option<Timestamp> {
        self.source_time
    }

    /// Whether an app may have seen it before: the process ended before it was handled.
    pub fn redelivered(&self) -> bool {
        self.redelivered
    }

    /// Whether parts of it never came: a longer message of which something is missing, marked `[...]` in the text.
    pub fn partial(&self) -> bool {
        self.partial
    }

    /// Whether it is test traffic.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// The person who sent it, if they are known.
    pub fn contact(&self) -> Option<&Contact> {
        self.contact.as_ref()
    }

    /// The sender's language code, when they once chose one.
    pub fn language(&self) -> Option<&str> {
        self.contact.as_ref().map(|contact| contact.language.as_str()).filter(|code| !code.is_empty())
    }

    /// Whether an app is done with it or replied to it; then the phase fallback is skipped.
    pub fn is_handled(&self) -> bool {
        self.handled || self.drafts.iter().any(|draft| draft.priority == Priority::Reply)
    }

    /// The replies and other messages made so far.
    pub fn drafts(&self) -> &[Draft] {
        &self.drafts
    }

    /// Replies to the sender. The text is sent as it is: it is never a template. What is returned can be re-routed, delayed or given a validity.
    pub fn respond(&mut self, text: impl Into<String>) -> &mut Draft {
        let draft = Draft {
            in_response_to: Some(self.id),
            priority: Priority::Reply,
            origin: self.origin,
            ..Draft::new(self.connection.clone(), text)
        };
        self.push(draft)
    }

    /// Replies that something was wrong with the message. It is sent like any reply; the name tells readers of an app.
    pub fn error(&mut self, text: impl Into<String>) -> &mut Draft {
        self.respond(text)
    }

    /// Sends a message to somebody else. It is stored together with the replies.
    pub fn send(&mut self, connection: Connection, text: impl Into<String>) -> &mut Draft {
        let draft =
            Draft { in_response_to: Some(self.id), origin: self.origin, ..Draft::new(connection, text) };
        self.push(draft)
    }

    /// Makes a new contact of this name; the sender's connection belongs to it from now on. Their language is kept.
    pub fn register(&mut self, name: impl Into<String>) {
        let name = name.into();
        let language = self.language().unwrap_or_default().to_string();
        self.contact = Some(Contact { id: 0, name: name.clone(), language: language.clone() });
        self.changes.push(ContactChange::Register { name, language });
    }

    /// Remembers the sender's language. Nothing happens when the sender has no contact.
    pub fn set_language(&mut self, code: impl Into<String>) {
        let code = code.into();
        if let Some(contact) = &mut self.contact {
            contact.language.clone_from(&code);
            self.changes.push(ContactChange::Language(code));
        }
    }

    fn push(&mut self, draft: Draft) -> &mut Draft {
        self.drafts.push(draft);
        let last = self.drafts.len() - 1;
        &mut self.drafts[last]
    }
}
