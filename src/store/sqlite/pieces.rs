//! Pieces of longer messages in a store file. How many wait is counted beside the states of messages, under a number that no state has.

use super::changes::{Changes, origin_number};
use super::names::Names;
use super::queries::origin_of;
use super::schema::PIECES;
use crate::message::Connection as Address;
use crate::store::{NewSet, Piece, PieceSet};
use crate::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

impl Changes<'_> {
    pub(super) fn begin_set(&mut self, new: &NewSet<'_>) -> Result<i64> {
        let (connection, backend) = self.names.entered(self.connection, new.connection)?;
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO sets (connection, backend, name, total, origin, newest_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let origin = origin_number(new.origin);
        statement.insert((connection, backend, new.name, new.total, origin, new.at.0))
    }

    pub(super) fn keep_piece(&mut self, set: i64, piece: &Piece, now: Timestamp) -> Result<()> {
        let mut statement = self
            .connection
            .prepare_cached("UPDATE sets SET newest_at = ?2 WHERE id = ?1 RETURNING backend")?;
        let Some(backend) = statement.query_row((set, now.0), |row| row.get(0)).optional()? else {
            return Ok(());
        };
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO pieces (piece_set, sequence, units, source_time, redelivery_key, raw) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?;
        let units: Vec<u8> = piece.units.iter().flat_map(|unit| unit.to_le_bytes()).collect();
        statement.execute(params![
            set,
            piece.sequence,
            units,
            piece.source_time.map(|at| at.0),
            piece.redelivery_key,
            piece.raw
        ])?;
        self.ledger.count(backend, PIECES, 1);
        Ok(())
    }

    pub(super) fn end_set(&mut self, set: i64) -> Result<()> {
        let mut statement =
            self.connection.prepare_cached("DELETE FROM sets WHERE id = ?1 RETURNING backend")?;
        let Some(backend) = statement.query_row([set], |row| row.get(0)).optional()? else { return Ok(()) };
        let gone =
            self.connection.prepare_cached("DELETE FROM pieces WHERE piece_set = ?1")?.execute([set])?;
        self.ledger.count(backend, PIECES, -i64::try_from(gone).unwrap_or(0));
        Ok(())
    }
}

/// The columns that [`set`] reads.
const SET: &str = "id, connection, name, total, origin, newest_at";

/// The sets of a connection, in the order of their beginnings.
pub(super) fn sets(connection: &Connection, names: &mut Names, of: &Address) -> Result<Vec<PieceSet>> {
    let Some((number, _)) = names.known(connection, of)? else { return Ok(Vec::new()) };
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {SET} FROM sets INDEXED BY sets_by_connection WHERE connection = ?1 ORDER BY id"
    ))?;
    let mut rows = statement.query([number])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        found.push(set(connection, names, row)?);
    }
    Ok(found)
}

/// The set whose newest piece is the oldest.
pub(super) fn stalest(
    connection: &Connection,
    names: &mut Names,
    backend: Option<&str>,
) -> Result<Option<PieceSet>> {
    let (sql, number) = match backend {
        None => (
            format!(
                "SELECT {SET} FROM sets INDEXED BY sets_by_age WHERE newest_at >= ?1 ORDER BY newest_at, id LIMIT 1"
            ),
            i64::MIN,
        ),
        Some(backend) => match names.backend(connection, backend)? {
            None => return Ok(None),
            Some(number) => (
                format!(
                    "SELECT {SET} FROM sets INDEXED BY sets_by_backend WHERE backend = ?1 ORDER BY newest_at, id LIMIT 1"
                ),
                number,
            ),
        },
    };
    let mut statement = connection.prepare_cached(&sql)?;
    let mut rows = statement.query([number])?;
    rows.next()?.map(|row| set(connection, names, row)).transpose()
}

/// The pieces of a set, in order.
pub(super) fn pieces(connection: &Connection, set: i64) -> Result<Vec<Piece>> {
    let mut statement = connection.prepare_cached(
        "SELECT sequence, units, source_time, redelivery_key, raw FROM pieces WHERE piece_set = ?1 ORDER BY sequence",
    )?;
    let rows = statement.query_map([set], |row| {
        let units: Vec<u8> = row.get(1)?;
        let units = units.as_chunks::<2>().0.iter().map(|unit| u16::from_le_bytes(*unit));
        Ok(Piece {
            sequence: row.get(0)?,
            units: units.collect(),
            source_time: row.get::<_, Option<i64>>(2)?.map(Timestamp),
            redelivery_key: row.get(3)?,
            raw: row.get(4)?,
        })
    })?;
    rows.collect()
}

fn set(connection: &Connection, names: &mut Names, row: &Row<'_>) -> Result<PieceSet> {
    Ok(PieceSet {
        number: row.get(0)?,
        connection: names.address(connection, row.get(1)?)?,
        name: row.get(2)?,
        total: row.get(3)?,
        origin: origin_of(row.get(4)?),
        newest_at: Timestamp(row.get(5)?),
    })
}
