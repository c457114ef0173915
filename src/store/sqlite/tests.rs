//! What can only be tried from within: a disk that is full at a chosen moment, and steps of migration that do not exist yet.

use super::*;
use crate::message::{Ids, Incoming, Origin};
use std::os::unix::fs::PermissionsExt;

const START: Timestamp = Timestamp(1_795_337_735_000_000);

fn accept(store: &mut Sqlite, ids: &mut Ids, text: &str) -> Result<MessageId, StoreError> {
    let id = ids.next(START);
    let incoming = Incoming::new(Connection::new("one", "a"), text);
    store.accept(&NewIncoming {
        id,
        incoming: &incoming,
        state: State::Received,
        reason: None,
        duplicate_of: None,
        origin: Origin::Real,
        joined: None,
        at: START,
    })?;
    Ok(id)
}

#[test]
fn p12_storage_trouble_a_full_disk_loses_nothing_and_heals() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let ballast = guard::beside(&fs::canonicalize(folder.path()).unwrap().join("store.db"), ".ballast");
    let mut store = Sqlite::open(&path, START).unwrap().store;
    let mut ids = Ids::new(None, 1);
    let kept = accept(&mut store, &mut ids, "kept").unwrap();
    store.commit().unwrap();
    store.unfinished(Tried::Never, 1, START).unwrap();
    store.commit().unwrap();
    assert!(ballast.exists());
    // SQLite reports a file that may not grow exactly as a full disk.
    let database = store.database.as_ref().unwrap();
    let pages: i64 = database.query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    database.query_row(&format!("PRAGMA max_page_count = {}", pages + 2), [], |_| Ok(())).unwrap();
    let failed = (0..1_000).find_map(|_| accept(&mut store, &mut ids, &"x".repeat(1_000)).err());
    assert!(matches!(failed, Some(StoreError::Full(_))), "{failed:?}");
    assert!(accept(&mut store, &mut ids, "y").is_err(), "the transaction is doomed");
    assert!(matches!(store.commit(), Err(StoreError::Full(_))));
    assert!(matches!(store.trouble(), Some(StoreError::Full(_))));
    assert!(!ballast.exists(), "the reserve was given up");
    assert_eq!(store.waiting(Direction::In), 1, "nothing of the failed transaction is left");
    // With the reserve the outcome of what was in flight is recorded; that does not mean that there is room for more.
    assert_eq!(store.recover(&|id| id == kept, START).unwrap(), []);
    let ending = Ending { state: State::Handled, reason: None, actor: "app echo".into() };
    assert!(store.finish(kept, &ending, START).unwrap());
    store.commit().unwrap();
    assert!(matches!(store.trouble(), Some(StoreError::Full(_))));
    assert!(store.cured());
    assert!(ballast.exists() && store.trouble().is_none());
    accept(&mut store, &mut ids, "z").unwrap();
    store.commit().unwrap();
    assert_eq!(store.waiting(Direction::In), 1);
}

#[test]
fn p12_storage_trouble_a_lost_connection_is_opened_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = Sqlite::open(&folder.path().join("store.db"), START).unwrap().store;
    let mut ids = Ids::new(None, 1);
    let kept = accept(&mut store, &mut ids, "kept").unwrap();
    store.commit().unwrap();
    accept(&mut store, &mut ids, "lost").unwrap();
    // What an I/O error at a commit does.
    let error = StoreError::Broken("disk I/O error".into());
    store.undo(Doom { error, caller: false });
    assert!(store.database.is_none() && store.trouble().is_some());
    assert_eq!(store.recover(&|_| false, START).unwrap(), []);
    assert_eq!((store.newest(), store.waiting(Direction::In)), (Some(kept), 1));
    assert!(store.cured());
    assert_eq!(store.unfinished(Tried::Never, 9, START).unwrap().len(), 1);
    store.commit().unwrap();
}

/// A file of version 1 with one row in a table of its own.
fn version_one(path: &Path) -> Database {
    guard::create_private(path).unwrap();
    let database = connect(path).unwrap();
    schema::migrate(&database, path, &["CREATE TABLE a (x); INSERT INTO a VALUES (1);"]).unwrap();
    database
}

fn rows(path: &Path, table: &str) -> Option<i64> {
    let database = Database::open(path).unwrap();
    database.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0)).ok()
}

#[test]
fn p20_upgrade_makes_a_copy_first_and_takes_all_steps_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let steps = [
        "CREATE TABLE a (x); INSERT INTO a VALUES (1);",
        "CREATE TABLE b (x); INSERT INTO b SELECT x FROM a;",
        "DROP TABLE a;",
    ];
    let database = version_one(&path);
    let notes = schema::migrate(&database, &path, &steps).unwrap();
    assert_eq!((rows(&path, "a"), rows(&path, "b")), (None, Some(1)));
    let backup = guard::beside(&path, ".before-v2");
    assert!(notes[0].contains(&backup.display().to_string()), "{notes:?}");
    assert_eq!((rows(&backup, "a"), rows(&backup, "b")), (Some(1), None));
    assert_eq!(fs::metadata(&backup).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(schema::version(&database, &path, 3).unwrap(), 3);
    assert_eq!(schema::migrate(&database, &path, &steps).unwrap(), Vec::<String>::new(), "once is enough");
    assert!(matches!(schema::migrate(&database, &path, &steps[..1]), Err(StoreError::Newer(_))));
}

#[test]
fn p20_upgrade_that_fails_or_is_killed_leaves_the_old_version() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let database = version_one(&path);
    let steps = ["", "CREATE TABLE b (x);", "this is not SQL"];
    assert!(schema::migrate(&database, &path, &steps).is_err());
    assert_eq!((rows(&path, "a"), rows(&path, "b")), (Some(1), None));
    assert_eq!(schema::version(&database, &path, 3).unwrap(), 1);
    // Killed in the middle: what lies on the disk then, under another name.
    database.execute_batch("BEGIN IMMEDIATE; CREATE TABLE b (x); PRAGMA user_version = 2;").unwrap();
    let copy = folder.path().join("copy.db");
    for suffix in ["", "-wal"] {
        fs::copy(guard::beside(&path, suffix), guard::beside(&copy, suffix)).unwrap();
    }
    let killed = connect(&copy).unwrap();
    assert_eq!(schema::version(&killed, &copy, 3).unwrap(), 1);
    assert_eq!((rows(&copy, "a"), rows(&copy, "b")), (Some(1), None));
}
