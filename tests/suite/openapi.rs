//! The description of the API is held against the API: every operation is asked, and every answer must be one that is described, in its shape.

use super::daemon::{Answer, Daemon, ECHO};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;

const METHODS: [&str; 3] = ["get", "post", "delete"];

fn document(daemon: &Daemon) -> Value {
    let answer = daemon.get("/api/v1/openapi.json");
    assert_eq!(answer.status, 200, "{}", answer.body);
    answer.json()
}

/// Follows a reference within the document.
#[track_caller]
fn resolved<'a>(document: &'a Value, schema: &'a Value) -> &'a Value {
    match schema["$ref"].as_str() {
        Some(reference) => {
            let pointer = reference.strip_prefix('#').expect("within the document");
            document.pointer(pointer).unwrap_or_else(|| panic!("{reference} leads nowhere"))
        }
        None => schema,
    }
}

/// What is wrong with a value, by the words of JSON Schema that the document uses. A word that is not known here fails, so that none is forgotten.
fn faults(document: &Value, schema: &Value, value: &Value, place: &str, faults: &mut Vec<String>) {
    let schema = resolved(document, schema);
    let is = |kind: &str| match kind {
        "null" => value.is_null(),
        "string" => value.is_string(),
        "boolean" => value.is_boolean(),
        "integer" => value.is_u64() || value.is_i64(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        other => panic!("type {other}"),
    };
    for (word, rule) in schema.as_object().expect("a schema") {
        let holds = match word.as_str() {
            "type" => match rule {
                Value::String(kind) => is(kind),
                kinds => kinds.as_array().expect("types").iter().any(|kind| is(kind.as_str().unwrap())),
            },
            "enum" => rule.as_array().expect("values").contains(value),
            "required" => rule.as_array().unwrap().iter().all(|name| {
                !value[name.as_str().unwrap()].is_null() || value.get(name.as_str().unwrap()).is_some()
            }),
            "properties" => {
                let known = rule.as_object().expect("properties");
                for (name, inner) in value.as_object().unwrap_or(&Map::new()) {
                    match known.get(name) {
                        Some(rule) => self::faults(document, rule, inner, &format!("{place}.{name}"), faults),
                        None => assert!(
                            schema["additionalProperties"] != json!(false),
                            "{place}.{name} is not described"
                        ),
                    }
                }
                true
            }
            "items" => {
                for inner in value.as_array().unwrap_or(&Vec::new()) {
                    self::faults(document, rule, inner, &format!("{place}[]"), faults);
                }
                true
            }
            "oneOf" => {
                let fits = rule.as_array().unwrap().iter().filter(|one| {
                    let mut found = Vec::new();
                    self::faults(document, one, value, place, &mut found);
                    found.is_empty()
                });
                fits.count() == 1
            }
            "minimum" => value.as_f64().is_none_or(|number| number >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|number| number <= rule.as_f64().unwrap()),
            "maxItems" => value.as_array().is_none_or(|items| items.len() as u64 <= rule.as_u64().unwrap()),
            "format" => value.as_str().is_none_or(|text| match rule.as_str().unwrap() {
                "uuid" => text.parse::<rapidsms::message::MessageId>().is_ok(),
                "date-time" => rapidsms::time::Timestamp::parse(text).is_some(),
                other => panic!("format {other}"),
            }),
            "description" | "default" | "additionalProperties" | "minLength" | "maxLength" | "pattern" => {
                true
            }
            other => panic!("{place}: the word {other}"),
        };
        if !holds {
            faults.push(format!("{place}: {value} is against \"{word}\": {rule}"));
        }
    }
}

/// Fails unless the answer is one of those described for the operation. Its name is noted.
#[track_caller]
fn described(document: &Value, path: &str, method: &str, answer: &Answer, asked: &mut BTreeSet<String>) {
    let operation = &document["paths"][path][method];
    assert!(operation.is_object(), "{method} {path} is not described");
    asked.insert(format!("{method} {path}"));
    let response = &operation["responses"][answer.status.to_string()];
    assert!(response.is_object(), "{method} {path}: {} is not described: {}", answer.status, answer.body);
    let Some(content) = response["content"].as_object() else { return };
    let media_type = answer.head.lines().find_map(|line| line.strip_prefix("Content-Type: "));
    let media_type = media_type.unwrap_or_else(|| panic!("{method} {path}: no media type"));
    let schema = content.get(media_type).unwrap_or_else(|| panic!("{method} {path}: {media_type}"));
    let value = if media_type == "application/json" { answer.json() } else { Value::from(&*answer.body) };
    let mut found = Vec::new();
    faults(document, &schema["schema"], &value, "body", &mut found);
    assert!(found.is_empty(), "{method} {path} {}: {found:#?}", answer.status);
}

#[test]
fn every_operation_answers_as_described() {
    let daemon = Daemon::start(ECHO);
    let document = document(&daemon);
    let mut asked = BTreeSet::new();
    daemon.says("1112223333", "echo hé ş");
    let sent = daemon.answers("1112223333", "hé ş");
    let id = sent["id"].as_str().expect("an id");
    let get = |path: &str| daemon.get(path);
    let post = |path: &str, body: &Value| daemon.post_json(path, body);
    let message = json!({ "backend": "message_tester", "identity": "7", "text": "hello" });
    let one = "/api/v1/messages/{id}";
    let keyed = |body: &Value| {
        let headers = "Content-Type: application/json\r\nIdempotency-Key: one\r\n";
        daemon.ask("POST", "/api/v1/messages", headers, body.to_string().as_bytes()).expect("an answer")
    };
    let form = |fields: &[(&str, &str)]| daemon.post("/httptester/message_tester/", fields);
    let long = "x".repeat(40_000);
    let cases = [
        ("/api/v1/messages", "get", 200, get("/api/v1/messages?limit=5&order=asc&direction=out")),
        ("/api/v1/messages", "get", 400, get("/api/v1/messages?limit=0")),
        ("/api/v1/messages", "get", 404, get("/api/v1/messages?backend=nobody")),
        ("/api/v1/messages", "post", 202, post("/api/v1/messages", &message)),
        ("/api/v1/messages", "post", 400, post("/api/v1/messages", &json!({ "text": "to nobody" }))),
        (
            "/api/v1/messages",
            "post",
            404,
            post("/api/v1/messages", &json!({ "backend": "?", "identity": "7", "text": "" })),
        ),
        ("/api/v1/messages", "post", 415, daemon.post("/api/v1/messages", &[("text", "a form")])),
        ("/api/v1/messages", "post", 202, keyed(&message)),
        (
            "/api/v1/messages",
            "post",
            422,
            keyed(&json!({ "backend": "message_tester", "identity": "7", "text": "other" })),
        ),
        (one, "get", 200, get(&format!("/api/v1/messages/{id}"))),
        (one, "get", 404, get("/api/v1/messages/nothing")),
        (one, "post", 409, post(&format!("/api/v1/messages/{id}"), &json!({ "state": "cancelled" }))),
        (one, "post", 400, post(&format!("/api/v1/messages/{id}"), &json!({ "state": "lost" }))),
        (one, "post", 404, post("/api/v1/messages/nothing", &json!({ "state": "held" }))),
        ("/api/v1/backends", "get", 200, get("/api/v1/backends")),
        (
            "/api/v1/backends/{backend}/ussd",
            "post",
            404,
            post("/api/v1/backends/nobody/ussd", &json!({ "code": "*1#" })),
        ),
        (
            "/api/v1/backends/{backend}/ussd",
            "post",
            400,
            post("/api/v1/backends/message_tester/ussd", &json!({ "code": "\n" })),
        ),
        (
            "/api/v1/backends/{backend}/ussd",
            "post",
            502,
            post("/api/v1/backends/message_tester/ussd", &json!({ "code": "*1#" })),
        ),
        ("/api/v1/parts", "get", 200, get("/api/v1/parts?text=G%C3%BCnayd%C4%B1n")),
        ("/api/v1/parts", "get", 400, get("/api/v1/parts?txt=x")),
        (
            "/api/v1/parts",
            "post",
            200,
            post("/api/v1/parts", &json!({ "text": "plain", "languages": ["turkish"] })),
        ),
        ("/api/v1/parts", "post", 413, post("/api/v1/parts", &json!({ "text": long }))),
        ("/httptester/{backend}/", "post", 200, form(&[("identity", "9"), ("text", "")])),
        ("/httptester/{backend}/", "post", 303, form(&[("identity", "9"), ("text", "ping"), ("page", "1")])),
        ("/httptester/{backend}/", "post", 400, form(&[("identity", "9")])),
        ("/healthz", "get", 200, get("/healthz")),
        ("/metrics", "get", 200, get("/metrics")),
        ("/api/v1/openapi.json", "get", 200, get("/api/v1/openapi.json")),
    ];
    for (path, method, status, answer) in cases {
        assert_eq!(answer.status, status, "{method} {path}: {}", answer.body);
        described(&document, path, method, &answer, &mut asked);
    }
    let all: BTreeSet<String> =
        operations(&document).into_iter().map(|(path, method)| format!("{method} {path}")).collect();
    assert_eq!(asked, all, "an operation is described and not asked here");
}

fn operations(document: &Value) -> Vec<(String, String)> {
    let paths = document["paths"].as_object().expect("paths");
    let of = |(path, item): (&String, &Value)| {
        let methods: Vec<_> = item.as_object().expect("operations").keys().cloned().collect();
        methods.into_iter().map(|method| (path.clone(), method)).collect::<Vec<_>>()
    };
    paths.iter().flat_map(of).collect()
}

/// What is not described is refused, and the refusal names what is.
#[test]
fn other_methods_are_refused() {
    let daemon = Daemon::start(ECHO);
    let document = document(&daemon);
    let described: BTreeSet<(String, String)> = operations(&document).into_iter().collect();
    let paths: BTreeSet<&String> = described.iter().map(|(path, _)| path).collect();
    for path in paths {
        let real = path
            .replace("{id}", "01a202a3-e29e-7000-8e6d-a538f0d85ac4")
            .replace("{backend}", "message_tester");
        for method in METHODS {
            if described.contains(&(path.clone(), method.to_string())) {
                continue;
            }
            // A page for people stands at the tester's address.
            if path == "/httptester/{backend}/" && method == "get" {
                continue;
            }
            let answer = daemon.ask(&method.to_uppercase(), &real, "", b"").expect("an answer");
            assert!(matches!(answer.status, 404 | 405), "{method} {real}: {} {}", answer.status, answer.body);
        }
    }
}
