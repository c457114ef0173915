//! The driver of one modem: octets, mail and times in, [`Effect`]s out. It has no port, no clock and no thread, so a test
//! plays a night with a bad modem in a millisecond.
//!
//! | file | what |
//! |---|---|
//! | `ladder`, `sim` | the initialisation, step by step, as data |
//! | `facts` | what was found out about modem and SIM |
//! | `incoming` | octets to what the router takes |
//! | `doubt` | a modem whose answers may be late |
//! | `asides` | further parts of what is no text |
//! | `receiving` | announcements, storages, receipts, deletions |
//! | `sending`, `stored` | parts, refusals, references, reports; the other way of sending |
//! | `ports` | other ports of the same stick, and a change to one of them |
//! | `watching` | network, signal, settings that get lost |
//! | `recovery` | a modem that is mute, has started anew, or is sick |
//! | `calls`, `ussd` | who calls; the network's menus |
//!
//! One command is under way at a time. When it is over, `go_on` picks the next: what is owed to the modem first
//! (acknowledgements, deletions), then by turns what arrived and what is to be sent, then looks at storages and network.

mod asides;
mod calls;
mod doubt;
mod facts;
mod incoming;
mod ladder;
mod ports;
mod receiving;
mod recovery;
mod sending;
mod sim;
mod stored;
pub mod ussd;
mod watching;

pub use facts::Facts;
pub use incoming::{Arrival, arrival, report_name};
pub use ports::is_announcement;
pub use receiving::{Slot, Source};

use super::rules::Rules;
use crate::backends::BackendError;
use crate::message::{Incoming, MessageId, Receipt, Report, SendFailure};
use crate::modem::{Answer, Command, Dialogue, Happening, Urc};
use doubt::Before;
use ladder::{Ask, Heard, LADDER};
use std::collections::VecDeque;
use std::time::Duration;

/// What is to be done, in this order.
#[derive(Debug)]
pub enum Effect {
    /// Write this to the modem.
    Write(Vec<u8>),
    /// Hand this to the router, then say by [`Driver::delivered`] what it said.
    Deliver(Box<Incoming>, Source),
    /// Hand this to the router, then say by [`Driver::reported`] what it said.
    Report(Report, Source),
    /// Tell what became of a message.
    Sent(MessageId, Result<Receipt, SendFailure>),
    /// Messages can be sent from now on.
    Up(String),
    /// How things are.
    Note(String),
    /// What came of a person's question to the network.
    Answered(Result<String, String>),
    /// Remember, before anything else is done, that the PIN was given; when that cannot be remembered, stop.
    PinTried,
    /// The PIN was right.
    PinWorked,
    /// Close the port, let DTR fall, open it again, then call [`Driver::open`].
    Reopen,
    /// It is over.
    Over(Result<(), BackendError>),
}

/// The driver of one modem.
#[derive(Debug)]
pub struct Driver {
    rules: Rules,
    dialogue: Dialogue,
    facts: Facts,
    phase: Phase,
    job: Option<Job>,
    /// What goes before everything else.
    urgent: Option<(Command, Job)>,
    effects: VecDeque<Effect>,
    climb: Climb,
    inbox: receiving::Inbox,
    asides: asides::Asides,
    outbox: sending::Outbox,
    watch: watching::Watch,
    calls: calls::Calls,
    ussd: ussd::Session,
    trials: recovery::Trials,
    doubt: doubt::Doubt,
    /// How many arrivals in a row were handled while a message waited to be sent.
    arrivals_in_a_row: u32,
    up: bool,
    /// An announcement came on the line itself.
    announced_here: bool,
    /// Nothing new is begun, because the port is to be changed.
    halting: bool,
    stopping: bool,
    stop_by: Option<Duration>,
    now: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Nobody is known to be there.
    Opening,
    /// On the ladder.
    Starting,
    Working,
    Over,
}

/// Where on the ladder.
#[derive(Debug, Default)]
struct Climb {
    step: usize,
    nth: u32,
    wait_until: Option<Duration>,
    /// The modem has started meanwhile: the ladder is climbed once more when it is done.
    again: bool,
}

/// Whose command is under way.
#[derive(Clone, PartialEq, Eq, Debug)]
enum Job {
    Step,
    Switch(String),
    Read(Slot),
    List(String),
    Delete(Slot),
    Acknowledge,
    /// The part may leave from here on.
    Part,
    /// The part is put where it will be sent from.
    Write,
    Center,
    KeepLink,
    Look(watching::Look),
    HangUp,
    Ussd,
    Restart,
    /// Its answer is only waited for.
    Doubt,
}

/// Arrivals have their turn, and so has what is to be sent.
const ARRIVALS_IN_A_ROW: u32 = 8;
/// What is in hand may take so long after the stop.
const STOP_TIME: Duration = Duration::from_secs(10);

impl Driver {
    /// A driver that knows nothing yet: [`Driver::open`] comes first.
    pub fn new(rules: Rules) -> Driver {
        Driver {
            rules,
            dialogue: Dialogue::new(),
            facts: Facts::default(),
            phase: Phase::Opening,
            job: None,
            urgent: None,
            effects: VecDeque::new(),
            climb: Climb::default(),
            inbox: receiving::Inbox::default(),
            asides: asides::Asides::default(),
            outbox: sending::Outbox::default(),
            watch: watching::Watch::default(),
            calls: calls::Calls::default(),
            ussd: ussd::Session::default(),
            trials: recovery::Trials::default(),
            doubt: doubt::Doubt::default(),
            arrivals_in_a_row: 0,
            up: false,
            announced_here: false,
            halting: false,
            stopping: false,
            stop_by: None,
            now: Duration::ZERO,
        }
    }

    /// The port was opened.
    pub fn open(&mut self, now: Duration) {
        self.now = now;
        self.phase = Phase::Opening;
        self.job = None;
        self.halting = false;
        self.announced_here = false;
        let happened = self.dialogue.open(now);
        self.hear(happened);
    }

    /// This was read from the port.
    pub fn read(&mut self, octets: &[u8], now: Duration) {
        self.now = now;
        let happened = self.dialogue.read(octets, now);
        self.hear(happened);
    }

    /// Time has passed.
    pub fn tick(&mut self, now: Duration) {
        self.now = now;
        let happened = self.dialogue.tick(now);
        self.hear(happened);
        self.calls.tick(now);
        if self.outbox.tick(now) && self.phase == Phase::Working {
            let sentence = self.facts.sentence();
            self.note(&sentence);
        }
        self.ussd_tick();
        if self.stop_by.is_some_and(|by| by <= now) {
            self.end("the router stopped while it was on its way", Ok(()));
        }
    }

    /// When [`Driver::tick`] must be called, if nothing comes before.
    pub fn deadline(&self) -> Option<Duration> {
        // What waits for a free modem is looked at when it is free.
        let free = self.dialogue.is_ready() && self.job.is_none();
        let timers = match self.phase {
            Phase::Over => return None,
            // Whoever changes the port comes at once.
            _ if free && self.halting => Vec::new(),
            Phase::Starting if free => vec![self.climb.wait_until],
            // Nothing else is done until then.
            Phase::Working if free && self.doubt.quiet_until().is_some() => vec![self.doubt.quiet_until()],
            Phase::Working if free => {
                vec![
                    self.inbox.next_look(),
                    self.watch.next(),
                    self.outbox.paused_until(),
                    self.next_ussd_time(),
                ]
            }
            _ => Vec::new(),
        };
        let always = [self.dialogue.deadline(), self.stop_by, self.calls.deadline(), self.ussd_deadline()];
        timers.into_iter().chain(always).flatten().min()
    }

    /// What is to be done next.
    pub fn take_effect(&mut self) -> Option<Effect> {
        self.effects.pop_front()
    }

    /// Whether there is something to be done.
    pub fn has_effects(&self) -> bool {
        !self.effects.is_empty()
    }

    /// The router stops: finishes what is in hand, in ten seconds at most, then [`Effect::Over`].
    pub fn stop(&mut self, now: Duration) {
        self.now = now;
        if !std::mem::replace(&mut self.stopping, true) {
            self.stop_by = Some(now.saturating_add(STOP_TIME));
            self.go_on();
        }
    }

    /// The port is gone.
    pub fn lost(&mut self, why: &str, now: Duration) {
        self.now = now;
        self.end(why, Err(BackendError::Lost(why.to_string())));
    }

    /// What is known about modem and SIM.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// Whether messages can be sent.
    pub fn is_up(&self) -> bool {
        self.up && self.phase == Phase::Working
    }

    fn hear(&mut self, happened: Vec<Happening>) {
        for happening in happened {
            self.disturbed(&happening);
            match happening {
                Happening::Write(octets) => self.effects.push_back(Effect::Write(octets)),
                Happening::Ready if self.phase == Phase::Opening => self.begin(),
                Happening::Ready => {}
                Happening::Mute => self.mute(),
                Happening::Answer(answer) => self.answered(&answer),
                Happening::Late(line) => self.late(&line),
                Happening::Urc(urc) => {
                    self.announced_here |= is_announcement(&urc);
                    self.unasked(urc);
                }
                Happening::Garbage(text) => {
                    log::debug!(
                        "backend {}: the modem says {text:?}, which makes no sense here",
                        self.rules.backend
                    );
                }
            }
        }
        self.go_on();
    }

    fn begin(&mut self) {
        self.phase = Phase::Starting;
        self.climb = Climb::default();
        let known_center = self.facts.known_center.take();
        self.facts = Facts { known_center, ..Facts::default() };
        self.inbox.forget(self.now);
        self.outbox.forget();
        self.watch.forget();
        self.doubt = doubt::Doubt::default();
        self.note("starting");
    }

    fn answered(&mut self, answer: &Answer) {
        let Some(job) = self.job.take() else { return };
        match job {
            Job::Step => self.climbed(answer),
            Job::Switch(storage) => self.switched(storage, answer),
            Job::Read(slot) => self.read_answer(slot, answer),
            Job::List(storage) => self.listed(&storage, answer),
            Job::Delete(slot) => self.deleted(&slot, answer),
            Job::Acknowledge => self.acknowledged(answer),
            Job::Part => self.part_answered(answer),
            Job::Write => self.part_written(answer),
            Job::Center => self.center_set(answer),
            Job::KeepLink => self.link_kept(answer),
            Job::Look(look) => self.looked(look, answer),
            Job::HangUp | Job::Doubt => {}
            Job::Ussd => self.ussd_answered(answer),
            Job::Restart => self.restarted(),
        }
    }

    fn unasked(&mut self, urc: Urc) {
        match urc {
            Urc::Stored { storage, index } | Urc::ReportStored { storage, index } => {
                self.announced(&storage, index)
            }
            Urc::Message(direct) | Urc::Report(direct) => self.direct(&direct),
            Urc::TextMessage { header, text } => {
                let incoming = incoming::text_mode(&self.rules.backend, &header, &text);
                self.effects.push_back(Effect::Deliver(Box::new(incoming), Source::Direct));
                self.start_over("it speaks text mode, so it has forgotten its settings");
            }
            Urc::Torn(_) | Urc::StorageFull(_) => self.look_through(self.now),
            Urc::Registration(registration) => self.registration_news(registration),
            Urc::Started(line) => self.modem_started(&line),
            Urc::Ring(_) | Urc::Caller(_) | Urc::CallEnded(_) => self.call(&urc),
            Urc::Ussd(ussd) => self.ussd_news(&ussd),
            Urc::Pin(_) | Urc::Broadcast(_) | Urc::Noise(_) | Urc::Other(_) => {}
        }
    }

    /// Picks what is done next, if nothing is under way.
    fn go_on(&mut self) {
        while self.dialogue.is_ready() && self.job.is_none() {
            let next = match self.phase {
                Phase::Opening | Phase::Over => return,
                Phase::Starting if self.stopping => return self.end("the router stopped", Ok(())),
                // What was begun is brought to its end first.
                Phase::Working if self.halting && !self.stopping => self.owed(),
                Phase::Starting if self.halting => None,
                Phase::Starting => self.climb(),
                Phase::Working => self.pick(),
            };
            let Some((command, job)) = next else { return };
            match self.dialogue.send(command.usually_within(self.rules.answer_time), self.now) {
                Ok(octets) => self.effects.push_back(Effect::Write(octets)),
                Err(_) => return,
            }
            self.job = Some(job);
        }
    }

    fn pick(&mut self) -> Option<(Command, Job)> {
        if let Some(urgent) = self.urgent.take() {
            return Some(urgent);
        }
        if !self.stopping && self.concerns_slots() {
            match self.before_slots() {
                Before::Nothing => {}
                Before::Ask(command, job) => return Some((command, job)),
                Before::Wait => return None,
            }
        } else {
            self.doubt = doubt::Doubt::default();
        }
        if let Some(owed) = self.owed() {
            return Some(owed);
        }
        if self.stopping {
            // What the modem was told is over; a message between its parts is given back.
            if self.waits_for_router() {
                return None;
            }
            self.end("the router stopped", Ok(()));
            return None;
        }
        let sends_wait = self.outbox.is_busy();
        while self.inbox.has_arrivals() && !(sends_wait && self.arrivals_in_a_row >= ARRIVALS_IN_A_ROW) {
            self.arrivals_in_a_row += 1;
            match self.next_arrival() {
                Some(next) => return Some(next),
                // It went to the router; its receipt comes before the next.
                None if self.waits_for_router() => return None,
                None => {
                    if let Some(owed) = self.owed() {
                        return Some(owed);
                    }
                }
            }
        }
        self.arrivals_in_a_row = 0;
        if let Some(part) = self.next_part() {
            return Some(part);
        }
        if self.waits_for_router() {
            return None;
        }
        if !self.up
            && let Some(look) = self.next_look_at_network()
        {
            return Some(look);
        }
        let asked = self.hang_up().or_else(|| self.next_ussd());
        let asked = asked.or_else(|| self.next_list(self.now));
        if asked.is_none() && self.inbox.has_arrivals() {
            // A storage that is read slot by slot.
            return self.pick();
        }
        asked.or_else(|| self.next_look_at_network())
    }

    /// Whether something was handed to the router whose receipt has not come.
    fn waits_for_router(&self) -> bool {
        self.effects.iter().any(|effect| matches!(effect, Effect::Deliver(..) | Effect::Report(..)))
    }

    fn climb(&mut self) -> Option<(Command, Job)> {
        if self.climb.wait_until.is_some_and(|until| self.now < until) {
            return None;
        }
        self.climb.wait_until = None;
        loop {
            let Some(step) = LADDER.get(self.climb.step) else {
                self.climbed_up();
                if self.phase == Phase::Working {
                    return self.pick();
                }
                continue;
            };
            let command = match (step.ask)(&self.rules, &self.facts, self.climb.nth) {
                Ask::Skip => {
                    self.next_step();
                    continue;
                }
                Ask::Command(command) => command,
                Ask::GivePin(command) => {
                    self.effects.push_back(Effect::PinTried);
                    self.rules.pin_was_tried = true;
                    command
                }
                Ask::Refused(why) => {
                    self.refuse(step.name, why);
                    return None;
                }
            };
            return Some((command, Job::Step));
        }
    }

    fn climbed(&mut self, answer: &Answer) {
        let Some(step) = LADDER.get(self.climb.step) else { return };
        match (step.hear)(&self.rules, &mut self.facts, answer, self.climb.nth) {
            Heard::Done => self.next_step(),
            Heard::Next => self.climb.nth += 1,
            Heard::Wait(time, why) => {
                self.climb.nth += 1;
                self.climb.wait_until = Some(self.now.saturating_add(time));
                self.note(&format!("starting: {}: {why}", step.name));
            }
            Heard::Without(why) => {
                log::info!("backend {}: {}: going on without it: {why}", self.rules.backend, step.name);
                self.next_step();
            }
            Heard::Lost(why) => {
                let why = format!("{}: {why}", step.name);
                self.end(&why, Err(BackendError::Lost(why.clone())));
            }
            Heard::Refused(why) => self.refuse(step.name, why),
        }
    }

    fn refuse(&mut self, step: &str, why: String) {
        let why = format!("{step}: {why}");
        self.end(&why, Err(BackendError::Refused(why.clone())));
    }

    fn next_step(&mut self) {
        self.climb.step += 1;
        self.climb.nth = 0;
    }

    fn climbed_up(&mut self) {
        if std::mem::take(&mut self.climb.again) {
            self.climb = Climb::default();
            return;
        }
        // Also when the modem had not locked its SIM this time: the PIN of the last time was right, then.
        if self.rules.pin.is_some() {
            self.effects.push_back(Effect::PinWorked);
            self.rules.pin_was_tried = false;
        }
        self.phase = Phase::Working;
        self.trials.climbed();
        self.look_at_network();
        self.look_through(self.now);
        let name = self.facts.name().unwrap_or_else(|| "a modem that does not say its name".into());
        log::info!(
            "backend {}: {name}, IMEI {}, IMSI {}, service center {}; messages are {}",
            self.rules.backend,
            self.facts.imei.as_deref().unwrap_or("unknown"),
            self.facts.imsi.as_deref().unwrap_or("unknown"),
            self.facts.service_center.as_deref().unwrap_or("unknown"),
            match self.facts.routing {
                Some(routing) if routing.messages == 1 => "stored and announced",
                Some(_) => "handed over directly",
                None => "looked for",
            }
        );
    }

    fn note(&mut self, sentence: &str) {
        self.effects.push_back(Effect::Note(sentence.to_string()));
    }

    /// The last effect of this driver.
    fn end(&mut self, why: &str, result: Result<(), BackendError>) {
        if self.phase == Phase::Over {
            return;
        }
        let written =
            self.job == Some(Job::Part) && (self.dialogue.has_written_text() || self.outbox.is_in_storage());
        self.drop_message(written, why);
        self.ussd_over(why);
        self.phase = Phase::Over;
        self.effects.push_back(Effect::Over(result));
    }
}
