//! The text of a settings file: read within limits, and able to say where something stands.
//!
//! Here, and only here, a line of the file is made fit to be shown. A settings file holds secrets, so a line is never
//! shown as it is: what follows a name that looks like a secret's (`password`, `token`, also misspelt) is replaced, and so is
//! the value of a key that is not known, because nobody can say what it is.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault::{Fault, SettingsError, Severity, Snippet};

/// A settings file is at most this long; more is a mistaken file name.
pub const LONGEST_FILE: usize = 1024 * 1024;

/// A line longer than this (in bytes) is not shown at all.
const LONGEST_SHOWN: usize = 4096;

/// The widest line that is shown whole.
const WIDEST_SNIPPET: usize = 100;

/// A settings file's text and name.
pub struct Source {
    name: String,
    directory: PathBuf,
    text: String,
    line_starts: Vec<usize>,
}

impl Source {
    /// The text of the file at `path`; relative paths in it start at the file's folder.
    pub(super) fn new(path: &Path, text: impl Into<String>) -> Source {
        let text = text.into();
        let line_starts =
            std::iter::once(0).chain(text.match_indices('\n').map(|(index, _)| index + 1)).collect();
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        let directory = std::path::absolute(folder).unwrap_or_else(|_| folder.to_path_buf());
        Source { name: path.display().to_string(), directory, text, line_starts }
    }

    /// The folder at which relative paths start.
    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn text(&self) -> &str {
        &self.text
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// Line number (from 1) and the line's range without its end.
    fn line_at(&self, offset: usize) -> (usize, Range<usize>) {
        let number = self.line_starts.partition_point(|start| *start <= offset).max(1);
        let start = self.line_starts.get(number - 1).copied().unwrap_or(0);
        let end = self.line_starts.get(number).map_or(self.text.len(), |next| next - 1);
        let end = if self.text[start..end].ends_with('\r') { end - 1 } else { end };
        (number, start..end)
    }
}

/// A part of a settings file that a fault can point at.
#[derive(Clone)]
pub struct Place {
    source: Arc<Source>,
    span: Range<usize>,
    show: Show,
}

/// How much of the line may be shown.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Show {
    /// All but what follows a secret's name.
    Line,
    /// The key, not its value.
    KeyOnly,
    /// As `Line`; nothing inside a secret that runs over several lines.
    Syntax,
}

impl Place {
    /// The part `span` of the source; a span outside of it is brought back inside.
    pub(super) fn new(source: &Arc<Source>, span: Range<usize>, show: Show) -> Place {
        let text = &source.text;
        let mut start = span.start.min(text.len());
        let mut end = span.end.clamp(start, text.len());
        while !text.is_char_boundary(start) {
            start -= 1;
        }
        while !text.is_char_boundary(end) {
            end += 1;
        }
        Place { source: Arc::clone(source), span: start..end, show }
    }

    /// The whole `[header]` line when the part stands on one, else the part itself.
    pub(super) fn widened_to_header(self) -> Place {
        let (_, line) = self.source.line_at(self.span.start);
        let text = &self.source.text[line.clone()];
        let indent = text.len() - text.trim_start().len();
        if !text[indent..].starts_with('[') {
            return self;
        }
        let end = text.rfind(']').map_or(line.end, |bracket| line.start + bracket + 1);
        Place { span: line.start + indent..end.max(line.start + indent), ..self }
    }

    pub(super) fn start(&self) -> usize {
        self.span.start
    }

    /// The folder of the settings file.
    pub fn folder(&self) -> &Path {
        &self.source.directory
    }

    /// Line and column, both counted from 1.
    pub fn position(&self) -> (usize, usize) {
        let (number, line) = self.source.line_at(self.span.start);
        let start = self.span.start.clamp(line.start, line.end.max(line.start));
        (number, self.source.text[line.start..start].chars().count() + 1)
    }

    /// An error at this place.
    pub fn error(&self, message: impl Into<String>) -> Fault {
        self.fault(Severity::Error, message)
    }

    /// A warning at this place.
    pub fn warning(&self, message: impl Into<String>) -> Fault {
        self.fault(Severity::Warning, message)
    }

    /// A note at this place.
    pub fn note(&self, message: impl Into<String>) -> Fault {
        self.fault(Severity::Note, message)
    }

    fn fault(&self, severity: Severity, message: impl Into<String>) -> Fault {
        let (line, column) = self.position();
        Fault {
            file: self.source.name.clone(),
            line: Some(line),
            column: Some(column),
            severity,
            message: message.into(),
            hint: None,
            snippet: self.snippet(),
        }
    }

    fn snippet(&self) -> Option<Snippet> {
        let (number, line) = self.source.line_at(self.span.start);
        let text = &self.source.text[line.clone()];
        if text.trim().is_empty()
            || text.len() > LONGEST_SHOWN
            || (self.show == Show::Syntax && self.inside_long_secret(number))
        {
            return None;
        }
        let start = self.span.start.clamp(line.start, line.end) - line.start;
        let end = self.span.end.clamp(line.start + start, line.end) - line.start;
        let mut hidden = secret_ranges(text);
        if self.show == Show::KeyOnly
            && let Some(equals) = text[end..].find('=')
        {
            hidden.push((end + equals + 1..text.len(), " ..."));
            hidden.sort_by_key(|(range, _)| range.start);
        }
        Some(draw(text, start..end, &hidden))
    }

    /// Does this line belong to a text of several lines that was begun under a secret's name?
    fn inside_long_secret(&self, number: usize) -> bool {
        const FURTHEST: usize = 200;
        for earlier in (number.saturating_sub(FURTHEST).max(1)..number).rev() {
            let (_, line) = self.source.line_at(self.source.line_starts[earlier - 1]);
            let text = &self.source.text[line];
            if text.contains("\"\"\"") || text.contains("'''") {
                return !secret_ranges(text).is_empty();
            }
        }
        false
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (line, column) = self.position();
        write!(f, "{}:{line}:{column}", self.source.name)
    }
}

/// Reads a settings file within its limits.
pub(super) fn read(path: &Path) -> Result<Source, SettingsError> {
    let name = path.display().to_string();
    let unreadable = |error: std::io::Error| {
        let fault = Fault::about_file(name.clone(), format!("the settings file cannot be read: {error}"));
        match error.kind() {
            std::io::ErrorKind::PermissionDenied => {
                fault.help("let the user that runs the router read it, or run as a user that may")
            }
            std::io::ErrorKind::NotFound => fault.help("name the file with --settings FILE"),
            _ => fault,
        }
    };
    let unreadable = |error| SettingsError::one(unreadable(error));
    let kind = std::fs::metadata(path).map_err(unreadable)?;
    if !kind.is_file() {
        let what = if kind.is_dir() { "a folder" } else { "not a plain file" };
        let fault = Fault::about_file(name, format!("the settings must be a file, and this is {what}"));
        return Err(fault.help("name the file with --settings FILE").into());
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(LONGEST_FILE as u64 + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    decode(path, bytes)
}

/// Bytes to text: UTF-8, with or without a byte-order mark, no NUL.
pub(super) fn decode(path: &Path, mut bytes: Vec<u8>) -> Result<Source, SettingsError> {
    let name = path.display().to_string();
    if bytes.len() > LONGEST_FILE {
        let fault = Fault::about_file(name, "the file is longer than 1 MiB; this is not a settings file");
        return Err(fault.help("name the right file with --settings FILE").into());
    }
    if bytes.starts_with(b"\xff\xfe") || bytes.starts_with(b"\xfe\xff") {
        let fault = Fault::about_file(name, "the file is UTF-16");
        return Err(fault.help("save it as UTF-8 in your editor").into());
    }
    if bytes.starts_with(b"\xef\xbb\xbf") {
        bytes.drain(..3);
    }
    let source = match String::from_utf8(bytes) {
        Ok(text) => Source::new(path, text),
        Err(error) => {
            let at = error.utf8_error().valid_up_to();
            let source = Arc::new(Source::new(path, String::from_utf8_lossy(error.as_bytes())));
            let fault =
                Place::new(&source, at..at + 1, Show::Syntax).error("the file is not UTF-8 text here");
            return Err(fault.help("save it as UTF-8 in your editor").into());
        }
    };
    let Some(at) = source.text.find('\0') else { return Ok(source) };
    let place = Place::new(&Arc::new(source), at..at + 1, Show::Syntax);
    let fault = place.error("there is a NUL character here, so this is not a text file");
    Err(fault.help("delete it, or name the right file with --settings FILE").into())
}

/// Could a value under this name be a secret? Also true for a misspelt `pasword`: rather hide too much.
pub(super) fn looks_secret(name: &str) -> bool {
    const LONGEST: usize = 64;
    if name.len() > LONGEST {
        return true;
    }
    let name = name.to_lowercase();
    ["pass", "pwd", "secret", "token", "credential", "auth", "apikey", "bearer"]
        .iter()
        .any(|part| name.contains(part))
        || name.split(['_', '-', '.']).any(|word| {
            ["key", "pin", "puk"].contains(&word)
                || ["password", "credential"]
                    .iter()
                    .any(|known| strsim::damerau_levenshtein(word, known) <= 2)
                || ["token", "secret"].iter().any(|known| strsim::damerau_levenshtein(word, known) <= 1)
        })
}

/// Does a text that is no secret by its key hold one: an address with a login, or a query with a password?
pub(super) fn holds_secret(text: &str) -> bool {
    (text.contains("://") || text.contains('&')) && !secret_ranges(text).is_empty()
}

/// The parts of a line that must not be shown, with what stands in their place.
fn secret_ranges(line: &str) -> Vec<(Range<usize>, &'static str)> {
    let bytes = line.as_bytes();
    for (at, _) in line.match_indices(['=', ':']) {
        let name = line[..at].trim_end_matches([' ', '\t', '"', '\'']);
        let word_start = name
            .rfind(|c: char| !(c.is_alphanumeric() || matches!(c, '_' | '-' | '.')))
            .map_or(0, |index| index + name[index..].chars().next().map_or(1, char::len_utf8));
        if name.len() > word_start && looks_secret(&name[word_start..]) {
            let blanks = bytes[at + 1..].iter().take_while(|byte| matches!(byte, b' ' | b'\t')).count();
            return vec![(at + 1 + blanks..line.len(), "***")];
        }
    }
    let mut hidden = Vec::new();
    for (at, _) in line.match_indices("://") {
        let rest = &line[at + 3..];
        let host_end = rest.find(['/', '"', '\'', ' ', '?', '#']).unwrap_or(rest.len());
        if let Some(login_end) = rest[..host_end].rfind('@') {
            hidden.push((at + 3..at + 3 + login_end, "***"));
        }
    }
    hidden
}

/// The line as it is shown, and where the carets go.
fn draw(line: &str, meant: Range<usize>, hidden: &[(Range<usize>, &'static str)]) -> Snippet {
    let mut shown: Vec<char> = Vec::new();
    let (mut before, mut after) = (None, None);
    let mut at = 0;
    while at < line.len() {
        let (step, drawn) = match hidden.iter().find(|(range, _)| range.contains(&at)) {
            Some((range, instead)) => (range.end - at, instead.chars().collect()),
            None => {
                let character = line[at..].chars().next().unwrap_or(' ');
                (character.len_utf8(), vec![printable(character)])
            }
        };
        if before.is_none() && meant.start < at + step {
            before = Some(shown.len());
        }
        shown.extend::<Vec<char>>(drawn);
        at += step;
        if after.is_none() && meant.end <= at {
            after = Some(shown.len());
        }
    }
    let before = before.unwrap_or(shown.len());
    let carets = after.unwrap_or(shown.len()).saturating_sub(before).max(1);
    window(&shown, before, carets)
}

/// Cuts a long line so that the meant part is in view.
fn window(shown: &[char], before: usize, carets: usize) -> Snippet {
    if shown.len() <= WIDEST_SNIPPET {
        let text = shown.iter().collect::<String>();
        return Snippet { text: text.trim_end().to_owned(), before, carets };
    }
    let first = before.saturating_sub(WIDEST_SNIPPET / 3);
    let last = (first + WIDEST_SNIPPET).min(shown.len());
    let (head, tail) = (if first > 0 { "..." } else { "" }, if last < shown.len() { "..." } else { "" });
    let middle = shown[first..last].iter().collect::<String>();
    let before = before - first + head.len();
    let room = (WIDEST_SNIPPET + head.len()).saturating_sub(before).max(1);
    Snippet { text: format!("{head}{middle}{tail}"), before, carets: carets.min(room) }
}

/// A character that is safe and one column wide (as far as a program can know).
fn printable(character: char) -> char {
    match character {
        '\t' => ' ',
        '"' | '\'' | '\\' => character,
        _ if character.escape_debug().count() > 1 => '\u{fffd}',
        _ => character,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn shows(line: &str, meant: &str, show: Show, expected: &str) {
        let start = line.find(meant).expect("the part is in the line");
        let source = Arc::new(Source::new(Path::new("s.toml"), line));
        let fault = Place::new(&source, start..start + meant.len(), show).error("e");
        assert_eq!(fault.snippet.map(|snippet| snippet.text).unwrap_or_default(), expected);
    }

    #[test]
    fn a_line_is_never_shown_with_its_secret() {
        shows("pasword = \"hunter2\"", "pasword", Show::Line, "pasword = ***");
        shows(
            "x = {user=\"u\", password = \"hunter2\"}",
            "user",
            Show::Line,
            "x = {user=\"u\", password = ***",
        );
        shows(
            "url = \"postgres://me:hunter2@host/db\"",
            "postgres",
            Show::Line,
            "url = \"postgres://***@host/db\"",
        );
        shows(
            "url = \"http://h/?user=u&pass=hunter2\"",
            "h/?user",
            Show::Line,
            "url = \"http://h/?user=u&pass=***",
        );
        shows("devise = \"hunter2\"", "devise", Show::KeyOnly, "devise = ...");
        shows("'password': 'hunter2'", "'password'", Show::Syntax, "'password': ***");
    }

    #[test]
    fn an_error_inside_a_long_secret_shows_nothing() {
        shows("token = \"\"\"\nhunter2 \\q\n", "hunter2", Show::Syntax, "");
        shows("text = \"\"\"\nhunter2 \\q\n", "hunter2", Show::Syntax, "hunter2 \\q");
    }

    #[test]
    fn terminal_controls_and_long_lines_are_tamed() {
        shows("a\u{1b}[2J = 1", "a", Show::Line, "a\u{fffd}[2J = 1");
        let line = format!("{}here{}", "x".repeat(500), "y".repeat(500));
        let source = Arc::new(Source::new(Path::new("s.toml"), line.as_str()));
        let fault = Place::new(&source, 500..504, Show::Line).error("e");
        let snippet = fault.snippet.expect("a snippet");
        let under: String = snippet.text.chars().skip(snippet.before).take(snippet.carets).collect();
        assert_eq!((under.as_str(), fault.column), ("here", Some(501)));
        assert!(snippet.text.len() < 120);
    }
}
