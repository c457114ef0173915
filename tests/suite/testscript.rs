//! TestScript: `tests/scripts/language.txt` has every sentence of the language, `tests/scripts/wrong/*.txt` each way to fail,
//! with the message that a person gets in `wrong/messages.txt`.

use rapidsms::apps::echo::Echo;
use rapidsms::apps::fallback::{DEFAULT_RESPONSE, Fallback};
use rapidsms::apps::{App, AppError, Flow, Host, Message};
use rapidsms::message::{Connection, Incoming};
use rapidsms::phases::Apps;
use rapidsms::router::{BackendPolicy, Policy, Router};
use rapidsms::store::memory::Memory;
use rapidsms::testing::{BACKEND, START, TestRouter, TestScript};
use rapidsms::time::Timestamp;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Answers what the scripts ask: `several`, `twins`, `silence`, `when`, `where`, `tell BACKEND/IDENTITY`, and an empty text.
struct Clerk;

impl App for Clerk {
    fn handle(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        let text = message.text().to_string();
        match text.as_str() {
            "several" => {
                message.respond("first");
                message.respond("second");
                message.respond("third");
            }
            "twins" => {
                message.respond("twin");
                message.respond("twin");
            }
            "" => {
                message.respond("nothing?");
            }
            "silence" => {
                message.respond("");
            }
            "padded" => {
                message.respond("  padded\n");
            }
            "when" => {
                message.respond(message.received_at().to_string());
            }
            "where" => {
                message.respond(message.connection().backend.to_string());
            }
            "tomorrow" => {
                let tomorrow = message.received_at() + Duration::from_secs(86_400);
                message.respond("good morning").not_before = Some(tomorrow);
            }
            "later" => return Ok(Flow::Later),
            text => match text.strip_prefix("tell ").and_then(|to| to.split_once('/')) {
                Some((backend, identity)) => {
                    message.send(Connection::new(backend, identity), "news");
                }
                None => return Ok(Flow::Next),
            },
        }
        Ok(Flow::Done)
    }
}

fn router() -> TestRouter {
    let mut router = TestRouter::new(Apps::new().with("clerk", Clerk).with("echo", Echo));
    // What a tester says does not leave by a real line, so this one allows it.
    router.add_backend("zain", BackendPolicy { allow_test_traffic: true, ..BackendPolicy::real() });
    router
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts")
}

fn run(name: &str, text: &str) -> Result<usize, String> {
    let script = TestScript::parse(name, text).map_err(|failure| failure.to_string())?;
    script.run(&mut router()).map_err(|failure| failure.to_string())
}

fn failure(text: &str) -> String {
    run("script", text).expect_err("this script must fail")
}

#[test]
fn the_language() {
    let text = std::fs::read_to_string(folder().join("language.txt")).unwrap();
    let written =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#')).count();
    assert_eq!(run("language.txt", &text), Ok(written));
}

#[test]
fn the_example_of_the_old_documents() {
    let text = std::fs::read_to_string(folder().join("documents.txt")).unwrap();
    let fallback = Fallback::new(Some(DEFAULT_RESPONSE), "RapidSMS").unwrap();
    let mut router = TestRouter::new(Apps::new().with("echo", Echo).with("default", fallback));
    let script = TestScript::parse("documents.txt", &text).unwrap();
    assert_eq!(script.run(&mut router), Ok(8));
    // As it stood there, with > in its last line, it proved nothing; now that is a failure.
    let uncorrected = TestScript::parse("old", "1112223333 > echo hello\n1112223333 > hello").unwrap();
    let why = uncorrected.run(&mut router).unwrap_err().to_string();
    assert_eq!(why, "old:1: nobody expected the reply 1112223333: \"hello\"");
}

/// Each wrong script fails with the message that stands beside its name.
#[test]
fn wrong_scripts_fail_with_the_place_and_the_reason() {
    let folder = folder().join("wrong");
    let mut names: Vec<String> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name != "messages.txt")
        .collect();
    names.sort();
    assert!(names.len() >= 15, "{names:?}");
    let mut messages = String::new();
    for name in names {
        let text = std::fs::read_to_string(folder.join(&name)).unwrap();
        let message = run(&name, &text).expect_err(&name);
        messages += &format!("{message}\n\n");
    }
    let expected = std::fs::read_to_string(folder.join("messages.txt")).unwrap();
    assert_eq!(messages.trim_end(), expected.trim_end(), "\nas they are now:\n{messages}");
}

/// A script whose reply has blanks around it can expect it, which in the old systems it never could.
#[test]
fn blanks_around_a_reply_do_not_count() {
    assert_eq!(run("script", "1 > padded\n1 < padded"), Ok(2));
}

#[test]
fn lines_end_as_files_end_them() {
    assert_eq!(run("script", "# comment\r\n\r\n1 > echo hello\r\n1 < hello\r\n"), Ok(2));
    assert_eq!(run("script", "\u{feff}# saved by an editor that marks its files\n1 > ping\n1 < pong"), Ok(2));
    assert_eq!(run("script", ""), Ok(0));
}

/// Every number in a message is that of the file, comments and blank lines counted.
#[test]
fn the_line_is_that_of_the_file() {
    let why = failure("# one\n\n# three\n1 > echo hello\n# five\n1 < goodbye\n");
    assert_eq!(why, "script:6: expected 1: \"goodbye\"\n  got      1: \"hello\"");
    let parsed = TestScript::parse("a.txt", "1 > ping\n\nnonsense").unwrap_err();
    assert_eq!((parsed.name.as_str(), parsed.line), ("a.txt", 3));
}

/// A script reports what the router refuses, as a failure of its line.
#[test]
fn what_the_router_refuses_fails_the_script() {
    let why = failure(&format!("1 > ping\n1 < pong\n{} > ping", "9".repeat(300)));
    assert_eq!(why, "script:3: refused: the identity has 300 octets; at most 256 characters are possible");
}

/// What is sent at its own time is not sent before; a script that sets the clock there gets it.
#[test]
fn appointments_are_kept_by_the_clock_of_the_script() {
    let script = "1 @202601010800 > tomorrow\n1 @202601020759 > ping\n1 < pong\n1 @202601020800 > ping\n";
    assert_eq!(run("script", &format!("{script}1 < good morning\n1 < pong")), Ok(6));
}

/// An app that never answers costs no real time: the clock goes on to the moment when its time is up.
#[test]
fn an_app_that_never_answers_costs_no_time() {
    let mut router = router();
    assert_eq!(router.ask("1", "later"), [] as [&str; 0]);
    assert_eq!(router.now(), START + Duration::from_secs(10));
    assert_eq!(router.ask("1", "ping"), ["pong"]);
    assert_eq!(router.router().pending(), 0);
}

/// A script may be run again, and several may share a router.
#[test]
fn a_script_can_be_run_again() {
    let mut router = router();
    let script = TestScript::parse("script", "1 > ping\n1 < pong").unwrap();
    for _ in 0..3 {
        assert_eq!(script.run(&mut router), Ok(2));
    }
}

#[test]
fn a_router_in_a_test_is_driven_by_hand() {
    let mut router = router();
    assert_eq!(router.now(), START);
    assert_eq!(router.ask("1", "echo hello"), ["hello"]);
    let sent = router.receive(Incoming::new(Connection::new("zain", "+1"), "echo there")).unwrap();
    assert_eq!((sent[0].text.as_str(), &*sent[0].connection.backend), ("there", "zain"));
    assert!(router.receive(Incoming::new(Connection::new("nowhere", "+1"), "x")).is_err());
    router.ask("1", "tomorrow");
    assert!(router.advance(Duration::from_secs(86_399)).is_empty());
    assert_eq!(router.advance(Duration::from_secs(1))[0].text, "good morning");
    router.set_clock(Timestamp::from_seconds(0));
    assert_eq!(router.ask("1", "when"), ["1970-01-01T00:00:00.000Z"]);
    router.set_default_backend("zain");
    assert_eq!(router.ask("1", "where"), ["zain"]);
}

/// An app that does not start is the finding, by name.
#[test]
fn an_app_that_does_not_start_is_named() {
    struct Broken;
    impl App for Broken {
        fn start(&mut self, _host: &Host) -> Result<(), AppError> {
            Err(AppError("no such table".into()))
        }
    }
    let apps = Apps::new().with("broken", Broken);
    let router = Router::new(Box::new(Memory::new()), apps, Policy::default(), 1);
    let failures = TestRouter::around(router).err();
    assert_eq!(failures, Some(vec!["app broken did not start: failed: no such table".to_string()]));
    assert_eq!(BACKEND, "message_tester");
}
