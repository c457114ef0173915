//! The router's incoming half: what it takes, from sources and from programs, and what it refuses.

use super::{KEY_TIME, Refusal, Refused, Router, policy};
use crate::message::{
    Callback, Connection, Direction, Draft, IDENTITY_LIMIT, Incoming, MessageId, Origin, Piece, State,
    TEXT_LIMIT,
};
use crate::store::{NewIncoming, Remembered};
use crate::time::Timestamp;

impl Router {
    /// Takes one message from a source, or one piece of a message, which waits in the store for the others. It is safe, and may be acknowledged, after
    /// the next successful [`commit`](Router::commit).
    pub fn accept(&mut self, incoming: &Incoming, now: Timestamp) -> Result<MessageId, Refused> {
        self.may_write(now)?;
        check_connection(&incoming.connection)?;
        check_text(&incoming.text)?;
        let Some(desk) = self.desks.get(&incoming.connection.backend) else {
            return Err(policy::unknown_backend(&incoming.connection.backend));
        };
        let origin = if desk.policy.tester { Origin::Test } else { Origin::Real };
        self.has_room_for(&incoming.connection.backend, Direction::In)?;
        let mut whole = None;
        if let (Some(part), None) = (&incoming.part, &incoming.undecodable) {
            if part.is_one_of_several() {
                return self.accept_piece(incoming, part, origin, now);
            }
            let text = [&incoming.text, &*String::from_utf16_lossy(&part.units)].concat();
            check_text(&text)?;
            whole = Some(Incoming { text, part: None, ..incoming.clone() });
        }
        let incoming = whole.as_ref().unwrap_or(incoming);
        let mut duplicate_of = None;
        let id = self.ids.next(now);
        if let Some(key) = &incoming.redelivery_key {
            let backend = &incoming.connection.backend;
            duplicate_of = self.recall_delivery(backend, key, now)?;
            if duplicate_of.is_none() {
                self.remember_delivery(backend, key, id, now)?;
            }
        }
        let state = match (&duplicate_of, &incoming.undecodable) {
            (Some(_), _) => State::Duplicate,
            (None, Some(_)) => State::Quarantined,
            (None, None) => State::Received,
        };
        let row = NewIncoming {
            id,
            incoming,
            state,
            reason: incoming.undecodable.as_deref(),
            duplicate_of: duplicate_of.map(|known| known.id),
            origin,
            joined: None,
            at: now,
        };
        let stored = self.store.accept(&row);
        self.written(stored)?;
        self.counters.accepted += 1;
        match state {
            State::Received => self.unclaimed = true,
            State::Duplicate => self.counters.duplicates += 1,
            _ => self.counters.quarantined += 1,
        }
        Ok(id)
    }

    /// Takes one message to be sent that answers nothing, from `actor` (`api`, `cli`). The same idempotency key with the same
    /// digest gives the same id again and stores nothing. Safe after the next successful `commit`.
    pub fn submit(
        &mut self,
        mut draft: Draft,
        actor: &str,
        idempotency: Option<(&str, &[u8])>,
        now: Timestamp,
    ) -> Result<MessageId, Refused> {
        self.may_write(now)?;
        check_connection(&draft.connection)?;
        check_text(&draft.text)?;
        let faults = draft.callback.as_ref().and_then(Callback::fault);
        if let Some(fault) = faults.or_else(|| draft.wishes.part.and_then(Piece::fault)) {
            return Err(Refused::new(Refusal::Invalid, fault));
        }
        let Some(rules) = self.rules(&draft.connection.backend) else {
            return Err(policy::unknown_backend(&draft.connection.backend));
        };
        if rules.tester {
            draft.origin = Origin::Test;
        }
        self.has_room_for(&draft.connection.backend, Direction::Out)?;
        if let Some((key, digest)) = idempotency {
            let known = self.store.recall("submit", key);
            if let Some(known) = self.written(known)?.filter(|known| now.since(known.at) < KEY_TIME) {
                return if known.digest == digest {
                    Ok(known.id)
                } else {
                    Err(Refused::new(
                        Refusal::Conflict,
                        "this idempotency key was used for another message; use a new key for a new message",
                    ))
                };
            }
        }
        let decided = self.decide(actor.to_string(), draft, None, now);
        let id = decided.id;
        let stored = self.queue(&decided);
        self.written(stored)?;
        if let Some((key, digest)) = idempotency {
            let what = Remembered { id, digest: digest.to_vec(), at: now };
            let remembered = self.store.remember("submit", key, &what);
            self.written(remembered)?;
        }
        Ok(id)
    }

    /// Whether what waits for the apps, or to be sent, leaves room for more of this backend. It is asked of the one only when all together
    /// have as much as one may have.
    fn has_room_for(&mut self, backend: &str, direction: Direction) -> Result<(), Refused> {
        let policy = &self.policy;
        let (most, most_of_all, what) = match direction {
            Direction::In => (policy.max_waiting, policy.max_waiting_total, "handled"),
            Direction::Out => (policy.max_queued, policy.max_queued_total, "sent"),
        };
        let busy = |who: String| {
            Err(Refused::new(Refusal::Busy, format!("{who} wait to be {what} already; try again later")))
        };
        let total = self.store.waiting(direction);
        if total >= most_of_all {
            return busy(format!("{total} messages"));
        }
        if total < most {
            return Ok(());
        }
        let waiting = self.store.waiting_of(backend, direction);
        let waiting = self.written(waiting)?;
        if waiting >= most { busy(format!("{waiting} messages of backend {backend}")) } else { Ok(()) }
    }

    pub(super) fn may_write(&mut self, now: Timestamp) -> Result<(), Refused> {
        if self.stopping {
            return Err(Refused::new(Refusal::Stopping, "the router is stopping"));
        }
        if !self.started && self.trouble.is_none() && self.doomed.is_none() {
            // The first message may come before the first step.
            self.healed(now);
        }
        match self.doomed.as_ref().or(self.trouble.as_ref()) {
            Some(trouble) => Err(Refused::new(Refusal::Store, trouble.to_string())),
            None => Ok(()),
        }
    }
}

pub(super) fn check_connection(connection: &Connection) -> Result<(), Refused> {
    let identity = &connection.identity;
    let wrong = |reason: String| Err(Refused::new(Refusal::Invalid, reason));
    if identity.is_empty() {
        return wrong("the identity is empty; give the sender's number or address".into());
    }
    if identity.len() > IDENTITY_LIMIT && identity.chars().count() > IDENTITY_LIMIT {
        return wrong(format!(
            "the identity has {} octets; at most {IDENTITY_LIMIT} characters are possible",
            identity.len()
        ));
    }
    if identity.chars().any(char::is_control) {
        return wrong("the identity holds a control character".into());
    }
    Ok(())
}

pub(super) fn check_text(text: &str) -> Result<(), Refused> {
    if text.len() <= TEXT_LIMIT {
        return Ok(());
    }
    Err(Refused::new(
        Refusal::TooLong,
        format!("the text has {} octets; at most {TEXT_LIMIT} are possible", text.len()),
    ))
}
