//! How fast the core is, without disk, network and threads: the phases alone, then the router with a store in memory.
//!
//! Each figure is printed with its ratio to a loop that only makes the same texts, measured in the same run.

use rapidsms::apps::echo::Echo;
use rapidsms::apps::fallback::Fallback;
use rapidsms::message::{Connection, Ids, Incoming, Origin, Receipt};
use rapidsms::phases::{self, Apps, Progress};
use rapidsms::router::{BackendPolicy, Policy, Router};
use rapidsms::store::Unfinished;
use rapidsms::store::memory::Memory;
use rapidsms::time::Timestamp;
use std::hint::black_box;
use std::time::{Duration, Instant};

const START: Timestamp = Timestamp::from_seconds(1_767_225_600);
const MESSAGES: usize = 2_000_000;
const BATCH: usize = 64;

fn apps() -> Apps {
    let fallback = Fallback::new(Some("Sorry"), "RapidSMS").expect("the text has no fields");
    Apps::new().with("echo", Echo).with("default", fallback)
}

fn main() {
    let faults = minor_faults();
    let texts = rate(MESSAGES, || {
        for number in 0..MESSAGES {
            black_box(format!("echo hello {number}"));
        }
    });
    println!("texts alone            {texts:>12.0} /s");
    let phases = phases_alone();
    println!("phases, echo + default {phases:>12.0} messages/s   {:.2} of texts alone", phases / texts);
    let core = core();
    println!("core, accept to settle {core:>12.0} messages/s   {:.2} of texts alone", core / texts);
    let each = (minor_faults() - faults) as f64 / (3 * MESSAGES) as f64;
    println!("minor page faults      {each:>12.4} per message");
}

fn rate(count: usize, work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    count as f64 / start.elapsed().as_secs_f64()
}

/// filter to cleanup over messages that are already in memory.
fn phases_alone() -> f64 {
    let mut apps = apps();
    let mut ids = Ids::new(None, 1);
    let connection = Connection::new("bench", "+1");
    let mut spent = Duration::ZERO;
    for batch in 0..MESSAGES / BATCH {
        let unfinished: Vec<Unfinished> = (0..BATCH)
            .map(|number| Unfinished {
                id: ids.next(START),
                connection: connection.clone(),
                text: if number % 8 == 0 { format!("what {batch}") } else { format!("echo hello {batch}") },
                received_at: START,
                source_time: None,
                attempt: 1,
                redelivered: false,
                partial: false,
                origin: Origin::Real,
                contact: None,
            })
            .collect();
        let start = Instant::now();
        for unfinished in unfinished {
            match phases::run(&mut apps, unfinished) {
                Progress::Finished(outcome) => drop(black_box(outcome)),
                Progress::Waiting(_) => unreachable!("these apps answer at once"),
            }
        }
        spent += start.elapsed();
    }
    MESSAGES as f64 / spent.as_secs_f64()
}

/// Accept, claim, run, queue the reply, take, settle; 100,000 ended rows are kept.
fn core() -> f64 {
    let mut router = Router::new(Box::new(Memory::keeping(100_000)), apps(), Policy::default(), 1);
    router.set_backend(&"bench".into(), BackendPolicy { window: 4 * BATCH, ..BackendPolicy::tester() });
    router.backend_up("bench");
    let peers: Vec<Connection> =
        (0..1_000).map(|peer| Connection::new("bench", format!("+{peer}"))).collect();
    let mut now = START;
    let mut settled = 0;
    rate(MESSAGES, || {
        let mut accepted = 0;
        while settled < MESSAGES {
            now = now + Duration::from_micros(100);
            for _ in 0..BATCH {
                if accepted < MESSAGES {
                    let incoming = Incoming::new(
                        peers[accepted % peers.len()].clone(),
                        format!("echo hello {accepted}"),
                    );
                    router.accept(&incoming, now).expect("the store in memory takes everything");
                    accepted += 1;
                }
            }
            router.step(now);
            for outgoing in router.commit(now).expect("the store in memory commits always") {
                router.sent(outgoing.id, Ok(Receipt::default()), now);
                settled += 1;
            }
        }
    })
}

fn minor_faults() -> u64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name of the program stands in brackets and may hold blanks; the tenth field is the seventh after it (proc(5)).
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after.split_whitespace().nth(7).and_then(|field| field.parse().ok()).unwrap_or(0)
}
