//! `rapidsms run_router`: the router in the foreground.

use super::Exit;
use crate::registry::Registry;
use crate::settings::{self, Settings};
use crate::shell::{self, Daemon, Ending, StartError};
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;
use std::path::Path;

/// Runs until a signal ends it.
pub(super) fn run(file: Option<&Path>, registry: Registry) -> Exit {
    let loaded = settings::find(file)
        .and_then(|file| settings::load(&file, &registry.catalogue()).map(|loaded| (file, loaded)));
    let (file, loaded) = match loaded {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error}\nnothing was started");
            return Exit::Settings;
        }
    };
    start_log(&loaded.settings);
    for warning in &loaded.warnings {
        eprintln!("{warning}\n");
    }
    // Whatever this process creates is for its own user only.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    match shell::run(loaded.settings, registry, &file, greet) {
        Ok(Ending::Stopped) => Exit::Ok,
        Ok(Ending::Restart) => begin_again(),
        Err(error) => {
            eprintln!("error: {error}\nnothing was started");
            match error {
                StartError::Settings(_) => Exit::Settings,
                StartError::Store(_) => Exit::Store,
                StartError::System(_) => Exit::Failed,
            }
        }
    }
}

/// The log goes to standard error. Under systemd the journal has the time already.
fn start_log(settings: &Settings) {
    let mut logger = env_logger::Builder::new();
    logger.filter_level(settings.log_level).parse_default_env();
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        logger.format_timestamp(None);
    } else {
        logger.format_timestamp_millis();
    }
    // A second start within one process (an embedding program) keeps the first log.
    let _ = logger.try_init();
}

fn greet(daemon: &Daemon) {
    let backends = daemon.board().lock().backends.len();
    for address in daemon.addresses() {
        log::info!("listening on http://{address}");
        let unspecified = address.ip().is_unspecified();
        let address = if unspecified { format!("127.0.0.1:{}", address.port()) } else { address.to_string() };
        eprintln!("Message Tester: http://{address}/httptester/");
    }
    let plural = if backends == 1 { "" } else { "s" };
    let how = if std::io::stderr().is_terminal() { "; Ctrl-C stops it" } else { "" };
    eprintln!("The router runs with {backends} backend{plural}{how}.");
}

/// Replaces this process by a fresh one with the same arguments: whatever is stuck in it is gone.
fn begin_again() -> Exit {
    let program = std::env::current_exe();
    let Ok(program) = program else { return Exit::Failed };
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).exec();
    log::error!("the process could not begin again: {error}");
    Exit::Failed
}
