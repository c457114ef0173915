//! `rapidsms send`: one message to be sent, through the running router or straight into its store.

use super::arguments::Send;
use super::client::Client;
use super::print::{Out, say};
use super::{Ended, Exit, Failure, Place, desk, rehearse};
use crate::message::TEXT_LIMIT;
use crate::web::site::NewMessage;
use serde_json::{Value, json};
use std::io::Read;

/// The longest idempotency key; the API's own limit.
const KEY_LIMIT: usize = 255;

/// Queues it and prints its id.
pub(super) fn run(place: &Place, send: &Send) -> Ended {
    let text = text(&send.text)?;
    let key = send.key.as_deref().map(key).transpose()?;
    let new = NewMessage {
        backend: send.backend.clone(),
        identity: send.identity.clone(),
        text,
        flash: send.flash,
        report: send.report,
        validity: send.validity,
    };
    let settings = place.settings()?;
    if send.dry_run {
        return rehearse::run(place, &settings, new.draft(), send);
    }
    let (id, through) = match Client::reach(&settings)? {
        Some(client) => {
            let body = serde_json::to_value(&new)
                .map_err(|error| Failure::failed(format!("the message cannot be said: {error}")))?;
            let answer = client.post("/api/v1/messages", &body, key)?;
            match (answer.status, answer.body.get("id").and_then(Value::as_str)) {
                (202, Some(id)) => (id.to_string(), "router"),
                _ => return Err(refused(answer.status, answer.sentence(), &settings)),
            }
        }
        None => {
            if !names(&settings).contains(&send.backend.as_str()) {
                let sentence = format!("no backend named \"{}\" is configured", send.backend.escape_debug());
                return Err(refused(404, sentence, &settings));
            }
            // The same digest as the API's: a key means the same on both ways.
            let (digest, draft) = (new.digest(), new.draft());
            let id = desk::with_router(&settings, &place.registry, |router, now| {
                router.submit(draft, "cli", key.map(|key| (key, digest.as_slice())), now)
            })?;
            say("no router is running: the message is in the store and leaves when one does");
            (id.to_string(), "store")
        }
    };
    let mut out = Out::new();
    if send.output.json {
        out.json(&json!({ "id": id, "through": through }))?;
    } else {
        out.line(&id)?;
    }
    out.end()?;
    Ok(Exit::Ok)
}

/// The text as it was given, or standard input without its last line break.
pub(super) fn text(given: &str) -> Result<String, Failure> {
    if given != "-" {
        return Ok(given.to_string());
    }
    let mut octets = Vec::new();
    // One octet beyond the limit, and the line break, are enough for the router to see that it is too long.
    let limit = TEXT_LIMIT as u64 + 3;
    let read = std::io::stdin().lock().take(limit).read_to_end(&mut octets);
    read.map_err(|error| Failure::failed(format!("standard input cannot be read: {error}")))?;
    let mut text = String::from_utf8(octets).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        Failure::failed(format!("standard input is not UTF-8 (at octet {})", at + 1))
            .hint("convert it first, for example with iconv -t UTF-8")
    })?;
    if text.ends_with('\n') {
        text.pop();
        if text.ends_with('\r') {
            text.pop();
        }
    }
    Ok(text)
}

fn key(given: &str) -> Result<&str, Failure> {
    let fits = (1..=KEY_LIMIT).contains(&given.len()) && given.bytes().all(|octet| octet.is_ascii_graphic());
    if fits {
        return Ok(given);
    }
    Err(Failure::usage(format!("--key takes 1 to {KEY_LIMIT} printable ASCII characters without spaces")))
}

pub(super) fn refused(status: u16, sentence: String, settings: &crate::settings::Settings) -> Failure {
    let failure = Failure::failed(sentence);
    match status {
        // The router's store cannot take it now; later it may.
        503 => Failure { exit: Exit::Store, ..failure },
        404 => match names(settings).as_slice() {
            [] => failure.hint("the settings configure no backend"),
            names => failure.hint(format!("configured: {}", names.join(", "))),
        },
        _ => failure,
    }
}

/// What messages can be sent to: backends and groups.
fn names(settings: &crate::settings::Settings) -> Vec<&str> {
    let backends = settings.backends.iter().map(|backend| backend.name.as_str());
    backends.chain(settings.groups.iter().map(|group| group.name.as_str())).collect()
}
