//! `rapidsms send --dry-run`: what exactly would go out, and what an answer of the gateway would mean. Nothing is opened, stored or sent.

use super::arguments::Send;
use super::print::Out;
use super::{Ended, Exit, Failure, Place, send};
use crate::message::{Draft, Ids, Outgoing};
use crate::settings::Settings;
use crate::shell;
use serde_json::json;
use std::io::Read;
use std::path::Path;

/// The longest answer that is looked at; gateways say less.
const ANSWER_LIMIT: u64 = 1024 * 1024;

/// Shows it.
pub(super) fn run(place: &Place, settings: &Settings, draft: Draft, asked: &Send) -> Ended {
    if let Some(group) = settings.groups.iter().find(|group| group.name == asked.backend) {
        let members: Vec<&str> = group.members.iter().map(|member| member.backend.as_str()).collect();
        let sentence = format!("{} is a group; each of its members sends in its own way", group.name);
        return Err(Failure::usage(sentence).hint(format!("name one of them: {}", members.join(", "))));
    }
    let Some(backend) = settings.backends.iter().find(|backend| backend.name == asked.backend) else {
        let sentence = format!("no backend named \"{}\" is configured", asked.backend.escape_debug());
        return Err(send::refused(404, sentence, settings));
    };
    let engine = place.registry.engine(backend.engine).filter(|_| backend.built);
    let Some(rehearse) = engine.and_then(|engine| engine.rehearse) else {
        let sentence = format!("what the engine {} sends is no request that could be shown", backend.engine);
        return Err(Failure::failed(sentence));
    };
    let answer = asked.answer.as_deref().map(answer).transpose()?;
    let now = shell::wall();
    let outgoing = Outgoing {
        id: Ids::new(None, shell::seed()).next(now),
        by: backend.name.as_str().into(),
        connection: draft.connection,
        text: draft.text,
        in_response_to: None,
        answered: None,
        attempt: 1,
        expires_at: now + draft.validity.unwrap_or(backend.validity),
        origin: draft.origin,
        wishes: draft.wishes,
    };
    let shown = rehearse(backend, &outgoing, answer.as_deref()).map_err(Failure::failed)?;
    let mut out = Out::new();
    if asked.output.json {
        out.json(&json!({ "backend": backend.name, "would_send": shown }))?;
    } else {
        out.line(shown.trim_end())?;
    }
    out.end()?;
    Ok(Exit::Ok)
}

fn answer(file: &Path) -> Result<String, Failure> {
    let fault =
        |error: std::io::Error| Failure::failed(format!("{} cannot be read: {error}", file.display()));
    let mut octets = Vec::new();
    if file == Path::new("-") {
        std::io::stdin().lock().take(ANSWER_LIMIT).read_to_end(&mut octets).map_err(fault)?;
    } else {
        let opened = std::fs::File::open(file).map_err(fault)?;
        opened.take(ANSWER_LIMIT).read_to_end(&mut octets).map_err(fault)?;
    }
    Ok(String::from_utf8_lossy(&octets).into_owned())
}
