//! What the settings give, with a preset behind them: a preset fills only keys that are not given.

use std::fmt::Display;
use std::time::Duration;

use crate::backends::BackendError;
use crate::settings::{BackendSettings, Options, Secret, Value};

/// The presets: each is a file of settings as a person would write them.
pub const PRESETS: &[(&str, &str)] = &[
    ("africastalking", include_str!("presets/africastalking.toml")),
    ("junebug", include_str!("presets/junebug.toml")),
    ("rapidpro", include_str!("presets/rapidpro.toml")),
    ("smsgate", include_str!("presets/smsgate.toml")),
    ("twilio", include_str!("presets/twilio.toml")),
];

/// A plain value of a table.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Plain {
    /// Text.
    Text(String),
    /// A whole number, a truth: what JSON writes without quotes.
    Bare(serde_json::Value),
    /// What must not be shown.
    Secret(Secret),
}

/// The settings of one backend, and its preset.
pub struct Given<'s> {
    options: &'s Options,
    preset: toml::Table,
}

impl<'s> Given<'s> {
    /// Reads the preset, if one is named.
    pub fn of(settings: &'s BackendSettings) -> Result<Given<'s>, BackendError> {
        let options = &settings.options;
        let preset = match options.text("preset") {
            None => toml::Table::new(),
            Some(name) => {
                let text = PRESETS.iter().find(|(known, _)| *known == name).map_or("", |(_, text)| text);
                text.parse().map_err(|error| {
                    BackendError::Refused(format!("the preset {name} is damaged: {error}"))
                })?
            }
        };
        Ok(Given { options, preset })
    }

    fn preset_for(&self, key: &str) -> Option<&toml::Value> {
        self.preset.get(key).filter(|_| !self.options.is_given(key))
    }

    /// Whether the settings or the preset say anything about it.
    pub fn is_said(&self, key: &str) -> bool {
        self.options.is_given(key) || self.preset.contains_key(key)
    }

    /// A text; an empty one is none.
    pub fn text(&self, key: &str) -> Option<&str> {
        let text = match self.preset_for(key) {
            Some(value) => value.as_str(),
            None => self.options.text(key),
        };
        text.filter(|text| !text.trim().is_empty())
    }

    /// A text that may be empty, such as an answer's body.
    pub fn text_or_empty(&self, key: &str) -> &str {
        match self.preset_for(key) {
            Some(value) => value.as_str().unwrap_or_default(),
            None => self.options.text(key).unwrap_or_default(),
        }
    }

    /// A truth; `false` when nobody said.
    pub fn boolean(&self, key: &str) -> bool {
        let given = match self.preset_for(key) {
            Some(value) => value.as_bool(),
            None => self.options.boolean(key),
        };
        given.unwrap_or(false)
    }

    /// A whole number.
    pub fn integer(&self, key: &str) -> Option<i64> {
        match self.preset_for(key) {
            Some(value) => value.as_integer(),
            None => self.options.integer(key),
        }
    }

    /// A time.
    pub fn duration(&self, key: &str) -> Option<Duration> {
        self.options.duration(key)
    }

    /// Texts in order.
    pub fn list(&self, key: &str) -> Vec<String> {
        match self.preset_for(key) {
            Some(toml::Value::Array(items)) => {
                items.iter().filter_map(|item| item.as_str().map(str::to_string)).collect()
            }
            Some(_) => Vec::new(),
            None => self.options.list(key).unwrap_or_default().to_vec(),
        }
    }

    /// A password or token. No preset has one.
    pub fn secret(&self, key: &str) -> Option<&Secret> {
        self.options.secret(key)
    }

    /// Names and values in order; `None` when there is no such table.
    pub fn table(&self, key: &str) -> Option<Vec<(String, Plain)>> {
        match self.preset_for(key) {
            Some(toml::Value::Table(table)) => {
                Some(table.iter().map(|(name, value)| (name.clone(), plain(value))).collect())
            }
            Some(_) => None,
            None => {
                let table = self.options.table(key)?;
                Some(table.iter().map(|(name, value)| (name.clone(), own(value))).collect())
            }
        }
    }
}

/// A sentence about a key.
pub fn wrong(key: &str, why: impl Display) -> BackendError {
    BackendError::Refused(format!("{key} in the settings: {why}"))
}

fn plain(value: &toml::Value) -> Plain {
    match value {
        toml::Value::String(text) => Plain::Text(text.clone()),
        toml::Value::Integer(number) => Plain::Bare((*number).into()),
        toml::Value::Boolean(truth) => Plain::Bare((*truth).into()),
        other => Plain::Text(other.to_string()),
    }
}

fn own(value: &Value) -> Plain {
    match value {
        Value::Text(text) => Plain::Text(text.clone()),
        Value::Integer(number) => Plain::Bare((*number).into()),
        Value::Boolean(truth) => Plain::Bare((*truth).into()),
        Value::Secret(secret) => Plain::Secret(secret.clone()),
        // The settings' reader lets nothing else into such a table.
        _ => Plain::Text(String::new()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn presets_are_settings_and_name_keys_that_there_are() {
        for (name, text) in PRESETS {
            let table: toml::Table = text.parse().unwrap_or_else(|error| panic!("{name}: {error}"));
            for key in table.keys() {
                assert!(super::super::keys::KEYS.iter().any(|known| known.name == key), "{name}: {key}");
            }
        }
    }
}
