//! A stick has more ports than the one in use: what is heard at another one is acted on here, and the port can be changed for it between two
//! commands. What is not yet done then is not lost: messages are still in the modem's storage, what came directly and was not
//! acknowledged is repeated by the network, and a message between its parts goes on with its next part.

use super::{Driver, Phase, Source};
use crate::modem::Urc;
use std::time::Duration;

/// Whether it says that a message or a report has come: what nobody asked for, and what a port is chosen by.
pub fn is_announcement(urc: &Urc) -> bool {
    matches!(
        urc,
        Urc::Stored { .. }
            | Urc::ReportStored { .. }
            | Urc::Message(_)
            | Urc::Report(_)
            | Urc::TextMessage { .. }
            | Urc::Torn(_)
    )
}

impl Driver {
    /// Another port of the same modem said this unasked.
    pub fn overheard(&mut self, urc: Urc, now: Duration) {
        self.now = now;
        if !matches!(self.phase, Phase::Starting | Phase::Working) {
            return;
        }
        match urc {
            // It cannot be acknowledged here, so the network repeats it; then it is known by its octets.
            Urc::Message(direct) | Urc::Report(direct) => self.arrived(&direct.pdu, Source::Elsewhere),
            // The network repeats this one, too, once that port speaks as it should.
            Urc::TextMessage { .. } => {}
            urc => self.unasked(urc),
        }
        self.go_on();
    }

    /// Whether messages are announced; `None` until one was, or until one was found that was not.
    pub fn announces(&self) -> Option<bool> {
        self.inbox.announces
    }

    /// It is to be found out anew.
    pub fn forget_announcements(&mut self) {
        self.inbox.announces = None;
    }

    /// Whether an announcement came on the line itself since the last call, and since the port was opened.
    pub fn take_announced_here(&mut self) -> bool {
        std::mem::take(&mut self.announced_here)
    }

    /// How many looks through the storages have ended.
    pub fn looks(&self) -> u64 {
        self.inbox.looks
    }

    /// Whether the modem is initialised.
    pub fn works(&self) -> bool {
        self.phase == Phase::Working
    }

    /// Begins nothing new, so that the port can be changed: when [`Driver::is_halted`], the port may be replaced by another of the same modem,
    /// and [`Driver::open`] called.
    pub fn halt(&mut self, now: Duration) {
        self.now = now;
        self.halting = true;
        self.go_on();
    }

    /// Whether nothing is under way.
    pub fn is_halted(&self) -> bool {
        let between = matches!(self.phase, Phase::Starting | Phase::Working);
        let idle = self.job.is_none() && self.dialogue.is_ready() && self.effects.is_empty();
        self.halting && !self.stopping && between && idle
    }

    /// The port is not changed after all.
    pub fn resume(&mut self, now: Duration) {
        self.now = now;
        self.halting = false;
        self.go_on();
    }
}
