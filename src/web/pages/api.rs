//! The reading half of the API: messages and backends as JSON.

use crate::http::{Request, Response, form};
use crate::hub::board::{BackendNotice, Board};
use crate::message::{MessageId, Name, State};
use crate::store::{Query, Reader, StoreError};
use crate::web::site;
use serde::Serialize;

/// A page of messages. A misspelt backend must not look like one without messages; one that left the settings keeps its own.
pub(super) fn messages(
    request: &Request,
    board: &Board,
    reader: &mut dyn Reader,
) -> Result<Response, StoreError> {
    let query = match query(request) {
        Ok(query) => query,
        Err(response) => return Ok(response),
    };
    let page = reader.messages(&query)?;
    if let (Some(name), true) = (&query.backend, page.messages.is_empty())
        && !board.knows(name)
        && !reader.tally()?.iter().any(|count| *count.backend == **name)
    {
        return Ok(site::unknown_backend(name));
    }
    Ok(Response::json(200, &page))
}

/// One message with its history.
pub(super) fn message(id: &str, reader: &mut dyn Reader) -> Result<Response, StoreError> {
    let unknown = || Response::error(404, "there is no such message");
    let Ok(id) = id.parse::<MessageId>() else { return Ok(unknown()) };
    Ok(reader.message(id)?.map_or_else(unknown, |detail| Response::json(200, &detail)))
}

/// Every backend with its state.
pub(super) fn backends(board: &Board, reader: &mut dyn Reader) -> Result<Response, StoreError> {
    let waiting = reader.pieces()?;
    let (notices, groups) = {
        let board = board.lock();
        (board.in_order(), board.groups.clone())
    };
    let backends: Vec<_> = notices.iter().map(|notice| Backend::of(notice, &waiting)).collect();
    Ok(Response::json(200, &serde_json::json!({ "backends": backends, "groups": groups })))
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
