//! A message router: text messages in, an app answers, the reply leaves by the line it came in on.

pub mod time;

pub mod message;

pub mod store;

pub mod apps;

pub mod phases;

pub mod retry;

pub mod guard;

pub mod router;

pub mod settings;

pub mod registry;

pub mod backends;

pub mod web;

pub mod testing;

pub mod shell;

pub mod cli;
