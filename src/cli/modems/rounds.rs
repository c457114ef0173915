//! All devices are asked side by side in one poll, the ports of one device one after another: a modem has one mind.

use super::interview::{Depth, Heard, Interview};
use super::tty::Tty;
use mio::unix::SourceFd;
use mio::{Events, Interest, Poll, Token};
use std::io;
use std::path::PathBuf;
use std::time::{Duration, Instant};

/// So much is read from one port before the others have their turn.
const MOST_AT_ONCE: usize = 64 * 1024;

/// What came of asking one port.
pub(super) type Asked = io::Result<Heard>;

/// Asks each device's ports in order, the first that answers everything, the others only whether they answer. What comes back has the
/// same shape as what was given.
pub(super) fn ask(devices: &[Vec<PathBuf>], speed: u32) -> io::Result<Vec<Vec<Asked>>> {
    let start = Instant::now();
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(64);
    let mut sides: Vec<Side> = devices.iter().map(|ports| Side::new(ports)).collect();
    loop {
        let now = start.elapsed();
        let mut deadline = None;
        for (index, side) in sides.iter_mut().enumerate() {
            side.go_on(&poll, Token(index), speed, now);
            deadline = deadline.into_iter().chain(side.deadline()).min();
        }
        let Some(deadline) = deadline else { break };
        let patience = deadline.saturating_sub(start.elapsed());
        match poll.poll(&mut events, Some(round_up(patience))) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => return Err(error),
            _ => {}
        }
        let now = start.elapsed();
        sides.iter_mut().for_each(|side| side.turn(&poll, now));
    }
    Ok(sides.into_iter().map(|side| side.results).collect())
}

/// epoll counts milliseconds; less than one would spin until the deadline.
fn round_up(time: Duration) -> Duration {
    time + Duration::from_millis(1)
}

/// One device.
struct Side<'a> {
    ports: &'a [PathBuf],
    results: Vec<Asked>,
    current: Option<Current>,
}

struct Current {
    tty: Tty,
    interview: Interview,
    /// What there was no room for yet.
    unwritten: Vec<u8>,
}

impl<'a> Side<'a> {
    fn new(ports: &'a [PathBuf]) -> Side<'a> {
        Side { ports, results: Vec::new(), current: None }
    }

    fn deadline(&self) -> Option<Duration> {
        self.current.as_ref().map(|current| current.interview.deadline())
    }

    /// Opens the next port, if it is time for it.
    fn go_on(&mut self, poll: &Poll, token: Token, speed: u32, now: Duration) {
        while self.current.is_none() {
            let Some(path) = self.ports.get(self.results.len()) else { return };
            let answered = self.results.iter().flatten().any(|heard| heard.answers);
            let depth = if answered { Depth::Greeting } else { Depth::All };
            let opened = Tty::open(path, speed).and_then(|tty| {
                let interest = Interest::READABLE | Interest::WRITABLE;
                poll.registry().register(&mut SourceFd(&tty.raw()), token, interest)?;
                Ok(tty)
            });
            match opened {
                Err(error) => self.results.push(Err(error)),
                Ok(tty) => {
                    let (interview, unwritten) = Interview::begin(depth, now);
                    self.current = Some(Current { tty, interview, unwritten });
                    self.turn(poll, now);
                }
            }
        }
    }

    /// Reads, lets time pass and writes, until there is nothing to do.
    fn turn(&mut self, poll: &Poll, now: Duration) {
        let Some(current) = &mut self.current else { return };
        let exchanged = current.exchange(now);
        if exchanged.is_ok() && current.interview.result().is_none() {
            return;
        }
        let Some(current) = self.current.take() else { return };
        // Closing takes it out of the poll as well; nothing else is to be done when it fails.
        let _ = poll.registry().deregister(&mut SourceFd(&current.tty.raw()));
        let heard = current.interview.so_far();
        self.results.push(exchanged.map(|()| heard));
    }
}

impl Current {
    fn exchange(&mut self, now: Duration) -> io::Result<()> {
        let mut buffer = [0; 4096];
        let mut count = 0;
        while count < MOST_AT_ONCE {
            let Some(read) = self.tty.read(&mut buffer)? else { break };
            count += read;
            let octets = self.interview.read(&buffer[..read], now);
            self.unwritten.extend(octets);
        }
        let octets = self.interview.tick(now);
        self.unwritten.extend(octets);
        while !self.unwritten.is_empty() {
            let written = self.tty.write(&self.unwritten)?;
            if written == 0 {
                break;
            }
            self.unwritten.drain(..written);
        }
        Ok(())
    }
}
