//! The nouns: connections, messages in and out, their states, reports. Plain data, no behaviour beyond its own rules.

use crate::time::Timestamp;
use serde::Serialize;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

mod callback;
mod parts;

pub use callback::{CALL_LIMIT, CALLBACK_LIMIT, Callback, Facts, News, host_of};
pub use parts::{CUT_ESCAPE, PART_LIMIT, PARTS_LIMIT, Part, joined_text, pack_raw, part_numbers, unpack_raw};

/// The longest text the router takes from a source or a program, in octets of UTF-8. What is put together from many pieces may be longer.
pub const TEXT_LIMIT: usize = 64 * 1024;
/// The longest identity the router takes, in characters: longer than any number and any e-mail address (RFC 5321: 254).
pub const IDENTITY_LIMIT: usize = 256;

/// The name of a configured backend, as it was written in the settings.
pub type Name = Arc<str>;

/// An address on one backend: a telephone number behind a modem, a mail address behind a mailbox.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub struct Connection {
    /// The backend's name.
    pub backend: Name,
    /// The address on it: an MSISDN, a short code, a mail address.
    pub identity: Arc<str>,
}

impl Connection {
    /// The address `identity` on the backend `backend`.
    pub fn new(backend: impl Into<Name>, identity: impl Into<Arc<str>>) -> Connection {
        Connection { backend: backend.into(), identity: identity.into() }
    }
}

impl fmt::Display for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} via {}", self.identity, self.backend)
    }
}

/// The name of a message for its whole life: a UUID of version 7 (RFC 9562 clause 5.7).
///
/// Its first 60 bits that count, [`MessageId::key`], are the millisecond and a counter; they alone are
/// unique within a store and sort in the order of acceptance. The other 62 bits are random.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct MessageId(u128);

impl MessageId {
    const KEY_MAX: i64 = (1 << 60) - 1;

    /// Puts an id together from its sortable part (48 bits of milliseconds, 12 bits of counter) and its random part (62 bits).
    pub fn from_parts(key: i64, tail: i64) -> MessageId {
        let key = (key & Self::KEY_MAX) as u128;
        let tail = (tail as u64 & (u64::MAX >> 2)) as u128;
        MessageId(((key >> 12) << 80) | (0x7 << 76) | ((key & 0xfff) << 64) | (0b10 << 62) | tail)
    }

    /// The sortable part: the millisecond and the counter, never negative.
    pub fn key(self) -> i64 {
        (((self.0 >> 80) << 12) | ((self.0 >> 64) & 0xfff)) as i64
    }

    /// The random part.
    pub fn tail(self) -> i64 {
        (self.0 as u64 & (u64::MAX >> 2)) as i64
    }

    /// The time within the id, to the millisecond.
    pub fn time(self) -> Timestamp {
        Timestamp(((self.0 >> 80) as i64).saturating_mul(1_000))
    }
}

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        uuid::Uuid::from_u128(self.0).hyphenated().fmt(f)
    }
}

impl fmt::Debug for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MessageId {
    type Err = ();
    fn from_str(text: &str) -> Result<MessageId, ()> {
        let uuid = uuid::Uuid::try_parse(text).map_err(|_| ())?;
        let id = MessageId(uuid.as_u128());
        // Only what this type can print is one of its ids.
        if MessageId::from_parts(id.key(), id.tail()) == id { Ok(id) } else { Err(()) }
    }
}

impl Serialize for MessageId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Makes ids whose order is the order of making, whatever the clock does.
#[derive(Debug)]
pub struct Ids {
    last: i64,
    random: u64,
}

impl Ids {
    /// `newest` is the newest id ever given out; `seed` should be unpredictable where ids of several stores meet.
    pub fn new(newest: Option<MessageId>, seed: u64) -> Ids {
        Ids { last: newest.map_or(0, MessageId::key), random: seed }
    }

    /// The next id. When the clock stands still or lies behind, the counter goes on instead.
    pub fn next(&mut self, now: Timestamp) -> MessageId {
        let key = (now.milliseconds() as i64) << 12;
        self.last = key.max(self.last + 1);
        // SplitMix64 (Steele, Lea, Flood 2014): enough to keep ids of two stores apart; they are names, not secrets.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.random;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        MessageId::from_parts(self.last, (mixed ^ (mixed >> 31)) as i64)
    }
}

/// In or out.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// From a person to an app (MO).
    In,
    /// From an app or an operator to a person (MT).
    Out,
}

impl Direction {
    /// `in` or `out`.
    pub fn as_str(self) -> &'static str {
        match self {
            Direction::In => "in",
            Direction::Out => "out",
        }
    }
}

impl FromStr for Direction {
    type Err = ();
    fn from_str(text: &str) -> Result<Direction, ()> {
        match text {
            "in" => Ok(Direction::In),
            "out" => Ok(Direction::Out),
            _ => Err(()),
        }
    }
}

/// Where a message stands in its life. Each change is stored with its time, its actor and its reason.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// In: on disk, the apps have not finished with it.
    Received,
    /// In: the apps are done; their replies are queued.
    Handled,
    /// In: no app could handle it, because one failed. Out: given up, the reason says why.
    Failed,
    /// In: set aside: it could not be decoded, or the process died of it three times. Its raw octets are kept.
    Quarantined,
    /// In: the same delivery as an earlier message; stored, counted, not handled again.
    Duplicate,
    /// Out: waits for its turn or its time.
    Queued,
    /// Out: handed to its backend.
    Sending,
    /// Out: the carrier took it.
    Sent,
    /// Out: the carrier reports that it arrived.
    Delivered,
    /// Out: its validity ended before it could be sent.
    Expired,
    /// Out: an app, a guard or a person stopped it.
    Cancelled,
    /// Out: an attempt may or may not have left; it is tried once more.
    Uncertain,
    /// Out: waits for a person; delays nobody else.
    Held,
}

impl State {
    /// Every state, inbound first.
    pub const ALL: [State; 13] = [
        State::Received,
        State::Handled,
        State::Failed,
        State::Quarantined,
        State::Duplicate,
        State::Queued,
        State::Sending,
        State::Sent,
        State::Delivered,
        State::Expired,
        State::Cancelled,
        State::Uncertain,
        State::Held,
    ];

    /// The word used in the store, the API and the pages.
    pub fn as_str(self) -> &'static str {
        match self {
            State::Received => "received",
            State::Handled => "handled",
            State::Failed => "failed",
            State::Quarantined => "quarantined",
            State::Duplicate => "duplicate",
            State::Queued => "queued",
            State::Sending => "sending",
            State::Sent => "sent",
            State::Delivered => "delivered",
            State::Expired => "expired",
            State::Cancelled => "cancelled",
            State::Uncertain => "uncertain",
            State::Held => "held",
        }
    }

    /// Whether the router still has to do something about it.
    pub fn is_open(self) -> bool {
        matches!(self, State::Received | State::Queued | State::Sending | State::Uncertain)
    }

    /// Whether a message may go from this state to `next`. Late news never undoes better news:
    /// a message that was delivered stays delivered.
    pub fn may_become(self, next: State) -> bool {
        use State::*;
        match self {
            Received => matches!(next, Handled | Failed | Quarantined),
            Queued => matches!(next, Sending | Expired | Cancelled | Held | Failed),
            Sending => {
                matches!(next, Queued | Sent | Delivered | Failed | Uncertain | Held | Expired | Cancelled)
            }
            Uncertain => matches!(next, Sending | Sent | Delivered | Failed | Held | Expired | Cancelled),
            Held => matches!(next, Queued | Cancelled | Expired | Sent | Delivered | Failed),
            Sent => matches!(next, Delivered | Failed),
            Handled | Failed | Quarantined | Duplicate | Delivered | Expired | Cancelled => false,
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for State {
    type Err = ();
    fn from_str(text: &str) -> Result<State, ()> {
        State::ALL.into_iter().find(|state| state.as_str() == text).ok_or(())
    }
}

/// Whether real people are concerned. What a tester backend brings in, and every answer to it, is test traffic.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Origin {
    /// Real traffic.
    Real,
    /// From the Message Tester, a bucket or a script.
    Test,
}

/// Who goes first among messages to different connections. Order within one connection and priority is kept always.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// An answer to somebody who waits for it.
    Reply,
    /// One message that somebody or some program sends.
    Single,
    /// One of many.
    Bulk,
}

/// A message as its engine decoded it, before it is stored.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Incoming {
    /// Who sent it, on which backend.
    pub connection: Connection,
    /// What they sent.
    pub text: String,
    /// When the source says that it was sent (`service_center_time`, the `Date` of a mail), if it says so.
    pub source_time: Option<Timestamp>,
    /// What makes this very delivery known when it is repeated: a gateway's message id, the hash of a
    /// PDU. Never the sender's number. Without it nothing is taken for a repetition.
    pub redelivery_key: Option<String>,
    /// The octets it was decoded from, where they are worth keeping.
    pub raw: Option<Vec<u8>>,
    /// Why it could not be decoded. It is then kept as `quarantined` and shown to no app.
    pub undecodable: Option<String>,
    /// It is one piece of a longer message, which the router puts together. Its own `text` is empty then.
    pub part: Option<Part>,
}

impl Incoming {
    /// A message of plain text.
    pub fn new(connection: Connection, text: impl Into<String>) -> Incoming {
        Incoming {
            connection,
            text: text.into(),
            source_time: None,
            redelivery_key: None,
            raw: None,
            undecodable: None,
            part: None,
        }
    }

    /// Octets that could not be decoded, and why.
    pub fn undecodable(connection: Connection, raw: Vec<u8>, reason: impl Into<String>) -> Incoming {
        Incoming { raw: Some(raw), undecodable: Some(reason.into()), ..Incoming::new(connection, "") }
    }
}

/// A message to be sent, as an app or an operator wants it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Draft {
    /// To whom, through which backend.
    pub connection: Connection,
    /// What to send.
    pub text: String,
    /// The message that it answers.
    pub in_response_to: Option<MessageId>,
    /// Its turn among others.
    pub priority: Priority,
    /// Not before this time. Such a message has its own time and stands in no queue of its connection.
    pub not_before: Option<Timestamp>,
    /// How long it is worth sending; the backend's or the router's validity when not said.
    pub validity: Option<Duration>,
    /// Whether it is test traffic.
    pub origin: Origin,
    /// How it should be sent, where the engine can.
    pub wishes: Wishes,
    /// Who wants to be called about it.
    pub callback: Option<Callback>,
    /// Set by [`Draft::cancel`]: it is stored and shown as cancelled, with this reason, and never sent.
    pub cancelled: Option<String>,
}

impl Draft {
    /// One message to `connection`.
    pub fn new(connection: Connection, text: impl Into<String>) -> Draft {
        Draft {
            connection,
            text: text.into(),
            in_response_to: None,
            priority: Priority::Single,
            not_before: None,
            validity: None,
            origin: Origin::Real,
            wishes: Wishes::default(),
            callback: None,
            cancelled: None,
        }
    }

    /// Sends it to another backend and identity instead.
    pub fn reroute(&mut self, connection: Connection) -> &mut Draft {
        self.connection = connection;
        self
    }

    /// Keeps it from being sent; `reason` is for the people who look for it.
    pub fn cancel(&mut self, reason: impl Into<String>) {
        self.cancelled = Some(reason.into());
    }
}

/// A stored message handed to its backend.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Outgoing {
    /// Its name, the same over all attempts; good as an idempotency key.
    pub id: MessageId,
    /// To whom.
    pub connection: Connection,
    /// The backend that sends it. It differs from the connection's where that is a group, of which this is a member.
    pub by: Name,
    /// What to send.
    pub text: String,
    /// The message that it answers.
    pub in_response_to: Option<MessageId>,
    /// What was stored of that message as it came in ([`Incoming::raw`]), for engines that put an answer beside its question, and only when it came in by
    /// the same backend.
    pub answered: Option<Vec<u8>>,
    /// Which try this is, from 1.
    pub attempt: u32,
    /// After this time nobody wants it any more.
    pub expires_at: Timestamp,
    /// Whether it is test traffic.
    pub origin: Origin,
    /// How it should be sent.
    pub wishes: Wishes,
}

/// How one message should be sent, where its engine can do that; else they are without effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Wishes {
    /// Shown at once and not stored by the phone ("flash", class 0 of TS 23.038, clause 4).
    pub flash: bool,
    /// Whether the carrier is asked for a delivery report; the backend's setting when not said.
    pub report: Option<bool>,
    /// Its text is one piece of a longer message that somebody else has cut.
    pub part: Option<Piece>,
}

/// Which piece of which longer message a text is (3GPP TS 23.040, 9.2.3.24.1): it leaves as exactly one short message that says so.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Piece {
    /// The same for all pieces of a message.
    pub reference: u16,
    /// 8 or 16, the width of the reference.
    pub bits: u8,
    /// How many pieces there are.
    pub total: u8,
    /// Which one this is, from 1.
    pub sequence: u8,
}

impl Piece {
    /// What is wrong with it, as a sentence.
    pub fn fault(self) -> Option<String> {
        let Piece { reference, bits, total, sequence } = self;
        match bits {
            _ if sequence == 0 || sequence > total => Some(format!("there is no part {sequence} of {total}")),
            8 if reference > 0xFF => Some(format!("the reference {reference} does not fit into 8 bits")),
            8 | 16 => None,
            _ => Some(format!("a reference of a longer message has 8 or 16 bits, not {bits}")),
        }
    }
}

/// What the carrier said when it took a message.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Receipt {
    /// The carrier's names for the message, which later [`Report`]s will mention: one for each part that it was cut into.
    pub remote_ids: Vec<String>,
    /// Into how many parts it was cut.
    pub parts: Option<u32>,
    /// Anything worth showing a person.
    pub note: Option<String>,
}

/// Why a message was not sent, as the question that matters: try again?
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SendFailure {
    /// It certainly did not leave; later it may.
    Temporary(String),
    /// It certainly did not leave; not before this long.
    Throttled(Duration, String),
    /// It certainly did not leave and never will.
    Permanent(String),
    /// It may have left: the answer never came.
    Unsure(String),
    /// It was not tried at all, because the backend went down first; this counts as no attempt.
    Untried(String),
}

/// News of a message that was sent earlier.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Report {
    /// The backend that brought it.
    pub backend: Name,
    /// Which message.
    pub about: About,
    /// What happened to it.
    pub verdict: Verdict,
    /// In the carrier's words.
    pub note: Option<String>,
}

/// How a report names its message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum About {
    /// By our id.
    Id(MessageId),
    /// By the carrier's, as in [`Receipt::remote_ids`].
    Remote(String),
}

/// What a report says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verdict {
    /// It arrived.
    Delivered,
    /// It never will.
    Failed,
    /// Nothing final yet; kept in the history.
    Underway,
}

/// A person, who may have several connections and speaks a language.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Contact {
    /// Its number in the store.
    pub id: i64,
    /// As they gave it; may be empty.
    pub name: String,
    /// A code such as `en`; empty when they never said.
    pub language: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_uuid_version_7_and_round_trip() {
        let mut ids = Ids::new(None, 7);
        let id = ids.next(Timestamp::from_seconds(1_795_337_735));
        let text = id.to_string();
        assert_eq!(text.as_bytes()[14], b'7', "{text}: RFC 9562 clause 5.7, version");
        assert!(matches!(text.as_bytes()[19], b'8' | b'9' | b'a' | b'b'), "{text}: variant");
        assert_eq!(text.parse(), Ok(id));
        assert_eq!(MessageId::from_parts(id.key(), id.tail()), id);
        assert_eq!(id.time(), Timestamp::from_seconds(1_795_337_735));
        assert!(
            "2f1c9a3e-0000-4000-8000-000000000000".parse::<MessageId>().is_err(),
            "version 4 is not ours"
        );
    }

    #[test]
    fn p14_clock_ids_never_run_behind_the_newest() {
        let mut ids = Ids::new(None, 7);
        let newest = ids.next(Timestamp::from_seconds(1_795_337_735));
        let mut later = Ids::new(Some(newest), 8);
        let mut last = newest;
        for _ in 0..10_000 {
            let next = later.next(Timestamp::from_seconds(10));
            assert!(next > last && next.key() > last.key());
            last = next;
        }
    }

    #[test]
    fn an_ended_message_stays_ended() {
        for from in State::ALL {
            for to in State::ALL {
                let ended = !from.is_open() && !matches!(from, State::Sent | State::Held);
                assert!(!(ended && from.may_become(to)), "{from} -> {to}");
            }
        }
    }
}
