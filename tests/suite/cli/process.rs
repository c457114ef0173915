//! The router as a process: signals, stops and reloads, with the promises of reliability that they keep.

use crate::daemon::{Daemon, ECHO, write};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::HashSet;
use std::time::Instant;

/// The texts of all incoming messages that the store holds, with their states.
fn stored(folder: &std::path::Path) -> Vec<(String, String)> {
    let listed =
        crate::daemon::rapidsms(folder, &["messages", "--direction", "in", "--limit", "1000000", "--json"]);
    let word = |row: &Value, key: &str| row[key].as_str().expect("a word").to_string();
    let rows = listed.exits(0).json();
    rows.as_array().expect("a list").iter().map(|row| (word(row, "text"), word(row, "state"))).collect()
}

/// Posts from several clients until the router is gone, with `stop` in the middle; returns what was acknowledged.
fn traffic(daemon: &Daemon, stop: impl FnOnce(&Daemon)) -> Vec<String> {
    const CLIENTS: usize = 4;
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                scope.spawn(move || {
                    let mut acknowledged = Vec::new();
                    for number in 0.. {
                        let text = format!("ping {client} {number}");
                        let form = format!("identity=+{client}&text={}", text.replace(' ', "+"));
                        let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
                        match daemon.ask("POST", "/httptester/message_tester/", headers, form.as_bytes()) {
                            Ok(answer) if answer.status == 200 => acknowledged.push(text),
                            Ok(answer) => assert_eq!(answer.status, 503, "{}", answer.body),
                            Err(_) => break,
                        }
                    }
                    acknowledged
                })
            })
            .collect();
        // In the middle of it: some were answered already, more are coming.
        daemon.wait_until("traffic flows", |daemon| {
            (daemon.messages("direction=out&limit=20").len() >= 20).then_some(())
        });
        stop(daemon);
        clients.into_iter().flat_map(|client| client.join().expect("a client ends")).collect()
    })
}

#[test]
fn p16_stop_exits_0_and_loses_nothing() {
    for signal in [Signal::TERM, Signal::INT] {
        let daemon = Daemon::start(ECHO);
        let mut told = Instant::now();
        let acknowledged = traffic(&daemon, |daemon| {
            told = Instant::now();
            daemon.signal(signal);
        });
        let ended = daemon.ends();
        assert_eq!(ended.code, 0, "{}", ended.log);
        assert!(told.elapsed().as_secs() < 10, "{:?}", told.elapsed());
        let stored = stored(ended.folder.path());
        let texts: HashSet<&str> = stored.iter().map(|(text, _)| text.as_str()).collect();
        assert_eq!(texts.len(), stored.len(), "a message is stored twice");
        for text in &acknowledged {
            assert!(texts.contains(text.as_str()), "{text} was acknowledged and is lost");
        }
        assert!(acknowledged.len() >= 20, "{}", acknowledged.len());
        let place = ended.folder.path();
        let status = crate::daemon::rapidsms(place, &["status", "--json"]).exits(4).json();
        let uncertain = |count: &&Value| count["state"] == "uncertain" || count["state"] == "sending";
        assert_eq!(status["counts"].as_array().expect("counts").iter().find(uncertain), None);
        crate::daemon::rapidsms(place, &["check", "--ledger"]).exits(0);
        // What was taken and not yet answered is answered by the next one, once.
        let daemon = Daemon::start_in(ended.folder);
        daemon.wait_until("everything is handled", |daemon| {
            daemon.messages("state=received").is_empty().then_some(())
        });
        for state in ["queued", "sending"] {
            daemon.wait_until("everything is sent", |daemon| {
                daemon.messages(&format!("state={state}")).is_empty().then_some(())
            });
        }
        let ended = daemon.stop();
        let counts = crate::daemon::rapidsms(ended.folder.path(), &["status", "--json"]).exits(4).json();
        let count = |state: &str| {
            let mut counts = counts["counts"].as_array().expect("counts").iter();
            counts.find(|count| count["state"] == state).and_then(|count| count["count"].as_u64())
        };
        assert_eq!(count("handled"), count("sent"), "{counts}");
    }
}

#[test]
fn p16_stop_a_second_signal_ends_it_at_once_and_loses_nothing() {
    let daemon = Daemon::start(ECHO);
    let acknowledged = traffic(&daemon, |daemon| {
        // Both are waiting when it comes to.
        daemon.signal(Signal::STOP);
        daemon.signal(Signal::TERM);
        daemon.signal(Signal::INT);
        daemon.signal(Signal::CONT);
    });
    let ended = daemon.ends();
    // A clean stop may be faster than the second signal; both keep what was acknowledged.
    match ended.code {
        0 => assert!(ended.log.contains("stopped"), "{}", ended.log),
        130 | 143 => assert!(ended.log.contains("stopped at once by a second signal"), "{}", ended.log),
        code => panic!("exit code {code}:\n{}", ended.log),
    }
    let daemon = Daemon::start_in(ended.folder);
    daemon.wait_until("everything is handled", |daemon| {
        daemon.messages("state=received").is_empty().then_some(())
    });
    let stored = stored(daemon.folder());
    let texts: HashSet<&str> = stored.iter().map(|(text, _)| text.as_str()).collect();
    for text in &acknowledged {
        assert!(texts.contains(text.as_str()), "{text} was acknowledged and is lost");
    }
    assert_eq!(daemon.stop().code, 0);
}

#[test]
fn p15_reload_takes_good_settings_wholly() {
    let daemon = Daemon::start(ECHO);
    daemon.says("1", "ping");
    daemon.answers("1", "pong");
    let before = backend(&daemon, "message_tester");
    let second = "[INSTALLED_BACKENDS.second]\nENGINE = \"httptester\"\n";
    write(daemon.folder(), "settings.toml", &format!("{}{second}", ECHO.replace("\"echo\", ", "")));
    daemon.signal(Signal::HUP);
    let line = daemon.wait_for_line("the settings were reloaded");
    assert!(line.contains("+second"), "{line}");
    // The new backend works, the new apps answer, and the backend that did not change was left alone.
    let answer = daemon.post("/httptester/second/", &[("identity", "2"), ("text", "ping")]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    daemon.answers("2", "Sorry, RapidSMS could not understand your message.");
    assert_eq!(backend(&daemon, "message_tester")["since"], before["since"]);
    // And away again.
    write(daemon.folder(), "settings.toml", ECHO);
    daemon.signal(Signal::HUP);
    let line = daemon.wait_for_line("the settings were reloaded");
    assert!(line.contains("-second"), "{line}");
    assert_eq!(daemon.post("/httptester/second/", &[("identity", "2"), ("text", "ping")]).status, 404);
    assert_eq!(daemon.stop().code, 0);
}

#[test]
fn p15_reload_keeps_the_old_settings_when_there_is_a_fault() {
    let daemon = Daemon::start(ECHO);
    daemon.says("1", "ping");
    daemon.answers("1", "pong");
    let before = backend(&daemon, "message_tester");
    let faults = [
        ("INSTALLED_APPS = [\"ecko\"]\n".to_string(), "settings.toml:1:19: error: no app is called"),
        ("this is not TOML".to_string(), "settings.toml:1:"),
        (ECHO.replace(":0\"", ":1\""), "[web] changed, which needs a new start"),
        (
            format!("{ECHO}\n[database]\nurl = \"sqlite:other.db\"\n"),
            "[database] changed, which needs a new start",
        ),
    ];
    for (settings, told) in faults {
        write(daemon.folder(), "settings.toml", &settings);
        daemon.signal(Signal::HUP);
        daemon.wait_for_line("the settings were not reloaded, the old ones stay");
        assert!(daemon.log().contains(told) || daemon.wait_for_line(told).contains(told));
    }
    std::fs::remove_file(daemon.folder().join("settings.toml")).expect("the settings go");
    daemon.signal(Signal::HUP);
    daemon.wait_for_line("the settings were not reloaded, the old ones stay");
    // It answers as before.
    daemon.says("2", "echo still here");
    daemon.answers("2", "still here");
    assert_eq!(backend(&daemon, "message_tester")["since"], before["since"]);
    assert_eq!(daemon.stop().code, 0);
}

#[test]
fn a_closed_standard_error_stops_nobody() {
    use std::process::Stdio;
    // The log's reader goes away: the router goes on. Its socket shows it.
    let place = crate::daemon::folder(ECHO);
    let mut command = crate::daemon::program(place.path());
    let mut child = command.arg("run_router").stderr(Stdio::piped()).spawn().expect("it starts");
    drop(child.stderr.take());
    let deadline = Instant::now() + crate::daemon::PATIENCE;
    // Asking how it is takes no lock that the starting router needs.
    loop {
        let ran = crate::daemon::rapidsms(place.path(), &["status"]);
        if ran.code == 0 {
            break;
        }
        assert!(Instant::now() < deadline && child.try_wait().expect("a state").is_none(), "{}", ran.out);
    }
    let sent = crate::daemon::rapidsms(place.path(), &["send", "message_tester", "1", "x", "--json"]);
    assert_eq!(sent.exits(0).json()["through"], "router");
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM)
        .expect("it is there");
    assert!(child.wait().expect("it ends").success());
}

fn backend(daemon: &Daemon, name: &str) -> Value {
    daemon.wait_until(&format!("{name} is up"), |daemon| {
        let backends = daemon.get("/api/v1/backends").json();
        let mut backends = backends["backends"].as_array().expect("a list").iter().cloned();
        backends.find(|backend| backend["name"] == name && backend["state"] == "up")
    })
}
