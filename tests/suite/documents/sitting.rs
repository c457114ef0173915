//! One person, one document, one terminal: the commands of a document are typed in their order, in a folder that has
//! what a fresh copy of the repository has, and what they print is compared with what the document shows.
//!
//! In what is shown, `...` stands for anything, and ids, times and the width of gaps may differ. Where nothing is shown, nothing is
//! compared. Addresses are those of the documents and are replaced by free ones. Commands that only read are asked again until they show what is
//! expected, for an answer may still be on its way.

use super::markdown::{Block, root};
use regex::Regex;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// The address of the web listener in every document and sample.
const WEB: &str = "127.0.0.1:8000";
/// UDP ports in the documents.
const PORTS: [&str; 2] = ["9001", "9002"];
/// How long something may take that is asked again and again.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Sitting {
    folder: TempDir,
    /// The running router and where it listens.
    router: Option<(Child, String)>,
    ports: [u16; PORTS.len()],
}

impl Sitting {
    pub fn begin() -> Sitting {
        let folder = TempDir::new().expect("a folder");
        let sockets = PORTS.map(|_| UdpSocket::bind("127.0.0.1:0").expect("a port"));
        let ports = sockets.map(|socket| socket.local_addr().expect("its address").port());
        let sitting = Sitting { folder, router: None, ports };
        fs::create_dir(sitting.folder.path().join("examples")).expect("a folder");
        for file in ["settings.toml", "examples/own_program.toml"] {
            let text = fs::read_to_string(root().join(file)).expect(file);
            let text = sitting.with_ports(&text.replace(WEB, "127.0.0.1:0"));
            fs::write(sitting.folder.path().join(file), text).expect(file);
        }
        fs::write(sitting.folder.path().join(".curlrc"), "silent\nshow-error\n").expect(".curlrc");
        sitting
    }

    /// Runs one block; `Err` tells what happened instead.
    pub fn run(&mut self, block: &Block) -> Result<(), String> {
        if block.language == "sh" {
            return self.enter(&format!("set -e\n{}", block.text), "");
        }
        let mut commands: Vec<(String, String)> = Vec::new();
        for line in block.text.lines() {
            match (line.strip_prefix("$ "), commands.last_mut()) {
                (Some(command), _) => commands.push((command.to_string(), String::new())),
                (None, Some((_, shown))) => *shown += &format!("{line}\n"),
                (None, None) => return Err("the block does not begin with a \"$ \" line".into()),
            }
        }
        commands.iter().try_for_each(|(command, shown)| self.enter(command, shown))
    }

    /// Ends the sitting as Ctrl-C would; the router must end in good order.
    pub fn end(mut self) -> Result<(), String> {
        self.stop()
    }

    fn enter(&mut self, command: &str, shown: &str) -> Result<(), String> {
        let command = command.replace("cargo run --release -- ", "rapidsms ");
        if let Some(arguments) = command.strip_prefix("cargo run --example own_program -- ") {
            return self.start(&example("own_program")?, arguments, shown);
        }
        if let Some(arguments) =
            command.strip_prefix("rapidsms ").filter(|rest| rest.starts_with("run_router"))
        {
            return self.start(Path::new(env!("CARGO_BIN_EXE_rapidsms")), arguments, shown);
        }
        let (command, shown) = (self.with_addresses(&command), self.with_addresses(shown));
        let begun = Instant::now();
        loop {
            let problem = match self.ask(&command)? {
                (true, said) if shown.is_empty() || is_like(&said, &shown) => return Ok(()),
                (true, said) => format!("$ {command}\nthe document shows:\n{shown}\nit said:\n{said}"),
                (false, said) => format!("$ {command}\nfailed; it said:\n{said}"),
            };
            if !only_reads(&command) || begun.elapsed() > PATIENCE {
                return Err(problem);
            }
        }
    }

    /// Runs a command to its end. Returns whether it succeeded and all that it printed.
    fn ask(&self, command: &str) -> Result<(bool, String), String> {
        let output = self
            .program(Path::new("timeout"))
            .args(["60", "bash", "-c", &format!("exec 2>&1\n{command}")])
            .output()
            .map_err(|error| format!("$ {command}\n{error}"))?;
        Ok((output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Starts a router and waits until it says that it runs.
    fn start(&mut self, program: &Path, arguments: &str, shown: &str) -> Result<(), String> {
        self.stop()?;
        let mut command = self.program(program);
        command.args(arguments.split_whitespace()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(|error| format!("{}: {error}", program.display()))?;
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let (mut said, mut address) = (String::new(), String::new());
        for line in lines.by_ref().map_while(Result::ok) {
            said += &format!("{line}\n");
            if let Some(rest) = line.strip_prefix("Message Tester: http://") {
                address = rest.trim_end_matches("/httptester/").to_string();
            }
            if line.starts_with("The router runs") {
                break;
            }
        }
        // Whatever it says later must not stop it by a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        self.router = Some((child, address));
        let shown = self.with_addresses(shown);
        if is_like(&said, &shown) {
            return Ok(());
        }
        Err(format!("$ rapidsms {arguments}\nthe document shows:\n{shown}\nit said:\n{said}"))
    }

    fn stop(&mut self) -> Result<(), String> {
        let Some((mut child, _)) = self.router.take() else { return Ok(()) };
        let id = i32::try_from(child.id()).ok().and_then(rustix::process::Pid::from_raw);
        let id = id.ok_or("the router has no process id")?;
        rustix::process::kill_process(id, rustix::process::Signal::TERM)
            .map_err(|error| error.to_string())?;
        let status = child.wait().map_err(|error| error.to_string())?;
        if status.success() { Ok(()) } else { Err(format!("the router did not stop cleanly: {status}")) }
    }

    fn program(&self, program: &Path) -> Command {
        let built = Path::new(env!("CARGO_BIN_EXE_rapidsms")).parent().expect("its folder");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path =
            std::env::join_paths([built.to_path_buf()].into_iter().chain(std::env::split_paths(&path)));
        let mut command = Command::new(program);
        command.current_dir(self.folder.path()).env("HOME", self.folder.path()).env("NO_COLOR", "1");
        command.env("PATH", path.expect("a path")).env_remove("RUST_LOG").env_remove("RAPIDSMS_SETTINGS");
        command.stdin(Stdio::null());
        command
    }

    fn with_addresses(&self, text: &str) -> String {
        let address = self.router.as_ref().map_or(WEB, |(_, address)| address.as_str());
        self.with_ports(&text.replace(WEB, address))
    }

    fn with_ports(&self, text: &str) -> String {
        let mut text = text.to_string();
        for (port, free) in PORTS.iter().zip(self.ports) {
            for before in ["127.0.0.1:", "127.0.0.1/"] {
                text = text.replace(&format!("{before}{port}"), &format!("{before}{free}"));
            }
        }
        text
    }
}

impl Drop for Sitting {
    /// A test that failed leaves no router behind.
    fn drop(&mut self) {
        if let Some((child, _)) = &mut self.router {
            drop(child.kill());
            drop(child.wait());
        }
    }
}

/// Whether a command changes nothing, so that asking again is harmless.
fn only_reads(command: &str) -> bool {
    let words = |words: &[&str]| words.iter().any(|word| command.starts_with(word));
    (command.starts_with("curl ") && !command.contains(" -d "))
        || words(&["rapidsms messages", "rapidsms status", "rapidsms backends"])
}

/// Whether `said` is what is `shown`, where `...` stands for anything.
fn is_like(said: &str, shown: &str) -> bool {
    let (said, shown) = (without_what_differs(said), without_what_differs(shown));
    let pieces: Vec<&str> = shown.split("...").map(str::trim).collect();
    let (Some(first), Some(last)) = (pieces.first(), pieces.last()) else { return true };
    let said = said.trim();
    if pieces.len() == 1 {
        return said == *first;
    }
    let Some(mut rest) = said.strip_prefix(first) else { return false };
    for piece in &pieces[1..pieces.len() - 1] {
        match rest.find(piece) {
            Some(place) => rest = &rest[place + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Replaces what is another each time: ids (also shortened ones), times, and the width of gaps.
fn without_what_differs(text: &str) -> String {
    let patterns = [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}(-[0-9a-f]{4}-[0-9a-f]{12})?", "ID"),
        (r"(\d{4}-)?\d\d-\d\d[ T]\d\d:\d\d:\d\d(\.\d+)?(Z| [+-]\d\d:\d\d)?", "TIME"),
        (r" +", " "),
    ];
    patterns.iter().fold(text.to_string(), |text, (pattern, with)| {
        Regex::new(pattern).expect("a pattern").replace_all(&text, *with).into_owned()
    })
}

/// Builds an example, if that has not been done, and tells where it is.
fn example(name: &str) -> Result<PathBuf, String> {
    let test = std::env::current_exe().map_err(|error| error.to_string())?;
    let profile = test.parent().and_then(Path::parent).ok_or("the test has no folder")?;
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--offline", "--locked", "--example", name]).current_dir(root());
    if profile.file_name().is_some_and(|folder| folder == "release") {
        cargo.arg("--release");
    }
    let output = cargo.output().map_err(|error| format!("cargo: {error}"))?;
    if !output.status.success() {
        return Err(format!("the example was not built: {}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok(profile.join("examples").join(name))
}

#[test]
fn what_is_shown_may_leave_things_out() {
    for (said, shown, like) in [
        ("OK\n", "OK\n", true),
        ("OK 1\n", "OK\n", false),
        ("OK 1\n", "OK ...\n", true),
        ("log\nMessage Tester: x\nmore\n", "...\nMessage Tester: x\n...\n", true),
        ("Message Tester: x\n", "...\nMessage Tester: x\n...", true),
        ("{\"a\":1,\"b\":2}", "{...\"b\":2}", true),
        ("{\"a\":1,\"b\":2}", "{...\"a\":2}", false),
        ("ab", "ab...ab", false),
        ("01a202ae-9391-7000  11-22 09:55:25  out\n", "01a202ae-1111-7001  12-31 00:00:00 out\n", true),
        ("01a202ae-9391-7000  11-22 09:55:25  out\n", "01a202ae-9391-7000  11-22 09:55:25  in\n", false),
    ] {
        assert_eq!(is_like(said, shown), like, "{said:?} {shown:?}");
    }
}
