//! Opening the file: by which path, with which promises of SQLite, and what its errors mean for the store.

use super::{StoreError, keeper, salvage, schema};
use rusqlite::config::DbConfig;
use rusqlite::{Connection as Database, ErrorCode, OpenFlags};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// More prepared statements than there are.
pub(super) const STATEMENTS: usize = 100;

/// The real path of a store, so that two names of one file are one store.
pub(super) fn resolve(path: &Path) -> Result<PathBuf, StoreError> {
    if let Ok(real) = fs::canonicalize(path) {
        return Ok(real);
    }
    let name =
        path.file_name().ok_or_else(|| StoreError::Broken(format!("{}: not a file name", path.display())))?;
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    match fs::canonicalize(folder) {
        Ok(folder) => Ok(folder.join(name)),
        Err(error) => Err(StoreError::Broken(format!(
            "{}: the folder {} cannot be used ({error}); create it, or give [database] url another path",
            path.display(),
            folder.display()
        ))),
    }
}

/// How long opening the store waits for others. A command that reads the store has it to itself for moments when no router is connected
/// (for the recovery after a crash, and when it closes the file as the last), and must not keep a router from starting.
const OPENING_PATIENCE: Duration = Duration::from_secs(1);

/// Opens the file for writing and says how: durable, without waiting for anybody, without trust in what the file says.
pub(super) fn connect(path: &Path) -> Result<Database, StoreError> {
    connect_within(Duration::ZERO, path)
}

fn connect_within(patience: Duration, path: &Path) -> Result<Database, StoreError> {
    let explained = |error: rusqlite::Error| explain(&error, path);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Database::open_with_flags(path, flags).map_err(explained)?;
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    connection.busy_timeout(patience).map_err(explained)?;
    // Without it SQLite compiles statements again when a parameter might suit another plan. There is one plan for each here.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(explained)?;
    let mode: String =
        connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0)).map_err(explained)?;
    if mode != "wal" {
        return Err(StoreError::Broken(format!(
            "{}: SQLite uses the journal mode {mode} instead of wal; is it on a network drive? Put it on a local one",
            path.display()
        )));
    }
    connection.pragma_update(None, "wal_autocheckpoint", keeper::LOG_PAGES).map_err(explained)?;
    connection
        .execute_batch(
            "PRAGMA synchronous = FULL; PRAGMA trusted_schema = OFF; PRAGMA cell_size_check = ON; \
             PRAGMA journal_size_limit = 16777216; PRAGMA cache_size = -8192; PRAGMA temp_store = MEMORY;",
        )
        .map_err(explained)?;
    Ok(connection)
}

/// Opens the file, brings it up to date and looks whether it can be read. `false` when the last stop was not clean.
pub(super) fn prepare(path: &Path, notes: &mut Vec<String>) -> Result<(Database, bool), StoreError> {
    let connection = connect_within(OPENING_PATIENCE, path)?;
    notes.extend(schema::migrate(&connection, path, schema::STEPS)?);
    let explained = |error: rusqlite::Error| explain(&error, path);
    let clean: bool =
        connection.query_row("SELECT clean FROM store", [], |row| row.get(0)).map_err(explained)?;
    salvage::probe(&connection).map_err(explained)?;
    // From now on nobody is waited for.
    connection.busy_timeout(Duration::ZERO).map_err(explained)?;
    Ok((connection, clean))
}

/// What SQLite said, as an error of the store.
pub(super) fn explain(error: &rusqlite::Error, path: &Path) -> StoreError {
    let text = format!("{}: {error}", path.display());
    match error {
        rusqlite::Error::SqliteFailure(failure, _) => match failure.code {
            ErrorCode::DiskFull => StoreError::Full(text),
            ErrorCode::ReadOnly | ErrorCode::PermissionDenied => StoreError::ReadOnly(text),
            ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => StoreError::Locked(text),
            ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => StoreError::Damaged(text),
            _ => StoreError::Broken(text),
        },
        // Rows that are there but cannot be what was written.
        rusqlite::Error::FromSqlConversionFailure(..)
        | rusqlite::Error::IntegralValueOutOfRange(..)
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::QueryReturnedNoRows
        | rusqlite::Error::Utf8Error(..) => StoreError::Damaged(text),
        _ => StoreError::Broken(text),
    }
}
