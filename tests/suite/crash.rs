//! Kill it at any instant: what was acknowledged is there afterwards, everything ends, and copies stay within the promise (P1, P3 to
//! P6, P9, P16). The router runs as a process of its own; its clients and its peer keep their books outside of it.

use super::daemon::{Daemon, Ended, folder};
use super::rig::{
    self, Acknowledged, Audit, Client, Load, Random, SETTINGS, demand_after, left, rig_in, start_rig,
    under_strace,
};
use rapidsms::message::State;
use rustix::process::Signal;
use std::sync::atomic::{AtomicUsize, Ordering};

#[test]
fn p1_no_loss_p3_p4_p5_p6_when_killed_at_random_under_load() {
    let mut random = Random::new();
    let load = Load::new(8);
    let mut gone = Vec::new();
    let mut home = folder(SETTINGS);
    for _ in 0..6 * rig::effort() {
        let daemon = start_rig(home);
        load.go_to(&daemon);
        load.wait_for(20 + random.below(300));
        let ended = daemon.kill9();
        assert_eq!(ended.code, 128 + 9, "{}", ended.log);
        gone.extend(left(&ended.log));
        home = ended.folder;
    }
    let acknowledged = load.end();
    demand_after(home, &acknowledged, gone);
}

/// How many messages the scripted conversation has.
const EXCHANGES: usize = 12;

/// One scripted conversation, up to a clean stop, with a router that may die at any moment of it. Returns what was acknowledged.
fn converse(daemon: &Daemon) -> Acknowledged {
    let mut acknowledged = Acknowledged::new();
    let Ok(mut client) = Client::new(&daemon.address) else { return acknowledged };
    for number in 0..EXCHANGES {
        let text = format!("echo say-{number}");
        match client.post("well", "+1", &text) {
            Ok(answer) if answer.status == 200 => {
                acknowledged.entry("+1".to_string()).or_default().push(text)
            }
            Ok(answer) => panic!("{answer:?}\n{}", daemon.log()),
            Err(_) => return acknowledged,
        }
        if daemon.next_line(&format!(" say-{number}")).is_none() {
            return acknowledged;
        }
    }
    acknowledged
}

/// Runs the conversation and kills the router as it enters the `k`th fsync of any one of its threads. `false`: there are not so many.
fn kill_at_sync(k: usize) -> bool {
    let home = folder(SETTINGS);
    let kill = format!("inject=fsync,fdatasync:signal=KILL:when={k}");
    let command = under_strace(&rig_in(home.path()), &["-e", "trace=fsync,fdatasync", "-e", &kill]);
    let (acknowledged, ended) = match Daemon::try_start_as(home, command) {
        Ok(daemon) => {
            let acknowledged = converse(&daemon);
            // It may be dead already; if not, a clean stop has its own points to die at.
            let _ = rustix::process::kill_process(daemon.pid(), Signal::TERM);
            (acknowledged, daemon.ends())
        }
        Err(ended) => (Acknowledged::new(), ended),
    };
    let killed = match ended.code {
        137 => true,
        0 => false,
        code => panic!("k = {k}: it ended with {code}:\n{}", ended.log),
    };
    let gone = left(&ended.log);
    if !ended.folder.path().join("rapidsms.db").exists() {
        assert!(acknowledged.is_empty(), "k = {k}: acknowledged without a store");
        return killed;
    }
    // A store that was never finished is created again by the next start.
    if acknowledged.is_empty() {
        let ended = start_rig(ended.folder).stop();
        assert_eq!(ended.code, 0, "k = {k}: {}", ended.log);
        demand_after(ended.folder, &acknowledged, [gone, left(&ended.log)].concat());
    } else {
        demand_after(ended.folder, &acknowledged, gone);
    }
    killed
}

#[test]
fn p1_p5_when_killed_at_every_sync() {
    let (next, total) = (AtomicUsize::new(1), AtomicUsize::new(usize::MAX));
    // Resends wait for two seconds each, so several lives pass side by side.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                loop {
                    let k = next.fetch_add(1, Ordering::Relaxed);
                    if k > total.load(Ordering::Relaxed) {
                        return;
                    }
                    if !kill_at_sync(k) {
                        total.fetch_min(k, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let total = total.into_inner();
    assert!(total > 2 * EXCHANGES, "only {total} syncs: was anything synced before it was acknowledged?");
}

#[test]
fn p9_recovery_in_a_reboot_loop() {
    let load = Load::new(16);
    let daemon = start_rig(folder(SETTINGS));
    load.go_to(&daemon);
    load.wait_for(400);
    let Ended { mut folder, log, .. } = daemon.kill9();
    let acknowledged = load.end();
    let mut gone = left(&log);
    for k in 1..=20 {
        let kill = format!("inject=fsync,fdatasync:signal=KILL:when={k}");
        let command = under_strace(&rig_in(folder.path()), &["-e", "trace=fsync,fdatasync", "-e", &kill]);
        let ended = match Daemon::try_start_as(folder, command) {
            // It runs, with little left to do; so it is killed now.
            Ok(daemon) => daemon.kill9(),
            Err(ended) => ended,
        };
        assert_eq!(ended.code, 128 + 9, "k = {k}: {}", ended.log);
        gone.extend(left(&ended.log));
        folder = ended.folder;
    }
    let audit = demand_after(folder, &acknowledged, gone);
    assert!(audit.rows.iter().all(|row| row.state != State::Quarantined));
}

#[test]
fn p16_stop_under_load_loses_nothing_and_leaves_nothing_uncertain() {
    let load = Load::new(8);
    let daemon = start_rig(folder(SETTINGS));
    load.go_to(&daemon);
    load.wait_for(300);
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
    let acknowledged = load.end();
    let mut audit = Audit::of(ended.folder.path());
    for row in audit.rows.clone() {
        assert!(!matches!(row.state, State::Sending | State::Uncertain), "{row:?}");
        assert_eq!(audit.uncertain(row.id), 0, "{row:?}");
    }
    demand_after(ended.folder, &acknowledged, left(&ended.log));
}

#[test]
fn p16_stop_at_once_by_a_second_signal_loses_nothing() {
    let load = Load::new(8);
    let daemon = start_rig(folder(&SETTINGS.replace("watchdog = \"1 s\"", "")));
    load.go_to(&daemon);
    // A send that takes long keeps the first signal from being enough.
    let mut client = Client::new(&daemon.address).expect("it listens");
    assert_eq!(client.post("ill", "+9", "echo hang").expect("an answer").status, 200);
    daemon.wait_for_line("peer ill hangs");
    load.wait_for(200);
    daemon.signal(Signal::TERM);
    daemon.wait_for_line("stopping");
    daemon.signal(Signal::TERM);
    let ended = daemon.ends();
    assert_eq!(ended.code, 128 + 15, "{}", ended.log);
    let acknowledged = load.end();
    let received = Audit::of(ended.folder.path());
    let received = received.received();
    for text in acknowledged.values().flatten() {
        assert!(received.contains_key(text.as_str()), "P1: acknowledged and lost: {text}");
    }
}
