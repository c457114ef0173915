//! Everything that can wake the router, as one closed list, and the handles by which threads say it.

use crate::apps::{Answers, LateAnswer};
use crate::backends::Exchange;
pub use crate::backends::Question;
use crate::message::{Draft, Incoming, MessageId, Name, Receipt, Report, SendFailure, State};
use crate::router::{CallOutcome, Refusal, Refused};
use crate::settings::Settings;
use crossbeam_channel::{Receiver, Sender, TrySendError};
use std::sync::{Arc, Mutex, PoisonError};

/// So many events wait at most; beyond that the web answers 503 and backends wait.
pub const EVENT_LIMIT: usize = 8_192;

/// So many late answers lie unread at most: more than can be owed at one time.
pub const ANSWER_LIMIT: usize = 131_072;

/// Told once the outcome is on disk.
pub type Told<T> = Box<dyn FnOnce(Result<T, Refused>) + Send>;

/// What wakes the router.
pub enum Event {
    /// A message came in.
    Accept {
        /// The message.
        incoming: Incoming,
        /// Told when it is on disk, or why not.
        told: Told<MessageId>,
    },
    /// A program wants a message sent.
    Submit {
        /// The message.
        draft: Draft,
        /// Who wants it: `api`, `cli`.
        actor: &'static str,
        /// Its idempotency key and the digest of the request.
        key: Option<(String, Vec<u8>)>,
        /// Told when it is on disk, or why not.
        told: Told<MessageId>,
    },
    /// A backend tells what became of a message.
    Sent {
        /// The backend, in which of its lives.
        line: LineId,
        /// The message.
        id: MessageId,
        /// What became of it.
        result: Result<Receipt, SendFailure>,
    },
    /// A carrier reports about a message sent earlier.
    Report {
        /// The report.
        report: Report,
        /// Told when it is on disk.
        told: Told<()>,
    },
    /// A call to a program has come to something.
    Called {
        /// The call.
        number: i64,
        /// What came of it.
        outcome: CallOutcome,
    },
    /// Late answers of apps lie ready; see [`Mouth::answers`].
    Answered,
    /// A person decides about a message.
    Decide {
        /// The message.
        id: MessageId,
        /// What they want.
        state: State,
        /// Who it is.
        actor: String,
        /// Told when it is on disk; `false` when it has gone too far for that.
        told: Told<bool>,
    },
    /// A person asks the network something through a backend. The question itself knows whom to tell.
    Ask {
        /// The backend.
        backend: Name,
        /// The question.
        question: Question,
    },
    /// A backend's state changed.
    Line {
        /// The backend, in which of its lives.
        line: LineId,
        /// What it says.
        news: LineNews,
    },
    /// New settings, already checked.
    Reload(Box<Settings>),
    /// The full check of the store found damage.
    Damaged(String),
    /// Time to stop.
    Stop,
    /// Stop cleanly, and begin again with a new process.
    Restart,
}

/// One life of a backend: when its thread is abandoned, the next one has another number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LineId {
    /// The backend.
    pub name: Name,
    /// Which of its lives.
    pub life: u64,
}

/// What a backend's thread says about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum LineNews {
    /// It takes messages; a sentence for people.
    Up(String),
    /// A sentence for people, no change.
    Note(String),
    /// It is down and will be started again.
    Down(String),
    /// It is down until somebody does something.
    Parked(String),
    /// Its thread is over.
    Ended,
}

/// An app's answer to a message for which it asked for time.
pub struct Answered {
    /// The message.
    pub id: MessageId,
    /// The app.
    pub app: String,
    /// Its answer.
    pub answer: LateAnswer,
}

/// The way into the router for every other thread.
#[derive(Clone)]
pub struct Mouth {
    events: Sender<Event>,
    // Beside the channel, for an app may answer on the router's own thread, or keep that thread waiting while it
    // stops: neither may wait for room in the channel.
    answers: Arc<Mutex<Vec<Answered>>>,
}

/// The router's end of the shared channel, and the other.
pub fn channel() -> (Mouth, Receiver<Event>) {
    let (sender, receiver) = crossbeam_channel::bounded(EVENT_LIMIT);
    (Mouth { events: sender, answers: Arc::default() }, receiver)
}

impl Mouth {
    /// Says it, waiting while the router is busy. `false` when there is no router any more.
    pub fn say(&self, event: Event) -> bool {
        self.events.send(event).is_ok()
    }

    /// Says it unless that would mean waiting; then the event comes back with the reason.
    #[allow(clippy::result_large_err)] // The event is the point of the error: its `told` must be used.
    pub fn try_say(&self, event: Event) -> Result<(), (Event, Refused)> {
        self.events.try_send(event).map_err(|error| match error {
            TrySendError::Full(event) => {
                (event, Refused::new(Refusal::Busy, "the router is busy; try again soon"))
            }
            TrySendError::Disconnected(event) => {
                (event, Refused::new(Refusal::Stopping, "the router is stopping"))
            }
        })
    }

    /// Takes the answers that lie ready.
    pub fn answers(&self) -> Vec<Answered> {
        std::mem::take(&mut *self.answers.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// How many events wait.
    pub fn waiting(&self) -> usize {
        self.events.len()
    }
}

/// The router's counter as one life of one backend sees it.
pub struct Counter {
    /// Which backend.
    pub line: LineId,
    /// The way to the router.
    pub mouth: Mouth,
}

impl Counter {
    fn news(&self, news: LineNews) {
        self.mouth.say(Event::Line { line: self.line.clone(), news });
    }

    /// Asks and waits for the answer.
    fn ask<T: Send + 'static>(&self, event: impl FnOnce(Told<T>) -> Event) -> Result<T, Refused> {
        let (sender, answer) = crossbeam_channel::bounded(1);
        // Nobody listens any more only when this very thread is gone.
        let told: Told<T> = Box::new(move |result| drop(sender.send(result)));
        let stopping = || Refused::new(Refusal::Stopping, "the router is stopping");
        if !self.mouth.say(event(told)) {
            return Err(stopping());
        }
        answer.recv().unwrap_or_else(|_| Err(stopping()))
    }
}

impl Exchange for Counter {
    fn deliver(&self, incoming: Incoming) -> Result<MessageId, Refused> {
        self.ask(|told| Event::Accept { incoming, told })
    }

    fn report(&self, report: Report) -> Result<(), Refused> {
        self.ask(|told| Event::Report { report, told })
    }

    fn sent(&self, id: MessageId, result: Result<Receipt, SendFailure>) {
        self.mouth.say(Event::Sent { line: self.line.clone(), id, result });
    }

    fn up(&self, sentence: &str) {
        self.news(LineNews::Up(sentence.to_string()));
    }

    fn note(&self, sentence: &str) {
        self.news(LineNews::Note(sentence.to_string()));
    }
}

impl Answers for Mouth {
    fn answer(&self, id: MessageId, app: &str, answer: LateAnswer) {
        {
            let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            if answers.len() >= ANSWER_LIMIT {
                return log::error!(
                    "app {app} answered message {id} while {ANSWER_LIMIT} answers lay unread; dropped"
                );
            }
            answers.push(Answered { id, app: app.to_string(), answer });
        }
        // When the channel is full the router is awake, and looks for answers after what it takes from it.
        let _ = self.try_say(Event::Answered);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Ids;
    use crate::time::Timestamp;
    use std::time::Duration;

    #[test]
    fn an_app_may_answer_on_the_routers_thread_while_the_channel_is_full() {
        let (mouth, events) = channel();
        while mouth.try_say(Event::Stop).is_ok() {}
        let id = Ids::new(None, 1).next(Timestamp::default());
        let (done, answered) = crossbeam_channel::bounded(1);
        let app = mouth.clone();
        std::thread::spawn(move || {
            app.answer(id, "slow", LateAnswer::default());
            let _ = done.send(());
        });
        assert!(
            answered.recv_timeout(Duration::from_secs(10)).is_ok(),
            "it waits for the router, which waits for it"
        );
        assert_eq!(mouth.answers().iter().map(|answered| answered.id).collect::<Vec<_>>(), [id]);
        assert_eq!(events.len(), EVENT_LIMIT);
    }
}
