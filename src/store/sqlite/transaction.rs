//! The one open transaction: begun by its first change, doomed by the first failure, undone whole. And what is read from the file again when it had to be
//! opened anew.

use super::Sqlite;
use super::changes::Changes;
use super::file::{connect, explain};
use super::names::{Ledger, Names};
use crate::message::MessageId;
use crate::store::{Store, StoreError};
use rusqlite::{Connection as Database, OptionalExtension};

/// Why the open transaction must be undone.
#[derive(Clone, Debug)]
pub(super) struct Doom {
    pub(super) error: StoreError,
    /// Not the disk or the database failed, but the caller: then neither the file nor the connection is in doubt.
    pub(super) caller: bool,
}

impl Sqlite {
    /// Records that the store is in use, so that a crash can be told from a clean stop. On a disk that is full or cannot be written, the store still opens,
    /// with [`trouble`](Store::trouble), and is cured later: what it holds can be read meanwhile.
    pub(super) fn begin_unclean(&mut self) {
        // The second try has the released ballast to live on.
        if self.mark_clean(false).is_err() && matches!(self.trouble, Some(StoreError::Full(_))) {
            let _ = self.mark_clean(false);
        }
        if self.trouble.is_none()
            && let Err(error) = self.guard.take_ballast()
        {
            self.trouble = Some(error);
        }
    }

    pub(super) fn mark_clean(&mut self, clean: bool) -> Result<(), StoreError> {
        let marked = self
            .write(|changes| changes.connection.execute("UPDATE store SET clean = ?1", [clean]).map(drop));
        self.commit().and(marked)
    }

    /// Runs changes within the open transaction, or a new one.
    pub(super) fn write<T>(
        &mut self,
        work: impl FnOnce(&mut Changes<'_>) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        if let Some(doom) = &self.doomed {
            return Err(doom.error.clone());
        }
        if let Some(error @ StoreError::Damaged(_)) = &self.trouble {
            let error = error.clone();
            return Err(self.doom(error));
        }
        if let Err(error) = self.reopen() {
            return Err(self.doom(error));
        }
        let Some(connection) = &self.database else { return Err(closed()) };
        let begun = if self.in_transaction {
            Ok(())
        } else {
            connection.prepare_cached("BEGIN IMMEDIATE").and_then(|mut begin| begin.execute([])).map(drop)
        };
        self.in_transaction |= begun.is_ok();
        let done = begun.and_then(|()| {
            work(&mut Changes { connection, names: &mut self.names, ledger: &mut self.ledger })
        });
        done.map_err(|error| {
            let error = explain(&error, &self.path);
            self.doom(error)
        })
    }

    /// Reads, within the open transaction if there is one.
    pub(super) fn read<T>(
        &mut self,
        work: impl FnOnce(&Database, &mut Names) -> rusqlite::Result<T>,
    ) -> Result<T, StoreError> {
        if let Some(doom) = &self.doomed {
            return Err(doom.error.clone());
        }
        if let Err(error) = self.reopen() {
            return Err(self.doom(error));
        }
        let Some(connection) = &self.database else { return Err(closed()) };
        work(connection, &mut self.names).map_err(|error| {
            let error = explain(&error, &self.path);
            self.doom(error)
        })
    }

    pub(super) fn doom(&mut self, error: StoreError) -> StoreError {
        self.doomed = Some(Doom { error: error.clone(), caller: false });
        error
    }

    pub(super) fn doom_by_caller(&mut self, error: StoreError) -> StoreError {
        self.doomed = Some(Doom { error: error.clone(), caller: true });
        error
    }

    /// Opens the file again after a failure that cost the connection.
    pub(super) fn reopen(&mut self) -> Result<(), StoreError> {
        if self.database.is_some() {
            return Ok(());
        }
        if self.closed {
            return Err(closed());
        }
        self.guard.still_there()?;
        self.database = Some(connect(&self.path)?);
        self.reload().inspect_err(|_| self.database = None)
    }

    /// Reads everything that is kept in memory from the file.
    pub(super) fn reload(&mut self) -> Result<(), StoreError> {
        let Some(connection) = &self.database else { return Ok(()) };
        let read = || -> rusqlite::Result<(Ledger, Option<MessageId>, i64, i64)> {
            let newest = "SELECT key, tail FROM messages ORDER BY key DESC LIMIT 1";
            let purged = "SELECT newest_key, newest_tail FROM store WHERE newest_key IS NOT NULL";
            let id = |sql: &str| {
                connection
                    .query_row(sql, [], |row| Ok(MessageId::from_parts(row.get(0)?, row.get(1)?)))
                    .optional()
            };
            let shifts = connection.query_row("SELECT shifts FROM store", [], |row| row.get(0))?;
            let calls = connection.query_row("SELECT count(*) FROM calls", [], |row| row.get(0))?;
            Ok((Ledger::load(connection)?, id(newest)?.max(id(purged)?), shifts, calls))
        };
        let (shifts, calls);
        (self.ledger, self.newest, shifts, calls) = read().map_err(|error| explain(&error, &self.path))?;
        self.newest_committed = self.newest;
        self.shifts = u64::try_from(shifts).unwrap_or(0);
        self.shifts_committed = self.shifts;
        self.calls = u64::try_from(calls).unwrap_or(0);
        self.calls_committed = self.calls;
        self.names.clear();
        Ok(())
    }

    /// Undoes the open transaction after `error`. A failure of the disk costs the connection: what SQLite and the kernel hold of the file can
    /// no longer be trusted, and it must not be flushed again as if nothing had been lost.
    pub(super) fn undo(&mut self, doom: Doom) -> StoreError {
        let Doom { error, caller } = doom;
        self.in_transaction = false;
        self.names.clear();
        self.ledger.undo();
        self.newest = self.newest_committed;
        self.shifts = self.shifts_committed;
        self.calls = self.calls_committed;
        let error = match error {
            StoreError::Broken(_) if !caller => self.guard.diagnose().unwrap_or(error),
            error => error,
        };
        let keep = caller || matches!(error, StoreError::Locked(_) | StoreError::InUse(_));
        let undone = self.database.as_ref().is_none_or(|connection| {
            connection.is_autocommit() || connection.execute_batch("ROLLBACK").is_ok()
        });
        if !keep || !undone {
            self.database = None;
        }
        if matches!(error, StoreError::Full(_)) {
            self.guard.release_ballast();
        }
        if !caller && !matches!(self.trouble, Some(StoreError::Damaged(_))) {
            self.trouble = Some(error.clone());
        }
        error
    }
}

pub(super) fn closed() -> StoreError {
    StoreError::Broken("the store is closed".into())
}
