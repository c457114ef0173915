//! Longer messages that come in pieces (TS 23.040, 9.2.3.24.1): each piece is kept in the store, hence safe before it is acknowledged, and in
//! the transaction in which the last one comes they become one message. What never becomes whole is delivered as it is, with its gaps
//! marked; nothing is thrown away, and nothing waits without a bound.

use super::delivery::NextDue;
use super::{KEY_TIME, Refused, Router};
use crate::message::{Incoming, MessageId, Origin, Part, State, joined_text, pack_raw, part_numbers};
use crate::store::{Joined, NewIncoming, NewSet, Piece, PieceSet, Remembered};
use crate::time::Timestamp;
use std::time::Duration;

/// Why a message is not waited for any longer.
enum Whole {
    /// All pieces are there.
    All,
    /// The others did not come in time.
    Late,
    /// Too much waits: the reason, as the end of a sentence.
    Crowded(String),
}

impl Router {
    /// Takes one piece. A repeated one is acknowledged again, and that is all. The id that is given back names nothing that could be found.
    pub(super) fn accept_piece(
        &mut self,
        incoming: &Incoming,
        part: &Part,
        origin: Origin,
        now: Timestamp,
    ) -> Result<MessageId, Refused> {
        if let Some(key) = &incoming.redelivery_key {
            let known = self.recall_delivery(&incoming.connection.backend, key, now)?;
            if let Some(known) = known {
                return Ok(known.id);
            }
        }
        let piece = Piece {
            sequence: part.sequence,
            units: part.units.clone(),
            source_time: incoming.source_time,
            redelivery_key: incoming.redelivery_key.clone(),
            raw: incoming.raw.clone(),
        };
        let sets = self.store.sets(&incoming.connection);
        let sets = self.written(sets)?;
        // Where references were used again there are several; the one that began last is the one still being sent.
        let mut place = None;
        for set in sets.iter().rev().filter(|set| set.name == part.set && set.total == part.total) {
            let pieces = self.store.pieces(set.number);
            let pieces = self.written(pieces)?;
            if pieces.iter().any(|known| is_same(known, &piece)) {
                return Ok(self.ids.next(now));
            }
            let free = pieces.iter().all(|known| known.sequence != piece.sequence);
            if free && place.is_none() {
                place = Some((set, pieces));
            }
        }
        self.oldest_set = NextDue::Unknown;
        let Some((set, mut pieces)) = place else {
            self.make_room(incoming, &sets, now)?;
            let new = NewSet {
                connection: &incoming.connection,
                name: &part.set,
                total: part.total,
                origin,
                at: now,
            };
            let begun = self.store.begin_set(&new);
            let number = self.written(begun)?;
            let kept = self.store.keep_piece(number, &piece, now);
            self.written(kept)?;
            return Ok(self.ids.next(now));
        };
        if pieces.len() + 1 < usize::from(set.total) {
            let kept = self.store.keep_piece(set.number, &piece, now);
            self.written(kept)?;
            return Ok(self.ids.next(now));
        }
        pieces.push(piece);
        pieces.sort_by_key(|piece| piece.sequence);
        self.join(set, &pieces, Whole::All, now)
    }

    /// Delivers what was not completed in time.
    pub(super) fn join_overdue(&mut self, now: Timestamp) {
        const AT_ONCE: usize = 100;
        if self.stopping || self.doomed.is_some() || self.clock_behind {
            return;
        }
        for _ in 0..AT_ONCE {
            match self.oldest_set {
                NextDue::Never => return,
                NextDue::At(at) if at > now => return,
                NextDue::At(_) | NextDue::Unknown => {}
            }
            let stalest = self.store.stalest_set(None);
            let Ok(stalest) = self.written(stalest) else { return };
            let Some(set) = stalest else {
                self.oldest_set = NextDue::Never;
                return;
            };
            let until = set.newest_at + self.policy.join_within;
            self.oldest_set = NextDue::At(until);
            if until <= now {
                self.oldest_set = NextDue::Unknown;
                if self.join_partial(&set, Whole::Late, now).is_err() {
                    return;
                }
            }
        }
    }

    /// Before a new set begins: what has waited the longest gives way where there are too many.
    fn make_room(&mut self, incoming: &Incoming, sets: &[PieceSet], now: Timestamp) -> Result<(), Refused> {
        let most = self.policy.max_sets.max(1);
        if sets.len() >= most
            && let Some(stalest) = sets.iter().min_by_key(|set| (set.newest_at, set.number))
        {
            let why = format!("{most} longer messages of one sender may be incomplete");
            self.join_partial(stalest, Whole::Crowded(why), now)?;
        }
        let backend = &incoming.connection.backend;
        loop {
            let waiting = self.store.pieces_of(backend);
            if self.written(waiting)? < self.policy.max_pieces.max(1) {
                return Ok(());
            }
            let stalest = self.store.stalest_set(Some(backend));
            let Some(stalest) = self.written(stalest)? else { return Ok(()) };
            let why = format!("{} pieces of one backend may wait", self.policy.max_pieces);
            self.join_partial(&stalest, Whole::Crowded(why), now)?;
        }
    }

    fn join_partial(&mut self, set: &PieceSet, why: Whole, now: Timestamp) -> Result<MessageId, Refused> {
        let pieces = self.store.pieces(set.number);
        let pieces = self.written(pieces)?;
        self.join(set, &pieces, why, now)
    }

    /// Makes one message of the pieces, which are in order. They go in the same transaction.
    fn join(
        &mut self,
        set: &PieceSet,
        pieces: &[Piece],
        why: Whole,
        now: Timestamp,
    ) -> Result<MessageId, Refused> {
        let text = joined_text(set.total, pieces.iter().map(|piece| (piece.sequence, &piece.units[..])));
        let raw = pieces.iter().filter_map(|piece| Some((piece.sequence, piece.raw.as_deref()?)));
        let raw = Some(pack_raw(raw)).filter(|raw| !raw.is_empty());
        let incoming = Incoming {
            source_time: pieces.iter().filter_map(|piece| piece.source_time).min(),
            raw,
            ..Incoming::new(set.connection.clone(), text)
        };
        let numbers: Vec<u16> = pieces.iter().map(|piece| piece.sequence).collect();
        let came = format!("{} of {} came", part_numbers(&numbers), set.total);
        let reason = match why {
            Whole::All => None,
            Whole::Late => {
                Some(format!("{came}; the others did not within {}", spelled(self.policy.join_within)))
            }
            Whole::Crowded(why) => Some(format!("{came}; the others were not waited for: at most {why}")),
        };
        let id = self.ids.next(now);
        let row = NewIncoming {
            id,
            incoming: &incoming,
            state: State::Received,
            reason: reason.as_deref(),
            duplicate_of: None,
            origin: set.origin,
            joined: Some(Joined { parts: u32::from(set.total), partial: reason.is_some() }),
            at: now,
        };
        let stored = self.store.end_set(set.number).and_then(|()| self.store.accept(&row));
        self.written(stored)?;
        for key in pieces.iter().filter_map(|piece| piece.redelivery_key.as_deref()) {
            self.remember_delivery(&set.connection.backend, key, id, now)?;
        }
        self.counters.accepted += 1;
        self.unclaimed = true;
        Ok(id)
    }

    /// The delivery with this key that a backend brought before, if it is remembered.
    pub(super) fn recall_delivery(
        &mut self,
        backend: &str,
        key: &str,
        now: Timestamp,
    ) -> Result<Option<Remembered>, Refused> {
        let known = self.store.recall(&["in ", backend].concat(), key);
        Ok(self.written(known)?.filter(|known| now.since(known.at) < KEY_TIME))
    }

    pub(super) fn remember_delivery(
        &mut self,
        backend: &str,
        key: &str,
        id: MessageId,
        now: Timestamp,
    ) -> Result<(), Refused> {
        let what = Remembered { id, digest: Vec::new(), at: now };
        let remembered = self.store.remember(&["in ", backend].concat(), key, &what);
        self.written(remembered)
    }
}

/// `24 h`, `90 min`, `20 s`: in the largest unit without a rest.
fn spelled(time: Duration) -> String {
    match time.as_secs() {
        hours if hours >= 3_600 && hours.is_multiple_of(3_600) => format!("{} h", hours / 3_600),
        minutes if minutes >= 60 && minutes.is_multiple_of(60) => format!("{} min", minutes / 60),
        seconds => format!("{seconds} s"),
    }
}

/// Whether two pieces of one set are one: delivered again, or sent again by the network.
fn is_same(known: &Piece, piece: &Piece) -> bool {
    let same_delivery = known.redelivery_key.is_some() && known.redelivery_key == piece.redelivery_key;
    same_delivery || (known.sequence == piece.sequence && known.units == piece.units)
}
