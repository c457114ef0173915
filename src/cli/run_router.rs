//! `rapidsms run_router`: the router in the foreground.

use super::print::say;
use super::{Ended, Exit, Failure, Place};
use crate::settings::Settings;
use crate::shell::{self, Daemon, Ending, StartError};
use std::io::IsTerminal;
use std::os::unix::process::CommandExt;

/// Runs until a signal ends it.
pub(super) fn run(place: &Place) -> Ended {
    let (file, loaded) = place.load().map_err(|error| nothing_started(error.into()))?;
    start_log(&loaded.settings);
    for warning in &loaded.warnings {
        say(format_args!("{warning}\n"));
    }
    // Whatever this process creates is for its own user only.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    match shell::run(loaded.settings, place.registry.clone(), &file, greet) {
        Ok(Ending::Stopped) => Ok(Exit::Ok),
        Ok(Ending::Restart) => Ok(begin_again()),
        Err(StartError::Settings(error)) => Err(nothing_started(error.into())),
        Err(StartError::Store(error)) => Err(nothing_started(error.into())),
        Err(StartError::System(why)) => Err(nothing_started(Failure::failed(why))),
    }
}

fn nothing_started(failure: Failure) -> Failure {
    Failure { sentence: format!("{}\nnothing was started", failure.sentence), ..failure }
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
        let mut address = *address;
        if address.ip().is_unspecified() {
            // What listens everywhere is reached here by loopback.
            address.set_ip(match address {
                std::net::SocketAddr::V4(_) => std::net::Ipv4Addr::LOCALHOST.into(),
                std::net::SocketAddr::V6(_) => std::net::Ipv6Addr::LOCALHOST.into(),
            });
        }
        say(format_args!("Message Tester: http://{address}/httptester/"));
    }
    let plural = if backends == 1 { "" } else { "s" };
    let how = if std::io::stderr().is_terminal() { "; Ctrl-C stops it" } else { "" };
    say(format_args!("The router runs with {backends} backend{plural}{how}."));
}

/// Replaces this process by a fresh one with the same arguments: whatever is stuck in it is gone.
fn begin_again() -> Exit {
    let program = match std::env::current_exe() {
        Ok(program) => program,
        Err(error) => {
            log::error!("the process could not begin again: {error}");
            return Exit::Failed;
        }
    };
    let error = std::process::Command::new(program).args(std::env::args_os().skip(1)).exec();
    log::error!("the process could not begin again: {error}");
    Exit::Failed
}
