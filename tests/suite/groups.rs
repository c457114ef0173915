//! Groups and caps with the whole router: settings, threads, pages and a death in the middle. What the router decides is in `router/groups.rs`.

use super::daemon::{Daemon, folder};
use super::rig::{SETTINGS, rig_in, start_rig, wait_until_left};
use serde_json::{Value, json};

const GROUP: &str = "
[GROUPS.airtime]
MEMBERS = [\"ill\", \"well\"]
BALANCE = \"first\"
";

/// The rig's settings with a cap for `ill`, the first of the group.
fn settings() -> String {
    let window = "window = 1\n";
    assert!(SETTINGS.contains(window));
    SETTINGS.replace(window, "window = 1\ndaily_cap = 2\ncaps_reset = \"06:00+02:00\"\n") + GROUP
}

fn send(daemon: &Daemon, text: &str) -> String {
    let body = json!({ "backend": "airtime", "identity": "+254700000001", "text": text });
    let answer = daemon.post_json("/api/v1/messages", &body);
    assert_eq!(answer.status, 202, "{answer:?}");
    answer.json()["id"].as_str().expect("an id").to_string()
}

/// The one message's row and who had it in hand, in order.
fn history(daemon: &Daemon, id: &str) -> (Value, Vec<String>) {
    let message = daemon.get(&format!("/api/v1/messages/{id}")).json();
    let entries = message["history"].as_array().expect("a history").clone();
    let sending = entries.iter().filter(|entry| entry["state"] == "sending");
    let actors = sending.filter_map(|entry| entry["actor"].as_str().map(str::to_string)).collect();
    (message, actors)
}

fn sent(daemon: &Daemon, id: &str) -> (Value, Vec<String>) {
    daemon.wait_until("it is sent", |daemon| {
        Some(history(daemon, id)).filter(|(message, _)| message["state"] == "sent")
    })
}

/// What is over the cap of the first leaves by the second, in order; the pages say why, and the next process knows.
#[test]
fn a_group_sends_by_whoever_may() {
    let daemon = start_rig(folder(&settings()));
    let page = daemon.get("/api/v1/messages?backend=airtime");
    assert_eq!((page.status, page.json()["messages"].as_array().map(Vec::len)), (200, Some(0)));
    let ids: Vec<String> = (1..=4).map(|n| send(&daemon, &format!("number {n}"))).collect();
    wait_until_left(&daemon, (1..=4).map(|n| format!("number {n}")).collect());
    for (place, id) in ids.iter().enumerate() {
        let (message, actors) = sent(&daemon, id);
        assert_eq!(message["backend"], "airtime");
        assert_eq!(actors, [if place < 2 { "backend ill" } else { "backend well" }], "number {}", place + 1);
    }
    let log = daemon.log();
    let left: Vec<&str> =
        log.lines().filter_map(|line| line.strip_prefix("peer ")?.split(' ').next_back()).collect();
    assert_eq!(left, ["1", "2", "3", "4"], "P6: in order, whoever sends");

    let status = daemon.get("/healthz").json();
    assert_eq!(status["status"], "degraded");
    let why = "the daily cap of 2 is reached; it goes on at ";
    let reason = status["reasons"][0].as_str().expect("a reason");
    assert!(reason.starts_with(&format!("Backend ill sends nothing: {why}")), "{reason}");
    let backends = daemon.get("/api/v1/backends").json();
    let ill =
        backends["backends"].as_array().expect("a list").iter().find(|one| one["name"] == "ill").cloned();
    let ill = ill.expect("the backend");
    assert!(ill["sentence"].as_str().is_some_and(|sentence| sentence.contains(why)), "{ill}");
    assert!(ill["capped"].as_str().is_some_and(|capped| capped.starts_with(why)), "{ill}");
    assert_eq!(ill["waiting_parts"], 0);
    assert_eq!(backends["groups"], json!([{ "name": "airtime", "members": ["ill", "well"] }]));

    let ended = daemon.kill9();
    let command = rig_in(ended.folder.path());
    let daemon = Daemon::start_as(ended.folder, command);
    let id = send(&daemon, "number 5");
    assert_eq!(sent(&daemon, &id).1, ["backend well"], "what was counted outlasts the process");
    daemon.stop();
}

/// Where members take turns, one that is stuck delays nobody but what it has in hand; that is sent once more at most, by another.
#[test]
fn p7_isolation_a_stuck_member_is_stood_in_for() {
    let daemon = start_rig(folder(&(SETTINGS.to_string() + &GROUP.replace("first", "in turn"))));
    let stuck = send(&daemon, "hang");
    daemon.wait_for_line("peer ill hangs");
    let other = json!({ "backend": "airtime", "identity": "+254700000002", "text": "hello" });
    let id = daemon.post_json("/api/v1/messages", &other).json()["id"].as_str().expect("an id").to_string();
    assert_eq!(sent(&daemon, &id).1, ["backend well"]);
    daemon.wait_for_line("peer well hangs");
    assert_eq!(history(&daemon, &stuck).1, ["backend ill", "backend well"]);
    let ended = daemon.kill9();
    assert!(ended.log.contains("was given up"), "{}", ended.log);
}

/// With no router running a message for a group goes into the store, and leaves when one does.
#[test]
fn a_message_for_a_group_can_wait_for_the_router() {
    let folder = folder(&format!(
        "INSTALLED_APPS = [\"echo\"]\n[web]\nlisten = \"127.0.0.1:0\"\n[INSTALLED_BACKENDS.ill]\nENGINE = \"bucket\"\n[INSTALLED_BACKENDS.well]\nENGINE = \"bucket\"\n{GROUP}"
    ));
    let id = super::daemon::rapidsms(folder.path(), &["send", "airtime", "+1", "hello"]).exits(0);
    let id = id.out.trim().to_string();
    let unknown = super::daemon::rapidsms(folder.path(), &["send", "airtme", "+1", "hello"]).exits(1);
    assert!(unknown.err.contains("configured: ill, well, airtime"), "{}", unknown.err);
    let daemon = Daemon::start_in(folder);
    // Whichever thread was ready first.
    let (_, actors) = sent(&daemon, &id);
    assert!(actors == ["backend ill"] || actors == ["backend well"], "{actors:?}");
    daemon.stop();
}
