//! Where something stands in a request or an answer: one line of the settings says it. Pure.
//!
//! | written | is |
//! |---|---|
//! | `id` | the field of that name in the query, the form, or the JSON object |
//! | `/payload/id` | what this pointer (RFC 6901) leads to in the JSON |
//! | `header X-Id` | a header |
//! | `path 0` | the first piece of the path behind the backend's name |
//! | `regex id=([0-9]+)` | the first group (or the whole) of what the pattern finds in the body |
//! | `whole body` | the body as it is |

use std::borrow::Cow;

use regex::Regex;
use serde_json::Value;

use crate::http::Request;

/// The longest thing that is found by a pattern or taken as the whole body.
const LONGEST: usize = 64 * 1024;

/// A place.
#[derive(Clone, Debug)]
pub enum Field {
    /// A field of the query, the form or the JSON object.
    Name(String),
    /// A pointer into the JSON.
    Pointer(String),
    /// A header.
    Header(String),
    /// A piece of the path.
    Path(usize),
    /// What a pattern finds in the body.
    Pattern(Regex),
    /// The body.
    Body,
}

impl Field {
    /// Reads it as the settings have it. The error is a sentence.
    pub fn read(text: &str) -> Result<Field, String> {
        let text = text.trim();
        let (word, rest) = text.split_once(' ').unwrap_or((text, ""));
        let rest = rest.trim();
        match word {
            "" => Err("it is empty: write the name of a field, or a pointer such as /message/id".into()),
            "header" if crate::http::is_token(rest) => Ok(Field::Header(rest.to_string())),
            "header" if !rest.is_empty() => Err(format!("{rest:?} is no name of a header")),
            "path" if !rest.is_empty() => match rest.parse::<usize>() {
                Ok(piece) if piece < 16 => Ok(Field::Path(piece)),
                _ => Err(format!("path {rest} is no piece of a path: they are counted from 0")),
            },
            "regex" if !rest.is_empty() => Regex::new(rest)
                .map(Field::Pattern)
                .map_err(|error| format!("its pattern is not right: {error}")),
            "whole" if rest == "body" => Ok(Field::Body),
            _ if text.starts_with('/') => Ok(Field::Pointer(text.to_string())),
            _ => Ok(Field::Name(text.to_string())),
        }
    }

    /// Whether JSON is needed to find it.
    pub fn is_pointer(&self) -> bool {
        matches!(self, Field::Pointer(_))
    }

    /// What stands there in an answer.
    pub fn in_answer(&self, answer: &crate::http::client::Answer, json: Option<&Value>) -> Option<String> {
        match self {
            Field::Name(name) => json.and_then(|json| json.get(name)).and_then(as_text),
            Field::Pointer(pointer) => json.and_then(|json| json.pointer(pointer)).and_then(as_text),
            Field::Header(name) => answer.header(name).map(str::to_string),
            Field::Path(_) => None,
            Field::Pattern(pattern) => in_body(pattern, &answer.body),
            Field::Body => whole(&answer.body),
        }
    }
}

/// What was found: octets in some charset, or text that is none of our business to decode.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Found {
    /// From a query or form: octets, as the sender encoded them.
    Octets(Vec<u8>),
    /// From JSON, a header or a path.
    Text(String),
}

/// A request, read for its fields.
pub struct Fields<'r> {
    request: &'r Request,
    rest: &'r [&'r str],
    pairs: Vec<(Vec<u8>, Vec<u8>)>,
    json: Option<Value>,
}

impl<'r> Fields<'r> {
    /// Reads query and body. The error is a sentence for the sender.
    pub fn of(request: &'r Request, rest: &'r [&'r str]) -> Result<Fields<'r>, String> {
        let mut pairs = pairs(request.query().as_bytes());
        let (kind, body) = (request.media_type(), request.body());
        let first = body.iter().find(|octet| !octet.is_ascii_whitespace());
        let mut json = None;
        if kind == "application/json" || kind.ends_with("+json") {
            if first.is_some() {
                let read = serde_json::from_slice(body);
                json = Some(read.map_err(|error| format!("the body is not right JSON: {error}"))?);
            }
        } else if kind == "multipart/form-data" {
            return Err("a body of multipart/form-data is not read here: send a form or JSON".into());
        } else {
            // Many gateways send JSON with another type, or none.
            if matches!(first, Some(b'{' | b'[')) {
                json = serde_json::from_slice(body).ok();
            }
            if json.is_none() {
                pairs.extend(self::pairs(body));
            }
        }
        Ok(Fields { request, rest, pairs, json })
    }

    /// The JSON of the body.
    pub fn json(&self) -> Option<&Value> {
        self.json.as_ref()
    }

    /// What stands there; with an `item` of a list, names and pointers begin at it.
    pub fn find(&self, field: &Field, item: Option<&Value>) -> Option<Found> {
        let json = item.or(self.json.as_ref());
        match field {
            Field::Name(name) => {
                let own = json.and_then(|json| json.get(name)).and_then(as_text).map(Found::Text);
                own.or_else(|| {
                    // The first, should there be several: so do the gateways' own programs.
                    let pair = self.pairs.iter().find(|(have, _)| have == name.as_bytes());
                    pair.map(|(_, value)| Found::Octets(value.clone()))
                })
            }
            Field::Pointer(pointer) => {
                json.and_then(|json| json.pointer(pointer)).and_then(as_text).map(Found::Text)
            }
            Field::Header(name) => self.request.header(name).map(|value| Found::Text(value.to_string())),
            Field::Path(piece) => self
                .rest
                .get(*piece)
                .filter(|piece| !piece.is_empty())
                .map(|piece| Found::Text(piece.to_string())),
            Field::Pattern(pattern) => in_body(pattern, self.request.body()).map(Found::Text),
            Field::Body => whole(self.request.body()).map(|_| Found::Octets(self.request.body().to_vec())),
        }
    }

    /// The same as text: octets that are not UTF-8 are mended, so only for what nobody relies on.
    pub fn text(&self, field: &Field, item: Option<&Value>) -> Option<String> {
        self.find(field, item).map(|found| match found {
            Found::Text(text) => text,
            Found::Octets(octets) => String::from_utf8_lossy(&octets).into_owned(),
        })
    }
}

/// A value of JSON as people write it; lists and objects have no such form, and null is nothing.
pub fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(truth) => Some(truth.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

fn in_body(pattern: &Regex, body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let found = pattern.captures(&text)?;
    let found = found.get(1).or(found.get(0))?.as_str();
    (!found.is_empty() && found.len() <= LONGEST).then(|| found.to_string())
}

fn whole(body: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(body);
    let text = text.trim();
    (!text.is_empty() && text.len() <= LONGEST).then(|| text.to_string())
}

/// Names and values as octets (WHATWG URL, application/x-www-form-urlencoded); what charset they are in is decided later. A `%` that
/// begins no octet is itself, as there.
fn pairs(encoded: &[u8]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let decode = |piece: &[u8]| -> Vec<u8> {
        let plus: Cow<'_, [u8]> = match piece.contains(&b'+') {
            true => piece
                .iter()
                .map(|octet| if *octet == b'+' { b' ' } else { *octet })
                .collect::<Vec<_>>()
                .into(),
            false => piece.into(),
        };
        percent_encoding::percent_decode(&plus).collect()
    };
    let pieces = encoded.split(|octet| *octet == b'&').filter(|piece| !piece.is_empty());
    pieces
        .map(|piece| {
            let cut = piece.iter().position(|octet| *octet == b'=').unwrap_or(piece.len());
            (decode(&piece[..cut]), decode(piece.get(cut + 1..).unwrap_or_default()))
        })
        .collect()
}
