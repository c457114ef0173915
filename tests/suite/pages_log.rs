//! The pages Messages and Backends as people use them, on a running router: what they show, what they keep, and what nobody can smuggle into them.

use super::daemon::{Answer, Daemon, ECHO};
use regex::Regex;
use serde_json::json;
use std::collections::BTreeSet;

/// A tester, and a modem that is not there: what goes to it waits.
fn waiting() -> String {
    format!("{ECHO}\n[INSTALLED_BACKENDS.airtel]\nENGINE = \"gsm\"\nPORT = \"/dev/no-such-modem\"\n")
}

/// Queues a message for the modem that is not there; returns its id.
#[track_caller]
fn queued(daemon: &Daemon, identity: &str, text: &str) -> String {
    let message = json!({"backend": "airtel", "identity": identity, "text": text});
    let answer = daemon.post_json("/api/v1/messages", &message);
    assert_eq!(answer.status, 202, "{}", answer.body);
    answer.json()["id"].as_str().expect("an id").to_string()
}

/// The ids of the messages that a page lists, in its order.
fn listed(page: &str) -> Vec<String> {
    let row = Regex::new(r#"<td role="cell"><a href="/messages/([0-9a-f-]{36})/">"#).unwrap();
    row.captures_iter(page).map(|found| found[1].to_string()).collect()
}

/// Where the link of this name leads, as a browser reads it.
fn link(page: &str, name: &str) -> Option<String> {
    let link = Regex::new(&format!(r#"<a href="([^"]*)"[^>]*>{name}</a>"#)).unwrap();
    link.captures(page).map(|found| found[1].replace("&#38;", "&").replace("&amp;", "&"))
}

/// A page that is nothing but what its template says: every tag and attribute is known, nothing runs, nothing is loaded from elsewhere.
#[track_caller]
fn sound(daemon: &Daemon, path: &str) -> Answer {
    let answer = daemon.get(path);
    let (head, body) = (&answer.head, &answer.body);
    assert!(head.contains("Content-Security-Policy: default-src 'none'; style-src 'self'"), "{path}: {head}");
    assert!(head.contains("X-Content-Type-Options: nosniff"), "{path}: {head}");
    let known = Regex::new(
        r#"<!doctype html>|</?(html|head|meta|title|link|body|a|header|nav|section|h1|h2|h3|ul|ol|li|p|main|form|label|input|textarea|select|option|button|small|table|thead|tbody|tr|th|td|time|span|bdi|strong|dl|dt|dd|code|pre|div|article)((?: (?:lang|charset|name|content|rel|href|class|id|tabindex|role|scope|aria-label|aria-current|dir|datetime|title|method|action|type|value|maxlength|autocomplete|placeholder|rows|http-equiv|download)="[^"<>]*"| (?:selected|required|autofocus))*)>"#,
    )
    .unwrap();
    let left = known.replace_all(body, "");
    assert!(!left.contains(['<', '>']), "{path}: a tag or attribute that is in no template: {left}");
    let elsewhere = Regex::new(r#"(href|action|src)="(?:[a-z]+:|//)"#).unwrap();
    assert!(!elsewhere.is_match(body), "{path}: it leads elsewhere: {body}");
    assert!(
        !body.contains(|sign: char| sign.is_control() && sign != '\n' && sign != '\t'),
        "{path}: {body:?}"
    );
    assert!(body.contains("<main id=\"main\"") && body.contains("class=\"skip\""), "{path}: {body}");
    answer
}

#[test]
fn pages_of_the_log_stay_what_they_are_while_messages_arrive() {
    let daemon = Daemon::start(&waiting());
    let mut expected: Vec<String> =
        (0..120).map(|number| queued(&daemon, "1", &format!("number {number}"))).collect();
    expected.reverse();
    let mut seen = Vec::new();
    let mut path = "/messages/?backend=airtel&state=queued".to_string();
    loop {
        let page = sound(&daemon, &path);
        assert_eq!(page.status, 200, "{}", page.body);
        seen.extend(listed(&page.body));
        queued(&daemon, "2", "in between");
        match link(&page.body, "Older") {
            Some(older) => path = older,
            None => break,
        }
        assert!(path.starts_with("/messages/?backend=airtel&state=queued&after="), "{path}");
        assert!(link(&daemon.get(&path).body, "Newest").is_some(), "{path}");
    }
    assert_eq!(seen, expected);
}

#[test]
fn each_filter_shows_what_the_api_says() {
    let daemon = Daemon::start(&waiting());
    daemon.says("111", "echo hello");
    daemon.answers("111", "hello");
    daemon.says("222", "echo GOOD Bye");
    daemon.answers("222", "GOOD Bye");
    queued(&daemon, "+254", "later");
    for (page, api) in [
        ("", ""),
        ("identity=111", "identity=111"),
        ("identity=%2B254", "identity=%2B254"),
        ("identity=+111+&text=&backend=&state=&direction=&until=", "identity=111"),
        ("direction=in", "direction=in"),
        ("state=queued", "state=queued"),
        ("backend=message_tester&direction=out", "backend=message_tester&direction=out"),
        ("until=2999-12-31", ""),
        ("until=2001-01-01", "identity=nobody"),
        ("text=good+bye", "identity=222"),
        ("text=nothing+like+it", "identity=nobody"),
    ] {
        let ids: Vec<_> = daemon
            .messages(api)
            .into_iter()
            .map(|message| message["id"].as_str().expect("an id").to_string())
            .collect();
        let shown = sound(&daemon, &format!("/messages/?{page}"));
        assert_eq!(listed(&shown.body), ids, "{page}");
        let table = daemon.get(&format!("/messages/export.csv?{page}")).body;
        let exported: Vec<_> = table.lines().skip(1).map(|line| line[1..37].to_string()).collect();
        assert_eq!(exported, ids, "{page}");
    }
    for (wrong, word) in [
        ("state=lost", "lost"),
        ("direction=up", "in or out"),
        ("until=tomorrow", "2026-11-22"),
        ("after=1", "no message"),
        ("colour=red", "colour"),
        ("state=%3Cb%3E", "&#60;b&#62;"),
        ("text=%FF", "UTF-8"),
    ] {
        let page = sound(&daemon, &format!("/messages/?{wrong}"));
        assert_eq!(page.status, 400, "{wrong}");
        assert!(page.body.contains(word) && listed(&page.body).is_empty(), "{wrong}: {}", page.body);
        assert_eq!(daemon.get(&format!("/messages/export.csv?{wrong}")).status, 400, "{wrong}");
    }
}

#[test]
fn a_message_tells_its_story() {
    let daemon = Daemon::start(ECHO);
    daemon.says("111", "echo hello");
    let answer = daemon.answers("111", "hello");
    let (id, question) = (answer["id"].as_str().unwrap(), answer["in_response_to"].as_str().unwrap());
    let page = sound(&daemon, &format!("/messages/{question}/"));
    assert_eq!(page.status, 200);
    assert_eq!(listed(&page.body), [id], "its answer");
    for word in
        ["received", "handled", "echo hello", "backend message_tester", "/httptester/message_tester/111/"]
    {
        assert!(page.body.contains(word), "{word}: {}", page.body);
    }
    let page = sound(&daemon, &format!("/messages/{id}"));
    assert!(page.body.contains(&format!("href=\"/messages/{question}/\"")), "{}", page.body);
    for word in ["queued", "sending", "sent", "app echo"] {
        assert!(page.body.contains(word), "{word}: {}", page.body);
    }
    assert!(!page.body.contains("<button>"), "nothing can be decided any more: {}", page.body);
    for unknown in ["01926f00-0000-7000-8000-000000000000", "1", "%3Cb%3E"] {
        assert_eq!(sound(&daemon, &format!("/messages/{unknown}/")).status, 404, "{unknown}");
    }
}

#[test]
fn a_person_decides_by_forms() {
    let daemon = Daemon::start(&waiting());
    let id = queued(&daemon, "1", "wait");
    let page = format!("/messages/{id}/");
    let decide = |state: &str| {
        let answer = daemon.post(&page, &[("state", state)]);
        assert_eq!(answer.status, 303, "{state}: {}", answer.body);
        let place = answer.head.lines().find_map(|line| line.strip_prefix("Location: ")).unwrap().to_string();
        sound(&daemon, &place).body
    };
    let buttons = |body: &str| {
        let name = Regex::new("<button>([A-Z][a-z]+) <small>").unwrap();
        name.captures_iter(body).map(|found| found[1].to_string()).collect::<Vec<_>>()
    };
    assert_eq!(buttons(&daemon.get(&page).body), ["Hold", "Cancel"]);
    let body = decide("held");
    assert!(body.contains("Done:") && body.contains("person at the page"), "{body}");
    assert_eq!(buttons(&body), ["Release", "Cancel"]);
    assert_eq!(buttons(&decide("queued")), ["Hold", "Cancel"]);
    let body = decide("cancelled");
    assert!(buttons(&body).is_empty() && body.contains("It was stopped"), "{body}");
    let body = decide("held");
    assert!(body.contains("Too late:"), "{body}");
    assert_eq!(daemon.get(&format!("/api/v1/messages/{id}")).json()["state"], "cancelled");
    for fields in [vec![], vec![("state", "lost")], vec![("state", "sent")], vec![("State", "held")]] {
        assert_eq!(daemon.post(&page, &fields).status, 400, "{fields:?}");
    }
    assert_eq!(daemon.post("/messages/1/", &[("state", "held")]).status, 404);
    for path in ["/messages/", "/messages/export.csv", "/backends/"] {
        assert_eq!(daemon.post(path, &[("state", "held")]).status, 405, "{path}");
    }
}

#[test]
fn no_other_site_decides() {
    let daemon = Daemon::start(&waiting());
    let id = queued(&daemon, "1", "wait");
    let form = "Content-Type: application/x-www-form-urlencoded\r\n";
    let own = format!("Origin: http://{}\r\n", daemon.address);
    for (headers, status) in [
        ("Origin: http://evil.example\r\n", 403),
        ("Origin: null\r\n", 403),
        ("Sec-Fetch-Site: cross-site\r\n", 403),
        ("Sec-Fetch-Site: same-site\r\n", 403),
        ("Sec-Fetch-Site: same-origin\r\n", 303),
        (own.as_str(), 303),
    ] {
        let headers = format!("{form}{headers}");
        let answer = daemon.ask("POST", &format!("/messages/{id}/"), &headers, b"state=held").unwrap();
        assert_eq!(answer.status, status, "{headers}: {}", answer.body);
        let held = daemon.get(&format!("/api/v1/messages/{id}")).json()["state"] == "held";
        assert_eq!(held, status == 303, "{headers}");
    }
}

/// What strangers send in the hope that a page runs it.
const NASTY: &[&str] = &[
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg onload=alert(1)>",
    "' autofocus onfocus='alert(1)",
    "</textarea></title></pre><b>",
    "<!-- --><![CDATA[",
    "&lt;b&gt;&#60;b&#62;",
    "{{ 7 * 7 }}{% raw %}",
    "javascript:alert(1)",
    "\u{202e}\u{2066}gnip",
    "\u{ff1c}script\u{ff1e}",
];

#[test]
fn nothing_that_arrives_becomes_part_of_a_page() {
    let settings = format!("{ECHO}\n[INSTALLED_BACKENDS.\"<b>&'x\"]\nENGINE = \"httptester\"\n");
    let daemon = Daemon::start(&settings);
    let mut pages: BTreeSet<String> = ["/", "/messages/", "/backends/", "/parts"].map(String::from).into();
    for (index, nasty) in NASTY.iter().enumerate() {
        for text in [(*nasty).to_string(), format!("echo {index} {nasty}\u{1b}[31m\0\u{9b}\u{7f}\r\n")] {
            let tester =
                if index % 2 == 0 { "/httptester/message_tester/" } else { "/httptester/%3Cb%3E%26'x/" };
            let sent = daemon.post(tester, &[("identity", nasty), ("text", &text)]);
            assert_eq!(sent.status, 200, "{nasty}: {}", sent.body);
        }
        let encoded = percent_encoding::utf8_percent_encode(nasty, percent_encoding::NON_ALPHANUMERIC);
        pages.insert(format!("/httptester/message_tester/{encoded}/"));
        for field in ["identity", "text", "backend", "state", "until", "after", "x"] {
            pages.insert(format!("/messages/?{field}={encoded}"));
        }
        pages.insert(format!("/messages/{encoded}/"));
    }
    let count = NASTY.len() * 2;
    daemon.wait_until("all are answered", |daemon| {
        (daemon.messages("direction=out&state=sent&limit=1000").len() == count).then_some(())
    });
    for message in daemon.messages("limit=1000") {
        pages.insert(format!("/messages/{}/?outcome=%3Cb%3E", message["id"].as_str().unwrap()));
    }
    assert!(pages.len() > 100, "{}", pages.len());
    for path in &pages {
        sound(&daemon, path);
    }
    let posted = daemon.post("/parts", &[("text", NASTY[4])]);
    assert!(!posted.body.contains("<b>"), "{}", posted.body);
    // The reading of what is not a page cannot be mistaken for one.
    let table = daemon.get("/messages/export.csv");
    assert!(table.head.contains("Content-Type: text/csv"), "{}", table.head);
    assert!(table.head.contains("attachment; filename=\"messages.csv\""), "{}", table.head);
}

#[test]
fn a_spreadsheet_calculates_nothing() {
    let daemon = Daemon::start(ECHO);
    for (identity, text) in [
        ("+2547", "=1+1"),
        ("0712", "@SUM(A1)"),
        ("-1", "a\"b,c"),
        ("=x", "-2+3\u{7}"),
        ("a@b.c", "x;=1\n+1"),
    ] {
        daemon.says(identity, text);
    }
    daemon.wait_until("all are answered", |daemon| {
        (daemon.messages("direction=out&state=sent").len() == 5).then_some(())
    });
    let table = daemon.get("/messages/export.csv?direction=in").body;
    let table = table.strip_prefix('\u{feff}').expect("it says that it is UTF-8");
    assert_eq!(table.matches("\r\n").count(), 6, "{table}");
    for cells in [
        "\"'+2547\",\"'=1+1\"",
        "\"'0712\",\"'@SUM(A1)\"",
        "\"'-1\",\"a\"\"b,c\"",
        "\"'=x\",\"'-2+3␇\"",
        "\"a@b.c\",\"x;'=1\n'+1\"",
    ] {
        assert!(table.contains(cells), "{cells} in {table}");
    }
}

#[test]
fn each_backend_says_how_it_is_and_what_to_do() {
    let settings = waiting()
        + "\n[INSTALLED_BACKENDS.safaricom]\nENGINE = \"gsm\"\nPORT = \"/dev/no-such-port\"\n\
           [groups.airtime]\nmembers = [\"airtel\", \"safaricom\"]\n";
    let daemon = Daemon::start(&settings);
    let before = sound(&daemon, "/backends/").body;
    assert!(before.contains("nothing since the start"), "{before}");
    daemon.says("111", "echo hello");
    daemon.answers("111", "hello");
    queued(&daemon, "1", "first");
    let held = queued(&daemon, "1", "second");
    daemon.post(&format!("/messages/{held}/"), &[("state", "held")]);
    let page = sound(&daemon, "/backends/").body;
    let cards: Vec<&str> = page.split("<article").skip(1).collect();
    assert_eq!(cards.len(), 4, "three backends and a group: {page}");
    let [tester, airtel, _, group] = cards[..] else { unreachable!("four") };
    for word in
        ["message_tester", "up", "bucket", "just now", "<dd>0</dd>", "/messages/?backend=message_tester"]
    {
        assert!(tester.contains(word), "{word}: {tester}");
    }
    for word in [
        "no-such-modem",
        "If it stays so",
        "<dd>1, the oldest came",
        "/messages/?state=held&amp;backend=airtel",
    ] {
        assert!(airtel.contains(word), "{word}: {airtel}");
    }
    assert!(group.contains("airtime") && group.contains("safaricom"), "{group}");
    assert_eq!(listed(&sound(&daemon, "/messages/?state=held&backend=airtel").body), [held]);
}

#[test]
fn the_first_pages_are_light() {
    let daemon = Daemon::start(&waiting());
    for _ in 0..60 {
        queued(&daemon, "+254700000001", &"የኢትዮጵያ ፌዴራላዊ ".repeat(60));
    }
    let style = daemon.get("/style.css");
    for path in ["/", "/messages/", "/backends/", "/httptester/message_tester/1/"] {
        let page = sound(&daemon, path);
        let octets = page.body.len() + style.body.len();
        assert!(octets <= 50 * 1024, "{path} has {octets} octets");
        for place in ["/httptester/", "/messages/", "/backends/", "/parts"] {
            assert!(page.body.contains(&format!("<a href=\"{place}\"")), "{path} leads to {place}");
        }
    }
    assert_eq!(listed(&daemon.get("/messages/").body).len(), 50);
    assert!(!style.body.contains("url("), "a style loads nothing");
}

#[test]
fn every_page_says_when_something_needs_attention() {
    let daemon = Daemon::start(&format!("{ECHO}daily_cap = 1\n"));
    assert!(!daemon.get("/messages/").body.contains("class=\"health\""));
    daemon.says("111", "echo hello");
    daemon.says("111", "echo again");
    daemon.wait_until("the cap is reached", |daemon| {
        daemon.get("/").body.contains("Something needs attention").then_some(())
    });
    for path in ["/", "/messages/", "/backends/", "/parts", "/httptester/message_tester/111/", "/messages/1/"]
    {
        let page = sound(&daemon, path).body;
        assert!(page.contains("Backend message_tester sends nothing"), "{path}: {page}");
        assert!(page.contains("href=\"/backends/\">What to do"), "{path}: {page}");
    }
    let page = daemon.get("/backends/").body;
    assert!(page.contains("raise the cap"), "{page}");
}

#[test]
fn people_get_a_page_when_the_store_cannot_be_read() {
    let daemon = Daemon::start(ECHO);
    daemon.says("111", "echo hello");
    daemon.answers("111", "hello");
    // Somebody with the sqlite3 shell: the reader's statements fail, whatever the router does.
    let database = rusqlite::Connection::open(daemon.database()).unwrap();
    database.busy_timeout(super::daemon::PATIENCE).unwrap();
    database.execute_batch("ALTER TABLE connections RENAME TO elsewhere").unwrap();
    for path in ["/", "/messages/"] {
        let page = sound(&daemon, path);
        assert_eq!(page.status, 503, "{path}");
        assert!(
            page.head.contains("Retry-After") && page.body.contains("cannot be read"),
            "{path}: {}",
            page.body
        );
    }
    assert_eq!(daemon.get("/messages/export.csv").status, 503);
    assert!(daemon.get("/api/v1/messages").json()["error"].is_string());
}
