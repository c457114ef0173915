//! The command that is under way, and what has come of it so far.

use super::answers;
use super::command::{Command, Outcome, begins_with_name};
use super::urc;
use std::time::Duration;

/// After a refusal some modems say `OK` as well; so long it is awaited.
pub(super) const AFTER_ERROR: Duration = Duration::from_millis(100);
/// An answer that goes on line by line may take so many times its time.
const PATIENCE: u32 = 4;
/// No answer has more lines; a list of all messages of a full modem has a tenth of it.
const ANSWER_LINES: usize = 4096;
/// No answer has more octets.
const ANSWER_SIZE: usize = 1024 * 1024;

#[derive(Clone, Debug)]
pub(super) struct Waiting {
    pub(super) command: Command,
    pub(super) lines: Vec<String>,
    pub(super) size: usize,
    pub(super) cut: bool,
    pub(super) deadline: Duration,
    pub(super) at_last: Duration,
    pub(super) body_written: bool,
    /// Whether a line came that the command expects.
    pub(super) answered: bool,
    /// A result that something may still follow, and until when.
    pub(super) settling: Option<(Outcome, Duration)>,
    /// A registration without its setting in front, when that was asked for: unasked, the first half of the answer, or the answer of a
    /// modem that leaves it out. Held back until the next line, and then remembered.
    pub(super) held: Option<String>,
    pub(super) either: Option<String>,
}

impl Waiting {
    pub(super) fn new(command: Command, now: Duration) -> Waiting {
        let time = if command.body.is_some() { command.prompt_time } else { command.answer_time };
        let mut waiting = Waiting {
            command,
            lines: Vec::new(),
            size: 0,
            cut: false,
            deadline: now,
            at_last: now,
            body_written: false,
            answered: false,
            settling: None,
            held: None,
            either: None,
        };
        waiting.begin(time, now);
        waiting
    }

    /// Waits so long from now, and somewhat longer while lines keep coming.
    pub(super) fn begin(&mut self, time: Duration, now: Duration) {
        self.deadline = now.saturating_add(time);
        self.at_last = now.saturating_add(time.saturating_mul(PATIENCE));
    }

    pub(super) fn next_deadline(&self) -> Duration {
        self.settling.as_ref().map_or(self.deadline, |(_, until)| *until)
    }

    pub(super) fn awaits_prompt(&self) -> bool {
        self.command.body.is_some() && !self.body_written
    }

    pub(super) fn outcome_without_result(&self) -> Outcome {
        if self.awaits_prompt() {
            Outcome::NoPrompt
        } else if self.answered && self.command.ok_may_lack.is_some() {
            Outcome::Assumed
        } else {
            Outcome::TimedOut
        }
    }

    /// Some names are used for answers and unasked; their shape tells.
    pub(super) fn expects(&self, text: &str) -> bool {
        let unasked = ["+CUSD", "+CMTI", "+CDSI", "+CMT", "+CDS", "+CBM", "+CRING"];
        let caller = begins_with_name(text, "+CLIP")
            && text.split_once(':').is_some_and(|(_, rest)| rest.contains('"'));
        self.command.expects_line(text)
            && !caller
            && !answers::is_registration_urc(text)
            && !unasked.iter().any(|name| begins_with_name(text, name))
    }

    /// Takes a line of the answer. Gives whether there was room for it.
    pub(super) fn add(&mut self, text: &str, expected: bool, now: Duration) -> bool {
        let (text, glued) = without_ok(text, expected);
        let room = self.lines.len() < ANSWER_LINES && self.size + text.len() <= ANSWER_SIZE;
        if room {
            self.size += text.len();
            self.lines.push(text.to_string());
        }
        self.cut |= !room;
        self.answered |= expected;
        if self.awaits_prompt() {
            return room;
        }
        let patience = self.command.ok_may_lack.filter(|_| self.answered).unwrap_or(self.command.answer_time);
        self.deadline = now.saturating_add(patience).min(self.at_last);
        if glued {
            self.settling = Some((Outcome::Ok, now.saturating_add(AFTER_ERROR)));
        }
        room
    }
}

/// Parts the `OK` from a line that it is glued to: `+CSQ: 15,99OK`. Only where it cannot belong to a text.
fn without_ok(text: &str, expected: bool) -> (&str, bool) {
    let rest = text.strip_suffix("OK").map(str::trim_end).filter(|rest| {
        let complete = rest.ends_with(|letter: char| letter.is_ascii_digit() || "\")".contains(letter));
        let unquoted = rest.matches('"').count().is_multiple_of(2);
        (expected && complete && unquoted) || urc::is_hex(rest)
    });
    rest.map_or((text, false), |rest| (rest, true))
}
