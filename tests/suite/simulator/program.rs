//! `rapidsms simulate modem` as a process: ports, links, orders and the ledger, and programs of others that know modems for decades.

use crate::daemon::{PATIENCE, folder, program, rapidsms, write};
use rustix::fs::OFlags;
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use std::fs::{self, File, OpenOptions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use tempfile::TempDir;

/// A running simulation in a folder of its own, with a control socket and a ledger.
struct Simulation {
    child: Child,
    shown: Receiver<String>,
    control: BufReader<UnixStream>,
    folder: Option<TempDir>,
}

/// A test that fails leaves nobody behind.
impl Drop for Simulation {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Simulation {
    fn start(links: &[&str], more: &[&str]) -> Simulation {
        let place = folder("");
        let mut command = program(place.path());
        command.args(["simulate", "modem", "--control", "control", "--ledger", "ledger"]).args(more);
        for link in links {
            command.args(["--link", link]);
        }
        let mut child = command.stdout(Stdio::piped()).spawn().expect("it starts");
        let shown = lines_of(child.stdout.take().expect("a pipe"));
        for link in links {
            let line = shown.recv_timeout(PATIENCE).expect("a ready line");
            assert!(line.starts_with(&format!("{link}: ready on {link} (/dev/pts/")), "{line}");
        }
        let control = UnixStream::connect(place.path().join("control")).expect("the control socket");
        control.set_read_timeout(Some(PATIENCE)).expect("a time-out");
        Simulation { child, shown, control: BufReader::new(control), folder: Some(place) }
    }

    fn place(&self) -> &Path {
        self.folder.as_ref().expect("it runs").path()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.place().join(name)
    }

    #[track_caller]
    fn order(&mut self, order: &str) {
        assert_eq!(self.ask(order), "ok", "{order}");
    }

    fn ask(&mut self, order: &str) -> String {
        self.control.get_mut().write_all(format!("{order}\n").as_bytes()).expect("an order is written");
        let mut answer = String::new();
        self.control.read_line(&mut answer).expect("an answer");
        answer.trim_end().to_string()
    }

    fn next_shown(&self) -> String {
        self.shown.recv_timeout(PATIENCE).expect("a line")
    }

    /// The entries of one kind so far.
    fn ledger(&self, event: &str) -> Vec<Value> {
        let text = fs::read_to_string(self.path("ledger")).expect("the ledger");
        let entries = text.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line of JSON"));
        entries.filter(|entry| entry["event"] == event).collect()
    }

    fn stop(mut self) -> TempDir {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("it is there");
        assert!(self.child.wait().expect("it ends").success());
        self.folder.take().expect("it ran")
    }
}

/// A port as a client has it open.
struct Port {
    file: File,
    lines: Receiver<String>,
}

impl Port {
    fn open(path: &Path) -> Port {
        let flags = i32::try_from(OFlags::NOCTTY.bits()).expect("a flag");
        let file =
            OpenOptions::new().read(true).write(true).custom_flags(flags).open(path).expect("the port opens");
        let lines = lines_of(file.try_clone().expect("a second descriptor"));
        Port { file, lines }
    }

    fn write(&mut self, text: &str) {
        self.file.write_all(text.as_bytes()).expect("the port takes octets");
    }

    /// The next line that is not blank.
    fn line(&self) -> String {
        loop {
            let line = self.lines.recv_timeout(PATIENCE).expect("a line");
            if !line.trim().is_empty() {
                return line.trim().to_string();
            }
        }
    }

    #[track_caller]
    fn expect(&mut self, command: &str, answer: &[&str]) {
        self.write(&format!("{command}\r"));
        for expected in answer {
            assert_eq!(self.line(), *expected, "{command}");
        }
    }
}

/// Lines as they come, until the end or an error, which is how an unplugged port ends.
fn lines_of(source: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut line = Vec::new();
        while matches!(source.read_until(b'\n', &mut line), Ok(count) if count > 0) {
            let text = String::from_utf8_lossy(&line).into_owned();
            line.clear();
            if sender.send(text.trim_end_matches(['\r', '\n']).to_string()).is_err() {
                return;
            }
        }
    });
    receiver
}

#[test]
fn a_message_in_and_a_message_out() {
    let mut simulation = Simulation::start(&["zain"], &[]);
    let mut port = Port::open(&simulation.path("zain"));
    port.expect("ATE0", &["ATE0", "OK"]);
    port.expect("AT+CNMI=2,1", &["OK"]);
    simulation.order("zain < +254700000001 hello");
    assert_eq!(port.line(), "+CMTI: \"SM\",1");
    // What the port shows stands in the ledger already.
    assert_eq!(simulation.ledger("stored").len(), 1);
    port.expect("AT+CMGD=1", &["OK"]);
    assert_eq!(simulation.ledger("deleted").len(), 1);
    port.write("AT+CMGS=18\r0001000B915155100000F1000005C8329BFD06\x1A");
    // The prompt has no line break of its own; the answer begins with one.
    assert_eq!([port.line(), port.line()], [">", "+CMGS: 0"]);
    assert_eq!(simulation.ledger("sent")[0]["text"], "Hello");
    assert_eq!(simulation.next_shown(), "zain > +15550100001 Hello");
    let folder = simulation.stop();
    assert!(!folder.path().join("zain").exists() && !folder.path().join("control").exists());
}

#[test]
fn unplugged_and_back_under_another_name() {
    let mut simulation = Simulation::start(&["zain"], &[]);
    let link = simulation.path("zain");
    let before = fs::read_link(&link).expect("a link");
    let mut port = Port::open(&link);
    port.expect("AT", &["AT", "OK"]);
    simulation.order("zain unplug");
    // The end of the port is the end of its lines.
    assert!(port.lines.recv_timeout(PATIENCE).map_or(true, |line| line.is_empty()));
    assert!(port.lines.recv_timeout(PATIENCE).is_err(), "the port is still open");
    assert!(fs::symlink_metadata(&link).is_err(), "the link is still there");
    simulation.order("zain plug");
    assert!(simulation.next_shown().starts_with("zain: ready on zain (/dev/pts/"));
    assert_ne!(fs::read_link(&link).expect("a link"), before);
    Port::open(&link).expect("AT", &["AT", "OK"]);
    let other = simulation.path("other");
    simulation.order(&format!("zain unplug 10ms as {}", other.display()));
    simulation.next_shown();
    assert!(fs::symlink_metadata(&link).is_err() && other.exists());
    Port::open(&other).expect("AT", &["AT", "OK"]);
    let folder = simulation.stop();
    assert!(fs::symlink_metadata(folder.path().join("other")).is_err());
}

#[test]
fn what_nobody_listens_to_is_lost() {
    let mut simulation = Simulation::start(&["zain"], &[]);
    let link = simulation.path("zain");
    simulation.order("zain say NOBODY HEARS THIS");
    let mut port = Port::open(&link);
    port.expect("AT", &["AT", "OK"]);
    simulation.order("zain say THIS IS HEARD");
    assert_eq!(port.line(), "THIS IS HEARD");
    drop(port);
    // A reader thread of that port has it open until it is over; a new port would end it.
    simulation.order("zain unplug 1ms");
    simulation.next_shown();
    simulation.order("zain storm 1000");
    let mut port = Port::open(&link);
    port.expect("AT", &["AT", "OK"]);
    simulation.stop();
}

#[test]
fn two_modems_write_to_each_other() {
    let numbers = ["--number", "+254700000101", "--number", "+254700000102"];
    let mut simulation = Simulation::start(&["zain", "mtn"], &numbers);
    let mut zain = Port::open(&simulation.path("zain"));
    let mut mtn = Port::open(&simulation.path("mtn"));
    mtn.expect("ATE0", &["ATE0", "OK"]);
    mtn.expect("AT+CNMI=2,1", &["OK"]);
    let encoded = rapidsms(simulation.place(), &["pdu", "encode", "--to", "+254700000102", "Over here"]);
    let pdu = encoded.exits(0).out.trim().to_string();
    zain.expect("ATE0", &["ATE0", "OK"]);
    zain.write(&format!("AT+CMGS={}\r{pdu}\x1A", pdu.len() / 2 - 1));
    assert_eq!(mtn.line(), "+CMTI: \"SM\",1");
    let injected = simulation.ledger("injected");
    assert_eq!((&injected[0]["modem"], &injected[0]["text"]), (&"mtn".into(), &"Over here".into()));
    assert_eq!(injected[0]["from"], "+254700000101");
    // Orders for all, and for none.
    simulation.order("all < +254700000001 hello");
    assert_eq!(simulation.ledger("injected").len(), 3);
    assert!(simulation.ask("airtel < +1 x").starts_with("error: no modem is called \"airtel\""));
    assert!(simulation.ask("zain juggle").starts_with("error: \"juggle\" is no order"));
    simulation.stop();
}

/// What a test needs that ends the other side at a certain moment.
#[test]
fn a_program_can_wait_for_an_event() {
    let mut simulation = Simulation::start(&["zain"], &["--commands", "--latency", "50"]);
    let mut port = Port::open(&simulation.path("zain"));
    simulation.order("zain < +254700000001 hello");
    simulation.order("await zain stored");
    port.write("AT+CMGD=1\r");
    simulation.order("await zain command");
    // Known, and not yet done.
    assert_eq!(simulation.ledger("command")[0]["line"], "+CMGD=1");
    simulation.order("await zain deleted");
    assert_eq!(simulation.ledger("deleted").len(), 1);
    assert!(simulation.ask("await zain").starts_with("error: await takes"));
    simulation.stop();
}

#[test]
fn orders_of_a_file_and_of_a_pipe() {
    let place = folder("");
    write(
        place.path(),
        "orders",
        "# in the morning\nzain < +254700000001 one\nwait 1ms\nzain < +254700000001 two\n",
    );
    let input = b"zain < +254700000001 three\nnonsense\nwait 20ms\nquit\n";
    let arguments = ["simulate", "modem", "--link", "zain", "--script", "orders", "--ledger", "ledger"];
    let ran = crate::daemon::rapidsms_with(place.path(), &arguments, input).exits(0);
    assert!(ran.err.contains("error: what shall nonsense do?"), "{}", ran.err);
    let ledger = fs::read_to_string(place.path().join("ledger")).expect("the ledger");
    for text in ["one", "two", "three"] {
        assert!(ledger.contains(&format!("\"text\":\"{text}\"")), "{text}: {ledger}");
    }
}

#[test]
fn what_cannot_be_is_said() {
    let place = folder("");
    write(place.path(), "file", "mine");
    let refused = |arguments: &[&str], word: &str, code: i32| {
        let ran = rapidsms(place.path(), &[&["simulate", "modem"], arguments].concat()).exits(code);
        assert!(ran.err.contains(word), "{}", ran.err);
    };
    refused(&["--link", "file"], "file is there already", 1);
    refused(&["--link", "a/zain", "--link", "b/zain"], "two modems are called zain", 1);
    refused(&["--link", "nowhere/zain"], "no link can be made", 1);
    refused(&["--link", "all"], "gives a modem no name", 2);
    refused(&["--personality", "nokia"], "invalid value", 2);
    refused(&["--ledger", "nowhere/ledger"], "the ledger", 1);
    refused(&["--script", "nowhere"], "cannot be read", 1);
    assert_eq!(fs::read_to_string(place.path().join("file")).expect("the file"), "mine");
}

/// Runs a program of others; it must succeed.
fn run(command: &mut Command) -> String {
    let output =
        command.output().unwrap_or_else(|error| panic!("{command:?}: {error}; scripts/test installs it"));
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
    said
}

/// A program with an understanding of modems of its own takes the simulated one for a real one.
#[test]
fn gammu_reads_and_sends() {
    let mut simulation = Simulation::start(&["zain"], &[]);
    let settings =
        format!("[gammu]\ndevice = {}\nconnection = at115200\n", simulation.path("zain").display());
    write(simulation.place(), "gammurc", &settings);
    simulation.order("zain < +254700000001 Habari yako? 5 € { }");
    simulation.order("zain < Zain Прывітанне");
    let long = "0123456789".repeat(20);
    simulation.order(&format!("zain < +254700000001 {long}"));
    let gammu = |arguments: &[&str]| {
        let configuration = simulation.path("gammurc");
        run(Command::new("gammu").arg("-c").arg(configuration).args(arguments).env("LC_ALL", "C.UTF-8"))
    };
    let said = gammu(&["--getallsms"]);
    for words in
        ["+254700000001", "Habari yako? 5 € { }", "Zain", "Прывітанне", "4 SMS parts in 4 SMS sequences"]
    {
        assert!(said.contains(words), "{words}: {said}");
    }
    let said = gammu(&["--sendsms", "TEXT", "+15550100001", "-report", "-text", "Jambo €"]);
    assert!(said.contains("message reference=0"), "{said}");
    let sent = simulation.ledger("sent");
    assert_eq!((&sent[0]["text"], &sent[0]["to"]), (&"Jambo €".into(), &"+15550100001".into()));
    assert_eq!(simulation.ledger("read").len(), 4);
    simulation.stop();
}

#[test]
fn smstools_receives_deletes_and_sends() {
    let mut simulation = Simulation::start(&["zain"], &[]);
    let place = simulation.place().to_path_buf();
    for folder in ["outgoing", "checked", "incoming", "sent", "failed"] {
        fs::create_dir(place.join(folder)).expect("a folder");
    }
    let path = |name: &str| place.join(name).display().to_string();
    let mut settings = String::from("devices = GSM1\ndelaytime = 1\nloglevel = 7\n");
    for name in ["outgoing", "checked", "incoming", "sent", "failed", "logfile", "infofile", "pidfile"] {
        settings += &format!("{name} = {}\n", path(name));
    }
    settings += &format!("[GSM1]\ndevice = {}\nincoming = yes\nbaudrate = 115200\n", path("zain"));
    write(&place, "smsd.conf", &settings);
    write(&place, "outgoing/first", "To: 15550100001\n\nFrom smstools");
    simulation.order("zain < +254700000001 To smstools");
    let mut command = Command::new("smsd");
    command.arg("-t").arg(format!("-c{}", path("smsd.conf"))).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child =
        command.spawn().unwrap_or_else(|error| panic!("smsd: {error}; scripts/test installs smstools"));
    assert_eq!(simulation.next_shown(), "zain > +15550100001 From smstools");
    simulation.order("await zain deleted");
    kill_process(Pid::from_child(&child), Signal::TERM).expect("it is there");
    child.wait().expect("it ends");
    let received = fs::read_dir(place.join("incoming")).expect("the folder").filter_map(Result::ok);
    let texts: Vec<String> = received.filter_map(|entry| fs::read_to_string(entry.path()).ok()).collect();
    assert!(
        texts.iter().any(|text| text.contains("From: 254700000001") && text.ends_with("To smstools")),
        "{texts:?}"
    );
    simulation.stop();
}
