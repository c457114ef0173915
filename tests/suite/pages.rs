//! The pages and the reading API as strangers and clumsy programs use them, on a running router.

use super::daemon::{Daemon, ECHO, folder, write};
use rustix::process::Signal;
use serde_json::json;

/// Where an answer sends the browser.
#[track_caller]
fn location(head: &str) -> &str {
    head.lines()
        .find_map(|line| line.strip_prefix("Location: "))
        .unwrap_or_else(|| panic!("it leads nowhere: {head}"))
}

#[test]
fn whoever_sends_by_the_page_comes_back_to_the_conversation() {
    let daemon = Daemon::start(ECHO);
    let identities =
        [".", "..", "a/b", "/", "//", "%", "%2F", "?", "#", "+1 5", "\u{1f600}", "\u{202e}x", "<b>"];
    for (index, identity) in identities.into_iter().enumerate() {
        let text = format!("number {index}.");
        let form = [("identity", identity), ("text", text.as_str()), ("page", "1")];
        let sent = daemon.post("/httptester/message_tester/", &form);
        assert_eq!(sent.status, 303, "{identity}: {}", sent.body);
        let page = location(&sent.head);
        let (path, _) = page.split_once('?').expect("it says what was sent");
        // A browser takes these for "here" and "up" (WHATWG URL clause 4.4), and asks for another page.
        for part in path.split('/') {
            assert!(![".", ".."].contains(&part.to_lowercase().replace("%2e", ".").as_str()), "{page}");
        }
        let shown = daemon.get(page);
        assert_eq!(shown.status, 200, "{identity}: {}", shown.body);
        assert!(shown.body.contains(&text), "{identity}: {page}\n{}", shown.body);
        assert!(!shown.body.contains("<b>"), "{}", shown.body);
    }
}

#[test]
fn a_tester_without_an_identity_picks_one() {
    let daemon = Daemon::start(ECHO);
    for path in
        ["/httptester/message_tester/", "/httptester/message_tester", "/httptester/message_tester/?identity="]
    {
        let answer = daemon.get(path);
        assert_eq!(answer.status, 303, "{path}: {}", answer.body);
        assert!(location(&answer.head).starts_with("/httptester/message_tester/"), "{}", answer.head);
        assert_eq!(daemon.get(location(&answer.head)).status, 200);
    }
    assert_eq!(daemon.get("/httptester/nobody/").status, 404);
}

#[test]
fn a_filter_that_would_be_ignored_is_refused() {
    let daemon = Daemon::start(ECHO);
    for filter in ["state=sent&state=queued", "limit=1&limit=2", "backend=nobody"] {
        let answer = daemon.get(&format!("/api/v1/messages?{filter}"));
        assert!(matches!(answer.status, 400 | 404), "{filter}: {}", answer.body);
        assert!(answer.json()["error"].is_string(), "{filter}");
    }
}

#[test]
fn messages_of_a_backend_that_left_the_settings_can_be_asked_for() {
    let place = folder(&format!("{ECHO}\n[INSTALLED_BACKENDS.old]\nENGINE = \"bucket\"\n"));
    let daemon = Daemon::start_in(place);
    let sent =
        daemon.post_json("/api/v1/messages", &json!({"backend": "old", "identity": "1", "text": "kept"}));
    assert_eq!(sent.status, 202, "{}", sent.body);
    write(daemon.folder(), "settings.toml", ECHO);
    daemon.signal(Signal::HUP);
    daemon.wait_for_line("reloaded: -old");
    assert_eq!(daemon.messages("backend=old").len(), 1);
    assert_eq!(daemon.messages("backend=old&identity=2").len(), 0);
}

#[test]
fn the_body_of_a_message_is_an_object() {
    let daemon = Daemon::start(ECHO);
    for body in [json!(["message_tester", "1", "hello"]), json!("hello"), json!(null)] {
        let answer = daemon.post_json("/api/v1/messages", &body);
        assert_eq!(answer.status, 400, "{body}");
        assert!(answer.body.contains("JSON object"), "{}", answer.body);
    }
    assert_eq!(daemon.messages("direction=out").len(), 0);
}

#[test]
fn a_text_is_counted_for_programs() {
    let daemon = Daemon::start(ECHO);
    let answer = daemon.get("/api/v1/parts?text=G%C3%BCnayd%C4%B1n&backend=message_tester");
    assert_eq!(answer.status, 200, "{}", answer.body);
    let culprit = json!({"character": "ı", "code": "U+0131", "times": 1, "places": [6]});
    let shorter = json!({"text": "Günaydin", "parts": 1, "units": 8, "units_left": 152});
    let expected = json!({
        "alphabet": "ucs2", "parts": 1, "characters": 8, "units": 8, "units_in_last": 8, "units_left": 62,
        "locking_language": "default", "single_language": "default",
        "culprits": [culprit], "culprits_left_out": 0, "transliterated": shorter,
    });
    assert_eq!(answer.json(), expected);
    // What is too long for a query is sent as a body.
    let long = "a".repeat(30_000);
    let answer = daemon.post_json("/api/v1/parts", &json!({"text": long, "wide_reference": true}));
    assert_eq!(answer.json()["parts"], 198, "{}", answer.body);
    let turkish = json!({"text": "ş".repeat(71), "languages": ["turkish"]});
    assert_eq!(daemon.post_json("/api/v1/parts", &turkish).json()["parts"], 1);
    assert_eq!(daemon.messages("").len(), 0, "nothing is sent");
}

#[test]
fn what_cannot_be_counted_is_said() {
    let daemon = Daemon::start(ECHO);
    for (query, status, word) in [
        ("", 400, "missing"),
        ("text=a&text=b", 400, "twice"),
        ("text=a&txt=b", 400, "possible: text"),
        ("text=a&backend=nobody", 404, "nobody"),
        ("text=a&languages=klingon", 400, "no language"),
        ("text=a&wide_reference=perhaps", 400, "true or false"),
        ("text=%FF", 400, "UTF-8"),
    ] {
        let answer = daemon.get(&format!("/api/v1/parts?{query}"));
        assert_eq!(answer.status, status, "{query}: {}", answer.body);
        assert!(answer.json()["error"].as_str().unwrap().contains(word), "{query}: {}", answer.body);
    }
    for (body, status) in [
        (json!({}), 400),
        (json!({"text": 1}), 400),
        (json!(["a"]), 400),
        (json!({"text": "a", "more": 1}), 400),
        (json!({"text": "ж".repeat(67 * 255 + 1)}), 413),
        (json!({"text": "a", "languages": vec!["turkish"; 14]}), 400),
    ] {
        let answer = daemon.post_json("/api/v1/parts", &body);
        assert_eq!(answer.status, status, "{}", answer.body);
        assert!(answer.json()["error"].is_string());
    }
    assert_eq!(daemon.post("/api/v1/parts", &[("text", "a")]).status, 415);
    assert_eq!(daemon.ask("DELETE", "/api/v1/parts", "", b"").unwrap().status, 405);
}

#[test]
fn a_text_is_counted_for_people() {
    let daemon = Daemon::start(ECHO);
    assert!(daemon.get("/").body.contains("href=\"/parts\""));
    let empty = daemon.get("/parts");
    assert_eq!(empty.status, 200);
    assert!(empty.head.contains("Content-Security-Policy") && !empty.body.contains("Room for"));
    let answer = daemon.post("/parts", &[("text", "<b>“quoted”\r\nş</b>")]);
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(!answer.body.contains("<b>"), "{}", answer.body);
    for word in ["1 message", "U+201C", "U+015F", "17 characters", "In the GSM alphabet: 1 message"] {
        assert!(answer.body.contains(word), "{word}: {}", answer.body);
    }
    let long = daemon.post("/parts", &[("text", "ж".repeat(100).as_str())]);
    assert!(long.body.contains("2 messages") && long.body.contains("Room for 34 more"), "{}", long.body);
    let endless = daemon.post("/parts", &[("text", "a".repeat(40_000).as_str())]);
    assert!(endless.body.contains("too long"), "{}", endless.body);
}
