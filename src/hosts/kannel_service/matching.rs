//! Which messages are for a service (Kannel user guide, "SMS-service": keyword, aliases, keyword-regex, catch-all, default). Text in, yes or no out.

use regex::{Regex, RegexBuilder};

/// A pattern may compile to so much; what is larger is no keyword.
const PATTERN_SIZE: usize = 1024 * 1024;

/// The words of a text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Words<'t>(Vec<&'t str>);

impl<'t> Words<'t> {
    /// Cuts at blanks.
    pub fn of(text: &'t str) -> Words<'t> {
        Words(text.split_whitespace().collect())
    }

    /// The word at this place, from 0; empty when there is none.
    pub fn get(&self, place: usize) -> &'t str {
        self.0.get(place).copied().unwrap_or_default()
    }

    /// The words from this place on, with one blank between them.
    pub fn from(&self, place: usize) -> String {
        self.0.get(place..).unwrap_or_default().join(" ")
    }

    fn behind_keyword(&self) -> usize {
        self.0.len().saturating_sub(1)
    }
}

/// Which messages are for a service.
#[derive(Clone, Debug)]
pub struct Matching {
    /// In small letters. With neither keywords nor a pattern everything is for it: Kannel's `default`.
    keywords: Vec<String>,
    pattern: Option<Regex>,
    /// Any number of words may follow the keyword.
    catch_all: bool,
    /// How many words the URL takes one by one, and whether it takes the rest.
    wants: (usize, bool),
}

impl Matching {
    /// `wants` is what the service's URL takes ([`super::template::wants`]). `Err` says what is wrong with the pattern.
    pub fn new(
        keywords: &[String],
        pattern: Option<&str>,
        catch_all: bool,
        wants: (usize, bool),
    ) -> Result<Matching, String> {
        let compiled = |pattern: &str| {
            // It begins where the text does, as the keyword that it stands for, and ends where a word does.
            let whole = format!(r"^\s*(?:{pattern})(?:\s|$)");
            RegexBuilder::new(&whole).case_insensitive(true).size_limit(PATTERN_SIZE).build()
        };
        let pattern = pattern.map(compiled).transpose().map_err(|error| error.to_string())?;
        let keywords = keywords.iter().map(|keyword| keyword.trim().to_lowercase());
        Ok(Matching {
            keywords: keywords.filter(|keyword| !keyword.is_empty()).collect(),
            pattern,
            catch_all,
            wants,
        })
    }

    /// Whether the message is for the service.
    pub fn takes(&self, text: &str) -> bool {
        if self.is_default() {
            return true;
        }
        let words = Words::of(text);
        let first = words.get(0).to_lowercase();
        let named = self.keywords.contains(&first) && !first.is_empty();
        if !named && !self.pattern.as_ref().is_some_and(|pattern| pattern.is_match(text)) {
            return false;
        }
        let (one_by_one, rest) = self.wants;
        let there = words.behind_keyword();
        self.catch_all || there == one_by_one || (rest && there >= one_by_one)
    }

    /// Whether it is for everything.
    pub fn is_default(&self) -> bool {
        self.keywords.is_empty() && self.pattern.is_none()
    }

    /// The text without its keyword; the whole text for a service that has none.
    pub fn stripped<'t>(&self, text: &'t str) -> &'t str {
        if self.is_default() {
            return text;
        }
        let text = text.trim_start();
        text.find(char::is_whitespace).map_or("", |end| text[end..].trim_start())
    }
}
