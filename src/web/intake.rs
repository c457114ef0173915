//! Requests of gateways: handed to the backend's [`Intake`](crate::backends::Intake), what it heard to the router, and the answer given when all of it is on disk.

use super::door::{Reply, Site as Serve};
use super::kannel;
use super::site::{Access, refusal, say, unknown_backend};
use crate::backends::{Heard, Intakes};
use crate::http::{Request, Response};
use crate::hub::event::{Event, Mouth, Told};
use crate::message::Name;
use crate::router::Refused;
use crate::time::Timestamp;
use std::sync::{Arc, Mutex, PoisonError};

/// What the listeners need for the requests of gateways.
#[derive(Clone)]
pub struct Gateways {
    /// Where the intakes are found.
    pub intakes: Intakes,
    /// Who may ask, where an intake does not decide by itself.
    pub access: Access,
    /// The way to the router.
    pub mouth: Mouth,
    /// The wall clock.
    pub clock: fn() -> Timestamp,
    /// Who may use this router as a Kannel.
    pub kannel: kannel::Rules,
}

impl Gateways {
    /// Serves a request for the backend of this name; `rest` is what follows the name in the path.
    pub fn serve(&self, backend: &str, rest: &[&str], request: &Request, reply: Reply) {
        let Some(intake) = self.intakes.get(backend) else {
            let admitted = self.access.admit(request);
            return reply.send(admitted.map_or_else(|denied| denied, |()| unknown_backend(backend)));
        };
        if !intake.has_trust()
            && let Err(denied) = self.access.admit(request)
        {
            return reply.send(denied);
        }
        let heard = intake.hear(request, rest, (self.clock)());
        self.store(heard, reply);
    }
}

/// What a backend's own listener answers: every path is the backend's.
pub struct Own {
    /// The backend.
    pub backend: Name,
    /// Everything else.
    pub gateways: Gateways,
}

impl Serve for Own {
    fn serve(&mut self, request: Request, reply: Reply) {
        let Some(segments) = request.segments() else {
            return reply.send(Response::error(400, "the path is not UTF-8 once it is decoded"));
        };
        let rest: Vec<&str> = segments.iter().map(String::as_str).collect();
        self.gateways.serve(&self.backend, &rest, &request, reply);
    }
}

impl Gateways {
    fn store(&self, heard: Heard, reply: Reply) {
        let Heard { messages, reports, answer } = heard;
        let expected = messages.len() + reports.len();
        if expected == 0 {
            return reply.send(answer);
        }
        let waiting = Arc::new(Mutex::new(Waiting { expected, refused: None, reply: Some((reply, answer)) }));
        for incoming in messages {
            let waiting = waiting.clone();
            let told: Told<_> = Box::new(move |result| decided(&waiting, result.err()));
            say(&self.mouth, Event::Accept { incoming, told });
        }
        for report in reports {
            let waiting = waiting.clone();
            let told: Told<_> = Box::new(move |result| decided(&waiting, result.err()));
            say(&self.mouth, Event::Report { report, told });
        }
    }
}

/// An answer that waits until all that its request said is on disk.
struct Waiting {
    expected: usize,
    refused: Option<Refused>,
    reply: Option<(Reply, Response)>,
}

/// One more is decided. A reason that passes goes before one that stays: the gateway then offers all of it again, and what was taken is known by its key.
fn decided(waiting: &Mutex<Waiting>, refused: Option<Refused>) {
    let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
    waiting.expected -= 1;
    if let Some(refused) = refused
        && waiting.refused.as_ref().is_none_or(|before| !before.is_temporary())
    {
        waiting.refused = Some(refused);
    }
    if waiting.expected == 0
        && let Some((reply, answer)) = waiting.reply.take()
    {
        reply.send(match &waiting.refused {
            Some(refused) => refusal(refused),
            None => answer,
        });
    }
}
