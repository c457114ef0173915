//! `rapidsms ussd`: asks the mobile network something through a modem of the running router (USSD; 3GPP TS 22.090).

use super::arguments::Ussd;
use super::client::Client;
use super::print::{Out, shown};
use super::{Ended, Exit, Failure, Place};
use serde_json::json;
use std::time::Duration;

/// The router gives the network most of a minute.
const PATIENCE: Duration = Duration::from_secs(70);

/// Asks, and prints the network's answer.
pub(super) fn run(place: &Place, wanted: &Ussd) -> Ended {
    let settings = place.settings()?;
    let Some(client) = Client::reach(&settings)? else {
        return Err(Failure::new(Exit::NotRunning, "no router is running that could ask")
            .hint("start it: `rapidsms run_router`; it is the one that has the modem"));
    };
    let name = percent_encoding::utf8_percent_encode(&wanted.backend, percent_encoding::NON_ALPHANUMERIC);
    let path = format!("/api/v1/backends/{name}/ussd");
    let answer = client.post_within(PATIENCE, &path, &json!({ "code": wanted.code }), None)?;
    let text = match (answer.status, answer.body.get("answer").and_then(|answer| answer.as_str())) {
        (200, Some(text)) => text.to_string(),
        _ => return Err(Failure::failed(answer.sentence())),
    };
    let mut out = Out::new();
    if wanted.output.json {
        out.json(&json!({ "backend": wanted.backend, "code": wanted.code, "answer": text }))?;
    } else {
        text.lines().try_for_each(|line| out.line(shown(line)))?;
    }
    out.end()?;
    Ok(Exit::Ok)
}
