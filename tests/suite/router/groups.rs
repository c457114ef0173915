//! Groups: who of several members sends, who stands in, what stays in order, and what the history says.

use super::stage::*;
use rapidsms::message::*;
use rapidsms::router::*;

const PREFIXED: &[(&str, &[&str])] = &[("zain", &["+25677", "25678"]), ("tnm", &["25678999"]), ("mtn", &[])];

/// A group `airtime` of `zain` (one message in hand), `tnm` (three) and what else is named, all up.
fn group(stage: &mut Stage, balance: Balance, members: &[(&'static str, &[&str])]) {
    let policy = GroupPolicy {
        name: "airtime".into(),
        members: members
            .iter()
            .map(|(backend, prefixes)| Member {
                backend: (*backend).into(),
                prefixes: prefixes.iter().map(|prefix| (*prefix).to_string()).collect(),
            })
            .collect(),
        balance,
        replies: false,
    };
    stage.policy.groups = vec![policy];
    let policy = stage.policy.clone();
    stage.set_policy(policy);
    if members.iter().any(|(name, _)| *name == "mtn") {
        stage.rule("mtn", BackendPolicy::real());
    }
}

fn queue(stage: &mut Stage, identity: &str, text: &str) -> MessageId {
    let now = stage.now;
    stage.submit(Draft::new(Connection::new("airtime", identity), text), "api", None, now).unwrap()
}

/// What was given out, as `member text`.
fn by(given: &[Outgoing]) -> Vec<String> {
    given.iter().map(|outgoing| format!("{} {}", outgoing.by, outgoing.text)).collect()
}

fn arrive(stage: &mut Stage, given: &[Outgoing]) {
    for outgoing in given {
        stage.tells(outgoing, Ok(Receipt::default()));
    }
}

cases! {
    fn members_take_one_after_the_other(stage) {
        group(stage, Balance::InTurn, &[("zain", &[]), ("tnm", &[])]);
        for n in 1..=6 {
            queue(stage, &format!("+{n}"), &n.to_string());
        }
        let given = stage.turns();
        assert_eq!(by(&given), ["zain 1", "tnm 2", "tnm 3", "tnm 4"], "as far as each has room");
        arrive(stage, &given);
        let given = stage.turns();
        assert_eq!(by(&given), ["zain 5", "tnm 6"]);
        assert!(given.iter().all(|outgoing| *outgoing.connection.backend == *"airtime"), "the group's name stays");
        arrive(stage, &given);
        stage.turns();
        let detail = stage.detail(given[0].id);
        assert_eq!(*detail.row.backend, *"airtime");
        let actors: Vec<_> = detail.history.iter().map(|entry| entry.actor.as_str()).collect();
        assert_eq!(actors, ["api", "backend zain", "backend zain"], "who took it stands in the history");
        let now = stage.now;
        assert_eq!(stage.wake_at(now), None);
        stage.assert_conserved();
    }

    fn the_least_busy_takes_it(stage) {
        group(stage, Balance::LeastBusy, &[("tnm", &[]), ("mtn", &[]), ("zain", &[])]);
        for n in 1..=5 {
            let now = stage.now;
            stage.submit(Draft::new(Connection::new("tnm", format!("+{n}")), format!("own {n}")), "api", None, now).unwrap();
        }
        assert_eq!(stage.turns().len(), 3);
        for n in 1..=4 {
            queue(stage, &format!("+{n}"), &n.to_string());
        }
        assert_eq!(by(&stage.turns()), ["mtn 1", "zain 2"]);
    }

    /// The first that works: being busy is no reason for others to stand in, being down or over a cap is.
    fn the_others_stand_in_for_the_first(stage) {
        group(stage, Balance::First, &[("zain", &[]), ("tnm", &[])]);
        for n in 1..=6 {
            queue(stage, &format!("+{n}"), &n.to_string());
        }
        let given = stage.turns();
        assert_eq!(by(&given), ["zain 1"]);
        stage.backend_down("zain");
        assert_eq!(by(&stage.turns()), ["tnm 2", "tnm 3", "tnm 4"]);
        stage.backend_up("zain");
        let now = stage.now;
        stage.sent(given[0].id, Ok(Receipt::default()), now);
        assert_eq!(by(&stage.turns()), ["zain 5"]);
    }

    fn who_is_over_a_cap_leaves_it_to_others(stage) {
        let caps = Caps { per_day: Some(2), ..Caps::default() };
        stage.rule("zain", BackendPolicy { caps, ..BackendPolicy::real() });
        group(stage, Balance::First, &[("zain", &[]), ("mtn", &[])]);
        for n in 1..=5 {
            queue(stage, &format!("+{n}"), &n.to_string());
        }
        assert_eq!(by(&stage.flows()), ["zain 1", "zain 2", "mtn 3", "mtn 4", "mtn 5"]);
        stage.crash();
        stage.rule("mtn", BackendPolicy { caps, ..BackendPolicy::real() });
        for n in 6..=9 {
            queue(stage, &format!("+{n}"), &n.to_string());
        }
        assert_eq!(by(&stage.flows()), ["mtn 6", "mtn 7"], "what was counted outlasts the process");
        let now = stage.now;
        assert!(stage.wake_at(now).is_some_and(|at| at > now));
        stage.wait(24 * HOUR);
        assert_eq!(by(&stage.flows()), ["zain 8", "zain 9"]);
    }

    fn a_rate_is_a_reason_to_wait_and_not_to_leave_it(stage) {
        let rate = Rate { min_gap: seconds(7), ..Rate::default() };
        stage.rule("zain", BackendPolicy { rate, ..BackendPolicy::real() });
        group(stage, Balance::First, &[("zain", &[]), ("mtn", &[])]);
        queue(stage, "+1", "1");
        queue(stage, "+2", "2");
        assert_eq!(by(&stage.flows()), ["zain 1"]);
        let now = stage.now;
        assert_eq!(stage.wake_at(now), Some(now + seconds(7)));
        stage.wait(seconds(7));
        assert_eq!(by(&stage.flows()), ["zain 2"]);
    }

    /// The longest prefix wins; the others stand in when nobody of that rank works.
    fn numbers_go_to_whose_prefix_is_longest(stage) {
        group(stage, Balance::InTurn, PREFIXED);
        for identity in ["+25677123", "25678999000", "+25678111", "+254700"] {
            queue(stage, identity, identity);
        }
        assert_eq!(by(&stage.turns()), ["mtn +254700", "zain +25677123", "tnm 25678999000"]);
        assert_eq!(stage.turns(), [], "zain is busy, and mtn is not for +25678");
        stage.backend_down("zain");
        assert_eq!(by(&stage.turns()), [] as [&str; 0], "mtn is busy");
        stage.backend_down("tnm");
        queue(stage, "25678999001", "second choice");
        let now = stage.now;
        let mtn: Vec<MessageId> = stage.rows(Direction::Out).iter().filter(|row| row.text == "+254700").map(|row| row.id).collect();
        stage.sent(mtn[0], Ok(Receipt::default()), now);
        let given = stage.turns();
        assert_eq!(by(&given), ["mtn +25678111"]);
        arrive(stage, &given);
        assert_eq!(by(&stage.turns()), ["mtn second choice"]);
    }

    /// A backlog for one prefix delays nobody else, and is found again when the settings name it no more.
    fn p7_isolation_a_blocked_prefix_delays_nobody(stage) {
        group(stage, Balance::InTurn, PREFIXED);
        stage.backend_down("zain");
        stage.backend_down("mtn");
        for n in 0..500 {
            queue(stage, &format!("+25677{n}"), "waits");
        }
        queue(stage, "25678999000", "passes");
        assert_eq!(by(&stage.turns()), ["tnm passes"], "who has no prefix of the number never takes it");
        stage.crash();
        stage.backend_down("mtn");
        stage.backend_down("zain");
        // Doubt about what was in hand.
        stage.turns();
        group(stage, Balance::InTurn, &[("zain", &[]), ("tnm", &[])]);
        assert_eq!(by(&stage.turns()), ["tnm waits"; 3], "the old queue is served by the new rules");
    }

    fn a_number_that_is_nobodys_fails_at_once(stage) {
        group(stage, Balance::InTurn, &PREFIXED[..2]);
        queue(stage, "+254700", "lost");
        stage.turns();
        assert_eq!(stage.out(), ["lost: failed (no member of group airtime sends to this number)"]);
    }

    /// A temporary failure is another member's chance, at once; when all have failed there is a pause.
    fn another_member_tries_what_one_failed_at(stage) {
        group(stage, Balance::First, &[("zain", &[]), ("tnm", &[])]);
        let id = queue(stage, "+1", "1");
        queue(stage, "+1", "2");
        let given = stage.turns();
        assert_eq!(by(&given), ["zain 1"]);
        stage.tells(&given[0], temporary());
        let given = stage.turns();
        assert_eq!((by(&given), given[0].attempt), (vec!["tnm 1".to_string()], 2), "and 2 stays behind it");
        stage.tells(&given[0], temporary());
        assert_eq!(stage.turns(), []);
        stage.wait(seconds(6));
        let given = stage.turns();
        assert_eq!(by(&given), ["zain 1"]);
        stage.tells(&given[0], unsure());
        stage.turns();
        assert_eq!(stage.state(id), State::Uncertain);
        stage.backend_down("tnm");
        stage.wait(HOUR / 10);
        assert_eq!(by(&stage.turns()), ["zain 1"], "alone, it tries again itself");
    }

    /// What a backend had in hand when it went down is another's; nothing is sent twice for it.
    fn what_was_not_tried_goes_to_another(stage) {
        group(stage, Balance::First, &[("zain", &[]), ("tnm", &[])]);
        queue(stage, "+1", "1");
        let given = stage.turns();
        stage.backend_down("zain");
        stage.tells(&given[0], Err(SendFailure::Untried("the modem went away".into())));
        let given = stage.turns();
        assert_eq!((by(&given), given[0].attempt), (vec!["tnm 1".to_string()], 1));
    }

    /// P6: order within a connection holds, whoever takes what.
    fn p6_order_holds_within_a_group(stage) {
        group(stage, Balance::InTurn, &[("zain", &[]), ("tnm", &[]), ("mtn", &[])]);
        for n in 1..=4 {
            queue(stage, "+1", &n.to_string());
        }
        let mut seen = Vec::new();
        loop {
            let given = stage.turns();
            assert!(given.len() <= 1, "one at a time");
            if given.is_empty() {
                break;
            }
            seen.extend(by(&given));
            arrive(stage, &given);
        }
        assert_eq!(seen, ["zain 1", "tnm 2", "mtn 3", "zain 4"]);
    }

    /// Reports come from the member, by its carrier's names, also to the next process.
    fn p18_reports_of_a_member_find_the_message(stage) {
        group(stage, Balance::InTurn, &[("zain", &[]), ("tnm", &[])]);
        let ids = [queue(stage, "+1", "1"), queue(stage, "+2", "2")];
        let given = stage.turns();
        for outgoing in &given {
            stage.tells(outgoing, named("17"));
        }
        stage.turns();
        stage.crash();
        stage.turns();
        let now = stage.now;
        let report = |backend: &str, about| Report { backend: backend.into(), about, verdict: Verdict::Delivered, note: None };
        stage.report(&report("tnm", About::Remote("17".into())), now).unwrap();
        stage.report(&report("tnm", About::Id(ids[0])), now).unwrap();
        stage.turns();
        assert_eq!((stage.state(ids[0]), stage.state(ids[1])), (State::Sent, State::Delivered));
        stage.report(&report("zain", About::Id(ids[0])), now).unwrap();
        stage.turns();
        assert_eq!(stage.state(ids[0]), State::Delivered);
    }

    /// P5: what a member had in hand when the process died is uncertain, counts for that member, and is sent once more at most.
    fn p5_doubt_belongs_to_the_member(stage) {
        let caps = Caps { per_day: Some(1), ..Caps::default() };
        stage.rule("zain", BackendPolicy { caps, ..BackendPolicy::real() });
        group(stage, Balance::First, &[("zain", &[]), ("tnm", &[])]);
        let id = queue(stage, "+1", "1");
        assert_eq!(by(&stage.turns()), ["zain 1"]);
        stage.crash();
        stage.turns();
        assert_eq!(stage.state(id), State::Uncertain);
        assert_eq!(stage.detail(id).history.last().map(|entry| entry.actor.clone()).as_deref(), Some("backend zain"));
        stage.wait(HOUR / 10);
        let given = stage.turns();
        assert_eq!(by(&given), ["tnm 1"], "zain spent its one");
        stage.tells(&given[0], unsure());
        stage.turns();
        assert_eq!(stage.state(id), State::Failed);
    }

    /// A reply leaves by the line on which the question came in, unless the group takes replies.
    fn replies_leave_by_their_line_or_by_any(stage) {
        group(stage, Balance::InTurn, &[("zain", &[]), ("tnm", &[])]);
        stage.says("zain", "+1", "echo a");
        let given = stage.flows();
        assert_eq!((by(&given), &*given[0].connection.backend), (vec!["zain a".to_string()], "zain"));
        stage.policy.groups[0].replies = true;
        let policy = stage.policy.clone();
        stage.set_policy(policy);
        stage.backend_down("zain");
        stage.says("zain", "+1", "echo b");
        let given = stage.flows();
        assert_eq!((by(&given), &*given[0].connection.backend), (vec!["tnm b".to_string()], "airtime"));
        stage.says("tester", "+1", "echo c");
        assert_eq!(by(&stage.flows()), ["tester c"], "it is no member");
        stage.says("zain", "+1", "to zain +1 d");
        stage.turns();
        // Machines that answer each other are noticed all the same.
        for _ in 0..4 {
            stage.says("zain", "+7", "echo echo");
            stage.flows();
        }
        assert_eq!(stage.counters().loops, 1);
    }

    /// Apps send to a group by its name; nothing comes in by it.
    fn a_group_is_for_sending_only(stage) {
        group(stage, Balance::InTurn, &[("tnm", &[])]);
        stage.says("zain", "+1", "send airtime +2 hello");
        assert_eq!(by(&stage.flows()), ["tnm hello"]);
        let refused = stage.hears(&Incoming::new(Connection::new("airtime", "+1"), "echo a")).unwrap_err();
        assert_eq!(refused.refusal, Refusal::UnknownBackend);
        stage.says("tester", "+1", "send airtime +2 a test");
        assert_eq!(stage.flows(), []);
        assert!(stage.out().contains(&"a test: cancelled (test traffic)".to_string()));
    }

    /// A member's own messages and its groups' take turns.
    fn neither_a_groups_flood_nor_a_members_own_starves_the_other(stage) {
        group(stage, Balance::InTurn, &[("zain", &[])]);
        let now = stage.now;
        for n in 0..4 {
            queue(stage, &format!("+{n}"), "shared");
            stage.submit(Draft::new(Connection::new("zain", format!("+{n}")), "own"), "api", None, now).unwrap();
        }
        let flow = stage.flows();
        let flow = texts(&flow);
        assert_eq!(flow.len(), 8);
        assert!(flow.windows(2).all(|two| two[0] != two[1]), "{flow:?}");
    }

    /// A commit that fails gives nothing out, whoever took it.
    fn a_failed_commit_gives_nothing_out(stage) {
        if !stage.forgets() {
            return;
        }
        group(stage, Balance::InTurn, &[("zain", &[]), ("tnm", &[])]);
        let id = queue(stage, "+1", "1");
        let now = stage.now;
        stage.commit(now).unwrap();
        stage.store.fail_commit(Leaves::Nothing, 1);
        stage.step(now);
        assert!(stage.commit(now).is_err());
        assert_eq!(stage.in_flight("zain"), 0);
        let mut given = Vec::new();
        for _ in 0..4 {
            given.extend(stage.wait(seconds(1)).turns());
        }
        assert_eq!(given.len(), 1);
        assert_eq!((given[0].id, given[0].attempt), (id, 1));
    }
}
