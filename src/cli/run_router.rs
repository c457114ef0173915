//! `rapidsms run_router`: the router in the foreground.

use super::{Ended, Exit, Failure, Place};
use crate::settings::Settings;
use crate::shell::journal::Journal;
use crate::shell::{self, Daemon, Ending, StartError};
use std::io::{IsTerminal, Write};
use std::os::unix::process::CommandExt;

/// Runs until a signal ends it.
pub(super) fn run(place: &Place) -> Ended {
    let (file, loaded) = place.load().map_err(|error| nothing_started(error.into()))?;
    let journal = Journal::start(std::io::stderr())
        .map_err(|error| nothing_started(Failure::failed(format!("no thread can be had: {error}"))))?;
    start_log(&loaded.settings, &journal);
    for warning in &loaded.warnings {
        journal.say(&format!("{warning}\n"));
    }
    // Whatever this process creates is for its own user only.
    rustix::process::umask(rustix::fs::Mode::RWXG | rustix::fs::Mode::RWXO);
    let greet = |daemon: &Daemon| greet(daemon, &journal);
    let ended = shell::run(loaded.settings, place.registry.clone(), &file, &journal, greet);
    journal.flush();
    match ended {
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
fn start_log(settings: &Settings, journal: &Journal) {
    let colours = if std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none() {
        env_logger::WriteStyle::Always
    } else {
        env_logger::WriteStyle::Never
    };
    let mut logger = env_logger::Builder::new();
    logger.target(env_logger::Target::Pipe(Box::new(journal.clone()))).write_style(colours);
    logger.filter_level(settings.log_level).parse_default_env();
    // These log whole addresses and more, in which passwords of gateways stand; so RUST_LOG has no say here.
    for library in ["ureq", "ureq_proto", "rustls"] {
        logger.filter_module(library, log::LevelFilter::Warn);
    }
    if std::env::var_os("JOURNAL_STREAM").is_some() {
        logger.format_timestamp(None);
    } else {
        logger.format_timestamp_millis();
    }
    // A panic is told by the log as well: the usual hook writes to standard error itself, and waits for its reader.
    std::panic::set_hook(Box::new(|panic| log::error!("{panic}")));
    // A second start within one process (an embedding program) keeps the first log.
    let _ = logger.try_init();
}

fn greet(daemon: &Daemon, journal: &Journal) {
    let backends = daemon.board().lock().backends.len();
    let for_a_program = !std::io::stdout().is_terminal() && std::env::var_os("JOURNAL_STREAM").is_none();
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
        let line = format!("Message Tester: http://{address}/httptester/");
        journal.say(&line);
        if for_a_program {
            // Whoever reads standard output only wants to know it, too; and may have gone away.
            let _ = writeln!(std::io::stdout(), "{line}");
        }
    }
    let plural = if backends == 1 { "" } else { "s" };
    let how = if std::io::stderr().is_terminal() { "; Ctrl-C stops it" } else { "" };
    journal.say(&format!("The router runs with {backends} backend{plural}{how}."));
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
