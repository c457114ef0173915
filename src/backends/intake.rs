//! The inbound side of engines whose gateway calls us by HTTP: a request in, messages and reports out, and the answer that the gateway gets
//! once all of it is on disk.
//!
//! The listener routes `/http/<backend>/...` and `/backend/<backend>/...` to the backend's [`Intake`]; where the settings ask for a listener of the
//! backend's own, all its requests go there. It belongs to the settings, not to a run of the backend: messages come in while nothing can be sent.

use super::{BackendError, Engine};
use crate::http::{Request, Response};
use crate::message::{Incoming, Name, Report};
use crate::settings::BackendSettings;
use crate::time::Timestamp;
use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

/// Reads what a gateway sends. Called on a listener's thread, from several at once, so it never waits.
pub trait Intake: Send + Sync {
    /// Whether it decides by itself whom it believes (a secret, a signature, a list of addresses). If not, the listener's own
    /// rules hold: its token, or this machine only.
    fn has_trust(&self) -> bool;

    /// Reads one request. `rest` are the decoded pieces of the path behind the backend's name, the last one empty when the path ends in a slash.
    /// Nothing is stored here.
    fn hear(&self, request: &Request, rest: &[&str], now: Timestamp) -> Heard;
}

/// What a request said.
#[derive(Debug)]
pub struct Heard {
    /// Messages to be accepted.
    pub messages: Vec<Incoming>,
    /// News of messages sent earlier.
    pub reports: Vec<Report>,
    /// What the gateway is told once all of it is on disk; when something of it is refused, that is told instead.
    pub answer: Response,
}

impl Heard {
    /// Nothing is to be stored; this is answered at once.
    pub fn nothing(answer: Response) -> Heard {
        Heard { messages: Vec::new(), reports: Vec::new(), answer }
    }
}

/// The intakes of all backends that have one, by name. Listeners look here, the router's thread keeps it up to date.
#[derive(Clone, Default)]
pub struct Intakes(Arc<RwLock<HashMap<Name, Arc<dyn Intake>>>>);

impl Intakes {
    /// The intake of a backend.
    pub fn get(&self, backend: &str) -> Option<Arc<dyn Intake>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(backend).cloned()
    }

    /// Makes the intake that these settings describe, if the engine has any, and forgets a former one.
    pub fn put(&self, engine: &Engine, settings: &BackendSettings) -> Result<(), BackendError> {
        let built = engine.intake.map(|build| build(settings)).transpose();
        let mut intakes = self.0.write().unwrap_or_else(PoisonError::into_inner);
        match built {
            Ok(Some(intake)) => {
                intakes.insert(settings.name.as_str().into(), intake);
                Ok(())
            }
            other => {
                intakes.remove(settings.name.as_str());
                other.map(drop)
            }
        }
    }

    /// Forgets the intake of a backend that is no longer configured.
    pub fn forget(&self, backend: &str) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(backend);
    }
}
