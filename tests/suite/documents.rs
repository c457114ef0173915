//! The documents tell the truth: their commands run, their settings load, their code compiles, their links lead somewhere.

mod markdown;
mod sitting;

#[path = "../../examples/own_program.rs"]
#[allow(dead_code)] // Its `main` is called by nobody here.
mod own_program;

use markdown::{documents, root};
use rapidsms::registry::Registry;
use rapidsms::settings::{self, Surroundings};
use rapidsms::shell::{Daemon, Ending};
use sitting::Sitting;
use std::collections::BTreeSet;
use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::{Duration, Instant};

/// What a fence may say. A fence without a word would be taken for Rust by rustdoc.
const LANGUAGES: [&str; 7] = ["console", "sh", "toml", "rust", "rust,no_run", "rust,ignore", "text"];

#[test]
fn every_command_in_the_documents_runs() {
    let mut problems = Vec::new();
    for document in documents() {
        let mut sitting = None;
        for block in document.blocks() {
            let place = format!("{}:{}", document.path, block.line);
            match &block.not_run {
                _ if !["console", "sh"].contains(&block.language.as_str()) => {}
                Some(reason) => {
                    println!("not run: {place}: {reason}");
                    assert!(reason.split_whitespace().count() >= 3, "{place}: say why it is not run");
                }
                None => {
                    let result = sitting.get_or_insert_with(Sitting::begin).run(&block);
                    problems.extend(result.err().map(|problem| format!("{place}: {problem}")));
                }
            }
        }
        let ended = sitting.map_or(Ok(()), Sitting::end);
        problems.extend(ended.err().map(|problem| format!("{}: {problem}", document.path)));
    }
    assert!(problems.is_empty(), "{}", problems.join("\n\n"));
}

#[test]
fn every_settings_block_loads() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("secrets")).unwrap();
    fs::write(folder.path().join("secrets/token"), "0123456789abcdef0123456789abcdef\n").unwrap();
    fs::set_permissions(folder.path().join("secrets/token"), fs::Permissions::from_mode(0o600)).unwrap();
    let catalogue = own_program::registry().catalogue();
    let surroundings =
        Surroundings { variable: &|_| Some("0123456789abcdef".into()), readable_by_others: false };
    let mut blocks = 0;
    for document in documents() {
        for block in document.blocks().iter().filter(|block| block.language == "toml") {
            let place = format!("{}:{}", document.path, block.line);
            let file = folder.path().join("settings.toml");
            match settings::parse(whole(&block.text).as_bytes(), &file, &catalogue, &surroundings) {
                Ok(loaded) => assert!(loaded.warnings.is_empty(), "{place}: {:?}", loaded.warnings),
                Err(error) => panic!("{place}: {error}"),
            }
            blocks += 1;
        }
    }
    assert!(blocks >= 4, "only {blocks} blocks of settings were found");
}

/// Settings that a block is a part of: what it leaves out is there, so that no warning is about the rest.
fn whole(block: &str) -> String {
    let mut whole = block.to_string();
    if !block.contains("INSTALLED_APPS") {
        whole.insert_str(0, "INSTALLED_APPS = [\"echo\"]\n");
    }
    if !block.contains("INSTALLED_BACKENDS") {
        whole.push_str("\n[INSTALLED_BACKENDS.message_tester]\nENGINE = \"bucket\"\n");
    }
    whole
}

#[test]
fn every_block_says_what_it_is_and_rust_is_compiled() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let examples: Vec<String> = fs::read_dir(root().join("examples"))
        .unwrap()
        .map(|entry| fs::read_to_string(entry.unwrap().path()).unwrap())
        .collect();
    for document in documents() {
        for block in document.blocks() {
            let place = format!("{}:{}", document.path, block.line);
            assert!(LANGUAGES.contains(&block.language.as_str()), "{place}: a block of {:?}", block.language);
            if block.language == "rust,ignore" {
                let quoted = examples.iter().any(|example| example.contains(&block.text));
                assert!(quoted, "{place}: these lines stand in no file of examples/:\n{}", block.text);
            } else if block.language.starts_with("rust") {
                let included = format!("include_str!(\"../{}\")", document.path);
                assert!(library.contains(&included), "{place}: src/lib.rs has no {included}");
            }
        }
    }
}

#[test]
fn every_link_leads_to_a_file() {
    for document in documents() {
        for target in document.links() {
            assert!(!target.contains("://"), "{}: a link out of the repository: {target}", document.path);
            let path = target.split('#').next().unwrap_or_default();
            let file = root().join(&document.path).parent().unwrap().join(path);
            assert!(file.exists(), "{}: there is no {target}", document.path);
        }
    }
}

#[test]
fn every_engine_and_app_is_documented() {
    let registry = Registry::standard();
    let readme = fs::read_to_string(root().join("README.md")).unwrap();
    let manual = fs::read_to_string(root().join("settings.toml")).unwrap();
    let engines = registry.engines.iter().map(|engine| engine.spec.name);
    for name in engines.chain(registry.apps.iter().map(|app| app.spec.name)) {
        assert!(readme.contains(&format!("\n| `{name}` |")), "README.md has no row for {name}");
        assert!(manual.contains(name), "settings.toml does not speak of {name}");
    }
}

#[test]
fn the_architecture_names_every_room_and_no_other() {
    let text = fs::read_to_string(root().join("ARCHITECTURE.md")).unwrap();
    let named: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `src/")?.split_once('`'))
        .map(|(room, _)| room.trim_end_matches('/').to_string())
        .collect();
    let rooms: BTreeSet<String> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_str().unwrap().to_string())
        .filter(|name| name != "lib.rs")
        .collect();
    assert_eq!(named, rooms, "the table \"The rooms\" of ARCHITECTURE.md and the folder src/");
}

#[test]
fn the_unit_for_systemd_is_tight() {
    let path = root().join("scripts/rapidsms.service");
    let unit = fs::read_to_string(&path).unwrap();
    for line in [
        "Type=notify",
        "WatchdogSec=30",
        "Restart=always",
        "StartLimitIntervalSec=0",
        "NoNewPrivileges=yes",
        "ProtectSystem=strict",
        "StateDirectory=rapidsms",
        "CapabilityBoundingSet=",
        "MemoryDenyWriteExecute=yes",
        "SystemCallFilter=@system-service",
        "UMask=0077",
    ] {
        assert!(unit.lines().any(|have| have == line), "the unit has no line {line}");
    }
    // Where systemd is at hand, it scores the unit: 0 is tight, 10 is open. `--threshold` is in tenths.
    let mut score = Command::new("systemd-analyze");
    score.args(["security", "--offline=true", "--threshold=20"]).arg(&path);
    match score.output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => println!("not scored: systemd-analyze: {error}"),
    }
}

#[test]
fn the_scripts_can_be_run() {
    for script in ["scripts/test", "scripts/bench", ".ci/run"] {
        let mode = fs::metadata(root().join(script)).expect(script).permissions().mode();
        assert_eq!(mode & 0o111, 0o111, "{script} is not executable");
    }
    let ci = fs::read_to_string(root().join(".ci/run")).unwrap();
    assert!(ci.contains("scripts/test"), ".ci/run does not call scripts/test");
}

/// The tutorial's engine, from the gateway's side: acknowledged when on disk, handled once, answered.
#[test]
fn the_example_program_talks_to_its_gateway() {
    let folder = tempfile::tempdir().unwrap();
    let gateway = UdpSocket::bind("127.0.0.1:0").unwrap();
    gateway.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let listen = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = fs::read_to_string(root().join("examples/own_program.toml"))
        .unwrap()
        .replace("127.0.0.1:8000", "127.0.0.1:0")
        .replace("127.0.0.1:9001", &listen.to_string())
        .replace("127.0.0.1:9002", &gateway.local_addr().unwrap().to_string());
    let file = folder.path().join("settings.toml");
    fs::write(&file, text).unwrap();
    let registry = own_program::registry();
    let loaded = settings::load(&file, &registry.catalogue()).unwrap();
    let daemon = Daemon::start(loaded.settings, registry).unwrap();

    let first = offer(listen, "k1 1112223333 stock 12");
    let again = offer(listen, "k1 1112223333 stock 12");
    assert!(first.starts_with("OK ") && again.starts_with("OK ") && first != again, "{first} {again}");
    assert_eq!(offer(listen, "k2"), "NO write KEY IDENTITY TEXT\n");

    let mut datagram = [0; 1_000];
    let (length, engine) = gateway.recv_from(&mut datagram).unwrap();
    let answer = std::str::from_utf8(&datagram[..length]).unwrap();
    assert!(answer.ends_with(" 1112223333 Thank you: 12 boxes noted."), "{answer}");
    gateway.send_to(b"OK their-name", engine).unwrap();
    daemon.stop();
    assert_eq!(daemon.wait(), Ending::Stopped);
}

/// Offers a message as a gateway does: again, until somebody listens.
fn offer(to: std::net::SocketAddr, datagram: &str) -> String {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.connect(to).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let begun = Instant::now();
    let mut answer = [0; 1_000];
    loop {
        match socket.send(datagram.as_bytes()).and_then(|_| socket.recv(&mut answer)) {
            Ok(length) => return String::from_utf8_lossy(&answer[..length]).into_owned(),
            Err(error) if begun.elapsed() > Duration::from_secs(20) => panic!("nobody answers: {error}"),
            Err(_) => std::thread::yield_now(),
        }
    }
}
