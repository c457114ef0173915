//! Hosts of apps that are not in this program: `[APPS.name] ENGINE = "..."`. To the router each is an app that answers later.
//!
//! One host is one file or folder with a [`Kind`], and one line in [`HOSTS`]. [`kannel_service`] asks a program behind HTTP as a Kannel would. What
//! they have in common is the [`pool`]: threads of the daemon that run errands and come back later to those that failed.
//!
//! A host keeps nothing: what it has in hand is `received` on disk, and is asked for again after a crash.

pub mod kannel_service;
pub mod pool;

use crate::apps::App;
use crate::settings::{AppSettings, EngineSpec, Fault, Settings};

/// A host, as the settings know it.
#[derive(Clone, Copy)]
pub struct Kind {
    /// Its name and its settings.
    pub spec: EngineSpec,
    /// Makes an app of its settings; a fault names the setting that is wrong. It opens nothing yet.
    pub build: fn(&AppSettings, &Settings) -> Result<Box<dyn App>, Fault>,
}

/// The hosts of this program.
pub const HOSTS: &[Kind] = &[kannel_service::KIND];
