//! Many idle connections, and descriptors running out: in a process of its own, whose limit is set by the shell.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use rapidsms::http::Response;
use rapidsms::web::door::Limits;

use super::support::{Client, TestDoor};

const HOLD: &[u8] = b"GET /hold HTTP/1.1\r\nHost: a\r\n\r\n";

/// A door in a process that may open only so many descriptors.
struct Process {
    child: Child,
    orders: Option<ChildStdin>,
    /// Kept open, because the test runner in there would fail for want of a reader.
    _words: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Process {
    fn start(descriptors: usize) -> Process {
        let program = std::env::current_exe().unwrap();
        let script = format!("ulimit -n {descriptors} && exec \"$0\" --exact --ignored --nocapture \"$1\"");
        let mut child = Command::new("sh")
            .args(["-c", &script])
            .arg(program)
            .arg("door::exhaustion::the_process_with_few_descriptors")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = child.stdin.take();
        let mut words = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        let address = loop {
            line.clear();
            assert!(words.read_line(&mut line).unwrap() > 0, "the process ended before it had an address");
            // The test runner's own words share the line with ours.
            if let Some((_, address)) = line.split_once("door at ") {
                break address.trim_end().parse().unwrap();
            }
        };
        Process { child, orders, _words: words, address }
    }

    fn order(&mut self, word: &str) {
        writeln!(self.orders.as_mut().unwrap(), "{word}").unwrap();
    }

    fn finish(mut self) {
        drop(self.orders.take());
        assert!(self.child.wait().unwrap().success());
    }
}

/// Not a test by itself: what [`Process`] runs. "answer N" answers N held requests; the end of input ends it.
#[test]
#[ignore = "run by the tests beside it, in a process of its own"]
fn the_process_with_few_descriptors() {
    let door = TestDoor::open(Limits::default());
    println!("door at {}", door.address);
    for line in std::io::stdin().lines().map_while(Result::ok) {
        if line == "check that descriptors ran out" {
            assert!(door.handle.stats().accept_failures > 0);
        }
        let count = line.strip_prefix("answer ").and_then(|count| count.parse().ok()).unwrap_or(0);
        for _ in 0..count {
            door.held.recv().unwrap().send(Response::text(200, "held"));
        }
    }
    door.stop();
}

#[test]
fn four_hundred_idle_connections_hinder_nobody() {
    let process = Process::start(1024);
    let mut idle: Vec<_> = (0..400).map(|_| TcpStream::connect(process.address).unwrap()).collect();
    for half in idle.iter_mut().step_by(2) {
        half.write_all(b"GET / HTTP/1.1\r\nHost: a\r\nX: ").unwrap();
    }
    for _ in 0..20 {
        assert_eq!(Client::connect(process.address).get("/saw").status, 200);
    }
    process.finish();
}

#[test]
fn idle_connections_make_room_when_descriptors_run_out() {
    let mut process = Process::start(64);
    for _ in 0..3 {
        let idle: Vec<_> = (0..200).map(|_| TcpStream::connect(process.address).unwrap()).collect();
        for _ in 0..5 {
            assert_eq!(Client::connect(process.address).get("/saw").status, 200);
        }
        drop(idle);
        assert_eq!(Client::connect(process.address).get("/saw").status, 200);
    }
    process.order("check that descriptors ran out");
    process.finish();
}

#[test]
fn accepting_pauses_without_descriptors_and_recovers() {
    let mut process = Process::start(64);
    for _ in 0..2 {
        // More requests under way than descriptors: nobody can be closed, so the last ones wait to be accepted.
        let mut held = Vec::new();
        for _ in 0..100 {
            let mut client = Client::connect(process.address);
            client.send(HOLD);
            held.push(client);
        }
        process.order("answer 100");
        for client in &mut held {
            assert_eq!(client.answer().body, "held");
            // Leaving makes room for one that still waits.
            client.socket().shutdown(std::net::Shutdown::Both).unwrap();
        }
        assert_eq!(Client::connect(process.address).get("/saw").status, 200);
    }
    process.order("check that descriptors ran out");
    process.finish();
}
