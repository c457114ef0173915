//! One table of the file against its keys: unknown keys, missing keys, wrong kinds, defaults, secrets.
//!
//! The [`Reader`] goes on after every fault, so that all of them are reported at once; it stops collecting at
//! [`super::MOST_FAULTS`], so that a hostile file costs no more than a bad one.

use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use super::catalogue::{Catalogue, Key, Kind};
use super::fault::{Fault, nearest, quote};
use super::known::TOP;
use super::options::Options;
use super::secret::Secret;
use super::source::{Place, Show, Source, holds_secret, looks_secret};
use super::tree::{Entry, Node, Raw, Table};
use super::value::{self, Value};
use super::{MOST_FAULTS, Surroundings};

/// The longest file that holds a secret.
const LONGEST_SECRET: u64 = 64 * 1024;

/// What is read from, and what was found.
pub(super) struct Reader<'a> {
    pub source: Arc<Source>,
    pub catalogue: &'a Catalogue,
    pub surroundings: &'a Surroundings<'a>,
    pub faults: Vec<Fault>,
    /// Errors that were found but not kept.
    pub errors_beyond: usize,
    /// Warnings and notes that were found but not kept.
    pub remarks_beyond: usize,
    /// Where the file holds a secret itself, and its key.
    pub plain_secrets: Vec<(&'static str, Place)>,
    /// Secrets that are not kept well: errors when the settings are strict, else warnings.
    pub unsafe_secrets: Vec<Fault>,
}

impl Reader<'_> {
    /// Where a value stands.
    pub fn place(&self, node: &Node) -> Place {
        Place::new(&self.source, node.span.clone(), Show::Line)
    }

    /// Where a key stands.
    pub fn key_place(&self, entry: &Entry) -> Place {
        Place::new(&self.source, entry.key_span.clone(), Show::KeyOnly)
    }

    /// Where a table begins: its `[header]`, or its key when it is written `key = { ... }`.
    pub fn header(&self, entry: &Entry) -> Place {
        let by_header = self.source.text()[entry.node.span.start..].starts_with('[');
        if by_header && matches!(entry.node.value, Raw::Table(_)) {
            return self.place(&entry.node);
        }
        self.key_place(entry).widened_to_header()
    }

    /// Keeps an error while there is room. Remarks take no room from errors: an error must never be lost behind them.
    pub fn error(&mut self, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        if self.faults.iter().filter(|fault| fault.is_error()).count() < MOST_FAULTS {
            self.faults.push(place.error(message).help(help));
        } else {
            self.errors_beyond += 1;
        }
    }

    /// Keeps a warning while there is room.
    pub fn warning(&mut self, place: &Place, message: impl Into<String>, help: impl Into<String>) {
        if self.has_room_for_remark() {
            self.faults.push(place.warning(message).help(help));
        }
    }

    /// Keeps a note while there is room.
    pub fn note(&mut self, place: &Place, message: impl Into<String>) {
        if self.has_room_for_remark() {
            self.faults.push(place.note(message));
        }
    }

    fn has_room_for_remark(&mut self) -> bool {
        let room = self.faults.iter().filter(|fault| !fault.is_error()).count() < MOST_FAULTS;
        self.remarks_beyond += usize::from(!room);
        room
    }

    /// The table of an entry, or a fault.
    pub fn table<'t>(&mut self, title: &str, entry: &'t Entry) -> Option<&'t Table> {
        if let Raw::Table(table) = &entry.node.value {
            return Some(table);
        }
        let message = format!("{} must be a table, not {}", quote(&entry.name), entry.node.value.what());
        let place = self.place(&entry.node);
        self.error(&place, message, format!("write {title} on a line of its own, and its keys below it"));
        None
    }

    /// Checks one table against its keys.
    pub fn options(&mut self, title: &str, header: &Place, table: &Table, groups: &[&[Key]]) -> Options {
        let mut options = Options::new(header.clone());
        for entry in &table.entries {
            let key = groups.iter().copied().flatten().find(|key| key.name.to_lowercase() == entry.key);
            let Some(key) = key else {
                self.unknown_key(title, entry, groups);
                continue;
            };
            if let Kind::Ignored(why) = key.kind {
                let place = self.key_place(entry);
                self.note(&place, format!("{} has no effect here: {why}", quote(&entry.name)));
            } else if let Some(value) = self.value(title, key, &entry.node) {
                options.insert(key.name, value, Some(self.place(&entry.node)));
            }
        }
        for key in groups.iter().copied().flatten() {
            let given = table.get(&key.name.to_lowercase()).is_some();
            let replaced = key.unless.iter().any(|other| table.get(&other.to_lowercase()).is_some());
            if key.required && !given && !replaced {
                let message = format!("{title} needs the key {}: {}", quote(key.name), key.about);
                let mut help = format!("for example: {}", value::example(key));
                if !key.unless.is_empty() {
                    help.push_str(&format!("; or one of {}", key.unless.join(", ")));
                }
                self.error(header, message, help);
            }
            if let (None, Some(default)) = (options.value(key.name), key.default)
                && let Ok(value) = value::from_default(&key.kind, default)
            {
                options.insert(key.name, value, None);
            }
        }
        options
    }

    fn unknown_key(&mut self, title: &str, entry: &Entry, groups: &[&[Key]]) {
        let known = || groups.iter().copied().flatten().filter(|key| !matches!(key.kind, Kind::Ignored(_)));
        let at_top = TOP.iter().any(|key| key.name.to_lowercase() == entry.key);
        let words = || known().flat_map(|key| key.also.iter().map(move |word| (*word, key.name)));
        let meant = nearest(&entry.name, known().map(|key| key.name)).or_else(|| {
            let word = nearest(&entry.name, words().map(|(word, _)| word))?;
            words().find(|(other, _)| *other == word).map(|(_, name)| name)
        });
        let help = match meant {
            Some(name) => format!("did you mean {}?", quote(name)),
            None if at_top => "it belongs at the top of the file, before the first [table]".to_owned(),
            None if known().next().is_none() => "it has no keys".to_owned(),
            None => format!("the keys are {}", known().map(|key| key.name).collect::<Vec<_>>().join(", ")),
        };
        let place = self.key_place(entry);
        self.error(&place, format!("unknown key {} in {title}", quote(&entry.name)), help);
    }

    /// One value; `None` after a fault, or where there is nothing to check.
    fn value(&mut self, title: &str, key: &Key, node: &Node) -> Option<Value> {
        let result = match (&key.kind, &node.value) {
            (Kind::Any, _) => return None,
            (Kind::OrOff(_), Raw::Boolean(false)) => Ok(Value::Off),
            (Kind::OrOff(inner), _) if fits(inner, &node.value) => {
                return self.value(title, &Key { kind: **inner, ..*key }, node);
            }
            (Kind::Secret, Raw::Text(text)) => self.plain_secret(key, node, text),
            (Kind::Secret, Raw::Table(table)) => self.secret_elsewhere(key.name, node, table),
            (Kind::Boolean, Raw::Boolean(truth)) => Ok(Value::Boolean(*truth)),
            (_, Raw::Text(text)) if text.is_empty() && key.required => Err("must not be empty".into()),
            (_, Raw::Text(text)) if holds_controls(text) => Err("must not hold control characters".into()),
            (Kind::Path, Raw::Text(text)) if text.is_empty() => Err("must not be empty".into()),
            (Kind::Path, Raw::Text(text)) => Ok(Value::Path(self.source.directory().join(text))),
            (kind, Raw::Text(text)) if takes_text(kind) => value::from_text(kind, text),
            (kind, Raw::Integer(number)) if takes_numbers(kind) => value::from_integer(kind, *number),
            (kind, Raw::Float(number)) if takes_numbers(kind) => value::from_float(kind, *number),
            (Kind::TextList, Raw::List(items)) => texts(items),
            (Kind::Pairs, Raw::List(_) | Raw::Table(_)) => pairs(&node.value),
            (Kind::Table, Raw::Table(table)) => return Some(self.free_table(title, key, table)),
            (kind, other) => Err(format!("must be {}, not {}", value::expected(kind), other.what())),
        };
        match result {
            Ok(value) => {
                if matches!((&key.kind, &value), (Kind::Url | Kind::Text, Value::Text(text)) if holds_secret(text))
                {
                    self.plain_secrets.push((key.name, self.place(node)));
                }
                Some(value)
            }
            Err(problem) => {
                let place = self.place(node);
                let message = format!("{} in {title} {problem}", quote(key.name));
                self.error(&place, message, format!("for example: {}", value::example(key)));
                None
            }
        }
    }

    /// A table whose names are free, such as `sendsms_params`: texts, numbers, truths and secrets.
    fn free_table(&mut self, title: &str, key: &Key, table: &Table) -> Value {
        let mut values = Vec::new();
        for entry in &table.entries {
            let secret = looks_secret(&entry.name);
            let value = match &entry.node.value {
                Raw::Text(text) if secret => {
                    self.plain_secrets.push((key.name, self.place(&entry.node)));
                    Ok(Value::Secret(Secret::new(text.as_str())))
                }
                Raw::Text(text) if holds_controls(text) => Err("must not hold control characters".to_owned()),
                Raw::Text(text) => Ok(Value::Text(text.clone())),
                Raw::Integer(number) if secret => {
                    self.plain_secrets.push((key.name, self.place(&entry.node)));
                    Ok(Value::Secret(Secret::new(number.to_string())))
                }
                Raw::Integer(number) => Ok(Value::Integer(*number)),
                Raw::Boolean(truth) => Ok(Value::Boolean(*truth)),
                Raw::Table(reference) => self.secret_elsewhere(&entry.name, &entry.node, reference),
                other => Err(format!("must be text or a whole number, not {}", other.what())),
            };
            match value {
                Ok(value) => values.push((entry.name.clone(), value)),
                Err(problem) => {
                    let place = self.place(&entry.node);
                    let message =
                        format!("{} in {} of {title} {problem}", quote(&entry.name), quote(key.name));
                    self.error(&place, message, format!("for example: {} = \"...\"", entry.name));
                }
            }
        }
        Value::Table(values)
    }

    fn plain_secret(&mut self, key: &Key, node: &Node, text: &str) -> Result<Value, String> {
        if text.is_empty() {
            return Err("must not be empty".into());
        }
        self.plain_secrets.push((key.name, self.place(node)));
        Ok(Value::Secret(Secret::new(text)))
    }

    /// `{ env = "NAME" }` and its like. No error repeats a value that it found.
    fn secret_elsewhere(&mut self, name: &str, node: &Node, table: &Table) -> Result<Value, String> {
        let shape = || Err(format!("must be {}", value::expected(&Kind::Secret)));
        let [Entry { key, node: Node { value: Raw::Text(target), .. }, .. }] = table.entries.as_slice()
        else {
            return shape();
        };
        if target.is_empty() || holds_controls(target) {
            return Err(format!("names an empty or unusable {key}"));
        }
        let found = match key.as_str() {
            "env" => (self.surroundings.variable)(target).ok_or_else(|| {
                format!("is to come from the environment variable {}, which is not set", quote(target))
            })?,
            "file" => {
                let path = self.source.directory().join(target);
                self.secret_file(name, node, &path, true)?
            }
            "credential" => {
                if target.contains('/') || target.starts_with('.') {
                    return Err("names a credential, which has no folder in its name".into());
                }
                let Some(folder) = (self.surroundings.variable)("CREDENTIALS_DIRECTORY") else {
                    return Err(
                        "is to come from the service manager, but $CREDENTIALS_DIRECTORY is not set; \
                                run the router as a service with LoadCredential="
                            .into(),
                    );
                };
                self.secret_file(name, node, &Path::new(&folder).join(target), false)?
            }
            _ => return shape(),
        };
        if found.is_empty() {
            return Err(format!("is empty where it comes from ({key} {})", quote(target)));
        }
        Ok(Value::Secret(Secret::new(found)))
    }

    fn secret_file(&mut self, name: &str, node: &Node, path: &Path, own: bool) -> Result<String, String> {
        let shown = path.display();
        let failed = |error: std::io::Error| {
            format!("is to come from the file {shown}, which cannot be read: {error}")
        };
        let facts = std::fs::metadata(path).map_err(failed)?;
        if !facts.is_file() {
            return Err(format!("is to come from {shown}, which is not a plain file"));
        }
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(failed)?;
        file.take(LONGEST_SECRET + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LONGEST_SECRET {
            return Err(format!("is to come from the file {shown}, which is longer than 64 KiB"));
        }
        let text = String::from_utf8(bytes)
            .map_err(|_| format!("is to come from the file {shown}, which is not UTF-8 text"))?;
        if own && readable_by_others(&facts) && self.unsafe_secrets.len() < MOST_FAULTS {
            let message = format!("every user of this machine can read {shown}, which holds {}", quote(name));
            self.unsafe_secrets.push(self.place(node).warning(message).help(format!("chmod o-r {shown}")));
        }
        Ok(text.trim_end_matches(['\r', '\n']).to_owned())
    }
}

/// May users who neither own the file nor are in its group read it?
pub(super) fn readable_by_others(facts: &std::fs::Metadata) -> bool {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        facts.permissions().mode() & 0o004 != 0
    }
    #[cfg(not(unix))]
    {
        let _ = facts;
        false
    }
}

fn holds_controls(text: &str) -> bool {
    text.chars().any(|c| c.is_control() && !matches!(c, '\n' | '\r' | '\t'))
}

fn takes_text(kind: &Kind) -> bool {
    matches!(
        kind,
        Kind::Text | Kind::Duration { .. } | Kind::Size { .. } | Kind::Url | Kind::OneOf(_) | Kind::TextList
    )
}

fn takes_numbers(kind: &Kind) -> bool {
    matches!(kind, Kind::Integer { .. } | Kind::Duration { .. } | Kind::Size { .. })
}

/// Would the inner kind of an "or off" say something better than "expected this, or false"?
fn fits(kind: &Kind, value: &Raw) -> bool {
    match value {
        Raw::Text(_) => takes_text(kind),
        Raw::Integer(_) | Raw::Float(_) => takes_numbers(kind),
        _ => false,
    }
}

fn texts(items: &[Node]) -> Result<Value, String> {
    let text = |item: &Node| match &item.value {
        Raw::Text(text) if !holds_controls(text) => Ok(text.clone()),
        other => Err(format!("must be a list of texts; one item is {}", other.what())),
    };
    items.iter().map(text).collect::<Result<_, _>>().map(Value::List)
}

fn pairs(value: &Raw) -> Result<Value, String> {
    let wrong = || Err("must be a list of pairs of texts".to_owned());
    let mut pairs: Vec<(String, Value)> = Vec::new();
    let mut push = |name: &str, value: &Raw| match value {
        Raw::Text(text)
            if !text.is_empty() && !name.is_empty() && !holds_controls(text) && !holds_controls(name) =>
        {
            pairs.push((name.to_owned(), Value::Text(text.clone())));
            true
        }
        _ => false,
    };
    let all = match value {
        Raw::Table(table) => table.entries.iter().all(|entry| push(&entry.name, &entry.node.value)),
        Raw::List(items) => items.iter().all(|item| match &item.value {
            Raw::List(pair) => match pair.as_slice() {
                [Node { value: Raw::Text(name), .. }, Node { value, .. }] => push(name, value),
                _ => false,
            },
            _ => false,
        }),
        _ => false,
    };
    if all { Ok(Value::Table(pairs)) } else { wrong() }
}
