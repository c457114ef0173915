//! A RapidSMS project behind this router, played: its requests are those that RapidSMS 2.2.0 was seen to make, in its order. K1 to K10 are what the
//! router must do for it.

use super::super::daemon::{Answer, Daemon, Ended, PATIENCE};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

/// One request that a peer was sent.
#[derive(Clone, Debug)]
pub struct Asked {
    pub method: String,
    /// With its query, as it came.
    pub target: String,
    pub head: String,
    pub body: Vec<u8>,
}

/// A small HTTP server: each connection brings one request; what the closure says is the whole answer.
pub struct Peer {
    pub address: String,
    asked: Receiver<Asked>,
    over: Arc<AtomicBool>,
}

impl Peer {
    pub fn start(answer: impl Fn(&Asked) -> String + Send + Sync + 'static) -> Peer {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (tell, asked) = channel();
        let over = Arc::new(AtomicBool::new(false));
        let (ended, answer) = (Arc::clone(&over), Arc::new(answer));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if ended.load(Ordering::Acquire) {
                    return;
                }
                let (answer, tell) = (Arc::clone(&answer), tell.clone());
                std::thread::spawn(move || {
                    let Ok(stream) = stream else { return };
                    let Ok(asked) = read(&stream) else { return };
                    let _ = tell.send(asked.clone());
                    let said = answer(&asked);
                    let _ = (&stream).write_all(said.as_bytes());
                });
            }
        });
        Peer { address, asked, over }
    }

    /// The next request.
    #[track_caller]
    pub fn asked(&self) -> Asked {
        self.asked.recv_timeout(PATIENCE).expect("a request")
    }

    /// Fails when there is another one within this time.
    #[track_caller]
    pub fn is_left_alone(&self, time: Duration) {
        match self.asked.recv_timeout(time) {
            Err(RecvTimeoutError::Timeout) => {}
            other => panic!("it is asked again: {other:?}"),
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
        let _ = TcpStream::connect(&self.address);
    }
}

fn read(stream: &TcpStream) -> std::io::Result<Asked> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut reader = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let start = head.len();
        if reader.read_line(&mut head)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        let line = head[start..].trim().to_ascii_lowercase();
        if let Some(value) = line.strip_prefix("content-length:") {
            length = value.trim().parse().map_err(std::io::Error::other)?;
        }
        if line.is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let mut words = head.split(' ');
    let method = words.next().unwrap_or_default().to_string();
    let target = words.next().unwrap_or_default().to_string();
    Ok(Asked { method, target, head, body })
}

/// A whole answer.
pub fn answer(status: u16, kind: &str, body: &str) -> String {
    format!(
        "HTTP/1.1 {status} X\r\nContent-Type: {kind}\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
        body.len()
    )
}

/// What Django answers when all went well.
fn well(body: &str) -> String {
    answer(200, "text/html; charset=utf-8", body)
}

/// Settings of a router in front of a project: one phone line, the line's name as Kannel's settings had it, and more of what the app is told.
pub fn settings(peer: &Peer, app: &str) -> String {
    format!(
        r#"
INSTALLED_APPS = ["project", "echo"]

[web]
listen = "127.0.0.1:0"

[kannel_server]
backend = "phone"
smscs = {{ FAKE = "phone" }}

[kannel_server.users.rapidsms]
password = "change-me"

[INSTALLED_BACKENDS.phone]
ENGINE = "httptester"

[APPS.project]
ENGINE = "kannel_service"
get_url = "http://{}/backend/kannel-ascii/?id=%q&text=%b&charset=%C&coding=%c"
retry_delay = "100 ms"
{app}
"#,
        peer.address
    )
}

/// The request that RapidSMS was recorded with.
pub fn recorded(identity: &str, text: &str) -> String {
    format!(
        "/cgi-bin/sendsms?smsc=FAKE&from=1234&username=rapidsms&password=change-me&to={identity}&text={text}&coding=0&charset=ascii"
    )
}

/// Sends as RapidSMS does, from anywhere.
pub fn sendsms(address: &str, target: &str) -> std::io::Result<Answer> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    write!(
        stream,
        "GET {target} HTTP/1.1\r\nHost: {address}\r\nUser-Agent: python-requests/2.32\r\nAccept: */*\r\nConnection: close\r\n\r\n"
    )?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    let (head, body) = text.split_once("\r\n\r\n").ok_or(std::io::ErrorKind::UnexpectedEof)?;
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    Ok(Answer { status, head: head.to_string(), body: body.to_string() })
}

/// Somebody sends a text by the phone line.
#[track_caller]
pub fn says(daemon: &Daemon, identity: &str, text: &str) {
    let answer = daemon.post("/httptester/phone/", &[("identity", identity), ("text", text)]);
    assert_eq!((answer.status, answer.body.as_str()), (200, "OK"), "{}", daemon.log());
}

/// Waits until the received message with this text is in this state, and returns it.
#[track_caller]
pub fn becomes(daemon: &Daemon, text: &str, state: &str) -> serde_json::Value {
    daemon.wait_until(&format!("{text:?} is {state}"), |daemon| {
        let mut messages = daemon.messages(&format!("direction=in&state={state}")).into_iter();
        messages.find(|message| message["text"] == text)
    })
}

#[track_caller]
fn nobody_is_answered(daemon: &Daemon) {
    assert_eq!(daemon.messages("direction=out"), [] as [serde_json::Value; 0]);
}

#[test]
fn k1_sendsms_is_served_while_our_own_request_is_open() {
    let router = Arc::new(OnceLock::<String>::new());
    let calls = Arc::clone(&router);
    let heard = Arc::new(Mutex::new(Vec::new()));
    let answers = Arc::clone(&heard);
    let peer = Peer::start(move |_| {
        let address = calls.get().expect("the router is there");
        let reply = sendsms(address, &recorded("%2B15551230001", "hello+world")).unwrap();
        answers.lock().unwrap().push((reply.status, reply.body));
        well("")
    });
    let daemon = Daemon::start(&settings(&peer, "workers = 1"));
    router.set(daemon.address.clone()).unwrap();
    says(&daemon, "+15551230001", "echo hello world");
    daemon.answers("+15551230001", "hello world");
    becomes(&daemon, "echo hello world", "handled");
    assert_eq!(*heard.lock().unwrap(), [(202, "0: Accepted for delivery".to_string())]);
    assert_eq!(daemon.messages("direction=out").len(), 1, "K9: an empty body is no reply");
}

#[test]
fn k2_k3_recorded_requests_are_taken() {
    let peer = Peer::start(|_| well(""));
    let daemon = Daemon::start(&settings(&peer, ""));
    let answer = daemon.get(&recorded("%2B15551230001", "hello+world"));
    assert_eq!((answer.status, answer.body.as_str()), (202, "0: Accepted for delivery"), "{}", answer.head);
    daemon.answers("+15551230001", "hello world");
    let answer = daemon.get(&recorded("111+222", "to+both"));
    assert_eq!(answer.status, 202);
    daemon.answers("111", "to both");
    daemon.answers("222", "to both");
    let ids = answer.head.lines().find_map(|line| line.strip_prefix("X-Message-Id: ")).expect("ids");
    assert_eq!(ids.split(' ').count(), 2, "{ids}");
    assert_eq!(daemon.get(&format!("/api/v1/messages/{}", &ids[..36])).json()["identity"], "111");
}

#[test]
fn k4_accepted_means_on_disk() {
    let peer = Peer::start(|_| well(""));
    let mut daemon = Daemon::start(&settings(&peer, ""));
    for round in 0..5 {
        let answer = daemon.get(&recorded("111", &format!("round-{round}")));
        assert_eq!(answer.status, 202);
        let Ended { folder, .. } = daemon.kill9();
        daemon = Daemon::start_in(folder);
        daemon.wait_until("it left", |daemon| {
            let sent = daemon.messages("direction=out&limit=100");
            sent.into_iter().find(|message| message["text"] == format!("round-{round}").as_str())
        });
    }
}

#[test]
fn k5_text_is_utf_8_and_a_plus_is_encoded() {
    let peer = Peer::start(|_| well(""));
    let daemon = Daemon::start(&settings(&peer, ""));
    says(&daemon, "+15551230001", "caf\u{e9} \u{1221} a+b&c=d%");
    let asked = peer.asked();
    assert_eq!(asked.method, "GET");
    assert_eq!(
        asked.target,
        "/backend/kannel-ascii/?id=%2B15551230001&text=caf%C3%A9%20%E1%88%A1%20a%2Bb%26c%3Dd%25&charset=UTF-8&coding=0"
    );
}

#[test]
fn k6_a_400_is_not_tried_again_and_nobody_is_told() {
    let peer = Peer::start(|_| answer(400, "text/html", "form failed to validate"));
    let daemon = Daemon::start(&settings(&peer, "retries = 5"));
    says(&daemon, "+1", " ");
    let failed = becomes(&daemon, " ", "failed");
    assert!(failed["reason"].as_str().unwrap().contains("answered 400"), "{failed}");
    peer.asked();
    peer.is_left_alone(Duration::from_millis(500));
    nobody_is_answered(&daemon);
}

#[test]
fn k7_a_failing_app_is_asked_a_few_times_then_the_message_is_set_aside() {
    let peer = Peer::start(|_| answer(500, "text/html", "Traceback (most recent call last)"));
    let daemon = Daemon::start(&settings(&peer, "retries = 2"));
    says(&daemon, "+1", "echo break");
    let failed = becomes(&daemon, "echo break", "failed");
    let reason = failed["reason"].as_str().unwrap();
    assert!(
        reason.contains("app project failed: it answered 500") && reason.contains("tried 3 times"),
        "{reason}"
    );
    for _ in 0..3 {
        peer.asked();
    }
    peer.is_left_alone(Duration::from_millis(500));
    nobody_is_answered(&daemon);
}

#[test]
fn k7_an_error_text_is_sent_where_the_settings_want_it() {
    let peer = Peer::start(|_| answer(500, "text/html", "no"));
    let daemon = Daemon::start(&settings(&peer, "retries = 0\nerror_text = \"Please try again later.\""));
    says(&daemon, "+1", "break");
    daemon.answers("+1", "Please try again later.");
}

/// The fields that RapidSMS demands of a delivery report, each as it wants it; it answers 400 when one is missing.
#[test]
fn k8_a_delivery_report_has_everything_that_rapidsms_demands() {
    let peer = Peer::start(|_| well(""));
    let daemon = Daemon::start(&settings(&peer, ""));
    let url = format!(
        "http://{}/delivery-report/?message_id=0123456789abcdef0123456789abcdef&status=%d&status_text=%A&smsc=%i&sms_id=%I&date_sent=%t&identity=%p",
        peer.address
    );
    let encoded: String = url.bytes().map(|octet| format!("%{octet:02X}")).collect();
    let target = format!("{}&dlr-mask=31&dlr-url={encoded}", recorded("%2B15551230001", "hello+world"));
    assert_eq!(daemon.get(&target).status, 202);
    let asked = peer.asked();
    let (path, query) = asked.target.split_once('?').expect("a query");
    assert_eq!((asked.method.as_str(), path), ("GET", "/delivery-report/"));
    let fields: Vec<(String, String)> = form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let field = |name: &str| fields.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str());
    assert_eq!(field("message_id"), Some("0123456789abcdef0123456789abcdef"));
    assert_eq!(field("status"), Some("8"), "the tester took it");
    assert_eq!(field("status_text"), Some("ACK/"));
    assert_eq!(field("smsc"), Some("phone"));
    assert_eq!(field("identity"), Some("+15551230001"));
    assert!((1..=36).contains(&field("sms_id").unwrap_or_default().len()), "{query}");
    let date = field("date_sent").unwrap_or_default();
    assert_eq!((date.len(), &date[4..5], &date[10..11], &date[13..14]), (19, "-", " ", ":"), "{date}");
}

#[test]
fn k9_a_body_is_a_reply_within_kannels_rules() {
    let peer = Peer::start(|asked| match asked.target.as_str() {
        target if target.contains("text=plain") => answer(200, "text/plain; charset=windows-1251", "?"),
        target if target.contains("text=html") => {
            well("<html><head><title>T</title></head><p>Two &lt;lines&gt;<br>here</p></html>")
        }
        target if target.contains("text=json") => answer(200, "application/json", "{}"),
        target if target.contains("text=long") => answer(202, "text/plain", &"x".repeat(5_000)),
        _ => well("\r\n"),
    });
    let daemon = Daemon::start(&settings(&peer, ""));
    says(&daemon, "+1", "plain");
    daemon.answers("+1", "?");
    says(&daemon, "+2", "html");
    daemon.answers("+2", "Two <lines>\nhere");
    for nothing in ["json", "empty"] {
        says(&daemon, "+3", nothing);
        becomes(&daemon, nothing, "handled");
    }
    says(&daemon, "+4", "long");
    let failed = becomes(&daemon, "long", "failed");
    assert!(failed["reason"].as_str().unwrap().contains("5000 characters"), "{failed}");
    assert_eq!(daemon.messages("direction=out").len(), 2);
}

#[test]
fn k9_answers_can_be_switched_off() {
    let peer = Peer::start(|_| well("this is not for anybody"));
    let daemon = Daemon::start(&settings(&peer, "max_messages = 0"));
    says(&daemon, "+1", "hello");
    becomes(&daemon, "hello", "handled");
    nobody_is_answered(&daemon);
}

#[test]
fn k10_hundreds_of_messages_pass_without_a_failure() {
    const MANY: usize = 300;
    let peer = Peer::start(|_| well("ok"));
    let daemon = Daemon::start(&settings(&peer, "workers = 8"));
    for number in 0..MANY {
        says(&daemon, &format!("+{number}"), "hello");
    }
    daemon.wait_until("all are answered", |daemon| {
        (daemon.messages("direction=out&state=sent&limit=1000").len() == MANY).then_some(())
    });
    assert_eq!(daemon.messages("state=failed").len(), 0);
}

/// The first finding about Kannel, repaired: a crash while the app fails forgets nothing.
#[test]
fn a_message_outlives_kill_9_while_its_app_fails() {
    let mended = Arc::new(AtomicBool::new(false));
    let is_well = Arc::clone(&mended);
    let peer = Peer::start(move |_| match is_well.load(Ordering::Acquire) {
        true => well("at last"),
        false => answer(503, "text/plain", "not now"),
    });
    let daemon = Daemon::start(&settings(&peer, "retries = 1000"));
    says(&daemon, "+1", "important");
    peer.asked();
    peer.asked();
    let Ended { folder, .. } = daemon.kill9();
    mended.store(true, Ordering::Release);
    let daemon = Daemon::start_in(folder);
    daemon.answers("+1", "at last");
    let message = becomes(&daemon, "important", "handled");
    assert_eq!(message["redelivered"], true, "{message}");
    assert_eq!(daemon.messages("direction=out").len(), 1);
}

#[test]
fn a_hanging_app_delays_neither_others_nor_a_clean_stop() {
    // What is never answered keeps its connection as long as the peer lives.
    let (open, gate) = channel::<()>();
    let gate = Mutex::new(gate);
    let peer = Peer::start(move |_| {
        let _ = gate.lock().unwrap().recv();
        well("much later")
    });
    let daemon = Daemon::start(&settings(&peer, "keyword = \"slow\"\ncatch_all = true\nworkers = 1"));
    says(&daemon, "+1", "slow one");
    peer.asked();
    says(&daemon, "+2", "echo quick");
    daemon.answers("+2", "quick");
    let Ended { code, folder, log } = daemon.stop();
    assert_eq!(code, 0, "{log}");
    drop(open);
    drop(peer);
    // It was never handled, so it is asked for again.
    let peer = Peer::start(|_| well("now"));
    std::fs::write(
        folder.path().join("settings.toml"),
        settings(&peer, "keyword = \"slow\"\ncatch_all = true"),
    )
    .unwrap();
    let daemon = Daemon::start_in(folder);
    daemon.answers("+1", "now");
}

#[test]
fn an_app_that_is_not_there_is_retried_and_then_told() {
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let peer = Peer::start(|_| well(""));
    let text = settings(&peer, "retries = 1").replace(&peer.address, &address);
    let daemon = Daemon::start(&text);
    says(&daemon, "+1", "anybody there");
    let failed = becomes(&daemon, "anybody there", "failed");
    let reason = failed["reason"].as_str().unwrap();
    assert!(reason.contains("could not be reached") && reason.contains("tried 2 times"), "{reason}");
    assert!(!reason.contains("backend/kannel"), "the address may hold a password: {reason}");
}

#[test]
fn post_url_brings_the_text_as_a_body() {
    let peer = Peer::start(|_| answer(200, "text/plain; charset=UTF-8", "danke sch\u{f6}n"));
    let text = settings(&peer, "strip_keyword = true\nkeyword = \"join\"\nshort_code = \"1234\"")
        .replace("get_url", "post_url")
        .replace("?id=%q&text=%b&charset=%C&coding=%c", "?service=%n");
    let daemon = Daemon::start(&text);
    says(&daemon, "+1", "JOIN caf\u{e9} 1");
    let asked = peer.asked();
    assert_eq!(
        (asked.method.as_str(), asked.target.as_str()),
        ("POST", "/backend/kannel-ascii/?service=project")
    );
    assert_eq!(asked.body, "caf\u{e9} 1".as_bytes());
    let head = asked.head.to_ascii_lowercase();
    for line in [
        "content-type: text/plain; charset=\"utf-8\"",
        "x-kannel-from: +1",
        "x-kannel-to: 1234",
        "x-kannel-smsc: phone",
        "x-kannel-service: project",
        "x-kannel-coding: 0",
    ] {
        assert!(head.contains(&format!("\r\n{line}\r\n")), "{line}\n{head}");
    }
    daemon.answers("+1", "danke sch\u{f6}n");
    says(&daemon, "+1", "echo not for it");
    daemon.answers("+1", "not for it");
}

#[test]
fn x_kannel_headers_of_an_answer_are_heard_only_where_that_is_wanted() {
    for (setting, identity) in [("accept_x_kannel_headers = true", "+999"), ("", "+1")] {
        let peer = Peer::start(|_| {
            let plain = answer(200, "text/plain", "elsewhere");
            plain.replacen("\r\n", "\r\nX-Kannel-To: +999\r\n", 1)
        });
        let daemon = Daemon::start(&settings(&peer, setting));
        says(&daemon, "+1", "hello");
        daemon.answers(identity, "elsewhere");
    }
}
