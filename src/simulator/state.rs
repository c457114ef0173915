//! The states of a modem: whose card it has, what is set, what it is doing, what will happen by itself, and how a command can end.

use super::personality::Personality;
use super::sending::Submission;
use super::services::Repeat;
use crate::time::Timestamp;
use std::time::Duration;

/// Whose SIM it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Subscriber {
    /// E.164 with `+`.
    pub number: String,
    /// The modem's own.
    pub imei: String,
    /// The subscriber's.
    pub imsi: String,
    /// The card's.
    pub iccid: String,
    /// With a PIN the card is shut after each start.
    pub pin: Option<String>,
    /// The service center's number.
    pub service_center: String,
}

/// How long things take.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Timing {
    /// From the end of a command to its answer.
    pub latency: Duration,
    /// From Ctrl-Z to the answer of the network.
    pub send: Duration,
    /// From the network's answer to its report.
    pub report: Duration,
    /// How long the network waits for an acknowledgement, and before it tries again.
    pub retry: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing {
            latency: Duration::ZERO,
            send: Duration::ZERO,
            report: Duration::from_millis(100),
            retry: Duration::from_secs(15),
        }
    }
}

/// How a command can fail.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Failure {
    Plain,
    /// What the vendor says to commands that it does not have.
    Unknown,
    /// TS 27.007 9.2.
    Cme(u16),
    /// TS 27.005 3.2.5.
    Cms(u16),
}

/// What a command comes to.
pub(super) enum Outcome {
    Lines(Vec<String>),
    Fail(Failure),
    /// A text is wanted.
    Prompt(Prompt),
    /// The rest comes later.
    Later,
}

impl Outcome {
    pub(super) fn ok() -> Outcome {
        Outcome::Lines(Vec::new())
    }

    pub(super) fn line(line: impl Into<String>) -> Outcome {
        Outcome::Lines(vec![line.into()])
    }

    /// `OK` when it went well.
    pub(super) fn when(well: bool) -> Outcome {
        if well { Outcome::ok() } else { Outcome::Fail(Failure::Plain) }
    }
}

/// What the text behind the prompt is for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Prompt {
    /// `+CMGS=<length>`
    Send { length: usize },
    /// `+CMGW=<length>[,<stat>]`
    Write { length: usize, stat: usize },
    /// `+CMGS="<number>"` of text mode.
    SendText { to: String },
    /// `+CMGW="<number>"` of text mode.
    WriteText { to: String },
    /// `+CNMA=1,<length>`
    Acknowledge { positive: bool },
}

/// What is at work.
#[derive(Debug)]
pub(super) enum Job {
    Line(String),
    Transmit(Box<Submission>),
    /// The answer is known and late.
    Answer(Vec<String>),
}

#[derive(Debug)]
pub(super) enum Mode {
    Command,
    Busy(Job),
    Prompt(Prompt, Vec<u8>),
}

/// What will happen by itself.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Timer {
    /// The job is done.
    Job,
    /// A line after a start.
    Boot(&'static str),
    Noise,
    /// The next octet may leave.
    Octet,
    /// The end of a silence.
    Hears,
    /// What was pushed has not been acknowledged.
    Unacknowledged,
    /// The service center tries again.
    Network,
    Report {
        reference: u8,
        to: String,
        taken: Timestamp,
        status: u8,
    },
    Ring,
    CallerHangsUp,
    Ussd {
        state: u8,
        text: String,
    },
    Plug {
        link: Option<String>,
    },
    Repeat(Box<Repeat>),
}

/// What a start sets back.
#[derive(Clone, Debug)]
pub(super) struct Profile {
    pub echo: bool,
    pub verbose: bool,
    pub quiet: bool,
    pub errors: u8,
    /// `n` of `+CREG`, `+CGREG`, `+CEREG`.
    pub registration: [u8; 3],
    pub operator_format: u8,
    pub character_set: String,
    pub service: u8,
    pub text_mode: bool,
    pub text_headers: bool,
    pub report_request: bool,
    pub cnmi: [u8; 5],
    /// Of the three places of `+CPMS`, the memory.
    pub memories: [usize; 3],
    pub caller_id: bool,
    pub call_kind: bool,
    pub ussd: bool,
    pub more: u8,
    pub noise: bool,
    pub functionality: u8,
}

impl Profile {
    pub(super) fn new(personality: &Personality) -> Profile {
        let receiving = personality.not_for_receiving;
        let last = personality.memories.iter().position(|(name, _)| Some(*name) != receiving).unwrap_or(0);
        Profile {
            echo: true,
            verbose: true,
            quiet: false,
            errors: 0,
            registration: [0; 3],
            operator_format: 0,
            character_set: "GSM".to_string(),
            service: 0,
            text_mode: false,
            text_headers: false,
            report_request: false,
            cnmi: [0, 0, 0, 0, personality.cnmi[4].first().copied().unwrap_or(0)],
            memories: [0, 0, last],
            caller_id: false,
            call_kind: false,
            ussd: false,
            more: 0,
            noise: !personality.noise.is_empty(),
            functionality: 1,
        }
    }
}
