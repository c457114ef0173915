//! The http engine without a network: tests/http/*.txt. A case is a block of settings and what becomes of messages, answers and requests with it.
//!
//! ```text
//! === a title
//! outgoing_url = "http://gateway.example/?to={to}"
//! --- send +254712345678 hello
//! GET http://gateway.example/?to=%2B254712345678
//! --- answer
//! HTTP/1.1 200 OK
//!
//! the body
//! --- means
//! sent
//! (by what 200 usually means)
//! --- receive 192.0.2.7 POST /?a=b
//! Content-Type: application/json
//!
//! {"from": "1"}
//! --- heard
//! 200 text/plain; charset=utf-8 "OK"
//! +1 "hello"
//! ```
//!
//! `--- parked` stands for settings with which the backend cannot work. `BLESS=1` writes what comes of each anew: read the difference.

use rapidsms::backends::http::call::Writer;
use rapidsms::backends::http::given::{Given, PRESETS};
use rapidsms::backends::http::verdict::Judge;
use rapidsms::backends::http::{ENGINE, in_full, in_words, inbound, read_answer};
use rapidsms::backends::{BackendError, Heard};
use rapidsms::http::Request;
use rapidsms::http::client::Trouble;
use rapidsms::message::{About, Connection, MessageId, Origin, Outgoing, Wishes};
use rapidsms::registry::Registry;
use rapidsms::settings::{self, BackendSettings, Surroundings};
use rapidsms::time::Timestamp;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// 2026-11-22T08:55:35Z.
const NOW: Timestamp = Timestamp::from_seconds(1_795_337_735);

fn settings_of(block: &str) -> BackendSettings {
    let text =
        format!("INSTALLED_APPS = [\"echo\"]\n[INSTALLED_BACKENDS.gateway]\nENGINE = \"http\"\n{block}\n");
    let surroundings =
        Surroundings { variable: &|name| Some(format!("value-of-{name}")), readable_by_others: false };
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http/settings.toml");
    let loaded = settings::parse(text.as_bytes(), &path, &Registry::standard().catalogue(), &surroundings);
    let loaded = loaded.unwrap_or_else(|error| panic!("{error}\n{text}"));
    loaded.settings.backends.into_iter().next().expect("a backend")
}

fn message(identity: &str, text: &str) -> Outgoing {
    let id = MessageId::from_parts(1_795_337_735_000 << 12, 7);
    Outgoing {
        id,
        connection: Connection::new("gateway", identity),
        by: "gateway".into(),
        text: text.into(),
        in_response_to: None,
        answered: None,
        attempt: 2,
        expires_at: NOW + Duration::from_secs(3_570),
        origin: Origin::Real,
        wishes: Wishes::default(),
    }
}

/// `\n`, `\r`, `\t`, `\\` and `\u0000` stand for themselves.
fn unescaped(text: &str) -> String {
    let mut plain = String::new();
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        plain.push(match letter {
            '\\' => match letters.next() {
                Some('n') => '\n',
                Some('r') => '\r',
                Some('t') => '\t',
                Some('u') => {
                    let code: String = letters.by_ref().take(4).collect();
                    u32::from_str_radix(&code, 16).ok().and_then(char::from_u32).expect("a code")
                }
                other => other.expect("something behind the backslash"),
            },
            other => other,
        });
    }
    plain
}

/// One case, and what it says becomes of it.
struct Case {
    title: String,
    settings: String,
    steps: Vec<(String, String)>,
}

fn cases(text: &str) -> Vec<Case> {
    let mut cases = Vec::new();
    for block in text.split("\n=== ").skip(1) {
        let (title, rest) = block.split_once('\n').expect("a title");
        let mut sections = rest.split("\n--- ");
        let settings = sections.next().unwrap_or_default().trim_end().to_string();
        let steps = sections.map(|section| {
            let (what, body) = section.split_once('\n').unwrap_or((section, ""));
            (what.trim_end().to_string(), body.trim_end().to_string())
        });
        cases.push(Case { title: title.trim().to_string(), settings, steps: steps.collect() });
    }
    cases
}

impl Case {
    /// The same case with what really becomes of it.
    fn played(&self) -> String {
        let mut played = format!("=== {}\n{}\n", self.title, self.settings);
        let settings = settings_of(&self.settings);
        let parked = match (ENGINE.build)(&settings) {
            Ok(_) => None,
            Err(BackendError::Refused(why)) => Some(why),
            Err(BackendError::Lost(why)) => panic!("{}: {why}", self.title),
        };
        if let Some(why) = parked {
            let _ = write!(played, "--- parked\n{why}\n");
            return played;
        }
        let given = Given::of(&settings).expect("it was built");
        let writer = Writer::of(&settings, &given).expect("it was built");
        let judge = Judge::of(&given, writer.as_ref().map(Writer::secrets).unwrap_or_default())
            .expect("it was built");
        let intake = inbound::intake(&settings).expect("it was built");
        for (what, body) in &self.steps {
            let (word, rest) = what.split_once(' ').unwrap_or((what, ""));
            match word {
                "send" | "send-masked" => {
                    let (identity, text) = rest.split_once(' ').unwrap_or((rest, ""));
                    let outgoing = message(&unescaped(identity), &unescaped(text));
                    let writer = writer.as_ref().expect("an address");
                    let call = writer.call(&outgoing, NOW, word == "send-masked");
                    call.check().unwrap_or_else(|why| panic!("{}: {why}", self.title));
                    let _ = write!(played, "--- {what}\n{}\n", in_full(&call));
                }
                "answer" | "cut" => {
                    let mut answer = read_answer(body).unwrap_or_else(|why| panic!("{}: {why}", self.title));
                    answer.cut = word == "cut";
                    let (outcome, by) = judge.answer(&answer, NOW);
                    let _ =
                        write!(played, "--- {what}\n{body}\n--- means\n{}\n(by {by})\n", in_words(&outcome));
                }
                "unreached" | "unanswered" => {
                    let trouble = match word {
                        "unreached" => Trouble::Unreached("nobody there".into()),
                        _ => Trouble::Unanswered("no answer".into()),
                    };
                    let _ = write!(played, "--- {what}\n--- means\n{}\n", in_words(&judge.trouble(&trouble)));
                }
                "receive" => {
                    let heard = receive(rest, body, &self.title, &|request, pieces| {
                        intake.hear(request, pieces, NOW)
                    });
                    let _ = write!(played, "--- {what}\n{body}\n--- heard\n{}\n", told(&heard));
                    played = played.replace("\n\n--- heard", "\n--- heard");
                }
                "means" | "heard" | "parked" => {}
                other => panic!("{}: {other:?} is no step", self.title),
            }
        }
        played
    }
}

/// `[PEER] METHOD PATH` and headers with a body.
fn receive(line: &str, rest: &str, title: &str, hear: &dyn Fn(&Request, &[&str]) -> Heard) -> Heard {
    let words: Vec<&str> = line.split(' ').collect();
    let (peer, method, path) = match words.as_slice() {
        [method, path] => ("127.0.0.1", *method, *path),
        [peer, method, path] => (*peer, *method, *path),
        _ => panic!("{title}: {line:?} is no request"),
    };
    let (headers, body) = match rest.split_once("\n\n") {
        Some((headers, body)) => (headers, body),
        None if rest.starts_with("Body: ") || rest.is_empty() => ("", rest.trim_start_matches("Body: ")),
        None => (rest, ""),
    };
    let mut head = format!("{method} {path} HTTP/1.1\r\nHost: localhost\r\n");
    for header in headers.lines() {
        let _ = write!(head, "{header}\r\n");
    }
    if !body.is_empty() {
        let _ = write!(head, "Content-Length: {}\r\n", body.len());
    }
    let octets = format!("{head}\r\n{body}");
    let peer = format!("{peer}:40000").parse().expect("an address");
    let request =
        Request::parse(octets.as_bytes(), Some(peer)).unwrap_or_else(|why| panic!("{title}: {why}"));
    let segments = request.segments().expect("a path");
    let pieces: Vec<&str> = segments.iter().map(String::as_str).collect();
    hear(&request, &pieces)
}

fn told(heard: &Heard) -> String {
    let mut told = format!("{}", heard.answer.status());
    if let Some(kind) = heard.answer.get("content-type") {
        let _ = write!(told, " {kind}");
    }
    let _ = write!(told, " {:?}", String::from_utf8_lossy(heard.answer.body()));
    for message in &heard.messages {
        let _ = write!(told, "\n{} {:?}", message.connection.identity, message.text);
        if let Some(key) = &message.redelivery_key {
            let _ = write!(told, " key {key}");
        }
        if let Some(time) = message.source_time {
            let _ = write!(told, " at {time}");
        }
        if let Some(why) = &message.undecodable {
            let raw = String::from_utf8_lossy(message.raw.as_deref().unwrap_or_default()).into_owned();
            let _ = write!(told, " undecodable: {why}; {raw}");
        }
    }
    for report in &heard.reports {
        let about = match &report.about {
            About::Id(id) => format!("our {id}"),
            About::Remote(name) => format!("their {name}"),
        };
        let _ = write!(
            told,
            "\nreport {about} {:?} {:?}",
            report.verdict,
            report.note.as_deref().unwrap_or_default()
        );
    }
    told
}

fn files() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/http");
    let entries = fs::read_dir(folder).expect("tests/http").map(|entry| entry.expect("an entry").path());
    let mut files: Vec<PathBuf> =
        entries.filter(|path| path.extension().is_some_and(|end| end == "txt")).collect();
    files.sort();
    files
}

#[test]
fn each_case_becomes_what_it_says() {
    let (mut count, mut wrong) = (0, Vec::new());
    for file in files() {
        let text = fs::read_to_string(&file).expect("a file");
        let head = text.split("\n=== ").next().unwrap_or_default().to_string();
        let mut played = head.trim_end().to_string();
        played.push('\n');
        for case in cases(&text) {
            count += 1;
            let _ = write!(played, "\n{}", case.played());
        }
        if played == text {
            continue;
        }
        if std::env::var_os("BLESS").is_some() {
            fs::write(&file, &played).expect("a file");
            continue;
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        for (number, (expected, got)) in text.lines().zip(played.lines()).enumerate() {
            if expected != got {
                wrong.push(format!("{name}:{}:\n  says  {expected}\n  comes {got}", number + 1));
                break;
            }
        }
        if text.lines().count() != played.lines().count() && wrong.is_empty() {
            wrong.push(format!(
                "{name}: it has {} lines, and {} come",
                text.lines().count(),
                played.lines().count()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count >= 40, "only {count} cases were found");
}

/// Each preset is told what it needs and can then be started.
#[test]
fn each_preset_works_with_what_it_needs() {
    for (name, _) in PRESETS {
        let block = format!(
            "preset = \"{name}\"\nusername = \"u\"\npassword = {{ env = \"P\" }}\ntoken = {{ env = \"T\" }}\nfrom = \"22120\"\n{}",
            if matches!(*name, "junebug" | "rapidpro") {
                "outgoing_url = \"http://gateway.example/x\""
            } else {
                ""
            }
        );
        let settings = settings_of(&block);
        (ENGINE.build)(&settings).map(drop).unwrap_or_else(|error| panic!("{name}: {error}"));
        let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/http.md"))
            .expect("the document");
        assert!(text.contains(&format!("| `{name}` |")), "docs/http.md does not explain the preset {name}");
    }
}

/// What stands in settings.toml can not only be read: the engine takes it.
#[test]
fn each_block_of_the_manual_can_be_started() {
    let manual =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("settings.toml")).expect("the manual");
    let mut started = 0;
    for block in manual.split("\n\n").filter(|block| {
        block.contains("\n#: ENGINE = \"http\"") || block.contains("rapidsms.backends.http\"")
    }) {
        let lines = block.lines().filter_map(|line| line.strip_prefix("#:")).map(str::trim_start);
        let own: Vec<&str> = lines
            .filter(|line| {
                !line.starts_with('[') && !line.starts_with("ENGINE") && !line.starts_with("ca_file")
            })
            .collect();
        let settings = settings_of(&own.join("\n"));
        (ENGINE.build)(&settings).map(drop).unwrap_or_else(|error| panic!("{error}\n{block}"));
        started += 1;
    }
    assert!(started >= 5, "only {started} blocks");
}

#[test]
fn every_name_and_key_is_in_the_document() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/http.md")).expect("the document");
    for (name, _) in rapidsms::backends::http::call::NAMES {
        assert!(text.contains(&format!("`{{{name}}}`")), "docs/http.md does not name {{{name}}}");
    }
    for key in rapidsms::backends::http::keys::KEYS {
        assert!(text.contains(&format!("`{}", key.name)), "docs/http.md does not explain {}", key.name);
    }
}

/// "Bad input" of 1 MiB: refused before any engine reads it.
#[test]
fn a_query_of_a_mebibyte_is_no_request() {
    let query = "x".repeat(1024 * 1024);
    let octets = format!("GET /http/gateway/?identity=1&text={query} HTTP/1.1\r\nHost: localhost\r\n\r\n");
    let why = Request::parse(octets.as_bytes(), None).expect_err("it is too long");
    println!("{why}");
    assert!(!why.is_empty());
}
