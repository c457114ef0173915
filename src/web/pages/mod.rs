//! The pages for people and the reading half of the API. Each page thread has a reader of its own on the store.
//!
//! Templates escape whatever a message, an identity or an error says, and `filters` makes what has no picture visible before that. No page has a
//! script, loads anything from elsewhere or changes anything: forms go to [`super::site`], which asks where they come from first.

mod api;
mod backends;
mod detail;
mod export;
pub(super) mod filters;
mod frame;
mod messages;
mod overview;
#[cfg(test)]
mod rehearsal;
mod tester;

pub use detail::{Outcome, decided};
pub use tester::address;

use super::kannel;
use super::metrics;
use super::parts;
use super::site::Read;
use crate::http::{Request, Response};
use crate::hub::board::Board;
use crate::store::{Reader, StoreError};
use crate::time::Timestamp;
use askama::Template;
use crossbeam_channel::Receiver;
pub(super) use frame::Frame;

/// What a page may load and do: its own style only.
const POLICY: &str =
    "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
/// What programs may ask, as OpenAPI 3.1; a test holds it against the answers.
const OPENAPI: &str = include_str!("../openapi.json");
const STYLE: &str = include_str!("../templates/style.css");

/// Answers requests until the listener is gone.
pub fn serve(reads: &Receiver<Read>, board: &Board, mut reader: Box<dyn Reader>) {
    for Read { request, segments, now, reply } in reads {
        let path: Vec<&str> = segments.iter().map(String::as_str).collect();
        let answer = answer(&request, &path, now, board, &mut *reader);
        reply.send(answer.unwrap_or_else(|error| {
            log::error!("a page could not be made: {error}");
            let response = if is_for_people(&path) {
                notice(
                    board,
                    503,
                    "The store cannot be read",
                    &format!("{error}. Nothing is lost; try again soon."),
                )
            } else {
                Response::error(503, &error.to_string())
            };
            response.header("Retry-After", "2")
        }));
    }
}

fn answer(
    request: &Request,
    path: &[&str],
    now: Timestamp,
    board: &Board,
    reader: &mut dyn Reader,
) -> Result<Response, StoreError> {
    match path {
        // No path at all: a Kannel's status, whose password was asked for already.
        [] => {
            let form = kannel::status::Form::of(request.path()).unwrap_or(kannel::status::Form::Text);
            kannel::status::page(form, board, reader)
        }
        [""] => overview::page(now, board, reader),
        ["style.css"] => Ok(Response::bytes(200, "text/css; charset=utf-8", STYLE.as_bytes())
            .header("Cache-Control", "max-age=300")),
        ["messages", ""] | ["messages"] => messages::page(request, board, reader),
        ["messages", "export.csv"] => export::answer(request, board, reader),
        ["messages", id, ""] | ["messages", id] => detail::page(request, id, board, reader),
        ["backends", ""] | ["backends"] => backends::page(now, board, reader),
        ["httptester", ""] | ["httptester"] => Ok(tester::any(board)),
        ["httptester", backend, ""] | ["httptester", backend] => tester::one(request, backend, board, reader),
        ["httptester", backend, identity, ""] | ["httptester", backend, identity] => {
            tester::conversation(request, backend, identity, board, reader)
        }
        ["parts"] => Ok(parts::page(request, Frame::of(board, "/parts"))),
        ["api", "v1", "messages"] => api::messages(request, board, reader),
        ["api", "v1", "messages", id] => api::message(id, reader),
        ["api", "v1", "parts"] => Ok(parts::api(request, board)),
        ["api", "v1", "backends"] => api::backends(board, reader),
        ["api", "v1", "openapi.json"] => Ok(Response::bytes(200, "application/json", OPENAPI.as_bytes())),
        ["metrics"] => metrics::answer(board, reader),
        _ => Ok(Response::error(404, "there is nothing here; the Message Tester is at /httptester/")),
    }
}

/// Whether a browser asks; programs are answered in JSON.
fn is_for_people(path: &[&str]) -> bool {
    matches!(path.first(), Some(&("" | "messages" | "backends" | "parts")))
}

#[derive(Template)]
#[template(path = "notice.html")]
struct Notice<'a> {
    frame: Frame,
    title: &'a str,
    sentence: &'a str,
}

/// A page that says one thing, where the page that was wanted cannot be shown.
fn notice(board: &Board, status: u16, title: &str, sentence: &str) -> Response {
    html(&Notice { frame: Frame::of(board, ""), title, sentence }).with_status(status)
}

/// A page, with what browsers must not do with it.
pub(super) fn html(template: &impl Template) -> Response {
    match template.render() {
        Ok(page) => Response::html(page)
            .header("Content-Security-Policy", POLICY)
            .header("Cache-Control", "no-store")
            .header("Referrer-Policy", "same-origin"),
        Err(error) => Response::error(500, &format!("the page could not be made: {error}")),
    }
}
