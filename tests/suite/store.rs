//! The stores: one list of cases, each a sentence or two of the contract on `rapidsms::store::Store`, run over the store in memory, over
//! SQLite, and over SQLite that is crashed and opened again at every chance a case gives.
//!
//! Property tests against a model are in `store_model.rs`, trouble with disks and files in `store_trouble.rs`.

use rapidsms::message::*;
use rapidsms::store::memory::Memory;
use rapidsms::store::sqlite::Sqlite;
use rapidsms::store::*;
use rapidsms::time::Timestamp;
use std::path::PathBuf;
use std::time::Duration;

/// The time at which every case begins.
pub const START: Timestamp = Timestamp(1_795_337_735_000_000);

/// Seconds after [`START`].
pub fn at(seconds: i64) -> Timestamp {
    Timestamp(START.0 + seconds * 1_000_000)
}

/// A store on which cases act, with the small comforts that make them short.
pub struct Stage {
    pub store: Box<dyn Store>,
    pub ids: Ids,
    /// The file, for a store that has one.
    pub file: Option<PathBuf>,
    /// Whether [`Stage::pause`] crashes the store and opens it again.
    crashes: bool,
    _folder: Option<tempfile::TempDir>,
}

impl Stage {
    pub fn memory() -> Stage {
        Stage {
            store: Box::new(Memory::new()),
            ids: Ids::new(None, 1),
            file: None,
            crashes: false,
            _folder: None,
        }
    }

    pub fn sqlite() -> Stage {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("store.db");
        Stage {
            store: Box::new(Sqlite::open(&file, START).unwrap().store),
            ids: Ids::new(None, 1),
            file: Some(file),
            crashes: false,
            _folder: Some(folder),
        }
    }

    fn sqlite_crashing() -> Stage {
        Stage { crashes: true, ..Stage::sqlite() }
    }

    /// Ends the process, as far as the store can tell, and begins another. Memory has no such thing.
    pub fn crash(&mut self) {
        if let Some(file) = &self.file {
            self.store = Box::new(Memory::new());
            self.store = Box::new(Sqlite::open(file, START).unwrap().store);
        }
    }

    /// Commits; a chance to crash.
    pub fn pause(&mut self) {
        self.store.commit().unwrap();
        if self.crashes {
            self.crash();
        }
    }

    pub fn accept(&mut self, connection: &Connection, text: &str) -> MessageId {
        self.accept_as(&Incoming::new(connection.clone(), text), State::Received, None, None)
    }

    pub fn accept_as(
        &mut self,
        incoming: &Incoming,
        state: State,
        reason: Option<&str>,
        duplicate_of: Option<MessageId>,
    ) -> MessageId {
        let id = self.ids.next(START);
        let row = NewIncoming { id, incoming, state, reason, duplicate_of, origin: Origin::Real, at: START };
        self.store.accept(&row).unwrap();
        id
    }

    pub fn queue(&mut self, connection: &Connection, text: &str) -> MessageId {
        self.queue_as(connection, text, |_| ())
    }

    pub fn queue_as(
        &mut self,
        connection: &Connection,
        text: &str,
        change: impl FnOnce(&mut NewOutgoing<'_>),
    ) -> MessageId {
        let id = self.ids.next(START);
        let mut row = NewOutgoing {
            id,
            connection,
            text,
            in_response_to: None,
            state: State::Queued,
            reason: None,
            priority: Priority::Single,
            not_before: None,
            expires_at: at(1_000),
            origin: Origin::Real,
            actor: "app echo",
            at: START,
        };
        change(&mut row);
        self.store.queue(&row).unwrap();
        id
    }

    pub fn claim(&mut self, tried: Tried, limit: usize) -> Vec<MessageId> {
        self.store.unfinished(tried, limit, START).unwrap().into_iter().map(|message| message.id).collect()
    }

    pub fn take(&mut self, backend: &str, limit: usize, now: Timestamp) -> Vec<MessageId> {
        self.store.take_due(backend, limit, now).unwrap().into_iter().map(|taken| taken.outgoing.id).collect()
    }

    pub fn finish(&mut self, id: MessageId) -> bool {
        let ending = Ending { state: State::Handled, reason: None, actor: "app echo".into() };
        self.store.finish(id, &ending, at(1)).unwrap()
    }

    pub fn settle(&mut self, id: MessageId, state: State) -> bool {
        self.settle_at(id, state, None, at(1))
    }

    pub fn settle_at(&mut self, id: MessageId, state: State, due: Option<Timestamp>, now: Timestamp) -> bool {
        let settlement = Settlement { due, ..Settlement::new(state, "backend one") };
        self.store.settle(id, &settlement, now).unwrap()
    }

    pub fn detail(&mut self, id: MessageId) -> Detail {
        self.store.commit().unwrap();
        self.store.reader().unwrap().message(id).unwrap().expect("the message is in the store")
    }

    pub fn state(&mut self, id: MessageId) -> State {
        self.detail(id).row.state
    }

    pub fn list(&mut self, query: &Query) -> Vec<MessageId> {
        self.store.commit().unwrap();
        let page = self.store.reader().unwrap().messages(query).unwrap();
        page.messages.into_iter().map(|row| row.id).collect()
    }
}

pub fn connection(identity: &str) -> Connection {
    Connection::new("one", identity)
}

/// Makes one test for each case and each kind of store.
macro_rules! cases {
    ($($(#[$doc:meta])* fn $name:ident($stage:ident) $body:block)*) => {
        $($(#[$doc])* fn $name($stage: &mut Stage) $body)*
        mod memory { $(#[test] fn $name() { super::$name(&mut super::Stage::memory()) })* }
        mod sqlite { $(#[test] fn $name() { super::$name(&mut super::Stage::sqlite()) })* }
        mod sqlite_crashing { $(#[test] fn $name() { super::$name(&mut super::Stage::sqlite_crashing()) })* }
    };
}

cases! {
    /// The life of an echo, in and out.
    fn an_exchange(stage) {
        let from = connection("1112223333");
        let question = stage.accept(&from, "echo hello");
        assert_eq!(stage.store.waiting(Direction::In), 1);
        stage.pause();
        let claimed = stage.store.unfinished(Tried::Never, 10, START).unwrap();
        assert_eq!(claimed.len(), 1);
        let claimed = &claimed[0];
        assert_eq!((claimed.id, &*claimed.text, claimed.attempt), (question, "echo hello", 1));
        assert!(!claimed.redelivered);
        stage.store.commit().unwrap();
        let answer = stage.queue_as(&from, "hello", |row| {
            row.in_response_to = Some(question);
            row.priority = Priority::Reply;
        });
        assert!(stage.finish(question));
        assert_eq!(stage.store.waiting(Direction::In), 0);
        assert_eq!(stage.store.waiting(Direction::Out), 1);
        stage.pause();
        let taken = stage.store.take_due("one", 10, at(1)).unwrap();
        assert_eq!(taken.len(), 1);
        let outgoing = &taken[0].outgoing;
        assert_eq!((outgoing.id, &*outgoing.text, outgoing.attempt), (answer, "hello", 1));
        assert_eq!(outgoing.in_response_to, Some(question));
        assert_eq!(taken[0].uncertain, 0);
        stage.pause();
        let sent = Settlement { remote_id: Some("r1".into()), parts: Some(2), ..Settlement::new(State::Sent, "backend one") };
        assert!(stage.store.settle(answer, &sent, at(2)).unwrap());
        assert_eq!(stage.store.waiting(Direction::Out), 0);
        stage.pause();
        assert_eq!(stage.store.by_remote_id("one", "r1").unwrap(), Some(answer));
        assert_eq!(stage.store.by_remote_id("two", "r1").unwrap(), None);
        let states = |detail: &Detail| detail.history.iter().map(|entry| entry.state).collect::<Vec<_>>();
        let detail = stage.detail(answer);
        assert_eq!(states(&detail), [State::Queued, State::Sending, State::Sent]);
        assert_eq!((detail.row.remote_id.as_deref(), detail.row.parts), (Some("r1"), Some(2)));
        assert_eq!(detail.row.updated_at, at(2));
        let detail = stage.detail(question);
        assert_eq!(states(&detail), [State::Received, State::Handled]);
        assert_eq!((detail.row.attempts, detail.row.updated_at), (1, at(1)));
    }
}
