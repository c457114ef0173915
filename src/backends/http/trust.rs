//! Whom we believe: decisions about one request, before anything of it is read. Pure.
//!
//! Everything that the settings name must hold: an address, a secret, a login, a signature with a time that is not too old. All comparisons take the
//! same time wherever the first difference is. Behind a proxy the address is the proxy's: no header is believed about that.

use std::time::Duration;

use base64::Engine as _;

use super::field::Field;
use super::given::{Given, wrong};
use super::sign::Manner;
use super::template::{Place, Template, Value, Values};
use crate::backends::BackendError;
use crate::http::secret::is_equal;
use crate::http::{Request, Response, form};
use crate::settings::{Network, Secret};
use crate::time::Timestamp;

/// More addresses than any gateway has.
const MOST_ADDRESSES: usize = 256;
/// How far a signed time may be away when the settings do not say.
const TOLERANCE: Duration = Duration::from_secs(300);

/// What a request must show.
#[derive(Clone, Debug)]
pub struct Trust {
    addresses: Vec<Network>,
    secret: Option<(Secret, Shown)>,
    login: Option<(Option<String>, Secret)>,
    signature: Option<Signature>,
}

#[derive(Clone, Debug)]
enum Shown {
    Query(String),
    Header(String),
    Path(usize),
    Bearer,
}

#[derive(Clone, Debug)]
struct Signature {
    key: Secret,
    header: String,
    of: Template,
    manner: Manner,
    time: Option<(String, Duration)>,
}

impl Trust {
    /// Reads the settings.
    pub fn of(given: &Given<'_>) -> Result<Trust, BackendError> {
        let written = given.list("incoming_addresses");
        if written.len() > MOST_ADDRESSES {
            return Err(wrong("incoming_addresses", format!("more than {MOST_ADDRESSES}")));
        }
        let addresses = written.iter().map(|text| {
            Network::parse(text).ok_or_else(|| wrong("incoming_addresses", Network::explain(text)))
        });
        let secret = match (given.secret("incoming_secret"), given.text("incoming_secret_in")) {
            (None, None) => None,
            (None, Some(_)) => return Err(wrong("incoming_secret_in", "it needs incoming_secret beside it")),
            (Some(secret), place) => {
                let place =
                    Shown::read(place.unwrap_or("bearer")).map_err(|why| wrong("incoming_secret_in", why))?;
                Some((secret.clone(), place))
            }
        };
        let login = match (given.text("incoming_username"), given.secret("incoming_password")) {
            (None, None) => None,
            (Some(_), None) => {
                return Err(wrong("incoming_username", "it needs incoming_password beside it"));
            }
            (username, Some(password)) => Some((username.map(str::to_string), password.clone())),
        };
        let signature =
            given.secret("incoming_signing_secret").map(|key| Signature::of(given, key)).transpose()?;
        Ok(Trust { addresses: addresses.collect::<Result<_, _>>()?, secret, login, signature })
    }

    /// Whether the settings name anything at all; else the listener's own rules hold.
    pub fn is_given(&self) -> bool {
        !self.addresses.is_empty()
            || self.secret.is_some()
            || self.login.is_some()
            || self.signature.is_some()
    }

    /// Whether this request is believed; otherwise the answer to it, which does not tell a guesser how close they came.
    pub fn check(&self, request: &Request, rest: &[&str], now: Timestamp) -> Result<(), Response> {
        // A Unix socket is this machine's own user, who has no address and may read the settings anyway.
        if let (Some(peer), false) = (request.peer(), self.addresses.is_empty())
            && !self.addresses.iter().any(|net| net.contains(peer.ip()))
        {
            return Err(Response::error(403, "messages are not taken from this address"));
        }
        if let Some((secret, place)) = &self.secret {
            let given = place.find(request, rest).unwrap_or_default();
            if !is_equal(given.as_bytes(), secret.expose()) {
                return Err(Response::error(403, "the secret of this backend is missing or wrong"));
            }
        }
        if let Some((username, password)) = &self.login
            && !is_login(request, username.as_deref(), password)
        {
            let answer = Response::error(401, "the login of this backend is missing or wrong");
            return Err(answer.header("WWW-Authenticate", "Basic realm=\"rapidsms\", charset=\"UTF-8\""));
        }
        match &self.signature {
            Some(signature) => signature.check(request, now),
            None => Ok(()),
        }
    }
}

impl Shown {
    fn read(text: &str) -> Result<Shown, String> {
        if text.trim() == "bearer" {
            return Ok(Shown::Bearer);
        }
        if let Some(name) = text.trim().strip_prefix("query ").map(str::trim).filter(|name| !name.is_empty())
        {
            return Ok(Shown::Query(name.to_string()));
        }
        match Field::read(text)? {
            Field::Header(name) => Ok(Shown::Header(name)),
            Field::Path(piece) => Ok(Shown::Path(piece)),
            _ => Err("write \"query NAME\", \"header NAME\", \"path 0\" or \"bearer\"".into()),
        }
    }

    fn find(&self, request: &Request, rest: &[&str]) -> Option<String> {
        match self {
            Shown::Query(name) => {
                let pairs = form::pairs(request.query().as_bytes()).ok()?;
                form::field(&pairs, name).map(str::to_string)
            }
            Shown::Header(name) => request.header(name).map(str::to_string),
            Shown::Path(piece) => rest.get(*piece).map(|piece| piece.to_string()),
            Shown::Bearer => {
                let (scheme, token) = request.header("authorization")?.trim().split_once(' ')?;
                scheme.eq_ignore_ascii_case("bearer").then(|| token.trim().to_string())
            }
        }
    }
}

/// RFC 7617, clause 2. Without a name in the settings any name is right.
fn is_login(request: &Request, username: Option<&str>, password: &Secret) -> bool {
    let pair = || {
        let (scheme, given) = request.header("authorization")?.trim().split_once(' ')?;
        if !scheme.eq_ignore_ascii_case("basic") {
            return None;
        }
        let pair = base64::engine::general_purpose::STANDARD.decode(given.trim()).ok()?;
        let colon = pair.iter().position(|octet| *octet == b':')?;
        Some((pair[..colon].to_vec(), pair[colon + 1..].to_vec()))
    };
    let (name, word) = pair().unwrap_or_default();
    // Both are compared in any case, so that the time does not tell which of them is wrong.
    let named = username.is_none_or(|username| is_equal(&name, username));
    is_equal(&word, password.expose()) && named
}

impl Signature {
    fn of(given: &Given<'_>, key: &Secret) -> Result<Signature, BackendError> {
        let header = |key: &str, usual: Option<&str>| match given.text(key).or(usual) {
            Some(name) if !crate::http::is_token(name) => {
                Err(wrong(key, format!("{name:?} is no name of a header")))
            }
            name => Ok(name.map(str::to_string)),
        };
        let of = given.text("incoming_signature_of").unwrap_or("{body}");
        let knows = |name: &str| matches!(name, "body" | "timestamp" | "method" | "path" | "query");
        let of =
            Template::read(of, Place::Text, &knows).map_err(|why| wrong("incoming_signature_of", why))?;
        let time = header("incoming_timestamp", None)?;
        if of.names("timestamp") && time.is_none() {
            return Err(wrong(
                "incoming_signature_of",
                "{timestamp} needs incoming_timestamp: the header that holds it",
            ));
        }
        let tolerance = given.duration("incoming_tolerance").unwrap_or(TOLERANCE);
        Ok(Signature {
            key: key.clone(),
            header: header("incoming_signature", Some("X-Signature"))?.unwrap_or_default(),
            of,
            manner: Manner::of(given, "incoming_signature_algorithm", "incoming_signature_encoding")?,
            time: time.map(|header| (header, tolerance)),
        })
    }

    fn check(&self, request: &Request, now: Timestamp) -> Result<(), Response> {
        let denied = |sentence: &str| Err(Response::error(403, sentence));
        let signed = self
            .of
            .fill_plain(&Signed { request, time: self.time.as_ref().map(|(header, _)| header.as_str()) });
        // A body that is no UTF-8 was changed by being read as text; it is signed as it is where it stands alone.
        let octets = if self.of == only_body() { request.body() } else { signed.as_bytes() };
        let given = request.header(&self.header).unwrap_or_default();
        if !self.manner.is_signature(given, self.key.expose(), octets) {
            return denied("the signature is missing or wrong");
        }
        let Some((header, tolerance)) = &self.time else { return Ok(()) };
        let Some(at) = request.header(header).and_then(super::inbound::time) else {
            return denied("the time of the signature is missing or cannot be read");
        };
        if now.since(at).max(at.since(now)) > *tolerance {
            return denied("the time of the signature is too far from ours: look at both clocks");
        }
        Ok(())
    }
}

fn only_body() -> Template {
    // It is known, so this cannot fail; and if it did, nothing would be equal to it.
    Template::read("{body}", Place::Text, &|_| true).unwrap_or(Template::literal("", Place::Text))
}

struct Signed<'r> {
    request: &'r Request,
    time: Option<&'r str>,
}

impl Values for Signed<'_> {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        let request = self.request;
        Some(match name {
            "body" => Value::text(String::from_utf8_lossy(request.body())),
            "timestamp" => Value::text(request.header(self.time?)?),
            "method" => Value::text(request.method()),
            "path" => Value::text(request.path()),
            "query" => Value::text(request.query()),
            _ => return None,
        })
    }
}
