//! Sending from a storage, for modems that refuse to send directly: `AT+CMGW` writes a part into a slot, `AT+CMSS` sends it from there, `AT+CMGD`
//! empties the slot (3GPP TS 27.005 3.5.2 to 3.5.4).
//!
//! Only once `AT+CMSS` was written a part may have left. A slot is emptied only where it is certain in which storage it is: numbers of slots
//! mean something else in each. What stays behind is found by the next look through the storages, by its status: not sent, or sent.

use super::Driver;
use super::receiving::Slot;
use crate::message::SendFailure;
use crate::modem::command::SEND_OK_TIME;
use crate::modem::{Answer, Command, ModemError, Outcome, answers};
use std::time::Duration;

/// How long a SIM may take to write.
const WRITE_TIME: Duration = Duration::from_secs(30);

/// How this modem sends.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) enum Way {
    /// As every modem should, as far as is known.
    #[default]
    Direct,
    /// As every modem should: it has asked for a text.
    Proven,
    /// From a storage, because it refused the other with this error.
    Storage(ModemError),
    /// It refused both.
    Neither,
}

/// Whether an error says that the modem has no such command, or none at the moment.
pub(super) fn has_no_such_command(error: &ModemError) -> bool {
    matches!(
        error,
        ModemError::Plain
            | ModemError::NotSupported
            | ModemError::Text(_)
            | ModemError::Cms(302 | 303)
            | ModemError::Cme(3 | 4)
    )
}

/// Writes a part into the storage.
pub(super) fn write(length: usize, digits: &str) -> Command {
    Command::new(format!("AT+CMGW={length}")).body(digits).within(WRITE_TIME).ok_may_lack(SEND_OK_TIME)
}

/// Sends what is in the slot.
pub(super) fn send(slot: u32, within: Duration) -> Command {
    Command::new(format!("AT+CMSS={slot}")).within(within).ok_may_lack(SEND_OK_TIME)
}

impl Driver {
    /// The modem has refused a part before it asked for the text. Whether it is sent in the other way.
    pub(super) fn sends_from_storage_instead(&mut self, error: &ModemError) -> bool {
        if self.outbox.way != Way::Direct || !has_no_such_command(error) {
            return false;
        }
        self.outbox.way = Way::Storage(error.clone());
        true
    }

    /// The modem has written a part, or has not. Nothing has left.
    pub(super) fn part_written(&mut self, answer: &Answer) {
        let Way::Storage(refused_directly) = self.outbox.way.clone() else { return };
        match (&answer.outcome, answers::written_to(&answer.lines)) {
            (Outcome::Ok | Outcome::Assumed, Some(slot)) => {
                if !std::mem::replace(&mut self.outbox.has_stored, true) {
                    log::info!(
                        "backend {}: the modem refuses AT+CMGS ({refused_directly}): messages are sent from its storage",
                        self.rules.backend
                    );
                }
                self.outbox.stored_in(Some(slot));
            }
            (Outcome::Error(error), _) if !self.outbox.has_stored && has_no_such_command(error) => {
                self.outbox.way = Way::Neither;
                self.refused(
                    &refused_directly,
                    format!("{refused_directly}; and AT+CMGW, the other way: {error}"),
                );
            }
            (Outcome::Error(error), _) => {
                let why = format!("AT+CMGW: {error}");
                self.refused(error, why);
            }
            _ => {
                let why = "the modem does not say where it has written the message to be sent (AT+CMGW)";
                self.failed(SendFailure::Temporary(why.into()), true);
            }
        }
    }

    /// The slot is not needed any more.
    pub(super) fn empty_slot(&mut self, slot: u32) {
        if let Some(storage) = self.facts.writing.clone() {
            self.no_more_needed(Slot { storage, index: slot }, String::new());
        }
    }

    /// Whether what was written there to be sent is ours to delete.
    pub(super) fn owns_what_was_written(&self) -> bool {
        self.outbox.has_stored
    }
}
