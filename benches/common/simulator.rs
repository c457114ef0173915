//! Simulated modems as a child, with a clock at their ledger: each line of it is read as it is written, *before* the other side can see its
//! effect, so the time between two lines is the time between two moments on the wire.

use super::processes::{self, Cost};
use serde_json::Value;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant, SystemTime};

pub struct Simulator {
    child: Child,
    control: BufReader<UnixStream>,
    lines: Receiver<(Instant, SystemTime, String)>,
    pub modems: Vec<Modem>,
    /// Every message comes from a number of its own.
    numbers: u64,
    under_way: BTreeMap<(String, u64), String>,
    asked: BTreeMap<String, (usize, Instant, SystemTime)>,
}

pub struct Modem {
    pub name: String,
    pub port: PathBuf,
}

/// A message was answered.
pub struct Answered {
    /// The modem that had received it.
    pub modem: usize,
    /// From the moment before its announcement was written to the one after the Ctrl-Z of the answer was read.
    pub after: Duration,
    pub from: SystemTime,
    pub to: SystemTime,
}

/// What the ledger said.
pub enum Happening {
    Answered(Answered),
    /// Something left that was no answer.
    Sent(Instant),
}

impl Simulator {
    pub fn start(folder: &Path, count: usize, latency: Duration, send_time: Duration) -> Simulator {
        let modems: Vec<Modem> = (0..count)
            .map(|index| Modem { name: format!("m{index}"), port: folder.join(format!("m{index}")) })
            .collect();
        let socket = folder.join("orders");
        let mut command = Command::new(env!("CARGO_BIN_EXE_rapidsms"));
        command.args(["simulate", "modem", "--ledger", "/dev/stdout", "--control"]).arg(&socket);
        command.args(["--latency", &latency.as_millis().to_string()]);
        command.args(["--send-time", &send_time.as_millis().to_string()]);
        for modem in &modems {
            command.arg("--link").arg(&modem.port);
        }
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("the simulator starts");
        let mut output = BufReader::new(child.stdout.take().expect("piped")).lines();
        let mut ready = 0;
        while ready < count {
            let line = output.next().expect("the simulator ended").expect("text");
            ready += usize::from(line.contains(": ready on "));
        }
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.map_while(Result::ok) {
                let _ = sender.send((Instant::now(), SystemTime::now(), line));
            }
        });
        let control = BufReader::new(UnixStream::connect(&socket).expect("the simulator takes orders"));
        Simulator {
            child,
            control,
            lines,
            modems,
            numbers: 0,
            under_way: BTreeMap::new(),
            asked: BTreeMap::new(),
        }
    }

    pub fn next_number(&mut self) -> String {
        self.numbers += 1;
        format!("+25571{:07}", self.numbers)
    }

    /// Somebody writes to this modem.
    pub fn write_to(&mut self, modem: usize) {
        let (name, number) = (self.modems[modem].name.clone(), self.next_number());
        self.order(&format!("{name} < {number} echo hello {}", self.numbers));
    }

    fn order(&mut self, order: &str) {
        writeln!(self.control.get_mut(), "{order}").expect("the simulator lives");
        let mut answer = String::new();
        self.control.read_line(&mut answer).expect("the simulator lives");
        assert_eq!(answer, "ok\n", "{order}");
    }

    /// The next thing that happens before that time.
    pub fn next(&mut self, until: Instant) -> Option<Happening> {
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let (at, time, line) = self.lines.recv_timeout(left).ok()?;
            if let Some(happening) = self.read(at, time, &line) {
                return Some(happening);
            }
        }
    }

    /// Waits so long, whatever happens.
    pub fn pass(&mut self, time: Duration) {
        let until = Instant::now() + time;
        while self.next(until).is_some() {}
    }

    /// What was announced and not yet answered is not waited for any more; how many.
    pub fn give_up(&mut self) -> usize {
        std::mem::take(&mut self.asked).len()
    }

    fn read(&mut self, at: Instant, time: SystemTime, line: &str) -> Option<Happening> {
        let entry: Value = serde_json::from_str(line).ok()?;
        let word = |name: &str| entry[name].as_str().unwrap_or_default().to_string();
        let key = || (word("modem"), entry["id"].as_u64().unwrap_or(0));
        match entry["event"].as_str()? {
            "injected" => drop(self.under_way.insert(key(), word("from"))),
            "stored" | "pushed" => {
                // A second push is not a second message.
                if let Some(number) = self.under_way.remove(&key()) {
                    let name = word("modem");
                    let modem = self.modems.iter().position(|modem| modem.name == name)?;
                    self.asked.insert(number, (modem, at, time));
                }
            }
            "sent" => {
                return Some(match self.asked.remove(&word("to")) {
                    Some((modem, since, from)) => {
                        Happening::Answered(Answered { modem, after: at - since, from, to: time })
                    }
                    None => Happening::Sent(at),
                });
            }
            _ => {}
        }
        None
    }

    pub fn cost(&self) -> Cost {
        processes::cost(&[self.child.id()])
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        let _ = self.child.kill().and_then(|()| self.child.wait());
    }
}
