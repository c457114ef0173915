//! `/metrics` on a running router, read as strictly as a monitoring system reads it.

use super::daemon::Daemon;
use regex::Regex;
use std::collections::BTreeMap;
use std::path::Path;

const SETTINGS: &str = r#"
INSTALLED_APPS = ["echo", "default"]

[web]
listen = "127.0.0.1:0"

[INSTALLED_BACKENDS.message_tester]
ENGINE = "bucket"

[INSTALLED_BACKENDS.'a "quoted\ name']
ENGINE = "httptester"
"#;

/// Every figure by its name and labels, as they are written; fails on anything that is not in the form.
fn figures(text: &str) -> BTreeMap<String, f64> {
    let about = Regex::new(r"^# (HELP [a-z_]+ \S.*|TYPE [a-z_]+ (gauge|counter|histogram))$").unwrap();
    let label = r#"[a-z]+="(?:[^"\\\n]|\\["\\n])*""#;
    let line = format!(r"^(([a-z_]+)(?:\{{{label}(?:,{label})*\}})?) (-?[0-9.]+(?:e[+-]?[0-9]+)?)$");
    let line = Regex::new(&line).unwrap();
    let mut kinds = BTreeMap::new();
    let mut figures = BTreeMap::new();
    for written in text.lines() {
        if about.is_match(written) {
            if let Some((name, kind)) = written.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
            {
                assert_eq!(kinds.insert(name.to_string(), kind.to_string()), None, "told twice: {written}");
            }
            continue;
        }
        let found = line.captures(written).unwrap_or_else(|| panic!("not in the form: {written}"));
        let name = &found[2];
        let of_histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        let known = kinds.contains_key(name) || of_histogram.is_some_and(|it| kinds[it] == "histogram");
        assert!(known, "nobody said what this is: {written}");
        assert_eq!(figures.insert(found[1].to_string(), found[3].parse().unwrap()), None, "twice: {written}");
    }
    figures
}

/// A rule about a figure that does not exist never fires.
#[test]
fn the_rules_and_the_dashboard_ask_for_figures_that_exist() {
    let daemon = Daemon::start(SETTINGS);
    // Some figures have lines only after the first message.
    daemon.says("1112223333", "ping");
    daemon.wait_until("a reply", |daemon| (daemon.messages("state=sent").len() == 1).then_some(()));
    let text = daemon.get("/metrics").body;
    let known: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split_once(' '))
        .map(|it| it.0)
        .collect();
    let name = Regex::new(r"\brapidsms_[a-z_]+").unwrap();
    let mut asked = 0;
    for file in ["alerts.yml", "dashboard.json"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/monitoring").join(file);
        let text = std::fs::read_to_string(path).unwrap();
        for found in name.find_iter(&text).map(|found| found.as_str()) {
            let is_known = known.iter().any(|known| {
                found == *known
                    || ["_bucket", "_count", "_sum"].iter().any(|end| found.strip_suffix(end) == Some(known))
            });
            assert!(is_known, "{file} asks for {found}, which nobody gives");
            asked += 1;
        }
    }
    assert!(asked > 20, "the files are not read");
}

/// What is explained is there, and what is there is explained.
#[test]
fn every_figure_is_explained() {
    let daemon = Daemon::start(SETTINGS);
    let text = daemon.get("/metrics").body;
    let manual = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/monitoring.md");
    let manual = std::fs::read_to_string(manual).unwrap();
    for line in text.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        let end = name.strip_prefix("rapidsms_backend").map_or("-", |end| end);
        let is_explained = manual.contains(&format!("`{name}")) || manual.contains(&format!("`{end}`"));
        assert!(is_explained, "docs/monitoring.md says nothing of {name}");
    }
}

#[test]
fn what_was_accepted_is_the_sum_over_the_states() {
    let daemon = Daemon::start(SETTINGS);
    for text in ["ping", "echo one", "something else"] {
        let sent = daemon.post("/httptester/message_tester/", &[("identity", "1112223333"), ("text", text)]);
        assert_eq!(sent.status, 200, "{}", sent.body);
    }
    daemon.wait_until("three replies", |daemon| {
        (daemon.messages("direction=out&state=sent").len() == 3).then_some(())
    });
    let answer = daemon.get("/metrics");
    assert_eq!(answer.status, 200, "{}", answer.body);
    assert!(answer.head.contains("Content-Type: text/plain; version=0.0.4"), "{}", answer.head);
    let figures = figures(&answer.body);
    let sum = |start: &str| -> f64 {
        figures.iter().filter(|(name, _)| name.starts_with(start)).map(|(_, value)| value).sum()
    };
    for direction in ["in", "out"] {
        let labels = format!("{{backend=\"message_tester\",direction=\"{direction}\"");
        assert_eq!(figures[&format!("rapidsms_stored_messages{labels}}}")], 3.0, "{}", answer.body);
        assert_eq!(sum(&format!("rapidsms_messages{labels}")), 3.0, "{}", answer.body);
    }
    assert_eq!(figures["rapidsms_accepted_total"], 3.0);
    assert_eq!(figures["rapidsms_health"], 0.0);
    for histogram in ["rapidsms_reply_seconds", "rapidsms_send_seconds"] {
        let of_tester = |end: &str| figures[&format!("{histogram}{end}")];
        assert_eq!(of_tester("_count{backend=\"message_tester\"}"), 3.0);
        assert_eq!(of_tester("_bucket{backend=\"message_tester\",le=\"+Inf\"}"), 3.0);
        assert!(of_tester("_sum{backend=\"message_tester\"}") < 60.0, "{}", answer.body);
    }
    assert_eq!(figures[r#"rapidsms_backend_in_flight{backend="a \"quoted\\ name"}"#], 0.0);
    assert_eq!(
        figures[r#"rapidsms_backend_state{backend="message_tester",engine="bucket",state="up"}"#],
        1.0
    );
    assert_eq!(sum(r#"rapidsms_backend_state{backend="message_tester""#), 1.0, "one state at a time");
}
