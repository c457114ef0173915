//! rapidsms: a message router. Text messages come in, an app answers, the reply leaves by the line it came in on, and
//! nothing that was accepted is lost.
//!
//! In reading order:
//!
//! - the nouns: [`time`], [`message`];
//! - the core, without threads, clock or I/O of its own: [`store`] (where messages are safe), [`apps`] (what answers), [`phases`] (how
//!   apps are asked), [`retry`], [`guard`] and [`numbers`] (pure rules), [`router`] (accept, step, commit, sent, report);
//! - the languages of modems: [`pdu`] (SMS messages as octets), [`modem`] (AT commands and their answers);
//! - the world around it: [`settings`], [`devices`] (which modems are plugged in), [`http`] (requests and responses), [`backends`] (lines to the world), [`registry`] (what settings may name);
//! - the daemon: [`hub`] (what threads say to each other), [`web`], [`shell`] (threads, signals, the clock), [`cli`]; [`simulator`] (modems without hardware);
//! - for people who write apps: [`testing`].
//!
//! An app is a value that implements [`apps::App`]; an engine one that implements [`backends::Backend`]. A program of one's own
//! adds them to [`registry::Registry`] and calls [`cli::main_with`]; a test talks to a [`testing::TestRouter`].

pub mod message;
pub mod time;

pub mod apps;
pub mod guard;
pub mod modem;
pub mod numbers;
pub mod pdu;
pub mod phases;
pub mod retry;
pub mod router;
pub mod store;

pub mod backends;
pub mod devices;
pub mod hosts;
pub mod http;
pub mod registry;
pub mod settings;

pub mod cli;
pub mod hub;
pub mod shell;
pub mod simulator;
pub mod web;

pub mod testing;

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
