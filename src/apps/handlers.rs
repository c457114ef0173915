//! The app `handlers`: asks keyword and pattern handlers in the order of their registration; the first that the message is for answers it.
//!
//! ```toml
//! INSTALLED_APPS = ["handlers", "echo", "default"]     # no settings of its own
//! ```
//!
//! It is the place for the handlers of a program that builds on this library, so it is empty until that program
//! registers some. In the daemon it does nothing: what the old systems found by searching the installed packages (echo,
//! ping, registration) are apps of their own here, and a list that names both `handlers` and `echo` answers once.
//!
//! ```
//! use rapidsms::apps::echo::{EchoHandler, PingHandler};
//! use rapidsms::apps::handlers::Handlers;
//! # use rapidsms::apps::pattern::PatternError;
//!
//! let handlers = Handlers::new().keyword(EchoHandler).pattern(PingHandler)?;
//! # Ok::<(), PatternError>(())
//! ```
//!
//! How to write one: [`keyword`], [`pattern`](super::pattern).

use super::keyword::{self, KeywordHandler};
use super::pattern::{Pattern, PatternError, PatternHandler};
use super::{App, AppError, Flow, Host, Message};
use crate::settings::AppSpec;
use std::str::FromStr;

/// What the settings know of this app.
pub const SPEC: AppSpec = AppSpec {
    name: "handlers",
    aliases: &["rapidsms.contrib.handlers", "rapidsms.apps.handlers"],
    keys: &[],
    about: "runs the keyword and pattern handlers of a program that embeds the router",
};

/// The most characters of a person's text that [`quote`] repeats.
const QUOTE_LIMIT: usize = 40;

/// The app: handlers in order, first match wins.
#[derive(Default)]
pub struct Handlers {
    handlers: Vec<Handler>,
}

enum Handler {
    Keyword(Box<dyn KeywordHandler>),
    Pattern(Pattern),
}

impl Handlers {
    /// No handlers yet.
    pub fn new() -> Handlers {
        Handlers::default()
    }

    /// Adds a keyword handler behind the others.
    pub fn keyword(mut self, handler: impl KeywordHandler + 'static) -> Handlers {
        self.handlers.push(Handler::Keyword(Box::new(handler)));
        self
    }

    /// Adds a pattern handler behind the others.
    pub fn pattern(mut self, handler: impl PatternHandler + 'static) -> Result<Handlers, PatternError> {
        self.handlers.push(Handler::Pattern(Pattern::new(handler)?));
        Ok(self)
    }
}

impl App for Handlers {
    /// Complains of keywords that can never match.
    fn start(&mut self, _host: &Host) -> Result<(), AppError> {
        for handler in &self.handlers {
            if let Handler::Keyword(handler) = handler
                && !keyword::is_usable(handler.keyword())
            {
                return Err(AppError(format!(
                    "the keyword \"{}\" is blank or has a blank alternative, which no message can match; \
                     write it like \"register|reg|join\"",
                    handler.keyword()
                )));
            }
        }
        Ok(())
    }

    fn handle(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        for handler in &mut self.handlers {
            let flow = match handler {
                Handler::Keyword(handler) => keyword::dispatch(handler.as_mut(), message)?,
                Handler::Pattern(pattern) => pattern.dispatch(message)?,
            };
            if flow == Flow::Done {
                return Ok(flow);
            }
        }
        Ok(Flow::Next)
    }
}

/// Why a handler ends early. `?` makes a [`Failed`](HandlerError::Failed) of any error, and passes on a
/// [`Reply`](HandlerError::Reply) as it is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum HandlerError {
    /// The person can do something about it: they get this sentence, after the replies made so far, and the message is handled.
    Reply(String),
    /// They cannot: it is logged, the replies made so far are dropped and the next app is asked.
    Failed(AppError),
}

impl HandlerError {
    /// An answer such as `No clinic of that name: Mbale`.
    pub fn reply(text: impl Into<String>) -> HandlerError {
        HandlerError::Reply(text.into())
    }
}

impl<E: std::error::Error> From<E> for HandlerError {
    fn from(error: E) -> HandlerError {
        HandlerError::Failed(error.into())
    }
}

impl From<AppError> for HandlerError {
    fn from(error: AppError) -> HandlerError {
        HandlerError::Failed(error)
    }
}

/// The number in `text`; else the answer `Not a valid number: X`.
///
/// Outer blanks are free, and the decimal digits of every script count, since many phones write them.
///
/// ```
/// # use rapidsms::apps::handlers::{HandlerError, number};
/// assert_eq!(number::<u32>(" 42 "), Ok(42));
/// assert_eq!(number::<i32>("-٤٢"), Ok(-42));
/// assert_eq!(number::<u32>("many"), Err(HandlerError::reply("Not a valid number: many")));
/// ```
pub fn number<T: FromStr>(text: &str) -> Result<T, HandlerError> {
    let digits: String = text.trim().chars().map(to_ascii_digit).collect();
    digits.parse().map_err(|_| HandlerError::Reply(format!("Not a valid number: {}", quote(text))))
}

/// A person's text as a reply may repeat it: without outer blanks, and cut short, for every part of a long reply costs money.
pub fn quote(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(QUOTE_LIMIT) {
        // Three full stops, for the one character of that look is not in the GSM alphabet.
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_string(),
    }
}

/// Turns the result of a handler into what the router wants to know.
pub(super) fn conclude(
    message: &mut Message,
    result: Result<(), HandlerError>,
    who: impl FnOnce() -> String,
) -> Result<Flow, AppError> {
    match result {
        Ok(()) => Ok(Flow::Done),
        Err(HandlerError::Reply(text)) => {
            message.error(text);
            Ok(Flow::Done)
        }
        Err(HandlerError::Failed(why)) => Err(AppError(format!("{}: {why}", who()))),
    }
}

/// Where the digits 0 to 9 of a script begin (Unicode's general category Nd, Basic Multilingual Plane). Unicode promises ten in a row.
const ZEROS: [u32; 37] = [
    0x0030, 0x0660, 0x06F0, 0x07C0, 0x0966, 0x09E6, 0x0A66, 0x0AE6, 0x0B66, 0x0BE6, 0x0C66, 0x0CE6, 0x0D66,
    0x0DE6, 0x0E50, 0x0ED0, 0x0F20, 0x1040, 0x1090, 0x17E0, 0x1810, 0x1946, 0x19D0, 0x1A80, 0x1A90, 0x1B50,
    0x1BB0, 0x1C40, 0x1C50, 0xA620, 0xA8D0, 0xA900, 0xA9D0, 0xA9F0, 0xAA50, 0xABF0, 0xFF10,
];

fn to_ascii_digit(c: char) -> char {
    if c.is_ascii() {
        return c;
    }
    ZEROS
        .iter()
        .find_map(|zero| (c as u32).checked_sub(*zero).filter(|value| *value < 10))
        .and_then(|value| char::from_digit(value, 10))
        .unwrap_or(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_decimal_digit_of_the_basic_plane_counts() {
        let digit = regex::Regex::new(r"\A\d\z").unwrap();
        for c in '\0'..='\u{FFFF}' {
            assert_eq!(
                to_ascii_digit(c).is_ascii_digit(),
                digit.is_match(c.encode_utf8(&mut [0; 4])),
                "U+{:04X}",
                c as u32
            );
        }
        assert_eq!(
            ZEROS.len() * 10,
            ('\0'..='\u{FFFF}').filter(|c| to_ascii_digit(*c).is_ascii_digit()).count()
        );
    }
}
