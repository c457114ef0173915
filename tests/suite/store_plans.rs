//! No statement of the SQLite store walks through a table: each finds its rows by a key or an index, so nothing becomes slower with
//! the backlog (issue point 5: 20,000 messages behind one connection delay nobody). The plans are SQLite's own, no clock is involved.

use crate::store::Stage;
use std::path::Path;

/// Statements that are meant to read a whole table, each with the reason.
const WHOLE: &[(&str, &str)] = &[
    ("SELECT backend, status, count FROM tally", "once at the start; a few rows for each backend"),
    ("SELECT b.name, t.status, t.count FROM tally", "a few rows for each backend"),
    ("SELECT b.name, m.status, m.count FROM", "the recount is there to read everything"),
    ("SELECT id FROM backends ORDER BY id", "as many rows as the settings have backends"),
    ("SELECT key, tail FROM messages ORDER BY key DESC LIMIT 1", "one row from the end"),
    ("SELECT * FROM messages ORDER BY key DESC LIMIT 100", "the probe at a start, rows from the end"),
    ("SELECT newest_key, newest_tail FROM store", "a table of one row"),
    ("SELECT clean FROM store", "a table of one row"),
    ("SELECT shifts FROM store", "a table of one row"),
    ("UPDATE store SET", "a table of one row"),
    ("SELECT count(*) FROM sqlite_schema", "the schema"),
    ("UPDATE messages SET due = min(due", "after a step of the wall clock everything that waits moves"),
    ("UPDATE messages SET not_before = min(", "after a step of the wall clock everything that waits moves"),
    ("SELECT b.name, t.count FROM tally", "a few rows for each backend"),
    ("UPDATE sets SET newest_at = min(", "after a step of the wall clock everything that waits moves"),
    ("UPDATE calls SET at = min(at", "after a step of the wall clock everything that waits moves"),
    ("SELECT count(*) FROM calls", "once at the start, and when a person asks"),
    ("UPDATE keys SET at = min(at", "after a step of the wall clock the ages of keys move along"),
];

/// Every statement in a source file, as SQLite will see it.
fn statements(source: &str) -> Vec<String> {
    let continued = regex::Regex::new(r"\\\n\s*").unwrap();
    let spaces = regex::Regex::new(r"\s+").unwrap();
    let literal =
        regex::Regex::new(r#"(?s)"((?:SELECT|INSERT|UPDATE|DELETE|INDEXED BY|WHERE \?1)\s.*?)""#).unwrap();
    let taken = regex::Regex::new(r#"(?s)const TAKEN: &str =\s*"(.*?)";"#).unwrap();
    let set = regex::Regex::new(r#"(?s)const SET: &str =\s*"(.*?)";"#).unwrap();
    let call = regex::Regex::new(r#"(?s)const CALL: &str =\s*"(.*?)";"#).unwrap();
    let call = call.captures(source).map_or(String::new(), |found| found[1].to_owned());
    let set = set.captures(source).map_or(String::new(), |found| found[1].to_owned());
    let columns = taken.captures(source).map_or(String::new(), |found| found[1].to_owned());
    literal
        .captures_iter(source)
        .map(|found| {
            let text = continued.replace_all(&found[1], "");
            let text = spaces
                .replace_all(&text, " ")
                .replace("{TAKEN}", &columns)
                .replace("{SET}", &set)
                .replace("{CALL}", &call)
                .replace("{order}", "m.key");
            // The pieces that a page is put together from.
            let text = text.replace("status IN ({})", "status IN (1, 2)");
            match text.strip_prefix("SELECT key FROM messages {source}") {
                Some(_) => String::new(),
                None if text.starts_with("INDEXED") || text.starts_with("WHERE ?1") => {
                    format!(
                        "SELECT key FROM messages {text} AND key BETWEEN ?3 AND ?4 ORDER BY key DESC LIMIT ?5"
                    )
                }
                None => text,
            }
        })
        .filter(|text| !text.is_empty())
        .collect()
}

#[test]
fn p7_isolation_no_statement_walks_through_a_table() {
    let stage = Stage::sqlite();
    let database = rusqlite::Connection::open(stage.file.as_ref().unwrap()).unwrap();
    database.set_db_config(rusqlite::config::DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store");
    let mut files = vec![source.join("sqlite.rs")];
    files.extend(std::fs::read_dir(source.join("sqlite")).unwrap().map(|entry| entry.unwrap().path()));
    let mut seen = 0;
    let mut faults = Vec::new();
    for file in files
        .iter()
        .filter(|file| !["salvage.rs", "schema.rs", "tests.rs"].iter().any(|name| file.ends_with(name)))
    {
        for sql in statements(&std::fs::read_to_string(file).unwrap()) {
            seen += 1;
            let mut statement = match database.prepare(&format!("EXPLAIN QUERY PLAN {sql}")) {
                Ok(statement) => statement,
                Err(error) => panic!("{}: {error}: {sql}", file.display()),
            };
            let count = statement.parameter_count();
            let parameters = rusqlite::params_from_iter(vec![rusqlite::types::Value::Null; count]);
            let plan: Vec<String> =
                statement.query_map(parameters, |row| row.get(3)).unwrap().map(Result::unwrap).collect();
            let whole = WHOLE.iter().any(|(start, _)| sql.starts_with(start));
            let walks = |line: &String| line.starts_with("SCAN") && !line.contains("CONSTANT ROW");
            let sorts = |line: &String| line.contains("TEMP B-TREE");
            if !whole && plan.iter().any(|line| walks(line) || sorts(line)) {
                faults.push(format!("{sql}\n    {}", plan.join("\n    ")));
            }
        }
    }
    assert!(seen > 40, "only {seen} statements were found: has their notation changed?");
    assert!(faults.is_empty(), "these walk through a table or sort:\n{}", faults.join("\n"));
}

/// What every message goes through makes no table of its own on the way, which an innocent `IN` in a partial index would cause.
#[test]
fn no_change_of_a_message_builds_a_table() {
    let stage = Stage::sqlite();
    let database = rusqlite::Connection::open(stage.file.as_ref().unwrap()).unwrap();
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/store/sqlite/changes.rs");
    let mut seen = 0;
    for sql in statements(&std::fs::read_to_string(source).unwrap()) {
        let of_a_life = ["INSERT INTO messages", "INSERT INTO history", "UPDATE messages SET status"];
        if !of_a_life.iter().any(|start| sql.starts_with(start)) {
            continue;
        }
        seen += 1;
        let mut statement = database.prepare(&format!("EXPLAIN {sql}")).unwrap();
        let parameters = vec![rusqlite::types::Value::Null; statement.parameter_count()];
        let steps =
            statement.query_map(rusqlite::params_from_iter(parameters), |row| row.get::<_, String>(1));
        let steps: Vec<String> = steps.unwrap().map(Result::unwrap).collect();
        assert!(!steps.iter().any(|step| step == "OpenEphemeral"), "{sql}");
    }
    assert!(seen >= 6, "the statements are not found");
}
