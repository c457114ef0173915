//! One connection: its socket, how far it is, and what waits to go out. Policy is the event loop's.
//!
//! Readiness is edge-triggered: an edge is remembered in `readable` until a read finds the socket empty. A read that
//! returns less than was asked for has found it empty too, except at the end of the stream, whose edge may have
//! come together with the last bytes; `read_closed` keeps that from being forgotten.

use std::borrow::Cow;
use std::io::{self, IoSlice, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::time::Instant;

use super::Limits;
use super::reply::StreamBuffer;
use super::socket::Socket;
use crate::http::AnswerForm;
use crate::http::reader::RequestReader;

pub(super) struct Connection {
    pub(super) socket: Socket,
    /// The address that this connection counts for; `None` when it is exempt or no longer counted.
    pub(super) address: Option<IpAddr>,
    pub(super) reader: RequestReader,
    pub(super) phase: Phase,
    /// When the phase began, or when it last got on.
    pub(super) since: Instant,
    /// When the present request began to arrive.
    pub(super) started: Instant,
    pub(super) output: Output,
    pub(super) readable: bool,
    pub(super) read_closed: bool,
    /// The other side has reset the connection: nothing can be sent any more.
    pub(super) broken: bool,
    /// A request has been served on this connection before.
    pub(super) served: bool,
    /// Stands in the loop's list of those to go on with.
    pub(super) queued: bool,
    /// Counted among the event streams.
    pub(super) is_stream: bool,
    /// The moment for which the loop has a timer; never later than the deadline.
    pub(super) armed: Option<Instant>,
    pub(super) ticket: Option<Ticket>,
}

pub(super) enum Phase {
    /// Between requests, or in the middle of one.
    Reading,
    /// The site has the request.
    Answering { request: u64, form: AnswerForm },
    /// Bytes go out; then what.
    Writing(Then),
    /// The answer is out and our side is shut; what still comes is thrown away, so that the client sees the answer
    /// instead of a reset.
    Draining { left: usize },
    /// An event stream.
    Streaming { request: u64, buffer: Arc<StreamBuffer>, chunked: bool, unwanted_left: usize },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// Go on reading the body for which 100 Continue was sent.
    ReadOn,
    NextRequest,
    Close,
    /// Close, and something unread may be in the way.
    Drain,
}

/// A place in the order in which connections are closed to make room: the smallest goes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Ticket {
    pub(super) rank: Rank,
    pub(super) number: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Rank {
    /// Has no whole request.
    Waiting,
    /// Has been answered and does not take the answer.
    SlowReader,
}

pub(super) enum Received {
    Bytes(usize),
    Nothing,
    Closed,
}

impl Connection {
    pub(super) fn new(
        socket: Socket,
        peer: Option<SocketAddr>,
        address: Option<IpAddr>,
        limits: &Limits,
        now: Instant,
    ) -> Connection {
        Connection {
            socket,
            address,
            reader: RequestReader::new(limits.sizes, peer),
            phase: Phase::Reading,
            since: now,
            started: now,
            output: Output::default(),
            readable: false,
            read_closed: false,
            broken: false,
            served: false,
            queued: false,
            is_stream: false,
            armed: None,
            ticket: None,
        }
    }

    pub(super) fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
    }

    /// When the patience with the present phase ends.
    pub(super) fn deadline(&self, limits: &Limits) -> Option<Instant> {
        match &self.phase {
            Phase::Reading if self.reader.is_empty() && self.served => Some(self.since + limits.keep_alive),
            Phase::Reading if self.reader.is_empty() => Some(self.since + limits.head_time),
            Phase::Reading if self.reader.in_body() => Some(self.started + limits.whole_time),
            Phase::Reading => Some(self.started + limits.head_time.min(limits.whole_time)),
            Phase::Answering { .. } => Some(self.since + limits.answer_time),
            Phase::Writing(_) => Some(self.since + limits.write_time),
            Phase::Draining { .. } => Some(self.since + limits.drain_time),
            Phase::Streaming { .. } => (!self.output.is_empty()).then_some(self.since + limits.write_time),
        }
    }

    /// Whether and how readily this connection is closed to make room for another.
    pub(super) fn rank(&self) -> Option<Rank> {
        match self.phase {
            Phase::Reading | Phase::Draining { .. } => Some(Rank::Waiting),
            Phase::Writing(_) if !self.is_stream => Some(Rank::SlowReader),
            _ => None,
        }
    }

    /// One read. `Nothing`: an edge will tell when there is more.
    pub(super) fn receive(&mut self, room: &mut [u8]) -> Received {
        loop {
            if !self.readable {
                return Received::Nothing;
            }
            match self.socket.read(room) {
                Ok(0) => return Received::Closed,
                Ok(count) => {
                    self.readable = count == room.len() || self.read_closed;
                    return Received::Bytes(count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.readable = false,
                Err(_) => return Received::Closed,
            }
        }
    }

    /// Tells the other side that nothing more will come, and keeps listening.
    pub(super) fn shut_output(&self) -> bool {
        self.socket.shutdown(Shutdown::Write).is_ok()
    }
}

/// Bytes on their way out: a head (with small bodies behind it) and a large body that is not copied.
#[derive(Default)]
pub(super) struct Output {
    pub(super) head: Vec<u8>,
    pub(super) body: Cow<'static, [u8]>,
    written: usize,
}

pub(super) enum Flushed {
    All,
    /// The client takes no more for now; whether it took anything.
    Blocked {
        progress: bool,
    },
    Failed,
}

/// A connection at rest keeps no larger buffer than this.
const KEPT_BUFFER: usize = 4096;

impl Output {
    pub(super) fn is_empty(&self) -> bool {
        self.head.is_empty() && self.body.is_empty()
    }

    /// Writes until everything is out or the socket takes no more.
    pub(super) fn flush(&mut self, socket: &mut Socket) -> Flushed {
        let mut progress = false;
        loop {
            let head = self.head.get(self.written..).unwrap_or_default();
            let body = self.body.get(self.written.saturating_sub(self.head.len())..).unwrap_or_default();
            let result = match (head.is_empty(), body.is_empty()) {
                (true, true) => break,
                (false, true) => socket.write(head),
                (true, false) => socket.write(body),
                (false, false) => socket.write_vectored(&[IoSlice::new(head), IoSlice::new(body)]),
            };
            match result {
                Ok(0) => return Flushed::Failed,
                Ok(count) => {
                    self.written += count;
                    progress = true;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Flushed::Blocked { progress };
                }
                Err(_) => return Flushed::Failed,
            }
        }
        self.head.clear();
        self.head.shrink_to(KEPT_BUFFER);
        self.body = Cow::Borrowed(b"");
        self.written = 0;
        Flushed::All
    }
}
