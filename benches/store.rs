//! How long the stores take for an exchange: accept, claim, finish with a reply, take, settle. Beside the clock's time stands that of
//! the processor, which other work on the machine does not change. `RAPIDSMS_BENCH_FOLDER` says where the file lies (a disk, a tmpfs).

use rapidsms::message::*;
use rapidsms::store::memory::Memory;
use rapidsms::store::sqlite::Sqlite;
use rapidsms::store::*;
use rapidsms::time::Timestamp;
use std::time::{Duration, Instant};

const START: Timestamp = Timestamp::from_seconds(1_767_225_600);

fn main() {
    let memory = measure("memory, 100,000 kept", &mut Memory::keeping(100_000), 400_000, 64);
    let folder = match std::env::var_os("RAPIDSMS_BENCH_FOLDER") {
        Some(folder) => tempfile::tempdir_in(folder).expect("a folder"),
        None => tempfile::tempdir().expect("a folder"),
    };
    for batch in [64, 8, 1] {
        let mut store =
            Sqlite::open(&folder.path().join(format!("{batch}.db")), START).expect("a store").store;
        let sqlite = measure(&format!("SQLite, {batch} a commit"), &mut store, 640 * batch.min(20), batch);
        println!("{:24} {:.0} times memory's processor time", "", sqlite / memory);
    }
}

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
                joined: None,
                at: START,
            };
            store.accept(&row).expect("the store works");
        }
        store.commit().expect("the store works");
        let claimed = store.unfinished(Tried::Never, batch, &no_bound, START).expect("the store works");
        assert_eq!(claimed.len(), batch);
        store.commit().expect("the store works");
        for message in &claimed {
            store
                .queue(&NewOutgoing {
                    id: ids.next(START),
                    connection: &message.connection,
                    queue: None,
                    text: "hello",
                    in_response_to: Some(message.id),
                    state: State::Queued,
                    reason: None,
                    priority: Priority::Reply,
                    not_before: None,
                    expires_at: START + Duration::from_secs(172_800),
                    origin: Origin::Test,
                    wishes: Wishes::default(),
                    callback: None,
                    actor: "app echo",
                    at: START,
                })
                .expect("the store works");
            store.finish(message.id, &ending, START).expect("the store works");
        }
        let taken = store.take_due("one", batch, START).expect("the store works");
        assert_eq!(taken.len(), batch);
        store.commit().expect("the store works");
        for taken in &taken {
            assert!(store.settle(taken.outgoing.id, &settlement, START).expect("the store works"));
        }
    }
    store.commit().expect("the store works");
}

/// Nanoseconds that this thread has run, so that other work on the machine does not count; 0 where the system does not tell.
fn processor_time() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    text.split(' ').next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Prints what an exchange costs, and returns microseconds of the processor.
fn measure(name: &str, store: &mut dyn Store, count: usize, batch: usize) -> f64 {
    let mut ids = Ids::new(store.newest(), 1);
    exchanges(store, &mut ids, count / 10, batch);
    let (begin, busy) = (Instant::now(), processor_time());
    exchanges(store, &mut ids, count, batch);
    let (spent, busy) = (begin.elapsed(), processor_time() - busy);
    let each = busy as f64 / 1e3 / count as f64;
    println!(
        "{name:24} {each:>8.2} us of processor, {:>10.0} exchanges/s",
        count as f64 / spent.as_secs_f64()
    );
    each
}
