//! What the benchmarks of the whole daemon share: a daemon as a child, and plain HTTP.
#![allow(dead_code)] // Each benchmark uses a part of it.

pub mod processes;
pub mod simulator;

use rapidsms::message::{Direction, State};
use rapidsms::store::sqlite::Sqlite;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A running daemon with the tester backends `bench` and `other`, killed at its end.
pub struct Daemon {
    child: Child,
    pub address: String,
    pub start_time: Duration,
}

impl Daemon {
    pub fn start(folder: &Path) -> Daemon {
        let start = Instant::now();
        let (child, address) = launch(
            folder,
            "INSTALLED_APPS = [\"echo\", \"default\"]\nLOG_LEVEL = \"ERROR\"\n[web]\nlisten = \"127.0.0.1:0\"\n\
             [INSTALLED_BACKENDS.bench]\nENGINE = \"bucket\"\n[INSTALLED_BACKENDS.other]\nENGINE = \"bucket\"\n",
        );
        Daemon { child, address, start_time: start.elapsed() }
    }

    /// Waits until nothing is left to do: the first request after the load is answered, and its reply is sent.
    pub fn idle(&self) {
        post(&mut TcpStream::connect(&self.address).expect("a connection"), "bench", "idle");
    }

    pub fn wait_for_replies(&self, folder: &Path, wanted: u64) {
        let mut reader = Sqlite::open_reader(&folder.join("rapidsms.db")).expect("a reader");
        let mut connection = TcpStream::connect(&self.address).expect("a connection");
        loop {
            let counts = reader.tally().expect("counts");
            let sent = counts.iter().filter(|it| it.direction == Direction::Out && it.state == State::Sent);
            if sent.map(|it| it.count).sum::<u64>() >= wanted {
                return;
            }
            // A request to the daemon is a wait that it ends.
            get(&mut connection, "/healthz");
        }
    }

    fn proc(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap_or_default()
    }

    pub fn minor_faults(&self) -> u64 {
        let stat = self.proc("stat");
        let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
        after.split_whitespace().nth(7).and_then(|field| field.parse().ok()).unwrap_or(0)
    }

    fn status(&self, field: &str) -> f64 {
        let status = self.proc("status");
        let line = status.lines().find_map(|line| line.strip_prefix(field));
        line.and_then(|rest| rest.split_whitespace().nth(0)?.parse().ok()).unwrap_or(f64::NAN)
    }

    pub fn threads(&self) -> f64 {
        self.status("Threads:")
    }

    pub fn resident(&self) -> f64 {
        self.status("VmRSS:") / 1024.0
    }

    /// How often any thread of the daemon was put back to work while nothing happened.
    pub fn wakeups(&self, during: Duration) -> f64 {
        let switches = || -> u64 {
            let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("tasks");
            let each = tasks.flatten().map(|task| {
                let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
                let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
                line.and_then(|rest| rest.trim().parse::<u64>().ok()).unwrap_or(0)
            });
            each.sum()
        };
        // The last request's work and the keep-alive timers of its connections end first.
        std::thread::park_timeout(Duration::from_secs(20));
        let before = switches();
        std::thread::park_timeout(during);
        (switches() - before) as f64 / during.as_secs_f64()
    }

    pub fn kill(mut self) {
        self.child.kill().and_then(|()| self.child.wait()).expect("the daemon is ours");
    }
}

/// Starts the daemon with these settings, one of which is a tester, and waits for its address.
pub fn launch(folder: &Path, settings: &str) -> (Child, String) {
    let file = folder.join("settings.toml");
    fs::write(&file, settings).expect("settings");
    let mut child = Command::new(env!("CARGO_BIN_EXE_rapidsms"))
        .args(["run_router", "--settings"])
        .arg(&file)
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the daemon");
    let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
    let address = loop {
        let line = lines.next().expect("the daemon ended").expect("text");
        if let Some(address) = line.strip_prefix("Message Tester: http://") {
            break address.trim_end_matches("/httptester/").to_string();
        }
    };
    // Whatever else it says must not fill the pipe.
    std::thread::spawn(move || lines.for_each(drop));
    (child, address)
}

pub fn request(backend: &str, peer: &str) -> Vec<u8> {
    let body = format!("identity=%2B1555{}&text=echo+hello+{peer}", peer.replace('.', ""));
    format!(
        "POST /httptester/{backend}/ HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
        body.len()
    )
    .into_bytes()
}

pub fn post(connection: &mut TcpStream, backend: &str, peer: &str) {
    connection.write_all(&request(backend, peer)).expect("a request");
    answer(connection);
}

pub fn get(connection: &mut TcpStream, path: &str) {
    let request = format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
    connection.write_all(request.as_bytes()).expect("a request");
    answer(connection);
}

/// Reads one answer; these are small and come in one piece.
pub fn answer(connection: &mut TcpStream) {
    let mut buffer = [0; 4096];
    let count = connection.read(&mut buffer).expect("an answer");
    let text = String::from_utf8_lossy(&buffer[..count]);
    assert!(text.starts_with("HTTP/1.1 200"), "the daemon answered {text:?}");
}

/// The slowest but one in a hundred.
pub fn p99(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() * 99 / 100]
}

/// The one in the middle.
pub fn median(times: &mut [Duration]) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

/// How long the disk takes to keep a page after it had nothing to do: in the middle, and the slowest but one in a hundred.
pub fn sync_times(folder: &Path) -> (Duration, Duration) {
    let mut file = fs::File::create(folder.join("sync")).expect("a file");
    let mut times: Vec<Duration> = (0..200)
        .map(|_| {
            std::thread::park_timeout(Duration::from_millis(10));
            let start = Instant::now();
            file.write_all(&[7; 4096]).and_then(|()| file.sync_data()).expect("the disk takes a page");
            start.elapsed()
        })
        .collect();
    (median(&mut times), p99(&mut times))
}
