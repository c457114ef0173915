//! What carriers call the parts of messages, in a store file.

use super::changes::Changes;
use crate::message::MessageId;
use crate::store::{Named, named_parts};
use crate::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Result};

impl Changes<'_> {
    /// Remembers the names of a message, one for each part.
    pub(super) fn give_names(&self, key: i64, backend: i64, names: &[String], at: Timestamp) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO names (message, part, backend, name, at, arrived) VALUES (?1, ?2, ?3, ?4, ?5, 0)",
        )?;
        named_parts(names)
            .try_for_each(|(part, name)| statement.execute((key, part, backend, name, at.0)).map(drop))
    }

    pub(super) fn forget_names(&self, key: i64) -> Result<()> {
        self.connection.prepare_cached("DELETE FROM names WHERE message = ?1")?.execute([key]).map(drop)
    }

    /// Marks a part; says how many of its message are still under way.
    pub(super) fn arrived(&self, key: i64, part: u32) -> Result<u32> {
        let mut statement = self
            .connection
            .prepare_cached("UPDATE names SET arrived = 1 WHERE message = ?1 AND part = ?2")?;
        statement.execute((key, part))?;
        let mut statement = self
            .connection
            .prepare_cached("SELECT count(*) FROM names WHERE message = ?1 AND arrived = 0")?;
        statement.query_row([key], |row| row.get(0))
    }
}

/// The part with this name that did not arrive yet; the last that was given it.
pub(super) fn named(connection: &Connection, backend: i64, name: &str) -> Result<Option<Named>> {
    let mut statement = connection.prepare_cached(
        "SELECT n.message, m.tail, n.part, (SELECT count(*) FROM names WHERE message = n.message) \
         FROM names n INDEXED BY names_by_name JOIN messages m ON m.key = n.message \
         WHERE n.backend = ?1 AND n.name = ?2 AND n.arrived = 0 ORDER BY n.at DESC, n.message DESC, n.part DESC LIMIT 1",
    )?;
    let named = |row: &rusqlite::Row<'_>| {
        let id = MessageId::from_parts(row.get(0)?, row.get(1)?);
        Ok(Named { id, part: row.get(2)?, parts: row.get(3)? })
    };
    statement.query_row((backend, name), named).optional()
}
