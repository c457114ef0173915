//! Apps that answer later: others go on, one connection waits, and time ends every patience.

use super::stage::*;
use rapidsms::apps::{App, AppError, Flow, LateAnswer, Message};
use rapidsms::message::*;
use rapidsms::phases::Apps;
use rapidsms::router::{BackendPolicy, Policy, Router};
use rapidsms::store::memory::Memory;

cases! {
    /// P6, P7: who waits for an answer delays only themselves.
    fn p7_one_slow_answer_delays_one_connection(stage) {
        let slow = stage.says("tnm", "+1", "later");
        let behind = stage.says("tnm", "+1", "echo behind");
        stage.says("tnm", "+2", "echo other");
        assert_eq!(texts(&stage.flows()), ["other"]);
        assert_eq!(stage.pending(), 1);
        assert_eq!((stage.state(slow), stage.state(behind)), (State::Received, State::Received));
        let now = stage.now;
        assert_eq!(stage.wake_at(now), Some(now + seconds(10)), "only its time-out is left to wait for");
        stage.answers(slow, "obedient", "at last");
        assert_eq!(texts(&stage.flows()), ["at last", "behind"]);
        assert_eq!(stage.pending(), 0);
        assert_eq!(stage.state(slow), State::Handled);
    }

    fn an_answer_that_never_comes(stage) {
        let slow = stage.says("zain", "+1", "later");
        let behind = stage.says("zain", "+1", "echo behind");
        stage.turns();
        assert_eq!(stage.wait(seconds(9)).turns(), []);
        assert_eq!(texts(&stage.wait(seconds(1)).turns()), ["behind"]);
        assert_eq!(stage.state(slow), State::Failed);
        assert_eq!(stage.reason(slow), "app obedient timed out (phase handle)");
        assert_eq!(stage.state(behind), State::Handled);
        stage.answers(slow, "obedient", "too late");
        stage.turns();
        assert_eq!((stage.counters().late_answers, stage.counters().app_failures), (1, 1));
        assert_eq!(stage.rows(Direction::Out).len(), 1, "a late answer is dropped");
    }

    fn answers_that_nobody_waits_for(stage) {
        let slow = stage.says("zain", "+1", "later");
        stage.answers(slow, "obedient", "before it was asked");
        stage.turns();
        stage.answers(slow, "somebody else", "not mine");
        assert_eq!(stage.pending(), 1);
        stage.answers(slow, "obedient", "mine");
        stage.answers(slow, "obedient", "mine again");
        assert_eq!(texts(&stage.flows()), ["mine"]);
        assert_eq!(stage.counters().late_answers, 3);
    }

    fn an_answer_can_be_a_failure(stage) {
        let slow = stage.says("zain", "+1", "later");
        stage.turns();
        let now = stage.now;
        let answer = LateAnswer {
            done: true,
            replies: vec!["nobody sees this".into()],
            error: Some("failed: exit code 1".into()),
            ..LateAnswer::default()
        };
        stage.answer(slow, "obedient", answer, now);
        assert_eq!(stage.flows(), []);
        assert_eq!(stage.state(slow), State::Failed);
        assert_eq!(stage.reason(slow), "app obedient failed: exit code 1 (phase handle)");
    }

    /// The number of answers owed is bounded; beyond it messages stay where they are safe, and nobody fails for it.
    fn not_everybody_may_wait(stage) {
        stage.set_policy(Policy { max_pending: 2, ..Policy::default() });
        let ids: Vec<_> = (0..5).map(|n| stage.says("tnm", &format!("+{n}"), "later")).collect();
        stage.turns();
        assert_eq!(stage.pending(), 2);
        for (n, &id) in ids.iter().enumerate() {
            assert_eq!(stage.asked().len(), (n + 2).min(5), "one more for each that is answered");
            stage.answers(id, "obedient", "done");
            stage.turns();
        }
        assert_eq!(stage.pending(), 0);
        assert!(ids.iter().all(|&id| stage.state(id) == State::Handled));
        assert_eq!(stage.counters().app_failures, 0);
    }

    /// P7: a flood of messages whose app answers later holds the places of its own backend only, also over a crash.
    fn p7_isolation_a_flood_of_late_answers_delays_its_own_backend(stage) {
        stage.policy = Policy { max_pending: 3, batch: 2, ..Policy::default() };
        let policy = stage.policy.clone();
        stage.set_policy(policy);
        let flood: Vec<_> = (0..20).map(|n| stage.says("tnm", &format!("+{n}"), "later")).collect();
        stage.turns();
        assert_eq!(stage.pending(), 3);
        stage.says("zain", "+1", "echo other");
        assert_eq!(texts(&stage.flows()), ["other"]);
        stage.crash();
        stage.turns();
        stage.says("zain", "+1", "echo again");
        assert_eq!(texts(&stage.flows()), ["again"]);
        assert_eq!(stage.pending(), 3);
        let now = stage.now;
        assert_eq!(stage.wake_at(now), Some(now + seconds(10)), "full is no reason to spin");
        // Each that is answered makes room for one more, until all are.
        let mut left: Vec<MessageId> = flood.clone();
        while !left.is_empty() {
            let asked: Vec<MessageId> = stage.journal().seen.iter().map(|seen| seen.id).collect();
            let next = left.iter().position(|id| asked.contains(id)).expect("somebody was asked");
            let id = left.remove(next);
            stage.answers(id, "obedient", "done");
            stage.turns();
            assert!(stage.pending() <= 3);
        }
        assert!(flood.iter().all(|&id| stage.state(id) == State::Handled));
        assert_eq!(stage.counters().app_failures, 0);
    }

    /// There is a bound for all together, too, which one backend cannot reach.
    fn late_answers_are_bounded_in_all(stage) {
        stage.set_policy(Policy { max_pending: 2, max_pending_total: 3, ..Policy::default() });
        for backend in ["tnm", "zain"] {
            for n in 0..3 {
                stage.says(backend, &format!("+{n}"), "later");
            }
        }
        stage.turns();
        assert_eq!(stage.pending(), 3);
        stage.wait(seconds(10)).turns();
        assert_eq!(stage.pending(), 3);
        stage.wait(seconds(10)).turns();
        assert_eq!(stage.pending(), 0);
    }

    /// What the old apps owe, the new ones are asked; nobody fails for it, and nothing is answered twice.
    fn new_apps_are_asked_what_the_old_ones_owe(stage) {
        let slow = stage.says("zain", "+1", "later");
        stage.turns();
        let now = stage.now;
        let mut old = stage.set_apps(Apps::new(), now);
        assert_eq!(old.stop(), [] as [String; 0]);
        assert_eq!(stage.pending(), 0);
        stage.answers(slow, "obedient", "too late");
        assert_eq!(stage.counters().late_answers, 1);
        stage.turns();
        let row = stage.detail(slow).row;
        assert_eq!((row.state, row.reason.as_deref()), (State::Handled, Some("no app answered")));
        assert_eq!((row.attempts, row.redelivered), (1, true), "being replaced is no attempt");
        assert_eq!(stage.counters().app_failures, 0);
    }

    /// The same while the store is ill: what was put back is put back when it is well.
    fn new_apps_in_the_middle_of_trouble(stage) {
        if !stage.forgets() {
            return;
        }
        let slow = stage.says("zain", "+1", "later");
        stage.turns();
        let now = stage.now;
        stage.store.fail_commit(Leaves::Nothing, 2);
        stage.set_apps(Apps::new(), now);
        stage.step(now);
        assert!(stage.commit(now).is_err());
        for _ in 0..4 {
            stage.wait(seconds(1)).turns();
        }
        assert_eq!(stage.state(slow), State::Handled);
    }
}

/// Asks for time, always.
struct Hesitant;

impl App for Hesitant {
    fn handle(&mut self, _message: &mut Message) -> Result<Flow, AppError> {
        Ok(Flow::Later)
    }
}

/// Takes longer than others, and says so.
struct Patient;

impl App for Patient {
    fn handle(&mut self, _message: &mut Message) -> Result<Flow, AppError> {
        Ok(Flow::Later)
    }
    fn patience(&self) -> Option<std::time::Duration> {
        Some(seconds(3_600))
    }
}

/// An app that asks somebody several times is not cut off by what is enough for others, and not waited for without end.
#[test]
fn an_app_may_have_a_patience_of_its_own() {
    for (apps, patience) in
        [(Apps::new().with("slow", Patient), 3_600), (Apps::new().with("slow", Hesitant), 10)]
    {
        let mut router = Router::new(Box::new(Memory::new()), apps, Policy::default(), 1);
        router.set_backend(&"zain".into(), BackendPolicy::real());
        let id = router.accept(&Incoming::new(Connection::new("zain", "+1"), "hello"), START).unwrap();
        let mut turns = |now| {
            for _ in 0..4 {
                router.step(now);
                router.commit(now).unwrap();
            }
            router.pending()
        };
        assert_eq!(turns(START), 1);
        assert_eq!(turns(START + seconds(patience - 1)), 1);
        assert_eq!(turns(START + seconds(patience)), 0);
        let row = router.store().reader().unwrap().message(id).unwrap().unwrap().row;
        assert_eq!(row.reason.as_deref(), Some("app slow timed out (phase handle)"));
    }
}

/// Says nothing by itself, and answers whatever nobody answered.
struct Talkative;

impl App for Talkative {
    fn fallback(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        message.respond("could not understand");
        Ok(Flow::Done)
    }
}

/// Who writes to an app that does not work is not told that they were not understood, when the app says that this is the end of it.
#[test]
fn a_failure_may_be_the_last_word() {
    for (last, replies) in [(true, 0), (false, 1)] {
        let apps = Apps::new().with("slow", Hesitant).with("default", Talkative);
        let mut router = Router::new(Box::new(Memory::new()), apps, Policy::default(), 1);
        router.set_backend(&"zain".into(), BackendPolicy::real());
        router.backend_up("zain");
        let id = router.accept(&Incoming::new(Connection::new("zain", "+1"), "hello"), START).unwrap();
        for _ in 0..3 {
            router.step(START);
            router.commit(START).unwrap();
        }
        let answer = LateAnswer { last, error: Some("failed: no luck".into()), ..LateAnswer::default() };
        router.answer(id, "slow", answer, START);
        let mut sent = Vec::new();
        for _ in 0..4 {
            router.step(START);
            sent.extend(router.commit(START).unwrap());
        }
        assert_eq!(sent.len(), replies, "last: {last}");
        let row = router.store().reader().unwrap().message(id).unwrap().unwrap().row;
        let expected = if last { State::Failed } else { State::Handled };
        assert_eq!(row.state, expected);
        assert!(row.reason.unwrap().contains("app slow failed: no luck (phase handle)"));
    }
}

/// The new app of the same name may ask for time again.
#[test]
fn a_new_app_may_ask_for_time_again() {
    let apps = Apps::new().with("slow", Hesitant);
    let mut router = Router::new(Box::new(Memory::new()), apps, Policy::default(), 1);
    router.set_backend(&"zain".into(), BackendPolicy::real());
    let id = router.accept(&Incoming::new(Connection::new("zain", "+1"), "hello"), START).unwrap();
    let turns = |router: &mut Router| {
        for _ in 0..4 {
            router.step(START);
            router.commit(START).unwrap();
        }
    };
    turns(&mut router);
    assert_eq!(router.pending(), 1);
    router.set_apps(Apps::new().with("slow", Hesitant), START);
    assert_eq!(router.pending(), 0);
    turns(&mut router);
    assert_eq!(router.pending(), 1);
    let done = LateAnswer { done: true, ..LateAnswer::default() };
    router.answer(id, "slow", done, START);
    router.commit(START).unwrap();
    assert_eq!(router.store().reader().unwrap().message(id).unwrap().unwrap().row.state, State::Handled);
}
