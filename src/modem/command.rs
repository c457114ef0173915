//! One command and its answer, as values.

use super::errors::ModemError;
use std::time::Duration;

/// How long most commands may take. Some modems are busy with their SIM for seconds after they start.
pub const ANSWER_TIME: Duration = Duration::from_secs(10);
/// How long the `> ` prompt may take; ten seconds have been seen.
pub const PROMPT_TIME: Duration = Duration::from_secs(15);
/// How long the network may take over a message; two minutes have been seen.
pub const SEND_TIME: Duration = Duration::from_secs(180);
/// How long after `+CMGS:` the `OK` may be missing before it is taken as said.
pub const SEND_OK_TIME: Duration = Duration::from_secs(10);

/// One command line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Command {
    pub(super) text: String,
    pub(super) body: Option<String>,
    pub(super) expects: Vec<String>,
    pub(super) prompt_time: Duration,
    pub(super) answer_time: Duration,
    pub(super) ok_may_lack: Option<Duration>,
}

impl Command {
    /// A command such as `AT+CSQ`. Control characters are left out: whatever a setting or a person put into it, it stays one command.
    ///
    /// It expects lines that begin with its own name, so `AT+CSQ;+COPS?` expects `+CSQ` and `+COPS`.
    pub fn new(text: impl AsRef<str>) -> Command {
        let text = without_controls(text.as_ref());
        let expects = names_in(&text);
        Command {
            text,
            body: None,
            expects,
            prompt_time: PROMPT_TIME,
            answer_time: ANSWER_TIME,
            ok_may_lack: None,
        }
    }

    /// Sends a message: `length` counts the octets of `pdu` without the service center's address.
    pub fn send(length: usize, pdu: impl AsRef<str>) -> Command {
        let command = Command::new(format!("AT+CMGS={length}")).body(pdu).within(SEND_TIME);
        command.ok_may_lack(SEND_OK_TIME)
    }

    /// What is written when the prompt comes; Ctrl-Z is added.
    pub fn body(mut self, text: impl AsRef<str>) -> Command {
        self.body = Some(without_controls(text.as_ref()));
        self
    }

    /// Another name that lines of the answer may begin with, for example `+ICCID` for `AT+CCID`.
    pub fn expects(mut self, name: impl Into<String>) -> Command {
        self.expects.push(name.into());
        self
    }

    /// How long the answer may take, and each further line of it.
    pub fn within(mut self, time: Duration) -> Command {
        self.answer_time = time;
        self
    }

    /// How long the answer may take where nothing special was said, instead of [`ANSWER_TIME`].
    pub fn usually_within(self, time: Duration) -> Command {
        if self.answer_time == ANSWER_TIME { self.within(time) } else { self }
    }

    /// How long the prompt may take.
    pub fn prompt_within(mut self, time: Duration) -> Command {
        self.prompt_time = time;
        self
    }

    /// Some modems never say `OK` after certain answers: so long after an expected line it is taken as said.
    pub fn ok_may_lack(mut self, time: Duration) -> Command {
        self.ok_may_lack = Some(time);
        self
    }

    /// The command as it is written, without the CR.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Whether `NO CARRIER` and its like end this command (V.250 6.3): only those about calls.
    pub(super) fn is_about_calls(&self) -> bool {
        let text = self.text.to_ascii_uppercase();
        ["ATD", "ATA", "ATH", "AT+CHUP"].iter().any(|start| text.starts_with(start))
    }

    /// Whether the line begins with a name that this command expects.
    pub(super) fn expects_line(&self, line: &str) -> bool {
        self.expects.iter().any(|name| begins_with_name(line, name))
    }

    /// Basic commands and settings of the user: nobody knows how the lines of their answers look.
    pub(super) fn expects_anything(&self) -> bool {
        self.expects.is_empty()
    }
}

/// What came of a command.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Answer {
    /// The command.
    pub command: String,
    /// The lines of the answer, without echo, result and what came unasked.
    pub lines: Vec<String>,
    /// How it ended.
    pub outcome: Outcome,
    /// Whether the text of a message was written: from here on it may have been sent.
    pub body_written: bool,
    /// Whether lines were dropped, because there were more than any answer has.
    pub cut: bool,
}

/// How a command ended: the final result, or the lack of one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// `OK`.
    Ok,
    /// The lines came and the `OK` did not: taken as `OK`.
    Assumed,
    /// `ERROR`, `+CMS ERROR`, `+CME ERROR`.
    Error(ModemError),
    /// `NO CARRIER`, `BUSY` and their like, for a command about calls.
    Call(String),
    /// The prompt did not come; the text was not written.
    NoPrompt,
    /// No final result in time. Lines that came are in the answer.
    TimedOut,
}

impl Answer {
    /// Whether the modem did it.
    pub fn is_ok(&self) -> bool {
        matches!(self.outcome, Outcome::Ok | Outcome::Assumed)
    }
}

/// Whether `line` is `+NAME: ...`, `+NAME=...` or `+NAME` alone.
pub(super) fn begins_with_name(line: &str, name: &str) -> bool {
    let Some(start) = line.get(..name.len()) else { return false };
    let rest = line.get(name.len()..).unwrap_or_default().trim_start();
    start.eq_ignore_ascii_case(name) && (rest.is_empty() || rest.starts_with([':', '=']))
}

fn without_controls(text: &str) -> String {
    text.trim().chars().filter(|letter| !letter.is_control()).collect()
}

/// The extended commands of a command line: `AT+CMEE=1;+CMEE?` gives `+CMEE` twice.
fn names_in(text: &str) -> Vec<String> {
    let mut names = Vec::new();
    let mut quoted = false;
    let parts = text.get(2..).unwrap_or_default().split(|letter| {
        quoted ^= letter == '"';
        letter == ';' && !quoted
    });
    for part in parts {
        let part = part.trim_start();
        if !part.starts_with(['+', '^', '*', '#', '$', '%']) {
            continue;
        }
        let end = part.find(['=', '?', ' ', ':']).unwrap_or(part.len());
        let name = part[..end].to_ascii_uppercase();
        if !names.contains(&name) {
            names.push(name);
        }
    }
    names
}
