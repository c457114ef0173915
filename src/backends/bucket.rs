//! A bucket: everything that is sent falls into it. The smallest engine there is, and the one to copy.
//!
//! ```toml
//! [INSTALLED_BACKENDS.message_tester]
//! ENGINE = "rapidsms.backends.bucket"
//! ```
//!
//! In the daemon it is the Message Tester's mailbox: the page and `POST /httptester/<backend>/` bring messages in, and the page shows
//! from the store what was sent. In a test, [`Bucket::sent`] is the list of what fell in.

use super::{Backend, BackendError, Engine};
use crate::message::{Outgoing, Receipt, SendFailure};
use crate::settings::{BackendSettings, EngineSpec};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

/// What the settings know of this engine. The line in [`super::ENGINES`] is all else that a new engine needs.
pub const ENGINE: Engine = Engine {
    // Nothing waits here, so as many messages as are ready may be in hand.
    window: 256,
    ..Engine::plain(SPEC, build)
};

const SPEC: EngineSpec = EngineSpec {
    // The short name in `ENGINE = "bucket"`, and the dotted names of the older systems.
    name: "bucket",
    aliases: &["rapidsms.backends.bucket", "rapidsms.backends.database", "rapidsms.backends.db"],
    // No settings of its own. An engine that has some lists each with its kind, default and meaning.
    keys: &[],
    built: true,
    // It reaches nobody but people at the tester's page: what comes from here is test traffic.
    tester: true,
    about: "a mailbox for the Message Tester and for tests",
};

/// The daemon throws away what a person has seen; a test wants the latest.
const KEPT: usize = 100;

/// The bucket.
#[derive(Clone, Default)]
pub struct Bucket {
    // Shared, so that a test can keep a clone and look into it while the backend's thread owns the other.
    sent: Arc<Mutex<VecDeque<Outgoing>>>,
}

/// Called before each start of the backend. An engine with settings reads them here:
/// `settings.options.text("port")`, and says `BackendError::Refused` when they cannot work.
fn build(_settings: &BackendSettings) -> Result<Box<dyn Backend>, BackendError> {
    Ok(Box::new(Bucket::default()))
}

impl Bucket {
    /// What was sent, oldest first; the last hundred at most.
    pub fn sent(&self) -> Vec<Outgoing> {
        self.sent.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }
}

impl Backend for Bucket {
    // `run` is not written: without it the backend waits for messages and calls `send` for each. An engine that
    // listens to a device writes its own, and hands what it hears to `line.deliver`.

    fn send(&mut self, outgoing: &Outgoing) -> Result<Receipt, SendFailure> {
        let mut sent = self.sent.lock().unwrap_or_else(PoisonError::into_inner);
        if sent.len() == KEPT {
            sent.pop_front();
        }
        sent.push_back(outgoing.clone());
        // `Ok` means that the carrier has it. An engine that gets a name for the message from its
        // carrier returns it in the receipt, so that later reports find the message.
        Ok(Receipt::default())
    }
}
