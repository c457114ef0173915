//! TOML text to a tree that keeps the order of the file, the spelling and the place of everything, and compares keys without
//! regard to case. Every syntax error is found, not the first only. Specification: TOML 1.1.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

use toml::de::{DeTable, DeValue};
use toml_parser::lexer::TokenKind;

use super::fault::{Fault, quote};
use super::source::{Place, Show, Source};

/// A value and where it stands.
pub(super) struct Node {
    pub value: Raw,
    pub span: Range<usize>,
}

/// A TOML value as it was typed.
pub(super) enum Raw {
    Text(String),
    Integer(i64),
    Float(f64),
    Boolean(bool),
    /// Also a number that is too large for TOML; never of use in settings.
    Other(&'static str),
    List(Vec<Node>),
    Table(Table),
}

impl Raw {
    /// What it is, for "must be X, not Y".
    pub fn what(&self) -> &'static str {
        match self {
            Raw::Text(_) => "text",
            Raw::Integer(_) => "a whole number",
            Raw::Float(_) => "a number with a fraction",
            Raw::Boolean(true) => "true",
            Raw::Boolean(false) => "false",
            Raw::Other(what) => what,
            Raw::List(_) => "a list",
            Raw::Table(_) => "a table",
        }
    }
}

/// The entries of a table in the order of the file.
#[derive(Default)]
pub(super) struct Table {
    pub entries: Vec<Entry>,
}

/// One key of a table.
pub(super) struct Entry {
    /// As it was typed.
    pub name: String,
    /// In lower case: what is compared.
    pub key: String,
    pub key_span: Range<usize>,
    pub node: Node,
}

impl Table {
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }
}

/// Parses the source; on syntax errors all of them, and no tree: a guess would only bring false errors.
pub(super) fn parse(source: &Arc<Source>, faults: &mut Vec<Fault>) -> Option<Table> {
    if let Some(deep) = too_deep(source.text()) {
        faults.push(
            Place::new(source, deep..deep + 1, Show::Syntax)
                .error("tables or lists are nested too deeply here")
                .help("settings need no more than a few levels"),
        );
        return None;
    }
    let (root, errors) = DeTable::parse_recoverable(source.text());
    if errors.is_empty() {
        return Some(table(root.into_inner(), source, "the settings", faults));
    }
    let mut spans = Vec::new();
    for error in errors.iter().take(super::MOST_FAULTS) {
        let span = error.span().unwrap_or(0..0);
        if !spans.contains(&span) {
            faults.push(syntax_fault(source, span.clone(), error.message()));
            spans.push(span);
        }
    }
    None
}

fn table(table: DeTable<'_>, source: &Arc<Source>, title: &str, faults: &mut Vec<Fault>) -> Table {
    let mut entries: Vec<Entry> = table
        .into_iter()
        .map(|(name, value)| {
            let key_span = name.span();
            let name = name.into_inner().into_owned();
            let title = title_of(&name);
            let span = value.span();
            let node = Node { value: raw(value.into_inner(), source, &title, faults), span };
            Entry { key: name.to_lowercase(), name, key_span, node }
        })
        .collect();
    entries.sort_by_key(|entry| entry.key_span.start);
    let mut seen: HashMap<String, (Range<usize>, String)> = HashMap::new();
    entries.retain(|entry| {
        let Some((first_span, first)) = seen.get(&entry.key) else {
            seen.insert(entry.key.clone(), (entry.key_span.clone(), entry.name.clone()));
            return true;
        };
        if faults.len() < super::MOST_FAULTS {
            let (line, _) = Place::new(source, first_span.clone(), Show::KeyOnly).position();
            let message = format!(
                "{} and {} in {title} are one name in two spellings; capitals do not matter",
                quote(first),
                quote(&entry.name)
            );
            let place = Place::new(source, entry.key_span.clone(), Show::KeyOnly);
            faults.push(
                place
                    .error(message)
                    .help(format!("keep one of them, or rename one (the first is in line {line})")),
            );
        }
        false
    });
    Table { entries }
}

/// A table's name as a sentence has it: `[web]`.
pub(super) fn title_of(name: &str) -> String {
    format!("[{}]", quote(name).trim_matches('"'))
}

fn raw(value: DeValue<'_>, source: &Arc<Source>, title: &str, faults: &mut Vec<Fault>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.into_owned()),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Other("a number of this size"),
        },
        DeValue::Float(number) => match number.as_str().parse() {
            Ok(number) => Raw::Float(number),
            Err(_) => Raw::Other("a number of this size"),
        },
        DeValue::Boolean(truth) => Raw::Boolean(truth),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Array(items) => Raw::List(
            items
                .into_iter()
                .map(|item| {
                    let span = item.span();
                    Node { value: raw(item.into_inner(), source, title, faults), span }
                })
                .collect(),
        ),
        DeValue::Table(inner) => Raw::Table(table(inner, source, title, faults)),
    }
}

/// Where brackets or dotted keys are stacked beyond all reason. The parser has a limit of its own for each of the two (80), but
/// not for both together, and dropping a tree of 80 x 80 levels exhausts a thread's stack. The parser's own lexer is used,
/// so that both see the same tokens in broken text too.
fn too_deep(text: &str) -> Option<usize> {
    const DEEPEST: usize = 32;
    const MOST_DOTS: usize = 16;
    let (mut depth, mut dots) = (0_usize, 0_usize);
    for token in toml_parser::Source::new(text).lex() {
        match token.kind() {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => (depth, dots) = (depth + 1, 0),
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                (depth, dots) = (depth.saturating_sub(1), 0)
            }
            TokenKind::Dot => dots += 1,
            TokenKind::Equals | TokenKind::Comma => dots = 0,
            TokenKind::Newline if depth == 0 => dots = 0,
            _ => {}
        }
        if depth > DEEPEST || dots > MOST_DOTS {
            return Some(token.span().start());
        }
    }
    None
}

/// A syntax error in words, with the commonest slips of people who come from a Python file.
fn syntax_fault(source: &Arc<Source>, span: Range<usize>, message: &str) -> Fault {
    let place = Place::new(source, span, Show::Syntax);
    let here = &source.text()[place.start()..];
    let line = here.lines().next().unwrap_or("");
    let word: String = here.chars().take_while(|c| c.is_alphanumeric()).collect();
    let hint = match word.as_str() {
        "True" | "False" => format!("write {}, in small letters", word.to_lowercase()),
        "None" => "leave the key out; where a setting can be switched off, write false".to_owned(),
        _ if line.starts_with('(') => "write a list in square brackets: [\"a\", \"b\"]".to_owned(),
        _ if line.starts_with(':') => "write name = value, not name: value".to_owned(),
        _ if message.contains("duplicate") => "each key and each [table] may be written once".to_owned(),
        _ if message.contains("quoted") || message.contains("string values") => {
            "text stands in quotes: name = \"value\"".to_owned()
        }
        _ => String::new(),
    };
    place.error(format!("this is not valid TOML: {message}")).help(hint)
}
