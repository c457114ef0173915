//! The thread of a modem: it carries octets, mail and times between the port, the router and the [`Driver`], and waits in one place for all
//! of them.
//!
//! Of a stick with several ports it uses one, and listens to the others until it is known which announces (see `trial`). The port is
//! changed between two commands of the driver.

use super::choice::PortMemory;
use super::choosing::Choosing;
use super::device::{Closed, Device};
use super::driver::{Driver, Effect};
use super::others::Place;
use super::pins::PinMemory;
use super::rules::{Port, Rules};
use super::search::{self, Found};
use crate::backends::{BackendError, Line, Mail, Question, wall};
use mio::{Events, Poll, Token, Waker};
use std::io;
use std::time::{Duration, Instant};

const MAIL: Token = Token(1);
/// How long DTR stays low, so that the modem notices.
const HANG_UP_TIME: Duration = Duration::from_millis(500);

/// Runs a modem until the stop, or until it is lost.
pub fn run(
    line: &Line,
    rules: Rules,
    settings: &Port,
    pins: Option<&PinMemory>,
    memory: &PortMemory,
) -> Result<(), BackendError> {
    let mut poll = Poll::new().map_err(|error| broken("a poll cannot be made", &error))?;
    let waker =
        Waker::new(poll.registry(), MAIL).map_err(|error| broken("a waker cannot be made", &error))?;
    line.on_mail(move || {
        // It fails only when there is no poll any more, and then nobody waits.
        let _ = waker.wake();
    });
    let start = Instant::now();
    let Some(found) = search::open(line, settings, memory, &mut poll)? else { return Ok(()) };
    let Found { place, device, several } = found;
    let session = Session {
        line,
        settings,
        pins,
        choosing: Choosing::new(line.name(), memory, several, start.elapsed()),
        poll,
        start,
        driver: Driver::new(rules),
        token: device.token(),
        place,
        device: Some(device),
        open_at: None,
        question: None,
    };
    session.run()
}

/// A modem at its port.
struct Session<'r> {
    line: &'r Line,
    settings: &'r Port,
    pins: Option<&'r PinMemory>,
    choosing: Choosing<'r>,
    poll: Poll,
    start: Instant,
    driver: Driver,
    /// The port in use.
    place: Place,
    token: Token,
    /// `None` while it is closed for a moment.
    device: Option<Device>,
    open_at: Option<Duration>,
    question: Option<Question>,
}

impl Session<'_> {
    fn run(mut self) -> Result<(), BackendError> {
        let mut events = Events::with_capacity(16);
        self.driver.open(self.now());
        loop {
            while let Some(effect) = self.driver.take_effect() {
                if let Some(result) = self.obey(effect) {
                    return result;
                }
            }
            let is_done = self.reopen()
                && self.take_mail()
                && self.write()
                && self.change_port()
                && !self.driver.has_effects();
            if is_done {
                self.wait(&mut events);
                self.read(&events);
            }
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Does what the driver wants. Gives the result when it is over.
    fn obey(&mut self, effect: Effect) -> Option<Result<(), BackendError>> {
        match effect {
            Effect::Write(octets) => {
                if let Some(device) = &mut self.device {
                    device.put(&octets);
                }
            }
            Effect::Deliver(incoming, source) => {
                let result = self.line.deliver(*incoming);
                self.driver.delivered(source, result, self.now());
            }
            Effect::Report(report, source) => {
                let result = self.line.report(report);
                self.driver.reported(source, result, self.now());
            }
            Effect::Sent(id, result) => self.line.sent(id, result),
            Effect::Up(sentence) => self.line.up(&sentence),
            Effect::Note(sentence) => self.line.note(&sentence),
            Effect::Answered(answer) => {
                if let Some(question) = self.question.take() {
                    question.answer(answer);
                }
            }
            Effect::PinTried => return remember(self.pins).err().map(Err),
            Effect::PinWorked => self.pins.into_iter().for_each(PinMemory::forget),
            Effect::Reopen => self.hang_up(),
            Effect::Over(Err(error)) => {
                // Whatever it is that cannot be done at the other port could be done at the first.
                let wrong = self.choosing.was_wrong(&self.place);
                return Some(Err(wrong.map_or(error, BackendError::Lost)));
            }
            Effect::Over(Ok(())) => return Some(Ok(())),
        }
        None
    }

    /// The modem is mute: its port is closed for a moment, or changed if that was to be done anyway.
    fn hang_up(&mut self) {
        let now = self.now();
        if let Some(why) = self.choosing.was_wrong(&self.place) {
            self.driver.lost(&why, now);
        } else if let Some(changed) = self.choosing.change_now(&mut self.driver, &self.place, now) {
            self.use_port(changed);
        } else {
            self.device.take().into_iter().for_each(Device::hang_up);
            self.open_at = Some(now + HANG_UP_TIME);
        }
    }

    /// Opens the port again when it is time for it. `false`: there may be effects now.
    fn reopen(&mut self) -> bool {
        let now = self.now();
        if self.open_at.take_if(|at| *at <= now).is_none() {
            return true;
        }
        match Device::open(self.settings, &self.place.path, self.poll.registry(), self.token) {
            Ok(opened) => {
                self.device = Some(opened);
                self.driver.open(now);
            }
            Err(Closed::Missing(why) | Closed::Locked(why)) => self.lost(&why),
        }
        false
    }

    fn take_mail(&mut self) -> bool {
        let now = self.now();
        if self.line.is_stopping() {
            self.driver.stop(now);
        } else if self.driver.wants_mail()
            && let Mail::Send(outgoing) = self.line.try_next()
        {
            self.driver.send(&outgoing, wall(), now);
            return false;
        }
        if self.question.is_none()
            && self.driver.wants_question()
            && let Some(asked) = self.line.question()
        {
            self.driver.ask(asked.code(), now);
            self.question = Some(asked);
        }
        true
    }

    fn write(&mut self) -> bool {
        let Some(Err(error)) = self.device.as_mut().map(Device::write) else { return true };
        self.lost(&format!("{}: writing failed: {error}", self.place.path.display()));
        false
    }

    fn change_port(&mut self) -> bool {
        let now = self.now();
        let Some(changed) = self.choosing.change(&mut self.driver, &self.place, now) else { return true };
        self.use_port(changed);
        false
    }

    fn use_port(&mut self, (place, device): (Place, Device)) {
        self.token = device.token();
        self.place = place;
        self.device.replace(device).into_iter().for_each(Device::close);
        self.driver.open(self.now());
    }

    fn wait(&mut self, events: &mut Events) {
        let unread = self.device.as_ref().is_some_and(Device::has_unread) || self.choosing.has_unread();
        let deadlines = [self.driver.deadline(), self.choosing.deadline(), self.open_at];
        let wait = match deadlines.into_iter().flatten().min() {
            _ if unread => Some(Duration::ZERO),
            deadline => deadline.map(|deadline| deadline.saturating_sub(self.now())),
        };
        self.line.waiting();
        let polled = self.poll.poll(events, wait);
        self.line.working();
        if let Err(error) = polled
            && error.kind() != io::ErrorKind::Interrupted
        {
            self.lost(&format!("waiting failed: {error}"));
        }
    }

    fn read(&mut self, events: &Events) {
        let awake = events.iter().any(|event| event.token() == self.token);
        if let Some(device) = self.device.as_mut().filter(|device| awake || device.has_unread()) {
            let mut octets = Vec::new();
            let ended = device.read(&mut octets);
            if !octets.is_empty() {
                self.driver.read(&octets, self.start.elapsed());
            }
            if let Some(why) = ended {
                return self.lost(&format!("{} is gone: {why}", self.place.path.display()));
            }
        }
        let now = self.now();
        self.driver.tick(now);
        let registry = self.poll.registry();
        self.choosing.work(&mut self.driver, &self.place, self.settings, registry, events, now);
    }

    fn lost(&mut self, why: &str) {
        self.choosing.is_gone();
        self.driver.lost(why, self.now());
    }
}

fn remember(pins: Option<&PinMemory>) -> Result<(), BackendError> {
    let Some(pins) = pins else { return Ok(()) };
    pins.remember().map_err(|error| {
        BackendError::Refused(format!(
            "PIN: that it was given cannot be remembered in {} ({error}), so it is not given: make its folder writable",
            pins.path().display()
        ))
    })
}

fn broken(what: &str, error: &io::Error) -> BackendError {
    BackendError::Lost(format!("{what}: {error}"))
}
