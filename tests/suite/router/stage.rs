//! A router on a stage: an app that does what the texts say, two real lines and a tester, and a store that can be made to fail.

pub use super::staged::{Leaves, Staged};
use rapidsms::apps::{Answers, App, AppError, Flow, Host, LateAnswer, Message};
use rapidsms::message::*;
use rapidsms::phases::Apps;
use rapidsms::router::{BackendPolicy, Policy, Refused, Router};
use rapidsms::store::memory::Memory;
use rapidsms::store::sqlite::Sqlite;
use rapidsms::store::*;
use rapidsms::time::Timestamp;
use std::ops::{Deref, DerefMut};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

/// When every case begins: 2026-11-22T08:55:35Z.
pub const START: Timestamp = Timestamp(1_795_337_735_000_000);

pub const fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

pub const HOUR: Duration = seconds(3600);

/// What the app saw and did, outside of the router, so that it survives one.
#[derive(Default)]
pub struct Journal {
    /// Each call of `handle`.
    pub seen: Vec<Seen>,
    /// The process would be dead by now.
    pub killed: bool,
    pub stopped: bool,
    /// The last message lacked pieces.
    pub partial: bool,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Seen {
    pub id: MessageId,
    pub from: Connection,
    pub text: String,
    pub redelivered: bool,
}

/// Does what the text says: `echo X`, `flash X`, `twice X`, `to BACKEND IDENTITY X`, `send BACKEND IDENTITY X`, `after SECONDS X`, `for SECONDS X`,
/// `cancel X`, `later X`, `panic X`, `kill X`. Anything else it leaves alone.
struct Obedient(Arc<Mutex<Journal>>);

impl App for Obedient {
    fn handle(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        let mut journal = lock(&self.0);
        journal.partial = message.partial();
        journal.seen.push(Seen {
            id: message.id(),
            from: message.connection().clone(),
            text: message.text().to_string(),
            redelivered: message.redelivered(),
        });
        let text = message.text().to_string();
        let (verb, rest) = text.split_once(' ').unwrap_or((&text, ""));
        let mut words = rest.splitn(3, ' ').map(str::to_string);
        let mut word = || words.next().unwrap_or_default();
        match verb {
            "echo" => {
                message.respond(rest);
            }
            "flash" => {
                message.respond(rest).wishes = Wishes { flash: true, report: Some(true), part: None };
            }
            "twice" => {
                message.respond(format!("{rest} 1"));
                message.respond(format!("{rest} 2"));
            }
            "to" => {
                let connection = Connection::new(word(), word());
                message.respond(word()).reroute(connection);
            }
            "send" => {
                let connection = Connection::new(word(), word());
                message.send(connection, word());
            }
            "after" => {
                let at = message.received_at() + seconds(word().parse()?);
                message.respond(word()).not_before = Some(at);
            }
            "for" => {
                let validity = seconds(word().parse()?);
                message.respond(word()).validity = Some(validity);
            }
            "cancel" => {
                message.respond(format!("cancel {rest}"));
            }
            "later" => return Ok(Flow::Later),
            // As a panic, but nothing is printed about it, for it happens here hundreds of times.
            "panic" => std::panic::resume_unwind(Box::new(rest.to_string())),
            "kill" => journal.killed = true,
            _ => return Ok(Flow::Next),
        }
        Ok(Flow::Done)
    }

    fn outgoing(&mut self, draft: &mut Draft) -> Result<(), AppError> {
        if draft.text.starts_with("cancel ") {
            draft.cancel("nobody wants to read this");
        }
        Ok(())
    }

    fn stop(&mut self) {
        lock(&self.0).stopped = true;
    }
}

/// Nothing answers on this stage but the cases themselves.
struct Nobody;

impl Answers for Nobody {
    fn answer(&self, _id: MessageId, _app: &str, _answer: LateAnswer) {}
}

/// A router, its surroundings and its clock.
pub struct Stage {
    router: Option<Router>,
    pub now: Timestamp,
    pub policy: Policy,
    pub backends: Vec<(&'static str, BackendPolicy)>,
    pub store: Staged,
    journal: Arc<Mutex<Journal>>,
    file: Option<std::path::PathBuf>,
    /// A store in memory keeps copies for readers from the first one on.
    _reader: Box<dyn Reader>,
    _folder: Option<tempfile::TempDir>,
}

/// The router is what most sentences of a case are about.
impl Deref for Stage {
    type Target = Router;
    fn deref(&self) -> &Router {
        self.router.as_ref().expect("a router is on the stage")
    }
}

impl DerefMut for Stage {
    fn deref_mut(&mut self) -> &mut Router {
        self.router.as_mut().expect("a router is on the stage")
    }
}

impl Stage {
    pub fn memory() -> Stage {
        Stage::on(Box::new(Memory::new()), None, None)
    }

    pub fn sqlite() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("router.db");
        let store = Sqlite::open(&file, START).unwrap().store;
        Stage::on(Box::new(store), Some(file), Some(folder))
    }

    fn on(
        store: Box<dyn Store>,
        file: Option<std::path::PathBuf>,
        folder: Option<tempfile::TempDir>,
    ) -> Stage {
        let journal = Arc::default();
        let mut stage = Stage {
            router: None,
            now: START,
            policy: Policy::default(),
            backends: vec![
                ("zain", BackendPolicy::real()),
                ("tnm", BackendPolicy { window: 3, ..BackendPolicy::real() }),
                ("tester", BackendPolicy::tester()),
            ],
            _reader: store.reader().unwrap(),
            store: Staged::new(store, Arc::clone(&journal)),
            journal,
            file,
            _folder: folder,
        };
        stage.begin();
        stage
    }

    /// A new router on what the store holds.
    pub fn begin(&mut self) {
        let apps = Apps::new().with("obedient", Obedient(self.journal.clone()));
        let mut router = Router::new(Box::new(self.store.clone()), apps, self.policy.clone(), 7);
        assert_eq!(router.start_apps(&Host::new(Arc::new(Nobody))), [] as [String; 0]);
        for (name, policy) in &self.backends {
            router.set_backend(&(*name).into(), policy.clone());
            router.backend_up(name);
        }
        self.router = Some(router);
    }

    /// The process dies, and another one starts. What SQLite had not committed is gone; the store in memory cannot forget, so
    /// cases that are to run on it crash right after a commit.
    pub fn crash(&mut self) {
        self.router = None;
        if let Some(file) = &self.file {
            self.store.replace(Box::new(Memory::new()));
            self.store.replace(Box::new(Sqlite::open(file, self.now).unwrap().store));
        }
        lock(&self.journal).killed = false;
        self.begin();
    }

    /// The process ends as it should, and another one starts.
    pub fn restart(&mut self) {
        let now = self.now;
        assert_eq!(self.close(now), [] as [String; 0]);
        self.commit(now).unwrap();
        assert!(self.journal().stopped);
        if self.file.is_some() {
            self.store.with(|store| store.close()).unwrap();
        }
        self.crash();
    }

    /// Whether what `crash` forgets is what was not committed.
    pub fn forgets(&self) -> bool {
        self.file.is_some()
    }

    /// Replaces the rules of a backend.
    pub fn rule(&mut self, name: &'static str, policy: BackendPolicy) {
        self.backends.retain(|(known, _)| *known != name);
        self.backends.push((name, policy.clone()));
        self.set_backend(&name.into(), policy);
        self.backend_up(name);
    }

    pub fn journal(&self) -> MutexGuard<'_, Journal> {
        lock(&self.journal)
    }

    /// The texts that the app was asked about, in order.
    pub fn asked(&self) -> Vec<String> {
        self.journal().seen.iter().map(|seen| seen.text.clone()).collect()
    }

    /// Somebody sends a text. It is not committed yet.
    pub fn says(&mut self, backend: &str, identity: &str, text: &str) -> MessageId {
        self.hears(&Incoming::new(Connection::new(backend, identity), text)).unwrap()
    }

    pub fn hears(&mut self, incoming: &Incoming) -> Result<MessageId, Refused> {
        let now = self.now;
        self.accept(incoming, now)
    }

    /// One step and one commit; returns what is given out.
    pub fn turn(&mut self) -> Vec<Outgoing> {
        let now = self.now;
        self.step(now);
        self.commit(now).unwrap()
    }

    /// Turns until the router wants to wait; returns what was given out.
    pub fn turns(&mut self) -> Vec<Outgoing> {
        let mut given = self.turn();
        for _ in 0..2_000 {
            let now = self.now;
            if self.wake_at(now).is_none_or(|at| at > now) {
                return given;
            }
            given.extend(self.turn());
        }
        panic!("the router never rests");
    }

    /// Turns until everything is sent that can be sent now; each message arrives at once.
    pub fn flows(&mut self) -> Vec<Outgoing> {
        let mut all = Vec::new();
        loop {
            let given = self.turns();
            if given.is_empty() {
                return all;
            }
            for outgoing in &given {
                self.tells(outgoing, Ok(Receipt::default()));
            }
            all.extend(given);
        }
    }

    /// The backend tells what became of a message. It is not committed yet.
    pub fn tells(&mut self, outgoing: &Outgoing, result: Result<Receipt, SendFailure>) {
        let now = self.now;
        self.sent(outgoing.id, result, now);
    }

    /// The app brings a late answer.
    pub fn answers(&mut self, id: MessageId, app: &str, text: &str) {
        let now = self.now;
        let answer = LateAnswer { done: true, replies: vec![text.to_string()], ..LateAnswer::default() };
        self.answer(id, app, answer, now);
    }

    /// The clock goes on.
    pub fn wait(&mut self, time: Duration) -> &mut Stage {
        self.now = self.now + time;
        self
    }

    pub fn detail(&self, id: MessageId) -> Detail {
        self.store.reader().unwrap().message(id).unwrap().expect("the message is in the store")
    }

    /// The row of a message that was just submitted.
    pub fn detail_after_turn(&mut self, id: MessageId) -> Row {
        self.turns();
        self.detail(id).row
    }

    pub fn state(&self, id: MessageId) -> State {
        self.detail(id).row.state
    }

    pub fn reason(&self, id: MessageId) -> String {
        self.detail(id).row.reason.unwrap_or_default()
    }

    /// Every message of a direction, oldest first.
    pub fn rows(&self, direction: Direction) -> Vec<Row> {
        let mut query =
            Query { direction: Some(direction), ascending: true, limit: 1_000, ..Query::default() };
        let mut rows = Vec::new();
        loop {
            let page = self.store.reader().unwrap().messages(&query).unwrap();
            rows.extend(page.messages);
            match page.next {
                Some(next) => query.after = Some(next),
                None => return rows,
            }
        }
    }

    /// Every outgoing message as `text: state` or `text: state (reason)`, oldest first.
    pub fn out(&self) -> Vec<String> {
        let line = |row: Row| match row.reason {
            Some(reason) => format!("{}: {} ({reason})", row.text, row.state),
            None => format!("{}: {}", row.text, row.state),
        };
        self.rows(Direction::Out).into_iter().map(line).collect()
    }

    /// The states that a message went through, with the reasons.
    pub fn history(&self, id: MessageId) -> Vec<String> {
        let entries = self.detail(id).history;
        entries.iter().map(|entry| format!("{} {}", entry.state, entry.attempt)).collect()
    }

    /// P17: everything that is in the store is counted, once, in both ways of counting.
    pub fn assert_conserved(&self) {
        let mut reader = self.store.reader().unwrap();
        let tally = reader.tally().unwrap();
        assert_eq!(tally, reader.recount().unwrap());
        let rows = self.rows(Direction::In).len() + self.rows(Direction::Out).len();
        assert_eq!(tally.iter().map(|count| count.count).sum::<u64>(), rows as u64);
    }
}

pub fn texts(given: &[Outgoing]) -> Vec<&str> {
    given.iter().map(|outgoing| outgoing.text.as_str()).collect()
}

pub fn temporary() -> Result<Receipt, SendFailure> {
    Err(SendFailure::Temporary("CMS 331: no network service".into()))
}

pub fn unsure() -> Result<Receipt, SendFailure> {
    Err(SendFailure::Unsure("no answer within 60 s".into()))
}

pub fn named(remote_id: &str) -> Result<Receipt, SendFailure> {
    Ok(Receipt { remote_ids: vec![remote_id.into()], parts: Some(2), note: None })
}

pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // An app of these cases panics now and then; what it left behind is still true.
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}
