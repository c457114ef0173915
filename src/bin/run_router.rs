//! The program `run_router`: `rapidsms run_router` and nothing else.

use std::ffi::OsString;

#[allow(clippy::disallowed_methods)] // The exit code is what this file is for.
fn main() {
    let given = std::env::args_os().skip(1);
    let arguments = ["rapidsms", "run_router"].map(OsString::from).into_iter().chain(given);
    std::process::exit(rapidsms::cli::main_as(rapidsms::registry::Registry::standard(), arguments));
}
