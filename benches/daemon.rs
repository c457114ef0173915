//! How fast the whole daemon is: HTTP in, app, reply out of the bucket, everything durable, with the load generator on the
//! same machine. Each figure stands beside what the disk and SQLite themselves do in the same run.

mod common;

use common::{Daemon, answer, p99, post, request};
use rapidsms::message::{Connection, Ids, Incoming, Origin, State};
use rapidsms::store::sqlite::Sqlite;
use rapidsms::store::{Ending, NewIncoming, Store, Tried, no_bound};
use rapidsms::time::Timestamp;
use std::fs::File;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::time::{Duration, Instant};

const CLIENTS: usize = 64;
const CLIENT_THREADS: usize = 2;
const MESSAGES: usize = 64_000;
const ALONE: usize = 1_000;
/// Between two requests to an idle system.
const PAUSE: Duration = Duration::from_millis(10);
const ROWS: usize = 1_000_000;

fn main() {
    let folder = tempfile::tempdir().expect("a folder for the stores");
    let (syncs, p99_sync) = sync_rate(folder.path());
    println!("fdatasync of 4 KiB             {syncs:>10.0} /s; after a pause p99 {p99_sync:?}");
    let inserts = batched_insert_rate(folder.path());
    println!("SQLite, 64 rows a commit       {inserts:>10.0} rows/s");

    let daemon = Daemon::start(folder.path());
    println!("start to accepting, empty      {:>10.1?}", daemon.start_time);
    let p99 = alone(&daemon.address);
    let bound = 3 * p99_sync + Duration::from_millis(1);
    println!("request to an idle system, p99 {p99:>10.1?}   (3 x p99 of fdatasync + 1 ms = {bound:?})");
    let faults = daemon.minor_faults();
    let start = Instant::now();
    load(&daemon.address);
    daemon.wait_for_replies(folder.path(), (ALONE + MESSAGES) as u64);
    let rate = MESSAGES as f64 / start.elapsed().as_secs_f64();
    println!(
        "durable, end to end, {CLIENTS} clients {rate:>9.0} messages/s   {:.2} of fdatasync, {:.2} of SQLite's rows",
        rate / syncs,
        rate / inserts
    );
    let faults = (daemon.minor_faults() - faults) as f64 / MESSAGES as f64;
    println!("minor page faults              {faults:>10.2} per message");
    println!("threads                        {:>10}", daemon.threads());
    daemon.kill();

    let daemon = Daemon::start(folder.path());
    daemon.idle();
    let (resident, woken) = (daemon.resident(), daemon.wakeups(Duration::from_secs(10)));
    println!("resident, idle                 {resident:>10.1} MiB");
    println!("idle wake-ups                  {woken:>10.1} /s");
    daemon.kill();

    fill(folder.path());
    let daemon = Daemon::start(folder.path());
    println!("start to accepting, {ROWS} rows after kill -9 {:?}", daemon.start_time);
    daemon.idle();
    pages(&daemon.address);
    daemon.kill();
}

/// How long the slowest of a hundred takes of each kind of page, on a store of many rows.
fn pages(address: &str) {
    for page in [
        "/",
        "/messages/",
        "/messages/?state=handled&direction=in",
        "/messages/?identity=%2B1555001234",
        "/messages/?state=failed",
        "/messages/?until=2026-01-01",
        "/messages/?text=not+to+be+found",
        "/backends/",
    ] {
        let request = format!("GET {page} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
        let mut times: Vec<Duration> = (0..100)
            .map(|_| {
                let start = Instant::now();
                let mut connection = TcpStream::connect(address).expect("a connection");
                let mut answer = String::new();
                let asked = connection.write_all(request.as_bytes());
                asked.and_then(|()| connection.read_to_string(&mut answer)).expect("a page");
                assert!(answer.starts_with("HTTP/1.1 200"), "{page}: {answer}");
                start.elapsed()
            })
            .collect();
        println!("{page:<40} p99 {:>10.1?}   (bound 50 ms)", p99(&mut times));
    }
}

/// How often the disk can be made to keep a page, and how long the slowest in a hundred takes.
fn sync_rate(folder: &Path) -> (f64, Duration) {
    let mut file = File::create(folder.join("sync")).expect("a file");
    let page = [7; 4096];
    let mut times: Vec<Duration> = (0..1_000)
        .map(|_| {
            let start = Instant::now();
            file.write_all(&page).and_then(|()| file.sync_data()).expect("the disk takes a page");
            start.elapsed()
        })
        .collect();
    let total: Duration = times.iter().sum();
    let rate = times.len() as f64 / total.as_secs_f64();
    // The slowest are looked for on a disk that rests in between, as that of an idle router does.
    times.clear();
    times.resize_with(ALONE, || {
        std::thread::park_timeout(PAUSE);
        let start = Instant::now();
        file.write_all(&page).and_then(|()| file.sync_data()).expect("the disk takes a page");
        start.elapsed()
    });
    (rate, p99(&mut times))
}

/// Rows of a message's size into one table, 64 to a commit: what SQLite itself can do.
fn batched_insert_rate(folder: &Path) -> f64 {
    let database = rusqlite::Connection::open(folder.join("plain.db")).expect("a database");
    database
        .execute_batch(
            "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL;
             CREATE TABLE plain (key INTEGER PRIMARY KEY, identity TEXT, text TEXT)",
        )
        .expect("a table");
    const BATCHES: i64 = 500;
    let start = Instant::now();
    for batch in 0..BATCHES {
        database.execute_batch("BEGIN").expect("a transaction");
        let mut insert =
            database.prepare_cached("INSERT INTO plain VALUES (?1, ?2, ?3)").expect("a statement");
        for row in 0..64 {
            let key = batch * 64 + row;
            insert
                .execute((key, "+15551230001", "echo hello, this is a text of a usual length"))
                .expect("a row");
        }
        database.execute_batch("COMMIT").expect("a commit");
    }
    (BATCHES * 64) as f64 / start.elapsed().as_secs_f64()
}

/// One client, and a system that is idle when it asks: what the last message still caused is over.
fn alone(address: &str) -> Duration {
    let mut connection = TcpStream::connect(address).expect("a connection");
    connection.set_nodelay(true).expect("an option");
    let mut times: Vec<Duration> = (0..ALONE)
        .map(|number| {
            std::thread::park_timeout(PAUSE);
            let start = Instant::now();
            post(&mut connection, "bench", &number.to_string());
            start.elapsed()
        })
        .collect();
    p99(&mut times)
}

/// Many clients at once, each with its own connection, each sending its next message after its last answer.
fn load(address: &str) {
    std::thread::scope(|scope| {
        for thread in 0..CLIENT_THREADS {
            scope.spawn(move || {
                let mut connections: Vec<TcpStream> = (0..CLIENTS / CLIENT_THREADS)
                    .map(|_| TcpStream::connect(address).expect("a connection"))
                    .collect();
                for round in 0..MESSAGES / CLIENTS {
                    for (client, connection) in connections.iter_mut().enumerate() {
                        connection
                            .write_all(&request("bench", &format!("{thread}.{client}.{round}")))
                            .expect("a request");
                    }
                    for connection in &mut connections {
                        answer(connection);
                    }
                }
            });
        }
    });
}

/// A store of a million handled messages that was not closed.
fn fill(folder: &Path) {
    let path = folder.join("rapidsms.db");
    let mut store = Sqlite::open(&path, Timestamp::from_seconds(1_767_225_600)).expect("a store").store;
    let mut now = store.newest().map_or(Timestamp::from_seconds(1_767_225_600), |id| id.time());
    let mut ids = Ids::new(store.newest(), 3);
    let ending = Ending { state: State::Handled, reason: None, actor: "app echo (handle)".into() };
    for batch in 0..ROWS / 1_000 {
        now = now + Duration::from_millis(1);
        for row in 0..1_000 {
            let connection = Connection::new("bench", format!("+1555{:06}", (batch * 1_000 + row) % 50_000));
            let incoming = Incoming::new(connection, "echo hello, this is a text of a usual length");
            let new = NewIncoming {
                id: ids.next(now),
                incoming: &incoming,
                state: State::Received,
                reason: None,
                duplicate_of: None,
                origin: Origin::Test,
                joined: None,
                at: now,
            };
            store.accept(&new).expect("a row");
        }
        for claimed in store.unfinished(Tried::Never, 1_000, &no_bound, now).expect("claims") {
            store.finish(claimed.id, &ending, now).expect("an ending");
        }
        store.commit().expect("a commit");
    }
    // Dropped without being closed: as after kill -9.
}
