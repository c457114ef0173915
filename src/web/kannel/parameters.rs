//! What a program says of a message: the same parameters in a query, in a form, in `X-Kannel-` headers or in a small XML document
//! (Kannel user guide, chapter "Using the SMS push"). Octets only; what they mean is the business of [`super::sendsms`].

use crate::http::{Request, charset};
use quick_xml::events::Event;

/// So many parameters are read of one request; real ones have a dozen.
const MOST: usize = 200;
/// So deep an XML document may be nested.
const DEEPEST: usize = 8;

/// The parameters of one request by their names in a query, in the order in which they were given.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Parameters {
    pairs: Vec<(String, Vec<u8>)>,
    /// The text came as a body of octets without a media type of text: 8-bit data unless it is said otherwise.
    pub binary: bool,
}

/// Why a request has no parameters: the status and the words of the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Unreadable {
    /// The status.
    pub status: u16,
    /// The words.
    pub words: &'static str,
}

/// A body of a kind that nobody reads here.
const CONTENT_TYPE: Unreadable = Unreadable { status: 400, words: "Invalid content-type" };
/// XML that is none. Kannel takes it for a message without a user.
const BROKEN_XML: Unreadable = Unreadable { status: 403, words: "Authorization failed for sendsms" };

impl Parameters {
    /// Those of a request: GET has them in the query, POST in headers and body.
    pub fn of(request: &Request) -> Result<Parameters, Unreadable> {
        if request.method() == "GET" {
            return Ok(Parameters::of_query(request));
        }
        match request.media_type().as_str() {
            "application/x-www-form-urlencoded" => {
                let mut parameters = Parameters::of_form(request.body());
                parameters.pairs.extend(Parameters::of_query(request).pairs);
                Ok(parameters)
            }
            "text/xml" | "application/xml" => Parameters::of_xml(request.body()).ok_or(BROKEN_XML),
            "text/plain" => Ok(Parameters::of_headers(request, false)),
            "" | "application/octet-stream" => Ok(Parameters::of_headers(request, true)),
            _ => Err(CONTENT_TYPE),
        }
    }

    /// Those of the query alone.
    pub fn of_query(request: &Request) -> Parameters {
        Parameters::of_form(request.query().as_bytes())
    }

    /// The first value that is given under one of these names.
    pub fn get(&self, names: &[&str]) -> Option<&[u8]> {
        let found = self.pairs.iter().find(|(name, _)| names.contains(&name.as_str()));
        found.map(|(_, value)| value.as_slice())
    }

    /// The same as text; octets that are no UTF-8 become U+FFFD.
    pub fn text(&self, names: &[&str]) -> Option<String> {
        self.get(names).map(|value| String::from_utf8_lossy(value).into_owned())
    }

    /// The number at its beginning; `None` when it is not given or begins with none, for Kannel takes `abc` for "not said".
    pub fn number(&self, names: &[&str]) -> Option<i64> {
        let value = self.text(names)?;
        let value = value.trim_start();
        let sign = usize::from(value.starts_with(['-', '+']));
        let digits = value[sign..].bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return None;
        }
        // A number with more digits than fit is out of every range.
        let number = value[..sign + digits].parse().unwrap_or(i64::MAX);
        Some(if value.starts_with('-') && number > 0 { i64::MIN } else { number })
    }

    fn push(&mut self, name: &str, value: Vec<u8>) {
        if self.pairs.len() < MOST {
            self.pairs.push((name.to_string(), value));
        }
    }

    /// Percent signs that belong to no octet stay as they are, as a person meant who typed `100%` into a URL.
    fn of_form(encoded: &[u8]) -> Parameters {
        let mut parameters = Parameters::default();
        for piece in encoded.split(|octet| *octet == b'&').filter(|piece| !piece.is_empty()).take(MOST) {
            let cut = piece.iter().position(|octet| *octet == b'=').unwrap_or(piece.len());
            let name = String::from_utf8_lossy(&decoded(&piece[..cut])).into_owned();
            parameters.push(&name, decoded(piece.get(cut + 1..).unwrap_or_default()));
        }
        parameters
    }

    /// `X-Kannel-DLR-Mask: 31` is `dlr-mask=31`. The charset is that of the body.
    fn of_headers(request: &Request, binary: bool) -> Parameters {
        const PREFIX: &str = "x-kannel-";
        let mut parameters = Parameters { binary, ..Parameters::default() };
        for (name, value) in request.headers() {
            let lower = name.to_ascii_lowercase();
            let Some(name) = lower.strip_prefix(PREFIX) else { continue };
            let value = match name {
                // In a header it is written in hexadecimal digits, or percent-encoded as in a query.
                "udh" => unhex(value).unwrap_or_else(|| decoded(value.as_bytes())),
                _ => value.as_bytes().to_vec(),
            };
            parameters.push(name, value);
        }
        if let Some(charset) = charset_of(request) {
            parameters.push("charset", charset.into_bytes());
        }
        parameters.push("text", request.body().to_vec());
        parameters
    }

    /// `<message><submit>`; `None` for what is no such document. Entities of its own are not expanded, so none can grow.
    fn of_xml(document: &[u8]) -> Option<Parameters> {
        let document = charset::decode(&declared(document), document).ok()?;
        let mut reader = quick_xml::Reader::from_str(&document);
        let mut parameters = Parameters::default();
        let (mut path, mut text, mut receivers): (Vec<String>, String, Vec<String>) = Default::default();
        let mut closed = false;
        loop {
            match reader.read_event().ok()? {
                Event::Start(start) => {
                    if path.len() >= DEEPEST || (path.is_empty() && closed) {
                        return None;
                    }
                    path.push(
                        std::str::from_utf8(start.local_name().into_inner()).ok()?.to_ascii_lowercase(),
                    );
                    text.clear();
                }
                Event::Empty(_) => text.clear(),
                Event::Text(piece) => text.push_str(&piece.decode().ok()?),
                Event::CData(piece) => text.push_str(&piece.decode().ok()?),
                Event::GeneralRef(reference) => match reference.resolve_char_ref().ok()? {
                    Some(character) => text.push(character),
                    None => text
                        .push_str(quick_xml::escape::resolve_predefined_entity(&reference.decode().ok()?)?),
                },
                Event::End(_) => {
                    let place: Vec<&str> = path.iter().map(String::as_str).collect();
                    let ["message", "submit", place @ ..] = place.as_slice() else {
                        let root = path.pop()?;
                        closed = path.is_empty();
                        if closed && root != "message" {
                            return None;
                        }
                        continue;
                    };
                    if place == ["da", "number"] {
                        receivers.push(text.trim().to_string());
                    } else if let Some(name) = xml_name(place) {
                        let value = match name {
                            "text" => text.as_bytes().to_vec(),
                            "udh" => unhex(&text)?,
                            _ => text.trim().as_bytes().to_vec(),
                        };
                        parameters.push(name, value);
                    }
                    path.pop();
                    text.clear();
                }
                Event::Eof => break,
                _ => {}
            }
            if receivers.len() > MOST {
                return None;
            }
        }
        if !closed {
            return None;
        }
        if !receivers.is_empty() {
            parameters.push("to", receivers.join(" ").into_bytes());
        }
        Some(parameters)
    }
}

/// What an element below `<submit>` is called in a query (Kannel user guide, "Using SMS push with XML").
fn xml_name(place: &[&str]) -> Option<&'static str> {
    Some(match place {
        ["ud"] => "text",
        ["udh"] => "udh",
        ["oa", "number"] => "from",
        ["from", "username" | "user"] => "username",
        ["from", "password" | "pass"] => "password",
        ["from", "account"] => "account",
        ["to"] => "smsc",
        ["dcs", "mclass"] => "mclass",
        ["dcs", "mwi"] => "mwi",
        ["dcs", "coding"] => "coding",
        ["dcs", "compress"] => "compress",
        ["dcs", "alt-dcs"] => "alt-dcs",
        ["statusrequest", "dlr-mask"] => "dlr-mask",
        ["statusrequest", "dlr-url"] => "dlr-url",
        ["vp", "delay"] => "validity",
        ["timing", "delay"] => "deferred",
        ["pid"] => "pid",
        ["rpi"] => "rpi",
        ["priority"] => "priority",
        ["charset"] => "charset",
        _ => return None,
    })
}

fn decoded(piece: &[u8]) -> Vec<u8> {
    let plus: Vec<u8> = piece.iter().map(|octet| if *octet == b'+' { b' ' } else { *octet }).collect();
    percent_encoding::percent_decode(&plus).collect()
}

/// The encoding that an XML document says it has, in its first line; UTF-8 when it says none.
fn declared(document: &[u8]) -> String {
    let first = document.split(|octet| *octet == b'>').next().unwrap_or_default();
    let first = String::from_utf8_lossy(first.get(..200).unwrap_or(first)).into_owned();
    let named = first.trim_start().strip_prefix("<?xml").and_then(|rest| rest.split_once("encoding"));
    let named = named.and_then(|(_, rest)| rest.trim_start().strip_prefix('='));
    let named = named.map(|rest| rest.trim_start().split(['"', '\'']).nth(1).unwrap_or_default());
    named.filter(|name| !name.is_empty()).unwrap_or("UTF-8").to_string()
}

fn charset_of(request: &Request) -> Option<String> {
    let value = request.header("content-type")?;
    let parameters = value.split(';').skip(1).filter_map(|parameter| parameter.split_once('='));
    let mut charsets = parameters.filter(|(name, _)| name.trim().eq_ignore_ascii_case("charset"));
    charsets.next().map(|(_, charset)| charset.trim().trim_matches('"').to_string())
}

/// Octets written in hexadecimal digits, blanks between them or not.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits: Vec<u8> = text
        .bytes()
        .filter(|octet| !octet.is_ascii_whitespace())
        .map(|octet| char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let pairs = digits.chunks_exact(2);
    (!digits.is_empty() && pairs.remainder().is_empty())
        .then(|| pairs.map(|pair| pair[0] << 4 | pair[1]).collect())
}
