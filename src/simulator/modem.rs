//! The line of a modem: echo, command lines, the prompt, results, and what waits for its time (V.250 5.2 and 5.7, 3GPP TS 27.005 3.5.1).
//!
//! What the commands do stands in other files; this one knows when.

mod power;

use super::faults::{CommandFault, Faults, SendFault};
use super::ledger::Entry;
use super::network::{Item, Network, Reporting};
use super::personality::Personality;
use super::services::Call;
use super::sim::{Lock, Sim};
use super::state::{Failure, Job, Mode, Outcome, Profile, Prompt, Subscriber, Timer, Timing};
use super::{Effect, syntax};
use crate::time::Timestamp;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

/// The longest command line.
const LONGEST_LINE: usize = 2_048;
/// The longest text behind a prompt.
const LONGEST_TEXT: usize = 2_048;
/// So many octets wait while a command is at work; further ones are lost, as on a real line.
const LONGEST_WAIT: usize = 8_192;
/// So many octets wait to be written one by one.
const LONGEST_OUTPUT: usize = 65_536;
/// So many lines are kept while a text is being given.
const MOST_UNSAID: usize = 100;
const CR: u8 = b'\r';
const LF: u8 = b'\n';
const BACKSPACE: u8 = 8;
const CTRL_Z: u8 = 0x1A;
const ESCAPE: u8 = 0x1B;

/// One simulated modem.
pub struct Modem {
    pub(super) personality: &'static Personality,
    pub(super) subscriber: Subscriber,
    pub(super) timing: Timing,
    pub(super) profile: Profile,
    pub(super) sim: Sim,
    pub(super) network: Network,
    pub(super) faults: Faults,
    /// A +CMT or +CDS that the other side has to acknowledge.
    pub(super) pushed: Option<Item>,
    /// Indications of `+CNMI` mode 0.
    pub(super) held: VecDeque<Vec<String>>,
    /// Codes with their answers, a menu's choices with their path: `*144#>1`.
    pub(super) codes: BTreeMap<String, String>,
    pub(super) ussd_at: Option<String>,
    pub(super) call: Option<Call>,
    pub(super) is_full: bool,
    /// The network waits so long, for there was no room.
    pub(super) blocked_until: Timestamp,
    /// What it has to say once the text behind the prompt has come.
    unsaid: Vec<String>,
    tells_commands: bool,
    tells_apart: bool,
    plugged: bool,
    /// The latest time that it was told.
    now: Timestamp,
    ready_at: Timestamp,
    line: Vec<u8>,
    mode: Mode,
    waiting: Vec<u8>,
    output: VecDeque<u8>,
    timers: Vec<(Timestamp, Timer)>,
    noise_at: usize,
    effects: Vec<Effect>,
}

impl Modem {
    /// A modem that has just been switched on.
    pub fn new(
        personality: &'static Personality,
        subscriber: Subscriber,
        timing: Timing,
        now: Timestamp,
    ) -> Modem {
        let reporting = Reporting { statuses: &[0x00], after: timing.report };
        let mut modem = Modem {
            personality,
            profile: Profile::new(personality),
            sim: Sim::new(personality, &subscriber.service_center, subscriber.pin.clone()),
            network: Network::new(&subscriber.service_center, reporting),
            faults: Faults::default(),
            pushed: None,
            held: VecDeque::new(),
            codes: super::services::usual_codes(),
            ussd_at: None,
            call: None,
            is_full: false,
            blocked_until: now,
            unsaid: Vec::new(),
            tells_commands: false,
            tells_apart: false,
            plugged: true,
            now,
            ready_at: now,
            line: Vec::new(),
            mode: Mode::Command,
            waiting: Vec::new(),
            output: VecDeque::new(),
            timers: Vec::new(),
            noise_at: 0,
            effects: Vec::new(),
            subscriber,
            timing,
        };
        modem.start(now);
        modem
    }

    /// Its number.
    pub fn number(&self) -> &str {
        &self.subscriber.number
    }

    /// From now on each command line and each end of a text is an entry of the ledger, before it is done.
    pub fn tell_commands(&mut self) {
        self.tells_commands = true;
    }

    /// From now on what it says unasked is an [`Effect::Announce`], because not every port of it hears that.
    pub fn tell_apart(&mut self) {
        self.tells_apart = true;
    }

    /// Whether it waits for the first letter of a command.
    pub fn is_at_rest(&self) -> bool {
        matches!(self.mode, Mode::Command) && self.line.is_empty()
    }

    /// Whoever began a line or a text has closed the port: it is forgotten.
    pub fn forget_line(&mut self) {
        self.line.clear();
        self.waiting.clear();
        if let Mode::Prompt(..) = self.mode {
            self.mode = Mode::Command;
        }
    }

    /// Takes octets from the port.
    pub fn read(&mut self, octets: &[u8], now: Timestamp) {
        self.tick(now);
        if !self.plugged || self.faults.silent_until.is_some() {
            return;
        }
        for octet in octets {
            // A command may have switched it off.
            if !self.plugged {
                return;
            }
            match &mut self.mode {
                Mode::Busy(_) if self.waiting.len() < LONGEST_WAIT => self.waiting.push(*octet),
                Mode::Busy(_) => {}
                Mode::Command => self.command_octet(*octet, now),
                Mode::Prompt(..) => self.prompt_octet(*octet, now),
            }
        }
        self.tick(now);
    }

    /// Does what was due by now.
    pub fn tick(&mut self, now: Timestamp) {
        while self.timers.first().is_some_and(|(at, _)| *at <= now) {
            let (at, timer) = self.timers.remove(0);
            self.now = self.now.max(at);
            self.ring_out(timer, self.now);
        }
        self.now = self.now.max(now);
    }

    /// When [`Modem::tick`] has something to do.
    pub fn deadline(&self) -> Option<Timestamp> {
        self.timers.first().map(|(at, _)| *at)
    }

    /// What it has done since the last call, in order.
    pub fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// Whether it has a port at present.
    pub fn is_plugged(&self) -> bool {
        self.plugged
    }

    fn ring_out(&mut self, timer: Timer, now: Timestamp) {
        match timer {
            Timer::Job => self.job_done(now),
            Timer::Boot(line) => self.announce(line),
            Timer::Noise => self.make_noise(now),
            Timer::Octet => self.next_octet(now),
            Timer::Hears => self.faults.silent_until = None,
            Timer::Unacknowledged => self.unacknowledged("no acknowledgement in time", now),
            Timer::Network => self.deliver_waiting(now),
            Timer::Report { reference, to, taken, status } => self.report(reference, &to, taken, status, now),
            Timer::Ring => self.ring_again(now),
            Timer::CallerHangsUp => self.call_over("the caller hung up", now),
            Timer::Ussd { state, text } => self.ussd_answer(state, &text),
            Timer::Plug { link } => self.plug(link, now),
            Timer::Repeat(repeat) => self.repeat(*repeat, now),
        }
    }

    // The line.

    fn command_octet(&mut self, octet: u8, now: Timestamp) {
        if self.profile.echo {
            self.write(&[octet]);
        }
        match octet {
            CR => {
                let line = std::mem::take(&mut self.line);
                self.command_line(&line, now);
            }
            LF | ESCAPE | CTRL_Z | 0 => {}
            BACKSPACE => {
                self.line.pop();
            }
            _ if self.line.len() >= LONGEST_LINE => {}
            _ => self.line.push(octet),
        }
    }

    /// What stands before `AT` is not looked at, and a line without it is none (V.250 5.2.1).
    fn command_line(&mut self, line: &[u8], now: Timestamp) {
        let line = String::from_utf8_lossy(line).into_owned();
        let Some(start) = line.to_ascii_uppercase().find("AT") else { return };
        let Some(rest) = line.get(start + 2..) else { return };
        if line.len() >= LONGEST_LINE {
            return self.failed(Failure::Plain);
        }
        if self.tells_commands {
            self.record(Entry::new(now, "command").with("line", rest));
        }
        let fault = self.faults.next_command(rest);
        match fault {
            Some(CommandFault::Ignore) => return,
            Some(CommandFault::Refuse(failure)) => return self.failed(failure),
            None => {}
        }
        let wait = self.timing.latency + self.faults.slow;
        self.work(Job::Line(rest.to_string()), wait, now);
    }

    /// Begins a job that takes so long; without a wait it is done at once.
    pub(super) fn work(&mut self, job: Job, wait: Duration, now: Timestamp) {
        self.mode = Mode::Busy(job);
        if wait.is_zero() {
            self.job_done(now);
        } else {
            self.at(now + wait, Timer::Job);
        }
    }

    fn job_done(&mut self, now: Timestamp) {
        let Mode::Busy(job) = std::mem::replace(&mut self.mode, Mode::Command) else { return };
        match job {
            Job::Line(line) => self.execute(&line, now),
            Job::Transmit(submission) => self.transmit(*submission, now),
            Job::Answer(lines) => self.succeeded(&lines),
        }
        if !matches!(self.mode, Mode::Busy(_)) && !self.waiting.is_empty() {
            let waiting = std::mem::take(&mut self.waiting);
            self.read(&waiting, now);
        }
    }

    fn execute(&mut self, line: &str, now: Timestamp) {
        let Some(commands) = syntax::commands(line) else { return self.failed(Failure::Plain) };
        let mut has_ok = true;
        for command in commands {
            has_ok &= !self.personality.without_ok.contains(&command.name.as_str());
            match self.run(&command, now) {
                Outcome::Lines(lines) => self.information(&lines),
                Outcome::Fail(failure) => return self.failed(failure),
                Outcome::Later => return,
                Outcome::Prompt(prompt) => {
                    self.write(self.personality.prompt.as_bytes());
                    self.mode = Mode::Prompt(prompt, Vec::new());
                    return;
                }
            }
        }
        if has_ok {
            self.result("OK", 0);
        }
    }

    fn run(&mut self, command: &syntax::Command, now: Timestamp) -> Outcome {
        if let Some(shut) = self.shut(&command.name, now) {
            return Outcome::Fail(shut);
        }
        let name = command.name.as_str();
        if self.personality.lacks.contains(&name) {
            return Outcome::Fail(Failure::Unknown);
        }
        if let Some((_, lines)) = self.personality.own.iter().find(|(own, _)| *own == name) {
            return self.own_command(command, lines);
        }
        self.general(command, now)
            .or_else(|| self.message_command(command, now))
            .or_else(|| self.service(command, now))
            .unwrap_or(Outcome::Fail(Failure::Unknown))
    }

    fn own_command(&mut self, command: &syntax::Command, lines: &[&str]) -> Outcome {
        let syntax::Form::Set(argument) = &command.form else {
            return Outcome::Lines(lines.iter().map(|line| (*line).to_string()).collect());
        };
        if self.personality.noise_off == Some(&format!("{}={argument}", command.name)) {
            self.profile.noise = false;
            self.timers.retain(|(_, timer)| *timer != Timer::Noise);
        }
        Outcome::ok()
    }

    /// Why this command cannot be done while the card is shut or still starting.
    fn shut(&self, name: &str, now: Timestamp) -> Option<Failure> {
        let about_messages = ["+CMG", "+CPMS", "+CNMI", "+CMSS", "+CNMA", "+CSCA"];
        let about_messages = about_messages.iter().any(|begin| name.starts_with(begin)) && name != "+CMGF";
        let needs_card = ["+CNUM", "+CIMI", "+CUSD", "+COPS", "+CPIN"].contains(&name);
        if !about_messages && !needs_card {
            return None;
        }
        if now < self.ready_at {
            return Some(if about_messages { Failure::Cms(314) } else { Failure::Cme(14) });
        }
        if name == "+CPIN" {
            return None;
        }
        let (cms, cme) = match self.sim.lock {
            Lock::Open => return None,
            Lock::Pin => (311, 11),
            Lock::Puk => (316, 12),
            Lock::Dead => (310, 13),
        };
        Some(if about_messages { Failure::Cms(cms) } else { Failure::Cme(cme) })
    }

    fn prompt_octet(&mut self, octet: u8, now: Timestamp) {
        let Mode::Prompt(_, text) = &mut self.mode else { return };
        match octet {
            ESCAPE | CTRL_Z => {}
            BACKSPACE => {
                text.pop();
            }
            _ if text.len() >= LONGEST_TEXT => {}
            _ => text.push(octet),
        }
        if self.profile.echo && !matches!(octet, ESCAPE | CTRL_Z) {
            self.write(&[octet]);
        }
        if !matches!(octet, ESCAPE | CTRL_Z) {
            return;
        }
        let Mode::Prompt(prompt, text) = std::mem::replace(&mut self.mode, Mode::Command) else { return };
        if self.tells_commands {
            let line = if octet == ESCAPE { "<ESC>" } else { "<Ctrl-Z>" };
            self.record(Entry::new(now, "command").with("line", line));
        }
        if octet == ESCAPE {
            self.result("OK", 0);
        } else {
            self.text_given(prompt, &text, now);
        }
        for line in std::mem::take(&mut self.unsaid) {
            self.announce(&line);
        }
    }

    // What it says.

    /// Octets as they are.
    pub(super) fn write(&mut self, octets: &[u8]) {
        if !self.plugged || self.faults.silent_until.is_some() || octets.is_empty() {
            return;
        }
        if self.faults.chop.is_some() || !self.output.is_empty() {
            let room = LONGEST_OUTPUT.saturating_sub(self.output.len());
            let is_idle = self.output.is_empty();
            self.output.extend(octets.iter().take(room));
            if is_idle {
                self.at(self.now, Timer::Octet);
            }
            return;
        }
        if let Some(Effect::Write(last)) = self.effects.last_mut() {
            last.extend_from_slice(octets);
        } else {
            self.effects.push(Effect::Write(octets.to_vec()));
        }
    }

    fn next_octet(&mut self, now: Timestamp) {
        let Some(octet) = self.output.pop_front() else { return };
        self.effects.push(Effect::Write(vec![octet]));
        let pace = self.faults.chop.unwrap_or_default();
        if !self.output.is_empty() {
            self.at(now + pace, Timer::Octet);
        }
    }

    /// A line by itself.
    fn say(&mut self, line: &str) {
        let line = self.as_line(line);
        self.write(line.as_bytes());
    }

    /// A line of its own accord, whatever it is doing.
    pub(super) fn say_unasked(&mut self, line: &str) {
        let line = self.as_line(line);
        self.write_unasked(line.as_bytes());
    }

    fn as_line(&self, line: &str) -> String {
        if self.profile.verbose { format!("\r\n{line}\r\n") } else { format!("{line}\r\n") }
    }

    /// Octets of its own accord.
    pub(super) fn write_unasked(&mut self, octets: &[u8]) {
        if !self.tells_apart {
            return self.write(octets);
        }
        if self.plugged && self.faults.silent_until.is_none() && !octets.is_empty() {
            self.effects.push(Effect::Announce(octets.to_vec()));
        }
    }

    /// A line of its own accord, which polite modems keep for themselves while a text is being given.
    pub(super) fn announce(&mut self, line: &str) {
        if matches!(self.mode, Mode::Prompt(..)) && !self.personality.interrupts {
            if self.unsaid.len() < MOST_UNSAID {
                self.unsaid.push(line.to_string());
            }
            return;
        }
        self.say_unasked(&self.personality.spelled(line));
    }

    /// An answer before its result.
    fn information(&mut self, lines: &[String]) {
        if lines.is_empty() {
            return;
        }
        let mut text = if self.profile.verbose { "\r\n".to_string() } else { String::new() };
        for (index, line) in lines.iter().enumerate() {
            text.push_str(&self.personality.spelled(line));
            let is_last = index + 1 == lines.len();
            let is_glued = self.personality.glued_list
                && lines.get(index + 1).is_some_and(|next| next.starts_with("+CMGL:"));
            if is_last || !is_glued {
                text.push_str("\r\n");
            }
        }
        if self.faults.interrupt > 0 {
            self.faults.interrupt -= 1;
            let line = self.personality.noise.first().copied().unwrap_or("^RSSI:9");
            // Between a header and its PDU where there are two; within a line no modem interrupts itself.
            let header = lines.first().filter(|_| lines.len() > 1).map_or(0, |line| line.len() + 4);
            text.insert_str(header.min(text.len()), &format!("\r\n{line}\r\n"));
        }
        self.write(text.as_bytes());
    }

    pub(super) fn succeeded(&mut self, lines: &[String]) {
        self.information(lines);
        self.result("OK", 0);
    }

    /// The final result (V.250 5.7.1).
    pub(super) fn result(&mut self, words: &str, number: u8) {
        if self.profile.quiet {
            return;
        }
        let line = if self.profile.verbose { format!("\r\n{words}\r\n") } else { format!("{number}\r") };
        self.write(line.as_bytes());
    }

    pub(super) fn failed(&mut self, failure: Failure) {
        const ERROR: u8 = 4;
        match failure {
            Failure::Plain => self.result("ERROR", ERROR),
            Failure::Unknown => self.result(self.personality.unknown, ERROR),
            Failure::Cme(_) if self.profile.errors == 0 => self.result("ERROR", ERROR),
            Failure::Cme(code) if self.profile.errors == 2 => {
                self.say(&format!("+CME ERROR: {}", super::general::cme_words(code)));
            }
            Failure::Cme(code) => self.say(&format!("+CME ERROR: {code}")),
            Failure::Cms(code) => self.say(&format!("+CMS ERROR: {code}")),
        }
    }

    fn make_noise(&mut self, now: Timestamp) {
        let noise = self.personality.noise;
        if self.profile.noise && !noise.is_empty() {
            self.announce(noise[self.noise_at % noise.len()]);
            self.noise_at += 1;
            self.at(now + Duration::from_secs(self.personality.noise_seconds), Timer::Noise);
        }
    }

    /// Whether the service center can reach it now.
    pub(super) fn is_reachable(&self, now: Timestamp) -> bool {
        self.plugged
            && now >= self.ready_at
            && self.profile.functionality == 1
            && self.sim.lock == Lock::Open
            && self.network.is_registered()
    }

    pub(super) fn record(&mut self, entry: Entry) {
        self.effects.push(Effect::Record(entry));
    }

    pub(super) fn effect(&mut self, effect: Effect) {
        self.effects.push(effect);
    }

    /// Something will happen at that time, behind whatever else happens then.
    pub(super) fn at(&mut self, at: Timestamp, timer: Timer) {
        let place = self.timers.partition_point(|(other, _)| *other <= at);
        self.timers.insert(place, (at, timer));
    }

    /// Whether this will happen by then.
    pub(super) fn is_due_by(&self, at: Timestamp, timer: &Timer) -> bool {
        self.timers.iter().any(|(when, other)| *when <= at && other == timer)
    }

    pub(super) fn cancel(&mut self, concerns: impl Fn(&Timer) -> bool) {
        self.timers.retain(|(_, timer)| !concerns(timer));
    }

    pub(super) fn stick_in_prompt(&mut self) {
        self.mode = Mode::Prompt(Prompt::Send { length: 20 }, Vec::new());
    }

    pub(super) fn next_send_fault(&mut self) -> Option<SendFault> {
        self.faults.next_send()
    }
}

pub(super) fn unacknowledged_entry(item: &Item, reason: &str, now: Timestamp) -> Entry {
    super::routing::entry(now, "unacknowledged", item.origin).with("reason", reason)
}
