//! The real program in a folder of its own, and a conversation with it: commands, HTTP requests, signals, log lines.
//!
//! Nothing here sleeps. Starts and log lines are waited for as they arrive on standard error; what only the API shows is asked for
//! again and again ([`Daemon::wait_until`]), each time at the price of a request, until a deadline that no healthy run comes near.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Whatever takes longer than this hangs.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Settings with one tester on any free port: enough for `echo hello`.
pub const ECHO: &str = r#"
INSTALLED_APPS = ["echo", "default"]

[web]
listen = "127.0.0.1:0"

[INSTALLED_BACKENDS.message_tester]
ENGINE = "bucket"
"#;

/// A new folder with these settings in it, as `settings.toml`.
pub fn folder(settings: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    write(folder.path(), "settings.toml", settings);
    folder
}

/// Writes one file there.
pub fn write(folder: &Path, name: &str, text: &str) {
    std::fs::write(folder.join(name), text).expect("a file is written");
}

/// What a command said, and how it ended.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; 128 and the number of the signal that ended it.
    pub code: i32,
    /// Its standard output.
    pub out: String,
    /// Its standard error.
    pub err: String,
}

impl Ran {
    /// Fails with everything that was said unless the exit code is this one.
    #[track_caller]
    pub fn exits(self, code: i32) -> Ran {
        assert_eq!(self.code, code, "stdout:\n{}\nstderr:\n{}", self.out, self.err);
        self
    }

    /// The JSON document on standard output.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {}", self.out))
    }
}

/// The program, to be run in this folder with nothing of the tester's environment that it looks at.
pub fn program(folder: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_rapidsms"));
    command.current_dir(folder).stdin(Stdio::null());
    // No test looks for modems on the machine that it runs on: here there are none.
    command.env("RAPIDSMS_MACHINE_ROOT", folder);
    for variable in
        ["RAPIDSMS_SETTINGS", "RUST_LOG", "RUST_LOG_STYLE", "NO_COLOR", "CLICOLOR_FORCE", "COLUMNS"]
    {
        command.env_remove(variable);
    }
    for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "JOURNAL_STREAM"] {
        command.env_remove(variable);
    }
    command
}

/// Runs `rapidsms ARGUMENTS` to its end.
pub fn rapidsms<A: AsRef<OsStr>>(folder: &Path, arguments: &[A]) -> Ran {
    rapidsms_with(folder, arguments, b"")
}

/// The same with something on standard input.
pub fn rapidsms_with<A: AsRef<OsStr>>(folder: &Path, arguments: &[A], input: &[u8]) -> Ran {
    let mut command = program(folder);
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the program starts");
    let mut stdin = child.stdin.take().expect("a pipe");
    let input = input.to_vec();
    // A program that does not read it closes the pipe, which is its right.
    let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().expect("the program ends");
    feeder.join().expect("the input is written");
    let text = |octets| String::from_utf8(octets).expect("the program writes UTF-8");
    Ran { code: code(output.status), out: text(output.stdout), err: text(output.stderr) }
}

fn code(status: ExitStatus) -> i32 {
    use std::os::unix::process::ExitStatusExt;
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

/// An HTTP answer.
#[derive(Debug)]
pub struct Answer {
    /// Its status.
    pub status: u16,
    /// Its status line and headers.
    pub head: String,
    /// Its body.
    pub body: String,
}

impl Answer {
    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// Everything that the daemon wrote to standard error so far, and how much of it was looked at.
#[derive(Default)]
struct Log {
    lines: Vec<String>,
    read: usize,
    ended: bool,
}

type Shared = Arc<(Mutex<Log>, Condvar)>;

/// A running router. It is killed when it is dropped.
pub struct Daemon {
    /// The process.
    pub child: Child,
    /// Where it listens, `127.0.0.1:PORT`; empty without a listener.
    pub address: String,
    folder: Option<TempDir>,
    log: Shared,
    listener: Option<JoinHandle<()>>,
}

/// What is left of a router that ended.
pub struct Ended {
    /// Its exit code; 128 and the number of the signal that ended it.
    pub code: i32,
    /// Its folder, to start it again in.
    pub folder: TempDir,
    /// Everything that it wrote to standard error.
    pub log: String,
}

impl Daemon {
    /// Starts a router with these settings in a new folder, and waits until it accepts messages.
    pub fn start(settings: &str) -> Daemon {
        Daemon::start_in(folder(settings))
    }

    /// Starts a router in a folder that has settings and perhaps a store already.
    pub fn start_in(folder: TempDir) -> Daemon {
        let mut command = program(folder.path());
        command.arg("run_router");
        Daemon::start_as(folder, command)
    }

    /// Starts a router by this command.
    pub fn start_as(folder: TempDir, command: Command) -> Daemon {
        match Daemon::try_start_as(folder, command) {
            Ok(daemon) => daemon,
            Err(ended) => panic!("the router ended with {} at its start:\n{}", ended.code, ended.log),
        }
    }

    /// The same where the router may end before it accepts anything; `Err` is how it ended.
    pub fn try_start_as(folder: TempDir, mut command: Command) -> Result<Daemon, Ended> {
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().expect("it starts");
        let stderr = child.stderr.take().expect("a pipe");
        let log = Shared::default();
        let written = Arc::clone(&log);
        let listener = std::thread::spawn(move || listen(stderr, &written));
        let address = String::new();
        let mut daemon = Daemon { child, address, folder: Some(folder), log, listener: Some(listener) };
        if daemon.next_line("The router runs with").is_none() {
            return Err(daemon.ends());
        }
        daemon.address = {
            let log = daemon.log.0.lock().unwrap_or_else(PoisonError::into_inner);
            let address = log.lines.iter().find_map(|line| line.strip_prefix("Message Tester: http://"));
            address.unwrap_or_default().trim_end_matches("/httptester/").to_string()
        };
        Ok(daemon)
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        self.folder.as_ref().expect("it is there until the end").path()
    }

    /// Its store.
    pub fn database(&self) -> PathBuf {
        self.folder().join("rapidsms.db")
    }

    /// Runs another command of the program in the same folder.
    pub fn rapidsms<A: AsRef<OsStr>>(&self, arguments: &[A]) -> Ran {
        rapidsms(self.folder(), arguments)
    }

    /// Sends a request over a connection of its own and reads the whole answer. `Err` when the router is not there.
    pub fn ask(&self, method: &str, path: &str, headers: &str, body: &[u8]) -> std::io::Result<Answer> {
        let mut stream = TcpStream::connect(&self.address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\nContent-Length: {}\r\n{headers}\r\n",
            self.address,
            body.len()
        );
        stream.write_all(&[head.as_bytes(), body].concat())?;
        let mut octets = Vec::new();
        stream.read_to_end(&mut octets)?;
        let text = String::from_utf8_lossy(&octets);
        let wrong = || std::io::Error::other(format!("not a whole answer: {text:?}"));
        let (head, body) = text.split_once("\r\n\r\n").ok_or_else(wrong)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).ok_or_else(wrong)?;
        Ok(Answer { status, head: head.to_string(), body: body.to_string() })
    }

    /// `GET path`.
    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path, "", b"").unwrap_or_else(|error| panic!("GET {path}: {error}\n{}", self.log()))
    }

    /// `POST path` with a form.
    #[track_caller]
    pub fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(fields).finish();
        let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
        self.ask("POST", path, headers, form.as_bytes())
            .unwrap_or_else(|error| panic!("POST {path}: {error}\n{}", self.log()))
    }

    /// `POST path` with JSON.
    #[track_caller]
    pub fn post_json(&self, path: &str, body: &Value) -> Answer {
        let headers = "Content-Type: application/json\r\n";
        self.ask("POST", path, headers, body.to_string().as_bytes())
            .unwrap_or_else(|error| panic!("POST {path}: {error}\n{}", self.log()))
    }

    /// Somebody types `text` into the Message Tester.
    #[track_caller]
    pub fn says(&self, identity: &str, text: &str) {
        let answer = self.post("/httptester/message_tester/", &[("identity", identity), ("text", text)]);
        assert_eq!((answer.status, answer.body.as_str()), (200, "OK"), "{}", self.log());
    }

    /// The newest messages that `filter` (`state=sent&limit=5`) lets through.
    #[track_caller]
    pub fn messages(&self, filter: &str) -> Vec<Value> {
        let answer = self.get(&format!("/api/v1/messages?{filter}"));
        assert_eq!(answer.status, 200, "{}", answer.body);
        answer.json()["messages"].as_array().expect("a list").clone()
    }

    /// Waits until a message with this text was sent to `identity`, and returns it.
    #[track_caller]
    pub fn answers(&self, identity: &str, text: &str) -> Value {
        self.wait_until(&format!("{identity} is answered {text:?}"), |daemon| {
            let mut sent = daemon.messages("direction=out&state=sent").into_iter();
            sent.find(|message| message["identity"] == identity && message["text"] == text)
        })
    }

    /// Asks again and again until there is an answer.
    #[track_caller]
    pub fn wait_until<T>(&self, what: &str, mut ask: impl FnMut(&Daemon) -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(answer) = ask(self) {
                return answer;
            }
            assert!(Instant::now() < deadline, "in vain: {what}\nthe log:\n{}", self.log());
        }
    }

    /// Waits for the next log line with this in it, and returns it. Lines before it count as read.
    #[track_caller]
    pub fn wait_for_line(&self, part: &str) -> String {
        self.next_line(part).unwrap_or_else(|| panic!("it ended without {part:?}:\n{}", self.log()))
    }

    /// The same for a router that may end before; `None` then.
    #[track_caller]
    pub fn next_line(&self, part: &str) -> Option<String> {
        self.next_line_within(PATIENCE, part)
    }

    /// The same for what takes its time.
    #[track_caller]
    pub fn next_line_within(&self, patience: Duration, part: &str) -> Option<String> {
        let (log, news) = &*self.log;
        let deadline = Instant::now() + patience;
        let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            while let Some(line) = log.lines.get(log.read).cloned() {
                log.read += 1;
                if line.contains(part) {
                    return Some(line);
                }
            }
            if log.ended {
                return None;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no line with {part:?} in:\n{}", log.lines.join("\n"));
            log = news.wait_timeout(log, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Everything that it wrote to standard error so far.
    pub fn log(&self) -> String {
        self.log.0.lock().unwrap_or_else(PoisonError::into_inner).lines.join("\n")
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it is there");
    }

    /// Its process number.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// SIGTERM, and the end.
    pub fn stop(self) -> Ended {
        self.signal(Signal::TERM);
        self.ends()
    }

    /// Waits until it has ended by itself; stops it when what is waited for has come first.
    pub fn ends_or(self, mut come: impl FnMut() -> bool) -> Ended {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if self.log.0.lock().unwrap_or_else(PoisonError::into_inner).ended {
                return self.ends();
            }
            if come() {
                return self.stop();
            }
            assert!(Instant::now() < deadline, "neither:\n{}", self.log());
        }
    }

    /// SIGKILL: it learns nothing of its end.
    pub fn kill9(self) -> Ended {
        self.signal(Signal::KILL);
        self.ends()
    }

    /// Waits until it ends.
    pub fn ends(mut self) -> Ended {
        // The log ends with the process; what hangs is killed and told.
        let (log, news) = &*self.log;
        let guard = log.lock().unwrap_or_else(PoisonError::into_inner);
        let (guard, waited) = news
            .wait_timeout_while(guard, PATIENCE, |log| !log.ended)
            .unwrap_or_else(PoisonError::into_inner);
        assert!(!waited.timed_out(), "it does not end:\n{}", guard.lines.join("\n"));
        drop(guard);
        let status = self.child.wait().expect("it ended");
        Ended { code: code(status), folder: self.folder.take().expect("a folder"), log: self.log() }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail when it has ended already, which is as good.
        let _ = self.child.kill();
        let _ = self.child.wait();
        if let Some(listener) = self.listener.take() {
            let _ = listener.join();
        }
    }
}

fn listen(stderr: impl Read, (log, news): &(Mutex<Log>, Condvar)) {
    for line in BufReader::new(stderr).lines() {
        let Ok(line) = line else { break };
        log.lock().unwrap_or_else(PoisonError::into_inner).lines.push(line);
        news.notify_all();
    }
    log.lock().unwrap_or_else(PoisonError::into_inner).ended = true;
    news.notify_all();
}
