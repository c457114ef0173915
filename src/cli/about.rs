//! `rapidsms version`, `completions` and `man`: what the program says about itself.

use super::arguments::{Arguments, Man, Version};
use super::print::{Out, say};
use super::{Ended, Exit, Failure};
use crate::registry::Registry;
use clap::CommandFactory;
use clap_complete::Shell;
use clap_mangen::Man as Page;
use serde_json::json;
use std::io;
use std::path::Path;

const NAME: &str = "rapidsms";
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Prints the version.
pub(super) fn version(registry: &Registry, wanted: &Version) -> Ended {
    let target = format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS);
    let build = if cfg!(debug_assertions) { "debug" } else { "release" };
    let engines: Vec<&str> = registry.engines.iter().map(|engine| engine.spec.name).collect();
    let mut out = Out::new();
    if wanted.output.json {
        out.json(&json!({
            "version": VERSION, "target": target, "build": build, "sqlite": rusqlite::version(), "engines": engines,
        }))?;
    } else {
        out.line(format_args!("{NAME} {VERSION}"))?;
        if wanted.verbose {
            out.line(format_args!("target   {target} ({build})"))?;
            out.line(format_args!("SQLite   {}", rusqlite::version()))?;
            out.line(format_args!("engines  {}", engines.join(", ")))?;
        }
    }
    out.end()?;
    Ok(Exit::Ok)
}

/// Prints what a shell needs to complete commands.
pub(super) fn completions(shell: Shell) -> Ended {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), NAME, &mut script);
    let mut out = Out::new();
    out.octets(&script)?;
    out.end()?;
    Ok(Exit::Ok)
}

/// Prints a manual page, or writes all of them.
pub(super) fn man(wanted: &Man) -> Ended {
    let command = described();
    if let Some(folder) = &wanted.folder {
        let written = write_all(&command, folder);
        let count = written.map_err(|error| {
            Failure::failed(format!("the pages cannot be written to {}: {error}", folder.display()))
        })?;
        say(format_args!("{count} pages written to {}", folder.display()));
        return Ok(Exit::Ok);
    }
    let page = match &wanted.command {
        None => Page::new(command),
        Some(name) => match command.find_subcommand(name) {
            Some(found) => Page::new(found.clone()),
            None => {
                let names: Vec<&str> = command.get_subcommands().map(clap::Command::get_name).collect();
                let sentence = format!("there is no command \"{}\"", name.escape_debug());
                return Err(Failure::usage(sentence).hint(format!("possible: {}", names.join(", "))));
            }
        },
    };
    let mut text = Vec::new();
    page.render(&mut text).map_err(|error| Failure::failed(error.to_string()))?;
    let mut out = Out::new();
    out.octets(&text)?;
    out.end()?;
    Ok(Exit::Ok)
}

/// The commands with the names that their pages have: `rapidsms-send`.
fn described() -> clap::Command {
    let mut command = Arguments::command();
    command.build();
    let names: Vec<String> = command.get_subcommands().map(|found| found.get_name().to_string()).collect();
    for name in names {
        let page = format!("{NAME}-{name}");
        command = command.mut_subcommand(name, |found| found.display_name(page));
    }
    command
}

fn write_all(command: &clap::Command, folder: &Path) -> io::Result<usize> {
    let mut pages = vec![(NAME.to_string(), command.clone())];
    for found in command.get_subcommands() {
        pages.push((format!("{NAME}-{}", found.get_name()), found.clone()));
    }
    for (name, command) in &pages {
        let mut text = Vec::new();
        Page::new(command.clone()).render(&mut text)?;
        std::fs::write(folder.join(format!("{name}.1")), text)?;
    }
    Ok(pages.len())
}
