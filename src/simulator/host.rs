//! The simulated modems of one process: pseudo-terminals (`port`), orders (`orders`), the ledger and one poll that waits for all of them. No
//! thread, no pause.
//!
//! A modem's port is a pseudo-terminal with a link to it under a steady name. An unplugged modem's terminal is closed, so whoever has it open meets
//! the end of it as with a real stick; the next one is opened before, so that it has another name. A modem may have several; the link to the
//! second ends in `.1`. The other end is kept open here as well:
//! the kernel would forget the raw mode otherwise, and echo the modem's own words back to it. What a modem says while nobody has its port
//! open is lost, as it is with a real one; whether somebody has is learnt from the kernel's notices about the terminal's file.

mod orders;
mod port;

use super::ledger::Entry;
use super::ports::{MOST_PORTS, PortKind, Ports};
use super::{Carried, Effect, Modem, Subscriber, Timing, personality::Personality};
use crate::time::Timestamp;
use mio::net::{UnixListener, UnixStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use orders::{Source, has_happened, limited, read_all};
use port::{Port, flush, open_port, place_link, remove_link};
use rustix::fs::inotify;
use rustix::termios::{QueueSelector, tcflush};
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

const SIGNALS: Token = Token(0);
const STANDARD_INPUT: Token = Token(1);
const LISTENER: Token = Token(2);
const NOTICES: Token = Token(3);
/// Orders of a script count as those of a client of this number.
const SCRIPT: usize = 4;
const FIRST_MODEM: usize = 16;
const FIRST_CLIENT: usize = 1 << 20;

/// So many modems fit into one process.
pub const MOST_MODEMS: usize = 1_000;
/// A modem whose words nobody reads keeps so many octets; further ones are lost, as on a real line.
const MOST_BACKLOG: usize = 65_536;
/// So many octets are read from one port before the others have their turn.
const READ_AT_ONCE: usize = 4_096;

/// One modem to be simulated.
pub struct Setup {
    /// Its name in orders and in the ledger.
    pub name: String,
    /// Where a link to its port shall be.
    pub link: Option<PathBuf>,
    /// What kind of modem it is.
    pub personality: &'static Personality,
    /// Whose card is in it.
    pub subscriber: Subscriber,
    /// How long things take.
    pub timing: Timing,
    /// What its ports are for, in order; none: one for everything.
    pub ports: Vec<PortKind>,
}

/// What the process shall do.
pub struct Setting {
    /// The modems.
    pub modems: Vec<Setup>,
    /// Where to write down what happens.
    pub ledger: Option<PathBuf>,
    /// A file of orders, done from the start.
    pub script: Option<PathBuf>,
    /// A Unix socket that takes orders.
    pub control: Option<PathBuf>,
    /// Each command line is an entry of the ledger, too.
    pub tell_commands: bool,
}

/// Why the simulation cannot go on: a sentence.
#[derive(Debug)]
pub struct HostError(String);

impl fmt::Display for HostError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for HostError {}

/// Simulates until a signal, `quit`, or the end of a terminal's input. What modems send is shown on `out`, what was wrong with orders on `talk`.
pub fn run(setting: &Setting, out: &mut dyn Write, talk: &mut dyn Write) -> Result<(), HostError> {
    let mut host = Host::new(setting, out, talk)?;
    while !host.quits {
        host.work()?;
        if !host.quits {
            host.wait()?;
        }
    }
    Ok(())
}

struct Seat {
    name: String,
    modem: Modem,
    link: Option<PathBuf>,
    kinds: Ports,
    /// None while it is not plugged in.
    ports: Vec<Port>,
    /// The ports after the next plugging, opened early for the sake of their names.
    next: Vec<Port>,
    /// How many entries of each kind the ledger has of it.
    counts: BTreeMap<&'static str, u64>,
}

impl Seat {
    /// `/tmp/zain` leads to the first port, `/tmp/zain.1` to the second.
    fn link_of(&self, place: usize) -> Option<PathBuf> {
        let link = self.link.as_ref()?;
        if place == 0 {
            return Some(link.clone());
        }
        let mut link = link.clone().into_os_string();
        link.push(format!(".{place}"));
        Some(PathBuf::from(link))
    }

    /// Octets for whoever has this port open.
    fn say(&mut self, place: usize, octets: &[u8]) {
        let Some(port) = self.ports.get_mut(place).filter(|port| port.listeners > 0) else { return };
        let room = MOST_BACKLOG.saturating_sub(port.backlog.len());
        port.backlog.extend(octets.iter().take(room));
        flush(port);
    }
}

struct Host<'w> {
    poll: Poll,
    started: Instant,
    started_at: Timestamp,
    signals: UnixStream,
    seats: Vec<Seat>,
    names: BTreeMap<String, usize>,
    numbers: BTreeMap<String, usize>,
    ledger: Option<File>,
    /// Notices about the files of ports, with modem and place of each. Without them every port counts as open.
    notices: Option<OwnedFd>,
    watched: BTreeMap<i32, (usize, usize)>,
    listener: Option<(UnixListener, PathBuf)>,
    sources: BTreeMap<usize, Source>,
    next_client: usize,
    quits: bool,
    out: &'w mut dyn Write,
    talk: &'w mut dyn Write,
}

impl<'w> Host<'w> {
    fn new(
        setting: &Setting,
        out: &'w mut dyn Write,
        talk: &'w mut dyn Write,
    ) -> Result<Host<'w>, HostError> {
        let poll = Poll::new().map_err(said("no events can be waited for"))?;
        let (mut signals, theirs) = UnixStream::pair().map_err(said("no pipe for signals"))?;
        for signal in [signal_hook::consts::SIGTERM, signal_hook::consts::SIGINT, signal_hook::consts::SIGHUP]
        {
            let theirs = theirs.as_fd().try_clone_to_owned().map_err(said("no pipe for signals"))?;
            signal_hook::low_level::pipe::register(signal, theirs)
                .map_err(said("signals cannot be caught"))?;
        }
        poll.registry()
            .register(&mut signals, SIGNALS, Interest::READABLE)
            .map_err(said("signals cannot be waited for"))?;
        let mut host = Host {
            poll,
            started: Instant::now(),
            started_at: wall_clock(),
            signals,
            seats: Vec::new(),
            names: BTreeMap::new(),
            numbers: BTreeMap::new(),
            ledger: setting.ledger.as_deref().map(open_ledger).transpose()?,
            notices: None,
            watched: BTreeMap::new(),
            listener: None,
            sources: BTreeMap::new(),
            next_client: FIRST_CLIENT,
            quits: false,
            out,
            talk,
        };
        host.notices = host.open_notices();
        // Whoever reads that a modem is ready may give it orders.
        if let Some(path) = &setting.control {
            host.listen(path)?;
        }
        for (index, setup) in setting.modems.iter().enumerate() {
            if host.names.insert(setup.name.clone(), index).is_some() {
                let name = &setup.name;
                return Err(HostError(format!(
                    "two modems are called {name}: give them links of different names"
                )));
            }
        }
        for setup in &setting.modems {
            host.seat(setup, setting.tell_commands)?;
        }
        host.open_standard_input()?;
        if let Some(path) = &setting.script {
            let text = limited(File::open(path).and_then(|file| read_all(&file)), path)?;
            host.sources.insert(SCRIPT, Source::of_text(&text));
        }
        Ok(host)
    }

    fn now(&self) -> Timestamp {
        self.started_at + self.started.elapsed()
    }

    /// Everything that can be done without waiting.
    fn work(&mut self) -> Result<(), HostError> {
        // Before the ports are read: whoever speaks has opened it first.
        self.read_notices();
        for index in 0..self.seats.len() {
            self.hear(index)?;
        }
        self.orders();
        let now = self.now();
        for seat in &mut self.seats {
            seat.modem.tick(now);
        }
        self.effects()?;
        for index in 0..self.seats.len() {
            self.give_the_floor(index)?;
        }
        Ok(())
    }

    fn wait(&mut self) -> Result<(), HostError> {
        let now = self.now();
        let awaited = |source: &Source| source.awaits.is_some() && has_happened(source, &self.seats);
        let busy = self.sources.values().any(awaited)
            || self.seats.iter().flat_map(|seat| &seat.ports).any(|port| port.is_readable);
        let modems = self.seats.iter().filter_map(|seat| seat.modem.deadline());
        let sources = self.sources.values().filter_map(|source| source.resumes);
        let timeout = match modems.chain(sources).min() {
            _ if busy => Some(Duration::ZERO),
            Some(next) => Some(next.since(now)),
            None => None,
        };
        let mut events = Events::with_capacity(256);
        match self.poll.poll(&mut events, timeout) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => return Ok(()),
            Err(error) => return Err(said("events cannot be waited for")(error)),
        }
        for event in &events {
            match event.token() {
                SIGNALS => self.quits = self.signalled(),
                STANDARD_INPUT => self.read_standard_input(),
                LISTENER => self.accept(),
                NOTICES => {}
                Token(client) if client >= FIRST_CLIENT => self.read_client(client),
                Token(token) => {
                    let Some(number) = token.checked_sub(FIRST_MODEM) else { continue };
                    let seat = self.seats.get_mut(number % MOST_MODEMS);
                    let port = seat.and_then(|seat| seat.ports.get_mut(number / MOST_MODEMS));
                    port.into_iter().for_each(|port| port.is_readable = true);
                }
            }
        }
        Ok(())
    }

    fn signalled(&mut self) -> bool {
        let mut octets = [0; 16];
        matches!(self.signals.read(&mut octets), Ok(count) if count > 0)
    }

    // Modems.

    fn seat(&mut self, setup: &Setup, tell_commands: bool) -> Result<(), HostError> {
        let index = self.seats.len();
        let mut modem = Modem::new(setup.personality, setup.subscriber.clone(), setup.timing, self.now());
        if tell_commands {
            modem.tell_commands();
        }
        let kinds = Ports::new(&setup.ports);
        if kinds.count() > 1 {
            modem.tell_apart();
        }
        self.numbers.entry(setup.subscriber.number.clone()).or_insert(index);
        self.seats.push(Seat {
            name: setup.name.clone(),
            modem,
            link: setup.link.clone(),
            next: open_ports(kinds.count())?,
            kinds,
            ports: Vec::new(),
            counts: BTreeMap::new(),
        });
        self.plug(index, None)
    }

    fn plug(&mut self, index: usize, link: Option<String>) -> Result<(), HostError> {
        let seat = &mut self.seats[index];
        let mut ports = match std::mem::take(&mut seat.next) {
            ports if ports.is_empty() => open_ports(seat.kinds.count())?,
            ports => ports,
        };
        for (place, port) in ports.iter().enumerate() {
            self.poll
                .registry()
                .register(
                    &mut SourceFd(&port.master.as_raw_fd()),
                    Token(FIRST_MODEM + index + place * MOST_MODEMS),
                    Interest::READABLE | Interest::WRITABLE,
                )
                .map_err(said("a port cannot be waited for"))?;
        }
        if let Some(link) = link {
            seat.link = Some(PathBuf::from(link));
        }
        let first = ports.first().map(|port| port.path.display().to_string()).unwrap_or_default();
        let shown = seat.link.as_ref().map_or_else(|| first.clone(), |link| link.display().to_string());
        let ready = format!(
            "{}: ready on {shown} ({first}, {}, {})",
            seat.name,
            seat.modem.personality.name,
            seat.modem.number()
        );
        let entry = Entry::new(self.started_at + self.started.elapsed(), "plugged");
        let entry = entry.with("port", first).with("link", shown);
        self.record(index, &entry)?;
        for (place, port) in ports.iter_mut().enumerate() {
            self.watch((index, place), port);
            if let Some(link) = self.seats[index].link_of(place) {
                place_link(&link, &port.path)?;
            }
        }
        let seat = &mut self.seats[index];
        seat.kinds.forget();
        seat.ports = ports;
        self.show(&ready);
        Ok(())
    }

    fn unplug(&mut self, index: usize) -> Result<(), HostError> {
        let seat = &mut self.seats[index];
        seat.next = open_ports(seat.kinds.count())?;
        for (place, port) in std::mem::take(&mut seat.ports).into_iter().enumerate() {
            if let Some(link) = seat.link_of(place) {
                remove_link(&link, &port.path);
            }
            // Closing it would do; what fails here has no consequence.
            let _ = self.poll.registry().deregister(&mut SourceFd(&port.master.as_raw_fd()));
        }
        self.watched.retain(|_, (watched, _)| *watched != index);
        Ok(())
    }

    fn open_notices(&self) -> Option<OwnedFd> {
        let notices = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).ok()?;
        let registered =
            self.poll.registry().register(&mut SourceFd(&notices.as_raw_fd()), NOTICES, Interest::READABLE);
        registered.ok().map(|()| notices)
    }

    fn watch(&mut self, of: (usize, usize), port: &mut Port) {
        use inotify::WatchFlags;
        let events = WatchFlags::OPEN | WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE;
        let watched =
            self.notices.as_ref().and_then(|notices| inotify::add_watch(notices, &port.path, events).ok());
        match watched {
            Some(watch) => drop(self.watched.insert(watch, of)),
            None => port.listeners = 1,
        }
    }

    fn read_notices(&mut self) {
        use inotify::ReadFlags;
        let Some(notices) = &self.notices else { return };
        let mut buffer = [MaybeUninit::uninit(); 4_096];
        let mut reader = inotify::Reader::new(notices, &mut buffer);
        while let Ok(notice) = reader.next() {
            let (watch, events) = (notice.wd(), notice.events());
            if events.contains(ReadFlags::IGNORED) {
                // The terminal is gone; its number is given to none that is still there.
                self.watched.remove(&watch);
                continue;
            }
            let Some((index, place)) = self.watched.get(&watch).copied() else { continue };
            let seat = &mut self.seats[index];
            let Some(port) = seat.ports.get_mut(place) else { continue };
            if events.contains(ReadFlags::OPEN) {
                port.listeners = port.listeners.saturating_add(1);
            } else if events.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::CLOSE_NOWRITE) {
                port.listeners = port.listeners.saturating_sub(1);
                port.was_closed = true;
                if port.listeners == 0 {
                    // What nobody has read by now, nobody will.
                    port.backlog.clear();
                    let _ = tcflush(&port.other_end, QueueSelector::IFlush);
                    if seat.kinds.closed(place) {
                        seat.modem.forget_line();
                    }
                }
            }
        }
    }

    /// What stands in the input of a modem's ports, a limited piece at a time.
    fn hear(&mut self, index: usize) -> Result<(), HostError> {
        let now = self.now();
        let seat = &mut self.seats[index];
        for place in 0..seat.ports.len() {
            let Some(port) = seat.ports.get_mut(place) else { break };
            flush(port);
            if !port.is_readable {
                continue;
            }
            let mut octets = [0; READ_AT_ONCE];
            let was_closed = std::mem::take(&mut port.was_closed);
            match port.master.read(&mut octets) {
                Ok(0) => port.is_readable = false,
                Ok(count) => {
                    // Two notices of the same kind may have become one.
                    if port.listeners == 0 && !was_closed {
                        port.listeners = 1;
                    }
                    let octets = &octets[..count];
                    if seat.kinds.count() == 1 {
                        seat.modem.read(octets, now);
                    } else {
                        let own = seat.kinds.put(place, octets);
                        seat.say(place, own);
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => port.is_readable = false,
            }
        }
        self.give_the_floor(index)
    }

    /// Of several ports one is heard after the other, and each hears its own answers.
    fn give_the_floor(&mut self, index: usize) -> Result<(), HostError> {
        let now = self.now();
        while let Some(seat) = self.seats.get_mut(index).filter(|seat| seat.kinds.count() > 1) {
            let Some(octets) = seat.kinds.next(seat.modem.is_at_rest()) else { break };
            seat.modem.read(&octets, now);
            self.effects()?;
        }
        Ok(())
    }

    /// What the modems did, in order; messages from one to the other may cause more.
    fn effects(&mut self) -> Result<(), HostError> {
        loop {
            let mut carried: Vec<Carried> = Vec::new();
            for index in 0..self.seats.len() {
                for effect in self.seats[index].modem.effects() {
                    match effect {
                        Effect::Write(octets) => {
                            let seat = &mut self.seats[index];
                            seat.say(seat.kinds.floor(), &octets);
                        }
                        Effect::Announce(octets) => {
                            let seat = &mut self.seats[index];
                            seat.kinds.announced_at().into_iter().for_each(|at| seat.say(at, &octets));
                        }
                        Effect::Record(entry) => {
                            self.record(index, &entry)?;
                        }
                        Effect::Unplugged => self.unplug(index)?,
                        Effect::Plugged { link } => self.plug(index, link)?,
                        Effect::Carried(message) => carried.push(message),
                        Effect::Show(line) => {
                            let line = format!("{} {line}", self.seats[index].name);
                            self.show(&line);
                        }
                    }
                }
            }
            if carried.is_empty() {
                return Ok(());
            }
            let now = self.now();
            for message in carried {
                if let Some(index) = self.numbers.get(&message.to) {
                    self.seats[*index].modem.receive(&message, now);
                }
            }
        }
    }

    fn record(&mut self, index: usize, entry: &Entry) -> Result<(), HostError> {
        let seat = &mut self.seats[index];
        *seat.counts.entry(entry.event()).or_default() += 1;
        let line = entry.line(&seat.name);
        match self.ledger.as_mut() {
            // A ledger with holes would accuse the innocent, so the simulation ends with it.
            Some(ledger) => ledger.write_all(line.as_bytes()).map_err(said("the ledger cannot be written")),
            None => Ok(()),
        }
    }

    /// For people; nobody has to read it.
    fn show(&mut self, line: &str) {
        let line: String = line.replace('\n', "\\n").chars().filter(|letter| !letter.is_control()).collect();
        let _ = writeln!(self.out, "{line}").and_then(|()| self.out.flush());
    }
}

/// Links and socket go with the process.
impl Drop for Host<'_> {
    fn drop(&mut self) {
        for seat in &self.seats {
            for (place, port) in seat.ports.iter().enumerate() {
                if let Some(link) = seat.link_of(place) {
                    remove_link(&link, &port.path);
                }
            }
        }
        if let Some((_, path)) = &self.listener {
            let _ = fs::remove_file(path);
        }
    }
}

fn open_ports(count: usize) -> Result<Vec<Port>, HostError> {
    (0..count.min(MOST_PORTS)).map(|_| open_port()).collect()
}

fn open_ledger(path: &Path) -> Result<File, HostError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| HostError(format!("the ledger {} cannot be opened: {error}", path.display())))
}

fn said(what: &'static str) -> impl Fn(io::Error) -> HostError {
    move |error| HostError(format!("{what}: {error}"))
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(0) + since
}
