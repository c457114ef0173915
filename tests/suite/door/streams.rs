//! Event streams: they deliver, keep themselves alive, and cost nothing once their client is gone.

use std::time::Duration;

use rapidsms::web::door::{EventStream, Gone, Limits};

use super::support::{Client, TestDoor};

const ASK: &[u8] = b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n";

fn subscribe(door: &TestDoor) -> (Client, EventStream) {
    let mut client = door.connect();
    client.send(ASK);
    let stream = door.streams.recv().unwrap();
    let head = client.head();
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
    assert!(
        head.contains("\r\nContent-Type: text/event-stream\r\n") && head.contains("\r\nX-Stream: yes\r\n"),
        "{head}"
    );
    assert!(
        head.contains("\r\nTransfer-Encoding: chunked\r\n") && !head.contains("Content-Length"),
        "{head}"
    );
    (client, stream)
}

/// One chunk of the chunked framing (RFC 9112 clause 7.1); empty at the end of the stream.
fn chunk(client: &mut Client) -> String {
    let length = usize::from_str_radix(client.line().trim_end(), 16).unwrap();
    let mut data = String::new();
    while data.len() < length {
        data += &client.line();
    }
    assert_eq!(client.line(), "\r\n");
    data
}

#[test]
fn events_arrive_as_they_are_pushed_and_the_end_is_orderly() {
    let door = TestDoor::open(Limits::default());
    let (mut client, stream) = subscribe(&door);
    for number in 0..20 {
        let event = format!("data: {number}\n\n");
        stream.push(event.as_bytes()).unwrap();
        assert_eq!(chunk(&mut client), event);
    }
    stream.push(b"data: last\n\n").unwrap();
    drop(stream);
    assert_eq!(client.rest(), "c\r\ndata: last\n\n\r\n0\r\n\r\n");
}

#[test]
fn http_1_0_gets_the_bytes_without_framing_and_head_gets_the_head() {
    let door = TestDoor::open(Limits::default());
    let mut client = door.connect();
    client.send(b"GET /stream HTTP/1.0\r\n\r\n");
    let stream = door.streams.recv().unwrap();
    stream.push(b"data: 1\n\n").unwrap();
    drop(stream);
    let answer = client.rest();
    assert!(!answer.contains("chunked") && answer.ends_with("\r\n\r\ndata: 1\n\n"), "{answer}");

    client = door.connect();
    client.send(b"HEAD /stream HTTP/1.1\r\nHost: a\r\n\r\n");
    let stream = door.streams.recv().unwrap();
    assert!(client.rest().ends_with("\r\n\r\n"));
    assert_eq!(stream.push(b"x"), Err(Gone));
}

#[test]
fn a_quiet_stream_gets_heartbeats() {
    let door = TestDoor::open(Limits { heartbeat: Duration::from_millis(20), ..Limits::default() });
    let (mut client, _stream) = subscribe(&door);
    assert_eq!(chunk(&mut client), ":\n\n");
    assert_eq!(chunk(&mut client), ":\n\n");
}

#[test]
fn a_client_that_closes_is_noticed_at_once() {
    let door = TestDoor::open(Limits::default());
    let (client, stream) = subscribe(&door);
    assert_eq!(door.handle.stats().streams, 1);
    drop(client);
    // The close reached the door before this request did.
    assert_eq!(door.connect().get("/saw").status, 200);
    assert!(stream.is_gone());
    assert_eq!(stream.push(b"data: x\n\n"), Err(Gone));
    assert_eq!(door.handle.stats().streams, 0);
}

#[test]
fn a_client_that_does_not_read_is_cut_off_and_the_others_are_not() {
    let door = TestDoor::open(Limits::default());
    let (mut slow, slow_stream) = subscribe(&door);
    let (mut quick, quick_stream) = subscribe(&door);
    let event = format!("data: {}\n\n", "x".repeat(8000));
    let mut pushed = 0;
    while slow_stream.push(event.as_bytes()).is_ok() {
        pushed += event.len();
        assert!(pushed < 64 * 1024 * 1024, "a bounded amount waits for a client that does not read");
    }
    quick_stream.push(b"data: quick\n\n").unwrap();
    assert_eq!(chunk(&mut quick), "data: quick\n\n");
    // Cut off, not ended: the client notices and comes back.
    assert!(!slow.rest().ends_with("\r\n0\r\n\r\n"));
    assert!(slow_stream.is_gone());
    assert_eq!(door.stop().stats().overflowed, 1);
}

#[test]
fn streams_are_counted_apart_and_limited() {
    let door = TestDoor::open(Limits { connections: 2, event_streams: 3, ..Limits::default() });
    let mut streams: Vec<_> = (0..3).map(|_| subscribe(&door)).collect();
    let mut client = door.connect();
    client.send(ASK);
    assert_eq!(client.answer().status, 503);
    assert_eq!(door.streams.recv().unwrap().push(b"x"), Err(Gone));
    assert_eq!(client.get("/saw").status, 200, "the refused stream leaves its connection usable");
    let (mut first, mut second) = (door.connect(), door.connect());
    assert_eq!((first.get("/saw").status, second.get("/saw").status), (200, 200));
    for (client, stream) in &mut streams {
        stream.push(b"data: 1\n\n").unwrap();
        assert_eq!(chunk(client), "data: 1\n\n", "newcomers close no stream");
    }
    streams.pop();
    assert_eq!(door.connect().get("/saw").status, 200);
    subscribe(&door);
}

#[test]
fn a_client_that_talks_into_its_stream_is_bounded() {
    let door = TestDoor::open(Limits::default());
    let (mut client, stream) = subscribe(&door);
    client.send(&[b'x'; 1000]);
    stream.push(b"data: 1\n\n").unwrap();
    assert_eq!(chunk(&mut client), "data: 1\n\n");
    client.send(&[b'x'; 40_000]);
    client.rest();
    assert!(stream.is_gone());
}

#[test]
fn stop_ends_streams_in_good_order() {
    let door = TestDoor::open(Limits::default());
    let (mut client, stream) = subscribe(&door);
    stream.push(b"data: last\n\n").unwrap();
    let handle = door.stop();
    assert_eq!(chunk(&mut client), "data: last\n\n");
    assert_eq!(chunk(&mut client), "");
    assert_eq!(stream.push(b"x"), Err(Gone));
    assert_eq!(handle.stats().streams, 0);
}
