//! A door on a free port with a small site behind it, and a client that reads answers one by one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use rapidsms::http::{Request, Response};
use rapidsms::web::door::{Door, DoorHandle, EventStream, Limits, Reply};

/// A read that waits longer than this has failed; no test waits for it on purpose.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running door. `held` brings the replies of `/hold`, `streams` the streams of `/stream`.
pub struct TestDoor {
    pub address: SocketAddr,
    pub handle: DoorHandle,
    pub held: Receiver<Reply>,
    pub streams: Receiver<EventStream>,
    thread: Option<JoinHandle<std::io::Result<()>>>,
}

impl TestDoor {
    pub fn open(limits: Limits) -> TestDoor {
        let door = Door::bind("127.0.0.1:0".parse().unwrap(), limits).unwrap();
        let (hold, held) = channel();
        let (keep, streams) = channel();
        let (address, handle) = (door.local_addr().unwrap(), door.handle());
        let thread = std::thread::spawn(move || door.run(site(hold, keep)));
        TestDoor { address, handle, held, streams, thread: Some(thread) }
    }

    pub fn connect(&self) -> Client {
        Client::connect(self.address)
    }

    /// Sends the bytes on a new connection and returns everything until the door closes it.
    pub fn say(&self, bytes: &[u8]) -> String {
        let mut client = self.connect();
        client.send(bytes);
        client.rest()
    }

    /// Stops the door, waits for its thread and returns whether it ended well.
    pub fn stop(mut self) -> DoorHandle {
        self.handle.stop();
        self.thread.take().unwrap().join().unwrap().unwrap();
        self.handle.clone()
    }
}

impl Drop for TestDoor {
    fn drop(&mut self) {
        self.handle.stop();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

pub fn site(hold: Sender<Reply>, keep: Sender<EventStream>) -> impl FnMut(Request, Reply) + Send {
    move |request, reply| match request.path() {
        "/hold" => hold.send(reply).unwrap(),
        "/thread" => {
            std::thread::spawn(move || reply.send(Response::text(200, "from another thread")));
        }
        "/stream" => keep.send(reply.into_stream(&[("X-Stream", "yes")])).unwrap(),
        "/drop" => drop(reply),
        "/panic" => panic!("a panic that a test asked for"),
        "/big" => reply.send(Response::bytes(200, "text/plain", vec![b'x'; BIG])),
        "/nothing" => reply.send(Response::empty(204)),
        "/split" => reply.send(Response::text(200, "x").header("X-Evil", "a\r\nSet-Cookie: b")),
        "/split-stream" => keep.send(reply.into_stream(&[("X-Evil", "a\nb")])).unwrap(),
        "/page" => reply.send(Response::html("<p>page")),
        "/away" => reply.send(Response::redirect("/page")),
        "/saw" => {
            let or_dash = |text: &str| if text.is_empty() { "-".to_string() } else { text.to_string() };
            let body = String::from_utf8_lossy(request.body()).into_owned();
            let saw =
                [request.method(), request.path(), request.query(), request.host().unwrap_or(""), &body];
            reply.send(Response::text(200, saw.map(or_dash).join(" ")));
        }
        _ => {
            let body = request.into_body();
            reply.send(Response::bytes(200, "text/plain", body));
        }
    }
}

/// More than any socket buffer takes unread.
pub const BIG: usize = 32 * 1024 * 1024;

pub struct Client {
    reader: BufReader<TcpStream>,
}

#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Client {
    pub fn connect(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { reader: BufReader::new(socket) }
    }

    pub fn socket(&self) -> &TcpStream {
        self.reader.get_ref()
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.reader.get_mut().write_all(bytes).unwrap();
    }

    pub fn get(&mut self, path: &str) -> Answer {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").as_bytes());
        self.answer()
    }

    pub fn head(&mut self) -> String {
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") && self.reader.read_line(&mut head).unwrap() > 0 {}
        head
    }

    pub fn answer(&mut self) -> Answer {
        self.answer_to("GET")
    }

    pub fn answer_to(&mut self, method: &str) -> Answer {
        let head = self.head();
        let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("Content-Length: "))
            .map_or(0, |digits| digits.parse().unwrap());
        let mut body = vec![0; if method == "HEAD" { 0 } else { length }];
        self.reader.read_exact(&mut body).unwrap();
        Answer { status, head, body: String::from_utf8(body).unwrap() }
    }

    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.reader.read_line(&mut line).unwrap();
        line
    }

    /// Everything until the door closes; a reset counts as the end too.
    pub fn rest(&mut self) -> String {
        let mut bytes = Vec::new();
        if let Err(error) = self.reader.read_to_end(&mut bytes) {
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset, "waiting for the door to close");
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

/// The cases of a file under `tests/requests`: title and bytes.
pub fn cases(text: &str) -> Vec<(String, Vec<u8>)> {
    let mut cases: Vec<(String, Vec<u8>)> = Vec::new();
    for line in text.lines() {
        if let Some(title) = line.strip_prefix("=== ") {
            cases.push((title.to_string(), Vec::new()));
        } else if let Some((_, bytes)) = cases.last_mut() {
            let (line, end) = match line.strip_suffix('\\') {
                Some(line) => (line, ""),
                None => (line, "\r\n"),
            };
            unescape(line, bytes);
            bytes.extend_from_slice(end.as_bytes());
        }
    }
    cases
}

fn unescape(line: &str, out: &mut Vec<u8>) {
    let mut rest = line.as_bytes();
    while let [first, tail @ ..] = rest {
        let (byte, taken) = match (first, tail) {
            (b'\\', [b'r', ..]) => (b'\r', 2),
            (b'\\', [b'n', ..]) => (b'\n', 2),
            (b'\\', [b't', ..]) => (b'\t', 2),
            (b'\\', [b'0', ..]) => (0, 2),
            (b'\\', [b'x', a, b, ..]) => {
                let digits = [*a, *b];
                (u8::from_str_radix(std::str::from_utf8(&digits).unwrap(), 16).unwrap(), 4)
            }
            _ => (*first, 1),
        };
        out.push(byte);
        rest = &rest[taken..];
    }
}
