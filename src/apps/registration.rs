//! The app `registration`: people give themselves a name and choose a language.
//!
//! ```toml
//! INSTALLED_APPS = ["registration"]
//!
//! [APPS.registration]
//! LANGUAGES = [["en", "English"], ["fr", "French"]]    # code and name; a list of common ones when not said
//! ```
//!
//! | message | reply |
//! |---|---|
//! | `JOIN Ada` (or `REGISTER`, `REG`) | `Thank you for registering, Ada!` |
//! | `JOIN` | `To register, send JOIN <NAME>` |
//! | `LANGUAGE fr` (or `LANG`; code or name, any case) | `I will speak to you in French.` |
//! | `LANGUAGE klingon` | `Sorry, I don't speak "klingon".` |
//! | `LANGUAGE fr` from somebody without a name | `You must JOIN or REGISTER yourself before you can set your language preference.` |
//! | `LANGUAGE` | `To set your language, send LANGUAGE <CODE>` |
//!
//! Each JOIN makes a new contact and moves the sender's connection to it, as it always did; their language goes with
//! them. A name keeps its letters, but any run of blanks, line breaks and control characters in it becomes one blank, and
//! it may have [`NAME_LIMIT`] characters.

use super::handlers::{HandlerError, quote};
use super::keyword::{self, KeywordHandler};
use super::{App, AppError, Flow, Message};
use crate::settings::AppSpec;
use std::fmt;

/// What the settings know of this app.
pub const SPEC: AppSpec = AppSpec {
    name: "registration",
    aliases: &["rapidsms.contrib.registration", "rapidsms.apps.registration"],
    keys: &[],
    about: "JOIN NAME, LANGUAGE CODE",
};

/// The longest name of a contact, in characters; the old systems' column had this width.
pub const NAME_LIMIT: usize = 100;

/// Languages to choose from when the settings name none: code and English name.
pub const LANGUAGES: [(&str, &str); 40] = [
    ("af", "Afrikaans"),
    ("am", "Amharic"),
    ("ar", "Arabic"),
    ("bg", "Bulgarian"),
    ("bn", "Bengali"),
    ("cs", "Czech"),
    ("da", "Danish"),
    ("de", "German"),
    ("el", "Greek"),
    ("en", "English"),
    ("es", "Spanish"),
    ("fa", "Persian"),
    ("fi", "Finnish"),
    ("fr", "French"),
    ("ha", "Hausa"),
    ("he", "Hebrew"),
    ("hi", "Hindi"),
    ("hu", "Hungarian"),
    ("id", "Indonesian"),
    ("ig", "Igbo"),
    ("it", "Italian"),
    ("ja", "Japanese"),
    ("km", "Khmer"),
    ("ko", "Korean"),
    ("lg", "Luganda"),
    ("ne", "Nepali"),
    ("nl", "Dutch"),
    ("ny", "Chichewa"),
    ("pl", "Polish"),
    ("pt", "Portuguese"),
    ("ru", "Russian"),
    ("rw", "Kinyarwanda"),
    ("so", "Somali"),
    ("sv", "Swedish"),
    ("sw", "Swahili"),
    ("tr", "Turkish"),
    ("uk", "Ukrainian"),
    ("vi", "Vietnamese"),
    ("yo", "Yoruba"),
    ("zh", "Chinese"),
];

/// The app: JOIN and LANGUAGE.
#[derive(Clone, Debug)]
pub struct Registration {
    join: Join,
    language: Language,
}

impl Registration {
    /// An app that speaks these languages, each a code and a name.
    pub fn new<C, N>(languages: impl IntoIterator<Item = (C, N)>) -> Result<Registration, LanguagesError>
    where
        C: Into<String>,
        N: Into<String>,
    {
        let mut known: Vec<(String, String)> = Vec::new();
        for (index, (code, name)) in languages.into_iter().enumerate() {
            let (code, name) = (tidy(&code.into()), tidy(&name.into()));
            if code.is_empty() || name.is_empty() {
                let what = "has no code or no name";
                return Err(LanguagesError { index, what: what.to_string() });
            }
            for word in [&code, &name] {
                let earlier = known.iter().any(|(code, name)| is_same(code, word) || is_same(name, word));
                if earlier {
                    return Err(LanguagesError {
                        index,
                        what: format!("\"{word}\" is taken by an earlier one"),
                    });
                }
            }
            known.push((code, name));
        }
        Ok(Registration { join: Join, language: Language { known } })
    }
}

impl Default for Registration {
    /// With the languages of [`LANGUAGES`].
    fn default() -> Registration {
        let known = LANGUAGES.iter().map(|(code, name)| (code.to_string(), name.to_string())).collect();
        Registration { join: Join, language: Language { known } }
    }
}

impl App for Registration {
    fn handle(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        match keyword::dispatch(&mut self.join, message)? {
            Flow::Next => keyword::dispatch(&mut self.language, message),
            flow => Ok(flow),
        }
    }
}

/// A language in the settings that cannot be offered.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LanguagesError {
    /// Which, from 0.
    pub index: usize,
    /// What is wrong with it.
    pub what: String,
}

impl fmt::Display for LanguagesError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let place = self.index + 1;
        write!(
            f,
            "language {place} {}: give each its own code and name, such as [\"fr\", \"French\"]",
            self.what
        )
    }
}

impl std::error::Error for LanguagesError {}

#[derive(Clone, Debug)]
struct Join;

impl KeywordHandler for Join {
    fn keyword(&self) -> &str {
        "register|reg|join"
    }

    fn help(&mut self, message: &mut Message) -> Result<(), HandlerError> {
        message.respond("To register, send JOIN <NAME>");
        Ok(())
    }

    fn handle(&mut self, message: &mut Message, text: &str) -> Result<(), HandlerError> {
        let name = tidy(text);
        if name.is_empty() {
            return self.help(message);
        }
        if name.chars().count() > NAME_LIMIT {
            let sorry = format!("Sorry, a name can have {NAME_LIMIT} letters at most. Send JOIN <NAME>");
            return Err(HandlerError::Reply(sorry));
        }
        let thanks = format!("Thank you for registering, {name}!");
        message.register(name);
        message.respond(thanks);
        Ok(())
    }
}

#[derive(Clone, Debug)]
struct Language {
    known: Vec<(String, String)>,
}

impl KeywordHandler for Language {
    fn keyword(&self) -> &str {
        "language|lang"
    }

    fn help(&mut self, message: &mut Message) -> Result<(), HandlerError> {
        message.respond("To set your language, send LANGUAGE <CODE>");
        Ok(())
    }

    fn handle(&mut self, message: &mut Message, text: &str) -> Result<(), HandlerError> {
        let wanted = tidy(text);
        if wanted.is_empty() {
            return self.help(message);
        }
        if message.contact().is_none() {
            // RapidSMS 0.9 said IDENTIFY, a word that none of its apps understood; from 0.10 on it says this.
            return Err(HandlerError::reply(
                "You must JOIN or REGISTER yourself before you can set your language preference.",
            ));
        }
        let found = self.known.iter().find(|(code, name)| is_same(code, &wanted) || is_same(name, &wanted));
        let Some((code, name)) = found else {
            return Err(HandlerError::Reply(format!("Sorry, I don't speak \"{}\".", quote(&wanted))));
        };
        message.set_language(code);
        message.respond(format!("I will speak to you in {name}."));
        Ok(())
    }
}

/// One blank for every run of blanks and control characters within, none outside.
fn tidy(text: &str) -> String {
    let mut tidy = String::with_capacity(text.len());
    for word in text.split(|c: char| c.is_whitespace() || c.is_control()).filter(|word| !word.is_empty()) {
        if !tidy.is_empty() {
            tidy.push(' ');
        }
        tidy.push_str(word);
    }
    tidy
}

/// Whether a code or a name is the one that a person wrote, in any case.
fn is_same(known: &str, wanted: &str) -> bool {
    // A text of many kilobytes is not lowered once for each language.
    wanted.len() <= known.len().saturating_mul(4) && known.to_lowercase() == wanted.to_lowercase()
}
