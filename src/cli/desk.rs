//! The store itself, for commands that change something while no router runs.
//!
//! It takes the router's own lock, so that a router that starts meanwhile waits at the door, and uses the router's own rules:
//! what is written here is what the router would have written.

use super::{Exit, Failure};
use crate::apps::{Answers, Host, LateAnswer};
use crate::message::{MessageId, Name};
use crate::registry::Registry;
use crate::router::{Refusal, Refused, Router};
use crate::settings::Settings;
use crate::shell::{rules, seed, wall};
use crate::store::Store;
use crate::store::sqlite::{Opened, Sqlite};
use crate::time::{Clock, Timestamp};
use std::sync::Arc;
use std::time::Duration;

/// Runs `work` on a router without threads around the settings' store, makes it durable, and closes the store.
pub(super) fn with_router<T>(
    settings: &Settings,
    registry: &Registry,
    work: impl FnOnce(&mut Router, Timestamp) -> Result<T, Refused>,
) -> Result<T, Failure> {
    let apps = registry.build_apps(settings)?;
    let Opened { store, notes, unclean } = Sqlite::open(&settings.database.path, wall())?;
    for note in notes {
        super::say(format_args!("warning: {note}"));
    }
    let newest = store.newest().map_or(Timestamp::default(), MessageId::time);
    let now = Clock::new(wall(), Duration::ZERO, newest).read(wall(), Duration::ZERO).now;
    let mut router = Router::new(Box::new(store), apps, rules::policy(settings), seed());
    // Messages on their way out pass the apps here as in the running router.
    for failure in router.start_apps(&Host::new(Arc::new(Nowhere))) {
        super::say(format_args!("warning: {failure}"));
    }
    for backend in &settings.backends {
        let window = backend.window.unwrap_or(1);
        router.set_backend(&Name::from(backend.name.as_str()), rules::backend_policy(backend, window));
    }
    let done = work(&mut router, now).map_err(|refused| refusal(&refused));
    let committed = router.commit(now);
    for failure in router.close(now) {
        super::say(format_args!("warning: {failure}"));
    }
    let done = done?;
    committed?;
    router.commit(now)?;
    if !unclean {
        // After a crash the next router checks the whole store; closing it cleanly here would tell it not to.
        router.store_mut().close()?;
    }
    Ok(done)
}

/// A refusal as this command's own.
pub(super) fn refusal(refused: &Refused) -> Failure {
    let exit = if refused.refusal == Refusal::Store { Exit::Store } else { Exit::Failed };
    Failure::new(exit, refused.reason.clone())
}

/// No app is asked for an answer here, so none can come later.
struct Nowhere;

impl Answers for Nowhere {
    fn answer(&self, _id: MessageId, _app: &str, _answer: LateAnswer) {}
}
