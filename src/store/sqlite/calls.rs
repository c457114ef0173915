//! Calls that are owed to programs, in a store file. Of those about one message only the first has a `due`, so finding what is due is a range of an index, however
//! many wait behind it.

use super::changes::{Changes, LATEST};
use super::names::Names;
use super::queries::rows_of;
use crate::message::{Callback, MessageId};
use crate::store::{Call, NewCall, Wanted};
use crate::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

impl Changes<'_> {
    /// Notes who wants to be called about a new message.
    pub(super) fn want(&self, key: i64, callback: &Callback) -> Result<()> {
        let mut statement = self
            .connection
            .prepare_cached("INSERT INTO callbacks (message, url, mask, happened) VALUES (?1, ?2, ?3, 0)")?;
        statement.execute((key, &callback.url, callback.mask)).map(drop)
    }

    pub(super) fn tell(
        &self,
        id: MessageId,
        happened: u8,
        over: bool,
        call: Option<&NewCall<'_>>,
        now: Timestamp,
    ) -> Result<()> {
        if over {
            self.want_no_more(id.key())?;
        } else {
            let mut statement =
                self.connection.prepare_cached("UPDATE callbacks SET happened = ?2 WHERE message = ?1")?;
            statement.execute((id.key(), happened))?;
        }
        let Some(call) = call else { return Ok(()) };
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO calls (message, message_tail, host, method, url, headers, body, attempts, at, due) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 0, ?8, \
                 CASE WHEN EXISTS (SELECT 1 FROM calls WHERE message = ?1) THEN NULL ELSE ?9 END)",
        )?;
        let NewCall { host, method, url, headers, body } = *call;
        let due = now.0.min(LATEST);
        statement
            .execute(params![id.key(), id.tail(), host, method, url, headers, body, now.0, due])
            .map(drop)
    }

    pub(super) fn want_no_more(&self, key: i64) -> Result<()> {
        self.connection.prepare_cached("DELETE FROM callbacks WHERE message = ?1")?.execute([key]).map(drop)
    }

    pub(super) fn put_off_call(&self, number: i64, attempts: u32, due: Timestamp) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "UPDATE calls SET attempts = ?2, due = ?3 WHERE number = ?1 AND due IS NOT NULL",
        )?;
        statement.execute((number, attempts, due.0.min(LATEST))).map(drop)
    }

    /// `false` when there is no such call.
    pub(super) fn end_call(&self, number: i64, now: Timestamp) -> Result<bool> {
        let mut statement =
            self.connection.prepare_cached("DELETE FROM calls WHERE number = ?1 RETURNING message")?;
        let Some(message) = statement.query_row([number], |row| row.get::<_, i64>(0)).optional()? else {
            return Ok(false);
        };
        let mut statement = self.connection.prepare_cached(
            "UPDATE calls SET due = ?2 WHERE due IS NULL AND \
                 number = (SELECT number FROM calls WHERE message = ?1 ORDER BY number LIMIT 1)",
        )?;
        statement.execute((message, now.0.min(LATEST)))?;
        Ok(true)
    }
}

/// Who wants to be called about a message.
pub(super) fn callback(connection: &Connection, names: &mut Names, id: MessageId) -> Result<Option<Wanted>> {
    let mut statement = connection.prepare_cached(
        "SELECT w.url, w.mask, w.happened, m.connection, coalesce(m.taken_by, m.backend), m.remote_id \
         FROM callbacks w JOIN messages m ON m.key = w.message WHERE w.message = ?1 AND m.tail = ?2",
    )?;
    let mut rows = statement.query((id.key(), id.tail()))?;
    let Some(row) = rows.next()? else { return Ok(None) };
    Ok(Some(Wanted {
        callback: Callback { url: row.get(0)?, mask: row.get(1)? },
        happened: row.get(2)?,
        identity: names.address(connection, row.get(3)?)?.identity.to_string(),
        backend: names.backend_name(connection, row.get(4)?)?,
        remote_id: row.get(5)?,
    }))
}

/// The hosts after this one that are owed calls.
pub(super) fn hosts(connection: &Connection, after: &str, limit: usize) -> Result<Vec<String>> {
    // One step through the index for each host, not for each call.
    let mut statement = connection.prepare_cached(
        "SELECT host FROM calls INDEXED BY calls_by_host WHERE host > ?1 ORDER BY host LIMIT 1",
    )?;
    let mut hosts: Vec<String> = Vec::new();
    while hosts.len() < limit {
        let last = hosts.last().map_or(after, String::as_str);
        match statement.query_row([last], |row| row.get(0)).optional()? {
            Some(host) => hosts.push(host),
            None => break,
        }
    }
    Ok(hosts)
}

/// The columns that [`call`] reads.
const CALL: &str = "number, message, message_tail, host, method, url, headers, body, attempts, at";

/// Calls to a host that are due.
pub(super) fn due(connection: &Connection, host: &str, limit: usize, now: Timestamp) -> Result<Vec<Call>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {CALL} FROM calls INDEXED BY calls_by_host WHERE host = ?1 AND due <= ?2 ORDER BY due, number LIMIT ?3"
    ))?;
    statement.query_map((host, now.0.min(LATEST), rows_of(limit)), call)?.collect()
}

/// When the next call falls due after a time.
pub(super) fn next(connection: &Connection, now: Timestamp) -> Result<Option<Timestamp>> {
    let mut statement =
        connection.prepare_cached("SELECT min(due) FROM calls INDEXED BY calls_by_due WHERE due > ?1")?;
    let due: Option<i64> = statement.query_row([now.0], |row| row.get(0))?;
    Ok(due.map(Timestamp))
}

/// The calls that have waited longest.
pub(super) fn oldest(connection: &Connection, limit: usize) -> Result<Vec<Call>> {
    let mut statement = connection
        .prepare_cached(&format!("SELECT {CALL} FROM calls WHERE number > 0 ORDER BY number LIMIT ?1"))?;
    statement.query_map([rows_of(limit)], call)?.collect()
}

fn call(row: &Row<'_>) -> Result<Call> {
    Ok(Call {
        number: row.get(0)?,
        message: MessageId::from_parts(row.get(1)?, row.get(2)?),
        host: row.get(3)?,
        method: row.get(4)?,
        url: row.get(5)?,
        headers: row.get(6)?,
        body: row.get(7)?,
        attempts: row.get(8)?,
        at: Timestamp(row.get(9)?),
    })
}
