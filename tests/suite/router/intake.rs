//! What the router takes in, and what apps and senders see of it.

use super::stage::*;
use rapidsms::message::*;
use rapidsms::router::{BackendPolicy, KEY_TIME, Policy, Refusal, Refused, Router};
use std::collections::HashMap;

fn keyed(backend: &str, text: &str, key: &str) -> Incoming {
    Incoming { redelivery_key: Some(key.into()), ..Incoming::new(Connection::new(backend, "+1"), text) }
}

fn refusal<T: std::fmt::Debug>(result: Result<T, Refused>) -> (Refusal, String) {
    let refused = result.unwrap_err();
    (refused.refusal, refused.reason)
}

cases! {
    /// The thread through everything: in, asked, answered, given out, sent.
    fn an_echo(stage) {
        let id = stage.says("zain", "+1", "echo hello");
        assert_eq!(stage.asked(), [] as [&str; 0], "no app sees what is not on disk");
        assert_eq!(stage.turn(), [], "claimed in this transaction, to be run after its commit");
        assert_eq!(stage.asked(), [] as [&str; 0]);
        let given = stage.turns();
        assert_eq!(texts(&given), ["hello"]);
        assert_eq!(given[0].connection, Connection::new("zain", "+1"));
        assert_eq!((given[0].in_response_to, given[0].attempt, given[0].origin), (Some(id), 1, Origin::Real));
        assert_eq!(stage.in_flight("zain"), 1);
        assert!(!stage.is_quiet(), "a message is in the hands of its backend");
        stage.tells(&given[0], named("r1"));
        assert!(!stage.is_quiet(), "its outcome is not on disk");
        stage.turns();
        assert!(stage.is_quiet());
        assert_eq!(stage.history(id), ["received 0", "handled 1"]);
        assert_eq!(stage.history(given[0].id), ["queued 0", "sending 1", "sent 1"]);
        let detail = stage.detail(given[0].id);
        assert_eq!((detail.row.remote_id.as_deref(), detail.row.parts), (Some("r1"), Some(2)));
        let actors: Vec<_> = detail.history.iter().map(|entry| entry.actor.as_str()).collect();
        assert_eq!(actors, ["app obedient", "backend zain", "backend zain"]);
        assert_eq!(stage.detail(id).history[1].actor, "app obedient (handle)");
        assert_eq!(stage.counters().accepted, 1);
        let now = stage.now;
        assert_eq!(stage.wake_at(now), None, "nothing to do until something happens");
        stage.assert_conserved();
    }

    /// P2: what a source delivers twice is stored twice and handled once.
    fn p2_once_in(stage) {
        let first = stage.hears(&keyed("zain", "echo hello", "pdu 7")).unwrap();
        let again = stage.hears(&keyed("zain", "echo hello", "pdu 7")).unwrap();
        stage.flows();
        let late = stage.wait(KEY_TIME - seconds(1)).hears(&keyed("zain", "echo hello", "pdu 7")).unwrap();
        let elsewhere = stage.hears(&keyed("tnm", "echo there", "pdu 7")).unwrap();
        let other = stage.hears(&keyed("zain", "echo other", "pdu 8")).unwrap();
        stage.flows();
        assert_eq!(stage.asked(), ["echo hello", "echo there", "echo other"]);
        for repetition in [again, late] {
            let row = stage.detail(repetition).row;
            assert_eq!((row.state, row.duplicate_of), (State::Duplicate, Some(first)));
        }
        assert_eq!(stage.state(elsewhere), State::Handled, "another backend has keys of its own");
        assert_eq!(stage.state(other), State::Handled);
        let counters = stage.counters();
        assert_eq!((counters.accepted, counters.duplicates), (5, 2));
        stage.assert_conserved();
    }

    /// P2: after 72 hours a key may mean something else.
    fn p2_keys_are_forgotten_after_72_hours(stage) {
        stage.hears(&keyed("zain", "echo first", "pdu 7")).unwrap();
        stage.flows();
        let later = stage.wait(KEY_TIME).hears(&keyed("zain", "echo second", "pdu 7")).unwrap();
        let again = stage.wait(seconds(1)).hears(&keyed("zain", "echo second", "pdu 7")).unwrap();
        stage.flows();
        assert_eq!(stage.state(later), State::Handled);
        assert_eq!(stage.detail(again).row.duplicate_of, Some(later), "the newer meaning counts");
    }

    /// P2: without a key nothing is taken for a repetition, however alike.
    /// A box without a battery takes its first messages in 1970 and is set right a moment later.
    fn p14_a_clock_set_right_forgets_no_key(stage) {
        let first = stage.hears(&keyed("zain", "hello", "pdu 1")).unwrap();
        stage.turns();
        let step = 20_000 * HOUR;
        stage.wait(step).clock(step, false);
        let again = stage.hears(&keyed("zain", "hello", "pdu 1")).unwrap();
        stage.turns();
        assert_eq!(stage.detail(again).row.duplicate_of, Some(first));
    }

    fn p2_nothing_is_a_repetition_by_guess(stage) {
        stage.says("zain", "+1", "echo hello");
        stage.says("zain", "+1", "echo hello");
        stage.flows();
        assert_eq!(stage.asked(), ["echo hello", "echo hello"]);
        assert_eq!(stage.counters().duplicates, 0);
    }

    fn what_cannot_be_decoded_is_kept_and_shown_to_no_app(stage) {
        let raw = vec![0, 0xff, 0x91];
        let broken = Incoming::undecodable(Connection::new("zain", "+1"), raw.clone(), "TP-UDL is 200");
        let broken = Incoming { redelivery_key: Some("pdu 9".into()), ..broken };
        let id = stage.hears(&broken).unwrap();
        let again = stage.hears(&broken).unwrap();
        stage.says("zain", "+1", "echo hello");
        stage.flows();
        assert_eq!(stage.asked(), ["echo hello"]);
        let detail = stage.detail(id);
        assert_eq!((detail.row.state, detail.raw), (State::Quarantined, Some(raw)));
        assert_eq!(detail.row.reason.as_deref(), Some("TP-UDL is 200"));
        assert_eq!(stage.detail(again).row.duplicate_of, Some(id));
        assert_eq!(stage.counters().quarantined, 1);
    }

    /// Bad input is refused with a reason, and nothing of it is stored.
    fn bad_input_is_refused(stage) {
        let large = "x".repeat(TEXT_LIMIT + 1);
        let long = "9".repeat(10_000);
        let cases = [
            ("nowhere", "+1", "x", Refusal::UnknownBackend, "no backend named \"nowhere\" is configured"),
            ("no\u{1b}[2J", "+1", "x", Refusal::UnknownBackend, "no backend named \"no\\u{1b}[2J\" is configured"),
            ("zain", "+1", large.as_str(), Refusal::TooLong, "the text has 65537 octets; at most 65536 are possible"),
            ("zain", "", "x", Refusal::Invalid, "the identity is empty; give the sender's number or address"),
            ("zain", "+1\0", "x", Refusal::Invalid, "the identity holds a control character"),
            ("zain", "+1\u{85}", "x", Refusal::Invalid, "the identity holds a control character"),
            ("zain", long.as_str(), "x", Refusal::Invalid,
             "the identity has 10000 octets; at most 256 characters are possible"),
        ];
        let now = stage.now;
        for (backend, identity, text, kind, reason) in cases {
            let connection = Connection::new(backend, identity);
            let heard = stage.hears(&Incoming::new(connection.clone(), text));
            assert_eq!(refusal(heard), (kind, reason.to_string()));
            let submitted = stage.submit(Draft::new(connection, text), "api", None, now);
            assert_eq!(refusal(submitted), (kind, reason.to_string()));
        }
        stage.flows();
        assert_eq!(stage.rows(Direction::In).len() + stage.rows(Direction::Out).len(), 0);
        assert_eq!(stage.counters().accepted, 0);
    }

    /// Odd input is no bad input: it is taken as it is and comes back as it was.
    fn odd_input_is_taken_as_it_is(stage) {
        let largest = "é".repeat((TEXT_LIMIT - 6) / 2);
        let widest = "é".repeat(IDENTITY_LIMIT);
        for text in ["", "\0", "a\0b\u{1b}[31m\r\n", "\u{202e}\u{feff}", "%s %(x)s {}", largest.as_str()] {
            let id = stage.says("zain", &widest, &format!("echo {text}"));
            let given = stage.flows();
            assert_eq!(texts(&given), [text]);
            assert_eq!(*given[0].connection.identity, *widest);
            assert_eq!(stage.detail(id).row.text, format!("echo {text}"));
            stage.wait(HOUR);
        }
        let id = stage.says("zain", "+1", "");
        stage.flows();
        assert_eq!((stage.state(id), stage.reason(id).as_str()), (State::Handled, "no app answered"));
    }

    fn too_much_at_once_stays_with_its_source(stage) {
        stage.set_policy(Policy { max_waiting: 2, max_queued: 1, ..Policy::default() });
        stage.says("zain", "+1", "echo a");
        stage.says("zain", "+2", "echo b");
        let (kind, reason) = refusal(stage.hears(&Incoming::new(Connection::new("zain", "+3"), "echo c")));
        assert_eq!((kind, reason.as_str()), (Refusal::Busy, "2 messages of backend zain wait to be handled already; try again later"));
        stage.says("tnm", "+3", "for another line there is room");
        stage.set_policy(Policy { max_waiting_total: 3, max_queued: 1, max_queued_total: 2, ..Policy::default() });
        let (kind, reason) = refusal(stage.hears(&Incoming::new(Connection::new("tnm", "+4"), "echo c")));
        assert_eq!((kind, reason.as_str()), (Refusal::Busy, "3 messages wait to be handled already; try again later"));
        stage.turns();
        let now = stage.now;
        let to = |backend: &str| Draft::new(Connection::new(backend, "+4"), "hello");
        let (kind, reason) = refusal(stage.submit(to("tnm"), "api", None, now));
        assert_eq!((kind, reason.as_str()), (Refusal::Busy, "2 messages wait to be sent already; try again later"));
        stage.set_policy(Policy { max_queued: 2, ..Policy::default() });
        let (kind, reason) = refusal(stage.submit(to("zain"), "api", None, now));
        assert_eq!((kind, reason.as_str()), (Refusal::Busy, "2 messages of backend zain wait to be sent already; try again later"));
        stage.submit(to("tnm"), "api", None, now).expect("P7: for another line there is room");
        stage.says("zain", "+3", "echo c");
        stage.turns();
        assert_eq!(stage.out().len(), 4, "replies are queued always");
    }

    /// P7: who floods one line waits alone. The next batch that is claimed has everybody else's messages in it.
    fn p7_isolation_a_flood_on_one_backend_delays_nobody_else(stage) {
        let flood = if stage.forgets() { 2_000 } else { 50_000 };
        for n in 0..flood {
            stage.says("zain", &format!("+{n}"), "noise");
        }
        stage.turn();
        stage.says("tnm", "+1", "echo one");
        stage.says("tester", "+1", "echo two");
        // Claimed by the first of these turns, run by the second, whose commit gives the answers out.
        stage.turn();
        let given = stage.turn();
        let mut given = texts(&given);
        given.sort_unstable();
        assert_eq!(given, ["one", "two"]);
        assert!(stage.store().waiting(Direction::In) > flood / 2);
    }

    /// P6: one person's messages are handled one after the other, whatever else goes on.
    fn p6_order_within_a_connection(stage) {
        for n in 0..5 {
            for identity in ["+1", "+2", "+3"] {
                stage.says("tnm", identity, &format!("echo {identity} {n}"));
            }
            if n == 2 {
                stage.turn();
            }
        }
        stage.flows();
        for identity in ["+1", "+2", "+3"] {
            let expected: Vec<_> = (0..5).map(|n| format!("echo {identity} {n}")).collect();
            let asked: Vec<_> = stage.asked().into_iter().filter(|text| text.contains(identity)).collect();
            assert_eq!(asked, expected);
            let replies: Vec<_> =
                stage.rows(Direction::Out).into_iter().filter(|row| row.identity == identity).collect();
            assert!(replies.iter().zip(0..).all(|(row, n)| row.text == format!("{identity} {n}")));
            assert!(replies.is_sorted_by_key(|row| row.id));
        }
    }

    fn replies_leave_in_the_order_in_which_they_were_made(stage) {
        stage.says("tnm", "+1", "twice hello");
        let given = stage.turns();
        assert_eq!(texts(&given), ["hello 1"], "the second waits for the first, although the window is wider");
        stage.tells(&given[0], Ok(Receipt::default()));
        assert_eq!(texts(&stage.turns()), ["hello 2"]);
    }

    fn a_reply_can_go_elsewhere(stage) {
        let id = stage.says("zain", "+1", "to tnm +9 hello");
        let given = stage.flows();
        assert_eq!((texts(&given), &given[0].connection), (vec!["hello"], &Connection::new("tnm", "+9")));
        assert_eq!(given[0].in_response_to, Some(id));
        stage.says("zain", "+1", "send tnm +8 news");
        assert_eq!(stage.flows()[0].connection, Connection::new("tnm", "+8"));
        stage.says("zain", "+1", "to nowhere +9 hello");
        stage.says("zain", "+1", &format!("to tnm {} hello", "9".repeat(300)));
        stage.says("zain", "+1", "echo still here");
        assert_eq!(texts(&stage.flows()), ["still here"]);
        assert_eq!(
            stage.out()[2..4],
            [
                "hello: failed (no backend named \"nowhere\" is configured)",
                "hello: failed (the identity has 300 octets; at most 256 characters are possible)"
            ]
        );
    }

    /// A reply to a backend that went away in between is kept until its validity ends, and hinders nobody.
    fn a_reply_to_a_backend_that_is_gone(stage) {
        stage.says("zain", "+1", "echo hello");
        stage.backend_down("zain");
        stage.turns();
        stage.remove_backend("zain");
        assert_eq!(texts(&stage.flows()), [] as [&str; 0]);
        assert_eq!(stage.out(), ["hello: queued"]);
        assert_eq!(
            refusal(stage.hears(&Incoming::new(Connection::new("zain", "+1"), "x"))).0,
            Refusal::UnknownBackend
        );
        stage.wait(48 * HOUR).turns();
        assert_eq!(stage.out(), ["hello: expired (its validity ended before it could be sent)"]);
    }

    fn an_app_may_cancel_what_leaves(stage) {
        stage.says("zain", "+1", "cancel this");
        let now = stage.now;
        let draft = Draft::new(Connection::new("zain", "+1"), "cancel that");
        stage.submit(draft, "api", None, now).unwrap();
        assert_eq!(stage.flows(), []);
        let reason = "cancelled (nobody wants to read this)";
        assert_eq!(stage.out(), [format!("cancel that: {reason}"), format!("cancel this: {reason}")]);
    }

    fn an_app_that_panics_costs_its_own_reply_only(stage) {
        let id = stage.says("zain", "+1", "panic oh no");
        stage.says("zain", "+1", "echo hello");
        assert_eq!(texts(&stage.flows()), ["hello"]);
        assert_eq!(stage.state(id), State::Failed);
        assert_eq!(stage.reason(id), "app obedient panicked: oh no (phase handle)");
        assert_eq!(stage.counters().app_failures, 1);
    }

    /// Test traffic does not leave by a real line, unless that line allows it.
    fn test_traffic_stays_within(stage) {
        stage.says("tester", "+1", "to zain +9 surprise");
        stage.says("tester", "+1", "send zain +9 news");
        stage.says("tester", "+1", "echo hello");
        stage.says("zain", "+1", "to tester +9 shown");
        let mut given = stage.flows();
        given.sort_by_key(|outgoing| outgoing.id);
        assert_eq!(texts(&given), ["shown", "hello"]);
        assert_eq!((given[0].origin, given[1].origin), (Origin::Real, Origin::Test));
        let cancelled: Vec<_> = stage.out().into_iter().filter(|line| line.contains("cancelled")).collect();
        assert_eq!(cancelled, ["surprise: cancelled (test traffic)", "news: cancelled (test traffic)"]);
        stage.rule("zain", BackendPolicy { allow_test_traffic: true, ..BackendPolicy::real() });
        stage.says("tester", "+1", "to zain +9 rehearsal");
        assert_eq!(texts(&stage.flows()), ["rehearsal"]);
        let now = stage.now;
        stage.submit(Draft::new(Connection::new("tester", "+1"), "hi"), "api", None, now).unwrap();
        assert_eq!(stage.flows()[0].origin, Origin::Test);
    }

    /// Programs that send: the same key is the same message, once.
    fn idempotency_keys(stage) {
        let now = stage.now;
        let draft = || Draft::new(Connection::new("zain", "+1"), "hello");
        let first = stage.submit(draft(), "api", Some(("k", b"one")), now).unwrap();
        assert_eq!(stage.submit(draft(), "api", Some(("k", b"one")), now).unwrap(), first);
        stage.flows();
        let almost = now + (KEY_TIME - seconds(1));
        assert_eq!(stage.submit(draft(), "api", Some(("k", b"one")), almost).unwrap(), first);
        let (kind, reason) = refusal(stage.submit(draft(), "api", Some(("k", b"two")), almost));
        assert_eq!(kind, Refusal::Conflict);
        assert_eq!(reason, "this idempotency key was used for another message; use a new key for a new message");
        let second = stage.submit(draft(), "api", Some(("k", b"two")), now + KEY_TIME).unwrap();
        stage.now = now + KEY_TIME;
        stage.flows();
        assert_ne!(second, first);
        assert_eq!(stage.out(), ["hello: sent", "hello: sent"]);
        assert_eq!(stage.detail(first).history[0].actor, "api");
    }

    /// Two machines that answer each other are stopped, soon and for good; people are not.
    fn two_machines_that_answer_each_other(stage) {
        let peer = Connection::new("zain", "+1");
        let mut text = "echo echo echo echo echo echo echo echo".to_string();
        let mut rounds = 0;
        while rounds < 100 {
            stage.says("zain", "+1", &format!("echo {text}"));
            match stage.flows().pop() {
                // The other machine repeats what we said, with a word of its own before it.
                Some(reply) => text = reply.text,
                None => break,
            }
            rounds += 1;
        }
        assert_eq!(rounds, 3, "three repetitions within a minute are answered, the fourth is not");
        let last = stage.rows(Direction::Out).pop().unwrap();
        assert_eq!(last.state, State::Cancelled);
        assert_eq!(last.reason.as_deref(), Some("loop guard: the other side repeats us or itself, 3 times within 60 s"));
        assert_eq!(stage.counters().loops, 1);
        // Another person is answered meanwhile, and so is a message that answers nothing.
        stage.says("zain", "+2", "echo hello");
        let now = stage.now;
        stage.submit(Draft::new(peer.clone(), "an alarm"), "api", None, now).unwrap();
        assert_eq!(stage.flows().len(), 2);
        // A minute of silence ends the quarrel.
        stage.wait(seconds(61)).says("zain", "+1", "echo again");
        assert_eq!(texts(&stage.flows()), ["again"]);
    }

    fn testers_may_repeat_themselves(stage) {
        for _ in 0..40 {
            stage.says("tester", "+1", "echo hello");
        }
        assert_eq!(stage.flows().len(), 40);
        for _ in 0..4 {
            stage.says("zain", "+1", "echo hello");
        }
        assert_eq!(stage.flows().len(), 3);
        stage.rule("zain", BackendPolicy { loop_guard: false, ..BackendPolicy::real() });
        stage.says("zain", "+1", "echo hello");
        assert_eq!(stage.flows().len(), 1);
    }
}

/// Two routers whose apps answer everything, each the other's only correspondent.
#[test]
fn two_routers_talk_until_the_guard_ends_it() {
    let mut sides = [Stage::memory(), Stage::memory()];
    let mut post = vec![(0, "echo a word".to_string())];
    let mut delivered = 0;
    let mut said: HashMap<String, usize> = HashMap::new();
    while let Some((side, text)) = post.pop() {
        delivered += 1;
        assert!(delivered < 200, "they never stop");
        *said.entry(text.clone()).or_default() += 1;
        sides[side].says("zain", "+1", &text);
        // Each machine begins its answer as the other one's app likes it.
        let answers = sides[side].flows();
        post.extend(answers.into_iter().map(|answer| (1 - side, format!("echo {}", answer.text))));
    }
    let loops: u64 = sides.iter().map(|side| side.counters().loops).sum();
    assert_eq!(loops, 1, "{said:?}");
    assert!(delivered <= 9, "{delivered} messages for one word");
}

/// The threadless router is a value: nothing of it runs by itself, and it can be moved to any thread.
#[test]
fn a_router_is_a_value() {
    fn is_send<T: Send>() {}
    is_send::<Router>();
}
