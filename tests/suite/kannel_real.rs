//! The kannel engine with Debian's real Kannel between it and the phones: both directions, reports, long and foreign texts, restarts, wrong passwords.

use super::daemon::{Daemon, PATIENCE, folder, program, write};
use super::kannel_rig::{ADMIN, Kannel, PASSWORD, Phones, Ports, SMSC, USER, service};
use rustix::process::Signal;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// Settings of a router that has this Kannel.
fn settings(ports: Ports, password: &str, more: &str) -> String {
    let Ports { admin, sendsms, router, .. } = ports;
    format!(
        r#"
INSTALLED_APPS = ["echo"]

[web]
listen = "127.0.0.1:{router}"

[INSTALLED_BACKENDS.message_tester]
ENGINE = "bucket"

[INSTALLED_BACKENDS.kannel]
ENGINE = "kannel"
sendsms_url = "http://127.0.0.1:{sendsms}/cgi-bin/sendsms"
sendsms_params = {{ smsc = "{SMSC}", from = 1234, username = "{USER}", password = "{password}" }}
delivery_report_url = "http://127.0.0.1:{router}"
status_url = "http://127.0.0.1:{admin}/status.xml"
status_password = "{ADMIN}"
max_messages = 20
{more}
"#
    )
}

/// What Kannel calls for each message.
fn get_url(ports: Ports, more: &str) -> String {
    format!(
        "http://127.0.0.1:{}/backend/kannel/?id=%p&text=%b&charset=%C&coding=%c&message_id=%I{more}",
        ports.router
    )
}

fn start(more: &str, get_url_more: &str) -> (Daemon, Kannel, Phones) {
    let ports = Ports::free();
    let daemon = Daemon::start(&settings(ports, PASSWORD, more));
    let kannel = Kannel::start(ports, &service(&get_url(ports, get_url_more)));
    let phones = kannel.phones();
    (daemon, kannel, phones)
}

fn send(daemon: &Daemon, identity: &str, text: &str) -> String {
    let message = json!({ "backend": "kannel", "identity": identity, "text": text });
    let answer = daemon.post_json("/api/v1/messages", &message);
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.json()["id"].as_str().expect("an id").to_string()
}

/// Waits until a message is in this state, and returns it with its history.
#[track_caller]
fn becomes(daemon: &Daemon, id: &str, state: &str) -> Value {
    daemon.wait_until(&format!("{id} is {state}"), |daemon| {
        let message = daemon.get(&format!("/api/v1/messages/{id}")).json();
        (message["state"] == state).then_some(message)
    })
}

/// The state and the sentence of the backend.
fn standing(daemon: &Daemon) -> (String, String) {
    let backends = daemon.get("/api/v1/backends").json();
    let list = backends["backends"].as_array().or(backends.as_array()).expect("a list").clone();
    let kannel = list.into_iter().find(|backend| backend["name"] == "kannel").expect("the backend");
    let word = |key: &str| kannel[key].as_str().unwrap_or_default().to_string();
    (word("state"), word("sentence"))
}

#[test]
fn people_are_answered_and_their_answers_are_reported() {
    let (daemon, kannel, mut phones) = start("", "");
    phones.say("+15551230001", "1234", "echo hello world");
    let sms = phones.next();
    assert_eq!(
        (&*sms.from, &*sms.to, &*sms.kind, &*sms.text()),
        ("1234", "+15551230001", "text", "hello world")
    );

    // Letters of the GSM alphabet stay in it, others are UCS-2; Kannel turns none into "?".
    phones.say("+15551230001", "1234", "echo café {€} ÄÖÑ Ω ~");
    let sms = phones.next();
    assert_eq!((&*sms.kind, &*sms.text()), ("text", "café {€} ÄÖÑ Ω ~"));
    for text in ["ሰላም", "مرحبا بالعالم", "привет", "😀 ok", "naïve"] {
        phones.say_ucs2("+15551230002", "1234", &format!("echo {text}"));
        let sms = phones.next();
        assert_eq!((&*sms.to, &*sms.kind, &*sms.text()), ("+15551230002", "ucs-2", text));
    }

    // Each was delivered, says the carrier, and Kannel sent nothing of its own in between.
    let sent = daemon.wait_until("all are delivered", |daemon| {
        let sent = daemon.messages("direction=out");
        sent.iter().all(|message| message["state"] == "delivered").then_some(sent)
    });
    assert_eq!(sent.len(), 7);
    // Kannel makes its calls side by side, so this one may come last.
    let newest = sent[0]["id"].as_str().expect("an id");
    daemon.wait_until("the carrier's word is noted", |daemon| {
        let message = daemon.get(&format!("/api/v1/messages/{newest}")).json();
        message["history"].to_string().contains("the carrier has it (smsc FAKE)").then_some(())
    });
    assert_eq!(daemon.messages("direction=in&state=handled").len(), 7);
    assert_eq!(phones.next_within(Duration::from_millis(1)), None, "{}", kannel.log());
}

#[test]
fn long_texts_arrive_whole() {
    let (daemon, _kannel, mut phones) = start("", "");
    let long: String = (0..80).map(|number| format!("{number} eggs, ")).collect();
    let foreign: String = (0..60).map(|number| format!("{number} እንቁላል, ")).collect();
    for (text, parts) in [(&long, 5), (&foreign, 10)] {
        // Without a report, which might come before Kannel's answer has been read.
        let message =
            json!({ "backend": "kannel", "identity": "+15551230003", "text": text, "report": false });
        let id =
            daemon.post_json("/api/v1/messages", &message).json()["id"].as_str().expect("an id").to_string();
        let (arrived, count) = phones.next_text();
        assert_eq!(&arrived, text);
        // Kannel counts as we do, give or take the borders.
        let message = becomes(&daemon, &id, "sent");
        let told = message["parts"].as_u64().expect("a count");
        assert!(told.abs_diff(count as u64) <= 1, "{count} arrived, {told} were told");
        assert!(count.abs_diff(parts) <= 2, "{count}");
    }
    let id = send(&daemon, "+15551230003", &long);
    assert_eq!(phones.next_text().0, long);
    becomes(&daemon, &id, "delivered");
    let question = format!("echo {}", long.trim());
    phones.say("+15551230003", "1234", &question);
    assert_eq!(phones.next_text().0, long.trim());
    // In parts, in any order: Kannel joins them, and hands in one message.
    phones.say_part("+15551230004", "1234", 7, 2, 2, " and the second");
    phones.say_part("+15551230004", "1234", 7, 2, 1, "echo the first half");
    assert_eq!(phones.next_text().0, "the first half and the second");

    let id = send(&daemon, "+15551230003", &"x".repeat(20 * 153 + 1));
    let failed = becomes(&daemon, &id, "failed");
    assert!(failed["reason"].as_str().is_some_and(|why| why.contains("more than 20 parts")), "{failed}");
}

#[test]
fn every_letter_of_the_gsm_alphabet_arrives() {
    let (daemon, _kannel, phones) = start("", "");
    let alphabet = "@£$¥èéùìòÇØøÅåΔ_ΦΓΛΩΠΨΣΘΞ^{}\\[~]|€ÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCDEFGHIJKLMNOPQRSTUVWXYZÄÖÑÜ§¿abcdefghijklmnopqrstuvwxyzäöñüà.";
    send(&daemon, "+15551230001", alphabet);
    let sms = phones.next();
    assert_eq!((&*sms.kind, &*sms.text()), ("text", alphabet));
}

#[test]
fn what_is_no_text_is_kept() {
    let (daemon, _kannel, mut phones) = start("", "");
    phones.say_octets("+15551230001", "1234", b"\x00\x01\xff");
    let kept = daemon.wait_until("it is kept", |daemon| daemon.messages("state=quarantined").pop());
    assert_eq!(kept["identity"], "+15551230001");
    phones.say("+15551230001", "1234", "echo still here");
    assert_eq!(phones.next().text(), "still here");
}

#[test]
fn a_wrong_password_stops_the_line_and_loses_nothing() {
    let ports = Ports::free();
    let daemon = Daemon::start(&settings(ports, "wrong", ""));
    let kannel = Kannel::start(ports, &service(&get_url(ports, "")));
    let phones = kannel.phones();
    let ids: Vec<String> = (0..3)
        .map(|number| send(&daemon, &format!("+1555123000{number}"), &format!("text {number}")))
        .collect();
    daemon.wait_for_line("Kannel refuses username and password");
    let (_, sentence) = standing(&daemon);
    assert!(!sentence.contains("wrong") && !daemon.log().contains("=wrong"), "{sentence}");
    assert_eq!(daemon.get("/api/v1/messages?state=failed").json()["messages"], json!([]));

    write(daemon.folder(), "settings.toml", &settings(ports, PASSWORD, ""));
    daemon.signal(Signal::HUP);
    let after = send(&daemon, "+15551239999", "after");
    for id in ids.iter().chain([&after]) {
        becomes(&daemon, id, "delivered");
    }
    let mut arrived: Vec<String> = (0..4).map(|_| phones.next().text()).collect();
    arrived.sort();
    assert_eq!(arrived, ["after", "text 0", "text 1", "text 2"]);
}

#[test]
fn a_kannel_that_is_killed_and_started_again_loses_nothing_of_ours() {
    let (daemon, mut kannel, phones) = start("", "");
    let say =
        |number: usize| (send(&daemon, &format!("+1555123{number:04}"), &format!("text {number}")), number);
    let mut ids: Vec<(String, usize)> = (0..40).map(say).collect();
    let mut arrived: Vec<String> = (0..10).map(|_| phones.next().text()).collect();

    // In the midst of it, with requests under way.
    kannel.kill();
    arrived.extend(std::iter::from_fn(|| phones.next_within(Duration::from_millis(1))).map(|sms| sms.text()));
    drop(phones);
    ids.extend((40..45).map(say));
    // Nothing is tried in vain for long: the backend is down and says so.
    daemon.wait_until("it is down", |daemon| {
        let (state, sentence) = standing(daemon);
        (state == "down" && sentence.contains("could not be reached")).then_some(())
    });
    ids.extend((45..50).map(say));
    kannel.start_again();
    let phones = kannel.phones();
    let deadline = Instant::now() + 2 * PATIENCE;
    while !(0..50).all(|number| arrived.contains(&format!("text {number}"))) {
        let left = deadline.saturating_duration_since(Instant::now());
        let Some(sms) = phones.next_within(left) else {
            panic!("{arrived:?}\n{}\n{}", daemon.log(), kannel.log())
        };
        arrived.push(sms.text());
    }
    // Kannel may repeat what it had not written off; of ours a second request needs a doubt or a certain failure before it.
    for (id, number) in &ids {
        let message = daemon.wait_until("it is settled", |daemon| {
            let message = daemon.get(&format!("/api/v1/messages/{id}")).json();
            matches!(message["state"].as_str(), Some("sent" | "delivered")).then_some(message)
        });
        let history = message["history"].to_string();
        let reasons =
            history.matches("\"uncertain\"").count() + history.matches("could not be reached").count();
        let attempts = message["attempts"].as_u64().expect("a count");
        assert!(attempts <= 1 + reasons as u64, "text {number}: {message}");
    }
}

#[test]
fn a_router_that_is_killed_gets_what_kannel_kept() {
    let ports = Ports::free();
    let daemon = Daemon::start(&settings(ports, PASSWORD, ""));
    let kannel = Kannel::start(ports, &service(&get_url(ports, "")));
    let mut phones = kannel.phones();
    phones.say("+15551230001", "1234", "echo before");
    assert_eq!(phones.next().text(), "before");
    let ended = daemon.kill9();
    phones.say("+15551230001", "1234", "echo meanwhile");
    kannel.smsbox_says("Couldn't fetch");
    let daemon = Daemon::start_in(ended.folder);
    assert_eq!(phones.next().text(), "meanwhile");
    daemon.wait_until("both were handled once", |daemon| {
        (daemon.messages("direction=in&state=handled").len() == 2).then_some(())
    });
    assert_eq!(daemon.messages("direction=out").len(), 2);
}

#[test]
fn a_stopped_link_delays_and_never_fails_a_message() {
    let (daemon, kannel, phones) = start("", "");
    // Kannel answers "Not routable. Do not try again." and calls the dlr-url with 16; both are wrong a minute later.
    assert!(kannel.order("stop-smsc?smsc=FAKE").contains("shut down"), "{}", kannel.log());
    drop(phones);
    let id = send(&daemon, "+15551230001", "patience");
    let waiting = daemon.wait_until("it was refused", |daemon| {
        let message = daemon.get(&format!("/api/v1/messages/{id}")).json();
        let history = message["history"].to_string();
        (history.contains("Not routable") && history.contains("no link for it")).then_some(message)
    });
    assert_eq!(waiting["state"], "queued", "{waiting}");
    assert!(kannel.order("start-smsc?smsc=FAKE").contains("re-started"), "{}", kannel.log());
    let phones = kannel.phones();
    assert_eq!(phones.next().text(), "patience");
    becomes(&daemon, &id, "delivered");
}

#[test]
fn a_link_that_is_not_there_yet_gets_its_messages_later() {
    let ports = Ports::free();
    let daemon = Daemon::start(&settings(ports, PASSWORD, ""));
    let kannel = Kannel::start(ports, &service(&get_url(ports, "")));
    let id = send(&daemon, "+15551230001", "early");
    let sent = becomes(&daemon, &id, "sent");
    assert!(sent["history"].to_string().contains("Queued for later delivery"), "{sent}");
    assert_eq!(kannel.phones().next().text(), "early");
    becomes(&daemon, &id, "delivered");
}

#[test]
fn kannels_refusals_fail_a_message_with_its_words() {
    let (daemon, _kannel, phones) = start("", "");
    let id = send(&daemon, "nonumber", "hello");
    let failed = becomes(&daemon, &id, "failed");
    assert!(
        failed["reason"].as_str().is_some_and(|why| why.contains("denied by white- and/or black-lists")),
        "{failed}"
    );
    // A number with blanks is one number, and not three.
    let id = send(&daemon, "+1 555 1230001", "hello");
    assert_eq!(phones.next().to, "+15551230001");
    becomes(&daemon, &id, "delivered");
}

#[test]
fn secrets_pass_through_kannels_escapes() {
    // Encoded it has %C3 and %A9: the escapes %C and %A, if nobody takes care.
    let secret = "s&mé%d+/ =%%";
    let encoded: String = form_urlencoded::byte_serialize(secret.as_bytes()).collect();
    // In a get-url every percent sign that is no escape is doubled, too.
    let in_url = format!("&secret={}", encoded.replace('%', "%%"));
    let (daemon, _kannel, mut phones) = start(&format!("secret = \"{secret}\""), &in_url);
    phones.say("+15551230001", "1234", "echo open");
    assert_eq!(phones.next().text(), "open");
    daemon.wait_until("the report came in", |daemon| daemon.messages("state=delivered").pop());
    let answer = daemon.get("/backend/kannel/?id=1555&text=echo+closed");
    assert_eq!(answer.status, 403, "{}", answer.body);
    assert!(!daemon.log().contains("s&m"), "{}", daemon.log());
}

#[test]
fn the_backend_tells_how_kannels_link_is() {
    let ports = Ports::free();
    let kannel = Kannel::start(ports, &service(&get_url(ports, "")));
    let _phones = kannel.phones();
    let daemon = Daemon::start(&settings(ports, PASSWORD, ""));
    let sentence = daemon.wait_until("it tells", |daemon| {
        let (state, sentence) = standing(daemon);
        (state == "up" && sentence.contains("smsc FAKE")).then_some(sentence)
    });
    assert!(
        sentence.starts_with("Kannel 1.4") && sentence.contains("running: smsc FAKE online"),
        "{sentence}"
    );
}

/// The telephone network of Kannel's own authors in place of ours.
#[test]
fn kannels_own_fake_service_center_agrees() {
    let ports = Ports::free();
    let _daemon = Daemon::start(&settings(ports, PASSWORD, ""));
    let _kannel = Kannel::start(ports, &service(&get_url(ports, "")));
    let path = ["/usr/lib/kannel/test/fakesmsc", "/usr/bin/fakesmsc", "/usr/sbin/fakesmsc"]
        .into_iter()
        .find(|path| std::path::Path::new(path).exists())
        .unwrap_or_else(|| {
            panic!("fakesmsc is needed for the tests with a real Kannel: apt-get install kannel-extras")
        });
    let mut command = Command::new(path);
    let (port, message) = (ports.link.to_string(), "+15551230001 1234 text echo hello from fakesmsc");
    command.args(["-H", "127.0.0.1", "-r", &port, "-i", "0.1", "-m", "1", message]);
    let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("fakesmsc starts");
    let lines = BufReader::new(child.stderr.take().expect("a pipe")).lines().map_while(Result::ok);
    let (sender, said) = std::sync::mpsc::channel();
    let reader = std::thread::spawn(move || {
        for line in lines {
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    let deadline = Instant::now() + PATIENCE;
    let mut log = Vec::new();
    let answered = loop {
        match said.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) if line.contains("<1234 +15551230001 text hello from fakesmsc>") => break true,
            Ok(line) => log.push(line),
            Err(_) => break false,
        }
    };
    let _ = child.kill();
    let _ = child.wait();
    drop(said);
    let _ = reader.join();
    assert!(answered, "{}", log.join("\n"));
}

/// The command line shows what would leave, and what an answer would mean.
#[test]
fn a_dry_run_shows_the_request_and_sends_nothing() {
    let ports = Ports::free();
    let folder = folder(&settings(ports, PASSWORD, ""));
    let mut command = program(folder.path());
    command.args(["send", "--dry-run", "kannel", "+15551230001", "ሰላም"]);
    let output = command.output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{output:?}");
    assert!(text.contains("password=***") && text.contains("coding=2") && !text.contains(PASSWORD), "{text}");
}
