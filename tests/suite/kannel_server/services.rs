//! What a service is asked, for which messages, and what its answers mean: tables, without a thread.

use rapidsms::hosts::kannel_service::answer::{Rules, Verdict, judge};
use rapidsms::hosts::kannel_service::matching::Matching;
use rapidsms::hosts::kannel_service::template::{Facts, fill, wants};
use rapidsms::http::client::Answer;
use rapidsms::message::Connection;
use rapidsms::registry::Registry;
use rapidsms::settings::{self, Surroundings};
use rapidsms::time::Timestamp;
use std::fs;
use std::path::Path;

const FACTS: Facts<'_> = Facts {
    text: " Join  5 a*b  +x%",
    sender: "0025761",
    receiver: "1234",
    backend: "Zain 1",
    id: "0199-7",
    time: Timestamp::from_seconds(1_795_337_735),
    service: "pro ject",
};

fn table(path: &str) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    let rows = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    rows.map(str::to_string).collect()
}

#[test]
fn escapes_are_filled_as_a_kannel_fills_them() {
    let rows = table("tests/kannel_server/escapes.txt");
    assert!(rows.len() > 20);
    for row in rows {
        let (template, expected) = row.split_once(' ').unwrap();
        assert_eq!(fill(template, &FACTS).as_deref(), Some(expected.trim()), "{template}");
    }
}

#[test]
fn a_url_is_bounded() {
    let text = "\u{1221}".repeat(20_000);
    let facts = Facts { text: &text, ..FACTS };
    assert!(fill("http://a/?%b", &facts).is_some());
    assert_eq!(fill("http://a/?%b%b%b%a%a%a", &facts), None);
}

#[test]
fn messages_are_for_the_service_that_their_keyword_names() {
    let rows = table("tests/kannel_server/keywords.txt");
    assert!(rows.len() > 20);
    for row in rows {
        let mut rest = row.as_str();
        let mut word = || {
            let (word, behind) = rest.trim_start().split_once(' ').unwrap();
            rest = behind;
            word
        };
        let (keywords, pattern, url, all) = (word(), word(), word(), word());
        let (text, expected) = rest.trim_end().rsplit_once(' ').unwrap();
        let keywords: Vec<String> =
            keywords.split('|').filter(|word| *word != "-").map(str::to_string).collect();
        let pattern = Some(pattern).filter(|pattern| *pattern != "-");
        let matching = Matching::new(&keywords, pattern, all == "all", wants(url)).unwrap();
        assert_eq!(matching.takes(text), expected == "yes", "{row}");
    }
    let matching = Matching::new(&["join".into()], None, true, (0, false)).unwrap();
    assert_eq!(matching.stripped(" join  5 6"), "5 6");
    assert_eq!(matching.stripped("join"), "");
    let all = Matching::new(&[], None, false, (0, false)).unwrap();
    assert_eq!(all.stripped(" join 5"), " join 5");
    assert!(Matching::new(&[], Some("("), false, (0, false)).is_err());
    assert!(Matching::new(&[], Some("(x{1000}){1000}"), false, (0, false)).is_err());
}

const RULES: Rules = Rules { max_messages: 2, omit_empty: true, x_kannel: false };

fn answered(status: u16, kind: &str, body: &[u8]) -> Answer {
    let headers = vec![("content-type".to_string(), kind.to_string())];
    Answer { status, headers, body: body.to_vec(), cut: false }
}

fn judged(answer: &Answer, rules: &Rules) -> String {
    match judge(answer, &Connection::new("zain", "+1"), rules) {
        Verdict::Done(None) => "nothing".into(),
        Verdict::Done(Some(reply)) => format!("reply {}", reply.text),
        Verdict::Again(why) => format!("again: {why}"),
        Verdict::Failed(why) => format!("failed: {why}"),
    }
}

#[test]
fn answers_mean_what_they_mean_to_a_kannel() {
    let long = "x".repeat(400);
    let cases: [(u16, &str, &[u8], &str); 26] = [
        (200, "text/plain", b"hello", "reply hello"),
        (202, "text/plain", b" hello\r\n", "reply hello"),
        (200, "", b"hello", "reply hello"),
        (200, "text/plain", b"", "nothing"),
        (200, "text/plain", b" \n", "nothing"),
        (200, "TEXT/PLAIN; Charset=\"ISO-8859-1\"", b"caf\xe9", "reply caf\u{e9}"),
        (200, "text/plain", b"caf\xe9", "reply caf\u{e9}"),
        (
            200,
            "text/plain; charset=utf-8",
            b"caf\xe9",
            "failed: its answer is not in utf-8, as it says it is",
        ),
        (
            200,
            "text/plain; charset=klingon",
            b"x",
            "failed: its answer is in \"klingon\", which is no known charset",
        ),
        (
            200,
            "text/html; charset=utf-8",
            b"<b>a</b> &amp; &#66;&#x43; &unknown; 1 < 2",
            "reply a & BC &unknown; 1",
        ),
        (
            200,
            "text/html",
            b"<script>alert('x')</script><style>p{}</style><p>one</p><p>two<br/>three",
            "reply one\ntwo\nthree",
        ),
        (200, "text/html", b"<!-- <p>no</p> -->yes<br", "reply yes"),
        (200, "text/html", b"<script>never ends", "nothing"),
        (200, "application/json", b"{\"ok\":true}", "nothing"),
        (
            200,
            "text/plain",
            long.as_bytes(),
            "failed: its reply has 400 characters, and more than 2 parts (max_messages)",
        ),
        (201, "text/plain", b"hello", "again: it answered 201, and only 200 and 202 are success"),
        (204, "", b"", "again: it answered 204, and only 200 and 202 are success"),
        (400, "text/html", b"form failed to validate", "failed: it answered 400"),
        (401, "text/html", b"", "again: it answered 401"),
        (404, "text/html", b"", "again: it answered 404"),
        (429, "text/html", b"", "again: it answered 429"),
        (500, "text/html", b"Error: {'a': ['b']}", "again: it answered 500"),
        (503, "text/plain", b"", "again: it answered 503"),
        (301, "text/html", b"", "failed: it answered 301, a redirect to another path"),
        (302, "text/html", b"moved", "failed: it answered 302"),
        (100, "", b"", "again: it answered 100"),
    ];
    for (status, kind, body, expected) in cases {
        let got = judged(&answered(status, kind, body), &RULES);
        assert!(got.starts_with(expected), "{status} {kind} {body:?}: {got}");
        assert!(expected.contains(':') || got == expected, "{got}");
    }
    assert_eq!(judged(&answered(200, "", b"x"), &Rules { max_messages: 0, ..RULES }), "nothing");
    let empty = Rules { omit_empty: false, ..RULES };
    assert_eq!(judged(&answered(200, "", b""), &empty), "reply <Empty reply from service provider>");
    let cut = Answer { cut: true, ..answered(200, "", b"begi") };
    assert!(judged(&cut, &RULES).starts_with("failed: its answer is too long"));
}

#[test]
fn x_kannel_headers_change_the_reply() {
    let mut answer = answered(200, "text/plain", b"hi");
    for (name, value) in [
        ("x-kannel-to", "+999"),
        ("x-kannel-smsc", "tnm"),
        ("x-kannel-mclass", "0"),
        ("x-kannel-validity", "10"),
        ("x-kannel-dlr-mask", "3"),
        ("x-kannel-dlr-url", "http://a/?%d"),
    ] {
        answer.headers.push((name.into(), value.into()));
    }
    let rules = Rules { x_kannel: true, ..RULES };
    let Verdict::Done(Some(reply)) = judge(&answer, &Connection::new("zain", "+1"), &rules) else { panic!() };
    assert_eq!(reply.connection, Connection::new("tnm", "+999"));
    assert!(reply.wishes.flash && reply.validity.unwrap().as_secs() == 600);
    assert_eq!(reply.callback.unwrap().mask, 3);
    let Verdict::Done(Some(reply)) = judge(&answer, &Connection::new("zain", "+1"), &RULES) else { panic!() };
    assert_eq!((reply.connection, reply.callback), (Connection::new("zain", "+1"), None));
}

/// Faults that only the host can see point at their line.
#[test]
fn settings_that_cannot_work_are_refused_with_a_reason() {
    let cases = [
        ("", "needs get_url or post_url"),
        ("get_url = \"http://a/\"\npost_url = \"http://a/\"", "has get_url and post_url"),
        ("get_url = \"http://a/\"\nkeyword_regex = \"(\"", "is no pattern"),
        ("get_url = \"http://a/\"\nbackends = [\"nobody\"]", "no backend named \"nobody\""),
        ("get_url = \"http://a/\"\nheaders = { Content-Length = \"1\" }", "cannot be chosen"),
        ("get_url = \"http://a/\"\nheaders = { X = \"a\\nb\" }", "line end"),
        ("get_url = \"http://a/\"\nca_file = \"gone.pem\"", "gone.pem"),
    ];
    let registry = Registry::standard();
    for (keys, expected) in cases {
        let text = format!(
            "INSTALLED_APPS = [\"project\"]\n[INSTALLED_BACKENDS.zain]\nENGINE = \"bucket\"\n[APPS.project]\nENGINE = \"kannel_service\"\n{keys}\n"
        );
        let surroundings = Surroundings { variable: &|_| None, readable_by_others: false };
        let loaded =
            settings::parse(text.as_bytes(), Path::new("s.toml"), &registry.catalogue(), &surroundings)
                .unwrap_or_else(|error| panic!("{error}"));
        let error = registry.build_apps(&loaded.settings).err().expect(expected).to_string();
        assert!(error.contains(expected) && error.starts_with("s.toml:"), "{error}");
    }
}
