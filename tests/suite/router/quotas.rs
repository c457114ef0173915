//! Caps by day and month, and the rate: what is over them waits, and a restart forgets nothing.

use super::stage::*;
use rapidsms::message::*;
use rapidsms::router::{BackendPolicy, Caps, Rate};

fn queue(stage: &mut Stage, count: usize) {
    let now = stage.now;
    for n in 0..count {
        let draft = Draft::new(Connection::new("tnm", format!("+{n}")), format!("{n}"));
        stage.submit(draft, "api", None, now).unwrap();
    }
}

/// What goes out now, each message in so many parts.
fn flows_in_parts(stage: &mut Stage, parts: u32) -> usize {
    let mut count = 0;
    loop {
        let given = stage.turns();
        if given.is_empty() {
            return count;
        }
        count += given.len();
        for outgoing in given {
            stage.tells(&outgoing, Ok(Receipt { parts: Some(parts), ..Receipt::default() }));
        }
    }
}

fn capped(caps: Caps) -> BackendPolicy {
    BackendPolicy { window: 3, caps, ..BackendPolicy::real() }
}

const NEVER_OVER: &str = "it never goes over its cap";

cases! {
    /// What is over the cap of a day waits for the next, over crashes; other backends do not notice. It is 08:55:35.
    fn a_daily_cap_holds_until_it_resets(stage) {
        stage.rule("tnm", capped(Caps { per_day: Some(4), resets_at: 9 * HOUR, ..Caps::default() }));
        queue(stage, 10);
        assert_eq!(stage.flows().len(), 4);
        assert_eq!(
            stage.capped("tnm"),
            Some("the daily cap of 4 is reached; it goes on at 2026-11-22T09:00:00.000Z")
        );
        stage.crash();
        assert_eq!(stage.flows(), [], "{NEVER_OVER}");
        assert!(stage.capped("tnm").is_some());
        stage.says("zain", "+1", "echo hello");
        assert_eq!(texts(&stage.flows()), ["hello"]);
        let now = stage.now;
        assert_eq!(stage.wake_at(now).map(|at| at.since(now)), Some(seconds(30)), "the next sweep comes first");
        stage.wait(seconds(264));
        assert_eq!(stage.flows(), []);
        stage.wait(seconds(1));
        assert_eq!(stage.flows().len(), 4, "a new day");
        assert!(stage.capped("tnm").is_some());
        stage.wait(24 * HOUR);
        assert_eq!(stage.flows().len(), 2);
        assert_eq!(stage.capped("tnm"), None);
        stage.assert_conserved();
    }

    /// Parts count, where they are known; doubt counts; what did not leave does not.
    fn what_may_have_left_counts_in_parts(stage) {
        stage.rule("tnm", capped(Caps { per_day: Some(9), ..Caps::default() }));
        queue(stage, 2);
        assert_eq!(flows_in_parts(stage, 3), 2);
        queue(stage, 3);
        let given = stage.turns();
        assert_eq!(given.len(), 3, "six are spent");
        stage.tells(&given[0], temporary());
        stage.tells(&given[1], unsure());
        stage.tells(&given[2], Err(SendFailure::Permanent("CMS 28".into())));
        stage.wait(HOUR / 10);
        assert_eq!(stage.turns().len(), 2, "seven are spent");
        assert_eq!(stage.capped("tnm"), None, "it is full of what is under way, which may still fail");
    }

    /// A report may be faster than the answer of the modem; the message left all the same.
    fn what_was_reported_early_counts(stage) {
        stage.rule("tnm", capped(Caps { per_day: Some(1), ..Caps::default() }));
        queue(stage, 2);
        let given = stage.turns();
        let now = stage.now;
        let about = About::Id(given[0].id);
        stage.report(&Report { backend: "tnm".into(), about, verdict: Verdict::Delivered, note: None }, now).unwrap();
        stage.tells(&given[0], Ok(Receipt::default()));
        assert_eq!(stage.turns(), [], "{NEVER_OVER}");
    }

    /// The month has its own count.
    fn a_monthly_cap_outlasts_days(stage) {
        stage.rule("tnm", capped(Caps { per_day: Some(3), per_month: Some(5), resets_on: 24, ..Caps::default() }));
        queue(stage, 9);
        assert_eq!(stage.flows().len(), 3);
        stage.wait(16 * HOUR);
        assert_eq!(stage.flows().len(), 2);
        assert_eq!(
            stage.capped("tnm"),
            Some("the monthly cap of 5 is reached; it goes on at 2026-11-24T00:00:00.000Z")
        );
        stage.wait(24 * HOUR);
        assert_eq!(stage.flows().len(), 3, "it is the 24th");
        // Another rule holds from now on.
        stage.rule("tnm", capped(Caps::default()));
        assert_eq!(stage.flows().len(), 1);
    }

    /// So many in a minute, and so long from one to the next.
    fn a_rate_spreads_what_is_sent(stage) {
        let rate = Rate { per_minute: Some(2), ..Rate::default() };
        stage.rule("tnm", BackendPolicy { rate, ..capped(Caps::default()) });
        queue(stage, 5);
        assert_eq!(stage.flows().len(), 2);
        assert_eq!(stage.capped("tnm"), None, "that is no news");
        assert_eq!(stage.wait(seconds(24)).flows(), []);
        assert_eq!(stage.wait(seconds(1)).flows().len(), 2, "08:56:00");
        let rate = Rate { min_gap: seconds(7), ..Rate::default() };
        stage.rule("tnm", BackendPolicy { rate, ..capped(Caps::default()) });
        queue(stage, 2);
        assert_eq!(stage.flows(), []);
        for _ in 0..3 {
            stage.wait(seconds(6));
            assert_eq!(stage.turns(), []);
            let now = stage.now;
            assert_eq!(stage.wake_at(now).map(|at| at.since(now)), Some(seconds(1)));
            stage.wait(seconds(1));
            assert_eq!(stage.flows().len(), 1);
        }
    }

    /// A commit that fails, or only seems to, counts nothing twice and forgets nothing.
    fn p5_once_out_a_failed_commit_counts_once(stage) {
        stage.rule("tnm", capped(Caps { per_day: Some(2), ..Caps::default() }));
        queue(stage, 3);
        let all_or_nothing = if stage.forgets() { [Leaves::Nothing, Leaves::All] } else { [Leaves::All; 2] };
        let mut given = stage.turns();
        for leaves in all_or_nothing {
            let outgoing = given.pop().unwrap();
            stage.tells(&outgoing, Ok(Receipt::default()));
            stage.store.fail_commit(leaves, 1);
            let now = stage.now;
            stage.step(now);
            assert!(stage.commit(now).is_err());
            stage.wait(seconds(1));
            given.extend(stage.turns());
        }
        assert_eq!(given, [], "{NEVER_OVER}");
        assert_eq!(stage.out().iter().filter(|line| line.ends_with(": sent")).count(), 2);
        stage.wait(24 * HOUR);
        assert_eq!(stage.flows().len(), 1);
    }
}
