//! The Message Tester: the page of one conversation, and where to find one.

use super::{Frame, filters, html};
use crate::http::{Request, Response, form};
use crate::hub::board::{BackendNotice, Board};
use crate::message::MessageId;
use crate::store::{Page, Query, Reader, Row, StoreError};
use crate::web::site;
use askama::Template;

const NO_SUCH_PAGE: &str = "only a bucket or httptester backend has such a page";

#[derive(Template)]
#[template(path = "conversation.html")]
struct Conversation<'a> {
    frame: Frame,
    backend: &'a str,
    identity: &'a str,
    messages: &'a [Row],
    testers: &'a [BackendNotice],
    more: bool,
    unsettled: bool,
}

/// The page of one conversation.
pub(super) fn conversation(
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
        frame: Frame::of(board, "/httptester/"),
        backend,
        identity,
        messages: &messages,
        testers: &testers,
        more: next.is_some(),
        unsettled,
    }))
}

/// The conversation with the identity that the query names, or with a number that nobody has.
pub(super) fn one(
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
pub(super) fn any(board: &Board) -> Response {
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

/// Where the page of one conversation is.
pub fn address(backend: &str, identity: &str) -> String {
    let backend = form::encode(backend);
    match identity {
        // In a path browsers take these two for "here" and "up", encoded or not (WHATWG URL clause 4.4), and would never arrive.
        "." | ".." => format!("/httptester/{backend}/?identity={identity}"),
        _ => format!("/httptester/{backend}/{}/", form::encode(identity)),
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
