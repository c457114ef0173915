//! The thread of a modem: it carries octets, mail and times between the port, the router and the [`Driver`], and waits in one place for all
//! of them.

use super::device::{Closed, DEVICE, Device};
use super::driver::{Driver, Effect};
use super::pins::PinMemory;
use super::rules::{Port, Rules};
use super::search::{self, Found};
use crate::backends::{BackendError, Line, Mail, Question};
use crate::time::Timestamp;
use mio::{Events, Poll, Token, Waker};
use std::io;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const MAIL: Token = Token(1);
/// How long DTR stays low, so that the modem notices.
const HANG_UP_TIME: Duration = Duration::from_millis(500);
/// Runs a modem until the stop, or until it is lost.
pub fn run(line: &Line, rules: Rules, port: &Port, pins: Option<&PinMemory>) -> Result<(), BackendError> {
    let mut poll = Poll::new().map_err(|error| broken("a poll cannot be made", &error))?;
    let waker =
        Waker::new(poll.registry(), MAIL).map_err(|error| broken("a waker cannot be made", &error))?;
    line.on_mail(move || {
        // It fails only when there is no poll any more, and then nobody waits.
        let _ = waker.wake();
    });
    let start = Instant::now();
    let Found { path, device } = match search::open(line, port, &mut poll)? {
        Some(found) => found,
        None => return Ok(()),
    };
    let mut device = Some(device);
    let mut open_at: Option<Duration> = None;
    let mut question: Option<Question> = None;
    let mut driver = Driver::new(rules);
    driver.open(start.elapsed());
    let mut events = Events::with_capacity(8);
    loop {
        while let Some(effect) = driver.take_effect() {
            match effect {
                Effect::Write(octets) => {
                    if let Some(device) = &mut device {
                        device.put(&octets);
                    }
                }
                Effect::Deliver(incoming, source) => {
                    let result = line.deliver(*incoming);
                    driver.delivered(source, result, start.elapsed());
                }
                Effect::Report(report, source) => {
                    let result = line.report(report);
                    driver.reported(source, result, start.elapsed());
                }
                Effect::Sent(id, result) => line.sent(id, result),
                Effect::Up(sentence) => line.up(&sentence),
                Effect::Note(sentence) => line.note(&sentence),
                Effect::Answered(answer) => {
                    if let Some(question) = question.take() {
                        question.answer(answer);
                    }
                }
                Effect::PinTried => remember(pins)?,
                Effect::PinWorked => pins.into_iter().for_each(PinMemory::forget),
                Effect::Reopen => {
                    if let Some(device) = device.take() {
                        device.hang_up(poll.registry());
                    }
                    open_at = Some(start.elapsed() + HANG_UP_TIME);
                }
                Effect::Over(result) => return result,
            }
        }
        if open_at.is_some_and(|at| at <= start.elapsed()) {
            open_at = None;
            match Device::open(port, &path, poll.registry()) {
                Ok(opened) => {
                    device = Some(opened);
                    driver.open(start.elapsed());
                }
                Err(Closed::Missing(why) | Closed::Locked(why)) => driver.lost(&why, start.elapsed()),
            }
            continue;
        }
        if line.is_stopping() {
            driver.stop(start.elapsed());
        } else if driver.wants_mail()
            && let Mail::Send(outgoing) = line.try_next()
        {
            driver.send(&outgoing, wall(), start.elapsed());
            continue;
        }
        if question.is_none()
            && driver.wants_question()
            && let Some(asked) = line.question()
        {
            driver.ask(asked.code(), start.elapsed());
            question = Some(asked);
        }
        if let Some(device) = &mut device
            && let Err(error) = device.write()
        {
            driver.lost(&format!("{}: writing failed: {error}", path.display()), start.elapsed());
            continue;
        }
        if driver.has_effects() {
            continue;
        }
        let unread = device.as_ref().is_some_and(Device::has_unread);
        let wait = match driver.deadline().into_iter().chain(open_at).min() {
            _ if unread => Some(Duration::ZERO),
            deadline => deadline.map(|deadline| deadline.saturating_sub(start.elapsed())),
        };
        line.waiting();
        let polled = poll.poll(&mut events, wait);
        line.working();
        if let Err(error) = polled
            && error.kind() != io::ErrorKind::Interrupted
        {
            driver.lost(&format!("waiting failed: {error}"), start.elapsed());
            continue;
        }
        if let Some(opened) = &mut device
            && (unread || events.iter().any(|event| event.token() == DEVICE))
        {
            let mut octets = Vec::new();
            let ended = opened.read(&mut octets);
            if !octets.is_empty() {
                driver.read(&octets, start.elapsed());
            }
            if let Some(why) = ended {
                driver.lost(&format!("{} is gone: {why}", path.display()), start.elapsed());
                continue;
            }
        }
        driver.tick(start.elapsed());
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

fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_micros()).unwrap_or(i64::MAX))
}
