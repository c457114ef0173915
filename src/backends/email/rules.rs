//! What the settings of a mail line mean: the keys, and their values in the types of those who use them.

use super::quote::Stripping;
use super::read::{Reading, SubjectAs, identity_of};
use super::write::Writing;
use crate::backends::BackendError;
use crate::settings::{BackendSettings, Key, Kind, Secret};
use lettre::message::Mailbox;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const PORT_NUMBER: Kind = Kind::Integer { min: 1, max: 65535 };

/// The keys of `ENGINE = "email"`, those of the older systems first.
pub const KEYS: &[Key] = &[
    Key::new("smtp_host", Kind::Text, "mail server for sending").or("localhost"),
    Key::new("smtp_port", PORT_NUMBER, "its port; 465 means TLS from the first octet").or("25"),
    Key::new("use_tls", Kind::Boolean, "TLS when sending; false needs tls = \"off\" beyond this machine")
        .or("true"),
    Key::new(
        "imap_host",
        Kind::OrOff(&Kind::Text),
        "mail server for receiving; false for a line that only sends",
    )
    .or("localhost"),
    Key::new("imap_port", PORT_NUMBER, "its port; 993 when not given, 143 without imap_ssl"),
    Key::new("imap_ssl", Kind::Boolean, "TLS from the first octet when receiving; false: STARTTLS")
        .or("true"),
    Key::new("username", Kind::Text, "the account; also the sender")
        .required()
        .such_as("sms@example.org")
        .also(&["user", "login", "account"]),
    Key::new("password", Kind::Secret, "the account's password").required().also(&["pass", "passwd"]),
    Key::new(
        "poll_interval",
        Kind::Duration { min: SECOND, max: Duration::from_secs(24 * 3600) },
        "how often mail is looked for where the server does not tell",
    )
    .or("60 s"),
    Key::ignored("fail_silently", "a mail that cannot be sent is tried again, and reported"),
    Key::new("from", Kind::Text, "the sender of mails, when it is not username")
        .such_as("Clinic <sms@example.org>")
        .also(&["sender", "from_email", "default_from_email"]),
    Key::new("smtp_login", Kind::Boolean, "log in for sending, too").or("true"),
    Key::new("smtp_username", Kind::Text, "the account for sending, when it is another").such_as("relay-7"),
    Key::new("smtp_password", Kind::Secret, "its password, when it is another"),
    Key::new("tls", Kind::OneOf(&["required", "off"]), "off: passwords and mails may travel in clear")
        .or("required"),
    Key::new("ca_file", Kind::Path, "certificates that are trusted instead of the public ones (PEM)")
        .such_as("mail-ca.pem"),
    Key::new(
        "timeout",
        Kind::Duration { min: Duration::from_millis(100), max: HOUR },
        "how long a server may take over one step",
    )
    .or("30 s"),
    Key::new("idle", Kind::Boolean, "be told of new mail at once where the server can (IDLE)").or("true"),
    Key::new("folder", Kind::Text, "where mail is looked for").or("INBOX").also(&["mailbox"]),
    Key::new("move_to", Kind::Text, "the folder for mail that was taken in; else it stays, marked as read")
        .such_as("Done"),
    Key::new("subject", Kind::Text, "the subject of mails that answer nothing; \"\" for none").or("Message"),
    Key::new("text_limit", Kind::Integer { min: 1, max: 16_000 }, "the longest text, in characters")
        .or("4000"),
    Key::new("strip_quotes", Kind::Boolean, "leave out the mail that is answered").or("true"),
    Key::new("strip_signature", Kind::Boolean, "leave out signatures").or("true"),
    Key::new("attachments", Kind::OneOf(&["name", "ignore"]), "name attachments below the text, or do not")
        .or("name"),
    Key::new(
        "subject_as_text",
        Kind::OneOf(&["no", "if empty", "always"]),
        "when the subject counts as text",
    )
    .or("if empty"),
    Key::new("allow_senders", Kind::TextList, "only these may write: addresses, or whole domains")
        .such_as("@example.org"),
    Key::new("deny_senders", Kind::TextList, "these may not").such_as("spammer@example.com"),
    Key::new("reports", Kind::Boolean, "ask mail servers whether each mail arrived (DSN)")
        .or("false")
        .also(&["delivery_reports"]),
];

/// How a connection is kept from being read by others.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Security {
    /// TLS from the first octet.
    Tls,
    /// TLS by STARTTLS, before anything else is said.
    StartTls,
    /// None at all.
    Plain,
}

/// A server and how to reach it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Peer {
    /// Its name, which its certificate must have, too.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is secured.
    pub security: Security,
    /// Who may sign its certificate, instead of the public authorities.
    pub ca_file: Option<PathBuf>,
    /// How long it may take over one step.
    pub timeout: Duration,
}

/// A name and a password.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Account {
    /// The name.
    pub username: String,
    /// The password.
    pub password: Secret,
}

/// How mail is fetched.
#[derive(Clone, Debug)]
pub struct Receiving {
    /// From where.
    pub peer: Peer,
    /// As whom.
    pub account: Account,
    /// Which folder.
    pub folder: String,
    /// Where mails go that were taken in.
    pub move_to: Option<String>,
    /// Whether to be told at once.
    pub idle: bool,
    /// How often to look otherwise.
    pub poll_interval: Duration,
}

/// How mail is sent.
#[derive(Clone, Debug)]
pub struct Sending {
    /// By whom.
    pub peer: Peer,
    /// As whom; `None`: without a login.
    pub account: Option<Account>,
    /// Whether reports are asked for, when a message does not say.
    pub reports: bool,
}

/// All of it.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How mail is fetched; `None`: it is not.
    pub receiving: Option<Receiving>,
    /// How mail is sent.
    pub sending: Sending,
    /// How mails are read.
    pub reading: Reading,
    /// How mails are written.
    pub writing: Writing,
    /// What an operator should be reminded of.
    pub warnings: Vec<String>,
}

impl Rules {
    /// Those of the settings.
    pub fn of(settings: &BackendSettings) -> Result<Rules, BackendError> {
        let options = &settings.options;
        let text = |key: &str| options.text(key).map(str::trim).filter(|text| !text.is_empty());
        let truth = |key: &str, usual: bool| options.boolean(key).unwrap_or(usual);
        let port = |key: &str| options.integer(key).and_then(|port| u16::try_from(port).ok());
        let list = |key: &str| options.list(key).unwrap_or_default().to_vec();
        let username = text("username").unwrap_or_default().to_string();
        let password = options.secret("password").cloned().unwrap_or_else(|| Secret::new(""));
        let account = Account { username: username.clone(), password };
        let smtp_host = text("smtp_host").unwrap_or("localhost");
        let from = sender(text("from"), &username, smtp_host)?;
        let domain = from.email.domain().to_string();
        let timeout = options.duration("timeout").unwrap_or(30 * SECOND);
        let ca_file = options.path("ca_file").map(PathBuf::from);
        let off = text("tls") == Some("off");
        let peer = |host: &str, port: u16, security: Security| Peer {
            host: host.to_string(),
            port,
            security,
            ca_file: ca_file.clone(),
            timeout,
        };
        let mut warnings = Vec::new();
        let mut in_clear = |host: &str, what: &str| {
            if !is_this_machine(host) {
                warnings.push(format!(
                    "tls = \"off\": {what} {host} can be read by everybody on the way, the password included"
                ));
            }
            Security::Plain
        };
        let receiving = match text("imap_host") {
            None => None,
            Some(host) => {
                let security = match (off, truth("imap_ssl", true)) {
                    (true, _) => in_clear(host, "mail from"),
                    (false, true) => Security::Tls,
                    // As it was, where nobody is on the way who could listen.
                    (false, false) if is_this_machine(host) && !options.is_given("tls") => Security::Plain,
                    (false, false) => Security::StartTls,
                };
                let usual = if truth("imap_ssl", true) && !off { 993 } else { 143 };
                Some(Receiving {
                    peer: peer(host, port("imap_port").unwrap_or(usual), security),
                    account: account.clone(),
                    folder: text("folder").unwrap_or("INBOX").to_string(),
                    move_to: text("move_to").map(str::to_string),
                    idle: truth("idle", true),
                    poll_interval: options.duration("poll_interval").unwrap_or(60 * SECOND),
                })
            }
        };
        let host = smtp_host;
        let smtp_port = port("smtp_port").unwrap_or(25);
        let security = match (off, truth("use_tls", true)) {
            (true, _) => in_clear(host, "mail to"),
            (false, false) if is_this_machine(host) => Security::Plain,
            (false, false) => {
                return Err(wrong(
                    "use_tls",
                    &format!(
                        "without TLS the password would travel to {host} in clear; take the line out, \
                         or write tls = \"off\" if that is really meant"
                    ),
                ));
            }
            (false, true) if smtp_port == 465 => Security::Tls,
            (false, true) => Security::StartTls,
        };
        let for_sending = Account {
            username: text("smtp_username").unwrap_or(&username).to_string(),
            password: options.secret("smtp_password").unwrap_or(&account.password).clone(),
        };
        let mut own: Vec<String> = identity_of(from.email.as_ref()).into_iter().collect();
        own.extend(identity_of(&username));
        own.dedup();
        Ok(Rules {
            receiving,
            sending: Sending {
                peer: peer(host, smtp_port, security),
                account: truth("smtp_login", true).then_some(for_sending),
                reports: truth("reports", false),
            },
            reading: Reading {
                backend: settings.name.as_str().into(),
                own,
                domain: domain.clone(),
                stripping: Stripping {
                    quotes: truth("strip_quotes", true),
                    signature: truth("strip_signature", true),
                },
                text_limit: options.count("text_limit").unwrap_or(4000),
                name_attachments: text("attachments") != Some("ignore"),
                subject: match text("subject_as_text") {
                    Some("no") => SubjectAs::Nothing,
                    Some("always") => SubjectAs::FirstLine,
                    _ => SubjectAs::TextIfEmpty,
                },
                allowed: list("allow_senders"),
                denied: list("deny_senders"),
            },
            writing: Writing { from, domain, subject: text("subject").unwrap_or_default().to_string() },
            warnings,
        })
    }
}

/// The sender of mails: `from`, else the account's name; one of this machine's own accounts needs no domain.
fn sender(from: Option<&str>, username: &str, smtp_host: &str) -> Result<Mailbox, BackendError> {
    let local = format!("{username}@localhost");
    let (key, written) = match from {
        Some(from) => ("from", from),
        None if !username.contains('@') && is_this_machine(smtp_host) => ("username", local.as_str()),
        None => ("username", username),
    };
    written.parse().map_err(|error| {
        let hint = "write from = \"sms@example.org\", or \"Clinic <sms@example.org>\"";
        wrong(
            key,
            &format!("{written:?} is no mail address ({error}), so mails would have no sender; {hint}"),
        )
    })
}

fn is_this_machine(host: &str) -> bool {
    let address = host.trim_matches(['[', ']']).parse::<IpAddr>();
    host.eq_ignore_ascii_case("localhost") || address.is_ok_and(|address| address.is_loopback())
}

fn wrong(key: &str, why: &str) -> BackendError {
    BackendError::Refused(format!("{key} in the settings: {why}"))
}
