//! Damage (P13): a cheap look at a file when it is opened, and what is done about a file that cannot be used.
//!
//! The damaged file is never written to: a copy of it is read, what can be read goes into a new file, and only when that one is safe on disk
//! does it take the damaged one's name, which lives on under another. Killed at any instant, the path leads to the old file or to the new one,
//! never to nothing and never to an empty store.

use super::schema::{STEPS, migrate};
use super::{StoreError, connect, explain, guard};
use crate::time::Timestamp;
use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, OptionalExtension, Result, params_from_iter};
use std::fs::{self, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::Path;

/// The size of a page in every file of ours.
const PAGE: usize = 4096;
/// So many damaged places are stepped over; a file with more has little left that could be trusted.
const PLACES: usize = 1_000;

/// Tables with the column in whose order they are read. The others are made anew.
const TABLES: [(&str, &str); 11] = [
    ("backends", "id"),
    ("contacts", "id"),
    ("connections", "id"),
    ("messages", "key"),
    ("history", "message"),
    ("sets", "id"),
    ("pieces", "piece_set"),
    ("names", "message"),
    ("spent", "backend"),
    ("callbacks", "message"),
    ("calls", "number"),
];

/// Reads a little of everything: both ends of each table and index. Not a proof, but quick on any size.
pub(super) fn probe(connection: &Connection) -> Result<()> {
    let drain = |sql: &str| -> Result<()> {
        let mut statement = connection.prepare(sql)?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    };
    for (table, column) in TABLES {
        for order in ["ASC", "DESC"] {
            drain(&format!("SELECT * FROM {table} ORDER BY {column} {order} LIMIT 20"))?;
        }
    }
    for (index, columns, condition) in [
        ("messages_by_connection", "connection", "1"),
        ("messages_by_status", "backend, status", "1"),
        ("messages_by_lane", "lane", "lane IS NOT NULL"),
        ("messages_by_due", "turn, due", "due IS NOT NULL"),
        ("messages_by_validity", "open_until", "open_until IS NOT NULL"),
        ("messages_by_end", "updated_at", "(status BETWEEN 2 AND 5 OR status BETWEEN 13 AND 17)"),
    ] {
        let last = columns.replace(',', " DESC,");
        for order in [columns.to_owned(), format!("{last} DESC")] {
            drain(&format!(
                "SELECT key, text FROM messages INDEXED BY {index} WHERE {condition} ORDER BY {order} LIMIT 5"
            ))?;
        }
    }
    drain("SELECT * FROM tally")?;
    drain("SELECT scope FROM keys LIMIT 5")
}

/// What was saved.
#[derive(Debug, Default)]
struct Saved {
    messages: usize,
    /// Places that could not be read.
    gaps: usize,
}

/// Puts what can be read of the damaged file at `path` into a new one, which takes its place; the damaged one is kept aside.
pub(super) fn salvage(
    path: &Path,
    why: &str,
    now: Timestamp,
    notes: &mut Vec<String>,
) -> std::result::Result<(), StoreError> {
    let (work, target) = (guard::beside(path, ".salvage-read"), guard::beside(path, ".salvage-new"));
    let sweep = || {
        for file in [&work, &target] {
            for suffix in ["", "-wal", "-shm"] {
                let _ = fs::remove_file(guard::beside(file, suffix));
            }
        }
    };
    sweep();
    let saved = read_into(path, &work, &target);
    let saved = match saved {
        Ok(saved) => saved,
        Err(error) => {
            sweep();
            return Err(match error {
                StoreError::Damaged(more) => StoreError::Damaged(format!(
                    "{why}. Nothing could be saved from it ({more}). Put a backup in its place; \
                     or move it away, with its -wal, to begin with an empty store"
                )),
                other => other,
            });
        }
    };
    let aside = guard::beside(path, &format!(".damaged-{}", now.milliseconds() / 1_000));
    let settle = || -> std::io::Result<()> {
        fs::hard_link(path, &aside).or_else(|_| fs::copy(path, &aside).map(drop))?;
        match fs::rename(guard::beside(path, "-wal"), guard::beside(&aside, "-wal")) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let _ = fs::remove_file(guard::beside(path, "-shm"));
        guard::sync_folder(path)
    };
    settle().map_err(|error| guard::explain_io(&error, &aside))?;
    guard::settle_file(&target, path)?;
    sweep();
    notes.push(format!(
        "{why}. {} messages were saved into a new file, {} places could not be read. \
         The damaged file is kept as {}; messages may be missing, and some may be sent or answered twice",
        saved.messages,
        saved.gaps,
        aside.display()
    ));
    Ok(())
}

/// Reads a copy of `path`, which lies at `work`, into a new store at `target`.
fn read_into(path: &Path, work: &Path, target: &Path) -> std::result::Result<Saved, StoreError> {
    guard::create_private(target)?;
    let new = connect(target)?;
    migrate(&new, target, STEPS)?;
    let explained = |error: rusqlite::Error| explain(&error, work);
    new.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(explained)?;
    let io = |error: std::io::Error| guard::explain_io(&error, work);
    for suffix in ["", "-wal"] {
        let from = guard::beside(path, suffix);
        let to = guard::beside(work, suffix);
        if from.exists() {
            guard::create_private(&to)?;
            fs::copy(&from, &to).map_err(io)?;
        }
    }
    let old = match open_copy(work) {
        Ok(old) => old,
        Err(_) => {
            lend_schema(&new, target, work).map_err(explained)?.map_err(io)?;
            open_copy(work)
                .map_err(|error| StoreError::Damaged(format!("its schema cannot be read: {error}")))?
        }
    };
    let saved = copy_rows(&old, &new).map_err(explained)?;
    if saved.messages == 0 && saved.gaps > 0 {
        return Err(StoreError::Damaged("no message could be read".into()));
    }
    new.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).map_err(explained)?;
    new.close().map_err(|(_, error)| explain(&error, target))?;
    Ok(saved)
}

/// Opens the copy, if SQLite can make anything of its first page.
fn open_copy(work: &Path) -> Result<Connection> {
    let old = Connection::open_with_flags(
        work,
        OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    // A file that is shorter than its header says can only be read with a writable schema.
    old.execute_batch(
        "PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; PRAGMA writable_schema = ON;",
    )?;
    old.prepare("SELECT key FROM messages LIMIT 1")?;
    Ok(old)
}

/// Puts the first page of a new store, and the others on which its schema lies, over those of a copy that has lost its first page. Tables
/// begin on the same pages in all stores that one version made, so the rest of the file fits under it; where it does not, reading fails
/// and nothing is saved.
fn lend_schema(new: &Connection, new_path: &Path, work: &Path) -> Result<std::io::Result<()>> {
    let mut statement = new.prepare("SELECT rootpage FROM sqlite_schema WHERE rootpage > 0")?;
    let roots = statement.query_map([], |row| row.get::<_, u32>(0))?.collect::<Result<Vec<_>>>()?;
    let lend = || -> std::io::Result<()> {
        let mut source = OpenOptions::new().read(true).open(new_path)?;
        let mut target = OpenOptions::new().write(true).open(work)?;
        let length = target.metadata()?.len();
        // Every table of a new store fits on the page where it begins, so what is no beginning belongs to the schema.
        for number in (1..=source.metadata()?.len() / PAGE as u64)
            .filter(|&number| !roots.iter().any(|&root| u64::from(root) == number))
        {
            let mut page = [0_u8; PAGE];
            let offset = SeekFrom::Start((number - 1) * PAGE as u64);
            source.seek(offset)?;
            source.read_exact(&mut page)?;
            if number == 1 {
                // The header (SQLite's file format, 1.3): how many pages there are, and no free ones.
                let pages = u32::try_from(length.div_ceil(PAGE as u64)).unwrap_or(u32::MAX);
                page[28..32].copy_from_slice(&pages.to_be_bytes());
                page[32..40].fill(0);
            }
            target.seek(offset)?;
            target.write_all(&page)?;
        }
        target.sync_all()
    };
    Ok(lend())
}

fn copy_rows(old: &Connection, new: &Connection) -> Result<Saved> {
    let mut saved = Saved::default();
    new.execute_batch("BEGIN IMMEDIATE")?;
    for (table, column) in TABLES {
        let rows = copy_table(old, new, table, column, &mut saved.gaps)?;
        if table == "messages" {
            saved.messages = rows;
        }
    }
    copy_keys(old, new, &mut saved.gaps)?;
    let newest = old
        .query_row("SELECT newest_key, newest_tail FROM store", [], |row| {
            Ok((row.get::<_, Option<i64>>(0)?, row.get::<_, Option<i64>>(1)?))
        })
        .optional();
    match newest {
        Ok(newest) => {
            let (key, tail) = newest.unwrap_or_default();
            new.execute("UPDATE store SET newest_key = ?1, newest_tail = ?2", (key, tail))?;
        }
        Err(_) => saved.gaps += 1,
    }
    new.execute_batch(REPAIR)?;
    new.execute_batch("UPDATE store SET clean = 0; COMMIT")?;
    Ok(saved)
}

/// Copies a table in the order of an integer column, stepping over what cannot be read.
fn copy_table(
    old: &Connection,
    new: &Connection,
    table: &str,
    column: &str,
    gaps: &mut usize,
) -> Result<usize> {
    let columns = columns_of(new, table)?;
    // A file of an older version has fewer tables and columns; what is new has its default.
    let columns: Vec<String> = match columns_of(old, table) {
        Ok(there) if there.is_empty() => return Ok(0),
        Ok(there) => columns.into_iter().filter(|name| there.contains(name)).collect(),
        Err(_) => columns,
    };
    let list = columns.join(", ");
    let marks: Vec<String> = (1..=columns.len()).map(|number| format!("?{number}")).collect();
    let mut insert =
        new.prepare(&format!("INSERT OR IGNORE INTO {table} ({list}) VALUES ({})", marks.join(", ")))?;
    let key = columns.iter().position(|name| name == column).unwrap_or(0);
    let mut read = match old
        .prepare(&format!("SELECT {list} FROM {table} NOT INDEXED WHERE {column} >= ?1 ORDER BY {column}"))
    {
        Ok(read) => read,
        Err(_) => {
            *gaps += 1;
            return Ok(0);
        }
    };
    let mut copied = 0;
    let mut from = i64::MIN;
    for _ in 0..PLACES {
        // The outer error is the new file's and ends everything; the inner one is damage in the old.
        let mut reach = |from: &mut i64| -> Result<Result<()>> {
            let mut rows = match read.query([*from]) {
                Ok(rows) => rows,
                Err(damage) => return Ok(Err(damage)),
            };
            loop {
                let values: Result<Option<Vec<Value>>> = rows.next().and_then(|row| {
                    row.map(|row| (0..columns.len()).map(|index| row.get(index)).collect()).transpose()
                });
                let values = match values {
                    Ok(Some(values)) => values,
                    Ok(None) => return Ok(Ok(())),
                    Err(damage) => return Ok(Err(damage)),
                };
                if let Value::Integer(number) = values[key] {
                    *from = number;
                }
                match insert.execute(params_from_iter(values)) {
                    Ok(rows) => copied += rows,
                    // A value of the wrong type is damage too, and only this row's.
                    Err(rusqlite::Error::SqliteFailure(failure, _))
                        if failure.code == rusqlite::ErrorCode::ConstraintViolation => {}
                    Err(error) => return Err(error),
                }
            }
        };
        if reach(&mut from)?.is_ok() {
            return Ok(copied);
        }
        *gaps += 1;
        match beyond(old, table, column, from) {
            Some(next) => from = next,
            None => break,
        }
    }
    Ok(copied)
}

fn columns_of(connection: &Connection, table: &str) -> Result<Vec<String>> {
    let mut statement = connection.prepare("SELECT name FROM pragma_table_info(?1)")?;
    let names = statement.query_map([table], |row| row.get(0))?;
    names.collect()
}

/// The first number after `from` from which on a table can be read again.
fn beyond(old: &Connection, table: &str, column: &str, from: i64) -> Option<i64> {
    let mut look = old
        .prepare(&format!("SELECT * FROM {table} NOT INDEXED WHERE {column} >= ?1 ORDER BY {column} LIMIT 1"))
        .ok()?;
    // Something readable, nothing there, or damage.
    let mut at = |number: i64| -> std::result::Result<bool, ()> {
        let mut rows = look.query([number]).map_err(|_| ())?;
        rows.next().map(|row| row.is_some()).map_err(|_| ())
    };
    let (mut bad, mut gap) = (from, 1_i64);
    let mut good = loop {
        let next = from.checked_add(gap)?;
        match at(next) {
            Ok(true) => break next,
            Ok(false) => return None,
            Err(()) => (bad, gap) = (next, gap.checked_mul(2)?),
        }
    };
    while good - bad > 1 {
        let middle = bad.midpoint(good);
        match at(middle) {
            Ok(true) => good = middle,
            _ => bad = middle,
        }
    }
    Some(good)
}

/// Copies remembered keys from both ends: the last ones matter most.
fn copy_keys(old: &Connection, new: &Connection, gaps: &mut usize) -> Result<()> {
    let list = "scope, key, at, message_key, message_tail, digest";
    let mut insert =
        new.prepare(&format!("INSERT OR IGNORE INTO keys ({list}) VALUES (?1, ?2, ?3, ?4, ?5, ?6)"))?;
    for order in ["ASC", "DESC"] {
        let mut copy = || -> Result<()> {
            let mut statement =
                old.prepare(&format!("SELECT {list} FROM keys ORDER BY scope {order}, key {order}"))?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                let values: Vec<Value> = (0..6).map(|index| row.get(index)).collect::<Result<_>>()?;
                insert.execute(params_from_iter(values))?;
            }
            Ok(())
        };
        match copy() {
            Ok(()) => return Ok(()),
            Err(_) => *gaps += 1,
        }
    }
    Ok(())
}

/// Makes the rows that were saved consistent again: everything that follows from others is worked out anew, and a message whose
/// address is lost is kept for a person.
const REPAIR: &str = "
INSERT OR IGNORE INTO backends (id, name)
    SELECT DISTINCT backend, 'lost backend ' || backend FROM messages;
INSERT OR IGNORE INTO backends (id, name)
    SELECT DISTINCT backend, 'lost backend ' || backend FROM connections;
INSERT OR IGNORE INTO backends (id, name)
    SELECT DISTINCT backend, 'lost backend ' || backend FROM sets;
UPDATE messages SET status = CASE class WHEN 0 THEN 4 ELSE 19 END, reason = 'its state was lost in a damaged file'
    WHERE status NOT IN (SELECT status FROM statuses) OR (class = 0) <> (status < 10);
UPDATE messages SET status = CASE class WHEN 0 THEN 4 ELSE 19 END, reason = 'its address was lost in a damaged file'
    WHERE status IN (1, 11, 12, 18) AND connection NOT IN (SELECT id FROM connections);
INSERT OR IGNORE INTO connections (id, backend, identity)
    SELECT connection, min(backend), 'lost address ' || connection FROM messages GROUP BY connection;
INSERT OR IGNORE INTO connections (id, backend, identity)
    SELECT connection, min(backend), 'lost address ' || connection FROM sets GROUP BY connection;
DELETE FROM sets WHERE NOT EXISTS (SELECT 1 FROM pieces WHERE piece_set = id);
DELETE FROM pieces WHERE piece_set NOT IN (SELECT id FROM sets);
UPDATE messages SET
    lane = CASE WHEN status IN (1, 11, 12, 18) AND not_before IS NULL THEN connection * 4 + class END,
    turn = backend * 8 + CASE class WHEN 0 THEN 4 * (turn & 7 > 0 OR attempts > 0) ELSE class END,
    open_until = CASE WHEN status IN (11, 12, 18, 19) THEN coalesce(expires_at, updated_at) END,
    expires_at = CASE WHEN class > 0 THEN coalesce(expires_at, updated_at) END,
    taken_by = CASE WHEN taken_by IN (SELECT id FROM backends) THEN taken_by END,
    entries = (SELECT coalesce(max(n) + 1, 0) FROM history WHERE message = key),
    due = CASE WHEN status = 12 THEN 9223372036854775807
               WHEN status IN (11, 18) AND not_before IS NOT NULL THEN max(not_before, coalesce(retry_at, 0)) END;
UPDATE messages SET due = CASE class WHEN 0 THEN 0 ELSE max(updated_at, coalesce(retry_at, 0)) END
    WHERE key IN (SELECT min(key) FROM messages WHERE lane IS NOT NULL GROUP BY lane HAVING max(status = 12) = 0);
DELETE FROM names WHERE message NOT IN (SELECT key FROM messages);
DELETE FROM history WHERE message NOT IN (SELECT key FROM messages);
DELETE FROM callbacks WHERE message NOT IN (SELECT key FROM messages);
UPDATE messages SET flags = flags & ~16 WHERE flags & 16 AND key NOT IN (SELECT message FROM callbacks);
UPDATE calls SET due = NULL;
UPDATE calls SET due = at WHERE number IN (SELECT min(number) FROM calls GROUP BY message);
DELETE FROM tally;
INSERT INTO tally (backend, status, count) SELECT backend, status, count(*) FROM messages GROUP BY backend, status;
INSERT INTO tally (backend, status, count)
    SELECT s.backend, 0, count(*) FROM pieces p JOIN sets s ON s.id = p.piece_set GROUP BY s.backend;
";
