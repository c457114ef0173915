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
use super::errors::ModemError;
use super::line::{Assembler, CTRL_Z, LINE_LIMIT, Line, Piece};
use super::regain::{self, Regaining, Step};
use super::urc::{self, Direct, Kind, Recognised, Urc};
use std::time::Duration;

/// After a refusal some modems say `OK` as well; so long it is awaited.
const AFTER_ERROR: Duration = Duration::from_millis(100);
/// So long the rest of an unsolicited result code may take.
const REST_OF_URC: Duration = Duration::from_secs(5);
/// An answer that goes on line by line may take so many times its time.
const PATIENCE: u32 = 4;
/// No answer has more lines; a list of all messages of a full modem has a tenth of it.
const ANSWER_LINES: usize = 4096;
/// No answer has more octets.
const ANSWER_SIZE: usize = 1024 * 1024;
/// No text of the network has more octets; 182 letters are what fits into one.
const QUOTE_LIMIT: usize = 4096;

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
    lines: Assembler,
    state: State,
    open: Option<Open>,
    last: Option<Last>,
    /// Whether results are words; `None` until one was.
    verbose: Option<bool>,
    previous: String,
    /// What lines of the command that timed out begin with.
    late: Vec<String>,
    /// A question may still be answered, and the result that follows such an answer is not the command's.
    question_owed: bool,
    result_owed: bool,
}

#[derive(Clone, Debug, Default)]
enum State {
    #[default]
    Closed,
    Resting,
    Waiting(Waiting),
    Regaining(Regaining),
}

#[derive(Clone, Debug)]
struct Waiting {
    command: Command,
    lines: Vec<String>,
    size: usize,
    cut: bool,
    deadline: Duration,
    at_last: Duration,
    body_written: bool,
    /// Whether a line came that the command expects.
    answered: bool,
    /// A result that something may still follow, and until when.
    settling: Option<(Outcome, Duration)>,
    /// A registration without its setting in front, when that was asked for: unasked, the first half of the answer, or the answer of a
    /// modem that leaves it out. Held back until the next line, and then remembered.
    held: Option<String>,
    either: Option<String>,
}

/// An unsolicited result code whose rest has not come.
#[derive(Clone, Debug)]
enum Open {
    Pdu { kind: Kind, header: String, length: Option<usize>, until: Duration },
    Text { header: String, until: Duration },
    Quote { text: String, until: Duration },
}

/// The last line that was not unasked. When an unasked line was written into the midst of it, the rest of it follows.
#[derive(Clone, Debug)]
struct Last {
    text: String,
    understood: bool,
    place: Place,
    torn: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Place {
    Answer,
    Result,
    Held,
    Nowhere,
}

enum Meaning {
    Echo,
    Result(Outcome),
    /// A line that the command, or the question, expects.
    Answer,
    Late,
    Question,
    /// Unasked, or the answer.
    Either,
    Unasked(Recognised),
    Plain,
}

impl Dialogue {
    /// A dialogue that is closed: [`Dialogue::open`] comes first.
    pub fn new() -> Dialogue {
        Dialogue::default()
    }

    /// Starts afresh with a port that was just opened: ends what whoever had it before left undone, and finds out whether a modem
    /// answers. [`Happening::Ready`] or [`Happening::Mute`] will follow.
    pub fn open(&mut self, now: Duration) -> Vec<Happening> {
        *self = Dialogue::default();
        let mut out = Vec::new();
        self.regain(now, &mut out);
        out
    }

    /// Whether a command may be sent.
    pub fn is_ready(&self) -> bool {
        matches!(self.state, State::Resting)
    }

    /// Begins a command, and gives the octets to write.
    pub fn send(&mut self, command: Command, now: Duration) -> Result<Vec<u8>, Busy> {
        if !self.is_ready() {
            return Err(Busy(command));
        }
        let octets = [command.text.as_bytes(), b"\r"].concat();
        let time = if command.body.is_some() { command.prompt_time } else { command.answer_time };
        self.state = State::Waiting(Waiting {
            lines: Vec::new(),
            size: 0,
            cut: false,
            deadline: now + time,
            at_last: now + time.saturating_mul(PATIENCE),
            body_written: false,
            answered: false,
            settling: None,
            held: None,
            either: None,
            command,
        });
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
            self.last = Some(Last { text: raw.to_string(), understood: true, place: Place::Held, torn: false });
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

    /// What a line means here. `numbers`: whether it may be a numeric result.
    fn meaning(&self, text: &str, numbers: bool) -> Meaning {
        if self.is_echo(text) {
            return Meaning::Echo;
        }
        if let Some(outcome) = self.result(text, numbers) {
            return Meaning::Result(outcome);
        }
        let expected = match &self.state {
            State::Waiting(waiting) => waiting.expects(text),
            State::Regaining(regaining) => begins_with_name(text, name_of(regaining.question())),
            _ => false,
        };
        if expected {
            return Meaning::Answer;
        }
        if self.question_owed && regain::is_probe_answer(text) {
            return Meaning::Question;
        }
        if self.late.iter().any(|name| begins_with_name(text, name)) && !urc::is_registration(text) {
            return Meaning::Late;
        }
        if let State::Waiting(waiting) = &self.state
            && urc::is_registration(text)
            && waiting.command.expects_line(text)
        {
            // Without a status it is the first half of a line at most.
            return answers::registration_urc(text).map_or(Meaning::Plain, |_| Meaning::Either);
        }
        if let Some(recognised) = urc::recognise(text) {
            return Meaning::Unasked(recognised);
        }
        let free = matches!(&self.state, State::Waiting(waiting) if waiting.command.expects_anything());
        if urc::looks_like_a_code(text) && !free {
            return Meaning::Unasked(Recognised::Whole(Urc::Other(text.to_string())));
        }
        if numbers && text == "2" && self.verbose == Some(false) {
            return Meaning::Unasked(Recognised::Whole(Urc::Ring("RING".into())));
        }
        Meaning::Plain
    }

    /// A final result, in words or, as long as the modem uses no words, in numbers (V.250 5.7.1).
    fn result(&self, text: &str, numbers: bool) -> Option<Outcome> {
        let text: String = text.chars().filter(char::is_ascii).collect();
        let text = text.trim();
        if text == "OK" {
            return Some(Outcome::Ok);
        }
        if let Some(error) = ModemError::parse(text) {
            return Some(Outcome::Error(error));
        }
        let about_calls = matches!(&self.state, State::Waiting(waiting) if waiting.command.is_about_calls());
        if about_calls && (urc::is_call_end(text) || text == "CONNECT" || text.starts_with("CONNECT ")) {
            return Some(Outcome::Call(text.to_string()));
        }
        let answered = matches!(&self.state, State::Regaining(regaining) if regaining.is_answered());
        if !numbers || (self.verbose == Some(true) && !answered) {
            return None;
        }
        match text {
            "0" => Some(Outcome::Ok),
            "4" => Some(Outcome::Error(ModemError::Plain)),
            "3" if about_calls => Some(Outcome::Call("NO CARRIER".into())),
            "6" if about_calls => Some(Outcome::Call("NO DIALTONE".into())),
            "7" if about_calls => Some(Outcome::Call("BUSY".into())),
            "8" if about_calls => Some(Outcome::Call("NO ANSWER".into())),
            _ => None,
        }
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
                    State::Waiting(waiting) => {
                        waiting.add(text, expected, now);
                        Some(Place::Answer)
                    }
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
                    waiting.settling = Some((outcome, now + AFTER_ERROR));
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
        let until = now + REST_OF_URC;
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
                waiting.deadline = now + waiting.command.answer_time;
                waiting.at_last = now + waiting.command.answer_time.saturating_mul(PATIENCE);
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
        let out_of_step = matches!(outcome, Outcome::Assumed | Outcome::NoPrompt | Outcome::TimedOut);
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

    fn regain(&mut self, now: Duration, out: &mut Vec<Happening>) {
        self.result_owed = false;
        self.state = State::Regaining(Regaining::new(now));
        out.push(Happening::Write(regain::escape()));
        self.watch_for_prompt();
    }

    fn take(&mut self, step: Step, out: &mut Vec<Happening>) {
        let State::Regaining(regaining) = &self.state else { return };
        self.question_owed |= regaining.owes;
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

    /// Whether the line belongs to a text that has begun.
    fn continues_text(&mut self, line: &Line, out: &mut Vec<Happening>) -> bool {
        match &mut self.open {
            Some(Open::Text { header, .. }) => {
                let (header, text) = (std::mem::take(header), line.text.trim().to_string());
                self.open = None;
                out.push(Happening::Urc(Urc::TextMessage { header, text }));
                true
            }
            Some(Open::Quote { text, .. }) => {
                let code = line.text.trim_start().starts_with(['+', '^']);
                if code && matches!(urc::recognise(clean(&line.text)), Some(Recognised::Whole(_))) {
                    return false;
                }
                text.push('\n');
                text.push_str(line.text.trim_end());
                if !urc::ussd_is_open(text) || text.len() > QUOTE_LIMIT {
                    self.give_up_open(out);
                }
                true
            }
            _ => false,
        }
    }

    /// Whether the line is the PDU that a header announced. While a command is under way, its length must tell: a number of the
    /// SIM has nothing but such digits, too.
    fn is_second_half(&self, text: &str) -> bool {
        let Some(Open::Pdu { length, .. }) = &self.open else { return false };
        if !urc::is_hex(text) || self.is_echo(text) {
            return false;
        }
        let waiting = matches!(self.state, State::Waiting(_));
        match length {
            Some(length) if urc::fits(text, *length) => true,
            Some(_) if waiting => false,
            _ => text.len() >= SHORTEST_PDU,
        }
    }

    fn take_pdu(&mut self, pdu: &str, out: &mut Vec<Happening>) {
        if let Some(Open::Pdu { kind, header, .. }) = self.open.take() {
            out.push(Happening::Urc(kind.urc(Direct { header, pdu: pdu.to_ascii_uppercase() })));
        }
    }

    /// The rest does not come. A text is given as far as it came.
    fn give_up_open(&mut self, out: &mut Vec<Happening>) {
        match self.open.take() {
            Some(Open::Pdu { header, .. } | Open::Text { header, .. }) => {
                out.push(Happening::Urc(Urc::Torn(header)));
            }
            Some(Open::Quote { text, .. }) => out.push(Happening::Urc(urc::ussd(&text))),
            None => {}
        }
    }

    /// The line put together with the one before, if something unasked was written into the midst of it. Either half may
    /// make sense by itself (`+CMGS: 1` and `2`), so line ends are counted: a line that was torn has one on each side.
    fn rejoined(&self, line: &Line) -> Option<String> {
        let last = self.last.as_ref().filter(|last| last.torn && line.endings == 1)?;
        let whole = format!("{}{}", last.text, line.text);
        let alone = clean(&line.text);
        let makes_sense = |text: &str| !matches!(self.meaning(text, false), Meaning::Plain);
        let joined = if last.understood {
            let header = ["+CMGR", "+CMGL"].iter().any(|name| begins_with_name(clean(&last.text), name));
            !makes_sense(alone) && !(header && urc::is_hex(alone) && alone.len() >= SHORTEST_PDU)
        } else {
            makes_sense(clean(&whole)) || !makes_sense(alone)
        };
        joined.then_some(whole)
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

    /// Modems echo in spite of `ATE0`, twice, or again after they started anew; so the line is compared, each time.
    fn is_echo(&self, text: &str) -> bool {
        // `AT` alone may be the first half of an echo.
        let earlier = self.previous.len() > 2 && text == self.previous;
        earlier
            || match &self.state {
                State::Waiting(waiting) => {
                    text == waiting.command.text
                        || (waiting.body_written && waiting.command.body.as_deref() == Some(text))
                }
                State::Regaining(regaining) => text == regaining.question(),
                _ => false,
            }
    }

    /// The line without an echo, or a prompt, that no line end parts from it.
    fn without_echo<'a>(&self, text: &'a str) -> &'a str {
        let State::Waiting(waiting) = &self.state else { return text };
        let mut rest = text;
        if waiting.body_written {
            rest = rest.trim_start_matches(['>', ' ']);
        }
        let body = waiting.command.body.as_deref().filter(|body| waiting.body_written && !body.is_empty());
        for said in [Some(waiting.command.text.as_str()), body].into_iter().flatten() {
            let behind = rest.strip_prefix(said).map(str::trim_start).filter(|behind| !behind.is_empty());
            if let Some(behind) = behind
                && !matches!(self.meaning(behind, false), Meaning::Plain | Meaning::Echo)
            {
                rest = behind;
            }
        }
        if rest.is_empty() { text } else { rest }
    }
}

impl Waiting {
    fn next_deadline(&self) -> Duration {
        self.settling.as_ref().map_or(self.deadline, |(_, until)| *until)
    }

    fn awaits_prompt(&self) -> bool {
        self.command.body.is_some() && !self.body_written
    }

    fn outcome_without_result(&self) -> Outcome {
        if self.awaits_prompt() {
            Outcome::NoPrompt
        } else if self.answered && self.command.ok_may_lack.is_some() {
            Outcome::Assumed
        } else {
            Outcome::TimedOut
        }
    }

    /// Some names are used for answers and unasked; their shape tells.
    fn expects(&self, text: &str) -> bool {
        let unasked = ["+CUSD", "+CMTI", "+CDSI", "+CMT", "+CDS", "+CBM", "+CRING"];
        let caller = begins_with_name(text, "+CLIP")
            && text.split_once(':').is_some_and(|(_, rest)| rest.contains('"'));
        self.command.expects_line(text)
            && !caller
            && !answers::is_registration_urc(text)
            && !unasked.iter().any(|name| begins_with_name(text, name))
    }

    fn add(&mut self, text: &str, expected: bool, now: Duration) {
        let (text, glued) = without_ok(text, expected);
        if self.lines.len() >= ANSWER_LINES || self.size + text.len() > ANSWER_SIZE {
            self.cut = true;
        } else {
            self.size += text.len();
            self.lines.push(text.to_string());
        }
        self.answered |= expected;
        if self.awaits_prompt() {
            return;
        }
        let patience = self.command.ok_may_lack.filter(|_| self.answered).unwrap_or(self.command.answer_time);
        self.deadline = (now + patience).min(self.at_last);
        if glued {
            self.settling = Some((Outcome::Ok, now + AFTER_ERROR));
        }
    }
}

impl Open {
    fn until(&self) -> Duration {
        match self {
            Open::Pdu { until, .. } | Open::Text { until, .. } | Open::Quote { until, .. } => *until,
        }
    }
}

/// A PDU with its service center has more digits than this.
const SHORTEST_PDU: usize = 14;

/// Parts the `OK` from a line that it is glued to: `+CSQ: 15,99OK`. Only where it cannot belong to a text.
fn without_ok(text: &str, expected: bool) -> (&str, bool) {
    let rest = text.strip_suffix("OK").map(str::trim_end).filter(|rest| {
        let complete = rest.ends_with(|letter: char| letter.is_ascii_digit() || "\")".contains(letter));
        let unquoted = rest.matches('"').count().is_multiple_of(2);
        (expected && complete && unquoted) || urc::is_hex(rest)
    });
    rest.map_or((text, false), |rest| (rest, true))
}

/// Without blanks, and without the 8-bit garbage that some modems put before a line.
fn clean(text: &str) -> &str {
    text.trim_start_matches(|letter: char| !letter.is_ascii() || letter == ' ').trim_end()
}

fn name_of(question: &str) -> &str {
    question.trim_start_matches("AT").trim_end_matches('?')
}

fn short(text: &str) -> String {
    text.chars().take(200).collect()
}
