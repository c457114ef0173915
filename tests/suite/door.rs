//! The front door over real sockets: what it answers, what it refuses, whom it lets wait and for how long.
//!
//! Limits are made small so that a time-out takes milliseconds; every wait is for the socket, none for the clock.

mod exhaustion;
mod guard;
mod limits;
mod reader;
mod streams;
mod support;

use std::io::Write;

use rapidsms::http::Response;
use rapidsms::web::door::Limits;
use support::{BIG, TestDoor, cases};

fn open() -> TestDoor {
    TestDoor::open(Limits::default())
}

#[test]
fn refused_requests_are_answered_and_closed() {
    let door = open();
    for (title, bytes) in cases(include_str!("../requests/refused.txt")) {
        let (status, _) = title.split_once(' ').unwrap();
        let answer = door.say(&bytes);
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{title}: {answer:?}");
        assert!(answer.contains("\r\nConnection: close\r\n"), "{title}: {answer:?}");
        assert!(answer.contains("{\"error\":\""), "{title}: {answer:?}");
        assert_eq!(
            answer.matches("\r\nDate: ").count(),
            1,
            "nothing after a refusal is read: {title}: {answer:?}"
        );
    }
    assert_eq!(door.stop().stats().requests, 0);
}

#[test]
fn accepted_requests_reach_the_site() {
    let door = open();
    for (want, mut bytes) in cases(include_str!("../requests/accepted.txt")) {
        if !bytes.ends_with(b"\r\n\r\n") && !bytes.ends_with(b"hello") {
            bytes.extend_from_slice(b"\r\n");
        }
        let mut client = door.connect();
        client.send(&bytes);
        assert_eq!(client.answer().status, 200, "{want}");
    }
}

#[test]
fn one_connection_carries_many_requests() {
    let door = open();
    let mut client = door.connect();
    for number in 0..50 {
        let body = format!("message {number}");
        client.send(
            format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
                .as_bytes(),
        );
        let answer = client.answer();
        assert_eq!((answer.status, answer.body), (200, body));
        assert!(answer.head.contains("\r\nDate: "));
        assert!(answer.head.contains("\r\nX-Content-Type-Options: nosniff\r\n"));
        assert!(!answer.head.contains("Connection:"));
    }
    let stats = door.stop().stats();
    assert_eq!((stats.accepted, stats.requests, stats.connections), (1, 50, 0));
}

#[test]
fn pipelined_requests_are_answered_in_order_even_from_another_thread() {
    let door = open();
    let mut client = door.connect();
    let mut all = Vec::new();
    for number in 0..200 {
        let path = if number % 3 == 0 { "/thread" } else { "/saw" };
        write!(all, "GET {path}?{number} HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
    }
    client.send(&all);
    for number in 0..200 {
        let want = if number % 3 == 0 {
            "from another thread".to_string()
        } else {
            format!("GET /saw {number} a -")
        };
        assert_eq!(client.answer().body, want);
    }
}

#[test]
fn the_next_request_waits_for_the_answer_before_it() {
    let door = open();
    let mut client = door.connect();
    client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\nGET /saw HTTP/1.1\r\nHost: a\r\n\r\n");
    let reply = door.held.recv().unwrap();
    assert_eq!(door.connect().get("/saw").status, 200, "others do not wait");
    assert_eq!(door.handle.stats().requests, 2, "the second request of the first client is not begun");
    reply.send(Response::text(200, "first"));
    assert_eq!(client.answer().body, "first");
    assert_eq!(client.answer().body, "GET /saw - a -");
}

#[test]
fn closing_and_keeping_follow_the_version_and_the_header() {
    let door = open();
    for (closes, head) in [
        (false, "GET /saw HTTP/1.1\r\nHost: a\r\n"),
        (true, "GET /saw HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"),
        (true, "GET /saw HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n"),
        (true, "GET /saw HTTP/1.0\r\n"),
        (false, "GET /saw HTTP/1.0\r\nConnection: Keep-Alive\r\n"),
        (true, "GET /saw HTTP/1.0\r\nConnection: keep-alive, close\r\n"),
    ] {
        let mut client = door.connect();
        client.send(format!("{head}\r\n").as_bytes());
        let answer = client.answer();
        assert_eq!(answer.head.contains("Connection: close"), closes, "{head}");
        let says_keep = head.contains("HTTP/1.0") && !closes;
        assert_eq!(answer.head.contains("Connection: keep-alive"), says_keep, "{head}");
        if closes {
            assert_eq!(client.rest(), "", "{head}");
        } else {
            assert_eq!(client.get("/saw").status, 200, "{head}");
        }
    }
}

#[test]
fn head_and_bodiless_answers_do_not_upset_what_follows() {
    let door = open();
    let mut client = door.connect();
    client.send(b"HEAD /page HTTP/1.1\r\nHost: a\r\n\r\n");
    let answer = client.answer_to("HEAD");
    assert!(answer.head.contains("\r\nContent-Length: 7\r\n"), "{answer:?}");
    assert!(answer.head.contains("frame-ancestors 'none'"), "{answer:?}");
    let answer = client.get("/nothing");
    assert_eq!(answer.status, 204);
    assert!(!answer.head.contains("Content-Length"), "{answer:?}");
    let answer = client.get("/away");
    assert_eq!(answer.status, 303);
    assert!(answer.head.contains("\r\nLocation: /page\r\n"), "{answer:?}");
    assert_eq!(client.get("/page").body, "<p>page");
}

#[test]
fn a_client_that_asks_before_it_sends_its_body_is_told_to_go_on() {
    let door = open();
    let mut client = door.connect();
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n");
    assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
    client.send(b"hello");
    assert_eq!(client.answer().body, "hello");
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 70000\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.answer().status, 413, "no permission for a body that would be refused");
}

#[test]
fn a_client_may_close_its_side_and_still_gets_its_answer() {
    let door = open();
    let mut client = door.connect();
    client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    client.socket().shutdown(std::net::Shutdown::Write).unwrap();
    door.held.recv().unwrap().send(Response::text(200, "still here"));
    assert!(client.rest().ends_with("still here"));
}

#[test]
fn handlers_that_fail_cost_one_answer() {
    let door = open();
    let mut client = door.connect();
    for path in ["/drop", "/panic", "/split", "/split-stream"] {
        let answer = client.get(path);
        assert_eq!(answer.status, 500, "{path}");
        assert!(!answer.head.contains("Evil") && !answer.head.contains("Set-Cookie"), "{answer:?}");
    }
    assert_eq!(client.get("/saw").status, 200);
}

#[test]
fn answers_refuse_headers_that_would_break_them() {
    for (name, value) in [
        ("X", "a\rb"),
        ("X", "a\nb"),
        ("X", "a\0b"),
        ("X", "\x1b[31m"),
        ("X y", "a"),
        ("X:", "a"),
        ("", "a"),
        ("Content-Length", "5"),
        ("transfer-encoding", "chunked"),
        ("Connection", "close"),
        ("Content-Type", "text/html\r\nX: y"),
    ] {
        let response = Response::text(200, "").header(name.to_string(), value.to_string());
        assert!(response.fault().is_some(), "{name:?}: {value:?}");
    }
    for status in [0, 99, 100, 101, 600, 999] {
        assert!(Response::empty(status).fault().is_some(), "{status}");
    }
    assert!(Response::redirect("/a\r\nX: y").fault().is_some());
    let response = Response::text(200, "x").header("X-A", "1").header("x-a", "caf\u{e9}\t2");
    assert_eq!((response.fault(), response.get("X-A")), (None, Some("caf\u{e9}\t2")));
}

#[test]
fn large_answers_arrive_whole() {
    let door = open();
    let answer = door.connect().get("/big");
    assert_eq!(answer.body.len(), BIG);
    assert!(answer.body.bytes().all(|byte| byte == b'x'));
}

#[test]
fn a_client_that_leaves_in_the_middle_of_its_answer_costs_nothing() {
    let door = open();
    for _ in 0..5 {
        let mut client = door.connect();
        client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.head().starts_with("HTTP/1.1 200"));
    }
    let mut client = door.connect();
    client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    let reply = door.held.recv().unwrap();
    drop(client);
    reply.send(Response::text(200, "nobody listens"));
    assert_eq!(door.connect().get("/saw").status, 200);
}

#[test]
fn stop_ends_listening_at_once_and_finishes_what_is_under_way() {
    let door = open();
    let mut idle = door.connect();
    assert_eq!(idle.get("/saw").status, 200);
    let mut busy = door.connect();
    busy.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    let reply = door.held.recv().unwrap();
    let mut half = door.connect();
    half.send(b"GET /half HTTP/1.1\r\n");

    door.handle.stop();
    assert_eq!(idle.rest(), "", "a connection at rest is closed");
    assert_eq!(half.rest(), "", "half a request is not waited for");
    assert!(std::net::TcpStream::connect(door.address).is_err(), "nobody listens any more");
    reply.send(Response::text(200, "finished"));
    let answer = busy.rest();
    assert!(answer.contains("Connection: close") && answer.ends_with("finished"), "{answer}");
    assert_eq!(door.stop().stats().connections, 0);
}

#[test]
fn stop_does_not_wait_for_ever_and_late_answers_do_no_harm() {
    let limits = Limits { stop_time: std::time::Duration::from_millis(30), ..Limits::default() };
    let door = TestDoor::open(limits);
    let mut client = door.connect();
    client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\nGET /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    let reply = door.held.recv().unwrap();
    door.stop();
    assert_eq!(client.rest(), "");
    let stream = reply.into_stream(&[]);
    assert!(stream.is_gone());
}

/// For clients to which every answer means "never again".
#[test]
fn an_answer_may_be_none_at_all() {
    let door = open();
    let mut client = door.connect();
    client.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\nGET /saw HTTP/1.1\r\nHost: a\r\n\r\n");
    door.held.recv().unwrap().hang_up();
    assert_eq!(client.rest(), "", "neither an answer nor the next request's");
    let mut gone = door.connect();
    gone.send(b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n");
    let reply = door.held.recv().unwrap();
    drop(gone);
    reply.hang_up();
    assert_eq!(door.stop().stats().connections, 0);
}

#[test]
fn a_door_without_work_sleeps() {
    let door = open();
    let mut client = door.connect();
    for _ in 0..10 {
        assert_eq!(client.get("/saw").status, 200);
    }
    // Accepting, ten requests and the stop; nothing wakes the loop twice for one answer.
    let wakeups = door.stop().stats().wakeups;
    assert!((11..=30).contains(&wakeups), "{wakeups} wake-ups");
}

#[test]
fn a_port_that_is_taken_is_explained() {
    let door = open();
    let Err(error) = rapidsms::web::door::Door::bind(door.address, Limits::default()) else {
        panic!("two doors on one port")
    };
    assert!(error.to_string().contains(&door.address.to_string()), "{error}");
    assert!(error.to_string().contains("another program"), "{error}");
}
