//! The port of a modem, and the thread that carries octets, mail and times between it, the router and the [`Driver`].
//!
//! The port is opened twice: by `serialport`, which sets it up, locks it and holds DTR, and once more for reading and
//! writing without waiting, because one poll has to wake for octets, mail, timers and the stop alike.

use super::driver::{Driver, Effect};
use super::pins::PinMemory;
use super::rules::{Port, Rules};
use crate::backends::{BackendError, Line, Mail};
use crate::time::Timestamp;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Registry, Token, Waker};
use rustix::fs::OFlags;
use serialport::{DataBits, ErrorKind, FlowControl, Parity, SerialPort, StopBits, TTYPort};
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

const DEVICE: Token = Token(0);
const MAIL: Token = Token(1);
/// How long DTR stays low, so that the modem notices.
const HANG_UP_TIME: Duration = Duration::from_millis(500);
/// What a device does not take is dropped beyond this; its answers fail to come, and that is acted on.
const UNWRITTEN: usize = 64 * 1024;
/// Octets that are read before anything else has its turn: a device that never pauses does not keep the mail waiting.
const READ_AT_ONCE: usize = 64 * 1024;

/// Runs a modem until the stop, or until it is lost.
pub fn run(line: &Line, rules: Rules, port: &Port, pins: Option<&PinMemory>) -> Result<(), BackendError> {
    let mut poll = Poll::new().map_err(|error| broken("a poll cannot be made", &error))?;
    let waker = Waker::new(poll.registry(), MAIL).map_err(|error| broken("a waker cannot be made", &error))?;
    line.on_mail(move || {
        // It fails only when there is no poll any more, and then nobody waits.
        let _ = waker.wake();
    });
    let start = Instant::now();
    let mut device = Some(Device::open(port, poll.registry())?);
    let mut open_at: Option<Duration> = None;
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
            match Device::open(port, poll.registry()) {
                Ok(opened) => {
                    device = Some(opened);
                    driver.open(start.elapsed());
                }
                Err(error) => driver.lost(&error.to_string(), start.elapsed()),
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
        if let Some(device) = &mut device
            && let Err(error) = device.write()
        {
            driver.lost(&format!("{}: writing failed: {error}", port.path.display()), start.elapsed());
            continue;
        }
        if driver.has_effects() {
            continue;
        }
        let unread = device.as_ref().is_some_and(|device| device.unread);
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
                driver.lost(&format!("{} is gone: {why}", port.path.display()), start.elapsed());
                continue;
            }
        }
        driver.tick(start.elapsed());
    }
}

/// The open port.
struct Device {
    file: File,
    port: TTYPort,
    unwritten: Vec<u8>,
    /// There may be more to read.
    unread: bool,
}

impl Device {
    fn open(settings: &Port, registry: &Registry) -> Result<Device, BackendError> {
        let path = settings.path.as_path();
        let flags = OFlags::NOCTTY | OFlags::NONBLOCK;
        let flags = i32::try_from(flags.bits()).unwrap_or_default();
        let file = OpenOptions::new().read(true).write(true).custom_flags(flags).open(path);
        let file = file.map_err(|error| BackendError::Lost(cannot_open(path, error.kind(), &error.to_string())))?;
        let port = set_up(settings)?;
        let interest = Interest::READABLE.add(Interest::WRITABLE);
        let registered = registry.register(&mut SourceFd(&file.as_raw_fd()), DEVICE, interest);
        registered.map_err(|error| broken("the port cannot be polled", &error))?;
        // What came before the poll knew of the port wakes nobody.
        Ok(Device { file, port, unwritten: Vec::new(), unread: true })
    }

    /// Lets DTR fall, which makes a modem end what it is doing, and closes the port.
    fn hang_up(mut self, registry: &Registry) {
        // Ports without such a wire refuse; closing does the same for those that have one.
        let _ = self.port.write_data_terminal_ready(false);
        let _ = registry.deregister(&mut SourceFd(&self.file.as_raw_fd()));
    }

    fn put(&mut self, octets: &[u8]) {
        if self.unwritten.len() + octets.len() <= UNWRITTEN {
            self.unwritten.extend_from_slice(octets);
        }
    }

    /// Writes what the device takes now; the poll says when it takes more.
    fn write(&mut self) -> io::Result<()> {
        while !self.unwritten.is_empty() {
            match self.file.write(&self.unwritten) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => drop(self.unwritten.drain(..count)),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what there is. Gives why there will be no more, if so.
    fn read(&mut self, octets: &mut Vec<u8>) -> Option<String> {
        self.unread = false;
        let mut buffer = [0; 4096];
        while octets.len() < READ_AT_ONCE {
            match self.file.read(&mut buffer) {
                Ok(0) => return Some("the modem hung up".into()),
                Ok(count) => octets.extend_from_slice(buffer.get(..count).unwrap_or_default()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Some(error.to_string()),
            }
        }
        self.unread = true;
        None
    }
}

fn set_up(settings: &Port) -> Result<TTYPort, BackendError> {
    let flow = match (settings.hardware_flow, settings.software_flow) {
        (true, _) => FlowControl::Hardware,
        (false, true) => FlowControl::Software,
        (false, false) => FlowControl::None,
    };
    let data_bits = match settings.data_bits {
        5 => DataBits::Five,
        6 => DataBits::Six,
        7 => DataBits::Seven,
        _ => DataBits::Eight,
    };
    let parity = match settings.parity {
        'E' => Parity::Even,
        'O' => Parity::Odd,
        _ => Parity::None,
    };
    let stop_bits = if settings.stop_bits == 2 { StopBits::Two } else { StopBits::One };
    let builder = serialport::new(settings.path.to_string_lossy(), settings.speed)
        .data_bits(data_bits)
        .parity(parity)
        .stop_bits(stop_bits)
        .flow_control(flow);
    let mut port = builder.open_native().map_err(|error| {
        let kind = match error.kind() {
            ErrorKind::Io(kind) => kind,
            ErrorKind::NoDevice => io::ErrorKind::ResourceBusy,
            _ => io::ErrorKind::Other,
        };
        BackendError::Lost(cannot_open(&settings.path, kind, &error.to_string()))
    })?;
    // Modems with such wires listen only while they stand high; USB sticks and pseudo-terminals have none and refuse.
    let _ = port.write_data_terminal_ready(true);
    let _ = port.write_request_to_send(true);
    Ok(port)
}

/// What is wrong with a port that cannot be opened, and what to do about it.
fn cannot_open(path: &Path, kind: io::ErrorKind, error: &str) -> String {
    let path = path.display();
    match kind {
        io::ErrorKind::NotFound => {
            format!("{path} is not there: is the modem plugged in? `ls -l /dev/serial/by-id` shows which are")
        }
        io::ErrorKind::PermissionDenied => {
            format!("{path} may not be opened: make this user a member of the port's group (usually `usermod -aG dialout USER`)")
        }
        io::ErrorKind::ResourceBusy => {
            format!("{path} is in use by another program ({error}): stop it (often ModemManager), or tell it to leave this port alone")
        }
        _ => format!("{path} cannot be opened: {error}"),
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
