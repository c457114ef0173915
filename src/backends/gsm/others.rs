//! The other ports of the stick, while it is found out which one announces: opened, asked whether the same modem answers there, and listened to.
//!
//! They are asked two things: whether a modem is there at all (the question with which every dialogue begins) and its number, because the ports
//! of an adapter lead to different modems. What answers otherwise or not at all, or says things without sense, is closed and
//! never used. Nothing waits for them: they run beside the port in use, in the same poll.

use super::device::{Closed, Device};
use super::rules::Port;
use crate::modem::{Command, Dialogue, Happening, Urc, answers};
use mio::{Events, Registry, Token};
use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The poll's names for them begin here.
const FIRST: usize = 16;
/// So many ports are listened to at most; no stick has more that take commands.
const MOST: usize = 8;
/// A port may be in use for a moment, by another backend that looks for its modem.
const AGAIN: Duration = Duration::from_secs(3);
const TRIES: u32 = 4;
/// A port that says so much before it is known to be a modem's is none.
const MOST_OCTETS: usize = 64 * 1024;
/// So many lines without sense, and it is closed.
const MOST_NONSENSE: u32 = 100;
/// So much that came unasked is kept until it is known whether it is the same modem.
const MOST_EARLY: usize = 32;
/// These answer at once, or not at all.
const ANSWER_TIME: Duration = Duration::from_secs(5);

/// A port by its name and its USB interface.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// Its path.
    pub path: PathBuf,
    /// The number of its USB interface.
    pub interface: Option<u8>,
}

/// Who the modem at the port in use is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who<'a> {
    /// It has not been asked yet.
    NotYet,
    /// Its number, if it says one.
    Known(Option<&'a str>),
}

/// All of them.
#[derive(Debug, Default)]
pub struct Others {
    ports: Vec<Other>,
    /// It is in the table of modems, so all its ports are of one modem, also where that says no number.
    is_modem: bool,
}

#[derive(Debug)]
struct Other {
    place: Place,
    token: Token,
    state: State,
}

#[derive(Debug)]
enum State {
    Closed,
    Later { at: Duration, tries: u32 },
    Open(Box<Talk>),
}

#[derive(Debug)]
struct Talk {
    device: Device,
    dialogue: Dialogue,
    asked: Asked,
    commands: VecDeque<Command>,
    /// What came before it was known who is there.
    early: Vec<Urc>,
    octets: usize,
    nonsense: u32,
}

#[derive(Clone, PartialEq, Eq, Debug)]
enum Asked {
    /// Whether a modem is there.
    Whether,
    /// Who it is.
    Who,
    /// It says this.
    Says(Option<String>),
    /// It is the same.
    Same,
}

impl Others {
    /// None is opened before [`Others::listen`].
    pub fn new(places: Vec<Place>, is_modem: bool) -> Others {
        let other =
            |(at, place): (usize, Place)| Other { place, token: Token(FIRST + at), state: State::Closed };
        Others { ports: places.into_iter().take(MOST).enumerate().map(other).collect(), is_modem }
    }

    /// Opens all of them, as soon as possible.
    pub fn listen(&mut self, now: Duration) {
        for other in self.ports.iter_mut().filter(|other| matches!(other.state, State::Closed)) {
            other.state = State::Later { at: now, tries: 0 };
        }
    }

    /// Gives an open port away, and takes the place of the port in use for it.
    pub fn exchange(&mut self, index: usize, place: Place) -> Option<(Place, Device)> {
        let other = self.ports.get_mut(index)?;
        match std::mem::replace(&mut other.state, State::Closed) {
            State::Open(talk) => Some((std::mem::replace(&mut other.place, place), talk.device)),
            _ => None,
        }
    }

    /// Closes all but this one.
    pub fn close_but(&mut self, kept: Option<usize>) {
        for (index, other) in self.ports.iter_mut().enumerate() {
            if Some(index) != kept {
                other.close();
            }
        }
    }

    /// Sets announcing on each that is open, as it was set at the port in use.
    pub fn set_routing(&mut self, arguments: &str) {
        for talk in self.ports.iter_mut().filter_map(Other::talk) {
            let commands = ["AT+CMGF=0".to_string(), format!("AT+CNMI={arguments}")];
            talk.commands = commands.into_iter().map(|text| Command::new(text).within(ANSWER_TIME)).collect();
        }
    }

    /// Whether each is listened to or closed for good, and nothing is being set.
    pub fn are_settled(&self) -> bool {
        self.ports.iter().all(|other| match &other.state {
            State::Closed => true,
            State::Later { .. } => false,
            State::Open(talk) => {
                talk.asked == Asked::Same && talk.commands.is_empty() && talk.dialogue.is_ready()
            }
        })
    }

    /// When [`Others::work`] must be called.
    pub fn deadline(&self) -> Option<Duration> {
        let deadlines = self.ports.iter().filter_map(|other| match &other.state {
            State::Closed => None,
            State::Later { at, .. } => Some(*at),
            State::Open(talk) => talk.dialogue.deadline(),
        });
        deadlines.min()
    }

    /// Whether there may be more to read, of which no poll tells.
    pub fn have_unread(&self) -> bool {
        self.ports.iter().any(|other| matches!(&other.state, State::Open(talk) if talk.device.has_unread()))
    }

    /// Opens, reads, writes and asks what is due. Gives what came unasked, and where.
    pub fn work(
        &mut self,
        settings: &Port,
        registry: &Registry,
        events: &Events,
        who: Who<'_>,
        now: Duration,
    ) -> Vec<(usize, Urc)> {
        let mut heard = Vec::new();
        for (index, other) in self.ports.iter_mut().enumerate() {
            other.open_if_due(settings, registry, now);
            let awake = events.iter().any(|event| event.token() == other.token);
            let State::Open(talk) = &mut other.state else { continue };
            match talk.work(awake, who, self.is_modem, now) {
                Ok(urcs) => heard.extend(urcs.into_iter().map(|urc| (index, urc))),
                Err(why) => {
                    log::debug!("{} is not listened to: {why}", other.place.path.display());
                    other.close();
                }
            }
        }
        heard
    }
}

impl Other {
    fn talk(&mut self) -> Option<&mut Talk> {
        match &mut self.state {
            State::Open(talk) => Some(talk),
            _ => None,
        }
    }

    fn close(&mut self) {
        if let State::Open(talk) = std::mem::replace(&mut self.state, State::Closed) {
            talk.device.close();
        }
    }

    fn open_if_due(&mut self, settings: &Port, registry: &Registry, now: Duration) {
        let State::Later { at, tries } = self.state else { return };
        if now < at {
            return;
        }
        self.state = match open(settings, &self.place.path, registry, self.token, now) {
            Ok(talk) => State::Open(Box::new(talk)),
            Err(Closed::Locked(_)) if tries < TRIES => {
                State::Later { at: now.saturating_add(AGAIN), tries: tries + 1 }
            }
            Err(Closed::Locked(why) | Closed::Missing(why)) => {
                log::info!("{} is not listened to: {why}", self.place.path.display());
                State::Closed
            }
        };
    }
}

fn open(
    settings: &Port,
    path: &Path,
    registry: &Registry,
    token: Token,
    now: Duration,
) -> Result<Talk, Closed> {
    let device = Device::open(settings, path, registry, token)?;
    let mut talk = Talk {
        device,
        dialogue: Dialogue::new(),
        asked: Asked::Whether,
        commands: VecDeque::new(),
        early: Vec::new(),
        octets: 0,
        nonsense: 0,
    };
    for happening in talk.dialogue.open(now) {
        if let Happening::Write(octets) = happening {
            talk.device.put(&octets);
        }
    }
    Ok(talk)
}

impl Talk {
    /// What came unasked; the error says why the port is of no use.
    fn work(&mut self, awake: bool, who: Who<'_>, is_modem: bool, now: Duration) -> Result<Vec<Urc>, String> {
        let mut happened = Vec::new();
        if awake || self.device.has_unread() {
            let mut octets = Vec::new();
            let ended = self.device.read(&mut octets);
            self.octets = self.octets.saturating_add(octets.len());
            happened.extend(self.dialogue.read(&octets, now));
            if let Some(why) = ended {
                return Err(why);
            }
        }
        happened.extend(self.dialogue.tick(now));
        for happening in happened {
            self.hear(happening)?;
        }
        if self.octets > MOST_OCTETS && self.asked == Asked::Whether {
            return Err("it says much, and nothing that a modem says".into());
        }
        if let (Asked::Says(own), Who::Known(wanted)) = (&self.asked, who) {
            match (own.as_deref(), wanted) {
                (Some(own), Some(wanted)) if own == wanted => {}
                (None, _) | (_, None) if is_modem => {}
                _ => return Err("another modem is there".into()),
            }
            self.asked = Asked::Same;
        }
        if let Some(command) = self.commands.pop_front_if(|_| self.dialogue.is_ready()) {
            let sent = self.dialogue.send(command, now).map_err(|_| "it is busy".to_string())?;
            self.device.put(&sent);
        }
        self.device.write().map_err(|error| error.to_string())?;
        Ok(if self.asked == Asked::Same { std::mem::take(&mut self.early) } else { Vec::new() })
    }

    fn hear(&mut self, happening: Happening) -> Result<(), String> {
        match happening {
            Happening::Write(octets) => self.device.put(&octets),
            Happening::Ready if self.asked == Asked::Whether => {
                self.asked = Asked::Who;
                self.commands.push_back(Command::new("AT+CGSN").within(ANSWER_TIME));
            }
            Happening::Answer(answer) if self.asked == Asked::Who => {
                let imei = answers::imei(&answer.lines).filter(|_| answer.is_ok());
                if imei.is_none() && answer.command == "AT+CGSN" {
                    self.commands.push_back(Command::new("AT+GSN").within(ANSWER_TIME));
                } else {
                    self.asked = Asked::Says(imei);
                }
            }
            Happening::Mute => return Err("it does not answer".into()),
            Happening::Urc(Urc::Noise(_) | Urc::Other(_) | Urc::Broadcast(_)) => {}
            Happening::Urc(urc) if self.early.len() < MOST_EARLY => self.early.push(urc),
            Happening::Garbage(_) => {
                self.nonsense += 1;
                if self.nonsense > MOST_NONSENSE {
                    return Err("what it says makes no sense".into());
                }
            }
            _ => {}
        }
        Ok(())
    }
}
