//! Sending: one message at a time, part by part (3GPP TS 27.005 3.5.1), and what each refusal means for it.
//!
//! A message whose third part fails is gone on with at its third part when it comes again, with the same reference, so the phone puts
//! it together once. Once Ctrl-Z was written a part may have left, whatever is heard afterwards; without an answer that is said, not
//! guessed. Reports that come before the message's receipt was told are held back, or left in the modem, until it was.

use super::incoming::{NOBODY, report_name};
use super::ladder::{center_command, needs_ladder, wanted_center};
use super::stored::{self, Way};
use super::{Driver, Effect, Job};
use crate::message::{About, MessageId, Outgoing, Piece, Receipt, Report, SendFailure};
use crate::modem::{Answer, Class, Command, ModemError, Outcome, answers};
use crate::numbers::{self, Numbering, Sender};
use crate::pdu::transliterate::shortened;
use crate::pdu::{self, Address, Concat, Submit, Validity};
use crate::time::Timestamp;
use std::borrow::Cow;
use std::collections::VecDeque;
use std::time::Duration;

/// Messages whose parts have left in part, as remembered.
const UNFINISHED: usize = 64;
/// Reports that wait for their message's receipt.
const HELD: usize = 256;
/// Received messages that must not be answered, as remembered.
const UNANSWERABLE: usize = 256;
/// So many messages in a row that failed for the modem's or the network's reasons: pause, then make the modem start anew.
const PAUSE_AFTER: u32 = 3;
const RESTART_AFTER: u32 = 8;
/// Clause 9.2.3.28 of 23.040.
const NO_ANSWER: &str = "the message that this answers was made or passed on by a service center, which forbids automatic answers (TP-LP)";
const FIRST_PAUSE: Duration = Duration::from_secs(10);
const LONGEST_PAUSE: Duration = Duration::from_secs(300);

/// What is being sent.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    current: Option<Current>,
    /// Oldest first.
    unfinished: VecDeque<Unfinished>,
    held: VecDeque<Report>,
    /// How many messages in a row failed for reasons that lie in the modem.
    failures: u32,
    paused_until: Option<Duration>,
    /// The modem refused `AT+CMMS`.
    keeps_no_link: bool,
    /// The service center goes into each message, because the modem does not keep it.
    center_in_message: bool,
    /// Received messages that the network forbids to answer automatically, the last ones; the router's loop guard stands behind this.
    unanswerable: VecDeque<MessageId>,
    pub(super) way: Way,
    /// A part was written into a storage, so the modem can.
    pub(super) has_stored: bool,
}

#[derive(Debug)]
struct Current {
    id: MessageId,
    number: Address,
    /// The messages without their service center.
    parts: Vec<Vec<u8>>,
    /// The modem's references of those that have left.
    left: Vec<Option<u8>>,
    /// The link was asked to stay, or needs not.
    linked: bool,
    /// How often the service center was mended for the part under way.
    mended: u32,
    /// The slot from which the part under way is sent.
    stored: Option<u32>,
}

#[derive(Debug)]
struct Unfinished {
    id: MessageId,
    number: Address,
    parts: usize,
    left: Vec<Option<u8>>,
    /// Without an answer: a late `+CMGS` is about the next part of this one.
    unsure: bool,
}

impl Outbox {
    pub(super) fn is_busy(&self) -> bool {
        self.current.is_some()
    }

    pub(super) fn paused_until(&self) -> Option<Duration> {
        self.paused_until
    }

    /// Gives whether a pause is over.
    pub(super) fn tick(&mut self, now: Duration) -> bool {
        self.paused_until.take_if(|until| *until <= now).is_some()
    }

    /// Whether a message with this name for one of its parts is under way, or has failed with parts that left.
    pub(super) fn expects_receipt(&self, name: &str) -> bool {
        let named = |left: &[Option<u8>], number: &Address| {
            left.iter().flatten().any(|reference| report_name(*reference, number) == name)
        };
        self.current.as_ref().is_some_and(|current| named(&current.left, &current.number))
            || self.unfinished.iter().any(|unfinished| named(&unfinished.left, &unfinished.number))
    }

    /// Whether the part under way lies in a slot of the modem.
    pub(super) fn is_in_storage(&self) -> bool {
        self.current.as_ref().is_some_and(|current| current.stored.is_some())
    }

    pub(super) fn stored_in(&mut self, slot: Option<u32>) {
        self.current.iter_mut().for_each(|current| current.stored = slot);
    }

    /// The modem has started anew: what its slots hold is not known, and what it refused it may take.
    pub(super) fn forget(&mut self) {
        self.stored_in(None);
        if self.way == Way::Neither {
            self.way = Way::Direct;
        }
    }

    /// Answers to this received message are refused.
    pub(super) fn answer_not(&mut self, id: MessageId) {
        if self.unanswerable.len() >= UNANSWERABLE {
            self.unanswerable.pop_front();
        }
        self.unanswerable.push_back(id);
    }

    pub(super) fn hold(&mut self, report: Report) {
        if self.held.len() >= HELD {
            self.held.pop_front();
        }
        self.held.push_back(report);
    }
}

impl Driver {
    /// Whether a message to send can be taken now.
    pub fn wants_mail(&self) -> bool {
        let paused = self.outbox.paused_until.is_some_and(|until| self.now < until);
        self.is_up() && !self.stopping && !self.halting && !self.outbox.is_busy() && !paused
    }

    /// Takes a message to send; [`Effect::Sent`] will say what became of it. `wall` is the time of day, for its validity.
    pub fn send(&mut self, outgoing: &Outgoing, wall: Timestamp, now: Duration) {
        self.now = now;
        match self.prepare(outgoing, wall) {
            Ok(current) if current.left.len() >= current.parts.len() => {
                // All that was missing was an answer, and that came late.
                self.outbox.current = Some(current);
                self.succeeded();
            }
            Ok(current) => self.outbox.current = Some(current),
            Err(why) => self.effects.push_back(Effect::Sent(outgoing.id, Err(SendFailure::Permanent(why)))),
        }
        self.go_on();
    }

    fn prepare(&mut self, outgoing: &Outgoing, wall: Timestamp) -> Result<Current, String> {
        let number = self.destination(outgoing)?;
        let scope = self.rules.transliterate;
        let plain = scope.and_then(|scope| shortened(&outgoing.text, scope, &self.rules.splitting));
        let text = plain.as_deref().unwrap_or(&outgoing.text);
        let plan = match outgoing.wishes.part {
            None => pdu::plan(text, &self.rules.splitting).map_err(|error| error.to_string())?,
            Some(Piece { sequence, total, bits, .. }) => pdu::plan_part(text, bits, &self.rules.splitting)
                .map_err(|_| {
                    format!(
                        "part {sequence} of {total} of a longer message does not fit into one short message"
                    )
                })?,
        };
        // The same at each try, here or in the next life of this process, so that a phone knows parts that come twice.
        let reference = outgoing.id.tail().to_le_bytes();
        let reference = u16::from_le_bytes([reference[0], reference[1]]);
        let class = (outgoing.wishes.flash || self.rules.flash).then_some(0);
        let validity = Validity::at_least(outgoing.expires_at.since(wall).min(self.rules.validity));
        let report = outgoing.wishes.report.unwrap_or(self.rules.report);
        let submits = match outgoing.wishes.part {
            None => Submit::of_plan(&plan, &number, reference, class),
            // The reference is that of whoever has cut the message, for the other parts come from there, too.
            Some(Piece { reference, bits, total, sequence }) => {
                let concat = Concat { reference, total, sequence, bits };
                Submit::of_part(&plan, &number, concat, class).into_iter().collect()
            }
        };
        let parts = submits.into_iter().map(|mut submit| {
            submit.report_request = report;
            submit.validity = Some(validity);
            submit.encode().map_err(|error| error.to_string())
        });
        let parts: Vec<Vec<u8>> = parts.collect::<Result<_, _>>()?;
        let known = self.outbox.unfinished.iter().position(|known| known.id == outgoing.id);
        let known = known.and_then(|at| self.outbox.unfinished.remove(at));
        let left =
            known.filter(|known| known.parts == parts.len()).map(|known| known.left).unwrap_or_default();
        let linked = parts.len() < 2 || self.outbox.keeps_no_link;
        Ok(Current { id: outgoing.id, number, parts, left, linked, mended: 0, stored: None })
    }

    /// The number that is dialled, unless there is none, or it must not be written to.
    fn destination(&self, outgoing: &Outgoing) -> Result<Address, String> {
        let identity = &*outgoing.connection.identity;
        if let Some(answered) = outgoing.in_response_to {
            if self.outbox.unanswerable.contains(&answered) {
                return Err(NO_ANSWER.into());
            }
            if !self.rules.answering.answers(identity) {
                return Err(unanswerable(identity));
            }
        }
        let usual = Numbering::default();
        let numbering = self.rules.numbering.as_ref();
        let allowed = self.rules.destinations.check(identity, numbering.unwrap_or(&usual));
        allowed.map_err(|why| {
            format!("{identity:?} is not written to: {why} (allowed_destinations, denied_destinations of the settings)")
        })?;
        let dialled = numbering.map_or(Cow::Borrowed(identity), |numbering| numbering.normalise(identity));
        Address::number(&dialled).map_err(|error| error.to_string())
    }

    /// The next command of the message under way.
    pub(super) fn next_part(&mut self) -> Option<(Command, Job)> {
        let center = wanted_center(&self.rules, &self.facts).cloned();
        let center = center.filter(|_| self.outbox.center_in_message);
        let current = self.outbox.current.as_mut()?;
        if !std::mem::replace(&mut current.linked, true) {
            // 27.005 3.5.6: the link to the network stays between the parts, which saves a second or two for each.
            return Some((Command::new("AT+CMMS=1"), Job::KeepLink));
        }
        let part = current.parts.get(current.left.len())?;
        let center = center.and_then(|center| Address::number(&center).ok());
        let octets = pdu::with_service_center(center.as_ref(), part)
            .unwrap_or_else(|_| [&[0], part.as_slice()].concat());
        let digits = pdu::to_hex(&octets);
        Some(match (&self.outbox.way, current.stored) {
            (Way::Storage(_), Some(slot)) => (stored::send(slot, self.rules.send_time), Job::Part),
            (Way::Storage(_), None) => (stored::write(part.len(), &digits), Job::Write),
            _ => (Command::send(part.len(), digits).within(self.rules.send_time), Job::Part),
        })
    }

    pub(super) fn link_kept(&mut self, answer: &Answer) {
        self.outbox.keeps_no_link = !answer.is_ok();
    }

    pub(super) fn center_set(&mut self, answer: &Answer) {
        // Where the modem does not keep it, each message carries it.
        self.outbox.center_in_message |= !answer.is_ok();
    }

    /// The modem has answered to a part, or has not.
    pub(super) fn part_answered(&mut self, answer: &Answer) {
        let reference = answers::reference(&answer.lines);
        if answer.body_written && self.outbox.way == Way::Direct {
            self.outbox.way = Way::Proven;
        }
        let slot = self.outbox.current.as_mut().and_then(|current| current.stored.take());
        slot.into_iter().for_each(|slot| self.empty_slot(slot));
        let may_have_left = answer.body_written || slot.is_some();
        if !may_have_left
            && let Outcome::Error(error) = &answer.outcome
            && self.sends_from_storage_instead(error)
        {
            return;
        }
        let Some(current) = &mut self.outbox.current else { return };
        let part = match current.parts.len() {
            0 | 1 => String::new(),
            all => format!("part {} of {all}: ", current.left.len() + 1),
        };
        match &answer.outcome {
            Outcome::Ok | Outcome::Assumed => {
                current.left.push(reference);
                current.mended = 0;
                if current.left.len() == current.parts.len() {
                    self.succeeded();
                } else if self.stopping {
                    self.failed(SendFailure::Temporary("the router stopped between its parts".into()), false);
                }
            }
            // 27.005 3.5.1: the reference alone says that the network has it.
            Outcome::TimedOut if reference.is_some() => {
                current.left.push(reference);
                if current.left.len() == current.parts.len() {
                    self.succeeded();
                }
            }
            Outcome::Error(ModemError::Cms(330)) if current.mended < 2 => self.mend_center(),
            Outcome::Error(error) => {
                let why = format!("{part}{error}");
                let error = error.clone();
                self.refused(&error, why);
            }
            Outcome::TimedOut if may_have_left => {
                let why = format!("{part}the modem gave no answer: it may have left");
                self.failed(SendFailure::Unsure(why), true);
            }
            Outcome::NoPrompt | Outcome::TimedOut => {
                let why = format!("{part}the modem did not ask for the text");
                self.failed(SendFailure::Temporary(why), true);
            }
            Outcome::Call(text) => {
                let why = format!("{part}the modem said {text:?}");
                self.failed(SendFailure::Temporary(why), true);
            }
        }
    }

    /// The modem has lost the number of the service center: it is set again, and if that does not help it goes into the message.
    fn mend_center(&mut self) {
        let Some(current) = &mut self.outbox.current else { return };
        current.mended += 1;
        let first = current.mended == 1;
        match wanted_center(&self.rules, &self.facts).cloned() {
            Some(center) if first => {
                log::warn!(
                    "backend {}: the modem has lost its service center: set again",
                    self.rules.backend
                );
                self.urgent = Some((center_command(&center), Job::Center));
            }
            Some(_) => self.outbox.center_in_message = true,
            None => self.refused(&ModemError::Cms(330), ModemError::Cms(330).to_string()),
        }
    }

    pub(super) fn refused(&mut self, error: &ModemError, why: String) {
        match error.class() {
            Class::Permanent | Class::OtherSim => self.failed(SendFailure::Permanent(why), false),
            Class::Unsure => self.failed(SendFailure::Unsure(why), true),
            Class::Retry => self.failed(SendFailure::Temporary(why), true),
            Class::Sick => {
                self.failed(SendFailure::Temporary(why), true);
                self.look_through(self.now);
                if needs_ladder(error) {
                    self.start_over(&error.to_string());
                }
            }
        }
    }

    fn succeeded(&mut self) {
        let Some(current) = self.outbox.current.take() else { return };
        self.outbox.failures = 0;
        self.outbox.paused_until = None;
        let names = current.left.iter().flatten().map(|reference| report_name(*reference, &current.number));
        let receipt = Receipt {
            remote_ids: names.collect(),
            parts: u32::try_from(current.parts.len()).ok(),
            note: None,
        };
        self.effects.push_back(Effect::Sent(current.id, Ok(receipt)));
        self.tell_held();
    }

    /// Reports that waited for a receipt are told, now that it was.
    fn tell_held(&mut self) {
        for report in std::mem::take(&mut self.outbox.held) {
            let waits = matches!(&report.about, About::Remote(name) if self.outbox.expects_receipt(name));
            if waits {
                self.outbox.held.push_back(report);
            } else {
                self.effects.push_back(Effect::Report(report, super::Source::Elsewhere));
            }
        }
        if self.inbox.take_left() {
            self.look_through(self.now);
        }
    }

    /// `counts`: whether the reason may lie in the modem.
    pub(super) fn failed(&mut self, failure: SendFailure, counts: bool) {
        let Some(current) = self.outbox.current.take() else { return };
        let unsure = matches!(failure, SendFailure::Unsure(_));
        if !matches!(failure, SendFailure::Permanent(_)) && (unsure || !current.left.is_empty()) {
            if self.outbox.unfinished.len() >= UNFINISHED {
                self.outbox.unfinished.pop_front();
            }
            self.outbox.unfinished.push_back(Unfinished {
                id: current.id,
                number: current.number,
                parts: current.parts.len(),
                left: current.left,
                unsure,
            });
        }
        self.effects.push_back(Effect::Sent(current.id, Err(failure)));
        self.tell_held();
        if !counts {
            return;
        }
        self.outbox.failures = self.outbox.failures.saturating_add(1);
        if self.outbox.failures >= RESTART_AFTER {
            return self.restart_modem("message after message failed");
        }
        if let Some(over) = self.outbox.failures.checked_sub(PAUSE_AFTER) {
            let pause = FIRST_PAUSE.saturating_mul(1 << over.min(8)).min(LONGEST_PAUSE);
            let (failures, seconds) = (self.outbox.failures, pause.as_secs());
            let why = format!("{failures} messages in a row failed: none is sent for {seconds} s");
            log::warn!("backend {}: {why}", self.rules.backend);
            self.note(&why);
            self.outbox.paused_until = Some(self.now.saturating_add(pause));
            self.look_at_network();
        }
    }

    /// A `+CMGS` that came after its time: the part of the message that was unsure has left.
    pub(super) fn late(&mut self, line: &str) {
        let Some(reference) = answers::reference(&[line.to_string()]) else { return };
        if let Some(last) = self.outbox.unfinished.back_mut().filter(|last| last.unsure) {
            log::info!("backend {}: message {} left after all: {line}", self.rules.backend, last.id);
            last.left.push(Some(reference));
            last.unsure = false;
        }
    }

    /// The port is gone, or the router stops: says what became of the message under way.
    pub(super) fn drop_message(&mut self, written: bool, why: &str) {
        let Some(current) = &self.outbox.current else { return };
        let failure = if written {
            SendFailure::Unsure(format!("{why}: it may have left"))
        } else if current.left.is_empty() {
            SendFailure::Untried(why.to_string())
        } else {
            SendFailure::Temporary(format!("{why} between its parts"))
        };
        self.failed(failure, false);
    }
}

/// Why a sender that is no telephone is not answered.
fn unanswerable(identity: &str) -> String {
    match numbers::sender(identity) {
        _ if identity == NOBODY => "the message that this answers had no sender".into(),
        Sender::ShortCode => format!(
            "{identity:?} is a short code, where mostly a machine answers, and answers may cost: reply_to_short_codes = true in the settings allows them"
        ),
        Sender::Name => {
            format!("{identity:?} is a name, which cannot be dialled: its messages cannot be answered")
        }
        Sender::Nobody | Sender::Number => format!("{identity:?} cannot be dialled"),
    }
}
