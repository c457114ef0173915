//! The part counter: what a text costs as an SMS, which characters are to blame, and what transliteration would make of it (3GPP TS 23.038 clause 6.2).
//!
//! Nothing is sent or stored. A page thread does the counting, so that a long text does not hold up the listener.

use super::pages::{self, filters};
use super::site;
use crate::http::form;
use crate::http::{Request, Response};
use crate::hub::board::Board;
use crate::message::TEXT_LIMIT;
use crate::pdu::{Count, Language, Splitting, count};
use askama::Template;
use serde::Deserialize;

/// What is asked.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields)]
struct Wanted {
    text: String,
    #[serde(default)]
    backend: Option<String>,
    #[serde(default)]
    languages: Vec<String>,
    #[serde(default)]
    wide_reference: bool,
}

/// `/api/v1/parts`: the query of a GET, or the JSON object of a POST.
pub(super) fn api(request: &Request, board: &Board) -> Response {
    let wanted = if request.method() == "POST" { site::object(request) } else { of_query(request) };
    match wanted.and_then(|wanted| counted(&wanted, board)) {
        Ok(count) => Response::json(200, &count),
        Err(response) => response,
    }
}

#[derive(Template)]
#[template(path = "parts.html")]
struct Page<'a> {
    frame: pages::Frame,
    text: &'a str,
    count: Option<&'a Count>,
    trouble: &'a str,
}

/// `/parts`: a form, and what comes of its text.
pub(super) fn page(request: &Request, frame: pages::Frame) -> Response {
    let encoded = if request.method() == "POST" { request.body() } else { request.query().as_bytes() };
    let (text, mut trouble) = match form::pairs(encoded) {
        // A browser sends each end of a line as two characters, and nobody typed two.
        Ok(pairs) => (form::field(&pairs, "text").unwrap_or_default().replace("\r\n", "\n"), String::new()),
        Err(sentence) => (String::new(), sentence),
    };
    let count = match count(&text, &Splitting::default()) {
        Ok(count) => Some(count),
        Err(error) => {
            trouble = error.to_string();
            None
        }
    };
    let count = count.as_ref().filter(|_| !text.is_empty());
    pages::html(&Page { frame, text: &text, count, trouble: trouble.as_str() })
}

fn counted(wanted: &Wanted, board: &Board) -> Result<Count, Response> {
    // A group cuts as each of its members does; which one, is not known yet.
    let own = match &wanted.backend {
        Some(name) if !board.knows(name) => return Err(site::unknown_backend(name)),
        Some(name) => board.backend(name).and_then(|notice| notice.splitting),
        None => None,
    };
    let own = own.unwrap_or_default();
    if wanted.text.len() > TEXT_LIMIT {
        let sentence =
            format!("the text has {} octets; at most {TEXT_LIMIT} are possible", wanted.text.len());
        return Err(Response::error(413, &sentence));
    }
    let languages = wanted.languages.iter().map(|name| language(name)).collect::<Result<Vec<_>, _>>()?;
    if languages.len() > Language::ALL.len() {
        return Err(Response::error(400, "a language is named twice"));
    }
    // As the backend would do it, unless it is asked what another way would cost.
    let splitting = Splitting {
        languages: if languages.is_empty() { own.languages } else { languages },
        wide_reference: wanted.wide_reference || own.wide_reference,
        ..own
    };
    count(&wanted.text, &splitting).map_err(|error| Response::error(413, &error.to_string()))
}

fn language(name: &str) -> Result<Language, Response> {
    Language::ALL.into_iter().find(|language| language.as_str() == name).ok_or_else(|| {
        let possible = Language::ALL.map(Language::as_str).join(", ");
        Response::error(
            400,
            &format!("\"{}\" is no language with tables; possible: {possible}", name.escape_debug()),
        )
    })
}

fn of_query(request: &Request) -> Result<Wanted, Response> {
    let wrong = |sentence: String| Response::error(400, &sentence);
    let pairs = form::pairs(request.query().as_bytes()).map_err(wrong)?;
    let mut wanted = Wanted::default();
    let mut has_text = false;
    for (index, (name, value)) in pairs.into_iter().enumerate() {
        match name.as_str() {
            "text" if !has_text => (wanted.text, has_text) = (value, true),
            "backend" if wanted.backend.is_none() => wanted.backend = Some(value),
            "languages" if wanted.languages.is_empty() => {
                wanted.languages = value.split(',').map(str::to_string).collect();
            }
            "wide_reference" => {
                wanted.wide_reference = match value.as_str() {
                    "true" => true,
                    "false" => false,
                    _ => return Err(wrong("wide_reference is true or false".to_string())),
                };
            }
            "text" | "backend" | "languages" => {
                return Err(wrong(format!("\"{name}\" is given twice; one value is possible")));
            }
            _ => {
                return Err(wrong(format!(
                    "parameter {} is \"{}\"; possible: text, backend, languages, wide_reference",
                    index + 1,
                    name.escape_debug()
                )));
            }
        }
    }
    if has_text {
        Ok(wanted)
    } else {
        Err(wrong("the parameter \"text\" is missing; a long text goes into the JSON of a POST".to_string()))
    }
}
