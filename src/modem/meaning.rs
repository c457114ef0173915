//! What a line means, where the dialogue stands; and the two halves of a line that something unasked was written into.

use super::answers;
use super::command::{Outcome, begins_with_name};
use super::dialogue::{Dialogue, State};
use super::errors::ModemError;
use super::line::Line;
use super::regain;
use super::urc::{self, Recognised, Urc};

/// A PDU with its service center has more digits than this.
pub(super) const SHORTEST_PDU: usize = 14;

/// What a line is.
pub(super) enum Meaning {
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
    /// What a line means here. `numbers`: whether it may be a numeric result.
    pub(super) fn meaning(&self, text: &str, numbers: bool) -> Meaning {
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
    pub(super) fn result(&self, text: &str, numbers: bool) -> Option<Outcome> {
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

    /// The line put together with the one before, if something unasked was written into the midst of it. Either half may
    /// make sense by itself (`+CMGS: 1` and `2`), so line ends are counted: a line that was torn has one on each side.
    pub(super) fn rejoined(&self, line: &Line) -> Option<String> {
        let last = self.last.as_ref().filter(|last| last.torn && line.endings == 1)?;
        let whole = format!("{}{}", last.text, line.text);
        let alone = clean(&line.text);
        let makes_sense = |text: &str| !matches!(self.meaning(text, false), Meaning::Plain);
        let joined = if last.understood {
            let header = ["+CMGR", "+CMGL"].iter().any(|name| begins_with_name(clean(&last.text), name));
            let message = header && urc::is_hex(alone) && alone.len() >= SHORTEST_PDU;
            !message && !makes_sense(alone)
        } else {
            makes_sense(clean(&whole)) || !makes_sense(alone)
        };
        joined.then_some(whole)
    }

    /// Modems echo in spite of `ATE0`, twice, or again after they started anew; so the line is compared, each time.
    pub(super) fn is_echo(&self, text: &str) -> bool {
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
    pub(super) fn without_echo<'a>(&self, text: &'a str) -> &'a str {
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

/// Without blanks, and without the 8-bit garbage that some modems put before a line.
pub(super) fn clean(text: &str) -> &str {
    text.trim_start_matches(|letter: char| !letter.is_ascii() || letter == ' ').trim_end()
}

fn name_of(question: &str) -> &str {
    question.trim_start_matches("AT").trim_end_matches('?')
}
