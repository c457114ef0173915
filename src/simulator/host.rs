//! The simulated modems of one process: pseudo-terminals, orders, the ledger and one poll that waits for all of them. No thread, no pause.
//!
//! A modem's port is a pseudo-terminal with a link to it under a steady name. An unplugged modem's terminal is closed, so whoever has it open meets
//! the end of it as with a real stick; the next one is opened before, so that it has another name. The other end is kept open here as well:
//! the kernel would forget the raw mode otherwise, and echo the modem's own words back to it. What a modem says while nobody has its port
//! open is lost, as it is with a real one; whether somebody has is learnt from the kernel's notices about the terminal's file.

use super::script::{self, Line};
use super::{Carried, Effect, Modem, Subscriber, Timing, personality::Personality};
use crate::time::Timestamp;
use mio::net::{UnixListener, UnixStream};
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use rustix::fs::inotify;
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, ptsname, unlockpt};
use rustix::termios::{OptionalActions, QueueSelector, tcflush, tcgetattr, tcsetattr};
use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, symlink};
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
/// So many programs give orders at a time.
const MOST_CLIENTS: usize = 64;
/// A modem whose words nobody reads keeps so many octets; further ones are lost, as on a real line.
const MOST_BACKLOG: usize = 65_536;
/// The longest line of orders, and the longest script.
const LONGEST_LINE: usize = 65_536;
const LONGEST_SCRIPT: u64 = 16 << 20;
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

/// A port with both its ends.
struct Port {
    master: File,
    other_end: OwnedFd,
    path: PathBuf,
    backlog: VecDeque<u8>,
    is_readable: bool,
    /// How many have it open, as far as the kernel's notices tell.
    listeners: u32,
    /// Somebody has closed it since it was read last.
    was_closed: bool,
}

struct Seat {
    name: String,
    modem: Modem,
    link: Option<PathBuf>,
    port: Option<Port>,
    /// The port after the next plugging, opened early for the sake of its name.
    next: Option<Port>,
}

/// Somebody who gives orders.
struct Source {
    socket: Option<UnixStream>,
    input: Vec<u8>,
    lines: VecDeque<String>,
    resumes: Option<Timestamp>,
    at_end: bool,
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
    /// Notices about the files of ports, with the modem of each. Without them every port counts as open.
    notices: Option<OwnedFd>,
    watched: BTreeMap<i32, usize>,
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
            host.seat(setup)?;
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
        self.effects()
    }

    fn wait(&mut self) -> Result<(), HostError> {
        let now = self.now();
        let busy = self.seats.iter().filter_map(|seat| seat.port.as_ref()).any(|port| port.is_readable);
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
                Token(modem) => {
                    let port = modem.checked_sub(FIRST_MODEM).and_then(|index| self.seats.get_mut(index));
                    if let Some(port) = port.and_then(|seat| seat.port.as_mut()) {
                        port.is_readable = true;
                    }
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

    fn seat(&mut self, setup: &Setup) -> Result<(), HostError> {
        let index = self.seats.len();
        let modem = Modem::new(setup.personality, setup.subscriber.clone(), setup.timing, self.now());
        self.numbers.entry(setup.subscriber.number.clone()).or_insert(index);
        self.seats.push(Seat {
            name: setup.name.clone(),
            modem,
            link: setup.link.clone(),
            port: None,
            next: Some(open_port()?),
        });
        self.plug(index, None)
    }

    fn plug(&mut self, index: usize, link: Option<String>) -> Result<(), HostError> {
        let seat = &mut self.seats[index];
        let mut port = match seat.next.take() {
            Some(port) => port,
            None => open_port()?,
        };
        self.poll
            .registry()
            .register(
                &mut SourceFd(&port.master.as_raw_fd()),
                Token(FIRST_MODEM + index),
                Interest::READABLE | Interest::WRITABLE,
            )
            .map_err(said("a port cannot be waited for"))?;
        if let Some(link) = link {
            seat.link = Some(PathBuf::from(link));
        }
        let shown = seat.link.as_ref().unwrap_or(&port.path).display().to_string();
        let ready = format!(
            "{}: ready on {shown} ({}, {}, {})",
            seat.name,
            port.path.display(),
            seat.modem.personality.name,
            seat.modem.number()
        );
        let entry = super::ledger::Entry::new(self.started_at + self.started.elapsed(), "plugged");
        let entry = entry.with("port", port.path.display().to_string()).with("link", shown);
        let line = entry.line(&seat.name);
        self.record(&line)?;
        self.watch(index, &mut port);
        let seat = &mut self.seats[index];
        if let Some(link) = &seat.link {
            place_link(link, &port.path)?;
        }
        seat.port = Some(port);
        self.show(&ready);
        Ok(())
    }

    fn unplug(&mut self, index: usize) -> Result<(), HostError> {
        let seat = &mut self.seats[index];
        seat.next = Some(open_port()?);
        if let Some(port) = seat.port.take() {
            if let Some(link) = &seat.link {
                remove_link(link, &port.path);
            }
            self.watched.retain(|_, watched| *watched != index);
            // Closing it would do; what fails here has no consequence.
            let _ = self.poll.registry().deregister(&mut SourceFd(&port.master.as_raw_fd()));
        }
        Ok(())
    }

    fn open_notices(&self) -> Option<OwnedFd> {
        let notices = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).ok()?;
        let registered =
            self.poll.registry().register(&mut SourceFd(&notices.as_raw_fd()), NOTICES, Interest::READABLE);
        registered.ok().map(|()| notices)
    }

    fn watch(&mut self, index: usize, port: &mut Port) {
        use inotify::WatchFlags;
        let events = WatchFlags::OPEN | WatchFlags::CLOSE_WRITE | WatchFlags::CLOSE_NOWRITE;
        let watched =
            self.notices.as_ref().and_then(|notices| inotify::add_watch(notices, &port.path, events).ok());
        match watched {
            Some(watch) => drop(self.watched.insert(watch, index)),
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
            let index = self.watched.get(&watch);
            let Some(port) = index.and_then(|index| self.seats[*index].port.as_mut()) else { continue };
            if events.contains(ReadFlags::OPEN) {
                port.listeners = port.listeners.saturating_add(1);
            } else if events.intersects(ReadFlags::CLOSE_WRITE | ReadFlags::CLOSE_NOWRITE) {
                port.listeners = port.listeners.saturating_sub(1);
                port.was_closed = true;
                if port.listeners == 0 {
                    // What nobody has read by now, nobody will.
                    port.backlog.clear();
                    let _ = tcflush(&port.other_end, QueueSelector::IFlush);
                }
            }
        }
    }

    /// What stands in a port's input, a limited piece at a time.
    fn hear(&mut self, index: usize) -> Result<(), HostError> {
        let now = self.now();
        let seat = &mut self.seats[index];
        let Some(port) = seat.port.as_mut() else { return Ok(()) };
        flush(port);
        if !port.is_readable {
            return Ok(());
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
                seat.modem.read(&octets[..count], now);
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => port.is_readable = false,
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
                        Effect::Write(octets) => self.write(index, &octets),
                        Effect::Record(entry) => {
                            let line = entry.line(&self.seats[index].name);
                            self.record(&line)?;
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

    fn write(&mut self, index: usize, octets: &[u8]) {
        let Some(port) = self.seats[index].port.as_mut().filter(|port| port.listeners > 0) else { return };
        let room = MOST_BACKLOG.saturating_sub(port.backlog.len());
        port.backlog.extend(octets.iter().take(room));
        flush(port);
    }

    fn record(&mut self, line: &str) -> Result<(), HostError> {
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

    // Orders.

    fn orders(&mut self) {
        let now = self.now();
        let tokens: Vec<usize> = self.sources.keys().copied().collect();
        for token in tokens {
            while let Some(line) = self.next_line(token, now) {
                let answer = self.obey(token, &line, now);
                self.answer(token, answer);
            }
            let over = self
                .sources
                .get(&token)
                .is_some_and(|source| source.at_end && source.lines.is_empty() && source.resumes.is_none());
            if over {
                self.sources.remove(&token);
            }
        }
    }

    fn next_line(&mut self, token: usize, now: Timestamp) -> Option<String> {
        let source = self.sources.get_mut(&token)?;
        if source.resumes.is_some_and(|resumes| resumes > now) {
            return None;
        }
        if source.resumes.take().is_some() {
            self.answer(token, Ok(String::new()));
        }
        self.sources.get_mut(&token)?.lines.pop_front()
    }

    /// `None` in the answer's place: it comes later.
    fn obey(&mut self, token: usize, line: &str, now: Timestamp) -> Result<String, String> {
        match script::parse(line)? {
            Line::Nothing => {}
            Line::Quit => self.quits = true,
            Line::Help => return Ok(script::HELP.to_string()),
            Line::Wait(time) => {
                if let Some(source) = self.sources.get_mut(&token) {
                    source.resumes = Some(now + time);
                }
            }
            Line::For { modem, order } => {
                let chosen: Vec<usize> = match modem.as_str() {
                    "all" => (0..self.seats.len()).collect(),
                    name => match self.names.get(name) {
                        Some(index) => vec![*index],
                        None => {
                            let names: Vec<&str> = self.names.keys().map(String::as_str).collect();
                            return Err(format!(
                                "no modem is called {name:?}: there is {}",
                                names.join(", ")
                            ));
                        }
                    },
                };
                for index in chosen {
                    self.seats[index].modem.order(&order, now)?;
                }
            }
        }
        Ok(String::new())
    }

    fn answer(&mut self, token: usize, answer: Result<String, String>) {
        // What an order did is in the ledger before it is called done.
        if let Err(error) = self.effects() {
            self.quits = true;
            let _ = writeln!(self.talk, "error: {error}");
        }
        let Some(source) = self.sources.get_mut(&token) else { return };
        let waits = source.resumes.is_some();
        match (&mut source.socket, answer) {
            (Some(_), Ok(_)) if waits => {}
            (Some(socket), answer) => {
                let line = match answer {
                    Ok(text) if text.is_empty() => "ok\n".to_string(),
                    Ok(text) => format!("{text}\nok\n"),
                    Err(sentence) => format!("error: {sentence}\n"),
                };
                // Who does not read answers does not get them.
                if socket.write_all(line.as_bytes()).is_err() {
                    source.at_end = true;
                    source.lines.clear();
                }
            }
            (None, Ok(text)) if text.is_empty() => {}
            (None, Ok(text)) => drop(writeln!(self.out, "{text}")),
            (None, Err(sentence)) => drop(writeln!(self.talk, "error: {sentence}")),
        }
    }

    fn open_standard_input(&mut self) -> Result<(), HostError> {
        let input = io::stdin();
        let registered = self.poll.registry().register(
            &mut SourceFd(&input.as_raw_fd()),
            STANDARD_INPUT,
            Interest::READABLE,
        );
        let source = match registered {
            Ok(()) => Source::new(None),
            // A plain file is always ready, and cannot be waited for.
            Err(_) => {
                let mut text = String::new();
                match input.lock().take(LONGEST_SCRIPT).read_to_string(&mut text) {
                    Ok(_) => Source::of_text(&text),
                    Err(error) => return Err(said("standard input cannot be read")(error)),
                }
            }
        };
        if io::stdin().is_terminal() {
            let _ = writeln!(
                self.talk,
                "Type, for example: {} < +254700000001 hello      (help lists the orders, Ctrl-D ends)",
                self.seats.first().map_or("modem", |seat| seat.name.as_str())
            );
        }
        self.sources.insert(STANDARD_INPUT.0, source);
        Ok(())
    }

    /// One read for each event, for this descriptor may be shared with a shell and stays a blocking one.
    fn read_standard_input(&mut self) {
        let mut octets = [0; READ_AT_ONCE];
        let read = rustix::io::read(io::stdin(), &mut octets);
        let source = self.sources.entry(STANDARD_INPUT.0).or_insert_with(|| Source::new(None));
        let input = io::stdin();
        match read {
            Ok(0) => {
                source.end();
                let _ = self.poll.registry().deregister(&mut SourceFd(&input.as_raw_fd()));
                // Ctrl-D.
                self.quits |= input.is_terminal();
            }
            Ok(count) => {
                source.take(&octets[..count]);
                let again = self.poll.registry().reregister(
                    &mut SourceFd(&input.as_raw_fd()),
                    STANDARD_INPUT,
                    Interest::READABLE,
                );
                if again.is_err() {
                    source.end();
                }
            }
            Err(_) => source.end(),
        }
    }

    fn listen(&mut self, path: &Path) -> Result<(), HostError> {
        // One that nobody listens to was left behind.
        let left_behind = fs::symlink_metadata(path).is_ok_and(|found| found.file_type().is_socket())
            && std::os::unix::net::UnixStream::connect(path).is_err();
        if left_behind {
            let _ = fs::remove_file(path);
        }
        let failed =
            |error: io::Error| HostError(format!("no orders can be taken at {}: {error}", path.display()));
        let mut listener = UnixListener::bind(path).map_err(failed)?;
        self.poll.registry().register(&mut listener, LISTENER, Interest::READABLE).map_err(failed)?;
        self.listener = Some((listener, path.to_path_buf()));
        Ok(())
    }

    fn accept(&mut self) {
        while let Some((listener, _)) = &self.listener {
            let Ok((mut socket, _)) = listener.accept() else { return };
            let clients = self.sources.keys().filter(|token| **token >= FIRST_CLIENT).count();
            let token = self.next_client;
            let registered = self.poll.registry().register(&mut socket, Token(token), Interest::READABLE);
            if clients < MOST_CLIENTS && registered.is_ok() {
                self.next_client += 1;
                self.sources.insert(token, Source::new(Some(socket)));
            }
        }
    }

    fn read_client(&mut self, token: usize) {
        let Some(source) = self.sources.get_mut(&token) else { return };
        let mut octets = [0; READ_AT_ONCE];
        loop {
            let Some(socket) = source.socket.as_mut() else { return };
            match socket.read(&mut octets) {
                Ok(0) => return source.end(),
                Ok(count) => source.take(&octets[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return source.end(),
            }
        }
    }
}

/// Links and socket go with the process.
impl Drop for Host<'_> {
    fn drop(&mut self) {
        for seat in &self.seats {
            if let (Some(link), Some(port)) = (&seat.link, &seat.port) {
                remove_link(link, &port.path);
            }
        }
        if let Some((_, path)) = &self.listener {
            let _ = fs::remove_file(path);
        }
    }
}

impl Source {
    fn new(socket: Option<UnixStream>) -> Source {
        Source { socket, input: Vec::new(), lines: VecDeque::new(), resumes: None, at_end: false }
    }

    fn of_text(text: &str) -> Source {
        let mut source = Source::new(None);
        source.lines = text.lines().map(str::to_string).collect();
        source.at_end = true;
        source
    }

    fn take(&mut self, octets: &[u8]) {
        for octet in octets {
            match octet {
                b'\n' => {
                    let line = std::mem::take(&mut self.input);
                    self.lines.push_back(String::from_utf8_lossy(&line).into_owned());
                }
                _ if self.input.len() < LONGEST_LINE => self.input.push(*octet),
                _ => {}
            }
        }
    }

    /// The last line may lack its end.
    fn end(&mut self) {
        if !self.input.is_empty() {
            self.take(b"\n");
        }
        self.at_end = true;
    }
}

/// Writes what there is room for.
fn flush(port: &mut Port) {
    while !port.backlog.is_empty() {
        let (piece, _) = port.backlog.as_slices();
        match port.master.write(piece) {
            Ok(0) => return,
            Ok(count) => drop(port.backlog.drain(..count)),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

fn open_port() -> Result<Port, HostError> {
    let failed = |error: rustix::io::Errno| HostError(format!("no pseudo-terminal can be opened: {error}"));
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
    let master = openpt(flags).map_err(failed)?;
    grantpt(&master).and_then(|()| unlockpt(&master)).map_err(failed)?;
    let other_end = ioctl_tiocgptpeer(&master, flags).map_err(failed)?;
    let mut mode = tcgetattr(&other_end).map_err(failed)?;
    mode.make_raw();
    tcsetattr(&other_end, OptionalActions::Now, &mode).map_err(failed)?;
    let name = ptsname(&master, Vec::new()).map_err(failed)?;
    rustix::io::ioctl_fionbio(&master, true).map_err(failed)?;
    let path = PathBuf::from(std::ffi::OsString::from_vec(name.into_bytes()));
    Ok(Port {
        master: File::from(master),
        other_end,
        path,
        backlog: VecDeque::new(),
        is_readable: false,
        listeners: 0,
        was_closed: false,
    })
}

/// Puts a link there in one step. Only a link that leads to a terminal, or nowhere, is replaced.
fn place_link(link: &Path, target: &Path) -> Result<(), HostError> {
    let failed = |error: io::Error| HostError(format!("no link can be made at {}: {error}", link.display()));
    match fs::symlink_metadata(link) {
        Err(_) => {}
        Ok(found) if found.file_type().is_symlink() => {
            let leads = fs::read_link(link).map_err(failed)?;
            if !leads.starts_with("/dev/pts") {
                let sentence =
                    format!("{} is a link to {}: choose another path", link.display(), leads.display());
                return Err(HostError(sentence));
            }
        }
        Ok(_) => {
            return Err(HostError(format!(
                "{} is there already, and no link: choose another path",
                link.display()
            )));
        }
    }
    let mut beside = link.as_os_str().to_owned();
    beside.push(format!(".{}", std::process::id()));
    let beside = PathBuf::from(beside);
    symlink(target, &beside).map_err(failed)?;
    fs::rename(&beside, link).map_err(|error| {
        let _ = fs::remove_file(&beside);
        failed(error)
    })
}

/// Unless somebody has put another one there.
fn remove_link(link: &Path, target: &Path) {
    if fs::read_link(link).is_ok_and(|leads| leads == target) {
        let _ = fs::remove_file(link);
    }
}

fn open_ledger(path: &Path) -> Result<File, HostError> {
    let opened = OpenOptions::new().create(true).append(true).open(path);
    opened.map_err(|error| HostError(format!("the ledger {} cannot be opened: {error}", path.display())))
}

fn read_all(mut file: &File) -> io::Result<String> {
    let mut text = String::new();
    Read::by_ref(&mut file).take(LONGEST_SCRIPT).read_to_string(&mut text)?;
    Ok(text)
}

fn limited(read: io::Result<String>, path: &Path) -> Result<String, HostError> {
    read.map_err(|error| HostError(format!("the orders in {} cannot be read: {error}", path.display())))
}

fn said(what: &'static str) -> impl Fn(io::Error) -> HostError {
    move |error| HostError(format!("{what}: {error}"))
}

fn wall_clock() -> Timestamp {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(0) + since
}
