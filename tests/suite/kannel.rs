//! The kannel engine without a Kannel: what leaves, what an answer means, what comes in. The cases are lines of `tests/kannel/*.txt`.

use rapidsms::backends::kannel::{self, Door, Rules, sendsms, verdict};
use rapidsms::backends::{Heard, Intake};
use rapidsms::http::Request;
use rapidsms::http::client::Trouble;
use rapidsms::message::{About, Connection, MessageId, Origin, Outgoing, SendFailure, Verdict, Wishes};
use rapidsms::pdu::to_hex;
use rapidsms::registry::Registry;
use rapidsms::settings::{self, BackendSettings, Surroundings};
use rapidsms::time::Timestamp;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

fn backend(settings: &str) -> BackendSettings {
    let text = format!("INSTALLED_APPS = []\n[INSTALLED_BACKENDS.k]\nENGINE = \"kannel\"\n{settings}");
    let surroundings = Surroundings { variable: &|_| None, readable_by_others: false };
    let catalogue = Registry::standard().catalogue();
    let loaded = settings::parse(text.as_bytes(), Path::new("settings.toml"), &catalogue, &surroundings);
    loaded.unwrap_or_else(|error| panic!("{text}\n{error}")).settings.backends.remove(0)
}

fn id() -> MessageId {
    MessageId::from_parts(1 << 50, 7)
}

fn outgoing(identity: &str, text: &str, wishes: Wishes) -> Outgoing {
    Outgoing {
        id: id(),
        connection: Connection::new("k", identity),
        by: "k".into(),
        text: text.into(),
        in_response_to: None,
        answered: None,
        attempt: 1,
        expires_at: Timestamp::from_seconds(2_000_000_000),
        origin: Origin::Real,
        wishes,
    }
}

/// The lines of a table that say something, with their numbers.
fn lines(table: &'static str) -> impl Iterator<Item = (usize, &'static str)> {
    let lines = table.lines().enumerate().map(|(index, line)| (index + 1, line));
    lines.filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#'))
}

#[test]
fn each_answer_has_its_meaning() {
    let mut wrong = String::new();
    for (number, line) in lines(include_str!("../kannel/answers.txt")) {
        let cells: Vec<&str> = line.split('|').map(str::trim).collect();
        let [status, body, expected] = cells[..] else { panic!("answers.txt:{number}: {line}") };
        let (status, wait) = status.split_once(' ').unwrap_or((status, ""));
        let wait = wait.parse().ok().map(Duration::from_secs);
        let outcome = verdict::of_answer(status.parse().expect("a status"), wait, body);
        let mut found = match &outcome.result {
            Ok(said) => {
                assert!(body.starts_with(said.as_str()), "{line}: {said}");
                "sent".to_string()
            }
            Err(SendFailure::Temporary(_)) => "later".to_string(),
            Err(SendFailure::Throttled(wait, _)) => format!("later {}", wait.as_secs()),
            Err(SendFailure::Permanent(_)) => "failed".to_string(),
            Err(SendFailure::Unsure(_)) => "unsure".to_string(),
            Err(SendFailure::Untried(_)) => "untried".to_string(),
        };
        if let Err(
            SendFailure::Temporary(why)
            | SendFailure::Throttled(_, why)
            | SendFailure::Permanent(why)
            | SendFailure::Unsure(why),
        ) = &outcome.result
        {
            assert!(why.contains(body) && why.contains(status), "{line}: its words are not told: {why}");
        }
        if outcome.pause.is_some() {
            found.push_str(", rests");
        }
        if found != expected {
            let _ = writeln!(wrong, "answers.txt:{number}: {line}\n  found {found}: {outcome:?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_call_without_an_answer_says_what_is_known() {
    let unreached = verdict::of_trouble(&Trouble::Unreached("refused".into()));
    assert_eq!(unreached.result, Err(SendFailure::Temporary("refused".into())));
    assert_eq!(unreached.pause.as_deref(), Some("refused"));
    let unanswered = verdict::of_trouble(&Trouble::Unanswered("reset".into()));
    assert_eq!(unanswered.result, Err(SendFailure::Unsure("reset".into())));
    assert!(unanswered.pause.is_some(), "a Kannel that hangs would make every message doubtful");
}

#[test]
fn a_long_or_wild_answer_is_told_in_one_line() {
    let body = format!("<html>\r\n\x1b[31m{}", "x".repeat(100_000));
    let outcome = verdict::of_answer(200, None, &body);
    let why = outcome.pause.expect("no answer of a Kannel");
    assert!(why.len() < 500 && !why.contains(['\r', '\n', '\x1b']), "{why}");
    // A border within a letter.
    for body in ["é", "0", "Authorization faile\u{301}d", "Not routablé"] {
        assert!(verdict::of_answer(403, None, body).result.is_err(), "{body}");
    }
}

#[test]
fn each_message_makes_its_request() {
    let table = include_str!("../kannel/requests.txt");
    let (mut wrong, mut cases) = (String::new(), 0);
    for block in table.split("\n\n") {
        let all: Vec<&str> = block.lines().filter(|line| !line.starts_with('#')).collect();
        let Some(first) = all.iter().position(|line| line.starts_with("> ")) else { continue };
        let rules =
            Rules::of(&backend(&all[..first].join("\n"))).unwrap_or_else(|why| panic!("{block}\n{why}"));
        for case in all[first..].join("\n").split("> ").filter(|case| !case.is_empty()) {
            cases += 1;
            let (message, expected) = case.split_once('\n').unwrap_or((case, ""));
            let mut wishes = Wishes::default();
            let message = match message.split_once(' ') {
                Some(("flash", rest)) => {
                    wishes.flash = true;
                    rest
                }
                Some(("no-report", rest)) => {
                    wishes.report = Some(false);
                    rest
                }
                _ => message,
            };
            let (identity, text) = message.split_once(' ').expect("a number and a text");
            let text = match text.strip_prefix("REPEAT ") {
                Some(count) => "x".repeat(count.parse().expect("a count")),
                None => unescaped(text),
            };
            let mut found = String::new();
            let mut say = |what: std::fmt::Arguments<'_>| {
                let _ = writeln!(found, "{what}");
            };
            match sendsms(&rules, &outgoing(&unescaped(identity), &text, wishes)) {
                Ok(request) => {
                    let spelled = |url: &str| url.replace(&id().to_string(), "ID");
                    assert_eq!(request.call.method, "GET");
                    if request.parts == 1 {
                        say(format_args!("GET {}", spelled(&request.call.url)));
                        if request.shown != request.call.url {
                            say(format_args!("shown {}", spelled(&request.shown)));
                        }
                    } else {
                        say(format_args!("parts {}", request.parts));
                    }
                    if let Some(note) = request.written.note {
                        say(format_args!("note {note}"));
                    }
                }
                Err(SendFailure::Permanent(why)) => {
                    let part = expected.trim().strip_prefix("failed ").unwrap_or("?");
                    say(format_args!("failed {}", if why.contains(part) { part } else { &why }));
                }
                Err(other) => say(format_args!("{other:?}")),
            }
            if found.trim() != expected.trim() {
                let _ = writeln!(wrong, "> {message}\nexpected\n{expected}\nfound\n{found}");
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(cases > 30, "only {cases} cases");
}

/// `\n` and `\u{20}`, as in Rust.
fn unescaped(text: &str) -> String {
    let mut pieces =
        text.replace("\\n", "\n").split("\\u{").map(str::to_string).collect::<Vec<_>>().into_iter();
    let mut out = pieces.next().unwrap_or_default();
    for piece in pieces {
        let (code, rest) = piece.split_once('}').expect("a code");
        out.extend(u32::from_str_radix(code, 16).ok().and_then(char::from_u32));
        out.push_str(rest);
    }
    out
}

fn request(method: &str, path: &str, peer: Option<&str>) -> Request {
    let bytes = format!("{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n");
    let peer: Option<SocketAddr> = peer.map(|peer| peer.parse().expect("an address"));
    Request::parse(bytes.as_bytes(), peer).unwrap_or_else(|why| panic!("{bytes}: {why}"))
}

fn hear(door: &Door, method: &str, rest: &str, query: &str) -> Heard {
    let path =
        if query.is_empty() { format!("/backend/k/{rest}") } else { format!("/backend/k/{rest}?{query}") };
    let rest: Vec<&str> = rest.split('/').collect();
    door.hear(&request(method, &path, Some("127.0.0.1:4711")), &rest, Timestamp::from_seconds(1_800_000_000))
}

/// One line for what came of a request.
fn told(heard: &Heard) -> String {
    let status = heard.answer.status();
    if status != 200 {
        assert!(heard.messages.is_empty() && heard.reports.is_empty(), "refused, and taken all the same");
        let body: serde_json::Value = serde_json::from_slice(heard.answer.body()).expect("JSON");
        return format!("{status}: {}", body["error"].as_str().expect("a sentence"));
    }
    assert_eq!(heard.answer.body(), b"", "a body would go to the phone");
    let mut told = String::new();
    for message in &heard.messages {
        assert_eq!(&*message.connection.backend, "k");
        told.push_str(&message.connection.identity);
        match &message.undecodable {
            None => {
                let _ = write!(told, " \"{}\"", message.text);
            }
            Some(why) => {
                let raw = to_hex(message.raw.as_deref().expect("the octets are kept"));
                let _ = write!(told, " octets {raw}: {why}");
            }
        }
        if let Some(key) = &message.redelivery_key {
            let _ = write!(told, " key {key}");
        }
    }
    for report in &heard.reports {
        assert_eq!(&*report.backend, "k");
        told.push_str(match report.verdict {
            Verdict::Delivered => "delivered",
            Verdict::Failed => "failed",
            Verdict::Underway => "underway",
        });
        match &report.about {
            About::Id(about) => told.push_str(&format!(" {about}").replace(&id().to_string(), "ID")),
            About::Remote(name) => told.push_str(&format!(" remote {name}")),
        }
        let _ = write!(told, ": {}", report.note.as_deref().unwrap_or_default());
    }
    told
}

/// Whether it is what was expected; of a refusal, and of why octets are no text, the words only.
fn fits(found: &str, expected: &str) -> bool {
    let Some((what, words)) = expected.split_once(": ") else { return found == expected };
    let (words, key) = words.split_once(" key ").map_or((words, ""), |(words, key)| (words, key));
    found.starts_with(&format!("{what}: "))
        && found.contains(words)
        && (key.is_empty() || found.ends_with(&format!(" key {key}")))
}

fn each_request(table: &'static str, rest: &str) {
    let door = Door::of(&backend("")).expect("a door");
    let mut wrong = String::new();
    for (number, line) in lines(table) {
        let (query, expected) = line.rsplit_once('|').expect("query | outcome");
        let (query, expected) = (query.trim().replace("ID", &id().to_string()), expected.trim());
        let found = told(&hear(&door, "GET", rest, &query));
        if !fits(&found, expected) {
            let _ = writeln!(wrong, "{number}: {line}\n  found {found}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn each_incoming_request_becomes_what_it_says() {
    each_request(include_str!("../kannel/messages.txt"), "");
}

#[test]
fn each_report_becomes_what_it_says() {
    each_request(include_str!("../kannel/reports.txt"), "delivery-report/");
}

#[test]
fn the_door_is_opened_by_get_alone_and_has_two_rooms() {
    let door = Door::of(&backend("")).expect("a door");
    let query = "id=1555&text=hi";
    assert_eq!(hear(&door, "GET", "", query).messages.len(), 1);
    for method in ["HEAD", "POST", "PUT", "DELETE"] {
        let heard = hear(&door, method, "", query);
        assert_eq!((heard.messages.len(), heard.answer.status()), (0, 405), "{method}");
        assert_eq!(heard.answer.get("Allow"), Some("GET"));
    }
    assert_eq!(hear(&door, "GET", "other/", query).answer.status(), 404);
    let report = format!("message_id={}&status=1", id());
    assert_eq!(hear(&door, "GET", "delivery-report", &report).reports.len(), 1, "without the slash, too");

    // RapidSMS 0.9 took any path at its own port.
    let own = backend("port = 13081");
    let door = Door::of(&own).expect("a door");
    assert_eq!(hear(&door, "GET", "any/path", query).messages.len(), 1);
    assert_eq!(hear(&door, "GET", "backend/k/delivery-report/", &report).reports.len(), 1);
    assert_eq!((kannel::ENGINE.listens)(&own), Some(("localhost".to_string(), 13081)));
    assert_eq!(
        (kannel::ENGINE.listens)(&backend("port = 13081\nhost = \"0.0.0.0\"")),
        Some(("0.0.0.0".into(), 13081))
    );
    assert_eq!((kannel::ENGINE.listens)(&backend("")), None);
}

#[test]
fn only_those_are_believed_whom_the_settings_name() {
    let ask = |settings: &str, peer: Option<&str>, query: &str| {
        let door = Door::of(&backend(settings)).expect("a door");
        let path = format!("/backend/k/?id=1555&text=hi{query}");
        let heard = door.hear(&request("GET", &path, peer), &[""], Timestamp::from_seconds(1));
        assert_eq!(heard.messages.is_empty(), heard.answer.status() != 200);
        let body = String::from_utf8_lossy(heard.answer.body()).into_owned();
        assert!(!body.contains("hunter2") && !body.contains("guess"), "{body}");
        (door.has_trust(), heard.answer.status())
    };
    let (near, far) = (Some("10.0.0.7:99"), Some("203.0.113.9:99"));
    assert_eq!(ask("", far, ""), (false, 200), "the listener's rules hold");
    let secret = "secret = \"hunter2\"";
    assert_eq!(ask(secret, near, ""), (true, 403));
    assert_eq!(ask(secret, near, "&secret="), (true, 403));
    assert_eq!(ask(secret, near, "&secret=guess"), (true, 403));
    assert_eq!(ask(secret, near, "&secret=hunter2"), (true, 200));
    assert_eq!(ask(secret, near, "&secret=guess&secret=hunter2"), (true, 403));
    let list = "incoming_addresses = [\"10.0.0.0/8\", \"::1\"]";
    assert_eq!(ask(list, near, ""), (true, 200));
    assert_eq!(ask(list, far, ""), (true, 403));
    assert_eq!(ask(list, Some("[::1]:5"), ""), (true, 200));
    assert_eq!(ask(list, None, ""), (true, 200), "the Unix socket is this machine's own user");
    let both = format!("{secret}\n{list}");
    assert_eq!(ask(&both, near, ""), (true, 403));
    assert_eq!(ask(&both, far, "&secret=hunter2"), (true, 403));
    assert_eq!(ask(&both, near, "&secret=hunter2"), (true, 200));
}

#[test]
fn settings_that_cannot_work_say_why() {
    for (settings, part) in [
        ("charset = \"klingon\"", "no character set \"klingon\""),
        ("incoming_addresses = [\"localhost\"]", "\"localhost\" is no address"),
        ("delivery_report_url = \"http://127.0.0.1/#x\"", "delivery_report_url"),
        ("timeout = \"2 min\"", "shorter than watchdog"),
    ] {
        let why = Rules::of(&backend(settings)).expect_err(settings).to_string();
        assert!(why.contains(part), "{settings}: {why}");
    }
}

#[test]
fn a_rehearsal_shows_the_request_and_reads_an_answer() {
    let rehearse = kannel::ENGINE.rehearse.expect("it rehearses");
    let settings = backend(
        "sendsms_params = { username = \"u\", password = \"hunter2\" }\nsecret = \"hunter2hunter2\"\n\
         delivery_report_url = \"http://127.0.0.1:8000\"",
    );
    let message = outgoing("+1555", "ሰላም", Wishes::default());
    let told = |answer: Option<&str>| rehearse(&settings, &message, answer).expect("a rehearsal");
    let request = told(None);
    assert!(
        request.starts_with("GET http://127.0.0.1:13013/cgi-bin/sendsms?username=u&password=***&to=%2B1555&"),
        "{request}"
    );
    assert!(request.contains("1 message in UCS-2") && !request.contains("hunter2"), "{request}");
    for (answer, meaning) in [
        ("0: Accepted for delivery", "This answer means: sent: 0: Accepted for delivery"),
        ("HTTP/1.1 202 Accepted\r\nServer: Kannel/1.4.5\r\n\r\n0: Accepted for delivery", "means: sent"),
        ("HTTP/1.1 400 Bad Request\n\nMissing receiver number, rejected", "means: failed"),
        ("HTTP/1.1 503 Busy\nRetry-After: 9\n\n", "means: tried again later"),
        ("Authorization failed for sendsms", "The backend would be down for a while"),
        ("HTTP/1.1 504 Gateway Timeout\n\n", "means: it may have been sent"),
    ] {
        let told = told(Some(answer));
        assert!(told.contains(meaning), "{answer}: {told}");
    }
    assert!(rehearse(&settings, &message, Some("HTTP/1.1 OK")).is_err());
    let nobody = rehearse(&settings, &outgoing(" ", "hi", Wishes::default()), None).expect("a rehearsal");
    assert!(nobody.contains("failed: there is no number"), "{nobody}");
}

proptest::proptest! {
    #![proptest_config(proptest::test_runner::Config { failure_persistence: None, ..Default::default() })]

    /// Nothing that a stranger sends panics, and whatever is taken has its octets or its text.
    #[test]
    fn no_query_panics(query in "[ -~]{0,80}", rest in "[a-z/-]{0,12}") {
        let query: String = query.chars().filter(|letter| !matches!(letter, ' ' | '#')).collect();
        let door = Door::of(&backend("")).expect("a door");
        let heard = hear(&door, "GET", &rest, &query);
        proptest::prop_assert!(heard.messages.len() + heard.reports.len() <= 1);
    }

    #[test]
    fn no_fields_panic(
        id in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..20),
        text in proptest::collection::vec(proptest::prelude::any::<u8>(), 0..40),
        charset in "(UTF-8|UTF-16BE|ascii|ISO-8859-1|Shift_JIS|gb18030|klingon|8-BIT|)",
        coding in "[0-3]?",
    ) {
        let value = |octets: &[u8]| form_urlencoded::byte_serialize(octets).collect::<String>();
        let query = format!("id={}&text={}&charset={charset}&coding={coding}", value(&id), value(&text));
        let heard = hear(&Door::of(&backend("")).expect("a door"), "GET", "", &query);
        for message in &heard.messages {
            if message.undecodable.is_some() {
                proptest::prop_assert_eq!(message.raw.as_deref(), Some(&text[..]));
            }
        }
    }

    /// Whatever the text and the settings: either a request that can be sent or a sentence, and nothing is turned into "?".
    #[test]
    fn no_text_panics(text in ".{0,60}", coding in 0_u8..4, charset in "(ascii|UTF-8|UTF-16BE|latin-1|cp1251|)") {
        let mut settings = String::new();
        if coding < 3 {
            let _ = writeln!(settings, "coding = {coding}");
        }
        if !charset.is_empty() {
            let _ = writeln!(settings, "charset = \"{charset}\"");
        }
        let rules = Rules::of(&backend(&settings)).expect("rules");
        let request = sendsms(&rules, &outgoing("+1555", &text, Wishes::default())).expect("a request");
        let questions = |octets: &[u8]| octets.iter().filter(|octet| **octet == b'?').count();
        if request.written.charset.as_deref() == Some("UTF-8") {
            proptest::prop_assert_eq!(&request.written.octets, text.as_bytes());
        } else if !charset.starts_with("UTF-16") {
            proptest::prop_assert_eq!(questions(&request.written.octets), questions(text.as_bytes()));
        }
    }
}
