//! Programs that want to hear what becomes of their messages: which news are told, once each, for how long, and what one peer costs another.

use super::stage::*;
use rapidsms::message::*;
use rapidsms::router::{CALL_TIME, CallOutcome, Policy, Refusal};
use rapidsms::store::Call;
use rapidsms::time::Timestamp;
use std::collections::BTreeSet;

const EVERYTHING: u8 = 31;

/// A message about which `url` wants to hear everything.
fn draft(identity: &str, url: &str) -> Draft {
    let callback = Some(Callback::new(url, EVERYTHING));
    Draft { callback, ..Draft::new(Connection::new("tnm", identity), "hello") }
}

fn submit(stage: &mut Stage, draft: Draft) -> MessageId {
    let now = stage.now;
    stage.submit(draft, "api", None, now).unwrap()
}

/// Sends one message and gives it out.
fn sends(stage: &mut Stage, url: &str) -> Outgoing {
    submit(stage, draft("+1", url));
    stage.turns().remove(0)
}

fn reports(stage: &mut Stage, id: MessageId, verdict: Verdict, note: &str) {
    let now = stage.now;
    let note = Some(note).filter(|note| !note.is_empty()).map(str::to_string);
    stage.report(&Report { backend: "tnm".into(), about: About::Id(id), verdict, note }, now).unwrap();
}

/// The calls that are given out now.
fn calls(stage: &mut Stage) -> Vec<Call> {
    stage.turns();
    stage.calls()
}

/// Makes every call that is due, until none is; returns the URLs.
fn rings(stage: &mut Stage) -> Vec<String> {
    let mut urls = Vec::new();
    loop {
        let calls = calls(stage);
        if calls.is_empty() {
            return urls;
        }
        for call in calls {
            ends(stage, &call, CallOutcome::Done);
            urls.push(call.url);
        }
    }
}

fn ends(stage: &mut Stage, call: &Call, outcome: CallOutcome) {
    let now = stage.now;
    stage.called(call.number, outcome, now);
}

fn refused() -> CallOutcome {
    CallOutcome::Failed { answered: true, why: "it answered 500".into() }
}

fn unreached() -> CallOutcome {
    CallOutcome::Failed { answered: false, why: "nobody is there".into() }
}

fn waiting(stage: &Stage) -> u64 {
    stage.store.with(|store| store.waiting_calls())
}

/// Until the router next wants to do something.
fn waits(stage: &mut Stage) -> Timestamp {
    let now = stage.now;
    stage.wake_at(now).expect("something is due some day")
}

cases! {
    /// Taken, under way, delivered: each told once, with what is known by then; the same by the carrier's name.
    fn each_news_is_told_once_and_in_order(stage) {
        let sent = sends(stage, "http://peer/%d?a=%A&f=%F&p=%p&i=%i&T=%T");
        stage.tells(&sent, named("r1"));
        reports(stage, sent.id, Verdict::Underway, "the phone is off");
        stage.wait(seconds(5));
        reports(stage, sent.id, Verdict::Underway, "still");
        reports(stage, sent.id, Verdict::Delivered, "DELIVRD");
        reports(stage, sent.id, Verdict::Failed, "too late");
        assert_eq!(rings(stage), [
            "http://peer/8?a=ACK%2F&f=r1&p=%2B1&i=tnm&T=1795337735",
            "http://peer/4?a=the%20phone%20is%20off&f=r1&p=%2B1&i=tnm&T=1795337735",
            "http://peer/1?a=DELIVRD&f=r1&p=%2B1&i=tnm&T=1795337740",
        ]);
        assert_eq!(waiting(stage), 0);
        assert_eq!(stage.state(sent.id), State::Delivered);
    }

    /// The mask says what is told. What it does not name happens all the same.
    fn only_what_was_asked_for_is_told(stage) {
        for (mask, expected) in [(1, &["/1"][..]), (2, &[]), (8, &["/8"]), (9, &["/8", "/1"]), (16, &[]), (0, &[])] {
            let callback = Some(Callback::new("http://peer/%d", mask));
            submit(stage, Draft { callback, ..draft("+1", "") });
            let sent = stage.turns().remove(0);
            stage.tells(&sent, Ok(Receipt::default()));
            reports(stage, sent.id, Verdict::Delivered, "");
            let urls: Vec<_> = rings(stage).iter().map(|url| url.replace("http://peer", "")).collect();
            assert_eq!(urls, expected, "{mask}");
        }
    }

    /// A carrier that says no has never had the message; one that took it and could not deliver it had. A wait is told once, however often it is tried.
    fn what_failed_is_refused_or_failed(stage) {
        let sent = sends(stage, "http://peer/%d/%A");
        stage.tells(&sent, Err(SendFailure::Permanent("no such number".into())));
        assert_eq!(rings(stage), ["http://peer/16/NACK%2Fno%20such%20number"]);

        let sent = sends(stage, "http://peer/%d/%A");
        stage.tells(&sent, temporary());
        stage.wait(seconds(60));
        let again = stage.turns().remove(0);
        stage.tells(&again, temporary());
        stage.wait(seconds(60));
        let again = stage.turns().remove(0);
        stage.tells(&again, Ok(Receipt::default()));
        reports(stage, sent.id, Verdict::Failed, "no such subscriber");
        assert_eq!(rings(stage), [
            "http://peer/4/CMS%20331%3A%20no%20network%20service",
            "http://peer/8/ACK%2F",
            "http://peer/2/no%20such%20subscriber",
        ]);

        // Twice in doubt: it may have arrived, so it was not refused.
        let sent = sends(stage, "http://peer/%d");
        stage.tells(&sent, unsure());
        stage.wait(seconds(60));
        let again = stage.turns().remove(0);
        stage.tells(&again, unsure());
        assert_eq!(rings(stage), ["http://peer/4", "http://peer/2"]);
    }

    /// What ends without having been sent is told, too: by its validity, by a person, and by a rule before it was queued.
    fn what_never_leaves_is_told(stage) {
        stage.backend_down("tnm");
        let expires = submit(stage, Draft { validity: Some(seconds(40)), ..draft("+1", "http://peer/%d/%A") });
        let cancelled = submit(stage, draft("+2", "http://peer/%d/%A"));
        let now = stage.now;
        assert!(stage.decide_by_hand(cancelled, State::Cancelled, "person", now).unwrap());
        assert_eq!(rings(stage), ["http://peer/2/cancelled%20by%20hand"]);
        stage.turns();
        stage.wait(seconds(100));
        assert_eq!(rings(stage), ["http://peer/2/its%20validity%20ended%20before%20it%20could%20be%20sent"]);
        assert_eq!(stage.state(expires), State::Expired);
        let test = Draft { origin: Origin::Test, ..draft("+3", "http://peer/%d/%A") };
        submit(stage, test);
        assert_eq!(rings(stage), ["http://peer/16/NACK%2Ftest%20traffic"]);
    }

    /// An app's reply may have one as well; one that cannot be used costs the callback and not the reply.
    fn wrong_callbacks_and_parts_are_refused(stage) {
        let now = stage.now;
        for url in ["", "nowhere", "http://a b/", &format!("http://a/{}", "x".repeat(9_000))] {
            let refused = stage.submit(draft("+1", url), "api", None, now).unwrap_err();
            assert_eq!(refused.refusal, Refusal::Invalid, "{url}");
        }
        for part in [
            Piece { reference: 256, bits: 8, total: 2, sequence: 1 },
            Piece { reference: 1, bits: 7, total: 2, sequence: 1 },
            Piece { reference: 1, bits: 16, total: 2, sequence: 3 },
            Piece { reference: 1, bits: 16, total: 2, sequence: 0 },
        ] {
            let wishes = Wishes { part: Some(part), ..Wishes::default() };
            let refused = stage.submit(Draft { wishes, ..draft("+1", "http://a/") }, "api", None, now).unwrap_err();
            assert_eq!(refused.refusal, Refusal::Invalid, "{part:?}");
        }
        let part = Some(Piece { reference: 256, bits: 16, total: 2, sequence: 2 });
        submit(stage, Draft { wishes: Wishes { part, ..Wishes::default() }, ..draft("+1", "http://a/") });
        assert_eq!(stage.turns()[0].wishes.part, part);
    }

    /// Nothing is called before the commit that makes its news true, and a router that dies calls again, by the same name.
    fn p1_a_call_that_was_not_answered_is_made_again_by_the_next_router(stage) {
        let sent = sends(stage, "http://peer/%I/%d");
        stage.tells(&sent, Ok(Receipt::default()));
        let now = stage.now;
        assert_eq!(stage.calls(), []);
        stage.step(now);
        assert_eq!(stage.calls(), [], "not committed yet");
        stage.commit(now).unwrap();
        let first = stage.calls().remove(0);
        assert_eq!(stage.calls(), [], "given out once");
        stage.crash();
        let again = calls(stage).remove(0);
        assert_eq!((again.url.clone(), again.number), (first.url, first.number));
        ends(stage, &again, CallOutcome::Done);
        stage.turns();
        stage.crash();
        assert_eq!(rings(stage), [] as [String; 0]);
        // Another news has another name.
        reports(stage, sent.id, Verdict::Delivered, "");
        let other = rings(stage).remove(0);
        assert!(other.ends_with("/1") && other[..48] != again.url[..48], "{other}");
    }

    /// 5, 10, 20 s ... up to an hour, for 48 hours; then the message's history says that it was given up.
    fn an_unanswered_call_is_made_again_for_two_days(stage) {
        let sent = sends(stage, "http://peer/%d");
        stage.tells(&sent, Ok(Receipt::default()));
        let (began, mut attempts, mut last) = (stage.now, 0, stage.now);
        let mut gaps = Vec::new();
        loop {
            for call in calls(stage) {
                assert_eq!(call.attempts, attempts);
                attempts += 1;
                gaps.push(stage.now.since(last).as_secs());
                last = stage.now;
                ends(stage, &call, refused());
            }
            stage.turns();
            if waiting(stage) == 0 {
                break;
            }
            stage.now = waits(stage);
        }
        let took = last.since(began);
        assert!(took <= CALL_TIME && took + 2 * HOUR > CALL_TIME, "{took:?}");
        for (gap, expected) in gaps.iter().skip(1).zip([5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560, 3600, 3600]) {
            // Three answers in a row that are no "yes" pause the host, by a minute at most.
            assert!((expected * 8 / 10 - 1..=expected * 12 / 10 + 72).contains(gap), "{gaps:?}");
        }
        let history = stage.detail(sent.id).history;
        let last = history.last().unwrap();
        let reason = last.reason.as_deref().unwrap();
        assert!(reason.contains("callback to peer was given up") && reason.contains("answered 500"), "{reason}");
        assert_eq!((last.state, &*last.actor), (State::Sent, "router"));
    }

    /// A peer that is gone is asked by one call a minute, the others are called at once; when it is there again, all that waits is told.
    fn p7_isolation_a_dead_peer_costs_the_others_nothing(stage) {
        for n in 0..300 {
            submit(stage, draft(&format!("+1{n}"), "http://gone/%d/%p"));
        }
        stage.flows();
        // The books are kept by hand: what is in hand stays there until it comes back.
        let mut lost = stage.calls();
        assert!(lost.len() >= 32 && lost.len() <= 128, "{} of one host", lost.len());
        submit(stage, draft("+2", "http://well/%d/%p"));
        stage.flows();
        let well = stage.calls();
        assert!(well.iter().any(|call| call.host == "well"), "it has its own share");
        for call in well {
            if call.host == "well" {
                ends(stage, &call, CallOutcome::Done);
            } else {
                lost.push(call);
            }
        }
        let (first, others) = lost.split_first().unwrap();
        ends(stage, first, unreached());
        for call in others {
            ends(stage, call, CallOutcome::Untried);
        }
        let mut tried = 1;
        let until = stage.now + HOUR;
        while stage.now < until {
            for call in calls(stage) {
                tried += 1;
                ends(stage, &call, unreached());
            }
            stage.now = waits(stage).max(stage.now + seconds(1));
        }
        assert!((50..90).contains(&tried), "{tried} calls in an hour");
        stage.wait(seconds(60));
        let told = rings(stage);
        let mut all: BTreeSet<String> = told.into_iter().collect();
        for _ in 0..3 {
            stage.wait(HOUR);
            all.extend(rings(stage));
        }
        assert_eq!(all.len(), 300);
        assert_eq!(waiting(stage), 0);
    }

    /// A peer that answers, but wrongly, goes on being asked for the others; one bad address among good ones stops none.
    fn one_bad_address_of_a_peer_does_not_stop_the_others(stage) {
        submit(stage, draft("+1", "http://peer/bad/%p"));
        for n in 0..9 {
            submit(stage, draft(&format!("+2{n}"), "http://peer/good/%p"));
        }
        stage.flows();
        let mut good = 0;
        for call in calls(stage) {
            let bad = call.url.contains("bad");
            good += usize::from(!bad);
            ends(stage, &call, if bad { refused() } else { CallOutcome::Done });
        }
        assert_eq!(good, 9);
        submit(stage, draft("+3", "http://peer/good/%p"));
        stage.flows();
        assert_eq!(calls(stage).len(), 1, "the host is not paused");
    }

    /// What waits is bounded: the oldest call makes room, its message says so, and no message is refused.
    fn too_many_calls_cost_the_oldest(stage) {
        let policy = Policy { max_calls: 3, ..Policy::default() };
        stage.set_policy(policy);
        let mut ids = Vec::new();
        for n in 0..5 {
            ids.push(submit(stage, draft(&format!("+1{n}"), "http://peer/%p")));
        }
        stage.flows();
        assert_eq!(waiting(stage), 3);
        let told = |stage: &Stage, id| stage.detail(id).history.last().unwrap().reason.clone();
        assert!(told(stage, ids[0]).unwrap().contains("given up, for 3 wait already"));
        assert_eq!(told(stage, ids[4]), None);
        // What was in hand and made room is ended for good.
        let given = calls(stage);
        for call in &given {
            ends(stage, call, CallOutcome::Done);
        }
        let mut urls: Vec<_> = given.into_iter().map(|call| call.url).collect();
        urls.extend(rings(stage));
        for n in 2..5 {
            assert!(urls.contains(&format!("http://peer/%2B1{n}")), "{urls:?}");
        }
        assert_eq!(waiting(stage), 0);
    }

    /// A box that was off for days calls once before it gives up.
    fn what_was_never_tried_is_tried_once(stage) {
        let sent = sends(stage, "http://peer/%d");
        stage.tells(&sent, Ok(Receipt::default()));
        stage.turns();
        stage.wait(3 * CALL_TIME);
        stage.crash();
        let call = calls(stage).remove(0);
        ends(stage, &call, refused());
        stage.turns();
        assert_eq!(waiting(stage), 0, "its time is over");
    }

    /// The clock is set right for the first time: calls wait as long as before.
    fn p14_a_step_of_the_clock_gives_up_no_call(stage) {
        let sent = sends(stage, "http://peer/%d");
        stage.tells(&sent, Ok(Receipt::default()));
        let call = calls(stage).remove(0);
        ends(stage, &call, unreached());
        stage.turns();
        let before = waits(stage).since(stage.now);
        stage.wait(10 * CALL_TIME);
        stage.clock(10 * CALL_TIME, false);
        stage.turns();
        assert_eq!(waits(stage).since(stage.now), before);
        stage.now = waits(stage);
        assert_eq!(calls(stage).len(), 1);
    }
}
