//! What the writer asks before it changes anything: what can be claimed, what is due, what is overdue, what a process had in hand. Each
//! is a range of one index, whatever the backlog.

use super::changes::LATEST;
use super::names::Names;
use super::schema::{BEFORE, CALLED, NEVER, PARTIAL, TURNS, period_number, wishes_of};
use crate::message::{Contact, MessageId, Name, Origin, Outgoing};
use crate::store::turns::in_turns;
use crate::store::{Period, Taken, Tried, Unfinished};
use crate::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Result, Row};
use std::collections::HashMap;

/// A message that is due, as it will be when it is taken, and where it stands until then.
pub(super) struct Due {
    pub(super) taken: Taken,
    pub(super) status: i64,
    pub(super) entries: i64,
    pub(super) backend: i64,
}

/// Received messages of one backend that may be claimed, as they will be when they are; of those that were never tried only what is newer than `after`.
pub(super) fn claimable(
    connection: &Connection,
    names: &mut Names,
    (tried, backend): (Tried, i64),
    after: i64,
    limit: usize,
) -> Result<Vec<Unfinished>> {
    let before = tried == Tried::Before;
    // At most as many were tried before as one process had in hand, so sorting them is cheap.
    let order = if before { "m.attempts, m.key" } else { "m.key" };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT m.key, m.tail, m.connection, m.text, m.created_at, m.source_time, m.attempts, m.redelivered, m.origin, \
             k.id, k.name, k.language, m.flags \
         FROM messages m INDEXED BY messages_by_due \
         JOIN connections c ON c.id = m.connection LEFT JOIN contacts k ON k.id = c.contact \
         WHERE m.turn = ?1 AND m.due = 0 AND m.key > ?2 ORDER BY {order} LIMIT ?3",
    ))?;
    let turn = backend * TURNS + if before { BEFORE } else { NEVER };
    let mut rows = statement.query((turn, after, rows_of(limit)))?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let contact = match row.get(9)? {
            Some(id) => Some(Contact { id, name: row.get(10)?, language: row.get(11)? }),
            None => None,
        };
        found.push(Unfinished {
            id: MessageId::from_parts(row.get(0)?, row.get(1)?),
            connection: names.address(connection, row.get(2)?)?,
            text: row.get(3)?,
            received_at: Timestamp(row.get(4)?),
            source_time: row.get::<_, Option<i64>>(5)?.map(Timestamp),
            attempt: row.get::<_, u32>(6)?.saturating_add(1),
            redelivered: before || row.get(7)?,
            partial: row.get::<_, i64>(12)? & PARTIAL != 0,
            origin: origin_of(row.get(8)?),
            contact,
        });
    }
    Ok(found)
}

/// These backends, each with its bound.
pub(super) fn with_room(
    connection: &Connection,
    names: &mut Names,
    backends: &[i64],
    room: &dyn Fn(&str) -> usize,
) -> Result<Vec<(i64, usize)>> {
    backends.iter().map(|&backend| Ok((backend, room(&names.backend_name(connection, backend)?)))).collect()
}

/// The same shared among backends, all that have received messages, each with its bound; and the backend at which it began.
pub(super) fn claimable_in_turns(
    connection: &Connection,
    names: &mut Names,
    backends: &[(i64, usize)],
    last: Option<i64>,
    limit: usize,
) -> Result<(Vec<Unfinished>, Option<i64>)> {
    let mut reached: HashMap<i64, i64> = HashMap::new();
    let (mut found, began) = in_turns(backends, last, limit, |backend, count| {
        let after = reached.get(&backend).copied().unwrap_or(i64::MIN);
        let found = claimable(connection, names, (Tried::Never, backend), after, count)?;
        reached.extend(found.last().map(|last| (backend, last.id.key())));
        Ok::<_, rusqlite::Error>(found)
    })?;
    found.sort_unstable_by_key(|message: &Unfinished| message.id);
    Ok((found, began))
}

/// What was claimed before, the least tried of all backends first.
pub(super) fn claimable_again(
    connection: &Connection,
    names: &mut Names,
    backends: &[(i64, usize)],
    limit: usize,
) -> Result<Vec<Unfinished>> {
    let mut found = Vec::new();
    for &(backend, room) in backends.iter().filter(|(_, room)| *room > 0) {
        found.extend(claimable(connection, names, (Tried::Before, backend), i64::MIN, limit.min(room))?);
    }
    found.sort_unstable_by_key(|message| (message.attempt, message.id));
    found.truncate(limit);
    Ok(found)
}

/// The columns that [`taken`] reads.
const TAKEN: &str = "key, tail, connection, text, about_key, about_tail, attempts, expires_at, origin, uncertain, status, entries, flags, backend, taken_by";

/// Messages of a queue that are due; without those that `not_by` took last.
pub(super) fn due(
    connection: &Connection,
    names: &mut Names,
    queue: i64,
    not_by: Option<i64>,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<Due>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {TAKEN} FROM messages INDEXED BY messages_by_due \
         WHERE turn = ?1 AND due <= ?2 AND (?4 IS NULL OR taken_by IS NOT ?4) ORDER BY due, key LIMIT ?3"
    ))?;
    let mut found = Vec::new();
    for class in 1..=3 {
        let room = rows_of(limit - found.len());
        let mut rows = statement.query((queue * TURNS + class, now.0.min(LATEST), room, not_by))?;
        while let Some(row) = rows.next()? {
            let mut taken = taken(connection, names, row)?;
            taken.outgoing.attempt = taken.outgoing.attempt.saturating_add(1);
            found.push(Due { taken, status: row.get(10)?, entries: row.get(11)?, backend: row.get(13)? });
        }
        if found.len() >= limit {
            break;
        }
    }
    Ok(found)
}

/// Messages that are `sending`.
pub(super) fn sending(connection: &Connection, names: &mut Names) -> Result<Vec<Taken>> {
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {TAKEN} FROM messages INDEXED BY messages_by_status WHERE backend = ?1 AND status = 12"
    ))?;
    let mut found = Vec::new();
    for backend in backends(connection)? {
        let mut rows = statement.query([backend])?;
        while let Some(row) = rows.next()? {
            found.push(taken(connection, names, row)?);
        }
    }
    found.sort_by_key(|taken| taken.outgoing.id);
    Ok(found)
}

/// Received messages of these backends that were claimed.
pub(super) fn claimed(connection: &Connection, backends: &[i64]) -> Result<Vec<MessageId>> {
    let mut statement = connection.prepare_cached(
        "SELECT key, tail FROM messages INDEXED BY messages_by_due WHERE turn = ?1 AND due = 9223372036854775807",
    )?;
    let mut found = Vec::new();
    for turn in backends.iter().flat_map(|backend| [NEVER, BEFORE].map(|kind| backend * TURNS + kind)) {
        let mut rows = statement.query([turn])?;
        while let Some(row) = rows.next()? {
            found.push(MessageId::from_parts(row.get(0)?, row.get(1)?));
        }
    }
    Ok(found)
}

/// When the next message of a queue falls due.
pub(super) fn next_due(connection: &Connection, queue: i64) -> Result<Option<Timestamp>> {
    let mut statement = connection.prepare_cached(
        "SELECT min(due) FROM messages INDEXED BY messages_by_due WHERE turn = ?1 AND due < 9223372036854775807",
    )?;
    let mut next: Option<i64> = None;
    for class in 1..=3 {
        let due: Option<i64> = statement.query_row([queue * TURNS + class], |row| row.get(0))?;
        next = next.into_iter().chain(due).min();
    }
    Ok(next.map(Timestamp))
}

/// How much a backend sent in the period that began at `since`.
pub(super) fn spent(connection: &Connection, backend: i64, period: Period, since: Timestamp) -> Result<u64> {
    let mut statement = connection
        .prepare_cached("SELECT count FROM spent WHERE backend = ?1 AND period = ?2 AND since >= ?3")?;
    let count: Option<i64> =
        statement.query_row((backend, period_number(period), since.0), |row| row.get(0)).optional()?;
    Ok(count.map_or(0, i64::unsigned_abs))
}

/// Messages whose validity has ended.
pub(super) fn overdue(connection: &Connection, now: Timestamp, limit: usize) -> Result<Vec<MessageId>> {
    let mut statement = connection.prepare_cached(
        "SELECT key, tail FROM messages INDEXED BY messages_by_validity \
         WHERE open_until <= ?1 AND status <> 12 ORDER BY open_until, key LIMIT ?2",
    )?;
    let rows = statement
        .query_map((now.0, rows_of(limit)), |row| Ok(MessageId::from_parts(row.get(0)?, row.get(1)?)))?;
    rows.collect()
}

/// Ended messages last changed before a time, the longest ended first.
pub(super) fn purgeable(connection: &Connection, before: Timestamp, limit: usize) -> Result<Vec<i64>> {
    let mut statement = connection.prepare_cached(
        "SELECT key FROM messages INDEXED BY messages_by_end \
         WHERE (status BETWEEN 2 AND 5 OR status BETWEEN 13 AND 17) AND updated_at < ?1 ORDER BY updated_at LIMIT ?2",
    )?;
    let rows = statement.query_map((before.0, rows_of(limit)), |row| row.get(0))?;
    rows.collect()
}

/// The queues whose names begin with a backend's and a slash.
pub(super) fn queues(connection: &Connection, backend: &str) -> Result<Vec<Name>> {
    // The digit 0 follows the slash.
    let mut statement =
        connection.prepare_cached("SELECT name FROM backends WHERE name > ?1 AND name < ?2 ORDER BY name")?;
    let rows = statement.query_map((format!("{backend}/"), format!("{backend}0")), |row| {
        row.get::<_, String>(0).map(Name::from)
    })?;
    rows.collect()
}

/// The numbers of all backends and queues.
pub(super) fn backends(connection: &Connection) -> Result<Vec<i64>> {
    let mut statement = connection.prepare_cached("SELECT id FROM backends ORDER BY id")?;
    let rows = statement.query_map([], |row| row.get(0))?;
    rows.collect()
}

fn taken(connection: &Connection, names: &mut Names, row: &Row<'_>) -> Result<Taken> {
    let address = names.address(connection, row.get(2)?)?;
    let flags = row.get(12)?;
    let outgoing = Outgoing {
        id: MessageId::from_parts(row.get(0)?, row.get(1)?),
        by: match row.get(14)? {
            Some(by) => names.backend_name(connection, by)?,
            None => address.backend.clone(),
        },
        connection: address,
        text: row.get(3)?,
        in_response_to: about(row.get(4)?, row.get(5)?),
        answered: None,
        attempt: row.get(6)?,
        expires_at: Timestamp(row.get(7)?),
        origin: origin_of(row.get(8)?),
        wishes: wishes_of(flags),
    };
    Ok(Taken { outgoing, uncertain: row.get(9)?, called: flags & CALLED != 0 })
}

/// A limit as SQLite counts rows.
pub(super) fn rows_of(limit: usize) -> i64 {
    i64::try_from(limit).unwrap_or(i64::MAX)
}

/// The id of another message that a message refers to.
pub(super) fn about(key: Option<i64>, tail: Option<i64>) -> Option<MessageId> {
    Some(MessageId::from_parts(key?, tail?))
}

pub(super) fn origin_of(number: i64) -> Origin {
    if number == 0 { Origin::Real } else { Origin::Test }
}
