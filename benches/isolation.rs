//! What a flood on one backend costs another one (P7): replies to a steady few messages on `other`, alone and while `bench` is flooded.

mod common;

use common::{Daemon, answer, p99, post, request};
use std::io::Write;
use std::net::TcpStream;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// The steady few: so many messages, so far apart.
const STEADY: usize = 500;
const APART: Duration = Duration::from_millis(20);
const FLOODERS: usize = 64;

fn main() {
    let alone = steady(0);
    println!("alone              {alone}");
    let beside = steady(FLOODERS);
    println!("beside a flood     {beside}");
    println!(
        "so a flood leaves  {:>6.1} % of the throughput (wanted 95), and adds {:.0} ms to the p99 (wanted 1000 at most)",
        100.0 * beside.rate / alone.rate,
        (beside.p99.as_secs_f64() - alone.p99.as_secs_f64()) * 1000.0
    );
}

struct Figures {
    /// Replies that left within the time in which messages came, per second.
    rate: f64,
    /// From being accepted to the reply having left.
    p99: Duration,
    flood: f64,
}

impl std::fmt::Display for Figures {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Figures { rate, p99, flood } = self;
        write!(f, "{rate:>6.1} replies/s   p99 {p99:>8.1?}   (flood: {flood:.0} messages/s)")
    }
}

/// A steady few messages beside so many clients that flood.
fn steady(flooders: usize) -> Figures {
    let folder = tempfile::tempdir().expect("a folder for the store");
    let daemon = Daemon::start(folder.path());
    let (over, flooded) = (AtomicBool::new(false), AtomicU64::new(0));
    let took = std::thread::scope(|scope| {
        if flooders > 0 {
            scope.spawn(|| flood(&daemon.address, flooders, &over, &flooded));
        }
        let mut connection = TcpStream::connect(&daemon.address).expect("a connection");
        connection.set_nodelay(true).expect("an option");
        let start = Instant::now();
        for number in 0..STEADY {
            let due = start + APART * number as u32;
            while let Some(left) = due.checked_duration_since(Instant::now()) {
                std::thread::park_timeout(left);
            }
            post(&mut connection, "other", &number.to_string());
        }
        let took = start.elapsed();
        over.store(true, Ordering::Relaxed);
        took
    });
    daemon.wait_for_replies(folder.path(), STEADY as u64 + flooded.load(Ordering::Relaxed));
    daemon.kill();
    let mut times = reply_times(folder.path());
    // What had to wait longer than the messages came is throughput that was lost.
    let in_time = times.iter().filter(|time| **time <= took).count();
    Figures {
        rate: in_time as f64 / took.as_secs_f64(),
        p99: p99(&mut times),
        flood: flooded.into_inner() as f64 / took.as_secs_f64(),
    }
}

/// Many clients, each sending its next message right after its last answer, until it is over.
fn flood(address: &str, clients: usize, over: &AtomicBool, flooded: &AtomicU64) {
    let mut connections: Vec<TcpStream> =
        (0..clients).map(|_| TcpStream::connect(address).expect("a connection")).collect();
    for round in 0_u64.. {
        if over.load(Ordering::Relaxed) {
            return;
        }
        for (client, connection) in connections.iter_mut().enumerate() {
            connection.write_all(&request("bench", &format!("{client}.{round}"))).expect("a request");
        }
        connections.iter_mut().for_each(answer);
        flooded.fetch_add(clients as u64, Ordering::Relaxed);
    }
}

/// How long each reply on `other` took, by the books of the store itself.
fn reply_times(folder: &Path) -> Vec<Duration> {
    let database = rusqlite::Connection::open(folder.join("rapidsms.db")).expect("the store");
    let mut statement = database
        .prepare(
            "SELECT o.updated_at - i.created_at FROM messages o JOIN messages i ON i.key = o.about_key \
             JOIN backends b ON b.id = o.backend WHERE b.name = 'other'",
        )
        .expect("a query");
    let times = statement.query_map([], |row| row.get::<_, i64>(0)).expect("rows");
    times.map(|time| Duration::from_micros(time.expect("a row").unsigned_abs())).collect()
}
