//! The language of orders, one on each line, from the prompt, a file or the control socket.

use super::Effect;
use super::faults::{CommandFault, SendFault};
use super::ledger::Entry;
use super::modem::Modem;
use super::services::Repeat;
use super::state::{Failure, Timer};
use crate::pdu;
use crate::time::Timestamp;
use std::time::Duration;

/// All orders, for people. Lines like these are what [`parse`] reads.
pub const HELP: &str = "\
MODEM < NUMBER TEXT        an SMS into this modem (\\n is a line break); all < ... into each
MODEM flash NUMBER TEXT    the same as a class 0 message
MODEM pdu HEX              the same as octets, right or wrong, without a service center
MODEM every 1s [xN] NUMBER TEXT   again and again; {n} in the text counts; every off ends it
MODEM ring NUMBER          a call; MODEM hangup: the caller gives up
MODEM report ok|fail|later|retry|never [after 2s]   what delivery reports say from now on
MODEM ussd CODE TEXT       the answer to a code; CODE>1 is a choice in its menu
MODEM push TEXT            a USSD message without a question
MODEM signal N             0 to 31, or 99
MODEM network home|roaming|searching|denied|none
MODEM reference N          the reference of the next message sent, 0 to 255
MODEM smsc NUMBER|none     the service center's number on the card
MODEM fill [FREE]          fill the memory for new messages, up to so many free slots
MODEM unplug [2s] [as PATH]       gone; back after that time, under another path
MODEM plug                 back now
MODEM reset                it starts again by itself and forgets its settings
MODEM silence 5s           it neither hears nor speaks
MODEM stuck                it waits for a text, as somebody left it
MODEM slow 500ms           every answer takes so much longer
MODEM latency 20ms [send 2s]      how long commands and sending take
MODEM chop 1ms|off         octets leave one by one
MODEM garbage [N]          octets without sense
MODEM endless [N]          a line without an end
MODEM storm [N]            so many unsolicited lines at once
MODEM say LINE             any unsolicited line
MODEM interrupt [N]        an unsolicited line in the middle of the next answers
MODEM error CODE [xN] [at N]      the next messages are refused: cms 500, cme 14, error
MODEM lose [xN] [at N]     they leave, and the modem gives no answer
MODEM late 5s [xN] [at N]  they leave, and the answer comes later
MODEM bare [xN] [at N]     they leave, and are answered OK without +CMGS
MODEM refuse +CMGD CODE [xN]      commands that begin so fail
MODEM mute +CMGL [xN]      they get no answer
MODEM well                 no misfortune is left
wait 100ms                 the orders behind this one wait
await MODEM EVENT [N]      they wait until the ledger has N entries of this kind, all told
quit                       the end";

/// Words of a line.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Line {
    /// A blank line or a comment.
    Nothing,
    /// For one modem, or for `all`.
    For {
        /// Its name.
        modem: String,
        /// What it shall do.
        order: Order,
    },
    /// The orders behind this one wait.
    Wait(Duration),
    /// They wait for entries of the ledger.
    Await {
        /// The modem's name.
        modem: String,
        /// Which kind of entry.
        event: String,
        /// How many since the beginning.
        count: u64,
    },
    /// The list of orders is wanted.
    Help,
    /// The end.
    Quit,
}

/// What a modem shall do.
#[derive(Clone, PartialEq, Eq, Debug)]
#[allow(missing_docs)] // HELP says it.
pub enum Order {
    Sms { from: String, text: String, class: Option<u8> },
    Pdu(Vec<u8>),
    Every { every: Duration, count: Option<u64>, from: String, text: String },
    EveryOff,
    Ring(String),
    Hangup,
    Report { statuses: &'static [u8], after: Option<Duration> },
    Ussd { code: String, text: String },
    Push(String),
    Signal(u8),
    Network(u8),
    Reference(u8),
    ServiceCenter(String),
    Fill(usize),
    Unplug { away: Option<Duration>, link: Option<String> },
    Plug,
    Reset,
    Silence(Duration),
    Stuck,
    Slow(Duration),
    Latency { command: Duration, send: Option<Duration> },
    Chop(Option<Duration>),
    Garbage(usize),
    Endless(usize),
    Storm(usize),
    Say(String),
    Interrupt(u32),
    Fault { fate: Fate, count: usize, place: usize },
    Refuse { prefix: String, failure: Option<Code>, count: u32 },
    Well,
}

/// What happens to a message that is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fate {
    /// It is refused.
    Refused(Code),
    /// Nobody is told.
    AnswerLost,
    /// It is `OK` alone.
    AnswerBare,
    /// The answer takes so much longer.
    AnswerLate(Duration),
}

/// A final result that is an error.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Code {
    /// `ERROR`
    Plain,
    /// `+CME ERROR`
    Cme(u16),
    /// `+CMS ERROR`
    Cms(u16),
}

/// Reads one line; the error is a sentence.
pub fn parse(line: &str) -> Result<Line, String> {
    let line = line.trim();
    if line.is_empty() || line.starts_with('#') {
        return Ok(Line::Nothing);
    }
    let (first, rest) = word(line);
    match (first, rest) {
        ("quit" | "exit", "") => return Ok(Line::Quit),
        ("help" | "?", "") => return Ok(Line::Help),
        ("wait", time) => return duration(time).map(Line::Wait),
        ("await", rest) => return awaited(rest),
        _ => {}
    }
    let (verb, rest) = word(rest);
    if verb.is_empty() {
        return Err(format!("what shall {first} do? help lists the orders"));
    }
    Ok(Line::For { modem: first.to_string(), order: order(verb, rest)? })
}

/// `MODEM EVENT [N]`
fn awaited(rest: &str) -> Result<Line, String> {
    let (modem, rest) = word(rest);
    let (event, count) = word(rest);
    if event.is_empty() {
        return Err("await takes a modem and an event of the ledger: await zain sent 3".into());
    }
    let count = if count.is_empty() { Ok(1) } else { count.parse() };
    let count = count.map_err(|_| "how many? await zain sent 3".to_string())?;
    Ok(Line::Await { modem: modem.to_string(), event: event.to_string(), count })
}

fn order(verb: &str, rest: &str) -> Result<Order, String> {
    const MANY: usize = 100_000;
    Ok(match verb {
        "<" => sms(rest, None)?,
        "flash" => sms(rest, Some(0))?,
        "pdu" => Order::Pdu(pdu::from_hex(rest).map_err(|error| error.to_string())?),
        "every" if rest == "off" => Order::EveryOff,
        "every" => {
            let (every, rest) = word(rest);
            let (count, rest) = repeated(rest);
            let Order::Sms { from, text, .. } = sms(rest, None)? else { return Err("no text".into()) };
            let every = duration(every)?.max(Duration::from_millis(1));
            Order::Every { every, count: count.map(|count| count as u64), from, text }
        }
        "ring" if !rest.is_empty() => Order::Ring(rest.to_string()),
        "ring" => return Err("who rings? MODEM ring NUMBER".into()),
        "hangup" => Order::Hangup,
        "report" => {
            let (what, rest) = word(rest);
            let after = match word(rest) {
                ("after", time) => Some(duration(time)?),
                ("", _) => None,
                _ => return Err("only `after 2s` may follow".into()),
            };
            let statuses: &[u8] = match what {
                "ok" => &[0x00],
                "fail" => &[0x46],
                "later" => &[0x30, 0x00],
                "retry" => &[0x62],
                "never" => &[],
                _ => return Err("report takes ok, fail, later, retry or never".into()),
            };
            Order::Report { statuses, after }
        }
        "ussd" => {
            let (code, text) = word(rest);
            Order::Ussd { code: code.to_string(), text: unescaped(text) }
        }
        "push" => Order::Push(unescaped(rest)),
        "signal" => Order::Signal(number(rest, 99)?),
        "network" => Order::Network(match rest {
            "home" => 1,
            "roaming" => 5,
            "searching" => 2,
            "denied" => 3,
            "none" => 0,
            _ => return Err("network takes home, roaming, searching, denied or none".into()),
        }),
        "reference" => Order::Reference(number(rest, u8::MAX)?),
        "smsc" => Order::ServiceCenter(if rest == "none" { String::new() } else { rest.to_string() }),
        "fill" => Order::Fill(count(rest, 0, MANY)?),
        "unplug" => {
            let (away, rest) = match rest.split_once("as ") {
                Some((away, link)) => (away.trim(), Some(link.trim().to_string())),
                None => (rest, None),
            };
            Order::Unplug { away: (!away.is_empty()).then(|| duration(away)).transpose()?, link: rest }
        }
        "plug" => Order::Plug,
        "reset" => Order::Reset,
        "silence" => Order::Silence(duration(rest)?),
        "stuck" => Order::Stuck,
        "slow" => Order::Slow(duration(rest)?),
        "latency" => {
            let (command, rest) = word(rest);
            let send = match word(rest) {
                ("send", time) => Some(duration(time)?),
                ("", _) => None,
                _ => return Err("only `send 2s` may follow".into()),
            };
            Order::Latency { command: duration(command)?, send }
        }
        "chop" if rest == "off" => Order::Chop(None),
        "chop" => Order::Chop(Some(duration(if rest.is_empty() { "0ms" } else { rest })?)),
        "garbage" => Order::Garbage(count(rest, 64, MANY)?),
        "endless" => Order::Endless(count(rest, 20_000, MANY)?),
        "storm" => Order::Storm(count(rest, 100, MANY)?),
        "say" => Order::Say(unescaped(rest)),
        "interrupt" => Order::Interrupt(u32::try_from(count(rest, 1, MANY)?).unwrap_or(1)),
        "error" => {
            let (code, rest) = code(rest)?;
            fault(Fate::Refused(code), rest)?
        }
        "lose" => fault(Fate::AnswerLost, rest)?,
        "bare" => fault(Fate::AnswerBare, rest)?,
        "late" => {
            let (time, rest) = word(rest);
            fault(Fate::AnswerLate(duration(time)?), rest)?
        }
        "refuse" | "mute" => {
            let (prefix, rest) = word(rest);
            let prefix = prefix.trim_start_matches("AT").to_string();
            let (failure, rest) = match verb {
                "refuse" => code(rest).map(|(code, rest)| (Some(code), rest))?,
                _ => (None, rest),
            };
            let (times, rest) = repeated(rest);
            if prefix.is_empty() || !rest.is_empty() {
                return Err(format!("{verb} takes the beginning of a command, for example +CMGD"));
            }
            let count = u32::try_from(times.unwrap_or(1)).unwrap_or(u32::MAX);
            Order::Refuse { prefix, failure, count }
        }
        "well" => Order::Well,
        _ => return Err(format!("{verb:?} is no order; help lists them")),
    })
}

fn sms(rest: &str, class: Option<u8>) -> Result<Order, String> {
    let (from, text) = word(rest);
    if from.is_empty() {
        return Err("from whom? MODEM < NUMBER TEXT".into());
    }
    Ok(Order::Sms { from: from.to_string(), text: unescaped(text), class })
}

/// `[xN] [at N]`
fn fault(fate: Fate, rest: &str) -> Result<Order, String> {
    let (count, rest) = repeated(rest);
    let place = match word(rest) {
        ("", _) => 1,
        ("at", place) => place.parse().map_err(|_| format!("{place:?} is no number"))?,
        (other, _) => return Err(format!("{other:?} is not known here: x3 or at 2")),
    };
    Ok(Order::Fault { fate, count: count.unwrap_or(1), place })
}

/// `cms 500`, `cme 14`, `500`, `error`
fn code(rest: &str) -> Result<(Code, &str), String> {
    let (kind, behind) = word(rest);
    let (digits, behind) = match kind {
        "error" => return Ok((Code::Plain, behind)),
        "cms" | "cme" => word(behind),
        digits => (digits, behind),
    };
    let number = digits.parse().map_err(|_| "an error is cms 500, cme 14 or error".to_string())?;
    Ok((if kind == "cme" { Code::Cme(number) } else { Code::Cms(number) }, behind))
}

/// `x3` at the beginning.
fn repeated(rest: &str) -> (Option<usize>, &str) {
    let (first, behind) = word(rest);
    match first.strip_prefix('x').and_then(|digits| digits.parse().ok()) {
        Some(count) => (Some(count), behind),
        None => (None, rest),
    }
}

fn count(rest: &str, usual: usize, most: usize) -> Result<usize, String> {
    match rest {
        "" => Ok(usual),
        digits => digits
            .parse()
            .ok()
            .filter(|count| *count <= most)
            .ok_or(format!("{digits:?} is no number up to {most}")),
    }
}

fn number(rest: &str, most: u8) -> Result<u8, String> {
    let found = rest.parse().ok().filter(|number| *number <= most);
    found.ok_or(format!("{rest:?} is no number from 0 to {most}"))
}

fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let (first, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (first, rest.trim_start())
}

/// `100ms`, `2s`, `1m`.
pub fn duration(text: &str) -> Result<Duration, String> {
    let text = text.trim();
    let end = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let (digits, unit) = text.split_at(end);
    let milliseconds = match unit.trim() {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        _ => return Err(format!("{text:?} is no time: write 100ms, 2s or 1m")),
    };
    let number: u32 = digits.parse().map_err(|_| format!("{text:?} is no time: write 100ms, 2s or 1m"))?;
    Ok(Duration::from_millis(u64::from(number) * milliseconds))
}

fn unescaped(text: &str) -> String {
    text.replace("\\n", "\n")
}

impl Modem {
    /// Does what somebody ordered; the error is a sentence.
    pub fn order(&mut self, order: &Order, now: Timestamp) -> Result<(), String> {
        self.tick(now);
        let done = self.obey(order, now);
        self.tick(now);
        done
    }

    fn obey(&mut self, order: &Order, now: Timestamp) -> Result<(), String> {
        if !matches!(order, Order::Sms { .. } | Order::Pdu(_) | Order::Every { .. } | Order::Ring(_)) {
            self.record(Entry::new(now, "ordered").with("order", format!("{order:?}")));
        }
        match order {
            Order::Sms { from, text, class } => self.inject(from, text, *class, now)?,
            Order::Pdu(octets) => self.inject_octets(octets.clone(), now)?,
            Order::Every { every, count, from, text } => {
                pdu::Address::parse(from).map_err(|error| error.to_string())?;
                let repeat =
                    Repeat { every: *every, left: *count, from: from.clone(), text: text.clone(), number: 0 };
                if *count != Some(0) {
                    self.at(now + *every, Timer::Repeat(Box::new(repeat)));
                }
            }
            Order::EveryOff => self.cancel(|timer| matches!(timer, Timer::Repeat(_))),
            Order::Ring(from) => self.ring(from, now)?,
            Order::Hangup => self.call_over("the caller hung up", now),
            Order::Report { statuses, after } => {
                self.network.reporting.statuses = statuses;
                if let Some(after) = after {
                    self.network.reporting.after = *after;
                }
            }
            Order::Ussd { code, text } => {
                const CODES: usize = 1_000;
                if self.codes.len() < CODES {
                    self.codes.insert(code.clone(), text.clone());
                }
            }
            Order::Push(text) => self.ussd_answer(0, text),
            Order::Signal(signal) => self.network.signal = *signal,
            Order::Network(registration) => {
                self.network.registration = *registration;
                self.registration_changed();
                self.at(now, Timer::Network);
            }
            Order::Reference(next) => self.network.set_reference(*next),
            Order::ServiceCenter(number) => self.sim.service_center.clone_from(number),
            Order::Fill(free) => self.fill(*free),
            Order::Unplug { away, link } => self.unplug(*away, link.clone(), now),
            Order::Plug => self.plug(None, now),
            Order::Reset if !self.is_plugged() => return Err("it is not plugged in".into()),
            Order::Reset => self.reset(now),
            Order::Silence(time) => {
                self.faults.silent_until = Some(now + *time);
                self.cancel(|timer| *timer == Timer::Hears);
                self.at(now + *time, Timer::Hears);
            }
            Order::Stuck => self.stick_in_prompt(),
            Order::Slow(time) => self.faults.slow = *time,
            Order::Latency { command, send } => {
                self.timing.latency = *command;
                self.timing.send = send.unwrap_or(self.timing.send);
            }
            Order::Chop(pace) => self.faults.chop = *pace,
            Order::Garbage(count) => {
                let octets: Vec<u8> = garbage().take(*count).collect();
                self.write_unasked(&octets);
            }
            Order::Endless(count) => self.write_unasked(&vec![b'U'; *count]),
            Order::Storm(count) => {
                let noise = self.personality.noise;
                for number in 0..*count {
                    match noise {
                        [] => self.say_unasked(&format!("+CREG: {}", number % 6)),
                        noise => self.say_unasked(noise[number % noise.len()]),
                    }
                }
            }
            Order::Say(line) => self.say_unasked(line),
            Order::Interrupt(count) => self.faults.interrupt = *count,
            Order::Fault { fate, count, place } => {
                let fault = match fate {
                    Fate::Refused(code) => SendFault::Refuse(failure(*code)),
                    Fate::AnswerLost => SendFault::LoseAnswer,
                    Fate::AnswerBare => SendFault::Bare,
                    Fate::AnswerLate(time) => SendFault::Late(*time),
                };
                self.faults.at_send(*place, *count, &fault);
            }
            Order::Refuse { prefix, failure: code, count } => {
                let fault = match code {
                    Some(code) => CommandFault::Refuse(failure(*code)),
                    None => CommandFault::Ignore,
                };
                self.faults.at_command(prefix, *count, fault);
            }
            Order::Well => {
                self.faults.clear();
                self.effect(Effect::Show("is well".to_string()));
            }
        }
        Ok(())
    }
}

fn failure(code: Code) -> Failure {
    match code {
        Code::Plain => Failure::Plain,
        Code::Cme(number) => Failure::Cme(number),
        Code::Cms(number) => Failure::Cms(number),
    }
}

/// The same octets in each run; no carriage return and no letter of a result code is among them.
fn garbage() -> impl Iterator<Item = u8> {
    let mut state: u32 = 1;
    std::iter::from_fn(move || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        Some((state >> 24) as u8 | 0x80)
    })
}
