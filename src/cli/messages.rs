//! `rapidsms messages`: what the store holds, read from the store itself, so that it works with the router running or stopped.

use super::arguments::Messages;
use super::print::{self, Out, Table, counted, moment, say, short_moment, shown};
use super::{Ended, Exit, Failure, Place, reader};
use crate::message::MessageId;
use crate::settings::Settings;
use crate::store::{Detail, PAGE_LIMIT, Query, Reader, Row};
use std::path::Path;

/// So many characters of an id, two groups and a counter, are unique within a store.
const SHORT_ID: usize = 18;
/// From so many columns on there is room for ids.
const ROOM_FOR_IDS: usize = 110;

/// Lists messages or shows one.
pub(super) fn run(place: &Place, wanted: &Messages) -> Ended {
    let settings = place.settings()?;
    let Some(mut reader) = reader(&settings)? else {
        if wanted.id.is_some() {
            return Err(no_store(&settings.database.path));
        }
        say(format_args!(
            "{} does not exist yet: no message was ever taken",
            settings.database.path.display()
        ));
        let mut out = Out::new();
        if wanted.output.json {
            out.line("[]")?;
        }
        out.end()?;
        return Ok(Exit::Ok);
    };
    match &wanted.id {
        Some(id) => show(&mut *reader, id, wanted),
        None => list(&mut *reader, wanted, &settings),
    }
}

/// The message that is meant by the beginning of an id.
pub(super) fn find(reader: &mut dyn Reader, given: &str) -> Result<MessageId, Failure> {
    if let Ok(id) = given.parse::<MessageId>() {
        return Ok(id);
    }
    let prefix = given.to_ascii_lowercase();
    let wrong = |sentence: String| {
        Failure::failed(sentence)
            .hint("ids are listed by `rapidsms messages --ids` and `rapidsms messages --json`")
    };
    let Some(below) = just_below(&prefix) else {
        return Err(wrong(format!(
            "\"{}\" is no message id, nor the beginning of one",
            given.escape_debug()
        )));
    };
    let query = Query { after: Some(below), ascending: true, limit: 2, ..Query::default() };
    let page = reader.messages(&query)?;
    let mut fitting =
        page.messages.into_iter().map(|row| row.id).filter(|id| id.to_string().starts_with(&prefix));
    match (fitting.next(), fitting.next()) {
        (Some(id), None) => Ok(id),
        (None, _) => Err(wrong(format!("there is no message {given}"))),
        (Some(_), Some(_)) => Err(wrong(format!("{given} is the beginning of several ids; give more of it"))),
    }
}

/// The id before the first one that begins like this. Ids sort as their text does.
fn just_below(prefix: &str) -> Option<MessageId> {
    const PATTERN: &str = "00000000-0000-7000-8000-000000000000";
    let fits = |(given, pattern): (char, char)| match pattern {
        '-' => given == '-',
        _ => given.is_ascii_hexdigit(),
    };
    if prefix.is_empty() || prefix.len() > PATTERN.len() || !prefix.chars().zip(PATTERN.chars()).all(fits) {
        return None;
    }
    let first = format!("{prefix}{}", PATTERN.get(prefix.len()..)?);
    let first: MessageId = first.parse().ok()?;
    Some(MessageId::from_parts((first.key() - 1).max(0), i64::MAX))
}

/// There is no message because there is no store.
pub(super) fn no_store(path: &Path) -> Failure {
    Failure::failed(format!("there is no such message: {} does not exist yet", path.display()))
}

fn list(reader: &mut dyn Reader, wanted: &Messages, settings: &Settings) -> Ended {
    let after = wanted.after.as_deref().map(|after| find(reader, after)).transpose()?;
    let mut query = Query {
        backend: wanted.backend.clone(),
        identity: wanted.identity.clone(),
        direction: wanted.direction,
        state: wanted.state,
        after,
        ascending: wanted.order == "asc",
        limit: 0,
    };
    let mut left = wanted.limit as usize;
    let mut out = Out::new();
    let mut printer = Printer::new(wanted);
    loop {
        query.limit = left.min(PAGE_LIMIT);
        let page = reader.messages(&query)?;
        left = left.saturating_sub(page.messages.len());
        printer.rows(&mut out, &page.messages)?;
        match page.next {
            Some(next) if left > 0 => query.after = Some(next),
            next => {
                if printer.count == 0 {
                    unknown_backend(reader, wanted, settings)?;
                }
                printer.end(&mut out)?;
                out.end()?;
                if let (Some(next), false) = (next, wanted.output.json) {
                    say(format_args!("there are more: add --after {next}, or a higher --limit"));
                }
                break;
            }
        }
    }
    Ok(Exit::Ok)
}

/// A misspelt backend must not look like one without messages.
fn unknown_backend(reader: &mut dyn Reader, wanted: &Messages, settings: &Settings) -> Result<(), Failure> {
    let Some(name) = &wanted.backend else { return Ok(()) };
    let configured = settings.backends.iter().any(|backend| backend.name == *name);
    if configured || reader.tally()?.iter().any(|count| *count.backend == **name) {
        return Ok(());
    }
    let names: Vec<&str> = settings.backends.iter().map(|backend| backend.name.as_str()).collect();
    Err(Failure::failed(format!(
        "no backend named \"{}\" is configured or has messages",
        name.escape_debug()
    ))
    .hint(format!("configured: {}", names.join(", "))))
}

/// Prints page after page, as one JSON array or one table.
struct Printer<'a> {
    wanted: &'a Messages,
    columns: Option<usize>,
    count: usize,
}

impl Printer<'_> {
    fn new(wanted: &Messages) -> Printer<'_> {
        Printer { wanted, columns: print::columns(), count: 0 }
    }

    fn rows(&mut self, out: &mut Out, rows: &[Row]) -> Result<(), Failure> {
        if self.wanted.output.json {
            for row in rows {
                let text = serde_json::to_string(row).map_err(|error| Failure::failed(error.to_string()))?;
                let lead = if self.count == 0 { "[" } else { ",\n " };
                out.octets(lead.as_bytes())?;
                out.octets(text.as_bytes())?;
                self.count += 1;
            }
            return Ok(());
        }
        if rows.is_empty() {
            return Ok(());
        }
        let ids = self.wanted.ids || self.columns.is_none_or(|columns| columns >= ROOM_FOR_IDS);
        let titles = ["ID", "TIME", "", "BACKEND", "IDENTITY", "STATE", "TEXT"];
        let skip = usize::from(!ids);
        let mut table = Table::new(&titles[skip..]);
        for row in rows {
            let id = row.id.to_string();
            let time = short_moment(row.created_at, self.wanted.utc);
            let state = row.state.as_str();
            // A reason tells more of what failed than the text does, but only beside it.
            let text = match &row.reason {
                Some(reason) if row.text.is_empty() => format!("({reason})"),
                _ => row.text.clone(),
            };
            let short = id.get(..SHORT_ID).unwrap_or(&id);
            let cells = [short, &time, row.direction.as_str(), &row.backend, &row.identity, state, &text];
            table.row(&cells[skip..]);
        }
        // Titles stand once, at the top.
        for line in table.lines(self.columns).iter().skip(usize::from(self.count > 0)) {
            out.line(line)?;
        }
        self.count += rows.len();
        Ok(())
    }

    fn end(&self, out: &mut Out) -> Result<(), Failure> {
        match (self.wanted.output.json, self.count) {
            (true, 0) => out.line("[]"),
            (true, _) => out.line("]"),
            (false, 0) => {
                say("no messages");
                Ok(())
            }
            (false, _) => Ok(()),
        }
    }
}

fn show(reader: &mut dyn Reader, id: &str, wanted: &Messages) -> Ended {
    let found = find(reader, id)?;
    let Some(detail) = reader.message(found)? else {
        return Err(Failure::failed(format!("there is no message {id}")));
    };
    let mut out = Out::new();
    if wanted.output.json {
        out.json(&detail)?;
    } else {
        for line in described(&detail, wanted.utc) {
            out.line(line)?;
        }
    }
    out.end()?;
    Ok(Exit::Ok)
}

fn described(detail: &Detail, utc: bool) -> Vec<String> {
    let Detail { row, history, raw } = detail;
    let mut lines = Vec::new();
    let mut fact = |name: &str, value: Option<String>| {
        if let Some(value) = value {
            lines.push(format!("{name:<16} {}", shown(&value)));
        }
    };
    let time = |at| moment(at, utc);
    fact("id", Some(row.id.to_string()));
    fact("direction", Some(row.direction.as_str().to_string()));
    fact("backend", Some(row.backend.to_string()));
    fact("identity", Some(row.identity.clone()));
    fact("text", Some(row.text.clone()));
    fact("state", Some(row.state.as_str().to_string()));
    fact("reason", row.reason.clone());
    fact("created", Some(time(row.created_at)));
    fact("updated", Some(time(row.updated_at)));
    fact("answers", row.in_response_to.map(|id| id.to_string()));
    fact("repeats", row.duplicate_of.map(|id| id.to_string()));
    fact("redelivered", row.redelivered.then(|| "yes: an app may have seen it more than once".into()));
    fact("attempts", (row.attempts > 0).then(|| row.attempts.to_string()));
    fact("parts", row.parts.map(|parts| parts.to_string()));
    fact("not before", row.not_before.map(time));
    fact("expires", row.expires_at.map(time));
    fact("sent by source", row.source_time.map(time));
    fact("carrier's id", row.remote_id.clone());
    fact("raw octets", raw.as_ref().map(|raw| counted(raw.len() as u64, "octet")));
    lines.push(String::new());
    let mut table = Table::new(&["TIME", "STATE", "ATTEMPT", "BY", "REASON"]);
    for entry in history {
        let attempt = if entry.attempt > 0 { entry.attempt.to_string() } else { String::new() };
        let reason = entry.reason.as_deref().unwrap_or_default();
        table.row(&[&time(entry.at), entry.state.as_str(), &attempt, &entry.actor, reason]);
    }
    // The history is for reading, not for a glance: nothing of it is cut.
    lines.extend(table.lines(None));
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_beginning_of_an_id_finds_the_first_that_begins_so() {
        let id: MessageId = "019a1b2c-3d4e-7005-8123-456789abcdef".parse().unwrap();
        for end in 1..36 {
            let below = just_below(&id.to_string()[..end]).unwrap();
            assert!(below.key() < id.key(), "{end}");
        }
        assert_eq!(just_below("019a1b2c-3d4e-7005").unwrap().key(), id.key() - 1);
        for wrong in ["", "x", "019a1b2c3", "019a1b2c-3d4e-4", "é", "019a1b2c-3d4e-7005-8123-456789abcdef0"]
        {
            assert!(just_below(wrong).is_none(), "{wrong}");
        }
    }
}
