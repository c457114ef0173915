//! What leaves: windows, retries, doubt, reports, validity, appointments, and a clock that jumps.

use super::stage::*;
use rapidsms::message::*;
use rapidsms::retry::OnUncertain;
use rapidsms::router::BackendPolicy;
use std::time::Duration;

/// Queues one message to `+1` on zain and gives back what the backend gets.
fn one(stage: &mut Stage) -> Outgoing {
    submit(stage, "zain", "+1", "hello");
    let given = stage.turns();
    assert_eq!(given.len(), 1);
    given[0].clone()
}

fn submit(stage: &mut Stage, backend: &str, identity: &str, text: &str) -> MessageId {
    let now = stage.now;
    stage.submit(Draft::new(Connection::new(backend, identity), text), "api", None, now).unwrap()
}

fn submit_as(stage: &mut Stage, text: &str, change: impl FnOnce(&mut Draft)) -> MessageId {
    let mut draft = Draft::new(Connection::new("zain", text), text);
    change(&mut draft);
    let now = stage.now;
    stage.submit(draft, "api", None, now).unwrap()
}

/// The time until the router wants to be woken, or nothing.
fn patience(stage: &mut Stage) -> Duration {
    let now = stage.now;
    stage.wake_at(now).map_or(Duration::ZERO, |at| at.since(now))
}

fn report(stage: &mut Stage, about: About, verdict: Verdict) {
    let now = stage.now;
    let report = Report { backend: "zain".into(), about, verdict, note: Some("dlr 1".into()) };
    stage.report(&report, now).unwrap();
}

cases! {
    /// The waits of a message that fails again and again: doubled, spread by a fifth, within ten minutes.
    fn a_refused_message_comes_back_later_each_time(stage) {
        let id = one(stage).id;
        let mut attempt = 1;
        let mut given = stage.turns();
        for wait in [2u64, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600] {
            let now = stage.now;
            stage.sent(id, temporary(), now);
            assert_eq!(stage.turns(), [], "not at once");
            assert_eq!(stage.state(id), State::Queued);
            let early = stage.wait(seconds(wait) * 79 / 100).turns();
            assert_eq!(early, [], "attempt {attempt} came back too early");
            given = stage.wait(seconds(wait) * 41 / 100).turns();
            assert_eq!(given.len(), 1, "attempt {attempt} did not come back");
            attempt += 1;
            assert_eq!((given[0].id, given[0].attempt), (id, attempt));
        }
        stage.tells(&given[0], Ok(Receipt::default()));
        stage.turns();
        assert_eq!((stage.state(id), stage.detail(id).row.attempts), (State::Sent, 12));
        assert_eq!(stage.counters().uncertain, 0);
    }

    /// "What was stored of that message as it came in, for engines that put an answer beside its question, and only when it came in by the same backend."
    fn who_wants_it_is_shown_what_is_answered(stage) {
        let hears = |stage: &mut Stage, backend: &str, text: &str| {
            let raw = Some(text.as_bytes().to_vec());
            let incoming = Incoming { raw, ..Incoming::new(Connection::new(backend, "+1"), text) };
            stage.hears(&incoming).unwrap();
            stage.flows().into_iter().map(|outgoing| outgoing.answered).collect::<Vec<_>>()
        };
        assert_eq!(hears(stage, "zain", "echo one"), [None], "it did not ask for it");
        stage.rule("zain", BackendPolicy { shows_answered: true, ..BackendPolicy::real() });
        assert_eq!(hears(stage, "zain", "echo two"), [Some(b"echo two".to_vec())]);
        assert_eq!(hears(stage, "tnm", "to zain +9 three"), [None], "another line's mail is its own affair");
        assert_eq!(one(stage).answered, None);
    }

    fn what_the_carrier_will_never_take_fails_at_once(stage) {
        let given = one(stage);
        let behind = submit(stage, "zain", "+1", "behind");
        stage.tells(&given, Err(SendFailure::Permanent("CMS 28: unidentified subscriber".into())));
        let next = stage.turns();
        assert_eq!(next[0].id, behind, "its lane moves up");
        assert_eq!(stage.out()[0], "hello: failed (CMS 28: unidentified subscriber)");
    }

    fn a_carrier_that_asks_for_a_pause_gets_it(stage) {
        let given = one(stage);
        stage.tells(&given, Err(SendFailure::Throttled(seconds(90), "HTTP 429".into())));
        assert_eq!(stage.wait(seconds(89)).turns(), []);
        let given = stage.wait(seconds(1)).turns();
        assert_eq!(given[0].attempt, 2);
        // A pause of nothing is not taken literally, or the two would spin.
        stage.tells(&given[0], Err(SendFailure::Throttled(Duration::ZERO, "HTTP 429".into())));
        assert_eq!(stage.turns(), []);
        assert_eq!(patience(stage), Duration::from_millis(100));
    }

    /// A message that its backend could not even try keeps its count of attempts and its place.
    fn what_was_not_tried_does_not_count(stage) {
        let given = one(stage);
        stage.backend_down("zain");
        stage.tells(&given, Err(SendFailure::Untried("the modem went away".into())));
        assert_eq!(stage.turns(), []);
        assert_eq!(stage.detail(given.id).row.attempts, 0);
        stage.backend_up("zain");
        let again = stage.turns();
        assert_eq!((again[0].id, again[0].attempt), (given.id, 1));
    }

    /// P5: after doubt there is one more copy at most.
    fn p5_doubt_is_followed_by_one_resend(stage) {
        let given = one(stage);
        stage.tells(&given, unsure());
        stage.turns();
        assert_eq!(stage.state(given.id), State::Uncertain);
        let again = stage.wait(seconds(3)).turns();
        assert_eq!((again[0].id, again[0].attempt), (given.id, 2));
        // A certain refusal in between makes no copy and costs nothing.
        stage.tells(&again[0], temporary());
        stage.turns();
        let again = stage.wait(seconds(6)).turns();
        assert_eq!(again[0].attempt, 3);
        stage.tells(&again[0], unsure());
        stage.turns();
        assert_eq!(stage.out(), ["hello: failed (uncertain twice, may have arrived: no answer within 60 s)"]);
        assert_eq!(stage.counters().uncertain, 2);
        let states = ["queued 0", "sending 1", "uncertain 1", "sending 2", "queued 2", "sending 3", "failed 3"];
        assert_eq!(stage.history(given.id), states);
    }

    /// P5: `hold` keeps a doubtful message for a person, who may send it again or not.
    fn p5_doubt_can_wait_for_a_person(stage) {
        stage.rule("zain", BackendPolicy { on_uncertain: Some(OnUncertain::Hold), ..BackendPolicy::real() });
        let given = one(stage);
        let behind = submit(stage, "zain", "+1", "behind");
        stage.tells(&given, unsure());
        assert_eq!(stage.turns()[0].id, behind, "a held message delays nobody");
        assert_eq!(stage.out()[0], "hello: held (uncertain, held for a person: no answer within 60 s)");
        let now = stage.now;
        assert!(!stage.decide_by_hand(behind, State::Cancelled, "person admin", now).unwrap(), "it is on its way");
        assert!(stage.decide_by_hand(given.id, State::Queued, "person admin", now).unwrap());
        stage.sent(behind, Ok(Receipt::default()), now);
        let again = stage.turns();
        assert_eq!((again[0].id, again[0].attempt), (given.id, 2));
        stage.tells(&again[0], Ok(Receipt::default()));
        stage.turns();
        assert!(!stage.decide_by_hand(given.id, State::Cancelled, "person admin", now).unwrap(), "it is sent");
        let actors: Vec<_> = stage.detail(given.id).history.into_iter().map(|entry| entry.actor).collect();
        assert_eq!(actors, ["api", "backend zain", "backend zain", "person admin", "backend zain", "backend zain"]);
        assert!(stage.decide_by_hand(given.id, State::Sent, "person admin", now).is_err());
    }

    fn a_person_may_stop_what_waits(stage) {
        let first = one(stage);
        let second = submit(stage, "zain", "+1", "second");
        let third = submit(stage, "zain", "+1", "third");
        let now = stage.now;
        assert!(stage.decide_by_hand(second, State::Cancelled, "person admin", now).unwrap());
        stage.tells(&first, Ok(Receipt::default()));
        assert_eq!(stage.turns()[0].id, third);
        assert_eq!((stage.state(second), stage.reason(second).as_str()), (State::Cancelled, "decided by hand"));
    }

    /// A backend has as many messages in hand as its window says; one connection has one.
    fn the_window_of_a_backend(stage) {
        for n in 0..5 {
            submit(stage, "tnm", &format!("+{n}"), &format!("to {n}"));
        }
        submit(stage, "tnm", "+0", "to 0 again");
        let given = stage.turns();
        assert_eq!(texts(&given), ["to 0", "to 1", "to 2"]);
        assert_eq!(stage.in_flight("tnm"), 3);
        stage.tells(&given[1], Ok(Receipt::default()));
        assert_eq!(texts(&stage.turns()), ["to 3"]);
        stage.set_backend(&"tnm".into(), BackendPolicy { window: 1, ..BackendPolicy::real() });
        stage.tells(&given[0], Ok(Receipt::default()));
        stage.tells(&given[2], Ok(Receipt::default()));
        assert_eq!(stage.turns(), [], "the window became narrower");
        stage.set_backend(&"tnm".into(), BackendPolicy { window: 9, ..BackendPolicy::real() });
        assert_eq!(texts(&stage.turns()), ["to 4", "to 0 again"], "the one that waits longer goes first");
    }

    /// Replies first, then single messages, then bulk: whoever waits for an answer waits the least.
    fn priorities(stage) {
        stage.backend_down("zain");
        for (text, priority) in [("bulk 1", Priority::Bulk), ("single", Priority::Single), ("bulk 2", Priority::Bulk)] {
            submit_as(stage, text, |draft| draft.priority = priority);
        }
        stage.says("zain", "+1", "echo reply");
        stage.turns();
        stage.backend_up("zain");
        assert_eq!(texts(&stage.flows()), ["reply", "single", "bulk 1", "bulk 2"]);
    }

    /// P7: a backend that is down delays nobody else, and nobody is told to hurry by a message that cannot leave.
    fn p7_a_backend_that_is_down(stage) {
        stage.backend_down("zain");
        submit(stage, "zain", "+1", "hello");
        submit(stage, "tnm", "+1", "other");
        assert_eq!(texts(&stage.flows()), ["other"]);
        assert!(patience(stage) >= seconds(30), "only validity is looked at now and then");
        stage.backend_up("zain");
        assert_eq!(texts(&stage.flows()), ["hello"]);
    }

    fn a_backend_that_is_parked(stage) {
        submit_as(stage, "before", |draft| draft.not_before = Some(START + seconds(60)));
        stage.backend_parked("zain", "the SIM wants a PIN");
        let held = submit(stage, "zain", "+1", "hello");
        stage.says("zain", "+1", "echo reply");
        assert_eq!(stage.flows(), []);
        let why = "held (backend zain is parked: the SIM wants a PIN)";
        assert_eq!(stage.out()[1..], [format!("hello: {why}"), format!("reply: {why}")]);
        stage.backend_up("zain");
        assert_eq!(texts(&stage.wait(seconds(60)).flows()), ["before"], "what is held waits for a person");
        let now = stage.now;
        assert!(stage.decide_by_hand(held, State::Queued, "person admin", now).unwrap());
        assert_eq!(texts(&stage.flows()), ["hello"]);
        let reply = stage.rows(Direction::Out)[2].id;
        stage.wait(49 * HOUR).turns();
        assert_eq!(stage.state(reply), State::Expired, "P4: nobody waits for ever, for a person neither");
    }

    /// A thread that is stuck is given up; what it had in hand may or may not have left.
    fn a_backend_that_is_abandoned(stage) {
        for n in 0..3 {
            submit(stage, "tnm", &format!("+{n}"), &format!("to {n}"));
        }
        let given = stage.turns();
        stage.tells(&given[0], Ok(Receipt::default()));
        let now = stage.now;
        let begun = [given[1].id, given[2].id];
        stage.backend_abandoned("tnm", &begun, now);
        stage.turns();
        assert_eq!(stage.in_flight("tnm"), 0);
        let unsure = "uncertain (the backend stopped answering)";
        assert_eq!(stage.out(), ["to 0: sent".to_string(), format!("to 1: {unsure}"), format!("to 2: {unsure}")]);
        // That one left after all is worth knowing: it is not sent again.
        stage.tells(&given[1], named("r1"));
        stage.backend_up("tnm");
        let again = stage.wait(seconds(3)).turns();
        assert_eq!(texts(&again), ["to 2"]);
        assert_eq!((stage.state(given[1].id), stage.reason(given[1].id).as_str()), (State::Sent, "sent after all"));
    }

    /// Late news of a thread that was given up, while the next one has the message: it is sent, and its place is still taken.
    fn news_of_a_former_thread_frees_no_place(stage) {
        submit(stage, "zain", "+1", "hello");
        let first = stage.turns().remove(0);
        let now = stage.now;
        stage.backend_abandoned("zain", &[first.id], now);
        stage.backend_up("zain");
        let again = stage.wait(seconds(3)).turns();
        assert_eq!(texts(&again), ["hello"], "the second attempt");
        let now = stage.now;
        stage.sent_after_all(first.id, Receipt::default(), now);
        submit(stage, "zain", "+2", "next");
        assert_eq!(stage.turns(), [], "the window of one is full");
        assert_eq!(stage.state(first.id), State::Sent);
        stage.tells(&again[0], temporary());
        assert_eq!(texts(&stage.turns()), ["next"]);
        assert_eq!(stage.state(first.id), State::Sent, "what left has left");
    }

    /// What a thread that was given up had not begun did not leave: it goes at once, and is in no doubt.
    fn what_a_lost_thread_had_not_begun(stage) {
        submit(stage, "tnm", "+1", "begun");
        submit(stage, "tnm", "+2", "waits");
        let given = stage.turns();
        let now = stage.now;
        stage.backend_abandoned("tnm", &[given[0].id], now);
        stage.backend_up("tnm");
        assert_eq!(texts(&stage.turns()), ["waits"]);
        assert_eq!((stage.state(given[0].id), stage.counters().uncertain), (State::Uncertain, 1));
    }

    /// P4: what cannot be sent in time ends as expired, also while its backend is down.
    fn p4_validity_ends(stage) {
        stage.backend_down("tnm");
        let down = submit(stage, "tnm", "+1", "to a backend that is down");
        let retried = one(stage);
        stage.tells(&retried, temporary());
        stage.rule("zain", BackendPolicy { validity: Some(HOUR), ..BackendPolicy::real() });
        let short = submit(stage, "zain", "+7", "an hour");
        stage.backend_down("zain");
        stage.says("tester", "+1", "for 90 hurry");
        stage.backend_down("tester");
        stage.turns();
        let at = |stage: &mut Stage, time: Duration| {
            stage.now = START + time;
            stage.turns();
            stage.out().into_iter().filter(|line| line.contains("expired")).count()
        };
        assert_eq!(at(stage, seconds(89)), 0);
        assert_eq!(at(stage, seconds(150)), 1, "within a minute after the end");
        assert_eq!(at(stage, HOUR + seconds(60)), 2);
        assert_eq!(stage.state(short), State::Expired);
        assert_eq!(at(stage, 48 * HOUR - seconds(1)), 2);
        assert_eq!(at(stage, 48 * HOUR + seconds(60)), 4);
        for id in [down, retried.id] {
            assert_eq!(stage.reason(id), "its validity ended before it could be sent");
        }
        let now = stage.now;
        assert_eq!(stage.wake_at(now), None, "nothing waits any more");
    }

    /// What is in the hands of a backend is not declared dead under it.
    /// P4: after a long pause there is more to expire than one look finds; none of it leaves.
    fn p4_nothing_stale_leaves(stage) {
        stage.backend_down("tnm");
        let ids: Vec<_> = (0..1_200).map(|n| submit(stage, "tnm", &format!("+{}", n % 700), "old news")).collect();
        stage.turn();
        stage.wait(49 * HOUR);
        stage.backend_up("tnm");
        assert_eq!(stage.turns(), []);
        for id in ids {
            let row = stage.detail(id).row;
            assert_eq!((row.state, row.attempts), (State::Expired, 0));
        }
        assert_eq!(stage.in_flight("tnm"), 0);
        stage.assert_conserved();
    }

    fn what_is_being_sent_does_not_expire(stage) {
        let given = one(stage);
        stage.wait(49 * HOUR).turns();
        assert_eq!(stage.state(given.id), State::Sending);
        stage.tells(&given, Ok(Receipt::default()));
        stage.turns();
        assert_eq!(stage.state(given.id), State::Sent);
    }

    fn appointments(stage) {
        stage.says("zain", "+1", "after 60 later");
        stage.says("zain", "+1", "echo now");
        assert_eq!(texts(&stage.flows()), ["now"], "an appointment delays nobody");
        assert!(patience(stage) <= seconds(60));
        assert_eq!(stage.wait(seconds(59)).flows(), []);
        assert_eq!(texts(&stage.wait(seconds(1)).flows()), ["later"]);
        // Its validity is counted from its time.
        let id = submit_as(stage, "next week", |draft| {
            draft.not_before = Some(START + 170 * HOUR);
            draft.validity = Some(HOUR);
        });
        assert_eq!(stage.detail_after_turn(id).expires_at, Some(START + 171 * HOUR));
        stage.now = START + 170 * HOUR;
        assert_eq!(texts(&stage.flows()), ["next week"]);
    }

    fn reports(stage) {
        for (n, verdict) in [Verdict::Delivered, Verdict::Failed, Verdict::Underway].into_iter().enumerate() {
            let given = one(stage);
            stage.tells(&given, named(&format!("r{n}")));
            stage.turns();
            report(stage, About::Remote(format!("r{n}")), verdict);
            stage.turns();
        }
        assert_eq!(stage.out(), ["hello: delivered (dlr 1)", "hello: failed (dlr 1)", "hello: sent"]);
        let third = stage.rows(Direction::Out)[2].id;
        let entry = stage.detail(third).history.pop().unwrap();
        assert_eq!((entry.actor.as_str(), entry.reason.as_deref()), ("report zain", Some("dlr 1")));
        // Late news never undoes better news.
        let first = stage.rows(Direction::Out)[0].id;
        report(stage, About::Id(first), Verdict::Failed);
        report(stage, About::Remote("r2".into()), Verdict::Delivered);
        stage.turns();
        assert_eq!((stage.state(first), stage.state(third)), (State::Delivered, State::Delivered));
        let late = stage.detail(first).history.pop().unwrap();
        assert_eq!((late.state, late.reason.as_deref()), (State::Delivered, Some("late news: failed: dlr 1")));
        assert_eq!(stage.counters().unknown_reports, 0);
    }

    /// Programs and apps may say how a message is to be sent; over a restart, too.
    fn wishes_reach_the_backend(stage) {
        let now = stage.now;
        let wishes = Wishes { flash: false, report: Some(false), part: None };
        let draft = Draft { wishes, ..Draft::new(Connection::new("zain", "+1"), "quietly") };
        stage.submit(draft, "api", None, now).unwrap();
        stage.says("tnm", "+1", "flash now");
        stage.commit(now).unwrap();
        stage.crash();
        let mut given = stage.turns();
        given.sort_by(|one, other| one.text.cmp(&other.text));
        assert_eq!(texts(&given), ["now", "quietly"]);
        assert_eq!(given[0].wishes, Wishes { flash: true, report: Some(true), part: None });
        assert_eq!(given[1].wishes, wishes);
    }

    fn reports_about_what_nobody_knows(stage) {
        let given = one(stage);
        stage.tells(&given, named("r1"));
        stage.turns();
        report(stage, About::Remote("r2".into()), Verdict::Delivered);
        report(stage, About::Id(MessageId::from_parts(1, 1)), Verdict::Delivered);
        let now = stage.now;
        let elsewhere = Report {
            backend: "tnm".into(),
            about: About::Remote("r1".into()),
            verdict: Verdict::Delivered,
            note: None,
        };
        stage.report(&elsewhere, now).unwrap();
        stage.turns();
        assert_eq!(stage.state(given.id), State::Sent, "another carrier's r1 is another message");
        assert_eq!(stage.counters().unknown_reports, 3);
    }

    /// A report may be faster than the answer of the modem, and may come for a message that is thought lost.
    fn reports_that_come_early(stage) {
        let given = one(stage);
        report(stage, About::Id(given.id), Verdict::Delivered);
        stage.turns();
        stage.tells(&given, Ok(Receipt::default()));
        stage.turns();
        assert_eq!(stage.state(given.id), State::Delivered);
        assert_eq!(stage.in_flight("zain"), 0);
        let given = one(stage);
        stage.tells(&given, unsure());
        stage.turns();
        report(stage, About::Id(given.id), Verdict::Delivered);
        stage.turns();
        assert_eq!(stage.wait(HOUR).turns(), [], "it is not sent again");
    }

    /// P14: a step whose commit only seemed to fail, or did fail, is followed once; so are two of them.
    fn p14_a_step_of_the_clock_is_followed_once(stage) {
        let all_or_nothing = if stage.forgets() { &[Leaves::All, Leaves::Nothing][..] } else { &[Leaves::All] };
        for leaves in all_or_nothing {
            let refused = one(stage);
            stage.tells(&refused, Err(SendFailure::Throttled(seconds(100), "later".into())));
            stage.turns();
            for jump in [1_000 * HOUR, 2_000 * HOUR] {
                stage.wait(jump).clock(jump, false);
            }
            stage.store.fail_commit(*leaves, 1);
            let now = stage.now;
            stage.step(now);
            assert!(stage.commit(now).is_err());
            assert_eq!(stage.wait(seconds(1)).turns(), []);
            assert_eq!(stage.wait(seconds(98)).turns(), []);
            assert_eq!(texts(&stage.wait(seconds(1)).turns()), ["hello"], "{leaves:?}");
            let now = stage.now;
            stage.sent(refused.id, Ok(Receipt::default()), now);
            stage.turns();
        }
    }

    /// P14: the clock of a box without a battery jumps to today; nothing expires and nothing is sent early by that.
    fn p14_a_jump_of_the_clock(stage) {
        let refused = one(stage);
        stage.tells(&refused, Err(SendFailure::Throttled(seconds(100), "later".into())));
        submit_as(stage, "+5", |draft| draft.not_before = Some(START + seconds(60)));
        stage.says("tester", "+1", "later");
        stage.turns();
        let jump = 90_000 * HOUR;
        stage.wait(jump).clock(jump, false);
        assert_eq!(stage.turns(), []);
        assert_eq!(stage.pending(), 1, "an app's time is not up either");
        assert_eq!(texts(&stage.wait(seconds(60)).turns()), ["+5"]);
        assert_eq!(stage.pending(), 0);
        let given = stage.rows(Direction::Out).into_iter().find(|row| row.text == "+5").unwrap().id;
        let now = stage.now;
        stage.sent(given, Ok(Receipt::default()), now);
        assert_eq!(texts(&stage.wait(seconds(40)).turns()), ["hello"]);
        assert!(stage.out().iter().all(|line| !line.contains("expired")));
    }

    /// P14: while the clock lies behind what is stored, validity is not looked at.
    fn p14_a_clock_that_lies_behind(stage) {
        stage.backend_down("zain");
        let id = submit(stage, "zain", "+1", "hello");
        stage.turns();
        stage.clock(Duration::ZERO, true);
        stage.wait(49 * HOUR).turns();
        assert_eq!(stage.state(id), State::Queued);
        stage.clock(Duration::ZERO, false);
        stage.wait(seconds(31)).turns();
        assert_eq!(stage.state(id), State::Expired);
    }

    /// What is past its keeping is deleted; what is open or held is not, however old.
    fn retention(stage) {
        let policy = rapidsms::router::Policy {
            retention: Some(24 * HOUR),
            validity: 1_000 * HOUR,
            ..rapidsms::router::Policy::default()
        };
        stage.set_policy(policy);
        stage.says("zain", "+1", "echo old");
        stage.flows();
        stage.backend_down("zain");
        let waiting = submit(stage, "zain", "+1", "waiting");
        stage.turns();
        stage.wait(25 * HOUR).says("zain", "+1", "echo new");
        stage.turns();
        let now = stage.now;
        assert!(!stage.purge(now), "there is no more than one round of it");
        stage.turns();
        let left: Vec<_> = stage.rows(Direction::In).into_iter().map(|row| row.text).collect();
        assert_eq!(left, ["echo new"]);
        assert_eq!(stage.out(), ["waiting: queued", "new: queued"]);
        stage.assert_conserved();
        stage.backend_up("zain");
        assert_eq!(stage.flows()[1].id, waiting);
    }
}
