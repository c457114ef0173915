//! What the web listener answers: which request means what, and who may ask.
//!
//! It runs on the listener's one thread and never waits. A message is handed to the router, whose receipt completes the
//! answer from the router's thread once it is on disk; what has to read the store goes to the page threads.

use super::door::{Reply, Site as Serve};
use super::guard;
use super::intake::Gateways;
use super::kannel::{self, Kannel};
use super::pages;
use crate::http::{Request, Response, form};
use crate::hub::board::Board;
use crate::hub::event::{Event, Mouth, Question, Told};
use crate::message::{Connection, Draft, Incoming, MessageId, State, Wishes};
use crate::router::{Refusal, Refused};
use crate::time::Timestamp;
use crossbeam_channel::{Sender, TrySendError};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use std::ops::RangeInclusive;
use std::time::Duration;

/// The longest USSD code: what fits into one message of it (TS 23.038, clause 6.1.2.3).
const LONGEST_CODE: usize = 182;

/// How long a message may be worth sending, in seconds; the longest is what 3GPP TS 23.040 (9.2.3.12) can say.
const VALIDITY: RangeInclusive<u64> = 1..=63 * 7 * 24 * 3600;

/// A request that has to read the store, with everything that its answer needs.
pub struct Read {
    /// What is wanted.
    pub request: Request,
    /// The path, decoded and cut at its slashes.
    pub segments: Vec<String>,
    /// When it came.
    pub now: Timestamp,
    /// The answer.
    pub reply: Reply,
}

/// Who may ask, and under which names the listener is known.
#[derive(Clone, Debug, Default)]
pub struct Access {
    /// What strangers must show; none when only this machine can ask.
    pub token: Option<crate::settings::Secret>,
    /// Names and addresses that the Host header may have besides loopback; without a token only.
    pub hosts: Vec<String>,
}

impl Access {
    /// Whether this request may ask at all.
    pub fn admit(&self, request: &Request) -> Result<(), Response> {
        if request.is_local() {
            return Ok(());
        }
        match &self.token {
            // A probe of the machine's health needs no secret, and tells none.
            Some(_) if request.path() == "/healthz" => {}
            Some(token) => guard::check_token(request, token.expose()).map_err(|denied| denied.response())?,
            None => guard::check_host(request.host(), &self.hosts).map_err(|denied| denied.response())?,
        }
        guard::check_same_origin(request).map_err(|denied| denied.response())
    }
}

/// The site.
pub struct Site {
    /// How everything is.
    pub board: Board,
    /// The way to the page threads.
    pub readers: Sender<Read>,
    /// Who may ask, the way to the router, and what gateways need.
    pub gateways: Gateways,
}

/// A message as a program says it; the command line says it in the same way.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct NewMessage {
    pub(crate) backend: String,
    pub(crate) identity: String,
    pub(crate) text: String,
    #[serde(default)]
    pub(crate) flash: bool,
    pub(crate) report: Option<bool>,
    /// In seconds.
    pub(crate) validity: Option<u64>,
}

impl NewMessage {
    /// What makes it the same request when it comes again. What is not said does not count, so that old keys stay what they were.
    pub(crate) fn digest(&self) -> Vec<u8> {
        let mut pieces = vec![self.backend.clone(), self.identity.clone(), self.text.clone()];
        pieces.extend(self.flash.then(|| "flash".to_string()));
        pieces.extend(self.report.map(|report| format!("report {report}")));
        pieces.extend(self.validity.map(|validity| format!("validity {validity}")));
        digest(&pieces.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// The message itself.
    pub(crate) fn draft(self) -> Draft {
        let mut draft = Draft::new(Connection::new(self.backend, self.identity), self.text);
        draft.wishes = Wishes { flash: self.flash, report: self.report, part: None };
        draft.validity = self.validity.map(Duration::from_secs);
        draft
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewQuestion {
    code: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewState {
    state: String,
}

impl Serve for Site {
    fn serve(&mut self, request: Request, reply: Reply) {
        if kannel::is_path(request.path())
            && let Some(server) = self.gateways.kannel.get()
        {
            let kannel = Kannel {
                gateways: self.gateways.clone(),
                board: self.board.clone(),
                readers: self.readers.clone(),
            };
            return kannel.answer(&server, request, reply);
        }
        let Some(segments) = request.segments() else {
            return reply.send(Response::error(400, "the path is not UTF-8 once it is decoded"));
        };
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        if let ["http" | "backend", backend, rest @ ..] = path.as_slice() {
            return self.gateways.serve(backend, rest, &request, reply);
        }
        if let Err(denied) = self.gateways.access.admit(&request) {
            return reply.send(denied);
        }
        let method = request.method();
        match (method, path.as_slice()) {
            ("GET" | "HEAD", ["healthz"]) => {
                let health = self.board.lock().health();
                let status = if health.status == "failing" { 503 } else { 200 };
                reply.send(Response::json(status, &health));
            }
            ("POST", ["httptester", backend, ""] | ["httptester", backend]) => {
                self.tester_message(backend, &request, reply);
            }
            ("POST", ["messages", id, ""] | ["messages", id]) if !["", "export.csv"].contains(id) => {
                self.page_decision(id, &request, reply)
            }
            ("POST", ["api", "v1", "messages"]) => self.api_message(&request, reply),
            ("POST", ["api", "v1", "messages", id]) => self.api_decision(id, &request, reply),
            ("POST", ["api", "v1", "backends", backend, "ussd"]) => self.api_ussd(backend, &request, reply),
            // Nothing is changed by it: a text that is too long for a query may come as a body.
            ("GET" | "HEAD", _) | ("POST", ["parts"] | ["api", "v1", "parts"]) => {
                let now = (self.gateways.clock)();
                match self.readers.try_send(Read { request, segments, now, reply }) {
                    Ok(()) => {}
                    Err(TrySendError::Full(read) | TrySendError::Disconnected(read)) => {
                        read.reply.send(busy("too many pages are wanted at once; try again soon"));
                    }
                }
            }
            _ => {
                let allowed = match path.as_slice() {
                    ["httptester", _] | ["httptester", _, ""] => "GET, HEAD, POST",
                    ["messages", id] | ["messages", id, ""] if !["", "export.csv"].contains(id) => {
                        "GET, HEAD, POST"
                    }
                    ["api", "v1", "messages" | "parts"] | ["parts"] => "GET, HEAD, POST",
                    ["api", "v1", "backends", _, "ussd"] => "POST",
                    _ => "GET, HEAD",
                };
                let sentence = format!("{method} is not possible here; possible: {allowed}");
                reply.send(Response::error(405, &sentence).header("Allow", allowed));
            }
        }
    }
}

impl Site {
    /// `identity` and `text` of a form become one inbound message of a tester backend.
    fn tester_message(&self, backend: &str, request: &Request, reply: Reply) {
        match self.board.backend(backend) {
            None => return reply.send(unknown_backend(backend)),
            Some(notice) if !notice.tester => {
                let sentence =
                    format!("backend {backend} is no tester: messages come in by its own line only");
                return reply.send(Response::error(404, &sentence));
            }
            Some(_) => {}
        }
        let pairs = match form::pairs(request.body()) {
            Ok(pairs) => pairs,
            Err(sentence) => return reply.send(Response::error(400, &sentence)),
        };
        let (Some(identity), Some(text)) = (form::field(&pairs, "identity"), form::field(&pairs, "text"))
        else {
            return reply.send(Response::error(400, "the form needs the fields identity and text"));
        };
        // The page's own form asks to be sent back to the conversation.
        let back = form::field(&pairs, "page").map(|_| {
            let page = pages::address(backend, identity);
            let joint = if page.contains('?') { '&' } else { '?' };
            format!("{page}{joint}sent=")
        });
        let incoming = Incoming::new(Connection::new(backend, identity), text);
        let told: Told<MessageId> = Box::new(move |result| {
            reply.send(match (result, back) {
                (Ok(id), Some(page)) => Response::redirect(format!("{page}{id}")),
                (Ok(_), None) => Response::text(200, "OK"),
                (Err(refused), _) => refusal(&refused),
            });
        });
        self.say(Event::Accept { incoming, told });
    }

    /// One message to be sent, from a program.
    fn api_message(&self, request: &Request, reply: Reply) {
        let new: NewMessage = match object(request) {
            Ok(new) => new,
            Err(refusal) => return reply.send(refusal),
        };
        let key = match request.header("idempotency-key") {
            Some(key) if key.is_empty() || key.len() > 255 => {
                return reply.send(Response::error(400, "an Idempotency-Key has 1 to 255 characters"));
            }
            Some(key) => Some((key.to_string(), new.digest())),
            None => None,
        };
        if new.validity.is_some_and(|seconds| !VALIDITY.contains(&seconds)) {
            return reply.send(Response::error(400, "the validity is 1 second to 63 weeks, in seconds"));
        }
        let draft = new.draft();
        let told: Told<MessageId> = Box::new(move |result| {
            reply.send(match result {
                Ok(id) => Response::json(202, &serde_json::json!({ "id": id })),
                Err(refused) => refusal(&refused),
            });
        });
        let actor = if request.is_local() { "cli" } else { "api" };
        self.say(Event::Submit { draft, actor, key, told });
    }

    /// A person or a program decides about a waiting message: `{"state": "cancelled"}`.
    fn api_decision(&self, id: &str, request: &Request, reply: Reply) {
        let Ok(id) = id.parse::<MessageId>() else {
            return reply.send(Response::error(404, "there is no such message"));
        };
        let state = object::<NewState>(request).and_then(|new| {
            let unknown = |()| format!("\"{}\" is no state", new.state.escape_debug());
            new.state.parse::<State>().map_err(|none| Response::error(400, &unknown(none)))
        });
        let state = match state {
            Ok(state) => state,
            Err(refusal) => return reply.send(refusal),
        };
        let told: Told<bool> = Box::new(move |result| {
            reply.send(match result {
                Ok(true) => Response::json(200, &serde_json::json!({ "id": id, "state": state })),
                Ok(false) => {
                    Response::error(409, "there is no such message, or it has gone too far for that")
                }
                Err(refused) => refusal(&refused),
            });
        });
        let actor = if request.is_local() { "person at the command line" } else { "api" };
        self.say(Event::Decide { id, state, actor: actor.to_string(), told });
    }

    /// The same from the page of the message, whose reader is sent back to it and told there what came of it.
    fn page_decision(&self, id: &str, request: &Request, reply: Reply) {
        let Ok(id) = id.parse::<MessageId>() else {
            return reply.send(Response::error(404, "there is no such message"));
        };
        let pairs = form::pairs(request.body()).unwrap_or_default();
        let Some(state) = form::field(&pairs, "state").and_then(|state| state.parse::<State>().ok()) else {
            return reply
                .send(Response::error(400, "the form needs the field state: held, queued or cancelled"));
        };
        let told: Told<bool> = Box::new(move |result| {
            let outcome = match result {
                Ok(true) => pages::Outcome::Done,
                Ok(false) => pages::Outcome::TooLate,
                Err(refused) if refused.refusal == Refusal::Invalid => return reply.send(refusal(&refused)),
                Err(_) => pages::Outcome::Refused,
            };
            reply.send(Response::redirect(pages::decided(id, outcome)));
        });
        let actor = "person at the page".to_string();
        self.say(Event::Decide { id, state, actor, told });
    }

    /// A person asks the network something through a backend: `{"code": "*144#"}`.
    fn api_ussd(&self, backend: &str, request: &Request, reply: Reply) {
        if self.board.backend(backend).is_none() {
            return reply.send(unknown_backend(backend));
        }
        let code = object::<NewQuestion>(request).and_then(|new| {
            // Nothing that could end the command in which it is given to the modem (TS 27.007, 7.15).
            let fits = |octet: u8| octet.is_ascii_alphanumeric() || b"*#+ ".contains(&octet);
            if new.code.is_empty() || new.code.len() > LONGEST_CODE || !new.code.bytes().all(fits) {
                let sentence =
                    format!("a code has 1 to {LONGEST_CODE} characters: digits, letters, *, #, + and blanks");
                return Err(Response::error(400, &sentence));
            }
            Ok(new.code)
        });
        let code = match code {
            Ok(code) => code,
            Err(refusal) => return reply.send(refusal),
        };
        let question = Question::new(code, move |answer| {
            reply.send(match answer {
                Ok(answer) => Response::json(200, &serde_json::json!({ "answer": answer })),
                Err(why) => Response::error(502, &why),
            });
        });
        self.say(Event::Ask { backend: backend.into(), question });
    }

    fn say(&self, event: Event) {
        say(&self.gateways.mouth, event);
    }
}

/// Says it to the router, or tells at once that it is too busy.
pub(super) fn say(mouth: &Mouth, event: Event) {
    if let Err((event, refused)) = mouth.try_say(event) {
        match event {
            Event::Accept { told, .. } | Event::Submit { told, .. } => told(Err(refused)),
            Event::Report { told, .. } => told(Err(refused)),
            Event::Decide { told, .. } => told(Err(refused)),
            Event::Ask { question, .. } => question.answer(Err(refused.reason)),
            // Nothing else is said here.
            _ => {}
        }
    }
}

/// The body as a JSON object with exactly these names, or the refusal. A list of the values alone, which serde would take as well, is refused: it breaks
/// as soon as there is one name more.
pub(super) fn object<T: serde::de::DeserializeOwned>(request: &Request) -> Result<T, Response> {
    if request.media_type() != "application/json" {
        return Err(Response::error(415, "send JSON, with Content-Type: application/json"));
    }
    let body = request.body();
    let read = match body.iter().find(|octet| !octet.is_ascii_whitespace()) {
        Some(b'{') => serde_json::from_slice(body).map_err(|error| format!("the body is not right: {error}")),
        Some(_) => Err("the body is not right: it must be one JSON object, { ... }".to_string()),
        None => Err("the body is empty; send one JSON object, { ... }".to_string()),
    };
    read.map_err(|sentence| Response::error(400, &sentence))
}

/// The answer to something that the router did not take.
pub fn refusal(refused: &Refused) -> Response {
    match refused.refusal {
        Refusal::UnknownBackend => Response::error(404, &refused.reason),
        Refusal::Invalid => Response::error(400, &refused.reason),
        Refusal::TooLong => Response::error(413, &refused.reason),
        Refusal::Conflict => Response::error(422, &refused.reason),
        Refusal::Busy | Refusal::Store | Refusal::Stopping => busy(&refused.reason),
    }
}

/// The answer when there is no such backend.
pub fn unknown_backend(name: &str) -> Response {
    Response::error(404, &format!("no backend named \"{}\" is configured", name.escape_debug()))
}

fn busy(sentence: &str) -> Response {
    Response::error(503, sentence).header("Retry-After", "2")
}

/// What an idempotency key is remembered with: whether the same request comes again.
fn digest(pieces: &[&str]) -> Vec<u8> {
    let mut hash = Sha256::new();
    for piece in pieces {
        hash.update((piece.len() as u64).to_be_bytes());
        hash.update(piece.as_bytes());
    }
    hash.finalize().to_vec()
}
