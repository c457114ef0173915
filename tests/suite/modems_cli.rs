//! `rapidsms modems`, end to end: the real program, a made-up machine, and modems behind pseudo-terminals that answer from a list.
//!
//! The cases are tests/modems_cli/NAME.txt. What the program printed stands below each `$` line, standard error behind `! `, an exit code
//! other than 0 as `= N`; lines with `| ` are what is given.
//!
//! | line | does |
//! |---|---|
//! | `machine` | makes the machine of the lines below (see `devices/tree.rs`) |
//! | `modem TTY` | puts a modem behind a port: `COMMAND = LINE; LINE`; what is not listed is refused; `OK` is added |
//! | `mute TTY` | puts something behind a port that never says anything |
//! | `TTY is held by PROGRAM` | a process of that name has it open |
//! | `write FILE` | writes a file into the folder in which the program runs; `"/dev/` means that of the machine |
//! | `$ rapidsms ...`, `$ heard TTY`, `$ show FILE` | runs it; lists the commands that a modem heard; prints a file |
//!
//! After a wanted change run the tests with `BLESS=1` and read the difference.

use super::daemon::{Daemon, ECHO, program};
use super::devices::tree::Tree;
use rapidsms::simulator::personality::PERSONALITIES;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, tcgetattr, tcsetattr};
use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

/// A modem that answers from a list.
struct Modem {
    tty: String,
    path: PathBuf,
    heard: Arc<Mutex<Vec<String>>>,
    /// While this is open the modem lives.
    slave: Option<File>,
    thread: Option<JoinHandle<()>>,
}

impl Modem {
    fn new(tty: &str, answers: Vec<(String, String)>, mute: bool) -> Modem {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let path = PathBuf::from(ptsname(&master, Vec::new()).unwrap().into_string().unwrap());
        const NOCTTY: i32 = 0o400;
        let slave = File::options().read(true).write(true).custom_flags(NOCTTY).open(&path).unwrap();
        let mut raw = tcgetattr(&slave).unwrap();
        raw.make_raw();
        tcsetattr(&slave, OptionalActions::Now, &raw).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = Arc::clone(&heard);
        let thread = std::thread::spawn(move || live(master, &answers, mute, &hears));
        Modem { tty: tty.to_string(), path, heard, slave: Some(slave), thread: Some(thread) }
    }
}

impl Drop for Modem {
    fn drop(&mut self) {
        drop(self.slave.take());
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(ended.is_none_or(|ended| ended.is_ok()), "the modem {} ended badly", self.tty);
    }
}

/// Reads commands and answers them until nobody has the other side open any more.
fn live(master: OwnedFd, answers: &[(String, String)], mute: bool, heard: &Mutex<Vec<String>>) {
    let mut master = File::from(master);
    let mut line = Vec::new();
    let mut octet = [0];
    while master.read(&mut octet).is_ok_and(|count| count == 1) {
        if octet[0] != b'\r' {
            line.push(octet[0]);
            continue;
        }
        let command =
            String::from_utf8_lossy(&std::mem::take(&mut line)).trim_start_matches('\u{1b}').to_string();
        if command.is_empty() || mute {
            continue;
        }
        let listed = answers.iter().find(|(known, _)| *known == command).map(|(_, answer)| answer.as_str());
        let answer = listed.unwrap_or(if command.contains("CMEE=") { "" } else { "ERROR" });
        let mut text = format!("{command}\r");
        let lines = answer.split("; ").filter(|line| !line.is_empty());
        lines.clone().for_each(|line| text.push_str(&format!("\r\n{line}\r\n")));
        if !lines.clone().any(|line| line.contains("ERROR")) {
            text.push_str("\r\nOK\r\n");
        }
        heard.lock().unwrap().push(command);
        if master.write_all(text.as_bytes()).is_err() {
            return;
        }
    }
}

struct Stage {
    tree: Tree,
    folder: tempfile::TempDir,
    modems: Vec<Modem>,
}

impl Stage {
    fn new() -> Stage {
        Stage { tree: Tree::new(""), folder: tempfile::tempdir().unwrap(), modems: Vec::new() }
    }

    /// The transcript as it is now.
    fn play(&mut self, text: &str) -> String {
        let mut played = String::new();
        let mut lines = text.lines().peekable();
        while let Some(line) = lines.next() {
            let mut given = Vec::new();
            played.push_str(&format!("{line}\n"));
            while let Some(more) = lines.next_if(|next| next.starts_with("| ") || *next == "|") {
                played.push_str(&format!("{more}\n"));
                given.push(more.strip_prefix("| ").unwrap_or_default());
            }
            if line.starts_with("$ ") {
                while lines.next_if(|next| !next.is_empty()).is_some() {}
                played.push_str(&self.run(line));
            } else {
                self.set(line, &given);
            }
        }
        played
    }

    fn set(&mut self, line: &str, given: &[&str]) {
        let words: Vec<&str> = line.split(' ').collect();
        match words.as_slice() {
            [""] | ["#", ..] => {}
            ["machine"] => self.tree.plug(&given.join("\n")),
            ["write", name] => {
                let file = self.folder.path().join(name);
                let dev = format!("\"{}/dev/", self.tree.root().display());
                fs::write(&file, given.join("\n").replace("\"/dev/", &dev) + "\n").unwrap();
                fs::set_permissions(file, fs::Permissions::from_mode(0o640)).unwrap();
            }
            [kind @ ("modem" | "mute"), tty] => {
                let answers = given.iter().map(|line| {
                    let (command, answer) = line.split_once(" =").expect("COMMAND = ANSWER");
                    (command.to_string(), answer.trim().to_string())
                });
                let modem = Modem::new(tty, answers.collect(), *kind == "mute");
                self.tree.connect(tty, &modem.path);
                self.modems.push(modem);
            }
            [tty, "is", "held", "by", program] => {
                let process = self.tree.at("proc/612");
                fs::create_dir_all(process.join("fd")).unwrap();
                fs::write(process.join("comm"), program).unwrap();
                symlink(self.tree.at("dev").join(tty), process.join("fd/7")).unwrap();
            }
            _ => panic!("nobody knows what this does: {line}"),
        }
    }

    fn run(&self, line: &str) -> String {
        let words: Vec<&str> = line.split(' ').skip(1).collect();
        let mut seen = String::new();
        match words.as_slice() {
            ["heard", tty] => {
                let modem = self.modems.iter().find(|modem| modem.tty == *tty).unwrap();
                seen = modem.heard.lock().unwrap().iter().map(|command| format!("{command}\n")).collect();
            }
            ["show", name] => {
                let file = self.folder.path().join(name);
                assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o640);
                let text = fs::read_to_string(file).unwrap().replace("\n\n", "\n(empty)\n");
                seen = text.replace(&self.tree.root().display().to_string(), "");
            }
            ["rapidsms", arguments @ ..] => {
                let root = self.tree.root().display().to_string();
                let arguments = arguments.iter().map(|word| match word.strip_prefix("/dev/") {
                    Some(tty) => format!("{root}/dev/{tty}"),
                    None => word.to_string(),
                });
                let mut command = program(self.folder.path());
                let ran = command.args(arguments).env("RAPIDSMS_MACHINE_ROOT", &root).output().unwrap();
                let folder = self.folder.path().display().to_string();
                let clean = |octets: &[u8]| {
                    String::from_utf8_lossy(octets).replace(&root, "").replace(&folder, "FOLDER")
                };
                for line in clean(&ran.stdout).lines() {
                    seen.push_str(if line.is_empty() { "(empty)" } else { line });
                    seen.push('\n');
                }
                clean(&ran.stderr).lines().for_each(|line| seen.push_str(&format!("! {line}\n")));
                if ran.status.code() != Some(0) {
                    seen.push_str(&format!("= {:?}\n", ran.status.code().unwrap_or(-1)));
                }
            }
            _ => panic!("nobody knows what this does: {line}"),
        }
        seen
    }
}

/// Plays tests/modems_cli/NAME.txt.
fn play(name: &str) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/modems_cli").join(format!("{name}.txt"));
    let expected = fs::read_to_string(&file).unwrap();
    let played = Stage::new().play(&expected);
    if std::env::var_os("BLESS").is_some() {
        fs::write(&file, &played).unwrap();
    } else {
        assert!(played == expected, "{}: this is what happened:\n{played}", file.display());
    }
}

macro_rules! conversations {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { play(stringify!($name)); })*

        /// A conversation that nobody plays proves nothing.
        #[test]
        fn every_conversation_is_played() {
            let files = fs::read_dir("tests/modems_cli").unwrap().map(|entry| entry.unwrap().file_name());
            let there: BTreeSet<String> = files.map(|name| name.into_string().unwrap()).collect();
            assert_eq!(there, BTreeSet::from([$(concat!(stringify!($name), ".txt").to_string()),*]));
        }
    };
}

conversations!(held, named, nothing, shared, sticks, twins, write);

/// The router that runs says which backend has the modem, and the modem is left to it.
#[test]
fn a_running_router_is_asked() {
    let place = tempfile::tempdir().unwrap();
    let link = place.path().join("zain");
    let mut simulator = program(place.path());
    simulator.args(["simulate", "modem", "--link"]).arg(&link).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut simulator = simulator.spawn().unwrap();
    let mut ready = BufReader::new(simulator.stdout.take().unwrap()).lines();
    assert!(ready.next().unwrap().unwrap().contains("ready on"));
    let zain = format!("[INSTALLED_BACKENDS.Zain]\nENGINE = \"gsm\"\nPORT = \"{}\"\n", link.display());
    let daemon = Daemon::start(&format!("{ECHO}\n{zain}"));
    daemon.wait_until("the modem is up", |daemon| {
        let backends = daemon.rapidsms(&["backends", "--json"]).json();
        backends.as_array()?.iter().any(|one| one["name"] == "Zain" && one["state"] == "up").then_some(())
    });
    let modems = |named: &Path| {
        let mut command = program(daemon.folder());
        let command = command.args(["modems", "--json"]).arg(named).env("RAPIDSMS_MACHINE_ROOT", "/");
        let ran = command.output().unwrap();
        let found: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
        (ran.status.code(), found[0].clone())
    };
    for name in [&link, &fs::read_link(&link).unwrap()] {
        let (code, found) = modems(name);
        assert_eq!(code, Some(0), "{found}");
        assert_eq!(found["used_by"]["backend"], "Zain");
        assert_eq!(found["used_by"]["state"], "up");
        assert_eq!(found["ports"][0]["state"], "held by the router");
        assert_eq!(found["advice"].as_array().map(Vec::len), Some(0));
    }
    daemon.stop();
    simulator.kill().unwrap();
    simulator.wait().unwrap();
}

/// Modems of every maker that the simulator knows, each with its own manners, all at once. The process that plays them holds their ports, and is
/// not in the way.
#[test]
fn simulated_modems_are_understood() {
    let folder = tempfile::tempdir().unwrap();
    let mut simulator = program(folder.path());
    simulator.args(["simulate", "modem"]);
    for kind in PERSONALITIES {
        simulator.arg("--link").arg(folder.path().join(kind.name)).args(["--personality", kind.name]);
    }
    let mut simulator = simulator.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let ready = BufReader::new(simulator.stdout.take().unwrap()).lines().take(PERSONALITIES.len());
    assert_eq!(ready.filter(|line| line.as_ref().unwrap().contains("ready on")).count(), PERSONALITIES.len());

    let mut modems = program(folder.path());
    // The real one, where the simulator holds both ends.
    modems.env("RAPIDSMS_MACHINE_ROOT", "/");
    let ports = PERSONALITIES.iter().map(|kind| folder.path().join(kind.name));
    let ran = modems.args(["modems", "--json"]).args(ports).output().unwrap();
    simulator.kill().unwrap();
    simulator.wait().unwrap();
    assert_eq!(ran.status.code(), Some(0), "{}", String::from_utf8_lossy(&ran.stderr));
    let found: serde_json::Value = serde_json::from_slice(&ran.stdout).unwrap();
    let found = found.as_array().unwrap();
    assert_eq!(found.len(), PERSONALITIES.len());
    for (kind, one) in PERSONALITIES.iter().zip(found) {
        let modem = &one["modem"];
        for fact in
            ["make", "model", "version", "imei", "imsi", "iccid", "number", "operator", "service_center"]
        {
            assert!(modem[fact].is_string(), "{}: no {fact}: {one}", kind.name);
        }
        assert_eq!(modem["sim"], "ready", "{}", kind.name);
        assert_eq!(modem["registered"], true, "{}", kind.name);
        assert!(
            modem["dbm"].is_i64() && modem["storages"][0]["total"].as_u64() > Some(0),
            "{}: {one}",
            kind.name
        );
    }
}
