//! The http engine in the real daemon, with gateways that behave and gateways that do not.

use super::daemon::{Daemon, PATIENCE};
use super::http_peer::{Asked, Peer, Wire, answer, tls_file};
use std::fmt::Write as _;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

const HEAD: &str = "INSTALLED_APPS = [\"echo\", \"default\"]\n[web]\nlisten = \"127.0.0.1:0\"\n";

/// Settings with these backends: name and keys.
fn settings(backends: &[(&str, String)]) -> String {
    let mut text = HEAD.to_string();
    for (name, keys) in backends {
        let _ = write!(text, "\n[INSTALLED_BACKENDS.{name}]\nENGINE = \"http\"\n{keys}\n");
    }
    text
}

fn comes_in(daemon: &Daemon, backend: &str, identity: &str, text: &str) {
    let answer = daemon.post(&format!("/http/{backend}/"), &[("identity", identity), ("text", text)]);
    assert_eq!((answer.status, answer.body.as_str()), (200, "OK"), "{}", daemon.log());
}

/// The state of the newest message that goes out by this backend.
fn outgoing(daemon: &Daemon, backend: &str) -> Option<(String, String, u64)> {
    let message = daemon.messages(&format!("direction=out&backend={backend}&limit=1")).into_iter().next()?;
    let text = |key: &str| message[key].as_str().unwrap_or_default().to_string();
    Some((text("state"), text("reason"), message["attempts"].as_u64().unwrap_or(0)))
}

#[test]
fn a_message_goes_round() {
    let peer = Peer::saying("202 Accepted", r#"{"id": "their-1"}"#);
    let daemon = Daemon::start(&settings(&[(
        "gateway",
        format!(
            "outgoing_url = \"{}\"\nform = {{ to = \"{{to}}\", text = \"{{text}}\", id = \"{{id}}\" }}\nremote_id = \"/id\"\n\
             incoming_id = \"mid\"\nauth = \"basic\"\nusername = \"me\"\npassword = \"hunter2hunter2\"",
            peer.url("/send?fixed=yes")
        ),
    )]));
    let door = "/http/gateway/?identity=%2B254712345678&text=echo+grüße+%26+küsse&mid=7";
    let door = door.replace('ü', "%C3%BC").replace('ß', "%C3%9F");
    for _ in 0..2 {
        // The same message again gets the same answer, and no second reply.
        let answer = daemon.get(&door);
        assert_eq!((answer.status, answer.body.as_str()), (200, "OK"));
    }
    let asked = peer.next();
    assert_eq!(asked.line, "POST /send?fixed=yes HTTP/1.1");
    assert!(asked.head.contains("Basic bWU6aHVudGVyMmh1bnRlcjI="), "{}", asked.head);
    assert!(asked.body.starts_with("id=") || asked.body.contains("&id="), "{}", asked.body);
    assert!(
        asked.body.contains("to=%2B254712345678")
            && asked.body.contains("text=gr%C3%BC%C3%9Fe+%26+k%C3%BCsse"),
        "{}",
        asked.body
    );
    daemon
        .wait_until("it is sent", |daemon| outgoing(daemon, "gateway").filter(|(state, ..)| state == "sent"));
    // A report by the gateway's name for it.
    let answer = daemon.post("/http/gateway/status/", &[("id", "their-1"), ("status", "DELIVRD")]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    daemon.wait_until("it is delivered", |daemon| {
        outgoing(daemon, "gateway").filter(|(state, ..)| state == "delivered")
    });
    assert_eq!(daemon.messages("direction=in&state=duplicate").len(), 1);
    assert!(peer.rest().is_empty(), "one reply");
    for (path, status) in [
        ("/http/gateway/?identity=1", 400),
        ("/http/gateway/?text=x", 400),
        ("/http/gateway/?identity=1&text=%FF", 400),
        ("/http/nobody/?identity=1&text=x", 404),
    ] {
        let answer = daemon.get(path);
        assert_eq!(answer.status, status, "{path}: {}", answer.body);
        assert!(answer.json()["error"].is_string(), "{path}: {}", answer.body);
    }
    assert_eq!(
        daemon.ask("HEAD", "/http/gateway/?identity=1&text=x", "", b"").expect("an answer").status,
        405
    );
    assert_eq!(daemon.messages("direction=in&state=handled").len(), 1, "nothing of that came in");
    assert!(!daemon.log().contains("hunter2"), "{}", daemon.log());
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
}

/// The settings of both older systems, as their documents have them, in one daemon.
#[test]
fn the_older_systems_settings_work() {
    let peer = Peer::saying("200 OK", "fine");
    let own = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let daemon = Daemon::start(&format!(
        "{HEAD}
[INSTALLED_BACKENDS.nine]
ENGINE = \"rapidsms.backends.http\"
HOST = \"localhost\"
PORT = {}
GATEWAY_URL = \"{}\"
PARAMS_OUTGOING = \"user=me&id=%(phone_number)s&text=%(message)s\"
PARAMS_INCOMING = \"id=%(phone_number)s&text=%(message)s\"

[INSTALLED_BACKENDS.simple-http]
ENGINE = \"threadless_router.backends.http.outgoing\"
outgoing_url = \"{}\"
",
        own.port(),
        peer.url("/nine"),
        peer.url("/simple?id=%(identity)s&text=%(text)s")
    ));
    // On any path of its own listener, by GET.
    let mut stream = TcpStream::connect(own).expect("its own listener");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    stream
        .write_all(b"GET /any/path?id=%2B1&text=echo+a+b%26c HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        .expect("it is asked");
    let mut told = String::new();
    std::io::Read::read_to_string(&mut stream, &mut told).expect("an answer");
    assert!(told.starts_with("HTTP/1.1 200 ") && told.ends_with("\r\n\r\nOK"), "{told}");
    assert_eq!(peer.next().line, "GET /nine?user=me&id=%2B1&text=a%20b%26c HTTP/1.1");
    comes_in(&daemon, "simple-http", "2", "echo x y");
    assert_eq!(peer.next().line, "GET /simple?id=2&text=x%20y HTTP/1.1");
    assert_eq!(daemon.stop().code, 0);
}

/// The gateway delivers the next message while it still holds the request of the reply, and waits for that to be answered first.
#[test]
fn p7_isolation_a_reply_and_the_request_that_caused_it_do_not_wait_for_each_other() {
    let address: Arc<OnceLock<String>> = Arc::default();
    let door = Arc::clone(&address);
    let within = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&within);
    let peer = Peer::start(move |asked, wire| {
        if asked.line.contains("text=first") {
            let inner = ask(door.get().expect("an address"), "/http/gateway/?identity=1&text=echo+second");
            seen.lock().expect("a list").push(inner);
        }
        answer(wire, "200 OK", "fine")
    });
    let daemon = Daemon::start(&settings(&[(
        "gateway",
        format!("outgoing_url = \"{}\"\nwindow = 1", peer.url("/?to={to}&text={text}")),
    )]));
    address.set(daemon.address.clone()).expect("it is set once");
    comes_in(&daemon, "gateway", "1", "echo first");
    assert!(peer.next().line.contains("first"));
    assert!(peer.next().line.contains("second"), "in order, and none waited for ever");
    let inner = within.lock().expect("a list").clone();
    assert!(inner.len() == 1 && inner[0].starts_with("HTTP/1.1 200 "), "{inner:?}");
    assert_eq!(daemon.stop().code, 0);
}

/// Asks `GET path` over a connection of its own.
fn ask(address: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
    let head = format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).expect("it is asked");
    let mut told = String::new();
    std::io::Read::read_to_string(&mut stream, &mut told).expect("an answer");
    told
}

/// This, and then an octet each second, until the other side has enough.
fn drip(wire: &mut dyn Wire, head: &str) -> bool {
    let mut octets = head.as_bytes();
    while wire.write_all(octets).and_then(|()| wire.flush()).is_ok() {
        let _ = crossbeam_channel::after(Duration::from_secs(1)).recv();
        octets = b"x";
    }
    false
}

/// All kinds of bad gateways at once: each gets what its behaviour deserves, and the good one beside them notices nothing.
#[test]
fn p7_isolation_no_bad_gateway_costs_another_its_pace() {
    let well = Peer::saying("200 OK", "fine");
    let nobody: SocketAddr =
        TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address");
    let tried = Arc::new(Mutex::new(0));
    let times = Arc::clone(&tried);
    let endless = |_: &Asked, wire: &mut dyn Wire| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n";
        let piece = [b'x'; 65_536];
        wire.write_all(head.as_bytes()).is_ok() && (0..163_840).all(|_| wire.write_all(&piece).is_ok())
    };
    let peers: Vec<(&str, Peer, &str, &str)> = vec![
        ("silent", Peer::start(|_, wire| wire.read(&mut [0]).is_ok_and(|count| count > 0)), "held", "time"),
        ("dripping-head", Peer::start(|_, wire| drip(wire, "HTTP/1.1 200 OK\r\nX: ")), "held", "time"),
        (
            "dripping-body",
            Peer::start(|_, wire| drip(wire, "HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\n")),
            "sent",
            "",
        ),
        (
            "stuck-body",
            Peer::start(|_, wire| {
                let _ = wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9000\r\n\r\nx");
                wire.read(&mut [0]).is_ok_and(|count| count > 0)
            }),
            "sent",
            "",
        ),
        ("endless", Peer::start(endless), "sent", ""),
        (
            "wrong-length",
            Peer::start(|_, wire| {
                let _ = wire.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nshort");
                false
            }),
            "sent",
            "",
        ),
        ("closing", Peer::start(|_, _| false), "held", "closed"),
        (
            "babbling",
            Peer::start(|_, wire| wire.write_all(b"\0\xff{{{\r\n\r\n").is_ok_and(|()| false)),
            "held",
            "",
        ),
        (
            "busy",
            Peer::start(move |_, wire| {
                let mut times = times.lock().expect("a number");
                *times += 1;
                if *times > 1 {
                    return answer(wire, "200 OK", "fine");
                }
                wire.write_all(b"HTTP/1.1 429 Slowly\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n").is_ok()
            }),
            "sent",
            "",
        ),
        ("broken", Peer::saying("500 Oops", "stack trace"), "queued", "HTTP 500: stack trace"),
        ("picky", Peer::saying("422 No", "no such number"), "failed", "no such number"),
    ];
    let (right, wrong_name) = (Peer::sealed("right", fine), Peer::sealed("wrong-name", fine));
    let sealed = |peer: &Peer| format!("https://localhost:{}/?text={{text}}", peer.address.port());
    let mut all: Vec<(&str, String, &str, &str)> = peers
        .iter()
        .map(|(name, peer, state, words)| (*name, peer.url("/?text={text}"), *state, *words))
        .collect();
    all.push(("refusing", format!("http://{nobody}/?text={{text}}"), "queued", "refused"));
    all.push(("nameless", "http://no-such-host.invalid/?text={text}".into(), "queued", "no-such-host"));
    all.push(("plain", well.url("/?text={text}").replace("http:", "https:"), "queued", "TLS"));
    all.push(("unknown-signer", sealed(&right), "queued", "ca_file"));
    all.push(("wrong-name", sealed(&wrong_name), "queued", "another name"));
    all.push(("sealed", sealed(&right), "sent", ""));
    let mut backends = vec![("well", format!("outgoing_url = \"{}\"", well.url("/?text={text}")))];
    for (name, url, ..) in &all {
        let mut keys =
            format!("outgoing_url = \"{url}\"\ntimeout = \"2 s\"\nwindow = 1\non_uncertain = \"hold\"");
        if ["wrong-name", "sealed", "plain"].contains(name) {
            let _ = write!(keys, "\nca_file = \"{}\"", tls_file("ca.pem").display());
        }
        backends.push((name, keys));
    }
    let daemon = Daemon::start(&settings(&backends));
    for (name, ..) in &all {
        comes_in(&daemon, name, "+254712345678", "echo hello");
    }
    // While the bad ones hold what they were given, fifty go by.
    let begun = Instant::now();
    for number in 0..50 {
        comes_in(&daemon, "well", &format!("+2547000000{number:02}"), &format!("echo {number}"));
    }
    let mut texts: Vec<String> =
        (0..50).map(|_| well.next().line).filter(|line| line.starts_with("GET /?text=")).collect();
    let took = begun.elapsed();
    texts.sort();
    texts.dedup();
    assert_eq!(texts.len(), 50);
    println!("fifty messages went round beside {} bad gateways in {took:?}", all.len());
    assert!(took < Duration::from_secs(10), "fifty messages took {took:?} beside the bad gateways");
    for (name, _, state, words) in &all {
        let mut last = None;
        let deadline = Instant::now() + PATIENCE;
        loop {
            let is = outgoing(&daemon, name);
            let fits = |(now, reason, attempts): &(String, String, u64)| {
                now == state && reason.contains(words) && (*attempts > 0 || now != "queued")
            };
            if is.as_ref().is_some_and(fits) {
                break;
            }
            last = is.or(last);
            assert!(
                Instant::now() < deadline,
                "{name} is not {state} with {words:?}, but {last:?}\n{}",
                daemon.log()
            );
        }
    }
    assert_eq!(*tried.lock().expect("a number"), 2, "after the time that it asked for");
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).expect("a process");
    let most = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))
        .expect("memory")
        .trim()
        .trim_end_matches(" kB");
    assert!(most.parse::<u64>().expect("a number") < 300_000, "an endless answer is not kept: {most} kB");
    let begun = Instant::now();
    assert_eq!(daemon.stop().code, 0);
    assert!(begun.elapsed() < PATIENCE);
}

fn fine(_: &Asked, wire: &mut dyn Wire) -> bool {
    answer(wire, "200 OK", "fine")
}

/// A wrong password is no fault of any message: nothing is lost or failed by it, and the gateway is not hammered.
#[test]
fn what_no_message_can_help_pauses_the_sending() {
    let right = Arc::new(Mutex::new(false));
    let mended = Arc::clone(&right);
    let peer = Peer::start(move |_, wire| match *mended.lock().expect("a truth") {
        true => answer(wire, "200 OK", "fine"),
        false => answer(wire, "401 Unauthorized", "wrong password"),
    });
    let daemon = Daemon::start(&settings(&[(
        "gateway",
        format!("outgoing_url = \"{}\"\nwindow = 1", peer.url("/?text={text}")),
    )]));
    for number in 0..5 {
        comes_in(&daemon, "gateway", &number.to_string(), &format!("echo {number}"));
    }
    let state = daemon.wait_until("the backend says why", |daemon| {
        let backends = daemon.get("/api/v1/backends").json();
        let text = backends.to_string();
        text.contains("wrong password").then_some(text)
    });
    assert!(state.contains("sending pauses: HTTP 401"), "{state}");
    assert_eq!(daemon.messages("direction=out&state=failed").len(), 0);
    // Messages still come in.
    comes_in(&daemon, "gateway", "9", "echo 9");
    assert!(peer.rest().len() <= 3, "it is not hammered");
    *right.lock().expect("a truth") = true;
    daemon.wait_until("all are sent", |daemon| {
        (daemon.messages("direction=out&state=sent").len() == 6).then_some(())
    });
    for message in daemon.messages("direction=out&state=sent") {
        assert_eq!(message["attempts"], 1, "a pause costs no attempt: {message}");
    }
    assert_eq!(daemon.stop().code, 0);
}

/// A redirect must not carry the message, or its password, to somebody else.
#[test]
fn nobody_is_followed() {
    let aim = Peer::saying("200 OK", "");
    let to = aim.url("/stolen");
    let peer = Peer::start(move |_, wire| {
        wire.write_all(
            format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").as_bytes(),
        )
        .is_ok()
    });
    let keys = format!("outgoing_url = \"{}\"", peer.url("/?text={text}"));
    let daemon = Daemon::start(&settings(&[("gateway", keys)]));
    comes_in(&daemon, "gateway", "1", "echo x");
    daemon.wait_until("it says so", |daemon| {
        daemon.get("/api/v1/backends").body.contains("none is followed").then_some(())
    });
    assert!(aim.rest().is_empty());
    assert_eq!(daemon.stop().code, 0);
}

/// Whoever has no secret brings nothing, from this machine neither.
#[test]
fn strangers_bring_nothing() {
    let daemon = Daemon::start(&settings(&[(
        "gateway",
        "incoming_secret = \"0123456789abcdef\"\nincoming_secret_in = \"header X-Secret\"".to_string(),
    )]));
    let form = b"identity=1&text=x";
    let kind = "Content-Type: application/x-www-form-urlencoded\r\n";
    for (headers, status) in [
        (kind.to_string(), 403),
        (format!("{kind}X-Secret: 0123456789abcdeX\r\n"), 403),
        (format!("{kind}X-Secret: 0123456789abcdef\r\n"), 200),
    ] {
        let answer = daemon.ask("POST", "/http/gateway/", &headers, form).expect("an answer");
        assert_eq!(answer.status, status, "{}", answer.body);
    }
    assert_eq!(daemon.messages("direction=in").len(), 1);
    assert_eq!(daemon.stop().code, 0);
}

/// However much is logged, the libraries' own lines included.
#[test]
fn no_log_tells_a_secret() {
    let peer = Peer::saying("403 Forbidden", "no: hidden-token");
    let keys = format!(
        "outgoing_url = \"{}\"\nform = {{ text = \"{{text}}\", api_key = \"hidden-key\" }}\nheaders = {{ X-Own = \"{{token}}\" }}\n\
         auth = \"query\"\ntoken = \"hidden-token\"\nsecrets = {{ account = \"hidden-account\" }}\nanswers = [\"pause: status 403\"]",
        peer.url("/{account}/send?to={to}")
    );
    let folder = super::daemon::folder(&settings(&[("gateway", keys)]));
    let mut command = super::daemon::program(folder.path());
    command.arg("run_router").env("RUST_LOG", "trace");
    let daemon = Daemon::start_as(folder, command);
    comes_in(&daemon, "gateway", "1", "echo x");
    assert!(peer.next().line.contains("hidden-token"), "the gateway is told");
    daemon.wait_until("it says why", |daemon| {
        daemon.get("/api/v1/backends").body.contains("HTTP 403").then_some(())
    });
    let shown = [
        daemon.get("/api/v1/backends").body,
        daemon.get("/api/v1/messages").body,
        daemon.get("/backends").body,
        daemon.stop().log,
    ];
    for text in shown {
        for line in text.lines() {
            assert!(!line.contains("hidden"), "{line}");
        }
    }
}
