//! Eight modems of eight makers, four of which have one misfortune after the other. The four others lose nothing, keep their pace (P7), and
//! all books balance in the end.

use super::bench::{Bench, Books, Told, store};
use crate::daemon::Daemon;
use crate::rig::{Random, effort};
use serde_json::json;
use std::time::Duration;

const WELL: [(&str, &str); 4] =
    [("well1", "generic"), ("well2", "huawei-e173"), ("well3", "simcom-sim800"), ("well4", "quectel-ec25")];
const ILL: [(&str, &str); 4] =
    [("ill1", "zte-mf190"), ("ill2", "wavecom"), ("ill3", "simcom-sim7600"), ("ill4", "generic")];

/// What happens to the ill ones.
const MISFORTUNES: &[&str] = &[
    "unplug 1s",
    "reset",
    "silence 2s",
    "error cms 500 x2",
    "error cms 331",
    "late 2s",
    "fill",
    "refuse +CMGD cms 500 x3",
    "storm 500",
    "garbage 500",
    "endless 20000",
    "stuck",
    "refuse +CMGR cms 500",
    "mute +CMGR",
    "interrupt 5",
    "refuse +CMGL cms 500 x2",
    "chop 0ms",
    "slow 50ms",
    "network searching",
    "ring +254700000099",
];

/// What people send to each modem: so many senders, so often, so many times.
pub fn people_write(bench: &Bench, modem: &str, times: usize) {
    for sender in 1..=4 {
        let pace = 550 + 40 * sender;
        bench.order(&format!(
            "{modem} every {pace}ms x{times} +2547000000{sender:02} echo {modem}-{sender}-{{n}}"
        ));
    }
    // Each part is another one, so that none is taken for that of another message with the same reference.
    let long = "so many words {n} ".repeat(14);
    bench
        .order(&format!("{modem} every 1500ms x{} +254700000020 echo {modem} long {{n}} {long}.", times / 3));
}

/// What programs send by each modem: texts of three parts.
pub fn programs_send(daemon: &Daemon, modem: &str, count: usize) {
    for number in 0..count {
        let text = format!("{modem} program {number} {}.", format!("and more of it {number} ").repeat(22));
        let body = json!({ "backend": modem, "identity": format!("+2548000001{number:02}"), "text": text });
        let answer = daemon.post_json("/api/v1/messages", &body);
        assert_eq!(answer.status, 202, "{}", answer.body);
    }
}

#[test]
fn four_of_eight_modems_are_ill_and_cost_the_others_nothing() {
    let mut random = Random::new();
    let modems = [WELL, ILL].concat();
    let names: Vec<&str> = modems.iter().map(|(name, _)| *name).collect();
    let bench = Bench::start(&modems, &["--latency", "1", "--send-time", "15"]);
    let more = "sweep = \"1 s\"\nreports = true\ntimeout = \"1 s\"\nsend_timeout = \"30 s\"";
    let daemon = Daemon::start(&bench.settings(&names, more));
    let told = Told(&daemon);
    daemon.wait_until("all who are well are up", |daemon| {
        let log = daemon.log();
        WELL.iter().all(|(name, _)| log.contains(&format!("backend {name} is up"))).then_some(())
    });
    let times = 9 * effort();
    for name in &names {
        people_write(&bench, name, times);
        programs_send(&daemon, name, 3 * effort());
    }
    // By each message that an ill modem is sent, the next misfortune comes nearer. Lost answers need the end of
    // their modem, or half a minute.
    let mut next = [4; ILL.len()];
    while next.iter().any(|next| *next < 4 * times) {
        let due = |books: &Books| {
            ILL.iter()
                .zip(next)
                .position(|((name, _), next)| next < 4 * times && books.of(name).injected.len() >= next)
        };
        bench.wait("somebody writes to a modem that is ill", |books| due(books).is_some());
        let at = due(&bench.books()).expect("it is due");
        next[at] += 2 + random.below(4);
        let name = ILL[at].0;
        match random.below(8) {
            0 => {
                let lost = |books: &Books| books.of(name).lost_answers;
                let before = lost(&bench.books());
                bench.order(&format!("{name} lose"));
                // It may have nothing to send any more.
                let sent = |books: &Books| books.of(name).events.get("sent").copied().unwrap_or(0);
                let sent_before = sent(&bench.books());
                bench.wait("it loses an answer", |books| {
                    lost(books) > before
                        || sent(books) > sent_before
                        || books.of(name).injected.len() >= 4 * times
                });
                bench.order(&format!("{name} unplug 1s"));
            }
            _ => {
                let misfortune = MISFORTUNES[random.below(MISFORTUNES.len())];
                bench.order(&format!("{name} {misfortune}"));
            }
        }
        if random.below(2) == 0 {
            heal(&bench, name);
        }
    }
    for (name, _) in ILL {
        heal(&bench, name);
    }
    bench.wait("everybody has written", |books| {
        names.iter().all(|name| books.of(name).injected.len() == 4 * times + times / 3)
    });
    bench.wait_until_settled(&daemon, &names);
    drop(told);
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
    for name in &names {
        let books = bench.books();
        let account = books.of(name);
        let balance = store(ended.folder.path(), name).demand(account);
        let answered = account.answer_times();
        let (median, slowest) = (answered[answered.len() / 2], answered[answered.len() - 1]);
        eprintln!("{name}: {balance:?}, answered within {median:?}, {slowest:?} at most");
        if name.starts_with("well") {
            assert_eq!((balance.uncertain, balance.second_copies), (0, 0), "P7: {name}");
            assert!(
                median < Duration::from_secs(2),
                "P7: {name}: half of the answers took longer than {median:?}"
            );
            assert!(slowest < Duration::from_secs(10), "P7: {name}: {slowest:?}");
        }
    }
}

fn heal(bench: &Bench, name: &str) {
    for order in ["well", "chop off", "network home", "plug"] {
        bench.order(&format!("{name} {order}"));
    }
}
