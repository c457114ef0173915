//! Secrets: passwords, tokens and PINs that must not be read by accident.

use std::fmt;

use serde::{Serialize, Serializer};
use subtle::ConstantTimeEq;

/// A password, token or PIN. Printed in any way it is `***`; only [`Secret::expose`] gives the text.
///
/// In settings.toml a secret is text, or better a reference: `{ env = "NAME" }`, `{ file = "PATH" }`, or
/// `{ credential = "NAME" }` for the service manager's credentials (`$CREDENTIALS_DIRECTORY/NAME`).
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Wraps a text.
    pub fn new(text: impl Into<String>) -> Secret {
        Secret(text.into())
    }

    /// The text itself: for the wire, never for a log, a page or an error.
    pub fn expose(&self) -> &str {
        &self.0
    }

    /// Is `candidate` the secret? Takes the same time wherever the two differ, so that it cannot be guessed letter by letter.
    pub fn matches(&self, candidate: &[u8]) -> bool {
        self.0.as_bytes().ct_eq(candidate).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl Serialize for Secret {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str("***")
    }
}
