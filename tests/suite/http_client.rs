//! The HTTP client against peers that misbehave: what it says of each, and that it is certain of what never left.

use super::http_peer::{Goes, PATIENCE, Peer, Wire, answer, tls_file};
use rapidsms::http::client::{Answer, Call, Client, Rules, Trouble};
use std::net::TcpListener;
use std::time::{Duration, Instant};

const RULES: Rules = Rules {
    timeout: Duration::from_secs(10),
    connect_timeout: Duration::from_secs(5),
    ca_file: None,
    answer_limit: 4096,
};
/// For peers of which it is the point that they never end.
const SHORT: Rules = Rules { timeout: Duration::from_millis(600), ..RULES };

fn ask(rules: &Rules, url: &str) -> Result<Answer, Trouble> {
    Client::new(rules).expect("a client").ask(&Call::new("GET", url))
}

#[track_caller]
fn unreached(result: Result<Answer, Trouble>, words: &str) {
    match result {
        Err(Trouble::Unreached(why)) if why.contains(words) => {}
        other => panic!("{other:?} is not Unreached with {words:?}"),
    }
}

#[track_caller]
fn unanswered(result: Result<Answer, Trouble>, words: &str) {
    match result {
        Err(Trouble::Unanswered(why)) if why.contains(words) => {}
        other => panic!("{other:?} is not Unanswered with {words:?}"),
    }
}

#[test]
fn what_is_asked_arrives_and_what_is_answered_comes_back() {
    let peer = Peer::saying("418 I am a teapot", "short and stout");
    let client = Client::new(&RULES).unwrap();
    let mut call = Call::new("PUT", peer.url("/a%20b?c=d&password=hidden"));
    call.headers.push(("X-Key".into(), "grüße".into()));
    call.body = Some(b"{}".to_vec());
    let got = client.ask(&call).unwrap();
    assert_eq!((got.status, got.body.as_slice(), got.cut), (418, &b"short and stout"[..], false));
    assert_eq!(got.header("Content-Type"), Some("application/json"));
    let asked = peer.next();
    assert_eq!(asked.line, "PUT /a%20b?c=d&password=hidden HTTP/1.1");
    assert_eq!(asked.body, "{}");
    assert!(asked.head.to_lowercase().contains(&format!("host: {}\r\n", peer.address)), "{}", asked.head);
    assert!(asked.head.contains("grüße"), "{}", asked.head);
    // A GET announces no body, a POST without one says so.
    client.ask(&Call::new("GET", peer.url("/"))).unwrap();
    assert!(!peer.next().head.to_lowercase().contains("content-length"));
    client.ask(&Call { body: Some(Vec::new()), ..Call::new("POST", peer.url("/")) }).unwrap();
    assert!(peer.next().head.to_lowercase().contains("content-length: 0\r\n"));
}

#[test]
fn a_connection_is_kept_while_it_is_good() {
    let peer = Peer::start(|asked, wire| {
        if asked.line.contains("/announced") {
            let text = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\nx";
            return wire.write_all(text.as_bytes()).is_ok();
        }
        answer(wire, "200 OK", "x") && !asked.line.contains("/silently")
    });
    let client = Client::new(&RULES).unwrap();
    for (path, connections) in
        [("/", 1), ("/", 1), ("/silently", 1), ("/", 2), ("/announced", 2), ("/", 3), ("/", 3)]
    {
        // The next request must not fall into the hole that a peer left which closed.
        assert_eq!(client.ask(&Call::new("GET", peer.url(path))).expect(path).status, 200);
        assert_eq!(peer.connections(), connections, "{path}");
        if path == "/silently" {
            peer.closed.recv_timeout(PATIENCE).expect("it closes");
        }
    }
}

#[test]
fn a_redirect_is_an_answer() {
    let aim = Peer::saying("200 OK", "");
    let to = aim.url("/stolen");
    let peer = Peer::start(move |_, wire| {
        wire.write_all(
            format!("HTTP/1.1 307 Elsewhere\r\nLocation: {to}\r\nContent-Length: 0\r\n\r\n").as_bytes(),
        )
        .is_ok()
    });
    let got = ask(&RULES, &peer.url("/")).unwrap();
    assert_eq!((got.status, got.header("location")), (307, Some(aim.url("/stolen").as_str())));
    assert!(aim.rest().is_empty(), "nobody went there");
}

#[test]
fn what_cannot_have_arrived_is_known_as_such() {
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    unreached(ask(&RULES, &format!("http://{nobody}/?password=hidden")), "refused");
    unreached(ask(&RULES, "http://no-such-host.invalid/"), "no-such-host.invalid");
    // A plain peer does not speak TLS, and one that speaks it late has no time left.
    let plain = Peer::saying("200 OK", "");
    unreached(ask(&SHORT, &format!("https://{}/", plain.address)), "TLS");
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    unreached(ask(&SHORT, &format!("https://{}/", silent.local_addr().unwrap())), "in time");
    for url in ["ftp://127.0.0.1/", "http://127.0.0.1/a b", "http://127.0.0.1/ü", "nonsense"] {
        unreached(ask(&RULES, url), "address");
    }
    let call =
        Call { headers: vec![("X-A".into(), "a\r\nX-B: b".into())], ..Call::new("GET", plain.url("/")) };
    unreached(Client::new(&RULES).unwrap().ask(&call), "line end");
    let call =
        Call { headers: vec![("Content-Length".into(), "7".into())], ..Call::new("GET", plain.url("/")) };
    unreached(Client::new(&RULES).unwrap().ask(&call), "frames");
    assert!(plain.rest().is_empty(), "it saw no request");
}

#[test]
fn certificates_are_checked() {
    let trusting = Rules { ca_file: Some(tls_file("ca.pem")), ..RULES };
    let fine = |_: &_, wire: &mut dyn Wire| answer(wire, "200 OK", "sealed");
    let right = Peer::sealed("right", fine);
    let url = |peer: &Peer, host: &str| format!("https://{host}:{}/", peer.address.port());
    let client = Client::new(&trusting).unwrap();
    for host in ["localhost", "127.0.0.1", "localhost"] {
        assert_eq!(client.ask(&Call::new("GET", url(&right, host))).expect(host).body, b"sealed");
        assert!(right.next().line.starts_with("GET / "));
    }
    unreached(ask(&RULES, &url(&right, "localhost")), "ca_file");
    let wrong = Peer::sealed("wrong-name", fine);
    unreached(ask(&trusting, &url(&wrong, "localhost")), "another name");
    assert!(right.rest().is_empty() && wrong.rest().is_empty(), "nothing was asked of them");
    let broken = Rules { ca_file: Some(tls_file("right.key")), ..RULES };
    assert!(Client::new(&broken).expect_err("no certificate").contains("no certificate"), "a key is none");
    let missing = Rules { ca_file: Some(tls_file("none.pem")), ..RULES };
    assert!(Client::new(&missing).expect_err("no file").contains("none.pem"));
}

/// Octets at a pace, until the other side has enough.
fn drip(wire: &mut dyn Wire, octets: impl Iterator<Item = u8>) -> Goes {
    for octet in octets {
        if wire.write_all(&[octet]).and_then(|()| wire.flush()).is_err() {
            return false;
        }
        let _ = crossbeam_channel::after(Duration::from_millis(50)).recv();
    }
    false
}

#[test]
fn p7_isolation_no_peer_holds_a_call_longer_than_its_time() {
    let cases: Vec<(&str, Peer)> = vec![
        ("silence", Peer::start(|_, wire| wire.read(&mut [0]).is_ok_and(|count| count > 0))),
        (
            "a head that drips",
            Peer::start(|_, wire| {
                drip(wire, b"HTTP/1.1 200 OK\r\nX: ".iter().copied().chain(std::iter::repeat(b'x')))
            }),
        ),
    ];
    for (what, peer) in cases {
        let begun = Instant::now();
        unanswered(ask(&SHORT, &peer.url("/?password=hidden")), "time");
        assert!(begun.elapsed() < SHORT.timeout + Duration::from_secs(3), "{what}: {:?}", begun.elapsed());
        let sealed = Peer::sealed("right", |_, wire| drip(wire, std::iter::repeat(b'x')));
        let trusting = Rules { ca_file: Some(tls_file("ca.pem")), ..SHORT };
        let begun = Instant::now();
        unanswered(ask(&trusting, &format!("https://localhost:{}/", sealed.address.port())), "");
        assert!(
            begun.elapsed() < SHORT.timeout + Duration::from_secs(3),
            "{what}, sealed: {:?}",
            begun.elapsed()
        );
    }
    let head = "HTTP/1.1 202 Accepted\r\nContent-Length: 100000\r\n\r\n";
    let dripping = Peer::start(move |_, wire| {
        wire.write_all(head.as_bytes()).is_ok() && drip(wire, std::iter::repeat(b'x'))
    });
    let begun = Instant::now();
    let got = ask(&SHORT, &dripping.url("/")).expect("its status is known");
    assert_eq!((got.status, got.cut), (202, true));
    assert!(begun.elapsed() < SHORT.timeout + Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn an_answer_that_is_not_whole_is_known_as_such() {
    let endless = Peer::start(|_, wire| {
        let head = "HTTP/1.1 200 OK\r\nContent-Length: 10737418240\r\n\r\n";
        let piece = [b'x'; 65_536];
        wire.write_all(head.as_bytes()).is_ok() && (0..163_840).all(|_| wire.write_all(&piece).is_ok())
    });
    let got = ask(&RULES, &endless.url("/")).unwrap();
    assert_eq!((got.status, got.body.len(), got.cut), (200, RULES.answer_limit, true));
    drop(endless);
    let cases = [
        ("Content-Length: 100\r\n\r\nshort", b"short".as_slice(), true),
        ("Content-Length: 3\r\n\r\nlonger", b"lon", false),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", b"short", true),
        ("Transfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n0\r\n\r\n", b"short", false),
        ("\r\nuntil the end", b"until the end", false),
        ("Content-Length: 0\r\n\r\n", b"", false),
    ];
    for (rest, body, cut) in cases {
        let text = format!("HTTP/1.1 200 OK\r\n{rest}");
        let peer = Peer::start(move |_, wire| {
            let _ = wire.write_all(text.as_bytes());
            false
        });
        let got = ask(&RULES, &peer.url("/")).expect(rest);
        assert_eq!((got.body.as_slice(), got.cut), (body, cut), "{rest:?}");
    }
}

#[test]
fn what_is_no_answer_is_doubt() {
    let cases = [
        ("", "closed"),
        ("\r\n", ""),
        ("SSH-2.0-OpenSSH_9.2\r\n\r\n", ""),
        ("HTTP/1.1 200", "closed"),
        ("HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n", ""),
        ("HTTP/1.1 99999999999 OK\r\n\r\n", ""),
    ];
    for (text, words) in cases {
        let peer = Peer::start(move |_, wire| {
            let _ = wire.write_all(text.as_bytes());
            false
        });
        unanswered(ask(&RULES, &peer.url("/?password=hidden")), words);
    }
    let long = Peer::start(|_, wire| {
        let _ = wire.write_all(b"HTTP/1.1 200 OK\r\n");
        (0..100_000)
            .all(|number| wire.write_all(format!("X-{number}: {}\r\n", "y".repeat(1000)).as_bytes()).is_ok())
    });
    unanswered(ask(&RULES, &long.url("/")), "");
}

#[test]
fn no_sentence_tells_a_secret() {
    let peer = Peer::start(|_, _| false);
    let call = Call {
        headers: vec![("Authorization".into(), "Bearer hidden".into())],
        body: Some(b"hidden".to_vec()),
        ..Call::new("POST", format!("http://me:hidden@{}/hidden?hidden#hidden", peer.address))
    };
    let trouble = Client::new(&RULES).unwrap().ask(&call).expect_err("no answer");
    assert!(trouble.why().contains(&peer.address.to_string()), "{trouble}");
    for shown in [trouble.to_string(), format!("{trouble:?}"), format!("{call:?}")] {
        assert!(!shown.contains("hidden"), "{shown}");
    }
}

#[test]
fn many_threads_share_a_client() {
    let peer = Peer::saying("200 OK", "x");
    let client = Client::new(&RULES).unwrap();
    let begun = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                (0..50).for_each(|_| assert!(client.ask(&Call::new("GET", peer.url("/"))).is_ok()))
            });
        }
    });
    assert_eq!(peer.rest().len(), 400);
    assert!(begun.elapsed() < PATIENCE);
}
