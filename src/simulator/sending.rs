//! Messages of the other side (3GPP TS 27.005 3.5.1, 3.5.2, 4.3): the prompt's text, what the network does with it, and its answer.

use super::Effect;
use super::faults::SendFault;
use super::ledger::Entry;
use super::modem::Modem;
use super::network::shown;
use super::sim::Stat;
use super::slots::INVALID_INDEX;
use super::state::{Failure, Job, Outcome, Prompt, Timer};
use super::syntax::arguments;
use super::text_mode;
use crate::pdu::{self, Pdu, Prefix, Side, Submit};
use crate::time::Timestamp;

const INVALID_PARAMETER: Outcome = Outcome::Fail(Failure::Cms(304));
/// The longest message without its service center that `+CMGS` may announce.
pub(super) const LONGEST: usize = 164;

/// A message on its way to the network.
#[derive(Debug)]
pub(super) struct Submission {
    submit: Submit,
    /// With the service center.
    octets: Vec<u8>,
    has_service_center: bool,
    /// The memory and the slot that it comes from.
    stored: Option<(usize, usize)>,
    /// `+CMGS` or `+CMSS`.
    answer: &'static str,
}

impl Submission {
    fn describe(&self, entry: Entry) -> Entry {
        entry.with("to", self.submit.destination.to_string()).with("text", shown(&self.submit.user_data))
    }

    /// The line about a message that the network did not take.
    pub(super) fn refused(&self, now: Timestamp, error: &str, reason: &str) -> Entry {
        self.describe(Entry::new(now, "refused")).with("error", error).with("reason", reason)
    }
}

impl Modem {
    pub(super) fn ask_for_text(&mut self, name: &str, value: &str) -> Outcome {
        let given = arguments(value);
        let first = given.first().cloned().unwrap_or_default();
        if self.profile.text_mode {
            let to = self.decoded(&first);
            return Outcome::Prompt(match name {
                "+CMGS" => Prompt::SendText { to },
                _ => Prompt::WriteText { to },
            });
        }
        let length = first.parse().ok().filter(|length| (1..=LONGEST).contains(length));
        let stat = given.get(1).map_or(Some(Stat::Unsent as usize), |stat| stat.parse().ok());
        match (length, stat) {
            (Some(length), _) if name == "+CMGS" => Outcome::Prompt(Prompt::Send { length }),
            (Some(length), Some(stat @ 0..=3)) => Outcome::Prompt(Prompt::Write { length, stat }),
            _ => INVALID_PARAMETER,
        }
    }

    /// The other side has ended its text with Ctrl-Z.
    pub(super) fn text_given(&mut self, prompt: Prompt, text: &[u8], now: Timestamp) {
        match prompt {
            Prompt::Acknowledge { positive } => {
                self.acknowledge(positive, now);
                self.succeeded(&[]);
            }
            Prompt::Send { length } => match submission(text, length) {
                Ok(submission) => self.submit(submission, now),
                Err(reason) => self.refuse_text(text, &reason, now),
            },
            Prompt::SendText { to } => match text_mode::submission(&to, text, self.profile.report_request) {
                Ok((submit, octets)) => {
                    let submission = Submission {
                        submit,
                        octets,
                        has_service_center: false,
                        stored: None,
                        answer: "+CMGS",
                    };
                    self.submit(submission, now);
                }
                Err(reason) => self.refuse_text(text, &reason, now),
            },
            Prompt::Write { length, stat } => match counted(text, length) {
                Ok(octets) => {
                    let stat = [Stat::Unread, Stat::Read, Stat::Unsent, Stat::Sent][stat.min(3)];
                    self.write_slot(octets, length, stat, now);
                }
                Err(reason) => self.refuse_text(text, &reason, now),
            },
            Prompt::WriteText { to } => match text_mode::submission(&to, text, self.profile.report_request) {
                Ok((_, octets)) => {
                    let length = octets.len() - 1;
                    self.write_slot(octets, length, Stat::Unsent, now);
                }
                Err(reason) => self.refuse_text(text, &reason, now),
            },
        }
    }

    fn submit(&mut self, submission: Submission, now: Timestamp) {
        let wait = self.timing.send + self.faults.slow;
        self.work(Job::Transmit(Box::new(submission)), wait, now);
    }

    fn refuse_text(&mut self, text: &[u8], reason: &str, now: Timestamp) {
        let text = String::from_utf8_lossy(text);
        let entry = Entry::new(now, "refused").with("text", text.as_ref());
        self.record(entry.with("error", "CMS 304").with("reason", reason));
        self.failed(Failure::Cms(304));
    }

    pub(super) fn send_stored(&mut self, value: &str, now: Timestamp) -> Outcome {
        let place = self.profile.memories[1];
        let given = arguments(value);
        let Some(slot) = given.first().and_then(|index| self.slot(place, index)) else {
            return INVALID_INDEX;
        };
        let Some(record) = &self.sim.memories[place].slots[slot] else { return INVALID_INDEX };
        match submission_of(record.octets.clone(), record.length) {
            Ok(submission) => {
                let stored = Some((place, slot));
                self.submit(Submission { stored, answer: "+CMSS", ..submission }, now);
                Outcome::Later
            }
            // It is no message to be sent.
            Err(_) => Outcome::Fail(Failure::Cms(302)),
        }
    }

    /// The network takes a message, or does not.
    pub(super) fn transmit(&mut self, submission: Submission, now: Timestamp) {
        let no_center = !submission.has_service_center && self.sim.service_center.is_empty();
        let fault = self.next_send_fault();
        let refused = match &fault {
            _ if !self.is_reachable(now) => Some((Failure::Cms(331), "no network")),
            _ if no_center => Some((Failure::Cms(330), "no service center is known")),
            Some(SendFault::Refuse(failure)) => Some((*failure, "ordered")),
            _ => None,
        };
        if let Some((failure, reason)) = refused {
            let error = match failure {
                Failure::Cms(code) => format!("CMS {code}"),
                Failure::Cme(code) => format!("CME {code}"),
                Failure::Plain | Failure::Unknown => "ERROR".to_string(),
            };
            self.record(submission.refused(now, &error, reason));
            return self.failed(failure);
        }
        let submit = &submission.submit;
        let reference = self.network.reference();
        let answer = match fault {
            Some(SendFault::LoseAnswer) => "lost",
            Some(SendFault::Late(_)) => "late",
            Some(SendFault::Bare) => "bare",
            _ => "told",
        };
        let sent = submission.describe(Entry::new(now, "sent").with("reference", reference));
        let concat = submit.user_data.header.as_ref().and_then(|header| header.concat());
        let concat = concat.map(|concat| {
            serde_json::json!({ "reference": concat.reference, "total": concat.total,
                "sequence": concat.sequence, "bits": concat.bits })
        });
        let sent = sent
            .with("concat", concat)
            .with("report", submit.report_request)
            .with("class", submit.data_coding.class())
            .with("pdu", pdu::to_hex(&submission.octets))
            .with("answer", answer);
        self.record(sent);
        self.carry(submit);
        let to = submit.destination.to_string();
        if let Some((text, references)) = self.network.complete(submit, reference) {
            let message = Entry::new(now, "message").with("to", to.as_str()).with("text", text.as_str());
            self.record(message.with("references", references));
            self.effect(Effect::Show(format!("> {to} {text}")));
        }
        if submit.report_request {
            let mut at = now;
            for status in self.network.reporting.statuses {
                at = at + self.network.reporting.after;
                self.at(at, Timer::Report { reference, to: to.clone(), taken: now, status: *status });
            }
        }
        if let Some((place, slot)) = submission.stored
            && let Some(record) = self.sim.memories[place].slots[slot].as_mut()
        {
            record.stat = Stat::Sent;
        }
        let shown = if self.personality.no_references { 0 } else { reference };
        let lines = vec![format!("{}: {shown}", submission.answer)];
        match fault {
            Some(SendFault::LoseAnswer) => {}
            Some(SendFault::Bare) => self.succeeded(&[]),
            Some(SendFault::Late(wait)) => self.work(Job::Answer(lines), wait, now),
            _ => self.succeeded(&lines),
        }
    }
}

/// The message behind a prompt, checked as strictly as can be: a modem that lets wrong octets pass finds no faults in its users.
fn submission(text: &[u8], length: usize) -> Result<Submission, String> {
    submission_of(counted(text, length)?, length)
}

fn submission_of(octets: Vec<u8>, length: usize) -> Result<Submission, String> {
    let decoded =
        pdu::decode(&octets, Some(Side::Mobile), Prefix::Present).map_err(|error| error.to_string())?;
    if decoded.length != length {
        return Err(format!("{length} octets were announced, {} came", decoded.length));
    }
    if let Some(remark) = decoded.remarks.first() {
        return Err(remark.to_string());
    }
    let Pdu::Submit(submit) = decoded.pdu else { return Err("it is no message to be sent".to_string()) };
    let has_service_center = decoded.service_center.is_some();
    Ok(Submission { submit, octets, has_service_center, stored: None, answer: "+CMGS" })
}

/// The octets of hexadecimal digits, when they are as many as announced: those of the service center are not counted (27.005 4.3).
fn counted(text: &[u8], length: usize) -> Result<Vec<u8>, String> {
    let digits = std::str::from_utf8(text).map_err(|_| "these are no digits".to_string())?;
    // A line feed behind the carriage return of the command is in here.
    let digits = digits.trim_start_matches(['\n', '\r']);
    if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return Err("these are no hexadecimal digits".to_string());
    }
    let octets = pdu::from_hex(digits).map_err(|error| error.to_string())?;
    let prefix = octets.first().map_or(0, |length| usize::from(*length) + 1);
    if octets.len() != prefix + length {
        return Err(format!(
            "{length} octets behind a service center of {prefix} were announced, {} came",
            octets.len()
        ));
    }
    Ok(octets)
}
