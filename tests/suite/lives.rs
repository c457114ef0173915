//! Backends that change hands: a thread that is told to leave while it has messages in hand, one that does not leave, one that
//! is given up with others' messages in its mailbox. Whatever the thread does, its messages go on (P4, P5, P7, P8, P15).

use super::daemon::{Daemon, folder, write};
use super::rig::{self, Acknowledged, Client, SETTINGS, left, start_rig, wait_until_left};
use rustix::process::Signal;

/// The settings with another backend `ill`.
fn settings(window: usize, watchdog: &str) -> String {
    let ill = "window = 1\nwatchdog = \"1 s\"";
    assert!(SETTINGS.contains(ill));
    SETTINGS.replace(ill, &format!("window = {window}\nwatchdog = \"{watchdog}\""))
}

/// The settings without the backend `ill`.
fn without_ill() -> String {
    SETTINGS.split("[INSTALLED_BACKENDS.ill]").next().expect("a part").to_string()
}

/// Everybody says their text to the backend `ill`, and is acknowledged.
fn ill(daemon: &Daemon, acknowledged: &mut Acknowledged, texts: &[&str]) {
    for (number, text) in texts.iter().enumerate() {
        let identity = format!("+{}{number}", acknowledged.len());
        let answer = Client::new(&daemon.address).and_then(|mut client| client.post("ill", &identity, text));
        assert_eq!(answer.expect("an answer").status, 200);
        acknowledged.entry(identity).or_default().push((*text).to_string());
    }
}

fn reload(daemon: &Daemon, settings: &str, changes: &str) {
    write(daemon.folder(), "settings.toml", settings);
    daemon.signal(Signal::HUP);
    daemon.wait_for_line(&format!("the settings were reloaded: {changes}"));
}

/// Stops the router, and demands every promise; returns how many attempts ended without certainty.
fn demand(daemon: Daemon, acknowledged: &Acknowledged) -> usize {
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
    let mut audit = rig::Audit::of(ended.folder.path());
    let ids: Vec<_> = audit.rows.iter().map(|row| row.id).collect();
    let uncertain = ids.into_iter().map(|id| audit.uncertain(id)).sum();
    rig::demand_after(ended.folder, acknowledged, left(&ended.log));
    uncertain
}

/// What the old thread had not begun is sent by the new one, and what it had begun is not in doubt.
#[test]
fn p15_a_changed_backend_keeps_its_messages() {
    let daemon = start_rig(folder(&settings(8, "5 s")));
    let mut acknowledged = Acknowledged::new();
    let texts = ["slow a", "slow b", "slow c", "slow d", "slow e", "slow f"];
    ill(&daemon, &mut acknowledged, &texts.map(|text| format!("echo {text}")).each_ref().map(String::as_str));
    daemon.wait_for_line("peer ill");
    reload(&daemon, &settings(4, "5 s"), "~ill");
    wait_until_left(&daemon, texts.map(String::from).to_vec());
    assert_eq!(demand(daemon, &acknowledged), 0, "nothing of it was in doubt");
}

/// A thread that does not leave is given up, and the backend works with its new settings.
#[test]
fn p8_a_changed_backend_does_not_wait_for_ever_for_its_old_thread() {
    let daemon = start_rig(folder(&settings(1, "2 s")));
    let mut acknowledged = Acknowledged::new();
    ill(&daemon, &mut acknowledged, &["echo hang"]);
    daemon.wait_for_line("peer ill hangs");
    reload(&daemon, &settings(1, "3 s"), "~ill");
    daemon.wait_for_line("backend ill is up");
    ill(&daemon, &mut acknowledged, &["echo anew"]);
    wait_until_left(&daemon, vec!["anew".into()]);
    // The first message comes a second time and is the last of that thread, too.
    daemon.wait_for_line("was given up");
    assert!(demand(daemon, &acknowledged) >= 1);
}

/// Taken out and put back while its old thread is still at work: never two threads on one device.
#[test]
fn p15_a_backend_that_comes_back_waits_for_its_old_thread() {
    let daemon = start_rig(folder(&settings(8, "5 s")));
    let mut acknowledged = Acknowledged::new();
    let texts = ["slow a", "slow b", "slow c", "slow d"];
    ill(&daemon, &mut acknowledged, &texts.map(|text| format!("echo {text}")).each_ref().map(String::as_str));
    daemon.wait_for_line("peer ill");
    // A reply that is decided while its backend is away fails, as it should.
    daemon.wait_until("every reply is decided", |daemon| {
        (daemon.messages("direction=out").len() == texts.len()).then_some(())
    });
    reload(&daemon, &without_ill(), "-ill");
    reload(&daemon, &settings(8, "5 s"), "+ill");
    wait_until_left(&daemon, texts.map(String::from).to_vec());
    assert_eq!(demand(daemon, &acknowledged), 0, "nothing of it was in doubt");
}

/// One message that hangs the peer costs those behind it in the mailbox nothing: they certainly did not leave.
#[test]
fn p5_what_waits_in_the_mailbox_of_a_stuck_thread_is_in_no_doubt() {
    let daemon = start_rig(folder(&settings(8, "1 s")));
    let mut acknowledged = Acknowledged::new();
    ill(&daemon, &mut acknowledged, &["echo hang"]);
    daemon.wait_for_line("peer ill hangs");
    ill(&daemon, &mut acknowledged, &["echo b", "echo c", "echo d"]);
    daemon.wait_for_line("was given up");
    wait_until_left(&daemon, vec!["b".into(), "c".into(), "d".into()]);
    daemon.wait_for_line("was given up");
    // Only of the one that hung: once, and a second time that was the last.
    assert_eq!(demand(daemon, &acknowledged), 2);
}
