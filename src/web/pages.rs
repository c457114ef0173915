//! The pages for people and the reading half of the API. Each page thread has a reader of its own on the store; templates escape whatever a message says.

use super::kannel;
use super::metrics;
use super::parts;
use super::site::{self, Read};
use crate::http::{Request, Response, form};
use crate::hub::board::{BackendNotice, Board};
use crate::message::{Direction, MessageId, Name, State};
use crate::store::{Page, Query, Reader, Row, StoreError};
use crate::time::Timestamp;
use askama::Template;
use crossbeam_channel::Receiver;
use serde::Serialize;

/// What a page may load and do: its own style only.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
const NO_SUCH_PAGE: &str = "only a bucket or httptester backend has such a page";
/// What programs may ask, as OpenAPI 3.1; a test holds it against the answers.
const OPENAPI: &str = include_str!("openapi.json");
const STYLE: &str = include_str!("templates/style.css");

/// Answers requests until the listener is gone.
pub fn serve(reads: &Receiver<Read>, board: &Board, mut reader: Box<dyn Reader>) {
    for Read { request, segments, reply } in reads {
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let answer = answer(&request, &path, board, &mut *reader);
        reply.send(answer.unwrap_or_else(|error| {
            log::error!("a page could not be made: {error}");
            Response::error(503, &error.to_string()).header("Retry-After", "2")
        }));
    }
}

fn answer(
    request: &Request,
    path: &[&str],
    board: &Board,
    reader: &mut dyn Reader,
) -> Result<Response, StoreError> {
    match path {
        // No path at all: a Kannel's status, whose password was asked for already.
        [] => {
            let form = kannel::status::Form::of(request.path()).unwrap_or(kannel::status::Form::Text);
            kannel::status::page(form, board, reader)
        }
        [""] => overview(board, reader),
        ["style.css"] => Ok(Response::bytes(200, "text/css; charset=utf-8", STYLE.as_bytes())
            .header("Cache-Control", "max-age=300")),
        ["httptester", ""] | ["httptester"] => Ok(any_tester(board)),
        ["httptester", backend, ""] | ["httptester", backend] => one_tester(request, backend, board, reader),
        ["httptester", backend, identity, ""] | ["httptester", backend, identity] => {
            conversation(request, backend, identity, board, reader)
        }
        ["api", "v1", "messages"] => match query(request) {
            Ok(query) => messages(&query, board, reader),
            Err(response) => Ok(response),
        },
        ["api", "v1", "messages", id] => Ok(match id.parse::<MessageId>() {
            Ok(id) => match reader.message(id)? {
                Some(detail) => Response::json(200, &detail),
                None => Response::error(404, "there is no such message"),
            },
            Err(()) => Response::error(404, "there is no such message"),
        }),
        ["api", "v1", "parts"] => Ok(parts::api(request, board)),
        ["parts"] => Ok(match parts::page(request) {
            Ok(page) => guarded(page),
            Err(error) => unmade(&error),
        }),
        ["api", "v1", "openapi.json"] => Ok(Response::bytes(200, "application/json", OPENAPI.as_bytes())),
        ["metrics"] => metrics::answer(board, reader),
        ["api", "v1", "backends"] => {
            let waiting = reader.pieces()?;
            let (notices, groups) = {
                let board = board.lock();
                (board.in_order(), board.groups.clone())
            };
            let backends: Vec<_> = notices.iter().map(|notice| Backend::of(notice, &waiting)).collect();
            Ok(Response::json(200, &serde_json::json!({ "backends": backends, "groups": groups })))
        }
        _ => Ok(Response::error(404, "there is nothing here; the Message Tester is at /httptester/")),
    }
}

/// A backend as programs see it.
#[derive(Serialize)]
struct Backend<'a> {
    #[serde(flatten)]
    notice: &'a BackendNotice,
    /// Parts of longer messages that wait for the others.
    waiting_parts: u64,
}

impl Backend<'_> {
    fn of<'a>(notice: &'a BackendNotice, waiting: &[(Name, u64)]) -> Backend<'a> {
        let own = waiting.iter().find(|(name, _)| *name == notice.name);
        Backend { notice, waiting_parts: own.map_or(0, |(_, count)| *count) }
    }
}

/// What `GET /api/v1/messages` asks for; an unknown name or value is refused, for a filter that is ignored misleads.
fn query(request: &Request) -> Result<Query, Response> {
    let wrong = |sentence: String| Response::error(400, &sentence);
    let pairs = form::pairs(request.query().as_bytes()).map_err(wrong)?;
    let mut query = Query::default();
    for (index, (name, value)) in pairs.iter().enumerate() {
        if pairs.iter().take(index).any(|(earlier, _)| earlier == name) {
            return Err(wrong(format!("\"{}\" is given twice; one value is possible", name.escape_debug())));
        }
        let not = |what: &str| wrong(format!("{name}=\"{}\" is no {what}", value.escape_debug()));
        match name.as_str() {
            "backend" => query.backend = Some(value.clone()),
            "identity" => query.identity = Some(value.clone()),
            "direction" => {
                query.direction = Some(value.parse().map_err(|()| not("direction; possible: in, out"))?);
            }
            "state" => {
                let possible = State::ALL.map(State::as_str).join(", ");
                query.state = Some(value.parse().map_err(|()| not(&format!("state; possible: {possible}")))?);
            }
            "after" => query.after = Some(value.parse().map_err(|()| not("message id"))?),
            "order" => match value.as_str() {
                "asc" => query.ascending = true,
                "desc" => query.ascending = false,
                _ => return Err(not("order; possible: asc, desc")),
            },
            "limit" => {
                query.limit = match value.parse() {
                    Ok(limit @ 1..=1000) => limit,
                    _ => return Err(not("limit; possible: 1 to 1000")),
                };
            }
            _ => {
                return Err(wrong(format!(
                    "there is no parameter \"{}\"; possible: backend, identity, direction, state, after, order, limit",
                    name.escape_debug()
                )));
            }
        }
    }
    Ok(query)
}

/// A page of messages. A misspelt backend must not look like one without messages; one that left the settings keeps its own.
fn messages(query: &Query, board: &Board, reader: &mut dyn Reader) -> Result<Response, StoreError> {
    let page = reader.messages(query)?;
    if let (Some(name), true) = (&query.backend, page.messages.is_empty())
        && !board.knows(name)
        && !reader.tally()?.iter().any(|count| *count.backend == **name)
    {
        return Ok(site::unknown_backend(name));
    }
    Ok(Response::json(200, &page))
}

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview<'a> {
    backends: &'a [BackendNotice],
    messages: &'a [Row],
    status: &'a str,
    reasons: &'a [String],
}

fn overview(board: &Board, reader: &mut dyn Reader) -> Result<Response, StoreError> {
    let page = reader.messages(&Query { limit: 50, ..Query::default() })?;
    let (backends, health) = {
        let notices = board.lock();
        (notices.in_order(), notices.health())
    };
    Ok(html(&Overview {
        backends: &backends,
        messages: &page.messages,
        status: health.status,
        reasons: &health.reasons,
    }))
}

#[derive(Template)]
#[template(path = "conversation.html")]
struct Conversation<'a> {
    backend: &'a str,
    identity: &'a str,
    messages: &'a [Row],
    testers: &'a [BackendNotice],
    more: bool,
    unsettled: bool,
}

fn conversation(
    request: &Request,
    backend: &str,
    identity: &str,
    board: &Board,
    reader: &mut dyn Reader,
) -> Result<Response, StoreError> {
    match board.backend(backend) {
        None => return Ok(site::unknown_backend(backend)),
        Some(notice) if !notice.tester => {
            return Ok(Response::error(404, NO_SUCH_PAGE));
        }
        Some(_) => {}
    }
    let query = Query {
        backend: Some(backend.to_string()),
        identity: Some(identity.to_string()),
        limit: 100,
        ..Query::default()
    };
    let Page { mut messages, next } = reader.messages(&query)?;
    messages.reverse();
    let sent = form::pairs(request.query().as_bytes()).unwrap_or_default();
    let sent = form::field(&sent, "sent").and_then(|id| id.parse::<MessageId>().ok());
    // Only somebody who has just sent something waits for what comes of it.
    let unsettled = sent.is_some() && messages.iter().any(|row| row.state.is_open());
    let testers: Vec<_> = board.lock().in_order().into_iter().filter(|notice| notice.tester).collect();
    Ok(html(&Conversation {
        backend,
        identity,
        messages: &messages,
        testers: &testers,
        more: next.is_some(),
        unsettled,
    }))
}

/// The conversation with the identity that the query names, or with a number that nobody has.
fn one_tester(
    request: &Request,
    backend: &str,
    board: &Board,
    reader: &mut dyn Reader,
) -> Result<Response, StoreError> {
    let pairs = form::pairs(request.query().as_bytes()).unwrap_or_default();
    match form::field(&pairs, "identity").filter(|identity| !identity.is_empty()) {
        Some(identity) => conversation(request, backend, identity, board, reader),
        None => Ok(match board.backend(backend) {
            Some(notice) if notice.tester => Response::redirect(address(backend, &new_number())),
            Some(_) => Response::error(404, NO_SUCH_PAGE),
            None => site::unknown_backend(backend),
        }),
    }
}

/// Picks a telephone number that nobody has and the first tester.
fn any_tester(board: &Board) -> Response {
    let Some(tester) = board.lock().in_order().into_iter().find(|notice| notice.tester) else {
        return Response::error(
            404,
            "no tester is configured; add [INSTALLED_BACKENDS.message_tester] with ENGINE = \"bucket\" to the settings",
        );
    };
    Response::redirect(address(&tester.name, &new_number()))
}

fn new_number() -> String {
    let mut random = [0; 4];
    // Without randomness everybody starts with the same number, which only shares a conversation.
    let _ = getrandom::fill(&mut random);
    (111_111 + u32::from_le_bytes(random) % 888_889).to_string()
}

fn html(template: &impl Template) -> Response {
    match template.render() {
        Ok(page) => guarded(Response::html(page)),
        Err(error) => unmade(&error),
    }
}

/// Where the page of one conversation is.
pub fn address(backend: &str, identity: &str) -> String {
    let backend = form::encode(backend);
    match identity {
        // In a path browsers take these two for "here" and "up", encoded or not (WHATWG URL clause 4.4), and would never arrive.
        "." | ".." => format!("/httptester/{backend}/?identity={identity}"),
        _ => format!("/httptester/{backend}/{}/", form::encode(identity)),
    }
}

/// What every page forbids browsers to do with it.
fn guarded(page: Response) -> Response {
    page.header("Content-Security-Policy", POLICY)
        .header("Cache-Control", "no-store")
        .header("Referrer-Policy", "same-origin")
}

fn unmade(error: &askama::Error) -> Response {
    Response::error(500, &format!("the page could not be made: {error}"))
}

/// Filters for the templates.
mod filters {
    use super::{Direction, Timestamp};

    /// A segment of a path.
    #[askama::filter_fn]
    pub fn segment(text: &str, _: &dyn askama::Values) -> askama::Result<String> {
        Ok(super::form::encode(text))
    }

    /// The address of a conversation.
    #[askama::filter_fn]
    pub fn conversation(identity: &str, _: &dyn askama::Values, backend: &str) -> askama::Result<String> {
        Ok(super::address(backend, identity))
    }

    /// A time for people: the day and the second, in UTC.
    #[askama::filter_fn]
    pub fn moment(at: &Timestamp, _: &dyn askama::Values) -> askama::Result<String> {
        Ok(at.to_string().chars().take(19).map(|sign| if sign == 'T' { ' ' } else { sign }).collect())
    }

    /// Which side of the page a message stands on.
    #[askama::filter_fn]
    pub fn side(direction: &Direction, _: &dyn askama::Values) -> askama::Result<&'static str> {
        Ok(direction.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::address;

    #[test]
    fn the_address_of_a_conversation_stays_one() {
        assert_eq!(address("my tester", "1/2"), "/httptester/my%20tester/1%2F2/");
        assert_eq!(address("tester", ".."), "/httptester/tester/?identity=..");
    }
}
