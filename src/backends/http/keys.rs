//! The keys of the settings, in the order of docs/http.md: data only.

use std::time::Duration;

use crate::settings::{Key, Kind};

const TIME: Kind = Kind::Duration { min: Duration::from_millis(100), max: Duration::from_secs(3600) };
const ENCODING: Kind = Kind::OneOf(&["hex", "base64"]);
const ALGORITHM: Kind = Kind::OneOf(&["sha256", "sha512"]);

/// All of them.
pub const KEYS: &[Key] = &[
    Key::new(
        "preset",
        Kind::OneOf(&["africastalking", "junebug", "rapidpro", "smsgate", "twilio"]),
        "a known gateway: fills the keys that are not given",
    ),
    // Out: the request.
    Key::new(
        "outgoing_url",
        Kind::Url,
        "where messages go, with {to} and {text}, or %(identity)s and %(text)s",
    )
    .also(&["url", "send_url", "endpoint"]),
    Key::new("method", Kind::Text, "GET, POST ...; POST when there is a body").such_as("POST"),
    Key::new("query", Kind::Table, "fields of the query"),
    Key::new("headers", Kind::Table, "headers of the request"),
    Key::new("form", Kind::Table, "the body as a form"),
    Key::new("json", Kind::Table, "the body as a flat JSON object"),
    Key::new("body", Kind::Text, "the body as a text with values in it").also(&["payload", "template"]),
    Key::new("content_type", Kind::Text, "what the body is").such_as("application/json"),
    Key::new("from", Kind::Text, "the sender that is put in as {from}").also(&["sender", "source"]),
    Key::new("secrets", Kind::Table, "secrets that are put in by their names"),
    Key::new("country_code", Kind::Text, "the country, for {to_national} and for senders").such_as("254"),
    Key::new("national_prefix", Kind::Text, "what is dialled before national numbers").or("0"),
    Key::new("status_url", Kind::Text, "this router's address for reports, put in as {status_url}")
        .also(&["callback_url", "delivery_report_url"])
        .such_as("https://sms.example.org/http/gateway/status/"),
    // Out: who we are.
    Key::new(
        "auth",
        Kind::OneOf(&["none", "basic", "bearer", "header", "query", "hmac"]),
        "how the gateway knows us",
    )
    .or("none"),
    Key::new("username", Kind::Text, "for basic, and put in as {username}")
        .also(&["user", "login", "account"]),
    Key::new("password", Kind::Secret, "for basic, and put in as {password}").also(&["pass", "passwd"]),
    Key::new("token", Kind::Secret, "for bearer, header, query and hmac, and put in as {token}")
        .also(&["api_key", "apikey", "key"]),
    Key::new(
        "auth_name",
        Kind::Text,
        "the header or field of the query that holds the token or the signature",
    ),
    Key::new("sign", Kind::Text, "for hmac: what is signed").such_as("{timestamp}.{body}"),
    Key::new("sign_algorithm", ALGORITHM, "for hmac").or("sha256"),
    Key::new("sign_encoding", ENCODING, "for hmac").or("hex"),
    // Out: the answer.
    Key::new("answers", Kind::TextList, "what answers mean: the first rule that fits decides")
        .also(&["rules"]),
    Key::new("remote_id", Kind::Text, "where the answer has the gateway's name for the message")
        .such_as("/id"),
    Key::new("idempotent", Kind::Boolean, "the gateway knows a repeated message by our {id}").or("false"),
    Key::new("timeout", TIME, "how long the gateway may take to answer").or("30 s"),
    Key::new("connect_timeout", TIME, "how long a connection may take").or("10 s"),
    Key::new("ca_file", Kind::Path, "certificates that are trusted instead of the public web's")
        .also(&["ca", "cacert"]),
    Key::new(
        "answer_limit",
        Kind::Size { min: 1024, max: 16 * 1024 * 1024 },
        "how much of an answer is read",
    )
    .or("64 KiB"),
    // In: messages.
    Key::new("incoming_identity", Kind::Text, "where the sender is").or("identity"),
    Key::new("incoming_text", Kind::Text, "where the text is").or("text"),
    Key::new(
        "incoming_id",
        Kind::Text,
        "where the gateway's name for the message is: repeats are known by it",
    ),
    Key::new("incoming_time", Kind::Text, "where the time is at which it was sent"),
    Key::new("incoming_time_format", Kind::Text, "how the time is written").such_as("%d/%m/%Y %H:%M:%S"),
    Key::new("incoming_charset", Kind::Text, "the charset of queries and forms, or \"field NAME\"")
        .or("utf-8"),
    Key::new("incoming_encoding", Kind::OneOf(&["plain", "base64", "hex"]), "what is around the text")
        .or("plain"),
    Key::new("incoming_list", Kind::Text, "where the list of several messages is").such_as("/messages"),
    Key::new("incoming_when", Kind::TextList, "only requests of which all this is true bring messages"),
    Key::new("incoming_answer", Kind::Text, "the body of the answer").or("OK"),
    Key::new("incoming_answer_type", Kind::Text, "what it is").or("text/plain; charset=utf-8"),
    Key::new("incoming_answer_status", Kind::Integer { min: 200, max: 299 }, "its status").or("200"),
    // In: reports.
    Key::new("status_when", Kind::TextList, "requests of which all this is true are reports"),
    Key::new("status_id", Kind::Text, "where a report has our or the gateway's name for the message")
        .such_as("id"),
    Key::new("status_state", Kind::Text, "where it has the state").such_as("status"),
    Key::new("status_error", Kind::Text, "where it has the reason"),
    Key::new("status_words", Kind::Table, "what its words mean: delivered, failed or underway"),
    // In: trust.
    Key::new("incoming_secret", Kind::Secret, "what requests must show"),
    Key::new("incoming_secret_in", Kind::Text, "where: query NAME, header NAME, path 0 or bearer")
        .such_as("query secret"),
    Key::new("incoming_username", Kind::Text, "the login of requests (Basic)"),
    Key::new("incoming_password", Kind::Secret, "the login of requests (Basic)"),
    Key::new("incoming_addresses", Kind::TextList, "where requests may come from"),
    Key::new("incoming_signing_secret", Kind::Secret, "the key with which requests are signed"),
    Key::new("incoming_signature", Kind::Text, "the header that holds the signature").such_as("X-Signature"),
    Key::new("incoming_signature_of", Kind::Text, "what is signed").such_as("{timestamp}.{body}"),
    Key::new("incoming_signature_algorithm", ALGORITHM, "how it is signed").or("sha256"),
    Key::new("incoming_signature_encoding", ENCODING, "how the signature is written").or("hex"),
    Key::new("incoming_timestamp", Kind::Text, "the header that holds the time of the signature"),
    Key::new("incoming_tolerance", TIME, "how far that time may be away").or("5 min"),
    // The older systems.
    Key::new("gateway_url", Kind::Url, "RapidSMS 0.9: where messages go"),
    Key::new("params_outgoing", Kind::Text, "RapidSMS 0.9: query, with %(phone_number)s and %(message)s"),
    Key::new("params_incoming", Kind::Text, "RapidSMS 0.9: names of the two incoming fields"),
    Key::new("params", Kind::Table, "RapidSMS 2: identity_name and text_name"),
    Key::new("host", Kind::Text, "RapidSMS 0.9: address of a listener of its own"),
    Key::new("port", Kind::Integer { min: 1, max: 65535 }, "RapidSMS 0.9: port of a listener of its own"),
];
