//! x
mod settings;
