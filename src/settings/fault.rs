//! What is wrong with the settings, said so that the reader can mend it.
//!
//! A [`Fault`] is plain data: it is printed as text for people (`FILE:LINE:COLUMN: error: what`, the line, carets, help)
//! and as JSON for programs. A fault never holds a secret: the line it shows was masked when it was made (see `source`).

use std::fmt;

use serde::Serialize;

/// How grave a fault is. Only an [`Severity::Error`] keeps the router from starting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Nothing starts until this is mended.
    Error,
    /// The router starts, but something will not do what the file says.
    Warning,
    /// Worth knowing; nothing is wrong.
    Note,
}

impl fmt::Display for Severity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        })
    }
}

/// One thing to mend or to know, with its place in the settings file where it has one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// The settings file, as it was named.
    pub file: String,
    /// The line, counted from 1; `None` when the fault is not about one line.
    pub line: Option<usize>,
    /// The column in characters, counted from 1.
    pub column: Option<usize>,
    /// How grave it is.
    pub severity: Severity,
    /// What is wrong, in one sentence without a full stop.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
    /// The line as it may be shown.
    #[serde(skip)]
    pub snippet: Option<Snippet>,
}

/// A line of the settings file with the part that is meant; secrets are already masked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snippet {
    /// The line, possibly shortened.
    pub text: String,
    /// How many characters stand before the carets.
    pub before: usize,
    /// How many carets.
    pub carets: usize,
}

impl Fault {
    /// An error that belongs to a file as a whole.
    pub fn about_file(file: impl Into<String>, message: impl Into<String>) -> Fault {
        Fault {
            file: file.into(),
            line: None,
            column: None,
            severity: Severity::Error,
            message: message.into(),
            hint: None,
            snippet: None,
        }
    }

    /// The same fault with advice; an empty text is no advice.
    pub fn help(mut self, hint: impl Into<String>) -> Fault {
        self.hint = Some(hint.into()).filter(|hint| !hint.is_empty());
        self
    }

    /// Is it an error, so that nothing may start?
    pub fn is_error(&self) -> bool {
        self.severity == Severity::Error
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.file.is_empty() {
            f.write_str(&self.file)?;
            if let (Some(line), Some(column)) = (self.line, self.column) {
                write!(f, ":{line}:{column}")?;
            }
            f.write_str(": ")?;
        }
        write!(f, "{}: {}", self.severity, self.message)?;
        let line = self.line.map(|line| line.to_string()).unwrap_or_default();
        if let Some(snippet) = &self.snippet {
            let carets = "^".repeat(snippet.carets.max(1));
            let margin = " ".repeat(line.len());
            write!(f, "\n  {line} | {}", snippet.text)?;
            write!(f, "\n  {margin} | {}{carets}", " ".repeat(snippet.before))?;
        }
        if let Some(hint) = &self.hint {
            write!(f, "\n  {} = help: {hint}", " ".repeat(line.len()))?;
        }
        Ok(())
    }
}

/// Every fault found, errors and warnings, in the order of the file. At least one is an error.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct SettingsError {
    /// The faults, in the order of the file.
    pub faults: Vec<Fault>,
}

impl SettingsError {
    /// A list of one.
    pub fn one(fault: Fault) -> SettingsError {
        SettingsError { faults: vec![fault] }
    }

    /// How many of the faults are errors.
    pub fn errors(&self) -> usize {
        self.faults.iter().filter(|fault| fault.is_error()).count()
    }
}

impl fmt::Display for SettingsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for fault in &self.faults {
            writeln!(f, "{fault}\n")?;
        }
        match self.errors() {
            1 => f.write_str("1 error in the settings"),
            errors => write!(f, "{errors} errors in the settings"),
        }
    }
}

impl std::error::Error for SettingsError {}

impl From<Fault> for SettingsError {
    fn from(fault: Fault) -> SettingsError {
        SettingsError::one(fault)
    }
}

/// `text` in double quotes, with what a terminal could misread escaped and a sensible length.
pub(super) fn quote(text: &str) -> String {
    const LONGEST: usize = 60;
    let mut quoted = String::from("\"");
    for (index, character) in text.chars().enumerate() {
        if index == LONGEST {
            quoted.push_str("...");
            break;
        }
        match character {
            '\'' => quoted.push('\''),
            _ => quoted.extend(character.escape_debug()),
        }
    }
    quoted.push('"');
    quoted
}

/// The candidate that `given` most probably meant, if one is near enough to say so.
pub(super) fn nearest<'a>(given: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    const LONGEST: usize = 80;
    let plain = |text: &str| text.to_lowercase().replace(['-', ' '], "_");
    if given.len() > LONGEST {
        return None;
    }
    let given = plain(given);
    let allowed = (given.chars().count() / 3).clamp(1, 4);
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        let distance = strsim::damerau_levenshtein(&given, &plain(candidate));
        if distance <= allowed && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}
