//! From a message to the request that carries it. Pure: the same message, settings and time give the same octets.

use std::borrow::Cow;

use base64::Engine as _;

use super::given::{Given, Plain, wrong};
use super::sign::Manner;
use super::template::{Place, Template, Value, Values, hex};
use crate::backends::BackendError;
use crate::http::client::Call;
use crate::http::is_token;
use crate::message::Outgoing;
use crate::numbers::Numbering;
use crate::pdu::{self, Alphabet, Splitting};
use crate::settings::{BackendSettings, Secret};
use crate::time::Timestamp;

/// What stands for a secret in a request that is shown.
const MASK: &str = "***";

/// The names that can be put in, besides those of `secrets`.
pub const NAMES: &[(&str, &str)] = &[
    ("to", "the receiver"),
    ("to_plain", "the receiver without + and blanks"),
    ("to_national", "the receiver as dialled within country_code"),
    ("text", "the text"),
    ("text_hex", "the text as UTF-16 in hexadecimal digits"),
    ("id", "our name for the message, the same in each attempt"),
    ("in_response_to", "our name for the message that it answers"),
    ("attempt", "which attempt this is, from 1"),
    ("parts", "how many parts the text has as an SMS"),
    ("coding", "0 when the text fits the GSM alphabet, else 2"),
    ("unicode", "0 when the text fits the GSM alphabet, else 1"),
    ("validity_minutes", "how long it is worth sending"),
    ("validity_seconds", "the same in seconds"),
    ("now", "the time, as in RFC 3339"),
    ("timestamp", "the time in seconds since 1970"),
    ("from", "the key from"),
    ("backend", "the backend's name"),
    ("status_url", "the key status_url with its values"),
    ("username", "the key username"),
    ("password", "the key password"),
    ("token", "the key token"),
];

/// How one backend writes its requests.
#[derive(Clone, Debug)]
pub struct Writer {
    method: String,
    url: Template,
    query: Vec<(String, Template)>,
    headers: Vec<(String, Entry)>,
    body: Body,
    auth: Auth,
    status_url: Option<Template>,
    own: Own,
}

/// A table of the settings, in order.
type Entries = Vec<(String, Entry)>;

#[derive(Clone, Debug)]
enum Entry {
    Template(Template),
    Bare(serde_json::Value),
    /// Of a table's entry whose name looks like a secret's: put in like the others, and never shown.
    Secret(Template),
}

#[derive(Clone, Debug)]
enum Body {
    None,
    Form(Vec<(String, Entry)>),
    Json(Vec<(String, Entry)>),
    Raw(Template, String),
}

#[derive(Clone, Debug)]
enum Auth {
    None,
    Basic,
    Bearer,
    Header(String),
    Query(String),
    Signed { header: String, of: Template, manner: Manner },
}

/// What is the same for all messages.
#[derive(Clone, Debug)]
struct Own {
    backend: String,
    from: Option<String>,
    username: Option<String>,
    password: Option<Secret>,
    token: Option<Secret>,
    secrets: Vec<(String, Secret)>,
    numbering: Option<(Numbering, String, String)>,
}

/// One message's values.
struct OfMessage<'m> {
    own: &'m Own,
    outgoing: &'m Outgoing,
    now: Timestamp,
    masked: bool,
    status_url: Option<String>,
}

/// The values of a signature: the request as it stands.
struct OfRequest<'m> {
    message: &'m OfMessage<'m>,
    call: &'m Call,
}

impl Writer {
    /// Reads the settings; `None` when they say nowhere to send to.
    pub fn of(settings: &BackendSettings, given: &Given<'_>) -> Result<Option<Writer>, BackendError> {
        let own = Own::of(settings, given)?;
        let knows = |name: &str| own.knows(name);
        let Some(url) = address(given, &knows)? else { return Ok(None) };
        let read =
            |key: &str, text: &str, place| Template::read(text, place, &knows).map_err(|why| wrong(key, why));
        let status_url =
            given.text("status_url").map(|text| read("status_url", text, Place::Url)).transpose()?;
        let entries = |key: &str, place| entries(given, key, place, &own);
        let mut query = Vec::new();
        for (name, entry) in entries("query", Place::Url)?.unwrap_or_default() {
            match entry {
                Entry::Template(template) | Entry::Secret(template) => query.push((name, template)),
                Entry::Bare(value) => query.push((name, Template::literal(value.to_string(), Place::Url))),
            }
        }
        let headers = entries("headers", Place::Header)?.unwrap_or_default();
        if let Some((name, _)) = headers.iter().find(|(name, _)| !is_token(name)) {
            return Err(wrong("headers", format!("{name:?} is no name of a header")));
        }
        let body = body(given, &knows, &entries, &url, &query)?;
        let method = match (given.text("method"), &body) {
            (Some(method), _) if is_token(method) => method.to_ascii_uppercase(),
            (Some(method), _) => return Err(wrong("method", format!("{method:?} is no HTTP method"))),
            (None, Body::None) => "GET".to_string(),
            (None, _) => "POST".to_string(),
        };
        let auth = Auth::of(given, &own)?;
        let writer = Writer { method, url, query, headers, body, auth, status_url, own };
        if !writer.names("text") && !writer.names("text_hex") {
            let why = "nothing of the request holds {text}, so nobody would get anything: put it into the address, query, form, json or body";
            return Err(wrong("outgoing_url", why));
        }
        if given.boolean("idempotent") && !writer.names("id") {
            let why = "it says that the gateway knows a repeated message by our {id}, but {id} is in no part of the request";
            return Err(wrong("idempotent", why));
        }
        Ok(Some(writer))
    }

    /// Scheme, host and port of where messages go.
    pub fn place(&self) -> String {
        crate::http::client::place(self.url.beginning())
    }

    /// The request for one message. A masked one shows no secret and is for people's eyes.
    pub fn call(&self, outgoing: &Outgoing, now: Timestamp, masked: bool) -> Call {
        let mut values = OfMessage { own: &self.own, outgoing, now, masked, status_url: None };
        values.status_url = self.status_url.as_ref().map(|template| template.fill(&values));
        let values = values;
        let mut call = Call::new(&self.method, self.url.fill(&values));
        for (name, template) in &self.query {
            if !template.lacks(&values) {
                add_query(&mut call.url, name, &template.fill_plain(&values));
            }
        }
        for (name, entry) in &self.headers {
            if let Some(value) = entry.text(&values) {
                let value: String =
                    value.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
                call.headers.push((name.clone(), value));
            }
        }
        self.put_body(&mut call, &values);
        self.put_auth(&mut call, &values);
        call
    }

    /// All that must not be shown.
    pub fn secrets(&self) -> Vec<Secret> {
        let own = self.own.password.iter().chain(&self.own.token).cloned();
        own.chain(self.own.secrets.iter().map(|(_, secret)| secret.clone())).collect()
    }

    fn names(&self, wanted: &str) -> bool {
        let entry = |(_, entry): &(String, Entry)| matches!(entry, Entry::Template(template) | Entry::Secret(template) if template.names(wanted));
        self.url.names(wanted)
            || self.query.iter().any(|(_, template)| template.names(wanted))
            || self.headers.iter().any(entry)
            || match &self.body {
                Body::None => false,
                Body::Form(entries) | Body::Json(entries) => entries.iter().any(entry),
                Body::Raw(template, _) => template.names(wanted),
            }
    }

    fn put_body(&self, call: &mut Call, values: &OfMessage<'_>) {
        let (body, kind) = match &self.body {
            Body::None => return,
            Body::Form(entries) => {
                let mut form = form_urlencoded::Serializer::new(String::new());
                for (name, entry) in entries {
                    if let Some(value) = entry.text(values) {
                        form.append_pair(name, &value);
                    }
                }
                (form.finish(), "application/x-www-form-urlencoded")
            }
            Body::Json(entries) => {
                let pairs =
                    entries.iter().filter_map(|(name, entry)| Some((name.clone(), entry.json(values)?)));
                (serde_json::Value::Object(pairs.collect()).to_string(), "application/json")
            }
            Body::Raw(template, kind) => (template.fill(values), kind.as_str()),
        };
        call.body = Some(body.into_bytes());
        if !call.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type")) {
            call.headers.push(("Content-Type".into(), kind.into()));
        }
    }

    fn put_auth(&self, call: &mut Call, values: &OfMessage<'_>) {
        let secret = |name: &str| values.value(name).map(|value| value.text.into_owned()).unwrap_or_default();
        match &self.auth {
            Auth::None => {}
            Auth::Basic if values.masked => {
                call.headers.push(("Authorization".into(), format!("Basic {MASK}")))
            }
            Auth::Basic => {
                let pair = format!("{}:{}", secret("username"), secret("password"));
                let pair = base64::engine::general_purpose::STANDARD.encode(pair);
                call.headers.push(("Authorization".into(), format!("Basic {pair}")));
            }
            Auth::Bearer => {
                call.headers.push(("Authorization".into(), format!("Bearer {}", secret("token"))))
            }
            Auth::Header(name) => call.headers.push((name.clone(), secret("token"))),
            Auth::Query(name) => add_query(&mut call.url, name, &secret("token")),
            Auth::Signed { header, .. } if values.masked => call.headers.push((header.clone(), MASK.into())),
            Auth::Signed { header, of, manner } => {
                let key = values.own.token.as_ref().map(Secret::expose).unwrap_or_default();
                let signed = of.fill_plain(&OfRequest { message: values, call });
                let signature = manner.sign(key, signed.as_bytes());
                call.headers.push((header.clone(), signature));
            }
        }
    }
}

/// Where messages go: a template today, in RapidSMS 0.9 an address and a query.
fn address(given: &Given<'_>, knows: &dyn Fn(&str) -> bool) -> Result<Option<Template>, BackendError> {
    let read = |key: &str, text: &str| Template::read(text, Place::Url, knows).map_err(|why| wrong(key, why));
    let (key, url) = match (given.text("outgoing_url"), given.text("gateway_url")) {
        (Some(_), Some(_)) => {
            return Err(wrong("gateway_url", "outgoing_url is given as well: keep one of them"));
        }
        (None, None) => return Ok(None),
        (Some(url), None) => ("outgoing_url", read("outgoing_url", url)?),
        (None, Some(url)) => {
            let query = given.text("params_outgoing").unwrap_or("id=%(phone_number)s&text=%(message)s");
            let joint = if url.contains('?') { '&' } else { '?' };
            let base = Template::literal(format!("{}{joint}", encoded(url)), Place::Url);
            ("gateway_url", base.then(read("params_outgoing", query)?))
        }
    };
    let beginning = url.beginning();
    let authority = beginning.split_once("://").map(|(_, rest)| rest).unwrap_or_default();
    // The text or number of a person never decides where a request goes.
    if url.has_values() && !authority.contains(['/', '?', '#']) {
        return Err(wrong(key, "a value stands before the path: scheme, host and port must be fixed"));
    }
    if let Some((login, _)) = authority.split(['/', '?', '#']).next().unwrap_or_default().rsplit_once('@')
        && !login.is_empty()
    {
        return Err(wrong(key, "it holds a login: give username, password and auth = \"basic\" instead"));
    }
    Ok(Some(url))
}

/// What an address may not hold is encoded; what is encoded already stays.
fn encoded(url: &str) -> Cow<'_, str> {
    const FORBIDDEN: &percent_encoding::AsciiSet = &percent_encoding::CONTROLS
        .add(b' ')
        .add(b'"')
        .add(b'<')
        .add(b'>')
        .add(b'\\')
        .add(b'^')
        .add(b'`')
        .add(b'{')
        .add(b'|')
        .add(b'}');
    percent_encoding::utf8_percent_encode(url, FORBIDDEN).into()
}

fn body(
    given: &Given<'_>,
    knows: &dyn Fn(&str) -> bool,
    entries: &dyn Fn(&str, Place) -> Result<Option<Entries>, BackendError>,
    url: &Template,
    query: &[(String, Template)],
) -> Result<Body, BackendError> {
    let bodies =
        ["form", "json", "body"].map(|key| (key, given.table(key).is_some() || given.text(key).is_some()));
    if let [(first, _), (second, _), ..] = bodies.iter().filter(|(_, there)| *there).collect::<Vec<_>>()[..] {
        return Err(wrong(second, format!("{first} is given as well: a request has one body")));
    }
    if let Some(form) = entries("form", Place::Text)? {
        return Ok(Body::Form(form));
    }
    if let Some(json) = entries("json", Place::Text)? {
        return Ok(Body::Json(json));
    }
    if let Some(text) = given.text("body") {
        let kind = given.text("content_type").unwrap_or("text/plain; charset=utf-8");
        let lower = kind.to_ascii_lowercase();
        let place = match lower.split(';').next().unwrap_or_default().trim() {
            "application/x-www-form-urlencoded" => Place::Url,
            json if json == "application/json" || json.ends_with("+json") => Place::Json,
            xml if xml.ends_with("/xml") || xml.ends_with("+xml") => Place::Xml,
            _ => Place::Text,
        };
        return Ok(Body::Raw(
            Template::read(text, place, knows).map_err(|why| wrong("body", why))?,
            kind.to_string(),
        ));
    }
    // What the threadless router did, whatever its documents said: a form with the fields identity and text.
    let says_it_elsewhere = url.has_values() || !query.is_empty();
    let posts = matches!(given.text("method"), None | Some("POST" | "PUT"));
    if says_it_elsewhere || !posts {
        return Ok(Body::None);
    }
    let field = |name: &str, value: &str| {
        let template = Template::read(value, Place::Text, knows).map_err(|why| wrong("outgoing_url", why))?;
        Ok((name.to_string(), Entry::Template(template)))
    };
    Ok(Body::Form(vec![field("identity", "{to}")?, field("text", "{text}")?]))
}

fn entries(given: &Given<'_>, key: &str, place: Place, own: &Own) -> Result<Option<Entries>, BackendError> {
    let Some(table) = given.table(key) else { return Ok(None) };
    let read = |(name, value): (String, Plain)| {
        let entry = match value {
            Plain::Bare(value) => Entry::Bare(value),
            Plain::Text(text) => {
                let template = Template::read(&text, place, &|name| own.knows(name));
                Entry::Template(template.map_err(|why| wrong(key, format!("{name}: {why}")))?)
            }
            Plain::Secret(secret) => {
                let text = secret.expose();
                let template = Template::read(text, place, &|name| own.knows(name));
                // A password may look like a template with a name that nobody knows.
                Entry::Secret(template.unwrap_or_else(|_| Template::literal(text, place)))
            }
        };
        Ok((name, entry))
    };
    table.into_iter().map(read).collect::<Result<Vec<_>, _>>().map(Some)
}

impl Entry {
    /// Its text; `None` when a value that it names is missing.
    fn text(&self, values: &OfMessage<'_>) -> Option<String> {
        match self {
            Entry::Bare(value) => Some(value.to_string()),
            Entry::Secret(_) if values.masked => Some(MASK.into()),
            Entry::Secret(template) | Entry::Template(template) => {
                (!template.lacks(values)).then(|| template.fill_plain(values))
            }
        }
    }

    fn json(&self, values: &OfMessage<'_>) -> Option<serde_json::Value> {
        if let Entry::Bare(value) = self {
            return Some(value.clone());
        }
        if let Entry::Template(template) = self
            && let Some(value) = template.sole_value(values)
            && value.is_number
            && let Ok(number) = value.text.parse::<i64>()
        {
            return Some(number.into());
        }
        self.text(values).map(serde_json::Value::from)
    }
}

impl Auth {
    fn of(given: &Given<'_>, own: &Own) -> Result<Auth, BackendError> {
        let named = |usual: &str| given.text("auth_name").unwrap_or(usual).to_string();
        let header = |usual: &str| match named(usual) {
            name if is_token(&name) => Ok(name),
            name => Err(wrong("auth_name", format!("{name:?} is no name of a header"))),
        };
        let kind = given.text("auth").unwrap_or("none");
        let needs_token = matches!(kind, "bearer" | "header" | "query" | "hmac");
        if needs_token && own.token.is_none() {
            return Err(wrong("auth", format!("{kind:?} needs the key token")));
        }
        Ok(match kind {
            "basic" => match (&own.username, &own.password) {
                (Some(username), Some(_)) if !username.contains(':') => Auth::Basic,
                (Some(_), Some(_)) => {
                    return Err(wrong("username", "a colon would end it (RFC 7617, clause 2)"));
                }
                _ => return Err(wrong("auth", "\"basic\" needs the keys username and password")),
            },
            "bearer" => Auth::Bearer,
            "header" => Auth::Header(header("X-API-Key")?),
            "query" => Auth::Query(named("key")),
            "hmac" => {
                let of = given.text("sign").unwrap_or("{body}");
                let knows =
                    |name: &str| matches!(name, "body" | "method" | "url" | "path") || own.knows(name);
                Auth::Signed {
                    header: header("X-Signature")?,
                    of: Template::read(of, Place::Text, &knows).map_err(|why| wrong("sign", why))?,
                    manner: Manner::of(given, "sign_algorithm", "sign_encoding")?,
                }
            }
            _ => Auth::None,
        })
    }
}

impl Own {
    fn of(settings: &BackendSettings, given: &Given<'_>) -> Result<Own, BackendError> {
        let mut secrets = Vec::new();
        for (name, value) in given.table("secrets").unwrap_or_default() {
            if NAMES.iter().any(|(known, _)| *known == name) || super::template::meaning(&name) != name {
                return Err(wrong(
                    "secrets",
                    format!("{name} means something else already; choose another name"),
                ));
            }
            let secret = match value {
                Plain::Text(text) => Secret::new(text),
                Plain::Bare(value) => Secret::new(value.to_string()),
                Plain::Secret(secret) => secret,
            };
            secrets.push((name, secret));
        }
        Ok(Own {
            backend: settings.name.clone(),
            from: given.text("from").map(str::to_string),
            username: given.text("username").map(str::to_string),
            password: given.secret("password").cloned(),
            token: given.secret("token").cloned(),
            secrets,
            numbering: numbering(given)?,
        })
    }

    fn knows(&self, name: &str) -> bool {
        NAMES.iter().any(|(known, _)| *known == name) || self.is_secret(name)
    }

    fn is_secret(&self, name: &str) -> bool {
        matches!(name, "username" | "password" | "token")
            || self.secrets.iter().any(|(known, _)| known == name)
    }
}

/// The country's numbers, its code and what is dialled before national numbers; `None` without a country.
pub fn numbering(given: &Given<'_>) -> Result<Option<(Numbering, String, String)>, BackendError> {
    let Some(country) = given.text("country_code").map(str::trim) else { return Ok(None) };
    let prefix = given.text_or_empty("national_prefix").trim().to_string();
    let numbering = Numbering::new(country, &prefix, "00").map_err(|why| wrong("country_code", why))?;
    Ok(Some((numbering, country.trim_start_matches('+').to_string(), prefix)))
}

impl Values for OfMessage<'_> {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        let (own, outgoing) = (self.own, self.outgoing);
        let to = || &*outgoing.connection.identity;
        let secret = |secret: &Secret| {
            if self.masked { Value::text(MASK) } else { Value::text(secret.expose().to_string()) }
        };
        let left = || outgoing.expires_at.since(self.now).as_secs();
        Some(match name {
            "to" => Value::text(to()),
            "to_plain" => Value::text(plain(to())),
            "to_national" => Value::text(national(to(), own)),
            "text" => Value::text(&*outgoing.text),
            "text_hex" => {
                let octets: Vec<u8> = outgoing.text.encode_utf16().flat_map(u16::to_be_bytes).collect();
                Value::text(hex(&octets).to_ascii_uppercase())
            }
            "id" => Value::text(outgoing.id.to_string()),
            "in_response_to" => Value::text(outgoing.in_response_to?.to_string()),
            "attempt" => Value::number(outgoing.attempt),
            "parts" => Value::number(parts(&outgoing.text)),
            "coding" => Value::number(if is_gsm(&outgoing.text) { 0 } else { 2 }),
            "unicode" => Value::number(u8::from(!is_gsm(&outgoing.text))),
            "validity_minutes" => Value::number(left().div_ceil(60).max(1)),
            "validity_seconds" => Value::number(left().max(1)),
            "now" => Value::text(self.now.to_string()),
            "timestamp" => Value::number(self.now.milliseconds() / 1000),
            "from" => Value::text(own.from.as_deref()?),
            "backend" => Value::text(own.backend.as_str()),
            "status_url" => Value::text(self.status_url.as_deref()?),
            "username" => Value::text(own.username.as_deref()?),
            "password" => secret(own.password.as_ref()?),
            "token" => secret(own.token.as_ref()?),
            _ => secret(own.secrets.iter().find(|(known, _)| known == name).map(|(_, secret)| secret)?),
        })
    }
}

impl Values for OfRequest<'_> {
    fn value(&self, name: &str) -> Option<Value<'_>> {
        let url = &self.call.url;
        match name {
            "body" => {
                Some(Value::text(String::from_utf8_lossy(self.call.body.as_deref().unwrap_or_default())))
            }
            "method" => Some(Value::text(self.call.method.as_str())),
            "url" => Some(Value::text(url.as_str())),
            "path" => {
                let rest = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
                Some(Value::text(rest.find('/').map_or("/", |at| &rest[at..])))
            }
            _ => self.message.value(name),
        }
    }
}

fn add_query(url: &mut String, name: &str, value: &str) {
    let (address, fragment) = match url.split_once('#') {
        Some((address, fragment)) => (address.to_string(), format!("#{fragment}")),
        None => (std::mem::take(url), String::new()),
    };
    let joint = match address.find('?') {
        Some(at) if at + 1 == address.len() || address.ends_with('&') => "",
        Some(_) => "&",
        None => "?",
    };
    let encode = crate::http::form::encode;
    *url = format!("{address}{joint}{}={}{fragment}", encode(name), encode(value));
}

fn plain(number: &str) -> String {
    number.chars().filter(|letter| *letter != '+' && !letter.is_whitespace()).collect()
}

fn national(number: &str, own: &Own) -> String {
    let Some((numbering, country, prefix)) = &own.numbering else { return number.to_string() };
    let whole = numbering.normalise(number);
    match whole.strip_prefix('+').and_then(|digits| digits.strip_prefix(country.as_str())) {
        Some(rest) => format!("{prefix}{rest}"),
        None => number.to_string(),
    }
}

/// Whether the GSM alphabet has all of it, however long it is.
fn is_gsm(text: &str) -> bool {
    let letters: Vec<char> = text.chars().collect();
    letters.chunks(5_000).all(|piece| {
        let piece: String = piece.iter().collect();
        pdu::plan(&piece, &many_parts()).is_ok_and(|plan| plan.alphabet == Alphabet::Gsm7)
    })
}

/// What cannot be an SMS at all counts as one part more than can be.
fn parts(text: &str) -> usize {
    pdu::plan(text, &many_parts()).map_or(256, |plan| plan.parts.len())
}

fn many_parts() -> Splitting {
    Splitting { most_parts: 255, ..Splitting::default() }
}
