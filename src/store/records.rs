//! The rows that go into a [`Store`](super::Store) and come out of it, what is asked, and what can go wrong: plain data.

use crate::message::{
    Callback, Connection, Contact, Direction, Incoming, MessageId, Name, Origin, Outgoing, Priority, State,
    Wishes,
};
use crate::time::Timestamp;
use serde::Serialize;

/// A message to [`Store::accept`](super::Store::accept).
#[derive(Clone, Debug)]
pub struct NewIncoming<'a> {
    /// Its name.
    pub id: MessageId,
    /// What the engine decoded.
    pub incoming: &'a Incoming,
    /// `received`, `duplicate` or `quarantined`.
    pub state: State,
    /// Why, for `quarantined`.
    pub reason: Option<&'a str>,
    /// The earlier message, for `duplicate`.
    pub duplicate_of: Option<MessageId>,
    /// Whether it is test traffic.
    pub origin: Origin,
    /// Of what it was put together, if it came in several pieces.
    pub joined: Option<Joined>,
    /// When it was accepted.
    pub at: Timestamp,
}

/// How a received message came that was put together from several pieces.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Joined {
    /// How many pieces the sender cut it into.
    pub parts: u32,
    /// Some of them never came.
    pub partial: bool,
}

/// One piece of a longer message, as it is kept until the others are there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Piece {
    /// Which one, from 1.
    pub sequence: u16,
    /// What it says, as UTF-16 units.
    pub units: Vec<u16>,
    /// When the source says that it was sent.
    pub source_time: Option<Timestamp>,
    /// What makes it known when it is delivered again.
    pub redelivery_key: Option<String>,
    /// The octets it was decoded from.
    pub raw: Option<Vec<u8>>,
}

/// A longer message to [`Store::begin_set`](super::Store::begin_set), of which the first piece is here.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NewSet<'a> {
    /// Who sends it.
    pub connection: &'a Connection,
    /// What its pieces have in common.
    pub name: &'a str,
    /// How many there will be.
    pub total: u16,
    /// Whether it is test traffic.
    pub origin: Origin,
    /// When.
    pub at: Timestamp,
}

/// A longer message of which pieces are missing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PieceSet {
    /// Its number, greater than that of every set that began before and still waits.
    pub number: i64,
    /// Who sends it.
    pub connection: Connection,
    /// What its pieces have in common.
    pub name: String,
    /// How many there will be.
    pub total: u16,
    /// Whether it is test traffic.
    pub origin: Origin,
    /// When its newest piece came.
    pub newest_at: Timestamp,
}

/// A message to [`Store::queue`](super::Store::queue).
#[derive(Clone, Debug)]
pub struct NewOutgoing<'a> {
    /// Its name.
    pub id: MessageId,
    /// To whom.
    pub connection: &'a Connection,
    /// The queue in which it stands, when that is not its backend's own: the backend's name, a slash and something more.
    pub queue: Option<&'a str>,
    /// What to send.
    pub text: &'a str,
    /// The message that it answers.
    pub in_response_to: Option<MessageId>,
    /// `queued`, `cancelled`, `failed` or `held`.
    pub state: State,
    /// Why, for the others.
    pub reason: Option<&'a str>,
    /// Its turn among others.
    pub priority: Priority,
    /// Its own time; then it stands in no lane.
    pub not_before: Option<Timestamp>,
    /// The end of its validity.
    pub expires_at: Timestamp,
    /// Whether it is test traffic.
    pub origin: Origin,
    /// How it should be sent.
    pub wishes: Wishes,
    /// Who wants to be called about it.
    pub callback: Option<&'a Callback>,
    /// Who made it: `app echo`, `api`, `cli`.
    pub actor: &'a str,
    /// When it was accepted.
    pub at: Timestamp,
}

/// Which received messages to claim.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Tried {
    /// No app has seen them.
    Never,
    /// An app may have seen them.
    Before,
}

/// A claimed received message.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Unfinished {
    /// Its name.
    pub id: MessageId,
    /// Who sent it.
    pub connection: Connection,
    /// What they sent.
    pub text: String,
    /// When it was accepted.
    pub received_at: Timestamp,
    /// When the source says that it was sent.
    pub source_time: Option<Timestamp>,
    /// Attempts so far, this one included.
    pub attempt: u32,
    /// An app may have seen it before.
    pub redelivered: bool,
    /// Pieces of it never came.
    pub partial: bool,
    /// Whether it is test traffic.
    pub origin: Origin,
    /// The person behind the connection.
    pub contact: Option<Contact>,
}

/// How handling ended.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ending {
    /// `handled`, `failed` or `quarantined`.
    pub state: State,
    /// Why, or what else a person may want to know.
    pub reason: Option<String>,
    /// Who decided: `app echo`, `router`.
    pub actor: String,
}

/// Who takes messages from which queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Taking<'a> {
    /// The queue.
    pub queue: &'a str,
    /// The backend that will send them.
    pub by: &'a str,
    /// Also those that this very backend tried last.
    pub again: bool,
}

/// A claimed message to send.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Taken {
    /// What the backend needs.
    pub outgoing: Outgoing,
    /// How many earlier attempts ended without certainty.
    pub uncertain: u32,
    /// Somebody wants to be called about it ([`Store::callback`](super::Store::callback)).
    pub called: bool,
}

/// What became of an attempt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settlement {
    /// The new state. `uncertain` counts an attempt without certainty.
    pub state: State,
    /// Why.
    pub reason: Option<String>,
    /// Who says so: `backend Zain`, `router`, `person admin`.
    pub actor: String,
    /// For `queued` and `uncertain`: when to try (again).
    pub due: Option<Timestamp>,
    /// The attempt does not count (it was not made).
    pub uncounted: bool,
    /// The carrier's names for it, one for each part; an empty one for a part that has none. They replace those of an earlier attempt.
    pub remote_ids: Vec<String>,
    /// Into how many parts it was cut.
    pub parts: Option<u32>,
}

impl Settlement {
    /// A plain change of state.
    pub fn new(state: State, actor: impl Into<String>) -> Settlement {
        Settlement {
            state,
            reason: None,
            actor: actor.into(),
            due: None,
            uncounted: false,
            remote_ids: Vec::new(),
            parts: None,
        }
    }

    /// The same, with a reason.
    pub fn because(mut self, reason: impl Into<String>) -> Settlement {
        self.reason = Some(reason.into());
        self
    }
}

/// A part of a message, found by the carrier's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Named {
    /// The message.
    pub id: MessageId,
    /// Which part, from 1.
    pub part: u32,
    /// How many parts of it have names.
    pub parts: u32,
}

/// Who wants to be called about a message, with what a call can tell of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Wanted {
    /// Whom to call, and about what.
    pub callback: Callback,
    /// What has happened so far: a sum of [`News`](crate::message::News), wanted or not.
    pub happened: u8,
    /// To whom the message goes.
    pub identity: String,
    /// By which backend it went, or will.
    pub backend: Name,
    /// The carrier's name for it, or for its first part.
    pub remote_id: Option<String>,
}

/// A call to [`Store::tell`](super::Store::tell).
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct NewCall<'a> {
    /// The peer: calls to one share its fate.
    pub host: &'a str,
    /// `GET`, `POST`.
    pub method: &'a str,
    /// Whom to call.
    pub url: &'a str,
    /// Headers besides those that every call has, one on each line; may be empty.
    pub headers: &'a str,
    /// What to send along.
    pub body: Option<&'a [u8]>,
}

/// A call that waits to be made.
#[derive(Clone, PartialEq, Eq)]
pub struct Call {
    /// Its number, greater than that of every call before.
    pub number: i64,
    /// The message it is about.
    pub message: MessageId,
    /// The peer.
    pub host: String,
    /// `GET`, `POST`.
    pub method: String,
    /// Whom to call.
    pub url: String,
    /// Headers besides those that every call has, one on each line; may be empty.
    pub headers: String,
    /// What to send along.
    pub body: Option<Vec<u8>>,
    /// How often it was made in vain.
    pub attempts: u32,
    /// Since when it waits.
    pub at: Timestamp,
}

/// What it says may be a secret, and so may the path: only the host is shown.
impl std::fmt::Debug for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Call { number, message, host, attempts, .. } = self;
        write!(f, "Call {number} to {host} about {message} after {attempts} attempts")
    }
}

/// For how long what a backend sent is counted together.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Debug)]
pub enum Period {
    /// A minute.
    Minute,
    /// A day.
    Day,
    /// A month.
    Month,
}

/// What is remembered of a key.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Remembered {
    /// The message it belongs to.
    pub id: MessageId,
    /// A digest of the request, where the same key with another request is a mistake.
    pub digest: Vec<u8>,
    /// When.
    pub at: Timestamp,
}

/// A change of what is known about the person behind a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ContactChange {
    /// A new contact of this name (and language, may be empty); the connection moves to it.
    Register {
        /// The person's name.
        name: String,
        /// The language taken along from the contact before; empty for none.
        language: String,
    },
    /// The language of the contact behind the connection; nothing happens when there is none.
    Language(String),
    /// The connection belongs to an existing contact from now on.
    Join(i64),
}

/// One line of a message's history.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Entry {
    /// When.
    pub at: Timestamp,
    /// The state from then on.
    pub state: State,
    /// Who: `backend Zain`, `app echo`, `router`, `api`.
    pub actor: String,
    /// In which attempt; 0 before the first.
    pub attempt: u32,
    /// Why.
    pub reason: Option<String>,
}

/// A message as pages and programs see it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Row {
    /// Its name.
    pub id: MessageId,
    /// In or out.
    pub direction: Direction,
    /// Its backend.
    pub backend: Name,
    /// The address on it.
    pub identity: String,
    /// What it says.
    pub text: String,
    /// Where it stands.
    pub state: State,
    /// Why.
    pub reason: Option<String>,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its state last changed.
    pub updated_at: Timestamp,
    /// The message that it answers.
    pub in_response_to: Option<MessageId>,
    /// The message whose repetition it is.
    pub duplicate_of: Option<MessageId>,
    /// An app may have seen it more than once.
    pub redelivered: bool,
    /// How often it was tried.
    pub attempts: u32,
    /// Into how many parts it was cut.
    pub parts: Option<u32>,
    /// Some of its parts never came; for received messages.
    pub partial: bool,
    /// Real or test.
    pub origin: Origin,
    /// Its turn; for outgoing messages.
    pub priority: Option<Priority>,
    /// Its own time.
    pub not_before: Option<Timestamp>,
    /// The end of its validity; for outgoing messages.
    pub expires_at: Option<Timestamp>,
    /// When the source says that it was sent.
    pub source_time: Option<Timestamp>,
    /// The carrier's name for it, or for its first part.
    pub remote_id: Option<String>,
}

/// A message with all that is known.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Detail {
    /// The row.
    #[serde(flatten)]
    pub row: Row,
    /// Everything that happened to it, oldest first.
    pub history: Vec<Entry>,
    /// The octets it was decoded from; those of a message in several parts are packed ([`unpack_raw`](crate::message::unpack_raw)).
    #[serde(skip)]
    pub raw: Option<Vec<u8>>,
}

/// Which messages to list. All conditions must hold.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Query {
    /// On this backend.
    pub backend: Option<String>,
    /// With this identity.
    pub identity: Option<String>,
    /// In or out only.
    pub direction: Option<Direction>,
    /// In this state.
    pub state: Option<State>,
    /// Beyond this message in the direction of reading; it is itself not part of the page.
    pub after: Option<MessageId>,
    /// Oldest first instead of newest first.
    pub ascending: bool,
    /// At most so many, 1 to 1,000.
    pub limit: usize,
}

impl Default for Query {
    fn default() -> Query {
        Query {
            backend: None,
            identity: None,
            direction: None,
            state: None,
            after: None,
            ascending: false,
            limit: 100,
        }
    }
}

/// One page of a listing.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Page {
    /// The messages.
    pub messages: Vec<Row>,
    /// Where the next page starts; none at the end.
    pub next: Option<MessageId>,
}

/// How many messages share a backend, a direction and a state.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize)]
pub struct Count {
    /// The backend.
    pub backend: Name,
    /// In or out.
    pub direction: Direction,
    /// The state.
    pub state: State,
    /// So many.
    pub count: u64,
}

/// Why the store could not do it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum StoreError {
    /// The disk is full or a quota is reached.
    Full(String),
    /// The file or its file system cannot be written.
    ReadOnly(String),
    /// Somebody else holds a lock on the database.
    Locked(String),
    /// Another daemon uses this store; the text names the holder.
    InUse(String),
    /// The file comes from a newer version of this program.
    Newer(String),
    /// The file is damaged or gone.
    Damaged(String),
    /// Anything else that the disk or the database said.
    Broken(String),
}

impl std::fmt::Display for StoreError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            StoreError::Full(why) => write!(f, "the disk is full: {why}"),
            StoreError::ReadOnly(why) => write!(f, "the store cannot be written: {why}"),
            StoreError::Locked(why) => write!(f, "the database is locked by another program: {why}"),
            StoreError::InUse(why) => write!(f, "the store is in use: {why}"),
            StoreError::Newer(why) => write!(f, "the store is newer than this program: {why}"),
            StoreError::Damaged(why) => write!(f, "the store is damaged: {why}"),
            StoreError::Broken(why) => write!(f, "the store failed: {why}"),
        }
    }
}

impl std::error::Error for StoreError {}
