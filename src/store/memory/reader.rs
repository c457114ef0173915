//! What readers of a store in memory see: a copy of their own.

use crate::message::{Direction, MessageId, Name, State};
use crate::store::{Count, Detail, PAGE_LIMIT, Page, Query, Reader, Row, StoreError};
use crate::time::Timestamp;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

pub(super) type Counts = [[u64; State::ALL.len()]; 2];

/// What readers see.
#[derive(Debug, Default)]
pub(super) struct Committed {
    pub(super) records: BTreeMap<i64, Detail>,
    pub(super) counts: Vec<(Name, Counts)>,
    pub(super) pieces: Vec<(Name, u64)>,
    pub(super) calls: u64,
}

/// Reads what a [`Memory`] has committed.
#[derive(Debug)]
pub(super) struct MemoryReader {
    pub(super) committed: Arc<Mutex<Committed>>,
}

impl Reader for MemoryReader {
    fn message(&mut self, id: MessageId) -> Result<Option<Detail>, StoreError> {
        let committed = lock(&self.committed);
        Ok(committed.records.get(&id.key()).filter(|detail| detail.row.id == id).cloned())
    }

    fn messages(&mut self, query: &Query) -> Result<Page, StoreError> {
        let limit = query.limit.clamp(1, PAGE_LIMIT);
        let after = query.after.map(MessageId::key);
        let committed = lock(&self.committed);
        let rows: Vec<&Row> = if query.ascending {
            let from = after.map_or(i64::MIN, |key| key.saturating_add(1));
            let range = committed.records.range(from..).map(|(_, detail)| &detail.row);
            range.filter(|row| fits(row, query)).take(limit + 1).collect()
        } else {
            let range = committed.records.range(..after.unwrap_or(i64::MAX)).rev();
            range.map(|(_, detail)| &detail.row).filter(|row| fits(row, query)).take(limit + 1).collect()
        };
        let messages: Vec<Row> = rows.iter().take(limit).copied().cloned().collect();
        let next = messages.last().filter(|_| rows.len() > limit).map(|row| row.id);
        Ok(Page { messages, next })
    }

    fn tally(&mut self) -> Result<Vec<Count>, StoreError> {
        let committed = lock(&self.committed);
        let mut counted = Vec::new();
        for (name, counts) in &committed.counts {
            for direction in [Direction::In, Direction::Out] {
                for state in State::ALL {
                    let count = counts[direction as usize][state as usize];
                    if count > 0 {
                        counted.push(Count { backend: name.clone(), direction, state, count });
                    }
                }
            }
        }
        counted.sort();
        Ok(counted)
    }

    fn recount(&mut self) -> Result<Vec<Count>, StoreError> {
        let committed = lock(&self.committed);
        let mut counted: BTreeMap<(Name, Direction, State), u64> = BTreeMap::new();
        for Detail { row, .. } in committed.records.values() {
            *counted.entry((row.backend.clone(), row.direction, row.state)).or_default() += 1;
        }
        let counts = counted
            .into_iter()
            .map(|((backend, direction, state), count)| Count { backend, direction, state, count })
            .collect();
        Ok(counts)
    }

    fn pieces(&mut self) -> Result<Vec<(Name, u64)>, StoreError> {
        Ok(lock(&self.committed).pieces.clone())
    }

    fn calls(&mut self) -> Result<u64, StoreError> {
        Ok(lock(&self.committed).calls)
    }

    fn oldest_waiting(&mut self, backend: &str) -> Result<Option<Timestamp>, StoreError> {
        let committed = lock(&self.committed);
        let mut rows = committed.records.values().map(|detail| &detail.row);
        let waits =
            |row: &&Row| row.direction == Direction::Out && row.state.is_open() && *row.backend == *backend;
        Ok(rows.find(waits).map(|row| row.created_at))
    }
}

fn fits(row: &Row, query: &Query) -> bool {
    query.backend.as_deref().is_none_or(|backend| *backend == *row.backend)
        && query.identity.as_deref().is_none_or(|identity| *identity == *row.identity)
        && query.direction.is_none_or(|direction| direction == row.direction)
        && query.state.is_none_or(|state| state == row.state)
}

/// A reader that panicked cannot have left anything half changed: it changes nothing.
pub(super) fn lock(committed: &Mutex<Committed>) -> MutexGuard<'_, Committed> {
    committed.lock().unwrap_or_else(PoisonError::into_inner)
}
