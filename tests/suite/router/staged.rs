//! The store of the stage: any store, behind a door that can be told to fail, and that several routers may use one after the other.

use super::stage::{Journal, START, lock};
use rapidsms::message::*;
// Of the pieces in both rooms those that come in.
use rapidsms::store::{Piece, *};
use rapidsms::time::Timestamp;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a failed commit leaves on disk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Leaves {
    /// Nothing of the transaction.
    Nothing,
    /// All of it, although the commit reported a failure.
    All,
}

/// When and how a [`Staged`] store fails.
#[derive(Default)]
struct Faults {
    /// Calls that can fail, so far.
    calls: u64,
    /// The call that fails next.
    at: Option<(u64, Leaves)>,
    /// The commit that fails next, counted down.
    commit_at: Option<(u64, Leaves)>,
    doomed: Option<StoreError>,
    /// How often `cured` says no after a failure.
    ill: u32,
    ill_after: u32,
}

/// A store that several routers may use one after the other, and that can be told to fail.
#[derive(Clone)]
pub struct Staged {
    inner: Arc<Mutex<Box<dyn Store>>>,
    faults: Arc<Mutex<Faults>>,
    journal: Arc<Mutex<Journal>>,
}

impl Staged {
    pub fn new(inner: Box<dyn Store>, journal: Arc<Mutex<Journal>>) -> Staged {
        Staged { inner: Arc::new(Mutex::new(inner)), faults: Arc::default(), journal }
    }

    pub fn replace(&self, inner: Box<dyn Store>) {
        *lock(&self.inner) = inner;
        lock(&self.faults).doomed = None;
    }

    pub fn with<T>(&self, work: impl FnOnce(&mut dyn Store) -> T) -> T {
        work(&mut **lock(&self.inner))
    }

    /// Lets the `n`th call from now on fail; a failing commit leaves what is said. It takes `ill` tries to cure the store.
    pub fn fail(&self, n: u64, leaves: Leaves, ill: u32) {
        let mut faults = lock(&self.faults);
        faults.at = Some((faults.calls + n, leaves));
        faults.ill_after = ill;
    }

    /// Lets the next commit fail.
    pub fn fail_commit(&self, leaves: Leaves, ill: u32) {
        self.fail_the_commit(1, leaves, ill);
    }

    /// Lets the `n`th commit from now on fail.
    pub fn fail_the_commit(&self, n: u64, leaves: Leaves, ill: u32) {
        let mut faults = lock(&self.faults);
        faults.commit_at = Some((n, leaves));
        faults.ill_after = ill;
    }

    pub fn fail_never(&self) {
        let mut faults = lock(&self.faults);
        (faults.at, faults.commit_at) = (None, None);
    }

    /// Whether the failure that was asked for has happened.
    pub fn has_failed(&self) -> bool {
        let faults = lock(&self.faults);
        faults.at.is_none() && faults.commit_at.is_none()
    }

    fn call<T>(&self, work: impl FnOnce(&mut dyn Store) -> Result<T, StoreError>) -> Result<T, StoreError> {
        let mut faults = lock(&self.faults);
        faults.calls += 1;
        if let Some(doomed) = &faults.doomed {
            return Err(doomed.clone());
        }
        if faults.at.is_some_and(|(at, _)| at == faults.calls) {
            faults.at = None;
            faults.ill = faults.ill_after;
            let error = StoreError::Broken("the disk said no".into());
            faults.doomed = Some(error.clone());
            return Err(error);
        }
        self.with(work)
    }

    /// Takes the open transaction of the inner store back, by a mistake that it must refuse.
    fn undo(&self) {
        let incoming = Incoming::new(Connection::new("nowhere", "nobody"), "");
        let row = NewIncoming {
            id: MessageId::from_parts(1, 1),
            incoming: &incoming,
            state: State::Handled,
            reason: None,
            duplicate_of: None,
            origin: Origin::Test,
            joined: None,
            at: START,
        };
        self.with(|store| {
            assert!(store.accept(&row).is_err());
            assert!(store.commit().is_err(), "a store in memory cannot take anything back");
        });
    }
}

/// Methods that only pass the call on, and may be told to fail.
macro_rules! pass {
    ($(fn $name:ident(&mut self $(, $argument:ident: $kind:ty)*) -> $result:ty;)*) => {
        $(fn $name(&mut self $(, $argument: $kind)*) -> Result<$result, StoreError> {
            self.call(|store| store.$name($($argument),*))
        })*
    };
}

impl Store for Staged {
    pass! {
        fn accept(&mut self, row: &NewIncoming<'_>) -> ();
        fn unfinished(&mut self, tried: Tried, limit: usize, room: &dyn Fn(&str) -> usize, now: Timestamp) -> Vec<Unfinished>;
        fn finish(&mut self, id: MessageId, ending: &Ending, now: Timestamp) -> bool;
        fn put_back(&mut self, id: MessageId, now: Timestamp) -> ();
        fn queue(&mut self, row: &NewOutgoing<'_>) -> ();
        fn take(&mut self, taking: &Taking<'_>, limit: usize, now: Timestamp) -> Vec<Taken>;
        fn queues(&mut self, backend: &str) -> Vec<Name>;
        fn settle(&mut self, id: MessageId, settlement: &Settlement, now: Timestamp) -> bool;
        fn note(&mut self, id: MessageId, actor: &str, reason: &str, now: Timestamp) -> ();
        fn next_due(&mut self, queue: &str) -> Option<Timestamp>;
        fn overdue(&mut self, now: Timestamp, limit: usize) -> Vec<MessageId>;
        fn named(&mut self, backend: &str, remote_id: &str) -> Option<Named>;
        fn arrived(&mut self, id: MessageId, part: u32) -> u32;
        fn backend_of(&mut self, id: MessageId) -> Option<Name>;
        fn raw(&mut self, id: MessageId) -> Option<Vec<u8>>;
        fn callback(&mut self, id: MessageId) -> Option<Wanted>;
        fn tell(&mut self, id: MessageId, happened: u8, over: bool, call: Option<&NewCall<'_>>, now: Timestamp) -> ();
        fn call_hosts(&mut self, after: &str, limit: usize) -> Vec<String>;
        fn due_calls(&mut self, host: &str, limit: usize, now: Timestamp) -> Vec<Call>;
        fn next_call(&mut self, now: Timestamp) -> Option<Timestamp>;
        fn oldest_calls(&mut self, limit: usize) -> Vec<Call>;
        fn put_off_call(&mut self, number: i64, attempts: u32, due: Timestamp) -> ();
        fn end_call(&mut self, number: i64, now: Timestamp) -> ();
        fn recall(&mut self, scope: &str, key: &str) -> Option<Remembered>;
        fn remember(&mut self, scope: &str, key: &str, what: &Remembered) -> ();
        fn contact(&mut self, connection: &Connection) -> Option<Contact>;
        fn change_contact(&mut self, connection: &Connection, change: &ContactChange, now: Timestamp) -> ();
        fn recover(&mut self, in_hand: &dyn Fn(MessageId) -> bool, now: Timestamp) -> Vec<Taken>;
        fn waiting_of(&mut self, backend: &str, direction: Direction) -> u64;
        fn spend(&mut self, backend: &str, period: Period, since: Timestamp, parts: u32) -> ();
        fn spent(&mut self, backend: &str, period: Period, since: Timestamp) -> u64;
        fn begin_set(&mut self, new: &NewSet<'_>) -> i64;
        fn keep_piece(&mut self, set: i64, piece: &Piece, now: Timestamp) -> ();
        fn sets(&mut self, connection: &Connection) -> Vec<PieceSet>;
        fn stalest_set(&mut self, backend: Option<&str>) -> Option<PieceSet>;
        fn pieces(&mut self, set: i64) -> Vec<Piece>;
        fn end_set(&mut self, set: i64) -> ();
        fn pieces_of(&mut self, backend: &str) -> u64;
        fn shift(&mut self, number: u64, by: Duration) -> ();
        fn purge(&mut self, before: Option<Timestamp>, keys_before: Timestamp, limit: usize) -> usize;
    }

    fn shifts(&self) -> u64 {
        self.with(|store| store.shifts())
    }

    fn newest(&self) -> Option<MessageId> {
        self.with(|store| store.newest())
    }

    fn running(&mut self, id: Option<MessageId>) {
        // A dead process notes nothing any more.
        if !lock(&self.journal).killed {
            self.with(|store| store.running(id));
        }
    }

    fn waiting_calls(&self) -> u64 {
        self.with(|store| store.waiting_calls())
    }

    fn waiting(&self, direction: Direction) -> u64 {
        self.with(|store| store.waiting(direction))
    }

    fn commit(&mut self) -> Result<(), StoreError> {
        let mut faults = lock(&self.faults);
        faults.calls += 1;
        if let Some(doomed) = faults.doomed.take() {
            self.undo();
            return Err(doomed);
        }
        let calls = faults.calls;
        let leaves = match (faults.at, faults.commit_at) {
            (Some((at, leaves)), _) if at == calls => leaves,
            (_, Some((1, leaves))) => leaves,
            (_, commit_at) => {
                faults.commit_at = commit_at.map(|(n, leaves)| (n - 1, leaves));
                return self.with(|store| store.commit());
            }
        };
        (faults.at, faults.commit_at) = (None, None);
        faults.ill = faults.ill_after;
        match leaves {
            Leaves::All => self.with(|store| store.commit())?,
            Leaves::Nothing => self.undo(),
        }
        Err(StoreError::Broken("the disk said no".into()))
    }

    fn reader(&self) -> Result<Box<dyn Reader>, StoreError> {
        self.with(|store| store.reader())
    }

    fn cured(&mut self) -> bool {
        let mut faults = lock(&self.faults);
        faults.ill = faults.ill.saturating_sub(1);
        faults.ill == 0 && self.with(|store| store.cured())
    }
}
