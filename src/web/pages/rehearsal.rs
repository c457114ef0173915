//! A reader for the tests of the pages: so many messages, of which every thousandth says "needle".

use crate::message::{Direction, MessageId, Name, Origin, State};
use crate::store::{Count, Detail, Page, Query, Reader, Row, StoreError};
use crate::time::Timestamp;

pub(super) struct Haystack {
    pub(super) messages: i64,
    /// How many were read.
    pub(super) read: usize,
}

impl Haystack {
    pub(super) fn of(messages: i64) -> Haystack {
        Haystack { messages, read: 0 }
    }
}

pub(super) fn row(key: i64, text: &str) -> Row {
    let at = Timestamp(key * 1_000);
    Row {
        id: MessageId::from_parts(key, 0),
        direction: Direction::In,
        backend: "line".into(),
        identity: "1".into(),
        text: text.into(),
        state: State::Handled,
        reason: None,
        created_at: at,
        updated_at: at,
        in_response_to: None,
        duplicate_of: None,
        redelivered: false,
        attempts: 1,
        parts: None,
        partial: false,
        origin: Origin::Real,
        priority: None,
        not_before: None,
        expires_at: None,
        source_time: None,
        remote_id: None,
    }
}

impl Reader for Haystack {
    fn messages(&mut self, query: &Query) -> Result<Page, StoreError> {
        let from = query.after.map_or(self.messages, |after| after.key().min(self.messages));
        let to = from.saturating_sub(i64::try_from(query.limit).unwrap_or(i64::MAX)).max(0);
        let text = |key: i64| if key % 1_000 == 0 { "a NEEDLE" } else { "hay" };
        let messages: Vec<Row> = (to..from).rev().map(|key| row(key, text(key))).collect();
        self.read += messages.len();
        let next = messages.last().filter(|_| to > 0).map(|row| row.id);
        Ok(Page { messages, next })
    }

    fn message(&mut self, _: MessageId) -> Result<Option<Detail>, StoreError> {
        Ok(None)
    }

    fn tally(&mut self) -> Result<Vec<Count>, StoreError> {
        Ok(Vec::new())
    }

    fn recount(&mut self) -> Result<Vec<Count>, StoreError> {
        Ok(Vec::new())
    }

    fn pieces(&mut self) -> Result<Vec<(Name, u64)>, StoreError> {
        Ok(Vec::new())
    }

    fn calls(&mut self) -> Result<u64, StoreError> {
        Ok(0)
    }

    fn oldest_waiting(&mut self, _: &str) -> Result<Option<Timestamp>, StoreError> {
        Ok(None)
    }
}
