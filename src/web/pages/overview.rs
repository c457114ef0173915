//! The first page: whether all is well, the backends in a line each, and what came and went last.

use super::{Frame, filters, html};
use crate::http::Response;
use crate::hub::board::{BackendNotice, Board};
use crate::store::{Query, Reader, Row, StoreError};
use crate::time::Timestamp;
use askama::Template;

/// So many messages stand on the first page.
const LISTED: usize = 10;

#[derive(Template)]
#[template(path = "overview.html")]
struct Overview<'a> {
    frame: Frame,
    now: Timestamp,
    backends: &'a [BackendNotice],
    messages: &'a [Row],
}

/// `/`
pub(super) fn page(now: Timestamp, board: &Board, reader: &mut dyn Reader) -> Result<Response, StoreError> {
    let page = reader.messages(&Query { limit: LISTED, ..Query::default() })?;
    let backends = board.lock().in_order();
    Ok(html(&Overview { frame: Frame::of(board, "/"), now, backends: &backends, messages: &page.messages }))
}
