//! The hand that sends (RFC 5321): one mail after the other over one connection, and what the server's answers mean.
//!
//! The commands, the answers and the address rules are lettre's; the connection is ours, because a stop and a deadline must reach it. What may have
//! left is known at every instant: before the final dot nothing has, after it only the server's answer tells.

use super::Health;
use super::rules::{Account, Security, Sending};
use super::stream::{Leash, Stream, Wake, trust};
use super::write::{Composed, Thread, Writing, compose, thread_of};
use crate::backends::{BackendError, Line, Mail};
use crate::message::{Outgoing, Receipt, SendFailure};
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::commands::{Auth, Data, Ehlo, Mail as MailFrom, Quit, Rcpt, Starttls};
use lettre::transport::smtp::extension::{
    ClientId, Extension, MailBodyParameter, MailParameter, RcptParameter, ServerInfo,
};
use lettre::transport::smtp::response::{Response, Severity};
use rustls::ClientConfig;
use std::fmt::Display;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// The longest line and the most lines of an answer.
const LINE_LIMIT: usize = 2048;
const LINES_LIMIT: usize = 100;
/// So many octets of answers may come in one step.
const ANSWER_LIMIT: u64 = 64 * 1024;
/// The answer to a whole mail may take so many times the usual: servers look at mails before they take them (RFC 5321, 4.5.3.2.6).
const PATIENCE: u32 = 10;
/// A connection is kept so long for the next mail.
const KEEP: Duration = Duration::from_secs(5);
/// So many mails go over one connection.
const MAILS_LIMIT: u32 = 50;
/// A mail that is under way at a stop may take so much longer.
const GRACE: Duration = Duration::from_secs(6);

/// Why a step did not succeed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// The connection: it could not be made, or it is gone. Nothing about the mail.
    Connection(String),
    /// The server refuses the name or the password.
    Login(String),
    /// The server's verdict on this mail.
    Verdict(SendFailure),
}

/// What the hand goes by.
pub struct Hand<'a> {
    /// The server.
    pub sending: &'a Sending,
    /// The mails.
    pub writing: &'a Writing,
    /// Whether this hand says that messages can be sent; else the one that receives does.
    pub alone: bool,
    /// What is said of both hands.
    pub health: &'a Health,
}

/// Sends until it is time to stop.
pub fn run(line: &Line, hand: &Hand<'_>) -> Result<(), BackendError> {
    let wake = Wake::new(line, Some(GRACE))?;
    let peer = &hand.sending.peer;
    let trust = trust(peer)?;
    // Whether it can be reached and logged in to is known before the first mail.
    let mut session = match Session::open(&wake, hand.sending, &trust) {
        Ok(session) => Some(session),
        Err(Trouble::Login(why)) => return Err(BackendError::Refused(why)),
        Err(trouble) => {
            let why = trouble.sentence();
            if hand.alone {
                return Err(BackendError::Lost(why));
            }
            log::warn!("backend {}: sending does not work at the moment: {why}", line.name());
            hand.health.sends(line, Some(&why));
            None
        }
    };
    if hand.alone {
        hand.health.receives(line, format!("sending by {} port {}", peer.host, peer.port));
    }
    // A password that has worked may be refused by mistake later.
    let mut has_worked = session.is_some();
    let mut troubled = session.is_none();
    loop {
        match line.next(session.is_some().then_some(KEEP)) {
            Mail::Nothing => close(&mut session),
            Mail::Stop => {
                close(&mut session);
                return Ok(());
            }
            Mail::Send(outgoing) => {
                let result = attempt(&wake, hand, &trust, &mut session, &outgoing);
                if troubled && matches!(result, Ok(_) | Err(Trouble::Verdict(_))) {
                    (troubled, has_worked) = (false, true);
                    hand.health.sends(line, None);
                }
                match result {
                    Ok(receipt) => line.sent(outgoing.id, Ok(receipt)),
                    Err(Trouble::Verdict(failure)) => line.sent(outgoing.id, Err(failure)),
                    Err(Trouble::Connection(why)) => {
                        troubled = true;
                        hand.health.sends(line, Some(&why));
                        line.sent(outgoing.id, Err(SendFailure::Temporary(why)));
                    }
                    Err(Trouble::Login(why)) => {
                        line.sent(outgoing.id, Err(SendFailure::Untried(why.clone())));
                        // Then it is given once more, at the next start.
                        return Err(match has_worked {
                            true => BackendError::Lost(why),
                            false => BackendError::Refused(why),
                        });
                    }
                }
            }
        }
    }
}

fn attempt<'a>(
    wake: &'a Wake<'a>,
    hand: &Hand<'_>,
    trust: &Arc<ClientConfig>,
    session: &mut Option<Session<'a>>,
    outgoing: &Outgoing,
) -> Result<Receipt, Trouble> {
    let never = |why| Trouble::Verdict(SendFailure::Permanent(why));
    let composed = compose_for(outgoing, hand.writing, SystemTime::now()).map_err(never)?;
    let report = outgoing.wishes.report.unwrap_or(hand.sending.reports);
    if let Some(mut open) = session.take() {
        match open.send(&composed, report) {
            // A server may close a connection that was idle; nothing of this mail was said yet.
            Err(Trouble::Connection(_)) => {}
            result => {
                *session = open.kept(&result);
                return result;
            }
        }
    }
    let mut fresh = Session::open(wake, hand.sending, trust)?;
    let result = fresh.send(&composed, report);
    *session = fresh.kept(&result);
    result
}

/// The mail of a message, as an answer where it is one.
pub fn compose_for(outgoing: &Outgoing, writing: &Writing, now: SystemTime) -> Result<Composed, String> {
    let thread: Option<Thread> =
        outgoing.answered.as_deref().and_then(|stored| thread_of(stored, &outgoing.connection.identity));
    compose(outgoing, thread.as_ref(), writing, now)
}

fn close(session: &mut Option<Session<'_>>) {
    if let Some(mut session) = session.take() {
        // Whether it hears the farewell matters to nobody.
        session.leash.lasting(Duration::from_secs(1), ANSWER_LIMIT);
        let _ = session.command(&Quit);
    }
}

/// A connection on which mails can be sent.
struct Session<'a> {
    stream: Stream<'a>,
    leash: Leash,
    server: ServerInfo,
    /// Keywords that lettre does not know.
    keywords: Vec<String>,
    host: String,
    mails: u32,
}

impl<'a> Session<'a> {
    fn open(
        wake: &'a Wake<'a>,
        sending: &Sending,
        trust: &Arc<ClientConfig>,
    ) -> Result<Session<'a>, Trouble> {
        let peer = &sending.peer;
        let leash = Leash::new(peer.timeout);
        let stream = Stream::connect(wake, peer, &leash, trust).map_err(Trouble::Connection)?;
        let mut session = Session {
            stream,
            leash,
            server: ServerInfo::default(),
            keywords: Vec::new(),
            host: peer.host.clone(),
            mails: 0,
        };
        session.leash.step(ANSWER_LIMIT);
        let greeting = session.answer()?;
        session.expect(&greeting, "its greeting")?;
        session.hello()?;
        if peer.security == Security::StartTls {
            if !session.server.supports_feature(Extension::StartTls) {
                return Err(Trouble::Connection(format!(
                    "{} offers no STARTTLS at port {}, and without TLS nothing is said to it: \
                     try smtp_port 587 or 465, or tls = \"off\" if it is trusted and near",
                    peer.host, peer.port
                )));
            }
            let ready = session.command(&Starttls)?;
            session.expect(&ready, "STARTTLS")?;
            session.stream = session.stream.secure(peer, trust).map_err(Trouble::Connection)?;
            // What was said before TLS counts no more (RFC 3207, 4.2).
            session.hello()?;
        }
        if let Some(account) = &sending.account {
            session.login(account)?;
        }
        Ok(session)
    }

    fn hello(&mut self) -> Result<(), Trouble> {
        let answer = self.command(&Ehlo::new(ClientId::default()))?;
        self.expect(&answer, "EHLO")?;
        self.keywords = answer
            .message()
            .skip(1)
            .filter_map(|line| line.split_whitespace().next())
            .map(str::to_ascii_uppercase)
            .collect();
        self.server = ServerInfo::from_response(&answer)
            .map_err(|error| Trouble::Connection(format!("{} greets strangely: {error}", self.host)))?;
        Ok(())
    }

    fn login(&mut self, account: &Account) -> Result<(), Trouble> {
        let ways = [Mechanism::Plain, Mechanism::Login];
        let Some(way) = self.server.get_auth_mechanism(&ways) else {
            return Err(Trouble::Login(format!(
                "{} offers no login by name and password for sending: write smtp_login = false if it needs none, \
                 or use its port for mail programs, mostly 587",
                self.host
            )));
        };
        let credentials = Credentials::new(account.username.clone(), account.password.expose().to_string());
        let odd = |error: &dyn Display| Trouble::Connection(format!("the login failed: {error}"));
        let first = Auth::new(way, credentials.clone(), None).map_err(|error| odd(&error))?;
        let mut answer = self.command(&first)?;
        // The way LOGIN asks twice.
        for _ in 0..3 {
            if !answer.has_code(334) {
                break;
            }
            let next =
                Auth::new_from_response(way, credentials.clone(), &answer).map_err(|error| odd(&error))?;
            answer = self.command(&next)?;
        }
        match answer.code().severity {
            Severity::PositiveCompletion => Ok(()),
            // 421 and 454 tell of the server, not of the password.
            Severity::TransientNegativeCompletion => Err(Trouble::Connection(format!(
                "{} cannot log anybody in at the moment: {}",
                self.host,
                said(&answer)
            ))),
            _ => Err(Trouble::Login(format!(
                "{} refuses the login of {} for sending: {}; see username and password, or smtp_username and smtp_password",
                self.host,
                account.username,
                said(&answer)
            ))),
        }
    }

    /// Sends one mail. [`Trouble::Connection`] only before the server took a word of it.
    fn send(&mut self, composed: &Composed, report: bool) -> Result<Receipt, Trouble> {
        self.mails += 1;
        let answer = self.command(&self.sender(composed, report)?)?;
        self.judge(&answer, "the sender")?;
        let answer = self.command(&self.receiver(composed, report)).map_err(before_the_dot)?;
        self.judge(&answer, "the receiver")?;
        let answer = self.command(&Data).map_err(before_the_dot)?;
        if !answer.has_code(354) {
            self.judge(&answer, "the mail")?;
            let why = format!("{} wants no mail after DATA: {}", self.host, said(&answer));
            return Err(Trouble::Verdict(SendFailure::Temporary(why)));
        }
        self.leash.lasting(self.leash.length() * PATIENCE, ANSWER_LIMIT);
        let mut octets = stuffed(&composed.octets);
        octets.extend_from_slice(b".\r\n");
        let unsure =
            |why: String| Trouble::Verdict(SendFailure::Unsure(format!("the mail may have left: {why}")));
        self.stream
            .write_all(&octets)
            .and_then(|()| self.stream.flush())
            .map_err(|error| unsure(format!("{} was gone within it: {error}", self.host)))?;
        let answer = match self.answer() {
            Ok(answer) => answer,
            Err(trouble) => return Err(unsure(trouble.sentence())),
        };
        self.judge(&answer, "the mail")?;
        Ok(Receipt { remote_ids: vec![composed.name.clone()], parts: None, note: Some(said(&answer)) })
    }

    fn sender(&self, composed: &Composed, report: bool) -> Result<MailFrom, Trouble> {
        let mut parameters = Vec::new();
        let is_ascii = |address: &lettre::Address| AsRef::<str>::as_ref(address).is_ascii();
        if !is_ascii(&composed.from) || !is_ascii(&composed.to) {
            if !self.server.supports_feature(Extension::SmtpUtfEight) {
                let why =
                    format!("{} cannot send to addresses with letters beyond ASCII (no SMTPUTF8)", self.host);
                return Err(Trouble::Verdict(SendFailure::Permanent(why)));
            }
            parameters.push(MailParameter::SmtpUtfEight);
        }
        if self.server.supports_feature(Extension::EightBitMime) {
            parameters.push(MailParameter::Body(MailBodyParameter::EightBitMime));
        }
        if self.offers("SIZE") {
            parameters.push(MailParameter::Size(composed.octets.len()));
        }
        if self.offers("DSN") {
            // A report then names our message even when nothing of the mail is returned (RFC 3461, 4.4).
            let name = composed.name.trim_matches(['<', '>']);
            let id = name.split('@').next().unwrap_or(name).to_string();
            parameters.push(other_mail("ENVID", id));
            if report {
                parameters.push(other_mail("RET", "HDRS".into()));
            }
        }
        Ok(MailFrom::new(Some(composed.from.clone()), parameters))
    }

    fn receiver(&self, composed: &Composed, report: bool) -> Rcpt {
        let mut parameters = Vec::new();
        if report && self.offers("DSN") {
            let value = Some("SUCCESS,FAILURE,DELAY".to_string());
            parameters.push(RcptParameter::Other { keyword: "NOTIFY".into(), value });
        }
        Rcpt::new(composed.to.clone(), parameters)
    }

    fn offers(&self, keyword: &str) -> bool {
        self.keywords.iter().any(|offered| offered == keyword)
    }

    fn command(&mut self, command: &dyn Display) -> Result<Response, Trouble> {
        self.leash.step(ANSWER_LIMIT);
        let text = command.to_string();
        self.stream
            .write_all(text.as_bytes())
            .and_then(|()| self.stream.flush())
            .map_err(|error| Trouble::Connection(format!("{} is gone: {error}", self.host)))?;
        self.answer()
    }

    fn answer(&mut self) -> Result<Response, Trouble> {
        let gone =
            |host: &str, why: &dyn Display| Trouble::Connection(format!("{host} gave no answer: {why}"));
        let mut text = String::new();
        for _ in 0..LINES_LIMIT {
            let line = self.stream.read_line(LINE_LIMIT).map_err(|error| gone(&self.host, &error))?;
            let line = String::from_utf8_lossy(&line).replace(|letter: char| letter.is_control(), " ");
            text.push_str(&line);
            text.push_str("\r\n");
            if line.as_bytes().get(3) != Some(&b'-') {
                return text.parse().map_err(|_| {
                    Trouble::Connection(format!(
                        "{} does not speak SMTP: it says {:?}",
                        self.host,
                        short(&text)
                    ))
                });
            }
        }
        Err(gone(&self.host, &"it has too many lines"))
    }

    /// What a connection's answer must be; what is wrong with it is not a mail's fault.
    fn expect(&self, answer: &Response, to: &str) -> Result<(), Trouble> {
        if answer.is_positive() {
            return Ok(());
        }
        Err(Trouble::Connection(format!("{} refuses {to}: {}", self.host, said(answer))))
    }

    fn judge(&self, answer: &Response, what: &str) -> Result<(), Trouble> {
        verdict(answer).map_err(|failure| match failure {
            // The server wants a login after all (RFC 4954, 6).
            SendFailure::Permanent(why) if answer.has_code(530) || answer.has_code(538) => {
                Trouble::Login(format!("{} wants a login before it takes a mail: {why}", self.host))
            }
            SendFailure::Permanent(why) => {
                Trouble::Verdict(SendFailure::Permanent(format!("{} refuses {what}: {why}", self.host)))
            }
            SendFailure::Temporary(why) => {
                Trouble::Verdict(SendFailure::Temporary(format!("{} takes {what} not now: {why}", self.host)))
            }
            failure => Trouble::Verdict(failure),
        })
    }

    /// The same connection for the next mail, unless this one ended it.
    fn kept(self, result: &Result<Receipt, Trouble>) -> Option<Session<'a>> {
        // After a refusal the server still holds a half mail; a new connection is simpler than to take it back.
        (result.is_ok() && self.mails < MAILS_LIMIT).then_some(self)
    }
}

impl Trouble {
    /// In words.
    pub fn sentence(&self) -> String {
        match self {
            Trouble::Connection(why) | Trouble::Login(why) => why.clone(),
            Trouble::Verdict(
                SendFailure::Temporary(why)
                | SendFailure::Throttled(_, why)
                | SendFailure::Permanent(why)
                | SendFailure::Unsure(why)
                | SendFailure::Untried(why),
            ) => why.clone(),
        }
    }
}

/// What an answer means for a mail (RFC 5321, 4.2.1): 2 and 3 good, 4 later, 5 never.
pub fn verdict(answer: &Response) -> Result<(), SendFailure> {
    match answer.code().severity {
        Severity::PositiveCompletion | Severity::PositiveIntermediate => Ok(()),
        Severity::TransientNegativeCompletion => Err(SendFailure::Temporary(said(answer))),
        Severity::PermanentNegativeCompletion => Err(SendFailure::Permanent(said(answer))),
    }
}

/// The octets with a dot before each dot that begins a line (RFC 5321, 4.5.2). They end with CR LF, and hold no other CR or LF.
pub fn stuffed(octets: &[u8]) -> Vec<u8> {
    let mut stuffed = Vec::with_capacity(octets.len() + 16);
    for line in octets.split(|&octet| octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.starts_with(b".") {
            stuffed.push(b'.');
        }
        // A lone CR would be an end of a line to some servers, and only to some.
        stuffed.extend(line.iter().filter(|&&octet| octet != b'\r'));
        stuffed.extend_from_slice(b"\r\n");
    }
    if octets.ends_with(b"\n") {
        stuffed.truncate(stuffed.len() - 2);
    }
    stuffed
}

/// What happens before the final dot leaves no doubt: the mail is not sent.
fn before_the_dot(trouble: Trouble) -> Trouble {
    match trouble {
        Trouble::Connection(why) => Trouble::Verdict(SendFailure::Temporary(why)),
        trouble => trouble,
    }
}

fn other_mail(keyword: &str, value: String) -> MailParameter {
    MailParameter::Other { keyword: keyword.into(), value: Some(value) }
}

/// A server's words: the code and what follows.
fn said(answer: &Response) -> String {
    let words: Vec<&str> = answer.message().collect();
    short(&format!("SMTP {} {}", answer.code(), words.join(" ")))
}

fn short(text: &str) -> String {
    text.trim().chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(300).collect()
}
