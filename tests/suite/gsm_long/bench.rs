//! Simulated modems as a process of their own, and what they write down, as it comes: nobody asks again and again. The ledger is a pipe.

use super::books::{Account, Store};
use crate::daemon::{Daemon, program};
use rapidsms::store::sqlite::Sqlite;
use rustix::fs::{CWD, FileType, Mode, mknodat};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Whatever takes longer hangs. The waits after failures are in it.
pub const PATIENCE: Duration = Duration::from_secs(100);

/// What every modem wrote down so far.
#[derive(Default)]
pub struct Books {
    pub accounts: BTreeMap<String, Account>,
    lines: Vec<String>,
}

impl Books {
    pub fn of(&self, modem: &str) -> &Account {
        &self.accounts[modem]
    }
}

/// The simulation. It is killed when it is dropped.
pub struct Bench {
    child: Child,
    orders: Mutex<ChildStdin>,
    shared: Arc<(Mutex<Books>, Condvar)>,
    folder: TempDir,
}

impl Bench {
    /// Modems with these names and of these kinds.
    pub fn start(modems: &[(&str, &str)], arguments: &[&str]) -> Bench {
        let folder = tempfile::tempdir().expect("a folder");
        let ledger = folder.path().join("ledger");
        mknodat(CWD, &ledger, FileType::Fifo, Mode::RUSR | Mode::WUSR, 0).expect("a pipe");
        let mut command = program(folder.path());
        command.args(["simulate", "modem", "--ledger", "ledger"]).args(arguments);
        for (name, kind) in modems {
            command.arg("--link").arg(folder.path().join(name)).args(["--personality", kind]);
        }
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let orders = Mutex::new(child.stdin.take().expect("a pipe"));
        let shared = Arc::<(Mutex<Books>, Condvar)>::default();
        let written = Arc::clone(&shared);
        std::thread::spawn(move || read(&ledger, &written));
        let mut shown = BufReader::new(child.stdout.take().expect("a pipe")).lines().map_while(Result::ok);
        let ready = shown.by_ref().filter(|line| line.contains(": ready on ")).take(modems.len()).count();
        assert_eq!(ready, modems.len(), "the simulator ended");
        // The rest is for people; whoever does not read it stops the simulator.
        std::thread::spawn(move || shown.for_each(drop));
        let bench = Bench { child, orders, shared, folder };
        bench.wait("the modems are there", |books| books.accounts.len() == modems.len());
        bench
    }

    pub fn port(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub fn order(&self, line: &str) {
        let mut orders = self.orders.lock().unwrap_or_else(PoisonError::into_inner);
        orders.write_all(format!("{line}\n").as_bytes()).expect("it listens");
    }

    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the ledger says so.
    #[track_caller]
    pub fn wait(&self, what: &str, so: impl Fn(&Books) -> bool) {
        let waited = self.shared.1.wait_timeout_while(self.books(), PATIENCE, |books| !so(books));
        let (books, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        let last = books.lines.len().saturating_sub(200);
        assert!(!waited.timed_out(), "in vain: {what}\nthe ledger:\n{}", books.lines[last..].join("\n"));
    }

    /// Settings for these modems.
    pub fn settings(&self, names: &[&str], more: &str) -> String {
        let mut text = "INSTALLED_APPS = [\"echo\"]\n[web]\nlisten = \"127.0.0.1:0\"\n".to_string();
        for name in names {
            let port = self.port(name);
            text += &format!(
                "[INSTALLED_BACKENDS.{name}]\nENGINE = \"gsm\"\nPORT = \"{}\"\n{more}\n",
                port.display()
            );
        }
        text
    }

    /// Waits until nothing is to be done any more: no message on a modem or in the network, none open in the store. It looks when the
    /// ledger has news, and now and then, for not everything that ends is seen by a modem.
    pub fn wait_until_settled(&self, daemon: &Daemon, names: &[&str]) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let empty = names.iter().all(|name| self.books().of(name).is_empty());
            let open = |state: &str| !daemon.messages(&format!("state={state}&limit=1")).is_empty();
            if empty && !["received", "queued", "sending", "uncertain"].into_iter().any(open) {
                return;
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let books = self.books();
            let left_over = |name: &&str| {
                let account = books.of(name);
                format!("{name}: {:?} lie there, {} with the network", account.lying, account.undelivered())
            };
            assert!(
                !left.is_zero(),
                "{:#?}\n{}",
                names.iter().map(left_over).collect::<Vec<_>>(),
                daemon.log()
            );
            let _ = self.shared.1.wait_timeout(books, Duration::from_millis(300));
        }
    }
}

impl Drop for Bench {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Prints what a router logged when its test fails.
pub struct Told<'d>(pub &'d Daemon);

impl Drop for Told<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the router's log:\n{}", self.0.log());
        }
    }
}

fn read(ledger: &Path, (books, news): &(Mutex<Books>, Condvar)) {
    let Ok(pipe) = File::open(ledger) else { return };
    for line in BufReader::new(pipe).lines().map_while(Result::ok) {
        let entry: Value = serde_json::from_str(&line).expect("a line of the ledger");
        let mut books = books.lock().unwrap_or_else(PoisonError::into_inner);
        let modem = entry["modem"].as_str().unwrap_or_default().to_string();
        books.accounts.entry(modem).or_default().enter(&entry);
        books.lines.push(line);
        news.notify_all();
    }
}

/// What the store in this folder holds about a backend.
pub fn store(folder: &Path, backend: &str) -> Store {
    Store::read(Sqlite::open_reader(&folder.join("rapidsms.db")).expect("a store"), backend)
}
