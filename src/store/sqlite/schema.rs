//! The tables, and how a file of an older version becomes one of this version: numbered steps, a backup first, one transaction (P20).
//!
//! Nothing outside of this folder reads these tables; for people with the `sqlite3` shell there are the views `message_log` and
//! `history_log`, with words, names and times instead of numbers.

use super::{Period, StoreError, explain, guard};
use crate::message::{Direction, Piece, State, Wishes};
use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// What `PRAGMA application_id` says of our files: "RSMS".
pub(super) const APPLICATION_ID: i32 = 0x5253_4d53;

/// Step `n` makes version `n + 1` of version `n`; version 0 is an empty file. A step that was released is never changed.
pub(super) const STEPS: &[&str] = &[FIRST, SECOND, THIRD, FOURTH];

/// [`due`](FIRST) of a claimed message. No real time is that late.
pub(super) const CLAIMED: i64 = i64::MAX;

/// [`turn`](SECOND) of messages: the backend (or the queue) times this, plus one of the numbers below, or the class of an outgoing message.
pub(super) const TURNS: i64 = 8;
/// Received, and no app has seen it.
pub(super) const NEVER: i64 = 0;
/// Received, and claimed before.
pub(super) const BEFORE: i64 = 4;

const FIRST: &str = "
CREATE TABLE store (
    one         INTEGER PRIMARY KEY CHECK (one = 1),
    newest_key  INTEGER,              -- the newest id among purged messages
    newest_tail INTEGER,
    clean       INTEGER NOT NULL,     -- 1 after a clean stop
    probes      INTEGER NOT NULL      -- counts trial writes after trouble
) STRICT;
INSERT INTO store VALUES (1, NULL, NULL, 1, 0);

CREATE TABLE statuses (status INTEGER PRIMARY KEY, direction TEXT NOT NULL, state TEXT NOT NULL) STRICT;
INSERT INTO statuses VALUES
    (1, 'in', 'received'), (2, 'in', 'handled'), (3, 'in', 'failed'), (4, 'in', 'quarantined'),
    (5, 'in', 'duplicate'), (11, 'out', 'queued'), (12, 'out', 'sending'), (13, 'out', 'sent'),
    (14, 'out', 'delivered'), (15, 'out', 'failed'), (16, 'out', 'expired'), (17, 'out', 'cancelled'),
    (18, 'out', 'uncertain'), (19, 'out', 'held');

CREATE TABLE backends (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
CREATE TABLE contacts (id INTEGER PRIMARY KEY, name TEXT NOT NULL, language TEXT NOT NULL) STRICT;
CREATE TABLE connections (
    id       INTEGER PRIMARY KEY,
    backend  INTEGER NOT NULL,
    identity TEXT NOT NULL,
    contact  INTEGER,
    UNIQUE (backend, identity)
) STRICT;
CREATE INDEX connections_by_identity ON connections (identity);

CREATE TABLE messages (
    key         INTEGER PRIMARY KEY,  -- the sortable part of the id
    tail        INTEGER NOT NULL,     -- the random part
    connection  INTEGER NOT NULL,
    backend     INTEGER NOT NULL,     -- the connection's, for the indexes
    class       INTEGER NOT NULL,     -- 0 received, 1 reply, 2 single, 3 bulk
    status      INTEGER NOT NULL,
    origin      INTEGER NOT NULL,     -- 0 real, 1 test
    created_at  INTEGER NOT NULL,     -- this and all times: microseconds since 1970, UTC
    updated_at  INTEGER NOT NULL,
    attempts    INTEGER NOT NULL,
    uncertain   INTEGER NOT NULL,
    redelivered INTEGER NOT NULL,
    entries     INTEGER NOT NULL,     -- lines of history
    lane        INTEGER,              -- connection * 4 + class; none when ended, held or with a time of its own
    turn        INTEGER NOT NULL,     -- received: 0 never claimed, 1 claimed before; outgoing: backend * 4 + class
    due         INTEGER,              -- from when it may be claimed; only the first of a lane has one; the largest number: it was claimed
    retry_at    INTEGER,              -- due again after a failed attempt, kept while another is first
    not_before  INTEGER,
    expires_at  INTEGER,
    open_until  INTEGER,              -- expires_at while open or held
    source_time INTEGER,
    parts       INTEGER,
    about_key   INTEGER,              -- outgoing: the message it answers; received: the one it repeats
    about_tail  INTEGER,
    remote_id   TEXT,
    reason      TEXT,
    text        TEXT NOT NULL,
    raw         BLOB
) STRICT;
CREATE INDEX messages_by_connection ON messages (connection);
CREATE INDEX messages_by_status ON messages (backend, status);
CREATE INDEX messages_by_lane ON messages (lane) WHERE lane IS NOT NULL;
CREATE INDEX messages_by_due ON messages (turn, due) WHERE due IS NOT NULL;
CREATE INDEX messages_by_validity ON messages (open_until) WHERE open_until IS NOT NULL;
CREATE INDEX messages_by_remote_id ON messages (backend, remote_id) WHERE remote_id IS NOT NULL;
-- No IN here: for a list SQLite builds a table at every change of a row.
CREATE INDEX messages_by_end ON messages (updated_at) WHERE (status BETWEEN 2 AND 5 OR status BETWEEN 13 AND 17);

CREATE TABLE history (
    message INTEGER NOT NULL,
    n       INTEGER NOT NULL,
    at      INTEGER NOT NULL,
    status  INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    actor   TEXT NOT NULL,
    reason  TEXT,
    PRIMARY KEY (message, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE keys (
    scope  TEXT NOT NULL,
    key    TEXT NOT NULL,
    at     INTEGER NOT NULL,
    message_key  INTEGER NOT NULL,
    message_tail INTEGER NOT NULL,
    digest BLOB NOT NULL,
    PRIMARY KEY (scope, key)
) STRICT, WITHOUT ROWID;
CREATE INDEX keys_by_age ON keys (at);

CREATE TABLE tally (
    backend INTEGER NOT NULL,
    status  INTEGER NOT NULL,
    count   INTEGER NOT NULL,
    PRIMARY KEY (backend, status)
) STRICT, WITHOUT ROWID;

CREATE VIEW message_log AS
    SELECT printf('%08x-%04x-7%03x-%04x-%012x', m.key >> 28, (m.key >> 12) & 0xffff, m.key & 0xfff,
                  0x8000 | (m.tail >> 48), m.tail & 0xffffffffffff) AS id,
           s.direction, s.state, b.name AS backend, c.identity, m.text, m.reason,
           strftime('%Y-%m-%dT%H:%M:%SZ', m.created_at / 1000000, 'unixepoch') AS created_at,
           strftime('%Y-%m-%dT%H:%M:%SZ', m.updated_at / 1000000, 'unixepoch') AS updated_at,
           m.attempts, m.parts, m.remote_id, m.key
    FROM messages m
    LEFT JOIN statuses s ON s.status = m.status
    LEFT JOIN backends b ON b.id = m.backend
    LEFT JOIN connections c ON c.id = m.connection
    ORDER BY m.key;

CREATE VIEW history_log AS
    SELECT h.message AS key, h.n, strftime('%Y-%m-%dT%H:%M:%SZ', h.at / 1000000, 'unixepoch') AS at,
           s.state, h.attempt, h.actor, h.reason
    FROM history h LEFT JOIN statuses s ON s.status = h.status
    ORDER BY h.message, h.n;
";

/// Each backend has its own queue of received messages, so that a flood on one delays nobody else. Pieces of longer messages are kept until
/// the others are there. Carriers name each part of a message.
const SECOND: &str = "
-- First, so that what comes after takes its page: no page of a new file is free.
DROP INDEX messages_by_remote_id;

-- turn: backend * 8, plus 0 for received and never claimed, 4 for received and claimed before, else the class.
UPDATE messages SET turn = backend * 8 + CASE class WHEN 0 THEN 4 * turn ELSE class END WHERE status IN (1, 11, 12, 18, 19);
ALTER TABLE messages ADD COLUMN flags INTEGER NOT NULL DEFAULT 0; -- the sum of: 1 parts of it never came; 2 flash, 4 report, 8 no report

ALTER TABLE store ADD COLUMN shifts INTEGER NOT NULL DEFAULT 0; -- the number of the last step of the clock that was followed

CREATE TABLE sets (                       -- longer messages of which pieces are missing
    id         INTEGER PRIMARY KEY,
    connection INTEGER NOT NULL,
    backend    INTEGER NOT NULL,          -- the connection's
    name       TEXT NOT NULL,             -- what the pieces have in common
    total      INTEGER NOT NULL,          -- how many there will be
    origin     INTEGER NOT NULL,
    newest_at  INTEGER NOT NULL           -- when the newest piece came
) STRICT;
CREATE INDEX sets_by_connection ON sets (connection);
CREATE INDEX sets_by_age ON sets (newest_at);
CREATE INDEX sets_by_backend ON sets (backend, newest_at);

CREATE TABLE pieces (
    piece_set      INTEGER NOT NULL,
    sequence       INTEGER NOT NULL,      -- from 1
    units          BLOB NOT NULL,         -- UTF-16, the low octet first
    source_time    INTEGER,
    redelivery_key TEXT,
    raw            BLOB,
    PRIMARY KEY (piece_set, sequence)
) STRICT, WITHOUT ROWID;

CREATE TABLE names (                      -- what carriers call the parts of messages about which they may still report
    message INTEGER NOT NULL,
    part    INTEGER NOT NULL,             -- from 1
    backend INTEGER NOT NULL,             -- the message's
    name    TEXT NOT NULL,
    at      INTEGER NOT NULL,             -- when it was given
    arrived INTEGER NOT NULL,             -- 1 when it was reported as delivered
    PRIMARY KEY (message, part)
) STRICT, WITHOUT ROWID;
CREATE INDEX names_by_name ON names (backend, name, at, message, part) WHERE arrived = 0;
INSERT INTO names SELECT key, 1, backend, remote_id, updated_at, 0 FROM messages
    WHERE remote_id IS NOT NULL AND status IN (11, 12, 13, 18, 19);

CREATE TABLE spent (                      -- what backends sent, as far as there are limits
    backend INTEGER NOT NULL,
    period  INTEGER NOT NULL,             -- 1 minute, 2 day, 3 month
    since   INTEGER NOT NULL,             -- when the period began
    count   INTEGER NOT NULL,
    PRIMARY KEY (backend, period)
) STRICT, WITHOUT ROWID;
";

/// A backend may stand for several others. What goes to it may stand in queues of its own (`turn` is of a queue then, which has a line and a number among
/// the backends), and is sent by one of the others.
const THIRD: &str = "
ALTER TABLE messages ADD COLUMN taken_by INTEGER; -- outgoing: the backend that took it last, when that is not its own
";

/// Programs are called about their messages. Besides, `flags` of a message may hold more: 16 somebody wants to be called about it; 32 or 64 its text is one part of a
/// longer message that somebody else has cut, with a reference of 8 or 16 bits, which stands from bit 16 on, the number of parts from bit 32, its own from bit 40.
const FOURTH: &str = "
CREATE TABLE callbacks (                  -- messages about which somebody wants to be called, until nothing more can happen to them
    message  INTEGER PRIMARY KEY,
    url      TEXT NOT NULL,               -- the template
    mask     INTEGER NOT NULL,            -- what to tell, the sum of: 1 delivered, 2 failed, 4 buffered, 8 taken, 16 refused
    happened INTEGER NOT NULL             -- what has happened so far, wanted or not
) STRICT;

CREATE TABLE calls (                      -- calls that are owed
    number       INTEGER PRIMARY KEY AUTOINCREMENT, -- never given twice
    message      INTEGER NOT NULL,        -- the message it is about; it may be purged already
    message_tail INTEGER NOT NULL,
    host         TEXT NOT NULL,
    method       TEXT NOT NULL,
    url          TEXT NOT NULL,
    headers      TEXT NOT NULL,           -- one on each line
    body         BLOB,
    attempts     INTEGER NOT NULL,        -- made in vain
    at           INTEGER NOT NULL,        -- since when it waits
    due          INTEGER                  -- only the first about a message has one
) STRICT;
CREATE INDEX calls_by_message ON calls (message, number);
CREATE INDEX calls_by_host ON calls (host, due, number);
CREATE INDEX calls_by_due ON calls (due) WHERE due IS NOT NULL;
";

/// The flag of a received message of which parts never came.
pub(super) const PARTIAL: i64 = 1;

/// The flags of a message's wishes.
pub(super) fn flags_of(wishes: Wishes) -> i64 {
    let report = match wishes.report {
        None => 0,
        Some(true) => REPORT,
        Some(false) => NO_REPORT,
    };
    let part = wishes.part.map_or(0, |part| {
        let width = if part.bits == 16 { PART_16 } else { PART_8 };
        let [reference, total, sequence] =
            [part.reference, part.total.into(), part.sequence.into()].map(i64::from);
        width | reference << REFERENCE | total << TOTAL | sequence << SEQUENCE
    });
    report | part | if wishes.flash { FLASH } else { 0 }
}

/// What flags say of a message's wishes.
pub(super) fn wishes_of(flags: i64) -> Wishes {
    let report = match flags & (REPORT | NO_REPORT) {
        REPORT => Some(true),
        NO_REPORT => Some(false),
        _ => None,
    };
    let bits = match flags & (PART_8 | PART_16) {
        PART_8 => Some(8),
        PART_16 => Some(16),
        _ => None,
    };
    let part = bits.map(|bits| Piece {
        reference: (flags >> REFERENCE) as u16,
        bits,
        total: (flags >> TOTAL) as u8,
        sequence: (flags >> SEQUENCE) as u8,
    });
    Wishes { flash: flags & FLASH != 0, report, part }
}

const FLASH: i64 = 2;
const REPORT: i64 = 4;
const NO_REPORT: i64 = 8;
/// Somebody wants to be called about the message: there is a row in `callbacks`, until nothing more can happen to it.
pub(super) const CALLED: i64 = 16;
const PART_8: i64 = 32;
const PART_16: i64 = 64;
/// Where the numbers of a part stand: 16 bits, and twice 8.
const REFERENCE: u32 = 16;
const TOTAL: u32 = 32;
const SEQUENCE: u32 = 40;

/// The number of a period in a file.
pub(super) fn period_number(period: Period) -> i64 {
    match period {
        Period::Minute => 1,
        Period::Day => 2,
        Period::Month => 3,
    }
}

/// In the table `tally` the number under which waiting pieces are counted: they are in no state.
pub(super) const PIECES: i64 = 0;

/// The number of a state in a file. A failed received message and a failed outgoing one are told apart by it, so that the direction needs no column.
pub(super) fn status_of(direction: Direction, state: State) -> i64 {
    match (direction, state) {
        (Direction::In, State::Received) => 1,
        (Direction::In, State::Handled) => 2,
        (Direction::In, State::Failed) => 3,
        (_, State::Quarantined) => 4,
        (_, State::Duplicate) => 5,
        (_, State::Queued | State::Received) => 11,
        (_, State::Sending) => 12,
        (_, State::Sent | State::Handled) => 13,
        (_, State::Delivered) => 14,
        (Direction::Out, State::Failed) => 15,
        (_, State::Expired) => 16,
        (_, State::Cancelled) => 17,
        (_, State::Uncertain) => 18,
        (_, State::Held) => 19,
    }
}

/// What a number in a file means; none for a number that this version does not know.
pub(super) fn meaning_of(status: i64) -> Option<(Direction, State)> {
    STATUSES.into_iter().find(|&(direction, state)| status_of(direction, state) == status)
}

/// Every status there is.
pub(super) const STATUSES: [(Direction, State); 14] = [
    (Direction::In, State::Received),
    (Direction::In, State::Handled),
    (Direction::In, State::Failed),
    (Direction::In, State::Quarantined),
    (Direction::In, State::Duplicate),
    (Direction::Out, State::Queued),
    (Direction::Out, State::Sending),
    (Direction::Out, State::Sent),
    (Direction::Out, State::Delivered),
    (Direction::Out, State::Failed),
    (Direction::Out, State::Expired),
    (Direction::Out, State::Cancelled),
    (Direction::Out, State::Uncertain),
    (Direction::Out, State::Held),
];

/// The version of the schema in a file, or why the file is not one of ours. An empty file is version 0.
pub(super) fn version(connection: &Connection, path: &Path, newest: usize) -> Result<usize, StoreError> {
    let ask = |pragma: &str| -> Result<i64, StoreError> {
        connection
            .query_row(&format!("PRAGMA {pragma}"), [], |row| row.get(0))
            .map_err(|error| explain(&error, path))
    };
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(|error| explain(&error, path))?;
    let application = ask("application_id")?;
    let version = ask("user_version")?;
    let shown = path.display();
    if application != i64::from(APPLICATION_ID) && (tables > 0 || application != 0 || version != 0) {
        return Err(StoreError::Broken(format!(
            "{shown} is an SQLite database of another program (application id {application}); \
             give [database] url another path"
        )));
    }
    match usize::try_from(version) {
        Ok(version) if version <= newest => Ok(version),
        _ => Err(StoreError::Newer(format!(
            "{shown} has schema {version}, this program knows up to {newest}; run the newer program, \
             or put back the copy that it made: {}",
            backup_path(path, newest).display()
        ))),
    }
}

/// Where the copy goes that is made before version `version` is left.
pub(super) fn backup_path(path: &Path, version: usize) -> PathBuf {
    guard::beside(path, &format!(".before-v{}", version + 1))
}

/// Brings a file to the newest version: a copy of an older one first, safe on disk; then all steps in one transaction. Killed at any instant, it
/// leaves the old version or the new one. Returns what a person should know.
pub(super) fn migrate(
    connection: &Connection,
    path: &Path,
    steps: &[&str],
) -> Result<Vec<String>, StoreError> {
    let explained = |error: rusqlite::Error| explain(&error, path);
    let from = version(connection, path, steps.len())?;
    if from == steps.len() {
        return Ok(Vec::new());
    }
    let mut notes = Vec::new();
    if from > 0 {
        let backup = backup_path(path, from);
        let unfinished = guard::beside(&backup, ".part");
        // SQLite writes into an empty file that exists, so the copy is as private as the store from its first octet.
        guard::create_private(&unfinished)?;
        let target = unfinished.to_str().ok_or_else(|| {
            StoreError::Broken(format!("{}: the path is not UTF-8, so no copy can be made", path.display()))
        })?;
        connection.execute("VACUUM INTO ?1", [target]).map_err(explained)?;
        guard::settle_file(&unfinished, &backup)?;
        notes.push(format!(
            "{} was brought from schema {from} to {}; the copy from before is {}",
            path.display(),
            steps.len(),
            backup.display()
        ));
    }
    let run = || -> rusqlite::Result<()> {
        connection.execute_batch("BEGIN IMMEDIATE")?;
        for step in steps.iter().skip(from) {
            connection.execute_batch(step)?;
        }
        connection.execute_batch(&format!(
            "PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {}; COMMIT",
            steps.len()
        ))
    };
    run().map_err(|error| {
        if !connection.is_autocommit() {
            // The error that matters is the first one; closing the connection undoes the rest as well.
            let _ = connection.execute_batch("ROLLBACK");
        }
        explain(&error, path)
    })?;
    Ok(notes)
}
