//! What a modem is asked, and what it answered: octets and times in, octets out, no port.
//!
//! Nothing that it keeps is changed: no PIN is tried, no message read or deleted, no routing set. Two settings that make answers
//! readable (`+CMEE`, the form of `+COPS`) are set back.

use crate::modem::{Answer, Command, Dialogue, Happening, ModemError, Outcome, Urc, answers, storage};
use serde::Serialize;
use std::collections::VecDeque;
use std::time::Duration;

/// Until a port has said something sensible, so long.
const GREETING_TIME: Duration = Duration::from_secs(7);
/// All questions together, so long.
const INTERVIEW_TIME: Duration = Duration::from_secs(40);
/// One answer; modems that look for a network are slow with it.
const ANSWER_TIME: Duration = Duration::from_secs(6);
/// A SIM that is busy, as each is after a start, is asked again after this time, so many times.
const BUSY_TIME: Duration = Duration::from_millis(500);
const BUSY_TRIES: u32 = 30;
/// Some modems never end certain answers; so long it is awaited.
const OK_TIME: Duration = Duration::from_secs(1);
/// So many unasked lines are kept.
const MOST_UNASKED: usize = 16;

/// What is known of a modem.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
pub(super) struct Facts {
    /// The maker.
    pub make: Option<String>,
    /// The model.
    pub model: Option<String>,
    /// The firmware.
    pub version: Option<String>,
    /// The modem's number.
    pub imei: Option<String>,
    /// `ready`, or what it lacks.
    pub sim: Option<String>,
    /// The SIM's number.
    pub iccid: Option<String>,
    /// The subscriber's number.
    pub imsi: Option<String>,
    /// The telephone number, when the SIM knows it.
    pub number: Option<String>,
    /// The service center's number.
    pub service_center: Option<String>,
    /// Whether it is in a network, in words.
    pub registration: Option<String>,
    /// Whether messages can be sent.
    pub registered: Option<bool>,
    /// The network.
    pub operator: Option<String>,
    /// The signal's strength.
    pub dbm: Option<i16>,
    /// The same, 0 to 5.
    pub bars: Option<u8>,
    /// How full the storages for messages are.
    pub storages: Vec<Storage>,
}

/// A storage for messages.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub(super) struct Storage {
    /// `SM` is on the SIM, `ME` in the modem.
    pub name: String,
    /// Slots in use.
    pub used: u32,
    /// Slots there are.
    pub total: u32,
}

/// How far to go.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Depth {
    /// Whether somebody answers.
    Greeting,
    /// Everything.
    All,
}

/// What came of it.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Heard {
    /// It answers as a modem does.
    pub answers: bool,
    /// What it said; empty after a mere greeting.
    pub facts: Facts,
    /// It said something unasked meanwhile.
    pub unasked: bool,
    /// Messages that arrived meanwhile and were not stored by the modem, in hexadecimal digits.
    pub messages: Vec<String>,
}

/// One port's interview.
pub(super) struct Interview {
    dialogue: Dialogue,
    depth: Depth,
    heard: Heard,
    steps: VecDeque<Topic>,
    /// The topic that is asked about, and which of its commands.
    asked: Option<(Topic, usize)>,
    /// Errors without a code were set; they are set again at the end.
    errors_off: bool,
    unasked: usize,
    /// Nothing is asked before.
    pause: Option<Duration>,
    busy: u32,
    ends: Duration,
    over: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Topic {
    ErrorCodes,
    SetErrorCodes,
    Make,
    Model,
    Version,
    Imei,
    Sim,
    Iccid,
    Imsi,
    Number,
    ServiceCenter,
    Registration,
    Operator,
    OperatorByName,
    OperatorName,
    OperatorByNumber,
    Signal,
    Storages,
    ResetErrorCodes,
}

const FIRST: [Topic; 7] =
    [Topic::ErrorCodes, Topic::Make, Topic::Model, Topic::Version, Topic::Imei, Topic::Sim, Topic::Signal];
const WITH_SIM: [Topic; 7] = [
    Topic::Iccid,
    Topic::Imsi,
    Topic::Number,
    Topic::ServiceCenter,
    Topic::Registration,
    Topic::Operator,
    Topic::Storages,
];

impl Topic {
    /// The commands, from the usual one to those of single makers; the next is asked when one brought nothing.
    fn commands(self) -> &'static [&'static str] {
        match self {
            Topic::ErrorCodes => &["AT+CMEE?"],
            Topic::SetErrorCodes => &["AT+CMEE=1"],
            Topic::Make => &["AT+CGMI", "AT+GMI"],
            Topic::Model => &["AT+CGMM", "AT+GMM"],
            Topic::Version => &["AT+CGMR", "AT+GMR"],
            Topic::Imei => &["AT+CGSN", "AT+GSN"],
            Topic::Sim => &["AT+CPIN?"],
            Topic::Iccid => &["AT+CCID", "AT+ICCID", "AT^ICCID?", "AT+QCCID", "AT#CCID", "AT+ZGETICCID"],
            Topic::Imsi => &["AT+CIMI"],
            Topic::Number => &["AT+CNUM"],
            Topic::ServiceCenter => &["AT+CSCA?"],
            Topic::Registration => &["AT+CREG?", "AT+CEREG?"],
            Topic::Operator | Topic::OperatorName => &["AT+COPS?"],
            Topic::OperatorByName => &["AT+COPS=3,0"],
            Topic::OperatorByNumber => &["AT+COPS=3,2"],
            Topic::Signal => &["AT+CSQ"],
            Topic::Storages => &["AT+CPMS?"],
            Topic::ResetErrorCodes => &["AT+CMEE=0"],
        }
    }
}

impl Interview {
    /// Begins, and gives what to write.
    pub(super) fn begin(depth: Depth, now: Duration) -> (Interview, Vec<u8>) {
        let mut interview = Interview {
            dialogue: Dialogue::new(),
            depth,
            heard: Heard::default(),
            steps: FIRST.into(),
            asked: None,
            errors_off: false,
            unasked: 0,
            pause: None,
            busy: 0,
            ends: now + GREETING_TIME,
            over: false,
        };
        let happened = interview.dialogue.open(now);
        let octets = interview.take(happened, now);
        (interview, octets)
    }

    /// Takes what was read, and gives what to write.
    pub(super) fn read(&mut self, octets: &[u8], now: Duration) -> Vec<u8> {
        let happened = self.dialogue.read(octets, now);
        self.take(happened, now)
    }

    /// Time has passed.
    pub(super) fn tick(&mut self, now: Duration) -> Vec<u8> {
        if now >= self.ends {
            self.over = true;
        }
        self.pause = self.pause.filter(|until| *until > now);
        let mut octets = self.go_on(now);
        while !self.over && self.dialogue.deadline().is_some_and(|deadline| deadline <= now) {
            let happened = self.dialogue.tick(now);
            octets.extend(self.take(happened, now));
        }
        octets
    }

    /// When [`Interview::tick`] must be called.
    pub(super) fn deadline(&self) -> Duration {
        let deadlines = [self.dialogue.deadline(), self.pause];
        deadlines.into_iter().flatten().fold(self.ends, Duration::min)
    }

    /// What came of it, once it is over.
    pub(super) fn result(&self) -> Option<&Heard> {
        self.over.then_some(&self.heard)
    }

    /// What came of it so far.
    pub(super) fn so_far(self) -> Heard {
        self.heard
    }

    fn take(&mut self, happened: Vec<Happening>, now: Duration) -> Vec<u8> {
        let mut octets = Vec::new();
        for happening in happened {
            match happening {
                Happening::Write(more) => octets.extend(more),
                Happening::Ready => {
                    if !self.heard.answers {
                        self.heard.answers = true;
                        self.ends = now + INTERVIEW_TIME;
                    }
                }
                Happening::Answer(answer) => self.answered(&answer, now),
                Happening::Mute => self.over = true,
                Happening::Urc(urc) => self.unasked(&urc),
                Happening::Late(_) | Happening::Garbage(_) => {}
            }
        }
        octets.extend(self.go_on(now));
        octets
    }

    /// Asks the next question, if it is time for it.
    fn go_on(&mut self, now: Duration) -> Vec<u8> {
        if self.over || self.pause.is_some() || !self.dialogue.is_ready() {
            return Vec::new();
        }
        match self.next().map(|command| self.dialogue.send(command, now)) {
            Some(Ok(octets)) => octets,
            // It has just said that it is ready.
            Some(Err(_busy)) => Vec::new(),
            None => {
                self.over = true;
                Vec::new()
            }
        }
    }

    fn next(&mut self) -> Option<Command> {
        if self.depth == Depth::Greeting {
            return None;
        }
        if self.asked.is_none() {
            self.asked = Some((self.steps.pop_front()?, 0));
        }
        let (topic, turn) = self.asked?;
        let text = topic.commands().get(turn)?;
        let command = Command::new(text).within(ANSWER_TIME);
        // Some answer under another name than they were asked by.
        Some(match topic {
            Topic::Iccid => command.expects("+ICCID").expects("ICCID").expects("+CCID"),
            Topic::Sim | Topic::Storages => command.ok_may_lack(OK_TIME),
            _ => command,
        })
    }

    fn answered(&mut self, answer: &Answer, now: Duration) {
        let Some((topic, turn)) = self.asked.take() else { return };
        let busy = matches!(&answer.outcome, Outcome::Error(error) if error.is_busy());
        if busy && topic == Topic::Sim && self.busy < BUSY_TRIES {
            self.busy += 1;
            (self.asked, self.pause) = (Some((topic, turn)), Some(now + BUSY_TIME));
            return;
        }
        let enough = self.learn(topic, answer);
        if !enough && turn + 1 < topic.commands().len() {
            self.asked = Some((topic, turn + 1));
        }
        if topic == Topic::Sim {
            if self.heard.facts.sim.as_deref() == Some(READY) {
                self.steps.extend(WITH_SIM);
            }
            if self.errors_off {
                self.steps.push_back(Topic::ResetErrorCodes);
            }
        }
    }

    /// Gives whether it was enough.
    fn learn(&mut self, topic: Topic, answer: &Answer) -> bool {
        let (facts, lines) = (&mut self.heard.facts, &answer.lines);
        let ok = answer.is_ok();
        match topic {
            Topic::ErrorCodes => {
                if ok && answers::value(lines, "+CMEE") == Some("0") {
                    self.errors_off = true;
                    self.steps.push_front(Topic::SetErrorCodes);
                }
                true
            }
            Topic::Make if ok => keep(&mut facts.make, answers::words(lines)),
            Topic::Model if ok => keep(&mut facts.model, answers::words(lines)),
            Topic::Version if ok => keep(&mut facts.version, answers::words(lines)),
            Topic::Imei if ok => keep(&mut facts.imei, answers::imei(lines)),
            Topic::Sim => keep(&mut facts.sim, Some(sim(answer))),
            Topic::Iccid if ok => keep(&mut facts.iccid, answers::iccid(lines)),
            Topic::Imsi if ok => keep(&mut facts.imsi, answers::imsi(lines)),
            Topic::Number if ok => {
                let number = answers::value(lines, "+CNUM").and_then(|value| {
                    answers::fields(value).into_iter().nth(1).filter(|number| !number.is_empty())
                });
                keep(&mut facts.number, number)
            }
            Topic::ServiceCenter if ok => keep(&mut facts.service_center, answers::service_center(lines)),
            Topic::Registration => {
                let found = answers::registration(lines).filter(|_| ok);
                let registered = found.as_ref().is_some_and(answers::Registration::is_registered);
                // A modem in an LTE network may say "no" to the older question and "yes" to the newer.
                if let Some(found) = found.filter(|_| registered || facts.registration.is_none()) {
                    facts.registration = Some(found.sentence().to_string());
                    facts.registered = Some(registered);
                }
                registered
            }
            Topic::Operator | Topic::OperatorName if ok => {
                let name = answers::operator(lines).and_then(|operator| operator.name);
                let number = |name: &String| name.bytes().all(|octet| octet.is_ascii_digit());
                if topic == Topic::Operator && name.as_ref().is_some_and(number) {
                    for step in [Topic::OperatorByNumber, Topic::OperatorName, Topic::OperatorByName] {
                        self.steps.push_front(step);
                    }
                }
                keep(&mut facts.operator, name)
            }
            Topic::Signal if ok => {
                if let Some(signal) = answers::signal(lines) {
                    (facts.dbm, facts.bars) = (signal.dbm, signal.dbm.map(|_| signal.bars));
                }
                true
            }
            Topic::Storages if ok => {
                for found in storage::storages(lines).unwrap_or_default() {
                    let name = found.name.unwrap_or_else(|| "?".into());
                    // The same storage serves for reading, sending and what arrives.
                    if facts.storages.iter().all(|known| known.name != name) {
                        facts.storages.push(Storage { name, used: found.used, total: found.total });
                    }
                }
                true
            }
            _ => false,
        }
    }

    fn unasked(&mut self, urc: &Urc) {
        self.heard.unasked = true;
        self.unasked += 1;
        if self.unasked > MOST_UNASKED {
            return;
        }
        if let Urc::Message(direct) | Urc::Report(direct) = urc {
            self.heard.messages.push(direct.pdu.clone());
        }
    }
}

/// What [`Facts::sim`] says of a SIM that works.
pub(super) const READY: &str = "ready";

fn keep(fact: &mut Option<String>, found: Option<String>) -> bool {
    let enough = found.is_some();
    if enough {
        *fact = found;
    }
    enough
}

fn sim(answer: &Answer) -> String {
    let wanted = match &answer.outcome {
        Outcome::Ok | Outcome::Assumed => answers::pin(&answer.lines),
        Outcome::Error(ModemError::Cme(10) | ModemError::Cms(310)) => return "no SIM in the modem".into(),
        Outcome::Error(ModemError::Cme(11) | ModemError::Cms(311)) => Some(answers::Pin::Pin),
        Outcome::Error(ModemError::Cme(12) | ModemError::Cms(316)) => Some(answers::Pin::Puk),
        Outcome::Error(error) => return error.to_string(),
        Outcome::TimedOut | Outcome::NoPrompt | Outcome::Call(_) => None,
    };
    match wanted {
        Some(answers::Pin::Ready | answers::Pin::Second) => READY.into(),
        Some(answers::Pin::Pin) => "wants its PIN".into(),
        Some(answers::Pin::Puk) => "blocked, wants its PUK: unblock it in a phone".into(),
        Some(answers::Pin::Other(what)) => format!("locked: {what}"),
        None => "the modem did not say".into(),
    }
}
