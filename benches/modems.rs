//! GSM modems, beside the programs that a user would run instead: the same simulated modems, the same messages, one run.
//!
//! `scripts/bench modems` measures everything; words behind it choose, such as `scripts/bench modems answer kannel`.

mod common;
mod peers;

use common::processes::{self, Cost};
use common::simulator::{Answered, Happening, Simulator};
use common::{median, p99, sync_times};
use peers::{Peer, Place, Running, is_installed};
use rapidsms::pdu::{self, Address, Splitting, Submit};
use signal_hook::consts;
use signal_hook::iterator::Signals;
use std::collections::BTreeSet;
use std::fs::OpenOptions;
use std::io::{Read, Write};
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tempfile::TempDir;

const MOST_ANSWERS: usize = 1_000;
const ANSWERS_TIME: Duration = Duration::from_secs(60);
/// For the count of fsyncs less will do.
const MOST_NOTED: usize = 200;
const NOTED_TIME: Duration = Duration::from_secs(20);

const QUEUE: usize = 300;
const LATENCY: Duration = Duration::from_millis(5);
const SEND_TIME: Duration = Duration::from_millis(50);
const QUEUE_TIME: Duration = Duration::from_secs(60);

const MANY: usize = 64;
const EACH: Duration = Duration::from_secs(1);
const MANY_TIME: Duration = Duration::from_secs(30);

const IDLE: usize = 8;
/// What the last message still causes is over.
const SETTLING: Duration = Duration::from_secs(15);
const IDLE_TIME: Duration = Duration::from_secs(60);

/// Nobody takes so long to begin.
const BEGINNING: Duration = Duration::from_secs(150);

type Measure = fn(&dyn Peer) -> Result<Figures, String>;

/// One line of the report.
struct Figures {
    line: String,
    /// What others are compared by, and the word for it.
    value: f64,
    unit: &'static str,
}

fn main() {
    end_with_this_process();
    let words: Vec<String> = std::env::args().skip(1).filter(|word| !word.starts_with("--")).collect();
    let measures: [(&str, &str, Measure); 4] = [
        (
            "answer",
            "from the announcement on the wire to the Ctrl-Z of the answer; a modem without latency",
            answer,
        ),
        (
            "queue",
            "300 messages out of one modem that takes 5 ms for a command and 50 ms for a message",
            queue,
        ),
        ("many", "64 modems, each with a message every second that is answered", many),
        ("idle", "8 modems, and nothing happens", idle),
    ];
    let chosen = |name: &str| {
        let mut of_kind = words.iter().filter(|word| measures.iter().any(|it| it.0 == **word)).peekable();
        of_kind.peek().is_none() || of_kind.any(|word| word == name)
    };
    let contestants = contestants(&words, |word| measures.iter().any(|it| it.0 == word));
    let folder = tempfile::tempdir().expect("a folder");
    let (middle, slow) = sync_times(folder.path());
    println!("fdatasync of 4 KiB after a pause: median {}, p99 {}", milliseconds(middle), milliseconds(slow));
    for (name, what, measure) in measures {
        if !chosen(name) {
            continue;
        }
        println!("\n{name}: {what}");
        if name == "queue" {
            println!("  {:<24} {:>6.2} messages/s", "the modem itself", bare_rate());
        }
        let mut ours = None;
        for peer in &contestants {
            match measure(peer.as_ref()) {
                Ok(figures) => {
                    let ours = *ours.get_or_insert(figures.value);
                    let ratio = figures.value / ours;
                    println!(
                        "  {:<24} {}   ({ratio:.2} x the first, {})",
                        peer.name(),
                        figures.line,
                        figures.unit
                    );
                }
                Err(why) => println!("  {:<24} {why}", peer.name()),
            }
        }
    }
}

/// Those that were named, or all; and that are installed.
fn contestants(words: &[String], is_measure: impl Fn(&str) -> bool) -> Vec<Box<dyn Peer>> {
    let named: Vec<&String> = words.iter().filter(|word| !is_measure(word)).collect();
    let mut chosen = peers::all();
    chosen.retain(|peer| {
        let name = peer.name().to_lowercase();
        named.is_empty() || named.iter().any(|word| name.starts_with(&word.to_lowercase()))
    });
    chosen.retain(|peer| {
        let missing: Vec<&str> = peer.programs().iter().copied().filter(|it| !is_installed(it)).collect();
        if !missing.is_empty() {
            println!("{} is left out: {} not installed", peer.name(), missing.join(" and "));
        }
        missing.is_empty()
    });
    chosen
}

/// Simulated modems and who serves them, in a folder of their own.
struct Rig {
    running: Running,
    ports: [u16; 3],
    simulator: Simulator,
    folder: TempDir,
}

impl Rig {
    fn start(
        peer: &dyn Peer,
        modems: usize,
        latency: Duration,
        send_time: Duration,
        noted: bool,
    ) -> Result<Rig, String> {
        let folder = tempfile::tempdir().expect("a folder");
        let simulator = Simulator::start(folder.path(), modems, latency, send_time);
        let ports = peers::free_ports();
        let place = Place { folder: folder.path(), modems: &simulator.modems, ports };
        let notes = folder.path().join("syncs");
        let running = Running::start(peer, &place, noted.then_some(notes.as_path()));
        let mut rig = Rig { running, ports, simulator, folder };
        rig.wait_for_each(peer)?;
        Ok(rig)
    }

    /// Waits until every modem has answered a message. Some miss what came before they began, so they are asked again.
    fn wait_for_each(&mut self, peer: &dyn Peer) -> Result<(), String> {
        let until = Instant::now() + BEGINNING;
        let count = self.simulator.modems.len();
        let mut silent: BTreeSet<usize> = (0..count).collect();
        while !silent.is_empty() {
            if !self.running.lives() {
                return Err("it has ended".to_string());
            }
            if Instant::now() > until {
                return Err(format!("{} of {count} modems never answered", silent.len()));
            }
            for modem in &silent {
                self.simulator.write_to(*modem);
            }
            let round = Instant::now() + patience(peer);
            while !silent.is_empty()
                && let Some(happening) = self.simulator.next(round)
            {
                if let Happening::Answered(answered) = happening {
                    silent.remove(&answered.modem);
                }
            }
        }
        self.simulator.pass(peer.interval().min(Duration::from_secs(3)));
        self.simulator.give_up();
        Ok(())
    }

    fn answered(&mut self, within: Duration) -> Option<Answered> {
        let until = Instant::now() + within;
        loop {
            match self.simulator.next(until)? {
                Happening::Answered(answered) => return Some(answered),
                Happening::Sent(_) => {}
            }
        }
    }

    fn cost(&self) -> Cost {
        processes::cost(&self.running.roots())
    }
}

/// One message at a time, to a system that has nothing else to do, at any moment between two of its looks.
fn answer(peer: &dyn Peer) -> Result<Figures, String> {
    let mut rig = Rig::start(peer, 1, Duration::ZERO, Duration::ZERO, false)?;
    let mut times = Vec::new();
    let start = Instant::now();
    let mut lost = 0;
    while times.len() < MOST_ANSWERS && start.elapsed() < ANSWERS_TIME {
        rig.simulator.pass(moment(times.len(), peer.interval()));
        rig.simulator.write_to(0);
        match rig.answered(patience(peer)) {
            Some(answered) => times.push(answered.after),
            None => lost += rig.simulator.give_up(),
        }
    }
    drop(rig);
    if times.is_empty() {
        return Err("no message was answered".to_string());
    }
    let (middle, slow) = (median(&mut times), p99(&mut times));
    let syncs = syncs(peer);
    let lost = if lost > 0 { format!("; {lost} not answered") } else { String::new() };
    Ok(Figures {
        line: format!(
            "median {:>10} p99 {:>10} of {:>4}; {syncs}{lost}",
            milliseconds(middle),
            milliseconds(slow),
            times.len()
        ),
        value: middle.as_secs_f64(),
        unit: "median",
    })
}

/// How often a disk was made to keep something, on the way to the answer and in all, and what the way took besides: in a run of its own, since
/// the counting slows it down.
fn syncs(peer: &dyn Peer) -> String {
    if !is_installed("strace") {
        return "fsyncs not counted: there is no strace".to_string();
    }
    let mut rig = match Rig::start(peer, 1, Duration::ZERO, Duration::ZERO, true) {
        Ok(rig) => rig,
        Err(why) => return format!("fsyncs not counted: {why}"),
    };
    let notes = rig.folder.path().join("syncs");
    let before = noted_syncs(&notes).len();
    let (mut answers, start) = (Vec::new(), Instant::now());
    while answers.len() < MOST_NOTED && start.elapsed() < NOTED_TIME {
        rig.simulator.pass(moment(answers.len(), peer.interval()));
        rig.simulator.write_to(0);
        match rig.answered(patience(peer)) {
            Some(answered) => answers.push(answered),
            None => drop(rig.simulator.give_up()),
        }
    }
    rig.simulator.pass(Duration::from_secs(1));
    let syncs = noted_syncs(&notes);
    let mut within = 0;
    let mut besides: Vec<Duration> = answers
        .iter()
        .map(|answered| {
            let theirs = syncs.iter().filter(|(at, _)| answered.from <= *at && *at <= answered.to);
            let waits: Vec<Duration> = theirs.map(|(_, took)| *took).collect();
            within += waits.len();
            answered.after.saturating_sub(waits.iter().sum())
        })
        .collect();
    if besides.is_empty() {
        return "fsyncs not counted: no answer".to_string();
    }
    let count = answers.len() as f64;
    format!(
        "fsyncs {:.1} before, {:.1} in all, besides them {}",
        within as f64 / count,
        (syncs.len() - before) as f64 / count,
        milliseconds(median(&mut besides))
    )
}

/// When and how long, from what strace has noted: `PID SECONDS.MICROSECONDS CALL ... <SECONDS>`. A call that another thread interrupts has two lines,
/// of which the second tells how long it took, and so when it began.
fn noted_syncs(notes: &Path) -> Vec<(SystemTime, Duration)> {
    let text = std::fs::read_to_string(notes).unwrap_or_default();
    let calls = text.lines().filter_map(|line| {
        let at: f64 = line.split_whitespace().nth(1)?.parse().ok()?;
        let took: f64 = line.strip_suffix('>')?.rsplit_once('<')?.1.parse().ok()?;
        let began = if line.contains("resumed>") { at - took } else { at };
        Some((UNIX_EPOCH + Duration::from_secs_f64(began), Duration::from_secs_f64(took)))
    });
    calls.collect()
}

/// A modem that always has something to send.
fn queue(peer: &dyn Peer) -> Result<Figures, String> {
    let mut rig = Rig::start(peer, 1, LATENCY, SEND_TIME, false)?;
    let numbers: Vec<String> = (0..QUEUE).map(|_| rig.simulator.next_number()).collect();
    let place = Place { folder: rig.folder.path(), modems: &rig.simulator.modems, ports: rig.ports };
    for (count, number) in numbers.iter().enumerate() {
        peer.queue(&place, number, &format!("message {count}"));
    }
    let until = Instant::now() + QUEUE_TIME;
    let mut left = Vec::new();
    while left.len() < QUEUE
        && let Some(happening) = rig.simulator.next(until)
    {
        if let Happening::Sent(at) = happening {
            left.push(at);
        }
    }
    let (Some(first), Some(last)) = (left.first(), left.last()) else {
        return Err("nothing left".to_string());
    };
    let rate = (left.len() - 1) as f64 / (*last - *first).as_secs_f64().max(1e-9);
    Ok(Figures {
        line: format!("{rate:>6.2} messages/s, {} of {QUEUE} left", left.len()),
        value: rate,
        unit: "rate",
    })
}

/// What the same modem does for somebody who only writes messages to it, one after the other, and knows nothing else.
fn bare_rate() -> f64 {
    const MESSAGES: usize = 100;
    let folder = tempfile::tempdir().expect("a folder");
    let mut simulator = Simulator::start(folder.path(), 1, LATENCY, SEND_TIME);
    let mut port =
        OpenOptions::new().read(true).write(true).open(&simulator.modems[0].port).expect("the modem's port");
    let mut ask = |words: &str, wanted: &str| {
        port.write_all(words.as_bytes()).expect("the modem hears");
        let mut heard = String::new();
        let mut octets = [0; 512];
        while !heard.contains(wanted) {
            let count = port.read(&mut octets).expect("the modem speaks");
            heard.push_str(&String::from_utf8_lossy(&octets[..count]));
        }
    };
    ask("ATE0\r", "OK\r\n");
    ask("AT+CMGF=0\r", "OK\r\n");
    let start = Instant::now();
    for count in 0..MESSAGES {
        let number = Address::number(&simulator.next_number()).expect("a number");
        let plan = pdu::plan(&format!("message {count}"), &Splitting::default()).expect("a short text");
        let part = Submit::of_plan(&plan, &number, 0, None)[0].encode().expect("one part");
        ask(&format!("AT+CMGS={}\r", part.len()), "> ");
        ask(&format!("00{}\x1a", pdu::to_hex(&part)), "OK\r\n");
    }
    MESSAGES as f64 / start.elapsed().as_secs_f64()
}

fn many(peer: &dyn Peer) -> Result<Figures, String> {
    let mut rig = Rig::start(peer, MANY, Duration::ZERO, Duration::ZERO, false)?;
    let (before, theirs, start) = (rig.cost(), rig.simulator.cost(), Instant::now());
    let (mut times, mut written) = (Vec::new(), 0_u32);
    let apart = EACH / MANY as u32;
    while start.elapsed() < MANY_TIME {
        rig.simulator.write_to(written as usize % MANY);
        written += 1;
        let due = start + apart * written;
        while let Some(happening) = rig.simulator.next(due) {
            if let Happening::Answered(answered) = happening {
                times.push(answered.after);
            }
        }
    }
    let took = start.elapsed().as_secs_f64();
    let (cost, theirs) = (rig.cost() - before, rig.simulator.cost() - theirs);
    let roots = rig.running.roots();
    let (resident, shared_out) = processes::memory(&roots);
    let share = 100.0 * cost.cpu.as_secs_f64() / took;
    let answered = times.len();
    let time = match answered {
        0 => "none".to_string(),
        _ => format!("median {}, p99 {}", milliseconds(median(&mut times)), milliseconds(p99(&mut times))),
    };
    Ok(Figures {
        line: format!(
            "{share:>6.1} % of a core, {resident:>6.1} MiB resident ({shared_out:.1} with shared pages divided), {} processes; \
             {answered} of {written} answered: {time}; the simulator {:.1} %",
            processes::tree(&roots).len(),
            100.0 * theirs.cpu.as_secs_f64() / took
        ),
        value: share,
        unit: "CPU",
    })
}

fn idle(peer: &dyn Peer) -> Result<Figures, String> {
    let mut rig = Rig::start(peer, IDLE, Duration::ZERO, Duration::ZERO, false)?;
    rig.simulator.pass(SETTLING.max(peer.interval()));
    let (before, start) = (rig.cost(), Instant::now());
    rig.simulator.pass(IDLE_TIME);
    let (cost, took) = (rig.cost() - before, start.elapsed().as_secs_f64());
    let wakeups = cost.wakeups as f64 / took / IDLE as f64;
    let hourly = cost.cpu.as_secs_f64() / took * 3600.0;
    let (resident, shared_out) = processes::memory(&rig.running.roots());
    Ok(Figures {
        line: format!(
            "{wakeups:>8.2} wake-ups/s for each modem, {hourly:>8.2} s of CPU an hour, {resident:.1} MiB resident ({shared_out:.1} divided)"
        ),
        value: hourly,
        unit: "CPU",
    })
}

/// Who has not answered after so long does not answer.
fn patience(peer: &dyn Peer) -> Duration {
    3 * peer.interval() + Duration::from_secs(3)
}

/// Who ends this process ends what it has started, too.
fn end_with_this_process() {
    let signals = [consts::SIGTERM, consts::SIGINT, consts::SIGHUP];
    let mut signals = Signals::new(signals).expect("signals can be caught");
    std::thread::spawn(move || {
        if signals.forever().next().is_some() {
            let this = std::process::id();
            peers::end(processes::tree(&[this]).into_iter().filter(|pid| *pid != this));
            #[expect(
                clippy::disallowed_methods,
                reason = "the main thread waits for children that are gone"
            )]
            std::process::exit(1);
        }
    });
}

/// Moments that are spread evenly over an interval, and never in step with it: multiples of the golden section.
fn moment(count: usize, interval: Duration) -> Duration {
    Duration::from_millis(10) + interval.mul_f64((count as f64 * 0.618_034).fract())
}

fn milliseconds(time: Duration) -> String {
    format!("{:.2} ms", time.as_secs_f64() * 1000.0)
}
