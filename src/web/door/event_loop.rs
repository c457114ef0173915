//! The loop itself: wait for sockets, answers and deadlines; move each connection on.
//!
//! Every round does a bounded amount for each connection, so none can keep the others waiting. Deadlines are exact
//! to the poll's millisecond, but a timer that turns out too early is only put off when it fires: a busy
//! connection changes its deadline several times per request, and touches the timers hardly ever.

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::io;
use std::net::IpAddr;
use std::os::fd::OwnedFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use mio::event::Event;
use mio::{Events, Poll, Token};

use super::answers::DateLine;
use super::connection::{Connection, Flushed, Phase, Received, Then, Ticket};
use super::reply::{Completion, Place, Shared};
use super::socket::Listener;
use super::{Limits, Reply, Site};
use crate::http::reader::{Progress, Refusal};
use crate::http::{AnswerForm, Request, Response};

pub(super) const LISTENER: Token = Token(usize::MAX);
pub(super) const WAKER: Token = Token(usize::MAX - 1);

/// What one connection may do in one round before the others have their turn.
const READ_BUDGET: usize = 64 * 1024;
const EVENTS_PER_ROUND: usize = 256;
const SCRATCH: usize = 16 * 1024;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// Everything the door knows while it runs. Accepting and making room is in
/// `newcomers.rs`, answers and event streams in `answers.rs`.
pub(super) struct EventLoop<'site> {
    pub(super) poll: Poll,
    pub(super) listener: Option<Listener>,
    pub(super) limits: Limits,
    pub(super) shared: Arc<Shared>,
    site: &'site mut dyn Site,
    pub(super) slots: Vec<Option<Box<Connection>>>,
    pub(super) free: Vec<usize>,
    /// Connections open, event streams apart.
    pub(super) open: usize,
    pub(super) streams: usize,
    pub(super) per_address: HashMap<IpAddr, usize>,
    /// Who is closed first when room is needed.
    pub(super) evictable: BTreeMap<Ticket, usize>,
    timers: BTreeSet<(Instant, usize)>,
    ready: VecDeque<usize>,
    pub(super) completions: Vec<Completion>,
    pub(super) scratch: Box<[u8]>,
    pub(super) now: Instant,
    pub(super) date: DateLine,
    requests: u64,
    tickets: u64,
    pub(super) accept_ready: bool,
    pub(super) accept_paused: Option<Instant>,
    /// A descriptor held in reserve, see `keep_spare`.
    pub(super) spare: Option<OwnedFd>,
    /// A pause has been logged and no newcomer has been taken since.
    pub(super) accept_complained: bool,
    pub(super) heartbeat: Option<Instant>,
    /// Until when answers may finish, once stopping.
    pub(super) stopping: Option<Instant>,
}

/// What a step with one connection came to.
pub(super) enum Next {
    Again,
    /// An event will go on.
    Wait,
    /// There is more to do, after the others.
    Later,
    Close,
}

impl<'site> EventLoop<'site> {
    pub(super) fn new(
        poll: Poll,
        listener: Listener,
        limits: Limits,
        shared: Arc<Shared>,
        site: &'site mut dyn Site,
    ) -> EventLoop<'site> {
        EventLoop {
            poll,
            listener: Some(listener),
            limits,
            shared,
            site,
            slots: Vec::new(),
            free: Vec::new(),
            open: 0,
            streams: 0,
            per_address: HashMap::new(),
            evictable: BTreeMap::new(),
            timers: BTreeSet::new(),
            ready: VecDeque::new(),
            completions: Vec::new(),
            scratch: vec![0; SCRATCH].into_boxed_slice(),
            now: Instant::now(),
            date: DateLine::default(),
            requests: 0,
            tickets: 0,
            // Clients may have connected before the loop began.
            accept_ready: true,
            accept_paused: None,
            spare: None,
            accept_complained: false,
            heartbeat: None,
            stopping: None,
        }
    }

    pub(super) fn run(mut self) -> io::Result<()> {
        let mut events = Events::with_capacity(EVENTS_PER_ROUND);
        let result = loop {
            if self.is_finished() {
                break Ok(());
            }
            let timeout = self.timeout();
            if let Err(error) = self.poll.poll(&mut events, timeout) {
                if error.kind() == io::ErrorKind::Interrupted {
                    continue;
                }
                break Err(error);
            }
            self.now = Instant::now();
            count(&self.shared.figures.wakeups);
            self.take_completions();
            for event in &events {
                match event.token() {
                    LISTENER => self.accept_ready = true,
                    WAKER => {}
                    Token(slot) => self.note(slot, event),
                }
            }
            for _ in 0..self.ready.len() {
                if let Some(slot) = self.ready.pop_front() {
                    self.go_on(slot);
                }
            }
            self.accept();
            // Answers that the site gave at once leave in the same round.
            self.take_completions();
            self.expire();
            self.beat();
        };
        for slot in 0..self.slots.len() {
            if let Some(connection) = self.slots[slot].take() {
                self.forget(slot, connection);
            }
        }
        self.shared.close();
        result
    }

    fn is_finished(&self) -> bool {
        self.stopping.is_some_and(|until| self.open + self.streams == 0 || self.now >= until)
    }

    /// How long the poll may wait; `None` is for ever.
    fn timeout(&self) -> Option<Duration> {
        let accept_waits = self.accept_ready && self.listener.is_some() && self.can_admit();
        if !self.ready.is_empty() || (accept_waits && self.accept_paused.is_none()) {
            return Some(Duration::ZERO);
        }
        if !self.shared.may_sleep(self.stopping.is_some()) {
            return Some(Duration::ZERO);
        }
        let pause = self.accept_paused.filter(|_| accept_waits);
        let timer = self.timers.first().map(|(when, _)| *when);
        [timer, pause, self.heartbeat, self.stopping]
            .into_iter()
            .flatten()
            .min()
            .map(|when| when.saturating_duration_since(Instant::now()))
    }

    // ---- one connection ---------------------------------------------------------------------------------------

    fn note(&mut self, slot: usize, event: &Event) {
        let Some(connection) = self.slots.get_mut(slot).and_then(Option::as_mut) else { return };
        connection.readable |= event.is_readable() || event.is_read_closed();
        connection.read_closed |= event.is_read_closed();
        connection.broken |= event.is_error() || (event.is_write_closed() && event.is_read_closed());
        self.go_on(slot);
    }

    /// Moves a connection on as far as it goes in this round.
    pub(super) fn go_on(&mut self, slot: usize) {
        let Some(mut connection) = self.slots.get_mut(slot).and_then(Option::take) else { return };
        connection.queued = false;
        self.drive(slot, connection);
    }

    pub(super) fn drive(&mut self, slot: usize, mut connection: Box<Connection>) {
        let mut budget = READ_BUDGET;
        loop {
            let next = match &connection.phase {
                // The slot stays taken until the site has answered, even if nobody waits for the answer any more:
                // so the answers under way stay bounded by the connections.
                Phase::Answering { .. } => Next::Wait,
                _ if connection.broken => Next::Close,
                Phase::Reading => self.read_request(slot, &mut connection, &mut budget),
                Phase::Writing(then) => self.write(*then, &mut connection),
                Phase::Draining { .. } => self.drain(&mut connection),
                Phase::Streaming { .. } => self.stream(&mut connection),
            };
            match next {
                Next::Again => continue,
                Next::Close => return self.forget(slot, connection),
                Next::Wait => {}
                Next::Later => {
                    if !std::mem::replace(&mut connection.queued, true) {
                        self.ready.push_back(slot);
                    }
                }
            }
            self.settle(slot, &mut connection);
            self.slots[slot] = Some(connection);
            return;
        }
    }

    fn read_request(&mut self, slot: usize, connection: &mut Connection, budget: &mut usize) -> Next {
        match connection.reader.advance() {
            Ok(Progress::Request(request)) => {
                self.serve(slot, connection, request);
                Next::Wait
            }
            Ok(Progress::NeedsContinue) => {
                connection.output.head.extend_from_slice(CONTINUE);
                connection.enter(Phase::Writing(Then::ReadOn), self.now);
                Next::Again
            }
            Err(refusal) => {
                self.refuse(connection, &refusal);
                Next::Again
            }
            Ok(Progress::NeedsBytes) => {
                if *budget == 0 {
                    return Next::Later;
                }
                let room = connection.reader.room().min(self.scratch.len()).min(*budget);
                match connection.receive(&mut self.scratch[..room]) {
                    Received::Bytes(count) => {
                        // A first request has its time from the connect on.
                        if connection.served && connection.reader.is_empty() {
                            connection.started = self.now;
                        }
                        connection.reader.push(&self.scratch[..count]);
                        *budget -= count;
                        Next::Again
                    }
                    Received::Nothing => Next::Wait,
                    Received::Closed => Next::Close,
                }
            }
        }
    }

    fn serve(&mut self, slot: usize, connection: &mut Connection, request: Request) {
        self.requests += 1;
        count(&self.shared.figures.requests);
        let place = Place { slot, request: self.requests };
        connection.served = true;
        connection.enter(Phase::Answering { request: place.request, form: request.form }, self.now);
        let reply = Reply::new(&self.shared, place);
        // The site may be left half-changed by its panic; it is the site's business to bear that, and still better
        // than a daemon without a web listener. The panic has been reported by its hook.
        if catch_unwind(AssertUnwindSafe(|| self.site.serve(request, reply))).is_err() {
            log::error!("a web request made its handler panic; the client was answered 500");
        }
    }

    fn refuse(&mut self, connection: &mut Connection, refusal: &Refusal) {
        count(&self.shared.figures.refused);
        log::debug!("web request refused: {} {}", refusal.status, refusal.sentence);
        self.respond(connection, AnswerForm::CLOSING, refusal.response(), Then::Drain);
    }

    pub(super) fn respond(
        &mut self,
        connection: &mut Connection,
        form: AnswerForm,
        response: Response,
        then: Then,
    ) {
        let output = &mut connection.output;
        output.body = response.write(form, self.date.text(), &mut output.head);
        connection.enter(Phase::Writing(then), self.now);
    }

    fn write(&mut self, then: Then, connection: &mut Connection) -> Next {
        match connection.output.flush(&mut connection.socket) {
            Flushed::Failed => return Next::Close,
            Flushed::Blocked { progress } => {
                if progress {
                    connection.since = self.now;
                }
                return Next::Wait;
            }
            Flushed::All => {}
        }
        let unread = connection.readable || !connection.reader.is_empty();
        match then {
            Then::ReadOn | Then::NextRequest if self.stopping.is_some() => return Next::Close,
            Then::ReadOn => connection.enter(Phase::Reading, self.now),
            Then::NextRequest => {
                connection.enter(Phase::Reading, self.now);
                connection.started = self.now;
            }
            Then::Close if !unread => return Next::Close,
            Then::Close | Then::Drain => {
                if !connection.shut_output() {
                    return Next::Close;
                }
                connection.enter(Phase::Draining { left: self.limits.drain_bytes }, self.now);
            }
        }
        Next::Again
    }

    fn drain(&mut self, connection: &mut Connection) -> Next {
        let received = connection.receive(&mut self.scratch);
        let Phase::Draining { left } = &mut connection.phase else { return Next::Close };
        match received {
            Received::Bytes(count) if count < *left => {
                *left -= count;
                Next::Later
            }
            Received::Nothing => Next::Wait,
            Received::Bytes(_) | Received::Closed => Next::Close,
        }
    }

    /// Keeps timer and ticket in step with the phase.
    fn settle(&mut self, slot: usize, connection: &mut Connection) {
        if let Some(deadline) = connection.deadline(&self.limits)
            && connection.armed.is_none_or(|armed| deadline < armed)
        {
            if let Some(armed) = connection.armed.replace(deadline) {
                self.timers.remove(&(armed, slot));
            }
            self.timers.insert((deadline, slot));
        }
        let rank = connection.rank();
        if rank != connection.ticket.map(|ticket| ticket.rank) {
            if let Some(ticket) = connection.ticket.take() {
                self.evictable.remove(&ticket);
            }
            if let Some(rank) = rank {
                self.tickets += 1;
                let ticket = Ticket { rank, number: self.tickets };
                connection.ticket = Some(ticket);
                self.evictable.insert(ticket, slot);
            }
        }
    }

    /// Closes a connection and everything that is kept about it.
    pub(super) fn forget(&mut self, slot: usize, mut connection: Box<Connection>) {
        if let Phase::Streaming { buffer, .. } = &connection.phase {
            buffer.close();
        }
        if let Some(armed) = connection.armed {
            self.timers.remove(&(armed, slot));
        }
        if let Some(ticket) = connection.ticket {
            self.evictable.remove(&ticket);
        }
        self.uncount(&mut connection);
        if connection.is_stream {
            self.streams -= 1;
            self.shared.figures.streams.store(self.streams as u64, Relaxed);
        }
        let _ = self.poll.registry().deregister(&mut connection.socket);
        drop(connection);
        self.free.push(slot);
        // There is a descriptor again.
        self.accept_paused = None;
    }

    /// Takes a connection out of the counts of ordinary connections.
    pub(super) fn uncount(&mut self, connection: &mut Connection) {
        if connection.is_stream {
            return;
        }
        self.open -= 1;
        self.shared.figures.connections.store(self.open as u64, Relaxed);
        if let Some(address) = connection.address.take()
            && let Some(count) = self.per_address.get_mut(&address)
        {
            *count -= 1;
            if *count == 0 {
                self.per_address.remove(&address);
            }
        }
    }

    pub(super) fn begin_stop(&mut self) {
        self.stopping = Some(self.now + self.limits.stop_time);
        if let Some(mut listener) = self.listener.take() {
            let _ = self.poll.registry().deregister(listener.source());
        }
        // It is a second descriptor of the listener, which would go on listening.
        self.spare = None;
        for slot in 0..self.slots.len() {
            let Some(connection) = self.slots[slot].take() else { continue };
            match &connection.phase {
                Phase::Reading => self.forget(slot, connection),
                Phase::Streaming { buffer, .. } => {
                    buffer.end();
                    self.drive(slot, connection);
                }
                _ => self.slots[slot] = Some(connection),
            }
        }
    }

    // ---- time -------------------------------------------------------------------------------------------------

    fn expire(&mut self) {
        while let Some(&(when, slot)) = self.timers.first() {
            if when > self.now {
                return;
            }
            self.timers.pop_first();
            let Some(mut connection) = self.slots.get_mut(slot).and_then(Option::take) else { continue };
            connection.armed = None;
            match connection.deadline(&self.limits) {
                Some(deadline) if deadline <= self.now => self.lose_patience(slot, connection),
                _ => {
                    self.settle(slot, &mut connection);
                    self.slots[slot] = Some(connection);
                }
            }
        }
    }

    fn lose_patience(&mut self, slot: usize, mut connection: Box<Connection>) {
        match connection.phase {
            Phase::Reading if !connection.reader.is_empty() => {
                self.refuse(&mut connection, &Refusal::new(408, "the request did not arrive in time"));
                self.drive(slot, connection);
            }
            Phase::Answering { .. } => {
                count(&self.shared.figures.unanswered);
                let sentence =
                    "no answer in time; what was asked for may still be done, look before you repeat it";
                self.respond(
                    &mut connection,
                    AnswerForm::CLOSING,
                    Response::error(504, sentence),
                    Then::Drain,
                );
                self.drive(slot, connection);
            }
            _ => self.forget(slot, connection),
        }
    }
}

pub(super) fn count(figure: &AtomicU64) {
    figure.fetch_add(1, Relaxed);
}
