//! The app `default`: answers what no other app answered or handled. List it last.
//!
//! ```toml
//! INSTALLED_APPS = ["echo", "default"]
//! DEFAULT_RESPONSE = "Sorry, %(project_name)s could not understand your message."
//! PROJECT_NAME = "RapidSMS"
//! ```
//!
//! | DEFAULT_RESPONSE | reply |
//! |---|---|
//! | `Sorry, %(project_name)s could not understand your message.` | `Sorry, RapidSMS could not understand your message.` |
//! | `Read 100%% of the leaflet.` | `Read 100% of the leaflet.` |
//! | blank | none; the message ends as "no app answered" |
//! | `Hello %(name)s` | none: the settings are wrong, see [`TemplateError`] |
//!
//! The response is filled in once, when the app is made. What a person sends never comes near it, and neither is a `%` in
//! the project's name read again.

use super::{App, AppError, Flow, Message};
use crate::settings::AppSpec;
use std::fmt;

/// What the settings know of this app.
pub const SPEC: AppSpec = AppSpec {
    name: "default",
    aliases: &["rapidsms.contrib.default", "rapidsms.apps.default"],
    keys: &[],
    about: "DEFAULT_RESPONSE when no app had an answer",
};

/// DEFAULT_RESPONSE when the settings do not say.
pub const DEFAULT_RESPONSE: &str = "Sorry, %(project_name)s could not understand your message.";

/// The only thing that a response can be filled in with.
const PROJECT_NAME: &str = "%(project_name)s";

/// The app: one reply to everything that is left over.
#[derive(Clone, Debug)]
pub struct Fallback {
    reply: Option<String>,
}

impl Fallback {
    /// An app that answers with `response`, in which `%(project_name)s` stands for the project's name and `%%`
    /// for a per cent sign. It says nothing when there is no response or a blank one.
    pub fn new(response: Option<&str>, project_name: &str) -> Result<Fallback, TemplateError> {
        let reply = response.map(|response| fill(response, project_name)).transpose()?;
        Ok(Fallback { reply: reply.filter(|reply| !reply.trim().is_empty()) })
    }

    /// What it answers.
    pub fn reply(&self) -> Option<&str> {
        self.reply.as_deref()
    }
}

impl App for Fallback {
    fn fallback(&mut self, message: &mut Message) -> Result<Flow, AppError> {
        match &self.reply {
            Some(reply) => {
                message.error(reply);
                Ok(Flow::Done)
            }
            None => Ok(Flow::Next),
        }
    }
}

/// A `%` in a response that stands for nothing.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TemplateError {
    /// Where the `%` is, in octets from the start of the response.
    pub offset: usize,
    /// The `%` and what follows, as far as it seems to belong together.
    pub found: String,
}

impl TemplateError {
    /// What to write instead.
    pub fn hint(&self) -> String {
        if self.found.starts_with("%(") {
            format!("only {PROJECT_NAME} can be filled in; write %%( for the characters \"%(\"")
        } else {
            "write %% for a per cent sign".to_string()
        }
    }
}

impl fmt::Display for TemplateError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\" in the default response means nothing: {}", self.found, self.hint())
    }
}

impl std::error::Error for TemplateError {}

fn fill(response: &str, project_name: &str) -> Result<String, TemplateError> {
    let mut filled = String::with_capacity(response.len() + project_name.len());
    let mut rest = response;
    while let Some(at) = rest.find('%') {
        filled.push_str(&rest[..at]);
        rest = &rest[at..];
        if let Some(after) = rest.strip_prefix("%%") {
            filled.push('%');
            rest = after;
        } else if let Some(after) = rest.strip_prefix(PROJECT_NAME) {
            filled.push_str(project_name);
            rest = after;
        } else {
            return Err(TemplateError { offset: response.len() - rest.len(), found: placeholder(rest) });
        }
    }
    filled.push_str(rest);
    Ok(filled)
}

/// The placeholder at the start of `rest` as a person sees it: `%(name)s` whole, else the `%` and its neighbour.
fn placeholder(rest: &str) -> String {
    const SHOWN: usize = 40;
    let shown = match rest.find(')') {
        Some(end) if rest.starts_with("%(") => rest[..end].chars().count() + 2,
        _ => 2,
    };
    rest.chars().take(shown.min(SHOWN)).collect()
}
