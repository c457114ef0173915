//! In step, for certain: before a slot is read or deleted whose content is a person's message.
//!
//! The answer to `AT+CMGR` does not say which slot it is about (3GPP TS 27.005 3.4.3). When a modem that was slow or silent
//! catches up, a late one could be taken for that of another slot, which would then be deleted without having been read. So as long as
//! the dialogue is not sure, nothing is read, listed or deleted: a question that was not asked since is, whose answer proves that all
//! earlier ones have come. When there is none left, nothing is said until the modem has been quiet for long.

use super::{Driver, Job};
use crate::modem::{Command, Happening};
use std::time::Duration;

/// Questions whose answers have names. Every modem for messages answers one of them.
const QUESTIONS: [&str; 5] = ["+CNMI", "+CSCA", "+CREG", "+COPS", "+CPMS"];
/// Whatever keeps on coming, it is not waited for longer than this.
const LONGEST: Duration = Duration::from_secs(300);

/// What was done about it.
#[derive(Debug, Default)]
pub(super) struct Doubt {
    asked: usize,
    quiet_until: Option<Duration>,
    at_last: Duration,
}

impl Doubt {
    /// Until when nothing is said.
    pub(super) fn quiet_until(&self) -> Option<Duration> {
        self.quiet_until
    }
}

/// What comes before reading and deleting.
pub(super) enum Before {
    Nothing,
    Ask(Command, Job),
    Wait,
}

impl Driver {
    /// What must be done before a slot is touched.
    pub(super) fn before_slots(&mut self) -> Before {
        if self.dialogue.is_sure() {
            self.doubt = Doubt::default();
            return Before::Nothing;
        }
        if self.doubt.asked == 0 {
            log::warn!(
                "backend {}: answers of the modem may be late; no message is read or deleted before it is in step",
                self.rules.backend
            );
        }
        while let Some(name) = QUESTIONS.get(self.doubt.asked) {
            self.doubt.asked += 1;
            if !self.dialogue.is_owed(name) {
                return Before::Ask(Command::new(format!("AT{name}?")), Job::Doubt);
            }
        }
        match self.doubt.quiet_until {
            Some(until) if until <= self.now => {
                self.dialogue.trust();
                self.doubt = Doubt::default();
                return Before::Nothing;
            }
            Some(_) => {}
            None => {
                self.doubt.at_last = self.now.saturating_add(LONGEST);
                self.doubt.quiet_until = Some(self.now.saturating_add(self.quiet_time()));
            }
        }
        Before::Wait
    }

    /// Whatever comes meanwhile that nobody asked for may be what is owed.
    pub(super) fn disturbed(&mut self, happening: &Happening) {
        let owed = matches!(happening, Happening::Garbage(_) | Happening::Late(_));
        if owed && self.doubt.quiet_until.is_some() {
            let until = self.now.saturating_add(self.quiet_time()).min(self.doubt.at_last);
            self.doubt.quiet_until = Some(until);
        }
    }

    fn quiet_time(&self) -> Duration {
        self.rules.answer_time.saturating_mul(2)
    }
}
