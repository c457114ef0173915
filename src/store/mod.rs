//! Where messages are safe. One trait, [`Store`], with its contract in prose; `sqlite` is for the daemon, `memory` for
//! tests and scripts, and one conformance suite (`tests/suite/store.rs`) holds for both.
//!
//! A store decides nothing: what becomes of a message is the router's business. It keeps rows, finds what is
//! unfinished or due, and makes a batch of changes durable at once.

use crate::message::{Connection, Contact, Direction, MessageId, Name, Priority, State};
use crate::time::Timestamp;
use std::time::Duration;

pub mod memory;
mod records;
pub mod sqlite;
mod turns;

pub use records::*;

/// The durable side of the router: one writer, used by the router's thread alone.
///
/// **Transactions.** The first change after a [`commit`](Store::commit) opens a transaction; the next `commit`
/// ends it. What a method reads includes the open transaction's own changes. When any method returns an
/// error, the transaction is doomed: the caller makes no further change and calls `commit`, which undoes everything since
/// the last one and returns an error as well. After such a `commit` the store may have had to re-open
/// its file, and it may turn out that the failed transaction is on disk after all; so the caller calls
/// [`recover`](Store::recover) before anything else.
///
/// **Queues.** A message to be sent stands in the queue of its backend, or in one that [`NewOutgoing::queue`] names; it keeps it. So a backend that
/// stands for several others may have a queue for each choice of them.
///
/// **Lanes.** Messages of one connection, direction and priority form a lane, in the order of their ids. Only the
/// first open message of a lane can be claimed or taken; the next one moves up when the first
/// ends or is held. A message with a `not_before` stands in no lane: it waits for its own time, delays nobody and is delayed by nobody.
/// However long one lane is, finding what other lanes have to do takes no longer.
///
/// **Claims.** [`unfinished`](Store::unfinished) and [`take_due`](Store::take_due) claim what they return: it is not returned
/// again until it is settled back to `queued` or `uncertain`, or until `recover`. Attempts are counted by the claim, hence on disk before
/// an app or a carrier sees the message, provided that the caller commits in between (it must). An attempt of a received message that ended
/// with its process stays counted only if [`running`](Store::running) named the message: a text that kills the process is known by that, and
/// a reboot loop, however long, makes no innocent message look like one.
///
/// **Pieces** of longer messages are kept in sets until the caller puts them together: they are no messages, have no state and no history, and are
/// counted apart. A store without pieces does nothing about them.
///
/// **Calls** are owed to programs that want to hear what becomes of their messages. They stand in the same transaction as what they tell, and stay
/// until they are ended. Of the calls about one message only the first is due; the next one follows when it ends. What is in the hands of a caller
/// is not marked: after a crash it is due again.
///
/// **History.** Every change of state appends an [`Entry`].
pub trait Store: Send {
    /// The newest id ever stored, duplicates and purged messages included; new ids must be greater.
    fn newest(&self) -> Option<MessageId>;

    /// Stores one message from a source in the state `received` (or `quarantined` or `duplicate`, as `row.state` says).
    /// Its connection is created on first sight.
    fn accept(&mut self, row: &NewIncoming<'_>) -> Result<(), StoreError>;

    /// Claims up to `limit` received messages, each the first of its lane, and counts an attempt for each.
    ///
    /// [`Tried::Never`] returns those that no app has seen, oldest first. The places are shared evenly among the backends that have something to
    /// claim, oldest first within each; what one leaves goes to the others, and over several calls no backend is always last. So
    /// a flood on one backend delays nobody else. It costs nothing for a backend that has nothing to claim. After [`recover`](Store::recover) the turns begin anew, in
    /// the order in which the backends were first seen. Of no backend more are claimed than `room` says for it; [`no_bound`] says nothing.
    ///
    /// [`Tried::Before`] returns those that were claimed by a process that ended, or put back, and sets `redelivered` on them.
    /// Of these the least tried come first: in a reboot loop the same innocent message is not tried again and
    /// again until it counts as poison. A store that cannot outlive its process may keep to the age.
    fn unfinished(
        &mut self,
        tried: Tried,
        limit: usize,
        room: &dyn Fn(&str) -> usize,
        now: Timestamp,
    ) -> Result<Vec<Unfinished>, StoreError>;

    /// Begins a set for pieces of a longer message. Returns its number.
    fn begin_set(&mut self, new: &NewSet<'_>) -> Result<i64, StoreError>;

    /// Keeps one more piece of a set. Its place must be free.
    fn keep_piece(&mut self, set: i64, piece: &Piece, now: Timestamp) -> Result<(), StoreError>;

    /// The sets of a connection, in the order of their beginnings.
    fn sets(&mut self, connection: &Connection) -> Result<Vec<PieceSet>, StoreError>;

    /// The set whose newest piece is the oldest: of one backend, or of all.
    fn stalest_set(&mut self, backend: Option<&str>) -> Result<Option<PieceSet>, StoreError>;

    /// The pieces of a set, in order.
    fn pieces(&mut self, set: i64) -> Result<Vec<Piece>, StoreError>;

    /// Forgets a set with its pieces; mostly after the message they make was accepted, in the same transaction.
    fn end_set(&mut self, set: i64) -> Result<(), StoreError>;

    /// How many pieces wait on a backend.
    fn pieces_of(&mut self, backend: &str) -> Result<u64, StoreError>;

    /// Ends a received message in `ending.state`; its lane moves up. `false`, and nothing happens, when it was not `received`.
    fn finish(&mut self, id: MessageId, ending: &Ending, now: Timestamp) -> Result<bool, StoreError>;

    /// Gives back a claimed message that was not handled, at a clean stop: the attempt does not count. It is
    /// `redelivered` when it comes again.
    fn put_back(&mut self, id: MessageId, now: Timestamp) -> Result<(), StoreError>;

    /// Stores one message to be sent, in the state `row.state`: `queued`, or already ended or held.
    fn queue(&mut self, row: &NewOutgoing<'_>) -> Result<(), StoreError>;

    /// Claims up to `limit` messages that are due in a queue, each the first of its lane: the state becomes `sending`, the attempt is
    /// counted, and the message is [`by`](Taking::by) a backend from then on: its carrier's names and reports belong to that one.
    /// Replies come before single messages, those before bulk; within a priority the earliest due first.
    fn take(&mut self, taking: &Taking<'_>, limit: usize, now: Timestamp) -> Result<Vec<Taken>, StoreError>;

    /// [`take`](Store::take) for a backend from its own queue.
    fn take_due(&mut self, backend: &str, limit: usize, now: Timestamp) -> Result<Vec<Taken>, StoreError> {
        self.take(&Taking { queue: backend, by: backend, again: true }, limit, now)
    }

    /// The queues that a backend's messages ever stood in besides its own: those whose names begin with its name and a slash.
    fn queues(&mut self, backend: &str) -> Result<Vec<Name>, StoreError>;

    /// Changes the state of an outgoing message. `false`, and nothing but an [`Entry`] with the
    /// news happens, when [`State::may_become`] forbids the change (late news) or there is no such message (then no entry either). A report may
    /// overtake the answer of the carrier: the number of parts that comes with a late `sent` is kept when none is known.
    /// `sending` is left only this way; going back to `queued` or `uncertain` keeps the place in the lane, blocked until `settlement.due`.
    fn settle(&mut self, id: MessageId, settlement: &Settlement, now: Timestamp) -> Result<bool, StoreError>;

    /// Appends to the history of a message without changing its state. Unknown ids are ignored.
    fn note(&mut self, id: MessageId, actor: &str, reason: &str, now: Timestamp) -> Result<(), StoreError>;

    /// When the next message of a queue falls due, claims aside; a time in the past means now.
    fn next_due(&mut self, queue: &str) -> Result<Option<Timestamp>, StoreError>;

    /// Up to `limit` messages in `queued`, `uncertain` or `held` whose validity has ended by `now`, earliest first, in whatever place of their lane.
    fn overdue(&mut self, now: Timestamp, limit: usize) -> Result<Vec<MessageId>, StoreError>;

    /// The part of a message that `backend`'s carrier calls `remote_id` and that did not arrive yet. Names repeat: the last that was given it, should
    /// there be several. Names are forgotten when their message is sent again and gets others, and when it is `delivered`, `failed`,
    /// `expired`, `cancelled` or purged.
    fn named(&mut self, backend: &str, remote_id: &str) -> Result<Option<Named>, StoreError>;

    /// Marks a part as arrived. Returns how many others of its message have names and did not arrive yet.
    fn arrived(&mut self, id: MessageId, part: u32) -> Result<u32, StoreError>;

    /// By which backend a message came or goes, if there is such a message: the one that took it last, else its own.
    fn backend_of(&mut self, id: MessageId) -> Result<Option<Name>, StoreError>;

    /// The octets from which a received message was decoded, if there is such a message and they were kept.
    fn raw(&mut self, id: MessageId) -> Result<Option<Vec<u8>>, StoreError>;

    /// Who wants to be called about a message. None when nobody does, and when nothing can happen to it any more.
    fn callback(&mut self, id: MessageId) -> Result<Option<Wanted>, StoreError>;

    /// Notes what has `happened` to a message about which somebody wants to be called, and owes a call, if there is one. `over`: nothing more can happen
    /// to it, so it is forgotten who wants to be called.
    fn tell(
        &mut self,
        id: MessageId,
        happened: u8,
        over: bool,
        call: Option<&NewCall<'_>>,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Up to `limit` hosts that are owed calls, due or not, in the order of their names, from the first after `after` on.
    fn call_hosts(&mut self, after: &str, limit: usize) -> Result<Vec<String>, StoreError>;

    /// Up to `limit` calls to a host that are due, the earliest first. Reading claims nothing.
    fn due_calls(&mut self, host: &str, limit: usize, now: Timestamp) -> Result<Vec<Call>, StoreError>;

    /// When the next call falls due after `now`.
    fn next_call(&mut self, now: Timestamp) -> Result<Option<Timestamp>, StoreError>;

    /// Up to `limit` calls that have waited longest, due or not.
    fn oldest_calls(&mut self, limit: usize) -> Result<Vec<Call>, StoreError>;

    /// A call was made in vain for the `attempts`th time and is due again at `due`. Unknown numbers are ignored.
    fn put_off_call(&mut self, number: i64, attempts: u32, due: Timestamp) -> Result<(), StoreError>;

    /// Forgets a call that was made or given up; the next one about its message is due at once. Unknown numbers are ignored.
    fn end_call(&mut self, number: i64, now: Timestamp) -> Result<(), StoreError>;

    /// How many calls are owed.
    fn waiting_calls(&self) -> u64;

    /// What [`remember`](Store::remember) stored under `key` in `scope`.
    fn recall(&mut self, scope: &str, key: &str) -> Result<Option<Remembered>, StoreError>;

    /// Remembers a redelivery or idempotency key. An older memory under the same key is replaced.
    fn remember(&mut self, scope: &str, key: &str, what: &Remembered) -> Result<(), StoreError>;

    /// The person behind a connection, if one is known.
    fn contact(&mut self, connection: &Connection) -> Result<Option<Contact>, StoreError>;

    /// Changes what is known of the person behind a connection.
    fn change_contact(
        &mut self,
        connection: &Connection,
        change: &ContactChange,
        now: Timestamp,
    ) -> Result<(), StoreError>;

    /// Counts that a backend sent so much more in the period that began at `since`. One count is kept for each kind of period: a
    /// later `since` begins it anew, an earlier one (the clock or the rules were changed) adds to what is there.
    fn spend(
        &mut self,
        backend: &str,
        period: Period,
        since: Timestamp,
        parts: u32,
    ) -> Result<(), StoreError>;

    /// How much a backend sent in the period that began at `since`.
    fn spent(&mut self, backend: &str, period: Period, since: Timestamp) -> Result<u64, StoreError>;

    /// Notes which claimed message the apps see from now on; `None`: none any more. The note belongs to no transaction and waits for no disk. It
    /// outlives the process, for the next one's `recover`, but not the machine: a power cut was nobody's text.
    fn running(&mut self, id: Option<MessageId>);

    /// Makes the store fit what the process has in hand, after a start or a failed `commit`: every claimed received message
    /// that is not `in_hand` can be claimed again, as [`Tried::Before`], and its attempt does not count unless it was [`running`](Store::running), which nothing is afterwards. Returns the messages in `sending` that are not `in_hand`, which the caller settles.
    fn recover(
        &mut self,
        in_hand: &dyn Fn(MessageId) -> bool,
        now: Timestamp,
    ) -> Result<Vec<Taken>, StoreError>;

    /// Moves everything that waits along with a step of the wall clock: `not_before`, due times and validity of all open and held outgoing
    /// messages, calls, sets of pieces, and the ages of remembered keys, which would all be forgotten when a clock is set right for the first time.
    /// Steps are numbered: `number` is one more than [`shifts`](Store::shifts) was, and one that was followed already is not followed again. So
    /// a caller whose commit failed may tell them all again, whatever is on disk.
    fn shift(&mut self, number: u64, by: Duration) -> Result<(), StoreError>;

    /// The number of the last step that was followed; 0 before the first.
    fn shifts(&self) -> u64;

    /// Deletes up to `limit` ended messages last changed before `before`, with their histories, and forgets keys
    /// remembered before `keys_before`. Returns how many messages went.
    fn purge(
        &mut self,
        before: Option<Timestamp>,
        keys_before: Timestamp,
        limit: usize,
    ) -> Result<usize, StoreError>;

    /// How many messages of a direction are open: received, or queued, sending and uncertain.
    fn waiting(&self, direction: Direction) -> u64;

    /// The same of one backend alone.
    fn waiting_of(&mut self, backend: &str, direction: Direction) -> Result<u64, StoreError>;

    /// Makes everything since the last commit durable, whole or not at all. With nothing to do it touches no disk.
    fn commit(&mut self) -> Result<(), StoreError>;

    /// A reader of its own, which sees what is committed and never delays the writer. Asked for between transactions.
    fn reader(&self) -> Result<Box<dyn Reader>, StoreError>;

    /// What keeps the store from working as it should, as the last failed `commit` told it; none when all is well. While there is some, nothing
    /// new should be taken in, but outcomes of what is in flight may still fit: on a full disk a reserve was released for them.
    /// A store on a locked or unwritable file heals with the first commit that succeeds, a full one with [`cured`](Store::cured), a damaged one never.
    fn trouble(&self) -> Option<&StoreError> {
        None
    }

    /// Tries whether the trouble is over, outside of any transaction: takes the reserve back and writes a probe. `true` when intake may resume.
    fn cured(&mut self) -> bool {
        true
    }

    /// A helper for the housekeeping, on a thread of its own. Asked for between transactions; it must be dropped before the store is closed.
    fn keeper(&self) -> Option<Box<dyn Keeper>> {
        None
    }

    /// How many commits the [`Keeper`] has not seen yet.
    fn untidy(&self) -> u32 {
        0
    }

    /// Whether the files are still those that were opened; cheap enough for once a minute. When they are not, the store counts as
    /// damaged from then on: what it would acknowledge could not be found again.
    fn still_there(&mut self) -> Result<(), StoreError> {
        Ok(())
    }

    /// Told from outside that the store is damaged, for example by a full check on a reader. From then on every change
    /// and commit is refused with [`StoreError::Damaged`].
    fn mark_damaged(&mut self, _reason: &str) {}

    /// Stops cleanly; an open transaction is undone, so commit first. Nothing else may be called afterwards. A store that is
    /// dropped without it counts as stopped by a crash, and is looked at more closely when it is opened again.
    fn close(&mut self) -> Result<(), StoreError> {
        Ok(())
    }
}

/// Does what the writer would otherwise have to do within somebody's commit. Owned by one thread at a time.
pub trait Keeper: Send {
    /// Does it, waiting for nobody but the disk.
    fn tidy(&mut self) -> Result<(), StoreError>;
}

/// Reads what is committed: for pages, the API and the CLI. Owned by one thread at a time.
pub trait Reader: Send {
    /// One message with its history and raw octets.
    fn message(&mut self, id: MessageId) -> Result<Option<Detail>, StoreError>;

    /// A page of messages.
    fn messages(&mut self, query: &Query) -> Result<Page, StoreError>;

    /// How many messages there are in each state, by backend and direction. Conservation (P17): every accepted
    /// message is counted exactly once.
    fn tally(&mut self) -> Result<Vec<Count>, StoreError>;

    /// The same counted afresh from the rows, for `check --ledger`; slow on a large store.
    fn recount(&mut self) -> Result<Vec<Count>, StoreError>;

    /// [`tally`](Reader::tally) and [`recount`](Reader::recount) of one and the same state of the store, so that they can be compared
    /// while somebody writes.
    fn audit(&mut self) -> Result<(Vec<Count>, Vec<Count>), StoreError> {
        Ok((self.tally()?, self.recount()?))
    }

    /// How many pieces of longer messages wait for the others, by backend; backends without any are left out.
    fn pieces(&mut self) -> Result<Vec<(Name, u64)>, StoreError>;

    /// How many calls to programs are owed.
    fn calls(&mut self) -> Result<u64, StoreError>;

    /// The creation time of the oldest open outgoing message of a backend.
    fn oldest_waiting(&mut self, backend: &str) -> Result<Option<Timestamp>, StoreError>;
}

/// For [`Store::unfinished`]: no backend has a bound of its own.
pub fn no_bound(_backend: &str) -> usize {
    usize::MAX
}

/// The longest page that [`Reader::messages`] returns.
pub const PAGE_LIMIT: usize = 1_000;

/// Whether a message needs nothing from anybody any more and may be purged. `held` is neither open nor ended.
fn is_ended(state: State) -> bool {
    !state.is_open() && state != State::Held
}

/// Whether no report about a message of this state is waited for, now or later.
fn is_final(state: State) -> bool {
    is_ended(state) && state != State::Sent
}

/// The parts that have names, from 1.
fn named_parts(names: &[String]) -> impl Iterator<Item = (u32, &str)> {
    (1..).zip(names).map(|(part, name)| (part, name.as_str())).filter(|(_, name)| !name.is_empty())
}

/// The class of a priority within a store, from 1; received messages are class 0.
fn class_of(priority: Priority) -> u8 {
    match priority {
        Priority::Reply => 1,
        Priority::Single => 2,
        Priority::Bulk => 3,
    }
}

fn priority_of(class: u8) -> Option<Priority> {
    match class {
        1 => Some(Priority::Reply),
        2 => Some(Priority::Single),
        3 => Some(Priority::Bulk),
        _ => None,
    }
}

/// The actor of what a backend does by itself: bringing a message in, being handed one.
fn backend_actor(name: &str) -> String {
    format!("backend {name}")
}

/// What the history says of news that came too late to change anything.
fn late(settlement: &Settlement) -> String {
    match &settlement.reason {
        Some(reason) => format!("late news: {}: {reason}", settlement.state),
        None => format!("late news: {}", settlement.state),
    }
}

/// Refuses a new message that would break the order of ids or start in a state it cannot start in: a mistake of the caller,
/// and the last place where it can be seen.
fn check_new(
    id: MessageId,
    newest: Option<MessageId>,
    direction: Direction,
    state: State,
) -> Result<(), StoreError> {
    use State::*;
    let fits = match direction {
        Direction::In => matches!(state, Received | Quarantined | Duplicate),
        Direction::Out => matches!(state, Queued | Cancelled | Failed | Expired | Held),
    };
    if !fits {
        return Err(StoreError::Broken(format!("{id}: no {} message begins as {state}", direction.as_str())));
    }
    match newest {
        Some(newest) if id.key() <= newest.key() => Err(StoreError::Broken(format!(
            "{id} is not newer than {newest}, the newest message of the store"
        ))),
        _ => Ok(()),
    }
}
