//! Signals: SIGTERM and SIGINT stop cleanly, a second one stops at once; SIGHUP reads the settings again.

use super::journal::Journal;
use crate::hub::event::{Event, Mouth};
use crate::registry::Registry;
use crate::settings::{self, Settings};
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use std::io;
use std::path::Path;
use std::thread::Builder;

/// From now on these signals wait for [`serve`] instead of ending the process.
pub(super) fn catch() -> io::Result<Signals> {
    Signals::new([SIGTERM, SIGINT, SIGHUP])
}

/// Serves signals until the handle of `signals` is closed.
pub(super) fn serve(
    mut signals: Signals,
    mouth: &Mouth,
    registry: &Registry,
    started_with: &Settings,
    file: &Path,
    journal: &Journal,
) {
    let mut stopping = false;
    for signal in signals.forever() {
        match signal {
            SIGHUP => reload(mouth, registry, started_with, file),
            _ if stopping => end_at_once(signal, journal),
            _ => {
                stopping = true;
                stop(mouth);
            }
        }
    }
}

/// Asks for a clean stop without waiting: when the channel is full because the router is stuck, a second signal must still be heard.
fn stop(mouth: &Mouth) {
    if mouth.try_say(Event::Stop).is_err() {
        let patient = mouth.clone();
        if Builder::new().name("stop".into()).spawn(move || patient.say(Event::Stop)).is_err() {
            mouth.say(Event::Stop);
        }
    }
}

/// Reads the settings again; with any fault the old ones stay.
fn reload(mouth: &Mouth, registry: &Registry, started_with: &Settings, file: &Path) {
    let loaded = match settings::load(file, &registry.catalogue()) {
        Ok(loaded) => loaded,
        Err(error) => return log::error!("the settings were not reloaded, the old ones stay:\n{error}"),
    };
    let new = loaded.settings;
    for (what, same) in [
        ("[database]", new.database.path == started_with.database.path),
        ("[web]", new.web == started_with.web),
    ] {
        if !same {
            return log::error!(
                "the settings were not reloaded, the old ones stay: {what} changed, which needs a new start"
            );
        }
    }
    for warning in loaded.warnings {
        log::warn!("{warning}");
    }
    mouth.say(Event::Reload(Box::new(new)));
}

/// The second signal: whoever sends it does not want to wait. Nothing that was acknowledged is lost, as after a power cut.
#[allow(clippy::disallowed_methods)] // This is the one place that ends the process without ado.
fn end_at_once(signal: i32, journal: &Journal) {
    log::warn!("stopped at once by a second signal");
    journal.flush();
    std::process::exit(128 + signal);
}
