//! Reads what is committed, on a connection of its own: pages, the API, the command line. Never delays the writer.

use super::queries::{about, backends, origin_of, rows_of};
use super::schema::{PARTIAL, STATUSES, meaning_of, status_of};
use super::{Reader, StoreError, explain, schema};
use crate::message::{Direction, MessageId, Name, State};
use crate::store::{Count, Detail, Entry, PAGE_LIMIT, Page, Query, Row, priority_of};
use crate::time::Timestamp;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension, Result};
use rustix::fs::Access;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A writer that recovers or empties its log may hold readers up for an instant.
const PATIENCE: Duration = Duration::from_secs(1);
/// So many faults say enough.
const FAULTS: usize = 100;

/// A reader of a store file.
#[derive(Debug)]
pub(super) struct SqliteReader {
    connection: Connection,
    path: PathBuf,
}

impl SqliteReader {
    /// Opens a reader, whether somebody writes or not.
    pub(super) fn open(path: &Path) -> Result<SqliteReader, StoreError> {
        if !path.exists() {
            return Err(StoreError::Broken(format!(
                "{} does not exist: no router has used it yet, or [database] url names another file",
                path.display()
            )));
        }
        // SQLite does not say why a file cannot be opened; mostly somebody asks who may not.
        let explained = |error: rusqlite::Error| match rustix::fs::access(path, Access::READ_OK) {
            Err(reason) if error.sqlite_error_code() == Some(ErrorCode::CannotOpen) => {
                StoreError::Broken(format!(
                    "{} cannot be read: {reason}; run this as the user that runs the router, for example with sudo -u",
                    path.display()
                ))
            }
            _ => explain(&error, path),
        };
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(path, flags).map_err(explained)?;
        connection.set_prepared_statement_cache_capacity(super::file::STATEMENTS);
        connection.busy_timeout(PATIENCE).map_err(explained)?;
        // As for the writer: one plan for each statement, compiled once.
        connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(explained)?;
        connection
            .execute_batch(
                "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY;",
            )
            .map_err(explained)?;
        let known = schema::STEPS.len();
        let version = schema::version(&connection, path, known)?;
        if version < known {
            return Err(StoreError::Broken(format!(
                "{} has schema {version}, this program reads {known}: start the router once to bring it up to date",
                path.display()
            )));
        }
        Ok(SqliteReader { connection, path: path.to_owned() })
    }

    /// The faults that SQLite finds in the whole file.
    pub(super) fn full_check(&mut self) -> Result<Vec<String>, StoreError> {
        let check = || -> Result<Vec<String>> {
            let mut statement = self.connection.prepare(&format!("PRAGMA integrity_check({FAULTS})"))?;
            let rows = statement.query_map([], |row| row.get::<_, String>(0))?;
            rows.filter(|row| !row.as_ref().is_ok_and(|text| text == "ok")).collect()
        };
        match check().map_err(|error| explain(&error, &self.path)) {
            // A file that cannot even be checked is a finding as well.
            Err(StoreError::Damaged(why)) => Ok(vec![why]),
            other => other,
        }
    }

    /// Runs several statements on one state of the file.
    fn at_once<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T, StoreError> {
        let path = &self.path;
        let read = |connection: &mut Connection| -> Result<T> {
            let transaction = connection.transaction()?;
            let result = work(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        read(&mut self.connection).map_err(|error| explain(&error, path))
    }
}

impl Reader for SqliteReader {
    fn message(&mut self, id: MessageId) -> Result<Option<Detail>, StoreError> {
        self.at_once(|connection| {
            let Some(row) = row(connection, id.key())?.filter(|row| row.id == id) else { return Ok(None) };
            let mut statement = connection.prepare_cached("SELECT raw FROM messages WHERE key = ?1")?;
            let raw = statement.query_row([id.key()], |row| row.get(0))?;
            let mut statement = connection.prepare_cached(
                "SELECT at, status, actor, attempt, reason FROM history WHERE message = ?1 ORDER BY n",
            )?;
            let entries = statement.query_map([id.key()], |row| {
                Ok(Entry {
                    at: Timestamp(row.get(0)?),
                    state: state_of(row.get(1)?)?.1,
                    actor: row.get(2)?,
                    attempt: row.get(3)?,
                    reason: row.get(4)?,
                })
            })?;
            let history = entries.collect::<Result<_>>()?;
            Ok(Some(Detail { row, history, raw }))
        })
    }

    fn messages(&mut self, query: &Query) -> Result<Page, StoreError> {
        self.at_once(|connection| {
            let limit = query.limit.clamp(1, PAGE_LIMIT);
            let mut keys = keys(connection, query, limit + 1)?;
            let more = keys.len() > limit;
            keys.truncate(limit);
            let mut messages = Vec::with_capacity(keys.len());
            for key in keys {
                messages.extend(row(connection, key)?);
            }
            let next = messages.last().filter(|_| more).map(|row: &Row| row.id);
            Ok(Page { messages, next })
        })
    }

    fn tally(&mut self) -> Result<Vec<Count>, StoreError> {
        self.at_once(|connection| counts(connection, TALLY))
    }

    fn recount(&mut self) -> Result<Vec<Count>, StoreError> {
        self.at_once(|connection| counts(connection, RECOUNT))
    }

    fn audit(&mut self) -> Result<(Vec<Count>, Vec<Count>), StoreError> {
        self.at_once(|connection| Ok((counts(connection, TALLY)?, counts(connection, RECOUNT)?)))
    }

    fn pieces(&mut self) -> Result<Vec<(Name, u64)>, StoreError> {
        self.at_once(|connection| {
            let mut statement = connection.prepare_cached(PIECES)?;
            let count = |row: &rusqlite::Row<'_>| {
                Ok((row.get::<_, String>(0)?.into(), row.get::<_, i64>(1)?.unsigned_abs()))
            };
            statement.query_map([], count)?.collect()
        })
    }

    fn calls(&mut self) -> Result<u64, StoreError> {
        let count = |connection: &Connection| {
            connection.query_row("SELECT count(*) FROM calls", [], |row| row.get::<_, i64>(0))
        };
        self.at_once(count).map(|count| u64::try_from(count).unwrap_or(0))
    }

    fn oldest_waiting(&mut self, backend: &str) -> Result<Option<Timestamp>, StoreError> {
        self.at_once(|connection| {
            let mut statement = connection.prepare_cached(
                "SELECT m.key, m.created_at FROM messages m INDEXED BY messages_by_status \
                 WHERE m.backend = (SELECT id FROM backends WHERE name = ?1) AND m.status = ?2 ORDER BY m.key LIMIT 1",
            )?;
            let mut oldest: Option<(i64, i64)> = None;
            for state in [State::Queued, State::Sending, State::Uncertain] {
                let first = statement
                    .query_row((backend, status_of(Direction::Out, state)), |row| Ok((row.get(0)?, row.get(1)?)))
                    .optional()?;
                oldest = oldest.into_iter().chain(first).min();
            }
            Ok(oldest.map(|(_, created_at)| Timestamp(created_at)))
        })
    }
}

const TALLY: &str = "SELECT b.name, t.status, t.count FROM tally t JOIN backends b ON b.id = t.backend \
     WHERE t.count <> 0 AND t.status <> 0";
const PIECES: &str = "SELECT b.name, t.count FROM tally t JOIN backends b ON b.id = t.backend \
     WHERE t.count <> 0 AND t.status = 0 ORDER BY b.name";
const RECOUNT: &str = "SELECT b.name, m.status, m.count FROM \
         (SELECT backend, status, count(*) AS count FROM messages NOT INDEXED GROUP BY backend, status) m \
     JOIN backends b ON b.id = m.backend";

fn counts(connection: &Connection, sql: &str) -> Result<Vec<Count>> {
    let mut statement = connection.prepare_cached(sql)?;
    let counts = statement.query_map([], |row| {
        let (direction, state) = state_of(row.get(1)?)?;
        Ok(Count {
            backend: row.get::<_, String>(0)?.into(),
            direction,
            state,
            count: row.get::<_, i64>(2)?.unsigned_abs(),
        })
    })?;
    let mut counts = counts.collect::<Result<Vec<_>>>()?;
    counts.sort();
    Ok(counts)
}

/// The keys of a page, in its order. Each stream of keys that an index can give in order is read for one page at most; then they are merged.
fn keys(connection: &Connection, query: &Query, limit: usize) -> Result<Vec<i64>> {
    let after = query.after.map(MessageId::key);
    let (from, to) = match (after, query.ascending) {
        (Some(after), true) => (after.saturating_add(1), i64::MAX),
        (Some(after), false) => (i64::MIN, after.saturating_sub(1)),
        (None, _) => (i64::MIN, i64::MAX),
    };
    let order = if query.ascending { "ASC" } else { "DESC" };
    let mut found = Vec::new();
    let mut read = |source: &str, one: i64, two: i64| -> Result<()> {
        let mut statement = connection.prepare_cached(&format!(
            "SELECT key FROM messages {source} AND key BETWEEN ?3 AND ?4 ORDER BY key {order} LIMIT ?5"
        ))?;
        let mut rows = statement.query((one, two, from, to, rows_of(limit)))?;
        while let Some(row) = rows.next()? {
            found.push(row.get(0)?);
        }
        Ok(())
    };
    let statuses: Vec<i64> = STATUSES
        .into_iter()
        .filter(|&(direction, state)| {
            query.direction.is_none_or(|wanted| wanted == direction)
                && query.state.is_none_or(|wanted| wanted == state)
        })
        .map(|(direction, state)| status_of(direction, state))
        .collect();
    let backend = match &query.backend {
        None => None,
        Some(name) => {
            let mut statement = connection.prepare_cached("SELECT id FROM backends WHERE name = ?1")?;
            match statement.query_row([name], |row| row.get(0)).optional()? {
                None => return Ok(Vec::new()),
                some => some,
            }
        }
    };
    if let Some(identity) = &query.identity {
        let mut statement = connection.prepare_cached(
            "SELECT id FROM connections INDEXED BY connections_by_identity \
             WHERE identity = ?1 AND (?2 IS NULL OR backend = ?2)",
        )?;
        let connections = statement.query_map((identity, backend), |row| row.get(0))?;
        let list: Vec<String> = statuses.iter().map(i64::to_string).collect();
        // The second parameter is there for the other kind of source; it is always true.
        let source = format!(
            "INDEXED BY messages_by_connection WHERE connection = ?1 AND ?2 = 0 AND status IN ({})",
            list.join(", ")
        );
        for connection in connections {
            read(&source, connection?, 0)?;
        }
    } else if statuses.len() < STATUSES.len() || backend.is_some() {
        let backends = match backend {
            Some(backend) => vec![backend],
            None => backends(connection)?,
        };
        for backend in backends {
            for &status in &statuses {
                read("INDEXED BY messages_by_status WHERE backend = ?1 AND status = ?2", backend, status)?;
            }
        }
    } else {
        read("WHERE ?1 = ?2", 0, 0)?;
    }
    found.sort_unstable();
    if !query.ascending {
        found.reverse();
    }
    found.truncate(limit);
    Ok(found)
}

fn row(connection: &Connection, key: i64) -> Result<Option<Row>> {
    let mut statement = connection.prepare_cached(
        "SELECT m.key, m.tail, m.status, b.name, c.identity, m.text, m.reason, m.created_at, m.updated_at, \
             m.about_key, m.about_tail, m.redelivered, m.attempts, m.parts, m.origin, m.class, m.not_before, \
             m.expires_at, m.source_time, m.remote_id, m.flags \
         FROM messages m JOIN connections c ON c.id = m.connection JOIN backends b ON b.id = m.backend \
         WHERE m.key = ?1",
    )?;
    let read = |row: &rusqlite::Row<'_>| -> Result<Row> {
        let (direction, state) = state_of(row.get(2)?)?;
        let about = about(row.get(9)?, row.get(10)?);
        let time =
            |column| -> Result<Option<Timestamp>> { Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp)) };
        Ok(Row {
            id: MessageId::from_parts(row.get(0)?, row.get(1)?),
            direction,
            backend: row.get::<_, String>(3)?.into(),
            identity: row.get(4)?,
            text: row.get(5)?,
            state,
            reason: row.get(6)?,
            created_at: Timestamp(row.get(7)?),
            updated_at: Timestamp(row.get(8)?),
            in_response_to: about.filter(|_| direction == Direction::Out),
            duplicate_of: about.filter(|_| direction == Direction::In),
            redelivered: row.get(11)?,
            attempts: row.get(12)?,
            parts: row.get(13)?,
            partial: row.get::<_, i64>(20)? & PARTIAL != 0,
            origin: origin_of(row.get(14)?),
            priority: priority_of(row.get(15)?),
            not_before: time(16)?,
            expires_at: time(17)?,
            source_time: time(18)?,
            remote_id: row.get(19)?,
        })
    };
    statement.query_row([key], read).optional()
}

fn state_of(status: i64) -> Result<(Direction, State)> {
    meaning_of(status).ok_or(rusqlite::Error::IntegralValueOutOfRange(0, status))
}
