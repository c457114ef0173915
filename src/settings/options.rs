//! The checked settings of one table: what an engine or an app reads.
//!
//! Every value has the kind that the catalogue demands and every default is filled in, so a getter's `None` means "not given, and
//! there is no default" (or a programmer's slip in the name or kind). What only the engine can judge it reports by
//! [`Options::fault`], which points at the right line of the file.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::fault::Fault;
use super::secret::Secret;
use super::source::Place;
use super::value::Value;

/// The checked settings of one table.
#[derive(Clone)]
pub struct Options {
    header: Place,
    settings: BTreeMap<String, (Value, Option<Place>)>,
}

impl Options {
    pub(super) fn new(header: Place) -> Options {
        Options { header, settings: BTreeMap::new() }
    }

    /// `place` is `None` for a default.
    pub(super) fn insert(&mut self, key: &str, value: Value, place: Option<Place>) {
        self.settings.insert(key.to_lowercase(), (value, place));
    }

    /// The value of a key, whatever its kind.
    pub fn value(&self, key: &str) -> Option<&Value> {
        self.settings.get(&key.to_lowercase()).map(|(value, _)| value)
    }

    /// A text, an address, or one of some words.
    pub fn text(&self, key: &str) -> Option<&str> {
        match self.value(key)? {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// A whole number, or a size in bytes.
    pub fn integer(&self, key: &str) -> Option<i64> {
        match self.value(key)? {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// [`Options::integer`] as a count; the catalogue's bounds make it fit.
    pub fn count(&self, key: &str) -> Option<usize> {
        self.integer(key).and_then(|number| usize::try_from(number).ok())
    }

    /// True or false.
    pub fn boolean(&self, key: &str) -> Option<bool> {
        match self.value(key)? {
            Value::Boolean(truth) => Some(*truth),
            _ => None,
        }
    }

    /// A time.
    pub fn duration(&self, key: &str) -> Option<Duration> {
        match self.value(key)? {
            Value::Duration(time) => Some(*time),
            _ => None,
        }
    }

    /// A file; absolute.
    pub fn path(&self, key: &str) -> Option<&Path> {
        match self.value(key)? {
            Value::Path(path) => Some(path),
            _ => None,
        }
    }

    /// A password, token or PIN.
    pub fn secret(&self, key: &str) -> Option<&Secret> {
        match self.value(key)? {
            Value::Secret(secret) => Some(secret),
            _ => None,
        }
    }

    /// Texts in the order of the file.
    pub fn list(&self, key: &str) -> Option<&[String]> {
        match self.value(key)? {
            Value::List(list) => Some(list),
            _ => None,
        }
    }

    /// Names and values in the order of the file; passwords among them are [`Value::Secret`].
    pub fn table(&self, key: &str) -> Option<&[(String, Value)]> {
        match self.value(key)? {
            Value::Table(table) => Some(table),
            _ => None,
        }
    }

    /// Was the key written in the file, or is its value a default?
    pub fn is_given(&self, key: &str) -> bool {
        self.settings.get(&key.to_lowercase()).is_some_and(|(_, place)| place.is_some())
    }

    /// Where the key's value stands; the table's header when it was not given.
    pub fn place(&self, key: &str) -> &Place {
        let place = self.settings.get(&key.to_lowercase()).and_then(|(_, place)| place.as_ref());
        place.unwrap_or(&self.header)
    }

    /// Where the table begins.
    pub fn header(&self) -> &Place {
        &self.header
    }

    /// An error that points at the key's value.
    pub fn fault(&self, key: &str, message: impl Into<String>) -> Fault {
        self.place(key).error(message)
    }

    /// Feeds every key and value, secrets too, into a fingerprint. Places do not count: a moved table is unchanged.
    pub(super) fn feed(&self, hash: &mut Sha256) {
        for (key, (value, _)) in &self.settings {
            feed_text(hash, key);
            feed_value(hash, value);
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.settings.iter().map(|(key, (value, _))| (key, value))).finish()
    }
}

/// A fingerprint of settings, to tell "changed" from "unchanged" at a reload. It is not shown: it covers secrets.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    pub(super) fn of(title: &str, options: &Options) -> Digest {
        let mut hash = Sha256::new();
        feed_text(&mut hash, title);
        options.feed(&mut hash);
        Digest(hash.finalize().into())
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Digest(..)")
    }
}

/// Length first, so that no two lists of texts feed the same bytes.
fn feed_text(hash: &mut Sha256, text: &str) {
    hash.update((text.len() as u64).to_le_bytes());
    hash.update(text.as_bytes());
}

fn feed_value(hash: &mut Sha256, value: &Value) {
    match value {
        Value::Text(text) => feed_text(hash, &format!("text {text}")),
        Value::Integer(number) => feed_text(hash, &format!("integer {number}")),
        Value::Boolean(truth) => feed_text(hash, &format!("boolean {truth}")),
        Value::Duration(time) => feed_text(hash, &format!("duration {}", time.as_nanos())),
        Value::Path(path) => feed_text(hash, &format!("path {}", path.display())),
        Value::Secret(secret) => feed_text(hash, &format!("secret {}", secret.expose())),
        Value::Off => feed_text(hash, "off"),
        Value::List(list) => {
            feed_text(hash, &format!("list {}", list.len()));
            list.iter().for_each(|item| feed_text(hash, item));
        }
        Value::Table(table) => {
            feed_text(hash, &format!("table {}", table.len()));
            for (name, value) in table {
                feed_text(hash, name);
                feed_value(hash, value);
            }
        }
    }
}
