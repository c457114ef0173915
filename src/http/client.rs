//! An HTTP/1.1 client for engines: one request out, one bounded answer or a [`Trouble`] back (RFC 9110, RFC 9112).
//!
//! What it never does: follow a redirect (a 3xx is an answer), obey a proxy from the environment, take 4xx or 5xx for
//! a failure, read more than [`Rules::answer_limit`], wait longer than [`Rules::timeout`] in all (a peer that sends a byte now and
//! then included), send a header with a line end in it, trust a certificate that does not fit, or try a request twice: what
//! broke after the first octet of the request left is [`Trouble::Unanswered`], whatever the method, because a gateway sends its SMS on GET too.
//! That holds for a kept connection that its peer closed in the same instant as well; to make this rare, connections are kept
//! for a second only and looked at before they are used again.
//!
//! The protocol is the crate ureq's. The connections are our own, because the one question that matters here is its blind spot: whether anything of
//! the request can have arrived. So names are resolved, connections made and TLS is agreed on before the request is begun, and what fails
//! until then says so by its type. No sentence of this file holds more of an address than scheme, host and port: the rest may hold a password.

use std::fmt;
use std::io::{self, Read};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ureq::http::Request;

use super::is_token;
use wire::{BUFFER, Door, Names, Unreached, unreached};

mod wire;

/// An unused connection is kept for this long: under load it saves a handshake for each message, and no server closes one so soon.
const KEPT: Duration = Duration::from_secs(1);
/// So many unused connections are kept.
const MOST_KEPT: usize = 64;
/// The longest head of an answer.
const LONGEST_HEAD: usize = 32 * 1024;
/// The longest address that a request may go to.
const LONGEST_URL: usize = 256 * 1024;

/// How a [`Client`] behaves.
#[derive(Clone, Debug)]
pub struct Rules {
    /// How long a whole call may take, from the name to the last octet of the answer.
    pub timeout: Duration,
    /// How long it may take to find the peer, connect and agree on TLS.
    pub connect_timeout: Duration,
    /// Certificates (PEM) that are trusted instead of the bundled ones of the public web.
    pub ca_file: Option<PathBuf>,
    /// How much of an answer's body is read.
    pub answer_limit: usize,
}

/// Makes calls, from any number of threads at once.
pub struct Client {
    agent: ureq::Agent,
    rules: Rules,
}

/// One request.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// `GET`, `POST`, ...
    pub method: String,
    /// Where to, with `http://` or `https://`; what is not plain ASCII must be percent-encoded already.
    pub url: String,
    /// Headers besides those that frame the message.
    pub headers: Vec<(String, String)>,
    /// The body; `None` sends no `Content-Length` either.
    pub body: Option<Vec<u8>>,
}

/// What the peer answered.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// The headers, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body, or its beginning.
    pub body: Vec<u8>,
    /// The body is not all: it was longer than allowed, or it broke off.
    pub cut: bool,
}

/// Why there is no answer, with a sentence for people.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Trouble {
    /// Nothing of the request can have reached the peer.
    Unreached(String),
    /// The request was begun, so the peer may have acted upon it.
    Unanswered(String),
}

impl Client {
    /// A client. It opens nothing but the file of certificates.
    pub fn new(rules: &Rules) -> Result<Client, String> {
        let config = ureq::Agent::config_builder()
            .timeout_global(Some(rules.timeout))
            .timeout_resolve(Some(rules.connect_timeout))
            .timeout_connect(Some(rules.connect_timeout))
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .proxy(None)
            .max_response_header_size(LONGEST_HEAD)
            .input_buffer_size(BUFFER)
            .output_buffer_size(BUFFER)
            .max_idle_connections(MOST_KEPT)
            .max_idle_connections_per_host(MOST_KEPT)
            .max_idle_age(KEPT)
            .allow_non_standard_methods(true)
            .user_agent(concat!("rapidsms/", env!("CARGO_PKG_VERSION")))
            .build();
        let door = Door { tls: Arc::new(wire::tls(rules.ca_file.as_deref())?) };
        let agent = ureq::Agent::with_parts(config, door, Names::default());
        Ok(Client { agent, rules: rules.clone() })
    }

    /// Makes one call and waits for its answer, within the time-outs.
    pub fn ask(&self, call: &Call) -> Result<Answer, Trouble> {
        call.check().map_err(Trouble::Unreached)?;
        let begun = Instant::now();
        let answered = match &call.body {
            None => call.request(()).and_then(|request| self.agent.run(request)),
            Some(body) => call.request(body.as_slice()).and_then(|request| self.agent.run(request)),
        };
        let answer = answered.map_err(|error| self.trouble(call, &error))?;
        let (parts, body) = answer.into_parts();
        let named = |(name, value): (&ureq::http::HeaderName, &ureq::http::HeaderValue)| {
            (name.as_str().to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        let mut answer = Answer {
            status: parts.status.as_u16(),
            headers: parts.headers.iter().map(named).collect(),
            ..Answer::default()
        };
        let until = begun.checked_add(self.rules.timeout);
        answer.cut = !read(&mut body.into_reader(), &mut answer.body, self.rules.answer_limit, until);
        Ok(answer)
    }

    fn trouble(&self, call: &Call, error: &ureq::Error) -> Trouble {
        let place = place(&call.url);
        if let ureq::Error::Other(other) = error
            && let Some(Unreached(why)) = other.downcast_ref()
        {
            return Trouble::Unreached(format!("{place} could not be reached: {why}"));
        }
        Trouble::Unanswered(format!(
            "{place} was asked and gave no usable answer: {}",
            words(error, self.rules.timeout)
        ))
    }
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("rules", &self.rules).finish_non_exhaustive()
    }
}

impl Call {
    /// A request without headers and body.
    pub fn new(method: impl Into<String>, url: impl Into<String>) -> Call {
        Call { method: method.into(), url: url.into(), headers: Vec::new(), body: None }
    }

    /// Whether it can be sent as it is meant; a sentence when not.
    pub fn check(&self) -> Result<(), String> {
        if !is_token(&self.method) {
            return Err(format!("{:?} is no HTTP method", self.method));
        }
        let scheme = self.url.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        if !matches!(scheme.as_deref(), Some("http" | "https")) {
            return Err("the address of the request does not begin with http:// or https://".into());
        }
        if self.url.len() > LONGEST_URL {
            return Err(format!("the address of the request is longer than {LONGEST_URL} characters"));
        }
        if !self.url.bytes().all(|octet| octet.is_ascii_graphic()) {
            return Err("the address of the request holds characters that must be percent-encoded".into());
        }
        let frames = ["content-length", "transfer-encoding", "connection", "expect", "upgrade", "trailer"];
        for (name, value) in &self.headers {
            if !is_token(name) {
                return Err(format!("{name:?} is no name of a header"));
            }
            if frames.iter().any(|own| name.eq_ignore_ascii_case(own)) {
                return Err(format!("the header {name} frames the message and cannot be chosen"));
            }
            if !value.bytes().all(|octet| octet == b'\t' || (octet >= b' ' && octet != 0x7f)) {
                return Err(format!(
                    "the value of the header {name} holds a line end or another control character"
                ));
            }
        }
        Ok(())
    }

    fn request<B>(&self, body: B) -> Result<Request<B>, ureq::Error> {
        let mut request = Request::builder().method(self.method.as_str()).uri(self.url.as_str());
        for (name, value) in &self.headers {
            request = request.header(name.as_str(), value.as_bytes());
        }
        // Nothing was begun yet.
        request.body(body).map_err(|error| unreached(format!("it cannot be put as a request ({error})")))
    }
}

/// Headers, query and body may hold secrets.
impl fmt::Debug for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Call")
            .field("method", &self.method)
            .field("place", &place(&self.url))
            .field("headers", &names)
            .field("body", &self.body.as_ref().map(Vec::len))
            .finish()
    }
}

impl Answer {
    /// The first header of that name (any case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }
}

impl Trouble {
    /// The sentence.
    pub fn why(&self) -> &str {
        match self {
            Trouble::Unreached(why) | Trouble::Unanswered(why) => why,
        }
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.why())
    }
}

impl std::error::Error for Trouble {}

/// Scheme, host and port of an address: all of it that may be shown.
pub fn place(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return "the address".into() };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    let host: String = host.chars().filter(|letter| !letter.is_control()).take(300).collect();
    format!("{}://{host}", scheme.to_ascii_lowercase())
}

/// `false` when there was more, or what there was did not come.
fn read(body: &mut impl Read, into: &mut Vec<u8>, limit: usize, until: Option<Instant>) -> bool {
    let mut piece = [0; 8192];
    loop {
        if until.is_some_and(|until| Instant::now() >= until) {
            return false;
        }
        match body.read(&mut piece) {
            Ok(0) => return true,
            Ok(count) => {
                let room = limit.saturating_sub(into.len());
                into.extend_from_slice(&piece[..count.min(room)]);
                if count > room {
                    return false;
                }
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// The error in words. Those of ureq may hold the whole address.
fn words(error: &ureq::Error, whole: Duration) -> String {
    match error {
        ureq::Error::Timeout(_) => format!("its time was over ({whole:?} for a whole call)"),
        ureq::Error::Io(error) => match error.kind() {
            io::ErrorKind::UnexpectedEof => "it closed the connection".into(),
            io::ErrorKind::ConnectionReset => "it reset the connection".into(),
            io::ErrorKind::BrokenPipe => "it closed the connection while it was written to".into(),
            _ => error.to_string(),
        },
        ureq::Error::Protocol(error) => format!("what it sent is no HTTP answer ({error})"),
        ureq::Error::LargeResponseHeader(..) => {
            format!("the head of its answer is longer than {LONGEST_HEAD} octets")
        }
        _ => "the exchange failed".into(),
    }
}
