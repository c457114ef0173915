//! A gateway that speaks HTTP: messages leave by a request, and come in by requests of the gateway.
//!
//! ```toml
//! [INSTALLED_BACKENDS.gateway]
//! ENGINE = "http"
//! outgoing_url = "https://gateway.example/send?to={to}&text={text}"
//! token = { env = "GATEWAY_TOKEN" }
//! auth = "bearer"
//! answers = ["sent: status 2xx and json /status = accepted"]
//! remote_id = "/id"
//! incoming_identity = "from"
//! incoming_secret = { env = "GATEWAY_SECRET" }
//! ```
//!
//! The settings of RapidSMS 0.9 (`gateway_url`, `params_outgoing`, `params_incoming`, `host`, `port`) and of the threadless router (`outgoing_url` with
//! `%(identity)s` and `%(text)s`) load as they are. What they did wrong is done right: values are percent-encoded, what was not
//! stored is not acknowledged, and an empty text is a text. `docs/http.md` explains each key.
//!
//! Sending: so many hands as the window says, each with one request at a time, so that one slow answer delays one message. A message whose answer never
//! came *may have left*; one that never reached the gateway certainly did not. What no message can help (a wrong password, no credit, a redirect)
//! gives the message back untried and takes the backend down with a sentence, to be tried again after a growing wait.
//!
//! Receiving is not this thread's business: the web listener asks [`inbound`], and answers when all of it is on disk. So a reply never waits for the
//! request that caused it, nor the other way round.
//!
//! Reading order: [`keys`], [`given`] (settings and presets), [`template`], [`call`] (what goes out), [`verdict`] (what the answer means), [`field`],
//! [`inbound`] (what comes in), [`trust`], [`sign`]. All of them are pure; this file has the clock and the client.

pub mod call;
pub mod field;
pub mod given;
pub mod inbound;
pub mod keys;
pub mod sign;
pub mod template;
pub mod trust;
pub mod verdict;

use super::{Backend, BackendError, Engine, Hand, Line, Mail, wall};
use crate::http::client::{Answer, Call, Client, Rules};
use crate::message::{Outgoing, Receipt, SendFailure};
use crate::settings::{BackendSettings, EngineSpec};
use call::Writer;
use given::{Given, wrong};
use verdict::{Judge, Outcome};

/// How many requests are under way at once, when the settings do not say.
const WINDOW: usize = 16;
/// More requests at once than any gateway likes.
const MOST_HANDS: usize = 256;

/// What the settings know of this engine.
pub const ENGINE: Engine = Engine {
    window: WINDOW,
    intake: Some(inbound::intake),
    listens,
    rehearse: Some(rehearse),
    ..Engine::plain(SPEC, build)
};

const SPEC: EngineSpec = EngineSpec {
    name: "http",
    aliases: &[
        "rapidsms.backends.http",
        "rapidsms.backends.http.outgoing",
        "threadless_router.backends.http",
        "threadless_router.backends.http.outgoing",
    ],
    keys: keys::KEYS,
    built: true,
    tester: false,
    about: "a gateway that speaks plain HTTP",
};

/// One gateway.
struct Http {
    sender: Option<Sender>,
    judge: Judge,
    hands: usize,
}

struct Sender {
    writer: Writer,
    client: Client,
}

fn build(settings: &BackendSettings) -> Result<Box<dyn Backend>, BackendError> {
    let given = Given::of(settings)?;
    // What is wrong with the other direction is said here too: a backend that only seems to work is worse than one that is parked.
    inbound::Inbound::of(settings)?;
    let writer = Writer::of(settings, &given)?;
    let judge = judge(&given, writer.as_ref())?;
    let sender = match writer {
        None => None,
        Some(writer) => Some(Sender { writer, client: client(settings, &given)? }),
    };
    // Without an address there is nothing to wait for.
    let wanted = if sender.is_some() { settings.window.unwrap_or(WINDOW) } else { 1 };
    let hands = wanted.clamp(1, MOST_HANDS);
    Ok(Box::new(Http { sender, judge, hands }))
}

fn judge(given: &Given<'_>, writer: Option<&Writer>) -> Result<Judge, BackendError> {
    Judge::of(given, writer.map(Writer::secrets).unwrap_or_default())
}

fn client(settings: &BackendSettings, given: &Given<'_>) -> Result<Client, BackendError> {
    let usual = |key: &str| given.duration(key).unwrap_or_default();
    let timeout = usual("timeout");
    if timeout >= settings.watchdog {
        let why = format!(
            "{timeout:?} is not shorter than the watchdog ({:?}), which would take a slow gateway for a stuck backend",
            settings.watchdog
        );
        return Err(wrong("timeout", why));
    }
    let rules = Rules {
        timeout,
        connect_timeout: usual("connect_timeout").min(timeout),
        ca_file: settings.options.path("ca_file").map(Into::into),
        answer_limit: given
            .integer("answer_limit")
            .and_then(|limit| usize::try_from(limit).ok())
            .unwrap_or(65_536),
    };
    Client::new(&rules).map_err(|why| wrong("ca_file", why))
}

fn listens(settings: &BackendSettings) -> Option<(String, u16)> {
    let port = settings.options.count("port").and_then(|port| u16::try_from(port).ok())?;
    Some((settings.options.text("host").unwrap_or("localhost").to_string(), port))
}

impl Backend for Http {
    fn run(&mut self, line: &Line) -> Result<(), BackendError> {
        let http = &*self;
        line.up(&match &http.sender {
            Some(sender) => format!("sends to {}, {} at once", sender.writer.place(), http.hands),
            None => "takes messages in; there is no outgoing_url to send to".to_string(),
        });
        let hands = (0..http.hands).map(|_| {
            let hand: Hand<'_> = Box::new(move |line: &Line| http.work(line));
            ("send", hand)
        });
        line.together(hands.collect())
    }

    fn send(&mut self, outgoing: &Outgoing) -> Result<Receipt, SendFailure> {
        match self.attempt(outgoing) {
            Outcome::Sent(receipt) => Ok(receipt),
            Outcome::Failed(failure) => Err(failure),
            Outcome::Paused(why) => Err(SendFailure::Untried(why)),
        }
    }
}

impl Http {
    /// One hand: a message at a time, until the stop or until nothing can be sent.
    fn work(&self, line: &Line) -> Result<(), BackendError> {
        loop {
            let outgoing = match line.next(None) {
                Mail::Send(outgoing) => outgoing,
                Mail::Nothing => continue,
                Mail::Stop => return Ok(()),
            };
            match self.attempt(&outgoing) {
                Outcome::Sent(receipt) => line.sent(outgoing.id, Ok(receipt)),
                Outcome::Failed(failure) => line.sent(outgoing.id, Err(failure)),
                Outcome::Paused(why) => {
                    line.sent(outgoing.id, Err(SendFailure::Untried(why.clone())));
                    return Err(BackendError::Lost(format!("sending pauses: {why}")));
                }
            }
        }
    }

    fn attempt(&self, outgoing: &Outgoing) -> Outcome {
        let Some(sender) = &self.sender else {
            let why = "this backend only takes messages in: its settings have no outgoing_url";
            return Outcome::Failed(SendFailure::Permanent(why.into()));
        };
        let call = sender.writer.call(outgoing, wall(), false);
        if let Err(why) = call.check() {
            // It would be as wrong the next time.
            return Outcome::Failed(SendFailure::Permanent(why));
        }
        match sender.client.ask(&call) {
            Ok(answer) => self.judge.answer(&answer, wall()).0,
            Err(trouble) => self.judge.trouble(&trouble),
        }
    }
}

/// `rapidsms send --dry-run`: the request, its secrets masked, and what the rules make of an answer that a person pasted.
fn rehearse(settings: &BackendSettings, outgoing: &Outgoing, pasted: Option<&str>) -> Result<String, String> {
    let sentence = |error: BackendError| error.to_string();
    let given = Given::of(settings).map_err(sentence)?;
    let writer = Writer::of(settings, &given).map_err(sentence)?;
    let judge = judge(&given, writer.as_ref()).map_err(sentence)?;
    let writer = writer.ok_or("this backend only takes messages in: its settings have no outgoing_url")?;
    client(settings, &given).map_err(sentence)?;
    let call = writer.call(outgoing, wall(), true);
    call.check()?;
    let mut told = in_full(&call);
    if let Some(pasted) = pasted {
        let answer = read_answer(pasted)?;
        let (outcome, by) = judge.answer(&answer, wall());
        told.push_str(&format!("\n\n{}\n(by {by})\n", in_words(&outcome)));
    }
    Ok(told)
}

/// The request as it would be written, without the headers that the client adds.
pub fn in_full(call: &Call) -> String {
    let shown = |text: &str| text.replace("%2A%2A%2A", "***");
    let mut text = format!("{} {}\n", call.method, shown(&call.url));
    for (name, value) in &call.headers {
        text.push_str(&format!("{name}: {value}\n"));
    }
    if let Some(body) = &call.body {
        text.push_str(&format!("\n{}", shown(&String::from_utf8_lossy(body))));
    }
    text.trim_end().to_string()
}

/// An answer as one sees it in a terminal: with its status line and headers, or the body alone, which then came with 200.
pub fn read_answer(pasted: &str) -> Result<Answer, String> {
    let text = pasted.replace("\r\n", "\n");
    let Some(status) = text.strip_prefix("HTTP/") else {
        return Ok(Answer { status: 200, body: text.into_bytes(), ..Answer::default() });
    };
    let (head, body) = status.split_once("\n\n").unwrap_or((status.trim_end(), ""));
    let mut lines = head.lines();
    let status =
        lines.next().and_then(|line| line.split_whitespace().nth(1)).and_then(|status| status.parse().ok());
    let status = status.filter(|status| (100..=599).contains(status));
    let status = status.ok_or("the answer begins with HTTP/ but has no status: write \"HTTP/1.1 200 OK\"")?;
    let headers = lines.filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_string()));
    Ok(Answer { status, headers: headers.collect(), body: body.as_bytes().to_vec(), cut: false })
}

/// What came of an attempt, for people.
pub fn in_words(outcome: &Outcome) -> String {
    match outcome {
        Outcome::Sent(receipt) => match (receipt.remote_ids.first(), &receipt.note) {
            (Some(id), _) => format!("sent; the gateway calls it {id}"),
            (None, Some(note)) => format!("sent; {note}"),
            (None, None) => "sent".into(),
        },
        Outcome::Failed(SendFailure::Temporary(why)) => format!("not sent, tried again later: {why}"),
        Outcome::Failed(SendFailure::Throttled(wait, why)) => {
            format!("not sent, tried again after {wait:?}: {why}")
        }
        Outcome::Failed(SendFailure::Permanent(why)) => format!("refused, never tried again: {why}"),
        Outcome::Failed(SendFailure::Unsure(why)) => format!("may have been sent: {why}"),
        Outcome::Failed(SendFailure::Untried(why)) => format!("not tried: {why}"),
        Outcome::Paused(why) => format!("not sent, and nothing else is until this is mended: {why}"),
    }
}
