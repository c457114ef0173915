//! What happened, one JSON object for each line, so that a test can judge what was lost and what came twice.
//!
//! | event | when | fields |
//! |---|---|---|
//! | `injected` | somebody sends a message to the modem | `id`, `from`, `text`, `parts`, `pdus` |
//! | `stored` | one part lies in a slot | `id`, `part`, `memory`, `slot` |
//! | `pushed` | one part is written to the port as `+CMT` or `+CDS` | `id`, `part`, `attempt` |
//! | `acknowledged` | the network takes it for delivered and forgets it | `id`, `part`, `by` (`storage`, `cnma`, `modem`) |
//! | `unacknowledged` | nobody acknowledged what was pushed: the network keeps it | `id`, `part`, `reason` |
//! | `full` | there is no free slot; the network keeps it | `id`, `part`, `memory` |
//! | `discarded` | the modem takes it and shows it to nobody, as it was told | `id`, `part`, `reason` |
//! | `read` | a slot's content is written to the port | `id`, `part`, `memory`, `slot`, `by` |
//! | `deleted` | a slot is empty from now on | `id`, `part`, `memory`, `slot` |
//! | `sent` | the network has taken one part of a message from the modem | `reference`, `to`, `text`, `concat`, `report`, `class`, `pdu`, `answer` (`told`, `lost`, `late`, `bare`) |
//! | `message` | all parts of a message have been taken | `to`, `text`, `references` |
//! | `refused` | a message was not taken | `to`, `text`, `error`, `reason` |
//! | `report` | the network reports about a message | `id`, `reference`, `to`, `status` |
//! | `drafted` | a message of the other side lies in a slot | `memory`, `slot` |
//! | `command` | only when asked for: a command line came, or the end of a text | `line` |
//! | `call`, `call_ended` | somebody rings; it is over | `from`; `reason` |
//! | `ussd` | a code was asked | `code`, `answer` |
//! | `pin` | a PIN was tried | `right`, `tries_left` |
//! | `plugged`, `unplugged`, `reset` | | `port` |
//! | `ordered` | somebody ordered something else than a message | `order` |
//!
//! Every line has `at` (RFC 3339, UTC) and `modem` before these. `id` is a number that each modem gives messages and reports on their way to it; `part` counts
//! from 1. Lines are appended before the other side can see their effect, each with one write, and remain whatever happens to the other side.

use crate::time::Timestamp;
use serde_json::Value;

/// One line.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    at: Timestamp,
    event: &'static str,
    fields: Vec<(&'static str, Value)>,
}

impl Entry {
    /// A line without fields.
    pub fn new(at: Timestamp, event: &'static str) -> Entry {
        Entry { at, event, fields: Vec::new() }
    }

    /// The same with one field more.
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Entry {
        self.fields.push((name, value.into()));
        self
    }

    /// What happened.
    pub fn event(&self) -> &'static str {
        self.event
    }

    /// A field.
    pub fn field(&self, name: &str) -> Option<&Value> {
        self.fields.iter().find(|(field, _)| *field == name).map(|(_, value)| value)
    }

    /// The line as it stands in the file, with its line break.
    pub fn line(&self, modem: &str) -> String {
        let modem = Value::from(modem);
        let mut line = format!("{{\"at\":\"{}\",\"modem\":{modem},\"event\":\"{}\"", self.at, self.event);
        for (name, value) in &self.fields {
            line.push_str(&format!(",\"{name}\":{value}"));
        }
        line.push('}');
        line.push('\n');
        line
    }
}
