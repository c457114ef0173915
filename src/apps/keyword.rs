//! Keyword handlers: an app that answers `KEYWORD something` in ten lines.
//!
//! ```
//! use rapidsms::apps::handlers::{HandlerError, Handlers, number};
//! use rapidsms::apps::keyword::KeywordHandler;
//! use rapidsms::apps::Message;
//!
//! struct Births;
//!
//! impl KeywordHandler for Births {
//!     fn keyword(&self) -> &str {
//!         "birth|births"
//!     }
//!     fn help(&mut self, message: &mut Message) -> Result<(), HandlerError> {
//!         message.respond("To report births, send: BIRTHS <NUMBER>");
//!         Ok(())
//!     }
//!     fn handle(&mut self, message: &mut Message, text: &str) -> Result<(), HandlerError> {
//!         let births: u32 = number(text)?; // "Births two" is answered "Not a valid number: two"
//!         message.respond(format!("Thank you, {births} births noted."));
//!         Ok(())
//!     }
//! }
//!
//! let mut apps = rapidsms::phases::Apps::new().with("births", Handlers::new().keyword(Births));
//! # use rapidsms::{message::*, phases::*, store::Unfinished, time::Timestamp};
//! # for (text, reply) in [("Births: 3", "Thank you, 3 births noted."), ("birth two", "Not a valid number: two")] {
//! #     let at = Timestamp::from_seconds(0);
//! #     let unfinished = Unfinished { id: MessageId::from_parts(1, 1), connection: Connection::new("b", "1"), text: text.into(),
//! #         received_at: at, source_time: None, attempt: 1, redelivered: false, partial: false, origin: Origin::Test, contact: None };
//! #     let Progress::Finished(outcome) = run(&mut apps, unfinished) else { panic!("it never asks for time") };
//! #     assert_eq!(outcome.drafts[0].1.text, reply);
//! # }
//! ```
//!
//! # The rule
//!
//! A message is for a handler when it begins with the keyword, in any case, after any blanks, and then ends or goes on with
//! at least one separator: a blank of any kind (a line break too), `,`, `;` or `:`. The text is what follows the
//! separators, untouched: line breaks within it and blanks at its end are the handler's to keep or to trim. Nothing but
//! separators asks for help.
//!
//! | keyword | message | what happens |
//! |---|---|---|
//! | `echo` | `echo hello` | handle, `hello` |
//! | `echo` | `  ECHO:;, Hello  ` | handle, `Hello  ` |
//! | `echo` | `echo⏎one⏎two` | handle, `one⏎two` |
//! | `echo` | `echo`, `echo `, `echo,` | help |
//! | `echo` | `echohi`, `my echo` | nothing, the next handler is asked |
//! | `register\|reg` | `reg Ada` | handle, `Ada` |
//! | `two words` | `two   words here` | handle, `here` |
//! | `#` | `# 5` | handle, `5` |
//!
//! This is RapidSMS 0.9's demand for a separator (2.2 took `registered` for `register ed`) with 2.2's line breaks and help.
//! Upper and lower case are those of Unicode's simple case folding, which knows no language: the Turkish `ı` and `İ` are letters of
//! their own, and `é` in one character is not `e` with a combining accent.
//!
//! A keyword is text, never a regular expression; [`pattern`](super::pattern) is for those.

use super::handlers::{HandlerError, conclude};
use super::{AppError, Flow, Message};

/// Answers messages that begin with a keyword.
pub trait KeywordHandler: Send {
    /// The keyword, or several divided by `|`: `register|reg|join`. Between the words of one keyword any blanks will do.
    fn keyword(&self) -> &str;

    /// The message is the keyword alone: say how it is used.
    fn help(&mut self, message: &mut Message) -> Result<(), HandlerError>;

    /// The message is the keyword and `text`, which has something other than separators in it.
    fn handle(&mut self, message: &mut Message, text: &str) -> Result<(), HandlerError>;
}

/// Asks `handler` if the message is for it. [`Flow::Done`] when it was, [`Flow::Next`] when not.
///
/// For an app with one handler; [`Handlers`](super::handlers::Handlers) holds many.
pub fn dispatch(handler: &mut dyn KeywordHandler, message: &mut Message) -> Result<Flow, AppError> {
    let Some(text) = after_any(message.text(), handler.keyword()) else {
        return Ok(Flow::Next);
    };
    let result = if text.is_empty() {
        handler.help(message)
    } else {
        // The handler may change the message, so it gets a copy of the text.
        let text = text.to_string();
        handler.handle(message, &text)
    };
    conclude(message, result, || format!("the handler of the keyword {}", handler.keyword()))
}

/// What follows `keyword` in `text` by [the rule](self#the-rule); empty when only the keyword is there. `|` has no meaning here, and a blank
/// keyword matches nothing.
///
/// ```
/// # use rapidsms::apps::keyword::after_keyword;
/// assert_eq!(after_keyword("Clinic: Mbale", "clinic"), Some("Mbale"));
/// assert_eq!(after_keyword("clinics", "clinic"), None);
/// ```
pub fn after_keyword<'t>(text: &'t str, keyword: &str) -> Option<&'t str> {
    let mut rest = text.trim_start();
    let mut words = keyword.split_whitespace();
    rest = strip_word(rest, words.next()?)?;
    for word in words {
        let next = rest.trim_start();
        if next.len() == rest.len() {
            return None;
        }
        rest = strip_word(next, word)?;
    }
    let after = rest.trim_start_matches(is_separator);
    (rest.is_empty() || after.len() < rest.len()).then_some(after)
}

/// Whether each alternative of a keyword could match something.
pub(super) fn is_usable(keyword: &str) -> bool {
    keyword.split('|').all(|alternative| !alternative.trim().is_empty())
}

/// The same for keywords divided by `|`. Where several match, the longest counts: `two words` before `two`.
fn after_any<'t>(text: &'t str, keywords: &str) -> Option<&'t str> {
    let text = text.trim_start();
    keywords.split('|').filter_map(|keyword| after_keyword(text, keyword)).min_by_key(|rest| rest.len())
}

fn strip_word<'t>(text: &'t str, word: &str) -> Option<&'t str> {
    let mut rest = text.chars();
    word.chars()
        .all(|wanted| rest.next().is_some_and(|found| is_same(found, wanted)))
        .then_some(rest.as_str())
}

fn is_separator(c: char) -> bool {
    c.is_whitespace() || matches!(c, ',' | ';' | ':')
}

/// Whether two characters differ in nothing but their case (Unicode's simple case folding: classes C and S of CaseFolding.txt).
fn is_same(a: char, b: char) -> bool {
    if a == b || (a.is_ascii() && b.is_ascii()) {
        return a.eq_ignore_ascii_case(&b);
    }
    // Upper case would make an i of the dotless i, and simple folding leaves the dotted capital alone.
    let has_case = |c| !matches!(c, 'ı' | 'İ');
    has_case(a) && has_case(b) && fold(a).eq(fold(b))
}

/// Down, up and down again: each step alone leaves apart some letters that are the same, such as σ and ς, ß and ẞ, ϑ and ϴ.
fn fold(c: char) -> impl Iterator<Item = char> {
    c.to_lowercase().flat_map(char::to_uppercase).flat_map(char::to_lowercase)
}

#[cfg(test)]
mod tests {
    use super::{fold, is_same};
    use std::collections::BTreeMap;

    /// The regex crate folds case by the tables of Unicode, so every letter with a case is compared with its answer.
    #[test]
    fn case_is_that_of_simple_case_folding() {
        // The newest letters are known to one of the two and not to the other.
        let known = regex::Regex::new(r"\P{Cn}").unwrap();
        let cased: String = ('\0'..=char::MAX)
            .filter(|c| !c.to_lowercase().eq([*c]) || !c.to_uppercase().eq([*c]))
            .filter(|c| known.is_match(c.encode_utf8(&mut [0; 4])))
            .collect();
        assert!(cased.chars().count() > 2_000);
        let mut alike: BTreeMap<String, Vec<char>> = BTreeMap::new();
        for c in cased.chars() {
            alike.entry(fold(c).collect()).or_default().push(c);
        }
        for a in cased.chars() {
            let letter = regex::Regex::new(&format!("(?i){a}")).unwrap();
            let expected: String = letter.find_iter(&cased).map(|found| found.as_str()).collect();
            // Only letters that fold alike can be the same, and ASCII has its own way.
            let near = &alike[&fold(a).collect::<String>()];
            let same: String =
                cased.chars().filter(|b| (b.is_ascii() || near.contains(b)) && is_same(a, *b)).collect();
            assert_eq!(same, expected, "the letters that are the same as {a} (U+{:04X})", a as u32);
        }
    }
}
