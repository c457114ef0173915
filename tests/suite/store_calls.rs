//! Property: whatever happens to calls in whatever order, both stores say the same, and what a list says that is searched from the start each time. A
//! crash forgets what was not committed, and nothing else.

use crate::store::{Stage, at};
use proptest::prelude::*;
use rapidsms::message::MessageId;
use rapidsms::store::{Call, NewCall, Store, StoreError};
use std::time::Duration;

#[derive(Clone, Debug)]
enum Step {
    Owe { message: i64, host: usize },
    PutOff { which: usize, seconds: i64 },
    End { which: usize },
    Due { host: usize, limit: usize },
    Shift { seconds: u64 },
    Wait { seconds: i64 },
    Commit,
    Crash,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (1..6_i64, 0..3_usize).prop_map(|(message, host)| Step::Owe { message, host }),
        4 => (any::<usize>(), 0..30_i64).prop_map(|(which, seconds)| Step::PutOff { which, seconds }),
        5 => any::<usize>().prop_map(|which| Step::End { which }),
        4 => (0..3_usize, 0..5_usize).prop_map(|(host, limit)| Step::Due { host, limit }),
        1 => (1..40_u64).prop_map(|seconds| Step::Shift { seconds }),
        3 => (1..20_i64).prop_map(|seconds| Step::Wait { seconds }),
        2 => Just(Step::Commit),
        1 => Just(Step::Crash),
    ];
    proptest::collection::vec(step, 1..120)
}

const HOSTS: [&str; 3] = ["a", "b", "c:80"];

/// A call as the model sees it, in the order in which they are owed.
#[derive(Clone, Debug)]
struct Owed {
    number: i64,
    message: i64,
    host: usize,
    at: i64,
    /// When it was put off to, or became the first.
    due: i64,
    attempts: u32,
}

struct Run {
    stages: Vec<Stage>,
    owed: Vec<Owed>,
    committed: Vec<Owed>,
    now: i64,
    shifts: u64,
    committed_shifts: u64,
}

impl Run {
    fn ask<T: PartialEq + std::fmt::Debug>(
        &mut self,
        question: impl Fn(&mut dyn Store) -> Result<T, StoreError>,
    ) -> T {
        let mut answers: Vec<T> =
            self.stages.iter_mut().map(|stage| question(&mut *stage.store).unwrap()).collect();
        let first = answers.remove(0);
        answers.into_iter().for_each(|answer| assert_eq!(first, answer, "the stores differ"));
        first
    }

    fn is_first(&self, owed: &Owed) -> bool {
        self.owed
            .iter()
            .find(|other| other.message == owed.message)
            .is_some_and(|first| first.number == owed.number)
    }

    fn commit(&mut self) {
        self.ask(|store| store.commit());
        (self.committed, self.committed_shifts) = (self.owed.clone(), self.shifts);
        let count = self.owed.len() as u64;
        assert_eq!(self.ask(|store| store.reader()?.calls()), count);
    }

    fn step(&mut self, step: &Step) {
        let now = at(self.now);
        match *step {
            Step::Owe { message, host } => {
                let id = MessageId::from_parts(message, 0);
                let call = NewCall { host: HOSTS[host], method: "GET", url: "u", headers: "", body: None };
                self.ask(|store| store.tell(id, 0, false, Some(&call), now));
                let number = self.ask(|store| Ok(store.oldest_calls(9_999)?.pop().map(|call| call.number)));
                let number = number.expect("it is there");
                assert!(self.owed.iter().all(|owed| owed.number < number), "numbers grow");
                self.owed.push(Owed { number, message, host, at: self.now, due: self.now, attempts: 0 });
            }
            Step::PutOff { which, seconds } => {
                let Some(owed) = self.pick(which) else { return };
                let due = self.now + seconds;
                self.ask(|store| store.put_off_call(owed.number, owed.attempts + 1, at(due)));
                if self.is_first(&owed) {
                    let known = self.owed.iter_mut().find(|other| other.number == owed.number).unwrap();
                    (known.due, known.attempts) = (due, owed.attempts + 1);
                }
            }
            Step::End { which } => {
                let Some(owed) = self.pick(which) else { return };
                self.ask(|store| store.end_call(owed.number, now));
                self.ask(|store| store.end_call(owed.number, now));
                let was_first = self.is_first(&owed);
                self.owed.retain(|other| other.number != owed.number);
                let time = self.now;
                if was_first
                    && let Some(next) = self.owed.iter_mut().find(|other| other.message == owed.message)
                {
                    next.due = time;
                }
            }
            Step::Due { host, limit } => {
                let found = self.ask(|store| store.due_calls(HOSTS[host], limit, now));
                let firsts = self.owed.iter().filter(|owed| owed.host == host && self.is_first(owed));
                let mut expected: Vec<_> = firsts.filter(|owed| owed.due <= self.now).collect();
                expected.sort_by_key(|owed| (owed.due, owed.number));
                let seen = |call: &Call| (call.number, call.message.key(), call.at, call.attempts);
                let known = |owed: &&Owed| (owed.number, owed.message, at(owed.at), owed.attempts);
                let expected: Vec<_> = expected.iter().take(limit).map(known).collect();
                assert_eq!(found.iter().map(seen).collect::<Vec<_>>(), expected);
            }
            Step::Shift { seconds } => {
                self.shifts += 1;
                let number = self.shifts;
                self.ask(|store| store.shift(number, Duration::from_secs(seconds)));
                let by = seconds as i64;
                self.owed.iter_mut().for_each(|owed| (owed.at, owed.due) = (owed.at + by, owed.due + by));
                self.now += by;
            }
            Step::Wait { seconds } => self.now += seconds,
            Step::Commit => self.commit(),
            Step::Crash => {
                // What is in memory cannot be rolled back, so with it beside, a crash comes right after a commit.
                if self.stages.iter().any(|stage| stage.file.is_none()) {
                    self.commit();
                }
                self.stages.iter_mut().for_each(Stage::crash);
                (self.owed, self.shifts) = (self.committed.clone(), self.committed_shifts);
            }
        }
        let firsts = self.owed.iter().filter(|owed| self.is_first(owed));
        let next = firsts.map(|owed| owed.due).filter(|due| *due > self.now).min().map(at);
        let (now, count) = (at(self.now), self.owed.len() as u64);
        assert_eq!(self.ask(|store| store.next_call(now)), next);
        assert_eq!(self.ask(|store| Ok(store.waiting_calls())), count);
        let mut hosts: Vec<_> = self.owed.iter().map(|owed| HOSTS[owed.host].to_string()).collect();
        hosts.sort();
        hosts.dedup();
        assert_eq!(self.ask(|store| store.call_hosts("", 9)), hosts);
        let after: Vec<_> = hosts.iter().filter(|host| host.as_str() > "a").cloned().collect();
        assert_eq!(self.ask(|store| store.call_hosts("a", 9)), after);
    }

    fn pick(&self, which: usize) -> Option<Owed> {
        (!self.owed.is_empty()).then(|| self.owed[which % self.owed.len()].clone())
    }
}

fn run(stages: Vec<Stage>, steps: &[Step]) {
    let mut run = Run { stages, owed: vec![], committed: vec![], now: 0, shifts: 0, committed_shifts: 0 };
    for step in steps {
        run.step(step);
    }
    run.commit();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn both_stores_agree_with_the_list(steps in steps()) {
        run(vec![Stage::memory(), Stage::sqlite()], &steps);
    }

    #[test]
    fn p1_calls_that_were_committed_survive_crashes(steps in steps()) {
        run(vec![Stage::sqlite()], &steps);
    }
}
