//! A message router: text messages in, an app answers, the reply leaves by the line it came in on.

pub mod time;

pub mod message;

pub mod store;

pub mod apps;

pub mod phases;

pub mod retry;

pub mod guard;

pub mod pdu;

pub mod router;

pub mod settings;

pub mod registry;

pub mod backends;

pub mod web;

pub mod testing;

pub mod shell;

pub mod cli;

/// The Rust in the documents is compiled and run by `cargo test --doc`.
#[cfg(doctest)]
mod documents {
    #[doc = include_str!("../README.md")]
    mod readme {}
    #[doc = include_str!("../docs/testscript.md")]
    mod testscript {}
    #[doc = include_str!("../docs/writing-an-app.md")]
    mod writing_an_app {}
}
