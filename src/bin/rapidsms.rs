//! The program `rapidsms`.

#[allow(clippy::disallowed_methods)] // The exit code is what this file is for.
fn main() {
    std::process::exit(rapidsms::cli::main());
}
