//! The real program with simulated modems on pseudo-terminals. The simulator's ledger is the judge: it outlives the router.

use crate::daemon::{Daemon, PATIENCE, folder, program, rapidsms, write};
use crate::rig::{Audit, effort, traced_to, under_strace};
use rapidsms::message::{Direction, State};
use rapidsms::simulator::personality;
use serde_json::Value;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub(super) const FROM: &str = "+254700000001";

/// What the simulator has printed.
type Shown = Arc<(Mutex<(Vec<String>, bool)>, Condvar)>;

/// `rapidsms simulate modem` with some modems. It is killed when it is dropped.
pub(super) struct Simulation {
    child: Child,
    orders: ChildStdin,
    shown: Shown,
    read: usize,
    folder: TempDir,
}

impl Simulation {
    /// Modems with these names and of these kinds.
    pub(super) fn start(modems: &[(&str, &str)], arguments: &[&str]) -> Simulation {
        let folder = tempfile::tempdir().expect("a folder");
        let mut command = program(folder.path());
        command.args(["simulate", "modem", "--ledger", "ledger.jsonl"]).args(arguments);
        for (name, kind) in modems {
            command.arg("--link").arg(folder.path().join(name)).args(["--personality", kind]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let stdout = child.stdout.take().expect("a pipe");
        let shown = Shown::default();
        let written = Arc::clone(&shown);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                lock(&written).0.push(line);
                written.1.notify_all();
            }
            lock(&written).1 = true;
            written.1.notify_all();
        });
        let orders = child.stdin.take().expect("a pipe");
        let mut simulation = Simulation { child, orders, shown, read: 0, folder };
        for (name, _) in modems {
            simulation.shows(&format!("{name}: ready"));
        }
        simulation.read = 0;
        simulation
    }

    pub(super) fn port(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(super) fn order(&mut self, line: &str) {
        self.orders.write_all(format!("{line}\n").as_bytes()).expect("it listens");
    }

    /// Waits for a line with this in it, among those that were not asked for yet.
    #[track_caller]
    pub(super) fn shows(&mut self, part: &str) -> String {
        let deadline = Instant::now() + 2 * PATIENCE;
        let (shown, news) = &*self.shown;
        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let found = shown.0.iter().skip(self.read).position(|line| line.contains(part));
            if let Some(found) = found {
                // Lines of several modems come in any order, so only this one is taken away.
                let at = self.read + found;
                let line = shown.0.remove(at);
                return line;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(
                !left.is_zero() && !shown.1,
                "no line with {part:?}:\n{}\nledger:\n{}",
                shown.0.join("\n"),
                self.ledger()
            );
            shown = news.wait_timeout(shown, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    fn ledger(&self) -> String {
        fs::read_to_string(self.folder.path().join("ledger.jsonl")).unwrap_or_default()
    }

    pub(super) fn events(&self, modem: &str, event: &str) -> Vec<Value> {
        let ledger = self.ledger();
        let lines = ledger.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        lines.filter(|line| line["modem"] == modem && line["event"] == event).collect()
    }

    /// How often this text left in whole.
    pub(super) fn copies(&self, modem: &str, text: &str) -> usize {
        self.events(modem, "message").iter().filter(|message| message["text"] == text).count()
    }

    /// How many messages lie on the modem.
    pub(super) fn lying(&self, modem: &str) -> usize {
        self.events(modem, "stored").len().saturating_sub(self.events(modem, "deleted").len())
    }
}

impl Drop for Simulation {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn lock(shown: &Shown) -> std::sync::MutexGuard<'_, (Vec<String>, bool)> {
    shown.0.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Settings for these modems.
fn settings(simulation: &Simulation, names: &[&str], more: &str) -> String {
    let mut text = "INSTALLED_APPS = [\"echo\"]\n[web]\nlisten = \"127.0.0.1:0\"\n".to_string();
    for name in names {
        text += &format!(
            "[INSTALLED_BACKENDS.{name}]\nENGINE = \"gsm\"\nPORT = \"{}\"\n{more}\n",
            simulation.port(name).display()
        );
    }
    text
}

#[test]
fn every_maker_s_modem_receives_answers_and_is_left_empty() {
    let kinds: Vec<&str> = personality::PERSONALITIES.iter().map(|kind| kind.name).collect();
    assert!(kinds.len() >= 10, "{kinds:?}");
    let modems: Vec<(&str, &str)> = kinds.iter().map(|kind| (*kind, *kind)).collect();
    let mut simulation = Simulation::start(&modems, &[]);
    // One that announces nothing is among them.
    let daemon = Daemon::start(&settings(&simulation, &kinds, "sweep = \"1 s\""));
    let long = "long ".repeat(60);
    simulation.order(&format!("all < {FROM} echo hello"));
    simulation.order(&format!("all < +254700000002 echo {}", long.trim()));
    simulation.order("all < +254700000003 echo ünï😀");
    for kind in &kinds {
        simulation.shows(&format!("{kind} > {FROM} hello"));
        simulation.shows(&format!("{kind} > +254700000002 long"));
        simulation.shows(&format!("{kind} > +254700000003 ünï😀"));
    }
    for kind in &kinds {
        daemon.wait_until("the modem is empty", |_| (simulation.lying(kind) == 0).then_some(()));
        for text in ["hello", long.trim(), "ünï😀"] {
            assert_eq!(simulation.copies(kind, text), 1, "{kind}: {text}");
        }
    }
    assert_eq!(daemon.stop().code, 0);
}

#[test]
fn unplugged_it_comes_back_under_another_name_and_disturbs_no_other() {
    let mut simulation = Simulation::start(&[("zain", "huawei-e173"), ("mtn", "generic")], &[]);
    let daemon = Daemon::start(&settings(&simulation, &["zain", "mtn"], ""));
    simulation.order(&format!("all < {FROM} echo one"));
    simulation.shows("zain > +254700000001 one");
    simulation.shows("mtn > +254700000001 one");
    simulation.order("zain unplug");
    daemon.wait_for_line("waiting for it");
    simulation.order(&format!("mtn < {FROM} echo two"));
    simulation.shows("mtn > +254700000001 two");
    simulation.order("zain plug");
    simulation.order(&format!("zain < {FROM} echo three"));
    let plugged = Instant::now();
    simulation.shows("zain > +254700000001 three");
    assert!(plugged.elapsed() < Duration::from_secs(10), "{:?}", plugged.elapsed());
    assert_eq!(daemon.stop().code, 0);
}

#[test]
fn misfortunes_lose_nothing() {
    let mut simulation = Simulation::start(&[("zain", "huawei-e173")], &[]);
    let daemon = Daemon::start(&settings(&simulation, &["zain"], "sweep = \"1 s\""));
    let mut number = 0;
    for misfortune in [
        "zain error cms 331",
        "zain interrupt 3",
        "zain refuse +CMGD cms 500 x1",
        "zain refuse +CMGR cms 500 x1",
        "zain garbage 200",
        "zain endless 20000",
        "zain storm 300",
        "zain reset",
        "zain stuck",
        "zain smsc none",
        "zain chop 1ms",
        "zain slow 50ms",
        "zain well",
    ] {
        simulation.order(misfortune);
        number += 1;
        simulation.order(&format!("zain < {FROM} echo n{number}"));
        simulation.shows(&format!("zain > {FROM} n{number}"));
    }
    daemon.wait_until("the modem is empty", |_| (simulation.lying("zain") == 0).then_some(()));
    for number in 1..=number {
        assert_eq!(simulation.copies("zain", &format!("n{number}")), 1, "n{number}");
    }
    assert_eq!(daemon.stop().code, 0);
}

#[test]
fn a_modem_that_starts_anew_without_its_service_center_gets_it_back() {
    let mut simulation = Simulation::start(&[("zain", "generic")], &[]);
    let daemon = Daemon::start(&settings(&simulation, &["zain"], ""));
    simulation.order(&format!("zain < {FROM} echo one"));
    simulation.shows(&format!("zain > {FROM} one"));
    simulation.order("zain reset");
    simulation.order("zain smsc none");
    simulation.order(&format!("zain < {FROM} echo two"));
    simulation.shows(&format!("zain > {FROM} two"));
    assert_eq!(daemon.stop().code, 0);
}

#[test]
fn a_modem_that_refuses_to_send_directly_sends_from_its_storage() {
    let mut simulation = Simulation::start(&[("zain", "generic")], &[]);
    simulation.order("zain refuse +CMGS cms 303");
    let daemon = Daemon::start(&settings(&simulation, &["zain"], ""));
    let long = "long ".repeat(60);
    for text in ["one", long.trim(), "two"] {
        simulation.order(&format!("zain < {FROM} echo {text}"));
        simulation.shows(&format!("zain > {FROM} {}", &text[..3]));
        assert_eq!(simulation.copies("zain", text), 1, "{text}");
    }
    let count = |event| simulation.events("zain", event).len();
    assert_eq!(count("drafted"), 4);
    let is_empty = || count("deleted") == count("stored") + count("drafted");
    daemon.wait_until("the modem is empty", |_| is_empty().then_some(()));
    assert_eq!(daemon.stop().code, 0);
}

/// One exchange with a router that dies as it enters the `k`th system call of this kind on the port. `false`: there are not so many.
fn killed_at(call: &str, k: usize) -> bool {
    let mut simulation = Simulation::start(&[("zain", "generic")], &[]);
    let home = folder(&settings(&simulation, &["zain"], ""));
    let port = fs::canonicalize(simulation.port("zain")).expect("a port");
    simulation.order(&format!("zain < {FROM} echo a{k}"));
    daemon_waits_for(&simulation, "stored");
    let mut command = program(home.path());
    command.arg("run_router");
    let inject = format!("inject={call}:signal=KILL:when={k}");
    let port = port.to_string_lossy().into_owned();
    let arguments = ["-P", &port, "-e", &format!("trace={call}"), "-e", &inject];
    let (home, killed) = match Daemon::try_start_as(home, under_strace(&command, &arguments)) {
        Ok(daemon) => {
            // Whichever comes first: its end, or the end of the exchange.
            let ended = daemon
                .ends_or(|| simulation.lying("zain") == 0 && simulation.copies("zain", &format!("a{k}")) > 0);
            (ended.folder, ended.code == 137)
        }
        Err(ended) => (ended.folder, true),
    };
    let daemon = Daemon::start_in(home);
    daemon.answers(FROM, &format!("a{k}"));
    daemon.wait_until("the modem is empty", |_| (simulation.lying("zain") == 0).then_some(()));
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
    let copies = simulation.copies("zain", &format!("a{k}"));
    let audit = Audit::of(ended.folder.path());
    let sent: Vec<_> = audit.rows.iter().filter(|row| row.direction == Direction::Out).collect();
    let handled = audit.rows.iter().filter(|row| row.state == State::Handled).count();
    assert_eq!((sent.len(), handled), (1, 1), "{call} {k}: {:?}", audit.rows);
    assert!((1..=2).contains(&copies), "{call} {k}: {copies} copies\n{}", simulation.ledger());
    assert!(
        copies == 1 || sent.iter().all(|row| row.attempts == 2),
        "{call} {k}: a copy that nobody counted: {sent:?}"
    );
    killed
}

fn daemon_waits_for(simulation: &Simulation, event: &str) {
    let deadline = Instant::now() + PATIENCE;
    while simulation.events("zain", event).is_empty() {
        assert!(Instant::now() < deadline, "no {event}:\n{}", simulation.ledger());
    }
}

/// Which of the writes to the port is the first that is about a message: the initialisation before it is counted, once, in a life without a
/// death.
fn first_write_about_a_message() -> usize {
    let mut simulation = Simulation::start(&[("zain", "generic")], &[]);
    let home = folder(&settings(&simulation, &["zain"], ""));
    let port = fs::canonicalize(simulation.port("zain")).expect("a port");
    let trace = home.path().join("trace");
    simulation.order(&format!("zain < {FROM} echo counted"));
    daemon_waits_for(&simulation, "stored");
    let mut command = program(home.path());
    command.arg("run_router");
    let port = port.to_string_lossy().into_owned();
    let traced = traced_to(&trace, &command, &["-P", &port, "-e", "trace=write"]);
    let daemon = Daemon::start_as(home, traced);
    daemon.answers(FROM, "counted");
    let ended = daemon.stop();
    let trace = fs::read_to_string(ended.folder.path().join("trace")).expect("a trace");
    let found = trace.lines().position(|write| write.contains("AT+CMGL") || write.contains("AT+CMGR"));
    found.unwrap_or_else(|| panic!("no list and no reading:\n{trace}")) + 1
}

/// The steps of the initialisation are alike, so the deaths begin where it ends.
#[test]
fn killed_around_every_step_of_an_exchange() {
    let (calls, first): (&[&str], usize) = match effort() {
        1 => (&["write"], first_write_about_a_message()),
        _ => (&["write", "read"], 1),
    };
    for call in calls {
        let mut deaths = 0;
        for k in first.. {
            if !killed_at(call, k) {
                break;
            }
            deaths += 1;
        }
        assert!(deaths > 5, "{call}: {deaths}");
    }
}

#[test]
fn what_is_not_there_is_waited_for_and_the_stop_does_not_wait() {
    let folder = tempfile::tempdir().expect("a folder");
    let missing: &Path = &folder.path().join("nowhere");
    let text = format!(
        "INSTALLED_APPS = [\"echo\"]\n[web]\nlisten = \"127.0.0.1:0\"\n[INSTALLED_BACKENDS.zain]\nENGINE = \"gsm\"\nPORT = \"{}\"\n",
        missing.display()
    );
    let daemon = Daemon::start(&text);
    daemon.wait_until("it waits", |daemon| daemon.log().contains("waiting for it").then_some(()));
    assert_eq!(daemon.stop().code, 0);
}

#[test]
fn a_wrong_pin_is_given_once_over_restarts_and_another_one_again() {
    let simulation = Simulation::start(&[("zain", "generic")], &["--pin", "1234"]);
    let with = |pin: &str| settings(&simulation, &["zain"], &format!("pin = \"{pin}\""));
    let mut home = folder(&with("9999"));
    for _ in 0..3 {
        let daemon = Daemon::start_in(home);
        let parked = |daemon: &Daemon| daemon.log().contains("is parked: PIN").then_some(());
        daemon.wait_until("it is parked", parked);
        home = daemon.stop().folder;
        assert_eq!(simulation.events("zain", "pin").len(), 1, "{}", simulation.ledger());
    }
    write(home.path(), "settings.toml", &with("1234"));
    let daemon = Daemon::start_in(home);
    daemon.wait_until("it is up", |daemon| daemon.log().contains("zain is up").then_some(()));
    let tries = simulation.events("zain", "pin");
    assert_eq!((tries.len(), tries[1]["right"].as_bool()), (2, Some(true)), "{tries:?}");
    assert!(
        !daemon.folder().join(".pin-given-zain").exists(),
        "a PIN that worked is not held against anybody"
    );
    assert_eq!(daemon.stop().code, 0);
}

/// The command, the socket, the modem and the network's menu, and back.
#[test]
fn a_person_asks_the_network() {
    let kinds = [("huawei", "huawei-e173"), ("plain", "generic")];
    let mut simulation = Simulation::start(&kinds, &[]);
    for modem in ["huawei", "plain"] {
        simulation.order(&format!("{modem} ussd *144# 1 balance, 2 airtime"));
        simulation.order(&format!("{modem} ussd *144#>1 You have 5.00"));
    }
    let daemon = Daemon::start(&settings(&simulation, &["huawei", "plain"], ""));
    let place = daemon.folder().to_path_buf();
    for modem in ["huawei", "plain"] {
        daemon
            .wait_until("it is up", |daemon| daemon.log().contains(&format!("{modem} is up")).then_some(()));
        let menu = rapidsms(&place, &["ussd", modem, "*144#"]);
        assert_eq!((menu.code, menu.out.as_str()), (0, "1 balance, 2 airtime\n"), "{}", menu.err);
        let choice = rapidsms(&place, &["ussd", modem, "1"]);
        assert_eq!((choice.code, choice.out.as_str()), (0, "You have 5.00\n"), "{}", choice.err);
    }
    for (words, code, why) in [
        (["ussd", "nobody", "*144#"], 1, "no backend named \"nobody\""),
        (["ussd", "plain", "*144#\"\r"], 1, "a code has"),
        (["ussd", "plain", "*999#"], 1, ""),
    ] {
        let ran = rapidsms(&place, &words);
        assert!(ran.code == code && ran.err.contains(why), "{words:?}: {} {}", ran.code, ran.err);
    }
    let ended = daemon.stop();
    assert_eq!(ended.code, 0);
    assert_eq!(rapidsms(ended.folder.path(), &["ussd", "plain", "*144#"]).code, 4);
}

/// From the command line to the octets that leave, and the network's report back to the message.
#[test]
fn a_message_says_how_it_is_sent() {
    let simulation = Simulation::start(&[("zain", "generic")], &[]);
    let daemon = Daemon::start(&settings(&simulation, &["zain"], ""));
    let send = |text: &str, more: &[&str]| {
        let words = [&["send", "zain", FROM, text], more].concat();
        let sent = daemon.rapidsms(&words);
        assert_eq!(sent.code, 0, "{}", sent.err);
        sent.out.trim().to_string()
    };
    let flash = send("at once", &["--flash", "--report", "--validity", "3600"]);
    let plain = send("plain", &["--report=false"]);
    daemon.wait_until("it arrived", |daemon| {
        let shown = daemon.rapidsms(&["messages", &flash, "--json"]);
        shown.out.contains("\"state\": \"delivered\"").then_some(())
    });
    daemon.wait_until("the other one left", |daemon| {
        daemon.rapidsms(&["messages", &plain, "--json"]).out.contains("\"state\": \"sent\"").then_some(())
    });
    let sent = simulation.events("zain", "sent");
    let ways: Vec<_> = sent.iter().map(|sent| (sent["class"].as_u64(), sent["report"].as_bool())).collect();
    assert_eq!(ways, [(Some(0), Some(true)), (None, Some(false))], "{sent:?}");
    assert_eq!(daemon.stop().code, 0);
}
