//! Modems that mean harm, each on a pseudo-terminal of its own, beside one that is well: the router stays within its memory, and the good modem is
//! served as if they were not there.

use super::bench::Bench;
use crate::daemon::Daemon;
use crossbeam_channel::{Receiver, RecvTimeoutError, bounded};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::time::{Duration, Instant};

/// What a modem says to a line, and what it says every ten milliseconds of its own accord.
struct Malice {
    name: &'static str,
    answer: fn(&str) -> Vec<u8>,
    chatter: fn(u32) -> Vec<u8>,
}

fn nothing(_: u32) -> Vec<u8> {
    Vec::new()
}

fn fine(_: &str) -> Vec<u8> {
    b"\r\nOK\r\n".to_vec()
}

const MALICES: &[Malice] = &[
    Malice { name: "yes", answer: fine, chatter: nothing },
    Malice { name: "no", answer: |_| b"\r\nERROR\r\n".to_vec(), chatter: nothing },
    // Its own words come back to it as well, for ever.
    Malice {
        name: "echo",
        answer: |line| format!("{line}\r{line}\r").into_bytes(),
        chatter: |_| b"AT\rATE0\r".to_vec(),
    },
    Malice { name: "endless", answer: fine, chatter: |_| vec![b'U'; 4_000] },
    // Ten thousand in a second.
    Malice {
        name: "storm",
        answer: fine,
        chatter: |tick| {
            (0..100).flat_map(|n| format!("\r\n+CMTI: \"SM\",{}\r\n", tick * 100 + n).into_bytes()).collect()
        },
    },
    Malice {
        name: "numbers",
        answer: |line| {
            match line {
            "AT+CPMS=?" => b"\r\n+CPMS: (\"SM\",\"ME\"),(\"SM\"),(\"SM\")\r\n\r\nOK\r\n".to_vec(),
            _ if line.starts_with("AT+CPMS=") => {
                b"\r\n+CPMS: 4294967295,4294967295,18446744073709551616,1,1,1\r\n\r\nOK\r\n".to_vec()
            }
            _ => b"\r\n+CMGL: 4294967296,0,,4294967296\r\n00\r\n+CMGR: 99999999999999999999,,-1\r\nFF\r\nOK\r\n".to_vec(),
        }
        },
        chatter: |_| {
            b"\r\n+CMTI: \"SM\",4294967296\r\n+CDS: 4294967296\r\n+CREG: 18446744073709551616\r\n".to_vec()
        },
    },
    // Its list never ends.
    Malice {
        name: "list",
        answer: |line| match line {
            "AT+CPMS=?" => b"\r\n+CPMS: (\"SM\"),(\"SM\"),(\"SM\")\r\n\r\nOK\r\n".to_vec(),
            _ if line.starts_with("AT+CMGL") => Vec::new(),
            _ => fine(line),
        },
        chatter: |tick| {
            (0..20)
                .flat_map(|n| {
                    format!("+CMGL: {},1,,20\r\n00{:08X}\r\n", tick * 20 + n, tick * 20 + n).into_bytes()
                })
                .collect()
        },
    },
    // The answers to other commands.
    Malice {
        name: "other",
        answer: |line| match line.len() % 4 {
            0 => b"\r\n+CMGS: 7\r\n\r\nOK\r\n".to_vec(),
            1 => b"\r\n+CPIN: READY\r\n\r\nOK\r\n".to_vec(),
            2 => b"\r\n> ".to_vec(),
            _ => b"\r\n+CMGR: 0,,20\r\n0006\r\n\r\nOK\r\n+CMS ERROR: 500\r\n".to_vec(),
        },
        chatter: nothing,
    },
    Malice { name: "prompts", answer: |_| b"\r\n> \r\n> ".to_vec(), chatter: |_| b"> > > ".to_vec() },
];

/// Opens a port in raw mode. What is returned second keeps it in that mode.
fn port() -> (File, File, String) {
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a pseudo-terminal");
    grantpt(&master).expect("it is ours");
    unlockpt(&master).expect("it is ours");
    let path = ptsname(&master, Vec::new()).expect("a path").into_string().expect("letters");
    let other = OpenOptions::new().read(true).write(true).open(&path).expect("its other end");
    let mut attributes = tcgetattr(&other).expect("a terminal");
    attributes.make_raw();
    tcsetattr(&other, OptionalActions::Now, &attributes).expect("a terminal");
    (File::from(master), other, path)
}

/// Answers until the other side is gone.
fn answer(mut master: File, answer: fn(&str) -> Vec<u8>) {
    let (mut line, mut octets) = (Vec::new(), [0; 1_024]);
    while let Ok(count @ 1..) = master.read(&mut octets) {
        for octet in &octets[..count] {
            match octet {
                b'\r' | 0x1a | 0x1b => {
                    let words = String::from_utf8_lossy(&std::mem::take(&mut line)).into_owned();
                    if master.write_all(&answer(&words)).is_err() {
                        return;
                    }
                }
                octet => line.push(*octet),
            }
        }
    }
}

/// Talks every ten milliseconds until it is told to stop.
fn chat(mut master: File, chatter: fn(u32) -> Vec<u8>, stop: &Receiver<()>) {
    for tick in 0.. {
        match stop.recv_timeout(Duration::from_millis(10)) {
            Err(RecvTimeoutError::Timeout) => {}
            _ => return,
        }
        let octets = chatter(tick);
        if !octets.is_empty() && master.write_all(&octets).is_err() {
            return;
        }
    }
}

/// The most memory that the process ever had, in KiB, and the processor time that it took so far.
fn costs(daemon: &Daemon) -> (u64, Duration) {
    let id = daemon.child.id();
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("a process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its peak");
    let peak = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).expect("a process");
    let fields: Vec<&str> = stat.rsplit(')').next().expect("fields").split_whitespace().collect();
    let ticks: u64 = [11, 12].iter().map(|at| fields[*at].parse::<u64>().expect("ticks")).sum();
    (peak, Duration::from_millis(ticks * 10))
}

#[test]
fn modems_that_mean_harm_cost_the_good_one_nothing() {
    let bench = Bench::start(&[("good", "generic")], &["--latency", "1", "--send-time", "15"]);
    let mut settings = bench.settings(&["good"], "");
    let mut ends = Vec::new();
    let (stop, stopped) = bounded::<()>(0);
    for malice in MALICES {
        let (master, other, path) = port();
        settings += &format!(
            "[INSTALLED_BACKENDS.{}]\nENGINE = \"gsm\"\nPORT = \"{path}\"\ntimeout = \"1 s\"\nsweep = \"1 s\"\n",
            malice.name
        );
        ends.push((master, other, malice));
    }
    let daemon = Daemon::start(&settings);
    let begin = Instant::now();
    let others: Vec<File> = ends
        .into_iter()
        .map(|(master, other, malice)| {
            let talking = master.try_clone().expect("another name for it");
            let stopped = stopped.clone();
            std::thread::spawn(move || answer(master, malice.answer));
            std::thread::spawn(move || chat(talking, malice.chatter, &stopped));
            other
        })
        .collect();
    daemon
        .wait_until("the good one is up", |daemon| daemon.log().contains("backend good is up").then_some(()));
    bench.order("good every 190ms x28 +254700000001 echo one-{n}");
    bench.order("good every 210ms x26 +254700000002 echo two-{n}");
    for malice in MALICES {
        let (name, text) = (malice.name, "many words ".repeat(20));
        let body = serde_json::json!({ "backend": name, "identity": "+254700000003", "text": text });
        assert_eq!(daemon.post_json("/api/v1/messages", &body).status, 202, "{name}");
    }
    bench.wait("the good one is answered", |books| {
        books.of("good").injected.len() == 54 && books.of("good").answer_times().len() == 54
    });
    let (peak, time) = costs(&daemon);
    eprintln!("{peak} KiB at most, {time:?} of a processor in {:?}", begin.elapsed());
    assert!(
        time < begin.elapsed() * 3 / 2,
        "nine of them took {time:?} of a processor in {:?}",
        begin.elapsed()
    );
    assert!(peak < 128 * 1_024, "{peak} KiB");
    let times = bench.books().of("good").answer_times();
    let (median, slow) = (times[times.len() / 2], times[times.len() * 9 / 10]);
    assert!(median < Duration::from_secs(2), "P7: half of the answers took longer than {median:?}");
    assert!(slow < Duration::from_secs(8), "P7: nine of ten answers within {slow:?}");
    drop(stop);
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert!(!ended.log.contains("panicked"), "{}", ended.log);
    drop(others);
}
