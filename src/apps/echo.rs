//! The app `echo`: says back what it is told, so that a person sees the whole chain work. The simplest app; copy it.
//!
//! ```toml
//! INSTALLED_APPS = ["echo"]             # no settings of its own
//! ```
//!
//! | message | reply |
//! |---|---|
//! | `echo hello` | `hello` |
//! | `echo` | `To echo some text, send: ECHO <ANYTHING>` |
//! | `ping` | `pong` |
//!
//! `echo` is a keyword like any other ([`keyword`]). `ping` must be exactly that, case and blanks included, as in the old
//! systems: a probe that got through unchanged is the point of it.
//!
//! It never reads the text as a template: `echo 100%` answers `100%`.

use super::handlers::HandlerError;
use super::keyword::{self, KeywordHandler};
use super::pattern::PatternHandler;
use super::{App, AppError, Flow, Message};
use crate::settings::AppSpec;

/// What the settings know of this app.
pub const SPEC: AppSpec = AppSpec {
    name: "echo",
    aliases: &["rapidsms.contrib.echo", "rapidsms.apps.echo"],
    keys: &[],
    about: "echo TEXT, and ping",
};

/// The app: [`EchoHandler`], then ping.
#[derive(Clone, Copy, Debug, Default)]
pub struct Echo;

impl App for Echo {
    fn handle(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        if message.text() == "ping" {
            message.respond("pong");
            return Ok(Flow::Done);
        }
        keyword::dispatch(&mut EchoHandler, message)
    }
}

/// `echo TEXT` alone, for a [`Handlers`](super::handlers::Handlers) of your own.
#[derive(Clone, Copy, Debug, Default)]
pub struct EchoHandler;

impl KeywordHandler for EchoHandler {
    fn keyword(&self) -> &str {
        "echo"
    }

    fn help(&mut self, message: &mut Message) -> Result<(), HandlerError> {
        message.respond("To echo some text, send: ECHO <ANYTHING>");
        Ok(())
    }

    fn handle(&mut self, message: &mut Message, text: &str) -> Result<(), HandlerError> {
        message.respond(text);
        Ok(())
    }
}

/// `ping` alone, for a [`Handlers`](super::handlers::Handlers) of your own.
#[derive(Clone, Copy, Debug, Default)]
pub struct PingHandler;

impl PatternHandler for PingHandler {
    fn pattern(&self) -> &str {
        // Patterns are case-insensitive unless they say otherwise.
        r"(?-i)\Aping\z"
    }

    fn handle(&mut self, message: &mut Message, _groups: &[Option<&str>]) -> Result<(), HandlerError> {
        message.respond("pong");
        Ok(())
    }
}
