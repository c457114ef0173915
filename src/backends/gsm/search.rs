//! Which port: the one that the settings name, or the one behind which the modem is that they mean. When there is none,
//! it is waited for until something is plugged in; nothing is asked meanwhile.
//!
//! A stick has several ports and a modem keeps none of their names when it is plugged in again, so settings may name the modem instead: by
//! where it is plugged in, by its serial number, or by numbers that only the modem knows (`AT+CGSN`, `AT+CIMI`, `AT+CCID`). For
//! those each candidate is asked in turn, politely: nothing is set, and no PIN is given. Of several ports that answer, the first is taken; whether
//! it is the one that announces is for [`trial`](super::trial) to find out.

use super::choice::{Finding, PortMemory, Stick};
use super::device::{Closed, DEVICE, Device};
use super::others::Place;
use super::rules::Port;
use crate::backends::{BackendError, Line};
use crate::devices::{self, Identity, Kind, Machine, Role};
use crate::modem::{Command, Dialogue, Happening, answers};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};
use std::fs::File;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const CHANGES: Token = Token(2);
/// A candidate that says nothing for so long is not the modem, or not now.
const ASK_TIME: Duration = Duration::from_secs(2);
/// After something was plugged in, its links and permissions follow within this.
const SETTLE_TIME: Duration = Duration::from_millis(300);
/// Whatever the kernel says or does not say, it is looked again after this: a port may have been in use, a stick answers some seconds after it was
/// plugged in only. So often; then later each time.
const LOOK_AGAIN: Duration = Duration::from_secs(2);
const LOOKS_SOON: u32 = 15;
const LATEST_LOOK: Duration = Duration::from_secs(60);

/// An open port.
pub struct Found {
    /// Its name now.
    pub place: Place,
    /// The port.
    pub device: Device,
    /// The stick with its other ports; `None` when the settings name the port, or when there are no others that may be asked.
    pub several: Option<Several>,
}

/// What is known about a stick with several ports.
pub struct Several {
    /// Which one.
    pub stick: Stick,
    /// It is in the table of modems.
    pub is_modem: bool,
    /// The port that was opened is known to announce.
    pub is_known: bool,
    /// Its other ports.
    pub others: Vec<Place>,
    /// Which of them is no good for commands.
    pub avoided: Option<usize>,
}

/// Opens the port, and waits for it as long as it is not there. `None`: it is time to stop.
pub fn open(
    line: &Line,
    settings: &Port,
    memory: &PortMemory,
    poll: &mut Poll,
) -> Result<Option<Found>, BackendError> {
    // Watched before the first look, so that nothing is plugged in unseen between the two.
    let mut changes = Changes::watch(&settings.identity, poll)?;
    let mut said = String::new();
    let mut patience = LOOK_AGAIN;
    let mut looks = 0;
    loop {
        match look(line, settings, memory, poll) {
            Ok(found) => return Ok(Some(found)),
            Err(Closed::Locked(why)) => return Err(BackendError::Lost(why)),
            Err(Closed::Missing(why)) => {
                if said != why {
                    log::warn!("backend {}: {why}; waiting for it", line.name());
                    line.note(&format!("waiting for the modem: {why}"));
                    said = why;
                }
            }
        }
        looks += 1;
        match changes.wait(line, poll, apart(line.name(), looks, patience))? {
            Waited::Stop => return Ok(None),
            Waited::Changed => (patience, looks) = (LOOK_AGAIN, 0),
            Waited::Nothing if looks < LOOKS_SOON => {}
            Waited::Nothing => patience = patience.saturating_mul(2).min(LATEST_LOOK),
        }
    }
}

/// A part of the patience, another for each backend and each time: two that ask the same sticks at the same moment find each other's port
/// in use, and would do so for ever.
fn apart(name: &str, looks: u32, patience: Duration) -> Duration {
    let mut hash = DefaultHasher::new();
    (name, looks).hash(&mut hash);
    let share = u32::try_from(hash.finish() % 56).unwrap_or_default() + 8;
    patience.saturating_mul(share) / 64
}

fn look(line: &Line, settings: &Port, memory: &PortMemory, poll: &mut Poll) -> Result<Found, Closed> {
    let machine = Machine::here();
    if let Identity::Port(path) = &settings.identity {
        let device = Device::open(settings, path, poll.registry(), DEVICE)?;
        let place = Place { path: path.clone(), interface: None };
        return Ok(Found { place, device, several: None });
    }
    let mut heard = Vec::new();
    for device in machine.find(&settings.identity) {
        let stick = Stick::of(&device);
        let recalled = stick.as_ref().and_then(|stick| memory.recall(stick));
        let ports = in_order(&device, recalled);
        for port in &ports {
            if line.is_stopping() {
                return Err(Closed::Missing("the router stops".into()));
            }
            match Device::open(settings, &port.path, poll.registry(), DEVICE) {
                Err(Closed::Missing(why) | Closed::Locked(why)) => heard.push(why),
                Ok(mut opened) => match ask(line, &mut opened, &settings.identity, poll) {
                    Ok(()) => {
                        let several = stick.and_then(|stick| several(stick, &device, &ports, port, recalled));
                        return Ok(Found { place: place(port), device: opened, several });
                    }
                    Err(why) => {
                        opened.close();
                        heard.push(format!("{}: {why}", port.path.display()));
                    }
                },
            }
        }
    }
    let found = if heard.is_empty() {
        "nothing that could be it is plugged in".to_string()
    } else {
        heard.join("; ")
    };
    Err(Closed::Missing(format!("there is no modem with {}: {found}", settings.identity)))
}

/// Its ports that may be asked: the one that is known to announce first, the one that is no good for commands last.
fn in_order(device: &devices::Device, recalled: Option<(u8, Finding)>) -> Vec<devices::Port> {
    let mut ports: Vec<devices::Port> =
        device.ports.iter().filter(|port| port.role != Role::Silent).cloned().collect();
    ports.sort_by_key(|port| match recalled {
        Some((interface, Finding::Announces)) if port.interface == Some(interface) => 0,
        Some((interface, Finding::Avoid)) if port.interface == Some(interface) => 2,
        _ => 1,
    });
    ports
}

/// What is known when this port was opened.
fn several(
    stick: Stick,
    device: &devices::Device,
    ports: &[devices::Port],
    opened: &devices::Port,
    recalled: Option<(u8, Finding)>,
) -> Option<Several> {
    // The ports of an adapter lead to different modems.
    if ports.len() < 2 || matches!(device.kind, Kind::Adapter | Kind::Other | Kind::Console) {
        return None;
    }
    let others: Vec<Place> = ports.iter().filter(|port| port.path != opened.path).map(place).collect();
    let is = |finding, interface| {
        recalled.is_some_and(|(recalled, what)| what == finding && Some(recalled) == interface)
    };
    Some(Several {
        stick,
        is_modem: device.kind == Kind::Modem,
        is_known: opened.role == Role::Main || is(Finding::Announces, opened.interface),
        avoided: others.iter().position(|other| is(Finding::Avoid, other.interface)),
        others,
    })
}

fn place(port: &devices::Port) -> Place {
    Place { path: port.path.clone(), interface: port.interface }
}

/// Asks who is there. `Ok`: the one who is meant.
fn ask(line: &Line, device: &mut Device, identity: &Identity, poll: &mut Poll) -> Result<(), String> {
    type Read = fn(&[String]) -> Option<String>;
    let (questions, wanted, read): (&[&str], &str, Read) = match identity {
        Identity::Imei(imei) => (&["AT+CGSN", "AT+GSN"], imei, answers::imei),
        Identity::Imsi(imsi) => (&["AT+CIMI"], imsi, answers::imsi),
        Identity::Iccid(iccid) => (&["AT+CCID", "AT+ICCID", "AT^ICCID?"], iccid, answers::iccid),
        // Any port of it that answers will do.
        Identity::Port(_) | Identity::Usb(_) | Identity::Serial(_) => (&["AT"], "", |_| Some(String::new())),
    };
    let mut questions = questions.iter();
    let start = Instant::now();
    let mut dialogue = Dialogue::new();
    let mut happened: Vec<Happening> = dialogue.open(Duration::ZERO);
    let mut events = Events::with_capacity(4);
    loop {
        let now = start.elapsed();
        for happening in std::mem::take(&mut happened) {
            match happening {
                Happening::Write(octets) => device.put(&octets),
                Happening::Answer(answer) if answer.is_ok() => match read(&answer.lines) {
                    Some(number) if number == wanted.trim() => return Ok(()),
                    Some(number) => return Err(format!("it is {number}")),
                    None => {}
                },
                Happening::Mute => return Err("it does not answer".into()),
                _ => {}
            }
        }
        if dialogue.is_ready() {
            let Some(question) = questions.next() else {
                return Err("it does not say who it is; is its SIM locked?".into());
            };
            let sent =
                dialogue.send(Command::new(question).within(Duration::from_secs(3)).expects("+ICCID"), now);
            device.put(&sent.map_err(|_| "it is busy".to_string())?);
        }
        device.write().map_err(|error| error.to_string())?;
        if now >= ASK_TIME {
            return Err("it does not answer".into());
        }
        if line.is_stopping() {
            return Err("the router stops".into());
        }
        let deadline = dialogue.deadline().unwrap_or(ASK_TIME).min(ASK_TIME);
        let wait = if device.has_unread() { Duration::ZERO } else { deadline.saturating_sub(now) };
        rest(line, poll, &mut events, Some(wait)).map_err(|error| error.to_string())?;
        if device.has_unread() || events.iter().any(|event| event.token() == DEVICE) {
            let mut octets = Vec::new();
            let ended = device.read(&mut octets);
            happened.extend(dialogue.read(&octets, start.elapsed()));
            if let Some(why) = ended {
                return Err(why);
            }
        }
        happened.extend(dialogue.tick(start.elapsed()));
    }
}

enum Waited {
    Changed,
    Nothing,
    Stop,
}

/// Tells when something may have been plugged in.
struct Changes {
    file: File,
}

impl Changes {
    fn watch(identity: &Identity, poll: &Poll) -> Result<Changes, BackendError> {
        let broken =
            |error: io::Error| BackendError::Lost(format!("what is plugged in cannot be watched: {error}"));
        let watch = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC)
            .map_err(|errno| broken(errno.into()))?;
        let mut folders = vec![Machine::here().ports_folder()];
        if let Identity::Port(path) = identity {
            folders.extend(existing_folder(path));
        }
        for folder in folders {
            let kinds = WatchFlags::CREATE | WatchFlags::MOVED_TO | WatchFlags::ATTRIB;
            if let Err(errno) = inotify::add_watch(&watch, &folder, kinds) {
                log::debug!("{} cannot be watched: {errno}", folder.display());
            }
        }
        let file = File::from(watch);
        poll.registry()
            .register(&mut SourceFd(&file.as_raw_fd()), CHANGES, Interest::READABLE)
            .map_err(broken)?;
        Ok(Changes { file })
    }

    /// Waits until something has changed and settled, for `patience` at most.
    fn wait(&mut self, line: &Line, poll: &mut Poll, patience: Duration) -> Result<Waited, BackendError> {
        let mut events = Events::with_capacity(4);
        let mut until = Instant::now() + patience;
        let mut changed = false;
        while !line.is_stopping() {
            let wait = until.saturating_duration_since(Instant::now());
            if wait.is_zero() {
                return Ok(if changed { Waited::Changed } else { Waited::Nothing });
            }
            rest(line, poll, &mut events, Some(wait))
                .map_err(|error| BackendError::Lost(format!("waiting failed: {error}")))?;
            if events.iter().any(|event| event.token() == CHANGES) {
                self.drain();
                if !std::mem::replace(&mut changed, true) {
                    until = Instant::now() + SETTLE_TIME;
                }
            }
        }
        Ok(Waited::Stop)
    }

    fn drain(&mut self) {
        let mut buffer = [0; 4096];
        while self.file.read(&mut buffer).is_ok_and(|count| count > 0) {}
    }
}

/// Waits for whatever the poll has.
fn rest(line: &Line, poll: &mut Poll, events: &mut Events, wait: Option<Duration>) -> io::Result<()> {
    line.waiting();
    let polled = poll.poll(events, wait);
    line.working();
    match polled {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
        polled => polled,
    }
}

/// The nearest folder above that there is: `/dev/serial/by-id` is only there while something is plugged in.
fn existing_folder(path: &Path) -> Option<PathBuf> {
    path.ancestors().skip(1).find(|folder| folder.is_dir()).map(Path::to_path_buf)
}
