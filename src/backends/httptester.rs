//! A named tester: as many Message Testers as one likes, each with conversations of its own.
//!
//! ```toml
//! [INSTALLED_BACKENDS.httptester-public]
//! ENGINE = "threadless_router.backends.httptester.backend"
//! ```
//!
//! `POST /httptester/<backend>/` with `identity` and `text` brings a message in; `/httptester/<backend>/<identity>/` is the conversation.
//! What is sent needs no list here: it is in the store, where the page finds it.

use super::{Backend, BackendError, Engine};
use crate::message::{Outgoing, Receipt, SendFailure};
use crate::settings::{BackendSettings, EngineSpec};

/// What the settings know of this engine.
pub const ENGINE: Engine = Engine { window: 256, ..Engine::plain(SPEC, build) };

const SPEC: EngineSpec = EngineSpec {
    name: "httptester",
    aliases: &[
        "threadless_router.backends.httptester.backend",
        "threadless_router.backends.httptester",
        "rapidsms.contrib.httptester.backend",
        "rapidsms.contrib.httptester",
    ],
    keys: &[],
    built: true,
    tester: true,
    about: "a Message Tester of its own name",
};

struct HttpTester;

fn build(_settings: &BackendSettings) -> Result<Box<dyn Backend>, BackendError> {
    Ok(Box::new(HttpTester))
}

impl Backend for HttpTester {
    fn send(&mut self, _outgoing: &Outgoing) -> Result<Receipt, SendFailure> {
        Ok(Receipt::default())
    }
}
