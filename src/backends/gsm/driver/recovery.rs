//! When the modem does not do what it should: it is mute, has started anew, or refuses everything.
//!
//! | what | what is done |
//! |---|---|
//! | a command without an answer, a stuck prompt | the dialogue gets back in step by itself (ESC, a question) |
//! | mute | the port is closed, DTR falls, it is opened again |
//! | still mute | `AT+CFUN=1,1` into the dark, then the backend is given up and started again later |
//! | it says that it has started, or speaks text mode | the whole ladder again, and a look through all storages |
//! | message after message fails | a pause, then `AT+CFUN=1,1` |

use super::{Driver, Effect, Job, Phase};
use crate::backends::BackendError;
use crate::modem::{Command, Happening};
use std::time::Duration;

/// 27.007 8.2: full function, after a restart of the whole device.
const RESTART: &str = "AT+CFUN=1,1";
/// A modem that starts anew more often than this while it is initialised says so for another reason.
const STARTS: u32 = 3;
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// What was tried already.
#[derive(Debug, Default)]
pub(super) struct Trials {
    reopened: bool,
    starts: u32,
    first_start: Duration,
}

impl Trials {
    /// The ladder was climbed: whatever it was, it is over.
    pub(super) fn climbed(&mut self) {
        self.reopened = false;
    }
}

impl Driver {
    pub(super) fn mute(&mut self) {
        self.job = None;
        if !std::mem::replace(&mut self.trials.reopened, true) {
            log::warn!("backend {}: the modem does not answer: the port is opened again", self.rules.backend);
            self.drop_message(false, "the modem does not answer");
            self.phase = Phase::Opening;
            self.note("the modem does not answer: the port is opened again");
            self.effects.push_back(Effect::Reopen);
            return;
        }
        self.effects.push_back(Effect::Write(format!("{RESTART}\r").into_bytes()));
        let why = "the modem does not answer, also after the port was opened again: is it the right port, and does no other program use it?";
        self.end(why, Err(BackendError::Lost(why.into())));
    }

    /// The modem says that it has started. While it is being initialised that is its own business; in mid-life its settings are gone.
    pub(super) fn modem_started(&mut self, line: &str) {
        if self.phase == Phase::Opening || self.phase == Phase::Over {
            return;
        }
        if self.now.saturating_sub(self.trials.first_start) > STARTS_WITHIN {
            self.trials.first_start = self.now;
            self.trials.starts = 0;
        }
        self.trials.starts += 1;
        if self.trials.starts > STARTS {
            return;
        }
        if self.phase == Phase::Starting {
            self.climb.again = true;
            return;
        }
        self.start_over(&format!("it said {line:?}: it has started anew"));
    }

    /// Climbs the ladder again, from below.
    pub(super) fn start_over(&mut self, why: &str) {
        if !matches!(self.phase, Phase::Starting | Phase::Working) {
            return;
        }
        log::warn!("backend {}: the modem is set up again: {why}", self.rules.backend);
        let abandoned = self.dialogue.abandon(self.now);
        self.phase = Phase::Starting;
        for happening in abandoned {
            match happening {
                // Any other answer is about a modem that is no more.
                Happening::Answer(answer) if self.job.take() == Some(Job::Part) => {
                    self.part_answered(&answer)
                }
                Happening::Write(octets) => self.effects.push_back(Effect::Write(octets)),
                _ => {}
            }
        }
        self.urgent = None;
        if self.phase != Phase::Over {
            self.begin();
        }
    }

    /// Makes the device start anew, and gives it up until it has.
    pub(super) fn restart_modem(&mut self, why: &str) {
        log::error!("backend {}: the modem is told to restart: {why}", self.rules.backend);
        self.note(&format!("the modem is told to restart: {why}"));
        self.urgent = Some((Command::new(RESTART), Job::Restart));
    }

    pub(super) fn restarted(&mut self) {
        let why = "the modem was told to restart, because message after message failed";
        self.end(why, Err(BackendError::Lost(why.into())));
    }
}
