//! The table of requests, tests/kannel_server/sendsms.txt.

use proptest::prelude::*;
use rapidsms::http::Request;
use rapidsms::http::reader::{Progress, RequestReader, Sizes};
use rapidsms::message::{Draft, Priority};
use rapidsms::pdu::Splitting;
use rapidsms::registry::Registry;
use rapidsms::settings::{self, KannelServer, Surroundings};
use rapidsms::time::Timestamp;
use rapidsms::web::kannel::parameters::Parameters;
use rapidsms::web::kannel::sendsms::{Lines, Refusal, orders};
use std::fmt::Write as _;
use std::path::Path;

const SETTINGS: &str = r#"
INSTALLED_APPS = []
[kannel_server]
smscs = { usb0-modem = "zain" }
[kannel_server.users.rapidsms]
password = "secret"
backend = "zain"
[kannel_server.users.poor]
password = "secret"
backend = "ZAIN"
max_messages = 1
sender = "1234"
[kannel_server.users.inside]
password = "secret"
backend = "zain"
allow = ["10.0.0.0/8"]
[kannel_server.users.bare]
password = "secret"
[INSTALLED_BACKENDS.zain]
ENGINE = "bucket"
[INSTALLED_BACKENDS.FAKE]
ENGINE = "bucket"
[GROUPS.airtime]
MEMBERS = ["zain"]
"#;

const NOW: Timestamp = Timestamp::from_seconds(1_795_337_735);

fn server() -> KannelServer {
    let surroundings = Surroundings { variable: &|_| None, readable_by_others: false };
    let catalogue = Registry::standard().catalogue();
    let loaded = settings::parse(SETTINGS.as_bytes(), Path::new("settings.toml"), &catalogue, &surroundings);
    loaded.unwrap().settings.kannel_server.unwrap()
}

struct Two;

impl Lines for Two {
    fn knows(&self, name: &str) -> bool {
        ["zain", "FAKE", "airtime"].contains(&name)
    }
    fn splitting(&self, _name: &str) -> Splitting {
        Splitting::default()
    }
}

/// `\xHH` is an octet.
fn octets(text: &str) -> Vec<u8> {
    let mut pieces = text.split("\\x");
    let mut octets = pieces.next().unwrap_or_default().as_bytes().to_vec();
    for piece in pieces {
        octets.push(u8::from_str_radix(&piece[..2], 16).unwrap());
        octets.extend_from_slice(&piece.as_bytes()[2..]);
    }
    octets
}

fn request(lines: &[&str]) -> Request {
    let (peer, lines) = match lines {
        [first, rest @ ..] if first.starts_with("PEER ") => (&first[5..], rest),
        lines => ("127.0.0.1", lines),
    };
    let bytes = match lines {
        ["POST", rest @ ..] => {
            let end = rest.iter().position(|line| line.is_empty()).unwrap();
            let body = octets(&rest[end + 1..].join("\n"));
            let head = rest[..end].iter().map(|line| format!("{line}\r\n")).collect::<String>();
            let head = format!(
                "POST /cgi-bin/sendsms HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n{head}\r\n",
                body.len()
            );
            [head.into_bytes(), body].concat()
        }
        [query] => format!("GET /cgi-bin/sendsms?{query} HTTP/1.1\r\nHost: a\r\n\r\n").into_bytes(),
        _ => panic!("no request: {lines:?}"),
    };
    let peer = std::net::SocketAddr::new(peer.parse().unwrap(), 4711);
    let sizes = Sizes { body_bytes: 4 * 1024 * 1024, ..Sizes::default() };
    let mut reader = RequestReader::new(sizes, Some(peer));
    reader.push(&bytes);
    match reader.advance().unwrap() {
        Progress::Request(request) => request,
        other => panic!("{other:?}"),
    }
}

fn described(draft: &Draft) -> String {
    let mut text = format!("{} {} {:?}", draft.connection.backend, draft.connection.identity, draft.text);
    if draft.wishes.flash {
        text.push_str(" flash");
    }
    if draft.priority != Priority::Single {
        let _ = write!(text, " {:?}", draft.priority);
    }
    if let Some(validity) = draft.validity {
        let _ = write!(text, " validity {}s", validity.as_secs());
    }
    if let Some(at) = draft.not_before {
        let _ = write!(text, " not before +{}s", at.since(NOW).as_secs());
    }
    if let Some(part) = draft.wishes.part {
        let _ = write!(
            text,
            " part {} of {}, reference {} ({})",
            part.sequence, part.total, part.reference, part.bits
        );
    }
    if draft.wishes.report == Some(true) {
        text.push_str(" report");
    }
    if let Some(callback) = &draft.callback {
        let _ = write!(text, " callback {} {}", callback.mask, callback.url);
    }
    text
}

fn outcome(lines: &[&str], server: &KannelServer) -> Vec<String> {
    let request = request(lines);
    let peer = request.peer().map(|peer| peer.ip());
    let parameters = Parameters::of(&request).map_err(Refusal::from);
    match parameters.and_then(|parameters| orders(&parameters, peer, server, &Two, NOW)) {
        Ok(orders) => orders.drafts.iter().map(described).collect(),
        Err(refusal) => vec![format!("{} {}", refusal.status, refusal.words)],
    }
}

#[test]
fn each_request_of_the_table_becomes_what_stands_there() {
    let text = std::fs::read_to_string("tests/kannel_server/sendsms.txt").unwrap();
    let server = server();
    let mut wrong = String::new();
    let cases: Vec<&str> = text.split("\n@ ").skip(1).collect();
    assert!(cases.len() > 70, "only {} cases", cases.len());
    for case in cases {
        let mut lines: Vec<&str> = case.trim_end().lines().collect();
        let name = lines.remove(0);
        let answer = lines.iter().position(|line| line.starts_with("=> ")).unwrap();
        let expected: Vec<&str> = lines[answer..].iter().map(|line| line.trim_start_matches("=> ")).collect();
        let got = outcome(&lines[..answer], &server);
        if got != expected {
            let _ = writeln!(wrong, "{name}\n  expected {expected:#?}\n  got {got:#?}");
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn a_query_of_a_mebibyte_and_ten_thousand_receivers_end_soon() {
    let server = server();
    let text = "x".repeat(1024 * 1024);
    let answer = outcome(
        &[
            "POST",
            "Content-Type: application/x-www-form-urlencoded",
            "",
            &format!("username=rapidsms&password=secret&from=1&to=1&text={text}"),
        ],
        &server,
    );
    assert_eq!(
        answer,
        ["400 Message too long: more than 10 parts, which is all that this user may send, rejected"]
    );
    let many = "1+".repeat(10_000);
    let answer = outcome(
        &[
            "POST",
            "Content-Type: application/x-www-form-urlencoded",
            "",
            &format!("username=rapidsms&password=secret&from=1&to={many}&text=hi"),
        ],
        &server,
    );
    assert_eq!(answer, ["400 More than 1000 receivers, rejected"]);
    let names = "a=b&".repeat(100_000);
    let answer = outcome(&["POST", "Content-Type: application/x-www-form-urlencoded", "", &names], &server);
    assert_eq!(answer, ["403 Authorization failed for sendsms"]);
}

/// Pieces of requests in any order: nearer to the reader's corners than random octets.
fn pieces() -> impl Strategy<Value = String> {
    let piece = prop::sample::select(vec![
        "username=rapidsms",
        "password=secret",
        "from=1",
        "to=111",
        "text=",
        "udh=",
        "coding=",
        "charset=",
        "dlr-mask=31",
        "dlr-url=",
        "validity=",
        "&",
        "&",
        "&",
        "%",
        "%0",
        "%05%00%03%11%03%02",
        "%FF",
        "+",
        "-1",
        "2",
        "UTF-16BE",
        "UTF-16",
        "99999999999999999999",
        "<message>",
        "<submit>",
        "</submit>",
        "</message>",
        "<ud>",
        "</ud>",
        "<da><number>1</number></da>",
        "&#55296;",
        "&amp;",
        "<![CDATA[",
        "]]>",
        "<?xml encoding='x'",
        "<!DOCTYPE",
        "\u{1f600}",
    ]);
    proptest::collection::vec(piece, 0..24).prop_map(|pieces| pieces.concat())
}

fn never_panics(body: &[u8]) {
    let server = server();
    for head in [
        "Content-Type: application/x-www-form-urlencoded",
        "Content-Type: text/xml",
        "X-Kannel-Username: rapidsms\r\nX-Kannel-Password: secret\r\nX-Kannel-From: 1\r\nX-Kannel-To: 1\r\nX-Kannel-Coding: 2",
    ] {
        let head = format!(
            "POST /cgi-bin/sendsms HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n{head}\r\n\r\n",
            body.len()
        );
        let request = Request::parse(&[head.as_bytes(), body].concat(), None).unwrap();
        let read = Parameters::of(&request).map_err(Refusal::from);
        match read.and_then(|parameters| orders(&parameters, None, &server, &Two, NOW)) {
            Ok(orders) => {
                assert!(!orders.drafts.is_empty());
                for draft in orders.drafts {
                    assert!(draft.wishes.part.is_none_or(|part| part.fault().is_none()), "{draft:?}");
                    assert!(draft.callback.is_none_or(|callback| callback.fault().is_none()));
                }
            }
            Err(refusal) => assert!(matches!(refusal.status, 400 | 403), "{refusal:?}"),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_request_panics(body in proptest::collection::vec(any::<u8>(), 0..300)) {
        never_panics(&body);
    }

    #[test]
    fn no_pieces_of_requests_panic(body in pieces()) {
        never_panics(body.as_bytes());
    }
}
