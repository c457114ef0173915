//! Every change of rows, as statements within a transaction that the caller opened. Nothing here commits, and nothing here scans: each
//! statement finds its rows through one index, however many other messages wait (a test reads the query plans).
//!
//! The invariant of a lane: among its rows (`lane` not null) exactly one has a `due`: the first, or the one that is claimed. Whatever
//! ends, holds, releases or puts back a row restores it.

use super::names::{Ledger, Names};
use super::queries::{Due, rows_of};
use super::schema::{
    BEFORE, CALLED, CLAIMED, NEVER, PARTIAL, TURNS, flags_of, meaning_of, period_number, status_of,
};
use crate::message::{Direction, MessageId, Origin, State};
use crate::store::{
    ContactChange, Ending, NewIncoming, NewOutgoing, Period, Remembered, Settlement, Unfinished,
    backend_actor, class_of, is_ended, is_final, late, named_parts,
};
use crate::time::Timestamp;
use rusqlite::{Connection, OptionalExtension, Result, Row, params};

/// The latest due time that is not a claim.
pub(super) const LATEST: i64 = CLAIMED - 1;

/// An open transaction.
pub(super) struct Changes<'a> {
    pub(super) connection: &'a Connection,
    pub(super) names: &'a mut Names,
    pub(super) ledger: &'a mut Ledger,
}

/// What deciding about one message needs.
struct Standing {
    class: i64,
    status: i64,
    connection: i64,
    backend: i64,
    entries: i64,
    attempts: i64,
    lane: Option<i64>,
    turn: i64,
    due: Option<i64>,
    not_before: Option<i64>,
    named: bool,
    taken_by: Option<i64>,
}

impl Changes<'_> {
    pub(super) fn accept(&mut self, new: &NewIncoming<'_>) -> Result<()> {
        let (connection, backend) = self.names.entered(self.connection, &new.incoming.connection)?;
        let status = status_of(Direction::In, new.state);
        let open = new.state.is_open();
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO messages (key, tail, connection, backend, class, status, origin, created_at, updated_at, attempts,
                 uncertain, redelivered, entries, lane, turn, due, source_time, about_key, about_tail, reason, text, raw,
                 parts, flags)
             VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7, ?7, 0, 0, 0, 1, ?8, ?15,
                 CASE WHEN ?8 IS NULL OR EXISTS (SELECT 1 FROM messages WHERE lane = ?8) THEN NULL ELSE 0 END,
                 ?9, ?10, ?11, ?12, ?13, ?14, ?16, ?17)",
        )?;
        statement.execute(params![
            new.id.key(),
            new.id.tail(),
            connection,
            backend,
            status,
            origin_number(new.origin),
            new.at.0,
            open.then_some(connection * 4),
            new.incoming.source_time.map(|at| at.0),
            new.duplicate_of.map(MessageId::key),
            new.duplicate_of.map(MessageId::tail),
            new.reason,
            new.incoming.text,
            new.incoming.raw,
            backend * TURNS + NEVER,
            new.joined.map(|joined| joined.parts),
            if new.joined.is_some_and(|joined| joined.partial) { PARTIAL } else { 0 },
        ])?;
        self.ledger.count(backend, status, 1);
        let actor = backend_actor(&new.incoming.connection.backend);
        self.enter(new.id.key(), 0, new.at, status, 0, &actor, new.reason)
    }

    pub(super) fn queue(&mut self, new: &NewOutgoing<'_>) -> Result<()> {
        let (connection, backend) = self.names.entered(self.connection, new.connection)?;
        let status = status_of(Direction::Out, new.state);
        let class = i64::from(class_of(new.priority));
        let open = new.state.is_open();
        let lane = (open && new.not_before.is_none()).then_some(connection * 4 + class);
        let due = open.then(|| new.not_before.unwrap_or(new.at).0.min(LATEST));
        let queue = match new.queue {
            Some(queue) => self.names.entered_backend(self.connection, queue)?,
            None => backend,
        };
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO messages (key, tail, connection, backend, class, status, origin, created_at, updated_at, attempts,
                 uncertain, redelivered, entries, lane, turn, due, not_before, expires_at, open_until, about_key, about_tail,
                 reason, text, flags)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?8, 0, 0, 0, 1, ?9, ?10,
                 CASE WHEN EXISTS (SELECT 1 FROM messages WHERE lane = ?9) THEN NULL ELSE ?11 END,
                 ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19)",
        )?;
        statement.execute(params![
            new.id.key(),
            new.id.tail(),
            connection,
            backend,
            class,
            status,
            origin_number(new.origin),
            new.at.0,
            lane,
            queue * TURNS + class,
            due,
            new.not_before.map(|at| at.0),
            new.expires_at.0,
            (!is_ended(new.state)).then_some(new.expires_at.0),
            new.in_response_to.map(MessageId::key),
            new.in_response_to.map(MessageId::tail),
            new.reason,
            new.text,
            flags_of(new.wishes) | if new.callback.is_some() { CALLED } else { 0 },
        ])?;
        if let Some(callback) = new.callback {
            self.want(new.id.key(), callback)?;
        }
        self.ledger.count(backend, status, 1);
        self.enter(new.id.key(), 0, new.at, status, 0, new.actor, new.reason)
    }

    /// Counts the attempts of received messages that were found by [`claimable`](super::queries::claimable).
    pub(super) fn claim(&mut self, found: &[Unfinished]) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "UPDATE messages SET attempts = ?2, redelivered = ?3, due = 9223372036854775807 WHERE key = ?1",
        )?;
        for message in found {
            statement.execute((message.id.key(), message.attempt, message.redelivered))?;
        }
        Ok(())
    }

    pub(super) fn finish(&mut self, id: MessageId, ending: &Ending, now: Timestamp) -> Result<bool> {
        let Some(standing) = self.standing(id)? else { return Ok(false) };
        if standing.status != status_of(Direction::In, State::Received)
            || !State::Received.may_become(ending.state)
        {
            return Ok(false);
        }
        let mut statement = self.connection.prepare_cached(
            "UPDATE messages SET status = ?2, reason = ?3, updated_at = ?4, entries = entries + 1, lane = NULL, due = NULL \
             WHERE key = ?1",
        )?;
        let status = status_of(Direction::In, ending.state);
        statement.execute((id.key(), status, &ending.reason, now.0))?;
        self.ledger.count(standing.backend, standing.status, -1);
        self.ledger.count(standing.backend, status, 1);
        self.promote_after(&standing, now)?;
        self.enter(
            id.key(),
            standing.entries,
            now,
            status,
            standing.attempts,
            &ending.actor,
            ending.reason.as_deref(),
        )?;
        Ok(true)
    }

    pub(super) fn put_back(&mut self, id: MessageId) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "UPDATE messages SET attempts = max(attempts - 1, 0), turn = backend * ?3 + ?4, due = 0 \
             WHERE key = ?1 AND tail = ?2 AND status = 1 AND due = 9223372036854775807",
        )?;
        statement.execute((id.key(), id.tail(), TURNS, BEFORE)).map(drop)
    }

    /// Makes the messages that were found by [`due`](super::queries::due) `sending`, by a backend.
    pub(super) fn take(&mut self, by: &str, found: &[Due], now: Timestamp) -> Result<()> {
        let sending = status_of(Direction::Out, State::Sending);
        let (taken_by, actor) = (self.names.entered_backend(self.connection, by)?, backend_actor(by));
        let mut statement = self.connection.prepare_cached(
            "UPDATE messages SET status = 12, reason = NULL, updated_at = ?2, entries = entries + 1, attempts = ?3, \
                 due = 9223372036854775807, taken_by = ?4 \
             WHERE key = ?1",
        )?;
        for Due { taken, status, entries, backend } in found {
            let key = taken.outgoing.id.key();
            statement.execute((
                key,
                now.0,
                taken.outgoing.attempt,
                (taken_by != *backend).then_some(taken_by),
            ))?;
            self.ledger.count(*backend, *status, -1);
            self.ledger.count(*backend, sending, 1);
            self.enter(key, *entries, now, sending, i64::from(taken.outgoing.attempt), &actor, None)?;
        }
        Ok(())
    }

    pub(super) fn settle(&mut self, id: MessageId, settlement: &Settlement, now: Timestamp) -> Result<bool> {
        let Some(standing) = self.standing(id)? else { return Ok(false) };
        let Some((Direction::Out, from)) = meaning_of(standing.status) else { return Ok(false) };
        let to = settlement.state;
        if to == State::Sending || !from.may_become(to) {
            self.append(id, &settlement.actor, &late(settlement), now)?;
            if let (State::Sent, Some(parts)) = (to, settlement.parts) {
                let mut statement = self
                    .connection
                    .prepare_cached("UPDATE messages SET parts = coalesce(parts, ?2) WHERE key = ?1")?;
                statement.execute((id.key(), parts))?;
            }
            return Ok(false);
        }
        let key = id.key();
        let remote_id = named_parts(&settlement.remote_ids).next().map(|(_, name)| name);
        let status = status_of(Direction::Out, to);
        let attempts = (standing.attempts - i64::from(settlement.uncounted)).max(0);
        if matches!(to, State::Queued | State::Uncertain) {
            let due = settlement.due.unwrap_or(now).0.min(LATEST);
            let own_time = standing.not_before.filter(|_| from == State::Held);
            let lane = standing.not_before.is_none().then_some(standing.connection * 4 + standing.class);
            let due = own_time.map_or(due, |own_time| own_time.min(LATEST).max(due));
            let may_go = match lane {
                Some(lane) if from == State::Held => self.make_room(lane, standing.turn, key)?,
                Some(lane) => self.first_of(lane)?.is_none_or(|(first, _)| first >= key),
                None => true,
            };
            let mut statement = self.connection.prepare_cached(
                "UPDATE messages SET status = ?2, reason = ?3, updated_at = ?4, entries = entries + 1, attempts = ?5, \
                     uncertain = uncertain + ?6, retry_at = ?7, lane = ?8, due = ?9, parts = coalesce(?10, parts), \
                     remote_id = coalesce(?11, remote_id) \
                 WHERE key = ?1",
            )?;
            statement.execute(params![
                key,
                status,
                settlement.reason,
                now.0,
                attempts,
                to == State::Uncertain,
                settlement.due.map(|at| at.0.min(LATEST)),
                lane,
                may_go.then_some(due),
                settlement.parts,
                remote_id
            ])?;
            if let (Some(lane), false, true) = (lane, may_go, from != State::Held) {
                self.promote(lane, now)?;
            }
        } else {
            let mut statement = self.connection.prepare_cached(
                "UPDATE messages SET status = ?2, reason = ?3, updated_at = ?4, entries = entries + 1, attempts = ?5, \
                     retry_at = NULL, lane = NULL, due = NULL, open_until = CASE ?2 WHEN 19 THEN open_until END, \
                     parts = coalesce(?6, parts), remote_id = coalesce(?7, remote_id) \
                 WHERE key = ?1",
            )?;
            let parts = settlement.parts;
            statement.execute(params![key, status, settlement.reason, now.0, attempts, parts, remote_id])?;
            self.promote_after(&standing, now)?;
        }
        if standing.named && (remote_id.is_some() || is_final(to)) {
            self.forget_names(key)?;
        }
        if remote_id.is_some() && !is_final(to) {
            let backend = standing.taken_by.unwrap_or(standing.backend);
            self.give_names(key, backend, &settlement.remote_ids, now)?;
        }
        self.ledger.count(standing.backend, standing.status, -1);
        self.ledger.count(standing.backend, status, 1);
        let reason = settlement.reason.as_deref();
        self.enter(key, standing.entries, now, status, standing.attempts, &settlement.actor, reason)?;
        Ok(true)
    }

    /// Appends to the history of a message without changing its state.
    pub(super) fn append(&mut self, id: MessageId, actor: &str, reason: &str, now: Timestamp) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "UPDATE messages SET entries = entries + 1 WHERE key = ?1 AND tail = ?2 \
             RETURNING entries - 1, status, attempts",
        )?;
        let found = statement
            .query_row((id.key(), id.tail()), |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)))
            .optional()?;
        match found {
            Some((n, status, attempts)) => {
                self.enter(id.key(), n, now, status, attempts, actor, Some(reason))
            }
            None => Ok(()),
        }
    }

    pub(super) fn remember(&mut self, scope: &str, key: &str, what: &Remembered) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO keys (scope, key, at, message_key, message_tail, digest) VALUES (?1, ?2, ?3, ?4, ?5, ?6) \
             ON CONFLICT DO UPDATE SET at = excluded.at, message_key = excluded.message_key, \
                 message_tail = excluded.message_tail, digest = excluded.digest",
        )?;
        statement.execute((scope, key, what.at.0, what.id.key(), what.id.tail(), &what.digest)).map(drop)
    }

    pub(super) fn spend(
        &mut self,
        backend: &str,
        period: Period,
        since: Timestamp,
        parts: u32,
    ) -> Result<()> {
        // A backend that took something is known.
        let Some(backend) = self.names.backend(self.connection, backend)? else { return Ok(()) };
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO spent (backend, period, since, count) VALUES (?1, ?2, ?3, ?4) \
             ON CONFLICT DO UPDATE SET count = excluded.count + CASE WHEN since < excluded.since THEN 0 ELSE count END, \
                 since = max(since, excluded.since)",
        )?;
        statement.execute((backend, period_number(period), since.0, parts)).map(drop)
    }

    pub(super) fn change_contact(
        &mut self,
        address: &crate::message::Connection,
        change: &ContactChange,
    ) -> Result<()> {
        let contact = match change {
            ContactChange::Register { name, language } => {
                let mut statement = self
                    .connection
                    .prepare_cached("INSERT INTO contacts (name, language) VALUES (?1, ?2)")?;
                statement.insert((name, language))?
            }
            ContactChange::Language(language) => {
                if let Some((connection, _)) = self.names.known(self.connection, address)? {
                    let mut statement = self.connection.prepare_cached(
                        "UPDATE contacts SET language = ?2 \
                         WHERE id = (SELECT contact FROM connections WHERE id = ?1)",
                    )?;
                    statement.execute((connection, language))?;
                }
                return Ok(());
            }
            ContactChange::Join(contact) => {
                let mut statement = self.connection.prepare_cached("SELECT 1 FROM contacts WHERE id = ?1")?;
                if !statement.exists([contact])? {
                    return Ok(());
                }
                *contact
            }
        };
        let (connection, _) = self.names.entered(self.connection, address)?;
        let mut statement =
            self.connection.prepare_cached("UPDATE connections SET contact = ?2 WHERE id = ?1")?;
        statement.execute((connection, contact)).map(drop)
    }

    /// Lets claimed received messages be claimed again. Only of the one that was `running` the attempt counts.
    pub(super) fn release(&mut self, ids: &[MessageId], running: Option<MessageId>) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "UPDATE messages SET attempts = max(attempts - ?4, 0), turn = backend * ?2 + ?3, due = 0 WHERE key = ?1",
        )?;
        let innocent = |id: MessageId| i64::from(running != Some(id));
        ids.iter().try_for_each(|&id| statement.execute((id.key(), TURNS, BEFORE, innocent(id))).map(drop))
    }

    pub(super) fn shift(&mut self, number: i64, by: i64) -> Result<()> {
        let mut statement =
            self.connection.prepare_cached("UPDATE store SET shifts = ?1 WHERE shifts < ?1")?;
        if statement.execute([number])? == 0 {
            return Ok(());
        }
        // min() keeps sums within 64 bits: a time near the end of time stays there.
        let mut statement = self.connection.prepare_cached(
            "UPDATE messages SET due = min(due, 9223372036854775806 - ?1) + ?1 \
             WHERE open_until IS NOT NULL AND due IS NOT NULL AND due < 9223372036854775807",
        )?;
        statement.execute([by])?;
        let mut statement = self.connection.prepare_cached(
            "UPDATE messages SET \
                 not_before = min(not_before, 9223372036854775806 - ?1) + ?1, \
                 retry_at = min(retry_at, 9223372036854775806 - ?1) + ?1, \
                 expires_at = min(expires_at, 9223372036854775806 - ?1) + ?1, \
                 open_until = min(open_until, 9223372036854775806 - ?1) + ?1 \
             WHERE open_until IS NOT NULL",
        )?;
        statement.execute([by])?;
        let mut statement =
            self.connection.prepare_cached("UPDATE keys SET at = min(at, 9223372036854775806 - ?1) + ?1")?;
        statement.execute([by])?;
        let mut statement = self
            .connection
            .prepare_cached("UPDATE sets SET newest_at = min(newest_at, 9223372036854775806 - ?1) + ?1")?;
        statement.execute([by])?;
        let mut statement = self.connection.prepare_cached(
            "UPDATE calls SET at = min(at, 9223372036854775806 - ?1) + ?1, due = min(due, 9223372036854775806 - ?1) + ?1",
        )?;
        statement.execute([by]).map(drop)
    }

    /// Deletes messages by key, and connections that only they used. The caller must forget cached names afterwards.
    pub(super) fn delete(&mut self, keys: &[i64], newest: Option<MessageId>) -> Result<()> {
        if let Some(newest) = newest {
            let mut statement =
                self.connection.prepare_cached("UPDATE store SET newest_key = ?1, newest_tail = ?2")?;
            statement.execute((newest.key(), newest.tail()))?;
        }
        for &key in keys {
            let mut statement = self.connection.prepare_cached(
                "DELETE FROM messages WHERE key = ?1 RETURNING backend, status, connection, remote_id IS NOT NULL, flags",
            )?;
            let (backend, status, connection, named, flags): (i64, i64, i64, bool, i64) = statement
                .query_row([key], |row| {
                    Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
                })?;
            if flags & CALLED != 0 {
                // Calls that are owed are made all the same: they say everything themselves.
                self.want_no_more(key)?;
            }
            if named {
                self.forget_names(key)?;
            }
            self.ledger.count(backend, status, -1);
            self.connection.prepare_cached("DELETE FROM history WHERE message = ?1")?.execute([key])?;
            let mut statement = self.connection.prepare_cached(
                "DELETE FROM connections WHERE id = ?1 AND contact IS NULL \
                 AND NOT EXISTS (SELECT 1 FROM messages WHERE connection = ?1) \
                 AND NOT EXISTS (SELECT 1 FROM sets WHERE connection = ?1)",
            )?;
            statement.execute([connection])?;
        }
        Ok(())
    }

    pub(super) fn forget_keys(&mut self, before: Timestamp, limit: usize) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "DELETE FROM keys WHERE (scope, key) IN (SELECT scope, key FROM keys WHERE at < ?1 ORDER BY at LIMIT ?2)",
        )?;
        statement.execute((before.0, rows_of(limit))).map(drop)
    }

    fn standing(&self, id: MessageId) -> Result<Option<Standing>> {
        let mut statement = self.connection.prepare_cached(
            "SELECT class, status, connection, backend, entries, attempts, lane, turn, due, not_before, \
                 remote_id IS NOT NULL, taken_by \
             FROM messages WHERE key = ?1 AND tail = ?2",
        )?;
        let standing = |row: &Row<'_>| {
            Ok(Standing {
                class: row.get(0)?,
                status: row.get(1)?,
                connection: row.get(2)?,
                backend: row.get(3)?,
                entries: row.get(4)?,
                attempts: row.get(5)?,
                lane: row.get(6)?,
                turn: row.get(7)?,
                due: row.get(8)?,
                not_before: row.get(9)?,
                named: row.get(10)?,
                taken_by: row.get(11)?,
            })
        };
        statement.query_row((id.key(), id.tail()), standing).optional()
    }

    /// One line of history.
    #[allow(clippy::too_many_arguments)]
    fn enter(
        &self,
        key: i64,
        n: i64,
        at: Timestamp,
        status: i64,
        attempt: i64,
        actor: &str,
        reason: Option<&str>,
    ) -> Result<()> {
        let mut statement = self.connection.prepare_cached(
            "INSERT INTO history (message, n, at, status, attempt, actor, reason) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?;
        statement.execute((key, n, at.0, status, attempt, actor, reason)).map(drop)
    }

    /// The lane that a message just left moves up, if the message was its head.
    fn promote_after(&self, left: &Standing, now: Timestamp) -> Result<()> {
        match (left.lane, left.due) {
            (Some(lane), Some(_)) => self.promote(lane, now),
            _ => Ok(()),
        }
    }

    /// The first of a lane falls due: now, or when its last attempt wanted the next.
    fn promote(&self, lane: i64, now: Timestamp) -> Result<()> {
        let Some((first, _)) = self.first_of(lane)? else { return Ok(()) };
        let mut statement = self.connection.prepare_cached(
            "UPDATE messages SET due = CASE class WHEN 0 THEN 0 ELSE max(?2, coalesce(retry_at, ?2)) END \
             WHERE key = ?1",
        )?;
        statement.execute((first, now.0.min(LATEST))).map(drop)
    }

    fn first_of(&self, lane: i64) -> Result<Option<(i64, Option<i64>)>> {
        let mut statement = self
            .connection
            .prepare_cached("SELECT key, due FROM messages WHERE lane = ?1 ORDER BY key LIMIT 1")?;
        statement.query_row([lane], |row| Ok((row.get(0)?, row.get(1)?))).optional()
    }

    /// Whether a released message may be the head of its lane; the present head steps back if it is later and not claimed.
    fn make_room(&self, lane: i64, turn: i64, key: i64) -> Result<bool> {
        let Some((first, due)) = self.first_of(lane)? else { return Ok(true) };
        if first < key {
            return Ok(false);
        }
        let mut statement = self.connection.prepare_cached(
            "SELECT 1 FROM messages INDEXED BY messages_by_due \
             WHERE turn = ?1 AND due = 9223372036854775807 AND lane = ?2",
        )?;
        if statement.exists((turn, lane))? {
            return Ok(false);
        }
        if due.is_some() {
            self.connection
                .prepare_cached("UPDATE messages SET due = NULL WHERE key = ?1")?
                .execute([first])?;
        }
        Ok(true)
    }
}

pub(super) fn origin_number(origin: Origin) -> i64 {
    match origin {
        Origin::Real => 0,
        Origin::Test => 1,
    }
}
