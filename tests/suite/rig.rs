//! A router with a bad peer and a bad app, in a process of its own that may be killed, and everything that tests of its failures share:
//! clients, the ledger of what was acknowledged and of what really left, the audit of a store, and faults injected by strace.
//!
//! The process is this very test binary, started again to run [`rig`] alone; so the engine and the app below are in no release.
//! Both do what the text of a message asks for:
//!
//! | engine `peer`, text with | does |
//! |---|---|
//! | `hang` | takes the message and never comes back |
//! | `panic` | panics before anything left |
//! | `unsure` | sends, and does not know it |
//! | `throttle` | asks for patience at the first attempt |
//! | `slow` | takes a fifth of a second |
//! | anything else | sends; whatever leaves is written to standard error, where the test keeps it ([`left`]) |
//!
//! | app `moody`, text | does |
//! |---|---|
//! | `panic` | panics |
//! | `abort` | takes the whole process with it |
//! | `never` | says that it answers later, and does not |
//! | `now` | answers the last `never`, too late |
//! | `twice X` | answers later: X, two times |
//! | `to BACKEND IDENTITY X` | sends X there |
//! | `call URL X` | answers X and has `URL` called about it |

use super::daemon::{Answer, Daemon, Ended, PATIENCE};
use rapidsms::apps::{App, AppError, Flow, Host, LateAnswer, Message};
use rapidsms::backends::{Backend, Engine};
use rapidsms::message::{Callback, Connection, Direction, MessageId, Outgoing, Receipt, SendFailure, State};
use rapidsms::registry::{AppKind, Registry};
use rapidsms::settings::{AppSpec, BackendSettings, EngineSpec};
use rapidsms::store::sqlite::Sqlite;
use rapidsms::store::{Count, Detail, Query, Reader, Row};
use std::collections::{BTreeMap, HashMap};
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

/// Says that this process is the router to be broken.
const RIG: &str = "RAPIDSMS_TEST_RIG";

/// Two lines to the same kind of peer, and the bad app before the good ones.
pub const SETTINGS: &str = r#"
INSTALLED_APPS = ["moody", "echo", "default"]

[web]
listen = "127.0.0.1:0"

[router]
app_timeout = "1 s"

[INSTALLED_BACKENDS.well]
ENGINE = "peer"
window = 8

[INSTALLED_BACKENDS.ill]
ENGINE = "peer"
window = 1
watchdog = "1 s"
"#;

/// The router itself, when this binary was started for that; otherwise there is nothing to do.
#[test]
#[allow(clippy::disallowed_methods)] // Its exit code is one of the things to be tested.
fn rig() {
    if std::env::var_os(RIG).is_some() {
        let registry = Registry::standard().with_engine(PEER).with_app(MOODY);
        std::process::exit(rapidsms::cli::main_as(registry, ["rapidsms", "run_router"].map(OsString::from)));
    }
}

/// The command that starts the rig in this folder.
pub fn rig_in(folder: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this test"));
    command.args(["--exact", "rig::rig", "--nocapture"]).current_dir(folder).stdin(Stdio::null());
    command.env(RIG, "1");
    for variable in ["RAPIDSMS_SETTINGS", "RUST_LOG", "NOTIFY_SOCKET", "WATCHDOG_USEC", "JOURNAL_STREAM"] {
        command.env_remove(variable);
    }
    command
}

/// Starts the rig in a folder with settings.
pub fn start_rig(folder: tempfile::TempDir) -> Daemon {
    let command = rig_in(folder.path());
    Daemon::start_as(folder, command)
}

// The engine and the app

const PEER: Engine = Engine {
    window: 8,
    ..Engine::plain(SPEC, |settings: &BackendSettings| Ok(Box::new(Peer { name: settings.name.clone() })))
};

const SPEC: EngineSpec = EngineSpec {
    name: "peer",
    aliases: &[],
    keys: &[],
    built: true,
    tester: true,
    about: "does what the text asks for",
};

struct Peer {
    name: String,
}

impl Backend for Peer {
    fn send(&mut self, outgoing: &Outgoing) -> Result<Receipt, SendFailure> {
        let text = &outgoing.text;
        assert!(!text.contains("panic"), "as the text asked for");
        if text.contains("throttle") && outgoing.attempt == 1 {
            return Err(SendFailure::Throttled(Duration::from_millis(200), "slower, please".into()));
        }
        say(&format!("peer {} {} {}", self.name, outgoing.id, text.escape_debug()));
        if text.contains("hang") {
            say(&format!("peer {} hangs", self.name));
            loop {
                std::thread::park();
            }
        }
        if text.contains("slow") {
            let _ = crossbeam_channel::after(Duration::from_millis(200)).recv();
        }
        if text.contains("unsure") {
            return Err(SendFailure::Unsure("the peer said nothing".into()));
        }
        Ok(Receipt::default())
    }
}

const MOODY: AppKind = AppKind {
    spec: AppSpec { name: "moody", aliases: &[], keys: &[], about: "does what the text asks for" },
    build: |_, _| Ok(Box::new(Moody::default())),
};

#[derive(Default)]
struct Moody {
    host: Option<Host>,
    owed: Option<MessageId>,
}

impl App for Moody {
    fn start(&mut self, host: &Host) -> Result<(), AppError> {
        self.host = Some(host.clone());
        Ok(())
    }

    fn handle(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        let words: Vec<&str> = message.text().splitn(4, ' ').collect();
        match words.as_slice() {
            ["panic"] => panic!("as the text asked for"),
            ["abort"] => {
                say("the app takes the process with it");
                std::process::abort()
            }
            ["never"] => {
                self.owed = Some(message.id());
                Ok(Flow::Later)
            }
            ["now"] => {
                if let (Some(host), Some(id)) = (&self.host, self.owed.take()) {
                    host.answers.answer(id, "moody", answer("too late"));
                }
                Ok(Flow::Done)
            }
            ["twice", text] => {
                let host = self.host.as_ref().ok_or_else(|| AppError("not started".into()))?;
                for _ in 0..2 {
                    host.answers.answer(message.id(), "moody", answer(text));
                }
                Ok(Flow::Later)
            }
            ["to", backend, identity, text] => {
                let (to, text) = (Connection::new(*backend, *identity), (*text).to_string());
                message.send(to, text);
                Ok(Flow::Done)
            }
            ["call", url, text] => {
                let (text, callback) = ((*text).to_string(), Callback::new(*url, 31));
                message.respond(text).callback = Some(callback);
                Ok(Flow::Done)
            }
            _ => Ok(Flow::Next),
        }
    }
}

fn answer(text: &str) -> LateAnswer {
    LateAnswer { done: true, replies: vec![text.to_string()], ..LateAnswer::default() }
}

/// One line in one piece, so that a kill leaves it whole or out.
fn say(line: &str) {
    let _ = std::io::stderr().write_all(format!("{line}\n").as_bytes());
}

/// What left by the rig's backends, in order: message and text.
pub fn left(log: &str) -> Vec<(MessageId, String)> {
    let lines = log.lines().filter_map(|line| line.strip_prefix("peer "));
    lines
        .filter_map(|line| {
            let mut words = line.splitn(3, ' ').skip(1);
            Some((words.next()?.parse().ok()?, words.next()?.to_string()))
        })
        .collect()
}

/// Waits until each of these texts has left.
pub fn wait_until_left(daemon: &Daemon, mut texts: Vec<String>) {
    // What left while the router started is in lines that were read already.
    let before = left(&daemon.log());
    texts.retain(|text| before.iter().all(|(_, sent)| sent != text));
    while !texts.is_empty() {
        let line = daemon.wait_for_line("peer ");
        texts.retain(|text| !line.ends_with(&format!(" {text}")));
    }
}

// Clients

/// The texts that were acknowledged to each identity, in order.
pub type Acknowledged = BTreeMap<String, Vec<String>>;

/// A connection that is kept.
pub struct Client {
    stream: BufReader<TcpStream>,
}

impl Client {
    /// Connects to `127.0.0.1:PORT`.
    pub fn new(address: &str) -> std::io::Result<Client> {
        let stream = TcpStream::connect(address)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(Client { stream: BufReader::new(stream) })
    }

    /// Posts one message of a tester.
    pub fn post(&mut self, backend: &str, identity: &str, text: &str) -> std::io::Result<Answer> {
        let pairs = [("identity", identity), ("text", text)];
        let form = form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish();
        self.post_raw(backend, form.as_bytes())
    }

    /// Posts a form as it is.
    pub fn post_raw(&mut self, backend: &str, form: &[u8]) -> std::io::Result<Answer> {
        self.send(backend, form)?;
        self.answer()
    }

    /// Posts a form and does not wait for the answer.
    pub fn send(&mut self, backend: &str, form: &[u8]) -> std::io::Result<()> {
        let head = format!(
            "POST /httptester/{backend}/ HTTP/1.1\r\nHost: 127.0.0.1\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n",
            form.len()
        );
        self.stream.get_mut().write_all(&[head.as_bytes(), form].concat())
    }

    /// Reads one answer.
    pub fn answer(&mut self) -> std::io::Result<Answer> {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let start = head.len();
            if self.stream.read_line(&mut head)? == 0 {
                return Err(std::io::ErrorKind::UnexpectedEof.into());
            }
            let line = head[start..].trim().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().map_err(std::io::Error::other)?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        self.stream.read_exact(&mut body)?;
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| std::io::Error::other(head.clone()))?;
        Ok(Answer { status, head, body: String::from_utf8_lossy(&body).into_owned() })
    }
}

/// Several people who type as fast as they are answered, through every restart, and what was acknowledged to whom.
pub struct Load {
    shared: Arc<(Mutex<Traffic>, Condvar)>,
    people: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Traffic {
    /// Where the router listens, and which start of it that is.
    address: String,
    start: usize,
    acknowledged: Acknowledged,
    count: usize,
    over: bool,
}

impl Load {
    /// `people` wait for an address to talk to.
    pub fn new(people: usize) -> Load {
        let shared = Arc::new((Mutex::new(Traffic::default()), Condvar::new()));
        let talk = |person| {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || Load::talk(person, &shared))
        };
        Load { people: (0..people).map(talk).collect(), shared: Arc::clone(&shared) }
    }

    /// Directs everybody to a router.
    pub fn go_to(&self, daemon: &Daemon) {
        let (traffic, news) = &*self.shared;
        let mut traffic = lock(traffic);
        traffic.address.clone_from(&daemon.address);
        traffic.start += 1;
        news.notify_all();
    }

    /// Waits until so many more messages are acknowledged.
    pub fn wait_for(&self, more: usize) {
        let (traffic, news) = &*self.shared;
        let traffic = lock(traffic);
        let goal = traffic.count + more;
        let waited = news.wait_timeout_while(traffic, PATIENCE, |traffic| traffic.count < goal);
        assert!(!waited.is_ok_and(|(_, waited)| waited.timed_out()), "nothing is acknowledged any more");
    }

    /// Sends everybody home. Returns what was acknowledged, by identity, in order.
    pub fn end(self) -> Acknowledged {
        let (traffic, news) = &*self.shared;
        lock(traffic).over = true;
        news.notify_all();
        for person in self.people {
            person.join().expect("a person does not panic");
        }
        std::mem::take(&mut lock(traffic).acknowledged)
    }

    fn talk(person: usize, (traffic, news): &(Mutex<Traffic>, Condvar)) {
        let identity = format!("+2547000{person:05}");
        let (mut started, mut number) = (0, 0);
        loop {
            let address = {
                let waiting = |traffic: &mut Traffic| traffic.start == started && !traffic.over;
                let traffic = news.wait_while(lock(traffic), waiting).unwrap_or_else(PoisonError::into_inner);
                if traffic.over {
                    return;
                }
                started = traffic.start;
                traffic.address.clone()
            };
            // Whatever ends this connection, the next start is another chance; a text without an answer is never said again.
            let Ok(mut client) = Client::new(&address) else { continue };
            loop {
                number += 1;
                let text = format!("echo {person}-{number}");
                let Ok(answer) = client.post("well", &identity, &text) else { break };
                let mut traffic = lock(traffic);
                if answer.status == 200 {
                    traffic.acknowledged.entry(identity.clone()).or_default().push(text);
                    traffic.count += 1;
                    news.notify_all();
                }
                if traffic.over {
                    return;
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

// The audit

/// Everything in a store, read while no router runs or beside one.
pub struct Audit {
    /// The messages, in the order of acceptance.
    pub rows: Vec<Row>,
    reader: Box<dyn Reader>,
}

impl Audit {
    /// Reads the store of this folder, and demands that its books balance (P17): what is counted in passing is what is there.
    pub fn of(folder: &Path) -> Audit {
        let mut reader = Sqlite::open_reader(&folder.join("rapidsms.db")).expect("a store");
        let mut rows: Vec<Row> = Vec::new();
        let mut query = Query { ascending: true, limit: 1_000, ..Query::default() };
        loop {
            let page = reader.messages(&query).expect("a page");
            rows.extend(page.messages);
            match page.next {
                Some(next) => query.after = Some(next),
                None => break,
            }
        }
        let sorted = |mut counts: Vec<Count>| {
            counts.sort();
            counts
        };
        let tally = sorted(reader.tally().expect("a tally"));
        assert_eq!(tally, sorted(reader.recount().expect("a count")), "P17: the ledger and the messages");
        assert_eq!(tally.iter().map(|count| count.count).sum::<u64>(), rows.len() as u64, "P17: the sum");
        Audit { rows, reader }
    }

    /// One message with its history.
    pub fn detail(&mut self, id: MessageId) -> Detail {
        self.reader.message(id).expect("it can be read").expect("it is there")
    }

    /// How often an attempt of this message ended without certainty.
    pub fn uncertain(&mut self, id: MessageId) -> usize {
        let history = self.detail(id).history;
        history
            .iter()
            .filter(|entry| {
                entry.state == State::Uncertain
                    || entry.reason.as_deref().is_some_and(|reason| reason.starts_with("uncertain twice"))
            })
            .count()
    }

    /// What was received, by its text.
    pub fn received(&self) -> HashMap<&str, &Row> {
        let received = self.rows.iter().filter(|row| row.direction == Direction::In);
        received.map(|row| (row.text.as_str(), row)).collect()
    }

    /// What answers this message.
    pub fn replies(&self, id: MessageId) -> Vec<&Row> {
        self.rows.iter().filter(|row| row.in_response_to == Some(id)).collect()
    }

    /// The texts that a router must still send when it starts with this store.
    pub fn owed(&mut self) -> Vec<String> {
        let mut owed = Vec::new();
        for row in self.rows.clone() {
            match row.state {
                State::Received => owed.extend(row.text.strip_prefix("echo ").map(String::from)),
                State::Queued | State::Uncertain => owed.push(row.text),
                // A second attempt that was cut off is the last.
                State::Sending if self.uncertain(row.id) == 0 => owed.push(row.text),
                _ => {}
            }
        }
        owed
    }

    /// Demands of a settled store what P1, P3, P4, P5 and P6 promise, given what was acknowledged to each identity's client, in order,
    /// and what left. Every text is `echo X` with an X that was used once.
    pub fn demand(&mut self, acknowledged: &Acknowledged, left: &[(MessageId, String)]) {
        self.demand_received(acknowledged);
        let mut copies: HashMap<MessageId, usize> = HashMap::new();
        for (id, _) in left {
            *copies.entry(*id).or_default() += 1;
        }
        for row in self.rows.clone() {
            assert!(!row.state.is_open(), "P4: not ended: {row:?}");
            if row.direction == Direction::Out {
                let (copies, uncertain) = (copies.get(&row.id).copied().unwrap_or(0), self.uncertain(row.id));
                assert!(copies <= 1 + usize::from(uncertain > 0), "P5: {copies} copies of {row:?}");
                assert!(copies <= 2, "P5: {copies} copies of {row:?}");
                let gone = row.state == State::Sent
                    || row.reason.as_deref().is_some_and(|reason| reason.starts_with("uncertain"));
                assert!(gone, "P4: not sent although the peer is well: {row:?}");
                assert!(
                    copies > 0 || row.state != State::Sent,
                    "P4: `sent`, but the peer never saw it: {row:?}"
                );
            }
        }
        let identities: HashMap<MessageId, &str> =
            self.rows.iter().map(|row| (row.id, row.identity.as_str())).collect();
        let mut last: HashMap<&str, MessageId> = HashMap::new();
        for (id, text) in left {
            let identity = *identities.get(id).unwrap_or_else(|| panic!("P5: {text} left and is not stored"));
            let before = last.insert(identity, *id);
            assert!(before.is_none_or(|before| before <= *id), "P6: {text} left after a later one");
        }
    }

    /// Demands what concerns received messages: all are there that were acknowledged, once, in order; each is handled and has one reply.
    pub fn demand_received(&self, acknowledged: &Acknowledged) {
        let mut stored: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
        for row in self.rows.iter().filter(|row| row.direction == Direction::In) {
            stored.entry(&row.identity).or_default().push(row);
        }
        let none = Vec::new();
        for (identity, texts) in acknowledged {
            let rows = stored.get(identity.as_str()).unwrap_or(&none);
            let mut places = Vec::new();
            for text in texts {
                let place = rows.iter().position(|row| row.text == *text);
                places.push(
                    place.unwrap_or_else(|| panic!("P1: acknowledged and lost: {text:?} of {identity}")),
                );
            }
            assert!(places.is_sorted(), "P6: {identity} was stored in another order: {places:?}");
        }
        let received = stored.values().map(Vec::len).sum::<usize>();
        assert_eq!(self.received().len(), received, "P2: a text is stored twice");
        let mut answers: HashMap<MessageId, Vec<&Row>> = HashMap::new();
        for row in &self.rows {
            if let Some(question) = row.in_response_to {
                answers.entry(question).or_default().push(row);
            }
        }
        for (identity, rows) in stored {
            let mut replies = Vec::new();
            for row in rows {
                assert_eq!(row.state, State::Handled, "P4: {row:?}");
                let answers = answers.remove(&row.id).unwrap_or_default();
                assert_eq!(answers.len(), 1, "P3: one stored reply: {row:?} {answers:?}");
                assert_eq!(
                    row.text.strip_prefix("echo "),
                    Some(answers[0].text.as_str()),
                    "P3: its own reply"
                );
                replies.push(answers[0].id);
            }
            assert!(replies.is_sorted(), "P6: apps saw the messages of {identity} in another order");
        }
    }
}

/// Starts the router a last time, lets it do all that it still owes, stops it cleanly, and demands every promise of what is stored.
pub fn demand_after(
    folder: tempfile::TempDir,
    acknowledged: &Acknowledged,
    mut gone: Vec<(MessageId, String)>,
) -> Audit {
    let owed = Audit::of(folder.path()).owed();
    let daemon = start_rig(folder);
    wait_until_left(&daemon, owed);
    let Ended { code, folder, log } = daemon.stop();
    assert_eq!(code, 0, "{log}");
    gone.extend(left(&log));
    let mut audit = Audit::of(folder.path());
    audit.demand(acknowledged, &gone);
    audit
}

// strace

/// The command under strace with these arguments, as a child that can be waited for and killed as without. Signalling the tracer
/// ([`heal`]) ends what it does to the process, which goes on.
pub fn under_strace<A: AsRef<OsStr>>(command: &Command, arguments: &[A]) -> Command {
    traced_to(Path::new("/dev/null"), command, arguments)
}

/// The same, with the trace in a file. It is whole when the daemon's log has ended.
pub fn traced_to<A: AsRef<OsStr>>(trace: &Path, command: &Command, arguments: &[A]) -> Command {
    require_strace();
    let mut traced = Command::new("strace");
    traced
        .args(["-D", "-f", "-qq", "-I2", "-o"])
        .arg(trace)
        .args(arguments)
        .arg("--")
        .arg(command.get_program());
    traced.args(command.get_args()).stdin(Stdio::null());
    if let Some(folder) = command.get_current_dir() {
        traced.current_dir(folder);
    }
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => traced.env(name, value),
            None => traced.env_remove(name),
        };
    }
    traced
}

/// Fails, and says what to do, where nothing can be traced: a promise that was not tested must not look kept.
fn require_strace() {
    let tried = Command::new("strace").args(["-D", "-f", "-qq", "-e", "trace=none", "true"]).output();
    match tried {
        Ok(output) if output.status.success() => {}
        Ok(output) => panic!(
            "strace cannot trace here, so faults of the disk cannot be tested: {}\n\
             Containers need the capability SYS_PTRACE for it.",
            String::from_utf8_lossy(&output.stderr)
        ),
        Err(error) => panic!("strace is needed to test faults of the disk ({error}): apt-get install strace"),
    }
}

/// Ends the faults that strace injects into this process, which goes on without.
pub fn heal(daemon: &Daemon) {
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).expect("a process");
    let tracer = status.lines().find_map(|line| line.strip_prefix("TracerPid:")).map(str::trim);
    let tracer = tracer.and_then(|number| number.parse().ok()).and_then(rustix::process::Pid::from_raw);
    let tracer = tracer.expect("it is traced");
    rustix::process::kill_process(tracer, rustix::process::Signal::TERM).expect("the tracer is there");
}

// Numbers

/// Chosen anew in each run and printed when a test fails; `RAPIDSMS_TEST_SEED` repeats one.
pub struct Random(u64);

impl Random {
    /// Begins, and says with what.
    pub fn new() -> Random {
        let given = std::env::var("RAPIDSMS_TEST_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let mut octets = [0; 4];
            getrandom::fill(&mut octets).expect("randomness");
            u64::from(u32::from_le_bytes(octets))
        });
        eprintln!("to repeat: RAPIDSMS_TEST_SEED={seed}");
        Random(seed)
    }

    /// The one that this number begins; for a part of a run.
    pub fn of(seed: u64) -> Random {
        Random(seed)
    }

    /// A number below `limit`.
    pub fn below(&mut self, limit: usize) -> usize {
        // SplitMix64 (Steele, Lea, Flood 2014).
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % limit.max(1) as u64) as usize
    }
}

/// How much more than usual is wanted: `RAPIDSMS_TEST_EFFORT`, 1 when not said.
pub fn effort() -> usize {
    std::env::var("RAPIDSMS_TEST_EFFORT").ok().and_then(|effort| effort.parse().ok()).unwrap_or(1)
}
