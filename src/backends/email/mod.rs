//! Mail: messages come in by IMAP and go out by SMTP.
//!
//! ```toml
//! [INSTALLED_BACKENDS.mail]
//! ENGINE = "rapidsms.backends.email"
//! imap_host = "mail.example.org"
//! smtp_host = "mail.example.org"
//! smtp_port = 587
//! username = "sms@example.org"
//! password = { env = "MAIL_PASSWORD" }
//! ```
//!
//! - `rules`: what the settings mean.
//! - [`read`], [`automatic`], [`bounce`], [`quote`], [`headers`]: a mail in, a message or a reason out. Pure.
//! - [`mod@write`]: a message in, a mail out. Pure.
//! - `stream`: a connection with deadlines, TLS and one place to wait.
//! - `imap`, `smtp`: the two hands, one thread each: what is slow in one does not delay the other.
//!
//! It never marks a mail as read before the router has it on disk, never answers a machine (RFC 3834), never says a password over a connection that
//! is not TLS unless the settings say so aloud, and never fetches more than the first 256 KiB of a mail. `docs/email.md` is for people who
//! have mailboxes.

pub mod automatic;
pub mod bounce;
pub mod headers;
mod imap;
pub mod quote;
pub mod read;
mod rules;
mod smtp;
mod stream;
pub mod write;

pub use rules::{Account, Peer, Receiving, Rules, Security, Sending};
pub use smtp::stuffed;

use super::{Backend, BackendError, Engine, Hand, Line};
use crate::message::{Outgoing, Receipt, SendFailure};
use crate::settings::{BackendSettings, EngineSpec};
use lettre::transport::smtp::response::Response;
use std::sync::{Mutex, PoisonError};
use std::time::SystemTime;

/// What the settings know of this engine.
pub const ENGINE: Engine = Engine {
    // One under way and a few at hand, so that a connection serves several.
    window: 8,
    shows_answered: true,
    rehearse: Some(rehearse),
    ..Engine::plain(
        EngineSpec {
            name: "email",
            aliases: &["rapidsms.backends.email"],
            keys: rules::KEYS,
            built: true,
            tester: false,
            about: "mail in by IMAP, out by SMTP",
        },
        build,
    )
};

struct Email {
    rules: Rules,
}

/// How both hands are, as one sentence: what one says must not hide what the other said.
#[derive(Default)]
struct Health {
    said: Mutex<(Option<String>, Option<String>)>,
}

impl Health {
    /// Mail comes in: from now on messages can be sent as well, which may fail one by one.
    fn receives(&self, line: &Line, sentence: String) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.0 = Some(sentence);
        line.up(&sentence_of(&said));
    }

    /// Something about receiving that changes nothing.
    fn mentions(&self, line: &Line, sentence: &str) {
        let said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        line.note(&format!("{sentence}; {}", sentence_of(&said)));
    }

    /// Why nothing can be sent at the moment, or nothing of the kind.
    fn sends(&self, line: &Line, trouble: Option<&str>) {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        said.1 = trouble.map(|why| format!("nothing can be sent at the moment: {why}"));
        // Until mail comes in the backend is not up, and says so itself.
        if said.0.is_some() {
            line.note(&sentence_of(&said));
        }
    }
}

fn sentence_of((receiving, sending): &(Option<String>, Option<String>)) -> String {
    [sending, receiving].into_iter().flatten().cloned().collect::<Vec<_>>().join("; ")
}

fn build(settings: &BackendSettings) -> Result<Box<dyn Backend>, BackendError> {
    Ok(Box::new(Email { rules: Rules::of(settings)? }))
}

impl Backend for Email {
    fn run(&mut self, line: &Line) -> Result<(), BackendError> {
        for warning in &self.rules.warnings {
            log::warn!("backend {}: {warning}", line.name());
        }
        let Rules { receiving, sending, reading, writing, .. } = &self.rules;
        let health = Health::default();
        let send = smtp::Hand { sending, writing, alone: receiving.is_none(), health: &health };
        let Some(receiving) = receiving else { return smtp::run(line, &send) };
        let receive = imap::Hand { receiving, reading, health: &health };
        let hands: Vec<(&'static str, Hand<'_>)> = vec![
            ("receive", Box::new(move |line: &Line| imap::run(line, &receive))),
            ("send", Box::new(move |line: &Line| smtp::run(line, &send))),
        ];
        line.together(hands)
    }

    fn send(&mut self, _: &Outgoing) -> Result<Receipt, SendFailure> {
        Err(SendFailure::Untried("mail is sent by its own hand, and that does not run".into()))
    }
}

/// What would go out, and what the rules make of a server's answer to it.
fn rehearse(settings: &BackendSettings, outgoing: &Outgoing, answer: Option<&str>) -> Result<String, String> {
    let rules = Rules::of(settings).map_err(|error| error.to_string())?;
    let composed = smtp::compose_for(outgoing, &rules.writing, SystemTime::now())?;
    let Sending { peer, account, .. } = &rules.sending;
    let security = match peer.security {
        Security::Tls => "TLS from the first octet",
        Security::StartTls => "STARTTLS",
        Security::Plain => "no TLS",
    };
    let login =
        account.as_ref().map_or("no login".to_string(), |account| format!("login {} ***", account.username));
    let mut text = format!(
        "connect {} port {}, {security}, {login}\nMAIL FROM:<{}>\nRCPT TO:<{}>\nDATA\n{}.\n",
        peer.host,
        peer.port,
        composed.from,
        composed.to,
        String::from_utf8_lossy(&stuffed(&composed.octets)).replace("\r\n", "\n")
    );
    if let Some(answer) = answer {
        let answer: String = answer.trim().lines().map(|line| format!("{}\r\n", line.trim_end())).collect();
        let answer: Response = answer.parse().map_err(|_| {
            format!(
                "{:?} is no answer of a mail server; it looks like \"250 2.0.0 Ok: queued as 1234\"",
                answer.trim()
            )
        })?;
        let meaning = match smtp::verdict(&answer) {
            Ok(()) => "sent".to_string(),
            Err(SendFailure::Permanent(why)) => format!("failed, never tried again: {why}"),
            Err(SendFailure::Temporary(why)) => format!("not sent now, tried again: {why}"),
            Err(failure) => format!("{failure:?}"),
        };
        text.push_str(&format!("answer: {meaning}\n"));
    }
    Ok(text)
}
