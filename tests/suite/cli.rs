//! The command line, end to end: the real program, asked as a person or a script would. Most of it are transcripts in tests/cli/.

mod process;
mod transcript;

use super::daemon::{Daemon, ECHO, PATIENCE, folder, program, rapidsms, rapidsms_with, write};
use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;

macro_rules! transcripts {
    ($($name:ident),* $(,)?) => {
        $(#[test] fn $name() { transcript::play(stringify!($name)); })*

        /// A transcript that nobody plays proves nothing.
        #[test]
        fn every_transcript_is_played() {
            let played = BTreeSet::from([$(concat!(stringify!($name), ".txt").to_string()),*]);
            let there = fs::read_dir("tests/cli").expect("the transcripts").filter_map(|entry| {
                let entry = entry.expect("a transcript");
                let name = entry.file_name().to_string_lossy().into_owned();
                name.ends_with(".txt").then_some(name)
            });
            assert_eq!(there.collect::<BTreeSet<_>>(), played);
        }
    };
}

transcripts!(apps, check, decide, json, keys, messages, scripts, send, status, terminal);

#[test]
fn the_first_answer() {
    let daemon = Daemon::start(ECHO);
    daemon.says("1112223333", "echo hello");
    let reply = daemon.answers("1112223333", "hello");
    assert_eq!(reply["backend"], "message_tester");
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
}

/// Every command explains itself, with examples; tests/cli/help/ holds the words.
#[test]
fn help_of_every_command() {
    let place = folder("");
    let overview = rapidsms(place.path(), &["--help"]).exits(0).out;
    let listed = overview.split("Commands:\n").nth(1).expect("a list of commands");
    let listed = listed.lines().take_while(|line| !line.is_empty());
    let mut commands: Vec<Vec<&str>> = vec![
        vec![],
        vec!["apps", "list"],
        vec!["apps", "try"],
        vec!["pdu", "decode"],
        vec!["pdu", "encode"],
        vec!["simulate", "modem"],
    ];
    commands
        .extend(listed.filter_map(|line| line.strip_prefix("  ")?.split(' ').next().map(|name| vec![name])));
    commands.retain(|command| command != &vec![""]);
    assert!(commands.len() > 14, "{commands:?}");
    let mut wrong = String::new();
    for command in commands {
        let help = rapidsms(place.path(), &[command.as_slice(), &["--help"]].concat()).exits(0).out;
        let name = if command.is_empty() { "rapidsms".to_string() } else { command.join(" ") };
        assert!(command.is_empty() || help.contains("Examples:\n"), "{name} shows no example");
        assert!(help.lines().all(|line| line.chars().count() <= 100), "{name} is too wide:\n{help}");
        let golden = Path::new("tests/cli/help").join(format!("{}.txt", name.replace(' ', "_")));
        if std::env::var_os("BLESS").is_some() {
            fs::write(&golden, &help).expect("the golden file can be written");
        }
        let expected = fs::read_to_string(&golden).unwrap_or_default();
        if help != expected {
            wrong += &format!("{name}\n--- expected\n{expected}\n--- found\n{help}\n");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

/// The examples in the help can be typed: each at least parses, and needs no option that is not there.
#[test]
fn examples_of_the_help_are_commands() {
    let place = folder(ECHO);
    write(place.path(), "empty", "");
    let mut tried = 0;
    for entry in fs::read_dir("tests/cli/help").expect("the help") {
        let help = fs::read_to_string(entry.expect("a help text").path()).expect("text");
        let Some(examples) = help.split("Examples:\n").nth(1) else { continue };
        for line in examples.lines().filter_map(|line| line.strip_prefix("  rapidsms ")) {
            let line = line.split(['|', '>']).next().unwrap_or_default();
            let line = line.split("   ").next().unwrap_or_default();
            // What runs for ever or writes elsewhere is not tried.
            if line.starts_with("run_router") || line.starts_with("simulate") || line.contains("--folder") {
                continue;
            }
            let words: Vec<String> = line
                .split('\'')
                .enumerate()
                .flat_map(|(index, piece)| match index % 2 {
                    1 => vec![piece.to_string()],
                    _ => piece.split_whitespace().map(str::to_string).collect(),
                })
                .collect();
            let ran = rapidsms(place.path(), &words);
            assert_ne!(ran.code, 2, "{line}\n{}", ran.err);
            tried += 1;
        }
    }
    assert!(tried >= 20, "{tried}");
}

#[test]
fn exit_codes() {
    let echo = folder(ECHO);
    let broken = folder("INSTALLED_APPS = 3\n");
    let no_store = folder(&format!("{ECHO}\n[database]\nurl = \"sqlite:gone/rapidsms.db\"\n"));
    let cases: [(&Path, &[&str], i32); 22] = [
        (echo.path(), &["version"], 0),
        (echo.path(), &["--version"], 0),
        (echo.path(), &["--help"], 0),
        (echo.path(), &["check"], 0),
        (echo.path(), &["check", "--names"], 0),
        (echo.path(), &["messages"], 0),
        (echo.path(), &["backends"], 0),
        (echo.path(), &["send", "nowhere", "1", "x"], 1),
        (echo.path(), &["test", "missing.txt"], 1),
        (echo.path(), &["apps", "try", "nobody", "x"], 1),
        (echo.path(), &[], 2),
        (echo.path(), &["sned"], 2),
        (echo.path(), &["send", "message_tester"], 2),
        (echo.path(), &["messages", "--limit", "0"], 2),
        (echo.path(), &["man", "nothing"], 2),
        (broken.path(), &["check"], 3),
        (broken.path(), &["messages"], 3),
        (broken.path(), &["run_router"], 3),
        (echo.path(), &["--settings", "gone.toml", "backends"], 3),
        (echo.path(), &["status"], 4),
        (no_store.path(), &["check"], 5),
        (no_store.path(), &["run_router"], 5),
    ];
    for (place, arguments, code) in cases {
        let ran = rapidsms(place, arguments);
        assert_eq!(ran.code, code, "{arguments:?}\nstdout:\n{}\nstderr:\n{}", ran.out, ran.err);
        assert!(
            code == 0 || !ran.err.is_empty() || !ran.out.is_empty(),
            "{arguments:?} fails without a word"
        );
    }
}

#[test]
fn settings_are_found_where_they_are_named() {
    let place = folder("INSTALLED_APPS = 3\n");
    write(place.path(), "good.toml", ECHO);
    rapidsms(place.path(), &["check"]).exits(3);
    rapidsms(place.path(), &["check", "--settings", "good.toml"]).exits(0);
    rapidsms(place.path(), &["--settings=good.toml", "check"]).exits(0);
    let by_variable = program(place.path()).arg("check").env("RAPIDSMS_SETTINGS", "good.toml").output();
    assert!(by_variable.expect("it runs").status.success());
    // Names, versions and pages need no settings at all.
    for arguments in [vec!["version"], vec!["check", "--names"], vec!["man"], vec!["completions", "bash"]] {
        rapidsms(place.path(), &arguments).exits(0);
    }
}

#[test]
fn arguments_that_are_not_utf8_are_refused_in_words() {
    let place = folder(ECHO);
    let odd = OsStr::from_bytes(b"caf\xe9");
    for at in 0..4 {
        let mut arguments: Vec<&OsStr> = ["send", "message_tester", "1", "x"].map(OsStr::new).to_vec();
        arguments[at] = odd;
        let ran = rapidsms(place.path(), &arguments).exits(2);
        assert!(ran.err.starts_with("error: "), "{}", ran.err);
        assert!(!ran.err.contains("panicked"), "{}", ran.err);
    }
    let ran = rapidsms_with(place.path(), &["send", "message_tester", "1", "-"], b"caf\xe9").exits(1);
    assert!(ran.err.contains("not UTF-8 (at octet 4)"), "{}", ran.err);
    // A path may be anything.
    rapidsms(place.path(), &[OsStr::new("check"), OsStr::new("--settings"), odd]).exits(3);
}

#[test]
fn a_reader_that_has_enough_is_no_error() {
    let place = folder(ECHO);
    for arguments in [vec!["completions", "zsh"], vec!["check", "--names"], vec!["man"]] {
        let mut command = program(place.path());
        let mut child = command
            .args(&arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program starts");
        drop(child.stdout.take());
        let mut err = String::new();
        child.stderr.take().expect("a pipe").read_to_string(&mut err).expect("text");
        assert!(child.wait().expect("it ends").success(), "{arguments:?}: {err}");
        assert_eq!(err, "", "{arguments:?}");
    }
    // A disk that is full is one.
    let full = fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let output = program(place.path()).arg("version").stdout(full).output().expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("error: standard output cannot be written"));
}

#[test]
fn a_text_that_is_too_long_is_refused_both_ways() {
    let daemon = Daemon::start(ECHO);
    let fits = "x".repeat(64 * 1024);
    let long = "x".repeat(64 * 1024 + 1);
    let send = ["send", "message_tester", "1", "-"];
    let refused = rapidsms_with(daemon.folder(), &send, long.as_bytes()).exits(1);
    assert!(refused.err.contains("65537 octets"), "{}", refused.err);
    // As much as without a router, and what JSON makes six octets of.
    rapidsms_with(daemon.folder(), &send, fits.as_bytes()).exits(0);
    rapidsms_with(daemon.folder(), &send, "\u{1}".repeat(64 * 1024).as_bytes()).exits(0);
    let ended = daemon.stop();
    assert_eq!(ended.code, 0);
    let refused = rapidsms_with(ended.folder.path(), &send, long.as_bytes()).exits(1);
    assert!(refused.err.contains("65537 octets"), "{}", refused.err);
    rapidsms_with(ended.folder.path(), &send, fits.as_bytes()).exits(0);
    rapidsms_with(ended.folder.path(), &send, format!("{fits}\n").as_bytes()).exits(0);
}

#[test]
fn a_foreign_lock_on_the_database_is_told_not_waited_for() {
    let place = folder(ECHO);
    rapidsms(place.path(), &["send", "message_tester", "1", "x"]).exits(0);
    let foreign = rusqlite::Connection::open(place.path().join("rapidsms.db")).expect("the store");
    foreign.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;").expect("the lock");
    let ran = rapidsms(place.path(), &["send", "message_tester", "1", "y"]).exits(5);
    assert!(ran.err.contains("locked by another program"), "{}", ran.err);
    foreign.execute_batch("ROLLBACK").expect("the lock ends");
    drop(foreign);
    rapidsms(place.path(), &["send", "message_tester", "1", "y"]).exits(0);
}

#[test]
fn a_second_router_refuses_to_start_and_names_the_first() {
    let daemon = Daemon::start(ECHO);
    let ran = daemon.rapidsms(&["run_router"]).exits(5);
    assert!(ran.err.contains(&format!("process {}", daemon.pid().as_raw_nonzero())), "{}", ran.err);
    assert!(ran.err.contains("nothing was started"), "{}", ran.err);
    // The first one did not suffer, nor did its socket.
    daemon.rapidsms(&["send", "message_tester", "1", "x"]).exits(0);
    daemon.answers("1", "x");
}

#[test]
fn somebody_who_may_not_read_the_store_is_told_who_may() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let ended = Daemon::start(ECHO).stop();
    let folder = ended.folder.path();
    let forbid = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let mut command = program(folder);
    command.arg("messages");
    if rustix::process::getuid().is_root() {
        // Nothing is forbidden to root, so somebody else asks.
        forbid(folder, 0o755);
        command.uid(65534).gid(65534);
    } else {
        forbid(&folder.join("rapidsms.db"), 0o000);
    }
    // A program below a folder that is root's alone cannot be run by anybody else.
    let Ok(output) = command.output() else { return };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("cannot be read: Permission denied"), "{said}");
    assert!(said.contains("the user that runs the router"), "{said}");
}

#[test]
fn a_frozen_router_is_waited_for_once() {
    let daemon = Daemon::start(ECHO);
    daemon.signal(rustix::process::Signal::STOP);
    let begun = std::time::Instant::now();
    let ran = daemon.rapidsms(&["status"]).exits(1);
    daemon.signal(rustix::process::Signal::CONT);
    assert!(ran.out.contains("runs but does not answer"), "{}", ran.out);
    assert!(!ran.out.contains("not running"), "nobody knows that: {}", ran.out);
    assert!(begun.elapsed().as_secs() < 18, "{:?}", begun.elapsed());
    assert_eq!(daemon.stop().code, 0);
}

#[test]
fn a_store_behind_a_symbolic_link_is_the_same_store() {
    let daemon = Daemon::start(ECHO);
    let elsewhere = folder(ECHO);
    std::os::unix::fs::symlink(daemon.database(), elsewhere.path().join("rapidsms.db")).unwrap();
    rapidsms(elsewhere.path(), &["status"]).exits(0);
    let sent = rapidsms(elsewhere.path(), &["send", "message_tester", "1", "by the link"]).exits(0);
    assert!(!sent.err.contains("no router is running"), "{}", sent.err);
    daemon.answers("1", "by the link");
}

#[test]
fn only_its_own_user_can_reach_the_store_and_the_socket() {
    use std::os::unix::fs::PermissionsExt;
    let daemon = Daemon::start(ECHO);
    daemon.says("1", "ping");
    for name in ["rapidsms.db", "rapidsms.db-wal", "rapidsms.db.sock", "rapidsms.db.lock"] {
        let mode = fs::metadata(daemon.folder().join(name)).expect(name).permissions().mode();
        assert_eq!(mode & 0o077, 0, "{name} {mode:o}");
    }
    assert!(daemon.stop().folder.path().join("rapidsms.db").exists());
}

/// The socket of a frozen router, and of something else: told in time, not waited for.
#[test]
fn what_answers_wrongly_at_the_socket_is_told() {
    let place = folder(ECHO);
    let socket = place.path().join("rapidsms.db.sock");
    let listener = std::os::unix::net::UnixListener::bind(&socket).expect("a socket");
    let server = std::thread::spawn(move || {
        use std::io::Write;
        for answer in ["SSH-2.0-nothing\r\n", "HTTP/1.1 200 OK\r\n\r\n", ""] {
            let (mut stream, _) = listener.accept().expect("a client");
            stream.set_read_timeout(Some(PATIENCE)).expect("a time-out");
            let mut request = String::new();
            let mut lines = BufReader::new(stream.try_clone().expect("a stream"));
            while request.lines().last() != Some("") && lines.read_line(&mut request).expect("text") > 0 {}
            stream.write_all(answer.as_bytes()).expect("an answer");
        }
    });
    let ssh = rapidsms(place.path(), &["send", "message_tester", "1", "x"]).exits(1);
    assert!(ssh.err.contains("is no router"), "{}", ssh.err);
    rapidsms(place.path(), &["send", "message_tester", "1", "x"]).exits(1);
    let silent = rapidsms(place.path(), &["send", "message_tester", "1", "x"]).exits(1);
    assert!(silent.err.contains("ended before it answered"), "{}", silent.err);
    server.join().expect("the server ends");
}

#[test]
fn completions_and_manual_pages_are_made() {
    let place = folder("");
    for shell in ["bash", "elvish", "fish", "powershell", "zsh"] {
        let script = rapidsms(place.path(), &["completions", shell]).exits(0).out;
        assert!(script.contains("run_router") && script.contains("settings"), "{shell}");
    }
    let pages = place.path().join("man");
    fs::create_dir(&pages).expect("a folder");
    rapidsms(place.path(), &["man", "--folder", "man"]).exits(0);
    let names: BTreeSet<_> =
        fs::read_dir(&pages).expect("pages").map(|page| page.expect("a page").file_name()).collect();
    assert!(
        names.contains(OsStr::new("rapidsms.1")) && names.contains(OsStr::new("rapidsms-send.1")),
        "{names:?}"
    );
    let one = rapidsms(place.path(), &["man", "send"]).exits(0).out;
    assert!(one.contains(".TH rapidsms-send 1"), "{one}");
    rapidsms(place.path(), &["man", "--folder", "nowhere"]).exits(1);
}

#[test]
fn check_tells_of_an_address_that_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let place = folder(&ECHO.replace("127.0.0.1:0", &address));
    let ran = rapidsms(place.path(), &["check"]).exits(1);
    assert!(ran.err.contains(&format!("{address} cannot be listened on")), "{}", ran.err);
    rapidsms(place.path(), &["run_router"]).exits(1);
}

#[test]
fn check_changes_nothing() {
    let place = folder(ECHO);
    let names = || -> BTreeSet<_> {
        fs::read_dir(place.path())
            .expect("a folder")
            .map(|entry| entry.expect("a file").file_name())
            .collect()
    };
    let before = names();
    rapidsms(place.path(), &["check", "--ledger"]).exits(0);
    assert_eq!(names(), before);
}

/// P17: whatever changes the rows behind the router's back shows.
#[test]
fn p17_conservation_the_ledger_finds_what_does_not_add_up() {
    let place = folder(ECHO);
    rapidsms(place.path(), &["send", "message_tester", "1", "x"]).exits(0);
    rapidsms(place.path(), &["check", "--ledger"]).exits(0);
    let store = rusqlite::Connection::open(place.path().join("rapidsms.db")).expect("the store");
    store.execute("UPDATE tally SET count = count + 1", []).expect("a wrong book");
    drop(store);
    rapidsms(place.path(), &["check"]).exits(0);
    let ran = rapidsms(place.path(), &["check", "--ledger", "--json"]).exits(5);
    let found = ran.json();
    assert_eq!(found["ledger"]["balanced"], false);
    let difference = &found["ledger"]["differences"][0];
    assert_eq!((&difference["booked"], &difference["counted"]), (&2.into(), &1.into()), "{found}");
    assert_eq!(difference["state"], "queued");
}

/// A crash leaves a mark that makes the next router look closely; a command in between must not wipe it away.
#[test]
fn a_command_after_a_crash_leaves_the_closer_look_to_the_router() {
    let daemon = Daemon::start(ECHO);
    daemon.says("1", "ping");
    daemon.answers("1", "pong");
    let crashed = daemon.kill9();
    assert_eq!(crashed.code, 137);
    rapidsms(crashed.folder.path(), &["send", "message_tester", "1", "x"]).exits(0);
    let daemon = Daemon::start_in(crashed.folder);
    // A small store may be checked before the router says that it runs.
    daemon.wait_until("the closer look", |daemon| {
        daemon.get("/healthz");
        daemon.log().contains("the store was checked after the unclean stop").then_some(())
    });
    daemon.answers("1", "x");
    let ended = daemon.stop();
    assert_eq!(ended.code, 0);
    // After a clean stop there is nothing to look for, with a command in between or without.
    rapidsms(ended.folder.path(), &["send", "message_tester", "1", "y"]).exits(0);
    let daemon = Daemon::start_in(ended.folder);
    daemon.answers("1", "y");
    assert!(!daemon.stop().log.contains("unclean"));
}

#[test]
fn a_command_that_meets_another_owner_of_the_store_says_who() {
    let place = folder(ECHO);
    rapidsms(place.path(), &["send", "message_tester", "1", "x"]).exits(0);
    let lock = fs::File::open(place.path().join("rapidsms.db.lock")).expect("the lock");
    lock.lock().expect("it is free");
    let ran = rapidsms(place.path(), &["send", "message_tester", "1", "y"]).exits(5);
    assert!(ran.err.contains("is held by process"), "{}", ran.err);
    let ran = rapidsms(place.path(), &["check"]).exits(5);
    assert!(ran.err.contains("is held by process"), "{}", ran.err);
    // Reading needs no lock.
    let listed = rapidsms(place.path(), &["messages", "--json"]).exits(0).json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1));
}

/// The running router meets a foreign lock: nothing is taken, the reason is told, and it goes on by itself afterwards.
#[test]
fn a_foreign_lock_beside_a_running_router_is_a_refusal_that_passes() {
    let daemon = Daemon::start(ECHO);
    daemon.says("1", "ping");
    daemon.answers("1", "pong");
    let foreign = rusqlite::Connection::open(daemon.database()).expect("the store");
    foreign.busy_timeout(PATIENCE).expect("patience");
    foreign.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let message = serde_json::json!({ "backend": "message_tester", "identity": "1", "text": "x" });
    let refused = daemon.post_json("/api/v1/messages", &message);
    assert_eq!(refused.status, 503, "{}", refused.body);
    assert!(refused.head.contains("Retry-After: "), "{}", refused.head);
    let ran = daemon.rapidsms(&["send", "message_tester", "1", "x"]).exits(5);
    assert!(ran.err.contains("locked by another program"), "{}", ran.err);
    let status = daemon.rapidsms(&["status"]).exits(1);
    assert!(
        status.out.starts_with("failing\n  Nothing is accepted: the database is locked"),
        "{}",
        status.out
    );
    foreign.execute_batch("ROLLBACK").expect("the lock ends");
    daemon.wait_until("it accepts again", |daemon| {
        (daemon.post_json("/api/v1/messages", &message).status == 202).then_some(())
    });
    daemon.answers("1", "x");
    daemon.rapidsms(&["status"]).exits(0);
    assert_eq!(daemon.stop().code, 0);
}

#[test]
fn a_path_too_long_for_a_socket_is_told_before_the_router_is() {
    let place = folder("");
    let deep = "d".repeat(110);
    fs::create_dir(place.path().join(&deep)).expect("a folder");
    write(
        place.path(),
        "settings.toml",
        &format!("{ECHO}\n[database]\nurl = \"sqlite:{deep}/rapidsms.db\"\n"),
    );
    let ran = rapidsms(place.path(), &["check"]).exits(1);
    assert!(ran.err.contains("give [database] url a shorter path"), "{}", ran.err);
    rapidsms(place.path(), &["run_router"]).exits(1);
    rapidsms(place.path(), &["status"]).exits(4);
}
