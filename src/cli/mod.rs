//! The command line: parse, run, exit code.

mod run_router;

use crate::registry::Registry;
use clap::{Parser, Subcommand};
use std::ffi::OsString;
use std::path::PathBuf;

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

#[derive(Parser)]
#[command(
    name = "rapidsms",
    version,
    about = "A message router: text messages in, an app answers, the reply leaves by the line it came in on."
)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the router in the foreground until SIGTERM or Ctrl-C
    #[command(name = "run_router", alias = "runrouter")]
    RunRouter {
        /// The settings file
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
    },
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
            let _ = error.print();
            return if error.use_stderr() { Exit::Usage as i32 } else { Exit::Ok as i32 };
        }
    };
    let exit = match arguments.command {
        Command::RunRouter { settings } => run_router::run(settings.as_deref(), registry),
    };
    exit as i32
}
