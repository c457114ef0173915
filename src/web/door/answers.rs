//! Answers and event streams: the part of the loop that brings them from the site to the sockets.

use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use super::connection::{Connection, Flushed, Phase, Received, Then};
use super::event_loop::{EventLoop, Next};
use super::reply::{Completion, Place, StreamBuffer, Taken};
use crate::http::{AnswerForm, Response};

/// How often one stream is refilled before the others have their turn.
const STREAM_ROUNDS: usize = 4;
/// A comment in the event stream format, which every client ignores.
const HEARTBEAT: &[u8] = b":\n\n";

impl EventLoop<'_> {
    pub(super) fn take_completions(&mut self) {
        let mut completions = std::mem::take(&mut self.completions);
        let stop = self.shared.take(&mut completions);
        for completion in completions.drain(..) {
            match completion {
                Completion::Answer(place, response) => self.answer(place, response),
                Completion::HangUp(place) => {
                    if let Some((connection, _)) = self.awaiting(place) {
                        self.forget(place.slot, connection);
                    }
                }
                Completion::StreamBegins(place, response, buffer) => {
                    self.begin_stream(place, response, buffer)
                }
                Completion::StreamReady(place) => {
                    let slot = self.slots.get(place.slot).and_then(Option::as_deref);
                    if let Some(Connection { phase: Phase::Streaming { request, .. }, .. }) = slot
                        && *request == place.request
                    {
                        self.go_on(place.slot);
                    }
                }
            }
        }
        self.completions = completions;
        if stop && self.stopping.is_none() {
            self.begin_stop();
        }
    }

    /// The connection that waits for this answer, taken out of its slot, and the form of the answer.
    fn awaiting(&mut self, place: Place) -> Option<(Box<Connection>, AnswerForm)> {
        let slot = self.slots.get_mut(place.slot)?;
        match slot.as_deref()?.phase {
            Phase::Answering { request, mut form } if request == place.request => {
                form.keep_alive &= self.stopping.is_none();
                Some((slot.take()?, form))
            }
            _ => None,
        }
    }

    fn answer(&mut self, place: Place, response: Response) {
        let Some((mut connection, form)) = self.awaiting(place) else { return };
        let then = if form.keep_alive { Then::NextRequest } else { Then::Close };
        self.respond(&mut connection, form, response, then);
        self.drive(place.slot, connection);
    }

    fn begin_stream(&mut self, place: Place, response: Response, buffer: Arc<StreamBuffer>) {
        let Some((mut connection, form)) = self.awaiting(place) else {
            buffer.close();
            return;
        };
        let refusal = if response.fault().is_some() {
            Some(response.clone())
        } else if self.streams >= self.limits.event_streams || self.stopping.is_some() {
            let sentence =
                "as many event streams as may be are open already; close a page, or ask again later";
            Some(Response::error(503, sentence).header("Retry-After", "5"))
        } else {
            None
        };
        if let Some(refusal) = refusal {
            buffer.close();
            let then = if form.keep_alive { Then::NextRequest } else { Then::Close };
            self.respond(&mut connection, form, refusal, then);
            return self.drive(place.slot, connection);
        }
        let form = AnswerForm { keep_alive: false, ..form };
        response.write_stream_head(form, self.date.text(), &mut connection.output.head);
        if form.head_only {
            buffer.close();
            connection.enter(Phase::Writing(Then::Close), self.now);
            return self.drive(place.slot, connection);
        }
        self.uncount(&mut connection);
        connection.is_stream = true;
        self.streams += 1;
        self.shared.figures.streams.store(self.streams as u64, Relaxed);
        self.heartbeat.get_or_insert(self.now + self.limits.heartbeat);
        let phase = Phase::Streaming {
            request: place.request,
            buffer,
            chunked: !form.http_1_0,
            unwanted_left: self.limits.sizes.head_bytes,
        };
        connection.enter(phase, self.now);
        self.drive(place.slot, connection);
    }

    pub(super) fn stream(&mut self, connection: &mut Connection) -> Next {
        // The client of an event stream has nothing to say; its end is what is listened for.
        let received = connection.receive(&mut self.scratch);
        let Phase::Streaming { buffer, chunked, unwanted_left, .. } = &mut connection.phase else {
            return Next::Close;
        };
        match received {
            Received::Bytes(count) if count < *unwanted_left => *unwanted_left -= count,
            Received::Nothing => {}
            Received::Bytes(_) | Received::Closed => return Next::Close,
        }
        if buffer.is_closed() {
            return Next::Close;
        }
        for _ in 0..STREAM_ROUNDS {
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
            match buffer.take() {
                Taken::Nothing => return if connection.readable { Next::Later } else { Next::Wait },
                Taken::Overflowed => return Next::Close,
                Taken::Bytes(mut bytes) => {
                    if *chunked {
                        put_chunk_head(&mut connection.output.head, bytes.len());
                        bytes.extend_from_slice(b"\r\n");
                    }
                    connection.output.body = bytes.into();
                    connection.since = self.now;
                }
                Taken::Ended => {
                    if *chunked {
                        connection.output.head.extend_from_slice(b"0\r\n\r\n");
                    }
                    connection.enter(Phase::Writing(Then::Close), self.now);
                    return Next::Again;
                }
            }
        }
        Next::Later
    }

    /// Sends every event stream its comment line when it is time.
    pub(super) fn beat(&mut self) {
        if self.heartbeat.is_none_or(|when| when > self.now) {
            return;
        }
        self.heartbeat = (self.streams > 0).then_some(self.now + self.limits.heartbeat);
        for slot in 0..self.slots.len() {
            let Some(Connection { phase: Phase::Streaming { chunked, .. }, output, since, .. }) =
                self.slots[slot].as_deref_mut()
            else {
                continue;
            };
            // Behind bytes that the client does not take, a heartbeat would tell nothing.
            if output.is_empty() {
                if *chunked {
                    put_chunk_head(&mut output.head, HEARTBEAT.len());
                }
                output.head.extend_from_slice(HEARTBEAT);
                if *chunked {
                    output.head.extend_from_slice(b"\r\n");
                }
                *since = self.now;
                self.go_on(slot);
            }
        }
    }
}

fn put_chunk_head(out: &mut Vec<u8>, length: usize) {
    // Writing into a Vec cannot fail.
    let _ = write!(out, "{length:x}\r\n");
}

/// The Date header, written once a second at most.
#[derive(Default)]
pub(super) struct DateLine {
    second: i64,
    text: String,
}

impl DateLine {
    pub(super) fn text(&mut self) -> &str {
        let now = jiff::Timestamp::now();
        if self.second != now.as_second() || self.text.is_empty() {
            self.second = now.as_second();
            // Fails only for years beyond 9999, and then an old date does no harm.
            if let Ok(text) = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&now) {
                self.text = text;
            }
        }
        &self.text
    }
}
