//! One command at a time, its answer, and what comes unasked in between.
//!
//! A [`Dialogue`] is told what was read and what time it is, and says what happened. It never reads, writes, waits or looks at
//! a clock. Times are durations since any moment, by a clock that does not jump.
//!
//! What it promises:
//! - An answer belongs to its command. After a time-out it gets back in step first (see `regain`), so a late answer is
//!   never taken for the next one's.
//! - Nothing unasked is lost or taken for an answer, wherever it stands: between lines, between a header and its PDU, inside an exchange
//!   with a prompt, and in the midst of a line, whose halves are put together again.
//! - Every wait ends: call [`Dialogue::tick`] when [`Dialogue::deadline`] has come.
//! - How octets were cut into reads makes no difference.

use super::answers;
use super::command::{Answer, Command, Outcome, begins_with_name};
use super::line::{Assembler, CTRL_Z, LINE_LIMIT, Line, Piece};
use super::meaning::{Meaning, clean};
use super::pending::{Open, REST_OF_URC};
use super::regain::{self, Regaining, Step};
use super::urc::{Recognised, Urc};
use super::waiting::{AFTER_ERROR, Waiting};
use std::time::Duration;

/// What happened, in order.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Happening {
    /// Write this to the modem.
    Write(Vec<u8>),
    /// The command is over. The next may be sent when [`Dialogue::is_ready`].
    Answer(Answer),
    /// A line that belongs to the last command that timed out; `+CMGS: 12` says that the message left after all.
    Late(String),
    /// Something unasked.
    Urc(Urc),
    /// In step: commands may be sent.
    Ready,
    /// The modem answers nothing. The dialogue is closed; open it again when the port was opened again.
    Mute,
    /// Something that makes no sense here, for the log.
    Garbage(String),
}

/// A command is under way, or the dialogue is not in step. Gives the command back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Busy(pub Command);

/// The talk with one modem.
#[derive(Clone, Debug, Default)]
pub struct Dialogue {
    pub(super) lines: Assembler,
    pub(super) state: State,
    pub(super) open: Option<Open>,
    pub(super) last: Option<Last>,
    /// Whether results are words; `None` until one was.
    pub(super) verbose: Option<bool>,
    pub(super) previous: String,
    /// What lines of the command that timed out begin with.
    pub(super) late: Vec<String>,
    /// A question may still be answered, and the result that follows such an answer is not the command's.
    pub(super) question_owed: bool,
    pub(super) result_owed: bool,
    /// Answers are owed that nobody counted: several questions stayed without one. Kept over [`Dialogue::open`].
    unsure: bool,
    /// The names of answers that may still come, while it is unsure.
    owed: Vec<String>,
}

/// Names beyond this are not remembered, and nothing proves anything any more until it was quiet.
const OWED: usize = 16;

#[derive(Clone, Debug, Default)]
pub(super) enum State {
    #[default]
    Closed,
    Resting,
    Waiting(Box<Waiting>),
    Regaining(Regaining),
}

/// The last line that was not unasked. When an unasked line was written into the midst of it, the rest of it follows.
#[derive(Clone, Debug)]
pub(super) struct Last {
    pub(super) text: String,
    pub(super) understood: bool,
    pub(super) place: Place,
    pub(super) torn: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Place {
    Answer,
    Result,
    Held,
    Nowhere,
}

impl Dialogue {
    /// A dialogue that is closed: [`Dialogue::open`] comes first.
    pub fn new() -> Dialogue {
        Dialogue::default()
    }

    /// Starts afresh with a port that was just opened: ends what whoever had it before left undone, and finds out whether a modem
    /// answers. [`Happening::Ready`] or [`Happening::Mute`] will follow.
    pub fn open(&mut self, now: Duration) -> Vec<Happening> {
        let (unsure, owed) = (self.unsure, std::mem::take(&mut self.owed));
        *self = Dialogue { unsure, owed, ..Dialogue::default() };
        let mut out = Vec::new();
        self.regain(now, &mut out);
        out
    }

    /// Whether a command may be sent.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Resting)
    }

    /// Whether an answer certainly belongs to the command before it. A modem answers in order, so one question after a time-out proves that
    /// nothing is owed any more; when it stayed without its answer as well, an answer to a question that was not asked
    /// since does: ask one that is not [owed](Dialogue::is_owed). What names no slot, the answer to `AT+CMGR`, is not to be trusted before.
    pub fn is_sure(&self) -> bool {
        !self.unsure
    }

    /// Whether an answer of this name may still come from an earlier question, so that it would prove nothing.
    pub fn is_owed(&self, name: &str) -> bool {
        self.owed.len() >= OWED || self.owed.iter().any(|owed| owed == name)
    }

    /// It was quiet for so long that nothing is owed any more.
    pub fn trust(&mut self) {
        self.unsure = false;
        self.owed.clear();
    }

    /// Whether the text of a message was given out to be written, and its result has not come: it may leave.
    pub fn has_written_text(&self) -> bool {
        matches!(&self.state, State::Waiting(waiting) if waiting.body_written)
    }

    /// Begins a command, and gives the octets to write.
    pub fn send(&mut self, command: Command, now: Duration) -> Result<Vec<u8>, Busy> {
        if !self.is_ready() {
            return Err(Busy(command));
        }
        let octets = [command.text.as_bytes(), b"\r"].concat();
        self.state = State::Waiting(Box::new(Waiting::new(command, now)));
        self.last = None;
        self.watch_for_prompt();
        Ok(octets)
    }

    /// Gives the command up, for example because the modem has just said that it started anew.
    pub fn abandon(&mut self, now: Duration) -> Vec<Happening> {
        let mut out = Vec::new();
        if let State::Waiting(waiting) = &self.state {
            let outcome = waiting.outcome_without_result();
            self.finish(outcome, now, &mut out);
        }
        out
    }

    /// Takes what was read.
    pub fn read(&mut self, octets: &[u8], now: Duration) -> Vec<Happening> {
        let mut out = Vec::new();
        for octet in octets {
            let Some(piece) = self.lines.push(*octet) else { continue };
            match piece {
                Piece::Line(line) => self.line(&line, now, &mut out),
                Piece::Prompt => self.prompt(now, &mut out),
                Piece::TooLong => {
                    self.last = None;
                    out.push(Happening::Garbage(format!(
                        "a line of more than {LINE_LIMIT} octets was dropped"
                    )));
                }
            }
            self.watch_for_prompt();
        }
        out
    }

    /// When [`Dialogue::tick`] must be called, if nothing comes before.
    pub fn deadline(&self) -> Option<Duration> {
        let state = match &self.state {
            State::Waiting(waiting) => Some(waiting.next_deadline()),
            State::Regaining(regaining) => Some(regaining.deadline()),
            State::Closed | State::Resting => None,
        };
        let open = self.open.as_ref().map(Open::until);
        state.into_iter().chain(open).min()
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) -> Vec<Happening> {
        let mut out = Vec::new();
        if self.open.as_ref().is_some_and(|open| open.until() <= now) {
            self.give_up_open(&mut out);
        }
        match &mut self.state {
            State::Waiting(waiting) if waiting.next_deadline() <= now => {
                let outcome = match waiting.settling.take() {
                    Some((outcome, _)) => outcome,
                    None => waiting.outcome_without_result(),
                };
                self.finish(outcome, now, &mut out);
            }
            State::Regaining(regaining) if regaining.deadline() <= now => {
                let step = regaining.tick(now);
                self.take(step, &mut out);
            }
            _ => {}
        }
        self.watch_for_prompt();
        out
    }

    fn line(&mut self, line: &Line, now: Duration, out: &mut Vec<Happening>) {
        if self.continues_text(line, out) {
            return;
        }
        let alone = clean(&line.text);
        if alone.is_empty() {
            self.last = None;
            out.push(Happening::Garbage(short(&line.text)));
            return;
        }
        if self.is_second_half(alone) {
            self.take_pdu(alone, out);
            return;
        }
        let whole = self.rejoined(line);
        if whole.is_some() {
            self.take_back();
        }
        let raw = whole.as_deref().unwrap_or(&line.text);
        let text = self.without_echo(clean(raw));
        let meaning = self.meaning(text, true);
        if let Meaning::Either = meaning
            && !(self.last.is_some() && line.endings == 1)
        {
            self.tell_held(out);
            self.hold(text);
            self.last =
                Some(Last { text: raw.to_string(), understood: true, place: Place::Held, torn: false });
            return;
        }
        let meaning = match (meaning, answers::registration_urc(text)) {
            (Meaning::Either, Some(registration)) => {
                Meaning::Unasked(Recognised::Whole(Urc::Registration(registration)))
            }
            (meaning, _) => meaning,
        };
        if let Meaning::Unasked(recognised) = meaning {
            // One line end before it: what it follows may be the first half of a line.
            if line.endings == 1 || self.last.as_ref().is_some_and(|last| last.torn) {
                self.last.iter_mut().for_each(|last| last.torn = true);
            } else {
                self.last = None;
            }
            self.unasked(recognised, text, now, out);
            return;
        }
        self.tell_held(out);
        let understood = !matches!(meaning, Meaning::Plain);
        let place = self.answered(meaning, text, now, out);
        self.last = place.map(|place| Last { text: raw.to_string(), understood, place, torn: false });
    }

    /// Acts on a line that is not unasked. Gives where it went, if its rest may still follow.
    fn answered(
        &mut self,
        meaning: Meaning,
        text: &str,
        now: Duration,
        out: &mut Vec<Happening>,
    ) -> Option<Place> {
        match meaning {
            Meaning::Echo | Meaning::Either | Meaning::Unasked(_) => None,
            Meaning::Late => {
                if let State::Regaining(regaining) = &mut self.state {
                    regaining.line(text, now);
                }
                out.push(Happening::Late(text.to_string()));
                None
            }
            Meaning::Question => {
                self.result_owed = true;
                None
            }
            Meaning::Result(outcome) => self.take_result(outcome, text, now, out),
            Meaning::Answer | Meaning::Plain => {
                let expected = matches!(meaning, Meaning::Answer);
                match &mut self.state {
                    State::Waiting(waiting) if expected && waiting.awaits_prompt() => {
                        // The text was not written yet: this is about an earlier one.
                        out.push(Happening::Late(text.to_string()));
                        None
                    }
                    State::Waiting(waiting) => waiting.add(text, expected, now).then_some(Place::Answer),
                    State::Regaining(regaining) => {
                        regaining.line(text, now);
                        Some(Place::Nowhere)
                    }
                    State::Closed | State::Resting => {
                        out.push(Happening::Garbage(short(text)));
                        Some(Place::Nowhere)
                    }
                }
            }
        }
    }

    fn take_result(
        &mut self,
        outcome: Outcome,
        text: &str,
        now: Duration,
        out: &mut Vec<Happening>,
    ) -> Option<Place> {
        match text {
            "OK" | "ERROR" => self.verbose = Some(true),
            "0" | "4" => self.verbose = Some(false),
            _ => {}
        }
        if std::mem::take(&mut self.result_owed) {
            return None;
        }
        match &mut self.state {
            State::Waiting(waiting) => {
                if let Some((settled, _)) = waiting.settling.take() {
                    self.finish(settled, now, out);
                    return None;
                }
                if outcome == Outcome::Ok && waiting.awaits_prompt() {
                    out.push(Happening::Garbage(short(text)));
                    return None;
                }
                if let Outcome::Error(_) = outcome {
                    waiting.settling = Some((outcome, now.saturating_add(AFTER_ERROR)));
                    return Some(Place::Result);
                }
                self.finish(outcome, now, out);
            }
            State::Regaining(regaining) => {
                let step = regaining.result(matches!(outcome, Outcome::Error(_)), now);
                self.take(step, out);
            }
            State::Closed | State::Resting => out.push(Happening::Garbage(short(text))),
        }
        None
    }

    fn unasked(&mut self, recognised: Recognised, text: &str, now: Duration, out: &mut Vec<Happening>) {
        let until = now.saturating_add(REST_OF_URC);
        match recognised {
            Recognised::Whole(urc) => {
                if let Urc::Started(_) = urc {
                    self.verbose = None;
                }
                out.push(Happening::Urc(urc));
            }
            Recognised::BeforePdu { kind, header, length } => {
                self.give_up_open(out);
                self.open = Some(Open::Pdu { kind, header, length, until });
            }
            Recognised::BeforeText { header } => {
                self.give_up_open(out);
                self.open = Some(Open::Text { header, until });
            }
            Recognised::OpenQuote => {
                self.give_up_open(out);
                self.open = Some(Open::Quote { text: text.to_string(), until });
            }
        }
    }

    fn prompt(&mut self, now: Duration, out: &mut Vec<Happening>) {
        self.last = None;
        match &mut self.state {
            State::Waiting(waiting) if waiting.settling.is_some() => {
                // It refused and asks all the same: what comes next must not become a message.
                out.push(Happening::Write(regain::escape()));
            }
            State::Waiting(waiting) if waiting.awaits_prompt() => {
                let mut octets = waiting.command.body.clone().unwrap_or_default().into_bytes();
                octets.push(CTRL_Z);
                waiting.body_written = true;
                waiting.begin(waiting.command.answer_time, now);
                out.push(Happening::Write(octets));
            }
            State::Regaining(regaining) => {
                let step = regaining.prompt(now);
                self.take(step, out);
            }
            _ => {}
        }
    }

    fn hold(&mut self, text: &str) {
        if let State::Waiting(waiting) = &mut self.state {
            waiting.held = Some(text.to_string());
        }
    }

    /// What was held back has no second half: it is told as unasked, and remembered in case no other answer comes.
    fn tell_held(&mut self, out: &mut Vec<Happening>) {
        let State::Waiting(waiting) = &mut self.state else { return };
        let Some(text) = waiting.held.take() else { return };
        out.extend(answers::registration_urc(&text).map(|urc| Happening::Urc(Urc::Registration(urc))));
        waiting.either = Some(text);
    }

    fn finish(&mut self, outcome: Outcome, now: Duration, out: &mut Vec<Happening>) {
        self.tell_held(out);
        let State::Waiting(waiting) = std::mem::replace(&mut self.state, State::Resting) else { return };
        let waiting = *waiting;
        let out_of_step = matches!(outcome, Outcome::Assumed | Outcome::NoPrompt | Outcome::TimedOut);
        self.weigh(&waiting, &outcome);
        self.late = if out_of_step { waiting.command.expects.clone() } else { Vec::new() };
        self.previous = waiting.command.text.clone();
        self.last = None;
        let mut lines = waiting.lines;
        lines.extend(waiting.either.filter(|_| lines.is_empty()));
        out.push(Happening::Answer(Answer {
            command: waiting.command.text,
            lines,
            outcome,
            body_written: waiting.body_written,
            cut: waiting.cut,
        }));
        if out_of_step {
            self.regain(now, out);
        }
        self.watch_for_prompt();
    }

    /// What this answer, or the lack of one, says about being in step.
    fn weigh(&mut self, waiting: &Waiting, outcome: &Outcome) {
        let Some(name) = waiting.command.text.strip_prefix("AT").and_then(|text| text.strip_suffix('?'))
        else {
            return;
        };
        match outcome {
            Outcome::NoPrompt | Outcome::TimedOut if !self.is_owed(name) => self.owed.push(name.to_string()),
            Outcome::Ok
                if waiting.lines.iter().any(|line| begins_with_name(line, name)) && !self.is_owed(name) =>
            {
                self.trust();
            }
            _ => {}
        }
    }

    fn regain(&mut self, now: Duration, out: &mut Vec<Happening>) {
        self.result_owed = false;
        self.state = State::Regaining(Regaining::new(now));
        out.push(Happening::Write(regain::escape()));
        self.watch_for_prompt();
    }

    fn take(&mut self, step: Step, out: &mut Vec<Happening>) {
        let State::Regaining(regaining) = &self.state else { return };
        self.question_owed |= regaining.owes;
        self.unsure |= regaining.owes;
        if step == Step::Done && !self.unsure {
            self.owed.clear();
        }
        match step {
            Step::Nothing => return,
            Step::Write(octets) => {
                out.push(Happening::Write(octets));
                return;
            }
            Step::Done => {
                self.state = State::Resting;
                out.push(Happening::Ready);
            }
            Step::Mute => {
                self.state = State::Closed;
                out.push(Happening::Mute);
            }
        }
        self.last = None;
    }

    /// A prompt is looked for where one may come, and not within a text that is being read.
    fn watch_for_prompt(&mut self) {
        let in_text = matches!(self.open, Some(Open::Text { .. } | Open::Quote { .. }));
        match &self.state {
            State::Waiting(waiting) if waiting.awaits_prompt() && !in_text => {
                self.lines.watch(&waiting.command.text);
            }
            State::Regaining(_) if !in_text => self.lines.watch(""),
            _ => self.lines.unwatch(),
        }
    }

    /// The last line was only half of one: it counts no more.
    fn take_back(&mut self) {
        let Some(last) = self.last.take() else { return };
        if let State::Waiting(waiting) = &mut self.state {
            match last.place {
                Place::Answer => drop(waiting.lines.pop()),
                Place::Result => waiting.settling = None,
                Place::Held => waiting.held = None,
                Place::Nowhere => {}
            }
        }
    }
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}
