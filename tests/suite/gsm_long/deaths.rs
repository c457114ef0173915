//! A router that is killed at any instant, again and again, while modems work: nothing is lost, and what may have left twice is accounted for.

use super::bench::{Bench, store};
use super::eight::{people_write, programs_send};
use crate::daemon::{Daemon, folder, program};
use crate::rig::{Random, effort, under_strace};
use rapidsms::message::State;
use rapidsms::pdu::{self, Address, Concat, DataCoding, Deliver, Header, NetworkTime, UserData};
use rapidsms::time::Timestamp;

#[test]
fn killed_at_random_under_traffic_in_both_directions() {
    let mut random = Random::new();
    let modems = [("one", "generic"), ("two", "huawei-e173"), ("three", "simcom-sim7600")];
    let names = modems.map(|(name, _)| name);
    let bench = Bench::start(&modems, &["--latency", "2", "--send-time", "20"]);
    let mut home = folder(&bench.settings(&names, "sweep = \"1 s\"\nreports = true"));
    let times = 9 * effort();
    names.iter().for_each(|name| people_write(&bench, name, times));
    for life in 0..5 * effort() {
        let daemon = Daemon::start_in(home);
        if life == 0 {
            names.iter().for_each(|name| programs_send(&daemon, name, 3));
        }
        let lines = |name: &str| bench.books().of(name).events.values().sum::<usize>();
        let name = names[random.below(names.len())];
        let goal = lines(name) + 5 + random.below(60);
        bench.wait("the modems work", |books| {
            let account = books.of(name);
            account.events.values().sum::<usize>() >= goal || account.injected.len() >= 4 * times + times / 3
        });
        let ended = daemon.kill9();
        assert_eq!(ended.code, 128 + 9, "{}", ended.log);
        home = ended.folder;
    }
    let daemon = Daemon::start_in(home);
    bench.wait("everybody has written", |books| {
        names.iter().all(|name| books.of(name).injected.len() == 4 * times + times / 3)
    });
    bench.wait_until_settled(&daemon, &names);
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
    for name in names {
        let balance = store(ended.folder.path(), name).demand(bench.books().of(name));
        eprintln!("{name}: {balance:?}");
    }
}

/// One part of a message, as the network hands it over.
fn part(text: &str, sequence: u8, total: u8) -> String {
    let plan = pdu::plan(text, &pdu::Splitting::default()).expect("a short text");
    let concat = Concat { reference: 77, total, sequence, bits: 8 };
    let deliver = Deliver {
        more_messages: false,
        loop_prevention: false,
        report_wanted: false,
        reply_path: false,
        originator: Address::parse("+254700000050").expect("a number"),
        protocol: 0,
        data_coding: DataCoding::of(plan.alphabet),
        service_center_time: NetworkTime::new(Timestamp::from_seconds(1_795_337_735), 12).expect("a time"),
        user_data: UserData {
            header: Some(Header { elements: Vec::new() }.with_concat(concat)),
            payload: plan.parts[0].payload.clone(),
        },
    };
    pdu::to_hex(&deliver.encode().expect("octets"))
}

#[test]
fn parts_are_joined_over_the_death_between_them() {
    let bench = Bench::start(&[("zain", "generic")], &[]);
    let mut home = folder(&bench.settings(&["zain"], ""));
    let texts = ["echo one ", "two ", "three ", "four"];
    // Out of order, and one life for each.
    for (count, sequence) in [3, 1, 4, 2].into_iter().enumerate() {
        let daemon = Daemon::start_in(home);
        bench.order(&format!("zain pdu {}", part(texts[sequence - 1], sequence as u8, 4)));
        bench.wait("it is deleted from the modem", |books| {
            books.of("zain").events.get("deleted").is_some_and(|deleted| *deleted == count + 1)
        });
        if count == 3 {
            daemon.answers("+254700000050", "one two three four");
        }
        home = daemon.kill9().folder;
    }
    let daemon = Daemon::start_in(home);
    bench.wait_until_settled(&daemon, &["zain"]);
    let rows = daemon.messages("direction=in");
    assert_eq!(rows.len(), 1, "{rows:#?}");
    assert_eq!(rows[0]["text"], "echo one two three four");
    assert_eq!(rows[0]["state"], State::Handled.as_str());
}

/// How many times the port is written to until a modem is up and the exchange below is over.
const WRITES: usize = 60;

/// A message of several parts comes in and one goes out, with a router that dies as it writes for the `k`th time. `false`: it does not write so often.
fn killed_at(k: usize) -> bool {
    let bench = Bench::start(&[("zain", "generic")], &[]);
    let home = folder(&bench.settings(&["zain"], "reports = true"));
    let port = std::fs::canonicalize(bench.port("zain")).expect("a port");
    let text = format!("{k} {}", "and so on ".repeat(34));
    bench.order(&format!("zain < +254700000001 echo {text}."));
    let mut command = program(home.path());
    command.arg("run_router");
    let inject = format!("inject=write:signal=KILL:when={k}");
    let port = port.to_string_lossy().into_owned();
    let command = under_strace(&command, &["-P", &port, "-e", "trace=write", "-e", &inject]);
    let (home, killed) = match Daemon::try_start_as(home, command) {
        Ok(daemon) => {
            let ended = daemon.ends_or(|| {
                let books = bench.books();
                let account = books.of("zain");
                account.is_empty() && account.events.get("report").is_some_and(|reports| *reports >= 3)
            });
            (ended.folder, ended.code == 137)
        }
        Err(ended) => (ended.folder, true),
    };
    let daemon = Daemon::start_in(home);
    bench.wait("it is answered", |books| books.of("zain").events.contains_key("message"));
    bench.wait_until_settled(&daemon, &["zain"]);
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
    let balance = store(ended.folder.path(), "zain").demand(bench.books().of("zain"));
    assert_eq!((balance.received, balance.sent), (1, 1), "write {k}");
    killed
}

#[test]
fn killed_at_any_write_of_an_exchange_in_parts() {
    let mut random = Random::new();
    // The steps of the initialisation are alike, so most deaths come after it.
    let ks: Vec<usize> = match effort() {
        1 => {
            let start = 26 + random.below(3);
            (start..start + 18).step_by(3).collect()
        }
        _ => (1..WRITES).collect(),
    };
    let killed = std::thread::scope(|scope| {
        let lives = ks
            .chunks(ks.len().div_ceil(3))
            .map(|ks| scope.spawn(move || ks.iter().filter(|k| killed_at(**k)).count()));
        let lives: Vec<_> = lives.collect();
        lives.into_iter().map(|life| life.join().expect("no life ends in another way")).sum::<usize>()
    });
    assert!(killed >= 3, "it died only {killed} times: there are not so many writes as there were");
}
