//! `rapidsms release`, `hold` and `cancel`: a person decides about messages that have not left yet.

use super::arguments::Decide;
use super::client::Client;
use super::print::{Out, say};
use super::{Ended, Exit, Failure, Place, desk, messages, reader};
use crate::message::{Direction, MessageId, State};
use crate::registry::Registry;
use crate::settings::Settings;
use crate::store::{Reader, Row};
use serde_json::json;

/// What is decided.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    /// It goes.
    Release,
    /// It waits for a person.
    Hold,
    /// It never goes.
    Cancel,
}

impl Verb {
    fn state(self) -> State {
        match self {
            Verb::Release => State::Queued,
            Verb::Hold => State::Held,
            Verb::Cancel => State::Cancelled,
        }
    }

    fn done(self) -> &'static str {
        match self {
            Verb::Release => "released",
            Verb::Hold => "held",
            Verb::Cancel => "cancelled",
        }
    }
}

/// Decides about each; one that cannot be helped does not keep the others from it.
pub(super) fn run(place: &Place, wanted: &Decide, verb: Verb) -> Ended {
    let settings = place.settings()?;
    let Some(mut reader) = reader(&settings)? else {
        return Err(messages::no_store(&settings.database.path));
    };
    let mut decided = Vec::new();
    let mut exit = Exit::Ok;
    for given in &wanted.ids {
        let done = messages::find(&mut *reader, given)
            .and_then(|id| decide(&settings, &place.registry, &mut *reader, id, verb).map(|()| id));
        match done {
            Ok(id) => decided.push(id),
            Err(failure) => exit = failure.tell(),
        }
    }
    let mut out = Out::new();
    if wanted.output.json {
        let rows = decided.iter().map(|id| json!({ "id": id, "state": verb.state() }));
        out.json(&rows.collect::<Vec<_>>())?;
    } else {
        for id in &decided {
            out.line(id)?;
        }
    }
    out.end()?;
    if let (false, [_, ..]) = (wanted.output.json, decided.as_slice()) {
        say(format_args!("{} {}", super::print::counted(decided.len() as u64, "message"), verb.done()));
    }
    Ok(exit)
}

fn decide(
    settings: &Settings,
    registry: &Registry,
    reader: &mut dyn Reader,
    id: MessageId,
    verb: Verb,
) -> Result<(), Failure> {
    // Looked at first: a decision that comes too late would leave a line in the message's history.
    let Some(detail) = reader.message(id)? else {
        return Err(Failure::failed(format!("there is no message {id}")));
    };
    let Row { state, direction, .. } = detail.row;
    if direction == Direction::In || !state.may_become(verb.state()) {
        return Err(too_late(id, direction, state, verb));
    }
    let decided = match Client::reach(settings)? {
        Some(client) => {
            let answer =
                client.post(&format!("/api/v1/messages/{id}"), &json!({ "state": verb.state() }), None)?;
            match answer.status {
                200 => true,
                409 => false,
                503 => return Err(Failure::new(Exit::Store, answer.sentence())),
                _ => return Err(Failure::failed(answer.sentence())),
            }
        }
        None => desk::with_router(settings, registry, |router, now| {
            router.decide_by_hand(id, verb.state(), "person at the command line", now)
        })?,
    };
    if decided {
        return Ok(());
    }
    // It went on in the meantime, or it is with its backend at this very moment.
    let state = reader.message(id)?.map_or(state, |detail| detail.row.state);
    Err(too_late(id, direction, state, verb))
}

fn too_late(id: MessageId, direction: Direction, state: State, verb: Verb) -> Failure {
    let done = verb.done();
    if direction == Direction::In {
        return Failure::failed(format!("message {id} is an incoming one: it cannot be {done}"))
            .hint("only messages on their way out can be decided about");
    }
    if state == verb.state() {
        return Failure::failed(format!("message {id} is {state} already"));
    }
    let possible: Vec<&str> = [State::Queued, State::Uncertain, State::Held]
        .into_iter()
        .filter(|state| state.may_become(verb.state()))
        .map(State::as_str)
        .collect();
    Failure::failed(format!("message {id} is {state}: it cannot be {done}"))
        .hint(format!("possible while a message is {}", possible.join(" or ")))
}
