//! Who serves the modems: this daemon, and the programs that Debian's users would run instead, each set up as its manual begins and with an automatic
//! answer to every message. The files beside this one are their settings; `{word}` in them is filled in.

use crate::common::processes;
use crate::common::simulator::Modem;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

pub trait Peer {
    fn name(&self) -> &'static str;
    /// The programs it needs.
    fn programs(&self) -> &'static [&'static str];
    /// The longest time for which it looks away.
    fn interval(&self) -> Duration;
    /// Writes its settings, and says what is to be started.
    fn commands(&self, place: &Place) -> Vec<Command>;
    /// The port at which the first of these must listen before the others can be started.
    fn first_listens(&self, _: &Place) -> Option<u16> {
        None
    }
    /// Queues a message for the first modem.
    fn queue(&self, place: &Place, number: &str, text: &str);
}

pub fn all() -> Vec<Box<dyn Peer>> {
    vec![
        Box::new(Rapidsms),
        Box::new(Gammu { shortest: true }),
        Box::new(Gammu { shortest: false }),
        Box::new(Smstools { shortest: true }),
        Box::new(Smstools { shortest: false }),
        Box::new(Kannel),
    ]
}

/// Where a peer works: its folder, its modems, and ports of this machine that nobody else has.
pub struct Place<'a> {
    pub folder: &'a Path,
    pub modems: &'a [Modem],
    pub ports: [u16; 3],
}

impl Place<'_> {
    /// Settings with everything filled in; what is below the mark once for each modem.
    fn filled(&self, template: &str, each: &[Modem]) -> String {
        let (head, tail) = template.split_once("# Each modem:\n").unwrap_or((template, ""));
        let names: Vec<&str> = self.modems.iter().map(|modem| modem.name.as_str()).collect();
        let mut text = head.replace("{modems}", &names.join(","));
        for modem in each {
            text.push_str(&tail.replace("{modem}", &modem.name).replace("{port}", &text_of(&modem.port)));
        }
        for (number, port) in self.ports.iter().enumerate() {
            text = text.replace(&format!("{{port{}}}", number + 1), &port.to_string());
        }
        text.replace("{folder}", &text_of(self.folder))
    }

    fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.folder.join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("a folder for settings");
        fs::write(&path, text).expect("settings");
        path
    }

    fn write_script(&self, path: &str, text: &str) {
        let path = self.write(path, text);
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("a script");
    }
}

/// A peer's processes, ended with it.
pub struct Running {
    children: Vec<Child>,
}

impl Running {
    /// Starts a peer; with a file for them, each call that makes a disk keep something is noted there.
    pub fn start(peer: &dyn Peer, place: &Place, syncs: Option<&Path>) -> Running {
        let mut running = Running { children: Vec::new() };
        for command in peer.commands(place) {
            let mut command = match syncs {
                Some(notes) => noted(&command, notes),
                None => command,
            };
            let quiet = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
            let mut child = quiet.spawn().unwrap_or_else(|error| panic!("{}: {error}", peer.name()));
            let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines();
            running.children.push(child);
            if let Some(port) = peer.first_listens(place) {
                wait_for(port);
            }
            // Whatever it says must not fill the pipe.
            std::thread::spawn(move || while let Some(Ok(_)) = lines.next() {});
        }
        running
    }

    pub fn roots(&self) -> Vec<u32> {
        self.children.iter().map(Child::id).collect()
    }

    pub fn lives(&mut self) -> bool {
        self.children.iter_mut().all(|child| matches!(child.try_wait(), Ok(None)))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // All that it started goes with it: what has lost its parent could not be found any more.
        end(processes::tree(&self.roots()).into_iter());
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

/// Ends these processes, each by its id.
pub fn end(pids: impl Iterator<Item = u32>) {
    for pid in pids.filter_map(|pid| i32::try_from(pid).ok()).filter_map(rustix::process::Pid::from_raw) {
        // It may have ended by itself.
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Nothing tells when another program listens, so it is asked until it answers.
fn wait_for(port: u16) {
    let until = Instant::now() + Duration::from_secs(10);
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nobody listens at port {port}");
        std::thread::park_timeout(Duration::from_millis(20));
    }
}

/// The same command under strace, which notes when it asks a disk to keep something.
fn noted(command: &Command, notes: &Path) -> Command {
    let mut strace = Command::new("strace");
    strace.args([
        "-f",
        "-qq",
        "-ttt",
        "--seccomp-bpf",
        "-e",
        "trace=fsync,fdatasync,msync,sync,syncfs",
        "-T",
        "-o",
    ]);
    strace.arg(notes).arg("--").arg(command.get_program()).args(command.get_args());
    strace
}

struct Rapidsms;

impl Peer for Rapidsms {
    fn name(&self) -> &'static str {
        "rapidsms"
    }

    fn programs(&self) -> &'static [&'static str] {
        &[]
    }

    fn interval(&self) -> Duration {
        Duration::from_millis(30)
    }

    fn commands(&self, place: &Place) -> Vec<Command> {
        let settings = place.write("settings", &place.filled(include_str!("rapidsms.toml"), place.modems));
        let mut command = Command::new(env!("CARGO_BIN_EXE_rapidsms"));
        command.args(["run_router", "--settings"]).arg(settings);
        vec![command]
    }

    fn queue(&self, place: &Place, number: &str, text: &str) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_rapidsms"));
        command.args(["send", "--settings"]).arg(place.folder.join("settings"));
        done(command.args([&place.modems[0].name, number, text]));
    }
}

struct Gammu {
    shortest: bool,
}

impl Peer for Gammu {
    fn name(&self) -> &'static str {
        if self.shortest { "gammu-smsd, no pauses" } else { "gammu-smsd, defaults" }
    }

    fn programs(&self) -> &'static [&'static str] {
        &["gammu-smsd", "gammu-smsd-inject"]
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(if self.shortest { 1 } else { 30 })
    }

    fn commands(&self, place: &Place) -> Vec<Command> {
        let commands = place.modems.iter().map(|modem| {
            let fill = |template: &str| {
                // It knows one modem only, so its whole file is below the mark.
                place.filled(&format!("# Each modem:\n{template}"), std::slice::from_ref(modem))
            };
            let folder = &modem.name;
            for queue in ["inbox", "outbox", "sent", "error"] {
                fs::create_dir_all(place.folder.join("gammu").join(folder).join(queue)).expect("its folders");
            }
            let intervals = if self.shortest { include_str!("gammu-smsd-shortest") } else { "" };
            let settings = fill(include_str!("gammu-smsd")) + intervals;
            let settings = place.write(&format!("gammu/{folder}/settings"), &settings);
            place.write_script(&format!("gammu/{folder}/answer"), &fill(include_str!("gammu-smsd-answer")));
            let mut command = Command::new("gammu-smsd");
            command.arg("-c").arg(settings);
            command
        });
        commands.collect()
    }

    fn queue(&self, place: &Place, number: &str, text: &str) {
        let settings = place.folder.join("gammu").join(&place.modems[0].name).join("settings");
        let mut command = Command::new("gammu-smsd-inject");
        done(command.arg("-c").arg(settings).args(["TEXT", number, "-text", text]));
    }
}

struct Smstools {
    shortest: bool,
}

impl Peer for Smstools {
    fn name(&self) -> &'static str {
        if self.shortest { "smstools, no pauses" } else { "smstools, defaults" }
    }

    fn programs(&self) -> &'static [&'static str] {
        &["smsd"]
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(if self.shortest { 1 } else { 10 })
    }

    fn commands(&self, place: &Place) -> Vec<Command> {
        for queue in ["outgoing", "checked", "failed", "incoming", "sent"] {
            fs::create_dir_all(place.folder.join(queue)).expect("its folders");
        }
        let (of_all, of_each) = match self.shortest {
            true => (include_str!("smstools-shortest"), include_str!("smstools-modem-shortest")),
            false => ("", ""),
        };
        let settings = include_str!("smstools").replace("{intervals}", of_all);
        let settings = settings.replace("{intervals of each}", of_each);
        let settings = place.write("settings", &place.filled(&settings, place.modems));
        place.write_script("answer", &place.filled(include_str!("smstools-answer"), &[]));
        let mut command = Command::new("smsd");
        // In the foreground, so that it is ours to end. The option and its value are one argument here.
        command.arg("-t").arg(format!("-c{}", text_of(&settings)));
        vec![command]
    }

    fn queue(&self, place: &Place, number: &str, text: &str) {
        let digits = number.trim_start_matches('+');
        let made = place.write(&format!("queued.{digits}"), &format!("To: {digits}\n\n{text}\n"));
        fs::rename(made, place.folder.join("outgoing").join(digits)).expect("its queue");
    }
}

struct Kannel;

impl Peer for Kannel {
    fn name(&self) -> &'static str {
        "Kannel"
    }

    fn programs(&self) -> &'static [&'static str] {
        &["bearerbox", "smsbox"]
    }

    fn interval(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn commands(&self, place: &Place) -> Vec<Command> {
        fs::create_dir_all(place.folder.join("kannel.store")).expect("its folder");
        let settings = place.write("settings", &place.filled(include_str!("kannel"), place.modems));
        let commands = ["bearerbox", "smsbox"].map(|program| {
            let mut command = Command::new(program);
            command.arg(&settings);
            command
        });
        commands.into()
    }

    fn first_listens(&self, place: &Place) -> Option<u16> {
        Some(place.ports[1])
    }

    fn queue(&self, place: &Place, number: &str, text: &str) {
        let mut form = form_urlencoded::Serializer::new(String::new());
        form.extend_pairs([("username", "bench"), ("password", "bench"), ("to", number), ("text", text)]);
        let path = format!("/cgi-bin/sendsms?{}", form.finish());
        let mut connection = TcpStream::connect(("127.0.0.1", place.ports[2])).expect("smsbox listens");
        write!(connection, "GET {path} HTTP/1.0\r\nHost: 127.0.0.1\r\n\r\n").expect("a request");
        let mut answer = String::new();
        connection.read_to_string(&mut answer).expect("an answer");
        assert!(answer.contains(" 202 "), "smsbox answered {answer:?}");
    }
}

/// Ports of this machine that nobody has at present.
pub fn free_ports() -> [u16; 3] {
    let free = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").expect("a free port"));
    free.each_ref().map(|it| it.local_addr().expect("its address").port())
}

/// Whether a program is on the search path.
pub fn is_installed(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

fn done(command: &mut Command) {
    let output = command.output().expect("it starts");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn text_of(path: &Path) -> String {
    path.to_str().expect("temporary folders have plain names").to_string()
}
