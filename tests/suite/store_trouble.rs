//! The SQLite store and everything that happens to files: damage, foreign locks, deletion, strange files, copies taken in mid-flight.

use crate::store::{START, Stage, at, connection};
use rapidsms::message::*;
use rapidsms::store::sqlite::{Opened, Sqlite};
use rapidsms::store::*;
use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

const PAGE: u64 = 4096;

fn beside(path: &Path, suffix: &str) -> PathBuf {
    PathBuf::from(format!("{}{suffix}", path.display()))
}

fn open(path: &Path) -> Opened {
    Sqlite::open(path, at(100)).unwrap()
}

fn refusal(path: &Path) -> StoreError {
    Sqlite::open(path, at(100)).map(|_| ()).unwrap_err()
}

/// A stopped store with `count` exchanges in it: half of its messages are outgoing, one of those is open.
fn filled(count: usize) -> (tempfile::TempDir, PathBuf, Vec<MessageId>) {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let mut stage = Stage::sqlite();
    stage.store = Box::new(Sqlite::open(&file, START).unwrap().store);
    let mut ids = Vec::new();
    for number in 0..count {
        let who = connection(&format!("+257{}", number % 10));
        ids.push(stage.accept(&who, &"long text ".repeat(20)));
        ids.push(stage.queue(&who, &"long answer ".repeat(20)));
    }
    stage.store.commit().unwrap();
    stage.store.close().unwrap();
    drop(stage);
    (folder, file, ids)
}

fn overwrite(file: &Path, at: u64, octets: &[u8]) {
    let mut file = fs::OpenOptions::new().write(true).open(file).unwrap();
    file.seek(SeekFrom::Start(at)).unwrap();
    file.write_all(octets).unwrap();
}

fn count(store: &dyn Store) -> u64 {
    let mut reader = store.reader().unwrap();
    let tally = reader.tally().unwrap();
    assert_eq!(tally, reader.recount().unwrap(), "P17 holds in a salvaged store as well");
    tally.iter().map(|count| count.count).sum()
}

fn kept_aside(folder: &tempfile::TempDir) -> Vec<PathBuf> {
    let names = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().path());
    names.filter(|path| path.display().to_string().contains(".damaged-")).collect()
}

#[test]
fn p13_corruption_a_lost_first_page_costs_nothing() {
    for octets in [&b"garbage"[..], &[0; PAGE as usize][..], &[0xff; PAGE as usize][..]] {
        let (folder, file, ids) = filled(300);
        overwrite(&file, 0, octets);
        let Opened { mut store, notes, unclean } = open(&file);
        assert!(unclean);
        assert!(notes[0].contains("600 messages were saved"), "{notes:?}");
        assert_eq!(count(&store), 600);
        assert_eq!(store.newest(), ids.last().copied());
        assert_eq!(kept_aside(&folder).len(), 1, "the damaged file is kept");
        assert_eq!(Sqlite::full_check(&file).unwrap(), Vec::<String>::new());
        // Order and claims are as they were: the first of each lane.
        let claimed = store.unfinished(Tried::Never, 1_000, &no_bound, at(101)).unwrap();
        assert_eq!(
            claimed.iter().map(|message| message.id).collect::<Vec<_>>(),
            ids.iter().copied().step_by(2).take(10).collect::<Vec<_>>()
        );
        let taken = store.take_due("one", 1_000, at(101)).unwrap();
        assert_eq!(taken.len(), 10);
        store.commit().unwrap();
        let detail = store.reader().unwrap().message(ids[0]).unwrap().unwrap();
        assert_eq!(detail.history.len(), 1);
        assert_eq!(detail.row.identity, "+2570");
    }
}

#[test]
fn p13_corruption_pages_in_the_middle_lose_only_themselves() {
    let (_folder, file, ids) = filled(2_000);
    let pages = fs::metadata(&file).unwrap().len() / PAGE;
    for page in (40..pages).step_by(37) {
        overwrite(&file, page * PAGE, &[0xa5; PAGE as usize]);
    }
    // Such damage need not be seen at once; the full check finds it, and from then on nothing is acknowledged.
    let faults = Sqlite::full_check(&file).unwrap();
    assert!(!faults.is_empty());
    overwrite(&file, 0, b"and the first page too");
    let Opened { store, notes, .. } = open(&file);
    let left = count(&store);
    assert!(left > ids.len() as u64 / 2 && left < ids.len() as u64, "{left} of {}: {notes:?}", ids.len());
    assert_eq!(Sqlite::full_check(&file).unwrap(), Vec::<String>::new());
}

#[test]
fn p13_corruption_a_file_that_was_cut_short_is_noticed() {
    let (folder, file, ids) = filled(300);
    let length = fs::metadata(&file).unwrap().len();
    fs::OpenOptions::new().write(true).open(&file).unwrap().set_len(length / 2 / PAGE * PAGE).unwrap();
    let Opened { store, notes, .. } = open(&file);
    assert!(!notes.is_empty());
    assert!(count(&store) < ids.len() as u64);
    assert_eq!(kept_aside(&folder).len(), 1);
}

#[test]
fn p13_corruption_never_a_silent_empty_store() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let garbage: Vec<u8> = (0..100_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 13) as u8).collect();
    fs::write(&file, &garbage).unwrap();
    let why = match refusal(&file) {
        StoreError::Damaged(why) => why,
        other => panic!("refused as something else: {other}"),
    };
    assert!(why.contains("backup") && why.contains("move it away"), "says what to do: {why}");
    assert_eq!(fs::read(&file).unwrap(), garbage, "what is there stays there");
    let leftovers: Vec<_> =
        fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(leftovers.len(), 2, "the file and its lock: {leftovers:?}");

    // The file is gone, but its log is there.
    let (_folder, file, _) = filled(10);
    let stopped = fs::read(&file).unwrap();
    fs::remove_file(&file).unwrap();
    fs::write(beside(&file, "-wal"), b"log").unwrap();
    assert!(matches!(refusal(&file), StoreError::Damaged(why) if why.contains("-wal")));
    fs::remove_file(beside(&file, "-wal")).unwrap();

    // It is gone altogether: that may be meant, so it is only said.
    let notes = open(&file).notes;
    assert!(notes.len() == 1 && notes[0].contains("empty store"), "{notes:?}");
    fs::write(&file, stopped).unwrap();
    assert_eq!(open(&file).notes, Vec::<String>::new());
}

#[test]
fn p13_corruption_found_later_stops_acknowledging() {
    let mut stage = Stage::sqlite();
    stage.accept(&connection("a"), "1");
    stage.store.commit().unwrap();
    stage.store.mark_damaged("row 7 missing from index");
    assert!(matches!(stage.store.commit(), Err(StoreError::Damaged(why)) if why.contains("row 7")));
    let id = stage.ids.next(START);
    let incoming = Incoming::new(connection("a"), "2");
    let row = NewIncoming {
        id,
        incoming: &incoming,
        state: State::Received,
        reason: None,
        duplicate_of: None,
        origin: Origin::Real,
        joined: None,
        at: START,
    };
    assert!(matches!(stage.store.accept(&row), Err(StoreError::Damaged(_))));
    assert!(matches!(stage.store.commit(), Err(StoreError::Damaged(_))));
    assert!(matches!(stage.store.trouble(), Some(StoreError::Damaged(_))));
    assert!(!stage.store.cured());
    assert_eq!(stage.store.unfinished(Tried::Never, 0, &no_bound, START).unwrap(), []);
    let page = stage.store.reader().unwrap().messages(&Query::default()).unwrap();
    assert_eq!(page.messages.len(), 1, "it can still be read");
}

/// The files as they lie on the disk after a commit, copied while the store is open, are what a power cut leaves.
#[test]
fn p1_no_loss_a_copy_of_the_files_has_everything_that_was_committed() {
    let mut stage = Stage::sqlite();
    let file = stage.file.clone().unwrap();
    let folder = tempfile::tempdir().unwrap();
    for number in 0..20 {
        let id = stage.accept(&connection("a"), "text");
        stage.store.commit().unwrap();
        stage.accept(&connection("b"), "not committed");
        let copy = folder.path().join(format!("{number}.db"));
        for suffix in ["", "-wal"] {
            fs::copy(beside(&file, suffix), beside(&copy, suffix)).unwrap();
        }
        let Opened { store, unclean, notes } = open(&copy);
        assert!(unclean && notes.is_empty(), "{notes:?}");
        assert_eq!(store.newest(), Some(id));
        assert_eq!(count(&store), 2 * number + 1);
        stage.store.commit().unwrap();
    }
}

#[test]
fn a_stop_is_clean_or_not() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let mut first = Sqlite::open(&file, START).unwrap();
    assert!(!first.unclean && first.notes.is_empty(), "a new store");
    first.store.close().unwrap();
    assert!(first.store.commit().is_ok(), "there is nothing to commit");
    assert!(first.store.unfinished(Tried::Never, 1, &no_bound, START).is_err(), "closed is closed");
    drop(first);
    assert!(!beside(&file, "-wal").exists(), "all is in one file after a clean stop");
    let second = Sqlite::open(&file, START).unwrap();
    assert!(!second.unclean);
    drop(second);
    assert!(Sqlite::open(&file, START).unwrap().unclean);
}

#[test]
fn a_second_router_is_told_who_holds_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("store.db");
    let held = open(&file);
    std::os::unix::fs::symlink(&file, folder.path().join("other.db")).unwrap();
    for name in ["store.db", "other.db"] {
        let StoreError::InUse(why) = refusal(&folder.path().join(name)) else { panic!("opened twice") };
        assert!(why.contains(&format!("process {}", std::process::id())), "{why}");
        assert!(why.contains(&at(100).to_string()), "{why}");
    }
    drop(held);
    open(&file);
}

#[test]
fn a_store_with_a_second_name_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (file, other) = (folder.path().join("store.db"), folder.path().join("other.db"));
    let held = open(&file);
    std::fs::hard_link(&file, &other).unwrap();
    // Its lock is free, for a lock belongs to a name.
    assert!(matches!(refusal(&other), StoreError::Broken(why) if why.contains("hard link")));
    drop(held);
    assert!(matches!(refusal(&file), StoreError::Broken(why) if why.contains("-samefile")));
    std::fs::remove_file(&other).unwrap();
    drop(open(&file));
    // A crash while a damaged file was kept aside leaves two names as well, and that one is no danger.
    std::fs::hard_link(&file, beside(&file, ".damaged-1700000000")).unwrap();
    open(&file);
}

#[test]
fn somebody_who_just_looks_keeps_no_router_from_starting() {
    let (_folder, file, ids) = filled(3);
    let looking = rusqlite::Connection::open(&file).unwrap();
    looking.execute_batch("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE").unwrap();
    let begun = std::time::Instant::now();
    assert!(matches!(refusal(&file), StoreError::Locked(_)));
    assert!(begun.elapsed() > std::time::Duration::from_millis(500), "a moment is waited out");
    drop(looking);
    assert_eq!(open(&file).store.newest(), ids.last().copied());
}

#[test]
fn a_foreign_lock_is_an_error_and_not_a_stall() {
    let mut stage = Stage::sqlite();
    let first = stage.accept(&connection("a"), "1");
    stage.store.commit().unwrap();
    let foreign = rusqlite::Connection::open(stage.file.as_ref().unwrap()).unwrap();
    foreign.execute_batch("BEGIN IMMEDIATE").unwrap();
    let incoming = Incoming::new(connection("a"), "2");
    let id = stage.ids.next(START);
    let row = NewIncoming {
        id,
        incoming: &incoming,
        state: State::Received,
        reason: None,
        duplicate_of: None,
        origin: Origin::Real,
        joined: None,
        at: START,
    };
    assert!(matches!(stage.store.accept(&row), Err(StoreError::Locked(_))));
    assert!(matches!(stage.store.commit(), Err(StoreError::Locked(_))));
    assert!(matches!(stage.store.trouble(), Some(StoreError::Locked(_))));
    assert!(!stage.store.cured());
    assert_eq!(stage.store.newest(), Some(first));
    assert_eq!(stage.store.waiting(Direction::In), 1);
    assert!(stage.store.reader().unwrap().message(first).unwrap().is_some(), "readers go on");
    foreign.execute_batch("ROLLBACK").unwrap();
    assert!(stage.store.cured());
    assert_eq!(stage.store.trouble(), None);
    stage.store.accept(&row).unwrap();
    stage.store.commit().unwrap();
    assert_eq!(stage.claim(Tried::Never, 9), [first]);
}

#[test]
fn a_file_that_vanishes_or_changes_is_damage() {
    for change in ["moved", "replaced", "unlocked"] {
        let mut stage = Stage::sqlite();
        let file = stage.file.clone().unwrap();
        stage.store.still_there().unwrap();
        match change {
            "moved" => fs::rename(&file, beside(&file, ".moved")).unwrap(),
            "replaced" => {
                fs::copy(&file, beside(&file, ".copy")).unwrap();
                fs::rename(beside(&file, ".copy"), &file).unwrap();
            }
            _ => fs::remove_file(beside(&file, ".lock")).unwrap(),
        }
        assert!(matches!(stage.store.still_there(), Err(StoreError::Damaged(_))), "{change}");
        assert!(matches!(stage.store.commit(), Err(StoreError::Damaged(_))), "{change}");
        assert!(!stage.store.cured(), "{change}");
    }
}

#[test]
fn files_are_private() {
    let mut stage = Stage::sqlite();
    stage.accept(&connection("a"), "secret");
    stage.store.commit().unwrap();
    let file = stage.file.clone().unwrap();
    for suffix in ["", "-wal", "-shm", ".lock", ".ballast"] {
        let mode = fs::metadata(beside(&file, suffix)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "store.db{suffix}");
    }
    assert_eq!(fs::metadata(beside(&file, ".ballast")).unwrap().len(), 4 * 1024 * 1024);
}

#[test]
fn strange_files_are_refused_with_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("no such folder/store.db");
    assert!(matches!(refusal(&missing), StoreError::Broken(why) if why.contains("create it")));

    let foreign = folder.path().join("foreign.db");
    rusqlite::Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    assert!(matches!(refusal(&foreign), StoreError::Broken(why) if why.contains("another program")));
    assert!(Sqlite::open_reader(&foreign).is_err());

    let absent = folder.path().join("absent.db");
    assert!(
        matches!(Sqlite::open_reader(&absent), Err(StoreError::Broken(why)) if why.contains("does not exist"))
    );
    assert!(!absent.exists(), "asking creates nothing");

    let newer = folder.path().join("newer.db");
    open(&newer).store.close().unwrap();
    rusqlite::Connection::open(&newer).unwrap().execute_batch("PRAGMA user_version = 99").unwrap();
    let StoreError::Newer(why) = refusal(&newer) else {
        panic!("P20: an older program opened a newer store")
    };
    assert!(why.contains("99"), "{why}");
    assert!(matches!(Sqlite::open_reader(&newer), Err(StoreError::Newer(_))));
}

#[test]
fn readers_work_beside_a_writer_and_without_one() {
    let mut stage = Stage::sqlite();
    let file = stage.file.clone().unwrap();
    let id = stage.accept(&connection("a"), "1");
    stage.store.commit().unwrap();
    let mut reader = Sqlite::open_reader(&file).unwrap();
    stage.accept(&connection("b"), "2");
    assert!(reader.message(id).unwrap().is_some(), "in the middle of a transaction");
    stage.store.commit().unwrap();
    assert_eq!(reader.messages(&Query::default()).unwrap().messages.len(), 2);
    drop(reader);
    stage.store.close().unwrap();
    let mut reader = Sqlite::open_reader(&file).unwrap();
    assert_eq!(reader.messages(&Query::default()).unwrap().messages.len(), 2);
    assert_eq!(Sqlite::full_check(&file).unwrap(), Vec::<String>::new());
    drop(reader);
    drop(stage.store);
    let mut opened = open(&file);
    assert!(!opened.unclean, "a reader does not make a clean stop unclean");
    opened.store.close().unwrap();
}

#[test]
fn the_log_stays_small() {
    let mut stage = Stage::sqlite();
    let log = beside(stage.file.as_ref().unwrap(), "-wal");
    for _ in 0..200 {
        for _ in 0..20 {
            stage.accept(&connection("a"), &"x".repeat(2_000));
        }
        stage.store.commit().unwrap();
    }
    stage.store.keeper().unwrap().tidy().unwrap();
    assert_eq!(stage.store.untidy(), 0);
    stage.accept(&connection("a"), "y");
    stage.store.commit().unwrap();
    let length = fs::metadata(log).unwrap().len();
    assert!(length < 20 * 1024 * 1024, "{length} octets");
}

/// A person with the `sqlite3` shell reads words, times and ids.
#[test]
fn the_file_can_be_read_by_people() {
    let mut stage = Stage::sqlite();
    let id = stage.accept(&connection("1112223333"), "echo hello");
    stage.store.commit().unwrap();
    let database = rusqlite::Connection::open(stage.file.as_ref().unwrap()).unwrap();
    let line: (String, String, String, String, String) = database
        .query_row("SELECT id, direction, state, identity, created_at FROM message_log", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?))
        })
        .unwrap();
    let expected = (id.to_string(), "in", "received", "1112223333", "2026-11-22T08:55:35Z");
    assert_eq!(
        (&*line.0, &*line.1, &*line.2, &*line.3, &*line.4),
        (&*expected.0, expected.1, expected.2, expected.3, expected.4)
    );
    let (state, actor): (String, String) = database
        .query_row("SELECT state, actor FROM history_log", [], |row| Ok((row.get(0)?, row.get(1)?)))
        .unwrap();
    assert_eq!((&*state, &*actor), ("received", "backend one"));
}

/// On a real file system of 16 to 64 MiB that this test may fill, for example a small tmpfs or loop mount.
#[test]
#[ignore = "needs a small file system of its own, named in RAPIDSMS_SMALL_DISK"]
fn p12_storage_trouble_on_a_disk_that_is_really_full() {
    let folder = PathBuf::from(std::env::var_os("RAPIDSMS_SMALL_DISK").unwrap());
    let file = folder.join("store.db");
    let mut stage = Stage::sqlite();
    stage.store = Box::new(Sqlite::open(&file, START).unwrap().store);
    let in_flight: Vec<_> =
        (0..100).map(|n| stage.accept(&connection(&n.to_string()), "in flight")).collect();
    stage.store.commit().unwrap();
    assert_eq!(stage.claim(Tried::Never, 1_000).len(), 100);
    stage.store.commit().unwrap();
    let filler = folder.join("filler");
    let mut other = fs::File::create(&filler).unwrap();
    while other.write_all(&[7; 4096]).is_ok() {}
    let mut acknowledged = 0_u64;
    let error = loop {
        let id = stage.ids.next(START);
        let incoming = Incoming::new(connection("z"), "y".repeat(1_000));
        let row = NewIncoming {
            id,
            incoming: &incoming,
            state: State::Received,
            reason: None,
            duplicate_of: None,
            origin: Origin::Real,
            joined: None,
            at: START,
        };
        let stored = stage.store.accept(&row);
        match stage.store.commit().and(stored) {
            Ok(()) => acknowledged += 1,
            Err(error) => break error,
        }
        assert!(acknowledged < 100_000);
    };
    assert!(matches!(error, StoreError::Full(_)), "{error}");
    // Somebody else takes what little there is, but the reserve has been given back to us first.
    stage.store.recover(&|_| true, START).unwrap();
    for id in in_flight {
        assert!(stage.finish(id), "outcomes fit into the reserve");
    }
    stage.store.commit().unwrap();
    while other.write_all(&[7; 4096]).is_ok() {}
    assert!(!stage.store.cured(), "it is as full as before");
    assert!(matches!(stage.store.trouble(), Some(StoreError::Full(_))));
    drop(stage.store);
    let opened = Sqlite::open(&file, START).unwrap();
    let mut store = opened.store;
    assert!(matches!(store.trouble(), Some(StoreError::Full(_))), "{:?}", store.trouble());
    assert_eq!(count(&store), 100 + acknowledged, "a full disk can still be read");
    fs::remove_file(&filler).unwrap();
    drop(other);
    assert!(store.cured(), "{:?}", store.trouble());
    store.close().unwrap();
    drop(store);
    assert_eq!(Sqlite::full_check(&file).unwrap(), Vec::<String>::new());
    let store = Sqlite::open(&file, START).unwrap().store;
    assert_eq!(count(&store), 100 + acknowledged);
}
