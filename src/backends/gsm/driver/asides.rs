//! Messages in parts that are no text for people: some senders say so in the first part only (a port, 3GPP TS 23.040 clause 9.2.3.24), so the
//! first tells for those after it.
//!
//! Parts that come before their first go to the router as pieces of a text; without it they never become one, and are delivered with that gap
//! marked. The last first parts are remembered, for a while, by this life of the driver only.

use crate::message::Incoming;
use std::collections::VecDeque;
use std::time::Duration;

/// So many are remembered.
const MOST: usize = 64;
/// References come round; parts that belong together come within minutes.
const FOR: Duration = Duration::from_secs(3600);

/// What was set aside by its first part.
#[derive(Debug, Default)]
pub(super) struct Asides(VecDeque<Aside>);

#[derive(Debug)]
struct Aside {
    identity: String,
    set: String,
    total: u16,
    why: String,
    until: Duration,
}

impl Asides {
    /// Sets a part aside whose first part was. Whatever is set aside is no piece of anything for the router.
    pub(super) fn judge(&mut self, incoming: &mut Incoming, now: Duration) {
        let Some(part) = incoming.part.take() else { return };
        let identity = &*incoming.connection.identity;
        self.0.retain(|aside| now < aside.until);
        let known = self.0.iter().position(|aside| {
            aside.set == part.set && aside.total == part.total && aside.identity == identity
        });
        match (&incoming.undecodable, known) {
            (Some(why), None) if part.sequence == 1 => {
                if self.0.len() >= MOST {
                    self.0.pop_front();
                }
                let (identity, why) = (identity.to_string(), why.clone());
                let until = now.saturating_add(FOR);
                self.0.push_back(Aside { identity, set: part.set, total: part.total, why, until });
            }
            (Some(_), _) => {}
            (None, Some(known)) if part.sequence > 1 => {
                let why = self.0.get(known).map_or("", |aside| aside.why.as_str());
                incoming.text = String::from_utf16_lossy(&part.units);
                incoming.undecodable =
                    Some(format!("part {} of {}, whose first is {why}", part.sequence, part.total));
            }
            (None, known) => {
                // The same reference again, for a text this time.
                known.filter(|_| part.sequence == 1).and_then(|known| self.0.remove(known));
                incoming.part = Some(part);
            }
        }
    }
}
