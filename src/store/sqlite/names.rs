//! What the writer remembers so as not to ask the file for it again and again: the numbers of backends and connections, and how many
//! messages are in each state. All of it can be read from the file again, and is after every transaction that was undone.

use super::schema::meaning_of;
use crate::message::{Connection as Address, Direction, Name};
use rusqlite::{Connection, OptionalExtension, Result};
use std::collections::{BTreeMap, HashMap};

/// So many backends and connections are remembered; beyond that the memory starts afresh.
const NAMES: usize = 10_000;

/// Numbers of backends and connections, both ways.
#[derive(Debug, Default)]
pub(super) struct Names {
    backends: HashMap<Name, i64>,
    backend_names: HashMap<i64, Name>,
    connections: HashMap<Address, (i64, i64)>,
    addresses: HashMap<i64, Address>,
}

impl Names {
    pub(super) fn clear(&mut self) {
        *self = Names::default();
    }

    /// The number of a backend, if the file has it.
    pub(super) fn backend(&mut self, connection: &Connection, name: &str) -> Result<Option<i64>> {
        if let Some(&id) = self.backends.get(name) {
            return Ok(Some(id));
        }
        let mut statement = connection.prepare_cached("SELECT id FROM backends WHERE name = ?1")?;
        let id = statement.query_row([name], |row| row.get(0)).optional()?;
        if let Some(id) = id {
            self.know_backend(id, name.into());
        }
        Ok(id)
    }

    /// The name of a backend.
    pub(super) fn backend_name(&mut self, connection: &Connection, id: i64) -> Result<Name> {
        if let Some(name) = self.backend_names.get(&id) {
            return Ok(name.clone());
        }
        let mut statement = connection.prepare_cached("SELECT name FROM backends WHERE id = ?1")?;
        let name: Name = statement.query_row([id], |row| row.get::<_, String>(0))?.into();
        self.know_backend(id, name.clone());
        Ok(name)
    }

    /// The number of a backend or a queue, entered on first sight.
    pub(super) fn entered_backend(&mut self, connection: &Connection, name: &str) -> Result<i64> {
        if let Some(known) = self.backend(connection, name)? {
            return Ok(known);
        }
        let id = connection.prepare_cached("INSERT INTO backends (name) VALUES (?1)")?.insert([name])?;
        self.know_backend(id, name.into());
        Ok(id)
    }

    /// The numbers of a connection and its backend, both entered on first sight.
    pub(super) fn entered(&mut self, connection: &Connection, address: &Address) -> Result<(i64, i64)> {
        if let Some(known) = self.known(connection, address)? {
            return Ok(known);
        }
        let backend = self.entered_backend(connection, &address.backend)?;
        let mut statement =
            connection.prepare_cached("INSERT INTO connections (backend, identity) VALUES (?1, ?2)")?;
        let id = statement.insert((backend, &*address.identity))?;
        self.know(address.clone(), backend, id);
        Ok((id, backend))
    }

    /// The numbers of a connection and its backend, if the file has it.
    pub(super) fn known(&mut self, connection: &Connection, address: &Address) -> Result<Option<(i64, i64)>> {
        if let Some(&known) = self.connections.get(address) {
            return Ok(Some(known));
        }
        let Some(backend) = self.backend(connection, &address.backend)? else { return Ok(None) };
        let mut statement =
            connection.prepare_cached("SELECT id FROM connections WHERE backend = ?1 AND identity = ?2")?;
        let id = statement.query_row((backend, &*address.identity), |row| row.get(0)).optional()?;
        if let Some(id) = id {
            self.know(address.clone(), backend, id);
        }
        Ok(id.map(|id| (id, backend)))
    }

    /// The connection with this number.
    pub(super) fn address(&mut self, connection: &Connection, id: i64) -> Result<Address> {
        if let Some(address) = self.addresses.get(&id) {
            return Ok(address.clone());
        }
        let mut statement =
            connection.prepare_cached("SELECT backend, identity FROM connections WHERE id = ?1")?;
        let (backend, identity): (i64, String) =
            statement.query_row([id], |row| Ok((row.get(0)?, row.get(1)?)))?;
        let address = Address::new(self.backend_name(connection, backend)?, identity);
        self.know(address.clone(), backend, id);
        Ok(address)
    }

    fn know_backend(&mut self, id: i64, name: Name) {
        if self.backends.len() >= NAMES {
            self.clear();
        }
        self.backends.insert(name.clone(), id);
        self.backend_names.insert(id, name);
    }

    fn know(&mut self, address: Address, backend: i64, id: i64) {
        if self.connections.len() >= NAMES {
            self.connections.clear();
            self.addresses.clear();
        }
        self.connections.insert(address.clone(), (id, backend));
        self.addresses.insert(id, address);
    }
}

/// How many messages there are by backend and status, the open transaction included.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    counts: HashMap<(i64, i64), i64>,
    /// What the open transaction added.
    changed: Vec<((i64, i64), i64)>,
    waiting: [i64; 2],
    /// The same of each backend: received and going out.
    waiting_of: BTreeMap<i64, [i64; 2]>,
}

impl Ledger {
    /// Reads it from the file.
    pub(super) fn load(connection: &Connection) -> Result<Ledger> {
        let mut ledger = Ledger::default();
        let mut statement = connection.prepare_cached("SELECT backend, status, count FROM tally")?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            ledger.count(row.get(0)?, row.get(1)?, row.get(2)?);
        }
        ledger.changed.clear();
        Ok(ledger)
    }

    /// Counts `by` messages more (or fewer) of a backend in a status.
    pub(super) fn count(&mut self, backend: i64, status: i64, by: i64) {
        let key = (backend, status);
        *self.counts.entry(key).or_default() += by;
        match self.changed.iter_mut().find(|(changed, _)| *changed == key) {
            Some((_, sum)) => *sum += by,
            None => self.changed.push((key, by)),
        }
        if let Some((direction, state)) = meaning_of(status)
            && state.is_open()
        {
            self.waiting[direction as usize] += by;
            self.waiting_of.entry(backend).or_default()[direction as usize] += by;
        }
    }

    /// How many messages of a direction are open.
    pub(super) fn waiting(&self, direction: Direction) -> u64 {
        u64::try_from(self.waiting[direction as usize]).unwrap_or(0)
    }

    /// The same of one backend.
    pub(super) fn waiting_of(&self, backend: i64, direction: Direction) -> u64 {
        let waiting = self.waiting_of.get(&backend).map_or(0, |waiting| waiting[direction as usize]);
        u64::try_from(waiting).unwrap_or(0)
    }

    /// How much is counted under a number.
    pub(super) fn counted(&self, backend: i64, status: i64) -> u64 {
        self.counts.get(&(backend, status)).map_or(0, |&count| u64::try_from(count).unwrap_or(0))
    }

    /// The backends that have received messages which are not handled.
    pub(super) fn receiving(&self) -> Vec<i64> {
        let waits = |waiting: &[i64; 2]| waiting[Direction::In as usize] > 0;
        self.waiting_of.iter().filter(|(_, waiting)| waits(waiting)).map(|(&backend, _)| backend).collect()
    }

    /// Takes back what was counted since the last flush that was committed.
    pub(super) fn undo(&mut self) {
        for ((backend, status), by) in std::mem::take(&mut self.changed) {
            self.count(backend, status, -by);
        }
        self.changed.clear();
    }

    /// After a commit: what was counted so far stays.
    pub(super) fn committed(&mut self) {
        self.changed.clear();
    }

    /// Writes what changed, as part of the open transaction.
    pub(super) fn flush(&self, connection: &Connection) -> Result<()> {
        let mut statement = connection.prepare_cached(
            "INSERT INTO tally (backend, status, count) VALUES (?1, ?2, ?3) \
             ON CONFLICT DO UPDATE SET count = excluded.count",
        )?;
        for (key, _) in &self.changed {
            statement.execute((key.0, key.1, self.counts.get(key)))?;
        }
        Ok(())
    }
}
