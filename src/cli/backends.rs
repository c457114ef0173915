//! `rapidsms backends`: the state of each, one sentence each.

use super::arguments::Output;
use super::client::Client;
use super::print::{Out, Table, columns, say};
use super::{Ended, Exit, Failure, Place};
use crate::settings::{BackendSettings, Settings};
use serde_json::{Value, json};

/// Lists the backends.
pub(super) fn run(place: &Place, output: &Output) -> Ended {
    let settings = place.settings()?;
    let running = running(&settings)?;
    if running.is_none() {
        say("no router is running: these are the backends of the settings");
    }
    let backends = running.unwrap_or_else(|| stopped(&settings));
    let mut out = Out::new();
    if output.json {
        out.json(&backends)?;
    } else if backends.is_empty() {
        say("no backend is configured");
    } else {
        let mut table = Table::new(&["NAME", "ENGINE", "STATE", ""]);
        for backend in &backends {
            let word = |key: &str| backend.get(key).and_then(Value::as_str).unwrap_or_default();
            table.row(&[word("name"), word("engine"), word("state"), word("sentence")]);
        }
        for line in table.lines(columns()) {
            out.line(line)?;
        }
    }
    out.end()?;
    Ok(Exit::Ok)
}

/// What the running router says of its backends; `None` when none runs.
pub(super) fn running(settings: &Settings) -> Result<Option<Vec<Value>>, Failure> {
    let Some(client) = Client::reach(settings)? else { return Ok(None) };
    let mut answer = client.get("/api/v1/backends")?;
    match answer.body.get_mut("backends").map(Value::take) {
        Some(Value::Array(backends)) if answer.status == 200 => Ok(Some(backends)),
        _ => Err(Failure::failed(answer.sentence())),
    }
}

/// The same of a router that does not run, in the same order.
pub(super) fn stopped(settings: &Settings) -> Vec<Value> {
    let stopped = |backend: &BackendSettings| {
        let sentence = if backend.built {
            "the router is not running".to_string()
        } else {
            format!("the engine {} is not in this build", backend.engine)
        };
        json!({
            "name": backend.name,
            "engine": backend.engine,
            "tester": backend.tester,
            "state": "not running",
            "sentence": sentence,
        })
    };
    settings.backends.iter().map(stopped).collect()
}
