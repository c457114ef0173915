//! Reports of carriers about messages in several parts, and who may report about what. Those about plain messages are in `sending`.

use super::stage::*;
use rapidsms::message::*;
use std::time::Duration;

/// A message of three parts, which the carrier named `names`.
fn sent(stage: &mut Stage, backend: &str, names: &[&str]) -> MessageId {
    let now = stage.now;
    let id = stage.submit(Draft::new(Connection::new(backend, "+9"), "long"), "api", None, now).unwrap();
    let given = stage.turns();
    let given = given.iter().find(|outgoing| outgoing.id == id).unwrap();
    let remote_ids = names.iter().map(|name| name.to_string()).collect();
    stage.tells(given, Ok(Receipt { remote_ids, parts: Some(3), note: None }));
    stage.turns();
    id
}

fn report(stage: &mut Stage, backend: &str, about: &str, verdict: Verdict, note: Option<&str>) {
    let now = stage.now;
    let about = About::Remote(about.into());
    let report = Report { backend: backend.into(), about, verdict, note: note.map(str::to_owned) };
    stage.report(&report, now).unwrap();
    stage.turns();
}

fn last_line(stage: &Stage, id: MessageId) -> String {
    let entry = stage.detail(id).history.pop().unwrap();
    format!("{}: {} ({})", entry.actor, entry.state, entry.reason.unwrap_or_default())
}

cases! {
    /// A gateway may call back before its own answer has arrived, which alone tells its name for the message.
    fn p18_a_report_that_is_quicker_than_the_answer(stage) {
        let now = stage.now;
        let submit = |stage: &mut Stage, number: &str| {
            stage.submit(Draft::new(Connection::new("zain", number), "x"), "api", None, now).unwrap()
        };
        let ids = [submit(stage, "+1"), submit(stage, "+2")];
        let given = stage.turns();
        report(stage, "zain", "first", Verdict::Delivered, None);
        report(stage, "tnm", "second", Verdict::Failed, None);
        assert_eq!(stage.counters().unknown_reports, 1, "tnm has nothing in hand");
        report(stage, "zain", "nobody's", Verdict::Failed, None);
        let named = |name: &str| Ok(Receipt { remote_ids: vec![name.into()], ..Receipt::default() });
        stage.tells(&given[0], named("first"));
        let given = stage.turns();
        stage.tells(&given[0], named("second"));
        stage.turns();
        assert_eq!(ids.map(|id| stage.state(id)), [State::Delivered, State::Sent]);
        assert_eq!(stage.counters().unknown_reports, 1);
        stage.now = stage.now + Duration::from_secs(3601);
        submit(stage, "+3");
        stage.turns();
        report(stage, "zain", "another's", Verdict::Failed, None);
        assert_eq!(stage.counters().unknown_reports, 2, "nobody's report is given up after an hour");
    }

    /// Delivered when every part is, over a restart, in any order, told twice or not.
    fn a_message_is_delivered_when_every_part_is(stage) {
        let id = sent(stage, "zain", &["7", "8", "9"]);
        report(stage, "zain", "9", Verdict::Delivered, None);
        assert_eq!((stage.state(id), last_line(stage, id).as_str()),
            (State::Sent, "report zain: sent (part 3 of 3: delivered)"));
        report(stage, "zain", "7", Verdict::Underway, Some("status 48"));
        assert_eq!(last_line(stage, id), "report zain: sent (part 1 of 3: status 48)");
        stage.crash();
        stage.turns();
        report(stage, "zain", "7", Verdict::Delivered, Some("status 0"));
        assert_eq!(last_line(stage, id), "report zain: sent (part 1 of 3: status 0)");
        report(stage, "zain", "9", Verdict::Delivered, None);
        assert_eq!(stage.state(id), State::Sent, "twice the same part");
        assert_eq!(stage.counters().unknown_reports, 1);
        report(stage, "zain", "8", Verdict::Delivered, Some("status 0"));
        assert_eq!((stage.state(id), stage.reason(id).as_str()), (State::Delivered, "status 0"));
        report(stage, "zain", "8", Verdict::Failed, None);
        assert_eq!(stage.state(id), State::Delivered);
        stage.assert_conserved();
    }

    /// A person who did not get one part did not get the message.
    fn one_failed_part_fails_the_message(stage) {
        let id = sent(stage, "zain", &["7", "8", "9"]);
        report(stage, "zain", "7", Verdict::Delivered, None);
        report(stage, "zain", "8", Verdict::Failed, Some("status 70: validity period expired"));
        assert_eq!(stage.state(id), State::Failed);
        assert_eq!(stage.reason(id), "part 2 of 3: status 70: validity period expired");
        let other = sent(stage, "zain", &["1", "2"]);
        report(stage, "zain", "1", Verdict::Failed, None);
        assert_eq!(stage.reason(other), "part 1 of 2: the carrier could not deliver it");
    }

    /// An 8-bit reference comes round after 256 parts: it means the newest message, and the older one keeps its other names.
    fn references_wrap(stage) {
        let old = sent(stage, "zain", &["255", "0"]);
        let new = sent(stage, "zain", &["0", "1"]);
        let elsewhere = sent(stage, "tnm", &["0"]);
        report(stage, "zain", "0", Verdict::Delivered, None);
        report(stage, "zain", "1", Verdict::Delivered, None);
        assert_eq!((stage.state(old), stage.state(new), stage.state(elsewhere)),
            (State::Sent, State::Delivered, State::Sent));
        report(stage, "zain", "0", Verdict::Delivered, None);
        report(stage, "zain", "255", Verdict::Delivered, None);
        assert_eq!(stage.state(old), State::Delivered);
        report(stage, "tnm", "0", Verdict::Delivered, None);
        assert_eq!(stage.state(elsewhere), State::Delivered);
        assert_eq!(stage.counters().unknown_reports, 0);
    }

    /// Only the backend of a message may report about it, also by our own id.
    fn nobody_reports_about_the_messages_of_others(stage) {
        let id = sent(stage, "zain", &["7"]);
        let received = stage.says("zain", "+1", "nothing");
        stage.flows();
        let now = stage.now;
        let by = |backend: &str, id| Report {
            backend: backend.into(), about: About::Id(id), verdict: Verdict::Failed, note: None,
        };
        stage.report(&by("tnm", id), now).unwrap();
        stage.report(&by("zain", received), now).unwrap();
        stage.turns();
        assert_eq!(last_line(stage, id), "router: sent (ignored a report by backend tnm: it goes by zain)");
        assert_eq!(stage.state(received), State::Handled);
        stage.report(&by("zain", id), now).unwrap();
        stage.turns();
        assert_eq!(stage.state(id), State::Failed);
    }
}
