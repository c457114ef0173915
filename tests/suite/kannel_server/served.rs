//! The interface as the daemon serves it: who is let in, by which listener, what is stored, the status, and what happens in trouble.

use super::super::daemon::{Daemon, PATIENCE, folder};
use super::project::sendsms;
use rustix::process::Signal;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

/// A web listener with a token, and one of Kannel's own.
fn settings(own: &str) -> String {
    format!(
        r#"
INSTALLED_APPS = ["echo"]

[web]
listen = "127.0.0.1:0"
token = "0123456789abcdef"

[kannel_server]
listen = "{own}"
backend = "phone"
status_password = "look"

[kannel_server.users.tester]
password = "sesame-77"
max_messages = 2

[INSTALLED_BACKENDS.phone]
ENGINE = "httptester"

[INSTALLED_BACKENDS."dead & gone"]
ENGINE = "gsm"
PORT = "/dev/gone"
"#
    )
}

/// A port that was free a moment ago.
fn free() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

const GOOD: &str = "/cgi-bin/sendsms?user=tester&pass=sesame-77&from=1&to=111&text=";

fn raw(address: &str, request: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(request.as_bytes()).unwrap();
    let mut text = String::new();
    // A connection that is closed without an answer may be reset.
    let _ = stream.read_to_string(&mut text);
    text
}

#[test]
fn both_listeners_serve_it_by_its_own_trust_and_the_own_one_nothing_else() {
    let own = free();
    let daemon = Daemon::start(&settings(&own));
    for address in [&own, &daemon.address] {
        let answer = sendsms(address, &format!("{GOOD}hello")).unwrap();
        assert_eq!(
            (answer.status, answer.body.as_str()),
            (202, "0: Accepted for delivery"),
            "{}",
            answer.head
        );
        assert!(answer.head.contains("\r\nContent-Type: text/html\r\n"), "{}", answer.head);
        assert!(answer.head.contains("\r\nContent-Length: 24"), "no line end: {}", answer.head);
        let answer = sendsms(address, "/cgi-bin/sendsms?user=tester&pass=wrong&to=1").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (403, "Authorization failed for sendsms"));
        let answer = sendsms(address, "/status.xml").unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (200, "Denied"));
    }
    for path in ["/", "/api/v1/messages", "/healthz", "/httptester/", "/cgi-bin/sendsms/", "/status.html"] {
        let answer = sendsms(&own, path).unwrap();
        assert_eq!((answer.status, answer.body.as_str()), (404, "Unknown request."), "{path}");
    }
    assert_eq!(daemon.get("/api/v1/messages").status, 401, "the rest of the site keeps its token");
    let log = daemon.log();
    assert!(!log.contains("sesame-77") && !log.contains("pass="), "{log}");
    assert!(log.contains("the password of user tester is wrong"), "{log}");
}

#[test]
fn head_sends_nothing() {
    let own = free();
    let daemon = Daemon::start(&settings(&own));
    let answer = raw(&own, &format!("HEAD {GOOD}never HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 405 ") && answer.contains("Allow: GET, POST"), "{answer}");
    let answer = raw(&own, &format!("PUT {GOOD}never HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"));
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(sendsms(&own, &format!("{GOOD}first")).unwrap().status, 202);
    let listed = daemon.rapidsms(&["messages", "--json"]).exits(0).json();
    assert_eq!(listed.as_array().unwrap().len(), 1, "{listed}");
}

#[test]
fn a_text_is_refused_rather_than_cut() {
    let own = free();
    let daemon = Daemon::start(&settings(&own));
    let answer = sendsms(&own, &format!("{GOOD}{}", "x".repeat(307))).unwrap();
    assert_eq!(answer.status, 400);
    assert!(answer.body.starts_with("Message too long"), "{}", answer.body);
    assert_eq!(sendsms(&own, &format!("{GOOD}{}", "x".repeat(306))).unwrap().status, 202);
    let answer = sendsms(&own, &format!("{GOOD}{}", "x".repeat(20_000))).unwrap();
    assert_eq!(answer.status, 414, "the listener's own bound");
    drop(daemon);
}

#[test]
fn the_status_has_kannels_shape() {
    let own = free();
    let daemon = Daemon::start(&settings(&own));
    assert_eq!(sendsms(&own, &format!("{GOOD}hello")).unwrap().status, 202);
    let xml = daemon.wait_until("it is sent", |_| {
        let xml = sendsms(&own, "/cgi-bin/status.xml?password=look").unwrap().body;
        xml.contains("<sent>1</sent>").then_some(xml)
    });
    let pieces = |name: &str| {
        let (open, close) = (format!("<{name}>"), format!("</{name}>"));
        xml.split(&open)
            .skip(1)
            .map(|rest| rest.split(&close).next().unwrap().to_string())
            .collect::<Vec<_>>()
    };
    assert!(xml.starts_with("<?xml version=\"1.0\"?>\n<gateway>"), "{xml}");
    assert_eq!(pieces("count"), ["2"]);
    assert_eq!(pieces("admin-id"), ["phone", "dead &amp; gone"]);
    let states = pieces("status");
    assert!(states[0].starts_with("running, uptime 0d 0h "), "{states:?}");
    assert!(states[1].starts_with("online ") && states[1].ends_with('s'), "{states:?}");
    assert!(["re-connecting", "dead", "connecting"].contains(&states[2].as_str()), "{states:?}");
    // A strict reader takes it.
    let mut reader = quick_xml::Reader::from_str(&xml);
    while reader.read_event().unwrap() != quick_xml::events::Event::Eof {}
    let text = sendsms(&daemon.address, "/status.txt?password=look").unwrap();
    assert_eq!(text.status, 200);
    assert!(text.body.contains("Status: running") && text.body.contains("phone[phone]"), "{}", text.body);
    assert_eq!(sendsms(&own, "/status?password=loo").unwrap().body, "Denied");
}

#[test]
fn without_the_table_there_is_nothing() {
    let daemon =
        Daemon::start("[web]\nlisten = \"127.0.0.1:0\"\n[INSTALLED_BACKENDS.a]\nENGINE = \"bucket\"\n");
    assert_eq!(daemon.get(&format!("{GOOD}x")).status, 404);
    assert_eq!(daemon.get("/status.xml").status, 404);
}

#[test]
fn users_follow_the_settings_at_a_reload() {
    let own = free();
    let daemon = Daemon::start(&settings(&own));
    assert_eq!(sendsms(&own, &format!("{GOOD}x")).unwrap().status, 202);
    let changed = settings(&own).replace("\"sesame-77\"", "\"other\"");
    std::fs::write(daemon.folder().join("settings.toml"), changed).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for_line("the settings were reloaded");
    assert_eq!(sendsms(&own, &format!("{GOOD}x")).unwrap().status, 403);
    assert_eq!(sendsms(&own, &format!("{GOOD}x").replace("sesame-77", "other")).unwrap().status, 202);
    let off = settings(&own).replace("backend = \"phone\"", "enabled = false\nbackend = \"phone\"");
    std::fs::write(daemon.folder().join("settings.toml"), off).unwrap();
    daemon.signal(Signal::HUP);
    daemon.wait_for_line("the settings were reloaded");
    assert_eq!(sendsms(&own, &format!("{GOOD}x")).unwrap().body, "Unknown request.");
}

/// Programs are told "later"; a Kannel, to which every status means "never", is told nothing.
#[test]
fn when_the_store_cannot_take_it_nobody_is_told_yes() {
    let own = free();
    let home = folder(&settings(&own));
    let limited = {
        let mut command = std::process::Command::new("sh");
        // Files of this process end after so many blocks of 512 octets.
        command.args(["-c", "ulimit -f 4096; trap '' XFSZ; exec \"$0\" run_router"]);
        command.arg(env!("CARGO_BIN_EXE_rapidsms")).current_dir(home.path());
        command
    };
    let daemon = Daemon::start_as(home, limited);
    let text = "x".repeat(300);
    let refused = daemon.wait_until("the disk is full", |_| {
        let answer = sendsms(&own, &format!("{GOOD}{text}")).ok()?;
        (answer.status != 202).then_some(answer)
    });
    assert_eq!((refused.status, refused.body.as_str()), (503, "Temporal failure, try again later."));
    assert!(refused.head.contains("Retry-After: "), "{}", refused.head);
    for agent in ["", "User-Agent: Kannel/1.4.5\r\n"] {
        let request = format!("GET {GOOD}{text} HTTP/1.1\r\nHost: a\r\n{agent}\r\n");
        assert_eq!(raw(&own, &request), "", "no answer at all");
    }
    daemon.wait_for_line("from a Kannel, which is not answered");
}
