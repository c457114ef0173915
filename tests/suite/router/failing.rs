//! A store that fails and heals. The promise: whatever fails and whatever a failed commit left on disk, nothing acknowledged is
//! lost, no app is asked twice about what it decided, and nothing leaves twice.

use super::stage::*;
use rapidsms::message::*;
use rapidsms::router::{CallOutcome, Refusal};
use rapidsms::time::Timestamp;
use std::collections::BTreeSet;

/// What waits outside of the router until it is acknowledged: sources keep what was not committed, and deliver it again.
struct World {
    deliveries: Vec<Incoming>,
    submissions: Vec<(String, Draft)>,
    reports: Vec<Report>,
    /// Everything that was ever given to a backend.
    given: Vec<Outgoing>,
    /// Outcomes that the backends have not told yet.
    outcomes: Vec<Outgoing>,
    answered: Vec<MessageId>,
    /// Every URL that was ever given out to be called, and the calls that did not come back yet.
    called: BTreeSet<String>,
    calling: Vec<i64>,
}

impl World {
    /// One exchange of every kind; `tag` keeps its people and keys apart from those of another.
    fn new(tag: &str) -> World {
        let incoming = |identity: &str, text: &str, key: &str| Incoming {
            redelivery_key: Some(format!("{tag} {key}")),
            ..Incoming::new(Connection::new("tnm", format!("{tag} {identity}")), text)
        };
        let draft = |identity: &str, text: &str| {
            Draft::new(Connection::new("tnm", format!("{tag} {identity}")), text)
        };
        let called = |identity: &str, text: &str| Draft {
            callback: Some(Callback::new("http://peer/%I/%d/%A", 31)),
            ..draft(identity, text)
        };
        World {
            deliveries: vec![
                incoming("1", "twice a", "1"),
                incoming("1", "echo b", "2"),
                incoming("2", "later", "3"),
                incoming("3", &format!("to zain {tag} c"), "4"),
                incoming("4", "cancel this", "5"),
            ],
            submissions: vec![
                ("k1".into(), called("5", "refused once")),
                ("k2".into(), draft("5", "behind")),
            ],
            reports: Vec::new(),
            given: Vec::new(),
            outcomes: Vec::new(),
            answered: Vec::new(),
            called: BTreeSet::new(),
            calling: Vec::new(),
        }
    }

    /// One batch: what the world has to say, a step, a commit; and what the world makes of the result.
    fn turn(&mut self, stage: &mut Stage, tag: &str) {
        let now = stage.now;
        for outgoing in self.outcomes.drain(..) {
            let result = match outgoing.text.as_str() {
                "refused once" if outgoing.attempt == 1 => temporary(),
                "c" => named(&format!("{tag} c")),
                _ => Ok(Receipt::default()),
            };
            if outgoing.text == "c" {
                self.reports.push(Report {
                    backend: "zain".into(),
                    about: About::Remote(format!("{tag} c")),
                    verdict: Verdict::Delivered,
                    note: None,
                });
            }
            stage.sent(outgoing.id, result, now);
        }
        for number in self.calling.drain(..) {
            stage.called(number, CallOutcome::Done, now);
        }
        let owed: Vec<_> = stage.journal().seen.iter().filter(|seen| seen.text == "later").cloned().collect();
        for seen in owed {
            if seen.from.identity.starts_with(tag) && !self.answered.contains(&seen.id) {
                self.answered.push(seen.id);
                stage.answers(seen.id, "obedient", "d");
            }
        }
        let delivered =
            self.deliveries.iter().map(|delivery| stage.hears(delivery).is_ok()).collect::<Vec<_>>();
        let submit = |(key, draft): &(String, Draft)| {
            let key = format!("{tag} {key}");
            stage.submit(draft.clone(), "api", Some((key.as_str(), b"")), now).is_ok()
        };
        let submitted = self.submissions.iter().map(submit).collect::<Vec<_>>();
        let unknown = stage.counters().unknown_reports;
        let reported =
            self.reports.iter().map(|report| stage.report(report, now).is_ok()).collect::<Vec<_>>();
        // When a commit only seemed to fail, the report is on disk, and a repetition has nothing left to tell.
        let told = stage.out().contains(&"c: delivered".to_string());
        let premature = stage.counters().unknown_reports > unknown && !told;
        stage.step(now);
        if let Ok(given) = stage.commit(now) {
            retain_unacknowledged(&mut self.deliveries, &delivered);
            retain_unacknowledged(&mut self.submissions, &submitted);
            // A carrier whose report is not understood yet tells it again.
            retain_unacknowledged(
                &mut self.reports,
                &reported.iter().map(|ok| *ok && !premature).collect::<Vec<_>>(),
            );
            self.given.extend(given.iter().cloned());
            self.outcomes = given;
            for call in stage.calls() {
                self.calling.push(call.number);
                self.called.insert(call.url);
            }
        }
    }

    /// Goes on until the world is content and the router has nothing left to do.
    fn ends(&mut self, stage: &mut Stage, tag: &str) {
        for _ in 0..200 {
            self.turn(stage, tag);
            let now = stage.now;
            let content = self.deliveries.is_empty()
                && self.submissions.is_empty()
                && self.reports.is_empty()
                && self.outcomes.is_empty()
                && self.calling.is_empty();
            match stage.wake_at(now) {
                None if content => return,
                Some(at) if at > now => stage.now = at,
                _ => {}
            }
        }
        panic!("the exchange never ends: {:?}", stage.out());
    }

    /// The promise, for one exchange.
    fn holds(&self, stage: &Stage, tag: &str) {
        let belongs = |identity: &str| identity.starts_with(tag);
        let mut asked: Vec<_> = stage.journal().seen.clone();
        asked.retain(|seen| belongs(&seen.from.identity));
        let mut texts: Vec<_> = asked.iter().map(|seen| seen.text.as_str()).collect();
        texts.sort();
        let forwarded = format!("to zain {tag} c");
        let mut expected = ["twice a", "echo b", "later", forwarded.as_str(), "cancel this"];
        expected.sort();
        assert_eq!(texts, expected, "an app was asked twice, or never");
        for row in stage.rows(Direction::In).into_iter().filter(|row| belongs(&row.identity)) {
            assert!(matches!(row.state, State::Handled | State::Duplicate), "{}: {}", row.text, row.state);
        }
        let out = stage.rows(Direction::Out).into_iter().filter(|row| belongs(&row.identity));
        let mut out: Vec<_> =
            out.map(|row| format!("{}: {} {}", row.text, row.state, row.attempts)).collect();
        out.sort();
        let expected = [
            "a 1: sent 1",
            "a 2: sent 1",
            "b: sent 1",
            "behind: sent 1",
            "c: delivered 1",
            "cancel this: cancelled 0",
            "d: sent 1",
            "refused once: sent 2",
        ];
        assert_eq!(out, expected);
        // Perhaps called twice, but then by the same name.
        let mut news: Vec<_> = self.called.iter().filter_map(|url| url.split('/').nth(4)).collect();
        news.sort();
        assert_eq!(news, ["4", "8"], "{:?}", self.called);
        assert_eq!(stage.store.with(|store| store.waiting_calls()), 0);
        assert_eq!(self.given.len(), 8, "something left twice: {:?}", self.given);
        let order: Vec<_> = self.given.iter().map(|given| given.text.as_str()).collect();
        let place = |text: &str| order.iter().position(|given| *given == text);
        assert!(place("a 1") < place("a 2") && place("a 2") < place("b"), "{order:?}");
    }
}

fn retain_unacknowledged<T>(waiting: &mut Vec<T>, acknowledged: &[bool]) {
    let mut acknowledged = acknowledged.iter();
    waiting.retain(|_| !acknowledged.next().copied().unwrap_or(false));
}

/// Fails the `k`th call for every `k` through the whole exchange, each time with fresh people on the same store.
fn every_call(stage: &mut Stage, leaves: Leaves, ill: u32, commits_only: bool) {
    let mut k = 0;
    loop {
        k += 1;
        assert!(k < 2_000, "the exchange never gets through unharmed");
        let tag = format!("k{k}");
        let mut world = World::new(&tag);
        if commits_only {
            stage.store.fail_the_commit(k, leaves, ill);
        } else {
            stage.store.fail(k, leaves, ill);
        }
        world.ends(stage, &tag);
        world.holds(stage, &tag);
        if !stage.store.has_failed() {
            assert!(k > 5, "the exchange needs more calls than {k}");
            stage.store.fail_never();
            return stage.assert_conserved();
        }
        stage.wait(HOUR);
    }
}

#[test]
fn p1_every_commit_fails_once_and_is_on_disk_all_the_same() {
    every_call(&mut Stage::memory(), Leaves::All, 1, true);
    every_call(&mut Stage::memory(), Leaves::All, 4, true);
}

#[test]
fn p1_every_call_fails_once_and_nothing_of_its_transaction_is_left() {
    every_call(&mut Stage::sqlite(), Leaves::Nothing, 1, false);
}

#[test]
fn p1_every_commit_fails_once_on_disk() {
    every_call(&mut Stage::sqlite(), Leaves::All, 2, true);
    every_call(&mut Stage::sqlite(), Leaves::Nothing, 3, true);
}

/// A failure in the first moments of a router, when it takes over what another left.
#[test]
fn a_store_that_fails_at_the_start() {
    for k in 1..12 {
        let mut stage = Stage::sqlite();
        stage.says("zain", "+1", "echo hello");
        stage.says("zain", "+2", "later");
        stage.turns();
        stage.crash();
        stage.store.fail(k, Leaves::Nothing, 1);
        for _ in 0..20 {
            let now = stage.now;
            stage.step(now);
            let _ = stage.commit(now);
            stage.wait(seconds(1));
        }
        assert_eq!(stage.asked(), ["echo hello", "later", "later"], "k = {k}");
        let row = stage.rows(Direction::Out).remove(0);
        assert_eq!((row.state, row.attempts), (State::Sending, 2), "k = {k}");
        assert_eq!(stage.counters().uncertain, 1, "k = {k}");
    }
}

/// P12: while the store is ill nothing is acknowledged, the router does not spin, and what it learns meanwhile is not forgotten.
#[test]
fn p12_what_is_learned_while_the_store_is_ill_is_kept() {
    for leaves in [Leaves::Nothing, Leaves::All] {
        let mut stage = Stage::sqlite();
        let slow = stage.says("tnm", "+1", "later");
        for n in 2..5 {
            stage.says("tnm", &format!("+{n}"), &format!("echo {n}"));
        }
        let given = stage.turns();
        assert_eq!(given.len(), 3);
        stage.says("zain", "+9", "echo not acknowledged");
        stage.store.fail_commit(leaves, 5);
        let now = stage.now;
        stage.step(now);
        assert!(stage.commit(now).is_err());
        assert!(stage.trouble().is_some());

        // All of this happens between two looks at the store, each in a batch of its own.
        let learn = |stage: &mut Stage, what: &dyn Fn(&mut Stage, Timestamp)| {
            let now = stage.wait(std::time::Duration::from_millis(10)).now;
            what(stage, now);
            stage.step(now);
            assert_eq!(stage.commit(now).unwrap_or_default(), []);
        };
        learn(&mut stage, &|stage, now| stage.sent(given[0].id, named("r1"), now));
        learn(&mut stage, &|stage, now| stage.sent(given[1].id, unsure(), now));
        learn(&mut stage, &|stage, _| stage.answers(slow, "obedient", "at last"));
        learn(&mut stage, &|stage, now| stage.sent(given[2].id, temporary(), now));
        let refused = stage.hears(&Incoming::new(Connection::new("zain", "+1"), "x")).unwrap_err();
        assert_eq!((refused.refusal, refused.is_temporary()), (Refusal::Store, true));
        assert_eq!(refused.reason, "the store failed: the disk said no");
        assert!(!stage.is_quiet());
        assert_eq!(stage.counters().failed_commits, 1);

        // Ill for some seconds, then well again; each look is one call and not one more.
        let mut looks = 0;
        while stage.trouble().is_some() {
            let now = stage.now;
            let at = stage.wake_at(now).expect("it must look again");
            stage.now = at.max(now);
            stage.turn();
            looks += 1;
            assert!(looks < 20, "the router spins");
        }
        stage.turns();
        let states: Vec<_> = given.iter().map(|outgoing| stage.state(outgoing.id)).collect();
        assert_eq!(states[0], State::Sent);
        assert!(matches!(states[1], State::Uncertain | State::Sending), "{}", states[1]);
        assert!(matches!(states[2], State::Queued | State::Sending), "{}", states[2]);
        assert_eq!(stage.state(slow), State::Handled);
        assert_eq!(stage.counters().uncertain, 1);
        assert_eq!(stage.asked().iter().filter(|text| *text == "later").count(), 1);
        let kept = usize::from(leaves == Leaves::All);
        assert_eq!(stage.asked().iter().filter(|text| text.ends_with("acknowledged")).count(), kept);
        stage.assert_conserved();
    }
}

/// P12: time that runs out while the store is ill does not make the router spin.
#[test]
fn p12_no_spinning_while_the_store_is_ill() {
    let mut stage = Stage::sqlite();
    stage.says("zain", "+1", "later");
    stage.turns();
    stage.wait(seconds(9)).store.fail_commit(Leaves::Nothing, 60);
    stage.says("zain", "+2", "echo hello");
    let now = stage.now;
    stage.step(now);
    assert!(stage.commit(now).is_err());
    let mut looks = 0;
    while stage.now < START + seconds(60) {
        let now = stage.now;
        stage.now = stage.wake_at(now).expect("it must look again").max(now);
        stage.turn();
        looks += 1;
        assert!(looks <= 120, "{looks} looks within a minute");
    }
    assert!(looks >= 20, "{looks} looks within a minute");
}
