//! Disks, locks, backends, apps, settings and clients that go wrong beside a router that must go on (P7, P8, P10, P12, P15, P17, P19 and
//! bad input). Faults of the disk are injected by strace into the system calls on the store's files; what is cured is seen by the
//! router itself, and the test waits for its word.

use super::daemon::{Answer, Daemon, folder, program, write};
use super::rig::{
    self, Acknowledged, Audit, Client, Load, SETTINGS, left, rig_in, start_rig, under_strace, wait_until_left,
};
use rapidsms::message::{Connection, Direction, Ids, Incoming, Origin, State};
use rapidsms::store::sqlite::Sqlite;
use rapidsms::store::{NewIncoming, Store};
use rapidsms::time::Timestamp;
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// What the router says when it takes messages again.
const CURED: &str = "the store works again";

/// A folder with a store that was used before, so that a start has little to write.
fn used_folder(settings: &str) -> TempDir {
    let ended = start_rig(folder(settings)).stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
    ended.folder
}

/// The rig, with faults (`calls:fault`) in what it does to these files of its store (`""` is the database, `"-wal"` its log).
fn faulty(folder: &Path, files: &[&str], faults: &[&str]) -> Command {
    let calls: Vec<&str> = faults.iter().filter_map(|fault| fault.split(':').next()).collect();
    let mut arguments = vec!["-e".to_string(), format!("trace={}", calls.join(","))];
    for fault in faults {
        arguments.extend(["-e".to_string(), format!("inject={fault}")]);
    }
    for file in files {
        arguments.extend(["-P".to_string(), format!("{}/rapidsms.db{file}", folder.display())]);
    }
    under_strace(&rig_in(folder), &arguments)
}

/// Posts `echo NAME-1`, `echo NAME-2` ... until one is not taken. Returns what was acknowledged and the refusal.
fn post_until_refused(daemon: &Daemon, identity: &str, name: &str) -> (Acknowledged, Answer) {
    let mut client = Client::new(&daemon.address).expect("it listens");
    let mut acknowledged = Acknowledged::new();
    for number in 1..2_000 {
        let text = format!("echo {name}-{number}");
        let answer =
            client.post("well", identity, &text).unwrap_or_else(|error| panic!("{error}\n{}", daemon.log()));
        if answer.status != 200 {
            return (acknowledged, answer);
        }
        acknowledged.entry(identity.to_string()).or_default().push(text);
    }
    panic!("the fault was never met:\n{}", daemon.log());
}

/// One message that must be taken, and answered.
fn works(daemon: &Daemon, acknowledged: &mut Acknowledged, identity: &str, name: &str) {
    let mut client = Client::new(&daemon.address).expect("it listens");
    let text = format!("echo {name}");
    let answer = client.post("well", identity, &text).expect("an answer");
    assert_eq!(answer.status, 200, "{answer:?}\n{}", daemon.log());
    acknowledged.entry(identity.to_string()).or_default().push(text);
    wait_until_left(daemon, vec![name.to_string()]);
}

/// Stops the router cleanly, lets a healthy one do what was left undone, and demands every promise.
fn demand(daemon: Daemon, acknowledged: &Acknowledged) {
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
    rig::demand_after(ended.folder, acknowledged, left(&ended.log));
}

fn assert_refused(daemon: &Daemon, refusal: &Answer, why: &str) {
    assert_eq!(refusal.status, 503, "{refusal:?}");
    assert!(refusal.head.to_ascii_lowercase().contains("retry-after:"), "{refusal:?}");
    assert!(refusal.body.contains(why), "{refusal:?}");
    let health = daemon.get("/healthz");
    assert_eq!(health.status, 503, "{health:?}");
    assert!(health.body.contains(why), "{health:?}");
}

/// The disk goes wrong while messages come in, and is healed later.
fn disk_trouble(files: &[&str], error: &str, why: &str) {
    let home = used_folder(SETTINGS);
    // The database and its log are written by pwrite64, which goes well for a while; everything else by write.
    let faults = [format!("pwrite64:error={error}:when=150+"), format!("write:error={error}")];
    let command = faulty(home.path(), files, &faults.each_ref().map(String::as_str));
    let daemon = Daemon::start_as(home, command);
    let (mut acknowledged, first) = post_until_refused(&daemon, "+1", "before");
    assert_eq!(first.status, 503, "{first:?}");
    // Still refused, still nothing acknowledged, and what is stored can be read.
    let again = Client::new(&daemon.address).and_then(|mut client| client.post("well", "+2", "echo lost"));
    assert_refused(&daemon, &again.expect("an answer"), why);
    assert!(!daemon.messages("direction=in&limit=1").is_empty());
    rig::heal(&daemon);
    daemon.wait_for_line(CURED);
    works(&daemon, &mut acknowledged, "+1", "after");
    assert_eq!(daemon.get("/healthz").status, 200);
    demand(daemon, &acknowledged);
}

#[test]
fn p12_storage_trouble_full_disk() {
    disk_trouble(&["-wal", ".ballast.part", ".trial"], "ENOSPC", "the disk is full");
}

#[test]
fn p12_storage_trouble_full_disk_at_the_checkpoint() {
    let home = used_folder(SETTINGS);
    let command = faulty(home.path(), &[""], &["pwrite64:error=ENOSPC"]);
    let daemon = Daemon::start_as(home, command);
    let load = Load::new(4);
    load.go_to(&daemon);
    // More than a log is allowed to grow before it is moved into the database.
    load.wait_for(300);
    rig::heal(&daemon);
    load.wait_for(10);
    let acknowledged = load.end();
    demand(daemon, &acknowledged);
}

#[test]
fn p12_storage_trouble_read_only() {
    let files = ["", "-wal", ".trial", ".ballast.part"];
    disk_trouble(&files, "EROFS", "cannot be written");
}

#[test]
fn p12_storage_trouble_io_errors() {
    disk_trouble(&["", "-wal"], "EIO", "rapidsms.db");
}

#[test]
fn p12_storage_trouble_one_failed_sync() {
    // Each point of a conversation in turn: the commit of a message, of its reply, of the taking and of the sending.
    std::thread::scope(|scope| {
        for k in 3..9 {
            scope.spawn(move || {
                let home = used_folder(SETTINGS);
                let command =
                    faulty(home.path(), &["-wal"], &[&format!("fsync,fdatasync:error=EIO:when={k}")]);
                let daemon = Daemon::start_as(home, command);
                let mut acknowledged = Acknowledged::new();
                let mut client = Client::new(&daemon.address).expect("it listens");
                for number in 0..8 {
                    let text = format!("echo {k}-{number}");
                    let answer = client.post("well", "+1", &text).expect("an answer");
                    match answer.status {
                        200 => acknowledged.entry("+1".to_string()).or_default().push(text),
                        503 => drop(daemon.wait_for_line(CURED)),
                        _ => panic!("k = {k}: {answer:?}"),
                    }
                }
                assert!(
                    daemon.log().contains("nothing is accepted until this is cured"),
                    "k = {k}:\n{}",
                    daemon.log()
                );
                demand(daemon, &acknowledged);
            });
        }
    });
}

#[test]
fn p12_storage_trouble_slow_disk() {
    let home = used_folder(SETTINGS);
    let slow = Duration::from_millis(300);
    let command =
        faulty(home.path(), &["-wal"], &[&format!("fsync,fdatasync:delay_enter={}", slow.as_micros())]);
    let daemon = Daemon::start_as(home, command);
    let mut acknowledged = Acknowledged::new();
    let begun = Instant::now();
    for number in 0..4 {
        works(&daemon, &mut acknowledged, "+1", &format!("slow-{number}"));
    }
    assert!(begun.elapsed() >= 4 * slow, "acknowledged before the disk had it: {:?}", begun.elapsed());
    assert!(
        !daemon.log().contains("given up"),
        "the watchdog took the disk for a stuck backend:\n{}",
        daemon.log()
    );
    demand(daemon, &acknowledged);
}

/// A router that is not the test's own child: it must not outlive a test that failed.
struct Behind(rustix::process::Pid);

impl Drop for Behind {
    fn drop(&mut self) {
        // It has ended already when all went well.
        if std::thread::panicking() {
            let _ = rustix::process::kill_process(self.0, Signal::KILL);
        }
    }
}

#[test]
fn p12_storage_trouble_a_full_file_system() {
    if !rustix::process::geteuid().is_root() {
        return eprintln!("not root, so no file system can be mounted; the same fault is injected above");
    }
    let home = folder(&format!("{SETTINGS}\n[database]\nurl = \"sqlite:small/rapidsms.db\"\n"));
    for name in ["small", "saved"] {
        std::fs::create_dir(home.path().join(name)).expect("a folder");
    }
    // The mount ends with its processes; what is on it is saved for the audit.
    let script = "mount -t tmpfs -o size=12m tmpfs small && \"$0\" \"$@\"; code=$?; cp small/rapidsms.db* saved/; exit $code";
    let rig = rig_in(home.path());
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(rig.get_program()).args(rig.get_args());
    command.current_dir(home.path());
    for (name, value) in rig.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    if !Command::new("unshare").args(["--mount", "true"]).status().is_ok_and(|status| status.success()) {
        return eprintln!("nothing can be mounted here; the same fault is injected above");
    }
    let daemon = Daemon::start_as(home, command);
    let small = PathBuf::from(format!("/proc/{}/root{}/small", daemon.child.id(), daemon.folder().display()));
    // The lock says who holds the store: the router itself, behind the shell.
    let holder = std::fs::read_to_string(small.join("rapidsms.db.lock")).expect("a lock");
    let router = holder.split([' ', ',']).nth(1).and_then(|number| number.parse().ok());
    let router = router.and_then(rustix::process::Pid::from_raw).expect("a process");

    let _behind = Behind(router);

    let filler = small.join("filler");
    let full = std::fs::write(&filler, vec![1; 64 * 1024 * 1024]);
    assert_eq!(full.expect_err("12 MiB are not 64").kind(), std::io::ErrorKind::StorageFull);
    let (mut acknowledged, refusal) = post_until_refused(&daemon, "+1", "before");
    assert_refused(&daemon, &refusal, "the disk is full");
    std::fs::remove_file(&filler).expect("the filler goes");
    daemon.wait_for_line(CURED);
    works(&daemon, &mut acknowledged, "+1", "after");
    rustix::process::kill_process(router, Signal::TERM).expect("it is there");
    let ended = daemon.ends();
    assert_eq!(ended.code, 0, "{}", ended.log);
    Audit::of(&ended.folder.path().join("saved")).demand(&acknowledged, &left(&ended.log));
}

#[test]
fn a_foreign_lock_is_waited_out() {
    let daemon = start_rig(folder(SETTINGS));
    let mut acknowledged = Acknowledged::new();
    works(&daemon, &mut acknowledged, "+1", "before");
    let foreign = rusqlite::Connection::open(daemon.database()).expect("a database");
    foreign.execute_batch("BEGIN EXCLUSIVE").expect("the lock is free between two commits");
    let (more, refusal) = post_until_refused(&daemon, "+2", "meanwhile");
    assert!(more.is_empty(), "taken in spite of the lock");
    assert_refused(&daemon, &refusal, "locked by another program");
    foreign.execute_batch("ROLLBACK").expect("the lock ends");
    daemon.wait_for_line(CURED);
    works(&daemon, &mut acknowledged, "+1", "after");
    drop(foreign);
    demand(daemon, &acknowledged);
}

#[test]
fn a_second_router_on_the_same_store_is_refused() {
    let daemon = start_rig(folder(SETTINGS));
    let own = folder(&format!(
        "INSTALLED_APPS = [\"echo\"]\n[web]\nlisten = \"127.0.0.1:0\"\n[database]\nurl = \"sqlite:{}\"\n\
         [INSTALLED_BACKENDS.tester]\nENGINE = \"bucket\"\n",
        daemon.database().display()
    ));
    let second = program(own.path()).arg("run_router").output().expect("it runs");
    let said = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(5), "{said}");
    assert!(said.contains(&format!("process {}", daemon.child.id())), "who holds it? {said}");
    let mut acknowledged = Acknowledged::new();
    works(&daemon, &mut acknowledged, "+1", "undisturbed");
    demand(daemon, &acknowledged);
}

/// What would be acknowledged into a file that is gone is refused.
#[test]
fn a_store_that_is_moved_away_is_missed() {
    let daemon = start_rig(folder(SETTINGS));
    let mut acknowledged = Acknowledged::new();
    works(&daemon, &mut acknowledged, "+1", "before");
    let (here, there) = (daemon.database(), daemon.folder().join("moved.db"));
    std::fs::rename(&here, &there).expect("it is moved");
    let answer = Client::new(&daemon.address).and_then(|mut client| client.post("well", "+1", "echo gone"));
    assert_refused(&daemon, &answer.expect("an answer"), "deleted or moved");
}

#[test]
fn p7_isolation_a_stuck_backend_costs_nobody_else_anything() {
    let daemon = start_rig(folder(&SETTINGS.replace("watchdog = \"1 s\"", "watchdog = \"2 s\"")));
    let mut acknowledged = Acknowledged::new();
    let mut ill = |address: &str, identity: &str, text: &str| {
        let answer = Client::new(address).and_then(|mut client| client.post("ill", identity, text));
        assert_eq!(answer.expect("an answer").status, 200);
        acknowledged.entry(identity.to_string()).or_default().push(text.to_string());
    };
    ill(&daemon.address, "+1", "echo hang");
    daemon.wait_for_line("peer ill hangs");
    let begun = Instant::now();
    let mut fine = Acknowledged::new();
    for number in 0..20 {
        works(&daemon, &mut fine, "+100", &format!("fine-{number}"));
    }
    assert!(
        begun.elapsed() < Duration::from_secs(20),
        "20 messages beside a stuck backend: {:?}",
        begun.elapsed()
    );
    daemon.wait_for_line("was given up");
    daemon.wait_for_line("backend ill is up");
    let health = daemon.get("/healthz");
    assert_eq!(health.status, 200, "what still accepts is not failing: {health:?}");
    assert!(health.body.contains("given up"), "{health:?}");
    ill(&daemon.address, "+2", "echo works");
    wait_until_left(&daemon, vec!["works".into()]);
    // The first message comes once more, and its thread is the second to be lost; then a third one.
    daemon.wait_for_line("peer ill hangs");
    daemon.wait_for_line("was given up");
    ill(&daemon.address, "+3", "echo hang again");
    daemon.wait_for_line("peer ill hangs");
    daemon.wait_for_line("this process ends and begins again");
    let line = daemon.wait_for_line("Message Tester: http://");
    let address =
        line.trim_start_matches("Message Tester: http://").trim_end_matches("/httptester/").to_string();
    daemon.wait_for_line("The router runs with");
    ill(&address, "+4", "echo anew");
    // It may wait for its turn behind the third message's second attempt.
    wait_until_left(&daemon, vec!["anew".into(), "hang again".into()]);
    daemon.wait_for_line("was given up");
    acknowledged.extend(fine);
    demand(daemon, &acknowledged);
}

#[test]
fn p8_restart_a_panicking_backend_is_tried_again_ever_more_slowly() {
    let daemon = start_rig(folder(SETTINGS));
    let mut acknowledged = Acknowledged::new();
    let answer = Client::new(&daemon.address).and_then(|mut client| client.post("ill", "+1", "echo panic"));
    assert_eq!(answer.expect("an answer").status, 200);
    acknowledged.entry("+1".to_string()).or_default().push("echo panic".to_string());
    for (least, most) in [(0.8, 1.2), (1.6, 2.4)] {
        let line = daemon.wait_for_line("backend ill is down");
        assert!(line.contains("panicked: as the text asked for"), "{line}");
        let wait =
            line.rsplit("trying again in ").next().and_then(|wait| wait.trim_end_matches(" s").parse().ok());
        let wait: f64 = wait.unwrap_or_else(|| panic!("no wait in {line}"));
        assert!((least..=most).contains(&wait), "{line}");
        works(&daemon, &mut acknowledged, "+100", &format!("fine-{most}"));
        daemon.wait_for_line("backend ill is up");
    }
    let answer =
        Client::new(&daemon.address).and_then(|mut client| client.post("ill", "+2", "echo throttle"));
    assert_eq!(answer.expect("an answer").status, 200);
    acknowledged.entry("+2".to_string()).or_default().push("echo throttle".to_string());
    wait_until_left(&daemon, vec!["throttle".into()]);
    demand(daemon, &acknowledged);
}

#[test]
fn p7_isolation_apps_that_panic_sleep_or_answer_too_much() {
    let daemon = start_rig(folder(SETTINGS));
    let mut client = Client::new(&daemon.address).expect("it listens");
    for (identity, text) in [("+1", "panic"), ("+2", "never"), ("+3", "echo fine"), ("+4", "twice once")] {
        assert_eq!(client.post("well", identity, text).expect("an answer").status, 200);
    }
    wait_until_left(&daemon, vec!["fine".into(), "once".into()]);
    daemon.wait_for_line("app moody timed out");
    assert_eq!(client.post("well", "+5", "now").expect("an answer").status, 200);
    daemon.wait_for_line("waits for no answer any more");
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
    let audit = Audit::of(ended.folder.path());
    let received = audit.received();
    let reason = |text: &str| received[text].reason.clone().unwrap_or_default();
    assert!(reason("panic").contains("app moody panicked: as the text asked for"), "{}", reason("panic"));
    assert!(reason("never").contains("app moody timed out"), "{}", reason("never"));
    assert_eq!(left(&ended.log).iter().filter(|(_, text)| text == "once").count(), 1, "{}", ended.log);
    assert!(!left(&ended.log).iter().any(|(_, text)| text == "too late"), "{}", ended.log);
    assert!(audit.rows.iter().all(|row| !row.state.is_open()));
}

#[test]
fn p19_poison_is_set_aside_and_what_waits_behind_it_moves() {
    let mut home = used_folder(SETTINGS);
    {
        let now = Timestamp::from_seconds(1_900_000_000);
        let mut store = Sqlite::open(&home.path().join("rapidsms.db"), now).expect("the store").store;
        let mut ids = Ids::new(store.newest(), 1);
        for (identity, text) in [("+1", "abort"), ("+1", "echo behind"), ("+2", "echo beside")] {
            let incoming = Incoming::new(Connection::new("well", identity), text);
            let row = NewIncoming {
                id: ids.next(now),
                incoming: &incoming,
                state: State::Received,
                reason: None,
                duplicate_of: None,
                origin: Origin::Test,
                joined: None,
                at: now,
            };
            store.accept(&row).expect("it is stored");
        }
        store.commit().expect("it is on disk");
        store.close().expect("it is closed");
    }
    let mut log = String::new();
    for _ in 0..3 {
        let command = rig_in(home.path());
        let ended = match Daemon::try_start_as(home, command) {
            Ok(daemon) => daemon.ends(),
            Err(ended) => ended,
        };
        assert_eq!(ended.code, 128 + 6, "it aborts: {}", ended.log);
        log += &ended.log;
        home = ended.folder;
    }
    let owed = Audit::of(home.path()).owed();
    let daemon = start_rig(home);
    wait_until_left(&daemon, owed);
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
    log += &ended.log;
    let audit = Audit::of(ended.folder.path());
    let received = audit.received();
    assert_eq!(received["abort"].state, State::Quarantined);
    assert!(received["abort"].reason.as_deref().is_some_and(|reason| reason.contains("3 times")));
    for text in ["behind", "beside"] {
        assert!(left(&log).iter().any(|(_, sent)| sent == text), "{text} never left:\n{log}");
        assert_eq!(received[format!("echo {text}").as_str()].state, State::Handled);
    }
}

#[test]
fn p15_reload_storm_all_or_nothing() {
    let more = format!("{SETTINGS}\n[INSTALLED_BACKENDS.extra]\nENGINE = \"bucket\"\n");
    let wrong = format!("{SETTINGS}\n[INSTALLED_BACKENDS.extra]\nENGINE = \"bukcet\"\n");
    let daemon = start_rig(folder(SETTINGS));
    let load = Load::new(2);
    load.go_to(&daemon);
    for round in 0..100 {
        let (settings, expected) = match round % 4 {
            0 => (more.as_str(), "were reloaded: +extra"),
            1 | 3 => (wrong.as_str(), "were not reloaded"),
            _ => (SETTINGS, "were reloaded: -extra"),
        };
        // Replaced in one piece, as careful editors do.
        write(daemon.folder(), "settings.new", settings);
        let name = |name| daemon.folder().join(name);
        std::fs::rename(name("settings.new"), name("settings.toml")).expect("the file is replaced");
        daemon.signal(Signal::HUP);
        let line = daemon.wait_for_line("reloaded");
        assert!(line.contains(expected), "round {round}: {line}");
    }
    write(daemon.folder(), "settings.toml", SETTINGS);
    load.wait_for(10);
    let acknowledged = load.end();
    let log = daemon.log();
    assert_eq!(log.matches("backend well is up").count(), 1, "an unchanged backend was started again");
    assert!(log.contains("did you mean"), "the mistake is not explained:\n{log}");
    demand(daemon, &acknowledged);
}

#[test]
fn p10_memory_in_a_flood() {
    const PEOPLE: usize = 200;
    let settings = "INSTALLED_APPS = [\"echo\", \"default\"]\n[web]\nlisten = \"127.0.0.1:0\"\n\
                    [INSTALLED_BACKENDS.well]\nENGINE = \"httptester\"\n";
    let daemon = Daemon::start(settings);
    let long = "long ".repeat(32 * 1024 / 5);
    let posts = 20 * rig::effort();
    let taken: Vec<String> = std::thread::scope(|scope| {
        let (address, long) = (&daemon.address, &long);
        let flood = (0..PEOPLE).map(|person| {
            scope.spawn(move || {
                let mut client = Client::new(address).expect("it listens");
                let mut taken = Vec::new();
                for number in 0..posts {
                    let mut text = format!("echo {person}-{number}");
                    if number % 5 == 0 {
                        text = format!("{text} {long}");
                    }
                    let answer = client.post("well", &format!("+{person}"), &text).expect("an answer");
                    match answer.status {
                        200 => taken.push(text),
                        503 => {
                            assert!(answer.head.to_ascii_lowercase().contains("retry-after:"), "{answer:?}")
                        }
                        _ => panic!("{answer:?}"),
                    }
                }
                taken
            })
        });
        let flood: Vec<_> = flood.collect();
        flood.into_iter().flat_map(|person| person.join().expect("a person does not panic")).collect()
    });
    let status = std::fs::read_to_string(format!("/proc/{}/status", daemon.child.id())).expect("a process");
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("a peak");
    let peak: u64 = peak.trim().trim_end_matches(" kB").parse().expect("a number");
    assert!(peak <= 128 * 1024, "{peak} KiB resident at the peak of a flood");
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
    let audit = Audit::of(ended.folder.path());
    let received = audit.received();
    for text in &taken {
        assert!(received.contains_key(text.as_str()), "acknowledged and lost: {:.40}", text);
    }
    assert!(taken.len() > PEOPLE * posts / 2, "only {} of {} were taken", taken.len(), PEOPLE * posts);
}

#[test]
fn p10_back_pressure_when_every_connection_waits_for_the_disk() {
    let home = used_folder(&SETTINGS.replace("[web]", "[web]\nconnections = 8"));
    let command = faulty(home.path(), &["-wal"], &["fsync,fdatasync:delay_enter=400000"]);
    let daemon = Daemon::start_as(home, command);
    let mut waiting: Vec<Client> = Vec::new();
    for number in 0..8 {
        let mut client = Client::new(&daemon.address).expect("it listens");
        client
            .send("well", format!("identity=%2B{number}&text=echo+wait-{number}").as_bytes())
            .expect("it is sent");
        waiting.push(client);
    }
    let mut late = Client::new(&daemon.address).expect("it listens");
    late.send("well", b"identity=%2B8&text=echo+wait-8").expect("it is sent");
    let mut acknowledged = Acknowledged::new();
    for (number, client) in waiting.iter_mut().enumerate() {
        assert_eq!(client.answer().expect("an answer").status, 200);
        acknowledged.insert(format!("+{number}"), vec![format!("echo wait-{number}")]);
    }
    // The one too many is told to come again, or waits at the door until there is room; nothing in between.
    let answer = late.answer().expect("an answer");
    if answer.status == 200 {
        acknowledged.insert("+8".to_string(), vec!["echo wait-8".to_string()]);
    } else {
        assert_eq!(answer.status, 503, "{answer:?}");
        assert!(answer.head.to_ascii_lowercase().contains("retry-after:"), "{answer:?}");
    }
    demand(daemon, &acknowledged);
}

#[test]
fn descriptors_that_run_out_come_back() {
    use rustix::process::{Resource, Rlimit, getrlimit, prlimit};
    let daemon = start_rig(folder(SETTINGS));
    let mut acknowledged = Acknowledged::new();
    works(&daemon, &mut acknowledged, "+1", "before");
    let open =
        std::fs::read_dir(format!("/proc/{}/fd", daemon.child.id())).expect("a process").count() as u64;
    let tight = Rlimit { current: Some(open + 3), ..getrlimit(Resource::Nofile) };
    let before = prlimit(Some(daemon.pid()), Resource::Nofile, tight);
    let before = before.expect("limits of an own process may be lowered");
    // Idle ones, which must make room for whoever has something to say.
    let idle: Vec<_> = (0..20).map(|_| Client::new(&daemon.address).expect("the system takes it")).collect();
    works(&daemon, &mut acknowledged, "+1", "among idlers");
    prlimit(Some(daemon.pid()), Resource::Nofile, before).expect("limits of an own process may be put back");
    drop(idle);
    works(&daemon, &mut acknowledged, "+1", "after");
    demand(daemon, &acknowledged);
}

#[test]
fn bad_input_is_refused_or_stored_as_it_is() {
    let settings = SETTINGS.replace("[web]", "[web]\nbody_limit = \"300 KiB\"");
    let daemon = start_rig(folder(&settings));
    let form = |identity: &str, text: &str| {
        let pairs = [("identity", identity), ("text", text)];
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().into_bytes()
    };
    let (full, over) = ("x".repeat(64 * 1024), "x".repeat(64 * 1024 + 1));
    let cases: [(&str, &str, Vec<u8>, u16, &str); 17] = [
        ("empty text", "well", form("+1", ""), 200, "OK"),
        ("64 KiB", "well", form("+1", &full), 200, "OK"),
        ("64 KiB and one", "well", form("+1", &over), 413, "65537 octets"),
        ("a body over the limit", "well", form("+1", &"x".repeat(400 * 1024)), 413, ""),
        ("NUL and control characters", "well", form("+1", "a\0b\u{1}\u{7f}\r\n\u{85}c"), 200, "OK"),
        (
            "signs that turn the line",
            "well",
            form("+1", "echo \u{202e}abc\u{200b}\u{1f469}\u{200d}\u{1f4bb}"),
            200,
            "OK",
        ),
        ("a format string", "well", form("+1", "echo 100% %s %(x)s {0} {}"), 200, "OK"),
        ("invalid UTF-8, encoded", "well", b"identity=1&text=%ff%fe".to_vec(), 400, "is not UTF-8"),
        ("invalid UTF-8, raw", "well", b"identity=1&text=\xff\xfe".to_vec(), 400, "is not UTF-8"),
        ("half a surrogate", "well", b"identity=1&text=%ed%a0%80".to_vec(), 400, "is not UTF-8"),
        ("unknown backend", "nobody", form("+1", "x"), 404, "no backend named"),
        ("identity of 10,000 characters", "well", form(&"9".repeat(10_000), "x"), 400, "at most 256"),
        ("empty identity", "well", form("", "x"), 400, "the identity is empty"),
        ("control characters in the identity", "well", form("1\n2", "x"), 400, "control character"),
        ("no fields", "well", Vec::new(), 400, "identity and text"),
        ("a reply to a backend that is gone", "well", form("+1", "to gone +2 hello"), 200, "OK"),
        ("a reply to an address that cannot be", "well", form("+1", "to well \u{7} hello"), 200, "OK"),
    ];
    for (what, backend, body, status, part) in cases {
        let mut client = Client::new(&daemon.address).expect("it listens");
        let answer = client.post_raw(backend, &body).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(answer.status, status, "{what}: {answer:?}");
        assert!(answer.body.contains(part), "{what}: {answer:?}");
    }
    for page in [format!("/httptester/well/{}/", "9".repeat(10_000)), "/httptester/well/%00/".to_string()] {
        let answer = daemon.get(&page);
        assert!((200..500).contains(&answer.status), "{page:.40}: {}", answer.status);
    }
    let mut acknowledged = Acknowledged::new();
    works(&daemon, &mut acknowledged, "+1", "still well");
    assert_eq!(daemon.get("/healthz").status, 200);
    let ended = daemon.stop();
    assert_eq!(ended.code, 0, "{}", ended.log);
    assert!(!ended.log.contains("panicked"), "{}", ended.log);
    let audit = Audit::of(ended.folder.path());
    let received = audit.received();
    assert_eq!(audit.rows.iter().filter(|row| row.direction == Direction::In).count(), 8);
    for text in ["", "a\0b\u{1}\u{7f}\r\n\u{85}c", full.as_str()] {
        assert_eq!(received[text].state, State::Handled, "{text:.20?}");
    }
    assert!(
        audit.rows.iter().any(|row| row.direction == Direction::Out && row.text == "100% %s %(x)s {0} {}")
    );
    for (text, why) in
        [("to gone +2 hello", "no backend named \"gone\""), ("to well \u{7} hello", "control character")]
    {
        let replies: Vec<_> = audit.replies(received[text].id);
        assert_eq!(replies.len(), 1, "{replies:?}");
        assert_eq!(replies[0].state, State::Failed);
        assert!(replies[0].reason.as_deref().is_some_and(|reason| reason.contains(why)), "{replies:?}");
    }
}

mod auto_responders {
    use super::*;
    use rapidsms::apps::{App, AppError, Flow, Message};
    use rapidsms::phases::Apps;
    use rapidsms::router::BackendPolicy;
    use rapidsms::store::Query;
    use rapidsms::testing::TestRouter;

    /// Answers everything; with a new text each time, or always with the same.
    struct Eager(Option<u32>);

    impl App for Eager {
        fn handle(&mut self, message: &mut Message) -> Result<Flow, AppError> {
            let text = match &mut self.0 {
                None => "Sorry, I am away.".to_string(),
                Some(count) => {
                    *count += 1;
                    format!("You are number {count}.")
                }
            };
            message.respond(text);
            Ok(Flow::Done)
        }
    }

    /// Two machines that answer each other by the line `zain`. Returns how many answers left before it ended.
    fn rounds(app: Eager, mut machine: impl FnMut(&str) -> String) -> (usize, TestRouter) {
        let mut router = TestRouter::new(Apps::new().with("eager", app));
        router.add_backend("zain", BackendPolicy::real());
        let mut text = "Hello".to_string();
        for round in 0..200 {
            let incoming = Incoming::new(Connection::new("zain", "+1"), text.as_str());
            let sent = router.receive(incoming).expect("it is taken");
            let Some(reply) = sent.first() else { return (round, router) };
            text = machine(&reply.text);
            router.advance(Duration::from_secs(1));
        }
        (200, router)
    }

    fn assert_recorded(router: &mut TestRouter) {
        let mut reader = router.router().store().reader().expect("a reader");
        let query = Query { state: Some(State::Cancelled), ..Query::default() };
        let cancelled = reader.messages(&query).expect("a page").messages;
        assert_eq!(cancelled.len(), 1, "{cancelled:?}");
        assert!(
            cancelled[0].reason.as_deref().is_some_and(|reason| reason.starts_with("loop guard")),
            "{cancelled:?}"
        );
    }

    #[test]
    fn that_repeat_themselves_or_us_are_stopped_within_five_rounds() {
        let (ended, mut router) = rounds(Eager(None), |_| "I am on holiday.".to_string());
        assert!(ended <= 5, "{ended}");
        assert_recorded(&mut router);
        let (ended, mut router) = rounds(Eager(Some(0)), str::to_string);
        assert!(ended <= 5, "{ended}");
        assert_recorded(&mut router);
    }

    #[test]
    fn that_never_repeat_anything_are_stopped_after_thirty() {
        let mut count = 0;
        let (ended, mut router) = rounds(Eager(Some(0)), |_| {
            count += 1;
            format!("Ticket {count} was opened.")
        });
        assert_eq!(ended, 30);
        assert_recorded(&mut router);
    }
}
