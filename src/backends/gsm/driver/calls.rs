//! Somebody calls (3GPP TS 27.007 clauses 6.11 and 7.6): it is logged, hung up if the settings say so, and can become a message, once for each call.

use super::{Driver, Effect, Job, Source};
use crate::message::{Connection, Incoming};
use crate::modem::{Command, Urc};
use std::time::Duration;

/// Without a ring for so long, the call is over.
const SILENCE: Duration = Duration::from_secs(12);

/// The call that rings.
#[derive(Debug, Default)]
pub(super) struct Calls {
    rings_until: Option<Duration>,
    told: bool,
    hang_up: bool,
}

impl Calls {
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.rings_until
    }

    pub(super) fn tick(&mut self, now: Duration) {
        if self.rings_until.is_some_and(|until| until <= now) {
            *self = Calls::default();
        }
    }
}

impl Driver {
    pub(super) fn call(&mut self, urc: &Urc) {
        if let Urc::CallEnded(_) = urc {
            self.calls = Calls::default();
            return;
        }
        self.calls.tick(self.now);
        if self.calls.rings_until.is_none() {
            self.calls.hang_up = self.rules.hang_up;
        }
        self.calls.rings_until = Some(self.now.saturating_add(SILENCE));
        let Urc::Caller(number) = urc else { return };
        if std::mem::replace(&mut self.calls.told, true) {
            return;
        }
        let caller = if number.is_empty() { "somebody who hides the number" } else { number.as_str() };
        log::info!("backend {}: a call from {caller}", self.rules.backend);
        if let Some(text) = self.rules.call_text.clone().filter(|_| !number.is_empty()) {
            let connection = Connection::new(self.rules.backend.clone(), number.as_str());
            self.effects
                .push_back(Effect::Deliver(Box::new(Incoming::new(connection, text)), Source::Elsewhere));
        }
    }

    pub(super) fn hang_up(&mut self) -> Option<(Command, Job)> {
        std::mem::take(&mut self.calls.hang_up).then(|| (Command::new("AT+CHUP"), Job::HangUp))
    }
}
