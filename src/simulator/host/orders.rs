//! Who gives orders, and what they hear: a terminal or a pipe, a file, programs at the control socket.

use super::{FIRST_CLIENT, Host, HostError, LISTENER, READ_AT_ONCE, STANDARD_INPUT, Seat, said};
use crate::simulator::script::{self, Line};
use crate::time::Timestamp;
use mio::net::{UnixListener, UnixStream};
use mio::unix::SourceFd;
use mio::{Interest, Token};
use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::{self, ErrorKind, IsTerminal, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileTypeExt;
use std::path::Path;

/// So many programs give orders at a time.
const MOST_CLIENTS: usize = 64;
/// The longest line of orders, and the longest script.
const LONGEST_LINE: usize = 65_536;
const LONGEST_SCRIPT: u64 = 16 << 20;

/// Somebody who gives orders.
pub(super) struct Source {
    pub socket: Option<UnixStream>,
    pub input: Vec<u8>,
    pub lines: VecDeque<String>,
    pub resumes: Option<Timestamp>,
    /// The modem, the kind of entry and how many of them.
    pub awaits: Option<(usize, String, u64)>,
    pub at_end: bool,
}

impl Host<'_> {
    pub(super) fn orders(&mut self) {
        let now = self.now();
        let tokens: Vec<usize> = self.sources.keys().copied().collect();
        for token in tokens {
            while let Some(line) = self.next_line(token, now) {
                let answer = self.obey(token, &line, now);
                self.answer(token, answer);
            }
            let over = self.sources.get(&token).is_some_and(|source| {
                source.at_end
                    && source.lines.is_empty()
                    && source.resumes.is_none()
                    && source.awaits.is_none()
            });
            if over {
                self.sources.remove(&token);
            }
        }
    }

    fn next_line(&mut self, token: usize, now: Timestamp) -> Option<String> {
        let source = self.sources.get_mut(&token)?;
        let happened = has_happened(source, &self.seats);
        if !happened || source.resumes.is_some_and(|resumes| resumes > now) {
            return None;
        }
        if source.resumes.take().is_some() || source.awaits.take().is_some() {
            self.answer(token, Ok(String::new()));
        }
        self.sources.get_mut(&token)?.lines.pop_front()
    }

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
            Line::Await { modem, event, count } => {
                let index = self.named(&modem)?;
                if let Some(source) = self.sources.get_mut(&token) {
                    source.awaits = Some((index, event, count));
                }
            }
            Line::For { modem, order } => {
                let chosen: Vec<usize> = match modem.as_str() {
                    "all" => (0..self.seats.len()).collect(),
                    name => vec![self.named(name)?],
                };
                for index in chosen {
                    self.seats[index].modem.order(&order, now)?;
                }
            }
        }
        Ok(String::new())
    }

    fn named(&self, name: &str) -> Result<usize, String> {
        self.names.get(name).copied().ok_or_else(|| {
            let names: Vec<&str> = self.names.keys().map(String::as_str).collect();
            format!("no modem is called {name:?}: there is {}", names.join(", "))
        })
    }

    fn answer(&mut self, token: usize, answer: Result<String, String>) {
        // What an order did is in the ledger before it is called done.
        if let Err(error) = self.effects() {
            self.quits = true;
            let _ = writeln!(self.talk, "error: {error}");
        }
        let Some(source) = self.sources.get_mut(&token) else { return };
        let waits = source.resumes.is_some() || source.awaits.is_some();
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

    pub(super) fn open_standard_input(&mut self) -> Result<(), HostError> {
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
    pub(super) fn read_standard_input(&mut self) {
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

    pub(super) fn listen(&mut self, path: &Path) -> Result<(), HostError> {
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

    pub(super) fn accept(&mut self) {
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

    pub(super) fn read_client(&mut self, token: usize) {
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

impl Source {
    pub(super) fn new(socket: Option<UnixStream>) -> Source {
        Source {
            socket,
            input: Vec::new(),
            lines: VecDeque::new(),
            resumes: None,
            awaits: None,
            at_end: false,
        }
    }

    pub(super) fn of_text(text: &str) -> Source {
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

/// Whether what it waits for is in the ledger by now.
pub(super) fn has_happened(source: &Source, seats: &[Seat]) -> bool {
    source.awaits.as_ref().is_none_or(|(index, event, count)| {
        seats[*index].counts.get(event.as_str()).is_some_and(|so_far| so_far >= count)
    })
}

pub(super) fn read_all(mut file: &File) -> io::Result<String> {
    let mut text = String::new();
    Read::by_ref(&mut file).take(LONGEST_SCRIPT).read_to_string(&mut text)?;
    Ok(text)
}

pub(super) fn limited(read: io::Result<String>, path: &Path) -> Result<String, HostError> {
    read.map_err(|error| HostError(format!("the orders in {} cannot be read: {error}", path.display())))
}
