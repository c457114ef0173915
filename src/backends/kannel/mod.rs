//! A Kannel gateway: messages out by its `sendsms`, in by its `get-url`, delivery reports by its `dlr-url`.
//!
//! ```toml
//! [INSTALLED_BACKENDS.my-kannel-backend]
//! ENGINE = "kannel"
//! sendsms_url = "http://127.0.0.1:13013/cgi-bin/sendsms"
//! sendsms_params = { smsc = "usb0-modem", from = "+15550100001", username = "rapidsms", password = { env = "KANNEL_PASSWORD" } }
//! ```
//!
//! - `rules`: what the settings mean.
//! - `alphabet`: how a text is written; Kannel does not choose.
//! - `sendsms`: the request for one message. `verdict`: what the answer to it means.
//! - `door`, `fields`, `trust`: what Kannel brings, and who may.
//! - `status`: what its status page tells.
//!
//! All of that is pure; this file has the threads' side: several hands that send, and one that reads the status page. It never takes a success for one that holds an
//! error, never lets Kannel write "?" for a letter, and never gives up a message for a trouble that all messages share. Kannel's behaviour is
//! that of Debian's 1.4.5 as it runs, which the user's guide does not always tell; `docs/kannel.md` is for people who have one.

pub mod alphabet;
mod door;
mod fields;
mod rules;
mod sendsms;
pub mod status;
mod trust;
pub mod verdict;

pub use door::Door;
pub use rules::{Reports, Rules, Status};
pub use sendsms::{Sendsms, sendsms};
pub use trust::Trust;

use super::{Backend, BackendError, Engine, Hand, Line, Mail};
use crate::http::client::{Answer, Call, Client};
use crate::message::{Outgoing, Receipt, SendFailure};
use crate::settings::{BackendSettings, EngineSpec, Value};
use std::time::{Duration, Instant};
use verdict::Outcome;

/// What the settings know of this engine.
pub const ENGINE: Engine = Engine {
    window: rules::WINDOW,
    splitting: |settings| Rules::of(settings).ok().map(|rules| rules.splitting()),
    intake: Some(door::intake),
    listens: rules::listener,
    rehearse: Some(rehearse),
    ..Engine::plain(
        EngineSpec {
            name: "kannel",
            aliases: &[
                "rapidsms.backends.kannel",
                "rapidsms.backends.kannel.outgoing",
                "threadless_router.backends.kannel",
                "threadless_router.backends.kannel.outgoing",
            ],
            keys: rules::KEYS,
            built: true,
            tester: false,
            about: "a Kannel gateway",
        },
        build,
    )
};

/// How often the status page is read.
const STATUS_EVERY: Duration = Duration::from_secs(30);

struct Kannel {
    rules: Rules,
    client: Client,
    status: Option<(Status, Client)>,
}

fn build(settings: &BackendSettings) -> Result<Box<dyn Backend>, BackendError> {
    let rules = Rules::of(settings)?;
    let client = Client::new(&rules.client).map_err(BackendError::Refused)?;
    let status = match &rules.status {
        Some(status) => Some((status.clone(), Client::new(&status.client).map_err(BackendError::Refused)?)),
        None => None,
    };
    Ok(Box::new(Kannel { rules, client, status }))
}

impl Backend for Kannel {
    fn run(&mut self, line: &Line) -> Result<(), BackendError> {
        let kannel = &*self;
        line.up(&format!("ready to send by {}", crate::http::client::place(&kannel.rules.sendsms_url)));
        let mut hands: Vec<(&'static str, Hand<'_>)> = Vec::new();
        for _ in 0..kannel.rules.hands {
            hands.push(("send", Box::new(|line: &Line| kannel.serve(line))));
        }
        if let Some((status, client)) = &kannel.status {
            hands.push(("status", Box::new(|line: &Line| kannel.watch(line, status, client))));
        }
        line.together(hands)
    }

    fn send(&mut self, outgoing: &Outgoing) -> Result<Receipt, SendFailure> {
        self.attempt(outgoing).0
    }
}

impl Kannel {
    /// Sends until it is told to stop, or until going on is useless: then the backend rests, and the wait grows.
    fn serve(&self, line: &Line) -> Result<(), BackendError> {
        loop {
            match line.next(None) {
                Mail::Send(outgoing) => {
                    let (result, pause) = self.attempt(&outgoing);
                    line.sent(outgoing.id, result);
                    if let Some(why) = pause {
                        return Err(BackendError::Lost(why));
                    }
                }
                Mail::Nothing => {}
                Mail::Stop => return Ok(()),
            }
        }
    }

    /// One call. With a failure that others would share comes the reason to rest.
    fn attempt(&self, outgoing: &Outgoing) -> (Result<Receipt, SendFailure>, Option<String>) {
        let request = match sendsms(&self.rules, outgoing) {
            Ok(request) => request,
            Err(failure) => return (Err(failure), None),
        };
        let outcome = match self.client.ask(&request.call) {
            Ok(answer) => of_answer(&answer),
            Err(trouble) => verdict::of_trouble(&trouble),
        };
        (outcome.result.map(|said| receipt(&request, &said)), outcome.pause)
    }

    /// Tells now and then how Kannel's links are. It changes nothing else: a link that is down is Kannel's to mend, and Kannel keeps what waits for it.
    fn watch(&self, line: &Line, status: &Status, client: &Client) -> Result<(), BackendError> {
        let (waker, woken) = crossbeam_channel::bounded(1);
        line.on_mail(move || {
            // One signal that waits is enough.
            let _ = waker.try_send(());
        });
        let smsc = self.rules.params.iter().find_map(|(name, value)| match value {
            Value::Text(smsc) if name.eq_ignore_ascii_case("smsc") => Some(smsc.as_str()),
            _ => None,
        });
        loop {
            line.working();
            line.note(&ask_how_it_is(status, client, smsc));
            line.waiting();
            let next = Instant::now() + STATUS_EVERY;
            // What wakes is mostly mail for the other hands.
            loop {
                if line.is_stopping() {
                    return Ok(());
                }
                if woken.recv_deadline(next).is_err() {
                    break;
                }
            }
        }
    }
}

fn ask_how_it_is(status: &Status, client: &Client, smsc: Option<&str>) -> String {
    let mut url = status.url.clone();
    if let Some(password) = &status.password {
        url.push(if url.contains('?') { '&' } else { '?' });
        url.extend(["password=", &crate::http::form::encode(password.expose())]);
    }
    let page = match client.ask(&Call::new("GET", url)) {
        Ok(Answer { status: 200, body, .. }) => body,
        Ok(answer) => return format!("the status page of Kannel answers HTTP {}", answer.status),
        Err(trouble) => return format!("the status page of Kannel: {trouble}"),
    };
    match status::Standing::read(&String::from_utf8_lossy(&page)) {
        Ok(standing) => standing.sentence(smsc),
        Err(why) => format!("Kannel answers, but {why}"),
    }
}

fn of_answer(answer: &Answer) -> Outcome {
    let wait =
        answer.header("retry-after").and_then(|wait| wait.trim().parse().ok()).map(Duration::from_secs);
    verdict::of_answer(answer.status, wait, &String::from_utf8_lossy(&answer.body))
}

/// Kannel gives no name to a message, so reports find it by ours.
fn receipt(request: &Sendsms, said: &str) -> Receipt {
    // That a link took it is nothing special; that none is there yet is.
    let said = (!said.starts_with("0:")).then(|| said.to_string());
    let notes: Vec<String> = said.into_iter().chain(request.written.note.clone()).collect();
    let note = (!notes.is_empty()).then(|| notes.join("; "));
    Receipt { remote_ids: Vec::new(), parts: Some(request.parts), note }
}

/// What would be sent, and what an answer to it would mean: for `rapidsms send --dry-run`. The answer is a whole one with status and headers, or its body alone.
fn rehearse(settings: &BackendSettings, outgoing: &Outgoing, answer: Option<&str>) -> Result<String, String> {
    let rules = Rules::of(settings).map_err(|error| error.to_string())?;
    let request = match sendsms(&rules, outgoing) {
        Ok(request) => request,
        Err(failure) => {
            let (what, why) = in_words(&failure);
            return Ok(format!("No request would leave: {what}: {why}\n"));
        }
    };
    let alphabet = match request.written.coding {
        0 => "the GSM alphabet",
        1 => "octets",
        _ => "UCS-2",
    };
    let plural = if request.parts == 1 { "" } else { "s" };
    let mut told = format!("GET {}\n{} message{plural} in {alphabet}", request.shown, request.parts);
    if let Some(note) = &request.written.note {
        told.push_str(&format!(" ({note})"));
    }
    told.push('\n');
    if let Some(answer) = answer {
        let outcome = of_answer(&pasted(answer)?);
        let (what, why) = match &outcome.result {
            Ok(said) => ("sent", said.as_str()),
            Err(failure) => in_words(failure),
        };
        told.push_str(&format!("This answer means: {what}: {why}\n"));
        if outcome.pause.is_some() {
            told.push_str("The backend would be down for a while, and the other messages would wait.\n");
        }
    }
    Ok(told)
}

fn in_words(failure: &SendFailure) -> (&'static str, &str) {
    match failure {
        SendFailure::Temporary(why) | SendFailure::Throttled(_, why) | SendFailure::Untried(why) => {
            ("tried again later", why)
        }
        SendFailure::Permanent(why) => ("failed", why),
        SendFailure::Unsure(why) => ("it may have been sent", why),
    }
}

/// An answer as a person copied it.
fn pasted(text: &str) -> Result<Answer, String> {
    let Some(rest) = text.trim_start().strip_prefix("HTTP/") else {
        // Kannel's words alone are enough; this is the status that goes with the good ones.
        return Ok(Answer { status: 202, body: text.as_bytes().to_vec(), ..Answer::default() });
    };
    let status = rest.split_whitespace().nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or("the first line of the answer has no status, as in HTTP/1.1 202 Accepted")?;
    let text = text.replace("\r\n", "\n");
    let (head, body) = text.split_once("\n\n").unwrap_or((&text, ""));
    let headers = head.lines().skip(1).filter_map(|line| line.split_once(':'));
    let headers = headers.map(|(name, value)| (name.trim().to_string(), value.trim().to_string()));
    Ok(Answer { status, headers: headers.collect(), body: body.as_bytes().to_vec(), cut: false })
}
