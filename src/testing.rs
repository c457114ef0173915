//! For people who write apps: a router to talk to in a test, and transcripts as tests.
//!
//! ```
//! use rapidsms::apps::echo::Echo;
//! use rapidsms::phases::Apps;
//! use rapidsms::testing::{TestRouter, TestScript};
//!
//! let mut router = TestRouter::new(Apps::new().with("echo", Echo));
//! assert_eq!(router.ask("1112223333", "echo hello"), ["hello"]);
//!
//! TestScript::parse("my test", "1112223333 > echo hello\n1112223333 < hello").unwrap().run(&mut router).unwrap();
//! ```
//!
//! There is no thread and no sleep here: the clock is a number that the test moves.

use crate::apps::{Answers, Host, LateAnswer, NoThreads, Threads};
use crate::message::{Connection, Incoming, MessageId, Outgoing, Receipt};
use crate::phases::Apps;
use crate::router::{BackendPolicy, Policy, Refused, Router};
use crate::store::memory::Memory;
use crate::time::Timestamp;
use crossbeam_channel::{Receiver, Sender};
use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// The backend that a [`TestRouter`] starts with, and that a script means when it names none.
pub const BACKEND: &str = "message_tester";

/// When a [`TestRouter`]'s clock starts: 2026-01-01T00:00:00Z.
pub const START: Timestamp = Timestamp::from_seconds(1_767_225_600);

/// The router with a clock in the hand and a carrier that takes everything: the threadless router.
pub struct TestRouter {
    router: Router,
    now: Timestamp,
    backends: HashSet<String>,
    default_backend: String,
    late: Receiver<(MessageId, String, LateAnswer)>,
    patience: Duration,
}

struct LateBox(Sender<(MessageId, String, LateAnswer)>);

impl Answers for LateBox {
    fn answer(&self, id: MessageId, app: &str, answer: LateAnswer) {
        // The receiver lives as long as the router; after that nobody wants an answer.
        let _ = self.0.send((id, app.to_string(), answer));
    }
}

impl TestRouter {
    /// A router with these apps, a store in memory and one tester backend, [`BACKEND`].
    ///
    /// # Panics
    /// When an app does not start: in a test that is the finding.
    pub fn new(apps: Apps) -> TestRouter {
        let router = Router::new(Box::new(Memory::new()), apps, Policy::default(), 1);
        TestRouter::around(router).unwrap_or_else(|failures| panic!("{}", failures.join("\n")))
    }

    /// The same around any router; `Err` lists the apps that did not start.
    pub fn around(router: Router) -> Result<TestRouter, Vec<String>> {
        TestRouter::with_threads(router, Arc::new(NoThreads))
    }

    /// The same with threads for the apps that wait for somebody; see [`TestRouter::set_patience`].
    pub fn with_threads(mut router: Router, threads: Arc<dyn Threads>) -> Result<TestRouter, Vec<String>> {
        // As many answers can be owed as the router allows, so this is bounded by it.
        let (sender, late) = crossbeam_channel::unbounded();
        let host = Host::new(Arc::new(LateBox(sender))).with_threads(threads);
        let failures = router.start_apps(&host);
        if !failures.is_empty() {
            return Err(failures);
        }
        let mut router = TestRouter {
            router,
            now: START,
            backends: HashSet::new(),
            default_backend: BACKEND.to_string(),
            late,
            patience: Duration::ZERO,
        };
        router.add_backend(BACKEND, BackendPolicy::tester());
        Ok(router)
    }

    /// Adds a backend. It takes everything that is sent to it.
    pub fn add_backend(&mut self, name: &str, policy: BackendPolicy) {
        self.router.set_backend(&name.into(), policy);
        self.router.backend_up(name);
        self.backends.insert(name.to_string());
    }

    /// Which backend a script means when it names none.
    pub fn set_default_backend(&mut self, name: &str) {
        self.default_backend = name.to_string();
    }

    /// How long, in real time, to wait for apps that answer later from threads of their own. Without
    /// patience the clock jumps to the moment when their time is up.
    pub fn set_patience(&mut self, patience: Duration) {
        self.patience = patience;
    }

    /// The router inside.
    pub fn router(&mut self) -> &mut Router {
        &mut self.router
    }

    /// The time on the test's clock.
    pub fn now(&self) -> Timestamp {
        self.now
    }

    /// Moves the clock on and lets the router do what has become due. Returns what was sent.
    pub fn advance(&mut self, by: Duration) -> Vec<Outgoing> {
        self.now = self.now + by;
        self.settle()
    }

    /// Sets the clock. It may go back, as clocks do.
    pub fn set_clock(&mut self, now: Timestamp) {
        self.now = now;
    }

    /// Sends `text` from `identity` and returns the texts of all that is sent because of it.
    ///
    /// # Panics
    /// When the router refuses the message; [`TestRouter::receive`] returns that instead.
    pub fn ask(&mut self, identity: &str, text: &str) -> Vec<String> {
        let backend = self.default_backend.clone();
        match self.receive(Incoming::new(Connection::new(backend, identity), text)) {
            Ok(sent) => sent.into_iter().map(|outgoing| outgoing.text).collect(),
            Err(refused) => panic!("refused: {refused}"),
        }
    }

    /// Takes one message and returns everything that is sent because of it, in order.
    pub fn receive(&mut self, incoming: Incoming) -> Result<Vec<Outgoing>, Refused> {
        self.router.accept(&incoming, self.now)?;
        Ok(self.settle())
    }

    /// Steps and commits until there is nothing more to do now.
    fn settle(&mut self) -> Vec<Outgoing> {
        let mut sent = Vec::new();
        loop {
            while let Ok((id, app, answer)) = self.late.try_recv() {
                self.router.answer(id, &app, answer, self.now);
            }
            self.router.step(self.now);
            let taken = self.router.commit(self.now).unwrap_or_default();
            for outgoing in &taken {
                self.router.sent(outgoing.id, Ok(Receipt::default()), self.now);
            }
            let idle = taken.is_empty();
            sent.extend(taken);
            let wake = self.router.wake_at(self.now);
            if !idle || wake.is_some_and(|at| at <= self.now) {
                continue;
            }
            if self.router.pending() == 0 {
                return sent;
            }
            match self.late.recv_timeout(self.patience) {
                Ok((id, app, answer)) => self.router.answer(id, &app, answer, self.now),
                Err(_) => self.now = wake.unwrap_or(self.now).max(self.now),
            }
        }
    }
}

/// A transcript of a conversation, to be run as a test:
///
/// ```text
/// # comment; blank lines are ignored
/// 1112223333 > echo hello
/// 1112223333 < hello
/// ```
///
/// `>` sends, `<` expects. A line is cut at its first arrow and both sides are trimmed; the text must be equal, letter for
/// letter. The replies to one message may be expected in any order. A reply that no line expected fails the script at the
/// next `>` line or at the end. `backend/identity` names a backend, when one of that name is configured. ` @YYYYMMDDhhmm` before
/// the `>` sets the clock (UTC). A newline within a text is written `\n`.
#[derive(Clone, Debug)]
pub struct TestScript {
    name: String,
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    number: usize,
    peer: String,
    clock: Option<Timestamp>,
    sends: bool,
    text: String,
}

/// Why a script failed: the line, and what was expected there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ScriptFailure {
    /// The script's name, as given to [`TestScript::parse`].
    pub name: String,
    /// The line's number, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for ScriptFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.name, self.line, self.what)
    }
}

impl std::error::Error for ScriptFailure {}

impl TestScript {
    /// Reads a script; `name` is for messages, a file's name for example.
    pub fn parse(name: &str, text: &str) -> Result<TestScript, ScriptFailure> {
        let mut lines = Vec::new();
        // Some editors mark a file as UTF-8 at its beginning.
        for (index, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
            let line = line.trim();
            if !line.is_empty() && !line.starts_with('#') {
                let parsed = parse_line(index + 1, line);
                lines.push(parsed.map_err(|what| ScriptFailure {
                    name: name.to_string(),
                    line: index + 1,
                    what,
                })?);
            }
        }
        Ok(TestScript { name: name.to_string(), lines })
    }

    /// Runs the script to its end or to its first failure. Returns how many lines were checked.
    pub fn run(&self, router: &mut TestRouter) -> Result<usize, ScriptFailure> {
        let mut replies: Vec<(usize, Outgoing)> = Vec::new();
        for line in &self.lines {
            let fail = |what: String| self.failure(line.number, what);
            if line.sends {
                self.all_expected(&replies)?;
                if let Some(clock) = line.clock {
                    router.set_clock(clock);
                }
                let (backend, identity) = address(&line.peer, &router.backends);
                let backend = backend.unwrap_or(&router.default_backend);
                let incoming = Incoming::new(Connection::new(backend, identity), line.text.as_str());
                let sent = router.receive(incoming).map_err(|refused| fail(format!("refused: {refused}")))?;
                replies = sent.into_iter().map(|reply| (line.number, reply)).collect();
            } else {
                let (backend, identity) = address(&line.peer, &router.backends);
                let position = replies.iter().position(|(_, reply)| {
                    let connection = &reply.connection;
                    backend.is_none_or(|backend| backend == &*connection.backend)
                        && identity == &*connection.identity
                        && line.text == reply.text.trim()
                });
                match position {
                    Some(position) => drop(replies.remove(position)),
                    None if replies.is_empty() => {
                        return Err(fail(format!("expected {}: {:?}\n  got nothing", line.peer, line.text)));
                    }
                    None => {
                        let got = listed(&replies, backend.is_some());
                        return Err(fail(format!(
                            "expected {}: {:?}\n  got      {got}",
                            line.peer, line.text
                        )));
                    }
                }
            }
        }
        self.all_expected(&replies)?;
        Ok(self.lines.len())
    }

    fn all_expected(&self, replies: &[(usize, Outgoing)]) -> Result<(), ScriptFailure> {
        match replies.first() {
            None => Ok(()),
            Some((line, _)) => {
                Err(self.failure(*line, format!("nobody expected the reply {}", listed(replies, false))))
            }
        }
    }

    fn failure(&self, line: usize, what: String) -> ScriptFailure {
        ScriptFailure { name: self.name.clone(), line, what }
    }
}

/// Replies as a script would write them; with their backends, where those are in question.
fn listed(replies: &[(usize, Outgoing)], with_backend: bool) -> String {
    let each = replies.iter().map(|(_, reply)| {
        let Connection { backend, identity } = &reply.connection;
        let backend = if with_backend { format!("{backend}/") } else { String::new() };
        format!("{backend}{identity}: {:?}", reply.text)
    });
    each.collect::<Vec<_>>().join("\n           ")
}

fn parse_line(number: usize, line: &str) -> Result<Line, String> {
    let arrow = line.find(['<', '>']).ok_or("no arrow; write \"identity > text\" or \"identity < text\"")?;
    let sends = line.as_bytes()[arrow] == b'>';
    let (peer, text) = (line[..arrow].trim(), line[arrow + 1..].trim());
    let (peer, clock) = match peer.rsplit_once(" @") {
        Some((peer, date)) if sends => (peer.trim(), Some(parse_clock(date)?)),
        _ => (peer, None),
    };
    if peer.is_empty() {
        return Err("no identity before the arrow".to_string());
    }
    Ok(Line { number, peer: peer.to_string(), clock, sends, text: text.replace("\\n", "\n") })
}

fn parse_clock(date: &str) -> Result<Timestamp, String> {
    let wrong = || format!("\"@{date}\" is no date; write @YYYYMMDDhhmm, for example @202601312359");
    if date.len() != 12 || !date.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(wrong());
    }
    let iso =
        format!("{}-{}-{}T{}:{}:00Z", &date[..4], &date[4..6], &date[6..8], &date[8..10], &date[10..12]);
    Timestamp::parse(&iso).ok_or_else(wrong)
}

/// Cuts `backend/identity` where a backend of that name exists; any other slash belongs to the identity.
fn address<'a>(peer: &'a str, backends: &HashSet<String>) -> (Option<&'a str>, &'a str) {
    match peer.split_once('/') {
        Some((backend, identity)) if backends.contains(backend) => (Some(backend), identity),
        _ => (None, peer),
    }
}
