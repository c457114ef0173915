//! The kannel engine in the real program, with a Kannel that misbehaves and with callers that do: nothing is lost, nothing is taken for what it is not, and
//! nobody else waits.

use super::daemon::{Daemon, PATIENCE};
use super::kannel_rig::Ports;
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Who answers sendsms: each connection is handed to the test, after its request line.
struct Peer {
    port: u16,
    asked: Receiver<(String, TcpStream)>,
}

impl Peer {
    fn start() -> Peer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let sender = sender.clone();
                std::thread::spawn(move || read(stream, &sender));
            }
        });
        Peer { port, asked }
    }

    #[track_caller]
    fn next(&self) -> (String, TcpStream) {
        self.asked.recv_timeout(PATIENCE).expect("nobody asks")
    }

    /// Answers the next request, and returns it.
    #[track_caller]
    fn answer(&self, answer: &str) -> String {
        let (request, mut stream) = self.next();
        stream.write_all(answer.as_bytes()).expect("it listens");
        request
    }
}

fn read(stream: TcpStream, sender: &Sender<(String, TcpStream)>) {
    let Ok(writer) = stream.try_clone() else { return };
    let (mut reader, mut request) = (BufReader::new(stream), String::new());
    let mut line = String::new();
    while reader.read_line(&mut line).is_ok_and(|length| length > 2) {
        if request.is_empty() {
            request = line.trim().to_string();
        }
        line.clear();
    }
    if !request.is_empty() {
        let _ = sender.send((request, writer));
    }
}

const GOOD: &str =
    "HTTP/1.1 202 Accepted\r\nContent-Length: 25\r\nConnection: close\r\n\r\n0: Accepted for delivery\n";

fn start(peer: &Peer, more: &str) -> Daemon {
    Daemon::start(&format!(
        r#"
INSTALLED_APPS = ["echo"]
[web]
listen = "127.0.0.1:0"
[INSTALLED_BACKENDS.message_tester]
ENGINE = "bucket"
[INSTALLED_BACKENDS.kannel]
ENGINE = "kannel"
sendsms_url = "http://127.0.0.1:{}/cgi-bin/sendsms"
sendsms_params = {{ username = "u", password = "hunter2hunter2" }}
timeout = "500ms"
{more}
"#,
        peer.port
    ))
}

fn send(daemon: &Daemon, text: &str) -> String {
    send_by(daemon, "kannel", text)
}

fn send_by(daemon: &Daemon, backend: &str, text: &str) -> String {
    let message = json!({ "backend": backend, "identity": "+15551230001", "text": text });
    let answer = daemon.post_json("/api/v1/messages", &message);
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.json()["id"].as_str().expect("an id").to_string()
}

#[track_caller]
fn becomes(daemon: &Daemon, id: &str, what: &str, is: impl Fn(&Value) -> bool) -> Value {
    daemon.wait_until(what, |daemon| {
        let message = daemon.get(&format!("/api/v1/messages/{id}")).json();
        is(&message).then_some(message)
    })
}

/// What is certain is tried again, what is doubtful once more, what is refused never; and each says why.
#[test]
fn whatever_answers_a_message_is_settled_by_what_is_known() {
    let peer = Peer::start();
    let huge = format!("HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n{}", "x".repeat(40_000));
    let cases: [(&str, &str, &str); 8] = [
        ("resets", "", "uncertain"),
        ("nonsense", "SSH-2.0-OpenSSH_9.2\r\n", "uncertain"),
        ("half-a-head", "HTTP/1.1 202 Acc", "uncertain"),
        ("ten-gibibytes", &huge, "uncertain"),
        ("error-inside", "HTTP/1.1 200 OK\r\nContent-Length: 17\r\n\r\n{\"error\":\"quota\"}", "uncertain"),
        (
            "elsewhere",
            "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n",
            "queued",
        ),
        ("fails", "HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "queued"),
        (
            "refuses",
            "HTTP/1.1 400 Bad\r\nContent-Length: 33\r\n\r\nMissing receiver number, rejected",
            "failed",
        ),
    ];
    // A backend for each, since one that rests makes its other messages wait.
    let another = |(name, ..): &(&str, &str, &str)| {
        format!(
            "[INSTALLED_BACKENDS.{name}]\nENGINE = \"kannel\"\nsendsms_url = \"http://127.0.0.1:{}/\"\n\
             sendsms_params = {{ password = \"hunter2hunter2\" }}\n",
            peer.port
        )
    };
    let daemon = start(&peer, &cases.iter().map(another).collect::<String>());
    let ids = cases.map(|(name, ..)| send_by(&daemon, name, name));
    // Each gets its own answer first, and a good one if it asks again.
    let mut requests: Vec<String> = Vec::new();
    for _ in 0..2 * cases.len() - 1 {
        let (request, mut stream) = peer.next();
        let (_, answer, _) =
            cases.iter().find(|(name, ..)| request.contains(&format!("text={name}&"))).expect("a case");
        let answer = if requests.contains(&request) { GOOD } else { answer };
        let _ = stream.write_all(answer.as_bytes());
        let _ = stream.shutdown(std::net::Shutdown::Both);
        requests.push(request);
    }
    for ((name, _, first), id) in cases.iter().zip(&ids) {
        let last = if *first == "failed" { "failed" } else { "sent" };
        let message = becomes(&daemon, id, name, |message| message["state"] == last);
        let history = message["history"].as_array().expect("a history");
        let after = history.iter().position(|entry| entry["state"] == "sending").expect("it was tried") + 1;
        assert_eq!(history[after]["state"], *first, "{name}: {message}");
        assert_eq!(message["attempts"], if last == "failed" { 1 } else { 2 }, "{name}: {message}");
        assert!(!message.to_string().contains("hunter2"), "{message}");
    }
    assert!(!daemon.log().contains("hunter2"), "{}", daemon.log());
}

/// No such name, nobody at that port, no TLS there: certainly nothing left, so the messages wait, and the backend says why.
#[test]
fn what_cannot_be_reached_gets_its_messages_later() {
    let (peer, free) = (Peer::start(), Ports::free());
    let places = [
        ("no-name", "http://kannel.invalid/".to_string()),
        ("nobody", format!("http://127.0.0.1:{}/", free.link)),
        ("no-tls", format!("https://127.0.0.1:{}/", peer.port)),
    ];
    let another = |(name, url): &(&str, String)| {
        format!(
            "[INSTALLED_BACKENDS.{name}]\nENGINE = \"kannel\"\nsendsms_url = \"{url}\"\n\
             sendsms_params = {{ password = \"hunter2hunter2\" }}\ntimeout = \"2 s\"\n"
        )
    };
    let daemon = start(&peer, &places.iter().map(another).collect::<String>());
    for (name, _) in &places {
        let id = send_by(&daemon, name, "later");
        let message = becomes(&daemon, &id, name, |message| {
            message["state"] == "queued" && message["history"].to_string().contains("could not be reached")
        });
        assert!(!message["history"].to_string().contains("uncertain"), "{message}");
        daemon.wait_until("it is down", |daemon| {
            let backends = daemon.get("/api/v1/backends").body;
            backends.contains("could not be reached").then_some(())
        });
    }
    assert!(!daemon.log().contains("hunter2"), "{}", daemon.log());
}

/// A Kannel that takes every connection and never answers, with its status page as dead as the rest.
#[test]
fn a_kannel_that_hangs_delays_nobody_else() {
    let peer = Peer::start();
    let daemon = start(
        &peer,
        &format!("status_url = \"http://127.0.0.1:{}/status.xml\"\non_uncertain = \"hold\"", peer.port),
    );
    let id = send(&daemon, "into the void");
    // The connections stay open, unanswered, until the test is over.
    let mut held = Vec::new();
    let begun = Instant::now();
    for number in 0..20 {
        daemon.says("1112223333", &format!("echo {number}"));
        daemon.answers("1112223333", &number.to_string());
    }
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "the tester waited for a Kannel: {:?}",
        begun.elapsed()
    );
    held.extend(peer.asked.try_iter());
    let message = becomes(&daemon, &id, "held", |message| message["state"] == "held");
    assert!(message.to_string().contains("500 ms") || message.to_string().contains("time"), "{message}");
    // Stopping does not wait for it either.
    let stopping = Instant::now();
    assert_eq!(daemon.stop().code, 0);
    assert!(stopping.elapsed() < Duration::from_secs(10), "{:?}", stopping.elapsed());
    drop(held);
}

#[test]
fn callers_are_answered_when_it_is_on_disk_and_repetitions_are_known_by_their_key() {
    let peer = Peer::start();
    let daemon = start(&peer, "");
    let get = |query: &str| daemon.get(&format!("/backend/kannel/?{query}"));
    let answer = get("id=%2B1555&text=hello&message_id=a");
    assert_eq!((answer.status, answer.body.as_str()), (200, ""), "{}", answer.head);
    assert!(
        answer.head.contains("text/plain"),
        "without a type Kannel would tell the phone: {}",
        answer.head
    );
    assert_eq!(get("id=%2B1555&text=hello&message_id=a").status, 200);
    assert_eq!(get("id=%2B1555&text=hello").status, 200);
    assert_eq!(get("id=%2B1555&text=hello").status, 200);
    let received = daemon.messages("direction=in");
    let count = |state: &str| received.iter().filter(|message| message["state"] == state).count();
    assert_eq!((received.len(), count("duplicate")), (4, 1), "without a key nothing is a repetition");

    assert_eq!(get("text=hello").status, 400);
    assert_eq!(daemon.get("/backend/nobody/?id=1&text=hello").status, 404);
    assert_eq!(daemon.get("/backend/message_tester/?id=1&text=hello").status, 404);
    // The same door by its other name; and what is too long never becomes a message.
    assert_eq!(daemon.get("/http/kannel/?id=%2B1555&text=hello").status, 200);
    let long = format!("/backend/kannel/?id=1&text={}", "x".repeat(1024 * 1024));
    if let Ok(answer) = daemon.ask("GET", &long, "", b"") {
        assert!(matches!(answer.status, 413 | 414 | 431), "{}", answer.head);
    }
    assert_eq!(daemon.messages("direction=in").len(), 5);

    // Reports about nobody's message are taken, so that they are not repeated for ever.
    let nobody = "/backend/kannel/delivery-report/?message_id=2f1c9a3e000040008000000000000000&status=1";
    assert_eq!(daemon.get(nobody).status, 200);
    daemon.wait_for_line("not known here");
}

#[test]
fn a_listener_of_its_own_takes_any_path() {
    let (peer, ports) = (Peer::start(), Ports::free());
    let daemon = start(&peer, &format!("host = \"127.0.0.1\"\nport = {}", ports.router));
    let ask = |path: &str| {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, ports.router)).expect("it listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("it listens");
        let mut line = String::new();
        BufReader::new(stream).read_line(&mut line).expect("an answer");
        line
    };
    assert!(ask("/?id=%2B1555&text=echo+one").starts_with("HTTP/1.1 200"));
    assert!(peer.answer(GOOD).contains("text=one"));
    assert!(ask("/any/path?id=%2B1555&text=echo+two").starts_with("HTTP/1.1 200"));
    assert!(peer.answer(GOOD).contains("text=two"));
    assert!(ask("/?id=%2B1555").starts_with("HTTP/1.1 400"));
    assert_eq!(daemon.messages("direction=in").len(), 2);
}
