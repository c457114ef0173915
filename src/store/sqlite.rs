//! The store of the daemon: one SQLite file in WAL mode with `synchronous=FULL`, so that a commit survives a power cut.
//!
//! One connection writes, owned by the router's thread; readers have their own and see what is committed. Nothing about pending work is
//! kept in memory: claims, heads of lanes, due times and recovery are range scans of partial indexes, whatever the backlog.
//!
//! What it never does: wait for a foreign lock, repeat a failed fsync (the connection is dropped and the state read again), start empty
//! over a damaged file, or run with an SQLite older than the one whose WAL is known to be sound.

mod calls;
mod carriers;
mod changes;
mod file;
mod guard;
mod keeper;
mod names;
mod pieces;
mod queries;
mod reader;
mod salvage;
mod schema;
#[cfg(test)]
mod tests;
mod transaction;

use super::*;
use file::{connect, explain, prepare, resolve};
use guard::Guard;
use names::{Ledger, Names};
use queries::Due;
use rusqlite::{Connection as Database, OptionalExtension};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use transaction::{Doom, closed};

/// The first SQLite without the WAL-reset race of 3.7.0 to 3.51.2, which could lose commits.
const OLDEST_SQLITE: i32 = 3_051_003;

/// The store in one SQLite file.
#[derive(Debug)]
pub struct Sqlite {
    path: PathBuf,
    guard: Guard,
    database: Option<Database>,
    in_transaction: bool,
    doomed: Option<Doom>,
    trouble: Option<StoreError>,
    names: Names,
    ledger: Ledger,
    /// The backend at which the last claim began.
    turn: Option<i64>,
    newest: Option<MessageId>,
    newest_committed: Option<MessageId>,
    /// Commits since the [`Keeper`] was at work.
    commits: Arc<AtomicU32>,
    shifts: u64,
    shifts_committed: u64,
    /// How many calls are owed.
    calls: u64,
    calls_committed: u64,
    closed: bool,
}

/// A store that was opened.
#[derive(Debug)]
pub struct Opened {
    /// The store.
    pub store: Sqlite,
    /// What a person should be told: a file that was damaged and salvaged, a schema that was brought up to date.
    pub notes: Vec<String>,
    /// The last stop was not a clean one: run [`Sqlite::full_check`] on another thread.
    pub unclean: bool,
}

impl Sqlite {
    /// Opens or creates the store at `path` and keeps every other process from doing the same. The folder must exist.
    ///
    /// A file that cannot be read as a database is kept aside, what can be saved of it goes into a new file, and the notes
    /// say so; when nothing can be saved this is an error, never an empty store.
    pub fn open(path: &Path, now: Timestamp) -> Result<Opened, StoreError> {
        Sqlite::check_version()?;
        let path = resolve(path)?;
        let mut guard = Guard::lock(&path, now)?;
        guard.refuse_second_name()?;
        let mut notes = Vec::new();
        let wal = guard::beside(&path, "-wal");
        match fs::metadata(&path).map(|metadata| metadata.len()).unwrap_or(0) {
            0 if fs::metadata(&wal).is_ok_and(|metadata| metadata.len() > 0) => {
                return Err(StoreError::Damaged(format!(
                    "{} is missing or empty, but {} holds messages of it: put the file back, \
                     or move that one away to begin with an empty store",
                    path.display(),
                    wal.display()
                )));
            }
            0 => {
                if fs::metadata(guard::beside(&path, ".ballast")).is_ok() {
                    notes.push(format!(
                        "{} was here before and is gone or empty: beginning with an empty store",
                        path.display()
                    ));
                }
                guard::create_private(&path)?;
            }
            _ => {}
        }
        let (database, clean) = match prepare(&path, &mut notes) {
            Ok(prepared) => prepared,
            Err(StoreError::Damaged(why)) => {
                salvage::salvage(&path, &why, now, &mut notes)?;
                let (database, _) = prepare(&path, &mut notes)?;
                (database, false)
            }
            Err(error) => return Err(error),
        };
        guard.watch();
        let mut store = Sqlite {
            path,
            guard,
            database: Some(database),
            in_transaction: false,
            doomed: None,
            trouble: None,
            names: Names::default(),
            ledger: Ledger::default(),
            turn: None,
            newest: None,
            newest_committed: None,
            commits: Arc::default(),
            shifts: 0,
            shifts_committed: 0,
            calls: 0,
            calls_committed: 0,
            closed: false,
        };
        store.reload()?;
        store.begin_unclean();
        Ok(Opened { store, notes, unclean: !clean })
    }

    /// A reader of the store at `path`, whether a daemon has it open or not.
    pub fn open_reader(path: &Path) -> Result<Box<dyn Reader>, StoreError> {
        Sqlite::check_version()?;
        Ok(Box::new(reader::SqliteReader::open(&resolve(path)?)?))
    }

    /// Reads every page of the store at `path` and returns the faults that were found; none is good. Takes seconds on a large store, reads
    /// only, and is meant for a thread of its own after an unclean stop; what it finds belongs into [`Store::mark_damaged`].
    pub fn full_check(path: &Path) -> Result<Vec<String>, StoreError> {
        reader::SqliteReader::open(&resolve(path)?)?.full_check()
    }

    /// Refuses an SQLite library whose write-ahead log may lose commits.
    pub fn check_version() -> Result<(), StoreError> {
        if rusqlite::version_number() >= OLDEST_SQLITE {
            return Ok(());
        }
        Err(StoreError::Broken(format!(
            "this program was built with SQLite {}, which may lose commits; build it with 3.51.3 or newer",
            rusqlite::version()
        )))
    }
}

impl Store for Sqlite {
    fn newest(&self) -> Option<MessageId> {
        self.newest
    }

    fn accept(&mut self, row: &NewIncoming<'_>) -> Result<(), StoreError> {
        check_new(row.id, self.newest, Direction::In, row.state)
            .map_err(|error| self.doom_by_caller(error))?;
        self.write(|changes| changes.accept(row))?;
        self.newest = Some(row.id);
        Ok(())
    }

    fn unfinished(
        &mut self,
        tried: Tried,
        limit: usize,
        room: &dyn Fn(&str) -> usize,
        _now: Timestamp,
    ) -> Result<Vec<Unfinished>, StoreError> {
        let backends = self.ledger.receiving();
        let last = self.turn;
        let (found, began) = self.read(|connection, names| {
            let backends = queries::with_room(connection, names, &backends, room)?;
            match tried {
                Tried::Never => queries::claimable_in_turns(connection, names, &backends, last, limit),
                Tried::Before => Ok((queries::claimable_again(connection, names, &backends, limit)?, None)),
            }
        })?;
        self.turn = began.or(last);
        if !found.is_empty() {
            self.write(|changes| changes.claim(&found))?;
        }
        Ok(found)
    }

    fn begin_set(&mut self, new: &NewSet<'_>) -> Result<i64, StoreError> {
        self.write(|changes| changes.begin_set(new))
    }

    fn keep_piece(&mut self, set: i64, piece: &Piece, now: Timestamp) -> Result<(), StoreError> {
        self.write(|changes| changes.keep_piece(set, piece, now))
    }

    fn sets(&mut self, connection: &Connection) -> Result<Vec<PieceSet>, StoreError> {
        self.read(|database, names| pieces::sets(database, names, connection))
    }

    fn stalest_set(&mut self, backend: Option<&str>) -> Result<Option<PieceSet>, StoreError> {
        self.read(|database, names| pieces::stalest(database, names, backend))
    }

    fn pieces(&mut self, set: i64) -> Result<Vec<Piece>, StoreError> {
        self.read(|database, _| pieces::pieces(database, set))
    }

    fn end_set(&mut self, set: i64) -> Result<(), StoreError> {
        self.write(|changes| changes.end_set(set))
    }

    fn pieces_of(&mut self, backend: &str) -> Result<u64, StoreError> {
        let number = self.read(|connection, names| names.backend(connection, backend))?;
        Ok(number.map_or(0, |number| self.ledger.counted(number, schema::PIECES)))
    }

    fn finish(&mut self, id: MessageId, ending: &Ending, now: Timestamp) -> Result<bool, StoreError> {
        self.write(|changes| changes.finish(id, ending, now))
    }

    fn put_back(&mut self, id: MessageId, _now: Timestamp) -> Result<(), StoreError> {
        self.write(|changes| changes.put_back(id))
    }

    fn queue(&mut self, row: &NewOutgoing<'_>) -> Result<(), StoreError> {
        check_new(row.id, self.newest, Direction::Out, row.state)
            .map_err(|error| self.doom_by_caller(error))?;
        self.write(|changes| changes.queue(row))?;
        self.newest = Some(row.id);
        Ok(())
    }

    fn take(&mut self, taking: &Taking<'_>, limit: usize, now: Timestamp) -> Result<Vec<Taken>, StoreError> {
        let found = self.read(|connection, names| {
            let Some(queue) = names.backend(connection, taking.queue)? else { return Ok(Vec::new()) };
            let not_by = if taking.again { None } else { names.backend(connection, taking.by)? };
            queries::due(connection, names, queue, not_by, limit, now)
        })?;
        if !found.is_empty() {
            self.write(|changes| changes.take(taking.by, &found, now))?;
        }
        let by: Name = taking.by.into();
        let taken = found.into_iter().map(|Due { mut taken, .. }| {
            taken.outgoing.by = by.clone();
            taken
        });
        Ok(taken.collect())
    }

    fn queues(&mut self, backend: &str) -> Result<Vec<Name>, StoreError> {
        self.read(|connection, _| queries::queues(connection, backend))
    }

    fn settle(&mut self, id: MessageId, settlement: &Settlement, now: Timestamp) -> Result<bool, StoreError> {
        self.write(|changes| changes.settle(id, settlement, now))
    }

    fn note(&mut self, id: MessageId, actor: &str, reason: &str, now: Timestamp) -> Result<(), StoreError> {
        self.write(|changes| changes.append(id, actor, reason, now))
    }

    fn next_due(&mut self, queue: &str) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection, names| match names.backend(connection, queue)? {
            Some(number) => queries::next_due(connection, number),
            None => Ok(None),
        })
    }

    fn overdue(&mut self, now: Timestamp, limit: usize) -> Result<Vec<MessageId>, StoreError> {
        self.read(|connection, _| queries::overdue(connection, now, limit))
    }

    fn named(&mut self, backend: &str, remote_id: &str) -> Result<Option<Named>, StoreError> {
        self.read(|connection, names| match names.backend(connection, backend)? {
            Some(number) => carriers::named(connection, number, remote_id),
            None => Ok(None),
        })
    }

    fn arrived(&mut self, id: MessageId, part: u32) -> Result<u32, StoreError> {
        self.write(|changes| changes.arrived(id.key(), part))
    }

    fn backend_of(&mut self, id: MessageId) -> Result<Option<Name>, StoreError> {
        self.read(|connection, names| {
            let mut statement = connection.prepare_cached(
                "SELECT coalesce(taken_by, backend) FROM messages WHERE key = ?1 AND tail = ?2",
            )?;
            let number = statement.query_row((id.key(), id.tail()), |row| row.get(0)).optional()?;
            number.map(|number| names.backend_name(connection, number)).transpose()
        })
    }

    fn raw(&mut self, id: MessageId) -> Result<Option<Vec<u8>>, StoreError> {
        self.read(|connection, _| {
            let mut statement =
                connection.prepare_cached("SELECT raw FROM messages WHERE key = ?1 AND tail = ?2")?;
            let raw = statement.query_row((id.key(), id.tail()), |row| row.get(0)).optional()?;
            Ok(raw.flatten())
        })
    }

    fn callback(&mut self, id: MessageId) -> Result<Option<Wanted>, StoreError> {
        self.read(|connection, names| calls::callback(connection, names, id))
    }

    fn tell(
        &mut self,
        id: MessageId,
        happened: u8,
        over: bool,
        call: Option<&NewCall<'_>>,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|changes| changes.tell(id, happened, over, call, now))?;
        self.calls += u64::from(call.is_some());
        Ok(())
    }

    fn call_hosts(&mut self, after: &str, limit: usize) -> Result<Vec<String>, StoreError> {
        self.read(|connection, _| calls::hosts(connection, after, limit))
    }

    fn due_calls(&mut self, host: &str, limit: usize, now: Timestamp) -> Result<Vec<Call>, StoreError> {
        self.read(|connection, _| calls::due(connection, host, limit, now))
    }

    fn next_call(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError> {
        self.read(|connection, _| calls::next(connection, now))
    }

    fn oldest_calls(&mut self, limit: usize) -> Result<Vec<Call>, StoreError> {
        self.read(|connection, _| calls::oldest(connection, limit))
    }

    fn put_off_call(&mut self, number: i64, attempts: u32, due: Timestamp) -> Result<(), StoreError> {
        self.write(|changes| changes.put_off_call(number, attempts, due))
    }

    fn end_call(&mut self, number: i64, now: Timestamp) -> Result<(), StoreError> {
        let ended = self.write(|changes| changes.end_call(number, now))?;
        self.calls = self.calls.saturating_sub(u64::from(ended));
        Ok(())
    }

    fn waiting_calls(&self) -> u64 {
        self.calls
    }

    fn recall(&mut self, scope: &str, key: &str) -> Result<Option<Remembered>, StoreError> {
        self.read(|connection, _| {
            let mut statement = connection.prepare_cached(
                "SELECT message_key, message_tail, digest, at FROM keys WHERE scope = ?1 AND key = ?2",
            )?;
            let remembered = |row: &rusqlite::Row<'_>| {
                Ok(Remembered {
                    id: MessageId::from_parts(row.get(0)?, row.get(1)?),
                    digest: row.get(2)?,
                    at: Timestamp(row.get(3)?),
                })
            };
            statement.query_row((scope, key), remembered).optional()
        })
    }

    fn remember(&mut self, scope: &str, key: &str, what: &Remembered) -> Result<(), StoreError> {
        self.write(|changes| changes.remember(scope, key, what))
    }

    fn contact(&mut self, connection: &Connection) -> Result<Option<Contact>, StoreError> {
        self.read(|database, names| {
            let Some((connection, _)) = names.known(database, connection)? else { return Ok(None) };
            let mut statement = database.prepare_cached(
                "SELECT k.id, k.name, k.language FROM connections c JOIN contacts k ON k.id = c.contact WHERE c.id = ?1",
            )?;
            let contact = |row: &rusqlite::Row<'_>| {
                Ok(Contact { id: row.get(0)?, name: row.get(1)?, language: row.get(2)? })
            };
            statement.query_row([connection], contact).optional()
        })
    }

    fn change_contact(
        &mut self,
        connection: &Connection,
        change: &ContactChange,
        _now: Timestamp,
    ) -> Result<(), StoreError> {
        self.write(|changes| changes.change_contact(connection, change))
    }

    fn spend(
        &mut self,
        backend: &str,
        period: Period,
        since: Timestamp,
        parts: u32,
    ) -> Result<(), StoreError> {
        self.write(|changes| changes.spend(backend, period, since, parts))
    }

    fn spent(&mut self, backend: &str, period: Period, since: Timestamp) -> Result<u64, StoreError> {
        self.read(|connection, names| match names.backend(connection, backend)? {
            Some(number) => queries::spent(connection, number, period, since),
            None => Ok(0),
        })
    }

    fn running(&mut self, id: Option<MessageId>) {
        self.guard.note(id);
    }

    fn recover(
        &mut self,
        in_hand: &dyn Fn(MessageId) -> bool,
        _now: Timestamp,
    ) -> Result<Vec<Taken>, StoreError> {
        self.turn = None;
        // The ledger is as fresh as the file only once that is open.
        self.read(|_, _| Ok(()))?;
        let backends = self.ledger.receiving();
        let mut claimed = self.read(|connection, _| queries::claimed(connection, &backends))?;
        claimed.retain(|&id| !in_hand(id));
        if !claimed.is_empty() {
            let running = self.guard.running();
            self.write(|changes| changes.release(&claimed, running))?;
        }
        self.guard.note(None);
        let mut sending = self.read(queries::sending)?;
        sending.retain(|taken| !in_hand(taken.outgoing.id));
        Ok(sending)
    }

    fn shifts(&self) -> u64 {
        self.shifts
    }

    fn shift(&mut self, number: u64, by: Duration) -> Result<(), StoreError> {
        let by = i64::try_from(by.as_micros()).unwrap_or(i64::MAX - 1).min(i64::MAX - 1);
        let numbered = i64::try_from(number).unwrap_or(i64::MAX);
        self.write(|changes| changes.shift(numbered, by))?;
        self.shifts = self.shifts.max(number);
        Ok(())
    }

    fn purge(
        &mut self,
        before: Option<Timestamp>,
        keys_before: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError> {
        let (keys, forget) = self.read(|connection, _| {
            let keys = match before {
                Some(before) => queries::purgeable(connection, before, limit)?,
                None => Vec::new(),
            };
            let mut statement = connection.prepare_cached("SELECT 1 FROM keys WHERE at < ?1 LIMIT 1")?;
            Ok((keys, statement.exists([keys_before.0])?))
        })?;
        let newest = self.newest;
        if !keys.is_empty() {
            self.write(|changes| changes.delete(&keys, newest))?;
            self.names.clear();
        }
        if forget {
            // Keys are many and small; a few times as many as messages still make a small transaction.
            self.write(|changes| changes.forget_keys(keys_before, limit.saturating_mul(4)))?;
        }
        Ok(keys.len())
    }

    fn waiting(&self, direction: Direction) -> u64 {
        self.ledger.waiting(direction)
    }

    fn waiting_of(&mut self, backend: &str, direction: Direction) -> Result<u64, StoreError> {
        let number = self.read(|connection, names| names.backend(connection, backend))?;
        Ok(number.map_or(0, |number| self.ledger.waiting_of(number, direction)))
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        if let Some(doom) = self.doomed.take() {
            return Err(self.undo(doom));
        }
        if !self.in_transaction {
            return match &self.trouble {
                Some(error @ StoreError::Damaged(_)) => Err(error.clone()),
                _ => Ok(()),
            };
        }
        // What is acknowledged must be where the next start looks for it.
        if let Err(error @ StoreError::Damaged(_)) = self.guard.still_there() {
            return Err(self.undo(Doom { error, caller: false }));
        }
        let Some(connection) = &self.database else {
            return Err(self.undo(Doom { error: closed(), caller: true }));
        };
        let done = self.ledger.flush(connection).and_then(|()| {
            connection.prepare_cached("COMMIT").and_then(|mut commit| commit.execute([])).map(drop)
        });
        if let Err(error) = done {
            let error = explain(&error, &self.path);
            return Err(self.undo(Doom { error, caller: false }));
        }
        self.in_transaction = false;
        self.ledger.committed();
        self.newest_committed = self.newest;
        self.commits.fetch_add(1, Ordering::Relaxed);
        self.shifts_committed = self.shifts;
        self.calls_committed = self.calls;
        // Only a reserve that is back tells that a full disk has room again; damage never heals.
        if !matches!(self.trouble, Some(StoreError::Full(_) | StoreError::Damaged(_))) {
            self.trouble = None;
        }
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        Ok(Box::new(reader::SqliteReader::open(&self.path)?))
    }

    fn trouble(&self) -> Option<&StoreError> {
        self.trouble.as_ref()
    }

    fn cured(&mut self) -> bool {
        match &self.trouble {
            None => return true,
            Some(StoreError::Damaged(_)) => return false,
            Some(_) if self.in_transaction || self.doomed.is_some() => return false,
            Some(_) => {}
        }
        let probe = self.guard.take_ballast().and_then(|()| {
            self.write(|changes| {
                changes.connection.execute("UPDATE store SET probes = probes + 1", []).map(drop)
            })
        });
        // The commit also takes back what a failed probe left.
        let committed = self.commit();
        if probe.is_ok() && committed.is_ok() {
            self.trouble = None;
        }
        self.trouble.is_none()
    }

    fn keeper(&self) -> Option<Box<dyn Keeper>> {
        Some(Box::new(keeper::SqliteKeeper::new(self.path.clone(), Arc::clone(&self.commits))))
    }

    fn untidy(&self) -> u32 {
        self.commits.load(Ordering::Relaxed)
    }

    fn still_there(&mut self) -> Result<(), StoreError> {
        let result = self.guard.still_there();
        if let Err(error @ StoreError::Damaged(_)) = &result {
            self.trouble = Some(error.clone());
        }
        result
    }

    fn mark_damaged(&mut self, reason: &str) {
        self.trouble = Some(StoreError::Damaged(format!(
            "{}: {reason}; stop the router and start it again to have the file salvaged, or put back a backup",
            self.path.display()
        )));
    }

    fn close(&mut self) -> Result<(), StoreError> {
        if self.in_transaction || self.doomed.is_some() {
            let error = StoreError::Broken("the store was closed within a transaction".into());
            self.doomed.get_or_insert(Doom { error, caller: true });
            let _ = self.commit();
        }
        let marked = self.mark_clean(true);
        self.closed = true;
        let Some(connection) = self.database.take() else { return marked };
        // A reader may keep the log from being emptied; then the next start does it.
        let _ = connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        connection.close().map_err(|(_, error)| explain(&error, &self.path)).and(marked)
    }
}
