//! The attack table: sizes, times and numbers that a hostile or broken client would exceed.

use std::io::Write;
use std::time::Duration;

use rapidsms::http::Response;
use rapidsms::http::reader::Sizes;
use rapidsms::web::door::Limits;

use super::support::TestDoor;

const SOON: Duration = Duration::from_millis(40);
const HOLD: &[u8] = b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n";

#[test]
fn a_header_line_without_end_is_cut_off() {
    let door = TestDoor::open(Limits::default());
    let mut client = door.connect();
    client.send(b"GET / HTTP/1.1\r\nHost: a\r\nX: ");
    client.send(&vec![b'a'; 20_000]);
    assert_eq!(client.answer().status, 431);

    // Whoever goes on all the same is read for a bounded amount and then closed.
    let mut socket = std::net::TcpStream::connect(door.address).unwrap();
    let mut sent = 0;
    let piece = vec![b'a'; 64 * 1024];
    while let Ok(count) = socket.write(&piece) {
        sent += count;
        assert!(sent < 64 * 1024 * 1024, "still taking after {sent} bytes");
    }
}

#[test]
fn a_body_that_is_too_large_is_refused_unread() {
    let door = TestDoor::open(Limits::default());
    let mut client = door.connect();
    client.send(b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 200000\r\n\r\n");
    // The client sends all of it before it looks, and must still find the answer.
    client.send(&vec![b'b'; 200_000]);
    assert_eq!(client.answer().status, 413);
}

#[test]
fn half_requests_are_answered_408() {
    for part in [
        "G",
        "GET / HTTP/1.1\r\nHost: a\r\n",
        "POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhel",
    ] {
        let door = TestDoor::open(Limits { head_time: SOON, whole_time: SOON, ..Limits::default() });
        let answer = door.say(part.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 408 "), "{part:?}: {answer:?}");
        assert_eq!(door.stop().stats().refused, 1);
    }
}

#[test]
fn the_time_for_a_head_does_not_begin_anew_with_each_byte() {
    // Far more than can be sent in that time, byte by byte.
    let sizes = Sizes { head_bytes: 256 * 1024 * 1024, ..Sizes::default() };
    let door = TestDoor::open(Limits { head_time: SOON, drain_bytes: 1000, sizes, ..Limits::default() });
    let mut client = door.connect();
    client.send(b"GET / HTTP/1.1\r\nX: ");
    while client.socket().write(b"a").is_ok() {}
    assert_eq!(door.stop().stats().refused, 1);
}

#[test]
fn idle_connections_are_closed_in_silence() {
    let door = TestDoor::open(Limits { head_time: SOON, keep_alive: SOON, ..Limits::default() });
    assert_eq!(door.connect().rest(), "", "never said anything");
    let mut client = door.connect();
    assert_eq!(client.get("/saw").status, 200);
    assert_eq!(client.rest(), "", "rested too long");
    assert_eq!(door.stop().stats().refused, 0);
}

#[test]
fn a_site_that_does_not_answer_costs_504() {
    let door = TestDoor::open(Limits { answer_time: SOON, ..Limits::default() });
    let mut client = door.connect();
    client.send(HOLD);
    let reply = door.held.recv().unwrap();
    assert!(client.rest().starts_with("HTTP/1.1 504 "));
    let mut next = door.connect();
    next.send(HOLD);
    let second = door.held.recv().unwrap();
    reply.send(Response::text(200, "too late, and not for the next one"));
    second.send(Response::text(200, "in time"));
    assert_eq!(next.answer().body, "in time");
    assert_eq!(door.stop().stats().unanswered, 1);
}

#[test]
fn a_reader_that_takes_nothing_is_given_up() {
    // The door can end before its generous stop time only because it has given up the slow reader.
    let stop_time = Duration::from_secs(600);
    let door = TestDoor::open(Limits { write_time: SOON, stop_time, ..Limits::default() });
    let mut client = door.connect();
    client.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(client.head().starts_with("HTTP/1.1 200 "));
    assert_eq!(door.stop().stats().connections, 0);
}

#[test]
fn at_the_limit_whoever_waited_longest_makes_room() {
    let door = TestDoor::open(Limits { connections: 3, ..Limits::default() });
    let mut first = door.connect();
    assert_eq!(first.get("/saw").status, 200);
    let mut second = door.connect();
    second.send(b"GET /half HTTP/1.1\r\n");
    let mut third = door.connect();
    assert_eq!(third.get("/saw").status, 200);
    // The first has been served since, so that the second has waited longest, half a request or not.
    assert_eq!(first.get("/saw").status, 200);
    let mut fourth = door.connect();
    assert_eq!(fourth.get("/saw").status, 200);
    assert_eq!(second.rest(), "");
    assert_eq!(first.get("/saw").status, 200);
    assert_eq!(third.get("/saw").status, 200);
    assert_eq!(fourth.get("/saw").status, 200);
    assert_eq!(door.stop().stats().evicted, 1);
}

#[test]
fn requests_under_way_are_never_closed_for_a_newcomer() {
    let door = TestDoor::open(Limits { connections: 2, ..Limits::default() });
    let mut busy = [door.connect(), door.connect()];
    let mut replies = Vec::new();
    for client in &mut busy {
        client.send(HOLD);
        replies.push(door.held.recv().unwrap());
    }
    let mut newcomer = door.connect();
    newcomer.send(b"GET /saw HTTP/1.1\r\nHost: a\r\n\r\n");
    for (client, reply) in busy.iter_mut().zip(replies) {
        reply.send(Response::text(200, "done"));
        assert_eq!(client.answer().body, "done");
    }
    assert_eq!(newcomer.answer().status, 200, "the newcomer waited and was served");
}

#[test]
fn a_slow_reader_makes_room_before_anybody_is_kept_out() {
    let door = TestDoor::open(Limits { connections: 1, ..Limits::default() });
    let mut slow = door.connect();
    slow.send(b"GET /big HTTP/1.1\r\nHost: a\r\n\r\n");
    assert!(slow.head().starts_with("HTTP/1.1 200 "));
    assert_eq!(door.connect().get("/saw").status, 200);
}

#[test]
fn one_address_cannot_take_everything() {
    let limits = Limits { per_address: 2, loopback_exempt: false, ..Limits::default() };
    let door = TestDoor::open(limits);
    let (mut first, mut second) = (door.connect(), door.connect());
    assert_eq!(first.get("/saw").status, 200);
    assert_eq!(second.get("/saw").status, 200);
    let mut third = door.connect();
    third.send(HOLD);
    let third_reply = door.held.recv().unwrap();
    assert_eq!(first.rest(), "", "the oldest of the same address made room");
    second.send(HOLD);
    let second_reply = door.held.recv().unwrap();
    // Both are busy now, so the next is turned away instead of queued.
    assert!(door.connect().rest().starts_with("HTTP/1.1 503 "));
    second_reply.send(Response::empty(204));
    third_reply.send(Response::empty(204));
    assert_eq!((second.answer().status, third.answer().status), (204, 204));
    assert_eq!(door.stop().stats().turned_away, 1);

    let door = TestDoor::open(Limits { per_address: 2, ..Limits::default() });
    let mut clients: Vec<_> = (0..10).map(|_| door.connect()).collect();
    assert!(clients.iter_mut().all(|client| client.get("/saw").status == 200), "loopback is exempt");
}

#[test]
fn bursts_like_a_browsers_starve_nobody() {
    let door = TestDoor::open(Limits::default());
    for _ in 0..20 {
        let mut clients: Vec<_> = (0..30).map(|_| door.connect()).collect();
        for client in &mut clients {
            client.send(b"GET /thread HTTP/1.1\r\nHost: a\r\n\r\n");
        }
        assert!(clients.iter_mut().all(|client| client.answer().status == 200));
    }
    assert_eq!(door.stop().stats().requests, 600);
}
