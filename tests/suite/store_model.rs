//! Property: whatever is asked of the stores in whatever order, both give the same answers, and the answers are those of a model too
//! simple to be wrong: a list of messages that is searched from the start each time. A crash forgets what was not committed, and nothing else.

use crate::store::{Stage, at, connection};
use proptest::prelude::*;
use rapidsms::message::*;
use rapidsms::store::*;
use rapidsms::time::Timestamp;
use std::collections::BTreeMap;
use std::time::Duration;

/// One thing that a router may ask. Indexes choose among the messages so far, modulo their number.
#[derive(Clone, Debug)]
enum Step {
    Accept { who: usize, state: State },
    Queue { who: usize, state: State, priority: Priority, own_time: Option<i64>, validity: i64 },
    Claim { tried: Tried, limit: usize },
    Finish { which: usize, state: State },
    PutBack { which: usize },
    Take { backend: usize, limit: usize },
    Settle { which: usize, state: State, wait: Option<i64>, uncounted: bool, remote: Vec<u8> },
    Arrives { name: u8 },
    Note { which: usize },
    Overdue { limit: usize },
    Running { which: usize },
    Recover { in_hand: bool },
    Shift { seconds: u64 },
    Purge { age: i64, limit: usize },
    Wait { seconds: i64 },
    Commit,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    use State::*;
    let who = || prop_oneof![6 => Just(0_usize), 1 => Just(1), 1 => Just(2), 1 => Just(3)];
    let which = || any::<usize>();
    let limit = || 0..5_usize;
    let inbound = prop_oneof![8 => Just(Received), 1 => Just(Duplicate), 1 => Just(Quarantined)];
    let outbound = prop_oneof![8 => Just(Queued), 1 => Just(Held), 1 => Just(Failed), 1 => Just(Cancelled)];
    let priority =
        prop_oneof![1 => Just(Priority::Reply), 4 => Just(Priority::Single), 1 => Just(Priority::Bulk)];
    let ending = prop_oneof![4 => Just(Handled), 1 => Just(Failed), 1 => Just(Quarantined), 1 => Just(Sent)];
    let settled = prop_oneof![
        6 => Just(Queued), 3 => Just(Sent), 2 => Just(Uncertain), 4 => Just(Held), 1 => Just(Delivered),
        1 => Just(Failed), 1 => Just(Expired), 1 => Just(Cancelled), 1 => Just(Sending)
    ];
    let tried = prop_oneof![2 => Just(Tried::Never), 1 => Just(Tried::Before)];
    let step = prop_oneof![
        6 => (who(), inbound).prop_map(|(who, state)| Step::Accept { who, state }),
        8 => (who(), outbound, priority, proptest::option::weighted(0.2, 0..50_i64), 1..80_i64)
            .prop_map(|(who, state, priority, own_time, validity)| Step::Queue { who, state, priority, own_time, validity }),
        5 => (tried, limit()).prop_map(|(tried, limit)| Step::Claim { tried, limit }),
        5 => (which(), ending).prop_map(|(which, state)| Step::Finish { which, state }),
        1 => which().prop_map(|which| Step::PutBack { which }),
        7 => (prop_oneof![3 => Just(0_usize), 1 => Just(1)], limit()).prop_map(|(backend, limit)| Step::Take { backend, limit }),
        12 => (which(), settled, proptest::option::of(0..30_i64), any::<bool>(), proptest::collection::vec(0..4_u8, 0..3))
            .prop_map(|(which, state, wait, uncounted, remote)| Step::Settle { which, state, wait, uncounted, remote }),
        3 => (0..4_u8).prop_map(|name| Step::Arrives { name }),
        1 => which().prop_map(|which| Step::Note { which }),
        2 => limit().prop_map(|limit| Step::Overdue { limit }),
        1 => which().prop_map(|which| Step::Running { which }),
        1 => any::<bool>().prop_map(|in_hand| Step::Recover { in_hand }),
        1 => (1..40_u64).prop_map(|seconds| Step::Shift { seconds }),
        1 => (0..60_i64, limit()).prop_map(|(age, limit)| Step::Purge { age, limit }),
        4 => (1..20_i64).prop_map(|seconds| Step::Wait { seconds }),
        4 => Just(Step::Commit),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..200)
}

/// A message as the model sees it.
#[derive(Clone, Debug)]
struct Message {
    id: MessageId,
    who: Connection,
    priority: Option<Priority>,
    state: State,
    claimed: bool,
    tried: bool,
    redelivered: bool,
    attempts: u32,
    uncertain: u32,
    /// Not before this.
    from: i64,
    own_time: Option<i64>,
    until: i64,
    changed: i64,
    remote: Option<String>,
    /// The name of each part, when it was given, and whether it arrived.
    parts: Vec<(String, i64, bool)>,
    entries: usize,
}

impl Message {
    fn same_lane(&self, other: &Message) -> bool {
        self.who == other.who && self.priority == other.priority && other.own_time.is_none()
    }

    fn ended(&self) -> bool {
        !self.state.is_open() && self.state != State::Held
    }
}

#[derive(Clone, Debug, Default)]
struct Model {
    messages: Vec<Message>,
    /// The backend at which the last claim began.
    turn: Option<Name>,
    /// In the order in which they were first seen.
    backends: Vec<Name>,
}

impl Model {
    /// Whether a message may be claimed at `now`, as far as its lane and its time are concerned.
    fn free(&self, message: &Message, now: i64) -> bool {
        let open = matches!(message.state, State::Received | State::Queued | State::Uncertain);
        let first = message.own_time.is_some()
            || self
                .messages
                .iter()
                .filter(|other| message.same_lane(other) && other.state.is_open())
                .all(|other| other.id == message.id || (other.id > message.id && !other.claimed));
        open && !message.claimed && first && message.from <= now
    }

    fn claimable(&self, tried: Tried) -> Vec<MessageId> {
        let before = tried == Tried::Before;
        let fits = |message: &&Message| {
            message.state == State::Received && message.tried == before && self.free(message, i64::MAX)
        };
        let mut found: Vec<_> = self.messages.iter().filter(fits).collect();
        found.sort_by_key(|message| (if before { message.attempts } else { 0 }, message.id));
        found.into_iter().map(|message| message.id).collect()
    }

    /// Whom a claim of `limit` never tried messages gets: one from each backend in turn.
    fn in_turns(&mut self, limit: usize) -> Vec<MessageId> {
        let mut found = Vec::new();
        let claimable = self.claimable(Tried::Never);
        let of = |name: &Name| {
            let mine = |id: &&MessageId| self.messages.iter().any(|m| m.id == **id && m.who.backend == *name);
            claimable.iter().filter(mine).copied().collect::<Vec<_>>()
        };
        let receiving = |name: &&Name| {
            self.messages.iter().any(|m| m.who.backend == **name && m.state == State::Received)
        };
        let backends: Vec<&Name> = self.backends.iter().filter(receiving).collect();
        let place = |name: &Name| self.backends.iter().position(|known| known == name);
        let first = backends
            .iter()
            .position(|name| self.turn.as_ref().is_none_or(|last| place(name) > place(last)))
            .unwrap_or(0);
        let order: Vec<&Name> = backends.iter().cycle().skip(first).take(backends.len()).copied().collect();
        let mut began = None;
        for round in 0..claimable.len() {
            for name in &order {
                if let Some(id) = of(name).get(round)
                    && found.len() < limit
                {
                    began.get_or_insert((*name).clone());
                    found.push(*id);
                }
            }
        }
        self.turn = began.or(self.turn.take());
        found.sort();
        found
    }

    fn due(&self, backend: &str, now: i64) -> Vec<(Priority, MessageId)> {
        let fits = |message: &&Message| *message.who.backend == *backend && self.free(message, now);
        let mut due: Vec<_> = self
            .messages
            .iter()
            .filter(fits)
            .filter_map(|message| Some((message.priority?, message.id)))
            .collect();
        due.sort();
        due
    }

    fn get(&mut self, id: MessageId) -> &mut Message {
        self.messages.iter_mut().find(|message| message.id == id).unwrap()
    }

    fn counts(&self) -> Vec<Count> {
        let mut counts = BTreeMap::new();
        for message in &self.messages {
            let direction = if message.priority.is_none() { Direction::In } else { Direction::Out };
            *counts.entry((message.who.backend.clone(), direction, message.state)).or_insert(0) += 1;
        }
        let count = |((backend, direction, state), count)| Count { backend, direction, state, count };
        counts.into_iter().map(count).collect()
    }
}

fn micros(seconds: i64) -> i64 {
    at(seconds).0
}

struct Run {
    stages: Vec<Stage>,
    model: Model,
    committed: Model,
    running: Option<MessageId>,
    ids: Ids,
    now: i64,
}

impl Run {
    /// The same question to all stores; the one answer.
    fn ask<T: PartialEq + std::fmt::Debug>(
        &mut self,
        question: impl Fn(&mut dyn Store) -> Result<T, StoreError>,
    ) -> T {
        let mut answers: Vec<T> =
            self.stages.iter_mut().map(|stage| question(&mut *stage.store).unwrap()).collect();
        let first = answers.remove(0);
        for answer in answers {
            assert_eq!(first, answer, "the stores differ");
        }
        first
    }

    /// Mostly a message to which something can still happen.
    fn pick(&self, which: usize) -> Option<MessageId> {
        let any = which.is_multiple_of(8);
        let worth = |message: &&Message| any || !message.ended();
        let messages: Vec<_> = self.model.messages.iter().filter(worth).collect();
        (!messages.is_empty()).then(|| messages[which / 8 % messages.len()].id)
    }

    fn commit(&mut self) {
        self.ask(|store| store.commit());
        self.committed = self.model.clone();
        let expected = self.model.counts();
        assert_eq!(self.ask(|store| store.reader()?.tally()), expected, "P17: the tally");
        assert_eq!(self.ask(|store| store.reader()?.recount()), expected, "P17: counted afresh");
    }

    fn recover(&mut self, in_hand: impl Fn(MessageId) -> bool) {
        let found = self.ask(|store| store.recover(&in_hand, Timestamp(0)));
        self.model.turn = None;
        let mut expected = Vec::new();
        for message in &mut self.model.messages {
            if !message.claimed || in_hand(message.id) {
                continue;
            }
            if message.priority.is_some() {
                expected.push(message.id);
            } else {
                (message.claimed, message.tried) = (false, true);
                message.attempts -= u32::from(self.running != Some(message.id));
            }
        }
        self.running = None;
        assert_eq!(found.iter().map(|taken| taken.outgoing.id).collect::<Vec<_>>(), expected);
    }

    fn step(&mut self, step: &Step) {
        let now = Timestamp(self.now);
        let whom = |who: usize| match who {
            0 | 1 => connection(["a", "b"][who]),
            _ => Connection::new("two", ["a", "c"][who - 2]),
        };
        match *step {
            Step::Arrives { name } => self.arrives(&name.to_string()),
            Step::Accept { who, state } => {
                let (id, who) = (self.ids.next(now), whom(who));
                let incoming = Incoming::new(who.clone(), "in");
                self.ask(|store| {
                    store.accept(&NewIncoming {
                        id,
                        incoming: &incoming,
                        state,
                        reason: None,
                        duplicate_of: None,
                        origin: Origin::Test,
                        joined: None,
                        at: now,
                    })
                });
                self.model.messages.push(Message::new(id, who, None, state, self.now));
            }
            Step::Queue { who, state, priority, own_time, validity } => {
                let (id, who) = (self.ids.next(now), whom(who));
                let own_time = own_time.map(|seconds| self.now + seconds * 1_000_000);
                let until = self.now + validity * 1_000_000;
                self.ask(|store| {
                    store.queue(&NewOutgoing {
                        id,
                        connection: &who,
                        queue: None,
                        text: "out",
                        in_response_to: None,
                        state,
                        reason: None,
                        priority,
                        not_before: own_time.map(Timestamp),
                        expires_at: Timestamp(until),
                        origin: Origin::Real,
                        wishes: Wishes::default(),
                        callback: None,
                        actor: "api",
                        at: now,
                    })
                });
                let mut message = Message::new(id, who, Some(priority), state, self.now);
                (message.own_time, message.from, message.until) = (own_time, own_time.unwrap_or(0), until);
                self.model.messages.push(message);
            }
            Step::Claim { tried, limit } => {
                let claimed = self.ask(|store| store.unfinished(tried, limit, &no_bound, now));
                let mut expected = match tried {
                    Tried::Never => self.model.in_turns(limit),
                    Tried::Before => self.model.claimable(tried),
                };
                expected.truncate(limit);
                assert_eq!(claimed.iter().map(|message| message.id).collect::<Vec<_>>(), expected);
                for found in claimed {
                    let message = self.model.get(found.id);
                    message.claimed = true;
                    message.attempts += 1;
                    message.redelivered |= tried == Tried::Before;
                    assert_eq!((found.attempt, found.redelivered), (message.attempts, message.redelivered));
                }
            }
            Step::Finish { which, state } => {
                let Some(id) = self.pick(which) else { return };
                let ending = Ending { state, reason: None, actor: "app".into() };
                let finished = self.ask(|store| store.finish(id, &ending, now));
                let time = self.now;
                let message = self.model.get(id);
                assert_eq!(finished, message.state == State::Received && message.state.may_become(state));
                if finished {
                    message.become_state(state, time);
                }
            }
            Step::PutBack { which } => {
                let Some(id) = self.pick(which) else { return };
                self.ask(|store| store.put_back(id, now));
                let message = self.model.get(id);
                if message.state == State::Received && message.claimed {
                    (message.claimed, message.tried) = (false, true);
                    message.attempts -= 1;
                }
            }
            Step::Take { backend, limit } => {
                let backend = ["one", "two"][backend];
                let due = self.model.due(backend, self.now);
                let next = self.ask(|store| store.next_due(backend));
                assert_eq!(next.is_some_and(|next| next <= now), !due.is_empty(), "next_due: {next:?}");
                let taken = self.ask(|store| store.take_due(backend, limit, now));
                assert_eq!(taken.len(), limit.min(due.len()));
                let time = self.now;
                // Among those of one priority the model does not know the order, only who may be among them.
                for (taken, (priority, _)) in taken.iter().zip(&due) {
                    let message = self.model.get(taken.outgoing.id);
                    assert_eq!(message.priority, Some(*priority));
                    assert!(due.contains(&(*priority, message.id)), "{} is not due", message.id);
                    message.become_state(State::Sending, time);
                    message.claimed = true;
                    message.attempts += 1;
                    assert_eq!(
                        (taken.outgoing.attempt, taken.uncertain),
                        (message.attempts, message.uncertain)
                    );
                }
            }
            Step::Settle { which, state, wait, uncounted, ref remote } => {
                let Some(id) = self.pick(which) else { return };
                let due = wait.map(|seconds| Timestamp(self.now + seconds * 1_000_000));
                let names: Vec<String> = remote.iter().map(u8::to_string).collect();
                let settlement = Settlement {
                    due,
                    uncounted,
                    remote_ids: names.clone(),
                    ..Settlement::new(state, "backend")
                };
                let settled = self.ask(|store| store.settle(id, &settlement, now));
                let time = self.now;
                let message = self.model.get(id);
                let outgoing = message.priority.is_some();
                let (from, allowed) =
                    (message.state, message.state.may_become(state) && state != State::Sending);
                assert_eq!(settled, outgoing && allowed);
                if settled {
                    message.become_state(state, time);
                    message.attempts -= u32::from(uncounted).min(message.attempts);
                    message.uncertain += u32::from(state == State::Uncertain);
                    message.remote = names.first().cloned().or(message.remote.take());
                    if !names.is_empty() {
                        message.parts = names.into_iter().map(|name| (name, time, false)).collect();
                    }
                    if message.ended() && state != State::Sent {
                        message.parts.clear();
                    }
                    let due = due.map_or(time, |due| due.0);
                    message.from = match (from, message.own_time) {
                        (State::Held, Some(own_time)) => own_time.max(due),
                        _ => due,
                    };
                } else if outgoing {
                    message.entries += 1;
                }
            }
            Step::Note { which } => {
                let Some(id) = self.pick(which) else { return };
                self.ask(|store| store.note(id, "person", "looked at it", now));
                self.model.get(id).entries += 1;
            }
            Step::Overdue { limit } => {
                let found = self.ask(|store| store.overdue(now, limit));
                let mut expected: Vec<_> = self
                    .model
                    .messages
                    .iter()
                    .filter(|message| {
                        matches!(message.state, State::Queued | State::Uncertain | State::Held)
                            && message.until <= self.now
                    })
                    .map(|message| (message.until, message.id))
                    .collect();
                expected.sort();
                assert_eq!(found, expected.into_iter().map(|(_, id)| id).take(limit).collect::<Vec<_>>());
            }
            Step::Running { which } => {
                let id = self.pick(which);
                self.ask(|store| {
                    store.running(id);
                    Ok(())
                });
                self.running = id;
            }
            Step::Recover { in_hand } => self.recover(|id| in_hand && id.key() % 2 == 0),
            Step::Shift { seconds } => {
                let number = self.ask(|store| Ok(store.shifts())) + 1;
                self.ask(|store| store.shift(number, Duration::from_secs(seconds)));
                self.ask(|store| store.shift(number, Duration::from_secs(9)));
                let by = seconds as i64 * 1_000_000;
                for message in &mut self.model.messages {
                    if message.priority.is_some() && !message.ended() {
                        message.until += by;
                        message.own_time = message.own_time.map(|time| time + by);
                        message.from += if message.from == 0 { 0 } else { by };
                    }
                }
                self.now += by;
            }
            Step::Purge { age, limit } => {
                let before = self.now - age * 1_000_000;
                self.commit();
                let old = |message: &Message| message.ended() && message.changed < before;
                let count = self.model.messages.iter().filter(|message| old(message)).count();
                // Which ones go first is the store's business, so either all go or none.
                let limit = if limit < count { 0 } else { limit };
                let purged = self.ask(|store| store.purge(Some(Timestamp(before)), Timestamp(0), limit));
                if limit > 0 {
                    assert_eq!(purged, count);
                    self.model.messages.retain(|message| !old(message));
                }
                self.commit();
            }
            Step::Wait { seconds } => self.now += seconds * 1_000_000,
            Step::Commit => self.commit(),
            Step::Crash => {
                // What is in memory cannot be rolled back, so with it beside, a crash comes right after a commit.
                if self.stages.iter().any(|stage| stage.file.is_none()) {
                    self.commit();
                }
                self.stages.iter_mut().for_each(Stage::crash);
                self.model = self.committed.clone();
                self.recover(|_| false);
                self.commit();
            }
        }
        for message in &self.model.messages {
            if !self.model.backends.contains(&message.who.backend) {
                self.model.backends.push(message.who.backend.clone());
            }
        }
        for direction in [Direction::In, Direction::Out] {
            for backend in ["one", "two", "nowhere"] {
                let waiting = self.ask(|store| store.waiting_of(backend, direction));
                let open = |message: &&Message| {
                    *message.who.backend == *backend
                        && message.state.is_open()
                        && message.priority.is_none() == (direction == Direction::In)
                };
                assert_eq!(waiting as usize, self.model.messages.iter().filter(open).count());
            }
            let waiting = self.ask(|store| Ok(store.waiting(direction)));
            let open = |message: &&Message| {
                message.state.is_open() && message.priority.is_none() == (direction == Direction::In)
            };
            assert_eq!(waiting as usize, self.model.messages.iter().filter(open).count());
        }
    }

    /// The part of whom a carrier means by a name.
    fn named(&self, backend: &str, name: &str) -> Option<Named> {
        let messages = self.model.messages.iter().filter(|message| *message.who.backend == *backend);
        let parts =
            messages.flat_map(|message| (1_u32..).zip(&message.parts).map(move |part| (message, part)));
        let open = parts.filter(|(_, (_, (known, _, arrived)))| known == name && !arrived);
        let last = open.max_by_key(|(message, (part, (_, at, _)))| (*at, message.id, *part));
        last.map(|(message, (part, _))| Named { id: message.id, part, parts: message.parts.len() as u32 })
    }

    fn arrives(&mut self, name: &str) {
        for backend in ["one", "two"] {
            let named = self.ask(|store| store.named(backend, name));
            assert_eq!(named, self.named(backend, name), "{name}");
            let Some(Named { id, part, .. }) = named else { continue };
            let under_way = self.ask(|store| store.arrived(id, part));
            let parts = &mut self.model.get(id).parts;
            parts[part as usize - 1].2 = true;
            assert_eq!(under_way as usize, parts.iter().filter(|(_, _, arrived)| !arrived).count());
        }
    }

    /// Everything that can be read.
    fn inspect(&mut self) {
        self.commit();
        let messages = std::mem::take(&mut self.model.messages);
        for message in &messages {
            let detail = self.ask(|store| store.reader()?.message(message.id)).unwrap();
            assert_eq!(detail.row.state, message.state);
            assert_eq!(
                (detail.row.attempts, detail.row.redelivered),
                (message.attempts, message.redelivered)
            );
            assert_eq!(detail.row.updated_at.0, message.changed);
            assert_eq!(detail.row.remote_id, message.remote);
            assert_eq!(detail.history.len(), message.entries, "{:#?}", detail.history);
        }
        let mut expected: Vec<_> = messages.iter().map(|message| message.id).collect();
        let page = self.ask(|store| {
            store.reader()?.messages(&Query { ascending: true, limit: 1_000, ..Query::default() })
        });
        expected.sort();
        assert_eq!(page.messages.iter().map(|row| row.id).collect::<Vec<_>>(), expected);
    }
}

impl Message {
    fn new(id: MessageId, who: Connection, priority: Option<Priority>, state: State, now: i64) -> Message {
        Message {
            id,
            who,
            priority,
            state,
            claimed: false,
            tried: false,
            redelivered: false,
            attempts: 0,
            uncertain: 0,
            from: 0,
            own_time: None,
            until: 0,
            changed: now,
            remote: None,
            parts: Vec::new(),
            entries: 1,
        }
    }

    fn become_state(&mut self, state: State, now: i64) {
        (self.state, self.changed, self.claimed) = (state, now, false);
        self.entries += 1;
    }
}

fn run(stages: Vec<Stage>, steps: &[Step]) {
    let mut run = Run {
        stages,
        model: Model::default(),
        committed: Model::default(),
        running: None,
        ids: Ids::new(None, 1),
        now: micros(0),
    };
    for step in steps {
        run.step(step);
    }
    run.inspect();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    /// P17: after every step the books balance, in both stores alike.
    #[test]
    fn p17_conservation_both_stores_agree_with_the_model(steps in steps()) {
        run(vec![Stage::memory(), Stage::sqlite()], &steps);
    }

    /// P1: what was committed survives a crash at any step; what was not is gone whole.
    #[test]
    fn p1_sqlite_keeps_what_was_committed_through_crashes(steps in steps()) {
        run(vec![Stage::sqlite()], &steps);
    }
}
