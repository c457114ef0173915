//! Back in step: how a dialogue makes sure that the next answer belongs to the next command.
//!
//! After a time-out an answer is owed that may still come. So ESC is sent first, in case the modem waits for the text of a message; then,
//! once it is quiet, a question whose answer has a name of its own. A modem answers in order: once the named line came,
//! all that was owed before it has come, or never will. Three questions take turns, so the late answer to an earlier
//! one is not taken for the answer to the last.
//!
//! A modem that knows none of the questions gives bare results. Three questions in a row with exactly one result each will do then.

use super::command::begins_with_name;
use super::line::ESCAPE;
use std::time::Duration;

/// So long nothing may come before a question is asked.
const QUIET_TIME: Duration = Duration::from_millis(200);
/// Whatever keeps on coming, a question is asked after this long.
const LONGEST_QUIET: Duration = Duration::from_secs(5);
/// How long an answer may take.
const QUESTION_TIME: Duration = Duration::from_secs(2);
/// How long the named line may still come after a bare error.
const AFTER_REFUSAL: Duration = Duration::from_millis(300);
/// So many questions without an answer: the modem is mute.
const QUESTIONS: u32 = 10;
/// So many bare results in a row will do.
const BARE_IN_A_ROW: u32 = 3;
/// So many prompts are escaped for each question; a device that sends nothing but `>` gets no more.
const ESCAPES: u32 = 3;

/// The questions and the names of their answers. Every modem for messages knows one of them.
const PROBES: [(&str, &str); 3] = [("AT+CMEE?", "+CMEE"), ("AT+CMGF?", "+CMGF"), ("AT+CSMS?", "+CSMS")];

/// Whether the line is the answer to one of the questions.
pub(super) fn is_probe_answer(line: &str) -> bool {
    PROBES.iter().any(|(_, name)| begins_with_name(line, name))
}

/// ESC, and CR in case it was not at a prompt.
pub(super) fn escape() -> Vec<u8> {
    vec![ESCAPE, b'\r']
}

/// What comes of something that happened while getting back in step.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Step {
    Nothing,
    Write(Vec<u8>),
    /// In step.
    Done,
    /// Nobody is there.
    Mute,
}

#[derive(Clone, Debug)]
pub(super) struct Regaining {
    asked: u32,
    phase: Phase,
    /// Results without the named line: in this question, and questions in a row with exactly one.
    bare: u32,
    bare_in_a_row: u32,
    escapes: u32,
    /// A question stayed without its answer, which may still come.
    pub(super) owes: bool,
}

#[derive(Clone, Copy, Debug)]
enum Phase {
    Quiet { until: Duration, at_last: Duration },
    Asked { until: Duration, answered: bool },
}

impl Regaining {
    pub(super) fn new(now: Duration) -> Regaining {
        Regaining { asked: 0, phase: quiet(now), bare: 0, bare_in_a_row: 0, escapes: 0, owes: false }
    }

    pub(super) fn deadline(&self) -> Duration {
        match self.phase {
            Phase::Quiet { until, .. } | Phase::Asked { until, .. } => until,
        }
    }

    /// The question that was asked last.
    pub(super) fn question(&self) -> &'static str {
        self.probe().0
    }

    /// Whether the named line has come, so that the next result is the one.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self.phase, Phase::Asked { answered: true, .. })
    }

    /// Something came that was no result and nothing unasked.
    pub(super) fn line(&mut self, line: &str, now: Duration) {
        let named = begins_with_name(line, self.probe().1);
        match &mut self.phase {
            Phase::Quiet { until, at_last } => *until = now.saturating_add(QUIET_TIME).min(*at_last),
            Phase::Asked { answered, .. } => *answered |= named,
        }
    }

    /// A final result came.
    pub(super) fn result(&mut self, refused: bool, now: Duration) -> Step {
        match &mut self.phase {
            Phase::Quiet { until, at_last } => *until = now.saturating_add(QUIET_TIME).min(*at_last),
            Phase::Asked { answered: true, .. } => return Step::Done,
            Phase::Asked { until, .. } => {
                self.bare += 1;
                if refused {
                    *until = now.saturating_add(AFTER_REFUSAL).min(*until);
                }
            }
        }
        Step::Nothing
    }

    /// The modem waits for the text of a message.
    pub(super) fn prompt(&mut self, now: Duration) -> Step {
        if self.escapes >= ESCAPES {
            return Step::Nothing;
        }
        self.escapes += 1;
        // The question was taken for the text: it is asked again once it is quiet.
        self.phase = quiet(now);
        Step::Write(escape())
    }

    /// The deadline has passed.
    pub(super) fn tick(&mut self, now: Duration) -> Step {
        match self.phase {
            Phase::Quiet { .. } if self.asked >= QUESTIONS => Step::Mute,
            Phase::Quiet { .. } => {
                self.asked += 1;
                (self.bare, self.escapes) = (0, 0);
                self.phase = Phase::Asked { until: now.saturating_add(QUESTION_TIME), answered: false };
                Step::Write([self.question().as_bytes(), b"\r"].concat())
            }
            Phase::Asked { answered: true, .. } => Step::Done,
            Phase::Asked { .. } => {
                self.bare_in_a_row = if self.bare == 1 { self.bare_in_a_row + 1 } else { 0 };
                if self.bare_in_a_row >= BARE_IN_A_ROW {
                    return Step::Done;
                }
                self.owes = true;
                self.phase = quiet(now);
                Step::Write(escape())
            }
        }
    }

    fn probe(&self) -> (&'static str, &'static str) {
        let turn = self.asked.saturating_sub(1) % 3;
        match turn {
            0 => PROBES[0],
            1 => PROBES[1],
            _ => PROBES[2],
        }
    }
}

fn quiet(now: Duration) -> Phase {
    Phase::Quiet { until: now.saturating_add(QUIET_TIME), at_last: now.saturating_add(LONGEST_QUIET) }
}
