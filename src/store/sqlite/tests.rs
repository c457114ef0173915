//! What can only be tried from within: a disk that is full at a chosen moment, and steps of migration that do not exist yet.

use super::*;
use crate::message::{Callback, Ids, Incoming, Origin, Wishes};
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
    store.unfinished(Tried::Never, 1, &no_bound, START).unwrap();
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
    assert_eq!(store.unfinished(Tried::Never, 9, &no_bound, START).unwrap().len(), 1);
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

/// A file as version 1 of the schema left it: 400 received messages of 400 people, the second of them claimed before; and messages going out.
const OLD: &str = "
INSERT INTO backends VALUES (1, 'one'), (2, 'two');
WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 400)
    INSERT INTO connections SELECT n, 1 + n % 2, '+' || n, NULL FROM n;
INSERT INTO messages (key, tail, connection, backend, class, status, origin, created_at, updated_at, attempts, uncertain,
        redelivered, entries, lane, turn, due, text)
    SELECT id, 7, id, backend, 0, 1, 0, 5, 5, id = 2, 0, 0, 0, id * 4, id = 2, 0, 'text ' || id || hex(zeroblob(200)) FROM connections;
INSERT INTO messages (key, tail, connection, backend, class, status, origin, created_at, updated_at, attempts, uncertain,
        redelivered, entries, lane, turn, due, expires_at, open_until, remote_id, text) VALUES
    (1001, 7, 1, 2, 1, 11, 0, 5, 5, 0, 0, 0, 0, 5, 9, 5, 9000, 9000, NULL, 'queued'),
    (1002, 7, 2, 1, 2, 13, 0, 5, 5, 1, 0, 0, 0, NULL, 6, NULL, 9000, NULL, '17', 'sent'),
    (1003, 7, 2, 1, 2, 14, 0, 5, 5, 1, 0, 0, 0, NULL, 6, NULL, 9000, NULL, '18', 'delivered');
INSERT INTO tally VALUES (1, 1, 200), (2, 1, 200), (2, 11, 1), (1, 13, 1), (1, 14, 1);
UPDATE store SET clean = 1;
";

fn old_file(path: &Path) {
    guard::create_private(path).unwrap();
    let database = connect(path).unwrap();
    schema::migrate(&database, path, &schema::STEPS[..1]).unwrap();
    database.execute_batch(OLD).unwrap();
    database.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

#[test]
fn p20_upgrade_a_file_of_version_1_goes_on_where_it_was() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    old_file(&path);
    let Opened { mut store, notes, .. } = Sqlite::open(&path, START).unwrap();
    assert!(notes.len() == 1 && notes[0].contains("before-v2"), "{notes:?}");
    let claimed = store.unfinished(Tried::Before, 9, &no_bound, START).unwrap();
    assert_eq!(claimed.iter().map(|message| message.id.key()).collect::<Vec<_>>(), [2]);
    let claimed = store.unfinished(Tried::Never, 4, &no_bound, START).unwrap();
    assert_eq!(
        claimed.iter().map(|message| message.id.key()).collect::<Vec<_>>(),
        [1, 3, 4, 6],
        "both have a share"
    );
    assert_eq!(store.take_due("two", 9, START).unwrap()[0].outgoing.text, "queued");
    let id = MessageId::from_parts(1002, 7);
    assert_eq!(store.named("one", "17").unwrap(), Some(Named { id, part: 1, parts: 1 }));
    assert_eq!(store.named("one", "18").unwrap(), None, "nobody reports about it any more");
    store.commit().unwrap();
    let (tally, recount) = store.reader().unwrap().audit().unwrap();
    assert_eq!(tally, recount);
}

#[test]
fn p13_corruption_a_damaged_file_of_version_1_is_saved() {
    use std::os::unix::fs::FileExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    old_file(&path);
    let length = fs::metadata(&path).unwrap().len();
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0xff; 4096], length / 4096 / 2 * 4096).unwrap();
    let Opened { store, notes, .. } = Sqlite::open(&path, START).unwrap();
    assert!(notes.iter().any(|note| note.contains("were saved")), "{notes:?}");
    let waiting = store.waiting(Direction::In);
    assert!((300..400).contains(&waiting), "{waiting} of 400");
    let (tally, recount) = store.reader().unwrap().audit().unwrap();
    assert_eq!(tally, recount);
}

#[test]
fn p13_corruption_pieces_are_saved_with_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut store = Sqlite::open(&path, START).unwrap().store;
    let mut ids = Ids::new(None, 1);
    let ann = Connection::new("one", "ann");
    for total in 2..40 {
        accept(&mut store, &mut ids, &"x".repeat(300)).unwrap();
        let new = NewSet { connection: &ann, name: "8/7", total, origin: Origin::Real, at: START };
        let set = store.begin_set(&new).unwrap();
        let piece =
            Piece { sequence: 1, units: vec![120], source_time: None, redelivery_key: None, raw: None };
        store.keep_piece(set, &piece, START).unwrap();
    }
    store.commit().unwrap();
    store.close().unwrap();
    drop(store);
    // The first page is lost; a file that this version made lends another.
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 4096], 0).unwrap();
    let Opened { mut store, notes, .. } = Sqlite::open(&path, START).unwrap();
    assert!(notes.iter().any(|note| note.contains("were saved")), "{notes:?}");
    assert_eq!(store.waiting(Direction::In), 38);
    let sets = store.sets(&ann).unwrap();
    assert_eq!((sets.len(), store.pieces_of("one").unwrap()), (38, 38));
    assert_eq!(store.pieces(sets[5].number).unwrap()[0].units, [120]);
}

fn queue_with_callback(store: &mut Sqlite, ids: &mut Ids, callback: &Callback) -> MessageId {
    let id = ids.next(START);
    store
        .queue(&NewOutgoing {
            id,
            connection: &Connection::new("one", "ann"),
            queue: None,
            text: &"x".repeat(300),
            in_response_to: None,
            state: State::Queued,
            reason: None,
            priority: Priority::Single,
            not_before: None,
            expires_at: START + Duration::from_secs(1_000),
            origin: Origin::Real,
            wishes: Wishes::default(),
            callback: Some(callback),
            actor: "api",
            at: START,
        })
        .unwrap();
    let call = NewCall { host: "h", method: "GET", url: "http://h/", headers: "", body: None };
    for _ in 0..2 {
        store.tell(id, 4, false, Some(&call), START).unwrap();
    }
    id
}

#[test]
fn p20_upgrade_a_file_of_version_3_learns_to_call() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    guard::create_private(&path).unwrap();
    let database = connect(&path).unwrap();
    schema::migrate(&database, &path, &schema::STEPS[..1]).unwrap();
    database.execute_batch(OLD).unwrap();
    schema::migrate(&database, &path, &schema::STEPS[..3]).unwrap();
    drop(database);
    let Opened { mut store, notes, .. } = Sqlite::open(&path, START).unwrap();
    assert!(notes.len() == 1 && notes[0].contains("before-v4"), "{notes:?}");
    let taken = store.take_due("two", 9, START).unwrap();
    assert_eq!((taken[0].outgoing.text.as_str(), taken[0].called), ("queued", false));
    assert_eq!(taken[0].outgoing.wishes, Wishes::default());
    let mut ids = Ids::new(store.newest(), 1);
    let callback = Callback::new("http://h/%d", 31);
    let id = queue_with_callback(&mut store, &mut ids, &callback);
    store.commit().unwrap();
    assert_eq!(store.callback(id).unwrap().unwrap().callback, callback);
    assert_eq!(store.waiting_calls(), 2);
    let (tally, recount) = store.reader().unwrap().audit().unwrap();
    assert_eq!(tally, recount);
}

#[test]
fn p13_corruption_callbacks_and_calls_are_saved_with_the_rest() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store.db");
    let mut store = Sqlite::open(&path, START).unwrap().store;
    let mut ids = Ids::new(None, 1);
    let callback = Callback::new("http://h/%d", 31);
    let messages: Vec<_> = (0..40).map(|_| queue_with_callback(&mut store, &mut ids, &callback)).collect();
    store.commit().unwrap();
    store.close().unwrap();
    drop(store);
    use std::os::unix::fs::FileExt;
    let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
    file.write_all_at(&[0; 4096], 0).unwrap();
    let Opened { mut store, notes, .. } = Sqlite::open(&path, START).unwrap();
    assert!(notes.iter().any(|note| note.contains("were saved")), "{notes:?}");
    assert_eq!(store.waiting_calls(), 80);
    for id in messages {
        let wanted = store.callback(id).unwrap().unwrap();
        assert_eq!((wanted.callback, wanted.happened), (callback.clone(), 4));
    }
    let due = store.due_calls("h", 99, START).unwrap();
    assert_eq!(due.len(), 40, "the first of each message");
    store.end_call(due[0].number, START).unwrap();
    assert_eq!(store.due_calls("h", 99, START).unwrap().len(), 40);
    store.commit().unwrap();
}
