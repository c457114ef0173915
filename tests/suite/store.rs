//! The stores: one list of cases, each a sentence or two of the contract on `rapidsms::store::Store`, run over the store in memory, over
//! SQLite, and over SQLite that is crashed and opened again at every chance a case gives.
//!
//! Property tests against a model are in `store_model.rs`, trouble with disks and files in `store_trouble.rs`.

use rapidsms::message::{self, *};
use rapidsms::store::memory::Memory;
use rapidsms::store::sqlite::Sqlite;
// Both rooms have pieces: of a message that comes in, and of one that goes out.
use rapidsms::store::{Piece, *};
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
        let row = NewIncoming {
            id,
            incoming,
            state,
            reason,
            duplicate_of,
            origin: Origin::Real,
            joined: None,
            at: START,
        };
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
        self.queue_called(connection, text, None, change)
    }

    /// The same with somebody who wants to be called about it.
    pub fn queue_called(
        &mut self,
        connection: &Connection,
        text: &str,
        callback: Option<&Callback>,
        change: impl FnOnce(&mut NewOutgoing<'_>),
    ) -> MessageId {
        let id = self.ids.next(START);
        let mut row = NewOutgoing {
            id,
            connection,
            queue: None,
            text,
            in_response_to: None,
            state: State::Queued,
            reason: None,
            priority: Priority::Single,
            not_before: None,
            expires_at: at(1_000),
            origin: Origin::Real,
            wishes: Wishes::default(),
            callback,
            actor: "app echo",
            at: START,
        };
        change(&mut row);
        self.store.queue(&row).unwrap();
        id
    }

    pub fn claim(&mut self, tried: Tried, limit: usize) -> Vec<MessageId> {
        self.store
            .unfinished(tried, limit, &no_bound, START)
            .unwrap()
            .into_iter()
            .map(|message| message.id)
            .collect()
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
        let claimed = stage.store.unfinished(Tried::Never, 10, &no_bound, START).unwrap();
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
        let sent = Settlement { remote_ids: vec!["r1".into()], parts: Some(2), ..Settlement::new(State::Sent, "backend one") };
        assert!(stage.store.settle(answer, &sent, at(2)).unwrap());
        assert_eq!(stage.store.waiting(Direction::Out), 0);
        stage.pause();
        assert_eq!(stage.store.named("one", "r1").unwrap(), Some(Named { id: answer, part: 1, parts: 1 }));
        assert_eq!(stage.store.named("two", "r1").unwrap(), None);
        let states = |detail: &Detail| detail.history.iter().map(|entry| entry.state).collect::<Vec<_>>();
        let detail = stage.detail(answer);
        assert_eq!(states(&detail), [State::Queued, State::Sending, State::Sent]);
        assert_eq!((detail.row.remote_id.as_deref(), detail.row.parts), (Some("r1"), Some(2)));
        assert_eq!(detail.row.updated_at, at(2));
        let detail = stage.detail(question);
        assert_eq!(states(&detail), [State::Received, State::Handled]);
        assert_eq!((detail.row.attempts, detail.row.updated_at), (1, at(1)));
    }

    /// "The newest id ever stored, duplicates and purged messages included; new ids must be greater."
    fn newest_survives_purging_and_ids_only_grow(stage) {
        assert_eq!(stage.store.newest(), None);
        let first = stage.accept(&connection("a"), "one");
        let last = stage.accept_as(&Incoming::new(connection("a"), "one"), State::Duplicate, None, Some(first));
        assert_eq!(stage.store.newest(), Some(last));
        stage.pause();
        assert_eq!(stage.store.newest(), Some(last));
        stage.claim(Tried::Never, 1);
        stage.finish(first);
        stage.pause();
        assert_eq!(stage.store.purge(Some(at(10)), at(0), 10).unwrap(), 2);
        stage.pause();
        assert_eq!(stage.store.newest(), Some(last), "though it is gone");
        let incoming = Incoming::new(connection("a"), "again");
        for id in [first, last] {
            let row = NewIncoming {
                id, incoming: &incoming, state: State::Received, reason: None, duplicate_of: None,
                origin: Origin::Real, joined: None, at: START,
            };
            assert!(stage.store.accept(&row).is_err(), "{id} is not new");
            // A mistake of the caller costs a store in memory nothing and dooms the transaction of one on disk.
            let _ = stage.store.commit();
        }
        assert_eq!(stage.store.trouble(), None, "no trouble of the disk");
        stage.accept(&connection("a"), "new");
        stage.pause();
    }

    /// What is stored ended at once is counted and found, and delays nobody.
    fn quarantined_and_duplicate_messages_are_kept_aside(stage) {
        let bad = Incoming::undecodable(connection("a"), vec![0, 255, 7], "too short");
        let bad = stage.accept_as(&bad, State::Quarantined, Some("too short"), None);
        let good = stage.accept(&connection("a"), "one");
        let again = stage.accept_as(&Incoming::new(connection("a"), "one"), State::Duplicate, None, Some(good));
        stage.pause();
        assert_eq!(stage.claim(Tried::Never, 10), [good]);
        assert_eq!(stage.store.waiting(Direction::In), 1);
        let detail = stage.detail(bad);
        assert_eq!(detail.raw, Some(vec![0, 255, 7]));
        assert_eq!(detail.row.reason.as_deref(), Some("too short"));
        assert_eq!(detail.history[0].reason.as_deref(), Some("too short"));
        assert_eq!(detail.history[0].actor, "backend one");
        assert_eq!(stage.detail(again).row.duplicate_of, Some(good));
        assert_eq!(stage.detail(again).row.in_response_to, None);
    }

    /// Whatever text, it comes back as it was.
    fn texts_are_kept_octet_for_octet(stage) {
        let texts = ["", "\0", "a\0b", "%s %d", "'; DROP TABLE messages; --", "\u{1F600}\r\n\u{feff}"];
        let long = "x".repeat(TEXT_LIMIT);
        for (n, text) in texts.into_iter().chain([&*long]).enumerate() {
            let identity = format!("{n}\0'\"");
            let id = stage.accept(&connection(&identity), text);
            stage.pause();
            let claimed = stage.store.unfinished(Tried::Never, 1, &no_bound, START).unwrap();
            assert_eq!(claimed[0].text, text);
            assert_eq!(&*claimed[0].connection.identity, identity);
            assert_eq!(stage.detail(id).row.text, text);
        }
    }

    /// "Claims up to `limit` received messages, each the first of its lane, and counts an attempt for each."
    fn unfinished_gives_the_first_of_each_connection(stage) {
        let a1 = stage.accept(&connection("a"), "1");
        let a2 = stage.accept(&connection("a"), "2");
        let b1 = stage.accept(&connection("b"), "1");
        let c1 = stage.accept(&Connection::new("two", "a"), "1");
        stage.pause();
        assert_eq!(stage.claim(Tried::Never, 2), [a1, c1], "each backend gets its share");
        assert_eq!(stage.claim(Tried::Never, 10), [b1]);
        assert_eq!(stage.claim(Tried::Never, 10), []);
        stage.finish(a1);
        assert_eq!(stage.claim(Tried::Before, 10), []);
        assert_eq!(stage.claim(Tried::Never, 10), [a2]);
        stage.finish(a2);
        assert_eq!(stage.claim(Tried::Never, 10), []);
        assert_eq!(stage.detail(b1).row.attempts, 1);
        assert_eq!(stage.detail(b1).history.len(), 1, "an attempt is no change of state");
    }

    /// "Ends a received message in `ending.state`; its lane moves up. `false`, and nothing happens, when it was not `received`."
    fn finish_happens_once(stage) {
        let first = stage.accept(&connection("a"), "1");
        let second = stage.accept(&connection("a"), "2");
        stage.pause();
        stage.claim(Tried::Never, 1);
        let ending = Ending { state: State::Failed, reason: Some("app echo failed".into()), actor: "app echo".into() };
        assert!(stage.store.finish(first, &ending, at(5)).unwrap());
        assert!(!stage.finish(first));
        let detail = stage.detail(first);
        assert_eq!((detail.row.state, detail.row.reason.as_deref()), (State::Failed, Some("app echo failed")));
        assert_eq!(detail.history.len(), 2);
        assert_eq!(detail.history[1], Entry {
            at: at(5), state: State::Failed, actor: "app echo".into(), attempt: 1, reason: Some("app echo failed".into()),
        });
        let out = stage.queue(&connection("a"), "x");
        assert!(!stage.finish(out), "not a received message");
        let unknown = MessageId::from_parts(first.key(), first.tail() + 1);
        assert!(!stage.finish(unknown), "the random part of an id counts as well");
        // Ending one that is not the first of its lane leaves the lane in order.
        let third = stage.accept(&connection("a"), "3");
        assert!(stage.finish(third));
        assert_eq!(stage.claim(Tried::Never, 10), [second]);
        assert!(stage.finish(second));
        assert_eq!(stage.claim(Tried::Never, 10), []);
    }

    /// "Gives back a claimed message that was not handled: the attempt does not count. It is `redelivered` when it comes again."
    fn put_back_takes_the_attempt_back(stage) {
        let id = stage.accept(&connection("a"), "1");
        stage.pause();
        stage.store.put_back(id, START).unwrap();
        assert_eq!(stage.claim(Tried::Before, 10), [], "it was not claimed");
        stage.claim(Tried::Never, 10);
        stage.store.put_back(id, START).unwrap();
        stage.pause();
        assert_eq!(stage.claim(Tried::Never, 10), []);
        let again = stage.store.unfinished(Tried::Before, 10, &no_bound, START).unwrap();
        assert_eq!((again[0].id, again[0].attempt, again[0].redelivered), (id, 1, true));
        assert_eq!(stage.claim(Tried::Before, 10), []);
        assert!(stage.detail(id).row.redelivered);
        assert!(stage.finish(id));
        stage.store.put_back(id, START).unwrap();
        assert_eq!(stage.state(id), State::Handled);
        assert_eq!(stage.claim(Tried::Before, 10), []);
    }

    /// "Of these the least tried come first: in a reboot loop the same innocent message is not tried again and again"
    fn the_least_tried_come_first(stage) {
        let [first, second, third] = ["a", "b", "c"].map(|name| stage.accept(&connection(name), "1"));
        stage.pause();
        assert_eq!(stage.claim(Tried::Never, 9), [first, second, third]);
        stage.store.recover(&|id| id == third, START).unwrap();
        stage.store.commit().unwrap();
        assert_eq!(stage.claim(Tried::Before, 1), [first], "of those tried equally often, the oldest");
        stage.store.running(Some(first));
        stage.store.recover(&|id| id == third, START).unwrap();
        assert_eq!(stage.claim(Tried::Before, 9), [second, first]);
        for id in [first, second] {
            stage.store.put_back(id, START).unwrap();
        }
        assert_eq!(stage.claim(Tried::Before, 1), [second], "not tried at all, the other one once");
    }

    /// "An attempt of a received message that ended with its process stays counted only if `running` named the message"
    fn only_what_was_running_is_suspected(stage) {
        let ids = ["a", "b"].map(|name| stage.accept(&connection(name), "1"));
        stage.pause();
        assert_eq!(stage.claim(Tried::Never, 9), ids);
        stage.pause();
        for attempt in 1..=3 {
            stage.store.running(Some(ids[0]));
            stage.store.running(Some(ids[1]));
            stage.crash();
            stage.store.recover(&|_| false, START).unwrap();
            stage.pause();
            assert_eq!(ids.map(|id| stage.detail(id).row.attempts), [0, attempt]);
            assert_eq!(stage.claim(Tried::Before, 9), ids);
            stage.pause();
        }
        stage.store.running(Some(ids[1]));
        stage.store.running(None);
        stage.crash();
        stage.store.recover(&|_| false, START).unwrap();
        stage.pause();
        assert_eq!(ids.map(|id| stage.detail(id).row.attempts), [0, 3], "the apps were done with it");
    }

    /// "every claimed received message that is not `in_hand` can be claimed again, as `Tried::Before`. Returns the messages in `sending` that are not `in_hand`"
    fn recover_frees_what_a_process_had(stage) {
        let ids: Vec<_> = ["a", "b", "c"].map(|name| stage.accept(&connection(name), "in")).into();
        let out: Vec<_> = ["a", "b"].map(|name| stage.queue(&connection(name), "out")).into();
        stage.pause();
        assert_eq!(stage.claim(Tried::Never, 2), ids[..2]);
        assert_eq!(stage.take("one", 10, START), out);
        stage.pause();
        let (mine, sent) = (ids[0], out[0]);
        let found = stage.store.recover(&|id| id == mine || id == sent, START).unwrap();
        assert_eq!(found.iter().map(|taken| taken.outgoing.id).collect::<Vec<_>>(), out[1..]);
        assert_eq!(found[0].outgoing.attempt, 1);
        stage.store.commit().unwrap();
        assert_eq!(stage.claim(Tried::Before, 10), ids[1..2]);
        assert_eq!(stage.claim(Tried::Never, 10), ids[2..]);
        assert_eq!(stage.detail(ids[1]).row.attempts, 1, "no app saw it when the process ended");
        assert_eq!(stage.take("one", 10, at(10)), [], "sending stays claimed until it is settled");
        assert!(stage.settle_at(out[1], State::Uncertain, Some(at(2)), at(1)));
        assert_eq!(stage.take("one", 10, at(10)), out[1..]);
    }

    /// "Stores one message to be sent, in the state `row.state`: `queued`, or already ended or held."
    fn queue_takes_messages_that_are_not_to_be_sent(stage) {
        let held = stage.queue_as(&connection("a"), "h", |row| (row.state, row.reason) = (State::Held, Some("parked")));
        let cancelled = stage.queue_as(&connection("a"), "c", |row| (row.state, row.reason) = (State::Cancelled, Some("loop guard")));
        let failed = stage.queue_as(&connection("a"), "f", |row| row.state = State::Failed);
        let queued = stage.queue(&connection("a"), "q");
        stage.pause();
        assert_eq!(stage.take("one", 10, at(1)), [queued]);
        assert_eq!(stage.store.waiting(Direction::Out), 1);
        assert_eq!((stage.state(held), stage.state(cancelled), stage.state(failed)), (State::Held, State::Cancelled, State::Failed));
        assert_eq!(stage.detail(cancelled).row.reason.as_deref(), Some("loop guard"));
        assert_eq!(stage.detail(cancelled).history[0].reason.as_deref(), Some("loop guard"));
        assert_eq!(stage.detail(cancelled).history[0].actor, "app echo");
    }

    /// "Replies come before single messages, those before bulk; within a priority the earliest due first."
    fn take_due_keeps_the_turns(stage) {
        let bulk = stage.queue_as(&connection("a"), "b", |row| row.priority = Priority::Bulk);
        let later = stage.queue_as(&connection("b"), "s", |row| row.at = at(1));
        let single = stage.queue(&connection("a"), "s");
        let reply = stage.queue_as(&connection("a"), "r", |row| row.priority = Priority::Reply);
        let behind = stage.queue_as(&connection("a"), "r2", |row| row.priority = Priority::Reply);
        let elsewhere = stage.queue(&Connection::new("two", "a"), "x");
        stage.pause();
        assert_eq!(stage.take("nowhere", 10, at(9)), []);
        assert_eq!(stage.take("one", 2, at(9)), [reply, single]);
        assert_eq!(stage.take("one", 10, at(9)), [later, bulk]);
        assert_eq!(stage.take("two", 10, at(9)), [elsewhere]);
        let detail = stage.detail(reply);
        assert_eq!((detail.row.state, detail.row.attempts, detail.row.updated_at), (State::Sending, 1, at(9)));
        assert_eq!((&*detail.history[1].actor, detail.history[1].attempt), ("backend one", 1));
        stage.settle(reply, State::Sent);
        assert_eq!(stage.take("one", 10, at(9)), [behind]);
    }

    /// "A message with a `not_before` stands in no lane: it waits for its own time, delays nobody and is delayed by nobody."
    fn a_message_with_its_own_time_stands_in_no_lane(stage) {
        let timed = stage.queue_as(&connection("a"), "t", |row| row.not_before = Some(at(100)));
        let first = stage.queue(&connection("a"), "1");
        let second = stage.queue(&connection("a"), "2");
        stage.pause();
        assert_eq!(stage.take("one", 10, at(99)), [first]);
        assert_eq!(stage.store.next_due("one").unwrap(), Some(at(100)));
        assert_eq!(stage.take("one", 10, at(100)), [timed]);
        assert_eq!(stage.store.next_due("one").unwrap(), None);
        stage.settle_at(timed, State::Queued, Some(at(200)), at(100));
        stage.settle(first, State::Sent);
        assert_eq!(stage.take("one", 10, at(199)), [second]);
        assert_eq!(stage.take("one", 10, at(200)), [timed]);
        stage.settle(timed, State::Held);
        assert_eq!(stage.take("one", 10, at(900)), []);
        stage.settle_at(timed, State::Queued, None, at(300));
        assert_eq!(stage.store.next_due("one").unwrap(), Some(at(300)));
        assert_eq!(stage.detail(timed).row.not_before, Some(at(100)));
        assert_eq!(stage.take("one", 10, at(300)), [timed]);
    }

    /// "going back to `queued` or `uncertain` keeps the place in the lane, blocked until `settlement.due`"
    fn a_retry_delays_its_own_lane_only(stage) {
        let first = stage.queue(&connection("a"), "1");
        let second = stage.queue(&connection("a"), "2");
        let bulk = stage.queue_as(&connection("a"), "3", |row| row.priority = Priority::Bulk);
        let other = stage.queue(&connection("b"), "1");
        stage.pause();
        assert_eq!(stage.take("one", 1, START), [first]);
        let failure = Settlement {
            due: Some(at(60)), reason: Some("CMS 500".into()), ..Settlement::new(State::Queued, "backend one")
        };
        assert!(stage.store.settle(first, &failure, at(1)).unwrap());
        stage.pause();
        assert_eq!(stage.take("one", 10, at(59)), [other, bulk]);
        assert_eq!(stage.store.next_due("one").unwrap(), Some(at(60)));
        assert_eq!(stage.detail(first).row.reason.as_deref(), Some("CMS 500"));
        assert_eq!(stage.take("one", 10, at(60)), [first]);
        assert_eq!(stage.detail(first).row.attempts, 2);
        assert_eq!(stage.detail(first).row.reason, None);
        stage.settle_at(first, State::Uncertain, Some(at(70)), at(61));
        assert_eq!(stage.take("one", 10, at(69)), []);
        let taken = stage.store.take_due("one", 10, at(70)).unwrap();
        assert_eq!((taken[0].outgoing.id, taken[0].outgoing.attempt, taken[0].uncertain), (first, 3, 1));
        stage.settle_at(first, State::Sent, None, at(71));
        assert_eq!(stage.take("one", 10, at(71)), [second]);
    }

    /// "The attempt does not count (it was not made)."
    fn an_uncounted_attempt_is_taken_back(stage) {
        let id = stage.queue(&connection("a"), "1");
        stage.pause();
        stage.take("one", 1, START);
        let untried = Settlement { uncounted: true, due: Some(at(5)), ..Settlement::new(State::Queued, "router") };
        assert!(stage.store.settle(id, &untried, at(1)).unwrap());
        assert_eq!(stage.detail(id).row.attempts, 0);
        assert_eq!(stage.detail(id).history[2].attempt, 1, "the history tells of the first attempt");
        let taken = stage.store.take_due("one", 1, at(5)).unwrap();
        assert_eq!((taken[0].outgoing.attempt, taken[0].uncertain), (1, 0));
    }

    /// "`false`, and nothing but an `Entry` with the news happens, when `State::may_become` forbids the change or there is no such message"
    fn late_news_is_only_written_down(stage) {
        let id = stage.queue(&connection("a"), "1");
        stage.pause();
        stage.take("one", 1, START);
        assert!(stage.settle(id, State::Delivered));
        let late = Settlement { remote_ids: vec!["r".into()], ..Settlement::new(State::Failed, "backend one") };
        assert!(!stage.store.settle(id, &late.because("no such subscriber"), at(9)).unwrap());
        stage.pause();
        let detail = stage.detail(id);
        assert_eq!((detail.row.state, detail.row.updated_at, detail.row.remote_id), (State::Delivered, at(1), None));
        let last = detail.history.last().unwrap();
        assert_eq!((last.state, last.at, &*last.actor), (State::Delivered, at(9), "backend one"));
        let reason = last.reason.as_deref().unwrap();
        assert!(reason.contains("failed") && reason.contains("no such subscriber"), "{reason}");
        assert_eq!(stage.store.named("one", "r").unwrap(), None);
        let received = stage.accept(&connection("a"), "in");
        assert!(!stage.settle(received, State::Failed), "not an outgoing message");
        assert_eq!(stage.detail(received).history.len(), 1);
        assert!(!stage.settle(MessageId::from_parts(5, 5), State::Failed));
        let queued = stage.queue(&connection("b"), "2");
        assert!(!stage.settle(queued, State::Sending), "only take_due makes it so");
        assert_eq!(stage.take("one", 9, at(1)), [queued]);
        assert!(stage.settle(queued, State::Sent));
        assert!(!stage.settle(queued, State::Sent), "twice the same news");
        assert_eq!(stage.store.waiting(Direction::Out), 0);
    }

    /// "the number of parts that comes with a late `sent` is kept when none is known"
    fn a_report_that_overtakes_the_carriers_answer_costs_no_parts(stage) {
        let id = stage.queue(&connection("a"), "1");
        stage.pause();
        stage.take("one", 1, START);
        assert!(stage.settle(id, State::Delivered));
        for (parts, kept) in [(None, None), (Some(3), Some(3)), (Some(4), Some(3))] {
            let late = Settlement { parts, ..Settlement::new(State::Sent, "backend one") };
            assert!(!stage.store.settle(id, &late, at(9)).unwrap());
            stage.pause();
            assert_eq!((stage.detail(id).row.state, stage.detail(id).row.parts), (State::Delivered, kept));
        }
    }

    /// "Appends to the history of a message without changing its state. Unknown ids are ignored."
    fn notes_change_nothing_else(stage) {
        let id = stage.queue(&connection("a"), "1");
        stage.pause();
        stage.store.note(id, "backend one", "underway", at(3)).unwrap();
        stage.store.note(MessageId::from_parts(5, 5), "backend one", "underway", at(3)).unwrap();
        stage.pause();
        let detail = stage.detail(id);
        assert_eq!((detail.row.state, detail.row.updated_at), (State::Queued, START));
        assert_eq!(detail.history[1], Entry {
            at: at(3), state: State::Queued, actor: "backend one".into(), attempt: 0, reason: Some("underway".into()),
        });
    }

    /// "Up to `limit` messages in `queued`, `uncertain` or `held` whose validity has ended by `now`, earliest first, in whatever place of their lane."
    fn overdue_finds_any_place_of_a_lane(stage) {
        let until = |seconds| move |row: &mut NewOutgoing<'_>| row.expires_at = at(seconds);
        let first = stage.queue_as(&connection("a"), "1", until(50));
        let second = stage.queue_as(&connection("a"), "2", until(20));
        let third = stage.queue_as(&connection("a"), "3", until(30));
        let held = stage.queue_as(&connection("a"), "4", |row| (row.expires_at, row.state) = (at(10), State::Held));
        let sending = stage.queue_as(&connection("b"), "5", until(5));
        stage.queue_as(&connection("c"), "6", |row| (row.expires_at, row.state) = (at(5), State::Cancelled));
        stage.pause();
        assert_eq!(stage.take("one", 9, START), [first, sending]);
        assert_eq!(stage.store.overdue(at(9), 9).unwrap(), []);
        assert_eq!(stage.store.overdue(at(30), 9).unwrap(), [held, second, third]);
        assert_eq!(stage.store.overdue(at(30), 1).unwrap(), [held]);
        stage.pause();
        assert_eq!(stage.store.overdue(at(30), 9).unwrap(), [held, second, third], "until they are settled");
        for id in [held, second] {
            assert!(stage.settle(id, State::Expired));
        }
        assert_eq!(stage.store.overdue(at(30), 9).unwrap(), [third]);
        stage.settle_at(first, State::Uncertain, Some(at(1)), at(1));
        assert_eq!(stage.store.overdue(at(60), 9).unwrap(), [third, first]);
        assert!(stage.settle(first, State::Expired));
        assert_eq!(stage.take("one", 9, at(1)), [third], "the lane closed up");
        assert!(stage.settle(third, State::Sent));
        assert_eq!(stage.store.overdue(at(60), 9).unwrap(), []);
        assert_eq!(stage.take("one", 9, at(60)), []);
    }

    /// "the next one moves up when the first ends or is held"; a released message goes back to its place.
    fn held_delays_nobody_and_returns_to_its_place(stage) {
        let [first, second, third] = ["1", "2", "3"].map(|text| stage.queue(&connection("a"), text));
        stage.pause();
        assert!(stage.settle(first, State::Held), "before anybody took it");
        assert_eq!(stage.store.waiting(Direction::Out), 2);
        assert_eq!(stage.take("one", 9, at(1)), [second]);
        stage.pause();
        // Released while a later one is under way: first in line after that one.
        assert!(stage.settle_at(first, State::Queued, None, at(2)));
        assert_eq!(stage.take("one", 9, at(9)), [], "one at a time");
        assert_eq!(stage.store.next_due("one").unwrap(), None);
        stage.settle_at(second, State::Queued, Some(at(500)), at(3));
        stage.pause();
        assert_eq!(stage.take("one", 9, at(3)), [first]);
        stage.settle_at(first, State::Sent, None, at(4));
        assert_eq!(stage.store.next_due("one").unwrap(), Some(at(500)), "the pause of the second was not forgotten");
        // Released before a head that nobody has taken: the head steps back, and keeps its pause.
        stage.pause();
        assert_eq!(stage.take("one", 9, at(500)), [second]);
        stage.settle_at(second, State::Held, None, at(501));
        assert_eq!(stage.store.next_due("one").unwrap(), Some(at(501)));
        assert!(stage.settle_at(second, State::Queued, Some(at(600)), at(502)));
        stage.pause();
        assert_eq!(stage.take("one", 9, at(599)), []);
        assert_eq!(stage.take("one", 9, at(600)), [second]);
        stage.settle_at(second, State::Failed, None, at(601));
        assert_eq!(stage.take("one", 9, at(601)), [third]);
        stage.settle_at(third, State::Held, None, at(602));
        assert_eq!(stage.take("one", 9, at(700)), []);
        assert!(stage.settle_at(third, State::Cancelled, None, at(603)));
        assert!(!stage.settle_at(third, State::Queued, None, at(604)));
    }

    /// A released message goes behind an earlier one that nobody has taken yet.
    fn a_released_message_does_not_overtake(stage) {
        let [first, second, third] = ["1", "2", "3"].map(|text| stage.queue(&connection("a"), text));
        stage.settle(second, State::Held);
        stage.pause();
        assert!(stage.settle_at(second, State::Queued, None, at(1)));
        stage.pause();
        for id in [first, second, third] {
            assert_eq!(stage.take("one", 9, at(2)), [id]);
            stage.settle_at(id, State::Sent, None, at(2));
        }
    }

    /// A head that stepped back for a released message keeps the time of its retry.
    fn a_displaced_head_keeps_its_pause(stage) {
        let [first, second] = ["1", "2"].map(|text| stage.queue(&connection("a"), text));
        stage.settle(first, State::Held);
        stage.pause();
        assert_eq!(stage.take("one", 9, at(1)), [second]);
        stage.settle_at(second, State::Queued, Some(at(100)), at(2));
        stage.settle_at(first, State::Queued, None, at(3));
        stage.pause();
        assert_eq!(stage.take("one", 9, at(200)), [first]);
        stage.settle_at(first, State::Sent, None, at(4));
        assert_eq!(stage.take("one", 9, at(99)), []);
        assert_eq!(stage.store.next_due("one").unwrap(), Some(at(100)));
        assert_eq!(stage.take("one", 9, at(100)), [second]);
    }

    /// Cancelling the untaken head, and one in the middle.
    fn a_person_can_cancel_anywhere(stage) {
        let [first, second, third] = ["1", "2", "3"].map(|text| stage.queue(&connection("a"), text));
        stage.pause();
        assert!(stage.settle(second, State::Cancelled));
        assert!(stage.settle(first, State::Cancelled));
        stage.pause();
        assert_eq!(stage.take("one", 9, at(1)), [third]);
    }

    /// "The part of a message that `backend`'s carrier calls `remote_id` and that did not arrive yet. Names repeat"
    fn names_of_parts_are_found_until_they_arrive(stage) {
        let [first, second, third] = ["a", "b", "c"].map(|name| stage.queue(&connection(name), "1"));
        stage.pause();
        stage.take("one", 9, START);
        let named = |stage: &mut Stage, name: &str| {
            stage.store.named("one", name).unwrap().map(|Named { id, part, parts }| (id, part, parts))
        };
        let sent = |stage: &mut Stage, id, state, names: &[&str], seconds| {
            let remote_ids = names.iter().map(|name| name.to_string()).collect();
            let settlement = Settlement { remote_ids, ..Settlement::new(state, "backend one") };
            assert!(stage.store.settle(id, &settlement, at(seconds)).unwrap());
        };
        sent(stage, second, State::Sent, &["17", "", "18", "17"], 1);
        sent(stage, first, State::Sent, &["17"], 2);
        stage.pause();
        assert_eq!(stage.detail(second).row.remote_id.as_deref(), Some("17"));
        assert_eq!(named(stage, "18"), Some((second, 3, 3)), "a part without a name is not waited for");
        assert_eq!(named(stage, "17"), Some((first, 1, 1)), "the last that was given the name, though it is the older message");
        assert_eq!((named(stage, "19"), named(stage, "")), (None, None));
        assert_eq!(stage.store.named("nowhere", "17").unwrap(), None);
        assert_eq!(stage.store.arrived(first, 1).unwrap(), 0);
        stage.pause();
        assert_eq!(named(stage, "17"), Some((second, 4, 3)));
        assert_eq!(stage.store.arrived(second, 4).unwrap(), 2);
        assert_eq!(stage.store.arrived(second, 4).unwrap(), 2, "once is enough");
        assert_eq!(named(stage, "17"), Some((second, 1, 3)));
        assert_eq!(stage.store.arrived(second, 1).unwrap(), 1);
        stage.pause();
        assert_eq!(named(stage, "17"), None);
        assert!(stage.settle(second, State::Failed));
        stage.pause();
        assert_eq!(named(stage, "18"), None, "nobody waits for it any more");
        assert_eq!(stage.detail(second).row.remote_id.as_deref(), Some("17"), "people may still want to know");
        // Another attempt has other names.
        sent(stage, third, State::Uncertain, &["5", "6"], 3);
        assert_eq!(named(stage, "6"), Some((third, 2, 2)));
        assert_eq!(stage.take("one", 9, at(9)), [third]);
        sent(stage, third, State::Sent, &["7"], 10);
        stage.pause();
        assert_eq!((named(stage, "5"), named(stage, "6"), named(stage, "7")), (None, None, Some((third, 1, 1))));
        assert_eq!(stage.store.purge(Some(at(99)), at(0), 9).unwrap(), 3);
        stage.pause();
        assert_eq!(named(stage, "7"), None);
        assert_eq!(stage.store.arrived(third, 1).unwrap(), 0);
        stage.pause();
    }

    /// What is wished of a message is handed out with it, as often as it is.
    fn wishes_are_kept(stage) {
        let mut expected = Vec::new();
        for flash in [false, true] {
            for report in [None, Some(true), Some(false)] {
                let wishes = Wishes { flash, report, part: None };
                stage.queue_as(&connection(&format!("{wishes:?}")), "1", |row| row.wishes = wishes);
                expected.push(wishes);
            }
        }
        for (reference, bits, total, sequence) in [(0, 8, 1, 1), (0xFF, 8, 255, 254), (0xFFFF, 16, 255, 255), (1, 16, 2, 1)] {
            let part = Some(message::Piece { reference, bits, total, sequence });
            let wishes = Wishes { flash: bits == 8, report: Some(false), part };
            stage.queue_as(&connection(&format!("{wishes:?}")), "1", |row| row.wishes = wishes);
            expected.push(wishes);
        }
        stage.pause();
        let wishes = |taken: Vec<Taken>| taken.into_iter().map(|taken| taken.outgoing.wishes).collect::<Vec<_>>();
        assert_eq!(wishes(stage.store.take_due("one", 99, START).unwrap()), expected);
        stage.pause();
        assert_eq!(wishes(stage.store.recover(&|_| false, START).unwrap()), expected);
    }

    /// "One count is kept for each kind of period: a later `since` begins it anew"
    fn what_was_sent_is_counted_by_period(stage) {
        stage.queue(&connection("a"), "1");
        stage.pause();
        let spent = |stage: &mut Stage, period, seconds| stage.store.spent("one", period, at(seconds)).unwrap();
        assert_eq!(spent(stage, Period::Day, 0), 0);
        for (period, seconds, parts) in [(Period::Day, 0, 2), (Period::Day, 0, 3), (Period::Month, -100, 7)] {
            stage.store.spend("one", period, at(seconds), parts).unwrap();
            stage.pause();
        }
        assert_eq!((spent(stage, Period::Day, 0), spent(stage, Period::Month, -100), spent(stage, Period::Minute, 0)), (5, 7, 0));
        assert_eq!(spent(stage, Period::Day, 60), 0, "another day");
        assert_eq!(spent(stage, Period::Day, -60), 5, "what is counted since then was sent in a longer time, too");
        stage.store.spend("one", Period::Day, at(60), 1).unwrap();
        stage.store.spend("one", Period::Day, at(0), 1).unwrap();
        stage.pause();
        assert_eq!(spent(stage, Period::Day, 60), 2);
        assert_eq!(stage.store.spent("two", Period::Day, at(0)).unwrap(), 0);
    }

    /// "Who wants to be called about a message. None when nobody does, and when nothing can happen to it any more."
    fn callbacks_are_kept_as_long_as_something_can_happen(stage) {
        let callback = Callback::new("http://a/?s=%d&secret=\u{fc}", 27);
        let plain = stage.queue(&connection("p"), "1");
        let id = stage.queue_called(&connection("+1"), "1", Some(&callback), |_| ());
        stage.pause();
        let wanted = |stage: &mut Stage, id| stage.store.callback(id).unwrap();
        assert_eq!(wanted(stage, plain), None);
        let expected = Wanted {
            callback: callback.clone(), happened: 0, identity: "+1".into(), backend: "one".into(), remote_id: None,
        };
        assert_eq!(wanted(stage, id), Some(expected.clone()));
        let other = MessageId::from_parts(id.key(), id.tail() ^ 1);
        assert_eq!(wanted(stage, other), None, "the random part of an id counts as well");
        let taken = stage.store.take(&Taking { queue: "one", by: "two", again: true }, 9, START).unwrap();
        assert_eq!(taken.iter().map(|taken| taken.called).collect::<Vec<_>>(), [false, true]);
        stage.store.settle(id, &Settlement { remote_ids: vec!["r7".into()], ..Settlement::new(State::Sent, "backend two") }, at(1)).unwrap();
        stage.store.tell(id, 8, false, None, at(1)).unwrap();
        stage.store.tell(plain, 8, false, None, at(1)).unwrap();
        stage.pause();
        assert_eq!(wanted(stage, plain), None);
        let expected = Wanted { happened: 8, backend: "two".into(), remote_id: Some("r7".into()), ..expected };
        assert_eq!(wanted(stage, id), Some(expected));
        stage.store.tell(id, 9, true, None, at(2)).unwrap();
        stage.pause();
        assert_eq!(wanted(stage, id), None);
        // A purge forgets it as well.
        let purged = stage.queue_called(&connection("+2"), "1", Some(&callback), |row| row.state = State::Failed);
        stage.pause();
        assert_eq!(wanted(stage, purged).map(|wanted| wanted.happened), Some(0));
        assert!(stage.store.purge(Some(at(99)), at(0), 9).unwrap() >= 1);
        stage.pause();
        assert_eq!(wanted(stage, purged), None);
    }

    /// "Of the calls about one message only the first is due; the next one follows when it ends."
    fn calls_are_owed_in_order_and_each_host_has_its_own(stage) {
        let call = |stage: &mut Stage, id, host: &str, url: &str, seconds| {
            let call = NewCall { host, method: "GET", url, headers: "", body: None };
            stage.store.tell(id, 0, false, Some(&call), at(seconds)).unwrap();
        };
        let due = |stage: &mut Stage, host: &str, seconds| -> Vec<String> {
            stage.store.due_calls(host, 9, at(seconds)).unwrap().into_iter().map(|call| call.url).collect()
        };
        let none: [String; 0] = [];
        let [one, two] = ["a", "b"].map(|name| stage.queue(&connection(name), "1"));
        call(stage, one, "h1", "1a", 1);
        call(stage, one, "h1", "1b", 2);
        call(stage, two, "h1", "2a", 3);
        call(stage, two, "h2", "2b", 4);
        stage.pause();
        assert_eq!(stage.store.waiting_calls(), 4);
        assert_eq!(due(stage, "h1", 0), none);
        assert_eq!(due(stage, "h1", 9), ["1a", "2a"]);
        assert_eq!(due(stage, "h2", 9), none, "the one before it is not over");
        assert_eq!(due(stage, "h3", 9), none);
        assert_eq!(stage.store.due_calls("h1", 1, at(9)).unwrap()[0].url, "1a");
        assert_eq!(stage.store.call_hosts("", 9).unwrap(), ["h1", "h2"]);
        assert_eq!(stage.store.call_hosts("", 1).unwrap(), ["h1"]);
        assert_eq!(stage.store.call_hosts("h1", 9).unwrap(), ["h2"]);
        assert_eq!(stage.store.call_hosts("h2", 9).unwrap(), none);
        assert_eq!((stage.store.next_call(at(0)).unwrap(), stage.store.next_call(at(1)).unwrap()), (Some(at(1)), Some(at(3))));
        let numbers: Vec<i64> = stage.store.oldest_calls(9).unwrap().iter().map(|call| call.number).collect();
        assert!(numbers.len() == 4 && numbers.is_sorted(), "{numbers:?}");
        assert_eq!(stage.store.oldest_calls(2).unwrap().len(), 2);
        // Put off, it keeps its place.
        stage.store.put_off_call(numbers[0], 1, at(100)).unwrap();
        stage.store.put_off_call(numbers[1], 7, at(5)).unwrap();
        stage.pause();
        assert_eq!(due(stage, "h1", 99), ["2a"]);
        let again = stage.store.due_calls("h1", 9, at(100)).unwrap();
        assert_eq!((again[1].attempts, again[1].at, again[1].message, &*again[1].method), (1, at(1), one, "GET"));
        stage.store.end_call(numbers[0], at(200)).unwrap();
        stage.pause();
        assert_eq!((due(stage, "h1", 199), due(stage, "h1", 200)), (vec!["2a".to_string()], vec!["2a".to_string(), "1b".to_string()]));
        assert_eq!(stage.store.oldest_calls(1).unwrap()[0].attempts, 0, "what is not due cannot have failed");
        stage.store.end_call(numbers[0], at(200)).unwrap();
        assert_eq!(stage.store.waiting_calls(), 3, "once is enough");
        stage.store.end_call(numbers[2], at(300)).unwrap();
        stage.pause();
        assert_eq!(due(stage, "h2", 300), ["2b"]);
        for number in &numbers[1..] {
            stage.store.end_call(*number, at(400)).unwrap();
        }
        stage.store.put_off_call(numbers[3], 1, at(100)).unwrap();
        stage.pause();
        assert_eq!((stage.store.waiting_calls(), stage.store.next_call(at(0)).unwrap()), (0, None));
        assert_eq!(stage.store.call_hosts("", 9).unwrap(), none);
        call(stage, one, "h1", "again", 500);
        stage.pause();
        assert!(stage.store.oldest_calls(1).unwrap()[0].number > numbers[3], "numbers are never given twice");
        assert_eq!(stage.store.reader().unwrap().calls().unwrap(), 1);
    }

    /// A call says everything itself: it outlives its message, keeps what it carries octet for octet, and moves along with the clock.
    fn calls_are_kept_whole(stage) {
        let id = stage.queue_as(&connection("a"), "1", |row| row.state = State::Cancelled);
        let call = NewCall { host: "h", method: "POST", url: "http://h/?\u{fc}'\"", headers: "A: b\nC: d", body: Some(&[0, 255, 7]) };
        stage.store.tell(id, 16, true, Some(&call), at(1)).unwrap();
        stage.pause();
        assert_eq!(stage.store.purge(Some(at(99)), at(0), 9).unwrap(), 1);
        stage.pause();
        stage.store.shift(1, Duration::from_secs(60)).unwrap();
        stage.pause();
        assert_eq!(stage.store.due_calls("h", 9, at(60)).unwrap(), []);
        let found = stage.store.due_calls("h", 9, at(61)).unwrap().remove(0);
        assert_eq!((found.message, found.at, &*found.url, &*found.headers), (id, at(61), call.url, call.headers));
        assert_eq!((&*found.method, found.body.as_deref(), found.attempts), ("POST", call.body, 0));
        let shown = format!("{found:?}");
        assert!(!shown.contains("http") && shown.contains("to h about"), "{shown}");
    }

    /// "Of no backend more are claimed than `room` says for it"
    fn p7_isolation_claims_stay_within_each_backends_bound(stage) {
        for n in 0..5 {
            for backend in ["one", "two", "three"] {
                stage.accept(&Connection::new(backend, format!("{n}")), backend);
            }
        }
        stage.pause();
        let mut claim = |tried, limit, rooms: [usize; 3]| {
            let room = |backend: &str| match backend {
                "one" => rooms[0],
                "two" => rooms[1],
                _ => rooms[2],
            };
            let claimed = stage.store.unfinished(tried, limit, &room, START).unwrap();
            stage.store.commit().unwrap();
            ["one", "two", "three"].map(|backend| claimed.iter().filter(|message| message.text == backend).count())
        };
        assert_eq!(claim(Tried::Never, 9, [1, 0, 9]), [1, 0, 5]);
        assert_eq!(claim(Tried::Never, 3, [9, 1, 9]), [2, 1, 0]);
        assert_eq!(claim(Tried::Before, 9, [9, 9, 9]), [0, 0, 0]);
        stage.store.recover(&|_| false, START).unwrap();
        let mut claim = |rooms: [usize; 3]| {
            let room = |backend: &str| match backend {
                "one" => rooms[0],
                "two" => rooms[1],
                _ => rooms[2],
            };
            stage.store.unfinished(Tried::Before, 4, &room, START).unwrap().len()
        };
        assert_eq!(claim([0, 0, 0]), 0);
        assert_eq!(claim([1, 1, 0]), 2);
        assert_eq!(claim([9, 9, 1]), 3, "two and one");
    }

    /// "A message to be sent stands in the queue of its backend, or in one that [`NewOutgoing::queue`] names"; "the message is by a backend from then on"
    fn a_queue_of_its_own_is_emptied_by_others(stage) {
        let to = |name: &str| Connection::new("many", name);
        let plain = stage.queue(&to("a"), "1");
        let [first, second] = ["b", "c"].map(|name| stage.queue_as(&to(name), "1", |row| row.queue = Some("many/25677")));
        let other = stage.queue_as(&to("d"), "1", |row| row.queue = Some("many/254"));
        stage.queue(&Connection::new("many0", "a"), "1");
        stage.pause();
        assert_eq!(stage.store.queues("many").unwrap(), ["many/254".into(), "many/25677".into()] as [Name; 2]);
        assert_eq!(stage.store.queues("one").unwrap(), [] as [Name; 0]);
        assert_eq!(stage.take("many", 9, at(1)), [plain]);
        assert_eq!(stage.store.next_due("many").unwrap(), None);
        assert_eq!(stage.store.next_due("many/25677").unwrap(), Some(START));
        let take = |stage: &mut Stage, queue: &str, by: &str, again: bool, limit| -> Vec<MessageId> {
            let taken = stage.store.take(&Taking { queue, by, again }, limit, at(5)).unwrap();
            assert!(taken.iter().all(|taken| *taken.outgoing.by == *by && *taken.outgoing.connection.backend == *"many"));
            taken.into_iter().map(|taken| taken.outgoing.id).collect()
        };
        assert_eq!(take(stage, "many/25677", "zain", false, 1), [first]);
        stage.pause();
        assert_eq!(stage.store.backend_of(first).unwrap().as_deref(), Some("zain"));
        assert_eq!(stage.store.backend_of(second).unwrap().as_deref(), Some("many"));
        // The next process knows who had it.
        let stranded = stage.store.recover(&|id| id == plain, at(5)).unwrap();
        assert_eq!(stranded.iter().map(|taken| (taken.outgoing.id, &*taken.outgoing.by)).collect::<Vec<_>>(), [(first, "zain")]);
        assert!(stage.settle_at(first, State::Queued, Some(at(2)), at(2)));
        assert_eq!(take(stage, "many/25677", "zain", false, 9), [second], "what it had is left to others");
        assert_eq!(stage.store.next_due("many/25677").unwrap(), Some(at(2)), "and is still there");
        assert_eq!(take(stage, "many/25677", "zain", true, 9), [first]);
        assert!(stage.settle_at(first, State::Queued, Some(at(2)), at(3)));
        assert_eq!(take(stage, "many/25677", "tnm", false, 9), [first]);
        let names = Settlement { remote_ids: vec!["17".into()], ..Settlement::new(State::Sent, "backend tnm") };
        assert!(stage.store.settle(first, &names, at(6)).unwrap());
        stage.pause();
        assert_eq!(stage.store.named("tnm", "17").unwrap().map(|named| named.id), Some(first));
        assert_eq!(stage.store.named("many", "17").unwrap(), None);
        assert_eq!(*stage.detail(first).row.backend, *"many");
        let actors: Vec<_> = stage.detail(first).history.into_iter().map(|entry| entry.actor).collect();
        assert_eq!(actors[1..3], ["backend zain", "backend one"]);
        assert_eq!(actors.last().map(String::as_str), Some("backend tnm"));
        // Held and let go again, it is where it was.
        assert!(stage.settle(other, State::Held));
        assert!(stage.settle_at(other, State::Queued, None, at(7)));
        assert_eq!(stage.store.next_due("many/254").unwrap(), Some(at(7)));
        stage.store.shift(1, Duration::from_secs(100)).unwrap();
        stage.pause();
        assert_eq!(stage.store.next_due("many/254").unwrap(), Some(at(107)));
        assert_eq!(stage.store.waiting_of("many", Direction::Out).unwrap(), 3);
        let mut reader = stage.store.reader().unwrap();
        let tally = reader.tally().unwrap();
        assert_eq!(tally, reader.recount().unwrap());
        assert!(tally.iter().all(|count| count.backend.starts_with("many")));
    }

    /// "By which backend a message came or goes, if there is such a message."
    fn the_backend_of_a_message_is_known(stage) {
        let out = stage.queue(&Connection::new("two", "a"), "1");
        let received = stage.accept(&connection("a"), "1");
        stage.pause();
        assert_eq!(stage.store.backend_of(out).unwrap().as_deref(), Some("two"));
        assert_eq!(stage.store.backend_of(received).unwrap().as_deref(), Some("one"));
        let unknown = MessageId::from_parts(out.key(), out.tail() ^ 1);
        assert_eq!(stage.store.backend_of(unknown).unwrap(), None);
    }

    /// "The octets from which a received message was decoded, if there is such a message and they were kept."
    fn the_octets_of_a_message_are_found(stage) {
        let kept = Incoming { raw: Some(vec![0, 255, 7]), ..Incoming::new(connection("a"), "1") };
        let kept = stage.accept_as(&kept, State::Received, None, None);
        let bare = stage.accept(&connection("a"), "2");
        let out = stage.queue(&Connection::new("two", "a"), "1");
        stage.pause();
        assert_eq!(stage.store.raw(kept).unwrap(), Some(vec![0, 255, 7]));
        assert_eq!(stage.store.raw(bare).unwrap(), None);
        assert_eq!(stage.store.raw(out).unwrap(), None);
        let unknown = MessageId::from_parts(kept.key(), kept.tail() ^ 1);
        assert_eq!(stage.store.raw(unknown).unwrap(), None);
    }

    /// "Remembers a redelivery or idempotency key. An older memory under the same key is replaced."
    fn keys_are_remembered_until_they_are_old(stage) {
        let id = stage.accept(&connection("a"), "1");
        let [old, new] = [1, 50].map(|seconds| Remembered { id, digest: vec![seconds as u8, 0], at: at(seconds) });
        stage.store.remember("sim 1", "k", &old).unwrap();
        stage.store.remember("sim 2", "k", &old).unwrap();
        stage.pause();
        assert_eq!(stage.store.recall("sim 1", "k").unwrap(), Some(old.clone()));
        assert_eq!(stage.store.recall("sim 1", "other").unwrap(), None);
        assert_eq!(stage.store.recall("sim 3", "k").unwrap(), None);
        stage.store.remember("sim 1", "k", &new).unwrap();
        stage.pause();
        assert_eq!(stage.store.recall("sim 1", "k").unwrap(), Some(new.clone()));
        assert_eq!(stage.store.purge(None, at(50), 10).unwrap(), 0);
        stage.pause();
        assert_eq!(stage.store.recall("sim 1", "k").unwrap(), Some(new));
        assert_eq!(stage.store.recall("sim 2", "k").unwrap(), None, "older than the limit");
    }

    /// Contacts: register, language, several connections of one person.
    fn contacts_follow_their_connections(stage) {
        let [phone, mail] = [connection("1"), Connection::new("mail", "a@b")];
        stage.store.change_contact(&phone, &ContactChange::Language("fr".into()), START).unwrap();
        assert_eq!(stage.store.contact(&phone).unwrap(), None, "nobody is known");
        let register = |name: &str| ContactChange::Register { name: name.into(), language: "en".into() };
        stage.store.change_contact(&phone, &register("Ann"), START).unwrap();
        stage.pause();
        let ann = stage.store.contact(&phone).unwrap().unwrap();
        assert_eq!((&*ann.name, &*ann.language), ("Ann", "en"));
        stage.store.change_contact(&mail, &ContactChange::Join(ann.id), START).unwrap();
        stage.store.change_contact(&mail, &ContactChange::Join(ann.id + 99), START).unwrap();
        stage.store.change_contact(&mail, &ContactChange::Language("de".into()), START).unwrap();
        stage.pause();
        assert_eq!(stage.store.contact(&phone).unwrap().unwrap().language, "de");
        assert_eq!(stage.store.contact(&mail).unwrap().unwrap().id, ann.id);
        stage.store.change_contact(&phone, &register("Bob"), START).unwrap();
        stage.accept(&phone, "hi");
        stage.accept(&connection("2"), "hi");
        stage.pause();
        let claimed = stage.store.unfinished(Tried::Never, 9, &no_bound, START).unwrap();
        assert_eq!(claimed[0].contact.as_ref().unwrap().name, "Bob");
        assert_eq!(claimed[1].contact, None);
        assert_eq!(stage.store.contact(&mail).unwrap().unwrap().name, "Ann");
    }

    /// "Moves everything that waits along with a step of the wall clock"
    fn p14_clock_shift_moves_all_that_waits(stage) {
        let plain = stage.queue(&connection("a"), "1");
        let behind = stage.queue(&connection("a"), "2");
        let timed = stage.queue_as(&connection("a"), "3", |row| row.not_before = Some(at(100)));
        let held = stage.queue_as(&connection("a"), "4", |row| row.state = State::Held);
        let ended = stage.queue_as(&connection("a"), "5", |row| row.state = State::Cancelled);
        let endless = stage.queue_as(&connection("b"), "6", |row| {
            (row.not_before, row.expires_at) = (Some(Timestamp(i64::MAX)), Timestamp(i64::MAX));
        });
        let received = stage.accept(&connection("z"), "in");
        stage.pause();
        stage.take("one", 1, START);
        stage.settle_at(plain, State::Queued, Some(at(10)), at(1));
        assert_eq!(stage.store.shifts(), 0);
        stage.store.shift(1, Duration::from_secs(1_000)).unwrap();
        stage.pause();
        stage.store.shift(1, Duration::from_secs(5_000)).unwrap();
        assert_eq!(stage.store.shifts(), 1, "one step is followed once");
        stage.pause();
        assert_eq!(stage.store.overdue(at(1_999), 9).unwrap(), []);
        assert_eq!(stage.store.overdue(at(2_000), 9).unwrap(), [plain, behind, timed, held]);
        assert_eq!(stage.store.next_due("one").unwrap(), Some(at(1_010)));
        assert_eq!(stage.take("one", 9, at(1_010)), [plain]);
        assert_eq!(stage.take("one", 9, at(1_100)), [timed]);
        let row = stage.detail(timed).row;
        assert_eq!((row.not_before, row.expires_at), (Some(at(1_100)), Some(at(2_000))));
        assert_eq!(stage.detail(ended).row.expires_at, Some(at(1_000)));
        assert!(stage.detail(endless).row.expires_at > Some(at(1_000_000)));
        assert_eq!(stage.claim(Tried::Never, 9), [received]);
    }

    /// "Deletes up to `limit` ended messages last changed before `before`, with their histories"
    fn purge_takes_only_what_has_ended(stage) {
        let ended: Vec<_> = (0..3).map(|_| {
            let id = stage.accept(&connection("a"), "1");
            stage.claim(Tried::Never, 1);
            stage.finish(id);
            id
        }).collect();
        let open = stage.accept(&connection("a"), "2");
        let held = stage.queue_as(&connection("b"), "3", |row| row.state = State::Held);
        let recent = stage.queue_as(&connection("b"), "4", |row| (row.state, row.at) = (State::Failed, at(50)));
        stage.pause();
        assert_eq!(stage.store.purge(None, at(0), 9).unwrap(), 0);
        assert_eq!(stage.store.purge(Some(at(1)), at(0), 9).unwrap(), 0, "before, not at");
        assert_eq!(stage.store.purge(Some(at(50)), at(0), 2).unwrap(), 2);
        stage.pause();
        assert_eq!(stage.store.purge(Some(at(50)), at(0), 2).unwrap(), 1);
        stage.pause();
        assert_eq!(stage.store.purge(Some(at(50)), at(0), 2).unwrap(), 0);
        assert_eq!(stage.list(&Query::default()), [recent, held, open]);
        assert!(stage.store.reader().unwrap().message(ended[0]).unwrap().is_none());
        let again = stage.queue(&connection("a"), "5");
        assert_eq!(stage.take("one", 9, at(60)), [again], "its connection lives on");
    }

    /// "which sees what is committed"
    fn a_reader_sees_what_is_committed(stage) {
        let first = stage.accept(&connection("a"), "1");
        stage.pause();
        let mut reader = stage.store.reader().unwrap();
        let second = stage.accept(&connection("b"), "2");
        stage.claim(Tried::Never, 1);
        stage.finish(first);
        assert!(reader.message(second).unwrap().is_none());
        let seen = reader.message(first).unwrap().unwrap();
        assert_eq!((seen.row.state, seen.row.attempts), (State::Received, 0));
        assert_eq!(reader.tally().unwrap().iter().map(|count| count.count).sum::<u64>(), 1);
        stage.store.commit().unwrap();
        assert!(reader.message(second).unwrap().is_some());
        assert_eq!(reader.message(first).unwrap().unwrap().row.state, State::Handled);
        assert!(reader.message(MessageId::from_parts(first.key(), first.tail() ^ 1)).unwrap().is_none());
    }

    /// Pages: filters, both orders, exclusive cursors, clamped limits.
    fn pages_walk_through_everything_once(stage) {
        let mut all = Vec::new();
        for n in 0..40 {
            let who = Connection::new(["one", "two"][n % 2], ["a", "b", "c"][n % 3]);
            let id = if n % 4 == 0 { stage.queue(&who, "out") } else { stage.accept(&who, "in") };
            all.push((id, who, n % 4 == 0));
        }
        let failed = all[4].0;
        assert!(stage.settle(failed, State::Failed));
        for query in [
            Query::default(),
            Query { identity: Some("a".into()), ..Query::default() },
            Query { backend: Some("two".into()), ..Query::default() },
            Query { backend: Some("one".into()), identity: Some("c".into()), ..Query::default() },
            Query { direction: Some(Direction::Out), ..Query::default() },
            Query { direction: Some(Direction::In), identity: Some("b".into()), ..Query::default() },
            Query { state: Some(State::Queued), ..Query::default() },
            Query { state: Some(State::Failed), ..Query::default() },
            Query { state: Some(State::Failed), direction: Some(Direction::In), ..Query::default() },
            Query { state: Some(State::Sent), backend: Some("one".into()), ..Query::default() },
            Query { state: Some(State::Queued), identity: Some("a".into()), ..Query::default() },
            Query { backend: Some("nowhere".into()), ..Query::default() },
            Query { identity: Some("nobody".into()), ..Query::default() },
        ] {
            for ascending in [false, true] {
                let mut expected: Vec<_> = all.iter().filter(|(id, who, out)| {
                    let state = match (out, *id == failed) {
                        (true, true) => State::Failed,
                        (true, false) => State::Queued,
                        _ => State::Received,
                    };
                    query.identity.as_deref().is_none_or(|wanted| wanted == &*who.identity)
                        && query.backend.as_deref().is_none_or(|wanted| wanted == &*who.backend)
                        && query.direction.is_none_or(|wanted| (wanted == Direction::Out) == *out)
                        && query.state.is_none_or(|wanted| wanted == state)
                }).map(|(id, ..)| *id).collect();
                if !ascending {
                    expected.reverse();
                }
                for limit in [1, 3, 7, 1_000, usize::MAX] {
                    let mut query = Query { ascending, limit, ..query.clone() };
                    let mut found = Vec::new();
                    stage.store.commit().unwrap();
                    let mut reader = stage.store.reader().unwrap();
                    loop {
                        let page = reader.messages(&query).unwrap();
                        assert!(page.messages.len() <= limit.min(1_000));
                        found.extend(page.messages.iter().map(|row| row.id));
                        query.after = page.next;
                        if page.next.is_none() {
                            break;
                        }
                        assert_eq!(page.next, found.last().copied(), "{query:?}");
                    }
                    assert_eq!(found, expected, "{query:?}");
                }
            }
        }
        let nothing = Query { limit: 0, ..Query::default() };
        assert_eq!(stage.list(&nothing).len(), 1, "a limit is at least 1");
    }

    /// "every accepted message is counted exactly once"
    fn p17_conservation(stage) {
        let a = stage.accept(&connection("a"), "1");
        stage.accept(&connection("b"), "2");
        stage.accept_as(&Incoming::new(connection("b"), "2"), State::Duplicate, None, Some(a));
        let out = stage.queue(&Connection::new("two", "x"), "3");
        stage.queue_as(&connection("y"), "4", |row| row.state = State::Held);
        stage.pause();
        stage.claim(Tried::Never, 1);
        stage.finish(a);
        stage.take("two", 1, START);
        stage.pause();
        assert_eq!(stage.store.waiting(Direction::In), 1);
        assert_eq!(stage.store.waiting(Direction::Out), 1);
        stage.settle(out, State::Sent);
        stage.pause();
        let mut reader = stage.store.reader().unwrap();
        let count = |backend: &str, direction, state| Count { backend: backend.into(), direction, state, count: 1 };
        let mut expected = vec![
            count("one", Direction::In, State::Handled),
            count("one", Direction::In, State::Received),
            count("one", Direction::In, State::Duplicate),
            count("two", Direction::Out, State::Sent),
            count("one", Direction::Out, State::Held),
        ];
        expected.sort();
        assert_eq!(reader.tally().unwrap(), expected);
        assert_eq!(reader.recount().unwrap(), expected);
        stage.store.purge(Some(at(900)), at(0), 9).unwrap();
        stage.pause();
        assert_eq!(reader.tally().unwrap().len(), 2);
        assert_eq!(reader.recount().unwrap(), reader.tally().unwrap());
        assert_eq!(stage.store.waiting(Direction::In), 1);
        assert_eq!(stage.store.waiting(Direction::Out), 0);
    }

    /// "The creation time of the oldest open outgoing message of a backend."
    fn oldest_waiting_tells_of_a_backlog(stage) {
        let [first, second] = [7, 8].map(|seconds| stage.queue_as(&connection("a"), "1", |row| row.at = at(seconds)));
        stage.queue_as(&Connection::new("two", "b"), "1", |row| row.at = at(3));
        stage.accept(&connection("a"), "in");
        stage.pause();
        let mut reader = stage.store.reader().unwrap();
        assert_eq!(reader.oldest_waiting("one").unwrap(), Some(at(7)));
        stage.take("one", 1, at(9));
        stage.pause();
        assert_eq!(reader.oldest_waiting("one").unwrap(), Some(at(7)));
        stage.settle(first, State::Sent);
        stage.pause();
        assert_eq!(reader.oldest_waiting("one").unwrap(), Some(at(8)));
        stage.settle(second, State::Held);
        stage.pause();
        assert_eq!(reader.oldest_waiting("one").unwrap(), None);
        assert_eq!(reader.oldest_waiting("nowhere").unwrap(), None);
    }

    /// "The places are shared evenly among the backends that have something to claim"; "no backend is always last".
    fn p7_isolation_claims_go_round_the_backends(stage) {
        let from = |backend: &str, n: usize| Connection::new(backend, format!("{n}"));
        let [mut one, mut two, mut six]: [Vec<MessageId>; 3] = Default::default();
        for n in 0..20 {
            one.push(stage.accept(&from("one", n), "flood"));
        }
        for n in 0..3 {
            two.push(stage.accept(&from("two", n), "a few"));
        }
        stage.accept_as(&Incoming::new(from("three", 1), "old"), State::Duplicate, None, Some(one[0]));
        stage.queue(&from("four", 1), "out");
        six.push(stage.accept(&from("six", 1), "one"));
        stage.pause();
        let shared = stage.claim(Tried::Never, 6);
        assert_eq!(shared, [&one[..3], &two[..2], &six[..]].concat(), "what one leaves goes to the others, oldest first");
        assert_eq!(stage.claim(Tried::Never, 3), [one[3], one[4], two[2]]);
        for (n, id) in six.iter().chain(&two).enumerate() {
            assert!(stage.finish(*id), "{n}");
        }
        two = (0..2).map(|n| stage.accept(&from("two", n), "more")).collect();
        six = (0..2).map(|n| stage.accept(&from("six", n), "more")).collect();
        // The last claim began at the second, so this one begins at the one after it.
        assert_eq!(stage.claim(Tried::Never, 1), six[..1]);
        assert_eq!(stage.claim(Tried::Never, 1), one[5..6]);
        assert_eq!(stage.claim(Tried::Never, 1), two[..1]);
        assert_eq!(stage.claim(Tried::Never, 1), six[1..]);
        assert_eq!(stage.claim(Tried::Never, 2), [one[6], two[1]]);
        assert_eq!(stage.claim(Tried::Never, 2), one[7..9]);
        assert_eq!(stage.store.waiting_of("one", Direction::In).unwrap(), 20);
        assert_eq!(stage.store.waiting_of("six", Direction::In).unwrap(), 2);
        assert_eq!(stage.store.waiting_of("four", Direction::Out).unwrap(), 1);
        assert_eq!(stage.store.waiting_of("three", Direction::In).unwrap(), 0);
        assert_eq!(stage.store.waiting_of("nowhere", Direction::In).unwrap(), 0);
    }

    /// "Pieces of longer messages are kept in sets until the caller puts them together"
    fn pieces_wait_in_their_sets(stage) {
        let [ann, bob] = ["ann", "bob"].map(connection);
        let elsewhere = Connection::new("two", "ann");
        let piece = |sequence: u16| Piece {
            sequence,
            units: vec![0xd83d, sequence, 0],
            source_time: Some(at(i64::from(sequence))),
            redelivery_key: Some(format!("pdu {sequence}")),
            raw: Some(vec![0, 255, sequence as u8]),
        };
        let bare = Piece { sequence: 255, units: vec![], source_time: None, redelivery_key: None, raw: None };
        let mut begin = |connection: &Connection, name: &str, seconds: i64| {
            let new = NewSet { connection, name, total: 255, origin: Origin::Test, at: at(seconds) };
            stage.store.begin_set(&new).unwrap()
        };
        let first = begin(&ann, "8/17", 1);
        let second = begin(&ann, "8/17", 2);
        let third = begin(&elsewhere, "16/1", 3);
        assert!(first < second);
        for (set, piece, seconds) in [(first, piece(3), 10), (first, piece(1), 30), (second, piece(1), 20), (third, bare.clone(), 15)] {
            stage.store.keep_piece(set, &piece, at(seconds)).unwrap();
        }
        stage.pause();
        assert_eq!(stage.store.pieces(first).unwrap(), [piece(1), piece(3)], "in order");
        assert_eq!(stage.store.pieces(third).unwrap(), [bare]);
        assert_eq!(stage.store.sets(&bob).unwrap(), []);
        let sets = stage.store.sets(&ann).unwrap();
        assert_eq!(sets.iter().map(|set| set.number).collect::<Vec<_>>(), [first, second]);
        assert_eq!(sets[0], PieceSet {
            number: first, connection: ann.clone(), name: "8/17".into(), total: 255, origin: Origin::Test, newest_at: at(30),
        });
        let stalest = |stage: &mut Stage, backend| stage.store.stalest_set(backend).unwrap().map(|set| set.number);
        assert_eq!(stalest(stage, None), Some(third));
        assert_eq!(stalest(stage, Some("one")), Some(second));
        assert_eq!(stalest(stage, Some("three")), None);
        assert_eq!((stage.store.pieces_of("one").unwrap(), stage.store.pieces_of("three").unwrap()), (3, 0));
        assert_eq!(stage.store.reader().unwrap().pieces().unwrap(), [("one".into(), 3), ("two".into(), 1)]);
        // They are no messages.
        assert_eq!(stage.store.reader().unwrap().tally().unwrap(), []);
        assert_eq!(stage.store.waiting(Direction::In), 0);
        // The step of a clock moves them along.
        stage.store.shift(1, Duration::from_secs(100)).unwrap();
        stage.pause();
        assert_eq!(stage.store.sets(&ann).unwrap()[0].newest_at, at(130));
        // Their connection lives as long as they do.
        let other = stage.accept(&ann, "hello");
        stage.claim(Tried::Never, 1);
        assert!(stage.finish(other));
        stage.pause();
        assert_eq!(stage.store.purge(Some(at(50)), at(0), 9).unwrap(), 1);
        stage.pause();
        assert_eq!(stage.store.sets(&ann).unwrap()[0].connection, ann);
        for set in [first, second] {
            stage.store.end_set(set).unwrap();
        }
        stage.store.end_set(first).unwrap();
        stage.pause();
        assert_eq!((stage.store.sets(&ann).unwrap(), stage.store.pieces(first).unwrap()), (vec![], vec![]));
        assert_eq!((stage.store.pieces_of("one").unwrap(), stage.store.pieces_of("two").unwrap()), (0, 1));
        assert_eq!(stalest(stage, None), Some(third));
        assert_eq!(stage.store.reader().unwrap().pieces().unwrap(), [("two".into(), 1)]);
    }

    /// A message that came in pieces says so.
    fn a_joined_message_is_marked(stage) {
        let incoming = Incoming { raw: Some(vec![1]), ..Incoming::new(connection("a"), "one [...]") };
        let id = stage.ids.next(START);
        let row = NewIncoming {
            id, incoming: &incoming, state: State::Received, reason: Some("part 1 of 2 came"), duplicate_of: None,
            origin: Origin::Real, joined: Some(Joined { parts: 2, partial: true }), at: START,
        };
        stage.store.accept(&row).unwrap();
        let whole = stage.accept(&connection("b"), "whole");
        stage.pause();
        let claimed = stage.store.unfinished(Tried::Never, 9, &no_bound, START).unwrap();
        assert_eq!(claimed.iter().map(|message| message.partial).collect::<Vec<_>>(), [true, false]);
        let detail = stage.detail(id);
        assert_eq!((detail.row.parts, detail.row.partial), (Some(2), true));
        assert_eq!(detail.history[0].reason.as_deref(), Some("part 1 of 2 came"));
        assert_eq!((stage.detail(whole).row.parts, stage.detail(whole).row.partial), (None, false));
    }

    /// "However long one lane is, finding what other lanes have to do takes no longer."
    fn twenty_thousand_behind_one_blocked_connection_delay_nobody(stage) {
        let blocked = connection("blocked");
        let ids: Vec<_> = (0..20_000).map(|_| stage.queue(&blocked, "x")).collect();
        let received: Vec<_> = (0..20_000).map(|_| stage.accept(&blocked, "x")).collect();
        stage.pause();
        assert_eq!(stage.take("one", 10, START), [ids[0]]);
        assert_eq!(stage.claim(Tried::Never, 10), [received[0]]);
        let other = stage.queue(&connection("other"), "y");
        let from_other = stage.accept(&connection("other"), "y");
        stage.pause();
        assert_eq!(stage.take("one", 10, START), [other]);
        if stage.file.is_none() {
            assert_eq!(stage.claim(Tried::Never, 10), [from_other]);
        } else {
            stage.store.recover(&|_| false, START).unwrap();
            assert_eq!(stage.claim(Tried::Before, 10), [received[0]]);
            assert_eq!(stage.claim(Tried::Never, 10), [from_other]);
        }
        assert_eq!(stage.store.waiting(Direction::Out), 20_001);
    }
}
