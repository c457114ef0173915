//! How long the stores take, for people: `cargo test --release --test suite store_speed -- --ignored --nocapture`.
//! Nothing here can fail by being slow; figures are printed. `RAPIDSMS_SPEED_FOLDER` says where the file lies.

use crate::store::{START, at};
use rapidsms::message::*;
use rapidsms::store::memory::Memory;
use rapidsms::store::sqlite::Sqlite;
use rapidsms::store::*;
use std::time::Instant;

/// Runs `count` exchanges (accept, claim, finish with a reply, take, settle) in batches of `batch` per commit, three commits a batch.
fn exchanges(store: &mut dyn Store, ids: &mut Ids, count: usize, batch: usize) {
    let texts: Vec<_> = (0..512)
        .map(|n| Incoming::new(Connection::new("one", format!("+2577{n:07}")), "echo hello"))
        .collect();
    let ending = Ending { state: State::Handled, reason: None, actor: "app echo".into() };
    let settlement = Settlement::new(State::Sent, "backend one");
    let mut next = 0;
    for _ in 0..count / batch {
        for _ in 0..batch {
            let incoming = &texts[next % texts.len()];
            next += 1;
            let row = NewIncoming {
                id: ids.next(START),
                incoming,
                state: State::Received,
                reason: None,
                duplicate_of: None,
                origin: Origin::Test,
                at: START,
            };
            store.accept(&row).unwrap();
        }
        store.commit().unwrap();
        let claimed = store.unfinished(Tried::Never, batch, START).unwrap();
        assert_eq!(claimed.len(), batch);
        store.commit().unwrap();
        for message in &claimed {
            store
                .queue(&NewOutgoing {
                    id: ids.next(START),
                    connection: &message.connection,
                    text: "hello",
                    in_response_to: Some(message.id),
                    state: State::Queued,
                    reason: None,
                    priority: Priority::Reply,
                    not_before: None,
                    expires_at: at(172_800),
                    origin: Origin::Test,
                    actor: "app echo",
                    at: START,
                })
                .unwrap();
            store.finish(message.id, &ending, START).unwrap();
        }
        let taken = store.take_due("one", batch, START).unwrap();
        assert_eq!(taken.len(), batch);
        store.commit().unwrap();
        for taken in &taken {
            assert!(store.settle(taken.outgoing.id, &settlement, START).unwrap());
        }
    }
    store.commit().unwrap();
}

/// Nanoseconds that this thread has run, so that other work on the machine does not count; 0 where the system does not tell.
fn processor_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

fn measure(name: &str, store: &mut dyn Store, count: usize, batch: usize) {
    let mut ids = Ids::new(store.newest(), 1);
    exchanges(store, &mut ids, count / 10, batch);
    let (begin, busy) = (Instant::now(), processor_time());
    exchanges(store, &mut ids, count, batch);
    let (spent, busy) = (begin.elapsed(), processor_time() - busy);
    println!(
        "{name}: {:.2} us of processor an exchange, {:.0} exchanges/s",
        busy as f64 / 1e3 / count as f64,
        count as f64 / spent.as_secs_f64()
    );
}

#[test]
#[ignore = "prints figures"]
fn speed_of_memory() {
    measure("memory, all kept", &mut Memory::new(), 200_000, 64);
    measure("memory, 100,000 kept", &mut Memory::keeping(100_000), 400_000, 64);
    measure("memory, 1,000 kept", &mut Memory::keeping(1_000), 400_000, 64);
}

#[test]
#[ignore = "prints figures"]
fn speed_of_sqlite() {
    let folder = match std::env::var_os("RAPIDSMS_SPEED_FOLDER") {
        Some(folder) => tempfile::tempdir_in(folder).unwrap(),
        None => tempfile::tempdir().unwrap(),
    };
    for batch in [64, 8, 1] {
        let mut store = Sqlite::open(&folder.path().join(format!("{batch}.db")), START).unwrap().store;
        measure(&format!("sqlite, {batch} a commit"), &mut store, 640 * batch.min(20), batch);
    }
}
