//! Pattern handlers: an app that answers what fits a regular expression.
//!
//! ```
//! use rapidsms::apps::Message;
//! use rapidsms::apps::handlers::{HandlerError, Handlers};
//! use rapidsms::apps::pattern::{PatternError, PatternHandler};
//!
//! struct Sum;
//!
//! impl PatternHandler for Sum {
//!     fn pattern(&self) -> &str {
//!         r"(\d+) plus (\d+)$"
//!     }
//!     fn handle(&mut self, message: &mut Message, groups: &[Option<&str>]) -> Result<(), HandlerError> {
//!         let total: u64 = groups.iter().flatten().map(|group| group.parse::<u64>().unwrap_or(0)).sum();
//!         message.respond(format!("Total: {total}"));
//!         Ok(())
//!     }
//! }
//!
//! let handlers = Handlers::new().pattern(Sum)?;
//! # Ok::<(), PatternError>(())
//! ```
//!
//! # The rule
//!
//! As in the old systems, the pattern is matched in any case, at the very start of the text, and may end anywhere: write `$` to
//! bind the end. Nothing is trimmed. What the groups caught is handed on in their order, `None` for a group that took no part.
//!
//! | pattern | message | what happens |
//! |---|---|---|
//! | `(\d+) plus (\d+)` | `1 PLUS 2 please` | handle, `1` and `2` |
//! | `(\d+) plus (\d+)$` | `1 plus 2 please` | nothing, the next handler is asked |
//! | `(\d+) plus (\d+)` | ` 1 plus 2` | nothing: it begins with a blank; write `\s*` first to allow that |
//! | `yes\|no( .*)?` | `yes` | handle, `None` |
//!
//! The syntax is that of the regex crate, whose time grows in step with the text and no faster, whatever people send. It has no
//! look-around and no back-references; `(?-i)` asks for exact case, `(?s)` lets `.` take line breaks.

use super::handlers::{HandlerError, conclude};
use super::{AppError, Flow, Message};
use regex::{Regex, RegexBuilder};
use std::fmt;

/// Answers messages that fit a regular expression.
pub trait PatternHandler: Send {
    /// The regular expression. It is read once, when the handler is registered.
    fn pattern(&self) -> &str;

    /// The message fits; `groups` is what the groups of the pattern caught, without the whole.
    fn handle(&mut self, message: &mut Message, groups: &[Option<&str>]) -> Result<(), HandlerError>;
}

/// A pattern handler together with its compiled pattern.
pub struct Pattern {
    pattern: Regex,
    handler: Box<dyn PatternHandler>,
}

impl Pattern {
    /// Compiles the handler's pattern.
    pub fn new(handler: impl PatternHandler + 'static) -> Result<Pattern, PatternError> {
        let compiled = RegexBuilder::new(handler.pattern()).case_insensitive(true).build();
        match compiled {
            Ok(pattern) => Ok(Pattern { pattern, handler: Box::new(handler) }),
            Err(why) => Err(PatternError { pattern: handler.pattern().to_string(), reason: why.to_string() }),
        }
    }

    /// Asks the handler if the message is for it. [`Flow::Done`] when it was, [`Flow::Next`] when not.
    pub fn dispatch(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        // Of all matches the leftmost is found; so when it does not lie at the start, none does.
        match self.pattern.find(message.text()) {
            Some(found) if found.start() == 0 => {}
            _ => return Ok(Flow::Next),
        }
        // The handler may change the message, so the groups lie in a copy of the text.
        let text = message.text().to_string();
        let Some(captures) = self.pattern.captures(&text) else {
            return Ok(Flow::Next);
        };
        let groups: Vec<Option<&str>> =
            captures.iter().skip(1).map(|group| group.map(|group| group.as_str())).collect();
        let result = self.handler.handle(message, &groups);
        conclude(message, result, || format!("the handler of the pattern {}", self.pattern))
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pattern").field("pattern", &self.pattern.as_str()).finish_non_exhaustive()
    }
}

/// A pattern that is no regular expression, or too large a one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PatternError {
    /// The pattern.
    pub pattern: String,
    /// What is wrong with it; the place is pointed at.
    pub reason: String,
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the pattern of a handler cannot be used: {}", self.reason)
    }
}

impl std::error::Error for PatternError {}
