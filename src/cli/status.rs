//! `rapidsms status`: whether all is well, why not, and how many messages stand where.

use super::arguments::Output;
use super::client::{Answer, Client};
use super::print::{Out, Table, columns};
use super::{Ended, Exit, Failure, Place, backends, reader};
use crate::message::Name;
use crate::settings::Settings;
use crate::store::Count;
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;

#[derive(Serialize)]
struct Status {
    /// `ok`, `degraded`, `failing` or `not running`.
    status: String,
    reasons: Vec<String>,
    backends: Vec<Value>,
    counts: Vec<Count>,
    /// How many parts of longer messages wait for the others, by backend; those without any are left out.
    waiting_parts: BTreeMap<Name, u64>,
    /// How many calls to programs about their messages wait to be made.
    waiting_callbacks: u64,
}

/// Tells how things are.
pub(super) fn run(place: &Place, output: &Output) -> Ended {
    let settings = place.settings()?;
    let (status, mut reasons) = health(&settings)?;
    // A router that does not answer is not asked, and waited for, a second time.
    let silent = status == SILENT;
    let asked = !silent && status != NOT_RUNNING;
    let running = if asked { backends::running(&settings).ok().flatten() } else { None };
    // A store that cannot be read is a reason like others; the router may be well all the same.
    let read = reader(&settings).and_then(|reader| match reader {
        Some(mut reader) => Ok((reader.tally()?, reader.pieces()?, reader.calls()?)),
        None => Ok((Vec::new(), Vec::new(), 0)),
    });
    let ((counts, waiting_parts, waiting_callbacks), unreadable) = match read {
        Ok(read) => (read, false),
        Err(failure) => {
            reasons.push(format!("The store cannot be read: {}.", failure.sentence));
            ((Vec::new(), Vec::new(), 0), true)
        }
    };
    let exit = match status.as_str() {
        NOT_RUNNING => Exit::NotRunning,
        _ if unreadable => Exit::Store,
        "ok" => Exit::Ok,
        _ => Exit::Failed,
    };
    // Of a silent router nothing is known, least of all that its backends do not run.
    let backends = running.unwrap_or_else(|| if silent { Vec::new() } else { backends::stopped(&settings) });
    let status = if silent { "failing".to_string() } else { status };
    let waiting_parts = waiting_parts.into_iter().collect();
    let status = Status { status, reasons, backends, counts, waiting_parts, waiting_callbacks };
    let mut out = Out::new();
    if output.json {
        out.json(&status)?;
    } else {
        for line in lines(&status) {
            out.line(line)?;
        }
    }
    out.end()?;
    Ok(exit)
}

const NOT_RUNNING: &str = "not running";
/// Told as `failing`, which a router may also say of itself.
const SILENT: &str = "not answering";

/// What the router says of itself.
fn health(settings: &Settings) -> Result<(String, Vec<String>), Failure> {
    let Some(client) = Client::reach(settings)? else {
        let reason = "No router is running with these settings; start one with `rapidsms run_router`.";
        return Ok((NOT_RUNNING.into(), vec![reason.into()]));
    };
    let answer = match client.get("/healthz") {
        Ok(answer) => answer,
        // A router that is there and says nothing is not well, which is an answer.
        Err(failure) => return Ok((SILENT.into(), vec![format!("{}.", failure.sentence)])),
    };
    let Answer { body, .. } = &answer;
    let reasons = body.get("reasons").and_then(Value::as_array);
    let reasons = reasons.into_iter().flatten().filter_map(Value::as_str).map(str::to_string).collect();
    match body.get("status").and_then(Value::as_str) {
        Some(status) => Ok((status.to_string(), reasons)),
        None => Err(Failure::failed(answer.sentence())),
    }
}

fn lines(status: &Status) -> Vec<String> {
    let mut lines = vec![status.status.clone()];
    lines.extend(status.reasons.iter().map(|reason| format!("  {}", super::print::shown(reason))));
    if !status.backends.is_empty() {
        let mut table = Table::new(&["BACKEND", "STATE", ""]);
        for backend in &status.backends {
            let word = |key: &str| backend.get(key).and_then(Value::as_str).unwrap_or_default();
            table.row(&[word("name"), word("state"), word("sentence")]);
        }
        lines.push(String::new());
        lines.extend(table.lines(columns()));
    }
    if !status.counts.is_empty() {
        let mut table = Table::new(&["BACKEND", "", "STATE", "MESSAGES"]);
        for Count { backend, direction, state, count } in &status.counts {
            table.row(&[backend, direction.as_str(), state.as_str(), &count.to_string()]);
        }
        lines.push(String::new());
        lines.extend(table.lines(columns()));
    }
    if !status.waiting_parts.is_empty() {
        let mut table = Table::new(&["BACKEND", "WAITING PARTS"]);
        for (backend, count) in &status.waiting_parts {
            table.row(&[backend, &count.to_string()]);
        }
        lines.push(String::new());
        lines.extend(table.lines(columns()));
    }
    if status.waiting_callbacks > 0 {
        lines.push(String::new());
        lines.push(format!("Callbacks that wait to be made: {}", status.waiting_callbacks));
    }
    lines
}
