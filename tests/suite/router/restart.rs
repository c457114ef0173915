//! A router that ends in the middle, and the one that finds what it left. There is no replay: the new one does what the store says
//! is unfinished or due.

use super::stage::*;
use rapidsms::message::*;
use rapidsms::retry::OnUncertain;
use rapidsms::router::BackendPolicy;
use rapidsms::time::Timestamp;

/// Each text that the app saw, with a mark on those that may have been seen before.
fn seen(stage: &Stage) -> Vec<String> {
    let journal = stage.journal();
    let mark = |redelivered| if redelivered { " again" } else { "" };
    journal.seen.iter().map(|seen| format!("{}{}", seen.text, mark(seen.redelivered))).collect()
}

/// One message to `+1` on zain, in the hands of its backend.
fn in_hand(stage: &mut Stage) -> MessageId {
    let now = stage.now;
    let id = stage.submit(Draft::new(Connection::new("zain", "+1"), "hello"), "api", None, now).unwrap();
    assert_eq!(stage.turns()[0].id, id);
    id
}

/// Lives until nothing is left to do, dies as often as an app kills it, and says how often that was.
fn lives(stage: &mut Stage) -> usize {
    for deaths in 0..50 {
        loop {
            let now = stage.now;
            stage.step(now);
            if stage.journal().killed {
                break;
            }
            for outgoing in stage.commit(now).unwrap() {
                stage.tells(&outgoing, Ok(Receipt::default()));
            }
            if stage.wake_at(now).is_none_or(|at| at > now) && stage.is_quiet() {
                return deaths;
            }
        }
        stage.crash();
    }
    panic!("it dies for ever");
}

cases! {
    /// P1: what was accepted and committed is there after a crash, and no app had seen it.
    fn p1_accepted_is_safe(stage) {
        let id = stage.says("zain", "+1", "echo hello");
        let now = stage.now;
        stage.commit(now).unwrap();
        stage.crash();
        assert_eq!(texts(&stage.flows()), ["hello"]);
        assert_eq!(seen(stage), ["echo hello"]);
        assert_eq!(stage.detail(id).row.attempts, 1);
    }

    /// P3: what was claimed comes again, marked.
    fn p3_claimed_comes_again(stage) {
        for n in 0..3 {
            stage.says("zain", &format!("+{n}"), &format!("echo {n}"));
        }
        stage.says("zain", "+0", "echo behind");
        stage.turn();
        stage.crash();
        stage.says("zain", "+9", "echo new");
        let given = stage.flows();
        assert_eq!(given.len(), 5);
        assert_eq!(seen(stage), ["echo 0 again", "echo 1 again", "echo 2 again", "echo behind", "echo new"]);
        let rows = stage.rows(Direction::In);
        assert!(rows[..3].iter().all(|row| row.redelivered && row.attempts == 1));
        assert!(rows[3..].iter().all(|row| !row.redelivered && row.attempts == 1));
    }

    /// P3: what an app decided is not asked again; its replies are there, once.
    fn p3_what_was_decided_stays_decided(stage) {
        stage.says("zain", "+1", "twice hello");
        stage.backend_down("zain");
        stage.turns();
        stage.crash();
        assert_eq!(texts(&stage.flows()), ["hello 1", "hello 2"]);
        assert_eq!(seen(stage), ["twice hello"]);
    }

    fn an_answer_that_is_owed_is_asked_for_again(stage) {
        let id = stage.says("zain", "+1", "later");
        stage.turns();
        stage.crash();
        stage.turns();
        assert_eq!(seen(stage), ["later", "later again"]);
        stage.answers(id, "obedient", "hello");
        assert_eq!(texts(&stage.flows()), ["hello"]);
        assert_eq!(stage.detail(id).row.attempts, 1, "the process ended for another reason");
    }

    /// P5: what was in the hands of a backend may have left; it is sent once more, and not a third time.
    fn p5_a_crash_while_sending(stage) {
        let id = in_hand(stage);
        stage.crash();
        assert_eq!(stage.turns(), [], "not at once: it may be on its way");
        assert_eq!((stage.state(id), stage.reason(id).as_str()), (State::Uncertain, "the process ended while it was being sent"));
        let again = stage.wait(seconds(3)).turns();
        assert_eq!((again[0].id, again[0].attempt), (id, 2));
        stage.crash();
        assert_eq!(stage.wait(HOUR).turns(), []);
        assert_eq!(stage.out(), ["hello: failed (uncertain twice, may have arrived: the process ended while it was being sent)"]);
    }

    fn p5_a_crash_while_sending_what_must_not_be_doubled(stage) {
        stage.rule("zain", BackendPolicy { on_uncertain: Some(OnUncertain::Hold), ..BackendPolicy::real() });
        let id = in_hand(stage);
        stage.crash();
        assert_eq!(stage.wait(HOUR).turns(), []);
        assert_eq!(stage.state(id), State::Held);
    }

    /// A wait goes on where it was.
    fn waits_survive(stage) {
        let id = in_hand(stage);
        let now = stage.now;
        stage.sent(id, Err(SendFailure::Throttled(seconds(100), "HTTP 429".into())), now);
        stage.says("zain", "+2", "after 50 later");
        stage.turns();
        stage.wait(seconds(40)).crash();
        assert_eq!(stage.turns(), []);
        assert_eq!(texts(&stage.wait(seconds(10)).flows()), ["later"]);
        assert_eq!(texts(&stage.wait(seconds(50)).flows()), ["hello"]);
    }

    /// P2: keys are remembered over a crash.
    fn p2_keys_survive(stage) {
        let incoming =
            Incoming { redelivery_key: Some("7".into()), ..Incoming::new(Connection::new("zain", "+1"), "echo a") };
        let first = stage.hears(&incoming).unwrap();
        let draft = Draft::new(Connection::new("zain", "+2"), "hello");
        let now = stage.now;
        let submitted = stage.submit(draft.clone(), "api", Some(("k", b"one")), now).unwrap();
        stage.flows();
        stage.crash();
        let again = stage.hears(&incoming).unwrap();
        assert_eq!(stage.submit(draft, "api", Some(("k", b"one")), now).unwrap(), submitted);
        stage.flows();
        assert_eq!(stage.detail(again).row.duplicate_of, Some(first));
        assert_eq!(seen(stage), ["echo a"]);
    }

    /// P16: a clean stop gives back what it has not finished, and that is no attempt, however often it happens.
    fn p16_a_clean_stop_is_no_attempt(stage) {
        let slow = stage.says("zain", "+1", "later");
        stage.turns();
        for _ in 0..6 {
            stage.says("zain", "+2", "echo hello");
            stage.turn();
            stage.restart();
            stage.flows();
        }
        assert_eq!(stage.state(slow), State::Received);
        stage.answers(slow, "obedient", "at last");
        stage.flows();
        let row = stage.detail(slow).row;
        assert_eq!((row.state, row.attempts, row.redelivered), (State::Handled, 1, true));
        assert_eq!(stage.counters().quarantined, 0);
        assert_eq!(stage.out().iter().filter(|line| *line == "hello: sent").count(), 6);
        stage.assert_conserved();
    }

    /// While it stops, nothing new is taken; what was handed out still comes back.
    fn p16_stopping(stage) {
        let id = in_hand(stage);
        stage.says("zain", "+2", "echo hello");
        stage.turn();
        stage.stop_intake();
        let refused = stage.hears(&Incoming::new(Connection::new("zain", "+1"), "late")).unwrap_err();
        assert_eq!(refused.reason, "the router is stopping");
        assert!(refused.is_temporary());
        let now = stage.now;
        assert_eq!(stage.turns(), []);
        assert!(!stage.is_quiet());
        stage.sent(id, Ok(Receipt::default()), now);
        stage.turns();
        assert!(stage.is_quiet());
        stage.restart();
        assert_eq!(stage.state(id), State::Sent, "nothing became uncertain");
        assert_eq!(texts(&stage.flows()), ["hello"]);
        assert_eq!(seen(stage), ["echo hello"]);
    }

    /// P14: after a boot in 1970 ids and claims go on in order.
    fn p14_a_boot_in_1970(stage) {
        let before = stage.says("zain", "+1", "later");
        stage.turns();
        stage.now = Timestamp::from_seconds(10);
        stage.crash();
        let after = stage.says("zain", "+1", "echo after");
        assert!(after > before);
        stage.turns();
        stage.answers(before, "obedient", "first");
        assert_eq!(texts(&stage.flows()), ["first", "after"]);
        let rows = stage.rows(Direction::Out);
        assert!(rows.is_sorted_by_key(|row| row.id) && rows.iter().all(|row| row.id > after));
    }
}

/// P19: a text that kills the process is set aside after three tries, and everybody else in its batch is answered once.
#[test]
fn p19_poison() {
    let mut stage = Stage::sqlite();
    for n in 0..4 {
        stage.says("tester", &format!("+{n}"), &format!("echo {n}"));
    }
    let poison = stage.says("tester", "+4", "kill");
    let behind = stage.says("tester", "+4", "echo behind");
    for n in 5..9 {
        stage.says("tester", &format!("+{n}"), &format!("echo {n}"));
    }
    let now = stage.now;
    stage.commit(now).unwrap();
    assert_eq!(lives(&mut stage), 3);
    assert_eq!(stage.state(poison), State::Quarantined);
    assert_eq!(stage.reason(poison), "set aside: the process ended 3 times while this message was handled");
    assert_eq!(stage.state(behind), State::Handled, "the queue behind it moves");
    let mut answers: Vec<_> = stage.rows(Direction::Out).into_iter().map(|row| row.text).collect();
    answers.sort();
    assert_eq!(answers, ["0", "1", "2", "3", "5", "6", "7", "8", "behind"]);
    assert!(stage.rows(Direction::In).iter().all(|row| row.id == poison || row.state == State::Handled));
    let attempts = stage.rows(Direction::In).into_iter().filter(|row| row.id != poison);
    assert!(
        attempts.map(|row| row.attempts).max() <= Some(2),
        "innocents are tried a second time, not a third"
    );
    assert_eq!(stage.counters().quarantined, 1);
    stage.assert_conserved();
}

/// P19: several poisons at once delay each other, not the end.
#[test]
fn p19_several_poisons() {
    let mut stage = Stage::sqlite();
    for n in 0..9 {
        let text = if n % 3 == 1 { "kill".to_string() } else { format!("echo {n}") };
        stage.says("tester", &format!("+{n}"), &text);
    }
    let now = stage.now;
    stage.commit(now).unwrap();
    let deaths = lives(&mut stage);
    assert!(deaths <= 9, "{deaths} deaths for 3 poisons");
    let states = stage.rows(Direction::In).into_iter().map(|row| row.state);
    let ends = states.fold((0, 0), |(handled, aside), state| match state {
        State::Handled => (handled + 1, aside),
        State::Quarantined => (handled, aside + 1),
        other => panic!("{other}"),
    });
    assert_eq!(ends, (6, 3));
}

/// P9, P19: a crash between the apps and the commit repeats the call, and never a reply; and however often it happens, the text is not
/// taken for one that kills.
#[test]
fn p3_a_crash_before_the_commit() {
    let mut stage = Stage::sqlite();
    stage.says("tester", "+1", "twice hello");
    for _ in 0..5 {
        stage.turn();
        let now = stage.now;
        stage.step(now);
        stage.crash();
    }
    assert_eq!(stage.flows().len(), 2);
    assert_eq!(stage.asked().len(), 6);
    assert!(stage.journal().seen[1..].iter().all(|seen| seen.redelivered));
    assert_eq!(stage.rows(Direction::Out).len(), 2);
    let ids: Vec<_> = stage.journal().seen.iter().map(|seen| seen.id).collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "the name of a message never changes");
}
