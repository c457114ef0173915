//! Pieces of longer messages in a store in memory.

use crate::message::{Connection, Name};
use crate::store::{NewSet, Piece, PieceSet};
use crate::time::Timestamp;
use foldhash::HashMap;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// Sets that wait for pieces.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    sets: BTreeMap<i64, (PieceSet, BTreeMap<u16, Piece>)>,
    by_connection: HashMap<Connection, BTreeSet<i64>>,
    by_age: BTreeSet<(Timestamp, i64)>,
    /// How many pieces each backend has.
    counts: HashMap<Name, u64>,
}

impl Pieces {
    pub(super) fn begin(&mut self, new: &NewSet<'_>) -> i64 {
        let number = self.sets.last_key_value().map_or(1, |(last, _)| last + 1);
        let set = PieceSet {
            number,
            connection: new.connection.clone(),
            name: new.name.to_string(),
            total: new.total,
            origin: new.origin,
            newest_at: new.at,
        };
        self.by_connection.entry(new.connection.clone()).or_default().insert(number);
        self.by_age.insert((new.at, number));
        self.sets.insert(number, (set, BTreeMap::new()));
        number
    }

    pub(super) fn keep(&mut self, set: i64, piece: &Piece, now: Timestamp) {
        let Some((set, pieces)) = self.sets.get_mut(&set) else { return };
        self.by_age.remove(&(set.newest_at, set.number));
        set.newest_at = now;
        self.by_age.insert((now, set.number));
        if pieces.insert(piece.sequence, piece.clone()).is_none() {
            *self.counts.entry(set.connection.backend.clone()).or_default() += 1;
        }
    }

    pub(super) fn sets(&self, connection: &Connection) -> Vec<PieceSet> {
        let numbers = self.by_connection.get(connection).into_iter().flatten();
        numbers.filter_map(|number| self.sets.get(number)).map(|(set, _)| set.clone()).collect()
    }

    pub(super) fn stalest(&self, backend: Option<&str>) -> Option<PieceSet> {
        let by_age = self.by_age.iter().filter_map(|(_, number)| self.sets.get(number)).map(|(set, _)| set);
        let of = |set: &&PieceSet| backend.is_none_or(|backend| *backend == *set.connection.backend);
        by_age.into_iter().find(of).cloned()
    }

    pub(super) fn pieces(&self, set: i64) -> Vec<Piece> {
        self.sets.get(&set).map(|(_, pieces)| pieces.values().cloned().collect()).unwrap_or_default()
    }

    pub(super) fn end(&mut self, set: i64) {
        let Some((set, pieces)) = self.sets.remove(&set) else { return };
        self.by_age.remove(&(set.newest_at, set.number));
        if let Some(numbers) = self.by_connection.get_mut(&set.connection) {
            numbers.remove(&set.number);
            if numbers.is_empty() {
                self.by_connection.remove(&set.connection);
            }
        }
        if let Some(count) = self.counts.get_mut(&set.connection.backend) {
            *count = count.saturating_sub(pieces.len() as u64);
            if *count == 0 {
                self.counts.remove(&set.connection.backend);
            }
        }
    }

    pub(super) fn of(&self, backend: &str) -> u64 {
        self.counts.get(backend).copied().unwrap_or(0)
    }

    /// How many wait, by backend.
    pub(super) fn counts(&self) -> Vec<(Name, u64)> {
        let mut counts: Vec<_> = self.counts.iter().map(|(name, count)| (name.clone(), *count)).collect();
        counts.sort();
        counts
    }

    pub(super) fn shift(&mut self, by: Duration) {
        self.by_age.clear();
        for (set, _) in self.sets.values_mut() {
            set.newest_at = set.newest_at + by;
            self.by_age.insert((set.newest_at, set.number));
        }
    }
}
