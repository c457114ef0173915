//! The command line: parse, run, exit code.
//!
//! | file | commands |
//! |---|---|
//! | `arguments` | what may be typed, with help |
//! | `run_router`, `check`, `send`, `messages`, `decide`, `backends`, `status`, `script` (`test`), `apps`, `pdu`, `ussd`, `modems`, `simulate`, `about` | one command each, `about` several small ones |
//! | `client`, `desk` | the running router's Unix socket; the store itself when none runs |
//! | `print` | standard output and error, tables, escapes |
//!
//! Reading commands read the store and work whether the router runs or not. What changes the store goes through the running router, which is its only
//! writer, or takes the router's own lock when none runs. Standard output is data, standard error is talk.

mod about;
mod apps;
mod arguments;
mod backends;
mod check;
mod client;
mod decide;
mod desk;
mod messages;
mod modems;
mod pdu;
mod print;
mod rehearse;
mod run_router;
mod script;
mod send;
mod simulate;
mod status;
mod ussd;

use crate::registry::Registry;
use crate::settings::{self, Settings, SettingsError};
use crate::store::{Reader, StoreError};
use arguments::{Arguments, Command};
use clap::Parser;
use print::say;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// How the program ended, as scripts see it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(i32)]
pub enum Exit {
    /// All well.
    Ok = 0,
    /// It did not work.
    Failed = 1,
    /// The command line was wrong.
    Usage = 2,
    /// The settings are wrong.
    Settings = 3,
    /// There is no router running.
    NotRunning = 4,
    /// The store cannot be used.
    Store = 5,
}

/// Runs the program with what is in the box.
pub fn main() -> i32 {
    main_with(Registry::standard())
}

/// Runs the program with engines and apps of one's own. Returns the exit code.
pub fn main_with(registry: Registry) -> i32 {
    main_as(registry, std::env::args_os())
}

/// The same with other arguments than the process has; the first is the program's name.
pub fn main_as(registry: Registry, arguments: impl IntoIterator<Item = OsString>) -> i32 {
    let arguments = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help that nobody reads to the end (`| head`) has been read enough.
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage as i32 } else { Exit::Ok as i32 };
        }
    };
    let place = Place { named: arguments.settings, registry };
    let ended = match arguments.command {
        Command::RunRouter => run_router::run(&place),
        Command::Check(check) => check::run(&place, &check),
        Command::Send(send) => send::run(&place, &send),
        Command::Messages(messages) => messages::run(&place, &messages),
        Command::Release(ids) => decide::run(&place, &ids, decide::Verb::Release),
        Command::Hold(ids) => decide::run(&place, &ids, decide::Verb::Hold),
        Command::Cancel(ids) => decide::run(&place, &ids, decide::Verb::Cancel),
        Command::Backends(output) => backends::run(&place, &output),
        Command::Status(output) => status::run(&place, &output),
        Command::Test(test) => script::run(&place, &test),
        Command::Apps(apps) => apps::run(&place, &apps),
        Command::Pdu(pdu) => pdu::run(&pdu),
        Command::Ussd(ussd) => ussd::run(&place, &ussd),
        Command::Modems(modems) => modems::run(&place, &modems),
        Command::Simulate(simulate) => simulate::run(&simulate),
        Command::Version(version) => about::version(&place.registry, &version),
        Command::Completions { shell } => about::completions(shell),
        Command::Man(man) => about::man(&man),
    };
    let exit = ended.unwrap_or_else(|failure| failure.tell());
    exit as i32
}

/// How a command ended.
type Ended = Result<Exit, Failure>;

/// Why a command did not do what it was asked: a sentence, perhaps advice, and an exit code.
#[derive(Debug)]
struct Failure {
    exit: Exit,
    /// Empty when there is nothing to say.
    sentence: String,
    hint: Option<String>,
    /// The sentence is a report that names its errors itself.
    report: bool,
}

impl Failure {
    fn new(exit: Exit, sentence: impl Into<String>) -> Failure {
        Failure { exit, sentence: sentence.into(), hint: None, report: false }
    }

    fn failed(sentence: impl Into<String>) -> Failure {
        Failure::new(Exit::Failed, sentence)
    }

    fn usage(sentence: impl Into<String>) -> Failure {
        Failure::new(Exit::Usage, sentence)
    }

    /// The reader of standard output has enough, which ends the command in silence and good order.
    fn nobody_reads() -> Failure {
        Failure::new(Exit::Ok, "")
    }

    fn hint(mut self, hint: impl Into<String>) -> Failure {
        self.hint = Some(hint.into());
        self
    }

    fn tell(self) -> Exit {
        match self.sentence.as_str() {
            "" => {}
            report if self.report => say(report),
            sentence => say(format_args!("error: {sentence}")),
        }
        if let Some(hint) = self.hint {
            say(format_args!("  = help: {hint}"));
        }
        self.exit
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Failure {
        Failure::new(Exit::Store, error.to_string())
    }
}

impl From<SettingsError> for Failure {
    fn from(error: SettingsError) -> Failure {
        // Each fault says "error" itself, behind its place.
        Failure { report: true, ..Failure::new(Exit::Settings, error.to_string()) }
    }
}

/// Where a command finds its settings, and what they may name.
struct Place {
    named: Option<PathBuf>,
    registry: Registry,
}

impl Place {
    /// The settings file and its settings. Remarks are for `check` and `run_router` to tell.
    fn load(&self) -> Result<(PathBuf, settings::Loaded), SettingsError> {
        let file = settings::find(self.named.as_deref())?;
        let loaded = settings::load(&file, &self.registry.catalogue())?;
        Ok((file, loaded))
    }

    fn settings(&self) -> Result<Settings, Failure> {
        Ok(self.load()?.1.settings)
    }
}

/// A reader of the settings' store; `None` when there is no store yet.
fn reader(settings: &Settings) -> Result<Option<Box<dyn Reader>>, Failure> {
    let path: &Path = &settings.database.path;
    match path.try_exists() {
        Ok(false) => Ok(None),
        _ => Ok(Some(crate::store::sqlite::Sqlite::open_reader(path)?)),
    }
}
