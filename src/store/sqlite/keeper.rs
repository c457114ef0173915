//! Moves what is committed from the write-ahead log into the database file, on a connection and a thread of its own.
//!
//! SQLite would do it within every so many commits, and somebody's message would wait for it: two more syncs of the disk and a thousand pages. Done here it
//! stops nobody: a passive checkpoint waits for no reader and the writer goes on meanwhile. Only a log that grows faster than it is
//! emptied is still emptied by the writer ([`LOG_PAGES`]), for a log begins anew only when nobody wrote since the checkpoint.

use super::{Keeper, StoreError, explain};
use rusqlite::{Connection, OpenFlags};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// When the log has so many pages (of 4 KiB) the writer empties it within a commit.
pub(super) const LOG_PAGES: u32 = 4_096;

/// See the module's text.
pub(super) struct SqliteKeeper {
    path: PathBuf,
    connection: Option<Connection>,
    /// Commits since the last time, shared with the writer.
    commits: Arc<AtomicU32>,
}

impl SqliteKeeper {
    /// A keeper of the store at `path`, which exists. It opens the file when it is first asked to do something.
    pub(super) fn new(path: PathBuf, commits: Arc<AtomicU32>) -> SqliteKeeper {
        SqliteKeeper { path, connection: None, commits }
    }

    fn checkpoint(&mut self) -> rusqlite::Result<()> {
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => {
                let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
                let connection = Connection::open_with_flags(&self.path, flags)?;
                connection.busy_timeout(Duration::ZERO)?;
                connection.execute_batch("PRAGMA synchronous = FULL; PRAGMA cache_size = -64;")?;
                none.insert(connection)
            }
        };
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
    }
}

impl Keeper for SqliteKeeper {
    fn tidy(&mut self) -> Result<(), StoreError> {
        self.commits.store(0, Ordering::Relaxed);
        self.checkpoint().map_err(|error| {
            // What SQLite and the kernel hold of a file that could not be synced is not used again.
            self.connection = None;
            explain(&error, &self.path)
        })
    }
}
