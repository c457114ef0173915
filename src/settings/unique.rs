//! What two backends may not share: a modem answers whoever asked last, so two backends on one port steal each other's answers.
//!
//! Which keys that are is said by the catalogue ([`super::Key::unique`]). Links are followed, so that a port is the same under each of
//! its names, as far as it is plugged in; nothing is opened.

use std::path::PathBuf;

use super::catalogue::Key;
use super::fault::quote;
use super::table::Reader;
use super::{BackendSettings, Value};

/// What a value stands for.
#[derive(PartialEq)]
enum Thing {
    Text(String),
    File(PathBuf),
}

/// Reports each backend that claims what another one before it has.
pub(super) fn check(reader: &mut Reader<'_>, backends: &[BackendSettings]) {
    for (index, backend) in backends.iter().enumerate() {
        let Some(engine) = reader.catalogue.engine(backend.engine).copied() else { continue };
        for key in engine.keys.iter().filter(|key| key.unique) {
            let Some(thing) = claimed(backend, key) else { continue };
            let mut before = backends[..index].iter().filter(|other| other.engine == backend.engine);
            let Some(other) = before.find(|other| claimed(other, key).as_ref() == Some(&thing)) else {
                continue;
            };
            let (line, _) = other.options.place(key.name).position();
            let message = format!(
                "backends {} and {} have the same {} (the other is in line {line})",
                quote(&other.name),
                quote(&backend.name),
                key.name
            );
            let help = match (thing, other.options.text(key.name) == backend.options.text(key.name)) {
                (Thing::File(file), false) => {
                    format!("both lead to {}; give each backend its own", file.display())
                }
                _ => "give each backend its own, or take one of them out".into(),
            };
            reader.error(backend.options.place(key.name), message, help);
        }
    }
}

fn claimed(backend: &BackendSettings, key: &Key) -> Option<Thing> {
    if !backend.options.is_given(key.name) {
        return None;
    }
    match backend.options.value(key.name)? {
        Value::Text(text) if text.starts_with('/') => Some(file(text.into())),
        Value::Text(text) => Some(Thing::Text(text.trim().to_lowercase())),
        Value::Path(path) => Some(file(path.clone())),
        Value::Integer(number) => Some(Thing::Text(number.to_string())),
        _ => None,
    }
}

/// The file that a path leads to; the path itself when it leads nowhere now.
fn file(path: PathBuf) -> Thing {
    Thing::File(std::fs::canonicalize(&path).unwrap_or(path))
}
