//! What carriers call the parts of messages, in a store in memory.

use crate::message::MessageId;
use crate::store::{Named, named_parts};
use crate::time::Timestamp;
use foldhash::HashMap;
use std::collections::BTreeSet;
use std::sync::Arc;

/// The names of parts that may still be reported about.
#[derive(Debug, Default)]
pub(super) struct CarrierNames {
    parts: HashMap<MessageId, Vec<Part>>,
    /// Those that did not arrive yet, by name: the backend, when the name was given, the message, the part.
    open: HashMap<Arc<str>, BTreeSet<(u32, Timestamp, MessageId, u32)>>,
}

#[derive(Debug)]
struct Part {
    number: u32,
    name: Arc<str>,
    backend: u32,
    at: Timestamp,
    arrived: bool,
}

impl CarrierNames {
    /// Remembers the names of a message, one for each part, instead of those that it had.
    pub(super) fn give(&mut self, id: MessageId, backend: u32, names: &[String], at: Timestamp) {
        self.forget(id);
        let parts = named_parts(names).map(|(number, name)| Part {
            number,
            name: name.into(),
            backend,
            at,
            arrived: false,
        });
        let parts: Vec<Part> = parts.collect();
        for part in &parts {
            self.open.entry(part.name.clone()).or_default().insert((backend, at, id, part.number));
        }
        self.parts.insert(id, parts);
    }

    pub(super) fn find(&self, backend: u32, name: &str) -> Option<Named> {
        let open = self.open.get(name)?;
        let (_, _, id, part) = open.iter().rev().find(|(other, ..)| *other == backend).copied()?;
        let parts = u32::try_from(self.parts.get(&id)?.len()).unwrap_or(u32::MAX);
        Some(Named { id, part, parts })
    }

    /// Marks a part; says how many of its message are still under way.
    pub(super) fn arrived(&mut self, id: MessageId, number: u32) -> u32 {
        let Some(parts) = self.parts.get_mut(&id) else { return 0 };
        if let Some(part) = parts.iter_mut().find(|part| part.number == number) {
            part.arrived = true;
            close(&mut self.open, id, part);
        }
        let under_way = parts.iter().filter(|part| !part.arrived).count();
        u32::try_from(under_way).unwrap_or(u32::MAX)
    }

    pub(super) fn forget(&mut self, id: MessageId) {
        for part in self.parts.remove(&id).unwrap_or_default() {
            close(&mut self.open, id, &part);
        }
    }
}

fn close(
    open: &mut HashMap<Arc<str>, BTreeSet<(u32, Timestamp, MessageId, u32)>>,
    id: MessageId,
    part: &Part,
) {
    if let Some(known) = open.get_mut(&part.name) {
        known.remove(&(part.backend, part.at, id, part.number));
        if known.is_empty() {
            open.remove(&part.name);
        }
    }
}
