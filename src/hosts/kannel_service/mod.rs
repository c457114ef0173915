//! A program behind HTTP that answers messages, asked as a Kannel would ask it: `get-url` and `post-url` services.
//!
//! ```toml
//! INSTALLED_APPS = ["project"]
//!
//! [APPS.project]
//! ENGINE = "kannel_service"
//! get_url = "http://127.0.0.1:8000/backend/kannel/?id=%q&text=%b&charset=%C&coding=%c"
//! ```
//!
//! The URL's escapes are those of the Kannel user guide ([`template`]); [`matching`] says which messages are for the service, [`answer`] what its answer
//! means. What a Kannel does differently, on purpose: a message is not forgotten while the program fails or this router is killed (it stays `received`, and
//! comes again); after the last try it is `failed` with the reason, for a person to see, and the citizen is sent no error text; no reply is cut.
//!
//! Calls are made by a few threads of their own; while one waits, the router and everybody else go on. So the program may call
//! `/cgi-bin/sendsms` while it answers.

pub mod answer;
pub mod matching;
pub mod template;

use super::Kind as HostKind;
use super::pool::{Errand, Next, Pool};
use crate::apps::{Answers, App, AppError, Flow, Host, LateAnswer, Message};
use crate::http::client::{Call, Client, Rules as Wire};
use crate::message::{Connection, MessageId};
use crate::settings::{AppSettings, EngineSpec, Fault, Key, Kind, Settings, Value};
use answer::{Rules, Verdict};
use matching::Matching;
use std::sync::Arc;
use std::time::Duration;
use template::Facts;

/// A longer answer is no reply.
const ANSWER_LIMIT: usize = 64 * 1024;
/// How long one call may take when the settings do not say.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long it may take to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Nobody waits longer than this for an app.
const LONGEST_PATIENCE: Duration = Duration::from_secs(7 * 24 * 3600);
const SECOND: Duration = Duration::from_secs(1);

/// What the settings know of this host.
pub const KIND: HostKind = HostKind {
    spec: EngineSpec {
        name: "kannel_service",
        aliases: &[],
        keys: &[
            Key::new("get_url", Kind::Url, "asked with GET; Kannel's escapes are filled in")
                .such_as("http://127.0.0.1:8000/backend/kannel/?id=%q&text=%b")
                .also(&["url"]),
            Key::new("post_url", Kind::Url, "asked with POST, the text as the body; instead of get_url"),
            Key::new(
                "keyword",
                Kind::TextList,
                "the first words that mean this service; every message when left out",
            )
            .also(&["keywords", "aliases"]),
            Key::new("keyword_regex", Kind::Text, "the same as a pattern").such_as("(join|register)"),
            Key::new("catch_all", Kind::Boolean, "any number of words may follow the keyword").or("false"),
            Key::new("service_name", Kind::Text, "what %n stands for; the app's name when left out")
                .such_as("survey")
                .also(&["name"]),
            Key::new("backends", Kind::TextList, "only messages that came by these backends")
                .also(&["accepted_smsc"]),
            Key::new("short_code", Kind::Text, "our own number, for %P and %Q").such_as("1234"),
            Key::new(
                "max_messages",
                Kind::Integer { min: 0, max: 255 },
                "parts that a reply may have; 0: answers are not used",
            )
            .or("10"),
            Key::new("omit_empty", Kind::Boolean, "an empty answer is no reply").or("true"),
            Key::new(
                "retries",
                Kind::Integer { min: 0, max: 1000 },
                "how often a call that failed is tried again",
            )
            .or("3")
            .also(&["http_request_retry"]),
            Key::new(
                "retry_delay",
                Kind::Duration { min: Duration::from_millis(100), max: Duration::from_secs(3600) },
                "how long to wait before that",
            )
            .or("10 s")
            .also(&["http_queue_delay"]),
            Key::new("workers", Kind::Integer { min: 1, max: 64 }, "calls that are made at one time").or("4"),
            Key::new("headers", Kind::Table, "headers that go with every call"),
            Key::new(
                "ca_file",
                Kind::Path,
                "certificates that are trusted instead of those of the public web",
            ),
            Key::new(
                "error_text",
                Kind::Text,
                "sent to the person after the last try; nothing when left out",
            )
            .such_as("Please try again later."),
            Key::new(
                "accept_x_kannel_headers",
                Kind::Boolean,
                "X-Kannel headers of an answer may change its reply",
            )
            .or("false"),
            Key::new("send_sender", Kind::Boolean, "post_url: say who sent it").or("true"),
            Key::new("strip_keyword", Kind::Boolean, "post_url: leave the keyword out of the text")
                .or("false"),
        ],
        built: true,
        tester: false,
        about: "a program behind HTTP, asked as a Kannel asks",
    },
    build,
};

/// Makes the service of its settings.
fn build(app: &AppSettings, settings: &Settings) -> Result<Box<dyn App>, Fault> {
    let options = &app.options;
    let (url, method) = match (options.text("get_url"), options.text("post_url")) {
        (Some(url), None) => (url, Method::Get),
        (None, Some(url)) => (
            url,
            Method::Post {
                send_sender: options.boolean("send_sender").unwrap_or(true),
                strip_keyword: options.boolean("strip_keyword").unwrap_or(false),
            },
        ),
        (Some(_), Some(_)) => {
            let fault = options.fault("post_url", format!("app {} has get_url and post_url", app.name));
            return Err(fault.help("leave one of them out"));
        }
        (None, None) => {
            let fault = options.fault("get_url", format!("app {} needs get_url or post_url", app.name));
            return Err(
                fault.help("for example: get_url = \"http://127.0.0.1:8000/backend/kannel/?id=%q&text=%b\"")
            );
        }
    };
    let pattern = options.text("keyword_regex");
    let keywords = options.list("keyword").unwrap_or_default();
    let catch_all = options.boolean("catch_all").unwrap_or(false) || matches!(method, Method::Post { .. });
    let matching = Matching::new(keywords, pattern, catch_all, template::wants(url)).map_err(|why| {
        let fault =
            options.fault("keyword_regex", format!("keyword_regex of app {} is no pattern: {why}", app.name));
        fault.help("for example: keyword_regex = \"(join|register)\"")
    })?;
    let backends = options.list("backends").unwrap_or_default();
    if let Some(unknown) =
        backends.iter().find(|name| settings.backends.iter().all(|backend| backend.name != **name))
    {
        let fault = options
            .fault("backends", format!("no backend named \"{}\" is configured", unknown.escape_debug()));
        return Err(fault.help("write the names as they stand in INSTALLED_BACKENDS"));
    }
    let timeout = options.duration("timeout").unwrap_or(TIMEOUT);
    let wire = Wire {
        timeout,
        connect_timeout: CONNECT_TIMEOUT.min(timeout),
        ca_file: options.path("ca_file").map(std::path::Path::to_path_buf),
        answer_limit: ANSWER_LIMIT,
    };
    let client =
        Client::new(&wire).map_err(|why| options.fault("ca_file", format!("app {}: {why}", app.name)))?;
    let headers = headers(app)?;
    let count = |key: &str, otherwise: u32| {
        options.integer(key).and_then(|number| u32::try_from(number).ok()).unwrap_or(otherwise)
    };
    let (retries, workers) = (count("retries", 3), count("workers", 4).max(1));
    let retry_delay = options.duration("retry_delay").unwrap_or(10 * SECOND);
    let service = Service {
        name: app.name.clone(),
        url: url.to_string(),
        method,
        headers,
        service_name: options.text("service_name").unwrap_or(&app.name).to_string(),
        short_code: options.text("short_code").unwrap_or_default().to_string(),
        backends: backends.to_vec(),
        matching,
        rules: Rules {
            max_messages: u8::try_from(count("max_messages", 10)).unwrap_or(u8::MAX),
            omit_empty: options.boolean("omit_empty").unwrap_or(true),
            x_kannel: options.boolean("accept_x_kannel_headers").unwrap_or(false),
        },
        retries,
        retry_delay,
        error_text: options.text("error_text").filter(|text| !text.is_empty()).map(str::to_string),
        client,
    };
    // As many messages may wait before one as the router lets wait, and each may need all its tries.
    let tries = (timeout + retry_delay).saturating_mul(retries.saturating_add(1));
    let most = settings.router.max_pending.saturating_mul(settings.backends.len().max(1));
    let rounds = u32::try_from(most.div_ceil(usize::try_from(workers).unwrap_or(1))).unwrap_or(u32::MAX);
    let patience = tries.saturating_mul(rounds.saturating_add(1)).min(LONGEST_PATIENCE);
    Ok(Box::new(KannelService {
        pool: Pool::new(format!("app/{}", app.name), usize::try_from(workers).unwrap_or(1)),
        service: Arc::new(service),
        patience,
        host: None,
    }))
}

/// `headers = { Authorization = { env = "NAME" } }`
fn headers(app: &AppSettings) -> Result<Vec<(String, String)>, Fault> {
    let mut headers = Vec::new();
    for (name, value) in app.options.table("headers").unwrap_or_default() {
        let value = match value {
            Value::Text(text) => text.clone(),
            Value::Secret(secret) => secret.expose().to_string(),
            Value::Integer(number) => number.to_string(),
            Value::Boolean(truth) => truth.to_string(),
            _ => String::new(),
        };
        headers.push((name.clone(), value));
    }
    let call = Call { headers, ..Call::new("GET", "http://localhost/") };
    match call.check() {
        Ok(()) => Ok(call.headers),
        Err(why) => Err(app.options.fault("headers", format!("headers of app {}: {why}", app.name))),
    }
}

/// The app: decides at once whether a message is for the service, and leaves the call to the pool.
struct KannelService {
    service: Arc<Service>,
    pool: Pool<Asking>,
    patience: Duration,
    host: Option<Host>,
}

impl App for KannelService {
    fn start(&mut self, host: &Host) -> Result<(), AppError> {
        // Threads are asked for with the first message: a router that never runs the apps needs none.
        self.host = Some(host.clone());
        Ok(())
    }

    fn handle(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        let connection = message.connection();
        if !self.service.takes(&connection.backend, message.text()) {
            return Ok(Flow::Next);
        }
        let Some(host) = &self.host else { return Err(AppError("it was not started".into())) };
        let asking = Asking {
            call: self.service.call(message)?,
            service: Arc::clone(&self.service),
            answers: Arc::clone(&host.answers),
            id: message.id(),
            sender: connection.clone(),
            tries: 0,
        };
        self.pool.push(asking, &*host.threads)?;
        Ok(Flow::Later)
    }

    fn patience(&self) -> Option<Duration> {
        Some(self.patience)
    }

    fn stop(&mut self) {
        self.pool.close();
        self.host = None;
    }
}

/// What does not change from message to message.
struct Service {
    name: String,
    url: String,
    method: Method,
    headers: Vec<(String, String)>,
    service_name: String,
    short_code: String,
    backends: Vec<String>,
    matching: Matching,
    rules: Rules,
    retries: u32,
    retry_delay: Duration,
    error_text: Option<String>,
    client: Client,
}

/// `get_url` or `post_url`.
enum Method {
    Get,
    Post { send_sender: bool, strip_keyword: bool },
}

impl Service {
    fn takes(&self, backend: &str, text: &str) -> bool {
        let mine = self.backends.is_empty() || self.backends.iter().any(|name| name == backend);
        mine && self.matching.takes(text)
    }

    fn call(&self, message: &Message) -> Result<Call, AppError> {
        let id = message.id().to_string();
        let facts = Facts {
            text: message.text(),
            sender: &message.connection().identity,
            receiver: &self.short_code,
            backend: &message.connection().backend,
            id: &id,
            time: message.source_time().unwrap_or_else(|| message.received_at()),
            service: &self.service_name,
        };
        let url = template::fill(&self.url, &facts)
            .ok_or_else(|| AppError("failed: the message is too long for a URL; use post_url".into()))?;
        let mut call = match &self.method {
            Method::Get => Call::new("GET", url),
            Method::Post { send_sender, strip_keyword } => {
                let text = if *strip_keyword { self.matching.stripped(facts.text) } else { facts.text };
                let mut call = Call { body: Some(text.as_bytes().to_vec()), ..Call::new("POST", url) };
                let mut header = |name: &str, value: &str| {
                    // What a person chose, a number or a mail address, ends no header.
                    let value: String = value.chars().filter(|letter| !letter.is_control()).collect();
                    call.headers.push((name.to_string(), value));
                };
                header("Content-Type", "text/plain; charset=\"UTF-8\"");
                if *send_sender {
                    header("X-Kannel-From", facts.sender);
                }
                header("X-Kannel-To", facts.receiver);
                header("X-Kannel-Time", &template::calendar(facts.time, ' '));
                header("X-Kannel-SMSC", facts.backend);
                header("X-Kannel-Coding", "0");
                header("X-Kannel-Service", facts.service);
                header("X-Message-Id", facts.id);
                call
            }
        };
        call.headers.extend(self.headers.iter().cloned());
        Ok(call)
    }

    /// Asks once.
    fn ask(&self, call: &Call, sender: &Connection) -> Verdict {
        match self.client.ask(call) {
            Ok(answer) => answer::judge(&answer, sender, &self.rules),
            Err(trouble) => Verdict::Again(trouble.why().to_string()),
        }
    }

    /// What the router is told after the last try.
    fn failure(&self, why: &str, tries: u32) -> LateAnswer {
        let tried = if tries > 1 { format!(" (tried {tries} times)") } else { String::new() };
        match &self.error_text {
            None => LateAnswer {
                error: Some(format!("failed: {why}{tried}")),
                last: true,
                ..LateAnswer::default()
            },
            Some(text) => {
                log::error!("app {}: {why}{tried}; the person is sent error_text", self.name);
                LateAnswer { replies: vec![text.clone()], done: true, ..LateAnswer::default() }
            }
        }
    }
}

/// One message on its way to the service.
struct Asking {
    service: Arc<Service>,
    answers: Arc<dyn Answers>,
    id: MessageId,
    sender: Connection,
    call: Call,
    tries: u32,
}

impl Errand for Asking {
    fn run(&mut self) -> Next {
        self.tries = self.tries.saturating_add(1);
        let service = &self.service;
        let answer = match service.ask(&self.call, &self.sender) {
            Verdict::Done(reply) => {
                LateAnswer { done: true, drafts: reply.into_iter().collect(), ..LateAnswer::default() }
            }
            Verdict::Again(why) if self.tries <= service.retries => {
                let wait = service.retry_delay;
                log::warn!(
                    "app {}: message {}: {why}; trying again in {} s",
                    service.name,
                    self.id,
                    wait.as_secs()
                );
                return Next::Again(wait);
            }
            Verdict::Again(why) | Verdict::Failed(why) => service.failure(&why, self.tries),
        };
        self.answers.answer(self.id, &service.name, answer);
        Next::Over
    }

    fn broke(self, why: &str) {
        let failure = self.service.failure(&format!("its call panicked: {why}"), self.tries);
        self.answers.answer(self.id, &self.service.name, failure);
    }
}
