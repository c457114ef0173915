//! The way back: answers from any thread to the loop.
//!
//! Each request has one [`Reply`], so the queue holds at most one answer for each; each event stream has a bounded
//! buffer of its own and at most one note in the queue. One lock guards the queue and the fact that the loop
//! sleeps, so a burst of answers costs one wake-up and an answer given on the loop's own thread costs none.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use mio::Waker;

use super::Figures;
use crate::http::Response;

/// Where an answer belongs: a slot, and the request in it. An answer that comes too late matches no request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) slot: usize,
    pub(super) request: u64,
}

pub(super) enum Completion {
    Answer(Place, Response),
    StreamBegins(Place, Response, Arc<StreamBuffer>),
    StreamReady(Place),
    HangUp(Place),
}

/// What the loop and all other threads share.
pub(super) struct Shared {
    queue: Mutex<Queue>,
    waker: Waker,
    stream_capacity: usize,
    pub(super) figures: Figures,
}

#[derive(Default)]
struct Queue {
    completions: Vec<Completion>,
    /// The loop is in its poll, or about to enter it: the next entry has to wake it.
    asleep: bool,
    stop: bool,
    /// The loop has ended: nobody will look at completions any more.
    closed: bool,
}

impl Shared {
    pub(super) fn new(waker: Waker, stream_capacity: usize) -> Shared {
        Shared { queue: Mutex::default(), waker, stream_capacity, figures: Figures::default() }
    }

    pub(super) fn stop(&self) {
        let mut queue = lock(&self.queue);
        queue.stop = true;
        self.wake(queue);
    }

    /// Tells whether the loop may sleep: nothing waits, and it knows already if it is to stop. From then on
    /// an entry wakes it.
    pub(super) fn may_sleep(&self, stopping: bool) -> bool {
        let mut queue = lock(&self.queue);
        queue.asleep = queue.completions.is_empty() && (stopping || !queue.stop);
        queue.asleep
    }

    /// Swaps the waiting completions with an empty list, and tells whether to stop.
    pub(super) fn take(&self, into: &mut Vec<Completion>) -> bool {
        let mut queue = lock(&self.queue);
        queue.asleep = false;
        std::mem::swap(&mut queue.completions, into);
        queue.stop
    }

    pub(super) fn close(&self) {
        let left = {
            let mut queue = lock(&self.queue);
            queue.closed = true;
            std::mem::take(&mut queue.completions)
        };
        for completion in left {
            if let Completion::StreamBegins(_, _, buffer) = completion {
                buffer.close();
            }
        }
    }

    fn send(&self, completion: Completion) {
        let mut queue = lock(&self.queue);
        if queue.closed {
            drop(queue);
            if let Completion::StreamBegins(_, _, buffer) = completion {
                buffer.close();
            }
            return;
        }
        queue.completions.push(completion);
        self.wake(queue);
    }

    fn wake(&self, mut queue: MutexGuard<'_, Queue>) {
        let asleep = std::mem::take(&mut queue.asleep);
        drop(queue);
        if asleep && let Err(error) = self.waker.wake() {
            log::error!("the web listener cannot be woken, answers will be late: {error}");
        }
    }
}

/// The right and duty to answer one request. Dropped without an answer, it answers 500.
#[must_use = "a reply that is dropped answers 500"]
pub struct Reply {
    shared: Arc<Shared>,
    place: Place,
    answered: bool,
}

impl Reply {
    pub(super) fn new(shared: &Arc<Shared>, place: Place) -> Reply {
        Reply { shared: Arc::clone(shared), place, answered: false }
    }

    /// Sends the answer. If the client has gone or waited too long, nobody sees it, and that is no error.
    pub fn send(mut self, response: Response) {
        self.answered = true;
        self.shared.send(Completion::Answer(self.place, response));
    }

    /// Closes the connection without an answer: for clients to which every answer means "never again".
    pub fn hang_up(mut self) {
        self.answered = true;
        self.shared.send(Completion::HangUp(self.place));
    }

    /// Turns the answer into an endless one (server-sent events): status 200, `text/event-stream`, not to be
    /// cached, with these headers besides.
    ///
    /// When [`super::Limits::event_streams`] are open already, the client is answered 503 and the stream is
    /// [`Gone`] from its first push on.
    pub fn into_stream(mut self, headers: &[(&'static str, &str)]) -> EventStream {
        self.answered = true;
        let mut response =
            Response::bytes(200, "text/event-stream", Vec::new()).header("Cache-Control", "no-store");
        for (name, value) in headers {
            response = response.header(*name, value.to_string());
        }
        let buffer = Arc::new(StreamBuffer::new(self.shared.stream_capacity));
        self.shared.send(Completion::StreamBegins(self.place, response, Arc::clone(&buffer)));
        EventStream { shared: Arc::clone(&self.shared), place: self.place, buffer }
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.answered {
            log::error!("a web request was dropped without an answer; 500 was answered in its place");
            let response = Response::error(500, "the program gave no answer; its log says more");
            self.shared.send(Completion::Answer(self.place, response));
        }
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("place", &self.place).finish_non_exhaustive()
    }
}

/// The client of an event stream has left, was too slow, or was never taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gone;

impl fmt::Display for Gone {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the client of this event stream is gone")
    }
}

impl std::error::Error for Gone {}

/// An answer without an end. Dropping it ends the stream in good order.
pub struct EventStream {
    shared: Arc<Shared>,
    place: Place,
    buffer: Arc<StreamBuffer>,
}

impl EventStream {
    /// Sends bytes, normally one whole event (`data: ...\n\n`); never blocks. A client so slow that more than
    /// [`super::Limits::stream_buffer`] would wait for it is cut off, and finds its way back by itself.
    pub fn push(&self, bytes: &[u8]) -> Result<(), Gone> {
        match self.buffer.push(bytes) {
            Pushed::Noted => Ok(()),
            Pushed::First => {
                self.shared.send(Completion::StreamReady(self.place));
                Ok(())
            }
            Pushed::Overflow => {
                self.shared.figures.overflowed.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                self.shared.send(Completion::StreamReady(self.place));
                Err(Gone)
            }
            Pushed::Closed => Err(Gone),
        }
    }

    /// Whether a push would be in vain.
    pub fn is_gone(&self) -> bool {
        lock(&self.buffer.state).closed
    }
}

impl Drop for EventStream {
    fn drop(&mut self) {
        if self.buffer.end() {
            self.shared.send(Completion::StreamReady(self.place));
        }
    }
}

impl fmt::Debug for EventStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventStream").field("place", &self.place).finish_non_exhaustive()
    }
}

/// What waits for the reader of one event stream.
pub(super) struct StreamBuffer {
    capacity: usize,
    state: Mutex<StreamState>,
}

#[derive(Default)]
struct StreamState {
    waiting: Vec<u8>,
    /// Bytes that the loop has taken and the client has not.
    in_flight: usize,
    /// The loop has been told that there is something to fetch.
    noted: bool,
    /// The site has dropped its end.
    ended: bool,
    /// Nothing more goes out: the client left, or was too slow.
    closed: bool,
}

enum Pushed {
    First,
    Noted,
    Overflow,
    Closed,
}

/// What the loop finds in a buffer.
pub(super) enum Taken {
    Bytes(Vec<u8>),
    Nothing,
    Ended,
    Overflowed,
}

impl StreamBuffer {
    fn new(capacity: usize) -> StreamBuffer {
        StreamBuffer { capacity, state: Mutex::default() }
    }

    fn push(&self, bytes: &[u8]) -> Pushed {
        let mut state = lock(&self.state);
        if state.closed {
            return Pushed::Closed;
        }
        if state.waiting.len() + state.in_flight + bytes.len() > self.capacity {
            state.closed = true;
            state.waiting = Vec::new();
            return Pushed::Overflow;
        }
        state.waiting.extend_from_slice(bytes);
        if std::mem::replace(&mut state.noted, true) { Pushed::Noted } else { Pushed::First }
    }

    /// The site lets go; true when the loop has to be told.
    pub(super) fn end(&self) -> bool {
        let mut state = lock(&self.state);
        state.ended = true;
        !state.closed && !std::mem::replace(&mut state.noted, true)
    }

    /// Called by the loop when all it took before has gone out.
    pub(super) fn take(&self) -> Taken {
        let mut state = lock(&self.state);
        state.noted = false;
        state.in_flight = state.waiting.len();
        if state.closed {
            Taken::Overflowed
        } else if !state.waiting.is_empty() {
            Taken::Bytes(std::mem::take(&mut state.waiting))
        } else if state.ended {
            state.closed = true;
            Taken::Ended
        } else {
            Taken::Nothing
        }
    }

    pub(super) fn is_closed(&self) -> bool {
        lock(&self.state).closed
    }

    pub(super) fn close(&self) {
        let mut state = lock(&self.state);
        state.closed = true;
        state.waiting = Vec::new();
    }
}

/// A thread that panicked while it held one of these locks left nothing half done: each holder changes plain
/// fields only.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
